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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryAuthError {
    /// It is not a JSON object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// It has no registry.
    #[error(
        "it names no registry: use the document of docker, `{{\"auths\": {{\"REGISTRY\": {{\"auth\": \"...\"}}}}}}`"
    )]
    NoRegistry,
    /// A login is not complete.
    #[error("a registry has neither `auth` nor `username` and `password`")]
    NoLogin,
    /// `auth` is not valid.
    #[error("the `auth` of a registry is not `USER:PASSWORD` in base64")]
    BadAuth,
}

/// The value of ECS_ENGINE_AUTH_DATA for a document: that of docker (`~/.docker/config.json`, with `auths`), or one of those that
/// the agent reads (`dockercfg`, `docker`). The registries are sorted, so that the same content gives the same line.
pub fn agent_auth(text: &str) -> Result<Secret, RegistryAuthError> {
    let document: Map<String, Value> = serde_json::from_str(text).map_err(|_| RegistryAuthError::NotAnObject)?;
    let registries = match document.get("auths") {
        Some(Value::Object(auths)) => auths,
        Some(_) => return Err(RegistryAuthError::NoRegistry),
        None => &document,
    };
    let mut logins = BTreeMap::new();
    for (registry, login) in registries {
        let Value::Object(login) = login else { return Err(RegistryAuthError::NoRegistry) };
        logins.insert(registry.clone(), json!({"auth": auth_of(login)?}));
    }
    if logins.is_empty() {
        return Err(RegistryAuthError::NoRegistry);
    }
    Ok(Secret::new(serde_json::to_string(&logins).expect("a map of JSON values is JSON")))
}

/// `USER:PASSWORD` in base64.
fn auth_of(login: &Map<String, Value>) -> Result<String, RegistryAuthError> {
    let text = |name: &str| login.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(auth) = text("auth") {
        let pair = STANDARD.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        // docker writes a zero byte after some passwords.
        let pair = pair.ok_or(RegistryAuthError::BadAuth)?.trim_end_matches('\0').to_owned();
        let has_both = pair.split_once(':').is_some_and(|(user, password)| !user.is_empty() && !password.is_empty());
        return if has_both { Ok(STANDARD.encode(pair)) } else { Err(RegistryAuthError::BadAuth) };
    }
    match (text("username"), text("password")) {
        (Some(user), Some(password)) => Ok(STANDARD.encode(format!("{user}:{password}"))),
        _ => Err(RegistryAuthError::NoLogin),
    }
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
            assert_eq!(agent_auth(text).map(|data| data.expose().to_owned()).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_converted_is_an_error_without_the_text() {
        for (text, expected) in [
            ("", RegistryAuthError::NotAnObject),
            ("hunter2", RegistryAuthError::NotAnObject),
            ("[]", RegistryAuthError::NotAnObject),
            ("{}", RegistryAuthError::NoRegistry),
            (r#"{"auths": {}}"#, RegistryAuthError::NoRegistry),
            (r#"{"auths": []}"#, RegistryAuthError::NoRegistry),
            (r#"{"username": "u", "password": "hunter2"}"#, RegistryAuthError::NoRegistry),
            (r#"{"auths": {"r": {}}, "credsStore": "ecr-login"}"#, RegistryAuthError::NoLogin),
            (r#"{"auths": {"r": {"auth": "hunter2"}}}"#, RegistryAuthError::BadAuth),
            (r#"{"auths": {"r": {"auth": "aHVudGVyMg=="}}}"#, RegistryAuthError::BadAuth),
        ] {
            let error = agent_auth(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
