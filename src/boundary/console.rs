//! Prints a line on the system console, which can be read with `ec2:GetConsoleOutput` or on the serial console if a
//! login is impossible.
//!
//! In: one line. Out: success, or the kernel's error. It never blocks on a console that is full, and never creates a
//! file in place of a missing console.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

use super::disk::{Disk, FinalLink};

/// Prints the line. Control characters become spaces, because they could control the terminal.
pub fn print(disk: &Disk, line: &str) -> io::Result<()> {
    let line = line.replace(char::is_control, " ");
    let mut options = OpenOptions::new();
    options.append(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    let mut console = options.open(disk.resolve("/dev/console", FinalLink::Followed)?)?;
    // In one write, so that the lines of other writers do not mix with it. Carriage returns for a terminal in raw mode.
    console.write_all(format!("\r\n{line}\r\n").as_bytes())
}
