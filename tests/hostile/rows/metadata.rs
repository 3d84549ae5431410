//! Hostile instance metadata: tags, user data, and answers of IMDS.
//!
//! In: texts of `payload`. Out: rows.

use super::{TextInput, quoted, text_input};
use crate::payload;
use crate::row::{ExpectedCodes, JOINS, OK, Row, SETTINGS};
use crate::support::Instance;
use crate::support::http::{Answer, Reply};
use crate::support::imds::{Fault, Role};

/// The deadline of `verify` for rows without credentials. Signals are then tried until the deadline, because a new role
/// can take a minute to work.
const SIGNALS: u64 = 8;
/// IMDS answers wrongly, which may be temporary. `plan` needs no metadata if a file names the cluster. A run does not
/// start the agent, and doctor may report that first.
const GARBLED: ExpectedCodes = ExpectedCodes::all(&[10]).plan(OK).doctor(&[10, 12]);
/// The identity document has a wrong value.
const WRONG_IDENTITY: ExpectedCodes =
    ExpectedCodes::all(&[10, 13, 24]).plan(OK).run(&[0, 10]).doctor(&[0, 10, 12, 13, 24]);
/// Longer than user data can be (16 KiB: EC2 User Guide, "Instance user data").
const LONG: usize = 60_000;

fn answers(instance: Instance, path: &str, answer: impl Into<Answer>) -> Instance {
    instance.imds.change(|imds| drop(imds.overrides.insert(format!("/latest/{path}"), answer.into())));
    instance
}

fn says(instance: Instance, path: &str, text: &str) -> Instance {
    answers(instance, path, Reply::new(200, "text/plain", text))
}

fn document(instance: Instance, member: &str, text: &str) -> Instance {
    let mut document = serde_json::json!({"accountId": "111122223333", "architecture": "x86_64",
        "availabilityZone": "eu-west-1a", "imageId": "ami-0abcdef1234567890", "instanceId": "i-0123456789abcdef0",
        "instanceType": "m5.large", "pendingTime": "2026-11-28T10:00:00Z", "privateIp": "10.0.0.10",
        "region": "eu-west-1", "version": "2017-09-30"});
    document[member] = text.into();
    says(instance, "dynamic/instance-identity/document", &document.to_string())
}

fn text_inputs() -> Vec<TextInput> {
    [of_tags(), of_documents(), of_user_data()].into_iter().flatten().collect()
}

fn of_tags() -> Vec<TextInput> {
    vec![
        text_input("imds/tag-cluster", ExpectedCodes::all(SETTINGS), |instance, text| {
            instance.tag("ecs-bootstrap:cluster", text)
        }),
        text_input("imds/tag-cluster-tags", JOINS, |instance, text| instance.tag("ecs-bootstrap:cluster-tags", text))
            .expected([JOINS, ExpectedCodes::all(SETTINGS), ExpectedCodes::all(SETTINGS)]),
        text_input("imds/tag-loglevel", JOINS, |instance, text| instance.tag("ecs-bootstrap:ECS_LOGLEVEL", text)),
        text_input("imds/tag-not-allowed", JOINS, |instance, text| {
            instance.tag("ecs-bootstrap:ECS_ENGINE_AUTH_DATA", text)
        }),
        text_input("imds/tag-unknown", JOINS, |instance, text| instance.tag("ecs-bootstrap:nothing", text)),
        text_input("imds/tag-foreign", JOINS, |instance, text| instance.tag("Name", text)),
        text_input("imds/tag-stack", JOINS, |instance, text| instance.tag("aws:cloudformation:stack-name", text)),
        text_input("imds/tag-logical-id", JOINS, |instance, text| instance.tag("aws:cloudformation:logical-id", text)),
        text_input("imds/tag-group", JOINS, |instance, text| instance.tag("aws:autoscaling:groupName", text)),
        text_input("imds/tag-names", JOINS, |instance, text| says(instance, "meta-data/tags/instance", text)),
    ]
}

fn of_documents() -> Vec<TextInput> {
    vec![
        text_input("imds/document", GARBLED, |instance, text| {
            says(instance, "dynamic/instance-identity/document", text)
        }),
        text_input("imds/document-instance-id", WRONG_IDENTITY, |instance, text| {
            document(instance, "instanceId", text)
        }),
        text_input("imds/document-region", WRONG_IDENTITY, |instance, text| document(instance, "region", text)),
        text_input(
            "imds/document-account",
            ExpectedCodes::all(&[0, 10, 24]).doctor(&[0, 10, 12, 24]),
            |instance, text| document(instance, "accountId", text),
        ),
        text_input("imds/document-zone", JOINS, |instance, text| document(instance, "availabilityZone", text)),
        text_input("imds/document-pending", JOINS, |instance, text| document(instance, "pendingTime", text)),
        text_input("imds/role-name", JOINS, |instance, text| {
            says(instance, "meta-data/iam/security-credentials", text)
        })
        .seconds(SIGNALS),
        text_input("imds/role-code", JOINS, |instance, text| {
            let code = serde_json::json!({"Code": text, "Message": text}).to_string();
            says(instance, "meta-data/iam/security-credentials/ecsInstanceRole", &code)
        })
        .seconds(SIGNALS),
        text_input("imds/iam-info", JOINS, |instance, text| {
            let info = serde_json::json!({"Code": "Success", "Message": text, "InstanceProfileArn": text}).to_string();
            says(instance, "meta-data/iam/info", &info)
        }),
        text_input("imds/life-cycle", JOINS, |instance, text| says(instance, "meta-data/instance-life-cycle", text)),
        text_input("imds/target-state", JOINS, |instance, text| {
            says(instance, "meta-data/autoscaling/target-lifecycle-state", text)
        }),
        text_input("imds/token", GARBLED, |instance, text| says(instance, "api/token", text)),
        text_input("imds/error-page", GARBLED, |instance, text| {
            answers(instance, "dynamic/instance-identity/document", Reply::new(500, "text/html", text))
        }),
    ]
}

