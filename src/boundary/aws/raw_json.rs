//! Sends and receives raw JSON through the SDK, without the SDK's types.
//!
//! In: the JSON body of a request. Out: the complete JSON of the answer. The SDK still resolves the endpoint, signs,
//! retries and sorts errors. It never keeps the body of an error answer.

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

use super::{AwsError, AwsErrorKind};

/// An interceptor for one call.
#[derive(Clone, Debug, Default)]
pub(super) struct RawJson {
    body: Option<Arc<str>>,
    answer: Arc<Mutex<Option<Value>>>,
}

impl RawJson {
    /// An interceptor that replaces the SDK's request body.
    pub(super) fn sending(body: &Value) -> RawJson {
        RawJson { body: Some(body.to_string().into()), ..RawJson::default() }
    }

    /// Takes the JSON of the answer; null if there is none.
    pub(super) fn answer(&self) -> Value {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    /// The JSON of the answer, also if its types are not those of the SDK: simulators such as moto return some numbers
    /// where ECS returns strings. A broken answer stays an error.
    pub(super) fn answer_of<T>(&self, outcome: Result<T, AwsError>) -> Result<Value, AwsError> {
        match outcome {
            Ok(_) => Ok(self.answer()),
            Err(error) if matches!(error.kind, AwsErrorKind::InvalidResponse) => match self.answer() {
                answer @ Value::Object(_) => Ok(answer),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

impl Intercept for RawJson {
    fn name(&self) -> &'static str {
        "RawJson"
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
        let json = serde_json::from_slice(bytes).inspect_err(|error| tracing::debug!(%error, "answer is not JSON"));
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = json.ok();
        Ok(())
    }
}
