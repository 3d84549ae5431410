//! The exit codes of both binaries, once.
//!
//! 0 is ready, waiting, or handed over; 10-13 may heal by trying again; 20-25 need a person; 30-39 belong to
//! `ecs-deploy`. The README's table is compared with [`Exit::ALL`] by a test.

use std::process::ExitCode;

use serde::{Serialize, Serializer};

/// Why the process ends as it does, as a number that scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// Ready, waiting, or handed over; the text says which.
    Done = 0,
    /// A fault of this program.
    Internal = 1,
    /// The command line is wrong.
    Usage = 2,
    /// IMDS does not answer.
    Imds = 10,
    /// An AWS API or the way to it.
    Aws = 11,
    /// A systemd job, or docker late.
    Systemd = 12,
    /// Not registered in time.
    NotRegistered = 13,
    /// Settings or `ecs.config`.
    Settings = 20,
    /// The cluster.
    Cluster = 21,
    /// Identity, permission, or IMDS switched off.
    Permission = 22,
    /// The agent gave up.
    Agent = 23,
    /// This host: units, docker, disk, clock, saved state.
    Host = 24,
    /// The network, for good.
    Network = 25,
    /// `ecs-deploy`: the rollout failed, and the service was rolled back.
    RolledBack = 30,
    /// `ecs-deploy`: the rollout failed, and the rollback failed too.
    RollbackFailed = 31,
    /// `ecs-deploy`: the rollout did not complete within the time limit; nothing was rolled back.
    TimeLimit = 32,
    /// `ecs-deploy`: the rollout failed; nothing was rolled back.
    RolloutFailed = 33,
    /// `ecs-deploy`: a newer deployment replaced this one.
    Superseded = 34,
    /// `ecs-deploy`: a file, a variable or an option is invalid, or ECS rejects the change; nothing was deployed.
    Refused = 35,
    /// `ecs-deploy`: there is no such cluster, service or revision.
    NotFound = 36,
    /// `ecs-deploy`: there are no valid credentials, or a permission is missing.
    CallerDenied = 37,
    /// `ecs-deploy`: an AWS API failed, or could not be reached.
    CallFailed = 38,
    /// `ecs-deploy status`: the service is not stable.
    NotStable = 39,
}

impl Exit {
    /// Every code of `ecs-bootstrap` with its line in the README's table.
    pub const ALL: &'static [(Exit, &'static str)] = &[
        (Exit::Done, "ready, waiting, or handed over (the text says which)"),
        (Exit::Internal, "a fault of ecs-bootstrap itself"),
        (Exit::Usage, "the command line is wrong"),
        (Exit::Imds, "the instance metadata service does not answer"),
        (Exit::Aws, "an AWS API, or the network on the way to it"),
        (Exit::Systemd, "a systemd job did not end, or docker is late"),
        (Exit::NotRegistered, "not registered in time"),
        (Exit::Settings, "a setting or `ecs.config`"),
        (Exit::Cluster, "the cluster: none named, not found, or not the one wanted"),
        (Exit::Permission, "identity, permission, or IMDS switched off"),
        (Exit::Agent, "the ECS agent gave up"),
        (Exit::Host, "this host: units, docker, disk, clock, saved state"),
        (Exit::Network, "the network, for good"),
    ];

    /// Every code of `ecs-deploy` with its line in the README's table.
    pub const DEPLOY: &'static [(Exit, &'static str)] = &[
        (Exit::Done, "success, or nothing to do (the output says which); for `status`: stable"),
        (Exit::Internal, "an internal error of this program"),
        (Exit::Usage, "the command line is not valid"),
        (Exit::RolledBack, "the rollout failed, and the service was rolled back"),
        (Exit::RollbackFailed, "the rollout failed, and the rollback failed too"),
        (Exit::TimeLimit, "the rollout did not complete within the time limit; nothing was rolled back"),
        (Exit::RolloutFailed, "the rollout failed; nothing was rolled back"),
        (Exit::Superseded, "a newer deployment replaced this one"),
        (Exit::Refused, "a file, a variable or an option is invalid, or ECS rejects the change; nothing was deployed"),
        (Exit::NotFound, "there is no such cluster, service or revision"),
        (Exit::CallerDenied, "there are no valid credentials, or a permission is missing"),
        (Exit::CallFailed, "an AWS API failed, or could not be reached"),
        (Exit::NotStable, "`status`: the service is not stable"),
    ];

    /// The number itself.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit of `ecs-bootstrap` with this number, where there is one.
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
