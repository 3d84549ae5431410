//! The table of the agent's variables: the name of each, the type of its value, and whether it holds a secret.
//!
//! Source: ECS agent 1.105 (`agent/config`, `ecs-init/config`, `ecs-init/docker`).

use std::time::Duration;

use super::variable_type::VariableType::{self, Boolean, Text, TrueOrFalse};

/// One variable of the agent, of ecs-init, or of the SDK inside the agent.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The name as the agent reads it; names are case-sensitive.
    pub name: &'static str,
    /// The values that it takes.
    pub variable_type: VariableType,
    /// Whether its value is, or may hold, a secret.
    pub secret: bool,
}

impl Variable {
    /// The value without the blanks around it, if the agent removes them.
    pub fn trimmed<'v>(&self, value: &'v str) -> &'v str {
        const TRIMMED: [&str; 2] = ["ECS_ENGINE_AUTH_TYPE", "ECS_TASK_PIDS_LIMIT"];
        if self.variable_type.is_trimmed() || TRIMMED.contains(&self.name) { value.trim() } else { value }
    }

    /// Whether `$NAME` may be part of a valid value, for example of a password. If not, it is an unfilled placeholder.
    pub fn takes_dollars(&self) -> bool {
        self.secret || self.variable_type.is_json() || matches!(self.variable_type, VariableType::Proxy)
    }
}

/// The byte where a second assignment to a variable of the agent begins in a value. That happens if a script appends a
/// line to a file without a line break at its end.
pub fn second_setting(value: &str) -> Option<usize> {
    const MAX_NAME_LENGTH: usize = 64;
    let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
    let begins = value.match_indices("ECS_").map(|(at, _)| at).filter(|at| *at > 0);
    begins.into_iter().find(|at| {
        let rest = &value[*at..];
        let end = rest.bytes().take(MAX_NAME_LENGTH).take_while(|byte| is_name(char::from(*byte))).count();
        rest[end..].starts_with('=') && find(&rest[..end]).is_some()
    })
}

/// The variable with exactly this name.
pub fn find(name: &str) -> Option<&'static Variable> {
    ALL.iter().find(|variable| variable.name == name)
}

const fn variable(name: &'static str, variable_type: VariableType) -> Variable {
    Variable { name, variable_type, secret: false }
}

const fn secret(name: &'static str, variable_type: VariableType) -> Variable {
    Variable { name, variable_type, secret: true }
}

const fn at_least(least: Duration) -> VariableType {
    VariableType::Duration { least, most: Duration::MAX }
}

const fn between(least: i64, most: i64) -> VariableType {
    VariableType::Integer { least, most }
}

const fn seconds(least: u64) -> VariableType {
    at_least(Duration::from_secs(least))
}

const DRIVERS: VariableType =
    VariableType::OneOf(&["awslogs", "fluentd", "gelf", "json-file", "journald", "logentries", "syslog", "splunk"]);

