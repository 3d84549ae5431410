//! What has to go before a snapshot becomes an image, and how an agent is made to forget; and when neither is done.

use std::time::{Duration, SystemTime};

use crate::boundary::agent::Task;
use crate::boundary::disk::DiskError;
use crate::boundary::systemd::UnitState;
use crate::cleanup::{
    AgentRuns, Cleanup, DATA, GPU, LOGS, Leftovers, OWN_STATE, Registered, Removal, Reset, SetAside, Withdrawal,
};
use crate::ecs_config::{edit, effective, read};
use crate::evidence::StageError;
use crate::facts::Known;
use crate::ownership;
use crate::plan::{ECS_CONFIG, Refusal, cluster_name};
use crate::redaction::{self, shell_word};

#[cfg(test)]
mod tests;

const IN_RUN: &str = "/run/";
/// The most variables that a hint names.
const MOST_KEYS: usize = 20;

/// What `prepare-image` does. `force`: although tasks run.
pub fn cleanup(mut leftovers: Leftovers, force: bool) -> Cleanup {
    let hints = image_hints(&leftovers);
    let mut obstacles = obstacles(&mut leftovers, force);
    obstacles.extend(leftovers.elsewhere.into_iter().map(StageError::Elsewhere));
    let config = leftovers.ecs_config.and_then(|config| withdrawal(config, &leftovers.written));
    let ecs_config = config.unwrap_or_else(|stop| {
        obstacles.push(stop);
        None
    });
    let remove = leftovers.found.into_iter().map(|entry| Removal {
        why: why(&entry.path),
        path: entry.path,
        entry_type: entry.entry_type,
        bytes: entry.bytes,
    });
    Cleanup {
        stop: is_up(&leftovers.agent).map(str::to_owned),
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

/// What `reset-agent` does. `force`: although tasks run.
pub fn reset(mut leftovers: Leftovers, now: SystemTime, force: bool) -> Reset {
    let mut obstacles = obstacles(&mut leftovers, force);
    let hints = registration_hints(&leftovers);
    let is_on_the_way =
        |error: &DiskError| matches!(error, DiskError::Symlink { path, .. } if DATA.starts_with(path.as_str()));
    obstacles.extend(leftovers.elsewhere.into_iter().filter(is_on_the_way).map(StageError::Elsewhere));
    if leftovers.data_is_mounted {
        obstacles.push(StageError::Elsewhere(DiskError::Mounted { doing: "move", path: DATA.to_owned() }));
    }
    let interrupted = leftovers.interrupted;
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
    let up = is_up(&leftovers.agent);
    // A unit that failed was meant to run; one that was stopped was not.
    let was_meant_to_run = up.or(failed(&leftovers.agent)).filter(|_| set_aside.is_some()).map(str::to_owned);
    let has_to_finish = || interrupted.map(|note| note.unit).filter(|_| set_aside.is_some() || up.is_none());
    Reset {
        stop: up.filter(|_| set_aside.is_some()).map(str::to_owned),
        start: was_meant_to_run.or_else(has_to_finish),
        set_aside,
        was_set_aside,
        tasks: known(leftovers.tasks),
        registered: leftovers.registered,
        obstacles,
        hints,
        root: leftovers.root,
    }
}

/// What keeps both commands from doing anything.
fn obstacles(leftovers: &mut Leftovers, force: bool) -> Vec<StageError> {
    let mut obstacles = Vec::new();
    match &leftovers.agent {
        AgentRuns::Unknown(error) => obstacles.push(StageError::Systemd(error.clone())),
        AgentRuns::Unit(_) | AgentRuns::NotInstalled
            if is_up(&leftovers.agent).is_none() && leftovers.agent_answers =>
        {
            obstacles.push(StageError::RunsOutside);
        }
        _ => {}
    }
    // Whatever listens there, the agent's own tasks are not known then.
    obstacles.extend(leftovers.port_taken.take().filter(|_| !force).map(StageError::PortTaken));
    match &leftovers.tasks {
        _ if force => {}
        Known::Yes(tasks) if tasks.is_empty() => {}
        Known::Yes(tasks) => obstacles.push(StageError::TasksRun { tasks: tasks.iter().map(described).collect() }),
        Known::Unknown(why) => obstacles.push(StageError::TasksUnknown { why: why.clone() }),
    }
    obstacles
}

/// The agent's unit, unless it is known not to run and not to be about to.
fn is_up(agent: &AgentRuns) -> Option<&str> {
    let AgentRuns::Unit(unit @ UnitState { name, active_state, .. }) = agent else { return None };
    let is_down = matches!(active_state.as_deref(), Some("inactive" | "failed")) && unit.job.is_none();
    (!is_down).then_some(name)
}

fn failed(agent: &AgentRuns) -> Option<&str> {
    match agent {
        AgentRuns::Unit(unit) if unit.active_state.as_deref() == Some("failed") => Some(&unit.name),
        _ => None,
    }
}

fn known(tasks: Known<Vec<Task>>) -> Vec<Task> {
    match tasks {
        Known::Yes(tasks) => tasks,
        Known::Unknown(_) => Vec::new(),
    }
}

fn described(task: &Task) -> String {
    format!("`{}:{}` is {}: {}", task.family, task.version, task.known_status, task.arn)
}

fn why(path: &str) -> &'static str {
    let is_in = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    match path {
        _ if is_in(DATA) => "the agent's saved state: a copy would take itself for this instance",
        _ if is_in(GPU) => "what ecs-init found out about this instance's GPUs",
        _ if is_in(LOGS) => "logs of this instance, which would be taken for those of a copy",
        _ if is_in(OWN_STATE) => "what ecs-bootstrap remembers of this instance",
        _ if path.starts_with(IN_RUN) => "a verdict that is true no longer (not on a volume, so in no image)",
        _ => "saved state of an agent that was set aside",
    }
}

fn withdrawal(config: Option<Vec<u8>>, written: &crate::facts::Written) -> Result<Option<Withdrawal>, StageError> {
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
        "cloud-init's state and the machine's own (machine-id, ssh host keys) are not ecs-bootstrap's: `{clean}`, `truncate \
         -s 0 {root}/etc/machine-id`, `rm -f {root}/etc/ssh/ssh_host_*`"
    ));
    hints.extend(kept_config(leftovers));
    if leftovers.has_container {
        hints.push("the stopped container `ecs-agent` is docker's, and its environment repeats ecs.config: `docker rm ecs-agent` \
                    (ecs-init removes it too, when it starts the next one)".to_owned());
    }
    hints.push("/var/cache/ecs stays: with the agent's image in it a copy starts without a download".to_owned());
    hints.push("make the image before the agent starts again: a reboot starts it, and it saves its state".to_owned());
    hints
}

