//! The allow-list: which variables of the agent a tag can set, and to which values.
//!
//! Anyone with `ec2:CreateTags` can write tags, and that is not always the owner of the instance. So a tag can set
//! sizes, times and labels, and it can make tasks more isolated, never less. It cannot set credentials, endpoints,
//! paths or proxies, and it cannot switch off logs. A variable that is not in the table is refused.

use super::{WrongValue, check, find};

/// Why a tag is ignored. It never holds the value of the tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagRefusal {
    /// There is another tag for the cluster.
    #[error("a tag cannot set `ECS_CLUSTER`; use the tag `cluster` with the same prefix")]
    Cluster,
    /// The agent has no such variable.
    #[error("`{name}` is not a variable of the agent")]
    Unknown {
        /// The variable that the tag names.
        name: String,
    },
    /// The variable is not in the allow-list.
    #[error("a tag cannot set `{name}`; use a settings file, user data, the environment or the command line")]
    NotPermitted {
        /// The variable that the tag names.
        name: String,
    },
    /// The variable is in the allow-list, but not with this value.
    #[error("a tag can set `{name}` only to {permitted}: {why}")]
    ValueNotPermitted {
        /// The variable that the tag names.
        name: String,
        /// The values that are in the allow-list.
        permitted: String,
        /// The harm that another value could do.
        why: &'static str,
    },
    /// The variable is in the allow-list, but the agent does not take the value.
    #[error(transparent)]
    Wrong(#[from] WrongValue),
}

/// The values of a variable that a tag can set.
enum Permitted {
    /// Every value that the agent takes.
    Any,
    /// Only these values, and the harm that another value could do.
    Only(&'static [&'static str], &'static str),
}

use Permitted::{Any, Only};

const ON: &[&str] = &["true"];
const OFF: &[&str] = &["false"];

/// The allow-list. Left out on purpose:
/// - proxies, endpoints and `AWS_*`, which could redirect traffic and credentials
/// - paths and `ECS_LOGFILE`, which name files of the host
/// - `ECS_ENGINE_AUTH_*`, which are credentials
/// - `ECS_CONTAINER_INSTANCE_TAGS`, because conditions of IAM policies can depend on these tags
/// - ports and their range, because security groups depend on them
/// - `ECS_UPDATES_ENABLED`, which decides the version of the agent
/// - the options of the agent's own container, and introspection from other hosts
const TABLE: &[(&str, Permitted)] = &[
    // The resources and labels that the container instance registers.
    ("ECS_RESERVED_MEMORY", Any),
    ("ECS_INSTANCE_ATTRIBUTES", Any),
    ("ECS_ENABLE_GPU_SUPPORT", Any),
    ("ECS_ENABLE_INF_SUPPORT", Any),
    ("ECS_AVAILABLE_LOGGING_DRIVERS", Any),
    ("ECS_ENABLE_HIGH_DENSITY_ENI", Any),
    // The life-cycle of the instance.
    ("ECS_ENABLE_SPOT_INSTANCE_DRAINING", Any),
    ("ECS_WARM_POOLS_CHECK", Any),
    // Time-outs. A bad value delays a task at worst.
    ("ECS_IMAGE_PULL_TIMEOUT", Any),
    ("ECS_IMAGE_PULL_INACTIVITY_TIMEOUT", Any),
    ("ECS_MANIFEST_PULL_TIMEOUT", Any),
    ("ECS_CONTAINER_STOP_TIMEOUT", Any),
    ("ECS_CONTAINER_START_TIMEOUT", Any),
    ("ECS_CONTAINER_CREATE_TIMEOUT", Any),
    // Removal of containers and images of the agent's own tasks.
    ("ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION", Any),
    ("ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION_JITTER", Any),
    ("ECS_DISABLE_IMAGE_CLEANUP", Any),
    ("ECS_IMAGE_CLEANUP_INTERVAL", Any),
    ("ECS_IMAGE_MINIMUM_CLEANUP_AGE", Any),
    ("ECS_NUM_IMAGES_DELETE_PER_CYCLE", Any),
    ("ECS_ENABLE_UNTRACKED_IMAGE_CLEANUP", Only(OFF, "it removes images and containers that are not the agent's")),
    // How the agent runs and measures tasks.
    ("ECS_PULL_DEPENDENT_CONTAINERS_UPFRONT", Any),
    ("ECS_ENABLE_CONTAINER_METADATA", Any),
    ("ECS_TASK_METADATA_RPS_LIMIT", Any),
    ("ECS_POLL_METRICS", Any),
    ("ECS_POLLING_METRICS_WAIT_DURATION", Any),
    ("ECS_TASK_PIDS_LIMIT", Any),
    (
        "ECS_IMAGE_PULL_BEHAVIOR",
        Only(&["default", "always"], "a task could run a cached image that its own role cannot pull"),
    ),
    // Isolation of tasks from the host and from each other.
    ("ECS_DISABLE_PRIVILEGED", Only(ON, "tasks could become privileged")),
    ("ECS_AWSVPC_BLOCK_IMDS", Only(ON, "tasks could use the role of the instance")),
    ("ECS_ENABLE_TASK_IAM_ROLE", Only(ON, "tasks would fall back to the role of the instance")),
    ("ECS_ENABLE_TASK_ENI", Only(ON, "tasks would share the network of the instance")),
    ("ECS_ENABLE_TASK_CPU_MEM_LIMIT", Only(ON, "a task could take what is reserved for others")),
    ("ECS_PROPAGATE_TASK_MEMORY_LIMIT_CGROUPV2", Only(ON, "a task could take what is reserved for others")),
    ("ECS_SELINUX_CAPABLE", Only(ON, "containers would lose their SELinux labels")),
    ("ECS_APPARMOR_CAPABLE", Only(ON, "containers would lose their AppArmor profiles")),
    (
        "ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM",
        Only(&["none"], "anyone who can tag instances could satisfy policy conditions on ECS tags"),
    ),
    // The agent's log.
    ("ECS_LOGLEVEL", Any),
    ("ECS_LOGLEVEL_ON_INSTANCE", Only(&["debug", "info", "warn", "error"], "the agent's log would be empty")),
    ("ECS_LOG_OUTPUT_FORMAT", Any),
];

