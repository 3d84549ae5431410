//! The file probe: reads the files that configure the agent, cloud-init's records, and the processes of user data.
//!
//! In: a disk. Out: evidence, within a few milliseconds. A file that cannot be read is logged and treated as absent.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::boundary::disk::Disk;
use crate::ecs_config::{json_fault, json_region};
use crate::evidence::OldestProcess;
use crate::evidence::files::{CloudInit, ConfigText, Files, UnreadConfig, output_failures, output_warnings};
use crate::evidence::user_data::hash;
use crate::host::{MAX_FILE_LENGTH, joined_cluster, known_or_log};
use crate::plan::{AGENT_JSON, ECS_CONFIG, VENDOR_ECS_CONFIG};

/// cloud-init writes this file at the end of its last stage. It is a link into `/var/lib/cloud/data`.
pub(crate) const CLOUD_INIT_RESULT: &str = "/run/cloud-init/result.json";
/// cloud-init writes this file at the begin and end of each stage. It is a link into `/var/lib/cloud/data`.
pub(crate) const CLOUD_INIT_STATUS: &str = "/run/cloud-init/status.json";
const OUTPUT: &str = "/var/log/cloud-init-output.log";
const SCRIPTS_RAN: [&str; 2] =
    ["/var/lib/cloud/instance/sem/config_scripts_user", "/var/lib/cloud/instance/sem/config_scripts-user"];
/// The folder of the scripts that cloud-init extracts from user data, and of the script that it makes of `runcmd`.
const SCRIPTS: &str = "/var/lib/cloud/instance/scripts";
const TAKEN: &str = "/var/lib/cloud/instance/user-data.txt";
/// The size limit in bytes of a record of cloud-init and of a file that was meant to be `ecs.config`.
const MAX_RECORD_LENGTH: usize = 256 * 1024;
const OUTPUT_TAIL: usize = 32 * 1024;
/// Paths outside of `/etc/ecs` at which users put the file by mistake.
const ELSEWHERE: [&str; 6] = [
    "/etc/ecs.config",
    "/etc/ecs.conf",
    "/etc/default/ecs",
    "/etc/sysconfig/ecs",
    "/ecs.config",
    "/etc/amazon/ecs/ecs.config",
];
/// Endings of backup and sample files in `/etc/ecs`. They are not meant to be read by the agent.
const COPIES: [&str; 14] = [
    ".bak",
    ".backup",
    ".old",
    ".orig",
    ".save",
    ".rpmsave",
    ".rpmnew",
    ".rpmorig",
    "~",
    ".swp",
    ".sample",
    ".example",
    ".template",
    ".disabled",
];
/// The maximum number of files in `/etc/ecs` that are read.
const MAX_STRAYS: usize = 20;

/// The region that the agent's own configuration file names.
pub(crate) fn agent_region(disk: &Disk) -> Option<String> {
    json_region(&known_or_log(disk.read(AGENT_JSON, MAX_FILE_LENGTH))?)
}

/// Reads both `ecs.config` files, files that may have been meant to be `ecs.config`, and cloud-init's records.
///
/// `config` has the agent's variables of both files.
pub(crate) fn files(disk: &Disk, config: &BTreeMap<String, String>) -> Files {
    let text_of = |path: &'static str| {
        let bytes = read(disk, path, MAX_FILE_LENGTH)?;
        Some(ConfigText::of(path, known_or_log(disk.modified(path)), &bytes))
    };
    let agent_json = read(disk, AGENT_JSON, MAX_FILE_LENGTH);
    Files {
        is_examined: true,
        configs: [VENDOR_ECS_CONFIG, ECS_CONFIG].into_iter().filter_map(text_of).collect(),
        configured_cluster: joined_cluster(disk),
        json_region: agent_json.as_ref().and_then(|bytes| json_region(bytes)),
        json_fault: agent_json.as_ref().and_then(|bytes| json_fault(bytes)),
        missing_docker_socket: missing_docker_socket(disk, config),
        unread_configs: unread_configs(disk),
        cloud_init: cloud_init(disk),
    }
}

fn read(disk: &Disk, path: &str, limit: usize) -> Option<Vec<u8>> {
    known_or_log(disk.read(path, limit))
}

/// The path of the socket in DOCKER_HOST, if there is nothing at it. ecs-init uses only sockets.
fn missing_docker_socket(disk: &Disk, config: &BTreeMap<String, String>) -> Option<String> {
    let path = config.get("DOCKER_HOST")?.trim().strip_prefix("unix://")?;
    // A hardened unit has another `/tmp`.
    let is_shared = path.starts_with('/') && !["/tmp/", "/var/tmp/"].iter().any(|folder| path.starts_with(folder));
    let is_missing = is_shared && matches!(disk.exists(path), Ok(false));
    is_missing.then(|| path.to_owned())
}

