//! States in the lifecycle of an instance that look like a failure.

use super::cause::{Cause, Class};
use super::layer::Layer;
use crate::evidence::Evidence;
use crate::exit::Exit;

/// Whatever else is wrong with an instance that is about to end, repairing it is useless.
pub(super) static ENDING: Cause = Cause {
    id: "instance-ending",
    layer: Layer::Lifecycle,
    title: "the instance is about to be terminated or stopped, so it is not judged",
    symptoms: "an instance that does not join its cluster, and that disappears within minutes",
    proof: "IMDS has a notice of a Spot interruption, or the target lifecycle state is Terminated; if the target lifecycle \
            state begins with `Warmed`, the cause is `warm-pool-waiting`",
    look_alikes: &["warm-pool-waiting"],
    class: Class::Waiting,
    ends_instance: true,
    exit: Exit::Done,
    exit_after_deadline: Exit::Done,
    remedy: "nothing to do on this instance; if instances end before they join, see the activity history of the Auto \
             Scaling group (`aws autoscaling describe-scaling-activities --auto-scaling-group-name NAME`)",
    source: "Amazon EC2 User Guide, \"Spot Instance interruption notices\"; Amazon EC2 Auto Scaling User Guide, \"Retrieve the \
             target lifecycle state through instance metadata\"",
    check: |evidence| evidence.ending.clone().map(|seen| vec![seen]),
    excluded: |evidence| {
        let is_connected = matches!(&evidence.container_instance, Some(Ok(Some(instance))) if instance.agent_connected);
        is_connected.then(|| "the agent is connected".to_owned())
    },
    when_registered: true,
    ..Cause::DEFAULTS
};

/// The agent waits on purpose.
pub(super) static WARM_POOL_WAITING: Cause = Cause {
    id: "warm-pool-waiting",
    layer: Layer::Lifecycle,
    title: "the instance is in a warm pool, and its agent registers when the instance goes into service",
    symptoms: "a healthy instance is not in the cluster for hours",
    proof: "ECS_WARM_POOLS_CHECK is on, and the target lifecycle state begins with `Warmed`; if there is no target \
            lifecycle state, the cause is `warm-pool-state-missing`",
    look_alikes: &["warm-pool-state-missing"],
    class: Class::Waiting,
    exit: Exit::Done,
    exit_after_deadline: Exit::Done,
    remedy: "nothing to do: the agent registers when Auto Scaling moves the instance to InService",
    source: "aws/amazon-ecs-agent#3000; Amazon EC2 Auto Scaling User Guide, \"Warm pools\"",
    check: |evidence| {
        let state = evidence.target_state.as_deref().filter(|state| state.starts_with("Warmed"))?;
        checks_pool(evidence)
            .then(|| vec![format!("the target lifecycle state is `{state}`, and ECS_WARM_POOLS_CHECK is on")])
    },
    ..Cause::DEFAULTS
};

