//! What the host probe observes: disk space, memory, listeners, docker's answers and logs, SELinux denials.
//!
//! Plain data. Of log lines the part from a known fragment on is kept, and of a daemon that fails its last error.

use serde::Deserialize;

use super::agent_log::{Line, last_attempt};
use crate::boundary::docker::{DockerError, Version};
use crate::boundary::kernel::{Memory, Pressure, Space};
use crate::boundary::listeners::Listener;
use crate::redaction;

/// The result of the host probe. What was not or could not be observed is `None` or empty.
#[derive(Debug, Default)]
pub struct HostState {
    /// Whether the probe has run.
    pub is_examined: bool,
    /// The file systems that docker and the agent write to.
    pub space: Vec<Space>,
    /// The folders on a read-only file system that docker, ecs-init or the agent writes to while it starts.
    pub read_only: Vec<String>,
    /// The total and available memory.
    pub memory: Option<Memory>,
    /// How long processes wait for memory (pressure stall information).
    pub pressure: Option<Pressure>,
    /// docker's API version; asked only while docker's unit is active.
    pub docker_version: Option<Result<Version, DockerError>>,
    /// Whether docker lists its containers; asked only while docker's unit is active.
    pub docker_list: Option<Result<(), DockerError>>,
    /// Why `/etc/docker/daemon.json` is not valid JSON, without a byte of the file.
    pub daemon_json: Option<String>,
    /// Whether `/etc/docker/daemon.json` switches docker's bridge off.
    pub is_bridge_off: bool,
    /// The known error messages in the journal of docker's last start; read only if docker's unit has failed.
    pub docker_journal: Option<Vec<String>>,
    /// The known error messages in the journal of the last start of the agent's unit; read only if the unit has failed
    /// or is being restarted.
    pub agent_journal: Option<Vec<String>>,
    /// The kernel's messages about processes that it killed; read if a process was killed, and by doctor.
    pub oom_kills: Vec<String>,
    /// Whether SELinux is in enforcing mode.
    pub enforcing: Option<bool>,
    /// SELinux denials for docker's socket and the agent's files since the boot.
    pub denials: Vec<String>,
    /// The sockets that listen on the agent's introspection port.
    pub listeners: Option<Vec<Listener>>,
    /// Whether the host has an NVIDIA device.
    pub gpu: Option<bool>,
}

