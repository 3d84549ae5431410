//! What this machine has and does: space, memory, listeners, docker's own words.
//!
//! Plain data; of foreign logs only the fragments that were matched.

use serde::Deserialize;

use crate::boundary::docker::{DockerError, Version};
use crate::boundary::kernel::{Listener, Memory, Pressure, Space};
use crate::redaction;

/// All of it. What was not or cannot be seen is `None`, or empty.
#[derive(Debug, Default)]
pub struct HostState {
    /// Whether it was looked at.
    pub is_examined: bool,
    /// The file systems that docker and the agent write to.
    pub space: Vec<Space>,
    /// What is left of the memory.
    pub memory: Option<Memory>,
    /// How much is waited for memory.
    pub pressure: Option<Pressure>,
    /// Which API docker speaks; asked where it should answer.
    pub docker_version: Option<Result<Version, DockerError>>,
    /// Whether docker lists its containers; asked where it should answer.
    pub docker_list: Option<Result<(), DockerError>>,
    /// Where `/etc/docker/daemon.json` stops to be JSON; nothing of what it says.
    pub daemon_json: Option<String>,
    /// What the journal has of docker's last start; asked while docker's unit has failed.
    pub docker_journal: Option<Vec<String>>,
    /// What it has of the last start of the agent's unit; asked while that has failed or is tried again.
    pub agent_journal: Option<Vec<String>>,
    /// What the kernel says of processes that it killed; asked where one was killed, and by doctor.
    pub oom_kills: Vec<String>,
    /// Whether SELinux enforces its policy.
    pub enforcing: Option<bool>,
    /// What it has denied of docker's socket and the agent's files since the host was booted.
    pub denials: Vec<String>,
    /// Who listens where introspection should.
    pub listeners: Option<Vec<Listener>>,
    /// Whether an NVIDIA device is there.
    pub gpu: Option<bool>,
}

/// What is kept of a journal: fragments that tell why a daemon does not start.
const TELLING: [&str; 17] = [
    "unable to configure the Docker daemon with file",
    "the following directives are specified both as a flag",
    "the following directives don't match any configuration option",
    "error initializing graphdriver",
    "failed to mount overlay",
    "driver not supported",
    "error creating overlay mount",
    "no space left on device",
    "failed to start daemon",
    "failed to start containerd",
    "Error starting daemon",
    "could not load Amazon Elastic Container Service Agent",
    "Start request repeated too quickly",
    "Failed to locate executable",
    "Failed at step",
    "status=",
    "error: [",
];
/// What of the host SELinux may deny the agent.
const GUARDED: [&str; 5] = ["docker.sock", "/var/lib/ecs", "ecs-agent", "amazon-ecs-init", "/var/log/ecs"];
/// What the kernel says when it kills (mm/oom_kill.c).
const KILLS: [&str; 3] = ["Out of memory", "oom-kill:", "Memory cgroup out of memory"];

/// What a unit's journal says of its last start, of each telling line the part that tells.
pub fn journal_of_last_start(lines: &str) -> Vec<String> {
    let lines: Vec<&str> = lines.lines().collect();
    // systemd's own word, "Starting docker.service - ...".
    let start = lines.iter().rposition(|line| line.starts_with("Starting ")).unwrap_or(0);
    lines[start..].iter().filter_map(|line| from(line, &TELLING)).collect()
}

/// The line that says most: a daemon's own last one, else systemd's about it.
pub fn telling(journal: &[String]) -> Option<&String> {
    let is_own = |line: &&String| !line.starts_with("status=") && !line.starts_with("Start request");
    journal.iter().rev().find(is_own).or(journal.last())
}

/// Of the kernel's lines those that tell of a killed process.
pub fn oom_kills(lines: &str) -> Vec<String> {
    lines.lines().filter_map(|line| from(line, &KILLS)).collect()
}

/// Of an audit log or the kernel's lines what SELinux denied, enforcing, of what docker and the agent need since `booted`,
/// in seconds since 1970.
pub fn denials(lines: &str, booted: u64) -> Vec<String> {
    let is_of_this_boot = |line: &str| {
        let stamp = line.split_once("audit(").and_then(|(_, rest)| rest.split(['.', ':']).next()?.parse().ok());
        stamp.is_none_or(|at: u64| at >= booted)
    };
    let denied = lines.lines().filter(|line| {
        GUARDED.iter().any(|name| line.contains(name)) && !line.contains("permissive=1") && is_of_this_boot(line)
    });
    denied.filter_map(|line| from(line, &["avc:  denied", "avc: denied"])).collect()
}

fn from(line: &str, fragments: &[&str]) -> Option<String> {
    let at = fragments.iter().filter_map(|fragment| line.find(fragment)).min()?;
    Some(redaction::line(&line[at..]))
}

/// Where this stops to be a JSON object; `None` where it is one, or is empty. What comes after it is not looked at, as
/// docker's decoder does not.
pub fn not_json(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    match serde_json::Value::deserialize(&mut reader) {
        Ok(value) if value.is_object() => None,
        Ok(_) => Some("it is JSON, but no object".to_owned()),
        Err(error) => Some(format!("it stops being JSON at line {}, column {}", error.line(), error.column())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_journal_only_what_tells_of_the_last_start_is_kept() {
        let lines = "Starting docker.service - Docker...\nfailed to start daemon: of an earlier start\n\
                     Starting docker.service - Docker...\ntime=\"x\" level=info msg=\"secret\"\n\
                     failed to start daemon: proxy http://u:hunter2@proxy:3128 refused\n";
        assert_eq!(
            journal_of_last_start(lines),
            ["failed to start daemon: proxy http://<redacted>@proxy:3128 refused"]
        );
        let lines = ["failed to start daemon: x", "status=1/FAILURE"].map(str::to_owned);
        assert_eq!((telling(&lines), telling(&lines[1..])), (Some(&lines[0]), Some(&lines[1])));
    }

    #[test]
    fn only_denials_of_this_boot_that_were_enforced_count() {
        let line = |at: u64, path: &str, permissive: u8| {
            format!(
                "type=AVC msg=audit({at}.123:45): avc:  denied  {{ connectto }} for  pid=7 path=\"{path}\" permissive={permissive}\n"
            )
        };
        assert_eq!(denials(&line(100, "/run/docker.sock", 0), 90).len(), 1);
        assert!(denials(&line(100, "/run/docker.sock", 0), 101).is_empty());
        assert!(denials(&line(100, "/run/docker.sock", 1), 90).is_empty());
        assert!(denials(&line(100, "/srv/www", 0), 90).is_empty());
    }

    #[test]
    fn what_is_wrong_with_daemon_json_is_said_without_its_text() {
        assert_eq!(not_json(b"{\"a\": 1,}").as_deref(), Some("it stops being JSON at line 1, column 9"));
        assert_eq!(not_json(b"[]").as_deref(), Some("it is JSON, but no object"));
        for good in [&b"{}"[..], b" \n", b"", b"\xef\xbb\xbf{}", b"{} trailing"] {
            assert_eq!(not_json(good), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_break_it(bytes: Vec<u8>, text in "[ -~\n]{0,120}(avc:  denied docker.sock audit\\([0-9]{0,30}:|oom-kill:|status=é)?") {
            not_json(&bytes);
            not_json(text.as_bytes());
            let _ = (journal_of_last_start(&text), oom_kills(&text), denials(&text, 5));
        }
    }
}
