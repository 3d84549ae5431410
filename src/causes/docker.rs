//! Causes that lie in docker.

use super::{Cause, Class, Layer, chain};
use crate::boundary::systemd::SystemdError;
use crate::exit::Exit;

/// docker's unit, everywhere.
pub(super) const UNIT: &str = "docker.service";

/// No unit of that name.
pub(super) static ABSENT: Cause = Cause {
    id: "docker-absent",
    layer: Layer::Docker,
    title: "docker is not installed",
    class: Class::Terminal,
    exit: Exit::Host,
    lapsed: Exit::Host,
    remedy: "use an ECS-optimized AMI, or install docker in the image (`dnf install docker`)",
    source: "sumeetninawe/ecsec2#2",
    check: |evidence| {
        if let Some(error @ SystemdError::NoSuchUnit { unit }) = evidence.systemd_error()
            && unit == UNIT
        {
            return Some(vec![chain(error)]);
        }
        let docker = &evidence.known_units()?.docker;
        (docker.load_state.as_deref() == Some("not-found")).then(|| vec!["systemd knows no docker.service".to_owned()])
    },
    ..Cause::PLAIN
};

/// Whatever made it fail stands in its journal.
pub(super) static FAILED: Cause = Cause {
    id: "docker-failed",
    layer: Layer::Docker,
    title: "docker does not start",
    class: Class::Terminal,
    exit: Exit::Host,
    lapsed: Exit::Host,
    remedy: "read `journalctl -u docker -b`; most often /etc/docker/daemon.json or the storage volume is at fault",
    source: "init#74; moby#30726",
    check: |evidence| {
        let docker = &evidence.known_units()?.docker;
        if docker.active_state.as_deref() != Some("failed") || docker.job.is_some() || evidence.job_pending(UNIT) {
            return None;
        }
        let result = docker.result.as_deref().unwrap_or("unknown");
        Some(vec![format!(
            "docker.service is failed (result {result}, status {})",
            docker.exec_main_status.unwrap_or(0)
        )])
    },
    ..Cause::PLAIN
};

/// Not yet there; the agent waits some 18 seconds itself.
pub(super) static NOT_READY: Cause = Cause {
    id: "docker-not-ready",
    layer: Layer::Docker,
    title: "docker is not up yet",
    class: Class::Retry,
    exit: Exit::Systemd,
    lapsed: Exit::Systemd,
    remedy: "read `journalctl -u docker -b` for what it waits for",
    source: "agent#688",
    check: |evidence| {
        let docker = &evidence.known_units()?.docker;
        if evidence.container_instance_arn().is_some() || docker.active_state.as_deref() != Some("activating") {
            return None;
        }
        let ping = evidence.docker.as_ref().and_then(|ping| ping.as_ref().err()).map(|error| chain(error));
        Some(["docker.service is activating".to_owned()].into_iter().chain(ping).collect())
    },
    ..Cause::PLAIN
};

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
    use crate::evidence::Evidence;

    #[test]
    fn absent_failed_and_late_are_told_apart() {
        let with = |load: &str, active: &str| {
            let mut units = healthy_units();
            units.docker.load_state = Some(load.to_owned());
            units.docker.active_state = Some(active.to_owned());
            ids(&Evidence { units: Some(Ok(units)), ..Evidence::default() })
        };
        assert_eq!(with("not-found", "inactive"), ["docker-absent"]);
        assert_eq!(with("loaded", "failed"), ["docker-failed"]);
        assert_eq!(with("loaded", "activating"), ["docker-not-ready"]);
        assert_eq!(with("loaded", "active"), Vec::<&str>::new());
    }
}
