//! The one table of settings: name, meaning, what its value may be, and how it lands in [`Settings`].
//!
//! A new setting is a field of [`Settings`], its default there, and one entry here; every rank, the error texts, "did
//! you mean", the man page and the README's table follow.

use std::collections::BTreeMap;
use std::time::Duration;

use super::agent_variables;
use super::{ReservedMemory, Secret, Settings, Source, Sourced, Switch, TagsApi, TagsCluster, TagsSettings};

/// A value as it was written, before anybody knows what it shall be.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// A string; all that the environment, the command line and tags can say.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// An array.
    List(Vec<Raw>),
    /// A table.
    Table(BTreeMap<String, Raw>),
    /// A TOML value that no setting takes, by the name of its type.
    Other(&'static str),
}

/// One setting.
pub struct Setting {
    /// Its dotted name.
    pub name: &'static str,
    /// What its value may be, for error texts: "takes ...".
    pub expects: &'static str,
    /// What it does, for the man page and the README.
    pub about: &'static str,
    /// Read before tags and user data are, so not to be said by those.
    pub early: bool,
    apply: fn(&mut Settings, &Raw, Source) -> Option<()>,
}

impl Setting {
    /// Puts the value into `settings`; `None` when it is not what this setting takes.
    pub fn apply(&self, settings: &mut Settings, raw: &Raw, source: Source) -> Option<()> {
        (self.apply)(settings, raw, source)
    }
}

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Setting> {
    ALL.iter().find(|setting| setting.name == name)
}

macro_rules! setting {
    ($name:literal, $field:ident $(. $inner:ident)?, $parse:expr, $expects:literal, $about:literal) => {
        setting!($name, $field $(. $inner)?, $parse, $expects, $about, false)
    };
    ($name:literal, $field:ident $(. $inner:ident)?, $parse:expr, $expects:literal, $about:literal, $early:literal) => {
        Setting {
            name: $name,
            expects: $expects,
            about: $about,
            early: $early,
            apply: |settings, raw, source| {
                settings.$field $(. $inner)? = Sourced::new($parse(raw)?, source);
                Some(())
            },
        }
    };
}

