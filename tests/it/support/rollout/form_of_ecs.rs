//! The form in which ECS returns what it was given: defaults, rewritten values, another order, members left out.
//!
//! In: the body of RegisterTaskDefinition, CreateService or UpdateService. Out: the members that the Describe calls
//! show. It shares no code with the product, because tests of the product compare with it. Where ECS may do either of
//! two things, dice decide, so that a test with many seeds sees both.

use serde_json::{Map, Value, json};

const ROLES: &str = "arn:aws:iam::111122223333:role/";

/// Decides what ECS leaves open.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn coin(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }

    fn shuffle(&mut self, list: &mut [Value]) {
        for last in (1..list.len()).rev() {
            let other = usize::try_from(self.next() % (last as u64 + 1)).unwrap();
            list.swap(last, other);
        }
    }

    /// Shuffles the list in a member.
    fn shuffle_in(&mut self, object: &mut Value, member: &str) {
        if let Some(list) = object.get_mut(member).and_then(Value::as_array_mut) {
            self.shuffle(list);
        }
    }

    /// Sets an absent member to its default, or leaves it absent, or leaves out a default that was sent.
    fn default(&mut self, object: &mut Value, member: &str, default: Value) {
        let Some(members) = object.as_object_mut() else { return };
        match members.get(member) {
            None if self.coin() => drop(members.insert(member.into(), default)),
            Some(sent) if *sent == default && self.coin() => drop(members.remove(member)),
            _ => {}
        }
    }
}

/// Sets an absent member, as ECS always does for this one.
fn always(object: &mut Value, member: &str, default: Value) {
    if object.is_object() && object[member].is_null() {
        object[member] = default;
    }
}

fn elements<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

/// ECS does not store a null, and a member of a newer ECS that it does not return.
fn drop_unstored(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, value| !value.is_null() && !name.starts_with("unreturned"));
            members.values_mut().for_each(drop_unstored);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_unstored),
        _ => {}
    }
}

/// The members of `taskDefinition` in DescribeTaskDefinition, without those that only ECS sets.
pub fn task_definition(body: &Value, dice: &mut Dice) -> Value {
    let mut task = body.clone();
    drop_unstored(&mut task);
    task.as_object_mut().unwrap().remove("tags");
    for role in ["taskRoleArn", "executionRoleArn"] {
        if let Some(name) = task[role].as_str().filter(|name| !name.is_empty() && !name.starts_with("arn:")) {
            task[role] = json!(format!("{ROLES}{}", name.trim_start_matches('/')));
        }
    }
    for (size, unit) in [("cpu", "vcpu"), ("memory", "gb")] {
        if let Some(text) = task[size].as_str().map(str::to_ascii_lowercase).filter(|text| text.ends_with(unit)) {
            let number: f64 = text.trim_end_matches(unit).trim().parse().unwrap();
            task[size] = json!(((number * 1024.0).round() as i64).to_string());
        }
    }
    always(&mut task, "volumes", json!([]));
    always(&mut task, "placementConstraints", json!([]));
    dice.default(&mut task, "networkMode", json!("bridge"));
    dice.default(&mut task, "enableFaultInjection", json!(false));
    dice.default(&mut task["proxyConfiguration"], "type", json!("APPMESH"));
    dice.shuffle_in(&mut task["proxyConfiguration"], "properties");
    if task["runtimePlatform"].as_object().is_some_and(|platform| platform.values().any(|value| value != "")) {
        always(&mut task["runtimePlatform"], "operatingSystemFamily", json!("LINUX"));
    }
    for list in
        ["containerDefinitions", "volumes", "placementConstraints", "requiresCompatibilities", "inferenceAccelerators"]
    {
        dice.shuffle_in(&mut task, list);
    }
    elements(&mut task, "volumes").for_each(|one| volume(one, dice));
    let mode = task["networkMode"].as_str().unwrap_or("bridge").to_owned();
    for one in elements(&mut task, "containerDefinitions") {
        container(one, &mode, dice);
    }
    // Indexing has inserted nulls.
    drop_unstored(&mut task);
    task
}

fn volume(volume: &mut Value, dice: &mut Dice) {
    if volume.as_object().is_some_and(|members| members.len() == 1) && dice.coin() {
        volume["host"] = json!({});
    }
    if let Some(docker) = volume.get_mut("dockerVolumeConfiguration") {
        always(docker, "scope", json!("task"));
        always(docker, "driver", json!("local"));
        dice.default(docker, "autoprovision", json!(false));
        dice.default(docker, "labels", json!({}));
    }
    if let Some(efs) = volume.get_mut("efsVolumeConfiguration") {
        always(efs, "rootDirectory", json!("/"));
        dice.default(efs, "transitEncryption", json!("DISABLED"));
        if let Some(authorization) = efs.get_mut("authorizationConfig") {
            dice.default(authorization, "iam", json!("DISABLED"));
        }
    }
    if let Some(files) = volume.get_mut("s3filesVolumeConfiguration") {
        dice.default(files, "rootDirectory", json!("/"));
    }
    dice.default(volume, "configuredAtLaunch", json!(false));
}

