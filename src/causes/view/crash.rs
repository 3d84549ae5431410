//! What to do about an error that a program repeats until it is fixed, from what the error is about.

use crate::agent_variables;
use crate::evidence::Evidence;

/// The errors of the agent, or of ecs-init before it, that ended each of the last attempts, as evidence lines.
pub(in crate::causes) fn loop_evidence(evidence: &Evidence) -> Vec<String> {
    let Some((file, found)) = evidence.crash_loop() else { return Vec::new() };
    let messages = found.messages.iter().map(|message| format!("{file}: `{message}`"));
    messages.chain([found.describe()]).collect()
}

/// The remedy for the repeated error; `None` if the program has not repeated one, or nothing is known about it.
pub(in crate::causes) fn remedy(evidence: &Evidence) -> Option<String> {
    let (_, found) = evidence.crash_loop()?;
    found.messages.iter().rev().find_map(|message| remedy_for(message))
}

/// Words of errors, and the variable of the agent that they are about.
const ABOUT: [(&str, &str); 5] = [
    ("logging driver", "ECS_AVAILABLE_LOGGING_DRIVERS"),
    ("invalid cidr", "ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES"),
    ("unable to fetch host resources", "ECS_RESERVED_MEMORY"),
    ("container instance tags", "ECS_CONTAINER_INSTANCE_TAGS"),
    ("docker daemon", "DOCKER_HOST"),
];
/// Errors about the state that the agent saved.
const SAVED_STATE: [&str; 4] =
    ["invalid database", "creating data client", "previously saved state", "instance type changes are not supported"];

/// The remedy for this error; `None` if nothing is known about it.
pub(in crate::causes) fn remedy_for(message: &str) -> Option<String> {
    let lower = message.to_lowercase();
    let holds = |words: &str| lower.contains(words);
    let restart = "then `systemctl restart ecs --no-block`";
    if holds("read-only file system") {
        let place = path(message).map(|path| format!(" that contains `{path}`")).unwrap_or_default();
        return Some(format!("make the file system{place} writable (`findmnt`), {restart}"));
    }
    if SAVED_STATE.iter().any(|words| holds(words)) {
        return Some(
            "remove the saved state, so that the agent registers anew: `ecs-bootstrap reset-agent --yes`".into(),
        );
    }
    if holds("cfg json") || holds("ecs.config.json") {
        return Some(format!("correct /etc/ecs/ecs.config.json (`ecs-bootstrap check` names the line), {restart}"));
    }
    let words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named = words.filter(|word| word.contains('_')).find_map(agent_variables::find);
    let named = named.map(|variable| variable.name);
    if let Some(name) = named.or_else(|| ABOUT.iter().find(|(words, _)| holds(words)).map(|(_, name)| *name)) {
        return Some(format!("correct or remove {name} in /etc/ecs/ecs.config, {restart}"));
    }
    if holds("permission denied") {
        let place = path(message).map(|path| format!(" to `{path}`")).unwrap_or_default();
        return Some(format!("allow the access{place} (`ls -lZ`, SELinux), {restart}"));
    }
    let place = path(message)?;
    Some(format!("check `{place}`, which the error names, {restart}"))
}

/// The first absolute path of a message.
fn path(message: &str) -> Option<&str> {
    let words = message.split([' ', '`', '"', '\'', ',', '(', ')', '=']);
    let words = words.map(|word| word.trim_start_matches("unix://").trim_end_matches([':', '.', ';']));
    words.into_iter().find(|word| word.len() > 2 && word.starts_with('/') && !word.starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_names_what_the_error_is_about() {
        for (message, expected) in [
            ("Error loading config: invalid logging drivers: nosuch", "ECS_AVAILABLE_LOGGING_DRIVERS"),
            ("Invalid format for ECS_TASK_METADATA_RPS_LIMIT", "ECS_TASK_METADATA_RPS_LIMIT"),
            ("Unable to fetch host resources: not enough memory", "ECS_RESERVED_MEMORY"),
            ("Error reading cfg json data: unexpected end of JSON input", "/etc/ecs/ecs.config.json"),
            ("Error creating data client: invalid database", "reset-agent"),
            ("ClientException: Container instance type changes are not supported.", "reset-agent"),
            ("open /var/lib/ecs/data/agent.db: read-only file system", "`/var/lib/ecs/data/agent.db` writable"),
            ("dial unix /run/other.sock: connect: no such file or directory", "check `/run/other.sock`"),
            ("mkdir /sys/fs/cgroup/ecs: permission denied", "access to `/sys/fs/cgroup/ecs`"),
        ] {
            let remedy = remedy_for(message).unwrap_or_default();
            assert!(remedy.contains(expected), "{message}: {remedy}");
        }
        assert_eq!(remedy_for("something new happened"), None);
    }
}
