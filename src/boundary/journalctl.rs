//! Reads the journal of this boot with journalctl(1), the only stable reader of the journal's files.
//!
//! In: a unit, or the kernel. Out: its last lines; `None` if they cannot be read. Other programs wrote these lines, and
//! they may contain secrets: callers keep only errors, and redact them.
//!
//! In: ids of messages. Out: when they were logged, without their text.

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
/// The most bytes of entries without their text, of which one takes 300 bytes. A boot starts some hundred units.
const MAX_MESSAGES_BYTES: usize = 2 * 1024 * 1024;
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
    // Without --lines=: with --since it counts from the beginning (systemd 252), and with --reverse older versions skip
    // the newest entries (systemd#1596). JSON has one line for each entry, so an entry of several lines can be reversed.
    let mut arguments = vec!["--reverse".to_owned(), "--all".to_owned()];
    let (selection, max_entries) = match from {
        JournalSource::Unit(unit, since) => (vec![format!("--unit={unit}"), format!("--since=@{since}")], MAX_ENTRIES),
        JournalSource::Kernel => (vec!["--dmesg".to_owned()], MAX_KERNEL_ENTRIES),
    };
    arguments.extend(selection);
    let bytes = printed(disk, &arguments, MAX_BYTES, deadline).await?;
    Some(messages(&bytes, max_entries)).filter(|lines| !lines.is_empty())
}

/// When a message was logged, by both clocks in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoggedMessage {
    /// CLOCK_MONOTONIC.
    pub monotonic_us: u64,
    /// CLOCK_REALTIME, since 1970.
    pub unix_us: u64,
    /// The id of the kind of message (systemd.journal-fields(7), `MESSAGE_ID`).
    pub message_id: String,
    /// The unit that systemd writes about; empty if there is none.
    pub unit: String,
}

/// The first entries of this boot with one of these message ids, the oldest first; `None` if the journal cannot be read.
pub async fn messages_with_ids(disk: &Disk, ids: &[&str], deadline: Deadline) -> Option<Vec<LoggedMessage>> {
    let mut arguments = vec!["--boot".to_owned(), "--output-fields=MESSAGE_ID,UNIT".to_owned()];
    arguments.extend(ids.iter().map(|id| format!("MESSAGE_ID={id}")));
    Some(logged(&printed(disk, &arguments, MAX_MESSAGES_BYTES, deadline).await?))
}

/// When the last entry of the boot before this one was logged, in microseconds since 1970. `Some(None)` if the journal
/// has no earlier boot; `None` if the journal cannot be read.
pub async fn end_of_earlier_boot(disk: &Disk, deadline: Deadline) -> Option<Option<u64>> {
    // Two entries, because the newest one may be incomplete after a power cut.
    let arguments = ["--boot=-1", "--lines=2", "--output-fields=MESSAGE_ID"].map(str::to_owned);
    match printed(disk, &arguments, MAX_BYTES, deadline).await {
        Some(bytes) => Some(logged(&bytes).last().map(|entry| entry.unix_us)),
        // journalctl fails if there is no earlier boot, and also if there is no journal.
        None => printed(disk, &["--boot".to_owned(), "--lines=1".to_owned()], MAX_BYTES, deadline).await.map(|_| None),
    }
}

/// What journalctl prints as JSON, at least the first `keep` bytes; `None` if it fails or is too slow.
async fn printed(disk: &Disk, arguments: &[String], keep: usize, deadline: Deadline) -> Option<Vec<u8>> {
    #[expect(clippy::disallowed_methods, reason = "journalctl is the only stable reader of the journal")]
    let mut command = tokio::process::Command::new("journalctl");
    command.args(["--no-pager", "--quiet", "--output=json"]).args(arguments);
    let root = disk.path("/");
    if root.parent().is_some() {
        command.arg("--root").arg(root);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().ok()?;
    let printed = first_bytes(child.stdout.take()?, child, keep);
    let printed = within(deadline.earliest(Deadline::after(MAX_CALL_TIME)), printed).await.ok()?;
    let bytes = match printed {
        Ok(bytes) => bytes?,
        Err(error) => {
            tracing::warn!(?arguments, %error, "journal not read");
            return None;
        }
    };
    tracing::debug!(?arguments, bytes = bytes.len(), "journal read");
    Some(bytes)
}

/// The entries in JSON, without those that are incomplete.
fn logged(entries: &[u8]) -> Vec<LoggedMessage> {
    let entry = |entry: &[u8]| {
        let entry: serde_json::Value = serde_json::from_slice(entry).ok()?;
        // journalctl writes numbers as strings.
        let number = |field: &str| entry[field].as_str()?.parse().ok();
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        Some(LoggedMessage {
            monotonic_us: number("__MONOTONIC_TIMESTAMP")?,
            unix_us: number("__REALTIME_TIMESTAMP")?,
            message_id: text("MESSAGE_ID"),
            unit: text("UNIT"),
        })
    };
    entries.split(|byte| *byte == b'\n').filter_map(entry).collect()
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
    fn the_times_of_messages_are_read() {
        let entries = b"{\"__MONOTONIC_TIMESTAMP\":\"12\",\"__REALTIME_TIMESTAMP\":\"34\",\"UNIT\":\"a.service\",\
                        \"MESSAGE_ID\":\"39\"}\n{\"__REALTIME_TIMESTAMP\":\"35\"}\n{\"__MONOTONIC_TIMESTAMP\":\"1";
        let entry = LoggedMessage { monotonic_us: 12, unix_us: 34, message_id: "39".into(), unit: "a.service".into() };
        assert_eq!(logged(entries), [entry]);
    }

    #[test]
    fn entries_are_reversed_and_keep_their_lines() {
        let entries = b"{\"MESSAGE\":\"last\",\"PRIORITY\":\"3\"}\n{\"MESSAGE\":[98,97,100,255]}\n{\"MESSAGE\":null}\n\
                        {\"MESSAGE\":\"of two\\nlines\"}\n{\"MESSAGE\":\"cut";
        assert_eq!(messages(entries, 9), "of two\nlines\nbad\u{fffd}\nlast\n");
        assert_eq!(messages(entries, 2), "bad\u{fffd}\nlast\n");
        assert_eq!(messages(b"", 9), "");
    }
}
