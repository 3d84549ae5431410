//! What would be deployed: the task definition, and the members that the service will have.
//!
//! In: the plan, the desired and the current state. Out: answers to questions about them. Pure.

use serde_json::Value;

use crate::current::CurrentState;
use crate::desired::DesiredState;
use crate::plan::{Action, Plan, TaskDefinitionChange};
use crate::service::{Service, short};

/// What would be deployed.
pub(super) struct Target<'a> {
    /// The body of RegisterTaskDefinition, or the revision that is kept.
    pub(super) task: &'a Value,
    /// Whether ECS has already added the attributes that an instance must have (`requiresAttributes`).
    pub(super) is_registered: bool,
    desired: &'a DesiredState,
    action: &'a Action,
    service: Option<&'a Service>,
}

/// Where the tasks run.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Launch {
    /// A launch type. `None`: neither a launch type nor a strategy is named, so the cluster's default applies.
    Type(Option<String>),
    /// A capacity provider strategy with these names.
    Providers(Vec<String>),
}

/// Where the tasks are placed.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    /// On any instance of the cluster.
    Instances,
    /// On instances of these capacity providers.
    Providers {
        names: Vec<String>,
        /// Whether ECS may start instances.
        may_grow: bool,
    },
    /// On Fargate, outside AWS, or it is not known.
    Other,
}

impl<'a> Target<'a> {
    /// `None` if the plan changes nothing, so that there is nothing to verify.
    pub(super) fn of(plan: &'a Plan, desired: &'a DesiredState, current: &'a CurrentState) -> Option<Target<'a>> {
        if !matches!(plan.action, Action::Create { .. } | Action::Update { .. }) {
            return None;
        }
        let (task, is_registered) = match &plan.registration {
            TaskDefinitionChange::New { body, .. } => (body, false),
            TaskDefinitionChange::Keep(revision) => (&revision.raw, true),
        };
        let service = current.service.as_ref().filter(|service| service.is_active());
        Some(Target { task, is_registered, desired, action: &plan.action, service })
    }

    /// The value that a member of CreateService will have; null if it has none.
    pub(super) fn member(&self, name: &str) -> Value {
        if let Some(value) = self.changed(name).or_else(|| self.desired.members.get(name)) {
            return value.clone();
        }
        self.service.map(|service| service.member(name)).unwrap_or_default()
    }

    /// The value of a member that the deployment sets.
    pub(super) fn changed(&self, name: &str) -> Option<&Value> {
        match self.action {
            Action::Create { body, .. } | Action::Update { body, .. } => body.get(name),
            Action::Attach(_) | Action::Nothing => None,
        }
    }

    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> {
        self.task["containerDefinitions"].as_array().into_iter().flatten()
    }

    /// `awsvpc`, `bridge`, `host`, ... The default of ECS is `bridge` (ECS API Reference, "RegisterTaskDefinition").
    pub(super) fn network_mode(&self) -> &'a str {
        self.task["networkMode"].as_str().unwrap_or("bridge")
    }

    pub(super) fn launch(&self) -> Launch {
        let strategy = self.member("capacityProviderStrategy");
        let names = |strategy: &Value| -> Vec<String> {
            let items = strategy.as_array().into_iter().flatten();
            // A name or an ARN (ECS API Reference, "CapacityProviderStrategyItem").
            items.filter_map(|item| item["capacityProvider"].as_str().map(|name| short(name).to_owned())).collect()
        };
        let launch_type = self.member("launchType").as_str().map(str::to_owned);
        // A service that has a strategy has no launch type, and the other way round; what is changed takes precedence.
        if self.changed("launchType").is_some() && self.changed("capacityProviderStrategy").is_none() {
            return Launch::Type(launch_type);
        }
        match names(&strategy) {
            names if names.is_empty() => Launch::Type(launch_type),
            names => Launch::Providers(names),
        }
    }

    /// Whether every task runs on Fargate, as far as the definition says so.
    pub(super) fn is_fargate(&self) -> bool {
        match self.launch() {
            Launch::Type(name) => name.as_deref() == Some("FARGATE"),
            Launch::Providers(names) => names.iter().all(|name| is_fargate_provider(name)),
        }
    }

    pub(super) fn is_daemon(&self) -> bool {
        self.member("schedulingStrategy") == "DAEMON"
    }

    /// Whether the service does not exist yet.
    pub(super) fn is_new_service(&self) -> bool {
        self.service.is_none()
    }

    /// Whether no task will run.
    pub(super) fn has_no_tasks(&self) -> bool {
        !self.is_daemon() && self.member("desiredCount").as_i64() == Some(0)
    }

    /// The account of the cluster, which is that of the caller, if an ARN shows it.
    pub(super) fn account(&self) -> Option<String> {
        let arns = [self.task["taskDefinitionArn"].as_str(), self.service.map(|one| one.cluster_arn.as_str())];
        arns.into_iter().flatten().chain([self.desired.cluster.as_str()]).find_map(account_of).map(str::to_owned)
    }
}

/// Whether a capacity provider is one of Fargate. Their names are reserved (ECS Developer Guide, "Amazon ECS clusters for
/// Fargate").
pub(super) fn is_fargate_provider(name: &str) -> bool {
    ["FARGATE", "FARGATE_SPOT"].contains(&name)
}

/// The account in an ARN.
pub(super) fn account_of(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    (parts.next() == Some("arn")).then(|| parts.nth(3)).flatten().filter(|account| !account.is_empty())
}

/// The log configurations of the containers and of Service Connect, each with a name for messages.
pub(super) fn log_configurations(target: &Target<'_>) -> Vec<(String, Value)> {
    let of_containers = target.containers().map(|container| {
        let name = container["name"].as_str().unwrap_or_default();
        (format!("container `{name}`"), container["logConfiguration"].clone())
    });
    let connect = target.member("serviceConnectConfiguration");
    let of_proxy = (connect["enabled"] == true)
        .then(|| ("the proxy of Service Connect".to_owned(), connect["logConfiguration"].clone()));
    of_containers.chain(of_proxy).filter(|(_, log)| log.is_object()).collect()
}
