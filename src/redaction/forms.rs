//! Finds secrets in free text by their form, for example in a log line, an error of a service or the name of a process.
//!
//! In: one line. Out: the line with [`REDACTED`] in place of each secret. Not every secret has a form that shows what
//! it is. These are found: passwords in URLs, values after names of secrets, values of variables that the agent does
//! not know, options of commands, access keys, and long random text.

use super::names::{REDACTED, is_in_arn_of_secret, is_secret_name};
use crate::agent_variables;

/// Options of commands whose next word is secret.
const OPTIONS: [&str; 3] = ["-p", "-u", "--user"];
/// Units that remedies name after `journalctl -u`. After another option the same word is hidden.
const UNITS: [&str; 5] = ["ecs", "amazon-ecs", "docker", "ecs-bootstrap", "ecs-bootstrap-verify"];
/// Names of secrets that hide the text after their colon even if it reads like a sentence.
const EXPLICIT: [&str; 10] =
    ["password", "passwd", "passphrase", "passwort", "pwd", "secret", "api-key", "apikey", "set-cookie", "cookie"];
/// Parameters of a URL that hold a secret, besides those that [`is_secret_name`] knows.
const PARAMETERS: [&str; 3] = ["sig", "code", "key"];
/// Prefixes of the ids of access keys (IAM User Guide, "IAM identifiers", unique ID prefixes).
const KEYS: [&str; 2] = ["AKIA", "ASIA"];
/// Prefixes of tokens of other services: GitHub, GitLab, Slack, Stripe, and JSON web tokens.
const TOKENS: [&str; 9] = ["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "sk_live_", "eyJ"];
/// The shortest text that can count as random, in bytes.
const MIN_RANDOM: usize = 24;
/// The characters that end a value without quotes.
const ENDS: [char; 8] = [' ', '"', '\'', '`', ',', ';', '}', '\\'];

/// The line with each secret replaced. After the name of a secret, the rest of the line is replaced, because the end of
/// the value is not certain.
pub(super) fn without_secrets(text: &str) -> String {
    let shown = redacted(text);
    match decoded(text) {
        // An encoded secret is found in the decoded text.
        Some(plain) if shown == text => {
            let of_plain = redacted(&plain);
            if of_plain == plain { shown } else { of_plain }
        }
        _ => shown,
    }
}

/// The text with `%3A`, `\u0040` and `&quot;` decoded. `None` if there are none.
fn decoded(text: &str) -> Option<String> {
    if !text.contains('%') && !text.contains("\\u") && !text.contains("&quot;") {
        return None;
    }
    let text = text.replace("&quot;", "\"");
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        let digits = match c {
            '%' => rest.get(1..3).map(|digits| (digits, 3)),
            '\\' if rest.starts_with("\\u") => rest.get(2..6).map(|digits| (digits, 6)),
            _ => None,
        };
        let found = digits.and_then(|(digits, length)| {
            let code = u32::from_str_radix(digits, 16).ok().filter(|code| (0x20..0x7f).contains(code))?;
            Some((char::from_u32(code)?, length))
        });
        let (c, length) = found.unwrap_or((c, c.len_utf8()));
        plain.push(c);
        rest = &rest[length..];
    }
    Some(plain)
}

