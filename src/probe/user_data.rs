//! Asks instance metadata for user data, and keeps of it what it is and nothing that it says.

use crate::boundary::World;
use crate::boundary::imds::ImdsError;
use crate::evidence::user_data::{UserData, read};
use crate::retry::Deadline;

/// One question, and a second where it seems that user data asks metadata without a token.
pub(crate) async fn user_data(world: &World, deadline: Deadline) -> Result<UserData, ImdsError> {
    let mut user_data = read(world.imds.get("user-data", deadline).await?.as_deref());
    if user_data.asks_without_token && user_data.mentions_cluster {
        user_data.token_required = world.imds.wants_token(deadline).await;
    }
    Ok(user_data)
}
