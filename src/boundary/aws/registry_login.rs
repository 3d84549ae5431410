//! The tokens of ECR and of ECR Public, with which docker logs in to their registries.
//!
//! In: a region, and a deadline. Out: user name and password, valid for twelve hours.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::calls::without_member;
use super::json::JsonService;
use super::service::{EndpointName, Service};
use super::{Aws, AwsError};
use crate::retry::Deadline;

/// Amazon ECR.
pub(super) const ECR: JsonService = JsonService {
    service: Service { id: "ECR", signing_name: "ecr", endpoint: EndpointName::RegionalOr("api.ecr", "ecr") },
    target: "AmazonEC2ContainerRegistry_V20150921",
};
/// Amazon ECR Public, which has this endpoint for pulls only (AWS General Reference, "Amazon ECR Public endpoints").
const ECR_PUBLIC: JsonService = JsonService {
    service: Service {
        id: "ECR PUBLIC",
        signing_name: "ecr-public",
        endpoint: EndpointName::Global(|_| ("api.ecr-public.us-east-1.amazonaws.com", "us-east-1")),
    },
    target: "SpencerFrontendService",
};

impl Aws {
    /// User and password for the private registries of a region, of all accounts that allow the role: `ecr:GetAuthorizationToken`.
    pub async fn ecr_login(&self, region: &str, deadline: Deadline) -> Result<(String, String), AwsError> {
        const OPERATION: &str = "ecr:GetAuthorizationToken";
        let answer = self.json(ECR, Some(region), OPERATION, &json!({}), Some("authorizationData"), deadline).await?;
        login(OPERATION, &answer["authorizationData"][0])
    }

    /// User and password for ECR Public: `ecr-public:GetAuthorizationToken`, which needs `sts:GetServiceBearerToken` too.
    pub async fn ecr_public_login(&self, deadline: Deadline) -> Result<(String, String), AwsError> {
        const OPERATION: &str = "ecr-public:GetAuthorizationToken";
        let answer = self.json(ECR_PUBLIC, None, OPERATION, &json!({}), Some("authorizationData"), deadline).await?;
        login(OPERATION, &answer["authorizationData"])
    }
}

/// The token is `USER:PASSWORD` in base64 (Amazon ECR API Reference, "AuthorizationData").
fn login(operation: &'static str, data: &Value) -> Result<(String, String), AwsError> {
    let token = data["authorizationToken"].as_str().unwrap_or_default();
    let pair = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let pair = pair.split_once(':').filter(|(user, password)| !user.is_empty() && !password.is_empty());
    pair.map(|(user, password)| (user.to_owned(), password.to_owned()))
        .ok_or_else(|| without_member(operation, "authorizationToken"))
}

#[cfg(test)]
mod tests {
    use super::super::AwsErrorKind;
    use super::*;

    #[test]
    fn a_token_is_a_user_and_a_password() {
        let data = |token: &str| json!({"authorizationToken": STANDARD.encode(token), "proxyEndpoint": "https://x"});
        let found = login("ecr:GetAuthorizationToken", &data("AWS:hunter:2")).unwrap();
        assert_eq!((found.0.as_str(), found.1.as_str()), ("AWS", "hunter:2"));
        for broken in
            [json!(null), json!({}), json!({"authorizationToken": "%%"}), data("AWS"), data(":x"), data("AWS:")]
        {
            let error = login("ecr:GetAuthorizationToken", &broken).unwrap_err();
            assert!(matches!(error.kind, AwsErrorKind::InvalidResponse), "{broken}: {error}");
        }
    }
}
