//! Causes that lie in the bytes of `ecs.config`, or in a file that was meant to be it: the agent does not read what
//! somebody has written.

use std::time::{Duration, SystemTime};

use super::effect::{effect, invalid};
use super::{Cause, Check, Layer};
use crate::ecs_config::issue::{CLUSTER, ConfigIssue, IssueKind, cluster, other_place, unquoted};
use crate::evidence::Evidence;
use crate::evidence::files::ConfigText;
use crate::exit::Exit;
use crate::plan::{ECS_CONFIG, VENDOR_ECS_CONFIG};

const PARSER: &str = "ecs-init/docker/docker.go, getEnvVars";
/// How many lines of a kind are shown.
const SHOWN: usize = 4;

/// What the rows on lines of the file have in common.
const LINE: Cause = Cause {
    layer: Layer::Config,
    exit: Exit::Cluster,
    exit_after_deadline: Exit::Cluster,
    source: PARSER,
    when_registered: true,
    ..Cause::PLAIN
};

/// Right for systemd, wrong for the agent.
pub(super) static QUOTED: Cause = Cause {
    id: "config-quoted",
    title: "a value of `ecs.config` stands in quotes, which become part of it",
    symptoms: "the agent exits 5, and its log says that the cluster is not found or must match a pattern",
    proof: "the value of `ECS_CLUSTER` in force begins and ends with a quote; where it does not, the name itself is wrong",
    look_alikes: &["cluster-not-found", "cluster-name-invalid"],
    remedy: "write `ECS_CLUSTER=NAME`, and any other key, without quotes: systemd strips them and ecs-init does not",
    source: "agent#4159; awslabs/amazon-ecs-nodejs-microservices#18; ecs-init/docker/docker.go, getEnvVars",
    when_registered: false,
    check: |evidence| {
        let (value, seen) = invalid(evidence)
            .or_else(|| Some((tried_quoted(evidence)?, "the agent was refused with the name in quotes".to_owned())))?;
        unquoted(value)?;
        Some([seen].into_iter().chain(lines(evidence, |what| *what == IssueKind::Quoted)).collect())
    },
    note: |evidence| all(evidence, |what| *what == IssueKind::Quoted),
    ..LINE
};

/// The quoted value that is in force, where the agent ended on it though something else was expected.
fn tried_quoted(evidence: &Evidence) -> Option<&str> {
    evidence.expectation.as_ref().filter(|_| evidence.stop.is_none() && !evidence.user_data_runs())?;
    let in_force = |path| evidence.files.configs.iter().find(|file| file.path == path)?.cluster.as_ref();
    let (_, value) = in_force(ECS_CONFIG).or_else(|| in_force(VENDOR_ECS_CONFIG))?;
    evidence.agent_exited_with(5).then_some(value)
}

/// `export` belongs into a script.
pub(super) static EXPORT: Cause = Cause {
    id: "config-export",
    title: "`export` stands before a key of `ecs.config`, so the agent does not see the key",
    symptoms: "the instance joins `default` though the file names its cluster, or nothing is said to name one",
    proof: "the line begins with `export`, and no other line names the cluster",
    look_alikes: &["config-spaces", "config-key-misspelt", "joined-default"],
    remedy: "remove the word `export` from the line; `ecs-bootstrap reset-agent --yes` where it is in `default` already",
    check: |evidence| explains(evidence, |what| *what == IssueKind::Export),
    note: |evidence| all(evidence, |what| *what == IssueKind::Export),
    ..LINE
};

/// ecs-init does not trim the key.
pub(super) static SPACES: Cause = Cause {
    id: "config-spaces",
    title: "a blank stands before the `=` of a key of `ecs.config`, so the agent does not see the key",
    symptoms: "the instance joins `default` though the file names its cluster, or nothing is said to name one",
    proof: "blanks before the `=` of the line; blanks after it do no harm to the cluster",
    look_alikes: &["config-export", "config-key-misspelt", "joined-default"],
    remedy: "write `ECS_CLUSTER=NAME` without blanks; `ecs-bootstrap reset-agent --yes` where it is in `default` already",
    check: |evidence| explains(evidence, |what| *what == IssueKind::Blanks),
    note: |evidence| all(evidence, |what| *what == IssueKind::Blanks),
    ..LINE
};