fn of_user_data() -> Vec<TextInput> {
    vec![
        text_input("user-data/foreign", JOINS, |instance, text| {
            instance.user_data(format!("#!/bin/sh\necho '{text}' >/etc/ecs/other\nexport X={text}\n"))
        }),
        text_input("user-data/foreign-cluster", JOINS, |instance, text| {
            instance.user_data(format!("#!/bin/sh\necho ECS_CLUSTER={text} >> /etc/ecs/ecs.config\n"))
        }),
        text_input("user-data/cluster", ExpectedCodes::all(SETTINGS), |instance, text| {
            instance.user_data(format!("#ecs-bootstrap\ncluster = {}\n", quoted(text)))
        }),
        text_input("user-data/unknown-key", ExpectedCodes::all(SETTINGS), |instance, text| {
            instance.user_data(format!("#ecs-bootstrap\n{} = 1\n", quoted(text)))
        }),
        text_input("user-data/not-toml", ExpectedCodes::all(SETTINGS), |instance, text| {
            instance.user_data(format!("#ecs-bootstrap\ncluster: {text}\n"))
        }),
        text_input("user-data/agent-value", ExpectedCodes::all(SETTINGS), |instance, text| {
            instance.user_data(format!("#ecs-bootstrap\n[agent]\nECS_LOGLEVEL = {}\n", quoted(text)))
        }),
    ]
}

pub fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = text_inputs().into_iter().flat_map(|text_input| text_input.long(LONG).rows()).collect();
    rows.push(Row::new("imds/tag-run-together", ExpectedCodes::all(SETTINGS), |instance| {
        instance.tag("ecs-bootstrap:cluster", payload::RUN_TOGETHER)
    }));
    for (name, fault) in [
        ("garbage", Fault::Garbage),
        ("half", Fault::Half),
        ("silent", Fault::Silent),
        ("token-lost", Fault::TokenLost),
        ("fails", Fault::FailsNext(u32::MAX, 500)),
    ] {
        rows.push(Row::new(format!("imds/fault-{name}"), GARBLED, move |instance| instance.imds_fault(fault.clone())));
    }
    rows.push(Row::new("imds/fault-off", ExpectedCodes::all(&[22]).plan(OK).doctor(&[12, 22]), |instance| {
        instance.imds_fault(Fault::Off)
    }));
    for (name, path) in [
        ("document", "dynamic/instance-identity/document"),
        ("tags", "meta-data/tags/instance"),
        ("user-data", "user-data"),
        ("token", "api/token"),
        ("life-cycle", "meta-data/instance-life-cycle"),
        ("role", "meta-data/iam/security-credentials"),
    ] {
        let expected = if ["life-cycle", "role"].contains(&name) { JOINS } else { GARBLED };
        rows.push(Row::new(format!("imds/endless-{name}"), expected, move |instance| {
            answers(instance, path, Answer::Endless(Reply::new(200, "text/plain", "x".repeat(64 << 10))))
        }));
        rows.push(Row::new(format!("imds/half-{name}"), expected, move |instance| {
            answers(instance, path, Answer::Half(Reply::new(200, "text/plain", "a\nb\nc\nd\n")))
        }));
    }
    rows.push(Row::new("imds/nested-document", GARBLED, |instance| {
        says(instance, "dynamic/instance-identity/document", &"[".repeat(200_000))
    }));
    let nested = Row::new("imds/nested-credentials", JOINS, |instance| {
        says(instance, "meta-data/iam/security-credentials/ecsInstanceRole", &"{\"a\":".repeat(150_000))
    });
    rows.push(nested.brief());
    rows.push(Row::new("imds/many-tags", GARBLED, |instance| {
        let names = (0..20_000).map(|number| format!("ecs-bootstrap:tag-{number}\n")).collect::<String>();
        says(instance, "meta-data/tags/instance", &names)
    }));
    rows.push(Row::new("imds/not-assumable", ExpectedCodes::verify(&[22]), |instance| {
        instance.imds.change(|imds| imds.role = Role::NotAssumable("ecsInstanceRole".into()));
        instance
    }));
    let has_no_role = |name: &str| name.ends_with("-role");
    rows.into_iter().map(|row| if has_no_role(&row.name) { row.brief() } else { row }).collect()
}
