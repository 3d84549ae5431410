//! Reads the current state: the service, the revision that it runs, the newest one of the family, and the last stable
//! one.
//!
//! In: names. Out: [`CurrentState`]. It decides nothing and changes nothing.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cause::FoundCause;
use crate::causes;
use crate::client::{ServiceClient, call, call_with_retries};
use crate::current::{CurrentState, Scaling};
use crate::revision::Revision;
use crate::service::{Service, short};
use crate::stability::last_stable_revision;
use crate::visible::Definition;

/// How many revisions are read only to hide their values. A service runs one, and two during a rollout.
const MAX_LEARNED: usize = 5;

/// Parses a service in the answer of an operation.
pub(crate) fn parse_service(operation: &str, raw: &Value) -> Result<Service, FoundCause> {
    Service::read(raw)
        .map_err(|error| causes::API_FAILED.finding(format!("the answer of {operation} cannot be parsed: {error}")))
}

impl ServiceClient {
    /// The service, if ECS knows it.
    pub(crate) async fn service(&self) -> Result<Option<Service>, FoundCause> {
        let raw =
            call(async |deadline| self.aws.describe_service(&self.cluster, &self.service, deadline).await).await?;
        self.hidden.learn(Definition::Service, raw.as_ref().unwrap_or(&Value::Null));
        raw.map(|raw| parse_service("DescribeServices", &raw)).transpose()
    }

    /// A revision by family (its newest ACTIVE revision), `family:revision` or ARN.
    pub(crate) async fn revision(&self, name: &str) -> Result<Option<Revision>, FoundCause> {
        let answer = call(async |deadline| self.aws.describe_task_definition(name, deadline).await).await?;
        let task_definition = answer.as_ref().map_or(&Value::Null, |answer| &answer["taskDefinition"]);
        self.hidden.learn(Definition::Task, task_definition);
        Ok(answer.as_ref().map(Revision::read))
    }

    /// Reads revisions so that their values are hidden. One that cannot be read is left out.
    pub(crate) async fn learn_revisions<'a>(&self, arns: impl Iterator<Item = &'a str>) {
        let distinct: BTreeSet<&str> = arns.filter(|arn| !arn.is_empty()).collect();
        let reads = distinct.into_iter().take(MAX_LEARNED).map(|arn| self.revision(arn));
        futures_util::future::join_all(reads).await;
    }

    /// Reads everything that a plan is decided from. `desired_count` is that of the service definition, if it has one.
    pub(crate) async fn observe(
        &self,
        family: &str,
        desired_count: Option<&Value>,
    ) -> Result<CurrentState, FoundCause> {
        let (service, newest) = futures_util::future::try_join(self.service(), self.revision(family)).await?;
        let active = service.as_ref().filter(|service| service.is_active());
        let newest_or_read = async |arn: Option<&str>| match arn {
            Some(arn) if newest.as_ref().is_some_and(|newest| newest.arn == arn) => Ok(newest.clone()),
            Some(arn) => self.revision(arn).await,
            None => Ok(None),
        };
        let running_arn = active.map(|service| service.task_definition.as_str());
        let stable_arn = active.and_then(last_stable_revision);
        let scaling = async {
            match (active, desired_count.and_then(Value::as_i64)) {
                (Some(active), Some(desired)) if desired != active.desired_count => self.scaling().await,
                _ => Scaling::NotRead,
            }
        };
        let running = newest_or_read(running_arn);
        let stable = newest_or_read(stable_arn.filter(|arn| Some(*arn) != running_arn));
        let (running, stable, scaling) = futures_util::future::join3(running, stable, scaling).await;
        let (running, stable) = (running?, stable?);
        let last_stable = if stable_arn == running_arn { running.clone() } else { stable };
        Ok(CurrentState { service, running, newest, last_stable, scaling })
    }

    /// What sets the desired count of the service.
    pub(crate) async fn scaling(&self) -> Scaling {
        // The resource ids of Application Auto Scaling have the name of the cluster, not its ARN.
        let cluster = short(&self.cluster);
        match call_with_retries(async |deadline| self.aws.is_scaled(cluster, &self.service, deadline).await).await {
            Ok(true) => Scaling::Automatic,
            Ok(false) => Scaling::Manual,
            Err(error) => Scaling::Unknown(error.verbatim()),
        }
    }
}
