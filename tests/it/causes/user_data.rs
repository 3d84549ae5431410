//! Causes that lie in user data: each kept from naming the cluster in its own way. See `causes.rs`.

use super::{Names, Notes, is_ready, joined, run, verify};
use crate::support::{Instance, Outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const SCRIPT: &str = "#!/bin/bash\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config\necho hunter2\n";
const HEAD: &str = "Content-Type: multipart/mixed; boundary=\"==B==\"\nMIME-Version: 1.0\n\n";
const TAKEN: &str = "var/lib/cloud/instance/user-data.txt";
const RAN: &str = "var/lib/cloud/instance/sem/config_scripts_user";

/// Nothing else names a cluster, and user data has ended.
fn only(user_data: impl Into<Vec<u8>>) -> Instance {
    Instance::new().without_tags().user_data(user_data)
}

/// The report, which never holds a byte of user data.
fn told(instance: &Instance) -> Outcome {
    let outcome = run(instance, &["tags.wait=1s"]);
    assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains("hunter2"), "{}", outcome.stderr);
    outcome
}

fn failed(instance: Instance, error: &str, output: &str) -> Instance {
    let result = serde_json::json!({"v1": {"datasource": "DataSourceEc2Local", "errors": [error]}});
    instance.file("run/cloud-init/result.json", result.to_string()).file("var/log/cloud-init-output.log", output)
}

const RUNPARTS: &str = "('scripts_user', RuntimeError('Runparts: 1 failures (part-001) in 1 attempted commands'))";

