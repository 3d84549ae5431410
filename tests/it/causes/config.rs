//! Causes in the content of `ecs.config`: as a cause if the instance does not join, and as a note if it does. See
//! `causes/mod.rs`.

use super::{ExpectedCause, ExpectedNote, is_ready, joined, run, verify};
use crate::support::imds::Fault;
use crate::support::{Instance, Outcome};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CONFIG: &str = "etc/ecs/ecs.config";
const USER_DATA: &str = "#!/bin/sh\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config\n";

/// Only this file can name the cluster. User data wrote it and has ended.
fn only_this_file(text: impl AsRef<[u8]>) -> (Instance, Outcome) {
    let instance = Instance::new().without_tags().ecs_config(text).user_data(USER_DATA);
    let outcome = run(&instance, &["tags.wait=1s"]);
    (instance, outcome)
}

/// The agent started with this file and joined `default`; the tag names `prod`.
fn in_default(text: &str) -> (Instance, Outcome) {
    let instance = Instance::new().user_data(USER_DATA);
    joined(&instance, text);
    let outcome = verify(&instance, &["verify.deadline=20s"]);
    (instance, outcome)
}

/// Checks that the line is the cause, both without and with an agent that joined `default`.
fn is_cause(id: &str, line: &str, seen: &str) {
    let (instance, outcome) = only_this_file(line);
    ExpectedCause(id, 21, seen).check(&instance, &outcome);
    assert!(outcome.stderr.contains("seen: the instance has no tag"), "{}", outcome.stderr);
    assert_eq!(instance.disk.text(CONFIG), line);
    let (instance, outcome) = in_default(line);
    ExpectedCause(id, 21, seen).check(&instance, &outcome);
    assert!(outcome.stderr.contains("in cluster `default`; the expected cluster is `prod`"), "{}", outcome.stderr);
}

