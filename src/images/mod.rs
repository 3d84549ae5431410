//! The images that must be present before an instance is ready (`ready.images`): their names, their registries, and how far
//! docker is with them.
//!
//! `ecs-bootstrap pull-images` stores [`Pulls`], and verify, guard and `status` read them.

mod credentials;

use serde::{Deserialize, Serialize};

pub use self::credentials::{DOCKER_HUB, configured_login};

/// Where the state of the pulls is stored. Below /run, so that it is of this boot.
pub const PULLS: &str = "/run/ecs-bootstrap/images.json";
/// The lock of the pulls. The process that holds it writes [`PULLS`].
pub const LOCK: &str = "/run/ecs-bootstrap/images.lock";

/// The registry of ECR Public.
const ECR_PUBLIC: &str = "public.ecr.aws";

/// The images that must be present (`ready.images`, `ready.images-of-services`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedImages {
    /// Those that are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<String>,
    /// The services whose images must be present.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of_services: Vec<String>,
    /// Whether the start of the agent waits for them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_registration: bool,
}

impl WantedImages {
    /// Whether no image must be present.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.of_services.is_empty()
    }
}

/// The state of all pulls of this boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulls {
    /// What was asked for.
    pub wanted: WantedImages,
    /// Whether they have ended: each image is present, or `ready.deadline` has passed.
    pub has_ended: bool,
    /// The images, in the order of the settings; those of the services follow.
    pub images: Vec<Pull>,
    /// Why it is not known which images the services use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Failure>,
}

/// The state of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The name of the image.
    pub image: String,
    /// Whether docker has it.
    pub state: PullState,
    /// How many bytes docker has downloaded for it. Layers are compressed, and those that docker had are not counted.
    pub bytes: u64,
    /// How many bytes the layers have that docker has begun to download.
    pub total_bytes: u64,
    /// How long it took so far, with repetitions, in milliseconds.
    pub duration_ms: u64,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Whether docker has an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullState {
    /// docker is pulling it, or will.
    Pulling,
    /// docker has it.
    Present,
    /// docker does not have it, and the pulls have ended.
    Absent,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of fault it is.
    pub reason: Reason,
    /// The error.
    pub text: String,
}

/// The kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The registry, or AWS, does not allow it.
    Denied,
    /// The registry has no such image, or not for this platform; the cluster has no such service.
    NotFound,
    /// The file system of docker has too little space.
    NoSpace,
    /// Any other fault.
    Other,
}

impl Pull {
    /// An image that is not pulled yet.
    pub fn new(image: String) -> Pull {
        Pull { image, state: PullState::Pulling, bytes: 0, total_bytes: 0, duration_ms: 0, failure: None }
    }
}

impl Pulls {
    /// Ends them: what is not present is absent.
    pub fn end(&mut self) {
        self.has_ended = true;
        for pull in self.images.iter_mut().filter(|pull| pull.state == PullState::Pulling) {
            pull.state = PullState::Absent;
        }
    }

    /// Whether every image is present, and all are known.
    pub fn is_complete(&self) -> bool {
        self.services.is_none() && self.has_ended && self.images.iter().all(|pull| pull.state == PullState::Present)
    }
}

/// Sorts what docker or a registry says about a pull that failed. The texts are those of dockerd, of containerd and of the
/// OCI Distribution Specification ("Error Codes").
pub fn reason_of(message: &str, image: &str) -> Reason {
    const NO_SPACE: &[&str] = &["no space left on device"];
    const NOT_FOUND: &[&str] = &[
        "manifest unknown",
        "not found",
        "name unknown",
        "no matching manifest",
        "no match for platform",
        "cannot be used on this platform",
    ];
    // Before `NOT_FOUND`: Docker Hub says "pull access denied for NAME, repository does not exist or may require 'docker login'".
    const DENIED: &[&str] = &[
        "access denied",
        "denied: ",
        "resource is denied",
        "no basic auth credentials",
        "unauthorized",
        "authentication required",
        "403 forbidden",
    ];
    // Neither the name of the image nor the kernel's EACCES is a word of the registry.
    let name = image.split('@').next().unwrap_or(image);
    let name = name.rsplit_once(':').map_or(name, |(name, _)| name).to_lowercase();
    let message = message.to_lowercase().replace(&name, "").replace("permission denied", "");
    let has = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if has(NO_SPACE) {
        Reason::NoSpace
    } else if has(DENIED) {
        Reason::Denied
    } else if has(NOT_FOUND) {
        Reason::NotFound
    } else {
        Reason::Other
    }
}

