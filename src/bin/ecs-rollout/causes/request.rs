//! Causes that end a command before a rollout starts: the files and options, the caller's rights, the state of the
//! service.

use ecs_bootstrap::boundary::aws::{AwsError, AwsErrorKind};
use ecs_bootstrap::exit::Exit;

use crate::cause::{Cause, FoundCause};

pub(super) static ALL: &[&Cause] = &[
    &VARIABLE_UNSET,
    &VARIABLE_NOT_LISTED,
    &BAD_INPUT,
    &BAD_OPTION,
    &FILE_EXISTS,
    &NOT_ACCEPTED,
    &PASS_ROLE_DENIED,
    &CALLER_DENIED,
    &NO_CREDENTIALS,
    &THROTTLED,
    &UNREACHABLE,
    &API_FAILED,
    &CLUSTER_NOT_FOUND,
    &SERVICE_NOT_FOUND,
    &OTHER_CONTROLLER,
    &CANNOT_BE_CHANGED,
    &STILL_DRAINING,
    &REVISION_NOT_FOUND,
    &NO_OLDER_REVISION,
];

const REFUSED: Cause = Cause { exit: Exit::Refused, ..Cause::DEFAULTS };

pub(crate) static VARIABLE_UNSET: Cause = Cause {
    id: "variable-unset",
    title: "a variable that a file uses is not set",
    symptoms: "a file uses `${NAME}`, but neither `--var` nor `--env-file` sets it, nor the environment if `--vars-from` \
               lists it; a plain text replacement would send ECS an image without a tag, or the literal `${TAG}`",
    remedy: "set the variable with `--var NAME=VALUE` or in an `--env-file`, or in the environment with `--vars-from \
             NAME`; give it a default with `${NAME:-default}`, or write `$${NAME}` if the container itself must see \
             `${NAME}`",
    source: "docs/reference/ecs-rollout.md",
    ..REFUSED
};

pub(crate) static VARIABLE_NOT_LISTED: Cause = Cause {
    id: "variable-not-listed",
    title: "a file uses a variable of the environment that is not listed",
    symptoms: "a file uses `${NAME}`, and the environment of ecs-rollout happens to set it; a variable such as `${HOME}` \
               in a command often means the one of the container",
    remedy: "add `--vars-from NAME` if the value of the environment is meant, write `$${NAME}` if the container itself \
             must see `${NAME}`, or use `--no-variables` if the files have no variables",
    source: "docs/reference/ecs-rollout.md",
    ..REFUSED
};

pub(crate) static BAD_INPUT: Cause = Cause {
    id: "bad-input",
    title: "a definition is not valid",
    symptoms: "a definition or the overrides of a task cannot be parsed, or have an unknown member or a value of the \
               wrong type; ECS ignores unknown members, so a typo would have no effect and give no error",
    remedy: "correct the place that the message names; the ECS API Reference describes all members, and \
             packaging/ci/task-definition.json and service.json are examples",
    source: "ECS API Reference, \"RegisterTaskDefinition\", \"CreateService\", \"RunTask\"",
    ..REFUSED
};

pub(crate) static BAD_OPTION: Cause = Cause {
    id: "bad-option",
    title: "an option is not valid, or a file that it names cannot be used",
    symptoms: "options contradict each other or the files, an option is missing, or its value does not fit; a file \
               cannot be read or written, or a line of an `--env-file` is not NAME=VALUE",
    remedy: "correct the option or the file that the message names; `--help` after the command describes its options",
    source: "docs/reference/ecs-rollout.md",
    ..REFUSED
};

pub(crate) static FILE_EXISTS: Cause = Cause {
    id: "file-exists",
    title: "a file that `init` would write exists with other content",
    symptoms: "`init` finds a file of this name, and was not told to replace it",
    remedy: "compare the files: write the new ones to another folder with `--dir`, or replace the old ones with \
             `--force`",
    source: "docs/reference/ecs-rollout.md",
    ..REFUSED
};

