//! What exists in the simulated account beside the services: roles, images, log groups, secrets, target groups, subnets
//! and container instances (IAM, ECR, CloudWatch Logs, Secrets Manager, Systems Manager, Elastic Load Balancing, EC2 and
//! ECS API References).
//!
//! In: what is absent, or differs from the usual. Out: answers. By default everything exists and fits.

use super::super::http::{Request, percent_decode};
use super::{Fault, Outcome, PREFIX, error};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The state of the account. Each map has a value of its own for a name; other names have the usual value.
#[derive(Default)]
pub struct Account {
    /// Roles, images (`repository:tag`), log groups, secrets, parameters, target groups, subnets and security groups that
    /// do not exist.
    pub absent: BTreeSet<String>,
    /// The number of calls of each operation that still show something that exists as absent.
    pub late: BTreeMap<&'static str, u32>,
    /// The ARNs of roles with a path.
    pub role_arns: BTreeMap<String, String>,
    /// The trust policies of roles.
    pub trust: BTreeMap<String, Value>,
    /// The manifests of images (`repository:tag`).
    pub manifests: BTreeMap<String, Value>,
    /// The repository prefixes of pull-through cache rules.
    pub cached: Vec<String>,
    /// More members of secrets.
    pub secrets: BTreeMap<String, Value>,
    /// Target type, VPC, and whether a load balancer forwards to the group.
    pub target_groups: BTreeMap<String, (&'static str, &'static str, bool)>,
    /// The VPCs of subnets and security groups; usually `vpc-1`.
    pub vpcs: BTreeMap<String, &'static str>,
    /// Security groups that are associated with the VPC of the subnets.
    pub associated: Vec<String>,
    /// More members of the cluster.
    pub cluster: Value,
    /// The capacity providers.
    pub providers: Vec<Value>,
    /// The container instances, instead of the usual one.
    pub instances: Option<Vec<Value>>,
    /// The operations that are never answered.
    pub hanging: BTreeSet<&'static str>,
}

/// The usual container instance: x86_64, with 2048 CPU units and 4000 MiB.
pub fn instance(id: &str) -> Value {
    let number = |name: &str, value: i64| json!({"name": name, "type": "INTEGER", "integerValue": value});
    let ports =
        json!({"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375", "2376", "51678", "51679"]});
    let resources = json!([number("CPU", 2048), number("MEMORY", 4000), ports]);
    let attribute = |name: &str, value: Option<&str>| json!({"name": name, "value": value});
    json!({
        "containerInstanceArn": format!("{PREFIX}:container-instance/prod/{id}"),
        "status": "ACTIVE", "agentConnected": true, "ec2InstanceId": "i-0123456789abcdef0",
        "registeredResources": resources, "remainingResources": resources,
        "attributes": [
            attribute("com.amazonaws.ecs.capability.docker-remote-api.1.18", None),
            attribute("com.amazonaws.ecs.capability.logging-driver.awslogs", None),
            attribute("ecs.capability.task-eni", None),
            attribute("ecs.cpu-architecture", Some("x86_64")),
            attribute("ecs.os-type", Some("linux")),
        ],
    })
}

/// An image index with these platforms, such as `linux/amd64`.
pub fn index(platforms: &[&str]) -> Value {
    let entries = platforms.iter().map(|platform| {
        let (os, architecture) = platform.split_once('/').unwrap();
        json!({"digest": "sha256:0", "platform": {"os": os, "architecture": architecture}})
    });
    json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
           "manifests": entries.collect::<Vec<_>>()})
}

