//! Each remedy, carried out. See `many/mod.rs`.
//!
//! In: an instance with one fault, and the remedy that is printed for it. Out: after the steps of the remedy, and nothing
//! more, the instance is ready and `doctor` reports no cause. The rows are in the files of the layers. A fault in a file
//! lasts while the agent reads that file, so that only a changed file ends it.

mod agent;
mod aws;
mod files;
mod host;
mod maintenance;
mod network;

use super::{MANY_THREADS, in_parallel};
use crate::causes::faults::{self, Change};
use crate::causes::{cause, command, joined};
use crate::support::aws::State;
use crate::support::disk::Disk;
use crate::support::{Instance, Outcome};
use ecs_bootstrap::causes::{ALL, UNKNOWN};
use std::thread;
use std::time::{Duration, Instant};

/// A step after the correction, which the remedy must name.
#[derive(Clone, Copy)]
enum Step {
    RestartAgent,
    /// systemd restarts the agent with it (`PartOf=`).
    RestartDocker,
    RestartBoth,
    StartAgent,
    EnableAgent,
    Run,
    Reset,
    /// The correction is for a new instance, which runs ecs-bootstrap at its boot.
    Replace,
    /// The agent or systemd tries again.
    Wait,
}

/// What shows the fault.
#[derive(Clone, Copy)]
enum Shown {
    /// `run --wait` reports it.
    ByRun,
    /// `verify` reports it, on an instance whose agent has registered.
    ByVerify,
    /// `run --wait` reports it beside the verdict that the instance is ready. A note has the remedy of the catalogue.
    ByNote,
    /// This command, and the settings of the test do not apply.
    By(fn(&Instance) -> Outcome),
}

/// One fault, and its remedy as words and as a change of the simulators.
struct Row {
    id: &'static str,
    make: Change,
    /// The fault of the agent lasts while this is true of the files.
    lasts: Option<fn(&Disk) -> bool>,
    shown: Shown,
    /// The words of the printed remedy that `mend` carries out.
    says: &'static str,
    mend: Change,
    steps: &'static [Step],
}

impl Row {
    const fn new(id: &'static str, make: Change, says: &'static str, mend: Change, steps: &'static [Step]) -> Row {
        Row { id, make, lasts: None, shown: Shown::ByRun, says, mend, steps }
    }

    const fn lasts_while(self, lasts: fn(&Disk) -> bool) -> Row {
        Row { lasts: Some(lasts), ..self }
    }

    const fn shown(self, shown: Shown) -> Row {
        Row { shown, ..self }
    }
}

