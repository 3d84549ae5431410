//! Writes the program's log to the journal, or to stderr if a person watches or there is no journal.
//!
//! In: `tracing` events. Out: datagrams of the "Native Journal Protocol" (systemd.io) with a journal field for each
//! field of the event, or readable lines. It never writes events of other crates below level `warn`, for any filter,
//! because their requests contain tokens and credentials. It does not use the crate `tracing-journald`, whose socket
//! path is fixed: here the socket is below the root, like all of `/run`. This program has no spans, so spans are not
//! written.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sd_notify::NotifyState;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, LevelFilter, ParseError, Targets, filter_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::redaction;

/// The instance has registered.
pub const MESSAGE_ID_READY: &str = "d2b89150f7d43a3e2e38123c981186c8";
/// The instance waits for something that is not a fault.
pub const MESSAGE_ID_WAITING: &str = "7c2a8c43ddb08a673f46ff2c068e0a96";
/// The instance has not registered.
pub const MESSAGE_ID_FAILED: &str = "2a35c966aebc50eb7693f3bd06e9613d";
/// The instance has not registered, and the evidence supports no cause.
pub const MESSAGE_ID_UNKNOWN: &str = "f8e2800efb0763dc277142001c200464";
/// Another unit continues the verification.
pub const MESSAGE_ID_HANDED_OVER: &str = "3f6e5e4d8a1e0485c4d394202ebbb079";
/// The fault that `watch` reported is over.
pub const MESSAGE_ID_RECOVERED: &str = "b1f0e7d65c0f4e0f8a4f7b0a6e2d93c1";
/// The draining of the container instance begins or has ended.
pub const MESSAGE_ID_DRAIN: &str = "93d1f5098f6b5e715a35d787dfee8deb";
/// A step of the draining failed, or tasks were left.
pub const MESSAGE_ID_DRAIN_FAILED: &str = "055909cdb1765193951ca8190b81705a";
/// `ecs.config` contains the decided configuration.
pub const MESSAGE_ID_CONFIGURED: &str = "60153183f56face4401aaf19a8f9c8bb";

/// The field of an event that replaces the priority of its level.
const PRIORITY_FIELD: &str = "priority";
const SOCKET: &str = "run/systemd/journal/socket";
const IDENTIFIER: &str = "ecs-bootstrap";
/// The time-out for one datagram, so that a journal that is full cannot delay the boot.
const MAX_SEND_TIME: Duration = Duration::from_millis(250);

/// Clears the line of [`Progress`](crate::render::Progress) on the terminal. `Progress` draws it again below the log
/// line.
const CLEAR_LINE: &str = "\r\x1b[2K";

/// The destination of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logging {
    /// The journal.
    Journal,
    /// stderr, because it is a terminal or there is no journal.
    Stderr,
}

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The filter is neither a level nor a list of `target=level`.
    #[error("the log filter `{filter}` is not valid")]
    BadFilter {
        /// The text of the filter.
        filter: String,
        /// The error of the parser.
        source: ParseError,
    },
    /// [`start`] was called twice.
    #[error("the log is already started")]
    AlreadyStarted {
        /// The error of `tracing`.
        source: tracing::subscriber::SetGlobalDefaultError,
    },
}

/// Starts the log of this process at level `info`, or `debug` if `verbose` is 1 or more. A `filter`
/// (`ECS_BOOTSTRAP_LOG`, for example `debug` or `ecs_bootstrap::boundary=debug`) overrides `verbose`.
#[expect(clippy::disallowed_methods, reason = "NO_COLOR describes the terminal, and is not a setting")]
pub fn start(root: &Path, verbose: u8, filter: Option<&str>) -> Result<Logging, JournalError> {
    let targets = targets(verbose, filter)?;
    let socket = root.join(SOCKET);
    let on_terminal = io::stderr().is_terminal();
    let journal = if on_terminal { None } else { Journal::open(&socket) };
    let colour = on_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (logging, layer) = match journal {
        Some(journal) => (Logging::Journal, journal.boxed()),
        None => {
            let timed = targets.default_level() >= Some(LevelFilter::DEBUG);
            (Logging::Stderr, Stderr { on_terminal, colour, timed }.boxed())
        }
    };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(targets.and(filter_fn(is_allowed))));
    tracing::subscriber::set_global_default(subscriber).map_err(|source| JournalError::AlreadyStarted { source })?;
    Ok(logging)
}

