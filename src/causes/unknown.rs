//! The cause that is reported if no cause of the catalogue fits.

use super::cause::{Cause, Class, FoundCause};
use super::layer::Layer;
use super::view::missing_log::{missing_log, missing_log_remedy};
use crate::boundary::systemd::JobResult;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::redaction::error_chain;

/// The cause that is reported when no check of the catalogue fits.
pub static UNKNOWN: Cause = Cause {
    id: "unknown",
    layer: Layer::Unknown,
    title: "the instance did not register, and no known cause fits the evidence",
    class: Class::Retry,
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    symptoms: "the instance is not in its cluster, and no cause of the catalogue has evidence",
    proof: "every probe has run, and the results support none of the other causes; the evidence lists the results by \
            layer",
    remedy: "read `journalctl -u ecs -u docker` and `/var/log/ecs/ecs-agent.log`, and report what they show as a bug",
    specific_remedy: Some(missing_log_remedy),
    source: "none of the checks in the catalogue fits",
    check: unknown,
    ..Cause::DEFAULTS
};

fn unknown(evidence: &Evidence) -> Option<Vec<String>> {
    let mut seen = Vec::new();
    if let Some(error) = &evidence.stage_error {
        seen.push(error_chain(error));
    }
    if let Some(unit) = evidence.agent_unit() {
        let state = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        seen.push(format!("{} is {} ({})", unit.name, state(&unit.active_state), state(&unit.sub_state)));
    }
    match &evidence.introspection {
        Some(Err(error)) => seen.push(error_chain(error)),
        Some(Ok(metadata)) if metadata.container_instance_arn.is_empty() => {
            let text = "the agent answers, but has no container instance ARN (a throttled agent retries for an hour)";
            seen.push(text.to_owned());
        }
        _ => {}
    }
    if let (Some(arn), None) = (evidence.container_instance_arn(), &evidence.container_instance) {
        seen.push(format!("the agent reports that it has registered as `{arn}`, and ECS has not answered yet"));
    }
    if let Some(Ok(None)) = &evidence.container_instance {
        seen.push("ecs:DescribeContainerInstances does not find the ARN that the agent reports".to_owned());
    }
    if let Some(Ok(Some(container))) = &evidence.container
        && !container.running
    {
        seen.push(format!("the agent's container is not running, its last exit code is {}", container.exit_code));
    }
    let errors = evidence.agent_lines().iter().filter(|line| line.is_error()).count();
    if errors > 0 {
        seen.push(format!("the agent's log has {errors} lines of level error since the last start of the agent"));
    }
    seen.extend(missing_log(evidence));
    if let Some(Err(error)) = &evidence.units {
        seen.push(error_chain(error));
    }
    for job in &evidence.jobs {
        if let Some(result) = job.result.as_ref().filter(|result| **result != JobResult::Done) {
            seen.push(format!("the queued job of {} ended with the result `{result:?}`", job.unit));
        }
    }
    Some(seen)
}

/// [`UNKNOWN`] with the available evidence.
pub fn nothing_fits(evidence: &Evidence) -> FoundCause {
    FoundCause::new(&UNKNOWN, unknown(evidence).unwrap_or_default(), evidence)
}