/// Any key is passed on unread.
pub(super) static MISSPELT: Cause = Cause {
    id: "config-key-misspelt",
    title: "a key of `ecs.config` is nearly a variable of the agent, and means nothing to it",
    symptoms: "the instance joins `default` though the file seems to name its cluster",
    proof: "the key is no variable, and differs from one by case or at most two letters; keys like no variable are \
             not judged",
    look_alikes: &["config-spaces", "config-export", "joined-default"],
    remedy: "write the key as the agent has it (`ECS_CLUSTER`); `ecs-bootstrap reset-agent --yes` where it is in `default` already",
    source: "rackspace aws-terraform-ec2_asg PR 4; ecs-init/docker/docker.go, getEnvVars",
    check: |evidence| explains(evidence, |what| matches!(what, IssueKind::Misspelt { .. })),
    note: |evidence| all(evidence, |what| matches!(what, IssueKind::Misspelt { .. })),
    ..LINE
};

/// What sticks to a key, and lines without one.
pub(super) static UNREADABLE: Cause = Cause {
    id: "config-unreadable-key",
    title: "a line of `ecs.config` cannot be read by the agent",
    symptoms: "the instance joins `default` though an editor shows the right line",
    proof: "a byte order mark, another byte or UTF-16 hides the key, or the line has no `=`",
    look_alikes: &["config-key-misspelt", "config-quoted"],
    remedy: "write the file anew as plain UTF-8 without a byte order mark, a line `ECS_CLUSTER=NAME` in it",
    check: |evidence| explains(evidence, |what| matches!(what, IssueKind::Unreadable(_) | IssueKind::NotAssignment)),
    note: |evidence| all(evidence, |what| matches!(what, IssueKind::Unreadable(_) | IssueKind::NotAssignment)),
    ..LINE
};

/// What the agent's own parsers drop, with a line in a log at best.
pub(super) static VALUE_IGNORED: Cause = Cause {
    id: "config-value-ignored",
    title: "a value in `ecs.config` is not one that the agent takes, so it does not have the effect that was meant",
    symptoms: "the instance is in its cluster and a setting has no effect, or the agent ends at its next start",
    proof: "the variable's own parser in the agent does not take the value; a variable that the agent does not know is \
            not judged",
    look_alikes: &["config-bad-json", "config-quoted", "config-key-misspelt"],
    remedy: "correct the line; `ecs-bootstrap check /etc/ecs/ecs.config` names each one with its column, also before an image or \
             user data is used",
    source: "agent/config/{config,parse,parse_linux}.go; ecs-agent/logger/log.go; ecs-init/config/common.go",
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    check: |_| None,
    note: |evidence| {
        let expected = evidence.expectation.as_ref();
        let (region, account) =
            (expected.and_then(|of| of.region.as_deref()), expected.and_then(|of| of.account.as_deref()));
        let elsewhere = |file: &ConfigText| {
            let (line, value) = file.cluster.as_ref()?;
            Some(format!("line {line} of {}: {}", file.path, other_place(value, region, account)?))
        };
        let mut seen = all(evidence, is_of_value).unwrap_or_default();
        seen.extend(evidence.files.configs.iter().filter_map(elsewhere));
        (!seen.is_empty()).then_some(seen)
    },
    ..LINE
};

