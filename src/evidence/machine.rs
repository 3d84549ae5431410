//! What this machine has and does: space, memory, listeners, docker's own words.
//!
//! Plain data; of foreign logs only the fragments that were matched.

/// All of it.
#[derive(Debug, Default)]
pub struct Machine {}
