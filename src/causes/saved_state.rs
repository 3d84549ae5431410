//! Causes in the saved state of the agent, or in the container instance that ECS has on record for it.

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::registration::GAVE_UP_TEXT;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::facts::SavedState;
use crate::redaction;

/// What the agent logs after its container instance was deregistered.
const DEREGISTERED_TEXTS: &[&str] = &["InactiveInstanceException", "Container instance is deregistered"];

/// The agent compares the texts, so the name and the ARN of the same cluster differ too.
pub(super) static CLUSTER_MISMATCH: Cause = Cause {
    id: "cluster-mismatch-saved",
    layer: Layer::Cluster,
    title: "the agent's saved state belongs to a cluster other than the configured one",
    symptoms: "the agent exits with code 5 after the cluster was changed, or was written as an ARN instead of a name",
    proof: "the agent's log has `Data mismatch; saved cluster`, and the agent exited with code 5; the cause is \
            `baked-agent-state` if the state is of another instance, and `cluster-not-found` if the log has `Cluster \
            not found` instead",
    look_alikes: &["baked-agent-state", "cluster-not-found", "registration-inactive"],
    class: Class::Terminal,
    exit: Exit::Cluster,
    exit_after_deadline: Exit::Cluster,
    remedy: "run `ecs-bootstrap reset-agent --yes`, and deregister the container instance from the old cluster; or \
             write the cluster as it was before",
    source: "aws/amazon-ecs-agent#139 #887; aws/amazon-ecs-init#135; agent/app/agent.go",
    check: |evidence| {
        let logged = evidence.agent_logged(&["Data mismatch; saved cluster"])?;
        let saved = saved(evidence).and_then(|state| state.cluster.as_deref());
        let saved = saved.map(|cluster| {
            format!("the saved state in /var/lib/ecs/data is of cluster `{}`", redaction::cluster(cluster))
        });
        evidence.agent_exited_with(5).then(|| [logged, GAVE_UP_TEXT.to_owned()].into_iter().chain(saved).collect())
    },
    ..Cause::DEFAULTS
};

