//! The lifecycle probe: the target lifecycle state of the instance, and the notice of a Spot interruption.

use std::time::SystemTime;

use futures_util::future::join;

use crate::boundary::imds::{INSTANCE_ACTION, Imds, TARGET_STATE};
use crate::evidence::Evidence;
use crate::evidence::lifecycle::ending;
use crate::retry::Deadline;

/// What instance metadata says about the lifecycle of the instance.
pub(crate) struct Lifecycle {
    /// The target lifecycle state: `None` if it could not be read, `Some(None)` if the instance is in no group.
    target_state: Option<Option<String>>,
    /// How the instance is about to end; `None` if that could not be read.
    ending: Option<Option<String>>,
}

impl Lifecycle {
    /// Stores what is known. An unknown value does not replace a known one.
    pub(crate) fn store(self, evidence: &mut Evidence) {
        if let Some(state) = self.target_state {
            (evidence.outside_group, evidence.target_state) = (state.is_none(), state);
        }
        if let Some(ending) = self.ending {
            evidence.ending = ending;
        }
    }
}

/// Asks instance metadata for both.
pub(crate) async fn lifecycle(imds: &Imds, deadline: Deadline) -> Lifecycle {
    let (state, action) = join(imds.get(TARGET_STATE, deadline), imds.get(INSTANCE_ACTION, deadline)).await;
    let known = |answer: Result<Option<Vec<u8>>, _>| {
        answer.inspect_err(|error| tracing::debug!(%error, "lifecycle of the instance not read")).ok()
    };
    let text = |state: Vec<u8>| String::from_utf8_lossy(&state).trim().to_owned();
    let target_state = known(state).map(|state| state.map(text));
    let action = known(action);
    let (state, notice) =
        (target_state.as_ref().and_then(Option::as_deref), action.as_ref().and_then(Option::as_deref));
    let found = ending(state, notice, SystemTime::now());
    let is_known = found.is_some() || (target_state.is_some() && action.is_some());
    Lifecycle { ending: is_known.then_some(found), target_state }
}
