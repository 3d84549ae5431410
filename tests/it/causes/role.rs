//! Causes in the role, its credentials and its permissions. See `causes/mod.rs`.

use super::{AT_ONCE, ExpectedCause, ExpectedNote, is_ready, launched, run};
use crate::support::{Instance, aws, imds};
use std::time::Duration;

fn with_role(role: imds::Role) -> Instance {
    let instance = Instance::new();
    instance.imds.change(|imds| imds.role = role);
    instance
}

#[test]
fn an_old_instance_without_a_role_is_reported_at_once() {
    let instance = Instance::new().without_role();
    let outcome = run(&instance, &["verify.deadline=20s"]);
    ExpectedCause("no-instance-role", 22, "404 for `meta-data/iam/security-credentials/`").check(&instance, &outcome);
    assert!(outcome.duration < AT_ONCE, "{:?}", outcome.duration);
    assert_eq!(instance.disk.text("etc/ecs/ecs.config"), "ECS_CLUSTER=prod\n");
}

#[test]
fn a_young_instance_without_a_role_is_given_time() {
    let instance = Instance::new().without_role();
    launched(&instance, Duration::from_secs(57));
    let outcome = run(&instance, &["verify.deadline=30s"]);
    ExpectedCause("no-instance-role", 22, "404 for `meta-data/iam/security-credentials/`").check(&instance, &outcome);
    let window = Duration::from_millis(1500)..Duration::from_secs(8);
    assert!(window.contains(&outcome.duration), "reported after {:?}", outcome.duration);
}

#[test]
fn a_role_that_is_attached_late_is_not_a_cause() {
    let instance = Instance::new().without_role();
    launched(&instance, Duration::ZERO);
    let running = instance.start(&["run", "--wait", "--set", "verify.deadline=30s"]);
    std::thread::sleep(Duration::from_millis(1500));
    instance.imds.change(|imds| imds.role = imds::Role::Present("ecsInstanceRole".into()));
    is_ready(&running.wait());
}

