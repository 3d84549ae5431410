//! Reads the files that the command line names; `-` is stdin. No other file of ecs-rollout reads files.

use std::io::Read;
use std::path::Path;

use crate::arn::Arn;
use crate::cause::FoundCause;
use crate::causes::BAD_INPUT;
use crate::desired::InputFile;

/// RegisterTaskDefinition accepts 64 KiB (Amazon ECS service quotas).
const MAX_BYTES: u64 = 1024 * 1024;

#[expect(clippy::disallowed_methods, reason = "a file of the caller, not one below the root of an instance")]
pub(crate) fn read(path: &Path) -> Result<InputFile, FoundCause> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let outcome = match name.as_str() {
        "-" => std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)),
    };
    outcome.map_err(|error| {
        let hint = match Arn::parse(&name) {
            Some(_) => "; a file is expected here, `rollback --to` deploys a registered revision",
            None => "",
        };
        BAD_INPUT.finding(format!("`{name}` cannot be read: {error}{hint}"))
    })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(BAD_INPUT.finding(format!("`{name}` is larger than 1 MiB")));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(InputFile { name, text }),
        Err(_) => Err(BAD_INPUT.finding(format!("`{name}` is not UTF-8"))),
    }
}
