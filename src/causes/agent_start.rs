//! Causes that end the agent at its start, proven by data of this host and not only by a message.

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::registration::GAVE_UP_TEXT;
use super::view::units::is_docker_up;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::facts::Fact;

const KIB_PER_MIB: u64 = 1024;
const RESERVED_MEMORY: &str = "ECS_RESERVED_MEMORY";
const TYPE_CHANGED: [&str; 2] =
    ["instance type changes are not supported", "current instance type does not match the registered instance type"];

/// The agent reads its JSON file at each start, and exits if it cannot.
pub(super) static JSON_INVALID: Cause = Cause {
    id: "agent-json-invalid",
    layer: Layer::Config,
    title: "the agent's file `ecs.config.json` is not a JSON object, so the agent exits",
    symptoms: "the agent's container exits with code 1 repeatedly, with `Error reading cfg json data` in its log",
    proof: "/etc/ecs/ecs.config.json is not empty and is not a JSON object, and the agent exits; if a value in ecs.config is \
            not valid JSON, the cause is `config-bad-json`",
    look_alikes: &["config-bad-json", "agent-exits"],
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "correct or remove /etc/ecs/ecs.config.json (`ecs-bootstrap check /etc/ecs/ecs.config.json` names the place), \
             then `systemctl restart ecs --no-block`",
    source: "agent/config/config.go, fileConfig",
    check: |evidence| {
        let fault = evidence.files.json_fault.as_ref().filter(|_| is_ending(evidence))?;
        let logged = evidence.agent_failed_with(&["Error reading cfg json data", "Error loading config"]);
        if logged.is_none() && evidence.agent_error().is_some() {
            return None;
        }
        Some([format!("/etc/ecs/ecs.config.json: {fault}")].into_iter().chain(logged).collect())
    },
    ..Cause::DEFAULTS
};

/// The agent subtracts the reserved memory from that of the host.
pub(super) static RESERVED_MEMORY_TOO_HIGH: Cause = Cause {
    id: "reserved-memory-too-high",
    layer: Layer::Config,
    title: "ECS_RESERVED_MEMORY is more than the memory of the host, so the agent exits",
    symptoms: "the agent's container exits with code 1 repeatedly, with `Unable to fetch host resources` in its log, which \
               does not name the setting",
    proof: "ECS_RESERVED_MEMORY is larger than the total memory of the host, and the agent exits; if memory is short while \
            programs run, the cause is `host-overloaded`",
    look_alikes: &["host-overloaded", "agent-exits"],
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "set ECS_RESERVED_MEMORY in /etc/ecs/ecs.config to what the host itself needs, in MiB (ecs-bootstrap derives it \
             with `derive.reserved-memory`), then `systemctl restart ecs --no-block`",
    source: "agent/api/ecs/client, getCpuAndMemory",
    check: |evidence| {
        // The agent ignores larger numbers, and a sign.
        let value = evidence.config.get(RESERVED_MEMORY)?.trim();
        let reserved: u16 = value.parse().ok().filter(|_| !value.starts_with('+'))?;
        let total = evidence.host.memory?.total_kib / KIB_PER_MIB;
        if u64::from(reserved) <= total || !is_ending(evidence) {
            return None;
        }
        let seen = format!("{RESERVED_MEMORY} is {reserved} MiB, the host has {total} MiB");
        let logged = evidence.agent_failed_with(&["Unable to fetch host resources"]);
        let is_other = logged.is_none() && evidence.agent_error().is_some();
        (!is_other).then(|| [seen].into_iter().chain(logged).collect())
    },
    ..Cause::DEFAULTS
};

/// ecs-init and the agent use this socket instead of docker's default.
pub(super) static DOCKER_HOST_WRONG: Cause = Cause {
    id: "docker-host-wrong",
    layer: Layer::Config,
    title: "DOCKER_HOST in the agent's configuration names a socket that does not exist",
    symptoms: "docker works, and the agent or ecs-init reports that it cannot connect to the docker daemon",
    proof: "DOCKER_HOST names a path at which there is nothing, and the agent or ecs-init fails; if docker itself does not run, \
            the cause is in the layer of docker, for example `docker-failed`",
    look_alikes: &["docker-failed", "docker-absent", "agent-exits"],
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "remove DOCKER_HOST from /etc/ecs/ecs.config, or correct it (the default is unix:///var/run/docker.sock), then \
             `systemctl restart ecs --no-block`",
    source: "ecs-init/docker/docker.go; agent/config, DockerEndpoint",
    check: |evidence| {
        let missing = evidence.files.missing_docker_socket.as_ref().filter(|_| is_docker_up(evidence))?;
        let seen = format!("DOCKER_HOST is `unix://{missing}`, and there is no `{missing}`");
        let is_failing = is_ending(evidence) || evidence.unit_retried().is_some() || evidence.unit_failed().is_some();
        is_failing.then(|| [seen].into_iter().chain(evidence.agent_error().or_else(|| evidence.init_error())).collect())
    },
    ..Cause::DEFAULTS
};

