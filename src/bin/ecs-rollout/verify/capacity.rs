//! The cluster and its capacity: whether an instance can hold the task.
//!
//! A task that fits no instance, even an empty one, is a cause. A task that only has to wait for room, or for an
//! instance that ECS may start, is not.

use ecs_bootstrap::boundary::aws::verification::{
    CapacityProvider, InstanceCapacity, Instances, MAX_INSTANCES, Resources, is_capability,
};
use serde_json::Value;

use super::fargate::units;
use super::target::{Launch, Place, Target, is_fargate_provider, log_configurations};
use super::{Checks, image};
use crate::causes;
use crate::service::short;

/// How many instances a message describes.
const MAX_SHOWN: usize = 3;

impl Checks<'_> {
    /// The container instances of the cluster, if they could be read.
    pub(super) async fn instances(&self) -> Option<&Instances> {
        let read = self.instances.get_or_init(async || {
            let wanted = wanted_attributes(&self.target);
            let call = async |deadline| self.aws.instances(self.cluster, &wanted, deadline).await;
            self.ask("the container instances", call).await
        });
        read.await.as_ref()
    }

    /// Verifies the status of the cluster, and that the capacity providers of the strategy belong to it.
    pub(super) async fn cluster(&self) {
        let Some(state) = self.cluster_state().await else { return };
        // A cluster that is PROVISIONING may become ACTIVE.
        if ["INACTIVE", "FAILED", "DEPROVISIONING"].contains(&state.status.as_str()) {
            self.fail(&causes::CLUSTER_NOT_ACTIVE, format!("the status of the cluster is {}", state.status));
        }
        let Launch::Providers(names) = self.target.launch() else { return };
        let absent = names.iter().filter(|name| !state.capacity_providers.contains(name));
        for name in absent {
            // A provider of managed instances names its cluster itself.
            let belongs = !is_fargate_provider(name) && {
                let Some(providers) = self.providers().await else { return };
                let found = providers.iter().find(|provider| provider.name == *name);
                let cluster = found.and_then(|provider| provider.cluster.as_deref());
                cluster.is_some_and(|cluster| short(cluster) == short(&state.arn))
            };
            if !belongs {
                let cluster = short(self.cluster);
                let text = format!("the capacity provider `{name}` is not associated with the cluster `{cluster}`");
                self.fail(&causes::CAPACITY_PROVIDER_ABSENT, text);
            }
        }
    }

    /// The capacity providers of the strategy, or of the cluster's default strategy, if they could be read.
    async fn providers(&self) -> Option<&Vec<CapacityProvider>> {
        let read = self.providers.get_or_init(async || {
            let names = match self.target.launch() {
                Launch::Providers(names) => names,
                Launch::Type(_) => self.cluster_state().await?.default_strategy.clone(),
            };
            let call = async |deadline| self.aws.capacity_providers(&names, deadline).await;
            self.ask("the capacity providers", call).await
        });
        read.await.as_ref()
    }

    pub(super) async fn place(&self) -> Place {
        let names = match self.target.launch() {
            Launch::Type(Some(name)) if name == "EC2" => return Place::Instances,
            Launch::Type(Some(_)) => return Place::Other,
            Launch::Type(None) => match self.cluster_state().await {
                None => return Place::Other,
                Some(state) if state.default_strategy.is_empty() => return Place::Instances,
                Some(state) => state.default_strategy.clone(),
            },
            Launch::Providers(names) => names,
        };
        if names.iter().any(|name| is_fargate_provider(name)) {
            return Place::Other;
        }
        let Some(providers) = self.providers().await else { return Place::Other };
        let is_fixed = |name: &String| {
            providers.iter().any(|provider| provider.name == *name && provider.has_group && !provider.scales)
        };
        let may_grow = !names.iter().all(is_fixed);
        Place::Providers { names, may_grow }
    }

    pub(super) async fn capacity(&self) {
        if self.target.has_no_tasks() {
            return;
        }
        let place = self.place().await;
        if place == Place::Other {
            return;
        }
        let Some(instances) = self.instances().await else { return };
        // An instance may be older than the capacity provider of its group, and does not name it then.
        let relevant = instances.list.iter().filter(|instance| match (&place, &instance.capacity_provider) {
            (Place::Providers { names, .. }, Some(provider)) => names.contains(provider),
            _ => true,
        });
        let relevant: Vec<&InstanceCapacity> = relevant.collect();
        let need = Need::of(&self.target);
        let may_grow = matches!(place, Place::Providers { may_grow: true, .. });
        match judge(&need, &relevant) {
            Fit::Now => {}
            Fit::Empty if may_grow || self.target.is_daemon() || !instances.is_complete => {}
            Fit::Empty => {
                let of = match &place {
                    Place::Providers { names, .. } => format!(" of the capacity provider `{}`", names.join("`, `")),
                    _ => String::new(),
                };
                let text = format!("the cluster `{}` has no container instance{of}", short(self.cluster));
                // An existing service is as short of instances without the deployment, which may even be the repair.
                if self.target.is_new_service() {
                    self.fail(&causes::CLUSTER_EMPTY, text);
                } else {
                    self.note(format!("{text}: the tasks wait for one"));
                }
            }
            Fit::Later(why) if may_grow => {
                self.note(format!("the task waits until ECS has started an instance: {}", why.join("; ")));
            }
            Fit::Later(why) => self.note(format!("no instance has room for the task now: {}", why.join("; "))),
            Fit::Never(why) if may_grow => self.note(format!(
                "the task fits no registered instance, so it needs another type of instance: {}",
                why.join("; ")
            )),
            Fit::Never(why) if !instances.is_complete => self.note(format!(
                "the task fits none of the {MAX_INSTANCES} container instances that were read: {}",
                why.join("; ")
            )),
            Fit::Never(why) => why.into_iter().for_each(|line| self.fail(&causes::TASK_TOO_LARGE, line)),
        }
    }
}

