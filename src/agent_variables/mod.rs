//! The variables of the ECS agent: their names, which values each takes, which are secret, and which a tag can set.
//!
//! In: a name and a value. Out: what is wrong with them, and the name that was probably meant. The table is that of ECS
//! agent 1.105 (`agent/config`, `ecs-init/config`, `ecs-init/docker`). The agent replaces many wrong values by a
//! default and reports that only in its log. Here such a value is an error.

mod fault;
mod from_tags;
mod similar;
mod table;
mod variable_type;

pub use fault::{Consequence, WrongValue};
pub use from_tags::{TagRefusal, permitted_from_tags};
pub use similar::suggest;
pub use table::{ALL, Variable, find, second_setting};
pub use variable_type::{VariableType, is_attribute};

/// Checks a value. An unknown variable takes any value without control characters.
pub fn check(name: &str, value: &str) -> Result<(), WrongValue> {
    if value.chars().any(char::is_control) {
        let expected = "one line without control characters".to_owned();
        let (name, consequence) = (name.to_owned(), Consequence::Ignored);
        return Err(WrongValue { name, expected, why: None, suggestion: None, consequence });
    }
    match find(name) {
        Some(variable) if !variable.variable_type.takes(variable.trimmed(value)) => Err(fault::fault(variable, value)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
