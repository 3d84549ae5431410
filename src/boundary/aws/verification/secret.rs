//! Secrets of Secrets Manager, parameters of Systems Manager, and log groups: whether they exist. Values are never read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::remote_values::{SECRETS_MANAGER, SYSTEMS_MANAGER};
use super::super::{Aws, AwsError};
use super::{MAX_PAGES, absent_if};
use crate::retry::Deadline;

/// The longest page of DescribeParameters, and the most values of one of its filters (Systems Manager API Reference).
pub const MAX_PARAMETERS: usize = 50;

/// A secret in the answer of DescribeSecret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secret {
    /// Whether it is scheduled for deletion, so that its value cannot be read.
    pub is_deleted: bool,
    /// The staging labels that some version has; empty if the answer has no versions.
    pub stages: BTreeSet<String>,
}

impl Aws {
    /// A secret by ARN or name: `secretsmanager:DescribeSecret`.
    pub async fn secret(&self, id: &str, region: Option<&str>, deadline: Deadline) -> Result<Option<Secret>, AwsError> {
        let body = json!({"SecretId": id});
        let operation = "secretsmanager:DescribeSecret";
        let answer = self.json(SECRETS_MANAGER, region, operation, &body, Some("ARN"), deadline).await;
        let answer = absent_if(answer, &["ResourceNotFoundException"])?;
        Ok(answer.map(|answer| {
            let versions = answer["VersionIdsToStages"].as_object();
            let stages = versions.into_iter().flat_map(|versions| versions.values()).filter_map(Value::as_array);
            Secret {
                is_deleted: !answer["DeletedDate"].is_null(),
                stages: stages.flatten().filter_map(|stage| stage.as_str().map(str::to_owned)).collect(),
            }
        }))
    }

    /// Which of these parameters exist (at most 50 names): `ssm:DescribeParameters`.
    pub async fn existing_parameters(
        &self,
        names: &[String],
        region: Option<&str>,
        deadline: Deadline,
    ) -> Result<BTreeSet<String>, AwsError> {
        let filter = json!([{"Key": "Name", "Option": "Equals", "Values": names}]);
        let mut body = json!({"ParameterFilters": filter, "MaxResults": MAX_PARAMETERS});
        let mut found = BTreeSet::new();
        // A page may be empty although another one follows (Systems Manager API Reference, "DescribeParameters").
        for _ in 0..MAX_PAGES {
            let operation = "ssm:DescribeParameters";
            let answer = self.json(SYSTEMS_MANAGER, region, operation, &body, Some("Parameters"), deadline).await?;
            let parameters = answer["Parameters"].as_array().into_iter().flatten();
            found.extend(parameters.filter_map(|one| one["Name"].as_str().map(str::to_owned)));
            match answer["NextToken"].as_str().filter(|token| !token.is_empty()) {
                Some(token) => body["NextToken"] = json!(token),
                None => break,
            }
        }
        Ok(found)
    }

    /// Whether a log group exists: `logs:DescribeLogGroups`.
    pub async fn log_group_exists(
        &self,
        name: &str,
        region: Option<&str>,
        deadline: Deadline,
    ) -> Result<bool, AwsError> {
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let answer = self
                .call("logs:DescribeLogGroups", deadline, async |clients| {
                    let mut config = aws_sdk_cloudwatchlogs::config::Builder::from(&clients.config);
                    if let Some(region) = region {
                        config.set_region(Some(aws_config::Region::new(region.to_owned())));
                    }
                    let request = aws_sdk_cloudwatchlogs::Client::from_conf(config.build()).describe_log_groups();
                    request.log_group_name_prefix(name).set_next_token(next.clone()).send().await
                })
                .await?;
            // The groups are sorted by name, so that the exact name is on the first page (CloudWatch Logs API Reference,
            // "DescribeLogGroups"); the other pages are read in case a service sorts them otherwise.
            if answer.log_groups().iter().any(|group| group.log_group_name() == Some(name)) {
                return Ok(true);
            }
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        Ok(false)
    }
}
