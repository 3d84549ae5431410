//! Runs a one-off task: a task of a revision that ends by itself, such as a database migration.
//!
//! `overrides` says what runs and which containers decide, `request` makes the body of RunTask, `run` starts the task,
//! `watch` follows it and `log` its logs, `judge` decides whether it succeeded, `result` says why not. `command` calls
//! these for `run` and `deploy --before`.

pub(crate) mod command;
pub(crate) mod input;
pub(crate) mod judge;
pub(crate) mod log;
pub(crate) mod overrides;
pub(crate) mod request;
pub(crate) mod result;
pub(crate) mod run;
pub(crate) mod watch;
