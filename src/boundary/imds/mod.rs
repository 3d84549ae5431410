//! The instance metadata service, version 2 only.
//!
//! In goes a path below `/latest/` and a deadline, out comes the answer, its absence (404), or an [`ImdsError`] that
//! tells an absent service from a closed one. All clones share one HTTP client and one session token. It uses no
//! proxy, follows no redirect, takes no answer without a token, and never logs a token or a body.

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

pub(super) use role::{Document, Role};

use crate::boundary::clock_skew::ClockSkew;
use crate::boundary::dns::Dns;
use crate::retry::{Deadline, Step, until, within};
use endpoint::Candidates;
use error::{AttemptError, FailedAttempt, TOKEN};

/// Seconds that a token is good for: the longest that the service grants, so that none expires during a boot.
const TOKEN_TTL: &str = "21600";
/// A link-local service that has not connected by then will not.
const CONNECT: Duration = Duration::from_secs(1);
/// The whole of one request; must exceed [`CONNECT`], or a lost token could not be told from a lost connection.
const ATTEMPT: Duration = Duration::from_secs(2);
/// User data is at most 16 KiB and nothing else is longer; an endless answer must not fill the memory.
const LONGEST_ANSWER: usize = 256 * 1024;

/// Where Auto Scaling wants the instance (Amazon EC2 Auto Scaling User Guide, "Retrieve the target lifecycle state
/// through instance metadata"), below `/latest/`.
pub const TARGET_STATE: &str = "meta-data/autoscaling/target-lifecycle-state";

/// A client of the instance metadata service. Cheap to make and to clone; making one does no I/O.
#[derive(Clone)]
pub struct Imds {
    shared: Arc<Shared>,
}

struct Shared {
    address: Address,
    candidates: Candidates,
    /// The HTTP client, and how long it gives a connection.
    client: OnceLock<(Client, Duration)>,
    token: Mutex<TokenState>,
    clock_skew: ClockSkew,
}

/// One question, and the last conclusive failure of its attempts.
#[derive(Clone)]
struct Asking {
    imds: Imds,
    path: Arc<str>,
    deadline: Deadline,
    kept: Arc<std::sync::Mutex<Option<FailedAttempt>>>,
}

impl Asking {
    async fn step(self) -> Step<Option<Vec<u8>>, FailedAttempt> {
        let failed = match self.imds.attempt(&self.path, self.deadline).await {
            Ok(answer) => return Step::Done(answer),
            Err(failed) => failed,
        };
        if !failed.is_retryable() {
            return Step::Stop(failed);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(failed.why, AttemptError::CutShort) {
            // An attempt that the deadline cut short says less than the one before it.
            return Step::Stop(kept.take().unwrap_or(failed));
        }
        *kept = Some(failed.clone());
        Step::Again(failed)
    }
}

#[derive(Default)]
struct TokenState {
    token: Option<HeaderValue>,
    /// The last failed request, for those who queued up behind it.
    failed: Option<(Instant, FailedAttempt)>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Imds {
    /// A client that asks at `address`.
    pub fn new(address: Address) -> Imds {
        let candidates = Candidates::new(address.candidates());
        let (client, token, clock_skew) = (OnceLock::new(), Mutex::default(), ClockSkew::default());
        Imds { shared: Arc::new(Shared { address, candidates, client, token, clock_skew }) }
    }

    /// This host's clock minus the `Date` of the last answer, in seconds.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.shared.clock_skew.seconds()
    }

    /// What lies at `path` below `/latest/`, for example `meta-data/instance-id`; `None` where there is nothing (404).
    ///
    /// Asks again until `deadline` where that may help: no connection, no or a broken answer, 429, 5xx.
    pub async fn get(&self, path: &str, deadline: Deadline) -> Result<Option<Vec<u8>>, ImdsError> {
        let asking = Asking { imds: self.clone(), path: path.into(), deadline, kept: Arc::default() };
        // Not an async closure, and nothing borrowed: only so is the future provably `Send`, which the SDK asks of a
        // source of credentials (rust-lang/rust issue 110338).
        until(deadline, retry::POLICY, move |_| asking.clone().step())
            .await
            .map_err(|gave_up| gave_up.last.into_error(gave_up.attempts, gave_up.elapsed))
    }

