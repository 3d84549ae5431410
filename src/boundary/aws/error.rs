//! What can be wrong with a call of an AWS service, told apart by the layer that broke.
//!
//! In goes the SDK's error, out comes an [`AwsErrorKind`] and the chain of causes as text. Only the fields that are
//! named here leave the SDK's error: never a request, a header or a body.

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
use super::whole::BrokenAnswer;
use crate::boundary::dns::DnsError;
use crate::boundary::imds::ImdsError;

/// A call that came to nothing, after the SDK's own attempts.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}: {kind} (after {elapsed:.1?})")]
pub struct AwsError {
    /// The call as IAM names it, for example `ecs:DescribeClusters`.
    pub operation: &'static str,
    /// What broke.
    pub kind: AwsErrorKind,
    /// How long it all took.
    pub elapsed: Duration,
    /// The chain of causes where the kind does not say it all.
    #[source]
    pub source: Option<Chain>,
}

impl AwsError {
    /// The error with every name that the service's message has, for a tool whose user wrote the request.
    pub fn verbatim(&self) -> String {
        match &self.kind {
            AwsErrorKind::Denied { message, .. } | AwsErrorKind::Service { message, .. } => {
                self.to_string().replacen(&message.to_string(), message.verbatim(), 1)
            }
            _ => self.to_string(),
        }
    }
}

/// What broke.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AwsErrorKind {
    /// The policy does not allow the call.
    #[error("denied, {code}: {message}")]
    Denied {
        /// `AccessDeniedException` and its like.
        code: String,
        /// The service's own words; they name the principal, the action and the kind of policy.
        message: Message,
    },
    /// The instance has no role.
    #[error("no credentials: the instance has no role")]
    NoCredentials,
    /// The role's credentials document has another `Code` than `Success`.
    #[error("the role's credentials cannot be used: {code}")]
    Credentials {
        /// The document's `Code`.
        code: String,
    },
    /// The role's credentials could not be asked for.
    #[error("no credentials from instance metadata")]
    Imds(#[source] ImdsError),
    /// Too many calls.
    #[error("throttled, {code}")]
    Throttled {
        /// `ThrottlingException` and its like.
        code: String,
    },
    /// Any other error that the service answered.
    #[error("answered {status}, {code}: {message}", code = .code.as_deref().unwrap_or("no error code"))]
    Service {
        /// The error code; none where something else than the service answered.
        code: Option<String>,
        /// The service's own words.
        message: Message,
        /// The HTTP status.
        status: u16,
    },
    /// The name of the endpoint did not resolve.
    #[error("the endpoint's name did not resolve")]
    Dns {
        /// A name server said that there is no such name, rather than none answering.
        no_such_name: bool,
    },
    /// No connection (TCP and TLS) in time.
    #[error("no connection to the endpoint in time")]
    ConnectTimeout,
    /// The endpoint, or a firewall, refused the connection.
    #[error("the endpoint refused the connection")]
    Refused,
    /// The connection failed in another way.
    #[error("no connection to the endpoint")]
    Connect,
    /// The endpoint's certificate was not accepted, or the handshake came to nothing before.
    #[error("{}", .fault.words())]
    Tls {
        /// What is wrong with it.
        fault: TlsFault,
    },
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// An answer that was not understood.
    #[error("the answer was not understood")]
    Garbled,
    /// The file that `AWS_CA_BUNDLE` names cannot be used.
    #[error("the CA bundle `{}` cannot be used: {what}", path.display())]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The call could not be made, for a reason of this host's configuration.
    #[error("the call could not be made: {what}")]
    Setup {
        /// Why.
        what: String,
    },
}

/// What is wrong with a certificate, or with the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// Nobody known has signed it.
    UnknownIssuer,
    /// By this host's clock its time is over.
    Expired,
    /// By this host's clock its time has not come.
    NotValidYet,
    /// It is another name's.
    WrongName,
    /// Anything else.
    Other,
}

