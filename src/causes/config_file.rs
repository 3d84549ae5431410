//! Causes in the lines of `ecs.config`, or in a file that was written instead of it: the agent does not read what the
//! author of the file intended.

use std::time::SystemTime;

use super::cause::Cause;
use super::layer::Layer;
use super::view::config_lines::{describe_issue, issues};
use super::view::effect::{effect, invalid_cluster_name};
use crate::boundary::systemd::time_of;
use crate::ecs_config::issue::{CLUSTER_KEY, ConfigIssue, IssueKind, cluster, other_place, unquoted};
use crate::evidence::Evidence;
use crate::evidence::files::ConfigText;
use crate::exit::Exit;
use crate::plan::{ECS_CONFIG, VENDOR_ECS_CONFIG};

const PARSER: &str = "ecs-init/docker/docker.go, getEnvVars";
/// How many lines of one issue kind are shown.
const MAX_SHOWN_LINES: usize = 4;

/// The fields that the causes of this file share.
const DEFAULTS: Cause = Cause { layer: Layer::Config, source: PARSER, ..Cause::OF_MISSING_CLUSTER };

/// systemd strips the quotes, the agent does not.
pub(super) static QUOTED: Cause = Cause {
    id: "config-quoted",
    title: "a value in `ecs.config` is quoted, and the agent takes the quotes as part of the value",
    symptoms: "the agent exits with code 5, and its log says that the cluster is not found or must match a pattern",
    proof: "the effective value of `ECS_CLUSTER` begins and ends with a quote; the cause is `config-bad-json` if a \
            JSON value is quoted instead, and `cluster-name-invalid` or `cluster-not-found` if the cluster has no such \
            quotes",
    look_alikes: &["cluster-not-found", "cluster-name-invalid"],
    remedy: "write `ECS_CLUSTER=NAME`, and every other key, without quotes: systemd strips them, ecs-init does not",
    source: "aws/amazon-ecs-agent#4159; awslabs/amazon-ecs-nodejs-microservices#18; ecs-init/docker/docker.go, \
             getEnvVars",
    when_registered: false,
    check: |evidence| {
        let (value, seen) = invalid_cluster_name(evidence).or_else(|| {
            Some((cluster_at_exit_5(evidence)?, "the agent exited with code 5 with the quoted name".to_owned()))
        })?;
        unquoted(value)?;
        Some([seen].into_iter().chain(cluster_lines(evidence, |kind| *kind == IssueKind::Quoted)).collect())
    },
    note: |evidence| all_lines(evidence, |kind| *kind == IssueKind::Quoted),
    ..DEFAULTS
};

/// The effective value of ECS_CLUSTER, if the agent has exited with code 5 and nothing else stopped ecs-bootstrap.
fn cluster_at_exit_5(evidence: &Evidence) -> Option<&str> {
    evidence.expectation.as_ref().filter(|_| evidence.stage_error.is_none() && !evidence.user_data_runs())?;
    let in_force = |path| evidence.files.configs.iter().find(|file| file.path == path)?.cluster.as_ref();
    let (_, value) = in_force(ECS_CONFIG).or_else(|| in_force(VENDOR_ECS_CONFIG))?;
    evidence.agent_exited_with(5).then_some(value)
}

/// `export` is shell syntax; `ecs.config` is not a shell script.
pub(super) static EXPORT: Cause = Cause {
    id: "config-export",
    title: "a line in `ecs.config` begins with `export`, so the agent ignores the key",
    symptoms: "the instance joins `default` although the file names its cluster, or ecs-bootstrap reports that nothing \
               names a cluster",
    proof: "the line begins with `export`, and no other line names the cluster; without `export`, the cause is \
            `config-spaces` if there are spaces before the `=`, and `config-key-misspelt` if the key itself is wrong",
    look_alikes: &["config-spaces", "config-key-misspelt", "joined-default"],
    remedy: "remove the word `export` from the line",
    check: |evidence| explains(evidence, |kind| *kind == IssueKind::Export),
    note: |evidence| all_lines(evidence, |kind| *kind == IssueKind::Export),
    ..DEFAULTS
};

