//! Asks ECS for the time without credentials: the refusal of an unsigned request has a `Date` header.

use aws_sdk_ecs::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_ecs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecs::error::BoxError;

use super::Aws;
use super::endpoint::unused_credentials;
use crate::retry::{Deadline, within};

/// The headers of a signed request that depend on credentials (AWS Signature Version 4).
const SIGNATURE_HEADERS: [&str; 2] = ["authorization", "x-amz-security-token"];

impl Aws {
    /// Sends one unsigned request to ECS, so that [`Aws::clock_ahead`] is known also without a role. The answer itself, a
    /// refusal, is ignored.
    pub async fn ask_time(&self, deadline: Deadline) {
        let request = self.clients().ecs().list_clusters().customize().config_override(unused_credentials());
        let answer = request.interceptor(RemoveSignature).send();
        if within(deadline, answer).await.is_err() {
            tracing::debug!("ECS did not answer an unsigned request");
        }
    }
}

/// Removes the signature from each attempt.
#[derive(Debug)]
struct RemoveSignature;

impl Intercept for RemoveSignature {
    fn name(&self) -> &'static str {
        "RemoveSignature"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        for name in SIGNATURE_HEADERS {
            context.request_mut().headers_mut().remove(name);
        }
        Ok(())
    }
}
