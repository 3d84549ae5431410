//! The files of a bundle for a support case. They contain no secrets.
//!
//! Lines of logs are counted and not copied, because other programs may have printed secrets into them. Only messages
//! that are in the agent's source code are shown. Values of variables are shown only if the agent knows the variable.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::ecs_config::shown;
use crate::evidence::agent_log::Line;
use crate::redaction;

/// Messages from the source code of the agent and of ecs-init (amazon-ecs-agent v1.105.1).
const KNOWN: [&str; 30] = [
    "Starting Amazon ECS Agent",
    "Starting Amazon Elastic Container Service Agent",
    "Registered container instance with cluster!",
    "Instance registration completed successfully",
    "Restored from checkpoint file",
    "Beginning Polling for updates",
    "Connected to ACS endpoint",
    "Connected to TCS endpoint",
    "Unable to register as a container instance with ECS",
    "Received non-terminal error from RegisterContainerInstance call",
    "Agent will terminally exit, unable to register",
    "Attribute validation failed",
    "Error registering attributes",
    "Error loading config",
    "Error loading previously saved state",
    "Error getting valid credentials",
    "Error calling DescribeTags API",
    "Data mismatch; saved cluster",
    "Data mismatch; saved InstanceID",
    "Cloud-init failure detected",
    "Could not determine target lifecycle of instance",
    "Waiting for instance to go InService",
    "Failed to connect to ACS",
    "ACS: Unable to discover poll endpoint",
    "Unable to initialize Task ENI dependencies",
    "Unable to initialize cgroup root",
    "Unable to access EC2 Metadata service",
    "Error connecting to docker, backing off",
    "agent exited with terminal exit code",
    "Agent exited with code",
];

/// One `ecs.config`, line by line: every key, and the values that are not secret.
pub fn config_text(path: &str, bytes: &Result<Option<Vec<u8>>, String>) -> String {
    match bytes {
        Ok(Some(bytes)) => {
            let length = bytes.len();
            let lines = redaction::text(&shown(bytes));
            format!(
                "# {path}, {length} bytes; values of variables that the agent does not know are left out\n{lines}\n"
            )
        }
        Ok(None) => format!("# {path}: no such file\n"),
        Err(error) => format!("# {path}: not read: {error}\n"),
    }
}

/// A short file that holds no secrets, as it is.
pub fn file_text(bytes: &Result<Option<Vec<u8>>, String>) -> String {
    match bytes {
        Ok(bytes) => redaction::text(&String::from_utf8_lossy(bytes.as_deref().unwrap_or_default())),
        Err(error) => format!("# not read: {error}\n"),
    }
}

/// The number of lines of each level since the agent last started, and the known messages among them.
pub fn log_text(path: &str, lines: &[Line]) -> String {
    let mut levels: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines {
        let level = ["debug", "info", "warn", "warning", "error", "critical", "crit"];
        let known = level.into_iter().find(|level| *level == line.level);
        *levels.entry(known.unwrap_or("other")).or_default() += 1;
    }
    let counts: Vec<String> = levels.iter().map(|(level, count)| format!("{level} {count}")).collect();
    let mut text = format!("# {path}, since the agent last started: {} lines ({})\n", lines.len(), counts.join(", "));
    for line in lines {
        if let Some(known) = KNOWN.iter().find(|known| line.message.contains(**known)) {
            let _ = writeln!(text, "{known}");
        }
    }
    text
}

/// The lines of `/etc/os-release` that name the distribution (os-release(5)).
pub fn os_release_text(bytes: &Result<Option<Vec<u8>>, String>) -> String {
    const KEPT: [&str; 7] = ["NAME", "ID", "ID_LIKE", "VERSION", "VERSION_ID", "VARIANT_ID", "PRETTY_NAME"];
    let text = match bytes {
        Ok(bytes) => String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()),
        Err(error) => return format!("# not read: {error}\n"),
    };
    let is_shown = |c: char| c.is_ascii_alphanumeric() || " \"'.()/_-".contains(c);
    let lines = text.lines().filter_map(|line| line.split_once('=')).filter(|(key, _)| KEPT.contains(key));
    lines.map(|(key, value)| format!("{key}={}\n", redaction::name(value, is_shown))).collect()
}

/// The list of the files, with their descriptions.
pub fn contents_text(names: &[(&str, &str)]) -> String {
    let mut text = concat!(
        "ecs-bootstrap ",
        env!("CARGO_PKG_VERSION"),
        ": a bundle for a support case. It contains no user data, no credentials and no log lines.\n\n"
    )
    .to_owned();
    for (name, description) in names {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:16}  {description}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::agent_log::last_attempt;

    #[test]
    fn keys_are_shown_and_possible_secrets_are_not() {
        let file = b"ECS_CLUSTER=prod\nECS_ENGINE_AUTH_DATA={hunter2}\nHTTP_PROXY=http://u:hunter3@p:1\n\
            MINE=hunter4\nhunter5 x=1\n";
        let text = config_text("/etc/ecs/ecs.config", &Ok(Some(file.to_vec())));
        assert!(text.contains("ECS_CLUSTER=prod\n"), "{text}");
        assert!(!text.contains("hunter"), "{text}");
        assert!(text.contains("http://<redacted>@p:1") && text.contains("MINE=<7 bytes>\n<11 bytes>\n"), "{text}");
    }

    #[test]
    fn log_lines_are_counted_and_not_copied() {
        let log = b"level=info msg=\"Starting Amazon ECS Agent\"\nlevel=error msg=\"hunter2\" error=\"hunter3\"\n";
        let text = log_text("/var/log/ecs/ecs-agent.log", &last_attempt(log));
        assert_eq!(
            text,
            "# /var/log/ecs/ecs-agent.log, since the agent last started: 2 lines (error 1, info 1)\n\
             Starting Amazon ECS Agent\n"
        );
    }
}