/// ecs-init does not trim the key.
pub(super) static SPACES: Cause = Cause {
    id: "config-spaces",
    title: "a line in `ecs.config` has a space before the `=`, so the agent ignores the key",
    symptoms: "the instance joins `default` although the file names its cluster, or ecs-bootstrap reports that nothing \
               names a cluster",
    proof: "the line has spaces before the `=` (spaces after it do not affect the cluster); if it has none and the key \
            is wrong, the cause is `config-key-misspelt`",
    look_alikes: &["config-export", "config-key-misspelt", "joined-default"],
    remedy: "write `ECS_CLUSTER=NAME` without spaces",
    check: |evidence| explains(evidence, |kind| *kind == IssueKind::Blanks),
    note: |evidence| all_lines(evidence, |kind| *kind == IssueKind::Blanks),
    ..DEFAULTS
};

/// ecs-init passes every key on without checking it.
pub(super) static MISSPELT: Cause = Cause {
    id: "config-key-misspelt",
    title: "a key in `ecs.config` is misspelt, so the agent ignores it",
    symptoms: "the instance joins `default` although the file seems to name its cluster",
    proof: "the key is not a variable of the agent, and differs from one only in case or in at most two letters; keys \
            that resemble no variable are not reported",
    look_alikes: &["config-spaces", "config-export", "joined-default"],
    remedy: "write the key as the agent expects it (`ECS_CLUSTER`)",
    source: "rackspace-infrastructure-automation/aws-terraform-ec2_asg#4; ecs-init/docker/docker.go, getEnvVars",
    check: |evidence| explains(evidence, |kind| matches!(kind, IssueKind::Misspelt { .. })),
    note: |evidence| all_lines(evidence, |kind| matches!(kind, IssueKind::Misspelt { .. })),
    ..DEFAULTS
};

/// Bytes in front of a key, and lines without a key.
pub(super) static UNREADABLE: Cause = Cause {
    id: "config-unreadable-key",
    title: "the agent cannot read a line of `ecs.config`",
    symptoms: "the instance joins `default` although an editor shows the right line",
    proof: "a byte order mark, another invisible byte or UTF-16 hides the key, or the line has no `=`; the cause is \
            `config-key-misspelt` if the key has no such byte but is misspelt, and `config-quoted` if the key is right \
            and the value is in quotes",
    look_alikes: &["config-key-misspelt", "config-quoted"],
    remedy: "write the file again as plain UTF-8 without a byte order mark, with a line `ECS_CLUSTER=NAME`",
    check: |evidence| explains(evidence, |kind| matches!(kind, IssueKind::Unreadable(_) | IssueKind::NotAssignment)),
    note: |evidence| all_lines(evidence, |kind| matches!(kind, IssueKind::Unreadable(_) | IssueKind::NotAssignment)),
    ..DEFAULTS
};

/// The agent drops such a value and at most logs a line about it.
pub(super) static VALUE_IGNORED: Cause = Cause {
    id: "config-value-ignored",
    title: "a value in `ecs.config` is not one that the agent accepts, so it has no effect",
    symptoms: "the instance is in its cluster but a setting has no effect, or the agent exits at its next start",
    proof: "the agent's own parser for this variable does not accept the value; the cause is `config-bad-json` if the \
            agent exits because of the value, `config-quoted` if the value is in quotes, and `config-key-misspelt` if \
            the agent does not know the variable (then its value is not checked)",
    look_alikes: &["config-bad-json", "config-quoted", "config-key-misspelt"],
    remedy: "correct the line; `ecs-bootstrap check /etc/ecs/ecs.config` lists each such value with its column, and \
             also checks files before they go into an AMI or user data",
    source: "agent/config/{config,parse,parse_linux}.go; ecs-agent/logger/log.go; ecs-init/config/common.go",
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    check: |_| None,
    note: |evidence| {
        let expected = evidence.expectation.as_ref();
        let region = expected.and_then(|expected| expected.region.as_deref());
        let account = expected.and_then(|expected| expected.account.as_deref());
        let elsewhere = |file: &ConfigText| {
            let (line, value) = file.cluster.as_ref()?;
            Some(format!("line {line} of {}: {}", file.path, other_place(value, region, account)?))
        };
        let mut seen = all_lines(evidence, is_about_value).unwrap_or_default();
        seen.extend(evidence.files.configs.iter().filter_map(elsewhere));
        (!seen.is_empty()).then_some(seen)
    },
    ..DEFAULTS
};

