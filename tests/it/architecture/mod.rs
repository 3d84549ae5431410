//! The architecture invariants of CONTRIBUTING.md, each by a test of its name. They read the sources.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use self::imports::Imports;
use crate::support::Instance;

/// What each part of `src` may import. A part is a folder or a file directly below `src`. An import that is not listed
/// fails, and so does a listed import that no longer exists.
///
/// Foundation (`boundary` to `redaction`), then data types, then stages, then what connects them. No stage imports another
/// stage; only `commands` and `maintenance` know the order.
const ALLOWED: &[(&str, &[&str])] = &[
    ("retry", &[]),
    ("exit", &[]),
    ("comparison", &[]),
    ("boundary", &["retry"]),
    ("agent_variables", &["suggestion"]),
    ("mime", &[]),
    ("redaction", &["agent_variables"]),
    ("journal", &["redaction"]),
    // Data types and rules on them: no I/O.
    ("ecs_config", &["agent_variables", "redaction"]),
    ("settings", &["agent_variables", "ecs_config", "images", "mime", "redaction", "suggestion"]),
    ("facts", &["boundary", "settings"]),
    ("followed_tags", &["agent_variables"]),
    ("images", &[]),
    ("drain", &["settings"]),
    ("plan", &["agent_variables", "ecs_config", "facts", "followed_tags", "images", "redaction", "settings"]),
    ("effects", &["boundary", "plan"]),
    ("ownership", &["ecs_config", "facts", "plan", "settings"]),
    ("external", &["ecs_config", "facts", "plan", "settings"]),
    (
        "evidence",
        &[
            "boundary",
            "drain",
            "ecs_config",
            "effects",
            "facts",
            "followed_tags",
            "images",
            "mime",
            "plan",
            "redaction",
            "settings",
        ],
    ),
    ("cleanup", &["boundary", "evidence", "facts"]),
    ("timeline", &[]),
    ("watch", &[]),
    ("readiness", &["boundary", "evidence", "plan", "redaction"]),
    (
        "causes",
        &[
            "agent_variables",
            "boundary",
            "comparison",
            "drain",
            "ecs_config",
            "evidence",
            "exit",
            "external",
            "facts",
            "images",
            "plan",
            "readiness",
            "redaction",
            "settings",
        ],
    ),
    ("verdict", &["causes", "exit", "readiness"]),
    ("check", &["agent_variables", "ecs_config", "evidence", "mime", "redaction", "settings", "suggestion"]),
    (
        "render",
        &[
            "causes",
            "check",
            "cleanup",
            "drain",
            "ecs_config",
            "evidence",
            "exit",
            "images",
            "plan",
            "redaction",
            "settings",
            "timeline",
            "verdict",
            "watch",
        ],
    ),
    // What two stages read of the host.
    ("host", &["boundary", "drain", "ecs_config", "facts", "followed_tags", "images", "plan"]),
    ("probe", &["boundary", "ecs_config", "evidence", "facts", "host", "plan", "redaction", "retry", "timeline"]),
    // Stages.
    (
        "gather",
        &[
            "agent_variables",
            "boundary",
            "cleanup",
            "ecs_config",
            "evidence",
            "external",
            "facts",
            "host",
            "ownership",
            "plan",
            "probe",
            "redaction",
            "retry",
            "settings",
        ],
    ),
    (
        "decide",
        &[
            "agent_variables",
            "boundary",
            "cleanup",
            "ecs_config",
            "evidence",
            "external",
            "facts",
            "followed_tags",
            "images",
            "ownership",
            "plan",
            "redaction",
            "settings",
        ],
    ),
    (
        "apply",
        &["boundary", "cleanup", "ecs_config", "effects", "evidence", "facts", "host", "plan", "redaction", "retry"],
    ),
    (
        "verify",
        &[
            "boundary",
            "causes",
            "effects",
            "evidence",
            "facts",
            "host",
            "images",
            "plan",
            "probe",
            "readiness",
            "retry",
            "verdict",
            "watch",
        ],
    ),
    (
        "report",
        &["boundary", "drain", "exit", "facts", "host", "journal", "plan", "redaction", "render", "retry", "settings"],
    ),
    // The command line, and the two pipelines.
    ("command_line", &["exit", "suggestion", "terminal"]),
    ("suggestion", &[]),
    ("terminal", &[]),
    ("cli", &["causes", "check", "command_line", "exit", "render", "settings"]),
    (
        "commands",
        &[
            "apply",
            "boundary",
            "causes",
            "check",
            "cli",
            "command_line",
            "decide",
            "drain",
            "ecs_config",
            "effects",
            "evidence",
            "exit",
            "facts",
            "followed_tags",
            "gather",
            "host",
            "images",
            "journal",
            "ownership",
            "plan",
            "probe",
            "redaction",
            "render",
            "report",
            "retry",
            "settings",
            "suggestion",
            "timeline",
            "verdict",
            "verify",
            "watch",
        ],
    ),
    (
        "maintenance",
        &[
            "apply",
            "commands",
            "boundary",
            "cleanup",
            "command_line",
            "decide",
            "evidence",
            "gather",
            "redaction",
            "render",
            "retry",
            "verify",
        ],
    ),
    (
        "main",
        &[
            "commands",
            "boundary",
            "check",
            "cli",
            "command_line",
            "exit",
            "journal",
            "maintenance",
            "redaction",
            "retry",
            "settings",
        ],
    ),
    // The other program.
    ("bin", &["boundary", "command_line", "comparison", "exit", "retry", "suggestion"]),
];

