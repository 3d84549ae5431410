//! Causes in the cluster, and in the region and account in which the agent looks for it.

use std::time::Duration;

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::credentials::has_static_keys;
use super::view::registration::{GAVE_UP_TEXT, retried};
use crate::boundary::aws::Cluster;
use crate::evidence::overrides::EndpointOverride;
use crate::evidence::{Evidence, StageError};
use crate::exit::Exit;
use crate::facts::AGENT_UNITS;
use crate::plan::{Refusal, cluster_name, region_and_account};
use crate::readiness::joined_other_cluster;
use crate::redaction;

/// The fields that the causes of this layer share.
const DEFAULTS: Cause =
    Cause { layer: Layer::Cluster, exit: Exit::Cluster, exit_after_deadline: Exit::Cluster, ..Cause::DEFAULTS };
const REGION: &str = "AWS_DEFAULT_REGION";
/// The agent's error and the service's error code for a cluster that does not exist.
const CLUSTER_NOT_FOUND: [&str; 2] = ["Cluster not found", "ClusterNotFoundException"];

/// Known from two account ids, before any call.
pub(super) static OTHER_ACCOUNT: Cause = Cause {
    id: "cluster-other-account",
    title: "the cluster is in a different AWS account than the instance",
    symptoms: "AccessDenied or InvalidParameter when the agent registers",
    proof: "the account in the cluster's ARN differs from the account in the instance identity document; if the \
            accounts are equal, the cause is `register-denied`",
    look_alikes: &["register-denied", "cluster-not-found"],
    remedy: "name a cluster of the instance's own account, because an instance cannot join one of another account; then run \
             `ecs-bootstrap run`",
    source: "Amazon ECS API Reference, RegisterContainerInstance",
    check: |evidence| {
        let own = evidence.expectation.as_ref()?.account.as_deref()?;
        let (_, wanted) = wanted_region_and_account(evidence)?;
        (own != wanted)
            .then(|| vec![format!("the cluster's ARN names account `{wanted}`, the instance is in account `{own}`")])
    },
    ..DEFAULTS
};

/// Usually a region that was written into a file once and is wrong now.
pub(super) static WRONG_REGION: Cause = Cause {
    id: "wrong-region",
    title: "the agent looks for its cluster in a region other than the region of the instance",
    symptoms: "`Cluster not found` in the agent's log, or the instance joins a cluster of the same name in another \
               region",
    proof: "AWS_DEFAULT_REGION in ecs.config, or the region in the cluster's ARN, differs from the region of the \
            instance; if the regions are equal, the cause is `cluster-not-found`",
    look_alikes: &["cluster-not-found", "dns-name-unknown"],
    remedy: "remove AWS_DEFAULT_REGION from ecs.config (AWSRegion from ecs.config.json), or name a cluster in the \
             region of the instance; then run `ecs-bootstrap run`",
    source: "aws/amazon-ecs-agent#74; aws/amazon-ecs-cli#232",
    check: |evidence| {
        let home = evidence.expectation.as_ref()?.region.as_deref()?;
        let configured = configured_region(evidence);
        let called = configured.map_or(home, |(region, _)| region);
        if let Some((wanted, _)) = wanted_region_and_account(evidence).filter(|(wanted, _)| *wanted != called) {
            return Some(vec![format!(
                "the cluster's ARN names region `{wanted}`, the agent calls region `{}`",
                shown_region(called)
            )]);
        }
        let (configured, place) = configured.filter(|(region, _)| *region != home)?;
        // Another region may be intended, so it is a cause only if the agent failed there.
        let refused = evidence.registration_refused(&CLUSTER_NOT_FOUND);
        let gave_up = evidence.agent_exited_with(5).then(|| GAVE_UP_TEXT.to_owned());
        let lost = evidence.agent_logged(&["no such host"]);
        let seen: Vec<String> = [refused, gave_up, lost].into_iter().flatten().collect();
        let difference = region_difference(configured, place, home);
        (!seen.is_empty()).then(|| [difference].into_iter().chain(seen).collect())
    },
    note: |evidence| {
        let home = evidence.expectation.as_ref()?.region.as_deref()?;
        let (configured, place) = configured_region(evidence).filter(|(region, _)| *region != home)?;
        let is_joined = evidence.container_instance_arn().is_some();
        is_joined.then(|| vec![region_difference(configured, place, home)])
    },
    ..DEFAULTS
};

