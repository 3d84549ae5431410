//! When an instance counts as ready. All of these must hold:
//!
//! 1. The agent's introspection answers with the ARN of a container instance ([`Evidence::container_instance_arn`],
//!    which contains only answers that passed `Evidence::trusted`).
//! 2. It is in the expected cluster ([`joined_other_cluster`]); if not, `joined-default` or `cluster-other-than-wanted`
//!    is the cause.
//! 3. ECS knows that container instance with this instance's id, and its status is ACTIVE or DRAINING.
//! 4. ECS reports the agent as connected.
//! 5. With `ready.attributes`: it has these attributes ([`has_attributes`]).
//! 6. With `ready.images`: docker has these images ([`has_images`]).
//! 7. With `ready.daemons`: the daemons run, and the instance was allowed to take tasks ([`takes_tasks`]).
//!
//! If ECS cannot be queried (no permission, or errors for longer than `verify.window`), conditions 1 and 2 are enough unless
//! there is a condition 5, and the verdict states that. If the query is throttled, they are enough as soon as the agent has logged its connection:
//! many instances that start together would otherwise wait for each other. `active (running)` of the agent's unit proves nothing: ecs-init keeps the unit active
//! while the agent exits again and again.

use std::time::Duration;

use crate::boundary::aws::{AwsErrorKind, ContainerInstance};
use crate::evidence::task_hold::{DaemonState, allows_tasks};
use crate::evidence::{AttributeState, Evidence, ImageState};
use crate::plan::{cluster_name, region_and_account};
use crate::redaction::{self, error_chain};

/// A registration that fulfils the conditions of this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The cluster, as the agent names it.
    pub cluster: String,
    /// The ARN of the container instance.
    pub container_instance_arn: String,
    /// Whether ECS reports the agent as connected; `None` if ECS could not be queried.
    pub agent_connected: Option<bool>,
    /// How that is known, or why it is not.
    pub how: String,
    /// The daemons that verify has waited for.
    pub daemons: Vec<DaemonState>,
}

/// The registration, if the instance is ready.
pub fn ready(evidence: &Evidence) -> Option<Registration> {
    registered(evidence).filter(|_| has_attributes(evidence) && has_images(evidence) && takes_tasks(evidence))
}

/// Whether the container instance has the attributes of `ready.attributes`, or is ready without them after
/// `ready.deadline`.
pub fn has_attributes(evidence: &Evidence) -> bool {
    evidence.is_ready_without || matches!(evidence.attribute_state(), None | Some(AttributeState::Complete))
}

/// Whether docker has the images of `ready.images`, or the instance is ready without them: after `ready.deadline`, or because the
/// pulls have ended.
pub fn has_images(evidence: &Evidence) -> bool {
    let conditions = evidence.expectation.as_ref().and_then(|expected| expected.waits_for_images());
    match evidence.image_state() {
        None | Some(ImageState::Complete) => true,
        Some(ImageState::Missing(_)) if conditions.is_some_and(|one| one.allows_after_deadline()) => true,
        Some(_) => evidence.is_ready_without,
    }
}

/// Whether the instance takes tasks: `ready.daemons` is off, or the attribute allows them. Without an observation of the
/// daemons and of the attribute (doctor without the permission), only the registration counts.
pub fn takes_tasks(evidence: &Evidence) -> bool {
    if evidence.expectation.as_ref().is_none_or(|expected| expected.waits_for_daemons().is_none()) {
        return true;
    }
    let described = evidence.described();
    match &evidence.task_hold {
        Some(hold) if hold.waits => hold.is_allowed() || described.is_some_and(|one| hold.is_allowed_by(one)),
        Some(hold) => described.is_none_or(|one| hold.is_allowed_by(one)),
        None => described.is_none_or(allows_tasks),
    }
}

/// The registration, if the agent has registered and is connected. The cluster is not compared here: another cluster than the
/// wanted one is a cause, and causes are judged first.
pub fn registered(evidence: &Evidence) -> Option<Registration> {
    let arn = evidence.container_instance_arn()?;
    let Some(Ok(metadata)) = &evidence.introspection else { return None };
    let (agent_connected, how) = match evidence.container_instance.as_ref()? {
        Ok(Some(instance)) if instance.agent_connected && is_this_instance(evidence, instance) => {
            (Some(true), "ecs:DescribeContainerInstances".to_owned())
        }
        Ok(_) => return None,
        Err(error) => {
            let window = evidence.expectation.as_ref().map_or(Duration::ZERO, |expected| expected.window);
            let is_denied = matches!(error.kind, AwsErrorKind::Denied { .. } | AwsErrorKind::NoCredentials);
            let is_window_over = evidence.registered_for.is_some_and(|since| since >= window);
            let is_throttled = matches!(error.kind, AwsErrorKind::Throttled { .. });
            let source = match is_throttled && evidence.has_connected() {
                true => "the agent's introspection and log",
                false if !is_denied && error.kind.is_retryable() && !is_window_over => return None,
                false => "the agent's introspection",
            };
            (None, format!("{source} only: {}", error_chain(error)))
        }
    };
    let (cluster, container_instance_arn) = (metadata.cluster.clone(), arn.to_owned());
    let daemons = evidence.task_hold.as_ref().and_then(|hold| hold.states()).unwrap_or_default();
    Some(Registration { cluster, container_instance_arn, agent_connected, how, daemons })
}

/// Whether the container instance is this EC2 instance, with a status in which it runs tasks or lets them end.
fn is_this_instance(evidence: &Evidence, instance: &ContainerInstance) -> bool {
    let own_id = evidence.expectation.as_ref().and_then(|expected| expected.instance_id.as_deref());
    let is_other = matches!((own_id, instance.ec2_instance_id.as_deref()), (Some(own), Some(id)) if own != id);
    !is_other && matches!(instance.status.as_str(), "ACTIVE" | "DRAINING")
}

/// The name of the joined cluster if it is not the expected one, with evidence. Names are compared, and ARNs if both are
/// ARNs.
pub fn joined_other_cluster(evidence: &Evidence) -> Option<(&str, Vec<String>)> {
    let wanted = evidence.expectation.as_ref()?.cluster.as_deref()?;
    let arn = evidence.container_instance_arn()?;
    let Some(Ok(metadata)) = &evidence.introspection else { return None };
    let actual = metadata.cluster.as_str();
    let same = match (actual.starts_with("arn:"), wanted.starts_with("arn:")) {
        (true, true) => actual == wanted,
        _ => cluster_name(actual) == cluster_name(wanted),
    };
    let (actual_shown, wanted_shown) = (redaction::cluster(actual), redaction::cluster(wanted));
    // The agent reports the configured cluster. The ARN contains the cluster that it registered in:
    // `...:container-instance/NAME/ID`.
    let registered = arn.split('/').nth(1).filter(|_| arn.split('/').count() == 3);
    if let Some(registered) = registered.filter(|name| same && *name != cluster_name(wanted)) {
        return Some((registered, vec![format!("the agent reports cluster `{actual_shown}`, but its ARN is `{arn}`")]));
    }
    // A cluster of the same name in another region is another cluster.
    let is_elsewhere =
        || region_and_account(wanted).zip(region_and_account(arn)).is_some_and(|(wanted, actual)| wanted.0 != actual.0);
    (!same || is_elsewhere()).then(|| {
        (
            cluster_name(actual),
            vec![format!("the agent is `{arn}` in cluster `{actual_shown}`; the expected cluster is `{wanted_shown}`")],
        )
    })
}
