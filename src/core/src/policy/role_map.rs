//! From the roles of a token to roles of the database (`pg_jwks.role_map`).

use crate::rejection::{Reason, Rejection};

/// The map, in the order in which it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleMap(Vec<(String, String)>);

impl RoleMap {
    /// Parses `admin=app_admin, writer=app_writer`. A claim's role may have an equals sign, a database role may not.
    /// The error is a full sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let pair = item.rsplit_once('=').map(|(claimed, role)| (claimed.trim(), role.trim()));
            match pair {
                Some((claimed, role)) if !claimed.is_empty() && !role.is_empty() => {
                    pairs.push((claimed.to_owned(), role.to_owned()));
                }
                _ => return Err(format!("\"{item}\" is not a pair such as admin=app_admin.")),
            }
        }
        Ok(Self(pairs))
    }

    /// The database roles that a token with these roles may have, in the map's order. An empty map takes roles as they
    /// are, in the token's order.
    pub fn roles<'a>(&'a self, claimed: &[&'a str]) -> Vec<&'a str> {
        match self.0.is_empty() {
            true => claimed.to_vec(),
            false => {
                let named = self.0.iter().filter(|(name, _)| claimed.contains(&name.as_str()));
                named.map(|(_, role)| role.as_str()).collect()
            }
        }
    }
}

/// The rejection of a token that names no role of the database, where it must.
pub fn no_role() -> Rejection {
    Rejection::new(Reason::RoleNotAccepted, "The token must name a role of this database.")
        .hint("Check pg_jwks.role_claim and pg_jwks.role_map.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_outside_the_map_give_nothing() {
        let map = RoleMap::parse("admin=app_admin, writer = app_writer,x=y=z").unwrap();
        assert_eq!(map.roles(&["writer", "admin", "app_admin", "owner"]), ["app_admin", "app_writer"]);
        assert_eq!(map.roles(&["x=y"]), ["z"]);
        assert!(map.roles(&["app_admin", "Admin", ""]).is_empty());
    }

    #[test]
    fn an_empty_map_takes_roles_as_they_are() {
        assert_eq!(RoleMap::parse(" , ").unwrap().roles(&["b", "a"]), ["b", "a"]);
    }

    #[test]
    fn pairs_without_a_side_are_refused() {
        for bad in ["admin", "=x", "admin=", "a=b, c"] {
            assert!(RoleMap::parse(bad).is_err(), "{bad}");
        }
    }
}
