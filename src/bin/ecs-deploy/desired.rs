//! What somebody wants deployed, from files, variables and flags.
//!
//! In: texts of files, flags, variables. Out: [`DesiredState`], every reference resolved, every member one that ECS knows, or a
//! [`Finding`] that names file, place and name. It asks nobody and reads no file itself.

use serde_json::{Map, Value, json};

use crate::cause::{self, Finding};
use crate::cli::Flags;
use crate::template::render;
use crate::{api_model, template};

/// The tag of a revision that holds the number of the build which registered it.
pub(crate) const BUILD: &str = "ecs-deploy:build";
/// The tag with its commit.
pub(crate) const COMMIT: &str = "ecs-deploy:commit";
/// The tag of a revision that was seen to run well, with the time.
pub(crate) const STABLE: &str = "ecs-deploy:stable";

/// Members that DescribeTaskDefinition adds to what was registered (ECS API Reference, "TaskDefinition").
const READ_ONLY: [&str; 10] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deletedAt",
    "deleteRequestedAt",
];

/// A file as it was read.
pub(crate) struct File {
    /// Its name, for messages.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

/// What shall be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DesiredState {
    /// Name or ARN.
    pub(crate) cluster: String,
    /// Its name.
    pub(crate) service: String,
    /// As RegisterTaskDefinition takes it, without our tags.
    pub(crate) task_definition: Value,
    /// Our tags of a new revision.
    pub(crate) tags: Vec<(&'static str, String)>,
    /// As CreateService takes it, without cluster, service name and task definition; what nobody said is not there.
    pub(crate) members: Map<String, Value>,
    /// A new deployment even where nothing differs.
    pub(crate) force: bool,
    /// Whether the caller accepts that the service is down for a while.
    pub(crate) one_small_instance: bool,
    /// What the reader of the files wants to have said.
    pub(crate) notes: Vec<String>,
}

impl DesiredState {
    /// The family of the task definition.
    pub(crate) fn family(&self) -> &str {
        self.task_definition["family"].as_str().unwrap_or_default()
    }

    /// Whether one task runs on each instance, rather than a number of them.
    pub(crate) fn is_daemon(&self) -> bool {
        self.members.get("schedulingStrategy").and_then(Value::as_str) == Some("DAEMON")
    }

