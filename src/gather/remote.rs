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
const POLICY: Policy = Policy { first: Duration::from_secs(1), longest: Duration::from_secs(5) };
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
    let fragment = if place.ends_with(".toml") {
        Fragment::from_toml(&text, Rank::Config, &place)?
    } else {
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
    let data = agent_auth(text.expose()).map_err(|error| format!("`{value}` cannot be used: {error}"))?;
    of_agent(AUTH_TYPE, data.expose(), source, value).map_err(|error| error_chain(&error))
}

/// The variables of the agent, from a source that names the value.
pub(super) fn of_agent(
    auth_type: &str,
    data: &str,
    source: &Source,
    value: &RemoteValue,
) -> Result<Fragment, SettingsError> {
    let source = Source::new(source.rank, value.to_string(), "registry.auth");
    Fragment::from_variables([("ECS_ENGINE_AUTH_TYPE", auth_type), ("ECS_ENGINE_AUTH_DATA", data)], &source)
}

async fn read_value(aws: &Aws, value: &RemoteValue, deadline: Deadline) -> Result<Vec<u8>, AwsError> {
    let deadline = Deadline::after(WAIT).earliest(deadline);
    let read = until(deadline, POLICY, async |_| {
        let answer = match value {
            RemoteValue::Secret(id) => aws.secret_value(id, value.region(), deadline).await.map(String::into_bytes),
            RemoteValue::Parameter(name) => {
                aws.parameter_value(name, value.region(), deadline).await.map(String::into_bytes)
            }
            RemoteValue::Object { bucket, key } => aws.object(bucket, key, deadline).await,
        };
        match answer {
            Ok(bytes) => AttemptResult::Done(bytes),
            Err(error) if error.kind.is_retryable() && !is_absent(&error) => AttemptResult::Retry(error),
            Err(error) => AttemptResult::Stop(error),
        }
    });
    read.await.map_err(|gave_up| gave_up.last)
}
