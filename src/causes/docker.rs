//! Causes in Docker.

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::docker::{configuration_fault, storage_fault};
use super::view::units::{DOCKER_UNIT, describe_failure};
use crate::boundary::docker::DockerError;
use crate::boundary::systemd::{JobResult, SystemdError};
use crate::comparison::Specificity;
use crate::evidence::Evidence;
use crate::evidence::host::most_specific_line;
use crate::exit::Exit;
use crate::redaction::error_chain;

/// The newest Docker API version that the agent supports (`agent/dockerclient`, 1.17 to 1.44).
const NEWEST_AGENT_API: (u32, u32) = (1, 44);

/// systemd has no unit of that name.
pub(super) static ABSENT: Cause = Cause {
    id: "docker-absent",
    layer: Layer::Docker,
    title: "Docker is not installed",
    symptoms: "`ecs.service` restarts repeatedly, and there is no `docker` command",
    proof: "systemd has no docker.service; if Docker is installed but fails, the cause is `docker-failed`",
    look_alikes: &["docker-failed", "ecs-init-absent"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "use an ECS-optimized AMI, or install Docker in the image (`dnf install docker`)",
    source: "sumeetninawe/ecsec2#2",
    check: |evidence| {
        if let Some(error @ SystemdError::NoSuchUnit { unit }) = evidence.systemd_error()
            && unit == DOCKER_UNIT
        {
            return Some(vec![error_chain(error)]);
        }
        let docker = &evidence.known_units()?.docker;
        (docker.load_state.as_deref() == Some("not-found")).then(|| vec!["systemd has no docker.service".to_owned()])
    },
    ..Cause::DEFAULTS
};

/// dockerd exits before it opens its storage.
pub(super) static CONFIG_INVALID: Cause = Cause {
    id: "docker-config-invalid",
    layer: Layer::Docker,
    title: "Docker rejects its configuration",
    symptoms: "docker.service fails at once, usually after a change to /etc/docker/daemon.json or OPTIONS",
    proof: "docker.service has failed, and daemon.json is not valid JSON or the last messages of dockerd name it; if \
            the messages name the storage, the cause is `docker-storage-failed`",
    look_alikes: &["docker-storage-failed", "docker-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "correct /etc/docker/daemon.json (`dockerd --validate --config-file /etc/docker/daemon.json`), and set \
             nothing in it that the command line of the unit or /etc/sysconfig/docker also sets; then `systemctl \
             restart docker` and `systemctl start ecs --no-block`",
    source: "moby/moby#30726 #22339; terraform-community-modules/tf_aws_ecs#58",
    check: configuration_fault,
    ..Cause::DEFAULTS
};

/// The data volume is missing, or it does not fit the storage driver.
pub(super) static STORAGE_FAILED: Cause = Cause {
    id: "docker-storage-failed",
    layer: Layer::Docker,
    title: "Docker cannot use its storage",
    symptoms: "docker.service fails, often on an AMI made from a host that had another volume, or after a restart in \
               user data",
    proof: "docker.service has failed, and its last messages name the storage driver; if the messages name the \
            configuration, the cause is `docker-config-invalid`",
    look_alikes: &["docker-config-invalid", "docker-failed", "disk-full"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "attach the data volume that the image was made with, or set `\"storage-driver\": \"overlay2\"` in \
             /etc/docker/daemon.json; do not restart Docker in user data",
    source: "DevOps Stack Exchange, question 7946; aws/amazon-ecs-agent#389 #419",
    specific_remedy: Some(|evidence| {
        let seen = storage_fault(evidence)?.join(" ");
        let is_missing =
            seen.contains("overlay") && (seen.contains("no such device") || seen.contains("not supported"));
        is_missing.then(|| {
            "load the kernel module (`modprobe overlay`); if it is missing, install the modules of the running kernel (`uname \
             -r`) or start the kernel that they belong to"
                .to_owned()
        })
    }),
    check: storage_fault,
    ..Cause::DEFAULTS
};

/// The unit itself stays inactive, with the result success.
pub(super) static DEPENDENCY_FAILED: Cause = Cause {
    id: "docker-dependency-failed",
    layer: Layer::Docker,
    title: "Docker was not started, because a unit that it requires failed",
    symptoms: "`systemctl status docker` shows inactive (dead), with `Dependency failed for docker.service` in the journal",
    proof: "systemd ended the queued start of docker.service with the result `dependency`, and docker.service is not active; if \
            docker.service itself failed, the cause is `docker-failed`",
    look_alikes: &["docker-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "find the unit that failed (`systemctl --failed`, `journalctl -b -u docker`): a mount of RequiresMountsFor=, a \
             socket or containerd; repair it, then run `ecs-bootstrap run`, which starts both",
    source: "systemd.unit(5), Requires=; org.freedesktop.systemd1(5), JobRemoved: `dependency`",
    check: |evidence| {
        let docker = &evidence.known_units()?.docker;
        let job = evidence.jobs.iter().find(|job| job.unit == docker.name)?;
        let is_down = docker.active_state.as_deref() != Some("active") && docker.job.is_none();
        let is_dependency = job.result == Some(JobResult::Dependency);
        (is_down && is_dependency)
            .then(|| vec![format!("the start of {} ended with the result `dependency`", job.unit)])
    },
    ..Cause::DEFAULTS
};

/// ecs-init looks for docker's bridge at each start, to allow containers on it to reach the agent.
pub(super) static BRIDGE_OFF: Cause = Cause {
    id: "docker-bridge-off",
    layer: Layer::Docker,
    title: "docker's bridge is switched off, and ecs-init needs it",
    symptoms: "docker works, and the agent's unit fails and is restarted, with a message about the network `bridge`",
    proof: "/etc/docker/daemon.json has `\"bridge\": \"none\"`, and the agent's unit fails before the agent runs; if docker \
            itself fails, the cause is `docker-config-invalid` or `docker-failed`",
    look_alikes: &["docker-config-invalid", "docker-failed", "ecs-init-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "remove `\"bridge\": \"none\"` from /etc/docker/daemon.json, then `systemctl restart docker`, which restarts the \
             agent as well",
    source: "dockerd, `--bridge`; ecs-init/engine, New: finds the docker bridge",
    check: |evidence| {
        let is_init_failing = evidence.unit_retried().is_some() || evidence.unit_failed().is_some();
        if !evidence.host.is_bridge_off || !is_init_failing || evidence.docker_failed().is_some() {
            return None;
        }
        let seen = "/etc/docker/daemon.json has `\"bridge\": \"none\"`".to_owned();
        let error = evidence.init_error();
        // The file is read at the start of docker, and may be newer.
        let is_about_bridge = error.as_ref().is_none_or(|error| error.contains("bridge") || error.contains("network"));
        is_about_bridge.then(|| [seen].into_iter().chain(error).collect())
    },
    ..Cause::DEFAULTS
};

/// dockerd accepts connections but never answers.
pub(super) static HUNG: Cause = Cause {
    id: "docker-hung",
    layer: Layer::Docker,
    title: "Docker accepts connections but does not answer",
    symptoms: "`docker ps` hangs, and the agent's log stops after its start",
    proof: "docker.service is active and its socket accepts connections, but no request is answered within seconds, \
            for a minute; the cause is `host-overloaded` if memory is short, and `disk-full` if the disk is full",
    look_alikes: &["host-overloaded", "disk-full", "docker-not-ready"],
    class: Class::Lasting(Duration::from_secs(60)),
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Host,
    remedy: "`systemctl restart docker --no-block`; check for lack of disk space and memory (`journalctl -u docker -u \
             containerd -b`)",
    source: "aws/amazon-ecs-agent#315 #803; aws/amazon-ecs-init#74",
    check: |evidence| {
        let docker = &evidence.known_units()?.docker;
        if docker.active_state.as_deref() != Some("active") {
            return None;
        }
        let ping = evidence.docker.as_ref().and_then(|answer| answer.as_ref().err());
        let container = evidence.container.as_ref().and_then(|answer| answer.as_ref().err());
        let list = evidence.host.docker_list.as_ref().and_then(|answer| answer.as_ref().err());
        let silent = [ping, container, list].into_iter().flatten();
        let silent =
            silent.filter(|error| matches!(error, DockerError::TimedOut { .. })).map(|error| error_chain(error));
        let seen: Vec<String> = silent.take(1).collect();
        (!seen.is_empty()).then(|| ["docker.service is active".to_owned()].into_iter().chain(seen).collect())
    },
    ..Cause::DEFAULTS
};

/// A Docker release that dropped every API version of this agent.
pub(super) static API_MISMATCH: Cause = Cause {
    id: "docker-api-mismatch",
    layer: Layer::Docker,
    title: "Docker does not support any API version of this agent",
    symptoms: "after an update of Docker no instance registers, and the agent exits repeatedly",
    proof: "Docker's MinAPIVersion is above 1.44 and the agent logs that it finds no supported version, or the last \
            error of the failing agent or ecs-init is Docker's `client version ... is too old`; as a warning, this \
            message also appears on healthy hosts",
    look_alikes: &["agent-exits", "docker-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "update ecs-init (`dnf update ecs-init`), or downgrade Docker to a supported version and pin it; \
             then `systemctl restart ecs --no-block`",
    source: "aws/amazon-ecs-agent#4074 #2927 #942 #4090",
    check: |evidence| {
        let version = evidence.host.docker_version.as_ref().and_then(|answer| answer.as_ref().ok());
        let oldest = version.and_then(|version| number(&version.min_api_version));
        let is_newer = oldest.map(|oldest| oldest > NEWEST_AGENT_API);
        let logged = evidence.agent_logged(&[
            "Required minimum docker API version",
            "Could not get supported docker versions",
            "client not found for docker version",
        ]);
        let is_log_empty = evidence.agent_lines().is_empty();
        let ends = evidence.agent_end().is_some();
        let too_old = too_old(evidence);
        let fits = match (is_newer, &logged) {
            (Some(true), Some(_)) => true,
            (Some(true), None) => (ends && is_log_empty) || too_old.is_some(),
            (None, Some(_)) => ends && evidence.is_host_examined(),
            _ => too_old.is_some() && evidence.is_host_examined(),
        };
        let logged = logged.or(too_old);
        let newer = version.filter(|_| is_newer == Some(true)).map(|version| {
            format!("Docker {} supports only API version {} and later", version.version, version.min_api_version)
        });
        fits.then(|| newer.into_iter().chain(logged).collect())
    },
    ..Cause::DEFAULTS
};

/// The general cause: the reason is only in Docker's journal.
pub(super) static FAILED: Cause = Cause {
    id: "docker-failed",
    specificity: Specificity::General,
    layer: Layer::Docker,
    title: "Docker does not start",
    symptoms: "`Cannot connect to the Docker daemon`; `ecs.service` is restarted or fails as well",
    proof: "docker.service has failed, nothing starts it again, and its journal names neither its configuration nor \
            its storage",
    look_alikes: &["docker-config-invalid", "docker-storage-failed", "docker-not-ready", "disk-full"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "fix what the last lines of `journalctl -u docker -b` name, then `systemctl restart docker` and `systemctl \
             start ecs --no-block`",
    source: "aws/amazon-ecs-init#74; moby/moby#30726",
    check: |evidence| {
        let docker = evidence.docker_failed()?;
        // The journal may show a more specific cause, so without it this cause is not reported.
        let journal = match &evidence.host.docker_journal {
            Some(journal) => most_specific_line(journal),
            None if evidence.timed_out => None,
            None => return None,
        };
        let seen = describe_failure(docker);
        let journal = journal.map(|line| format!("journal: `{line}`"));
        Some([seen].into_iter().chain(journal).chain(evidence.killed()).collect())
    },
    ..Cause::DEFAULTS
};

/// The agent itself waits about 18 seconds for Docker.
pub(super) static NOT_READY: Cause = Cause {
    id: "docker-not-ready",
    layer: Layer::Docker,
    title: "Docker is still starting",
    symptoms: "the first start of the agent fails, and a later one succeeds",
    proof: "docker.service is activating or inactive, or it is active and its socket does not answer yet; the cause is \
            `docker-failed` if the unit has failed, and `docker-hung` if the socket stays silent",
    look_alikes: &["docker-failed", "docker-hung"],
    class: Class::Retry,
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Systemd,
    remedy: "read in `journalctl -u docker -b` what it is waiting for",
    source: "aws/amazon-ecs-agent#688",
    check: |evidence| {
        let docker = &evidence.known_units()?.docker;
        let ping = evidence.docker.as_ref().and_then(|ping| ping.as_ref().err());
        let is_needed = evidence.unit_retried().is_some() || evidence.unit_failed().is_some();
        let state = docker.active_state.as_deref()?;
        let is_late = match state {
            "activating" => true,
            "inactive" | "deactivating" => is_needed && docker.load_state.as_deref() == Some("loaded"),
            "active" => ping.is_some_and(|error| {
                !matches!(error, DockerError::TimedOut { .. } | DockerError::Denied { .. })
                    && (is_needed || evidence.agent_end().is_some())
            }),
            _ => false,
        };
        let ping = ping.map(|error| error_chain(error));
        is_late.then(|| [format!("docker.service is {state}")].into_iter().chain(ping).collect())
    },
    ..Cause::DEFAULTS
};

/// Docker's error for a client that is too old, if it is the last error of a failing agent or ecs-init. Older builds of
/// those log no error of their own.
fn too_old(evidence: &Evidence) -> Option<String> {
    let agent_error = evidence.agent_end().and_then(|_| evidence.agent_error());
    let is_failing = evidence.unit_retried().is_some() || evidence.unit_failed().is_some();
    let init_error = is_failing.then(|| evidence.init_error()).flatten();
    agent_error.into_iter().chain(init_error).find(|line| line.contains("is too old. Minimum supported API version"))
}

/// `1.44` as a pair of numbers.
fn number(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
    use crate::boundary::docker::Version;
    use crate::evidence::Evidence;
    use crate::evidence::agent_log::last_attempt;

    fn with(load: &str, active: &str) -> Evidence {
        let mut units = healthy_units();
        units.docker.load_state = Some(load.to_owned());
        units.docker.active_state = Some(active.to_owned());
        let mut evidence = Evidence { units: Some(Ok(units)), ..Evidence::default() };
        evidence.host.docker_journal = Some(Vec::new());
        evidence
    }

    #[test]
    fn absent_failed_and_starting_docker_are_different_causes() {
        assert_eq!(ids(&with("not-found", "inactive")), ["docker-absent"]);
        assert_eq!(ids(&with("loaded", "failed")), ["docker-failed"]);
        assert_eq!(ids(&with("loaded", "activating")), ["docker-not-ready"]);
        assert_eq!(ids(&with("loaded", "active")), Vec::<&str>::new());
        assert_eq!(ids(&with("loaded", "inactive")), Vec::<&str>::new());
    }

    #[test]
    fn an_inactive_docker_is_a_cause_only_if_the_agents_unit_needs_it() {
        let mut evidence = with("loaded", "inactive");
        if let Some(Ok(units)) = &mut evidence.units {
            units.agent.active_state = Some("activating".to_owned());
            units.agent.sub_state = Some("auto-restart".to_owned());
        }
        assert_eq!(ids(&evidence), ["docker-not-ready"]);
    }

    #[test]
    fn a_client_that_is_too_old_is_a_cause_only_as_the_last_error() {
        let message = "client version 1.15 is too old. Minimum supported API version is 1.24";
        let with = |level: &str| {
            let mut evidence = with("loaded", "active");
            evidence.host.is_examined = true;
            evidence.init_log = last_attempt(
                format!("level=info msg=\"pre-start\"\nlevel={level} msg=\"{message}\"\nlevel=info msg=x\n").as_bytes(),
            );
            if let Some(Ok(units)) = &mut evidence.units {
                units.agent.active_state = Some("activating".to_owned());
                units.agent.sub_state = Some("auto-restart".to_owned());
            }
            ids(&evidence)[0]
        };
        assert_eq!(with("error"), "docker-api-mismatch");
        assert_eq!(with("warn"), "ecs-init-failed");
    }

    #[test]
    fn a_failed_docker_is_reported_after_its_journal_was_read() {
        let mut evidence = with("loaded", "failed");
        evidence.host.docker_journal = None;
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        for (line, id) in [
            ("failed to start daemon: anything", "docker-failed"),
            ("error initializing graphdriver: driver not supported", "docker-storage-failed"),
            ("unable to configure the Docker daemon with file /etc/docker/daemon.json: ...", "docker-config-invalid"),
        ] {
            evidence.host.docker_journal = Some(vec![line.to_owned()]);
            assert_eq!(ids(&evidence), [id]);
        }
    }

    #[test]
    fn a_newer_docker_is_a_cause_only_if_the_agent_logs_it_or_exits_without_a_log() {
        let docker = |oldest: &str| {
            let (version, api_version) = ("29.1".to_owned(), "1.52".to_owned());
            Some(Ok(Version { version, api_version, min_api_version: oldest.to_owned() }))
        };
        let line = b"level=error msg=\"Could not get supported docker versions\"\n";
        let mut evidence = with("loaded", "active");
        evidence.agent_log = last_attempt(line);
        evidence.host.docker_version = docker("1.45");
        assert_eq!(ids(&evidence), ["docker-api-mismatch"]);
        evidence.host.docker_version = docker("1.44");
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.host.docker_version = docker("1.45");
        evidence.agent_log = Default::default();
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }
}
