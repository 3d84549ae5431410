//! `pull-images`: pulls the images of `ready.images` and `ready.images-of-services`, all at the same time.
//!
//! In: what the last run expects, and the agent's configuration. Out: [`Pulls`], which is stored while docker works, and which
//! verify waits for. Each image is tried until docker has it or `ready.deadline` has passed. `ecs-bootstrap-images.service` runs
//! this beside user data; with `ready.hold-registration` its start, and so that of the agent, ends with the pulls.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::Instant;

use super::CommandContext;
use super::image_sources::Sources;
use super::phases::Phases;
use crate::boundary::disk::{DiskError, Mode};
use crate::boundary::docker::{Layers, PullError};
use crate::boundary::kernel::spaces;
use crate::command_line::CommandOutput;
use crate::exit::Exit;
use crate::host::agent_config;
use crate::images::{Failure, ImageReference, LOCK, PULLS, Pull, PullState, Pulls, Reason, reason_of};
use crate::journal;
use crate::plan::{Expectation, ReadyConditions};
use crate::redaction::{self, error_chain};
use crate::render::{Progress, as_json, document, pulls_json, pulls_text};
use crate::retry::{AttemptResult, Deadline, Policy, until};
use crate::verify;

/// The pauses between attempts: docker may not have started, and a role or an image may arrive late.
const POLICY: Policy = Policy { first: Duration::from_secs(2), longest: Duration::from_secs(30) };
/// The pauses until the services are read again: user data may name the cluster later.
const SERVICES_POLICY: Policy = Policy { first: Duration::from_secs(2), longest: Duration::from_secs(10) };
/// How often the state is stored while docker works.
const BETWEEN_STORES: Duration = Duration::from_secs(1);
/// The time after the limit for the last state and the output.
const GRACE: Duration = Duration::from_secs(10);
/// With less free space no pull begins. In bytes.
const MIN_FREE_BEFORE: u64 = 1 << 30;
/// With less free space a pull ends, before the other programs of the host fail. In bytes.
const MIN_FREE: u64 = 256 << 20;

impl CommandContext {
    /// `pull-images`: pulls until docker has all images.
    pub async fn pull_images(self) -> CommandOutput {
        let mut phases = Phases::new(self.start);
        let _lock = match self.lock_of_state(LOCK).await {
            Ok(lock) => lock,
            Err(DiskError::Busy { .. }) => {
                return CommandOutput::error(Exit::Systemd, "another process pulls the images");
            }
            Err(error) => return CommandOutput::error(Exit::Host, &error_chain(&error)),
        };
        let expectation = match self.expectation(&mut phases).await {
            Ok(expectation) => expectation,
            Err(error) => {
                let verdict = verify::explained(&self.host_clients, error, &self.agent_unit()).await;
                return self.verdict_output(&document(&verdict, None, &phases.done), verdict.exit());
            }
        };
        let Some(conditions) = expectation.waits_for_images() else {
            journal::ready("no image is named");
            return CommandOutput::success("no image is named (`ready.images`, `ready.images-of-services`)\n");
        };
        let progress = Progress::new(self.shows_progress);
        let pulls = self.pull_all(&expectation, conditions, &progress).await;
        progress.clear();
        journal::ready(&summary(&pulls));
        let is_enough = pulls.is_complete() || conditions.allows_after_deadline();
        let exit = if is_enough { Exit::Done } else { Exit::NotRegistered };
        let stdout = if self.json { as_json(&pulls_json(&pulls)) } else { pulls_text(&pulls) };
        CommandOutput { stdout, stderr: String::new(), exit }
    }

    async fn pull_all(&self, expectation: &Expectation, conditions: &ReadyConditions, progress: &Progress) -> Pulls {
        let deadline = Deadline::after(conditions.deadline);
        self.set_deadline(deadline.plus(GRACE));
        let images = conditions.images.named.iter().cloned().map(Pull::new).collect();
        let pulls = Pulls { wanted: conditions.images.clone(), images, ..Pulls::default() };
        let work = Work {
            context: self,
            sources: Sources::new(self, expectation, deadline),
            deadline,
            progress,
            pulls: RefCell::new(pulls),
            stored_at: Cell::new(None),
            folders: RefCell::new(Vec::new()),
        };
        // Before the unit has started, so that the state of earlier pulls is not read as that of these.
        work.store();
        if !conditions.images.holds_registration {
            journal::ready("pulling images");
        }
        let named = join_all((0..conditions.images.named.len()).map(|index| work.pull(index)));
        let of_services = async {
            if !conditions.images.of_services.is_empty() {
                let range = work.add_images_of_services(&conditions.images.of_services).await;
                join_all(range.map(|index| work.pull(index))).await;
            }
        };
        join(named, of_services).await;
        work.pulls.borrow_mut().end();
        work.store();
        work.pulls.into_inner()
    }
}

