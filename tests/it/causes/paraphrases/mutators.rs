//! Changes of a log entry that another release of AWS, of the SDK, of docker or of the agent may bring.
//!
//! In: an entry. Out: the entry with one change, or nothing if the change does not apply to it. No change is written for
//! one text.

/// An entry of a log before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) level: &'static str,
    pub(super) message: String,
    pub(super) error: String,
    /// Further fields, written before and after the others.
    fields: Vec<(&'static str, &'static str)>,
    is_json: bool,
    /// The time has nanoseconds.
    is_precise: bool,
    /// A line break in the file stands in the middle of the error.
    is_torn: bool,
}

pub(super) type Mutator = fn(&Entry) -> Option<Entry>;

const OTHER_ID: &str = "0b0c9d5e-93a1-4c55-8f5e-1d2f3a4b5c6d";

impl Entry {
    pub(super) fn new(level: &'static str, message: &str, error: &str) -> Entry {
        let (message, error) = (message.to_owned(), error.to_owned());
        Entry { level, message, error, fields: Vec::new(), is_json: false, is_precise: false, is_torn: false }
    }

    /// The line of the log.
    pub(super) fn line(&self, time: &str) -> String {
        let time = &if self.is_precise { time.replace('Z', ".123456789Z") } else { time.to_owned() };
        let mut fields = vec![("level", self.level), ("time", time), ("msg", self.message.as_str())];
        if !self.error.is_empty() {
            fields.push(("error", self.error.as_str()));
        }
        for (at, field) in self.fields.iter().enumerate() {
            fields.insert(if at % 2 == 0 { 2 } else { fields.len() }, *field);
        }
        if self.is_json {
            let object: serde_json::Map<String, serde_json::Value> =
                fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
            return serde_json::to_string(&object).expect("an object") + "\n";
        }
        let field = |(key, value): &(&str, &str)| {
            if matches!(*key, "level" | "time") { format!("{key}={value}") } else { format!("{key}={value:?}") }
        };
        let line = fields.iter().map(field).collect::<Vec<_>>().join(" ") + "\n";
        if self.is_torn { wrapped(&line, 2) } else { line }
    }

    /// The entry with other texts, if they are other ones.
    fn with(&self, message: String, error: String) -> Option<Entry> {
        let changed = Entry { message, error, ..self.clone() };
        (changed != *self).then_some(changed)
    }

    /// Applies a change of a text to the error, or to the message if there is no error.
    fn with_text(&self, change: impl Fn(&str) -> String) -> Option<Entry> {
        if self.error.is_empty() {
            self.with(change(&self.message), String::new())
        } else {
            self.with(self.message.clone(), change(&self.error))
        }
    }

    /// Code and message of an error of an AWS service, if it is one.
    fn service_error(&self) -> Option<&str> {
        let (_, core) = self.error.split_once("RequestID: ")?.1.split_once(", ")?;
        Some(core)
    }

    /// The entry with this text around code and message of the service.
    fn with_service_error(&self, write: impl Fn(&str) -> String) -> Option<Entry> {
        self.with(self.message.clone(), write(self.service_error()?))
    }
}

/// Changes of the form alone.
pub(super) const FORMS: [(&str, Mutator); 9] = [
    ("JSON", |entry| Some(Entry { is_json: true, ..entry.clone() })),
    ("further fields", |entry| {
        let fields =
            vec![("taskRetries", "3"), ("module", "client.go"), ("correlation", OTHER_ID), ("logger", "structured")];
        Some(Entry { fields, ..entry.clone() })
    }),
    ("further fields in JSON", |entry| {
        Some(Entry { is_json: true, fields: vec![("module", "client.go"), ("attempt", "7")], ..entry.clone() })
    }),
    ("another level", |entry| Some(Entry { level: "critical", ..entry.clone() })),
    ("a time with nanoseconds", |entry| Some(Entry { is_precise: true, ..entry.clone() })),
    ("another request id", |entry| {
        let other = format!("https response error StatusCode: 400, RequestID: {OTHER_ID}");
        entry.with_service_error(|core| format!("operation error ECS: RegisterContainerInstance, {other}, {core}"))
    }),
    ("the prefix after retries", |entry| {
        entry.with_service_error(|core| {
            format!(
                "operation error ECS: RegisterContainerInstance, exceeded maximum number of attempts, 3, https response \
                 error StatusCode: 400, RequestID: {OTHER_ID}, {core}"
            )
        })
    }),
    ("the prefix of an error that the SDK does not know", |entry| {
        entry.with_service_error(|core| {
            format!(
                "operation error ECS: RegisterContainerInstance, https response error StatusCode: 400, RequestID: \
                 {OTHER_ID}, api error {core}"
            )
        })
    }),
    ("SDK version 1", |entry| {
        entry.with_service_error(|core| format!("{core}\n\tstatus code: 400, request id: {OTHER_ID}"))
    }),
];

/// Changes of the words.
pub(super) const WORDS: [(&str, Mutator); 10] = [
    ("double quotes", |entry| entry.with_text(|text| text.replace(['\'', '`'], "\""))),
    ("no quotes", |entry| entry.with_text(|text| text.replace(['\'', '`', '"'], ""))),
    ("the case of the first letter", |entry| entry.with(other_case(&entry.message), other_case(&entry.error))),
    ("another order of the clauses", |entry| entry.with_text(swapped)),
    ("a line break in the middle", |entry| entry.with_text(|text| wrapped(text, 2))),
    ("a line break in the first third", |entry| entry.with_text(|text| wrapped(text, 3))),
    ("a line break in the file", |entry| Some(Entry { is_torn: true, ..entry.clone() })),
    ("other verbs", |entry| entry.with(reworded(&entry.message), reworded(&entry.error))),
    ("other verbs in the error", |entry| entry.with_text(reworded)),
    ("without the last word", |entry| {
        entry.with_text(|text| {
            text.trim_end().rsplit_once(' ').map_or_else(|| text.to_owned(), |(rest, _)| rest.to_owned())
        })
    }),
];

/// Words that releases exchange.
const SYNONYMS: [(&str, &str); 12] = [
    ("could not", "failed to"),
    ("Could not", "Failed to"),
    ("Unable to", "Could not"),
    ("unable to", "could not"),
    ("cannot", "can not"),
    ("not found", "does not exist"),
    ("is not", "isn't"),
    ("does not", "doesn't"),
    ("failed", "did not succeed"),
    ("exceeded", "above the limit"),
    ("expired", "past its end"),
    ("invalid", "not valid"),
];

fn reworded(text: &str) -> String {
    SYNONYMS.iter().fold(text.to_owned(), |text, (word, other)| text.replace(word, other))
}

fn other_case(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if first.is_lowercase() => first.to_uppercase().chain(letters).collect(),
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// The text with its last two clauses exchanged.
fn swapped(text: &str) -> String {
    for mark in [". ", ": ", ", ", " because ", " with "] {
        if let Some((begin, end)) = text.rsplit_once(mark) {
            let (before, clause) = begin
                .rsplit_once(mark)
                .map_or((String::new(), begin), |(before, clause)| (format!("{before}{mark}"), clause));
            return format!("{before}{end}{mark}{clause}");
        }
    }
    text.to_owned()
}

/// The text with a line break instead of the first space after this part of it.
fn wrapped(text: &str, part: usize) -> String {
    let from = (0..=text.len() / part).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    match text[from..].find(' ') {
        Some(space) => format!("{}\n{}", &text[..from + space], &text[from + space + 1..]),
        None => text.to_owned(),
    }
}
