//! From the run to the unit that verifies: what travels as `/run/ecs-bootstrap/plan.json`, whether waiting here could
//! end at all, and the start of the unit.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::boundary::World;
use crate::boundary::disk::{Disk, DiskError, Mode};
use crate::boundary::systemd::control::Jobs;
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::effects::QueuedJob;
use crate::evidence::StageError;
use crate::plan::{Expectation, Plan, Recorded};
use crate::render::Phase;
use crate::settings::schema::LONGEST_DURATION;

/// The unit that verifies.
pub(super) const VERIFY_UNIT: &str = "ecs-bootstrap-verify.service";
const HANDOVER: &str = "/run/ecs-bootstrap/plan.json";
/// Both units of the verification where no package has installed them: the second tells that the first died.
const UNIT_TEXTS: [(&str, &str); 2] = [
    ("ecs-bootstrap-verify-failed.service", include_str!("../../systemd/ecs-bootstrap-verify-failed.service")),
    (VERIFY_UNIT, include_str!("../../systemd/ecs-bootstrap-verify.service")),
];
const INSTALLED_BINARY: &str = "/usr/bin/ecs-bootstrap";

/// What verify and guard need of the run before them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handover {
    version: u32,
    /// What is waited for.
    pub(super) expectation: Expectation,
    /// What guard applies again.
    #[serde(default)]
    pub(super) recorded: Recorded,
    /// What the run did before.
    pub(super) phases: Vec<Phase>,
}

/// What the last run of this boot left; `None` where none did, or a version of this program that is not this one.
pub(super) fn read(disk: &Disk) -> Result<Option<Handover>, DiskError> {
    let stored = disk.read_regular(HANDOVER, crate::host::LONGEST_FILE)?;
    Ok(stored.and_then(|stored| understood(&stored.bytes)))
}

/// A handover, with its times within what a setting may say.
fn understood(bytes: &[u8]) -> Option<Handover> {
    let mut handover: Handover = serde_json::from_slice(bytes).ok()?;
    let times = &mut handover.expectation;
    times.deadline = times.deadline.min(LONGEST_DURATION);
    times.window = times.window.min(LONGEST_DURATION);
    Some(handover)
}

/// Whether bytes are a handover, for the fuzzer.
pub fn is_handover(bytes: &[u8]) -> bool {
    understood(bytes).is_some()
}

/// When it was last left.
pub(super) fn modified(disk: &Disk) -> Option<SystemTime> {
    disk.modified(HANDOVER).ok().flatten()
}

/// Leaves it, unless the same lies there already.
pub(super) fn store(disk: &Disk, plan: &Plan, phases: &[Phase]) -> Result<(), StageError> {
    let expectation = plan.expectation.clone();
    let recorded = crate::decide::guard::record(&plan.ecs_config.keys, plan.expectation.follows_file);
    let stored = read(disk).ok().flatten();
    if stored.is_some_and(|stored| stored.expectation == expectation && stored.recorded == recorded) {
        return Ok(());
    }
    let handover = Handover { version: 1, expectation, recorded, phases: phases.to_vec() };
    let bytes = crate::render::as_json(&handover).into_bytes();
    disk.replace(HANDOVER, &bytes, Mode::Exactly(0o600)).map_err(StageError::Write)
}

/// Starts the unit that verifies, from its text where it is not installed. It is not waited for. `program` is where
/// this program lies.
pub(super) async fn start(
    world: &World,
    systemd: Result<&Systemd, &SystemdError>,
    program: Option<&Path>,
) -> Result<(), StageError> {
    let jobs = Jobs::of(&world.disk, systemd)?;
    // What bounds the restarts of a unit that dies must not refuse the starts of runs.
    if let Ok(systemd) = systemd
        && let Err(error) = systemd.reset_failed(VERIFY_UNIT).await
    {
        tracing::debug!(%error, "earlier starts of the verification still count");
    }
    match jobs.queue("start", VERIFY_UNIT).await {
        Err(SystemdError::NoSuchUnit { .. }) => {}
        answer => return Ok(answer.map(|_| ())?),
    }
    let program = program.and_then(|path| path.to_str()).unwrap_or(INSTALLED_BINARY);
    if !program.starts_with("/usr/") && !program.starts_with("/opt/") {
        tracing::warn!(program, "a unit may not be able to run this program from here; /usr/bin or /opt is better");
    }
    let named = in_unit(program).ok_or_else(|| {
        let source =
            std::io::Error::other(format!("systemd takes no program of the name `{}`", program.escape_debug()));
        StageError::Write(DiskError::Io { doing: "write", path: VERIFY_UNIT.to_owned(), source })
    })?;
    world.disk.create_folder("/run/systemd/system", 0o755).map_err(StageError::Write)?;
    for (unit, text) in UNIT_TEXTS {
        let (path, text) = (format!("/run/systemd/system/{unit}"), text.replace(INSTALLED_BINARY, &named));
        world.disk.replace(&path, text.as_bytes(), Mode::Exactly(0o644)).map_err(StageError::Write)?;
    }
    Ok(jobs.queue("start", VERIFY_UNIT).await.map(|_| ())?)
}

/// The path of a program as `ExecStart=` takes it: a `%` doubled, since it begins a specifier, and in quotes where it has
/// a blank (systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers"). `None` where systemd takes no such path at
/// all: quotes, backslashes and control characters (`config_parse_exec`).
fn in_unit(program: &str) -> Option<String> {
    let is_refused = |c: char| c.is_control() || matches!(c, '"' | '\'' | '\\');
    if !program.starts_with('/') || program.contains(is_refused) {
        return None;
    }
    let named = program.replace('%', "%%");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+%".contains(c);
    Some(if named.chars().all(is_plain) { named } else { format!("\"{named}\"") })
}

/// The caller's own unit, if the agent's start waits for it, however far down (`After=` is transitive in effect).
pub(super) async fn blocking_unit(systemd: &Systemd, plan: &Plan, queued: &[QueuedJob]) -> Option<String> {
    let ours = systemd.unit_of_pid(0).await.ok()?;
    let agent = &plan.expectation.agent_unit;
    let mut waiting: Vec<u32> = match queued.iter().find(|job| job.unit == *agent) {
        Some(job) => vec![job.id],
        None => systemd.unit(agent).await.ok()?.job.into_iter().collect(),
    };
    let mut seen = BTreeSet::new();
    while let Some(job) = waiting.pop() {
        if !seen.insert(job) {
            continue;
        }
        // A job that has just ended waits for nothing.
        for before in systemd.jobs_before(job).await.unwrap_or_default() {
            if before.unit == ours {
                return Some(ours);
            }
            waiting.push(before.id);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_program_is_escaped_in_a_unit() {
        for (program, named) in [
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
            assert_eq!(in_unit(program).as_deref(), named, "{program:?}");
        }
    }

    #[test]
    fn absurd_times_of_a_handover_are_bounded() {
        let of = |seconds: &str| {
            let expectation = format!(
                r#"{{"agent_unit":"ecs.service","attributes":{{}},"deadline":{{"secs":{seconds},"nanos":0}},
                    "window":{{"secs":{seconds},"nanos":999999999}}}}"#
            );
            let text = format!(r#"{{"version":1,"expectation":{expectation},"phases":[]}}"#);
            understood(text.as_bytes()).map(|handover| (handover.expectation.deadline, handover.expectation.window))
        };
        assert_eq!(of("18446744073709551615"), Some((LONGEST_DURATION, LONGEST_DURATION)));
        assert_eq!(of("600").unwrap().0.as_secs(), 600);
        for wrong in ["18446744073709551616", "-1", "1e400", "null", "\"1\""] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
