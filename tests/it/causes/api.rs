//! Causes in the answers of AWS, and in the host's clock. See `causes/mod.rs`.

use super::{ExpectedCause, ExpectedNote, is_ready, run};
use crate::support::{Instance, aws};
use std::time::Duration;

#[test]
fn calls_throttled_until_the_deadline_are_reported() {
    let throttled = aws::Fault::error(503, "RequestLimitExceeded", "Request limit exceeded.");
    let instance = Instance::new().without_imds_tags().aws_fault("DescribeTags", throttled);
    ExpectedCause("throttled", 11, "RequestLimitExceeded")
        .check_untouched(&instance, &run(&instance, &["run.deadline=20s", "tags.wait=3s"]));
}

#[test]
fn a_registration_throttled_for_a_while_is_not_a_cause() {
    let throttled = aws::Fault::error(400, "ThrottlingException", "Rate exceeded");
    let instance = Instance::new();
    instance.aws.fail_first("RegisterContainerInstance", 2, throttled);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn calls_throttled_for_a_while_are_not_a_cause() {
    let throttled = aws::Fault::error(503, "RequestLimitExceeded", "Request limit exceeded.");
    let instance = Instance::new().without_imds_tags();
    instance.aws.fail_first("DescribeTags", 2, throttled);
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn errors_of_the_service_are_reported() {
    let broken = aws::Fault::error(500, "InternalError", "An internal error has occurred");
    let instance = Instance::new().without_imds_tags().aws_fault("DescribeTags", broken);
    ExpectedCause("service-error", 11, "InternalError")
        .check_untouched(&instance, &run(&instance, &["run.deadline=20s", "tags.wait=3s"]));
}

#[test]
fn a_registration_throttled_until_the_deadline_is_reported() {
    let throttled = aws::Fault::error(400, "ThrottlingException", "Rate exceeded");
    let instance = Instance::new().aws_fault("RegisterContainerInstance", throttled);
    ExpectedCause("register-throttled", 11, "ThrottlingException: Rate exceeded")
        .check(&instance, &run(&instance, &["verify.deadline=4s"]));
}

#[test]
fn a_full_cluster_is_cluster_quota_and_not_throttled() {
    let full = aws::Fault::error(400, "LimitExceededException", "The limit for your resource has been exceeded.");
    let instance = Instance::new().aws_fault("RegisterContainerInstance", full);
    ExpectedCause("cluster-quota", 21, "LimitExceededException")
        .check(&instance, &run(&instance, &["verify.deadline=4s"]));
}

#[test]
fn a_server_error_on_registration_is_service_error() {
    let broken = aws::Fault::error(500, "ServerException", "An unexpected error occurred.");
    let instance = Instance::new().aws_fault("RegisterContainerInstance", broken);
    ExpectedCause("service-error", 11, "ServerException").check(&instance, &run(&instance, &["verify.deadline=4s"]));
}

#[test]
fn an_api_with_errors_for_every_client_is_service_error() {
    let broken = || aws::Fault::error(500, "InternalFailure", "The request processing has failed.");
    let instance =
        Instance::new().aws_fault("RegisterContainerInstance", broken()).aws_fault("DescribeClusters", broken());
    ExpectedCause("service-error", 11, "ecs:DescribeClusters: answered 500, InternalFailure")
        .check(&instance, &run(&instance, &["verify.deadline=8s"]));
}

#[test]
fn an_unknown_refusal_is_quoted() {
    let text = "operation error ECS: RegisterContainerInstance, SomethingNewException: of tomorrow";
    let instance = Instance::new().agent_behaves(|agent| agent.crashes_with = Some(text.into()));
    ExpectedCause("register-refused", 23, "SomethingNewException: of tomorrow")
        .check(&instance, &run(&instance, &["verify.deadline=4s"]));
}

/// The clock of AWS is this many seconds ahead of the host's, and AWS rejects every signature.
fn skewed(ahead: i64) -> Instance {
    let code = "InvalidSignatureException";
    let text = "Signature expired: 20261126T070000Z is now earlier than 20261126T075500Z (20261126T080000Z - 5 min.)";
    let refused = || aws::Fault::error(400, code, text);
    let instance = Instance::new();
    instance.aws.change(|aws| aws.date_ahead = ahead);
    instance.aws_fault("RegisterContainerInstance", refused()).aws_fault("DescribeClusters", refused())
}

#[test]
fn clock_skew_is_measured_against_the_date_header_of_aws() {
    for (ahead, side) in [(7200, "behind the Date"), (-7200, "ahead of the Date")] {
        let instance = skewed(ahead);
        ExpectedCause("clock-skew", 24, side).check(&instance, &run(&instance, &["verify.deadline=9s"]));
    }
}

#[test]
fn a_correct_clock_is_not_the_cause_of_a_rejected_signature() {
    let instance = skewed(60);
    ExpectedCause("credentials-rejected", 22, "InvalidSignatureException")
        .check(&instance, &run(&instance, &["verify.deadline=6s"]));
}

#[test]
fn the_date_of_metadata_alone_is_not_clock_skew() {
    let instance = Instance::new().agent_behaves(|agent| agent.register_delay = Duration::from_secs(3));
    instance.imds.change(|imds| imds.date_ahead = 7200);
    let outcome = run(&instance, &["verify.deadline=20s"]);
    is_ready(&outcome);
    assert!(!outcome.stdout.contains("clock-skew"), "{}", outcome.stdout);
}

#[test]
fn clock_skew_that_makes_a_call_of_ecs_bootstrap_fail_is_reported() {
    let refused = aws::Fault::error(401, "AuthFailure", "AWS was not able to validate the provided access credentials");
    let instance = Instance::new().without_imds_tags().aws_fault("DescribeTags", refused);
    instance.aws.change(|aws| aws.date_ahead = 86_400);
    let outcome = run(&instance, &["run.deadline=10s", "tags.wait=2s"]);
    ExpectedCause("clock-skew", 24, "this host's clock is 1day behind").check_untouched(&instance, &outcome);
}

#[test]
fn clock_skew_is_a_note_if_the_instance_joins() {
    let instance = Instance::new();
    instance.aws.change(|aws| aws.date_ahead = -7200);
    let instance = instance.agent_behaves(|agent| agent.register_delay = Duration::from_secs(3));
    ExpectedNote("clock-skew", "ahead of the Date").check(&run(&instance, &["verify.deadline=20s"]));
}
