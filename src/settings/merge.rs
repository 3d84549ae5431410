//! Merges fragments by rank into [`Settings`]: the highest source wins, value by value.

use super::fragment::{Entry, Fragment, Name};
use super::schema::Raw;
use super::source::{Source, Sourced};
use super::{Secret, Settings, TagsCluster, Warning};

/// The settings that these fragments give, whatever their order: a higher rank wins, and within a rank the later
/// fragment and the later entry. Whether a tag may choose the cluster is what `tags.cluster` says.
pub fn merge(fragments: &[Fragment]) -> Settings {
    let mut entries: Vec<&Entry> = fragments.iter().flat_map(|fragment| &fragment.entries).collect();
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

/// A warning for each tag that would choose the cluster and is not heard.
pub fn unheard(fragments: &[Fragment], settings: &Settings) -> Vec<Warning> {
    let policy = match settings.tags_cluster.value {
        TagsCluster::Any => return Vec::new(),
        TagsCluster::Fallback => "`fallback`, and the cluster is named without it",
        TagsCluster::Never => "`never`",
    };
    let is_heard = |source: &Source| {
        settings.cluster_tags.source == *source
            || settings.cluster.as_ref().is_some_and(|named| named.source == *source)
    };
    let tags = fragments.iter().flat_map(|fragment| &fragment.entries).filter(|entry| entry.is_cluster_of_tag());
    tags.filter(|entry| !is_heard(&entry.source))
        .map(|entry| Warning {
            id: "tag-refused",
            text: format!("tag `{}` is ignored: `tags.cluster` is {policy}", entry.source.key),
            source: Some(entry.source.clone()),
        })
        .collect()
}

/// The entries in this order: a later one wins.
fn applied<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Settings {
    let mut settings = Settings::default();
    for entry in entries {
        match (&entry.name, &entry.raw) {
            (Name::Setting(setting), Raw::Text(text)) if setting.name == "cluster" => {
                // Taken as it is: a foreign `ecs.config` may name what the schema would refuse, and decide says so.
                settings.cluster =
                    (!text.is_empty()).then(|| Sourced::new(text.clone(), entry.source.clone())).or(settings.cluster);
            }
            (Name::Setting(setting), raw) => {
                let applied = setting.apply(&mut settings, raw, entry.source.clone());
                debug_assert!(applied.is_some(), "fragments hold checked values only");
            }
            (Name::Agent(variable), Raw::Text(text)) => {
                settings.agent.insert(variable.clone(), Sourced::new(Secret::new(text), entry.source.clone()));
            }
            (Name::Agent(_), _) => debug_assert!(false, "a variable of the agent is text"),
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
    fn the_highest_rank_wins_whatever_the_order() {
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
    fn an_empty_cluster_in_a_foreign_file_names_none() {
        let file = Fragment::from_ecs_config([("/etc/ecs/ecs.config", "ECS_CLUSTER", "")]);
        assert!(merge(&[file]).cluster.is_none());
    }

    fn tag(key: &str, value: &str) -> Fragment {
        let tags = [(format!("p:{key}"), value.to_owned())].into();
        Fragment::from_tags(&tags, "p:", TagsSettings::All, Rank::InstanceTag, "IMDS").unwrap()
    }

    #[test]
    fn a_tag_chooses_the_cluster_as_far_as_the_owner_of_the_image_lets_it() {
        let named = |policy: &str, others: &str, file: &str, tag: Fragment| {
            let files = toml(Rank::Config, &format!("tags.cluster = \"{policy}\"\n{others}"));
            let ecs = Fragment::from_ecs_config([("/etc/ecs/ecs.config", "ECS_CLUSTER", file)]);
            let fragments = [tag, files, ecs];
            let settings = merge(&fragments);
            let by_tags = settings.cluster_tags.value.get("env").cloned();
            let name = settings.cluster.as_ref().map(|cluster| cluster.value.clone());
            (name.or(by_tags).unwrap_or_default(), unheard(&fragments, &settings).len())
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
    fn nobody_but_files_may_say_whether_tags_choose_the_cluster() {
        let said = Fragment::from_command_line(&[("--set".to_owned(), "tags.cluster".to_owned(), "never".to_owned())]);
        let said = said.unwrap();
        assert_eq!((said.entries.len(), said.warnings[0].id), (0, "tags-settings-ignored"));
        let variable = Fragment::from_environment([("ECS_BOOTSTRAP_TAGS__CLUSTER", "never")]).unwrap();
        assert_eq!((variable.entries.len(), variable.warnings.len()), (0, 1));
        assert!(Fragment::from_toml("tags.cluster = \"never\"", Rank::UserData, "user data").is_err());
        assert!(tag("ECS_CLUSTER", "tag").entries.is_empty(), "the agent's own name for it is no way around");
    }
}
