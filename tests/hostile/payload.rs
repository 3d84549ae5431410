//! The hostile texts: secrets in forms found in practice, terminal control sequences, and very long text.
//!
//! In: nothing. Out: texts, and the marks by which a leaked secret is recognised. Every secret contains at least one
//! mark.

/// No output may contain one of these. Every secret contains one, as plain text or base64.
pub const MARKS: [&str; 8] = [
    "hunter2",
    "aHVudGVyMg",
    "IQoJb3JpZ2lu",
    "MIIEhunter",
    crate::support::imds::ACCESS_KEY_ID,
    crate::support::imds::SECRET_ACCESS_KEY,
    crate::support::imds::SESSION_TOKEN,
    WAIT_URL,
];

/// The signature in the URL of a wait condition. Only `plan.json` may contain it, where the verifying unit reads it.
pub const WAIT_URL: &str = "9f1c0signatureOfTheWaitUrl";

/// The login of a registry in the form of `ECS_ENGINE_AUTH_DATA`.
pub const LOGIN: &str = r#"{"r.example":{"auth":"Y2k6aHVudGVyMg==","email":"ci@r.example"}}"#;

/// Several secrets in several forms on one line, without a line break.
pub const SECRET: &str = concat!(
    r#"ECS_ENGINE_AUTH_DATA={"r.example":{"auth":"Y2k6aHVudGVyMg==","password":"hunter2"}} "#,
    "via https://ci:hunter2@127.0.0.1:9 password=hunter2 x-amz-security-token:IQoJb3JpZ2luX2VjEJr"
);

/// A cluster name joined with the next setting, as if a line break was missing.
pub const RUN_TOGETHER: &str = r#"prodECS_ENGINE_AUTH_DATA={"r.example":{"auth":"Y2k6aHVudGVyMg=="}}"#;

/// The message of an AWS service for a wrong signature: it quotes the canonical request.
pub const SIGNATURE: &str = "The request signature we calculated does not match the signature you provided. Check \
your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\nThe Canonical String \
for this request should have been\n'POST\n/\n\ncontent-type:application/x-amz-json-1.1\n\
host:ecs.eu-west-1.amazonaws.com\nx-amz-date:20261128T101112Z\n\
x-amz-security-token:IQoJb3JpZ2luX2VjEJr//////////wEaCWV1LXdlc3QtMSJHMEUCIQDhunter2\n\
x-amz-target:AmazonEC2ContainerServiceV20141113.DescribeClusters\n\n\
content-type;host;x-amz-date;x-amz-security-token;x-amz-target\n\
44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'\n\nThe String-to-Sign should have been\n\
'AWS4-HMAC-SHA256\n20261128T101112Z\n20261128/eu-west-1/ecs/aws4_request\n9f7e'\n";

/// Text that a terminal or a log viewer would interpret, or that forges a line of output.
pub const ESCAPES: &str = "x\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J\u{85}\r\nerror: [forged] all is lost\n\
remedy: run `rm -rf /`\n\
\u{202e}gnp.exe\u{2066}\u{2069}\u{200f}\u{2028}\u{7f}\u{8}\u{c}\u{b}$(reboot)`reboot`; reboot";

/// Similar text without line breaks and NUL.
pub const ESCAPES_ON_ONE_LINE: &str = "x\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J\u{202e}gnp.exe\u{2066}\u{2069}\
\u{200f}\u{7f}\u{8}$(reboot)`reboot`;'\"reboot";

/// A text of this many bytes that ends with a mark.
pub fn long(bytes: usize) -> String {
    let mark = "hunter2";
    "a".repeat(bytes.saturating_sub(mark.len())) + mark
}