#[test]
fn a_role_that_ec2_cannot_assume_is_reported_with_its_code() {
    let instance = Instance::new();
    instance.imds.change(|imds| imds.role = imds::Role::NotAssumable("ecsInstanceRole".into()));
    ExpectedCause("role-not-assumable", 22, "AssumeRoleUnauthorizedAccess")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_denied_registration_is_reported_with_the_message_of_iam() {
    let denied = aws::Fault::denied("ecs:RegisterContainerInstance");
    let instance = Instance::new().aws_fault("RegisterContainerInstance", denied);
    let outcome = run(&instance, &["verify.deadline=20s"]);
    ExpectedCause("register-denied", 22, "is not authorized to perform: ecs:RegisterContainerInstance")
        .check(&instance, &outcome);
    assert!(outcome.duration < AT_ONCE, "{:?}", outcome.duration);
}

#[test]
fn a_policy_that_is_attached_late_is_not_a_cause() {
    let instance = Instance::new();
    launched(&instance, Duration::ZERO);
    instance.aws.fail_first("RegisterContainerInstance", 2, aws::Fault::denied("ecs:RegisterContainerInstance"));
    is_ready(&run(&instance, &["verify.deadline=30s"]));
}

#[test]
fn without_describe_permission_introspection_proves_that_the_instance_is_ready() {
    let denied = aws::Fault::denied("ecs:DescribeContainerInstances");
    let instance = Instance::new().aws_fault("DescribeContainerInstances", denied);
    let outcome = run(&instance, &["verify.deadline=20s"]);
    ExpectedNote("describe-denied", "ecs:DescribeContainerInstances is denied").check(&outcome);
    assert!(outcome.stdout.contains("agent connection not checked"), "{}", outcome.stdout);
    assert_eq!(instance.aws.count("DescribeContainerInstances"), 1);
}

#[test]
fn a_denied_call_that_a_setting_needs_is_reported() {
    let instance =
        Instance::new().without_imds_tags().aws_fault("DescribeTags", aws::Fault::denied("ec2:DescribeTags"));
    ExpectedCause("api-denied", 22, "ec2:DescribeTags")
        .check_untouched(&instance, &run(&instance, &["run.deadline=10s"]));
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
fn credentials_that_aws_rejects_are_reported() {
    let text = "The security token included in the request is invalid.";
    let rejected = aws::Fault::error(400, "UnrecognizedClientException", text);
    let instance = Instance::new().aws_fault("RegisterContainerInstance", rejected);
    ExpectedCause("credentials-rejected", 22, "UnrecognizedClientException")
        .check(&instance, &run(&instance, &["verify.deadline=5s"]));
}

const ROLE: &str = "arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0";

#[test]
fn the_end_of_the_message_names_the_kind_of_policy_that_denies() {
    for (tail, names) in [
        (
            "with an explicit deny in a service control policy: \
             arn:aws:organizations::111122223333:policy/o-1/service_control_policy/p-1",
            ExpectedCause(
                "scp-denied",
                22,
                "the message ends `with an explicit deny in a service control policy: arn:",
            ),
        ),
        (
            "with an explicit deny in a resource control policy",
            ExpectedCause("rcp-denied", 22, "explicit deny in a resource control policy"),
        ),
        (
            "because no permissions boundary allows the ecs:RegisterContainerInstance action",
            ExpectedCause("boundary-denied", 22, "because no permissions boundary allows"),
        ),
        (
            "because no session policy allows the ecs:RegisterContainerInstance action",
            ExpectedCause("session-policy-denied", 22, "because no session policy allows"),
        ),
        (
            "because no VPC endpoint policy allows the ecs:RegisterContainerInstance action",
            ExpectedCause("endpoint-policy-denied", 22, "because no VPC endpoint policy allows"),
        ),
        (
            "with an explicit deny in an identity-based policy: arn:aws:iam::111122223333:policy/no",
            ExpectedCause("explicit-deny", 22, "with an explicit deny in an identity-based policy"),
        ),
    ] {
        let denied = aws::Fault::registration_denied(ROLE, tail);
        let instance = Instance::new().aws_fault("RegisterContainerInstance", denied);
        names.check(&instance, &run(&instance, &["verify.deadline=20s"]));
    }
}

#[test]
fn a_call_denied_by_the_organisation_is_scp_denied() {
    let text = "You are not authorized to perform this operation. User: x is not authorized to perform: \
                ec2:DescribeTags with an explicit deny in a service control policy";
    let denied = aws::Fault::error(403, "UnauthorizedOperation", text);
    let instance = Instance::new().without_imds_tags().aws_fault("DescribeTags", denied);
    ExpectedCause("scp-denied", 22, "service control policy")
        .check_untouched(&instance, &run(&instance, &["run.deadline=10s", "tags.wait=1s"]));
}

#[test]
fn a_denial_for_another_principal_is_wrong_role() {
    for who in [
        "arn:aws:sts::111122223333:assumed-role/QuickSetupRole/i-0123456789abcdef0",
        "arn:aws:iam::111122223333:user/deploy",
    ] {
        let tail = "because no identity-based policy allows the ecs:RegisterContainerInstance action";
        let denied = aws::Fault::registration_denied(who, tail);
        let instance = Instance::new().aws_fault("RegisterContainerInstance", denied);
        let (_, principal) = who.rsplit_once(':').unwrap();
        let seen = format!("the agent calls AWS as `{principal}`, IMDS has the role `ecsInstanceRole`");
        ExpectedCause("wrong-role", 22, &seen).check(&instance, &run(&instance, &["verify.deadline=20s"]));
    }
}

#[test]
fn a_profile_without_a_role_is_not_a_missing_profile() {
    let instance = with_role(imds::Role::EmptyProfile);
    ExpectedCause("profile-without-role", 22, "does not contain a role")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_deleted_profile_is_reported_at_once() {
    let instance = with_role(imds::Role::ProfileDeleted);
    ExpectedCause("profile-deleted", 22, "InstanceProfileNotFound")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_role_without_credentials_is_reported_with_its_code() {
    let instance = with_role(imds::Role::Unusable("ecsInstanceRole".into(), "Failed"));
    ExpectedCause("role-not-usable", 22, "the code `Failed`")
        .check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_role_that_the_agent_has_not_used_yet_is_role_late() {
    let text = "operation error ECS: RegisterContainerInstance, get identity: get credentials: failed to refresh \
                cached credentials, no EC2 IMDS role found, operation error ec2imds: GetMetadata, http response error \
                StatusCode: 404";
    let instance = Instance::new().agent_behaves(|agent| agent.crashes_with = Some(text.into()));
    launched(&instance, Duration::from_secs(20));
    ExpectedCause("role-late", 22, "IMDS has the role `ecsInstanceRole` now")
        .check(&instance, &run(&instance, &["verify.deadline=4s"]));
}

#[test]
fn expired_credentials_are_reported() {
    let ago = Duration::from_secs(3600);
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: x, \
                ExpiredTokenException: The security token included in the request is expired";
    let instance = with_role(imds::Role::Expired("ecsInstanceRole".into(), ago))
        .agent_behaves(|agent| agent.crashes_with = Some(text.into()));
    ExpectedCause("credentials-expired", 22, "expired 1h").check(&instance, &run(&instance, &["verify.deadline=4s"]));
}
