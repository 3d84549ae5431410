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
    assert!(told.contains("planned values written again"), "{told}");
}

#[test]
fn a_line_that_user_data_appended_wins_over_a_tag_that_is_a_fallback() {
    let settings = "tags.cluster = \"fallback\"\n";
    let instance = configured(Instance::new().setting_file("etc/ecs-bootstrap/config.toml", settings));
    assert_eq!(instance.disk.text(CONFIG), "ECS_CLUSTER=prod\n");
    append(&instance, "ECS_CLUSTER=theirs\n");
    assert_eq!(lets_start(&instance), "ECS_CLUSTER=theirs\n");
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
    assert_eq!(instance.run(&["guard"]).code, Some(0), "it names a cluster, though not the planned one");
    assert!(format!("{:?}", instance.journal.entries()).contains("symbolic link"));
    as_link(&instance, "ECS_LOGLEVEL=debug\n");
    refuses(&instance, 21, "symbolic link");
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
    assert!(format!("{:?}", instance.journal.entries()).contains("values are missing in ecs.config"));
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
fn a_cluster_that_the_instance_of_the_image_wrote_starts_the_agent_with_a_warning() {
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
    assert_eq!(lets_start(&instance), "ECS_CLUSTER=prod\n");
    let log = format!("{:?}", instance.journal.entries());
    assert!(log.contains("written on the instance from which this image was made"), "{log}");
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
    instance.disk.write("etc/elsewhere", "ECS_LOGLEVEL=debug\n");
    std::os::unix::fs::symlink(instance.disk.path("etc/elsewhere"), instance.disk.path(CONFIG)).unwrap();
    refuses(&instance, 21, "symbolic link");
    let outcome = instance.run(&["verify", "--set", "verify.deadline=2s"]);
    assert_eq!(outcome.code, Some(20), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stderr.contains("error: [ecs-config-unusable]"), "{}", outcome.stderr);
}

/// What stands in the way of reading a file, by its name.
fn spoil(instance: &Instance, path: &str, how: &str) {
    let at = instance.disk.path(path);
    instance.disk.remove(path);
    match how {
        "too long" => instance.disk.write(path, format!("ECS_CLUSTER=prod\n{}", "# filler\n".repeat(150_000))),
        "a folder" => instance.disk.folder(path),
        "a FIFO" => nix::unistd::mkfifo(&at, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        "a socket" => drop(std::os::unix::net::UnixListener::bind(&at).unwrap()),
        "a loop of links" => std::os::unix::fs::symlink(at.file_name().unwrap(), &at).unwrap(),
        "no text" => instance.disk.write(path, b"\x00\xff\xfe{{{[[[".repeat(100)),
        "cut off" => instance.disk.write(path, r#"{"version":1,"expectation":{"clus"#),
        "nested" => instance.disk.write(path, "[".repeat(200_000)),
        "of another version" => instance.disk.write(path, r#"{"version":99}"#),
        _ => panic!("{how}"),
    }
}

#[test]
fn a_file_that_cannot_be_read_is_not_a_file_that_names_no_cluster() {
    for path in [CONFIG, "var/lib/ecs/ecs.config", "etc/ecs/ecs.config.json"] {
        for how in ["too long", "a folder", "a FIFO", "a socket", "a loop of links"] {
            for has_plan in [false, true] {
                let instance = if has_plan { configured(Instance::new()) } else { Instance::new() };
                spoil(&instance, path, how);
                let outcome = instance.run(&["guard"]);
                assert_eq!(outcome.code, Some(0), "{path} is {how}: {}", outcome.stderr);
                assert!(outcome.duration < Duration::from_secs(5), "{path} is {how}: {:?}", outcome.duration);
                let told = format!("{:?}", instance.journal.entries());
                assert!(told.contains("file of the agent not read"), "{path} is {how}: {told}");
                assert_eq!(instance.run(&["guard", "--rewrite"]).code, Some(0), "{path} is {how}");
            }
        }
    }
    // What was not read is not replaced.
    let instance = configured(Instance::new());
    spoil(&instance, CONFIG, "too long");
    let before = instance.disk.read(CONFIG);
    lets_start(&instance);
    assert_eq!(instance.disk.read(CONFIG), before);
}

#[test]
fn whatever_else_of_ours_is_broken_an_agent_whose_file_names_a_cluster_starts() {
    const OURS: [&str; 4] = [
        "run/ecs-bootstrap/plan.json",
        "run/ecs-bootstrap/status.json",
        "run/ecs-bootstrap/lock",
        "var/lib/ecs-bootstrap/written.json",
    ];
    for path in OURS {
        for how in [
            "too long",
            "a folder",
            "a FIFO",
            "a socket",
            "a loop of links",
            "no text",
            "cut off",
            "nested",
            "of another version",
        ] {
            let instance = configured(Instance::new());
            append(&instance, "ECS_CLUSTER=old\n");
            spoil(&instance, path, how);
            let outcome = instance.run(&["guard"]);
            assert_eq!(outcome.code, Some(0), "{path} is {how}: {}", outcome.stderr);
        }
    }
    // A file in the place of the folder, and a folder that nobody may write to.
    for folder in ["run/ecs-bootstrap", "var/lib/ecs-bootstrap", "run", "dev"] {
        let instance = Instance::new().ecs_config("ECS_CLUSTER=prod\n");
        instance.disk.remove(folder);
        instance.disk.write(folder, "no folder");
        lets_start(&instance);
    }
}

#[test]
fn a_plan_that_was_cut_off_anywhere_stops_no_agent() {
    let instance = configured(Instance::new());
    let plan = instance.disk.read("run/ecs-bootstrap/plan.json").unwrap();
    for end in (0..plan.len()).step_by(plan.len() / 24) {
        instance.disk.write(CONFIG, "ECS_CLUSTER=old\n");
        instance.disk.write("run/ecs-bootstrap/plan.json", &plan[..end]);
        lets_start(&instance);
    }
}

#[test]
fn a_file_that_cannot_be_edited_stops_no_agent() {
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
    assert_eq!(lets_start(&instance), "ECS_CLUSTER=old\n");
}

#[test]
fn no_variable_of_its_environment_counts() {
    let names = ecs_bootstrap::settings::schema::ALL
        .iter()
        .map(|setting| format!("ECS_BOOTSTRAP_{}", setting.name.replace('.', "__").replace('-', "_").to_uppercase()));
    let others = ["LOG", "AGENT_ENDPOINT", "CLUTSER", "", "IMDS__DEADLINE__X", "AGENT__ECS_CLUSTER"];
    for name in names.chain(others.map(|name| format!("ECS_BOOTSTRAP_{name}"))) {
        for value in
            ["http://127.0.0.1:9", ""].into_iter().filter(|value| !value.is_empty() || !name.contains("ENDPOINT"))
        {
            let instance = configured(Instance::new()).env(&name, value);
            assert_eq!(lets_start(&instance), "ECS_CLUSTER=prod\n", "{name}");
        }
    }
}

#[test]
fn the_root_that_ecs_config_puts_into_its_environment_is_not_taken() {
    let elsewhere = configured(Instance::new());
    let binary = env!("CARGO_BIN_EXE_ecs-bootstrap");
    for value in ["/nonexistent", "", "relative", elsewhere.root().to_str().unwrap()] {
        let instance = Instance::new().ecs_config("ECS_CLUSTER=prod\n");
        let mut guard = std::process::Command::new(binary);
        let guard = guard.env_clear().env("ECS_BOOTSTRAP_ROOT", value).args(["guard", "--root"]).arg(instance.root());
        let outcome = guard.output().unwrap();
        assert_eq!(outcome.status.code(), Some(0), "{value}: {}", String::from_utf8_lossy(&outcome.stderr));
    }
    // A refusal below the given root although the other one names a cluster.
    let named = Instance::new().ecs_config("ECS_CLUSTER=prod\n");
    let bare = Instance::new();
    let mut guard = std::process::Command::new(binary);
    let guard = guard.env_clear().env("ECS_BOOTSTRAP_ROOT", named.root()).args(["guard", "--root"]).arg(bare.root());
    assert_eq!(guard.output().unwrap().status.code(), Some(21));
}

/// The command of the drop-in, as systemd gives it to the shell, with another program in the place of ours.
fn drop_in(program: &str) -> std::process::ExitStatus {
    let text = include_str!("../../systemd/ecs.service.d/10-ecs-bootstrap.conf");
    let line =
        text.lines().find_map(|line| line.strip_prefix("ExecStartPre=/bin/sh -c '")).expect("the drop-in calls guard");
    let script = line.strip_suffix('\'').unwrap().replace("$$", "$").replace("/usr/bin/ecs-bootstrap guard", program);
    assert!(script.contains(program), "{script}");
    std::process::Command::new("/bin/sh").args(["-c", &script]).status().unwrap()
}

#[test]
fn the_drop_in_stops_the_agent_for_a_refusal_and_for_nothing_else() {
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
