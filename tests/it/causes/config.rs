//! Causes that lie in the bytes of `ecs.config`: each with its effect, and as a note where the instance is where it should
//! be. See `causes.rs`.

use super::{Names, Notes, is_ready, joined, run, verify};
use crate::support::{Instance, Outcome};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CONFIG: &str = "etc/ecs/ecs.config";
const USER_DATA: &str = "#!/bin/sh\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config\n";

/// Nothing but this file says which cluster; user data wrote it, and has ended.
fn nobody_else(text: impl AsRef<[u8]>) -> (Instance, Outcome) {
    let instance = Instance::new().without_tags().ecs_config(text).user_data(USER_DATA);
    let outcome = run(&instance, &["tags.wait=1s"]);
    (instance, outcome)
}

/// The agent started with this file and is in `default`; the tag wants `prod`.
fn in_default(text: &str) -> (Instance, Outcome) {
    let instance = Instance::new().user_data(USER_DATA);
    joined(&instance, text);
    let outcome = verify(&instance, &["verify.deadline=20s"]);
    (instance, outcome)
}

fn names(id: &str, line: &str, seen: &str) {
    let (instance, outcome) = nobody_else(line);
    Names(id, 21, seen).check(&instance, &outcome);
    assert!(outcome.stderr.contains("seen: the instance has no tag"), "{}", outcome.stderr);
    assert_eq!(instance.disk.text(CONFIG), line);
    let (instance, outcome) = in_default(line);
    Names(id, 21, seen).check(&instance, &outcome);
    assert!(outcome.stderr.contains("in `default`; wanted is `prod`"), "{}", outcome.stderr);
}

