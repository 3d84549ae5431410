//! `guard`, which the drop-in of the agent's unit runs before each start: after a run, with `ecs.config` as user data
//! left it.

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

fn allows_start(instance: &Instance) -> String {
    let outcome = instance.run(&["guard"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), ""), "{}", outcome.stderr);
    instance.disk.text(CONFIG)
}

fn refuses(instance: &Instance, code: i32, text: &str) -> Outcome {
    let outcome = instance.run(&["guard"]);
    assert_eq!(outcome.code, Some(code), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains(text), "{}", outcome.stderr);
    outcome
}

fn append(instance: &Instance, lines: &str) {
    let text = instance.disk.text(CONFIG) + lines;
    instance.disk.write(CONFIG, text);
}

#[test]
fn does_not_write_a_file_that_is_as_planned() {
    let instance = configured(Instance::new());
    let inode = || std::fs::metadata(instance.disk.path(CONFIG)).unwrap().ino();
    let before = inode();
    assert_eq!(allows_start(&instance), "ECS_CLUSTER=prod\n");
    assert_eq!(inode(), before);
}

#[test]
fn calls_neither_the_network_nor_systemd() {
    let instance = configured(Instance::new());
    append(&instance, "ECS_CLUSTER=old\n");
    let asked = |instance: &Instance| (instance.imds.requests().len(), instance.aws.requests().len());
    let before = asked(&instance);
    instance.systemd.forget_calls();
    allows_start(&instance);
    assert_eq!(asked(&instance), before);
    assert!(instance.systemd.calls().is_empty(), "{:?}", instance.systemd.calls());
}

#[test]
fn a_line_that_user_data_appended_does_not_win_over_the_tag() {
    let instance = configured(Instance::new());
    append(&instance, "ECS_CLUSTER=old\nECS_LOGLEVEL=debug\n");
    assert_eq!(allows_start(&instance), "ECS_CLUSTER=prod\nECS_LOGLEVEL=debug\n");
    let log = format!("{:?}", instance.journal.entries());
    assert!(log.contains("planned values written again"), "{log}");
}

#[test]
fn a_line_that_user_data_appended_wins_over_a_fallback_tag() {
    let settings = "tags.cluster = \"fallback\"\n";
    let instance = configured(Instance::new().setting_file("etc/ecs-bootstrap/config.toml", settings));
    assert_eq!(instance.disk.text(CONFIG), "ECS_CLUSTER=prod\n");
    append(&instance, "ECS_CLUSTER=theirs\n");
    assert_eq!(allows_start(&instance), "ECS_CLUSTER=theirs\n");
    let pinned = format!("{settings}cluster = \"pinned\"\n");
    let instance = Instance::new().cluster("pinned", &[]).setting_file("etc/ecs-bootstrap/config.toml", &pinned);
    assert_eq!(configured(instance).disk.text(CONFIG), "ECS_CLUSTER=pinned\n");
    let never = Instance::new().setting_file("etc/ecs-bootstrap/config.toml", "tags.cluster = \"never\"\n");
    let outcome = never.run(&["run", "--no-wait"]);
    assert_eq!(outcome.code, Some(21), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("`tags.cluster` is `never`"), "{}", outcome.stderr);
    assert!(never.aws.requests().iter().all(|request| !format!("{request:?}").contains("DescribeTags")));
}

#[test]
fn a_file_that_user_data_replaced_gets_its_cluster_back() {
    let instance = configured(Instance::new());
    instance.disk.write(CONFIG, "ECS_LOGLEVEL=debug\n");
    let text = allows_start(&instance);
    assert!(text.contains("ECS_CLUSTER=prod\n") && text.contains("ECS_LOGLEVEL=debug\n"), "{text}");
    instance.disk.remove(CONFIG);
    assert_eq!(allows_start(&instance), "ECS_CLUSTER=prod\n");
}

