//! `guard`, as the drop-in of the agent's unit calls it: after a run, with `ecs.config` as user data has left it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use crate::support::systemd::Start::NeverEnds;
use crate::support::{Instance, Outcome};

const CONFIG: &str = "etc/ecs/ecs.config";
const CONSOLE: &str = "dev/console";

/// An instance whose run has configured it.
fn configured(instance: Instance) -> Instance {
    let outcome = instance.run(&["run", "--no-wait"]);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    instance
}

fn lets_start(instance: &Instance) -> String {
    let outcome = instance.run(&["guard"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), ""), "{}", outcome.stderr);
    instance.disk.text(CONFIG)
}

fn refuses(instance: &Instance, code: i32, said: &str) -> Outcome {
    let outcome = instance.run(&["guard"]);
    assert_eq!(outcome.code, Some(code), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    outcome
}

fn append(instance: &Instance, lines: &str) {
    let text = instance.disk.text(CONFIG) + lines;
    instance.disk.write(CONFIG, text);
}

#[test]
fn leaves_a_file_alone_that_is_as_planned() {
    let instance = configured(Instance::new());
    let inode = || std::fs::metadata(instance.disk.path(CONFIG)).unwrap().ino();
    let before = inode();
    assert_eq!(lets_start(&instance), "ECS_CLUSTER=prod\n");
    assert_eq!(inode(), before);
}

#[test]
fn asks_neither_the_network_nor_systemd() {
    let instance = configured(Instance::new());
    append(&instance, "ECS_CLUSTER=old\n");
    let asked = |instance: &Instance| (instance.imds.requests().len(), instance.aws.requests().len());
    let before = asked(&instance);
    instance.systemd.forget_calls();
    lets_start(&instance);
    assert_eq!(asked(&instance), before);
    assert!(instance.systemd.calls().is_empty(), "{:?}", instance.systemd.calls());
}

#[test]
fn a_line_that_user_data_appended_does_not_outrank_the_tag() {
    let instance = configured(Instance::new());
    append(&instance, "ECS_CLUSTER=old\nECS_LOGLEVEL=debug\n");
    assert_eq!(lets_start(&instance), "ECS_CLUSTER=prod\nECS_LOGLEVEL=debug\n");
    let told = format!("{:?}", instance.journal.entries());
    assert!(told.contains("what the plan says was written again"), "{told}");
}

#[test]
fn a_file_that_user_data_replaced_gets_its_cluster_back() {
    let instance = configured(Instance::new());
    instance.disk.write(CONFIG, "ECS_LOGLEVEL=debug\n");
    let text = lets_start(&instance);
    assert!(text.contains("ECS_CLUSTER=prod\n") && text.contains("ECS_LOGLEVEL=debug\n"), "{text}");
    instance.disk.remove(CONFIG);
    assert_eq!(lets_start(&instance), "ECS_CLUSTER=prod\n");
}

#[test]
fn what_was_written_by_the_next_run_is_still_known_as_ours() {
    let instance = configured(Instance::new());
    instance.disk.write(CONFIG, "");
    lets_start(&instance);
    // The tag goes: what guard wrote goes with it.
    let instance = instance.without_tags().setting_file("etc/ecs-bootstrap/config.toml", "cluster = \"prod2\"\n");
    configured(instance.cluster("prod2", &[])).disk.text(CONFIG).lines().for_each(|line| {
        assert_eq!(line, "ECS_CLUSTER=prod2");
    });
}

#[test]
fn without_a_plan_a_file_that_names_a_cluster_is_enough() {
    let instance = Instance::new().ecs_config("ECS_CLUSTER=by-hand\n# mine\n");
    assert_eq!(lets_start(&instance), "ECS_CLUSTER=by-hand\n# mine\n");
    let image = Instance::new().file("var/lib/ecs/ecs.config", "ECS_CLUSTER=image\n");
    lets_start(&image);
    let json = Instance::new().file("etc/ecs/ecs.config.json", r#"{"Cluster": "json"}"#);
    lets_start(&json);
    let broken =
        Instance::new().ecs_config("ECS_CLUSTER=by-hand\n").file("run/ecs-bootstrap/plan.json", "{\"version\"");
    lets_start(&broken);
}

#[test]
fn an_agent_that_would_join_default_because_nothing_names_a_cluster_is_not_started() {
    for text in ["", "ECS_CLUSTER=\n", "# ECS_CLUSTER=prod\n"] {
        let instance = Instance::new().ecs_config(text).file(CONSOLE, "");
        refuses(&instance, 21, "error: [no-cluster-named]");
        let status: serde_json::Value =
            serde_json::from_str(&instance.disk.text("run/ecs-bootstrap/status.json")).unwrap();
        assert_eq!(status["cause"]["id"], "no-cluster-named");
        let console = instance.disk.text(CONSOLE);
        assert!(console.contains("[no-cluster-named] remedy: "), "{console}");
        assert!(!console.contains("seen: "), "{console}");
        // Its unit tries every ten seconds; the console is told once.
        refuses(&instance, 21, "error: [no-cluster-named]");
        assert_eq!(instance.disk.text(CONSOLE), console);
    }
    lets_start(&Instance::new().ecs_config("ECS_CLUSTER=default\n"));
}

#[test]
fn what_user_data_names_after_an_undecided_run_is_the_cluster() {
    let instance = configured(Instance::new().without_tags().tag("Name", "web").file(CONSOLE, "").user_data_runs());
    refuses(&instance, 21, "the run of this boot found no cluster");
    // Not an error yet.
    assert_eq!(instance.run(&["status"]).code, Some(0));
    assert_eq!(instance.disk.text(CONSOLE), "");
    instance.user_data_ends();
    refuses(&instance, 21, "the run of this boot found no cluster");
    assert_eq!(instance.run(&["status"]).code, Some(21));
    assert!(instance.disk.text(CONSOLE).contains("[no-cluster-named]"));
    instance.disk.write(CONFIG, "ECS_CLUSTER=old\nECS_CLUSTER=web\n");
    assert_eq!(lets_start(&instance), "ECS_CLUSTER=web\n");
    let status = instance.run(&["status"]);
    assert_eq!(status.code, Some(0), "the refusal is no longer true: {}", status.stdout);
}

#[test]
fn says_why_the_run_before_it_has_left_no_plan() {
    let instance = Instance::new().without_tags().setting_file("etc/ecs-bootstrap/config.toml", "clutser = \"prod\"\n");
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(20));
    let outcome = refuses(&instance, 21, "error: [setting-invalid]");
    assert!(outcome.stderr.contains("error: [no-cluster-named]"), "{}", outcome.stderr);
    assert_eq!(instance.run(&["status"]).code, Some(20), "the reason stands");
}

#[test]
fn a_file_that_cannot_be_written_is_judged_as_it_is() {
    let as_link = |instance: &Instance, text: &str| {
        instance.disk.remove(CONFIG);
        instance.disk.write("etc/elsewhere", text);
        std::os::unix::fs::symlink("../elsewhere", instance.disk.path(CONFIG)).unwrap();
    };
    let instance = configured(Instance::new());
    as_link(&instance, "ECS_CLUSTER=prod\nECS_CLUSTER=prod\n");
    assert_eq!(instance.run(&["guard"]).code, Some(0));
    as_link(&instance, "ECS_CLUSTER=old\n");
    refuses(&instance, 20, "symbolic link");
}

#[test]
fn a_secret_stays_in_the_file_and_out_of_the_plan() {
    let secret = r#"{"hub":{"password":"hunter2"}}"#;
    let settings = format!("[agent]\nECS_ENGINE_AUTH_DATA = '{secret}'\n");
    let instance = configured(Instance::new().setting_file("etc/ecs-bootstrap/config.toml", &settings));
    assert!(!instance.disk.text("run/ecs-bootstrap/plan.json").contains("hunter2"));
    append(&instance, "ECS_CLUSTER=old\n");
    let text = lets_start(&instance);
    assert!(text.contains(secret) && text.contains("ECS_CLUSTER=prod\n") && !text.contains("old"), "{text}");
    let mode = std::fs::metadata(instance.disk.path(CONFIG)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    instance.disk.write(CONFIG, "");
    lets_start(&instance);
    assert!(format!("{:?}", instance.journal.entries()).contains("has lost a secret"));
}

#[test]
fn waits_for_the_gpu_that_is_planned() {
    let instance = Instance::new().setting_file("etc/ecs-bootstrap/config.toml", "[derive]\ngpu = \"on\"\n");
    let instance = configured(instance.file("dev/null", ""));
    let running = instance.start(&["guard"]);
    std::thread::sleep(Duration::from_millis(600));
    let appeared = Instant::now();
    instance.disk.add_gpu();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.duration > Duration::from_millis(500), "{:?}", outcome.duration);
    assert!(appeared.elapsed() < Duration::from_secs(3));
}

#[test]
fn what_the_instance_of_the_image_wrote_names_no_cluster() {
    let parent = configured(Instance::new());
    let copy = |id: &str| {
        let instance = Instance::new().without_tags().tag("Name", "copy");
        instance.imds.change(|imds| imds.instance_id = id.to_owned());
        for file in [CONFIG, "var/lib/ecs-bootstrap/written.json"] {
            instance.disk.write(file, parent.disk.text(file));
        }
        instance.file("var/lib/cloud/data/instance-id", format!("{id}\n"))
    };
    // Its own run has failed, so there is no plan.
    let instance = copy("i-0fedcba9876543210");
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(21));
    let outcome = refuses(&instance, 21, "written by the instance that this image was made of");
    assert!(outcome.stderr.contains("no-cluster-named"), "{}", outcome.stderr);
    // The same disk on the same instance: a broken bootstrap breaks nothing.
    let same = copy("i-0123456789abcdef0");
    assert_eq!(lets_start(&same), "ECS_CLUSTER=prod\n");
}

