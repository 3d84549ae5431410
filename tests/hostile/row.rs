//! One row of the table: what is planted on a healthy instance, and how each command must end then.
//!
//! In: what a module of `rows` says. Out: plain data; nothing here runs anything.

use crate::support::Instance;

pub type Plant = Box<dyn Fn(Instance) -> Instance + Send + Sync>;
/// Exit codes, one of which is expected.
pub type Codes = &'static [i32];

pub const OK: Codes = &[0];
/// A setting, or a file of settings, cannot be used.
pub const SETTINGS: Codes = &[20];

/// Commands that are expected to end alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `plan`.
    Plan,
    /// `run --no-wait`: gather, decide and apply.
    Run,
    /// `verify`, `run --wait`, and `status` after them.
    Verify,
    Doctor,
    Guard,
    /// `guard --rewrite`, which refuses nothing.
    Rewrite,
    /// The two that remove files: a list of what would go, then the removal.
    Clean,
    /// `check` of the files that lie there.
    Check,
}

/// How the commands of a row end.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedCodes {
    pub plan: Codes,
    pub run: Codes,
    pub verify: Codes,
    pub doctor: Codes,
    /// The file of every row names a cluster, so a refusal is the exception.
    pub guard: Codes,
    pub clean: Codes,
}

/// The instance joins, and nothing is wrong with it.
pub const JOINS: ExpectedCodes = ExpectedCodes { plan: OK, run: OK, verify: OK, doctor: OK, guard: OK, clean: OK };

impl ExpectedCodes {
    /// All that reads settings, metadata and tags ends so; guard starts the agent all the same.
    pub const fn all(codes: Codes) -> ExpectedCodes {
        ExpectedCodes { plan: codes, run: codes, verify: codes, doctor: codes, ..JOINS }
    }

    /// The file is written, and the agent does not join.
    pub const fn verify(codes: Codes) -> ExpectedCodes {
        ExpectedCodes { verify: codes, doctor: codes, ..JOINS }
    }

    pub const fn plan(self, plan: Codes) -> ExpectedCodes {
        ExpectedCodes { plan, ..self }
    }

    pub const fn run(self, run: Codes) -> ExpectedCodes {
        ExpectedCodes { run, ..self }
    }

    /// `verify`, `run --wait` and `status`, where doctor ends otherwise.
    pub const fn verify_too(self, verify: Codes) -> ExpectedCodes {
        ExpectedCodes { verify, ..self }
    }

    pub const fn doctor(self, doctor: Codes) -> ExpectedCodes {
        ExpectedCodes { doctor, ..self }
    }

    pub const fn guard(self, guard: Codes) -> ExpectedCodes {
        ExpectedCodes { guard, ..self }
    }

    pub const fn clean(self, clean: Codes) -> ExpectedCodes {
        ExpectedCodes { clean, ..self }
    }

    pub fn of(&self, group: Group) -> Codes {
        match group {
            Group::Plan => self.plan,
            Group::Run => self.run,
            Group::Verify => self.verify,
            Group::Doctor => self.doctor,
            Group::Guard => self.guard,
            Group::Rewrite => OK,
            Group::Clean => self.clean,
            // A file that is not there is an error of the command line.
            Group::Check => &[0, 2, 20],
        }
    }
}

/// An agent that is expected to join gets time for it, since rows share two processors.
fn seconds(expected: ExpectedCodes) -> u64 {
    if expected.verify.contains(&0) { 25 } else { 2 }
}

pub struct Row {
    pub name: String,
    pub plant: Plant,
    pub expected: ExpectedCodes,
    /// Whether the commands that add nothing to the others are left out: a row of an input that another row tries in full.
    pub is_brief: bool,
    /// More arguments of every command.
    pub arguments: Vec<String>,
    /// Commands of this row alone, in place of all others.
    pub own: Vec<(Vec<String>, Codes)>,
    /// How long a command may take before the ten seconds that each has beyond its deadline.
    pub seconds: u64,
}

impl Row {
    pub fn new(
        name: impl Into<String>,
        expected: ExpectedCodes,
        plant: impl Fn(Instance) -> Instance + Send + Sync + 'static,
    ) -> Row {
        let seconds = seconds(expected);
        let (arguments, own) = (Vec::new(), Vec::new());
        Row { name: name.into(), plant: Box::new(plant), expected, is_brief: false, arguments, own, seconds }
    }

    pub fn expected(self, expected: ExpectedCodes) -> Row {
        Row { expected, seconds: seconds(expected), ..self }
    }

    /// Where a command waits for its deadline although the agent joins: an error that may heal until then.
    pub fn seconds(self, seconds: u64) -> Row {
        Row { seconds, ..self }
    }

    pub fn brief(self) -> Row {
        Row { is_brief: true, ..self }
    }

    pub fn arguments(self, arguments: &[&str]) -> Row {
        Row { arguments: arguments.iter().map(|text| (*text).to_owned()).collect(), ..self }
    }

    /// This command alone.
    pub fn only(mut self, arguments: &[&str], codes: Codes) -> Row {
        self.own.push((arguments.iter().map(|text| (*text).to_owned()).collect(), codes));
        self
    }
}