fn redacted(text: &str) -> String {
    const PRIVATE: &str = "PRIVATE KEY-----";
    if let Some(at) = text.find(PRIVATE) {
        return redacted(&text[..at]) + PRIVATE + REDACTED;
    }
    let text = without_userinfo(text);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut previous = "";
    // The number of bytes after the run that was checked last. Each run is checked once.
    let mut checked = usize::MAX;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len()));
        if word.is_empty() {
            let other = rest.chars().next().map_or(0, char::len_utf8);
            shown.push_str(&rest[..other]);
            rest = &rest[other..];
            continue;
        }
        let run =
            if rest.len() <= checked { &rest[..rest.find(|c: char| !is_of_run(c)).unwrap_or(rest.len())] } else { "" };
        if !run.is_empty() {
            checked = rest.len() - run.len();
        }
        if is_key(word) || is_random(run) {
            shown.push_str(REDACTED);
            // A web token has dots between its parts.
            let token = || rest.find(|c: char| !is_of_word(c) && c != '.').unwrap_or(rest.len());
            rest = &rest[if is_key(word) { token() } else { run.len() }..];
        } else if let Some(attached) = attached(word) {
            shown.push_str(attached);
            shown.push_str(REDACTED);
            rest = after;
        } else if is_after_scheme(previous, &shown, word) {
            shown.push_str(REDACTED);
            return shown;
        } else {
            let before = shown.chars().next_back();
            shown.push_str(word);
            rest = after;
            if let Some(gap) = option_value(word, after) {
                let (between, value) = after.split_at(gap);
                shown.push_str(between);
                shown.push_str(REDACTED);
                rest = &value[value_end(value)..];
            } else if is_in_arn_of_secret(&shown) {
                // The name of a secret follows.
            } else if let Some(gap) = value_of(word, before, after) {
                let (between, value) = after.split_at(gap);
                shown.push_str(between);
                if !is_hidden(value) {
                    shown.push_str(if value.is_empty() { "" } else { REDACTED });
                    return shown;
                }
                rest = value;
            }
        }
        previous = word;
    }
    shown
}

/// The text without the user and password before the `@` of a URL. Log lines contain proxies with their passwords.
fn without_userinfo(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(&without_bare_userinfo(before));
        let (end, is_hidden) = authority(after);
        shown.push_str(if is_hidden { REDACTED } else { "" });
        rest = &after[end..];
        if !is_hidden {
            let host = rest.find(|c: char| c.is_whitespace() || "/?#".contains(c)).unwrap_or(rest.len());
            shown.push_str(&rest[..host]);
            rest = &rest[host..];
        }
    }
    shown + &without_bare_userinfo(rest)
}

/// The byte where the host begins in the text after `://`, and whether the text before it is hidden. A password may
/// contain any character, also one that should be encoded. Only a number may follow the colon of a host.
fn authority(after: &str) -> (usize, bool) {
    let is_space = |c: char| c.is_whitespace();
    let word = &after[..after.find(is_space).unwrap_or(after.len())];
    let host = &word[..word.find(['/', '?', '#']).unwrap_or(word.len())];
    let is_port = |text: &str| {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|_| !host.starts_with('['));
    match (word.rfind('@'), port) {
        (Some(at), _) if host.contains('@') || port.is_some_and(|port| !is_port(port)) => (at, true),
        (_, Some(port)) if !is_port(port) && !port.starts_with(REDACTED) => {
            let at = after.rfind('@');
            (at.unwrap_or(after.len()), true)
        }
        _ => (0, false),
    }
}

/// The text without the user and password of `user:password@host` without a scheme, also as the value of a variable.
fn without_bare_userinfo(text: &str) -> String {
    if !text.contains('@') {
        return text.to_owned();
    }
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')');
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(is_end) {
        let word = part.trim_end_matches(is_end);
        match word.rfind('@').filter(|at| word[..*at].trim_end_matches(':').contains(':')) {
            Some(at) => {
                shown.push_str(&word[..word[..at].rfind('=').map_or(0, |equals| equals + 1)]);
                shown.push_str(REDACTED);
                shown.push_str(&part[at..]);
            }
            None => shown.push_str(part),
        }
    }
    shown
}

