//! The command `init`: writes the two definitions of an existing service to files.
//!
//! In: a service, and the folder. Out: `task-definition.json` and `service.json`, with which `plan` has nothing to do.
//! It changes nothing in ECS, and replaces a file with other content only with `--force`.

#[cfg(test)]
mod generated;
mod likely_secrets;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use ecs_bootstrap::command_line::CommandOutput;
use ecs_bootstrap::exit::Exit;
use serde_json::{Value, json};

use crate::cause::FoundCause;
use crate::causes;
use crate::cli::{InitFlags, ServiceFlags};
use crate::client::ServiceClient;
use crate::current::Scaling;
use crate::files::{self, FileState};
use crate::github::Finished;
use crate::normalize::hidden::{Hashes, UNRETURNED_TAG};
use crate::outcome::Outcome;
use crate::revision::Revision;
use crate::service::{Service, short};
use crate::stability::is_complete;
use crate::{api_model, arn, definition_text, described, report};

const TASK_DEFINITION: &str = "task-definition.json";
const SERVICE: &str = "service.json";

/// The definitions of a service, as texts of files.
struct Definitions {
    task_definition: String,
    /// `None` if ecs-rollout cannot deploy the service.
    service: Option<String>,
    /// The ARN of the revision that the service runs.
    arn: String,
    /// Notes for the user.
    notes: Vec<String>,
}

/// A file, and its state before it was written.
struct WrittenFile {
    path: PathBuf,
    before: FileState,
}

impl ServiceClient {
    /// The command `init`.
    pub(crate) async fn init(&self, service: &ServiceFlags, flags: &InitFlags) -> Finished {
        let written = match self.definitions().await {
            Ok(definitions) => definitions.write(flags).map(|files| (definitions, files)),
            Err(finding) => Err(finding),
        };
        match written {
            Ok((definitions, files)) if service.json => {
                let document = definitions.json(self, &files, next(&self.cluster, service, &files).as_deref());
                CommandOutput::success(report::document(&document)).into()
            }
            Ok((definitions, files)) => {
                CommandOutput::success(definitions.text(&files, next(&self.cluster, service, &files).as_deref())).into()
            }
            Err(finding) => Finished::of_outcome("init", &self.with_names(Outcome::refused(finding)), service.json),
        }
    }

    /// Reads the service and what it runs.
    async fn definitions(&self) -> Result<Definitions, FoundCause> {
        let service = self.active_service().await?;
        let running = self.running_revision(&service);
        let (running, scaling) = futures_util::future::try_join(running, async { Ok(self.scaling().await) }).await?;
        Ok(definitions(&service, &running, &scaling))
    }
}

/// The definitions of a service that runs this revision.
fn definitions(service: &Service, running: &Revision, scaling: &Scaling) -> Definitions {
    let mut notes = Vec::new();
    let label = short(&running.arn);
    if !running.is_active {
        notes.push(format!("{label} is deregistered (INACTIVE): the next deployment registers a new revision of it"));
    }
    let task = Value::Object(described::task_definition(&running.answer()).members);
    let task = described::without_task_definition_defaults(task);
    unknown_members(TASK_DEFINITION, api_model::check_task_definition(&task, true), &mut notes);
    for (tag, file) in [
        (running.tags.get(UNRETURNED_TAG).map(String::as_str), TASK_DEFINITION),
        (service.tag(UNRETURNED_TAG), SERVICE),
    ] {
        let names = Hashes::read(tag).paths().join(", ");
        if !names.is_empty() {
            notes.push(format!("ECS does not return these members, so `{file}` does not have them; add them: {names}"));
        }
    }
    let body = service_body(service, scaling, &mut notes);
    if let Some(body) = &body {
        unknown_members(SERVICE, api_model::check_service(body, true), &mut notes);
        if !service.primary().is_some_and(|primary| is_complete(primary, service)) {
            notes.push(
                "the rollout of the newest deployment is not complete; `plan` shows that it is watched".to_owned(),
            );
        }
    }
    notes.extend(likely_secrets::notes(&task, TASK_DEFINITION));
    Definitions {
        task_definition: definition_text::task_definition(&task),
        service: body.map(|body| definition_text::service(&body)),
        arn: running.arn.clone(),
        notes,
    }
}

