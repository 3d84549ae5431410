//! `drain`: waits for a sign that the instance ends, then drains its container instance before it does.
//!
//! In: what the last run expects (`drain.*`), and instance metadata, which is read every 5 s. Out: the status DRAINING,
//! heartbeats to the terminating hook while tasks run, the deregistration, and CONTINUE. Each step that fails is a note in
//! `status`. `ecs-bootstrap-drain.service` runs this until the group has its answer.

mod steps;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join3;

use super::phases::Phases;
use super::verify_died::is_left_to_verify_unit;
use super::{CommandContext, handover};
use crate::boundary::disk::{DiskError, Mode};
use crate::boundary::imds::{INSTANCE_ACTION, REBALANCE, TARGET_STATE};
use crate::causes;
use crate::command_line::CommandOutput;
use crate::drain::{Answers, DRAIN, Drain, DrainReason, DrainStep, LOCK, Notice, notice};
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::host;
use crate::plan::{DrainRules, Expectation};
use crate::redaction::error_chain;
use crate::render::{Progress, as_json, drain_json, drain_status, drain_text};
use crate::report::{self, GroupHook, SignalClient};
use crate::retry::{Deadline, fraction, jittered, pause_for};
use crate::settings::DrainTrigger;
use crate::{journal, verify};

/// How often instance metadata is read (Amazon EC2 User Guide, "Spot Instance interruption notices": every 5 seconds).
const INTERVAL: Duration = Duration::from_secs(5);
/// The limit for a request to instance metadata.
const IMDS: Duration = Duration::from_secs(4);
/// The limit for one round of the loop.
const ROUND: Duration = Duration::from_secs(240);
/// The hook is looked up after the verification, within this time, so that a fleet that starts together does not call together.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// The time until a lookup that failed is made again, before the instance ends.
const NEXT_LOOK: Duration = Duration::from_secs(600);
const NEVER: Duration = Duration::MAX;

impl CommandContext {
    /// `drain`: drains the container instance before the instance ends.
    pub async fn drain(self) -> CommandOutput {
        let mut phases = Phases::new(self.start);
        let disk = &self.host_clients.disk;
        let _lock = match self.lock_of_state(LOCK).await {
            Ok(lock) => lock,
            Err(DiskError::Busy { .. }) => return CommandOutput::error(Exit::Systemd, "another process drains"),
            Err(error) => return CommandOutput::error(Exit::Host, &error_chain(&error)),
        };
        // Before the read, so that a later change is seen.
        let plan_at = handover::modified(disk);
        let expectation = match self.expectation(&mut phases).await {
            Ok(expectation) => expectation,
            Err(error) => {
                let verdict = verify::explained(&self.host_clients, error, &self.agent_unit()).await;
                return self.verdict_output(&crate::render::document(&verdict, None, &phases.done), verdict.exit());
            }
        };
        let Some(rules) = expectation.drain.clone() else {
            journal::ready("off");
            return CommandOutput::success("nothing to do: `drain.on` is `none`\n");
        };
        journal::ready("reading instance metadata");
        let progress = Progress::new(self.shows_progress);
        let client = SignalClient::for_termination(&self.host_clients, &expectation).await;
        let mut work = Work {
            context: &self,
            drain: host::drain(disk).unwrap_or_default(),
            progress: &progress,
            expectation,
            rules,
            client,
            hook: None,
            due: BTreeMap::new(),
            lookups: 0,
            deregistrations: 0,
            agent_gone_at: None,
            can_count: true,
            is_silent: false,
            noted: Vec::new(),
            stored: None,
            plan_at,
            earlier_arn: None,
            is_arn_of_agent: false,
            has_tried_completion: false,
        };
        Box::pin(work.until_the_end()).await;
        progress.clear();
        let stdout = if self.json { as_json(&drain_json(&work.drain)) } else { drain_text(&work.drain) };
        CommandOutput { stdout, stderr: String::new(), exit: Exit::Done }
    }
}

