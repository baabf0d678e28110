//! The settings that the documents give for identity providers, with claims as the providers document them.

use pg_test::documents::Page;
use pg_test::{claims, pg_error};
use serde_json::{Value, json};

use crate::app::{CLUSTER, KEY};

/// The settings for a provider, for the session alone.
fn recipe(provider: &str) -> String {
    let [settings] = &Page::of_repository("docs/providers.md").blocks(provider, "sql")[..] else {
        panic!("one block for {provider}");
    };
    settings.replace("ALTER SYSTEM SET", "SET")
}

/// Whose token it is and whether they have the role, or why it is refused.
fn outcome(provider: &str, payload: &Value, role: &str) -> Result<(String, bool), String> {
    let mut client = CLUSTER.client();
    client.batch_execute(&recipe(provider)).expect(provider);
    let token = KEY.sign(payload);
    client
        .execute("SELECT auth.jwt_session_init($1)", &[&token])
        .map_err(|error| pg_error(&error).message.replace("JWT rejected: ", ""))?;
    let row = client.query_one("SELECT auth.user_id(), auth.has_role($1)", &[&role]).expect("SELECT");
    Ok((row.get(0), row.get(1)))
}

#[track_caller]
fn accepted(provider: &str, role: &str, payload: &Value) {
    let sub = payload["sub"].as_str().expect("a user").to_owned();
    assert_eq!(outcome(provider, payload, role), Ok((sub, true)), "{provider}");
    assert!(!outcome(provider, payload, "another role").expect(provider).1, "{provider}");
}

/// Tokens that differ in one claim are refused; null leaves it out.
#[track_caller]
fn refused(provider: &str, payload: &Value, claim: &str, values: &[Value]) {
    for value in values {
        let mut payload = payload.clone();
        payload[claim] = value.clone();
        payload.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        let reason = if claim == "iss" { "issuer not accepted" } else { "audience not accepted" };
        assert_eq!(outcome(provider, &payload, ""), Err(reason.to_owned()), "{provider}: {claim} is {value}");
    }
}

fn payload(iss: &str, sub: &str, aud: Value, more: Value) -> Value {
    let mut payload = claims(iss, sub);
    payload["aud"] = aud;
    let Value::Object(more) = more else { panic!("an object") };
    payload.as_object_mut().expect("an object").extend(more);
    payload
}

#[test]
fn auth0() {
    let aud = json!(["https://db.example.com", "https://example.eu.auth0.com/userinfo"]);
    let more = json!({"azp": "client", "scope": "openid db:read", "https://example.com/roles": ["writer"]});
    let good = payload("https://example.eu.auth0.com/", "auth0|6553da60a54af58e29493993", aud, more);
    accepted("Auth0", "writer", &good);
    refused("Auth0", &good, "iss", &[json!("https://example.eu.auth0.com"), json!("https://other.eu.auth0.com/")]);
    refused("Auth0", &good, "aud", &[json!("https://example.eu.auth0.com/userinfo"), json!("client")]);
}

#[test]
fn keycloak() {
    let more = json!({"azp": "web", "typ": "Bearer", "realm_access": {"roles": ["offline_access", "writer"]}});
    let aud = json!(["db", "account"]);
    let good = payload("https://sso.example.com/realms/example", "f2b9d1a0-8d0e-4c39-9c3d-0d9c7d1a2b3c", aud, more);
    accepted("Keycloak", "writer", &good);
    refused("Keycloak", &good, "iss", &[json!("https://sso.example.com/realms/master")]);
    // As it is without a mapper for the audience.
    refused("Keycloak", &good, "aud", &[json!("account"), json!(null)]);
}

#[test]
fn entra_id() {
    let tenant = "11111111-2222-3333-4444-555555555555";
    let v2 = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let more = json!({"ver": "2.0", "tid": tenant, "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474", "scp": "db.read",
        "roles": ["writer"]});
    let aud = json!("66666666-7777-8888-9999-000000000000");
    let good = payload(&v2(tenant), "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", aud, more);
    accepted("Microsoft Entra ID", "writer", &good);
    let v1 = format!("https://sts.windows.net/{tenant}/");
    let others = [json!(v1), json!(v2("72f988bf-86f1-41af-91ab-2d7cd011db47")), json!(v2("{tenantid}"))];
    refused("Microsoft Entra ID", &good, "iss", &others);
    refused("Microsoft Entra ID", &good, "aud", &[json!("https://graph.microsoft.com")]);
}

#[test]
fn google() {
    let aud = json!("1234567890-example.apps.googleusercontent.com");
    let more = json!({"hd": "example.com", "email": "alice@example.com", "email_verified": true, "role": "writer"});
    let good = payload("https://accounts.google.com", "111260650121245072906", aud, more);
    accepted("Google", "writer", &good);
    refused("Google", &good, "iss", &[json!("accounts.google.com")]);
    refused("Google", &good, "aud", &[json!("1234567890-other.apps.googleusercontent.com")]);
}

#[test]
fn okta() {
    let more = json!({"ver": 1, "cid": "client", "uid": "00uid", "scp": ["openid", "db.read"], "groups": ["writer"]});
    let aud = json!("api://default");
    let good = payload("https://example.okta.com/oauth2/default", "alice@example.com", aud, more);
    accepted("Okta", "writer", &good);
    refused("Okta", &good, "iss", &[json!("https://example.okta.com")]);
    refused("Okta", &good, "aud", &[json!("https://example.okta.com")]);
}

#[test]
fn neon_auth() {
    let origin = "https://ep-example.neonauth.eu-central-1.aws.neon.tech";
    let more = json!({"role": "authenticated", "o": {"id": "org-123", "slug": "my-org", "role": "owner"}});
    let good = payload(origin, "860dc360-609f-4b7d-9e70-ec93fe6414d3", json!(origin), more);
    accepted("Neon Auth", "owner", &good);
    refused("Neon Auth", &good, "iss", &[json!(format!("{origin}/neondb/auth"))]);
    refused("Neon Auth", &good, "aud", &[json!(null)]);
}

#[test]
fn stack_auth() {
    let project = "11111111-2222-3333-4444-555555555555";
    let base = "https://api.stack-auth.com/api/v1";
    let more = json!({"role": "authenticated", "project_id": project});
    let sub = "f2b9d1a0-8d0e-4c39-9c3d-0d9c7d1a2b3c";
    let good = payload(&format!("{base}/projects/{project}"), sub, json!(project), more);
    accepted("Stack Auth", "authenticated", &good);
    let anonymous = json!(format!("{base}/projects-anonymous-users/{project}"));
    refused("Stack Auth", &good, "iss", &[anonymous]);
    refused("Stack Auth", &good, "aud", &[json!(format!("{project}:anon"))]);
}

#[test]
fn supabase_auth() {
    let more = json!({"role": "authenticated", "is_anonymous": false, "app_metadata": {"tenant_id": "t1"}});
    let sub = "123e4567-e89b-12d3-a456-426614174000";
    let good = payload("https://abcdefghijklmnopqrst.supabase.co/auth/v1", sub, json!("authenticated"), more);
    accepted("Supabase Auth", "authenticated", &good);
    refused("Supabase Auth", &good, "iss", &[json!("supabase"), json!("https://abcdefghijklmnopqrst.supabase.co")]);
    refused("Supabase Auth", &good, "aud", &[json!("anon")]);
}
