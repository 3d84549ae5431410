//! Verifies before a deployment that what it needs exists and fits: roles, images, log groups, secrets, target groups,
//! subnets, capacity.
//!
//! In: a plan that would change something. Out: the causes for which the deployment would fail, and notes. It only
//! reads. A check that cannot be made (a missing permission, a throttled or failing call, an answer that is not known)
//! never is a cause: it becomes part of one note. All checks run at the same time, within [`TIME_LIMIT`].

mod capacity;
mod fargate;
mod image;
mod load_balancer;
mod log_group;
mod network;
mod role;
mod secret;
mod target;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use ecs_bootstrap::boundary::aws::verification::{CapacityProvider, ClusterState, Instances};
use ecs_bootstrap::boundary::aws::{Aws, AwsError, AwsErrorKind};
use ecs_bootstrap::retry::{Deadline, pause_for, within};
use tokio::sync::{OnceCell, Semaphore};

use crate::cause::{Cause, FoundCause};
use crate::causes;
use crate::client::ServiceClient;
use crate::current::CurrentState;
use crate::desired::DesiredState;
use crate::plan::Plan;

use target::Target;

/// The time limit of all checks together.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(10);
/// How much longer than the limit the checks may take to end by themselves.
const GRACE: Duration = Duration::from_millis(500);
/// How many calls run at the same time.
const MAX_CONCURRENT_CALLS: usize = 8;
/// How long to wait before something that does not exist is read again: IAM, EC2 and others show a new resource some
/// seconds late (IAM User Guide, "Troubleshoot IAM", "Changes that I make are not always immediately visible").
const SECOND_LOOK: Duration = Duration::from_millis(1500);

/// The result of the verification.
#[derive(Debug, Default)]
pub(crate) struct Verification {
    /// Why the deployment would fail.
    pub(crate) causes: Vec<FoundCause>,
    /// What may go wrong, and what was not verified.
    pub(crate) notes: Vec<String>,
    /// Whether every check was made, and found nothing.
    pub(crate) is_complete: bool,
}

/// Something that could not be verified.
#[derive(Debug)]
struct Skipped {
    what: String,
    why: String,
}

/// The checks of one deployment. They run at the same time, and share calls and results.
struct Checks<'a> {
    aws: &'a Aws,
    /// The name or ARN of the cluster.
    cluster: &'a str,
    target: Target<'a>,
    deadline: Deadline,
    calls: Semaphore,
    found: RefCell<Verification>,
    skipped: RefCell<Vec<Skipped>>,
    cluster_state: OnceCell<Option<ClusterState>>,
    instances: OnceCell<Option<Instances>>,
    subnet_vpcs: OnceCell<Option<BTreeMap<String, String>>>,
    providers: OnceCell<Option<Vec<CapacityProvider>>>,
}

impl ServiceClient {
    /// Verifies what a plan needs. Makes no call if the plan changes nothing.
    pub(crate) async fn verify(&self, plan: &Plan, desired: &DesiredState, current: &CurrentState) -> Verification {
        let Some(target) = Target::of(plan, desired, current) else { return Verification::default() };
        let checks = Checks {
            aws: &self.aws,
            cluster: &self.cluster,
            target,
            deadline: Deadline::after(TIME_LIMIT),
            calls: Semaphore::new(MAX_CONCURRENT_CALLS),
            found: RefCell::default(),
            skipped: RefCell::default(),
            cluster_state: OnceCell::new(),
            instances: OnceCell::new(),
            subnet_vpcs: OnceCell::new(),
            providers: OnceCell::new(),
        };
        checks.run().await
    }
}

