//! Makes the system calls of a write fail, or kills the product there, with strace(1).
//!
//! In: how many points to try, and a seed. Out: for each point, whether `ecs.config` has the old or the new content,
//! the other files are complete or absent, there is one error, and the next run succeeds and leaves no temporary file.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::http::lock;
use crate::support::{Instance, Outcome};

/// The environment variable with the options of strace. If it is set, this program runs the product under strace.
pub const OPTIONS: &str = "HOSTILE_STRACE";
const PROGRAM: &str = "HOSTILE_STRACE_PROGRAM";
const PRODUCT: &str = env!("CARGO_BIN_EXE_ecs-bootstrap");
pub const HELP: &str = "Usage: tests/hostile/inject [--all | --sample N] [--seed N] [--jobs N] [WORD...]

Makes system calls of the product fail (EIO, ENOSPC, EACCES, EINTR) or kills the product there (SIGKILL). The calls are
those on ecs.config, written.json, plan.json, status.json and their folders. After each fault: ecs.config has the old
or the new content, the other files are complete, one error is reported, and the next run succeeds and leaves no
temporary file.

  --all       every point
  --sample N  N points, evenly spaced [default: 200]
  --seed N    which points the sample has; the default differs each time, and is printed
  --jobs N    try N points in parallel [default: 8]
  WORD        only points whose names contain it: a command, a system call or an error

It needs strace and dbus-daemon. The last line is `N passed, N failed`. Exit code: 0 if all passed, 1 otherwise, 2 for
a wrong command line.
";

const OLD: &str = "# by hand\nECS_LOGLEVEL=warn\n";
/// The `ecs.config` that user data left. Guard writes the plan into it.
const REPLACED: &str = "# by user data\nECS_LOGLEVEL=debug\n";
const CONFIG: &str = "etc/ecs/ecs.config";
const FOLDERS: [&str; 4] = ["etc/ecs", "var/lib/ecs-bootstrap", "run/ecs-bootstrap", "run/systemd/system"];
/// In the syntax of strace(1). Those with `?` do not exist on arm64.
const CALLS: &str = "?open,openat,openat2,?creat,read,pread64,write,pwrite64,writev,fsync,fdatasync,?rename,renameat,\
renameat2,fchmod,fchmodat,?chmod,fchown,fchownat,?chown,?mkdir,mkdirat,?unlink,unlinkat,ftruncate,flock,fstat,\
newfstatat,statx,?lstat,?stat,getdents64,close,lseek,?link,linkat,fcntl";
const FAULTS: [&str; 5] = ["error=EIO", "error=ENOSPC", "error=EACCES", "error=EINTR", KILL];
const KILL: &str = "signal=KILL";
/// How often a fault is tried again if it hit another call than intended.
const ATTEMPTS: usize = 4;
const LONGEST: Duration = Duration::from_secs(40);

/// The commands that write files, and the state of the host before each.
const COMMANDS: [(&str, Before); 5] = [
    ("run --no-wait", Before::Nothing),
    ("guard --rewrite", Before::Replaced),
    ("guard", Before::Replaced),
    ("verify", Before::Run),
    ("prepare-image --yes", Before::Run),
];

#[derive(Clone, Copy, PartialEq)]
enum Before {
    /// No run yet.
    Nothing,
    /// A run has written all files.
    Run,
    /// A run has written all files, and then user data has replaced `ecs.config`.
    Replaced,
}

/// One fault at one system call of one command.
#[derive(Clone)]
struct Point {
    command: &'static str,
    before: Before,
    call: String,
    /// Index among the calls of this name on the product's files.
    place: usize,
    /// Number among all calls of this name, counted in a run without a fault.
    number: usize,
    fault: &'static str,
}

impl Point {
    fn name(&self) -> String {
        format!("`{}`, {} {}, {}", self.command, self.call, self.place, self.fault)
    }
}

/// By command: `ecs.config` before and after it, without a fault.
type Results = BTreeMap<&'static str, (Vec<u8>, Vec<u8>)>;

