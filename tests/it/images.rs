//! `ready.images`: an instance is ready when docker has the images.
//!
//! In: a simulated docker, registries, and what changes while docker pulls. Out: the verdict, the logins, and the calls.

use crate::daemons::wait_until_it_waits_for;
use crate::support::aws::tasks::Service;
use crate::support::aws::{Fault, REGISTRY_PASSWORD};
use crate::support::registry::RemoteImage;
use crate::support::{Instance, Outcome, Running};
use std::time::Duration;

const ECR: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/app:1";
const UNIT: &str = "Unit ecs-bootstrap-images.service";
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// An instance whose last run names the images, with docker running.
fn configured(instance: Instance, settings: &[&str]) -> Instance {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let outcome = instance.run(&["run", "--no-wait"].into_iter().chain(settings).collect::<Vec<_>>());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    instance
}

/// Adds an image to the registries.
fn push(instance: &Instance, image: &str, login: Option<&'static str>) {
    let remote = RemoteImage { layers: vec![70_000_000, 30_500_000], login, takes: Duration::ZERO };
    instance.docker.change(|docker| drop(docker.images.in_registries.insert(image.to_owned(), remote)));
}

fn pulls(instance: &Instance) -> Vec<(String, String)> {
    let mut pulls = Vec::new();
    instance.docker.change(|docker| pulls.clone_from(&docker.images.pulls));
    pulls
}

fn is_job(call: &str) -> bool {
    call.contains(UNIT) && !call.starts_with("Reset")
}

/// How often a run has started the unit. It is not installed, so that the first start fails and writes it.
fn starts(instance: &Instance) -> usize {
    assert!(instance.disk.text("run/systemd/system/ecs-bootstrap-images.service").contains(" pull-images"));
    instance.systemd.calls().iter().filter(|call| is_job(call)).count() - 1
}

/// Starts to pull `nginx:1`, which takes this long, and returns when docker pulls it.
fn start_slow_pull(instance: &Instance, takes: Duration) -> Running {
    let slow = RemoteImage { takes, ..RemoteImage::default() };
    instance.docker.change(|docker| drop(docker.images.in_registries.insert("nginx:1".to_owned(), slow)));
    let pulling = instance.start(&["pull-images"]);
    while pulls(instance).is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    pulling
}

fn said(outcome: &Outcome) -> String {
    format!("{}{}", outcome.stdout, outcome.stderr)
}

