//! Two faults of different layers at once: the cause is in the first broken layer. See `causes/mod.rs`.

use super::{ExpectedCause, SelfSigned, run};
use crate::file_systems::full_disk;
use crate::support::port::{BlackHole, Port};
use crate::support::systemd::Start;
use crate::support::{Instance, aws, imds};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

type Fault = fn(Instance) -> Instance;

fn clock(instance: Instance) -> Instance {
    instance.aws.change(|aws| aws.date_ahead = 7200);
    instance
}

fn quoted(instance: Instance) -> Instance {
    instance.without_tags().ecs_config("ECS_CLUSTER=\"prod\"\n")
}

fn bad_json(instance: Instance) -> Instance {
    instance.ecs_config("ECS_INSTANCE_ATTRIBUTES={tier: web}\n")
}

fn misspelt(instance: Instance) -> Instance {
    instance.without_tags().ecs_config("ECS_CLUSTR=prod\n")
}

fn script_failed(instance: Instance) -> Instance {
    let errors = concat!(
        r#"{"v1": {"datasource": "DataSourceEc2Local", "errors": ["#,
        r#""('scripts_user', RuntimeError('Runparts: 1 failures (part-001) in 1 attempted commands'))"]}}"#
    );
    let instance = instance.without_tags().user_data("#!/bin/bash\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config\n");
    instance.file("run/cloud-init/result.json", errors)
}

fn docker_absent(instance: Instance) -> Instance {
    instance.unit("docker.service", |unit| unit.absent())
}

fn docker_failed(instance: Instance) -> Instance {
    instance.unit("docker.service", |unit| unit.start = Start::Fails("failed".into()))
}

fn no_room_for_docker(instance: Instance) -> Instance {
    let lines = "Starting docker.service - Docker Application Container Engine...\nfailed to start daemon: mkdir \
                 /var/lib/docker: no space left on device\n";
    docker_failed(instance).journal_has("docker.service", lines)
}

fn agent_absent(instance: Instance) -> Instance {
    instance.unit("ecs.service", |unit| unit.absent())
}

fn masked(instance: Instance) -> Instance {
    instance.unit("ecs.service", |unit| unit.masked())
}

fn image_damaged(instance: Instance) -> Instance {
    let error = "could not load Amazon Elastic Container Service Agent into Docker: archive/tar: invalid header";
    let instance = instance.agent_behaves(|agent| agent.init_error = error);
    instance.unit("ecs.service", |unit| unit.start = Start::Retried(255))
}

fn imds_off(instance: Instance) -> Instance {
    instance.imds_fault(imds::Fault::Off)
}

fn no_role(instance: Instance) -> Instance {
    instance.without_role()
}

fn role_not_assumable(instance: Instance) -> Instance {
    instance.imds.change(|imds| imds.role = imds::Role::NotAssumable("ecsInstanceRole".into()));
    instance
}

fn refused(instance: Instance) -> Instance {
    // The port is closed as soon as `Port` is dropped.
    let address = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST)).address();
    let text = format!(
        "operation error ECS: RegisterContainerInstance, request send failed, dial tcp {address}: connect: connection \
         refused"
    );
    let instance = instance.env("AWS_ENDPOINT_URL", format!("http://{address}"));
    instance.agent_behaves(|agent| agent.crashes_with = Some(text))
}

fn dropped(instance: Instance) -> Instance {
    let hole: &'static BlackHole = Box::leak(Box::new(BlackHole::open()));
    let text =
        "operation error ECS: RegisterContainerInstance, request send failed, dial tcp 52.0.0.1:443: i/o timeout";
    let instance = instance.env("AWS_ENDPOINT_URL", hole.endpoint());
    instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()))
}

fn dns_down(instance: Instance) -> Instance {
    let text = "operation error ECS: RegisterContainerInstance, request send failed, dial tcp: lookup \
                ecs.eu-west-1.amazonaws.com on 10.0.0.2:53: read udp: i/o timeout";
    instance.without_name_server().agent_behaves(|agent| agent.crashes_with = Some(text.into()))
}

fn intercepted(instance: Instance) -> Instance {
    let text = "operation error ECS: RegisterContainerInstance, request send failed, tls: failed to verify \
                certificate: x509: certificate signed by unknown authority";
    let instance = instance.env("AWS_ENDPOINT_URL", SelfSigned::start().endpoint());
    instance.agent_behaves(|agent| agent.crashes_with = Some(text.into()))
}

fn proxy_for_metadata(instance: Instance) -> Instance {
    instance.ecs_config("HTTP_PROXY=127.0.0.1:9\n")
}

fn no_credentials_by_proxy(instance: Instance) -> Instance {
    let text = "operation error ECS: RegisterContainerInstance, get identity: get credentials: failed to refresh \
                cached credentials, no EC2 IMDS role found, proxyconnect tcp: dial tcp 127.0.0.1:9: connect: \
                connection refused";
    proxy_for_metadata(instance).agent_behaves(|agent| agent.crashes_with = Some(text.into()))
}

fn denied(instance: Instance) -> Instance {
    instance.aws_fault("RegisterContainerInstance", aws::Fault::denied("ecs:RegisterContainerInstance"))
}

fn no_cluster(instance: Instance) -> Instance {
    instance.without_cluster("prod")
}

fn cluster_inactive(instance: Instance) -> Instance {
    instance.aws.change(|aws| aws.clusters.get_mut("prod").unwrap().status = "INACTIVE".into());
    instance
}

fn other_account(instance: Instance) -> Instance {
    instance.tag("ecs-bootstrap:cluster", "arn:aws:ecs:eu-west-1:999988887777:cluster/prod")
}

