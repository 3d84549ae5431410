//! The data type of the desired state, and how it is read from files, variables and options.
//!
//! In: the texts of the files, the options, and the variables. Out: [`DesiredState`] with every variable filled in and
//! every member known to ECS, or a [`FoundCause`] whose evidence names the file, the place and the member. It reads no file itself and calls no
//! API.

use serde_json::{Map, Value, json};

use crate::arn::{self, ServiceAddress, Written};
use crate::cause::FoundCause;
use crate::cli::DeploymentFlags;
use crate::document::{self, InputFile, Kind};
use crate::revision::{BUILD_TAG, COMMIT_TAG, Revision};
use crate::skeleton::Cleaned;
use crate::variables::{UsedVariable, Variables};
use crate::visible::Definition;
use crate::{api_model, causes, described, environment_entries, skeleton};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DesiredState {
    /// The name or ARN of the cluster.
    pub(crate) cluster: String,
    /// The name of the service, never its ARN.
    pub(crate) service: String,
    /// The body of RegisterTaskDefinition, without the tags of ecs-rollout. Null until the running one has been read, if
    /// no file has it.
    pub(crate) task_definition: Value,
    /// The revision that the deployment starts from, if no file has the task definition.
    pub(crate) running: Option<Revision>,
    /// The tags that ecs-rollout adds to a new revision.
    pub(crate) revision_tags: Vec<(&'static str, String)>,
    /// The body of CreateService, without cluster, service name and task definition. A member that neither the file nor
    /// an option sets is absent.
    pub(crate) members: Map<String, Value>,
    /// Start a new deployment even if nothing differs.
    pub(crate) force: bool,
    /// Stop the old task before the new one starts: the service is down in between.
    pub(crate) one_small_instance: bool,
    /// The variables that the files use.
    pub(crate) variables: Vec<UsedVariable>,
    /// Show values that may be secret.
    pub(crate) show_values: bool,
    /// Notes for the user about the files.
    pub(crate) notes: Vec<String>,
}

impl DesiredState {
    /// The family of the task definition.
    pub(crate) fn family(&self) -> &str {
        self.task_definition["family"].as_str().unwrap_or_default()
    }

    /// Whether the service runs one task on each instance, instead of a desired count.
    pub(crate) fn is_daemon(&self) -> bool {
        self.members.get("schedulingStrategy").and_then(Value::as_str) == Some("DAEMON")
    }

    /// Reads the desired state. Without `variables`, none is replaced. Without a file, the task definition stays null.
    pub(crate) fn read(
        task_definition: Option<&InputFile>,
        service: Option<&InputFile>,
        flags: &DeploymentFlags,
        variables: Option<&Variables<'_>>,
    ) -> Result<DesiredState, FoundCause> {
        let mut notes = Vec::new();
        let task = match task_definition {
            Some(file) => read_task_definition(file, flags, variables, &mut notes)?,
            None => Value::Null,
        };
        let mut members = match service {
            Some(file) => read_service_definition(file, task["family"].as_str(), flags, variables, &mut notes)?,
            None => Map::new(),
        };
        // ecs-rollout itself finds the revision, and makes the token.
        for member in ["taskDefinition", "clientToken"] {
            members.remove(member);
        }
        let address = service_address(&mut members, flags)?;
        add_flags(&mut members, flags);
        members.retain(|_, value| !value.is_null());
        let tags = [(BUILD_TAG, &flags.build), (COMMIT_TAG, &flags.commit)];
        let desired = DesiredState {
            cluster: address.cluster,
            service: address.service,
            task_definition: task,
            running: None,
            revision_tags: tags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect(),
            members,
            force: flags.force_new_deployment,
            one_small_instance: flags.one_small_instance,
            show_values: flags.input.show_values,
            variables: variables.map(Variables::used).unwrap_or_default(),
            notes,
        };
        if desired.is_daemon() && desired.members.contains_key("desiredCount") {
            let text = "a daemon service cannot have a desired count: it runs one task on each instance";
            return Err(causes::BAD_INPUT.finding(text));
        }
        Ok(desired)
    }
}

fn read_task_definition(
    file: &InputFile,
    flags: &DeploymentFlags,
    variables: Option<&Variables<'_>>,
    notes: &mut Vec<String>,
) -> Result<Value, FoundCause> {
    let (document, written) = document::parse(file, Kind::TaskDefinition, variables)?;
    let Cleaned { value: mut task, note, unclear } =
        skeleton::clean(Definition::Task, &described::task_definition_document(document, notes));
    notes.extend(note);
    let outcome = api_model::check_task_definition(&task, flags.unknown.allow_unknown);
    notes.extend(checked(&file.name, &written, outcome)?);
    for member in ["family", "containerDefinitions"] {
        let is_empty = task[member].as_str().map(str::is_empty).or(task[member].as_array().map(Vec::is_empty));
        if is_empty != Some(false) {
            return Err(file_finding(&file.name, format!("`{member}` is missing or empty")));
        }
    }
    refuse_unclear(file, &unclear)?;
    let faults = environment_entries::faults("containerDefinitions", &task["containerDefinitions"]);
    checked(&file.name, &written, if faults.is_empty() { Ok(Vec::new()) } else { Err(faults) })?;
    flags.images.apply(&mut task).map_err(|text| causes::BAD_OPTION.finding(text))?;
    for (index, container) in task["containerDefinitions"].as_array().into_iter().flatten().enumerate() {
        let image = container["image"].as_str().unwrap_or_default();
        if image.ends_with([':', '@']) {
            let what =
                format!("`containerDefinitions[{index}].image` is `{image}`, without a tag; is a variable empty?");
            return Err(file_finding(&file.name, what));
        }
    }
    Ok(task)
}

fn read_service_definition(
    file: &InputFile,
    family: Option<&str>,
    flags: &DeploymentFlags,
    variables: Option<&Variables<'_>>,
    notes: &mut Vec<String>,
) -> Result<Map<String, Value>, FoundCause> {
    let (value, written) = document::parse(file, Kind::Service, variables)?;
    let value = described::service_definition(value, flags.service.as_deref(), notes);
    let value = value.map_err(|what| file_finding(&file.name, what))?;
    let Cleaned { value, note, unclear } = skeleton::clean(Definition::Service, &value);
    notes.extend(note);
    let outcome = api_model::check_service(&value, flags.unknown.allow_unknown);
    notes.extend(checked(&file.name, &written, outcome)?);
    refuse_unclear(file, &unclear)?;
    let Value::Object(members) = value else { unreachable!("the API model accepts only an object") };
    if let Some(named) = members.get("taskDefinition").and_then(Value::as_str)
        && let Some(family) = family
        && arn::family(named).map_err(|why| file_finding(&file.name, format!("`taskDefinition` is {why}")))? != family
    {
        let what = format!("`taskDefinition` is `{named}`, but the task definition has the family `{family}`");
        return Err(file_finding(&file.name, what));
    }
    Ok(members)
}

/// The cluster and the service by the options, or else by the service definition, whose members are taken out.
fn service_address(members: &mut Map<String, Value>, flags: &DeploymentFlags) -> Result<ServiceAddress, FoundCause> {
    let mut written = |member: &str| members.remove(member).and_then(|value| value.as_str().map(str::to_owned));
    let (cluster, service) = (written("cluster"), written("serviceName"));
    fn one<'a>(
        flag: &'a Option<String>,
        option: &'a str,
        of_file: &'a Option<String>,
        member: &'a str,
    ) -> Option<Written<'a>> {
        let of_flag = flag.as_deref().map(|text| Written { text, place: option });
        of_flag.or(of_file.as_deref().map(|text| Written { text, place: member })).filter(|one| !one.text.is_empty())
    }
    let cluster = one(&flags.cluster, "--cluster", &cluster, "cluster");
    let Some(service) = one(&flags.service, "--service", &service, "serviceName") else {
        let what = if cluster.is_none() { "cluster" } else { "service" };
        return Err(causes::BAD_OPTION.finding(format!("the {what} is not named; use `--{what} NAME`")));
    };
    let address = arn::service_address(cluster, service, flags.region.as_deref());
    address.map_err(|why| causes::BAD_OPTION.finding(why))
}

