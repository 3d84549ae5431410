//! `registry.auth` and `config-from`: values of Secrets Manager, Systems Manager and S3.
//!
//! In: values with marked secrets, and faults of the services. Out: `ecs.config`, the verdict, and every output, in which no secret
//! may be.

use crate::support::aws::Fault;
use crate::support::{Instance, Outcome};
use std::os::unix::fs::MetadataExt;

const ARN: &str = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:team/hub-a1b2c3";
const PASSWORD: &str = "MARKED-9f31-PASSWORD";
/// `user:MARKED-9f31-PASSWORD` in base64.
const CODED: &str = "dXNlcjpNQVJLRUQtOWYzMS1QQVNTV09SRA==";

fn said(outcome: &Outcome) -> String {
    format!("{}{}", outcome.stdout, outcome.stderr)
}

fn with_value(name: &str, value: &str) -> Instance {
    let instance = Instance::new();
    set(&instance, name, value);
    instance
}

fn set(instance: &Instance, name: &str, value: &str) {
    instance.aws.change(|aws| drop(aws.values.insert(name.to_owned(), value.to_owned())));
}

fn auths(registry: &str) -> String {
    serde_json::json!({"auths": {registry: {"auth": CODED}}, "credHelpers": {}}).to_string()
}

fn configured(instance: Instance, from: &str) -> Instance {
    instance.setting_file("etc/ecs-bootstrap/config.toml", &format!("config-from = \"{from}\"\n"))
}

fn config(instance: &Instance) -> String {
    instance.disk.text("etc/ecs/ecs.config")
}

/// Every file of the host except `ecs.config`, and what was logged.
fn everything_else(instance: &Instance) -> String {
    let mut text = format!("{:?}", instance.journal.entries());
    let mut folders = vec![instance.disk.path("")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && !path.ends_with("etc/ecs/ecs.config") {
                text.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()));
            }
        }
    }
    text
}

