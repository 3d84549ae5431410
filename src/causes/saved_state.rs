//! Causes that lie in what the agent has saved of itself, or in what ECS remembers of it.

use super::{Cause, Class, Layer, agent};
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::facts::SavedState;
use crate::redaction;

/// What the agent's log says of a registration that is over.
const DEREGISTERED_TEXTS: &[&str] = &["InactiveInstanceException", "Container instance is deregistered"];

/// Text against text: the name and the ARN of one cluster differ too.
pub(super) static CLUSTER_MISMATCH: Cause = Cause {
    id: "cluster-mismatch-saved",
    layer: Layer::Cluster,
    title: "the agent has saved that it belongs to another cluster than the configured one",
    symptoms: "exit code 5 after the cluster was changed, or was written as an ARN instead of a name",
    proof: "the log says `Data mismatch; saved cluster` and the agent exited 5; state of another instance is \
            `baked-agent-state`",
    look_alikes: &["baked-agent-state", "cluster-not-found", "registration-inactive"],
    class: Class::Terminal,
    exit: Exit::Cluster,
    exit_after_deadline: Exit::Cluster,
    remedy: "`ecs-bootstrap reset-agent --yes`, and deregister the container instance from the old cluster; or write the \
             cluster as it was",
    source: "agent#139 #887; init#135; agent/app/agent.go",
    check: |evidence| {
        let logged = evidence.agent_logged(&["Data mismatch; saved cluster"])?;
        let saved = saved(evidence).and_then(|state| state.cluster.as_deref());
        let saved = saved.map(|cluster| format!("/var/lib/ecs/data is of cluster `{}`", redaction::cluster(cluster)));
        evidence
            .agent_exited_with(5)
            .then(|| [logged, agent::GAVE_UP_TEXT.to_owned()].into_iter().chain(saved).collect())
    },
    ..Cause::PLAIN
};

