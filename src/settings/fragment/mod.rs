//! Reads the settings of one source and checks each against the schema and the table of the agent's variables.
//!
//! In: TOML text, the environment, the command line, tags, or keys of `ecs.config` that ecs-bootstrap did not write.
//! Out: a [`Fragment`], whose entries [`super::merge`] can apply without another error, and warnings. It reads no file,
//! and does not merge.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use toml::de::DeTable;

use super::document::TomlDocument;
use super::schema::{self, Raw, Setting};
use super::warning::{self, Warning, WarningType};
use super::{EARLIER, Rank, Settings, SettingsError, Source, TagsSettings};
use crate::agent_variables;
use crate::ecs_config::writable;
use crate::{redaction, suggestion};

/// The key, after the prefix, of the tag with the last verdict of an instance.
pub const VERDICT_TAG: &str = "verdict";
/// The key, after the prefix, of the tag with the id of the cause.
pub const CAUSE_TAG: &str = "cause";
/// The key, after the prefix, of the tag with the ARN of the container instance.
pub const CONTAINER_INSTANCE_TAG: &str = "container-instance-arn";
/// The key, after the prefix, of the tag with the ARN of its cluster.
pub const CLUSTER_ARN_TAG: &str = "cluster-arn";
/// The tags that ecs-bootstrap writes and never reads.
pub const WRITTEN_TAGS: [&str; 4] = [VERDICT_TAG, CAUSE_TAG, CONTAINER_INSTANCE_TAG, CLUSTER_ARN_TAG];

/// What an entry sets.
#[derive(Clone)]
pub enum Name {
    /// A setting of ecs-bootstrap.
    Setting(&'static Setting),
    /// A variable of the agent.
    Agent(String),
}

/// One checked value of one source.
#[derive(Clone)]
pub struct SettingValue {
    /// What it sets.
    pub name: Name,
    /// The value. It is always text for a variable of the agent.
    pub raw: Raw,
    /// Where it was set.
    pub source: Source,
}

/// The checked settings of one source.
#[derive(Clone, Default)]
pub struct Fragment {
    /// In the order of the source.
    pub entries: Vec<SettingValue>,
    /// Mistakes that do not stop the run.
    pub warnings: Vec<Warning>,
    /// The number of variables that the agent does not know.
    unknown: usize,
}

/// Environment variables, after `ECS_BOOTSTRAP_`, that are not settings.
const NOT_SETTINGS: &[&str] = &["ROOT", "AGENT_ENDPOINT", "LOG"];
/// The most variables unknown to the agent that get a warning each.
const MAX_WARNED: usize = 20;
/// The most variables unknown to the agent. More are an error: no `ecs.config` needs that many, and each goes into
/// `plan.json`.
const MAX_UNKNOWN: usize = 500;
/// The most items of an array that an error shows.
const MAX_SHOWN: usize = 5;
/// The longest name of a variable, in bytes. The longest one of the agent has 51.
const MAX_NAME_LENGTH: usize = 64;

impl SettingValue {
    /// Whether this is an instance tag that chooses the cluster, by name or by the tags of the cluster.
    pub(super) fn is_cluster_of_tag(&self) -> bool {
        let is_cluster = |name: &Name| matches!(name, Name::Setting(setting) if setting.name.starts_with("cluster"));
        self.source.rank == Rank::InstanceTag && self.source.place != EARLIER && is_cluster(&self.name)
    }
}

impl Fragment {
    /// Reads a settings file, or settings in user data. Errors begin with `place`, and line and column follow.
    pub fn from_toml(text: &str, rank: Rank, place: &str) -> Result<Fragment, SettingsError> {
        let (fragment, errors) = Fragment::read_toml(text, rank, place);
        errors.into_iter().next().map_or(Ok(fragment), Err)
    }

    /// Reads TOML text and returns the usable part of it, and all errors in the order of the text.
    pub fn read_toml(text: &str, rank: Rank, place: &str) -> (Fragment, Vec<SettingsError>) {
        let document = TomlDocument::new(text, rank, place);
        let mut fragment = Fragment::default();
        let mut errors = Vec::new();
        match DeTable::parse(text) {
            Ok(table) => {
                let mut push = |name: &str, raw, source| fragment.push(name, raw, source);
                document.walk(table.get_ref(), "", &mut push, &mut errors);
            }
            Err(error) => errors.push(SettingsError {
                place: document.at(error.span()),
                what: error.message().lines().collect::<Vec<_>>().join(", "),
                did_you_mean: None,
            }),
        }
        (fragment, errors)
    }

