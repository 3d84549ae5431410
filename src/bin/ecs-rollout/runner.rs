//! The CI system that the program runs in, and what it writes for it. In: how a command ended. Out: what is printed.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::time::Instant;

use ecs_bootstrap::command_line::CommandOutput;

use crate::files;
use crate::github::{self, Finished};
use crate::progress::Progress;

/// The CI system. The default is none that is known.
#[derive(Default)]
pub(crate) struct Runner {
    /// Whether it is GitHub Actions.
    is_github: bool,
    /// The file for the summary of the step.
    summary: Option<PathBuf>,
    /// The file for the outputs of the step.
    outputs: Option<PathBuf>,
}

impl Runner {
    /// Recognizes the CI system by the environment (GitHub Docs, "Variables reference").
    pub(crate) fn from_environment(environment: impl Fn(&str) -> Option<String>) -> Runner {
        if environment("GITHUB_ACTIONS").as_deref() != Some("true") {
            return Runner::default();
        }
        let file = |name| environment(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        Runner { is_github: true, summary: file("GITHUB_STEP_SUMMARY"), outputs: file("GITHUB_OUTPUT") }
    }

    /// The progress of a command that started at this time.
    pub(crate) fn progress(&self, start: Instant) -> Progress {
        Progress::new(start).neutral(self.is_github)
    }

    /// Writes the summary and the outputs of the step, and returns what is printed, with annotations. A file that
    /// cannot be written is a warning: the deployment has already ended.
    pub(crate) fn finish(&self, finished: Finished) -> CommandOutput {
        if !self.is_github {
            return finished.output;
        }
        let mut output = github::neutral_output(finished.output);
        let Some(step) = finished.step else { return output };
        let random = RandomState::new().build_hasher().finish();
        let outputs = github::outputs(&step.facts, random);
        for (path, text) in [(&self.summary, github::summary(&step)), (&self.outputs, outputs)] {
            let Some(path) = path else { continue };
            if let Err(error) = files::append(path, &text) {
                let warning = format!("warning: `{}` cannot be written: {error}\n", path.display());
                output.stderr += &github::neutral(&warning);
            }
        }
        output.stderr += &step.annotations();
        output
    }
}
