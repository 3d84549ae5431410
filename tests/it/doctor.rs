//! `doctor`, its support bundle, and `explain`.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use ecs_bootstrap::causes;
use serde_json::Value;

use crate::support::{Instance, Outcome, aws};

/// An instance that has joined.
fn joined() -> Instance {
    let instance = Instance::new();
    let outcome = instance.run(&["run", "--wait"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    instance
}

fn checks(outcome: &Outcome) -> BTreeMap<String, String> {
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let rows = document["checks"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(&row["layer"]), text(&row["status"]))).collect()
}

fn files(root: &Path) -> BTreeMap<String, (u64, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let about = entry.path().symlink_metadata().unwrap();
            if about.is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(root).unwrap().display().to_string();
                found.insert(name, (about.len(), about.modified().unwrap()));
            }
        }
    }
    found
}

#[test]
fn a_healthy_host_passes_within_five_seconds_and_is_not_changed() {
    let instance = joined();
    let before = files(instance.root());
    let outcome = instance.run(&["doctor", "--json"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.duration < Duration::from_secs(5), "{:?}", outcome.duration);
    assert_eq!(files(instance.root()), before);
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&document["verdict"], &document["cause"]), (&Value::from("ready"), &Value::Null));
    let checks = checks(&outcome);
    for layer in
        ["clock", "host", "config", "cloud-init", "docker", "units", "imds", "role", "api", "cluster", "agent", "acs"]
    {
        assert_eq!(checks[layer], "pass", "{layer}: {}", outcome.stdout);
    }
    assert!(!checks.values().any(|status| status == "fail"), "{checks:?}");
}

#[test]
fn the_cause_comes_first_and_its_layer_fails() {
    let instance =
        Instance::new().aws_fault("RegisterContainerInstance", aws::Fault::denied("ecs:RegisterContainerInstance"));
    instance.run(&["run", "--wait", "--set", "verify.deadline=3s"]);
    let outcome = instance.run(&["doctor"]);
    assert_eq!(outcome.code, Some(22), "{}", outcome.stdout);
    assert!(outcome.stdout.starts_with("error: [register-denied] "), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("\nremedy: "), "{}", outcome.stdout);
    let row =
        |layer: &str| outcome.stdout.lines().find(|line| line.starts_with(&format!("{layer} "))).unwrap().to_owned();
    assert!(row("api").contains("fail") && row("api").contains("[register-denied]"), "{}", outcome.stdout);
    assert!(row("role").contains("pass"), "{}", outcome.stdout);
}

#[test]
fn a_host_where_nothing_answers_is_diagnosed_within_fifteen_seconds() {
    let instance = Instance::new().imds_fault(crate::support::imds::Fault::Silent).without_bus();
    for operation in ["DescribeClusters", "ListClusters", "DescribeTags"] {
        instance.aws.fail(operation, aws::Fault::Silent);
    }
    instance.docker.change(|docker| docker.hung = true);
    instance.docker.start();
    let outcome = instance.run(&["doctor"]);
    assert!(outcome.duration < Duration::from_secs(15), "{:?}", outcome.duration);
    assert!(outcome.code.is_some_and(|code| code >= 10), "{}", outcome.stdout);
}