impl TlsFault {
    fn words(self) -> &'static str {
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

/// Codes by which services say that a policy forbids the call (IAM User Guide, EC2 API "Error codes").
const DENIED: [&str; 3] = ["AccessDeniedException", "AccessDenied", "UnauthorizedOperation"];

const THROTTLED: [&str; 6] = [
    "ThrottlingException",
    "Throttling",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "RequestThrottled",
    "RequestThrottledException",
];

/// Codes that a new role, a clock being set, or the next rotation of the credentials can cure.
const SETTLING: [&str; 9] = [
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

impl AwsErrorKind {
    /// Whether the same call may succeed later with nobody changing anything: what arrives late counts (a role, its
    /// policy, the network), what somebody must correct does not.
    pub fn is_retryable(&self) -> bool {
        match self {
            AwsErrorKind::Imds(error) => error.is_retryable(),
            AwsErrorKind::Service { code, status, .. } => {
                *status >= 500 || code.as_deref().is_some_and(|code| SETTLING.contains(&code))
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
            | AwsErrorKind::Garbled => true,
        }
    }

    /// The causes of `error` where the kind leaves open what exactly happened; elsewhere they would only repeat it.
    pub(super) fn chain(&self, error: &(dyn Error + 'static)) -> Option<Chain> {
        match self {
            AwsErrorKind::Imds(error) => Some(Chain::of(error)),
            AwsErrorKind::Dns { .. }
            | AwsErrorKind::Connect
            | AwsErrorKind::Tls { .. }
            | AwsErrorKind::Timeout
            | AwsErrorKind::Garbled => Some(Chain::of(error)),
            _ => None,
        }
    }

    /// What an error comes to that the service answered: its code, its message and the HTTP status.
    pub fn of_answer(code: Option<String>, message: Message, status: u16) -> AwsErrorKind {
        match code.map(error_code) {
            Some(code) if DENIED.contains(&code.as_str()) => AwsErrorKind::Denied { code, message },
            Some(code) if THROTTLED.contains(&code.as_str()) => AwsErrorKind::Throttled { code },
            None if (200..300).contains(&status) => AwsErrorKind::Garbled,
            code => AwsErrorKind::Service { code, message, status },
        }
    }

    /// What the SDK's error comes to.
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
            return AwsErrorKind::Garbled;
        }
        match error {
            SdkError::ServiceError(answer) => answered(answer.err(), answer.raw().status().as_u16()),
            SdkError::ResponseError(answer) => match answer.raw().status().as_u16() {
                200..300 => AwsErrorKind::Garbled,
                // A gateway's page in place of the service's error.
                status => AwsErrorKind::Service { code: None, message: Message::default(), status },
            },
            SdkError::TimeoutError(_) => AwsErrorKind::Timeout,
            SdkError::DispatchFailure(failure) => not_sent(error, failure.is_timeout()),
            _ => AwsErrorKind::Setup { what: Chain::of(error).to_string() },
        }
    }
}

fn answered(error: &impl ProvideErrorMetadata, status: u16) -> AwsErrorKind {
    let message = Message::new(error.message().unwrap_or_default());
    AwsErrorKind::of_answer(error.code().map(str::to_owned), message, status)
}

fn not_sent(error: &(dyn Error + 'static), timed_out: bool) -> AwsErrorKind {
    if find::<ResolveDnsError>(error).is_some() {
        let no_such_name = matches!(find::<DnsError>(error), Some(DnsError::NoSuchName { .. }));
        return AwsErrorKind::Dns { no_such_name };
    }
    if let Some(tls) = find::<TlsError>(error) {
        return AwsErrorKind::Tls { fault: TlsFault::of(tls) };
    }
    // Reading has no time-out of its own in our configuration: one that is reported here is the connection's.
    if timed_out {
        return AwsErrorKind::ConnectTimeout;
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => AwsErrorKind::Refused,
        _ => AwsErrorKind::Connect,
    }
}

/// The first error of type `T` in the chain. An `io::Error` hides the error that it carries from `source()`.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<T>() {
            return Some(found);
        }
        next = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried),
            None => current.source(),
        };
    }
    None
}

/// A chain of causes as one text, outermost first, without repetitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(Box<str>);

impl Chain {
    /// The texts of `error` and of its sources.
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
