//! The probes that verify and doctor run, each bounded in time, none disturbing the host.
//!
//! In: the world. Out: a part of the evidence. Nothing here judges: what cannot be seen stays unknown. It stands beside
//! the rooms as `host.rs` does, and knows the boundary and the nouns.

mod files;
mod host;
mod network_path;
mod user_data;

pub(crate) use self::files::{CLOUD_INIT_RESULT, CLOUD_INIT_STATUS, files, long_run};
pub(crate) use self::host::{HostContext, host, wants_journal};
pub(crate) use self::network_path::{network, network_path};
pub(crate) use self::user_data::user_data;