/// The agent retries each minute for up to two hours; some versions give up at once.
pub(super) static WARM_POOL_STATE_MISSING: Cause = Cause {
    id: "warm-pool-state-missing",
    layer: Layer::Agent,
    title: "the agent waits for a warm pool state, but the instance is not in an Auto Scaling group",
    symptoms: "the agent's log stops for a long time after `Waiting for instance to go InService`, or the agent exits \
               with code 5",
    proof: "ECS_WARM_POOLS_CHECK is on, and IMDS has no target-lifecycle-state (404); if there is a state that begins \
            with `Warmed`, the cause is `warm-pool-waiting`",
    look_alikes: &["warm-pool-waiting", "agent-gave-up"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Agent,
    remedy: "if the instance is not launched by an Auto Scaling group with a warm pool, remove ECS_WARM_POOLS_CHECK from \
             ecs.config, then `systemctl restart ecs --no-block`",
    source: "aws/amazon-ecs-agent#4487 #4644 #3032",
    check: |evidence| {
        if !checks_pool(evidence) || !evidence.outside_group {
            return None;
        }
        let waits = evidence.agent_logged(&["Waiting for instance to go InService"]);
        let lost = evidence.agent_logged(&["Could not determine target lifecycle of instance"]);
        let logged = lost.or(waits)?;
        Some(vec!["ECS_WARM_POOLS_CHECK is on, and IMDS has no autoscaling/target-lifecycle-state".to_owned(), logged])
    },
    ..Cause::DEFAULTS
};

/// Only a note: the instance has joined.
pub(super) static DRAINING: Cause = Cause {
    id: "draining",
    is_only_note: true,
    layer: Layer::Lifecycle,
    title: "the container instance is DRAINING, so ECS places no tasks on it",
    symptoms: "the instance is in the cluster and connected, but gets no tasks",
    proof: "ecs:DescribeContainerInstances returns the status DRAINING",
    look_alikes: &["deregistered-while-up"],
    class: Class::Waiting,
    exit: Exit::Done,
    exit_after_deadline: Exit::Done,
    remedy: "`aws ecs update-container-instances-state --cluster NAME --container-instances ARN --status ACTIVE`, \
             unless a Spot interruption, a capacity provider or `drain.on` is removing the instance",
    source: "Amazon ECS Developer Guide, \"Draining Amazon ECS container instances\"",
    note: |evidence| match &evidence.container_instance {
        // `status` says why.
        Some(Ok(Some(_))) if evidence.drain.as_ref().is_some_and(|drain| drain.trigger.is_some()) => None,
        Some(Ok(Some(instance))) if instance.status == "DRAINING" => {
            Some(vec![format!("`{}` is DRAINING", instance.arn)])
        }
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// With such a status ECS places no tasks, even if everything else works.
pub(super) static NOT_ACTIVE: Cause = Cause {
    id: "registration-not-active",
    layer: Layer::Agent,
    title: "the container instance is registered, but its status is neither ACTIVE nor DRAINING",
    symptoms: "the agent runs and may be connected, but the instance gets no tasks",
    proof: "ecs:DescribeContainerInstances returns a status such as REGISTERING, REGISTRATION_FAILED, DEREGISTERING or \
            INACTIVE, with its reason; the cause is `deregistered-while-up` if the agent's log says that the instance \
            was deregistered, and `registration-inactive` if the agent exited with code 5 instead of registering",
    look_alikes: &["draining", "deregistered-while-up", "registration-inactive", "agent-not-connected"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Agent,
    remedy: "REGISTERING ends by itself, unless the trunk network interface of `awsvpcTrunking` cannot be attached (free addresses \
             in the subnet, service-linked role of ECS); after REGISTRATION_FAILED fix what the reason names, and replace the \
             instance; after a deregistration run `ecs-bootstrap reset-agent --yes`, which registers it again",
    source: "Amazon ECS API Reference, ContainerInstance, `status` and `statusReason`",
    check: |evidence| match &evidence.container_instance {
        Some(Ok(Some(instance))) if !matches!(instance.status.as_str(), "ACTIVE" | "DRAINING") => {
            let status = format!("ecs:DescribeContainerInstances returns status {}", instance.status);
            let reason = instance.status_reason.as_ref().map(|reason| format!("the reason is `{reason}`"));
            Some([status].into_iter().chain(reason).collect())
        }
        _ => None,
    },
    when_registered: true,
    ..Cause::DEFAULTS
};

fn checks_pool(evidence: &Evidence) -> bool {
    evidence.config.get("ECS_WARM_POOLS_CHECK").is_some_and(|value| is_true(value))
}

/// A boolean, parsed like Go's `strconv.ParseBool`, which the agent uses.
fn is_true(value: &str) -> bool {
    matches!(value.trim(), "1" | "t" | "T" | "true" | "TRUE" | "True")
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use crate::evidence::Evidence;

    #[test]
    fn a_state_that_was_not_requested_is_not_missing() {
        let mut evidence = Evidence {
            config: [("ECS_WARM_POOLS_CHECK".to_owned(), "true".to_owned())].into(),
            agent_log: crate::evidence::agent_log::last_attempt(
                b"level=info msg=\"Waiting for instance to go InService\"\n",
            ),
            ..Evidence::default()
        };
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.outside_group = true;
        assert_eq!(ids(&evidence), ["warm-pool-state-missing"]);
    }

    #[test]
    fn waiting_requires_the_pool_and_the_agents_setting() {
        let with = |check: &str, state: &str| {
            ids(&Evidence {
                config: [("ECS_WARM_POOLS_CHECK".to_owned(), check.to_owned())].into(),
                target_state: Some(state.to_owned()),
                ..Evidence::default()
            })
        };
        assert_eq!(with("true", "Warmed:Stopped"), ["warm-pool-waiting"]);
        assert_eq!(with("true", "InService"), Vec::<&str>::new());
        assert_eq!(with("false", "Warmed:Running"), Vec::<&str>::new());
    }
}
