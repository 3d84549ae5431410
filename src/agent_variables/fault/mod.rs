//! Explains why the agent does not take a value, and suggests the value that was probably meant.
//!
//! In: a variable and a value that its type does not take. Out: a [`WrongValue`]. It repeats a value only if the type
//! is a short word or a number and the variable is not secret.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use super::table::{Variable, second_setting};
use super::variable_type::{KNOWN_DRIVERS, VariableType, first_json, go_duration, is_region, registries};
use crate::suggestion;

/// The longest value that a message repeats, in bytes.
const MAX_SHOWN_LENGTH: usize = 40;

/// What the agent does with a value that it does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consequence {
    /// It uses another value: the default, or the nearest value that is allowed.
    Ignored,
    /// It cannot register.
    NotRegistered,
    /// It exits at every start.
    Exits,
}

/// A value that the agent refuses, ignores, raises or lowers. It never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` takes {expected}{}", .why.as_ref().map(|why| format!("; {why}")).unwrap_or_default())]
pub struct WrongValue {
    /// The name of the variable.
    pub name: String,
    /// The values that the variable takes, for a message.
    pub expected: String,
    /// What is wrong with this value, if that is known.
    pub why: Option<String>,
    /// The value that was probably meant.
    pub suggestion: Option<String>,
    /// What the agent does with the value.
    pub consequence: Consequence,
}

/// What is wrong with a value, and the value that was meant.
#[derive(Default)]
struct Reason {
    why: Option<String>,
    suggestion: Option<String>,
}

fn because(why: impl Into<String>) -> Reason {
    Reason { why: Some(why.into()), suggestion: None }
}

impl Reason {
    fn meant(self, suggestion: impl Into<String>) -> Reason {
        Reason { suggestion: Some(suggestion.into()), ..self }
    }
}

/// Why the variable does not take this value.
pub(super) fn fault(variable: &Variable, value: &str) -> WrongValue {
    let variable_type = variable.variable_type;
    let reason = general(variable_type, value).unwrap_or_else(|| of_type(variable_type, value.trim()));
    let has_secret = |text: &String| variable.secret && text.contains(value.trim());
    WrongValue {
        name: variable.name.to_owned(),
        expected: variable_type.to_string(),
        why: reason.why.filter(|why| !has_secret(why)),
        // A suggestion must be a value that the agent takes.
        suggestion: reason.suggestion.filter(|meant| !variable.secret && variable_type.takes(meant)),
        consequence: consequence(variable_type, value),
    }
}

/// What the agent does with a wrong value (`agent/config/config.go`, `parse.go`).
fn consequence(variable_type: VariableType, value: &str) -> Consequence {
    match variable_type {
        VariableType::Attributes | VariableType::Tags => match serde_json::from_str::<Value>(value) {
            Ok(Value::Object(pairs)) if pairs.values().all(|value| value.is_string() || value.is_null()) => {
                Consequence::NotRegistered
            }
            _ => Consequence::Exits,
        },
        VariableType::Cidrs => Consequence::Exits,
        // The agent ignores text that is not a list, and exits on a list with an unknown driver.
        VariableType::LoggingDrivers if first_json::<Vec<String>>(value).is_some() => Consequence::Exits,
        VariableType::Cluster | VariableType::Region => Consequence::NotRegistered,
        _ => Consequence::Ignored,
    }
}

/// Mistakes that values of all types can have.
fn general(variable_type: VariableType, value: &str) -> Option<Reason> {
    let trimmed = value.trim();
    if let Some(at) = second_setting(trimmed) {
        let (reason, first) = (because("two settings are on one line"), trimmed[..at].trim());
        return Some(if variable_type.takes(first) && !variable_type.is_json() { reason.meant(first) } else { reason });
    }
    if trimmed.contains(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{ab}', '\u{bb}']) {
        return Some(because("it has typographic quotes, which the agent does not read as quotes"));
    }
    if trimmed.contains("\\\"") {
        return Some(because(
            "its quotes have a backslash before them, and the agent reads the backslash as part of the value",
        ));
    }
    let comment = trimmed.find(" #").or(trimmed.find("\t#"));
    if let Some(before) = comment.map(|at| trimmed[..at].trim_end()) {
        let reason = because("a comment cannot follow a value: the agent reads it as part of the value");
        let meant = if variable_type.takes(before) {
            Some(before.to_owned())
        } else {
            of_type(variable_type, before).suggestion
        };
        return Some(Reason { suggestion: meant.filter(|_| variable_type.is_plain()), ..reason });
    }
    (trimmed != value && variable_type.takes(trimmed)).then(|| {
        let reason = because("the agent does not remove the blanks around it");
        if variable_type.is_plain() { reason.meant(trimmed) } else { reason }
    })
}

