//! Does what a plan says and nothing else: registers, creates or updates.
//!
//! In: a [`Plan`]. Out: the deployment that was begun, or the cause why none was. It waits only for a deleted service of
//! the same name to end.

use std::time::Duration;

use ecs_bootstrap::boundary::aws::{AwsError, AwsErrorKind};
use ecs_bootstrap::retry::{Deadline, pause_for};
use serde_json::{Map, Value, json};

use crate::cause::{self, Finding};
use crate::client::{ServiceClient, call, is_transient};
use crate::decide::{Action, Plan, Registration};
use crate::observe::Revision;
use crate::progress::Progress;
use crate::rollout::{Deployment, Service, short};

/// Between two looks at a service that drains.
const PAUSE: Duration = Duration::from_secs(3);
/// How often a deployment is looked for that an answer did not show.
const LOOKS: u32 = 10;

/// What was started.
#[derive(Clone, Debug)]
pub(crate) struct StartedDeployment {
    /// The deployment to watch.
    pub(crate) deployment: Deployment,
    /// Where it is no new one, as with a changed desired count: how many tasks are waited for.
    pub(crate) expected_count: Option<i64>,
    /// Somebody else's deployment, begun after the plan was made, that this one has taken the place of.
    pub(crate) replaced: Option<Deployment>,
}

impl ServiceClient {
    /// The revision to run.
    pub(crate) async fn register(&self, plan: &Plan) -> Result<Revision, Finding> {
        match &plan.registration {
            Registration::Keep(revision) => Ok(revision.clone()),
            Registration::New { body, .. } => {
                let register = async |deadline| self.aws.register_task_definition(body, deadline).await;
                let mut answer = call(register).await?;
                // Those that it was given: not every answer repeats them.
                answer["tags"] = body["tags"].clone();
                Ok(Revision::read(&answer))
            }
        }
    }

    /// Begins the deployment of a revision; none where there is nothing to begin.
    pub(crate) async fn begin(
        &self,
        plan: &Plan,
        revision: &Revision,
        deadline: Deadline,
        progress: &mut Progress,
    ) -> Result<Option<StartedDeployment>, Finding> {
        let service = match &plan.action {
            Action::Nothing => return Ok(None),
            Action::Attach(deployment) => {
                let deployment = deployment.clone();
                return Ok(Some(StartedDeployment { deployment, expected_count: None, replaced: None }));
            }
            Action::Create { body, after_drain, .. } => {
                if *after_drain {
                    self.drained(deadline, progress).await?;
                }
                let body = with(body, &[("taskDefinition", json!(revision.arn)), ("clientToken", json!(token()))]);
                self.create(&body, deadline, progress).await?
            }
            Action::Update { body, .. } => {
                let ours = [("cluster", &self.cluster), ("service", &self.service), ("taskDefinition", &revision.arn)];
                self.update(&with(body, &ours.map(|(name, value)| (name, json!(value))))).await?
            }
        };
        let service = match service.primary() {
            Some(_) => service,
            None => self.shown(deadline, progress).await?,
        };
        let Some(deployment) = service.primary().cloned() else {
            let text = format!("ECS shows no PRIMARY deployment; the service's status is `{}`", service.status);
            return Err(cause::ROLLOUT_UNKNOWN.finding(text));
        };
        let is_new = plan.before.as_deref() != Some(deployment.id.as_str());
        // The one before ours, where it is not the one that the plan was made for.
        let others = service.deployments.iter().filter(|other| other.id != deployment.id);
        let latest = others.max_by(|a, b| a.created_at.total_cmp(&b.created_at));
        let replaced =
            latest.filter(|latest| is_new && plan.before.as_ref().is_some_and(|before| latest.id != *before));
        let expected_count = (!is_new).then_some(service.desired_count);
        Ok(Some(StartedDeployment { replaced: replaced.cloned(), deployment, expected_count }))
    }

    /// The service once it has a deployment, or as it is after some looks.
    async fn shown(&self, deadline: Deadline, progress: &mut Progress) -> Result<Service, Finding> {
        progress.waiting("ECS does not show the deployment yet");
        for _ in 0..LOOKS {
            let service = self.service().await.map_err(|error| cause::of_call(&error))?;
            if let Some(service) = service.filter(|service| service.primary().is_some()) {
                return Ok(service);
            }
            pause_for(PAUSE.min(deadline.remaining())).await;
        }
        Ok(Service::default())
    }

    /// Tags that the service lacks; what could not be set is told, and stops nothing.
    pub(crate) async fn tag_service(&self, arn: &str, tags: &[(String, String)], progress: &mut Progress) {
        for (key, value) in tags {
            if let Err(finding) = call(async |deadline| self.aws.tag(arn, key, value, deadline).await).await {
                progress.event(&format!("warning: the service has no tag `{key}`: {}", finding.evidence.join("; ")));
            }
        }
    }

    /// UpdateService; what the service has become.
    pub(crate) async fn update(&self, body: &Value) -> Result<Service, Finding> {
        let raw = call(async |deadline| self.aws.update_service(body, deadline).await).await?;
        Service::read(&raw).ok_or_else(|| not_understood("UpdateService"))
    }

    async fn create(&self, body: &Value, deadline: Deadline, progress: &mut Progress) -> Result<Service, Finding> {
        loop {
            match self.aws.create_service(body, Deadline::after(Duration::from_secs(30))).await {
                Ok(raw) => return Service::read(&raw).ok_or_else(|| not_understood("CreateService")),
                Err(error) if (still_drains(&error) || is_transient(&error)) && deadline.remaining() > PAUSE => {
                    progress.waiting(&format!("ECS does not take the new service yet: {}", error.kind));
                    pause_for(PAUSE).await;
                }
                Err(error) if says(&error, "not idempotent") => {
                    let text = "the service was created by somebody else while this deployment was planned";
                    return Err(cause::SUPERSEDED.finding(text).and(error.verbatim()));
                }
                Err(error) if still_drains(&error) => return Err(cause::STILL_DRAINING.finding(error.verbatim())),
                Err(error) => return Err(cause::of_call(&error)),
            }
        }
    }

    /// Waits until the service that was deleted is gone.
    async fn drained(&self, deadline: Deadline, progress: &mut Progress) -> Result<(), Finding> {
        loop {
            let service = self.service().await.map_err(|error| cause::of_call(&error))?;
            let Some(draining) = service.filter(|service| service.status == "DRAINING") else { return Ok(()) };
            let text = format!("the deleted service `{}` still runs {} tasks", self.service, draining.running_count);
            if deadline.remaining() <= PAUSE {
                return Err(cause::STILL_DRAINING.finding(text));
            }
            progress.waiting(&format!("waiting for its end: {text}"));
            pause_for(PAUSE).await;
        }
    }
}

fn with(body: &Map<String, Value>, more: &[(&str, Value)]) -> Value {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Value::Object(body.clone().into_iter().chain(more).collect())
}

fn says(error: &AwsError, words: &str) -> bool {
    matches!(&error.kind, AwsErrorKind::Service { message, .. } if message.to_ascii_lowercase().contains(words))
}

fn still_drains(error: &AwsError) -> bool {
    says(error, "still draining")
}

fn not_understood(call: &str) -> Finding {
    cause::UNREACHABLE.finding(format!("the answer to {call} was not understood"))
}

/// By which ECS knows a repeated request for the same; of no cryptographic worth.
fn token() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

/// `web:42 as ecs-svc/1`.
pub(crate) fn named(deployment: &Deployment) -> String {
    format!("{} as {}", short(&deployment.task_definition), deployment.id)
}