/// Lines with a secret, in forms found in `ecs.config` files: a name for the form, and the text to append.
pub fn secret_lines() -> Vec<(&'static str, String)> {
    let auths = r#"{"auths":{"r.example":{"auth":"Y2k6aHVudGVyMg=="}}}"#;
    [
        ("run-together", format!("ECS_CLUSTER=prodECS_ENGINE_AUTH_DATA={LOGIN}\n")),
        (
            "run-together-arn",
            format!("ECS_CLUSTER=arn:aws:ecs:eu-west-1:111122223333:cluster/prodECS_ENGINE_AUTH_DATA={LOGIN}\n"),
        ),
        ("run-together-twice", format!("ECS_CLUSTER=prodECS_ENGINE_AUTH_TYPE=dockercfgECS_ENGINE_AUTH_DATA={LOGIN}\n")),
        ("run-together-other", format!("ECS_LOGLEVEL=debugECS_ENGINE_AUTH_DATA={LOGIN}\n")),
        ("run-together-json", "ECS_INSTANCE_ATTRIBUTES={\"role\":\"web\"}DB_PASS=hunter2\n".into()),
        ("run-together-password", "ECS_CLUSTER=prodDB_PASSWORD=hunter2\n".into()),
        ("yaml", format!("ECS_ENGINE_AUTH_DATA: {LOGIN}\n")),
        ("yaml-cluster", "ECS_CLUSTER: prod # hunter2\n".into()),
        ("yaml-indented", format!("  - ECS_ENGINE_AUTH_DATA: '{LOGIN}'\n")),
        ("misspelt", format!("ECS_ENGINE_AUTHDATA={LOGIN}\n")),
        ("misspelt-type", format!("ECS_ENGINE_AUTH_DTA={LOGIN}\n")),
        ("lower-case", format!("ecs_engine_auth_data={LOGIN}\n")),
        ("blank-before-sign", format!("ECS_ENGINE_AUTH_DATA ={LOGIN}\n")),
        ("blanks-around-sign", format!("ECS_ENGINE_AUTH_DATA = {LOGIN}\n")),
        ("exported", format!("export ECS_ENGINE_AUTH_DATA={LOGIN}\n")),
        ("quoted", format!("ECS_ENGINE_AUTH_DATA='{LOGIN}'\n")),
        ("known", format!("ECS_ENGINE_AUTH_TYPE=dockercfg\nECS_ENGINE_AUTH_DATA={LOGIN}\n")),
        ("known-twice", format!("ECS_ENGINE_AUTH_DATA={LOGIN}\nECS_ENGINE_AUTH_DATA={LOGIN}\n")),
        ("auths", format!("ECS_ENGINE_AUTH_DATA={auths}\n")),
        ("auths-alone", format!("{auths}\n")),
        (
            "auths-lines",
            "{\n  \"auths\": {\n    \"r.example\": {\n      \"auth\": \"Y2k6aHVudGVyMg==\"\n    }\n  }\n}\n".into(),
        ),
        (
            "password-object",
            "ECS_ENGINE_AUTH_DATA={\"r.example\":{\"username\":\"ci\",\"password\":\"hunter2\"}}\n".into(),
        ),
        ("auth-not-json", "ECS_ENGINE_AUTH_DATA=ci:hunter2\n".into()),
        ("docker-login", "docker login -u ci -p hunter2 r.example\n".into()),
        ("curl", "curl -u ci:hunter2 https://r.example/v2/ >/dev/null\n".into()),
        ("echo", format!("echo ECS_ENGINE_AUTH_DATA={LOGIN} >> /etc/ecs/ecs.config\n")),
        ("here-document", "cat <<'EOF' >> /etc/ecs/ecs.config\nDB_PASS=hunter2\nEOF\n".into()),
        ("command-substitution", "ECS_ENGINE_AUTH_DATA=$(aws ssm get-parameter --name hunter2)\n".into()),
        ("unknown-password", "DB_PASS=hunter2\n".into()),
        ("unknown-dsn", "SENTRY_DSN=https://hunter2@sentry.example/4\n".into()),
        ("unknown-url", "DATABASE_URL=postgres://app:hunter2@db.example/app\n".into()),
        ("unknown-plain", "GREETING=hunter2\n".into()),
        ("unknown-of-ecs", "ECS_CUSTOM_THING=hunter2\n".into()),
        ("all-proxy", "ALL_PROXY=http://user:hunter2@127.0.0.1:3128\n".into()),
        ("http-proxy", "HTTP_PROXY=http://user:hunter2@127.0.0.1:3128\nNO_PROXY=169.254.169.254,127.0.0.1\n".into()),
        (
            "proxy-without-scheme",
            "HTTPS_PROXY=user:hunter2@127.0.0.1:3128\nNO_PROXY=169.254.169.254,127.0.0.1\n".into(),
        ),
        ("proxy-odd", "HTTPS_PROXY=http://user:hunter2@@127.0.0.1:3128/@\nNO_PROXY=169.254.169.254,127.0.0.1\n".into()),
        ("no-proxy", "NO_PROXY=user:hunter2@127.0.0.1\n".into()),
        ("aws-keys", "AWS_ACCESS_KEY_ID=AKIAEXAMPLE\nAWS_SECRET_ACCESS_KEY=hunter2\n".into()),
        ("aws-token", "AWS_SESSION_TOKEN=IQoJb3JpZ2luX2VjEJr\n".into()),
        ("private-key", "-----BEGIN RSA PRIVATE KEY-----\nMIIEhunter2AAAA\n-----END RSA PRIVATE KEY-----\n".into()),
        ("comment", "# the password is hunter2\n".into()),
        ("trailing-comment", "ECS_LOGLEVEL=info # hunter2\n".into()),
        ("cluster-comment", "ECS_CLUSTER=prod # hunter2\n".into()),
        ("cluster-words", "ECS_CLUSTER=prod hunter2 more\n".into()),
        ("cluster-quoted-open", "ECS_CLUSTER=\"prod hunter2\n".into()),
        ("value-not-allowed", "ECS_LOGLEVEL=loud\n".into()),
        ("number-not-allowed", "ECS_CONTAINER_STOP_TIMEOUT=soon\n".into()),
        ("json-not-allowed", "ECS_INSTANCE_ATTRIBUTES={role:worker}\n".into()),
        ("list-not-allowed", "ECS_AVAILABLE_LOGGING_DRIVERS=[json-file,awslogs]\n".into()),
        ("region-not-allowed", "AWS_DEFAULT_REGION=us-east-1a\n".into()),
        ("tags-json", "ECS_CONTAINER_INSTANCE_TAGS={\"owner\":\"web\"}\n".into()),
        ("no-final-newline", "DB_PASS=hunter2".into()),
        ("carriage-returns", format!("ECS_ENGINE_AUTH_DATA={LOGIN}\r\nDB_PASS=hunter2\r\n")),
        ("only-carriage-returns", "DB_PASS=hunter2\rECS_CLUSTER=prod\r".into()),
        ("key-is-secret", "hunter2=1\nhunter2\n=hunter2\n".into()),
        ("continued", "DB_PASS=\\\nhunter2\n".into()),
        ("very-long-secret", format!("DB_PASS={}\n", "hunter2".repeat(40_000))),
    ]
    .into()
}

/// Lines of `ecs.config` that a terminal would interpret, or that no reader of the file can decode.
pub fn odd_lines() -> Vec<(&'static str, Vec<u8>)> {
    [
        ("escape", b"ECS_LOGLEVEL=\x1b[31mwarn\n".to_vec()),
        ("escape-in-key", b"\x1b[31mKEY=1\n".to_vec()),
        ("title", b"X=\x1b]0;title\x07\n".to_vec()),
        ("bell", b"X=\x07\n".to_vec()),
        ("c1", "X=\u{9b}31m\u{85}\n".into()),
        ("c1-bytes", b"X=\x9b31m\n".to_vec()),
        ("bidi", "X=\u{202e}abc\u{2066}\n".into()),
        ("bidi-in-key", "\u{202e}X=abc\n".into()),
        ("separator", "X=a\u{2028}error: [forged] b\n".into()),
        ("backspace", b"X=ab\x08\x08cd\n".to_vec()),
        ("return-forges", b"X=1\rerror: [forged] y\n".to_vec()),
        ("escape-in-cluster", b"ECS_CLUSTER=pr\x1b[31mod\n".to_vec()),
        ("bidi-in-cluster", "ECS_CLUSTER=prod\u{202e}\n".into()),
    ]
    .into()
}
