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
/// `check`: mistakes in files, by line and column.
mod check;
/// What was provoked and what was named, as a table; after the others.
mod confusion;
/// Our calls against a moto server; needs one, see the module.
mod contract;
/// The fuzzer's seeds, on stable.
mod corpus;
/// `ecs-deploy` against the simulated ECS API.
mod deploy;
/// README.md and docs against the tables of the code.
mod docs;
/// `doctor`, its bundle, and `explain`.
mod doctor;
/// `guard`: `ecs.config` before each start of the agent.
mod guard;
/// Hosts that are slow or odd, and of which nothing is accused.
mod healthy_hosts;
/// What listens on the agent's port: whom it is believed, by every command that asks it.
mod introspection_port;
/// To whom a verdict is told, and what nobody is told.
mod local_reports;
/// `prepare-image` and `reset-agent`: what goes, what stays, and when nothing happens.
mod maintenance;
/// `plan`: what would be done and why, with nothing changed.
mod plan;
/// Files as they are found in public repositories.
mod public_files;
/// `run` from metadata to a registered instance.
mod run;
/// The scenes of `tests/try`: each ends as it promises.
#[path = "../scenes/scene.rs"]
mod scene;
/// Runs after a run, beside one, and inside user data.
mod second_run;
/// Settings of all nine ranks through the whole binary.
mod settings;
/// Whom a verdict is told outside the host.
mod signal;
/// The simulators themselves: that they answer as what they stand for does.
mod simulators;
/// Beside user data that has not ended: what it may still name, what waits for it, and the part of the boot without a bus.
mod user_data;
/// A verification that dies, and what is said of it.
mod verify_died;
