//! Causes on the caller's side: what was given, who client, and what the service is.

use ecs_bootstrap::boundary::aws::{AwsError, AwsErrorKind};
use ecs_bootstrap::exit::Exit;

use super::{Cause, Finding};

/// Those that are told before a rollout.
pub(super) static ALL: &[&Cause] = &[
    &VARIABLE_UNSET,
    &BAD_INPUT,
    &NOT_ACCEPTED,
    &PASS_ROLE_DENIED,
    &CALLER_DENIED,
    &NO_CREDENTIALS,
    &THROTTLED,
    &UNREACHABLE,
    &CLUSTER_NOT_FOUND,
    &SERVICE_NOT_FOUND,
    &OTHER_CONTROLLER,
    &CANNOT_BE_CHANGED,
    &STILL_DRAINING,
    &REVISION_NOT_FOUND,
    &NO_OLDER_REVISION,
    &SUPERSEDED,
    &SERVICE_DELETED,
    &TOO_SLOW,
];

/// What nothing explains.
pub(super) static LAST: &[&Cause] = &[&ROLLOUT_UNKNOWN];

const REFUSED: Cause = Cause { exit: Exit::Refused, ..Cause::DEFAULTS };

/// `${NAME}` of nothing.
pub(crate) static VARIABLE_UNSET: Cause = Cause {
    id: "variable-unset",
    title: "a variable of the file is not set",
    symptoms: "with a shell's or sed's substitution an image without a tag, or a literal `${TAG}`, reaches ECS",
    remedy: "set it in the environment or by `--var NAME=VALUE`, give it a default by `${NAME:-default}`, or write `$${NAME}` \
             for what the container itself shall see",
    source: "README, \"ecs-deploy\"",
    ..REFUSED
};

/// Everything else of files and flags.
pub(crate) static BAD_INPUT: Cause = Cause {
    id: "bad-input",
    title: "a file or an option is not what it must be",
    symptoms: "ECS is_transient over a member that it does not know, so a typo would change nothing and say nothing",
    remedy: "correct the place that is named; `aws ecs register-task-definition --generate-cli-skeleton` (or create-service) \
             prints the members",
    source: "ECS API Reference, \"RegisterTaskDefinition\", \"CreateService\"",
    ..REFUSED
};

/// ECS has looked at it.
pub(crate) static NOT_ACCEPTED: Cause = Cause {
    id: "not-accepted",
    title: "ECS does not accept the task definition or the service",
    symptoms: "ClientException or InvalidParameterException",
    remedy: "correct what the message names",
    source: "ECS API Reference, \"Common Errors\"",
    ..REFUSED
};

/// The commonest denial of a deployment.
pub(crate) static PASS_ROLE_DENIED: Cause = Cause {
    id: "pass-role-denied",
    title: "the caller may not pass the task's roles to ECS",
    symptoms: "AccessDeniedException for iam:PassRole when the task definition is registered or the service created",
    remedy: "allow `iam:PassRole` on the task role and the execution role for the service `ecs-tasks.amazonaws.com` in the \
             caller's policy",
    source: "IAM User Guide, \"Grant a user permissions to pass a role to an AWS service\"",
    exit: Exit::CallerDenied,
    ..Cause::DEFAULTS
};

/// Any other denial.
pub(crate) static CALLER_DENIED: Cause = Cause {
    id: "caller-denied",
    title: "the caller's policy does not allow a call",
    symptoms: "AccessDeniedException",
    remedy: "allow the action that the message names in the policy of the CI's role (README, \"ecs-deploy\", has them all)",
    source: "IAM User Guide, \"Troubleshoot access denied error messages\"",
    exit: Exit::CallerDenied,
    ..Cause::DEFAULTS
};

/// Nothing to sign with, or nothing that is accepted.
pub(crate) static NO_CREDENTIALS: Cause = Cause {
    id: "no-credentials",
    title: "there are no credentials that AWS accepts, or no region",
    symptoms: "no provider of the SDK's chain has credentials, or the service calls them expired or invalid",
    remedy: "let the CI assume its role before (OIDC: `permissions: id-token: write`), or set AWS_PROFILE; for a profile of \
             IAM Identity Center run `eval \"$(aws configure export-credentials --format env)\"`; name the region",
    source: "AWS SDKs and Tools Reference Guide, \"Standardized credential providers\"",
    exit: Exit::CallerDenied,
    ..Cause::DEFAULTS
};

