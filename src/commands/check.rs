//! `check`: reads the named files, or standard input, and reports the mistakes in them. It reads nothing else.

use std::path::PathBuf;

use crate::boundary::input_file;
use crate::check::{Checked, Finding, Level, Options, check as check_file};
use crate::command_line::CommandOutput;
use crate::exit::Exit;
use crate::redaction::{self, error_chain};
use crate::render::{as_json, check_json, check_summary, check_text};

/// Maximum number of unreadable files that are listed.
const MAX_ERRORS: usize = 20;
/// Maximum number of findings of all files together, and maximum size of their messages in bytes.
const MAX_FINDINGS: usize = 200;
const MAX_BYTES: usize = 16 << 10;

/// Drops findings beyond [`MAX_FINDINGS`] and [`MAX_BYTES`]; warnings are dropped before errors.
fn drop_excess_findings(checked: &mut [Checked]) {
    let (mut findings, mut bytes) = (MAX_FINDINGS, MAX_BYTES);
    let mut is_shown = |finding: &Finding| {
        let left = findings.checked_sub(1).zip(bytes.checked_sub(finding.message.len()));
        (findings, bytes) = left.unwrap_or((0, 0));
        left.is_some()
    };
    for level in [Level::Error, Level::Warning] {
        for file in checked.iter_mut() {
            let before = file.findings.len();
            file.findings.retain(|finding| finding.level != level || is_shown(finding));
            file.findings_not_shown += before - file.findings.len();
        }
    }
}

/// `check`: checks the files in the order of the command line.
pub fn check(files: &[PathBuf], options: Options, json: bool) -> CommandOutput {
    let files = if files.is_empty() { vec![PathBuf::from("-")] } else { files.to_vec() };
    let mut checked: Vec<Checked> = Vec::new();
    let mut errors: Vec<String> = Vec::new();
    for path in &files {
        let name = if path.as_os_str() == "-" { "<stdin>".to_owned() } else { path.to_string_lossy().into_owned() };
        match input_file::read(path).map(|bytes| check_file(&name, &bytes, options)) {
            Ok(Some(file)) => checked.push(file),
            Ok(None) => errors.push(format!(
                "`{}` is not recognised as user data, ecs.config or settings; name its type with `--type`",
                redaction::line(&name)
            )),
            Err(error) => errors.push(error_chain(&error)),
        }
    }
    let has_error = |file: &Checked| file.findings.iter().any(|finding| finding.level == Level::Error);
    let exit = if !errors.is_empty() {
        Exit::Usage
    } else if checked.iter().any(has_error) {
        Exit::Settings
    } else {
        Exit::Done
    };
    let mut stderr: String = errors.iter().take(MAX_ERRORS).map(|error| format!("error: {error}\n")).collect();
    if errors.len() > MAX_ERRORS {
        let more = errors.len() - MAX_ERRORS;
        stderr.push_str(&format!("error: {more} more files are not read or not recognised\n"));
    }
    drop_excess_findings(&mut checked);
    stderr.push_str(&check_summary(&checked));
    let stdout = if json { as_json(&check_json(&checked)) } else { check_text(&checked) };
    CommandOutput { stdout, stderr, exit }
}
