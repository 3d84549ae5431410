//! What ECS does with the members of a task definition.

use serde_json::{Map, Value};

use super::rules::Effect::{Computed, Filled, Rewritten, Role};
use super::rules::{Literal, Rule, boolean, can_be_empty, number, ordered, rule, text, unordered};

const CONTAINER: &str = "ECS API Reference, ContainerDefinition";
const TERRAFORM: &str = "Terraform AWS provider, containerDefinitionsAreEquivalent: ECS returns another order";
const ECSPRESSO: &str = "ecspresso, sortTaskDefinition: ECS returns another order";
const HAKO: &str = "hako, EcsDefinitionComparator: the order is not compared";
const DOCKER_VOLUME: &str = "ECS API Reference, DockerVolumeConfiguration; hako, EcsVolumeComparator: the defaults";

/// The rows. `tags` are compared by themselves.
pub(super) const RULES: &[Rule] = &[
    text("networkMode", "bridge", "ECS API Reference, RegisterTaskDefinition, networkMode"),
    boolean("enableFaultInjection", false, "ECS API Reference, RegisterTaskDefinition, enableFaultInjection"),
    rule("cpu", Rewritten(cpu_units), "ECS API Reference, RegisterTaskDefinition, cpu: stored as CPU units"),
    rule("memory", Rewritten(mebibytes), "ECS API Reference, RegisterTaskDefinition, memory: stored as MiB"),
    rule("taskRoleArn", Role, "ECS API Reference, RegisterTaskDefinition, taskRoleArn: a short name or an ARN"),
    rule("executionRoleArn", Role, "ECS API Reference, TaskDefinition, executionRoleArn: always an ARN"),
    unordered("requiresCompatibilities", &[], ECSPRESSO),
    unordered("placementConstraints", &["type", "expression"], ECSPRESSO),
    unordered("inferenceAccelerators", &["deviceName"], "ECS API Reference, InferenceAccelerator: found by its name"),
    unordered("tags", &["key"], "ECS API Reference, Tag: a key is unique"),
    can_be_empty("tags[].value", "ECS API Reference, Tag: the value is optional"),
    rule("runtimePlatform.cpuArchitecture", Filled(Literal::Text("X86_64")), PLATFORM),
    rule("runtimePlatform.operatingSystemFamily", Filled(Literal::Text("LINUX")), PLATFORM),
    text("proxyConfiguration.type", "APPMESH", "ECS API Reference, ProxyConfiguration, type: the only value"),
    unordered("proxyConfiguration.properties", &["name"], ECSPRESSO),
    can_be_empty("proxyConfiguration.properties[].value", "ECS API Reference, KeyValuePair"),
    // Volumes.
    unordered("volumes", &["name"], ECSPRESSO),
    boolean("volumes[].configuredAtLaunch", false, "ECS API Reference, Volume, configuredAtLaunch"),
    can_be_empty("volumes[].dockerVolumeConfiguration", "ECS API Reference, Volume: a docker volume, not a bind mount"),
    rule("volumes[].dockerVolumeConfiguration.scope", Filled(Literal::Text("task")), DOCKER_VOLUME),
    rule("volumes[].dockerVolumeConfiguration.driver", Filled(Literal::Text("local")), DOCKER_VOLUME),
    rule("volumes[].dockerVolumeConfiguration.autoprovision", Filled(Literal::Boolean(false)), DOCKER_VOLUME),
    text("volumes[].efsVolumeConfiguration.rootDirectory", "/", EFS),
    text("volumes[].efsVolumeConfiguration.transitEncryption", "DISABLED", EFS),
    text(
        "volumes[].efsVolumeConfiguration.authorizationConfig.iam",
        "DISABLED",
        "ECS API Reference, EFSAuthorizationConfig, iam",
    ),
    text("volumes[].s3filesVolumeConfiguration.rootDirectory", "/", "ECS API Reference, S3FilesVolumeConfiguration"),
    // Containers.
    unordered("containerDefinitions", &["name"], TERRAFORM),
    number("containerDefinitions[].cpu", 0, "Terraform AWS provider, issue 11526: ECS returns 0 for an absent `cpu`"),
    boolean("containerDefinitions[].essential", true, CONTAINER),
    boolean("containerDefinitions[].disableNetworking", false, CONTAINER),
    boolean("containerDefinitions[].privileged", false, CONTAINER),
    boolean("containerDefinitions[].readonlyRootFilesystem", false, CONTAINER),
    boolean("containerDefinitions[].interactive", false, CONTAINER),
    boolean("containerDefinitions[].pseudoTerminal", false, CONTAINER),
    text("containerDefinitions[].versionConsistency", "enabled", CONTAINER),
    unordered("containerDefinitions[].links", &[], HAKO),
    unordered("containerDefinitions[].portMappings", PORT_MAPPING, ECSPRESSO),
    text("containerDefinitions[].portMappings[].protocol", "tcp", "ECS API Reference, PortMapping, protocol"),
    rule("containerDefinitions[].portMappings[]", Computed(host_port), "ECS API Reference, PortMapping, hostPort"),
    ordered("containerDefinitions[].entryPoint", "ECS API Reference, ContainerDefinition, entryPoint: arguments"),
    ordered("containerDefinitions[].command", "ECS API Reference, ContainerDefinition, command: arguments"),
    unordered("containerDefinitions[].environment", &["name"], TERRAFORM),
    can_be_empty("containerDefinitions[].environment[].value", "Docker: a variable can be empty"),
    rule(
        "containerDefinitions[].environment[]",
        Computed(variable_without_value),
        "Terraform AWS provider, issue 39533: ECS drops a variable without a value",
    ),
    ordered(
        "containerDefinitions[].environmentFiles",
        "ECS API Reference, ContainerDefinition, environmentFiles: processed from the top down",
    ),
    unordered("containerDefinitions[].secrets", &["name"], TERRAFORM),
    unordered("containerDefinitions[].mountPoints", &["containerPath", "sourceVolume", "readOnly"], ECSPRESSO),
    boolean("containerDefinitions[].mountPoints[].readOnly", false, "ECS API Reference, MountPoint, readOnly"),
    unordered("containerDefinitions[].volumesFrom", &["sourceContainer", "readOnly"], ECSPRESSO),
    boolean("containerDefinitions[].volumesFrom[].readOnly", false, "ECS API Reference, VolumeFrom, readOnly"),
    unordered("containerDefinitions[].dependsOn", &["containerName", "condition"], HAKO),
    ordered("containerDefinitions[].dnsServers", "resolv.conf(5): name servers are asked in this order"),
    ordered("containerDefinitions[].dnsSearchDomains", "resolv.conf(5): domains are tried in this order"),
    ordered("containerDefinitions[].extraHosts", "hosts(5): the first line of a name is used"),
    unordered("containerDefinitions[].dockerSecurityOptions", &[], HAKO),
    unordered("containerDefinitions[].credentialSpecs", &[], "ECS API Reference, ContainerDefinition: at most one"),
    unordered("containerDefinitions[].ulimits", &["name"], HAKO),
    unordered("containerDefinitions[].systemControls", &["namespace"], HAKO),
    can_be_empty("containerDefinitions[].systemControls[].value", "sysctl(8): a parameter can be empty"),
    unordered("containerDefinitions[].resourceRequirements", &["type", "value"], HAKO),
    unordered(
        "containerDefinitions[].logConfiguration.secretOptions",
        &["name"],
        "ECS API Reference, Secret: found by its name",
    ),
    // Health checks and restarts.
    ordered("containerDefinitions[].healthCheck.command", "ECS API Reference, HealthCheck, command: arguments"),
    number("containerDefinitions[].healthCheck.interval", 30, HEALTH_CHECK),
    number("containerDefinitions[].healthCheck.timeout", 5, HEALTH_CHECK),
    number("containerDefinitions[].healthCheck.retries", 3, HEALTH_CHECK),
    number("containerDefinitions[].healthCheck.startPeriod", 0, "ECS API Reference, HealthCheck, startPeriod: off"),
    boolean("containerDefinitions[].restartPolicy.enabled", false, RESTART),
    number("containerDefinitions[].restartPolicy.restartAttemptPeriod", 300, RESTART),
    unordered("containerDefinitions[].restartPolicy.ignoredExitCodes", &[], RESTART),
    // Parameters of Linux.
    unordered("containerDefinitions[].linuxParameters.capabilities.add", &[], HAKO),
    unordered("containerDefinitions[].linuxParameters.capabilities.drop", &[], HAKO),
    unordered("containerDefinitions[].linuxParameters.devices", &["hostPath", "containerPath"], HAKO),
    unordered("containerDefinitions[].linuxParameters.devices[].permissions", &[], HAKO),
    rule(
        "containerDefinitions[].linuxParameters.devices[].permissions",
        super::rules::Effect::Default(Literal::Texts(&["mknod", "read", "write"])),
        "ECS API Reference, Device, permissions: the default is all three",
    ),
    boolean("containerDefinitions[].linuxParameters.initProcessEnabled", false, "ECS API Reference, LinuxParameters"),
    number("containerDefinitions[].linuxParameters.swappiness", 60, "ECS API Reference, LinuxParameters, swappiness"),
    unordered("containerDefinitions[].linuxParameters.tmpfs", &["containerPath"], HAKO),
    unordered("containerDefinitions[].linuxParameters.tmpfs[].mountOptions", &[], HAKO),
];

