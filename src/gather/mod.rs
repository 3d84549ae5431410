//! The stage `gather`: reads everything that decide needs, from instance metadata, tags, clusters and the host.
//!
//! In: the clients and the settings of files, environment and command line. Out: all settings, and [`Facts`]. Independent
//! requests run in parallel, and a value that no setting needs is not requested. It decides nothing.

mod clusters;
mod host;
mod leftovers;
mod metadata;
mod remote;
mod tags;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;

use crate::boundary::HostClients;
use crate::boundary::aws::{Aws, AwsError};
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::evidence::StageError;
use crate::external;
use crate::facts::{Fact, Facts, Host, mismatches};
use crate::host::agent_config;
use crate::ownership;
use crate::plan::{ECS_CONFIG, VENDOR_ECS_CONFIG};
use crate::retry::Deadline;
use crate::settings::fragment::Fragment;
use crate::settings::merge::{ignored_cluster_tags, merge};
use crate::settings::{Rank, Settings, Source, Sourced, Warning, user_data, warning};

pub use leftovers::leftovers;
pub use metadata::{InstanceMetadata, tags_by_key};

/// The result of gather: the settings of all ranks, and the facts.
#[derive(Debug)]
pub struct Gathered {
    /// The settings, merged by precedence.
    pub settings: Settings,
    pub(crate) facts: Facts,
    /// Settings that are valid but probably not intended.
    pub warnings: Vec<Warning>,
    /// Why a source that might have named the cluster could not be read. decide may still make a plan without it.
    pub unread: Option<StageError>,
    /// Why the settings that `config-from` names could not be used. Without them there may be a plan, but not one to apply.
    pub config_error: Option<StageError>,
    /// The connection to systemd that the units were read with.
    pub systemd: Result<Systemd, SystemdError>,
}

/// The size limit in bytes of all settings files together. Each key takes some hundred bytes of memory.
const MAX_SETTINGS_LENGTH: usize = crate::host::MAX_FILE_LENGTH;

/// The settings files of this host, by rank. The caller adds environment and command line.
pub fn local_settings(host_clients: &HostClients) -> Result<Vec<Fragment>, StageError> {
    let mut fragments = Vec::new();
    let mut left = MAX_SETTINGS_LENGTH;
    for (rank, path) in host::settings_files(&host_clients.disk)? {
        let Some(bytes) = host_clients.disk.read(&path, left).map_err(StageError::ReadSettings)? else {
            continue;
        };
        left -= bytes.len();
        let text = String::from_utf8(bytes).map_err(|error| crate::settings::SettingsError {
            place: path.clone(),
            what: format!("the file is not UTF-8 after byte {}", error.utf8_error().valid_up_to()),
            did_you_mean: None,
        })?;
        fragments.push(Fragment::from_toml(&text, rank, &path)?);
    }
    Ok(fragments)
}