fn is_about_value(kind: &IssueKind) -> bool {
    matches!(
        kind,
        IssueKind::Value(_)
            | IssueKind::TwoSettings
            | IssueKind::TrailingComment
            | IssueKind::Placeholder
            | IssueKind::UnsetText(_)
            | IssueKind::OtherPlace(_)
    )
}

/// Typically a script that appends to the file at each boot.
pub(super) static DUPLICATE: Cause = Cause {
    id: "config-duplicate",
    title: "`ecs.config` sets a key twice, and the agent uses the later line",
    symptoms: "a value is old or changes with each boot; the instance is not in the cluster that a line of the file \
               names",
    proof: "an earlier line names the expected cluster, and a later line of the same file names another one or none \
            (equal lines are harmless); if the lines are in different files, the cause is `config-wrong-file`",
    look_alikes: &["cluster-other-than-wanted", "config-wrong-file"],
    remedy: "keep one line for each key: write the whole file instead of appending to it",
    source: "aws-samples/ecs-refarch-cloudformation#23; ecs-init/docker/docker.go, getEnvVars: the last line is used",
    check: |evidence| explains(evidence, |kind| matches!(kind, IssueKind::Overridden { .. })),
    note: |evidence| {
        all_lines(evidence, |kind| matches!(kind, IssueKind::Overridden { .. } | IssueKind::Repeated { .. }))
    },
    ..DEFAULTS
};

/// For example `/etc/ecs.config`, or a file below `/var/lib`.
pub(super) static WRONG_FILE: Cause = Cause {
    id: "config-wrong-file",
    title: "the cluster is named in a file that the agent does not read, or that another file overrides",
    symptoms: "the instance joins `default` or another cluster although a file names the right one",
    proof: "a file such as `/etc/ecs.config` names the cluster, and `/etc/ecs/ecs.config` does not; if \
            `/etc/ecs/ecs.config` names it, but is newer than the agent's process, the cause is `config-late`",
    look_alikes: &["joined-default", "config-late"],
    remedy: "name the cluster in `/etc/ecs/ecs.config`, and in no other file",
    source: "segmentio/stack#95; hashicorp/terraform#4202; ecs-init/docker/docker.go, getContainerConfig",
    check: |evidence| {
        let effect = effect(evidence)?;
        let mut seen: Vec<String> = strays(evidence, |cluster| effect.would_name(cluster)).collect();
        let config = |path| evidence.files.configs.iter().find(|file| file.path == path)?.cluster.as_ref();
        if let (Some((vendor_line, vendor)), Some((line, _))) = (config(VENDOR_ECS_CONFIG), config(ECS_CONFIG))
            && let Some(vendor) = cluster(vendor)
            && effect.would_name(&vendor)
        {
            seen.push(format!(
                "line {vendor_line} of {VENDOR_ECS_CONFIG} names `{vendor}`, but line {line} of {ECS_CONFIG} overrides \
                 it"
            ));
        }
        (!seen.is_empty()).then(|| seen.into_iter().chain(effect.seen).collect())
    },
    note: |evidence| {
        let json = all_lines(evidence, |kind| *kind == IssueKind::JsonFile).unwrap_or_default();
        Some(strays(evidence, |_| true).chain(json).collect::<Vec<_>>()).filter(|seen| !seen.is_empty())
    },
    ..DEFAULTS
};

/// Files that name a cluster selected by `is`, but that the agent does not read.
fn strays(evidence: &Evidence, is: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    let strays = evidence.files.unread_configs.iter().filter(move |stray| is(&stray.cluster)).take(MAX_SHOWN_LINES);
    strays.map(|stray| {
        format!(
            "line {} of {} names `{}`, but the agent does not read that file",
            stray.line, stray.path, stray.cluster
        )
    })
}