const PORT_MAPPING: &[&str] = &["containerPort", "containerPortRange", "protocol", "hostPort", "name", "appProtocol"];
const EFS: &str = "ECS API Reference, EFSVolumeConfiguration";
const HEALTH_CHECK: &str = "ECS API Reference, HealthCheck";
const RESTART: &str = "ECS API Reference, ContainerRestartPolicy";
const PLATFORM: &str = "ECS Developer Guide, task definition parameters, runtimePlatform";

fn cpu_units(text: &str) -> Option<String> {
    units(text, "vcpu")
}

fn mebibytes(text: &str) -> Option<String> {
    units(text, "gb")
}

/// A size in units of 1/1024: `0.25 vCPU` is `256`, `1 GB` is `1024`.
fn units(text: &str, unit: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    match text.strip_suffix(unit) {
        Some(number) => Some(format!("{:.0}", number.trim().parse::<f64>().ok()? * 1024.0)),
        None => Some(text.parse::<u64>().ok()?.to_string()),
    }
}

/// In the network modes `awsvpc` and `host`, an absent host port means the container port; in the others, and for a
/// range of ports, 0 means any port.
fn host_port(mapping: &mut Map<String, Value>, task_definition: &Value) {
    let is_same = matches!(task_definition["networkMode"].as_str(), Some("awsvpc" | "host"));
    let host = mapping.get("hostPort");
    if host.is_some_and(|host| *host == 0 || (is_same && Some(host) == mapping.get("containerPort"))) {
        mapping.remove("hostPort");
    }
}

fn variable_without_value(variable: &mut Map<String, Value>, _: &Value) {
    if !variable.contains_key("value") {
        variable.clear();
    }
}
