//! Follows the logs of a task's containers: new lines are shown, the last ones are kept as evidence.
//!
//! At each look at most one page is read, so that a long log needs neither memory nor time. If more lines than that
//! were written, the older ones are left out, and a message says so.

use std::collections::VecDeque;

use ecs_bootstrap::boundary::aws::{AwsError, AwsErrorKind, LogLine, LogPlace};

use crate::client::{ServiceClient, call_deadline, is_transient};
use crate::log_stream::{LogTarget, label};
use crate::progress::Progress;
use crate::revision::Revision;
use crate::service::{Container, Task};

/// How many lines are read at once.
const PAGE: i32 = 100;
/// How many lines are kept.
const KEPT: usize = 20;
/// The longest line that is kept or shown, in characters. An event of CloudWatch Logs may have 1 MB.
const MAX_LINE: usize = 2000;

/// The log of one container.
#[derive(Debug)]
pub(crate) struct FollowedLog {
    pub(crate) container: String,
    place: Option<LogPlace>,
    /// The position after the last line that was read.
    position: Option<String>,
    /// The time of that line.
    last_ms: i64,
    /// The last lines, the oldest first.
    last: VecDeque<String>,
    /// Why the log is not read.
    problem: Option<String>,
    /// Whether the problem is final.
    is_given_up: bool,
}

impl FollowedLog {
    pub(crate) fn new(container: &str) -> FollowedLog {
        FollowedLog {
            container: container.to_owned(),
            place: None,
            position: None,
            last_ms: 0,
            last: VecDeque::new(),
            problem: None,
            is_given_up: false,
        }
    }

    /// The last lines; if there are none, why.
    pub(crate) fn tail(&self) -> Vec<String> {
        match &self.problem {
            Some(problem) if self.last.is_empty() => vec![format!("({problem})")],
            _ => self.last.iter().cloned().collect(),
        }
    }

    pub(crate) fn has_lines(&self) -> bool {
        !self.last.is_empty()
    }

    /// Whether the log may still be read.
    pub(crate) fn is_readable(&self) -> bool {
        !self.is_given_up
    }

    /// Reads and shows the lines since the last look.
    pub(crate) async fn look(
        &mut self,
        client: &ServiceClient,
        task: &Task,
        revision: &Revision,
        progress: &mut Progress,
    ) {
        if self.is_given_up || !self.find_place(task, revision, progress) {
            return;
        }
        let Some(place) = self.place.clone() else { return };
        match self.read(client, &place).await {
            Ok((lines, left_out)) => {
                self.problem = None;
                if left_out {
                    progress.event(&format!(
                        "{}: (earlier lines may be left out; see {})",
                        self.container,
                        label(&place)
                    ));
                }
                for line in lines {
                    self.last_ms = line.at_ms;
                    let text: String = line.text.trim_end().chars().take(MAX_LINE).collect();
                    progress.event(&format!("{}: {text}", self.container));
                    if self.last.len() == KEPT {
                        self.last.pop_front();
                    }
                    self.last.push_back(text);
                }
            }
            Err(error) => {
                let problem = format!("{} cannot be read: {}", label(&place), error.verbatim());
                // The stream exists only after the container has written its first line.
                let is_absent = matches!(&error.kind, AwsErrorKind::Service { code: Some(code), .. }
                    if code == "ResourceNotFoundException");
                if !is_absent && !is_transient(&error) {
                    self.is_given_up = true;
                    progress.event(&format!("warning: {problem}"));
                }
                self.problem = Some(problem);
            }
        }
    }

    /// Finds out where the log is. False if it is not known yet, or not in CloudWatch Logs.
    fn find_place(&mut self, task: &Task, revision: &Revision, progress: &mut Progress) -> bool {
        if self.place.is_some() {
            return true;
        }
        let container = task.containers.iter().find(|one| one.name == self.container).cloned();
        let container = container.unwrap_or(Container { name: self.container.clone(), ..Container::default() });
        match LogTarget::of(&container, task.id(), revision) {
            LogTarget::Stream(place) => self.place = Some(place),
            LogTarget::NotKnownYet => self.problem = Some("its container has not started".to_owned()),
            LogTarget::Elsewhere(problem) => {
                progress.event(&format!("the log of `{}` is not shown: {problem}", self.container));
                (self.problem, self.is_given_up) = (Some(problem), true);
            }
        }
        self.place.is_some()
    }

    /// The new lines, and whether lines were left out.
    async fn read(&mut self, client: &ServiceClient, place: &LogPlace) -> Result<(Vec<LogLine>, bool), AwsError> {
        let after = self.position.clone();
        let page = client.aws.log_events(place, after.as_deref(), PAGE, call_deadline()).await?;
        let is_full = page.lines.len() >= PAGE as usize;
        if !is_full || after.is_none() {
            self.position = page.next.or(after.clone());
            return Ok((page.lines, is_full && after.is_none()));
        }
        // More lines than one page were written: continue with the last ones.
        let newest = page.lines.last().map_or(self.last_ms, |line| line.at_ms);
        let tail = client.aws.log_events(place, None, PAGE, call_deadline()).await?;
        self.position = tail.next.or(page.next);
        let oldest = tail.lines.first().map_or(0, |line| line.at_ms);
        if oldest > newest {
            return Ok((tail.lines, true));
        }
        // The pages overlap or meet: nothing is left out.
        let rest = tail.lines.into_iter().filter(|line| line.at_ms > newest);
        Ok((page.lines.into_iter().chain(rest).collect(), false))
    }
}
