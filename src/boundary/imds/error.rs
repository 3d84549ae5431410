//! Why an IMDS request failed, sorted by what an administrator has to do about it.
//!
//! In: the error of one attempt, as a [`FailedAttempt`]. Out: after the last attempt, an [`ImdsError`] with the number
//! of attempts and the elapsed time. An error never contains a token or a body.

use std::sync::Arc;
use std::time::Duration;

use crate::boundary::net::NetError;

/// The path of the token request.
pub(super) const TOKEN: &str = "api/token";

/// The error of the network or of the HTTP library.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection opened.
    #[error(transparent)]
    Connect(NetError),
    /// The answer is incomplete, or not HTTP.
    #[error(transparent)]
    Http(hyper::Error),
    /// The path of the request is invalid.
    #[error(transparent)]
    Path(hyper::http::Error),
}

/// Why a request to the instance metadata service failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ImdsError {
    /// The token request was answered with 403: the service is disabled, or a proxy answered (EC2 User Guide, "Use the
    /// Instance Metadata Service to access instance metadata").
    #[error("IMDS is disabled: the token request was answered with 403{}", by_server(.via, .server))]
    Disabled {
        /// The `Via` header, in which a proxy gives its name.
        via: Option<String>,
        /// The `Server` header, which is `EC2ws` for the service itself.
        server: Option<String>,
    },
    /// Connections open, but no token arrives. A hop limit that is too low has this effect.
    #[error("instance metadata accepts connections but sends no token ({attempts} attempts in {elapsed:.1?})")]
    TokenLost {
        /// The number of attempts.
        attempts: u32,
        /// The time that all attempts took.
        elapsed: Duration,
    },
    /// No connection opened.
    #[error("instance metadata cannot be reached ({attempts} attempts in {elapsed:.1?})")]
    Unreachable {
        /// The number of attempts.
        attempts: u32,
        /// The time that all attempts took.
        elapsed: Duration,
        /// The error of the last attempt; `None` if the deadline passed during the first attempt.
        #[source]
        source: Option<Arc<TransportError>>,
    },
    /// The service granted a token, but did not answer the request for this path.
    #[error("instance metadata did not answer `{path}` in time ({attempts} attempts in {elapsed:.1?})")]
    NoAnswer {
        /// The path below `/latest/`.
        path: String,
        /// The number of attempts.
        attempts: u32,
        /// The time that all attempts took.
        elapsed: Duration,
    },
    /// A request with a token was answered with 403.
    #[error("instance metadata answered `{path}` with 403")]
    Forbidden {
        /// The path below `/latest/`.
        path: String,
    },
    /// The status of the answer is not 200, 403 or 404.
    #[error("instance metadata answered `{path}` with {status} ({attempts} attempts in {elapsed:.1?})")]
    Status {
        /// The path below `/latest/`.
        path: String,
        /// The HTTP status.
        status: u16,
        /// The number of attempts.
        attempts: u32,
        /// The time that all attempts took.
        elapsed: Duration,
    },
    /// The answer cannot be used.
    #[error("instance metadata answered `{path}` with {what} ({attempts} attempts in {elapsed:.1?})")]
    InvalidResponse {
        /// The path below `/latest/`.
        path: String,
        /// What the service sent instead.
        what: &'static str,
        /// The number of attempts.
        attempts: u32,
        /// The time that all attempts took.
        elapsed: Duration,
        /// The error of the HTTP library, if there is one.
        #[source]
        source: Option<Arc<TransportError>>,
    },
    /// The value of an environment variable is not a usable address.
    #[error("{variable}=`{value}` is not a metadata endpoint")]
    BadEndpoint {
        /// The environment variable.
        variable: &'static str,
        /// Its value; `<redacted>` if it may contain a password.
        value: String,
    },
}

fn by_server(via: &Option<String>, server: &Option<String>) -> String {
    match (via, server) {
        (Some(via), _) => format!(" by the proxy `{via}`"),
        (None, Some(server)) => format!(" by `{server}`"),
        (None, None) => String::new(),
    }
}

/// A failed attempt, and the path that it requested.
#[derive(Clone, Debug)]
pub(super) struct FailedAttempt {
    pub(super) path: String,
    pub(super) error: AttemptError,
}

/// Why an attempt failed.
#[derive(Clone, Debug)]
pub(super) enum AttemptError {
    /// Status 403 for the token request.
    Disabled { via: Option<String>, server: Option<String> },
    /// Status 403 for a request with a token.
    Forbidden,
    /// The connection opened, but no answer arrived in time.
    NoAnswer,
    /// No connection opened.
    Connect(Arc<TransportError>),
    /// The deadline passed before it was known whether a connection would open.
    CutShort,
    /// Any other status except 200 and 404.
    Status(u16),
    /// The answer cannot be used.
    Garbled(&'static str, Option<Arc<TransportError>>),
    /// The endpoint that the environment names cannot be used.
    Unusable(ImdsError),
}

impl FailedAttempt {
    /// The error to report after `attempts` attempts in `elapsed`.
    pub(super) fn into_error(self, attempts: u32, elapsed: Duration) -> ImdsError {
        let path = self.path;
        match self.error {
            AttemptError::Disabled { via, server } => ImdsError::Disabled { via, server },
            AttemptError::Forbidden => ImdsError::Forbidden { path },
            AttemptError::NoAnswer if path == TOKEN => ImdsError::TokenLost { attempts, elapsed },
            AttemptError::NoAnswer => ImdsError::NoAnswer { path, attempts, elapsed },
            AttemptError::Connect(source) => ImdsError::Unreachable { attempts, elapsed, source: Some(source) },
            AttemptError::CutShort => ImdsError::Unreachable { attempts, elapsed, source: None },
            AttemptError::Status(status) => ImdsError::Status { path, status, attempts, elapsed },
            AttemptError::Garbled(what, source) => ImdsError::InvalidResponse { path, what, attempts, elapsed, source },
            AttemptError::Unusable(error) => error,
        }
    }
}
