//! Where the calls of ECS go, so that a probe can connect there.
//!
//! Out come a host and a port, as the SDK itself resolves them from region, FIPS, dual stack and the endpoint
//! variables: a request is prepared and stopped before it is signed. Nothing is sent.

use std::sync::{Arc, OnceLock};

use aws_credential_types::Credentials;
use aws_sdk_ecs::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_ecs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecs::error::BoxError;

use super::Aws;

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, or an address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Aws {
    /// Host and port of ECS; none where the configured endpoint is not a URL.
    pub async fn ecs_endpoint(&self) -> Option<Endpoint> {
        let seen = Arc::new(OnceLock::new());
        let config = aws_sdk_ecs::config::Builder::new()
            // The request is never signed with these: the real ones may not be there yet, and need IMDS.
            .credentials_provider(Credentials::new("unused", "unused", None, None, "endpoint probe"));
        let request = self.clients().ecs().list_clusters().customize();
        let stopped = request.config_override(config).interceptor(StopBeforeSigning(seen.clone())).send().await;
        debug_assert!(stopped.is_err(), "the interceptor stops every request");
        Endpoint::of_url(seen.get()?)
    }
}

impl Endpoint {
    /// Whether its host is a name, which must be looked up.
    pub fn is_name(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_err()
    }

    /// Of an `http`, `https` or `wss` URL.
    pub fn of_url(url: &str) -> Option<Endpoint> {
        let url = reqwest::Url::parse(url).ok()?;
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Endpoint { host, port: url.port_or_known_default()? })
    }
}

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
        // Set once: there is no second attempt after an error of an interceptor.
        let _ = self.0.set(context.request().uri().to_owned());
        Err("stopped before signing".into())
    }
}
