//! Causes that lie in the agent, and in what it saved.

use super::{Cause, Class, Layer, chain};
use crate::evidence::Stop;
use crate::exit::Exit;

/// ECS has the instance; the agent does not accept what came back, and exits 5.
pub(super) static ATTRIBUTES_REJECTED: Cause = Cause {
    id: "attributes-rejected",
    layer: Layer::Agent,
    title: "ECS did not take the attributes of the container instance",
    class: Class::Terminal,
    exit: Exit::Agent,
    lapsed: Exit::Agent,
    remedy: "correct ECS_INSTANCE_ATTRIBUTES: at most ten, names and values of at most 128 of the permitted characters",
    source: "agent#2981; Amazon ECS API Reference, Attribute",
    check: |evidence| {
        if !evidence.agent_exited_with(5) {
            return None;
        }
        let logged = evidence.agent_logged(&[
            "Attribute validation failed",
            "attempt with invalid attribute",
            "Error registering attributes",
        ])?;
        Some(vec![logged, "the agent exited with code 5".to_owned()])
    },
    ..Cause::PLAIN
};

/// State of another instance: the image was made of a host whose agent had run. A current agent that learns its id from
/// instance metadata says so and starts afresh, so that message and its exit code 1 for other reasons prove nothing.
pub(super) static BAKED_STATE: Cause = Cause {
    id: "baked-agent-state",
    layer: Layer::Agent,
    title: "the image holds the saved state of another instance's agent",
    class: Class::Terminal,
    exit: Exit::Host,
    lapsed: Exit::Host,
    remedy: "`ecs-bootstrap reset-agent --yes`; and `ecs-bootstrap prepare-image --yes` before the next snapshot",
    source: "agent#858 #887 #2738 #3488",
    check: |evidence| {
        if evidence.container_instance_arn().is_some() {
            return None;
        }
        let state = evidence.saved.as_ref()?.state.get()?.as_ref()?;
        let ours = evidence.expectation.as_ref()?.instance_id.as_deref()?;
        let saved = state.ec2_instance_id.as_deref().filter(|saved| *saved != ours)?;
        let confirmed = [
            evidence.agent_logged(&["Error loading previously saved state"]),
            evidence.agent_exited_with(5).then(|| "the agent exited with code 5".to_owned()),
        ];
        let confirmed: Vec<String> = confirmed.into_iter().flatten().collect();
        if confirmed.is_empty() {
            return None;
        }
        let seen = format!("/var/lib/ecs/data is of `{saved}`, this instance is `{ours}`");
        Some([seen].into_iter().chain(confirmed).collect())
    },
    ..Cause::PLAIN
};

/// Code 5, whatever its reason.
pub(super) static GAVE_UP: Cause = Cause {
    id: "agent-gave-up",
    layer: Layer::Agent,
    title: "the agent gave up: it exited with code 5 and will not try again",
    class: Class::Terminal,
    exit: Exit::Agent,
    lapsed: Exit::Agent,
    remedy: "read the last lines of /var/log/ecs/ecs-agent.log; where it does not accept its saved state (`Data mismatch`), \
             `ecs-bootstrap reset-agent --yes`",
    source: "agent/sighandlers/exitcodes: 5 is terminal",
    check: |evidence| {
        let is_explained =
            || [&ATTRIBUTES_REJECTED, &BAKED_STATE].iter().any(|cause| (cause.check)(evidence).is_some());
        if evidence.container_instance_arn().is_some() || !evidence.agent_exited_with(5) || is_explained() {
            return None;
        }
        let logged = evidence.agent_logged(&[
            "Unable to register as a container instance with ECS",
            "Agent will terminally exit",
            "Data mismatch",
            "Cloud-init failure detected",
            "Unable to initialize",
        ]);
        Some(["the agent exited with code 5".to_owned()].into_iter().chain(logged).collect())
    },
    ..Cause::PLAIN
};