fn container(container: &mut Value, network_mode: &str, dice: &mut Dice) {
    for (member, default) in [
        ("cpu", json!(0)),
        ("essential", json!(true)),
        ("environment", json!([])),
        ("mountPoints", json!([])),
        ("volumesFrom", json!([])),
        ("systemControls", json!([])),
        ("portMappings", json!([])),
    ] {
        always(container, member, default);
    }
    for member in ["privileged", "interactive", "pseudoTerminal", "readonlyRootFilesystem", "disableNetworking"] {
        dice.default(container, member, json!(false));
    }
    dice.default(container, "versionConsistency", json!("enabled"));
    for mapping in elements(container, "portMappings") {
        always(mapping, "protocol", json!("tcp"));
        let is_same = ["awsvpc", "host"].contains(&network_mode);
        if mapping.get("containerPortRange").is_none() && (mapping["hostPort"].is_null() || mapping["hostPort"] == 0) {
            mapping["hostPort"] = if is_same { mapping["containerPort"].clone() } else { json!(0) };
        }
    }
    for (list, key) in [("environment", "name"), ("secrets", "name")] {
        if let Some(list) = container.get_mut(list).and_then(Value::as_array_mut) {
            list.retain(list_has_value);
            list.sort_by_key(|one| one[key].to_string());
        }
    }
    for list in [
        "portMappings",
        "mountPoints",
        "volumesFrom",
        "links",
        "dependsOn",
        "ulimits",
        "systemControls",
        "resourceRequirements",
        "dockerSecurityOptions",
        "credentialSpecs",
    ] {
        dice.shuffle_in(container, list);
    }
    for list in ["mountPoints", "volumesFrom"] {
        elements(container, list).for_each(|one| dice.default(one, "readOnly", json!(false)));
    }
    parts_of_container(container, dice);
}

fn parts_of_container(container: &mut Value, dice: &mut Dice) {
    if let Some(log) = container.get_mut("logConfiguration") {
        dice.default(log, "options", json!({}));
        dice.default(log, "secretOptions", json!([]));
        dice.shuffle_in(log, "secretOptions");
    }
    if let Some(check) = container.get_mut("healthCheck") {
        always(check, "interval", json!(30));
        always(check, "timeout", json!(5));
        always(check, "retries", json!(3));
        dice.default(check, "startPeriod", json!(0));
    }
    if let Some(policy) = container.get_mut("restartPolicy") {
        dice.default(policy, "restartAttemptPeriod", json!(300));
        dice.default(policy, "ignoredExitCodes", json!([]));
        dice.shuffle_in(policy, "ignoredExitCodes");
    }
    if let Some(linux) = container.get_mut("linuxParameters") {
        linux_parameters(linux, dice);
    }
}

/// Whether a variable has a value, or a secret its source.
fn list_has_value(one: &Value) -> bool {
    one.get("value").is_some() || one.get("valueFrom").is_some()
}

fn linux_parameters(linux: &mut Value, dice: &mut Dice) {
    dice.default(linux, "initProcessEnabled", json!(false));
    if let Some(capabilities) = linux.get_mut("capabilities") {
        dice.shuffle_in(capabilities, "add");
        dice.shuffle_in(capabilities, "drop");
    }
    for device in elements(linux, "devices") {
        dice.default(device, "permissions", json!(["read", "write", "mknod"]));
        dice.shuffle_in(device, "permissions");
    }
    elements(linux, "tmpfs").for_each(|one| dice.shuffle_in(one, "mountOptions"));
    dice.shuffle_in(linux, "devices");
    dice.shuffle_in(linux, "tmpfs");
}

/// The members that DescribeServices shows only in the deployments.
pub const OF_DEPLOYMENT: [&str; 3] =
    ["serviceConnectConfiguration", "volumeConfigurations", "vpcLatticeConfigurations"];

