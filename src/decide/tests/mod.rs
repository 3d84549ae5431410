//! Tests of every rule of decide. In: settings and facts. Compared: the plan or the refusal.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::*;
use crate::boundary::aws::Cluster;
use crate::boundary::systemd::UnitState;
use crate::facts::{
    ConfigFile, EarlyUnit, Fact, Host, Instance, InstanceTags, SavedAgent, SavedState, Units, WriteRecord,
};
use crate::plan::{Action, UnitPlan};
use crate::settings::TagsSettings;
use crate::settings::fragment::Fragment;
use crate::settings::merge::merge;

const HERE: &str = "i-0123456789abcdef0";
const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:cluster/prod";

/// An instance without settings, with docker and the agent installed, on which cloud-init has ended.
struct Case {
    facts: Facts,
    fragments: Vec<Fragment>,
}

impl Case {
    fn new() -> Case {
        let host = Host {
            memory_mib: Fact::Known(8192),
            boot_id: Fact::Known("5b2c2b7e".to_owned()),
            etc_config: ConfigFile::default(),
            var_config: ConfigFile::default(),
            written: WriteRecord::default(),
            saved: None,
            user_data_runs: Fact::Known(false),
            units: Fact::Known(Units {
                docker: unit("docker.service", "inactive"),
                agent: unit("ecs.service", "inactive"),
                cloud_final: unit("cloud-final.service", "active"),
                user_data_target: None,
                after_user_data: None,
            }),
            early_unit: Fact::Known(EarlyUnit::Absent),
            gpu: Fact::Known(false),
            neuron: Fact::Known(false),
        };
        let instance = Instance {
            instance_id: HERE.to_owned(),
            region: "eu-west-1".to_owned(),
            account_id: None,
            instance_type: "m5.large".to_owned(),
            image_id: None,
            pending_time: None,
        };
        let facts = Facts {
            instance: Fact::Known(instance),
            life_cycle: Fact::Known(Some("on-demand".to_owned())),
            target_state: Fact::Known(None),
            tags: Fact::Known(InstanceTags { place: "IMDS", tags: BTreeMap::new() }),
            unread: None,
            registry_auth_error: None,
            user_data_mentions_agent: false,
            clusters: None,
            host,
        };
        Case { facts, fragments: Vec::new() }
    }

    fn setting(mut self, rank: Rank, toml: &str) -> Case {
        self.fragments.push(Fragment::from_toml(toml, rank, "a file").unwrap());
        self
    }

    fn config(self, toml: &str) -> Case {
        self.setting(Rank::Config, toml)
    }

    fn tag(mut self, key: &str, value: &str) -> Case {
        if let Fact::Known(tags) = &mut self.facts.tags {
            tags.tags.insert(key.to_owned(), value.to_owned());
        }
        self
    }

    fn etc(self, text: &str) -> Case {
        self.facts(|facts| facts.host.etc_config.bytes = Some(text.as_bytes().to_vec()))
    }

    fn var(self, text: &str) -> Case {
        self.facts(|facts| facts.host.var_config.bytes = Some(text.as_bytes().to_vec()))
    }

    fn cluster(self, name: &str, status: &str, tags: &[(&str, &str)]) -> Case {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let cluster = Cluster { name: name.to_owned(), arn: String::new(), status: status.to_owned(), tags };
        self.facts(|facts| facts.clusters.get_or_insert_default().push(cluster))
    }

    fn saved(self, cluster: &str, instance: &str) -> Case {
        let state = SavedState {
            cluster: Some(cluster.to_owned()),
            ec2_instance_id: Some(instance.to_owned()),
            ..SavedState::default()
        };
        self.facts(|facts| {
            facts.host.saved = Some(SavedAgent { state: Fact::Known(Some(state)), modified: None, is_damaged: false })
        })
    }

    fn units(self, change: impl FnOnce(&mut Units)) -> Case {
        self.facts(|facts| {
            if let Fact::Known(units) = &mut facts.host.units {
                change(units);
            }
        })
    }

    fn facts(mut self, change: impl FnOnce(&mut Facts)) -> Case {
        change(&mut self.facts);
        self
    }

