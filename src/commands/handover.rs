//! What `run` leaves for `verify` and `guard` (`/run/ecs-bootstrap/plan.json`), and the start of the verify unit.
//!
//! It also finds out whether waiting in this process could ever end.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::boundary::HostClients;
use crate::boundary::disk::{Disk, DiskError, Mode};
use crate::boundary::systemd::control::Jobs;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::effects::QueuedJob;
use crate::evidence::StageError;
use crate::facts::NO_UNIT;
use crate::plan::{Expectation, Plan, Recorded};
use crate::redaction::{self, error_chain};
use crate::render::Phase;
use crate::settings::schema::MAX_DURATION;

pub(super) const VERIFY_UNIT: &str = "ecs-bootstrap-verify.service";
pub(super) const WATCH_TIMER: &str = "ecs-bootstrap-watch.timer";
pub(super) const IMAGES_UNIT: &str = "ecs-bootstrap-images.service";
pub(super) const DRAIN_UNIT: &str = "ecs-bootstrap-drain.service";
const HANDOVER: &str = "/run/ecs-bootstrap/plan.json";
/// The units of the verification, written if no package installed them. The second one reports that the first one died.
const UNIT_TEXTS: [(&str, &str); 2] = [
    ("ecs-bootstrap-verify-failed.service", include_str!("../../systemd/ecs-bootstrap-verify-failed.service")),
    (VERIFY_UNIT, include_str!("../../systemd/ecs-bootstrap-verify.service")),
];
/// The units of the watch, written if no package installed them.
const WATCH_UNIT_TEXTS: [(&str, &str); 2] = [
    ("ecs-bootstrap-watch.service", include_str!("../../systemd/ecs-bootstrap-watch.service")),
    (WATCH_TIMER, include_str!("../../systemd/ecs-bootstrap-watch.timer")),
];
/// The unit that pulls images, written if no package installed it.
const IMAGES_UNIT_TEXTS: [(&str, &str); 1] =
    [(IMAGES_UNIT, include_str!("../../systemd/ecs-bootstrap-images.service"))];
/// The unit that drains the container instance, written if no package installed it.
const DRAIN_UNIT_TEXTS: [(&str, &str); 1] = [(DRAIN_UNIT, include_str!("../../systemd/ecs-bootstrap-drain.service"))];
const INSTALLED_BINARY: &str = "/usr/bin/ecs-bootstrap";

/// What verify and guard need from the last run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handover {
    version: u32,
    pub(super) expectation: Expectation,
    /// What guard applies again.
    #[serde(default)]
    pub(super) recorded: Recorded,
    /// Whether the agent's unit is that of early start. Then guard records each start of the agent.
    #[serde(default)]
    pub(super) early: bool,
    pub(super) phases: Vec<Phase>,
}

/// The handover of the last run of this boot. `None` if there was no run, or if another version of ecs-bootstrap wrote it in
/// another format.
pub(super) fn read(disk: &Disk) -> Result<Option<Handover>, DiskError> {
    let stored = disk.read_regular(HANDOVER, crate::host::MAX_FILE_LENGTH)?;
    Ok(stored.and_then(|stored| parse(&stored.bytes)))
}

/// Like [`read`], but logs an error and returns `None`.
pub(super) fn read_or_log(disk: &Disk) -> Option<Handover> {
    read(disk).unwrap_or_else(|error| {
        tracing::warn!(error = error_chain(&error), "plan of the last run not read");
        None
    })
}

/// A handover, with its durations within the limits of the settings.
fn parse(bytes: &[u8]) -> Option<Handover> {
    let mut handover: Handover = serde_json::from_slice(bytes)
        .inspect_err(|error| tracing::debug!(error = redaction::json_error(error), "plan of the last run not parsed"))
        .ok()?;
    let times = &mut handover.expectation;
    times.deadline = times.deadline.min(MAX_DURATION);
    times.window = times.window.min(MAX_DURATION);
    times.watch.iter_mut().for_each(|watch| watch.window = watch.window.min(MAX_DURATION));
    times.drain.iter_mut().for_each(|drain| drain.deadline = drain.deadline.min(MAX_DURATION));
    Some(handover)
}

/// Whether bytes are a handover, for the fuzzer.
pub fn is_handover(bytes: &[u8]) -> bool {
    parse(bytes).is_some()
}

/// When the handover was last written.
pub(super) fn modified(disk: &Disk) -> Option<SystemTime> {
    disk.modified(HANDOVER).unwrap_or_else(|error| {
        tracing::debug!(error = error_chain(&error), "time of the last run's plan not read");
        None
    })
}