/// What a task needs from an instance.
#[derive(Debug, Default, PartialEq)]
struct Need {
    cpu: i64,
    memory: i64,
    gpus: usize,
    /// For example `80/tcp`.
    ports: Vec<String>,
    /// The names, and the values if they matter.
    attributes: Vec<(String, Option<String>)>,
}

/// Whether a task fits. The texts describe some instances.
#[derive(Debug, PartialEq)]
enum Fit {
    /// There is room on a connected instance.
    Now,
    /// There are no instances.
    Empty,
    /// It fits an instance, but not now.
    Later(Vec<String>),
    /// It fits no instance, even an empty one.
    Never(Vec<String>),
}

impl Need {
    fn of(target: &Target<'_>) -> Need {
        let task = target.task;
        let is_windows =
            task["runtimePlatform"]["operatingSystemFamily"].as_str().is_some_and(|name| name.starts_with("WINDOWS"));
        // Windows ignores the sizes of the task (ECS API Reference, "RegisterTaskDefinition").
        let of_task = |member: &str| units(&task[member]).filter(|_| !is_windows);
        let sum = |of: &dyn Fn(&Value) -> i64| target.containers().map(of).sum::<i64>();
        let memory = |one: &Value| one["memoryReservation"].as_i64().or(one["memory"].as_i64()).unwrap_or(0);
        let gpus = target.containers().flat_map(|one| one["resourceRequirements"].as_array().into_iter().flatten());
        let gpus = gpus.filter(|one| one["type"] == "GPU");
        let gpus = gpus.filter_map(|one| one["value"].as_str()?.parse::<usize>().ok());
        Need {
            cpu: of_task("cpu").unwrap_or_else(|| sum(&|one| one["cpu"].as_i64().unwrap_or(0))),
            memory: of_task("memory").unwrap_or_else(|| sum(&memory)),
            gpus: gpus.sum(),
            ports: host_ports(target),
            attributes: attributes(target),
        }
    }

    /// What an instance lacks of these resources; empty if the task fits.
    fn missing(&self, resources: &Resources, word: &str) -> Vec<String> {
        let mut missing = Vec::new();
        let amounts = [("CPU units", self.cpu, resources.cpu), ("MiB of memory", self.memory, resources.memory)];
        for (unit, need, has) in amounts {
            if let Some(has) = has.filter(|has| *has < need) {
                missing.push(format!("it has {has}{word} {unit}, and the task needs {need}"));
            }
        }
        if resources.gpus < self.gpus {
            missing.push(format!("it has {}{word} GPUs, and the task needs {}", resources.gpus, self.gpus));
        }
        for port in self.ports.iter().filter(|port| resources.used_ports.contains(*port)) {
            missing.push(format!("its port {port} is in use"));
        }
        missing
    }

