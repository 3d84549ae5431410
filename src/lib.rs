//! Boots an EC2 instance into its ECS cluster, proves that it registered, and says exactly why when it did not.
//!
//! The program is a corridor with five rooms. Rooms are verbs, what they hand on are nouns, and only [`boot`] and
//! [`maintenance`] (the commands that remove) know the order:
//!
//! ```text
//! gather::facts -> decide::plan -> apply::write, queue -> verify::verdict -> report::signals
//!      I/O             pure               I/O             I/O, causes pure       I/O
//! ```
//!
//! - **Nouns** are plain data: [`settings`], [`facts`], [`ecs_config`], [`plan`], [`effects`], [`evidence`], [`verdict`],
//!   [`cleanup`].
//!   [`check`] finds mistakes in files from which an instance will be configured.
//!   [`causes`] is the catalogue of reasons why an instance does not join.
//! - **Rooms**: [`gather`] reads and decides nothing; [`decide`] holds every rule and touches nothing; [`apply`] does what
//!   the plan says and nothing else; [`verify`] observes until ready, final or late; [`tell`] reports and never changes a
//!   verdict.
//! - [`redaction`] decides which text may leave the process.
//! - **Floor**: [`boundary`] is the world, one party a file; [`host`] is what two rooms read of it, `probe` what is looked at when
//!   it does not work; [`retry`] is the only
//!   place that waits; [`render`] turns nouns into text; [`journal`], [`exit`] and [`cli`] face the outside.
//!
//! `src/bin/ecs-deploy` is another program, for CI, which uses `boundary::aws`, `retry` and `exit`.
//!
//! What holds everywhere, each by a test in `tests/it/architecture.rs`:
//!
//! 1. Nouns, causes, decide and render (but its progress line) do no I/O and read neither clock nor environment.
//! 2. Rooms never import each other; boundary and retry know neither rooms nor nouns.
//! 3. Only boundary (and journal, for the log) opens a file, a socket or a bus.
//! 4. Only retry waits, and every wait has a deadline.
//! 5. Only `main` prints and picks the exit code; every boot path ends in one verdict, told once.
//! 6. A second run on an unchanged host writes nothing and starts nothing.

pub mod agent_variables;
pub mod apply;
pub mod boot;
pub mod boundary;
pub mod causes;
pub mod check;
pub mod cleanup;
pub mod cli;
pub mod command_line;
pub mod decide;
pub mod ecs_config;
pub mod effects;
pub mod evidence;
pub mod exit;
pub mod facts;
pub mod gather;
pub mod host;
pub mod journal;
pub mod maintenance;
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
pub mod verdict;
pub mod verify;
