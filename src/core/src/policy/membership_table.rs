//! The table that says to which tenants a user belongs (`pg_jwks.tenant_lookup`).

use std::fmt;

/// A membership table, its names as the catalogue has them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Each field is what its name says.
pub struct MembershipTable {
    pub schema: String,
    pub table: String,
    pub user_column: String,
    pub tenant_column: String,
}

/// Schemas of the system, whose tables can hold secrets and never memberships.
const SYSTEM_SCHEMAS: [&str; 3] = ["pg_catalog", "information_schema", "pg_toast"];

impl MembershipTable {
    /// Parses `public.users (id, tenant_id)`; identifiers as in SQL, the schema always given and not one of the system.
    /// The error is a full sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let problem = || "The value is not of the form schema.table (user_column, tenant_column).".to_string();
        let mut rest = text;
        let mut names = Vec::with_capacity(4);
        for after in ['.', '(', ',', ')'] {
            let (name, tail) = identifier(rest.trim_start()).ok_or_else(problem)?;
            names.push(name);
            rest = tail.trim_start().strip_prefix(after).ok_or_else(problem)?;
        }
        match (rest.trim().is_empty(), <[String; 4]>::try_from(names)) {
            (true, Ok([schema, _, _, _])) if SYSTEM_SCHEMAS.contains(&&*schema) => {
                Err(format!("The schema {schema} is the system's, and has no table of memberships."))
            }
            (true, Ok([schema, table, user_column, tenant_column])) => {
                Ok(Self { schema, table, user_column, tenant_column })
            }
            _ => Err(problem()),
        }
    }
}

/// The table as SQL text, with every name quoted.
impl fmt::Display for MembershipTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quoted(&self.schema), quoted(&self.table))
    }
}

/// A name as a quoted identifier of SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The identifier at the beginning, folded to lower case if it is not quoted, and what follows it.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(mut quoted) = text.strip_prefix('"') else {
        let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let (name, rest) = text.split_at(text.find(|c| !plain(c)).unwrap_or(text.len()));
        let starts = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        return starts.then(|| (name.to_ascii_lowercase(), rest));
    };
    let mut name = String::new();
    loop {
        let (part, rest) = quoted.split_once('"')?;
        name.push_str(part);
        match rest.strip_prefix('"') {
            Some(rest) => {
                name.push('"');
                quoted = rest;
            }
            None => return (!name.is_empty()).then_some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: [&str; 4]) -> MembershipTable {
        let [schema, table, user_column, tenant_column] = names.map(str::to_owned);
        MembershipTable { schema, table, user_column, tenant_column }
    }

    #[test]
    fn identifiers_are_those_of_sql() {
        for (text, names) in [
            ("public.users (id, tenant_id)", ["public", "users", "id", "tenant_id"]),
            (" App.Members(User_Id,Org)", ["app", "members", "user_id", "org"]),
            (r#""My App"."a.b" ("x""y", "Ten, ant")"#, ["My App", "a.b", "x\"y", "Ten, ant"]),
        ] {
            assert_eq!(MembershipTable::parse(text), Ok(table(names)), "{text}");
        }
    }

    #[test]
    fn names_are_quoted_for_sql() {
        assert_eq!(table(["public", "users", "id", "tenant_id"]).to_string(), r#""public"."users""#);
        assert_eq!(table(["a\"b", "c.d; --", "x", "y"]).to_string(), r#""a""b"."c.d; --""#);
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "users (id, tenant_id)",
            "public.users",
            "public.users (id)",
            "public.users (id, a, b)",
            "public.users (id, tenant_id) x",
            "public.users (id, tenant_id); DROP TABLE x",
            "public.\"\" (id, tenant_id)",
            "public.\"users (id, tenant_id)",
            "1.users (id, tenant_id)",
            "a.b.users (id, tenant_id)",
            "pg_catalog.pg_authid (rolconnlimit, rolpassword)",
            "PG_CATALOG.pg_authid (rolname, rolpassword)",
            "\"pg_catalog\".pg_authid (rolname, rolpassword)",
            "information_schema.tables (table_schema, table_name)",
            "pg_toast.pg_toast_1262 (chunk_id, chunk_data)",
        ] {
            assert!(MembershipTable::parse(bad).is_err(), "{bad}");
        }
    }
}
