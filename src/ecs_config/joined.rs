//! The cluster that an agent would join with these files, by the rules of its own readers.

use super::{effective, read};

/// The cluster that an agent with these files would join, as ecs-init and the agent read them; `None` for none, which
/// the agent takes for `default`. `json` is `/etc/ecs/ecs.config.json` (`agent/config/config.go`: the environment, made
/// of the other two, wins).
pub fn joined(etc: &[u8], var: &[u8], json: &[u8]) -> Option<String> {
    let (etc, var) = (read(etc), read(var));
    let said = effective(&etc)
        .get("ECS_CLUSTER")
        .or(effective(&var).get("ECS_CLUSTER"))
        .map(|line| line.value.trim().to_owned());
    let of_json = || {
        let json: serde_json::Value = serde_json::from_slice(json).ok()?;
        Some(json.get("Cluster")?.as_str()?.trim().to_owned())
    };
    said.filter(|cluster| !cluster.is_empty()).or_else(of_json).filter(|cluster| !cluster.is_empty())
}

/// The region that `/etc/ecs/ecs.config.json` names, which counts where no variable does.
pub fn json_region(json: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    Some(json.get("AWSRegion")?.as_str()?.trim().to_owned()).filter(|region| !region.is_empty())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_without_a_cluster_joins_none() {
        let joins = |etc: &str, var: &str, json: &str| super::joined(etc.as_bytes(), var.as_bytes(), json.as_bytes());
        for nothing in ["", "ECS_CLUSTER=\n", "ECS_CLUSTER=  \n", "#ECS_CLUSTER=prod\n", "export ECS_CLUSTER=prod\n"] {
            assert_eq!(joins(nothing, "", ""), None, "{nothing}");
        }
        assert_eq!(joins("ECS_CLUSTER=default\n", "", "").as_deref(), Some("default"));
        assert_eq!(joins("", "ECS_CLUSTER=image\n", "").as_deref(), Some("image"));
        assert_eq!(joins("ECS_CLUSTER=\n", "ECS_CLUSTER=image\n", ""), None, "the later file wins, empty or not");
        assert_eq!(joins("", "", r#"{"Cluster": "json"}"#).as_deref(), Some("json"));
    }
}