fn assert_hidden(text: &str) {
    for secret in [PASSWORD, CODED] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn the_secret_is_in_ecs_config_and_nowhere_else() {
    for (name, setting) in [
        (ARN, format!("registry.auth={ARN}")),
        ("team/hub", "registry.auth=secretsmanager:team/hub".to_owned()),
        ("/team/hub", "registry.auth=ssm:/team/hub".to_owned()),
    ] {
        let instance = with_value(name, &auths("registry.example.com"));
        let setting = ["--set", &setting, "--verbose"];
        let mut outputs = Vec::new();
        for command in [&["plan"][..], &["plan", "--json"], &["plan", "--iam"], &["run", "--wait"]] {
            let arguments: Vec<&str> = command.iter().copied().chain(setting).collect();
            let outcome = instance.run(&arguments);
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            outputs.push(said(&outcome));
        }
        let expected = format!("ECS_ENGINE_AUTH_DATA={{\"registry.example.com\":{{\"auth\":\"{CODED}\"}}}}");
        let text = config(&instance);
        assert!(text.contains("ECS_ENGINE_AUTH_TYPE=dockercfg\n"), "{text}");
        assert!(text.contains(&expected) || text.replace('\\', "").contains(&expected), "{text}");
        assert_eq!(std::fs::metadata(instance.disk.path("etc/ecs/ecs.config")).unwrap().mode() & 0o777, 0o600);
        let bundle = instance.disk.path("bundle.tar");
        for command in [
            &["status"][..],
            &["status", "--json"],
            &["doctor", "--verbose"],
            &["doctor", "--json", "--bundle", bundle.to_str().unwrap()],
            &["guard", "--verbose"],
            &["verify", "--verbose"],
            &["timeline"],
            &["check", instance.disk.path("etc/ecs/ecs.config").to_str().unwrap()],
        ] {
            outputs.push(said(&instance.run(command)));
        }
        outputs.iter().for_each(|output| assert_hidden(output));
        assert_hidden(&everything_else(&instance));
    }
}

#[test]
fn a_value_that_changes_is_written_at_the_next_run_and_one_that_stays_changes_nothing() {
    let instance = with_value("hub", &auths("a.example.com"));
    let run = ["run", "--wait", "--set", "registry.auth=ssm:hub"];
    assert_eq!(instance.run(&run).code, Some(0));
    let before = config(&instance);
    instance.systemd.forget_calls();
    assert_eq!(instance.run(&run).code, Some(0));
    assert_eq!(config(&instance), before);
    assert!(!instance.systemd.calls().iter().any(|call| call.contains("RestartUnit")));
    set(&instance, "hub", &auths("b.example.com"));
    assert_eq!(instance.run(&run).code, Some(0));
    let after = config(&instance);
    assert!(after.contains("b.example.com") && !after.contains("a.example.com"), "{after}");
    assert!(instance.systemd.calls().iter().any(|call| call.contains("RestartUnit ecs.service")));
    // Without the setting, the lines are removed.
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    assert!(!config(&instance).contains("ECS_ENGINE_AUTH"), "{}", config(&instance));
}

#[test]
fn a_value_that_cannot_be_read_is_a_note_and_the_earlier_one_stays() {
    let instance = with_value("hub", &auths("a.example.com"));
    let run = ["run", "--wait", "--set", "registry.auth=ssm:hub", "--set", "run.deadline=20s"];
    assert_eq!(instance.run(&run).code, Some(0));
    type Change = fn(&Instance);
    let absent: Change = |instance| instance.aws.change(|aws| aws.values.clear());
    let broken: Change = |instance| set(instance, "hub", &format!("{PASSWORD} {CODED}"));
    let incomplete: Change = |instance| {
        let document = format!("{{\"auths\": {{\"r\": {{\"auth\": \"{PASSWORD}\"}}}}}}");
        set(instance, "hub", &document);
    };
    let simple: Change =
        |instance| set(instance, "hub", &format!("{{\"username\": \"u\", \"password\": \"{PASSWORD}\"}}"));
    for (change, seen) in [
        (absent, "ssm:GetParameter: answered 400, ParameterNotFound"),
        (broken, "`ssm:hub` cannot be used: it is not a JSON object"),
        (incomplete, "is not `USER:PASSWORD` in base64"),
        (simple, "it names no registry"),
    ] {
        change(&instance);
        let outcome = instance.run(&run);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(outcome.stdout.contains("note: [registry-auth-not-read]"), "{outcome:?}");
        assert!(said(&outcome).contains(seen), "{outcome:?}");
        assert_hidden(&said(&outcome));
        assert!(config(&instance).contains("a.example.com"), "{}", config(&instance));
    }
    assert_hidden(&everything_else(&instance));
}

#[test]
fn a_denied_call_names_the_action() {
    let denied = Fault::denied("secretsmanager:GetSecretValue");
    let instance = Instance::new().aws_fault("GetSecretValue", denied);
    let outcome = instance.run(&["run", "--wait", "--set", "registry.auth=secretsmanager:hub"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(said(&outcome).contains("secretsmanager:GetSecretValue: denied"), "{outcome:?}");
    assert!(!config(&instance).contains("ECS_ENGINE_AUTH"));
}

#[test]
fn more_settings_are_read_from_s3_or_a_parameter() {
    let text = "# of the fleet\nECS_CLUSTER= prod \nECS_LOGLEVEL=debug\n";
    let toml = "cluster = \"prod\"\n[agent]\nECS_LOGLEVEL = \"debug\"\n";
    for (name, value, setting) in [
        ("s3://my-bucket/fleet/ecs.config", text, "config-from=s3://my-bucket/fleet/ecs.config"),
        ("s3://bucket-in-paris/fleet+a.toml", toml, "config-from=s3://bucket-in-paris/fleet+a.toml"),
        ("s3://bucket-in-paris/fleet.toml", toml, "config-from=s3://bucket-in-paris/fleet.toml"),
        ("/fleet/ecs.config", text, "config-from=ssm:/fleet/ecs.config"),
    ] {
        let source = setting.strip_prefix("config-from=").unwrap();
        let instance = configured(with_value(name, value).without_tags(), source);
        let outcome = instance.run(&["run", "--wait"]);
        assert_eq!(outcome.code, Some(0), "{setting} {outcome:?}");
        let config = config(&instance);
        assert!(config.contains("ECS_CLUSTER=prod\n") && config.contains("ECS_LOGLEVEL=debug\n"), "{setting} {config}");
        let plan = instance.run(&["plan"]);
        assert!(plan.stdout.contains(source), "the source is shown: {plan:?}");
    }
}

#[test]
fn more_settings_have_the_rank_of_the_administrators_files_and_override_them() {
    let fleet = "ECS_CLUSTER=other\nECS_LOGLEVEL=debug\nECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=2h\n";
    let instance = with_value("fleet", fleet);
    let file = "config-from = \"ssm:fleet\"\n[agent]\nECS_LOGLEVEL = \"warn\"\n";
    let instance = instance.setting_file("etc/ecs-bootstrap/config.toml", file);
    let outcome = instance.run(&["run", "--wait", "--set", "agent.ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=3h"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let config = config(&instance);
    for line in ["ECS_CLUSTER=prod\n", "ECS_LOGLEVEL=debug\n", "ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=3h\n"] {
        assert!(config.contains(line), "{line}: {config}");
    }
}

#[test]
fn more_settings_that_are_missing_or_wrong_end_the_run() {
    let large = "#".repeat((1 << 20) + 1);
    for (name, value, setting, code, seen) in [
        ("none", "", "ssm:fleet", 20, "`config-from` names it"),
        ("none", "", "s3://my-bucket/ecs.config", 20, "NoSuchKey"),
        ("fleet", "ECS_CLUSTER=a b\n", "ssm:fleet", 20, "`cluster` takes"),
        ("fleet", "ECS_CLUSTER: prod\n", "ssm:fleet", 20, "line 1 is neither"),
        ("fleet", "# nothing\n", "ssm:fleet", 20, "it sets no variable"),
        ("fleet", "ECS_RESERVED_MEMORY=much\n", "ssm:fleet", 20, "ECS_RESERVED_MEMORY"),
        ("fleet.toml", "cluster = \n", "ssm:fleet.toml", 20, "ssm:fleet.toml:1:"),
        ("fleet.toml", "imds.deadline = \"1s\"\n", "ssm:fleet.toml", 20, "must be known before"),
        ("fleet.toml", "config-from = \"ssm:x\"\n", "ssm:fleet.toml", 20, "must be known before"),
        ("fleet", large.as_str(), "ssm:fleet", 20, "longer than 1 MiB"),
    ] {
        let instance = configured(with_value(name, value), setting);
        let outcome = instance.run(&["run", "--wait"]);
        assert_eq!(outcome.code, Some(code), "{setting} {outcome:?}");
        assert!(said(&outcome).contains(seen), "{seen}: {outcome:?}");
        let plan = instance.run(&["plan", "--iam"]);
        assert!(plan.code == Some(0) && plan.stdout.contains("\"ReadMoreSettings\""), "{plan:?}");
        assert!(plan.stderr.contains("`config-from` not read"), "{plan:?}");
        assert!(!instance.systemd.calls().iter().any(|call| call.contains("StartUnit ecs.service")), "{setting}");
    }
    let instance = Instance::new().aws_fault("GetObject", Fault::error(403, "AccessDenied", "Access Denied"));
    let outcome = configured(instance, "s3://my-bucket/x").run(&["run", "--wait", "--set", "run.deadline=3s"]);
    assert_eq!(outcome.code, Some(22), "{outcome:?}");
    assert!(said(&outcome).contains("s3:GetObject: denied"), "{outcome:?}");
}

#[test]
fn a_tag_can_set_neither() {
    for tag in ["registry.auth", "config-from"] {
        let instance = Instance::new().tag(&format!("ecs-bootstrap:{tag}"), "ssm:evil");
        let outcome = instance.run(&["run", "--wait"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(instance.aws.count("GetParameter"), 0);
    }
}

#[test]
fn off_makes_no_call() {
    let instance = Instance::new();
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    for operation in ["GetSecretValue", "GetParameter", "GetObject"] {
        assert_eq!(instance.aws.count(operation), 0);
    }
    assert!(!instance.disk.text("run/ecs-bootstrap/plan.json").contains("registry"));
}

/// A value that redaction may not cut: the name of a secret is not secret.
#[test]
fn the_arn_of_a_secret_is_shown() {
    let instance = with_value(ARN, &format!("{{\"username\": \"u\", \"password\": \"{PASSWORD}\"}}"));
    let setting = format!("registry.auth={ARN}");
    let policy: serde_json::Value =
        serde_json::from_str(&instance.run(&["plan", "--iam", "--set", &setting]).stdout).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let read = statements.iter().find(|one| one["Sid"] == "ReadTheCredentialsOfRegistries").unwrap();
    let expected = serde_json::json!({"Sid": "ReadTheCredentialsOfRegistries", "Effect": "Allow",
        "Action": ["secretsmanager:GetSecretValue"], "Resource": [ARN]});
    assert_eq!(*read, expected);
    let outcome = instance.run(&["run", "--wait", "--set", &setting]);
    assert!(said(&outcome).contains(&format!("`{ARN}` cannot be used: it names no registry")), "{outcome:?}");
    assert_hidden(&said(&outcome));
    let message = format!(
        "User: arn:aws:sts::1:assumed-role/x is not authorized to perform: \
        secretsmanager:GetSecretValue on resource: {ARN} because no identity-based policy allows the action"
    );
    instance.aws.fail("GetSecretValue", Fault::error(400, "AccessDeniedException", &message));
    let outcome = instance.run(&["run", "--wait", "--set", &setting, "--set", "run.deadline=5s"]);
    assert!(said(&outcome).contains("because no identity-based policy allows the action"), "{outcome:?}");
}

#[test]
fn a_note_ends_when_the_value_can_be_read_again() {
    let instance = with_value("hub", &auths("a.example.com"));
    let run = ["run", "--wait", "--set", "registry.auth=ssm:hub", "--set", "run.deadline=5s"];
    let is_noted = || said(&instance.run(&run)).contains("registry-auth-not-read");
    assert!(!is_noted());
    instance.aws.fail("GetParameter", Fault::denied("ssm:GetParameter"));
    assert!(is_noted());
    instance.aws.change(|aws| aws.faults.clear());
    assert!(!is_noted(), "the value is the same");
}

#[test]
fn the_login_of_another_instance_is_not_kept() {
    let instance = with_value("hub", &auths("a.example.com"));
    let run = ["run", "--wait", "--set", "registry.auth=ssm:hub", "--set", "run.deadline=5s"];
    assert_eq!(instance.run(&run).code, Some(0));
    let written = instance.disk.text("var/lib/ecs-bootstrap/written.json");
    instance
        .disk
        .write("var/lib/ecs-bootstrap/written.json", written.replace("i-0123456789abcdef0", "i-0fedcba9876543210"));
    instance.aws.change(|aws| aws.values.clear());
    assert_eq!(instance.run(&run).code, Some(0));
    assert!(!config(&instance).contains("ECS_ENGINE_AUTH"), "{}", config(&instance));
}

#[test]
fn a_source_of_a_higher_rank_overrides_both_variables() {
    let instance = with_value("hub", &auths("a.example.com"));
    let instance = instance.setting_file("etc/ecs-bootstrap/config.toml", "registry.auth = \"ssm:hub\"\n");
    let data = "agent.ECS_ENGINE_AUTH_DATA={\"b\":{\"username\":\"u\",\"password\":\"p\"}}";
    let own = ["--set", data, "--set", "agent.ECS_ENGINE_AUTH_TYPE=docker"];
    let outcome = instance.run(&["run", "--wait"].into_iter().chain(own).collect::<Vec<_>>());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let config = config(&instance);
    assert!(config.contains("ECS_ENGINE_AUTH_TYPE=docker\n") && !config.contains("a.example.com"), "{config}");
}
