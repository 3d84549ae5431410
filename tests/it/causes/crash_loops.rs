//! An agent that repeats the same fatal error is diagnosed long before the deadline, with the error and what to do about
//! it. See `causes/mod.rs`. None of these faults has a cause of its own.
//!
//! In: an agent that exits with code 1 with an error. Out: the verdict comes within 60 s of the third repetition, although
//! the deadline is ten minutes.

use super::unknown_faults::exiting;
use super::{cause, is_ready, launched, run};
use crate::support::aws::Fault;
use crate::support::{Instance, Outcome};
use std::thread;
use std::time::Duration;

/// The message of the agent, its error, and a part of the remedy.
const FAULTS: [(&str, &str, &str); 10] = [
    ("Error loading config", "ECS_DISABLE_METRICS is not understood", "set ECS_DISABLE_METRICS"),
    ("Error loading config", "unexpected end of JSON input in cfg json data", "/etc/ecs/ecs.config.json"),
    ("Unable to fetch host resources", "reserved memory 99999 MiB exceeds 3905 MiB", "remove ECS_RESERVED_MEMORY"),
    (
        "Error creating Docker client",
        "Cannot connect to the Docker daemon at unix:///run/other.sock",
        "remove DOCKER_HOST",
    ),
    ("Error creating data client", "invalid database", "reset-agent"),
    (
        "Error creating data client",
        "open /data/agent.db: read-only file system",
        "`/var/lib/ecs/data/agent.db` writable",
    ),
    ("Unable to initialize ENI watcher", "open /sys/class/net/eth7: permission denied", "`/sys/class/net/eth7`"),
    ("Unable to load CNI plugins", "/amazon-ecs-cni-plugins/ecs-bridge: exec format error", "ecs-bridge`"),
    ("Agent panicked", "runtime error: slice bounds out of range [:9]", ""),
    ("Unable to initialize image verifier", "signature policy has no trusted key", ""),
];

/// The loops pause longer each time: the third repetition over 20 seconds comes after 15 to 31 seconds.
const LIMIT: Duration = Duration::from_secs(31 + 60);

fn check(outcome: &Outcome, id: &str, error: &str, remedy: &str) {
    let cause = cause(id);
    let text = &outcome.stderr;
    assert!(text.starts_with(&format!("error: [{id}] ")), "{text}");
    assert_eq!(outcome.code, Some(cause.exit_after_deadline.code().into()), "{text}");
    assert!(outcome.duration < LIMIT, "{:?}", outcome.duration);
    let seen: Vec<&str> = text.lines().filter(|line| line.starts_with("seen: ")).collect();
    assert!(seen.iter().any(|line| line.contains(error)), "no `{error}` in {text}");
    assert!(seen.iter().any(|line| line.contains("the same error ended ")), "{text}");
    let shown = text.lines().find(|line| line.starts_with("remedy: ")).unwrap_or_default();
    assert!(shown.contains(if remedy.is_empty() { cause.remedy } else { remedy }), "no `{remedy}` in {shown}");
}

#[test]
fn an_agent_that_repeats_an_error_is_diagnosed_before_the_deadline() {
    // In batches, so that other tests get a processor too.
    let batch = |faults: &[(&'static str, &'static str, &'static str)]| {
        thread::scope(|scope| {
            for &(message, error, remedy) in faults {
                scope.spawn(move || {
                    let instance = exiting(1, message, error);
                    let instance = instance.ecs_config("ECS_RESERVED_MEMORY=64\nDOCKER_HOST=tcp://127.0.0.1:2375\n");
                    check(&run(&instance, &["verify.deadline=10m"]), "agent-exits", error, remedy);
                });
            }
        })
    };
    FAULTS.chunks(5).for_each(batch);
}

#[test]
fn errors_that_differ_or_can_disappear_by_themselves_are_not_a_loop() {
    let of = |error: &'static str, vary: bool| {
        let instance = exiting(1, "Unable to start", error).agent_behaves(|agent| agent.errors_vary = vary);
        let outcome = run(&instance, &["verify.deadline=40s"]);
        assert!(outcome.duration >= Duration::from_secs(40), "{outcome:#?}");
        assert!(outcome.stderr.starts_with("error: [agent-exits] "), "{}", outcome.stderr);
    };
    thread::scope(|scope| {
        scope.spawn(move || of("try again", true));
        scope.spawn(move || of("request send failed, Get: dial tcp: lookup x: no such host", false));
        scope.spawn(move || of("ServerException: Service Unavailable. Please try again later.", false));
    });
}

#[test]
fn an_agent_that_recovers_from_a_loop_is_ready() {
    // The verdict must not come while an attempt runs that may succeed.
    let denied = Fault::denied("ecs:RegisterContainerInstance");
    let instance = Instance::new().agent_behaves(|agent| agent.register_delay = Duration::from_secs(3));
    instance.aws.fail_first("RegisterContainerInstance", 5, denied);
    launched(&instance, Duration::from_secs(5));
    is_ready(&run(&instance, &["verify.deadline=55s"]));
}
