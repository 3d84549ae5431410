//! Clients of the AWS services: EC2, ECS, CloudFormation and Auto Scaling for the instance, and ECS for deployments, with
//! the services that a deployment depends on.
//!
//! In: a region, the IMDS client for the role's credentials, and a deadline for each call. Out: plain values, or an
//! [`AwsError`] with the layer that failed. An error that may end by itself is repeated twice within the deadline
//! ([`Repetition`]); the caller decides about further retries. The SDK repeats nothing: if the deadline passes during
//! one of its pauses, the service's answer is lost. It never uses the SDK's own IMDS client, and never logs a body.

mod calls;
mod clock;
pub mod complete;
mod credentials;
mod credentials_cache;
mod daemons;
mod deployment;
mod draining;
mod early_lookup;
mod endpoint;
mod error;
mod http;
mod json;
mod message;
mod query;
mod raw_json;
mod registry_login;
mod remote_values;
mod response_body;
mod revisions;
mod service;
mod signals;
mod tasks;
pub mod verification;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

pub use calls::{Cluster, ContainerInstance, DescribedClusters, PollEndpoint};
pub use daemons::{DescribedService, PlacedTask, TaskRequirements};
pub use endpoint::Endpoint;
pub use error::{AwsError, AwsErrorKind, Chain, TlsFault};
pub use http::usable_certificates;
pub use message::Message;
pub use query::is_query_answer;
pub use remote_values::is_absent;
pub use signals::{LifecycleHook, MetricUnit, MetricValue, Transition};
pub use tasks::{LogLine, LogPage, LogPlace};

use crate::boundary::clock_skew::ClockSkew;
use crate::boundary::dns::Dns;
use crate::boundary::imds::Imds;
use crate::boundary::requests::RequestLog;
use crate::retry::{AttemptResult, Deadline, Policy, until, within};
use credentials::InstanceCredentials;
use credentials_cache::CachedCredentials;
use early_lookup::EarlyLookup;
use http::Roots;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REPETITIONS: u32 = 2;
/// From this difference to the time of the service the SDK expects an error to be one of the clock. In seconds.
const MAX_SKEW: u64 = 240;
/// The pauses before a call is repeated.
const POLICY: Policy = Policy { first: Duration::from_millis(500), longest: Duration::from_secs(1) };

/// The configuration of the clients. The SDK itself reads endpoints, FIPS, profiles and proxies from the environment.
#[derive(Clone, Debug)]
pub struct AwsOptions {
    /// The region of the instance.
    pub region: String,
    /// `AWS_CA_BUNDLE`: certificates that replace the built-in ones. An empty path is ignored.
    pub ca_bundle: Option<PathBuf>,
    /// A URL for all services. It overrides the variables that the SDK reads (`AWS_ENDPOINT_URL`,
    /// `AWS_ENDPOINT_URL_ECS`).
    pub endpoint_url: Option<String>,
    /// CA bundles of the host. The first one that can be read is tried once, if the issuer of a certificate is unknown.
    pub host_bundles: Vec<PathBuf>,
}

impl AwsOptions {
    /// Built-in root certificates, the host's bundle in its usual places, and the SDK's endpoints.
    pub fn new(region: impl Into<String>) -> AwsOptions {
        AwsOptions {
            region: region.into(),
            ca_bundle: None,
            endpoint_url: None,
            host_bundles: http::HOST_BUNDLES.map(PathBuf::from).to_vec(),
        }
    }
}

/// Clients of the AWS services. Cheap to clone; all clones share connections and credentials.
#[derive(Clone, Debug)]
pub struct Aws {
    shared: Arc<AwsState>,
    repetition: Repetition,
}

/// Which failed calls are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repetition {
    /// None.
    Never,
    /// Errors that may end by themselves, but not throttling. A thousand instances that repeat a throttled call after a
    /// second or two make three calls for each one that succeeds.
    Transient,
    /// Also throttled calls: the client is one of a few.
    TransientAndThrottled,
    /// Like `Transient`; and a call that only reads is repeated until its deadline while it is throttled.
    WhileThrottled,
}

#[derive(Debug)]
struct AwsState {
    dns: Dns,
    /// The current clients. They are replaced once, if the host's root certificates are needed.
    clients: RwLock<Arc<Clients>>,
    /// Where the host's bundle may be; empty if `AWS_CA_BUNDLE` is set.
    host_bundles: Vec<PathBuf>,
    host_roots_tried: OnceLock<()>,
    clock_skew: ClockSkew,
    requests: RequestLog,
}

/// The clients of the services over one HTTP client. Each is created at its first use.
#[derive(Debug)]
struct Clients {
    config: SdkConfig,
    clock_skew: ClockSkew,
    early_lookup: EarlyLookup,
    ec2: OnceLock<aws_sdk_ec2::Client>,
    ecs: OnceLock<aws_sdk_ecs::Client>,
}

impl Clients {
    fn new(config: SdkConfig, clock_skew: ClockSkew, dns: &Dns) -> Clients {
        let early_lookup = EarlyLookup(dns.clone());
        Clients { config, clock_skew, early_lookup, ec2: OnceLock::new(), ecs: OnceLock::new() }
    }

