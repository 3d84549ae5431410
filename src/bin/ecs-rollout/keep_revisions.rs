//! Deregisters old revisions after a successful deployment (`--keep-revisions`).
//!
//! In: the plan and the outcome of the deployment. Out: the outcome, with a note of what was deregistered. Nothing here
//! fails a deployment: what cannot be read or deregistered is a warning. A revision is left alone if anything may still
//! need it, and if that cannot be found out.

use std::collections::BTreeSet;

use clap::Args;
use ecs_bootstrap::exit::Exit;

use crate::cause::FoundCause;
use crate::client::{ServiceClient, call};
use crate::outcome::{CommandResult, Outcome};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::service::short;
use crate::stability::was_stable;

/// How many revisions one deployment deregisters. ECS throttles the call; the next deployment continues.
const MAX_DEREGISTERED: usize = 100;
/// How many revisions are read to find the one that `rollback` goes back to.
const MAX_SEARCHED: usize = 50;

#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct RetentionFlags {
    /// After success, deregister old revisions of the family, so that the newest N of them are left beside the running
    /// one; the rollback target and every revision that a service or task of this cluster uses are left. Other clusters,
    /// schedules and rules are not read: do not use it if they run the same family
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "no_wait")]
    pub(crate) keep_revisions: Option<u32>,
}

impl ServiceClient {
    /// Deregisters old revisions if the deployment succeeded.
    pub(crate) async fn keep_revisions(
        &self,
        keep: Option<u32>,
        plan: &Plan,
        mut outcome: Outcome,
        progress: &mut Progress,
    ) -> Outcome {
        let has_succeeded =
            outcome.exit == Exit::Done && matches!(outcome.result, CommandResult::Deployed | CommandResult::Unchanged);
        let (Some(keep), Some(running)) = (keep, outcome.task_definition.clone()) else { return outcome };
        if !has_succeeded {
            return outcome;
        }
        progress.waiting("reading the revisions of the family");
        let target = plan.rollback.as_ref().ok().map(|target| target.revision.arn.as_str());
        let notes = match self.removable(&running, target, keep).await {
            Ok(removable) => self.deregister(&removable).await,
            Err(finding) => {
                let why = finding.evidence.join("; ");
                vec![format!("warning: `--keep-revisions` deregistered nothing, because a call failed: {why}")]
            }
        };
        notes.iter().for_each(|note| progress.event(note));
        outcome.notes.extend(notes);
        outcome
    }

    /// The revisions that may be deregistered, the oldest first.
    async fn removable(&self, running: &str, target: Option<&str>, keep: u32) -> Result<Vec<String>, FoundCause> {
        let family = short(running).split(':').next().unwrap_or_default();
        let listed = call(async |deadline| self.aws.all_task_definitions(family, deadline).await).await?;
        let older = older_than(running, &listed);
        let candidates: Vec<&str> = older.iter().skip(keep as usize).copied().collect();
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let cluster = self.cluster.as_str();
        let of_services = call(async |deadline| self.aws.revisions_of_services(cluster, deadline).await);
        let of_tasks = call(async |deadline| self.aws.revisions_of_tasks(cluster, family, deadline).await);
        let (of_services, of_tasks) = futures_util::future::try_join(of_services, of_tasks).await?;
        let mut in_use: BTreeSet<String> = of_services.into_iter().chain(of_tasks).collect();
        in_use.extend(target.map(str::to_owned));
        in_use.extend(self.newest_stable(&older).await?);
        let removable = candidates.into_iter().rev().filter(|arn| !in_use.contains(*arn));
        Ok(removable.map(str::to_owned).collect())
    }

    /// The revision that the command `rollback` goes back to, of those that are listed newest first.
    async fn newest_stable(&self, older: &[&str]) -> Result<Option<String>, FoundCause> {
        for arn in older.iter().take(MAX_SEARCHED) {
            if self.revision(arn).await?.is_some_and(|revision| was_stable(&revision)) {
                return Ok(Some((*arn).to_owned()));
            }
        }
        Ok(None)
    }

    /// Deregisters revisions, and returns notes for the user.
    async fn deregister(&self, removable: &[String]) -> Vec<String> {
        let mut done = Vec::new();
        let mut notes = Vec::new();
        for arn in removable.iter().take(MAX_DEREGISTERED) {
            let deregister = async |deadline| {
                let call = self.aws.deregister_task_definition(arn, deadline);
                let change = |_: &()| format!("deregistered {}", short(arn));
                self.activity.attempt("DeregisterTaskDefinition", change, call).await
            };
            if let Err(finding) = call(deregister).await {
                let why = finding.evidence.join("; ");
                notes.push(format!("warning: {} could not be deregistered: {why}", short(arn)));
                break;
            }
            done.push(short(arn));
        }
        if !done.is_empty() {
            notes.insert(0, format!("deregistered old revisions (`--keep-revisions`): {}", done.join(", ")));
        }
        let rest = removable.len().saturating_sub(MAX_DEREGISTERED);
        if rest > 0 && done.len() == MAX_DEREGISTERED {
            notes.push(format!("{rest} more old revisions are left to the next deployment"));
        }
        notes
    }
}

/// The listed revisions that are older than `running`, newest first. A newer one may be that of a deployment that
/// another caller has just started.
fn older_than<'a>(running: &str, listed: &'a [String]) -> Vec<&'a str> {
    let parts = |arn: &str| {
        let (family, number) = short(arn).rsplit_once(':')?;
        Some((family.to_owned(), number.parse::<u64>().ok()?))
    };
    let Some((family, current)) = parts(running) else { return Vec::new() };
    let older = listed.iter().filter_map(|arn| Some((parts(arn)?, arn.as_str())));
    // Some implementations of the API take the family as a prefix, so that `web` lists `web-admin` too.
    let mut older: Vec<_> = older.filter(|((name, number), _)| *name == family && *number < current).collect();
    older.sort_by_key(|((_, number), _)| std::cmp::Reverse(*number));
    older.into_iter().map(|(_, arn)| arn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_older_revisions_of_exactly_this_family_are_old() {
        let arn = |name: &str| format!("arn:aws:ecs:eu-west-1:111122223333:task-definition/{name}");
        let listed = ["web:12", "web:11", "web:2", "web:10", "web-admin:3", "web:x"].map(arn);
        assert_eq!(older_than(&arn("web:11"), &listed), [&listed[3], &listed[2]]);
        assert_eq!(older_than("nonsense", &listed), [""; 0]);
    }
}