/// Every setting, in the order of the README.
pub static ALL: &[Setting] = &[
    Setting {
        name: "cluster",
        expects: "a cluster name (1 to 255 letters, digits, hyphens and underscores) or a cluster ARN",
        about: "the cluster to join, by name or ARN",
        early: false,
        apply: |settings, raw, source| {
            settings.cluster = Some(Sourced::new(cluster(raw)?, source));
            Some(())
        },
    },
    setting!(
        "cluster-tags",
        cluster_tags,
        tag_pairs,
        "tags as a table of strings, or as `k=v,k2=v2`",
        "join the one ACTIVE cluster that carries all these tags, where nothing names a cluster"
    ),
    setting!(
        "imds.deadline",
        imds_deadline,
        duration,
        "a duration such as `120s`, at most `1day`",
        "how long the instance metadata service is asked before it counts as unreachable",
        true
    ),
    setting!(
        "tags.prefix",
        tags_prefix,
        prefix,
        "letters, digits and `+ - = . , _ : @`, 1 to 64 characters",
        "what the keys of our tags begin with",
        true
    ),
    setting!(
        "tags.wait",
        tags_wait,
        duration,
        "a duration such as `30s`, at most `1day`",
        "how long `ec2:DescribeTags` is asked for a tag that may still be on its way",
        true
    ),
    setting!(
        "tags.api",
        tags_api,
        tags_api,
        "`auto` or `never`",
        "whether `ec2:DescribeTags` may be called when IMDS has no tags",
        true
    ),
    setting!(
        "tags.settings",
        tags_settings,
        tags_settings,
        "`all`, `cluster` or `none`",
        "how much tags may say: the cluster and agent settings, the cluster, or nothing; only files can set this",
        true
    ),
    setting!(
        "tags.cluster",
        tags_cluster,
        tags_cluster,
        "`any`, `fallback` or `never`",
        "whether tags may choose the cluster: over the files, only where nothing else names one, or never; only files can set this",
        true
    ),
    setting!(
        "run.deadline",
        run_deadline,
        duration,
        "a duration such as `240s`, at most `1day`",
        "how long gathering, deciding and applying may take together",
        true
    ),
    setting!(
        "verify.deadline",
        verify_deadline,
        duration,
        "a duration such as `10m`, at most `1day`",
        "how long the registration is waited for"
    ),
    setting!(
        "verify.window",
        verify_window,
        duration,
        "a duration such as `30s`, at most `1day`",
        "for how long a registered agent may be disconnected before that counts"
    ),
    setting!(
        "units.enable",
        units_enable,
        boolean,
        "`true` or `false`",
        "enable the agent's unit for the next boot (it starts docker)"
    ),
    setting!(
        "derive.spot",
        derive.spot,
        switch,
        "`on`, `off` or `auto`",
        "drain on a Spot interruption notice; auto: on Spot instances"
    ),
    setting!("derive.gpu", derive.gpu, switch, "`on`, `off` or `auto`", "GPU support; auto: where an NVIDIA device is"),
    setting!(
        "derive.neuron",
        derive.neuron,
        switch,
        "`on`, `off` or `auto`",
        "Inferentia and Trainium support; auto: where a Neuron device is"
    ),
    setting!(
        "derive.warm-pool",
        derive.warm_pool,
        switch,
        "`on`, `off` or `auto`",
        "wait for InService before registering; auto: inside an Auto Scaling group"
    ),
    setting!(
        "derive.reserved-memory",
        derive.reserved_memory,
        reserved_memory,
        "`off`, `auto`, or MiB from 0 to 65535",
        "memory kept from tasks; auto: 5 % of the host's, 128 to 1024 MiB"
    ),
    setting!(
        "derive.propagate-tags",
        derive.propagate_tags,
        switch,
        "`on`, `off` or `auto`",
        "copy the instance's tags to the container instance (needs ec2:DescribeTags); auto is off"
    ),
    setting!(
        "derive.attributes",
        derive.attributes,
        texts,
        "an array of tag keys, or keys with commas between them",
        "instance tags that become attributes of the container instance"
    ),
    setting!(
        "signal.cloudformation",
        signal.cloudformation,
        boolean,
        "`true` or `false`",
        "signal the verdict to the CloudFormation stack that waits for this instance or its group (CreationPolicy)"
    ),
    setting!(
        "signal.stack",
        signal.stack,
        name,
        "the name or id of a stack",
        "the stack to signal, where the instance's tag `aws:cloudformation:stack-name` shall not say it"
    ),
    setting!(
        "signal.resource",
        signal.resource,
        name,
        "the logical id of a resource",
        "the resource with the CreationPolicy, where the tag `aws:cloudformation:logical-id` shall not say it"
    ),
    setting!(
        "signal.wait-url",
        signal.wait_url,
        url,
        "the presigned `https` URL of a wait condition handle",
        "signal the verdict with its cause to a CloudFormation wait condition; shown in no output"
    ),
    setting!(
        "signal.lifecycle",
        signal.lifecycle,
        boolean,
        "`true` or `false`",
        "keep the launch hook of the Auto Scaling group waiting while verification runs, then complete it"
    ),
    setting!(
        "signal.hook",
        signal.hook,
        name,
        "the name of a lifecycle hook",
        "the launch hook to complete, where the group has several"
    ),
    setting!(
        "signal.instance-tags",
        signal.instance_tags,
        boolean,
        "`true` or `false`",
        "tag the instance with its verdict and cause (`ecs-bootstrap:verdict`, `ecs-bootstrap:cause`)"
    ),
    setting!(
        "signal.unhealthy",
        signal.unhealthy,
        boolean,
        "`true` or `false`",
        "let the Auto Scaling group replace the instance for a fault of this host, while others are in service"
    ),
];

fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) => Some(text),
        _ => None,
    }
}

/// What AWS takes for a stack, a resource or a hook, by name or ARN.
fn name(raw: &Raw) -> Option<Option<String>> {
    let name = text(raw)?;
    let is_one = (1..=1024).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic());
    is_one.then(|| Some(name.to_owned()))
}

