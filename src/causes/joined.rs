//! Causes that lie in an agent that has registered: its port, its connection, its age, its attributes.

use std::collections::BTreeMap;

use super::{Cause, Class, Layer};
use crate::boundary::agent::AgentError;
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::redaction::error_chain;
use std::time::Duration;

/// The agent's process in its container, as /proc/PID/comm has it.
const AGENT: &str = "agent";
/// Older ones do not use VPC endpoints.
const FLOOR: [u32; 3] = [1, 25, 1];

/// Another process answers where the agent should, or none does.
pub static PORT_TAKEN: Cause = Cause {
    id: "introspection-port-taken",
    layer: Layer::Agent,
    title: "another process holds the port of the agent's introspection, or may hold it",
    symptoms: "the instance is in the cluster, and `curl localhost:51678/v1/metadata` answers oddly or not",
    proof: "the socket that listens on 51678 is not of root (nor of the agent's container); or the answer is not an agent's, \
            or has a region, account or form that this instance's cannot have; or another process listens while the agent's \
            log tells of its registration",
    look_alikes: &["agent-exits", "agent-gave-up"],
    // An agent that ends may break off an answer.
    class: Class::Lasting(Duration::from_secs(3)),
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "find what listens there (`ss -ltnpe sport = :51678`) and stop it, remove an agent that was started by hand \
             (`docker rm -f NAME`), then `systemctl restart ecs --no-block`",
    source: "agent#1215; amazon-vpc-cni-k8s#19",
    check: |evidence| {
        if let Some(stop @ StageError::PortTaken(_)) = &evidence.stop {
            return Some(vec![error_chain(stop)]);
        }
        let (odd, is_untrusted) = match &evidence.introspection {
            Some(Err(error @ AgentError::Untrusted { .. })) => (Some(error_chain(error)), true),
            Some(Err(error @ (AgentError::Garbled { .. } | AgentError::Status { .. }))) => {
                (Some(error_chain(error)), false)
            }
            _ => (None, false),
        };
        let listeners = || evidence.host.listeners.iter().flatten();
        // Whatever it answers: where an agent is believed, its container runs as another user.
        let of_user = listeners().find(|one| one.uid != 0 && !matches!(evidence.introspection, Some(Ok(_))));
        let by_name = || listeners().find(|one| one.process.as_ref().is_some_and(|(_, name)| name != AGENT));
        let holder = of_user.or_else(by_name).filter(|_| !is_untrusted).map(|one| match &one.process {
            Some((pid, name)) => format!("process {pid} (`{name}`) of uid {} listens on the port", one.uid),
            None => format!("a process of uid {} listens on the port", one.uid),
        });
        let logged = evidence.agent_logged(&[
            "address already in use",
            "Registered container instance with cluster",
            "Instance registration completed",
        ]);
        let is_proven = is_untrusted || of_user.is_some();
        let is_confirmed = is_proven || logged.is_some() || (odd.is_some() && evidence.agent_log.is_empty());
        let seen: Vec<String> = odd.into_iter().chain(holder).collect();
        (is_confirmed && !seen.is_empty()).then(|| seen.into_iter().chain(logged).collect())
    },
    ..Cause::PLAIN
};

/// The way is open, and it does not take it.
pub(super) static STUCK: Cause = Cause {
    id: "agent-stuck",
    layer: Layer::Agent,
    title: "the agent is registered and does not connect to ECS, although the way there is open",
    symptoms: "agentConnected stays false, the agent's log is quiet, its container is healthy",
    proof: "introspection answers, the endpoint of ACS takes connections from the host, and the log has no `Connected to \
            ACS` since this start; a closed way is `acs-unreachable`, scarce memory `host-overloaded`",
    look_alikes: &["acs-unreachable", "host-overloaded", "deregistered-while-up"],
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::Host,
    remedy: "`systemctl restart ecs --no-block`; where it comes again, a newer agent (`dnf update ecs-init`)",
    source: "agent#316 #577 #985 #1285 #4082",
    check: |evidence| stuck(evidence, evidence.network_path.acs),
    when_registered: true,
    ..Cause::PLAIN
};

fn stuck(evidence: &Evidence, opens: Option<bool>) -> Option<Vec<String>> {
    let window = evidence.expectation.as_ref()?.window;
    let since = evidence.disconnected_for.filter(|since| *since >= window || evidence.timed_out)?;
    let is_quiet = !evidence.agent_log.is_empty() && evidence.agent_logged(&["Connected to ACS endpoint"]).is_none();
    (opens == Some(true) && evidence.stays_disconnected() && is_quiet).then(|| {
        vec![
            format!("ecs:DescribeContainerInstances says agentConnected false, for {} s now", since.as_secs()),
            "the endpoint of ACS takes connections from this host".to_owned(),
            "ecs-agent.log has no `Connected to ACS` since the agent was started".to_owned(),
        ]
    })
}