    /// What the files and flags come to.
    pub(crate) fn read(
        task_definition: &File,
        service: Option<&File>,
        flags: &Flags,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<DesiredState, Finding> {
        let mut notes = Vec::new();
        let mut task = registrable(parse(task_definition, variable)?, &mut notes);
        check_faults(&task_definition.name, api_model::of_task_definition(&task))?;
        let family = task["family"].as_str().unwrap_or_default().to_owned();
        for member in ["family", "containerDefinitions"] {
            let is_empty = task[member].as_str().map(str::is_empty).or(task[member].as_array().map(Vec::is_empty));
            if is_empty != Some(false) {
                return Err(file_finding(&task_definition.name, format!("`{member}` is missing or empty")));
            }
        }
        for (container, image) in &flags.image {
            set_image(&mut task, container, image)?;
        }
        let mut members = match service {
            Some(file) => {
                let value = parse(file, variable)?;
                check_faults(&file.name, api_model::of_service(&value))?;
                let Value::Object(members) = value else { unreachable!("its shape was checked") };
                if let Some(named) = members.get("taskDefinition").and_then(Value::as_str)
                    && named.rsplit('/').next().and_then(|name| name.split(':').next()) != Some(&family)
                {
                    let what = format!("`taskDefinition` is `{named}`, and the family that is deployed is `{family}`");
                    return Err(file_finding(&file.name, what));
                }
                members
            }
            None => Map::new(),
        };
        // The revision is what this program finds; the token is its own.
        for member in ["taskDefinition", "clientToken"] {
            members.remove(member);
        }
        let cluster = named(&flags.cluster, members.remove("cluster"), "cluster", "--cluster")?;
        let service = named(&flags.service, members.remove("serviceName"), "service", "--service")?;
        add_flags(&mut members, flags)?;
        members.retain(|_, value| !value.is_null());
        let tags = [(BUILD, &flags.build), (COMMIT, &flags.commit)];
        let tags = tags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
        let desired = DesiredState {
            cluster,
            service,
            task_definition: task,
            tags,
            members,
            force: flags.force_new_deployment,
            one_small_instance: flags.one_small_instance,
            notes,
        };
        if desired.is_daemon() && desired.members.contains_key("desiredCount") {
            return Err(
                cause::BAD_INPUT.finding("a daemon service has no desired count: it runs once on each instance")
            );
        }
        Ok(desired)
    }
}

fn named(flag: &Option<String>, member: Option<Value>, what: &str, option: &str) -> Result<String, Finding> {
    let member = member.and_then(|value| value.as_str().map(str::to_owned));
    let name = flag.clone().or(member).filter(|name| !name.is_empty());
    name.ok_or_else(|| cause::BAD_INPUT.finding(format!("nothing names the {what}; say `{option} NAME`")))
}

/// The file's JSON with its variables filled in.
fn parse(file: &File, variable: &dyn Fn(&str) -> Option<String>) -> Result<Value, Finding> {
    let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
    let text = render(text, variable).map_err(|error| {
        let which = match &error.fault {
            template::Fault::Unset(_) | template::Fault::Required(..) => &cause::VARIABLE_UNSET,
            template::Fault::Malformed(_) | template::Fault::NotScalar(_) => &cause::BAD_INPUT,
        };
        which.finding(format!("`{}`, {error}", file.name))
    })?;
    serde_json::from_str(&text).map_err(|error| file_finding(&file.name, format!("no JSON: {error}")))
}

/// What RegisterTaskDefinition takes of what may have come from DescribeTaskDefinition.
fn registrable(mut task: Value, notes: &mut Vec<String>) -> Value {
    if task.get("taskDefinition").is_some_and(Value::is_object) {
        let tags = task["tags"].take();
        task = task["taskDefinition"].take();
        if let (Some(members), false) = (task.as_object_mut(), tags.is_null()) {
            members.entry("tags").or_insert(tags);
        }
    }
    if let Some(members) = task.as_object_mut() {
        let dropped: Vec<_> = READ_ONLY.into_iter().filter(|member| members.remove(*member).is_some()).collect();
        if !dropped.is_empty() {
            notes.push(format!("left out of the task definition, since only ECS says them: {}", dropped.join(", ")));
        }
        // Ours say which build has registered a revision; copied ones would say it of another.
        if let Some(Value::Array(tags)) = members.get_mut("tags") {
            tags.retain(|tag| ![BUILD, COMMIT, STABLE].map(Some).contains(&tag["key"].as_str()));
        }
        members.retain(|_, value| !value.is_null());
    }
    task
}

fn set_image(task: &mut Value, container: &str, image: &str) -> Result<(), Finding> {
    let containers = task["containerDefinitions"].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
    match containers.iter_mut().find(|one| one["name"] == container) {
        Some(found) => {
            found["image"] = json!(image);
            Ok(())
        }
        None => {
            let names: Vec<_> = containers.iter().filter_map(|one| one["name"].as_str()).collect();
            let text = format!("`--image {container}=...` names no container of the task definition; it has {names:?}");
            Err(cause::BAD_INPUT.finding(text))
        }
    }
}

fn add_flags(members: &mut Map<String, Value>, flags: &Flags) -> Result<(), Finding> {
    if let Some(count) = flags.desired_count {
        members.insert("desiredCount".to_owned(), json!(count));
    }
    if flags.daemon {
        members.insert("schedulingStrategy".to_owned(), json!("DAEMON"));
    }
    let (minimum, maximum) = match flags.one_small_instance {
        true => (Some(0), Some(100)),
        false => (flags.minimum_healthy_percent, flags.maximum_percent),
    };
    let breaker = flags.circuit_breaker.then(|| json!({"enable": true, "rollback": true}));
    let configuration = [
        ("minimumHealthyPercent", minimum.map(Value::from)),
        ("maximumPercent", maximum.map(Value::from)),
        ("deploymentCircuitBreaker", breaker),
    ];
    for (member, value) in configuration {
        if let Some(value) = value {
            let all = members.entry("deploymentConfiguration").or_insert_with(|| json!({}));
            all[member] = value;
        }
    }
    Ok(())
}

fn check_faults(file: &str, faults: Vec<String>) -> Result<(), Finding> {
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.into_iter().fold(cause::BAD_INPUT.finding(format!("`{file}`")), Finding::and)),
    }
}

fn file_finding(file: &str, what: String) -> Finding {
    cause::BAD_INPUT.finding(format!("`{file}`: {what}"))
}