/// Over plain HTTP only on this host: the URL is a credential.
fn url(raw: &Raw) -> Option<Option<Secret>> {
    let url = text(raw)?;
    let is_sound = url.chars().all(|c| c.is_ascii_graphic()) && url.len() <= 4096;
    let is_local = ["http://127.0.0.1:", "http://[::1]:"].iter().any(|local| url.starts_with(local));
    (is_sound && (url.starts_with("https://") || is_local)).then(|| Some(Secret::new(url.to_owned())))
}

fn cluster(raw: &Raw) -> Option<String> {
    let name = text(raw)?;
    agent_variables::check("ECS_CLUSTER", name).ok().filter(|()| !name.is_empty()).map(|()| name.to_owned())
}

/// No wait is longer: a day is more than any instance takes to boot, and less than what overflows a clock.
pub const LONGEST_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

fn duration(raw: &Raw) -> Option<Duration> {
    const LONGEST_TEXT: usize = 64;
    let text = text(raw).filter(|text| text.len() <= LONGEST_TEXT)?;
    humantime::parse_duration(text).ok().filter(|duration| *duration <= LONGEST_DURATION)
}

fn boolean(raw: &Raw) -> Option<bool> {
    match raw {
        Raw::Bool(value) => Some(*value),
        Raw::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn switch(raw: &Raw) -> Option<Switch> {
    match raw {
        Raw::Bool(true) => Some(Switch::On),
        Raw::Bool(false) => Some(Switch::Off),
        Raw::Text(text) => match text.as_str() {
            "on" | "true" => Some(Switch::On),
            "off" | "false" => Some(Switch::Off),
            "auto" => Some(Switch::Auto),
            _ => None,
        },
        _ => None,
    }
}

fn tags_api(raw: &Raw) -> Option<TagsApi> {
    match text(raw)? {
        "auto" => Some(TagsApi::Auto),
        "never" => Some(TagsApi::Never),
        _ => None,
    }
}

fn tags_settings(raw: &Raw) -> Option<TagsSettings> {
    match text(raw)? {
        "all" => Some(TagsSettings::All),
        "cluster" => Some(TagsSettings::Cluster),
        "none" => Some(TagsSettings::None),
        _ => None,
    }
}

fn tags_cluster(raw: &Raw) -> Option<TagsCluster> {
    match text(raw)? {
        "any" => Some(TagsCluster::Any),
        "fallback" => Some(TagsCluster::Fallback),
        "never" => Some(TagsCluster::Never),
        _ => None,
    }
}

fn reserved_memory(raw: &Raw) -> Option<ReservedMemory> {
    match raw {
        Raw::Integer(mib) => u16::try_from(*mib).ok().map(ReservedMemory::Mib),
        Raw::Text(text) => match text.as_str() {
            "off" => Some(ReservedMemory::Off),
            "auto" => Some(ReservedMemory::Auto),
            number => number.parse().ok().map(ReservedMemory::Mib),
        },
        _ => None,
    }
}

/// The characters that IMDS allows in a tag key (EC2 User Guide, "View tags for your EC2 instances using instance
/// metadata").
pub fn is_metadata_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "+-=.,_:@".contains(c))
}

fn prefix(raw: &Raw) -> Option<String> {
    let prefix = text(raw)?;
    (is_metadata_key(prefix) && prefix.len() <= 64).then(|| prefix.to_owned())
}

fn texts(raw: &Raw) -> Option<Vec<String>> {
    match raw {
        Raw::Text(text) => {
            Some(text.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect())
        }
        Raw::List(items) => items.iter().map(|item| text(item).map(str::to_owned)).collect(),
        _ => None,
    }
}

fn tag_pairs(raw: &Raw) -> Option<BTreeMap<String, String>> {
    let printable = |text: &str| !text.chars().any(char::is_control);
    match raw {
        Raw::Table(table) => table
            .iter()
            .map(|(key, value)| text(value).map(|value| (key.clone(), value.to_owned())))
            .collect::<Option<BTreeMap<_, _>>>(),
        Raw::Text(text) => text
            .split(',')
            .map(|pair| pair.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())))
            .collect(),
        _ => None,
    }
    .filter(|tags| tags.iter().all(|(key, value)| !key.is_empty() && printable(key) && printable(value)))
}

#[cfg(test)]
mod tests;
