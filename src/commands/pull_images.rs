//! `pull-images`: pulls the images of `ready.images` and `ready.images-of-services`, all at the same time.
//!
//! In: what the last run expects, and the agent's configuration. Out: [`Pulls`], which is stored while docker works, and which
//! verify waits for. Each image is tried until docker has it or `ready.deadline` has passed. `ecs-bootstrap-images.service` runs
//! this beside user data; with `ready.hold-registration` its start, and so that of the agent, ends with the pulls.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use futures_util::future::{join, join_all};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::phases::Phases;
use super::{CommandContext, handover};
use crate::boundary::aws::AwsError;
use crate::boundary::disk::{DiskError, Mode};
use crate::boundary::docker::{Layers, PullError, RegistryLogin};
use crate::boundary::kernel::spaces;
use crate::command_line::CommandOutput;
use crate::exit::Exit;
use crate::host::agent_config;
use crate::images::{
    Failure, ImageReference, LOCK, Login, PULLS, Pull, PullState, Pulls, Reason, configured_login, reason_of,
};
use crate::journal;
use crate::plan::{Expectation, RUN_FOLDER, ReadyConditions};
use crate::redaction::{self, error_chain};
use crate::render::{Progress, as_json, document, pulls_json, pulls_text};
use crate::retry::{AttemptResult, Deadline, Policy, pause_for, until};
use crate::verify;
use crate::watch::seconds;

/// The pauses between attempts: docker may not have started, and a role or an image may arrive late.
const POLICY: Policy = Policy { first: Duration::from_secs(2), longest: Duration::from_secs(30) };
/// The limit for one AWS call or request to docker.
const CALL: Duration = Duration::from_secs(20);
/// How often the state is stored while docker works.
const BETWEEN_STORES: Duration = Duration::from_secs(1);
/// How often the plan is read while it names no cluster.
const BETWEEN_PLANS: Duration = Duration::from_secs(2);
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
        let _lock = match self.lock_pulls() {
            Ok(lock) => lock,
            Err(DiskError::Busy { .. }) => {
                return CommandOutput::error(Exit::Systemd, "another process pulls the images");
            }
            Err(error) => return CommandOutput::error(Exit::Host, &error_chain(&error)),
        };
        let progress = Progress::new(self.shows_progress);
        loop {
            let read_at = handover::modified(&self.host_clients.disk);
            let expectation = match self.expectation(&mut phases).await {
                Ok(expectation) => expectation,
                Err(error) => {
                    let verdict = verify::explained(&self.host_clients, error).await;
                    return self.verdict_output(&document(&verdict, None, &phases.done), verdict.exit());
                }
            };
            let Some(conditions) = expectation.waits_for_images() else {
                journal::ready("no image is named");
                return CommandOutput::success("no image is named (`ready.images`, `ready.images-of-services`)\n");
            };
            if !conditions.images.holds_registration {
                journal::ready("pulling images");
            }
            let pulls = self.pull_all(&expectation, conditions, &progress).await;
            // A run that was made in the meantime may name others.
            if handover::modified(&self.host_clients.disk) != read_at
                && self.last_expectation().is_some_and(|new| new.ready != expectation.ready)
            {
                continue;
            }
            progress.clear();
            journal::ready(&summary(&pulls));
            let exit = if pulls.is_complete() { Exit::Done } else { Exit::NotRegistered };
            let stdout = if self.json { as_json(&pulls_json(&pulls)) } else { pulls_text(&pulls) };
            return CommandOutput { stdout, stderr: String::new(), exit };
        }
    }

    fn lock_pulls(&self) -> Result<crate::boundary::disk::Lock, DiskError> {
        self.host_clients.disk.create_folder(RUN_FOLDER, 0o755)?;
        self.host_clients.disk.lock(LOCK)
    }

    async fn pull_all(&self, expectation: &Expectation, conditions: &ReadyConditions, progress: &Progress) -> Pulls {
        let deadline = Deadline::after(conditions.deadline);
        self.set_deadline(deadline.plus(GRACE));
        let until = seconds(SystemTime::now()).saturating_add(conditions.deadline.as_secs());
        let images = conditions.images.named.iter().cloned().map(Pull::new).collect();
        let pulls = Pulls { wanted: conditions.images.clone(), until, images, ..Pulls::default() };
        let work = Work {
            context: self,
            expectation,
            deadline,
            progress,
            config: agent_config(&self.host_clients.disk),
            pulls: RefCell::new(pulls),
            stored_at: Cell::new(None),
            root: RefCell::new(None),
            logins: Mutex::default(),
        };
        work.store();
        let named = join_all((0..conditions.images.named.len()).map(|index| work.pull(index)));
        let of_services = async {
            if !conditions.images.of_services.is_empty() {
                let range = work.add_images_of_services(&conditions.images.of_services).await;
                join_all(range.map(|index| work.pull(index))).await;
            }
        };
        join(named, of_services).await;
        work.pulls.borrow_mut().has_ended = true;
        work.store();
        work.pulls.into_inner()
    }
}

