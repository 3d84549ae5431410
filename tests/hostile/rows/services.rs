//! Hostile answers of AWS: error texts, names and states, malformed and huge bodies.
//!
//! In: texts of `payload`. Out: rows.

use super::{TextInput, text_input};
use crate::payload;
use crate::row::{ExpectedCodes, JOINS, Row};
use crate::support::Instance;
use crate::support::aws::{ContainerInstance, Fault};
use crate::support::http::Reply;

/// No usable cluster has the tags, and `ecs.config` names none.
const NO_CLUSTER: ExpectedCodes = ExpectedCodes::all(&[20, 21]).doctor(&[12, 20, 21]).guard(&[21]);

/// The operations of a run. Each of them fails on every call.
const OPERATIONS: [&str; 8] = [
    "DescribeTags",
    "DescribeClusters",
    "DescribeContainerInstances",
    "SignalResource",
    "DescribeLifecycleHooks",
    "CompleteLifecycleAction",
    "CreateTags",
    "DiscoverPollEndpoint",
];

/// If the fault is in `ec2:DescribeTags`, removes every other source of the cluster, so that the call is made.
fn make_called(instance: Instance, operation: &str) -> Instance {
    if operation == "DescribeTags" { instance.without_imds_tags().ecs_config("# by hand\n") } else { instance }
}

/// Only the tags of clusters can decide which cluster is joined.
fn by_tags(instance: Instance) -> Instance {
    instance.without_tags().ecs_config("# by hand\n").tag("ecs-bootstrap:cluster-tags", "env=prod")
}

fn fails(instance: Instance, operation: &str, code: &str, message: &str) -> Instance {
    make_called(instance, operation).aws_fault(operation, Fault::error(400, code, message))
}

fn answers(instance: Instance, operation: &str, reply: Reply) -> Instance {
    make_called(instance, operation).aws_fault(operation, Fault::Answers(reply))
}

fn expected(operation: &str) -> ExpectedCodes {
    match operation {
        "DescribeTags" => ExpectedCodes::all(&[11, 22]).doctor(&[11, 12, 22]).guard(&[21]),
        _ => JOINS,
    }
}

fn text_inputs() -> Vec<TextInput> {
    vec![
        text_input("aws/cluster-status", ExpectedCodes::verify(&[21, 23]), |instance, text| {
            instance.aws.change(|aws| aws.clusters.values_mut().for_each(|cluster| cluster.status = text.into()));
            instance
        }),
        text_input("aws/cluster-name", NO_CLUSTER, |instance, text| {
            let instance = by_tags(instance);
            instance.cluster(text, &[("env", "prod")])
        }),
        text_input("aws/cluster-candidates", NO_CLUSTER, |instance, text| {
            let instance = by_tags(instance);
            instance.cluster(text, &[("env", "stage")])
        }),
        text_input("aws/cluster-tag", NO_CLUSTER, |instance, text| {
            let instance = by_tags(instance);
            instance.cluster("other", &[("env", text)])
        }),
        text_input("aws/instance-status", ExpectedCodes::verify(&[13, 23, 24]), |instance, text| {
            let text = text.to_owned();
            instance.aws.change(|aws| aws.container_instances.push(container_instance(&text)));
            instance
        }),
        text_input("aws/hook-name", JOINS, |instance, text| {
            instance.aws.change(|aws| aws.waiting.hooks = vec![(text.into(), 30)]);
            instance
        }),
        text_input("aws/poll-endpoint", JOINS, |instance, text| {
            let endpoint = format!("https://127.0.0.1:9/{text}");
            instance.aws.change(|aws| aws.poll_endpoints = [endpoint.clone(), endpoint]);
            instance.agent_behaves(|agent| agent.never_connects = true)
        })
        .expected([ExpectedCodes::verify(&[11, 13, 23, 25]); 3]),
        text_input("aws/register-refused", ExpectedCodes::verify(&[22, 23]), |instance, text| {
            instance.aws_fault("RegisterContainerInstance", Fault::error(400, "AccessDeniedException", text))
        })
        .long(100_000),
        text_input("aws/register-unknown", ExpectedCodes::verify(&[13, 22, 23]), |instance, text| {
            instance.aws_fault("RegisterContainerInstance", Fault::error(400, "InvalidParameterException", text))
        })
        .long(100_000),
    ]
}