/// Reads everything. `bus` is the time limit for the connection to systemd; `fragments` are the settings of files,
/// environment and command line; `deadline` is the deadline of the run. With `without_metadata` failed requests to the
/// metadata service are not an error.
pub async fn facts(
    host_clients: &HostClients,
    bus: Duration,
    mut fragments: Vec<Fragment>,
    deadline: Deadline,
    without_metadata: bool,
) -> Result<Gathered, StageError> {
    // There can be many agent variables, and none is needed before the end.
    let early = Settings { agent: BTreeMap::new(), ..merge(&fragments) };
    let imds_deadline = Deadline::after(early.imds_deadline.value).earliest(deadline);
    // Boxed: a join moves each future as a whole when it ends.
    let host = Box::pin(async {
        // Before any request: an external instance has no metadata service to wait for.
        let files = host::config_files(&host_clients.disk)?;
        if let Some(refusal) = external::in_files([(VENDOR_ECS_CONFIG, &files.0), (ECS_CONFIG, &files.1)]) {
            return Err(refusal.into());
        }
        let systemd = Systemd::connect(Deadline::after(bus).earliest(deadline)).await;
        Ok::<_, StageError>((host::host(&host_clients.disk, files, &systemd, &early.units_agent.value).await, systemd))
    });
    let metadata = Box::pin(metadata::read(&host_clients.imds, &early, imds_deadline).map(Ok));
    let ((host, systemd), metadata) = futures_util::future::try_join(host, metadata).await?;
    let (metadata, unread) = match metadata {
        Ok(metadata) => (metadata, None),
        Err(error) if without_metadata => (InstanceMetadata::unknown(&error), Some(error)),
        Err(error) => return Err(error),
    };
    let id = metadata.instance.get().map(|instance| instance.instance_id.clone());
    // Lowest within its rank: any later entry of the same rank overrides it.
    fragments.insert(0, of_earlier_run(&host, id.as_deref()));
    let file_index = fragments.len();
    fragments.push(of_ecs_config(&host));
    fragments.extend(user_data_settings(&metadata)?);
    let user_data = metadata.user_data;
    let mut facts = Facts {
        registry_auth_error: None,
        instance: metadata.instance,
        life_cycle: metadata.life_cycle,
        target_state: metadata.target_state,
        tags: metadata.tags,
        unread: None,
        user_data_mentions_agent: false,
        clusters: None,
        host,
    };
    let mut gathering = Gathering { host_clients, fragments, warnings: Vec::new(), unread, deadline };
    let config_error = gathering.add_more_settings(&facts).await.err();
    gathering.add_instance_tags(&mut facts, &early).await?;
    gathering.add_clusters(&mut facts, &early).await?;
    metadata::complete(&host_clients.imds, &merge(&gathering.fragments), &mut facts, imds_deadline).await;
    gathering.add_registry_auth(&mut facts).await;
    // User data may have changed the file during the requests, and the plan must be based on the current content.
    facts.host.etc_config = host::etc_config(&host_clients.disk)?;
    gathering.fragments[0] = of_earlier_run(&facts.host, id.as_deref());
    gathering.fragments[file_index] = of_ecs_config(&facts.host);
    facts.unread = gathering.unread.as_ref().map(|error| crate::redaction::error_chain(error));
    let settings = merge(&gathering.fragments);
    facts.user_data_mentions_agent =
        settings.units_early.value && user_data.as_deref().is_some_and(user_data::mentions_agent);
    gathering.warnings.extend(ignored_cluster_tags(&gathering.fragments, &settings));
    let of_fragments = gathering.fragments.into_iter().flat_map(|fragment| fragment.warnings);
    let warnings = gathering.warnings.into_iter().chain(of_fragments).collect();
    Ok(Gathered { settings, facts, warnings, unread: gathering.unread, config_error, systemd })
}

/// The cluster that the command line or the environment of an earlier run named.
fn of_earlier_run(host: &Host, instance_id: Option<&str>) -> Fragment {
    match (&host.written.cluster_source, ownership::own_cluster(host, instance_id)) {
        (Some(source), Some(cluster)) => Fragment::from_earlier(cluster, source.rank, &source.key),
        _ => Fragment::default(),
    }
}

fn of_ecs_config(host: &Host) -> Fragment {
    let foreign = ownership::foreign(host);
    Fragment::from_ecs_config(foreign.iter().map(|f| (f.path, f.key.as_str(), f.value.as_str())))
}

fn user_data_settings(metadata: &InstanceMetadata) -> Result<Option<Fragment>, StageError> {
    const PLACE: &str = "user data";
    let Some(bytes) = &metadata.user_data else { return Ok(None) };
    let text = user_data::settings_in(bytes).map_err(|error| crate::settings::SettingsError {
        place: PLACE.to_owned(),
        what: error.to_string(),
        did_you_mean: None,
    })?;
    if let (None, Some(what)) = (&text, user_data::skipped(bytes)) {
        let text = format!("the settings in the user data are not read, because they are in a {what}");
        let warnings = vec![Warning::new(&warning::USER_DATA_SKIPPED, text, None)];
        let mut fragment = Fragment::default();
        fragment.warnings = warnings;
        return Ok(Some(fragment));
    }
    Ok(text.map(|text| Fragment::from_toml(&text, Rank::UserData, PLACE)).transpose()?)
}

struct Gathering<'a> {
    host_clients: &'a HostClients,
    fragments: Vec<Fragment>,
    warnings: Vec<Warning>,
    unread: Option<StageError>,
    deadline: Deadline,
}

