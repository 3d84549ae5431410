//! Values outside of this host that settings name: a secret, a parameter, an object.

use std::fmt;

use serde::Serialize;

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteValue {
    /// A secret of Secrets Manager, by ARN or name.
    Secret(String),
    /// A parameter of Systems Manager, by ARN or name.
    Parameter(String),
    /// An object of S3.
    Object {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
}

impl RemoteValue {
    /// Parses an ARN, `secretsmanager:NAME`, `ssm:NAME` or `s3://BUCKET/KEY`; `None` if it is none of them.
    pub fn parse(text: &str) -> Option<RemoteValue> {
        const MAX_LENGTH: usize = 2048;
        // `*`, `?` and `$` have another meaning in the policy that allows the call.
        let is_refused = |c: char| c.is_control() || c.is_whitespace() || "*?$".contains(c);
        let is_printable = text.len() <= MAX_LENGTH && !text.chars().any(is_refused);
        let text = Some(text).filter(|_| is_printable)?;
        if let Some(arn) = text.strip_prefix("arn:") {
            let parts: Vec<&str> = arn.splitn(5, ':').collect();
            return match parts[..] {
                [_, "secretsmanager", region, _, rest] if !region.is_empty() && named(rest, "secret:") => {
                    Some(RemoteValue::Secret(text.to_owned()))
                }
                [_, "ssm", region, _, rest] if !region.is_empty() && named(rest, "parameter/") => {
                    Some(RemoteValue::Parameter(text.to_owned()))
                }
                _ => None,
            };
        }
        // A name has no colon: it would be the suffix of `valueFrom` in a task definition.
        let is_name = |name: &&str| !name.is_empty() && !name.contains(':');
        if let Some(name) = text.strip_prefix("secretsmanager:").filter(is_name) {
            return Some(RemoteValue::Secret(name.to_owned()));
        }
        if let Some(name) = text.strip_prefix("ssm:").filter(|name| !name.is_empty()) {
            return Some(RemoteValue::Parameter(name.to_owned()));
        }
        let (bucket, key) = text.strip_prefix("s3://")?.split_once('/')?;
        let is_bucket = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        let is_valid = (3..=63).contains(&bucket.len()) && bucket.bytes().all(is_bucket) && !key.is_empty();
        is_valid.then(|| RemoteValue::Object { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// The region of an ARN.
    pub fn region(&self) -> Option<&str> {
        match self {
            RemoteValue::Secret(name) | RemoteValue::Parameter(name) => name.strip_prefix("arn:")?.split(':').nth(2),
            RemoteValue::Object { .. } => None,
        }
    }
}

fn named(rest: &str, kind: &str) -> bool {
    rest.strip_prefix(kind).is_some_and(|name| !name.is_empty())
}

impl fmt::Display for RemoteValue {
    /// The text that [`RemoteValue::parse`] takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteValue::Secret(name) | RemoteValue::Parameter(name) if name.starts_with("arn:") => f.write_str(name),
            RemoteValue::Secret(name) => write!(f, "secretsmanager:{name}"),
            RemoteValue::Parameter(name) => write!(f, "ssm:{name}"),
            RemoteValue::Object { bucket, key } => write!(f, "s3://{bucket}/{key}"),
        }
    }
}

impl Serialize for RemoteValue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_parsed_and_shown_as_it_was() {
        for (text, region) in [
            ("arn:aws:secretsmanager:eu-west-1:111122223333:secret:team/hub-a1b2c3", Some("eu-west-1")),
            ("arn:aws-cn:ssm:cn-north-1:111122223333:parameter/team/hub", Some("cn-north-1")),
            ("secretsmanager:team/hub", None),
            ("ssm:/team/hub", None),
            ("s3://my-bucket/ecs/ecs.config", None),
        ] {
            let parsed = RemoteValue::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((parsed.to_string().as_str(), parsed.region()), (text, region));
        }
        for wrong in [
            "",
            "hub",
            "ssm:",
            "secretsmanager:",
            "s3://b/k",
            "s3://bucket",
            "s3://bucket/",
            "s3://Bucket/k",
            "ssm:a b",
            "arn:aws:s3:::bucket/key",
            "arn:aws:ssm::1:parameter/x",
            "arn:aws:secretsmanager:r:1:secret:",
            "https://x/y",
            "s3://bucket/a*",
            "secretsmanager:hub:password::",
        ] {
            assert_eq!(RemoteValue::parse(wrong), None, "{wrong}");
        }
    }
}
