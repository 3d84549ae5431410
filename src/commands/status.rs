//! `status`: the last verdict of this boot.
//!
//! A verdict that waits for the verify unit is only true while that unit runs, so systemd is asked.

use super::CommandContext;
use super::handover::VERIFY_UNIT;
use super::verify_died::{died_document, is_left_to_verify_unit, is_running, verify_unit};
use crate::causes;
use crate::command_line::CommandOutput;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::host::{drain as drain_state, is_drain_running, pulls};
use crate::redaction::error_chain;
use crate::render::{VerdictDocument, VerdictState, as_json, drain_text, pulls_text, verdict_text};
use crate::report;

/// How the ids of the notes about the draining begin. Those of the stored verdict may be old.
const DRAIN_NOTES: &str = "drain-";

impl CommandContext {
    /// `status`: prints the last verdict. It changes nothing.
    pub async fn status(self) -> CommandOutput {
        let stored = match report::stored(&self.host_clients.disk) {
            Ok(stored) => stored.unwrap_or_else(VerdictDocument::none),
            Err(error) => return CommandOutput::error(Exit::Internal, &error_chain(&error)),
        };
        let is_waiting = stored.verdict == VerdictState::Waiting && is_left_to_verify_unit(&stored);
        let mut stderr = String::new();
        let expectation = self.last_expectation();
        let drains = expectation.as_ref().is_some_and(|expected| expected.drain.is_some());
        let drain = if drains { drain_state(&self.host_clients.disk) } else { None };
        let wanted = expectation.and_then(|expected| expected.ready).map(|ready| ready.images);
        // Those of settings that were removed say nothing.
        let pulls = pulls(&self.host_clients.disk).filter(|pulls| Some(&pulls.wanted) == wanted.as_ref());
        let mut document = if is_waiting && self.host_clients.disk.is_booted() {
            match verify_unit().await {
                Ok(unit) if is_running(&unit) => stored,
                Ok(unit) => died_document(&stored, &unit),
                Err(error) => {
                    let error = error_chain(&error);
                    stderr = format!("warning: it is not known whether {VERIFY_UNIT} still runs: {error}\n");
                    stored
                }
            }
        } else {
            stored
        };
        document.images = pulls.as_ref().map(|pulls| pulls.images.clone()).unwrap_or_default();
        let exit = Exit::from_code(document.exit_code).unwrap_or(Exit::Internal);
        let images = pulls.as_ref().map(pulls_text).unwrap_or_default();
        let draining = drain.as_ref().map(drain_text).unwrap_or_default();
        let is_done = drain.as_ref().is_some_and(|drain| drain.is_final());
        if drains && !is_done && !is_drain_running(&self.host_clients.disk) {
            stderr += "warning: nothing drains this instance: `systemctl status ecs-bootstrap-drain`\n";
        }
        let evidence = Evidence { drain: drain.clone(), ..Evidence::default() };
        document.replace_notes(DRAIN_NOTES, &causes::notes(&evidence));
        document.drain = drain;
        let stdout = if self.json { as_json(&document) } else { verdict_text(&document) + &images + &draining };
        CommandOutput { stdout, stderr, exit }
    }
}