/// What `ecs.config` holds that ecs-bootstrap did not write, and that a copy would use.
fn kept_config(leftovers: &Leftovers) -> Option<String> {
    let config = leftovers.ecs_config.as_ref().ok()?.as_deref()?;
    let lines = read(config);
    let others = effective(&lines).into_iter().filter(|(key, line)| {
        let is_written = leftovers.written.keys.get(*key).is_some_and(|value| *value == line.value);
        !is_written && (*key == "ECS_CLUSTER" || !redaction::is_shown_whole(key, &line.value))
    });
    let keys: Vec<_> = others.filter_map(|(key, _)| redaction::variable_name(key)).take(MOST_KEYS).collect();
    (!keys.is_empty()).then(|| {
        format!("{ECS_CONFIG} keeps lines that ecs-bootstrap did not write, and a copy uses them: {}", keys.join(", "))
    })
}

/// A container instance outlives the state of its agent. Saved state may be of another instance, so that is said.
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
            format!("the saved state is of `{instance}`: where that is this one, it stays registered until `{command}`")
        })
        .into_iter()
        .collect()
}

fn deregister(registered: &Registered) -> String {
    let Registered { cluster, container_instance_arn: arn } = registered;
    let region = arn.split(':').nth(3).filter(|region| !region.is_empty());
    let region = region.map(|region| format!(" --region {}", shell_word(region))).unwrap_or_default();
    let (cluster, arn) = (shell_word(cluster_name(cluster)), shell_word(arn));
    format!("aws ecs deregister-container-instance{region} --cluster {cluster} --container-instance {arn}")
}

/// `data.2026-11-25T22-31-05Z`: the time, or the next second that nothing is named after.
fn free_name(now: SystemTime, taken: &[String]) -> String {
    let name =
        |at: SystemTime| format!("{DATA}.{}", humantime::format_rfc3339_seconds(at).to_string().replace(':', "-"));
    let mut at = now;
    while taken.contains(&name(at)) {
        at += Duration::from_secs(1);
    }
    name(at)
}
