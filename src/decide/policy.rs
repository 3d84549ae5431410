//! The IAM policy that the role of an instance needs, for the settings in force (`plan --iam`).
//!
//! In: the settings and the plan. Out: statements, one for each reason. Resources are named as far as the plan knows them;
//! `*` stands for what it does not know: a region, an account, the group of the instance, its stack.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::ecs_config::{effective, read};
use crate::images::{ImageReference, Login, WantedImages};
use crate::plan::{Expectation, Plan, ReadyConditions, cluster_name, region_and_account};
use crate::settings::fragment::WRITTEN_TAGS;
use crate::settings::{DrainTrigger, Rank, RemoteValue, Settings, TagsApi, TagsSettings};

/// A statement of an IAM policy document.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    /// The reason, in one word.
    pub sid: &'static str,
    effect: &'static str,
    /// The allowed actions.
    pub action: Vec<&'static str>,
    /// The ARNs.
    pub resource: Vec<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    condition: Map<String, Value>,
}

impl Statement {
    fn new(sid: &'static str, action: &[&'static str], resource: impl Into<String>) -> Statement {
        let (action, resource) = (action.to_vec(), vec![resource.into()]);
        Statement { sid, effect: "Allow", action, resource, condition: Map::new() }
    }

    fn only_if(mut self, operator: &str, key: &str, value: impl Into<Value>) -> Statement {
        let condition = self.condition.entry(operator).or_insert_with(|| json!({}));
        condition[key] = value.into();
        self
    }
}

/// The least permissions of the agent and of ecs-bootstrap. Those of tasks are not in it: logs, their own roles, and images that
/// only they need.
pub fn statements(settings: &Settings, plan: &Plan) -> Vec<Statement> {
    let names = Names::of(&plan.expectation, plan.cluster.as_ref().map(|cluster| cluster.value.as_str()));
    let mut statements = of_agent(&names, plan);
    statements.extend(of_cluster(&names, settings));
    let is_tagged = plan.cluster.as_ref().is_some_and(|cluster| cluster.source.rank == Rank::InstanceTag);
    statements.extend(of_signals(&names, settings, is_tagged));
    if let Some(ready) = plan.expectation.waits_for_daemons() {
        statements.extend(of_daemons(&names, ready));
    }
    if plan.expectation.waits_for_attributes().is_some_and(|ready| ready.attributes.auto) {
        statements.push(Statement::new("ReadWhetherTrunkingIsOn", &["ecs:ListAccountSettings"], "*"));
    }
    if plan.expectation.drain.is_some() {
        // The deregistration is among the actions of the agent.
        let drain = ["ecs:UpdateContainerInstancesState"];
        let drain = Statement::new("DrainTheContainerInstance", &drain, names.in_cluster("container-instance"));
        statements.push(names.within_cluster(drain));
    }
    statements.extend(of_remote_values(&names, settings));
    if let Some(ready) = plan.expectation.waits_for_images() {
        statements.extend(of_images(&names, &ready.images));
    }
    if !plan.expectation.start_tasks.is_empty() {
        statements.push(names.within_cluster(of_start_tasks(&names, &plan.expectation.start_tasks)));
    }
    // Also if the plan does not know the tags.
    if settings.derive.attributes_follow.value && !settings.derive.attributes.value.is_empty() {
        let change = ["ecs:DeleteAttributes", "ecs:PutAttributes"];
        let all = names.in_cluster("container-instance");
        statements.push(names.within_cluster(Statement::new("ChangeAttributesWithTheTags", &change, all)));
    }
    statements
}

/// The parts of ARNs.
struct Names<'p> {
    partition: &'static str,
    /// Region and account of the instance.
    own: (&'p str, &'p str),
    /// Region and account of the cluster.
    of_cluster: (&'p str, &'p str),
    cluster: &'p str,
}

