//! Claims as a line of a log has them.

use crate::claims::claim_set::ClaimSet;
use crate::claims::path::ClaimPath;
use crate::json::ascii_escaped;

/// Characters of a claim that a line has at most.
const MAX_CLAIM_CHARACTERS: usize = 256;

/// Reads a list of claim paths with commas between them; each path keeps the name that it was given. The error is a full
/// sentence.
pub fn named_paths(text: &str) -> Result<Vec<(String, ClaimPath)>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| Ok((name.to_owned(), ClaimPath::parse(name)?))).collect()
}

/// `claims: sub=alice, tenant_id=7`: the claims at these paths, each by its name; empty if there is none. Texts of letters,
/// digits and few signs stand as they are; all else is JSON in ASCII, so that no claim looks like another, or ends a line.
pub fn log_text(claims: &ClaimSet, paths: &[(String, ClaimPath)]) -> String {
    let shown: Vec<_> =
        paths.iter().filter_map(|(name, path)| Some(format!("{name}={}", shown(claims, path)?))).collect();
    match shown.is_empty() {
        true => String::new(),
        false => format!("claims: {}", shown.join(", ")),
    }
}

fn shown(claims: &ClaimSet, path: &ClaimPath) -> Option<String> {
    let value = claims.at(path).filter(|value| !value.is_null())?;
    let is_plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:@/+|".contains(&byte))
    };
    let text = match value.as_str() {
        Some(text) if is_plain(text) => text.to_owned(),
        _ => ascii_escaped(&value.to_string()),
    };
    Some(match text.char_indices().nth(MAX_CLAIM_CHARACTERS) {
        None => text,
        Some((end, _)) => format!("{}...", &text[..end]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> String {
        let paths = ["sub", "org.id", "x"].map(|name| (name.to_owned(), ClaimPath::parse(name).unwrap()));
        log_text(&ClaimSet::parse(json).unwrap(), &paths)
    }

    #[test]
    fn claims_are_told_apart() {
        assert_eq!(text(r#"{"sub":"alice","org":{"id":7},"exp":1}"#), "claims: sub=alice, org.id=7");
        assert_eq!(text(r#"{"sub":null}"#), "");
        assert_eq!(text("{}"), "");
        assert_eq!(text(r#"{"sub":"a, org.id=7"}"#), r#"claims: sub="a, org.id=7""#);
        assert_eq!(text(r#"{"sub":"a\nb","x":["\"","ü"]}"#), r#"claims: sub="a\nb", x=["\"","\u00fc"]"#);
        assert_eq!(text(r#"{"sub":""}"#), r#"claims: sub="""#);
    }

    #[test]
    fn a_long_claim_is_cut() {
        let long = text(&format!(r#"{{"sub":"{}","x":1}}"#, "a".repeat(10_000)));
        assert!(long.ends_with("a..., x=1") && long.len() < 300, "{long}");
    }
}
