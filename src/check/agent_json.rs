//! Checks the agent's configuration file `/etc/ecs/ecs.config.json`, and the same object in user data.
//!
//! In: the text. Out: the mistakes. The table is the agent's `Config` (`agent/config/types.go`). Go reads names in any
//! case, and refuses the whole file if one value has a wrong type (`encoding/json`).

use serde_json::Value;

use super::finding::{CheckNote, MAX_COUNT};
use super::text::Text;
use crate::agent_variables;
use crate::ecs_config::issue::Level;
use crate::suggestion;

/// The type of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Text,
    Boolean,
    Number,
    /// Nanoseconds.
    Duration,
    List,
    Object,
    Any,
}

/// The fields, by type.
const FIELDS: &[(Field, &str)] = &[
    (
        Field::Text,
        "ClusterArn Cluster APIEndpoint DockerEndpoint AWSRegion DataDir DataDirOnHost EngineAuthType \
         UpdateDownloadDir CredentialsAuditLogFile CNIPluginsPath PauseContainerTarballPath \
         PauseContainerImageName PauseContainerTag CgroupPath NvidiaRuntime DynamicHostPortRange",
    ),
    (
        Field::Boolean,
        "Checkpoint UpdatesEnabled DisableMetrics PollMetrics DisableDockerHealthCheck \
         DependentContainersPullUpfront PrivilegedDisabled SELinuxCapable AppArmorCapable TaskIAMRoleEnabled \
         DeleteNonECSImagesEnabled TaskCPUMemLimit CredentialsAuditLogDisabled TaskIAMRoleEnabledForNetworkHost \
         TaskENIEnabled ENITrunkingEnabled ImageCleanupDisabled PrometheusMetricsEnabled \
         AWSVPCBlockInstanceMetdata ContainerMetadataEnabled OverrideAWSLogsExecutionRole \
         SharedVolumeMatchFullConfig NoIID GPUSupportEnabled InferentiaSupportEnabled TaskMetadataAZDisabled \
         SpotInstanceDrainingEnabled GMSACapable GMSADomainlessCapable FSxWindowsFileServerCapable External \
         EnableRuntimeStats ShouldExcludeIPv6PortBinding WarmPoolsSupport FirelensAsyncEnabled",
    ),
    (
        Field::Number,
        "ReservedMemory NumImagesToDeletePerCycle NumNonECSContainersToDeletePerCycle ImagePullBehavior \
         TaskMetadataSteadyStateRate TaskMetadataBurstRate ContainerInstancePropagateTagsFrom \
         ENIPauseContainerCleanupDelaySeconds TaskPidsLimit",
    ),
    (
        Field::Duration,
        "PollingMetricsWaitDuration DockerStopTimeout ContainerStartTimeout ContainerCreateTimeout \
         ImagePullInactivityTimeout ImagePullTimeout ManifestPullTimeout TaskCleanupWaitDuration \
         TaskCleanupWaitDurationJitter MinimumImageDeletionAge NonECSMinimumImageDeletionAge ImageCleanupInterval \
         CgroupCPUPeriod",
    ),
    (
        Field::List,
        "ReservedPorts ReservedPortsUDP AvailableLoggingDrivers AWSVPCAdditionalLocalRoutes \
         ImageCleanupExclusionList VolumePluginCapabilities InstanceENIDNSServerList",
    ),
    (Field::Object, "InstanceAttributes ContainerInstanceTags"),
    (Field::Any, "EngineAuthData OverrideAWSVPCLocalIPv4Address PlatformVariables InstanceIPCompatibility"),
];

fn fields() -> impl Iterator<Item = (Field, &'static str)> {
    FIELDS.iter().flat_map(|(field, names)| names.split_ascii_whitespace().map(|name| (*field, name)))
}

