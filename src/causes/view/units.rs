//! The states of units, and why the agent's unit fails.

use crate::boundary::systemd::UnitState;
use crate::evidence::Evidence;
use crate::evidence::host::most_specific_line;
use crate::facts::AGENT_UNITS;

/// The drop-in with this name runs `ecs-bootstrap guard` before each start of the agent.
pub(in crate::causes) const GUARD_DROP_IN: &str = "/10-ecs-bootstrap.conf";

/// Docker's unit, which has this name on every distribution.
pub(in crate::causes) const DOCKER_UNIT: &str = "docker.service";

/// Whether `ecs-bootstrap guard` prevents the start of the agent. It has reported the reason itself.
pub(in crate::causes) fn is_stopped_by_guard(evidence: &Evidence) -> bool {
    let mut journal = evidence.host.agent_journal.iter().flatten().peekable();
    let is_guarded = evidence.agent_unit().and_then(|unit| unit.drop_in_paths.as_ref());
    let is_guarded = is_guarded.is_some_and(|paths| paths.iter().any(|path| path.ends_with(GUARD_DROP_IN)));
    // Without a journal, only an error of ecs-init shows that something other than guard failed.
    let may_be_guard = is_guarded && journal.peek().is_none() && evidence.init_error().is_none();
    may_be_guard || journal.any(|line| line.starts_with("error: ["))
}

/// Whether an agent has run that a unit of its own starts (`units.agent`). That unit ends with its agent, so its failure is
/// not one before the agent. ecs-init, in the units of packages, goes on.
pub(in crate::causes) fn ends_with_agent(evidence: &Evidence) -> bool {
    let is_own = evidence.agent_unit().is_some_and(|unit| !AGENT_UNITS.contains(&unit.name.as_str()));
    is_own && (evidence.agent_error().is_some() || evidence.agent_end().is_some())
}

/// Whether Docker is active. If it is not, that is the cause.
pub(in crate::causes) fn is_docker_up(evidence: &Evidence) -> bool {
    evidence.known_units().is_some_and(|units| units.docker.active_state.as_deref() == Some("active"))
}

/// The state of a failed unit, as an evidence line.
pub(in crate::causes) fn describe_failure(unit: &UnitState) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let (name, active, sub) = (&unit.name, text(&unit.active_state), text(&unit.sub_state));
    // It is 0 if ExecStartPre= failed: then the main process never ran.
    let status = unit.exec_main_status.filter(|status| *status != 0);
    let status = status.map(|status| format!(", status {status}")).unwrap_or_default();
    let restarts = unit.restarts.filter(|n| *n > 0).map(|n| format!(", restarts {n}")).unwrap_or_default();
    let sub = if sub == active { String::new() } else { format!(" ({sub})") };
    format!("{name} is {active}{sub}, result {}{status}{restarts}", text(&unit.result))
}

/// The last error of ecs-init, and the last meaningful line of the unit's journal.
pub(in crate::causes) fn last_errors(evidence: &Evidence) -> Vec<String> {
    let journal = evidence.host.agent_journal.as_ref().and_then(|lines| most_specific_line(lines));
    evidence.init_error().into_iter().chain(journal.map(|line| format!("journal: `{line}`"))).collect()
}
