use super::*;

fn toml(text: &str) -> Result<Fragment, SettingsError> {
    Fragment::from_toml(text, Rank::Config, "config.toml")
}

fn error_text(text: &str) -> String {
    let error = toml(text).map(|_| ()).unwrap_err();
    let hint = error.did_you_mean.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
    format!("{error}{hint}")
}

#[test]
fn an_error_has_line_column_and_suggestion() {
    insta::assert_snapshot!(error_text("cluster = \"prod\"\nclustr = 1\n"),
        @"unknown setting `clustr`, in config.toml:2:1 (did you mean `cluster`?)");
    insta::assert_snapshot!(error_text("[verify]\ndeadlin = \"5m\"\n"),
        @"unknown setting `verify.deadlin`, in config.toml:2:1 (did you mean `verify.deadline`?)");
    insta::assert_snapshot!(error_text("[verify]\ndeadline = 5\n"),
        @"`verify.deadline` takes a duration such as `10m`, at most `1day`, not `5`, in config.toml:2:12");
    insta::assert_snapshot!(error_text("[units]\nenable = \"yes\""),
        @"`units.enable` takes `true` or `false`, not `yes`, in config.toml:2:10");
    assert!(error_text("cluster = \"prod\ncluster-tags = 1").contains("config.toml:1:"));
    assert!(error_text("cluster = \"my cluster\"").contains("`my<8 more bytes>`"));
}

#[test]
fn a_name_that_is_not_similar_to_a_setting_gives_no_suggestion() {
    for text in ["user = 1", "name = 1", "foo = 1", "class = 1", "region = 1", "[verify]\nx = 1", "tags.apple = 1"] {
        assert!(!error_text(text).contains("did you mean"), "{}", error_text(text));
    }
    for (text, meant) in [
        ("cluter = 1", "cluster"),
        ("Cluster = 1", "cluster"),
        ("cluster_tags = 1", "cluster-tags"),
        ("tags.pai = 1", "tags.api"),
        ("verify.dedline = 1", "verify.deadline"),
    ] {
        assert!(error_text(text).contains(&format!("did you mean `{meant}`?")), "{}", error_text(text));
    }
}

#[test]
fn two_settings_that_name_the_cluster_are_an_error_at_the_second() {
    insta::assert_snapshot!(error_text("cluster = \"a\"\n[agent]\nECS_CLUSTER = \"b\"\n"),
        @"`cluster` and `agent.ECS_CLUSTER` both name the cluster; remove one of them, in config.toml:3:15");
    assert!(error_text("agent.ECS_CLUSTER = \"b\"\ncluster = \"b\"\n").contains("config.toml:2:11"));
    assert!(error_text("cluster = \"a\"\ncluster = \"b\"\n").contains("config.toml:2:1"));
}

#[test]
fn all_errors_of_a_text_are_found() {
    let text = "clustr = 1\n[verify]\ndeadline = 5\n[agent]\nECS_LOGLEVEL = \"loud\"\n";
    let (_, errors) = Fragment::read_toml(text, Rank::Config, "c");
    let places: Vec<_> = errors.iter().map(|error| error.place.as_str()).collect();
    assert_eq!(places, ["c:1:1", "c:3:12", "c:5:16"]);
}

