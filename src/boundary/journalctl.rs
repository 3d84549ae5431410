//! Reads the journal of this boot with journalctl(1), the only stable reader of the journal's files.
//!
//! In: a unit, or the kernel. Out: its last lines; `None` if they cannot be read. Other programs wrote these lines, and
//! they may contain secrets: callers keep only errors, and redact them.

use std::process::Stdio;
use std::time::Duration;

use super::disk::Disk;
use super::program_output::first_bytes;
use crate::retry::{Deadline, within};

/// The time-out for journalctl, which is slow on a slow disk.
const MAX_CALL_TIME: Duration = Duration::from_secs(2);
/// The most bytes of journalctl's output that are used. An entry in JSON takes one or two KiB.
const MAX_BYTES: usize = 1024 * 1024;
/// The most entries of a unit.
const MAX_ENTRIES: usize = 50;
/// The most entries of the kernel.
const MAX_KERNEL_ENTRIES: usize = 400;

/// The source of journal lines.
#[derive(Clone, Copy, Debug)]
pub enum JournalSource<'a> {
    /// A unit, and systemd's lines about it, since a time in seconds since 1970. Instead of `--boot`, for which
    /// journalctl reads the boot id below /proc/sys: in a container, a unit with ProtectKernelTunables= sees another id
    /// there.
    Unit(&'a str, u64),
    /// The kernel.
    Kernel,
}

/// The last entries of `from` in this boot, the oldest first.
pub async fn lines(disk: &Disk, from: JournalSource<'_>, deadline: Deadline) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "journalctl is the only stable reader of the journal")]
    let mut command = tokio::process::Command::new("journalctl");
    // Without --lines=: with --since it counts from the beginning (systemd 252), and with --reverse older versions skip
    // the newest entries (systemd#1596). JSON has one line for each entry, so an entry of several lines can be reversed.
    command.args(["--no-pager", "--quiet", "--reverse", "--output=json", "--all"]);
    let (selection, max_entries) = match from {
        JournalSource::Unit(unit, since) => (vec![format!("--unit={unit}"), format!("--since=@{since}")], MAX_ENTRIES),
        JournalSource::Kernel => (vec!["--dmesg".to_owned()], MAX_KERNEL_ENTRIES),
    };
    command.args(selection);
    let root = disk.path("/");
    if root.parent().is_some() {
        command.arg("--root").arg(root);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().ok()?;
    let printed = first_bytes(child.stdout.take()?, child, MAX_BYTES);
    let printed = within(deadline.earliest(Deadline::after(MAX_CALL_TIME)), printed).await.ok()?;
    let bytes = match printed {
        Ok(bytes) => bytes?,
        Err(error) => {
            tracing::warn!(?from, %error, "journal not read");
            return None;
        }
    };
    tracing::debug!(?from, bytes = bytes.len(), "journal read");
    Some(messages(&bytes, max_entries)).filter(|lines| !lines.is_empty())
}

/// The messages of the first entries in JSON, the newest first, as lines, the oldest first. An incomplete entry is left
/// out.
fn messages(entries: &[u8], max_entries: usize) -> String {
    let message = |entry: &[u8]| {
        let entry: serde_json::Value = serde_json::from_slice(entry).ok()?;
        match &entry["MESSAGE"] {
            serde_json::Value::String(text) => Some(text.clone()),
            // A message that is not UTF-8.
            serde_json::Value::Array(bytes) => {
                let bytes: Option<Vec<u8>> = bytes.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
                Some(String::from_utf8_lossy(&bytes?).into_owned())
            }
            _ => None,
        }
    };
    let mut lines: Vec<String> = entries.split(|byte| *byte == b'\n').filter_map(message).take(max_entries).collect();
    lines.reverse();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_reversed_and_keep_their_lines() {
        let entries = b"{\"MESSAGE\":\"last\",\"PRIORITY\":\"3\"}\n{\"MESSAGE\":[98,97,100,255]}\n{\"MESSAGE\":null}\n\
                        {\"MESSAGE\":\"of two\\nlines\"}\n{\"MESSAGE\":\"cut";
        assert_eq!(messages(entries, 9), "of two\nlines\nbad\u{fffd}\nlast\n");
        assert_eq!(messages(entries, 2), "bad\u{fffd}\nlast\n");
        assert_eq!(messages(b"", 9), "");
    }
}
