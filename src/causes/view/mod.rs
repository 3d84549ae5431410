//! The shared predicates of the causes: what more than one cause file asks about the evidence.
//!
//! In: evidence. Out: an answer, often as an evidence line. Nothing here knows a cause.

pub(super) mod config_lines;
pub(super) mod crash;
pub(super) mod credentials;
pub(super) mod denial;
pub(super) mod docker;
pub(super) mod effect;
pub(super) mod file_paths;
pub(super) mod missing_log;
pub(super) mod network_path;
pub(super) mod registration;
pub(super) mod units;
pub(super) mod user_data;
