//! Hostile files other than `ecs.config`: of other writers, docker, cloud-init, the agent, and ecs-bootstrap's records.
//!
//! In: texts of `payload`. Out: rows.

use std::os::unix::fs::symlink;

use super::{TextInput, quoted, text_input};
use crate::payload;
use crate::row::{ExpectedCodes, JOINS, OK, Row, SETTINGS};
use crate::support::Instance;
use crate::support::disk::AgentState;

/// The agent exits because its saved state has another cluster.
const SAVED: ExpectedCodes = ExpectedCodes::verify(&[13, 21, 23, 24]);

/// Files with lines like those of `ecs.config`.
const LIKE_CONFIG: [&str; 9] = [
    "var/lib/ecs/ecs.config",
    "etc/ecs.config",
    "etc/ecs.conf",
    "etc/default/ecs",
    "etc/sysconfig/ecs",
    "ecs.config",
    "etc/amazon/ecs/ecs.config",
    "etc/ecs/ecs.config.mine",
    "etc/ecs/other.env",
];

/// Text files of which one value is read: the path, and the text before and after the hostile text.
const AROUND: [(&str, &str, &str); 22] = [
    ("etc/docker/daemon.json", "{\"log-driver\": ", "}"),
    ("etc/sysconfig/docker", "HTTPS_PROXY=http://user:hunter2@127.0.0.1:9\nOTHER=", "\n"),
    (
        "etc/systemd/system/docker.service.d/proxy.conf",
        "[Service]\nEnvironment=\"HTTPS_PROXY=http://u:hunter2@127.0.0.1:9\" \"X=",
        "\"\n",
    ),
    (
        "etc/systemd/system/ecs.service.d/proxy.conf",
        "[Service]\nEnvironment=HTTPS_PROXY=http://u:hunter2@127.0.0.1:9\nX=",
        "\n",
    ),
    ("var/log/cloud-init-output.log", "/var/lib/cloud/instance/scripts/part-001: line 3: ", ": command not found\n"),
    (
        "var/log/audit/audit.log",
        "type=AVC msg=audit(1795858272.1:4): avc:  denied  { connectto } path=\"/run/docker.sock\" comm=\"",
        "\"\n",
    ),
    ("run/cloud-init/result.json", "{\"v1\": {\"datasource\": \"x\", \"errors\": [\"", "\"]}}"),
    ("run/cloud-init/status.json", "{\"v1\": {\"datasource\": \"", "\"}}"),
    ("var/lib/cloud/instance/user-data.txt", "#!/bin/sh\n", "\n"),
    ("var/lib/cloud/data/instance-id", "i-", "\n"),
    ("etc/os-release", "NAME=\"", "\"\n"),
    ("proc/sys/kernel/osrelease", "6.1.", "\n"),
    ("proc/sys/kernel/random/boot_id", "", "\n"),
    ("proc/meminfo", "MemTotal: 7938420 kB\nMemAvailable: ", " kB\n"),
    ("proc/uptime", "", " 1.0\n"),
    ("proc/pressure/memory", "some avg10=", " avg60=0.00\n"),
    ("proc/net/route", "Iface\tDestination\tGateway\n", "\t00000000\t0100000A\t0003\n"),
    ("proc/net/if_inet6", "fe80000000000000 02 40 20 80 ", "\n"),
    ("sys/fs/selinux/enforce", "1", "\n"),
    (
        "var/lib/ecs/data/ecs_agent_data.json",
        "{\"Data\": {\"Cluster\": \"",
        "\", \"EC2InstanceID\": \"i-0123456789abcdef0\"}, \"Version\": 1}",
    ),
    ("var/lib/ecs-bootstrap/signals.json", "{\"", "\": 1}"),
    ("etc/ecs/ecs.config.json", "{\"Cluster\": \"prod\", \"EngineAuthData\": \"", "\"}"),
];

fn records() -> Vec<TextInput> {
    vec![
        text_input("file/agent.db", JOINS, |instance, text| {
            saved(&instance, text, "i-0123456789abcdef0", text);
            instance
        })
        .expected([SAVED, SAVED, JOINS])
        .long(2000),
        text_input("file/agent.db-other-instance", JOINS, |instance, text| {
            saved(&instance, "prod", text, text);
            instance
        })
        .long(2000),
        text_input("file/written.json", JOINS.clean(&[0, 24]), |instance, text| {
            let record = serde_json::json!({"instance_id": text, "keys": {text: text}});
            instance.file("var/lib/ecs-bootstrap/written.json", record.to_string())
        }),
        text_input("file/reset.json", JOINS, |instance, text| {
            let record = serde_json::json!({"unit": text, "to": format!("/var/lib/ecs/{text}")});
            instance.file("run/ecs-bootstrap/reset.json", record.to_string())
        }),
        text_input("file/name-beside", JOINS, |instance, text| {
            let name: String = text.chars().filter(|c| *c != '/').take(60).collect();
            instance.file(&format!("etc/ecs/{name}"), "ECS_CLUSTER=stage\n")
        })
        .long(0),
        text_input("file/name-of-settings", ExpectedCodes::all(SETTINGS).clean(SETTINGS), |instance, text| {
            let name: String = text.chars().filter(|c| *c != '/').take(60).collect();
            instance.file(&format!("etc/ecs-bootstrap/config.d/{name}.toml"), "nonsense = 1\n")
        })
        .long(0),
        text_input("file/name-of-script", JOINS, |instance, text| {
            let name: String = text.chars().filter(|c| *c != '/').take(60).collect();
            instance.file(&format!("var/lib/cloud/instance/scripts/{name}"), "#!/bin/sh\n")
        })
        .long(0),
        text_input("file/name-of-drop-in", JOINS, |instance, text| {
            let name: String = text.chars().filter(|c| *c != '/').take(60).collect();
            let text = "[Service]\nEnvironment=HTTPS_PROXY=http://u:hunter2@127.0.0.1:9\n";
            instance.file(&format!("etc/systemd/system/docker.service.d/{name}.conf"), text)
        })
        .long(0),
    ]
}

