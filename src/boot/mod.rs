//! The corridor: one short function a subcommand, and the only place that knows the order of the rooms.
//!
//! In: the world, the settings as given, and whether somebody watches. Out: a [`CommandOutput`] that `main` prints. Every path
//! of `run` and `verify` ends in exactly one verdict, and tells it once.

mod check;
mod death;
mod doctor;
mod guard;
mod handover;
mod hangs;
mod output;
mod phases;
mod signal;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use self::check::check;
pub use self::doctor::explain;
use self::handover::VERIFY_UNIT;
pub use self::handover::is_handover;
pub use self::hangs::{Ending, STARTUP};
use self::output::{log_applied, reported};
use self::phases::Phases;
use crate::apply::{self, Applied};
use crate::boundary::World;
use crate::boundary::disk::{Disk, DiskError, Lock};
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::command_line::CommandOutput;
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::facts;
use crate::gather::{self, Gathered};
use crate::plan::{Expectation, Plan, Refusal, cluster_name};
use crate::redaction::error_chain;
use crate::render::{Document, Progress, VerdictState, document, plan_json, plan_text, warning_lines};
use crate::report::{SignalClient, with_heartbeats};
use crate::retry::{Deadline, Policy, Step, Watchdog, until, within};
use crate::settings::fragment::Fragment;
use crate::settings::merge::merge;
use crate::settings::{Settings, SettingsError, Warning};
use crate::verdict::Verdict;
use crate::{decide, journal, report, verify};

/// Held by whoever writes.
const LOCK: &str = "/run/ecs-bootstrap/lock";
/// How long systemd has to take the connection.
pub(crate) const BUS: Duration = Duration::from_secs(5);
/// Whoever waits in a room until `run.deadline` has this long to say for what, before the room is cut off.
const LAST_WORDS: Duration = Duration::from_millis(500);
const WAITING_FOR_ANOTHER: &str = "waiting for another run";
/// How often a plan is made anew since somebody else has written to the file.
const MOST_ATTEMPTS: u32 = 5;
/// How often a lock is tried that another run holds.
const LOCK_POLICY: Policy = Policy { first: Duration::from_millis(100), longest: Duration::from_secs(1) };

/// Where the verification runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// In this process, and refused where that would never end.
    Here,
    /// In this process where that can end, else in its unit.
    HereIfPossible,
    /// In its own unit.
    InItsUnit,
}

/// What a command runs with.
pub struct Boot {
    /// The parties outside.
    pub world: World,
    /// What environment and command line say.
    pub given: Result<Vec<Fragment>, SettingsError>,
    /// Whether JSON is wanted.
    pub json: bool,
    /// Whether a person watches stderr.
    pub watched: bool,
    /// Whether the log goes to the journal, so that a verdict is told there too.
    pub to_journal: bool,
    /// When this process was started.
    pub start: Instant,
    /// This program's own path, for the unit that verifies.
    pub program: Option<PathBuf>,
    /// What main has to say.
    pub warnings: Vec<Warning>,
    /// Ends the process where the command does not.
    pub watchdog: Option<Watchdog>,
    /// Who waits for a run that came to no plan.
    pub stopped: std::cell::OnceCell<Expectation>,
}

/// How a boot path goes on after apply.
enum Onward {
    Verify {
        plan: Box<Plan>,
        applied: Applied,
        systemd: Result<Systemd, SystemdError>,
        age: Option<Duration>,
    },
    /// Told already: to the unit that verifies, or since a verdict stands.
    HandedOver(Box<Document>),
}

impl Boot {
    /// `run`: all of it.
    pub async fn run(self, wait: Wait) -> CommandOutput {
        let progress = Progress::new(self.watched);
        let mut phases = Phases::new(self.start);
        let cluster;
        let mut signal_client = None;
        let verdict = match Box::pin(self.configure(wait, &mut phases, &progress)).await {
            Ok(Onward::Verify { plan, applied, systemd, age }) => {
                cluster = plan.expectation.cluster.clone();
                let queued_jobs = verify::QueuedJobs { queued: applied.effects.jobs, jobs: applied.jobs };
                signal_client = SignalClient::new(&self.world, &plan.expectation, self.signals_until()).await;
                let verdict = self.verdict(plan.expectation, queued_jobs, &systemd, age, &mut phases, &progress);
                with_heartbeats(signal_client.as_ref(), verdict).await
            }
            Ok(Onward::HandedOver(document)) => {
                progress.clear();
                return self.report(&document, Exit::Done);
            }
            Err(stop) => {
                cluster = None;
                verify::explained(&self.world, stop).await
            }
        };
        let mut document = document(&verdict, cluster.as_deref(), &phases.done);
        self.tell(&document, false);
        if signal_client.is_none() {
            signal_client = self.outside_of_stop(&document).await;
        }
        self.signal(signal_client.as_ref(), &mut document).await;
        progress.clear();
        self.report(&document, verdict.exit())
    }

