//! The effect that causes in files and user data explain: an instance without a cluster, or in the wrong one.
//!
//! In: evidence. Out: the effect with its evidence lines, and whether a line that the agent does not read would have
//! named the missing cluster. This module selects no cause.

use crate::agent_variables;
use crate::evidence::user_data::UserData;
use crate::evidence::{Evidence, StageError};
use crate::plan::{Refusal, cluster_name, glued_note};
use crate::readiness::joined_other_cluster;
use crate::redaction;
use crate::settings::Rank;

/// The instance has no cluster, or another one than the wanted one.
pub(in crate::causes) struct Effect<'e> {
    /// Evidence lines.
    pub(in crate::causes) seen: Vec<String>,
    /// The expected cluster, if a valid source names one.
    pub(in crate::causes) wanted: Option<&'e str>,
    /// Whether the agent joined `default` because nothing named a cluster.
    pub(in crate::causes) is_in_default: bool,
    /// The cluster that the agent's files name now.
    named: Option<&'e str>,
}

impl Effect<'_> {
    /// Whether the effect is explained by a line that names this cluster and that the agent does not read.
    pub(in crate::causes) fn would_name(&self, cluster: &str) -> bool {
        match self.wanted {
            Some(wanted) => cluster_name(cluster) == cluster_name(wanted) && !self.is_wanted_named(),
            None => !self.is_in_default || cluster != "default",
        }
    }

    /// Whether the agent's files name the expected cluster now.
    pub(in crate::causes) fn is_wanted_named(&self) -> bool {
        self.wanted.is_some() && self.wanted.map(cluster_name) == self.named.map(cluster_name)
    }
}

/// The effect, if it is final: a registered agent stays in its cluster. Before the registration, user data that still
/// runs may name a cluster.
pub(in crate::causes) fn effect(evidence: &Evidence) -> Option<Effect<'_>> {
    let named = evidence.files.configured_cluster.as_deref();
    let effect = |seen, wanted, is_in_default| Some(Effect { seen, wanted, is_in_default, named });
    match &evidence.stage_error {
        Some(StageError::Refused(Refusal::NoCluster { evidence_lines })) => {
            return effect(evidence_lines.clone(), None, false);
        }
        Some(_) => return None,
        None => {}
    }
    let expected = evidence.expectation.as_ref()?;
    if let Some((_, seen)) = joined_other_cluster(evidence) {
        return effect(seen, expected.cluster.as_deref(), false);
    }
    if expected.cluster.is_some() || evidence.known_units().is_none() {
        return None;
    }
    match (evidence.container_instance_arn(), &evidence.introspection) {
        (None, _) if evidence.user_data_runs() => None,
        (None, _) => {
            let unnamed = "user data has ended, and nothing has named a cluster".to_owned();
            let unread = |error| format!("a source that may name a cluster could not be read: {error}");
            effect([unnamed].into_iter().chain(expected.unread.as_ref().map(unread)).collect(), None, false)
        }
        (Some(arn), Some(Ok(metadata))) if metadata.cluster == "default" && named.is_none() => {
            effect(vec![format!("the agent is `{arn}` in `default`, which nothing has named")], None, true)
        }
        _ => None,
    }
}

/// Whether user data must be read: the cluster is missing or wrong, or the agent gave up after cloud-init found no data
/// source.
pub(crate) fn asks_for_user_data(evidence: &Evidence) -> bool {
    let found_none = evidence.files.cloud_init.datasource.as_deref() == Some("DataSourceNone");
    effect(evidence).is_some() || (found_none && evidence.agent_exited_with(5))
}

/// User data, if it was read.
pub(in crate::causes) fn user_data(evidence: &Evidence) -> Option<&UserData> {
    evidence.user_data.as_ref()?.as_ref().ok()
}

/// The effect, if user data may explain it: no cluster is named and user data may name one, or the files do not name
/// the expected cluster and user data mentions a cluster.
pub(in crate::causes) fn user_data_effect(evidence: &Evidence) -> Option<Effect<'_>> {
    let effect = effect(evidence)?;
    let known = user_data(evidence);
    let explains = match effect.wanted {
        Some(_) => !effect.is_wanted_named() && known.is_some_and(|known| known.mentions_cluster),
        None => !effect.is_in_default && known.is_none_or(|known| known.may_name_cluster),
    };
    explains.then_some(effect)
}

