//! Hostile answers of the host itself: docker, the agent's port and logs, properties of systemd, the journal, /proc.
//!
//! In: texts of `payload`. Out: rows.

use std::os::unix::fs::symlink;

use super::{TextInput, text_input};
use crate::payload;
use crate::row::{ExpectedCodes, JOINS, Row};
use crate::support::Instance;
use crate::support::docker::Container;
use crate::support::http::{Answer, Reply};
use crate::support::systemd::Start;

/// A fault of the host, or the agent did not register in time.
const HOST: ExpectedCodes = ExpectedCodes::verify(&[12, 13, 23, 24]).clean(&[0, 12, 24]);

fn docker(instance: Instance, path: &str, answer: impl Into<Answer>) -> Instance {
    instance.docker.change(|docker| drop(docker.overrides.insert(path.into(), answer.into())));
    instance
}

fn json(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply::new(status, "application/json", body)
}

/// Docker works and the agent does not register, so that docker is examined.
fn never_registers(instance: Instance) -> Instance {
    instance.agent_behaves(|agent| agent.never_registers = true)
}

fn agent(instance: Instance, path: &str, body: impl Into<Vec<u8>>) -> Instance {
    instance.agent_behaves(|agent| drop(agent.answers.insert(path.into(), body.into())))
}

fn metadata(instance: Instance, member: &str, text: &str) -> Instance {
    const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/0000000000000000000000000123abcd";
    let mut metadata = serde_json::json!({"Cluster": "prod", "ContainerInstanceArn": ARN,
        "Version": "Amazon ECS Agent - v1.106.1 (*a8b3e7d3)"});
    metadata[member] = text.into();
    agent(instance, "/v1/metadata", metadata.to_string())
}

fn refused(name: &str, text: &str) -> Start {
    Start::Refused { name: name.into(), text: text.into() }
}

/// A process with this name listens on the agent's port.
fn listener(instance: Instance, name: &str) -> Instance {
    let instance = instance.agent_behaves(|agent| agent.port_taken = true);
    let port: u16 = instance.agent.endpoint().rsplit_once(':').unwrap().1.parse().unwrap();
    let table = format!(
        "  sl  local_address rem_address   st\n   0: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 \
         00:00000000 00000000     0        0 4711 1\n"
    );
    let instance = instance.file("proc/net/tcp", table).file("proc/12/comm", name);
    instance.disk.folder("proc/12/fd");
    symlink("socket:[4711]", instance.disk.path("proc/12/fd/3")).unwrap();
    instance
}

/// User data has not ended. It waits for a process with this name.
fn user_data_waits(instance: Instance, name: &str) -> Instance {
    let stat = |pid: u32, parent: u32, name: &str| {
        format!("{pid} ({name}) S {parent} 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 300 1 1 1")
    };
    let mut instance = never_registers(instance.user_data_runs()).file("proc/uptime", "5000.0 1.0\n");
    for (pid, parent, name) in [(700, 1, "cloud-init"), (701, 700, "part-001"), (702, 701, name)] {
        instance = instance
            .file(&format!("proc/{pid}/cgroup"), "0::/system.slice/cloud-final.service\n")
            .file(&format!("proc/{pid}/stat"), stat(pid, parent, name));
    }
    instance
}

fn text_inputs() -> Vec<TextInput> {
    [of_docker(), of_agent(), of_systemd(), of_journal_and_proc()].into_iter().flatten().collect()
}

fn of_docker() -> Vec<TextInput> {
    vec![
        text_input("docker/version", HOST, |instance, text| {
            let version = serde_json::json!({"Version": text, "ApiVersion": text, "MinAPIVersion": text});
            docker(never_registers(instance), "/version", json(200, version.to_string()))
        }),
        text_input("docker/version-raw", HOST, |instance, text| {
            docker(never_registers(instance), "/version", json(200, text))
        }),
        text_input("docker/error", HOST, |instance, text| {
            let body = serde_json::json!({"message": text}).to_string();
            let instance = docker(never_registers(instance), "/version", json(500, body.clone()));
            let instance = docker(instance, "/containers/json", json(500, body.clone()));
            docker(instance, "/containers/ecs-agent/json", json(500, body))
        }),
        text_input("docker/inspect", HOST, |instance, text| {
            let body = serde_json::json!({"Id": text, "Name": text, "State": {"Status": text, "Running": true,
                "ExitCode": 1, "Error": text, "StartedAt": text, "FinishedAt": text}});
            docker(never_registers(instance), "/containers/ecs-agent/json", json(200, body.to_string()))
        }),
        text_input("docker/tasks", JOINS, |instance, text| {
            let body = serde_json::json!([{"Id": text, "State": text, "Labels": {"com.amazonaws.ecs.task-arn": text,
                "com.amazonaws.ecs.task-definition-family": text, "com.amazonaws.ecs.task-definition-version": text}}]);
            docker(instance, "/containers/json", json(200, body.to_string()))
        })
        .expected([JOINS.clean(&[0, 24]); 3]),
    ]
}

