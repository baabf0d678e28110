//! How a session has come by its identity.

/// How a session has come by its identity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// By `auth.jwt_session_init`.
    Init,
    /// By logging in with an OAuth token.
    #[cfg(feature = "pg18")]
    OAuth,
    /// By logging in with a token as the password.
    Password,
}

impl Origin {
    /// The name that `auth.jwt_sessions` shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            #[cfg(feature = "pg18")]
            Self::OAuth => "oauth",
            Self::Password => "password",
        }
    }

    /// Whether it is that of a login, to which the session returns.
    pub fn is_login(self) -> bool {
        self != Self::Init
    }
}
