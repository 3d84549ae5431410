//! The environment and the instance role as the SDK's source of credentials.
//!
//! Asks through our own metadata client, so that one token and one set of retries serve both. Why there are no
//! credentials survives the SDK's wrapping as a [`CredentialFailure`], found again by walking `source()`.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};

use crate::boundary::imds::{Document, Imds, ImdsError, Role};
use crate::retry::Deadline;

/// How long one fetch may take. The SDK calls without a deadline of ours; the callers' own bounds the whole call.
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

/// Hands credentials to the SDK: those of the environment, else the role's. Not the SDK's own chain of providers, which
/// drops the source of "not loaded" and logs warnings of its own (aws-config 1.13).
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

fn credentials(document: Document) -> Credentials {
    // Without an expiry that can be read the SDK keeps them for its own default, and asks again then.
    let expiry = document.expiry();
    let token = Some(document.token).filter(|token| !token.is_empty());
    Credentials::new(document.access_key_id, document.secret_access_key, token, expiry, "instance role")
}