/// Replaces this process by strace with the product. Returns only if strace cannot be started.
pub fn under_strace(options: &str) -> ExitCode {
    let root = std::env::var("ECS_BOOTSTRAP_ROOT").unwrap_or_else(|_| "/".into());
    let program = std::env::var_os(PROGRAM).unwrap_or_else(|| "strace".into());
    let path = std::env::var("PATH").unwrap_or_default();
    let mut strace = Command::new(program);
    strace.args(["-f", "-qq", "-y", "-o", &format!("{root}/home/trace")]);
    if !options.contains(KILL) {
        // Faster, but it cannot inject signals.
        strace.arg("--seccomp-bpf");
    }
    strace.args(["-E".to_owned(), format!("PATH={path}"), "-E".into(), OPTIONS.into(), "-E".into(), PROGRAM.into()]);
    strace.args(options.split('\n')).arg(PRODUCT).args(std::env::args_os().skip(1)).current_dir(&root);
    let error = strace.env("PATH", "/usr/local/bin:/usr/bin:/bin").exec();
    eprintln!("strace could not be started: {error}");
    ExitCode::from(125)
}

fn strace() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("strace")).find(|program| program.is_file())
}

pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let (mut sample, mut seed, mut jobs, mut words) = (Some(200), None, 8, Vec::new());
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse::<usize>().ok());
        match argument.as_str() {
            "-h" | "--help" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            "--all" => sample = None,
            "--sample" | "--seed" | "--jobs" => {
                let Some(number) = number() else {
                    eprintln!("error: `{argument}` takes a number; see --help");
                    return ExitCode::from(2);
                };
                match argument.as_str() {
                    "--sample" => sample = Some(number),
                    "--seed" => seed = Some(number),
                    _ => jobs = number,
                }
            }
            option if option.starts_with('-') => {
                eprintln!("error: unknown option `{option}`; see --help");
                return ExitCode::from(2);
            }
            word => words.push(word.to_owned()),
        }
    }
    let Some(program) = strace() else {
        eprintln!("error: strace is needed: apt-get install strace");
        return ExitCode::FAILURE;
    };
    let (points, results) = points(&program);
    let points: Vec<Point> =
        points.into_iter().filter(|point| words.iter().all(|word| point.name().contains(word))).collect();
    let seed = seed.unwrap_or_else(|| std::process::id() as usize);
    let chosen = choose(points, sample, seed);
    run(&program, &chosen, &results, jobs)
}

/// Runs each command once without a fault. Returns all points, and the content of `ecs.config` before and after.
fn points(program: &std::path::Path) -> (Vec<Point>, Results) {
    let (mut points, mut results) = (Vec::new(), Results::new());
    for (command, before) in COMMANDS {
        let instance = instance(program, &format!("-e\ntrace={CALLS}"));
        prepare(&instance, before);
        let old = instance.disk.read(CONFIG).unwrap_or_default();
        let outcome = traced(&instance, command);
        assert_eq!(outcome.code, Some(0), "`{command}` without a fault: {}", outcome.stderr);
        results.insert(command, (old, instance.disk.read(CONFIG).unwrap_or_default()));
        let found = calls(&instance);
        assert!(found.len() > 5, "`{command}`: {} calls were found", found.len());
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (call, number) in &found {
            let place = places.entry(call).or_default();
            let point = |fault| Point { command, before, call: call.clone(), place: *place, number: *number, fault };
            // A failed close(2) has closed the descriptor, and std panics on it. So close is only killed.
            let faults = FAULTS.iter().filter(|fault| call != "close" || **fault == KILL);
            points.extend(faults.copied().map(point));
            *place += 1;
        }
    }
    (points, results)
}

