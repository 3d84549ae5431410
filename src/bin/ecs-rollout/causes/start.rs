//! Causes of the steps between the placement of a task and the start of its command: roles, secrets, logs, volumes.

use crate::cause::{Cause, Step};

/// The most specific first.
pub(super) static ALL: &[&Cause] = &[
    &ROLE,
    &SECRET_DENIED,
    &SECRET_MISSING,
    &LOG_GROUP,
    &LOG_DENIED,
    &VOLUME,
    &COMMAND,
    &INITIALIZATION,
    &NOT_STARTED,
];

const DEFAULTS: Cause = Cause {
    step: Step::Start,
    symptoms: "tasks stop before their containers run",
    source: "ECS Developer Guide, \"Amazon ECS stopped tasks error messages\"",
    ..Cause::DEFAULTS
};

static ROLE: Cause = Cause {
    id: "task-role-not-assumable",
    title: "ECS cannot assume a role of the task",
    symptoms: "no task is started, and a service event names the role",
    remedy: "the role must exist and trust `ecs-tasks.amazonaws.com` (`sts:AssumeRole`), and the caller of ecs-rollout \
             needs `iam:PassRole`",
    source: "ECS Developer Guide, \"Amazon ECS task IAM role\"",
    check: |evidence| evidence.mentions(&[&["unable to assume the role"], &["unable to assume role"]]),
    ..DEFAULTS
};

static SECRET_DENIED: Cause = Cause {
    id: "secret-denied",
    title: "the execution role is not allowed to read a secret of the task",
    remedy: "allow the execution role `secretsmanager:GetSecretValue` or `ssm:GetParameters` on the secret, and \
             `kms:Decrypt` if a customer managed key encrypts it",
    source: "ECS Developer Guide, \"Pass sensitive data to an Amazon ECS container\"",
    check: |evidence| {
        evidence.mentions(&[
            &["secret", "accessdenied"],
            &["secret", "not authorized"],
            &["ssm", "accessdenied"],
            &["registry auth", "accessdenied"],
        ])
    },
    ..DEFAULTS
};

static SECRET_MISSING: Cause = Cause {
    id: "secret-not-found",
    title: "a secret or parameter of the task does not exist",
    remedy: "compare `secrets[].valueFrom` with Secrets Manager or Parameter Store in this region; if it names a JSON \
             key, the secret must contain that key",
    source: "ECS Developer Guide, \"Pass sensitive data to an Amazon ECS container\"",
    check: |evidence| {
        evidence.mentions(&[
            &["secret", "resourcenotfound"],
            &["secrets manager can't find"],
            &["invalid parameters:"],
            &["retrieved secret", "did not contain json key"],
            &["invalid ssm parameters"],
        ])
    },
    ..DEFAULTS
};

static LOG_GROUP: Cause = Cause {
    id: "log-group-missing",
    title: "the log group of the task does not exist",
    remedy: "create the log group, or set `awslogs-create-group` to `true` and allow `logs:CreateLogGroup`",
    source: "ECS Developer Guide, \"Send Amazon ECS logs to CloudWatch\"",
    check: |evidence| evidence.mentions(&[&["log group does not exist"], &["logging driver", "resourcenotfound"]]),
    ..DEFAULTS
};

static LOG_DENIED: Cause = Cause {
    id: "log-denied",
    title: "the task is not allowed to write to its log group",
    remedy: "allow `logs:CreateLogStream` and `logs:PutLogEvents` on the log group for the execution role, or for the \
             instance role if the task has no execution role",
    source: "ECS Developer Guide, \"Send Amazon ECS logs to CloudWatch\"",
    check: |evidence| {
        evidence.mentions(&[&["logging driver", "accessdenied"], &["logs:createlogstream"], &["logs:createloggroup"]])
    },
    ..DEFAULTS
};

static VOLUME: Cause = Cause {
    id: "volume-not-mounted",
    title: "a volume of the task could not be created or mounted",
    remedy: "check the file system, its security group (NFS, port 2049), its mount targets and access point, and the \
             driver of the volume",
    check: |evidence| {
        evidence.mentions(&[
            &["cannotcreatevolume"],
            &["failed to invoke efs utils"],
            &["mount failed"],
            &["mount.nfs"],
        ])
    },
    ..DEFAULTS
};

static COMMAND: Cause = Cause {
    id: "command-not-found",
    title: "the container's command is not in the image, or cannot be executed",
    remedy: "compare `entryPoint` and `command` with the image (`docker run --rm -it IMAGE sh`); a script needs its \
             interpreter in the image, and mode 755",
    check: |evidence| {
        evidence.mentions(&[
            &["cannotstart", "no such file or directory"],
            &["cannotstart", "executable file not found"],
            &["cannotstart", "permission denied"],
            &["cannotcreate", "no command specified"],
        ])
    },
    ..DEFAULTS
};

static INITIALIZATION: Cause = Cause {
    id: "resources-not-initialized",
    yields_to: &["secret-denied", "secret-not-found", "log-group-missing", "log-denied", "volume-not-mounted"],
    title: "the agent could not set up the resources of the task",
    remedy: "read the message; often the instance cannot reach Secrets Manager, SSM, ECR or CloudWatch Logs",
    check: |evidence| evidence.mentions(&[&["resourceinitializationerror"]]),
    ..DEFAULTS
};

static NOT_STARTED: Cause = Cause {
    id: "container-not-started",
    yields_to: &["log-group-missing", "log-denied", "command-not-found"],
    title: "docker could not create or start a container of the task",
    remedy: "read the message; try the image with `docker run` on an instance of the cluster",
    check: |evidence| {
        evidence.mentions(&[&["cannotstartcontainer"], &["cannotcreatecontainer"], &["dockertimeouterror"]])
    },
    ..DEFAULTS
};