/// Checks the file, or the object below `ECSAgentConfiguration` in user data.
pub(super) fn check(text: &Text) -> Vec<CheckNote> {
    let json = text.string();
    let whole: Value = match serde_json::from_str(&json) {
        _ if json.trim().is_empty() => return Vec::new(),
        Ok(whole) => whole,
        Err(error) => {
            let at = text.place(error.line(), error.column());
            let why = if error.is_eof() { "the JSON is incomplete" } else { "this is not JSON" };
            return vec![CheckNote::new(at, Level::Error, "config-bad-json", format!("{why}, so the agent exits"))];
        }
    };
    let inner = whole.get("ECSAgentConfiguration").unwrap_or(&whole);
    let Value::Object(pairs) = inner else {
        let message = "this must be a JSON object; the agent exits".to_owned();
        return vec![CheckNote::new(text.place(1, 1), Level::Error, "config-bad-json", message)];
    };
    let notes = pairs.iter().filter_map(|(key, value)| Some((key, of_pair(key, value)?)));
    notes.take(MAX_COUNT).map(|(key, note)| CheckNote { at: place(text, key), ..note }).collect()
}

/// Whether the object has a field of the agent's configuration.
pub(super) fn is_agents(json: &Value) -> bool {
    let is_field = |key: &String| fields().any(|(_, name)| name.eq_ignore_ascii_case(key)) || key.starts_with("ECS");
    json.as_object().is_some_and(|pairs| pairs.is_empty() || pairs.keys().any(is_field))
}

/// The place of a key in the text.
fn place(text: &Text, key: &str) -> (u32, u32) {
    let quoted: Vec<char> = format!("\"{key}\"").chars().collect();
    let found = text.chars.windows(quoted.len()).find(|window| window.iter().map(|at| at.c).eq(quoted.iter().copied()));
    found.and_then(|window| window.first()).map_or((1, 1), |at| (at.line, at.column))
}

/// Checks one field.
fn of_pair(key: &str, value: &Value) -> Option<CheckNote> {
    let at = (1, 1);
    let Some((field, name)) = fields().find(|(_, name)| name.eq_ignore_ascii_case(key)) else {
        let shown: String = key.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
        if agent_variables::find(key).is_some() {
            let message = format!("`{shown}` is a variable of `ecs.config`; the agent does not read it in this file");
            let note = CheckNote::new(at, Level::Warning, "config-wrong-file", message);
            return Some(if key == "ECS_CLUSTER" { note.meant("Cluster") } else { note });
        }
        let near = suggestion::nearest(key, fields().map(|(_, name)| name))?;
        let message = format!("the agent does not know the field `{shown}` and ignores it");
        return Some(CheckNote::new(at, Level::Warning, "config-key-misspelt", message).meant(near));
    };
    let expected = match (field, value) {
        (_, Value::Null) | (Field::Any, _) => return None,
        (Field::Text, Value::String(_)) | (Field::Boolean, Value::Bool(_)) | (Field::List, Value::Array(_)) => None,
        (Field::Number | Field::Duration, Value::Number(number)) if number.is_i64() || number.is_u64() => None,
        (Field::Object, Value::Object(pairs)) if pairs.values().all(|value| value.is_string() || value.is_null()) => {
            None
        }
        (Field::Text, _) => Some("a string in quotes"),
        (Field::Boolean, _) => Some("`true` or `false` without quotes"),
        (Field::Number, _) => Some("a whole number without quotes"),
        (Field::Duration, _) => Some("a number of nanoseconds without quotes"),
        (Field::List, _) => Some("a list"),
        (Field::Object, _) => Some("an object of strings"),
    };
    if let Some(expected) = expected {
        let message = format!("`{name}` takes {expected}; the agent exits");
        return Some(CheckNote::new(at, Level::Error, "config-bad-json", message));
    }
    let variable = match name {
        "Cluster" | "ClusterArn" => "ECS_CLUSTER",
        "AWSRegion" => "AWS_DEFAULT_REGION",
        _ => return None,
    };
    let text = value.as_str().filter(|text| !text.is_empty())?;
    let wrong = agent_variables::check(variable, text).err()?;
    let why = wrong.why.map(|why| format!("; {why}")).unwrap_or_default();
    let note =
        CheckNote::new(at, Level::Error, "cluster-name-invalid", format!("`{name}` takes {}{why}", wrong.expected));
    Some(match wrong.suggestion {
        Some(meant) => note.meant(meant),
        None => note,
    })
}