impl Gathering<'_> {
    async fn aws(&self, facts: &Facts) -> Result<Aws, StageError> {
        let region = facts.instance.get().map(|instance| instance.region.as_str()).unwrap_or_default();
        Ok(self.host_clients.aws(region).await?)
    }

    /// Adds the settings that `config-from` names.
    async fn add_more_settings(&mut self, facts: &Facts) -> Result<(), StageError> {
        let named = merge(&self.fragments).config_from;
        if named.value.is_some() {
            let aws = self.aws(facts).await?;
            self.fragments.push(remote::more_settings(&aws, &named, self.deadline).await?);
        }
        Ok(())
    }

    /// Adds the credentials that `registry.auth` names. If they cannot be read, those that an earlier run wrote are kept, and the
    /// instance joins.
    async fn add_registry_auth(&mut self, facts: &mut Facts) {
        let settings = merge(&self.fragments);
        let Sourced { value: Some(value), source } = settings.registry_auth else { return };
        // The two belong together: half of them would be no login.
        let overrides = |key: &str| settings.agent.get(key).is_some_and(|own| own.source.rank > source.rank);
        if let Some(key) = remote::AUTH_VARIABLES.into_iter().find(|key| overrides(key)) {
            let text = format!("`registry.auth` is ignored, because a source of a higher rank sets {key}");
            return self.warnings.push(Warning::new(&warning::REGISTRY_AUTH_NOT_READ, text, Some(source)));
        }
        let read = match self.aws(facts).await {
            Ok(aws) => remote::registry_auth(&aws, &value, &source, self.deadline).await,
            Err(error) => Err(crate::redaction::error_chain(&error)),
        };
        let error = match read {
            Ok(fragment) => return self.fragments.push(fragment),
            Err(error) => error,
        };
        let id = facts.instance.get().map(|instance| instance.instance_id.as_str());
        let earlier = ownership::own_value(&facts.host, id, remote::AUTH_VARIABLES[1]);
        let kept = earlier.and_then(|data| remote::of_agent(&data, &source, &value).ok());
        let then = if kept.is_some() {
            "the credentials of an earlier run are kept"
        } else {
            "an earlier run has written none"
        };
        self.fragments.extend(kept);
        let text = format!("`registry.auth` not read; {then}: {error}");
        self.warnings.push(Warning::new(&warning::REGISTRY_AUTH_NOT_READ, text, Some(source)));
        facts.registry_auth_error = Some(error);
    }

    /// Adds the instance tags: from IMDS, or from EC2 if IMDS has none and no higher rank names the cluster.
    async fn add_instance_tags(&mut self, facts: &mut Facts, early: &Settings) -> Result<(), StageError> {
        let so_far = merge(&self.fragments);
        let asks = facts.tags.get().is_none() && tags::may_be_described(&so_far);
        if let (true, Fact::Known(instance)) = (asks, facts.instance.clone()) {
            // If another source names the cluster, there is no wait for a tag, and an error is only a warning.
            let needed = so_far.cluster.is_none() && so_far.cluster_tags.value.is_empty();
            // A tag can take precedence over another source, and an earlier run may have left a cluster to use without one.
            // Neither is worth a boot that waits as long as one that would fail.
            let is_remembered = ownership::own_cluster(&facts.host, Some(&instance.instance_id)).is_some();
            let short = Deadline::after(early.tags_wait.value).earliest(self.deadline);
            let query = tags::TagsQuery {
                instance: &instance,
                prefix: &early.tags_prefix.value,
                is_needed: needed,
                wait: early.tags_wait.value,
                while_throttled: if needed && !is_remembered { self.deadline } else { short },
                named_meanwhile: &|| {
                    let now = host::etc_config(&self.host_clients.disk).unwrap_or_default();
                    let changed = now != facts.host.etc_config;
                    changed && agent_config(&self.host_clients.disk).contains_key("ECS_CLUSTER")
                },
            };
            let aws = self.aws(facts).await?;
            match tags::from_api(&aws, query, self.deadline).await {
                Ok(tags) => facts.tags = Fact::Known(tags),
                Err(error) if needed => {
                    facts.tags = Fact::Unknown(error.to_string());
                    self.unread = Some(error.into());
                }
                Err(error) => {
                    facts.tags = Fact::Unknown(error.to_string());
                    self.warn_of_tags(&error);
                }
            }
        }
        if let Fact::Known(tags) = &facts.tags {
            let prefix = &early.tags_prefix.value;
            let trust = early.tags_settings.value;
            self.fragments.push(Fragment::from_tags(&tags.tags, prefix, trust, Rank::InstanceTag, tags.place)?);
        }
        Ok(())
    }

    fn warn_of_tags(&mut self, error: &AwsError) {
        self.warnings.push(Warning::new(
            &warning::TAGS_UNKNOWN,
            format!("instance tags not read; another source names the cluster: {error}"),
            Some(Source::new(Rank::InstanceTag, "ec2:DescribeTags", "")),
        ));
    }

    /// Adds the clusters, only if the cluster is chosen by tags. The tags of the chosen cluster are settings too.
    async fn add_clusters(&mut self, facts: &mut Facts, early: &Settings) -> Result<(), StageError> {
        let settings = merge(&self.fragments);
        if !clusters::are_searched(&settings) || facts.instance.get().is_none() {
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