    /// `plan`: the first two rooms, printed. Changes nothing.
    pub async fn plan(self) -> CommandOutput {
        let progress = Progress::new(self.watched);
        progress.say("reading metadata, tags and the host");
        if let Ok(settings) = self.early() {
            self.may_take(settings.run_deadline.value);
        }
        let planned = self.decide(&mut Phases::new(self.start), true).await;
        progress.clear();
        let (plan, _) = match planned {
            Ok(planned) => planned,
            Err(stop) => {
                let verdict = verify::explained(&self.world, stop).await;
                return self.report(&document(&verdict, None, &[]), verdict.exit());
            }
        };
        let warnings = warning_lines(&plan.warnings);
        let stdout = if self.json { format!("{:#}\n", plan_json(&plan)) } else { plan_text(&plan) };
        CommandOutput { stdout, stderr: warnings, exit: Exit::Done }
    }

    /// `verify`: waits for what the run before it expects, or for what a run would expect now.
    pub async fn verify(self) -> CommandOutput {
        journal::ready("looking at what is expected");
        let progress = Progress::new(self.watched);
        let mut phases = Phases::new(self.start);
        let expectation = match self.expectation(&mut phases).await {
            Ok(expectation) => expectation,
            Err(stop) => {
                let verdict = verify::explained(&self.world, stop).await;
                let mut document = document(&verdict, None, &phases.done);
                self.tell(&document, false);
                self.signal(self.outside_of_stop(&document).await.as_ref(), &mut document).await;
                return self.report(&document, verdict.exit());
            }
        };
        let cluster = expectation.cluster.clone();
        let age = age(&expectation);
        let systemd = Systemd::connect(Deadline::after(BUS)).await;
        let queued_jobs = verify::QueuedJobs::default();
        let signal_client = SignalClient::new(&self.world, &expectation, self.signals_until()).await;
        let verdict = self.verdict(expectation, queued_jobs, &systemd, age, &mut phases, &progress);
        let verdict = with_heartbeats(signal_client.as_ref(), verdict).await;
        let mut document = match self.refused_by_guard(&verdict) {
            // It was told by guard.
            Some(document) => document,
            None => {
                let document = document(&verdict, cluster.as_deref(), &phases.done);
                self.tell(&document, false);
                document
            }
        };
        self.signal(signal_client.as_ref(), &mut document).await;
        progress.clear();
        let exit = Exit::from_code(document.exit_code).unwrap_or(Exit::Internal);
        self.report(&document, exit)
    }

    /// What guard has told, where nothing else says why the agent did not register.
    fn refused_by_guard(&self, verdict: &Verdict) -> Option<Document> {
        let stored = report::stored(&self.world.disk).ok().flatten()?;
        (verdict.is_unknown() && stored.verdict == VerdictState::Failed).then_some(stored)
    }

