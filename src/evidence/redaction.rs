//! What is shown of a foreign line: a part of it, without what looks like a secret.
//!
//! In: text that somebody else has logged. Out: at most 240 characters. Nobody can know every secret; what can be known by
//! its form goes: passwords of addresses, values of telling names, keys of AWS, and long random text.

/// How much of a line is shown.
const SHOWN: usize = 240;
const REDACTED: &str = "<redacted>";
/// Names, in lower case, of what has a secret for its value.
const TELLING: [&str; 9] =
    ["password", "passwd", "secret", "token", "authorization", "auth_data", "credential", "apikey", "api_key"];
/// How the ids of access keys begin (IAM User Guide, "IAM identifiers", unique ID prefixes).
const KEYS: [&str; 2] = ["AKIA", "ASIA"];
/// Text that is random is at least this long.
const RANDOM: usize = 24;

/// What is shown of a foreign line.
pub(super) fn shown(text: &str) -> String {
    without_secrets(text).chars().take(SHOWN).filter(|c| !c.is_control()).collect()
}

/// The text without what looks like a secret.
pub(super) fn without_secrets(text: &str) -> String {
    let text = without_userinfo(text);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let word = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
        let (this, after) = rest.split_at(word);
        shown.push_str(if is_key(this) || is_random(this) { REDACTED } else { this });
        rest = after;
        if is_telling(this)
            && let Some(value) = value_begin(rest)
        {
            let (between, after) = rest.split_at(value);
            let end = after.find([' ', '"', '\'', '`', ',', ';', '}', '\\']).unwrap_or(after.len());
            shown.push_str(between);
            shown.push_str(if end > 0 { REDACTED } else { "" });
            rest = &after[end..];
        } else if let Some(other) = rest.chars().next() {
            shown.push(other);
            rest = &rest[other.len_utf8()..];
        }
    }
    shown
}

/// The text with what stands between `://` and `@` taken out: proxies are logged with their passwords.
fn without_userinfo(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let authority = after.find(['/', ' ', '"', '\'', '`']).unwrap_or(after.len());
        shown.push_str(before);
        rest = match after[..authority].rfind('@') {
            Some(end) => {
                shown.push_str(REDACTED);
                &after[end..]
            }
            None => after,
        };
    }
    shown + rest
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+')
}

fn is_telling(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    TELLING.iter().any(|telling| word.contains(telling))
}

/// Where the value of a telling name begins: behind `=`, or behind the colon of a JSON key or a header. The colon behind
/// `ExpiredTokenException` is none of these.
fn value_begin(rest: &str) -> Option<usize> {
    let colon = |text: &str| text.strip_prefix(':').map(|text| text.trim_start_matches([' ', '\\', '"']).len());
    let behind = match rest.strip_prefix('=') {
        Some(value) => Some(value.trim_start_matches(['\\', '"', '\'']).len()),
        None => rest.strip_prefix("\\\"").or(rest.strip_prefix('"')).and_then(colon),
    };
    behind.map(|left| rest.len() - left)
}

fn is_key(word: &str) -> bool {
    word.len() >= 16 && KEYS.iter().any(|key| word.starts_with(key)) && word.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Letters of both cases and digits without a pattern, as base64 has them; ids in hex and names of policies have not.
fn is_random(word: &str) -> bool {
    let count = |is: fn(&u8) -> bool| word.bytes().filter(is).count();
    let (lower, upper) = (count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase));
    word.len() >= RANDOM && !word.contains('-') && count(u8::is_ascii_digit) >= 3 && lower >= 3 && upper >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_not_shown() {
        for (text, expected) in [
            (
                "proxyconnect tcp: http://u:hunter2@proxy:3128: down",
                "proxyconnect tcp: http://<redacted>@proxy:3128: down",
            ),
            ("dial tcp https://a@b/c", "dial tcp https://<redacted>@b/c"),
            ("ECS_ENGINE_AUTH_DATA={hunter2} x", "ECS_ENGINE_AUTH_DATA=<redacted>} x"),
            ("password=hunter2, user=x", "password=<redacted>, user=x"),
            (r#"{"password":"hunter2","user":"x"}"#, r#"{"password":"<redacted>","user":"x"}"#),
            (r#"{\"secretKey\": \"hunter2\"}"#, r#"{\"secretKey\": \"<redacted>\"}"#),
            ("key ASIASIMULATEDKEY0001 is bad", "key <redacted> is bad"),
            ("got wJalrXUtnFEMI/K7MDENGbPxRfi3CYEXAMPLE9KEY2 here", "got wJalrXUtnFEMI/<redacted> here"),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }

    #[test]
    fn what_an_error_says_is_shown_whole() {
        for text in [
            "ExpiredTokenException: The security token included in the request is expired",
            "User: arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0 is not authorized to perform: ecs:RegisterContainerInstance",
            "arn:aws:ecs:eu-west-1:1:container-instance/prod/0123456789abcdef0123456789abcdef is inactive",
            "attach AmazonEC2ContainerServiceforEC2Role, RequestID: 3f2a9d64-55d5-4d3c-9f57-8d1f0a1b2c3d",
        ] {
            assert_eq!(without_secrets(text), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_can_break_it(text in "\\PC{0,60}", quoted in "[a-z=\":{}\\\\ ]{0,40}") {
            without_secrets(&format!("token{quoted}{text}"));
        }
    }
}
