//! Causes that lie in the cluster, and in the region and account that it is looked for in.

use std::time::Duration;

use super::role::has_static_keys;
use super::{Cause, Class, Layer, api};
use crate::boundary::aws::Cluster;
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::plan::{Refusal, cluster_name};
use crate::readiness::{joined_other_cluster, region_and_account};
use crate::redaction;

/// What the causes of this layer have in common.
const PLAIN: Cause =
    Cause { layer: Layer::Cluster, exit: Exit::Cluster, exit_after_deadline: Exit::Cluster, ..Cause::PLAIN };
const REGION: &str = "AWS_DEFAULT_REGION";
/// The agent's and the service's words for a cluster that they do not find.
const NOT_THERE: [&str; 2] = ["Cluster not found", "ClusterNotFoundException"];

/// Decided by two numbers, before any call.
pub(super) static OTHER_ACCOUNT: Cause = Cause {
    id: "cluster-other-account",
    title: "the cluster is of another account than the instance",
    symptoms: "AccessDenied or InvalidParameter at the registration",
    proof: "the account in the cluster's ARN is not the one in the identity document; with register-denied they are the same",
    look_alikes: &["register-denied", "cluster-not-found"],
    remedy: "name a cluster of the instance's own account: an instance joins no other",
    source: "Amazon ECS API Reference, RegisterContainerInstance",
    check: |evidence| {
        let ours = evidence.expectation.as_ref()?.account.as_deref()?;
        let (_, theirs) = of_wanted(evidence)?;
        (ours != theirs)
            .then(|| vec![format!("the cluster's ARN names account `{theirs}`, the instance is of `{ours}`")])
    },
    ..PLAIN
};

/// A region that somebody wrote down once.
pub(super) static WRONG_REGION: Cause = Cause {
    id: "wrong-region",
    title: "the agent looks for its cluster in another region than the instance's",
    symptoms: "`Cluster not found`, or a cluster of the same name in another region is joined",
    proof: "AWS_DEFAULT_REGION in ecs.config, or the region in the cluster's ARN, is not the instance's; with \
            cluster-not-found it is",
    look_alikes: &["cluster-not-found", "dns-name-unknown"],
    remedy: "remove AWS_DEFAULT_REGION from ecs.config (AWSRegion from ecs.config.json), or name a cluster of the instance's own region",
    source: "agent#74; amazon-ecs-cli#232",
    check: |evidence| {
        let home = evidence.expectation.as_ref()?.region.as_deref()?;
        let said = said_region(evidence);
        let agents = said.map_or(home, |(said, _)| said);
        if let Some((wanted, _)) = of_wanted(evidence).filter(|(wanted, _)| *wanted != agents) {
            return Some(vec![format!(
                "the cluster's ARN names region `{wanted}`, the agent calls `{}`",
                region(agents)
            )]);
        }
        let (said, place) = said.filter(|(said, _)| *said != home)?;
        // Some mean it: it is the cause where it leads nowhere.
        let refused = evidence.registration_refused(&NOT_THERE);
        let gave_up = evidence.agent_exited_with(5).then(|| "the agent exited with code 5".to_owned());
        let lost = evidence.agent_logged(&["no such host"]);
        let seen: Vec<String> = [refused, gave_up, lost].into_iter().flatten().collect();
        let told = format!("{place} is `{}`, the instance runs in `{home}`", region(said));
        (!seen.is_empty()).then(|| [told].into_iter().chain(seen).collect())
    },
    note: |evidence| {
        let home = evidence.expectation.as_ref()?.region.as_deref()?;
        let (said, place) = said_region(evidence).filter(|(said, _)| *said != home)?;
        let is_joined = evidence.container_instance_arn().is_some();
        is_joined.then(|| vec![format!("{place} is `{}`, the instance runs in `{home}`", region(said))])
    },
    ..PLAIN
};

