//! The calls of EC2 and ECS that the boot makes, and of ECS that a deployment makes.
//!
//! In go a region, the metadata client that the role's credentials come from, and a deadline a call; out come plain
//! values or an [`AwsError`] that names the layer which broke. The SDK's standard retries run within the deadline;
//! whether to call again after them is the caller's. It never asks IMDS by the SDK's own client, and never logs a body.

mod calls;
pub mod complete;
mod credentials;
mod deployment;
mod endpoint;
mod error;
mod http;
mod message;
mod query;
mod raw_json;
mod signals;
mod whole;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

pub use calls::{Cluster, ContainerInstance, Described, PollEndpoint};
pub use endpoint::Endpoint;
pub use error::{AwsError, AwsErrorKind, Chain, TlsFault};
pub use http::usable_certificates;
pub use message::Message;
pub use query::is_query_answer;
pub use signals::LaunchHook;

use crate::boundary::clock_skew::ClockSkew;
use crate::boundary::dns::Dns;
use crate::boundary::imds::Imds;
use crate::retry::{Deadline, Policy, Step, until, within};
use credentials::InstanceCredentials;
use http::Roots;

const CONNECT: Duration = Duration::from_secs(3);
const ATTEMPT: Duration = Duration::from_secs(10);
const OPERATION: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 3;
/// How an answer that is not complete is asked for again.
const AGAIN: Policy = Policy { first: Duration::from_millis(200), longest: Duration::from_secs(1) };

/// What the caller has read from the environment for us. Endpoints, FIPS, profiles and proxies are read by the SDK.
#[derive(Clone, Debug)]
pub struct AwsOptions {
    /// The region of the instance.
    pub region: String,
    /// `AWS_CA_BUNDLE`: certificates in place of the built-in ones. An empty path is none.
    pub ca_bundle: Option<PathBuf>,
    /// One URL for all services, before anything that the SDK reads (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_ECS`).
    pub endpoint_url: Option<String>,
    /// Bundles of the host, the first that can be read is tried once when the issuer of a certificate is unknown.
    pub host_bundles: Vec<PathBuf>,
}

impl AwsOptions {
    /// Built-in roots, the host's bundle at its usual places, and endpoints as the SDK finds them.
    pub fn new(region: impl Into<String>) -> AwsOptions {
        AwsOptions {
            region: region.into(),
            ca_bundle: None,
            endpoint_url: None,
            host_bundles: http::HOST_BUNDLES.map(PathBuf::from).to_vec(),
        }
    }
}

/// Clients of the AWS services, cheap to clone; all clones share their connections and credentials.
#[derive(Clone, Debug)]
pub struct Aws {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dns: Dns,
    /// In use now; replaced once, when the host's bundle is needed.
    clients: RwLock<Arc<Clients>>,
    /// Where the host's bundle may lie; empty where somebody named the roots.
    host_bundles: Vec<PathBuf>,
    host_roots_tried: OnceLock<()>,
    clock_skew: ClockSkew,
}

/// The services' clients over one HTTP client, each made when it is first used.
#[derive(Debug)]
struct Clients {
    config: SdkConfig,
    clock_skew: ClockSkew,
    ec2: OnceLock<aws_sdk_ec2::Client>,
    ecs: OnceLock<aws_sdk_ecs::Client>,
}

impl Clients {
    fn new(config: SdkConfig, clock_skew: ClockSkew) -> Clients {
        Clients { config, clock_skew, ec2: OnceLock::new(), ecs: OnceLock::new() }
    }

    fn ec2(&self) -> &aws_sdk_ec2::Client {
        self.ec2.get_or_init(|| {
            let config = aws_sdk_ec2::config::Builder::from(&self.config).interceptor(self.clock_skew.clone());
            aws_sdk_ec2::Client::from_conf(config.build())
        })
    }

    fn ecs(&self) -> &aws_sdk_ecs::Client {
        self.ecs.get_or_init(|| {
            let config = aws_sdk_ecs::config::Builder::from(&self.config).interceptor(self.clock_skew.clone());
            aws_sdk_ecs::Client::from_conf(config.build())
        })
    }
}

impl Aws {
    /// Clients for one region. Credentials come from the environment, else from the instance role. No connection is
    /// made; the only error is a CA bundle that cannot be used, or a client that cannot be set up.
    pub async fn new(imds: Imds, options: &AwsOptions) -> Result<Aws, AwsError> {
        let environment = EnvironmentVariableCredentialsProvider::new();
        Aws::open(Some(InstanceCredentials { environment, imds }), Some(&options.region), options).await
    }

