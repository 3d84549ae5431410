//! Does what a plan says: registers a revision, creates or updates the service.
//!
//! In: a [`Plan`]. Out: the deployment that was started, or the cause why none was. It waits only until a deleted
//! service of the same name has finished draining, and until ECS shows the new deployment, at most until the time limit.

use std::time::Duration;

use ecs_bootstrap::boundary::aws::{AwsError, AwsErrorKind};
use ecs_bootstrap::retry::{Deadline, pause_for, within};
use serde_json::{Map, Value, json};

use crate::activity::Phase;
use crate::cause::FoundCause;
use crate::causes;
use crate::client::{RETRY_FOR, ServiceClient, call, call_deadline, call_for, is_transient};
use crate::normalize::hidden::{Hashes, UNRETURNED_TAG};
use crate::observe::parse_service;
use crate::plan::{Action, ActionName, Plan, TaskDefinitionChange};
use crate::progress::Progress;
use crate::revision::Revision;
use crate::service::{Deployment, Service, short};

/// Between two polls of a service that drains, or whose deployment is not visible yet.
const PAUSE: Duration = Duration::from_secs(3);

/// A deployment that was started, or found in progress.
#[derive(Clone, Debug)]
pub(crate) struct StartedDeployment {
    pub(crate) deployment: Deployment,
    /// The number of running tasks to wait for, if the change started no new deployment, as with a changed desired
    /// count.
    pub(crate) expected_count: Option<i64>,
    /// A deployment that another caller started after the plan was made, and that this one replaces.
    pub(crate) replaced: Option<Deployment>,
}

impl ServiceClient {
    /// Registers the revision of the plan, or returns the one that the plan keeps.
    pub(crate) async fn register(&self, plan: &Plan) -> Result<Revision, FoundCause> {
        match &plan.registration {
            TaskDefinitionChange::Keep(revision) => Ok(revision.clone()),
            TaskDefinitionChange::New { body, .. } => {
                let describe = |answer: &Value| {
                    let arn = Revision::read(answer).arn;
                    self.activity.registered(&arn);
                    format!("registered {}", short(&arn))
                };
                let register = async |deadline| {
                    let attempt = self.aws.register_task_definition(body, deadline);
                    self.activity.attempt("RegisterTaskDefinition", describe, attempt).await
                };
                let mut answer = call(register).await?;
                // The answer does not always have the tags of the request.
                answer["tags"] = body["tags"].clone();
                Ok(Revision::read(&answer))
            }
        }
    }

    /// Starts the deployment of a revision. `None` if the plan has nothing to do.
    pub(crate) async fn start(
        &self,
        plan: &Plan,
        revision: &Revision,
        deadline: Deadline,
        progress: &mut Progress,
    ) -> Result<Option<StartedDeployment>, FoundCause> {
        let service = match &plan.action {
            Action::Nothing => return Ok(None),
            Action::Attach(deployment) => {
                self.activity.act(ActionName::Attach);
                self.activity.enter(Phase::Rollout(deployment.clone()));
                let deployment = deployment.clone();
                return Ok(Some(StartedDeployment { deployment, expected_count: None, replaced: None }));
            }
            Action::Create { body, after_drain, .. } => {
                if *after_drain {
                    self.wait_until_drained(deadline, progress).await?;
                }
                let more = [("taskDefinition", json!(revision.arn)), ("clientToken", json!(client_token()))];
                let service = self.create(&with_members(body, &more), deadline, progress).await?;
                self.remember(plan, body, &service, progress).await;
                service
            }
            Action::Update { body, .. } => {
                let more = [
                    ("cluster", json!(self.cluster)),
                    ("service", json!(self.service)),
                    ("taskDefinition", json!(revision.arn)),
                ];
                let service = self.update(&with_members(body, &more), Phase::Rollout, RETRY_FOR).await?;
                self.remember(plan, body, &service, progress).await;
                service
            }
        };
        let service = match service.primary() {
            Some(_) => service,
            None => self.poll_for_deployment(deadline, progress).await?,
        };
        let Some(deployment) = service.primary().cloned() else {
            let text = format!("ECS shows no PRIMARY deployment; the status of the service is `{}`", service.status);
            return Err(causes::ROLLOUT_UNKNOWN.finding(text));
        };
        let is_new = plan.previous_deployment.as_deref() != Some(deployment.id.as_str());
        let replaced = plan
            .previous_deployment
            .as_deref()
            .filter(|_| is_new)
            .and_then(|previous| started_since(&service, &deployment, previous));
        let expected_count = (!is_new).then_some(service.desired_count);
        Ok(Some(StartedDeployment { replaced, deployment, expected_count }))
    }

    /// Writes the hashes of the members that ECS does not return to the tag of the service, if they change.
    async fn remember(&self, plan: &Plan, body: &Map<String, Value>, service: &Service, progress: &mut Progress) {
        let hashes = plan.to_remember.with(&Hashes::not_shown(body, service));
        // An empty tag says that nothing is to be remembered any more.
        let tag = (hashes != plan.remembered).then(|| hashes.tag().unwrap_or_default());
        if let (Some(value), Some(arn)) = (tag, service.raw["serviceArn"].as_str()) {
            self.tag_service(arn, &[(UNRETURNED_TAG.to_owned(), value)], progress).await;
        }
    }

