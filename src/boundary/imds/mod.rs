//! A client of the instance metadata service (IMDS), version 2 only.
//!
//! In: a path below `/latest/` and a deadline. Out: the answer, `None` for status 404, or an [`ImdsError`], which
//! distinguishes a service that is unreachable from one that is disabled. All clones share one HTTP client and one
//! session token. It never uses a proxy, follows a redirect, uses an answer to a request without a token, or logs a
//! token or a body.

mod endpoint;
mod error;
mod retry;
mod role;

use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{DATE, HOST, HeaderMap, HeaderValue, SERVER, VIA};
use reqwest::{Client, RequestBuilder};
use tokio::sync::Mutex;

pub use endpoint::Address;
pub use error::ImdsError;
pub use role::{RoleStatus, is_role_document};

pub(super) use role::{CredentialsDocument, Role};

use crate::boundary::clock_skew::ClockSkew;
use crate::boundary::dns::Dns;
use crate::retry::{AttemptResult, Deadline, until, within};
use endpoint::Candidates;
use error::{AttemptError, FailedAttempt, TOKEN};

/// The lifetime of a token in seconds: the longest that the service allows, so that no token expires during a boot.
const TOKEN_TTL: &str = "21600";
/// The time-out for a connection. A link-local service connects within this time or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The time-out for one request. It must be longer than [`CONNECT`]; otherwise a missing token could not be
/// distinguished from a missing connection.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes of an answer, so that an endless answer cannot fill the memory. The longest real answer is user data,
/// at most 16 KiB.
const MAX_ANSWER_LENGTH: usize = 256 * 1024;

/// The path, below `/latest/`, of the target lifecycle state (Amazon EC2 Auto Scaling User Guide, "Retrieve the target
/// lifecycle state through instance metadata").
pub const TARGET_STATE: &str = "meta-data/autoscaling/target-lifecycle-state";
/// The path of the notice of a Spot interruption, below `/latest/`; 404 without one.
pub const INSTANCE_ACTION: &str = "meta-data/spot/instance-action";

/// A client of the instance metadata service. Cheap to create and to clone; creating one does no I/O.
#[derive(Clone)]
pub struct Imds {
    shared: Arc<ImdsState>,
}

struct ImdsState {
    address: Address,
    candidates: Candidates,
    /// The HTTP client, and its time-out for a connection.
    client: OnceLock<(Client, Duration)>,
    token: Mutex<TokenState>,
    clock_skew: ClockSkew,
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

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Imds {
    /// A client of the service at `address`.
    pub fn new(address: Address) -> Imds {
        let candidates = Candidates::new(address.candidates());
        let (client, token, clock_skew) = (OnceLock::new(), Mutex::default(), ClockSkew::default());
        Imds { shared: Arc::new(ImdsState { address, candidates, client, token, clock_skew }) }
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
        until(deadline, retry::POLICY, move |_| request.clone().step())
            .await
            .map_err(|gave_up| gave_up.last.into_error(gave_up.attempts, gave_up.elapsed))
    }

    /// Whether a request without a token is refused (401), because IMDSv1 is disabled; `None` without a clear answer.
    /// Sends one request without a token and uses only its status. For callers that have seen another program send such
    /// requests.
    pub async fn requires_token(&self, deadline: Deadline) -> Option<bool> {
        const PATH: &str = "meta-data/instance-id";
        let request = self.client(deadline).ok()?.get(self.url(PATH));
        match self.exchange(PATH, request, deadline).await.ok()?.status {
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
        let request = self.client(deadline)?.get(self.url(path)).header("x-aws-ec2-metadata-token", token.clone());
        let answer = self.exchange(path, request, deadline).await?;
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
        let request =
            self.client(deadline)?.put(self.url(TOKEN)).header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_TTL);
        let answer = self.exchange(TOKEN, request, deadline).await?;
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

    async fn exchange(&self, path: &str, request: RequestBuilder, deadline: Deadline) -> Result<Answer, FailedAttempt> {
        let start = Instant::now();
        let budget = ATTEMPT_TIMEOUT.min(deadline.remaining());
        // The service expects its address as the host. The name in the URL exists only inside this client.
        let request = match self.shared.address {
            Address::Fixed(_) => request,
            _ => request.header(HOST, "169.254.169.254"),
        };
        let outcome = self.read(request.timeout(budget)).await.map_err(|error| match error {
            AttemptError::NoAnswer if budget < ATTEMPT_TIMEOUT && budget <= self.time_to_connect() => cut_short(path),
            error => failed(path, error),
        });
        let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &outcome {
            Ok(answer) => tracing::debug!(path, status = answer.status, duration_ms, "IMDS request answered"),
            Err(failed) => tracing::debug!(path, error = ?failed.error, duration_ms, "IMDS request failed"),
        }
        outcome
    }

    async fn read(&self, request: RequestBuilder) -> Result<Answer, AttemptError> {
        let mut response = request.send().await.map_err(attempt_error)?;
        if let Some(address) = response.remote_addr() {
            self.shared.candidates.settle(address);
        }
        if let Some(date) = response.headers().get(DATE).and_then(|date| date.to_str().ok()) {
            self.shared.clock_skew.note(date);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(attempt_error)? {
            if body.len() + chunk.len() > MAX_ANSWER_LENGTH {
                return Err(AttemptError::Garbled("more than 256 KiB", None));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: response.status().as_u16(), headers: std::mem::take(response.headers_mut()), body })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/latest/{path}", self.shared.address.base())
    }

    /// The time after which an attempt knows whether a connection opened: the client's time-out and a quarter of it,
    /// because timers fire late on a busy host. A shorter attempt cannot distinguish a missing connection from a
    /// missing answer.
    fn time_to_connect(&self) -> Duration {
        let connect_timeout = self.shared.client.get().map_or(CONNECT_TIMEOUT, |(_, connect_timeout)| *connect_timeout);
        connect_timeout + connect_timeout / 4
    }

    fn client(&self, deadline: Deadline) -> Result<&Client, FailedAttempt> {
        if let Some((client, _)) = self.shared.client.get() {
            return Ok(client);
        }
        if let Err(error) = self.shared.address.usable() {
            return Err(failed(TOKEN, AttemptError::Unusable(error.clone())));
        }
        // If the deadline is too short for a whole attempt, half of the time is kept for the answer.
        let connect_timeout = CONNECT_TIMEOUT.min(deadline.remaining() / 2).max(Duration::from_millis(350));
        let builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("ecs-bootstrap/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout)
            .timeout(ATTEMPT_TIMEOUT);
        let builder = match self.shared.address {
            Address::Fixed(_) => builder.dns_resolver(Dns::default()),
            _ => builder.dns_resolver(self.shared.candidates.clone()),
        };
        let client = builder.build().map_err(|source| failed(TOKEN, AttemptError::Setup(Arc::new(source))))?;
        Ok(&self.shared.client.get_or_init(|| (client, connect_timeout)).0)
    }
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

fn attempt_error(error: reqwest::Error) -> AttemptError {
    let error = Arc::new(error.without_url());
    if error.is_connect() {
        AttemptError::Connect(error)
    } else if error.is_timeout() {
        AttemptError::NoAnswer
    } else {
        AttemptError::Garbled("an incomplete answer, or one that is not HTTP", Some(error))
    }
}

fn shortened(header: &str) -> String {
    header.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
