//! The reports on the host: journal, `STATUS=`, `status.json` and `status`. And that none of them has a secret.
//!
//! In: runs of the product. Out: assertions on datagrams, file modes, and the absence of every planted secret.

use crate::support::journal::Entry;
use crate::support::{Instance, imds};
use ecs_bootstrap::journal::{MESSAGE_ID_CONFIGURED, MESSAGE_ID_FAILED, MESSAGE_ID_READY, MESSAGE_ID_UNKNOWN};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The journal entries with this message id. Waits up to two seconds for the first one.
fn entries(instance: &Instance, id: &str) -> Vec<Entry> {
    let until = Instant::now() + Duration::from_secs(2);
    let is = |entry: &Entry| entry.get("MESSAGE_ID").is_some_and(|found| found == id);
    while !instance.journal.entries().iter().any(is) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    instance.journal.entries().into_iter().filter(is).collect()
}

fn mode(instance: &Instance, path: &str) -> u32 {
    std::fs::metadata(instance.disk.path(path)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_ready_instance_is_logged_once_with_its_fields() {
    let instance = Instance::new();
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    let logged = entries(&instance, MESSAGE_ID_READY);
    assert_eq!(logged.len(), 1, "{logged:?}");
    let field = |name: &str| logged[0].get(name).map_or("", String::as_str);
    assert_eq!((field("VERDICT"), field("EXIT_CODE"), field("CLUSTER")), ("ready", "0", "prod"));
    assert_eq!((field("PRIORITY"), field("SYSLOG_IDENTIFIER")), ("6", "ecs-bootstrap"));
    assert!(field("CONTAINER_INSTANCE_ARN").starts_with("arn:aws:ecs:"), "{logged:?}");
    assert!(!field("MESSAGE").is_empty());
    let configured = entries(&instance, MESSAGE_ID_CONFIGURED);
    assert_eq!(configured.len(), 1);
    assert_eq!(configured[0]["JOBS"], "docker.service ecs.service");
}

#[test]
fn a_failure_is_logged_once_with_cause_evidence_and_remedy() {
    let instance = Instance::new().without_cluster("prod");
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(21));
    let logged = entries(&instance, MESSAGE_ID_FAILED);
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert_eq!((logged[0]["CAUSE"].as_str(), logged[0]["EXIT_CODE"].as_str()), ("cluster-not-found", "21"));
    for seen in logged[0]["EVIDENCE"].lines() {
        assert!(outcome.stderr.contains(&format!("seen: {seen}\n")), "{seen} / {}", outcome.stderr);
    }
    assert!(outcome.stderr.contains(&format!("remedy: {}\n", logged[0]["REMEDY"])));
    assert_eq!(logged[0]["PRIORITY"], "4");
}

#[test]
fn an_unknown_cause_has_its_own_message_id() {
    let instance = Instance::new().agent_behaves(|agent| agent.never_registers = true);
    assert_eq!(instance.run(&["run", "--wait", "--set", "verify.deadline=2s"]).code, Some(13));
    assert_eq!(entries(&instance, MESSAGE_ID_UNKNOWN).len(), 1);
    assert!(instance.disk.text("run/ecs-bootstrap/status.json").contains("\"verdict\": \"unknown\""));
}

#[test]
fn without_a_journal_the_report_is_only_on_stderr() {
    let instance = Instance::new().without_cluster("prod");
    instance.disk.remove("run/systemd/journal/socket");
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(21));
    assert_eq!(outcome.stdout, "");
    assert_eq!(outcome.stderr.matches("cluster-not-found").count(), 1, "{}", outcome.stderr);
}