    /// Reads `ECS_BOOTSTRAP_*`: names in upper case, with `__` for the dot and `_` for the hyphen.
    pub fn from_environment<'a>(
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Fragment, SettingsError> {
        let mut pairs = Vec::new();
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix("ECS_BOOTSTRAP_") else { continue };
            if NOT_SETTINGS.contains(&name) {
                continue;
            }
            let key = match name.strip_prefix("AGENT__") {
                Some(agent) => format!("agent.{agent}"),
                None => name.to_ascii_lowercase().replace("__", ".").replace('_', "-"),
            };
            pairs.push((
                key,
                value,
                Source::new(Rank::Environment, "environment", redaction::name(variable, is_of_key)),
            ));
        }
        Fragment::from_pairs(pairs)
    }

    /// Reads `--cluster`, `--cluster-tag K=V` and `--set key=value`, given as `(option, key, value)`.
    pub fn from_command_line(options: &[(String, String, String)]) -> Result<Fragment, SettingsError> {
        Fragment::from_pairs(options.iter().map(|(option, key, value)| {
            (
                key.clone(),
                value.as_str(),
                Source::new(Rank::CommandLine, "command line", redaction::name(option, |c| is_of_key(c) || c == ' ')),
            )
        }))
    }

    fn from_pairs<'a>(pairs: impl IntoIterator<Item = (String, &'a str, Source)>) -> Result<Fragment, SettingsError> {
        let mut fragment = Fragment::default();
        let mut cluster_tags: Option<(BTreeMap<String, Raw>, Source)> = None;
        for (key, value, source) in pairs {
            if let Some(tag) = key.strip_prefix("cluster-tags.") {
                let (tags, _) = cluster_tags.get_or_insert_with(|| (BTreeMap::new(), source));
                tags.insert(tag.to_owned(), Raw::Text(value.to_owned()));
                continue;
            }
            fragment.push(&key, Raw::Text(value.to_owned()), source)?;
        }
        if let Some((tags, source)) = cluster_tags {
            fragment.push("cluster-tags", Raw::Table(tags), source)?;
        }
        Ok(fragment)
    }

    /// Reads tags of the instance or of the cluster. `trust` limits what they can set, and variables of the agent must
    /// be in the allow-list. A refused tag gives a warning. An invalid cluster is an error.
    pub fn from_tags(
        tags: &BTreeMap<String, String>,
        prefix: &str,
        trust: TagsSettings,
        rank: Rank,
        place: &str,
    ) -> Result<Fragment, SettingsError> {
        let mut fragment = Fragment::default();
        if trust == TagsSettings::None {
            return Ok(fragment);
        }
        for (tag, value) in tags {
            let Some(key) = tag.strip_prefix(prefix) else { continue };
            let source = Source::new(rank, place, tag.clone());
            match key {
                // Written by ecs-bootstrap after an earlier verdict.
                _ if WRITTEN_TAGS.contains(&key) => {}
                "cluster" | "cluster-tags" if rank == Rank::InstanceTag => {
                    fragment.push(key, Raw::Text(value.clone()), source)?;
                }
                _ if agent_variables::find(key).is_some() || key.starts_with("ECS_") => {
                    fragment.push_agent_tag(key, value, trust, source);
                }
                _ => fragment.warn(
                    &warning::TAG_UNKNOWN,
                    format!("tag `{tag}` is ignored: it is not the name of a setting"),
                    source,
                ),
            }
        }
        Ok(fragment)
    }

    fn push_agent_tag(&mut self, key: &str, value: &str, trust: TagsSettings, source: Source) {
        if trust != TagsSettings::All {
            let text = format!("tag `{}` is ignored: `tags.settings` lets tags set only the cluster", source.key);
            return self.warn(&warning::TAG_REFUSED, text, source);
        }
        let value = as_written(key, value);
        let refusal = agent_variables::permitted_from_tags(key, value).map_err(|refusal| refusal.to_string());
        match refusal.and_then(|()| writable(key, value).map_err(|refusal| refusal.to_string())) {
            Ok(()) => self.entries.push(SettingValue {
                name: Name::Agent(key.to_owned()),
                raw: Raw::Text(value.to_owned()),
                source,
            }),
            Err(refusal) => {
                self.warn(&warning::TAG_REFUSED, format!("tag `{}` is ignored: {refusal}", source.key), source)
            }
        }
    }

    /// Takes keys of both `ecs.config` files that ecs-bootstrap did not write, as ecs-init reads them:
    /// `(path, key, value)`. The values are not checked here. The catalogue of causes reports mistakes in them.
    pub fn from_ecs_config<'a>(keys: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Fragment {
        let entries = keys.into_iter().map(|(path, key, value)| SettingValue {
            name: match key {
                "ECS_CLUSTER" => Name::Setting(&schema::CLUSTER),
                _ => Name::Agent(key.to_owned()),
            },
            // The agent removes blanks around the cluster. Other values stay as they are.
            raw: Raw::Text(if key == "ECS_CLUSTER" { value.trim() } else { value }.to_owned()),
            source: Source::new(Rank::EcsConfig, path, key),
        });
        Fragment { entries: entries.collect(), ..Fragment::default() }
    }

    /// Takes the variables of a text as `ecs.config` that is not on this host, with the rank of the administrator's files.
    pub fn from_remote_ecs_config<'a>(
        keys: impl IntoIterator<Item = (&'a str, &'a str)>,
        place: &str,
    ) -> Result<Fragment, SettingsError> {
        let pairs = keys.into_iter().map(|(key, value)| {
            let value = if key == "ECS_CLUSTER" { value.trim() } else { value };
            (format!("agent.{key}"), value, Source::new(Rank::Config, place, redaction::name(key, is_of_key)))
        });
        Fragment::from_pairs(pairs)
    }

    /// Takes variables of the agent from one source.
    pub fn from_variables<'a>(
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
        source: &Source,
    ) -> Result<Fragment, SettingsError> {
        Fragment::from_pairs(variables.into_iter().map(|(key, value)| (format!("agent.{key}"), value, source.clone())))
    }

    /// Takes the cluster of an option or an environment variable of an earlier run, which `written.json` records.
    pub fn from_earlier(cluster: String, rank: Rank, key: &str) -> Fragment {
        let source = Source::new(rank, EARLIER, key);
        let entry = SettingValue { name: Name::Setting(&schema::CLUSTER), raw: Raw::Text(cluster), source };
        Fragment { entries: vec![entry], ..Fragment::default() }
    }

    fn warn(&mut self, of: &WarningType, text: String, source: Source) {
        self.warnings.push(Warning::new(of, text, Some(source)));
    }

    /// Checks one value and adds it to the fragment.
    pub(super) fn push(&mut self, key: &str, raw: Raw, source: Source) -> Result<(), SettingsError> {
        if let Some(variable) = key.strip_prefix("agent.") {
            return self.push_agent(variable, raw, source);
        }
        let Some(setting) = schema::find(key) else {
            // A setting that stands below a `[table]` of the file.
            let misplaced = key.rsplit_once('.').and_then(|(_, last)| schema::find(last)).map(|setting| setting.name);
            let nearest = || suggestion::nearest(key, schema::ALL.iter().map(|setting| setting.name));
            let meant = misplaced.or_else(nearest);
            return Err(SettingsError {
                place: place_of(&source),
                what: format!("unknown setting `{}`", redaction::name(key, is_of_key)),
                did_you_mean: meant.map(str::to_owned),
            });
        };
        if setting.early && !source.rank.is_early() {
            let what = format!(
                "`{key}` is needed before tags and user data are read, so they cannot set it; set it in \
                 /etc/ecs-bootstrap/config.toml, in the environment or on the command line"
            );
            return Err(SettingsError { place: place_of(&source), what, did_you_mean: None });
        }
        if matches!(key, "tags.settings" | "tags.cluster") && !matches!(source.rank, Rank::Vendor | Rank::Config) {
            let text = format!(
                "`{key}` is ignored: only settings files can set it, so that the owner of an image can lock it"
            );
            self.warn(&warning::TAGS_SETTINGS_IGNORED, text, source);
            return Ok(());
        }
        if setting.apply(&mut Settings::default(), &raw, source.clone()).is_none() {
            // The URL of a wait condition is a credential.
            let shown = match (setting.name, &raw) {
                ("signal.wait-url", _) => "this value".to_owned(),
                ("cluster", Raw::Text(text)) => format!("`{}`", redaction::cluster(text)),
                _ => shown(&raw),
            };
            let what = format!("`{key}` takes {}, not {shown}", setting.expects);
            return Err(SettingsError { place: place_of(&source), what, did_you_mean: None });
        }
        self.entries.push(SettingValue { name: Name::Setting(setting), raw, source });
        Ok(())
    }

    fn push_agent(&mut self, variable: &str, raw: Raw, source: Source) -> Result<(), SettingsError> {
        let error = |what: String| SettingsError { place: place_of(&source), what, did_you_mean: None };
        if variable == "ECS_CLUSTER" {
            return self.push("cluster", raw, source);
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !(1..=MAX_NAME_LENGTH).contains(&variable.len())
            || !variable.chars().all(is_part)
            || variable.starts_with(|c: char| c.is_ascii_digit())
        {
            return Err(error(format!(
                "`{}` cannot be the name of an environment variable",
                redaction::name(variable, is_part)
            )));
        }
        let value = match &raw {
            Raw::Text(text) => as_written(variable, text).to_owned(),
            Raw::Bool(value) => value.to_string(),
            Raw::Integer(value) => value.to_string(),
            Raw::List(_) | Raw::Table(_) => json(&raw).to_string(),
            Raw::Other(type_name) => return Err(error(format!("`{variable}` takes text, not {type_name}"))),
        };
        agent_variables::check(variable, &value)
            .map_err(|wrong| SettingsError { did_you_mean: wrong.suggestion.clone(), ..error(wrong.to_string()) })?;
        // A value that the agent takes may still have no correct spelling in `ecs.config`.
        writable(variable, &value).map_err(|refusal| error(refusal.to_string()))?;
        if agent_variables::find(variable).is_none() {
            self.unknown += 1;
            match self.unknown.cmp(&(MAX_UNKNOWN + 1)) {
                Ordering::Less => self.warn_of_unknown(variable, &source),
                Ordering::Equal => {
                    return Err(error(format!(
                        "there are more than {MAX_UNKNOWN} variables that the agent does not know"
                    )));
                }
                // The error is reported once.
                Ordering::Greater => return Ok(()),
            }
        }
        self.entries.push(SettingValue { name: Name::Agent(variable.to_owned()), raw: Raw::Text(value), source });
        Ok(())
    }
}

