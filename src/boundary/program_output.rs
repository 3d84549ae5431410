//! Reads the output of a program within a limit, for `journalctl` and `systemd::control`.
//!
//! In: a program that was started with one pipe. Out: its exit status and the beginning or the end of its output. A
//! program that prints more than the limit is killed, and also a program whose future is dropped at a deadline.

use std::io;
use std::process::ExitStatus;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;

/// The most bytes that a program may print.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// At least the first `keep` bytes from `pipe`, if there are so many. A program that prints more is killed. `None` if it
/// fails before it prints anything.
pub(super) async fn first_bytes(
    mut pipe: impl AsyncRead + Unpin,
    mut child: Child,
    keep: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut chunk = vec![0; 16 * 1024];
    let mut kept: Vec<u8> = Vec::new();
    while kept.len() < keep {
        let count = pipe.read(&mut chunk).await?;
        if count == 0 {
            return Ok((child.wait().await?.success() || !kept.is_empty()).then_some(kept));
        }
        kept.extend_from_slice(&chunk[..count]);
    }
    child.start_kill()?;
    Ok(Some(kept))
}

/// The exit status, and the last `keep` bytes from `pipe`.
pub(super) async fn output(
    mut pipe: impl AsyncRead + Unpin,
    mut child: Child,
    keep: usize,
) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut chunk = vec![0; 16 * 1024];
    let mut kept: Vec<u8> = Vec::new();
    let mut total = 0;
    loop {
        let count = pipe.read(&mut chunk).await?;
        if count == 0 {
            break;
        }
        total += count;
        if total > MAX_BYTES {
            child.start_kill()?;
            return Err(io::Error::other(format!("it printed more than {MAX_BYTES} bytes")));
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

    use tokio::process::ChildStdout;

    use super::*;
    use crate::boundary::test_server::run;

    #[expect(clippy::disallowed_methods, reason = "the test starts its own program")]
    fn started(script: &str) -> io::Result<(ChildStdout, Child)> {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        Ok((child.stdout.take().unwrap(), child))
    }

    fn output_of(script: &str) -> io::Result<(ExitStatus, Vec<u8>)> {
        run(async {
            let (pipe, child) = started(script)?;
            output(pipe, child, 8).await
        })
    }

    #[test]
    fn the_beginning_of_the_output_is_kept_and_the_program_is_killed() {
        let first = |script: &str| {
            run(async {
                let (pipe, child) = started(script)?;
                first_bytes(pipe, child, 8).await
            })
        };
        assert!(first("echo 0123456789; exec yes").unwrap().unwrap().starts_with(b"0123456789\n"));
        assert_eq!(first("echo 0123; exit 0").unwrap().as_deref(), Some(b"0123\n".as_slice()));
        assert_eq!(first("echo 0123; exit 3").unwrap().as_deref(), Some(b"0123\n".as_slice()));
        assert_eq!(first("exit 3").unwrap(), None);
    }

    #[test]
    fn the_end_of_the_output_is_kept() {
        let (status, kept) = output_of("echo 0123456789; exit 3").unwrap();
        assert_eq!((status.code(), kept.as_slice()), (Some(3), b"3456789\n".as_slice()));
        assert_eq!(output_of("true").unwrap().1, b"");
    }

    #[test]
    fn a_program_that_never_stops_printing_is_killed() {
        let error = output_of("exec yes").unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }
}
