//! Whether the identity in force would be accepted now: it is judged again when something has changed by which it was
//! judged. While nothing has, that is a comparison of numbers.

use std::cell::{Cell, RefCell};

use pg_jwks_core::claims::{ClaimSet, RestoredClaims};
use pg_jwks_core::rejection::Rejection;
use pg_jwks_core::time::Timestamp;
use pg_jwks_core::verification::judgement::{self, Evidence};

use super::assumption;
use super::revocation;
use super::session::{self, Grounds, Kept};
use super::shown;
use super::verification::providers;
use crate::keys::{self, Held};
use crate::pg::backend_local::BackendLocal;
use crate::pg::clock::now;
use crate::pg::{memory, transaction};
use crate::settings::{self, Settings};

/// All that identities are judged by but the time, as a number that is another one after each change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Trust(u64);

/// What was judged last.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Judged {
    /// [`session::assignments`]: which identity.
    assignments: u64,
    /// By what.
    trust: Trust,
}

static JUDGED: BackendLocal<Cell<Judged>> =
    BackendLocal::new(Cell::new(Judged { assignments: 0, trust: Trust::UNSETTLED }));

/// Why the identity that was judged last would be refused now, if it would.
static REFUSED: BackendLocal<RefCell<Option<Rejection>>> = BackendLocal::new(RefCell::new(None));

/// How many judgements there were.
static JUDGEMENTS: BackendLocal<Cell<u64>> = BackendLocal::new(Cell::new(0));

impl Trust {
    /// What no moment has.
    const UNSETTLED: Self = Self(u64::MAX);

    /// At this moment. To be taken before what it counts is read, so that a change in between is seen the next time.
    #[inline]
    pub fn now() -> Self {
        // None of the numbers ever falls, so their sum changes with each of them.
        let settings_and_keys = settings::generation().wrapping_add(keys::generation());
        Self(settings_and_keys.wrapping_add(revocation::generation()).wrapping_add(assumption::generation()))
    }
}

/// The identity that has just been put into force, which is that of these claims, was judged by this.
pub fn is_judged_by(trust: Trust, claims: &ClaimSet, settings: &Settings) {
    REFUSED.set(None);
    JUDGED.set(Judged { assignments: session::assignments(), trust });
    if let Some(kept) = session::in_force() {
        shown::show(&kept, claims, settings);
    }
}

/// Another number after each judgement.
#[inline]
pub fn judgements() -> u64 {
    JUDGEMENTS.get()
}

/// Judges the identity in force, if it has not been judged by what counts now. The leader does it for its parallel workers.
/// May read the catalogue, and raise if that cannot be read; raises nothing for an identity that would be refused.
#[inline]
pub fn judge() {
    let judged = Judged { assignments: session::assignments(), trust: Trust::now() };
    if JUDGED.get() != judged && transaction::is_in_progress() {
        judge_again(judged);
    }
}

#[cold]
fn judge_again(present: Judged) {
    let Some(kept) = session::in_force() else { return };
    memory::require(0);
    let settings = settings::current();
    let Some(claims) = RestoredClaims::from_guarded_setting(&session::json()) else {
        unreachable!("the check hook lets verified claims pass only")
    };
    shown::show(&kept, &claims, &settings);
    let Some(grounds) = kept.grounds else {
        JUDGED.set(present);
        return;
    };
    JUDGEMENTS.set(JUDGEMENTS.get() + 1);
    let verdict = verdict(&kept, &grounds, &claims, &settings);
    let is_final = !matches!(verdict, Ok(Verdict { is_final: false, .. }));
    match verdict {
        Ok(verdict) => {
            session::amend(verdict.end, verdict.read_only);
            REFUSED.set(None);
        }
        Err(rejection) => REFUSED.set(Some(rejection)),
    }
    JUDGED.set(match is_final {
        true => present,
        false => Judged { trust: Trust::UNSETTLED, ..present },
    });
}

/// Of an identity that stands.
struct Verdict {
    /// Until when, leeway aside.
    end: Timestamp,
    /// Whether it must not write.
    read_only: bool,
    /// False if keys are on their way that decide.
    is_final: bool,
}

fn verdict(kept: &Kept, grounds: &Grounds, claims: &ClaimSet, settings: &Settings) -> Result<Verdict, Rejection> {
    let now = now();
    let mut is_final = true;
    let user = settings.user_of(claims);
    let end = match grounds {
        Grounds::Token { evidence, token } => {
            let end = judge_token(evidence, claims, settings, now, &mut is_final)?;
            revocation::check(claims, user.as_deref(), Some(token))?;
            end
        }
        Grounds::Privilege(privilege) => {
            assumption::check(*privilege)?;
            revocation::check(claims, user.as_deref(), None)?;
            kept.identity.expires
        }
    };
    // Logins set no role. Whether the role exists, and the session user may have it, PostgreSQL judges.
    if settings.set_role
        && !kept.origin.is_login()
        && let Some(provider) = settings.provider_of(claims)
    {
        settings.roles_of(claims, provider)?;
    }
    Ok(Verdict { end, read_only: settings.forbids_writing(claims), is_final })
}

/// Whether a token would be accepted now, and until when. `is_final` becomes false if keys are on their way that decide.
fn judge_token(
    evidence: &Evidence,
    claims: &ClaimSet,
    settings: &Settings,
    now: Timestamp,
    is_final: &mut bool,
) -> Result<Timestamp, Rejection> {
    judgement::judge(
        claims,
        evidence,
        providers(settings)?,
        |provider| match keys::held(provider, settings, now) {
            Held::AtHand(keys) => Some(keys),
            Held::Awaited => {
                *is_final = false;
                None
            }
            Held::Missing => None,
        },
        now,
    )
}

/// Why the identity in force would be refused now, if it was judged so.
pub fn refusal() -> Option<Rejection> {
    REFUSED.with_borrow(|refused| refused.clone().filter(|_| is_of_identity_in_force()))
}

/// Whether the identity in force would be refused now, as it was judged.
#[inline]
pub fn is_refused() -> bool {
    is_of_identity_in_force() && REFUSED.with_borrow(Option::is_some)
}

#[inline]
fn is_of_identity_in_force() -> bool {
    JUDGED.get().assignments == session::assignments()
}
