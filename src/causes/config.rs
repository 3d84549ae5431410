//! Causes in settings, user data or `ecs.config`: decided from bytes, before anything starts.

use super::cause::{Cause, Class};
use super::layer::Layer;
use super::view::config_lines::quoted_line;
use super::view::effect::{effect, invalid_cluster_name, user_data};
use super::view::file_paths::{is_agent_config_path, wrong_type};
use super::view::user_data::output;
use crate::agent_variables::{self, Consequence};
use crate::boundary::aws::AwsErrorKind;
use crate::boundary::imds::ImdsError;
use crate::evidence::StageError;
use crate::evidence::user_data::PartType;
use crate::exit::Exit;
use crate::external::is_external;
use crate::plan::Refusal;
use crate::redaction::error_chain;

/// Not an EC2 instance, or an agent that is configured as outside of EC2.
pub(super) static ECS_ANYWHERE: Cause = Cause {
    id: "ecs-anywhere",
    layer: Layer::Config,
    title: "the agent of this host is set up for ECS Anywhere, which ecs-bootstrap does not manage",
    symptoms: "ecs-bootstrap ends at once and changes nothing; `aws ecs describe-container-instances` shows the instance with \
               the attribute `ecs.capability.external`, if it has registered",
    proof: "a file or a setting has ECS_EXTERNAL=true, which `ecs-anywhere-install.sh` writes to /var/lib/ecs/ecs.config; if \
            nothing sets it, and the host has no instance metadata, the cause is `imds-unreachable`",
    look_alikes: &["imds-unreachable"],
    class: Class::Terminal,
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "if this is not an EC2 instance, remove ecs-bootstrap from it (`systemctl disable ecs-bootstrap`): the agent runs \
             without it; if it is an EC2 instance, remove ECS_EXTERNAL at the place that is named, and run `ecs-bootstrap run`",
    source: "ecs-init/scripts/ecs-anywhere-install.sh; Amazon ECS Developer Guide, \"External instances\"",
    check: |evidence| {
        if let Some(StageError::Refused(Refusal::External { seen })) = &evidence.stage_error {
            return Some(vec![seen.clone()]);
        }
        let value = evidence.config.get("ECS_EXTERNAL").filter(|value| is_external(value))?;
        Some(vec![format!("ECS_EXTERNAL is `{value}` in ecs.config")])
    },
    ..Cause::DEFAULTS
};

