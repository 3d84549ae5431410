//! The real binary against simulators of everything outside it; one test binary, one link step.

/// The simulated instance and all that surrounds it; shared with `tests/try`.
pub mod support;

/// The simulators themselves: that they answer as what they stand for does.
mod again;
mod plan;
mod run;
mod settings;
mod simulators;
mod wild;