/// The agent reads the file only when it starts.
pub(super) static LATE: Cause = Cause {
    id: "config-late",
    title: "`ecs.config` named the cluster only after the agent had started and registered without it",
    symptoms: "the file is right, but the instance is in `default` or in its previous cluster",
    proof: "the file names the expected cluster and is newer than the agent's process",
    look_alikes: &["joined-default", "cluster-mismatch-saved"],
    remedy: "a restart is not enough, because the agent has saved its cluster: run `ecs-bootstrap reset-agent --yes`, \
             and deregister the instance from the other cluster; write the file before the first start of the agent",
    source: "aws/amazon-ecs-agent#139; aws/amazon-ecs-init#75",
    check: |evidence| {
        let effect = effect(evidence).filter(|effect| effect.is_wanted_named())?;
        let named = |file: &&ConfigText| file.cluster.as_ref().is_some_and(|(_, value)| !value.is_empty());
        let file = evidence.files.configs.iter().rfind(named)?;
        let (written, started) = (file.modified?, agent_started(evidence)?);
        let time = humantime::format_rfc3339_seconds;
        (written > started).then(|| {
            let late =
                format!("{} was written at {}, the agent started at {}", file.path, time(written), time(started));
            [late].into_iter().chain(effect.seen).collect()
        })
    },
    ..DEFAULTS
};

/// When the agent's process started: the start time of its container, otherwise of its unit.
fn agent_started(evidence: &Evidence) -> Option<SystemTime> {
    if let Some(Ok(Some(container))) = &evidence.container
        && container.running
        && let Ok(started) = humantime::parse_rfc3339(&container.started_at)
    {
        return Some(started);
    }
    time_of(evidence.agent_unit()?.exec_main_start_usec)
}

/// Harmless, so it is never a cause, only a note.
pub(super) static CRLF: Cause = Cause {
    id: "config-crlf",
    title: "`ecs.config` has Windows line endings, which systemd and the agent both accept",
    symptoms: "nothing is wrong; an editor shows `^M` at the ends of lines",
    proof: "lines end in CR LF: ecs-init trims the CR, and systemd takes it as a line ending",
    look_alikes: &["user-data-failed"],
    remedy: "convert the line endings anyway: `sed -i 's/\\r$//' /etc/ecs/ecs.config`",
    source: "ecs-init/docker/docker.go, getEnvVars; systemd, src/basic/env-file.c",
    check: |_| None,
    note: |evidence| {
        let line = |file: &ConfigText| Some(format!("line {} of {} ends in CR LF", file.crlf?, file.path));
        Some(evidence.files.configs.iter().filter_map(line).collect::<Vec<_>>()).filter(|seen| !seen.is_empty())
    },
    ..DEFAULTS
};

/// The lines with such an issue that would have named the missing cluster, followed by the effect.
fn explains(evidence: &Evidence, is: fn(&IssueKind) -> bool) -> Option<Vec<String>> {
    let effect = effect(evidence)?;
    let wanted = |issue: &ConfigIssue| issue.cluster.as_deref().is_some_and(|cluster| effect.would_name(cluster));
    let found = issues(evidence).filter(|(_, issue)| issue.key == CLUSTER_KEY && is(&issue.kind) && wanted(issue));
    let seen: Vec<String> = found.map(|(path, issue)| describe_issue(path, issue)).collect();
    (!seen.is_empty()).then(|| seen.into_iter().take(MAX_SHOWN_LINES).chain(effect.seen).collect())
}

/// The lines for ECS_CLUSTER with such an issue.
fn cluster_lines(evidence: &Evidence, is: fn(&IssueKind) -> bool) -> impl Iterator<Item = String> {
    let found = issues(evidence).filter(move |(_, issue)| issue.key == CLUSTER_KEY && is(&issue.kind));
    found.map(|(path, issue)| describe_issue(path, issue))
}

/// Every line with such an issue, for a note.
fn all_lines(evidence: &Evidence, is: fn(&IssueKind) -> bool) -> Option<Vec<String>> {
    let found = issues(evidence).filter(|(_, issue)| is(&issue.kind));
    let seen: Vec<String> = found.map(|(path, issue)| describe_issue(path, issue)).take(MAX_SHOWN_LINES).collect();
    (!seen.is_empty()).then_some(seen)
}
