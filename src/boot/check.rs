//! `check`: reads the named files and standard input, and reports the mistakes in them. It reads nothing else.

use std::path::PathBuf;

use super::{Report, as_json};
use crate::boundary::given;
use crate::causes::chain;
use crate::check::{Checked, Finding, Level, Options, check as check_one};
use crate::exit::Exit;
use crate::redaction;
use crate::report::{check_json, check_summary, check_text};

/// The most files that are named because they cannot be read.
const MOST_ERRORS: usize = 20;
/// The most findings of all files together, and the bytes of what they say.
const MOST_FINDINGS: usize = 200;
const MOST_BYTES: usize = 16 << 10;

/// Leaves findings out where all files together have very many, warnings first.
fn shorten(checked: &mut [Checked]) {
    for level in [Level::Error, Level::Warning] {
        let is_of_level = |finding: &Finding| finding.level == level.word();
        let (mut count, mut bytes) = (0, 0);
        let others = checked.iter().flat_map(|one| &one.findings).filter(|finding| !is_of_level(finding));
        if level == Level::Warning {
            for finding in others {
                (count, bytes) = (count + 1, bytes + finding.message.len());
            }
        }
        for one in checked.iter_mut() {
            let before = one.findings.len();
            one.findings.retain(|finding| {
                if !is_of_level(finding) {
                    return true;
                }
                (count, bytes) = (count + 1, bytes + finding.message.len());
                count <= MOST_FINDINGS && bytes <= MOST_BYTES
            });
            one.findings_not_shown += before - one.findings.len();
        }
    }
}

/// `check`: all files, in the order of the command line.
pub fn check(files: &[PathBuf], options: Options, json: bool) -> Report {
    let files = if files.is_empty() { vec![PathBuf::from("-")] } else { files.to_vec() };
    let mut checked: Vec<Checked> = Vec::new();
    let mut stderr = String::new();
    let mut exit = Exit::Done;
    let mut errors = 0;
    for path in &files {
        let name = if path.as_os_str() == "-" { "<stdin>".to_owned() } else { path.to_string_lossy().into_owned() };
        match given::read(path) {
            Ok(bytes) => match check_one(&name, &bytes, options) {
                Some(one) => checked.push(one),
                None if errors >= MOST_ERRORS => errors += 1,
                None => {
                    errors += 1;
                    let text = "cannot be recognised as user data, ecs.config or settings; say it with `--type`";
                    stderr.push_str(&format!("error: `{}` {text}\n", redaction::line(&name)));
                    exit = Exit::Usage;
                }
            },
            Err(_) if errors >= MOST_ERRORS => errors += 1,
            Err(error) => {
                errors += 1;
                stderr.push_str(&format!("error: {}\n", chain(&error)));
                exit = Exit::Usage;
            }
        }
    }
    let is_error = |checked: &Checked| checked.findings.iter().any(|finding| finding.level == Level::Error.word());
    if exit == Exit::Done && checked.iter().any(is_error) {
        exit = Exit::Settings;
    }
    if let Some(more) = errors.checked_sub(MOST_ERRORS).filter(|more| *more > 0) {
        stderr.push_str(&format!("error: {more} more files cannot be read or recognised\n"));
    }
    if errors > 0 {
        exit = Exit::Usage;
    }
    shorten(&mut checked);
    stderr.push_str(&check_summary(&checked));
    let stdout = if json { as_json(&check_json(&checked)) } else { check_text(&checked) };
    Report { stdout, stderr, exit }
}
