//! Reads the journal of this boot by journalctl(1).
//!
//! In: a unit, or the kernel. Out: its last lines, `None` where there is no journal to ask. They are somebody else's: whoever
//! asks keeps what he knows and nothing more. The journal's files have no other stable reader.

use std::process::Stdio;
use std::time::Duration;

use super::disk::Disk;
use super::program::output;
use crate::retry::{Deadline, within};

/// A journal on a slow disk is not waited for.
const LONGEST_CALL: Duration = Duration::from_secs(2);
/// Of whatever journalctl prints, no more is looked at.
const LONGEST: usize = 64 * 1024;

/// Whose lines.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// A unit's, and systemd's about it, since a time in seconds since 1970. Not `--boot`: journalctl takes the boot's id
    /// from below /proc/sys, which in a container is another for a unit with ProtectKernelTunables=.
    Unit(&'a str, u64),
    /// The kernel's.
    Kernel,
}

/// The last lines of this boot.
pub async fn lines(disk: &Disk, of: Of<'_>, deadline: Deadline) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the journal's own reader, see above")]
    let mut command = tokio::process::Command::new("journalctl");
    command.args(["--no-pager", "--quiet", "--output=cat"]);
    match of {
        Of::Unit(unit, since) => {
            command.args([format!("--unit={unit}"), format!("--since=@{since}"), "--lines=50".into()])
        }
        Of::Kernel => command.args(["--dmesg", "--lines=400"]),
    };
    let root = disk.path("/");
    if root.parent().is_some() {
        command.arg("--root").arg(root);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().ok()?;
    let printed = output(child.stdout.take()?, child, LONGEST);
    let printed = within(deadline.earliest(Deadline::after(LONGEST_CALL)), printed).await.ok()?;
    let bytes = match printed {
        Ok((status, bytes)) if status.success() => bytes,
        Ok(_) => return None,
        Err(error) => {
            tracing::warn!(?of, %error, "the journal is not read");
            return None;
        }
    };
    tracing::debug!(?of, bytes = bytes.len(), "asked the journal");
    Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|lines| !lines.is_empty())
}