    /// Polls the service until it shows a deployment.
    async fn poll_for_deployment(&self, deadline: Deadline, progress: &mut Progress) -> Result<Service, FoundCause> {
        progress.waiting("ECS does not show the deployment yet");
        let poll = async {
            loop {
                let service = self.service().await?;
                if let Some(service) = service.filter(|service| service.primary().is_some()) {
                    return Ok(service);
                }
                pause_for(PAUSE).await;
            }
        };
        within(deadline, poll).await.unwrap_or_else(|_| {
            Err(causes::TOO_SLOW.finding("ECS accepted the change, and did not show its deployment within the limit"))
        })
    }

    /// Adds tags to the service. A failure is shown as a warning, and does not end the deployment.
    pub(crate) async fn tag_service(&self, arn: &str, tags: &[(String, String)], progress: &mut Progress) {
        for (key, value) in tags {
            let tag = async |deadline| {
                let change = |(): &()| format!("tagged service `{}` with `{key}`", self.service);
                self.activity.attempt("TagResource", change, self.aws.tag(arn, key, value, deadline)).await
            };
            if let Err(finding) = call(tag).await {
                let why = finding.evidence.join("; ");
                progress.event(&format!("warning: the service could not be tagged with `{key}`: {why}"));
            }
        }
    }

    /// Calls UpdateService, for `retry_for` while it is throttled or gets no answer, and returns the updated service.
    /// `phase` is what ECS continues afterwards.
    pub(crate) async fn update(
        &self,
        body: &Value,
        phase: fn(Deployment) -> Phase,
        retry_for: Duration,
    ) -> Result<Service, FoundCause> {
        let describe = |raw: &Value| {
            self.enter(raw, phase, ActionName::Update);
            match body["taskDefinition"].as_str() {
                Some(revision) => format!("updated service `{}` with {}", self.service, short(revision)),
                None => format!("updated service `{}`", self.service),
            }
        };
        let update = async |deadline| {
            self.activity.attempt("UpdateService", describe, self.aws.update_service(body, deadline)).await
        };
        let raw = call_for(retry_for, update).await.map_err(|error| causes::from_error(&error))?;
        parse_service("UpdateService", &raw)
    }

    /// Records what ECS continues after a change of the service.
    fn enter(&self, raw: &Value, phase: fn(Deployment) -> Phase, action: ActionName) {
        self.activity.act(action);
        let service = Service::read(raw).unwrap_or_default();
        self.activity.enter(service.primary().cloned().map_or(Phase::Accepted, phase));
    }

    async fn create(&self, body: &Value, deadline: Deadline, progress: &mut Progress) -> Result<Service, FoundCause> {
        let describe = |raw: &Value| {
            self.enter(raw, Phase::Rollout, ActionName::Create);
            format!("created service `{}`", self.service)
        };
        loop {
            let attempt = self.aws.create_service(body, call_deadline().earliest(deadline));
            match self.activity.attempt("CreateService", describe, attempt).await {
                Ok(raw) => return parse_service("CreateService", &raw),
                Err(error) if (is_still_draining(&error) || is_transient(&error)) && !deadline.passed() => {
                    progress.waiting(&format!("ECS does not accept the new service yet: {}", error.kind));
                    pause_for(PAUSE.min(deadline.remaining())).await;
                }
                Err(error) if message_contains(&error, "not idempotent") => {
                    let text = "another caller created the service after this deployment was planned";
                    return Err(causes::SUPERSEDED.finding(text).and(error.verbatim()));
                }
                Err(error) if is_still_draining(&error) => {
                    return Err(causes::STILL_DRAINING.finding(error.verbatim()));
                }
                Err(error) => return Err(causes::from_error(&error)),
            }
        }
    }

    /// Waits until the deleted service of this name is gone.
    async fn wait_until_drained(&self, deadline: Deadline, progress: &mut Progress) -> Result<(), FoundCause> {
        let mut seen = format!("the deleted service `{}` has not drained", self.service);
        let poll = async {
            loop {
                let service = self.service().await?;
                let Some(draining) = service.filter(|service| service.status == "DRAINING") else { return Ok(()) };
                seen = format!("the deleted service `{}` still runs {} tasks", self.service, draining.running_count);
                progress.waiting(&format!("waiting until the deleted service has drained: {seen}"));
                pause_for(PAUSE).await;
            }
        };
        match within(deadline, poll).await {
            Ok(end) => end,
            Err(_) => Err(causes::STILL_DRAINING.finding(seen)),
        }
    }
}

/// The newest other deployment, unless it is the one of the plan: another caller started it since.
fn started_since(service: &Service, deployment: &Deployment, previous: &str) -> Option<Deployment> {
    let others = service.deployments.iter().filter(|other| other.id != deployment.id);
    let newest = others.max_by(|a, b| a.created_at.total_cmp(&b.created_at));
    newest.filter(|newest| newest.id != previous).cloned()
}

fn with_members(body: &Map<String, Value>, more: &[(&str, Value)]) -> Value {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Value::Object(body.clone().into_iter().chain(more).collect())
}

fn message_contains(error: &AwsError, words: &str) -> bool {
    matches!(&error.kind, AwsErrorKind::Service { message, .. } if message.to_ascii_lowercase().contains(words))
}

fn is_still_draining(error: &AwsError) -> bool {
    message_contains(error, "still draining")
}

/// An idempotency token: ECS recognizes a repeated CreateService or RunTask by it. It needs no cryptographic randomness.
pub(crate) fn client_token() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}