    /// The settings, merged as in gather.
    fn settings(&self) -> Settings {
        let mut fragments = self.fragments.clone();
        let foreign = ownership::foreign(&self.facts.host);
        fragments.push(Fragment::from_ecs_config(foreign.iter().map(|f| (f.path, f.key.as_str(), f.value.as_str()))));
        if let Fact::Known(tags) = &self.facts.tags {
            let all = TagsSettings::All;
            fragments
                .push(Fragment::from_tags(&tags.tags, "ecs-bootstrap:", all, Rank::InstanceTag, tags.place).unwrap());
        }
        merge(&fragments)
    }

    fn plan(&self) -> Result<Plan, Refusal> {
        plan(&self.settings(), &self.facts, Vec::new())
    }

    fn planned(&self) -> Plan {
        self.plan().unwrap()
    }

    /// This instance after apply has carried out the plan.
    fn carried_out(mut self) -> Case {
        let config = self.planned().ecs_config;
        self.facts.host.etc_config.bytes = Some(config.new);
        self.facts.host.written = config.written;
        self
    }

    fn text(&self) -> String {
        String::from_utf8(self.planned().ecs_config.new).unwrap()
    }

    fn chosen(&self) -> (String, Rank) {
        let cluster = self.planned().cluster.unwrap();
        (cluster.value, cluster.source.rank)
    }

    fn warnings(&self) -> Vec<&'static str> {
        self.planned().warnings.iter().map(|warning| warning.id()).collect()
    }

    fn agent(&self) -> UnitPlan {
        self.planned().units.pop().unwrap()
    }
}

fn unit(name: &str, active: &str) -> UnitState {
    UnitState {
        name: name.to_owned(),
        load_state: Some("loaded".to_owned()),
        active_state: Some(active.to_owned()),
        unit_file_state: Some("enabled".to_owned()),
        ..UnitState::default()
    }
}

#[test]
fn the_highest_rank_names_the_cluster() {
    let mut case = Case::new().etc("ECS_CLUSTER=file\n");
    assert_eq!(case.chosen(), ("file".to_owned(), Rank::EcsConfig));
    for rank in [Rank::Vendor, Rank::Config, Rank::InstanceTag, Rank::UserData, Rank::Environment, Rank::CommandLine] {
        let name = format!("{rank:?}");
        case = match rank {
            Rank::InstanceTag => case.tag("ecs-bootstrap:cluster", &name),
            _ => case.setting(rank, &format!("cluster = \"{name}\"\n")),
        };
        assert_eq!(case.chosen(), (name, rank));
    }
}

#[test]
fn joins_default_if_a_source_names_it() {
    assert_eq!(Case::new().config("cluster = \"default\"").chosen().0, "default");
    assert_eq!(Case::new().etc("ECS_CLUSTER=default\n").chosen().0, "default");
}

#[test]
fn chooses_the_one_active_cluster_with_all_the_wanted_tags() {
    let case = Case::new()
        .config("cluster-tags = { env = \"prod\", team = \"core\" }")
        .cluster("a", "ACTIVE", &[("env", "prod")])
        .cluster("b", "ACTIVE", &[("env", "prod"), ("team", "core"), ("more", "x")])
        .cluster("c", "INACTIVE", &[("env", "prod"), ("team", "core")]);
    assert_eq!(case.chosen(), ("b".to_owned(), Rank::ClusterTags));
    assert_eq!(case.text(), "ECS_CLUSTER=b\n");
}

#[test]
fn says_why_each_cluster_does_not_match() {
    let case = Case::new()
        .config("cluster-tags = { env = \"prod\", team = \"core\" }")
        .cluster("a", "ACTIVE", &[("env", "prod"), ("team", "web")])
        .cluster("b", "INACTIVE", &[("env", "prod"), ("team", "core")]);
    let Err(Refusal::NoClusterMatches { candidates, .. }) = case.plan() else { panic!("a cluster was chosen") };
    assert_eq!(candidates, ["`a`: no tag team=core", "`b`: status INACTIVE"]);
}

#[test]
fn names_the_clusters_if_several_match() {
    let case = Case::new().config("cluster-tags = \"env=prod\"").cluster("a", "ACTIVE", &[("env", "prod")]).cluster(
        "b",
        "ACTIVE",
        &[("env", "prod")],
    );
    let Err(Refusal::SeveralClustersMatch { names, .. }) = case.plan() else { panic!("a cluster was chosen") };
    assert_eq!(names, ["`a`", "`b`"]);
}

