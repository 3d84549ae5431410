//! Causes of a rollout that no message of ECS explains: it was replaced, deleted, too slow, or failed for an unknown
//! reason.

use ecs_bootstrap::exit::Exit;

use crate::cause::{Cause, Step};

pub(super) static ALL: &[&Cause] = &[&SUPERSEDED, &SERVICE_DELETED, &TOO_SLOW];

/// The last cause of the catalogue: it applies when no other does.
pub(super) static LAST: &[&Cause] = &[&ROLLOUT_UNKNOWN];

pub(crate) static SUPERSEDED: Cause = Cause {
    id: "superseded",
    title: "a newer deployment replaced this one",
    symptoms: "the PRIMARY deployment of the service is not the one that this command started",
    remedy: "let only one job at a time deploy a service (GitHub Actions: `concurrency`); the newer deployment \
             continues",
    source: "ECS API Reference, \"Deployment\"",
    exit: Exit::Superseded,
    step: Step::Rollout,
    ..Cause::DEFAULTS
};

pub(crate) static SERVICE_DELETED: Cause = Cause {
    id: "service-deleted",
    title: "the service was deleted during its rollout",
    symptoms: "the status of the service is DRAINING or INACTIVE",
    remedy: "find the call of `DeleteService` in CloudTrail, and deploy again",
    source: "ECS API Reference, \"DeleteService\"",
    step: Step::Rollout,
    ..Cause::DEFAULTS
};

pub(crate) static TOO_SLOW: Cause = Cause {
    id: "too-slow",
    exit: Exit::TimeLimit,
    title: "the rollout did not complete within the time limit",
    symptoms: "nothing has failed, and no message says why the deployment is not complete; it is not rolled back, except \
               with `--rollback-on-timeout`",
    remedy: "watch on with `ecs-rollout wait`, or raise `--timeout`; check the grace period of the health check, the deregistration delay of the target \
             group, and the number of tasks that may start at once (`--maximum-percent`)",
    source: "ECS Developer Guide, \"Amazon ECS deployment rolling update\"",
    step: Step::Rollout,
    ..Cause::DEFAULTS
};

pub(crate) static ROLLOUT_UNKNOWN: Cause = Cause {
    id: "rollout-unknown",
    title: "the rollout failed for a reason that ecs-rollout does not know",
    symptoms: "no cause of the catalogue matches the service events and the stopped tasks",
    remedy: "read the messages, and the output of `aws ecs describe-services`; report their text, so that it becomes a \
             known cause",
    source: "ECS Developer Guide, \"Amazon ECS service event messages\"",
    step: Step::Rollout,
    ..Cause::DEFAULTS
};
