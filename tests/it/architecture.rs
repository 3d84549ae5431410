//! The architecture invariants of CONTRIBUTING.md, each by a test of its name. They read the sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::Instance;

const ROOMS: [&str; 5] = ["gather", "decide", "apply", "verify", "tell"];
const NOUNS: [&str; 8] = ["settings", "facts", "plan", "effects", "evidence", "verdict", "ecs_config", "cleanup"];
const PURE: [&str; 11] = [
    "check",
    "settings",
    "facts",
    "plan",
    "effects",
    "evidence",
    "verdict",
    "ecs_config",
    "cleanup",
    "causes",
    "decide",
];

/// Every source file by its path below `src`, without its tests.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let is_test = name.ends_with("tests.rs") || name.ends_with("oracles.rs") || name.ends_with("loopback.rs");
            if name.ends_with(".rs") && !is_test {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = match text
                    .find("#[cfg(test)]\nmod tests {")
                    .or(text.find("#[cfg(test)]\npub(crate) mod tests {"))
                {
                    Some(end) => text[..end].to_owned(),
                    None => text,
                };
                files.insert(name, code);
            }
        }
    }
    assert!(files.len() > 40, "the sources were not found");
    files
}

/// The part of the program that a file belongs to: its folder, or its own name.
fn part(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// Files and lines where one of the fragments stands in code, not in a comment.
fn lines_with<'a>(file: &'a str, code: &'a str, fragments: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    code.lines().enumerate().filter_map(move |(number, line)| {
        let code = line.split("//").next().unwrap_or_default();
        fragments
            .iter()
            .any(|fragment| code.contains(fragment))
            .then(|| format!("{file}:{}: {}", number + 1, line.trim()))
    })
}

fn none(offences: Vec<String>) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn nouns_causes_decide_and_report_do_no_io_and_read_no_clock() {
    const FORBIDDEN: &[&str] = &[
        "async ",
        ".await",
        "crate::retry",
        "std::fs",
        "std::env",
        "std::net::Tcp",
        "SystemTime::now",
        "Instant::now",
        "boundary::World",
        "boundary::disk::Disk,",
        "disk::{Disk,",
        "disk::Disk;",
        "systemd::Systemd;",
        "{Systemd,",
        "imds::Imds;",
        "imds::{Imds,",
        "aws::Aws;",
        "{Aws,",
        "agent::Agent;",
        "docker::Docker;",
        "tracing::",
    ];
    let files = sources();
    let pure = files
        .iter()
        .filter(|(file, _)| PURE.contains(&part(file)) || (part(file) == "report" && !file.ends_with("progress.rs")));
    none(pure.flat_map(|(file, code)| lines_with(file, code, FORBIDDEN)).collect());
}

#[test]
fn rooms_never_import_each_other_and_the_floor_knows_neither_rooms_nor_nouns() {
    let files = sources();
    let mut offences = Vec::new();
    for (file, code) in &files {
        let part = part(file);
        let mut forbidden: Vec<String> = Vec::new();
        if ROOMS.contains(&part) {
            forbidden.extend(ROOMS.iter().filter(|room| **room != part).map(|room| format!("crate::{room}")));
        } else if !["boot", "care", "main", "lib", "bin"].contains(&part) {
            forbidden.extend(ROOMS.iter().map(|room| format!("crate::{room}")));
        }
        if part == "boundary" || part == "retry" {
            forbidden.extend(NOUNS.iter().chain(["causes", "report"].iter()).map(|noun| format!("crate::{noun}")));
        }
        let forbidden: Vec<&str> = forbidden.iter().map(String::as_str).collect();
        offences.extend(lines_with(file, code, &forbidden));
    }
    none(offences);
}

#[test]
fn only_the_boundary_opens_files_sockets_and_buses() {
    // Clippy's `disallowed_methods` finds the calls; whoever is excepted from it is listed here.
    let files = sources();
    let excepted: Vec<&str> = files
        .iter()
        .filter(|(file, code)| part(file) != "boundary" && code.contains("clippy::disallowed_methods"))
        .map(|(file, _)| file.as_str())
        .collect();
    assert_eq!(excepted, ["bin/ecs-deploy/files.rs", "bin/ecs-deploy/main.rs", "journal.rs", "retry.rs"]);
}

#[test]
fn only_retry_waits() {
    const WAITS: &[&str] = &["time::sleep", "time::timeout", "time::interval", "thread::sleep", "recv_timeout"];
    let files = sources();
    let others = files.iter().filter(|(file, _)| file.as_str() != "retry.rs");
    none(others.flat_map(|(file, code)| lines_with(file, code, WAITS)).collect());
}

