//! Configures the ECS agent of an EC2 instance, verifies that the instance registered in its cluster, and reports the
//! cause if it did not.
//!
//! # Pipeline
//!
//! ```text
//! facts  ->  plan  ->  effects  ->  verdict  ->  reports and signals
//! gather     decide    apply        verify       report
//! ```
//!
//! | stage | what it does | I/O |
//! | --- | --- | --- |
//! | [`gather`] | reads settings, instance metadata, tags, clusters and the host | reads |
//! | [`decide`] | makes a plan from settings and facts; every rule is here | none |
//! | [`apply`] | does what the plan says and nothing else | writes |
//! | [`verify`] | observes until the instance is ready, a cause is final, or the deadline passes | reads |
//! | [`report`] | reports the verdict on the host and sends signals | writes |
//!
//! Only [`commands`] (one file for each command) and [`maintenance`] (the two commands that remove files) know the order.
//!
//! # Data types and foundation
//!
//! - Data types are passed from stage to stage: [`settings`], [`facts`], [`ecs_config`], [`plan`], [`effects`],
//!   [`evidence`], [`verdict`], [`cleanup`]; [`timeline`] is that of a boot. Rules on them are in [`ownership`] (which
//!   lines of `ecs.config` are from ecs-bootstrap), [`readiness`] (when an instance is ready), [`watch`] (when a fault of a
//!   running agent is reported, and when ECS is asked), [`check`] (mistakes in files) and [`causes`] (the catalogue of reasons
//!   why an instance does not join).
//! - The foundation: [`boundary`] has one client for each service outside of the process, [`host`] and `probe` read
//!   what two stages need of the host, [`retry`] waits, and [`redaction`] removes secrets from text. [`render`] turns data
//!   types into text and JSON. [`comparison`] compares causes. [`agent_variables`] is the table of the agent's variables,
//!   [`mime`] reads messages as cloud-init does, and [`suggestion`] finds the name that a misspelt one was meant to be. [`cli`], [`command_line`], [`terminal`],
//!   [`journal`] and [`exit`] are the interface of the process.
//!
//! The binary `ecs-rollout` in `src/bin` is for CI. It uses `boundary::aws`, `command_line`, `comparison`, `exit`,
//! `retry` and `suggestion`.
//!
//! # Invariants
//!
//! `tests/it/architecture` checks them:
//!
//! 1. Data types, `causes`, `decide` and `render` (except its progress line) do no I/O, and read no clock and no
//!    environment.
//! 2. Stages never import each other. `boundary` and `retry` import neither stages nor data types.
//! 3. Only `boundary` (and `journal`, for the log) opens a file, a socket or a bus.
//! 4. Only `retry` waits, and every wait has a deadline.
//! 5. Only `main` prints and chooses the exit code. Every path of `run` and `verify` ends in one verdict, reported
//!    once.
//! 6. A second run on an unchanged host writes nothing and starts nothing.

pub mod agent_variables;
pub mod apply;
pub mod boundary;
pub mod causes;
pub mod check;
pub mod cleanup;
pub mod cli;
pub mod command_line;
pub mod commands;
pub mod comparison;
pub mod decide;
pub mod drain;
pub mod ecs_config;
pub mod effects;
pub mod evidence;
pub mod exit;
pub mod external;
pub mod facts;
pub mod followed_tags;
pub mod gather;
pub mod host;
pub mod images;
pub mod journal;
pub mod maintenance;
pub mod mime;
pub mod ownership;
pub mod plan;
mod probe;
pub mod readiness;
pub mod redaction;
pub mod render;
pub mod report;
pub mod retry;
pub mod settings;
pub mod suggestion;
pub mod terminal;
pub mod timeline;
pub mod verdict;
pub mod verify;
pub mod watch;
