//! The record of what a command has changed so far, from which every outcome says what was changed. After a signal it
//! also keeps the command from starting another call that changes something.
//!
//! In: each call that changes something, before and after it. Out: lines for the user. The record is shared: the command
//! writes it, and `session.rs` reads it when a signal arrives.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use ecs_bootstrap::boundary::aws::{AwsError, AwsErrorKind};
use tokio::sync::Notify;

use crate::plan::ActionName;
use crate::service::Deployment;

/// What ECS does by itself when the command ends now.
#[derive(Clone, Debug, Default)]
pub(crate) enum Phase {
    /// No rollout has started.
    #[default]
    Before,
    /// RunTask was sent. Holds the command that shows the task, if there is one.
    TaskRequested(String),
    /// ECS continues this one-off task, by ARN.
    OneOffTask(String),
    /// ECS has accepted the change of the service, and does not show its deployment yet.
    Accepted,
    /// ECS continues this deployment.
    Rollout(Deployment),
    /// ECS continues this deployment, which rolls back another one.
    Rollback(Deployment),
    /// This deployment is complete.
    Completed(Deployment),
}

/// The service that a command works on.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceName {
    /// By name or ARN.
    pub(crate) cluster: String,
    pub(crate) service: String,
    /// The value of `--region`.
    pub(crate) region: Option<String>,
}

impl ServiceName {
    /// The command line of another command for this service.
    pub(crate) fn command(&self, command: &str) -> String {
        let ServiceName { cluster, service, region } = self;
        let region = region.as_ref().map(|region| format!(" --region {region}")).unwrap_or_default();
        format!("ecs-rollout {command} --cluster {cluster} --service {service}{region}")
    }
}

#[derive(Debug, Default)]
struct State {
    name: ServiceName,
    phase: Phase,
    /// What was changed, the oldest first.
    changes: Vec<String>,
    /// The revision that this command registered.
    registered: Option<String>,
    /// What was done with the service.
    action: Option<ActionName>,
    /// The operation whose answer has not arrived.
    in_flight: Option<&'static str>,
    /// Operations whose last attempt ended without an answer that says whether they were carried out.
    unanswered: BTreeSet<&'static str>,
    is_interrupted: bool,
}

/// A handle of the record. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity {
    state: Rc<RefCell<State>>,
    answered: Rc<Notify>,
}

impl Activity {
    /// Makes one attempt of a call that changes something, and records it. After [`Activity::interrupt`] it never
    /// returns. `describe` says what was changed, or `None` if the answer says that nothing was.
    pub(crate) async fn attempt<T, C: Into<Option<String>>>(
        &self,
        operation: &'static str,
        describe: impl FnOnce(&T) -> C,
        call: impl Future<Output = Result<T, AwsError>>,
    ) -> Result<T, AwsError> {
        if self.state.borrow().is_interrupted {
            std::future::pending::<()>().await;
        }
        self.state.borrow_mut().in_flight = Some(operation);
        let answer = call.await;
        let change = answer.as_ref().ok().and_then(|answer| describe(answer).into());
        let mut state = self.state.borrow_mut();
        state.in_flight = None;
        state.changes.extend(change);
        match &answer {
            Ok(_) => {
                state.unanswered.remove(operation);
            }
            Err(error) if may_have_been_carried_out(error) => {
                state.unanswered.insert(operation);
            }
            Err(_) => {}
        }
        drop(state);
        self.answered.notify_waiters();
        answer
    }

    /// Keeps the command from starting another call that changes something.
    pub(crate) fn interrupt(&self) {
        self.state.borrow_mut().is_interrupted = true;
    }

    /// Waits until no call that changes something is in flight.
    pub(crate) async fn settled(&self) {
        loop {
            let answered = self.answered.notified();
            if self.state.borrow().in_flight.is_none() {
                return;
            }
            answered.await;
        }
    }

    /// Sets the service, as soon as it is known.
    pub(crate) fn set_name(&self, name: ServiceName) {
        self.state.borrow_mut().name = name;
    }

    pub(crate) fn name(&self) -> ServiceName {
        self.state.borrow().name.clone()
    }

    pub(crate) fn registered(&self, revision: &str) {
        self.state.borrow_mut().registered = Some(revision.to_owned());
    }