fn is_of_value(kind: &IssueKind) -> bool {
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

/// Whoever appends at each boot.
pub(super) static DUPLICATE: Cause = Cause {
    id: "config-duplicate",
    title: "`ecs.config` sets a key twice, and the later line wins",
    symptoms: "an old value, or one that changes with each boot; the instance is in another cluster than a line says",
    proof: "an earlier line names the wanted cluster and a later one another or none; equal lines do no harm",
    look_alikes: &["cluster-other-than-wanted", "config-wrong-file"],
    remedy: "leave one line of each key: write the file anew instead of appending to it",
    source: "ecs-refarch#23; ecs-init/docker/docker.go, getEnvVars: the last one wins",
    check: |evidence| explains(evidence, |what| matches!(what, IssueKind::Overridden { .. })),
    note: |evidence| all(evidence, |what| matches!(what, IssueKind::Overridden { .. } | IssueKind::Repeated { .. })),
    ..LINE
};

/// Beside the right one, or below `/var/lib`.
pub(super) static WRONG_FILE: Cause = Cause {
    id: "config-wrong-file",
    title: "the cluster is named in a file that the agent does not read, or that another one overrides",
    symptoms: "the instance joins `default` or another cluster though a file names the right one",
    proof: "a file such as `/etc/ecs.config` names it and `/etc/ecs/ecs.config` does not",
    look_alikes: &["joined-default", "config-late"],
    remedy: "name the cluster in `/etc/ecs/ecs.config`, and in no other file",
    source: "segmentio/stack#95; tf#4202; ecs-init/docker/docker.go, getContainerConfig",
    check: |evidence| {
        let effect = effect(evidence)?;
        let mut seen: Vec<String> = strays(evidence, |cluster| effect.would_name(cluster)).collect();
        let config = |path| evidence.files.configs.iter().find(|file| file.path == path)?.cluster.as_ref();
        if let (Some((below, vendor)), Some((line, _))) = (config(VENDOR_ECS_CONFIG), config(ECS_CONFIG))
            && let Some(vendor) = cluster(vendor)
            && effect.would_name(&vendor)
        {
            seen.push(format!(
                "line {below} of {VENDOR_ECS_CONFIG} names `{vendor}`, and line {line} of {ECS_CONFIG} overrides it"
            ));
        }
        (!seen.is_empty()).then(|| seen.into_iter().chain(effect.seen).collect())
    },
    note: |evidence| {
        let json = all(evidence, |kind| *kind == IssueKind::JsonFile).unwrap_or_default();
        Some(strays(evidence, |_| true).chain(json).collect::<Vec<_>>()).filter(|seen| !seen.is_empty())
    },
    ..LINE
};

fn strays(evidence: &Evidence, is: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    let strays = evidence.files.strays.iter().filter(move |stray| is(&stray.cluster)).take(SHOWN);
    strays.map(|stray| {
        format!(
            "line {} of {} names `{}`, and the agent does not read that file",
            stray.line, stray.path, stray.cluster
        )
    })
}

/// The agent reads it once.
pub(super) static LATE: Cause = Cause {
    id: "config-late",
    title: "`ecs.config` came to name the cluster after the agent had started and registered without it",
    symptoms: "the file is right, and the instance is in `default` or in its cluster of before",
    proof: "the file names the wanted cluster and is younger than the agent's process",
    look_alikes: &["joined-default", "cluster-mismatch-saved"],
    remedy: "a restart is not enough, the agent has saved its cluster: `ecs-bootstrap reset-agent --yes`, and deregister the \
             instance from the other one; write the file before the agent's first start",
    source: "agent#139; init#75",
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
    ..LINE
};

/// When the agent's process began: its container's, else that of its unit.
fn agent_started(evidence: &Evidence) -> Option<SystemTime> {
    if let Some(Ok(Some(container))) = &evidence.container
        && container.running
        && let Ok(started) = humantime::parse_rfc3339(&container.started_at)
    {
        return Some(started);
    }
    let usec = evidence.agent_unit()?.exec_main_start_usec.filter(|usec| *usec > 0)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(usec))
}

/// It keeps nobody from anything.
pub(super) static CRLF: Cause = Cause {
    id: "config-crlf",
    title: "`ecs.config` has line ends of Windows, which both its readers take",
    symptoms: "nothing is wrong; an editor shows `^M` at the ends of lines",
    proof: "lines end in CR LF: ecs-init trims them, and systemd takes a CR for a line end",
    look_alikes: &["user-data-failed"],
    remedy: "write it with plain line ends all the same: `sed -i 's/\\r$//' /etc/ecs/ecs.config`",
    source: "ecs-init/docker/docker.go, getEnvVars; systemd, src/basic/env-file.c",
    check: |_| None,
    note: |evidence| {
        let line = |file: &ConfigText| Some(format!("line {} of {} ends in CR LF", file.crlf?, file.path));
        Some(evidence.files.configs.iter().filter_map(line).collect::<Vec<_>>()).filter(|seen| !seen.is_empty())
    },
    ..LINE
};

