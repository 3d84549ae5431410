//! Causes in user data itself: it is missing, cloud-init does not accept it, or it failed.

use super::cause::Cause;
use super::layer::Layer;
use super::view::effect::{effect, invalid_cluster_name, user_data, user_data_effect};
use super::view::user_data::{errors, output, warnings};
use crate::evidence::Evidence;
use crate::evidence::files::ModuleError;
use crate::evidence::user_data::{PartType, UserData};

/// The fields that the causes of this file share. Each explains why the cluster is missing.
const DEFAULTS: Cause = Cause { layer: Layer::CloudInit, ..Cause::OF_MISSING_CLUSTER };

/// Encoded by hand, and again by the tool.
pub(super) static TWICE_ENCODED: Cause = Cause {
    id: "user-data-double-base64",
    title: "user data is base64-encoded twice, so cloud-init gets base64 instead of a script",
    symptoms: "the instance joins `default`, no script ran, and `user-data` in IMDS is base64",
    proof: "IMDS returns base64, and the decoded text begins like user data; the cause is `user-data-not-recognised` \
            if the decoded text does not, and `user-data-absent` if IMDS has no user data",
    look_alikes: &["user-data-not-recognised", "user-data-absent"],
    remedy: "encode it once (launch templates and the API expect base64; the console, `file://` of the AWS CLI and \
             Terraform's `user_data` expect plain text), and replace the instance, because user data runs only once",
    source: "canonical/cloud-init#4276; hashicorp/terraform#11488; hashicorp/terraform-provider-aws#8244",
    check: |evidence| {
        let effect = user_data_effect(evidence)?;
        let PartType::TwiceEncoded(what) = user_data(evidence)?.part_type else { return None };
        // Some cloud-init versions decode it anyway. If it ran, it was accepted.
        let has_run = has_failed(evidence) || evidence.files.cloud_init.has_scripts;
        (!has_run).then(|| {
            let seen = format!("user data in IMDS is base64, which decodes to {what}");
            [seen].into_iter().chain(effect.seen).collect()
        })
    },
    ..DEFAULTS
};

/// Decided by its first bytes.
pub(super) static NOT_RECOGNISED: Cause = Cause {
    id: "user-data-not-recognised",
    title: "user data does not begin with a marker that cloud-init knows, so cloud-init ignores it",
    symptoms: "the instance joins `default`, no script ran, and cloud-init warns about `text/x-not-multipart`",
    proof: "user data exists, but begins with neither `#!`, `#cloud-config` nor another marker; if IMDS has no user \
            data, the cause is `user-data-absent`",
    look_alikes: &["user-data-double-base64", "user-data-absent"],
    remedy: "put the marker (`#!/bin/bash`, `#cloud-config`) on the first line, with nothing before it (in a template, \
             remove the indentation), and replace the instance, because user data runs only once",
    source: "canonical/cloud-init#4239; aws/amazon-ecs-cli#1126; cloud-init, cloudinit/handlers/__init__.py, \
             type_from_starts_with",
    check: |evidence| {
        let effect = user_data_effect(evidence)?;
        let PartType::Unknown(why) = user_data(evidence)?.part_type else { return None };
        let seen = format!("user data in IMDS: {why}");
        Some([seen].into_iter().chain(warnings(evidence)).chain(effect.seen).collect())
    },
    ..DEFAULTS
};

pub(super) static MIME_BROKEN: Cause = Cause {
    id: "user-data-mime-broken",
    title: "user data is a malformed MIME message, so cloud-init loses a part of it",
    symptoms: "one part of user data ran, but the part for ECS did not; the instance joins `default`",
    proof: "a boundary is missing, text follows the closing boundary, a part has a type that cloud-init does not accept, \
            or its content is not decoded or not stored; the cause is `user-data-not-recognised` if user data begins neither like a MIME message nor with \
            another marker, and `user-data-failed` if the message is well-formed and one of its parts failed",
    look_alikes: &["user-data-not-recognised", "user-data-failed"],
    remedy: "create it with `cloud-init devel make-mime`, one part for each purpose, append nothing to it, and replace the \
             instance, because user data runs only once",
    source: "aws/aws-cdk#1711 #6427; aws/amazon-ecs-cli#1126; cloud-init, \"User data formats\"",
    check: |evidence| {
        let effect = user_data_effect(evidence)?;
        let faults = &user_data(evidence)?.mime;
        let seen = faults.iter().take(4).map(|fault| format!("the MIME message: {}", fault.text));
        (!faults.is_empty()).then(|| seen.chain(warnings(evidence)).chain(effect.seen).collect())
    },
    ..DEFAULTS
};

/// A script that was written for IMDSv1.
pub(super) static WITHOUT_TOKEN: Cause = Cause {
    id: "imds-v1-client",
    title: "the user data script calls IMDS without a token, and gets no answer",
    symptoms: "`ECS_CLUSTER=` in `ecs.config` is empty or holds an HTML page, or the script stops at its curl command",
    proof: "the script never sends `X-aws-ec2-metadata-token`, IMDS answers 401 without it, and no cluster was set; if \
            another command failed first, the cause is `user-data-failed`",
    look_alikes: &["user-data-failed", "no-cluster-named"],
    remedy: "get a token first: `curl -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' \
             http://169.254.169.254/latest/api/token`, and send it with each request; then replace the instance, because \
             user data runs only once",
    source: "aws/amazon-ecs-agent, CHANGELOG.md (IMDSv1 disabled); EC2 User Guide, \"Use the Instance Metadata \
             Service\"",
    check: |evidence| {
        let script = user_data(evidence)
            .filter(|known| known.asks_without_token && known.token_required == Some(true) && known.mentions_cluster)?;
        let is_known = matches!(script.part_type, PartType::Known(_));
        let page =
            invalid_cluster_name(evidence).filter(|(value, _)| value.starts_with('<')).map(|(_, seen)| vec![seen]);
        let effect = page.or_else(|| user_data_effect(evidence).map(|effect| effect.seen))?;
        let has_other_reason = has_failed(evidence) && !evidence.files.cloud_init.output.is_empty();
        (is_known && !has_other_reason).then(|| {
            let text = "user data calls IMDS and never sends `X-aws-ec2-metadata-token`; without it IMDS answers 401";
            let empty = evidence.files.configs.iter().filter_map(|file| {
                let (line, _) = file.cluster.as_ref().filter(|(_, value)| value.is_empty())?;
                Some(format!("`ECS_CLUSTER=` on line {line} of {} is empty", file.path))
            });
            [text.to_owned()].into_iter().chain(empty).chain(effect).collect()
        })
    },
    ..DEFAULTS
};

