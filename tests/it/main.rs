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
/// Whatever is broken: one error, its exit code, and `ecs.config` whole.
mod bad_input;
/// How long and how much, of the release binary; see the module.
mod bounds;
/// Every cause is named when the world provokes it, and not when something only looks like it.
mod causes;
/// Our calls against a moto server; needs one, see the module.
mod contract;
/// `run` from metadata to a registered instance.
mod run;
/// The simulators themselves: that they answer as what they stand for does.
mod simulators;
/// To whom a verdict is told, and what nobody is told.
mod tell;
