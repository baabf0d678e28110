//! The readers with arguments. `auth.claim(VARIADIC path text[])` is the operator `#>>` on the claims;
//! `auth.has_scope(scope text)` and `auth.has_role(role text)` are never NULL. The names of their symbols are those of 0.1.0,
//! as policies depend on these functions, which an update so cannot make anew.

use pgrx::pg_sys;

use super::call_site::{Arguments, Value, reader};
use super::readers::{SameIdentity, SameSettings, varlena};
use crate::identity::derived::with_derived;
use crate::pg::datum::text;
use crate::pg::encoding::utf8;
use crate::settings;

reader!(claim_wrapper, pg_finfo_claim_wrapper, |identity, _: Option<SameIdentity>, arguments| {
    let path = arguments.first()?;
    with_derived(identity, |derived| derived.jsonb().text_at(path)).map(varlena)
});

reader!(has_scope_wrapper, pg_finfo_has_scope_wrapper, FALSE, |identity, _: Option<SameIdentity>, arguments| {
    let has = |scope: &str| with_derived(identity, |derived| derived.claims.has_scope(scope));
    Some(boolean(word(arguments).is_some_and(|scope| has(&scope))))
});

reader!(has_role_wrapper, pg_finfo_has_role_wrapper, FALSE, |identity, _: Option<SameSettings>, arguments| {
    let settings = settings::current();
    let has = |role: &str| {
        with_derived(identity, |derived| {
            let provider = settings.provider_of(&derived.claims);
            provider.is_some_and(|provider| derived.claims.has_role(&provider.role_claim, role))
        })
    };
    Some(boolean(word(arguments).is_some_and(|role| has(&role))))
});

const FALSE: Option<pg_sys::Datum> = Some(pg_sys::Datum::null());

fn boolean(value: bool) -> Value {
    Value::Plain(value.into())
}

/// The first argument, a text, in UTF-8; `None` if no claim can be equal to it.
fn word(arguments: Arguments) -> Option<String> {
    // SAFETY: the functions are declared to take a text.
    let text = unsafe { text(arguments.first()?) };
    utf8(&text).map(|text| text.into_owned())
}
