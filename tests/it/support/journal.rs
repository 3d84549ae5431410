//! Simulates journald's socket: collects entries in its native protocol (systemd, "Native Journal Protocol").
//!
//! In: datagrams. Out: entries as maps. Entries that are sent as a file descriptor, because they are too large for a
//! datagram, are not read.

use super::http::lock;
use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The field of a datagram that the collector sends to itself.
const MARK: &str = "ECS_BOOTSTRAP_TEST_MARK";

/// One entry. If a field occurs twice, the map has its last value.
pub type Entry = BTreeMap<String, String>;

/// The running collector; it stops when dropped.
pub struct Journal {
    path: PathBuf,
    entries: Arc<Mutex<Vec<Entry>>>,
    stopped: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Journal {
    /// Listens on this path. Its folder must exist.
    pub fn start(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("the journal's socket in the temporary root");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a read time-out");
        let (entries, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (inner, until) = (Arc::clone(&entries), Arc::clone(&stopped));
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            while !until.load(Ordering::Relaxed) {
                if let Ok(count) = socket.recv(&mut buffer) {
                    lock(&inner).push(parse(&buffer[..count]));
                }
            }
        });
        Self { path: path.to_owned(), entries, stopped, reader: Some(reader) }
    }

    /// Every entry that was sent before this call, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        // Datagrams keep their order. When the collector's own mark has arrived, all entries sent before it have too.
        let socket = UnixDatagram::unbound().expect("a socket");
        if socket.send_to(format!("{MARK}=1\n").as_bytes(), &self.path).is_err() {
            // The test removed the socket, so no entry can follow.
            return lock(&self.entries).clone();
        }
        let is_mark = |entry: &Entry| entry.contains_key(MARK);
        let patience = Instant::now() + Duration::from_secs(10);
        loop {
            let mut entries = lock(&self.entries);
            if let Some(at) = entries.iter().position(is_mark) {
                entries.remove(at);
                return entries.iter().filter(|entry| !entry.is_empty()).cloned().collect();
            }
            drop(entries);
            assert!(Instant::now() < patience, "the collector of journal entries does not read");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Parses both forms of a field: `NAME=value\n`, and `NAME\n`, 64-bit little-endian length, value, `\n`.
fn parse(mut bytes: &[u8]) -> Entry {
    let mut entry = Entry::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let line = &bytes[..end];
        bytes = &bytes[end + 1..];
        if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            entry.insert(text(&line[..equals]), text(&line[equals + 1..]));
        } else if let Some((length, rest)) = bytes.split_first_chunk::<8>() {
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX).min(rest.len());
            entry.insert(text(line), text(&rest[..length]));
            bytes = rest.get(length + 1..).unwrap_or_default();
        }
    }
    entry
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