    /// The ARN of the revision that this command registered.
    pub(crate) fn registered_revision(&self) -> Option<String> {
        self.state.borrow().registered.clone()
    }

    pub(crate) fn act(&self, action: ActionName) {
        self.state.borrow_mut().action = Some(action);
    }

    /// What was done with the service.
    pub(crate) fn action(&self) -> ActionName {
        self.state.borrow().action.unwrap_or(ActionName::Undecided)
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.state.borrow_mut().phase = phase;
    }

    /// Takes in the newest state of the deployment that ECS continues.
    pub(crate) fn update(&self, shown: &Deployment) {
        match &mut self.state.borrow_mut().phase {
            Phase::Before | Phase::TaskRequested(_) | Phase::OneOffTask(_) | Phase::Accepted | Phase::Completed(_) => {}
            Phase::Rollout(deployment) | Phase::Rollback(deployment) => shown.clone_into(deployment),
        }
    }

    /// The rollout has succeeded.
    pub(crate) fn complete(&self) {
        let state = &mut *self.state.borrow_mut();
        if let Phase::Rollout(deployment) | Phase::Rollback(deployment) = &state.phase {
            state.phase = Phase::Completed(deployment.clone());
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.state.borrow().phase.clone()
    }

    /// Whether it is not known if the service was created, updated or rolled back.
    pub(crate) fn is_change_unknown(&self) -> bool {
        ["CreateService", "StopServiceDeployment", "UpdateService"]
            .into_iter()
            .any(|operation| self.is_unanswered(operation))
    }

    fn is_unanswered(&self, operation: &str) -> bool {
        let state = self.state.borrow();
        state.unanswered.contains(operation) || state.in_flight == Some(operation)
    }

    /// What was changed, and what may have been changed, one line each.
    pub(crate) fn changes(&self) -> Vec<String> {
        let state = self.state.borrow();
        let unanswered: BTreeSet<_> = state.unanswered.iter().chain(&state.in_flight).collect();
        let unanswered = unanswered
            .into_iter()
            .map(|operation| format!("{operation} may have been carried out: its answer did not arrive"));
        state.changes.iter().cloned().chain(unanswered).collect()
    }
}

/// Whether ECS may have carried out a call that ended with this error.
fn may_have_been_carried_out(error: &AwsError) -> bool {
    match &error.kind {
        AwsErrorKind::Timeout | AwsErrorKind::Connect | AwsErrorKind::InvalidResponse => true,
        AwsErrorKind::Service { status, .. } => *status >= 500,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ecs_bootstrap::retry::{Deadline, within};

    use super::*;

    fn failed(kind: AwsErrorKind) -> Result<(), AwsError> {
        Err(AwsError { operation: "ecs:UpdateService", kind, elapsed: Duration::ZERO, source: None })
    }

    #[tokio::test]
    async fn a_call_without_an_answer_may_have_been_carried_out_until_it_is_repeated() {
        let activity = Activity::default();
        let attempt = async |answer| drop(activity.attempt("UpdateService", |()| "updated".to_owned(), answer).await);
        attempt(std::future::ready(failed(AwsErrorKind::NoCredentials))).await;
        assert_eq!(activity.changes(), [""; 0]);
        attempt(std::future::ready(failed(AwsErrorKind::Timeout))).await;
        assert_eq!(activity.changes(), ["UpdateService may have been carried out: its answer did not arrive"]);
        attempt(std::future::ready(Ok(()))).await;
        assert_eq!(activity.changes(), ["updated"]);
    }

    #[tokio::test]
    async fn after_an_interruption_no_call_starts_and_one_in_flight_is_reported() {
        let activity = Activity::default();
        let soon = || Deadline::after(Duration::from_millis(20));
        let hanging = activity.attempt("CreateService", |()| "created".to_owned(), std::future::pending());
        assert!(within(soon(), hanging).await.is_err());
        assert!(within(soon(), activity.settled()).await.is_err());
        assert_eq!(activity.changes(), ["CreateService may have been carried out: its answer did not arrive"]);
        let activity = Activity::default();
        activity.interrupt();
        let mut is_sent = false;
        let call = async {
            is_sent = true;
            Ok(())
        };
        assert!(within(soon(), activity.attempt("CreateService", |()| String::new(), call)).await.is_err());
        assert!(within(soon(), activity.settled()).await.is_ok());
        assert!(!is_sent);
    }
}
