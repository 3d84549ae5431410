//! Answers of IMDS and AWS that no cause of the catalogue describes. See `unknown_faults.rs`.

use super::unknown_faults::{SOON, both_report, crashing, exiting};
use super::{ExpectedCause, run};
use crate::support::http::{Answer, Reply};
use crate::support::port::Port;
use crate::support::{Instance, aws};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const CALLS: &[&str] = &["run.deadline=8s", "tags.wait=1s"];

fn html(status: u16) -> Reply {
    let page = "<!DOCTYPE html><html><head><title>Guest network - please log in</title></head></html>";
    Reply::new(status, "text/html", page).with("Server", "nginx")
}

fn answering(status: u16) -> Instance {
    Instance::new().without_imds_tags().aws_fault("DescribeTags", aws::Fault::Answers(html(status)))
}

// Instance metadata.

fn imds_answers(path: &str, reply: Reply) -> Instance {
    let instance = Instance::new();
    instance.imds.change(|imds| drop(imds.overrides.insert(path.into(), Answer::Reply(reply))));
    instance
}

#[test]
fn error_500_for_credentials_is_imds_garbled() {
    let path = "/latest/meta-data/iam/security-credentials/ecsInstanceRole";
    let instance = imds_answers(path, Reply::new(500, "text/plain", "")).agent_behaves(|agent| {
        agent.crashes_with = Some(
            "operation error ECS: RegisterContainerInstance, get identity: get credentials: \
             failed to refresh cached credentials, no EC2 IMDS role found, operation error \
             ec2imds: GetMetadata, http response error StatusCode: 500"
                .into(),
        );
    });
    both_report(&instance, &run(&instance, SOON), ExpectedCause("imds-garbled", 22, "with 500"));
}

#[test]
fn html_instead_of_a_token_is_imds_garbled() {
    let instance = imds_answers("/latest/api/token", html(200));
    both_report(&instance, &run(&instance, &["imds.deadline=3s"]), ExpectedCause("imds-garbled", 10, "token"));
}

#[test]
fn a_redirect_instead_of_a_token_is_imds_garbled() {
    let instance = imds_answers("/latest/api/token", html(302).with("Location", "http://127.0.0.1/login"));
    both_report(&instance, &run(&instance, &["imds.deadline=3s"]), ExpectedCause("imds-garbled", 10, "302"));
}

#[test]
fn html_instead_of_the_identity_document_is_imds_garbled() {
    let instance = imds_answers("/latest/dynamic/instance-identity/document", html(200));
    both_report(&instance, &run(&instance, SOON), ExpectedCause("imds-garbled", 10, "identity"));
}

#[test]
fn html_instead_of_credentials_is_imds_garbled() {
    let path = "/latest/meta-data/iam/security-credentials/ecsInstanceRole";
    let instance = imds_answers(path, html(200)).agent_behaves(|agent| {
        agent.crashes_with = Some(
            "get identity: get credentials: failed to refresh cached credentials, no EC2 IMDS \
             role found, failed to decode"
                .into(),
        );
    });
    both_report(&instance, &run(&instance, SOON), ExpectedCause("imds-garbled", 22, "security-credentials"));
}

// The API, and other servers that answer instead of it.

#[test]
fn a_captive_portal_seen_by_the_agent_is_a_service_error() {
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 200, RequestID: , \
                deserialization failed, failed to decode response body, invalid character '<' looking for beginning of \
                value";
    let instance = crashing(text).aws_fault("DescribeClusters", aws::Fault::Answers(html(200)));
    both_report(&instance, &run(&instance, SOON), ExpectedCause("service-error", 11, "invalid character '<'"));
}

#[test]
fn a_captive_portal_seen_by_ecs_bootstrap_is_a_service_error() {
    let instance = answering(200);
    both_report(&instance, &run(&instance, CALLS), ExpectedCause("service-error", 11, "ec2:DescribeTags"));
}

#[test]
fn status_429_without_a_code_is_a_service_error() {
    let instance = answering(429);
    both_report(&instance, &run(&instance, CALLS), ExpectedCause("service-error", 11, "429"));
}

#[test]
fn status_503_without_a_code_is_a_service_error() {
    let instance = answering(503);
    both_report(&instance, &run(&instance, CALLS), ExpectedCause("service-error", 11, "503"));
}

#[test]
fn a_redirect_from_the_api_is_a_service_error() {
    let instance = answering(301);
    both_report(&instance, &run(&instance, CALLS), ExpectedCause("service-error", 11, "301"));
}

#[test]
fn status_403_with_a_page_is_a_service_error() {
    let instance = answering(403);
    both_report(&instance, &run(&instance, CALLS), ExpectedCause("service-error", 11, "403"));
}

