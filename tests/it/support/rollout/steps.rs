//! Moves a simulated rollout one step forward at each poll.
//!
//! In: a deployment's [`Course`]. Out: what DescribeServices shows next.

use super::{Course, PREFIX, Stopped, World};
use serde_json::{Map, Value, json};

impl World {
    /// Keeps the current service for the stale answers of the next polls.
    pub(super) fn remember(&mut self, name: &str) {
        if self.stale_polls > 0 {
            let shown = self.services.get(name).map(|service| service.shown.clone());
            self.before = Some((name.to_owned(), shown, self.stale_polls));
        }
    }

    /// Starts a deployment of the revision.
    pub(super) fn deploy(&mut self, name: &str, revision: &str) {
        self.ids += 1;
        let id = format!("ecs-svc/{:019}", self.ids);
        let course = self.courses.pop_front().unwrap_or(Course::Completes(2));
        let service = self.services.get_mut(name).unwrap();
        let desired = service.shown["desiredCount"].clone();
        let mut deployment = json!({
            "id": id, "status": "PRIMARY", "taskDefinition": revision, "desiredCount": desired, "runningCount": 0,
            "pendingCount": 0, "failedTasks": 0, "createdAt": self.tick, "updatedAt": self.tick,
            "rolloutState": "IN_PROGRESS", "rolloutStateReason": format!("ECS deployment {id} in progress."),
        });
        for (member, value) in &service.of_deployment {
            deployment[member] = value.clone();
        }
        let old = service.shown["deployments"].as_array().cloned().unwrap_or_default();
        let old = old.into_iter().map(|mut one| {
            one["status"] = json!("ACTIVE");
            one
        });
        let started = deployment.clone();
        service.shown["deployments"] = json!([deployment].into_iter().chain(old).collect::<Vec<_>>());
        service.shown["taskDefinition"] = json!(revision);
        (service.course, service.polls) = (Some(course), 0);
        self.start_service_deployment(name, &started);
    }

    pub fn delete(&mut self, name: &str) {
        let drains_for = self.drains_for;
        if let Some(service) = self.services.get_mut(name) {
            service.shown["status"] = json!("DRAINING");
            service.shown["deployments"] = json!([]);
            (service.course, service.draining) = (None, drains_for);
        }
    }

    /// The answer of DescribeServices, which moves the rollout one step forward.
    pub(super) fn poll(&mut self, name: &str) -> Value {
        if let Some((of, shown, left)) = self.before.take_if(|before| before.0 == name) {
            if left > 1 {
                self.before = Some((of, shown.clone(), left - 1));
            }
            return found(name, shown.as_ref());
        }
        self.step(name);
        found(name, self.services.get(name).map(|service| &service.shown))
    }

    pub(super) fn step(&mut self, name: &str) {
        let Some(service) = self.services.get_mut(name) else { return };
        if service.shown["status"] == "DRAINING" {
            service.draining = service.draining.saturating_sub(1);
            if service.draining == 0 {
                service.shown["status"] = json!("INACTIVE");
            }
        }
        service.polls += 1;
        let polls = service.polls;
        let desired = service.shown["desiredCount"].clone();
        let Some(course) = service.course.clone() else {
            // Without a rollout, a changed desired count is reached at once.
            service.shown["runningCount"] = desired.clone();
            if let Some(primary) = service.shown["deployments"].get_mut(0) {
                primary["runningCount"] = desired;
            }
            return;
        };
        match course {
            Course::Completes(at) if polls >= at => {
                service.course = None;
                complete(&mut service.shown);
                self.show_stage(name, "SUCCESSFUL", None);
                self.event(name, &format!("(service {name}) has reached a steady state."));
            }
            Course::Completes(_) => service.shown["deployments"][0]["pendingCount"] = desired,
            Course::Stuck(message) if polls == 1 => self.event(name, &message),
            Course::Stuck(_) => {}
            Course::Fails { at, task } => self.fail(name, polls >= at, &task),
            Course::Superseded(at) if polls >= at => {
                let running = service.shown["taskDefinition"].as_str().unwrap().to_owned();
                self.deploy(name, &running);
            }
            Course::Deleted(at) if polls >= at => {
                let deployments = service.shown["deployments"].clone();
                self.delete(name);
                self.services.get_mut(name).unwrap().shown["deployments"] = deployments;
            }
            Course::RollsBack(at) if polls >= at => self.roll_back(name),
            Course::Staged { stages, at_end } => self.pass_stage(name, polls, &stages, at_end),
            Course::Superseded(_) | Course::Deleted(_) | Course::RollsBack(_) => {}
        }
    }

    /// Begins the rollback of a service deployment that was stopped.
    pub(super) fn go_back(&mut self, name: &str) {
        let at_end = if self.stopped_ends.is_empty() { "ROLLBACK_SUCCESSFUL" } else { self.stopped_ends };
        let service = self.services.get_mut(name).unwrap();
        (service.course, service.polls) = (Some(Course::Staged { stages: vec!["CLEAN_UP"], at_end }), 0);
    }

