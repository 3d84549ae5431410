//! `check`: reads the named files and standard input, and reports the mistakes in them. It reads nothing else.

use std::path::PathBuf;

use super::{Report, as_json};
use crate::boundary::given;
use crate::causes::chain;
use crate::check::{Checked, Level, Options, check as check_one};
use crate::exit::Exit;
use crate::report::{check_json, check_summary, check_text};

/// `check`: all files, in the order of the command line.
pub fn check(files: &[PathBuf], options: Options, json: bool) -> Report {
    let files = if files.is_empty() { vec![PathBuf::from("-")] } else { files.to_vec() };
    let mut checked: Vec<Checked> = Vec::new();
    let mut stderr = String::new();
    let mut exit = Exit::Done;
    for path in &files {
        let name = if path.as_os_str() == "-" { "<stdin>".to_owned() } else { path.to_string_lossy().into_owned() };
        match given::read(path) {
            Ok(bytes) => match check_one(&name, &bytes, options) {
                Some(one) => checked.push(one),
                None => {
                    let text = "cannot be recognised as user data, ecs.config or settings; say it with `--type`";
                    stderr.push_str(&format!("error: `{}` {text}\n", name.escape_debug()));
                    exit = Exit::Usage;
                }
            },
            Err(error) => {
                stderr.push_str(&format!("error: {}\n", chain(&error)));
                exit = Exit::Usage;
            }
        }
    }
    let is_error = |checked: &Checked| checked.findings.iter().any(|finding| finding.level == Level::Error.word());
    if exit == Exit::Done && checked.iter().any(is_error) {
        exit = Exit::Settings;
    }
    stderr.push_str(&check_summary(&checked));
    let stdout = if json { as_json(&check_json(&checked)) } else { check_text(&checked) };
    Report { stdout, stderr, exit }
}
