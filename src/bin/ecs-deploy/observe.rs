//! Reads what is there: the service, the newest revision of the family, the revision to go back to.
//!
//! In: names. Out: [`CurrentState`], plain data. It decides nothing and changes nothing.

use std::collections::BTreeMap;

use ecs_bootstrap::boundary::aws::AwsError;
use serde_json::{Value, json};

use crate::cause::Finding;
use crate::client::{ServiceClient, call, with_retries};
use crate::normalize;
use crate::rollout::Service;

/// What is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct CurrentState {
    /// The service, where ECS knows it; perhaps as INACTIVE.
    pub(crate) service: Option<Service>,
    /// The newest ACTIVE revision of the family.
    pub(crate) newest: Option<Revision>,
    /// The revision that last ran well in this service.
    pub(crate) good: Option<Revision>,
    /// Who decides how many tasks there are.
    pub(crate) scaling: Scaling,
}

/// Who decides how many tasks a service has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Scaling {
    /// Nobody asked, since nobody says another count.
    #[default]
    NotAsked,
    /// The service's own desired count.
    Manual,
    /// Application Auto Scaling.
    Automatic,
    /// It could not be asked.
    Unknown(String),
}

/// A revision of a task definition.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Revision {
    /// Its ARN.
    pub(crate) arn: String,
    /// Whether a service can be updated to it.
    pub(crate) is_active: bool,
    /// In normal form.
    pub(crate) document: Value,
    /// As it came.
    pub(crate) raw: Value,
    /// Its tags.
    pub(crate) tags: BTreeMap<String, String>,
}

impl Revision {
    /// Of DescribeTaskDefinition's or RegisterTaskDefinition's JSON.
    pub(crate) fn read(answer: &Value) -> Revision {
        let task = &answer["taskDefinition"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tags = answer["tags"].as_array().into_iter().flatten();
        Revision {
            arn: text(&task["taskDefinitionArn"]),
            is_active: task["status"] == json!("ACTIVE"),
            document: normalize::task_definition(task),
            raw: task.clone(),
            tags: tags.map(|tag| (text(&tag["key"]), text(&tag["value"]))).collect(),
        }
    }
}

impl ServiceClient {
    /// The service, where ECS knows it.
    pub(crate) async fn service(&self) -> Result<Option<Service>, AwsError> {
        let raw =
            with_retries(async |deadline| self.aws.describe_service(&self.cluster, &self.service, deadline).await)
                .await?;
        Ok(raw.as_ref().and_then(Service::read))
    }

    /// A revision by family, `family:revision` or ARN.
    pub(crate) async fn revision(&self, name: &str) -> Result<Option<Revision>, Finding> {
        let answer = call(async |deadline| self.aws.describe_task_definition(name, deadline).await).await?;
        Ok(answer.as_ref().map(Revision::read))
    }

    /// All that a plan is decided by. `desired_count` is what somebody says of it.
    pub(crate) async fn observe(&self, family: &str, desired_count: Option<&Value>) -> Result<CurrentState, Finding> {
        let service = call(async |deadline| self.aws.describe_service(&self.cluster, &self.service, deadline).await);
        let (service, newest) = futures_util::future::try_join(service, self.revision(family)).await?;
        let service = service.as_ref().and_then(Service::read);
        let active = service.as_ref().filter(|service| service.is_active());
        let good = match active.and_then(Service::last_good) {
            Some(good) if newest.as_ref().is_some_and(|newest| newest.arn == good) => newest.clone(),
            Some(good) => self.revision(good).await?,
            None => None,
        };
        let scaling = match (active, desired_count.and_then(Value::as_i64)) {
            (Some(active), Some(said)) if said != active.desired_count => self.scaling().await,
            _ => Scaling::NotAsked,
        };
        Ok(CurrentState { service, newest, good, scaling })
    }

    async fn scaling(&self) -> Scaling {
        // Its resource ids have names, not ARNs.
        let cluster = crate::rollout::short(&self.cluster);
        match with_retries(async |deadline| self.aws.is_scaled(cluster, &self.service, deadline).await).await {
            Ok(true) => Scaling::Automatic,
            Ok(false) => Scaling::Manual,
            Err(error) => Scaling::Unknown(error.verbatim()),
        }
    }
}
