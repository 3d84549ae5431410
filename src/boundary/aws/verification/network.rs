//! Target groups, subnets and security groups.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Filter;

use super::super::query::{Expected, QueryService};
use super::super::service::{EndpointName, Service};
use super::super::{Aws, AwsError};
use super::absent_if;
use crate::retry::Deadline;

const LOAD_BALANCING: QueryService = QueryService {
    service: Service {
        id: "Elastic Load Balancing v2",
        signing_name: "elasticloadbalancing",
        endpoint: EndpointName::RegionalFipsInGovCloud("elasticloadbalancing"),
    },
    version: "2015-12-01",
    texts: &["TargetType", "VpcId"],
};

/// A target group in the answer of DescribeTargetGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    /// `instance`, `ip`, `lambda` or `alb`.
    pub target_type: String,
    /// The VPC; empty for a Lambda function.
    pub vpc: String,
    /// Whether a load balancer forwards to it.
    pub is_attached: bool,
}

impl Aws {
    /// A target group by ARN: `elasticloadbalancing:DescribeTargetGroups`.
    pub async fn target_group(&self, arn: &str, deadline: Deadline) -> Result<Option<TargetGroup>, AwsError> {
        const PATH: [&str; 3] = ["DescribeTargetGroupsResult", "TargetGroups", "member"];
        let operation = "elasticloadbalancing:DescribeTargetGroups";
        let parameters = [("TargetGroupArns.member.1", arn)];
        let answer = self.query(LOAD_BALANCING, operation, &parameters, Expected::Element(&PATH), deadline).await;
        let answer = absent_if(answer, &["TargetGroupNotFound", "TargetGroupNotFoundException"])?;
        Ok(answer.and_then(|answer| {
            answer.all(&PATH).first().map(|group| TargetGroup {
                target_type: group.text("TargetType").trim().to_owned(),
                vpc: group.text("VpcId").trim().to_owned(),
                is_attached: !group.all(&["LoadBalancerArns", "member"]).is_empty(),
            })
        }))
    }

    /// The VPC of each of these subnets: `ec2:DescribeSubnets`. A subnet that does not exist is absent.
    pub async fn subnet_vpcs(&self, ids: &[String], deadline: Deadline) -> Result<BTreeMap<String, String>, AwsError> {
        // A filter finds those that exist; the parameter `SubnetIds` fails if one does not.
        let answer = self
            .call("ec2:DescribeSubnets", deadline, async |clients| {
                clients.ec2().describe_subnets().filters(filter("subnet-id", ids)).send().await
            })
            .await?;
        let subnets = answer.subnets.unwrap_or_default().into_iter();
        Ok(subnets.filter_map(|one| Some((one.subnet_id?, one.vpc_id?))).collect())
    }

    /// The VPC of each of these security groups: `ec2:DescribeSecurityGroups`. A group that does not exist is absent.
    pub async fn security_group_vpcs(
        &self,
        ids: &[String],
        deadline: Deadline,
    ) -> Result<BTreeMap<String, String>, AwsError> {
        let answer = self
            .call("ec2:DescribeSecurityGroups", deadline, async |clients| {
                clients.ec2().describe_security_groups().filters(filter("group-id", ids)).send().await
            })
            .await?;
        let groups = answer.security_groups.unwrap_or_default().into_iter();
        Ok(groups.filter_map(|one| Some((one.group_id?, one.vpc_id?))).collect())
    }

    /// Which of these security groups of other VPCs are associated with a VPC:
    /// `ec2:DescribeSecurityGroupVpcAssociations`.
    pub async fn associated_security_groups(
        &self,
        ids: &[String],
        vpc: &str,
        deadline: Deadline,
    ) -> Result<Vec<String>, AwsError> {
        let answer = self
            .call("ec2:DescribeSecurityGroupVpcAssociations", deadline, async |clients| {
                let request = clients.ec2().describe_security_group_vpc_associations();
                let vpc = filter("vpc-id", &[vpc.to_owned()]);
                request.filters(filter("group-id", ids)).filters(vpc).send().await
            })
            .await?;
        let found = answer.security_group_vpc_associations.unwrap_or_default().into_iter();
        Ok(found.filter_map(|one| one.group_id).collect())
    }
}

fn filter(name: &str, values: &[String]) -> Filter {
    Filter::builder().name(name).set_values(Some(values.to_vec())).build()
}
