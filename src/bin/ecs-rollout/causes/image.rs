//! Causes of the step in which the instance pulls the image.

use ecs_bootstrap::comparison::Specificity;

use crate::cause::{Cause, Step};
use crate::evidence::Evidence;

/// The most specific first.
pub(super) static ALL: &[&Cause] =
    &[&RATE_LIMITED, &PLATFORM, &DISK_FULL, &NOT_FOUND, &DENIED, &UNREACHABLE, &NOT_PULLED];

const DEFAULTS: Cause = Cause {
    step: Step::Image,
    symptoms: "tasks stop before their containers run, with CannotPullContainerError",
    source: "ECS Developer Guide, \"CannotPullContainer task errors in Amazon ECS\"",
    ..Cause::DEFAULTS
};

/// The messages about a failed pull that contain at least one of the fragments.
fn failed_pulls(evidence: &Evidence, fragments: &[&str]) -> Vec<String> {
    let alternatives: Vec<[&str; 2]> = fragments.iter().map(|fragment| ["cannotpull", *fragment]).collect();
    evidence.mentions(&alternatives.iter().map(<[&str; 2]>::as_slice).collect::<Vec<_>>())
}

static RATE_LIMITED: Cause = Cause {
    id: "pull-rate-limited",
    title: "the registry limits how often images are pulled",
    remedy: "pull through ECR (a pull-through cache, or a copy in your own repository), or log in to the registry with \
             `repositoryCredentials`",
    check: |evidence| failed_pulls(evidence, &["toomanyrequests", "too many requests", "rate limit"]),
    ..DEFAULTS
};

static PLATFORM: Cause = Cause {
    id: "image-platform",
    title: "the image is for another CPU architecture or operating system than the instance",
    symptoms: "CannotPullContainerError, or a container that exits at once with `exec format error` in its log",
    remedy: "build the image for the instances with `docker buildx build --platform linux/amd64` (or linux/arm64), or \
             for both",
    check: |evidence| {
        let mut found =
            failed_pulls(evidence, &["matching platform", "no matching manifest", "cannot be used on this platform"]);
        let logged =
            evidence.exits.iter().filter(|exit| exit.log.iter().any(|line| line.contains("exec format error")));
        found.extend(logged.map(|exit| {
            format!(
                "container `{}` of task {} exited with code {}: exec format error",
                exit.container, exit.task, exit.code
            )
        }));
        found
    },
    ..DEFAULTS
};

static DISK_FULL: Cause = Cause {
    id: "instance-disk-full",
    title: "the instance has no disk space left for the image",
    remedy: "enlarge the volume of the instance, or let the agent clean up sooner \
             (`ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION`, `ECS_IMAGE_MINIMUM_CLEANUP_AGE`); `ecs-bootstrap doctor` shows \
             which file system is full",
    check: |evidence| evidence.mentions(&[&["no space left on device"]]),
    ..DEFAULTS
};

static NOT_FOUND: Cause = Cause {
    id: "image-not-found",
    yields_to: &["image-denied"],
    title: "the image does not exist in the registry",
    remedy: "compare the name and tag of the image with the registry (`aws ecr describe-images`); check that the image \
             was pushed to this account and region, with this tag",
    check: |evidence| failed_pulls(evidence, &["not found", "manifest unknown", "does not exist"]),
    ..DEFAULTS
};

static DENIED: Cause = Cause {
    id: "image-denied",
    title: "the instance is not allowed to pull the image",
    symptoms: "CannotPullContainerError with `denied`, `not authorized`, `no basic auth credentials` or 403; Docker \
               Hub gives the same answer for a repository that does not exist",
    remedy: "allow `ecr:GetAuthorizationToken`, `ecr:BatchGetImage` and `ecr:GetDownloadUrlForLayer` for the execution \
             role, or for the instance role if the task has no execution role; in another account, the repository's \
             policy must allow the pull too",
    check: |evidence| {
        failed_pulls(evidence, &["denied", "not authorized", "no basic auth", "unauthorized", "403 forbidden"])
    },
    ..DEFAULTS
};

static UNREACHABLE: Cause = Cause {
    id: "registry-unreachable",
    title: "the instance cannot reach the registry",
    remedy: "check the route of the instance (NAT gateway, or VPC endpoints of ecr.api, ecr.dkr and s3), DNS, and the \
             proxy settings of docker and the agent",
    check: |evidence| {
        failed_pulls(
            evidence,
            &[
                "client.timeout",
                "i/o timeout",
                "request canceled",
                "connection refused",
                "no such host",
                "network is unreachable",
                "context deadline exceeded",
                "tls handshake timeout",
            ],
        )
    },
    ..DEFAULTS
};

static NOT_PULLED: Cause = Cause {
    id: "image-not-pulled",
    specificity: Specificity::General,
    title: "the image could not be pulled",
    remedy: "read the message; try `docker pull` on an instance of the cluster",
    check: |evidence| failed_pulls(evidence, &[""]),
    ..DEFAULTS
};