#[test]
fn a_later_run_still_removes_a_line_that_guard_wrote() {
    let instance = configured(Instance::new());
    instance.disk.write(CONFIG, "");
    allows_start(&instance);
    // The tag is removed, so the line that guard wrote is removed too.
    let instance = instance.without_tags().setting_file("etc/ecs-bootstrap/config.toml", "cluster = \"prod2\"\n");
    configured(instance.cluster("prod2", &[])).disk.text(CONFIG).lines().for_each(|line| {
        assert_eq!(line, "ECS_CLUSTER=prod2");
    });
}

#[test]
fn without_a_plan_any_file_that_names_a_cluster_is_enough() {
    let instance = Instance::new().ecs_config("ECS_CLUSTER=by-hand\n# mine\n");
    assert_eq!(allows_start(&instance), "ECS_CLUSTER=by-hand\n# mine\n");
    let image = Instance::new().file("var/lib/ecs/ecs.config", "ECS_CLUSTER=image\n");
    allows_start(&image);
    let json = Instance::new().file("etc/ecs/ecs.config.json", r#"{"Cluster": "json"}"#);
    allows_start(&json);
    let broken =
        Instance::new().ecs_config("ECS_CLUSTER=by-hand\n").file("run/ecs-bootstrap/plan.json", "{\"version\"");
    allows_start(&broken);
}

#[test]
fn refuses_to_start_an_agent_that_no_file_gives_a_cluster() {
    for text in ["", "ECS_CLUSTER=\n", "# ECS_CLUSTER=prod\n"] {
        let instance = Instance::new().ecs_config(text).file(CONSOLE, "");
        refuses(&instance, 21, "error: [no-cluster-named]");
        let status: serde_json::Value =
            serde_json::from_str(&instance.disk.text("run/ecs-bootstrap/status.json")).unwrap();
        assert_eq!(status["cause"]["id"], "no-cluster-named");
        let console = instance.disk.text(CONSOLE);
        assert!(console.contains("[no-cluster-named] remedy: "), "{console}");
        assert!(!console.contains("seen: "), "{console}");
        // The unit restarts every ten seconds, but the console gets the message once.
        refuses(&instance, 21, "error: [no-cluster-named]");
        assert_eq!(instance.disk.text(CONSOLE), console);
    }
    allows_start(&Instance::new().ecs_config("ECS_CLUSTER=default\n"));
}

#[test]
fn accepts_the_cluster_that_user_data_names_after_an_undecided_run() {
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
    assert_eq!(allows_start(&instance), "ECS_CLUSTER=web\n");
    let status = instance.run(&["status"]);
    assert_eq!(status.code, Some(0), "the old refusal is removed: {}", status.stdout);
}

#[test]
fn reports_why_the_run_before_it_left_no_plan() {
    let instance = Instance::new().without_tags().setting_file("etc/ecs-bootstrap/config.toml", "clutser = \"prod\"\n");
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(20));
    let outcome = refuses(&instance, 21, "error: [setting-invalid]");
    assert!(outcome.stderr.contains("error: [no-cluster-named]"), "{}", outcome.stderr);
    assert_eq!(instance.run(&["status"]).code, Some(20), "the reason is still reported");
}

#[test]
fn a_file_that_cannot_be_written_is_checked_as_it_is() {
    let as_link = |instance: &Instance, text: &str| {
        instance.disk.remove(CONFIG);
        instance.disk.write("etc/elsewhere", text);
        std::os::unix::fs::symlink("../elsewhere", instance.disk.path(CONFIG)).unwrap();
    };
    let instance = configured(Instance::new());
    as_link(&instance, "ECS_CLUSTER=prod\nECS_CLUSTER=prod\n");
    assert_eq!(instance.run(&["guard"]).code, Some(0));
    as_link(&instance, "ECS_CLUSTER=old\n");
    assert_eq!(instance.run(&["guard"]).code, Some(0), "it names a cluster, though not the planned one");
    assert!(format!("{:?}", instance.journal.entries()).contains("symbolic link"));
    as_link(&instance, "ECS_LOGLEVEL=debug\n");
    refuses(&instance, 21, "symbolic link");
}

