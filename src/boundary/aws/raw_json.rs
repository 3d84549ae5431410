//! What goes over the wire beside what the SDK makes of it: a request's body from somewhere else, an answer as it came.
//!
//! In: JSON that the API takes as it is. Out: the answer's JSON, whole. The SDK still resolves the endpoint, signs,
//! retries and tells errors apart; nothing is kept of an answer that is an error.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use serde_json::Value;

/// An interceptor for one call.
#[derive(Clone, Debug, Default)]
pub(super) struct RawJson {
    body: Option<Arc<str>>,
    answer: Arc<Mutex<Option<Value>>>,
}

impl RawJson {
    /// Sends this in place of what the SDK has made.
    pub(super) fn sending(body: &Value) -> RawJson {
        RawJson { body: Some(body.to_string().into()), ..RawJson::default() }
    }

    /// The answer's JSON; null where there was none.
    pub(super) fn answer(&self) -> Value {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

impl Intercept for RawJson {
    fn name(&self) -> &'static str {
        "Wire"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(body) = &self.body {
            let request = context.request_mut();
            request.headers_mut().insert("content-length", body.len().to_string());
            *request.body_mut() = SdkBody::from(&**body);
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let bytes = context.response().body().bytes().unwrap_or_default();
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = serde_json::from_slice(bytes).ok();
        Ok(())
    }
}