/// The file is damaged: the agent exits with 1, 2 or 5, depending on the place.
pub(super) static STATE_UNREADABLE: Cause = Cause {
    id: "saved-state-unreadable",
    layer: Layer::Agent,
    title: "the agent's saved state is damaged, so the agent exits",
    symptoms: "the agent's container exits repeatedly after a full disk, a crash of the host or a copied image; with exit code \
               2 its own log has no error",
    proof: "the file below /var/lib/ecs/data is not a database of the agent, and the agent exits; if the state can be read and \
            belongs to another instance, the cause is `baked-agent-state`",
    look_alikes: &["baked-agent-state", "agent-exits", "agent-gave-up"],
    remedy: "`ecs-bootstrap reset-agent --yes`: the agent then registers as a new container instance",
    source: "agent/data; go.etcd.io/bbolt, file format",
    check: |evidence| {
        let saved = evidence.saved.as_ref().filter(|saved| saved.is_damaged)?;
        let Fact::Unknown(why) = &saved.state else { return None };
        let logged = evidence.agent_error().or_else(|| evidence.agent_crash());
        is_ending(evidence).then(|| [why.clone()].into_iter().chain(logged).collect())
    },
    ..Cause::DEFAULTS
};

/// ECS keeps the instance type of a container instance.
pub(super) static INSTANCE_TYPE_CHANGED: Cause = Cause {
    id: "instance-type-changed",
    layer: Layer::Agent,
    title: "the instance type was changed, and ECS does not accept that for a registered container instance",
    symptoms: "the agent exits with code 5 after the instance was stopped, changed and started",
    proof: "ECS refuses the registration because of the instance type, and the agent exited with code 5; if it refuses it \
            because the container instance is inactive, the cause is `registration-inactive`",
    look_alikes: &["registration-inactive", "agent-gave-up"],
    remedy: "`ecs-bootstrap reset-agent --yes` (the agent then registers as a new container instance; deregister the old one), \
             or change the instance back to its earlier type",
    source: "Amazon ECS Developer Guide, \"Amazon ECS container instances\"; agent/app/agent.go",
    check: |evidence| {
        let logged = evidence.agent_failed_with(&TYPE_CHANGED)?;
        evidence.agent_exited_with(5).then(|| vec![logged, GAVE_UP_TEXT.to_owned()])
    },
    class: Class::Terminal,
    ..Cause::DEFAULTS
};

/// Whether the agent ends, repeatedly or for good.
fn is_ending(evidence: &Evidence) -> bool {
    evidence.agent_end().is_some() || evidence.agent_exited_with(5)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids, seen_of};
    use super::*;
    use crate::boundary::docker::Container;
    use crate::boundary::kernel::Memory;
    use crate::evidence::agent_log::last_attempt;
    use crate::facts::SavedAgent;

    fn ended(code: i64) -> Evidence {
        let container = Container {
            running: false,
            exit_code: code,
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            finished_at: "2026-01-01T00:00:01Z".to_owned(),
            restart_count: 0,
        };
        let mut evidence =
            Evidence { units: Some(Ok(healthy_units())), container: Some(Ok(Some(container))), ..Evidence::default() };
        evidence.host.is_examined = true;
        evidence
    }

    #[test]
    fn reserved_memory_is_compared_with_the_memory_of_the_host() {
        let with = |reserved: &str, code: i64| {
            let mut evidence = ended(code);
            evidence.config.insert(RESERVED_MEMORY.to_owned(), reserved.to_owned());
            evidence.host.memory = Some(Memory { total_kib: 8000 * KIB_PER_MIB, available_kib: 4000 * KIB_PER_MIB });
            evidence
        };
        assert_eq!(ids(&with("8001", 1)), ["reserved-memory-too-high"]);
        assert_eq!(seen_of(&with("65535", 1)), "ECS_RESERVED_MEMORY is 65535 MiB, the host has 8000 MiB");
        for (reserved, code) in [("8000", 1), ("8001", 0), ("much", 1), ("70000", 1), ("+8001", 1)] {
            assert!(!ids(&with(reserved, code)).contains(&"reserved-memory-too-high"), "{reserved}");
        }
    }

    #[test]
    fn each_fault_needs_an_agent_that_ends() {
        type Fault = fn(&mut Evidence);
        let faults: [(&str, Fault); 3] = [
            ("agent-json-invalid", |evidence| evidence.files.json_fault = Some("it is incomplete JSON".to_owned())),
            ("docker-host-wrong", |evidence| evidence.files.missing_docker_socket = Some("/run/x.sock".to_owned())),
            ("saved-state-unreadable", |evidence| {
                let state = Fact::Unknown("`agent.db` is not a database".to_owned());
                evidence.saved = Some(SavedAgent { state, modified: None, is_damaged: true });
            }),
        ];
        for (id, add) in faults {
            for code in [1, 2, 255] {
                let mut evidence = ended(code);
                add(&mut evidence);
                assert_eq!(ids(&evidence), [id]);
            }
            let mut evidence = ended(0);
            add(&mut evidence);
            assert_eq!(ids(&evidence), Vec::<&str>::new());
        }
    }

    #[test]
    fn a_changed_instance_type_is_named_in_both_forms() {
        for text in [
            "Unable to register\" error=\"ClientException: Container instance type changes are not supported.",
            "The current instance type does not match the registered instance type. Please revert the instance type change.",
        ] {
            let mut evidence = ended(5);
            evidence.agent_log = last_attempt(format!("level=critical msg=\"{text}\"\n").as_bytes());
            assert_eq!(ids(&evidence), ["instance-type-changed"], "{text}");
        }
    }
}
