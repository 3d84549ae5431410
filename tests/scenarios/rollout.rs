//! Serves the simulated ECS API in one situation on loopback until stdin ends.
//!
//! In: the name of a situation; `--list` prints all names. Out: a line with the endpoint, and at the end one JSON
//! document with the recorded calls, the service `web` of the cluster `prod`, and the revisions.

#![expect(clippy::print_stderr, reason = "a tool of the tests")]

#[path = "../it/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::process::ExitCode;

use serde_json::{Value, json};
use support::rollout::{Course, Ecs, Stopped, World, error};

const NO_MEMORY: &str = "(service web) was unable to place a task because no container instance met all of its \
                         requirements. The closest matching (container-instance 0123) has insufficient memory available.";
const NO_IMAGE: &str =
    "CannotPullContainerError: manifest for web:2 not found: manifest unknown: Requested image not found";

type Situation = (&'static str, &'static str, fn(&mut World));

/// The name, a description, and the function that sets it up.
const SITUATIONS: &[Situation] = &[
    ("absent", "there is no service", |_| {}),
    ("active", "the service runs web:1", |world| world.runs("web:1", &Value::Null)),
    ("inactive", "the service was deleted by hand, and DescribeServices still returns it", |world| {
        world.runs("web:1", &Value::Null);
        world.delete("web");
        world.services.get_mut("web").expect("the service was created").shown["status"] = json!("INACTIVE");
    }),
    ("draining", "the service was just deleted, and drains for three polls", |world| {
        world.runs("web:1", &Value::Null);
        world.delete("web");
    }),
    ("image-missing", "the new image was never pushed; no circuit breaker", |world| {
        world.runs("web:1", &Value::Null);
        world.courses.push_back(Course::Fails { at: u32::MAX, task: Stopped::not_started(NO_IMAGE) });
    }),
    ("circuit-breaker", "the new container ends with 1; the circuit breaker rolls back", |world| {
        let breaker = json!({"maximumPercent": 200, "minimumHealthyPercent": 100,
            "deploymentCircuitBreaker": {"enable": true, "rollback": true}});
        world.runs("web:1", &json!({"deploymentConfiguration": breaker}));
        world.courses.push_back(Course::Fails { at: 2, task: Stopped::exited(1) });
    }),
    ("no-memory", "no instance has enough memory for the new task beside the old one", |world| {
        world.runs("web:1", &Value::Null);
        world.courses.push_back(Course::Stuck(NO_MEMORY.into()));
    }),
    ("superseded", "another caller starts a deployment at the third poll", |world| {
        world.runs("web:1", &Value::Null);
        world.courses.push_back(Course::Superseded(3));
    }),
    ("throttled", "every kind of call is throttled eight times", |world| {
        world.runs("web:1", &Value::Null);
        for operation in ["DescribeServices", "RegisterTaskDefinition", "UpdateService", "DescribeTaskDefinition"] {
            let fault = Some(error("ThrottlingException", "Rate exceeded"));
            world.faults.insert(operation, vec![fault; 8].into());
        }
    }),
    ("stale", "there is no service; DescribeServices shows it only at the fourth poll after its creation", |world| {
        world.stale_polls = 3;
    }),
    ("auto-scaled", "the service has five tasks, set by Application Auto Scaling", |world| {
        world.runs("web:1", &json!({"desiredCount": 5}));
        world.is_scaled = true;
    }),
    ("daemon", "the service is a daemon", |world| {
        world.runs("web:1", &json!({"schedulingStrategy": "DAEMON", "desiredCount": null}));
    }),
];

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    if name == "--list" {
        for (name, what, _) in SITUATIONS {
            let _ = writeln!(std::io::stdout(), "{name}\t{what}");
        }
        return ExitCode::SUCCESS;
    }
    let Some((_, _, set_up)) = SITUATIONS.iter().find(|(known, ..)| *known == name) else {
        eprintln!("error: there is no situation `{name}`; see `--list`");
        return ExitCode::from(2);
    };
    let ecs = Ecs::start();
    ecs.change(set_up);
    let _ = writeln!(std::io::stdout(), "{}", ecs.endpoint());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let revisions = ecs.read(|world| world.families.get("web").cloned().unwrap_or_default());
    let service = ecs.read(|world| world.services.get("web").map(|service| service.shown.clone()));
    let result = json!({"calls": ecs.calls(), "service": service, "revisions": revisions});
    let _ = writeln!(std::io::stdout(), "{result}");
    ExitCode::SUCCESS
}