fn unread_configs(disk: &Disk) -> Vec<UnreadConfig> {
    let beside = disk.list("/etc/ecs").unwrap_or_default();
    let is_copy = |name: &str| COPIES.iter().any(|end| name.ends_with(end)) || name.contains(".dpkg-");
    let beside = beside.into_iter().map(|name| format!("/etc/ecs/{name}"));
    let beside = beside.filter(|path| ![ECS_CONFIG, AGENT_JSON].contains(&path.as_str()) && !is_copy(path));
    let paths = ELSEWHERE.into_iter().map(str::to_owned).chain(beside.take(MAX_STRAYS));
    paths.filter_map(|path| UnreadConfig::of(&path, &read(disk, &path, MAX_RECORD_LENGTH)?)).collect()
}

fn cloud_init(disk: &Disk) -> CloudInit {
    let record = |path| read(disk, path, MAX_RECORD_LENGTH);
    let (status, result) = (record(CLOUD_INIT_STATUS), record(CLOUD_INIT_RESULT));
    let output = known_or_log(disk.tail(OUTPUT, OUTPUT_TAIL)).map(|tail| tail.bytes).unwrap_or_default();
    CloudInit {
        output: output_failures(&output),
        warnings: output_warnings(&output),
        has_scripts: disk.list(SCRIPTS).is_ok_and(|scripts| !scripts.is_empty()),
        ran_scripts: SCRIPTS_RAN.iter().any(|path| disk.exists(path).unwrap_or(false)),
        user_data_hash: record(TAKEN).map(|bytes| hash(&bytes)),
        ..CloudInit::read(status.as_deref(), result.as_deref())
    }
}

/// A process of user data, from `/proc`.
struct Process {
    parent: u32,
    name: String,
    age: Duration,
}

/// The oldest process of user data, and the process that it waits for. Only names and ages are read: the arguments are
/// user data.
pub(crate) fn long_run(disk: &Disk) -> Option<OldestProcess> {
    let uptime = seconds(&text(disk, "/proc/uptime")?)?;
    let numbers = disk.list("/proc").ok()?;
    let processes: BTreeMap<u32, Process> = numbers
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter(|pid| text(disk, &format!("/proc/{pid}/cgroup")).is_some_and(|g| g.contains("/cloud-final.service")))
        .filter_map(|pid| Some((pid, process(&text(disk, &format!("/proc/{pid}/stat"))?, uptime)?)))
        .collect();
    // cloud-init itself, and the process that copies its output into its log.
    let is_own = |process: &Process| ["cloud-init", "tee"].contains(&process.name.as_str());
    let feeds_tee = |pid: u32| processes.values().any(|child| child.parent == pid && child.name == "tee");
    let others = processes.iter().filter(|(pid, process)| !is_own(process) && !feeds_tee(**pid));
    let (pid, oldest) = others.max_by_key(|(pid, process)| (process.age, u32::MAX - **pid))?;
    let child_of = |parent: u32| processes.iter().find(|(_, child)| child.parent == parent);
    let mut last = None;
    let mut at = *pid;
    while let Some((child, process)) = child_of(at).filter(|(child, _)| **child > at) {
        last = Some(process.name.clone());
        at = *child;
    }
    Some(OldestProcess { pid: *pid, name: oldest.name.clone(), age: oldest.age, waits_for: last })
}

/// A file of `/proc` as text. An error is not logged: a process can end between the listing and the read.
fn text(disk: &Disk, path: &str) -> Option<String> {
    disk.read(path, MAX_RECORD_LENGTH).ok().flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn seconds(uptime: &str) -> Option<Duration> {
    let first: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(first).ok()
}

/// Parses name, parent and age from a line of `/proc/PID/stat` (proc_pid_stat(5)). The start time in it is in
/// hundredths of a second since the boot.
fn process(stat: &str, uptime: Duration) -> Option<Process> {
    let (before, after) = (stat.split_once('(')?.1, stat.rsplit_once(')')?.1);
    let name = before.get(..before.rfind(')')?)?;
    let mut fields = after.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let started: u64 = fields.nth(17)?.parse().ok()?;
    let name = name.chars().filter(|c| !c.is_control()).take(16).collect();
    Some(Process { parent, name, age: uptime.saturating_sub(Duration::from_millis(started.saturating_mul(10))) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_name_parent_and_age_of_a_process() {
        let stat = "4712 (a) (b) S 4711 4700 4700 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 30000 1 1 1";
        let read = process(stat, Duration::from_secs(1000)).unwrap();
        assert_eq!((read.parent, read.name.as_str(), read.age), (4711, "a) (b", Duration::from_secs(700)));
    }

    proptest::proptest! {
        #[test]
        fn no_text_can_break_it(text: String, stat in "[0-9() a-zé-]{0,80}") {
            process(&text, Duration::ZERO);
            process(&stat, Duration::ZERO);
            seconds(&text);
        }
    }
}
