//! What a variable takes: a value goes in, out comes whether the agent takes it as it is meant.
//!
//! It describes each kind in words for people; it never shows a value.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// What a variable takes. Enumerations are case-sensitive, as in the agent.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Go's booleans (`strconv.ParseBool`).
    Boolean,
    /// `true` or `false` in these letters.
    TrueOrFalse,
    /// A Go duration (`time.ParseDuration`) within bounds.
    Duration {
        /// Less is raised or ignored.
        least: Duration,
        /// More is clamped or ignored; `Duration::MAX` where nothing is too much.
        most: Duration,
    },
    /// A whole number within bounds.
    Integer {
        /// The smallest.
        least: i64,
        /// The largest.
        most: i64,
    },
    /// A positive number.
    Number,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Anything; the agent does not look at it.
    Text,
    /// The name of a cluster, or its ARN.
    Cluster,
    /// The code of an AWS region.
    Region,
    /// A JSON object of strings: custom attributes (ECS API reference, "Attribute").
    Attributes,
    /// A JSON object of strings: tags (ECS API reference, "Tag").
    Tags,
    /// A JSON object of strings.
    Labels,
    /// Any JSON object.
    JsonObject,
    /// A JSON array of logging drivers that the agent knows.
    LoggingDrivers,
    /// A JSON array of ports.
    Ports,
    /// A JSON array of prefixes.
    Cidrs,
    /// `FIRST-LAST`, ports.
    PortRange,
    /// `INT,INT`: the steady rate and the burst.
    Pair,
    /// `unix://` and the path of a socket.
    UnixSocket,
    /// `host:port` or a URL.
    Proxy,
}

const KNOWN_DRIVERS: [&str; 11] = [
    "json-file",
    "syslog",
    "journald",
    "gelf",
    "fluentd",
    "awslogs",
    "splunk",
    "logentries",
    "sumologic",
    "none",
    "awsfirelens",
];
const BOOLEANS: [&str; 12] = ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];

