//! Faults in the answers of AWS: the clock, permissions, errors, the cluster.

use super::{Fault, Part, Source};
use crate::support::aws::Fault as Answer;
use crate::support::{Instance, aws};

const REGISTER: &[Part] = &[Part::Agent];
const CLUSTER: &[Part] = &[Part::Cluster];
const AGENT: &[Source] = &[Source::AgentRuns];
const ROLE: &str = "arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0";

const fn register(id: &'static str, make: super::Change) -> Fault {
    Fault { needs: AGENT, ..Fault::new(id, make, REGISTER) }
}

/// The status of the cluster is known from an answer of AWS, to ecs-bootstrap or to the agent.
const fn cluster(id: &'static str, make: super::Change) -> Fault {
    let false_words = &["with status ACTIVE", "`prod` is ACTIVE"];
    Fault { needs: &[Source::Aws], false_words, ..Fault::new(id, make, CLUSTER) }
}

pub(in crate::causes) static FAULTS: &[Fault] = &[
    Fault {
        needs: &[Source::Aws],
        false_words: &["the clock agrees"],
        also: &["credentials-rejected"],
        ..Fault::new("clock-skew", clock, &[Part::DateOfAws, Part::Agent])
    },
    register("register-denied", denied),
    register("scp-denied", |instance| denied_by(instance, "with an explicit deny in a service control policy")),
    register("rcp-denied", |instance| denied_by(instance, "with an explicit deny in a resource control policy")),
    register("boundary-denied", |instance| {
        denied_by(instance, "because no permissions boundary allows the ecs:RegisterContainerInstance action")
    }),
    register("session-policy-denied", |instance| {
        denied_by(instance, "because no session policy allows the ecs:RegisterContainerInstance action")
    }),
    register("endpoint-policy-denied", |instance| {
        denied_by(instance, "because no VPC endpoint policy allows the ecs:RegisterContainerInstance action")
    }),
    register("explicit-deny", |instance| denied_by(instance, "with an explicit deny in an identity-based policy")),
    Fault { also: &["register-denied"], ..register("wrong-role", other_role) },
    register("credentials-rejected", rejected),
    register("register-throttled", throttled),
    register("service-error", server_error),
    register("register-refused", refused),
    register("cluster-quota", full),
    cluster("cluster-not-found", no_cluster),
    cluster("cluster-inactive", cluster_inactive),
    Fault::new("cluster-other-account", other_account, &[Part::Tags, Part::Cluster]),
    Fault::new("wrong-region", other_region, &[Part::Tags, Part::Cluster]),
];

pub(in crate::causes) fn clock(instance: Instance) -> Instance {
    instance.aws.change(|aws| aws.date_ahead = 7200);
    instance.imds.change(|imds| imds.date_ahead = 7200);
    let text = "Signature expired: 20261126T070000Z is now earlier than 20261126T075500Z (20261126T080000Z - 5 min.)";
    let refused = || Answer::error(400, "InvalidSignatureException", text);
    instance.aws_fault("RegisterContainerInstance", refused()).aws_fault("DescribeClusters", refused())
}

pub(in crate::causes) fn denied(instance: Instance) -> Instance {
    instance.aws_fault("RegisterContainerInstance", Answer::denied("ecs:RegisterContainerInstance"))
}

fn denied_by(instance: Instance, tail: &str) -> Instance {
    instance.aws_fault("RegisterContainerInstance", Answer::registration_denied(ROLE, tail))
}

fn other_role(instance: Instance) -> Instance {
    let tail = "because no identity-based policy allows the ecs:RegisterContainerInstance action";
    let who = "arn:aws:sts::111122223333:assumed-role/QuickSetupRole/i-0123456789abcdef0";
    instance.aws_fault("RegisterContainerInstance", Answer::registration_denied(who, tail))
}

fn answering(instance: Instance, status: u16, code: &str, message: &str) -> Instance {
    instance.aws_fault("RegisterContainerInstance", Answer::error(status, code, message))
}

fn rejected(instance: Instance) -> Instance {
    let text = "The security token included in the request is invalid.";
    answering(instance, 400, "UnrecognizedClientException", text)
}

fn throttled(instance: Instance) -> Instance {
    answering(instance, 400, "ThrottlingException", "Rate exceeded")
}

fn server_error(instance: Instance) -> Instance {
    answering(instance, 500, "ServerException", "An unexpected error occurred.")
}

fn full(instance: Instance) -> Instance {
    answering(instance, 400, "LimitExceededException", "The limit for your resource has been exceeded.")
}

fn refused(instance: Instance) -> Instance {
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: \
                6d5f1c0a-7e0f-4d3c-9a39-2b7c7a1f0e55, SomethingNewException: of tomorrow";
    instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()))
}

pub(in crate::causes) fn no_cluster(instance: Instance) -> Instance {
    instance.without_cluster("prod")
}

pub(in crate::causes) fn cluster_inactive(instance: Instance) -> Instance {
    let inactive = |aws: &mut aws::State| {
        aws.clusters.entry("prod".into()).and_modify(|cluster| cluster.status = "INACTIVE".into());
    };
    instance.aws.change(inactive);
    instance
}

pub(in crate::causes) fn other_account(instance: Instance) -> Instance {
    instance.tag("ecs-bootstrap:cluster", "arn:aws:ecs:eu-west-1:999988887777:cluster/prod").without_cluster("prod")
}

fn other_region(instance: Instance) -> Instance {
    instance.tag("ecs-bootstrap:cluster", "arn:aws:ecs:us-east-1:111122223333:cluster/prod").without_cluster("prod")
}
