//! Causes in an agent that has registered: its port, its connection, its age, its attributes.

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::registration::disconnected_for;
use crate::boundary::agent::AgentError;
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::redaction::{self, error_chain};
use std::time::Duration;

/// The agent's process in its container, as /proc/PID/comm has it.
const AGENT: &str = "agent";
/// Older agents do not use VPC endpoints.
const OLDEST: [u32; 3] = [1, 25, 1];

/// Another process answers on the port of the agent, or holds it without an answer.
pub(super) static PORT_TAKEN: Cause = Cause {
    id: "introspection-port-taken",
    is_always_reported: true,
    layer: Layer::Agent,
    title: "the answers on the agent's introspection port (51678) cannot be attributed to the agent",
    symptoms: "the instance is in the cluster, and `curl localhost:51678/v1/metadata` fails or returns something \
               unexpected",
    proof: "the socket that listens on 51678 does not belong to root (nor to the agent's container); or the answer is \
            not from an agent, or has a region, account or format that this instance cannot have; or another process \
            listens while the agent's log reports a registration",
    look_alikes: &["agent-exits", "agent-gave-up"],
    // An agent that is exiting may send an incomplete answer.
    class: Class::Lasting(Duration::from_secs(3)),
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "find the process that listens there (`ss -ltnpe sport = :51678`) and stop it, remove an agent that was \
             started by hand (`docker rm -f NAME`), then `systemctl restart ecs --no-block`",
    source: "aws/amazon-ecs-agent#1215; aws/amazon-vpc-cni-k8s#19",
    check: |evidence| {
        if let Some(error @ StageError::PortTaken(_)) = &evidence.stage_error {
            return Some(vec![error_chain(error)]);
        }
        let (unexpected, is_untrusted) = match &evidence.introspection {
            Some(Err(error @ AgentError::Untrusted { .. })) => (Some(error_chain(error)), true),
            Some(Err(error @ (AgentError::InvalidResponse { .. } | AgentError::Status { .. }))) => {
                (Some(error_chain(error)), false)
            }
            _ => (None, false),
        };
        let listeners = || evidence.host.listeners.iter().flatten();
        // An answer that was accepted comes from an agent, whose container may run as a user other than root.
        let foreign_user =
            listeners().find(|listener| listener.uid != 0 && !matches!(evidence.introspection, Some(Ok(_))));
        let has_other_name = |(_, name): &(_, String)| name != AGENT;
        let foreign_name = || listeners().find(|listener| listener.process.as_ref().is_some_and(has_other_name));
        let foreign = foreign_user.or_else(foreign_name).filter(|_| !is_untrusted);
        let foreign = foreign.map(|listener| match &listener.process {
            Some((pid, name)) => format!("process {pid} (`{name}`) of uid {} listens on the port", listener.uid),
            None => format!("a process of uid {} listens on the port", listener.uid),
        });
        let logged = evidence.agent_logged(&[
            "address already in use",
            "Registered container instance with cluster",
            "Instance registration completed",
        ]);
        let is_proven = is_untrusted || foreign_user.is_some();
        let is_confirmed = is_proven || logged.is_some() || (unexpected.is_some() && evidence.agent_lines().is_empty());
        let seen: Vec<String> = unexpected.into_iter().chain(foreign).collect();
        (is_confirmed && !seen.is_empty()).then(|| seen.into_iter().chain(logged).collect())
    },
    ..Cause::DEFAULTS
};

