//! The types of the agent's variables: which values each takes, and their description for messages.
//!
//! In: a value. Out: whether the agent takes it. No text of this module repeats a value.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// The type of a variable. Enumerations are case-sensitive, as in the agent.
#[derive(Clone, Copy, Debug)]
pub enum VariableType {
    /// Go's booleans (`strconv.ParseBool`).
    Boolean,
    /// Exactly `true` or `false`.
    TrueOrFalse,
    /// A Go duration (`time.ParseDuration`) within limits.
    Duration {
        /// The agent raises or ignores a shorter one.
        least: Duration,
        /// The agent lowers or ignores a longer one. `Duration::MAX` means no limit.
        most: Duration,
    },
    /// A whole number within limits (`strconv.Atoi`, which takes a sign).
    Integer {
        /// The smallest number.
        least: i64,
        /// The largest number.
        most: i64,
    },
    /// A whole number from 0 (`strconv.ParseUint`, which takes no sign).
    Unsigned {
        /// The largest number.
        most: u64,
    },
    /// A number greater than 0.
    Number,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, in upper or lower case.
    OneOfAnyCase(&'static [&'static str]),
    /// Any text; the agent does not check it.
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
    /// Registry credentials: a JSON object with an object for each registry (`agent/dockerclient/dockerauth`).
    RegistryAuth,
    /// A JSON array of logging drivers that the agent knows.
    LoggingDrivers,
    /// A JSON array of ports.
    Ports,
    /// A JSON array of address prefixes.
    Cidrs,
    /// Two ports as `FIRST-LAST`, or one port.
    PortRange,
    /// Two numbers as `RATE,BURST`: the steady rate and the burst.
    Pair,
    /// Names of images, separated by commas (`parseImageCleanupExclusionList`).
    Images,
    /// `unix://` and the path of a socket.
    UnixSocket,
    /// `host:port` or a URL.
    Proxy,
}

pub(super) const KNOWN_DRIVERS: [&str; 11] = [
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

impl VariableType {
    /// Whether the agent takes this value.
    pub(super) fn takes(self, value: &str) -> bool {
        match self {
            VariableType::Boolean => BOOLEANS.contains(&value),
            VariableType::TrueOrFalse => matches!(value, "true" | "false"),
            VariableType::Duration { least, most } => {
                go_duration(value).is_some_and(|duration| (least..=most).contains(&duration))
            }
            VariableType::Integer { least, most } => value.parse().is_ok_and(|number| (least..=most).contains(&number)),
            VariableType::Unsigned { most } => unsigned(value).is_some_and(|number| number <= most),
            VariableType::Number => value.parse().is_ok_and(|number: f64| number.is_finite() && number > 0.0),
            VariableType::OneOf(values) => values.contains(&value),
            VariableType::OneOfAnyCase(values) => values.iter().any(|one| one.eq_ignore_ascii_case(value)),
            VariableType::Text | VariableType::Proxy => true,
            VariableType::Cluster => is_cluster(value),
            VariableType::Region => is_region(value),
            VariableType::Attributes => object(value).is_some_and(|pairs| are_attributes(&pairs)),
            VariableType::Tags => object(value).is_some_and(|pairs| are_tags(&pairs)),
            VariableType::Labels => object(value).is_some(),
            VariableType::RegistryAuth => registries(value).is_some_and(|all| !all.contains_key("auths")),
            VariableType::LoggingDrivers => first_json::<Vec<String>>(value)
                .is_some_and(|drivers| drivers.iter().all(|driver| KNOWN_DRIVERS.contains(&driver.as_str()))),
            VariableType::Ports => first_json::<Vec<u16>>(value).is_some(),
            VariableType::Cidrs => {
                serde_json::from_str::<Vec<String>>(value).is_ok_and(|all| all.iter().all(|one| is_cidr(one)))
            }
            VariableType::PortRange => {
                let (first, last) = value.split_once('-').unwrap_or((value, value));
                let port = |text| unsigned(text).filter(|port| (1..=65_535).contains(port));
                port(first).zip(port(last)).is_some_and(|(first, last)| first <= last)
            }
            VariableType::Images => !value.contains(['[', ']', '"', '\'']),
            VariableType::Pair => value.split_once(',').and_then(numbers::<u32>).is_some_and(|(a, b)| 0 < a && 0 < b),
            VariableType::UnixSocket => value.strip_prefix("unix://").is_some_and(|path| path.starts_with('/')),
        }
    }

    /// Whether the agent removes blanks around the value (`strings.TrimSpace`, `trim:"true"`, JSON). It does not do so
    /// for durations, `ParseUint` numbers and enumerations.
    pub(super) fn is_trimmed(self) -> bool {
        match self {
            VariableType::Boolean
            | VariableType::Cluster
            | VariableType::Region
            | VariableType::Pair
            | VariableType::OneOfAnyCase(_) => true,
            _ => self.is_json(),
        }
    }

    /// Whether the value is JSON.
    pub fn is_json(self) -> bool {
        matches!(
            self,
            VariableType::Attributes
                | VariableType::Tags
                | VariableType::Labels
                | VariableType::RegistryAuth
                | VariableType::LoggingDrivers
                | VariableType::Ports
                | VariableType::Cidrs
        )
    }

    /// Whether a message may repeat the value: only types of short words and numbers, which hold no secret.
    pub(super) fn is_plain(self) -> bool {
        !self.is_json()
            && !matches!(
                self,
                VariableType::Text
                    | VariableType::Images
                    | VariableType::Proxy
                    | VariableType::UnixSocket
                    | VariableType::Cluster
            )
    }
}

impl fmt::Display for VariableType {
    /// The values that the type takes, for messages: "takes ...".
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let list = |values: &[&str]| values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
        let short = |duration: &Duration| humantime::format_duration(*duration).to_string();
        let text = match self {
            VariableType::Boolean => {
                return write!(f, "`true` or `false` (or another boolean of Go: {})", list(&["1", "t", "0", "f"]));
            }
            VariableType::Duration { least, most: Duration::MAX } if least.is_zero() => {
                "a duration such as `90s` or `1h30m`"
            }
            VariableType::Duration { least, most: Duration::MAX } => {
                return write!(f, "a duration such as `90s` or `1h30m`, {} or more", short(least));
            }
            VariableType::Duration { least, most } => {
                return write!(f, "a duration such as `10s`, from {} to {}", short(least), short(most));
            }
            VariableType::Integer { least, most } => return write!(f, "a whole number from {least} to {most}"),
            VariableType::Unsigned { most } => return write!(f, "a whole number from 0 to {most}"),
            VariableType::OneOf(values) | VariableType::OneOfAnyCase(values) => {
                return write!(f, "one of {}", list(values));
            }
            VariableType::LoggingDrivers => {
                return write!(f, "a JSON array of logging drivers out of {}", list(&KNOWN_DRIVERS));
            }
            VariableType::TrueOrFalse => "exactly `true` or `false`",
            VariableType::Number => "a number greater than 0",
            VariableType::Text => "any text",
            VariableType::Images => "names of images separated by commas, not JSON",
            VariableType::Cluster => {
                "the name of a cluster (1 to 255 letters, digits, `-`, `_`) or its ARN \
                 `arn:PARTITION:ecs:REGION:ACCOUNT:cluster/NAME`"
            }
            VariableType::Region => "the code of a region such as `eu-west-1`",
            VariableType::Attributes => {
                "a JSON object of strings: at most 10, names of 1 to 128 letters, digits, `-`, `_`, `/`, `\\`, `.`, \
                 values of at most 128 of these, `@`, `:` and blanks inside"
            }
            VariableType::Tags => {
                "a JSON object of strings: at most 50, keys of 1 to 128 characters that do not begin with `aws:`, \
                 values of at most 256"
            }
            VariableType::Labels => "a JSON object of strings",
            VariableType::RegistryAuth => "a JSON object with an object for each registry",
            VariableType::Ports => "a JSON array of ports from 0 to 65535",
            VariableType::Cidrs => "a JSON array of address prefixes such as `[\"10.0.0.0/16\"]`",
            VariableType::PortRange => "two ports such as `32768-60999`, the smaller first, or one port",
            VariableType::Pair => "two whole numbers greater than 0 such as `40,60`",
            VariableType::UnixSocket => "`unix://` and the path of a socket",
            VariableType::Proxy => "`host:port` or a URL",
        };
        f.write_str(text)
    }
}