#[test]
fn a_secret_is_kept_in_the_file_and_not_in_the_plan() {
    let secret = r#"{"hub":{"password":"hunter2"}}"#;
    let settings = format!("[agent]\nECS_ENGINE_AUTH_DATA = '{secret}'\n");
    let instance = configured(Instance::new().setting_file("etc/ecs-bootstrap/config.toml", &settings));
    assert!(!instance.disk.text("run/ecs-bootstrap/plan.json").contains("hunter2"));
    append(&instance, "ECS_CLUSTER=old\n");
    let text = allows_start(&instance);
    assert!(text.contains(secret) && text.contains("ECS_CLUSTER=prod\n") && !text.contains("old"), "{text}");
    let mode = std::fs::metadata(instance.disk.path(CONFIG)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    instance.disk.write(CONFIG, "");
    allows_start(&instance);
    assert!(format!("{:?}", instance.journal.entries()).contains("values are missing in ecs.config"));
}

#[test]
fn waits_for_a_planned_gpu() {
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
fn a_cluster_that_the_images_source_instance_wrote_is_accepted_with_a_warning() {
    let parent = configured(Instance::new());
    let copy = |id: &str| {
        let instance = Instance::new().without_tags().tag("Name", "copy");
        instance.imds.change(|imds| imds.instance_id = id.to_owned());
        for file in [CONFIG, "var/lib/ecs-bootstrap/written.json"] {
            instance.disk.write(file, parent.disk.text(file));
        }
        instance.file("var/lib/cloud/data/instance-id", format!("{id}\n"))
    };
    // The run of this instance has failed, so there is no plan.
    let instance = copy("i-0fedcba9876543210");
    assert_eq!(instance.run(&["run", "--no-wait"]).code, Some(21));
    assert_eq!(allows_start(&instance), "ECS_CLUSTER=prod\n");
    let log = format!("{:?}", instance.journal.entries());
    assert!(log.contains("written on the instance from which this image was made"), "{log}");
    // On the instance that wrote the line, a failed run does not stop the agent.
    let same = copy("i-0123456789abcdef0");
    assert_eq!(allows_start(&same), "ECS_CLUSTER=prod\n");
}

#[test]
fn rewrite_writes_the_file_and_refuses_nothing() {
    let instance = configured(Instance::new());
    instance.disk.write(CONFIG, "ECS_CLUSTER=old\n");
    assert_eq!(instance.run(&["guard", "--rewrite"]).code, Some(0));
    assert_eq!(instance.disk.text(CONFIG), "ECS_CLUSTER=prod\n");
    assert_eq!(Instance::new().run(&["guard", "--rewrite"]).code, Some(0));
}

#[test]
fn wrong_variables_do_not_stop_the_agent() {
    let instance = configured(Instance::new())
        .env("ECS_BOOTSTRAP_LOG", "no such level!!")
        .env("ECS_BOOTSTRAP_CLUTSER", "typo")
        .env("ECS_CLUSTER", "prod");
    allows_start(&instance);
}

#[test]
fn a_refusal_is_the_verdict_if_there_is_no_other_cause() {
    let instance = configured(Instance::new().unit("ecs.service", |unit| unit.start = NeverEnds));
    instance.disk.remove(CONFIG);
    instance.disk.write("etc/elsewhere", "ECS_LOGLEVEL=debug\n");
    std::os::unix::fs::symlink(instance.disk.path("etc/elsewhere"), instance.disk.path(CONFIG)).unwrap();
    refuses(&instance, 21, "symbolic link");
    let outcome = instance.run(&["verify", "--set", "verify.deadline=2s"]);
    assert_eq!(outcome.code, Some(20), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("error: [ecs-config-unusable]"), "{}", outcome.stderr);
}

/// Makes a file unreadable or its content invalid.
fn damage(instance: &Instance, path: &str, how: &str) {
    let at = instance.disk.path(path);
    instance.disk.remove(path);
    match how {
        "too long" => instance.disk.write(path, format!("ECS_CLUSTER=prod\n{}", "# filler\n".repeat(150_000))),
        "a folder" => instance.disk.folder(path),
        "a FIFO" => nix::unistd::mkfifo(&at, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        "a socket" => drop(std::os::unix::net::UnixListener::bind(&at).unwrap()),
        "a loop of links" => std::os::unix::fs::symlink(at.file_name().unwrap(), &at).unwrap(),
        "not text" => instance.disk.write(path, b"\x00\xff\xfe{{{[[[".repeat(100)),
        "cut off" => instance.disk.write(path, r#"{"version":1,"expectation":{"clus"#),
        "nested" => instance.disk.write(path, "[".repeat(200_000)),
        "of another version" => instance.disk.write(path, r#"{"version":99}"#),
        _ => panic!("{how}"),
    }
}

#[test]
fn an_unreadable_file_does_not_stop_the_agent() {
    for path in [CONFIG, "var/lib/ecs/ecs.config", "etc/ecs/ecs.config.json"] {
        for how in ["too long", "a folder", "a FIFO", "a socket", "a loop of links"] {
            for has_plan in [false, true] {
                let instance = if has_plan { configured(Instance::new()) } else { Instance::new() };
                damage(&instance, path, how);
                let outcome = instance.run(&["guard"]);
                assert_eq!(outcome.code, Some(0), "{path} is {how}: {}", outcome.stderr);
                assert!(outcome.duration < Duration::from_secs(20), "{path} is {how}: {:?}", outcome.duration);
                let log = format!("{:?}", instance.journal.entries());
                assert!(log.contains("file of the agent not read"), "{path} is {how}: {log}");
                assert_eq!(instance.run(&["guard", "--rewrite"]).code, Some(0), "{path} is {how}");
            }
        }
    }
    // A file that could not be read is not replaced.
    let instance = configured(Instance::new());
    damage(&instance, CONFIG, "too long");
    let before = instance.disk.read(CONFIG);
    allows_start(&instance);
    assert_eq!(instance.disk.read(CONFIG), before);
}

#[test]
fn broken_files_of_ecs_bootstrap_do_not_stop_an_agent_with_a_cluster() {
    const FILES: [&str; 4] = [
        "run/ecs-bootstrap/plan.json",
        "run/ecs-bootstrap/status.json",
        "run/ecs-bootstrap/lock",
        "var/lib/ecs-bootstrap/written.json",
    ];
    for path in FILES {
        for how in [
            "too long",
            "a folder",
            "a FIFO",
            "a socket",
            "a loop of links",
            "not text",
            "cut off",
            "nested",
            "of another version",
        ] {
            let instance = configured(Instance::new());
            append(&instance, "ECS_CLUSTER=old\n");
            damage(&instance, path, how);
            let outcome = instance.run(&["guard"]);
            assert_eq!(outcome.code, Some(0), "{path} is {how}: {}", outcome.stderr);
        }
    }
    // A file instead of the folder.
    for folder in ["run/ecs-bootstrap", "var/lib/ecs-bootstrap", "run", "dev"] {
        let instance = Instance::new().ecs_config("ECS_CLUSTER=prod\n");
        instance.disk.remove(folder);
        instance.disk.write(folder, "not a folder");
        allows_start(&instance);
    }
}

#[test]
fn a_truncated_plan_does_not_stop_the_agent() {
    let instance = configured(Instance::new());
    let plan = instance.disk.read("run/ecs-bootstrap/plan.json").unwrap();
    for end in (0..plan.len()).step_by(plan.len() / 24) {
        instance.disk.write(CONFIG, "ECS_CLUSTER=old\n");
        instance.disk.write("run/ecs-bootstrap/plan.json", &plan[..end]);
        allows_start(&instance);
    }
}

#[test]
fn a_file_that_cannot_be_edited_does_not_stop_the_agent() {
    // Values that ecs-init and systemd read differently, and a lock that another run holds.
    for text in ["X=\"open\nECS_CLUSTER=old\n", "X='open\nECS_CLUSTER=old\n", "ECS_CLUSTER=old\nX=a\\\nY=b\n"] {
        let instance = configured(Instance::new());
        instance.disk.write(CONFIG, text);
        let outcome = instance.run(&["guard"]);
        assert_eq!(outcome.code, Some(0), "{text}: {}", outcome.stderr);
    }
    let instance = configured(Instance::new());
    instance.disk.write(CONFIG, "ECS_CLUSTER=old\n");
    let held = std::fs::File::open(instance.disk.path("run/ecs-bootstrap/lock")).unwrap();
    held.lock().unwrap();
    assert_eq!(allows_start(&instance), "ECS_CLUSTER=old\n");
}

#[test]
fn ignores_every_variable_of_its_environment() {
    let names = ecs_bootstrap::settings::schema::ALL
        .iter()
        .map(|setting| format!("ECS_BOOTSTRAP_{}", setting.name.replace('.', "__").replace('-', "_").to_uppercase()));
    let others = ["LOG", "AGENT_ENDPOINT", "CLUTSER", "", "IMDS__DEADLINE__X", "AGENT__ECS_CLUSTER"];
    for name in names.chain(others.map(|name| format!("ECS_BOOTSTRAP_{name}"))) {
        for value in
            ["http://127.0.0.1:9", ""].into_iter().filter(|value| !value.is_empty() || !name.contains("ENDPOINT"))
        {
            let instance = configured(Instance::new()).env(&name, value);
            assert_eq!(allows_start(&instance), "ECS_CLUSTER=prod\n", "{name}");
        }
    }
}

#[test]
fn ignores_a_root_in_its_environment() {
    let elsewhere = configured(Instance::new());
    let binary = env!("CARGO_BIN_EXE_ecs-bootstrap");
    for value in ["/nonexistent", "", "relative", elsewhere.root().to_str().unwrap()] {
        let instance = Instance::new().ecs_config("ECS_CLUSTER=prod\n");
        let mut guard = std::process::Command::new(binary);
        let guard = guard.env_clear().env("ECS_BOOTSTRAP_ROOT", value).args(["guard", "--root"]).arg(instance.root());
        let outcome = guard.output().unwrap();
        assert_eq!(outcome.status.code(), Some(0), "{value}: {}", String::from_utf8_lossy(&outcome.stderr));
    }
    // The root of `--root` has no cluster, so guard refuses, although the root of the environment has one.
    let named = Instance::new().ecs_config("ECS_CLUSTER=prod\n");
    let bare = Instance::new();
    let mut guard = std::process::Command::new(binary);
    let guard = guard.env_clear().env("ECS_BOOTSTRAP_ROOT", named.root()).args(["guard", "--root"]).arg(bare.root());
    assert_eq!(guard.output().unwrap().status.code(), Some(21));
}

/// Runs the command of the drop-in with a shell like systemd, with another program instead of ecs-bootstrap.
fn drop_in(program: &str) -> std::process::ExitStatus {
    let text = include_str!("../../systemd/ecs.service.d/10-ecs-bootstrap.conf");
    let line =
        text.lines().find_map(|line| line.strip_prefix("ExecStartPre=/bin/sh -c '")).expect("the drop-in calls guard");
    let script = line.strip_suffix('\'').unwrap().replace("$$", "$").replace("/usr/bin/ecs-bootstrap guard", program);
    assert!(script.contains(program), "{script}");
    std::process::Command::new("/bin/sh").args(["-c", &script]).status().unwrap()
}

#[test]
fn the_drop_in_stops_the_agent_only_for_a_refusal() {
    for code in (0..=255).filter(|code| *code != 21) {
        assert!(drop_in(&format!("/bin/sh -c \"exit {code}\"")).success(), "{code}");
    }
    assert_eq!(drop_in("/bin/sh -c \"exit 21\"").code(), Some(21));
    for lost in ["/nonexistent/ecs-bootstrap guard", "/etc/passwd guard", "/ guard"] {
        assert!(drop_in(lost).success(), "{lost}");
    }
    for signal in ["ABRT", "SEGV", "KILL", "TERM", "BUS"] {
        assert!(drop_in(&format!("/bin/sh -c \"kill -{signal} \\$\\$\"")).success(), "{signal}");
    }
}