#[test]
fn warns_if_a_lower_source_overrides_the_wanted_tags() {
    let case = Case::new().etc("ECS_CLUSTER=prod\n").config("cluster-tags = \"env=dev\"");
    assert_eq!((case.chosen().0.as_str(), case.warnings()), ("prod", vec!["cluster-tags-ignored"]));
    let silent = Case::new().config("cluster = \"prod\"\ncluster-tags = \"env=dev\"");
    assert_eq!(silent.warnings(), Vec::<&str>::new());
}

#[test]
fn is_undecided_while_user_data_can_still_name_a_cluster() {
    let running = Case::new().units(|units| units.cloud_final.active_state = Some("activating".to_owned()));
    let queued = Case::new().units(|units| {
        units.cloud_final.active_state = Some("inactive".to_owned());
        units.cloud_final.job = Some(7);
    });
    for case in [running, queued] {
        let plan = case.planned();
        assert!(plan.cluster.is_none() && !plan.ecs_config.changed());
        assert!(plan.units.iter().all(|unit| unit.action == Action::Leave), "{:?}", plan.units);
    }
}

#[test]
fn refuses_when_nothing_names_a_cluster_and_nothing_will() {
    for state in ["active", "failed", "inactive"] {
        let case = Case::new().units(|units| units.cloud_final.active_state = Some(state.to_owned()));
        assert!(matches!(case.plan(), Err(Refusal::NoCluster { .. })), "{state}");
    }
    let blind = Case::new().facts(|facts| facts.host.units = Fact::Unknown("no bus".to_owned()));
    let Err(Refusal::NoCluster { evidence_lines }) = blind.plan() else { panic!("a cluster was chosen") };
    assert!(evidence_lines[0].contains("`ecs-bootstrap:cluster` (IMDS)"), "{evidence_lines:?}");
}

#[test]
fn an_empty_name_names_no_cluster() {
    for text in ["ECS_CLUSTER=\n", "#ECS_CLUSTER=prod\n", "export ECS_CLUSTER=prod\n"] {
        assert!(matches!(Case::new().etc(text).plan(), Err(Refusal::NoCluster { .. })), "{text}");
    }
}

#[test]
fn refuses_a_foreign_name_in_quotes() {
    for text in ["ECS_CLUSTER=\"prod\"\n", "ECS_CLUSTER='prod'\n", "ECS_CLUSTER=${CLUSTER}\n", "ECS_CLUSTER=a b\n"] {
        assert!(matches!(Case::new().etc(text).plan(), Err(Refusal::ClusterInvalid { .. })), "{text}");
    }
    assert_eq!(Case::new().etc("ECS_CLUSTER=\"prod\"\n").config("cluster = \"prod\"").text(), "ECS_CLUSTER=prod\n");
}

#[test]
fn keeps_the_form_that_the_agent_saved() {
    let by_name = Case::new().config("cluster = \"prod\"");
    assert_eq!(by_name.saved(ARN, HERE).chosen().0, ARN);
    let by_arn = Case::new().config(&format!("cluster = \"{ARN}\""));
    assert_eq!(by_arn.saved("prod", HERE).chosen().0, "prod");
    let in_file = Case::new().etc("ECS_CLUSTER=prod\n").saved(ARN, HERE);
    assert_eq!(in_file.text(), format!("ECS_CLUSTER={ARN}\n"));
    let in_vendor_file = Case::new().var("ECS_CLUSTER=prod\n").saved(ARN, HERE);
    assert_eq!(in_vendor_file.text(), format!("ECS_CLUSTER={ARN}\n"));
}

#[test]
fn saved_state_of_another_instance_or_cluster_is_ignored() {
    assert_eq!(Case::new().config("cluster = \"prod\"").saved(ARN, "i-another").chosen().0, "prod");
    assert_eq!(Case::new().config("cluster = \"dev\"").saved(ARN, HERE).chosen().0, "dev");
    for elsewhere in
        ["arn:aws:ecs:us-east-1:111122223333:cluster/prod", "arn:aws:ecs:eu-west-1:999988887777:cluster/prod"]
    {
        let case = Case::new().config(&format!("cluster = \"{elsewhere}\"")).saved("prod", HERE);
        let case = case.facts(|facts| {
            let Fact::Known(instance) = &mut facts.instance else { unreachable!() };
            instance.account_id = Some("111122223333".to_owned());
        });
        assert_eq!(case.chosen().0, elsewhere);
    }
    let nameless = Case::new().config("cluster = \"prod\"").saved(ARN, HERE);
    let nameless = nameless.facts(|facts| facts.instance = Fact::Unknown("IMDS is off".to_owned()));
    assert_eq!(nameless.chosen().0, "prod");
}

