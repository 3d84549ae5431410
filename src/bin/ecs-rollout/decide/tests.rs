use super::*;
use crate::cli::DeploymentFlags;
use crate::current::Scaling;
use crate::document::InputFile;
use crate::stability::last_stable_revision;

fn file(name: &str, value: &Value) -> InputFile {
    InputFile { name: name.to_owned(), text: value.to_string() }
}

/// A service of two tasks with the image `web:2`, and more members.
fn desired(more: Value) -> DesiredState {
    let task = json!({"family": "web", "containerDefinitions": [{"name": "web", "image": "web:2", "memory": 128}]});
    let mut service = json!({"cluster": "prod", "serviceName": "web", "desiredCount": 2});
    more.as_object().unwrap().iter().for_each(|(name, value)| service[name] = value.clone());
    let flags = DeploymentFlags { build: Some("17".to_owned()), ..DeploymentFlags::default() };
    let (task, service) = (file("task.json", &task), file("service.json", &service));
    DesiredState::read(Some(&task), Some(&service), &flags, None).unwrap()
}

fn revision(number: u32, image: &str) -> Revision {
    let task = json!({
        "taskDefinitionArn": format!("arn:aws:ecs:eu-west-1:111122223333:task-definition/web:{number}"),
        "status": "ACTIVE",
        "family": "web", "containerDefinitions": [{"name": "web", "image": image, "memory": 128, "essential": true}],
    });
    Revision::read(&json!({"taskDefinition": task, "tags": [{"key": "ecs-rollout:build", "value": "16"}]}))
}

/// A service whose PRIMARY deployment runs `running`. `old` is the revision of the deployment that it replaces.
fn service(running: &Revision, state: &str, old: Option<&Revision>) -> Service {
    let deployment = |id: &str, status: &str, revision: &Revision, state: &str, created: f64| {
        json!({"id": id, "status": status, "taskDefinition": revision.arn, "rolloutState": state, "desiredCount": 2,
               "runningCount": 2, "createdAt": created})
    };
    let mut deployments = vec![deployment("ecs-svc/2", "PRIMARY", running, state, 2.0)];
    deployments.extend(old.map(|old| deployment("ecs-svc/1", "ACTIVE", old, "COMPLETED", 1.0)));
    Service::read(&json!({
        "status": "ACTIVE", "desiredCount": 2, "runningCount": 2, "taskDefinition": running.arn,
        "deployments": deployments,
        "deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 200},
    }))
    .unwrap()
}

fn current(service: Option<Service>, newest: Option<Revision>, last_stable: Option<Revision>) -> CurrentState {
    CurrentState { service, running: None, newest, last_stable, scaling: Scaling::NotRead }
}

#[test]
fn the_service_is_created_or_updated_by_its_status() {
    let with_status = |status: &str| {
        let service = service(&revision(1, "web:1"), "COMPLETED", None);
        Some(Service { status: status.to_owned(), ..service })
    };
    for (found, creates, after_drain) in [
        (None, true, false),
        (with_status("INACTIVE"), true, false),
        (with_status("DRAINING"), true, true),
        (with_status("ACTIVE"), false, false),
    ] {
        let plan = plan(&desired(json!({})), &current(found.clone(), Some(revision(1, "web:1")), None)).unwrap();
        match plan.action {
            Action::Create { after_drain: waits, body, .. } => {
                assert!(creates, "{found:?}");
                assert_eq!((waits, &body["desiredCount"]), (after_drain, &json!(2)));
                assert!(plan.rollback.is_err(), "there was no service before");
            }
            Action::Update { body, changes } => {
                assert!(!creates, "{found:?}");
                assert_eq!((body.len(), changes.len()), (0, 1), "only the revision: {changes:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

fn registration_with(desired: &DesiredState, newest: Option<Revision>) -> TaskDefinitionChange {
    registration(desired, &current(None, newest, None)).unwrap()
}

#[test]
fn a_revision_is_registered_only_if_it_differs_from_the_newest() {
    let same = registration_with(&desired(json!({})), Some(revision(3, "web:2")));
    assert_eq!(same, TaskDefinitionChange::Keep(revision(3, "web:2")), "another build number is not a difference");
    for newest in [None, Some(revision(3, "web:1")), Some(Revision { is_active: false, ..revision(3, "web:2") })] {
        let TaskDefinitionChange::New { body, .. } = registration_with(&desired(json!({})), newest.clone()) else {
            panic!("{newest:?}")
        };
        assert_eq!(body["tags"], json!([{"key": "ecs-rollout:build", "value": "17"}]));
    }
    let mut tagged = desired(json!({}));
    tagged.task_definition["tags"] = json!([{"key": "team", "value": "a"}]);
    let TaskDefinitionChange::New { diff, .. } = registration_with(&tagged, Some(revision(3, "web:2"))) else {
        panic!("its tags differ")
    };
    assert_eq!(diff, "+  tag team=<hidden>\n");
}

#[test]
fn the_rollback_target_is_the_last_stable_revision_if_it_is_active() {
    let (old, new) = (revision(1, "web:1"), revision(2, "web:1b"));
    // The old deployment is complete, its replacement is in progress.
    let in_progress = service(&new, "IN_PROGRESS", Some(&old));
    assert_eq!(last_stable_revision(&in_progress), Some(old.arn.as_str()));
    assert_eq!(last_stable_revision(&service(&new, "COMPLETED", Some(&old))), Some(new.arn.as_str()));
    assert_eq!(last_stable_revision(&service(&new, "IN_PROGRESS", None)), None);
    let desired = desired(json!({"deploymentConfiguration": {"minimumHealthyPercent": 50}}));
    let plan_with =
        |last_stable| plan(&desired, &current(Some(in_progress.clone()), Some(new.clone()), last_stable)).unwrap();
    let planned = plan_with(Some(old.clone()));
    let rollback = planned.rollback.unwrap();
    assert_eq!(rollback.body["taskDefinition"], old.arn);
    assert_eq!(rollback.body["deploymentConfiguration"]["minimumHealthyPercent"], 100, "the value before");
    assert!(planned.notes.iter().any(|note| note.contains("replaces it")), "{:?}", planned.notes);
    assert!(plan_with(None).rollback.unwrap_err().contains("was stable"));
    assert!(plan_with(Some(Revision { is_active: false, ..old })).rollback.unwrap_err().contains("deregistered"));
}

#[test]
fn members_that_the_definition_does_not_have_stay_unchanged() {
    let running = revision(3, "web:2");
    let found = current(Some(service(&running, "COMPLETED", None)), Some(running.clone()), Some(running));
    for definition in [
        json!({}),
        json!({"deploymentConfiguration": {"maximumPercent": 200}}),
        json!({"schedulingStrategy": "REPLICA", "deploymentController": {"type": "ECS"}, "propagateTags": "NONE"}),
        json!({"enableExecuteCommand": false, "loadBalancers": [], "role": "ecsServiceRole"}),
    ] {
        assert_eq!(plan(&desired(definition.clone()), &found).unwrap().action, Action::Nothing, "{definition}");
    }
    let Action::Update { body, .. } = plan(&desired(json!({"enableExecuteCommand": true})), &found).unwrap().action
    else {
        panic!("it differs")
    };
    assert_eq!(body.into_iter().collect::<Vec<_>>(), [("enableExecuteCommand".to_owned(), json!(true))]);
}