/// The same beside a line that is right.
fn notes(id: &str, line: &str, seen: &str) {
    let instance = Instance::new().ecs_config(format!("{line}ECS_CLUSTER=prod\n"));
    Notes(id, seen).check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_cluster_in_quotes_is_told_with_its_line() {
    let (instance, outcome) = nobody_else("# mine\nECS_CLUSTER=\"prod\"\n");
    Names("config-quoted", 21, "`ECS_CLUSTER` on line 2 of /etc/ecs/ecs.config stands in quotes")
        .check(&instance, &outcome);
    assert_eq!(instance.disk.text(CONFIG), "# mine\nECS_CLUSTER=\"prod\"\n");
    notes("config-quoted", "ECS_LOGLEVEL=\"debug\"\n", "the value of `ECS_LOGLEVEL` on line 1");
}

#[test]
fn a_quote_that_user_data_writes_is_told_when_it_has_ended() {
    let instance = Instance::new().without_tags().tag("Name", "web").user_data(USER_DATA).user_data_runs();
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    let verify = instance.start(&["verify"]);
    std::thread::sleep(Duration::from_millis(500));
    instance.disk.write(CONFIG, "ECS_CLUSTER='prod'\n");
    instance.user_data_ends();
    Names("config-quoted", 21, "stands in quotes")
        .check(&instance, &Outcome { duration: Duration::ZERO, ..verify.wait() });
}

#[test]
fn a_name_that_cannot_be_one_is_not_called_quoted() {
    let (instance, outcome) = nobody_else("ECS_CLUSTER=\"prod\n");
    Names("cluster-name-invalid", 21, "/etc/ecs/ecs.config").check(&instance, &outcome);
    let (instance, outcome) = nobody_else("ECS_CLUSTER=${cluster}\n");
    Names("cluster-name-invalid", 21, "`${cluster}`").check(&instance, &outcome);
}

#[test]
fn an_exported_cluster_is_told() {
    names("config-export", "export ECS_CLUSTER=prod\n", "`export` stands before `ECS_CLUSTER` on line 1");
    notes("config-export", "export ECS_CLUSTER=old\n", "`export` stands before `ECS_CLUSTER` on line 1");
}

#[test]
fn a_blank_before_the_sign_is_told_and_one_after_it_is_none() {
    names("config-spaces", "ECS_CLUSTER =prod\n", "blanks stand before the `=` of `ECS_CLUSTER` on line 1");
    notes("config-spaces", "ECS_LOGLEVEL = debug\n", "`ECS_LOGLEVEL` on line 1");
    let instance = Instance::new().without_tags().ecs_config("ECS_CLUSTER= prod\n");
    is_ready(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_misspelt_cluster_is_told_and_a_key_of_somebody_elses_is_not() {
    names("config-key-misspelt", "ECS_Cluster=prod\n", "sets `ECS_Cluster`; the variable is `ECS_CLUSTER`");
    names("config-key-misspelt", "CLUSTER=prod\n", "sets `CLUSTER`; the variable is `ECS_CLUSTER`");
    notes("config-key-misspelt", "ECS_LOGLEVL=debug\n", "the variable is `ECS_LOGLEVEL`");
    let (instance, outcome) = nobody_else("ECS_SOMETHING_NEW=prod\n#ECS_CLUSTER=prod\n");
    Names("no-cluster-named", 21, "user data is a script, and speaks of a cluster").check(&instance, &outcome);
}

#[test]
fn a_line_that_the_agent_cannot_read_is_told() {
    names("config-unreadable-key", "\u{feff}ECS_CLUSTER=prod\n", "a byte order mark is part of the key");
    names("config-unreadable-key", "ECS_CLUSTER: prod\n", "the line has no `=`");
    let utf_16: Vec<u8> = "\u{feff}ECS_CLUSTER=prod\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (instance, outcome) = nobody_else(utf_16);
    Names("config-unreadable-key", 21, "the file is UTF-16").check(&instance, &outcome);
    notes("config-unreadable-key", "\u{feff}ECS_LOGLEVEL=debug\n", "means `ECS_LOGLEVEL`");
}

#[test]
fn a_later_line_that_wins_is_told() {
    let instance = Instance::new().cluster("old", &[]).user_data(USER_DATA);
    joined(&instance, "ECS_CLUSTER=prod\nECS_CLUSTER=old\n");
    let outcome = verify(&instance, &["verify.deadline=20s"]);
    Names("config-duplicate", 21, "line 1 of /etc/ecs/ecs.config sets `ECS_CLUSTER`, and line 2 sets it otherwise")
        .check(&instance, &outcome);
    names("config-duplicate", "ECS_CLUSTER=prod\nECS_CLUSTER=\n", "line 2 sets it otherwise");
    notes("config-duplicate", "ECS_LOGLEVEL=debug\nECS_LOGLEVEL=debug\n", "line 2 says the same again");
    notes("config-duplicate", "ECS_LOGLEVEL=debug\nECS_LOGLEVEL=info\n", "line 2 sets it otherwise");
}

#[test]
fn a_cluster_in_a_file_that_nobody_reads_is_told() {
    for path in ["etc/ecs.config", "etc/ecs/config", "etc/ecs/ecs.conf", "etc/ecs/ecs.config.txt", "etc/ecs/ecs_config"]
    {
        let instance = Instance::new().without_tags().file(path, "ECS_CLUSTER=prod\n").user_data(USER_DATA);
        Names("config-wrong-file", 21, &format!("line 1 of /{path} names `prod`"))
            .check(&instance, &run(&instance, &["tags.wait=1s"]));
    }
    let instance = Instance::new().file("etc/ecs.config", "ECS_CLUSTER=prod\n");
    joined(&instance, "");
    Names("config-wrong-file", 21, "the agent does not read that file")
        .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
    let instance = Instance::new().file("etc/ecs.config", "ECS_CLUSTER=prod\n");
    Notes("config-wrong-file", "/etc/ecs.config").check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_file_of_the_image_that_the_other_overrides_is_told() {
    let instance = Instance::new().cluster("old", &[]).file("var/lib/ecs/ecs.config", "ECS_CLUSTER=prod\n");
    joined(&instance, "ECS_CLUSTER=old\n");
    Names(
        "config-wrong-file",
        21,
        "/var/lib/ecs/ecs.config names `prod`, and line 1 of /etc/ecs/ecs.config overrides it",
    )
    .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_copy_of_the_file_is_no_cause() {
    let instance =
        Instance::new().without_tags().file("etc/ecs/ecs.config.bak", "ECS_CLUSTER=prod\n").user_data(USER_DATA);
    let outcome = run(&instance, &["tags.wait=1s"]);
    Names("no-cluster-named", 21, "speaks of a cluster").check(&instance, &outcome);
}

#[test]
fn a_file_that_is_younger_than_the_agent_is_told() {
    let instance = Instance::new().user_data(USER_DATA);
    joined(&instance, "");
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    instance
        .systemd
        .change_unit("ecs.service", |unit| unit.exec_main_start = u64::try_from(before.as_micros()).unwrap());
    std::thread::sleep(Duration::from_millis(20));
    instance.disk.write(CONFIG, "ECS_CLUSTER=prod\n");
    let outcome = verify(&instance, &["verify.deadline=20s"]);
    Names("config-late", 21, "/etc/ecs/ecs.config was written at ").check(&instance, &outcome);
    assert!(outcome.stderr.contains("in `default`; wanted is `prod`"), "{}", outcome.stderr);
}

#[test]
fn an_agent_elsewhere_with_a_file_that_is_older_is_not_called_late() {
    let instance = Instance::new().cluster("old", &[]);
    joined(&instance, "ECS_CLUSTER=old\n");
    Names("cluster-other-than-wanted", 21, "in `old`; wanted is `prod`")
        .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
}

#[test]
fn line_ends_of_windows_are_a_note() {
    let instance = Instance::new().without_tags().ecs_config("ECS_CLUSTER=prod\r\nECS_LOGLEVEL=debug\r\n");
    Notes("config-crlf", "line 1 of /etc/ecs/ecs.config ends in CR LF")
        .check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn json_in_quotes_is_told_as_such() {
    let instance = Instance::new().ecs_config("ECS_CLUSTER=prod\nECS_INSTANCE_ATTRIBUTES='{\"tier\":\"web\"}'\n");
    let outcome = run(&instance, &[]);
    Names("config-bad-json", 20, "in ecs.config `ECS_INSTANCE_ATTRIBUTES` takes a JSON object of strings")
        .check(&instance, &outcome);
    assert!(outcome.stderr.contains("on line 2 of /etc/ecs/ecs.config stands in quotes"), "{}", outcome.stderr);
}

#[test]
fn json_of_another_form_is_not_called_no_json() {
    let instance = Instance::new().ecs_config("ECS_CLUSTER=prod\nECS_INSTANCE_ATTRIBUTES=[\"web\"]\n");
    Names("config-bad-json", 20, "it is a list, not an object").check(&instance, &run(&instance, &[]));
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
        Notes("config-value-ignored", seen).check(&outcome);
        assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains("hunter2"), "{line}");
    }
}

#[test]
fn a_secret_in_an_odd_line_is_never_shown() {
    let secrets = "export AWS_SECRET_ACCESS_KEY=hunter2\nECS_ENGINE_AUTH_DATA =hunter2\nECS_ENGINE_AUTH_DATTA=hunter2\n\
                   HTTP_PROXY=\"http://u:hunter2@p:1\"\nECS_CLUSTER\u{200b}=hunter2 hunter2\n";
    let instance = Instance::new().ecs_config(secrets);
    let outcome = run(&instance, &["verify.deadline=20s"]);
    let told = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(told.contains("ECS_ENGINE_AUTH_DATA") && !told.contains("hunter2"), "{told}");
}

#[test]
fn an_agent_that_went_to_default_past_an_odd_line_is_told_though_nothing_else_names_a_cluster() {
    let instance = Instance::new().without_tags().tag("Name", "web").user_data(USER_DATA).user_data_runs();
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(0));
    joined(&instance, "export ECS_CLUSTER=prod\n");
    let verify = instance.start(&["verify"]);
    std::thread::sleep(Duration::from_millis(500));
    instance.user_data_ends();
    Names("config-export", 21, "in `default`, which nobody named")
        .check(&instance, &Outcome { duration: Duration::ZERO, ..verify.wait() });
}

#[test]
fn an_odd_line_that_names_another_cluster_than_the_wanted_one_is_not_blamed() {
    let (instance, outcome) = in_default("export ECS_CLUSTER=stage\nECS_CLUSTR=stage\n");
    Names("joined-default", 21, "in `default`; wanted is `prod`").check(&instance, &outcome);
}