/// The longest pause of ecs-init between two starts of the agent, and the start.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Causes whose remedy no row carries out, with the reason.
const NOT_TRIED: &[(&str, &str)] = &[
    ("unknown", "names no step: it asks for a report"),
    ("instance-ending", "names no step: the instance ends"),
    ("user-data-deadlock", "carried out in tests/it/user_data.rs: the script stops waiting, and the instance joins"),
    ("cloud-init-stuck", "carried out in causes/cloud_init.rs: the script ends, and the instance joins"),
    ("no-public-ip", "is only printed beside `egress-timeout`, whose remedy is in the table"),
    ("dns-name-unknown", "needs a name server: tests/boot"),
    ("dns-failed", "needs a name server that refuses: unit tests of causes/dns.rs"),
    ("endpoint-sg-blocks", "loopback is not a private address of a VPC: tests/boot"),
    ("endpoint-partial", "as endpoint-sg-blocks"),
    ("no-default-route", "loopback always has a route: tests/boot"),
    ("daemons-not-running", "needs `ready.daemons`: carried out in tests/it/daemons.rs, the daemon starts"),
    ("hold-denied", "needs `ready.daemons`: as daemons-not-running, the verification runs again"),
    ("hold-call-failed", "needs `ready.daemons`: tests/it/daemons.rs, the call is repeated"),
    ("registry-auth-not-read", "needs `registry.auth`: tests/it/remote_values.rs, the value is corrected"),
    ("drain-denied", "needs `drain.on`: carried out in tests/it/drain.rs, the permission arrives"),
    ("drain-no-hook", "needs `drain.on`: tests/it/drain.rs, one of several is named"),
    ("drain-call-failed", "needs `drain.on`: tests/it/drain.rs, the call is repeated"),
    ("drain-tasks-left", "needs `drain.on`: a longer time, or a service that can end its task"),
    ("images-pulling", "needs `ready.images`: names no step; the images arrive in tests/boot/cases/images-held"),
    ("images-denied", "needs `ready.images`: tests/it/images.rs, the permission arrives"),
    ("images-not-found", "needs `ready.images`: tests/it/images.rs, the image is pushed"),
    ("images-no-space", "needs `ready.images` and a larger disk"),
    ("images-missing", "needs `ready.images`: tests/it/images.rs, the pull is repeated"),
    ("attributes-missing", "needs `ready.attributes`: carried out in tests/it/attributes.rs, the attribute is set"),
    ("attributes-call-failed", "needs `ready.attributes`: as hold-call-failed, the call is repeated"),
    ("attributes-denied", "needs `ready.attributes`: as daemons-not-running, the verification runs again"),
    (
        "attributes-not-followed",
        "needs `derive.attributes-follow`: carried out in tests/it/follow_tags.rs, the call is allowed",
    ),
    ("task-not-started", "needs `start-tasks`: tests/it/start_tasks.rs, the verification runs again"),
    ("agent-restarts", "needs `watch.enable`: tests/it/watch.rs; what ends the agent decides"),
    ("task-not-held", "is about the services of other tasks"),
];

fn rows() -> Vec<&'static Row> {
    let all = [files::ROWS, host::ROWS, network::ROWS, aws::ROWS, agent::ROWS, maintenance::ROWS];
    all.into_iter().flatten().collect()
}

/// The fault of the table `faults` with this id.
fn fault(instance: Instance, id: &str) -> Instance {
    let fault = faults::all().into_iter().find(|fault| fault.id == id);
    (fault.unwrap_or_else(|| panic!("no fault `{id}`")).make)(instance)
}

/// The agent is healthy again at its next start, or as soon as it looks.
fn healthy_agent(instance: Instance) -> Instance {
    instance.agent_behaves(|agent| *agent = Default::default())
}

/// AWS answers every call.
fn aws_answers(instance: Instance) -> Instance {
    instance.aws.change(|aws: &mut State| aws.faults.clear());
    healthy_agent(instance)
}

/// Replaces `ecs.config` by this text. An agent that starts meanwhile reads the old or the new file.
fn config(instance: Instance, text: impl AsRef<[u8]>) -> Instance {
    let instance = instance.file("etc/ecs/new", text);
    std::fs::rename(instance.disk.path("etc/ecs/new"), instance.disk.path("etc/ecs/ecs.config")).unwrap();
    instance
}

/// Nothing is corrected: the steps alone are the remedy.
fn nothing(instance: Instance) -> Instance {
    instance
}

/// The agent has joined this cluster, which its file names.
fn in_cluster(instance: Instance, name: &str) -> Instance {
    let instance = instance.cluster(name, &[]);
    joined(&instance, &format!("ECS_CLUSTER={name}\n"));
    instance
}

/// Runs the command with the settings of the test. The deadline of IMDS is long enough for a loaded host.
fn carried_out(instance: &Instance, name: &[&str], deadline: &str) -> Outcome {
    const SETTINGS: [&str; 4] = ["verify.window=1s", "run.deadline=20s", "imds.deadline=8s", "tags.wait=1s"];
    with_settings(instance, name, &[&SETTINGS[..], &[deadline]].concat())
}

/// Runs the command with the deadlines of the product, after which a loaded host is ready too.
fn after_remedy(instance: &Instance, name: &[&str]) -> Outcome {
    with_settings(instance, name, &["verify.window=1s", "verify.deadline=60s"])
}

