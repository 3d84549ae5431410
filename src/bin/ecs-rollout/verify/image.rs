//! Images in ECR: whether they exist, and for which platforms they are. Images of other registries are not verified.

use std::collections::{BTreeMap, BTreeSet};

use ecs_bootstrap::boundary::aws::verification::{ImageName, Manifest};
use serde_json::Value;

use super::Checks;
use super::target::Place;
use crate::causes;

impl Checks<'_> {
    pub(super) async fn images(&self) {
        let mut images: BTreeMap<ImageName, (String, String)> = BTreeMap::new();
        for container in self.target.containers() {
            let text = |member: &str| container[member].as_str().unwrap_or_default().to_owned();
            if let Some(image) = of_ecr(&text("image")) {
                images.entry(image).or_insert((text("name"), text("image")));
            }
        }
        if images.is_empty() {
            return;
        }
        let all = images.iter().map(|(image, (container, text))| self.image(image, container, text));
        futures_util::future::join_all(all).await;
    }

    async fn image(&self, image: &ImageName, container: &str, text: &str) {
        let what = format!("image `{text}`");
        let call = async |deadline| self.aws.image_manifest(image, deadline).await;
        match self.ask_twice(&what, |answer: &Option<_>| answer.is_none(), call).await {
            Some(None) if self.is_imported(image, text).await == Some(false) => {
                self.fail(
                    &causes::IMAGE_ABSENT,
                    format!("the {what} of container `{container}` does not exist in ECR"),
                );
            }
            None | Some(None) => {}
            Some(Some(manifest)) => self.image_platforms(&manifest, container, &what).await,
        }
    }

    /// Whether a pull-through cache rule imports the image when it is pulled; `None` if that is not known.
    async fn is_imported(&self, image: &ImageName, text: &str) -> Option<bool> {
        let what = format!("image `{text}`, which does not exist in ECR unless a pull-through cache rule imports it");
        let call = async |deadline| self.aws.pull_through_prefixes(&image.registry, &image.region, deadline).await;
        let prefixes = self.ask(&what, call).await?;
        let is_below = |prefix: &String| {
            // `ROOT` is for all repositories without another rule (ECR API Reference, "PullThroughCacheRule").
            prefix == "ROOT" || image.repository.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        Some(prefixes.iter().any(is_below))
    }

    async fn image_platforms(&self, manifest: &Manifest, container: &str, what: &str) {
        let offered = platforms(&manifest.0);
        if offered.is_empty() {
            return;
        }
        let wanted = self.wanted_platforms().await;
        if wanted.is_empty() || wanted.iter().any(|wanted| offered.iter().any(|one| runs_on(one, wanted))) {
            return;
        }
        let list = |platforms: &BTreeSet<Platform>| {
            platforms.iter().map(|one| format!("{}/{}", one.os, one.architecture)).collect::<Vec<_>>().join(", ")
        };
        let evidence = format!(
            "the {what} of container `{container}` is for {}, but the tasks run on {}",
            list(&offered),
            list(&wanted)
        );
        self.fail(&causes::IMAGE_OTHER_PLATFORM, evidence);
    }

    /// The platforms that the tasks may run on; empty if they are not known.
    async fn wanted_platforms(&self) -> BTreeSet<Platform> {
        if self.target.is_fargate() {
            return BTreeSet::from([fargate_platform(&self.target.task["runtimePlatform"])]);
        }
        // A capacity provider may start instances of another architecture than those that are registered.
        if !matches!(self.place().await, Place::Instances | Place::Providers { may_grow: false, .. }) {
            return BTreeSet::new();
        }
        let Some(instances) = self.instances().await.filter(|instances| instances.is_complete) else {
            return BTreeSet::new();
        };
        let platforms: Option<BTreeSet<Platform>> =
            instances.list.iter().map(|instance| instance_platform(&instance.attributes)).collect();
        platforms.unwrap_or_default()
    }
}

/// An operating system and an architecture, with the names of OCI (OCI Image Format, "Image Index").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Platform {
    os: String,
    architecture: String,
}

impl Platform {
    /// From the names of ECS: `X86_64`, `ARM64`, `LINUX`, `WINDOWS_SERVER_2022_CORE`, in any case.
    fn of_ecs(os: &str, architecture: &str) -> Platform {
        let os = if os.to_ascii_lowercase().starts_with("windows") { "windows" } else { "linux" };
        let architecture = architecture.to_ascii_lowercase();
        let architecture = match architecture.as_str() {
            "x86_64" => "amd64".to_owned(),
            _ => architecture,
        };
        Platform { os: os.to_owned(), architecture }
    }
}

/// Fargate runs Linux on X86_64 unless the task definition says otherwise (ECS API Reference, "RuntimePlatform").
fn fargate_platform(runtime: &Value) -> Platform {
    Platform::of_ecs(
        runtime["operatingSystemFamily"].as_str().unwrap_or("LINUX"),
        runtime["cpuArchitecture"].as_str().unwrap_or("X86_64"),
    )
}

/// The agent registers both attributes (ECS Developer Guide, "Amazon ECS container instance attributes").
pub(super) const PLATFORM_ATTRIBUTES: [&str; 2] = ["ecs.os-type", "ecs.cpu-architecture"];

