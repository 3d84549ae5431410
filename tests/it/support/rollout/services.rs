//! CreateService and UpdateService of the simulator (ECS API Reference).

use super::form_of_ecs::{self, Dice, OF_DEPLOYMENT};
use super::{Fault, Outcome, PREFIX, Service, World, error, short};
use serde_json::{Map, Value, json};

impl World {
    pub(super) fn create(&mut self, body: &Value) -> Outcome {
        let name = body["serviceName"].as_str().unwrap_or_default().to_owned();
        let is_daemon = body["schedulingStrategy"] == "DAEMON";
        match self.services.get(&name).and_then(|service| service.shown["status"].as_str()) {
            Some("ACTIVE") => {
                return Err(error("InvalidParameterException", "Creation of service was not idempotent."));
            }
            Some("DRAINING") => {
                return Err(error("InvalidParameterException", "Unable to Start a service that is still Draining."));
            }
            _ => {}
        }
        if !is_daemon && body["desiredCount"].is_null() {
            return Err(error("InvalidParameterException", "Desired count is required for REPLICA services."));
        }
        let revision = self.taken(&body["taskDefinition"])?;
        self.remember(&name);
        let mut members = form_of_ecs::service(body, &mut Dice::new(self.ids));
        let of_deployment = take_those_of_deployment(&mut members);
        let launch_type = members.get("launchType").cloned().unwrap_or(json!("EC2"));
        if body["capacityProviderStrategy"].as_array().is_none_or(Vec::is_empty) {
            members.insert("launchType".into(), launch_type.clone());
        }
        for (member, value) in [
            ("serviceArn", json!(format!("{PREFIX}:service/prod/{name}"))),
            ("clusterArn", json!(format!("{PREFIX}:cluster/prod"))),
            ("status", json!("ACTIVE")),
            ("taskDefinition", json!(revision)),
            ("deployments", json!([])),
            ("events", json!([])),
            ("runningCount", json!(0)),
            ("pendingCount", json!(0)),
        ] {
            members.insert(member.into(), value);
        }
        if is_daemon {
            members.insert("desiredCount".into(), json!(1));
        }
        let usual = json!({"deploymentConfiguration": {"maximumPercent": 200, "minimumHealthyPercent": 100},
            "schedulingStrategy": "REPLICA", "propagateTags": "NONE", "enableExecuteCommand": false});
        for (member, value) in usual.as_object().unwrap() {
            members.entry(member.clone()).or_insert_with(|| value.clone());
        }
        let shown = Value::Object(members);
        self.services.insert(name.clone(), Service { shown, of_deployment, launch_type, ..Service::default() });
        self.deploy(&name, &revision);
        Ok(json!({"service": self.services[&name].shown}))
    }

    pub(super) fn update(&mut self, body: &Value) -> Outcome {
        let name = short(body["service"].as_str().unwrap_or_default()).to_owned();
        let status = self.services.get(&name).and_then(|service| service.shown["status"].as_str());
        match status {
            None => return Err(error("ServiceNotFoundException", "Service not found.")),
            Some("ACTIVE") => {}
            Some(_) => return Err(error("ServiceNotActiveException", "Service was not ACTIVE.")),
        }
        let running = self.services[&name].shown["taskDefinition"].as_str().unwrap_or_default().to_owned();
        let revision = match &body["taskDefinition"] {
            Value::Null => running.clone(),
            named => self.taken(named)?,
        };
        check_force(&self.services[&name].shown, body)?;
        self.remember(&name);
        let seed = self.ids;
        let service = self.services.get_mut(&name).unwrap();
        let deploys = revision != running || starts_deployment(body);
        update_strategy(service, body);
        let mut changed = form_of_ecs::service(body, &mut Dice::new(seed));
        changed.remove("taskDefinition");
        service.of_deployment.extend(take_those_of_deployment(&mut changed));
        for (member, value) in changed {
            service.shown[member] = value;
        }
        service.shown["taskDefinition"] = json!(revision);
        if deploys {
            self.deploy(&name, &revision);
        } else if let (Some(primary), Some(count)) = (service.shown["deployments"].get_mut(0), body.get("desiredCount"))
        {
            primary["desiredCount"] = count.clone();
        }
        Ok(json!({"service": self.services[&name].shown}))
    }

    pub(super) fn taken(&self, name: &Value) -> Result<String, Fault> {
        let revision = self.revision(name.as_str().unwrap_or_default());
        let revision = revision.ok_or_else(|| error("ClientException", "TaskDefinition not found."))?;
        if revision["status"] != "ACTIVE" {
            return Err(error("ClientException", "TaskDefinition is inactive"));
        }
        Ok(revision["taskDefinitionArn"].as_str().unwrap().to_owned())
    }
}

fn take_those_of_deployment(members: &mut Map<String, Value>) -> Map<String, Value> {
    OF_DEPLOYMENT.iter().filter_map(|name| Some(((*name).to_owned(), members.remove(*name)?))).collect()
}

/// Whether a member starts a deployment by itself (ECS API Reference, UpdateService, at each member).
fn starts_deployment(body: &Value) -> bool {
    const SILENT: [&str; 14] = [
        "cluster",
        "service",
        "taskDefinition",
        "forceNewDeployment",
        "desiredCount",
        "capacityProviderStrategy",
        "deploymentConfiguration",
        "availabilityZoneRebalancing",
        "placementConstraints",
        "placementStrategy",
        "healthCheckGracePeriodSeconds",
        "enableExecuteCommand",
        "enableECSManagedTags",
        "propagateTags",
    ];
    let members = body.as_object().unwrap();
    body["forceNewDeployment"] == true || members.keys().any(|name| !SILENT.contains(&name.as_str()))
}

/// ECS refuses a change of the strategy without `forceNewDeployment`.
fn check_force(shown: &Value, body: &Value) -> Result<(), Fault> {
    let Some(strategy) = body.get("capacityProviderStrategy") else { return Ok(()) };
    let text = "When switching from launch type to capacity provider strategy on an existing service, or making a \
                change to a capacity provider strategy on a service that is already using one, you must force a new \
                deployment.";
    let has_none = shown["capacityProviderStrategy"].as_array().is_none_or(Vec::is_empty);
    if body["forceNewDeployment"] == true || (has_none && *strategy == json!([])) {
        return Ok(());
    }
    Err(error("InvalidParameterException", text))
}

/// A service has either a strategy or a launch type.
fn update_strategy(service: &mut Service, body: &Value) {
    let Some(strategy) = body["capacityProviderStrategy"].as_array() else { return };
    if strategy.is_empty() {
        service.shown["launchType"] = service.launch_type.clone();
    } else {
        service.shown.as_object_mut().unwrap().remove("launchType");
    }
}
