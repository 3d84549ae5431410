//! Looks at the machine: space, memory, listeners, docker's own words.

use crate::boundary::World;
use crate::evidence::machine::Machine;
use crate::facts::Units;
use crate::retry::Deadline;

/// All of it, by the deadline. What the units do says what is worth a question.
pub(crate) async fn machine(_world: &World, _units: Option<Units>, _deadline: Deadline) -> Machine {
    Machine::default()
}
