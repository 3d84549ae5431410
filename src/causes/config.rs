//! Causes that lie in settings, user data or `ecs.config`: decidable from bytes, before anything starts.

use super::cloud_init::FAILED;
use super::config_file::{OF_LINES, QUOTED, explained, quoted};
use super::effect::{effect, invalid, user_data};
use super::host::{is_agents, misplaced};
use super::user_data::{OF_USER_DATA, WITHOUT_TOKEN, output};
use super::{Cause, Class, Layer};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::imds::ImdsError;
use crate::evidence::StageError;
use crate::evidence::user_data::PartType;
use crate::exit::Exit;
use crate::plan::Refusal;
use crate::redaction::error_chain;
use crate::settings::agent_variables::{self, Consequence};

/// A setting of ours, wherever it was written.
pub(super) static SETTING_INVALID: Cause = Cause {
    id: "setting-invalid",
    layer: Layer::Config,
    title: "a setting cannot be used",
    symptoms: "nothing was configured: `ecs.config` is as it was, and the agent was not started by ecs-bootstrap",
    proof: "a settings file, tag, variable or option has a name or a value that is not taken; the text says which and where",
    look_alikes: &["ecs-config-unusable", "cluster-name-invalid"],
    class: Class::Terminal,
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "correct it where it is said, then run `ecs-bootstrap plan`",
    source: "ecs-bootstrap's own settings, README \"Settings\"",
    check: |evidence| match &evidence.stop {
        Some(StageError::Settings(error)) => {
            let hint = error.did_you_mean.as_ref().map(|name| format!("did you mean `{name}`?"));
            Some([error.to_string()].into_iter().chain(hint).collect())
        }
        Some(StageError::ReadSettings(error)) => Some(vec![error_chain(error)]),
        Some(StageError::Imds(error @ ImdsError::BadEndpoint { .. })) => Some(vec![error_chain(error)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// The file itself.
pub(super) static ECS_CONFIG_UNUSABLE: Cause = Cause {
    id: "ecs-config-unusable",
    layer: Layer::Config,
    title: "`ecs.config` cannot be read or edited safely",
    symptoms: "nothing was configured, or a unit's log says that its environment file is ignored",
    proof: "the file is a link, no regular file, too long, not permitted, or a line in it means two things to its readers",
    look_alikes: &["write-refused", "config-unreadable-key"],
    class: Class::Terminal,
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "make it a plain, readable file of `KEY=value` lines, or remove it and run `ecs-bootstrap` again",
    source: "ecs-agent.md \"Files, parsing, precedence\"; systemd.exec(5) EnvironmentFile=",
    check: |evidence| match &evidence.stop {
        Some(StageError::Read(error)) => Some(vec![error_chain(error)]),
        Some(StageError::Write(error)) if misplaced(error).is_some_and(is_agents) => Some(vec![error_chain(error)]),
        Some(StageError::Refused(refusal @ Refusal::Edit(_))) => Some(vec![error_chain(refusal)]),
        _ => None,
    },
    ..Cause::PLAIN
};

/// Bad JSON makes the agent exit 1 for ever, with its unit active.
pub(super) static BAD_JSON: Cause = Cause {
    id: "config-bad-json",
    layer: Layer::Config,
    title: "`ecs.config` holds a value that makes the agent exit: JSON that it cannot read, or not of the form that it wants",
    symptoms: "the agent's container ends with code 1 again and again while its unit is active (running)",
    proof: "the value of ECS_INSTANCE_ATTRIBUTES or ECS_CONTAINER_INSTANCE_TAGS is not a JSON object of strings, that of \
            ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES is not an array of prefixes, or the log names an unknown logging driver; with a \
            value that it can read the agent would end with code 5, or not at all",
    look_alikes: &["attributes-rejected", "config-quoted"],
    class: Class::Terminal,
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "correct the value: JSON on one line, without quotes around the whole; in a shell script, put the line in single \
             quotes",
    source: "agent#4159; agent/config/parse.go: an object that does not parse ends the agent before anything else",
    check: |evidence| {
        const DRIVERS: &str = "ECS_AVAILABLE_LOGGING_DRIVERS";
        // A driver that is not known here may be known to a newer agent.
        let logged = evidence.agent_logged(&["Invalid logging drivers"]);
        // An empty value is as none.
        let set = evidence.config.iter().filter(|(_, value)| !value.trim().is_empty());
        let wrong = set.filter_map(|(key, value)| agent_variables::check(key, value).err());
        let ends = wrong.filter(|wrong| wrong.consequence == Consequence::Exits);
        let ends = ends.filter(|wrong| wrong.name != DRIVERS || logged.is_some());
        let mut seen: Vec<String> = ends
            .flat_map(|wrong| [Some(format!("in ecs.config {wrong}")), quoted(evidence, &wrong.name)])
            .flatten()
            .collect();
        if seen.is_empty() {
            return None;
        }
        seen.extend(evidence.agent_logged(&["Invalid format for", "Invalid logging drivers", "invalid CIDR"]));
        Some(seen)
    },
    ..Cause::PLAIN
};

/// Joining `default` because nothing was found is the commonest way to lose an instance, so it is not done.
pub(super) static NO_CLUSTER_NAMED: Cause = Cause {
    id: "no-cluster-named",
    layer: Layer::Config,
    title: "nothing says which cluster to join",
    symptoms: "without ecs-bootstrap the instance joins `default`, which may be created for it",
    proof: "no tag, setting, user data or file names one, and none of them is there but unread",
    look_alikes: &["user-data-absent", "user-data-failed", "config-key-misspelt"],
    class: Class::Terminal,
    exit: Exit::Cluster,
    exit_after_deadline: Exit::Cluster,
    remedy: "tag the instance with `ecs-bootstrap:cluster` (and allow tags in metadata), set `cluster` in \
             `/etc/ecs-bootstrap/config.toml`, or pass `--cluster`; `default` too must be said by somebody",
    source: "ecs-agent.md: an agent without ECS_CLUSTER joins, or creates, `default`",
    check: |evidence| {
        let effect = effect(evidence).filter(|effect| effect.wanted.is_none() && !effect.is_in_default)?;
        if explained(evidence, &OF_LINES) || explained(evidence, &OF_USER_DATA) || explained(evidence, &[&FAILED]) {
            return None;
        }
        let of_user_data = user_data(evidence).map(|known| {
            let what = match known.part_type {
                PartType::Known(what) => what.to_owned(),
                PartType::TwiceEncoded(what) => format!("{what} in base64"),
                PartType::Unknown(_) | PartType::Absent => "nothing that cloud-init takes".to_owned(),
            };
            let speaks = if known.mentions_cluster { "speaks" } else { "does not speak" };
            format!("user data is {what}, and {speaks} of a cluster")
        });
        Some(effect.seen.into_iter().chain(of_user_data).chain(output(evidence)).collect())
    },
    ..Cause::PLAIN
};

/// Quotes and blanks become part of the name.
pub(super) static CLUSTER_NAME_INVALID: Cause = Cause {
    id: "cluster-name-invalid",
    layer: Layer::Config,
    title: "what is named as the cluster cannot be one",
    symptoms: "the agent exits 5, and its log says that the cluster must match a pattern",
    proof: "the value has a character outside letters, digits, hyphens and underscores, and is no ARN",
    look_alikes: &["config-quoted", "cluster-not-found", "imds-v1-client"],
    class: Class::Terminal,
    exit: Exit::Cluster,
    exit_after_deadline: Exit::Cluster,
    remedy: "write the bare name (letters, digits, hyphens, underscores) or the ARN, without quotes, blanks or a variable that \
             nothing replaces",
    source: "Amazon ECS API Reference, CreateCluster; agent#4159: ecs-init passes quotes on",
    check: |evidence| {
        if explained(evidence, &[&QUOTED, &WITHOUT_TOKEN]) {
            return None;
        }
        match &evidence.stop {
            Some(StageError::Refused(refusal @ Refusal::ClusterInvalid { source_of, .. })) => {
                Some(vec![format!("{refusal} ({source_of})")])
            }
            _ => invalid(evidence).map(|(_, seen)| vec![seen]),
        }
    },
    ..Cause::PLAIN
};

/// Checked before the TLS library sees it.
pub(super) static CA_BUNDLE_INVALID: Cause = Cause {
    id: "ca-bundle-invalid",
    layer: Layer::Config,
    title: "`AWS_CA_BUNDLE` names a file that holds no usable certificates",
    symptoms: "every call to AWS fails with a TLS error",
    proof: "the file is absent, cannot be read, or holds no PEM certificate; with a good one it is the endpoint's own",
    look_alikes: &["tls-untrusted"],
    class: Class::Terminal,
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "point AWS_CA_BUNDLE at a PEM bundle, or unset it",
    source: "AWS SDKs and Tools Reference Guide, \"General configuration\"",
    check: |evidence| {
        let is_bundle = |kind: &AwsErrorKind| matches!(kind, AwsErrorKind::CaBundle { .. });
        evidence.aws_errors().find(|error| is_bundle(&error.kind)).map(|error| vec![error_chain(error)])
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
        assert_eq!(ids(&with_config("ECS_INSTANCE_ATTRIBUTES", r#"{"a":null}"#)), Vec::<&str>::new());
        assert_eq!(ids(&with_config("ECS_INSTANCE_ATTRIBUTES", "")), Vec::<&str>::new());
        assert_eq!(ids(&with_config("ECS_RESERVED_PORTS", "22,80")), Vec::<&str>::new());
    }
}
