//! Fragments: what one source says, as written, checked entry by entry against the schema and the agent's table.
//!
//! In: TOML text, the environment, the command line, tags, the foreign keys of `ecs.config`. Out: entries that
//! [`super::merge`] can apply without a further error, and warnings. Nothing is merged and nothing is read here.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use toml::de::DeTable;

use super::document::TomlDocument;
use super::schema::{self, Raw, Setting};
use crate::agent_variables;
use crate::ecs_config::writable;

use super::{EARLIER, Rank, Settings, SettingsError, Source, TagsSettings, Warning};
use crate::redaction;

/// The tag, after its prefix, that holds an instance's last verdict. It is written, and never read.
pub const VERDICT_TAG: &str = "verdict";
/// The same for the id of its cause.
pub const CAUSE_TAG: &str = "cause";

/// What an entry sets.
#[derive(Clone)]
pub enum Name {
    /// A setting of ours.
    Setting(&'static Setting),
    /// A variable of the agent.
    Agent(String),
}

/// One checked value of one source.
#[derive(Clone)]
pub struct Entry {
    /// What it sets.
    pub name: Name,
    /// The value; for a variable of the agent always text.
    pub raw: Raw,
    /// Who says so.
    pub source: Source,
}

/// All that one source says.
#[derive(Clone, Default)]
pub struct Fragment {
    /// In the order of the source.
    pub entries: Vec<Entry>,
    /// What works, but may not be meant.
    pub warnings: Vec<Warning>,
    /// How many variables the agent does not know.
    unknown: usize,
}

/// The variables of ours that are no settings.
const NOT_SETTINGS: &[&str] = &["ROOT", "AGENT_ENDPOINT", "LOG"];
/// So many variables that the agent does not know are named one by one.
const MOST_UNKNOWN: usize = 20;
/// More variables that the agent does not know are an error: no `ecs.config` has as many, and each is kept in `plan.json`.
const MOST_PASSED_ON: usize = 500;
/// No name that is known is nearly as long: a longer one is compared with none, which would take time and memory by its
/// length.
const LONGEST_NAME: usize = 64;

impl Entry {
    /// Whether a tag chooses the cluster here, by its name or by its tags.
    pub(super) fn is_cluster_of_tag(&self) -> bool {
        let is_cluster = |name: &Name| matches!(name, Name::Setting(setting) if setting.name.starts_with("cluster"));
        self.source.rank == Rank::InstanceTag && self.source.place != EARLIER && is_cluster(&self.name)
    }
}

impl Fragment {
    /// A settings file or user data of ours. `place` is its path; line and column are added.
    pub fn from_toml(text: &str, rank: Rank, place: &str) -> Result<Fragment, SettingsError> {
        let (fragment, errors) = Fragment::read_toml(text, rank, place);
        errors.into_iter().next().map_or(Ok(fragment), Err)
    }

    /// The same with every error, in the order of the text: what can be used of it, and what cannot.
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

    /// `ECS_BOOTSTRAP_*`: `__` is the dot, `_` the hyphen, upper case.
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

    /// `--cluster`, `--cluster-tag K=V` and `--set key=value`, as `(option, key, value)`.
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

