//! Merges the fragments of all sources into [`Settings`], value by value: the source with the highest rank wins.

use super::fragment::{Fragment, Name, SettingValue};
use super::schema::Raw;
use super::source::{Source, Sourced};
use super::warning::{self, Warning};
use super::{Secret, Settings, TagsCluster};

/// Merges the fragments, which may be in any order. A higher rank wins. Within a rank, the later fragment and the later
/// entry win. The setting `tags.cluster` decides whether a tag can choose the cluster.
pub fn merge(fragments: &[Fragment]) -> Settings {
    let mut entries: Vec<&SettingValue> = fragments.iter().flat_map(|fragment| &fragment.entries).collect();
    entries.sort_by_key(|entry| entry.source.rank);
    if !entries.iter().any(|entry| entry.is_cluster_of_tag()) {
        return applied(entries);
    }
    let without = applied(entries.iter().filter(|entry| !entry.is_cluster_of_tag()).copied());
    let is_named = without.cluster.is_some() || !without.cluster_tags.value.is_empty();
    match without.tags_cluster.value {
        TagsCluster::Any => applied(entries),
        TagsCluster::Fallback if !is_named => applied(entries),
        TagsCluster::Fallback | TagsCluster::Never => without,
    }
}

/// A warning for each tag that would choose the cluster and is ignored.
pub fn ignored_cluster_tags(fragments: &[Fragment], settings: &Settings) -> Vec<Warning> {
    let policy = match settings.tags_cluster.value {
        TagsCluster::Any => return Vec::new(),
        TagsCluster::Fallback => "`fallback`, and another source names the cluster",
        TagsCluster::Never => "`never`",
    };
    let is_used = |source: &Source| {
        settings.cluster_tags.source == *source
            || settings.cluster.as_ref().is_some_and(|named| named.source == *source)
    };
    let tags = fragments.iter().flat_map(|fragment| &fragment.entries).filter(|entry| entry.is_cluster_of_tag());
    tags.filter(|entry| !is_used(&entry.source))
        .map(|entry| {
            Warning::new(
                &warning::TAG_REFUSED,
                format!("tag `{}` is ignored: `tags.cluster` is {policy}", entry.source.key),
                Some(entry.source.clone()),
            )
        })
        .collect()
}

