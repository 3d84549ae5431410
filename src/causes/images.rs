//! Causes of an instance that lacks images of `ready.images`.

use super::cause::{Cause, Class};
use super::layer::Layer;
use crate::evidence::{Evidence, ImageState, missing_images};
use crate::exit::Exit;
use crate::images::Reason;
use crate::readiness::{has_images, registered};

const DEFAULTS: Cause = Cause {
    layer: Layer::Tasks,
    when_registered: true,
    class: Class::Retry,
    symptoms: "the instance is in the cluster, and docker lacks an image that `ready.images` or `ready.images-of-services` \
               expects",
    ..Cause::DEFAULTS
};

/// The start of the agent waits for the images.
pub(super) static PULLING: Cause = Cause {
    id: "images-pulling",
    layer: Layer::Lifecycle,
    title: "the start of the agent waits until the images are present (`ready.hold-registration`)",
    symptoms: "the unit of the agent has a job that waits, and ecs-bootstrap-images.service is activating",
    proof: "/run/ecs-bootstrap/images.json has not ended; at `ready.deadline` the agent starts in any case",
    look_alikes: &["cloud-init-stuck"],
    class: Class::Waiting,
    exit: Exit::Done,
    exit_after_deadline: Exit::Done,
    remedy: "nothing to do: `ecs-bootstrap status` shows how far the images are; `systemctl stop ecs-bootstrap-images` starts the \
             agent without them",
    source: "systemd.unit(5), Before=",
    check: |evidence| {
        let pulls = evidence.held_by_images()?;
        let lines = missing_images(pulls, &[Reason::Denied, Reason::NotFound, Reason::NoSpace, Reason::Other]);
        Some(if lines.is_empty() { vec!["the images of the services are not known yet".to_owned()] } else { lines })
    },
    when_registered: false,
    ..DEFAULTS
};

/// The registry refuses the image.
pub(super) static DENIED: Cause = Cause {
    id: "images-denied",
    title: "the registry of an image, or an AWS API, does not allow this instance to pull it",
    proof: "docker reports that the registry denied the pull, or AccessDenied for ecr:GetAuthorizationToken, \
            ecs:DescribeServices or ecs:DescribeTaskDefinition; another error is `images-missing`",
    look_alikes: &["images-not-found", "images-missing"],
    exit: Exit::Permission,
    exit_after_deadline: Exit::Permission,
    remedy: "ECR: allow the role the actions that `ecs-bootstrap plan --iam` lists, in another account also in the policy of the \
             repository, and with a gateway endpoint of S3 also in the policy of the endpoint. Another registry: `registry.auth` or ECS_ENGINE_AUTH_DATA. Docker Hub also says this about a repository that does not \
             exist. Then `systemctl start ecs-bootstrap-images && systemctl restart ecs-bootstrap-verify --no-block`",
    source: "Amazon ECR User Guide, \"Private repository policies\"; Docker Engine API, \"Create an image\"",
    check: |evidence| lines(evidence, &[Reason::Denied]),
    note: |evidence| notes(evidence, &[Reason::Denied]),
    ..DEFAULTS
};

/// There is no such image.
pub(super) static NOT_FOUND: Cause = Cause {
    id: "images-not-found",
    title: "the registry has no such image, or not for the platform of this instance",
    proof: "docker reports that the manifest is unknown or has no entry for the platform, or ecs:DescribeServices does not know \
            the service; if the registry denied the pull, the cause is `images-denied`",
    look_alikes: &["images-denied", "images-missing"],
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    remedy: "push the image, for arm64 if the instance is one of Graviton, or correct `ready.images` or \
             `ready.images-of-services`; then `systemctl restart ecs-bootstrap --no-block`",
    source: "OCI Distribution Specification, \"Error Codes\"",
    check: |evidence| lines(evidence, &[Reason::NotFound]),
    note: |evidence| notes(evidence, &[Reason::NotFound]),
    ..DEFAULTS
};

