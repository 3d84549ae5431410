//! Asks instance metadata for user data, and keeps of it what it is and nothing that it says.

use crate::boundary::World;
use crate::boundary::imds::ImdsError;
use crate::evidence::user_data::{UserData, read};
use crate::retry::Deadline;

/// One question.
pub(crate) async fn user_data(world: &World, deadline: Deadline) -> Result<UserData, ImdsError> {
    Ok(read(world.imds.get("user-data", deadline).await?.as_deref()))
}
