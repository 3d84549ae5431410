//! The target groups of the service: whether they exist and match, and whether the containers have the ports.

use std::collections::{BTreeMap, BTreeSet};

use ecs_bootstrap::boundary::aws::verification::TargetGroup;
use serde_json::Value;

use super::Checks;
use super::target::Target;
use crate::causes;

impl Checks<'_> {
    pub(super) async fn load_balancers(&self) {
        let balancers = self.target.member("loadBalancers");
        let mut groups: BTreeMap<&str, bool> = BTreeMap::new();
        for balancer in balancers.as_array().into_iter().flatten() {
            if let Some(fault) = port_fault(&self.target, balancer) {
                self.fail(&causes::LOAD_BALANCER_PORT, fault);
            }
            if let Some(arn) = balancer["targetGroupArn"].as_str() {
                groups.insert(arn, true);
            }
            // The second group of a blue/green deployment; its rule may be added later.
            if let Some(arn) = balancer["advancedConfiguration"]["alternateTargetGroupArn"].as_str() {
                groups.entry(arn).or_insert(false);
            }
        }
        let all = groups.into_iter().map(|(arn, must_be_attached)| self.target_group(arn, must_be_attached));
        futures_util::future::join_all(all).await;
    }

    async fn target_group(&self, arn: &str, must_be_attached: bool) {
        let what = format!("target group `{}`", short_name(arn));
        let call = async |deadline| self.aws.target_group(arn, deadline).await;
        // A load balancer in the same template may be attached a moment later.
        let is_unfit =
            |answer: &Option<TargetGroup>| answer.as_ref().is_none_or(|group| must_be_attached && !group.is_attached);
        let group = match self.ask_twice(&what, is_unfit, call).await {
            None => return,
            Some(None) => return self.fail(&causes::TARGET_GROUP_ABSENT, format!("the {what} does not exist")),
            Some(Some(group)) => group,
        };
        let mode = self.target.network_mode();
        // ECS checks the load balancer only when a request names the target group.
        if must_be_attached && !group.is_attached && self.target.changed("loadBalancers").is_some() {
            self.fail(&causes::TARGET_GROUP_UNATTACHED, format!("no load balancer forwards to the {what}"));
        }
        let expected = if mode == "awsvpc" { "ip" } else { "instance" };
        if !group.target_type.is_empty() && group.target_type != expected {
            let text =
                format!("the {what} has the target type `{}`, but the network mode is `{mode}`", group.target_type);
            self.fail(&causes::TARGET_GROUP_TYPE, text);
        }
        if mode == "awsvpc" && !group.vpc.is_empty() {
            self.target_group_vpc(&what, &group.vpc).await;
        }
    }

    /// Compares the VPC of a target group with that of the subnets. If a subnet does not exist, `network` reports it.
    async fn target_group_vpc(&self, what: &str, vpc: &str) {
        let Some(found) = self.subnet_vpcs().await else { return };
        // Subnets in several VPCs are reported by `network`.
        let vpcs: BTreeSet<&String> = found.values().collect();
        if let [other] = Vec::from_iter(vpcs)[..]
            && other != vpc
        {
            let text = format!("the {what} is in `{vpc}`, but the subnets are in `{other}`");
            self.fail(&causes::TARGET_GROUP_VPC, text);
        }
    }
}

/// The name in the ARN of a target group: `...:targetgroup/NAME/ID`.
fn short_name(arn: &str) -> &str {
    arn.split('/').nth(1).unwrap_or(arn)
}

/// What is wrong with the container and the port of a load balancer (ECS API Reference, "LoadBalancer").
fn port_fault(target: &Target<'_>, balancer: &Value) -> Option<String> {
    let name = balancer["containerName"].as_str()?;
    let Some(container) = target.containers().find(|one| one["name"] == name) else {
        return Some(format!("`loadBalancers` names the container `{name}`, which the task definition does not have"));
    };
    let port = balancer["containerPort"].as_i64()?;
    let mappings = container["portMappings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_mapped = mappings.iter().any(|mapping| {
        mapping["containerPort"].as_i64() == Some(port)
            || mapping["containerPortRange"].as_str().is_some_and(|range| contains(range, port))
    });
    (!is_mapped)
        .then(|| format!("`loadBalancers` names port {port} of container `{name}`, which is not in its `portMappings`"))
}

/// Whether a range such as `8000-8010` contains a port. A range that is not valid is left to ECS.
fn contains(range: &str, port: i64) -> bool {
    let bounds = range
        .split_once('-')
        .and_then(|(from, to)| Some(from.trim().parse::<i64>().ok()?..=to.trim().parse::<i64>().ok()?));
    bounds.is_none_or(|bounds| bounds.contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ports() {
        for (range, expected) in [("80-90", true), ("81-90", false), ("80-80", true), ("no range", true)] {
            assert_eq!(contains(range, 80), expected, "{range}");
        }
    }
}
