//! IAM roles.

use super::super::query::{Expected, QueryService};
use super::super::service::{EndpointName, Service};
use super::super::{Aws, AwsError};
use super::absent_if;
use crate::retry::Deadline;

const IAM: QueryService = QueryService {
    service: Service { id: "IAM", signing_name: "iam", endpoint: EndpointName::Global(endpoint) },
    version: "2010-05-08",
    texts: &["Arn", "AssumeRolePolicyDocument"],
};

/// The host of IAM in the partition of a region, and the region of its signatures (AWS General Reference, "AWS Identity
/// and Access Management endpoints and quotas"; the partitions of botocore's `endpoints.json`).
fn endpoint(region: &str) -> (&'static str, &'static str) {
    const PARTITIONS: [(&str, &str, &str); 7] = [
        ("cn-", "iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("us-gov-", "iam.us-gov.amazonaws.com", "us-gov-west-1"),
        ("us-iso-", "iam.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
        ("us-isob-", "iam.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1"),
        ("eu-isoe-", "iam.eu-isoe-west-1.cloud.adc-e.uk", "eu-isoe-west-1"),
        ("us-isof-", "iam.us-isof-south-1.csp.hci.ic.gov", "us-isof-south-1"),
        ("eusc-", "iam.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
    ];
    let found = PARTITIONS.into_iter().find(|(prefix, ..)| region.starts_with(prefix));
    found.map_or(("iam.amazonaws.com", "us-east-1"), |(_, host, region)| (host, region))
}

/// A role in the answer of GetRole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The ARN, with the role's path.
    pub arn: String,
    /// The JSON of the trust policy.
    pub trust_policy: String,
}

impl Aws {
    /// A role of the caller's account by its name, without a path: `iam:GetRole`.
    pub async fn role(&self, name: &str, deadline: Deadline) -> Result<Option<Role>, AwsError> {
        const PATH: [&str; 2] = ["GetRoleResult", "Role"];
        let parameters = [("RoleName", name)];
        let answer = self.query(IAM, "iam:GetRole", &parameters, Expected::Element(&PATH), deadline).await;
        let answer = absent_if(answer, &["NoSuchEntity", "NoSuchEntityException"])?;
        Ok(answer.and_then(|answer| {
            answer.all(&PATH).first().map(|role| Role {
                arn: role.text("Arn").trim().to_owned(),
                trust_policy: percent_decoded(role.text("AssumeRolePolicyDocument").trim()),
            })
        }))
    }
}

/// IAM encodes policy documents as RFC 3986 says, so `+` stands for itself.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let encoded = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match encoded.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_document_is_decoded() {
        for (encoded, text) in [
            ("%7B%22Version%22%3A%222012-10-17%22%7D", r#"{"Version":"2012-10-17"}"#),
            ("{\"a\": \"b+c\"}", "{\"a\": \"b+c\"}"),
            ("%C3%BC%", "ü%"),
            ("%zz%2", "%zz%2"),
        ] {
            assert_eq!(percent_decoded(encoded), text);
        }
    }

    #[test]
    fn each_partition_has_its_endpoint() {
        for (region, host) in [
            ("eu-west-1", "iam.amazonaws.com"),
            ("cn-northwest-1", "iam.cn-north-1.amazonaws.com.cn"),
            ("us-gov-east-1", "iam.us-gov.amazonaws.com"),
            ("us-isob-east-1", "iam.us-isob-east-1.sc2s.sgov.gov"),
        ] {
            assert_eq!(endpoint(region).0, host);
        }
    }
}
