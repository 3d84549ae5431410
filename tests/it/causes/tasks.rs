//! Causes of a registered instance that takes no tasks: `ready.*`.

use super::{ExpectedCause, ExpectedNote, run};
use crate::daemons::with;
use crate::support::Instance;
use crate::support::aws::Fault;
use crate::support::aws::tasks::Service;
use crate::support::registry::RemoteImage;
use std::time::Duration;

const ALL_DAEMONS: &str = "ready.daemons=all";
const SOON: &str = "ready.deadline=3s";

/// Daemons that never run, each with a part of the evidence.
#[test]
fn a_daemon_that_does_not_run_is_named_with_the_reason() {
    let daemon = Service::daemon("mesh");
    for (service, setting, seen) in [
        (Service { starts_after: None, ..daemon.clone() }, ALL_DAEMONS, "`mesh`: its task is PENDING"),
        (
            Service { healthy_after: Some(None), ..daemon.clone() },
            ALL_DAEMONS,
            "`mesh`: its task runs, and its health is UNHEALTHY",
        ),
        (daemon.clone(), "ready.daemons=mesh,log-router", "`log-router`: the cluster has no service with this name"),
        (Service { status: "DRAINING", ..daemon.clone() }, "ready.daemons=mesh", "`mesh`: the service is not ACTIVE"),
        (
            Service { is_daemon: false, starts_after: None, ..daemon.clone() },
            "ready.daemons=mesh",
            "`mesh`: the service is not a daemon service on EC2",
        ),
        (
            Service { constraint: Some("attribute:zone == b".into()), ..daemon },
            "ready.daemons=mesh",
            "`mesh`: its placement constraints exclude this instance",
        ),
    ] {
        let instance = with([service]);
        ExpectedCause("daemons-not-running", 13, seen).check(&instance, &run(&instance, &[setting, SOON]));
        assert_eq!(instance.aws.count("PutAttributes"), 0, "{seen}");
    }
}

#[test]
fn a_denied_call_is_named() {
    for operation in [
        "ListServices",
        "DescribeServices",
        "DescribeTaskDefinition",
        "ListContainerInstances",
        "DescribeTasks",
        "PutAttributes",
    ] {
        let mesh =
            Service { constraint: Some("ec2InstanceId == i-0123456789abcdef0".into()), ..Service::daemon("mesh") };
        let instance = with([mesh]).aws_fault(operation, Fault::denied(&format!("ecs:{operation}")));
        let outcome = run(&instance, &[ALL_DAEMONS, "ready.deadline=10s"]);
        ExpectedCause("hold-denied", 22, &format!("ecs:{operation}: denied")).check(&instance, &outcome);
    }
}

#[test]
fn a_call_that_fails_is_named() {
    for operation in ["ListServices", "DescribeServices", "DescribeTaskDefinition", "DescribeTasks", "PutAttributes"] {
        let fault = Fault::error(500, "ServerException", "Service Unavailable. Please try again later.");
        let instance = with([Service::daemon("mesh")]).aws_fault(operation, fault);
        let outcome = run(&instance, &[ALL_DAEMONS, SOON]);
        ExpectedCause("hold-call-failed", 11, &format!("ecs:{operation}")).check(&instance, &outcome);
    }
}

#[test]
fn an_attribute_that_is_missing_is_named() {
    let instance = Instance::new();
    let outcome = run(&instance, &["ready.attributes=zone", SOON]);
    ExpectedCause("attributes-missing", 13, "`zone`: the container instance has no such attribute")
        .check(&instance, &outcome);
    let denied = Fault::denied("ecs:DescribeContainerInstances");
    let instance = Instance::new().aws_fault("DescribeContainerInstances", denied);
    let outcome = run(&instance, &["ready.attributes=zone", SOON]);
    ExpectedCause("attributes-denied", 22, "ecs:DescribeContainerInstances: denied").check(&instance, &outcome);
}

#[test]
fn a_task_that_is_not_started_is_noted() {
    let instance = Instance::new().aws_fault("StartTask", Fault::denied("ecs:StartTask"));
    ExpectedNote("task-not-started", "`log-router`: ecs:StartTask: denied")
        .check(&run(&instance, &["start-tasks=log-router"]));
}

#[test]
fn attributes_that_cannot_be_read_are_not_reported_as_missing() {
    let fault = Fault::error(500, "ServerException", "Service Unavailable. Please try again later.");
    let instance = Instance::new().aws_fault("DescribeContainerInstances", fault);
    let outcome = run(&instance, &["ready.attributes=zone", "verify.window=1s", "ready.deadline=10s"]);
    ExpectedCause("attributes-call-failed", 11, "ecs:DescribeContainerInstances").check(&instance, &outcome);
}