#[test]
fn an_image_of_ecr_is_pulled_with_the_role_and_the_token_is_shown_nowhere() {
    let instance = configured(Instance::new(), &[&format!("ready.images={ECR}")]);
    assert_eq!(starts(&instance), 1);
    push(&instance, ECR, Some("AWS:secret-of-the-registry-ecr-eu-west-1"));
    let pulled = instance.run(&["pull-images", "--verbose"]);
    assert_eq!(pulled.code, Some(0), "{pulled:?}");
    assert!(pulled.stdout.starts_with(&format!("image: `{ECR}` is present, 100.5 MB in ")), "{pulled:?}");
    let verified = instance.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let status = instance.run(&["status"]);
    assert!(status.stdout.contains(&format!("image: `{ECR}` is present, 100.5 MB in ")), "{status:?}");
    let json: serde_json::Value = serde_json::from_str(&instance.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(json["images"][0]["bytes"], 100_500_000, "{json}");
    let doctor = instance.run(&["doctor"]);
    for outcome in [&pulled, &verified, &status, &doctor] {
        assert!(!said(outcome).contains(REGISTRY_PASSWORD), "{outcome:?}");
    }
    let stored = instance.disk.text("run/ecs-bootstrap/images.json");
    assert!(
        !stored.contains(REGISTRY_PASSWORD) && !format!("{:?}", instance.journal.entries()).contains(REGISTRY_PASSWORD)
    );
}

#[test]
fn each_registry_gets_its_own_login() {
    let other = "444455556666.dkr.ecr.us-east-2.amazonaws.com/app:1";
    let second = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/proxy:2";
    let public = "public.ecr.aws/nginx/nginx:1";
    let images = format!("ready.images={ECR},{other},{second},{public},quay.io/a/b:1,nginx:1,docker.io/a/b:1");
    let auth = r#"agent.ECS_ENGINE_AUTH_DATA={"docker.io":{"username":"hub","password":"p","email":"e"}}"#;
    let instance = configured(Instance::new(), &[&images, "agent.ECS_ENGINE_AUTH_TYPE=docker", auth]);
    for image in [ECR, other, second, public, "quay.io/a/b:1", "nginx:1", "docker.io/a/b:1"] {
        push(&instance, image, None);
    }
    assert_eq!(instance.run(&["pull-images"]).code, Some(0));
    let mut logins = pulls(&instance);
    logins.sort();
    let of = |image: &str, login: &str| (image.to_owned(), login.to_owned());
    let own = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
    let mut expected = [
        of(ECR, &format!("AWS:{REGISTRY_PASSWORD}-ecr-eu-west-1 at {own}")),
        of(second, &format!("AWS:{REGISTRY_PASSWORD}-ecr-eu-west-1 at {own}")),
        of(other, &format!("AWS:{REGISTRY_PASSWORD}-ecr-us-east-2 at 444455556666.dkr.ecr.us-east-2.amazonaws.com")),
        of(public, &format!("AWS:{REGISTRY_PASSWORD}-ecr-public-us-east-1 at public.ecr.aws")),
        of("quay.io/a/b:1", ""),
        of("nginx:1", "hub:p at https://index.docker.io/v1/"),
        of("docker.io/a/b:1", "hub:p at https://index.docker.io/v1/"),
    ];
    expected.sort();
    assert_eq!(logins, expected);
    // One token for each region.
    assert_eq!(
        (instance.aws.count("GetAuthorizationToken"), instance.aws.count("PublicGetAuthorizationToken")),
        (2, 1)
    );
}

#[test]
fn the_public_registry_is_used_anonymously_without_the_permission() {
    let public = "public.ecr.aws/nginx/nginx:1";
    let denied = Fault::denied("ecr-public:GetAuthorizationToken");
    let instance = Instance::new().aws_fault("PublicGetAuthorizationToken", denied);
    let instance = configured(instance, &[&format!("ready.images={public}")]);
    push(&instance, public, None);
    assert_eq!(instance.run(&["pull-images"]).code, Some(0));
    assert_eq!(pulls(&instance), [(public.to_owned(), String::new())]);
}

#[test]
fn at_the_deadline_each_reason_is_a_cause_or_a_note() {
    type Change = fn(&Instance);
    let denied: Change = |instance| push(instance, "registry.example.com/app:1", Some("u:p"));
    let absent: Change = |_| {};
    let large: Change = |instance| {
        std::fs::create_dir_all(instance.disk.path("var/lib/docker")).unwrap();
        let remote = RemoteImage { layers: vec![1 << 60], ..RemoteImage::default() };
        let image = "registry.example.com/app:1".to_owned();
        instance.docker.change(|docker| drop(docker.images.in_registries.insert(image, remote)));
    };
    let limited: Change = |instance| {
        let error = (99, "toomanyrequests: You have reached your pull rate limit.");
        instance.docker.change(|docker| docker.images.failures = Some(error));
    };
    for (change, cause, code, seen) in [
        (denied, "images-denied", 22, "no basic auth credentials"),
        (absent, "images-not-found", 13, "manifest unknown"),
        (large, "images-no-space", 13, "of compressed layers are not yet downloaded"),
        (limited, "images-missing", 13, "pull rate limit"),
    ] {
        for (at_deadline, code) in [("fail", code), ("allow", 0)] {
            let at_deadline = format!("ready.at-deadline={at_deadline}");
            let images = ["ready.images=registry.example.com/app:1", "ready.deadline=4s", &at_deadline];
            let instance = configured(Instance::new(), &images);
            change(&instance);
            let pulled = instance.run(&["pull-images"]);
            let ends_well = at_deadline.ends_with("allow");
            assert_eq!(pulled.code, Some(if ends_well { 0 } else { 13 }), "{pulled:?}");
            assert!(pulled.stdout.contains(seen), "{pulled:?}");
            let outcome = instance.run(&["verify"]);
            assert_eq!(outcome.code, Some(code), "{cause} {outcome:?}");
            let text = said(&outcome);
            assert!(text.contains(&format!("[{cause}]")) && text.contains(seen), "{cause} {outcome:?}");
            let doctor = instance.run(&["doctor"]);
            assert!(doctor.stdout.contains(&format!("[{cause}]")), "{cause} {doctor:?}");
        }
    }
}

#[test]
fn verify_waits_while_docker_pulls_and_ends_when_the_pulls_end() {
    let instance = configured(Instance::new(), &["ready.images=nginx:1", "ready.deadline=60s"]);
    let verifying = instance.start(&["verify"]);
    wait_until_it_waits_for(&instance, "the images");
    push(&instance, "nginx:1", None);
    instance.docker.change(|docker| docker.images.failures = Some((1, "received unexpected HTTP status: 503")));
    let pulling = instance.start(&["pull-images"]);
    wait_until_it_waits_for(&instance, "the images `nginx:1`");
    assert_eq!(pulling.wait().code, Some(0));
    let outcome = verifying.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(pulls(&instance).len(), 2, "the failed pull is repeated");
}

#[test]
fn an_image_and_a_permission_that_arrive_late_are_enough() {
    let denied = Fault::denied("ecr:GetAuthorizationToken");
    let instance = Instance::new();
    instance.aws.fail_first("GetAuthorizationToken", 1, denied);
    let instance = configured(instance, &[&format!("ready.images={ECR}"), "ready.deadline=60s"]);
    let pulling = instance.start(&["pull-images"]);
    while pulls(&instance).is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    push(&instance, ECR, None);
    let outcome = pulling.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(instance.aws.count("GetAuthorizationToken"), 2);
}

#[test]
fn docker_that_starts_late_is_waited_for() {
    let instance = configured(Instance::new(), &["ready.images=nginx:1", "ready.deadline=60s"]);
    push(&instance, "nginx:1", None);
    instance.docker.stop();
    let pulling = instance.start(&["pull-images"]);
    let stored = || std::fs::read_to_string(instance.disk.path("run/ecs-bootstrap/images.json")).unwrap_or_default();
    while !stored().contains("docker socket") {
        std::thread::sleep(Duration::from_millis(20));
    }
    instance.docker.start();
    assert_eq!(pulling.wait().code, Some(0));
}

#[test]
fn the_images_of_services_are_pulled_too() {
    let instance = Instance::new();
    let service = |name: &str, image| Service { image, ..Service::replica(name, None) };
    instance.aws.change(|aws| aws.services = vec![service("web", ECR), service("log", "nginx:1")]);
    let settings = ["ready.images=nginx:1", "ready.images-of-services=web,log", "ready.deadline=60s"];
    let instance = configured(instance, &settings);
    for image in [ECR, "nginx:1"] {
        push(&instance, image, None);
    }
    let outcome = instance.run(&["pull-images", "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let mut images: Vec<String> = pulls(&instance).into_iter().map(|(image, _)| image).collect();
    images.sort();
    assert_eq!(images, [ECR, "nginx:1"], "an image that is also named is pulled once");
    assert_eq!(instance.run(&["verify"]).code, Some(0));
}

#[test]
fn a_service_that_cannot_be_read_is_named() {
    for (fault, service, cause, seen) in [
        (None, "web", "images-not-found", "has no active service `web`"),
        (Some(Fault::denied("ecs:DescribeServices")), "log", "images-denied", "ecs:DescribeServices: denied"),
    ] {
        let instance = Instance::new();
        instance.aws.change(|aws| aws.services = vec![Service::replica("log", None)]);
        let instance = fault.into_iter().fold(instance, |one, fault| one.aws_fault("DescribeServices", fault));
        let service = format!("ready.images-of-services={service}");
        let instance = configured(instance, &[&service, "ready.deadline=3s"]);
        assert_eq!(instance.run(&["pull-images"]).code, Some(13));
        let text = said(&instance.run(&["verify"]));
        assert!(text.contains(&format!("[{cause}]")) && text.contains(seen), "{text}");
    }
}

#[test]
fn an_image_that_docker_has_is_not_pulled_if_the_agent_would_not() {
    let fixed = format!("nginx@{DIGEST}");
    for (setting, image, count) in [
        ("agent.ECS_IMAGE_PULL_BEHAVIOR=prefer-cached", "nginx:1", 0),
        ("agent.ECS_IMAGE_PULL_BEHAVIOR=once", "nginx:1", 0),
        ("agent.ECS_IMAGE_PULL_BEHAVIOR=default", "nginx:1", 1),
        ("agent.ECS_LOGLEVEL=info", fixed.as_str(), 0),
    ] {
        let instance = configured(Instance::new(), &[setting, &format!("ready.images={image}")]);
        push(&instance, image, None);
        instance.docker.change(|docker| docker.images.present.extend([image.to_owned()]));
        assert_eq!(instance.run(&["pull-images"]).code, Some(0), "{setting}");
        assert_eq!(pulls(&instance).len(), count, "{setting}");
    }
}

#[test]
fn off_costs_nothing_and_a_second_run_pulls_nothing() {
    let instance = configured(Instance::new(), &[]);
    assert!(!instance.systemd.calls().iter().any(|call| is_job(call)));
    assert!(!instance.disk.text("run/ecs-bootstrap/plan.json").contains("images"));
    assert_eq!(instance.run(&["verify"]).code, Some(0));
    let docker = instance.docker.requests();
    assert!(
        docker.iter().all(|request| !request.path.contains("images") && !request.path.contains("info")),
        "{docker:?}"
    );
    let idle = instance.run(&["pull-images"]);
    assert_eq!(
        (idle.code, idle.stdout.as_str()),
        (Some(0), "no image is named (`ready.images`, `ready.images-of-services`)\n")
    );

    let settings = ["ready.images=nginx:1"];
    let instance = configured(Instance::new(), &settings);
    push(&instance, "nginx:1", None);
    assert_eq!(instance.run(&["pull-images"]).code, Some(0));
    let instance = configured(instance, &settings);
    assert_eq!(starts(&instance), 1, "the images are present");
    let instance = configured(instance, &["ready.images=nginx:1,nginx:2"]);
    assert_eq!(starts(&instance), 2);
}

#[test]
fn with_a_hold_the_pulls_are_queued_before_the_agent() {
    for (hold, is_first) in [("true", true), ("false", false)] {
        let hold = format!("ready.hold-registration={hold}");
        let instance = configured(Instance::new(), &["ready.images=nginx:1", &hold]);
        let calls = instance.systemd.calls();
        let at = |unit: &str| calls.iter().position(|call| call.starts_with(&format!("StartUnit {unit}"))).unwrap();
        assert_eq!(at("ecs-bootstrap-images.service") < at("ecs.service"), is_first, "{calls:?}");
    }
}

#[test]
fn a_hold_without_images_is_a_warning() {
    let outcome = Instance::new().run(&["plan", "--set", "ready.hold-registration=true"]);
    assert!(said(&outcome).contains("`ready.hold-registration` has no effect"), "{outcome:?}");
    let images = ["plan", "--set", "ready.hold-registration=true", "--set", "ready.images=nginx"];
    assert!(!said(&Instance::new().run(&images)).contains("no effect"));
}

#[test]
fn only_one_process_pulls() {
    let instance = configured(Instance::new(), &["ready.images=nginx:1", "ready.deadline=20s"]);
    let first = start_slow_pull(&instance, Duration::from_secs(4));
    let second = instance.run(&["pull-images"]);
    assert_eq!((second.code, second.stderr.as_str()), (Some(12), "error: another process pulls the images\n"));
    assert_eq!(first.wait().code, Some(0));
}

#[test]
fn names_that_docker_does_not_accept_are_refused() {
    for wrong in ["App", "a b", "none,nginx", "a:1:2", "x/y/", ""] {
        let outcome = Instance::new().run(&["plan", "--set", &format!("ready.images={wrong}")]);
        assert_eq!(outcome.code, Some(20), "{wrong:?} {outcome:?}");
    }
}

/// The remedy of `images-not-found`: the image is pushed, and a run pulls again. The state of the earlier pulls decides nothing.
#[test]
fn a_run_after_pulls_that_failed_waits_for_new_ones() {
    let settings = ["ready.images=nginx:1", "ready.deadline=3s"];
    let instance = configured(Instance::new(), &settings);
    assert_eq!(instance.run(&["pull-images"]).code, Some(13));
    assert_eq!(instance.run(&["verify"]).code, Some(13));
    push(&instance, "nginx:1", None);
    let instance = configured(instance, &settings);
    assert_eq!(starts(&instance), 2);
    let verifying = instance.start(&["verify"]);
    assert_eq!(instance.run(&["pull-images"]).code, Some(0));
    assert_eq!(verifying.wait().code, Some(0));
}

#[test]
fn a_run_that_names_other_images_replaces_pulls_that_run() {
    let instance = configured(Instance::new(), &["ready.images=nginx:1"]);
    let pulling = start_slow_pull(&instance, Duration::from_secs(30));
    let instance = configured(instance, &["ready.images=nginx:2"]);
    let calls = instance.systemd.calls();
    assert!(calls.iter().any(|call| call.starts_with("RestartUnit ecs-bootstrap-images.service")), "{calls:?}");
    pulling.kill();
}

#[test]
fn pulls_whose_process_was_killed_have_ended() {
    let instance = configured(Instance::new(), &["ready.images=nginx:1", "ready.deadline=60s"]);
    let pulling = start_slow_pull(&instance, Duration::from_secs(60));
    let is_pulling = |instance: &Instance| instance.run(&["status"]).stdout.contains("`nginx:1` is pulled");
    assert!(is_pulling(&instance));
    pulling.kill();
    assert!(!is_pulling(&instance));
    let outcome = instance.run(&["verify"]);
    assert_eq!(outcome.code, Some(13), "{outcome:?}");
    assert!(outcome.duration < Duration::from_secs(30), "{outcome:?}");
}

#[test]
fn credentials_and_a_cluster_that_user_data_writes_are_used() {
    let instance = Instance::new().without_tags();
    instance.aws.change(|aws| {
        aws.add_cluster("late", &[]);
        aws.services = vec![Service { image: "registry.example.com/app:1", ..Service::replica("web", None) }];
    });
    let instance = instance.user_data_runs();
    let instance = configured(instance, &["ready.images-of-services=web", "ready.deadline=60s"]);
    push(&instance, "registry.example.com/app:1", Some("u:p"));
    instance.docker.start();
    let pulling = instance.start(&["pull-images"]);
    let stored = || std::fs::read_to_string(instance.disk.path("run/ecs-bootstrap/images.json")).unwrap_or_default();
    while !stored().contains("no source names the cluster") {
        std::thread::sleep(Duration::from_millis(20));
    }
    let auth = r#"ECS_ENGINE_AUTH_DATA={"registry.example.com":{"username":"u","password":"p"}}"#;
    instance.disk.write("etc/ecs/ecs.config", format!("ECS_CLUSTER=prod\nECS_ENGINE_AUTH_TYPE=docker\n{auth}\n"));
    let outcome = pulling.wait();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn an_image_that_is_too_large_does_not_end_the_pulls_of_others() {
    let images = "ready.images=registry.example.com/large:1,nginx:1";
    let instance = configured(Instance::new(), &[images, "ready.deadline=20s"]);
    std::fs::create_dir_all(instance.disk.path("var/lib/docker")).unwrap();
    let remote = RemoteImage { layers: vec![1 << 60], ..RemoteImage::default() };
    let large = "registry.example.com/large:1".to_owned();
    instance.docker.change(|docker| drop(docker.images.in_registries.insert(large, remote)));
    let pulling = instance.start(&["pull-images"]);
    while pulls(&instance).len() < 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    push(&instance, "nginx:1", None);
    let outcome = pulling.wait();
    assert_eq!(outcome.code, Some(13), "{outcome:?}");
    assert!(
        outcome.stdout.contains("large:1` is missing") && outcome.stdout.contains("`nginx:1` is present"),
        "{outcome:?}"
    );
}

#[test]
fn a_login_in_an_error_of_docker_is_hidden() {
    let instance = configured(Instance::new(), &[&format!("ready.images={ECR}"), "ready.deadline=4s"]);
    instance.docker.change(|docker| docker.images.failures = Some((99, "bad login LOGIN")));
    let pulled = instance.run(&["pull-images", "--verbose"]);
    let verified = instance.run(&["verify"]);
    assert!(verified.stderr.contains("bad login") || verified.stdout.contains("bad login"), "{verified:?}");
    let stored = instance.disk.text("run/ecs-bootstrap/images.json");
    let journal = format!("{:?}", instance.journal.entries());
    for text in [said(&pulled), said(&verified), stored, journal] {
        assert!(!text.contains(REGISTRY_PASSWORD), "{text}");
    }
}

#[test]
fn pulls_of_settings_that_were_removed_are_stopped() {
    let instance = configured(Instance::new(), &["ready.images=nginx:1"]);
    let pulling = start_slow_pull(&instance, Duration::from_secs(60));
    let instance = configured(instance, &[]);
    let calls = instance.systemd.calls();
    assert!(calls.iter().any(|call| call.starts_with("StopUnit ecs-bootstrap-images.service")), "{calls:?}");
    assert!(!instance.run(&["status"]).stdout.contains("image:"));
    pulling.kill();
}