/// If the value after this name is secret: the number of bytes before the value, which takes the rest of the line.
fn value_of(name: &str, before: Option<char>, after: &str) -> Option<usize> {
    const HEADER: &str = "x-amz-security";
    let is_quote = |c: char| matches!(c, '"' | '\'' | '`' | '\\' | '\u{201d}' | '\u{2019}');
    let index = after.starts_with('[').then(|| after.find(']')).flatten().map_or(0, |end| end + 1);
    let bare = after[index..].trim_start_matches(is_quote);
    let sign = bare.trim_start();
    let is_header = name.get(..HEADER.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(HEADER));
    let is_object = after.trim_start().starts_with('{');
    // Most words have none of these after them, and need no look-up.
    if !is_header && !is_object && !sign.starts_with([',', '=', ':', '\u{ff1d}', '\u{ff1a}', '>']) {
        return None;
    }
    let known = agent_variables::find(name);
    if (is_header || is_object && known.is_some_and(|variable| variable.secret)) && !after.is_empty() {
        return Some(after.len() - after.trim_start_matches([' ', ':', '=']).len());
    }
    let is_any_of = |names: &[&str]| names.iter().any(|one| name.eq_ignore_ascii_case(one));
    let is_variable = name.len() > 2
        && name.contains(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    let is_known = known.is_some_and(|variable| !variable.secret);
    let is_parameter = matches!(before, Some('?' | '&')) && is_any_of(&PARAMETERS);
    let is_secret = is_secret_name(name) || is_parameter || is_any_of(&EXPLICIT);
    let is_quoted = bare.len() < after.len();
    // The name of a secret is itself a value, as in `{"name":"DB_PASSWORD","value":"x"}`.
    if is_secret && is_variable && is_quoted && bare.starts_with(',') {
        return Some(after.len() - bare.len());
    }
    let value = sign.strip_prefix("=>").or(sign.strip_prefix(['=', ':', '\u{ff1d}', '\u{ff1a}']));
    let value = value.or(sign.strip_prefix('>').filter(|_| before == Some('<')))?;
    let is_assigned = sign.starts_with('=');
    let is_foreign = is_variable && !is_known && (name.contains('_') || is_assigned && bare.starts_with('='));
    if !is_secret && !is_foreign {
        return None;
    }
    if !is_assigned && !is_quoted && !is_any_of(&EXPLICIT) && is_prose(name, value) {
        return None;
    }
    Some(after.len() - value.trim_start_matches(|c: char| c.is_whitespace() || c == '\\').len())
}

/// Whether the text is a sentence, as after an error code such as `ExpiredToken`, and not the value of a header or a
/// key. After a name such as `InvalidSignatureException`, a shorter sentence is enough.
fn is_prose(name: &str, value: &str) -> bool {
    let expected = if name.ends_with("Exception") { 2 } else { 4 };
    let words: Vec<&str> = value.split_whitespace().take(expected).collect();
    let is_word = |word: &&str| {
        word.trim_end_matches([',', '.', ':', '`', '"']).chars().all(|c| c.is_ascii_alphabetic() || c == '\'')
    };
    value.starts_with(' ') && words.len() == expected && words.iter().take(2).all(is_word)
}

/// Whether a value is already redacted. A text may be redacted twice.
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

/// The byte where the value of an option ends: after the closing quote, or before a blank if it has no quotes. Without
/// a closing quote it is the end of the text.
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
        Some(_) => value.find(char::is_whitespace).unwrap_or(value.len()),
        None => 0,
    }
}

/// After an option as in `docker login -u ci -p hunter2`: the number of bytes before its value. `None` if the option is
/// not secret or a path follows.
fn option_value(option: &str, after: &str) -> Option<usize> {
    if !option.starts_with('-') {
        return None;
    }
    let value = after.trim_start();
    // `journalctl -u ecs` in a remedy.
    let word = value.split(|c| !is_of_word(c)).next().unwrap_or_default();
    if option == "-u" && UNITS.contains(&word) {
        return None;
    }
    let is_value =
        value.len() < after.len() && !value.is_empty() && !value.starts_with(['-', '/']) && !is_hidden(value);
    (is_value && (OPTIONS.contains(&option) || (option.starts_with("--") && is_secret_name(option))))
        .then(|| after.len() - value.len())
}

/// Whether the word follows `Bearer` or another scheme of the header `Authorization`.
fn is_after_scheme(previous: &str, shown: &str, word: &str) -> bool {
    if !["bearer", "basic", "negotiate", "digest"].iter().any(|scheme| scheme.eq_ignore_ascii_case(previous)) {
        return false;
    }
    // `a basic string` is not a header.
    let is_name = previous.starts_with(|c: char| c.is_ascii_uppercase()) || previous == "bearer";
    let is_value = word.contains(|c: char| !c.is_ascii_lowercase());
    let is_apart = shown.trim_end_matches(['"', '\'', '\\']).ends_with([' ', '=', ':']);
    is_apart && (is_name || is_value)
}