fn of_agent() -> Vec<TextInput> {
    vec![
        text_input("agent/cluster", HOST, |instance, text| metadata(instance, "Cluster", text))
            .expected([ExpectedCodes::verify(&[13, 21, 24]).clean(&[0, 24]); 3]),
        text_input("agent/arn", HOST, |instance, text| metadata(instance, "ContainerInstanceArn", text)).long(900_000),
        text_input("agent/version", JOINS, |instance, text| metadata(instance, "Version", text)).long(900_000),
        text_input("agent/raw", HOST, |instance, text| agent(instance, "/v1/metadata", text)),
        text_input("agent/tasks", JOINS, |instance, text| {
            let task = serde_json::json!({"Arn": text, "KnownStatus": "RUNNING", "Family": text, "Version": text});
            agent(instance, "/v1/tasks", serde_json::json!({"Tasks": [task]}).to_string())
        })
        .expected([JOINS.clean(&[0, 24]); 3]),
        text_input("agent/tasks-raw", JOINS, |instance, text| agent(instance, "/v1/tasks", text))
            .expected([JOINS.clean(&[0, 24]); 3]),
        text_input("agent-log/crashes", ExpectedCodes::verify(&[13, 22, 23, 24]), |instance, text| {
            let text = text.to_owned();
            instance.agent_behaves(|agent| agent.crashes_with = Some(text))
        })
        .long(100_000),
        text_input("agent-log/gives-up", ExpectedCodes::verify(&[13, 22, 23, 24]), |instance, text| {
            let text = text.to_owned();
            instance.agent_behaves(|agent| agent.gives_up_with = Some(text))
        })
        .long(100_000),
        text_input("agent-log/dies", ExpectedCodes::verify(&[13, 22, 23, 24]), |instance, text| {
            let text = text.to_owned();
            instance.agent_behaves(|agent| agent.dies_with = Some((2, text)))
        })
        .long(100_000),
        text_input("agent-log/init", HOST, |instance, text| {
            let error: &'static str = Box::leak(text.to_owned().into_boxed_str());
            let instance = instance.agent_behaves(|agent| agent.init_error = error);
            instance.unit("ecs.service", |unit| unit.start = Start::Retried(1))
        })
        .long(100_000),
    ]
}

fn of_systemd() -> Vec<TextInput> {
    const NO_METHOD: &str = "org.freedesktop.DBus.Error.UnknownMethod";
    vec![
        text_input("systemd/refuses", HOST, |instance, text| {
            instance.unit("docker.service", |unit| unit.start = refused("org.freedesktop.systemd1.UnitMasked", text))
        })
        .expected([HOST.run(&[12, 24]).plan(&[0]); 3]),
        text_input("systemd/refuses-agent", HOST, |instance, text| {
            instance.unit("ecs.service", |unit| unit.start = refused(NO_METHOD, text))
        })
        .expected([HOST.run(&[12, 24]).clean(&[0, 24]); 3]),
        text_input("systemd/result", HOST, |instance, text| {
            instance.unit("docker.service", |unit| unit.start = Start::Fails(text.into()))
        })
        .long(100_000),
        text_input("systemd/sub-state", JOINS, |instance, text| {
            instance.unit("cloud-final.service", |unit| unit.sub_state = text.into())
        }),
        text_input("systemd/active-state", JOINS, |instance, text| {
            instance.unit("cloud-final.service", |unit| unit.active_state = text.into())
        }),
        text_input("systemd/file-state", JOINS, |instance, text| {
            instance.unit("ecs.service", |unit| unit.unit_file_state = text.into())
        }),
        text_input("systemd/load-state", HOST, |instance, text| {
            instance.unit("docker.service", |unit| unit.load_state = text.into())
        })
        .expected([JOINS; 3]),
        text_input("systemd/drop-in", JOINS, |instance, text| {
            let drop_in = format!("/etc/systemd/system/ecs.service.d/{text}.conf");
            instance.unit("ecs.service", |unit| unit.drop_ins = vec![drop_in])
        }),
        text_input("systemd/after", JOINS, |instance, text| {
            instance.unit("ecs.service", |unit| unit.after.push(text.into()))
        }),
    ]
}

