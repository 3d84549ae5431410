//! `plan`: shows what a run would do and why, and changes nothing on the host.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::aws::Fault;
use crate::support::disk::Disk;
use crate::support::imds::{Fault as ImdsFault, SECRET_ACCESS_KEY, SESSION_TOKEN};
use crate::support::{Instance, Outcome};

/// Runs `plan --json`. Returns the document.
fn planned(instance: &Instance, arguments: &[&str]) -> Value {
    let outcome = instance.run(&[&["plan", "--json"], arguments].concat());
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    serde_json::from_str(&outcome.stdout).expect("a JSON document on stdout")
}

fn refused(instance: &Instance, arguments: &[&str], code: i32, id: &str) -> Outcome {
    let outcome = instance.run(&[&["plan"], arguments].concat());
    assert_eq!(outcome.code, Some(code), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains(&format!("[{id}]")), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
    outcome
}

fn warning_ids(plan: &Value) -> Vec<&str> {
    plan["warnings"].as_array().unwrap().iter().map(|warning| warning["id"].as_str().unwrap()).collect()
}

/// The requests to IMDS, in alphabetical order, because they are made in parallel.
fn requests(instance: &Instance) -> Vec<String> {
    let mut requests: Vec<_> = instance.imds.requests().iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    requests.sort();
    requests
}

/// Every path below the root with its inode, mode, size and times.
fn everything(disk: &Disk) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;

    let mut found = Vec::new();
    let mut folders = vec![disk.root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            let (inode, mode, size) = (about.ino(), about.mode(), about.len());
            let times = (about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec());
            found.push(format!("{} {inode} {mode:o} {size} {times:?}", path.display()));
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn prints_the_exact_fields_of_the_json_interface() {
    let instance = Instance::new().ecs_config("# mine\nECS_LOGLEVEL=warn\n");
    let place = "IMDS";
    let source = json!({"kind": "instance-tag", "where": place, "key": "ecs-bootstrap:cluster"});
    let plan = planned(&instance, &[]);
    assert_eq!(plan["version"], 1);
    assert_eq!(plan["cluster"], json!({"value": "prod", "source": source}));
    assert_eq!(plan["ecs_config"]["path"], "/etc/ecs/ecs.config");
    assert_eq!(plan["ecs_config"]["text"], "# mine\nECS_LOGLEVEL=warn\nECS_CLUSTER=prod\n");
    assert_eq!(plan["ecs_config"]["changed"], true);
    assert_eq!(plan["ecs_config"]["keys"], json!([{"key": "ECS_CLUSTER", "value": "prod", "source": source}]));
    let start = |unit: &str| json!({"unit": unit, "action": "start", "why": "it is not running"});
    assert_eq!(plan["units"], json!([start("docker.service"), start("ecs.service")]));
    assert_eq!(plan["warnings"], json!([]));
}

#[test]
fn gives_each_warning_an_id_a_text_and_its_source() {
    let instance = Instance::new().tag("ecs-bootstrap:ECS_ENGINE_AUTH_DATA", "{\"hunter2\":{}}");
    let plan = planned(&instance, &[]);
    let [warning] = plan["warnings"].as_array().unwrap().as_slice() else { panic!("{plan}") };
    assert_eq!(warning["id"], "tag-refused");
    assert!(warning["text"].as_str().unwrap().contains("ECS_ENGINE_AUTH_DATA"), "{warning}");
    assert_eq!(warning["source"]["key"], "ecs-bootstrap:ECS_ENGINE_AUTH_DATA");
    assert!(!plan.to_string().contains("hunter2"));
}

#[test]
fn is_readable_as_text() {
    let instance = Instance::new().ecs_config("# mine\nECS_CLUSTER=old\n");
    let outcome = instance.run(&["plan"]);
    let expected = [
        "cluster     prod  (instance tag `ecs-bootstrap:cluster` (IMDS))",
        "ecs.config  /etc/ecs/ecs.config, to be written",
        "  ECS_CLUSTER  prod  (instance tag `ecs-bootstrap:cluster` (IMDS))",
        "unit        docker.service: start, it is not running",
        "unit        ecs.service: start, it is not running",
        "",
        "--- /etc/ecs/ecs.config",
        "+++ /etc/ecs/ecs.config (planned)",
        " # mine",
        "-ECS_CLUSTER=old",
        "+ECS_CLUSTER=prod",
    ];
    assert_eq!(outcome.stdout.lines().collect::<Vec<_>>(), expected);
    assert_eq!(outcome.stderr, "");
}

#[test]
fn works_with_no_bus_and_no_aws_and_changes_nothing() {
    let instance = Instance::new().without_bus().ecs_config("ECS_LOGLEVEL=warn\n");
    instance.aws.refuse_for(Duration::from_secs(60));
    let before = everything(&instance.disk);
    let plan = planned(&instance, &[]);
    assert_eq!(plan["cluster"]["value"], "prod");
    assert!(plan["units"].as_array().unwrap().iter().all(|unit| unit["action"] == "unknown"), "{plan}");
    assert_eq!(instance.run(&["plan"]).code, Some(0));
    refused(&instance, &["--set", "nonsense=1"], 20, "setting-invalid");
    assert_eq!(everything(&instance.disk), before);
    assert!(instance.systemd.calls().is_empty(), "{:?}", instance.systemd.calls());
}

#[test]
fn starts_no_unit() {
    let instance = Instance::new();
    let before = everything(&instance.disk);
    planned(&instance, &[]);
    assert_eq!(everything(&instance.disk), before);
    let changes = ["StartUnit", "RestartUnit", "StopUnit", "EnableUnitFiles"];
    let calls = instance.systemd.calls();
    assert!(!calls.iter().any(|call| changes.iter().any(|change| call.starts_with(change))), "{calls:?}");
}

#[test]
fn shows_no_secret() {
    let instance = Instance::new()
        .ecs_config("ECS_ENGINE_AUTH_DATA={\"r\":{\"password\":\"hunter2\"}}\nHTTP_PROXY=http://u:hunter2@proxy:3128\n")
        .setting_file(
            "etc/ecs-bootstrap/config.toml",
            "[agent]\nHTTPS_PROXY = \"http://u:hunter2@proxy:3128\"\nAWS_SECRET_ACCESS_KEY = \"hunter2\"\n",
        );
    for arguments in [vec!["plan"], vec!["plan", "--json"], vec!["plan", "-vvv"], vec!["plan", "--json", "-vvv"]] {
        let Outcome { code, stdout, stderr, .. } = instance.run(&arguments);
        assert_eq!(code, Some(0), "{stderr}");
        for secret in ["hunter2", SECRET_ACCESS_KEY, SESSION_TOKEN, "SimulatedImdsToken"] {
            assert!(!stdout.contains(secret) && !stderr.contains(secret), "{arguments:?}\n{stdout}\n{stderr}");
        }
        assert!(stdout.contains("<redacted>"), "{stdout}");
    }
}

#[test]
fn without_metadata_a_cluster_in_a_file_is_enough() {
    let instance = Instance::new().ecs_config("ECS_CLUSTER=prod\n").imds_fault(ImdsFault::Off);
    let plan = planned(&instance, &[]);
    assert_eq!(plan["cluster"]["source"]["kind"], "ecs-config");
    assert_eq!(warning_ids(&plan), ["metadata-unknown"]);
    refused(&Instance::new().imds_fault(ImdsFault::Off), &[], 22, "imds-disabled");
}

#[test]
fn is_refused_with_21_when_nothing_names_a_cluster() {
    let outcome = refused(&Instance::new().without_tags().tag("Name", "web"), &[], 21, "user-data-absent");
    assert!(outcome.stderr.contains("`ecs-bootstrap:cluster` (IMDS)"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("remedy: "), "{}", outcome.stderr);
}

#[test]
fn is_undecided_while_cloud_final_runs() {
    let instance = Instance::new().without_tags().tag("Name", "web");
    instance.systemd.cloud_final_runs();
    let plan = planned(&instance, &[]);
    assert_eq!((&plan["cluster"], &plan["ecs_config"]["changed"]), (&Value::Null, &json!(false)));
    assert!(instance.run(&["plan"]).stdout.starts_with("cluster     undecided"));
}

#[test]
fn with_a_tag_in_metadata_no_api_is_called() {
    let instance = Instance::new();
    planned(&instance, &[]);
    assert!(instance.aws.requests().is_empty());
    let expected = [
        "GET /latest/dynamic/instance-identity/document",
        "GET /latest/meta-data/autoscaling/target-lifecycle-state",
        "GET /latest/meta-data/iam/security-credentials/",
        "GET /latest/meta-data/instance-life-cycle",
        "GET /latest/meta-data/tags/instance",
        "GET /latest/meta-data/tags/instance/ecs-bootstrap:cluster",
        "GET /latest/user-data",
        "PUT /latest/api/token",
    ];
    assert_eq!(requests(&instance), expected);
}

#[test]
fn reads_only_the_metadata_that_the_settings_need() {
    let locked = "[tags]\nsettings = \"none\"\n[derive]\nspot = false\nwarm-pool = \"off\"\n";
    let instance = Instance::new().setting_file("etc/ecs-bootstrap/config.toml", locked);
    assert_eq!(planned(&instance, &["--cluster", "dev"])["cluster"]["value"], "dev");
    let expected = ["GET /latest/dynamic/instance-identity/document", "GET /latest/user-data", "PUT /latest/api/token"];
    assert_eq!(requests(&instance), expected);
    assert!(instance.aws.requests().is_empty());
}

#[test]
fn reads_each_other_tag_that_matters_once() {
    let instance = Instance::new()
        .tag("Name", "web-1")
        .tag("stack", "web")
        .tag("ecs-bootstrap:ECS_LOGLEVEL", "debug")
        .setting_file("etc/ecs-bootstrap/config.toml", "derive.attributes = [\"stack\"]\n");
    let text = planned(&instance, &[])["ecs_config"]["text"].as_str().unwrap().to_owned();
    let lines = ["ECS_CLUSTER=prod", "ECS_INSTANCE_ATTRIBUTES={\"stack\":\"web\"}", "ECS_LOGLEVEL=debug"];
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    let tags: Vec<_> = requests(&instance).into_iter().filter(|path| path.contains("/tags/instance")).collect();
    assert_eq!(tags.len(), 4, "{tags:?}");
    assert!(!tags.iter().any(|path| path.ends_with("/Name")), "{tags:?}");
}

#[test]
fn renews_a_rejected_token() {
    let instance = Instance::new().imds_fault(ImdsFault::RejectsTokenOnce);
    assert_eq!(planned(&instance, &[])["cluster"]["value"], "prod");
    let puts = requests(&instance).iter().filter(|path| path.starts_with("PUT")).count();
    assert_eq!(puts, 2, "{:?}", requests(&instance));
}

#[test]
fn reads_metadata_over_ipv6() {
    let instance = Instance::ipv6();
    assert!(instance.imds.endpoint().contains("[::1]"));
    assert_eq!(planned(&instance, &[])["cluster"]["value"], "prod");
}

#[test]
fn without_tags_in_metadata_calls_ec2_once() {
    let instance = Instance::new().without_imds_tags();
    let plan = planned(&instance, &[]);
    assert_eq!(
        plan["cluster"]["source"],
        json!({"kind": "instance-tag", "where": "ec2:DescribeTags", "key": "ecs-bootstrap:cluster"})
    );
    assert_eq!(instance.aws.requests().len(), 1);
    assert_eq!(instance.aws.count("DescribeTags"), 1);
}

#[test]
fn a_cluster_of_a_higher_rank_makes_the_call_unnecessary() {
    let instance = Instance::new().without_imds_tags();
    assert_eq!(planned(&instance, &["--cluster", "dev"])["cluster"]["value"], "dev");
    let never = Instance::new().without_imds_tags().ecs_config("ECS_CLUSTER=dev\n");
    assert_eq!(planned(&never, &["--set", "tags.api=never"])["cluster"]["value"], "dev");
    assert!(instance.aws.requests().is_empty() && never.aws.requests().is_empty());
}

#[test]
fn waits_for_a_late_tag() {
    let instance = Instance::new().without_imds_tags();
    instance.aws.change(|aws| aws.tags_after_calls = 2);
    assert_eq!(planned(&instance, &[])["cluster"]["value"], "prod");
    assert_eq!(instance.aws.count("DescribeTags"), 3);
}

#[test]
fn throttling_does_not_use_up_the_wait_for_a_tag() {
    let instance = Instance::new().without_imds_tags();
    let throttled = Fault::error(503, "RequestLimitExceeded", "Request limit exceeded.");
    instance.aws.fail_first("DescribeTags", 1, throttled);
    instance.aws.change(|aws| aws.tags_after_calls = 2);
    let plan = planned(&instance, &["--set", "tags.wait=2100ms"]);
    assert_eq!(plan["cluster"]["value"], "prod");
    assert_eq!(instance.aws.count("DescribeTags"), 3);
}

#[test]
fn a_throttled_tag_that_is_not_needed_is_waited_for_only_shortly() {
    let throttled = Fault::error(503, "RequestLimitExceeded", "Request limit exceeded.");
    let instance = Instance::new().without_imds_tags().ecs_config("ECS_CLUSTER=dev\n");
    let instance = instance.aws_fault("DescribeTags", throttled);
    let plan = planned(&instance, &["--set", "tags.wait=1s"]);
    assert_eq!((&plan["cluster"]["value"], warning_ids(&plan)), (&json!("dev"), vec!["tags-unknown"]));
    assert_eq!(instance.aws.count("DescribeTags"), 1);
}

#[test]
fn waits_until_the_clusters_are_not_throttled() {
    let instance = Instance::new().without_tags().cluster("b", &[("env", "prod")]);
    for operation in ["ListClusters", "DescribeClusters"] {
        instance.aws.fail_first(operation, 1, Fault::error(400, "ThrottlingException", "Rate exceeded"));
    }
    assert_eq!(planned(&instance, &["--cluster-tag", "env=prod"])["cluster"]["value"], "b");
    assert_eq!(["ListClusters", "DescribeClusters"].map(|operation| instance.aws.count(operation)), [2, 2]);
}

#[test]
fn without_the_tag_no_cluster_is_named() {
    let instance = Instance::new().without_tags().without_imds_tags();
    refused(&instance, &["--set", "tags.wait=1s"], 21, "user-data-absent");
}

#[test]
fn a_denied_describe_tags_is_a_warning_if_a_file_names_the_cluster() {
    let denied = || Instance::new().without_imds_tags().aws_fault("DescribeTags", Fault::denied("ec2:DescribeTags"));
    let plan = planned(&denied().ecs_config("ECS_CLUSTER=dev\n"), &[]);
    assert_eq!((&plan["cluster"]["value"], warning_ids(&plan)), (&json!("dev"), vec!["tags-unknown"]));
    let outcome = denied().run(&["plan", "--set", "tags.wait=1s"]);
    assert_eq!(outcome.code, Some(22), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("ec2:DescribeTags"), "{}", outcome.stderr);
}

#[test]
fn chooses_a_cluster_by_tags_with_two_calls() {
    let instance = Instance::new()
        .without_tags()
        .tag("Name", "web")
        .cluster("a", &[("env", "dev")])
        .cluster("b", &[("env", "prod"), ("ecs-bootstrap:ECS_LOGLEVEL", "warn")]);
    let plan = planned(&instance, &["--cluster-tag", "env=prod"]);
    assert_eq!((&plan["cluster"]["value"], &plan["cluster"]["source"]["kind"]), (&json!("b"), &json!("cluster-tags")));
    assert_eq!(plan["ecs_config"]["text"], "ECS_CLUSTER=b\nECS_LOGLEVEL=warn\n");
    let counts = ["DescribeTags", "ListClusters", "DescribeClusters"].map(|operation| instance.aws.count(operation));
    assert_eq!((counts, instance.aws.requests().len()), ([0, 1, 1], 2));
}

#[test]
fn chooses_among_more_than_a_hundred_clusters() {
    let instance = Instance::new().without_imds_tags().without_tags();
    instance.aws.change(|aws| {
        for number in 0..150 {
            aws.add_cluster(&format!("c{number:03}"), &[("number", &number.to_string())]);
        }
    });
    let plan = planned(&instance, &["--cluster-tag", "number=149"]);
    assert_eq!(plan["cluster"]["value"], "c149");
    let counts = ["DescribeTags", "ListClusters", "DescribeClusters"].map(|operation| instance.aws.count(operation));
    assert_eq!(counts, [1, 2, 2]);
}

#[test]
fn reports_the_missing_tags_of_each_cluster_if_none_matches() {
    let instance = Instance::new().without_tags().tag("Name", "web").cluster("a", &[("env", "dev")]);
    instance.aws.change(|aws| {
        aws.add_cluster("gone", &[("env", "prod")]);
        aws.clusters.get_mut("gone").unwrap().status = "INACTIVE".into();
    });
    let outcome = instance.run(&["plan", "--cluster-tag", "env=prod"]);
    assert_eq!(outcome.code, Some(21), "{}", outcome.stderr);
    for line in ["`a`: no tag env=prod", "`gone`: status INACTIVE"] {
        assert!(outcome.stderr.contains(line), "{}", outcome.stderr);
    }
}
