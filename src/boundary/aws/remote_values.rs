//! Reads values that settings name: secrets of Secrets Manager, parameters of Systems Manager, objects of S3.
//!
//! In: a name, and a deadline. Out: the value as text, or an [`AwsError`], which never contains the value.

use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::calls::without_member;
use super::json::JsonService;
use super::query::s3_error;
use super::service::{Content, EndpointName, ErrorAnswer, Service};
use super::{Aws, AwsError, AwsErrorKind};
use crate::retry::Deadline;

/// AWS Secrets Manager.
pub(super) const SECRETS_MANAGER: JsonService = JsonService {
    service: Service {
        id: "Secrets Manager",
        signing_name: "secretsmanager",
        endpoint: EndpointName::Regional("secretsmanager"),
    },
    target: "secretsmanager",
};
/// AWS Systems Manager.
pub(super) const SYSTEMS_MANAGER: JsonService = JsonService {
    service: Service { id: "SSM", signing_name: "ssm", endpoint: EndpointName::RegionalFipsInGovCloud("ssm") },
    target: "AmazonSSM",
};
const S3: Service = Service { id: "S3", signing_name: "s3", endpoint: EndpointName::S3 };

/// The answer of S3.
#[derive(Debug)]
enum S3Answer {
    Object(Vec<u8>),
    /// The bucket is in this region.
    Elsewhere(String),
}

impl Aws {
    /// The value of a secret by ARN or name: `secretsmanager:GetSecretValue`.
    pub async fn secret_value(&self, id: &str, region: Option<&str>, deadline: Deadline) -> Result<String, AwsError> {
        const OPERATION: &str = "secretsmanager:GetSecretValue";
        let body = json!({"SecretId": id});
        let answer = self.json(SECRETS_MANAGER, region, OPERATION, &body, Some("ARN"), deadline).await?;
        let binary = || String::from_utf8(STANDARD.decode(answer["SecretBinary"].as_str()?).ok()?).ok();
        let value = answer["SecretString"].as_str().map(str::to_owned).or_else(binary);
        value.ok_or_else(|| without_member(OPERATION, "SecretString"))
    }

    /// The value of a parameter by ARN or name, decrypted: `ssm:GetParameter`.
    pub async fn parameter_value(
        &self,
        name: &str,
        region: Option<&str>,
        deadline: Deadline,
    ) -> Result<String, AwsError> {
        const OPERATION: &str = "ssm:GetParameter";
        let body = json!({"Name": name, "WithDecryption": true});
        let answer = self.json(SYSTEMS_MANAGER, region, OPERATION, &body, Some("Parameter"), deadline).await?;
        let value = &answer["Parameter"]["Value"];
        value.as_str().map(str::to_owned).ok_or_else(|| without_member(OPERATION, "Value"))
    }

    /// An object: `s3:GetObject`. If the bucket is in another region, the request is repeated there.
    pub async fn object(&self, bucket: &str, key: &str, deadline: Deadline) -> Result<Vec<u8>, AwsError> {
        const OPERATION: &str = "s3:GetObject";
        let path = format!("/{bucket}/{}", encoded(key));
        let content = Content { method: "GET", path: &path, headers: &[], body: "" };
        let mut region = None;
        for _ in 0..2 {
            match self.send_signed(S3, region.as_deref(), OPERATION, content, read_object, deadline).await? {
                S3Answer::Object(bytes) => return Ok(bytes),
                S3Answer::Elsewhere(named) => region = Some(named),
            }
        }
        Err(without_member(OPERATION, "Location"))
    }
}

/// The key of an object in the path of a URL (Amazon S3 API Reference, "Signature Calculations", UriEncode).
fn encoded(key: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let one = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    key.bytes().map(one).collect()
}

fn read_object(response: &HttpResponse) -> Result<S3Answer, OrchestratorError<ErrorAnswer>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return Ok(S3Answer::Object(body.to_vec()));
    }
    let is_redirect = matches!(response.status().as_u16(), 301 | 307 | 400);
    match response.headers().get("x-amz-bucket-region").filter(|region| is_redirect && is_region(region)) {
        Some(region) => Ok(S3Answer::Elsewhere(region.to_owned())),
        None => Err(OrchestratorError::operation(s3_error(body))),
    }
}

fn is_region(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether an error says that there is no such secret, parameter, bucket or object.
pub fn is_absent(error: &AwsError) -> bool {
    const ABSENT: [&str; 4] = ["ResourceNotFoundException", "ParameterNotFound", "NoSuchKey", "NoSuchBucket"];
    matches!(&error.kind, AwsErrorKind::Service { code: Some(code), .. } if ABSENT.contains(&code.as_str()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_is_encoded_for_a_path() {
        assert_eq!(encoded("team a/ecs.config+1~\u{e9}"), "team%20a/ecs.config%2B1~%C3%A9");
    }

    #[test]
    fn absent_is_not_denied() {
        let error = |code: &str| AwsError {
            operation: "s3:GetObject",
            kind: AwsErrorKind::of_answer(Some(code.to_owned()), Default::default(), 404),
            elapsed: Duration::ZERO,
            source: None,
        };
        assert!(is_absent(&error("NoSuchKey")) && is_absent(&error("ParameterNotFound")));
        assert!(!is_absent(&error("AccessDenied")) && !is_absent(&error("InternalError")));
    }
}