fn with_settings(instance: &Instance, name: &[&str], settings: &[&str]) -> Outcome {
    let command = command(name, settings);
    instance.run(&command.iter().map(String::as_str).collect::<Vec<_>>())
}

impl Step {
    /// The words of a remedy that name this step.
    fn words(self) -> &'static [&'static str] {
        match self {
            Step::RestartAgent => &["`systemctl restart ecs --no-block`"],
            Step::RestartDocker => &["`systemctl restart docker`", "`systemctl restart docker --no-block`"],
            Step::RestartBoth => &["`systemctl restart docker ecs --no-block`"],
            Step::StartAgent => &["`systemctl start ecs --no-block`", "&& systemctl start ecs --no-block`"],
            Step::EnableAgent => &["`systemctl enable --now --no-block ecs`"],
            Step::Run => &["run `ecs-bootstrap` again", "run ecs-bootstrap", "run `ecs-bootstrap run`", "run it "],
            Step::Reset => &["`ecs-bootstrap reset-agent --yes`"],
            Step::Replace => &["replace the instance", "launch a new instance", "ECS-optimized AMI"],
            Step::Wait => &[""],
        }
    }

    fn carry_out(self, instance: &Instance) {
        let request = |method: &str, unit: &str| {
            instance.systemd.request(method, unit);
            let start = Instant::now();
            let is_active = || instance.systemd.unit(unit).is_some_and(|unit| unit.active_state == "active");
            while !is_active() && start.elapsed() < Duration::from_secs(10) {
                thread::sleep(Duration::from_millis(10));
            }
        };
        match self {
            Step::RestartAgent => request("RestartUnit", "ecs.service"),
            Step::RestartDocker | Step::RestartBoth => {
                request("RestartUnit", "docker.service");
                let is_active = instance.systemd.unit("ecs.service").is_some_and(|unit| unit.active_state == "active");
                if is_active || matches!(self, Step::RestartBoth) {
                    request("RestartUnit", "ecs.service");
                }
            }
            Step::StartAgent | Step::EnableAgent => request("StartUnit", "ecs.service"),
            Step::Run | Step::Replace => drop(after_remedy(instance, &["run", "--wait"])),
            Step::Reset => {
                let outcome = instance.run(&["reset-agent", "--yes"]);
                assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
            }
            Step::Wait => {}
        }
    }
}

/// Waits until the unit has failed with the agent that has given up.
fn settles(instance: &Instance) {
    let has_given_up =
        || instance.disk.text("var/log/ecs/ecs-init.log").trim_end().ends_with("terminal exit code: 5\"");
    let is_active = || instance.systemd.unit("ecs.service").is_some_and(|unit| unit.active_state == "active");
    let start = Instant::now();
    while has_given_up() && is_active() && start.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(10));
    }
}

/// A unit that failed before its main process ran is started again by systemd.
fn systemd_retries(instance: &Instance) {
    if instance.systemd.unit("ecs.service").is_some_and(|unit| unit.sub_state == "auto-restart") {
        instance.systemd.request("StartUnit", "ecs.service");
    }
}

/// The id and the remedy of the first cause that the output reports.
fn printed(row: &Row, outcome: &Outcome) -> Result<(String, String), String> {
    if matches!(row.shown, Shown::ByNote) {
        let note = format!("note: [{}]", row.id);
        let is_shown = outcome.code == Some(0) && outcome.stdout.contains(&note);
        let remedy = cause(row.id).remedy.to_owned();
        return is_shown.then(|| (row.id.to_owned(), remedy)).ok_or_else(|| format!("no note in {outcome:#?}"));
    }
    let text = format!("{}{}", outcome.stderr, outcome.stdout);
    let line =
        |starts: [&str; 2]| text.lines().find_map(|line| starts.iter().find_map(|start| line.strip_prefix(start)));
    let id = line(["error: [", "waiting: ["]).and_then(|rest| rest.split(']').next());
    match (id, line(["remedy: ", "next: "])) {
        (Some(id), Some(remedy)) => Ok((id.to_owned(), remedy.to_owned())),
        (Some(id), None) if text.starts_with("waiting: ") => Ok((id.to_owned(), cause(id).remedy.to_owned())),
        _ => Err(format!("no cause in {outcome:#?}")),
    }
}

