//! Calls that are denied, fail, or have no answer never refuse a deployment.

use super::rows::with_strategy;
use super::{Change, OPERATIONS, each, has_no_note, site, unchanged};
use crate::support::rollout::{Ecs, error};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn a_missing_permission_for_any_call_does_not_block_the_deployment() {
    each(&OPERATIONS, |(operation, action)| {
        let site = site(unchanged);
        let code = if action.starts_with("ec2:") { "UnauthorizedOperation" } else { "AccessDeniedException" };
        site.ecs.fail(operation, vec![error(code, "not authorized"); 20]);
        let outcome = site.deploy("deploy", &[]);
        outcome.ends(0, &["note: not verified: ", &format!("(needs `{action}`)"), "deployed web:1"]);
    });
}

#[test]
fn a_missing_permission_for_a_call_that_is_only_made_in_doubt_does_not_block_either() {
    let rows: [(&str, &str, Change); 3] = [
        ("DescribePullThroughCacheRules", "ecr:DescribePullThroughCacheRules", |_, _, account| {
            account.absent.insert("web:1".into());
        }),
        ("DescribeSecurityGroupVpcAssociations", "ec2:DescribeSecurityGroupVpcAssociations", |_, _, account| {
            account.vpcs.insert("sg-a".into(), "vpc-2");
        }),
        ("DescribeCapacityProviders", "ecs:DescribeCapacityProviders", |_, service, account| {
            with_strategy(service, account, true);
            account.cluster = json!({});
        }),
    ];
    each(&rows, |(operation, action, change)| {
        let site = site(*change);
        let code = if action.starts_with("ec2:") { "UnauthorizedOperation" } else { "AccessDeniedException" };
        site.ecs.fail(operation, vec![error(code, "not authorized"); 20]);
        site.deploy("plan", &[]).ends(0, &["note: not verified: ", &format!("(needs `{action}`)")]);
    });
}

#[test]
fn a_call_that_fails_does_not_block_the_deployment() {
    let faults = [
        ("throttled", (400, "ThrottlingException")),
        ("ServiceUnavailable", (503, "ServiceUnavailable")),
        ("NewException", (400, "NewException")),
    ];
    let rows: Vec<_> = OPERATIONS.iter().flat_map(|(operation, _)| faults.map(|fault| (*operation, fault))).collect();
    each(&rows, |(operation, (part, (status, code)))| {
        let site = site(unchanged);
        site.ecs.fail(operation, vec![(*status, (*code).to_owned(), "no".to_owned()); 20]);
        site.deploy("plan", &[]).ends(0, &["note: not verified: ", part]);
    });
}

#[test]
fn calls_without_an_answer_delay_the_deployment_only_until_the_time_limit() {
    let all: [Change; 2] = [
        |_, _, account| account.hanging = OPERATIONS.iter().map(|(operation, _)| *operation).collect(),
        |_, _, account| account.hanging = ["GetRole"].into(),
    ];
    each(&all, |change| {
        let site = site(*change);
        let start = Instant::now();
        let outcome = site.deploy("plan", &[]);
        outcome.ends(0, &["note: not verified: ", "`iam:GetRole` has no answer in time"]);
        let elapsed = start.elapsed();
        assert!(elapsed > Duration::from_secs(9) && elapsed < Duration::from_secs(30), "{elapsed:?}");
    });
}

#[test]
fn an_unreachable_endpoint_does_not_block_the_deployment() {
    let mut site = site(unchanged);
    site.set("AWS_ENDPOINT_URL_IAM", "http://127.0.0.1:9");
    site.deploy("plan", &[]).ends(0, &["note: not verified: ", "`iam:GetRole`: the endpoint refused the connection"]);
}

#[test]
fn each_service_has_its_own_endpoint_variable() {
    const VARIABLES: [(&str, &[&str]); 8] = [
        ("IAM", &["GetRole"]),
        ("ECR", &["BatchGetImage"]),
        ("CLOUDWATCH_LOGS", &["DescribeLogGroups"]),
        ("SECRETS_MANAGER", &["DescribeSecret"]),
        ("SSM", &["DescribeParameters"]),
        ("ELASTIC_LOAD_BALANCING_V2", &["DescribeTargetGroups"]),
        ("EC2", &["DescribeSubnets", "DescribeSecurityGroups"]),
        ("ECS", &["ListContainerInstances"]),
    ];
    each(&VARIABLES, |(service, operations)| {
        let (mut site, other) = (site(unchanged), Ecs::start());
        site.set(&format!("AWS_ENDPOINT_URL_{service}"), &other.endpoint());
        let outcome = site.deploy("plan", &[]);
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        has_no_note(service, &outcome);
        for operation in *operations {
            assert!(other.calls().iter().any(|call| call == operation), "{service}: {:?}", other.calls());
            assert!(!site.ecs.calls().iter().any(|call| call == operation), "{service}: {:?}", site.ecs.calls());
        }
    });
}