/// The cluster was deleted, or its creation failed.
pub(super) static INACTIVE: Cause = Cause {
    id: "cluster-inactive",
    title: "the cluster is not ACTIVE",
    symptoms: "`Cluster not found` in the agent's log, after a stack was deleted and created again",
    proof: "ecs:DescribeClusters returns the cluster with a status other than ACTIVE; if it does not return the \
            cluster, the cause is `cluster-not-found`",
    look_alikes: &["cluster-not-found", "cluster-provisioning"],
    remedy: "create it again (`aws ecs create-cluster --cluster-name NAME`), or name the cluster that replaced it; \
             then run `ecs-bootstrap run`",
    source: "aws/amazon-ecs-agent#583; aws-samples/aws-batch-genomics#9; Amazon ECS API Reference, Cluster",
    check: |evidence| {
        let cluster = described(evidence)?;
        let gave_up = evidence.agent_exited_with(5).then(|| GAVE_UP_TEXT.to_owned());
        // An agent that has given up does not register when the cluster becomes ACTIVE.
        let is_dead = matches!(cluster.status.as_str(), "INACTIVE" | "DEPROVISIONING" | "FAILED");
        let is_missed = cluster.status == "PROVISIONING" && gave_up.is_some();
        (is_dead || is_missed).then(|| [status(cluster)].into_iter().chain(gave_up).collect())
    },
    ..DEFAULTS
};

/// Its capacity providers are being attached.
pub(super) static PROVISIONING: Cause = Cause {
    id: "cluster-provisioning",
    title: "the cluster is still being created",
    symptoms: "the agent does not register, in a stack that creates the cluster and its instances at the same time",
    proof: "ecs:DescribeClusters returns the status PROVISIONING; the cause is `cluster-inactive` if the status is \
            INACTIVE, DEPROVISIONING or FAILED, or if the agent has exited with code 5, and `cluster-not-found` if \
            ecs:DescribeClusters does not find the cluster",
    look_alikes: &["cluster-inactive", "cluster-not-found"],
    class: Class::Retry,
    exit: Exit::Aws,
    remedy: "wait; in the template, let the instances depend on the cluster (`depends_on`, DependsOn)",
    source: "Amazon ECS API Reference, Cluster",
    check: |evidence| {
        let cluster = described(evidence).filter(|cluster| cluster.status == "PROVISIONING")?;
        (!evidence.agent_exited_with(5)).then(|| vec![status(cluster)])
    },
    ..DEFAULTS
};

/// The agent exits with code 5.
pub(super) static NOT_FOUND: Cause = Cause {
    id: "cluster-not-found",
    yields_to: &["cluster-other-account", "wrong-region"],
    excluded: |evidence| described(evidence).filter(|cluster| cluster.status != "ACTIVE").map(status),
    title: "the cluster does not exist in this account and region",
    symptoms: "the agent exits with code 5 (repeatedly with Debian's unit), and its log has `Cluster not found.`",
    proof: "ecs:DescribeClusters does not find the cluster, or the registration was refused with that error and the \
            agent exited with code 5; the cause is `wrong-region` if the agent asks in another region, and \
            `cluster-inactive` if the cluster has another status",
    look_alikes: &["wrong-region", "cluster-inactive", "config-quoted"],
    remedy: "create it (`aws ecs create-cluster --cluster-name NAME`), or correct the cluster name and the region; \
             then run `ecs-bootstrap run`",
    source: "aws/amazon-ecs-agent#826 #750 #2146; Amazon ECS API Reference, ClusterNotFoundException",
    check: |evidence| {
        let wanted = evidence.expectation.as_ref().and_then(|expected| expected.cluster.as_deref());
        let missing = match &evidence.cluster {
            Some(Ok(described))
                if !described.missing.is_empty() && wanted.is_some() && agent_asks_the_same(evidence) =>
            {
                Some(format!(
                    "ecs:DescribeClusters does not find the cluster `{}`",
                    redaction::cluster(wanted.unwrap_or_default())
                ))
            }
            _ => None,
        };
        let logged = evidence.registration_refused(&CLUSTER_NOT_FOUND);
        let gave_up = evidence.agent_exited_with(5).then(|| GAVE_UP_TEXT.to_owned());
        // The agent creates `default` if it does not exist.
        let missing = missing.filter(|_| wanted != Some("default") || gave_up.is_some());
        if missing.is_none() && (logged.is_none() || gave_up.is_none()) {
            return None;
        }
        let wanted = wanted
            .filter(|_| missing.is_none())
            .map(|name| format!("the expected cluster is `{}`", redaction::cluster(name)));
        // The cluster may exist: the agent asked before it was created, or asked another endpoint than ecs-bootstrap.
        let now = described(evidence).map(status);
        Some([missing, wanted, logged, gave_up, now].into_iter().flatten().collect())
    },
    ..DEFAULTS
};

