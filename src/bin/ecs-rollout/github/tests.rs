use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::causes;

/// Whether the runner takes a line for a command. Written from actions/runner, `ActionCommand.cs`, and stricter: every
/// name is a command, and invisible characters are ignored.
fn is_command(line: &str) -> bool {
    let seen: String = line.chars().filter(|c| !c.is_control() && !INVISIBLE.contains(c)).collect();
    let version_2 = seen.trim_start().strip_prefix("::").is_some_and(|rest| rest.contains("::"));
    version_2 || seen.split_once("##[").is_some_and(|(_, rest)| rest.contains(']'))
}

const INVISIBLE: [char; 8] =
    ['\u{ad}', '\u{200b}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{202e}', '\u{2028}', '\u{fe0f}'];

fn commands(text: &str) -> Vec<&str> {
    text.split(['\n', '\r']).filter(|line| is_command(line)).collect()
}

/// Text from outside: parts of commands, delimiters, line ends, and invisible characters.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop::sample::select(vec![
            "::", ":", "#", "##", "##[", "[", "]", "set-output name=x::", "add-mask::", "stop-commands::", "\n", "\r",
            "\r\n", " ", "\t", "\u{a0}", "\u{3000}", "%0A", "%", ",", "`", "```", "~~~", "\n```\n", "|", "<b>", "\n\n# x",
            "ecs-rollout-0000000000000000", "x<<y", "=", "\u{2028}", "\u{85}",
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(INVISIBLE.to_vec()).prop_map(String::from),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(part, 0..16).prop_map(|parts| parts.concat())
}

/// What the runner reads from the file of outputs. Written from actions/runner, `FileCommandManager.cs`.
fn read_outputs(text: &str) -> Vec<(String, String)> {
    let mut lines = text.split('\n');
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (name, delimiter) = line.split_once("<<").expect("a name and a delimiter");
        let value: Vec<&str> = lines.by_ref().take_while(|line| *line != delimiter).collect();
        found.push((name.to_owned(), value.join("\n")));
    }
    found
}

/// The message of an annotation, as the runner decodes it.
fn decoded(text: &str) -> String {
    text.replace("%0D", "\r").replace("%0A", "\n").replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
}

