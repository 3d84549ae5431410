//! Merges fragments by rank into [`Settings`]: the highest source wins, value by value.

use super::fragment::{Fragment, Name};
use super::schema::Raw;
use super::source::Sourced;
use super::{Secret, Settings};

/// The settings that these fragments give, whatever their order: a higher rank wins, and within a rank the later
/// fragment and the later entry.
pub fn merge(fragments: &[Fragment]) -> Settings {
    let mut entries: Vec<_> = fragments.iter().flat_map(|fragment| &fragment.entries).collect();
    entries.sort_by_key(|entry| entry.source.kind);
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
    use super::super::{Kind, TagsSettings};
    use super::*;

    fn toml(kind: Kind, text: &str) -> Fragment {
        Fragment::from_toml(text, kind, "a file").unwrap()
    }

    #[test]
    fn the_highest_rank_wins_whatever_the_order() {
        let vendor = toml(Kind::Vendor, "cluster = \"vendor\"\n[agent]\nECS_LOGLEVEL = \"warn\"\n");
        let config = toml(Kind::Config, "cluster = \"config\"\n");
        let tag = Fragment::from_tags(
            &[("p:cluster".to_owned(), "tag".to_owned())].into(),
            "p:",
            TagsSettings::All,
            Kind::InstanceTag,
            "IMDS",
        )
        .unwrap();
        let file = Fragment::from_ecs_config([("/etc/ecs/ecs.config", "ECS_CLUSTER", "file")]);
        let settings = merge(&[tag.clone(), file.clone(), config.clone(), vendor.clone()]);
        let cluster = settings.cluster.unwrap();
        assert_eq!((cluster.value.as_str(), cluster.source.kind), ("tag", Kind::InstanceTag));
        assert_eq!(settings.agent["ECS_LOGLEVEL"].source.kind, Kind::Vendor);
        assert_eq!(merge(&[config, vendor, file]).cluster.unwrap().value, "config");
    }

    #[test]
    fn an_empty_cluster_in_a_foreign_file_names_none() {
        let file = Fragment::from_ecs_config([("/etc/ecs/ecs.config", "ECS_CLUSTER", "")]);
        assert!(merge(&[file]).cluster.is_none());
    }
}
