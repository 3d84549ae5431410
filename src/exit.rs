//! The exit codes of both programs.
//!
//! 0 is success; with 10-13 another attempt may succeed; with 20-25 it cannot, because something must be changed first;
//! 30-49 are codes of `ecs-rollout`. The tables in `docs/reference/exit-codes.md` are generated from [`Exit::ALL`] and
//! [`Exit::DEPLOY`].

use std::process::ExitCode;

use serde::{Serialize, Serializer};

/// The exit code of a process. Scripts rely on the numbers, so they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// Ready, waiting, or handed over to the verify unit.
    Done = 0,
    /// An internal error of this program.
    Internal = 1,
    /// The command line is not valid.
    Usage = 2,
    /// The instance metadata service does not answer.
    Imds = 10,
    /// An AWS API failed, or could not be reached.
    Aws = 11,
    /// A systemd job did not end, or docker did not start in time.
    Systemd = 12,
    /// The instance did not register in time, or a daemon did not run on it in time.
    NotRegistered = 13,
    /// A setting or `ecs.config` is not valid.
    Settings = 20,
    /// No cluster is named, it was not found, or it is not the expected one.
    Cluster = 21,
    /// Identity or permission is missing, or IMDS is disabled.
    Permission = 22,
    /// The agent exited with code 5, its terminal exit code.
    Agent = 23,
    /// A fault of this host: units, docker, disk, clock, saved state.
    Host = 24,
    /// A network fault that does not recover by itself.
    Network = 25,
    /// `ecs-rollout`: the rollout failed, and the service was rolled back.
    RolledBack = 30,
    /// `ecs-rollout`: the rollout failed, and the rollback failed too.
    RollbackFailed = 31,
    /// `ecs-rollout`: the rollout did not complete within the time limit; nothing was rolled back.
    TimeLimit = 32,
    /// `ecs-rollout`: the rollout failed; nothing was rolled back.
    RolloutFailed = 33,
    /// `ecs-rollout`: a newer deployment replaced this one.
    Superseded = 34,
    /// `ecs-rollout`: a file, a variable or an option is invalid, or ECS rejects the change; nothing was deployed.
    Refused = 35,
    /// `ecs-rollout`: there is no such cluster, service or revision.
    NotFound = 36,
    /// `ecs-rollout`: there are no valid credentials, or a permission is missing.
    CallerDenied = 37,
    /// `ecs-rollout`: an AWS API failed, or could not be reached.
    CallFailed = 38,
    /// `ecs-rollout status`: the service is not stable.
    NotStable = 39,
    /// `ecs-rollout`: SIGINT, SIGTERM or SIGHUP ended the command.
    Interrupted = 40,
    /// `ecs-rollout`: the one-off task failed; no service was changed.
    TaskFailed = 41,
}

impl Exit {
    /// Every code of `ecs-bootstrap` with its line in the reference.
    pub const ALL: &'static [(Exit, &'static str)] = &[
        (Exit::Done, "ready, waiting, or handed over (the output says which)"),
        (Exit::Internal, "an internal error of this program"),
        (Exit::Usage, "the command line is not valid"),
        (Exit::Imds, "the instance metadata service does not answer"),
        (Exit::Aws, "an AWS API failed, or could not be reached"),
        (Exit::Systemd, "a systemd job did not end, or docker did not start in time"),
        (Exit::NotRegistered, "the instance did not register in time, or did not fulfil `ready.*` in time"),
        (Exit::Settings, "a setting or `ecs.config` is not valid"),
        (Exit::Cluster, "the cluster: none is named, it was not found, or it is not the expected one"),
        (Exit::Permission, "identity or permission is missing, or IMDS is disabled"),
        (Exit::Agent, "the agent exited with code 5, its terminal exit code"),
        (Exit::Host, "a fault of this host: units, docker, disk, clock, saved state"),
        (Exit::Network, "a network fault that does not recover by itself"),
    ];

    /// Every code of `ecs-rollout` with its line in the reference.
    pub const DEPLOY: &'static [(Exit, &'static str)] = &[
        (Exit::Done, "success, or nothing to do (the output says which); for `status`: stable"),
        (Exit::Internal, "an internal error of this program"),
        (Exit::Usage, "the command line is not valid"),
        (Exit::RolledBack, "the rollout failed, and the service was rolled back"),
        (Exit::RollbackFailed, "the rollout failed, and the rollback failed too"),
        (
            Exit::TimeLimit,
            "the rollout, or the one-off task, did not complete within the time limit; nothing was rolled back",
        ),
        (Exit::RolloutFailed, "the rollout failed; nothing was rolled back"),
        (Exit::Superseded, "a newer deployment replaced this one"),
        (
            Exit::Refused,
            "a file, a variable or an option is invalid, ECS rejects the change, or the verification found that it would \
             fail; nothing was deployed",
        ),
        (Exit::NotFound, "there is no such cluster, service or revision"),
        (Exit::CallerDenied, "there are no valid credentials, or a permission is missing"),
        (Exit::CallFailed, "an AWS API failed, or could not be reached"),
        (Exit::NotStable, "`status`: the service is not stable"),
        (Exit::Interrupted, "SIGINT, SIGTERM or SIGHUP ended the command (the output says what continues in ECS)"),
        (Exit::TaskFailed, "the one-off task failed; no service was changed"),
    ];

    /// The process exit code, 0 to 49.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit code of `ecs-bootstrap` with this number; `None` if there is none.
    pub fn from_code(code: u8) -> Option<Exit> {
        Exit::ALL.iter().map(|(exit, _)| *exit).find(|exit| exit.code() == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

impl Serialize for Exit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.code())
    }
}
