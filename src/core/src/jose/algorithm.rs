//! Signature algorithms (RFC 7518 §3.1, RFC 8037 §3.1, RFC 8812 §3.2, RFC 9864 §2.2) and sets of them.

use std::fmt;
use std::str::FromStr;

/// A signature algorithm that this library verifies. `none` is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // The names are the registered ones.
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    ES256K,
    EdDSA,
}

/// What kind of key an algorithm needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// A shared secret.
    Oct,
    /// An RSA public key.
    Rsa,
    /// A point on P-256.
    P256,
    /// A point on P-384.
    P384,
    /// A point on P-521.
    P521,
    /// A point on secp256k1.
    Secp256k1,
    /// An Ed25519 public key.
    Ed25519,
}

impl KeyType {
    /// The registered `kty` (RFC 7518 §6.1, RFC 8037 §2).
    pub fn kty(self) -> &'static str {
        match self {
            Self::Oct => "oct",
            Self::Rsa => "RSA",
            Self::P256 | Self::P384 | Self::P521 | Self::Secp256k1 => "EC",
            Self::Ed25519 => "OKP",
        }
    }
}

const ALL: [(Algorithm, &str, KeyType); 14] = [
    (Algorithm::HS256, "HS256", KeyType::Oct),
    (Algorithm::HS384, "HS384", KeyType::Oct),
    (Algorithm::HS512, "HS512", KeyType::Oct),
    (Algorithm::RS256, "RS256", KeyType::Rsa),
    (Algorithm::RS384, "RS384", KeyType::Rsa),
    (Algorithm::RS512, "RS512", KeyType::Rsa),
    (Algorithm::PS256, "PS256", KeyType::Rsa),
    (Algorithm::PS384, "PS384", KeyType::Rsa),
    (Algorithm::PS512, "PS512", KeyType::Rsa),
    (Algorithm::ES256, "ES256", KeyType::P256),
    (Algorithm::ES384, "ES384", KeyType::P384),
    (Algorithm::ES512, "ES512", KeyType::P521),
    (Algorithm::ES256K, "ES256K", KeyType::Secp256k1),
    (Algorithm::EdDSA, "EdDSA", KeyType::Ed25519),
];

impl Algorithm {
    /// The registered name. EdDSA is what tokens and keys are called whose curve is Ed25519 (RFC 8037), though RFC 9864
    /// has a name for that pair.
    pub fn name(self) -> &'static str {
        ALL[self as usize].1
    }

    /// The kind of key it needs.
    pub fn key_type(self) -> KeyType {
        ALL[self as usize].2
    }
}

impl FromStr for Algorithm {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        // Only this curve of EdDSA's is supported, so that both names mean the same here (RFC 9864 §2.2).
        if name == "Ed25519" {
            return Ok(Self::EdDSA);
        }
        ALL.iter().find(|row| row.1 == name).map(|row| row.0).ok_or(())
    }
}

/// A set of algorithms (`pg_jwks.allowed_algorithms`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithms(u16);

impl Algorithms {
    /// The default set: every asymmetric algorithm but ES256K, whose curve hardly any provider of identities uses.
    pub const ASYMMETRIC: &str = "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA";

    /// Parses a comma-separated list of names; the error is a full sentence.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut set = 0;
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let algorithm = name.parse::<Algorithm>().map_err(|()| {
                let known = ALL.map(|row| row.1).join(", ");
                let note = if name == "Ed448" { " Of EdDSA, only the curve Ed25519 is." } else { "" };
                format!("\"{name}\" is not a supported algorithm. Supported are {known}.{note}")
            })?;
            set |= 1 << algorithm as u16;
        }
        if set == 0 {
            return Err("The list of algorithms is empty.".into());
        }
        Ok(Self(set))
    }

    /// Whether the set has `algorithm`.
    pub fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & (1 << algorithm as u16) != 0
    }
}

impl fmt::Display for Algorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = ALL.iter().filter(|row| self.contains(row.0)).map(|row| row.1).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, row) in ALL.iter().enumerate() {
            assert_eq!(row.0 as usize, index);
            assert_eq!(format!("{:?}", row.0), row.1);
            assert_eq!(row.1.parse(), Ok(row.0));
        }
    }

    #[test]
    fn the_default_set_has_no_symmetric_algorithm() {
        let set = Algorithms::parse(Algorithms::ASYMMETRIC).unwrap();
        for row in ALL {
            let is_default = ![KeyType::Oct, KeyType::Secp256k1].contains(&row.2);
            assert_eq!(set.contains(row.0), is_default, "{}", row.1);
        }
        assert_eq!(set.to_string(), Algorithms::ASYMMETRIC);
    }

    #[test]
    fn none_and_unknown_names_are_refused() {
        for bad in ["none", "None", "RS256,none", "rs256", "ES521", "Ed448", "ed25519", "", " , "] {
            assert!(Algorithms::parse(bad).is_err(), "{bad}");
        }
        assert!(Algorithms::parse("Ed448").unwrap_err().ends_with("Of EdDSA, only the curve Ed25519 is."));
    }

    #[test]
    fn the_fully_specified_name_of_eddsa_is_the_same() {
        assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDSA));
        assert_eq!(Algorithms::parse("Ed25519"), Algorithms::parse("EdDSA"));
        assert_eq!(Algorithms::parse("Ed25519").unwrap().to_string(), "EdDSA");
    }
}