/// Fragments of the journal lines that explain why a daemon does not start.
const START_ERRORS: [&str; 17] = [
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
/// Paths and names in the SELinux denials that concern the agent.
const GUARDED: [&str; 6] = ["docker.sock", "/var/lib/ecs", "ecs-agent", "amazon-ecs-init", "/var/log/ecs", "agent.db"];
/// Fragments of the kernel's messages about a killed process (mm/oom_kill.c).
const KILLS: [&str; 3] = ["Out of memory", "oom-kill:", "Memory cgroup out of memory"];

/// The known error messages in a unit's journal since its last start. Each begins at the known fragment. Without one, the
/// last message of the daemon is first.
pub fn journal_of_last_start(lines: &str) -> Vec<String> {
    let lines: Vec<&str> = lines.lines().collect();
    // systemd's own message: "Starting docker.service - ...".
    let start = lines.iter().rposition(|line| line.starts_with("Starting ")).unwrap_or(0);
    let known: Vec<String> = lines[start..].iter().filter_map(|line| from_fragment(line, &START_ERRORS)).collect();
    if known.iter().any(|line| is_own(line)) {
        return known;
    }
    lines[start..].iter().rev().find_map(|line| own_message(line)).into_iter().chain(known).collect()
}

/// The message of a line that the daemon itself wrote, without the fields of logfmt; `None` for systemd's lines and for
/// progress.
fn own_message(line: &str) -> Option<String> {
    const OF_SYSTEMD: [&str; 5] = ["Starting ", "Started ", "Stopping ", "Stopped ", "Failed to start "];
    let is_about_unit = line.split_once(':').is_some_and(|(unit, _)| unit.ends_with(".service"));
    let is_of_systemd = is_about_unit || OF_SYSTEMD.iter().any(|begin| line.starts_with(begin));
    if is_of_systemd || line.trim().is_empty() {
        return None;
    }
    let parsed = last_attempt(line.as_bytes());
    let parsed = parsed.last();
    let is_progress = parsed.is_some_and(|line| matches!(line.level.as_str(), "info" | "debug"));
    let text = parsed.map_or(line, Line::text);
    let lower = text.to_ascii_lowercase();
    let is_error = parsed.is_some() || FAILURES.iter().any(|word| lower.contains(word));
    (is_error && !is_progress).then(|| redaction::line(&without_ids(text)))
}

/// Words of a line that reports an error. Other lines of a unit, for example of a script, are not shown.
const FAILURES: [&str; 14] = [
    "fail",
    "error",
    "cannot",
    "could not",
    "unable",
    "not found",
    "no such",
    "denied",
    "timed out",
    "refused",
    "invalid",
    "missing",
    "unknown",
    "unsupported",
];

/// The text without ids, which can be secret.
fn without_ids(text: &str) -> String {
    const MIN_LENGTH: usize = 16;
    let is_id = |word: &str| {
        let count = |is: fn(&u8) -> bool| word.bytes().filter(is).count();
        let is_plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        word.len() >= MIN_LENGTH && is_plain && count(u8::is_ascii_digit) >= 4 && count(u8::is_ascii_alphabetic) > 0
    };
    let words = text.split(' ').map(|word| if is_id(word) { redaction::REDACTED } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a known error is the daemon's own, and not systemd's message about its end.
fn is_own(line: &str) -> bool {
    !line.starts_with("status=") && !line.starts_with("Start request")
}

/// The daemon's own last message; if there is none, systemd's last message about the daemon.
pub fn most_specific_line(journal: &[String]) -> Option<&String> {
    journal.iter().rev().find(|line| is_own(line)).or(journal.last())
}

/// The kernel's log lines about killed processes.
pub fn oom_kills(lines: &str) -> Vec<String> {
    lines.lines().filter_map(|line| from_fragment(line, &KILLS)).collect()
}

/// The SELinux denials in an audit log or the kernel's log that concern docker or the agent. Denials in permissive mode
/// and from before `booted` (seconds since 1970) are ignored.
pub fn denials(lines: &str, booted: u64) -> Vec<String> {
    let is_of_this_boot = |line: &str| {
        let stamp = line.split_once("audit(").and_then(|(_, rest)| rest.split(['.', ':']).next()?.parse().ok());
        stamp.is_none_or(|at: u64| at >= booted)
    };
    let denied = lines.lines().filter(|line| {
        GUARDED.iter().any(|name| line.contains(name)) && !line.contains("permissive=1") && is_of_this_boot(line)
    });
    denied.filter_map(|line| from_fragment(line, &["avc:  denied", "avc: denied"])).collect()
}

/// The line from the first of these fragments on; `None` if it contains none.
fn from_fragment(line: &str, fragments: &[&str]) -> Option<String> {
    let at = fragments.iter().filter_map(|fragment| line.find(fragment)).min()?;
    Some(redaction::line(&line[at..]))
}

/// Why this is not a JSON object; `None` if it is one, or is empty. Text after the object is ignored, as docker's
/// decoder ignores it.
pub fn not_json(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    match serde_json::Value::deserialize(&mut reader) {
        Ok(value) if value.is_object() => None,
        Ok(_) => Some("it is JSON, but not an object".to_owned()),
        Err(error) => Some(format!("invalid JSON at line {}, column {}", error.line(), error.column())),
    }
}

/// Whether docker's configuration file has `"bridge": "none"`.
pub fn is_bridge_off(daemon_json: &[u8]) -> bool {
    let settings = serde_json::from_slice::<serde_json::Value>(daemon_json);
    settings.is_ok_and(|settings| settings.get("bridge").and_then(serde_json::Value::as_str) == Some("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_errors_of_the_last_start_are_kept() {
        let lines = "Starting docker.service - Docker...\nfailed to start daemon: of an earlier start\n\
                     Starting docker.service - Docker...\ntime=\"x\" level=info msg=\"secret\"\n\
                     failed to start daemon: proxy http://u:hunter2@proxy:3128 refused\n";
        assert_eq!(
            journal_of_last_start(lines),
            ["failed to start daemon: proxy http://<redacted>@proxy:3128 refused"]
        );
        let lines = ["failed to start daemon: x", "status=1/FAILURE"].map(str::to_owned);
        assert_eq!((most_specific_line(&lines), most_specific_line(&lines[1..])), (Some(&lines[0]), Some(&lines[1])));
    }

    #[test]
    fn without_a_known_error_the_last_message_of_the_daemon_is_kept() {
        let journal = |own: &str| {
            let lines = format!(
                "Starting docker.service - Docker...\ntime=\"x\" level=info msg=\"Starting up\"\n{own}\ndocker.service: Main \
                 process exited, code=exited, status=1/FAILURE\ndocker.service: Failed with result 'exit-code'.\nFailed to \
                 start docker.service - Docker.\n"
            );
            journal_of_last_start(&lines)
        };
        let own = "/usr/bin/dockerd: libgcc.so.9: cannot open shared object file";
        assert_eq!(most_specific_line(&journal(own)).map(String::as_str), Some(own));
        let fatal = journal("time=\"x\" level=fatal msg=\"failed to load listeners: no sockets found\"");
        assert_eq!(fatal[0], "failed to load listeners: no sockets found");
        assert_eq!(journal(""), ["status=1/FAILURE"]);
        assert_eq!(journal("starting with token 7e8f9a10"), ["status=1/FAILURE"]);
        let id = journal("splunk: 7e8f9a10-3b2c-4d5e-8f90-a1b2c3d4e5f6 is an unknown key");
        assert_eq!(id[0], "splunk: <redacted> is an unknown key");
    }

    #[test]
    fn permissive_and_older_denials_are_ignored() {
        let line = |at: u64, path: &str, permissive: u8| {
            format!(
                "type=AVC msg=audit({at}.123:45): avc:  denied  {{ connectto }} for  pid=7 path=\"{path}\" \
                 permissive={permissive}\n"
            )
        };
        assert_eq!(denials(&line(100, "/run/docker.sock", 0), 90).len(), 1);
        assert!(denials(&line(100, "/run/docker.sock", 0), 101).is_empty());
        assert!(denials(&line(100, "/run/docker.sock", 1), 90).is_empty());
        assert!(denials(&line(100, "/srv/www", 0), 90).is_empty());
    }

    #[test]
    fn a_fault_of_daemon_json_is_reported_without_its_text() {
        assert_eq!(not_json(b"{\"a\": 1,}").as_deref(), Some("invalid JSON at line 1, column 9"));
        assert_eq!(not_json(b"[]").as_deref(), Some("it is JSON, but not an object"));
        for good in [&b"{}"[..], b" \n", b"", b"\xef\xbb\xbf{}", b"{} trailing"] {
            assert_eq!(not_json(good), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_break_it(
            bytes: Vec<u8>,
            text in "[ -~\n]{0,120}(avc:  denied docker.sock audit\\([0-9]{0,30}:|oom-kill:|status=é)?",
        ) {
            not_json(&bytes);
            not_json(text.as_bytes());
            let _ = (journal_of_last_start(&text), oom_kills(&text), denials(&text, 5));
        }
    }
}