/// State of another instance: the image was made of a host whose agent had run. A current agent that learns its id from
/// instance metadata says so and starts afresh, so that message and its exit code 1 for other reasons prove nothing.
pub(super) static BAKED: Cause = Cause {
    id: "baked-agent-state",
    layer: Layer::Agent,
    title: "the image holds the saved state of another instance's agent",
    symptoms: "some instances of an image join and others do not, or appear as their parent",
    proof: "the saved instance id is not this one's and the agent fails on it; state of this instance is \
            `registration-inactive` or `cluster-mismatch-saved`",
    look_alikes: &["registration-inactive", "cluster-mismatch-saved"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`ecs-bootstrap reset-agent --yes`; and `ecs-bootstrap prepare-image --yes` before the next snapshot",
    source: "agent#858 #887 #2738 #3488",
    check: |evidence| {
        let seen = of_another(evidence)?;
        let confirmed = [
            evidence.agent_logged(&["Error loading previously saved state"]),
            evidence.agent_exited_with(5).then(|| agent::GAVE_UP_TEXT.to_owned()),
        ];
        let confirmed: Vec<String> = confirmed.into_iter().flatten().collect();
        // What it says that it drops is not what it ends on.
        let is_dropped = confirmed.len() < 2 && evidence.agent_logged(&["Data mismatch; saved InstanceID"]).is_some();
        let is_other = is_dropped || agent::REJECTIONS.iter().any(|cause| (cause.check)(evidence).is_some());
        (!confirmed.is_empty() && !is_other).then(|| [seen].into_iter().chain(confirmed).collect())
    },
    note: |evidence| of_another(evidence).map(|seen| vec![seen]),
    ..Cause::PLAIN
};

/// ECS knows the ARN, and as one that is gone.
pub(super) static INACTIVE: Cause = Cause {
    id: "registration-inactive",
    layer: Layer::Agent,
    title: "the container instance that the agent wants to be again is no longer active in ECS",
    symptoms: "exit code 5 at a restart of the agent, after the instance was deregistered or its cluster deleted",
    proof: "ECS refuses the re-registration as inactive, and the saved state of this instance holds an ARN; an inactive \
            cluster is `cluster-inactive`, state of another instance `baked-agent-state`",
    look_alikes: &["baked-agent-state", "cluster-inactive", "deregistered-while-up"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`ecs-bootstrap reset-agent --yes`: the agent registers as a new container instance",
    source: "agent#583 #125",
    check: |evidence| {
        let saved = saved(evidence).filter(|_| of_another(evidence).is_none())?;
        let arn = saved.container_instance_arn.as_deref()?;
        let refused = evidence.registration_refused(&["ClientException", "InvalidParameterException"])?;
        let is_inactive = refused.contains("is inactive") || refused.contains("INACTIVE");
        let is_cluster = refused.contains("luster is inactive") || refused.contains("luster not found");
        (is_inactive && !is_cluster && evidence.agent_exited_with(5))
            .then(|| vec![refused, format!("/var/lib/ecs/data holds `{arn}`"), agent::GAVE_UP_TEXT.to_owned()])
    },
    ..Cause::PLAIN
};

/// The same under a running agent.
pub(super) static DEREGISTERED: Cause = Cause {
    id: "deregistered-while-up",
    layer: Layer::Agent,
    title: "the container instance was deregistered while its agent runs",
    symptoms: "an instance that was connected is gone from the cluster; its agent asks once an hour",
    proof: "introspection still has an ARN, ECS holds it INACTIVE or not at all, and the agent logs \
            InactiveInstanceException; at a start it is `registration-inactive`",
    look_alikes: &["registration-inactive", "agent-stuck"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`ecs-bootstrap reset-agent --yes`: the agent registers as a new container instance",
    source: "agent#882 #676; ecs-agent/acs/session",
    check: |evidence| {
        let arn = evidence.container_instance_arn()?;
        let status = match evidence.registration.as_ref()? {
            Ok(Some(instance)) if instance.agent_connected && instance.status != "INACTIVE" => return None,
            Ok(Some(instance)) => Some(format!("ECS holds `{arn}` as {}", instance.status)),
            Ok(None) => Some(format!("ECS does not know `{arn}`")),
            // Where ECS may not be asked, a connection of this start says that it has healed.
            Err(_) if evidence.agent_logged(&["Connected to ACS endpoint"]).is_some() => return None,
            Err(_) => None,
        };
        let logged = evidence.agent_logged(DEREGISTERED_TEXTS)?;
        Some([logged].into_iter().chain(status).collect())
    },
    when_registered: true,
    ..Cause::PLAIN
};

fn saved(evidence: &Evidence) -> Option<&SavedState> {
    evidence.saved.as_ref()?.state.get()?.as_ref()
}

fn of_another(evidence: &Evidence) -> Option<String> {
    let ours = evidence.expectation.as_ref()?.instance_id.as_deref()?;
    let theirs = saved(evidence)?.ec2_instance_id.as_deref().filter(|theirs| *theirs != ours)?;
    Some(format!("/var/lib/ecs/data is of `{theirs}`, this instance is `{ours}`"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
    use super::*;
    use crate::evidence::agent_log::last_attempt;
    use crate::evidence::host::HostState;
    use crate::facts::{Known, SavedAgent};
    use crate::plan::Expectation;

    fn exited_with_state_of(instance: &str, log: &str) -> Evidence {
        let mut units = healthy_units();
        units.agent.active_state = Some("failed".to_owned());
        units.agent.exec_main_status = Some(5);
        let saved = SavedState {
            ec2_instance_id: Some(instance.to_owned()),
            container_instance_arn: Some("arn:aws:ecs:eu-west-1:1:container-instance/prod/1".to_owned()),
            cluster: Some("stage".to_owned()),
            ..SavedState::default()
        };
        let host = HostState { is_examined: true, ..HostState::default() };
        Evidence {
            host,
            units: Some(Ok(units)),
            agent_log: last_attempt(log.as_bytes()),
            saved: Some(SavedAgent { state: Known::Yes(Some(saved)), modified: None }),
            expectation: Some(Expectation {
                cluster: Some("prod".to_owned()),
                instance_id: Some("i-child".to_owned()),
                agent_unit: "ecs.service".to_owned(),
                ..Expectation::default()
            }),
            ..Evidence::default()
        }
    }

    fn refusal(text: &str) -> String {
        format!(
            "level=error msg=\"Unable to register as a container instance with ECS\" error=\"ClientException: {text}\"\n"
        )
    }

    #[test]
    fn foreign_state_counts_only_when_the_agent_fails_on_it() {
        let mut evidence = exited_with_state_of("i-parent", "");
        assert_eq!(ids(&evidence)[0], "baked-agent-state");
        let dropped =
            "level=warn msg=\"Data mismatch; saved InstanceID 'i-parent' does not match current InstanceID\"\n";
        assert_eq!(ids(&exited_with_state_of("i-parent", dropped)), ["agent-gave-up"]);
        evidence.units = Some(Ok(healthy_units()));
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        assert_eq!(crate::causes::notes(&evidence)[0].cause.id, "baked-agent-state");
    }

    #[test]
    fn whose_state_it_is_and_what_is_refused_decide() {
        let log = refusal("Container instance is inactive.");
        assert_eq!(ids(&exited_with_state_of("i-child", &log)), ["registration-inactive"]);
        assert_eq!(ids(&exited_with_state_of("i-parent", &log)), ["baked-agent-state"]);
        let cluster = refusal("The specified cluster is inactive.");
        assert_eq!(ids(&exited_with_state_of("i-child", &cluster)), ["agent-gave-up"]);
        let mismatch =
            "level=critical msg=\"Data mismatch; saved cluster 'stage' does not match configured cluster 'prod'\"\n";
        assert_eq!(ids(&exited_with_state_of("i-child", mismatch))[0], "cluster-mismatch-saved");
    }
}
