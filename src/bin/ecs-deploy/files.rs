//! Reads the files that the command line names; `-` is stdin. The only file access of this program.

use std::io::Read;
use std::path::Path;

use crate::cause::{BAD_INPUT, Finding};
use crate::desired::File;

/// RegisterTaskDefinition takes 64 KiB (Amazon ECS service quotas).
const LONGEST: u64 = 1024 * 1024;

/// The file, as text.
#[expect(clippy::disallowed_methods, reason = "a file of the caller, not one below the root of an instance")]
pub(crate) fn read(path: &Path) -> Result<File, Finding> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let outcome = match name.as_str() {
        "-" => std::io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes)),
    };
    outcome.map_err(|error| BAD_INPUT.finding(format!("`{name}` cannot be read: {error}")))?;
    if bytes.len() as u64 > LONGEST {
        return Err(BAD_INPUT.finding(format!("`{name}` is longer than 1 MiB")));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(File { name, text }),
        Err(_) => Err(BAD_INPUT.finding(format!("`{name}` is not UTF-8"))),
    }
}