/// The value of ECS_CLUSTER in `ecs.config`, with its evidence line, if it is not a valid cluster name or ARN.
pub(in crate::causes) fn invalid_cluster_name(evidence: &Evidence) -> Option<(&str, String)> {
    if let Some(StageError::Refused(refusal @ Refusal::ClusterInvalid { value, source_of })) = &evidence.stage_error {
        let is_in_file = source_of.rank == Rank::EcsConfig;
        return is_in_file.then(|| (value.as_str(), format!("{refusal} ({source_of})")));
    }
    let expected = evidence.expectation.as_ref().filter(|_| evidence.stage_error.is_none())?;
    let value = expected.cluster.as_deref().filter(|_| expected.follows_file)?;
    let is_invalid = agent_variables::check("ECS_CLUSTER", value).is_err();
    (is_invalid && !evidence.user_data_runs()).then(|| {
        let text = format!("`{}` in ecs.config is not a valid cluster name", redaction::cluster(value));
        (value, text + glued_note(value))
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::boundary::agent::AgentMetadata;
    use crate::causes::notes;
    use crate::causes::tests::{healthy_units, ids};
    use crate::evidence::files::{CloudInit, ConfigText, Files, UnreadConfig};
    use crate::evidence::user_data::read;
    use crate::plan::{ECS_CONFIG, Expectation};

    const RESULT: &[u8] = br#"{"v1": {"datasource": "DataSourceEc2Local", "errors": ["('scripts_user', X())"]}}"#;

    /// Every issue at once, and user data that has failed.
    fn with_issues(cluster: Option<&str>, joined: Option<&str>, file: &str) -> Evidence {
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(2000);
        let files = Files {
            is_examined: true,
            configs: vec![ConfigText::of(ECS_CONFIG, Some(written), file.as_bytes())],
            configured_cluster: crate::ecs_config::agent_cluster(file.as_bytes(), b"", b""),
            json_region: None,
            json_fault: None,
            missing_docker_socket: None,
            unread_configs: UnreadConfig::of("/etc/ecs.config", b"ECS_CLUSTER=stage\n").into_iter().collect(),
            cloud_init: CloudInit::read(None, Some(RESULT)),
        };
        let mut units = healthy_units();
        units.agent.exec_main_start_usec = Some(3_000_000_000);
        Evidence {
            expectation: Some(Expectation { cluster: cluster.map(str::to_owned), ..Expectation::default() }),
            introspection: joined.map(|joined| {
                Ok(AgentMetadata {
                    cluster: joined.to_owned(),
                    container_instance_arn: format!("arn:aws:ecs:eu-west-1:1:container-instance/{joined}/1"),
                    version: String::new(),
                })
            }),
            units: Some(Ok(units)),
            files,
            user_data: Some(Ok(read(Some(b"#!/bin/sh\necho ECS_CLUSTER=prod\n")))),
            ..Evidence::default()
        }
    }

    const ISSUES: &str = "export ECS_CLUSTER=stage\nECS_CLUSTR=stage\nECS_CLUSTER =stage\n";

    #[test]
    fn without_an_effect_every_issue_is_only_a_note() {
        for joined in [None, Some("prod")] {
            let evidence = with_issues(Some("prod"), joined, &format!("{ISSUES}ECS_CLUSTER=prod\r\n"));
            assert_eq!(ids(&evidence), Vec::<&str>::new(), "{joined:?}");
            let noted: Vec<_> = notes(&evidence).iter().map(|note| note.cause.id).collect();
            let all = [
                "config-export",
                "config-spaces",
                "config-key-misspelt",
                "config-wrong-file",
                "config-crlf",
                "user-data-failed",
            ];
            assert_eq!(noted, all);
        }
    }

    #[test]
    fn only_a_line_that_would_have_named_the_wanted_cluster_is_a_cause() {
        let expected = ["user-data-failed", "joined-default"];
        assert_eq!(ids(&with_issues(Some("prod"), Some("default"), ISSUES)), expected);
        // The file is right and older than the agent, so it is not the cause.
        assert_eq!(ids(&with_issues(Some("prod"), Some("default"), "ECS_CLUSTER=prod\n")), ["joined-default"]);
        let mut late = with_issues(Some("prod"), Some("default"), "ECS_CLUSTER=prod\n");
        if let Some(Ok(units)) = &mut late.units {
            units.agent.exec_main_start_usec = Some(1_000_000_000);
        }
        assert_eq!(ids(&late), ["config-late", "joined-default"]);
    }

    #[test]
    fn an_unnamed_default_is_a_cause_only_if_a_line_names_another_cluster() {
        assert_eq!(ids(&with_issues(None, Some("default"), "export ECS_CLUSTER=stage\n"))[0], "config-export");
        assert_eq!(ids(&with_issues(None, Some("default"), "export ECS_CLUSTER=default\n")), ["config-wrong-file"]);
        assert_eq!(ids(&with_issues(None, Some("default"), "ECS_CLUSTER=default\n")), Vec::<&str>::new());
        assert_eq!(ids(&with_issues(None, Some("stage"), "export ECS_CLUSTER=stage\n")), Vec::<&str>::new());
    }

    #[test]
    fn running_user_data_may_still_name_a_cluster() {
        let mut evidence = with_issues(None, None, "");
        assert_eq!(ids(&evidence), ["config-wrong-file", "user-data-failed"]);
        if let Some(Ok(units)) = &mut evidence.units {
            units.cloud_final.active_state = Some("activating".to_owned());
        }
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }
}