/// The rows that explain why nobody names a cluster.
pub(super) static OF_LINES: [&Cause; 7] = [&EXPORT, &SPACES, &MISSPELT, &UNREADABLE, &DUPLICATE, &WRONG_FILE, &LATE];

/// The odd lines of this kind that would have named the missing cluster, with what is missing.
fn explains(evidence: &Evidence, is: fn(&IssueKind) -> bool) -> Option<Vec<String>> {
    let effect = effect(evidence)?;
    let wanted = |issue: &ConfigIssue| issue.cluster.as_deref().is_some_and(|cluster| effect.would_name(cluster));
    let found = odd_lines(evidence).filter(|(_, issue)| issue.key == CLUSTER && is(&issue.kind) && wanted(issue));
    let seen: Vec<String> = found.map(|(path, issue)| told(path, issue)).collect();
    (!seen.is_empty()).then(|| seen.into_iter().take(SHOWN).chain(effect.seen).collect())
}

/// The odd lines of this kind on the cluster.
fn lines(evidence: &Evidence, is: fn(&IssueKind) -> bool) -> impl Iterator<Item = String> {
    let found = odd_lines(evidence).filter(move |(_, issue)| issue.key == CLUSTER && is(&issue.kind));
    found.map(|(path, issue)| told(path, issue))
}

/// Every odd line of this kind, as a note.
fn all(evidence: &Evidence, is: fn(&IssueKind) -> bool) -> Option<Vec<String>> {
    let found = odd_lines(evidence).filter(|(_, issue)| is(&issue.kind));
    let seen: Vec<String> = found.map(|(path, issue)| told(path, issue)).take(SHOWN).collect();
    (!seen.is_empty()).then_some(seen)
}

fn odd_lines(evidence: &Evidence) -> impl Iterator<Item = (&'static str, &ConfigIssue)> {
    evidence.files.configs.iter().flat_map(|file| file.issues.iter().map(|issue| (file.path, issue)))
}

fn told(path: &str, issue: &ConfigIssue) -> String {
    let ConfigIssue { line, key, kind, .. } = issue;
    match kind {
        IssueKind::Quoted => format!("the value of `{key}` on line {line} of {path} stands in quotes"),
        IssueKind::Blanks => format!("blanks stand before the `=` of `{key}` on line {line} of {path}"),
        IssueKind::Export => format!("`export` stands before `{key}` on line {line} of {path}"),
        IssueKind::Misspelt { written } => format!("line {line} of {path} sets `{written}`; the variable is `{key}`"),
        IssueKind::Unreadable(why) if !key.is_empty() => format!("line {line} of {path} means `{key}`, but {why}"),
        IssueKind::Overridden { by } => format!("line {line} of {path} sets `{key}`, and line {by} sets it otherwise"),
        IssueKind::Repeated { by } => format!("line {line} of {path} sets `{key}`, and line {by} says the same again"),
        _ => format!("line {line} of {path}: {}", issue.advice()),
    }
}

/// For the key of a value that must be JSON: whether it stands in quotes.
pub(super) fn quoted(evidence: &Evidence, key: &str) -> Option<String> {
    let found = |(path, issue): (&str, &ConfigIssue)| {
        (issue.key == key && issue.kind == IssueKind::Quoted).then(|| told(path, issue))
    };
    odd_lines(evidence).find_map(found)
}

/// Whether one of these rows says why.
pub(super) fn explained(evidence: &Evidence, rows: &[&Cause]) -> bool {
    let fits = |check: Check| check(evidence).is_some();
    rows.iter().any(|row| fits(row.check))
}