pub(crate) static NOT_ACCEPTED: Cause = Cause {
    id: "not-accepted",
    title: "ECS rejects the task definition or the service",
    symptoms: "ECS answers with ClientException or InvalidParameterException",
    remedy: "correct what the message names",
    source: "ECS API Reference, \"Common Errors\"",
    ..REFUSED
};

pub(crate) static PASS_ROLE_DENIED: Cause = Cause {
    id: "pass-role-denied",
    title: "the caller is not allowed to pass the task's roles to ECS",
    symptoms: "AccessDeniedException for iam:PassRole when the task definition is registered or the service is created",
    remedy: "in the caller's policy, allow `iam:PassRole` on the task role and the execution role for the service \
             `ecs-tasks.amazonaws.com`",
    source: "IAM User Guide, \"Grant a user permissions to pass a role to an AWS service\"",
    exit: Exit::CallerDenied,
    ..Cause::DEFAULTS
};

pub(crate) static CALLER_DENIED: Cause = Cause {
    id: "caller-denied",
    title: "the caller's policy does not allow an API call",
    symptoms: "AWS answers with AccessDeniedException",
    remedy: "allow the action that the message names in the policy of the CI's role (docs/reference/iam.md lists all \
             actions)",
    source: "IAM User Guide, \"Troubleshoot access denied error messages\"",
    exit: Exit::CallerDenied,
    ..Cause::DEFAULTS
};

pub(crate) static NO_CREDENTIALS: Cause = Cause {
    id: "no-credentials",
    title: "there is no region, or there are no credentials that AWS accepts",
    symptoms: "no region is set, no provider of the SDK's chain has credentials, or AWS calls the credentials expired \
               or invalid",
    remedy: "let the CI job assume its role first (OIDC: `permissions: id-token: write`), or set AWS_PROFILE; for a \
             profile of IAM Identity Center run `eval \"$(aws configure export-credentials --format env)\"`; set the \
             region with `--region` or AWS_REGION",
    source: "AWS SDKs and Tools Reference Guide, \"Standardized credential providers\"",
    exit: Exit::CallerDenied,
    ..Cause::DEFAULTS
};

pub(crate) static THROTTLED: Cause = Cause {
    id: "throttled",
    title: "AWS throttles the API calls of this account",
    symptoms: "ThrottlingException after all retries",
    remedy: "deploy fewer services at the same time, or run the command again later, which is safe",
    source: "ECS Developer Guide, \"Handling Amazon ECS throttling issues\"",
    exit: Exit::CallFailed,
    ..Cause::DEFAULTS
};

pub(crate) static UNREACHABLE: Cause = Cause {
    id: "api-unreachable",
    title: "the AWS API cannot be reached",
    symptoms: "no connection, a timeout, a certificate that is not accepted, or an answer that is not one of the API, for \
               example the page of a proxy",
    remedy: "check the network of the CI runner: proxy, DNS, CA certificates (`AWS_CA_BUNDLE`) and `AWS_ENDPOINT_URL`; \
             or run the command again",
    source: "AWS General Reference, \"Amazon ECS endpoints and quotas\"",
    exit: Exit::CallFailed,
    ..Cause::DEFAULTS
};

pub(crate) static API_FAILED: Cause = Cause {
    id: "api-failed",
    title: "the AWS API answers with an error of its own",
    symptoms: "every attempt got a status of 500 or above, or an answer lacks what the API must return",
    remedy: "run the command again later (`run`: first check that its task was not started); if it lasts, look at the \
             AWS Health Dashboard, and check that `AWS_ENDPOINT_URL`, if it is set, names an endpoint that implements \
             the call",
    source: "ECS API Reference, \"Common Errors\"",
    exit: Exit::CallFailed,
    ..Cause::DEFAULTS
};

