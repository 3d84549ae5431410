//! Looks up the name of a service while the credentials of the first call are read.
//!
//! In: the SDK's configuration of a call. Out: a lookup whose result the HTTP client uses. The SDK itself looks the name up
//! only when it has the credentials, although neither needs the other.

use aws_sdk_ecs::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ecs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecs::error::BoxError;
use aws_smithy_runtime_api::client::endpoint::{EndpointResolverParams, ResolveEndpoint};
use futures_util::FutureExt;

use crate::boundary::dns::Dns;
use crate::boundary::proxy;

/// Starts the lookup when the first attempt of a call begins.
#[derive(Clone, Debug)]
pub(super) struct EarlyLookup(pub(super) Dns);

impl Intercept for EarlyLookup {
    fn name(&self) -> &'static str {
        "EarlyLookup"
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // A proxy looks the name up itself.
        if proxy::of_environment().is_none()
            && let Some(name) = name_of_service(components, config)
        {
            self.0.prepare(&name);
        }
        Ok(())
    }
}

/// The name in the URL that the SDK will use; `None` if the URL has an address. Without a URL the SDK itself reports the
/// error.
fn name_of_service(components: &RuntimeComponents, config: &ConfigBag) -> Option<String> {
    let params = config.load::<EndpointResolverParams>()?;
    let resolver = components.endpoint_resolver();
    // The rules of the endpoint wait for nothing.
    let endpoint = resolver.resolve_endpoint(params).now_or_never()?.ok()?;
    reqwest::Url::parse(endpoint.url()).ok()?.domain().map(str::to_owned)
}
