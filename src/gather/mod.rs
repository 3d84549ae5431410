//! Reads what decide needs: metadata, tags, clusters, the host. It asks at once what does not depend on an answer, asks
//! nothing that the settings cannot use, and decides nothing.

mod clusters;
mod host;
mod leftovers;
mod metadata;
mod tags;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::boundary::World;
use crate::boundary::aws::{Aws, AwsError};
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::evidence::StageError;
use crate::facts::{Facts, Host, Known, mismatches};
use crate::host::agent_config;
use crate::ownership;
use crate::retry::Deadline;
use crate::settings::fragment::Fragment;
use crate::settings::merge::{merge, unheard};
use crate::settings::{Rank, Settings, Source, TagsApi, TagsCluster, TagsSettings, Warning, user_data};

pub use leftovers::leftovers;
pub use metadata::Metadata;

/// All that was gathered: the settings of every rank, and the facts.
#[derive(Debug)]
pub struct Gathered {
    /// Merged from every rank.
    pub settings: Settings,
    /// What is true.
    pub facts: Facts,
    /// What works, but may not be meant.
    pub warnings: Vec<Warning>,
    /// Why a source could not be read that may have named the cluster. A plan without it may do all the same.
    pub unread: Option<StageError>,
    /// The connection that the units were read by.
    pub systemd: Result<Systemd, SystemdError>,
}

/// Of all settings files together. Each key takes some hundred bytes of memory.
const LONGEST_SETTINGS: usize = crate::host::LONGEST_FILE;

/// What is said on this host: files of ours by rank. Environment and command line come from the caller.
pub fn local_settings(world: &World) -> Result<Vec<Fragment>, StageError> {
    let mut fragments = Vec::new();
    let mut left = LONGEST_SETTINGS;
    for (kind, path) in host::settings_files(&world.disk)? {
        let Some(bytes) = world.disk.read(&path, left).map_err(StageError::ReadSettings)? else {
            continue;
        };
        left -= bytes.len();
        let text = String::from_utf8(bytes).map_err(|error| crate::settings::SettingsError {
            place: path.clone(),
            what: format!("the file is not UTF-8 after byte {}", error.utf8_error().valid_up_to()),
            did_you_mean: None,
        })?;
        fragments.push(Fragment::from_toml(&text, kind, &path)?);
    }
    Ok(fragments)
}

/// Reads everything. `bus` is how long systemd has to take a connection; `fragments` are the files', the environment's
/// and the command line's; `deadline` is the run's.
pub async fn facts(
    world: &World,
    bus: Duration,
    mut fragments: Vec<Fragment>,
    deadline: Deadline,
    without_metadata: bool,
) -> Result<Gathered, StageError> {
    // Variables of the agent may be many, and count only in the end.
    let early = Settings { agent: BTreeMap::new(), ..merge(&fragments) };
    let imds_deadline = Deadline::after(early.imds_deadline.value).earliest(deadline);
    let host = async {
        let systemd = Systemd::connect(Deadline::after(bus).earliest(deadline)).await;
        (host::host(&world.disk, &systemd).await, systemd)
    };
    let metadata = metadata::read(&world.imds, &early, imds_deadline);
    let (metadata, (host, systemd)) = futures_util::future::join(metadata, host).await;
    let host = host?;
    let (metadata, unread) = match metadata {
        Ok(metadata) => (metadata, None),
        Err(stop) if without_metadata => (Metadata::unknown(&stop), Some(stop)),
        Err(stop) => return Err(stop),
    };
    let id = metadata.instance.get().map(|instance| instance.instance_id.clone());
    // The first of its rank: who says it again is heard.
    fragments.insert(0, of_earlier(&host, id.as_deref()));
    let of_file = fragments.len();
    fragments.push(of_ecs_config(&host));
    fragments.extend(user_data_of_ours(&metadata)?);
    let mut facts = Facts {
        instance: metadata.instance,
        life_cycle: metadata.life_cycle,
        target_state: metadata.target_state,
        tags: metadata.tags,
        unread: None,
        clusters: None,
        host,
    };
    let mut gathering = Gathering { world, fragments, warnings: Vec::new(), unread, deadline };
    gathering.add_instance_tags(&mut facts, &early).await?;
    gathering.add_clusters(&mut facts, &early).await?;
    metadata::complete(&world.imds, &merge(&gathering.fragments), &mut facts, imds_deadline).await;
    // User data may have written meanwhile, and what is decided replaces the file.
    facts.host.etc_config = host::etc_config(&world.disk)?;
    gathering.fragments[0] = of_earlier(&facts.host, id.as_deref());
    gathering.fragments[of_file] = of_ecs_config(&facts.host);
    facts.unread = gathering.unread.as_ref().map(|stop| crate::redaction::error_chain(stop));
    let settings = merge(&gathering.fragments);
    gathering.warnings.extend(unheard(&gathering.fragments, &settings));
    let of_fragments = gathering.fragments.into_iter().flat_map(|fragment| fragment.warnings);
    let warnings = gathering.warnings.into_iter().chain(of_fragments).collect();
    Ok(Gathered { settings, facts, warnings, unread: gathering.unread, systemd })
}

/// The cluster that a command line or an environment of before has named.
fn of_earlier(host: &Host, instance_id: Option<&str>) -> Fragment {
    match (&host.written.cluster_source, ownership::own_cluster(host, instance_id)) {
        (Some(said), Some(cluster)) => Fragment::from_earlier(cluster, said.rank, &said.key),
        _ => Fragment::default(),
    }
}