/// Applies the entries in this order, so that a later one wins.
fn applied<'e>(entries: impl IntoIterator<Item = &'e SettingValue>) -> Settings {
    let mut settings = Settings::default();
    for entry in entries {
        match (&entry.name, &entry.raw) {
            (Name::Setting(setting), Raw::Text(text)) if setting.name == "cluster" => {
                // Not checked here: an `ecs.config` that ecs-bootstrap did not write may name a cluster that the schema
                // refuses, and the stage decide reports that.
                settings.cluster =
                    (!text.is_empty()).then(|| Sourced::new(text.clone(), entry.source.clone())).or(settings.cluster);
            }
            (Name::Setting(setting), raw) => {
                let applied = setting.apply(&mut settings, raw, entry.source.clone());
                debug_assert!(applied.is_some(), "the values of a fragment are checked");
            }
            (Name::Agent(variable), Raw::Text(text)) => {
                settings.agent.insert(variable.clone(), Sourced::new(Secret::new(text), entry.source.clone()));
            }
            (Name::Agent(_), _) => debug_assert!(false, "the value of a variable of the agent is text"),
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::super::{Rank, TagsSettings};
    use super::*;

    fn toml(rank: Rank, text: &str) -> Fragment {
        Fragment::from_toml(text, rank, "a file").unwrap()
    }

    #[test]
    fn the_highest_rank_wins_in_any_order() {
        let vendor = toml(Rank::Vendor, "cluster = \"vendor\"\n[agent]\nECS_LOGLEVEL = \"warn\"\n");
        let config = toml(Rank::Config, "cluster = \"config\"\n");
        let tag = Fragment::from_tags(
            &[("p:cluster".to_owned(), "tag".to_owned())].into(),
            "p:",
            TagsSettings::All,
            Rank::InstanceTag,
            "IMDS",
        )
        .unwrap();
        let file = Fragment::from_ecs_config([("/etc/ecs/ecs.config", "ECS_CLUSTER", "file")]);
        let settings = merge(&[tag.clone(), file.clone(), config.clone(), vendor.clone()]);
        let cluster = settings.cluster.unwrap();
        assert_eq!((cluster.value.as_str(), cluster.source.rank), ("tag", Rank::InstanceTag));
        assert_eq!(settings.agent["ECS_LOGLEVEL"].source.rank, Rank::Vendor);
        assert_eq!(merge(&[config, vendor, file]).cluster.unwrap().value, "config");
    }

    #[test]
    fn an_empty_cluster_in_ecs_config_is_ignored() {
        let file = Fragment::from_ecs_config([("/etc/ecs/ecs.config", "ECS_CLUSTER", "")]);
        assert!(merge(&[file]).cluster.is_none());
    }

    fn tag(key: &str, value: &str) -> Fragment {
        let tags = [(format!("p:{key}"), value.to_owned())].into();
        Fragment::from_tags(&tags, "p:", TagsSettings::All, Rank::InstanceTag, "IMDS").unwrap()
    }

    #[test]
    fn tags_cluster_decides_whether_a_tag_chooses_the_cluster() {
        let named = |policy: &str, others: &str, file: &str, tag: Fragment| {
            let files = toml(Rank::Config, &format!("tags.cluster = \"{policy}\"\n{others}"));
            let ecs = Fragment::from_ecs_config([("/etc/ecs/ecs.config", "ECS_CLUSTER", file)]);
            let fragments = [tag, files, ecs];
            let settings = merge(&fragments);
            let by_tags = settings.cluster_tags.value.get("env").cloned();
            let name = settings.cluster.as_ref().map(|cluster| cluster.value.clone());
            (name.or(by_tags).unwrap_or_default(), ignored_cluster_tags(&fragments, &settings).len())
        };
        let cluster = || tag("cluster", "tag");
        let tags = || tag("cluster-tags", "env=tag");
        for (policy, others, file, tag, expected) in [
            ("any", "cluster = \"config\"\n", "", cluster(), ("tag", 0)),
            ("any", "", "file", cluster(), ("tag", 0)),
            ("fallback", "cluster = \"config\"\n", "", cluster(), ("config", 1)),
            ("fallback", "cluster-tags = { env = \"config\" }\n", "", cluster(), ("config", 1)),
            ("fallback", "cluster = \"config\"\n", "", tags(), ("config", 1)),
            ("fallback", "", "file", cluster(), ("file", 1)),
            ("fallback", "", "file", tags(), ("file", 1)),
            ("fallback", "", "", cluster(), ("tag", 0)),
            ("fallback", "", "", tags(), ("tag", 0)),
            ("never", "cluster = \"config\"\n", "", cluster(), ("config", 1)),
            ("never", "", "", cluster(), ("", 1)),
            ("never", "", "", tags(), ("", 1)),
            ("never", "cluster-tags = { env = \"config\" }\n", "", tags(), ("config", 1)),
        ] {
            let (name, warnings) = named(policy, others, file, tag);
            assert_eq!((name.as_str(), warnings), expected, "{policy}, {others:?}, {file:?}");
        }
        let user_data = toml(Rank::UserData, "cluster = \"user-data\"\n");
        let pinned = toml(Rank::Vendor, "tags.cluster = \"fallback\"\n");
        assert_eq!(merge(&[cluster(), user_data, pinned]).cluster.unwrap().value, "user-data");
    }

    #[test]
    fn only_files_can_set_tags_cluster() {
        let option = ("--set".to_owned(), "tags.cluster".to_owned(), "never".to_owned());
        let option = Fragment::from_command_line(&[option]).unwrap();
        assert_eq!((option.entries.len(), option.warnings[0].id()), (0, "tags-settings-ignored"));
        let variable = Fragment::from_environment([("ECS_BOOTSTRAP_TAGS__CLUSTER", "never")]).unwrap();
        assert_eq!((variable.entries.len(), variable.warnings.len()), (0, 1));
        assert!(Fragment::from_toml("tags.cluster = \"never\"", Rank::UserData, "user data").is_err());
        assert!(
            tag("ECS_CLUSTER", "tag").entries.is_empty(),
            "the name of the agent's variable is not a way around it"
        );
    }
}