/// Every variable that the agent or ecs-init reads. Outside of the limits, the agent replaces or ignores a value.
pub static ALL: &[Variable] = &[
    variable("ECS_CLUSTER", VariableType::Cluster),
    variable("AWS_DEFAULT_REGION", VariableType::Region),
    variable("ECS_BACKEND_HOST", Text),
    variable("ECS_INSTANCE_ATTRIBUTES", VariableType::Attributes),
    variable("ECS_CONTAINER_INSTANCE_TAGS", VariableType::Tags),
    variable("ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM", VariableType::OneOf(&["none", "ec2_instance"])),
    variable("ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES", VariableType::Cidrs),
    variable("ECS_AVAILABLE_LOGGING_DRIVERS", VariableType::LoggingDrivers),
    variable("ECS_RESERVED_PORTS", VariableType::Ports),
    variable("ECS_RESERVED_PORTS_UDP", VariableType::Ports),
    variable("ECS_RESERVED_MEMORY", VariableType::Unsigned { most: 65_535 }),
    variable("ECS_CHECKPOINT", Boolean),
    variable("ECS_DATADIR", Text),
    variable("ECS_HOST_DATA_DIR", Text),
    variable("ECS_AGENT_CONFIG_FILE_PATH", Text),
    variable("ECS_ENABLE_TASK_IAM_ROLE", Boolean),
    variable("ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST", Boolean),
    variable("ECS_ENABLE_TASK_ENI", Boolean),
    variable("ECS_ENABLE_HIGH_DENSITY_ENI", Boolean),
    variable("ECS_AWSVPC_BLOCK_IMDS", Boolean),
    variable("ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE", Boolean),
    variable("ECS_ENABLE_TASK_CPU_MEM_LIMIT", Boolean),
    variable("ECS_CGROUP_PATH", Text),
    variable(
        "ECS_CGROUP_CPU_PERIOD",
        VariableType::Duration { least: Duration::from_millis(8), most: Duration::from_millis(100) },
    ),
    variable("ECS_TASK_PIDS_LIMIT", between(1, 4_194_304)),
    variable("ECS_PROPAGATE_TASK_MEMORY_LIMIT_CGROUPV2", Boolean),
    // ecs-init takes no other spelling.
    variable("ECS_ENABLE_GPU_SUPPORT", TrueOrFalse),
    variable("ECS_NVIDIA_RUNTIME", Text),
    variable("ECS_ENABLE_INF_SUPPORT", Boolean),
    variable("ECS_WARM_POOLS_CHECK", Boolean),
    variable("ECS_ENABLE_SPOT_INSTANCE_DRAINING", Boolean),
    variable("ECS_EXTERNAL", TrueOrFalse),
    variable("ECS_IMAGE_PULL_BEHAVIOR", VariableType::OneOf(&["default", "always", "once", "prefer-cached"])),
    variable("ECS_ENGINE_AUTH_TYPE", VariableType::OneOf(&["docker", "dockercfg"])),
    secret("ECS_ENGINE_AUTH_DATA", VariableType::RegistryAuth),
    variable("ECS_IMAGE_PULL_TIMEOUT", seconds(0)),
    variable("ECS_IMAGE_PULL_INACTIVITY_TIMEOUT", seconds(60)),
    variable("ECS_MANIFEST_PULL_TIMEOUT", seconds(30)),
    variable("ECS_CONTAINER_STOP_TIMEOUT", seconds(1)),
    variable("ECS_CONTAINER_START_TIMEOUT", seconds(45)),
    variable("ECS_CONTAINER_CREATE_TIMEOUT", seconds(60)),
    variable("ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION", seconds(1)),
    variable("ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION_JITTER", seconds(0)),
    variable("ECS_DISABLE_IMAGE_CLEANUP", Boolean),
    variable("ECS_ENABLE_UNTRACKED_IMAGE_CLEANUP", Boolean),
    variable("ECS_IMAGE_CLEANUP_INTERVAL", seconds(600)),
    variable("ECS_IMAGE_MINIMUM_CLEANUP_AGE", seconds(0)),
    variable("NON_ECS_IMAGE_MINIMUM_CLEANUP_AGE", seconds(0)),
    variable("ECS_NUM_IMAGES_DELETE_PER_CYCLE", between(1, i32::MAX as i64)),
    variable("NONECS_NUM_CONTAINERS_DELETE_PER_CYCLE", between(1, i32::MAX as i64)),
    variable("ECS_EXCLUDE_UNTRACKED_IMAGE", VariableType::Images),
    variable("ECS_PULL_DEPENDENT_CONTAINERS_UPFRONT", Boolean),
    variable("ECS_SHARED_VOLUME_MATCH_FULL_CONFIG", Boolean),
    variable("ECS_ENABLE_CONTAINER_METADATA", Boolean),
    variable("ECS_DISABLE_PRIVILEGED", Boolean),
    variable("ECS_SELINUX_CAPABLE", Boolean),
    variable("ECS_APPARMOR_CAPABLE", Boolean),
    variable("ECS_DISABLE_DOCKER_HEALTH_CHECK", Boolean),
    variable("ECS_DISABLE_METRICS", Boolean),
    variable("ECS_POLL_METRICS", Boolean),
    variable("ECS_ENABLE_RUNTIME_STATS", Boolean),
    variable("ECS_ENABLE_FIRELENS_ASYNC", Boolean),
    variable("ECS_EXCLUDE_IPV6_PORTBINDING", Boolean),
    variable(
        "ECS_POLLING_METRICS_WAIT_DURATION",
        VariableType::Duration { least: Duration::from_secs(5), most: Duration::from_secs(20) },
    ),
    variable("ECS_TASK_METADATA_RPS_LIMIT", VariableType::Pair),
    variable("ECS_DYNAMIC_HOST_PORT_RANGE", VariableType::PortRange),
    variable("ECS_INSTANCE_IP_COMPATIBILITY", VariableType::OneOfAnyCase(&["ipv4", "ipv6"])),
    variable("ECS_UPDATES_ENABLED", Boolean),
    variable("ECS_UPDATE_DOWNLOAD_DIR", Text),
    variable("ECS_AUDIT_LOGFILE", Text),
    variable("ECS_AUDIT_LOGFILE_DISABLED", Boolean),
    variable("ECS_DISABLE_TASK_METADATA_AZ", Boolean),
    variable("ECS_ENABLE_PROMETHEUS_METRICS", Boolean),
    variable("ECS_EBSTA_SUPPORTED", Boolean),
    variable("ECS_VOLUME_PLUGIN_CAPABILITIES", Text),
    variable("ECS_DETAILED_OS_FAMILY", Text),
    variable("ECS_DOMAIN_JOINED_LINUX_INSTANCE", Boolean),
    variable("ECS_GMSA_SUPPORTED", TrueOrFalse),
    variable("CREDENTIALS_FETCHER_HOST", Text),
    variable("CREDENTIALS_FETCHER_SECRET_NAME_FOR_DOMAINLESS_GMSA", Text),
    variable("ECS_CNI_PLUGINS_PATH", Text),
    variable("ECS_PAUSE_LABELS", VariableType::Labels),
    variable("ECS_ALTERNATE_CREDENTIAL_PROFILE", Text),
    variable("ECS_AGENT_HEALTHCHECK_HOST", Text),
    // With `crit`, `none` or capitals, the agent's log configuration is invalid and the log stays empty.
    variable("ECS_LOGLEVEL", VariableType::OneOf(&["debug", "info", "warn", "error"])),
    variable("ECS_LOGLEVEL_ON_INSTANCE", VariableType::OneOf(&["debug", "info", "warn", "error", "crit", "none"])),
    variable("ECS_LOGFILE", Text),
    variable("ECS_LOG_OUTPUT_FORMAT", VariableType::OneOf(&["logfmt", "json"])),
    variable("ECS_LOG_ROLLOVER_TYPE", VariableType::OneOf(&["size", "hourly"])),
    variable("ECS_LOG_MAX_FILE_SIZE_MB", VariableType::Number),
    variable("ECS_LOG_MAX_ROLL_COUNT", between(0, i32::MAX as i64)),
    variable("ECS_LOG_DRIVER", DRIVERS),
    // The driver `splunk` takes its token from these options.
    secret("ECS_LOG_OPTS", VariableType::Labels),
    variable("ECS_INIT_DOCKER_LOG_FILE_SIZE", Text),
    variable("ECS_INIT_DOCKER_LOG_FILE_NUM", between(1, i32::MAX as i64)),
    variable("DOCKER_HOST", VariableType::UnixSocket),
    variable("ECS_SKIP_LOCALHOST_TRAFFIC_FILTER", Boolean),
    variable("ECS_ALLOW_OFFHOST_INTROSPECTION_ACCESS", Boolean),
    variable("ECS_AGENT_APPARMOR_PROFILE", Text),
    variable("ECS_AGENT_PID_NAMESPACE_HOST", Boolean),
    variable("ECS_AGENT_RUN_PRIVILEGED", TrueOrFalse),
    variable("ECS_AGENT_LABELS", VariableType::Labels),
    variable("HTTP_PROXY", VariableType::Proxy),
    variable("HTTPS_PROXY", VariableType::Proxy),
    variable("NO_PROXY", Text),
    variable("http_proxy", VariableType::Proxy),
    variable("https_proxy", VariableType::Proxy),
    variable("no_proxy", Text),
    secret("AWS_ACCESS_KEY_ID", Text),
    secret("AWS_SECRET_ACCESS_KEY", Text),
    secret("AWS_SESSION_TOKEN", Text),
    variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", Text),
    variable("AWS_ENDPOINT_URL", Text),
];
