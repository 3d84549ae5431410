//! The real binary against simulators of everything outside it; one test binary, one link step.

/// The simulated instance and all that surrounds it; shared with `tests/try`.
pub mod support;

/// The simulators themselves: that they answer as what they stand for does.
/// What the tree promises: who may import whom, who may wait, who may print.
mod architecture;
/// README.md against the tables of the code.
mod docs;
/// `run` from metadata to a registered instance.
mod run;
/// The scenes of `tests/try`: each ends as it promises.
#[path = "../scenes/scene.rs"]
mod scene;
mod simulators;

/// Our calls against a moto server; needs one, see the module.
mod contract;