/// Shows `text` in `systemctl status` (`STATUS=` of sd_notify(3)). Line breaks are removed, because a second line would
/// be another assignment. Does nothing if the unit does not expect notifications.
pub fn status(text: &str) {
    notify(&[NotifyState::Status(&redaction::line(text))]);
}

/// Notifies systemd that the unit has started (`READY=1`), and shows `text` like [`status`].
pub fn ready(text: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(&redaction::line(text))]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd not notified");
    }
}

fn targets(verbose: u8, filter: Option<&str>) -> Result<Targets, JournalError> {
    match filter {
        Some(filter) => filter.parse().map_err(|source| JournalError::BadFilter { filter: filter.to_owned(), source }),
        None if verbose == 0 => Ok(Targets::new().with_default(LevelFilter::INFO)),
        None => Ok(Targets::new().with_default(LevelFilter::DEBUG)),
    }
}

/// Whether an event may be written, for any filter: of this crate down to `debug`, of others down to `warn`.
fn is_allowed(metadata: &Metadata<'_>) -> bool {
    let is_own = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    *metadata.level() <= if is_own { Level::DEBUG } else { Level::WARN }
}

/// The message and the fields of an event, each as text.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn of(event: &Event<'_>) -> Fields {
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields
    }

    fn add(&mut self, field: &Field, value: String) {
        let value = redaction::text(&value);
        match field.name() {
            "message" => self.message = value,
            name => self.others.push((name.trim_start_matches("r#"), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }
}

struct Journal {
    sender: UnixDatagram,
    socket: PathBuf,
}

impl Journal {
    /// The journal at `socket`; `None` if no process listens there.
    fn open(socket: &Path) -> Option<Journal> {
        let sender = UnixDatagram::unbound().ok()?;
        sender.set_write_timeout(Some(MAX_SEND_TIME)).ok()?;
        // The journal ignores an empty datagram. Sending it fails if no process listens.
        sender.send_to(b"", socket).ok()?;
        Some(Journal { sender, socket: socket.to_owned() })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let fields = Fields::of(event);
        let level = *event.metadata().level();
        // By path each time, so that a restarted journal is found.
        if self.sender.send_to(&entry(level, &fields), &self.socket).is_err() {
            print(&line(level, &fields, false, false));
        }
    }
}

/// Formats an event as a journal entry (systemd.journal-fields(7)).
fn entry(level: Level, fields: &Fields) -> Vec<u8> {
    let priority = match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    };
    // `tracing` has no level for a notice, which is above info. An event of one has the field `priority`.
    let own = fields.others.iter().find(|(name, _)| *name == PRIORITY_FIELD);
    let mut entry = Vec::new();
    put(&mut entry, "MESSAGE", &fields.message);
    put(&mut entry, "PRIORITY", own.map_or(priority, |(_, value)| value));
    put(&mut entry, "SYSLOG_IDENTIFIER", IDENTIFIER);
    for (name, value) in fields.others.iter().filter(|(name, _)| *name != PRIORITY_FIELD) {
        put(&mut entry, &field_name(name), value);
    }
    entry
}

/// Converts a name to one that the journal accepts: at most 64 upper-case letters, digits and underscores, of which the
/// first is a letter.
fn field_name(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(allowed).collect();
    name.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit()).chars().take(64).collect()
}

fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

struct Stderr {
    on_terminal: bool,
    colour: bool,
    timed: bool,
}

impl<S: Subscriber> Layer<S> for Stderr {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = line(*event.metadata().level(), &Fields::of(event), self.colour, self.timed);
        print(&if self.on_terminal { format!("{CLEAR_LINE}{line}") } else { line });
    }
}