fn step(text: &str) -> StepReport {
    StepReport {
        command: "deploy",
        succeeded: false,
        facts: vec![("result", "failed".to_owned()), ("service", text.to_owned()), ("cause", String::new())],
        details: format!("plan {text}"),
        lines: vec![text.to_owned()],
        causes: vec![causes::BAD_INPUT.finding(text), causes::SUPERSEDED.finding(text)],
        notes: vec![text.to_owned()],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_from_outside_is_a_command(text in hostile()) {
        let shown = neutral(&text);
        prop_assert_eq!(commands(&shown), Vec::<&str>::new(), "{:?}", shown);
        let output = CommandOutput { stdout: text.clone(), stderr: text, exit: Exit::Done };
        let output = neutral_output(output);
        prop_assert_eq!(commands(&output.stdout), Vec::<&str>::new());
        prop_assert_eq!(commands(&output.stderr), Vec::<&str>::new());
    }

    #[test]
    fn a_json_document_stays_equal(text in hostile(), name in hostile()) {
        let document = json!({ name: [text, "x"] });
        for stdout in [format!("{document:#}\n"), format!("{document}\n")] {
            let shown = neutral_output(CommandOutput::success(stdout)).stdout;
            prop_assert_eq!(commands(&shown), Vec::<&str>::new(), "{}", shown);
            prop_assert_eq!(serde_json::from_str::<Value>(&shown).expect("still JSON"), document.clone());
        }
    }

    #[test]
    fn each_annotation_is_one_command_with_all_of_the_text(text in hostile()) {
        let annotations = step(&text).annotations();
        let lines: Vec<&str> = annotations.lines().collect();
        let kinds: Vec<&str> = lines.iter().map(|line| line.split(' ').next().unwrap_or_default()).collect();
        prop_assert_eq!(kinds, ["::error", "::warning", "::notice"]);
        let shown = printable(&text, "  ");
        for line in lines {
            let (properties, message) = line[2..].split_once("::").expect("an end of the properties");
            prop_assert_eq!(properties.matches(',').count(), 0, "one property: {}", properties);
            prop_assert!(decoded(message).contains(&shown), "{:?}", message);
        }
    }

    #[test]
    fn an_output_never_adds_another_one(values in prop::collection::vec(hostile(), 3), random in 0_u64..3) {
        let names = ["result", "service", "cause"];
        let facts: Vec<(&str, String)> = names.into_iter().zip(values).collect();
        let read = read_outputs(&outputs(&facts, random));
        let expected: Vec<(String, String)> = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn no_text_from_outside_ends_a_block_of_the_summary(text in hostile()) {
        let summary = summary(&step(&text));
        prop_assert_eq!(commands(&summary), Vec::<&str>::new());
        // The lines outside all blocks (CommonMark, "Fenced code blocks").
        let mut outside = Vec::new();
        let mut fence: Option<usize> = None;
        for line in summary.lines() {
            let ticks = line.len() - line.trim_start_matches('`').len();
            match fence {
                Some(open) if ticks >= open && line.trim_end().len() == ticks => fence = None,
                Some(_) => {}
                None if ticks >= 3 => fence = Some(ticks),
                None => outside.push(line),
            }
        }
        prop_assert_eq!(fence, None, "an open block: {}", summary);
        let outside: Vec<&str> = outside.into_iter().filter(|line| !line.is_empty()).collect();
        let known = |line: &&str| line.starts_with("- service: `");
        let others: Vec<&str> = outside.iter().filter(|line| !known(line)).copied().collect();
        prop_assert_eq!(others, ["### `ecs-rollout deploy`: failed", "<details><summary>Plan</summary>", "</details>"]);
    }
}

#[test]
fn the_reference_parser_of_the_tests_recognizes_commands() {
    for line in
        ["::error::x", "  ::set-output name=a::b", "\u{a0}::x::", "text ##[add-mask]x", "\u{200b}::a::b", "#\u{ad}#[x]"]
    {
        assert!(is_command(line), "{line:?}");
    }
    for line in [": :error::x", "a ::error::x", "## [x]", "##[x", "::x"] {
        assert!(!is_command(line), "{line:?}");
    }
}

#[test]
fn an_annotation_has_the_cause_the_evidence_and_the_remedy() {
    let step = StepReport { causes: vec![causes::BAD_INPUT.finding("100%: a, b")], ..StepReport::default() };
    let annotations = step.annotations();
    let expected = "::error title=[bad-input] a definition is not valid::seen: 100%25: a, b%0Aremedy: correct";
    assert!(annotations.starts_with(expected), "{annotations}");
}

#[test]
fn a_long_annotation_keeps_its_remedy() {
    let found = causes::BAD_INPUT.finding("x".repeat(3000)).and("y".repeat(3000)).and("z");
    let annotations = StepReport { causes: vec![found], ..StepReport::default() }.annotations();
    assert!(annotations.chars().count() < MAX_ANNOTATION + 200, "{}", annotations.len());
    assert!(
        annotations.contains(&format!("remedy: {}", causes::BAD_INPUT.remedy).replace('%', "%25")),
        "{annotations}"
    );
}

#[test]
fn a_failure_without_a_cause_is_annotated_too() {
    let lines = vec!["interrupted by SIGTERM: nothing was changed".to_owned()];
    let step = StepReport { lines, ..StepReport::default() };
    assert_eq!(step.annotations(), "::error title=ecs-rollout::interrupted by SIGTERM: nothing was changed\n");
    assert_eq!(StepReport { succeeded: true, ..step }.annotations(), "");
}

#[test]
fn a_long_plan_is_cut_in_the_summary() {
    let step = StepReport { details: "+ line\n".repeat(200_000), ..StepReport::default() };
    let summary = summary(&step);
    assert!(summary.len() < 64 * 1024 && summary.contains("the output of the step has the rest"), "{}", summary.len());
}