    fn missing_attributes(&self, instance: &InstanceCapacity) -> Vec<String> {
        // The agent registers dozens of capabilities. An answer without any proves nothing.
        let known = self
            .attributes
            .iter()
            .filter(|(name, _)| if is_capability(name) { instance.has_capabilities } else { instance.has_attributes });
        let missing = known.filter(|(name, value)| match (instance.attributes.get(name), value) {
            (None, _) => true,
            (Some(has), Some(value)) => has != value,
            (Some(_), None) => false,
        });
        missing
            .map(|(name, value)| match value {
                Some(value) => format!("it does not have the attribute `{name}` with the value `{value}`"),
                None => format!("it does not have the attribute `{name}`"),
            })
            .collect()
    }
}

fn judge(need: &Need, instances: &[&InstanceCapacity]) -> Fit {
    if instances.is_empty() {
        return Fit::Empty;
    }
    let describe = |missing: &dyn Fn(&InstanceCapacity) -> Vec<String>| -> Vec<String> {
        let shown = instances.iter().take(MAX_SHOWN);
        shown.map(|one| format!("instance `{}`: {}", one.id, missing(one).join(", "))).collect()
    };
    let never = |one: &InstanceCapacity| [need.missing(&one.registered, ""), need.missing_attributes(one)].concat();
    if instances.iter().all(|one| !never(one).is_empty()) {
        return Fit::Never(describe(&never));
    }
    let now = |one: &InstanceCapacity| {
        let mut missing = never(one);
        if missing.is_empty() {
            missing = need.missing(&one.remaining, " free");
        }
        if one.status != "ACTIVE" {
            missing.push(format!("its status is {}", one.status));
        } else if !one.agent_connected {
            missing.push("its agent is not connected".to_owned());
        }
        missing
    };
    if instances.iter().any(|one| now(one).is_empty()) { Fit::Now } else { Fit::Later(describe(&now)) }
}

/// The ports of the instance that the task binds (ECS API Reference, "PortMapping").
fn host_ports(target: &Target<'_>) -> Vec<String> {
    let mode = target.network_mode();
    if !["bridge", "host"].contains(&mode) {
        return Vec::new();
    }
    let mappings = target.containers().flat_map(|one| one["portMappings"].as_array().into_iter().flatten());
    mappings
        .filter_map(|mapping| {
            let own = mapping["hostPort"].as_i64().filter(|port| *port != 0);
            let port = if mode == "host" { own.or(mapping["containerPort"].as_i64()) } else { own }?;
            Some(format!("{port}/{}", mapping["protocol"].as_str().unwrap_or("tcp")))
        })
        .collect()
}

/// The attributes of instances that the checks need.
pub(super) fn wanted_attributes(target: &Target<'_>) -> Vec<String> {
    let needed = attributes(target).into_iter().map(|(name, _)| name);
    needed.chain(image::PLATFORM_ATTRIBUTES.map(str::to_owned)).collect()
}

