//! Finds the endpoint of ECS, so that a probe can connect to it.
//!
//! In: the SDK's configuration. Out: the host and port that the SDK resolves from region, FIPS, dual stack and the
//! endpoint variables. It lets the SDK build a request and stops it before it is signed. It sends nothing.

use std::sync::{Arc, OnceLock};

use aws_credential_types::Credentials;
use aws_sdk_ecs::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_ecs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecs::error::BoxError;

use super::Aws;

/// The host and port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Aws {
    /// Host and port of ECS; `None` if the configured endpoint is not a URL.
    pub async fn ecs_endpoint(&self) -> Option<Endpoint> {
        let url = Arc::new(OnceLock::new());
        let request = self.clients().ecs().list_clusters().customize().config_override(unused_credentials());
        let stopped = request.interceptor(StopBeforeSigning(url.clone())).send().await;
        debug_assert!(stopped.is_err(), "the interceptor stops every request");
        Endpoint::of_url(url.get()?)
    }
}

impl Endpoint {
    /// Whether the host is a name, which needs a lookup.
    pub fn is_name(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_err()
    }

    /// Parses an `http`, `https` or `wss` URL.
    pub fn of_url(url: &str) -> Option<Endpoint> {
        let url = reqwest::Url::parse(url).ok()?;
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Endpoint { host, port: url.port_or_known_default()? })
    }
}

/// Credentials for a request that is sent without a signature, or not at all. The real ones need IMDS, and may not exist
/// yet.
pub(super) fn unused_credentials() -> aws_sdk_ecs::config::Builder {
    let credentials = Credentials::new("unused", "unused", None, None, "request without a signature");
    aws_sdk_ecs::config::Builder::new().credentials_provider(credentials)
}

/// Keeps the URL of a request, and fails before the request is signed.
#[derive(Debug)]
struct StopBeforeSigning(Arc<OnceLock<String>>);

impl Intercept for StopBeforeSigning {
    fn name(&self) -> &'static str {
        "StopBeforeSigning"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Set only once: the SDK does not retry after an error of an interceptor.
        let _ = self.0.set(context.request().uri().to_owned());
        Err("stopped before signing".into())
    }
}