    /// Whether a request without a token is refused (401), as where IMDSv1 is off; `None` where nobody says. One request
    /// without a token, of which nothing but the status is taken: only for whoever has seen others make such requests.
    pub async fn wants_token(&self, deadline: Deadline) -> Option<bool> {
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
            Err(FailedAttempt { why: AttemptError::Status(401), .. }) => {
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

    /// The token. Whoever comes first asks, with the lock held; the others take what came of it. `refused` is a token
    /// that the service no longer accepts.
    async fn token(&self, refused: Option<&HeaderValue>, deadline: Deadline) -> Result<HeaderValue, FailedAttempt> {
        let came = Instant::now();
        // Whoever holds the lock ends by the same deadline, and what came of that says more than our having waited.
        let patience = Deadline::after(deadline.remaining() + Duration::from_millis(300));
        let mut state = within(patience, self.shared.token.lock()).await.map_err(|_late| cut_short(TOKEN))?;
        if let Some(token) = state.token.as_ref().filter(|token| Some(*token) != refused) {
            return Ok(token.clone());
        }
        if let Some((when, failure)) = &state.failed
            && *when > came
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
        let budget = ATTEMPT.min(deadline.remaining());
        // The service answers to its address; the made-up name of the race is ours alone.
        let request = match self.shared.address {
            Address::Fixed(_) => request,
            _ => request.header(HOST, "169.254.169.254"),
        };
        let outcome = self.read(request.timeout(budget)).await.map_err(|why| match why {
            AttemptError::Silent if budget < ATTEMPT && budget <= self.time_to_connect() => cut_short(path),
            why => failed(path, why),
        });
        let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &outcome {
            Ok(answer) => tracing::debug!(path, status = answer.status, duration_ms, "instance metadata answered"),
            Err(failed) => tracing::debug!(path, why = ?failed.why, duration_ms, "instance metadata gave no answer"),
        }
        outcome
    }

    async fn read(&self, request: RequestBuilder) -> Result<Answer, AttemptError> {
        let mut response = request.send().await.map_err(why)?;
        if let Some(address) = response.remote_addr() {
            self.shared.candidates.settle(address);
        }
        if let Some(date) = response.headers().get(DATE).and_then(|date| date.to_str().ok()) {
            self.shared.clock_skew.note(date);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(why)? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(AttemptError::Garbled("more than 256 KiB", None));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: response.status().as_u16(), headers: std::mem::take(response.headers_mut()), body })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/latest/{path}", self.shared.address.base())
    }

    /// By when an attempt knows whether a connection opened: what the client gives it, and a quarter more, since a busy
    /// host looks at its timers late. Whoever had less time cannot tell a lost connection from a lost answer.
    fn time_to_connect(&self) -> Duration {
        let bound = self.shared.client.get().map_or(CONNECT, |(_, bound)| *bound);
        bound + bound / 4
    }

    fn client(&self, deadline: Deadline) -> Result<&Client, FailedAttempt> {
        if let Some((client, _)) = self.shared.client.get() {
            return Ok(client);
        }
        if let Err(error) = self.shared.address.usable() {
            return Err(failed(TOKEN, AttemptError::Unusable(error.clone())));
        }
        // A deadline too short for a whole attempt leaves half of itself to what comes after the connection.
        let bound = CONNECT.min(deadline.remaining() / 2).max(Duration::from_millis(350));
        let builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("ecs-bootstrap/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(bound)
            .timeout(ATTEMPT);
        let builder = match self.shared.address {
            Address::Fixed(_) => builder.dns_resolver(Dns::default()),
            _ => builder.dns_resolver(self.shared.candidates.clone()),
        };
        let client = builder.build().map_err(|source| failed(TOKEN, AttemptError::Setup(Arc::new(source))))?;
        Ok(&self.shared.client.get_or_init(|| (client, bound)).0)
    }
}

impl std::fmt::Debug for Imds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Imds").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

fn failed(path: &str, why: AttemptError) -> FailedAttempt {
    FailedAttempt { path: path.to_owned(), why }
}

fn cut_short(path: &str) -> FailedAttempt {
    failed(path, AttemptError::CutShort)
}

fn why(error: reqwest::Error) -> AttemptError {
    let error = Arc::new(error.without_url());
    if error.is_connect() {
        AttemptError::Connect(error)
    } else if error.is_timeout() {
        AttemptError::Silent
    } else {
        AttemptError::Garbled("half an answer, or one that is not HTTP", Some(error))
    }
}

fn shortened(header: &str) -> String {
    header.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
