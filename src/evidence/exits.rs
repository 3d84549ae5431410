//! How docker, ecs-init and the agent ended, and the last errors in their logs; entries of earlier starts are ignored.

use std::time::{Duration, SystemTime};

use super::crash_loop::{MIN_ATTEMPTS, MIN_TIME, is_temporary};
use super::host::most_specific_line;
use super::log::{Lines, Log, exit_code};
use super::logs::logged;
use super::{COARSE, Evidence};
use crate::boundary::systemd::{UnitState, time_of};

/// The exit code of a process that SIGKILL ended, as docker and shells report it: 128 plus the signal number.
const KILLED: i64 = 137;
const SIGKILL: i32 = 9;
/// `CLD_KILLED` (waitid(2)).
const BY_SIGNAL: i32 = 2;

/// An agent needs about this long between its registration and its connection.
const CONNECTING: Duration = Duration::from_secs(2);

/// ecs-init logs these at the start of the agent's container and at its end.
const STARTS: &str = "Starting Amazon Elastic Container Service Agent";
const EXITED: &str = "Agent exited with code";

/// A program that exits repeatedly with the same error.
pub struct ExitLoop<'e> {
    /// The name of its log.
    pub log: &'static str,
    /// The last errors of the last attempt, in their order.
    pub messages: &'e [String],
    /// The number of attempts that ended so.
    pub attempts: usize,
    /// The time from the first of these ends to the last one.
    pub time: Duration,
}

impl Evidence {
    /// The last exit code of the agent, and how many exits are known since ecs-init started; `None` if the agent did
    /// not exit, or exited with 0.
    pub fn agent_end(&self) -> Option<(i64, usize)> {
        let logged = || {
            let codes = self.init_log.exit_codes();
            let last = *codes.last()?;
            self.is_of_this_start(self.init_log_written).then_some((last, codes.len()))
        };
        let inspected = || match &self.container {
            Some(Ok(Some(container))) if !container.running => {
                let finished = humantime::parse_rfc3339(&container.finished_at).ok()?;
                self.is_of_this_start(Some(finished)).then_some((container.exit_code, 1))
            }
            _ => None,
        };
        logged().or_else(inspected).filter(|(code, _)| *code != 0)
    }

    /// The agent's unit, if it fails before the agent runs and systemd restarts it.
    pub fn unit_retried(&self) -> Option<&UnitState> {
        let unit = self.agent_unit().filter(|unit| unit.active_state.as_deref() == Some("activating"))?;
        let waits = unit.sub_state.as_deref().is_some_and(|state| state.starts_with("auto-restart"));
        let is_again = unit.restarts.is_some_and(|restarts| restarts > 0);
        let is_agents_own = unit.exec_main_status == Some(5);
        ((waits || is_again) && !is_agents_own && !self.job_pending(&unit.name)).then_some(unit)
    }