/// Writes the handover, unless the stored one has the same content.
pub(super) fn store(disk: &Disk, plan: &Plan, phases: &[Phase]) -> Result<(), StageError> {
    let expectation = plan.expectation.clone();
    let recorded = crate::decide::guard::record(&plan.ecs_config.keys, plan.expectation.follows_file);
    let stored = read_or_log(disk);
    let early = plan.early.is_some();
    let is_same =
        |stored: Handover| stored.expectation == expectation && stored.recorded == recorded && stored.early == early;
    if stored.is_some_and(is_same) {
        return Ok(());
    }
    let handover = Handover { version: 1, expectation, recorded, early, phases: phases.to_vec() };
    let bytes = crate::render::as_json(&handover).into_bytes();
    disk.replace(HANDOVER, &bytes, Mode::Exactly(0o600)).map_err(StageError::Write)
}

/// Queues the start of the verify unit.
pub(super) async fn start(
    host_clients: &HostClients,
    systemd: Result<&Systemd, &SystemdError>,
    program: Option<&Path>,
) -> Result<(), StageError> {
    let jobs = Jobs::of(&host_clients.disk, systemd)?;
    // The start limit of the unit is for restarts after it was killed. Starts by `run` must not count.
    if let Ok(systemd) = systemd
        && let Err(error) = systemd.reset_failed(VERIFY_UNIT).await
    {
        tracing::debug!(%error, "start counter of the verify unit not reset");
    }
    queue_or_write(host_clients, &jobs, program, ("start", VERIFY_UNIT), &UNIT_TEXTS).await
}

/// Queues the start of the timer of the watch, unless it is active.
pub(super) async fn start_watch(
    host_clients: &HostClients,
    systemd: Result<&Systemd, &SystemdError>,
    program: Option<&Path>,
) -> Result<(), StageError> {
    start_unless_active(host_clients, systemd, program, (WATCH_TIMER, &WATCH_UNIT_TEXTS)).await
}

/// Queues the start of the unit that drains the container instance, unless it is active.
pub(super) async fn start_drain(
    host_clients: &HostClients,
    systemd: Result<&Systemd, &SystemdError>,
    program: Option<&Path>,
) -> Result<(), StageError> {
    start_unless_active(host_clients, systemd, program, (DRAIN_UNIT, &DRAIN_UNIT_TEXTS)).await
}

async fn start_unless_active(
    host_clients: &HostClients,
    systemd: Result<&Systemd, &SystemdError>,
    program: Option<&Path>,
    (unit, texts): (&str, &[(&str, &str)]),
) -> Result<(), StageError> {
    if let Ok(systemd) = systemd
        && let Ok(state) = systemd.unit(unit).await
        && state.active_state.as_deref() == Some("active")
    {
        return Ok(());
    }
    let jobs = Jobs::of(&host_clients.disk, systemd)?;
    // The start limit of a unit is for restarts after it was killed. Starts by `run` must not count.
    if let Ok(systemd) = systemd
        && let Err(error) = systemd.reset_failed(unit).await
    {
        tracing::debug!(%error, unit, "start counter not reset");
    }
    queue_or_write(host_clients, &jobs, program, ("start", unit), texts).await
}

/// Queues the start of the unit that pulls images; a restart, if it may pull other images.
pub(super) async fn start_images(
    host_clients: &HostClients,
    systemd: Result<&Systemd, &SystemdError>,
    program: Option<&Path>,
    pulls_others: bool,
) -> Result<(), StageError> {
    let jobs = Jobs::of(&host_clients.disk, systemd)?;
    // Each run may start it, which is not a fault.
    if let Ok(systemd) = systemd
        && let Err(error) = systemd.reset_failed(IMAGES_UNIT).await
    {
        tracing::debug!(%error, "start counter of the unit that pulls images not reset");
    }
    let verb = if pulls_others { "restart" } else { "start" };
    queue_or_write(host_clients, &jobs, program, (verb, IMAGES_UNIT), &IMAGES_UNIT_TEXTS).await
}