/// The name of an image in parts, as docker reads it (`distribution/reference`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference<'i> {
    /// The registry with the repository, without a tag and a digest.
    pub name: &'i str,
    /// The tag or the digest; `latest` if there is none. Of both, the digest.
    pub version: &'i str,
    /// The host of the registry, with its port.
    pub registry: &'i str,
}

impl<'i> ImageReference<'i> {
    /// Takes a name apart; `None` if it is not the name of an image.
    pub fn parse(image: &'i str) -> Option<ImageReference<'i>> {
        const MAX_NAME: usize = 255;
        let (with_tag, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
        let path = with_tag.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match with_tag[path..].find(':') {
            Some(colon) => (&with_tag[..path + colon], Some(&with_tag[path + colon + 1..])),
            None => (with_tag, None),
        };
        // The first part is a registry if it has a dot or a port, or is `localhost`.
        let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (credentials::registry_of(first), rest),
            _ => (DOCKER_HUB, name),
        };
        let is_valid = name.len() <= MAX_NAME
            && is_registry(registry)
            && repository.split('/').all(is_component)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        is_valid.then_some(ImageReference { name, version: digest.or(tag).unwrap_or("latest"), registry })
    }

    /// The name with the version, as docker lists the image.
    pub fn with_version(&self) -> String {
        let separator = if self.is_fixed() { '@' } else { ':' };
        format!("{}{separator}{}", self.name, self.version)
    }

    /// The registry as docker names it in a login.
    pub fn server_address(&self) -> &'i str {
        if self.registry == DOCKER_HUB { "https://index.docker.io/v1/" } else { self.registry }
    }

    /// Whether the version is a digest, so that the image never changes.
    pub fn is_fixed(&self) -> bool {
        self.version.contains(':')
    }

    /// Which login the registry needs.
    pub fn login(&self) -> Login<'i> {
        match ecr_region(self.registry) {
            Some(region) => Login::Ecr { region },
            None if self.registry == ECR_PUBLIC => Login::EcrPublic,
            None => Login::Configured,
        }
    }
}

/// How to log in to a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login<'i> {
    /// With a token of ECR for this region. It is valid for the registries of other accounts too.
    Ecr {
        /// The region in the name of the registry.
        region: &'i str,
    },
    /// With a token of ECR Public, or anonymously.
    EcrPublic,
    /// With the agent's credentials for the registry (ECS_ENGINE_AUTH_DATA), or anonymously.
    Configured,
}

/// The region of a private registry of ECR: `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, also with `ecr-fips` and with the suffix of
/// another partition; `ACCOUNT.dkr-ecr.REGION.on.aws` (Amazon ECR User Guide, "Private registry", "IPv6").
fn ecr_region(registry: &str) -> Option<&str> {
    let (account, rest) = registry.split_once('.')?;
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let rest =
        ["dkr.ecr.", "dkr.ecr-fips.", "dkr-ecr.", "dkr-ecr-fips."].iter().find_map(|one| rest.strip_prefix(one))?;
    let (region, suffix) = rest.split_once('.')?;
    let is_region = !region.is_empty() && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (is_account && is_region && !suffix.is_empty()).then_some(region)
}