/// Shows the fault and checks that the printed remedy has the words of the row and of its steps.
fn reported(row: &Row, instance: &Instance) -> Result<(), String> {
    let outcome = match row.shown {
        Shown::ByRun => carried_out(instance, &["run", "--wait"], "verify.deadline=12s"),
        Shown::ByVerify => carried_out(instance, &["verify"], "verify.deadline=12s"),
        Shown::ByNote => carried_out(instance, &["run", "--wait"], "verify.deadline=30s"),
        Shown::By(command) => command(instance),
    };
    let (id, remedy) = printed(row, &outcome)?;
    if id != row.id {
        return Err(format!("reported `{id}`\n{}", outcome.stderr));
    }
    let names = |step: &Step| step.words().iter().any(|words| remedy.contains(words));
    if !remedy.contains(row.says) || !row.steps.iter().all(names) {
        return Err(format!("the remedy does not name `{}` and each step: {remedy}", row.says));
    }
    Ok(())
}

/// `verify`, until the next attempt of the agent if the remedy leaves it to the agent to try again.
fn verified(row: &Row, instance: &Instance) -> Outcome {
    let (start, waits) = (Instant::now(), row.steps.iter().any(|step| matches!(step, Step::Wait)));
    loop {
        let outcome = after_remedy(instance, &["verify"]);
        if outcome.code == Some(0) || !waits || start.elapsed() > LONGEST_PAUSE {
            return outcome;
        }
        thread::sleep(Duration::from_millis(500));
    }
}

fn check(row: &&Row) -> Result<(), String> {
    let wrong = |error: String| format!("{} ({}): {error}", row.id, row.says);
    let instance = (row.make)(Instance::new());
    instance.agent.change(|agent| agent.fails_while = row.lasts);
    reported(row, &instance).map_err(wrong)?;
    settles(&instance);
    let instance = (row.mend)(instance);
    row.steps.iter().for_each(|step| step.carry_out(&instance));
    systemd_retries(&instance);
    let verify = verified(row, &instance);
    let mut doctor = instance.run(&["doctor"]);
    if doctor.code != Some(0) {
        // A loaded host can delay an answer beyond the limit of a probe.
        doctor = instance.run(&["doctor"]);
    }
    let note = format!("note: [{}]", row.id);
    let is_ready = verify.code == Some(0) && verify.stdout.starts_with("ready: ");
    if !is_ready || (matches!(row.shown, Shown::ByNote) && verify.stdout.contains(&note)) {
        return Err(wrong(format!("not ready after the remedy\n{}{}", verify.stdout, verify.stderr)));
    }
    if doctor.code != Some(0) || doctor.stdout.contains("error: [") {
        return Err(wrong(format!("doctor after the remedy\n{}", doctor.stdout)));
    }
    Ok(())
}

#[test]
fn each_remedy_leads_to_a_ready_instance() {
    let rows = rows();
    let wrong = in_parallel(MANY_THREADS, "causes::many::remedies", &rows, check);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn the_remedy_of_each_cause_is_in_the_table_or_listed_with_a_reason() {
    for cause in ALL.iter().copied().chain([&UNKNOWN]) {
        let is_tried = rows().iter().any(|row| row.id == cause.id);
        let is_listed = NOT_TRIED.iter().any(|(id, _)| *id == cause.id);
        assert!(is_tried != is_listed, "`{}`: in the table {is_tried}, listed {is_listed}", cause.id);
    }
}
