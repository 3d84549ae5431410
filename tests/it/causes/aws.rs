//! Causes that lie on the way to AWS, in its answers, and in the cluster. See `causes.rs`.

use super::{Names, is_ready, joined, run, verify};
use crate::support::port::{BlackHole, Port};
use crate::support::{Instance, aws};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// An agent that cannot register either, in the words of a network that drops.
fn cut_off(instance: Instance) -> Instance {
    let text = "operation error ECS: RegisterContainerInstance, exceeded maximum number of attempts, 3, https response error StatusCode: 0, RequestID: , request send failed, Post \"https://ecs.eu-west-1.amazonaws.com/\": dial tcp 52.0.0.1:443: i/o timeout";
    instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()))
}

#[test]
fn a_way_out_that_drops_is_told_at_the_deadline() {
    let hole = BlackHole::open();
    let instance = cut_off(Instance::new()).env("AWS_ENDPOINT_URL", hole.endpoint());
    let outcome = run(&instance, &["verify.deadline=8s"]);
    Names("egress-timeout", 25, "127.0.0.1").check(&instance, &outcome);
    assert!(outcome.stderr.contains("i/o timeout"), "{}", outcome.stderr);
}

#[test]
fn an_agent_that_registers_although_we_cannot_reach_aws_is_ready() {
    let hole = BlackHole::open();
    let instance = Instance::new().env("AWS_ENDPOINT_URL", hole.endpoint());
    is_ready(&run(&instance, &["verify.deadline=30s", "verify.window=3s"]));
}

#[test]
fn an_api_that_is_slow_is_no_cause() {
    let instance = Instance::new()
        .aws_fault("DescribeContainerInstances", aws::Fault::Slow(Duration::from_secs(2)))
        .agent_behaves(|agent| agent.register_delay = Duration::from_secs(3));
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_refused_connection_is_told_at_the_deadline() {
    let nobody = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let instance = cut_off(Instance::new()).env("AWS_ENDPOINT_URL", format!("http://{}", nobody.address()));
    Names("connection-refused", 25, "127.0.0.1").check(&instance, &run(&instance, &["verify.deadline=6s"]));
}

#[test]
fn a_certificate_of_nobody_known_is_told() {
    let server = super::SelfSigned::start();
    let instance = Instance::new().without_imds_tags().env("AWS_ENDPOINT_URL", server.endpoint());
    Names("tls-untrusted", 25, "certificate").check_untouched(&instance, &run(&instance, &["run.deadline=10s"]));
}

#[test]
fn calls_that_are_throttled_to_the_end_are_told() {
    let throttled = aws::Fault::error(503, "RequestLimitExceeded", "Request limit exceeded.");
    let instance = Instance::new().without_imds_tags().aws_fault("DescribeTags", throttled);
    Names("throttled", 11, "RequestLimitExceeded")
        .check_untouched(&instance, &run(&instance, &["run.deadline=20s", "tags.wait=3s"]));
}

#[test]
fn a_registration_that_is_throttled_for_a_while_is_no_cause() {
    let throttled = aws::Fault::error(400, "ThrottlingException", "Rate exceeded");
    let instance = Instance::new();
    instance.aws.fail_first("RegisterContainerInstance", 2, throttled);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn calls_that_are_throttled_for_a_while_are_no_cause() {
    let throttled = aws::Fault::error(503, "RequestLimitExceeded", "Request limit exceeded.");
    let instance = Instance::new().without_imds_tags();
    instance.aws.fail_first("DescribeTags", 2, throttled);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_service_that_answers_with_errors_is_told() {
    let broken = aws::Fault::error(500, "InternalError", "An internal error has occurred");
    let instance = Instance::new().without_imds_tags().aws_fault("DescribeTags", broken);
    Names("service-error", 11, "InternalError")
        .check_untouched(&instance, &run(&instance, &["run.deadline=20s", "tags.wait=3s"]));
}

#[test]
fn a_cluster_that_does_not_exist_is_told_at_once() {
    let instance = Instance::new().without_cluster("prod");
    let outcome = run(&instance, &["verify.deadline=20s"]);
    Names("cluster-not-found", 21, "Cluster not found").check(&instance, &outcome);
    assert!(outcome.stderr.contains("`prod`"), "{}", outcome.stderr);
}

#[test]
fn a_cluster_that_was_created_after_the_agent_gave_up_is_joined_by_the_next_run() {
    let instance = Instance::new().without_cluster("prod");
    assert_eq!(run(&instance, &["verify.deadline=20s"]).code, Some(21));
    let instance = instance.cluster("prod", &[]);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn clusters_that_lack_the_wanted_tags_are_told_with_what_they_lack() {
    let instance = Instance::new().without_tags();
    let outcome = run(&instance, &["cluster-tags.stage=prod"]);
    Names("no-cluster-matches", 21, "`prod` lacks").check_untouched(&instance, &outcome);
}

#[test]
fn two_clusters_with_the_wanted_tags_are_both_told() {
    let stage = [("stage", "prod")];
    let instance = Instance::new().without_tags().cluster("blue", &stage).cluster("green", &stage);
    let outcome = run(&instance, &["cluster-tags.stage=prod"]);
    Names("several-clusters-match", 21, "`blue`, `green`").check_untouched(&instance, &outcome);
}

#[test]
fn an_agent_in_default_that_nobody_asked_for_is_told() {
    let instance = Instance::new();
    joined(&instance, "");
    Names("joined-default", 21, "in `default`; wanted is `prod`")
        .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "");
}

#[test]
fn default_that_somebody_asked_for_is_no_cause() {
    let instance = Instance::new().tag("ecs-bootstrap:cluster", "default").cluster("default", &[]);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_in_another_cluster_is_told() {
    let instance = Instance::new().cluster("old", &[]);
    joined(&instance, "ECS_CLUSTER=old\n");
    Names("cluster-other-than-wanted", 21, "in `old`; wanted is `prod`")
        .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
}

#[test]
fn the_same_cluster_by_name_and_by_arn_is_one() {
    let arn = aws::cluster_arn("prod");
    let instance = Instance::new();
    joined(&instance, "ECS_CLUSTER=prod\n");
    is_ready(&run(&instance.tag("ecs-bootstrap:cluster", &arn), &["verify.deadline=20s"]));
}