/// They go up with the first registration only.
pub(super) static ATTRIBUTES_NOT_APPLIED: Cause = Cause {
    id: "attributes-not-applied",
    layer: Layer::Agent,
    title: "the container instance lacks attributes that were set after it first registered",
    symptoms: "tasks with a placement constraint find no instance, although ECS_INSTANCE_ATTRIBUTES is right",
    proof: "ecs:DescribeContainerInstances shows the instance without them; attributes that ECS refuses end in exit code 5: \
            `attributes-rejected`",
    look_alikes: &["attributes-rejected"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`aws ecs put-attributes --cluster NAME --attributes name=KEY,value=VALUE,targetId=ARN`, or \
             `ecs-bootstrap reset-agent --yes` for a new registration",
    source: "agent#713 #740 #2074",
    note: |evidence| {
        let Some(Ok(Some(instance))) = &evidence.registration else { return None };
        let mut wanted: BTreeMap<String, String> = match evidence.config.get("ECS_INSTANCE_ATTRIBUTES") {
            Some(text) => serde_json::from_str(text).unwrap_or_default(),
            None => BTreeMap::new(),
        };
        wanted.extend(evidence.expectation.iter().flat_map(|expected| expected.attributes.clone()));
        let lacking = wanted.iter().filter(|(name, value)| instance.attributes.get(*name) != Some(value));
        let lacking: Vec<String> = lacking.map(|(name, value)| format!("`{name}={value}`")).take(10).collect();
        (!lacking.is_empty()).then(|| vec![format!("ECS does not have {}", lacking.join(", "))])
    },
    ..Cause::PLAIN
};

/// It joined, and lacks what newer ones do.
pub(super) static TOO_OLD: Cause = Cause {
    id: "agent-too-old",
    layer: Layer::Agent,
    title: "the agent is too old for VPC endpoints and most of today's features",
    symptoms: "odd errors, task definitions that are refused, endpoints of the VPC that are not used",
    proof: "the version that introspection tells is below 1.25.1",
    look_alikes: &["agent-stuck"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "launch from a newer ECS-optimized AMI, or update ecs-init",
    source: "Amazon ECS Developer Guide, \"Interface VPC endpoints\"; agent#316",
    note: |evidence| {
        let Some(Ok(metadata)) = &evidence.introspection else { return None };
        let version = version(&metadata.version)?;
        (version < FLOOR).then(|| vec![format!("it is version {}.{}.{}", version[0], version[1], version[2])])
    },
    ..Cause::PLAIN
};

/// As in `Amazon ECS Agent - v1.105.1 (*a8b3e7d3)`.
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
    use crate::boundary::kernel::Listener;
    use crate::evidence::agent_log::last_attempt;
    use crate::plan::Expectation;

    #[test]
    fn reads_versions() {
        assert_eq!(version("Amazon ECS Agent - v1.105.1 (*a8b3e7d3)"), Some([1, 105, 1]));
        assert_eq!((version("Amazon ECS Agent - v1.9"), version("")), (None, None));
    }

    #[test]
    fn a_foreign_listener_counts_only_beside_a_registration() {
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
    fn a_listener_of_another_user_and_an_answer_that_is_not_believed_need_no_log() {
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
    fn an_agent_is_stuck_only_where_the_way_is_known_to_be_open() {
        let instance = ContainerInstance {
            arn: "arn".to_owned(),
            status: "ACTIVE".to_owned(),
            status_reason: None,
            agent_connected: false,
            agent_version: None,
            attributes: BTreeMap::new(),
            ec2_instance_id: None,
        };
        let mut evidence = Evidence {
            registration: Some(Ok(Some(instance))),
            expectation: Some(Expectation { window: Duration::from_secs(60), ..Expectation::default() }),
            disconnected_for: Some(Duration::from_secs(61)),
            agent_log: last_attempt(b"level=info msg=\"Beginning Polling for updates\"\n"),
            ..Evidence::default()
        };
        assert!(stuck(&evidence, Some(true)).is_some());
        assert!(stuck(&evidence, Some(false)).is_none() && stuck(&evidence, None).is_none());
        evidence.agent_log = last_attempt(b"level=info msg=\"Connected to ACS endpoint\"\n");
        assert!(stuck(&evidence, Some(true)).is_none());
    }
}