/// Our own deadline.
pub(super) static RUN_LATE: Cause = Cause {
    id: "run-late",
    layer: Layer::Agent,
    title: "configuring the instance took longer than it may",
    class: Class::Retry,
    exit: Exit::NotRegistered,
    lapsed: Exit::NotRegistered,
    remedy: "see what it was waiting for, or raise `run.deadline` (and the unit's TimeoutStartSec=)",
    source: "ecs-bootstrap's setting `run.deadline`",
    check: |evidence| match &evidence.stop {
        Some(stop @ Stop::Late { .. }) => Some(vec![chain(stop)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// Registered, and no connection to the control plane.
pub(super) static NOT_CONNECTED: Cause = Cause {
    id: "agent-not-connected",
    layer: Layer::Acs,
    title: "the instance registered, but its agent is not connected to ECS",
    looks: "ACTIVE and agentConnected false, and nothing is placed on the instance",
    proof: "agentConnected stays false for longer than a short disconnect lasts, and the way to the control plane is not \
            seen to be closed",
    alike: &["acs-unreachable", "endpoint-partial", "acs-denied", "agent-stuck", "host-overloaded"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    lapsed: Exit::NotRegistered,
    remedy: "allow `ecs-a-*` and `ecs-t-*` of the region on port 443; where they are open, `systemctl restart ecs --no-block`",
    source: "agent#1143 #240 #316",
    check: |evidence| {
        let window = evidence.expectation.as_ref()?.window;
        let is_disconnected = matches!(&evidence.registration, Some(Ok(Some(instance))) if !instance.agent_connected);
        let since = evidence.disconnected_for.filter(|since| *since >= window || evidence.timed_out)?;
        if !is_disconnected || super::acs::is_named(evidence) {
            return None;
        }
        let seen = format!("ecs:DescribeContainerInstances says agentConnected false, for {} s now", since.as_secs());
        let open =
            (evidence.way.acs == Some(true)).then(|| "from here the endpoint of the control plane is open".to_owned());
        Some(
            [seen]
                .into_iter()
                .chain(open)
                .chain(evidence.agent_logged(&["Failed to connect to ACS", "unable to dial", "ACS: Unable"]))
                .collect(),
        )
    },
    when_registered: true,
    ..Cause::PLAIN
};

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};

    use crate::evidence::Evidence;
    use crate::evidence::agent_log::last_attempt;
    use crate::facts::{Known, SavedAgent, SavedState};
    use crate::plan::Expectation;

    fn exited(code: i32, log: &[u8]) -> Evidence {
        let mut units = healthy_units();
        units.agent.active_state = Some("failed".to_owned());
        units.agent.exec_main_status = Some(code);
        Evidence { units: Some(Ok(units)), agent_log: last_attempt(log), ..Evidence::default() }
    }

    #[test]
    fn code_five_is_named_by_what_the_log_confirms() {
        let log = b"level=critical msg=\"Attribute validation failed\" missingAttributes=\"[tier]\"\n";
        assert_eq!(ids(&exited(5, log))[0], "attributes-rejected");
        assert_eq!(ids(&exited(5, b"level=info msg=\"something new\"\n")), ["agent-gave-up"]);
        assert_eq!(ids(&exited(1, log)), Vec::<&str>::new());
    }

    #[test]
    fn foreign_state_counts_only_when_the_agent_fails_on_it() {
        let saved = SavedState { ec2_instance_id: Some("i-parent".to_owned()), ..SavedState::default() };
        let mut evidence = exited(5, b"");
        evidence.saved = Some(SavedAgent { state: Known::Yes(Some(saved)), modified: None });
        evidence.expectation = Some(Expectation {
            cluster: Some("prod".to_owned()),
            instance_id: Some("i-child".to_owned()),
            agent_unit: "ecs.service".to_owned(),
            ..Expectation::default()
        });
        assert_eq!(ids(&evidence)[0], "baked-agent-state");
        evidence.units = Some(Ok(healthy_units()));
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }
}
