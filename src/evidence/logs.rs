//! What the agent logged since its last start, in its log file or to docker.
//!
//! In: the lines of the log file, and what the agent's container printed. Out: evidence lines. Each starts at the
//! fragment that was searched for, so that nothing before it is shown.

use super::Evidence;
use super::agent_log::{Line, attempts, last_two};
use crate::redaction;

/// The agent logs this if ECS refuses its registration, or cannot be reached.
const REFUSED: &str = "Unable to register as a container instance with ECS";
/// Go prints a line that begins so if a program ends because of an error in it.
const CRASHED: [&str; 2] = ["panic: ", "fatal error: "];

/// What a container printed in its last run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerLog {
    /// The lines in the format of the agent's log.
    lines: Vec<Line>,
    /// The first line about a crash of the program.
    crash: Option<String>,
}

impl ContainerLog {
    /// Parses what `docker logs` shows.
    pub fn of(text: &[u8]) -> ContainerLog {
        let (_, lines) = last_two(attempts(text));
        let text = String::from_utf8_lossy(text);
        let crash = text.lines().find(|line| CRASHED.iter().any(|begin| line.starts_with(begin)));
        ContainerLog { lines, crash: crash.map(redaction::line) }
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
    pub fn agent_lines(&self) -> &[Line] {
        if self.is_agent_log_empty() { &self.container_log.lines } else { &self.agent_log }
    }

    /// Where [`Evidence::agent_lines`] are from.
    pub fn agent_log_name(&self) -> &'static str {
        if self.is_agent_log_empty() && !self.container_log.lines.is_empty() { "docker logs" } else { "ecs-agent.log" }
    }

    /// Whether the output of the agent's container can show more than `ecs-agent.log`.
    pub fn wants_container_log(&self) -> bool {
        let has_error = || self.agent_log.iter().any(Line::is_error);
        matches!(self.container, Some(Ok(Some(_))))
            && (self.is_agent_log_empty() || !has_error() && self.agent_end().is_some())
    }

    /// The last line of the agent's log that contains one of these fragments, as an evidence line.
    pub fn agent_logged(&self, fragments: &[&str]) -> Option<String> {
        logged(self.agent_lines(), self.agent_log_name(), fragments)
    }

    /// Like [`Evidence::agent_logged`], but only of errors: after a warning the agent goes on.
    pub fn agent_failed_with(&self, fragments: &[&str]) -> Option<String> {
        logged(self.agent_lines().iter().filter(|line| line.is_error()), self.agent_log_name(), fragments)
    }

    /// Like [`Evidence::agent_logged`], but only of lines that report a refused registration.
    pub fn registration_refused(&self, fragments: &[&str]) -> Option<String> {
        logged(self.agent_lines().iter().filter(|line| line.holds(REFUSED)), self.agent_log_name(), fragments)
    }

    /// The whole last line in which the agent logged a refused registration since its last start. It is for parsing.
    pub fn refusal(&self) -> Option<String> {
        self.agent_lines().iter().rfind(|line| line.holds(REFUSED)).map(|line| redaction::line(line.text()))
    }

    /// A line of the agent's log as an evidence line.
    pub fn quoted(&self, line: &Line) -> String {
        format!("{}: `{}`", self.agent_log_name(), redaction::line(line.text()))
    }

    /// The last error in the agent's log, as an evidence line.
    pub fn agent_error(&self) -> Option<String> {
        self.agent_lines().iter().rfind(|line| line.is_error()).map(|line| self.quoted(line))
    }

    /// The line about a crash of the agent, which its own log does not have: as the agent printed it, or as ecs-init
    /// copied it.
    pub fn agent_crash(&self) -> Option<String> {
        let printed = self.container_log.crash.as_ref().filter(|_| self.agent_end().is_some());
        printed.map(|line| format!("docker logs: `{line}`")).or_else(|| self.init_logged(&CRASHED))
    }
}

/// The last line with one of the fragments, from the fragment on.
pub(super) fn logged<'l>(
    lines: impl IntoIterator<Item = &'l Line, IntoIter: DoubleEndedIterator>,
    file: &str,
    fragments: &[&str],
) -> Option<String> {
    lines.into_iter().rev().find_map(|line| {
        let text = line.text();
        let at = fragments.iter().find_map(|fragment| text.find(fragment))?;
        Some(format!("{file}: `{}`", redaction::line(&text[at..])))
    })
}

#[cfg(test)]
mod tests {
    use super::super::agent_log::last_attempt;
    use super::*;

    #[test]
    fn a_password_in_a_logged_address_is_not_shown() {
        let line = |text| logged(&last_attempt(text), "ecs-agent.log", &["proxyconnect"]);
        assert_eq!(
            line(b"level=error msg=\"proxyconnect tcp: http://u:hunter2@proxy:3128: dial tcp https://a@b/c\"\n")
                .as_deref(),
            Some("ecs-agent.log: `proxyconnect tcp: http://<redacted>@proxy:3128: dial tcp https://<redacted>@b/c`")
        );
    }
}
