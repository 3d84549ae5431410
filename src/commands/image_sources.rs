//! Where images come from: the login of each registry, and the images of services.
//!
//! In: the name of an image, or the names of services. Out: user and password, or the names of images. A login is sent to docker
//! only.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::CommandContext;
use crate::boundary::aws::AwsError;
use crate::boundary::docker::RegistryLogin;
use crate::evidence::task_hold::without_time;
use crate::host::joined_cluster;
use crate::images::{Failure, ImageReference, Login, Reason, configured_login};
use crate::plan::Expectation;
use crate::redaction;
use crate::retry::Deadline;

/// The limit for one AWS call or request to docker.
const CALL: Duration = Duration::from_secs(20);

/// User and password; `None` if the registry is used anonymously.
type Token = Option<(String, String)>;

/// What finds logins and images.
pub(super) struct Sources<'s> {
    context: &'s CommandContext,
    expectation: &'s Expectation,
    deadline: Deadline,
    /// The tokens of ECR, by region; that of ECR Public has an empty one. Images of the same region share a call.
    tokens: RefCell<BTreeMap<String, Rc<OnceCell<Token>>>>,
}

impl<'s> Sources<'s> {
    pub(super) fn new(context: &'s CommandContext, expectation: &'s Expectation, deadline: Deadline) -> Sources<'s> {
        Sources { context, expectation, deadline, tokens: RefCell::default() }
    }

    /// The login for the registry of an image; `None` if the pull is anonymous.
    pub(super) async fn login(
        &self,
        reference: &ImageReference<'_>,
        config: &BTreeMap<String, String>,
    ) -> Result<Option<RegistryLogin>, Failure> {
        let login = match reference.login() {
            Login::Configured => configured_login(config, reference.registry),
            Login::Ecr { region } => self.token(region).await.map_err(|error| of_aws(&error))?,
            Login::EcrPublic => self.token("").await.unwrap_or_default(),
        };
        let server_address = reference.server_address().to_owned();
        Ok(login.map(|(user, password)| RegistryLogin { user, password, server_address }))
    }

    /// Forgets the token for an image that was denied: a policy may have been attached since.
    pub(super) fn forget_token(&self, reference: &ImageReference<'_>) {
        if let Login::Ecr { region } = reference.login() {
            self.tokens.borrow_mut().remove(region);
        }
    }

    /// A token of ECR for a region; for an empty one, of ECR Public.
    async fn token(&self, region: &str) -> Result<Token, AwsError> {
        let token = Rc::clone(self.tokens.borrow_mut().entry(region.to_owned()).or_default());
        let own_region = self.expectation.region.as_deref().unwrap_or(region);
        let get = async || {
            // ECR Public exists only in the partition `aws`. Without a token, its limits are lower.
            if region.is_empty() && (own_region.starts_with("cn-") || own_region.starts_with("us-gov-")) {
                return Ok(None);
            }
            let aws = self.context.host_clients.aws(own_region).await?;
            if region.is_empty() {
                let token = aws.ecr_public_login(self.call()).await;
                return Ok(token.inspect_err(|error| tracing::debug!(%error, "ECR Public is used anonymously")).ok());
            }
            aws.ecr_login(region, self.call()).await.map(Some)
        };
        token.get_or_try_init(get).await.cloned()
    }

    /// The images of the containers of services.
    pub(super) async fn images_of_services(&self, services: &[String]) -> Result<Vec<String>, Failure> {
        let (region, cluster) = self.region_and_cluster()?;
        let aws = self.context.host_clients.aws(&region).await.map_err(|error| of_aws(&error))?;
        let described = aws.services(&cluster, services, self.call()).await.map_err(|error| of_aws(&error))?;
        let mut images = Vec::new();
        for name in services {
            let text = match described.iter().find(|one| one.name == *name && one.is_active) {
                Some(service) if !service.task_definition.is_empty() => {
                    let of_task = aws.task_images(&service.task_definition, self.call()).await;
                    images.extend(of_task.map_err(|error| of_aws(&error))?);
                    continue;
                }
                // With the deployment controllers CODE_DEPLOY and EXTERNAL, it is in the task sets.
                Some(_) => {
                    format!("the service `{name}` has no task definition of its own; name its images in `ready.images`")
                }
                None => format!("the cluster `{cluster}` has no active service `{name}`"),
            };
            return Err(Failure { reason: Reason::NotFound, text: redaction::line(&text) });
        }
        Ok(images)
    }

    /// The region, and the cluster if a run or `ecs.config` names it, which user data may do later.
    fn region_and_cluster(&self) -> Result<(String, String), Failure> {
        let new = self.context.last_expectation();
        let expectation = new.as_ref().unwrap_or(self.expectation);
        let follows = expectation.follows_file || expectation.cluster.is_none();
        let of_file = || joined_cluster(&self.context.host_clients.disk);
        let cluster = if follows { of_file() } else { None }.or_else(|| expectation.cluster.clone());
        expectation
            .region
            .clone()
            .zip(cluster)
            .ok_or_else(|| Failure { reason: Reason::Other, text: "no source names the cluster".to_owned() })
    }

    /// The deadline of a call.
    pub(super) fn call(&self) -> Deadline {
        self.deadline.earliest(Deadline::after(CALL))
    }
}

fn of_aws(error: &AwsError) -> Failure {
    let reason = if error.is_denied() { Reason::Denied } else { Reason::Other };
    Failure { reason, text: without_time(error) }
}
