//! Session variables that show claims to policies written for `current_setting()` (`pg_jwks.claim_settings`).

use crate::claims::ClaimPath;

/// The most variables that can be defined.
pub const MAX_VARIABLES: usize = 32;

/// What a variable shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// `*`: all claims as a JSON object.
    AllClaims,
    /// One claim.
    Claim(ClaimPath),
}

/// A session variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimVariable {
    /// Its name, such as `app.user_id`.
    pub name: String,
    /// What it shows.
    pub shown: Shown,
}

/// Parses `app.user_id=sub, request.jwt.claims=*`. The error is a full sentence.
pub fn parse(text: &str) -> Result<Vec<ClaimVariable>, String> {
    let mut variables: Vec<ClaimVariable> = Vec::new();
    for item in items(text) {
        let Some((name, path)) = item.split_once('=') else {
            return Err(format!("\"{item}\" is not of the form variable=claim."));
        };
        let (name, path) = (name.trim(), path.trim());
        if !is_variable_name(name) {
            return Err(format!("\"{name}\" is not the name of a session variable such as app.user_id."));
        }
        // Names of settings compare without case.
        if variables.iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
            return Err(format!("Variable \"{name}\" appears twice."));
        }
        let shown = match path {
            "*" => Shown::AllClaims,
            path => Shown::Claim(ClaimPath::parse(path)?),
        };
        variables.push(ClaimVariable { name: name.to_owned(), shown });
    }
    match variables.len() > MAX_VARIABLES {
        true => Err(format!("There are more than {MAX_VARIABLES} variables.")),
        false => Ok(variables),
    }
}

/// The parts between commas; a comma in a JSON array of names separates nothing.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    let separates = move |c: char| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    text.split(separates).map(str::trim).filter(|item| !item.is_empty())
}

/// Whether PostgreSQL takes this as the name of a custom setting that is not one of pg_jwks.
fn is_variable_name(name: &str) -> bool {
    let word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$')
    };
    let own = name.split('.').next().is_some_and(|first| first.eq_ignore_ascii_case("pg_jwks"));
    name.contains('.') && name.split('.').all(word) && name.len() < 64 && !own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_show_claims() {
        let parsed =
            parse(r#"app.user_id = sub, request.jwt.claims=*, app.roles=["a,b","c"], x.org=https://x.example/org"#);
        let parsed = parsed.unwrap();
        let named: Vec<_> = parsed.iter().map(|variable| variable.name.as_str()).collect();
        assert_eq!(named, ["app.user_id", "request.jwt.claims", "app.roles", "x.org"]);
        assert_eq!(parsed[1].shown, Shown::AllClaims);
        assert_eq!(parsed[2].shown, Shown::Claim(ClaimPath::parse(r#"["a,b","c"]"#).unwrap()));
        assert_eq!(parse(" , "), Ok(vec![]));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "app.user_id",
            "app.user_id=",
            "user_id=sub",
            "work_mem=sub",
            "pg_jwks.session=sub",
            "PG_JWKS.x=sub",
            "app.user-id=sub",
            "app..id=sub",
            "app.1=sub",
            "a.b=sub, A.B=email",
            "a.b=[\"x\"",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let many: Vec<_> = (0..=MAX_VARIABLES).map(|number| format!("a.v{number}=sub")).collect();
        assert!(parse(&many.join(",")).is_err());
    }
}
