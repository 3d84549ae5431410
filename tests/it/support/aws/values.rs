//! Simulates the values that settings name: Secrets Manager, Systems Manager and S3.

use super::{ApiError, State};
use crate::support::http::{Reply, Request, percent_decode};
use serde_json::{Value, json};

impl State {
    /// The answer of Secrets Manager or Systems Manager. Values are by name or ARN.
    pub(super) fn value_of(&self, operation: &str, body: &Value) -> Result<Value, ApiError> {
        let absent = |code: &str| (400, code.to_owned(), "It does not exist.".to_owned());
        let id = body[if operation == "GetSecretValue" { "SecretId" } else { "Name" }].as_str().unwrap_or_default();
        let value = self.values.get(id);
        match operation {
            "GetSecretValue" => {
                let value = value.ok_or_else(|| absent("ResourceNotFoundException"))?;
                Ok(json!({"ARN": "arn:aws:secretsmanager:x", "Name": id, "SecretString": value}))
            }
            _ if body["WithDecryption"] != true => Err((400, "ValidationException".into(), "not decrypted".into())),
            _ => {
                let value = value.ok_or_else(|| absent("ParameterNotFound"))?;
                Ok(json!({"Parameter": {"Name": id, "Type": "SecureString", "Value": value}}))
            }
        }
    }

    /// The answer of S3 to GetObject. Objects are by `s3://BUCKET/KEY`.
    pub(super) fn object(&self, request: &Request) -> Reply {
        let id = format!("s3:/{}", percent_decode(&request.path, false));
        let region = request.header("authorization").and_then(|text| text.split('/').nth(2)).unwrap_or_default();
        let bucket_region = id.contains("-in-paris/").then_some("eu-west-3");
        if let Some(elsewhere) = bucket_region.filter(|elsewhere| *elsewhere != region) {
            return s3_error(301, "PermanentRedirect").with("x-amz-bucket-region", elsewhere);
        }
        match self.values.get(&id) {
            Some(value) => Reply::new(200, "binary/octet-stream", value.clone()),
            None => s3_error(404, "NoSuchKey"),
        }
    }
}

pub(super) fn s3_error(status: u16, code: &str) -> Reply {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{code}.</Message></Error>"
    );
    Reply::new(status, "application/xml", xml)
}
