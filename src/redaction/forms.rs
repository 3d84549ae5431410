//! What a secret looks like in free text, such as a line of a log, an error of a service or the name of a process.
//!
//! In: one line. Out: the line with [`REDACTED`] in place of each secret. Not every secret can be known by its form; these
//! can: passwords of addresses, values after names that speak of secrets, values of variables that the agent does not
//! know, options of commands, access keys, and long random text.

use super::REDACTED;
use crate::settings::agent_variables;

/// Ends of names that speak of an error about a secret, and not of its value.
const ERRORS: [&str; 3] = ["exception", "error", "failure"];
/// Options of commands whose next word is secret.
const OPTIONS: [&str; 3] = ["-p", "-u", "--user"];
/// How the ids of access keys begin (IAM User Guide, "IAM identifiers", unique ID prefixes).
const KEYS: [&str; 2] = ["AKIA", "ASIA"];
/// Text that is random is at least this long.
const RANDOM: usize = 24;
/// What ends a value that stands without quotes.
const ENDS: [char; 8] = [' ', '"', '\'', '`', ',', ';', '}', '\\'];

/// The line without what looks like a secret.
pub(super) fn without_secrets(text: &str) -> String {
    let text = without_userinfo(text);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut previous = String::new();
    // How many bytes of the text are left where the run that was judged last ends: a run is judged once.
    let mut judged = usize::MAX;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len()));
        if word.is_empty() {
            let other = rest.chars().next().map_or(0, char::len_utf8);
            shown.push_str(&rest[..other]);
            rest = &rest[other..];
            continue;
        }
        let run = match rest.len() <= judged {
            true => &rest[..rest.find(|c: char| !is_of_run(c)).unwrap_or(rest.len())],
            false => "",
        };
        if !run.is_empty() {
            judged = rest.len() - run.len();
        }
        if is_key(word) || is_random(run) {
            shown.push_str(REDACTED);
            rest = &rest[if is_key(word) { word.len() } else { run.len() }..];
        } else if let Some(attached) = attached(word) {
            shown.push_str(attached);
            shown.push_str(REDACTED);
            rest = after;
        } else if is_after_option(&previous, word, &shown) {
            shown.push_str(REDACTED);
            rest = &rest[value_end(rest)..];
        } else {
            shown.push_str(word);
            rest = after;
            if let Some((gap, value)) = value_of(word, after) {
                let (between, from) = after.split_at(gap);
                shown.push_str(between);
                shown.push_str(if value > 0 { REDACTED } else { "" });
                rest = &from[value..];
            }
        }
        previous.clear();
        previous.push_str(word);
    }
    shown
}

/// The text without what stands before the `@` of an address: proxies are logged with their passwords.
fn without_userinfo(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(is_end) {
        let word = part.trim_end_matches(is_end);
        let start = word.find("://").map(|at| at + 3);
        let at = word.rfind('@');
        let begin = match (start, at) {
            (Some(start), Some(at)) if at > start => Some(start),
            // `user:password@host`, also as the value of a variable.
            (None, Some(at)) if word[..at].contains(':') && !word[..at].ends_with(':') => {
                Some(word[..at].rfind('=').map_or(0, |equals| equals + 1))
            }
            _ => None,
        };
        match (begin, at) {
            (Some(begin), Some(at)) => {
                shown.push_str(&word[..begin]);
                shown.push_str(REDACTED);
                shown.push_str(&part[at..]);
            }
            _ => shown.push_str(part),
        }
    }
    shown
}

