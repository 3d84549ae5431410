//! `plan`, and the two stages that all commands share that need a plan: gather and decide.
//!
//! In: the settings that are known early. Out: a plan. Nothing is written.

use super::CommandContext;
use super::phases::Phases;
use crate::command_line::CommandOutput;
use crate::decide;
use crate::evidence::StageError;
use crate::exit::Exit;
use crate::gather::{self, Gathered};
use crate::plan::{Plan, Refusal};
use crate::redaction::error_chain;
use crate::render::{Progress, as_json, document, plan_json, plan_text, policy_json, warning_lines};
use crate::retry::Deadline;
use crate::settings::Warning;
use crate::settings::merge::merge;
use crate::settings::warning;
use crate::verify;

impl CommandContext {
    /// `plan`: prints the plan, or with `iam` the policy that it needs. It changes nothing.
    pub async fn plan(self, iam: bool) -> CommandOutput {
        let progress = Progress::new(self.shows_progress);
        progress.say("reading instance metadata, tags and the host");
        let planned = self.make_plan(&mut Phases::new(self.start), true).await;
        progress.clear();
        let (plan, gathered) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                let verdict = verify::explained(&self.host_clients, error, &self.agent_unit()).await;
                return self.verdict_output(&document(&verdict, None, &[]), verdict.exit());
            }
        };
        let stdout = match (iam, self.json) {
            (true, _) => as_json(&policy_json(&decide::policy::statements(&gathered.settings, &plan))),
            (false, true) => as_json(&plan_json(&plan)),
            (false, false) => plan_text(&plan),
        };
        CommandOutput { stdout, stderr: warning_lines(&plan.warnings), exit: Exit::Done }
    }

    /// Gather and decide. Settings may come from instance metadata; `without_metadata` says whether metadata that does
    /// not answer is accepted.
    pub(super) async fn make_plan(
        &self,
        phases: &mut Phases,
        without_metadata: bool,
    ) -> Result<(Plan, Gathered), StageError> {
        let fragments = self.early_fragments()?;
        let limit = merge(&fragments).run_deadline.value;
        self.set_deadline_after(limit);
        let deadline = Deadline::after(limit);
        let begun = phases.begin();
        // Boxed: the nested futures are too deep for the compiler otherwise.
        let gathered =
            Box::pin(gather::facts(&self.host_clients, super::BUS_TIMEOUT, fragments, deadline, without_metadata))
                .await;
        phases.end("gather", begun);
        let mut gathered = gathered?;
        if !without_metadata && let Some(error) = gathered.config_error.take() {
            self.keep_expectation_for_signals(&gathered);
            return Err(error);
        }
        let begun = phases.begin();
        let mut warnings = self.warnings.clone();
        warnings.append(&mut gathered.warnings);
        if let Some(error) = &gathered.config_error {
            let text = format!("`config-from` not read, and a run would fail: {}", error_chain(error));
            warnings.push(Warning::new(&warning::CONFIG_FROM_NOT_READ, text, None));
        }
        let plan = decide::plan(&gathered.settings, &gathered.facts, warnings);
        phases.end("decide", begun);
        match (plan, gathered.unread.take()) {
            (Ok(mut plan), Some(error)) => {
                let text = format!("a source that may name a cluster was not read: {}", error_chain(&error));
                plan.warnings.push(Warning::new(&warning::METADATA_UNKNOWN, text, None));
                Ok((plan, gathered))
            }
            (Ok(plan), None) => Ok((plan, gathered)),
            (Err(refusal), unread) => {
                self.keep_expectation_for_signals(&gathered);
                match (refusal, unread) {
                    // The source that was not read may name it.
                    (Refusal::NoCluster { .. }, Some(error)) => Err(error),
                    (refusal, _) => Err(refusal.into()),
                }
            }
        }
    }
}