impl<'p> Names<'p> {
    fn of(expectation: &'p Expectation, cluster: Option<&'p str>) -> Names<'p> {
        let own = (expectation.region.as_deref().unwrap_or("*"), expectation.account.as_deref().unwrap_or("*"));
        let of_cluster = cluster.and_then(region_and_account).unwrap_or(own);
        // ARNs of GovCloud and of China have partitions of their own (AWS IAM User Guide, "Amazon Resource Names").
        let partition = match of_cluster.0 {
            "*" => "*",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            region if region.starts_with("cn-") => "aws-cn",
            _ => "aws",
        };
        Names { partition, own, of_cluster, cluster: cluster.map_or("*", cluster_name) }
    }

    fn arn(&self, service: &str, resource: &str) -> String {
        let (region, account) = if service == "ecs" { self.of_cluster } else { self.own };
        format!("arn:{}:{service}:{region}:{account}:{resource}", self.partition)
    }

    fn cluster_arn(&self) -> String {
        self.arn("ecs", &format!("cluster/{}", self.cluster))
    }

    /// All resources of this type in the cluster.
    fn in_cluster(&self, resource: &str) -> String {
        self.arn("ecs", &format!("{resource}/{}/*", self.cluster))
    }

    /// The statement, limited to the cluster.
    fn within_cluster(&self, statement: Statement) -> Statement {
        statement.only_if("ArnEquals", "ecs:cluster", self.cluster_arn())
    }
}

/// The calls of the agent (Amazon ECS Developer Guide, "Amazon ECS container instance IAM role").
fn of_agent(names: &Names<'_>, plan: &Plan) -> Vec<Statement> {
    let lines = read(&plan.ecs_config.new);
    let config = effective(&lines);
    let value = |name: &str| config.get(name).map(|line| line.value.trim()).filter(|value| !value.is_empty());
    let mut serve = vec!["ecs:Poll", "ecs:StartTelemetrySession"];
    if value("ECS_ENABLE_SPOT_INSTANCE_DRAINING").is_some_and(|value| value != "false") {
        serve.push("ecs:UpdateContainerInstancesState");
    }
    let join = [
        "ecs:DeregisterContainerInstance",
        "ecs:RegisterContainerInstance",
        "ecs:SubmitAttachmentStateChanges",
        "ecs:SubmitContainerStateChange",
        "ecs:SubmitTaskStateChange",
    ];
    let mut statements = vec![
        Statement::new("JoinThisCluster", &join, names.cluster_arn()),
        names.within_cluster(Statement::new("ServeThisCluster", &serve, names.in_cluster("container-instance"))),
        Statement::new("DiscoverPollEndpoint", &["ecs:DiscoverPollEndpoint"], "*"),
    ];
    let propagates = value("ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM").is_some_and(|value| value != "none");
    if propagates || value("ECS_CONTAINER_INSTANCE_TAGS").is_some() {
        let tag = Statement::new("TagOnRegistration", &["ecs:TagResource"], names.in_cluster("container-instance"));
        statements.push(tag.only_if("StringEquals", "ecs:CreateAction", "RegisterContainerInstance"));
    }
    if propagates {
        statements.push(Statement::new("ReadTheTagsToPropagate", &["ec2:DescribeTags"], "*"));
    }
    statements
}

/// The calls that find the cluster, and that verify the registration.
fn of_cluster(names: &Names<'_>, settings: &Settings) -> Vec<Statement> {
    let mut statements = vec![
        Statement::new("DescribeThisCluster", &["ecs:DescribeClusters"], names.cluster_arn()),
        names.within_cluster(Statement::new(
            "DescribeItsContainerInstances",
            &["ecs:DescribeContainerInstances"],
            names.in_cluster("container-instance"),
        )),
    ];
    if settings.tags_api.value == TagsApi::Auto && settings.tags_settings.value != TagsSettings::None {
        statements.push(Statement::new("ReadTheTagsOfTheInstance", &["ec2:DescribeTags"], "*"));
    }
    if !settings.cluster_tags.value.is_empty() {
        statements.push(Statement::new("ListClusters", &["ecs:ListClusters"], "*"));
        let all = names.arn("ecs", "cluster/*");
        statements.push(Statement::new("ReadTheTagsOfClusters", &["ecs:DescribeClusters"], all));
    }
    statements
}

