//! Whether a verified token may log in: what the matching line of `pg_hba.conf`, or the PAM service that it names, and the
//! requested role ask for.

use crate::claims::ClaimSet;
use crate::discovery::{DOCUMENT, document_url, metadata_urls};
use crate::policy::provider::Provider;
use crate::policy::providers::Providers;
use crate::policy::role_map::RoleMap;
use crate::rejection::{Reason, Rejection};

/// Where the administrator says which tokens may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleSource {
    /// A line of `pg_hba.conf` of method `oauth`.
    HbaLine,
    /// The file of a PAM service, which a line of method `pam` names.
    PamService,
}

impl RuleSource {
    /// At the beginning of a sentence.
    fn words(self) -> &'static str {
        match self {
            Self::HbaLine => "The line of pg_hba.conf",
            Self::PamService => "The PAM service",
        }
    }
}

/// Which tokens may log in.
#[derive(Clone, Copy, Debug)]
pub struct LoginRule<'a> {
    /// Where that is said.
    pub source: RuleSource,
    /// An issuer, or the URL of an issuer's discovery document.
    pub issuer: &'a str,
    /// Scopes with spaces between them.
    pub scope: &'a str,
    /// `delegate_ident_mapping`: whether the token says as which roles its bearer may log in.
    pub delegates_mapping: bool,
}

/// What the database knows of the requested role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseRole {
    /// There is none of that name.
    Missing,
    /// A superuser.
    Superuser,
    /// A role that may replicate.
    Replication,
    /// A member of a superuser, directly or through others: `SET ROLE` makes it one.
    MemberOfSuperuser,
    /// A member of a role that may replicate.
    MemberOfReplication,
    /// A member of a role that uses the server's files or programs, such as `pg_execute_server_program`.
    ServerFiles,
    /// A role that creates roles, or a member of one, where PostgreSQL lets such a role become any but a superuser (up to
    /// version 15).
    CreatesRoles,
    /// Any other.
    Plain,
}

impl LoginRule<'_> {
    /// Whether the rule means a configured issuer: before any token is looked at.
    pub fn check_issuer(&self, providers: &Providers) -> Result<(), Rejection> {
        // Of a document's URL, its issuer is what stands before the well-known part.
        let issuer = self.issuer.strip_suffix(DOCUMENT).unwrap_or(self.issuer);
        if providers.all().iter().any(|provider| self.means(provider.issuer.as_str()) || provider.issuer.fits(issuer)) {
            return Ok(());
        }
        let detail = format!("{} asks for issuer \"{}\", which is not trusted.", self.source.words(), self.issuer);
        let (reason, hint) = match self.source {
            RuleSource::HbaLine => (
                Reason::LineIssuerNotConfigured,
                "Name the same issuer in pg_hba.conf and in pg_jwks.issuer or pg_jwks.providers.",
            ),
            RuleSource::PamService => (
                Reason::ServiceIssuerNotConfigured,
                "Name the same issuer in the file of the PAM service and in pg_jwks.issuer or pg_jwks.providers.",
            ),
        };
        Err(Rejection::new(reason, detail).hint(hint))
    }

    /// Whether a verified token of `provider` is of the rule's issuer and has all its scopes.
    pub fn check_token(&self, claims: &ClaimSet, provider: &Provider) -> Result<(), Rejection> {
        if !self.means(provider.issuer.as_str()) && !claims.text("iss").is_some_and(|iss| self.means(iss)) {
            let detail = format!("{} asks for issuer \"{}\".", self.source.words(), self.issuer);
            return Err(Rejection::new(Reason::IssuerNotAccepted, detail));
        }
        match self.scope.split_ascii_whitespace().find(|scope| !claims.has_scope(scope)) {
            None => Ok(()),
            Some(scope) => {
                let detail = format!("{} asks for scope \"{scope}\".", self.source.words());
                Err(Rejection::new(Reason::ScopeMissing, detail))
            }
        }
    }

    /// Whether the token may have the requested role as far as the rule lets the token decide. `None` for a role whose
    /// name is not UTF-8, which no claim can name.
    pub fn check_role(
        &self,
        claims: &ClaimSet,
        provider: &Provider,
        map: &RoleMap,
        role: Option<&str>,
    ) -> Result<(), Rejection> {
        let claimed: Vec<&str> = claims.roles_at(&provider.role_claim).collect();
        if !self.delegates_mapping || role.is_some_and(|role| map.roles(&claimed).contains(&role)) {
            return Ok(());
        }
        Err(Rejection::new(Reason::RoleNotAccepted, "The token does not name the requested role.")
            .hint("Check pg_jwks.role_claim and pg_jwks.role_map."))
    }

    /// Whether the rule's issuer is `issuer`. PostgreSQL takes the URL of a discovery document in its place, in the
    /// form of OpenID Connect Discovery 1.0 §4 or of RFC 8414 §3.
    fn means(&self, issuer: &str) -> bool {
        self.issuer == issuer
            || self.issuer == document_url(issuer)
            || metadata_urls(issuer).iter().any(|url| self.issuer == url)
    }
}

