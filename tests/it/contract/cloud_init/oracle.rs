//! The process that reads user data with cloud-init's own code (`oracle.py`).
//!
//! In: the Python with cloud-init in `ECS_BOOTSTRAP_TEST_CLOUD_INIT`. Out: for each message what cloud-init makes of it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What cloud-init makes of a message.
#[derive(Debug)]
pub(super) struct Reading {
    /// The exception with which it gives up the message.
    pub(super) error: Option<String>,
    pub(super) parts: Vec<ReadPart>,
    /// What it loses or cannot run.
    pub(super) losses: Vec<String>,
}

/// A part as a handler gets it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadPart {
    pub(super) content_type: String,
    pub(super) name: Option<String>,
    pub(super) payload: Vec<u8>,
}

/// A running oracle; killed by its pid when dropped.
pub(super) struct Oracle {
    child: Child,
}

impl Oracle {
    pub(super) fn start() -> Oracle {
        let python = std::env::var_os("ECS_BOOTSTRAP_TEST_CLOUD_INIT").expect(
            "ECS_BOOTSTRAP_TEST_CLOUD_INIT is not set: `tests/run contract` fetches cloud-init and runs these tests",
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/contract/cloud_init/oracle.py");
        let mut command = Command::new(&python);
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", python.display()));
        Oracle { child }
    }

    /// Reads all messages, in their order.
    pub(super) fn read(mut self, messages: &[Vec<u8>]) -> Vec<Reading> {
        let mut stdin = self.child.stdin.take().unwrap();
        let lines: String =
            messages.iter().map(|message| format!("{{\"message\":\"{}\"}}\n", STANDARD.encode(message))).collect();
        // Both pipes are used at the same time, so that neither fills.
        let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
        let stdout = BufReader::new(self.child.stdout.take().unwrap());
        let readings: Vec<_> = stdout.lines().map(|line| reading(&line.unwrap())).collect();
        writer.join().unwrap().unwrap();
        assert_eq!(readings.len(), messages.len(), "the oracle ended early");
        readings
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reading(line: &str) -> Reading {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let part = |part: &serde_json::Value| ReadPart {
        content_type: text(&part["type"]).unwrap(),
        name: text(&part["name"]),
        payload: STANDARD.decode(part["payload"].as_str().unwrap()).unwrap(),
    };
    Reading {
        error: text(&value["error"]),
        parts: value["parts"].as_array().unwrap().iter().map(part).collect(),
        losses: value["losses"].as_array().unwrap().iter().filter_map(text).collect(),
    }
}