#[test]
fn keeps_the_line_of_a_cluster_that_the_files_name() {
    for (etc, var) in [("# mine\nECS_CLUSTER=prod\n", ""), ("", "ECS_CLUSTER=prod\n")] {
        let plan = Case::new().etc(etc).var(var).planned();
        assert!(!plan.ecs_config.changed() && plan.ecs_config.written.keys.is_empty());
    }
    assert_eq!(Case::new().etc("ECS_CLUSTER=old\n# x\nECS_CLUSTER=prod\n").text(), "# x\nECS_CLUSTER=prod\n");
    // The agent reads the empty name in the later file.
    assert_eq!(Case::new().var("ECS_CLUSTER=prod\n").etc("ECS_CLUSTER=\n").text(), "ECS_CLUSTER=prod\n");
}

#[test]
fn derives_what_the_facts_suggest_and_says_why() {
    type Change = fn(&mut Facts);
    let table: [(&str, &str, &str, Change); 4] = [
        ("spot", "ECS_ENABLE_SPOT_INSTANCE_DRAINING", "life cycle `spot`", |facts| {
            facts.life_cycle = Fact::Known(Some("spot".to_owned()));
        }),
        ("warm-pool", "ECS_WARM_POOLS_CHECK", "in an Auto Scaling group, target state `Warmed:Stopped`", |facts| {
            facts.target_state = Fact::Known(Some("Warmed:Stopped".to_owned()));
        }),
        ("gpu", "ECS_ENABLE_GPU_SUPPORT", "an NVIDIA device is present", |facts| facts.host.gpu = Fact::Known(true)),
        ("neuron", "ECS_ENABLE_INF_SUPPORT", "a Neuron device is present", |facts| {
            facts.host.neuron = Fact::Known(true);
        }),
    ];
    for (setting, key, why, change) in table {
        let named = || Case::new().config("cluster = \"prod\"");
        let line = format!("{key}=true\n");
        let switched = |to: &str| named().config(&format!("derive.{setting} = \"{to}\""));
        assert!(!named().text().contains(key), "{key} without the fact");
        let derived = named().facts(change).planned();
        let planned = derived.ecs_config.keys.iter().find(|planned| planned.key == key).unwrap();
        assert_eq!((planned.source.rank, &*planned.source.place), (Rank::Default, why));
        assert!(switched("on").text().contains(&line), "{key} switched on");
        assert!(!switched("off").facts(change).text().contains(key), "{key} switched off");
        let by_hand = format!("{key}=false\n");
        assert!(named().facts(change).etc(&by_hand).text().contains(&by_hand), "a hand-written {key} is kept");
        assert!(switched("on").etc(&by_hand).text().contains(&line), "a setting beats a hand-written {key}");
    }
}

#[test]
fn reserves_memory_when_asked_to() {
    let reserved = |setting: &str, mib: u64| {
        let case = Case::new().config("cluster = \"prod\"").config(&format!("derive.reserved-memory = {setting}"));
        let text = case.facts(|facts| facts.host.memory_mib = Fact::Known(mib)).text();
        text.lines().find_map(|line| line.strip_prefix("ECS_RESERVED_MEMORY=")).map(str::to_owned)
    };
    assert_eq!(reserved("\"off\"", 8192), None);
    assert_eq!(reserved("300", 8192).as_deref(), Some("300"));
    assert_eq!(reserved("\"auto\"", 8192).as_deref(), Some("409"));
    assert_eq!(reserved("\"auto\"", 512).as_deref(), Some("128"));
    assert_eq!(reserved("\"auto\"", 262_144).as_deref(), Some("1024"));
}