fn of_journal_and_proc() -> Vec<TextInput> {
    vec![
        text_input("journal/docker", HOST, |instance, text| {
            instance
                .unit("docker.service", |unit| unit.start = Start::Fails("failed".into()))
                .journal_has("docker.service", &format!("Starting docker.service...\nfailed to start daemon: {text}\n"))
        }),
        text_input("journal/ecs", HOST, |instance, text| {
            instance
                .unit("ecs.service", |unit| unit.start = Start::FailsWith("exit-code"))
                .journal_has("ecs.service", &format!("Starting ecs.service...\nlevel=error msg={text}\n"))
        }),
        text_input("journal/kernel", HOST, |instance, text| {
            instance
                .journal_has("kernel", &format!("Out of memory: Killed process 812 ({text}) total-vm:1280000kB\n"))
                .agent_behaves(|agent| agent.exits = Some((137, "started", "")))
        }),
        text_input("proc/listener", HOST, listener),
    ]
}

/// Deeply nested answers, and answers and journals without end.
fn nested_and_endless_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let nested = || "[".repeat(300_000);
    for path in ["/v1/metadata", "/v1/tasks"] {
        let expected = if path == "/v1/tasks" { JOINS.clean(&[0, 24]) } else { HOST };
        rows.push(
            Row::new(format!("agent{path}/nested"), expected, move |instance| agent(instance, path, nested())).brief(),
        );
    }
    for path in ["/version", "/containers/json", "/containers/ecs-agent/json"] {
        rows.push(
            Row::new(format!("docker{path}/nested"), HOST.clean(&[0, 24]), move |instance| {
                docker(never_registers(instance), path, json(200, nested()))
            })
            .brief(),
        );
        rows.push(Row::new(format!("docker{path}/endless"), HOST.clean(&[0, 24]), move |instance| {
            docker(never_registers(instance), path, Answer::Endless(json(200, "x".repeat(64 << 10))))
        }));
    }
    // journalctl that prints without end.
    for unit_name in ["docker.service", "ecs.service"] {
        rows.push(Row::new(format!("journal/{unit_name}/endless"), HOST, move |instance| {
            let instance = instance.unit(unit_name, |unit| unit.start = Start::FailsWith("exit-code"));
            let instance = instance.journal_has(unit_name, "");
            let script = "#!/bin/sh\nwhile :; do echo 'failed to start daemon: hunter2 password=hunter2'; done\n";
            instance.file("bin/journalctl", script)
        }));
        rows.push(Row::new(format!("journal/{unit_name}/one-line"), HOST, move |instance| {
            let instance = instance.unit(unit_name, |unit| unit.start = Start::FailsWith("exit-code"));
            instance
                .journal_has(unit_name, "")
                .file("bin/journalctl", "#!/bin/sh\nexec /usr/bin/tr '\\0' x </dev/zero\n")
        }));
    }
    rows
}

pub fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = text_inputs().into_iter().flat_map(TextInput::rows).collect();
    for (kind, name) in [("secret", payload::SECRET), ("escapes", payload::ESCAPES)] {
        // Verification waits until user data has ended, so it is not run here.
        let mut row =
            Row::new(format!("proc/user-data/{kind}"), JOINS, move |instance| user_data_waits(instance, name));
        for command in ["run --no-wait", "status", "doctor", "doctor --json", "doctor --bundle ROOT/home/bundle.tar.gz"]
        {
            row = row.only(&command.split(' ').collect::<Vec<_>>(), &[0, 12, 13, 24]);
        }
        rows.push(row);
    }
    rows.extend(nested_and_endless_rows());
    rows.push(Row::new("agent-log/huge-line", ExpectedCodes::verify(&[13, 23, 24]), |instance| {
        let instance = never_registers(instance);
        instance.file("var/log/ecs/ecs-agent.log", format!("level=critical msg=\"{}\"\n", "x".repeat(3_000_000)))
    }));
    rows.push(Row::new("docker/restarts", HOST, |instance| {
        let instance = never_registers(instance);
        instance.docker.change(|docker| {
            docker.container = Some(Container {
                running: false,
                exit_code: i64::MIN,
                started_at: std::time::UNIX_EPOCH,
                finished_at: Some(std::time::UNIX_EPOCH),
            });
        });
        instance
    }));
    rows.push(
        Row::new("agent/secret-in-cluster", HOST, |instance| metadata(instance, "Cluster", payload::RUN_TOGETHER))
            .expected(ExpectedCodes::verify(&[13, 21, 24]).clean(&[0, 24])),
    );
    rows
}
