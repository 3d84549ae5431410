//! Reads what a program prints, within a limit, for `journalctl` and `systemd::control`.
//!
//! In: a program that was started with one pipe. Out: its status and the end of what it printed. A program that prints
//! more than it may is killed, and so is one whose future is dropped at a deadline.

use std::io;
use std::process::ExitStatus;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;

/// More than this no program prints that is called here.
const MOST: usize = 4 * 1024 * 1024;

/// The status, and the last `keep` bytes of one of its pipes.
pub(super) async fn output(
    mut pipe: impl AsyncRead + Unpin,
    mut child: Child,
    keep: usize,
) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut chunk = vec![0; 16 * 1024];
    let mut kept: Vec<u8> = Vec::new();
    let mut all = 0;
    loop {
        let count = pipe.read(&mut chunk).await?;
        if count == 0 {
            break;
        }
        all += count;
        if all > MOST {
            child.start_kill()?;
            return Err(io::Error::other(format!("it printed more than {MOST} bytes")));
        }
        kept.extend_from_slice(&chunk[..count]);
        if kept.len() > keep * 2 {
            kept.drain(..kept.len() - keep);
        }
    }
    kept.drain(..kept.len().saturating_sub(keep));
    Ok((child.wait().await?, kept))
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;
    use crate::boundary::loopback::run;

    #[expect(clippy::disallowed_methods, reason = "a program of the test's own")]
    fn of(script: &str) -> io::Result<(ExitStatus, Vec<u8>)> {
        run(async {
            let mut command = tokio::process::Command::new("sh");
            command.args(["-c", script]).stdout(Stdio::piped()).kill_on_drop(true);
            let mut child = command.spawn()?;
            let pipe = child.stdout.take().unwrap();
            output(pipe, child, 8).await
        })
    }

    #[test]
    fn the_end_of_what_is_printed_is_kept() {
        let (status, kept) = of("echo 0123456789; exit 3").unwrap();
        assert_eq!((status.code(), kept.as_slice()), (Some(3), b"3456789\n".as_slice()));
        assert_eq!(of("true").unwrap().1, b"");
    }

    #[test]
    fn a_program_that_prints_for_ever_is_killed() {
        let error = of("exec yes").unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }
}
