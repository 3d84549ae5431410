//! Causes in user data: the reasons why it did not name the cluster. See `causes/mod.rs`.

use super::{ExpectedCause, ExpectedNote, is_ready, joined, run, verify};
use crate::support::{Instance, Outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const SCRIPT: &str = "#!/bin/bash\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config\necho hunter2\n";
const HEAD: &str = "Content-Type: multipart/mixed; boundary=\"==B==\"\nMIME-Version: 1.0\n\n";
const TAKEN: &str = "var/lib/cloud/instance/user-data.txt";
const RAN: &str = "var/lib/cloud/instance/sem/config_scripts_user";

/// Only user data can name a cluster, and it has ended.
fn only(user_data: impl Into<Vec<u8>>) -> Instance {
    Instance::new().without_tags().user_data(user_data)
}

/// Runs and checks that the report has no text of user data.
fn report_of(instance: &Instance) -> Outcome {
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
fn a_failed_script_is_reported_with_its_line() {
    let output = "/var/lib/cloud/instance/scripts/part-001: line 2: hunter2: command not found\n";
    let instance = failed(only(SCRIPT), RUNPARTS, output);
    let outcome = report_of(&instance);
    ExpectedCause("user-data-failed", 21, "cloud-init-output.log: part-001 line 2: `command not found`")
        .check(&instance, &outcome);
    assert!(outcome.stderr.contains("`scripts-user` failed (`part-001`)"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the instance has no tag"), "{}", outcome.stderr);
    let joins = failed(Instance::new().user_data(SCRIPT), RUNPARTS, output);
    joined(&joins, "");
    ExpectedCause("user-data-failed", 21, "`scripts-user`").check(&joins, &verify(&joins, &["verify.deadline=20s"]));
}

#[test]
fn a_failed_script_with_crlf_line_ends_is_reported() {
    let output = "/var/lib/cloud/instance/scripts/part-001: /bin/bash\r: bad interpreter: No such file or directory\n";
    let instance = failed(only(SCRIPT.replace('\n', "\r\n")), RUNPARTS, output);
    ExpectedCause("user-data-failed", 21, "the script's first line ends in CR LF")
        .check(&instance, &report_of(&instance));
}

#[test]
fn a_failed_script_is_a_note_if_the_instance_joins() {
    let instance = failed(Instance::new().user_data(SCRIPT), RUNPARTS, "");
    ExpectedNote("user-data-failed", "`scripts-user` failed (`part-001`)")
        .check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn a_failed_script_that_does_not_mention_a_cluster_is_not_the_cause() {
    let instance = failed(only("#!/bin/sh\nfalse\n"), RUNPARTS, "");
    ExpectedCause("no-cluster-named", 21, "user data is a script, and does not mention a cluster")
        .check(&instance, &report_of(&instance));
}

#[test]
fn a_successful_script_that_named_no_cluster_is_no_cluster_named() {
    let instance = only(SCRIPT);
    ExpectedCause("no-cluster-named", 21, "user data is a script, and mentions a cluster")
        .check(&instance, &report_of(&instance));
}

#[test]
fn missing_user_data_is_reported() {
    let instance = Instance::new().without_tags();
    let outcome = report_of(&instance);
    ExpectedCause("user-data-absent", 21, "IMDS has no user data").check_untouched(&instance, &outcome);
    assert!(outcome.stderr.contains("the instance has no tag `ecs-bootstrap:cluster`"), "{}", outcome.stderr);
}

#[test]
fn user_data_without_a_known_first_line_is_reported() {
    for (text, why) in [
        (SCRIPT.replace("#!/bin/bash\n", ""), "it does not begin with a marker that cloud-init knows"),
        (format!("\n{SCRIPT}"), "spaces or an empty line before its first line"),
        (format!("    {SCRIPT}"), "spaces or an empty line before its first line"),
        (format!("\u{feff}{SCRIPT}"), "a byte order mark before its first line"),
    ] {
        let instance = only(text);
        ExpectedCause("user-data-not-recognised", 21, why).check(&instance, &report_of(&instance));
    }
    let instance = Instance::new().user_data("ECS_CLUSTER=prod\n");
    joined(&instance, "");
    ExpectedCause("user-data-not-recognised", 21, "it does not begin with a marker")
        .check(&instance, &verify(&instance, &["verify.deadline=20s"]));
}

#[test]
fn no_form_of_user_data_is_a_cause_if_the_instance_joins() {
    for text in ["#!/bin/sh\nECS_CLUSTER=x\n", "\n#cloud-config\n", "#ecs-bootstrap\n", "junk without a marker"] {
        is_ready(&run(&Instance::new().user_data(text), &["verify.deadline=20s"]));
    }
}

#[test]
fn user_data_in_base64_twice_is_reported() {
    for text in [SCRIPT, "#cloud-config\nwrite_files: [{path: /etc/ecs/ecs.config, content: ECS_CLUSTER=prod}]\n"] {
        let instance = only(STANDARD.encode(text));
        ExpectedCause("user-data-double-base64", 21, "base64, which decodes to ")
            .check(&instance, &report_of(&instance));
    }
    // Some versions of cloud-init decode it.
    let instance = only(STANDARD.encode(SCRIPT)).file("var/lib/cloud/instance/scripts/part-001", SCRIPT);
    ExpectedCause("no-cluster-named", 21, "mentions a cluster").check(&instance, &report_of(&instance));
    // Base64 of a text that cloud-init does not know is another cause.
    let instance = only(STANDARD.encode("ECS_CLUSTER=prod"));
    ExpectedCause("user-data-not-recognised", 21, "does not begin with a marker")
        .check(&instance, &report_of(&instance));
}

#[test]
fn a_broken_mime_message_is_reported_with_its_fault() {
    let part = format!("--==B==\nContent-Type: text/x-shellscript\n\n{SCRIPT}");
    for (text, fault) in [
        (
            format!("{HEAD}--==B==\nContent-Type: text/cloud-config\n\n#cloud-config\n--==B==--\n{SCRIPT}"),
            "text after the closing boundary",
        ),
        (format!("{HEAD}{part}--==B==--\n").replace("x-shellscript", "x-sh"), "part 1 has a type"),
        (format!("{HEAD}{part}--==B==--\n").replace("; boundary=\"==B==\"", ""), "has no boundary"),
        (format!("{HEAD}{part}--==B==--\n").replace("MIME-Version: 1.0\n", ""), "no `MIME-Version:` header"),
    ] {
        let instance = only(text);
        ExpectedCause("user-data-mime-broken", 21, fault).check(&instance, &report_of(&instance));
    }
}

#[test]
fn a_valid_mime_message_is_not_reported_as_broken() {
    let part = format!("--==B==\nContent-Type: text/x-shellscript\n\n{SCRIPT}");
    let whole = format!("{HEAD}{part}--==B==--\n");
    for text in [
        whole.clone(),
        format!("{HEAD}{part}"),
        whole.replace("shellscript\n\n", "shellscript\n"),
        whole.replace("--==B==\n", "--==B== \n").replace('\n', "\r\n"),
    ] {
        let instance = only(text);
        ExpectedCause("no-cluster-named", 21, "user data is a MIME message").check(&instance, &report_of(&instance));
    }
}

const V1: &str = "#!/bin/bash\nC=$(curl -s http://169.254.169.254/latest/meta-data/tags/instance/cluster)\n\
                  echo ECS_CLUSTER=$C >> /etc/ecs/ecs.config\n";

#[test]
fn a_script_that_reads_metadata_without_a_token_is_reported() {
    let instance = only(V1).ecs_config("ECS_CLUSTER=\n");
    let outcome = report_of(&instance);
    ExpectedCause("imds-v1-client", 21, "`ECS_CLUSTER=` on line 1 of /etc/ecs/ecs.config is empty")
        .check(&instance, &outcome);
    assert!(outcome.stderr.contains("never sends `X-aws-ec2-metadata-token`"), "{}", outcome.stderr);
    // With metadata version 1 allowed, the script is not the cause. Without `-f`, curl prints the page of the 401.
    let optional = only(V1).ecs_config("ECS_CLUSTER=\n");
    optional.imds.change(|imds| imds.allows_v1 = true);
    ExpectedCause("no-cluster-named", 21, "mentions a cluster").check(&optional, &report_of(&optional));
    let instance = only(V1).ecs_config("ECS_CLUSTER=<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n");
    ExpectedCause("imds-v1-client", 21, "never sends").check(&instance, &report_of(&instance));
}

#[test]
fn a_script_with_a_token_or_another_failure_is_not_imds_v1_client() {
    let with_token = V1.replace("curl -s", "curl -s -H \"X-aws-ec2-metadata-token: $T\"");
    let instance = only(with_token).ecs_config("ECS_CLUSTER=\n");
    ExpectedCause("no-cluster-named", 21, "mentions a cluster").check(&instance, &report_of(&instance));
    let output = "/var/lib/cloud/instance/scripts/part-001: line 2: hunter2: command not found\n";
    let instance = failed(only(V1), RUNPARTS, output);
    ExpectedCause("user-data-failed", 21, "part-001 line 2").check(&instance, &report_of(&instance));
}

#[test]
fn user_data_that_changed_after_it_ran_is_reported() {
    let old = "#!/bin/sh\necho before\n";
    let instance = only(SCRIPT).file(TAKEN, old).file(RAN, "7: done\n");
    ExpectedCause("user-data-not-rerun", 21, "differs from the user data that cloud-init ran")
        .check(&instance, &report_of(&instance));
    let instance = Instance::new().user_data(SCRIPT).file(TAKEN, old).file(RAN, "7: done\n");
    let instance = instance.agent_behaves(|agent| agent.register_delay = std::time::Duration::from_secs(2));
    ExpectedNote("user-data-not-rerun", "differs").check(&run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn unchanged_user_data_is_not_reported_as_changed() {
    let instance = only(SCRIPT).file(TAKEN, SCRIPT).file(RAN, "7: done\n");
    ExpectedCause("no-cluster-named", 21, "mentions a cluster").check(&instance, &report_of(&instance));
    // The scripts have not run yet.
    let instance = only(SCRIPT).file(TAKEN, "#!/bin/sh\n");
    ExpectedCause("no-cluster-named", 21, "mentions a cluster").check(&instance, &report_of(&instance));
}

#[test]
fn failed_user_data_is_not_the_cause_if_the_role_is_missing() {
    let instance = failed(Instance::new().without_role().user_data(SCRIPT), RUNPARTS, "");
    ExpectedCause("no-instance-role", 22, "404").check(&instance, &run(&instance, &["verify.deadline=20s"]));
    let instance = Instance::new().without_role().user_data("ECS_CLUSTER=prod").ecs_config("export ECS_CLUSTER=prod\n");
    ExpectedCause("no-instance-role", 22, "404").check(&instance, &run(&instance, &["verify.deadline=20s"]));
}

#[test]
fn settings_in_user_data_that_name_no_cluster_are_not_reported_as_unread() {
    let warning = "2026-01-01 - __init__.py[WARNING]: Unhandled non-multipart (text/x-not-multipart) userdata: \
                   'b'#ecs-bootstrap'...'\n";
    let text = "#ecs-bootstrap\n[verify]\ndeadline = \"20s\"\n";
    let instance = only(text).file("var/log/cloud-init-output.log", warning);
    ExpectedCause("no-cluster-named", 21, "user data is settings of ecs-bootstrap")
        .check(&instance, &report_of(&instance));
    let joins = Instance::new().user_data(text).file("var/log/cloud-init-output.log", warning);
    let outcome = run(&joins, &["verify.deadline=20s"]);
    is_ready(&outcome);
    assert!(!outcome.stdout.contains("note: "), "{}", outcome.stdout);
}