/// The network path is open, but the agent does not connect.
pub(super) static STUCK: Cause = Cause {
    id: "agent-stuck",
    yields_to: &["deregistered-while-up"],
    layer: Layer::Agent,
    title: "the agent is registered but does not connect to ECS, although the network path is open",
    symptoms: "agentConnected stays false, the agent's log has no new lines, and its container is healthy",
    proof: "introspection answers, the ACS endpoint accepts connections from the host, and the log, at level info or debug, \
            has neither `Connected to ACS` nor an error of the connection since this start; the cause is \
            `acs-unreachable` if the network path is closed, `acs-refused` if the agent logs an error of the connection, \
            `host-overloaded` if memory is short, and `deregistered-while-up` if the log says that the container \
            instance was deregistered",
    look_alikes: &["acs-unreachable", "acs-refused", "host-overloaded", "deregistered-while-up"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Host,
    remedy: "`systemctl restart ecs --no-block`; if it happens again, update the agent (`dnf update ecs-init`)",
    source: "aws/amazon-ecs-agent#316 #577 #985 #1285 #4082",
    check: |evidence| stuck(evidence, evidence.network_path.is_acs_reachable),
    excluded: |evidence| {
        let error = evidence.acs_error()?;
        Some(format!("the agent logs an error of its connection: `{}`", redaction::line(error.text())))
    },
    when_registered: true,
    ..Cause::DEFAULTS
};

/// `is_open` is whether the ACS endpoint accepted a connection, if that is known.
fn stuck(evidence: &Evidence, is_open: Option<bool>) -> Option<Vec<String>> {
    let window = evidence.expectation.as_ref()?.window;
    let since = evidence.registered_for.filter(|since| *since >= window || evidence.timed_out)?;
    // Below the level info, the agent does not log that it connects.
    let is_quiet = evidence.logs_connections() && !evidence.has_connected_since();
    (is_open == Some(true) && evidence.stays_disconnected() && is_quiet).then(|| {
        vec![
            disconnected_for(evidence, since),
            "the ACS endpoint accepts connections from this host".to_owned(),
            format!(
                "{} has no `Connected to ACS` since {}",
                evidence.agent_log_name(),
                if evidence.disconnected_since().is_some() { "then" } else { "the agent's start" }
            ),
        ]
    })
}

/// Only a note: the instance has joined, and its images may need no login.
pub(super) static REGISTRY_AUTH_NOT_READ: Cause = Cause {
    id: "registry-auth-not-read",
    is_only_note: true,
    layer: Layer::Agent,
    title: "the credentials of registries that `registry.auth` names could not be read",
    symptoms: "the instance is in the cluster, and tasks whose images need a login end with CannotPullContainerError; an older \
               login may still be in `ecs.config`",
    proof: "secretsmanager:GetSecretValue or ssm:GetParameter failed in the last run, or the value has no login that can be \
            converted; if an image of `ready.images` is refused too, the cause is `images-denied`",
    look_alikes: &["images-denied"],
    class: Class::Terminal,
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "if the call was denied, allow it (`ecs-bootstrap plan --iam`; a key of your own needs kms:Decrypt too); otherwise \
             correct the value: docker's document with `auths` (docs/how-to/registry-credentials.md). Then `systemctl restart \
             ecs-bootstrap --no-block`",
    source: "Amazon ECS Developer Guide, \"Using non-AWS container images in Amazon ECS\"",
    note: |evidence| Some(vec![evidence.expectation.as_ref()?.registry_auth_error.clone()?]),
    ..Cause::DEFAULTS
};

/// The agent sends its attributes only with its first registration.
pub(super) static ATTRIBUTES_NOT_APPLIED: Cause = Cause {
    id: "attributes-not-applied",
    is_only_note: true,
    layer: Layer::Agent,
    title: "the container instance does not have attributes that were set after its first registration",
    symptoms: "tasks with a placement constraint find no instance, although ECS_INSTANCE_ATTRIBUTES is right",
    proof: "ecs:DescribeContainerInstances shows the instance without these attributes; if ECS rejects the attributes, \
            the agent exits with code 5, and the cause is `attributes-rejected`",
    look_alikes: &["attributes-rejected"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`aws ecs put-attributes --cluster NAME --attributes name=KEY,value=VALUE,targetId=ARN`, or `ecs-bootstrap \
             reset-agent --yes` for a new registration",
    source: "aws/amazon-ecs-agent#713 #740 #2074",
    note: |evidence| {
        let Some(Ok(Some(instance))) = &evidence.container_instance else { return None };
        let wanted = evidence.configured_attributes();
        let missing = wanted.iter().filter(|(name, value)| instance.attributes.get(*name) != Some(value));
        let missing: Vec<String> = missing.map(|(name, value)| format!("`{name}={value}`")).take(10).collect();
        (!missing.is_empty()).then(|| vec![format!("ECS does not have {}", missing.join(", "))])
    },
    ..Cause::DEFAULTS
};

/// Only a note: the instance has joined.
pub(super) static TOO_OLD: Cause = Cause {
    id: "agent-too-old",
    is_only_note: true,
    layer: Layer::Agent,
    title: "the agent is too old for VPC endpoints and for most current features",
    symptoms: "unexpected errors, task definitions that are rejected, VPC endpoints that are not used",
    proof: "the version that introspection returns is below 1.25.1; if the agent, of any version, does not connect \
            although the network path is open, the cause is `agent-stuck`",
    look_alikes: &["agent-stuck"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "launch from a newer ECS-optimized AMI, or update ecs-init (`dnf update ecs-init`) and run \
             `systemctl restart ecs --no-block`",
    source: "Amazon ECS Developer Guide, \"Interface VPC endpoints\"; aws/amazon-ecs-agent#316",
    note: |evidence| {
        let Some(Ok(metadata)) = &evidence.introspection else { return None };
        let version = version(&metadata.version)?;
        (version < OLDEST).then(|| vec![format!("the agent has version {}.{}.{}", version[0], version[1], version[2])])
    },
    ..Cause::DEFAULTS
};

/// The version in a text such as `Amazon ECS Agent - v1.105.1 (*a8b3e7d3)`.
fn version(text: &str) -> Option<[u32; 3]> {
    let (_, rest) = text.split_once(" - v")?;
    let mut parts = rest.split(['.', ' ', '-', '+']).map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

#[cfg(test)]
mod tests {
    use super::super::tests::ids;
    use super::*;
    use crate::boundary::aws::ContainerInstance;
    use crate::boundary::listeners::Listener;
    use crate::evidence::agent_log::last_attempt;
    use crate::plan::Expectation;

    #[test]
    fn reads_versions() {
        assert_eq!(version("Amazon ECS Agent - v1.105.1 (*a8b3e7d3)"), Some([1, 105, 1]));
        assert_eq!((version("Amazon ECS Agent - v1.9"), version("")), (None, None));
    }

    #[test]
    fn a_foreign_listener_is_a_cause_only_after_a_registration() {
        let listener = |name: &str| {
            let address = std::net::Ipv4Addr::LOCALHOST.into();
            vec![Listener { address, uid: 0, inode: 1, process: Some((7, name.to_owned())) }]
        };
        let mut evidence = Evidence::default();
        evidence.host.listeners = Some(listener("nginx"));
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.agent_log = last_attempt(b"level=info msg=\"Registered container instance with cluster!\"\n");
        assert_eq!(ids(&evidence), ["introspection-port-taken"]);
        evidence.host.listeners = Some(listener("agent"));
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }

    #[test]
    fn a_listener_of_another_user_and_an_untrusted_answer_need_no_log() {
        let mut evidence = Evidence::default();
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        evidence.host.listeners = Some(vec![Listener { address, uid: 1000, inode: 1, process: None }]);
        assert_eq!(ids(&evidence), ["introspection-port-taken"]);
        evidence.host.listeners = None;
        let untrusted = AgentError::Untrusted { url: "http://127.0.0.1:51678/".to_owned(), why: "because".to_owned() };
        evidence.introspection = Some(Err(untrusted));
        assert_eq!(ids(&evidence), ["introspection-port-taken"]);
    }

    #[test]
    fn an_agent_is_stuck_only_if_the_network_path_is_known_to_be_open() {
        let instance = ContainerInstance {
            gpus: 0,
            arn: "arn".to_owned(),
            status: "ACTIVE".to_owned(),
            status_reason: None,
            agent_connected: false,
            agent_version: None,
            attributes: std::collections::BTreeMap::new(),
            ec2_instance_id: None,
        };
        let mut evidence = Evidence {
            container_instance: Some(Ok(Some(instance))),
            expectation: Some(Expectation { window: Duration::from_secs(60), ..Expectation::default() }),
            registered_for: Some(Duration::from_secs(61)),
            agent_log: last_attempt(b"level=info msg=\"Beginning Polling for updates\"\n"),
            ..Evidence::default()
        };
        assert!(stuck(&evidence, Some(true)).is_some());
        assert!(stuck(&evidence, Some(false)).is_none() && stuck(&evidence, None).is_none());
        evidence.agent_log = last_attempt(b"level=info msg=\"Connected to ACS endpoint\"\n");
        assert!(stuck(&evidence, Some(true)).is_none());
    }
}
