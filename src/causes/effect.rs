//! That an instance has no cluster or the wrong one: what the rows of files and user data explain.
//!
//! In: evidence. Out: the effect with its text, and whether a line that fails to name a cluster would have named the one
//! that is missing. It names no cause by itself.

use crate::evidence::user_data::UserData;
use crate::evidence::{Evidence, StageError};
use crate::plan::{Refusal, cluster_name, glued_note};
use crate::readiness::joined_other_cluster;
use crate::redaction;
use crate::settings::Rank;
use crate::settings::agent_variables::check;

/// A cluster that is missing, or another than the wanted one.
pub(super) struct Effect<'e> {
    /// What was seen of it.
    pub(super) seen: Vec<String>,
    /// The wanted one, where somebody has named one that counts.
    pub(super) wanted: Option<&'e str>,
    /// Whether the agent took itself to `default`.
    pub(super) is_in_default: bool,
    joined: Option<&'e str>,
}

impl Effect<'_> {
    /// Whether a line that names this cluster, and is not seen, is why.
    pub(super) fn would_name(&self, cluster: &str) -> bool {
        match self.wanted {
            Some(wanted) => cluster_name(cluster) == cluster_name(wanted) && !self.is_wanted_named(),
            None => !self.is_in_default || cluster != "default",
        }
    }

    /// Whether the agent's files name the wanted cluster as things are.
    pub(super) fn is_wanted_named(&self) -> bool {
        matches!((self.wanted, self.joined), (Some(wanted), Some(joined)) if cluster_name(wanted) == cluster_name(joined))
    }
}

/// The effect: where the agent is is where it stays, and before it is somewhere user data may still name a cluster.
pub(super) fn effect(evidence: &Evidence) -> Option<Effect<'_>> {
    let joined = evidence.files.joined.as_deref();
    let of = |seen, wanted, is_in_default| Some(Effect { seen, wanted, is_in_default, joined });
    match &evidence.stop {
        Some(StageError::Refused(Refusal::NoCluster { evidence_lines })) => {
            return of(evidence_lines.clone(), None, false);
        }
        Some(_) => return None,
        None => {}
    }
    let expected = evidence.expectation.as_ref()?;
    if let Some((_, seen)) = joined_other_cluster(evidence) {
        return of(seen, expected.cluster.as_deref(), false);
    }
    if expected.cluster.is_some() || evidence.known_units().is_none() {
        return None;
    }
    match (evidence.container_instance_arn(), &evidence.introspection) {
        (None, _) if evidence.user_data_runs() => None,
        (None, _) => {
            let nobody = "user data has ended, and neither it nor anything else has named a cluster".to_owned();
            let unread = |why| format!("not everything that may name one could be read: {why}");
            of([nobody].into_iter().chain(expected.unread.as_ref().map(unread)).collect(), None, false)
        }
        (Some(arn), Some(Ok(metadata))) if metadata.cluster == "default" && joined.is_none() => {
            of(vec![format!("the agent is `{arn}` in `default`, which nobody named")], None, true)
        }
        _ => None,
    }
}

/// Whether user data may be why: a cluster is missing or wrong, or the agent ended where cloud-init found no data.
pub(crate) fn asks_for_user_data(evidence: &Evidence) -> bool {
    let found_none = evidence.files.cloud_init.datasource.as_deref() == Some("DataSourceNone");
    effect(evidence).is_some() || (found_none && evidence.agent_exited_with(5))
}

/// User data, where it was read.
pub(super) fn user_data(evidence: &Evidence) -> Option<&UserData> {
    evidence.user_data.as_ref()?.as_ref().ok()
}

/// The effect, where user data may be why: nobody has named a cluster and it may have meant to, or the files lack the
/// wanted one and it speaks of a cluster.
pub(super) fn of_user_data(evidence: &Evidence) -> Option<Effect<'_>> {
    let effect = effect(evidence)?;
    let known = user_data(evidence);
    let explains = match effect.wanted {
        Some(_) => !effect.is_wanted_named() && known.is_some_and(|known| known.mentions_cluster),
        None => !effect.is_in_default && known.is_none_or(|known| known.may_name_cluster),
    };
    explains.then_some(effect)
}

