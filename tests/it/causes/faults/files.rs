//! Faults in settings, `ecs.config`, user data and cloud-init's records.

use super::{Ends, Fault, Part, Source};
use crate::support::Instance;

const NO_CLUSTER: &[Source] = &[Source::Cluster];
/// A line that does not name the cluster can only be the reason if no tag names it.
const LINE: &[Part] = &[Part::Config, Part::Tags];
const USER_DATA: &[Part] = &[Part::Tags, Part::UserData, Part::CloudInit, Part::Config];
const SCRIPT: &str = "#!/bin/bash\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config\n";

const fn unnamed(id: &'static str, make: super::Change, parts: &'static [Part]) -> Fault {
    Fault { ends: Ends::Decide, needs: NO_CLUSTER, ..Fault::new(id, make, parts) }
}

pub(in crate::causes) static FAULTS: &[Fault] = &[
    Fault { ends: Ends::Gather, ..Fault::new("setting-invalid", unknown_setting, &[Part::Settings]) },
    Fault { ends: Ends::Gather, ..Fault::new("ecs-config-unusable", linked, &[Part::Config, Part::FileSystem]) },
    Fault {
        ends: Ends::Gather,
        needs: &[Source::Metadata],
        ..Fault::new("ca-bundle-invalid", ca_bundle, &[Part::Tags, Part::Endpoint])
    },
    Fault { ends: Ends::Gather, ..Fault::new("ecs-anywhere", external, &[Part::Config]) },
    Fault::new("config-bad-json", bad_json, &[Part::Config]),
    unnamed("config-quoted", quoted, LINE),
    unnamed("config-key-misspelt", misspelt, LINE),
    unnamed("config-export", exported, LINE),
    unnamed("config-spaces", spaces, LINE),
    unnamed("config-unreadable-key", colon, LINE),
    unnamed("config-duplicate", duplicate, LINE),
    unnamed("config-wrong-file", wrong_file, LINE),
    unnamed("cluster-name-invalid", template, LINE),
    unnamed("user-data-absent", user_data_absent, USER_DATA),
    unnamed("user-data-failed", script_failed, USER_DATA),
    unnamed("user-data-not-recognised", unmarked, USER_DATA),
    unnamed("user-data-double-base64", twice_encoded, USER_DATA),
    unnamed("user-data-mime-broken", broken_mime, USER_DATA),
    unnamed("datasource-none", no_data_source, USER_DATA),
    unnamed("cloud-init-failed", module_failed, USER_DATA),
    unnamed("no-cluster-named", unnamed_by_a_script, USER_DATA),
];

fn unknown_setting(instance: Instance) -> Instance {
    instance.setting_file("etc/ecs-bootstrap/config.toml", "clutser = \"prod\"\n")
}

fn linked(instance: Instance) -> Instance {
    instance.disk.remove("etc/ecs/ecs.config");
    std::os::unix::fs::symlink("elsewhere", instance.disk.path("etc/ecs/ecs.config")).unwrap();
    instance
}

fn external(instance: Instance) -> Instance {
    instance.file("var/lib/ecs/ecs.config", "AWS_DEFAULT_REGION=eu-west-1\nECS_EXTERNAL=true\n")
}

fn ca_bundle(instance: Instance) -> Instance {
    let instance = instance.without_imds_tags().file("home/rubbish.pem", "not a certificate\n");
    let path = instance.disk.path("home/rubbish.pem");
    instance.env("AWS_CA_BUNDLE", path.as_os_str())
}

pub(in crate::causes) fn bad_json(instance: Instance) -> Instance {
    instance.ecs_config("ECS_INSTANCE_ATTRIBUTES={tier: web}\n")
}

pub(in crate::causes) fn quoted(instance: Instance) -> Instance {
    instance.without_tags().ecs_config("ECS_CLUSTER=\"prod\"\n")
}

pub(in crate::causes) fn misspelt(instance: Instance) -> Instance {
    instance.without_tags().ecs_config("ECS_CLUSTR=prod\n")
}

fn exported(instance: Instance) -> Instance {
    instance.without_tags().ecs_config("export ECS_CLUSTER=prod\n")
}

fn spaces(instance: Instance) -> Instance {
    instance.without_tags().ecs_config("ECS_CLUSTER =prod\n")
}

fn colon(instance: Instance) -> Instance {
    instance.without_tags().ecs_config("ECS_CLUSTER: prod\n")
}

fn duplicate(instance: Instance) -> Instance {
    instance.without_tags().ecs_config("ECS_CLUSTER=prod\nECS_CLUSTER=\n")
}

fn wrong_file(instance: Instance) -> Instance {
    instance.without_tags().file("etc/ecs.config", "ECS_CLUSTER=prod\n")
}

fn template(instance: Instance) -> Instance {
    instance.without_tags().ecs_config("ECS_CLUSTER=${cluster}\n")
}

fn user_data_absent(instance: Instance) -> Instance {
    instance.without_tags()
}

fn with_errors(instance: Instance, error: &str) -> Instance {
    let result = serde_json::json!({"v1": {"datasource": "DataSourceEc2Local", "errors": [error]}});
    let instance = instance.without_tags().user_data(SCRIPT);
    instance.file("run/cloud-init/result.json", result.to_string())
}

pub(in crate::causes) fn script_failed(instance: Instance) -> Instance {
    with_errors(instance, "('scripts_user', RuntimeError('Runparts: 1 failures (part-001) in 1 attempted commands'))")
}

fn module_failed(instance: Instance) -> Instance {
    with_errors(instance, "('users_groups', KeyError('x'))")
}

fn unmarked(instance: Instance) -> Instance {
    instance.without_tags().user_data("ECS_CLUSTER=prod\n")
}

fn twice_encoded(instance: Instance) -> Instance {
    use base64::Engine;
    instance.without_tags().user_data(base64::engine::general_purpose::STANDARD.encode(SCRIPT))
}

fn broken_mime(instance: Instance) -> Instance {
    let text = format!(
        "Content-Type: multipart/mixed; boundary=\"==B==\"\nMIME-Version: 1.0\n\n--==B==\nContent-Type: \
         text/x-sh\n\n{SCRIPT}--==B==--\n"
    );
    instance.without_tags().user_data(text)
}

fn no_data_source(instance: Instance) -> Instance {
    let record = r#"{"v1": {"datasource": "DataSourceNone", "errors": []}}"#;
    instance.without_tags().user_data(SCRIPT).file("run/cloud-init/result.json", record)
}

fn unnamed_by_a_script(instance: Instance) -> Instance {
    instance.without_tags().user_data("#!/bin/sh\ntrue\n")
}