/// Who logs in: the provider's `authn_claim`, a string or a whole number of at most 64 bits. Text with control characters
/// is refused, because PostgreSQL writes it to its log.
pub fn authn_id(claims: &ClaimSet, provider: &Provider) -> Result<String, Rejection> {
    let id = claims.identifier_at(provider.authn_claim());
    id.filter(|id| !id.contains(char::is_control)).ok_or_else(|| {
        let detail = "The claim that says who logs in must be a whole number of at most 64 bits, or a string without \
                      control characters.";
        Rejection::new(Reason::LoginNameMissing, detail).hint("Check pg_jwks.authn_claim.")
    })
}

/// Whether anybody may log in with a token as this role.
pub fn check_database_role(name: &[u8], role: DatabaseRole, allow_superuser_login: bool) -> Result<(), Rejection> {
    let reserved = match role {
        DatabaseRole::Missing => {
            return Err(Rejection::new(Reason::RoleNotAccepted, "The requested role does not exist."));
        }
        _ if allow_superuser_login => return Ok(()),
        DatabaseRole::Superuser => "is a superuser",
        DatabaseRole::Replication => "may replicate",
        DatabaseRole::MemberOfSuperuser => "is a member of a superuser",
        DatabaseRole::MemberOfReplication => "is a member of a role that may replicate",
        DatabaseRole::ServerFiles => "may use files or programs of the server",
        DatabaseRole::CreatesRoles => "may create roles, and so give itself any but a superuser's",
        DatabaseRole::Plain if name.starts_with(b"pg_") => "is PostgreSQL's own",
        DatabaseRole::Plain => return Ok(()),
    };
    let detail = format!("The requested role {reserved}, and pg_jwks.allow_superuser_login is off.");
    Err(Rejection::new(Reason::RoleReserved, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::trust_settings::TrustSettings;
    use serde_json::{Value, json};

    fn providers(issuers: &str) -> Providers {
        Providers::assemble(&TrustSettings {
            issuer: Some(issuers),
            audience: Some("app"),
            role_claim: "roles",
            authn_claim: Some("user.name"),
            ..TrustSettings::DEFAULT
        })
        .unwrap()
    }

    fn line(issuer: &str) -> LoginRule<'_> {
        LoginRule { source: RuleSource::HbaLine, issuer, scope: "", delegates_mapping: false }
    }

    fn claims(value: Value) -> ClaimSet {
        ClaimSet::parse(&value.to_string()).unwrap()
    }

    #[test]
    fn a_rule_means_an_issuer_with_a_place_or_one_of_its_tenants() {
        let entry =
            r#"[{"issuer":"https://login.example/{tid}/v2.0","jwks_uri":"https://login.example/keys","any":true}]"#;
        let providers =
            Providers::assemble(&TrustSettings { providers: Some(entry), ..TrustSettings::DEFAULT }).unwrap();
        let of = |tid: &str| claims(json!({ "iss": format!("https://login.example/{tid}/v2.0"), "tid": tid }));
        for (issuer, means) in [
            ("https://login.example/{tid}/v2.0", [true, true]),
            ("https://login.example/1/v2.0", [true, false]),
            ("https://login.example/1/v2.0/.well-known/openid-configuration", [true, false]),
        ] {
            assert!(line(issuer).check_issuer(&providers).is_ok(), "{issuer}");
            for (tid, means) in ["1", "2"].into_iter().zip(means) {
                let checked = line(issuer).check_token(&of(tid), &providers.all()[0]);
                assert_eq!(checked.is_ok(), means, "{issuer} {tid}");
            }
        }
        for other in ["https://login.example/v2.0", "https://login.example/1/v1.0", "https://login.example/1/2/v2.0"] {
            assert!(line(other).check_issuer(&providers).is_err(), "{other}");
        }
    }

    fn reason<T>(result: Result<T, Rejection>) -> Option<Reason> {
        result.err().map(|rejection| rejection.reason)
    }

    #[test]
    fn a_line_means_an_issuer_or_its_discovery_document() {
        for (hba, issuer, expected) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://a.example/", false),
            ("https://a.example/", "https://a.example", false),
            ("https://a.example/.well-known/openid-configuration", "https://a.example", true),
            ("https://a.example/.well-known/openid-configuration", "https://a.example/", true),
            ("https://a.example/r/.well-known/openid-configuration", "https://a.example/r", true),
            ("https://a.example/.well-known/openid-configuration/r", "https://a.example/r", false),
            ("https://a.example/.well-known/oauth-authorization-server/r", "https://a.example/r", true),
            ("https://a.example/r/.well-known/oauth-authorization-server", "https://a.example/r", true),
            ("https://a.example/.well-known/oauth-authorization-server", "https://a.example", true),
            ("https://a.example/.well-known/oauth-authorization-server", "https://a.example/r", false),
            ("https://a.example/.well-known/other", "https://a.example", false),
            ("sophia-ai", "sophia-ai", true),
            ("https://A.example", "https://a.example", false),
            ("", "https://a.example", false),
        ] {
            let all = providers(issuer);
            assert_eq!(line(hba).check_issuer(&all).is_ok(), expected, "{hba} {issuer}");
            let outcome = line(hba).check_token(&claims(json!({})), &all.all()[0]);
            assert_eq!(reason(outcome), (!expected).then_some(Reason::IssuerNotAccepted), "{hba} {issuer}");
        }
        let missing = line("https://c.example").check_issuer(&providers("https://a.example, https://b.example"));
        assert_eq!(reason(missing), Some(Reason::LineIssuerNotConfigured));
        let service = LoginRule { source: RuleSource::PamService, ..line("https://c.example") };
        let missing = service.check_issuer(&providers("https://a.example"));
        assert_eq!(reason(missing), Some(Reason::ServiceIssuerNotConfigured));
    }

    #[test]
    fn a_token_has_every_scope_of_the_line() {
        let all = providers("a");
        let line = LoginRule { scope: " openid  db:read", ..line("a") };
        let check = |value: Value| reason(line.check_token(&claims(value), &all.all()[0]));
        for good in [json!({"scope": "db:read x openid"}), json!({"scp": ["openid", "db:read"]})] {
            assert_eq!(check(good), None);
        }
        for bad in [json!({}), json!({"scope": "openid db:readonly"}), json!({"scope": "openid xdb:read"})] {
            assert_eq!(check(bad.clone()), Some(Reason::ScopeMissing), "{bad}");
        }
    }

    #[test]
    fn the_login_name_is_a_text_or_a_number() {
        let all = providers("a");
        let id = |value: Value| authn_id(&claims(json!({ "user": { "name": value } })), &all.all()[0]);
        assert_eq!(id(json!("alice")).unwrap(), "alice");
        assert_eq!(id(json!(42)).unwrap(), "42");
        for bad in [
            json!(null),
            json!(""),
            json!(true),
            json!(["alice"]),
            json!({}),
            json!("a\nb"),
            json!("a\u{0}"),
            json!(1.5),
            json!(1e30),
        ] {
            assert_eq!(reason(id(bad.clone())), Some(Reason::LoginNameMissing), "{bad}");
        }
        assert_eq!(reason(authn_id(&claims(json!({"user": "alice"})), &all.all()[0])), Some(Reason::LoginNameMissing));
    }

    #[test]
    fn the_token_decides_on_roles_where_the_line_says_so() {
        let all = providers("a");
        let map = RoleMap::parse("admin=app_admin").unwrap();
        let check = |delegates_mapping, value: Value, map: &RoleMap, role| {
            let line = LoginRule { delegates_mapping, ..line("a") };
            line.check_role(&claims(value), &all.all()[0], map, role).is_ok()
        };
        let admin = || json!({"roles": ["reader", "admin"]});
        assert!(check(true, admin(), &map, Some("app_admin")));
        assert!(check(true, json!({"roles": "admin"}), &map, Some("app_admin")));
        assert!(check(true, admin(), &RoleMap::default(), Some("reader")));
        for role in [Some("admin"), Some("reader"), Some("app_admin "), Some(""), None] {
            assert!(!check(true, admin(), &map, role), "{role:?}");
            assert!(check(false, admin(), &map, role), "{role:?}");
        }
        assert!(!check(true, json!({}), &RoleMap::default(), Some("reader")));
    }

    #[test]
    fn reserved_roles_are_for_passwords() {
        use DatabaseRole::{
            CreatesRoles, MemberOfReplication, MemberOfSuperuser, Missing, Plain, Replication, ServerFiles, Superuser,
        };
        for (name, role, expected, allowed) in [
            ("app", Plain, None, None),
            ("app", Missing, Some(Reason::RoleNotAccepted), Some(Reason::RoleNotAccepted)),
            ("app", Superuser, Some(Reason::RoleReserved), None),
            ("app", Replication, Some(Reason::RoleReserved), None),
            ("app", MemberOfSuperuser, Some(Reason::RoleReserved), None),
            ("app", MemberOfReplication, Some(Reason::RoleReserved), None),
            ("app", ServerFiles, Some(Reason::RoleReserved), None),
            ("app", CreatesRoles, Some(Reason::RoleReserved), None),
            ("pg_read_all_data", Plain, Some(Reason::RoleReserved), None),
            ("pgbouncer", Plain, None, None),
        ] {
            assert_eq!(reason(check_database_role(name.as_bytes(), role, false)), expected, "{name} {role:?}");
            assert_eq!(reason(check_database_role(name.as_bytes(), role, true)), allowed, "{name} {role:?}");
        }
    }
}