/// A setting of ecs-bootstrap, from any source.
pub(super) static SETTING_INVALID: Cause = Cause {
    id: "setting-invalid",
    layer: Layer::Config,
    title: "a setting of ecs-bootstrap is not valid",
    symptoms: "nothing was configured: `ecs.config` is unchanged, and ecs-bootstrap did not start the agent",
    proof: "a settings file, tag, variable or option has an unknown name or a value that is not accepted, and the \
            error names it and its place; the cause is `ecs-config-unusable` if `ecs.config` itself cannot be read or \
            edited, and `cluster-name-invalid` if the cluster in `ecs.config` is not valid",
    look_alikes: &["ecs-config-unusable", "cluster-name-invalid"],
    class: Class::Terminal,
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "correct it at the place that the error names (`ecs-bootstrap plan` checks it)",
    source: "ecs-bootstrap's own settings, docs/reference/settings.md",
    check: |evidence| match &evidence.stage_error {
        Some(StageError::Settings(error)) => {
            let hint = error.did_you_mean.as_ref().map(|name| format!("did you mean `{name}`?"));
            Some([error.to_string()].into_iter().chain(hint).collect())
        }
        Some(StageError::ReadSettings(error)) => Some(vec![error_chain(error)]),
        Some(StageError::Imds(error @ ImdsError::BadEndpoint { .. })) => Some(vec![error_chain(error)]),
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// The file as a whole, not one of its values.
pub(super) static ECS_CONFIG_UNUSABLE: Cause = Cause {
    id: "ecs-config-unusable",
    layer: Layer::Config,
    title: "`ecs.config` cannot be read or edited safely",
    symptoms: "nothing was configured, or the log of a unit says that its environment file is ignored",
    proof: "the file is a symbolic link, not a regular file, too long or not readable, or it has a line that systemd \
            and ecs-init read differently; if ecs-bootstrap can edit the file, but the agent cannot read one of its \
            lines, the cause is `config-unreadable-key`",
    look_alikes: &["write-refused", "config-unreadable-key"],
    class: Class::Terminal,
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "make it a regular, readable file with lines of the form `KEY=value`, or remove it, then run \
             `ecs-bootstrap` again",
    source: "ecs-init/docker/docker.go, getEnvVars; systemd.exec(5) EnvironmentFile=",
    check: |evidence| match &evidence.stage_error {
        Some(StageError::Read(error)) => Some(vec![error_chain(error)]),
        Some(StageError::Write(error)) if wrong_type(error).is_some_and(is_agent_config_path) => {
            Some(vec![error_chain(error)])
        }
        Some(StageError::Refused(refusal @ Refusal::Edit(_))) => Some(vec![error_chain(refusal)]),
        _ => None,
    },
    ..Cause::DEFAULTS
};

/// The agent exits with code 1 again and again, while its unit is active.
pub(super) static BAD_JSON: Cause = Cause {
    id: "config-bad-json",
    layer: Layer::Config,
    title: "a value in `ecs.config` makes the agent exit",
    symptoms: "the agent's container exits with code 1 repeatedly while its unit is active (running)",
    proof: "ECS_INSTANCE_ATTRIBUTES or ECS_CONTAINER_INSTANCE_TAGS is not a JSON object of strings, \
            ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES is not a JSON array of CIDR prefixes, or the agent's log names an \
            unknown logging driver; if the agent can read the value and ECS rejects it, the exit code is 5, and the \
            cause is `attributes-rejected`",
    look_alikes: &["attributes-rejected", "config-quoted"],
    class: Class::Terminal,
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "correct the value: JSON on one line, without quotes around the whole value; in a shell script, put the \
             line in single quotes",
    specific_remedy: Some(|evidence| {
        let logged = |text: &str| evidence.agent_logged(&[text]).is_some();
        let what = if logged("Invalid logging drivers") {
            "name only logging drivers that the agent knows in ECS_AVAILABLE_LOGGING_DRIVERS (json-file, syslog, journald, gelf, \
             fluentd, awslogs, splunk, logentries, sumologic, awsfirelens, none)"
        } else if logged("invalid CIDR") {
            "write networks such as `10.0.0.0/8` in ECS_AWSVPC_ADDITIONAL_LOCAL_ROUTES"
        } else {
            return None;
        };
        Some(format!("{what}, then `systemctl restart ecs --no-block`"))
    }),
    source: "aws/amazon-ecs-agent#4159; agent/config/parse.go: an object that does not parse ends the agent before \
             anything else",
    check: |evidence| {
        const DRIVERS: &str = "ECS_AVAILABLE_LOGGING_DRIVERS";
        // A newer agent may know logging drivers that ecs-bootstrap does not know.
        let logged = evidence.agent_logged(&["Invalid logging drivers"]);
        // The agent ignores an empty value.
        let set = evidence.config.iter().filter(|(_, value)| !value.trim().is_empty());
        let wrong = set.filter_map(|(key, value)| agent_variables::check(key, value).err());
        let fatal = wrong.filter(|wrong| wrong.consequence == Consequence::Exits);
        let fatal = fatal.filter(|wrong| wrong.name != DRIVERS || logged.is_some());
        let mut seen: Vec<String> = fatal
            .flat_map(|wrong| [Some(format!("in ecs.config, {wrong}")), quoted_line(evidence, &wrong.name)])
            .flatten()
            .collect();
        if seen.is_empty() {
            return None;
        }
        seen.extend(evidence.agent_logged(&["Invalid format for", "Invalid logging drivers", "invalid CIDR"]));
        Some(seen)
    },
    ..Cause::DEFAULTS
};

/// ecs-bootstrap does not fall back to `default`: that is the most common way to lose an instance.
pub(super) static NO_CLUSTER_NAMED: Cause = Cause {
    id: "no-cluster-named",
    yields_to: &[
        "config-export",
        "config-spaces",
        "config-key-misspelt",
        "config-unreadable-key",
        "config-duplicate",
        "config-wrong-file",
        "config-late",
        "datasource-none",
        "user-data-double-base64",
        "user-data-not-recognised",
        "user-data-mime-broken",
        "imds-v1-client",
        "user-data-failed",
        "user-data-not-rerun",
        "user-data-absent",
        "cloud-init-failed",
    ],
    layer: Layer::Config,
    title: "no setting, tag, user data or file names the cluster to join",
    symptoms: "ecs-bootstrap stops; without ecs-bootstrap the instance joins `default`, which may be created for it",
    proof: "no tag, setting, user data or file names a cluster, and none of them exists but could not be read",
    look_alikes: &["user-data-absent", "user-data-failed", "config-key-misspelt"],
    class: Class::Terminal,
    exit: Exit::Cluster,
    exit_after_deadline: Exit::Cluster,
    remedy: "tag the instance with `ecs-bootstrap:cluster` (and allow tags in metadata), set `cluster` in \
             `/etc/ecs-bootstrap/config.toml`, or pass `--cluster`; also `default` must be named explicitly",
    source: "agent/config/config.go, ecs-agent/api/ecs/client/ecs_client.go: the default of ECS_CLUSTER is `default`",
    check: |evidence| {
        let effect = effect(evidence).filter(|effect| effect.wanted.is_none() && !effect.is_in_default)?;
        let of_user_data = user_data(evidence).map(|known| {
            let what = match known.part_type {
                PartType::Known(what) => what.to_owned(),
                PartType::TwiceEncoded(what) => format!("{what} in base64"),
                PartType::Unknown(_) | PartType::Absent => "nothing that cloud-init runs".to_owned(),
            };
            let mentions = if known.mentions_cluster { "mentions" } else { "does not mention" };
            format!("user data is {what}, and {mentions} a cluster")
        });
        Some(effect.seen.into_iter().chain(of_user_data).chain(output(evidence)).collect())
    },
    ..Cause::DEFAULTS
};

/// ecs-init passes quotes and spaces on as part of the name.
pub(super) static CLUSTER_NAME_INVALID: Cause = Cause {
    id: "cluster-name-invalid",
    yields_to: &["config-quoted", "imds-v1-client"],
    layer: Layer::Config,
    title: "the name of the expected cluster is not a valid cluster name or ARN",
    symptoms: "the agent exits with code 5, and its log says that the cluster must match a pattern",
    proof: "the value has a character other than letters, digits, hyphens and underscores, and is not an ARN",
    look_alikes: &["config-quoted", "cluster-not-found", "imds-v1-client"],
    class: Class::Terminal,
    exit: Exit::Cluster,
    exit_after_deadline: Exit::Cluster,
    remedy: "write the plain name (letters, digits, hyphens, underscores) or the ARN, without quotes, spaces or a \
             variable that nothing expands",
    source: "Amazon ECS API Reference, CreateCluster; aws/amazon-ecs-agent#4159: ecs-init passes quotes on",
    check: |evidence| match &evidence.stage_error {
        Some(StageError::Refused(refusal @ Refusal::ClusterInvalid { source_of, .. })) => {
            Some(vec![format!("{refusal} ({source_of})")])
        }
        _ => invalid_cluster_name(evidence).map(|(_, seen)| vec![seen]),
    },
    ..Cause::DEFAULTS
};

/// Checked before the TLS library reads the file.
pub(super) static CA_BUNDLE_INVALID: Cause = Cause {
    id: "ca-bundle-invalid",
    layer: Layer::Config,
    title: "the file in `AWS_CA_BUNDLE` has no usable certificates",
    symptoms: "every AWS call fails with a TLS error",
    proof: "the file does not exist, cannot be read, or has no PEM certificate; if the file is good, the certificate \
            of the endpoint is at fault, and the cause is `tls-untrusted`",
    look_alikes: &["tls-untrusted"],
    class: Class::Terminal,
    exit: Exit::Settings,
    exit_after_deadline: Exit::Settings,
    remedy: "set AWS_CA_BUNDLE to a PEM bundle, or unset it",
    source: "AWS SDKs and Tools Reference Guide, \"General configuration\"",
    check: |evidence| {
        let is_bundle = |kind: &AwsErrorKind| matches!(kind, AwsErrorKind::CaBundle { .. });
        evidence.aws_errors().find(|error| is_bundle(&error.kind)).map(|error| vec![error_chain(error)])
    },
    ..Cause::DEFAULTS
};

#[cfg(test)]
mod tests {
    use super::super::tests::ids;

    use crate::evidence::Evidence;

    fn with_config(key: &str, value: &str) -> Evidence {
        Evidence { config: [(key.to_owned(), value.to_owned())].into(), ..Evidence::default() }
    }

    #[test]
    fn bad_json_is_a_cause_only_if_it_makes_the_agent_exit() {
        assert_eq!(ids(&with_config("ECS_INSTANCE_ATTRIBUTES", "{'a':'b'}")), ["config-bad-json"]);
        assert_eq!(ids(&with_config("ECS_INSTANCE_ATTRIBUTES", r#"{"a":"b"}"#)), Vec::<&str>::new());
        assert_eq!(ids(&with_config("ECS_INSTANCE_ATTRIBUTES", r#"{"a":1}"#)), ["config-bad-json"]);
        assert_eq!(ids(&with_config("ECS_INSTANCE_ATTRIBUTES", r#"{"a":null}"#)), Vec::<&str>::new());
        assert_eq!(ids(&with_config("ECS_INSTANCE_ATTRIBUTES", "")), Vec::<&str>::new());
        assert_eq!(ids(&with_config("ECS_RESERVED_PORTS", "22,80")), Vec::<&str>::new());
    }
}