/// Beyond all retries.
pub(crate) static THROTTLED: Cause = Cause {
    id: "throttled",
    title: "AWS throttles the calls of this account",
    symptoms: "ThrottlingException after all retries",
    remedy: "deploy fewer services at once, or again later; nothing is lost",
    source: "ECS Developer Guide, \"Handling Amazon ECS throttling issues\"",
    exit: Exit::CallFailed,
    ..Cause::DEFAULTS
};

/// The way, or the service itself.
pub(crate) static UNREACHABLE: Cause = Cause {
    id: "api-unreachable",
    title: "the AWS API cannot be reached, or answers with a fault of its own",
    symptoms: "no connection, a time-out, a certificate that is not accepted, or a status of 500 and above",
    remedy: "look at the network of the runner: proxy, DNS, certificates (`AWS_CA_BUNDLE`), `AWS_ENDPOINT_URL`; or try again",
    source: "AWS General Reference, \"Amazon ECS endpoints and quotas\"",
    exit: Exit::CallFailed,
    ..Cause::DEFAULTS
};

/// No such cluster.
pub(crate) static CLUSTER_NOT_FOUND: Cause = Cause {
    id: "cluster-not-found",
    title: "there is no such cluster in this account and region",
    symptoms: "ClusterNotFoundException",
    remedy: "compare `--cluster` and the region with `aws ecs list-clusters`",
    source: "ECS API Reference, \"DescribeServices\"",
    exit: Exit::NotFound,
    ..Cause::DEFAULTS
};

/// No such service.
pub(crate) static SERVICE_NOT_FOUND: Cause = Cause {
    id: "service-not-found",
    title: "there is no such service in the cluster",
    symptoms: "DescribeServices knows it not, or as INACTIVE: it was deleted",
    remedy: "compare `--service` with `aws ecs list-services --cluster CLUSTER`; `ecs-deploy deploy` creates it",
    source: "ECS API Reference, \"DescribeServices\"",
    exit: Exit::NotFound,
    ..Cause::DEFAULTS
};

/// Not ours to deploy.
pub(crate) static OTHER_CONTROLLER: Cause = Cause {
    id: "other-controller",
    title: "the service is not deployed by ECS itself",
    symptoms: "its deployment controller is CODE_DEPLOY or EXTERNAL",
    remedy: "deploy it by CodeDeploy or its own controller, or create a service with the deployment controller ECS",
    source: "ECS API Reference, \"DeploymentController\"",
    ..REFUSED
};

/// What needs a new service.
pub(crate) static CANNOT_BE_CHANGED: Cause = Cause {
    id: "cannot-be-changed",
    title: "a service cannot be changed so",
    symptoms: "the definition differs from the service in a member that UpdateService does not take",
    remedy: "take the member out of the definition, or delete the service (`aws ecs delete-service --force`) and deploy again",
    source: "ECS API Reference, \"UpdateService\"",
    ..REFUSED
};

/// Its end takes longer than we wait.
pub(crate) static STILL_DRAINING: Cause = Cause {
    id: "still-draining",
    title: "the deleted service still drains, and cannot be created again before that ends",
    symptoms: "its status is DRAINING: tasks stop, or a load balancer lets connections end",
    remedy: "wait, with a longer `--timeout`; look at its tasks with `aws ecs list-tasks --service-name`",
    source: "ECS API Reference, \"DeleteService\"",
    exit: Exit::TimeLimit,
    ..Cause::DEFAULTS
};

/// For `rollback --to`.
pub(crate) static REVISION_NOT_FOUND: Cause = Cause {
    id: "revision-not-found",
    title: "there is no such ACTIVE revision of the task definition",
    symptoms: "it was never registered, or is deregistered: a service cannot be updated to that",
    remedy: "choose one of `aws ecs list-task-definitions --family-prefix FAMILY --sort DESC`",
    source: "ECS API Reference, \"DeregisterTaskDefinition\"",
    exit: Exit::NotFound,
    ..Cause::DEFAULTS
};

