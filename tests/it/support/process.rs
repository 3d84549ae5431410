//! A run of the product as a process: its time limit, its outcome, and the validation of its JSON.
//!
//! In: a command. Out: the outcome. A process that is still running is killed by its pid.

use super::{Instance, schema};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A run that takes longer is killed and fails the test. The longest one waits for two descriptions, each after up to 20 s.
const MAX_RUN_TIME: Duration = Duration::from_secs(120);
/// The highest exit code of `ecs-bootstrap`.
const LAST_CODE: i32 = 25;
/// The last verdict, below the root.
const STATUS: &str = "run/ecs-bootstrap/status.json";

/// The outcome of a run of the product.
#[derive(Debug)]
pub struct Outcome {
    /// `None` if a signal ended the process.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub started: Instant,
    pub duration: Duration,
}

/// A running product; killed by its pid when dropped.
pub struct Running {
    child: Child,
    started: Instant,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    ended: bool,
    json_check: Option<JsonCheck>,
}

/// The data for the validation of the JSON of a run: its arguments, and the status file before the run.
struct JsonCheck {
    arguments: Vec<String>,
    status: PathBuf,
    before: Option<Vec<u8>>,
}

impl Running {
    pub(super) fn of(mut command: Command) -> Self {
        let started = Instant::now();
        let mut child = command.spawn().expect("the product's binary");
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        Self { child, started, stdout, stderr, ended: false, json_check: None }
    }

    /// Makes `wait` validate the JSON of the run against the schemas.
    pub(super) fn with_json_check(mut self, instance: &Instance, arguments: &[&str]) -> Self {
        let status = instance.disk.path(STATUS);
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        self.json_check = Some(JsonCheck { arguments, before: status_file(&status), status });
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) -> Outcome {
        let _ = self.child.kill();
        self.wait()
    }

    pub fn wait(mut self) -> Outcome {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("to wait for a child") {
                break status;
            }
            if self.started.elapsed() > MAX_RUN_TIME {
                let _ = self.child.kill();
                let _ = self.child.wait();
                self.ended = true;
                panic!("the product still ran after {MAX_RUN_TIME:?}; stderr: {}", text(self.stderr.take()));
            }
            // A short run is measured exactly; a long one is polled less often.
            thread::sleep((self.started.elapsed() / 32).clamp(Duration::from_millis(1), Duration::from_millis(20)));
        };
        self.ended = true;
        let duration = self.started.elapsed();
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        // A killed run may have printed a part of the document. A wrapper exits with higher codes.
        if status.code().is_some_and(|code| code <= LAST_CODE)
            && let Some(check) = self.json_check.take()
        {
            check.validate(&stdout);
        }
        Outcome { code: status.code(), signal: status.signal(), stdout, stderr, started: self.started, duration }
    }
}

impl JsonCheck {
    fn validate(self, stdout: &str) {
        // `status` prints the stored verdict, and a test may have stored another document.
        let stored = self.before.as_ref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        let is_forged = stored.is_some_and(|stored| schema::validate("verdict", &stored).is_err());
        if is_forged && self.arguments.iter().any(|word| word == "status") {
            return;
        }
        let printed = schema::validate_stdout(&self.arguments, stdout);
        printed.unwrap_or_else(|error| panic!("`{}` printed a document {error}", self.arguments.join(" ")));
        let after = status_file(&self.status).filter(|after| Some(after) != self.before.as_ref());
        if let Some(document) = after.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            schema::validate("verdict", &document).unwrap_or_else(|error| panic!("status.json is {error}"));
        }
    }
}

/// The bytes of a regular file that is small enough to be a verdict.
fn status_file(path: &Path) -> Option<Vec<u8>> {
    let is_small = path.symlink_metadata().is_ok_and(|about| about.is_file() && about.len() < 1 << 20);
    if is_small { std::fs::read(path).ok() } else { None }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Option<JoinHandle<Vec<u8>>> {
    pipe.map(|mut pipe| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            bytes
        })
    })
}

fn text(collector: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = collector.and_then(|collector| collector.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