impl Checks<'_> {
    async fn run(self) -> Verification {
        let all: [Pin<Box<dyn Future<Output = ()> + '_>>; 8] = [
            Box::pin(self.roles()),
            Box::pin(self.images()),
            Box::pin(self.log_groups()),
            Box::pin(self.secrets()),
            Box::pin(self.load_balancers()),
            Box::pin(self.network()),
            Box::pin(self.cluster()),
            Box::pin(self.capacity()),
        ];
        self.fargate_size();
        if within(self.deadline.plus(GRACE), futures_util::future::join_all(all)).await.is_err() {
            self.skip("all checks", "no answer in time");
        }
        let (mut found, mut skipped) = (self.found.into_inner(), self.skipped.into_inner());
        // The order of the answers must not change the output.
        found.causes.sort_by_key(|found| causes::all().position(|cause| cause.id == found.cause.id));
        found.causes.iter_mut().for_each(|found| found.evidence.sort());
        found.notes.sort();
        skipped.sort_by(|a, b| (&a.why, &a.what).cmp(&(&b.why, &b.what)));
        found.notes.extend(summary(&skipped));
        found.is_complete = found.causes.is_empty() && skipped.is_empty();
        found
    }

    /// Adds a cause, or a line of evidence to the cause that was already found.
    fn fail(&self, cause: &'static Cause, evidence: impl Into<String>) {
        let causes = &mut self.found.borrow_mut().causes;
        let evidence = evidence.into();
        match causes.iter_mut().find(|found| found.cause.id == cause.id) {
            Some(found) if found.evidence.contains(&evidence) => {}
            Some(found) => found.evidence.push(evidence),
            None => causes.push(cause.finding(evidence)),
        }
    }

    fn note(&self, text: String) {
        self.found.borrow_mut().notes.push(text);
    }

    /// Adds something that could not be verified.
    fn skip(&self, what: &str, why: &str) {
        let mut skipped = self.skipped.borrow_mut();
        if !skipped.iter().any(|one| one.what == what) {
            skipped.push(Skipped { what: what.to_owned(), why: why.to_owned() });
        }
    }

    /// Makes a call. If it fails, `what` is not verified.
    async fn ask<T>(&self, what: &str, call: impl AsyncFn(Deadline) -> Result<T, AwsError>) -> Option<T> {
        let _permit = self.calls.acquire().await.ok()?;
        match call(self.deadline).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.skip(what, &reason(&error));
                None
            }
        }
    }

    /// Like [`Checks::ask`]. If the answer is that something is absent, the call is made a second time after a pause.
    async fn ask_twice<T>(
        &self,
        what: &str,
        is_absent: impl Fn(&T) -> bool,
        call: impl AsyncFn(Deadline) -> Result<T, AwsError>,
    ) -> Option<T> {
        let answer = self.ask(what, &call).await?;
        if !is_absent(&answer) {
            return Some(answer);
        }
        pause_for(SECOND_LOOK.min(self.deadline.remaining())).await;
        self.ask(what, &call).await
    }

    /// The cluster, if it could be read.
    async fn cluster_state(&self) -> Option<&ClusterState> {
        let read = self.cluster_state.get_or_init(async || {
            self.ask("the cluster", async |deadline| self.aws.cluster_state(self.cluster, deadline).await)
                .await
                .flatten()
        });
        read.await.as_ref()
    }

    /// The account of the caller, if it is known. ECS has no calls from another account.
    async fn account(&self) -> Option<String> {
        match self.target.account() {
            Some(account) => Some(account),
            None => self.cluster_state().await.and_then(|state| target::account_of(&state.arn)).map(str::to_owned),
        }
    }
}

/// Why a call gave no result.
fn reason(error: &AwsError) -> String {
    match &error.kind {
        AwsErrorKind::Denied { .. } => format!("needs `{}`", error.operation),
        AwsErrorKind::Throttled { .. } => format!("`{}` is throttled", error.operation),
        AwsErrorKind::Timeout | AwsErrorKind::ConnectTimeout => format!("`{}` has no answer in time", error.operation),
        AwsErrorKind::Service { code: Some(code), .. } => format!("`{}` answers {code}", error.operation),
        AwsErrorKind::Service { status, .. } => format!("`{}` answers {status}", error.operation),
        kind => format!("`{}`: {kind}", error.operation),
    }
}

/// One note for everything that could not be verified, sorted by the reason.
fn summary(skipped: &[Skipped]) -> Option<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for one in skipped {
        match reasons.iter_mut().find(|(why, _)| *why == one.why) {
            Some((_, what)) => what.push(&one.what),
            None => reasons.push((&one.why, vec![&one.what])),
        }
    }
    let parts: Vec<String> = reasons.iter().map(|(why, what)| format!("{} ({why})", what.join(", "))).collect();
    (!parts.is_empty()).then(|| format!("not verified: {}", parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_verified_is_one_note_sorted_by_the_reason() {
        let skipped = [("a", "needs `x:Y`"), ("b", "no answer"), ("c", "needs `x:Y`")];
        let skipped = skipped.map(|(what, why)| Skipped { what: what.to_owned(), why: why.to_owned() });
        assert_eq!(summary(&skipped).unwrap(), "not verified: a, c (needs `x:Y`); b (no answer)");
        assert_eq!(summary(&[]), None);
    }
}
