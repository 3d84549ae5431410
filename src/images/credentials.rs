//! The logins of registries in the configuration of the agent: ECS_ENGINE_AUTH_TYPE and ECS_ENGINE_AUTH_DATA.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// The registry that an image name without one means, as docker names it in credentials and in messages.
pub const DOCKER_HUB: &str = "docker.io";

/// The user and the password for a registry; `None` if the configuration has none for it, or is not valid.
///
/// `dockercfg` is the document of old docker clients (`auth` is `USER:PASSWORD` in base64), `docker` has both in plain text
/// (Amazon ECS Developer Guide, "Using non-AWS container images in Amazon ECS").
pub fn configured_login(config: &BTreeMap<String, String>, registry: &str) -> Option<(String, String)> {
    let data: Map<String, Value> = serde_json::from_str(config.get("ECS_ENGINE_AUTH_DATA")?).ok()?;
    let is_plain = config.get("ECS_ENGINE_AUTH_TYPE")?.trim() == "docker";
    let (_, login) = data.iter().find(|(key, _)| registry_of(key) == registry)?;
    let text = |name: &str| login[name].as_str().filter(|text| !text.is_empty());
    if is_plain {
        return Some((text("username")?.to_owned(), text("password")?.to_owned()));
    }
    let pair = String::from_utf8(STANDARD.decode(text("auth")?).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The registry of a key: `https://index.docker.io/v1/` is Docker Hub.
pub(super) fn registry_of(key: &str) -> &str {
    let host = key.split_once("://").map_or(key, |(_, rest)| rest);
    match host.split('/').next().unwrap_or(host) {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DOCKER_HUB,
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_in_both_forms() {
        let login = |kind: &str, data: &str, registry: &str| {
            let pairs = [("ECS_ENGINE_AUTH_TYPE", kind), ("ECS_ENGINE_AUTH_DATA", data)];
            let config = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            configured_login(&config, registry).map(|(user, password)| format!("{user}/{password}"))
        };
        let coded = r#"{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYTpzcw==","email":"e"}}"#;
        let plain = r#"{"registry.example.com:5000":{"username":"u","password":"p","email":"e"}}"#;
        for (kind, data, registry, expected) in [
            ("dockercfg", coded, DOCKER_HUB, Some("user/pa:ss")),
            ("docker", plain, "registry.example.com:5000", Some("u/p")),
            ("docker", plain, "registry.example.com", None),
            ("dockercfg", plain, "registry.example.com:5000", None),
            ("docker", coded, DOCKER_HUB, None),
            ("docker", "{", DOCKER_HUB, None),
            ("docker", r#"{"docker.io":"x"}"#, DOCKER_HUB, None),
        ] {
            assert_eq!(login(kind, data, registry).as_deref(), expected, "{kind} {data} {registry}");
        }
        assert_eq!(configured_login(&BTreeMap::new(), DOCKER_HUB), None);
    }
}
