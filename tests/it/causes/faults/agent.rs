//! Faults of the agent, its saved state, and its connection to the control plane.

use super::{Fault, Part, Source};
use crate::support::Instance;
use crate::support::aws::Fault as Answer;
use crate::support::disk::AgentState;

const PARTS: &[Part] = &[Part::Agent];
/// Saved state changes how ecs-bootstrap writes the cluster that a tag names.
const SAVED: &[Part] = &[Part::Agent, Part::Tags];
const AGENT: &[Source] = &[Source::AgentRuns];
const UNABLE: &str = "Unable to register as a container instance with ECS";

const fn of_agent(id: &'static str, make: super::Change) -> Fault {
    Fault { needs: AGENT, ..Fault::new(id, make, PARTS) }
}

/// The agent registers, and does not connect.
const fn unconnected(id: &'static str, make: super::Change) -> Fault {
    Fault { also: &["agent-not-connected"], needs: &[Source::AgentRuns, Source::Aws], ..Fault::new(id, make, PARTS) }
}

pub(in crate::causes) static FAULTS: &[Fault] = &[
    of_agent("attributes-rejected", attributes_rejected),
    of_agent("tags-rejected", tags_rejected),
    of_agent("task-eni-setup-failed", no_task_eni),
    of_agent("cgroup-setup-failed", no_cgroup),
    of_agent("agent-gave-up", gives_up),
    of_agent("agent-exits", panics),
    Fault { parts: SAVED, ..of_agent("cluster-mismatch-saved", saved_elsewhere) },
    Fault { parts: SAVED, ..of_agent("registration-inactive", inactive) },
    unconnected("agent-stuck", not_connected),
    unconnected("acs-denied", poll_denied),
    unconnected("acs-unreachable", no_control_plane),
];

fn attributes_rejected(instance: Instance) -> Instance {
    instance.agent_behaves(|agent| agent.attributes_rejected = true)
}

fn exiting(instance: Instance, message: &'static str, error: &'static str) -> Instance {
    instance.agent_behaves(|agent| agent.exits = Some((5, message, error)))
}

fn tags_rejected(instance: Instance) -> Instance {
    exiting(instance, UNABLE, "InvalidParameterException: Tag keys cannot begin with aws:")
}

fn no_task_eni(instance: Instance) -> Instance {
    exiting(instance, "Unable to initialize Task ENI dependencies", "agent is not started with an init system")
}

fn no_cgroup(instance: Instance) -> Instance {
    exiting(instance, "Unable to initialize cgroup root", "unable to setup '/ecs' cgroup")
}

pub(in crate::causes) fn gives_up(instance: Instance) -> Instance {
    instance.agent_behaves(|agent| agent.gives_up_with = Some("InvalidParameterException: something new".into()))
}

pub(in crate::causes) fn panics(instance: Instance) -> Instance {
    instance.agent_behaves(|agent| agent.dies_with = Some((2, "panic: nil".into())))
}

fn saved(instance: Instance, cluster: &str) -> Instance {
    let mut own = String::new();
    instance.imds.change(|imds| own.clone_from(&imds.instance_id));
    instance.disk.save_agent_state(&AgentState {
        cluster: cluster.into(),
        container_instance_arn: format!("arn:aws:ecs:eu-west-1:111122223333:container-instance/{cluster}/saved"),
        instance_id: own,
    });
    instance
}

fn saved_elsewhere(instance: Instance) -> Instance {
    saved(instance, "stage")
}

fn inactive(instance: Instance) -> Instance {
    let refused = Answer::error(400, "ClientException", "Container instance is inactive.");
    saved(instance, "prod").aws_fault("RegisterContainerInstance", refused)
}

pub(in crate::causes) fn not_connected(instance: Instance) -> Instance {
    instance.agent_behaves(|agent| agent.never_connects = true)
}

fn poll_denied(instance: Instance) -> Instance {
    not_connected(instance).aws_fault("DiscoverPollEndpoint", Answer::denied("ecs:DiscoverPollEndpoint"))
}

fn no_control_plane(instance: Instance) -> Instance {
    let address = super::network::closed_port();
    instance.aws.change(|aws| aws.poll_endpoints[0] = format!("https://{address}/"));
    not_connected(instance)
}