/// Checks whether a tag can set `name` to `value`.
pub fn permitted_from_tags(name: &str, value: &str) -> Result<(), TagRefusal> {
    if name == "ECS_CLUSTER" {
        return Err(TagRefusal::Cluster);
    }
    if find(name).is_none() {
        return Err(TagRefusal::Unknown { name: name.to_owned() });
    }
    let Some((_, permitted)) = TABLE.iter().find(|(listed, _)| *listed == name) else {
        return Err(TagRefusal::NotPermitted { name: name.to_owned() });
    };
    check(name, value)?;
    match permitted {
        Only(values, why) if !values.contains(&value) => {
            let permitted = values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ");
            Err(TagRefusal::ValueNotPermitted { name: name.to_owned(), permitted, why })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_takes_every_permitted_value() {
        for (name, permitted) in TABLE {
            let variable = find(name).unwrap_or_else(|| panic!("`{name}` is not in the agent's table"));
            assert!(!variable.secret, "`{name}` is secret");
            if let Only(values, _) = permitted {
                values.iter().for_each(|value| assert_eq!(permitted_from_tags(name, value), Ok(())));
            }
        }
    }

    #[test]
    fn a_tag_can_set_sizes_and_times() {
        for (name, value) in [
            ("ECS_RESERVED_MEMORY", "256"),
            ("ECS_INSTANCE_ATTRIBUTES", r#"{"stack":"web"}"#),
            ("ECS_ENABLE_SPOT_INSTANCE_DRAINING", "true"),
            ("ECS_CONTAINER_STOP_TIMEOUT", "2m"),
            ("ECS_LOGLEVEL", "debug"),
        ] {
            assert_eq!(permitted_from_tags(name, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_tag_cannot_redirect_traffic_or_loosen_isolation() {
        assert_eq!(permitted_from_tags("ECS_CLUSTER", "prod"), Err(TagRefusal::Cluster));
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "NO_PROXY",
            "ECS_BACKEND_HOST",
            "AWS_ENDPOINT_URL",
            "AWS_ACCESS_KEY_ID",
            "DOCKER_HOST",
            "ECS_ENGINE_AUTH_DATA",
            "ECS_ENGINE_AUTH_TYPE",
            "ECS_DATADIR",
            "ECS_HOST_DATA_DIR",
            "ECS_LOGFILE",
            "ECS_CGROUP_PATH",
            "ECS_AGENT_RUN_PRIVILEGED",
            "ECS_AGENT_PID_NAMESPACE_HOST",
            "ECS_AGENT_APPARMOR_PROFILE",
            "ECS_RESERVED_PORTS",
            "ECS_SKIP_LOCALHOST_TRAFFIC_FILTER",
            "ECS_ALLOW_OFFHOST_INTROSPECTION_ACCESS",
            "ECS_UPDATES_ENABLED",
            "ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST",
            "ECS_LOG_OPTS",
            "ECS_CNI_PLUGINS_PATH",
            "ECS_AGENT_CONFIG_FILE_PATH",
        ] {
            assert_eq!(permitted_from_tags(name, "x"), Err(TagRefusal::NotPermitted { name: name.to_owned() }));
        }
        for (name, value) in
            [("ECS_DISABLE_PRIVILEGED", "false"), ("ECS_AWSVPC_BLOCK_IMDS", "0"), ("ECS_ENABLE_TASK_ENI", "F")]
        {
            assert!(matches!(permitted_from_tags(name, value), Err(TagRefusal::ValueNotPermitted { .. })), "{name}");
        }
    }

    #[test]
    fn a_refusal_does_not_hold_the_value() {
        let refusal = |name, value| permitted_from_tags(name, value).unwrap_err().to_string();
        assert_eq!(
            refusal("ECS_RESERVED_MEMORY", "1\nECS_CLUSTER=x"),
            "`ECS_RESERVED_MEMORY` takes one line without control characters"
        );
        assert_eq!(refusal("ECS_RESERVED", "1"), "`ECS_RESERVED` is not a variable of the agent");
        assert_eq!(
            refusal("ECS_DISABLE_PRIVILEGED", "false"),
            "a tag can set `ECS_DISABLE_PRIVILEGED` only to `true`: tasks could become privileged"
        );
    }
}