#[test]
fn a_value_that_ecs_config_cannot_hold_is_an_error_at_its_place() {
    let text = error_text("[agent]\nECS_NVIDIA_RUNTIME = 'a\\b'\n");
    assert!(text.contains("has a backslash") && text.contains("config.toml:2:22"), "{text}");
    let tags = BTreeMap::from([("x:ECS_INSTANCE_ATTRIBUTES".to_owned(), r#"{"a":"b\\c"}"#.to_owned())]);
    let read = Fragment::from_tags(&tags, "x:", TagsSettings::All, Rank::InstanceTag, "IMDS").unwrap();
    assert_eq!((read.entries.len(), read.warnings.len()), (0, 1));
    assert!(read.warnings[0].text.contains("backslash"), "{}", read.warnings[0].text);
}

#[test]
fn variables_of_the_agent_are_checked_against_their_table() {
    assert!(error_text("[agent]\nECS_RESERVED_MEMORY = 65536\n").contains("ECS_RESERVED_MEMORY"));
    let fragment =
        toml("[agent]\nECS_INSTANCE_ATTRIBUTES = { tier = \"web\" }\nECS_RESERVED_PORTS = [22, 80]\n").unwrap();
    let texts: Vec<_> = fragment.entries.iter().map(|entry| entry.raw.clone()).collect();
    assert_eq!(texts, [Raw::Text(r#"{"tier":"web"}"#.to_owned()), Raw::Text("[22,80]".to_owned())]);
    let unknown = toml("[agent]\nECS_LOGLEVL = \"debug\"\n").unwrap();
    insta::assert_snapshot!(unknown.warnings[0].text,
        @"the agent does not know the variable `ECS_LOGLEVL`; it is passed on; did you mean `ECS_LOGLEVEL`?");
}

#[test]
fn environment_variables_have_underscores_for_dots_and_hyphens() {
    let fragment = Fragment::from_environment([
        ("ECS_BOOTSTRAP_VERIFY__DEADLINE", "5m"),
        ("ECS_BOOTSTRAP_DERIVE__WARM_POOL", "off"),
        ("ECS_BOOTSTRAP_AGENT__ECS_LOGLEVEL", "debug"),
        ("ECS_BOOTSTRAP_CLUSTER_TAGS", "env=prod"),
        ("ECS_BOOTSTRAP_ROOT", "/elsewhere"),
        ("PATH", "/bin"),
    ])
    .unwrap();
    assert_eq!(fragment.entries.len(), 4);
    let error = Fragment::from_environment([("ECS_BOOTSTRAP_CLUSTRE", "x")]).map(|_| ()).unwrap_err();
    assert_eq!(error.did_you_mean.as_deref(), Some("cluster"));
}

#[test]
fn tags_set_the_cluster_and_what_the_allow_list_permits() {
    let tags = BTreeMap::from(
        [
            ("ecs-bootstrap:cluster", "prod"),
            ("ecs-bootstrap:ECS_CLUSTER", "other"),
            ("ecs-bootstrap:ECS_ENGINE_AUTH_DATA", "hunter2"),
            ("ecs-bootstrap:clutser", "typo"),
            ("Name", "web"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let read = |trust| Fragment::from_tags(&tags, "ecs-bootstrap:", trust, Rank::InstanceTag, "IMDS").unwrap();
    let all = read(TagsSettings::All);
    assert_eq!((all.entries.len(), all.warnings.len()), (1, 3));
    assert!(all.warnings.iter().all(|warning| !warning.text.contains("hunter2")));
    assert_eq!(read(TagsSettings::None).entries.len(), 0);
}

#[test]
fn a_cluster_tag_with_a_newline_is_an_error_and_not_a_second_line() {
    let tags = BTreeMap::from([("ecs-bootstrap:cluster".to_owned(), "prod\nECS_ENGINE_AUTH_TYPE=docker".to_owned())]);
    let error = Fragment::from_tags(&tags, "ecs-bootstrap:", TagsSettings::All, Rank::InstanceTag, "IMDS");
    assert!(error.map(|_| ()).unwrap_err().what.ends_with("not `prod<28 more bytes>`"));
}

#[test]
fn settings_of_tags_cannot_come_from_user_data() {
    let error = Fragment::from_toml("[tags]\nprefix = \"x:\"", Rank::UserData, "user data").map(|_| ()).unwrap_err();
    assert_eq!(error.place, "user data:2:10");
}

#[test]
fn only_files_can_set_tags_settings() {
    let fragment = Fragment::from_command_line(&[("--set".into(), "tags.settings".into(), "all".into())]).unwrap();
    assert_eq!((fragment.entries.len(), fragment.warnings.len()), (0, 1));
}
