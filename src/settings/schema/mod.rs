//! The only table of settings: the name of each, what it does, which values it takes, and how they get into
//! [`Settings`].
//!
//! A new setting needs a field of [`Settings`], its default there, and one entry here. Settings files, the environment,
//! the command line, error texts, "did you mean", the man page and the reference page are made from that entry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    AtDeadline, Daemons, ReservedMemory, Secret, Settings, Source, Sourced, Switch, TagsApi, TagsCluster, TagsSettings,
};
use crate::agent_variables;

/// A value as it was written, before it is checked against its setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// A string. Every value of the environment, the command line and tags is one.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// An array.
    List(Vec<Raw>),
    /// A table.
    Table(BTreeMap<String, Raw>),
    /// A TOML value of a type that no setting takes; the name of the type.
    Other(&'static str),
}

/// One setting.
pub struct Setting {
    /// The name, with a dot between its parts.
    pub name: &'static str,
    /// The values that it takes, for error messages: "takes ...".
    pub expects: &'static str,
    /// What it does, for the man page and the reference page.
    pub about: &'static str,
    /// Whether it is used before tags and user data are read, so that neither can set it.
    pub early: bool,
    apply: fn(&mut Settings, &Raw, Source) -> Option<()>,
}

impl Setting {
    /// Puts the value into `settings`. `None` if this setting does not take such a value.
    pub fn apply(&self, settings: &mut Settings, raw: &Raw, source: Source) -> Option<()> {
        (self.apply)(settings, raw, source)
    }
}

/// The setting with this name.
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

/// The setting `cluster`. `ecs.config` sets it too, under the name `ECS_CLUSTER`.
pub const CLUSTER: Setting = Setting {
    name: "cluster",
    expects: "a cluster name (1 to 255 letters, digits, hyphens and underscores) or a cluster ARN",
    about: "the cluster to join, by name or ARN",
    early: false,
    apply: |settings, raw, source| {
        settings.cluster = Some(Sourced::new(cluster(raw)?, source));
        Some(())
    },
};

/// Every setting, in the order of the reference page and of `10-defaults.toml`.
pub static ALL: &[Setting] = &[
    CLUSTER,
    setting!(
        "cluster-tags",
        cluster_tags,
        tag_pairs,
        "tags as a table of strings, or as `k=v,k2=v2`",
        "join the only ACTIVE cluster with all these tags, if no source names a cluster"
    ),
    setting!(
        "imds.deadline",
        imds_deadline,
        duration,
        "a duration such as `120s`, at most `1day`",
        "how long to retry the instance metadata service before it counts as unreachable",
        true
    ),
    setting!(
        "tags.prefix",
        tags_prefix,
        prefix,
        "letters, digits and `+ - = . , _ : @`, 1 to 64 characters",
        "the prefix of the tags that ecs-bootstrap reads",
        true
    ),
    setting!(
        "tags.wait",
        tags_wait,
        duration,
        "a duration such as `30s`, at most `1day`",
        "how long to wait for a tag that `ec2:DescribeTags` does not return yet",
        true
    ),
    setting!(
        "tags.api",
        tags_api,
        tags_api,
        "`auto` or `never`",
        "whether to call `ec2:DescribeTags` if IMDS has no tags",
        true
    ),
    setting!(
        "tags.settings",
        tags_settings,
        tags_settings,
        "`all`, `cluster` or `none`",
        "what tags can set: the cluster and variables of the agent, only the cluster, or nothing; only files can \
         set this",
        true
    ),
    setting!(
        "tags.cluster",
        tags_cluster,
        tags_cluster,
        "`any`, `fallback` or `never`",
        "whether tags can choose the cluster: `any` also overrides the files, `fallback` applies only if no other \
         source names one; only files can set this",
        true
    ),
    setting!(
        "run.deadline",
        run_deadline,
        duration,
        "a duration such as `240s`, at most `1day`",
        "how long a run may take before the verification starts",
        true
    ),
    setting!(
        "verify.deadline",
        verify_deadline,
        duration,
        "a duration such as `10m`, at most `1day`",
        "how long to wait for the registration"
    ),
    setting!(
        "verify.window",
        verify_window,
        duration,
        "a duration such as `30s`, at most `1day`",
        "how long a registered agent may be disconnected before that is a failure"
    ),
    setting!(
        "units.enable",
        units_enable,
        boolean,
        "`true` or `false`",
        "enable the agent's unit for the next boot (it also starts docker)"
    ),
    setting!(
        "units.early",
        units_early,
        boolean,
        "`true` or `false`",
        "start the agent before user data has ended, if user data cannot change its cluster; needs the unit of \
         `install --early`"
    ),
    setting!(
        "derive.spot",
        derive.spot,
        switch,
        "`on`, `off` or `auto`",
        "drain the instance on a Spot interruption notice; auto: on Spot instances"
    ),
    setting!(
        "derive.gpu",
        derive.gpu,
        switch,
        "`on`, `off` or `auto`",
        "GPU support; auto: if there is an NVIDIA device"
    ),
    setting!(
        "derive.neuron",
        derive.neuron,
        switch,
        "`on`, `off` or `auto`",
        "Inferentia and Trainium support; auto: if there is a Neuron device"
    ),
    setting!(
        "derive.warm-pool",
        derive.warm_pool,
        switch,
        "`on`, `off` or `auto`",
        "wait for `InService` before registering; auto: in an Auto Scaling group"
    ),
    setting!(
        "derive.reserved-memory",
        derive.reserved_memory,
        reserved_memory,
        "`off`, `auto`, or MiB from 0 to 65535",
        "memory that tasks cannot use; auto: 5 % of the host's memory, 128 to 1024 MiB"
    ),
    setting!(
        "derive.propagate-tags",
        derive.propagate_tags,
        switch,
        "`on`, `off` or `auto`",
        "copy the instance's tags to the container instance (needs `ec2:DescribeTags`); auto is off"
    ),
    setting!(
        "derive.attributes",
        derive.attributes,
        texts,
        "an array of tag keys, or tag keys separated by commas",
        "instance tags that become attributes of the container instance"
    ),
    setting!(
        "ready.daemons",
        ready.daemons,
        daemons,
        "`none`, `all`, or names of ECS services (an array, or separated by commas)",
        "the daemon services whose tasks must run before the instance is ready and takes tasks that have the placement \
         constraint `attribute:ecs-bootstrap.tasks == allowed`"
    ),
    setting!(
        "ready.deadline",
        ready.deadline,
        duration,
        "a duration such as `5m`, at most `1day`",
        "how long to wait for the daemons after the registration"
    ),
    setting!(
        "ready.at-deadline",
        ready.at_deadline,
        at_deadline,
        "`fail` or `allow`",
        "what happens if a daemon does not run at `ready.deadline`: the verdict is a failure and no tasks are allowed, or \
         the instance is ready with a note"
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
        "the stack to signal; overrides the instance's tag `aws:cloudformation:stack-name`"
    ),
    setting!(
        "signal.resource",
        signal.resource,
        name,
        "the logical id of a resource",
        "the resource with the CreationPolicy; overrides the tag `aws:cloudformation:logical-id`"
    ),
    setting!(
        "signal.wait-url",
        signal.wait_url,
        url,
        "the presigned `https` URL of a wait condition handle",
        "signal the verdict and its cause to a CloudFormation wait condition; a credential, never shown"
    ),
    setting!(
        "signal.lifecycle",
        signal.lifecycle,
        boolean,
        "`true` or `false`",
        "keep the launch hook of the Auto Scaling group waiting during the verification, then complete it"
    ),
    setting!(
        "signal.hook",
        signal.hook,
        name,
        "the name of a lifecycle hook",
        "the launch hook to complete, if the group has several"
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
        "let the Auto Scaling group replace the instance on a fault of this host, if others are in service"
    ),
    setting!(
        "signal.cloudwatch",
        signal.cloudwatch,
        boolean,
        "`true` or `false`",
        "store the time from launch to ready in CloudWatch (metric `LaunchToReady`, namespace `ecs-bootstrap`)"
    ),
];

fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) => Some(text),
        _ => None,
    }
}

/// The name or ARN of a stack, a resource or a hook, as AWS takes it.
fn name(raw: &Raw) -> Option<Option<String>> {
    let name = text(raw)?;
    let is_valid = (1..=1024).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic());
    is_valid.then(|| Some(name.to_owned()))
}

/// Plain HTTP is for this host only, because the URL is a credential.
fn url(raw: &Raw) -> Option<Option<Secret>> {
    let url = text(raw)?;
    let is_url = url.chars().all(|c| c.is_ascii_graphic()) && url.len() <= 4096;
    let is_local = ["http://127.0.0.1:", "http://[::1]:"].iter().any(|local| url.starts_with(local));
    (is_url && (url.starts_with("https://") || is_local)).then(|| Some(Secret::new(url.to_owned())))
}

fn cluster(raw: &Raw) -> Option<String> {
    let name = text(raw)?;
    agent_variables::check("ECS_CLUSTER", name).ok().filter(|()| !name.is_empty()).map(|()| name.to_owned())
}

/// The longest duration of a setting. No boot takes a day, and a day overflows no clock.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

fn duration(raw: &Raw) -> Option<Duration> {
    const MAX_TEXT_LENGTH: usize = 64;
    let text = text(raw).filter(|text| text.len() <= MAX_TEXT_LENGTH)?;
    humantime::parse_duration(text).ok().filter(|duration| *duration <= MAX_DURATION)
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

/// The names of services: letters, digits, underscores and hyphens, at most 255 (Amazon ECS API Reference, CreateService).
fn daemons(raw: &Raw) -> Option<Daemons> {
    let is_name = |name: &String| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let is_word = ["all", "none"].iter().any(|word| name.eq_ignore_ascii_case(word));
        (1..=255).contains(&name.len()) && name.bytes().all(fits) && !is_word
    };
    match raw {
        Raw::Text(text) if text == "none" => Some(Daemons::None),
        Raw::Text(text) if text == "all" => Some(Daemons::All),
        _ => {
            let names = texts(raw).filter(|names| !names.is_empty() && names.iter().all(is_name))?;
            let names: BTreeSet<String> = names.into_iter().collect();
            Some(Daemons::Named(names.into_iter().collect()))
        }
    }
}

fn at_deadline(raw: &Raw) -> Option<AtDeadline> {
    match text(raw)? {
        "fail" => Some(AtDeadline::Fail),
        "allow" => Some(AtDeadline::Allow),
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