impl Kind {
    /// Whether the agent takes `value` as it is meant.
    pub(super) fn takes(self, value: &str) -> bool {
        match self {
            Kind::Boolean => BOOLEANS.contains(&value),
            Kind::TrueOrFalse => matches!(value, "true" | "false"),
            Kind::Duration { least, most } => {
                go_duration(value).is_some_and(|duration| (least..=most).contains(&duration))
            }
            Kind::Integer { least, most } => value.parse().is_ok_and(|number| (least..=most).contains(&number)),
            Kind::Number => value.parse().is_ok_and(|number: f64| number.is_finite() && number > 0.0),
            Kind::OneOf(values) => values.contains(&value),
            Kind::Text | Kind::Proxy => true,
            Kind::Cluster => is_cluster(value),
            Kind::Region => is_region(value),
            Kind::Attributes => object(value).is_some_and(|pairs| are_attributes(&pairs)),
            Kind::Tags => object(value).is_some_and(|pairs| are_tags(&pairs)),
            Kind::Labels => object(value).is_some(),
            Kind::JsonObject => serde_json::from_str::<serde_json::Map<_, _>>(value).is_ok(),
            Kind::LoggingDrivers => serde_json::from_str::<Vec<String>>(value)
                .is_ok_and(|drivers| drivers.iter().all(|driver| KNOWN_DRIVERS.contains(&driver.as_str()))),
            Kind::Ports => serde_json::from_str::<Vec<u16>>(value).is_ok(),
            Kind::Cidrs => {
                serde_json::from_str::<Vec<String>>(value).is_ok_and(|all| all.iter().all(|one| is_cidr(one)))
            }
            Kind::PortRange => value.split_once('-').and_then(numbers::<u16>).is_some_and(|(a, b)| 0 < a && a <= b),
            Kind::Pair => value.split_once(',').and_then(numbers::<u32>).is_some_and(|(a, b)| 0 < a && 0 < b),
            Kind::UnixSocket => value.strip_prefix("unix://").is_some_and(|path| path.starts_with('/')),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let list = |values: &[&str]| values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
        let short = |duration: &Duration| humantime::format_duration(*duration).to_string();
        match self {
            Kind::Boolean => write!(f, "`true` or `false` (or another boolean of Go: {})", list(&["1", "t", "0", "f"])),
            Kind::TrueOrFalse => f.write_str("exactly `true` or `false`"),
            Kind::Duration { least, most: Duration::MAX } if least.is_zero() => f.write_str("a duration such as `90s` or `1h30m`"),
            Kind::Duration { least, most: Duration::MAX } => write!(f, "a duration such as `90s` or `1h30m`, {} or more", short(least)),
            Kind::Duration { least, most } => write!(f, "a duration such as `10s`, from {} to {}", short(least), short(most)),
            Kind::Integer { least, most } => write!(f, "a whole number from {least} to {most}"),
            Kind::Number => f.write_str("a number above 0"),
            Kind::OneOf(values) => write!(f, "one of {}", list(values)),
            Kind::Text => f.write_str("any text"),
            Kind::Cluster => f.write_str(
                "the name of a cluster (1 to 255 letters, digits, `-`, `_`) or its ARN `arn:PARTITION:ecs:REGION:ACCOUNT:cluster/NAME`",
            ),
            Kind::Region => f.write_str("the code of a region such as `eu-west-1`"),
            Kind::Attributes => f.write_str(
                "a JSON object of strings: at most 10, names of 1 to 128 letters, digits, `-`, `_`, `/`, `\\`, `.`, \
                 values of at most 128 of these, `@`, `:` and blanks inside",
            ),
            Kind::Tags => f.write_str(
                "a JSON object of strings: at most 50, keys of 1 to 128 characters that do not begin with `aws:`, \
                 values of at most 256",
            ),
            Kind::Labels => f.write_str("a JSON object of strings"),
            Kind::JsonObject => f.write_str("a JSON object"),
            Kind::LoggingDrivers => write!(f, "a JSON array of logging drivers out of {}", list(&KNOWN_DRIVERS)),
            Kind::Ports => f.write_str("a JSON array of ports from 0 to 65535"),
            Kind::Cidrs => f.write_str("a JSON array of prefixes such as `[\"10.0.0.0/16\"]`"),
            Kind::PortRange => f.write_str("two ports such as `32768-60999`, the smaller first"),
            Kind::Pair => f.write_str("two whole numbers above 0 such as `40,60`"),
            Kind::UnixSocket => f.write_str("`unix://` and the path of a socket"),
            Kind::Proxy => f.write_str("`host:port` or a URL"),
        }
    }
}

fn object(json: &str) -> Option<BTreeMap<String, String>> {
    serde_json::from_str(json).ok()
}

fn numbers<T: std::str::FromStr>((first, second): (&str, &str)) -> Option<(T, T)> {
    Some((first.parse().ok()?, second.parse().ok()?))
}

/// Go's `time.ParseDuration`, but for negative ones: none of the agent's may be.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanoseconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let unit = rest[number..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |at| number + at);
        let factor = match &rest[number..unit] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        nanoseconds += rest[..number].parse::<f64>().ok()? * factor;
        rest = &rest[unit..];
    }
    // Go counts nanoseconds in 64 bits with a sign; a double is exact far beyond all bounds of the table.
    (nanoseconds < i64::MAX as f64).then(|| Duration::from_nanos(nanoseconds as u64))
}

pub(super) fn is_cluster(text: &str) -> bool {
    // ECS API reference, "CreateCluster", clusterName.
    let name = |text: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=255).contains(&text.len()) && text.chars().all(allowed)
    };
    let Some(arn) = text.strip_prefix("arn:") else { return name(text) };
    let parts: Vec<&str> = arn.splitn(5, ':').collect();
    let [partition, "ecs", region, account, resource] = parts[..] else { return false };
    let partition_known = partition == "aws" || partition.starts_with("aws-");
    let digits = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    partition_known && is_region(region) && digits(account) && resource.strip_prefix("cluster/").is_some_and(name)
}

fn is_region(text: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.len() <= 64 && text.contains('-') && text.split('-').all(part)
}

fn are_attributes(pairs: &BTreeMap<String, String>) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-_/\\.".contains(c);
    let in_value = |c: char| in_name(c) || "@: ".contains(c);
    let name = |text: &str| (1..=128).contains(&text.len()) && text.chars().all(in_name);
    let value = |text: &str| text.len() <= 128 && text.trim() == text && text.chars().all(in_value);
    pairs.len() <= 10 && pairs.iter().all(|(key, text)| name(key) && value(text))
}

fn are_tags(pairs: &BTreeMap<String, String>) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || " +-=._:/@".contains(c);
    let key = |text: &str| {
        let reserved = text.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:"));
        (1..=128).contains(&text.chars().count()) && !reserved && text.chars().all(allowed)
    };
    let value = |text: &str| text.chars().count() <= 256 && text.chars().all(allowed);
    pairs.len() <= 50 && pairs.iter().all(|(name, text)| key(name) && value(text))
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.bytes().all(|byte| byte.is_ascii_digit()) && length.parse::<u8>().is_ok_and(|length| length <= most)
}
