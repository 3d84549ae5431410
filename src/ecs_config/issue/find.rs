//! Finds the mistakes: compares each line as ecs-init reads it with what its author probably meant.

use std::collections::BTreeMap;

use super::key::{BOM, CLUSTER_KEY, has_placeholder, is_comment, meant};
use super::{ConfigIssue, Context, IssueKind, Level};
use crate::agent_variables::{Consequence, Variable, check, find, second_setting};

/// Replaces text in a line that is not known before the line is written, such as the value of a shell variable.
pub const OPAQUE: char = '\u{e000}';
/// The most issues of one file. After them only errors are kept, up to twice this number of issues.
const MAX_ISSUES: usize = 200;
/// Later lines are skipped. No `ecs.config` is this long.
const MAX_LINES: usize = 4000;

/// One line of an `ecs.config`, and the place of its characters in the file that is checked.
#[derive(Clone, Debug, Default)]
pub struct SourceLine {
    /// The line of the checked file, from 1.
    pub line: usize,
    /// The text as ecs-init reads it, with [`OPAQUE`] for unknown parts.
    pub text: String,
    /// The column of each character. Empty if it is the position in `text`.
    pub columns: Vec<usize>,
    /// Whether no template engine replaces placeholders in this line.
    pub is_final: bool,
}

impl SourceLine {
    fn column(&self, offset: usize) -> usize {
        let index = self.text.get(..offset).map_or(0, |before| before.chars().count());
        if self.columns.is_empty() {
            index + 1
        } else {
            self.columns.get(index).or(self.columns.last()).copied().unwrap_or(1)
        }
    }
}

/// One assignment, and the byte positions of its parts.
struct Assigned<'l> {
    source: &'l SourceLine,
    key: &'l str,
    value: &'l str,
    key_at: usize,
    value_at: usize,
}

/// Every issue of a file, in the order of its lines.
pub fn issues(bytes: &[u8], context: &Context<'_>) -> Vec<ConfigIssue> {
    if let Some(text) = utf_16(bytes) {
        let lines = lines_of(text.as_bytes());
        let named = effective(&lines).get(CLUSTER_KEY).map(|line| (line.source.line, cluster(line.value)));
        let kind = IssueKind::Unreadable("the file is UTF-16, which ecs-init cannot read");
        let (line, cluster) = named.unwrap_or((1, None));
        let level = level_of_ignored(context.is_cluster_named || cluster.is_none());
        return vec![ConfigIssue { line, column: 1, key: CLUSTER_KEY.to_owned(), kind, level, cluster }];
    }
    if let Some(json) = json_file(bytes) {
        let level = level_of_ignored(context.is_cluster_named);
        let cluster = json.get("Cluster").and_then(|name| name.as_str()).and_then(cluster);
        return vec![ConfigIssue { line: 1, column: 1, key: String::new(), kind: IssueKind::JsonFile, level, cluster }];
    }
    let lines = lines_of(bytes);
    let mut found = issues_of(&lines, context);
    let half = half_login(lines.iter().take(MAX_LINES));
    found.extend(half.filter(|half| !found.iter().any(|issue| issue.line == half.line)));
    found.sort_by_key(|issue| issue.line);
    found
}