/// The agent retries, but a retry cannot succeed.
pub(super) static QUOTA: Cause = Cause {
    id: "cluster-quota",
    title: "the cluster has reached its quota of container instances",
    symptoms: "as with `register-throttled`, but permanently: the unit is active, and nothing answers on port 51678",
    proof: "the agent's log has LimitExceededException for this registration; if the log has ThrottlingException \
            instead, the cause is `register-throttled`",
    look_alikes: &["register-throttled"],
    class: Class::Lasting(Duration::from_secs(60)),
    exit: Exit::Aws,
    remedy: "raise the quota \"Container instances per cluster\" in Service Quotas, or use a second cluster",
    source: "Amazon ECS Developer Guide, \"Service quotas and API throttling limits\"",
    check: |evidence| retried(evidence, "LimitExceededException"),
    ..DEFAULTS
};

/// The setting `cluster-tags` selects no cluster.
pub(super) static NO_CLUSTER_MATCHES: Cause = Cause {
    id: "no-cluster-matches",
    title: "no ACTIVE cluster has all the tags of `cluster-tags`",
    symptoms: "ecs-bootstrap wrote nothing and did not start the agent",
    proof: "each cluster that ecs:ListClusters returned misses a tag or is not ACTIVE, and the evidence lists them; if \
            more than one ACTIVE cluster has all the tags, the cause is `several-clusters-match`",
    look_alikes: &["several-clusters-match", "no-cluster-named"],
    remedy: "tag the cluster, correct `cluster-tags`, or name the cluster directly",
    source: "ecs-bootstrap's setting `cluster-tags`",
    check: |evidence| match &evidence.stage_error {
        Some(StageError::Refused(refusal @ Refusal::NoClusterMatches { candidates, .. })) => {
            Some([refusal.to_string()].into_iter().chain(candidates.iter().cloned()).collect())
        }
        _ => None,
    },
    ..DEFAULTS
};

/// The setting `cluster-tags` selects more than one cluster.
pub(super) static SEVERAL_CLUSTERS_MATCH: Cause = Cause {
    id: "several-clusters-match",
    title: "several ACTIVE clusters have all the tags of `cluster-tags`",
    symptoms: "ecs-bootstrap wrote nothing and did not start the agent",
    proof: "the evidence names each cluster that has all the tags",
    look_alikes: &["no-cluster-matches"],
    remedy: "add a tag to `cluster-tags` that only the expected cluster has, or name the cluster directly",
    source: "ecs-bootstrap's setting `cluster-tags`",
    check: |evidence| match &evidence.stage_error {
        Some(StageError::Refused(refusal @ Refusal::SeveralClustersMatch { names, .. })) => {
            Some(vec![refusal.to_string(), names.join(", ")])
        }
        _ => None,
    },
    ..DEFAULTS
};

