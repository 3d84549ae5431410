//! Causes that lie in user data itself: it is not there, not taken, not whole, or did not do what it was to do.

use super::Cause;
use super::cloud_init::{DATASOURCE_NONE, ROW, errors, warnings};
use super::effect::{effect, invalid, of_user_data, user_data};
use crate::evidence::Evidence;
use crate::evidence::files::ModuleError;
use crate::evidence::user_data::{PartType, UserData};

/// Encoded by hand, and again by the tool.
pub(super) static TWICE_ENCODED: Cause = Cause {
    id: "user-data-double-base64",
    title: "user data is encoded twice, so cloud-init sees base64 in place of a script",
    symptoms: "the instance joins `default`, no script ran, and `user-data` of instance metadata is base64",
    proof: "what instance metadata gives is base64, and what that holds begins as user data must",
    look_alikes: &["user-data-not-recognised", "user-data-absent"],
    remedy: "encode it once: a launch template and the API take base64, the console, the CLI's `file://` and Terraform's \
             `user_data` take plain text",
    source: "cloud-init PR 4276; tf#11488; terraform-provider-aws#8244",
    check: |evidence| {
        let effect = of_user_data(evidence)?;
        let PartType::TwiceEncoded(what) = user_data(evidence)?.part_type else { return None };
        // Some cloud-init decodes it all the same: what has run was taken.
        let has_run = has_failed(evidence) || evidence.files.cloud_init.has_scripts;
        (!has_run).then(|| {
            let seen = format!("instance metadata gives base64, which holds {what}");
            [seen].into_iter().chain(effect.seen).collect()
        })
    },
    ..ROW
};

/// By its first bytes.
pub(super) static NOT_RECOGNISED: Cause = Cause {
    id: "user-data-not-recognised",
    title: "user data does not begin as cloud-init expects, so it is passed over",
    symptoms: "the instance joins `default`, no script ran, and cloud-init warns of `text/x-not-multipart`",
    proof: "there is user data, and it begins with neither `#!`, `#cloud-config` nor another marker",
    look_alikes: &["user-data-double-base64", "user-data-absent"],
    remedy: "let its first line be the marker (`#!/bin/bash`, `#cloud-config`), nothing before it: in a template, trim the \
             indentation",
    source: "cloud-init#4239; amazon-ecs-cli#1126; cloudinit/handlers/__init__.py, type_from_starts_with",
    check: |evidence| {
        let effect = of_user_data(evidence)?;
        let PartType::Unknown(why) = user_data(evidence)?.part_type else { return None };
        let seen = format!("user data of instance metadata: {why}");
        Some([seen].into_iter().chain(warnings(evidence)).chain(effect.seen).collect())
    },
    ..ROW
};

/// By its parts.
pub(super) static MIME_BROKEN: Cause = Cause {
    id: "user-data-mime-broken",
    title: "user data is a broken MIME message, and a part of it is not read",
    symptoms: "one part of user data ran and that for ECS did not; the instance joins `default`",
    proof: "a boundary is missing, something follows the closing one, or a part is of no type that cloud-init takes",
    look_alikes: &["user-data-not-recognised", "user-data-failed"],
    remedy: "make it with `cloud-init devel make-mime`, one part for each purpose, and append nothing to it",
    source: "cdk#1711 #6427; amazon-ecs-cli#1126; cloud-init, \"User data formats\"",
    check: |evidence| {
        let effect = of_user_data(evidence)?;
        let faults = &user_data(evidence)?.mime;
        let seen = faults.iter().take(4).map(|fault| format!("the MIME message: {fault}"));
        (!faults.is_empty()).then(|| seen.chain(warnings(evidence)).chain(effect.seen).collect())
    },
    ..ROW
};

/// A script of the time before tokens.
pub(super) static WITHOUT_TOKEN: Cause = Cause {
    id: "imds-v1-client",
    title: "the script of user data asks instance metadata without a token, and gets no answer",
    symptoms: "`ECS_CLUSTER=` is empty in `ecs.config`, or holds a page of HTML, or the script stops at its curl",
    proof: "the script never sends `X-aws-ec2-metadata-token`, the service answers 401 without it, and no cluster came of \
            it; where another command is the first to fail, that is why",
    look_alikes: &["user-data-failed", "no-cluster-named"],
    remedy: "fetch a token first: `curl -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' \
             http://169.254.169.254/latest/api/token`, and send it with each request",
    source: "agent CHANGELOG (IMDSv1 disabled); EC2 User Guide, \"Use the Instance Metadata Service\"",
    check: |evidence| {
        let asks = user_data(evidence)
            .filter(|known| known.asks_without_token && known.token_required == Some(true) && known.mentions_cluster)?;
        let is_known = matches!(asks.part_type, PartType::Known(_));
        let page = invalid(evidence).filter(|(value, _)| value.starts_with('<')).map(|(_, seen)| vec![seen]);
        let effect = page.or_else(|| of_user_data(evidence).map(|effect| effect.seen))?;
        let is_other = has_failed(evidence) && !evidence.files.cloud_init.output.is_empty();
        (is_known && !is_other).then(|| {
            let asked =
                "user data asks instance metadata and never sends `X-aws-ec2-metadata-token`; without it the answer \
                         is 401"
                    .to_owned();
            let empty = evidence.files.configs.iter().filter_map(|file| {
                let (line, _) = file.cluster.as_ref().filter(|(_, value)| value.is_empty())?;
                Some(format!("`ECS_CLUSTER=` on line {line} of {} is empty", file.path))
            });
            [asked].into_iter().chain(empty).chain(effect).collect()
        })
    },
    ..ROW
};

