//! The `explain` command: the catalogue of causes as text and as JSON.

use ecs_bootstrap::command_line::CommandOutput;
use ecs_bootstrap::exit::Exit;
use ecs_bootstrap::suggestion;
use serde_json::{Value, json};

use crate::cause::Cause;
use crate::causes;
use crate::report::document;

/// The fields of a cause, with the names that `explain` and the man page print.
pub(crate) fn fields(cause: &Cause) -> [(&'static str, String); 4] {
    [
        ("symptoms", cause.symptoms.to_owned()),
        ("remedy", cause.remedy.to_owned()),
        ("source", cause.source.to_owned()),
        ("exit code", exit_code(cause)),
    ]
}

/// A failed rollout ends with 30 instead if the rollback succeeded.
fn exit_code(cause: &Cause) -> String {
    let code = cause.exit.code();
    if cause.exit == Exit::RolloutFailed {
        format!("{code}; 30 if the service was rolled back")
    } else {
        code.to_string()
    }
}

/// One cause, or the list of all.
pub(crate) fn explain(id: Option<&str>, as_json: bool) -> CommandOutput {
    let Some(id) = id else {
        return CommandOutput::success(if as_json {
            document(&causes::all().map(cause_json).collect())
        } else {
            causes::all().map(|cause| format!("{}  {}\n", cause.id, cause.title)).collect()
        });
    };
    match causes::find(id) {
        Some(cause) if as_json => CommandOutput::success(document(&cause_json(cause))),
        Some(cause) => {
            let fields = fields(cause).map(|(name, text)| format!("{name}: {text}\n")).concat();
            CommandOutput::success(format!("{}: {}\n{fields}", cause.id, cause.title))
        }
        None => {
            let nearest = suggestion::nearest(id, causes::all().map(|cause| cause.id));
            let hint = nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            CommandOutput::error(Exit::Usage, &format!("there is no cause `{id}`{hint}"))
        }
    }
}

fn cause_json(cause: &Cause) -> Value {
    json!({
        "id": cause.id,
        "title": cause.title,
        "symptoms": cause.symptoms,
        "looks": cause.symptoms,
        "remedy": cause.remedy,
        "source": cause.source,
        "exit_code": cause.exit,
    })
}
