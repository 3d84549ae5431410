//! Remedies of settings, `ecs.config`, user data and cloud-init.

use super::Shown::{ByNote, ByVerify};
use super::Step::{Replace, Reset, RestartAgent, Run};
use super::{Row, config, fault, in_cluster, joined, nothing};
use crate::support::Instance;
use crate::support::disk::Disk;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CONFIG: &str = "etc/ecs/ecs.config";
const SCRIPT: &str = "#!/bin/bash\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config\n";
const FAILED: &str = r#"{"v1": {"datasource": "DataSourceEc2Local", "errors": ["('users_groups', KeyError('x'))"]}}"#;

/// The fault keeps `run` from naming a cluster.
const fn unnamed(id: &'static str, make: super::Change, says: &'static str) -> Row {
    Row::new(id, make, says, cluster_line, &[Run])
}

/// The agent has joined `default` because of this line.
const fn in_default(id: &'static str, make: super::Change, says: &'static str) -> Row {
    Row::new(id, make, says, cluster_line, &[Reset]).shown(ByVerify)
}

/// The fault is in user data, which runs once.
const fn of_user_data(id: &'static str, says: &'static str, make: super::Change) -> Row {
    Row::new(id, make, says, launched_again, &[Replace])
}

/// `ecs.config` has a line that is only reported.
const fn note(id: &'static str, make: super::Change, says: &'static str, mend: super::Change) -> Row {
    Row::new(id, make, says, mend, &[]).shown(ByNote)
}

pub(super) const ROWS: &[Row] = &[
    Row::new("setting-invalid", |i| fault(i, "setting-invalid"), "correct it at the place", settings, &[Run]),
    Row::new(
        "ecs-anywhere",
        |i| fault(i, "ecs-anywhere"),
        "remove ECS_EXTERNAL",
        |i| i.file("var/lib/ecs/ecs.config", "AWS_DEFAULT_REGION=eu-west-1\n"),
        &[Run],
    ),
    Row::new(
        "ecs-config-unusable",
        |i| fault(i, "ecs-config-unusable"),
        "or remove it",
        |i| {
            i.disk.remove(CONFIG);
            i
        },
        &[Run],
    ),
    Row::new(
        "config-bad-json",
        |i| fault(i, "config-bad-json"),
        "JSON on one line, without quotes",
        |i| config(i, "ECS_CLUSTER=prod\nECS_INSTANCE_ATTRIBUTES={\"tier\": \"web\"}\n"),
        &[],
    ),
    Row::new(
        "config-bad-json",
        driver,
        "name only logging drivers that the agent knows",
        |i| config(i, "ECS_CLUSTER=prod\nECS_AVAILABLE_LOGGING_DRIVERS=[\"json-file\"]\n"),
        &[RestartAgent],
    )
    .lasts_while(|disk| disk.text(CONFIG).contains("carrierpigeon")),
    Row::new(
        "agent-json-invalid",
        |i| fault(i, "agent-json-invalid"),
        "correct or remove /etc/ecs/ecs.config.json",
        |i| i.file("etc/ecs/ecs.config.json", ""),
        &[RestartAgent],
    )
    .lasts_while(|disk| !disk.text("etc/ecs/ecs.config.json").is_empty()),
    Row::new(
        "reserved-memory-too-high",
        |i| fault(i, "reserved-memory-too-high"),
        "set ECS_RESERVED_MEMORY in /etc/ecs/ecs.config",
        |i| config(i, "ECS_CLUSTER=prod\nECS_RESERVED_MEMORY=256\n"),
        &[RestartAgent],
    )
    .lasts_while(|disk| disk.text(CONFIG).contains("=9000")),
    Row::new(
        "docker-host-wrong",
        |i| fault(i, "docker-host-wrong"),
        "remove DOCKER_HOST from /etc/ecs/ecs.config",
        cluster_line,
        &[RestartAgent],
    )
    .lasts_while(|disk| disk.text(CONFIG).contains("DOCKER_HOST")),
    Row::new(
        "endpoint-override",
        |i| fault(i, "endpoint-override"),
        "remove the variable that the evidence names",
        cluster_line,
        &[RestartAgent],
    )
    .lasts_while(|disk| disk.text(CONFIG).contains("ECS_BACKEND_HOST")),
    Row::new(
        "credentials-override",
        |i| fault(i, "credentials-override"),
        "remove AWS_ACCESS_KEY_ID",
        cluster_line,
        &[RestartAgent],
    )
    .lasts_while(has_key),
    Row::new(
        "ca-bundle-invalid",
        |i| fault(i, "ca-bundle-invalid"),
        "or unset it",
        |i| i.env("AWS_CA_BUNDLE", ""),
        &[Run],
    ),
    unnamed("config-quoted", |i| fault(i, "config-quoted"), "write `ECS_CLUSTER=NAME`"),
    unnamed("config-export", |i| fault(i, "config-export"), "remove the word `export`"),
    unnamed("config-spaces", |i| fault(i, "config-spaces"), "without spaces"),
    unnamed("config-key-misspelt", |i| fault(i, "config-key-misspelt"), "write the key as the agent expects it"),
    unnamed("config-unreadable-key", |i| fault(i, "config-unreadable-key"), "with a line `ECS_CLUSTER=NAME`"),
    unnamed("config-duplicate", |i| fault(i, "config-duplicate"), "keep one line for each key"),
    unnamed("config-wrong-file", |i| fault(i, "config-wrong-file"), "name the cluster in `/etc/ecs/ecs.config`"),
    unnamed("cluster-name-invalid", |i| fault(i, "cluster-name-invalid"), "write the plain name"),
    in_default("config-export", |i| default_by(i, "export ECS_CLUSTER=prod\n"), "remove the word `export`"),
    in_default("config-spaces", |i| default_by(i, "ECS_CLUSTER =prod\n"), "without spaces"),
    in_default("config-key-misspelt", |i| default_by(i, "ECS_CLUSTR=prod\n"), "write the key as the agent expects it"),
    in_default("config-unreadable-key", |i| default_by(i, "ECS_CLUSTER: prod\n"), "with a line `ECS_CLUSTER=NAME`"),
    in_default("config-duplicate", |i| default_by(i, "ECS_CLUSTER=prod\nECS_CLUSTER=\n"), "keep one line for each key"),
    in_default(
        "config-wrong-file",
        |i| default_by(i.file("etc/ecs.config", "ECS_CLUSTER=prod\n"), ""),
        "in no other file",
    ),
    Row::new("config-late", written_late, "a restart is not enough", nothing, &[Reset]).shown(ByVerify),
    Row::new("joined-default", |i| default_by(i, ""), "deregister the instance from `default`", cluster_line, &[Reset])
        .shown(ByVerify),
    Row::new(
        "cluster-other-than-wanted",
        |i| in_cluster(i, "old"),
        "deregister the instance from the other cluster",
        cluster_line,
        &[Reset],
    )
    .shown(ByVerify),
    note(
        "config-value-ignored",
        |i| config(i, "ECS_CLUSTER=prod\nECS_CHECKPOINT=yes\n"),
        "correct the line",
        cluster_line,
    ),
    note("config-crlf", |i| config(i, "ECS_CLUSTER=prod\r\n"), "`sed -i 's/\\r$//' /etc/ecs/ecs.config`", cluster_line),
    Row::new(
        "no-cluster-named",
        |i| fault(i, "no-cluster-named"),
        "tag the instance with `ecs-bootstrap:cluster`",
        tag,
        &[Run],
    ),
    Row::new(
        "no-cluster-named",
        |i| fault(i, "no-cluster-named"),
        "set `cluster` in `/etc/ecs-bootstrap/config.toml`",
        settings,
        &[Run],
    ),
    Row::new(
        "user-data-absent",
        |i| fault(i, "user-data-absent"),
        "tag the instance with `ecs-bootstrap:cluster`",
        tag,
        &[Run],
    ),
    Row::new("user-data-not-rerun", changed, "or name the cluster with a tag or a setting", tag, &[Run]),
    of_user_data("user-data-not-rerun", "launch a new instance", changed),
    of_user_data("user-data-failed", "fix the command that failed", |i| fault(i, "user-data-failed")),
    of_user_data("user-data-not-recognised", "put the marker", |i| fault(i, "user-data-not-recognised")),
    of_user_data("user-data-double-base64", "encode it once", |i| fault(i, "user-data-double-base64")),
    of_user_data("user-data-mime-broken", "create it with `cloud-init devel make-mime`", |i| {
        fault(i, "user-data-mime-broken")
    }),
    of_user_data("imds-v1-client", "get a token first", |i| {
        let script = "#!/bin/bash\nC=$(curl -s http://169.254.169.254/latest/meta-data/tags/instance/cluster)\n\
                      echo ECS_CLUSTER=$C >> /etc/ecs/ecs.config\n";
        i.without_tags().user_data(script).ecs_config("ECS_CLUSTER=\n")
    }),
    of_user_data("datasource-none", "cloud-init does not look again", |i| fault(i, "datasource-none")),
    of_user_data("cloud-init-failed", "/var/log/cloud-init.log", |i| {
        i.without_tags().user_data(SCRIPT).file("run/cloud-init/result.json", FAILED)
    }),
];

