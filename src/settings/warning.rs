//! The warnings: what may not be meant, and does not stop the run.
//!
//! In: the module that observes it. Out: a line of text output, and an object in JSON. [`ALL`] is the list in
//! `docs/reference/warnings.md`.

use serde::Serialize;

use super::Source;

/// A type of warning.
#[derive(Debug)]
pub struct WarningType {
    /// The id, in kebab-case. Ids do not change between versions.
    pub id: &'static str,
    /// What was observed, and what ecs-bootstrap does.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// One observation, with its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    id: &'static str,
    /// What is wrong, and what ecs-bootstrap does with it.
    pub text: String,
    /// The source of the value.
    pub source: Option<Source>,
}

impl Warning {
    /// A warning of a type of this module.
    pub fn new(of: &WarningType, text: String, source: Option<Source>) -> Warning {
        Warning { id: of.id, text, source }
    }

    /// A warning that has the id of a cause of the catalogue, not one of this module.
    pub fn of_cause(id: &'static str, text: String, source: Source) -> Warning {
        Warning { id, text, source: Some(source) }
    }

    /// The id of its type, or of a cause.
    pub fn id(&self) -> &'static str {
        self.id
    }
}

macro_rules! warnings {
    ($($name:ident: $id:literal, $meaning:literal, $remedy:literal;)*) => {
        $(#[doc = $meaning] pub static $name: WarningType = WarningType { id: $id, meaning: $meaning, remedy: $remedy };)*
        /// Every type, by id.
        pub static ALL: &[&WarningType] = &[$(&$name),*];
    };
}

warnings! {
    AGENT_NOT_GUARDED: "agent-not-guarded",
        "The unit that `units.agent` names has no drop-in of ecs-bootstrap, so it can start the agent too early or without a cluster.",
        "Link the drop-in, as the text says; see [An agent with another unit](../how-to/agent-with-another-unit.md).";
    AGENT_NOT_RESTARTED: "agent-not-restarted",
        "`ecs.config` changes, and with `units.agent = \"none\"` no unit restarts the agent.",
        "Remove the container of the agent and run it again.";
    AGENT_VARIABLE_UNKNOWN: "agent-variable-unknown",
        "The agent does not know a variable of the settings. It is written to `ecs.config` as it is.",
        "Compare the name with the [list of variables](settings.md#agent-variables). Keep it if your agent is newer.";
    ATTRIBUTE_REFUSED: "attribute-refused",
        "A tag in `derive.attributes` cannot be an attribute of the container instance and is left out.",
        "Change the name or the value of the tag; the text says which rule of ECS it breaks.";
    ATTRIBUTES_DO_NOT_FOLLOW: "attributes-do-not-follow",
        "`derive.attributes-follow` has no effect: no tag in `derive.attributes` can be followed.",
        "Turn on tags in instance metadata (`aws ec2 modify-instance-metadata-options --instance-metadata-tags enabled`), or correct `derive.attributes`.";
    ATTRIBUTES_NOT_MERGED: "attributes-not-merged",
        "No tag becomes an attribute, because `ECS_INSTANCE_ATTRIBUTES` that was set by hand cannot be merged with them.",
        "Make its value a JSON object of strings, without a backslash.";
    CLUSTER_OF_BEFORE: "cluster-of-before",
        "The source that names the cluster could not be read. The cluster of the earlier run is kept.",
        "Read the error in the text; the next run reads the source again.";
    CLUSTER_TAGS_IGNORED: "cluster-tags-ignored",
        "`cluster-tags` is ignored, because another source names the cluster.",
        "Remove one of the two.";
    CONFIG_FROM_NOT_READ: "config-from-not-read",
        "The settings that `config-from` names could not be used. `plan` goes on without them; `run` fails.",
        "See the error; `ecs-bootstrap plan --iam` prints the permission.";
    CONFIG_VALUE_IGNORED: "config-value-ignored",
        "The agent ignores a value of an `ecs.config`. Without a place: more lines have a mistake than are shown.",
        "Correct the value that the text names. `ecs-bootstrap check FILE` lists all of them.";
    EARLY_START: "early-start",
        "`units.early` and the agent's unit in `/etc/systemd/system` do not fit together, or that unit is out of date.",
        "Run the command in the text; see [Early start](../explanation/boot-order.md#early-start).";
    HOLD_WITHOUT_IMAGES: "hold-without-images",
        "`ready.hold-registration` has no effect, because no image is named, or no unit starts the agent.",
        "Name images in `ready.images` or `ready.images-of-services` and a unit in `units.agent`, or remove the setting.";
    METADATA_UNKNOWN: "metadata-unknown",
        "Only `plan` prints it: a source that may name a cluster could not be read, so on the instance the plan may differ.",
        "Run `plan` on an instance, or make the instance metadata reachable.";
    PLAIN_ENDPOINT: "plain-endpoint",
        "A variable `AWS_ENDPOINT_URL...` sends signed requests to another host over plain HTTP.",
        "Use `https://`. With `--https-only` it is an error.";
    REGISTRY_AUTH_NOT_READ: "registry-auth-not-read",
        "The credentials that `registry.auth` names could not be read or used. Those that an earlier run wrote are kept.",
        "`ecs-bootstrap explain registry-auth-not-read`.";
    TAG_REFUSED: "tag-refused",
        "A tag is ignored: tags may not set this variable, or `tags.settings` or `tags.cluster` does not allow it.",
        "Set the value in a file, or allow it; see [Agent variables that a tag can set](settings.md#agent-variables-that-a-tag-can-set).";
    TAG_UNKNOWN: "tag-unknown",
        "A tag with the prefix of `tags.prefix` is ignored: it is not the name of a setting.",
        "Correct the name of the tag.";
    TAGS_SETTINGS_IGNORED: "tags-settings-ignored",
        "`tags.settings` or `tags.cluster` is ignored, because only settings files can set it.",
        "Write it to `/etc/ecs-bootstrap/config.toml`.";
    TAGS_UNKNOWN: "tags-unknown",
        "The instance's tags could not be read. The run continues, because another source names the cluster.",
        "Allow `ec2:DescribeTags`, or enable tags in instance metadata.";
    UNIT_NOT_ENABLED: "unit-not-enabled",
        "The agent's unit is not enabled: after a reboot nothing starts it.",
        "Set `units.enable`, or run `systemctl enable ecs`.";
    UNIT_ORDERING_CYCLE: "unit-ordering-cycle",
        "The agent's unit is ordered after `cloud-final.service` and wanted by `multi-user.target`, which is a cycle: systemd \
         drops one of the two units at each boot.",
        "Run `systemctl disable ecs`. ecs-bootstrap starts the unit.";
    USER_DATA_SKIPPED: "user-data-skipped",
        "The user data contains settings in a form that ecs-bootstrap does not read.",
        "Pass the settings as a part of their own; see [User data](../how-to/user-data.md).";
}