/// A registry login with a type but no data, or with data but no type: the agent uses neither. `None` if a line with
/// unknown text could hold the missing half.
pub fn half_login<'l>(lines: impl Iterator<Item = &'l SourceLine>) -> Option<ConfigIssue> {
    const HALVES: [&str; 2] = ["ECS_ENGINE_AUTH_TYPE", "ECS_ENGINE_AUTH_DATA"];
    let mut found: [Option<Assigned<'_>>; 2] = [None, None];
    for line in lines {
        match assignment(line) {
            Some(assigned) if is_comment(assigned.key.trim()) => {}
            Some(assigned) => {
                let half = HALVES.iter().position(|key| assigned.key.contains(key));
                let half = half.filter(|_| !assigned.value.trim().is_empty());
                half.into_iter().for_each(|half| found[half] = Some(Assigned { ..assigned }));
            }
            None if line.text.contains(OPAQUE) || has_placeholder(line.text.trim(), true) => return None,
            None => {}
        }
    }
    let (assigned, missing) = match &found {
        [Some(login), None] => (login, HALVES[1]),
        [None, Some(login)] => (login, HALVES[0]),
        _ => return None,
    };
    Some(ConfigIssue {
        line: assigned.source.line,
        column: assigned.source.column(assigned.key_at),
        key: assigned.key.trim().to_owned(),
        kind: IssueKind::HalfLogin(missing),
        level: Level::Warning,
        cluster: None,
    })
}

/// Every issue of these lines, in their order.
pub fn issues_of(lines: &[SourceLine], context: &Context<'_>) -> Vec<ConfigIssue> {
    let last = effective(lines);
    let is_named = last.get(CLUSTER_KEY).is_some_and(|line| !line.value.trim().is_empty());
    let context = Context { is_cluster_named: context.is_cluster_named || is_named, ..*context };
    let region = last.get("AWS_DEFAULT_REGION").map(|line| line.value.trim());
    let context = Context {
        region: region.filter(|region| check("AWS_DEFAULT_REGION", region).is_ok()).or(context.region),
        ..context
    };
    let mut found = Vec::new();
    for line in lines.iter().take(MAX_LINES) {
        let count = found.len();
        let is_kept =
            |issue: &ConfigIssue| count < MAX_ISSUES || (issue.level == Level::Error && count < 2 * MAX_ISSUES);
        let Some(assigned) = assignment(line) else {
            found.extend(unassigned(line, &context).filter(is_kept));
            continue;
        };
        if assigned.key.contains(OPAQUE) {
            continue;
        }
        let issue = of_key(&assigned, &context).or_else(|| of_value(&assigned, &last, &context));
        found.extend(issue.filter(is_kept));
        found.extend(overridden(&assigned, &last).filter(is_kept));
    }
    found
}

/// The first line that ends in CR LF.
pub fn first_crlf(bytes: &[u8]) -> Option<usize> {
    bytes.split(|byte| *byte == b'\n').position(|line| line.ends_with(b"\r")).map(|index| index + 1)
}

/// The value without the quotes around it. `None` if there are none.
pub fn unquoted(value: &str) -> Option<&str> {
    const QUOTES: [(char, char); 5] =
        [('"', '"'), ('\'', '\''), ('`', '`'), ('\u{201c}', '\u{201d}'), ('\u{2018}', '\u{2019}')];
    let value = value.trim();
    QUOTES.iter().find_map(|(open, close)| value.strip_prefix(*open)?.strip_suffix(*close))
}

/// The cluster that was meant: the value without quotes, comment and second setting. `None` if that is not a valid
/// name.
pub fn cluster(value: &str) -> Option<String> {
    let bare = unquoted(value).unwrap_or(value).trim();
    let bare = bare.split_once(" #").map_or(bare, |(before, _)| before.trim_end());
    let bare = second_setting(bare).map_or(bare, |at| bare[..at].trim());
    (!bare.is_empty() && check(CLUSTER_KEY, bare).is_ok()).then(|| bare.to_owned())
}

/// Why an instance of this region and account cannot join the cluster with this ARN. `None` if it can.
pub fn other_place(value: &str, region: Option<&str>, account: Option<&str>) -> Option<String> {
    let value = value.trim();
    let mut parts = value.split(':').skip(3);
    let (its_region, its_account) = (parts.next()?, parts.next()?);
    if check(CLUSTER_KEY, value).is_err() {
        return None;
    }
    if let Some(region) = region.filter(|region| *region != its_region) {
        return Some(format!(
            "the ARN of the cluster has the region `{its_region}`, but the agent registers in `{region}`"
        ));
    }
    let account = account.filter(|account| *account != its_account)?;
    Some(format!("the ARN of the cluster has the account `{its_account}`, but the instance belongs to `{account}`"))
}

fn lines_of(bytes: &[u8]) -> Vec<SourceLine> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let line = |(index, text)| SourceLine {
        line: index + 1,
        text: String::from_utf8_lossy(text).into_owned(),
        ..SourceLine::default()
    };
    lines.map(line).collect()
}

fn assignment(source: &SourceLine) -> Option<Assigned<'_>> {
    let start = source.text.len() - source.text.trim_start().len();
    let (key, value) = source.text.trim().split_once('=')?;
    Some(Assigned { source, key, value, key_at: start, value_at: start + key.len() + 1 })
}

/// The last assignment of each key.
fn effective(lines: &[SourceLine]) -> BTreeMap<&str, Assigned<'_>> {
    lines.iter().filter_map(assignment).map(|assigned| (assigned.key, assigned)).collect()
}

/// The level of a line that the agent ignores.
fn level_of_ignored(is_cluster_named: bool) -> Level {
    if is_cluster_named { Level::Warning } else { Level::Error }
}

