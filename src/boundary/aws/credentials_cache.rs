//! Keeps the credentials of a provider until they are about to expire.
//!
//! The SDK's clients have such a cache; calls without an SDK ask the provider each time. Providers of a CI job may send a
//! request to STS, or start a program, for each answer.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use tokio::sync::Mutex;

/// How long before their end credentials are read again. The SDK's own cache asks 10 s before the end.
const MARGIN: Duration = Duration::from_secs(60);

/// A provider with a cache. Concurrent callers wait for one answer.
#[derive(Debug)]
pub(super) struct CachedCredentials {
    provider: SharedCredentialsProvider,
    last: Mutex<Option<Credentials>>,
}

impl CachedCredentials {
    pub(super) fn new(provider: SharedCredentialsProvider) -> CachedCredentials {
        CachedCredentials { provider, last: Mutex::new(None) }
    }

    async fn credentials(&self) -> aws_credential_types::provider::Result {
        let mut last = self.last.lock().await;
        let still_valid = |one: &&Credentials| one.expiry().is_none_or(|end| end > SystemTime::now() + MARGIN);
        if let Some(credentials) = last.as_ref().filter(still_valid) {
            return Ok(credentials.clone());
        }
        let credentials = self.provider.provide_credentials().await?;
        *last = Some(credentials.clone());
        Ok(credentials)
    }
}

impl ProvideCredentials for CachedCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Counts how often it is asked.
    #[derive(Debug)]
    struct Counting(Arc<AtomicU32>, Option<SystemTime>);

    impl ProvideCredentials for Counting {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.0.fetch_add(1, Ordering::Relaxed);
            future::ProvideCredentials::ready(Ok(Credentials::new("a", "b", None, self.1, "test")))
        }
    }

    #[tokio::test]
    async fn the_provider_is_asked_again_only_when_credentials_are_about_to_expire() {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        for (expiry, asked) in [(None, 1), (Some(now + hour), 1), (Some(now + MARGIN / 2), 3), (Some(now - hour), 3)] {
            let count = Arc::new(AtomicU32::new(0));
            let cached = CachedCredentials::new(SharedCredentialsProvider::new(Counting(count.clone(), expiry)));
            for _ in 0..3 {
                cached.provide_credentials().await.unwrap();
            }
            assert_eq!(count.load(Ordering::Relaxed), asked, "{expiry:?}");
        }
    }
}