fn instance_platform(attributes: &BTreeMap<String, String>) -> Option<Platform> {
    let [os, architecture] = PLATFORM_ATTRIBUTES.map(|name| attributes.get(name).map(String::as_str));
    Some(Platform::of_ecs(os.unwrap_or("linux"), architecture.filter(|text| !text.is_empty())?))
}

/// The platforms of an index. Empty for the manifest of one image, which does not name its platform.
fn platforms(manifest: &Value) -> BTreeSet<Platform> {
    let entries = manifest["manifests"].as_array().into_iter().flatten();
    let platforms = entries.filter_map(|entry| {
        let text = |member: &str| entry["platform"][member].as_str().map(str::to_ascii_lowercase);
        Some(Platform { os: text("os")?, architecture: text("architecture")? })
    });
    // Attestations of BuildKit are entries with the platform `unknown/unknown`.
    platforms.filter(|platform| platform.os != "unknown" && platform.architecture != "unknown").collect()
}

/// Whether an instance may run an image. 64-bit instances may run images of the 32-bit architecture too.
fn runs_on(image: &Platform, host: &Platform) -> bool {
    let also = match host.architecture.as_str() {
        "amd64" => "386",
        "arm64" => "arm",
        other => other,
    };
    image.os == host.os && (image.architecture == host.architecture || image.architecture == also)
}

/// The parts of an image name of ECR; `None` for another registry (ECR User Guide, "Amazon ECR private registries").
pub(super) fn of_ecr(image: &str) -> Option<ImageName> {
    let (host, path) = image.split_once('/')?;
    let parts: Vec<&str> = host.split('.').collect();
    let (registry, region) = match parts.as_slice() {
        [registry, "dkr", "ecr" | "ecr-fips", region, _, _, ..] => (*registry, *region),
        // Dual stack.
        [registry, "dkr-ecr" | "dkr-ecr-fips", region, "on", _, ..] => (*registry, *region),
        _ => return None,
    };
    if registry.len() != 12 || !registry.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (name, digest) = match path.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (path, None),
    };
    let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
    let reference = digest.unwrap_or(tag);
    (!repository.is_empty() && !reference.is_empty()).then(|| ImageName {
        registry: registry.to_owned(),
        region: region.to_owned(),
        repository: repository.to_owned(),
        reference: reference.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_ecr_are_split_and_others_are_left_alone() {
        for (image, expected) in [
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/web", Some(["eu-west-1", "web", "latest"])),
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/web:1.2", Some(["eu-west-1", "team/web", "1.2"])),
            ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/web:1", Some(["cn-north-1", "web", "1"])),
            ("111122223333.dkr.ecr-fips.us-east-1.amazonaws.com/web:1", Some(["us-east-1", "web", "1"])),
            ("111122223333.dkr-ecr.eu-west-1.on.aws/web:1", Some(["eu-west-1", "web", "1"])),
            ("111122223333.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn/w:1", Some(["cn-north-1", "w", "1"])),
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/web@sha256:ab", Some(["eu-west-1", "web", "sha256:ab"])),
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/web:1@sha256:ab", Some(["eu-west-1", "web", "sha256:ab"])),
            ("web:1", None),
            ("docker.io/library/nginx:1", None),
            ("public.ecr.aws/nginx/nginx:1", None),
            ("localhost:5000/web", None),
            ("11112222333.dkr.ecr.eu-west-1.amazonaws.com/web", None),
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/", None),
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/web:", None),
            ("", None),
        ] {
            let found = of_ecr(image);
            let parts = found.as_ref().map(|one| [&*one.region, &*one.repository, &*one.reference]);
            assert_eq!(parts, expected, "{image}");
        }
    }

    #[test]
    fn the_platforms_of_an_index_are_read_without_attestations() {
        let entry = |os: &str, architecture: &str| json!({"platform": {"os": os, "architecture": architecture}});
        let index = json!({"manifests": [entry("linux", "amd64"), entry("unknown", "unknown"), {"digest": "x"}]});
        assert_eq!(platforms(&index), BTreeSet::from([Platform::of_ecs("LINUX", "X86_64")]));
        assert!(platforms(&json!({"config": {}, "layers": []})).is_empty());
        assert!(platforms(&Value::Null).is_empty());
    }

    #[test]
    fn an_instance_runs_images_of_its_platform_and_of_its_32_bit_platform() {
        let of = |os: &str, architecture: &str| Platform { os: os.to_owned(), architecture: architecture.to_owned() };
        let (amd64, arm64) = (Platform::of_ecs("LINUX", "X86_64"), Platform::of_ecs("linux", "arm64"));
        assert!(runs_on(&of("linux", "amd64"), &amd64) && runs_on(&of("linux", "386"), &amd64));
        assert!(runs_on(&of("linux", "arm64"), &arm64) && runs_on(&of("linux", "arm"), &arm64));
        assert!(!runs_on(&of("linux", "arm64"), &amd64) && !runs_on(&of("linux", "amd64"), &arm64));
        assert!(!runs_on(&of("windows", "amd64"), &amd64));
        assert_eq!(Platform::of_ecs("WINDOWS_SERVER_2022_CORE", "X86_64"), of("windows", "amd64"));
    }

    proptest::proptest! {
        #[test]
        fn no_image_name_causes_a_panic(text in "[0-9a-z.:/@]{0,60}") {
            of_ecr(&text);
            of_ecr(&format!("111122223333.dkr.ecr.eu-west-1.amazonaws.com/{text}"));
        }
    }
}
