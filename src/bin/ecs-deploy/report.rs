//! Plans and outcomes as text and as JSON. In: plain data. Out: strings; `main` prints them.

use std::fmt::Write;
use std::time::Duration;

use ecs_bootstrap::exit::Exit;
use serde_json::{Value, json};

use crate::cause::{Cause, Finding};
use crate::decide::{Action, Plan, Registration};
use crate::observe::Observed;
use crate::rollout::{Service, short};
use crate::screen::printable;
use crate::wanted::Wanted;

/// The version of every JSON document.
const VERSION: u32 = 1;
/// How many events `status` shows.
const EVENTS: usize = 5;

/// What `main` prints and returns.
#[derive(Debug)]
pub(crate) struct Report {
    /// Data.
    pub(crate) stdout: String,
    /// Talk.
    pub(crate) stderr: String,
    /// The exit code.
    pub(crate) exit: Exit,
}

/// How a command ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// `deployed`, `begun`, `unchanged`, `rolled-back`, `rollback-failed`, `failed`, `time-limit`, `superseded`, `refused`.
    pub(crate) result: &'static str,
    /// In a line.
    pub(crate) text: String,
    /// Why it did not succeed, the one to act on first.
    pub(crate) causes: Vec<Finding>,
    /// Name or ARN.
    pub(crate) cluster: String,
    /// Its name.
    pub(crate) service: String,
    /// The revision that was deployed.
    pub(crate) task_definition: Option<String>,
    /// Whether it was registered now.
    pub(crate) registered: bool,
    /// `create`, `update`, `attach` or `nothing`.
    pub(crate) action: &'static str,
    /// The id of the deployment.
    pub(crate) deployment: Option<String>,
    /// What became of the service when the rollout did not succeed.
    pub(crate) aftermath: Option<String>,
    /// The revision that was gone back to.
    pub(crate) rolled_back_to: Option<String>,
    /// What is worth saying.
    pub(crate) notes: Vec<String>,
    /// Tasks that stopped.
    pub(crate) stopped: Vec<Value>,
    /// How long it took.
    pub(crate) duration: Duration,
    /// How the process ends.
    pub(crate) exit: Option<Exit>,
}

impl Outcome {
    /// Of a command that changed nothing.
    pub(crate) fn refused(finding: Finding) -> Outcome {
        Outcome { result: "refused", exit: Some(finding.cause.exit), causes: vec![finding], ..Outcome::default() }
    }

    /// As it is printed.
    pub(crate) fn report(&self, as_json: bool) -> Report {
        let exit = self.exit.unwrap_or(Exit::Internal);
        if as_json {
            return Report { stdout: self.json(exit), stderr: String::new(), exit };
        }
        let mut text = String::new();
        for (index, finding) in self.causes.iter().enumerate() {
            finding_text(&mut text, finding, index == 0);
        }
        for line in [Some(&self.text), self.aftermath.as_ref()].into_iter().flatten().filter(|line| !line.is_empty()) {
            text += &format!("{line}\n");
        }
        match exit {
            Exit::Done => Report { stdout: text, stderr: String::new(), exit },
            _ => Report { stdout: String::new(), stderr: text, exit },
        }
    }

    fn json(&self, exit: Exit) -> String {
        document(&json!({
            "version": VERSION,
            "result": self.result,
            "exit_code": exit,
            "text": self.text,
            "cluster": self.cluster,
            "service": self.service,
            "task_definition": self.task_definition,
            "registered": self.registered,
            "action": self.action,
            "deployment": self.deployment,
            "cause": self.causes.first().map(finding_json),
            "also": self.causes.iter().skip(1).map(finding_json).collect::<Vec<_>>(),
            "aftermath": self.aftermath,
            "rolled_back_to": self.rolled_back_to,
            "notes": self.notes,
            "stopped_tasks": self.stopped,
            "duration_ms": u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
        }))
    }
}

fn document(value: &Value) -> String {
    format!("{value:#}\n")
}

fn finding_text(text: &mut String, finding: &Finding, is_first: bool) {
    let word = if is_first { "error" } else { "also" };
    *text += &format!("{word}: [{}] {}\n", finding.cause.id, finding.cause.title);
    for line in &finding.evidence {
        *text += &format!("seen: {}\n", printable(line));
    }
    *text += &format!("remedy: {}\n", finding.cause.remedy);
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "id": finding.cause.id,
        "title": finding.cause.title,
        "evidence": finding.evidence,
        "remedy": finding.cause.remedy,
        "source": finding.cause.source,
    })
}

/// One word for what is done with the service.
pub(crate) fn action_word(action: &Action) -> &'static str {
    match action {
        Action::Create { .. } => "create",
        Action::Update { .. } => "update",
        Action::Attach(_) => "attach",
        Action::Nothing => "nothing",
    }
}

/// A plan as text.
pub(crate) fn plan_text(plan: &Plan, wanted: &Wanted, observed: &Observed) -> String {
    let mut text = match observed.service.as_ref().filter(|service| service.is_active()) {
        Some(service) => format!(
            "service `{}` of cluster `{}` runs {}, {} of {} tasks\n",
            wanted.service,
            short(&wanted.cluster),
            short(&service.task_definition),
            service.running_count,
            service.desired_count
        ),
        None => format!("service `{}` of cluster `{}` does not exist\n", wanted.service, short(&wanted.cluster)),
    };
    match &plan.registration {
        Registration::Keep(revision) => text += &format!("keep {}: nothing differs\n", short(&revision.arn)),
        Registration::New { diff, .. } => {
            text += &format!("register a new revision of `{}`\n{}", wanted.family(), diff);
            for (key, value) in &wanted.tags {
                text += &format!("  tag {key}={value}\n");
            }
        }
    }
    match &plan.action {
        Action::Create { why, .. } => text += &format!("create the service: {why}\n"),
        Action::Update { changes, .. } => {
            text += "update the service\n";
            changes.iter().for_each(|change| text += &format!("  {change}\n"));
        }
        Action::Attach(deployment) => {
            text += &format!("watch {}, which has not ended\n", crate::apply::named(deployment));
        }
        Action::Nothing => text += "leave the service as it is: nothing differs\n",
    }
    if matches!(plan.action, Action::Create { .. } | Action::Update { .. }) {
        text += &match &plan.back {
            Ok(back) => format!("should it not succeed, go back to {}\n", short(&back.task_definition)),
            Err(why) => format!("should it not succeed, it stays: {why}\n"),
        };
    }
    plan.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
    printable_lines(&text)
}

