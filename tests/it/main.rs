//! The real binary against simulators of everything outside it; one test binary, one link step.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "this is a test throughout: helpers too may unwrap, read files and start programs"
)]

/// The simulated instance and all that surrounds it; shared with `tests/try`.
pub mod support;

/// Runs after a run, beside one, and inside user data.
mod again;
/// What the tree promises: who may import whom, who may wait, who may print.
mod architecture;
/// How long and how much, of the release binary; see the module.
mod bounds;
/// Our calls against a moto server; needs one, see the module.
mod contract;
/// `plan`: what would be done and why, with nothing changed.
mod plan;
/// `run` from metadata to a registered instance.
mod run;
/// Settings of all nine ranks through the whole binary.
mod settings;
/// The simulators themselves: that they answer as what they stand for does.
mod simulators;
/// Files as they are found in public repositories.
mod wild;