/// Mistakes that only values of this type can have.
fn of_type(variable_type: VariableType, value: &str) -> Reason {
    if let Some(bare) = value.strip_suffix([';', ',']).filter(|bare| variable_type.takes(bare)) {
        let reason = because("the agent reads its last character as part of the value");
        return if variable_type.is_plain() { reason.meant(bare) } else { reason };
    }
    match variable_type {
        VariableType::Boolean | VariableType::TrueOrFalse => boolean(variable_type, value),
        VariableType::Duration { least, most } => duration(value, least, most),
        VariableType::Integer { .. } | VariableType::Unsigned { .. } => number(variable_type, value),
        VariableType::OneOf(values) | VariableType::OneOfAnyCase(values) => one_of(values, value),
        VariableType::Region => region(value),
        VariableType::Cluster => cluster(value),
        VariableType::Attributes | VariableType::Tags | VariableType::Labels => object(variable_type, value),
        VariableType::RegistryAuth => registry_auth(value),
        VariableType::LoggingDrivers => drivers(value),
        VariableType::Ports => ports(value),
        VariableType::Cidrs => cidrs(value),
        _ => Reason::default(),
    }
}

/// The value in backticks, if it is a short word of plain characters.
fn shown(value: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+:/ ".contains(c);
    (!value.is_empty() && value.len() <= MAX_SHOWN_LENGTH && value.chars().all(is_plain)).then(|| format!("`{value}`"))
}

fn boolean(variable_type: VariableType, value: &str) -> Reason {
    let lower = value.to_ascii_lowercase();
    let meant = match lower.as_str() {
        "yes" | "y" | "on" | "enable" | "enabled" | "true" | "1" | "t" => "true",
        "no" | "n" | "off" | "disable" | "disabled" | "false" | "0" | "f" => "false",
        _ => return shown(value).map(|it| because(format!("{it} is neither of them"))).unwrap_or_default(),
    };
    let reader = if matches!(variable_type, VariableType::TrueOrFalse) { "ecs-init" } else { "the agent" };
    because(format!("{reader} does not know `{value}`")).meant(meant)
}

fn duration(value: &str, least: Duration, most: Duration) -> Reason {
    if let Some(duration) = go_duration(value) {
        let short = |duration: Duration| humantime::format_duration(duration).to_string();
        return if duration < least {
            because(format!("{} is too short", short(duration))).meant(short(least))
        } else {
            because(format!("{} is too long", short(duration))).meant(short(most))
        };
    }
    let digits = value.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = value[digits.len()..].trim().to_ascii_lowercase();
    let unit = match unit.as_str() {
        "" => "s",
        "sec" | "secs" | "second" | "seconds" | "s" => "s",
        "min" | "mins" | "minute" | "minutes" | "m" => "m",
        "hour" | "hours" | "hr" | "hrs" | "h" => "h",
        "d" | "day" | "days" => "d",
        _ => return Reason::default(),
    };
    let Some(number) = digits.parse::<u32>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit())) else {
        return Reason::default();
    };
    let meant = if unit == "d" { format!("{}h", u64::from(number) * 24) } else { format!("{number}{unit}") };
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        because(format!("`{value}` has no unit")).meant(meant)
    } else {
        because("the agent takes the units `ms`, `s`, `m` and `h`, without blanks").meant(meant)
    }
}

fn number(variable_type: VariableType, value: &str) -> Reason {
    let digits: String = value.trim_start_matches('+').chars().take_while(char::is_ascii_digit).collect();
    let rest = value.trim_start_matches('+')[digits.len()..].trim();
    if digits.is_empty() || digits.len() > 18 || !rest.chars().all(|c| c.is_ascii_alphabetic()) {
        return Reason::default();
    }
    match (rest.is_empty(), variable_type.takes(&digits)) {
        (true, true) => because("the agent does not take a sign before the number").meant(digits),
        (true, false) => because(format!("`{digits}` is out of range")),
        (false, takes) => {
            let reason = because("the agent does not take a unit after the number");
            let is_mebibytes = ["m", "mb", "mib"].contains(&rest.to_ascii_lowercase().as_str());
            if takes && is_mebibytes { reason.meant(digits) } else { reason }
        }
    }
}