/// The option of a word such as `-phunter2`, whose rest is a secret. `-pod` and `-user` are not such words.
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
    if TOKENS.iter().any(|begin| word.len() > begin.len() && word.starts_with(begin)) {
        return true;
    }
    word.len() >= 16 && KEYS.iter().any(|key| word.starts_with(key)) && word.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Whether the text has letters of both cases and digits like base64. Hexadecimal ids, paths and names of policies do
/// not.
fn is_random(run: &str) -> bool {
    const MIN_PADDED: usize = 12;
    if run.len() < MIN_PADDED {
        return false;
    }
    let count = |is: fn(&u8) -> bool| run.bytes().filter(is).count();
    let (lower, upper) = (count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase));
    let is_path = run.starts_with('/');
    // Base64 with `=` at the end is also found if it is short, as that of `user:password`.
    let digits = count(u8::is_ascii_digit);
    let is_padded = run.len().is_multiple_of(4)
        && run.ends_with('=')
        && lower.min(upper).min(digits) > 0
        && !run.trim_end_matches('=').contains(['=', '_']);
    is_padded || run.len() >= MIN_RANDOM && !is_path && count(u8::is_ascii_digit) >= 3 && lower >= 3 && upper >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_remedy_is_shown() {
        for text in ["fix what `journalctl -u ecs -b` names", "`journalctl -u docker.service`"] {
            assert_eq!(without_secrets(text), text);
        }
        assert_eq!(without_secrets("docker login -u ecsadmin"), "docker login -u <redacted>");
    }

    #[test]
    fn a_secret_is_replaced() {
        for (text, expected) in [
            (
                "proxyconnect tcp: http://u:hunter2@proxy:3128: down",
                "proxyconnect tcp: http://<redacted>@proxy:3128: down",
            ),
            ("dial tcp https://a@b/c", "dial tcp https://<redacted>@b/c"),
            ("http://u:hun/ter2@proxy:1", "http://<redacted>@proxy:1"),
            ("ci:hunter2:@host", "<redacted>@host"),
            ("ALL_PROXY=u:hunter2@proxy", "ALL_PROXY=<redacted>"),
            ("through u:hunter2@proxy:3128", "through <redacted>@proxy:3128"),
            ("ECS_ENGINE_AUTH_DATA={hunter2} x", "ECS_ENGINE_AUTH_DATA=<redacted>"),
            (r#"prodECS_ENGINE_AUTH_DATA={"r":{"auth":"hunter2"}} x"#, "prodECS_ENGINE_AUTH_DATA=<redacted>"),
            (r#"ECS_ENGINE_AUTH_DATA: {"r":{"auth":"hunter2=="}}"#, "ECS_ENGINE_AUTH_DATA: <redacted>"),
            (r#"ECS_ENGINE_AUTHDATA={"r":{"auth":"hunter2"#, "ECS_ENGINE_AUTHDATA=<redacted>"),
            ("ECS_CLUSTER=prod DB_HOST=x DB_PASS=hunter2", "ECS_CLUSTER=prod DB_HOST=<redacted>"),
            ("docker login -u ci -p hunter2 r", "docker login -u <redacted> -p <redacted> r"),
            ("curl --password hunter2 --x", "curl --password <redacted> --x"),
            (
                "docker login -p $hunter2 --password \"!hunter 2\" r",
                "docker login -p <redacted> --password <redacted> r",
            ),
            ("docker login -u 'ci' -p 'hunter2' r", "docker login -u <redacted> -p <redacted> r"),
            ("mysql -uroot1 -phunter2 x", "mysql -u<redacted> -p<redacted> x"),
            ("password=hunter2, user=x", "password=<redacted>"),
            (r#"password="hunter 2, x", user"#, "password=<redacted>"),
            (r#"{"user":"x","password":"hunter2"}"#, r#"{"user":"x","password":<redacted>"#),
            (r#"{"auth": "hunter2=="}"#, r#"{"auth": <redacted>"#),
            ("x-amz-security-token:hunter2 host:x", "x-amz-security-token:<redacted>"),
            ("Authorization: AWS4-HMAC-SHA256 hunter2 x", "Authorization: <redacted>"),
            ("got Bearer hunter2 x", "got Bearer <redacted>"),
            ("key ASIASIMULATEDKEY0001 is bad", "key <redacted> is bad"),
            ("X_Y=<7 bytes> ABC=<redacted>, X_Z=<hunter2>", "X_Y=<7 bytes> ABC=<redacted>, X_Z=<redacted>"),
            ("http://ci:hunter2aaa", "http://<redacted>"),
            ("https://ci:a hunter2@host down", "https://<redacted>@host down"),
            ("https://h/?sig=hunter2", "https://h/?sig=<redacted>"),
            ("https%3A%2F%2Fci%3Ahunter2%40host", "https://<redacted>@host"),
            (r"{\u0022password\u0022:\u0022hunter2\u0022}", "{\"password\":<redacted>"),
            ("Set-Cookie: session=hunter2", "Set-Cookie: <redacted>"),
            ("{'password' : 'hunter2'}", "{'password' : <redacted>"),
            ("password => hunter2", "password => <redacted>"),
            ("TokenException: hunter2", "TokenException: <redacted>"),
            ("<password>hunter2</password>", "<password><redacted>"),
            (r#"{"name":"DB_PASSWORD","value":"hunter2"}"#, r#"{"name":"DB_PASSWORD"<redacted>"#),
            ("got ghp_hunter2 and glpat-hunter2", "got <redacted> and <redacted>"),
            ("got eyJhbGciOi.aHVudGVyMg.x", "got <redacted>"),
            ("auth Y2k6aHVudGVyMg==", "auth <redacted>"),
            ("password[0]=hunter2", "password[0]=<redacted>"),
            ("ECS_ENGINE_AUTH_DATA {\"a\":\"hunter2\"}", "ECS_ENGINE_AUTH_DATA <redacted>"),
            ("-----BEGIN RSA PRIVATE KEY----- MIIEhunter2", "-----BEGIN RSA PRIVATE KEY-----<redacted>"),
            ("got wJalrXUtnFEMI/K7MDENGbPxRfi3CYEXAMPLE9KEY2 here", "got <redacted> here"),
        ] {
            assert_eq!(without_secrets(text), expected, "{text}");
        }
    }

    #[test]
    fn an_error_without_a_secret_is_not_changed() {
        for text in [
            "ExpiredTokenException: The security token included in the request is expired",
            "User: arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0 is not authorized to \
             perform: ecs:RegisterContainerInstance",
            "arn:aws:ecs:eu-west-1:1:container-instance/prod/0123456789abcdef0123456789abcdef is inactive",
            "attach AmazonEC2ContainerServiceforEC2Role, RequestID: 3f2a9d64-55d5-4d3c-9f57-8d1f0a1b2c3d",
            "`ECS_RESERVED_MEMORY=70000` is more than the host has",
            "line 3 of /etc/ecs/ecs.config sets `ECS_CLUSTR`; the variable is `ECS_CLUSTER`",
            "https://ecs.eu-west-1.amazonaws.com:443/ answered 503",
            "ec2:DescribeTags: no credentials: the instance has no role",
            "Error getting valid credentials: NoCredentialProviders: no valid providers in chain",
            "no credentials: AccessDenied: User: arn:aws:sts::1:x is not authorized",
            "ExpiredToken: The security token included in the request is expired",
            "mkdir -p /etc/ecs",
        ] {
            assert_eq!(without_secrets(text), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}", quoted in "[a-z=\":{}\\\\ @-]{0,40}") {
            without_secrets(&format!("token{quoted}{text}"));
            without_secrets(&format!("{text}://{quoted}@{text}"));
        }
    }
}
