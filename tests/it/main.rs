//! Tests of the real binary against simulators of every service that it uses. One test binary, because linking is slow.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "this is a test throughout: helpers too may unwrap, read files and start programs"
)]

/// The simulated instance with all services around it; shared with `tests/try`.
pub mod support;

/// `ready.attributes`: the attributes that the container instance must have.
mod agent_unit;
/// Rules of the source tree: which module imports, waits or prints.
mod architecture;
mod attributes;
/// Bad input of every kind: one error, its exit code, and `ecs.config` never damaged.
mod bad_input;
/// Limits of time and memory of the release binary; see the module.
mod bounds;
/// Every cause is reported for its fault, and not for a look-alike.
mod causes;
/// `check`: mistakes in files, with line and column.
mod check;
/// A table of provoked and reported causes; runs after the others.
mod confusion;
/// The AWS calls against a moto server, and MIME messages against cloud-init; see the module.
mod contract;
/// The fuzzer's seeds on the stable toolchain.
mod corpus;
/// `ready.daemons`: tasks are held back until daemons run.
mod daemons;
/// `ecs-rollout` against the simulated ECS API.
mod deploy;
/// README.md and `docs/` against the tables of the code.
mod docs;
/// `doctor`, its bundle, and `explain`.
mod doctor;
/// `drain`: the container instance is drained before the instance ends.
mod drain;
/// Early start: the agent starts before user data has ended.
mod early_start;
/// Runs without permission, or with a full or read-only file system.
mod file_systems;
/// `derive.attributes-follow`: attributes follow tags.
mod follow_tags;
/// `guard`: the check of `ecs.config` before each start of the agent.
mod guard;
/// Slow or unusual hosts without a fault, for which no cause is reported.
mod healthy_hosts;
/// `plan --iam`: the policy for the settings in force.
mod iam;
/// `ready.images`: docker must have the images.
mod images;
/// The process on the agent's port: when its answers are trusted.
mod introspection_port;
/// The metric of the time from launch to ready.
mod launch_metric;
/// The reports on the host, and the secrets that no report has.
mod local_reports;
/// `prepare-image` and `reset-agent`: what they remove, what they keep, and when they refuse.
mod maintenance;
/// Tags that instance metadata does not allow.
mod metadata_tags;
/// `plan`: shows what a run would do and why, and changes nothing.
mod plan;
/// Files like those in public repositories.
mod public_files;
/// `registry.auth` and `config-from`: values outside of the host.
mod remote_values;
/// `run`, from metadata to a registered instance.
mod run;
/// The scenarios of `tests/try`.
#[path = "../scenarios/scenario.rs"]
mod scenario;
/// Runs after another run, in parallel, and inside user data.
mod second_run;
/// Settings of all nine ranks.
mod settings;
/// Signals to CloudFormation and Auto Scaling.
mod signal;
/// The simulators themselves: they answer like the real services.
mod simulators;
/// `start-tasks`: tasks that are started on an instance when it is ready.
mod start_tasks;
/// `timeline`, and the records of commands that it reads.
mod timeline;
/// Runs while user data has not ended, and runs before systemd has a bus.
mod user_data;
/// A verification that dies: how it is reported and signalled.
mod verify_died;
mod watch;