fn is_registry(host: &str) -> bool {
    let (name, port) = host.rsplit_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    name.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Lower-case letters and digits, with `.`, `_`, `__` or hyphens between them.
fn is_component(part: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = [part.bytes().next(), part.bytes().next_back()];
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|text| !text.is_empty());
    ends.iter().all(|end| end.is_some_and(is_word))
        && separators.into_iter().all(|text| matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-'))
}

/// The tags of the OCI Distribution Specification ("Pulling manifests").
fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty()
            && algorithm.bytes().all(|b| b.is_ascii_alphanumeric())
            && hex.len() >= 32
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_name_is_taken_apart_as_docker_does_it() {
        let with_digest = format!("app:1@{DIGEST}");
        for (image, name, version, registry) in [
            ("nginx", "nginx", "latest", DOCKER_HUB),
            ("nginx:1.27", "nginx", "1.27", DOCKER_HUB),
            ("bitnami/nginx", "bitnami/nginx", "latest", DOCKER_HUB),
            ("index.docker.io/a/b:1", "index.docker.io/a/b", "1", DOCKER_HUB),
            ("localhost/app:x", "localhost/app", "x", "localhost"),
            ("registry:5000/app", "registry:5000/app", "latest", "registry:5000"),
            ("ghcr.io/a/b-c__d:v1", "ghcr.io/a/b-c__d", "v1", "ghcr.io"),
            (with_digest.as_str(), "app", DIGEST, DOCKER_HUB),
            (
                "111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/app:1",
                "111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/app",
                "1",
                "111122223333.dkr.ecr.eu-west-1.amazonaws.com",
            ),
        ] {
            let found = ImageReference::parse(image);
            assert_eq!(found, Some(ImageReference { name, version, registry }), "{image}");
            assert_eq!(found.unwrap().is_fixed(), version == DIGEST, "{image}");
        }
        let long = format!("a/{}", "b".repeat(255));
        for wrong in [
            "",
            ":",
            "App",
            "a//b",
            "a/",
            "/a",
            "a:",
            "a:-x",
            "a@",
            "a@sha256:12",
            "a b",
            "a\nb",
            "-a",
            "a..b",
            "a._b",
            "a.",
            "http://a/b",
            "registry:99999/app",
            ".io/a",
            "a:1:2",
            "a@b@c",
            "\u{e9}",
            long.as_str(),
        ] {
            assert_eq!(ImageReference::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_registry_decides_about_the_login() {
        for (registry, login) in [
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com", Login::Ecr { region: "eu-west-1" }),
            ("111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com", Login::Ecr { region: "us-gov-west-1" }),
            ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", Login::Ecr { region: "cn-north-1" }),
            ("111122223333.dkr-ecr.eu-west-1.on.aws", Login::Ecr { region: "eu-west-1" }),
            ("11112222333.dkr.ecr.eu-west-1.amazonaws.com", Login::Configured),
            ("public.ecr.aws", Login::EcrPublic),
            ("quay.io", Login::Configured),
        ] {
            let image = format!("{registry}/app");
            assert_eq!(ImageReference::parse(&image).unwrap().login(), login, "{registry}");
        }
        assert_eq!(ImageReference::parse("nginx").unwrap().login(), Login::Configured);
    }

    #[test]
    fn the_words_of_docker_name_the_fault() {
        for (message, reason) in [
            ("pull access denied for x, repository does not exist or may require 'docker login'", Reason::Denied),
            ("Head \"https://1.dkr.ecr.x.amazonaws.com/v2/a/manifests/1\": no basic auth credentials", Reason::Denied),
            ("unauthorized: authentication required", Reason::Denied),
            ("manifest for nginx:nope not found: manifest unknown: manifest unknown", Reason::NotFound),
            ("no matching manifest for linux/arm64/v8 in the manifest list entries", Reason::NotFound),
            ("docker.io/library/x:1: not found", Reason::NotFound),
            ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", Reason::NoSpace),
            ("mkdir /var/lib/docker/overlay2/x: permission denied", Reason::Other),
            ("Get \"https://r/v2/team/denied: app/manifests/1\": EOF", Reason::Other),
            (
                "denied: User: arn:aws:sts::1:assumed-role/x is not authorized to perform: ecr:BatchGetImage",
                Reason::Denied,
            ),
            (
                "error pulling image configuration: download failed after attempts=1: denied: 403 Forbidden",
                Reason::Denied,
            ),
            ("toomanyrequests: You have reached your pull rate limit.", Reason::Other),
            ("Get \"https://registry-1.docker.io/v2/\": net/http: request canceled", Reason::Other),
        ] {
            assert_eq!(reason_of(message, "team/denied: app"), reason, "{message}");
        }
    }
}
