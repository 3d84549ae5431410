//! Decides what `prepare-image` removes, what `reset-agent` sets aside, and when a command must not run (its
//! obstacles).
//!
//! In: [`Leftovers`]. Out: a [`Cleanup`] or a [`Reset`].

use std::time::{Duration, SystemTime};

use crate::boundary::agent::Task;
use crate::boundary::disk::DiskError;
use crate::boundary::systemd::UnitState;
use crate::cleanup::{
    AgentRuns, Cleanup, DATA, GPU, LOGS, Leftovers, OWN_STATE, Registered, Removal, Reset, SetAside, Withdrawal,
};
use crate::ecs_config::{edit, effective, read};
use crate::evidence::StageError;
use crate::facts::{AGENT_UNITS, Fact};
use crate::ownership;
use crate::plan::{ECS_CONFIG, Refusal, cluster_name};
use crate::redaction::{self, shell_word};

#[cfg(test)]
mod tests;

const IN_RUN: &str = "/run/";
/// The maximum number of variables in a hint.
const MAX_KEYS: usize = 20;

/// Decides what `prepare-image` does. With `force` running tasks are not an obstacle.
pub fn cleanup(mut leftovers: Leftovers, force: bool) -> Cleanup {
    let hints = image_hints(&leftovers);
    let mut obstacles = obstacles(&mut leftovers, force);
    obstacles.extend(leftovers.elsewhere.into_iter().map(StageError::Elsewhere));
    let config = leftovers.ecs_config.and_then(|config| withdrawal(config, &leftovers.written));
    let ecs_config = config.unwrap_or_else(|error| {
        obstacles.push(error);
        None
    });
    let remove = leftovers.found.into_iter().map(|entry| Removal {
        why: why(&entry.path),
        path: entry.path,
        entry_type: entry.entry_type,
        bytes: entry.bytes,
    });
    Cleanup {
        stop: running_unit(&leftovers.agent).map(str::to_owned),
        remove: remove.collect(),
        ecs_config,
        left: leftovers.unreadable,
        tasks: known(leftovers.tasks),
        registered: leftovers.registered,
        obstacles,
        hints,
        root: leftovers.root,
    }
}

/// Decides what `reset-agent` does. With `force` running tasks are not an obstacle.
pub fn reset(mut leftovers: Leftovers, now: SystemTime, force: bool) -> Reset {
    let mut obstacles = obstacles(&mut leftovers, force);
    let is_parent_of_data =
        |error: &DiskError| matches!(error, DiskError::Symlink { path, .. } if DATA.starts_with(path.as_str()));
    let elsewhere = std::mem::take(&mut leftovers.elsewhere);
    obstacles.extend(elsewhere.into_iter().filter(is_parent_of_data).map(StageError::Elsewhere));
    if leftovers.data_is_mounted {
        obstacles.push(StageError::Elsewhere(DiskError::Mounted { doing: "move", path: DATA.to_owned() }));
    }
    let interrupted = leftovers.interrupted.take();
    let was_set_aside =
        interrupted.as_ref().map(|note| &note.to).filter(|to| leftovers.set_aside.contains(to)).cloned();
    let in_data = format!("{DATA}/");
    let mut sizes = leftovers.found.iter().filter(|entry| entry.path.starts_with(&in_data)).map(|entry| entry.bytes);
    let is_unreadable = leftovers.unreadable.iter().any(|left| left.path == DATA);
    let set_aside = (was_set_aside.is_none() && (is_unreadable || sizes.clone().next().is_some())).then(|| SetAside {
        from: DATA.to_owned(),
        to: free_name(now, &leftovers.set_aside),
        bytes: if is_unreadable { None } else { sizes.try_fold(0, |sum, bytes| Some(sum + bytes?)) },
    });
    let hints = if set_aside.is_some() { registration_hints(&leftovers) } else { container_hint(&leftovers) };
    let up = running_unit(&leftovers.agent);
    // A failed unit is started again, because it was supposed to run. A stopped unit stays stopped.
    let restart = up.or(failed_unit(&leftovers.agent)).filter(|_| set_aside.is_some()).map(str::to_owned);
    let finish_interrupted = || interrupted.map(|note| note.unit).filter(|_| set_aside.is_some() || up.is_none());
    Reset {
        stop: up.filter(|_| set_aside.is_some()).map(str::to_owned),
        start: restart.or_else(finish_interrupted),
        set_aside,
        was_set_aside,
        tasks: known(leftovers.tasks),
        registered: leftovers.registered,
        obstacles,
        hints,
        root: leftovers.root,
    }
}