#[test]
fn an_ordinary_user_sees_which_files_were_not_readable() {
    let instance = joined();
    for path in ["etc/ecs/ecs.config", "run/ecs-bootstrap/plan.json", "var/log/ecs/ecs-agent.log"] {
        let path = instance.disk.path(path);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    let outcome = instance.run_as_nobody(&["doctor"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    for path in ["/etc/ecs/ecs.config", "/run/ecs-bootstrap/plan.json", "/var/log/ecs/ecs-agent.log"] {
        assert!(
            outcome.stdout.lines().any(|line| line.starts_with("not visible: ") && line.contains(path)),
            "{}",
            outcome.stdout
        );
    }
    assert!(!outcome.stdout.contains("error: ["), "{}", outcome.stdout);
    assert!(
        !outcome.stdout.lines().any(|line| line.starts_with("config ") && line.contains("pass")),
        "{}",
        outcome.stdout
    );
}

#[test]
fn every_cause_is_explained_and_an_unknown_one_is_a_usage_error() {
    let instance = Instance::new();
    let list = instance.run(&["explain"]);
    assert_eq!(list.code, Some(0));
    let ids: Vec<&str> = list.stdout.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(ids.len() >= 85, "{} ids", ids.len());
    let explained: Value = serde_json::from_str(&instance.run(&["explain", "--json"]).stdout).unwrap();
    assert_eq!(explained.as_array().unwrap().len(), ids.len());
    for cause in explained.as_array().unwrap() {
        for field in ["id", "title", "looks", "proof", "remedy", "source", "layer"] {
            assert!(cause[field].as_str().is_some_and(|text| !text.is_empty()), "{}: no {field}", cause["id"]);
        }
        for look_alikes in cause["look_alikes"].as_array().unwrap() {
            assert!(ids.contains(&look_alikes.as_str().unwrap()), "{}: {look_alikes}", cause["id"]);
        }
    }
    let one = instance.run(&["explain", "imds-disabled"]);
    assert!(
        one.stdout.starts_with("imds-disabled: the instance metadata service (IMDS) is disabled\n"),
        "{}",
        one.stdout
    );
    let wrong = instance.run(&["explain", "imds-disbled"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""));
    assert!(wrong.stderr.contains("did you mean `imds-disabled`?"), "{}", wrong.stderr);
    assert_eq!(causes::all().len(), ids.len());
}

/// The files of a bundle, by name.
pub(crate) fn unpacked(path: &Path) -> BTreeMap<String, String> {
    use std::io::Read;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()));
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(name, text);
    }
    files
}

#[test]
fn a_bundle_has_the_listed_files_and_only_its_owner_can_read_it() {
    let instance = joined();
    let path = instance.disk.path("home/bundle.tar.gz");
    let outcome = instance.run(&["doctor", "--bundle", path.to_str().unwrap()]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let files = unpacked(&path);
    let list = &files["ecs-bootstrap-doctor/contents.txt"];
    for name in ["doctor.txt", "doctor.json", "ecs.config", "logs.txt", "plan.json", "status.json", "units.json"] {
        assert!(list.contains(name) && !files[&format!("ecs-bootstrap-doctor/{name}")].is_empty(), "{name}: {list}");
    }
    assert!(files["ecs-bootstrap-doctor/ecs.config"].contains("ECS_CLUSTER=prod"));
    assert!(files["ecs-bootstrap-doctor/logs.txt"].contains("Connected to ACS endpoint"));
    let again = instance.run(&["doctor", "--bundle", path.to_str().unwrap()]);
    assert_eq!(again.code, Some(24), "{}", again.stdout);
    assert!(again.stderr.contains("cannot be written as a new file"), "{}", again.stderr);
}

#[test]
fn verbose_shows_each_cause_with_evidence_and_why_it_is_not_reported() {
    let rejected =
        aws::Fault::error(401, "AuthFailure", "AWS was not able to validate the provided access credentials");
    let instance = Instance::new().without_imds_tags().aws_fault("DescribeTags", rejected);
    instance.aws.change(|aws| aws.date_ahead = 86_400);
    let outcome = instance.run(&["doctor", "--verbose"]);
    let why = "considered: [credentials-rejected] of layer api: not reported, explained by `clock-skew`";
    for text in ["considered: [clock-skew] of layer clock: reported", why] {
        assert!(outcome.stdout.contains(text), "{outcome:#?}");
    }
    let document: Value = serde_json::from_str(&instance.run(&["doctor", "--json"]).stdout).unwrap();
    let considered = document["considered"].as_array().unwrap();
    let reason = |id: &str| considered.iter().find(|cause| cause["id"] == id).unwrap()["not_reported"].clone();
    assert_eq!(reason("clock-skew"), Value::Null);
    assert_eq!(reason("credentials-rejected"), "explained by `clock-skew`");
}