/// The calls of `signal.*`. `is_tagged` is whether the instance has a tag with the name of the cluster.
fn of_signals(names: &Names<'_>, settings: &Settings, is_tagged: bool) -> Vec<Statement> {
    let signal = &settings.signal;
    let mut statements = Vec::new();
    let finds_stack = signal.cloudformation.value && (signal.stack.value.is_none() || signal.resource.value.is_none());
    let of_group = of_group(names, settings);
    if finds_stack || !of_group.is_empty() {
        statements.push(Statement::new("FindStackAndGroup", &["ec2:DescribeTags"], "*"));
    }
    if signal.cloudformation.value {
        let stack = signal.stack.value.as_deref().unwrap_or("*");
        let stack = if stack.starts_with("arn:") {
            stack.to_owned()
        } else {
            names.arn("cloudformation", &format!("stack/{stack}/*"))
        };
        statements.push(Statement::new("SignalTheStack", &["cloudformation:SignalResource"], stack));
    }
    statements.extend(of_group);
    if signal.instance_tags.value {
        let prefix = &settings.tags_prefix.value;
        let keys = WRITTEN_TAGS.map(|key| format!("{prefix}{key}"));
        let tag = Statement::new("TagInstanceWithVerdict", &["ec2:CreateTags"], names.arn("ec2", "instance/*"));
        let tag = tag.only_if("ForAllValues:StringEquals", "aws:TagKeys", json!(keys));
        let own_tag = format!("aws:ResourceTag/{prefix}cluster");
        statements.push(if is_tagged { tag.only_if("StringEquals", &own_tag, names.cluster) } else { tag });
    }
    if signal.cloudwatch.value {
        let metric = Statement::new("StoreTheLaunchMetric", &["cloudwatch:PutMetricData"], "*");
        statements.push(metric.only_if("StringEquals", "cloudwatch:namespace", "ecs-bootstrap"));
    }
    statements
}

