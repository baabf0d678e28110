//! `auth.jwt_explain(token text)`: why a token would be accepted or not.

use pgrx::iter::TableIterator;
use pgrx::prelude::*;

use super::token::receive;
use crate::enforcement::role;
use crate::identity::verification;
use crate::pg::clock::now;
use crate::pg::error;
use crate::pg::user::may_know_settings;
use crate::settings;

/// `auth.jwt_explain(token text)`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn jwt_explain(
    token: Option<&[u8]>,
) -> TableIterator<'static, (name!(check, String), name!(ok, Option<bool>), name!(detail, Option<String>))> {
    receive(token);
    let settings = settings::current();
    let role = |claims: &_, provider: &_| role::check(claims, provider, &settings);
    let findings = verification::explained(token.unwrap_or_default(), &settings, now(), role)
        .unwrap_or_else(|error| error::raise_rejection(error));
    let may_know_settings = may_know_settings();
    TableIterator::new(findings.into_iter().map(move |finding| {
        let finding = match may_know_settings {
            true => finding,
            false => finding.without_settings(),
        };
        (finding.check.name().into(), finding.ok, finding.detail)
    }))
}