/// Whether names of settings and tags can have this character.
fn is_of_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

impl Fragment {
    /// Warns of each variable up to a limit, because each warning takes a search for a similar name and is a line of
    /// the report.
    fn warn_of_unknown(&mut self, variable: &str, source: &Source) {
        if self.unknown <= MAX_WARNED {
            let hint =
                agent_variables::suggest(variable).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            let text = format!("the agent does not know the variable `{variable}`; it is passed on{hint}");
            self.warn(&warning::AGENT_VARIABLE_UNKNOWN, text, source.clone());
        } else if self.unknown == MAX_WARNED + 1 {
            let text = "the agent does not know further variables in this source; they are passed on".to_owned();
            self.warn(&warning::AGENT_VARIABLE_UNKNOWN, text, source.clone());
        }
    }
}

fn json(raw: &Raw) -> serde_json::Value {
    match raw {
        Raw::Text(text) => text.as_str().into(),
        Raw::Bool(value) => (*value).into(),
        Raw::Integer(value) => (*value).into(),
        Raw::List(items) => items.iter().map(json).collect(),
        Raw::Table(table) => table.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
        Raw::Other(type_name) => (*type_name).into(),
    }
}

/// A wrong value of a setting, for an error message. It is not for values of the agent's variables, which may be
/// secret.
fn shown(raw: &Raw) -> String {
    match raw {
        Raw::Text(text) => format!("`{}`", redaction::name(text, |c| !"={}@".contains(c)).escape_debug()),
        Raw::Bool(value) => format!("`{value}`"),
        Raw::Integer(value) => format!("`{value}`"),
        Raw::List(items) => {
            let first: Vec<String> = items.iter().take(MAX_SHOWN).map(shown).collect();
            let more = if items.len() > MAX_SHOWN { ", ..." } else { "" };
            format!("the array [{}{more}]", first.join(", "))
        }
        Raw::Table(_) => "a table".to_owned(),
        Raw::Other(type_name) => (*type_name).to_owned(),
    }
}

fn place_of(source: &Source) -> String {
    match source.rank {
        Rank::Environment | Rank::CommandLine | Rank::InstanceTag | Rank::ClusterTag => source.to_string(),
        _ => source.place.to_string(),
    }
}

/// A value as it is written to `ecs.config`: without blanks that the agent removes anyway.
fn as_written<'v>(variable: &str, value: &'v str) -> &'v str {
    agent_variables::find(variable).map_or(value, |known| known.trimmed(value))
}

#[cfg(test)]
mod tests;
