//! What the agent logged since its last start, in its log file or to docker.
//!
//! In: the lines of the log file, and what the agent's container printed. Out: evidence lines: the whole message, because what
//! decides can stand before and after the words that were searched for.

use std::time::SystemTime;

use super::Evidence;
use super::agent_log::{Line, attempts};
use super::log::{Lines, Log};
use crate::redaction;

/// Go prints a line that begins so if a program ends because of an error in it.
const CRASHED: [&str; 2] = ["panic: ", "fatal error: "];

/// What a container printed in its last run.
#[derive(Clone, Debug, Default)]
pub struct ContainerLog {
    /// The lines in the format of the agent's log.
    lines: Log,
    /// The first line about a crash of the program.
    crash: Option<String>,
    /// When the container started; `None` if that is unknown.
    started_at: Option<SystemTime>,
    /// When the container had ended before this was read; `None` if it was running.
    finished_at: Option<SystemTime>,
    /// The lines of a run that is not of this start: none.
    no_lines: Log,
}

impl ContainerLog {
    /// Parses what `docker logs` shows of a container that started at this time (RFC 3339).
    ///
    /// What a crash or a program that cannot be executed prints has no format. It becomes an error at the end of the log.
    pub fn of(text: &[u8], started_at: &str, finished_at: &str) -> ContainerLog {
        let lines = attempts(text).pop().unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        let crash = text.lines().find(|line| CRASHED.iter().any(|begin| line.starts_with(begin)));
        let last = || text.lines().rfind(|line| !line.trim().is_empty()).filter(|_| lines.is_empty());
        let printed = crash.or_else(last).map(redaction::line);
        // Docker reports the year 1 for a container that has not ended.
        let finished_at = humantime::parse_rfc3339(finished_at).ok().filter(|end| *end > SystemTime::UNIX_EPOCH);
        let lines: Vec<Line> =
            lines.into_iter().chain(printed.map(|text| Line::of_output(text, finished_at))).collect();
        let lines = Log::from(lines);
        let started_at = humantime::parse_rfc3339(started_at).ok();
        ContainerLog { lines, crash: crash.map(redaction::line), started_at, finished_at, no_lines: Log::default() }
    }

    /// The lines in the format of the agent's log.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}

impl Evidence {
    /// Whether `ecs-agent.log` has no line since the agent's last start.
    pub fn is_agent_log_empty(&self) -> bool {
        self.agent_log.is_empty() || !self.is_of_this_start(self.agent_log_written)
    }

    /// What the agent logged since its last start: in its log file, otherwise to docker.
    pub fn agent_lines(&self) -> &Log {
        let container = &self.container_log;
        match self.is_agent_log_empty() {
            false => &self.agent_log,
            // ecs-init removes the container of an earlier start only when it makes the next one.
            true if self.is_of_this_start(container.started_at) => &container.lines,
            true => &container.no_lines,
        }
    }

    /// Where [`Evidence::agent_lines`] are from.
    pub fn agent_log_name(&self) -> &'static str {
        if self.is_agent_log_empty() && !self.agent_lines().is_empty() { "docker logs" } else { "ecs-agent.log" }
    }

    /// Whether the output of the agent's container can show more than `ecs-agent.log`.
    pub fn wants_container_log(&self) -> bool {
        let has_error = || self.agent_log.last_with(Lines::Errors, &[""]).is_some();
        matches!(self.container, Some(Ok(Some(_))))
            && (self.is_agent_log_empty() || !has_error() && self.agent_end().is_some())
    }

    /// Whether the output of the run that began at this time was read after its end, if only docker has it.
    pub fn is_output_complete(&self, began: Option<SystemTime>) -> bool {
        let is_kept = self.is_agent_log_empty() && matches!(self.container, Some(Ok(Some(_))));
        !is_kept || self.container_log.finished_at.is_some_and(|end| began.is_none_or(|began| end >= began))
    }

    /// The last line of the agent's log that contains one of these fragments, as an evidence line.
    pub fn agent_logged(&self, fragments: &[&str]) -> Option<String> {
        logged(self.agent_lines(), Lines::All, self.agent_log_name(), fragments)
    }

    /// Like [`Evidence::agent_logged`], but only of errors: after a warning the agent goes on.
    pub fn agent_failed_with(&self, fragments: &[&str]) -> Option<String> {
        logged(self.agent_lines(), Lines::Errors, self.agent_log_name(), fragments)
    }

    /// Like [`Evidence::agent_logged`], but only of lines that report a refused registration.
    pub fn registration_refused(&self, fragments: &[&str]) -> Option<String> {
        logged(self.agent_lines(), Lines::Refusals, self.agent_log_name(), fragments)
    }

    /// The whole last line in which the agent logged a refused registration since its last start. It is for parsing.
    pub fn refusal(&self) -> Option<String> {
        let lines = self.agent_lines();
        let line = &lines[lines.last_with(Lines::Refusals, &[""])?];
        Some(redaction::line(line.text()))
    }

    /// A line of the agent's log as an evidence line.
    pub fn quoted(&self, line: &Line) -> String {
        format!("{}: `{}`", self.agent_log_name(), redaction::line(line.text()))
    }

    /// The last error in the agent's log, as an evidence line.
    pub fn agent_error(&self) -> Option<String> {
        let lines = self.agent_lines();
        Some(self.quoted(&lines[lines.last_with(Lines::Errors, &[""])?]))
    }

    /// The line about a crash of the agent, which its own log does not have: as the agent printed it, or as ecs-init
    /// copied it.
    pub fn agent_crash(&self) -> Option<String> {
        let is_current = self.is_of_this_start(self.container_log.started_at) && self.agent_end().is_some();
        let printed = self.container_log.crash.as_ref().filter(|_| is_current);
        printed.map(|line| format!("docker logs: `{line}`")).or_else(|| self.init_logged(&CRASHED))
    }
}

/// The last of these lines with one of the fragments.
pub(super) fn logged(log: &Log, lines: Lines, file: &str, fragments: &[&str]) -> Option<String> {
    let line = &log[log.last_with(lines, fragments)?];
    Some(format!("{file}: `{}`", redaction::line(line.text())))
}

#[cfg(test)]
mod tests {
    use super::super::agent_log::last_attempt;
    use super::*;

    #[test]
    fn a_password_in_a_logged_address_is_not_shown() {
        let line = |text| logged(&last_attempt(text), Lines::All, "ecs-agent.log", &["proxyconnect"]);
        assert_eq!(
            line(b"level=error msg=\"proxyconnect tcp: http://u:hunter2@proxy:3128: dial tcp https://a@b/c\"\n")
                .as_deref(),
            Some("ecs-agent.log: `proxyconnect tcp: http://<redacted>@proxy:3128: dial tcp https://<redacted>@b/c`")
        );
    }
}
