//! Reads what settings name outside of this host: more settings (`config-from`), and the credentials of registries
//! (`registry.auth`).
//!
//! In: the settings so far, and the AWS clients. Out: a fragment, or why there is none. A secret goes into the fragment only.

use std::time::Duration;

use crate::boundary::aws::{Aws, AwsError, is_absent};
use crate::ecs_config::{effective, read};
use crate::evidence::StageError;
use crate::redaction::error_chain;
use crate::retry::{AttemptResult, Deadline, Policy, until};
use crate::settings::fragment::{Fragment, Name};
use crate::settings::registry_auth::{AUTH_TYPE, agent_auth};
use crate::settings::{Rank, RemoteValue, Secret, SettingsError, Source, Sourced};

/// How long a value is waited for: the role of a new instance may be known late.
const WAIT: Duration = Duration::from_secs(20);
/// How long a call is repeated while it is throttled: many instances may start together.
const WAIT_WHILE_THROTTLED: Duration = Duration::from_secs(90);
const POLICY: Policy = Policy { first: Duration::from_secs(1), longest: Duration::from_secs(5) };
/// The variables that `registry.auth` sets.
pub(super) const AUTH_VARIABLES: [&str; 2] = ["ECS_ENGINE_AUTH_TYPE", "ECS_ENGINE_AUTH_DATA"];
/// The longest value, in bytes: the size limit of `ecs.config`.
const MAX_LENGTH: usize = crate::host::MAX_FILE_LENGTH;

/// The settings that `config-from` names. They have the rank of the administrator's files and override them. Without them the
/// instance would join with half of its configuration, so that an error ends the run.
pub(super) async fn more_settings(
    aws: &Aws,
    named: &Sourced<Option<RemoteValue>>,
    deadline: Deadline,
) -> Result<Fragment, StageError> {
    let Some(value) = &named.value else { return Ok(Fragment::default()) };
    let place = value.to_string();
    let wrong = |what: &str| SettingsError { place: place.clone(), what: what.to_owned(), did_you_mean: None };
    let bytes = match read_value(aws, value, deadline).await {
        Ok(bytes) if bytes.len() > MAX_LENGTH => return Err(wrong("it is longer than 1 MiB").into()),
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => {
            let what = format!("`config-from` names it ({}), and it does not exist: {error}", named.source);
            return Err(wrong(&what).into());
        }
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let fragment = if place.ends_with(".toml") {
        Fragment::from_toml(text, Rank::Config, &place)?
    } else {
        if let Some(fault) = fault_of_ecs_config(text) {
            return Err(wrong(&fault).into());
        }
        let lines = read(text.as_bytes());
        let lines = effective(&lines).into_iter().map(|(key, line)| (key, line.value.as_str()));
        Fragment::from_remote_ecs_config(lines, &place)?
    };
    let is_late = |name: &Name| matches!(name, Name::Setting(one) if one.early || one.name == "config-from");
    match fragment.entries.iter().find(|entry| is_late(&entry.name)) {
        Some(entry) => Err(wrong(&format!("`{}` must be known before it is read", entry.source.key)).into()),
        None => Ok(fragment),
    }
}

/// The credentials that `registry.auth` names, as variables of the agent with the rank of that setting. `Err` is why there are
/// none.
pub(super) async fn registry_auth(
    aws: &Aws,
    value: &RemoteValue,
    source: &Source,
    deadline: Deadline,
) -> Result<Fragment, String> {
    let bytes = read_value(aws, value, deadline).await.map_err(|error| error_chain(&error))?;
    let text = Secret::new(String::from_utf8_lossy(&bytes));
    let auth = agent_auth(text.expose()).map_err(|error| format!("`{value}` cannot be used: {error}"))?;
    for registry in &auth.left_out {
        tracing::warn!(registry, "a registry of `registry.auth` has no password and is left out");
    }
    of_agent(auth.data.expose(), source, value).map_err(|error| error_chain(&error))
}

/// The variables of the agent, from a source that names the value.
pub(super) fn of_agent(data: &str, source: &Source, value: &RemoteValue) -> Result<Fragment, SettingsError> {
    let source = Source::new(source.rank, value.to_string(), "registry.auth");
    Fragment::from_variables([(AUTH_VARIABLES[0], AUTH_TYPE), (AUTH_VARIABLES[1], data)], &source)
}

async fn read_value(aws: &Aws, value: &RemoteValue, deadline: Deadline) -> Result<Vec<u8>, AwsError> {
    let wait = Deadline::after(WAIT).earliest(deadline);
    let call = Deadline::after(WAIT_WHILE_THROTTLED).earliest(deadline);
    let aws = aws.waiting_for_throttled();
    let read = until(wait, POLICY, async |_| {
        let answer = match value {
            RemoteValue::Secret(id) => aws.secret_value(id, value.region(), call).await.map(String::into_bytes),
            RemoteValue::Parameter(name) => {
                aws.parameter_value(name, value.region(), call).await.map(String::into_bytes)
            }
            RemoteValue::Object { bucket, key } => aws.object(bucket, key, call).await,
        };
        match answer {
            Ok(bytes) => AttemptResult::Done(bytes),
            Err(error) if error.kind.is_retryable() && !is_absent(&error) => AttemptResult::Retry(error),
            Err(error) => AttemptResult::Stop(error),
        }
    });
    read.await.map_err(|gave_up| gave_up.last)
}

/// The first line that is neither empty, nor a comment, nor an assignment; or that there is no assignment. A file of another
/// format would otherwise be read as a few settings or none.
fn fault_of_ecs_config(text: &str) -> Option<String> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.as_bytes()[0].is_ascii_digit()
    };
    let mut has_assignment = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if !line.split_once('=').is_some_and(|(name, _)| is_name(name.trim_end())) {
            return Some(format!("line {} is neither empty, nor a comment, nor an assignment", index + 1));
        }
        has_assignment = true;
    }
    (!has_assignment).then(|| "it sets no variable".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_of_ecs_config_is_accepted() {
        for text in ["A=1\n", "# c\n\n; d\r\n A_2 = \nB={\"x\": \"y\"}\n"] {
            assert_eq!(fault_of_ecs_config(text), None, "{text}");
        }
        for (text, expected) in [
            ("", "it sets no variable"),
            ("# only\n", "it sets no variable"),
            ("A=1\nECS_CLUSTER: prod\n", "line 2 is"),
            ("[agent]\nA = 1\n", "line 1 is"),
            ("export A=1\n", "line 1 is"),
            ("=1\n", "line 1 is"),
            ("{\"ECS_CLUSTER\": \"a=b\"}", "line 1 is"),
        ] {
            assert!(fault_of_ecs_config(text).is_some_and(|fault| fault.starts_with(expected)), "{text}");
        }
    }
}
