//! The data type of a task definition revision, and the tags that ecs-rollout writes to it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::normalize;
use crate::service::short;

/// The tag with the number of the build that registered the revision.
pub(crate) const BUILD_TAG: &str = "ecs-rollout:build";
/// The tag with the git commit of that build.
pub(crate) const COMMIT_TAG: &str = "ecs-rollout:commit";

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Revision {
    pub(crate) arn: String,
    /// Whether a service can be updated to it.
    pub(crate) is_active: bool,
    /// The task definition in the normalized form, for comparison.
    pub(crate) normalized: Value,
    /// The task definition as ECS returned it.
    pub(crate) raw: Value,
    pub(crate) tags: BTreeMap<String, String>,
}

impl Revision {
    /// Reads the answer of DescribeTaskDefinition or RegisterTaskDefinition.
    pub(crate) fn read(answer: &Value) -> Revision {
        let task = &answer["taskDefinition"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tags = answer["tags"].as_array().into_iter().flatten();
        Revision {
            arn: text(&task["taskDefinitionArn"]),
            is_active: task["status"] == json!("ACTIVE"),
            normalized: normalize::task_definition(task),
            raw: task.clone(),
            tags: tags.map(|tag| (text(&tag["key"]), text(&tag["value"]))).collect(),
        }
    }

    /// The revision as DescribeTaskDefinition returns it.
    pub(crate) fn answer(&self) -> Value {
        let tags = self.tags.iter().map(|(key, value)| json!({"key": key, "value": value}));
        json!({"taskDefinition": self.raw, "tags": tags.collect::<Vec<_>>()})
    }

    /// For example `web:42 (build 17)`.
    pub(crate) fn label(&self) -> String {
        match self.tags.get(BUILD_TAG) {
            Some(build) => format!("{} (build {build})", short(&self.arn)),
            None => short(&self.arn).to_owned(),
        }
    }
}
