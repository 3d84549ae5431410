//! What can be wrong with the instance metadata service, told apart by what one would do about it.
//!
//! An attempt fails with a [`FailedAttempt`]; when no attempt is left it becomes an [`ImdsError`] that says how long and how
//! often was asked. Neither ever holds a token or the body of an answer.

use std::sync::Arc;
use std::time::Duration;

/// The path of the token request.
pub(super) const TOKEN: &str = "api/token";

/// AttemptError the instance metadata service gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ImdsError {
    /// The token request was answered 403: the service is off, or a proxy answered in its place (EC2 User Guide, "Use
    /// the Instance Metadata Service to access instance metadata").
    #[error("instance metadata is switched off: the token request was answered 403{}", server_words(.via, .server))]
    Disabled {
        /// The `Via` header: a proxy names itself there.
        via: Option<String>,
        /// The `Server` header; the service's own is `EC2ws`.
        server: Option<String>,
    },
    /// A connection opens, a token never comes: the answer's hop limit is used up on the way.
    #[error("instance metadata takes connections but sends no token ({attempts} attempts in {elapsed:.1?})")]
    TokenLost {
        /// How often it was asked.
        attempts: u32,
        /// How long it was waited for.
        elapsed: Duration,
    },
    /// No connection.
    #[error("instance metadata cannot be reached ({attempts} attempts in {elapsed:.1?})")]
    Unreachable {
        /// How often it was asked.
        attempts: u32,
        /// How long it was tried.
        elapsed: Duration,
        /// The last attempt's error; none where the deadline came before any attempt had ended.
        #[source]
        source: Option<Arc<reqwest::Error>>,
    },
    /// The token was granted, the answer to this path never came.
    #[error("instance metadata gave no answer to `{path}` in time ({attempts} attempts in {elapsed:.1?})")]
    NoAnswer {
        /// The path below `/latest/`.
        path: String,
        /// How often it was asked.
        attempts: u32,
        /// How long it was waited for.
        elapsed: Duration,
    },
    /// A request with a token was answered 403.
    #[error("instance metadata forbids `{path}`")]
    Forbidden {
        /// The path below `/latest/`.
        path: String,
    },
    /// An answer that is neither 200 nor 404.
    #[error("instance metadata answered {status} to `{path}` ({attempts} attempts in {elapsed:.1?})")]
    Status {
        /// The path below `/latest/`.
        path: String,
        /// The HTTP status.
        status: u16,
        /// How often it was asked.
        attempts: u32,
        /// How long it was tried.
        elapsed: Duration,
    },
    /// An answer that cannot be used.
    #[error("instance metadata answered `{path}` with {what} ({attempts} attempts in {elapsed:.1?})")]
    Garbled {
        /// The path below `/latest/`.
        path: String,
        /// What is wrong with the answer.
        what: &'static str,
        /// How often it was asked.
        attempts: u32,
        /// How long it was tried.
        elapsed: Duration,
        /// The HTTP client's error, where it is the one that complained.
        #[source]
        source: Option<Arc<reqwest::Error>>,
    },
    /// A variable that addresses the service cannot be understood.
    #[error("{variable}=`{value}` does not name a metadata endpoint")]
    BadEndpoint {
        /// The environment variable.
        variable: &'static str,
        /// Its value; `<redacted>` where it may hold a password.
        value: String,
    },
    /// The HTTP client cannot be built.
    #[error("the client for instance metadata cannot be set up")]
    Setup {
        /// AttemptError.
        #[source]
        source: Arc<reqwest::Error>,
    },
}

fn server_words(via: &Option<String>, server: &Option<String>) -> String {
    match (via, server) {
        (Some(via), _) => format!(" by the proxy `{via}`"),
        (None, Some(server)) => format!(" by `{server}`"),
        (None, None) => String::new(),
    }
}

/// One attempt that came to nothing.
#[derive(Clone, Debug)]
pub(super) struct FailedAttempt {
    pub(super) path: String,
    pub(super) why: AttemptError,
}

/// What became of the attempt.
#[derive(Clone, Debug)]
pub(super) enum AttemptError {
    /// 403 to the token request.
    Disabled { via: Option<String>, server: Option<String> },
    /// 403 to anything else.
    Forbidden,
    /// Connected, then nothing.
    Silent,
    /// Not connected.
    Connect(Arc<reqwest::Error>),
    /// The deadline came before one could tell whether a connection would open.
    CutShort,
    /// Any other status than 200 and 404.
    Status(u16),
    /// An answer that cannot be used.
    Garbled(&'static str, Option<Arc<reqwest::Error>>),
    /// The endpoint of the environment cannot be used.
    Unusable(ImdsError),
    /// No client.
    Setup(Arc<reqwest::Error>),
}

impl FailedAttempt {
    /// The error after `attempts` in `elapsed`.
    pub(super) fn into_error(self, attempts: u32, elapsed: Duration) -> ImdsError {
        let path = self.path;
        match self.why {
            AttemptError::Disabled { via, server } => ImdsError::Disabled { via, server },
            AttemptError::Forbidden => ImdsError::Forbidden { path },
            AttemptError::Silent if path == TOKEN => ImdsError::TokenLost { attempts, elapsed },
            AttemptError::Silent => ImdsError::NoAnswer { path, attempts, elapsed },
            AttemptError::Connect(source) => ImdsError::Unreachable { attempts, elapsed, source: Some(source) },
            AttemptError::CutShort => ImdsError::Unreachable { attempts, elapsed, source: None },
            AttemptError::Status(status) => ImdsError::Status { path, status, attempts, elapsed },
            AttemptError::Garbled(what, source) => ImdsError::Garbled { path, what, attempts, elapsed, source },
            AttemptError::Unusable(error) => error,
            AttemptError::Setup(source) => ImdsError::Setup { source },
        }
    }
}