pub(crate) static CLUSTER_NOT_FOUND: Cause = Cause {
    id: "cluster-not-found",
    title: "there is no such cluster in this account and region",
    symptoms: "ECS answers with ClusterNotFoundException",
    remedy: "compare `--cluster` and the region with the output of `aws ecs list-clusters`",
    source: "ECS API Reference, \"DescribeServices\"",
    exit: Exit::NotFound,
    ..Cause::DEFAULTS
};

pub(crate) static SERVICE_NOT_FOUND: Cause = Cause {
    id: "service-not-found",
    title: "there is no such service in the cluster",
    symptoms: "DescribeServices does not return the service, or returns it as INACTIVE, which means deleted",
    remedy: "compare `--service` with the output of `aws ecs list-services --cluster CLUSTER`; `ecs-rollout deploy` \
             creates the service",
    source: "ECS API Reference, \"DescribeServices\"",
    exit: Exit::NotFound,
    ..Cause::DEFAULTS
};

pub(crate) static OTHER_CONTROLLER: Cause = Cause {
    id: "other-controller",
    title: "the service is not deployed by ECS itself",
    symptoms: "its deployment controller is CODE_DEPLOY or EXTERNAL",
    remedy: "deploy it with CodeDeploy or its own controller, or create a service with the deployment controller ECS",
    source: "ECS API Reference, \"DeploymentController\"",
    ..REFUSED
};

pub(crate) static CANNOT_BE_CHANGED: Cause = Cause {
    id: "cannot-be-changed",
    title: "the service definition changes a member that is fixed once the service exists",
    symptoms: "the service definition differs from the service in a member that UpdateService does not accept",
    remedy: "remove the member from the service definition, or delete the service (`aws ecs delete-service --force`) \
             and deploy again",
    source: "ECS API Reference, \"UpdateService\"",
    ..REFUSED
};

pub(crate) static STILL_DRAINING: Cause = Cause {
    id: "still-draining",
    title: "the deleted service is still draining, and cannot be created again before that ends",
    symptoms: "the status of the service is DRAINING: its tasks stop, or a load balancer waits for connections to \
               close",
    remedy: "deploy again with a longer `--timeout`; list the remaining tasks with `aws ecs list-tasks --service-name`",
    source: "ECS API Reference, \"DeleteService\"",
    exit: Exit::TimeLimit,
    ..Cause::DEFAULTS
};

pub(crate) static REVISION_NOT_FOUND: Cause = Cause {
    id: "revision-not-found",
    title: "there is no such ACTIVE revision of the task definition",
    symptoms: "the revision was never registered, or was deregistered; a service cannot be updated to it",
    remedy: "choose a revision from the output of `aws ecs list-task-definitions --family-prefix FAMILY --sort DESC`",
    source: "ECS API Reference, \"DeregisterTaskDefinition\"",
    exit: Exit::NotFound,
    ..Cause::DEFAULTS
};

pub(crate) static NO_OLDER_REVISION: Cause = Cause {
    id: "no-older-revision",
    title: "no older ACTIVE revision is known to have been stable",
    symptoms: "no older revision has the tag `ecs-rollout:stable`, which a successful deployment adds to its revision, \
               and the service has no completed deployment of another revision",
    remedy: "name a revision with `--to REVISION`",
    source: "docs/reference/ecs-rollout.md",
    exit: Exit::NotFound,
    ..Cause::DEFAULTS
};

/// Error codes for credentials that are not accepted (AWS API references, "Common Errors").
const BAD_CREDENTIALS: [&str; 7] = [
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "ExpiredTokenException",
    "ExpiredToken",
    "IncompleteSignature",
];

/// The finding for an AWS call that failed.
pub(crate) fn from_error(error: &AwsError) -> FoundCause {
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
            _ if *status >= 500 => &API_FAILED,
            _ => &NOT_ACCEPTED,
        },
        AwsErrorKind::Service { code: None, status, .. } if *status >= 500 => &API_FAILED,
        _ => &UNREACHABLE,
    };
    let mut finding = cause.finding(error.verbatim());
    if let Some(chain) = &error.source {
        finding = finding.and(chain.to_string());
    }
    finding
}