impl Account {
    /// The answer of an operation; `None` if it belongs to another part of the simulator. The text of an XML answer is a
    /// string.
    pub(super) fn answer(&mut self, operation: &'_ str, request: &Request, body: &Value) -> Option<Outcome> {
        let text = |member: &str| body[member].as_str().unwrap_or_default();
        let late = self.late.iter_mut().find(|(name, left)| **name == operation && **left > 0);
        let is_late = late.map(|(_, left)| *left -= 1).is_some();
        let exists = |account: &Self, name: &str| !is_late && !account.absent.contains(name);
        let form: BTreeMap<String, String> = form(request);
        Some(match operation {
            "GetRole" => {
                let name = &form["RoleName"];
                if exists(self, name) { Ok(self.role(name)) } else { Err(error("NoSuchEntity", "not found")) }
            }
            "BatchGetImage" => {
                let id = &body["imageIds"][0];
                let reference = id["imageTag"].as_str().or(id["imageDigest"].as_str()).unwrap_or_default();
                let name = format!("{}:{reference}", text("repositoryName"));
                if self.absent.contains(text("repositoryName")) {
                    Err(error("RepositoryNotFoundException", "The repository does not exist"))
                } else if exists(self, &name) {
                    let usual = index(&["linux/amd64", "linux/arm64"]);
                    let manifest = self.manifests.get(&name).unwrap_or(&usual).to_string();
                    Ok(json!({"images": [{"imageManifest": manifest, "imageId": id}], "failures": []}))
                } else {
                    Ok(json!({"images": [], "failures": [{"imageId": id, "failureCode": "ImageNotFound"}]}))
                }
            }
            "DescribePullThroughCacheRules" => {
                let rules = self.cached.iter().map(|prefix| json!({"ecrRepositoryPrefix": prefix}));
                Ok(json!({"pullThroughCacheRules": rules.collect::<Vec<_>>()}))
            }
            "DescribeLogGroups" => {
                // Other groups have the same prefix.
                let prefix = text("logGroupNamePrefix");
                let mut names = vec![format!("{prefix}-other")];
                names.extend(exists(self, prefix).then(|| prefix.to_owned()));
                Ok(json!({"logGroups": names.iter().map(|name| json!({"logGroupName": name})).collect::<Vec<_>>()}))
            }
            "DescribeSecret" if exists(self, text("SecretId")) => {
                let mut secret = json!({"ARN": text("SecretId"), "Name": "x",
                    "VersionIdsToStages": {"0123": ["AWSCURRENT"]}});
                let more = self.secrets.get(text("SecretId")).and_then(Value::as_object).cloned().unwrap_or_default();
                more.into_iter().for_each(|(member, value)| secret[member] = value);
                Ok(secret)
            }
            "DescribeSecret" => Err(error("ResourceNotFoundException", "Secrets Manager can't find the secret.")),
            "DescribeParameters" => {
                let wanted = body["ParameterFilters"][0]["Values"].as_array().cloned().unwrap_or_default();
                let found = wanted.iter().filter(|name| exists(self, name.as_str().unwrap()));
                let found: Vec<Value> = found.map(|name| json!({"Name": name, "Type": "SecureString"})).collect();
                // The first page is empty, as it may be.
                match body["NextToken"].as_str() {
                    None => Ok(json!({"Parameters": [], "NextToken": "2"})),
                    Some(_) => Ok(json!({"Parameters": found})),
                }
            }
            "DescribeTargetGroups" => {
                let arn = &form["TargetGroupArns.member.1"];
                if exists(self, arn) {
                    Ok(self.target_group(arn))
                } else {
                    Err(error("TargetGroupNotFound", "not found"))
                }
            }
            "DescribeSubnets" => Ok(self.places(&form, ("DescribeSubnets", "subnetSet", "subnetId"), is_late)),
            "DescribeSecurityGroups" => {
                Ok(self.places(&form, ("DescribeSecurityGroups", "securityGroupInfo", "groupId"), is_late))
            }
            "DescribeSecurityGroupVpcAssociations" => Ok(self.associations()),
            _ => return self.of_ecs(operation, body),
        })
    }