/// The calls of a trace on the product's files: the name, and the number among the calls of this name of its thread,
/// because strace counts by thread.
fn calls(instance: &Instance) -> Vec<(String, usize)> {
    let folders = FOLDERS.map(|folder| instance.disk.path(folder).display().to_string());
    let mut numbers: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut found = Vec::new();
    for line in instance.disk.text("home/trace").lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let Some((call, rest)) = rest.trim_start().split_once('(') else { continue };
        let number = numbers.entry((pid.to_owned(), call.to_owned())).or_default();
        *number += 1;
        if folders.iter().any(|folder| rest.contains(folder.as_str())) {
            found.push((call.to_owned(), *number));
        }
    }
    found
}

/// Points that are evenly spaced; the seed decides the first one.
fn choose(points: Vec<Point>, sample: Option<usize>, seed: usize) -> Vec<Point> {
    let all = points.len();
    let Some(sample) = sample.filter(|sample| *sample < all) else {
        println!("all {all} points");
        return points;
    };
    println!("{sample} of {all} points; repeat with: tests/hostile/inject --sample {sample} --seed {seed}");
    // Every fifth point has the same fault, so each chosen place is shifted to another fault.
    let first = seed % (all / sample).max(1);
    let mut chosen: Vec<usize> = (0..sample).map(|number| first + number * all / sample).collect();
    for (number, place) in chosen.iter_mut().enumerate() {
        *place = (*place + (seed + number) % FAULTS.len()).min(all - 1);
    }
    chosen.dedup();
    chosen.into_iter().map(|place| points[place].clone()).collect()
}

fn instance(program: &std::path::Path, options: &str) -> Instance {
    Instance::new()
        .ecs_config(OLD)
        .agent_behaves(|agent| agent.register_delay = Duration::ZERO)
        .env("ECS_BOOTSTRAP_VERIFY__DEADLINE", "20s")
        .env(PROGRAM, program)
        .env(OPTIONS, options)
        .wrapper(std::env::current_exe().expect("this program's own path"))
}

/// Brings the files into the state before the command, with the product and without a fault.
fn prepare(instance: &Instance, before: Before) {
    if before == Before::Nothing {
        return;
    }
    let outcome = clean(instance, "run --no-wait");
    assert_eq!(outcome.code, Some(0), "a run without a fault: {}", outcome.stderr);
    if before == Before::Replaced {
        instance.disk.write(CONFIG, REPLACED);
    }
}

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

fn traced(instance: &Instance, command: &str) -> Outcome {
    instance.run(&words(command))
}

/// Runs the command without strace.
fn clean(instance: &Instance, command: &str) -> Outcome {
    instance.run_by(PRODUCT, &words(command))
}