/// What is named as the cluster by `ecs.config` and cannot be one, with what was seen of it.
pub(super) fn invalid(evidence: &Evidence) -> Option<(&str, String)> {
    if let Some(StageError::Refused(refusal @ Refusal::ClusterInvalid { value, source_of })) = &evidence.stop {
        let is_of_file = source_of.rank == Rank::EcsConfig;
        return is_of_file.then(|| (value.as_str(), format!("{refusal} ({source_of})")));
    }
    let expected = evidence.expectation.as_ref().filter(|_| evidence.stop.is_none())?;
    let value = expected.cluster.as_deref().filter(|_| expected.follows_file)?;
    let is_read = !evidence.user_data_runs() && check("ECS_CLUSTER", value).is_err();
    is_read.then(|| {
        let refusal = format!("`{}` in ecs.config cannot be the name of a cluster", redaction::cluster(value));
        (value, refusal + glued_note(value))
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::notes;
    use super::super::tests::{healthy_units, ids};
    use super::*;
    use crate::boundary::agent::Metadata;
    use crate::evidence::files::{CloudInit, ConfigText, Files, Stray};
    use crate::evidence::user_data::read;
    use crate::plan::{ECS_CONFIG, Expectation};

    const RESULT: &[u8] = br#"{"v1": {"datasource": "DataSourceEc2Local", "errors": ["('scripts_user', X())"]}}"#;

    /// All that can be odd at once, and user data that has failed.
    fn odd(cluster: Option<&str>, joined: Option<&str>, file: &str) -> Evidence {
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(2000);
        let files = Files {
            is_examined: true,
            configs: vec![ConfigText::of(ECS_CONFIG, Some(written), file.as_bytes())],
            joined: crate::ecs_config::joined(file.as_bytes(), b"", b""),
            json_region: None,
            strays: Stray::of("/etc/ecs.config", b"ECS_CLUSTER=stage\n").into_iter().collect(),
            cloud_init: CloudInit::read(None, Some(RESULT)),
        };
        let mut units = healthy_units();
        units.agent.exec_main_start_usec = Some(3_000_000_000);
        Evidence {
            expectation: Some(Expectation { cluster: cluster.map(str::to_owned), ..Expectation::default() }),
            introspection: joined.map(|joined| {
                Ok(Metadata {
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

    const ODD: &str = "export ECS_CLUSTER=stage\nECS_CLUSTR=stage\nECS_CLUSTER =stage\n";

    #[test]
    fn without_an_effect_nothing_is_accused_and_all_is_noted() {
        for joined in [None, Some("prod")] {
            let evidence = odd(Some("prod"), joined, &format!("{ODD}ECS_CLUSTER=prod\r\n"));
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
    fn only_what_would_have_named_the_wanted_cluster_is_accused() {
        let strayed = ["user-data-failed", "joined-default"];
        assert_eq!(ids(&odd(Some("prod"), Some("default"), ODD)), strayed);
        // The file is right and older than the agent: it is something else.
        assert_eq!(ids(&odd(Some("prod"), Some("default"), "ECS_CLUSTER=prod\n")), ["joined-default"]);
        let mut late = odd(Some("prod"), Some("default"), "ECS_CLUSTER=prod\n");
        if let Some(Ok(units)) = &mut late.units {
            units.agent.exec_main_start_usec = Some(1_000_000_000);
        }
        assert_eq!(ids(&late), ["config-late", "joined-default"]);
    }

    #[test]
    fn default_that_nobody_named_is_accused_only_beside_a_line_that_names_another() {
        assert_eq!(ids(&odd(None, Some("default"), "export ECS_CLUSTER=stage\n"))[0], "config-export");
        assert_eq!(ids(&odd(None, Some("default"), "export ECS_CLUSTER=default\n")), ["config-wrong-file"]);
        assert_eq!(ids(&odd(None, Some("default"), "ECS_CLUSTER=default\n")), Vec::<&str>::new());
        assert_eq!(ids(&odd(None, Some("stage"), "export ECS_CLUSTER=stage\n")), Vec::<&str>::new());
    }

    #[test]
    fn while_user_data_runs_it_may_still_name_a_cluster() {
        let mut evidence = odd(None, None, "");
        assert_eq!(ids(&evidence), ["config-wrong-file", "user-data-failed"]);
        if let Some(Ok(units)) = &mut evidence.units {
            units.cloud_final.active_state = Some("activating".to_owned());
        }
        assert_eq!(ids(&evidence), Vec::<&str>::new());
    }
}