/// The file as the remedy wants it: one plain line.
fn cluster_line(instance: Instance) -> Instance {
    instance.disk.remove("etc/ecs.config");
    config(instance, "ECS_CLUSTER=prod\n")
}

fn settings(instance: Instance) -> Instance {
    instance.setting_file("etc/ecs-bootstrap/config.toml", "cluster = \"prod\"\n")
}

fn tag(instance: Instance) -> Instance {
    instance.tag("ecs-bootstrap:cluster", "prod")
}

/// A new instance, whose user data is right and has run.
fn launched_again(_: Instance) -> Instance {
    Instance::new().without_tags().user_data(SCRIPT).ecs_config("ECS_CLUSTER=prod\n")
}

fn default_by(instance: Instance, text: &str) -> Instance {
    let instance = instance.user_data(SCRIPT);
    joined(&instance, text);
    instance
}

fn driver(instance: Instance) -> Instance {
    let text = "Invalid logging drivers: [\"carrierpigeon\"]";
    let instance = instance.agent_behaves(|agent| agent.exits = Some((1, "Error loading config", text)));
    config(instance, "ECS_AVAILABLE_LOGGING_DRIVERS=[\"carrierpigeon\"]\n")
}

pub(super) fn has_key(disk: &Disk) -> bool {
    disk.text(CONFIG).contains("AWS_ACCESS_KEY_ID")
}

fn written_late(instance: Instance) -> Instance {
    let instance = default_by(instance, "");
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let started = u64::try_from(started.as_micros()).unwrap();
    instance.systemd.change_unit("ecs.service", |unit| unit.exec_main_start = started);
    std::thread::sleep(Duration::from_millis(20));
    config(instance, "ECS_CLUSTER=prod\n")
}

fn changed(instance: Instance) -> Instance {
    let instance = instance.without_tags().user_data(SCRIPT);
    let instance = instance.file("var/lib/cloud/instance/user-data.txt", "#!/bin/sh\necho before\n");
    instance.file("var/lib/cloud/instance/sem/config_scripts_user", "7: done\n")
}