/// Why neither command may run now.
fn obstacles(leftovers: &mut Leftovers, force: bool) -> Vec<StageError> {
    let mut obstacles = Vec::new();
    match &leftovers.agent {
        AgentRuns::Unknown(error) => obstacles.push(StageError::Systemd(error.clone())),
        AgentRuns::Unit(_) | AgentRuns::NotInstalled
            if running_unit(&leftovers.agent).is_none() && leftovers.agent_answers =>
        {
            obstacles.push(StageError::RunsOutside);
        }
        _ => {}
    }
    // If the answer is not from the agent, the agent's tasks are unknown.
    obstacles.extend(leftovers.port_taken.take().filter(|_| !force).map(StageError::PortTaken));
    match &leftovers.tasks {
        _ if force => {}
        Fact::Known(tasks) if tasks.is_empty() => {}
        Fact::Known(tasks) => obstacles.push(StageError::TasksRun { tasks: tasks.iter().map(described).collect() }),
        Fact::Unknown(why) => obstacles.push(StageError::TasksUnknown { why: why.clone() }),
    }
    obstacles
}

/// The name of the agent's unit, unless it is known to be stopped without a queued job.
fn running_unit(agent: &AgentRuns) -> Option<&str> {
    let AgentRuns::Unit(unit @ UnitState { name, active_state, .. }) = agent else { return None };
    let is_down = matches!(active_state.as_deref(), Some("inactive" | "failed")) && unit.job.is_none();
    (!is_down).then_some(name)
}

fn failed_unit(agent: &AgentRuns) -> Option<&str> {
    match agent {
        AgentRuns::Unit(unit) if unit.active_state.as_deref() == Some("failed") => Some(&unit.name),
        _ => None,
    }
}

fn known(tasks: Fact<Vec<Task>>) -> Vec<Task> {
    match tasks {
        Fact::Known(tasks) => tasks,
        Fact::Unknown(_) => Vec::new(),
    }
}

fn described(task: &Task) -> String {
    format!("`{}:{}` is {}: {}", task.family, task.version, task.known_status, task.arn)
}

/// Why this path must not be part of an image.
fn why(path: &str) -> &'static str {
    let is_in = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    match path {
        _ if is_in(DATA) => "the agent's saved state: a copy would register as this instance",
        _ if is_in(GPU) => "the GPUs that ecs-init detected on this instance",
        _ if is_in(LOGS) => "logs of this instance: on a copy they would be mistaken for its own",
        _ if is_in(OWN_STATE) => "records of ecs-bootstrap about this instance",
        _ if path.starts_with(IN_RUN) => "an outdated verdict (in memory only, so not part of an image)",
        _ => "saved state of the agent that a reset set aside",
    }
}

fn withdrawal(config: Option<Vec<u8>>, written: &crate::facts::WriteRecord) -> Result<Option<Withdrawal>, StageError> {
    let Some(config) = config else { return Ok(None) };
    let changes = ownership::withdrawal(&config, written);
    if changes.is_empty() {
        return Ok(None);
    }
    let new = edit(&config, &changes).map_err(|refusal| StageError::Refused(Refusal::Edit(refusal)))?;
    let (restored, removed): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(_, value)| value.is_some());
    let keys = |changes: Vec<(String, Option<String>)>| changes.into_iter().map(|(key, _)| key).collect();
    Ok(Some(Withdrawal { path: ECS_CONFIG, removed: keys(removed), restored: keys(restored), new }))
}

