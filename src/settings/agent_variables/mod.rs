//! The agent's variables: their names, what each takes, which are secret, which of them a tag may set.
//!
//! In go a name and a value, out come what is wrong with them, the name that was meant, a text that may be shown. The
//! table is that of ECS agent 1.105 (`agent/config`, `ecs-init/config`, `ecs-init/docker`). Where the agent falls back to
//! a default with a line in a log that nobody reads, a wrong value is an error here.

mod fault;
mod from_tags;
mod similar;
mod table;
mod variable_type;

pub use fault::{Consequence, WrongValue};
pub use from_tags::{TagRefusal, permitted_from_tags};
pub use similar::suggest;
pub(crate) use table::bare;
pub use table::{ALL, Variable, find, is_secret, second_setting};
pub use variable_type::VariableType;

/// Checks a value. An unknown variable takes any value without control characters: the agent passes it on unread.
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