/// It was deleted, or its making failed.
pub(super) static INACTIVE: Cause = Cause {
    id: "cluster-inactive",
    title: "the cluster is not ACTIVE",
    symptoms: "`Cluster not found`, after a stack was made again",
    proof: "ecs:DescribeClusters knows it with another status; with cluster-not-found it does not know it",
    look_alikes: &["cluster-not-found", "cluster-provisioning"],
    remedy: "create it again (`aws ecs create-cluster --cluster-name NAME`), or name the one that took its place",
    source: "agent#583; aws-batch-genomics#9; Amazon ECS API Reference, Cluster",
    check: |evidence| {
        let cluster = described(evidence)?;
        let gave_up = evidence.agent_exited_with(5).then(|| "the agent exited with code 5".to_owned());
        // An agent that gave up does not see it become ACTIVE.
        let is_dead = matches!(cluster.status.as_str(), "INACTIVE" | "DEPROVISIONING" | "FAILED");
        let is_missed = cluster.status == "PROVISIONING" && gave_up.is_some();
        (is_dead || is_missed).then(|| [status(cluster)].into_iter().chain(gave_up).collect())
    },
    ..PLAIN
};

/// Its capacity providers are being attached.
pub(super) static PROVISIONING: Cause = Cause {
    id: "cluster-provisioning",
    title: "the cluster is still being made",
    symptoms: "the agent does not register in a stack that makes its cluster beside its instances",
    proof: "ecs:DescribeClusters says PROVISIONING; with cluster-inactive it says another status, or the agent gave up",
    look_alikes: &["cluster-inactive", "cluster-not-found"],
    class: Class::Retry,
    exit: Exit::Aws,
    remedy: "let the instances depend on the cluster (`depends_on`, DependsOn); now wait",
    source: "Amazon ECS API Reference, Cluster",
    check: |evidence| {
        let cluster = described(evidence).filter(|cluster| cluster.status == "PROVISIONING")?;
        (!evidence.agent_exited_with(5)).then(|| vec![status(cluster)])
    },
    ..PLAIN
};

/// The agent exits 5 on it.
pub(super) static NOT_FOUND: Cause = Cause {
    id: "cluster-not-found",
    title: "the cluster does not exist in this account and region",
    symptoms: "the agent exits with code 5 (with Debian's unit again and again), its log says `Cluster not found.`",
    proof: "ecs:DescribeClusters does not know it, or the registration says so and the agent gave up; with wrong-region it is \
            looked for elsewhere, with cluster-inactive it is known",
    look_alikes: &["wrong-region", "cluster-inactive", "config-quoted"],
    remedy: "create it (`aws ecs create-cluster --cluster-name NAME`), or correct the name and the region",
    source: "agent#826 #750 #2146; Amazon ECS API Reference, ClusterNotFoundException",
    check: |evidence| {
        let is_explained = [&OTHER_ACCOUNT, &WRONG_REGION].iter().any(|cause| (cause.check)(evidence).is_some());
        if is_explained || described(evidence).is_some_and(|cluster| cluster.status != "ACTIVE") {
            return None;
        }
        let wanted = evidence.expectation.as_ref().and_then(|expected| expected.cluster.as_deref());
        let missing = match &evidence.cluster {
            Some(Ok(described)) if !described.missing.is_empty() && asks_as_we_do(evidence) => Some(format!(
                "ecs:DescribeClusters knows no cluster `{}`",
                redaction::cluster(wanted.unwrap_or_default())
            )),
            _ => None,
        };
        let logged = evidence.registration_refused(&NOT_THERE);
        let gave_up = evidence.agent_exited_with(5).then(|| "the agent exited with code 5".to_owned());
        // The agent makes `default` where it is missing.
        let missing = missing.filter(|_| wanted != Some("default") || gave_up.is_some());
        if missing.is_none() && (logged.is_none() || gave_up.is_none()) {
            return None;
        }
        let wanted = missing
            .is_none()
            .then(|| wanted.map(|name| format!("the wanted cluster is `{}`", redaction::cluster(name))))
            .flatten();
        // The agent has asked before it was there, or asks somewhere else than we do.
        let now = described(evidence).map(status);
        Some([missing, wanted, logged, gave_up, now].into_iter().flatten().collect())
    },
    ..PLAIN
};

