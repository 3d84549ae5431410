//! Causes that lie in settings, user data or `ecs.config`: decidable from bytes, before anything starts.

use std::collections::BTreeMap;

use super::{Cause, Class, Layer, chain};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::disk::DiskError;
use crate::boundary::imds::ImdsError;
use crate::evidence::Stop;
use crate::exit::Exit;
use crate::plan::Refusal;
use crate::settings::agent_variables;

/// A setting of ours, wherever it was written.
pub(super) static SETTING_INVALID: Cause = Cause {
    id: "setting-invalid",
    layer: Layer::Config,
    title: "a setting cannot be used",
    class: Class::Terminal,
    exit: Exit::Settings,
    lapsed: Exit::Settings,
    remedy: "correct it where it is said, then run `ecs-bootstrap plan`",
    source: "ecs-bootstrap's own settings, README \"Settings\"",
    check: |evidence| match &evidence.stop {
        Some(Stop::Settings(error)) => {
            let hint = error.did_you_mean.as_ref().map(|name| format!("did you mean `{name}`?"));
            Some([error.to_string()].into_iter().chain(hint).collect())
        }
        Some(Stop::ReadSettings(error)) => Some(vec![chain(error)]),
        Some(Stop::Imds(error @ ImdsError::BadEndpoint { .. })) => Some(vec![chain(error)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// The file itself.
pub(super) static ECS_CONFIG_UNUSABLE: Cause = Cause {
    id: "ecs-config-unusable",
    layer: Layer::Config,
    title: "`ecs.config` cannot be read or edited safely",
    class: Class::Terminal,
    exit: Exit::Settings,
    lapsed: Exit::Settings,
    remedy: "make it a plain, readable file of `KEY=value` lines, or remove it and run `ecs-bootstrap` again",
    source: "ecs-agent.md \"Files, parsing, precedence\"; systemd.exec(5) EnvironmentFile=",
    check: |evidence| match &evidence.stop {
        Some(Stop::Read(error)) => Some(vec![chain(error)]),
        Some(Stop::Write(error @ (DiskError::Symlink { .. } | DiskError::NotAFile { .. }))) => Some(vec![chain(error)]),
        Some(Stop::Refused(refusal @ Refusal::Edit(_))) => Some(vec![chain(refusal)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// Bad JSON makes the agent exit 1 for ever, with its unit active.
pub(super) static BAD_JSON: Cause = Cause {
    id: "config-bad-json",
    layer: Layer::Config,
    title: "`ecs.config` holds a value that must be JSON and is not",
    class: Class::Terminal,
    exit: Exit::Settings,
    lapsed: Exit::Settings,
    remedy: "write it as JSON on one line, without quotes around the whole",
    source: "agent#4159; agent/config/parse.go: an object that does not parse ends the agent before anything else",
    check: |evidence| {
        if evidence.container_instance_arn().is_some() {
            return None;
        }
        const FATAL: [&str; 3] =
            ["ECS_INSTANCE_ATTRIBUTES", "ECS_CONTAINER_INSTANCE_TAGS", "ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES"];
        let is_read = |key: &str, value: &str| match key {
            "ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES" => serde_json::from_str::<Vec<String>>(value).is_ok(),
            _ => serde_json::from_str::<BTreeMap<String, String>>(value).is_ok(),
        };
        // An empty value is as none.
        let wrong = FATAL.iter().filter(|key| {
            evidence.config.get(**key).is_some_and(|value| !value.trim().is_empty() && !is_read(key, value))
        });
        let mut seen: Vec<String> = wrong
            .map(|key| {
                let kind = agent_variables::find(key).map_or_else(|| "JSON".to_owned(), |v| v.kind.to_string());
                format!("`{key}` in ecs.config is not JSON; it takes {kind}")
            })
            .collect();
        if seen.is_empty() {
            return None;
        }
        seen.extend(evidence.agent_logged(&["Invalid format for"]));
        Some(seen)
    },
    ..Cause::PLAIN
};

/// Joining `default` because nothing was found is the commonest way to lose an instance, so it is not done.
pub(super) static NO_CLUSTER_NAMED: Cause = Cause {
    id: "no-cluster-named",
    layer: Layer::Config,
    title: "nothing says which cluster to join",
    class: Class::Terminal,
    exit: Exit::Cluster,
    lapsed: Exit::Cluster,
    remedy: "tag the instance with `ecs-bootstrap:cluster` (and allow tags in metadata), set `cluster` in \
             `/etc/ecs-bootstrap/config.toml`, or pass `--cluster`; `default` too must be said by somebody",
    source: "ecs-agent.md: an agent without ECS_CLUSTER joins, or creates, `default`",
    check: |evidence| match &evidence.stop {
        Some(Stop::Refused(Refusal::NoCluster { looked })) => Some(looked.clone()),
        Some(_) => None,
        None => {
            let expected = evidence.expectation.as_ref()?;
            let undecided = expected.cluster.is_none();
            let ended = evidence.known_units().is_some() && !evidence.user_data_runs();
            (undecided && ended && evidence.container_instance_arn().is_none()).then(|| {
                let nobody = "user data has ended, and neither it nor anything else has named a cluster".to_owned();
                let unread = |why| format!("not everything that may name one could be read: {why}");
                [nobody].into_iter().chain(expected.unread.as_ref().map(unread)).collect()
            })
        }
    },
    ..Cause::PLAIN
};

/// Quotes and blanks become part of the name.
pub(super) static CLUSTER_NAME_INVALID: Cause = Cause {
    id: "cluster-name-invalid",
    layer: Layer::Config,
    title: "what is named as the cluster cannot be one",
    class: Class::Terminal,
    exit: Exit::Cluster,
    lapsed: Exit::Cluster,
    remedy: "write the bare name (letters, digits, hyphens, underscores) or the ARN, without quotes or blanks",
    source: "Amazon ECS API Reference, CreateCluster; agent#4159: ecs-init passes quotes on",
    check: |evidence| match &evidence.stop {
        Some(Stop::Refused(refusal @ Refusal::ClusterInvalid { source_of, .. })) => {
            Some(vec![format!("{refusal} ({source_of})")])
        }
        _ => None,
    },
    ..Cause::PLAIN
};

/// Checked before the TLS library sees it.
pub(super) static CA_BUNDLE_INVALID: Cause = Cause {
    id: "ca-bundle-invalid",
    layer: Layer::Config,
    title: "`AWS_CA_BUNDLE` names a file that holds no usable certificates",
    class: Class::Terminal,
    exit: Exit::Settings,
    lapsed: Exit::Settings,
    remedy: "point AWS_CA_BUNDLE at a PEM bundle, or unset it",
    source: "AWS SDKs and Tools Reference Guide, \"General configuration\"",
    check: |evidence| {
        let is_bundle = |kind: &AwsErrorKind| matches!(kind, AwsErrorKind::CaBundle { .. });
        evidence.aws_errors().find(|error| is_bundle(&error.kind)).map(|error| vec![chain(error)])
    },
    ..Cause::PLAIN
};

#[cfg(test)]
mod tests {
    use super::super::tests::ids;

    use crate::evidence::Evidence;

    fn with_config(key: &str, value: &str) -> Evidence {
        Evidence { config: [(key.to_owned(), value.to_owned())].into(), ..Evidence::default() }
    }

    #[test]
    fn bad_json_is_named_only_where_it_ends_the_agent() {
        assert_eq!(ids(&with_config("ECS_INSTANCE_ATTRIBUTES", "{'a':'b'}")), ["config-bad-json"]);
        assert_eq!(ids(&with_config("ECS_INSTANCE_ATTRIBUTES", r#"{"a":"b"}"#)), Vec::<&str>::new());
        assert_eq!(ids(&with_config("ECS_INSTANCE_ATTRIBUTES", r#"{"a":1}"#)), ["config-bad-json"]);
        assert_eq!(ids(&with_config("ECS_INSTANCE_ATTRIBUTES", "")), Vec::<&str>::new());
        assert_eq!(ids(&with_config("ECS_RESERVED_PORTS", "22,80")), Vec::<&str>::new());
    }
}
