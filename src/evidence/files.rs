//! What the files of this host say about its configuration: `ecs.config` and what may be taken for it, and cloud-init's
//! records.
//!
//! Plain data without a byte of a secret or of user data.

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Files {}
