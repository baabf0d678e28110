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
    /// By `auth.assume_identity`.
    Assumed,
}

impl Origin {
    /// The name that `auth.jwt_sessions` shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            #[cfg(feature = "pg18")]
            Self::OAuth => "oauth",
            Self::Password => "password",
            Self::Assumed => "assumed",
        }
    }

    /// Whether it is that of a login, to which the session returns.
    pub fn is_login(self) -> bool {
        !matches!(self, Self::Init | Self::Assumed)
    }
}
