//! Remedies of the answers of AWS: the clock, permissions, errors, the cluster.

use super::Shown::ByNote;
use super::Step::{RestartAgent, Run, Wait};
use super::{Row, aws_answers, carried_out, config, fault};
use crate::support::Instance;
use crate::support::aws::Fault as Answer;

/// The agent tries again by itself.
const fn retried(id: &'static str, make: super::Change, says: &'static str) -> Row {
    Row::new(id, make, says, aws_answers, &[Wait])
}

/// A call of ecs-bootstrap fails, and the agent was not started.
const fn called(id: &'static str, make: super::Change, says: &'static str) -> Row {
    Row::new(id, make, says, aws_answers, &[Run])
}

/// The agent has exited with its terminal code.
const fn cluster(id: &'static str, make: super::Change, says: &'static str, mend: super::Change) -> Row {
    Row::new(id, make, says, mend, &[Run])
}

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "clock-skew",
        |i| fault(i, "clock-skew"),
        "`chronyc -a makestep`",
        |i| {
            i.aws.change(|aws| aws.date_ahead = 0);
            i.imds.change(|imds| imds.date_ahead = 0);
            aws_answers(i)
        },
        &[Wait],
    ),
    retried("register-denied", |i| fault(i, "register-denied"), "allow `ecs:RegisterContainerInstance`"),
    retried("scp-denied", |i| fault(i, "scp-denied"), "service control policies"),
    retried("rcp-denied", |i| fault(i, "rcp-denied"), "resource control policies"),
    retried("boundary-denied", |i| fault(i, "boundary-denied"), "permissions boundary"),
    retried("session-policy-denied", |i| fault(i, "session-policy-denied"), "session"),
    retried("endpoint-policy-denied", |i| fault(i, "endpoint-policy-denied"), "VPC endpoint"),
    retried("explicit-deny", |i| fault(i, "explicit-deny"), "Deny"),
    called(
        "api-denied",
        |i| failing(i, Answer::denied("ec2:DescribeTags")),
        "allow the action that the evidence names",
    ),
    Row::new(
        "api-denied",
        tags_denied,
        "remove ECS_CONTAINER_INSTANCE_TAGS from /etc/ecs/ecs.config",
        |i| config(i, "ECS_CLUSTER=prod\n"),
        &[RestartAgent],
    )
    .lasts_while(|disk| disk.text("etc/ecs/ecs.config").contains("_TAGS")),
    Row::new("api-denied", |i| {
        let denied = "AccessDeniedException: User: x is not authorized to perform: ec2:DescribeTags because no identity-based \
                      policy allows the ec2:DescribeTags action";
        let i = i.agent_behaves(|agent| agent.exits = Some((1, "Error calling DescribeTags API", denied)));
        i.ecs_config("ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM=ec2_instance\n")
    }, "remove ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM from /etc/ecs/ecs.config", |i| { config(i, "ECS_CLUSTER=prod\n")
    }, &[RestartAgent]).lasts_while(|disk| disk.text("etc/ecs/ecs.config").contains("_TAGS")),
    Row::new(
        "describe-denied",
        |i| i.aws_fault("DescribeContainerInstances", Answer::denied("ecs:DescribeContainerInstances")),
        "allow `ecs:DescribeContainerInstances`",
        aws_answers,
        &[],
    )
    .shown(ByNote),
    retried("credentials-rejected", |i| fault(i, "credentials-rejected"), "look for what is different for the agent"),
    retried("register-throttled", |i| fault(i, "register-throttled"), "the agent retries for an hour"),
    called(
        "throttled",
        |i| failing(i, Answer::error(503, "RequestLimitExceeded", "Request limit exceeded.")),
        "wait, and",
    ),
    retried("service-error", |i| fault(i, "service-error"), "check the AWS Health Dashboard"),
    called(
        "service-error",
        |i| failing(i, Answer::error(500, "InternalError", "An error")),
        "check the AWS Health Dashboard",
    ),
    retried("register-refused", |i| fault(i, "register-refused"), "look up the error"),
    cluster(
        "cluster-other-account",
        |i| fault(i, "cluster-other-account"),
        "name a cluster of the instance's own account",
        own_cluster,
    ),
    cluster(
        "wrong-region",
        |i| fault(i, "wrong-region"),
        "or name a cluster in the region of the instance",
        own_cluster,
    ),
    cluster("wrong-region", other_region, "remove AWS_DEFAULT_REGION from ecs.config", |i| { config(i, "ECS_CLUSTER=prod\n")
    })
    .lasts_while(|disk| disk.text("etc/ecs/ecs.config").contains("us-east-1")),
    cluster(
        "cluster-inactive",
        |i| fault(i, "cluster-inactive"),
        "`aws ecs create-cluster --cluster-name NAME`",
        created,
    ),
    cluster(
        "cluster-not-found",
        |i| fault(i, "cluster-not-found"),
        "`aws ecs create-cluster --cluster-name NAME`",
        created,
    ),
    cluster(
        "cluster-not-found",
        |i| fault(i, "cluster-not-found"),
        "or correct the cluster name",
        |i| i.cluster("prod-2", &[]).tag("ecs-bootstrap:cluster", "prod-2"),
    ),
    Row::new(
        "cluster-provisioning",
        |i| {
            i.aws.change(|aws| aws.clusters.get_mut("prod").unwrap().status = "PROVISIONING".into());
            i.agent_behaves(|agent| agent.register_delay = std::time::Duration::from_secs(16))
        },
        "wait",
        created,
        &[Wait],
    ),
    retried("cluster-quota", |i| fault(i, "cluster-quota"), "raise the quota"),
    cluster("no-cluster-matches", Instance::without_tags, "tag the cluster", |i| {
        i.cluster("prod", &[("stage", "prod")])
    })
    .shown(super::Shown::By(by_tags)),
    cluster(
        "several-clusters-match",
        |i| {
            let stage = [("stage", "prod")];
            i.without_tags().cluster("blue", &stage).cluster("green", &stage)
        },
        "or name the cluster directly",
        |i| i.setting_file("etc/ecs-bootstrap/config.toml", "cluster = \"green\"\n"),
    )
    .shown(super::Shown::By(by_tags)),
];

fn by_tags(instance: &Instance) -> crate::support::Outcome {
    instance.disk.write("etc/ecs-bootstrap/config.toml", "[cluster-tags]\nstage = \"prod\"\n");
    carried_out(instance, &["run", "--wait"], "verify.deadline=8s")
}

/// `ec2:DescribeTags`, which needs it to find the cluster, answers with this error.
fn failing(instance: Instance, answer: Answer) -> Instance {
    instance.without_imds_tags().aws_fault("DescribeTags", answer)
}

fn tags_denied(instance: Instance) -> Instance {
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: x, \
                AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0 is \
                not authorized to perform: ecs:TagResource on resource: x because no identity-based policy allows the \
                ecs:TagResource action";
    let instance = instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()));
    config(instance, "ECS_CONTAINER_INSTANCE_TAGS={\"team\":\"web\"}\n")
}

fn other_region(instance: Instance) -> Instance {
    let text = "operation error ECS: RegisterContainerInstance, ClientException: Cluster not found.";
    let instance = instance.agent_behaves(|agent| agent.gives_up_with = Some(text.into()));
    config(instance, "AWS_DEFAULT_REGION=us-east-1\n")
}

fn own_cluster(instance: Instance) -> Instance {
    instance.cluster("prod", &[]).tag("ecs-bootstrap:cluster", "prod")
}

fn created(instance: Instance) -> Instance {
    instance.cluster("prod", &[])
}