fn run(program: &std::path::Path, points: &[Point], results: &Results, jobs: usize) -> ExitCode {
    let failures: Mutex<Vec<String>> = Mutex::default();
    let (next, hit) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tried =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| try_point(program, point, results)));
                    let (is_hit, wrong) =
                        tried.unwrap_or_else(|_| (false, vec!["the harness panicked; see above".into()]));
                    hit.fetch_add(usize::from(is_hit), Ordering::Relaxed);
                    if !wrong.is_empty() {
                        lock(&failures).push(format!("{}:\n  {}", point.name(), wrong.join("\n  ")));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    let hit = hit.into_inner();
    println!("{hit} of {} faults hit the intended call, in {:.1} s", points.len(), began.elapsed().as_secs_f64());
    if hit * 10 < points.len() * 9 {
        println!("error: too few faults hit the intended call: the calls of a run differ from the recorded ones");
        return ExitCode::FAILURE;
    }
    println!("{} passed, {} failed", points.len() - failures.len(), failures.len());
    if failures.is_empty() && !points.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tries one point. Returns whether the fault hit the intended call, and what was wrong after it. Timers and sockets
/// make a varying number of calls of the same name. If the fault hit one of these, it is tried again with the number
/// that the intended call had in this run.
fn try_point(program: &std::path::Path, point: &Point, results: &Results) -> (bool, Vec<String>) {
    let mut number = point.number;
    for _ in 0..ATTEMPTS {
        let instance = instance(program, &inject(&point.call, point.fault, number));
        prepare(&instance, point.before);
        let outcome = traced(&instance, point.command);
        if met(&instance, &point.call, number) {
            return (true, after(point, &instance, &outcome, results));
        }
        let of_this_name = calls(&instance).into_iter().filter(|(call, _)| *call == point.call);
        number = of_this_name.map(|(_, number)| number).nth(point.place).unwrap_or(number);
    }
    println!("no fault at the intended call: {}", point.name());
    (false, Vec::new())
}

fn inject(call: &str, fault: &str, number: usize) -> String {
    format!("-e\ntrace={CALLS}\n-e\ninject={call}:{fault}:when={number}")
}

/// Whether the fault hit a call on the product's files.
fn met(instance: &Instance, call: &str, number: usize) -> bool {
    let trace = instance.disk.text("home/trace");
    let is_there = trace.contains("(INJECTED)") || trace.contains("+++ killed by SIGKILL");
    is_there && calls(instance).contains(&(call.to_owned(), number))
}

fn after(point: &Point, instance: &Instance, outcome: &Outcome, results: &Results) -> Vec<String> {
    let (old, new) = &results[point.command];
    let mut wrong = ended(point, outcome);
    let trace = instance.disk.text("home/trace");
    let is_there = |line: &&str| line.contains("(INJECTED)") || line.contains("+++ killed by SIGKILL");
    let injected = trace.lines().find(is_there).unwrap_or_default().to_owned();
    let now = instance.disk.read(CONFIG);
    if now.as_ref() != Some(old) && now.as_ref() != Some(new) {
        let now = now.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        wrong.push(format!("ecs.config is neither the old file nor the new one: {now:?}"));
    }
    for path in ["run/ecs-bootstrap/plan.json", "run/ecs-bootstrap/status.json", "var/lib/ecs-bootstrap/written.json"] {
        let text = instance.disk.read(path);
        if text.is_some_and(|text| serde_json::from_slice::<serde_json::Value>(&text).is_err()) {
            wrong.push(format!("{path} is not complete JSON"));
        }
    }
    wrong.extend(next_run(instance));
    if !wrong.is_empty() && !injected.is_empty() {
        wrong.push(format!("the call was: {injected}"));
    }
    wrong
}

fn ended(point: &Point, outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_killed = outcome.signal == Some(9) || outcome.code == Some(137);
    let errors = outcome.stdout.lines().chain(outcome.stderr.lines()).filter(|line| line.starts_with("error:")).count();
    match (point.fault, outcome.code) {
        // If the call was not made in this run, the process ended normally.
        (KILL, code) if is_killed || code == Some(0) => {}
        (KILL, code) => wrong.push(format!("exit code {code:?}; the process was not killed")),
        (_, Some(0)) if errors == 0 => {}
        (_, Some(10..=25)) if errors == 1 => {}
        (_, code) => wrong.push(format!("exit code {code:?} with {errors} error lines: {}", outcome.stderr.trim())),
    }
    if outcome.duration > LONGEST {
        wrong.push(format!("took {:?}", outcome.duration));
    }
    wrong
}

/// Runs `run --no-wait` without a fault and checks that it repairs everything.
fn next_run(instance: &Instance) -> Vec<String> {
    let mut wrong = Vec::new();
    let outcome = clean(instance, "run --no-wait");
    if outcome.code != Some(0) {
        wrong.push(format!("the next run ended with {:?}: {}", outcome.code, outcome.stderr.trim()));
    }
    let text = instance.disk.text(CONFIG);
    if !text.contains("ECS_CLUSTER=prod\n") || !text.contains("ECS_LOGLEVEL=") {
        wrong.push(format!("after the next run ecs.config holds {text:?}"));
    }
    for folder in FOLDERS {
        for entry in std::fs::read_dir(instance.disk.path(folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains(".ecs-bootstrap-") {
                wrong.push(format!("after the next run `{folder}/{name}` is left"));
            }
        }
    }
    wrong
}