/// The agent retries, and it cannot help.
pub(super) static QUOTA: Cause = Cause {
    id: "cluster-quota",
    title: "the cluster holds as many container instances as it may",
    symptoms: "as register-throttled, for ever: the unit is active, and nothing answers on :51678",
    proof: "LimitExceededException for this registration; with register-throttled it is ThrottlingException",
    look_alikes: &["register-throttled"],
    class: Class::Lasting(Duration::from_secs(60)),
    exit: Exit::Aws,
    remedy: "raise the quota \"Container instances per cluster\" in Service Quotas, or use a second cluster",
    source: "Amazon ECS Developer Guide, \"Service quotas and API throttling limits\"",
    check: |evidence| api::retried(evidence, "LimitExceededException"),
    ..PLAIN
};

/// Chosen by tags, and none fits.
pub(super) static NO_CLUSTER_MATCHES: Cause = Cause {
    id: "no-cluster-matches",
    title: "no ACTIVE cluster carries all the wanted tags",
    symptoms: "nothing was written, and the agent was not started",
    proof: "each cluster that ecs:ListClusters knows lacks a tag or is not ACTIVE, as listed",
    look_alikes: &["several-clusters-match", "no-cluster-named"],
    remedy: "tag the cluster, correct `cluster-tags`, or name the cluster",
    source: "ecs-bootstrap's setting `cluster-tags`",
    check: |evidence| match &evidence.stop {
        Some(StageError::Refused(refusal @ Refusal::NoClusterMatches { candidates, .. })) => {
            Some([refusal.to_string()].into_iter().chain(candidates.iter().cloned()).collect())
        }
        _ => None,
    },
    ..PLAIN
};

/// Chosen by tags, and the choice is not one.
pub(super) static SEVERAL_CLUSTERS_MATCH: Cause = Cause {
    id: "several-clusters-match",
    title: "several ACTIVE clusters carry all the wanted tags",
    symptoms: "nothing was written, and the agent was not started",
    proof: "the clusters are named, each of which carries all the wanted tags",
    look_alikes: &["no-cluster-matches"],
    remedy: "add a tag to `cluster-tags` that only the wanted one carries, or name the cluster",
    source: "ecs-bootstrap's setting `cluster-tags`",
    check: |evidence| match &evidence.stop {
        Some(StageError::Refused(refusal @ Refusal::SeveralClustersMatch { names, .. })) => {
            Some(vec![refusal.to_string(), names.join(", ")])
        }
        _ => None,
    },
    ..PLAIN
};

/// The agent saw no cluster. Why it did not lies in an earlier layer, which then is named in its place.
pub(super) static JOINED_DEFAULT: Cause = Cause {
    id: "joined-default",
    title: "the instance joined `default`, and another cluster was wanted",
    symptoms: "the wanted cluster stays empty, and `default`, perhaps made for it, has the instance",
    proof: "the agent tells that it is in `default`; what kept ecs.config from naming the cluster is a cause of an earlier \
            layer where it can be seen",
    look_alikes: &["cluster-other-than-wanted", "config-late", "user-data-failed"],
    remedy: "the agent started before `ecs.config` named the cluster: `ecs-bootstrap reset-agent --yes`, and deregister \
             the instance from `default`",
    source: "ecs-refarch#23; tf#4202; agent#139",
    check: |evidence| joined_other_cluster(evidence).filter(|(actual, _)| *actual == "default").map(|(_, seen)| seen),
    when_registered: true,
    ..PLAIN
};

/// Another one, by an older file or saved state.
pub(super) static JOINED_OTHER: Cause = Cause {
    id: "cluster-other-than-wanted",
    title: "the instance joined another cluster than the wanted one",
    symptoms: "the wanted cluster stays empty, and another has the instance",
    proof: "the agent tells another cluster, or its ARN is of another one; with joined-default that is `default`",
    look_alikes: &["joined-default", "cluster-mismatch-saved"],
    remedy: "`ecs-bootstrap reset-agent --yes`, and deregister the instance from the other cluster",
    source: "agent#887; ecs-refarch#23",
    check: |evidence| joined_other_cluster(evidence).filter(|(actual, _)| *actual != "default").map(|(_, seen)| seen),
    when_registered: true,
    ..PLAIN
};

