//! Runs a one-off task: a task of a revision that ends by itself, such as a database migration.
//!
//! `overrides` says what runs and which containers decide, `request` makes the body of RunTask, `watch` follows the
//! task and `log` its logs, `judge` decides whether it succeeded. This file starts the task and concludes.

pub(crate) mod command;
pub(crate) mod input;
pub(crate) mod judge;
pub(crate) mod log;
pub(crate) mod overrides;
pub(crate) mod request;
pub(crate) mod result;
pub(crate) mod run;
pub(crate) mod watch;