/// The pulls of one set of images.
struct Work<'w> {
    context: &'w CommandContext,
    expectation: &'w Expectation,
    deadline: Deadline,
    progress: &'w Progress,
    config: BTreeMap<String, String>,
    pulls: RefCell<Pulls>,
    stored_at: Cell<Option<Instant>>,
    /// The folder in which docker stores images.
    root: RefCell<Option<String>>,
    /// The tokens of ECR, by region. Locked during a call, so that images of the same region share one.
    logins: Mutex<BTreeMap<String, RegistryLogin>>,
}

impl Work<'_> {
    /// Pulls the image at `index` until docker has it, a repetition cannot help, or the deadline passes.
    async fn pull(&self, index: usize) {
        let image = self.pulls.borrow().images[index].image.clone();
        let start = Instant::now();
        let outcome = until(self.deadline, POLICY, async |_| match self.attempt(index, &image, start).await {
            Ok(()) => AttemptResult::Done(()),
            Err(failure) => {
                self.note_failure(index, &failure, start);
                match failure.reason {
                    // Each attempt would download the layers again.
                    Reason::NoSpace => AttemptResult::Stop(failure),
                    _ => AttemptResult::Retry(failure),
                }
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

    async fn attempt(&self, index: usize, image: &str, start: Instant) -> Result<(), Failure> {
        let docker = &self.context.host_clients.docker;
        let Some(reference) = ImageReference::parse(image) else {
            return Err(Failure { reason: Reason::NotFound, text: "not a valid name of an image".to_owned() });
        };
        let behavior = self.config.get("ECS_IMAGE_PULL_BEHAVIOR").map(String::as_str);
        if reference.is_fixed() || matches!(behavior, Some("once" | "prefer-cached")) {
            let has = docker.has_image(image, self.call()).await;
            if has.map_err(|error| of_docker(&PullError::Docker(error)))? {
                return Ok(());
            }
        }
        self.check_space().await?;
        let login = self.login(&reference).await?;
        let mut on_progress = |layers: &Layers| self.note_progress(index, layers, start);
        let pulled = docker.pull((reference.name, reference.version), login.as_ref(), self.deadline, &mut on_progress);
        match pulled.await {
            Ok(layers) => {
                let _ = self.note_progress(index, &layers, start);
                Ok(())
            }
            Err(PullError::Ended) => Err(self.lack_of_space().unwrap_or_else(|| of_docker(&PullError::Ended))),
            Err(error) => {
                let failure = of_docker(&error);
                if failure.reason == Reason::Denied {
                    // A policy that was attached since the token was made.
                    self.logins.lock().await.clear();
                }
                Err(failure)
            }
        }
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
        if self.root.borrow().is_none() {
            let root = self.context.host_clients.docker.root_folder(self.call()).await;
            let root = root.map_err(|error| of_docker(&PullError::Docker(error)))?;
            *self.root.borrow_mut() = Some(root);
        }
        match self.free() {
            Some((root, free)) if free < MIN_FREE_BEFORE => Err(no_space(format!(
                "{} MiB are free on the file system of `{root}`, and a pull begins only with {} MiB",
                free >> 20,
                MIN_FREE_BEFORE >> 20
            ))),
            _ => Ok(()),
        }
    }

    /// Why the layers that docker downloads do not fit; `None` if they may.
    fn lack_of_space(&self) -> Option<Failure> {
        let (root, free) = self.free()?;
        let pulls = self.pulls.borrow();
        let left: u64 = pulls.images.iter().map(|pull| pull.total_bytes.saturating_sub(pull.bytes)).sum();
        if free >= MIN_FREE && free >= left {
            return None;
        }
        Some(no_space(format!(
            "{} MiB are free on the file system of `{root}`, {} MiB of compressed layers are not yet downloaded, and {} MiB must \
             stay free",
            free >> 20,
            left >> 20,
            MIN_FREE >> 20
        )))
    }

    fn free(&self) -> Option<(String, u64)> {
        let root = self.root.borrow().clone()?;
        let space = spaces(&self.context.host_clients.disk, &[&root]).pop()?;
        Some((root, space.free_bytes))
    }

    /// The login for the registry of an image; `None` if the pull is anonymous.
    async fn login(&self, reference: &ImageReference<'_>) -> Result<Option<RegistryLogin>, Failure> {
        match reference.login() {
            Login::Configured => {
                let login = configured_login(&self.config, reference.registry);
                Ok(login.map(|(user, password)| RegistryLogin { user, password }))
            }
            Login::Ecr { region } => self.token(region).await.map(Some).map_err(|error| of_aws(&error)),
            Login::EcrPublic => {
                let token = self.token("").await;
                // The limits for anonymous pulls are lower, but they need no permission.
                Ok(token.inspect_err(|error| tracing::debug!(%error, "ECR Public is used anonymously")).ok())
            }
        }
    }

    /// A token of ECR for a region; for an empty one, of ECR Public.
    async fn token(&self, region: &str) -> Result<RegistryLogin, AwsError> {
        let mut logins = self.logins.lock().await;
        if let Some(login) = logins.get(region) {
            return Ok(login.clone());
        }
        let own_region =
            self.expectation.region.as_deref().unwrap_or(if region.is_empty() { "us-east-1" } else { region });
        let aws = self.context.host_clients.aws(own_region).await?;
        let login = match region {
            "" => aws.ecr_public_login(self.call()).await?,
            _ => aws.ecr_login(region, self.call()).await?,
        };
        logins.insert(region.to_owned(), login.clone());
        Ok(login)
    }

    /// Finds the images of the services, and adds those that are not named. Returns their indexes.
    async fn add_images_of_services(&self, services: &[String]) -> std::ops::Range<usize> {
        let found = until(self.deadline, POLICY, async |_| match self.images_of_services(services).await {
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

    async fn images_of_services(&self, services: &[String]) -> Result<Vec<String>, Failure> {
        let (region, cluster) = self.region_and_cluster().await?;
        let aws = self.context.host_clients.aws(&region).await.map_err(|error| of_aws(&error))?;
        let described = aws.services(&cluster, services, self.call()).await.map_err(|error| of_aws(&error))?;
        let mut images = Vec::new();
        for name in services {
            let Some(service) = described.iter().find(|one| one.name == *name && one.is_active) else {
                let text = format!("the cluster `{cluster}` has no active service `{name}`");
                return Err(Failure { reason: Reason::NotFound, text: redaction::line(&text) });
            };
            let of_task = aws.task_images(&service.task_definition, self.call()).await;
            images.extend(of_task.map_err(|error| of_aws(&error))?);
        }
        Ok(images)
    }

    /// Waits until a run names the cluster, which user data may do.
    async fn region_and_cluster(&self) -> Result<(String, String), Failure> {
        loop {
            let new = self.context.last_expectation();
            let expectation = new.as_ref().unwrap_or(self.expectation);
            if let (Some(region), Some(cluster)) = (&expectation.region, &expectation.cluster) {
                return Ok((region.clone(), cluster.clone()));
            }
            if self.deadline.passed() {
                return Err(Failure { reason: Reason::Other, text: "no source names the cluster".to_owned() });
            }
            pause_for(BETWEEN_PLANS.min(self.deadline.remaining())).await;
        }
    }

    fn call(&self) -> Deadline {
        self.deadline.earliest(Deadline::after(CALL))
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

fn of_docker(error: &PullError) -> Failure {
    let reason = match error {
        PullError::Refused(message) => reason_of(message),
        _ => Reason::Other,
    };
    Failure { reason, text: redaction::line(&error_chain(error)) }
}

fn of_aws(error: &AwsError) -> Failure {
    let reason = if error.is_denied() { Reason::Denied } else { Reason::Other };
    Failure { reason, text: crate::evidence::task_hold::without_time(error) }
}
