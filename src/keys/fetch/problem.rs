//! What went wrong with a request, in words that say what to do.

use std::io;

use pg_jwks_core::bounds::MAX_DOCUMENT_BYTES;
use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// Why there is no answer, as a full sentence. `what` was asked for.
pub fn problem(what: &str, error: ureq::Error) -> String {
    let words = match error {
        ureq::Error::Timeout(_) => return format!("{what} took too long."),
        ureq::Error::BodyExceedsLimit(_) => return format!("{what} answered more than {MAX_DOCUMENT_BYTES} bytes."),
        ureq::Error::Rustls(error) => tls_problem(&error),
        ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
            Some(tls) => tls_problem(tls),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the connection was closed before the answer was complete".into()
            }
            None => error.to_string(),
        },
        error => error.to_string(),
    };
    format!("{what} failed: {words}.")
}

fn tls_problem(error: &TlsError) -> String {
    let words = match error {
        TlsError::InvalidCertificate(problem) => return certificate_problem(problem),
        TlsError::PeerIncompatible(_) | TlsError::AlertReceived(AlertDescription::ProtocolVersion) => {
            "it has no version of TLS that is still safe (1.2 or 1.3)"
        }
        TlsError::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity) => {
            "it has no cipher of TLS 1.2 or 1.3 that is still safe"
        }
        TlsError::AlertReceived(AlertDescription::CertificateRequired) => "it asks for a client certificate",
        TlsError::InvalidMessage(_) => "it does not speak TLS there",
        _ => return error.to_string(),
    };
    words.into()
}

fn certificate_problem(problem: &CertificateError) -> String {
    use CertificateError as Problem;
    let words = match problem {
        Problem::UnknownIssuer | Problem::BadSignature => {
            "its certificate was not issued by a trusted authority; if it is self-signed, or of an authority of your own, name \
             that in pg_jwks.ca_file"
        }
        Problem::NotValidForName | Problem::NotValidForNameContext { .. } => "its certificate is not for this host",
        Problem::Expired | Problem::ExpiredContext { .. } => "its certificate has expired",
        Problem::NotValidYet | Problem::NotValidYetContext { .. } => "its certificate is not valid yet",
        Problem::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is that of an authority (CA:TRUE), which must not be a server's: issue one for the server"
        }
        _ => return TlsError::InvalidCertificate(problem.clone()).to_string(),
    };
    words.into()
}
