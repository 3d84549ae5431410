//! Values that may be secret are in no output, whatever happens: they are planted at every place of the definitions that
//! is not shown, and searched for in everything that the program prints.

use super::{Outcome, Site};
use crate::support::rollout::{Course, Stopped, error};
use serde_json::{Value, json};

/// The beginning of every planted value.
const PLANTED: &str = "pl4nted";

/// Makes values that are planted.
struct Planter {
    salt: u32,
    number: u32,
}

impl Planter {
    fn next(&mut self) -> String {
        self.number += 1;
        format!("{PLANTED}{}x{}", self.salt, self.number)
    }
}

/// A task definition whose hidden members have planted values in the forms that people write them in.
fn task(salt: u32) -> Value {
    let mut planter = Planter { salt, number: 0 };
    let mut next = || planter.next();
    json!({
        "family": "web",
        "containerDefinitions": [{
            "name": "web", "image": format!("web:{salt}"), "memory": 128,
            "entryPoint": ["/bin/sh", next()],
            "command": [format!("--password={}", next()), "-p", next(), format!("curl https://u:{}@host/", next())],
            "healthCheck": {"command": ["CMD-SHELL", format!("check --token {}", next())]},
            "environment": [
                {"name": "DB_PASS", "value": next()}, {"name": "SENTRY_DSN", "value": format!("https://{}@sentry/1", next())},
                {"name": "DATABASE_URL", "value": format!("postgres://web:{}@db:5432/web", next())},
                {"name": "PLAIN", "value": next()}, {"name": "LINES", "value": format!("{}\n{}", next(), next())},
                {"name": "JSON", "value": json!({"key": next(), "quote": "\""}).to_string()},
            ],
            "dockerLabels": {"traefik.auth": next()},
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": "/ecs/web", "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "ecs",
                "splunk-token": next()}},
            "firelensConfiguration": {"type": "fluentbit", "options": {"apikey": next()}},
        }],
        "proxyConfiguration": {"containerName": "web", "properties": [{"name": "Token", "value": next()}]},
        "volumes": [{"name": "data", "dockerVolumeConfiguration": {"driverOpts": {"password": next()}, "labels": {"a": next()}}}],
        "tags": [{"key": "note", "value": next()}],
    })
}

fn service(salt: u32) -> Value {
    let mut planter = Planter { salt: salt + 50, number: 0 };
    json!({
        "cluster": "prod", "serviceName": "web", "desiredCount": 2, "tags": [{"key": "note", "value": planter.next()}],
        "serviceConnectConfiguration": {"enabled": true, "namespace": "internal", "logConfiguration": {
            "logDriver": "splunk", "options": {"splunk-token": planter.next()}}},
    })
}

fn site(salt: u32) -> Site {
    let site = Site::new().without_verification();
    write(&site, salt);
    site
}

fn write(site: &Site, salt: u32) {
    site.write("task.json", &task(salt));
    site.write("service.json", &service(salt));
}

/// Asserts the exit code, and that no planted value is in the output.
#[track_caller]
fn ends_without_values(outcome: &Outcome, code: i32) {
    assert_eq!(outcome.code, code, "{outcome:#?}");
    let text = format!("{}{}", outcome.stdout, outcome.stderr);
    let at = text.find(PLANTED).map(|at| &text[at.saturating_sub(200)..]);
    assert!(at.is_none(), "{at:?} in {outcome:#?}");
}

const FORMS: [&[&str]; 2] = [&[], &["--json"]];

#[test]
fn a_plan_and_a_deployment_print_no_value() {
    for form in FORMS {
        let site = site(1);
        for command in ["plan", "deploy"] {
            ends_without_values(&site.deploy(command, form), 0);
        }
        write(&site, 2);
        let plan = site.deploy("plan", form);
        ends_without_values(&plan, 0);
        assert!(plan.stdout.contains("<hidden, changed>") && plan.stdout.contains("DB_PASS"), "{plan:#?}");
        assert!(plan.stdout.contains("web:2"), "{plan:#?}");
        ends_without_values(&site.deploy("deploy", form), 0);
        ends_without_values(&site.deploy("deploy", form), 0);
    }
}

#[test]
fn values_are_printed_on_request() {
    let site = site(1);
    let plan = site.deploy("plan", &["--show-values"]);
    for value in ["--password=pl4nted1x2", "postgres://web:pl4nted1x"] {
        assert!(plan.stdout.contains(value), "no {value} in {plan:#?}");
    }
    let quoted = format!("Invalid value: {}", task(1)["containerDefinitions"][0]["environment"][0]);
    site.ecs.fail("RegisterTaskDefinition", [error("ClientException", &quoted)]);
    site.deploy("deploy", &["--show-values"]).ends(35, &["Invalid value: {\"name\":\"DB_PASS\",\"value\":\"pl4nted1x"]);
}

/// An error message can quote the whole request.
#[test]
fn an_error_message_that_quotes_the_request_has_no_value() {
    for form in FORMS {
        for (operation, code) in [("RegisterTaskDefinition", 35), ("CreateService", 35)] {
            for quoted in [task(1).to_string(), format!("{:#}", task(1)).replace('\n', " "), service(1).to_string()] {
                let site = site(1);
                site.ecs.fail(operation, [error("ClientException", &format!("Invalid request: {quoted}"))]);
                ends_without_values(&site.deploy("deploy", form), code);
            }
        }
    }
}

/// Messages of docker quote the command, and a program can log its environment.
#[test]
fn stopped_tasks_and_logs_have_no_value_and_neither_has_a_rollback() {
    for form in FORMS {
        let site = site(1);
        ends_without_values(&site.deploy("deploy", form), 0);
        write(&site, 2);
        let container = task(2)["containerDefinitions"][0].clone();
        let command = container["command"][0].as_str().unwrap().to_owned();
        let lines: Vec<String> = container["environment"].as_array().unwrap().iter().map(Value::to_string).collect();
        site.ecs.change(|state| {
            for id in 0..60 {
                state.logs.insert(format!("/ecs/web:ecs/web/{id:032x}"), lines.clone());
            }
            let task = Stopped {
                container_reason: format!("CannotStartContainerError: exec: \"{command}\": executable file not found"),
                reason: format!("Essential container exited: {command}"),
                ..Stopped::exited(127)
            };
            state.courses.push_back(Course::Fails { at: 2, task });
        });
        let outcome = site.deploy("deploy", &[form, &["--circuit-breaker"]].concat());
        ends_without_values(&outcome, 30);
        assert!(format!("{outcome:?}").contains("<hidden>"), "{outcome:#?}");
        for command in ["status", "rollback"] {
            let outcome = site.run(&[&[command, "--cluster", "prod", "--service", "web"], form].concat());
            ends_without_values(&outcome, outcome.code);
        }
        site.ecs.fail("UpdateService", [error("InvalidParameterException", &format!("no: {}", task(2)))]);
        let to = ["rollback", "--cluster", "prod", "--service", "web", "--to", "2"];
        ends_without_values(&site.run(&[&to, form].concat()), 35);
    }
}

#[test]
fn a_wrong_command_line_has_no_value() {
    let site = site(1);
    for wrong in [&["--var", PLANTED][..], &["--var", "A=b", PLANTED], &["--vars", PLANTED]] {
        ends_without_values(&site.deploy("plan", wrong), 2);
    }
}