#[test]
fn a_script_that_failed_is_told_with_its_line() {
    let output = "/var/lib/cloud/instance/scripts/part-001: line 2: hunter2: command not found\n";
    let instance = failed(only(SCRIPT), RUNPARTS, output);
    let outcome = told(&instance);
    Names("user-data-failed", 21, "cloud-init-output.log: part-001 line 2: `command not found`")
        .check(&instance, &outcome);
    assert!(outcome.stderr.contains("`scripts-user` failed (`part-001`)"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the instance has no tag"), "{}", outcome.stderr);
    let joins = failed(Instance::new().user_data(SCRIPT), RUNPARTS, output);
    joined(&joins, "");
    Names("user-data-failed", 21, "`scripts-user`").check(&joins, &verify(&joins, &["verify.deadline=20s"]));
}

#[test]
fn a_script_with_the_line_ends_of_windows_that_failed_is_told() {
    let output = "/var/lib/cloud/instance/scripts/part-001: /bin/bash\r: bad interpreter: No such file or directory\n";
    let instance = failed(only(SCRIPT.replace('\n', "\r\n")), RUNPARTS, output);
    Names("user-data-failed", 21, "the script's first line ends in CR LF").check(&instance, &told(&instance));
}

#[test]
fn a_script_that_failed_beside_a_cluster_is_a_note() {
    let instance = failed(Instance::new().user_data(SCRIPT), RUNPARTS, "");
    Notes("user-data-failed", "`scripts-user` failed (`part-001`)").check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_script_that_failed_and_never_would_have_named_a_cluster_is_not_blamed() {
    let instance = failed(only("#!/bin/sh\nfalse\n"), RUNPARTS, "");
    Names("no-cluster-named", 21, "user data is a script, and does not speak of a cluster")
        .check(&instance, &told(&instance));
}

#[test]
fn a_script_that_ended_well_and_named_nothing_is_not_blamed() {
    let instance = only(SCRIPT);
    Names("no-cluster-named", 21, "user data is a script, and speaks of a cluster").check(&instance, &told(&instance));
}

#[test]
fn no_user_data_at_all_is_told() {
    let instance = Instance::new().without_tags();
    let outcome = told(&instance);
    Names("user-data-absent", 21, "instance metadata has no user data").check_untouched(&instance, &outcome);
    assert!(outcome.stderr.contains("the instance has no tag `ecs-bootstrap:cluster`"), "{}", outcome.stderr);
}

#[test]
fn user_data_without_its_marker_is_told() {
    for (text, why) in [
        (SCRIPT.replace("#!/bin/bash\n", ""), "it does not begin with a marker that cloud-init knows"),
        (format!("\n{SCRIPT}"), "spaces or an empty line before its first line"),
        (format!("    {SCRIPT}"), "spaces or an empty line before its first line"),
        (format!("\u{feff}{SCRIPT}"), "a byte order mark before its first line"),
    ] {
        let instance = only(text);
        Names("user-data-not-recognised", 21, why).check(&instance, &told(&instance));
    }
    let instance = Instance::new().user_data("ECS_CLUSTER=prod\n");
    joined(&instance, "");
    Names("user-data-not-recognised", 21, "it does not begin with a marker")
        .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
}

#[test]
fn user_data_that_is_taken_in_any_form_is_no_cause() {
    for text in ["#!/bin/sh\nECS_CLUSTER=x\n", "\n#cloud-config\n", "#ecs-bootstrap\n", "junk without a marker"] {
        is_ready(&run(&Instance::new().user_data(text), &["verify.deadline=20s"]));
    }
}

#[test]
fn user_data_that_is_encoded_twice_is_told() {
    for text in [SCRIPT, "#cloud-config\nwrite_files: [{path: /etc/ecs/ecs.config, content: ECS_CLUSTER=prod}]\n"] {
        let instance = only(STANDARD.encode(text));
        Names("user-data-double-base64", 21, "base64, which holds ").check(&instance, &told(&instance));
    }
    // Some cloud-init decodes it all the same.
    let instance = only(STANDARD.encode(SCRIPT)).file("var/lib/cloud/instance/scripts/part-001", SCRIPT);
    Names("no-cluster-named", 21, "speaks of a cluster").check(&instance, &told(&instance));
    // What is base64 of nothing that is taken is not.
    let instance = only(STANDARD.encode("ECS_CLUSTER=prod"));
    Names("user-data-not-recognised", 21, "does not begin with a marker").check(&instance, &told(&instance));
}

#[test]
fn a_broken_mime_message_is_told_with_its_fault() {
    let part = format!("--==B==\nContent-Type: text/x-shellscript\n\n{SCRIPT}");
    for (text, fault) in [
        (
            format!("{HEAD}--==B==\nContent-Type: text/cloud-config\n\n#cloud-config\n--==B==--\n{SCRIPT}"),
            "text after the closing boundary",
        ),
        (format!("{HEAD}{part}--==B==--\n").replace("x-shellscript", "x-sh"), "part 1 is of a type"),
        (format!("{HEAD}{part}--==B==--\n").replace("; boundary=\"==B==\"", ""), "has no boundary"),
        (format!("{HEAD}{part}--==B==--\n").replace("MIME-Version: 1.0\n", ""), "no `MIME-Version:` header"),
    ] {
        let instance = only(text);
        Names("user-data-mime-broken", 21, fault).check(&instance, &told(&instance));
    }
}

#[test]
fn a_whole_mime_message_is_not_called_broken() {
    let part = format!("--==B==\nContent-Type: text/x-shellscript\n\n{SCRIPT}");
    // Python's parser reads the second as well.
    for text in [format!("{HEAD}{part}--==B==--\n"), format!("{HEAD}{part}")] {
        let instance = only(text);
        Names("no-cluster-named", 21, "user data is a MIME message").check(&instance, &told(&instance));
    }
}

const V1: &str = "#!/bin/bash\nC=$(curl -s http://169.254.169.254/latest/meta-data/tags/instance/cluster)\n\
                  echo ECS_CLUSTER=$C >> /etc/ecs/ecs.config\n";

#[test]
fn a_script_without_a_token_is_told() {
    let instance = only(V1).ecs_config("ECS_CLUSTER=\n");
    let outcome = told(&instance);
    Names("imds-v1-client", 21, "`ECS_CLUSTER=` on line 1 of /etc/ecs/ecs.config is empty").check(&instance, &outcome);
    assert!(outcome.stderr.contains("never sends `X-aws-ec2-metadata-token`"), "{}", outcome.stderr);
    // curl without -f takes the page of the 401 for the answer.
    let optional = only(V1).ecs_config("ECS_CLUSTER=\n");
    optional.imds.change(|imds| imds.allows_v1 = true);
    Names("no-cluster-named", 21, "speaks of a cluster").check(&optional, &told(&optional));
    let instance = only(V1).ecs_config("ECS_CLUSTER=<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n");
    Names("imds-v1-client", 21, "never sends").check(&instance, &told(&instance));
}

#[test]
fn a_script_with_a_token_or_that_failed_at_something_else_is_not_called_a_v1_client() {
    let with_token = V1.replace("curl -s", "curl -s -H \"X-aws-ec2-metadata-token: $T\"");
    let instance = only(with_token).ecs_config("ECS_CLUSTER=\n");
    Names("no-cluster-named", 21, "speaks of a cluster").check(&instance, &told(&instance));
    let output = "/var/lib/cloud/instance/scripts/part-001: line 2: hunter2: command not found\n";
    let instance = failed(only(V1), RUNPARTS, output);
    Names("user-data-failed", 21, "part-001 line 2").check(&instance, &told(&instance));
}

#[test]
fn user_data_that_was_changed_after_it_ran_is_told() {
    let old = "#!/bin/sh\necho before\n";
    let instance = only(SCRIPT).file(TAKEN, old).file(RAN, "7: done\n");
    Names("user-data-not-rerun", 21, "differs from that which cloud-init has run").check(&instance, &told(&instance));
    let instance = Instance::new().user_data(SCRIPT).file(TAKEN, old).file(RAN, "7: done\n");
    let instance = instance.agent_behaves(|agent| agent.register_delay = std::time::Duration::from_secs(2));
    Notes("user-data-not-rerun", "differs").check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn user_data_that_is_as_it_ran_is_not_called_changed() {
    let instance = only(SCRIPT).file(TAKEN, SCRIPT).file(RAN, "7: done\n");
    Names("no-cluster-named", 21, "speaks of a cluster").check(&instance, &told(&instance));
    // Its scripts are yet to run.
    let instance = only(SCRIPT).file(TAKEN, "#!/bin/sh\n");
    Names("no-cluster-named", 21, "speaks of a cluster").check(&instance, &told(&instance));
}

#[test]
fn what_fails_beside_another_cause_is_not_blamed() {
    let instance = failed(Instance::new().without_role().user_data(SCRIPT), RUNPARTS, "");
    Names("no-instance-role", 22, "404").check(&instance, &run(&instance, &["verify.deadline=20s"]));
    let instance = Instance::new().without_role().user_data("ECS_CLUSTER=prod").ecs_config("export ECS_CLUSTER=prod\n");
    Names("no-instance-role", 22, "404").check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn settings_of_ours_that_name_no_cluster_are_not_called_unread() {
    let warning = "2026-01-01 - __init__.py[WARNING]: Unhandled non-multipart (text/x-not-multipart) userdata: 'b'#ecs-bootstrap'...'\n";
    let text = "#ecs-bootstrap\n[verify]\ndeadline = \"20s\"\n";
    let instance = only(text).file("var/log/cloud-init-output.log", warning);
    Names("no-cluster-named", 21, "user data is settings of ecs-bootstrap").check(&instance, &told(&instance));
    let joins = Instance::new().user_data(text).file("var/log/cloud-init-output.log", warning);
    let outcome = run(&joins, &["verify.deadline=20s"]);
    is_ready(&outcome);
    assert!(!outcome.stdout.contains("note: "), "{}", outcome.stdout);
}