    /// The program that exits repeatedly with the same error since its unit, or docker, started: the agent, or ecs-init
    /// before it.
    pub fn crash_loop(&self) -> Option<ExitLoop<'_>> {
        let units = self.known_units()?;
        let agent = || {
            let found = self.agent_loop.as_ref().filter(|_| self.agent_end().is_some())?;
            let container = self.container.as_ref().and_then(|container| container.as_ref().ok()?.as_ref());
            let started = container.and_then(|container| humantime::parse_rfc3339(&container.started_at).ok());
            if !found.has_restarted(started) {
                return None;
            }
            let (attempts, time) = found.since(time_of(units.agent.exec_main_start_usec).or(self.booted))?;
            Some(ExitLoop { log: self.agent_log_name(), messages: &found.messages, attempts, time })
        };
        let init = || {
            let found = self.init_loop.as_ref().filter(|_| self.unit_retried().is_some())?;
            let (attempts, time) = found.since(time_of(units.docker.active_enter_usec).or(self.booted))?;
            Some(ExitLoop { log: "ecs-init.log", messages: &found.messages, attempts, time })
        };
        agent().or_else(init).or_else(|| self.exit_code_loop())
    }

    /// An agent that exits repeatedly with the same code and logs no error.
    fn exit_code_loop(&self) -> Option<ExitLoop<'_>> {
        if self.agent_error().is_some() || !self.is_of_this_start(self.init_log_written) {
            return None;
        }
        // The error of a run that has just begun may follow.
        let [start, exit] = [STARTS, EXITED].map(|words| self.init_log.last_with(Lines::All, &[words]));
        let began = start.and_then(|index| self.init_log[index].time);
        if start > exit || !self.is_output_complete(began) {
            return None;
        }
        let exits: Vec<(i64, SystemTime)> =
            self.init_log.iter().filter_map(|line| Some((exit_code(&line.message)?, line.time?))).collect();
        let (last, end) = *exits.last().filter(|(code, _)| *code != 0)?;
        let same = exits.iter().rev().take_while(|(code, _)| *code == last);
        let (attempts, begin) = (same.clone().count(), same.last()?.1);
        let time = end.duration_since(begin).ok()?;
        (attempts >= MIN_ATTEMPTS && time >= MIN_TIME).then_some(ExitLoop {
            log: "ecs-init.log",
            messages: &[],
            attempts,
            time,
        })
    }

    /// Whether waiting longer does not end the loop. The clock may have been set while it was logged, so it must also
    /// have been observed for that long.
    pub fn is_crash_loop_final(&self) -> bool {
        let is_loop = self.crash_loop().is_some() || self.is_restarted_without_log();
        is_loop && (self.waited >= MIN_TIME || self.examined_at.is_some())
    }

    /// Whether systemd has restarted the unit repeatedly, and only the journal has an error, because a command of the unit
    /// fails before ecs-init runs.
    fn is_restarted_without_log(&self) -> bool {
        let restarts = self.unit_retried().and_then(|unit| unit.restarts).unwrap_or_default();
        let journal = self.host.agent_journal.as_ref().and_then(|lines| most_specific_line(lines));
        let is_lasting = journal.is_some_and(|line| !is_temporary(line));
        usize::try_from(restarts).is_ok_and(|restarts| restarts >= MIN_ATTEMPTS)
            && is_lasting
            && self.init_error().is_none()
    }

    /// The agent's unit, if it has failed and systemd does not restart it.
    pub fn unit_failed(&self) -> Option<&UnitState> {
        let is_over = |unit: &&UnitState| {
            unit.active_state.as_deref() == Some("failed") && unit.job.is_none() && !self.job_pending(&unit.name)
        };
        self.agent_unit().filter(is_over)
    }

    /// docker's unit, if it has failed and no job starts it again.
    pub fn docker_failed(&self) -> Option<&UnitState> {
        let docker = &self.known_units()?.docker;
        let is_over = docker.active_state.as_deref() == Some("failed") && docker.job.is_none();
        (is_over && !self.job_pending(&docker.name)).then_some(docker)
    }

    /// Whether docker, ecs-init or the agent has failed.
    pub fn is_failing(&self) -> bool {
        self.docker_failed().is_some()
            || self.unit_retried().is_some()
            || self.unit_failed().is_some()
            || self.agent_end().is_some()
    }

    /// The logs of ecs-init's last attempt, the last one first. If systemd has already begun the next attempt, the attempt
    /// before is one of them.
    fn init_logs(&self) -> impl Iterator<Item = &Log> {
        let (last, before) = match self.unit_retried() {
            None => (self.is_of_this_start(self.init_log_written), false),
            Some(unit) => {
                let docker = self.known_units().and_then(|units| time_of(units.docker.active_enter_usec));
                let written = self.init_log_written.zip(docker.or(self.booted));
                // The unit can fail before ecs-init writes a line: then the log is from an earlier boot.
                let is_current = written.is_none_or(|(at, since)| at + COARSE >= since);
                (is_current, is_current && unit.restarts.is_some_and(|restarts| restarts > 1))
            }
        };
        let last = last.then_some(&self.init_log);
        last.into_iter().chain(before.then_some(&self.init_log_before))
    }

    /// The last line of ecs-init's log that contains one of these fragments, as an evidence line.
    pub fn init_logged(&self, fragments: &[&str]) -> Option<String> {
        self.init_logs().find_map(|log| logged(log, Lines::All, "ecs-init.log", fragments))
    }

    /// The last error in ecs-init's log, as an evidence line.
    pub fn init_error(&self) -> Option<String> {
        self.init_logs().find_map(|log| logged(log, Lines::Errors, "ecs-init.log", &[""]))
    }

    /// Whether an agent runs, started by its unit or otherwise; `None` if docker has not been asked.
    pub fn agent_runs(&self) -> Option<bool> {
        let container = self.container.as_ref()?;
        let is_running = matches!(container, Ok(Some(container)) if container.running);
        Some(is_running || matches!(self.introspection, Some(Ok(_))))
    }

    /// Whether the host has been probed, or the deadline has passed. A general cause waits for that, because a more
    /// specific cause may follow from the probe.
    pub fn is_host_examined(&self) -> bool {
        self.host.is_examined || self.timed_out
    }

    /// Whether ECS reports a registered agent as disconnected for longer than a new agent needs to connect.
    pub fn stays_disconnected(&self) -> bool {
        let is_down = self.is_described_as_disconnected() || self.is_disconnected();
        is_down && self.registered_for.is_none_or(|since| since >= CONNECTING)
    }

    /// The evidence line for a process of docker or the agent that SIGKILL ended; `None` if there is none.
    pub fn killed(&self) -> Option<String> {
        let killed = |unit: &&UnitState| {
            let by_signal = unit.exec_main_code == Some(BY_SIGNAL) && unit.exec_main_status == Some(SIGKILL);
            let is_down = unit.active_state.as_deref() != Some("active");
            is_down && (unit.result.as_deref() == Some("oom-kill") || by_signal)
        };
        let units = self.known_units();
        if let Some(unit) = units.and_then(|units| [&units.docker, &units.agent].into_iter().find(killed)) {
            return Some(format!("the process of {} was killed by SIGKILL", unit.name));
        }
        self.agent_end()
            .filter(|(code, _)| *code == KILLED)
            .map(|_| "the agent's process was killed by SIGKILL (code 137)".into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ContainerLog;
    use super::super::agent_log::last_attempt;
    use super::*;
    use crate::boundary::docker::Container;

    const INSPECTED: &[u8] = br#"{"State": {"Running": false, "ExitCode": 1, "StartedAt": "", "FinishedAt": ""}}"#;

    #[test]
    fn exits_with_the_same_code_are_a_loop_only_after_the_output_of_the_last_run_was_read() {
        let log = [("00", STARTS), ("01", "Agent exited with code 1")];
        let runs = ["00", "10", "20"].map(|ten| log.map(|(second, text)| (&ten[..1], &second[1..], text)));
        let line = |(ten, second, text)| format!("level=info time=2026-03-01T00:01:{ten}{second}Z msg=\"{text}\"\n");
        let init_log = last_attempt(runs.into_iter().flatten().map(line).collect::<String>().as_bytes());
        let found = |ended: Option<(&str, &str)>| {
            let never = "0001-01-01T00:00:00Z";
            let at = |second: &str| format!("2026-03-01T00:01:{second}.5Z");
            let container_log = match ended {
                Some((started, "")) => ContainerLog::of(b"", &at(started), never),
                Some((started, finished)) => ContainerLog::of(b"", &at(started), &at(finished)),
                None => ContainerLog::default(),
            };
            let evidence = Evidence {
                init_log: init_log.clone(),
                container: Some(Ok(Some(Container::of(INSPECTED).unwrap()))),
                container_log,
                ..Evidence::default()
            };
            evidence.exit_code_loop().map(|found| found.attempts)
        };
        assert_eq!(found(None), None, "not read");
        assert_eq!(found(Some(("10", "11"))), None, "of the run before");
        assert_eq!(found(Some(("20", ""))), None, "read while it ran");
        assert_eq!(found(Some(("20", "20"))), Some(3));
    }
}
