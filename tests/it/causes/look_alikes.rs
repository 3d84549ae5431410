//! Two faults of different layers at once: the cause is in the first broken layer. See `causes/mod.rs`.

use super::faults::Change;
use super::faults::agent::{gives_up, not_connected, panics};
use super::faults::aws::{clock, cluster_inactive, denied, no_cluster, other_account};
use super::faults::files::{bad_json, misspelt, quoted, script_failed};
use super::faults::host::{agent_absent, docker_absent, docker_failed, image_damaged, masked, no_room_for_docker};
use super::faults::network::{
    dns_down, dropped, imds_off, intercepted, no_credentials_by_proxy, no_role, proxy_for_metadata, refused,
    role_not_assumable,
};
use super::{ExpectedCause, run};
use crate::file_systems::full_disk;
use crate::support::Instance;
use std::sync::atomic::{AtomicUsize, Ordering};

fn gpu(instance: Instance) -> Instance {
    image_damaged(instance).ecs_config("ECS_ENABLE_GPU_SUPPORT=true\n")
}

/// The two faults, and the expected cause.
const PAIRS: &[(Change, Change, ExpectedCause<'static>)] = &[
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
            let outcome = run(&instance, &["verify.deadline=12s", "tags.wait=1s"]);
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