fn one_of(values: &[&str], value: &str) -> Reason {
    let lower = value.to_ascii_lowercase();
    let has_other_case = values.iter().any(|one| one.eq_ignore_ascii_case(value));
    let reason = match shown(value) {
        _ if has_other_case => because("upper and lower case differ"),
        Some(it) => because(format!("{it} is not one of them")),
        None => Reason::default(),
    };
    // `warning` and `errors` are levels in other programs.
    let level = || ["warn", "error"].into_iter().find(|level| lower.starts_with(level) && values.contains(level));
    match suggestion::nearest(value, values.iter().copied()).or_else(level) {
        Some(meant) => reason.meant(meant),
        None => reason,
    }
}

fn region(value: &str) -> Reason {
    let lower = value.to_ascii_lowercase().replace('_', "-");
    let zone = lower.strip_suffix(|c: char| c.is_ascii_lowercase()).filter(|region| is_region(region));
    match (zone, is_region(&lower), shown(value)) {
        (Some(region), _, Some(it)) => because(format!("{it} is an Availability Zone")).meant(region),
        (_, true, _) => because("a region is written in lower case, with hyphens").meant(lower),
        (_, _, Some(it)) => because(format!("{it} is not a region")),
        _ => Reason::default(),
    }
}

fn cluster(value: &str) -> Reason {
    const OTHER_RESOURCES: [(&str, &str); 4] = [
        (":service/", "a service"),
        (":container-instance/", "a container instance"),
        (":task/", "a task"),
        (":task-definition/", "a task definition"),
    ];
    if value.is_empty() {
        return because("it is empty, so the agent joins the cluster `default`");
    }
    if value.starts_with("arn:") {
        let other = OTHER_RESOURCES
            .iter()
            .find(|(part, _)| value.contains(part))
            .map(|(_, what)| because(format!("it is the ARN of {what}")));
        return other
            .unwrap_or_else(|| because("it is not the ARN of a cluster, or a part of the ARN is empty or wrong"));
    }
    let wrong = value.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_".contains(*c));
    match wrong {
        Some(' ' | '\t') => because("it contains a blank"),
        Some(c @ ('"' | '\'')) => because(format!("the quote `{c}` is part of it")),
        Some(c) if c.is_ascii_graphic() => because(format!("a name cannot contain `{c}`")),
        Some(_) => because("it contains a character that is not allowed in a name"),
        None => because("it is longer than 255 characters"),
    }
}

/// Why a text is not JSON. `None` if it is JSON.
fn not_json(value: &str) -> Option<Reason> {
    let Err(error) = serde_json::from_str::<Value>(value) else { return None };
    let unquoted = value.starts_with(['{', '[']) && !value.contains(['"', '\'']);
    let single = value.starts_with(['{', '[']) && value.contains('\'') && !value.contains('"');
    Some(if unquoted {
        because("its double quotes are missing; a shell removes them unless the text is in single quotes")
    } else if single {
        because("its quotes are single, and JSON needs double quotes").meant(value.replace('\'', "\""))
    } else if error.is_eof() {
        because("the JSON does not end on this line, and the agent reads only this line")
    } else if value.trim_end_matches([' ', '\t', ']', '}']).ends_with(',') {
        because("JSON does not allow a comma after the last element")
    } else {
        because("it is not JSON")
    })
}

/// The type of a JSON value, for a message.
fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "`true` or `false` without quotes",
        Value::Number(_) => "a number without quotes",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The key of a JSON object, if it may be repeated.
fn key(key: &str) -> String {
    shown(key).unwrap_or_else(|| "one of its keys".to_owned())
}

fn object(variable_type: VariableType, value: &str) -> Reason {
    if let Some((name, text)) = value.split_once('=').filter(|_| !value.starts_with(['{', '['])) {
        let is_pair = shown(name).is_some() && shown(text).is_some() && !text.contains(['=', ',']);
        let reason = because("`NAME=VALUE` is not JSON");
        return if is_pair { reason.meant(format!("{{\"{name}\":\"{text}\"}}")) } else { reason };
    }
    if let Some(reason) = not_json(value) {
        return reason;
    }
    let Ok(Value::Object(pairs)) = serde_json::from_str::<Value>(value) else {
        let it = serde_json::from_str::<Value>(value).map_or("another value", |value| name_of(&value));
        return because(format!("it is {it}, not an object"));
    };
    if let Some((name, value)) = pairs.iter().find(|(_, value)| !value.is_string() && !value.is_null()) {
        return because(format!("the value of {} is {}, but must be a string in quotes", key(name), name_of(value)));
    }
    let most = if matches!(variable_type, VariableType::Attributes) { 10 } else { 50 };
    if pairs.len() > most {
        return because(format!("it has {} of them, and {most} are allowed", pairs.len()));
    }
    let alone = |name: &str, text: &Value| {
        Value::from(serde_json::Map::from_iter([(name.to_owned(), text.clone())])).to_string()
    };
    match pairs.iter().find(|(name, text)| !variable_type.takes(&alone(name, text))) {
        Some((name, _)) if name.to_ascii_lowercase().starts_with("aws:") => {
            because(format!("{} begins with the reserved prefix `aws:`", key(name)))
        }
        Some((name, _)) => {
            because(format!("{} or its value is too long or contains a character that is not allowed", key(name)))
        }
        None => Reason::default(),
    }
}

