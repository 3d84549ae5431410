//! `check`: reads the named files and standard input, and reports the mistakes in them. It reads nothing else.

use std::path::PathBuf;

use crate::boundary::given;
use crate::check::{Checked, Finding, Level, Options, check as check_one};
use crate::command_line::CommandOutput;
use crate::exit::Exit;
use crate::redaction::{self, error_chain};
use crate::render::{as_json, check_json, check_summary, check_text};

/// The most files that are named because they cannot be read.
const MOST_ERRORS: usize = 20;
/// The most findings of all files together, and the bytes of what they say.
const MOST_FINDINGS: usize = 200;
const MOST_BYTES: usize = 16 << 10;

/// Leaves findings out where all files together have very many, warnings first.
fn shorten(checked: &mut [Checked]) {
    let (mut findings, mut bytes) = (MOST_FINDINGS, MOST_BYTES);
    let mut is_shown = |finding: &Finding| {
        let left = findings.checked_sub(1).zip(bytes.checked_sub(finding.message.len()));
        (findings, bytes) = left.unwrap_or((0, 0));
        left.is_some()
    };
    for level in [Level::Error, Level::Warning] {
        for one in checked.iter_mut() {
            let before = one.findings.len();
            one.findings.retain(|finding| finding.level != level.word() || is_shown(finding));
            one.findings_not_shown += before - one.findings.len();
        }
    }
}

/// `check`: all files, in the order of the command line.
pub fn check(files: &[PathBuf], options: Options, json: bool) -> CommandOutput {
    let files = if files.is_empty() { vec![PathBuf::from("-")] } else { files.to_vec() };
    let mut checked: Vec<Checked> = Vec::new();
    let mut errors: Vec<String> = Vec::new();
    for path in &files {
        let name = if path.as_os_str() == "-" { "<stdin>".to_owned() } else { path.to_string_lossy().into_owned() };
        match given::read(path).map(|bytes| check_one(&name, &bytes, options)) {
            Ok(Some(one)) => checked.push(one),
            Ok(None) => errors.push(format!(
                "`{}` cannot be recognised as user data, ecs.config or settings; say it with `--type`",
                redaction::line(&name)
            )),
            Err(error) => errors.push(error_chain(&error)),
        }
    }
    let is_error = |checked: &Checked| checked.findings.iter().any(|finding| finding.level == Level::Error.word());
    let exit = match errors.is_empty() {
        false => Exit::Usage,
        true if checked.iter().any(is_error) => Exit::Settings,
        true => Exit::Done,
    };
    let mut stderr: String = errors.iter().take(MOST_ERRORS).map(|error| format!("error: {error}\n")).collect();
    if errors.len() > MOST_ERRORS {
        let more = errors.len() - MOST_ERRORS;
        stderr.push_str(&format!("error: {more} more files cannot be read or recognised\n"));
    }
    shorten(&mut checked);
    stderr.push_str(&check_summary(&checked));
    let stdout = if json { as_json(&check_json(&checked)) } else { check_text(&checked) };
    CommandOutput { stdout, stderr, exit }
}
