//! Causes of the steps between placing a task and running its command: roles, secrets, logs, volumes, the start itself.

use super::Cause;

/// Most specific first.
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

const STOPPED: &str = "ECS Developer Guide, \"Amazon ECS stopped tasks error messages\"";

const DEFAULTS: Cause = Cause { symptoms: "tasks stop before they run", source: STOPPED, ..Cause::DEFAULTS };

static ROLE: Cause = Cause {
    id: "task-role-not-assumable",
    title: "ECS cannot assume a role of the task",
    symptoms: "tasks are never started, and an event names the role",
    remedy: "the role must exist and trust `ecs-tasks.amazonaws.com` (`sts:AssumeRole`); whoever deploys needs `iam:PassRole`",
    source: "ECS Developer Guide, \"Amazon ECS task IAM role\"",
    check: |evidence| evidence.mentions(&[&["unable to assume the role"], &["unable to assume role"]]),
    ..DEFAULTS
};

static SECRET_DENIED: Cause = Cause {
    id: "secret-denied",
    title: "the execution role may not read a secret of the task",
    remedy: "allow `secretsmanager:GetSecretValue` or `ssm:GetParameters` on it, and `kms:Decrypt` where a key of yours \
             encrypts it, to the execution role",
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
    remedy: "compare `secrets[].valueFrom` with Secrets Manager or Parameter Store of this region; a JSON key of a secret must \
             exist too",
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
    remedy: "create it, or set `awslogs-create-group` to `true` and allow `logs:CreateLogGroup`",
    source: "ECS Developer Guide, \"Send Amazon ECS logs to CloudWatch\"",
    check: |evidence| evidence.mentions(&[&["log group does not exist"], &["logging driver", "resourcenotfound"]]),
    ..DEFAULTS
};

static LOG_DENIED: Cause = Cause {
    id: "log-denied",
    title: "the task may not write to its log group",
    remedy: "allow `logs:CreateLogStream` and `logs:PutLogEvents` on the group to the execution role (the instance role where \
             there is none)",
    source: "ECS Developer Guide, \"Send Amazon ECS logs to CloudWatch\"",
    check: |evidence| {
        evidence.mentions(&[&["logging driver", "accessdenied"], &["logs:createlogstream"], &["logs:createloggroup"]])
    },
    ..DEFAULTS
};

static VOLUME: Cause = Cause {
    id: "volume-not-mounted",
    title: "a volume of the task could not be made or mounted",
    remedy: "look at the file system, its security group (NFS, port 2049), mount targets and access point, and the volume's \
             driver",
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
    remedy: "compare `entryPoint` and `command` with the image: `docker run --rm -it IMAGE sh`; a script needs its \
             interpreter and mode 755",
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
    title: "what the task needs could not be set up",
    remedy: "read the message; often it is the way from the instance to Secrets Manager, SSM, ECR or CloudWatch Logs",
    check: |evidence| {
        let known = [&SECRET_DENIED, &SECRET_MISSING, &LOG_GROUP, &LOG_DENIED, &VOLUME];
        match known.iter().any(|cause| !(cause.check)(evidence).is_empty()) {
            true => Vec::new(),
            false => evidence.mentions(&[&["resourceinitializationerror"]]),
        }
    },
    ..DEFAULTS
};

static NOT_STARTED: Cause = Cause {
    id: "container-not-started",
    title: "docker could not create or start a container of the task",
    remedy: "read the message; try the image with `docker run` on an instance of the cluster",
    check: |evidence| {
        let known = [&LOG_GROUP, &LOG_DENIED, &COMMAND];
        match known.iter().any(|cause| !(cause.check)(evidence).is_empty()) {
            true => Vec::new(),
            false => {
                evidence.mentions(&[&["cannotstartcontainer"], &["cannotcreatecontainer"], &["dockertimeouterror"]])
            }
        }
    },
    ..DEFAULTS
};