fn registry_auth(value: &str) -> Reason {
    if let Some(Reason { why, .. }) = not_json(value) {
        return Reason { why, suggestion: None };
    }
    match registries(value) {
        Some(all) if all.contains_key("auths") => because(
            "it has the form of docker's `config.json`; the agent needs the object that is the value of `auths`",
        ),
        _ => because("it is JSON, but the value of a registry must be an object such as `{\"auth\":\"...\"}`"),
    }
}

fn drivers(value: &str) -> Reason {
    let of = |names: &[String]| Value::from(names.to_vec()).to_string();
    if let Some(drivers) = first_json::<Vec<String>>(value) {
        let Some(unknown) = drivers.iter().find(|driver| !KNOWN_DRIVERS.contains(&driver.as_str())) else {
            return Reason::default();
        };
        let why = shown(unknown).unwrap_or_else(|| "one of them".to_owned());
        let reason = because(format!("the agent does not know the driver {why}"));
        return match suggestion::nearest(unknown, KNOWN_DRIVERS) {
            Some(near) => {
                let meant = |driver: &String| if driver == unknown { near.to_owned() } else { driver.clone() };
                reason.meant(of(&drivers.iter().map(meant).collect::<Vec<_>>()))
            }
            None => reason,
        };
    }
    let bare = value.trim_matches(|c: char| "[]{}()".contains(c));
    let is_quote = |c: char| "\"'` ".contains(c);
    let names: Vec<String> = bare.split(',').map(|name| name.trim_matches(is_quote).to_owned()).collect();
    let reason = match serde_json::from_str::<Value>(value) {
        Ok(Value::Array(_)) => because("it is a list, but not a list of strings"),
        Ok(other) => because(format!("it is {}, not a list", name_of(&other))),
        Err(_) => not_json(value).unwrap_or_default(),
    };
    let are_known = names.iter().all(|name| KNOWN_DRIVERS.contains(&name.as_str()));
    if are_known { reason.meant(of(&names)) } else { reason }
}

fn ports(value: &str) -> Reason {
    let bare = value.trim_matches(|c: char| "[]{}()".contains(c));
    let numbers: Option<Vec<u16>> =
        bare.split(',').map(|port| port.trim_matches(|c: char| "\"' ".contains(c)).parse().ok()).collect();
    let reason = match serde_json::from_str::<Value>(value) {
        Ok(Value::Array(_)) => because("its elements must be numbers from 0 to 65535 without quotes"),
        Ok(other) => because(format!("it is {}, not a list", name_of(&other))),
        Err(_) => not_json(value).unwrap_or_default(),
    };
    match numbers {
        Some(numbers) => reason.meant(Value::from(numbers).to_string()),
        None => reason,
    }
}

fn cidrs(value: &str) -> Reason {
    let Some(list) = first_json::<Vec<String>>(value) else {
        let reason = match serde_json::from_str::<Value>(value) {
            Ok(Value::Array(_)) => because("it is a list, but not a list of strings"),
            Ok(other) => because(format!("it is {}, not a list", name_of(&other))),
            Err(_) => not_json(value).unwrap_or_default(),
        };
        let alone = Value::from(vec![value]).to_string();
        return if VariableType::Cidrs.takes(&alone) { reason.meant(alone) } else { reason };
    };
    let wrong = list.iter().find(|one| !VariableType::Cidrs.takes(&Value::from(vec![one.as_str()]).to_string()));
    match wrong {
        Some(one) if one.parse::<IpAddr>().is_ok() => because(format!("`{one}` has no prefix length such as `/16`")),
        Some(one) => match shown(one) {
            Some(it) => because(format!("{it} is not an address prefix")),
            None => Reason::default(),
        },
        None => because("there is text after the list"),
    }
}

#[cfg(test)]
mod tests;
