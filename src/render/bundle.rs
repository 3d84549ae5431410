//! The texts of a bundle for a support case: what a stranger needs to see of a host, and nothing that is secret.
//!
//! Foreign logs are counted, not copied, since nobody can say what others print into them: of their lines only messages
//! appear that the agent's own source holds. Values of variables are shown only where the agent knows the variable.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::ecs_config::shown;
use crate::evidence::agent_log::Line;
use crate::redaction;

/// Messages of the agent and of ecs-init, as they stand in their sources (amazon-ecs-agent v1.105.1).
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

/// One `ecs.config`, a line a line: keys by name, values where they are no secret.
pub fn config_text(path: &str, bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return format!("# {path}: there is no such file, or it could not be read\n") };
    let mut text =
        format!("# {path}, {} bytes; values of variables that the agent does not know are left out\n", bytes.len());
    text.push_str(&redaction::text(&shown(bytes)));
    text.push('\n');
    text
}

/// What a log holds since the agent last started, without its words.
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

/// What `/etc/os-release` says of the distribution (os-release(5)); its other lines are left out.
pub fn os_release_text(bytes: &[u8]) -> String {
    const KEPT: [&str; 7] = ["NAME", "ID", "ID_LIKE", "VERSION", "VERSION_ID", "VARIANT_ID", "PRETTY_NAME"];
    let text = String::from_utf8_lossy(bytes);
    let is_kept = |line: &&str| line.split_once('=').is_some_and(|(key, _)| KEPT.contains(&key));
    let is_part = |c: char| c.is_ascii_alphanumeric() || " =\"'.()/_-".contains(c);
    let shown = |line: &str| {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        format!("{key}={}\n", redaction::name(value, |c| is_part(c) && c != '='))
    };
    text.lines().filter(is_kept).map(shown).collect()
}

/// The list of what is in it.
pub fn contents_text(names: &[(&str, &str)]) -> String {
    let mut text = concat!(
        "ecs-bootstrap ",
        env!("CARGO_PKG_VERSION"),
        ": a bundle for a support case. No user data, no credentials, no line of a foreign log is in it.\n\n"
    )
    .to_owned();
    for (name, what) in names {
        let _ = writeln!(text, "{name:16}  {what}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::agent_log::last_attempt;

    #[test]
    fn keys_are_shown_and_what_may_be_secret_is_not() {
        let text = config_text(
            "/etc/ecs/ecs.config",
            Some(b"ECS_CLUSTER=prod\nECS_ENGINE_AUTH_DATA={hunter2}\nHTTP_PROXY=http://u:hunter3@p:1\nMINE=hunter4\nhunter5 x=1\n"),
        );
        assert!(text.contains("ECS_CLUSTER=prod\n"), "{text}");
        assert!(!text.contains("hunter"), "{text}");
        assert!(text.contains("http://<redacted>@p:1") && text.contains("MINE=<7 bytes>\n<11 bytes>\n"), "{text}");
    }

    #[test]
    fn a_log_is_counted_and_not_copied() {
        let log = b"level=info msg=\"Starting Amazon ECS Agent\"\nlevel=error msg=\"hunter2\" error=\"hunter3\"\n";
        let text = log_text("/var/log/ecs/ecs-agent.log", &last_attempt(log));
        assert_eq!(
            text,
            "# /var/log/ecs/ecs-agent.log, since the agent last started: 2 lines (error 1, info 1)\nStarting Amazon ECS Agent\n"
        );
    }
}
