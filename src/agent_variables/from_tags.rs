//! Which of the agent's variables a tag may set, and to what: the allow-list, in this one place.
//!
//! Whoever has `ec2:CreateTags` writes tags, and that is not always whoever owns the instance. So a tag may size, time
//! and label, and it may make tasks more isolated, never less; it cannot name credentials, endpoints, paths or proxies,
//! nor hide what happens. What is not in the table is refused.

use super::{WrongValue, check, find};

/// Why the value of a tag is not used. Never holds the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagRefusal {
    /// The cluster has a tag of its own.
    #[error("a tag does not set `ECS_CLUSTER`, the tag `cluster` under the same prefix does")]
    Cluster,
    /// The agent has no such variable.
    #[error("`{name}` is no variable of the agent")]
    Unknown {
        /// The variable that the tag names.
        name: String,
    },
    /// Not in the allow-list.
    #[error("`{name}` may not be set by a tag, only by a file of ours, user data, the environment or the command line")]
    NotPermitted {
        /// The variable that the tag names.
        name: String,
    },
    /// In the allow-list, but not with this value.
    #[error("a tag may set `{name}` only to {permitted}: {why}")]
    ValueNotPermitted {
        /// The variable that the tag names.
        name: String,
        /// The values that it may have.
        permitted: String,
        /// The danger of the others.
        why: &'static str,
    },
    /// In the allow-list, but the agent would not take it.
    #[error(transparent)]
    Wrong(#[from] WrongValue),
}

/// What a tag may say of one variable.
enum Permitted {
    /// Whatever the agent takes.
    Any,
    /// These values, since the others would do harm as said.
    Only(&'static [&'static str], &'static str),
}

use Permitted::{Any, Only};

const ON: &[&str] = &["true"];
const OFF: &[&str] = &["false"];

/// The allow-list. Not in it, among others: proxies, endpoints and `AWS_*` (traffic and credentials go elsewhere), paths
/// and `ECS_LOGFILE` (files of the host), `ECS_ENGINE_AUTH_*` (credentials), `ECS_CONTAINER_INSTANCE_TAGS` (a condition
/// of a policy may rest on them), ports and their range (what security groups rely on), `ECS_UPDATES_ENABLED` (which
/// agent runs), the options of the agent's own container, introspection from other hosts.
const TABLE: &[(&str, Permitted)] = &[
    // How much of the host is offered, and under which labels.
    ("ECS_RESERVED_MEMORY", Any),
    ("ECS_INSTANCE_ATTRIBUTES", Any),
    ("ECS_ENABLE_GPU_SUPPORT", Any),
    ("ECS_ENABLE_INF_SUPPORT", Any),
    ("ECS_AVAILABLE_LOGGING_DRIVERS", Any),
    ("ECS_ENABLE_HIGH_DENSITY_ENI", Any),
    // The life-cycle of the instance.
    ("ECS_ENABLE_SPOT_INSTANCE_DRAINING", Any),
    ("ECS_WARM_POOLS_CHECK", Any),
    // Time-outs of steps; the worst of them delays a task.
    ("ECS_IMAGE_PULL_TIMEOUT", Any),
    ("ECS_IMAGE_PULL_INACTIVITY_TIMEOUT", Any),
    ("ECS_MANIFEST_PULL_TIMEOUT", Any),
    ("ECS_CONTAINER_STOP_TIMEOUT", Any),
    ("ECS_CONTAINER_START_TIMEOUT", Any),
    ("ECS_CONTAINER_CREATE_TIMEOUT", Any),
    // Cleaning up after tasks of the agent itself.
    ("ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION", Any),
    ("ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION_JITTER", Any),
    ("ECS_DISABLE_IMAGE_CLEANUP", Any),
    ("ECS_IMAGE_CLEANUP_INTERVAL", Any),
    ("ECS_IMAGE_MINIMUM_CLEANUP_AGE", Any),
    ("ECS_NUM_IMAGES_DELETE_PER_CYCLE", Any),
    ("ECS_ENABLE_UNTRACKED_IMAGE_CLEANUP", Only(OFF, "it removes images and containers that are not the agent's")),
    // How tasks are run and measured.
    ("ECS_PULL_DEPENDENT_CONTAINERS_UPFRONT", Any),
    ("ECS_ENABLE_CONTAINER_METADATA", Any),
    ("ECS_TASK_METADATA_RPS_LIMIT", Any),
    ("ECS_POLL_METRICS", Any),
    ("ECS_POLLING_METRICS_WAIT_DURATION", Any),
    ("ECS_TASK_PIDS_LIMIT", Any),
    (
        "ECS_IMAGE_PULL_BEHAVIOR",
        Only(&["default", "always"], "a task could run a cached image that it may not pull itself"),
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
        Only(&["none"], "who may tag instances could meet the conditions of policies on tags of ECS"),
    ),
    // What the logs say.
    ("ECS_LOGLEVEL", Any),
    ("ECS_LOGLEVEL_ON_INSTANCE", Only(&["debug", "info", "warn", "error"], "the agent's log would be empty")),
    ("ECS_LOG_OUTPUT_FORMAT", Any),
];

/// Whether a tag may set `name` to `value`.
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
    fn every_permitted_value_is_one_that_the_agent_takes() {
        for (name, permitted) in TABLE {
            let variable = find(name).unwrap_or_else(|| panic!("`{name}` is not in the agent's table"));
            assert!(!variable.secret, "`{name}` is secret");
            if let Only(values, _) = permitted {
                values.iter().for_each(|value| assert_eq!(permitted_from_tags(name, value), Ok(())));
            }
        }
    }

    #[test]
    fn a_tag_may_size_and_time() {
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
    fn a_tag_may_not_redirect_or_loosen() {
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
    fn says_what_is_wrong_without_the_value() {
        let refusal = |name, value| permitted_from_tags(name, value).unwrap_err().to_string();
        assert_eq!(
            refusal("ECS_RESERVED_MEMORY", "1\nECS_CLUSTER=x"),
            "`ECS_RESERVED_MEMORY` takes one line without control characters"
        );
        assert_eq!(refusal("ECS_RESERVED", "1"), "`ECS_RESERVED` is no variable of the agent");
        assert_eq!(
            refusal("ECS_DISABLE_PRIVILEGED", "false"),
            "a tag may set `ECS_DISABLE_PRIVILEGED` only to `true`: tasks could become privileged"
        );
    }
}