    /// Gather, decide and apply, within `run.deadline`.
    async fn configure(&self, wait: Wait, phases: &mut Phases, progress: &Progress) -> Result<Onward, StageError> {
        let settings = self.early()?;
        let limit = settings.run_deadline.value;
        let deadline = Deadline::after(limit);
        self.may_take(limit);
        let doing = std::cell::Cell::new(WAITING_FOR_ANOTHER);
        let say = |what: &'static str| {
            doing.set(what);
            progress.say(what);
            journal::status(what);
        };
        let all = async {
            let _lock = self.lock(deadline, limit).await?;
            say("reading metadata, tags and the host");
            let mut begun;
            let mut attempt = 1;
            let (plan, gathered, config_written) = loop {
                let (plan, gathered) = self.decide(phases, false).await?;
                begun = phases.begin();
                match apply::write(&self.world, &plan) {
                    // User data writes beside us: what it wrote counts, so it is all decided anew.
                    Err(StageError::Write(DiskError::Changed { .. })) if attempt < MOST_ATTEMPTS => attempt += 1,
                    written => break (plan, gathered, written?),
                }
            };
            for warning in &plan.warnings {
                tracing::warn!(
                    id = warning.id,
                    source = warning.source.as_ref().map(|s| s.to_string()),
                    "{}",
                    warning.text
                );
            }
            say("queueing docker and the agent");
            let mut applied = Applied::default();
            applied.effects.config_written = config_written;
            let systemd = gathered.systemd;
            let queued = apply::queue(&self.world.disk, &systemd, &plan, &mut applied).await;
            phases.end("apply", begun);
            let age = age(&plan.expectation);
            // Also where the jobs were refused: guard must know the plan at any start of the agent.
            handover::store(&self.world.disk, &plan, &phases.done)?;
            queued?;
            log_applied(&plan, &applied);
            let undecided = plan.cluster.is_none();
            let blocked = match (&systemd, wait) {
                // Nobody can say whether the agent's start waits for this very process.
                (Err(error), Wait::Here) => return Err(StageError::Systemd(error.clone())),
                (Ok(systemd), Wait::Here | Wait::HereIfPossible) if !undecided => {
                    handover::blocking_unit(systemd, &plan, &applied.effects.jobs).await
                }
                _ => None,
            };
            match (blocked, wait) {
                (Some(unit), Wait::Here) => Err(StageError::Blocked { unit }),
                (blocked, wait) if undecided || blocked.is_some() || wait == Wait::InItsUnit => {
                    if let Some(verified) = self.verified(&plan, &applied) {
                        return Ok(Onward::HandedOver(Box::new(verified)));
                    }
                    let text = match undecided {
                        true => format!("nothing names a cluster yet; {VERIFY_UNIT} sees what user data comes to"),
                        false => format!("configured; {VERIFY_UNIT} sees to the registration"),
                    };
                    let verdict = Verdict::Waiting { text, finding: None };
                    let document = document(&verdict, plan.expectation.cluster.as_deref(), &phases.done);
                    // Told before the unit starts, whose own verdict must be the last.
                    self.tell(&document, true);
                    handover::start(&self.world, systemd.as_ref(), self.program.as_deref()).await?;
                    Ok(Onward::HandedOver(Box::new(document)))
                }
                _ => Ok(Onward::Verify { plan: Box::new(plan), applied, systemd, age }),
            }
        };
        within(Deadline::after(limit + LAST_WORDS), all)
            .await
            .unwrap_or_else(|_| Err(StageError::Late { doing: doing.get(), deadline: limit }))
    }

    /// Tells a verdict; each boot path does so once.
    fn tell(&self, document: &Document, handed_over: bool) {
        report_locally(&self.world.disk, document, handed_over, self.to_journal);
    }

    /// The stored verdict, when it is ready and this run has changed nothing: then there is nothing to verify again.
    fn verified(&self, plan: &Plan, applied: &Applied) -> Option<Document> {
        if applied.effects != crate::effects::Effects::default() {
            return None;
        }
        let stored = report::stored(&self.world.disk).ok().flatten()?;
        let name = |cluster: &Option<String>| cluster.as_deref().map(|text| cluster_name(text).to_owned());
        (stored.verdict == VerdictState::Ready && name(&stored.cluster) == name(&plan.expectation.cluster))
            .then_some(stored)
    }

    pub(crate) fn early(&self) -> Result<Settings, StageError> {
        Ok(merge(&self.fragments()?))
    }

    /// What files, environment and command line say.
    fn fragments(&self) -> Result<Vec<Fragment>, StageError> {
        let mut fragments = gather::local_settings(&self.world)?;
        fragments.extend(self.given.clone()?);
        Ok(fragments)
    }

    async fn decide(&self, phases: &mut Phases, without_metadata: bool) -> Result<(Plan, Gathered), StageError> {
        let fragments = self.fragments()?;
        let deadline = Deadline::after(merge(&fragments).run_deadline.value);
        let begun = phases.begin();
        // Boxed: the nested futures are too deep for the compiler otherwise.
        let gathered = Box::pin(gather::facts(&self.world, BUS, fragments, deadline, without_metadata)).await;
        phases.end("gather", begun);
        let mut gathered = gathered?;
        let begun = phases.begin();
        let mut warnings = self.warnings.clone();
        warnings.append(&mut gathered.warnings);
        let plan = decide::plan(&gathered.settings, &gathered.facts, warnings);
        phases.end("decide", begun);
        match (plan, gathered.unread.take()) {
            (Ok(mut plan), Some(stop)) => {
                let text = format!("not everything that may name a cluster could be read: {}", error_chain(&stop));
                plan.warnings.push(Warning { id: "metadata-unknown", text, source: None });
                Ok((plan, gathered))
            }
            (Ok(plan), None) => Ok((plan, gathered)),
            (Err(refusal), unread) => {
                self.remember_stop(&gathered);
                match (refusal, unread) {
                    (Refusal::NoCluster { .. }, Some(stop)) => Err(stop),
                    (refusal, _) => Err(refusal.into()),
                }
            }
        }
    }

    pub(crate) async fn lock(&self, deadline: Deadline, limit: Duration) -> Result<Lock, StageError> {
        self.world.disk.create_folder(report::RUN, 0o755).map_err(StageError::Write)?;
        until(deadline, LOCK_POLICY, async |_| match self.world.disk.lock(LOCK) {
            Ok(lock) => Step::Done(lock),
            Err(error @ DiskError::Busy { .. }) => Step::Retry(error),
            Err(error) => Step::Stop(error),
        })
        .await
        .map_err(|gave_up| match gave_up.last {
            DiskError::Busy { .. } => StageError::Late { doing: WAITING_FOR_ANOTHER, deadline: limit },
            error => StageError::Write(error),
        })
    }

    /// What the last run of this boot expects, where it has left that.
    pub(crate) fn expected(&self) -> Option<Expectation> {
        Some(handover::read(&self.world.disk).ok().flatten()?.expectation)
    }

    async fn expectation(&self, phases: &mut Phases) -> Result<Expectation, StageError> {
        let handover = handover::read(&self.world.disk).map_err(StageError::ReadHandover)?;
        let fragments = self.fragments()?;
        match handover {
            Some(handover) => {
                phases.done = handover.phases;
                // A deadline given to this very command counts.
                let said = merge(&fragments);
                let mut expectation = handover.expectation;
                if said.verify_deadline.source.rank > crate::settings::Rank::Config {
                    expectation.deadline = said.verify_deadline.value;
                }
                Ok(expectation)
            }
            None => {
                self.may_take(merge(&fragments).run_deadline.value);
                Ok(self.decide(phases, false).await?.0.expectation)
            }
        }
    }

    async fn verdict(
        &self,
        expectation: Expectation,
        queued_jobs: verify::QueuedJobs,
        systemd: &Result<Systemd, SystemdError>,
        age: Option<Duration>,
        phases: &mut Phases,
        progress: &Progress,
    ) -> Verdict {
        let begun = phases.begin();
        progress.say("waiting for the agent");
        let cluster = expectation.cluster.clone();
        let done = phases.done.clone();
        let mut seen = handover::modified(&self.world.disk);
        let callbacks = verify::ProgressCallbacks {
            on_waiting: &mut |waiting| {
                progress.say(&format!("waiting for {waiting}"));
                journal::status(&format!("waiting for {waiting}"));
            },
            on_interim: &mut |verdict| self.tell(&document(verdict, cluster.as_deref(), &done), false),
            on_time_left: &|duration| self.may_take(duration),
            new_expectation: &mut || {
                let now = handover::modified(&self.world.disk);
                let changed = std::mem::replace(&mut seen, now) != now;
                let handover = changed.then(|| handover::read(&self.world.disk).ok().flatten()).flatten()?;
                Some(handover.expectation)
            },
        };
        let verdict = Box::pin(verify::verdict(&self.world, systemd, expectation, queued_jobs, age, callbacks)).await;
        phases.end("verify", begun);
        verdict
    }

    pub(crate) fn report(&self, document: &Document, exit: Exit) -> CommandOutput {
        reported(document, exit, self.json)
    }
}

/// Tells a verdict.
fn report_locally(disk: &Disk, document: &Document, handed_over: bool, to_journal: bool) {
    report::locally(disk, document, handed_over, to_journal);
}

/// How long ago the instance was launched.
fn age(expectation: &Expectation) -> Option<Duration> {
    facts::since(expectation.pending_time.as_deref()?, SystemTime::now())
}
