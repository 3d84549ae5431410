//! Remedies of `reset-agent` and `prepare-image`, after which the command succeeds and the instance is ready.

use super::Shown::By;
use super::Step::Reset;
use super::{Row, after_remedy};
use crate::support::systemd::Start;
use crate::support::{Instance, Outcome};
use std::os::unix::fs::symlink;

const DATA: &str = "var/lib/ecs/data";

const fn row(id: &'static str, make: super::Change, says: &'static str, mend: super::Change) -> Row {
    Row::new(id, make, says, mend, &[]).shown(By(reset))
}

pub(super) const ROWS: &[Row] = &[
    row(
        "tasks-running",
        |i| {
            let i = ready(i);
            i.agent.change(|agent| agent.tasks = vec![(2, "RUNNING")]);
            i
        },
        "wait until its tasks have stopped",
        |i| {
            i.agent.change(|agent| agent.tasks = vec![(2, "STOPPED")]);
            again(i, &[])
        },
    ),
    row(
        "tasks-running",
        |i| {
            let i = ready(i);
            i.agent.change(|agent| agent.tasks = vec![(2, "RUNNING")]);
            i
        },
        "or ignore the tasks with `--force`",
        |i| again(i, &["--force"]),
    ),
    row(
        "tasks-unknown",
        |i| {
            let i = ready(i);
            i.systemd.change_unit("ecs.service", |unit| unit.active_state = "failed".into());
            i.agent.stop();
            i.docker.change(|docker| docker.hung = true);
            i
        },
        "continue with `--force`",
        |i| {
            i.docker.change(|docker| docker.hung = false);
            again(i, &["--force"])
        },
    ),
    row(
        "agent-outside-systemd",
        |i| {
            let i = ready(i);
            i.systemd.change_unit("ecs.service", |unit| unit.active_state = "inactive".into());
            i
        },
        "stop it in the way it was started",
        |i| {
            i.agent.stop();
            let i = again(i, &[]);
            i.systemd.request("StartUnit", "ecs.service");
            i
        },
    ),
    row(
        "folder-elsewhere",
        |i| {
            let i = ready(i);
            std::fs::rename(i.disk.path(DATA), i.disk.path("home/data")).unwrap();
            symlink(i.disk.path("home/data"), i.disk.path(DATA)).unwrap();
            i
        },
        "replace the link or mount with a folder",
        |i| {
            std::fs::remove_file(i.disk.path(DATA)).unwrap();
            i.disk.folder(DATA);
            again(i, &[])
        },
    ),
    row(
        "agent-unit-job",
        |i| {
            let i = ready(i);
            i.systemd.change_unit("ecs.service", |unit| unit.start = Start::Fails("failed".into()));
            i
        },
        "then run the command again",
        |i| {
            i.systemd.change_unit("ecs.service", |unit| unit.start = Start::Works);
            again(i, &[])
        },
    ),
    Row::new(
        "cleanup-incomplete",
        |i| ready(i).file("var/lib/ecs/gpu", "not a folder"),
        "then run the command again",
        |i| {
            i.disk.remove("var/lib/ecs/gpu");
            let outcome = i.run(&["prepare-image", "--yes"]);
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            // The next boot of an instance of the image.
            assert_eq!(after_remedy(&i, &["run", "--wait"]).code, Some(0));
            i
        },
        &[],
    )
    .shown(By(|i| i.run(&["prepare-image", "--yes"]))),
];

fn ready(instance: Instance) -> Instance {
    let outcome = after_remedy(&instance, &["run", "--wait"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    instance
}

fn reset(instance: &Instance) -> Outcome {
    instance.run(&["reset-agent", "--yes", "--set", "run.deadline=5s"])
}

fn again(instance: Instance, options: &[&str]) -> Instance {
    if options.is_empty() {
        Reset.carry_out(&instance);
        return instance;
    }
    let outcome = instance.run(&[&["reset-agent", "--yes"], options].concat());
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    instance
}
