use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api_model::schema;

/// The value of a document without a model: a reference has the type that YAML gives to its text.
fn read(text: &str, variables: Option<&dyn Lookup>) -> Result<Value, YamlError> {
    Ok(Typing::of(schema::task_definition()).value(super::read(text, variables)?, "x", "x"))
}

fn set(name: &str) -> Option<String> {
    let value = match name {
        "TAG" => "1.10",
        "COUNT" => "3",
        "ODD" => "a: b # c\n- \"d\" *e {${TAG}",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

fn value(text: &str) -> Result<Value, YamlError> {
    read(text, Some(&set))
}

#[test]
fn types_are_those_of_the_core_schema() {
    for (text, expected) in [
        ("1", json!(1)),
        ("-1", json!(-1)),
        ("+7", json!(7)),
        ("0123", json!(123)),
        ("0o17", json!(15)),
        ("0xff", json!(255)),
        ("1.10", json!(1.1)),
        (".5", json!(0.5)),
        ("1e3", json!(1000.0)),
        ("true", json!(true)),
        ("False", json!(false)),
        ("null", json!(null)),
        ("~", json!(null)),
        ("", json!(null)),
        ("yes", json!("yes")),
        ("on", json!("on")),
        ("tRue", json!("tRue")),
        ("1.2.3", json!("1.2.3")),
        ("1_000", json!("1_000")),
        ("12:30", json!("12:30")),
        ("0.25 vCPU", json!("0.25 vCPU")),
        (".", json!(".")),
        ("e3", json!("e3")),
        ("0x", json!("0x")),
        ("'1'", json!("1")),
        ("\"true\"", json!("true")),
        ("!!str 1.10", json!("1.10")),
        ("!!int 5", json!(5)),
        ("2024-01-01", json!("2024-01-01")),
    ] {
        assert_eq!(read(&format!("a: {text}\n"), None).map(|value| value["a"].clone()), Ok(expected), "{text}");
    }
}

#[test]
fn a_definition_with_comments_anchors_and_blocks_is_read() {
    let text = r#"
# the web service
family: web
x: &log   # shared
  driver: awslogs
  options: {group: /ecs/web, region: eu-west-1}
containers:
- name: web
  log: *log
- name: side
  log:
    <<: *log
    driver: json-file
  command: [sh, -c, "echo hi"]
  script: |
    one
    two
"#;
    let log = json!({"driver": "awslogs", "options": {"group": "/ecs/web", "region": "eu-west-1"}});
    let mut other = log.clone();
    other["driver"] = json!("json-file");
    let expected = json!({"family": "web", "x": log, "containers": [
        {"name": "web", "log": log},
        {"name": "side", "log": other, "command": ["sh", "-c", "echo hi"], "script": "one\ntwo\n"}]});
    assert_eq!(value(text), Ok(expected));
}

#[test]
fn a_variable_is_data_and_never_structure() {
    for (text, expected) in [
        ("a: web:${TAG}", json!({"a": "web:1.10"})),
        ("a: \"${TAG}\"", json!({"a": "1.10"})),
        ("a: ${COUNT}", json!({"a": 3})),
        ("a: ${ODD}", json!({"a": set("ODD").unwrap()})),
        ("a: '${ODD}'", json!({"a": set("ODD").unwrap()})),
        ("a: x${ODD}", json!({"a": format!("x{}", set("ODD").unwrap())})),
        ("a: [\"${ODD}\"]", json!({"a": [set("ODD").unwrap()]})),
        ("a: ${UNSET:-5}", json!({"a": 5})),
        ("a: ${UNSET:-${COUNT}}", json!({"a": 3})),
        ("a: ${EMPTY}", json!({"a": ""})),
        ("a: \"${EMPTY}\"", json!({"a": ""})),
        ("a: $${TAG}", json!({"a": "${TAG}"})),
        ("# ${UNSET}\na: 1", json!({"a": 1})),
        ("${TAG}: 1", json!({"1.10": 1})),
    ] {
        assert_eq!(value(text), Ok(expected), "{text}");
    }
    assert_eq!(read("a: ${UNSET}", None), Ok(json!({"a": "${UNSET}"})));
    let unset = value("a: 1\nb:\n  - ${UNSET}\n").unwrap_err();
    let expected = YamlError { line: 3, column: 5, what: YamlFault::Variable(Fault::Unset("UNSET".to_owned())) };
    assert_eq!(unset, expected);
}

#[test]
fn a_document_that_cannot_be_meant_is_refused_with_its_line() {
    for (text, line, what) in [
        ("a: 1\na: 2\n", 2, "twice"),
        ("a: [1\n", 2, ""),
        ("a: 1\n\tb: 2\n", 1, "tab"),
        ("a: !Ref X\n", 1, "tag"),
        ("a: !Sub {b: 1}\n", 1, "tag"),
        ("a: 1\n---\nb: 2\n", 2, "more than one document"),
        ("? [1]\n: 2\n", 1, "a key"),
        ("a: .inf\n", 1, "infinity"),
        ("a: &x [*x]\n", 1, ""),
        ("a: *x\n", 1, ""),
        ("a: {<<: 1}\n", 1, "`<<`"),
        ("a: {b: ${TAG}}\n", 1, "a `${...}` inside of `[]` or `{}` must be in quotes"),
        ("a: [x, ${TAG}]\n", 1, "a `${...}` inside of `[]` or `{}` must be in quotes"),
    ] {
        let error = value(text).unwrap_err();
        let YamlFault::Syntax(fault) = &error.what else { panic!("{error:?}") };
        assert!(error.line == line && fault.contains(what), "{text:?}: {error:?}");
    }
}

#[test]
fn many_aliases_and_levels_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    assert!(matches!(value(&text), Err(YamlError { what: YamlFault::Syntax(what), .. }) if what.contains("too many")));
    assert!(value(&"[".repeat(50_000)).is_err());
    // A short list of aliases to a long text.
    let aliases = vec!["*long"; 1500].join(", ");
    let text = format!("text: &long {}\nlist: [{aliases}]\n", "x".repeat(100_000));
    assert!(matches!(value(&text), Err(YamlError { what: YamlFault::Syntax(what), .. }) if what.contains("1 MiB")));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[ -~ä]{0,12}".prop_map(|text| Value::from(text.replace("{", "("))),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-z<]{1,6}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Values of variables, among them all that YAML reads as something other than text.
fn variable() -> impl Strategy<Value = String> {
    prop_oneof![
        "(|~|null|Null|true|FALSE|yes|\\.nan|-?\\.inf|0x1f|0o17|1\\.10|1e3)",
        "[0-9]{1,12}(e[0-9]{1,6})?",
        "[0-9a-f]{7}",
        "[ -~\n]{0,12}",
    ]
}

proptest! {
    #[test]
    fn the_value_of_a_variable_is_text_where_the_model_has_text(value in variable()) {
        let lookup = |name: &str| (name == "V").then(|| value.clone());
        let text = r#"
family: ${V}
containerDefinitions:
- command:
  - x
  - ${V}
  - ${UNSET:-${V}}
  - a${V}
  - "${V}"
  environment:
  - name: a
    value: ${V}
  dockerLabels:
    a: ${V}
tags:
- key: ${V}
"#;
        let node = super::read(text, Some(&lookup)).unwrap();
        let mut typing = Typing::of(schema::task_definition());
        let expected = json!({"family": value, "containerDefinitions": [{
            "command": ["x", value, value, format!("a{value}"), value],
            "environment": [{"name": "a", "value": value}], "dockerLabels": {"a": value}}], "tags": [{"key": value}]});
        prop_assert_eq!(typing.value(node, "", ""), expected);
        prop_assert!(typing.lines.is_empty());
    }

    #[test]
    fn json_is_yaml_with_the_same_value(value in json_value()) {
        prop_assert_eq!(read(&value.to_string(), None), Ok(value.clone()));
        prop_assert_eq!(read(&format!("{value:#}"), Some(&set)), Ok(value));
    }

    #[test]
    fn no_text_causes_a_panic(text in "[a-c:\\-\\[\\]{}&*!|>'\"#$ \n\t<,?%@]{0,60}") {
        let _ = value(&text);
    }
}