fn add_flags(members: &mut Map<String, Value>, flags: &DeploymentFlags) {
    if let Some(count) = flags.desired_count {
        members.insert("desiredCount".to_owned(), json!(count));
    }
    if flags.daemon {
        members.insert("schedulingStrategy".to_owned(), json!("DAEMON"));
    }
    let (minimum, maximum) = if flags.one_small_instance {
        (Some(0), Some(100))
    } else {
        (flags.minimum_healthy_percent, flags.maximum_percent)
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
}

/// Refuses a skeleton with members that the AWS CLI may have chosen.
fn refuse_unclear(file: &InputFile, unclear: &[String]) -> Result<(), FoundCause> {
    if unclear.is_empty() {
        return Ok(());
    }
    let what = "it is a skeleton of `--generate-cli-skeleton`, which writes `true` for every boolean and an arbitrary \
                choice for every enumeration. Delete these members if you do not mean them; otherwise delete the empty \
                members beside them";
    Err(file_finding(&file.name, what.to_owned()).and(unclear.join(", ")))
}

/// The warnings of a check, with the name of the file, or the finding of its faults.
fn checked(
    file: &str,
    written: &document::Written,
    outcome: Result<Vec<String>, Vec<String>>,
) -> Result<Vec<String>, FoundCause> {
    match outcome {
        Ok(warnings) => Ok(warnings.into_iter().map(|warning| format!("`{file}`: {warning}")).collect()),
        Err(faults) => {
            let faults = faults.into_iter().map(|fault| written.explained(fault));
            Err(faults.fold(causes::BAD_INPUT.finding(format!("`{file}`")), FoundCause::and))
        }
    }
}

fn file_finding(file: &str, what: String) -> FoundCause {
    causes::BAD_INPUT.finding(format!("`{file}`: {what}"))
}