fn of_wanted(evidence: &Evidence) -> Option<(&str, &str)> {
    region_and_account(evidence.expectation.as_ref()?.cluster.as_deref()?)
}

/// The region that the agent's files name, and where.
fn said_region(evidence: &Evidence) -> Option<(&str, &'static str)> {
    let variable = evidence.config.get(REGION).map(|said| said.trim()).filter(|said| !said.is_empty());
    let json = || Some((evidence.files.json_region.as_deref()?, "AWSRegion in ecs.config.json"));
    variable.map(|said| (said, "AWS_DEFAULT_REGION in ecs.config")).or_else(json)
}

/// A region as it may be shown.
fn region(said: &str) -> String {
    redaction::variable(REGION, said)
}

/// Whether the agent asks the same account and region as we do: then what we are told holds for it too.
fn asks_as_we_do(evidence: &Evidence) -> bool {
    let home = evidence.expectation.as_ref().and_then(|expected| expected.region.as_deref());
    let is_elsewhere = said_region(evidence).is_some_and(|(said, _)| Some(said) != home);
    !is_elsewhere && !has_static_keys(evidence) && !evidence.config.contains_key("ECS_BACKEND_HOST")
}

/// The wanted cluster, as ECS has it where the agent asks.
fn described(evidence: &Evidence) -> Option<&Cluster> {
    if !asks_as_we_do(evidence) {
        return None;
    }
    let wanted = cluster_name(evidence.expectation.as_ref()?.cluster.as_deref()?);
    evidence.cluster.as_ref()?.as_ref().ok()?.clusters.iter().find(|cluster| cluster.name == wanted)
}

