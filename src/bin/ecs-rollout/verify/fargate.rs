//! The sizes of tasks on Fargate.

use serde_json::Value;

use super::Checks;
use super::target::{Launch, is_fargate_provider};
use crate::causes;

/// CPU units, and the memory from, to and in steps of, in MiB (ECS Developer Guide, "Task size" in "Amazon ECS task
/// definition parameters for Fargate").
const SIZES: [(i64, i64, i64, i64); 7] = [
    (256, 512, 2048, 512),
    (512, 1024, 4096, 1024),
    (1024, 2048, 8192, 1024),
    (2048, 4096, 16_384, 1024),
    (4096, 8192, 30_720, 1024),
    (8192, 16_384, 61_440, 4096),
    (16_384, 32_768, 122_880, 8192),
];

impl Checks<'_> {
    /// Verifies the size of a task that runs on Fargate. Makes no call.
    pub(super) fn fargate_size(&self) {
        let runs_on_fargate = match self.target.launch() {
            Launch::Type(name) => name.as_deref() == Some("FARGATE"),
            Launch::Providers(names) => names.iter().any(|name| is_fargate_provider(name)),
        };
        if runs_on_fargate && let Some(fault) = fault(&self.target.task["cpu"], &self.target.task["memory"]) {
            self.fail(&causes::FARGATE_SIZE, fault);
        }
    }
}

/// What is wrong with a size; `None` if nothing is, or if that is not certain.
fn fault(cpu: &Value, memory: &Value) -> Option<String> {
    if cpu.is_null() || memory.is_null() {
        return Some("a task on Fargate needs `cpu` and `memory` at the level of the task".to_owned());
    }
    let (cpu, memory) = (units(cpu)?, units(memory)?);
    let Some((_, from, to, step)) = SIZES.into_iter().find(|size| size.0 == cpu) else {
        // Fargate may have larger sizes by now.
        return (cpu < SIZES[SIZES.len() - 1].0).then(|| format!("Fargate has no tasks with `cpu` {cpu}"));
    };
    // 1536 is between the values for 256 CPU units, which double.
    let is_valid = (from..=to).contains(&memory) && (memory - from) % step == 0 && (cpu, memory) != (256, 1536);
    (!is_valid).then(|| {
        let values = if cpu == 256 {
            "512, 1024 or 2048 MiB".to_owned()
        } else {
            format!("{from} to {to} MiB in steps of {step}")
        };
        format!("`cpu` {cpu} and `memory` {memory}: Fargate has {values} for it")
    })
}

/// CPU units of `1024`, `"1024"`, `"1 vCPU"`; MiB of `"2048"`, `"2 GB"`, `"2GB"` (ECS API Reference,
/// "RegisterTaskDefinition").
pub(super) fn units(size: &Value) -> Option<i64> {
    if let Some(number) = size.as_i64() {
        return Some(number);
    }
    let text = size.as_str()?.trim().to_ascii_lowercase();
    match text.strip_suffix("vcpu").or(text.strip_suffix("gb")) {
        Some(number) => {
            let number = number.trim().parse::<f64>().ok().filter(|number| (0.0..1e6).contains(number))?;
            Some((number * 1024.0).round() as i64)
        }
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_size_of_the_table_is_valid_and_its_neighbours_are_not() {
        for (cpu, from, to, step) in SIZES {
            for memory in (from..=to).step_by(usize::try_from(step).unwrap()).filter(|one| (cpu, *one) != (256, 1536)) {
                assert_eq!(fault(&json!(cpu.to_string()), &json!(memory.to_string())), None, "{cpu} {memory}");
                assert!(fault(&json!(cpu.to_string()), &json!(memory + 1)).is_some());
            }
            for memory in [from - step, to + step, 0] {
                assert!(fault(&json!(cpu), &json!(memory)).is_some(), "{cpu} {memory}");
            }
        }
    }

    #[test]
    fn other_units_and_unknown_sizes() {
        for (cpu, memory, is_fault) in [
            (json!("0.25 vCPU"), json!("0.5 GB"), false),
            (json!(".25vcpu"), json!("1GB"), false),
            (json!("1 vCPU"), json!("1 GB"), true),
            (json!("256"), json!("1536"), true),
            (json!("300"), json!("1024"), true),
            (json!(null), json!("1024"), true),
            (json!("256"), json!(null), true),
            // Not in the table: perhaps a newer size.
            (json!("32768"), json!("249856"), false),
            (json!("many"), json!("1024"), false),
        ] {
            assert_eq!(fault(&cpu, &memory).is_some(), is_fault, "{cpu} {memory}");
        }
    }
}