    /// Tags of the instance or of the cluster, as far as they are trusted. What they may say of the agent is an
    /// allow-list; what is refused is a warning that names it, but a cluster that cannot be one is an error.
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
                // Ours, of an earlier verdict.
                VERDICT_TAG | CAUSE_TAG => {}
                "cluster" | "cluster-tags" if rank == Rank::InstanceTag => {
                    fragment.push(key, Raw::Text(value.clone()), source)?;
                }
                _ if agent_variables::find(key).is_some() || key.starts_with("ECS_") => {
                    fragment.push_agent_tag(key, value, trust, source);
                }
                _ => fragment.warn("tag-unknown", format!("tag `{tag}` says nothing that is known"), source),
            }
        }
        Ok(fragment)
    }

    fn push_agent_tag(&mut self, key: &str, value: &str, trust: TagsSettings, source: Source) {
        if trust != TagsSettings::All {
            let text = format!("tag `{}` is ignored: `tags.settings` lets tags say the cluster only", source.key);
            return self.warn("tag-refused", text, source);
        }
        let value = as_written(key, value);
        let refusal = agent_variables::permitted_from_tags(key, value).map_err(|refusal| refusal.to_string());
        match refusal.and_then(|()| writable(key, value).map_err(|refusal| refusal.to_string())) {
            Ok(()) => {
                self.entries.push(Entry { name: Name::Agent(key.to_owned()), raw: Raw::Text(value.to_owned()), source })
            }
            Err(refusal) => self.warn("tag-refused", format!("tag `{}` is ignored: {refusal}", source.key), source),
        }
    }

    /// Keys of both `ecs.config` files that we did not write, as ecs-init reads them: `(path, key, value)`. They are
    /// taken as they are; what is wrong with them is for the causes to say.
    pub fn from_ecs_config<'a>(keys: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Fragment {
        let entries = keys.into_iter().map(|(path, key, value)| Entry {
            name: match key {
                "ECS_CLUSTER" => Name::Setting(&schema::ALL[0]),
                _ => Name::Agent(key.to_owned()),
            },
            // The agent trims the cluster, and takes everything else as it is.
            raw: Raw::Text(if key == "ECS_CLUSTER" { value.trim() } else { value }.to_owned()),
            source: Source::new(Rank::EcsConfig, path, key),
        });
        Fragment { entries: entries.collect(), ..Fragment::default() }
    }

    /// The cluster that was said once, and is known by what was written of it.
    pub fn from_earlier(cluster: String, rank: Rank, key: &str) -> Fragment {
        let source = Source::new(rank, EARLIER, key);
        let entry = Entry { name: Name::Setting(&schema::ALL[0]), raw: Raw::Text(cluster), source };
        Fragment { entries: vec![entry], ..Fragment::default() }
    }

    fn warn(&mut self, id: &'static str, text: String, source: Source) {
        self.warnings.push(Warning { id, text, source: Some(source) });
    }

    /// Checks one value and keeps it.
    pub(super) fn push(&mut self, key: &str, raw: Raw, source: Source) -> Result<(), SettingsError> {
        if let Some(variable) = key.strip_prefix("agent.") {
            return self.push_agent(variable, raw, source);
        }
        let Some(setting) = schema::find(key) else {
            let did_you_mean = nearest(key, schema::ALL.iter().map(|setting| setting.name));
            return Err(SettingsError {
                place: place_of(&source),
                what: format!("unknown setting `{}`", redaction::name(key, is_of_key)),
                did_you_mean,
            });
        };
        if setting.early && !source.rank.is_early() {
            let what = format!(
                "`{key}` counts before tags and user data are read, so it cannot come from them; set it in \
                 /etc/ecs-bootstrap/config.toml, in the environment or on the command line"
            );
            return Err(SettingsError { place: place_of(&source), what, did_you_mean: None });
        }
        if matches!(key, "tags.settings" | "tags.cluster") && !matches!(source.rank, Rank::Vendor | Rank::Config) {
            let text = format!("`{key}` is taken from files only, so that the owner of an image can lock it");
            self.warn("tags-settings-ignored", text, source);
            return Ok(());
        }
        if setting.apply(&mut Settings::default(), &raw, source.clone()).is_none() {
            // Its value may be a credential.
            let shown = match (setting.name, &raw) {
                ("signal.wait-url", _) => "that".to_owned(),
                ("cluster", Raw::Text(text)) => format!("`{}`", redaction::cluster(text)),
                _ => shown(&raw),
            };
            let what = format!("`{key}` takes {}, not {shown}", setting.expects);
            return Err(SettingsError { place: place_of(&source), what, did_you_mean: None });
        }
        self.entries.push(Entry { name: Name::Setting(setting), raw, source });
        Ok(())
    }

    fn push_agent(&mut self, variable: &str, raw: Raw, source: Source) -> Result<(), SettingsError> {
        let error = |what: String| SettingsError { place: place_of(&source), what, did_you_mean: None };
        if variable == "ECS_CLUSTER" {
            return self.push("cluster", raw, source);
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !(1..=LONGEST_NAME).contains(&variable.len())
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
        // The agent would take it, and `ecs.config` cannot carry it: what must change is this value.
        writable(variable, &value).map_err(|refusal| error(refusal.to_string()))?;
        if agent_variables::find(variable).is_none() {
            self.unknown += 1;
            match self.unknown.cmp(&(MOST_PASSED_ON + 1)) {
                Ordering::Less => self.warn_of_unknown(variable, &source),
                Ordering::Equal => {
                    return Err(error(format!("more than {MOST_PASSED_ON} variables that the agent does not know")));
                }
                // Reported already.
                Ordering::Greater => return Ok(()),
            }
        }
        self.entries.push(Entry { name: Name::Agent(variable.to_owned()), raw: Raw::Text(value), source });
        Ok(())
    }
}

/// Names of settings and tags; `.` stands between the parts.
fn is_of_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