#[test]
fn before_the_units_own_preparations_it_writes_and_refuses_nothing() {
    let instance = configured(Instance::new());
    instance.disk.write(CONFIG, "ECS_CLUSTER=old\n");
    assert_eq!(instance.run(&["guard", "--rewrite"]).code, Some(0));
    assert_eq!(instance.disk.text(CONFIG), "ECS_CLUSTER=prod\n");
    assert_eq!(Instance::new().run(&["guard", "--rewrite"]).code, Some(0));
}

#[test]
fn nothing_in_its_environment_keeps_an_agent_down() {
    let instance = configured(Instance::new())
        .env("ECS_BOOTSTRAP_LOG", "no such level!!")
        .env("ECS_BOOTSTRAP_CLUTSER", "typo")
        .env("ECS_CLUSTER", "prod");
    lets_start(&instance);
}

#[test]
fn its_refusal_is_the_verdict_where_nothing_else_says_why_the_agent_is_silent() {
    let instance = configured(Instance::new().unit("ecs.service", |unit| unit.start = NeverEnds));
    instance.disk.remove(CONFIG);
    instance.disk.write("etc/elsewhere", "ECS_CLUSTER=old\n");
    std::os::unix::fs::symlink(instance.disk.path("etc/elsewhere"), instance.disk.path(CONFIG)).unwrap();
    refuses(&instance, 20, "symbolic link");
    let outcome = instance.run(&["verify", "--set", "verify.deadline=2s"]);
    assert_eq!(outcome.code, Some(20), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("error: [ecs-config-unusable]"), "{}", outcome.stderr);
}
