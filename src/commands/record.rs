//! Records the stages and requests of a command for `timeline`.
//!
//! In: the phases that this process measured, and the log of its requests. Out: a file below /run, which is written when
//! all else is done. The record of a command that succeeded stays for the rest of the boot, so that a later run neither
//! replaces nor rewrites it.

use std::time::{Duration, Instant};

use super::CommandContext;
use super::phases::Phases;
use crate::boundary::disk::Mode;
use crate::boundary::kernel;
use crate::boundary::requests::Requests;
use crate::exit::Exit;
use crate::plan::RUN_FOLDER;
use crate::probe;
use crate::redaction::error_chain;
use crate::render::as_json;
use crate::timeline::record::{CommandRecord, Step};

/// The version of the format.
const VERSION: u32 = 2;

impl CommandContext {
    /// Writes the record of this command. An error is logged: a missing record changes nothing else.
    pub(super) fn store_record(&self, command: &str, phases: &Phases, exit: Exit) {
        let disk = &self.host_clients.disk;
        let path = format!("{}/{command}.json", RUN_FOLDER);
        if probe::record(disk, &path).is_some_and(|earlier| earlier.exit_code == Exit::Done.code()) {
            return;
        }
        let start = self.start.into_std();
        let (Some(now), ran) = (kernel::monotonic_us(), start.elapsed()) else { return };
        let record = CommandRecord {
            version: VERSION,
            command: command.to_owned(),
            started_monotonic_us: now.saturating_sub_unsigned(micros(ran)),
            duration_us: micros(ran),
            exit_code: exit.code(),
            ..steps(start, phases, self.host_clients.imds.requests().take())
        };
        if let Err(error) = disk.replace_without_sync(&path, as_json(&record).as_bytes(), Mode::Exactly(0o644)) {
            tracing::debug!(error = error_chain(&error), "stages and requests not recorded for `timeline`");
        }
    }
}

/// The stages and requests of a process that started at `start`.
fn steps(start: Instant, phases: &Phases, requests: Requests) -> CommandRecord {
    let since = |instant: Instant| micros(instant.saturating_duration_since(start));
    let stage = |(name, begun, duration): &(String, Instant, Duration)| Step {
        name: name.clone(),
        start_us: since(*begun),
        duration_us: micros(*duration),
        succeeded: true,
    };
    CommandRecord {
        stages: phases.measured.iter().map(stage).collect(),
        requests_dropped: requests.dropped,
        requests: requests
            .first
            .into_iter()
            .map(|request| Step {
                name: format!("{} {}", request.service, request.operation),
                start_us: since(request.start),
                duration_us: micros(request.duration),
                succeeded: request.succeeded,
            })
            .collect(),
        ..CommandRecord::default()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