impl Fragment {
    /// Each of them is a question to the table of names, and a line for a person to read.
    fn warn_of_unknown(&mut self, variable: &str, source: &Source) {
        const ID: &str = "agent-variable-unknown";
        if self.unknown <= MOST_UNKNOWN {
            let near = Some(variable).filter(|name| name.len() <= LONGEST_NAME).and_then(agent_variables::suggest);
            let hint = near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            let text = format!("the agent knows no variable `{variable}`; it is passed on{hint}");
            self.warn(ID, text, source.clone());
        } else if self.unknown == MOST_UNKNOWN + 1 {
            let text = "the agent does not know more variables that follow; they are passed on".to_owned();
            self.warn(ID, text, source.clone());
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

/// A wrong value in an error text. Settings of ours hold no secrets; variables of the agent never come here.
fn shown(raw: &Raw) -> String {
    match raw {
        Raw::Text(text) => format!("`{}`", redaction::name(text, |c| !"={}@".contains(c)).escape_debug()),
        Raw::Bool(value) => format!("`{value}`"),
        Raw::Integer(value) => format!("`{value}`"),
        Raw::List(_) => "an array".to_owned(),
        Raw::Table(_) => "a table".to_owned(),
        Raw::Other(type_name) => (*type_name).to_owned(),
    }
}

fn place_of(source: &Source) -> String {
    match source.rank {
        Rank::Environment | Rank::CommandLine | Rank::InstanceTag | Rank::ClusterTag => source.to_string(),
        _ => source.place.clone(),
    }
}

/// A value as it is written to `ecs.config`: without the blanks that the agent removes itself.
fn as_written<'v>(variable: &str, value: &'v str) -> &'v str {
    agent_variables::find(variable).map_or(value, |known| known.trimmed(value))
}

/// The name that may have been meant: at most a quarter of its letters away, and three at most.
fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    if wrong.len() > LONGEST_NAME {
        return None;
    }
    let near = |name: &str| (wrong.len().min(name.len()) / 4).clamp(1, 3);
    let wrong = wrong.to_lowercase().replace('_', "-");
    names
        .map(|name| (strsim::damerau_levenshtein(&wrong, name), name))
        .min()
        .filter(|(distance, name)| *distance <= near(name))
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(text: &str) -> Result<Fragment, SettingsError> {
        Fragment::from_toml(text, Rank::Config, "config.toml")
    }

    fn complaint(text: &str) -> String {
        let error = toml(text).map(|_| ()).unwrap_err();
        let hint = error.did_you_mean.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
        format!("{error}{hint}")
    }

    #[test]
    fn says_line_column_and_what_may_have_been_meant() {
        insta::assert_snapshot!(complaint("cluster = \"prod\"\nclustr = 1\n"),
            @"unknown setting `clustr`, in config.toml:2:1 (did you mean `cluster`?)");
        insta::assert_snapshot!(complaint("[verify]\ndeadlin = \"5m\"\n"),
            @"unknown setting `verify.deadlin`, in config.toml:2:1 (did you mean `verify.deadline`?)");
        insta::assert_snapshot!(complaint("[verify]\ndeadline = 5\n"),
            @"`verify.deadline` takes a duration such as `10m`, at most `1day`, not `5`, in config.toml:2:12");
        insta::assert_snapshot!(complaint("[units]\nenable = \"yes\""),
            @"`units.enable` takes `true` or `false`, not `yes`, in config.toml:2:10");
        assert!(complaint("cluster = \"prod\ncluster-tags = 1").contains("config.toml:1:"));
        assert!(complaint("cluster = \"my cluster\"").contains("`my<8 more bytes>`"));
    }

    #[test]
    fn a_word_that_is_far_from_every_setting_suggests_none() {
        for text in ["user = 1", "name = 1", "foo = 1", "class = 1", "region = 1", "[verify]\nx = 1", "tags.apple = 1"]
        {
            assert!(!complaint(text).contains("did you mean"), "{}", complaint(text));
        }
        for (text, meant) in [
            ("cluter = 1", "cluster"),
            ("Cluster = 1", "cluster"),
            ("cluster_tags = 1", "cluster-tags"),
            ("tags.pai = 1", "tags.api"),
            ("verify.dedline = 1", "verify.deadline"),
        ] {
            assert!(complaint(text).contains(&format!("did you mean `{meant}`?")), "{}", complaint(text));
        }
    }

    #[test]
    fn two_settings_that_name_the_cluster_are_an_error_at_the_second() {
        insta::assert_snapshot!(complaint("cluster = \"a\"\n[agent]\nECS_CLUSTER = \"b\"\n"),
            @"`cluster` and `agent.ECS_CLUSTER` both name the cluster; one of them must go, in config.toml:3:15");
        assert!(complaint("agent.ECS_CLUSTER = \"b\"\ncluster = \"b\"\n").contains("config.toml:2:11"));
        assert!(complaint("cluster = \"a\"\ncluster = \"b\"\n").contains("config.toml:2:1"));
    }

    #[test]
    fn every_error_of_a_text_is_found() {
        let text = "clustr = 1\n[verify]\ndeadline = 5\n[agent]\nECS_LOGLEVEL = \"loud\"\n";
        let (_, errors) = Fragment::read_toml(text, Rank::Config, "c");
        let places: Vec<_> = errors.iter().map(|error| error.place.as_str()).collect();
        assert_eq!(places, ["c:1:1", "c:3:12", "c:5:16"]);
    }