/// The attributes that an instance must have. ECS adds them when a revision is registered; before that, only those are
/// named that the agent's source ties to a member (`agent/app/agent_capability.go`).
fn attributes(target: &Target<'_>) -> Vec<(String, Option<String>)> {
    if target.is_registered {
        let all = target.task["requiresAttributes"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        return all.filter_map(|one| Some((text(&one["name"])?, text(&one["value"])))).collect();
    }
    let mut names = Vec::new();
    if target.network_mode() == "awsvpc" {
        names.push("ecs.capability.task-eni".to_owned());
    }
    for (_, log) in log_configurations(target) {
        // FireLens is a container, and has attributes of its own.
        if let Some(driver) = log["logDriver"].as_str().filter(|driver| *driver != "awsfirelens") {
            names.push(format!("com.amazonaws.ecs.capability.logging-driver.{driver}"));
        }
    }
    names.sort();
    names.dedup();
    names.into_iter().map(|name| (name, None)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn instance(registered: (i64, i64), remaining: (i64, i64)) -> InstanceCapacity {
        let of = |(cpu, memory)| Resources { cpu: Some(cpu), memory: Some(memory), ..Resources::default() };
        InstanceCapacity {
            id: "i".to_owned(),
            status: "ACTIVE".to_owned(),
            agent_connected: true,
            registered: of(registered),
            remaining: of(remaining),
            attributes: BTreeMap::from([("ecs.capability.task-eni".to_owned(), String::new())]),
            has_attributes: true,
            has_capabilities: true,
            ..InstanceCapacity::default()
        }
    }

    fn need(cpu: i64, memory: i64) -> Need {
        Need { cpu, memory, ..Need::default() }
    }

    #[test]
    fn a_task_fits_now_later_or_never() {
        let (large, full) = (instance((2048, 4096), (2048, 4096)), instance((2048, 4096), (0, 100)));
        assert_eq!(judge(&need(256, 512), &[&full, &large]), Fit::Now);
        assert_eq!(judge(&need(256, 512), &[]), Fit::Empty);
        let Fit::Later(why) = judge(&need(256, 512), &[&full]) else { panic!() };
        assert_eq!(
            why,
            ["instance `i`: it has 0 free CPU units, and the task needs 256, it has 100 free MiB of memory, and the \
                 task needs 512"]
        );
        let Fit::Never(why) = judge(&need(256, 8192), &[&full, &large]) else { panic!() };
        assert_eq!(why[0], "instance `i`: it has 4096 MiB of memory, and the task needs 8192");
        // The same amount fits.
        assert_eq!(judge(&need(2048, 4096), &[&large]), Fit::Now);
        // A resource that the answer does not have proves nothing.
        let unknown = InstanceCapacity { registered: Resources::default(), remaining: Resources::default(), ..large };
        assert_eq!(judge(&need(9999, 99_999), &[&unknown]), Fit::Now);
    }

    #[test]
    fn instances_that_are_not_connected_or_active_offer_room_later() {
        let room = instance((2048, 4096), (2048, 4096));
        let draining = InstanceCapacity { status: "DRAINING".to_owned(), ..room.clone() };
        let disconnected = InstanceCapacity { agent_connected: false, ..room.clone() };
        for one in [draining, disconnected] {
            assert!(matches!(judge(&need(1, 1), &[&one]), Fit::Later(_)), "{one:?}");
            assert!(matches!(judge(&need(1, 9999), &[&one]), Fit::Never(_)), "{one:?}");
        }
    }

    #[test]
    fn ports_gpus_and_attributes_are_compared() {
        let mut one = instance((2048, 4096), (2048, 4096));
        one.registered.used_ports.insert("22/tcp".to_owned());
        one.remaining.used_ports.extend(["22/tcp".to_owned(), "80/tcp".to_owned()]);
        let port = |port: &str| Need { ports: vec![port.to_owned()], ..Need::default() };
        assert!(matches!(judge(&port("22/tcp"), &[&one]), Fit::Never(_)));
        assert!(matches!(judge(&port("80/tcp"), &[&one]), Fit::Later(_)));
        assert_eq!(judge(&port("80/udp"), &[&one]), Fit::Now);
        assert!(matches!(judge(&Need { gpus: 1, ..Need::default() }, &[&one]), Fit::Never(_)));
        let attribute = |name: &str, value: Option<&str>| Need {
            attributes: vec![(name.to_owned(), value.map(str::to_owned))],
            ..Need::default()
        };
        assert_eq!(judge(&attribute("ecs.capability.task-eni", None), &[&one]), Fit::Now);
        assert!(matches!(judge(&attribute("ecs.capability.task-eni", Some("x")), &[&one]), Fit::Never(_)));
        assert!(matches!(judge(&attribute("other", None), &[&one]), Fit::Never(_)));
        one.attributes.clear();
        one.has_capabilities = false;
        assert_eq!(judge(&attribute("ecs.capability.task-eni", None), &[&one]), Fit::Now);
        one.has_attributes = false;
        assert_eq!(judge(&attribute("other", None), &[&one]), Fit::Now);
    }
}