fn status(cluster: &Cluster) -> String {
    format!("ecs:DescribeClusters says that `{}` is {}", cluster.name, cluster.status)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
    use super::*;
    use crate::boundary::agent::Metadata;
    use crate::boundary::aws::DescribedClusters;
    use crate::evidence::agent_log::last_attempt;
    use crate::plan::Expectation;

    fn expecting(cluster: &str) -> Evidence {
        let expectation = Expectation {
            cluster: Some(cluster.to_owned()),
            region: Some("eu-west-1".to_owned()),
            account: Some("1".to_owned()),
            agent_unit: "ecs.service".to_owned(),
            ..Expectation::default()
        };
        Evidence { expectation: Some(expectation), ..Evidence::default() }
    }

    fn gave_up(mut evidence: Evidence) -> Evidence {
        let line = b"level=error msg=\"Unable to register as a container instance with ECS\" error=\"ClientException: Cluster not found.\"\n";
        evidence.agent_log = last_attempt(line);
        let mut units = healthy_units();
        units.agent.active_state = Some("failed".to_owned());
        units.agent.exec_main_status = Some(5);
        evidence.units = Some(Ok(units));
        evidence
    }

    fn joined(actual: &str, wanted: &str) -> Vec<&'static str> {
        registered(actual, actual, wanted)
    }

    /// `actual` is what the agent says, `in_arn` where it is.
    fn registered(actual: &str, in_arn: &str, wanted: &str) -> Vec<&'static str> {
        ids(&Evidence {
            introspection: Some(Ok(Metadata {
                cluster: actual.to_owned(),
                container_instance_arn: format!("arn:aws:ecs:eu-west-1:1:container-instance/{in_arn}/1"),
                version: String::new(),
            })),
            ..expecting(wanted)
        })
    }

    #[test]
    fn a_name_and_the_arn_of_the_same_cluster_are_the_same() {
        assert_eq!(joined("prod", "arn:aws:ecs:eu-west-1:1:cluster/prod"), Vec::<&str>::new());
        assert_eq!(joined("prod", "arn:aws:ecs:us-east-1:1:cluster/prod"), ["cluster-other-than-wanted"]);
        assert_eq!(joined("default", "prod"), ["joined-default"]);
        assert_eq!(joined("default", "default"), Vec::<&str>::new());
        assert_eq!(joined("stage", "prod"), ["cluster-other-than-wanted"]);
        assert_eq!(registered("prod", "stage", "prod"), ["cluster-other-than-wanted"]);
        assert_eq!(registered("prod", "default", "prod"), ["joined-default"]);
    }

    #[test]
    fn a_log_line_alone_does_not_say_that_the_cluster_is_missing() {
        let mut evidence = gave_up(expecting("prod"));
        assert_eq!(ids(&evidence)[0], "cluster-not-found");
        evidence.units = None;
        assert_eq!(ids(&evidence), ["register-refused"]);
    }

    #[test]
    fn another_account_and_another_region_are_told_by_the_arn() {
        assert_eq!(ids(&expecting("arn:aws:ecs:eu-west-1:1:cluster/prod")), Vec::<&str>::new());
        assert_eq!(ids(&expecting("arn:aws:ecs:eu-west-1:2:cluster/prod")), ["cluster-other-account"]);
        assert_eq!(ids(&expecting("arn:aws:ecs:eu-west-2:1:cluster/prod")), ["wrong-region"]);
        let mut meant = expecting("arn:aws:ecs:eu-west-2:1:cluster/prod");
        meant.config.insert(REGION.to_owned(), "eu-west-2".to_owned());
        assert_eq!(ids(&meant), Vec::<&str>::new());
    }

    #[test]
    fn a_region_of_the_file_counts_once_it_leads_nowhere() {
        let mut evidence = expecting("prod");
        evidence.config.insert(REGION.to_owned(), "us-east-1".to_owned());
        assert_eq!(ids(&evidence), Vec::<&str>::new());
        assert_eq!(ids(&gave_up(evidence))[0], "wrong-region");
        assert_eq!(ids(&gave_up(expecting("prod")))[0], "cluster-not-found");
    }

    #[test]
    fn what_we_are_told_of_our_region_does_not_hold_for_an_agent_that_asks_another_or_as_somebody_else() {
        let described = || DescribedClusters { clusters: Vec::new(), missing: vec!["prod".to_owned()] };
        let mut evidence = Evidence { cluster: Some(Ok(described())), ..expecting("prod") };
        assert_eq!(ids(&evidence), ["cluster-not-found"]);
        for (key, value) in [(REGION, "us-east-1"), ("AWS_ACCESS_KEY_ID", "AKIA"), ("ECS_BACKEND_HOST", "ecs.test")] {
            evidence.config = [(key.to_owned(), value.to_owned())].into();
            assert_eq!(ids(&evidence), Vec::<&str>::new(), "{key}");
        }
        evidence.config = [(REGION.to_owned(), "eu-west-1".to_owned())].into();
        assert_eq!(ids(&evidence), ["cluster-not-found"]);
    }

    #[test]
    fn a_status_is_final_but_for_one() {
        let with = |status: &str| {
            let (name, arn) = ("prod".to_owned(), "arn:aws:ecs:eu-west-1:1:cluster/prod".to_owned());
            let cluster = Cluster { name, arn, status: status.to_owned(), tags: Default::default() };
            let described = DescribedClusters { clusters: vec![cluster], missing: Vec::new() };
            Evidence { cluster: Some(Ok(described)), ..expecting("prod") }
        };
        for status in ["INACTIVE", "DEPROVISIONING", "FAILED"] {
            assert_eq!(ids(&with(status)), ["cluster-inactive"]);
        }
        assert_eq!(ids(&with("PROVISIONING")), ["cluster-provisioning"]);
        assert_eq!(ids(&gave_up(with("PROVISIONING")))[0], "cluster-inactive");
        assert_eq!(ids(&with("ACTIVE")), Vec::<&str>::new());
    }
}