fn image_hints(leftovers: &Leftovers) -> Vec<String> {
    let mut hints = registration_hints(leftovers);
    let root = leftovers.root.as_deref().map(|root| shell_word(root.trim_end_matches('/'))).unwrap_or_default();
    let clean =
        if root.is_empty() { "cloud-init clean --logs".to_owned() } else { format!("rm -rf {root}/var/lib/cloud/*") };
    hints.push(format!(
        "ecs-bootstrap does not remove cloud-init's state, the machine-id and the ssh host keys: `{clean}`, `truncate \
         -s 0 {root}/etc/machine-id`, `rm -f {root}/etc/ssh/ssh_host_*`"
    ));
    hints.extend(kept_config(leftovers));
    if leftovers.has_container {
        hints.push(
            "the stopped container `ecs-agent` stays, and its environment contains the values of ecs.config: `docker \
             rm ecs-agent` (ecs-init also removes it before it starts the next one)"
                .to_owned(),
        );
    }
    hints.push("/var/cache/ecs stays: it contains the agent's image, so a copy starts without a download".to_owned());
    hints.push(
        "create the image before the agent starts again: a reboot starts it, and it saves its state again".to_owned(),
    );
    hints
}

/// A hint about lines of `ecs.config` that ecs-bootstrap did not write and that a copy would use: the cluster, and
/// secrets.
fn kept_config(leftovers: &Leftovers) -> Option<String> {
    let config = leftovers.ecs_config.as_ref().ok()?.as_deref()?;
    let lines = read(config);
    let others = effective(&lines).into_iter().filter(|(key, line)| {
        let is_written = leftovers.written.keys.get(*key).is_some_and(|value| *value == line.value);
        !is_written && (*key == "ECS_CLUSTER" || !redaction::is_shown_whole(key, &line.value))
    });
    let keys: Vec<_> = others.filter_map(|(key, _)| redaction::variable_name(key)).take(MAX_KEYS).collect();
    (!keys.is_empty()).then(|| {
        format!("{ECS_CONFIG} keeps lines that ecs-bootstrap did not write, and a copy uses them: {}", keys.join(", "))
    })
}

/// A hint with the command that deregisters the container instance: it stays registered after its agent's state is
/// removed. Saved state can be from another instance, so the hint names the instance.
fn registration_hints(leftovers: &Leftovers) -> Vec<String> {
    if let Some(registered) = &leftovers.registered {
        let command = deregister(registered);
        return vec![format!("the container instance stays registered in its cluster until `{command}`")];
    }
    let saved = leftovers.saved.as_ref().and_then(|saved| saved.state.get()?.as_ref());
    let registered = saved.and_then(|state| {
        let arn = state.container_instance_arn.clone().filter(|arn| !arn.is_empty())?;
        Some(Registered { cluster: state.cluster.clone()?, container_instance_arn: arn })
    });
    let instance = saved.and_then(|state| state.ec2_instance_id.as_deref()).unwrap_or("an unknown instance");
    registered
        .map(|registered| {
            let command = deregister(&registered);
            format!(
                "the saved state is from `{instance}`; if that is this instance, it stays registered until `{command}`"
            )
        })
        .into_iter()
        .collect()
}

/// A container that no package makes may have its state in a volume of its own.
fn container_hint(leftovers: &Leftovers) -> Vec<String> {
    let is_of_package = matches!(&leftovers.agent, AgentRuns::Unit(unit) if AGENT_UNITS.contains(&unit.name.as_str()));
    let hint = || {
        format!(
            "if the container `ecs-agent` keeps its state outside of {DATA}, `docker rm --force --volumes ecs-agent` removes it"
        )
    };
    (leftovers.has_container && !is_of_package).then(hint).into_iter().collect()
}

fn deregister(registered: &Registered) -> String {
    let Registered { cluster, container_instance_arn: arn } = registered;
    let region = arn.split(':').nth(3).filter(|region| !region.is_empty());
    let region = region.map(|region| format!(" --region {}", shell_word(region))).unwrap_or_default();
    let (cluster, arn) = (shell_word(cluster_name(cluster)), shell_word(arn));
    format!("aws ecs deregister-container-instance{region} --cluster {cluster} --container-instance {arn}")
}

/// A free name for the saved state: `data.2026-11-25T22-31-05Z`, with the next free second if the name exists.
fn free_name(now: SystemTime, taken: &[String]) -> String {
    let name =
        |at: SystemTime| format!("{DATA}.{}", humantime::format_rfc3339_seconds(at).to_string().replace(':', "-"));
    let mut at = now;
    while taken.contains(&name(at)) {
        at += Duration::from_secs(1);
    }
    name(at)
}
