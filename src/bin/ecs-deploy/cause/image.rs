//! Causes of the step in which the instance pulls the image.

use super::{Cause, Evidence};

/// Most specific first.
pub(super) static ALL: &[&Cause] =
    &[&RATE_LIMITED, &PLATFORM, &DISK_FULL, &NOT_FOUND, &DENIED, &UNREACHABLE, &NOT_PULLED];

const PULL: &str = "cannotpull";

const DEFAULTS: Cause = Cause {
    symptoms: "tasks stop before they run, with CannotPullContainerError",
    source: "ECS Developer Guide, \"CannotPullContainer task errors in Amazon ECS\"",
    ..Cause::DEFAULTS
};

fn pull(evidence: &Evidence, fragments: &[&str]) -> Vec<String> {
    let alternatives: Vec<[&str; 2]> = fragments.iter().map(|fragment| [PULL, *fragment]).collect();
    evidence.mentions(&alternatives.iter().map(<[&str; 2]>::as_slice).collect::<Vec<_>>())
}

static RATE_LIMITED: Cause = Cause {
    id: "pull-rate-limited",
    title: "the registry limits how often images are pulled",
    remedy: "pull through ECR (a pull-through cache, or a copy in a repository of yours), or log in to the registry by \
             `repositoryCredentials`",
    check: |evidence| pull(evidence, &["toomanyrequests", "too many requests", "rate limit"]),
    ..DEFAULTS
};

static PLATFORM: Cause = Cause {
    id: "image-platform",
    title: "the image is for another processor or system than the instance",
    symptoms: "CannotPullContainerError, or a container that ends at once with `exec format error` in its log",
    remedy: "build it for the instances: `docker buildx build --platform linux/amd64` (or linux/arm64), or for both",
    check: |evidence| {
        let mut found =
            pull(evidence, &["matching platform", "no matching manifest", "cannot be used on this platform"]);
        let logged =
            evidence.exits.iter().filter(|exit| exit.log.iter().any(|line| line.contains("exec format error")));
        found.extend(logged.map(|exit| {
            format!("container `{}` of task {} ended with {}: exec format error", exit.container, exit.task, exit.code)
        }));
        found
    },
    ..DEFAULTS
};

static DISK_FULL: Cause = Cause {
    id: "instance-disk-full",
    title: "the instance has no space left for the image",
    remedy: "enlarge the instance's volume, or let the agent clean up sooner (`ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION`, \
             `ECS_IMAGE_MINIMUM_CLEANUP_AGE`); `ecs-bootstrap doctor` shows what is full",
    check: |evidence| evidence.mentions(&[&["no space left on device"]]),
    ..DEFAULTS
};

static NOT_FOUND: Cause = Cause {
    id: "image-not-found",
    title: "there is no such image",
    remedy: "compare the image's name and tag with the registry (`aws ecr describe-images`); was it pushed, to this account \
             and region, under this tag",
    check: |evidence| match pull(evidence, &["access denied", "docker login"]).is_empty() {
        true => pull(evidence, &["not found", "manifest unknown", "does not exist"]),
        false => Vec::new(),
    },
    ..DEFAULTS
};

static DENIED: Cause = Cause {
    id: "image-denied",
    title: "the instance may not pull the image",
    symptoms: "CannotPullContainerError with `denied`, `not authorized`, `no basic auth credentials` or 403; Docker Hub says the \
            same of a repository that does not exist",
    remedy: "allow `ecr:GetAuthorizationToken`, `ecr:BatchGetImage` and `ecr:GetDownloadUrlForLayer` to the execution role (the \
             instance role where there is none); in another account the repository's policy must allow it too",
    check: |evidence| pull(evidence, &["denied", "not authorized", "no basic auth", "unauthorized", "403 forbidden"]),
    ..DEFAULTS
};

static UNREACHABLE: Cause = Cause {
    id: "registry-unreachable",
    title: "the instance cannot reach the registry",
    remedy: "look at its route: NAT gateway, or VPC endpoints of ecr.api, ecr.dkr and s3; DNS; a proxy for docker and the agent",
    check: |evidence| {
        pull(
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
    title: "the image could not be pulled",
    remedy: "read the message; try `docker pull` on an instance of the cluster",
    check: |evidence| match ALL
        .iter()
        .any(|cause| cause.id != "image-not-pulled" && !(cause.check)(evidence).is_empty())
    {
        true => Vec::new(),
        false => pull(evidence, &[""]),
    },
    ..DEFAULTS
};
