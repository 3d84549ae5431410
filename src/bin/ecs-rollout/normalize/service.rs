//! What ECS does with the members of a service.

use serde_json::{Map, Value};

use super::rules::Effect::{Computed, Rewritten, Role};
use super::rules::{Rule, boolean, can_be_empty, number, ordered, rule, text, unordered};

const CREATE: &str = "ECS API Reference, CreateService";
const TERRAFORM: &str = "Terraform AWS provider, aws_ecs_service: a set, because ECS returns another order";
const CONFIGURATION: &str = "ECS API Reference, DeploymentConfiguration";
const BREAKER: &str = "ECS API Reference, DeploymentCircuitBreaker";
const ALARMS: &str = "ECS API Reference, DeploymentAlarms";
const HOOK: &str = "ECS API Reference, DeploymentLifecycleHook";
const CONNECT: &str = "ECS API Reference, ServiceConnectConfiguration";
const EBS: &str = "ECS API Reference, ServiceManagedEBSVolumeConfiguration";
const KEYED: &str = "ECS API Reference: an element is found by this member, not by its place";

/// The rows.
pub(super) const RULES: &[Rule] = &[
    text(
        "availabilityZoneRebalancing",
        "DISABLED",
        "ECS API Reference, UpdateService: a service that never had a value",
    ),
    number("healthCheckGracePeriodSeconds", 0, CREATE),
    text("schedulingStrategy", "REPLICA", CREATE),
    text("deploymentController.type", "ECS", CREATE),
    text("platformVersion", "LATEST", CREATE),
    boolean("enableECSManagedTags", false, CREATE),
    boolean("enableExecuteCommand", false, CREATE),
    text("propagateTags", "NONE", CREATE),
    rule("role", Role, "ECS API Reference, CreateService, role: a name or an ARN; Service, roleArn: an ARN"),
    unordered("tags", &["key"], "ECS API Reference, Tag: a key is unique"),
    can_be_empty("tags[].value", "ECS API Reference, Tag: the value is optional"),
    // Placement.
    unordered("placementConstraints", &["type", "expression"], TERRAFORM),
    ordered("placementStrategy", "ECS Developer Guide, task placement strategies: applied in this order"),
    rule(
        "placementStrategy[]",
        Computed(placement),
        "ECS API Reference, PlacementStrategy, field: `host` is `instanceId`; amazon-ecs-cli, pull request 586: ECS \
         returns `MEMORY`",
    ),
    unordered("capacityProviderStrategy", &["capacityProvider"], TERRAFORM),
    rule("capacityProviderStrategy[].capacityProvider", Rewritten(last_part), "ECS Developer Guide: a name or an ARN"),
    number("capacityProviderStrategy[].weight", 0, "ECS API Reference, CapacityProviderStrategyItem, weight"),
    number("capacityProviderStrategy[].base", 0, "ECS API Reference, CapacityProviderStrategyItem, base"),
    // Network.
    unordered("networkConfiguration.awsvpcConfiguration.subnets", &[], TERRAFORM),
    unordered("networkConfiguration.awsvpcConfiguration.securityGroups", &[], TERRAFORM),
    text(
        "networkConfiguration.awsvpcConfiguration.assignPublicIp",
        "DISABLED",
        "ECS API Reference, AwsVpcConfiguration",
    ),
    unordered("loadBalancers", &["targetGroupArn", "loadBalancerName", "containerName", "containerPort"], TERRAFORM),
    unordered("serviceRegistries", &["registryArn", "containerName", "containerPort", "port"], KEYED),
    unordered("vpcLatticeConfigurations", &["targetGroupArn", "portName"], TERRAFORM),
    unordered("gatewayConnectors", &["portName"], KEYED),
    unordered("gatewayConnectors[].filters.accessTypes", &[], KEYED),
    // Deployments.
    number("deploymentConfiguration.maximumPercent", 200, CONFIGURATION),
    number("deploymentConfiguration.minimumHealthyPercent", 100, CONFIGURATION),
    text("deploymentConfiguration.strategy", "ROLLING", CONFIGURATION),
    number("deploymentConfiguration.bakeTimeInMinutes", 0, "ECS API Reference, DeploymentConfiguration; ECS returns 0"),
    boolean("deploymentConfiguration.deploymentCircuitBreaker.enable", false, BREAKER),
    boolean("deploymentConfiguration.deploymentCircuitBreaker.rollback", false, BREAKER),
    boolean("deploymentConfiguration.deploymentCircuitBreaker.resetOnHealthyTask", true, BREAKER),
    text("deploymentConfiguration.deploymentCircuitBreaker.thresholdConfiguration.type", "BOUNDED_PERCENT", BREAKER),
    number("deploymentConfiguration.deploymentCircuitBreaker.thresholdConfiguration.value", 50, BREAKER),
    boolean("deploymentConfiguration.alarms.enable", false, ALARMS),
    boolean("deploymentConfiguration.alarms.rollback", false, ALARMS),
    unordered("deploymentConfiguration.alarms.alarmNames", &[], TERRAFORM),
    unordered("deploymentConfiguration.lifecycleHooks", &["hookTargetArn", "roleArn", "targetType"], TERRAFORM),
    unordered("deploymentConfiguration.lifecycleHooks[].lifecycleStages", &[], TERRAFORM),
    text("deploymentConfiguration.lifecycleHooks[].targetType", "AWS_LAMBDA", HOOK),
    number("deploymentConfiguration.lifecycleHooks[].timeoutConfiguration.timeoutInMinutes", 1440, HOOK),
    text("deploymentConfiguration.lifecycleHooks[].timeoutConfiguration.action", "ROLLBACK", HOOK),
    number("deploymentConfiguration.linearConfiguration.stepPercent", 10, "ECS API Reference, LinearConfiguration"),
    number(
        "deploymentConfiguration.linearConfiguration.stepBakeTimeInMinutes",
        6,
        "ECS API Reference, LinearConfiguration",
    ),
    number("deploymentConfiguration.canaryConfiguration.canaryPercent", 5, "ECS API Reference, CanaryConfiguration"),
    number(
        "deploymentConfiguration.canaryConfiguration.canaryBakeTimeInMinutes",
        10,
        "ECS API Reference, CanaryConfiguration",
    ),
    boolean("deploymentConfiguration.earlySuccessCriteria.enable", false, CONFIGURATION),
    // Service Connect.
    boolean("serviceConnectConfiguration.enabled", false, CONNECT),
    rule("serviceConnectConfiguration", Computed(connect), "ECS API Reference, ServiceConnectConfiguration, enabled"),
    unordered("serviceConnectConfiguration.services", &["portName"], TERRAFORM),
    rule(
        "serviceConnectConfiguration.services[]",
        Computed(discovery_name),
        "ECS API Reference, ServiceConnectService, discoveryName: the default is the name of the port",
    ),
    unordered("serviceConnectConfiguration.services[].clientAliases", &["port", "dnsName"], KEYED),
    unordered("serviceConnectConfiguration.logConfiguration.secretOptions", &["name"], KEYED),
    unordered("serviceConnectConfiguration.containerConfigurations", &[], CONNECT),
    text("serviceConnectConfiguration.containerConfigurations[].logLevel", "info", CONNECT),
    text("serviceConnectConfiguration.accessLogConfiguration.includeQueryParameters", "DISABLED", CONNECT),
    // Volumes.
    unordered("volumeConfigurations", &["name"], KEYED),
    text("volumeConfigurations[].managedEBSVolume.filesystemType", "xfs", EBS),
    unordered("volumeConfigurations[].managedEBSVolume.tagSpecifications", &["resourceType"], EBS),
    text("volumeConfigurations[].managedEBSVolume.tagSpecifications[].propagateTags", "NONE", EBS),
    unordered("volumeConfigurations[].managedEBSVolume.tagSpecifications[].tags", &["key"], EBS),
    can_be_empty("volumeConfigurations[].managedEBSVolume.tagSpecifications[].tags[].value", EBS),
    // Metrics.
    unordered("monitoring.metricConfigurations", &["metricNames"], KEYED),
    unordered("monitoring.metricConfigurations[].metricNames", &[], KEYED),
];

