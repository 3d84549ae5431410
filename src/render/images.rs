//! The state of the images of `ready.images` as text.

use std::time::Duration;

use serde_json::{Value, json};

use crate::images::{Pull, PullState, Pulls};
use crate::redaction;

/// The document of `pull-images --json`.
pub fn pulls_json(pulls: &Pulls) -> Value {
    redaction::json(json!({
        "version": 1,
        "complete": pulls.is_complete(),
        "images": pulls.images,
        "services": pulls.services,
    }))
}

/// A line for each image.
pub fn pulls_text(pulls: &Pulls) -> String {
    let services =
        pulls.services.iter().map(|failure| format!("image: those of the services are not known: {}", failure.text));
    let lines = pulls.images.iter().map(pull_line).chain(services);
    lines.map(|line| redaction::line(&line) + "\n").collect()
}

fn pull_line(pull: &Pull) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let (image, seconds) = (&pull.image, Duration::from_millis(pull.duration_ms).as_secs_f64());
    let (bytes, total) = (megabytes(pull.bytes), megabytes(pull.total_bytes));
    let failure = pull.failure.as_ref().map(|failure| format!("; {}", failure.text)).unwrap_or_default();
    match pull.state {
        PullState::Present => format!("image: `{image}` is present, {bytes:.1} MB in {seconds:.1} s"),
        PullState::Pulling => {
            format!("image: `{image}` is pulled, {bytes:.1} of {total:.1} MB in {seconds:.1} s{failure}")
        }
        PullState::Absent => format!("image: `{image}` is missing after {seconds:.1} s{failure}"),
    }
}