fn gives_up(instance: Instance) -> Instance {
    instance.agent_behaves(|agent| agent.gives_up_with = Some("InvalidParameterException: something new".into()))
}

fn panics(instance: Instance) -> Instance {
    instance.agent_behaves(|agent| agent.dies_with = Some((2, "panic: nil".into())))
}

fn not_connected(instance: Instance) -> Instance {
    instance.agent_behaves(|agent| agent.never_connects = true)
}

fn gpu(instance: Instance) -> Instance {
    image_damaged(instance).ecs_config("ECS_ENABLE_GPU_SUPPORT=true\n")
}

/// The two faults, and the expected cause.
const PAIRS: &[(Fault, Fault, ExpectedCause<'static>)] = &[
    (clock, denied, ExpectedCause("clock-skew", 24, "behind the Date")),
    (clock, bad_json, ExpectedCause("clock-skew", 24, "behind the Date")),
    (clock, docker_failed, ExpectedCause("clock-skew", 24, "behind the Date")),
    (clock, no_cluster, ExpectedCause("clock-skew", 24, "behind the Date")),
    (clock, gives_up, ExpectedCause("clock-skew", 24, "behind the Date")),
    (quoted, no_role, ExpectedCause("config-quoted", 21, "is quoted")),
    (quoted, docker_failed, ExpectedCause("config-quoted", 21, "is quoted")),
    (bad_json, docker_absent, ExpectedCause("config-bad-json", 20, "ECS_INSTANCE_ATTRIBUTES")),
    (bad_json, no_role, ExpectedCause("config-bad-json", 20, "ECS_INSTANCE_ATTRIBUTES")),
    (bad_json, denied, ExpectedCause("config-bad-json", 20, "ECS_INSTANCE_ATTRIBUTES")),
    (misspelt, script_failed, ExpectedCause("config-key-misspelt", 21, "ECS_CLUSTR")),
    (script_failed, docker_failed, ExpectedCause("user-data-failed", 21, "scripts-user")),
    // Without a role it is unknown whether a tag names the cluster, so it is unknown whether user data had to.
    (script_failed, no_role, ExpectedCause("no-instance-role", 22, "404")),
    (full_disk, docker_failed, ExpectedCause("disk-full", 24, "/etc/ecs/ecs.config")),
    (full_disk, no_cluster, ExpectedCause("disk-full", 24, "/etc/ecs/ecs.config")),
    (no_room_for_docker, no_cluster, ExpectedCause("disk-full", 24, "no space left")),
    (no_room_for_docker, no_role, ExpectedCause("disk-full", 24, "no space left")),
    (docker_failed, no_cluster, ExpectedCause("docker-failed", 24, "docker.service is failed")),
    (docker_absent, agent_absent, ExpectedCause("docker-absent", 24, "no docker.service")),
    (docker_failed, no_role, ExpectedCause("docker-failed", 24, "docker.service is failed")),
    (docker_failed, other_account, ExpectedCause("docker-failed", 24, "docker.service is failed")),
    (agent_absent, no_role, ExpectedCause("ecs-init-absent", 24, "neither ecs.service")),
    (masked, cluster_inactive, ExpectedCause("unit-masked", 24, "is masked")),
    (image_damaged, no_cluster, ExpectedCause("agent-image-load-failed", 24, "could not load")),
    (gpu, no_role, ExpectedCause("agent-image-load-failed", 24, "could not load")),
    (imds_off, docker_failed, ExpectedCause("imds-disabled", 22, "403")),
    (no_credentials_by_proxy, no_cluster, ExpectedCause("imds-proxied", 22, "NO_PROXY does not include")),
    (no_role, proxy_for_metadata, ExpectedCause("no-instance-role", 22, "404")),
    (no_role, other_account, ExpectedCause("no-instance-role", 22, "404")),
    (no_role, dns_down, ExpectedCause("no-instance-role", 22, "404")),
    (role_not_assumable, dropped, ExpectedCause("role-not-assumable", 22, "AssumeRoleUnauthorizedAccess")),
    (no_role, intercepted, ExpectedCause("no-instance-role", 22, "404")),
    (refused, bad_json, ExpectedCause("config-bad-json", 20, "ECS_INSTANCE_ATTRIBUTES")),
    (intercepted, other_account, ExpectedCause("tls-untrusted", 25, "issued by")),
    (denied, cluster_inactive, ExpectedCause("register-denied", 22, "is not authorized")),
    (cluster_inactive, gives_up, ExpectedCause("cluster-inactive", 21, "INACTIVE")),
    (other_account, panics, ExpectedCause("cluster-other-account", 21, "999988887777")),
    (no_cluster, not_connected, ExpectedCause("cluster-not-found", 21, "Cluster not found")),
];

#[test]
fn of_two_faults_the_one_in_the_first_layer_is_reported() {
    let next = AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    let play = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((first, second, ExpectedCause(id, code, seen))) = PAIRS.get(at) else { return };
            let instance = second(first(Instance::new()));
            let outcome = run(&instance, &["verify.deadline=6s", "tags.wait=1s"]);
            let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                ExpectedCause(id, *code, seen).check(&instance, &outcome);
            }));
            if played.is_err() {
                wrong.lock().unwrap().push(format!("row {at} ({id} {code}): {:?} {}", outcome.code, outcome.stderr));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            std::thread::Builder::new().name("causes::pairs".into()).spawn_scoped(scope, play).unwrap();
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), PAIRS.len(), wrong.join("\n"));
}