/// The draining of this instance.
struct Work<'w> {
    context: &'w CommandContext,
    expectation: Expectation,
    rules: DrainRules,
    drain: Drain,
    progress: &'w Progress,
    client: SignalClient,
    hook: Option<GroupHook>,
    /// When each step is taken again.
    due: BTreeMap<DrainStep, Deadline>,
    /// How often the hook was looked up.
    lookups: u32,
    /// How often it was tried to deregister.
    deregistrations: u32,
    /// When an agent that does not answer has gone; `None` if it answers.
    agent_gone_at: Option<Deadline>,
    /// Whether ECS may be asked for the number of tasks.
    can_count: bool,
    /// Whether instance metadata did not answer.
    is_silent: bool,
    /// The ids of the notes that were logged.
    noted: Vec<&'static str>,
    /// What was stored last.
    stored: Option<Drain>,
    /// When the plan that is in force was stored.
    plan_at: Option<SystemTime>,
    /// The container instance before the last reason.
    earlier_arn: Option<String>,
    /// Whether the agent has reported the container instance.
    is_arn_of_agent: bool,
    /// Whether the hook was completed, or that failed.
    has_tried_completion: bool,
}

impl Work<'_> {
    /// Runs until the group has its answer, or a run has switched it off.
    async fn until_the_end(&mut self) {
        loop {
            self.context.set_deadline_after(ROUND);
            if self.is_switched_off() {
                return;
            }
            let answers = self.ask_metadata().await;
            let is_in_group = answers.target_state.is_some();
            match notice(&self.rules.on, &answers, UNIX_EPOCH + Duration::from_secs(self.now())) {
                Some(notice) if self.drain.trigger < Some(notice.trigger) => self.begin(&notice).await,
                Some(notice) => self.drain.limit(&notice),
                None if self.drain.trigger.is_none() && is_in_group => self.look_at_hook_early().await,
                // The instance has survived: EC2 had stopped or hibernated it.
                None if !self.is_silent && self.drain.has_ended && !self.drain.terminates => self.forget(),
                None => {}
            }
            if self.drain.trigger.is_some() && !self.drain.has_ended {
                self.step().await;
            }
            self.tell();
            if self.drain.is_final() {
                return;
            }
            pause_for(INTERVAL).await;
        }
    }

    /// The time of EC2, in seconds since 1970. The clock of this host may be wrong.
    fn now(&self) -> u64 {
        let own = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        own.saturating_add_signed(self.context.host_clients.imds.clock_ahead().unwrap_or(0).saturating_neg())
    }

    /// Takes the rules of a run that has ended meanwhile. Returns whether it has switched the draining off.
    fn is_switched_off(&mut self) -> bool {
        let disk = &self.context.host_clients.disk;
        let modified = handover::modified(disk);
        if modified == self.plan_at {
            return false;
        }
        let Some(handover) = handover::read_or_log(disk) else { return false };
        (self.expectation, self.plan_at) = (handover.expectation, modified);
        let Some(rules) = self.expectation.drain.clone() else {
            if let Err(error) = disk.remove(DRAIN) {
                tracing::debug!(error = error_chain(&error), "state of the draining not removed");
            }
            if self.drain.trigger.is_some() {
                tracing::warn!("`drain.on` is off now; the hook is not completed, and the status is left as it is");
            }
            return true;
        };
        if rules.hook != self.rules.hook {
            (self.hook, self.drain.hook, self.lookups) = (None, None, 0);
            self.due.remove(&DrainStep::FindHook);
        }
        if rules != self.rules {
            self.rules = rules;
            self.drain.set_longest(self.rules.deadline, self.heartbeat_timeout());
        }
        false
    }

    /// Reads instance metadata, as far as the rules need it.
    async fn ask_metadata(&mut self) -> Answers {
        let imds = &self.context.host_clients.imds;
        let deadline = Deadline::after(IMDS);
        let get = async |triggers: &[DrainTrigger], path| {
            let is_wanted = triggers.iter().any(|trigger| self.rules.on.contains(trigger));
            if is_wanted { imds.get(path, deadline).await } else { Ok(None) }
        };
        let (state, interruption, rebalance) = join3(
            get(&[DrainTrigger::Termination], TARGET_STATE),
            // It also limits the time of a termination.
            get(&[DrainTrigger::Termination, DrainTrigger::Spot], INSTANCE_ACTION),
            get(&[DrainTrigger::Rebalance], REBALANCE),
        )
        .await;
        let error = [&state, &interruption, &rebalance].into_iter().find_map(|answer| answer.as_ref().err());
        if let (Some(error), false) = (error, self.is_silent) {
            tracing::warn!(
                error = error_chain(error),
                "instance metadata does not answer, so no end of the instance is seen"
            );
        }
        self.is_silent = error.is_some();
        let [target_state, interruption, rebalance] =
            [state, interruption, rebalance].map(|answer| answer.ok().flatten());
        Answers { target_state, interruption, rebalance }
    }

    /// Begins to drain.
    async fn begin(&mut self, notice: &Notice) {
        self.reset();
        if notice.trigger == DrainTrigger::Termination {
            self.find_hook().await;
        }
        self.earlier_arn = self.drain.container_instance_arn.clone();
        self.drain.begin(notice, self.now(), self.rules.deadline, self.heartbeat_timeout());
        tracing::warn!(
            priority = 5,
            message_id = journal::MESSAGE_ID_DRAIN,
            trigger = notice.trigger.word(),
            notice = notice.text,
            seconds = self.drain.until.unwrap_or(0).saturating_sub(self.now()),
            "the instance is about to end; draining begins: {}",
            notice.text
        );
    }

    /// Looks up the terminating hook when the verification has ended: a missing hook is reported before it is needed. A lookup that
    /// succeeds or that was denied is not repeated before the instance ends.
    async fn look_at_hook_early(&mut self) {
        if self.hook.is_some() || !self.is_due(DrainStep::FindHook) {
            return;
        }
        let stored = report::stored_or_log(&self.context.host_clients.disk);
        if stored.is_none_or(|stored| is_left_to_verify_unit(&stored)) {
            return;
        }
        if !self.due.contains_key(&DrainStep::FindHook) {
            self.put_off(DrainStep::FindHook, FIRST_LOOK.mul_f64(fraction()));
            return;
        }
        self.find_hook().await;
        let failure = self.drain.failure_of(DrainStep::FindHook);
        let may_recover = failure.is_some_and(|failure| failure.reason == DrainReason::Other);
        self.put_off(DrainStep::FindHook, if may_recover { jittered(NEXT_LOOK) } else { NEVER });
    }

    /// Forgets a reason that is over.
    fn forget(&mut self) {
        self.drain.forget();
        let looked = self.due.remove_entry(&DrainStep::FindHook);
        self.reset();
        self.due.extend(looked);
    }

    /// Forgets what was tried for a less urgent reason.
    fn reset(&mut self) {
        self.due.clear();
        (self.lookups, self.deregistrations) = (0, 0);
        (self.agent_gone_at, self.can_count) = (None, true);
        (self.is_arn_of_agent, self.has_tried_completion) = (false, false);
    }

    fn heartbeat_timeout(&self) -> Option<Duration> {
        self.hook.as_ref().and_then(GroupHook::heartbeat_timeout)
    }

    fn is_due(&self, step: DrainStep) -> bool {
        self.due.get(&step).is_none_or(|at| at.passed())
    }

    fn put_off(&mut self, step: DrainStep, time: Duration) {
        self.due.insert(step, Deadline::after(time));
    }

    /// Shows and stores the state, and reports failures.
    fn tell(&mut self) {
        let text = drain_status(&self.drain, self.now());
        journal::status(&text);
        self.progress.say(&text);
        let disk = &self.context.host_clients.disk;
        if self.stored.as_ref() != Some(&self.drain) {
            let bytes = as_json(&self.drain).into_bytes();
            match disk.replace_without_sync(DRAIN, &bytes, Mode::Exactly(0o644)) {
                Ok(()) => self.stored = Some(self.drain.clone()),
                Err(error) => tracing::warn!(error = error_chain(&error), "state of the draining not stored"),
            }
        }
        let evidence = Evidence { drain: Some(self.drain.clone()), ..Evidence::default() };
        let notes = causes::notes(&evidence);
        for note in &notes {
            if !self.noted.contains(&note.cause.id) {
                tracing::warn!(
                    message_id = journal::MESSAGE_ID_DRAIN_FAILED,
                    cause = note.cause.id,
                    evidence = note.seen.join("\n"),
                    remedy = note.remedy,
                    "[{}] {} ({})",
                    note.cause.id,
                    note.cause.title,
                    note.seen.join("; ")
                );
            }
        }
        self.noted = notes.iter().map(|note| note.cause.id).collect();
    }
}
