//! Causes that lie in instance metadata, the role and its permissions. See `causes.rs`.

use super::{Names, is_ready, launched, run};
use crate::support::http::Reply;
use crate::support::port::BlackHole;
use crate::support::{Instance, aws, imds};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

#[test]
fn metadata_that_is_off_is_told_at_once() {
    let instance = Instance::new().imds_fault(imds::Fault::Off);
    Names("imds-disabled", 22, "403").check_untouched(&instance, &run(&instance, &[]));
}

#[test]
fn metadata_that_refuses_for_a_while_is_not_off() {
    let instance = Instance::new().imds_fault(imds::Fault::FailsNext(3, 503));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_path_that_metadata_forbids_is_not_metadata_that_is_off() {
    let instance = Instance::new();
    let forbidden = Reply::new(403, "text/html", "<h1>403 - Forbidden</h1>");
    let path = "/latest/dynamic/instance-identity/document";
    instance.imds.change(|imds| drop(imds.overrides.insert(path.into(), forbidden.into())));
    Names("imds-forbidden", 22, "instance-identity/document").check_untouched(&instance, &run(&instance, &[]));
}

#[test]
fn a_token_that_never_arrives_is_the_hop_limit() {
    let instance = Instance::new().imds_fault(imds::Fault::TokenLost);
    Names("imds-token-hop-limit", 10, "token").check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn metadata_that_refuses_connections_is_unreachable() {
    let nobody = crate::support::port::Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let instance = Instance::new().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", nobody.address()));
    Names("imds-unreachable", 10, "Connection refused")
        .check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn metadata_behind_a_black_hole_is_unreachable() {
    let hole = BlackHole::open();
    let instance = Instance::new().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", hole.endpoint());
    Names("imds-unreachable", 10, "attempts in").check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn metadata_that_comes_late_is_no_cause() {
    let instance = Instance::new();
    instance.imds.refuse_for(Duration::from_millis(1500));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn metadata_that_is_slow_is_no_cause() {
    let instance = Instance::new().imds_delay(Duration::from_millis(700));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn something_else_that_answers_is_not_metadata() {
    let instance = Instance::new().imds_fault(imds::Fault::Garbage);
    Names("imds-garbled", 10, "metadata").check_untouched(&instance, &run(&instance, &["imds.deadline=3s"]));
}

#[test]
fn an_old_instance_without_a_role_is_told_at_once() {
    let instance = Instance::new().without_role();
    let outcome = run(&instance, &["verify.deadline=20s"]);
    Names("no-instance-role", 22, "404 to `meta-data/iam/security-credentials/`").check(&instance, &outcome);
    assert!(outcome.duration < Duration::from_secs(5), "{:?}", outcome.duration);
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "ECS_CLUSTER=prod\n");
}

#[test]
fn a_young_instance_without_a_role_is_given_its_window() {
    let instance = Instance::new().without_role();
    launched(&instance, Duration::from_secs(57));
    let outcome = run(&instance, &["verify.deadline=30s"]);
    Names("no-instance-role", 22, "404 to `meta-data/iam/security-credentials/`").check(&instance, &outcome);
    let window = Duration::from_millis(1500)..Duration::from_secs(8);
    assert!(window.contains(&outcome.duration), "told after {:?}", outcome.duration);
}

#[test]
fn a_role_that_arrives_late_is_no_cause() {
    let instance = Instance::new().without_role();
    launched(&instance, Duration::ZERO);
    let running = instance.start(&["run", "--wait", "--set", "verify.deadline=30s"]);
    std::thread::sleep(Duration::from_millis(1500));
    instance.imds.change(|imds| imds.role = imds::Role::Present("ecsInstanceRole".into()));
    is_ready(&running.wait());
}

#[test]
fn a_role_that_ec2_may_not_assume_is_told_by_its_code() {
    let instance = Instance::new();
    instance.imds.change(|imds| imds.role = imds::Role::NotAssumable("ecsInstanceRole".into()));
    Names("role-not-assumable", 22, "AssumeRoleUnauthorizedAccess")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_denied_registration_is_told_with_the_kind_of_policy() {
    let denied = aws::Fault::denied("ecs:RegisterContainerInstance");
    let instance = Instance::new().aws_fault("RegisterContainerInstance", denied);
    let outcome = run(&instance, &["verify.deadline=20s"]);
    Names("register-denied", 22, "is not authorized to perform: ecs:RegisterContainerInstance")
        .check(&instance, &outcome);
    assert!(outcome.duration < Duration::from_secs(5), "{:?}", outcome.duration);
}

#[test]
fn a_policy_that_arrives_late_is_no_cause() {
    let instance = Instance::new();
    launched(&instance, Duration::ZERO);
    instance.aws.fail_first("RegisterContainerInstance", 2, aws::Fault::denied("ecs:RegisterContainerInstance"));
    is_ready(&run(&instance, &["verify.deadline=30s"]));
}

#[test]
fn without_the_permission_to_describe_the_instance_is_ready_by_introspection() {
    let denied = aws::Fault::denied("ecs:DescribeContainerInstances");
    let instance = Instance::new().aws_fault("DescribeContainerInstances", denied);
    let outcome = run(&instance, &["verify.deadline=20s"]);
    is_ready(&outcome);
    assert!(outcome.stdout.contains("connection not asked"), "{}", outcome.stdout);
    assert_eq!(instance.aws.count("DescribeContainerInstances"), 1);
}

#[test]
fn a_denied_call_that_a_setting_needs_is_told() {
    let instance =
        Instance::new().without_imds_tags().aws_fault("DescribeTags", aws::Fault::denied("ec2:DescribeTags"));
    Names("api-denied", 22, "ec2:DescribeTags").check_untouched(&instance, &run(&instance, &["run.deadline=10s"]));
}

#[test]
fn a_denied_call_that_nothing_needs_is_a_warning() {
    let denied = aws::Fault::denied("ec2:DescribeTags");
    let instance = Instance::new().without_imds_tags().aws_fault("DescribeTags", denied);
    is_ready(&run(
        &instance.setting_file("etc/ecs-bootstrap/config.toml", "cluster = \"prod\"\n"),
        &["verify.deadline=20s"],
    ));
}

#[test]
fn credentials_that_aws_does_not_take_are_told() {
    let text = "The security token included in the request is invalid.";
    let rejected = aws::Fault::error(400, "UnrecognizedClientException", text);
    let instance = Instance::new().aws_fault("RegisterContainerInstance", rejected);
    Names("credentials-rejected", 22, "UnrecognizedClientException")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}