/// It ran, and stopped.
pub(super) static FAILED: Cause = Cause {
    id: "user-data-failed",
    title: "user data has failed",
    symptoms: "the instance joins `default`, or `ecs.config` is half written; `cloud-init status` says error",
    proof: "cloud-init's record has an error of `scripts-user` or of another module that does what user data says",
    look_alikes: &["user-data-absent", "imds-v1-client", "cloud-init-failed"],
    remedy: "correct the command that failed, see `/var/log/cloud-init-output.log`, and replace the instance: user data \
             runs once; name the cluster before what may fail",
    source: "cdk#28518 #32469; arminc/terraform-ecs#24; ecs-refarch#58",
    check: |evidence| {
        let effect = of_user_data(evidence)?;
        let is_taken = |known: &UserData| !matches!(known.part_type, PartType::Unknown(_) | PartType::Absent);
        let is_explained = (WITHOUT_TOKEN.check)(evidence).is_some() || (DATASOURCE_NONE.check)(evidence).is_some();
        let seen = failures(evidence)?;
        (user_data(evidence).is_none_or(is_taken) && !is_explained)
            .then(|| seen.into_iter().chain(effect.seen).collect())
    },
    note: failures,
    ..ROW
};

fn has_failed(evidence: &Evidence) -> bool {
    evidence.files.cloud_init.errors.iter().any(ModuleError::is_of_user_data)
}

/// What its output shows of known failures.
pub(super) fn output(evidence: &Evidence) -> impl Iterator<Item = String> {
    evidence.files.cloud_init.output.iter().map(|line| format!("cloud-init-output.log: {line}"))
}

/// What failed of it, and what its output shows of known failures.
fn failures(evidence: &Evidence) -> Option<Vec<String>> {
    let mut seen = errors(evidence, ModuleError::is_of_user_data);
    if seen.is_empty() {
        return None;
    }
    seen.extend(output(evidence));
    if user_data(evidence).is_some_and(|known| known.crlf) {
        seen.push("the script's first line ends in CR LF".to_owned());
    }
    Some(seen)
}

/// Once in the life of an instance.
pub(super) static NOT_RERUN: Cause = Cause {
    id: "user-data-not-rerun",
    title: "user data was changed after this instance had run it, and is not run again",
    symptoms: "changed user data has no effect after a stop and a start",
    proof: "cloud-init has marked its scripts as done, and what it had then is not what instance metadata gives now",
    look_alikes: &["config-late", "user-data-failed"],
    remedy: "launch a new instance, or name the cluster by a tag or setting, which is read at each boot",
    source: "EC2 User Guide, \"Run commands when you launch an EC2 instance with user data input\"; cloud-init, \"Boot stages\"",
    check: |evidence| {
        let effect = of_user_data(evidence)?;
        let seen = changed(evidence)?;
        user_data(evidence)?.mentions_cluster.then(|| seen.into_iter().chain(effect.seen).collect())
    },
    note: changed,
    ..ROW
};

fn changed(evidence: &Evidence) -> Option<Vec<String>> {
    let records = &evidence.files.cloud_init;
    let (taken, now) = (records.taken?, user_data(evidence)?);
    let differs = now.part_type != PartType::Absent && !now.hashes.contains(&taken);
    (records.ran_scripts && differs).then(|| {
        vec!["user data of instance metadata differs from that which cloud-init has run on this instance".to_owned()]
    })
}

/// Nobody said anything.
pub(super) static ABSENT: Cause = Cause {
    id: "user-data-absent",
    title: "nothing says which cluster to join: there is neither user data, nor a tag, nor a setting",
    symptoms: "without ecs-bootstrap the instance joins `default`",
    proof: "instance metadata has no user data (404), and nothing else names a cluster",
    look_alikes: &["no-cluster-named", "user-data-not-recognised", "datasource-none"],
    remedy: "tag the instance with `ecs-bootstrap:cluster` (and allow tags in metadata), set `cluster` in \
             `/etc/ecs-bootstrap/config.toml`, or put user data into the version of the launch template that is really used",
    source: "tf-ecs#11; jmeter-ecs#3; codedang#840",
    when_registered: false,
    check: |evidence| {
        let effect = effect(evidence).filter(|effect| effect.wanted.is_none() && !effect.is_in_default)?;
        (user_data(evidence)?.part_type == PartType::Absent).then(|| {
            let seen = "instance metadata has no user data".to_owned();
            effect.seen.into_iter().chain([seen]).collect()
        })
    },
    ..ROW
};

/// The rows that explain why nobody names a cluster.
pub(super) static OF_USER_DATA: [&Cause; 8] =
    [&DATASOURCE_NONE, &TWICE_ENCODED, &NOT_RECOGNISED, &MIME_BROKEN, &WITHOUT_TOKEN, &FAILED, &NOT_RERUN, &ABSENT];