#[test]
fn a_tls_alert_is_tls_failed() {
    use std::io::{Read, Write};
    let port = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (address, listener) = (port.address(), port.listen(16));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 40]);
        }
    });
    let instance = Instance::new().without_imds_tags().env("AWS_ENDPOINT_URL", format!("https://{address}"));
    both_report(&instance, &run(&instance, CALLS), ExpectedCause("tls-failed", 11, "no TLS connection"));
}

#[test]
fn opt_in_required_is_register_refused() {
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: x, \
                api error OptInRequired: The AWS Access Key Id needs a subscription for the service";
    let instance = crashing(text);
    both_report(&instance, &run(&instance, SOON), ExpectedCause("register-refused", 23, "OptInRequired"));
}

#[test]
fn subscription_required_is_register_refused() {
    let text = "operation error ECS: RegisterContainerInstance, api error SubscriptionRequiredException: The AWS \
                Access Key Id needs a subscription for the service";
    let instance = crashing(text);
    both_report(
        &instance,
        &run(&instance, SOON),
        ExpectedCause("register-refused", 23, "SubscriptionRequiredException"),
    );
}

#[test]
fn a_disabled_region_is_register_refused() {
    let text = "operation error ECS: RegisterContainerInstance, api error RegionDisabledException: STS is not \
                activated in this region for account";
    let instance = crashing(text);
    both_report(&instance, &run(&instance, SOON), ExpectedCause("register-refused", 23, "RegionDisabledException"));
}

#[test]
fn a_denied_tag_resource_is_api_denied() {
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: x, \
                AccessDeniedException: User: \
                arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0 is not authorized to \
                perform: ecs:TagResource on resource: arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/* \
                because no identity-based policy allows the ecs:TagResource action";
    let instance = crashing(text);
    both_report(&instance, &run(&instance, SOON), ExpectedCause("api-denied", 22, "ecs:TagResource"));
}

#[test]
fn a_denied_action_of_another_service_is_api_denied() {
    let text = "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: x, \
                AccessDeniedException: User: \
                arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0 is not authorized to \
                perform: kms:Decrypt on this resource because the resource does not exist in this Region, no \
                resource-based policies allow access, or a resource-based policy explicitly denies access";
    let instance = crashing(text);
    both_report(&instance, &run(&instance, SOON), ExpectedCause("api-denied", 22, "kms:Decrypt"));
}

#[test]
fn a_denied_create_cluster_is_api_denied() {
    let text = "operation error ECS: CreateCluster, https response error StatusCode: 400, RequestID: x, \
                AccessDeniedException: User: \
                arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0 is not authorized to \
                perform: ecs:CreateCluster on resource: arn:aws:ecs:eu-west-1:111122223333:cluster/default because no \
                identity-based policy allows the ecs:CreateCluster action";
    let instance = exiting(1, "Could not create cluster", text).tag("ecs-bootstrap:cluster", "default");
    both_report(&instance, &run(&instance, SOON), ExpectedCause("api-denied", 22, "Could not create cluster"));
}

#[test]
fn an_unknown_backend_host_of_the_agent_is_endpoint_override() {
    let text = "operation error ECS: RegisterContainerInstance, exceeded maximum number of attempts, 3, request send \
                failed, Post \"https://ecs.nowhere.internal/\": dial tcp: lookup ecs.nowhere.internal on 10.0.0.2:53: \
                no such host";
    let instance = crashing(text).ecs_config("ECS_BACKEND_HOST=https://ecs.nowhere.internal\n");
    both_report(&instance, &run(&instance, SOON), ExpectedCause("endpoint-override", 20, "no such host"));
}

#[test]
fn another_region_in_ecs_config_json_is_wrong_region() {
    let text = "operation error ECS: RegisterContainerInstance, ClientException: Cluster not found.";
    let instance = Instance::new().file("etc/ecs/ecs.config.json", "{\"AWSRegion\": \"us-east-1\"}");
    let instance = instance.agent_behaves(|agent| agent.gives_up_with = Some(text.into()));
    both_report(&instance, &run(&instance, SOON), ExpectedCause("wrong-region", 21, "us-east-1"));
}

#[test]
fn a_slow_api_and_an_agent_without_errors_are_unknown() {
    let slow = || aws::Fault::Slow(Duration::from_secs(9));
    let instance = Instance::new().aws_fault("DescribeClusters", slow()).agent_behaves(|a| a.never_registers = true);
    both_report(&instance, &run(&instance, SOON), ExpectedCause("unknown", 13, "ecs.service is active"));
}
