//! The endpoint of ECS that the agent's configuration sets.
//!
//! In: the agent's variables. Out: the variable with host, port and region. An empty value is not set.

use std::collections::BTreeMap;

use crate::boundary::aws::Endpoint;

/// The variables that replace the endpoint of ECS, in the order of their precedence (`ecs-agent/api/ecs/client`; AWS SDKs
/// and Tools Reference Guide, "Service-specific endpoints").
const VARIABLES: [&str; 3] = ["ECS_BACKEND_HOST", "AWS_ENDPOINT_URL_ECS", "AWS_ENDPOINT_URL"];

/// An endpoint of ECS that replaces that of the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointOverride {
    /// The variable.
    pub name: &'static str,
    /// Its host and port; `None` if the value is not a URL or a host.
    pub endpoint: Option<Endpoint>,
}

impl EndpointOverride {
    /// The endpoint in the agent's variables, if there is one.
    pub fn of(config: &BTreeMap<String, String>) -> Option<EndpointOverride> {
        let set = |name: &&str| config.get(*name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let (name, value) = VARIABLES.iter().find_map(|name| Some((*name, set(name)?)))?;
        // The agent accepts a host without a scheme.
        let url = if value.contains("://") { value.to_owned() } else { format!("https://{value}") };
        Some(EndpointOverride { name, endpoint: Endpoint::of_url(&url) })
    }

    /// The region of a host such as `ecs.REGION.amazonaws.com`.
    pub fn region(&self) -> Option<&str> {
        let rest = self.endpoint.as_ref()?.host.strip_prefix("ecs")?.trim_start_matches("-fips");
        let (region, domain) = rest.strip_prefix('.')?.split_once('.')?;
        ["amazonaws.com", "amazonaws.com.cn", "api.aws"].contains(&domain).then_some(region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, value: &str) -> Option<EndpointOverride> {
        EndpointOverride::of(&[(name.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn reads_host_port_and_region_in_each_form() {
        for (value, host, port, region) in [
            ("ecs.us-east-1.amazonaws.com", "ecs.us-east-1.amazonaws.com", 443, Some("us-east-1")),
            ("https://ecs-fips.us-west-2.amazonaws.com/", "ecs-fips.us-west-2.amazonaws.com", 443, Some("us-west-2")),
            ("ecs.cn-north-1.amazonaws.com.cn:8443", "ecs.cn-north-1.amazonaws.com.cn", 8443, Some("cn-north-1")),
            ("https://ecs.eu-west-1.api.aws", "ecs.eu-west-1.api.aws", 443, Some("eu-west-1")),
            ("http://127.0.0.1:51679", "127.0.0.1", 51679, None),
            ("vpce-1.ecs.eu-west-1.vpce.amazonaws.com", "vpce-1.ecs.eu-west-1.vpce.amazonaws.com", 443, None),
        ] {
            let found = of("ECS_BACKEND_HOST", value).unwrap();
            assert_eq!(found.endpoint, Some(Endpoint { host: host.to_owned(), port }), "{value}");
            assert_eq!(found.region(), region, "{value}");
        }
        assert_eq!(of("ECS_BACKEND_HOST", " "), None);
        assert_eq!(of("AWS_ENDPOINT_URL", "http://").map(|found| found.endpoint), Some(None));
        assert_eq!(of("ECS_CLUSTER", "prod"), None);
    }
}