    /// Clients for whoever calls from anywhere: credentials as the SDK finds them (AWS SDKs and Tools Reference Guide,
    /// "Standardized credential providers"), and the region too where none is said.
    pub async fn of_caller(region: Option<&str>, ca_bundle: Option<PathBuf>) -> Result<Aws, AwsError> {
        let options = AwsOptions { ca_bundle, ..AwsOptions::new(String::new()) };
        let aws = Aws::open(None, region, &options).await?;
        if aws.clients().config.region().is_none() {
            let what = "no region is named; say `--region`, or set AWS_REGION".to_owned();
            let kind = AwsErrorKind::Setup { what };
            return Err(AwsError { operation: "set-up", kind, elapsed: Duration::ZERO, source: None });
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
            // The cache's own limit of 5 s would hide why our client got no credentials.
            .identity_cache(IdentityCache::lazy().load_timeout(credentials::FETCH + CONNECT).build())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT)
                    .operation_attempt_timeout(ATTEMPT)
                    .operation_timeout(OPERATION)
                    .build(),
            )
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        if let Some(credentials) = instance {
            loader = loader.credentials_provider(credentials);
        }
        if let Some(url) = &options.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let clock_skew = ClockSkew::default();
        let clients = RwLock::new(Arc::new(Clients::new(loader.load().await, clock_skew.clone())));
        let host_bundles = if ca_bundle.is_some() { Vec::new() } else { options.host_bundles.clone() };
        let host_roots_tried = OnceLock::new();
        Ok(Aws { shared: Arc::new(Shared { dns, clients, host_bundles, host_roots_tried, clock_skew }) })
    }

    /// This host's clock minus the `Date` of the last answer, in seconds; an answer that refuses counts too.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.shared.clock_skew.seconds()
    }

    /// Whether the built-in roots did not do, and this host's own were taken.
    pub fn trusts_host(&self) -> bool {
        self.shared.host_roots_tried.get().is_some()
    }

    /// One call within the deadline. One that only reads is repeated where its answer was not complete.
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
        // Boxed: the nested futures are too deep for the compiler otherwise.
        let outcome = Box::pin(until(deadline, AGAIN, async |attempts| match self.trusted(deadline, &send).await {
            Ok(answer) => Step::Done(answer),
            Err(error @ (AwsErrorKind::Garbled, _)) if attempts < ATTEMPTS && only_reads(operation) => {
                Step::Again(error)
            }
            Err(error) => Step::Stop(error),
        }))
        .await
        .map_err(|gave_up| gave_up.last);
        let elapsed = start.elapsed();
        let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        match outcome {
            Ok(answer) => {
                tracing::debug!(operation, duration_ms, "aws answered");
                Ok(answer)
            }
            Err((kind, source)) => {
                tracing::debug!(operation, duration_ms, %kind, "aws call came to nothing");
                Err(AwsError { operation, kind, elapsed, source })
            }
        }
    }

    /// One attempt. On an unknown issuer it is made once more with the host's own roots, which stay in use: a company's CA
    /// that the agent accepts is not a fault.
    async fn trusted<T, E>(
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
            && let Some(clients) = self.trust_the_host(&clients)
        {
            return attempt(&clients, deadline, send).await;
        }
        outcome
    }

    fn clients(&self) -> Arc<Clients> {
        self.shared.clients.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Clients that trust what this host trusts, where those that did not come as far do not; made once.
    fn trust_the_host(&self, tried: &Arc<Clients>) -> Option<Arc<Clients>> {
        if self.shared.host_roots_tried.set(()).is_err() {
            // A call beside this one may have made them meanwhile.
            return Some(self.clients()).filter(|now| !Arc::ptr_eq(now, tried));
        }
        let roots = Roots::of_host(&self.shared.host_bundles)?;
        let http_client = http::client(roots, &self.shared.dns).ok()?;
        tracing::debug!("unknown issuer, trying the certificates of this host");
        let config = self.clients().config.to_builder().http_client(http_client).build();
        let clients = Arc::new(Clients::new(config, self.shared.clock_skew.clone()));
        *self.shared.clients.write().unwrap_or_else(PoisonError::into_inner) = clients.clone();
        Some(clients)
    }
}

/// Whether a call may be made twice: what changes something is not repeated on the strength of a broken answer.
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