/// The agent started without a cluster name. If the reason is visible, a cause of an earlier layer is reported instead.
pub(super) static JOINED_DEFAULT: Cause = Cause {
    id: "joined-default",
    title: "the instance joined `default` instead of the expected cluster, or without a named one",
    symptoms: "the expected cluster stays empty, and the instance is in `default`, which was perhaps created for it",
    proof: "the agent reports that it is in `default`; if it is visible why ecs.config did not name the cluster, a \
            cause of an earlier layer is reported",
    look_alikes: &["cluster-other-than-wanted", "config-late", "user-data-failed"],
    remedy: "the agent started before `ecs.config` named the cluster: run `ecs-bootstrap reset-agent --yes`, and \
             deregister the instance from `default`",
    specific_remedy: Some(|evidence| with_env_file(evidence, JOINED_DEFAULT.remedy)),
    source: "aws-samples/ecs-refarch-cloudformation#23; hashicorp/terraform#4202; aws/amazon-ecs-agent#139",
    check: |evidence| {
        let instead = joined_other_cluster(evidence).filter(|(actual, _)| *actual == "default").map(|(_, seen)| seen);
        instead.or_else(|| joined_unasked(evidence))
    },
    when_registered: true,
    ..DEFAULTS
};

/// Typically because of an older file or saved state.
pub(super) static JOINED_OTHER: Cause = Cause {
    id: "cluster-other-than-wanted",
    title: "the instance joined another cluster instead of the expected one",
    symptoms: "the expected cluster stays empty, and the instance is in another one",
    proof: "the agent reports another cluster, or its container instance ARN belongs to another one; the cause is \
            `joined-default` if that cluster is `default`, and `cluster-mismatch-saved` if the agent exited with code \
            5 instead of registering",
    look_alikes: &["joined-default", "cluster-mismatch-saved"],
    remedy: "run `ecs-bootstrap reset-agent --yes`, and deregister the instance from the other cluster",
    specific_remedy: Some(|evidence| with_env_file(evidence, JOINED_OTHER.remedy)),
    source: "aws/amazon-ecs-agent#887; aws-samples/ecs-refarch-cloudformation#23",
    check: |evidence| joined_other_cluster(evidence).filter(|(actual, _)| *actual != "default").map(|(_, seen)| seen),
    when_registered: true,
    ..DEFAULTS
};

/// The remedy for an agent that no package starts: ecs-init would pass `ecs.config` on.
fn with_env_file(evidence: &Evidence, remedy: &str) -> Option<String> {
    let is_own = |name: &str| !AGENT_UNITS.contains(&name);
    evidence.agent_unit().filter(|unit| is_own(&unit.name)).map(|_| {
        format!(
            "start the agent with `docker run --env-file /etc/ecs/ecs.config`, or it does not read the file; {remedy}"
        )
    })
}

/// Evidence that the agent is in `default` although no source names a cluster, not even `default`.
fn joined_unasked(evidence: &Evidence) -> Option<Vec<String>> {
    let Some(StageError::Refused(Refusal::NoCluster { evidence_lines })) = &evidence.stage_error else { return None };
    let arn = evidence.container_instance_arn()?;
    let Some(Ok(metadata)) = &evidence.introspection else { return None };
    let seen = format!("the agent is `{arn}` in `default`, and nothing names a cluster");
    (metadata.cluster == "default").then(|| [seen].into_iter().chain(evidence_lines.clone()).collect())
}

/// Region and account in the ARN of the expected cluster, if it is configured as an ARN.
fn wanted_region_and_account(evidence: &Evidence) -> Option<(&str, &str)> {
    region_and_account(evidence.expectation.as_ref()?.cluster.as_deref()?)
}

/// The region that the agent's files name, and the place where they name it.
fn configured_region(evidence: &Evidence) -> Option<(&str, &'static str)> {
    let variable = evidence.config.get(REGION).map(|region| region.trim()).filter(|region| !region.is_empty());
    let json = || Some((evidence.files.json_region.as_deref()?, "AWSRegion in ecs.config.json"));
    variable.map(|region| (region, "AWS_DEFAULT_REGION in ecs.config")).or_else(json)
}

fn region_difference(configured: &str, place: &str, home: &str) -> String {
    format!("{place} is `{}`, the instance runs in `{home}`", shown_region(configured))
}