/// After a name that speaks of a secret: how many bytes stand before the value, and how many it has.
fn value_of(name: &str, after: &str) -> Option<(usize, usize)> {
    if !after.starts_with(['=', ':', '"', '\\']) {
        return None;
    }
    let is_variable = name.len() > 2
        && name.contains(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    let is_known = agent_variables::find(name).is_some_and(|variable| !variable.secret);
    let is_secret = agent_variables::is_secret(name);
    let is_assigned = is_secret || (is_variable && !is_known);
    let skipped = |rest: &str| after.len() - rest.len();
    if let Some(value) = after.strip_prefix('=').filter(|_| is_assigned) {
        let value = value.strip_prefix('\\').unwrap_or(value);
        return Some((skipped(value), if is_hidden(value) { 0 } else { value_end(value) }));
    }
    // A member of JSON, perhaps inside a string of JSON; or a header, or YAML.
    let member = after.strip_prefix("\\\"").or(after.strip_prefix('"'));
    let colon = member.or(Some(after))?.strip_prefix(':')?;
    let is_name = is_secret || (is_variable && !is_known && name.contains('_'));
    if !is_name || ERRORS.iter().any(|end| name.to_ascii_lowercase().ends_with(end)) {
        return None;
    }
    let value = colon.trim_start_matches([' ', '\\']);
    let lower = name.to_ascii_lowercase();
    // A sentence may follow an error code such as `ExpiredToken`; a value follows a header, a key of JSON or YAML.
    let is_sentence = member.is_none()
        && colon.starts_with(' ')
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.contains(|c: char| c.is_ascii_lowercase())
        && !lower.starts_with("x-")
        && lower != "authorization";
    if is_sentence || is_word_of_prose(colon, &lower) {
        return None;
    }
    let is_header = member.is_none() && lower.ends_with("authorization");
    Some((skipped(value), if is_header { value.len() } else { value_end(value) }))
}

/// Whether `no credentials: the instance has no role` goes on in words: a short common word follows a plain name.
fn is_word_of_prose(colon: &str, name: &str) -> bool {
    const WORDS: [&str; 16] = [
        "the",
        "a",
        "an",
        "no",
        "not",
        "is",
        "it",
        "its",
        "this",
        "that",
        "permission",
        "cannot",
        "access",
        "denied",
        "there",
        "none",
    ];
    let next = colon.trim_start().split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    colon.starts_with(' ') && !name.contains(['_', '-']) && WORDS.contains(&next.to_ascii_lowercase().as_str())
}

/// Whether a value is shown by its length already: a text may pass here twice.
fn is_hidden(value: &str) -> bool {
    let end = value.find(ENDS).map_or(value.len(), |end| match value[end..].strip_prefix(" bytes>") {
        Some(_) => end + " bytes>".len(),
        None => end,
    });
    let (value, after) = value.split_at(end);
    let count = value.strip_prefix('<').and_then(|count| count.strip_suffix(" bytes>"));
    let is_count = count.is_some_and(|count| count.len() <= 20 && count.bytes().all(|byte| byte.is_ascii_digit()));
    (is_count || value == REDACTED) && (after.is_empty() || after.starts_with(ENDS))
}

/// Where a value ends: behind its quotes or brackets, else before what ends a word. A value that is left open has all
/// the rest.
fn value_end(value: &str) -> usize {
    let mut chars = value.char_indices();
    match chars.next() {
        Some((_, quote @ ('"' | '\''))) => {
            let mut escaped = false;
            for (at, c) in chars {
                match c {
                    '\\' => escaped = !escaped,
                    c if c == quote && !escaped => return at + 1,
                    _ => escaped = false,
                }
            }
            value.len()
        }
        Some((_, open @ ('{' | '['))) => {
            let close = if open == '{' { '}' } else { ']' };
            let mut depth = 0usize;
            for (at, c) in value.char_indices() {
                depth = if c == open { depth + 1 } else { depth - usize::from(c == close) };
                if depth == 0 {
                    return at + 1;
                }
            }
            value.len()
        }
        Some(_) => value.find(ENDS).unwrap_or(value.len()),
        None => 0,
    }
}

/// Whether `word` is what a command such as `docker login -u ci -p hunter2` takes as a secret.
fn is_after_option(previous: &str, word: &str, shown: &str) -> bool {
    let is_apart = shown.trim_end_matches(['"', '\'', '\\']).ends_with([' ', '=']);
    if !is_apart || word.starts_with('-') {
        return false;
    }
    let bearer = ["bearer", "basic"].contains(&previous.to_ascii_lowercase().as_str());
    let option = OPTIONS.contains(&previous) || (previous.starts_with("--") && agent_variables::is_secret(previous));
    bearer || option
}

/// The option in a word such as `-phunter2`, whose value is a secret. `-pod` and `-user` are words.
fn attached(word: &str) -> Option<&str> {
    let value = word.strip_prefix("-p").or(word.strip_prefix("-u"))?;
    let is_value = value.len() >= 4 && value.contains(|c: char| c.is_ascii_digit() || c.is_ascii_uppercase());
    is_value.then(|| &word[..2])
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+')
}

fn is_of_run(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '/' | '=')
}

