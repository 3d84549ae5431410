//! Runs the product as a child and measures its peak memory: getrusage(2) of the children that ended.
//!
//! In: the arguments and the environment of the product. Out: its output and exit code unchanged, and its peak memory
//! in a file. A product that hangs is killed before the time limit of the simulators.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};

/// The environment variable with the path of that file. If it is set, this program is the wrapper.
pub const INTO: &str = "HOSTILE_MEASURED_INTO";
/// The exit code of a run that was killed because it took too long.
pub const HUNG: i32 = 124;
const PRODUCT: &str = env!("CARGO_BIN_EXE_ecs-bootstrap");
/// Longer than any row may take, and less than the simulators wait for a run.
const PATIENCE: Duration = Duration::from_secs(50);
/// More address space than a correct run uses, and less than a test host has.
const MOST_SPACE: u64 = 4 << 30;

pub fn run(into: PathBuf) -> ExitCode {
    let _ = setrlimit(Resource::RLIMIT_AS, MOST_SPACE, MOST_SPACE);
    let root = std::env::var_os("ECS_BOOTSTRAP_ROOT").unwrap_or_else(|| "/".into());
    let mut product = Command::new(PRODUCT);
    product.args(std::env::args_os().skip(1)).env_remove(INTO).current_dir(root);
    let mut child = product.spawn().expect("the product's binary");
    let began = Instant::now();
    let status = loop {
        match child.try_wait().expect("to wait for a child") {
            Some(status) => break status,
            None if began.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                let _ = std::fs::write(into, "hung");
                return ExitCode::from(HUNG as u8);
            }
            None => {
                std::thread::sleep((began.elapsed() / 16).clamp(Duration::from_millis(1), Duration::from_millis(20)))
            }
        }
    };
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN).map(|usage| usage.max_rss()).unwrap_or_default();
    let _ = std::fs::write(into, peak.to_string());
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