/// Parts that do no I/O, read no clock and no environment, and are not `async`. `render/progress.rs` is excepted.
const PURE: [&str; 17] = [
    "agent_variables",
    "causes",
    "check",
    "cleanup",
    "decide",
    "ecs_config",
    "effects",
    "evidence",
    "facts",
    "mime",
    "ownership",
    "plan",
    "readiness",
    "render",
    "settings",
    "timeline",
    "verdict",
];

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The parts that each part imports, as the table has them.
fn parts(imports: &Imports) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut parts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, targets) in imports.iter().filter(|(file, _)| *file != "lib.rs") {
        let of_file = parts.entry(part(file)).or_default();
        of_file.extend(targets.keys().map(|target| part(target)).filter(|target| *target != part(file)));
    }
    parts
}

/// What differs from the table.
fn forbidden(imports: &Imports, allowed: &[(&str, &[&str])]) -> Vec<String> {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        allowed.iter().map(|(part, targets)| (*part, targets.iter().copied().collect())).collect();
    let actual = parts(imports);
    let mut offences = Vec::new();
    for part in allowed.keys().chain(actual.keys()).collect::<BTreeSet<_>>() {
        let none = BTreeSet::new();
        let (allowed, actual) = (allowed.get(part).unwrap_or(&none), actual.get(part).unwrap_or(&none));
        offences.extend(actual.difference(allowed).map(|target| format!("{part} imports {target}")));
        offences.extend(allowed.difference(actual).map(|target| format!("{part} no longer imports {target}")));
    }
    offences
}

#[test]
fn parts_import_only_what_the_table_allows() {
    none(forbidden(&imports::read(&source_folder()), ALLOWED));
}

#[test]
fn files_have_no_import_cycles() {
    let cycles = imports::cycles(&imports::read(&source_folder())).into_iter();
    none(cycles.map(|cycle| format!("import cycle: {cycle:?}")).collect());
}

#[test]
fn a_cause_file_imports_no_other_cause_file() {
    const CENTER: &[&str] = &["causes/cause.rs", "causes/layer.rs"];
    const COMPARING: &[&str] = &["causes/all.rs", "causes/engine.rs", "causes/examined.rs", "causes/mod.rs"];
    let imports = imports::read(&source_folder());
    let of_causes = imports.iter().filter(|(file, _)| part(file) == "causes" && !COMPARING.contains(&file.as_str()));
    let edges = of_causes.flat_map(|(file, used)| used.keys().map(move |other| (file, other)));
    let is_wrong = |file: &str, other: &str| {
        let is_view = other.starts_with("causes/view/") || CENTER.contains(&other);
        // The view knows no cause.
        part(other) == "causes" && (!is_view || (file.starts_with("causes/view/") && CENTER.contains(&other)))
    };
    none(
        edges
            .filter(|(file, other)| is_wrong(file, other))
            .map(|(file, other)| format!("{file} imports {other}"))
            .collect(),
    );
}