    #[test]
    fn a_value_that_ecs_config_cannot_carry_is_told_where_it_is_written() {
        let complaint = complaint("[agent]\nECS_NVIDIA_RUNTIME = 'a\\b'\n");
        assert!(complaint.contains("has a backslash") && complaint.contains("config.toml:2:22"), "{complaint}");
        let tags = BTreeMap::from([("x:ECS_INSTANCE_ATTRIBUTES".to_owned(), r#"{"a":"b\\c"}"#.to_owned())]);
        let read = Fragment::from_tags(&tags, "x:", TagsSettings::All, Rank::InstanceTag, "IMDS").unwrap();
        assert_eq!((read.entries.len(), read.warnings.len()), (0, 1));
        assert!(read.warnings[0].text.contains("backslash"), "{}", read.warnings[0].text);
    }

    #[test]
    fn the_agents_variables_are_checked_by_their_own_table() {
        assert!(complaint("[agent]\nECS_RESERVED_MEMORY = 65536\n").contains("ECS_RESERVED_MEMORY"));
        let fragment =
            toml("[agent]\nECS_INSTANCE_ATTRIBUTES = { tier = \"web\" }\nECS_RESERVED_PORTS = [22, 80]\n").unwrap();
        let texts: Vec<_> = fragment.entries.iter().map(|entry| entry.raw.clone()).collect();
        assert_eq!(texts, [Raw::Text(r#"{"tier":"web"}"#.to_owned()), Raw::Text("[22,80]".to_owned())]);
        let unknown = toml("[agent]\nECS_LOGLEVL = \"debug\"\n").unwrap();
        insta::assert_snapshot!(unknown.warnings[0].text,
            @"the agent knows no variable `ECS_LOGLEVL`; it is passed on; did you mean `ECS_LOGLEVEL`?");
    }

    #[test]
    fn the_environment_spells_dots_and_hyphens() {
        let fragment = Fragment::from_environment([
            ("ECS_BOOTSTRAP_VERIFY__DEADLINE", "5m"),
            ("ECS_BOOTSTRAP_DERIVE__WARM_POOL", "off"),
            ("ECS_BOOTSTRAP_AGENT__ECS_LOGLEVEL", "debug"),
            ("ECS_BOOTSTRAP_CLUSTER_TAGS", "env=prod"),
            ("ECS_BOOTSTRAP_ROOT", "/elsewhere"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        assert_eq!(fragment.entries.len(), 4);
        let error = Fragment::from_environment([("ECS_BOOTSTRAP_CLUSTRE", "x")]).map(|_| ()).unwrap_err();
        assert_eq!(error.did_you_mean.as_deref(), Some("cluster"));
    }

    #[test]
    fn tags_may_say_the_cluster_and_what_the_list_allows() {
        let tags = BTreeMap::from(
            [
                ("ecs-bootstrap:cluster", "prod"),
                ("ecs-bootstrap:ECS_CLUSTER", "other"),
                ("ecs-bootstrap:ECS_ENGINE_AUTH_DATA", "hunter2"),
                ("ecs-bootstrap:clutser", "typo"),
                ("Name", "web"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let read = |trust| Fragment::from_tags(&tags, "ecs-bootstrap:", trust, Rank::InstanceTag, "IMDS").unwrap();
        let all = read(TagsSettings::All);
        assert_eq!((all.entries.len(), all.warnings.len()), (1, 3));
        assert!(all.warnings.iter().all(|warning| !warning.text.contains("hunter2")));
        assert_eq!(read(TagsSettings::None).entries.len(), 0);
    }

    #[test]
    fn a_cluster_tag_with_a_newline_is_an_error_and_not_a_second_line() {
        let tags =
            BTreeMap::from([("ecs-bootstrap:cluster".to_owned(), "prod\nECS_ENGINE_AUTH_TYPE=docker".to_owned())]);
        let error = Fragment::from_tags(&tags, "ecs-bootstrap:", TagsSettings::All, Rank::InstanceTag, "IMDS");
        assert!(error.map(|_| ()).unwrap_err().what.ends_with("not `prod<28 more bytes>`"));
    }

    #[test]
    fn what_steers_the_reading_of_tags_cannot_come_from_user_data() {
        let error =
            Fragment::from_toml("[tags]\nprefix = \"x:\"", Rank::UserData, "user data").map(|_| ()).unwrap_err();
        assert_eq!(error.place, "user data:2:10");
    }

    #[test]
    fn only_the_owner_of_the_image_says_how_far_tags_are_trusted() {
        let fragment = Fragment::from_command_line(&[("--set".into(), "tags.settings".into(), "all".into())]).unwrap();
        assert_eq!((fragment.entries.len(), fragment.warnings.len()), (0, 1));
    }
}
