//! The ECS API for one service of one cluster. Calls are retried while their error is transient.
//!
//! In: a call of `boundary::aws`. Out: its answer, or its last error, or the cause of that error. It does not judge
//! answers.

use std::time::{Duration, Instant};

use ecs_bootstrap::boundary::aws::{Aws, AwsError, AwsErrorKind};
use ecs_bootstrap::retry::{AttemptResult, Deadline, Policy, until};

use crate::activity::Activity;
use crate::cause::FoundCause;
use crate::causes;
use crate::visible::hidden::HiddenValues;

/// The deadline of one call, with the attempts of the SDK.
const CALL: Duration = Duration::from_secs(30);
/// How long a call is retried. When many services are deployed at once, throttling lasts about that long.
pub(crate) const RETRY_FOR: Duration = Duration::from_secs(60);
const POLICY: Policy = Policy { first: Duration::from_secs(1), longest: Duration::from_secs(8) };

/// The clients, and the service that is deployed.
pub(crate) struct ServiceClient {
    pub(crate) aws: Aws,
    /// The name or ARN of the cluster.
    pub(crate) cluster: String,
    /// The name of the service, never its ARN.
    pub(crate) service: String,
    /// What was changed so far.
    pub(crate) activity: Activity,
    /// The values that no output may contain.
    pub(crate) hidden: HiddenValues,
}

/// The deadline of one call that starts now.
pub(crate) fn call_deadline() -> Deadline {
    Deadline::after(CALL)
}

/// Whether the same call may succeed a moment later.
pub(crate) fn is_transient(error: &AwsError) -> bool {
    match &error.kind {
        AwsErrorKind::Throttled { .. }
        | AwsErrorKind::Timeout
        | AwsErrorKind::Connect
        | AwsErrorKind::InvalidResponse => true,
        AwsErrorKind::Service { status, .. } => *status >= 500,
        _ => false,
    }
}

/// Makes a call, and retries it for a minute while its error is transient.
pub(crate) async fn call_with_retries<T>(call: impl AsyncFn(Deadline) -> Result<T, AwsError>) -> Result<T, AwsError> {
    call_for(RETRY_FOR, call).await
}

/// Makes a call, and retries it for this time while its error is transient. The error says how long all attempts took.
pub(crate) async fn call_for<T>(
    time: Duration,
    call: impl AsyncFn(Deadline) -> Result<T, AwsError>,
) -> Result<T, AwsError> {
    let start = Instant::now();
    let outcome = until(Deadline::after(time), POLICY, async |_| match call(call_deadline()).await {
        Ok(answer) => AttemptResult::Done(answer),
        Err(error) if is_transient(&error) => {
            tracing::debug!(%error, "AWS call failed; retrying");
            AttemptResult::Retry(error)
        }
        Err(error) => AttemptResult::Stop(error),
    });
    outcome.await.map_err(|gave_up| AwsError { elapsed: start.elapsed(), ..gave_up.last })
}

/// Like [`call_with_retries`], with the cause of the error instead of the error.
pub(crate) async fn call<T>(call: impl AsyncFn(Deadline) -> Result<T, AwsError>) -> Result<T, FoundCause> {
    call_with_retries(call).await.map_err(|error| causes::from_error(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_error_of_a_repeated_call_says_how_long_all_attempts_took() {
        let failed = async |_| -> Result<(), AwsError> {
            Err(AwsError {
                operation: "ecs:RunTask",
                kind: AwsErrorKind::Timeout,
                elapsed: Duration::from_millis(1),
                source: None,
            })
        };
        let error = call_for(Duration::from_secs(3), failed).await.unwrap_err();
        assert!(error.elapsed > Duration::from_millis(200), "{error}");
    }
}