fn is_key(word: &str) -> bool {
    word.len() >= 16 && KEYS.iter().any(|key| word.starts_with(key)) && word.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Letters of both cases and digits without a pattern, as base64 has them; ids in hex, paths and names of policies have
/// not.
fn is_random(run: &str) -> bool {
    let count = |is: fn(&u8) -> bool| run.bytes().filter(is).count();
    let (lower, upper) = (count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase));
    let is_path = run.starts_with('/');
    run.len() >= RANDOM && !is_path && count(u8::is_ascii_digit) >= 3 && lower >= 3 && upper >= 3
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
            ("http://u:hun/ter2@proxy:1", "http://<redacted>@proxy:1"),
            ("ALL_PROXY=u:hunter2@proxy", "ALL_PROXY=<redacted>"),
            ("through u:hunter2@proxy:3128", "through <redacted>@proxy:3128"),
            ("ECS_ENGINE_AUTH_DATA={hunter2} x", "ECS_ENGINE_AUTH_DATA=<redacted> x"),
            (r#"prodECS_ENGINE_AUTH_DATA={"r":{"auth":"hunter2"}} x"#, "prodECS_ENGINE_AUTH_DATA=<redacted> x"),
            (r#"ECS_ENGINE_AUTH_DATA: {"r":{"auth":"hunter2=="}}"#, "ECS_ENGINE_AUTH_DATA: <redacted>"),
            (r#"ECS_ENGINE_AUTHDATA={"r":{"auth":"hunter2"#, "ECS_ENGINE_AUTHDATA=<redacted>"),
            ("DB_PASS=hunter2 DB_HOST=x ECS_CLUSTER=prod", "DB_PASS=<redacted> DB_HOST=<redacted> ECS_CLUSTER=prod"),
            ("docker login -u ci -p hunter2 r", "docker login -u <redacted> -p <redacted> r"),
            ("curl --password hunter2 --x", "curl --password <redacted> --x"),
            ("docker login -u 'ci' -p 'hunter2' r", "docker login -u '<redacted>' -p '<redacted>' r"),
            ("mysql -uroot1 -phunter2 x", "mysql -u<redacted> -p<redacted> x"),
            ("password=hunter2, user=x", "password=<redacted>, user=x"),
            (r#"password="hunter 2, x", user"#, "password=<redacted>, user"),
            (r#"{"password":"hunter2","user":"x"}"#, r#"{"password":<redacted>,"user":"x"}"#),
            (r#"{"auth": "hunter2=="}"#, r#"{"auth": <redacted>}"#),
            ("x-amz-security-token:hunter2 host:x", "x-amz-security-token:<redacted> host:x"),
            ("Authorization: AWS4-HMAC-SHA256 hunter2 x", "Authorization: <redacted>"),
            ("got Bearer hunter2 x", "got Bearer <redacted> x"),
            ("key ASIASIMULATEDKEY0001 is bad", "key <redacted> is bad"),
            ("X_Y=<7 bytes> ABC=<redacted>, X_Z=<hunter2>", "X_Y=<7 bytes> ABC=<redacted>, X_Z=<redacted>"),
            ("got wJalrXUtnFEMI/K7MDENGbPxRfi3CYEXAMPLE9KEY2 here", "got <redacted> here"),
        ] {
            assert_eq!(without_secrets(text), expected, "{text}");
        }
    }

    #[test]
    fn what_an_error_says_is_shown_whole() {
        for text in [
            "ExpiredTokenException: The security token included in the request is expired",
            "User: arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0 is not authorized to perform: ecs:RegisterContainerInstance",
            "arn:aws:ecs:eu-west-1:1:container-instance/prod/0123456789abcdef0123456789abcdef is inactive",
            "attach AmazonEC2ContainerServiceforEC2Role, RequestID: 3f2a9d64-55d5-4d3c-9f57-8d1f0a1b2c3d",
            "`ECS_RESERVED_MEMORY=70000` is more than the host has",
            "line 3 of /etc/ecs/ecs.config sets `ECS_CLUSTR`; the variable is `ECS_CLUSTER`",
            "https://ecs.eu-west-1.amazonaws.com:443/ answered 503",
            "ec2:DescribeTags: no credentials: the instance has no role",
            "ExpiredToken: The security token included in the request is expired",
            "mkdir -p /etc/ecs",
        ] {
            assert_eq!(without_secrets(text), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_can_break_it(text in "\\PC{0,60}", quoted in "[a-z=\":{}\\\\ @-]{0,40}") {
            without_secrets(&format!("token{quoted}{text}"));
            without_secrets(&format!("{text}://{quoted}@{text}"));
        }
    }
}