/// Writes a line to stderr. An error is ignored, because there is no other place to report it.
fn print(line: &str) {
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Formats an event as a line of text: level, message, fields.
fn line(level: Level, fields: &Fields, colour: bool, timed: bool) -> String {
    let (name, ansi) = match level {
        Level::ERROR => ("error", "31"),
        Level::WARN => ("warning", "33"),
        Level::INFO => ("info", "32"),
        _ => ("debug", "2"),
    };
    let mut label = String::new();
    if timed {
        label += &format!("{} ", humantime::format_rfc3339_millis(SystemTime::now()));
    }
    label += &if colour { format!("\x1b[{ansi}m{name}\x1b[0m: ") } else { format!("{name}: ") };
    let mut line = String::new();
    line.extend(fields.message.chars().map(|c| if c.is_control() { ' ' } else { c }));
    // The message id is for programs.
    for (name, value) in fields.others.iter().filter(|(name, _)| *name != "message_id") {
        let is_plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
        let written = if is_plain { write!(line, " {name}={value}") } else { write!(line, " {name}={value:?}") };
        written.expect("writing to a String does not fail");
    }
    label + &redaction::printed(&line.replace('\n', " ")) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The datagrams that the journal receives while `log` runs.
    fn entries_of(filter: Option<&str>, log: impl FnOnce()) -> Vec<Vec<u8>> {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("socket");
        let receiver = UnixDatagram::bind(&socket).unwrap();
        receiver.set_nonblocking(true).unwrap();
        let layer = Journal::open(&socket).unwrap();
        let layer = layer.with_filter(targets(0, filter).unwrap().and(filter_fn(is_allowed)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let mut entries = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = receiver.recv(&mut buffer) {
            entries.push(buffer[..length].to_vec());
        }
        assert_eq!(entries.remove(0), b"", "the test whether a process listens");
        entries
    }

    #[test]
    fn each_field_of_an_event_is_a_journal_field() {
        let entries = entries_of(None, || {
            let arn = "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/0123";
            tracing::info!(message_id = MESSAGE_ID_READY, container_instance_arn = arn, attempts = 3, "registered");
        });
        let expected = format!(
            "MESSAGE=registered\nPRIORITY=6\nSYSLOG_IDENTIFIER=ecs-bootstrap\nMESSAGE_ID={MESSAGE_ID_READY}\n\
             CONTAINER_INSTANCE_ARN=arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/0123\nATTEMPTS=3\n"
        );
        assert_eq!(String::from_utf8(entries.concat()).unwrap(), expected);
    }

    #[test]
    fn a_value_of_several_lines_is_sent_with_its_length() {
        let entries = entries_of(None, || tracing::warn!(seen = "one\nerror: 2", "failed"));
        let mut expected = b"MESSAGE=failed\nPRIORITY=4\nSYSLOG_IDENTIFIER=ecs-bootstrap\nSEEN\n".to_vec();
        expected.extend_from_slice(&[12, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(b"one\nerror: 2\n");
        assert_eq!(entries, [expected]);
    }

    #[test]
    fn field_names_are_valid_in_the_journal() {
        for (name, expected) in [("exit.code", "EXIT_CODE"), ("_pid", "PID"), ("2nd", "ND"), ("größe", "GR__E")] {
            assert_eq!(field_name(name), expected);
        }
        assert_eq!(field_name(&"x".repeat(100)).len(), 64);
    }

    #[test]
    fn other_crates_never_log_below_a_warning() {
        for filter in [Some("trace"), Some("hyper=trace,aws_config=debug")] {
            let entries = entries_of(filter, || {
                tracing::debug!(target: "hyper::client", "X-aws-ec2-metadata-token: secret");
                tracing::info!(target: "aws_config", "secret");
                tracing::info!(target: "ecs_bootstrap_other", "secret");
                tracing::trace!("secret");
            });
            assert!(entries.is_empty(), "{filter:?}");
        }
        assert_eq!(entries_of(Some("trace"), || tracing::warn!(target: "hyper", "seen")).len(), 1);
        assert_eq!(entries_of(Some("debug"), || tracing::debug!("seen")).len(), 1);
        assert_eq!(entries_of(None, || tracing::debug!("below the level")).len(), 0);
    }

    #[test]
    fn an_invalid_filter_is_an_error() {
        let error = targets(0, Some("ecs_bootstrap=loud")).unwrap_err();
        assert_eq!(error.to_string(), "the log filter `ecs_bootstrap=loud` is not valid");
    }

    #[test]
    fn there_is_no_journal_without_a_listener() {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("socket");
        assert!(Journal::open(&socket).is_none());
        drop(UnixDatagram::bind(&socket).unwrap());
        assert!(Journal::open(&socket).is_none());
    }

    #[test]
    fn a_line_of_text_cannot_control_the_terminal() {
        let others = vec![("cluster", "prod".to_owned()), ("seen", "a b\x1b[2J\n".to_owned()), ("why", String::new())];
        let fields = Fields { message: "joined\x07".to_owned(), others };
        let expected = "info: joined  cluster=prod seen=\"a b\\u{1b}[2J\\n\" why=\"\"\n";
        assert_eq!(line(Level::INFO, &fields, false, false), expected);
        assert!(line(Level::ERROR, &fields, true, false).starts_with("\x1b[31merror\x1b[0m: "));
    }
}