    fn ec2(&self) -> &aws_sdk_ec2::Client {
        self.ec2.get_or_init(|| {
            let config = aws_sdk_ec2::config::Builder::from(&self.config);
            let config = config.interceptor(self.clock_skew.clone()).interceptor(self.early_lookup.clone());
            aws_sdk_ec2::Client::from_conf(config.build())
        })
    }

    fn ecs(&self) -> &aws_sdk_ecs::Client {
        self.ecs.get_or_init(|| {
            let config = aws_sdk_ecs::config::Builder::from(&self.config);
            let config = config.interceptor(self.clock_skew.clone()).interceptor(self.early_lookup.clone());
            aws_sdk_ecs::Client::from_conf(config.build())
        })
    }
}

impl Aws {
    /// Clients for one region. Credentials come from the environment, otherwise from the instance role. Opens no
    /// connection. It fails if the CA bundle cannot be used or the HTTP client cannot be created.
    pub async fn new(imds: Imds, options: &AwsOptions) -> Result<Aws, AwsError> {
        let environment = EnvironmentVariableCredentialsProvider::new();
        Aws::open(Some(InstanceCredentials { environment, imds }), Some(&options.region), options).await
    }

    /// Clients for a program that may run anywhere: with the credentials that the SDK finds (AWS SDKs and Tools
    /// Reference Guide, "Standardized credential providers"), and with the SDK's region if `region` is `None`.
    pub async fn with_default_credentials(region: Option<&str>, ca_bundle: Option<PathBuf>) -> Result<Aws, AwsError> {
        let options = AwsOptions { ca_bundle, ..AwsOptions::new(String::new()) };
        let aws = Aws::open(None, region, &options).await?;
        if aws.clients().config.region().is_none() {
            let what = "no region is configured; use `--region`, or set AWS_REGION".to_owned();
            let kind = AwsErrorKind::Setup { what };
            return Err(AwsError { operation: "set-up", kind, elapsed: Duration::ZERO, source: None });
        }
        if let Some(provider) = aws.clients().config.credentials_provider() {
            let provider = SharedCredentialsProvider::new(CachedCredentials::new(provider));
            let config = aws.clients().config.to_builder().credentials_provider(provider).build();
            let clients = Arc::new(Clients::new(config, aws.shared.clock_skew.clone(), &aws.shared.dns));
            *aws.shared.clients.write().unwrap_or_else(PoisonError::into_inner) = clients;
        }
        Ok(aws)
    }