/// A plan as JSON.
pub(crate) fn plan_json(plan: &Plan, wanted: &Wanted) -> String {
    let (registration, arn, diff) = match &plan.registration {
        Registration::Keep(revision) => ("keep", Some(&revision.arn), None),
        Registration::New { diff, .. } => ("register", None, Some(diff)),
    };
    let changes = match &plan.action {
        Action::Update { changes, .. } => changes.clone(),
        Action::Create { why, .. } => vec![(*why).to_owned()],
        _ => Vec::new(),
    };
    document(&json!({
        "version": VERSION,
        "result": "planned",
        "exit_code": Exit::Done,
        "cluster": wanted.cluster,
        "service": wanted.service,
        "task_definition": {"action": registration, "family": wanted.family(), "arn": arn, "diff": diff},
        "action": action_word(&plan.action),
        "changes": changes,
        "rollback": {
            "to": plan.back.as_ref().ok().map(|back| &back.task_definition),
            "why_not": plan.back.as_ref().err(),
        },
        "notes": plan.notes,
    }))
}

fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}

/// How a service is.
pub(crate) fn status(service: &Service, as_json: bool) -> Report {
    let primary = service.primary();
    let is_stable = primary.is_some_and(|primary| primary.is_completed(service));
    let exit = if is_stable { Exit::Done } else { Exit::NotStable };
    if as_json {
        let deployments = service.deployments.iter().map(|one| {
            json!({
                "id": one.id, "status": one.status, "task_definition": one.task_definition,
                "rollout_state": one.rollout_state, "rollout_state_reason": one.rollout_state_reason,
                "desired": one.desired_count, "running": one.running_count, "pending": one.pending_count,
                "failed": one.failed_tasks,
            })
        });
        let events = service.events.iter().take(EVENTS).map(|event| &event.message);
        let stdout = document(&json!({
            "version": VERSION,
            "result": if is_stable { "stable" } else { "not-stable" },
            "exit_code": exit,
            "cluster": short(&service.cluster_arn),
            "service": service.service_name,
            "task_definition": service.task_definition,
            "desired": service.desired_count,
            "running": service.running_count,
            "deployments": deployments.collect::<Vec<_>>(),
            "events": events.collect::<Vec<_>>(),
        }));
        return Report { stdout, stderr: String::new(), exit };
    }
    let mut text = format!(
        "service `{}` of cluster `{}` is {}: {}, {} of {} tasks running\n",
        service.service_name,
        short(&service.cluster_arn),
        if is_stable { "stable" } else { "not stable" },
        short(&service.task_definition),
        service.running_count,
        service.desired_count
    );
    for one in &service.deployments {
        let state = one.rollout_state.as_deref().unwrap_or("state unknown");
        let _ = writeln!(text, "  {} {}, {state}: {}", one.status, crate::apply::named(one), one.counts());
        if !one.rollout_state_reason.is_empty() {
            let _ = writeln!(text, "    {}", one.rollout_state_reason);
        }
    }
    for event in service.events.iter().take(EVENTS) {
        let _ = writeln!(text, "  event: {}", event.message);
    }
    Report { stdout: printable_lines(&text), stderr: String::new(), exit }
}

/// The fields of a cause, by the names that `explain` and the man page give them.
pub(crate) fn fields(cause: &Cause) -> [(&'static str, String); 4] {
    [
        ("looks", cause.looks.to_owned()),
        ("remedy", cause.remedy.to_owned()),
        ("source", cause.source.to_owned()),
        ("exit code", format!("{}; 30 where the service was rolled back", cause.exit.code())),
    ]
}

/// One cause, or the list of all.
pub(crate) fn explain(id: Option<&str>, as_json: bool) -> Report {
    let as_value = |cause: &Cause| {
        json!({"id": cause.id, "title": cause.title, "symptoms": cause.looks, "looks": cause.looks, "remedy": cause.remedy,
               "source": cause.source, "exit_code": cause.exit})
    };
    let done = |stdout| Report { stdout, stderr: String::new(), exit: Exit::Done };
    let Some(id) = id else {
        if as_json {
            return done(document(&crate::cause::all().map(as_value).collect()));
        }
        return done(crate::cause::all().map(|cause| format!("{}  {}\n", cause.id, cause.title)).collect());
    };
    match crate::cause::find(id) {
        Some(cause) if as_json => done(document(&as_value(cause))),
        Some(cause) => {
            let fields = fields(cause).map(|(name, said)| format!("{name}: {said}\n")).concat();
            done(format!("{}: {}\n{fields}", cause.id, cause.title))
        }
        None => {
            let names = crate::cause::all().map(|cause| (strsim::damerau_levenshtein(id, cause.id), cause.id));
            let nearest = names.min().map(|(_, name)| format!("; did you mean `{name}`?")).unwrap_or_default();
            Report { stdout: String::new(), stderr: format!("error: no cause `{id}`{nearest}\n"), exit: Exit::Usage }
        }
    }
}