/// It ran, and stopped with an error.
pub(super) static FAILED: Cause = Cause {
    id: "user-data-failed",
    // On a host without docker or the agent, the commands of user data that start them fail.
    yields_to: &["imds-v1-client", "datasource-none", "docker-absent", "ecs-init-absent"],
    title: "user data failed",
    symptoms: "the instance joins `default`, or `ecs.config` is incomplete; `cloud-init status` shows error",
    proof: "cloud-init recorded an error of `scripts-user` or of another module that runs what user data requests; if \
            IMDS has no user data, the cause is `user-data-absent`; on a host without docker or the agent it is \
            `docker-absent` or `ecs-init-absent`",
    look_alikes: &["user-data-absent", "imds-v1-client", "cloud-init-failed", "docker-absent", "ecs-init-absent"],
    remedy: "fix the command that failed (`/var/log/cloud-init-output.log`), and replace the instance, because user \
             data runs only once; name the cluster before any command that can fail",
    source: "aws/aws-cdk#28518 #32469; arminc/terraform-ecs#24; aws-samples/ecs-refarch-cloudformation#58",
    check: |evidence| {
        let effect = user_data_effect(evidence)?;
        let is_accepted = |known: &UserData| !matches!(known.part_type, PartType::Unknown(_) | PartType::Absent);
        let seen = failures(evidence)?;
        user_data(evidence).is_none_or(is_accepted).then(|| seen.into_iter().chain(effect.seen).collect())
    },
    note: failures,
    ..DEFAULTS
};

fn has_failed(evidence: &Evidence) -> bool {
    evidence.files.cloud_init.errors.iter().any(ModuleError::runs_user_data)
}

/// The failed modules that run user data, with lines of known failures in its output.
fn failures(evidence: &Evidence) -> Option<Vec<String>> {
    let mut seen = errors(evidence, ModuleError::runs_user_data);
    if seen.is_empty() {
        return None;
    }
    seen.extend(output(evidence));
    if user_data(evidence).is_some_and(|known| known.crlf) {
        seen.push("the script's first line ends in CR LF".to_owned());
    }
    Some(seen)
}

/// cloud-init runs it once in the life of an instance.
pub(super) static NOT_RERUN: Cause = Cause {
    id: "user-data-not-rerun",
    title: "user data was changed after this instance ran it, and is not run again",
    symptoms: "changed user data has no effect after the instance was stopped and started",
    proof: "cloud-init recorded that the scripts ran, and the user data that it ran differs from what IMDS returns \
            now; if both are equal and cloud-init recorded that user data failed, the cause is `user-data-failed`",
    look_alikes: &["config-late", "user-data-failed"],
    remedy: "launch a new instance, or name the cluster with a tag or a setting, which are read at each boot",
    source: "EC2 User Guide, \"Run commands when you launch an EC2 instance with user data input\"; cloud-init, \"Boot \
             stages\"",
    check: |evidence| {
        let effect = user_data_effect(evidence)?;
        let seen = changed(evidence)?;
        user_data(evidence)?.mentions_cluster.then(|| seen.into_iter().chain(effect.seen).collect())
    },
    note: changed,
    ..DEFAULTS
};

/// An evidence line, if user data differs from what cloud-init ran.
fn changed(evidence: &Evidence) -> Option<Vec<String>> {
    let records = &evidence.files.cloud_init;
    let (taken, now) = (records.user_data_hash?, user_data(evidence)?);
    let differs = now.part_type != PartType::Absent && !now.hashes.contains(&taken);
    (records.ran_scripts && differs)
        .then(|| vec!["user data in IMDS differs from the user data that cloud-init ran on this instance".to_owned()])
}

pub(super) static ABSENT: Cause = Cause {
    id: "user-data-absent",
    title: "the instance has no user data, and no tag or setting names a cluster",
    symptoms: "ecs-bootstrap stops; without ecs-bootstrap the instance joins `default`",
    proof: "IMDS has no user data (404), and nothing else names a cluster",
    look_alikes: &["no-cluster-named", "user-data-not-recognised", "datasource-none"],
    remedy: "tag the instance with `ecs-bootstrap:cluster` (and allow tags in metadata), set `cluster` in \
             `/etc/ecs-bootstrap/config.toml`, or add user data to the launch template version that is actually used",
    source: "terraform-aws-modules/terraform-aws-ecs#11; smithmicro/jmeter-ecs#3; skkuding/codedang#840",
    when_registered: false,
    check: |evidence| {
        let effect = effect(evidence).filter(|effect| effect.wanted.is_none() && !effect.is_in_default)?;
        (user_data(evidence)?.part_type == PartType::Absent).then(|| {
            let seen = "IMDS has no user data".to_owned();
            effect.seen.into_iter().chain([seen]).collect()
        })
    },
    ..DEFAULTS
};