/// The calls of `signal.*` and `drain.on` that are about the Auto Scaling group.
fn of_group(names: &Names<'_>, settings: &Settings) -> Vec<Statement> {
    let (lifecycle, unhealthy) = (settings.signal.lifecycle.value, settings.signal.unhealthy.value);
    let drains = settings.drain.on.value.contains(&DrainTrigger::Termination);
    let group = names.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/*");
    let complete = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"];
    let find = ["autoscaling:DescribeLifecycleHooks"];
    let mut statements = Vec::new();
    if lifecycle || unhealthy {
        statements.push(Statement::new("CountInstancesInService", &["autoscaling:DescribeAutoScalingGroups"], "*"));
    }
    if lifecycle {
        statements.push(Statement::new("FindTheLaunchHook", &find, "*"));
        statements.push(Statement::new("CompleteTheLaunchHook", &complete, group.clone()));
    }
    if drains {
        statements.push(Statement::new("FindTheTerminatingHook", &find, "*"));
        statements.push(Statement::new("CompleteTheTerminatingHook", &complete, group.clone()));
    }
    if unhealthy {
        statements.push(Statement::new("ReportUnhealthy", &["autoscaling:SetInstanceHealth"], group));
    }
    statements
}

/// The call of `start-tasks`. Without a revision, the latest one is started.
fn of_start_tasks(names: &Names<'_>, definitions: &[String]) -> Statement {
    let arn = |definition: &String| match definition {
        arn if arn.starts_with("arn:") && arn.rsplit('/').next().is_some_and(|name| name.contains(':')) => arn.clone(),
        arn if arn.starts_with("arn:") => format!("{arn}:*"),
        name if name.contains(':') => names.arn("ecs", &format!("task-definition/{name}")),
        family => names.arn("ecs", &format!("task-definition/{family}:*")),
    };
    let resource = definitions.iter().map(arn).collect();
    Statement { resource, ..Statement::new("StartTasksOnTheInstance", &["ecs:StartTask"], "") }
}

/// The name or ARN of a parameter without `:VERSION` or `:LABEL`; of a secret, the ARN.
fn without_version(name: &str) -> String {
    match name.rsplit_once(':') {
        Some((parameter, _)) if !name.starts_with("arn:") || parameter.contains(":parameter/") => parameter.to_owned(),
        _ => name.to_owned(),
    }
}

/// The calls of `registry.auth` and `config-from`.
fn of_remote_values(names: &Names<'_>, settings: &Settings) -> Vec<Statement> {
    let values = [
        ("ReadTheCredentialsOfRegistries", &settings.registry_auth.value),
        ("ReadMoreSettings", &settings.config_from.value),
    ];
    let statement = |sid: &'static str, value: &RemoteValue| match value {
        RemoteValue::Secret(arn) | RemoteValue::Parameter(arn) if arn.starts_with("arn:") => {
            let is_secret = matches!(value, RemoteValue::Secret(_));
            let action = if is_secret { "secretsmanager:GetSecretValue" } else { "ssm:GetParameter" };
            let is_complete = !is_secret || arn.rsplit('-').next().is_some_and(|end| end.len() == 6);
            Statement::new(sid, &[action], if is_complete { without_version(arn) } else { format!("{arn}-??????") })
        }
        // The ARN of a secret ends in six random characters, which the name can leave out.
        RemoteValue::Secret(name) => {
            let arn = names.arn("secretsmanager", &format!("secret:{name}-??????"));
            Statement::new(sid, &["secretsmanager:GetSecretValue"], arn)
        }
        RemoteValue::Parameter(name) => {
            let arn = names.arn("ssm", &format!("parameter/{}", without_version(name).trim_start_matches('/')));
            Statement::new(sid, &["ssm:GetParameter"], arn)
        }
        RemoteValue::Object { bucket, key } => {
            Statement::new(sid, &["s3:GetObject"], format!("arn:{}:s3:::{bucket}/{key}", names.partition))
        }
    };
    values.into_iter().filter_map(|(sid, value)| Some(statement(sid, value.as_ref()?))).collect()
}

/// The calls of `ready.images` and `ready.images-of-services` (Amazon ECR User Guide, "Private repository policies"). The
/// images of services are not known here.
fn of_images(names: &Names<'_>, images: &WantedImages) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut repositories = BTreeSet::new();
    let mut is_public = false;
    for image in images.named.iter().filter_map(|image| ImageReference::parse(image)) {
        match image.login() {
            Login::Ecr { region } => {
                let (account, _) = image.registry.split_once('.').unwrap_or(("*", ""));
                let repository = image.name.split_once('/').map_or("*", |(_, repository)| repository);
                repositories.insert(format!("arn:{}:ecr:{region}:{account}:repository/{repository}", names.partition));
            }
            Login::EcrPublic => is_public = true,
            Login::Configured => {}
        }
    }
    if !images.of_services.is_empty() {
        let service = |name: &String| names.arn("ecs", &format!("service/{}/{name}", names.cluster));
        let services = images.of_services.iter().map(service).collect();
        let read = Statement::new("FindTheImagesOfServices", &["ecs:DescribeServices"], "");
        statements.push(Statement { resource: services, ..read });
        statements.push(Statement::new("ReadTheImagesOfServices", &["ecs:DescribeTaskDefinition"], "*"));
        repositories.insert(format!("arn:{}:ecr:{}:*:repository/*", names.partition, names.own.0));
    }
    if !repositories.is_empty() {
        let pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
        statements.push(Statement::new("LogInToRegistries", &["ecr:GetAuthorizationToken"], "*"));
        let resource = repositories.into_iter().collect();
        statements.push(Statement { resource, ..Statement::new("PullImages", &pull, "") });
    }
    if is_public {
        let login = ["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"];
        statements.push(Statement::new("LogInToThePublicRegistry", &login, "*"));
    }
    statements
}

/// The calls of `ready.daemons`.
fn of_daemons(names: &Names<'_>, ready: &ReadyConditions) -> Vec<Statement> {
    let services = match ready.named() {
        Some(daemons) => {
            daemons.iter().map(|name| names.arn("ecs", &format!("service/{}/{name}", names.cluster))).collect()
        }
        None => vec![names.in_cluster("service")],
    };
    let mut statements = vec![
        Statement { resource: services, ..Statement::new("ReadDaemons", &["ecs:DescribeServices"], "") },
        Statement::new("ReadTaskDefinitions", &["ecs:DescribeTaskDefinition"], "*"),
        Statement::new("ReadTasks", &["ecs:DescribeTasks"], names.in_cluster("task")),
        Statement::new("EvaluatePlacementConstraints", &["ecs:ListContainerInstances"], names.cluster_arn()),
        names.within_cluster(Statement::new(
            "AllowTasksOnTheInstance",
            &["ecs:PutAttributes"],
            names.in_cluster("container-instance"),
        )),
    ];
    if ready.named().is_none() {
        statements.push(names.within_cluster(Statement::new("FindDaemons", &["ecs:ListServices"], "*")));
    }
    statements
}