/// For `rollback` without one.
pub(crate) static NO_OLDER_REVISION: Cause = Cause {
    id: "no-older-revision",
    title: "no older ACTIVE revision is known to have run well",
    symptoms: "none of them carries the tag `ecs-deploy:stable`, which a successful deploy puts on its revision",
    remedy: "name one by `--to REVISION`",
    source: "README, \"ecs-deploy\"",
    exit: Exit::NotFound,
    ..Cause::DEFAULTS
};

/// Somebody was later.
pub(crate) static SUPERSEDED: Cause = Cause {
    id: "superseded",
    title: "another deployment has taken the place of this one",
    symptoms: "the PRIMARY deployment of the service has another id than the one that was begun here",
    remedy: "let only one job at a time deploy a service (GitHub Actions: `concurrency`); the later deployment goes on",
    source: "ECS API Reference, \"Deployment\"",
    exit: Exit::Superseded,
    ..Cause::DEFAULTS
};

/// Somebody deleted it.
pub(crate) static SERVICE_DELETED: Cause = Cause {
    id: "service-deleted",
    title: "the service was deleted during its rollout",
    symptoms: "its status is DRAINING or INACTIVE",
    remedy: "find out who deleted it (CloudTrail, `DeleteService`), and deploy again",
    source: "ECS API Reference, \"DeleteService\"",
    ..Cause::DEFAULTS
};

/// Nothing is wrong but time.
pub(crate) static TOO_SLOW: Cause = Cause {
    id: "too-slow",
    title: "the rollout goes on, and did not end in time",
    symptoms: "tasks start and run, and nothing says why the deployment is not complete",
    remedy: "raise `--timeout`; look at the health check's grace period, the target group's deregistration delay and the \
             number of tasks that may start at once (`--maximum-percent`)",
    source: "ECS Developer Guide, \"Amazon ECS deployment rolling update\"",
    ..Cause::DEFAULTS
};

/// Nobody thought of it.
pub(crate) static ROLLOUT_UNKNOWN: Cause = Cause {
    id: "rollout-unknown",
    title: "the rollout did not succeed, for no reason that is known here",
    symptoms: "the last events and stopped tasks are the evidence",
    remedy: "read them, and `aws ecs describe-services`; a report with their text makes them a known cause",
    source: "ECS Developer Guide, \"Amazon ECS service event messages\"",
    ..Cause::DEFAULTS
};

/// Codes by which a service says that credentials are not accepted (AWS API references, "Common Errors").
const BAD_CREDENTIALS: [&str; 7] = [
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "ExpiredTokenException",
    "ExpiredToken",
    "IncompleteSignature",
];

/// What a call that came to nothing is a case of.
pub(crate) fn of_call(error: &AwsError) -> Finding {
    let cause = match &error.kind {
        AwsErrorKind::Denied { message, .. } if message.contains("iam:PassRole") => &PASS_ROLE_DENIED,
        AwsErrorKind::Denied { .. } => &CALLER_DENIED,
        AwsErrorKind::NoCredentials | AwsErrorKind::Credentials { .. } | AwsErrorKind::Setup { .. } => &NO_CREDENTIALS,
        AwsErrorKind::Throttled { .. } => &THROTTLED,
        AwsErrorKind::Service { code: Some(code), status, message } => match code.as_str() {
            "ClusterNotFoundException" => &CLUSTER_NOT_FOUND,
            "ServiceNotFoundException" | "ServiceNotActiveException" => &SERVICE_NOT_FOUND,
            code if BAD_CREDENTIALS.contains(&code) => &NO_CREDENTIALS,
            _ if message.contains("iam:PassRole") => &PASS_ROLE_DENIED,
            _ if *status >= 500 => &UNREACHABLE,
            _ => &NOT_ACCEPTED,
        },
        _ => &UNREACHABLE,
    };
    let mut finding = cause.finding(error.verbatim());
    if let Some(chain) = &error.source {
        finding = finding.and(chain.to_string());
    }
    finding
}