/// The pulls of one set of images.
struct Work<'w> {
    context: &'w CommandContext,
    sources: Sources<'w>,
    deadline: Deadline,
    progress: &'w Progress,
    pulls: RefCell<Pulls>,
    stored_at: Cell<Option<Instant>>,
    /// The folders in which docker stores images.
    folders: RefCell<Vec<String>>,
}

/// Why an attempt to pull failed.
struct Failed {
    failure: Failure,
    /// Whether another attempt cannot help.
    is_final: bool,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Failed {
        Failed { failure, is_final: false }
    }
}

impl Work<'_> {
    /// Pulls the image at `index` until docker has it, a repetition cannot help, or the deadline passes.
    async fn pull(&self, index: usize) {
        let image = self.pulls.borrow().images[index].image.clone();
        let start = Instant::now();
        let outcome = until(self.deadline, POLICY, async |_| match self.attempt(index, &image, start).await {
            Ok(()) => AttemptResult::Done(()),
            Err(Failed { failure, is_final }) => {
                self.note_failure(index, &failure, start);
                if is_final { AttemptResult::Stop(failure) } else { AttemptResult::Retry(failure) }
            }
        })
        .await;
        let mut pulls = self.pulls.borrow_mut();
        let pull = &mut pulls.images[index];
        pull.duration_ms = milliseconds(start.elapsed());
        let (bytes, duration_ms) = (pull.bytes, pull.duration_ms);
        match outcome {
            Ok(()) => {
                (pull.state, pull.failure) = (PullState::Present, None);
                tracing::info!(priority = 5, image, bytes, duration_ms, "image present");
            }
            Err(gave_up) => {
                pull.state = PullState::Absent;
                tracing::error!("`{image}` is missing after {} attempts: {}", gave_up.attempts, gave_up.last.text);
            }
        }
        drop(pulls);
        self.store();
    }

    fn note_failure(&self, index: usize, failure: &Failure, start: Instant) {
        let mut pulls = self.pulls.borrow_mut();
        let pull = &mut pulls.images[index];
        pull.duration_ms = milliseconds(start.elapsed());
        if pull.failure.as_ref().is_none_or(|before| before.text != failure.text) {
            tracing::warn!("`{}` is not pulled: {}; another attempt follows", pull.image, failure.text);
        }
        pull.failure = Some(failure.clone());
        drop(pulls);
        self.store();
    }

    async fn attempt(&self, index: usize, image: &str, start: Instant) -> Result<(), Failed> {
        let docker = &self.context.host_clients.docker;
        let Some(reference) = ImageReference::parse(image) else {
            return Err(Failure { reason: Reason::NotFound, text: "not a valid name of an image".to_owned() }.into());
        };
        // In each attempt: user data may write to the file.
        let config = agent_config(&self.context.host_clients.disk);
        let behavior = config.get("ECS_IMAGE_PULL_BEHAVIOR").map(|value| value.trim());
        if (reference.is_fixed() || matches!(behavior, Some("once" | "prefer-cached")))
            && self.has_image(&reference).await?
        {
            return Ok(());
        }
        self.check_space().await?;
        let login = self.sources.login(&reference, &config).await?;
        let mut on_progress = |layers: &Layers| self.note_progress(index, layers, start);
        let name = (reference.name, reference.version);
        match docker.pull(name, login.as_ref(), self.deadline, &mut on_progress).await {
            Ok(layers) => {
                let _ = self.note_progress(index, &layers, start);
                if self.has_image(&reference).await? {
                    return Ok(());
                }
                let text = "docker reports success, and does not have the image".to_owned();
                Err(Failure { reason: Reason::Other, text }.into())
            }
            Err(PullError::Ended) => {
                let failure = self.lack_of_space().unwrap_or_else(|| of_docker(&PullError::Ended, image));
                // Another attempt would download the layers again.
                Err(Failed { failure, is_final: true })
            }
            Err(error) => {
                let mut failure = of_docker(&error, image);
                if let Some(login) = &login {
                    failure.text = failure.text.replace(&login.password, redaction::REDACTED);
                }
                if failure.reason == Reason::Denied {
                    self.sources.forget_token(&reference);
                }
                Err(failure.into())
            }
        }
    }

    async fn has_image(&self, reference: &ImageReference<'_>) -> Result<bool, Failure> {
        let image = reference.with_version();
        let has = self.context.host_clients.docker.has_image(&image, self.sources.call()).await;
        has.map_err(|error| of_docker(&PullError::Docker(error), &image))
    }

    /// Notes how far an image is. Ends the pull if the space is too small.
    fn note_progress(&self, index: usize, layers: &Layers, start: Instant) -> ControlFlow<()> {
        let mut pulls = self.pulls.borrow_mut();
        let pull = &mut pulls.images[index];
        let has_new_layer = layers.total() != pull.total_bytes;
        (pull.bytes, pull.total_bytes) = (layers.downloaded(), layers.total());
        pull.duration_ms = milliseconds(start.elapsed());
        pull.failure = None;
        drop(pulls);
        let is_due = self.stored_at.get().is_none_or(|at| at.elapsed() >= BETWEEN_STORES);
        if is_due {
            self.store();
        }
        if (is_due || has_new_layer) && self.lack_of_space().is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Whether a pull can begin.
    async fn check_space(&self) -> Result<(), Failure> {
        if self.folders.borrow().is_empty() {
            let folders = self.context.host_clients.docker.storage_folders(self.sources.call()).await;
            *self.folders.borrow_mut() = folders.map_err(|error| of_docker(&PullError::Docker(error), ""))?;
        }
        match self.least_free() {
            Some((folder, free)) if free < MIN_FREE_BEFORE => Err(no_space(format!(
                "{} MiB are free on the file system of `{folder}`, and a pull begins only with {} MiB",
                free >> 20,
                MIN_FREE_BEFORE >> 20
            ))),
            _ => Ok(()),
        }
    }

    /// Why the layers that docker downloads do not fit; `None` if they may.
    fn lack_of_space(&self) -> Option<Failure> {
        let (folder, free) = self.least_free()?;
        let pulls = self.pulls.borrow();
        let pulled = pulls.images.iter().filter(|pull| pull.state == PullState::Pulling);
        let left: u64 = pulled.map(|pull| pull.total_bytes.saturating_sub(pull.bytes)).sum();
        if free >= MIN_FREE && free >= left {
            return None;
        }
        Some(no_space(format!(
            "{} MiB are free on the file system of `{folder}`, {} MiB of compressed layers are not yet downloaded, and {} MiB \
             must stay free",
            free >> 20,
            left >> 20,
            MIN_FREE >> 20
        )))
    }

    /// The folder of docker with the least free space, in bytes.
    fn least_free(&self) -> Option<(String, u64)> {
        let folders = self.folders.borrow();
        let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
        let spaces = spaces(&self.context.host_clients.disk, &folders).into_iter();
        spaces.min_by_key(|space| space.free_bytes).map(|space| (space.path, space.free_bytes))
    }

    /// Finds the images of the services, and adds those that are not named. Returns their indexes.
    async fn add_images_of_services(&self, services: &[String]) -> std::ops::Range<usize> {
        let found =
            until(self.deadline, SERVICES_POLICY, async |_| match self.sources.images_of_services(services).await {
                Ok(images) => AttemptResult::Done(images),
                Err(failure) => {
                    if self.pulls.borrow().services.as_ref() != Some(&failure) {
                        tracing::warn!("the images of the services are not known yet: {}", failure.text);
                    }
                    self.pulls.borrow_mut().services = Some(failure.clone());
                    self.store();
                    AttemptResult::Retry(failure)
                }
            });
        let found = found.await;
        let mut pulls = self.pulls.borrow_mut();
        let first = pulls.images.len();
        if let Ok(images) = found {
            pulls.services = None;
            for image in images {
                if pulls.images.iter().all(|pull| pull.image != image) {
                    pulls.images.push(Pull::new(image));
                }
            }
        }
        first..pulls.images.len()
    }

    /// Stores the state, and shows it.
    fn store(&self) {
        self.stored_at.set(Some(Instant::now()));
        let pulls = self.pulls.borrow();
        let bytes = as_json(&*pulls).into_bytes();
        let disk = &self.context.host_clients.disk;
        if let Err(error) = disk.replace_without_sync(PULLS, &bytes, Mode::Exactly(0o644)) {
            tracing::warn!(error = error_chain(&error), "state of the images not stored");
        }
        let text = summary(&pulls);
        self.progress.say(&text);
        journal::status(&text);
    }
}

/// The state of all images in one line.
fn summary(pulls: &Pulls) -> String {
    let present = pulls.images.iter().filter(|pull| pull.state == PullState::Present).count();
    let bytes: u64 = pulls.images.iter().map(|pull| pull.bytes).sum();
    let total: u64 = pulls.images.iter().map(|pull| pull.total_bytes).sum();
    let (bytes, total) = (bytes as f64 / 1e6, total as f64 / 1e6);
    format!("{present} of {} images present, {bytes:.1} of {total:.1} MB downloaded", pulls.images.len())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn no_space(text: String) -> Failure {
    Failure { reason: Reason::NoSpace, text }
}

fn of_docker(error: &PullError, image: &str) -> Failure {
    let reason = match error {
        PullError::Refused(message) => reason_of(message, image),
        _ => Reason::Other,
    };
    Failure { reason, text: redaction::line(&error_chain(error)) }
}
