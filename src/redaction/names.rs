//! Decides which names of variables, keys and options belong to secrets.

use crate::agent_variables::find;

/// The replacement of a secret.
pub const REDACTED: &str = "<redacted>";
/// A name that contains one of these, in lower case, holds a secret.
const SECRET_PARTS: [&str; 18] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "auth_data",
    "authdata",
    "credential",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "accesskey",
    "accountkey",
    "private_key",
    "signature",
    "cookie",
];
/// A name that is one of these, in lower case, or ends with one after a hyphen or an underscore, holds a secret.
const SECRET_WORDS: [&str; 9] = ["auth", "pass", "pwd", "pw", "bearer", "key", "login", "dsn", "psk"];

/// Whether the value of this variable must not be shown. An unknown name is judged by its words. A name that is
/// commented out or has `export` before it counts as the bare name.
pub fn is_secret_name(name: &str) -> bool {
    if let Some(variable) = find(bare(name)) {
        return variable.secret;
    }
    // The prefix of IAM actions and of `registry.auth`: a name or an action follows.
    if bare(name) == "secretsmanager" {
        return false;
    }
    let name = bare(name).as_bytes();
    // Not `str::contains`, whose preparation takes longer than the search in a short name.
    let contains = |part: &&str| name.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()));
    let last = name.rsplit(|byte| matches!(byte, b'-' | b'_')).next().unwrap_or_default();
    SECRET_PARTS.iter().any(contains) || SECRET_WORDS.iter().any(|word| last.eq_ignore_ascii_case(word.as_bytes()))
}

/// Whether the text ends within the ARN of a secret, before its name: `arn:aws:secretsmanager:REGION:ACCOUNT:secret`.
pub(super) fn is_in_arn_of_secret(shown: &str) -> bool {
    let Some(before) = shown.strip_suffix(":secret") else { return false };
    let start = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || ":-*".contains(c))).map_or(0, |end| end + 1);
    let mut parts = before.get(start..).unwrap_or_default().split(':');
    parts.next() == Some("arn") && parts.nth(1) == Some("secretsmanager") && parts.count() == 2
}

/// The name without a comment sign and without `export` before it.
pub(super) fn bare(name: &str) -> &str {
    let name = name.trim_start_matches(['#', ';', ' ', '\t', '\u{feff}']);
    name.strip_prefix("export ").unwrap_or(name).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_with_a_word_for_secrets_is_secret() {
        for name in [
            "ECS_ENGINE_AUTH_DATA",
            "#ECS_ENGINE_AUTH_DATA",
            "ECS_ENGINE_AUTHDATA",
            "export AWS_SESSION_TOKEN",
            "DD_API_KEY",
            "my_password",
            "DB_PASS",
            "SENTRY_DSN",
            "ECS_LOG_OPTS",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "CREDENTIALS_FETCHER_SECRET_NAME_FOR_DOMAINLESS_GMSA",
            "ECS_CLUSTER",
            "ECS_ENGINE_AUTH_TYPE",
            "PASSENGER_HOST",
            "secretsmanager",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
