//! Why an AWS call failed, sorted by the layer that failed.
//!
//! In: the SDK's error. Out: an [`AwsErrorKind`], and the chain of sources as text. Only the fields named here are
//! taken from the SDK's error: never a request, a header or a body.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::dns::ResolveDnsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use rustls::{CertificateError, Error as TlsError};

use super::credentials::CredentialFailure;
use super::message::{Message, error_code};
use super::response_body::BrokenAnswer;
use crate::boundary::dns::DnsError;
use crate::boundary::imds::ImdsError;

/// A failed call, after its repetitions.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}: {kind} (after {elapsed:.1?})")]
pub struct AwsError {
    /// The IAM action of the call, for example `ecs:DescribeClusters`.
    pub operation: &'static str,
    /// The layer that failed.
    pub kind: AwsErrorKind,
    /// The time that all attempts took.
    pub elapsed: Duration,
    /// The chain of sources, if it adds something to `kind`.
    #[source]
    pub source: Option<Chain>,
}

impl AwsError {
    /// Whether a policy does not allow the call.
    pub fn is_denied(&self) -> bool {
        matches!(self.kind, AwsErrorKind::Denied { .. })
    }

    /// The error with the service's complete message, for a tool whose user wrote the request.
    pub fn verbatim(&self) -> String {
        match &self.kind {
            AwsErrorKind::Denied { message, .. } | AwsErrorKind::Service { message, .. } => {
                self.to_string().replacen(&message.to_string(), message.verbatim(), 1)
            }
            _ => self.to_string(),
        }
    }
}

/// The layer that failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AwsErrorKind {
    /// A policy does not allow the call.
    #[error("denied, {code}: {message}")]
    Denied {
        /// The error code, for example `AccessDeniedException`.
        code: String,
        /// The service's message. It has the principal, the action and the type of the policy.
        message: Message,
    },
    /// The instance has no role.
    #[error("no credentials: the instance has no role")]
    NoCredentials,
    /// The `Code` of the role's credentials document is not `Success`.
    #[error("the role's credentials cannot be used: {code}")]
    Credentials {
        /// The document's `Code`.
        code: String,
    },
    /// The role's credentials could not be read from instance metadata.
    #[error("no credentials from instance metadata")]
    Imds(#[source] ImdsError),
    /// There were too many calls.
    #[error("throttled, {code}")]
    Throttled {
        /// The error code, for example `ThrottlingException`.
        code: String,
    },
    /// The service answered with another error.
    #[error("answered {status}, {code}: {message}", code = .code.as_deref().unwrap_or("no error code"))]
    Service {
        /// The error code; `None` if something other than the service has answered.
        code: Option<String>,
        /// The service's message.
        message: Message,
        /// The HTTP status.
        status: u16,
    },
    /// The lookup of the endpoint's name failed.
    #[error("the endpoint's name did not resolve")]
    Dns {
        /// Whether a name server answered that the name does not exist; otherwise no server gave a usable answer.
        no_such_name: bool,
    },
    /// No connection (TCP and TLS) in time.
    #[error("no connection to the endpoint in time")]
    ConnectTimeout,
    /// The endpoint, or a firewall, refused the connection.
    #[error("the endpoint refused the connection")]
    Refused,
    /// The connection failed for another reason.
    #[error("no connection to the endpoint")]
    Connect,
    /// The endpoint's certificate was rejected, or the TLS handshake failed before.
    #[error("{}", .fault.message())]
    Tls {
        /// What is wrong with the certificate or the handshake.
        fault: TlsFault,
    },
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The answer is incomplete or invalid.
    #[error("the answer is incomplete or invalid")]
    InvalidResponse,
    /// The file in `AWS_CA_BUNDLE` cannot be used.
    #[error("the CA bundle `{}` cannot be used: {what}", path.display())]
    CaBundle {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with the file.
        what: String,
    },
    /// The call could not be made because of this host's configuration.
    #[error("the call could not be made: {what}")]
    Setup {
        /// What is wrong with the configuration.
        what: String,
    },
}