/// The body of CreateService, or `None` if another controller deploys the service.
fn service_body(service: &Service, scaling: &Scaling, notes: &mut Vec<String>) -> Option<Value> {
    let controller = service.deployment_controller.controller_type.as_str();
    if !["", "ECS"].contains(&controller) {
        notes.push(format!(
            "`{SERVICE}` is not written: the deployment controller of the service is `{controller}`, so ecs-rollout \
             cannot deploy it"
        ));
        return None;
    }
    let described = described::service(&service.raw);
    let mut members = described::without_service_defaults(described.members);
    // ecs-rollout itself finds the revision.
    members.remove("taskDefinition");
    let why = match scaling {
        Scaling::Automatic => Some("Application Auto Scaling controls it".to_owned()),
        Scaling::Unknown(error) => {
            Some(format!("whether Application Auto Scaling controls it could not be found out: {error}"))
        }
        Scaling::Manual | Scaling::NotRead => None,
    };
    if let Some(why) = why
        && members.remove("desiredCount").is_some()
    {
        notes.push(format!("`desiredCount` is left out, so that no deployment changes it: {why}"));
    }
    if !described.unknown.is_empty() {
        let names = described.unknown.join(", ");
        notes.push(format!("members of the service that this version does not know are left out: {names}"));
    }
    Some(Value::Object(members))
}

fn unknown_members(file: &str, outcome: Result<Vec<String>, Vec<String>>, notes: &mut Vec<String>) {
    let (Ok(faults) | Err(faults)) = outcome;
    if !faults.is_empty() {
        notes.push(format!(
            "`{file}` has members that this version does not know; `plan` and `deploy` refuse them without \
             `--allow-unknown`: {}",
            faults.join("; ")
        ));
    }
}

impl Definitions {
    /// Writes the files, all or none if one exists with other content.
    fn write(&self, flags: &InitFlags) -> Result<Vec<WrittenFile>, FoundCause> {
        let mut texts = vec![(flags.dir.join(TASK_DEFINITION), &self.task_definition)];
        texts.extend(self.service.as_ref().map(|text| (flags.dir.join(SERVICE), text)));
        let mut files = Vec::new();
        let mut refused: Option<FoundCause> = None;
        for (path, text) in &texts {
            let before = files::state(path, text)?;
            if before == FileState::Different && !flags.force {
                let line = format!("`{}` exists with other content", path.display());
                refused = Some(match refused {
                    None => causes::FILE_EXISTS.finding(line),
                    Some(finding) => finding.and(line),
                });
            }
            files.push(WrittenFile { path: path.clone(), before });
        }
        if let Some(finding) = refused {
            return Err(finding.and("nothing was written"));
        }
        for ((path, text), file) in texts.iter().zip(&files) {
            if file.before != FileState::Same {
                files::replace(path, text)?;
            }
        }
        Ok(files)
    }

    fn text(&self, files: &[WrittenFile], next: Option<&str>) -> String {
        let mut text: String = files.iter().map(|file| format!("{}\n", file.line())).collect();
        text += &format!("the service runs {}\n", short(&self.arn));
        self.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
        if let Some(next) = next {
            text += &format!("next: {next}\n");
        }
        text
    }

    fn json(&self, client: &ServiceClient, files: &[WrittenFile], next: Option<&str>) -> Value {
        let is_unchanged = files.iter().all(|file| file.before == FileState::Same);
        let files = files.iter().map(|file| json!({"path": file.path, "result": file.result()}));
        json!({
            "version": report::VERSION,
            "result": if is_unchanged { "unchanged" } else { "written" },
            "exit_code": Exit::Done,
            "cluster": client.cluster,
            "service": client.service,
            "task_definition": self.arn,
            "files": files.collect::<Vec<_>>(),
            "notes": self.notes,
            "next": next,
        })
    }
}

impl WrittenFile {
    fn line(&self) -> String {
        let path = self.path.display();
        match self.before {
            FileState::Absent => format!("wrote {path}"),
            FileState::Different => format!("replaced {path}"),
            FileState::Same => format!("{path} is unchanged"),
        }
    }

    fn result(&self) -> &'static str {
        match self.before {
            FileState::Absent | FileState::Different => "written",
            FileState::Same => "unchanged",
        }
    }
}

/// The command that shows that the files are complete. `None` if ecs-rollout cannot deploy the service.
fn next(cluster: &str, service: &ServiceFlags, files: &[WrittenFile]) -> Option<String> {
    let [task_definition, definition] = files else { return None };
    let mut command = format!(
        "ecs-rollout plan --task-definition {} --service-definition {}",
        quoted(&task_definition.path),
        quoted(&definition.path)
    );
    if let Some(region) = service.region.clone().or_else(|| arn::region(cluster)) {
        command += &format!(" --region {region}");
    }
    Some(command)
}

/// A path as a shell reads it (POSIX.1-2017, Shell Command Language, 2.2.2).
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%:".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
