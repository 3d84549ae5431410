//! Messages that the real agent and ecs-init log on a healthy host (1.105.1, systemd 252, docker 20.10).

/// The steps of ecs-init's pre-start that log a line `pre-start: STEP`.
pub const PRE_START_STEPS: [&str; 8] = [
    "enabling loopback routing",
    "disabling ipv6 router advertisements",
    "creating credentials proxy route",
    "checking ecs agent container image",
    "downloading agent",
    "loading agent",
    "setting up GPU support",
    "done",
];

/// Warnings and an error of the agent, after which it goes on: level and message.
pub const MESSAGES_OF_A_HEALTHY_START: [(&str, &str); 3] = [
    ("warn", "Unable to fetch user data: 404"),
    ("error", "error adding /managed-agents/serviceconnect to fsnotify watcher"),
    (
        "warn",
        "Disabling TaskCPUMemLimit because agent is unable to setup '/ecs' cgroup: cgroupv2 init: mkdir \
     /sys/fs/cgroup/ecstasks.slice: read-only file system",
    ),
];
