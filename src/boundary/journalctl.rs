//! Reads the journal of this boot with journalctl(1), the only stable reader of the journal's files.
//!
//! In: a unit, or the kernel. Out: its last lines; `None` if they cannot be read. Other programs wrote these lines, and
//! they may contain secrets: callers must keep only the lines that they recognize.

use std::process::Stdio;
use std::time::Duration;

use super::disk::Disk;
use super::program_output::output;
use crate::retry::{Deadline, within};

/// The time-out for journalctl, which is slow on a slow disk.
const MAX_CALL_TIME: Duration = Duration::from_secs(2);
/// The most bytes of journalctl's output that are used, the last ones.
const MAX_BYTES: usize = 64 * 1024;

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

/// The last lines of `from` in this boot.
pub async fn lines(disk: &Disk, from: JournalSource<'_>, deadline: Deadline) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "journalctl is the only stable reader of the journal")]
    let mut command = tokio::process::Command::new("journalctl");
    command.args(["--no-pager", "--quiet", "--output=cat"]);
    match from {
        JournalSource::Unit(unit, since) => {
            command.args([format!("--unit={unit}"), format!("--since=@{since}"), "--lines=50".into()])
        }
        JournalSource::Kernel => command.args(["--dmesg", "--lines=400"]),
    };
    let root = disk.path("/");
    if root.parent().is_some() {
        command.arg("--root").arg(root);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().ok()?;
    let printed = output(child.stdout.take()?, child, MAX_BYTES);
    let printed = within(deadline.earliest(Deadline::after(MAX_CALL_TIME)), printed).await.ok()?;
    let bytes = match printed {
        Ok((status, bytes)) if status.success() => bytes,
        Ok(_) => return None,
        Err(error) => {
            tracing::warn!(?from, %error, "journal not read");
            return None;
        }
    };
    tracing::debug!(?from, bytes = bytes.len(), "journal read");
    Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|lines| !lines.is_empty())
}