/// The members of CreateService in the form of DescribeServices. Those of [`OF_DEPLOYMENT`] belong into a deployment.
pub fn service(body: &Value, dice: &mut Dice) -> Map<String, Value> {
    let mut shown = body.clone();
    drop_unstored(&mut shown);
    let members = shown.as_object_mut().unwrap();
    for member in ["clientToken", "cluster", "service", "forceNewDeployment", "monitoring", "gatewayConnectors"] {
        members.remove(member);
    }
    if let Some(role) = members.remove("role") {
        let name = role.as_str().unwrap();
        let arn = if name.starts_with("arn:") { name.to_owned() } else { format!("{ROLES}{name}") };
        members.insert("roleArn".into(), json!(arn));
    }
    let names: Vec<String> = members.keys().cloned().collect();
    for name in names {
        service_member(&name, &mut shown[&name], dice);
    }
    shown.as_object().unwrap().clone()
}

fn service_member(name: &str, value: &mut Value, dice: &mut Dice) {
    match name {
        "loadBalancers" | "serviceRegistries" | "vpcLatticeConfigurations" | "placementConstraints" | "tags" => {
            value.as_array_mut().into_iter().for_each(|list| dice.shuffle(list));
        }
        "capacityProviderStrategy" => {
            for item in value.as_array_mut().into_iter().flatten() {
                always(item, "weight", json!(0));
                always(item, "base", json!(0));
                let name = item["capacityProvider"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
                item["capacityProvider"] = json!(name);
            }
            value.as_array_mut().into_iter().for_each(|list| dice.shuffle(list));
        }
        "placementStrategy" => value.as_array_mut().into_iter().flatten().for_each(placement_strategy),
        "networkConfiguration" => {
            let network = &mut value["awsvpcConfiguration"];
            always(network, "securityGroups", json!(["sg-of-the-vpc"]));
            always(network, "assignPublicIp", json!("DISABLED"));
            dice.shuffle_in(network, "subnets");
            dice.shuffle_in(network, "securityGroups");
        }
        "deploymentConfiguration" => deployment_configuration(value, dice),
        "serviceConnectConfiguration" => service_connect(value, dice),
        "volumeConfigurations" => {
            for volume in value.as_array_mut().into_iter().flatten() {
                if let Some(managed) = volume.get_mut("managedEBSVolume") {
                    dice.default(managed, "filesystemType", json!("xfs"));
                    for specification in elements(managed, "tagSpecifications") {
                        dice.default(specification, "propagateTags", json!("NONE"));
                        dice.shuffle_in(specification, "tags");
                    }
                }
            }
        }
        _ => {}
    }
}

fn placement_strategy(strategy: &mut Value) {
    match (strategy["type"].as_str(), strategy["field"].as_str().map(str::to_ascii_lowercase).as_deref()) {
        (Some("random"), _) => drop(strategy.as_object_mut().unwrap().remove("field")),
        (_, Some("host" | "instanceid")) => strategy["field"] = json!("instanceId"),
        (_, Some(resource @ ("cpu" | "memory"))) => strategy["field"] = json!(resource.to_ascii_uppercase()),
        _ => drop_unstored(strategy),
    }
}

fn deployment_configuration(value: &mut Value, dice: &mut Dice) {
    always(value, "maximumPercent", json!(200));
    always(value, "minimumHealthyPercent", json!(100));
    dice.default(value, "strategy", json!("ROLLING"));
    dice.default(value, "bakeTimeInMinutes", json!(0));
    dice.default(value, "deploymentCircuitBreaker", json!({"enable": false, "rollback": false}));
    if let Some(breaker) = value.get_mut("deploymentCircuitBreaker") {
        dice.default(breaker, "resetOnHealthyTask", json!(true));
    }
    if let Some(alarms) = value.get_mut("alarms") {
        dice.shuffle_in(alarms, "alarmNames");
    }
    for hook in elements(value, "lifecycleHooks") {
        dice.default(hook, "targetType", json!("AWS_LAMBDA"));
        dice.shuffle_in(hook, "lifecycleStages");
    }
    dice.shuffle_in(value, "lifecycleHooks");
    if let Some(linear) = value.get_mut("linearConfiguration") {
        dice.default(linear, "stepPercent", json!(10.0));
        dice.default(linear, "stepBakeTimeInMinutes", json!(6));
    }
    if let Some(canary) = value.get_mut("canaryConfiguration") {
        dice.default(canary, "canaryPercent", json!(5.0));
        dice.default(canary, "canaryBakeTimeInMinutes", json!(10));
    }
}

fn service_connect(value: &mut Value, dice: &mut Dice) {
    for service in elements(value, "services") {
        let name = service["portName"].clone();
        dice.default(service, "discoveryName", name);
        dice.shuffle_in(service, "clientAliases");
    }
    dice.shuffle_in(value, "services");
    if let Some(log) = value.get_mut("accessLogConfiguration") {
        dice.default(log, "includeQueryParameters", json!("DISABLED"));
    }
    if let Some(log) = value.get_mut("logConfiguration") {
        dice.shuffle_in(log, "secretOptions");
    }
}