/// Reads a JSON object of strings as Go does: `null` is an empty string.
fn object(json: &str) -> Option<BTreeMap<String, String>> {
    let pairs = serde_json::from_str::<Option<BTreeMap<String, Option<String>>>>(json).ok()?.unwrap_or_default();
    Some(pairs.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

/// The registries of a `RegistryAuth` value with the login of each, which is secret.
pub(super) fn registries(json: &str) -> Option<BTreeMap<String, serde_json::Map<String, serde_json::Value>>> {
    serde_json::from_str(json).ok()
}

/// The first JSON value of a text. For arrays, the agent uses Go's stream decoder, which ignores text after the value.
pub(super) fn first_json<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::Deserializer::from_str(text).into_iter().next()?.ok()
}

/// Reads digits without a sign, as `strconv.ParseUint` does.
fn unsigned(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn numbers<T: std::str::FromStr>((first, second): (&str, &str)) -> Option<(T, T)> {
    Some((first.trim().parse().ok()?, second.trim().parse().ok()?))
}

/// Reads a duration as Go's `time.ParseDuration` does, except negative ones, which no variable takes.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
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
    // Go counts nanoseconds in a signed 64-bit integer. A double is exact far beyond the limits of the table.
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

/// Whether the text is the code of a region, such as `eu-west-1` or `us-gov-west-1`: words, and a number at the end.
/// With a letter after the number it is an Availability Zone.
pub(super) fn is_region(text: &str) -> bool {
    let Some((words, number)) = text.rsplit_once('-') else { return false };
    let is_word =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 64 && is_number && words.contains('-') && words.split('-').all(is_word)
}

/// Whether ECS takes an attribute with this name and this value (Amazon ECS API Reference, "Attribute").
pub fn is_attribute(name: &str, value: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-_/\\.".contains(c);
    let in_value = |c: char| in_name(c) || "@: ".contains(c);
    let is_name = (1..=128).contains(&name.len()) && name.chars().all(in_name);
    is_name && value.len() <= 128 && value.trim() == value && value.chars().all(in_value)
}

fn are_attributes(pairs: &BTreeMap<String, String>) -> bool {
    pairs.len() <= 10 && pairs.iter().all(|(name, value)| is_attribute(name, value))
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