#[test]
fn a_tag_that_attributes_cannot_follow_is_noted() {
    let instance = Instance::new();
    let tag = |value: &str| {
        instance.imds.change(|imds| drop(imds.tags.as_mut().map(|tags| tags.insert("team".into(), value.into()))));
    };
    tag("a");
    let settings = ["derive.attributes=team", "derive.attributes-follow=true"];
    assert_eq!(run(&instance, &settings).code, Some(0));
    instance.aws.fail("PutAttributes", Fault::denied("ecs:PutAttributes"));
    tag("b");
    assert_eq!(instance.run(&["watch"]).code, Some(0));
    let state = "var/lib/ecs-bootstrap/attributes.json";
    let mut known: serde_json::Value = serde_json::from_str(&instance.disk.text(state)).unwrap();
    known["calls_at"] = 0.into();
    instance.disk.write(state, known.to_string());
    assert_eq!(instance.run(&["watch"]).code, Some(0));
    ExpectedNote("attributes-not-followed", "ecs:PutAttributes: denied").check(&instance.run(&["verify"]));
}

#[test]
fn an_ordinary_task_without_the_constraint_is_noted() {
    let slow = Service { starts_after: Some(Duration::from_secs(2)), ..Service::daemon("mesh") };
    let instance = with([slow, Service::replica("web", None)]);
    ExpectedNote("task-not-held", "a task of the service `web`").check(&run(&instance, &[ALL_DAEMONS]));
}

#[test]
fn with_allow_a_daemon_that_does_not_run_is_a_note() {
    let instance = with([Service { starts_after: None, ..Service::daemon("mesh") }, Service::daemon("log")]);
    let outcome = run(&instance, &[ALL_DAEMONS, SOON, "ready.at-deadline=allow"]);
    ExpectedNote("daemons-not-running", "`mesh`: its task is PENDING").check(&outcome);
    assert!(outcome.stdout.contains("daemons run: `log`\n"), "{}", outcome.stdout);
}

#[test]
fn with_allow_a_failed_call_is_a_note() {
    let instance = with([Service::daemon("mesh")]).aws_fault("ListServices", Fault::denied("ecs:ListServices"));
    let outcome = run(&instance, &[ALL_DAEMONS, SOON, "ready.at-deadline=allow"]);
    ExpectedNote("hold-denied", "ecs:ListServices: denied").check(&outcome);
    let instance = with([Service::daemon("mesh")]).aws_fault("DescribeTasks", Fault::denied("ecs:DescribeTasks"));
    let outcome = run(&instance, &[ALL_DAEMONS, SOON, "ready.at-deadline=allow"]);
    ExpectedNote("daemons-not-running", "`mesh`: its task is not known: ecs:DescribeTasks: denied").check(&outcome);
}

/// Each reason why docker does not have an image.
#[test]
fn an_image_that_docker_does_not_have_is_named_with_the_reason() {
    const IMAGE: &str = "registry.example.com/app:1";
    let pulled = |instance: &Instance| {
        let settings = ["--set", "ready.images=registry.example.com/app:1", "--set", SOON];
        let run = instance.run(&["run", "--no-wait"].into_iter().chain(settings).collect::<Vec<_>>());
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(instance.run(&["pull-images"]).code, Some(13));
        instance.run(&["verify"])
    };
    let push = |instance: &Instance, remote: RemoteImage| {
        instance.docker.change(|docker| drop(docker.images.in_registries.insert(IMAGE.to_owned(), remote)));
    };
    let instance = Instance::new();
    ExpectedCause("images-not-found", 13, "manifest unknown").check(&instance, &pulled(&instance));

    let instance = Instance::new();
    push(&instance, RemoteImage { login: Some("u:p"), ..RemoteImage::default() });
    ExpectedCause("images-denied", 22, "no basic auth credentials").check(&instance, &pulled(&instance));

    let instance = Instance::new().file("var/lib/docker/engine-id", "");
    push(&instance, RemoteImage { layers: vec![1 << 60], ..RemoteImage::default() });
    ExpectedCause("images-no-space", 13, "of compressed layers").check(&instance, &pulled(&instance));

    let instance = Instance::new();
    instance.docker.change(|docker| docker.images.failures = Some((99, "toomanyrequests: pull rate limit")));
    ExpectedCause("images-missing", 13, "toomanyrequests").check(&instance, &pulled(&instance));
}

#[test]
fn credentials_of_registries_that_cannot_be_read_are_noted() {
    let instance = Instance::new().aws_fault("GetParameter", Fault::denied("ssm:GetParameter"));
    let outcome = run(&instance, &["registry.auth=ssm:hub", "run.deadline=5s"]);
    ExpectedNote("registry-auth-not-read", "ssm:GetParameter: denied").check(&outcome);
}
