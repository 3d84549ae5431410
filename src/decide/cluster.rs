//! Decides the cluster, in this order: the source with the highest rank names it; it is chosen by its tags; it is
//! undecided while user data can still name one. Otherwise decide refuses. The instance never joins `default` by
//! accident.

use crate::agent_variables;
use crate::boundary::aws::Cluster;
use crate::facts::{Fact, Facts, Instance, SavedState, mismatches, user_data_may_run};
use crate::ownership;
use crate::plan::{Refusal, cluster_name, region_and_account};
use crate::settings::{EARLIER, Rank, Settings, Source, Sourced, TagsCluster, Warning, warning};

/// Decides the cluster; `None` while it is undecided.
pub(super) fn choose(
    settings: &Settings,
    facts: &Facts,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Sourced<String>>, Refusal> {
    let wanted = &settings.cluster_tags;
    if let Some(named) = &settings.cluster {
        if agent_variables::check("ECS_CLUSTER", &named.value).is_err() {
            return Err(Refusal::ClusterInvalid { value: named.value.clone(), source_of: named.source.clone() });
        }
        if !wanted.value.is_empty() && wanted.source.rank > named.source.rank {
            warnings.push(Warning::new(
                &warning::CLUSTER_TAGS_IGNORED,
                format!("`cluster-tags` is ignored, because the cluster is named by {}", named.source),
                Some(wanted.source.clone()),
            ));
        }
        return Ok(Some(Sourced::new(in_saved_form(facts, &named.value), named.source.clone())));
    }
    if !wanted.value.is_empty() {
        let cluster = by_tags(settings, facts.clusters.as_deref().unwrap_or_default())?;
        let source = Source::new(Rank::ClusterTags, "ecs:DescribeClusters", wanted_tags(settings));
        return Ok(Some(Sourced::new(in_saved_form(facts, &cluster.name), source)));
    }
    if let Some(cluster) = cluster_of_earlier_run(facts, warnings) {
        return Ok(Some(cluster));
    }
    // If systemd cannot be asked yet, cloud-init's own record is used.
    let may_still_name = match &facts.host.units {
        Fact::Known(units) => user_data_may_run(&units.cloud_final),
        Fact::Unknown(_) => facts.host.user_data_runs.get() == Some(&true),
    };
    if may_still_name {
        return Ok(None);
    }
    Err(Refusal::NoCluster { evidence_lines: evidence_lines(settings, facts) })
}

/// The cluster that an earlier run wrote, if a source that might have named it cannot be read now. So a throttled call
/// does not remove an instance from its cluster.
fn cluster_of_earlier_run(facts: &Facts, warnings: &mut Vec<Warning>) -> Option<Sourced<String>> {
    let why = facts.unread.as_ref()?;
    let instance_id = facts.instance.get().map(|instance| instance.instance_id.as_str());
    let cluster = ownership::own_cluster(&facts.host, instance_id)?;
    let source = Source::new(Rank::InstanceTag, EARLIER, "cluster");
    warnings.push(Warning::new(
        &warning::CLUSTER_OF_BEFORE,
        format!("the source that names the cluster could not be read; the cluster is unchanged: {why}"),
        Some(source.clone()),
    ));
    Some(Sourced::new(in_saved_form(facts, &cluster), source))
}

/// The cluster in the form (name or ARN) that the agent saved. The agent compares the saved and the configured cluster
/// as text, and exits with 5 if one is the name and the other the ARN of the same cluster.
fn in_saved_form(facts: &Facts, cluster: &str) -> String {
    let saved = facts.host.saved.as_ref().and_then(|saved| saved.state.get()).and_then(Option::as_ref);
    let here = facts.instance.get().map(|instance| instance.instance_id.as_str());
    saved
        .filter(|state| state.ec2_instance_id.as_deref() == here && here.is_some())
        .filter(|state| is_same_cluster(facts, state, cluster))
        .and_then(|state| state.cluster.as_deref())
        .unwrap_or(cluster)
        .to_owned()
}

/// Whether one of the saved and the named cluster is the ARN of the other. A cluster of the same name in another region
/// or account is another cluster.
fn is_same_cluster(facts: &Facts, saved: &SavedState, named: &str) -> bool {
    let Some(cluster) = saved.cluster.as_deref() else { return false };
    let arn = if named.starts_with("arn:") { named } else { cluster };
    let is_here = |(region, account)| {
        let registered = saved.container_instance_arn.as_deref().and_then(region_and_account);
        registered.map_or_else(
            || {
                let instance = facts.instance.get();
                let is_account = |instance: &Instance| instance.account_id.as_deref().is_none_or(|own| own == account);
                instance.is_some_and(|instance| instance.region == region && is_account(instance))
            },
            |registered| registered == (region, account),
        )
    };
    cluster.starts_with("arn:") != named.starts_with("arn:")
        && cluster_name(cluster) == cluster_name(named)
        && region_and_account(arn).is_some_and(is_here)
}

fn by_tags<'a>(settings: &Settings, clusters: &'a [Cluster]) -> Result<&'a Cluster, Refusal> {
    let wanted = &settings.cluster_tags.value;
    let matching: Vec<&Cluster> = clusters.iter().filter(|cluster| mismatches(cluster, wanted).is_empty()).collect();
    match matching.as_slice() {
        [one] => Ok(one),
        [] => Err(Refusal::NoClusterMatches {
            wanted: wanted_tags(settings),
            candidates: match clusters {
                [] => vec!["there is no cluster in this account and region".to_owned()],
                _ => clusters.iter().map(|c| format!("`{}`: {}", c.name, mismatches(c, wanted).join(", "))).collect(),
            },
        }),
        several => Err(Refusal::SeveralClustersMatch {
            wanted: wanted_tags(settings),
            names: several.iter().map(|cluster| format!("`{}`", cluster.name)).collect(),
        }),
    }
}

/// The wanted tags as text: `k=v,k2=v2` in backticks.
fn wanted_tags(settings: &Settings) -> String {
    let pairs: Vec<_> = settings.cluster_tags.value.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("`{}`", pairs.join(","))
}

fn evidence_lines(settings: &Settings, facts: &Facts) -> Vec<String> {
    let tag = format!("`{}cluster`", settings.tags_prefix.value);
    let tags = match &facts.tags {
        _ if settings.tags_cluster.value == TagsCluster::Never => {
            format!("the tag {tag} is ignored: `tags.cluster` is `never` ({})", settings.tags_cluster.source)
        }
        Fact::Known(tags) => format!("the instance has no tag {tag} ({})", tags.place),
        Fact::Unknown(why) => format!("the instance's tags are unknown: {why}"),
    };
    vec![tags, "no setting, environment variable, `#ecs-bootstrap` user data or `ecs.config` line names one".to_owned()]
}