/// The disk is too small.
pub(super) static NO_SPACE: Cause = Cause {
    id: "images-no-space",
    title: "the file system of docker has too little space for the images",
    proof: "docker reports ENOSPC, or the free space is below what the layers need; if the disk is full in any case, the cause is \
            `disk-full`",
    look_alikes: &["disk-full", "images-missing"],
    // Not `Exit::Host`: a replacement of the instance would have the same volume.
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    remedy: "give the volume more space (`BlockDeviceMappings` of the launch template), or remove images (`docker image prune \
             --all`); then `systemctl start ecs-bootstrap-images && systemctl restart ecs-bootstrap-verify --no-block`",
    source: "Docker Engine API, \"Create an image\"; statvfs(3)",
    check: |evidence| lines(evidence, &[Reason::NoSpace]),
    note: |evidence| notes(evidence, &[Reason::NoSpace]),
    ..DEFAULTS
};

/// Any other reason.
pub(super) static MISSING: Cause = Cause {
    id: "images-missing",
    title: "docker does not have all images that the instance needs before its first task",
    proof: "/run/ecs-bootstrap/images.json, which `ecs-bootstrap pull-images` writes, has an image that is not present, with the \
            error of docker; the other reasons are `images-denied`, `images-not-found` and `images-no-space`",
    look_alikes: &["images-denied", "images-not-found", "images-no-space"],
    exit: Exit::NotRegistered,
    exit_after_deadline: Exit::NotRegistered,
    remedy: "see the error of docker in the evidence: a registry that limits or does not answer, or a pull that takes longer than \
             `ready.deadline`; `journalctl -u ecs-bootstrap-images`. Then `systemctl start ecs-bootstrap-images && systemctl \
             restart ecs-bootstrap-verify --no-block`",
    source: "Docker Engine API, \"Create an image\"",
    check: |evidence| lines(evidence, &[Reason::Other]),
    note: |evidence| notes(evidence, &[Reason::Other]),
    ..DEFAULTS
};

/// What a registered instance waits for. `watch` does not wait.
fn lines(evidence: &Evidence, reasons: &[Reason]) -> Option<Vec<String>> {
    let is_waiting = evidence.watched.is_none() && registered(evidence).is_some() && !has_images(evidence);
    of_state(evidence, reasons).filter(|_| is_waiting)
}

/// What an instance lacks that is ready nevertheless.
fn notes(evidence: &Evidence, reasons: &[Reason]) -> Option<Vec<String>> {
    of_state(evidence, reasons).filter(|_| has_images(evidence))
}

fn of_state(evidence: &Evidence, reasons: &[Reason]) -> Option<Vec<String>> {
    let lines = match evidence.image_state()? {
        ImageState::Complete => Vec::new(),
        ImageState::Pulling(pulls) | ImageState::Missing(pulls) => missing_images(pulls, reasons),
        ImageState::Unknown if reasons.contains(&Reason::Other) => {
            vec!["nothing is known about the images: ecs-bootstrap-images.service has stored no state".to_owned()]
        }
        ImageState::Unknown => Vec::new(),
    };
    Some(lines).filter(|lines| !lines.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::ids;
    use super::*;
    use crate::images::{Pull, Pulls, WantedImages};
    use crate::plan::{Expectation, ReadyConditions};
    use crate::settings::{AtDeadline, Daemons, ReadyAttributes};

    #[test]
    fn the_agent_waits_for_the_images_until_the_pulls_end() {
        let wanted = WantedImages { named: vec!["a".into()], holds_registration: true, ..WantedImages::default() };
        let ready = ReadyConditions {
            daemons: Daemons::None,
            attributes: ReadyAttributes::default(),
            images: wanted.clone(),
            min_gpus: None,
            deadline: Duration::from_secs(300),
            at_deadline: AtDeadline::Fail,
        };
        let pulls = Pulls { wanted, images: vec![Pull::new("a".into())], ..Pulls::default() };
        let mut evidence = Evidence {
            expectation: Some(Expectation { ready: Some(ready), ..Expectation::default() }),
            pulls: Some(pulls),
            ..Evidence::default()
        };
        assert!(ids(&evidence).contains(&"images-pulling"), "{:?}", ids(&evidence));
        evidence.pulls.as_mut().unwrap().has_ended = true;
        assert!(!ids(&evidence).contains(&"images-pulling"));
    }
}
