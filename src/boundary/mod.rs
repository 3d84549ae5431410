//! The parties outside this process, one file each.

pub mod agent;
pub mod disk;
pub mod docker;
mod local;
pub mod systemd;