    fn of_ecs(&self, operation: &str, body: &Value) -> Option<Outcome> {
        let instances = || self.instances.clone().unwrap_or_else(|| vec![instance("0123")]);
        Some(match operation {
            "DescribeClusters" => {
                let mut cluster = json!({"clusterName": "prod", "clusterArn": format!("{PREFIX}:cluster/prod"),
                    "status": "ACTIVE", "capacityProviders": ["FARGATE"], "defaultCapacityProviderStrategy": []});
                let more = self.cluster.as_object().cloned().unwrap_or_default();
                more.into_iter().for_each(|(member, value)| cluster[member] = value);
                Ok(json!({"clusters": [cluster], "failures": []}))
            }
            "DescribeCapacityProviders" => {
                let wanted = body["capacityProviders"].as_array().cloned().unwrap_or_default();
                let found = self.providers.iter().filter(|one| wanted.contains(&one["name"]));
                Ok(json!({"capacityProviders": found.collect::<Vec<_>>(), "failures": []}))
            }
            "ListContainerInstances" => {
                // Pages of ten.
                let from: usize = body["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
                let all = instances();
                let page = all.iter().skip(from).take(10).map(|one| &one["containerInstanceArn"]);
                let next = (from + 10 < all.len()).then(|| (from + 10).to_string());
                Ok(json!({"containerInstanceArns": page.collect::<Vec<_>>(), "nextToken": next}))
            }
            "DescribeContainerInstances" => {
                let wanted = body["containerInstances"].as_array().cloned().unwrap_or_default();
                let found = instances().into_iter().filter(|one| wanted.contains(&one["containerInstanceArn"]));
                Ok(json!({"containerInstances": found.collect::<Vec<_>>(), "failures": []}))
            }
            _ => return None,
        })
    }

    fn role(&self, name: &str) -> Value {
        let arn = format!("arn:aws:iam::{}:role/{name}", super::ACCOUNT);
        let arn = self.role_arns.get(name).unwrap_or(&arn);
        let usual = json!({"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"Service": "ecs-tasks.amazonaws.com"}}]});
        let trust = self.trust.get(name).unwrap_or(&usual).to_string();
        let trust: String = trust
            .bytes()
            .map(|byte| match byte {
                byte if byte.is_ascii_alphanumeric() => (byte as char).to_string(),
                byte => format!("%{byte:02X}"),
            })
            .collect();
        json!(format!(
            "<GetRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><GetRoleResult><Role><Path>/</Path>\
             <Arn>{arn}</Arn><RoleName>{name}</RoleName><AssumeRolePolicyDocument>{trust}</AssumeRolePolicyDocument>\
             </Role></GetRoleResult></GetRoleResponse>"
        ))
    }

    fn target_group(&self, arn: &str) -> Value {
        let (target_type, vpc, is_attached) = self.target_groups.get(arn).copied().unwrap_or(("ip", "vpc-1", true));
        let balancer = if is_attached { "<member>arn:lb</member>" } else { "" };
        json!(format!(
            "<DescribeTargetGroupsResponse><DescribeTargetGroupsResult><TargetGroups><member>\
             <TargetGroupArn>{arn}</TargetGroupArn><LoadBalancerArns>{balancer}</LoadBalancerArns>\
             <TargetType>{target_type}</TargetType><VpcId>{vpc}</VpcId><Matcher><HttpCode>200</HttpCode></Matcher>\
             </member></TargetGroups></DescribeTargetGroupsResult></DescribeTargetGroupsResponse>"
        ))
    }

    /// The answer of EC2 for subnets and security groups with these ids.
    fn places(&self, form: &BTreeMap<String, String>, names: (&str, &str, &str), is_late: bool) -> Value {
        let (operation, list, id_name) = names;
        let ids = form.iter().filter(|(name, _)| name.starts_with("Filter.1.Value")).map(|(_, id)| id);
        let found = ids.filter(|id| !is_late && !self.absent.contains(*id)).map(|id| {
            let vpc = self.vpcs.get(id).unwrap_or(&"vpc-1");
            format!("<item><{id_name}>{id}</{id_name}><vpcId>{vpc}</vpcId></item>")
        });
        let items: String = found.collect();
        json!(format!("<{operation}Response><requestId>1</requestId><{list}>{items}</{list}></{operation}Response>"))
    }

    fn associations(&self) -> Value {
        let items = self
            .associated
            .iter()
            .map(|id| format!("<item><groupId>{id}</groupId><vpcId>vpc-1</vpcId><state>associated</state></item>"));
        let items: String = items.collect();
        json!(format!(
            "<DescribeSecurityGroupVpcAssociationsResponse><requestId>1</requestId><securityGroupVpcAssociationSet>\
             {items}</securityGroupVpcAssociationSet></DescribeSecurityGroupVpcAssociationsResponse>"
        ))
    }
}

/// The operation of a request with the query protocol of AWS or EC2.
pub(super) fn query_operation(request: &Request) -> &str {
    let body = std::str::from_utf8(&request.body).unwrap_or_default();
    body.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default()
}

/// An error in the form of the query protocol and of EC2.
pub(super) fn query_error((_, code, message): &Fault) -> String {
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    format!("<Response><Errors>{error}</Errors>{error}<RequestID>1</RequestID></Response>")
}

fn form(request: &Request) -> BTreeMap<String, String> {
    let body = std::str::from_utf8(&request.body).unwrap_or_default();
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), percent_decode(value, true))).collect()
}