#[test]
fn only_main_prints_and_picks_the_exit_code_and_a_verdict_is_told_in_boot() {
    const PRINTS: &[&str] = &["println!", "eprintln!", "print!(", "process::exit", "stdout()", "ExitCode::from"];
    let files = sources();
    let others =
        files.iter().filter(|(file, _)| !["main.rs", "exit.rs", "bin/ecs-deploy/main.rs"].contains(&file.as_str()));
    none(others.flat_map(|(file, code)| lines_with(file, code, PRINTS)).collect());
    let tellers: Vec<_> =
        files.iter().filter(|(_, code)| code.contains("tell::signals(")).map(|(file, _)| file).collect();
    assert_eq!(tellers, ["boot.rs"]);
}

#[test]
fn ecs_deploy_uses_three_modules_of_the_library_and_nothing_uses_it() {
    let files = sources();
    let (deploy, library): (Vec<_>, Vec<_>) = files.iter().partition(|(file, _)| file.starts_with("bin/ecs-deploy/"));
    assert!(deploy.len() > 10, "the deploy tool was not found");
    let mut used = std::collections::BTreeSet::new();
    for (_, code) in &deploy {
        let paths = code.match_indices("ecs_bootstrap::").map(|(at, found)| &code[at + found.len()..]);
        used.extend(paths.filter_map(|path| path.split([';', '{', ' ']).next()).map(|path| {
            let known = ["boundary::aws", "exit", "retry"];
            known.into_iter().find(|known| path.starts_with(known)).unwrap_or(path)
        }));
    }
    assert!(used.iter().copied().eq(["boundary::aws", "exit", "retry"]), "{used:?}");
    none(library.into_iter().flat_map(|(file, code)| lines_with(file, code, &["ecs-deploy", "ecs_deploy"])).collect());
    // What a deployment calls, the boot never does: else its code would be in the instance's binary.
    const CALLS: &[&str] = &["create_service(", "update_service(", "register_task_definition(", "describe_service("];
    let boot =
        files.iter().filter(|(file, _)| !file.starts_with("bin/") && file.as_str() != "boundary/aws/services.rs");
    none(boot.flat_map(|(file, code)| lines_with(file, code, CALLS)).collect());
}

#[test]
fn of_the_deployment_decide_and_the_catalogue_are_pure() {
    const FORBIDDEN: &[&str] = &[
        "async ",
        ".await",
        "retry",
        "std::fs",
        "std::env",
        "std::io",
        "::now",
        "crate::client",
        "crate::progress::Progress",
    ];
    const PURE: [&str; 15] = [
        "api_model",
        "cause",
        "causes",
        "current",
        "decide",
        "desired",
        "diff",
        "evidence",
        "normalize",
        "outcome",
        "plan",
        "revision",
        "service",
        "stability",
        "template",
    ];
    let files = sources();
    let pure = files.iter().filter(|(file, _)| {
        let deploy = file.strip_prefix("bin/ecs-deploy/");
        deploy.is_some_and(|file| PURE.contains(&part(file)))
    });
    let pure: Vec<_> = pure.collect();
    assert!(pure.len() > 10, "{pure:?}");
    none(pure.into_iter().flat_map(|(file, code)| lines_with(file, code, FORBIDDEN)).collect());
}

#[test]
fn a_second_run_writes_nothing_and_starts_nothing() {
    let instance = Instance::new().tag("ecs-bootstrap:ECS_LOGLEVEL", "debug");
    let first = instance.run(&["run", "--wait"]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let stamp = |path: &str| {
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::metadata(instance.disk.path(path)).unwrap();
        (file.ino(), file.mtime(), file.mtime_nsec())
    };
    const FILES: [&str; 2] = ["/etc/ecs/ecs.config", "/var/lib/ecs-bootstrap/written.json"];
    let before = FILES.map(stamp);
    instance.systemd.forget_calls();
    let second = instance.run(&["run", "--wait"]);
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert_eq!(FILES.map(stamp), before);
    let started: Vec<_> =
        instance.systemd.calls().into_iter().filter(|call| format!("{call:?}").contains("tartUnit")).collect();
    assert!(started.is_empty(), "{started:?}");
}

#[test]
fn only_a_verification_that_dies_is_restarted_and_not_for_ever() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let units = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let units: Vec<_> =
        units.filter(|path| path.is_file()).chain([folder.join("ecs.service.d/10-ecs-bootstrap.conf")]).collect();
    assert_eq!(units.len(), 4);
    for path in units {
        let text = std::fs::read_to_string(&path).unwrap();
        let says = |name: &str| text.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
        if path.ends_with("ecs-bootstrap-verify.service") {
            assert_eq!(says("Restart="), ["on-abnormal"]);
            assert_eq!((says("StartLimitIntervalSec="), says("StartLimitBurst=")), (vec!["1h"], vec!["5"]));
            assert_eq!(says("OnFailure="), ["ecs-bootstrap-verify-failed.service"]);
        } else {
            assert_eq!(says("Restart="), Vec::<&str>::new(), "{}", path.display());
        }
        if path.extension().is_some_and(|end| end == "service") {
            assert_eq!(
                (says("OOMScoreAdjust="), says("MemoryMax=")),
                (vec!["-500"], vec!["128M"]),
                "{}",
                path.display()
            );
        }
    }
}
