//! What to do about an error that a program repeats until it is fixed, from what the error is about.

use crate::agent_variables;
use crate::evidence::Evidence;

/// The errors that ended each of the last attempts of the agent, or of ecs-init before it, as evidence lines.
pub(in crate::causes) fn loop_evidence(evidence: &Evidence) -> Vec<String> {
    let Some(found) = evidence.crash_loop() else { return Vec::new() };
    let messages = found.messages.iter().map(|message| format!("{}: `{message}`", found.log));
    let what =
        if found.messages.is_empty() { "the same exit code, without an error in its log," } else { "the same error" };
    let count = format!("{what} ended {} attempts within {} s", found.attempts, found.time.as_secs());
    messages.chain([count]).collect()
}

/// The remedy for the repeated error; `None` if no program repeats one, or nothing is known about it.
pub(in crate::causes) fn remedy(evidence: &Evidence) -> Option<String> {
    let found = evidence.crash_loop()?;
    found.messages.iter().rev().find_map(|message| remedy_for(evidence, message))
}

/// Words of errors, and the variable of the agent that they are about if it is set.
const ABOUT: [(&str, &str); 5] = [
    ("logging driver", "ECS_AVAILABLE_LOGGING_DRIVERS"),
    ("invalid cidr", "ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES"),
    ("unable to fetch host resources", "ECS_RESERVED_MEMORY"),
    ("container instance tags", "ECS_CONTAINER_INSTANCE_TAGS"),
    ("docker daemon", "DOCKER_HOST"),
];
/// Errors about the content of the state that the agent saved.
const SAVED_STATE: [&str; 3] =
    ["invalid database", "previously saved state", "instance type changes are not supported"];
/// Folders of the agent's container, and what they are on the host (ecs-init/docker/docker.go, getHostConfig).
const MOUNTS: [(&str, &str); 2] = [("/data", "/var/lib/ecs/data"), ("/log", "/var/log/ecs")];
const RESTART: &str = "then `systemctl restart ecs --no-block`";

/// The remedy for this error; `None` if nothing is known about it.
pub(in crate::causes) fn remedy_for(evidence: &Evidence, message: &str) -> Option<String> {
    let lower = message.to_lowercase();
    let holds = |words: &str| lower.contains(words);
    if let Some(remedy) = access_remedy(message, holds) {
        return Some(remedy);
    }
    if SAVED_STATE.iter().any(|words| holds(words)) {
        let reset = "remove the saved state: `ecs-bootstrap reset-agent --yes`";
        return Some(format!("{reset}; the agent then registers as a new container instance"));
    }
    if holds("cfg json") || holds("ecs.config.json") {
        return Some(format!("correct /etc/ecs/ecs.config.json (`ecs-bootstrap check` names the line), {RESTART}"));
    }
    let is_set = |name: &str| evidence.config.contains_key(name);
    let words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named = words.filter(|word| word.contains('_')).find_map(agent_variables::find).map(|variable| variable.name);
    let meant = || ABOUT.iter().find(|(words, name)| holds(words) && is_set(name)).map(|(_, name)| *name);
    if let Some(name) = named.or_else(meant) {
        let what = if is_set(name) { "correct or remove" } else { "set" };
        return Some(format!("{what} {name} in /etc/ecs/ecs.config, {RESTART}"));
    }
    let place = path(message)?;
    Some(format!("check `{place}`, which the error names, {RESTART}"))
}

/// The remedy for an error of a system call on a file.
fn access_remedy(message: &str, holds: impl Fn(&str) -> bool) -> Option<String> {
    let place = |words: &str| path(message).map(|path| format!("{words} `{path}`")).unwrap_or_default();
    let remedy = if holds("exec format error") && holds("exec /") {
        "use an image of the agent for the architecture of this host (`uname -m`): reinstall ecs-init".to_owned()
    } else if holds("read-only file system") {
        format!("make the file system{} writable (`findmnt`)", place(" that contains"))
    } else if holds("no space left") {
        "free disk space (`docker system prune -a`, `journalctl --vacuum-size=100M`)".to_owned()
    } else if holds("input/output error") {
        format!("check the disk{} (`dmesg`)", place(" that contains"))
    } else if holds("permission denied") {
        format!("allow the access{} (`ls -lZ`, SELinux)", place(" to"))
    } else {
        return None;
    };
    Some(format!("{remedy}, {RESTART}"))
}

/// The first absolute path of a message, as the host names it.
fn path(message: &str) -> Option<String> {
    let words = message.split([' ', '`', '"', '\'', ',', '(', ')', '=']);
    let words = words.map(|word| word.trim_start_matches("unix://").trim_end_matches([':', '.', ';']));
    let path = words.into_iter().find(|word| word.len() > 2 && word.starts_with('/') && !word.starts_with("//"))?;
    let is_below =
        |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let mount = MOUNTS.iter().find(|(folder, _)| is_below(folder));
    Some(mount.map_or_else(|| path.to_owned(), |(folder, host)| path.replacen(folder, host, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_names_what_the_error_is_about() {
        let mut evidence = Evidence::default();
        for name in ["ECS_AVAILABLE_LOGGING_DRIVERS", "ECS_RESERVED_MEMORY", "DOCKER_HOST"] {
            evidence.config.insert(name.to_owned(), "x".to_owned());
        }
        for (message, expected) in [
            ("Error loading config: invalid logging drivers: nosuch", "ECS_AVAILABLE_LOGGING_DRIVERS"),
            ("Invalid format for ECS_TASK_METADATA_RPS_LIMIT", "set ECS_TASK_METADATA_RPS_LIMIT"),
            ("Unable to fetch host resources: not enough memory", "ECS_RESERVED_MEMORY"),
            ("Error reading cfg json data: unexpected end of JSON input", "/etc/ecs/ecs.config.json"),
            ("Error creating data client: invalid database", "reset-agent"),
            ("ClientException: Container instance type changes are not supported.", "reset-agent"),
            ("open /data/agent.db: read-only file system", "`/var/lib/ecs/data/agent.db` writable"),
            ("Error creating data client: open /data/agent.db: permission denied", "access to `/var/lib/ecs/data"),
            ("Cannot connect to the Docker daemon at unix:///run/x.sock", "correct or remove DOCKER_HOST"),
            ("dial unix /run/other.sock: connect: no such file or directory", "check `/run/other.sock`"),
            ("mkdir /sys/fs/cgroup/ecs: permission denied", "access to `/sys/fs/cgroup/ecs`"),
        ] {
            let remedy = remedy_for(&evidence, message).unwrap_or_default();
            assert!(remedy.contains(expected), "{message}: {remedy}");
        }
        assert_eq!(remedy_for(&evidence, "something new happened"), None);
        // A variable that is not set is not at fault.
        let evidence = Evidence::default();
        let remedy = remedy_for(&evidence, "Cannot connect to the Docker daemon at unix:///run/x.sock").unwrap();
        assert!(remedy.contains("check `/run/x.sock`"), "{remedy}");
    }
}
