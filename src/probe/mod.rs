//! The probes that verify, doctor and timeline run. Each is limited in time and changes nothing on the host.
//!
//! In: the clients. Out: a part of the evidence. A probe decides nothing: what it cannot observe stays unknown. Like
//! `host.rs` this module is below the stages: it uses the boundary and the data types.

mod boot_times;
mod files;
mod host;
mod lifecycle;
mod network_path;
mod user_data;

pub(crate) use self::boot_times::{boot_times, record};
pub(crate) use self::files::{CLOUD_INIT_RESULT, CLOUD_INIT_STATUS, agent_region, files, long_run};
pub(crate) use self::host::{HostContext, host, wants_journal};
pub(crate) use self::lifecycle::{Lifecycle, lifecycle};
pub(crate) use self::network_path::{network, network_path};
pub(crate) use self::user_data::user_data;