#[test]
fn status_prints_the_last_verdict_and_ends_with_its_exit_code() {
    let instance = Instance::new().without_cluster("prod");
    let nothing = instance.run(&["status"]);
    assert_eq!(nothing.code, Some(13));
    assert!(nothing.stdout.contains("has not run"), "{}", nothing.stdout);
    let failed = instance.run(&["run", "--wait"]);
    let status = instance.run(&["status"]);
    assert_eq!((status.code, status.stdout.as_str()), (Some(21), failed.stderr.as_str()));
    let instance = instance.cluster("prod", &[]);
    let ready = instance.run(&["run", "--wait"]);
    let status = instance.run(&["status"]);
    assert_eq!((status.code, status.stdout), (Some(0), ready.stdout));
    let json: serde_json::Value = serde_json::from_str(&instance.run(&["status", "--json"]).stdout).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&instance.disk.text("run/ecs-bootstrap/status.json")).unwrap();
    assert_eq!(json, stored);
    assert_eq!(
        (&json["version"], &json["verdict"], &json["agent_connected"]),
        (&1.into(), &"ready".into(), &true.into())
    );
    assert!(json["cause"].is_null() && json["phases"].as_array().unwrap().len() == 4, "{json:#}");
}

#[test]
fn everyone_can_read_the_verdict_and_only_root_the_plan() {
    let instance = Instance::new();
    assert_eq!(instance.run(&["run", "--wait"]).code, Some(0));
    assert_eq!(mode(&instance, "run/ecs-bootstrap"), 0o755);
    assert_eq!(mode(&instance, "run/ecs-bootstrap/status.json"), 0o644);
    assert_eq!(mode(&instance, "run/ecs-bootstrap/plan.json"), 0o600);
    assert_eq!(mode(&instance, "var/lib/ecs-bootstrap/written.json"), 0o600);
}

/// Runs the product with a notification socket. Returns the datagrams.
fn notified(instance: Instance, arguments: &[&str]) -> Vec<String> {
    let path = instance.disk.path("run/notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let instance = instance.env("NOTIFY_SOCKET", path.as_os_str());
    instance.run(arguments);
    let mut buffer = [0; 4096];
    let mut datagrams = Vec::new();
    while let Ok(count) = socket.recv(&mut buffer) {
        datagrams.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
    }
    datagrams
}

#[test]
fn systemd_is_notified_of_each_step_and_of_the_verdict() {
    let datagrams = notified(Instance::new(), &["run", "--wait"]);
    assert!(datagrams.iter().all(|datagram| datagram.trim_end().starts_with("STATUS=")), "{datagrams:?}");
    assert!(datagrams.iter().any(|datagram| datagram.contains("reading instance metadata")), "{datagrams:?}");
    assert!(datagrams.last().unwrap().contains("STATUS=ready: `arn:aws:ecs:"), "{datagrams:?}");
    let datagrams = notified(Instance::new().without_tags(), &["verify", "--set", "tags.wait=1s"]);
    assert!(datagrams[0].contains("READY=1"), "{datagrams:?}");
    assert!(datagrams.last().unwrap().contains("STATUS=[user-data-absent]"), "{datagrams:?}");
}

const SECRETS: [&str; 13] = [
    "PlantedInALog",
    "PlantedInTheImage",
    "PlantedInCloudInit",
    "PlantedInDocker",
    "PlantedInTheEnvironment",
    "PlantedRegistryPassword",
    "PlantedProxyPassword",
    "PlantedUserData",
    "PlantedSettingSecret",
    "SimulatedImdsToken",
    imds::ACCESS_KEY_ID,
    imds::SECRET_ACCESS_KEY,
    imds::SESSION_TOKEN,
];

fn with_secrets() -> Instance {
    let auth = "{\"https://index.docker.io/v1/\":{\"username\":\"u\",\"password\":\"PlantedRegistryPassword\"}}";
    let config = format!(
        "ECS_ENGINE_AUTH_TYPE=docker\nECS_ENGINE_AUTH_DATA={auth}\n\
         HTTP_PROXY=http://user:PlantedProxyPassword@127.0.0.1:9\n"
    );
    let auth = auth.replace("PlantedRegistryPassword", "PlantedSettingSecret").replace('"', "\\\"");
    Instance::new()
        .without_imds_tags()
        .ecs_config(config)
        .setting_file("etc/ecs-bootstrap/config.toml", &format!("[agent]\nECS_ENGINE_AUTH_DATA = \"{auth}\"\n"))
        .user_data("#!/bin/bash\necho PlantedUserData\n")
        .file("var/lib/ecs/ecs.config", "HTTPS_PROXY=http://u:PlantedInTheImage@127.0.0.1:9\nOTHER=PlantedInTheImage\n")
        .file("var/log/ecs/ecs-init.log", line("pre-start PlantedInALog"))
        .file(
            "var/log/cloud-init-output.log",
            "PlantedInCloudInit\n/part-001: line 3: PlantedInCloudInit: command not found\n",
        )
        .file("var/lib/cloud/instance/user-data.txt", "#!/bin/bash\necho PlantedInCloudInit\n")
        .file("etc/docker/daemon.json", "{\"proxies\": {\"http-proxy\": \"http://u:PlantedInDocker@127.0.0.1:9\"}}")
        .file(
            "etc/systemd/system/docker.service.d/proxy.conf",
            "[Service]\nEnvironment=HTTP_PROXY=http://u:PlantedInDocker@127.0.0.1:9\n",
        )
        .env("SOME_TOKEN", "PlantedInTheEnvironment")
        .env("ECS_BOOTSTRAP_LOG", "trace")
}

/// A line of the agent's log with a secret.
fn line(message: &str) -> String {
    format!(
        "level=error time=2026-01-01T00:00:00Z msg=\"{message}\" error=\"http://u:PlantedInALog@127.0.0.1:9 is down\"\n"
    )
}

fn holds_no_secret(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "`{secret}` in {what}: {text}");
    }
}