/// What is wrong with a certificate, or with the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// No trusted CA has signed the certificate.
    UnknownIssuer,
    /// The certificate has expired by this host's clock.
    Expired,
    /// The certificate is not valid yet by this host's clock.
    NotValidYet,
    /// The certificate belongs to another name.
    WrongName,
    /// Any other fault.
    Other,
}

impl TlsFault {
    fn message(self) -> &'static str {
        match self {
            TlsFault::Other => "no TLS connection to the endpoint",
            _ => "the endpoint's certificate was not accepted",
        }
    }

    fn of(error: &TlsError) -> TlsFault {
        let TlsError::InvalidCertificate(certificate) = error else { return TlsFault::Other };
        match certificate {
            CertificateError::UnknownIssuer => TlsFault::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFault::NotValidYet,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsFault::WrongName,
            _ => TlsFault::Other,
        }
    }
}

/// Error codes for a call that a policy does not allow (IAM User Guide, EC2 API "Error codes").
const DENIED: [&str; 3] = ["AccessDeniedException", "AccessDenied", "UnauthorizedOperation"];

const THROTTLED: [&str; 6] = [
    "ThrottlingException",
    "Throttling",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "RequestThrottled",
    "RequestThrottledException",
];

/// Error codes that end by themselves: when a new role is known everywhere, the clock is set, or credentials are
/// rotated.
const TRANSIENT: [&str; 9] = [
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "AuthFailure",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "ExpiredTokenException",
    "ExpiredToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
];

/// Error codes that a wrong clock can cause.
const SKEW: [&str; 4] = ["InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure", "RequestTimeTooSkewed"];

impl AwsErrorKind {
    /// Whether the same call may succeed later without a correction by an administrator. True for things that may
    /// arrive late: a role, its policy, the network.
    pub fn is_retryable(&self) -> bool {
        match self {
            AwsErrorKind::Imds(error) => error.is_retryable(),
            AwsErrorKind::Service { code, status, .. } => {
                *status >= 500 || code.as_deref().is_some_and(|code| TRANSIENT.contains(&code))
            }
            AwsErrorKind::Tls { fault } => *fault != TlsFault::UnknownIssuer,
            AwsErrorKind::CaBundle { .. } | AwsErrorKind::Setup { .. } => false,
            AwsErrorKind::Denied { .. }
            | AwsErrorKind::NoCredentials
            | AwsErrorKind::Credentials { .. }
            | AwsErrorKind::Throttled { .. }
            | AwsErrorKind::Dns { .. }
            | AwsErrorKind::ConnectTimeout
            | AwsErrorKind::Refused
            | AwsErrorKind::Connect
            | AwsErrorKind::Timeout
            | AwsErrorKind::InvalidResponse => true,
        }
    }

    /// Whether an attempt a second later may succeed, as the SDK's standard mode decides it (AWS SDKs and Tools
    /// Reference Guide, "Retry behavior").
    pub(super) fn is_transient(&self) -> bool {
        match self {
            AwsErrorKind::Dns { .. }
            | AwsErrorKind::ConnectTimeout
            | AwsErrorKind::Refused
            | AwsErrorKind::Connect
            | AwsErrorKind::Timeout => true,
            AwsErrorKind::Tls { fault } => *fault == TlsFault::Other,
            AwsErrorKind::Service { code, status, .. } => {
                matches!(status, 500 | 502..=504)
                    || matches!(code.as_deref(), Some("RequestTimeout" | "RequestTimeoutException"))
            }
            _ => false,
        }
    }

    /// Whether a wrong clock may be the cause, so that the same call succeeds if the SDK corrects the time.
    pub(super) fn may_be_skew(&self) -> bool {
        match self {
            AwsErrorKind::Denied { code, .. } => code == "AccessDeniedException",
            AwsErrorKind::Service { code: Some(code), .. } => SKEW.contains(&code.as_str()),
            _ => false,
        }
    }