    async fn open(
        instance: Option<InstanceCredentials>,
        region: Option<&str>,
        options: &AwsOptions,
    ) -> Result<Aws, AwsError> {
        let dns = Dns::default();
        let ca_bundle = options.ca_bundle.as_deref().filter(|path| !path.as_os_str().is_empty());
        let http_client = ca_bundle
            .map_or_else(|| Ok(Roots::built_in()), Roots::named)
            .and_then(|roots| http::client(roots, &dns))
            .map_err(|kind| AwsError { operation: "set-up", kind, elapsed: Duration::ZERO, source: None })?;
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http_client)
            // The cache's default time-out of 5 s would hide the IMDS client's error.
            .identity_cache(IdentityCache::lazy().load_timeout(credentials::FETCH + CONNECT_TIMEOUT).build())
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .build(),
            )
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let mut requests = RequestLog::default();
        let repetition = if instance.is_some() { Repetition::Transient } else { Repetition::TransientAndThrottled };
        if let Some(credentials) = instance {
            requests = credentials.imds.requests().clone();
            loader = loader.credentials_provider(credentials);
        }
        if let Some(url) = &options.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let clock_skew = ClockSkew::default();
        let clients = Clients::new(loader.load().await, clock_skew.clone(), &dns);
        let clients = RwLock::new(Arc::new(clients));
        let host_bundles = if ca_bundle.is_some() { Vec::new() } else { options.host_bundles.clone() };
        let host_roots_tried = OnceLock::new();
        let shared = Arc::new(AwsState { dns, clients, host_bundles, host_roots_tried, clock_skew, requests });
        Ok(Aws { shared, repetition })
    }

    /// The same clients, but a call that only reads is repeated until its deadline while it is throttled.
    pub fn waiting_for_throttled(&self) -> Aws {
        Aws { repetition: Repetition::WhileThrottled, ..self.clone() }
    }

    /// The same clients, but each call makes one attempt only.
    pub fn with_one_attempt(&self) -> Aws {
        Aws { repetition: Repetition::Never, ..self.clone() }
    }

    /// This host's clock minus the `Date` of the last answer, in seconds. Error answers are used too.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.shared.clock_skew.seconds()
    }

    /// Whether an issuer was unknown to the built-in root certificates, so that the host's certificates were tried.
    pub fn tried_host_roots(&self) -> bool {
        self.shared.host_roots_tried.get().is_some()
    }

    /// Makes one call within the deadline, with the repetitions of [`Aws::repetition`]. If the deadline ends a repetition,
    /// the error of the attempt before it is returned, because it says more.
    async fn call<T, E>(
        &self,
        operation: &'static str,
        deadline: Deadline,
        send: impl AsyncFn(&Clients) -> Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, AwsError>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let start = Instant::now();
        let mut before = None;
        let mut repetitions = 0;
        let call = async |_| match self.attempt_with_trusted_roots(deadline, &send).await {
            Ok(answer) => AttemptResult::Done(answer),
            Err(error) if matches!(error.0, AwsErrorKind::Timeout) && deadline.passed() => {
                AttemptResult::Stop(before.take().unwrap_or(error))
            }
            Err(error @ (AwsErrorKind::Throttled { .. }, _))
                if self.repetition == Repetition::WhileThrottled && only_reads(operation) =>
            {
                AttemptResult::Throttled(error)
            }
            Err(error) if repetitions < MAX_REPETITIONS && self.repeats(operation, &error.0) => {
                repetitions += 1;
                before = Some(error.clone());
                AttemptResult::Retry(error)
            }
            Err(error) => AttemptResult::Stop(error),
        };
        // Boxed, because the nested futures are too deep for the compiler otherwise.
        let outcome = Box::pin(until(deadline, POLICY, call)).await.map_err(|gave_up| gave_up.last);
        self.shared.requests.ended("AWS", operation, start, outcome.is_ok());
        let elapsed = start.elapsed();
        let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        match outcome {
            Ok(answer) => {
                tracing::debug!(operation, duration_ms, "AWS call succeeded");
                Ok(answer)
            }
            Err((kind, source)) => {
                tracing::debug!(operation, duration_ms, %kind, "AWS call failed");
                Err(AwsError { operation, kind, elapsed, source })
            }
        }
    }

    /// Whether a call that failed is repeated after a short pause.
    fn repeats(&self, operation: &str, error: &AwsErrorKind) -> bool {
        match error {
            _ if self.repetition == Repetition::Never => false,
            AwsErrorKind::Throttled { .. } => self.repetition == Repetition::TransientAndThrottled,
            AwsErrorKind::InvalidResponse => only_reads(operation),
            // The SDK signs the next request with the time of the service.
            _ if error.may_be_skew() => self.clock_ahead().is_some_and(|ahead| ahead.unsigned_abs() > MAX_SKEW),
            _ => error.is_transient(),
        }
    }

    /// Makes one attempt. If the issuer of the certificate is unknown it makes a second attempt with the host's root
    /// certificates, which are used from then on: the agent accepts a company CA that the host trusts.
    async fn attempt_with_trusted_roots<T, E>(
        &self,
        deadline: Deadline,
        send: &impl AsyncFn(&Clients) -> Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, (AwsErrorKind, Option<Chain>)>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let clients = self.clients();
        let outcome = attempt(&clients, deadline, send).await;
        if let Err((AwsErrorKind::Tls { fault: TlsFault::UnknownIssuer }, _)) = &outcome
            && let Some(clients) = self.clients_with_host_roots(&clients)
        {
            return attempt(&clients, deadline, send).await;
        }
        outcome
    }

    fn clients(&self) -> Arc<Clients> {
        self.shared.clients.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Clients that trust the host's root certificates, created once; `None` if `tried` are already these clients, or
    /// if the host has no certificates.
    fn clients_with_host_roots(&self, tried: &Arc<Clients>) -> Option<Arc<Clients>> {
        if self.shared.host_roots_tried.set(()).is_err() {
            // A concurrent call may have created them since `tried` was taken.
            return Some(self.clients()).filter(|now| !Arc::ptr_eq(now, tried));
        }
        let roots = Roots::of_host(&self.shared.host_bundles)?;
        let http_client = http::client(roots, &self.shared.dns)
            .inspect_err(|error| tracing::debug!(%error, "the host's root certificates cannot be used"))
            .ok()?;
        tracing::debug!("unknown issuer, trying the host's root certificates");
        let config = self.clients().config.to_builder().http_client(http_client).build();
        let clients = Arc::new(Clients::new(config, self.shared.clock_skew.clone(), &self.shared.dns));
        *self.shared.clients.write().unwrap_or_else(PoisonError::into_inner) = clients.clone();
        Some(clients)
    }
}

/// Whether a call may be repeated after a broken answer: only if it changes nothing.
fn only_reads(operation: &str) -> bool {
    let action = operation.rsplit(':').next().unwrap_or(operation);
    ["Describe", "Discover", "Get", "List"].iter().any(|verb| action.starts_with(verb))
}

async fn attempt<T, E>(
    clients: &Clients,
    deadline: Deadline,
    send: &impl AsyncFn(&Clients) -> Result<T, SdkError<E, HttpResponse>>,
) -> Result<T, (AwsErrorKind, Option<Chain>)>
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    match within(deadline, send(clients)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let kind = AwsErrorKind::of(&error);
            let chain = kind.chain(&error);
            Err((kind, chain))
        }
        Err(_late) => Err((AwsErrorKind::Timeout, None)),
    }
}

#[cfg(test)]
mod tests;