fn container_instance(status: &str) -> ContainerInstance {
    ContainerInstance {
        gpus: 0,
        arn: "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/0000000000000000000000000123abcd".into(),
        cluster: "prod".into(),
        instance_id: "i-0123456789abcdef0".into(),
        status: status.into(),
        agent_connected: true,
        attributes: Default::default(),
    }
}

/// One operation that fails, or answers with malformed or huge bodies.
fn rows_of(operation: &'static str) -> Vec<Row> {
    let mut rows = Vec::new();
    let expected = expected(operation);
    let mut add = |name: &str, plant: Box<dyn Fn(Instance) -> Instance + Send + Sync>| {
        let row = Row::new(format!("aws/{operation}/{name}"), expected, plant);
        // A signal that failed is sent again until the deadline.
        let is_signal = ["SignalResource", "CompleteLifecycleAction", "CreateTags"].contains(&operation);
        let row = if is_signal { row.seconds(8) } else { row };
        rows.push(if name == "signature" { row } else { row.brief() });
    };
    add(
        "signature",
        Box::new(move |instance| fails(instance, operation, "InvalidSignatureException", payload::SIGNATURE)),
    );
    add("escapes", Box::new(move |instance| fails(instance, operation, "SomethingNew", payload::ESCAPES)));
    add("code", Box::new(move |instance| fails(instance, operation, payload::SECRET, payload::ESCAPES_ON_ONE_LINE)));
    add("megabyte", Box::new(move |instance| fails(instance, operation, "SomethingNew", &payload::long(1_000_000))));
    add(
        "nested-xml",
        Box::new(move |instance| answers(instance, operation, Reply::new(200, "text/xml", "<a>".repeat(200_000)))),
    );
    add(
        "nested-error",
        Box::new(move |instance| {
            answers(instance, operation, Reply::new(400, "text/xml", "<Response><Errors>".repeat(50_000)))
        }),
    );
    add(
        "nested-json",
        Box::new(move |instance| {
            answers(instance, operation, Reply::new(200, "application/x-amz-json-1.1", "{\"a\":[".repeat(100_000)))
        }),
    );
    add(
        "cut-off",
        Box::new(move |instance| {
            let xml = format!("<{operation}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><tagSet>");
            let cut = if operation.ends_with("Clusters") { "{\"clusters\":[".to_owned() } else { xml };
            answers(instance, operation, Reply::new(200, "text/xml", cut))
        }),
    );
    add("empty", Box::new(move |instance| answers(instance, operation, Reply::new(200, "text/xml", ""))));
    add(
        "endless",
        Box::new(move |instance| {
            make_called(instance, operation)
                .aws_fault(operation, Fault::Endless(Reply::new(200, "text/xml", "<a/>".repeat(16 << 10))))
        }),
    );
    rows
}

pub fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = text_inputs().into_iter().flat_map(TextInput::rows).collect();
    rows.extend(OPERATIONS.into_iter().flat_map(rows_of));
    // On a busy host, the deadline of doctor may pass before all clusters are described.
    let many = NO_CLUSTER.doctor(&[11, 12, 20, 21]);
    rows.push(Row::new("aws/many-clusters", many, |instance| {
        let instance = by_tags(instance);
        (0..1200).fold(instance, |instance, number| instance.cluster(&format!("cluster-{number}"), &[("env", "stage")]))
    }));
    rows.push(Row::new("aws/many-matching-clusters", many, |instance| {
        let instance = by_tags(instance);
        (0..1200).fold(instance, |instance, number| instance.cluster(&format!("cluster-{number}"), &[("env", "prod")]))
    }));
    rows.push(Row::new(
        "aws/endless-pages",
        ExpectedCodes::all(&[11]).doctor(&[11, 12, 21]).guard(&[21]),
        |instance| {
            let page = r#"{"clusterArns":["arn:aws:ecs:eu-west-1:111122223333:cluster/x"],"nextToken":"again"}"#;
            let instance = by_tags(instance);
            answers(instance, "ListClusters", Reply::new(200, "application/x-amz-json-1.1", page))
        },
    ));
    rows
}
