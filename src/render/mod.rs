//! Turns data types into text and JSON: the output of the commands.
//!
//! In: plan, verdict, findings. Out: strings without secrets. Only [`Progress`] writes, to a terminal.

mod bundle;
mod check;
mod doctor;
mod drain;
mod explain;
mod images;
mod maintenance;
mod plan;
mod progress;
mod prometheus;
mod timeline;
mod timeline_svg;
mod verdict;
mod watch;

pub use bundle::{config_text, contents_text, file_text, log_text, os_release_text};
pub use check::{check_json, check_summary, check_text};
pub use doctor::{considered_text, doctor_json, doctor_text};
pub use drain::{drain_json, drain_status, drain_text};
pub use explain::{cause_json, cause_text, fields, list_text};
pub use images::{pulls_json, pulls_text};
pub use maintenance::{cleanup_json, cleanup_text, reset_json, reset_text};
pub use plan::{plan_json, plan_text, policy_json, warning_lines};
pub use progress::Progress;
pub use prometheus::prometheus_text;
pub use timeline::timeline_text;
pub use timeline_svg::timeline_svg;
pub use verdict::{
    FindingDocument, Phase, SignalOutcome, SignalStatus, SignalTarget, VerdictDocument, VerdictState, document,
    verdict_text, verdict_text_within,
};
pub use watch::{watch_json, watch_text};

/// JSON text, with a line break at its end.
pub fn as_json<T: serde::Serialize>(document: &T) -> String {
    serde_json::to_string_pretty(document).expect("documents have string keys and no failing serializers") + "\n"
}