/// The name at the end of an ARN.
fn last_part(text: &str) -> Option<String> {
    text.starts_with("arn:").then(|| text.rsplit('/').next().unwrap_or(text).to_owned())
}

/// `random` uses no field. The other fields have aliases and are not case-sensitive, except an attribute's name.
fn placement(strategy: &mut Map<String, Value>, _: &Value) {
    if strategy.get("type").and_then(Value::as_str) == Some("random") {
        strategy.remove("field");
    }
    let Some(Value::String(field)) = strategy.get_mut("field") else { return };
    match field.to_ascii_lowercase().as_str() {
        "host" | "instanceid" => *field = "instanceId".to_owned(),
        lower @ ("cpu" | "memory") => *field = lower.to_owned(),
        _ => {}
    }
}

/// Without `enabled`, nothing else of the configuration is used.
fn connect(configuration: &mut Map<String, Value>, _: &Value) {
    if configuration.get("enabled") != Some(&Value::Bool(true)) {
        configuration.clear();
    }
}

fn discovery_name(service: &mut Map<String, Value>, document: &Value) {
    let name = service.get("discoveryName").or(service.get("portName")).and_then(Value::as_str).map(str::to_owned);
    if let (Some(name), Some(namespace)) = (name, document["serviceConnectConfiguration"]["namespace"].as_str()) {
        let default = format!("{name}.{namespace}");
        for alias in service.get_mut("clientAliases").and_then(Value::as_array_mut).into_iter().flatten() {
            if alias["dnsName"] == default.as_str() {
                alias.as_object_mut().map(|members| members.remove("dnsName"));
            }
        }
    }
    if service.get("discoveryName").is_some() && service.get("discoveryName") == service.get("portName") {
        service.remove("discoveryName");
    }
}
