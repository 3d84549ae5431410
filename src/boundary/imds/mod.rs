//! A client of the instance metadata service (IMDS), version 2 only.
//!
//! In: a path below `/latest/` and a deadline. Out: the answer, `None` for status 404, or an [`ImdsError`], which
//! distinguishes a service that is unreachable from one that is disabled. All clones share one HTTP client and one
//! session token. It never uses a proxy, follows a redirect, uses an answer to a request without a token, or logs a
//! token or a body.

mod connections;
mod endpoint;
mod error;
mod retry;
mod role;

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{DATE, HOST, HeaderName, HeaderValue, SERVER, USER_AGENT, VIA};
use hyper::{Method, Request, Uri};
use tokio::sync::Mutex;

pub use endpoint::Address;
pub use error::{ImdsError, TransportError};
pub use role::{RoleStatus, is_role_document};

pub(super) use role::{CredentialsDocument, Role};

use crate::boundary::clock_skew::ClockSkew;
use crate::boundary::requests::RequestLog;
use crate::retry::{AttemptResult, Deadline, until, within};
use connections::{Answer, Connections, ExchangeError};
use endpoint::Target;
use error::{AttemptError, FailedAttempt, TOKEN};

/// The lifetime of a token in seconds: the longest that the service allows, so that no token expires during a boot.
const TOKEN_TTL: &str = "21600";
/// The time-out for a connection. A link-local service connects within this time or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The time-out for one request. It must be longer than [`CONNECT`]; otherwise a missing token could not be
/// distinguished from a missing connection.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// The path, below `/latest/`, of the target lifecycle state (Amazon EC2 Auto Scaling User Guide, "Retrieve the target
/// lifecycle state through instance metadata").
pub const TARGET_STATE: &str = "meta-data/autoscaling/target-lifecycle-state";
/// The path of the notice of a Spot interruption, below `/latest/`; 404 without one.
pub const INSTANCE_ACTION: &str = "meta-data/spot/instance-action";
/// The path of the recommendation to replace a Spot instance, below `/latest/`; 404 without one (Amazon EC2 User Guide, "EC2
/// instance rebalance recommendations").
pub const REBALANCE: &str = "meta-data/events/recommendations/rebalance";

/// A client of the instance metadata service. Cheap to create and to clone; creating one does no I/O.
#[derive(Clone)]
pub struct Imds {
    shared: Arc<ImdsState>,
}

struct ImdsState {
    address: Address,
    target: Target,
    connections: Arc<Connections>,
    token: Mutex<TokenState>,
    /// The answer of [`Imds::prepare_role`]. The first caller that needs the role takes it.
    prepared_role: Mutex<Option<String>>,
    clock_skew: ClockSkew,
    requests: RequestLog,
}

/// One GET with its retries.
#[derive(Clone)]
struct RetriedGet {
    imds: Imds,
    path: Arc<str>,
    deadline: Deadline,
    /// The failure of the last attempt that the deadline did not cut short.
    last_failure: Arc<std::sync::Mutex<Option<FailedAttempt>>>,
}

impl RetriedGet {
    async fn step(self) -> AttemptResult<Option<Vec<u8>>, FailedAttempt> {
        let failed = match self.imds.attempt(&self.path, self.deadline).await {
            Ok(answer) => return AttemptResult::Done(answer),
            Err(failed) => failed,
        };
        if !failed.is_retryable() {
            return AttemptResult::Stop(failed);
        }
        let mut last_failure = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(failed.error, AttemptError::CutShort) {
            // The attempt before the one that was cut short gives the better error.
            return AttemptResult::Stop(last_failure.take().unwrap_or(failed));
        }
        *last_failure = Some(failed.clone());
        AttemptResult::Retry(failed)
    }
}

#[derive(Default)]
struct TokenState {
    token: Option<HeaderValue>,
    /// The last failed token request, for the callers that waited for it.
    failed: Option<(Instant, FailedAttempt)>,
}

impl Imds {
    /// A client of the service at `address`.
    pub fn new(address: Address) -> Imds {
        let target = address.target();
        let connections = Arc::new(Connections::new(target.place.clone()));
        let shared = ImdsState {
            address,
            target,
            connections,
            token: Mutex::default(),
            prepared_role: Mutex::default(),
            clock_skew: ClockSkew::default(),
            requests: RequestLog::default(),
        };
        Imds { shared: Arc::new(shared) }
    }