#[test]
fn propagates_tags_only_when_asked_to() {
    const LINE: &str = "ECS_CONTAINER_INSTANCE_PROPAGATE_TAGS_FROM=ec2_instance\n";
    let case = |to: &str| Case::new().config(&format!("cluster = \"prod\"\nderive.propagate-tags = \"{to}\"")).text();
    assert!(case("on").contains(LINE) && !case("auto").contains(LINE) && !case("off").contains(LINE));
}

fn attributes(case: &Case) -> Option<String> {
    case.text().lines().find_map(|line| line.strip_prefix("ECS_INSTANCE_ATTRIBUTES=")).map(str::to_owned)
}

fn with_attributes() -> Case {
    Case::new().config("cluster = \"prod\"\nderive.attributes = [\"stack\", \"zone\"]")
}

#[test]
fn tags_become_attributes_beside_those_set_by_hand() {
    assert_eq!(attributes(&with_attributes()), None);
    let tagged = || with_attributes().tag("stack", "web").tag("Name", "x");
    assert_eq!(attributes(&tagged()).as_deref(), Some(r#"{"stack":"web"}"#));
    let by_hand = tagged().etc("ECS_INSTANCE_ATTRIBUTES={\"disk\":\"ssd\",\"stack\":\"api\"}\n");
    assert_eq!(attributes(&by_hand).as_deref(), Some(r#"{"disk":"ssd","stack":"api"}"#));
    assert_eq!(by_hand.planned().expectation.attributes["disk"], "ssd");
}

#[test]
fn attributes_set_by_hand_are_kept_after_the_tags_are_removed() {
    let first = with_attributes().tag("stack", "web").etc("ECS_INSTANCE_ATTRIBUTES={\"disk\":\"ssd\"}\n").carried_out();
    assert_eq!(attributes(&first).as_deref(), Some(r#"{"disk":"ssd","stack":"web"}"#));
    assert!(!first.planned().ecs_config.changed());
    let retagged = first.tag("stack", "api");
    assert_eq!(attributes(&retagged).as_deref(), Some(r#"{"disk":"ssd","stack":"api"}"#));
    let untagged = retagged.carried_out().facts(|facts| {
        facts.tags = Fact::Known(InstanceTags { place: "IMDS", tags: BTreeMap::new() });
    });
    assert_eq!(attributes(&untagged).as_deref(), Some(r#"{"disk":"ssd"}"#));
    assert!(!untagged.carried_out().planned().ecs_config.written.keys.contains_key("ECS_INSTANCE_ATTRIBUTES"));
}

#[test]
fn a_tag_that_cannot_be_an_attribute_is_a_warning() {
    for value in ["a b\tc", "caf\u{e9}", "a\\b"] {
        let case = with_attributes().tag("stack", value).tag("zone", "a");
        assert_eq!(attributes(&case).as_deref(), Some(r#"{"zone":"a"}"#), "{value:?}");
        assert_eq!(case.warnings(), ["attribute-refused"]);
    }
}

#[test]
fn attributes_that_cannot_be_merged_are_unchanged() {
    let ten: Vec<_> = (0..10).map(|number| format!("\"a{number}\":\"x\"")).collect();
    for by_hand in ["{'disk':'ssd'}".to_owned(), format!("{{{}}}", ten.join(",")), r#"{"path":"a\\b"}"#.to_owned()] {
        let case = with_attributes().tag("stack", "web").etc(&format!("ECS_INSTANCE_ATTRIBUTES={by_hand}\n"));
        assert_eq!(attributes(&case), Some(by_hand));
        assert_eq!(case.warnings()[0], "attributes-not-merged");
    }
}

#[test]
fn mistakes_are_warnings_only_in_lines_that_the_plan_does_not_change() {
    let file = "ECS_CLUSTER=\"old\"\nECS_CONTAINER_STOP_TIMEOUT=120\nECS_LOGLEVEL=DEBUG\nDD_SITE=eu\n";
    let plan = Case::new().config("cluster = \"prod\"\n[agent]\nECS_LOGLEVEL = \"info\"").etc(file).plan().unwrap();
    let shown: Vec<_> =
        plan.warnings.iter().map(|warning| (warning.id(), warning.source.clone().unwrap().place)).collect();
    assert_eq!(shown, [("config-value-ignored", "/etc/ecs/ecs.config:2:28".into())]);
    assert!(plan.warnings[0].text.ends_with("did you mean `120s`?"), "{}", plan.warnings[0].text);
}

mod actions;
mod early;
mod keys;
