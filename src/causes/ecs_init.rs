//! Causes in what the agent's unit does before the agent runs: guard, ecs-init, the agent's image, GPUs.

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::crash::{loop_evidence, remedy};
use super::view::units::{describe_failure, ends_with_agent, is_docker_up, is_stopped_by_guard, last_errors};
use crate::comparison::Specificity;
use crate::evidence::Evidence;
use crate::exit::Exit;

/// What ecs-init logs if it cannot load the image.
const LOAD: &[&str] = &["could not load Amazon Elastic Container Service Agent"];
/// What ecs-init logs if it cannot download the image.
const DOWNLOAD: &[&str] =
    &["could not download Amazon Elastic Container Service Agent", "does not match expected checksum"];
/// What ecs-init logs if it cannot set up GPUs (`ecs-init/gpu`).
const GPU: &[&str] = &["Nvidia GPU Manager", "nvidia gpu manager", "nvml"];
/// Errors of a Docker that is not running yet, which is temporary.
const DOCKER_AWAY: [&str; 4] = ["Cannot connect", "connection refused", "connection reset", "context deadline"];
const GPU_SETTING: &str = "ECS_ENABLE_GPU_SUPPORT";

/// The tarball in `/var/cache/ecs`.
pub(super) static IMAGE_LOAD_FAILED: Cause = Cause {
    id: "agent-image-load-failed",
    layer: Layer::Units,
    title: "ecs-init cannot load the agent's image into Docker",
    symptoms: "`ecs.service` exits with status 255 and restarts every 10 s; `docker images` does not list the agent",
    proof: "the unit fails while Docker is active, and ecs-init logs that it could not load the image; the cause is \
            `disk-full` if the disk is full, and `agent-download-failed` if ecs-init logs that it could not download \
            the image",
    look_alikes: &["disk-full", "docker-failed", "agent-download-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`rm -f /var/cache/ecs/ecs-agent*.tar && dnf reinstall ecs-init`, then `systemctl restart ecs --no-block`",
    source: "ecs-init/engine, ecs-init/docker (v1.105.1)",
    check: |evidence| {
        let seen = failing_with(evidence, LOAD)?;
        let is_away = seen.iter().any(|line| DOCKER_AWAY.iter().any(|fragment| line.contains(fragment)));
        (!is_away && evidence.is_host_examined()).then_some(seen)
    },
    ..Cause::DEFAULTS
};

/// There is no tarball on the host, and S3 cannot be reached.
pub(super) static DOWNLOAD_FAILED: Cause = Cause {
    id: "agent-download-failed",
    layer: Layer::Units,
    title: "ecs-init cannot download the agent's image",
    symptoms: "`ecs.service` exits with status 255 after an update, or with an AMI that has no \
               /var/cache/ecs/ecs-agent.tar",
    proof: "the unit fails, ecs-init logs that it could not download the image, and the ECS endpoint can be reached; \
            if the endpoint cannot be reached either, the cause is `egress-timeout`",
    look_alikes: &["egress-timeout", "agent-image-load-failed"],
    class: Class::Retry,
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Host,
    remedy: "create a gateway endpoint for S3 in the VPC (bucket `amazon-ecs-agent-REGION`), or put the tarball into \
             the AMI (`dnf reinstall ecs-init`)",
    source: "aws/amazon-ecs-agent#714 #1333; aws/amazon-ecs-init#83",
    check: |evidence| {
        let probed = evidence.network.as_ref().map(|probe| probe.connected.is_ok());
        let is_open = probed == Some(true) || matches!(evidence.cluster, Some(Ok(_)));
        let seen = failing_with(evidence, DOWNLOAD)?;
        (is_open || (probed.is_none() && evidence.timed_out)).then_some(seen)
    },
    ..Cause::DEFAULTS
};

pub(super) static GPU_SETUP_FAILED: Cause = Cause {
    id: "gpu-setup-failed",
    layer: Layer::Units,
    title: "ECS_ENABLE_GPU_SUPPORT is on, but the GPUs cannot be set up",
    symptoms: "`ecs.service` exits with status 255 in pre-start, or the agent exits with code 1",
    proof: "the setting is `true`, and the error names NVML or the Nvidia GPU Manager; if the instance joins without a \
            GPU, the cause is `gpu-not-seen`",
    look_alikes: &["gpu-not-seen", "ecs-init-failed"],
    class: Class::Retry,
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Host,
    remedy: "install the driver for this kernel (`nvidia-smi` must answer) and load it before ecs.service; on an \
             instance type without GPUs remove ECS_ENABLE_GPU_SUPPORT",
    source: "aws/amazon-ecs-agent#2424 #5069",
    check: |evidence| {
        wants_gpu(evidence).then_some(())?;
        let of_agent = || evidence.agent_end().and_then(|_| evidence.agent_logged(GPU)).map(|line| vec![line]);
        let device = evidence.host.gpu.map(|exists| {
            let text = if exists { "/dev has an NVIDIA device" } else { "/dev has no NVIDIA device" };
            text.to_owned()
        });
        let seen = failing_with(evidence, GPU).or_else(of_agent)?;
        Some(seen.into_iter().chain(device).collect())
    },
    ..Cause::DEFAULTS
};

/// Only a note: the instance has joined, but no task that needs a GPU can be placed on it.
pub(super) static GPU_NOT_SEEN: Cause = Cause {
    id: "gpu-not-seen",
    is_only_note: true,
    layer: Layer::Units,
    title: "ECS_ENABLE_GPU_SUPPORT is on, but the agent registered without a GPU",
    symptoms: "the instance is in the cluster, but tasks that need a GPU are not placed on it",
    proof: "the setting is `true`, and the agent or ecs-init logs that it found no GPU; if the setup itself fails, the \
            cause is `gpu-setup-failed`",
    look_alikes: &["gpu-setup-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "load the driver before ecs.service (the GPU AMI does it in `nvidia-kmod-load.service`), then `systemctl \
             restart ecs --no-block`",
    source: "aws/amazon-ecs-agent#3823 #4786",
    note: |evidence| {
        wants_gpu(evidence).then_some(())?;
        let agent = evidence.agent_logged(&["GPU information is not found"]);
        let init = evidence.init_logged(&["No GPU devices found"]);
        let seen: Vec<String> = agent.into_iter().chain(init).collect();
        (!seen.is_empty()).then_some(seen)
    },
    ..Cause::DEFAULTS
};

/// The general cause for ecs-init: systemd restarts the unit forever.
pub(super) static FAILED: Cause = Cause {
    id: "ecs-init-failed",
    is_final_in_crash_loop: true,
    specific_remedy: Some(remedy),
    specificity: Specificity::General,
    yields_to: &["agent-image-load-failed", "agent-download-failed", "gpu-setup-failed"],
    layer: Layer::Units,
    title: "the agent's unit fails repeatedly before its agent runs",
    symptoms: "`systemctl status ecs` shows activating (auto-restart) with status 255, and the agent's log stays empty",
    proof: "the unit waits for its next restart, and the agent's container did not cause it; after systemd gives up, \
            the cause is `agent-unit-failed`",
    look_alikes: &[
        "agent-unit-failed",
        "agent-exits",
        "agent-image-load-failed",
        "agent-download-failed",
        "gpu-setup-failed",
    ],
    class: Class::Retry,
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Host,
    remedy: "fix what the last error in /var/log/ecs/ecs-init.log or `journalctl -u ecs -b` names",
    source: "ecs-init/engine (v1.105.1): exit status 255 for each of its own errors",
    check: |evidence| {
        let unit = evidence.unit_retried()?;
        // Without a network nothing can be downloaded, and a cause of the network layers is more precise.
        let is_download = evidence.init_logged(DOWNLOAD).is_some();
        let is_earlier = is_download || is_stopped_by_guard(evidence) || !is_docker_up(evidence);
        if is_earlier || ends_with_agent(evidence) {
            return None;
        }
        let repeated = loop_evidence(evidence);
        let errors = if repeated.is_empty() { last_errors(evidence) } else { repeated };
        Some([describe_failure(unit)].into_iter().chain(errors).collect())
    },
    ..Cause::DEFAULTS
};

/// The unit's state and the ecs-init log line with one of `fragments`, if the unit fails while Docker is active.
fn failing_with(evidence: &Evidence, fragments: &[&str]) -> Option<Vec<String>> {
    let unit = evidence.unit_retried().or_else(|| evidence.unit_failed())?;
    let logged = evidence.init_logged(fragments)?;
    is_docker_up(evidence).then(|| vec![describe_failure(unit), logged])
}

/// Like ecs-init, which accepts exactly `true`.
fn wants_gpu(evidence: &Evidence) -> bool {
    evidence.config.get(GPU_SETTING).is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
    use super::super::view::units::GUARD_DROP_IN;
    use super::*;
    use crate::evidence::agent_log::last_attempt;

    fn retried(log: &str) -> Evidence {
        let mut units = healthy_units();
        units.agent.active_state = Some("activating".to_owned());
        units.agent.sub_state = Some("auto-restart".to_owned());
        units.agent.result = Some("exit-code".to_owned());
        units.agent.exec_main_status = Some(255);
        let init_log = last_attempt(format!("level=info msg=\"pre-start\"\nlevel=error msg=\"{log}\"\n").as_bytes());
        let mut evidence = Evidence { units: Some(Ok(units)), init_log, ..Evidence::default() };
        evidence.host.is_examined = true;
        evidence
    }

    #[test]
    fn the_log_of_ecs_init_selects_the_cause_and_otherwise_the_general_one_is_reported() {
        assert_eq!(
            ids(&retried("could not load Amazon Elastic Container Service Agent into Docker")),
            ["agent-image-load-failed"]
        );
        assert_eq!(ids(&retried("something new")), ["ecs-init-failed"]);
        let away =
            "could not load Amazon Elastic Container Service Agent into Docker: Cannot connect to the Docker daemon";
        assert_eq!(ids(&retried(away)), ["ecs-init-failed"]);
        let mut gpu = retried("could not initialize Nvidia GPU Manager: nvml");
        assert_eq!(ids(&gpu), ["ecs-init-failed"]);
        gpu.config = [(GPU_SETTING.to_owned(), "true".to_owned())].into();
        assert_eq!(ids(&gpu), ["gpu-setup-failed"]);
    }

    #[test]
    fn a_start_that_guard_stopped_is_not_reported_again() {
        let mut evidence = retried("something new");
        evidence.host.agent_journal = Some(vec!["error: [no-cluster-named] nothing names a cluster".to_owned()]);
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.host.agent_journal = Some(Vec::new());
        evidence.init_log = Default::default();
        assert_eq!(ids(&evidence), ["ecs-init-failed"]);
        if let Some(Ok(units)) = &mut evidence.units {
            units.agent.drop_in_paths = Some(vec![format!("/usr/lib/systemd/system/ecs.service.d{GUARD_DROP_IN}")]);
        }
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }

    #[test]
    fn a_unit_that_ends_with_its_agent_does_not_fail_before_it() {
        let mut evidence = retried("");
        (evidence.init_log, evidence.agent_log) =
            (Default::default(), last_attempt(b"level=error msg=\"Unable to register\"\n"));
        assert_eq!(ids(&evidence), ["ecs-init-failed"]);
        for state in ["activating", "failed"] {
            if let Some(Ok(units)) = &mut evidence.units {
                units.agent.name = "run-ecs-agent.service".to_owned();
                units.agent.active_state = Some(state.to_owned());
            }
            evidence.host.agent_journal = Some(Vec::new());
            assert_eq!(ids(&evidence), Vec::<&str>::new(), "{state}");
        }
        evidence.agent_log = Default::default();
        assert_eq!(ids(&evidence), ["agent-unit-failed"]);
    }

    #[test]
    fn a_failed_download_is_a_cause_only_if_the_network_path_is_open() {
        let mut evidence = retried("could not download Amazon Elastic Container Service Agent");
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.cluster = Some(Ok(crate::boundary::aws::DescribedClusters::default()));
        assert_eq!(ids(&evidence), ["agent-download-failed"]);
    }

    #[test]
    fn during_a_new_attempt_the_log_of_the_previous_one_is_used() {
        let mut evidence = retried("could not load Amazon Elastic Container Service Agent into Docker");
        evidence.init_log_before = std::mem::take(&mut evidence.init_log);
        if let Some(Ok(units)) = &mut evidence.units {
            units.agent.sub_state = Some("start-pre".to_owned());
            units.agent.restarts = Some(2);
        }
        assert_eq!(ids(&evidence), ["agent-image-load-failed"]);
    }

    #[test]
    fn a_log_older_than_the_start_of_docker_is_from_an_earlier_boot() {
        let mut evidence = retried("could not load Amazon Elastic Container Service Agent into Docker");
        evidence.init_log_written = Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1));
        if let Some(Ok(units)) = &mut evidence.units {
            units.docker.active_enter_usec = Some(2_000_000);
        }
        assert_eq!(ids(&evidence), ["ecs-init-failed"]);
    }
}
