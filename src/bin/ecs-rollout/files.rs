//! Reads and writes the files that the command line names; `-` is stdin. Appends to the files of a CI system. No other
//! file of ecs-rollout opens files.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::arn::Arn;
use crate::cause::FoundCause;
use crate::causes::BAD_OPTION;
use crate::document::InputFile;
use crate::variables::{self, EnvironmentFile};

/// RegisterTaskDefinition accepts 64 KiB (Amazon ECS service quotas).
const MAX_BYTES: u64 = 1024 * 1024;

#[expect(clippy::disallowed_methods, reason = "a file of the caller, not one below the root of an instance")]
pub(crate) fn read(path: &Path) -> Result<InputFile, FoundCause> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let outcome = match name.as_str() {
        "-" => std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)),
    };
    outcome.map_err(|error| {
        let hint = match Arn::parse(&name) {
            Some(_) => "; a file is expected here, `rollback --to` deploys a registered revision",
            None => "",
        };
        BAD_OPTION.finding(format!("`{name}` cannot be read: {error}{hint}"))
    })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(BAD_OPTION.finding(format!("`{name}` is larger than 1 MiB")));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(InputFile { name, text }),
        Err(_) => Err(BAD_OPTION.finding(format!("`{name}` is not UTF-8"))),
    }
}

/// A file that is to be written, before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    Absent,
    /// It has the text already.
    Same,
    /// It has other content.
    Different,
}

/// Compares a file with the text that is to be written to it.
#[expect(clippy::disallowed_methods, reason = "a file of the caller, not one below the root of an instance")]
pub(crate) fn state(path: &Path, text: &str) -> Result<FileState, FoundCause> {
    let mut bytes = Vec::new();
    // One byte more than the text shows whether the file is longer.
    let limit = text.len() as u64 + 1;
    match std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) if bytes == text.as_bytes() => Ok(FileState::Same),
        Ok(_) => Ok(FileState::Different),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(FileState::Absent),
        Err(error) => Err(BAD_OPTION.finding(format!("`{}` cannot be read: {error}", path.display()))),
    }
}

/// Writes a file, and the folder if there is none. A reader sees the old file or the new one, never a part. The target
/// of a symbolic link is replaced, and the permissions of an existing file are kept.
#[expect(clippy::disallowed_methods, reason = "a file of the caller, not one below the root of an instance")]
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), FoundCause> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let temporary = temporary(&target);
    let write = || {
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.map_or(Ok(()), std::fs::create_dir_all)?;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        if let Ok(existing) = std::fs::metadata(&target) {
            file.set_permissions(existing.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &target)
    };
    write().map_err(|error| {
        drop(std::fs::remove_file(&temporary));
        BAD_OPTION.finding(format!("`{}` cannot be written: {error}", path.display()))
    })
}

/// A name in the same folder that no other process uses.
fn temporary(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

/// Whether the process was started with SIGHUP ignored, as `nohup` does (proc_pid_status(5), `SigIgn`).
#[expect(clippy::disallowed_methods, reason = "a file of this process, not one below the root of an instance")]
pub(crate) fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1, SIGHUP.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Appends to a file that the CI system names. Creates the file if it does not exist.
pub(crate) fn append(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())
}

/// Reads a file of `--env-file`.
pub(crate) fn read_environment(path: &Path) -> Result<EnvironmentFile, FoundCause> {
    let InputFile { name, text } = read(path)?;
    let variables = variables::parse_file(&text);
    let variables = variables.map_err(|why| BAD_OPTION.finding(format!("`{name}`, {why}")))?;
    Ok(EnvironmentFile { name, variables })
}
