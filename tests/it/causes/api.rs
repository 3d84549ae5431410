//! Causes that lie in what AWS answers, and in the clock that makes it answer so. See `causes.rs`.

use super::{Names, Notes, is_ready, run};
use crate::support::{Instance, aws};
use std::time::Duration;

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
fn a_registration_that_is_throttled_to_the_end_is_told() {
    let throttled = aws::Fault::error(400, "ThrottlingException", "Rate exceeded");
    let instance = Instance::new().aws_fault("RegisterContainerInstance", throttled);
    Names("register-throttled", 11, "ThrottlingException: Rate exceeded")
        .check(&instance, &run(&instance, &["verify.deadline=4s"]));
}

#[test]
fn a_cluster_that_is_full_is_not_a_throttled_account() {
    let full = aws::Fault::error(400, "LimitExceededException", "The limit for your resource has been exceeded.");
    let instance = Instance::new().aws_fault("RegisterContainerInstance", full);
    Names("cluster-quota", 21, "LimitExceededException").check(&instance, &run(&instance, &["verify.deadline=4s"]));
}

#[test]
fn a_registration_that_the_service_cannot_take_is_the_services() {
    let broken = aws::Fault::error(500, "ServerException", "An unexpected error occurred.");
    let instance = Instance::new().aws_fault("RegisterContainerInstance", broken);
    Names("service-error", 11, "ServerException").check(&instance, &run(&instance, &["verify.deadline=4s"]));
}

#[test]
fn an_api_that_answers_us_and_the_agent_with_errors_is_told() {
    let broken = || aws::Fault::error(500, "InternalFailure", "The request processing has failed.");
    let instance =
        Instance::new().aws_fault("RegisterContainerInstance", broken()).aws_fault("DescribeClusters", broken());
    Names("service-error", 11, "ecs:DescribeClusters: answered 500, InternalFailure")
        .check(&instance, &run(&instance, &["verify.deadline=8s"]));
}

#[test]
fn a_refusal_that_nobody_knows_is_quoted() {
    let text = "operation error ECS: RegisterContainerInstance, SomethingNewException: of tomorrow";
    let instance = Instance::new().agent_behaves(|agent| agent.crashes_with = Some(text.into()));
    Names("register-refused", 23, "SomethingNewException: of tomorrow")
        .check(&instance, &run(&instance, &["verify.deadline=4s"]));
}

/// The service's clock is this far ahead of ours, and it takes no signature.
fn skewed(ahead: i64) -> Instance {
    let code = "InvalidSignatureException";
    let text = "Signature expired: 20261126T070000Z is now earlier than 20261126T075500Z (20261126T080000Z - 5 min.)";
    let refused = || aws::Fault::error(400, code, text);
    let instance = Instance::new();
    instance.aws.change(|aws| aws.date_ahead = ahead);
    instance.aws_fault("RegisterContainerInstance", refused()).aws_fault("DescribeClusters", refused())
}

#[test]
fn a_clock_that_is_off_is_told_by_the_date_of_aws() {
    for (ahead, side) in [(7200, "behind the Date"), (-7200, "ahead of the Date")] {
        let instance = skewed(ahead);
        Names("clock-skew", 24, side).check(&instance, &run(&instance, &["verify.deadline=9s"]));
    }
}

#[test]
fn a_clock_that_agrees_is_not_blamed_for_a_signature() {
    let instance = skewed(60);
    Names("credentials-rejected", 22, "InvalidSignatureException")
        .check(&instance, &run(&instance, &["verify.deadline=6s"]));
}

#[test]
fn the_clock_of_metadata_alone_decides_nothing() {
    let instance = Instance::new().agent_behaves(|agent| agent.register_delay = Duration::from_secs(3));
    instance.imds.change(|imds| imds.date_ahead = 7200);
    let outcome = run(&instance, &["verify.deadline=20s"]);
    is_ready(&outcome);
    assert!(!outcome.stdout.contains("clock-skew"), "{}", outcome.stdout);
}

#[test]
fn a_clock_that_stops_our_own_call_is_told() {
    let refused = aws::Fault::error(401, "AuthFailure", "AWS was not able to validate the provided access credentials");
    let instance = Instance::new().without_imds_tags().aws_fault("DescribeTags", refused);
    instance.aws.change(|aws| aws.date_ahead = 86_400);
    let outcome = run(&instance, &["run.deadline=10s", "tags.wait=2s"]);
    Names("clock-skew", 24, "this host's clock is 1day behind").check_untouched(&instance, &outcome);
}

#[test]
fn a_clock_that_is_off_on_an_instance_that_joined_is_a_note() {
    let instance = Instance::new();
    instance.aws.change(|aws| aws.date_ahead = -7200);
    let instance = instance.agent_behaves(|agent| agent.register_delay = Duration::from_secs(3));
    Notes("clock-skew", "ahead of the Date").check(&run(&instance, &["verify.deadline=20s"]));
}