fn saved(instance: &Instance, cluster: &str, instance_id: &str, arn: &str) {
    instance.disk.save_agent_state(&AgentState {
        cluster: cluster.into(),
        container_instance_arn: arn.into(),
        instance_id: instance_id.into(),
    });
}

/// A `status.json` of another program, with this text in every field.
fn stored(name: &str, text: &'static str, count: usize) -> Row {
    let row = Row::new(format!("file/status.json/{name}"), JOINS, move |instance| {
        let cause = serde_json::json!({"id": text, "title": text, "class": text, "evidence": vec![text; count],
            "remedy": text, "source": text});
        let document = serde_json::json!({"version": 1, "verdict": "failed", "exit_code": 24, "cause": cause,
            "cluster": text, "container_instance_arn": text, "agent_connected": null, "text": text,
            "also": vec![cause.clone(); count.min(100)], "notes": [], "phases": []});
        instance.ecs_config("# by hand\n").file("run/ecs-bootstrap/status.json", document.to_string())
    });
    row.only(&["status"], &[24]).only(&["status", "--json"], &[24]).only(&["guard"], &[21])
}

/// A folder or a link instead of a file in `/run/ecs-bootstrap`.
fn runtime_file_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (path, expected) in [
        // If nothing can be written, nothing is started and nothing is removed.
        ("run/ecs-bootstrap/lock", ExpectedCodes::all(&[24]).plan(OK).doctor(&[12, 24]).clean(&[0, 24])),
        ("run/ecs-bootstrap/plan.json", ExpectedCodes::all(&[24]).plan(OK).verify_too(&[0, 24]).doctor(&[0, 24])),
        ("run/ecs-bootstrap/status.json", JOINS.run(&[0, 24]).verify_too(&[0, 1, 24]).doctor(&[0, 24]).clean(&[0, 24])),
    ] {
        rows.push(Row::new(format!("file/{path}/folder"), expected, move |instance| {
            instance.disk.folder(path);
            instance
        }));
        rows.push(Row::new(format!("file/{path}/link"), expected, move |instance| {
            instance.disk.folder("run/ecs-bootstrap");
            instance.disk.write("home/elsewhere", "precious");
            symlink("../../home/elsewhere", instance.disk.path(path)).unwrap();
            instance
        }));
    }
    rows
}

pub fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = records().into_iter().flat_map(TextInput::rows).collect();
    for path in LIKE_CONFIG {
        let lines =
            format!("ECS_LOGLEVEL=info\n{}\nDB_PASS=hunter2\nECS_CLUSTER={}\n", payload::SECRET, payload::RUN_TOGETHER);
        rows.push(Row::new(format!("file/{path}/secret"), JOINS, move |instance| instance.file(path, &lines)));
        let escapes = format!("{}\nECS_CLUSTER=stage{}\n", payload::ESCAPES, payload::ESCAPES_ON_ONE_LINE);
        rows.push(
            Row::new(format!("file/{path}/escapes"), JOINS, move |instance| instance.file(path, &escapes)).brief(),
        );
    }
    for (path, before, after) in AROUND {
        for kind in ["secret", "escapes", "long"] {
            let is_json = path.ends_with(".json") && before.ends_with('"');
            let row = Row::new(format!("file/{path}/{kind}"), JOINS, move |instance| {
                let text = match kind {
                    "secret" => payload::SECRET.to_owned(),
                    "escapes" => payload::ESCAPES.to_owned(),
                    _ => payload::long(600_000),
                };
                let text = if is_json { quoted(&text).trim_matches('"').to_owned() } else { text };
                instance.file(path, format!("{before}{text}{after}"))
            });
            rows.push(if kind == "secret" { row } else { row.brief() });
        }
    }
    rows.push(Row::new("file/plan.json/secret", JOINS, |instance| {
        let text = serde_json::json!({"version": 1, "expectation": {"cluster": payload::RUN_TOGETHER}, "phases": []});
        instance.file("run/ecs-bootstrap/plan.json", text.to_string())
    }));
    rows.push(Row::new("file/plan.json/nested", JOINS, |instance| {
        instance.file("run/ecs-bootstrap/plan.json", "[".repeat(500_000))
    }));
    rows.push(stored("secret", payload::SECRET, 1));
    rows.push(stored("escapes", payload::ESCAPES, 1));
    rows.push(stored("many", "one more", 300));
    for (name, json) in [
        ("lower-case", "{\"cluster\":\"prod\"}"),
        ("twice", "{\"Cluster\":\"prod\",\"Cluster\":null}"),
        ("byte-order-mark", "\u{feff}{\"Cluster\":\"prod\"}"),
        ("surrogate", "{\"Cluster\":\"prod\",\"X\":\"\\ud800\"}"),
        ("beyond-a-double", "{\"Cluster\":\"prod\",\"X\":1e999}"),
    ] {
        let row = Row::new(format!("file/ecs.config.json/{name}"), JOINS, move |instance| {
            instance.ecs_config("# by hand\n").file("etc/ecs/ecs.config.json", json)
        });
        // The agent may read the file differently, so guard lets it start.
        rows.push(row.only(&["guard"], &[0]));
    }
    rows.push(Row::new("file/status.json/nested", JOINS, |instance| {
        instance.file("run/ecs-bootstrap/status.json", "{\"a\":".repeat(100_000))
    }));
    rows.extend(runtime_file_rows());
    rows
}
