//! Reads user data from instance metadata and keeps only its type and faults, not its text.

use crate::boundary::HostClients;
use crate::boundary::imds::ImdsError;
use crate::evidence::user_data::{UserData, read};
use crate::retry::Deadline;

/// Parses the user data of the instance. If a script in it uses instance metadata without a token, this also probes
/// whether the metadata service requires one.
pub(crate) async fn user_data(host_clients: &HostClients, deadline: Deadline) -> Result<UserData, ImdsError> {
    let mut user_data = read(host_clients.imds.get("user-data", deadline).await?.as_deref());
    if user_data.asks_without_token && user_data.mentions_cluster {
        user_data.token_required = host_clients.imds.requires_token(deadline).await;
    }
    Ok(user_data)
}