fn of_key(assigned: &Assigned<'_>, context: &Context<'_>) -> Option<ConfigIssue> {
    let (key, kind) = meant(assigned.key, context)?;
    let is_cluster = key == CLUSTER_KEY;
    let level = level_of_ignored(!is_cluster || context.is_cluster_named);
    let cluster = cluster(assigned.value).filter(|_| is_cluster);
    let (line, column) = (assigned.source.line, assigned.source.column(assigned.key_at));
    Some(ConfigIssue { line, column, key, kind, level, cluster })
}

fn of_value(
    assigned: &Assigned<'_>,
    last: &BTreeMap<&str, Assigned<'_>>,
    context: &Context<'_>,
) -> Option<ConfigIssue> {
    let variable = find(assigned.key)?;
    let is_in_force = last.get(assigned.key).is_some_and(|last| last.source.line == assigned.source.line);
    let is_template = context.is_template && !assigned.source.is_final;
    let kind = value_kind(variable, assigned.value, is_in_force, &Context { is_template, ..*context })?;
    let level = match &kind {
        IssueKind::Value(wrong) if wrong.consequence != Consequence::Ignored => Level::Error,
        IssueKind::UnsetText(_) | IssueKind::OtherPlace(_) => Level::Error,
        IssueKind::Value(_) | IssueKind::NoCluster => Level::Warning,
        _ => match check(variable.name, assigned.value.trim()) {
            Err(wrong) if wrong.consequence != Consequence::Ignored => Level::Error,
            _ => Level::Warning,
        },
    };
    let blanks = assigned.value.len() - assigned.value.trim_start().len();
    let column = assigned.source.column(assigned.value_at + blanks);
    let cluster = cluster(assigned.value).filter(|_| variable.name == CLUSTER_KEY);
    Some(ConfigIssue { line: assigned.source.line, column, key: variable.name.to_owned(), kind, level, cluster })
}

fn value_kind(variable: &Variable, value: &str, is_in_force: bool, context: &Context<'_>) -> Option<IssueKind> {
    const UNSET: [&str; 5] = ["none", "null", "nil", "undefined", "nan"];
    let trimmed = value.trim();
    let is_cluster = variable.name == CLUSTER_KEY;
    if trimmed.is_empty() {
        return (is_cluster && is_in_force && !context.is_cluster_named).then_some(IssueKind::NoCluster);
    }
    if second_setting(trimmed).is_some() {
        return Some(IssueKind::TwoSettings);
    }
    if unquoted(trimmed).is_some() {
        return Some(IssueKind::Quoted);
    }
    let is_open = has_placeholder(trimmed, !variable.takes_dollars());
    match (is_open, context.is_template) {
        // The result of `{{ names | to_json }}` is not known.
        (true, true) if !trimmed.contains("${") => return None,
        (true, true) => {
            return variable.variable_type.is_json().then(|| opaque_json(variable.name, &filled_in(trimmed))).flatten();
        }
        (true, false) => return Some(IssueKind::Placeholder),
        (false, _) => {}
    }
    if trimmed.contains(OPAQUE) {
        return variable.variable_type.is_json().then(|| opaque_json(variable.name, trimmed)).flatten();
    }
    if is_cluster && UNSET.iter().any(|word| word.eq_ignore_ascii_case(trimmed)) {
        return Some(IssueKind::UnsetText(trimmed.to_owned()));
    }
    if let Some(why) = other_place(trimmed, context.region, context.account).filter(|_| is_cluster) {
        return Some(IssueKind::OtherPlace(why));
    }
    let comment = trimmed.find(" #").or(trimmed.find("\t#"));
    match check(variable.name, value) {
        Err(wrong) => Some(IssueKind::Value(wrong)),
        Ok(()) if comment.is_some() && !variable.secret => Some(IssueKind::TrailingComment),
        Ok(()) => None,
    }
}

/// Checks JSON with unknown parts. It is a mistake only if no text in their place makes the JSON valid.
fn opaque_json(name: &str, value: &str) -> Option<IssueKind> {
    const PARTS: [&str; 8] = ["x", "1", "", "\"x\"", "\"x\":\"y\"", ",\"x\":\"y\"", "json-file", "\"json-file\""];
    // An unknown part inside quotes is text.
    let (mut in_quotes, mut escaped) = (false, false);
    let known = |c: char| {
        let is_text = in_quotes && c == OPAQUE;
        in_quotes ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        if is_text { 'x' } else { c }
    };
    let value: String = value.chars().map(known).collect();
    let wrong: Vec<_> = PARTS.iter().map_while(|part| check(name, &value.replace(OPAQUE, part)).err()).collect();
    let first = wrong.first().filter(|_| wrong.len() == PARTS.len())?;
    let is_certain = value.starts_with(['{', '[']) && !value[1..].starts_with(OPAQUE);
    is_certain.then(|| {
        let mut wrong = first.clone();
        wrong.suggestion = None;
        IssueKind::Value(wrong)
    })
}