    fn pass_stage(&mut self, name: &str, polls: u32, stages: &[&str], at_end: &str) {
        let service = self.services.get_mut(name).unwrap();
        let desired = service.shown["desiredCount"].clone();
        service.shown["deployments"][0]["runningCount"] = desired;
        if let Some(stage) = stages.get(polls as usize - 1) {
            let status = if at_end.starts_with("ROLLBACK") && polls as usize == stages.len() {
                "ROLLBACK_IN_PROGRESS"
            } else {
                "IN_PROGRESS"
            };
            return self.show_stage(name, status, Some(stage));
        }
        service.course = None;
        if at_end == "SUCCESSFUL" {
            complete(&mut service.shown);
        } else {
            // The old deployment is PRIMARY again.
            let deployments = service.shown["deployments"].as_array_mut().unwrap();
            deployments.remove(0);
            deployments[0]["status"] = json!("PRIMARY");
            service.shown["taskDefinition"] = service.shown["deployments"][0]["taskDefinition"].clone();
        }
        self.show_stage(name, at_end, Some("CLEAN_UP"));
    }

    pub(super) fn fail(&mut self, name: &str, gives_up: bool, task: &Stopped) {
        self.ids += 1;
        let arn = format!("{PREFIX}:task/prod/{:032x}", self.ids);
        let service = self.services.get_mut(name).unwrap();
        let revision = service.shown["taskDefinition"].as_str().unwrap().to_owned();
        let containers = self.families.values().flatten().find(|one| one["taskDefinitionArn"] == revision);
        let container = containers.map_or(json!("web"), |one| one["containerDefinitions"][0]["name"].clone());
        let primary = &mut service.shown["deployments"][0];
        let id = primary["id"].as_str().unwrap().to_owned();
        primary["failedTasks"] = json!(primary["failedTasks"].as_i64().unwrap_or_default() + 1);
        let mut ended = Map::from_iter([("name".to_owned(), container), ("runtimeId".to_owned(), json!("0f0f"))]);
        if let Some(code) = task.exit_code {
            ended.insert("exitCode".into(), json!(code));
        }
        if !task.container_reason.is_empty() {
            ended.insert("reason".into(), json!(task.container_reason));
        }
        service.tasks.push(json!({
            "taskArn": arn, "startedBy": id, "taskDefinitionArn": revision, "lastStatus": "STOPPED",
            "stopCode": task.code, "stoppedReason": task.reason, "stoppedAt": self.tick, "containers": [ended],
        }));
        let breaker = service.shown["deploymentConfiguration"]["deploymentCircuitBreaker"].clone();
        if !gives_up || breaker["enable"] != true {
            return;
        }
        let reason = "ECS deployment circuit breaker: tasks failed to start.";
        service.shown["deployments"][0]["rolloutState"] = json!("FAILED");
        service.shown["deployments"][0]["rolloutStateReason"] = json!(reason);
        service.course = None;
        let (polls, rolls_back) = (service.polls, breaker["rollback"] == true);
        self.event(name, &format!("(service {name}) (deployment {id}) deployment failed: tasks failed to start."));
        if rolls_back {
            let at = polls + self.rollback_after;
            self.services.get_mut(name).unwrap().course = Some(Course::RollsBack(at));
            if at == polls {
                self.roll_back(name);
            }
        }
    }

    fn roll_back(&mut self, name: &str) {
        let service = self.services.get_mut(name).unwrap();
        service.course = None;
        let others = service.shown["deployments"].as_array().unwrap().clone();
        let Some(good) = others.into_iter().find(|one| one["rolloutState"] == "COMPLETED") else { return };
        self.courses.push_front(Course::Completes(2));
        self.deploy(name, good["taskDefinition"].as_str().unwrap());
        let service = self.services.get_mut(name).unwrap();
        let back = service.shown["deployments"][0]["id"].as_str().unwrap().to_owned();
        service.shown["deployments"][0]["rolloutStateReason"] =
            json!(format!("ECS deployment circuit breaker: rolling back to deploymentId {back}."));
        self.event(name, &format!("(service {name}) rolling back to deployment {back}."));
    }

    /// Adds a service event. The newest is the first, as in the API.
    pub(super) fn event(&mut self, name: &str, message: &str) {
        self.ids += 1;
        let event = json!({"id": format!("event-{}", self.ids), "createdAt": self.tick, "message": message});
        self.services.get_mut(name).unwrap().shown["events"].as_array_mut().unwrap().insert(0, event);
    }
}

fn complete(shown: &mut Value) {
    let desired = shown["desiredCount"].clone();
    shown["runningCount"] = desired.clone();
    let mut primary = shown["deployments"][0].clone();
    let id = primary["id"].as_str().unwrap_or_default().to_owned();
    for (member, value) in [
        ("rolloutState", json!("COMPLETED")),
        ("rolloutStateReason", json!(format!("ECS deployment {id} completed."))),
        ("runningCount", desired.clone()),
        ("desiredCount", desired),
        ("pendingCount", json!(0)),
    ] {
        primary[member] = value;
    }
    shown["deployments"] = json!([primary]);
}

fn found(name: &str, shown: Option<&Value>) -> Value {
    match shown {
        Some(shown) => json!({"services": [shown], "failures": []}),
        None => {
            let arn = format!("{PREFIX}:service/prod/{name}");
            json!({"services": [], "failures": [{"arn": arn, "reason": "MISSING"}]})
        }
    }
}
