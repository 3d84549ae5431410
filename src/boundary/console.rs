//! A line on the system console, which `ec2:GetConsoleOutput` and a serial console show where nobody can log in.
//!
//! In: one line. Out: nothing. It never waits for a console that takes no more, and makes no file where there is none.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

use super::disk::{Disk, Last};

/// Prints the line, without what could steer a terminal.
pub fn print(disk: &Disk, line: &str) -> io::Result<()> {
    let line = line.replace(char::is_control, " ");
    let mut options = OpenOptions::new();
    options.append(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    // One write: other writers do not come between. The carriage return is for a terminal in raw mode.
    options.open(disk.inside("/dev/console", Last::Followed)?)?.write_all(format!("\r\n{line}\r\n").as_bytes())
}