fn files(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files(&path, found),
            kind if kind.is_file() => {
                let bytes = std::fs::read(&path).unwrap();
                found.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
            }
            _ => {}
        }
    }
}

fn shows_no_secret(instance: &Instance, arguments: &[&str]) {
    let outcome = instance.run(arguments);
    holds_no_secret("stdout", &outcome.stdout);
    holds_no_secret("stderr", &outcome.stderr);
    std::thread::sleep(Duration::from_millis(100));
    holds_no_secret("the journal", &format!("{:?}", instance.journal.entries()));
    let mut found = Vec::new();
    for folder in ["run", "var/lib/ecs-bootstrap"] {
        instance.disk.folder(folder);
        files(&instance.disk.path(folder), &mut found);
    }
    found.iter().for_each(|(path, text)| holds_no_secret(path, text));
}

/// Checks that the output of doctor and its bundle have no secret.
fn doctor_shows_no_secret(instance: &Instance) {
    instance.disk.folder("home/bundles");
    for arguments in [&["doctor", "-vv"][..], &["doctor", "--json", "-vv"]] {
        let bundle = tempfile::tempdir().unwrap();
        let path = bundle.path().join("bundle.tar.gz");
        shows_no_secret(instance, &[arguments, &["--bundle", path.to_str().unwrap()]].concat());
        let files = crate::doctor::unpacked(&path);
        assert!(files.len() > 5);
        files.iter().for_each(|(name, text)| holds_no_secret(name, text));
    }
}

const COMMANDS: [&[&str]; 6] = [
    &["plan", "-vv"],
    &["plan", "--json", "-vv"],
    &["run", "--wait", "-vv"],
    &["run", "--wait", "--json", "-vv"],
    &["verify", "-vv"],
    &["status", "--json", "-vv"],
];

#[test]
fn no_secret_is_shown_at_any_log_level() {
    let instance = with_secrets();
    COMMANDS.iter().for_each(|command| shows_no_secret(&instance, command));
    doctor_shows_no_secret(&instance);
    assert!(instance.disk.text("etc/ecs/ecs.config").contains("PlantedSettingSecret"), "the secret reached the agent");
    assert_eq!(mode(&instance, "etc/ecs/ecs.config"), 0o600);
    assert!(
        instance.journal.entries().iter().any(|entry| entry.get("PRIORITY").is_some_and(|priority| priority == "7")),
        "nothing was logged at debug"
    );
}