    /// Opens connections for this number of concurrent requests, while the first of them still waits for the token.
    pub fn prepare(&self, requests: usize, deadline: Deadline) {
        if self.shared.address.usable().is_ok() {
            // The request for the token opens one.
            self.shared.connections.prepare(requests.saturating_sub(1), connect_timeout(deadline));
        }
    }

    /// The log of requests. The AWS clients of this host write to it too.
    pub fn requests(&self) -> &RequestLog {
        &self.shared.requests
    }

    /// This host's clock minus the `Date` of the last answer, in seconds.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.shared.clock_skew.seconds()
    }

    /// The answer to a GET of `path` below `/latest/`, for example `meta-data/instance-id`; `None` for status 404.
    ///
    /// Retries until `deadline`; `retry` in this folder has the rule.
    pub async fn get(&self, path: &str, deadline: Deadline) -> Result<Option<Vec<u8>>, ImdsError> {
        let request = RetriedGet { imds: self.clone(), path: path.into(), deadline, last_failure: Arc::default() };
        // Not an async closure, and nothing borrowed: otherwise the compiler cannot prove that the future is `Send`,
        // which the SDK requires of a credentials provider (rust-lang/rust issue 110338).
        // Boxed: callers join several of these, and each would be moved as a whole when it ends.
        Box::pin(until(deadline, retry::POLICY, move |_| request.clone().step()))
            .await
            .map_err(|gave_up| gave_up.last.into_error(gave_up.attempts, gave_up.elapsed))
    }

    /// Whether a request without a token is refused (401), because IMDSv1 is disabled; `None` without a clear answer.
    /// Sends one request without a token and uses only its status. For callers that have seen another program send such
    /// requests.
    pub async fn requires_token(&self, deadline: Deadline) -> Option<bool> {
        const PATH: &str = "meta-data/instance-id";
        match self.exchange(Method::GET, PATH, None, deadline).await.ok()?.status {
            401 => Some(true),
            200 => Some(false),
            _ => None,
        }
    }

    async fn attempt(&self, path: &str, deadline: Deadline) -> Result<Option<Vec<u8>>, FailedAttempt> {
        let token = self.token(None, deadline).await?;
        match self.fetch(path, &token, deadline).await {
            Err(FailedAttempt { error: AttemptError::Status(401), .. }) => {
                let renewed = self.token(Some(&token), deadline).await?;
                self.fetch(path, &renewed, deadline).await
            }
            outcome => outcome,
        }
    }

    async fn fetch(
        &self,
        path: &str,
        token: &HeaderValue,
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>, FailedAttempt> {
        let header = (const { HeaderName::from_static("x-aws-ec2-metadata-token") }, token.clone());
        let answer = self.exchange(Method::GET, path, Some(header), deadline).await?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            403 => Err(failed(path, AttemptError::Forbidden)),
            status => Err(failed(path, AttemptError::Status(status))),
        }
    }

    /// The session token. The first caller requests it while it holds the lock; concurrent callers wait and share the
    /// result. `refused` is a token that the service no longer accepts.
    async fn token(&self, refused: Option<&HeaderValue>, deadline: Deadline) -> Result<HeaderValue, FailedAttempt> {
        let start = Instant::now();
        // The caller that holds the lock finishes by its own deadline, usually the same one. Its error is better than
        // "waited for the lock", so wait a little longer.
        let lock_deadline = Deadline::after(deadline.remaining() + Duration::from_millis(300));
        let mut state = within(lock_deadline, self.shared.token.lock()).await.map_err(|_late| cut_short(TOKEN))?;
        if let Some(token) = state.token.as_ref().filter(|token| Some(*token) != refused) {
            return Ok(token.clone());
        }
        if let Some((when, failure)) = &state.failed
            && *when > start
        {
            return Err(failure.clone());
        }
        state.token = None;
        match self.new_token(deadline).await {
            Ok(token) => {
                state.token = Some(token.clone());
                Ok(token)
            }
            Err(failure) => {
                state.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    async fn new_token(&self, deadline: Deadline) -> Result<HeaderValue, FailedAttempt> {
        let name = const { HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds") };
        let header = (name, HeaderValue::from_static(TOKEN_TTL));
        let answer = self.exchange(Method::PUT, TOKEN, Some(header), deadline).await?;
        match answer.status {
            200 => {}
            403 => {
                let header = |name| answer.headers.get(&name).and_then(|value| value.to_str().ok()).map(shortened);
                return Err(failed(TOKEN, AttemptError::Disabled { via: header(VIA), server: header(SERVER) }));
            }
            status => return Err(failed(TOKEN, AttemptError::Status(status))),
        }
        let garbled = |what| failed(TOKEN, AttemptError::Garbled(what, None));
        if answer.body.is_empty() || !answer.body.iter().all(u8::is_ascii_graphic) {
            return Err(garbled("something that is not a token"));
        }
        let mut token = HeaderValue::from_bytes(&answer.body).map_err(|_| garbled("something that is not a token"))?;
        token.set_sensitive(true);
        Ok(token)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
        deadline: Deadline,
    ) -> Result<Answer, FailedAttempt> {
        if let Err(error) = self.shared.address.usable() {
            return Err(failed(TOKEN, AttemptError::Unusable(error.clone())));
        }
        let start = Instant::now();
        let budget = ATTEMPT_TIMEOUT.min(deadline.remaining());
        let connect_timeout = connect_timeout(deadline);
        let outcome = match self.request(method, path, header) {
            Ok(request) => self.read(request, budget, connect_timeout).await,
            Err(error) => Err(error),
        };
        let outcome = outcome.map_err(|error| match error {
            AttemptError::NoAnswer if budget < ATTEMPT_TIMEOUT && budget <= time_to_connect(connect_timeout) => {
                cut_short(path)
            }
            error => failed(path, error),
        });
        let is_answer = outcome.as_ref().is_ok_and(|answer| matches!(answer.status, 200 | 404));
        self.shared.requests.ended("IMDS", path, start, is_answer);
        let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &outcome {
            Ok(answer) => tracing::debug!(path, status = answer.status, duration_ms, "IMDS request answered"),
            Err(failed) => tracing::debug!(path, error = ?failed.error, duration_ms, "IMDS request failed"),
        }
        outcome
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Request<String>, AttemptError> {
        let invalid = |error: hyper::http::Error| {
            AttemptError::Garbled("a name that cannot be part of a path", Some(Arc::new(TransportError::Path(error))))
        };
        let target = &self.shared.target;
        // Not with its builder, which moves the whole request at each step.
        let mut request = Request::new(String::new());
        *request.method_mut() = method;
        *request.uri_mut() =
            Uri::try_from(format!("{}/latest/{path}", target.path)).map_err(|error| invalid(error.into()))?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&target.host).map_err(|error| invalid(error.into()))?);
        headers.insert(
            USER_AGENT,
            const { HeaderValue::from_static(concat!("ecs-bootstrap/", env!("CARGO_PKG_VERSION"))) },
        );
        headers.extend(header);
        Ok(request)
    }

    async fn read(
        &self,
        request: Request<String>,
        budget: Duration,
        connect_timeout: Duration,
    ) -> Result<Answer, AttemptError> {
        let exchange = self.shared.connections.exchange(request, connect_timeout);
        let answer = match within(Deadline::after(budget), exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(ExchangeError::Connect(error))) => {
                return Err(AttemptError::Connect(Arc::new(TransportError::Connect(error))));
            }
            Ok(Err(ExchangeError::Broken(error))) => {
                let what = "an incomplete answer, or one that is not HTTP";
                return Err(AttemptError::Garbled(what, Some(Arc::new(TransportError::Http(error)))));
            }
            Ok(Err(ExchangeError::TooLong)) => return Err(AttemptError::Garbled("more than 256 KiB", None)),
            Err(_late) => return Err(AttemptError::NoAnswer),
        };
        if let Some(date) = answer.headers.get(DATE).and_then(|date| date.to_str().ok()) {
            self.shared.clock_skew.note(date);
        }
        Ok(answer)
    }
}

/// The time-out for a connection. If the deadline is too short for a whole attempt, half of the time is kept for the
/// answer.
fn connect_timeout(deadline: Deadline) -> Duration {
    CONNECT_TIMEOUT.min(deadline.remaining() / 2).max(Duration::from_millis(350))
}

/// The time after which an attempt knows whether a connection opened: the time-out for it and a quarter more, because
/// timers fire late on a busy host. A shorter attempt cannot distinguish a missing connection from a missing answer.
fn time_to_connect(connect_timeout: Duration) -> Duration {
    connect_timeout + connect_timeout / 4
}

impl std::fmt::Debug for Imds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Imds").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

fn failed(path: &str, error: AttemptError) -> FailedAttempt {
    FailedAttempt { path: path.to_owned(), error }
}

fn cut_short(path: &str) -> FailedAttempt {
    failed(path, AttemptError::CutShort)
}

fn shortened(header: &str) -> String {
    header.chars().take(80).collect()
}

#[cfg(test)]
use connections::MAX_ANSWER_LENGTH;
#[cfg(test)]
mod tests;
