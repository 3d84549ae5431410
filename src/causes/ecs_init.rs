//! Causes that lie in what the agent's unit does before its agent runs: guard, ecs-init, the agent's image, GPUs.

use super::{Cause, Class, Layer};
use crate::evidence::Evidence;
use crate::evidence::host::most_specific_line;
use crate::exit::Exit;

/// What ecs-init says when it cannot load the image.
const LOAD: &[&str] = &["could not load Amazon Elastic Container Service Agent"];
/// The same of the download.
const DOWNLOAD: &[&str] =
    &["could not download Amazon Elastic Container Service Agent", "does not match expected checksum"];
/// The same of GPUs (`ecs-init/gpu`).
const GPU: &[&str] = &["Nvidia GPU Manager", "nvidia gpu manager", "nvml"];
/// What docker's being away looks like, which heals.
const AWAY: [&str; 4] = ["Cannot connect", "connection refused", "connection reset", "context deadline"];
/// Before each start of the agent our guard looks whether it may.
const GUARD_DROP_IN: &str = "ecs.service.d/10-ecs-bootstrap.conf";
const GPU_SETTING: &str = "ECS_ENABLE_GPU_SUPPORT";

/// The tarball in `/var/cache/ecs`.
pub(super) static IMAGE_LOAD_FAILED: Cause = Cause {
    id: "agent-image-load-failed",
    layer: Layer::Units,
    title: "ecs-init cannot load the agent's image into docker",
    symptoms: "`ecs.service` ends with status 255 and is restarted every 10 s; `docker images` has no agent",
    proof: "the unit fails and ecs-init says that it could not load; a full disk or a failing docker is named instead where \
            it is seen",
    look_alikes: &["disk-full", "docker-failed", "agent-download-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "`rm /var/cache/ecs/ecs-agent*.tar && dnf reinstall ecs-init`, then `systemctl restart ecs --no-block`",
    source: "ecs-init/engine, ecs-init/docker (v1.105.1)",
    check: |evidence| {
        let seen = failing_with(evidence, LOAD)?;
        let is_away = seen.iter().any(|line| AWAY.iter().any(|words| line.contains(words)));
        (!is_away && evidence.is_host_examined()).then_some(seen)
    },
    ..Cause::PLAIN
};

/// No tarball, and none to be had.
pub(super) static DOWNLOAD_FAILED: Cause = Cause {
    id: "agent-download-failed",
    layer: Layer::Units,
    title: "ecs-init cannot download the agent's image",
    symptoms: "`ecs.service` ends with status 255 after an update, or on an image without /var/cache/ecs/ecs-agent.tar",
    proof: "the unit fails, ecs-init says that it could not download, and the ECS endpoint can be reached; where it cannot, \
            S3 is not the only thing out of reach: `egress-timeout`",
    look_alikes: &["egress-timeout", "agent-image-load-failed"],
    class: Class::Retry,
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Host,
    remedy: "give the subnet a gateway endpoint for S3 (bucket `amazon-ecs-agent-REGION`), or bake the tarball into the image \
             (`dnf reinstall ecs-init`)",
    source: "agent#714 #1333; init#83",
    check: |evidence| {
        let probed = evidence.network.as_ref().map(|probe| probe.connected.is_ok());
        let is_open = probed == Some(true) || matches!(evidence.cluster, Some(Ok(_)));
        let seen = failing_with(evidence, DOWNLOAD)?;
        (is_open || (probed.is_none() && evidence.timed_out)).then_some(seen)
    },
    ..Cause::PLAIN
};

/// Asked for, and not to be set up.
pub(super) static GPU_SETUP_FAILED: Cause = Cause {
    id: "gpu-setup-failed",
    layer: Layer::Units,
    title: "ECS_ENABLE_GPU_SUPPORT is on, and the GPUs cannot be set up",
    symptoms: "`ecs.service` ends with status 255 in pre-start, or the agent exits 1",
    proof: "the setting is `true` and what fails names NVML or the Nvidia GPU Manager; an instance that joins with no GPU is \
            `gpu-not-seen`",
    look_alikes: &["gpu-not-seen", "ecs-init-failed"],
    class: Class::Retry,
    exit: Exit::Systemd,
    exit_after_deadline: Exit::Host,
    remedy: "install the driver that fits the kernel (`nvidia-smi` must answer) and load it before ecs.service; on a type \
             without GPUs remove ECS_ENABLE_GPU_SUPPORT",
    source: "agent#2424; PR 5069",
    check: |evidence| {
        wants_gpu(evidence).then_some(())?;
        let of_agent = || evidence.agent_end().and_then(|_| evidence.agent_logged(GPU)).map(|line| vec![line]);
        let device = evidence.host.gpu.map(|is_there| match is_there {
            true => "/dev has an NVIDIA device".to_owned(),
            false => "/dev has no NVIDIA device".to_owned(),
        });
        let seen = failing_with(evidence, GPU).or_else(of_agent)?;
        Some(seen.into_iter().chain(device).collect())
    },
    ..Cause::PLAIN
};

/// It joined, and nothing can be placed that needs a GPU.
pub(super) static GPU_NOT_SEEN: Cause = Cause {
    id: "gpu-not-seen",
    layer: Layer::Units,
    title: "ECS_ENABLE_GPU_SUPPORT is on, and the agent registered without a GPU",
    symptoms: "the instance is in the cluster, and tasks that need a GPU find none",
    proof: "the setting is `true`, and the agent or ecs-init says that it found none; a set-up that fails is \
            `gpu-setup-failed`",
    look_alikes: &["gpu-setup-failed"],
    class: Class::Terminal,
    exit: Exit::Host,
    exit_after_deadline: Exit::Host,
    remedy: "load the driver before ecs.service (`nvidia-kmod-load.service` of the GPU AMI does), then \
             `systemctl restart ecs --no-block`",
    source: "agent#3823 #4786",
    note: |evidence| {
        wants_gpu(evidence).then_some(())?;
        let agent = evidence.agent_logged(&["GPU information is not found"]);
        let init = evidence.init_logged(&["No GPU devices found"]);
        let seen: Vec<String> = agent.into_iter().chain(init).collect();
        (!seen.is_empty()).then_some(seen)
    },
    ..Cause::PLAIN
};

/// All else: systemd tries again for ever.
pub(super) static FAILED: Cause = Cause {
    id: "ecs-init-failed",
    layer: Layer::Units,
    title: "the agent's unit fails before its agent runs, again and again",
    symptoms: "`systemctl status ecs` says activating (auto-restart), status 255, and the agent's log stays empty",
    proof: "the unit waits for its next restart and the agent's container is not why; once systemd gives up it is \
            `agent-unit-failed`",
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
    remedy: "read /var/log/ecs/ecs-init.log and `journalctl -u ecs -b`, and mend what the last error names",
    source: "ecs-init/engine (v1.105.1): 255 for each error of its own",
    check: |evidence| {
        let unit = evidence.unit_retried()?;
        // Without a network nothing can be downloaded, which another layer tells better.
        let is_download = evidence.init_logged(DOWNLOAD).is_some();
        if is_named(evidence) || is_download || refused_by_guard(evidence) || !is_docker_up(evidence) {
            return None;
        }
        Some([described(unit)].into_iter().chain(last_words(evidence)).collect())
    },
    ..Cause::PLAIN
};

/// Whether one of the special causes fits.
pub(super) fn is_named(evidence: &Evidence) -> bool {
    [&IMAGE_LOAD_FAILED, &DOWNLOAD_FAILED, &GPU_SETUP_FAILED].iter().any(|cause| (cause.check)(evidence).is_some())
}

/// Whether our own guard lets no agent start, and has told why itself.
pub(super) fn refused_by_guard(evidence: &Evidence) -> bool {
    let mut journal = evidence.host.agent_journal.iter().flatten().peekable();
    let is_guarded = evidence.agent_unit().and_then(|unit| unit.drop_in_paths.as_ref());
    let is_guarded = is_guarded.is_some_and(|paths| paths.iter().any(|path| path.ends_with(GUARD_DROP_IN)));
    // Without a journal nobody else can be told from guard, but by what ecs-init says.
    let may_be = is_guarded && journal.peek().is_none() && evidence.init_error().is_none();
    may_be || journal.any(|line| line.starts_with("error: ["))
}

/// Where docker is down, that is why.
pub(super) fn is_docker_up(evidence: &Evidence) -> bool {
    evidence.known_units().is_some_and(|units| units.docker.active_state.as_deref() == Some("active"))
}

/// A unit that has failed, in words.
pub(super) fn described(unit: &crate::boundary::systemd::UnitState) -> String {
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let (name, active, sub) = (&unit.name, word(&unit.active_state), word(&unit.sub_state));
    let status = unit.exec_main_status.map(|status| format!(", status {status}")).unwrap_or_default();
    let restarts = unit.restarts.filter(|n| *n > 0).map(|n| format!(", restarts {n}")).unwrap_or_default();
    format!("{name} is {active} ({sub}), result {}{status}{restarts}", word(&unit.result))
}

/// What ecs-init and the journal say last.
pub(super) fn last_words(evidence: &Evidence) -> Vec<String> {
    let journal = evidence.host.agent_journal.as_ref().and_then(|lines| most_specific_line(lines));
    evidence.init_error().into_iter().chain(journal.map(|line| format!("journal: `{line}`"))).collect()
}

/// What ecs-init says, where its unit fails.
fn failing_with(evidence: &Evidence, fragments: &[&str]) -> Option<Vec<String>> {
    let unit = evidence.unit_retried().or_else(|| evidence.unit_failed())?;
    let logged = evidence.init_logged(fragments)?;
    is_docker_up(evidence).then(|| vec![described(unit), logged])
}

/// As ecs-init reads it: exactly `true`.
fn wants_gpu(evidence: &Evidence) -> bool {
    evidence.config.get(GPU_SETTING).is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
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
    fn what_ecs_init_says_names_the_cause_and_else_the_general_one_is_named() {
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
    fn what_guard_refuses_it_has_told_itself() {
        let mut evidence = retried("something new");
        evidence.host.agent_journal = Some(vec!["error: [no-cluster-named] nothing names a cluster".to_owned()]);
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.host.agent_journal = Some(Vec::new());
        evidence.init_log = Vec::new();
        assert_eq!(ids(&evidence), ["ecs-init-failed"]);
        if let Some(Ok(units)) = &mut evidence.units {
            units.agent.drop_in_paths = Some(vec![format!("/usr/lib/systemd/system/{GUARD_DROP_IN}")]);
        }
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }

    #[test]
    fn a_download_is_blamed_only_where_there_is_a_way_out() {
        let mut evidence = retried("could not download Amazon Elastic Container Service Agent");
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        evidence.cluster = Some(Ok(crate::boundary::aws::Described::default()));
        assert_eq!(ids(&evidence), ["agent-download-failed"]);
    }

    #[test]
    fn while_the_next_attempt_has_begun_the_one_before_counts() {
        let mut evidence = retried("could not load Amazon Elastic Container Service Agent into Docker");
        evidence.init_log_before = std::mem::take(&mut evidence.init_log);
        if let Some(Ok(units)) = &mut evidence.units {
            units.agent.sub_state = Some("start-pre".to_owned());
            units.agent.restarts = Some(2);
        }
        assert_eq!(ids(&evidence), ["agent-image-load-failed"]);
    }

    #[test]
    fn a_log_older_than_dockers_start_is_of_an_earlier_boot() {
        let mut evidence = retried("could not load Amazon Elastic Container Service Agent into Docker");
        evidence.init_log_written = Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1));
        if let Some(Ok(units)) = &mut evidence.units {
            units.docker.active_enter_usec = Some(2_000_000);
        }
        assert_eq!(ids(&evidence), ["ecs-init-failed"]);
    }
}
