//! What ecs-bootstrap did: its commands with their stages and requests, and the report that the instance is ready.

use super::draft::{Draft, Found};
use crate::timeline::id;
use crate::timeline::record::{CommandRecord, Step};
use crate::timeline::sources::Sources;

/// The message of ecs-bootstrap that reports a ready instance. `tests/it/timeline.rs` compares it with that of `journal`.
pub(super) const READY: &str = "d2b89150f7d43a3e2e38123c981186c8";

const NEVER_RAN: &str = "ecs-bootstrap has not run in this boot";

pub(super) fn add(sources: &Sources, draft: &mut Draft) {
    for record in &sources.records {
        let id = match record.command.as_str() {
            "run" => id::RUN,
            "verify" => id::VERIFY,
            _ => continue,
        };
        add_command(id, record, draft);
    }
    let ran = |command: &str| sources.records.iter().any(|record| record.command == command);
    draft.miss(id::RUN, if ran("verify") { "`run` left no record in this boot" } else { NEVER_RAN });
    let not_verified = if ran("run") { "the verification has not ended in this boot" } else { NEVER_RAN };
    draft.miss(id::VERIFY, not_verified);
    let has_run = draft.get(id::RUN).is_some();
    if let Some(verify) = draft.get_mut(id::VERIFY).filter(|verify| verify.parent.as_deref() != Some(id::RUN)) {
        verify.waited_for = has_run.then(|| id::RUN.to_owned());
    }
    let reported = match &sources.journal {
        Ok(journal) => journal
            .iter()
            .find(|entry| entry.message_id == READY)
            .map(|entry| Found::moment(id::REPORTED, entry.at.monotonic_us, "journal: ecs-bootstrap"))
            .ok_or_else(|| {
                "ecs-bootstrap has not reported in this boot's journal that the instance is ready".to_owned()
            }),
        Err(reason) => Err(reason.clone()),
    };
    draft.add_or_miss(id::REPORTED, reported);
}

fn add_command(id: &'static str, record: &CommandRecord, draft: &mut Draft) {
    let start = record.started_monotonic_us;
    let after = |us: u64| start.saturating_add(i64::try_from(us).unwrap_or(i64::MAX));
    let unit = format!("ecs-bootstrap{}.service", if id == id::VERIFY { "-verify" } else { "" });
    let mut command = Found::expected(id, start, Some(after(record.duration_us)), format!("record of `{id}`"));
    // Run by hand, or from user data, it belongs to no unit of ecs-bootstrap.
    let is_inside =
        |by: &&str| draft.get(by).is_some_and(|by| by.start <= start && by.end.is_none_or(|end| start <= end));
    command.parent = [unit.as_str(), id::USER_DATA].into_iter().find(is_inside).map(str::to_owned);
    let part = |part_id: String, parent: &str, step: &Step, label: String| {
        let (start, end) = (after(step.start_us), after(step.start_us.saturating_add(step.duration_us)));
        let found = Found::expected(id, start, Some(end), format!("record of `{id}`"));
        Found { id: part_id, label, parent: Some(parent.to_owned()), ..found }
    };
    for stage in &record.stages {
        if id == id::RUN && stage.name == id::VERIFY {
            draft.add(part(id::VERIFY.to_owned(), id, stage, "verification by `run`".to_owned()));
        } else {
            draft.add(part(format!("{id}.{}", stage.name), id, stage, stage.name.clone()));
        }
    }
    for (number, request) in record.requests.iter().enumerate() {
        let holds = |stage: &&Step| {
            (stage.start_us..=stage.start_us.saturating_add(stage.duration_us)).contains(&request.start_us)
        };
        let parent = match record.stages.iter().find(holds) {
            Some(stage) if id == id::RUN && stage.name == id::VERIFY => id::VERIFY.to_owned(),
            Some(stage) => format!("{id}.{}", stage.name),
            None => id.to_owned(),
        };
        let failed = if request.succeeded { "" } else { " (failed)" };
        let label = format!("{}{failed}", request.name);
        draft.add(part(format!("{parent}.{}", number + 1), &parent, request, label));
    }
    draft.add(command);
}
