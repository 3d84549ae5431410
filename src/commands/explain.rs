//! `explain`: one cause of the catalogue, or the list. It needs no host.

use crate::causes;
use crate::command_line::CommandOutput;
use crate::exit::Exit;
use crate::redaction;
use crate::render::{as_json, cause_json, cause_text, list_text};
use crate::suggestion;

/// `explain`: prints the cause with this id; without an id, all causes.
pub fn explain(id: Option<&str>, json: bool) -> CommandOutput {
    let Some(id) = id else {
        let all = causes::all();
        return CommandOutput::success(if json {
            as_json(&all.iter().map(|cause| cause_json(cause)).collect::<Vec<_>>())
        } else {
            list_text(all.into_iter())
        });
    };
    // An id may be copied with its brackets from an error.
    match causes::find(id.trim_matches(['[', ']'])) {
        Some(cause) if json => CommandOutput::success(as_json(&cause_json(cause))),
        Some(cause) => CommandOutput::success(cause_text(cause)),
        None => {
            let nearest = suggestion::nearest(id, causes::all().into_iter().map(|cause| cause.id));
            let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
            CommandOutput::error(Exit::Usage, &format!("no cause has the id `{}`{hint}", redaction::line(id)))
        }
    }
}