/// The image was made from a host whose agent had run. A current agent that reads its instance id from IMDS logs the
/// mismatch and starts with empty state. So this message proves nothing, nor does an exit code 1 for another reason.
pub(super) static BAKED: Cause = Cause {
    id: "baked-agent-state",
    yields_to: &["attributes-rejected", "tags-rejected", "task-eni-setup-failed", "cgroup-setup-failed"],
    layer: Layer::Agent,
    title: "the image contains the saved state of another instance's agent",
    symptoms: "some instances of an AMI join and others do not, or they appear in ECS as the instance the AMI was made \
               from",
    proof: "the saved instance id is not the id of this instance, and the agent fails because of it; if the state is \
            of this instance, the cause is `registration-inactive` or `cluster-mismatch-saved`",
    look_alikes: &["registration-inactive", "cluster-mismatch-saved"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`ecs-bootstrap reset-agent --yes`; before the next snapshot run `ecs-bootstrap prepare-image --yes`",
    source: "aws/amazon-ecs-agent#858 #887 #2738 #3488",
    check: |evidence| {
        let seen = of_another(evidence)?;
        let confirmed = [
            evidence.agent_logged(&["Error loading previously saved state"]),
            evidence.agent_exited_with(5).then(|| GAVE_UP_TEXT.to_owned()),
        ];
        let confirmed: Vec<String> = confirmed.into_iter().flatten().collect();
        // An agent that logs that it discards the state does not exit because of it.
        let is_discarded = confirmed.len() < 2 && evidence.agent_logged(&["Data mismatch; saved InstanceID"]).is_some();
        (!confirmed.is_empty() && !is_discarded).then(|| [seen].into_iter().chain(confirmed).collect())
    },
    note: |evidence| of_another(evidence).map(|seen| vec![seen]),
    ..Cause::DEFAULTS
};

/// ECS knows the container instance, but only as INACTIVE.
pub(super) static INACTIVE: Cause = Cause {
    id: "registration-inactive",
    layer: Layer::Agent,
    title: "the saved container instance of this agent is no longer active in ECS",
    symptoms: "the agent exits with code 5 when it restarts, after the instance was deregistered or its cluster was \
               deleted",
    proof: "ECS refuses the registration because the container instance is inactive, and the saved state of this \
            instance has an ARN; the cause is `cluster-inactive` if the cluster is inactive, and `baked-agent-state` \
            if the state is of another instance",
    look_alikes: &["baked-agent-state", "cluster-inactive", "deregistered-while-up"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`ecs-bootstrap reset-agent --yes`: the agent then registers as a new container instance",
    source: "aws/amazon-ecs-agent#583 #125",
    check: |evidence| {
        let saved = saved(evidence).filter(|_| of_another(evidence).is_none())?;
        let arn = saved.container_instance_arn.as_deref()?;
        let refused = evidence.registration_refused(&["ClientException", "InvalidParameterException"])?;
        let is_inactive = refused.contains("is inactive") || refused.contains("INACTIVE");
        let is_cluster = refused.contains("luster is inactive") || refused.contains("luster not found");
        (is_inactive && !is_cluster && evidence.agent_exited_with(5)).then(|| {
            vec![refused, format!("the saved state in /var/lib/ecs/data has `{arn}`"), GAVE_UP_TEXT.to_owned()]
        })
    },
    ..Cause::DEFAULTS
};

/// As [`INACTIVE`], but while the agent runs.
pub(super) static DEREGISTERED: Cause = Cause {
    id: "deregistered-while-up",
    layer: Layer::Agent,
    title: "the container instance was deregistered while its agent was running",
    symptoms: "an instance that was connected is no longer in the cluster; its agent retries once an hour",
    proof: "introspection still returns an ARN, ECS has the container instance as INACTIVE or not at all, and the \
            agent logs InactiveInstanceException; if this happens when the agent starts, the cause is \
            `registration-inactive`",
    look_alikes: &["registration-inactive", "agent-stuck"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`ecs-bootstrap reset-agent --yes`: the agent then registers as a new container instance",
    source: "aws/amazon-ecs-agent#882 #676; ecs-agent/acs/session",
    check: |evidence| {
        let arn = evidence.container_instance_arn()?;
        let status = match &evidence.container_instance {
            Some(Ok(Some(instance))) if instance.agent_connected && instance.status != "INACTIVE" => return None,
            Some(Ok(Some(instance))) => Some(format!("ECS has `{arn}` with status {}", instance.status)),
            Some(Ok(None)) => Some(format!("ECS does not have `{arn}`")),
            None if evidence.watched.is_none() => return None,
            Some(Err(_)) | None if evidence.is_inactive() => {
                Some(format!("ECS did not have `{arn}` as ACTIVE when it was asked"))
            }
            // Without an answer of ECS, a connection shows that the agent has recovered.
            Some(Err(_)) | None if evidence.has_connected_since() => return None,
            Some(Err(_)) | None => None,
        };
        let logged = evidence.agent_logged(DEREGISTERED_TEXTS);
        // A single answer without the line can be old.
        let is_shown = logged.is_some() || evidence.is_inactive();
        is_shown.then(|| logged.into_iter().chain(status).collect())
    },
    when_registered: true,
    ..Cause::DEFAULTS
};

fn saved(evidence: &Evidence) -> Option<&SavedState> {
    evidence.saved.as_ref()?.state.get()?.as_ref()
}

/// An evidence line, if the saved state is of another instance.
fn of_another(evidence: &Evidence) -> Option<String> {
    let own = evidence.expectation.as_ref()?.instance_id.as_deref()?;
    let saved = saved(evidence)?.ec2_instance_id.as_deref().filter(|saved| *saved != own)?;
    Some(format!("the saved state in /var/lib/ecs/data is of `{saved}`, this instance is `{own}`"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
    use super::*;
    use crate::evidence::agent_log::last_attempt;
    use crate::evidence::host::HostState;
    use crate::facts::{Fact, SavedAgent};
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
            saved: Some(SavedAgent { state: Fact::Known(Some(saved)), modified: None, is_damaged: false }),
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
            "level=error msg=\"Unable to register as a container instance with ECS\" \
             error=\"ClientException: {text}\"\n"
        )
    }

    #[test]
    fn state_of_another_instance_is_a_cause_only_if_the_agent_fails_on_it() {
        let mut evidence = exited_with_state_of("i-parent", "");
        assert_eq!(ids(&evidence)[0], "baked-agent-state");
        let discarded =
            "level=warn msg=\"Data mismatch; saved InstanceID 'i-parent' does not match current InstanceID\"\n";
        assert_eq!(ids(&exited_with_state_of("i-parent", discarded)), ["agent-gave-up"]);
        evidence.units = Some(Ok(healthy_units()));
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        assert_eq!(crate::causes::notes(&evidence)[0].cause.id, "baked-agent-state");
    }

    #[test]
    fn the_saved_instance_and_the_refusal_decide() {
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
