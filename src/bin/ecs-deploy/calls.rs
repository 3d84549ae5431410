//! Calls that are made again while it is only the moment that is wrong, and findings for what is not.
//!
//! In: a call of `boundary::aws`. Out: its answer, or the cause of which its last error is a case. It judges no answer.

use std::time::Duration;

use ecs_bootstrap::boundary::aws::{Aws, AwsError, AwsErrorKind};
use ecs_bootstrap::retry::{Deadline, Policy, Step, until};

use crate::cause::{self, Finding};

/// One call, with the attempts of the SDK.
const CALL: Duration = Duration::from_secs(30);
/// How long a call is made again. Deployments of many services at once are throttled for about that long.
const PATIENCE: Duration = Duration::from_secs(60);
const POLICY: Policy = Policy { first: Duration::from_secs(1), longest: Duration::from_secs(8) };

/// The API, as one service of one cluster is deployed to it.
pub(crate) struct Calls {
    /// The clients.
    pub(crate) aws: Aws,
    /// Name or ARN.
    pub(crate) cluster: String,
    /// Its name.
    pub(crate) service: String,
}

/// Whether the same call may succeed in a moment.
pub(crate) fn passes(error: &AwsError) -> bool {
    match &error.kind {
        AwsErrorKind::Throttled { .. } | AwsErrorKind::Timeout | AwsErrorKind::Connect | AwsErrorKind::Garbled => true,
        AwsErrorKind::Service { status, .. } => *status >= 500,
        _ => false,
    }
}

/// The answer of a call, which is made again while its error may pass.
pub(crate) async fn asked<T>(call: impl AsyncFn(Deadline) -> Result<T, AwsError>) -> Result<T, AwsError> {
    let outcome = until(Deadline::after(PATIENCE), POLICY, async |_| match call(Deadline::after(CALL)).await {
        Ok(answer) => Step::Done(answer),
        Err(error) if passes(&error) => {
            tracing::debug!(%error, "asked again");
            Step::Retry(error)
        }
        Err(error) => Step::Stop(error),
    });
    outcome.await.map_err(|gave_up| gave_up.last)
}

/// The same, with the cause in place of the error.
pub(crate) async fn needed<T>(call: impl AsyncFn(Deadline) -> Result<T, AwsError>) -> Result<T, Finding> {
    asked(call).await.map_err(|error| cause::of_call(&error))
}
