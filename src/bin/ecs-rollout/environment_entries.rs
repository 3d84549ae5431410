//! Finds entries of `environment` that would silently have no effect.
//!
//! In: the containers of a task definition, or those of the overrides of a task. Out: a fault for each entry without a
//! name or a value. The model of the API requires neither (ECS API Reference, "KeyValuePair"), so the container would
//! start without the variable.

use serde_json::Value;

/// The faults of the entries. `place` is where the list of containers is.
pub(crate) fn faults(place: &str, containers: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, container) in containers.as_array().into_iter().flatten().enumerate() {
        for (number, entry) in container["environment"].as_array().into_iter().flatten().enumerate() {
            let place = format!("{place}[{index}].environment[{number}]");
            match (entry["name"].as_str().unwrap_or_default(), &entry["value"]) {
                ("", _) => faults.push(format!("`{place}` has no name")),
                (name, Value::Null) => {
                    faults.push(format!("`{place}`, the variable `{name}`, has no value; an empty value is `\"\"`"));
                }
                _ => {}
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_needs_a_name_and_a_value() {
        let entries = json!([{"name": "A", "value": ""}, {"name": "B"}, {"name": "C", "value": null}, {"value": "x"}]);
        let expected = [
            "`c[1].environment[1]`, the variable `B`, has no value; an empty value is `\"\"`",
            "`c[1].environment[2]`, the variable `C`, has no value; an empty value is `\"\"`",
            "`c[1].environment[3]` has no name",
        ];
        assert_eq!(faults("c", &json!([{"name": "web"}, {"environment": entries}])), expected);
        assert_eq!(faults("c", &Value::Null), [""; 0]);
    }
}
