//! The subnets and security groups of the tasks: whether they exist, and whether they are in one VPC.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Checks;
use crate::cause::Cause;
use crate::causes;

impl Checks<'_> {
    /// The subnets of the tasks; empty if the tasks have no network interface of their own.
    pub(super) fn subnet_ids(&self) -> Vec<String> {
        self.network_ids("subnets")
    }

    fn network_ids(&self, list: &str) -> Vec<String> {
        if self.target.network_mode() != "awsvpc" {
            return Vec::new();
        }
        let configuration = self.target.member("networkConfiguration");
        let ids = configuration["awsvpcConfiguration"][list].as_array().into_iter().flatten();
        let ids: BTreeSet<String> = ids.filter_map(Value::as_str).map(str::to_owned).collect();
        ids.into_iter().collect()
    }

    /// The VPC of each subnet that exists, if they could be read.
    pub(super) async fn subnet_vpcs(&self) -> Option<&BTreeMap<String, String>> {
        let read = self.subnet_vpcs.get_or_init(async || {
            let ids = self.subnet_ids();
            if ids.is_empty() {
                return None;
            }
            let call = async |deadline| self.aws.subnet_vpcs(&ids, deadline).await;
            self.ask_twice("the subnets", |found| found.len() < ids.len(), call).await
        });
        read.await.as_ref()
    }

    fn absent(&self, what: &str, cause: &'static Cause, ids: &[String], found: Option<&BTreeMap<String, String>>) {
        let Some(found) = found else { return };
        for id in ids.iter().filter(|id| !found.contains_key(*id)) {
            self.fail(cause, format!("{what} `{id}` does not exist in this region"));
        }
    }

    pub(super) async fn network(&self) {
        let (subnets, groups) = (self.subnet_ids(), self.network_ids("securityGroups"));
        let (subnet_vpcs, group_vpcs) = futures_util::future::join(self.subnet_vpcs(), async {
            if groups.is_empty() {
                return None;
            }
            let call = async |deadline| self.aws.security_group_vpcs(&groups, deadline).await;
            self.ask_twice("the security groups", |found| found.len() < groups.len(), call).await
        })
        .await;
        self.absent("the subnet", &causes::SUBNET_ABSENT, &subnets, subnet_vpcs);
        self.absent("the security group", &causes::SECURITY_GROUP_ABSENT, &groups, group_vpcs.as_ref());
        let Some(subnet_vpcs) = subnet_vpcs else { return };
        let vpcs: BTreeSet<&String> = subnet_vpcs.values().collect();
        let Some(vpc) = vpcs.first() else { return };
        if vpcs.len() > 1 {
            let places: Vec<String> = subnet_vpcs.iter().map(|(id, vpc)| format!("`{id}` is in `{vpc}`")).collect();
            return self.fail(&causes::NETWORK_IN_TWO_VPCS, places.join(", "));
        }
        let group_vpcs = group_vpcs.unwrap_or_default();
        let others: Vec<String> =
            group_vpcs.iter().filter(|(_, other)| other != vpc).map(|(id, _)| id.clone()).collect();
        if others.is_empty() {
            return;
        }
        // A security group can be used in another VPC that it is associated with.
        let call = async |deadline| self.aws.associated_security_groups(&others, vpc, deadline).await;
        let Some(associated) = self.ask("the VPC of the security groups", call).await else { return };
        for id in others.iter().filter(|id| !associated.contains(id)) {
            let text = format!("the subnets are in `{vpc}`, but the security group `{id}` is in `{}`", group_vpcs[id]);
            self.fail(&causes::NETWORK_IN_TWO_VPCS, text);
        }
    }
}
