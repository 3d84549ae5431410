//! The only table of settings: the name of each, what it does, which values it takes, and how they get into
//! [`Settings`].
//!
//! A new setting needs a field of [`Settings`], its default there, and one entry here. Settings files, the environment,
//! the command line, error texts, "did you mean", the man page and the reference page are made from that entry.

mod raw;
mod values;

pub use self::raw::Raw;
pub use self::values::{MAX_DURATION, is_metadata_key};
use self::values::{
    agent_unit, at_deadline, attributes, boolean, cluster, config_from, daemons, definitions, drain_triggers, duration,
    images, name, prefix, registry_auth, reserved_memory, services, switch, tag_pairs, tags_api, tags_cluster,
    tags_settings, texts, url, window,
};
use super::{Settings, Source, Sourced};

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
        "units.agent",
        units_agent,
        agent_unit,
        "`auto`, `none`, or the name of a unit that ends with `.service`",
        "the unit that starts the agent; auto: `ecs.service`, or `amazon-ecs.service` if only that one is installed; none: no \
         unit does, but for example a script of user data that runs `docker run`",
        true
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
        "derive.attributes-follow",
        derive.attributes_follow,
        boolean,
        "`true` or `false`",
        "change these attributes when the tags change: `ecs-bootstrap-watch.timer` compares them every 20 s (needs tags in \
         instance metadata)"
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
        "ready.attributes",
        ready.attributes,
        attributes,
        "`none`, or `auto` and names of attributes, each alone or with `=` and a value (an array, or separated by commas)",
        "the attributes that the container instance must have before it is ready; auto: those in ECS_INSTANCE_ATTRIBUTES, the \
         logging drivers in ECS_AVAILABLE_LOGGING_DRIVERS, the GPUs, and the trunk interface where `awsvpcTrunking` is on"
    ),
    setting!(
        "ready.images",
        ready.images,
        images,
        "`none`, or names of images (an array, or separated by commas)",
        "the images that docker must have before the instance is ready; `ecs-bootstrap-images.service` pulls them beside user \
         data and the start of the agent"
    ),
    setting!(
        "ready.images-of-services",
        ready.images_of_services,
        services,
        "`none`, or names of ECS services (an array, or separated by commas)",
        "the services of the cluster whose images docker must have before the instance is ready"
    ),
    setting!(
        "ready.hold-registration",
        ready.hold_registration,
        boolean,
        "`true` or `false`",
        "start the agent only when these images are present, or `ready.deadline` has passed"
    ),
    setting!(
        "ready.deadline",
        ready.deadline,
        duration,
        "a duration such as `5m`, at most `1day`",
        "how long to wait for the daemons and the attributes after the registration, and for the images since their pull began"
    ),
    setting!(
        "ready.at-deadline",
        ready.at_deadline,
        at_deadline,
        "`fail` or `allow`",
        "what happens if a daemon does not run, or an attribute or an image is missing at `ready.deadline`: the verdict is a \
         failure and with `ready.daemons` no tasks are allowed, or the instance is ready with a note"
    ),
    setting!(
        "registry.auth",
        registry_auth,
        registry_auth,
        "`none`, `secretsmanager:NAME`, `ssm:NAME`, or the ARN of a secret or a parameter",
        "the credentials of registries, as docker's document with `auths`; they are written to `ecs.config` as \
         ECS_ENGINE_AUTH_DATA, at each boot anew"
    ),
    setting!(
        "config-from",
        config_from,
        config_from,
        "`none`, an object of S3 as `s3://BUCKET/OBJECT`, `ssm:NAME`, or the ARN of a parameter",
        "more settings, with the rank of /etc/ecs-bootstrap: a text as `ecs.config`, or settings if the name ends in `.toml`"
    ),
    setting!(
        "start-tasks",
        start_tasks,
        definitions,
        "`none`, or names of task definitions, `FAMILY` or `FAMILY:REVISION`, or their ARNs, each family once (an array, or separated by commas)",
        "start a task of each on this instance when it is ready, unless one runs"
    ),
    setting!(
        "watch.enable",
        watch.enable,
        boolean,
        "`true` or `false`",
        "watch the agent after the verification, and name the cause if it stays disconnected, is no longer in its cluster, \
         starts again and again, or loses its connection at equal intervals"
    ),
    setting!(
        "watch.window",
        watch.window,
        window,
        "a duration such as `5m`, from `30s` to `1day`",
        "how long a fault must last before `watch` reports it"
    ),
    setting!(
        "watch.restart-agent",
        watch.restart_agent,
        boolean,
        "`true` or `false`",
        "restart the agent, once in each boot, if `watch` finds that it is stuck"
    ),
    setting!(
        "drain.on",
        drain.on,
        drain_triggers,
        "`none`, or `termination`, `spot` and `rebalance` (an array, or separated by commas)",
        "drain the container instance when the Auto Scaling group terminates the instance, when EC2 announces a Spot interruption, \
         or when EC2 recommends to replace a Spot instance"
    ),
    setting!(
        "drain.deadline",
        drain.deadline,
        duration,
        "a duration such as `30m`, at most `1day`",
        "how long to wait for the end of the tasks; a Spot interruption and the hook can leave less time"
    ),
    setting!(
        "drain.hook",
        drain.hook,
        name,
        "the name of a lifecycle hook",
        "the terminating hook to complete, if the group has several"
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
        "tag the instance with its verdict, its cause, and its container instance (`ecs-bootstrap:verdict`, \
         `ecs-bootstrap:cause`, `ecs-bootstrap:container-instance-arn`, `ecs-bootstrap:cluster-arn`)"
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
        "store the time from launch to ready in CloudWatch (metric `LaunchToReady`, namespace `ecs-bootstrap`), and each \
         fault that `watch` reports (metric `AgentFault`)"
    ),
];

#[cfg(test)]
mod tests;
