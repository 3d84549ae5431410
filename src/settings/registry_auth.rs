//! Converts the credentials of registries to the form that the agent reads.
//!
//! In: the text of a secret or a parameter. Out: the values of ECS_ENGINE_AUTH_TYPE and ECS_ENGINE_AUTH_DATA. An error never
//! contains a part of the text.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Secret;

/// ECS_ENGINE_AUTH_TYPE of the converted document: a login is `USER:PASSWORD` in base64.
pub const AUTH_TYPE: &str = "dockercfg";

/// Why the text cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryAuthError {
    /// It is not a JSON object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// It has no registry.
    #[error(
        "it names no registry: use the document of docker, `{{\"auths\": {{\"REGISTRY\": {{\"auth\": \"...\"}}}}}}`"
    )]
    NoRegistry,
    /// No registry has a login.
    #[error("none of its registries has `auth`, or `username` and `password`: a credential helper may have them")]
    NoLogin,
    /// `auth` is not valid.
    #[error("the `auth` of `{registry}` is not `USER:PASSWORD` in base64")]
    BadAuth {
        /// The registry.
        registry: String,
    },
}

/// The converted document.
#[derive(Debug)]
pub struct RegistryAuth {
    /// The value of ECS_ENGINE_AUTH_DATA.
    pub data: Secret,
    /// The registries without a password: a credential helper has it, or there is only an identity token, which the agent
    /// cannot use.
    pub left_out: Vec<String>,
}

/// Converts a document: that of docker (`~/.docker/config.json`, with `auths`), or one of those that the agent reads
/// (`dockercfg`, `docker`). The registries are sorted, so that the same content gives the same line.
pub fn agent_auth(text: &str) -> Result<RegistryAuth, RegistryAuthError> {
    let document: Map<String, Value> = serde_json::from_str(text).map_err(|_| RegistryAuthError::NotAnObject)?;
    let registries = match document.get("auths") {
        Some(Value::Object(auths)) => auths,
        Some(_) => return Err(RegistryAuthError::NoRegistry),
        None => &document,
    };
    let (mut logins, mut left_out) = (BTreeMap::new(), Vec::new());
    for (registry, login) in registries {
        let Value::Object(login) = login else { return Err(RegistryAuthError::NoRegistry) };
        match auth_of(login) {
            Ok(Some(auth)) => drop(logins.insert(registry.clone(), json!({"auth": auth}))),
            Ok(None) => left_out.push(registry.clone()),
            Err(BadAuth) => return Err(RegistryAuthError::BadAuth { registry: registry.clone() }),
        }
    }
    if registries.is_empty() {
        return Err(RegistryAuthError::NoRegistry);
    }
    if logins.is_empty() {
        return Err(RegistryAuthError::NoLogin);
    }
    let data = Secret::new(serde_json::to_string(&logins).expect("a map of JSON values is JSON"));
    Ok(RegistryAuth { data, left_out })
}

/// `auth` is not valid.
struct BadAuth;

/// `USER:PASSWORD` in base64; `None` if there is no password.
fn auth_of(login: &Map<String, Value>) -> Result<Option<String>, BadAuth> {
    let text = |name: &str| login.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(auth) = text("auth") {
        let pair = STANDARD.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(BadAuth)?;
        // docker writes a zero byte after some passwords.
        let pair = pair.trim_end_matches('\0');
        return match pair.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => Ok(Some(STANDARD.encode(pair))),
            Some(_) if text("identitytoken").is_some() => Ok(None),
            _ => Err(BadAuth),
        };
    }
    Ok(text("username").zip(text("password")).map(|(user, password)| STANDARD.encode(format!("{user}:{password}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_becomes_that_of_the_agent() {
        let expected = r#"{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYTpzcw=="},"r:5000":{"auth":"dTpw"}}"#;
        for text in [
            r#"{"auths": {"r:5000": {"auth": "dTpw"}, "https://index.docker.io/v1/": {"auth": "dXNlcjpwYTpzcw=="}},
                "credsStore": "secretservice"}"#,
            r#"{"auths": {"r:5000": {"username": "u", "password": "p"},
                "https://index.docker.io/v1/": {"auth": "dXNlcjpwYTpzcwA=", "email": "e"}}}"#,
            r#"{"r:5000": {"auth": "dTpw", "email": "e"}, "https://index.docker.io/v1/": {"auth": "dXNlcjpwYTpzcw=="}}"#,
            r#"{"r:5000": {"username": "u", "password": "p", "email": "e"},
                "https://index.docker.io/v1/": {"username": "user", "password": "pa:ss"}}"#,
        ] {
            assert_eq!(agent_auth(text).unwrap().data.expose(), expected, "{text}");
        }
    }

    #[test]
    fn registries_without_a_password_are_left_out() {
        let auth = agent_auth(
            r#"{"auths": {"ecr": {}, "azure": {"auth": "MDAwMDo=", "identitytoken": "hunter2"}, "r": {"auth": "dTpw"}}}"#,
        )
        .unwrap();
        assert_eq!(auth.data.expose(), r#"{"r":{"auth":"dTpw"}}"#);
        assert_eq!(auth.left_out, ["azure", "ecr"]);
    }

    #[test]
    fn what_cannot_be_converted_is_an_error_without_the_text() {
        let bad = || RegistryAuthError::BadAuth { registry: "r".to_owned() };
        for (text, expected) in [
            ("", RegistryAuthError::NotAnObject),
            ("hunter2", RegistryAuthError::NotAnObject),
            ("[]", RegistryAuthError::NotAnObject),
            ("{}", RegistryAuthError::NoRegistry),
            (r#"{"auths": {}}"#, RegistryAuthError::NoRegistry),
            (r#"{"auths": []}"#, RegistryAuthError::NoRegistry),
            (r#"{"username": "u", "password": "hunter2"}"#, RegistryAuthError::NoRegistry),
            (r#"{"auths": {"r": {}}, "credsStore": "ecr-login"}"#, RegistryAuthError::NoLogin),
            (r#"{"auths": {"r": {"auth": "hunter2"}}}"#, bad()),
            (r#"{"auths": {"r": {"auth": "aHVudGVyMg=="}}}"#, bad()),
            (r#"{"auths": {"a": {"auth": "dTpw"}, "r": {"auth": "dTo="}}}"#, bad()),
        ] {
            let error = agent_auth(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
