//! Whether a token may log in, and what then becomes of it: the same at each door.
//!
//! A login is decided with the same settings, keys and reasons as `auth.jwt_session_init`. The client learns that it was
//! refused, and nothing else; the log says why.

use std::cell::RefCell;
use std::ffi::CStr;

use pg_jwks_core::jose::presented::Presented;
use pg_jwks_core::policy::login::{LoginRule, authn_id, check_database_role};
use pg_jwks_core::rejection::{Reason, Rejection};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::role::database_role;
use crate::identity::origin::Origin;
use crate::identity::session;
use crate::identity::verification::{self, Verification};
use crate::pg::backend_local::BackendLocal;
use crate::pg::clock::now;
use crate::settings::{self, Settings};
use crate::telemetry::audit;
use crate::telemetry::counters::{count, counters};

/// A request to log in.
pub struct LoginRequest<'a> {
    /// By which door.
    pub origin: Origin,
    /// The token, as it was presented.
    pub token: &'a [u8],
    /// The requested role.
    pub role: &'a CStr,
    /// Which tokens may log in.
    pub rule: LoginRule<'a>,
}

/// Of a request to log in.
pub struct Decision {
    /// Who the bearer is, also if the role is not his.
    pub authn_id: Option<String>,
    /// Whether the bearer may log in, as far as the token says.
    pub outcome: Result<Admitted, Rejection>,
}

/// A token that may log in, as far as this library decides.
pub struct Admitted {
    origin: Origin,
    verification: Verification,
    token: Presented,
    user: String,
}

static ADMITTED: BackendLocal<RefCell<Option<Admitted>>> = BackendLocal::new(RefCell::new(None));

impl LoginRequest<'_> {
    /// Verifies the token and asks the rule and the catalogue. May fetch keys; raises if that wait is cancelled.
    pub fn decide(&self) -> Decision {
        let settings = settings::current();
        let mut authn_id = None;
        let outcome = self.verification(&settings, &mut authn_id).map(|verification| Admitted {
            origin: self.origin,
            verification,
            token: Presented::of(self.token),
            user: self.user(),
        });
        Decision { authn_id, outcome }
    }

    fn verification(&self, settings: &Settings, name: &mut Option<String>) -> Result<Verification, Rejection> {
        self.rule.check_issuer(verification::providers(settings)?)?;
        let verification = verification::verified(self.token, now())?;
        let claims = &verification.claims;
        let provider = claims.provider();
        self.rule.check_token(claims, provider)?;
        *name = Some(authn_id(claims, provider)?);
        self.rule.check_role(claims, provider, &settings.role_map, self.role.to_str().ok())?;
        check_database_role(self.role.to_bytes(), database_role(self.role), settings.allow_superuser_login)?;
        Ok(verification)
    }

    fn user(&self) -> String {
        self.role.to_string_lossy().into_owned()
    }

    /// Audits and logs that the token may not log in.
    pub fn refuse(&self, rejection: Rejection) {
        refuse(self.origin, &self.user(), Presented::of(self.token), rejection);
    }
}

impl Admitted {
    /// Whom the token names may not have the requested role: PostgreSQL has said so in its log.
    pub fn refuse_role(self) {
        let detail = "Whom the token names may not have the requested role.";
        let hint = "Check pg_jwks.authn_claim, and the map in pg_ident.conf.";
        let rejection = Rejection::new(Reason::RoleNotAccepted, detail).hint(hint);
        refuse(self.origin, &self.user, self.token, rejection);
    }

    /// Something else that PAM asked refuses the user.
    fn log_refused_by_pam(self) {
        let message = format!("user \"{}\" refused by PAM after the token was accepted", self.user);
        let detail =
            "Another line of the PAM service refuses the user, or there is no account line for pam_pg_jwks.so.";
        log_refused(
            message,
            detail.into(),
            Some("Both lines of the service must stand alone: see docs/login.md.".into()),
        );
    }

    /// Keeps the claims until PostgreSQL has decided.
    pub fn keep(self) {
        ADMITTED.set(Some(self));
    }
}

/// Whether a token has been admitted by this door.
pub fn is_admitted(origin: Origin) -> bool {
    ADMITTED.with_borrow(|admitted| admitted.as_ref().is_some_and(|admitted| admitted.origin == origin))
}

/// PostgreSQL has decided: the claims of a token that was admitted are the session's identity, or it is refused.
pub fn decided(is_authenticated: bool) {
    let Some(admitted) = ADMITTED.take() else { return };
    if !is_authenticated {
        match admitted.origin {
            Origin::Password => admitted.log_refused_by_pam(),
            _ => admitted.refuse_role(),
        }
        return;
    }
    let Admitted { origin, verification, user, .. } = admitted;
    let claims = &verification.claims;
    session::log_in(origin, claims, verification.digest, settings::current().forbids_writing(claims));
    count(&counters().accepted);
    audit::login_accepted(claims, &user);
    verification.warn_of_nobody();
}

fn refuse(origin: Origin, user: &str, token: Presented, rejection: Rejection) {
    counters().count_rejected(rejection.reason);
    audit::login_rejected(&rejection, token, now(), user);
    let kind = match origin {
        Origin::Password => "password",
        _ => "OAuth",
    };
    let message = format!("{kind} token rejected for user \"{user}\": {}", rejection.reason.text());
    log_refused(message, rejection.detail, rejection.hint);
}

/// Logs why a login is refused. The client is not told.
pub fn log_refused(message: String, detail: String, hint: Option<String>) {
    let sqlstate = PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
    let mut report = ErrorReport::new(sqlstate, message, "pg_jwks").set_detail(detail);
    if let Some(hint) = hint {
        report = report.set_hint(hint);
    }
    report.report(PgLogLevel::LOG_SERVER_ONLY);
}
