//! Causes that lie in the cluster, its region and its account. See `causes.rs`.

use super::{Names, Notes, is_ready, joined, run, verify};
use crate::support::{Instance, aws};

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
    Names("no-cluster-matches", 21, "`prod`: no tag").check_untouched(&instance, &outcome);
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

fn with_status(status: &str) -> Instance {
    let instance = Instance::new();
    instance.aws.change(|aws| aws.clusters.get_mut("prod").unwrap().status = status.into());
    instance
}

#[test]
fn a_cluster_that_was_deleted_is_not_one_that_never_was() {
    let instance = with_status("INACTIVE");
    Names("cluster-inactive", 21, "`prod` is INACTIVE").check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn without_the_permission_to_describe_a_deleted_cluster_is_one_that_is_not_found() {
    let denied = aws::Fault::denied("ecs:DescribeClusters");
    let instance = with_status("INACTIVE").aws_fault("DescribeClusters", denied);
    Names("cluster-not-found", 21, "Cluster not found").check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_cluster_that_is_being_made_is_waited_for() {
    let instance = with_status("PROVISIONING").agent_behaves(|agent| agent.never_registers = true);
    Names("cluster-provisioning", 21, "`prod` is PROVISIONING")
        .check(&instance, &run(&instance, &["verify.deadline=5s"]));
}

#[test]
fn a_cluster_of_another_account_is_told_before_the_agent_tries() {
    let arn = "arn:aws:ecs:eu-west-1:999988887777:cluster/prod";
    let instance = Instance::new().tag("ecs-bootstrap:cluster", arn);
    let instance = instance.agent_behaves(|agent| agent.never_registers = true);
    Names("cluster-other-account", 21, "account `999988887777`, the instance is of `111122223333`")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_cluster_of_another_region_is_told_before_the_agent_tries() {
    let arn = "arn:aws:ecs:us-east-1:111122223333:cluster/prod";
    let instance = Instance::new().tag("ecs-bootstrap:cluster", arn);
    let instance = instance.agent_behaves(|agent| agent.never_registers = true);
    Names("wrong-region", 21, "region `us-east-1`, the agent calls `eu-west-1`")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_region_of_the_file_where_the_cluster_is_not_is_told() {
    let instance = Instance::new().ecs_config("AWS_DEFAULT_REGION=us-east-1\n");
    let text = "operation error ECS: RegisterContainerInstance, ClientException: Cluster not found.";
    let instance = instance.agent_behaves(|agent| agent.gives_up_with = Some(text.into()));
    Names("wrong-region", 21, "AWS_DEFAULT_REGION in ecs.config is `us-east-1`")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_region_of_the_file_in_which_the_instance_joins_is_a_note() {
    let instance = Instance::new().ecs_config("AWS_DEFAULT_REGION=us-east-1\n");
    Notes("wrong-region", "the instance runs in `eu-west-1`").check(&run(&instance, &["verify.deadline=20s"]));
}
