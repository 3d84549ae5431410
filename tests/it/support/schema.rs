//! Validates every `--json` document of a test against the JSON Schemas of `docs/reference/schema`.
//!
//! In: the arguments of a run and its stdout. Out: the difference from the schema, if there is one.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

/// Name and text of each schema.
pub const ALL: [(&str, &str); 18] = [
    ("verdict", include_str!("../../../docs/reference/schema/verdict.schema.json")),
    ("plan", include_str!("../../../docs/reference/schema/plan.schema.json")),
    ("doctor", include_str!("../../../docs/reference/schema/doctor.schema.json")),
    ("check", include_str!("../../../docs/reference/schema/check.schema.json")),
    ("explain", include_str!("../../../docs/reference/schema/explain.schema.json")),
    ("timeline", include_str!("../../../docs/reference/schema/timeline.schema.json")),
    ("watch", include_str!("../../../docs/reference/schema/watch.schema.json")),
    ("pull-images", include_str!("../../../docs/reference/schema/pull-images.schema.json")),
    ("drain", include_str!("../../../docs/reference/schema/drain.schema.json")),
    ("prepare-image", include_str!("../../../docs/reference/schema/prepare-image.schema.json")),
    ("reset-agent", include_str!("../../../docs/reference/schema/reset-agent.schema.json")),
    ("ecs-rollout-plan", include_str!("../../../docs/reference/schema/ecs-rollout-plan.schema.json")),
    ("ecs-rollout-init", include_str!("../../../docs/reference/schema/ecs-rollout-init.schema.json")),
    ("ecs-rollout-outcome", include_str!("../../../docs/reference/schema/ecs-rollout-outcome.schema.json")),
    ("ecs-rollout-status", include_str!("../../../docs/reference/schema/ecs-rollout-status.schema.json")),
    ("ecs-rollout-tasks", include_str!("../../../docs/reference/schema/ecs-rollout-tasks.schema.json")),
    ("ecs-rollout-logs", include_str!("../../../docs/reference/schema/ecs-rollout-logs.schema.json")),
    ("ecs-rollout-explain", include_str!("../../../docs/reference/schema/ecs-rollout-explain.schema.json")),
];

thread_local! {
    static COMPILED: (Schemas, Vec<(&'static str, SchemaIndex)>) = compiled();
}

fn compiled() -> (Schemas, Vec<(&'static str, SchemaIndex)>) {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    let mut indexes = Vec::new();
    for (name, text) in ALL {
        let location = format!("file:///{name}.schema.json");
        compiler.add_resource(&location, serde_json::from_str(text).expect("a schema is JSON")).expect("its location");
        let index = compiler.compile(&location, &mut schemas);
        indexes.push((name, index.unwrap_or_else(|error| panic!("{name}.schema.json: {error:#}"))));
    }
    (schemas, indexes)
}

/// Validates a document against the schema of this name.
pub fn validate(name: &str, document: &Value) -> Result<(), String> {
    COMPILED.with(|(schemas, indexes)| {
        let (_, index) = indexes.iter().find(|(known, _)| *known == name).expect("a schema of this name");
        schemas.validate(document, *index).map_err(|error| format!("not valid by {name}.schema.json: {error:#}"))
    })
}

/// Validates the stdout of `ecs-bootstrap`, if the arguments ask for JSON and a document was printed.
pub fn validate_stdout<A: AsRef<str>>(arguments: &[A], stdout: &str) -> Result<(), String> {
    let Some(document) = parsed(arguments, stdout)? else { return Ok(()) };
    const OWN: [&str; 10] = [
        "drain",
        "pull-images",
        "plan",
        "doctor",
        "check",
        "explain",
        "prepare-image",
        "reset-agent",
        "timeline",
        "watch",
    ];
    let command = arguments.iter().map(AsRef::as_ref).find(|word| OWN.contains(word));
    // A command that fails before it has a document of its own prints a verdict.
    let is_verdict = document.get("verdict").is_some() && document.get("checks").is_none();
    validate(command.filter(|_| !is_verdict).unwrap_or("verdict"), &document)
}

/// Validates the stdout of `ecs-rollout`, if the arguments ask for JSON and a document was printed.
pub fn validate_deploy_stdout(arguments: &[&str], stdout: &str) -> Result<(), String> {
    let Some(document) = parsed(arguments, stdout)? else { return Ok(()) };
    let name = match (arguments.first().copied(), document["result"].as_str()) {
        (Some("explain"), _) => "ecs-rollout-explain",
        (Some("plan"), Some("planned")) => "ecs-rollout-plan",
        (Some("init"), Some("written" | "unchanged")) => "ecs-rollout-init",
        (Some("status"), Some("stable" | "not-stable")) => "ecs-rollout-status",
        (Some("tasks"), Some("listed")) => "ecs-rollout-tasks",
        (Some("logs"), Some("read")) => "ecs-rollout-logs",
        _ => "ecs-rollout-outcome",
    };
    validate(name, &document)
}

fn parsed<A: AsRef<str>>(arguments: &[A], stdout: &str) -> Result<Option<Value>, String> {
    let asks = arguments.iter().any(|word| word.as_ref() == "--json");
    let prints = !stdout.is_empty() && !arguments.iter().any(|word| ["--help", "-h"].contains(&word.as_ref()));
    if !(asks && prints) {
        return Ok(None);
    }
    serde_json::from_str(stdout).map(Some).map_err(|error| format!("not JSON: {error}: {stdout}"))
}
