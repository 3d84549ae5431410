//! Settings of all nine ranks: which one wins, which source the plan shows, and which values are refused.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::{Instance, Outcome};

const CONFIG: &str = "etc/ecs-bootstrap/config.toml";

fn planned(instance: &Instance, arguments: &[&str]) -> Value {
    let outcome = instance.run(&[&["plan", "--json"], arguments].concat());
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    serde_json::from_str(&outcome.stdout).expect("a JSON document on stdout")
}

/// The name of the cluster, and the `kind`, `where` and `key` of its source.
fn cluster(plan: &Value) -> [&str; 4] {
    let source = &plan["cluster"]["source"];
    [&plan["cluster"]["value"], &source["kind"], &source["where"], &source["key"]].map(|field| field.as_str().unwrap())
}

/// The value of a planned key, and the `kind` of its source.
fn key<'p>(plan: &'p Value, name: &str) -> Option<(&'p str, &'p str)> {
    let keys = plan["ecs_config"]["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["key"] == name)?;
    Some((key["value"].as_str().unwrap(), key["source"]["kind"].as_str().unwrap()))
}

fn refused(instance: &Instance, arguments: &[&str]) -> Outcome {
    let outcome = instance.run(&[&["plan"], arguments].concat());
    assert_eq!(outcome.code, Some(20), "{}\n{}", outcome.stdout, outcome.stderr);
    outcome
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn named_by_user_data(bytes: impl Into<Vec<u8>>) -> Value {
    planned(&Instance::new().user_data(bytes), &[])
}

#[test]
fn each_rank_wins_over_the_one_below() {
    let mut instance = Instance::new().without_tags().tag("Name", "web");
    let above = |instance: &Instance, expected: [&str; 4]| assert_eq!(cluster(&planned(instance, &[])), expected);
    instance = instance.file("var/lib/ecs/ecs.config", "ECS_CLUSTER=below\n");
    above(&instance, ["below", "ecs-config", "/var/lib/ecs/ecs.config", "ECS_CLUSTER"]);
    instance = instance.ecs_config("ECS_CLUSTER=file\n");
    above(&instance, ["file", "ecs-config", "/etc/ecs/ecs.config", "ECS_CLUSTER"]);
    instance = instance.setting_file("usr/lib/ecs-bootstrap/config.d/10-image.toml", "cluster = \"vendor\"\n");
    let path = "/usr/lib/ecs-bootstrap/config.d/10-image.toml:1:11";
    above(&instance, ["vendor", "vendor", path, "cluster"]);
    instance = instance.setting_file("usr/lib/ecs-bootstrap/config.d/20-image.toml", "\ncluster = \"later\"\n");
    above(&instance, ["later", "vendor", "/usr/lib/ecs-bootstrap/config.d/20-image.toml:2:11", "cluster"]);
    instance = instance.setting_file(CONFIG, "cluster = \"config\"\n");
    above(&instance, ["config", "config", "/etc/ecs-bootstrap/config.toml:1:11", "cluster"]);
    instance = instance.setting_file("etc/ecs-bootstrap/config.d/10.toml", "cluster = \"more\"\n");
    above(&instance, ["more", "config", "/etc/ecs-bootstrap/config.d/10.toml:1:11", "cluster"]);
    instance = instance.tag("ecs-bootstrap:cluster", "tag");
    above(&instance, ["tag", "instance-tag", "IMDS", "ecs-bootstrap:cluster"]);
    instance = instance.user_data("#ecs-bootstrap\ncluster = \"data\"\n");
    above(&instance, ["data", "user-data", "user data:2:11", "cluster"]);
    instance = instance.env("ECS_BOOTSTRAP_CLUSTER", "environment");
    above(&instance, ["environment", "environment", "environment", "ECS_BOOTSTRAP_CLUSTER"]);
    let plan = planned(&instance, &["--cluster", "command-line"]);
    assert_eq!(cluster(&plan), ["command-line", "command-line", "command line", "--cluster"]);
}

#[test]
fn cluster_tags_rank_between_files_and_instance_tags() {
    let chosen = || {
        Instance::new()
            .without_tags()
            .tag("ecs-bootstrap:cluster-tags", "env=prod")
            .cluster("b", &[("env", "prod"), ("ecs-bootstrap:ECS_LOGLEVEL", "warn")])
            .setting_file(CONFIG, "[agent]\nECS_LOGLEVEL = \"error\"\n")
    };
    let plan = planned(&chosen(), &[]);
    assert_eq!(cluster(&plan), ["b", "cluster-tags", "ecs:DescribeClusters", "`env=prod`"]);
    assert_eq!(key(&plan, "ECS_LOGLEVEL"), Some(("warn", "cluster-tag")));
    let plan = planned(&chosen().tag("ecs-bootstrap:ECS_LOGLEVEL", "debug"), &[]);
    assert_eq!(key(&plan, "ECS_LOGLEVEL"), Some(("debug", "instance-tag")));
}

#[test]
fn a_default_names_the_fact_it_is_derived_from() {
    let instance = Instance::new();
    instance.imds.change(|imds| imds.life_cycle = "spot".into());
    let plan = planned(&instance, &[]);
    let keys = plan["ecs_config"]["keys"].as_array().unwrap();
    let spot = keys.iter().find(|key| key["key"] == "ECS_ENABLE_SPOT_INSTANCE_DRAINING").unwrap();
    assert_eq!(spot["source"], json!({"kind": "default", "where": "life cycle `spot`", "key": "derive.spot"}));
}

#[test]
fn reads_settings_from_user_data_in_every_encoding() {
    let whole = "#ecs-bootstrap\ncluster = \"data\"\n";
    let mime = "Content-Type: multipart/mixed; boundary=\"==x==\"\nMIME-Version: 1.0\n\n--==x==\nContent-Type: \
                text/x-shellscript; charset=\"us-ascii\"\n\n#!/bin/sh\necho hunter2\n\n--==x==\nContent-Type: \
                text/x-ecs-bootstrap\n\ncluster = \"data\"\n--==x==--\n";
    for document in [whole, mime] {
        let bytes = document.as_bytes();
        let wrapped = [
            bytes.to_vec(),
            gzip(bytes),
            STANDARD.encode(bytes).into_bytes(),
            STANDARD.encode(gzip(bytes)).into_bytes(),
        ];
        for bytes in wrapped {
            let plan = named_by_user_data(bytes);
            assert_eq!(cluster(&plan)[..2], ["data", "user-data"], "{document}");
            assert!(!plan.to_string().contains("hunter2"));
        }
    }
}

#[test]
fn other_user_data_is_ignored_and_not_quoted() {
    for text in
        ["#!/bin/sh\necho ECS_CLUSTER=hunter2 >> /etc/ecs/ecs.config\n", "hunter2 = \"", "#cloud-config\nhunter2: [\n"]
    {
        let outcome = Instance::new().user_data(text).run(&["plan", "--json", "-vvv"]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(!outcome.stdout.contains("hunter2") && !outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
        assert!(outcome.stdout.contains("\"prod\""), "{}", outcome.stdout);
    }
}

#[test]
fn an_error_in_settings_of_user_data_has_its_line() {
    let outcome = refused(&Instance::new().user_data("#ecs-bootstrap\nclustre = \"data\"\n"), &[]);
    assert!(outcome.stderr.contains("user data:2:1"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("`cluster`"), "{}", outcome.stderr);
    refused(&Instance::new().user_data("#ecs-bootstrap\n[tags]\nprefix = \"mine:\"\n"), &[]);
}

#[test]
fn reports_line_column_and_a_suggestion() {
    for (text, place, word) in [
        ("clustr = \"prod\"\n", "config.toml:1:1", "did you mean `cluster`"),
        ("cluster = \"prod\"\n[verify]\ndeadlin = \"5m\"\n", "config.toml:3:1", "did you mean `verify.deadline`"),
        ("[verify]\ndeadline = 5\n", "config.toml:2:12", "takes a duration"),
        ("cluster = \"two words\"\n", "config.toml:1:11", "takes a cluster name"),
        ("[agent]\nECS_RESERVED_MEMORY = \"much\"\n", "config.toml:2:23", "`ECS_RESERVED_MEMORY` takes"),
        ("cluster = prod\n", "config.toml:1:11", "error:"),
    ] {
        let outcome = refused(&Instance::new().setting_file(CONFIG, text), &[]);
        assert!(outcome.stderr.contains(place), "{text}\n{}", outcome.stderr);
        assert!(outcome.stderr.contains(word), "{text}\n{}", outcome.stderr);
    }
}

#[test]
fn an_invalid_variable_of_the_agent_does_not_show_its_value() {
    let text = "[agent]\nECS_ENGINE_AUTH_DATA = \"hunter2\"\n";
    let outcome = refused(&Instance::new().setting_file(CONFIG, text), &[]);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}

#[test]
fn an_unknown_variable_of_the_agent_is_a_warning() {
    let plan = planned(&Instance::new().setting_file(CONFIG, "[agent]\nECS_LOGLEVLE = \"debug\"\n"), &[]);
    assert_eq!(plan["warnings"][0]["id"], "agent-variable-unknown");
    assert!(plan["warnings"][0]["text"].as_str().unwrap().contains("`ECS_LOGLEVEL`"), "{plan}");
    assert_eq!(key(&plan, "ECS_LOGLEVLE"), Some(("<5 bytes>", "config")), "values of unknown variables may be secret");
}

#[test]
fn the_environment_spells_dots_and_hyphens() {
    let instance = Instance::new()
        .env("ECS_BOOTSTRAP_DERIVE__RESERVED_MEMORY", "300")
        .env("ECS_BOOTSTRAP_AGENT__ECS_LOGLEVEL", "debug")
        .env("ECS_BOOTSTRAP_VERIFY__DEADLINE", "5m");
    let plan = planned(&instance, &[]);
    assert_eq!(key(&plan, "ECS_RESERVED_MEMORY"), Some(("300", "environment")));
    assert_eq!(key(&plan, "ECS_LOGLEVEL"), Some(("debug", "environment")));
}

#[test]
fn an_unknown_or_invalid_ecs_bootstrap_variable_ends_with_20() {
    let outcome = refused(&Instance::new().env("ECS_BOOTSTRAP_CLUSTRE", "x"), &[]);
    for part in ["`ECS_BOOTSTRAP_CLUSTRE`", "did you mean `cluster`"] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    let outcome = refused(&Instance::new().env("ECS_BOOTSTRAP_VERIFY__DEADLINE", "soon"), &[]);
    assert!(outcome.stderr.contains("`ECS_BOOTSTRAP_VERIFY__DEADLINE`"), "{}", outcome.stderr);
    let outcome = Instance::new().env("ECS_BOOTSTRAP_CLUSTRE", "x").run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(20), "{}", outcome.stderr);
}

#[test]
fn only_files_decide_which_settings_tags_may_set() {
    let tagged = || Instance::new().tag("ecs-bootstrap:ECS_LOGLEVEL", "debug");
    let plan = planned(&tagged(), &["--set", "tags.settings=none"]);
    assert_eq!((cluster(&plan)[0], &plan["warnings"][0]["id"]), ("prod", &json!("tags-settings-ignored")));
    let plan = planned(&tagged().env("ECS_BOOTSTRAP_TAGS__SETTINGS", "none"), &[]);
    assert_eq!((cluster(&plan)[0], key(&plan, "ECS_LOGLEVEL")), ("prod", Some(("debug", "instance-tag"))));
    let only_cluster = tagged().setting_file(CONFIG, "tags.settings = \"cluster\"\n");
    let plan = planned(&only_cluster, &[]);
    assert_eq!((cluster(&plan)[0], key(&plan, "ECS_LOGLEVEL")), ("prod", None));
    assert_eq!(plan["warnings"][0]["id"], "tag-refused");
    let none = tagged().setting_file("usr/lib/ecs-bootstrap/config.d/1.toml", "tags.settings = \"none\"\n");
    assert_eq!(none.run(&["plan"]).code, Some(21));
    let plan = planned(&none, &["--set", "tags.settings=all", "--cluster", "dev"]);
    assert_eq!((cluster(&plan)[0], key(&plan, "ECS_LOGLEVEL")), ("dev", None));
}

#[test]
fn another_prefix_selects_other_tags() {
    let instance = Instance::new().tag("fleet.cluster", "dev");
    assert_eq!(cluster(&planned(&instance, &["--set", "tags.prefix=fleet."]))[0], "dev");
}

#[test]
fn a_tag_cannot_set_the_variable_ecs_cluster_or_hold_a_second_line() {
    let plan = planned(&Instance::new().tag("ecs-bootstrap:ECS_CLUSTER", "evil"), &[]);
    assert_eq!((cluster(&plan)[0], &plan["warnings"][0]["id"]), ("prod", &json!("tag-refused")));
    let outcome = refused(&Instance::new().tag("ecs-bootstrap:cluster", "prod\nECS_ENGINE_AUTH_TYPE=docker"), &[]);
    assert!(outcome.stderr.contains("ecs-bootstrap:cluster"), "{}", outcome.stderr);
}

#[test]
fn the_command_line_sets_any_setting_by_its_name() {
    let instance = Instance::new().cluster("a", &[("env", "prod"), ("team", "core")]).cluster("b", &[("env", "prod")]);
    let instance = instance.without_tags();
    let plan = planned(&instance, &["--cluster-tag", "env=prod", "--cluster-tag", "team=core"]);
    assert_eq!(cluster(&plan)[..2], ["a", "cluster-tags"]);
    let set = ["--set", "cluster=dev", "--set", "agent.ECS_LOGLEVEL=debug", "--set", "derive.propagate-tags=on"];
    let plan = planned(&instance, &set);
    assert_eq!(cluster(&plan), ["dev", "command-line", "command line", "--set cluster"]);
    assert_eq!(key(&plan, "ECS_LOGLEVEL"), Some(("debug", "command-line")));
    assert_eq!(key(&plan, "ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM"), Some(("ec2_instance", "command-line")));
    let outcome = refused(&instance, &["--set", "verify.deadlin=5m"]);
    assert!(outcome.stderr.contains("did you mean `verify.deadline`"), "{}", outcome.stderr);
    assert_eq!(instance.run(&["plan", "--set", "cluster"]).code, Some(2));
    assert_eq!(instance.run(&["plan", "--no-such-option"]).code, Some(2));
}

#[test]
fn a_settings_file_that_is_not_text_ends_with_20() {
    let instance = Instance::new().file(CONFIG, b"cluster = \"\xff\"\n");
    assert!(refused(&instance, &[]).stderr.contains("/etc/ecs-bootstrap/config.toml"));
}

#[test]
fn a_wrong_option_is_reported_with_its_form_and_a_redacted_value() {
    let run = |value: &str| Instance::new().run(&["plan", "--set", value]);
    let outcome = run("verify.deadline");
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    let expected = "error: invalid value `verify.deadline` for `--set <SETTING=VALUE>`: expected KEY=VALUE\n";
    assert_eq!(outcome.stderr, expected);
    let outcome = run("AWS_SECRET_ACCESS_KEY:wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY");
    assert!(outcome.stderr.contains("redacted") && !outcome.stderr.contains("wJalr"), "{outcome:#?}");
}
