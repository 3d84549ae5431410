//! One row of the table: the hostile input on a healthy instance, and the exit codes that each command may have then.
//!
//! In: the arguments of the modules of `rows`. Out: plain data. Nothing here runs a command.

use crate::support::Instance;

pub type Plant = Box<dyn Fn(Instance) -> Instance + Send + Sync>;
/// The exit codes that a command may have.
pub type Codes = &'static [i32];

pub const OK: Codes = &[0];
/// A setting or a settings file is invalid.
pub const SETTINGS: Codes = &[20];

/// Commands that have the same expected exit codes.
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
    /// `guard --rewrite`, which always exits 0.
    Rewrite,
    /// `reset-agent` and `prepare-image`: first without, then with `--yes`.
    Clean,
    /// `check` of `ecs.config` and the settings file.
    Check,
}

/// The expected exit codes of the commands of a row.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedCodes {
    pub plan: Codes,
    pub run: Codes,
    pub verify: Codes,
    pub doctor: Codes,
    /// Usually 0, because `ecs.config` names a cluster in nearly every row.
    pub guard: Codes,
    pub clean: Codes,
}

/// The instance joins, and every command succeeds.
pub const JOINS: ExpectedCodes = ExpectedCodes { plan: OK, run: OK, verify: OK, doctor: OK, guard: OK, clean: OK };

impl ExpectedCodes {
    /// For the commands that read settings, metadata and tags. Guard still lets the agent start.
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

    /// Changes `verify`, `run --wait` and `status`, and leaves doctor as it is.
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
            // A file that does not exist is an error of the command line.
            Group::Check => &[0, 2, 20],
        }
    }
}

/// The deadline of `verify`. A command that must not reach its deadline gets more time, because rows share two processors: the
/// agent joins, or a setting is refused before anything is waited for.
fn seconds(expected: ExpectedCodes) -> u64 {
    if expected.verify.contains(&0) || expected.verify == SETTINGS { 25 } else { 2 }
}

pub struct Row {
    pub name: String,
    pub plant: Plant,
    pub expected: ExpectedCodes,
    /// Run only the commands of `BRIEF`. For an input that another row tests with all commands.
    pub is_brief: bool,
    /// Arguments that are appended to every command.
    pub arguments: Vec<String>,
    /// If not empty, the row runs these commands and no others.
    pub only_commands: Vec<(Vec<String>, Codes)>,
    /// The deadline of `verify`. A command may take ten seconds more than its deadline.
    pub seconds: u64,
}

impl Row {
    pub fn new(
        name: impl Into<String>,
        expected: ExpectedCodes,
        plant: impl Fn(Instance) -> Instance + Send + Sync + 'static,
    ) -> Row {
        let seconds = seconds(expected);
        let (arguments, only_commands) = (Vec::new(), Vec::new());
        Row { name: name.into(), plant: Box::new(plant), expected, is_brief: false, arguments, only_commands, seconds }
    }

    pub fn expected(self, expected: ExpectedCodes) -> Row {
        Row { expected, seconds: seconds(expected), ..self }
    }

    /// For commands that wait until their deadline although the agent joins, because an error may be temporary.
    pub fn seconds(self, seconds: u64) -> Row {
        Row { seconds, ..self }
    }

    pub fn brief(self) -> Row {
        Row { is_brief: true, ..self }
    }

    pub fn arguments(self, arguments: &[&str]) -> Row {
        Row { arguments: arguments.iter().map(|text| (*text).to_owned()).collect(), ..self }
    }

    /// Adds a command, and makes the row run no other commands than the ones added so.
    pub fn only(mut self, arguments: &[&str], codes: Codes) -> Row {
        self.only_commands.push((arguments.iter().map(|text| (*text).to_owned()).collect(), codes));
        self
    }
}