#[test]
fn no_secret_is_shown_without_a_journal() {
    let instance = with_secrets();
    instance.disk.remove("run/systemd/journal/socket");
    COMMANDS.iter().for_each(|command| shows_no_secret(&instance, command));
}

#[test]
fn no_secret_is_shown_in_an_error() {
    let denied = crate::support::aws::Fault::denied("ec2:DescribeTags");
    let instance = with_secrets().aws_fault("DescribeTags", denied);
    shows_no_secret(&instance, &["run", "--wait", "-vv", "--set", "run.deadline=3s"]);
    doctor_shows_no_secret(&instance);
    let denied = crate::support::aws::Fault::denied("ecs:RegisterContainerInstance");
    let instance = with_secrets().aws_fault("RegisterContainerInstance", denied);
    shows_no_secret(&instance, &["run", "--wait", "-vv", "--set", "verify.deadline=3s"]);
    doctor_shows_no_secret(&instance);
    let printed = "auth_token=PlantedInALog at http://u:PlantedInALog@127.0.0.1:9 {\"password\": \"PlantedInALog\"}";
    let instance = with_secrets().agent_behaves(|agent| agent.exits = Some((1, "Something of tomorrow", printed)));
    shows_no_secret(&instance, &["run", "--wait", "-vv", "--set", "verify.deadline=4s"]);
    doctor_shows_no_secret(&instance);
    let role = "/latest/meta-data/iam/security-credentials/ecsInstanceRole";
    let half = format!("{{\"Code\": \"Success\", \"SecretAccessKey\": \"{}\", \"Token\": 7}}", imds::SECRET_ACCESS_KEY);
    let instance = with_secrets();
    let answer = crate::support::http::Reply::new(200, "text/plain", half);
    instance.imds.change(|imds| drop(imds.overrides.insert(role.into(), answer.into())));
    shows_no_secret(&instance, &["run", "--wait", "-vv", "--set", "run.deadline=3s"]);
    for wrong in ["PlantedSettingSecret", "{\\\"a\\\": PlantedSettingSecret}"] {
        let text = format!("[agent]\nECS_ENGINE_AUTH_DATA = \"{wrong}\"\n");
        let instance = with_secrets().setting_file("etc/ecs-bootstrap/config.toml", &text);
        shows_no_secret(&instance, &["run", "--wait", "-vv", "--set", "run.deadline=3s"]);
    }
    let unclosed = with_secrets()
        .setting_file("etc/ecs-bootstrap/config.toml", "[agent]\nECS_ENGINE_AUTH_DATA = \"PlantedSettingSecret\n");
    shows_no_secret(&unclosed, &["plan", "-vv"]);
    let data = "#ecs-bootstrap\n[agent]\nECS_ENGINE_AUTH_DATA = 'PlantedUserData\n";
    shows_no_secret(&with_secrets().user_data(data), &["plan", "-vv"]);
}

#[test]
fn https_only_refuses_an_aws_endpoint_over_plain_http() {
    // The harness refuses an endpoint off loopback, so the product is started here without it. It makes no AWS call.
    let root = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_ecs-bootstrap"))
            .args(["run", "--no-wait", "--cluster", "prod", "--set", "tags.api=never", "--set", "imds.deadline=1s"])
            .args(arguments)
            .env_clear()
            .env("ECS_BOOTSTRAP_ROOT", root.path())
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
            .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
            .env("AWS_ENDPOINT_URL_ECS", "http://192.0.2.1:5000")
            .output()
            .unwrap()
    };
    let refused = run(&["--https-only"]);
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(20), "{stderr}");
    assert!(stderr.contains("AWS_ENDPOINT_URL_ECS sends signed requests to `192.0.2.1` over plain HTTP"), "{stderr}");
    assert_eq!(run(&[]).status.code(), Some(10), "a warning otherwise");
}