#[test]
fn planted_imports_and_cycles_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod a; mod b; mod c; mod d;");
    // Groups, aliases, re-exports, macros, attributes and test code.
    write("a.rs", "use crate::{b, c::{self, Inner as Other}};\nfn f() { b::g(); }");
    write(
        "b.rs",
        "pub fn g() { tracing::warn!(error = crate::d::text(), \"x\"); }\n#[cfg(test)]\nmod tests { use crate::c::Inner; }",
    );
    write("c/mod.rs", "mod inner;\npub use self::inner::Inner;\npub(crate) struct Top;");
    write("c/inner.rs", "pub struct Inner(super::Top);");
    write("d.rs", "pub(in crate::a) fn hidden() {}\npub fn text() -> impl Sized { super::a::f }");
    let imports = imports::read(folder.path());
    let of = |file: &str| imports[file].keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(of("a.rs"), ["b.rs", "c/inner.rs", "c/mod.rs"]);
    assert_eq!(of("b.rs"), ["d.rs"]);
    assert_eq!(of("c/mod.rs"), Vec::<&str>::new());
    assert_eq!(of("c/inner.rs"), ["c/mod.rs"]);
    assert_eq!(of("d.rs"), ["a.rs"]);
    let cycle = BTreeSet::from(["a.rs", "b.rs", "d.rs"].map(str::to_owned));
    assert_eq!(imports::cycles(&imports), [cycle]);
    let table: &[(&str, &[&str])] = &[("a", &["b", "c"]), ("b", &[]), ("c", &["a"]), ("d", &["a"])];
    assert_eq!(forbidden(&imports, table), ["b imports d", "c no longer imports a"]);
}

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
            let is_test =
                name.ends_with("tests.rs") || name.ends_with("oracles.rs") || name.ends_with("test_server.rs");
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
fn pure_parts_do_no_io_and_read_no_clock_and_no_environment() {
    const CLIENTS: [&str; 8] = ["World", "Disk", "Systemd", "Imds", "Aws", "Agent", "Docker", "Dns"];
    const OUTSIDE: [&str; 9] = [
        "std::env",
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "std::process",
        "std::time::Instant",
        "std::time::SystemTime::now",
        "tokio",
        "tracing",
    ];
    let is_pure = |file: &&String| PURE.contains(&part(file)) && !file.ends_with("render/progress.rs");
    let mut offences = Vec::new();
    let imports = imports::read(&source_folder());
    for file in imports.keys().filter(is_pure) {
        for (target, names) in &imports[file] {
            let clients = names.iter().filter(|name| CLIENTS.contains(&name.as_str()));
            offences.extend(clients.map(|client| format!("{file} imports the client {client} from {target}")));
        }
    }
    let externals = imports::externals(&source_folder());
    for file in externals.keys().filter(is_pure) {
        let outside = externals[file].iter().filter(|path| OUTSIDE.iter().any(|outside| path.starts_with(outside)));
        offences.extend(outside.map(|path| format!("{file} uses {path}")));
    }
    let files = sources();
    let asynchronous = files.iter().filter(|(file, _)| is_pure(file));
    offences.extend(asynchronous.flat_map(|(file, code)| lines_with(file, code, &["async ", ".await"])));
    none(offences);
}

#[test]
fn only_the_boundary_opens_files_sockets_and_buses() {
    // Clippy's `disallowed_methods` finds the calls; this is the list of files with an exception.
    let files = sources();
    let excepted: Vec<&str> = files
        .iter()
        .filter(|(file, code)| part(file) != "boundary" && code.contains("clippy::disallowed_methods"))
        .map(|(file, _)| file.as_str())
        .collect();
    assert_eq!(excepted, ["bin/ecs-rollout/environment.rs", "bin/ecs-rollout/files.rs", "journal.rs", "retry.rs"]);
}

#[test]
fn only_retry_waits() {
    const WAITS: [&str; 4] =
        ["tokio::time::sleep", "tokio::time::timeout", "tokio::time::interval", "std::thread::sleep"];
    let externals = imports::externals(&source_folder());
    let others = externals.iter().filter(|(file, _)| *file != "retry.rs");
    let waits = others.flat_map(|(file, paths)| {
        let waits = paths.iter().filter(|path| WAITS.iter().any(|wait| path.starts_with(wait)));
        waits.map(move |path| format!("{file} uses {path}"))
    });
    // A method, whose type is not part of its path.
    let files = sources();
    let others = files.iter().filter(|(file, _)| *file != "retry.rs");
    let methods = others.flat_map(|(file, code)| lines_with(file, code, &["recv_timeout"]));
    none(waits.chain(methods).collect());
}

