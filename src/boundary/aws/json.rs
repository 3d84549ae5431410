//! Sends calls with the AWS JSON 1.1 protocol (Smithy 2.0, "AWS JSON 1.1 protocol") to ECR, Secrets Manager and Systems
//! Manager. Their SDKs would be a large part of the binary, for a few calls.
//!
//! In: an operation and its JSON. Out: the JSON of the answer, or the SDK's error type.

use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_types::error::ErrorMetadata;
use serde_json::Value;

use super::response_body::BrokenAnswer;
use super::service::{Content, ErrorAnswer, Service};
use super::{Aws, AwsError};
use crate::retry::Deadline;

/// A service with the JSON 1.1 protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonService {
    pub(super) service: Service,
    /// The part of the header `x-amz-target` before the operation.
    pub(super) target: &'static str,
}

impl Aws {
    /// Makes one call. `operation` is its IAM action; every answer to it has `member`, if one is named.
    pub(super) async fn json(
        &self,
        service: JsonService,
        region: Option<&str>,
        operation: &'static str,
        body: &Value,
        member: Option<&'static str>,
        deadline: Deadline,
    ) -> Result<Value, AwsError> {
        let action = operation.rsplit(':').next().unwrap_or(operation);
        let target = format!("{}.{action}", service.target);
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        let content = Content { method: "POST", path: "/", headers: &headers, body: &body.to_string() };
        let read = move |response: &HttpResponse| read_answer(response, member);
        self.send_signed(service.service, region, operation, content, read, deadline).await
    }
}

fn read_answer(response: &HttpResponse, member: Option<&'static str>) -> Result<Value, OrchestratorError<ErrorAnswer>> {
    let json = serde_json::from_slice::<Value>(response.body().bytes().unwrap_or_default());
    if !response.status().is_success() {
        let header = response.headers().get("x-amzn-errortype");
        return Err(OrchestratorError::operation(error_answer(&json.unwrap_or_default(), header)));
    }
    let json = json.map_err(|error| OrchestratorError::response(error.into()))?;
    match member {
        Some(member) if json.get(member).is_none() => {
            Err(OrchestratorError::response(BrokenAnswer::MissingMember { member }.into()))
        }
        _ => Ok(json),
    }
}

/// The code may be qualified: `com.amazonaws.ssm#ParameterNotFound`, `ParameterNotFound:http://...`.
fn error_answer(json: &Value, header: Option<&str>) -> ErrorAnswer {
    let mut meta = ErrorMetadata::builder();
    if let Some(code) = json["__type"].as_str().or(header) {
        let code = code.rsplit('#').next().and_then(|code| code.split(':').next()).unwrap_or_default();
        meta = meta.code(code);
    }
    if let Some(message) = json["message"].as_str().or(json["Message"].as_str()) {
        meta = meta.message(message);
    }
    ErrorAnswer(meta.build())
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::error::metadata::ProvideErrorMetadata;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_code_of_an_error_is_found_in_each_form() {
        for (body, header, code, message) in [
            (json!({"__type": "A", "message": "m"}), None, Some("A"), Some("m")),
            (json!({"__type": "com.amazonaws.ssm#A", "Message": "m"}), None, Some("A"), Some("m")),
            (json!({}), Some("A:http://internal.amazon.com/"), Some("A"), None),
            (Value::Null, None, None, None),
        ] {
            let error = error_answer(&body, header);
            assert_eq!((error.code(), error.message()), (code, message), "{body} {header:?}");
        }
    }
}