    /// The chain of sources of `error`, if the kind alone is not precise; otherwise the chain would only repeat the
    /// kind.
    pub(super) fn chain(&self, error: &(dyn Error + 'static)) -> Option<Chain> {
        match self {
            AwsErrorKind::Imds(error) => Some(Chain::of(error)),
            AwsErrorKind::Dns { .. }
            | AwsErrorKind::Connect
            | AwsErrorKind::Tls { .. }
            | AwsErrorKind::Timeout
            | AwsErrorKind::InvalidResponse => Some(Chain::of(error)),
            _ => None,
        }
    }

    /// Sorts an error answer of a service by its code and its HTTP status.
    pub fn of_answer(code: Option<String>, message: Message, status: u16) -> AwsErrorKind {
        match code.map(error_code) {
            Some(code) if DENIED.contains(&code.as_str()) => AwsErrorKind::Denied { code, message },
            Some(code) if THROTTLED.contains(&code.as_str()) => AwsErrorKind::Throttled { code },
            None if (200..300).contains(&status) => AwsErrorKind::InvalidResponse,
            code => AwsErrorKind::Service { code, message, status },
        }
    }

    /// Sorts an error of the SDK.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> AwsErrorKind
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        if let Some(failure) = find::<CredentialFailure>(error) {
            return match failure.clone() {
                CredentialFailure::Absent => AwsErrorKind::NoCredentials,
                CredentialFailure::NotUsable { code, .. } => AwsErrorKind::Credentials { code },
                CredentialFailure::Imds(error) => AwsErrorKind::Imds(error),
            };
        }
        if let Some(unusable) = find::<CredentialsError>(error) {
            return AwsErrorKind::Setup { what: Chain::of(unusable).to_string() };
        }
        if find::<BrokenAnswer>(error).is_some() {
            return AwsErrorKind::InvalidResponse;
        }
        match error {
            SdkError::ServiceError(answer) => service_error(answer.err(), answer.raw().status().as_u16()),
            SdkError::ResponseError(answer) => match answer.raw().status().as_u16() {
                200..300 => AwsErrorKind::InvalidResponse,
                // The page of a gateway, not an error of the service.
                status => AwsErrorKind::Service { code: None, message: Message::default(), status },
            },
            SdkError::TimeoutError(_) => AwsErrorKind::Timeout,
            SdkError::DispatchFailure(failure) => dispatch_failure(error, failure.is_timeout()),
            _ => AwsErrorKind::Setup { what: Chain::of(error).to_string() },
        }
    }
}

fn service_error(error: &impl ProvideErrorMetadata, status: u16) -> AwsErrorKind {
    let message = Message::new(error.message().unwrap_or_default());
    AwsErrorKind::of_answer(error.code().map(str::to_owned), message, status)
}

fn dispatch_failure(error: &(dyn Error + 'static), timed_out: bool) -> AwsErrorKind {
    if find::<ResolveDnsError>(error).is_some() {
        let no_such_name = matches!(find::<DnsError>(error), Some(DnsError::NoSuchName { .. }));
        return AwsErrorKind::Dns { no_such_name };
    }
    if let Some(tls) = find::<TlsError>(error) {
        return AwsErrorKind::Tls { fault: TlsFault::of(tls) };
    }
    // The SDK's read time-out is not configured, so this is the time-out of the connection.
    if timed_out {
        return AwsErrorKind::ConnectTimeout;
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => AwsErrorKind::Refused,
        _ => AwsErrorKind::Connect,
    }
}

/// The first error of type `T` in the chain. `io::Error` needs `get_ref`: its `source()` skips the error that it
/// contains.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<T>() {
            return Some(found);
        }
        next = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    None
}

/// A chain of error sources as one text, outermost first, without repetitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(Box<str>);

impl Chain {
    /// Joins the texts of `error` and of its sources.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Chain {
        let mut texts: Vec<String> = Vec::new();
        let mut next = Some(error);
        while let Some(current) = next {
            let text = current.to_string();
            if texts.last().is_none_or(|last| !last.ends_with(&text)) {
                texts.push(text);
            }
            next = current.source();
        }
        Chain(texts.join(": ").into())
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Chain {}
