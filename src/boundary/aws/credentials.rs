//! Gives the SDK credentials from the environment, otherwise from the instance role.
//!
//! In: the environment, and the IMDS client of this program, so that all requests share its token and its retries. Out:
//! credentials, or a [`CredentialFailure`], which can be found in the `source()` chain of the SDK's error.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};

use crate::boundary::imds::{CredentialsDocument, Imds, ImdsError, Role};
use crate::retry::Deadline;

/// The time-out for one fetch. The SDK passes no deadline; the deadline of the AWS call limits the whole call.
pub(super) const FETCH: Duration = Duration::from_secs(10);

/// Why the role gave no credentials.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CredentialFailure {
    #[error("the instance has no role")]
    Absent,
    #[error("the credentials of the role `{role}` cannot be used: {code}")]
    NotUsable { role: String, code: String },
    #[error("the role's credentials could not be read")]
    Imds(#[source] ImdsError),
}

/// The SDK's credentials provider: the environment, otherwise the instance role. It replaces the SDK's own chain of
/// providers, which drops the source of "not loaded" and logs warnings (aws-config 1.13).
#[derive(Debug)]
pub(super) struct InstanceCredentials {
    pub(super) environment: EnvironmentVariableCredentialsProvider,
    pub(super) imds: Imds,
}

impl ProvideCredentials for InstanceCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.fetch())
    }
}

impl InstanceCredentials {
    async fn fetch(&self) -> provider::Result {
        match self.environment.provide_credentials().await {
            Err(CredentialsError::CredentialsNotLoaded(_)) => {}
            outcome => return outcome,
        }
        match self.imds.role(Deadline::after(FETCH)).await {
            Ok(Role::Usable { document, .. }) => Ok(credentials(document)),
            Ok(Role::Absent) => Err(CredentialsError::not_loaded(CredentialFailure::Absent)),
            Ok(Role::NotUsable { role, code }) => {
                Err(CredentialsError::invalid_configuration(CredentialFailure::NotUsable { role, code }))
            }
            Err(error) => Err(CredentialsError::provider_error(CredentialFailure::Imds(error))),
        }
    }
}

fn credentials(document: CredentialsDocument) -> Credentials {
    // Without a valid expiry the SDK caches the credentials for its default time.
    let expiry = document.expiry();
    let token = Some(document.token).filter(|token| !token.is_empty());
    Credentials::new(document.access_key_id, document.secret_access_key, token, expiry, "instance role")
}
