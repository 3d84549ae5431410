//! Finds the cluster that an agent joins with given configuration files.

use super::{effective, read};
use crate::redaction;

/// The cluster that an agent with these files joins, read as ecs-init and the agent read them. `None` if no file names
/// one; the agent then joins `default`. `json` is `/etc/ecs/ecs.config.json`. The environment, which is built from the
/// other two files, overrides it (`agent/config/config.go`).
pub fn agent_cluster(etc: &[u8], var: &[u8], json: &[u8]) -> Option<String> {
    let (etc, var) = (read(etc), read(var));
    let of_variables = effective(&etc)
        .get("ECS_CLUSTER")
        .or(effective(&var).get("ECS_CLUSTER"))
        .map(|line| line.value.trim().to_owned());
    // Go reads JSON keys in any case (encoding/json, `Unmarshal`).
    let of_json = || {
        let json: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(json).ok()?;
        let mut named = json.iter().filter(|(key, _)| key.eq_ignore_ascii_case("Cluster"));
        named.find_map(|(_, name)| Some(name.as_str()?.trim().to_owned()))
    };
    of_variables.filter(|cluster| !cluster.is_empty()).or_else(of_json).filter(|cluster| !cluster.is_empty())
}

/// Whether the agent may find a cluster although [`joined`] finds none: in JSON that this program and the agent read
/// differently, or in another file.
pub fn may_join_other(etc: &[u8], var: &[u8], json: &[u8]) -> bool {
    const PATH: &str = "ECS_AGENT_CONFIG_FILE_PATH";
    let lower = String::from_utf8_lossy(json).to_ascii_lowercase();
    let is_named = |(at, key): (usize, &str)| {
        let value = lower[at + key.len()..].trim_start().strip_prefix(':').map(str::trim_start);
        value.is_some_and(|value| value.starts_with('"') && !value.starts_with("\"\""))
    };
    let is_of_json = lower.match_indices("\"cluster\"").any(is_named);
    let is_elsewhere = |config| effective(&read(config)).get(PATH).is_some_and(|line| !line.value.trim().is_empty());
    is_of_json || is_elsewhere(etc) || is_elsewhere(var)
}

/// The region that `/etc/ecs/ecs.config.json` names. A variable overrides it.
pub fn json_region(json: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    Some(json.get("AWSRegion")?.as_str()?.trim().to_owned()).filter(|region| !region.is_empty())
}

/// Why the agent cannot read its `/etc/ecs/ecs.config.json`, without a byte of the file; `None` if it can. The agent
/// ignores an empty file.
pub fn json_fault(json: &[u8]) -> Option<String> {
    if json.trim_ascii().is_empty() {
        return None;
    }
    match serde_json::from_slice::<serde_json::Value>(json) {
        Ok(serde_json::Value::Object(_) | serde_json::Value::Null) => None,
        Ok(_) => Some("it is JSON, but not an object".to_owned()),
        Err(error) => Some(redaction::json_error(&error)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_json_file_that_the_agent_cannot_read_has_a_fault() {
        use super::json_fault;
        assert_eq!(json_fault(b"{\"Cluster\": \"prod\",\n}").as_deref(), Some("it is not JSON (line 2, column 1)"));
        assert_eq!(json_fault(b"[]").as_deref(), Some("it is JSON, but not an object"));
        assert_eq!(json_fault(b"{\"Cluster\": \"pr").as_deref(), Some("it is incomplete JSON (line 1, column 15)"));
        for fine in [&b""[..], b" \n", b"null", b"{}", b"{\"Cluster\": \"prod\"}"] {
            assert_eq!(json_fault(fine), None);
        }
    }

    #[test]
    fn a_file_without_a_cluster_names_none() {
        let joins =
            |etc: &str, var: &str, json: &str| super::agent_cluster(etc.as_bytes(), var.as_bytes(), json.as_bytes());
        for nothing in ["", "ECS_CLUSTER=\n", "ECS_CLUSTER=  \n", "#ECS_CLUSTER=prod\n", "export ECS_CLUSTER=prod\n"] {
            assert_eq!(joins(nothing, "", ""), None, "{nothing}");
        }
        assert_eq!(joins("ECS_CLUSTER=default\n", "", "").as_deref(), Some("default"));
        assert_eq!(joins("", "ECS_CLUSTER=image\n", "").as_deref(), Some("image"));
        assert_eq!(joins("ECS_CLUSTER=\n", "ECS_CLUSTER=image\n", ""), None, "the later file wins, empty or not");
        assert_eq!(joins("", "", r#"{"Cluster": "json"}"#).as_deref(), Some("json"));
        assert_eq!(joins("", "", r#"{"CLUSTER": "json"}"#).as_deref(), Some("json"));
    }

    #[test]
    fn json_that_the_agent_reads_differently_may_name_a_cluster() {
        let may = |etc: &str, json: &[u8]| super::may_join_other(etc.as_bytes(), b"", json);
        for json in [
            br#"{"Cluster":"prod","Cluster":null}"#.as_slice(),
            b"\xef\xbb\xbf{\"cluster\" : \"prod\"}",
            b"{\"Cluster\":\"prod\",\"X\":\"\xff\"}",
            br#"{"Cluster":"prod","X":1e999}"#,
            br#"{"Cluster":"prod","X":"\ud800"}"#,
        ] {
            assert!(may("", json), "{}", String::from_utf8_lossy(json));
        }
        assert!(may("ECS_AGENT_CONFIG_FILE_PATH=/etc/ecs/my.json\n", b""));
        for json in [b"".as_slice(), b"{}", br#"{"Cluster":""}"#, br#"{"Cluster":null}"#, br#"{"X":"cluster"}"#] {
            assert!(!may("ECS_LOGLEVEL=info\n", json), "{}", String::from_utf8_lossy(json));
        }
    }
}