/// Queues a job of a unit. If the unit is not installed, these units are written below `/run/systemd/system` first, with
/// `program` as the path of this program.
async fn queue_or_write(
    host_clients: &HostClients,
    jobs: &Jobs<'_>,
    program: Option<&Path>,
    (verb, unit): (&str, &str),
    texts: &[(&str, &str)],
) -> Result<(), StageError> {
    match jobs.queue(verb, unit).await {
        Err(SystemdError::NoSuchUnit { .. }) => {}
        answer => return Ok(answer.map(|_| ())?),
    }
    let program = program.and_then(|path| path.to_str()).unwrap_or(INSTALLED_BINARY);
    if !program.starts_with("/usr/") && !program.starts_with("/opt/") {
        tracing::warn!(
            program,
            "systemd may not be able to run this program (noexec, SELinux, ProtectHome=); install it in /usr/bin or /opt"
        );
    }
    let escaped = escaped_for_unit(program).ok_or_else(|| {
        let text = format!("systemd does not accept the program path `{}`", program.escape_debug());
        let source = std::io::Error::other(text);
        StageError::Write(DiskError::Io { doing: "write", path: unit.to_owned(), source })
    })?;
    host_clients.disk.create_folder("/run/systemd/system", 0o755).map_err(StageError::Write)?;
    for (unit, text) in texts {
        let (path, text) = (format!("/run/systemd/system/{unit}"), text.replace(INSTALLED_BINARY, &escaped));
        host_clients.disk.replace(&path, text.as_bytes(), Mode::Exactly(0o644)).map_err(StageError::Write)?;
    }
    Ok(jobs.queue(verb, unit).await.map(|_| ())?)
}

/// The path of a program in the form of `ExecStart=`: each `%` doubled, because it begins a specifier, and in quotes if
/// it contains a blank (systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers"). `None` if systemd does not
/// accept the path: it contains a quote, a backslash or a control character (`config_parse_exec`).
fn escaped_for_unit(program: &str) -> Option<String> {
    let is_refused = |c: char| c.is_control() || matches!(c, '"' | '\'' | '\\');
    if !program.starts_with('/') || program.contains(is_refused) {
        return None;
    }
    let escaped = program.replace('%', "%%");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+%".contains(c);
    Some(if escaped.chars().all(is_plain) { escaped } else { format!("\"{escaped}\"") })
}

/// The unit of this process, if the agent's start job waits for it, directly or through other jobs.
pub(super) async fn blocking_unit(systemd: &Systemd, plan: &Plan, queued: &[QueuedJob]) -> Option<String> {
    let agent = Some(&plan.expectation.agent_unit).filter(|unit| *unit != NO_UNIT)?;
    let own_unit = log_error(systemd.unit_of_pid(0).await)?;
    let mut open: Vec<u32> = match queued.iter().find(|job| job.unit == *agent) {
        Some(job) => vec![job.id],
        None => log_error(systemd.unit(agent).await)?.job.into_iter().collect(),
    };
    let mut visited = BTreeSet::new();
    while let Some(job) = open.pop() {
        if !visited.insert(job) {
            continue;
        }
        // An error means that the job has just ended, so it waits for nothing.
        for before in systemd.jobs_before(job).await.unwrap_or_default() {
            if before.unit == own_unit {
                return Some(own_unit);
            }
            open.push(before.id);
        }
    }
    None
}

fn log_error<T>(answer: Result<T, SystemdError>) -> Option<T> {
    answer
        .inspect_err(|error| tracing::debug!(%error, "not known whether the agent's start waits for this process"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_path_is_escaped_for_a_unit() {
        for (program, escaped) in [
            ("/usr/bin/ecs-bootstrap", Some("/usr/bin/ecs-bootstrap")),
            ("/opt/my tools/ecs-bootstrap", Some("\"/opt/my tools/ecs-bootstrap\"")),
            ("/opt/100%n/ecs-bootstrap", Some("/opt/100%%n/ecs-bootstrap")),
            ("/opt/%h %i/x", Some("\"/opt/%%h %%i/x\"")),
            ("/opt/a;b/#c/$HOME/x", Some("\"/opt/a;b/#c/$HOME/x\"")),
            ("/opt/\u{fc}/x", Some("\"/opt/\u{fc}/x\"")),
            ("/opt/a\nExecStartPre=/bin/sh", None),
            ("/opt/a\"b", None),
            ("/opt/a'b", None),
            ("/opt/a\\x20b", None),
            ("relative/x", None),
            ("-/bin/x", None),
            ("", None),
        ] {
            assert_eq!(escaped_for_unit(program).as_deref(), escaped, "{program:?}");
        }
    }

    #[test]
    fn durations_of_a_handover_are_bounded() {
        let of = |seconds: &str| {
            let expectation = format!(
                r#"{{"agent_unit":"ecs.service","attributes":{{}},"deadline":{{"secs":{seconds},"nanos":0}},
                    "window":{{"secs":{seconds},"nanos":999999999}}}}"#
            );
            let text = format!(r#"{{"version":1,"expectation":{expectation},"phases":[]}}"#);
            parse(text.as_bytes()).map(|handover| (handover.expectation.deadline, handover.expectation.window))
        };
        assert_eq!(of("18446744073709551615"), Some((MAX_DURATION, MAX_DURATION)));
        assert_eq!(of("600").unwrap().0.as_secs(), 600);
        for wrong in ["18446744073709551616", "-1", "1e400", "null", "\"1\""] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