fn of_ecs_config(host: &Host) -> Fragment {
    let foreign = ownership::foreign(host);
    Fragment::from_ecs_config(foreign.iter().map(|f| (f.path, f.key.as_str(), f.value.as_str())))
}

fn user_data_of_ours(metadata: &Metadata) -> Result<Option<Fragment>, StageError> {
    const PLACE: &str = "user data";
    let Some(bytes) = &metadata.user_data else { return Ok(None) };
    let text = user_data::ours(bytes).map_err(|error| crate::settings::SettingsError {
        place: PLACE.to_owned(),
        what: error.to_string(),
        did_you_mean: None,
    })?;
    if let (None, Some(what)) = (&text, user_data::skipped(bytes)) {
        let text = format!("the settings in the user data are not read, because they are in a {what}");
        let warnings = vec![Warning { id: "user-data-skipped", text, source: None }];
        let mut fragment = Fragment::default();
        fragment.warnings = warnings;
        return Ok(Some(fragment));
    }
    Ok(text.map(|text| Fragment::from_toml(&text, Rank::UserData, PLACE)).transpose()?)
}

struct Gathering<'a> {
    world: &'a World,
    fragments: Vec<Fragment>,
    warnings: Vec<Warning>,
    unread: Option<StageError>,
    deadline: Deadline,
}

impl Gathering<'_> {
    async fn aws(&self, facts: &Facts) -> Result<Aws, StageError> {
        let region = facts.instance.get().map(|instance| instance.region.as_str()).unwrap_or_default();
        Ok(self.world.aws(region).await?)
    }

    /// Tags from IMDS, or from EC2 when IMDS has none and nothing above them names the cluster.
    async fn add_instance_tags(&mut self, facts: &mut Facts, early: &Settings) -> Result<(), StageError> {
        if early.tags_settings.value == TagsSettings::None {
            return Ok(());
        }
        let so_far = merge(&self.fragments);
        // Where a tag cannot choose the cluster any more, the API is not asked for one.
        let named_above = match so_far.tags_cluster.value {
            TagsCluster::Any => so_far.cluster.as_ref().is_some_and(|named| named.source.rank > Rank::InstanceTag),
            TagsCluster::Fallback => so_far.cluster.is_some() || !so_far.cluster_tags.value.is_empty(),
            TagsCluster::Never => true,
        };
        let may_ask = facts.tags.get().is_none() && so_far.tags_api.value == TagsApi::Auto && !named_above;
        if let (true, Known::Yes(instance)) = (may_ask, facts.instance.clone()) {
            // Something else may name the cluster: then a tag is not waited for, and a refusal is a warning.
            let needed = so_far.cluster.is_none() && so_far.cluster_tags.value.is_empty();
            let query = tags::TagsQuery {
                instance: &instance,
                prefix: &early.tags_prefix.value,
                wait: needed.then_some(early.tags_wait.value),
                named_meanwhile: &|| {
                    let now = host::etc_config(&self.world.disk).unwrap_or_default();
                    let changed = now != facts.host.etc_config;
                    changed && agent_config(&self.world.disk).contains_key("ECS_CLUSTER")
                },
            };
            let aws = self.aws(facts).await?;
            match tags::from_api(&aws, query, self.deadline).await {
                Ok(tags) => facts.tags = Known::Yes(tags),
                Err(error) if needed => {
                    facts.tags = Known::Unknown(error.to_string());
                    self.unread = Some(error.into());
                }
                Err(error) => {
                    facts.tags = Known::Unknown(error.to_string());
                    self.warn_of_tags(&error);
                }
            }
        }
        if let Known::Yes(tags) = &facts.tags {
            let prefix = &early.tags_prefix.value;
            let trust = early.tags_settings.value;
            self.fragments.push(Fragment::from_tags(&tags.tags, prefix, trust, Rank::InstanceTag, tags.place)?);
        }
        Ok(())
    }

    fn warn_of_tags(&mut self, error: &AwsError) {
        self.warnings.push(Warning {
            id: "tags-unknown",
            text: format!("the instance's tags could not be read, and are not needed to name the cluster: {error}"),
            source: Some(Source::new(Rank::InstanceTag, "ec2:DescribeTags", "")),
        });
    }

    /// Clusters, only where they are chosen by their tags; the chosen one's tags are settings too.
    async fn add_clusters(&mut self, facts: &mut Facts, early: &Settings) -> Result<(), StageError> {
        let settings = merge(&self.fragments);
        if settings.cluster.is_some() || settings.cluster_tags.value.is_empty() || facts.instance.get().is_none() {
            return Ok(());
        }
        let aws = self.aws(facts).await?;
        let clusters = clusters::all(&aws, self.deadline).await?;
        let wanted = &settings.cluster_tags.value;
        let mut matching = clusters.iter().filter(|cluster| mismatches(cluster, wanted).is_empty());
        if let (Some(one), None) = (matching.next(), matching.next()) {
            let (prefix, trust) = (&early.tags_prefix.value, early.tags_settings.value);
            let place = format!("cluster `{}`", one.name);
            self.fragments.push(Fragment::from_tags(&one.tags, prefix, trust, Rank::ClusterTag, &place)?);
        }
        facts.clusters = Some(clusters);
        Ok(())
    }
}