/// The text with [`OPAQUE`] for each `${...}`.
fn filled_in(text: &str) -> String {
    let (mut result, mut depth) = (String::with_capacity(text.len()), 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' if depth == 0 && chars.peek() == Some(&'{') => {
                result.push(OPAQUE);
                chars.next();
                depth = 1;
            }
            '{' if depth > 0 => depth += 1,
            '}' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            c => result.push(c),
        }
    }
    result
}

/// The issue if a later line sets the same key.
fn overridden(assigned: &Assigned<'_>, last: &BTreeMap<&str, Assigned<'_>>) -> Option<ConfigIssue> {
    let by = last.get(assigned.key).filter(|last| last.source.line != assigned.source.line)?;
    let variable = find(assigned.key)?;
    let kind = if by.value.trim() == assigned.value.trim() {
        IssueKind::Repeated { by: by.source.line }
    } else {
        IssueKind::Overridden { by: by.source.line }
    };
    let cluster = cluster(assigned.value).filter(|_| variable.name == CLUSTER_KEY);
    let (line, column) = (assigned.source.line, assigned.source.column(assigned.key_at));
    Some(ConfigIssue { line, column, key: variable.name.to_owned(), kind, level: Level::Warning, cluster })
}

/// The issue of a line without a `=`, which ecs-init ignores: `ECS_CLUSTER: prod`, `ECS_CLUSTER prod`, or a line of a
/// script.
fn unassigned(source: &SourceLine, context: &Context<'_>) -> Option<ConfigIssue> {
    let text = source.text.trim();
    let line = text.trim_start_matches(BOM);
    if line.is_empty() || is_comment(line) || line.contains(OPAQUE) || line.chars().all(char::is_control) {
        return None;
    }
    let at = source.text.len() - source.text.trim_start().len();
    let bare = line.strip_prefix("export ").unwrap_or(line);
    let name = bare.split([':', ' ', '\t']).next().unwrap_or_default();
    let (line, column) = (source.line, source.column(at));
    let issue =
        |key: &str, kind, level, cluster| Some(ConfigIssue { line, column, key: key.to_owned(), kind, level, cluster });
    let Some(variable) = find(name) else {
        let is_template = context.is_template && (has_placeholder(bare, true) || bare.starts_with(['%', '{', '}']));
        return (!is_template).then(|| issue("", IssueKind::NotAssignment, Level::Warning, None)).flatten();
    };
    let cluster = cluster(bare[name.len()..].trim_start_matches([':', ' ', '\t'])).filter(|_| name == CLUSTER_KEY);
    let level = level_of_ignored(name != CLUSTER_KEY || context.is_cluster_named);
    issue(variable.name, IssueKind::Unreadable("the line has no `=`"), level, cluster)
}

/// The JSON object, if the file is one.
fn json_file(bytes: &[u8]) -> Option<serde_json::Value> {
    let text = std::str::from_utf8(bytes).ok()?.trim_start_matches(BOM).trim();
    let json = || serde_json::from_str::<serde_json::Value>(text).ok().filter(serde_json::Value::is_object);
    text.starts_with('{').then(json).flatten()
}

/// The text, if the file is UTF-16, which some editors and shells of Windows write. It is recognised by its byte order
/// mark, or by a NUL after each letter.
fn utf_16(bytes: &[u8]) -> Option<String> {
    let (big, body) = match bytes {
        [0xff, 0xfe, body @ ..] => (false, body),
        [0xfe, 0xff, body @ ..] => (true, body),
        [first, 0, second, 0, ..] if first.is_ascii_graphic() && second.is_ascii_graphic() => (false, bytes),
        _ => return None,
    };
    let unit =
        |pair: &[u8]| if big { u16::from_be_bytes([pair[0], pair[1]]) } else { u16::from_le_bytes([pair[0], pair[1]]) };
    let units: Vec<u16> = body.chunks_exact(2).map(unit).collect();
    Some(String::from_utf16_lossy(&units))
}