/// Checks that the line is a note if another line names the cluster correctly.
fn is_note(id: &str, line: &str, seen: &str) {
    let instance = Instance::new().ecs_config(format!("{line}ECS_CLUSTER=prod\n"));
    ExpectedNote(id, seen).check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn an_agent_of_ecs_anywhere_is_reported_without_a_request_and_nothing_is_changed() {
    let external = |text: &str| Instance::new().file("var/lib/ecs/ecs.config", text);
    let script = "AWS_DEFAULT_REGION=eu-west-1\nECS_EXTERNAL=true\n";
    let instance = external(script);
    instance.imds.change(|imds| imds.fault = Fault::Silent);
    for command in [["run", "--no-wait"], ["plan", "--json"], ["verify", "--json"]] {
        let outcome = instance.run(&command);
        assert_eq!(outcome.code, Some(20), "{outcome:?}");
        assert!(outcome.stderr.contains("[ecs-anywhere]") || outcome.stdout.contains("ecs-anywhere"), "{outcome:?}");
    }
    ExpectedCause("ecs-anywhere", 20, "ECS_EXTERNAL is `true` (/var/lib/ecs/ecs.config)")
        .check_untouched(&instance, &run(&instance, &[]));
    assert_eq!((instance.imds.requests().len(), instance.aws.requests().len()), (0, 0));
    let doctor = instance.run(&["doctor"]);
    assert!(doctor.stdout.contains("error: [ecs-anywhere]"), "{}", doctor.stdout);
    // The start of the agent is not refused, and the last line of the last file decides.
    let instance = instance.ecs_config("ECS_CLUSTER=prod\n");
    assert_eq!(instance.run(&["guard"]).code, Some(0));
    for (var, etc) in [(script, "ECS_EXTERNAL=false\n"), ("ECS_EXTERNAL=yes\n", ""), ("#ECS_EXTERNAL=true\n", "")] {
        is_ready(&run(&external(var).ecs_config(etc), &["verify.deadline=20s"]));
    }
    // A setting of ecs-bootstrap is refused before it is written.
    let setting = "[agent]\nECS_EXTERNAL = \"true\"\n";
    let instance = Instance::new().setting_file("etc/ecs-bootstrap/config.toml", setting);
    ExpectedCause("ecs-anywhere", 20, "`agent.ECS_EXTERNAL` in /etc/ecs-bootstrap/config.toml")
        .check_untouched(&instance, &run(&instance, &[]));
}

#[test]
fn a_quoted_cluster_is_reported_with_its_line() {
    let (instance, outcome) = only_this_file("# mine\nECS_CLUSTER=\"prod\"\n");
    ExpectedCause("config-quoted", 21, "`ECS_CLUSTER` on line 2 of /etc/ecs/ecs.config is quoted")
        .check(&instance, &outcome);
    assert_eq!(instance.disk.text(CONFIG), "# mine\nECS_CLUSTER=\"prod\"\n");
    is_note("config-quoted", "ECS_LOGLEVEL=\"debug\"\n", "the value of `ECS_LOGLEVEL` on line 1");
}

#[test]
fn quotes_that_user_data_wrote_are_reported_when_it_has_ended() {
    let instance = Instance::new().without_tags().tag("Name", "web").user_data(USER_DATA).user_data_runs();
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    let verify = instance.start(&["verify"]);
    std::thread::sleep(Duration::from_millis(500));
    instance.disk.write(CONFIG, "ECS_CLUSTER='prod'\n");
    instance.user_data_ends();
    ExpectedCause("config-quoted", 21, "is quoted")
        .check(&instance, &Outcome { duration: Duration::ZERO, ..verify.wait() });
}

#[test]
fn an_invalid_cluster_name_is_not_reported_as_quoted() {
    let (instance, outcome) = only_this_file("ECS_CLUSTER=\"prod\n");
    ExpectedCause("cluster-name-invalid", 21, "/etc/ecs/ecs.config").check(&instance, &outcome);
    let (instance, outcome) = only_this_file("ECS_CLUSTER=${cluster}\n");
    ExpectedCause("cluster-name-invalid", 21, "`${cluster}`").check(&instance, &outcome);
}

#[test]
fn an_exported_cluster_is_reported() {
    is_cause("config-export", "export ECS_CLUSTER=prod\n", "there is an `export` before `ECS_CLUSTER` on line 1");
    is_note("config-export", "export ECS_CLUSTER=old\n", "there is an `export` before `ECS_CLUSTER` on line 1");
}

#[test]
fn a_blank_before_the_equals_sign_is_reported_and_one_after_it_is_not() {
    is_cause("config-spaces", "ECS_CLUSTER =prod\n", "there are spaces before the `=` of `ECS_CLUSTER` on line 1");
    is_note("config-spaces", "ECS_LOGLEVEL = debug\n", "`ECS_LOGLEVEL` on line 1");
    let instance = Instance::new().without_tags().ecs_config("ECS_CLUSTER= prod\n");
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_misspelt_key_is_reported_and_an_unknown_key_is_not() {
    is_cause("config-key-misspelt", "ECS_Cluster=prod\n", "sets `ECS_Cluster`; the variable is `ECS_CLUSTER`");
    is_cause("config-key-misspelt", "CLUSTER=prod\n", "sets `CLUSTER`; the variable is `ECS_CLUSTER`");
    is_note("config-key-misspelt", "ECS_LOGLEVL=debug\n", "the variable is `ECS_LOGLEVEL`");
    let (instance, outcome) = only_this_file("ECS_SOMETHING_NEW=prod\n#ECS_CLUSTER=prod\n");
    ExpectedCause("no-cluster-named", 21, "user data is a script, and mentions a cluster").check(&instance, &outcome);
}

#[test]
fn a_line_that_the_agent_cannot_parse_is_reported() {
    is_cause("config-unreadable-key", "\u{feff}ECS_CLUSTER=prod\n", "a byte order mark is part of the key");
    is_cause("config-unreadable-key", "ECS_CLUSTER: prod\n", "the line has no `=`");
    let utf_16: Vec<u8> = "\u{feff}ECS_CLUSTER=prod\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (instance, outcome) = only_this_file(utf_16);
    ExpectedCause("config-unreadable-key", 21, "the file is UTF-16").check(&instance, &outcome);
    is_note("config-unreadable-key", "\u{feff}ECS_LOGLEVEL=debug\n", "is meant to set `ECS_LOGLEVEL`");
}

#[test]
fn a_later_line_with_the_same_key_is_reported() {
    let instance = Instance::new().cluster("old", &[]).user_data(USER_DATA);
    joined(&instance, "ECS_CLUSTER=prod\nECS_CLUSTER=old\n");
    let outcome = verify(&instance, &["verify.deadline=20s"]);
    ExpectedCause(
        "config-duplicate",
        21,
        "line 1 of /etc/ecs/ecs.config sets `ECS_CLUSTER`, and line 2 sets it to another value",
    )
    .check(&instance, &outcome);
    is_cause("config-duplicate", "ECS_CLUSTER=prod\nECS_CLUSTER=\n", "line 2 sets it to another value");
    is_note("config-duplicate", "ECS_LOGLEVEL=debug\nECS_LOGLEVEL=debug\n", "line 2 repeats it");
    is_note("config-duplicate", "ECS_LOGLEVEL=debug\nECS_LOGLEVEL=info\n", "line 2 sets it to another value");
}

#[test]
fn a_cluster_in_a_file_that_the_agent_does_not_read_is_reported() {
    for path in ["etc/ecs.config", "etc/ecs/config", "etc/ecs/ecs.conf", "etc/ecs/ecs.config.txt", "etc/ecs/ecs_config"]
    {
        let instance = Instance::new().without_tags().file(path, "ECS_CLUSTER=prod\n").user_data(USER_DATA);
        ExpectedCause("config-wrong-file", 21, &format!("line 1 of /{path} names `prod`"))
            .check(&instance, &run(&instance, &["tags.wait=1s"]));
    }
    let instance = Instance::new().file("etc/ecs.config", "ECS_CLUSTER=prod\n");
    joined(&instance, "");
    ExpectedCause("config-wrong-file", 21, "the agent does not read that file")
        .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
    let instance = Instance::new().file("etc/ecs.config", "ECS_CLUSTER=prod\n");
    ExpectedNote("config-wrong-file", "/etc/ecs.config").check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_file_of_the_image_that_ecs_config_overrides_is_reported() {
    let instance = Instance::new().cluster("old", &[]).file("var/lib/ecs/ecs.config", "ECS_CLUSTER=prod\n");
    joined(&instance, "ECS_CLUSTER=old\n");
    ExpectedCause(
        "config-wrong-file",
        21,
        "/var/lib/ecs/ecs.config names `prod`, but line 1 of /etc/ecs/ecs.config overrides it",
    )
    .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_backup_copy_of_the_file_is_not_a_cause() {
    let instance =
        Instance::new().without_tags().file("etc/ecs/ecs.config.bak", "ECS_CLUSTER=prod\n").user_data(USER_DATA);
    let outcome = run(&instance, &["tags.wait=1s"]);
    ExpectedCause("no-cluster-named", 21, "mentions a cluster").check(&instance, &outcome);
}

#[test]
fn a_file_written_after_the_agent_started_is_reported() {
    let instance = Instance::new().user_data(USER_DATA);
    joined(&instance, "");
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    instance
        .systemd
        .change_unit("ecs.service", |unit| unit.exec_main_start = u64::try_from(before.as_micros()).unwrap());
    std::thread::sleep(Duration::from_millis(20));
    instance.disk.write(CONFIG, "ECS_CLUSTER=prod\n");
    let outcome = verify(&instance, &["verify.deadline=20s"]);
    ExpectedCause("config-late", 21, "/etc/ecs/ecs.config was written at ").check(&instance, &outcome);
    assert!(outcome.stderr.contains("in cluster `default`; the expected cluster is `prod`"), "{}", outcome.stderr);
}

#[test]
fn a_file_older_than_the_agent_is_not_reported_as_late() {
    let instance = Instance::new().cluster("old", &[]);
    joined(&instance, "ECS_CLUSTER=old\n");
    ExpectedCause("cluster-other-than-wanted", 21, "in cluster `old`; the expected cluster is `prod`")
        .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
}

#[test]
fn crlf_line_ends_are_a_note() {
    let instance = Instance::new().without_tags().ecs_config("ECS_CLUSTER=prod\r\nECS_LOGLEVEL=debug\r\n");
    ExpectedNote("config-crlf", "line 1 of /etc/ecs/ecs.config ends in CR LF")
        .check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn quoted_json_is_reported_as_quoted() {
    let instance = Instance::new().ecs_config("ECS_CLUSTER=prod\nECS_INSTANCE_ATTRIBUTES='{\"tier\":\"web\"}'\n");
    let outcome = run(&instance, &[]);
    ExpectedCause("config-bad-json", 20, "in ecs.config, `ECS_INSTANCE_ATTRIBUTES` takes a JSON object of strings")
        .check(&instance, &outcome);
    assert!(outcome.stderr.contains("on line 2 of /etc/ecs/ecs.config is quoted"), "{}", outcome.stderr);
}

#[test]
fn json_of_another_type_is_reported_as_json() {
    let instance = Instance::new().ecs_config("ECS_CLUSTER=prod\nECS_INSTANCE_ATTRIBUTES=[\"web\"]\n");
    ExpectedCause("config-bad-json", 20, "it is a list, not an object").check(&instance, &run(&instance, &[]));
}

#[test]
fn a_value_that_the_agent_ignores_is_a_note() {
    for (line, seen) in [
        ("ECS_CONTAINER_STOP_TIMEOUT=120", "`120` has no unit"),
        ("ECS_LOGLEVEL=DEBUG", "did you mean `debug`?"),
        ("ECS_CHECKPOINT=yes", "does not know `yes`"),
        ("ECS_AVAILABLE_LOGGING_DRIVERS=[json-file,awslogs]", "double quotes are missing"),
        ("ECS_AVAILABLE_LOGGING_DRIVERS=fluentd", "did you mean `[\"fluentd\"]`?"),
        ("ECS_DATADIR=/data # mine", "a comment cannot follow"),
        ("ECS_ENGINE_AUTH_DATA={\"auths\":{\"r\":{\"auth\":\"hunter2\"}}}", "docker's `config.json`"),
    ] {
        let instance = Instance::new().ecs_config(format!("ECS_CLUSTER=prod\n{line}\n"));
        let outcome = run(&instance, &["verify.deadline=20s"]);
        ExpectedNote("config-value-ignored", seen).check(&outcome);
        assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains("hunter2"), "{line}");
    }
}

#[test]
fn a_secret_in_a_malformed_line_is_never_shown() {
    let secrets = "export AWS_SECRET_ACCESS_KEY=hunter2\nECS_ENGINE_AUTH_DATA =hunter2\nECS_ENGINE_AUTH_DATTA=hunter2\n\
                   HTTP_PROXY=\"http://u:hunter2@p:1\"\nECS_CLUSTER\u{200b}=hunter2 hunter2\n";
    let instance = Instance::new().ecs_config(secrets);
    let outcome = run(&instance, &["verify.deadline=20s"]);
    let output = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(output.contains("ECS_ENGINE_AUTH_DATA") && !output.contains("hunter2"), "{output}");
}

#[test]
fn an_agent_that_joined_default_because_of_a_malformed_line_is_reported() {
    let instance = Instance::new().without_tags().tag("Name", "web").user_data(USER_DATA).user_data_runs();
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    joined(&instance, "export ECS_CLUSTER=prod\n");
    let verify = instance.start(&["verify"]);
    std::thread::sleep(Duration::from_millis(500));
    instance.user_data_ends();
    ExpectedCause("config-export", 21, "in `default`, which nothing has named")
        .check(&instance, &Outcome { duration: Duration::ZERO, ..verify.wait() });
}

#[test]
fn a_malformed_line_with_another_cluster_is_not_the_cause() {
    let (instance, outcome) = in_default("export ECS_CLUSTER=stage\nECS_CLUSTR=stage\n");
    ExpectedCause("joined-default", 21, "in cluster `default`; the expected cluster is `prod`")
        .check(&instance, &outcome);
}
