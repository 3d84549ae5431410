//! Causes in the cluster, its region and its account. See `causes/mod.rs`.

use super::{ExpectedCause, ExpectedNote, is_ready, joined, run, verify};
use crate::support::disk::AgentState;
use crate::support::{Instance, aws};

#[test]
fn a_cluster_that_does_not_exist_is_reported_at_once() {
    let instance = Instance::new().without_cluster("prod");
    let outcome = run(&instance, &["verify.deadline=20s"]);
    ExpectedCause("cluster-not-found", 21, "Cluster not found").check(&instance, &outcome);
    assert!(outcome.stderr.contains("`prod`"), "{}", outcome.stderr);
}

#[test]
fn the_next_run_joins_a_cluster_that_was_created_after_the_agent_gave_up() {
    let instance = Instance::new().without_cluster("prod");
    assert_eq!(run(&instance, &["verify.deadline=20s"]).code, Some(21));
    let instance = instance.cluster("prod", &[]);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn clusters_without_the_tags_are_reported_with_the_missing_tags() {
    let instance = Instance::new().without_tags();
    let outcome = run(&instance, &["cluster-tags.stage=prod"]);
    ExpectedCause("no-cluster-matches", 21, "`prod`: no tag").check_untouched(&instance, &outcome);
}

#[test]
fn two_clusters_with_the_tags_are_both_reported() {
    let stage = [("stage", "prod")];
    let instance = Instance::new().without_tags().cluster("blue", &stage).cluster("green", &stage);
    let outcome = run(&instance, &["cluster-tags.stage=prod"]);
    ExpectedCause("several-clusters-match", 21, "`blue`, `green`").check_untouched(&instance, &outcome);
}

#[test]
fn doctor_reports_an_agent_in_default_if_nothing_names_a_cluster() {
    let instance = Instance::new().without_tags();
    joined(&instance, "");
    let doctor = instance.run(&["doctor"]);
    assert_eq!(doctor.code, Some(21), "{doctor:#?}");
    assert!(doctor.stdout.starts_with("error: [joined-default] "), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("in `default`, and nothing names a cluster"), "{}", doctor.stdout);
    let row = |layer: &str| doctor.stdout.lines().find(|line| line.starts_with(layer)).unwrap_or_default();
    assert!(row("cluster ").contains(" fail "), "{}", doctor.stdout);
}

#[test]
fn doctor_examines_the_network_although_nothing_names_a_cluster() {
    let instance = Instance::new().without_tags();
    let doctor = instance.run(&["doctor"]);
    assert_eq!(doctor.code, Some(21), "{doctor:#?}");
    for layer in ["dns ", "route ", "tls ", "api "] {
        let row = doctor.stdout.lines().find(|line| line.starts_with(layer)).unwrap_or_default();
        assert!(row.contains(" pass "), "{}", doctor.stdout);
    }
}

#[test]
fn an_agent_in_default_that_no_setting_named_is_reported() {
    let instance = Instance::new();
    joined(&instance, "");
    ExpectedCause("joined-default", 21, "in cluster `default`; the expected cluster is `prod`")
        .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "");
}

#[test]
fn default_named_by_a_tag_is_not_a_cause() {
    let instance = Instance::new().tag("ecs-bootstrap:cluster", "default").cluster("default", &[]);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_in_another_cluster_is_reported() {
    let instance = Instance::new().cluster("old", &[]);
    joined(&instance, "ECS_CLUSTER=old\n");
    ExpectedCause("cluster-other-than-wanted", 21, "in cluster `old`; the expected cluster is `prod`")
        .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_cluster_name_and_its_arn_are_the_same_cluster() {
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
fn a_deleted_cluster_is_cluster_inactive() {
    let instance = with_status("INACTIVE");
    ExpectedCause("cluster-inactive", 21, "`prod` with status INACTIVE")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn without_describe_permission_a_deleted_cluster_is_cluster_not_found() {
    let denied = aws::Fault::denied("ecs:DescribeClusters");
    let instance = with_status("INACTIVE").aws_fault("DescribeClusters", denied);
    ExpectedCause("cluster-not-found", 21, "Cluster not found")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_cluster_that_is_provisioning_is_waited_for() {
    let instance = with_status("PROVISIONING").agent_behaves(|agent| agent.never_registers = true);
    ExpectedCause("cluster-provisioning", 21, "`prod` with status PROVISIONING")
        .check(&instance, &run(&instance, &["verify.deadline=5s"]));
}

#[test]
fn a_cluster_of_another_account_is_reported_before_the_agent_registers() {
    let arn = "arn:aws:ecs:eu-west-1:999988887777:cluster/prod";
    let instance = Instance::new().tag("ecs-bootstrap:cluster", arn);
    let instance = instance.agent_behaves(|agent| agent.never_registers = true);
    ExpectedCause("cluster-other-account", 21, "account `999988887777`, the instance is in account `111122223333`")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_cluster_of_another_region_is_reported_before_the_agent_registers() {
    let arn = "arn:aws:ecs:us-east-1:111122223333:cluster/prod";
    let instance = Instance::new().tag("ecs-bootstrap:cluster", arn);
    let instance = instance.agent_behaves(|agent| agent.never_registers = true);
    ExpectedCause("wrong-region", 21, "region `us-east-1`, the agent calls region `eu-west-1`")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_region_in_ecs_config_without_the_cluster_is_reported() {
    let instance = Instance::new().ecs_config("AWS_DEFAULT_REGION=us-east-1\n");
    let text = "operation error ECS: RegisterContainerInstance, ClientException: Cluster not found.";
    let instance = instance.agent_behaves(|agent| agent.gives_up_with = Some(text.into()));
    ExpectedCause("wrong-region", 21, "AWS_DEFAULT_REGION in ecs.config is `us-east-1`")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn another_region_in_ecs_config_is_a_note_if_the_instance_joins() {
    let instance = Instance::new().ecs_config("AWS_DEFAULT_REGION=us-east-1\n");
    ExpectedNote("wrong-region", "the instance runs in `eu-west-1`").check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn saved_state_does_not_hide_that_the_cluster_is_in_another_region_or_account() {
    for (arn, id, seen) in [
        ("arn:aws:ecs:us-east-1:111122223333:cluster/prod", "wrong-region", "region `us-east-1`"),
        ("arn:aws:ecs:eu-west-1:999988887777:cluster/prod", "cluster-other-account", "account `999988887777`"),
    ] {
        let instance = Instance::new().tag("ecs-bootstrap:cluster", arn);
        let mut own = String::new();
        instance.imds.change(|imds| own.clone_from(&imds.instance_id));
        instance.disk.save_agent_state(&AgentState {
            cluster: "prod".into(),
            container_instance_arn: "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/saved".into(),
            instance_id: own,
        });
        ExpectedCause(id, 21, seen).check(&instance, &run(&instance, &["verify.deadline=20s"]));
    }
}
