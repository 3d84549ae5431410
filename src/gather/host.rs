//! Reads the facts about the host: files byte for byte, units, devices.
//!
//! What cannot be read is unknown. `/etc/ecs/ecs.config` is the exception: apply writes it, so a failed read is an
//! error.

use crate::boundary::disk::{Disk, DiskError};
use crate::boundary::systemd::{Systemd, SystemdError};
use crate::evidence::StageError;
use crate::facts::{ConfigFile, Fact, Host};
use crate::host::{MAX_FILE_LENGTH, device, early_unit, saved_agent, units_to_plan, user_data_runs, written};
use crate::plan::{ECS_CONFIG, VENDOR_ECS_CONFIG};
use crate::settings::{Rank, SettingsError};

const VENDOR_SETTINGS: &str = "/usr/lib/ecs-bootstrap/config.d";
const SETTINGS: &str = "/etc/ecs-bootstrap/config.toml";
const MORE_SETTINGS: &str = "/etc/ecs-bootstrap/config.d";

/// The maximum number of settings files in a folder.
const MAX_FILES: usize = 100;

/// The existing settings files, in ascending order of precedence: by rank, then by name.
pub(super) fn settings_files(disk: &Disk) -> Result<Vec<(Rank, String)>, StageError> {
    let folder = |rank, path: &str| -> Result<Vec<(Rank, String)>, StageError> {
        let names = disk.list(path).map_err(StageError::ReadSettings)?;
        if names.iter().filter(|name| name.ends_with(".toml")).count() > MAX_FILES {
            let what = format!("the folder contains more than {MAX_FILES} settings files");
            return Err(SettingsError { place: path.to_owned(), what, did_you_mean: None }.into());
        }
        Ok(names.iter().filter(|name| name.ends_with(".toml")).map(|name| (rank, format!("{path}/{name}"))).collect())
    };
    let mut files = folder(Rank::Vendor, VENDOR_SETTINGS)?;
    files.push((Rank::Config, SETTINGS.to_owned()));
    files.extend(folder(Rank::Config, MORE_SETTINGS)?);
    Ok(files)
}

/// `ecs.config` of the image and of this host.
pub(super) fn config_files(disk: &Disk) -> Result<(ConfigFile, ConfigFile), StageError> {
    Ok((vendor_config(disk), etc_config(disk)?))
}

/// All facts about the host, with these files.
pub(super) async fn host(
    disk: &Disk,
    (var_config, etc_config): (ConfigFile, ConfigFile),
    systemd: &Result<Systemd, SystemdError>,
    agent_unit: &str,
) -> Host {
    let boot_id = disk.read("/proc/sys/kernel/random/boot_id", 64);
    Host {
        memory_mib: memory_mib(disk),
        boot_id: known(boot_id.map(|id| id.map(|id| String::from_utf8_lossy(&id).trim().to_owned())), "no boot id"),
        etc_config,
        var_config,
        written: written(disk),
        saved: saved_agent(disk),
        user_data_runs: user_data_runs(disk),
        early_unit: Fact::from_result(early_unit(disk)),
        units: match systemd {
            Ok(systemd) => Fact::from_result(units_to_plan(systemd, agent_unit).await),
            Err(error) => Fact::Unknown(crate::redaction::error_chain(error)),
        },
        gpu: device(disk, "nvidia"),
        neuron: device(disk, "neuron"),
    }
}

/// The current `/etc/ecs/ecs.config`, which apply may replace.
pub(super) fn etc_config(disk: &Disk) -> Result<ConfigFile, StageError> {
    let state = disk.read_regular(ECS_CONFIG, MAX_FILE_LENGTH).map_err(StageError::Read)?;
    Ok(state.map_or_else(ConfigFile::default, |state| ConfigFile {
        bytes: Some(state.bytes),
        modified: Some(state.modified),
    }))
}

/// The AMI's own `ecs.config`. It is only read, so an unreadable file is treated as absent, as by ecs-init.
fn vendor_config(disk: &Disk) -> ConfigFile {
    match disk.read(VENDOR_ECS_CONFIG, MAX_FILE_LENGTH) {
        Ok(bytes) => ConfigFile { bytes, modified: None },
        Err(error) => {
            tracing::warn!(
                error = crate::redaction::error_chain(&error),
                "file not read; the AMI's ecs.config is ignored"
            );
            ConfigFile::default()
        }
    }
}

fn known<T>(read: Result<Option<T>, DiskError>, absent: &str) -> Fact<T> {
    match read {
        Ok(Some(value)) => Fact::Known(value),
        Ok(None) => Fact::Unknown(absent.to_owned()),
        Err(error) => Fact::Unknown(error.to_string()),
    }
}

fn memory_mib(disk: &Disk) -> Fact<u64> {
    let total = disk.read("/proc/meminfo", MAX_FILE_LENGTH).map(|bytes| {
        let text = String::from_utf8_lossy(&bytes?).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
    });
    known(total, "no MemTotal in /proc/meminfo")
}