#[test]
fn only_main_prints_and_picks_the_exit_code_and_a_verdict_is_reported_in_boot() {
    const PRINTS: &[&str] = &["println!", "eprintln!", "print!(", "process::exit", "stdout()", "ExitCode::from"];
    let files = sources();
    let others = files.iter().filter(|(file, _)| {
        !["command_line.rs", "exit.rs", "main.rs", "bin/ecs-rollout/main.rs"].contains(&file.as_str())
    });
    none(others.flat_map(|(file, code)| lines_with(file, code, PRINTS)).collect());
    let tellers: Vec<_> =
        files.iter().filter(|(_, code)| code.contains("report::locally(")).map(|(file, _)| file).collect();
    assert_eq!(tellers, ["commands/mod.rs"]);
}

#[test]
fn ecs_rollout_uses_six_modules_of_the_library_and_nothing_uses_it() {
    let files = sources();
    let library = files.iter().filter(|(file, _)| part(file) != "bin");
    let imports = imports::read(&source_folder());
    let targets = imports.iter().filter(|(file, _)| part(file) == "bin").flat_map(|(_, targets)| targets.keys());
    let used: BTreeSet<&str> = targets
        .filter(|target| part(target) != "bin")
        .map(|target| if target.starts_with("boundary/aws/") { "boundary/aws" } else { target.trim_end_matches(".rs") })
        .collect();
    assert!(
        used.iter().copied().eq(["boundary/aws", "command_line", "comparison", "exit", "retry", "suggestion"]),
        "{used:?}"
    );
    none(library.flat_map(|(file, code)| lines_with(file, code, &["ecs-rollout", "ecs_rollout"])).collect());
    // ecs-bootstrap makes no call of a deployment, so the code of these calls is not in its binary.
    const CALLS: &[&str] = &[
        "create_service(",
        "deregister_task_definition(",
        "describe_service(",
        "register_task_definition(",
        "run_task(",
        "stop_task(",
        "update_service(",
    ];
    const WHERE: [&str; 3] = ["boundary/aws/deployment.rs", "boundary/aws/revisions.rs", "boundary/aws/tasks.rs"];
    let library = files.iter().filter(|(file, _)| !file.starts_with("bin/") && !WHERE.contains(&file.as_str()));
    none(library.flat_map(|(file, code)| lines_with(file, code, CALLS)).collect());
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
    const PURE: [&str; 29] = [
        "api_model",
        "arn",
        "cause",
        "causes",
        "current",
        "decide",
        "definition_text",
        "described",
        "desired",
        "diff",
        "document",
        "evidence",
        "failure",
        "github",
        "images",
        "normalize",
        "outcome",
        "plan",
        "printable",
        "revision",
        "service",
        "service_deployment",
        "skeleton",
        "stability",
        "strategy",
        "template",
        "variables",
        "visible",
        "yaml",
    ];
    const PURE_ONE_OFF: [&str; 4] =
        ["one_off/judge.rs", "one_off/overrides.rs", "one_off/request.rs", "one_off/result.rs"];
    let files = sources();
    let pure = files.iter().filter(|(file, _)| {
        let deploy = file.strip_prefix("bin/ecs-rollout/");
        deploy.is_some_and(|file| PURE.contains(&part(file)) || PURE_ONE_OFF.contains(&file))
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
fn only_a_process_that_no_other_replaces_is_restarted_and_not_for_ever() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let units = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let units: Vec<_> =
        units.filter(|path| path.is_file()).chain([folder.join("ecs.service.d/10-ecs-bootstrap.conf")]).collect();
    assert_eq!(units.len(), 10);
    for path in units {
        let text = std::fs::read_to_string(&path).unwrap();
        let says = |name: &str| text.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
        let is_verification = path.ends_with("ecs-bootstrap-verify.service");
        if is_verification || path.ends_with("ecs-bootstrap-drain.service") {
            // An exit code of the verification is its verdict.
            let (restart, burst) = if is_verification { ("on-abnormal", "5") } else { ("on-failure", "30") };
            assert_eq!(says("Restart="), [restart]);
            assert_eq!((says("StartLimitIntervalSec="), says("StartLimitBurst=")), (vec!["1h"], vec![burst]));
            assert_eq!(says("OnFailure=") == ["ecs-bootstrap-verify-failed.service"], is_verification);
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
