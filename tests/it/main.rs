//! The real binary against simulators of everything outside it; one test binary, one link step.

/// The simulated instance and all that surrounds it; shared with `tests/try`.
pub mod support;

/// Whatever is broken: one error, its exit code, and `ecs.config` whole.
mod bad_input;
/// Every cause is named when the world provokes it, and not when something only looks like it.
mod causes;
/// One command, from metadata to a registered instance.
mod run;
/// The simulators themselves: that they answer as what they stand for does.
mod simulators;
/// To whom a verdict is told, and what nobody is told.
mod tell;