/// A region, redacted for output.
fn shown_region(region: &str) -> String {
    redaction::variable(REGION, region)
}

/// Whether the agent asks the same account and region as ecs-bootstrap, so that the answers hold for the agent too.
fn agent_asks_the_same(evidence: &Evidence) -> bool {
    let home = evidence.expectation.as_ref().and_then(|expected| expected.region.as_deref());
    let is_elsewhere = configured_region(evidence).is_some_and(|(region, _)| Some(region) != home);
    !is_elsewhere && !has_static_keys(evidence) && EndpointOverride::of(&evidence.config).is_none()
}

/// The expected cluster as ecs:DescribeClusters returned it, if the agent asks the same account and region.
fn described(evidence: &Evidence) -> Option<&Cluster> {
    if !agent_asks_the_same(evidence) {
        return None;
    }
    let wanted = cluster_name(evidence.expectation.as_ref()?.cluster.as_deref()?);
    evidence.cluster.as_ref()?.as_ref().ok()?.clusters.iter().find(|cluster| cluster.name == wanted)
}

fn status(cluster: &Cluster) -> String {
    format!("ecs:DescribeClusters returns `{}` with status {}", cluster.name, cluster.status)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{healthy_units, ids};
    use super::*;
    use crate::boundary::agent::AgentMetadata;
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
        let line = b"level=error msg=\"Unable to register as a container instance with ECS\" \
                     error=\"ClientException: Cluster not found.\"\n";
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

    /// `actual` is the cluster that introspection returns, `in_arn` the cluster in the container instance ARN.
    fn registered(actual: &str, in_arn: &str, wanted: &str) -> Vec<&'static str> {
        ids(&Evidence {
            introspection: Some(Ok(AgentMetadata {
                cluster: actual.to_owned(),
                container_instance_arn: format!("arn:aws:ecs:eu-west-1:1:container-instance/{in_arn}/1"),
                version: String::new(),
            })),
            ..expecting(wanted)
        })
    }

    #[test]
    fn a_name_and_the_arn_of_the_same_cluster_are_equal() {
        assert_eq!(joined("prod", "arn:aws:ecs:eu-west-1:1:cluster/prod"), Vec::<&str>::new());
        assert_eq!(joined("prod", "arn:aws:ecs:us-east-1:1:cluster/prod"), ["cluster-other-than-wanted"]);
        assert_eq!(joined("default", "prod"), ["joined-default"]);
        assert_eq!(joined("default", "default"), Vec::<&str>::new());
        assert_eq!(joined("stage", "prod"), ["cluster-other-than-wanted"]);
        assert_eq!(registered("prod", "stage", "prod"), ["cluster-other-than-wanted"]);
        assert_eq!(registered("prod", "default", "prod"), ["joined-default"]);
    }

    #[test]
    fn a_log_line_alone_does_not_prove_that_the_cluster_is_missing() {
        let mut evidence = gave_up(expecting("prod"));
        assert_eq!(ids(&evidence)[0], "cluster-not-found");
        evidence.units = None;
        assert_eq!(ids(&evidence), ["register-refused"]);
    }

    #[test]
    fn another_account_and_another_region_are_found_in_the_arn() {
        assert_eq!(ids(&expecting("arn:aws:ecs:eu-west-1:1:cluster/prod")), Vec::<&str>::new());
        assert_eq!(ids(&expecting("arn:aws:ecs:eu-west-1:2:cluster/prod")), ["cluster-other-account"]);
        assert_eq!(ids(&expecting("arn:aws:ecs:eu-west-2:1:cluster/prod")), ["wrong-region"]);
        let mut intended = expecting("arn:aws:ecs:eu-west-2:1:cluster/prod");
        intended.config.insert(REGION.to_owned(), "eu-west-2".to_owned());
        assert_eq!(ids(&intended), Vec::<&str>::new());
    }

    #[test]
    fn a_configured_region_is_a_cause_only_after_the_agent_failed_there() {
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
    fn every_status_except_provisioning_is_final() {
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
