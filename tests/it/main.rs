//! The real binary against simulators of everything outside it; one test binary, one link step.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "this is a test throughout: helpers too may unwrap, read files and start programs"
)]

/// The simulated instance and all that surrounds it; shared with `tests/try`.
pub mod support;

/// What the tree promises: who may import whom, who may wait, who may print.
mod architecture;
/// How long and how much, of the release binary; see the module.
mod bounds;
/// Our calls against a moto server; needs one, see the module.
mod contract;
/// README.md against the tables of the code.
mod docs;
/// `run` from metadata to a registered instance.
mod run;
/// The scenes of `tests/try`: each ends as it promises.
#[path = "../scenes/scene.rs"]
mod scene;
/// The simulators themselves: that they answer as what they stand for does.
mod simulators;
