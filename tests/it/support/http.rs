//! The HTTP/1.1 server of the simulators. It sends the answers of a handler, and keeps each request with its time.
//!
//! In: a loopback address or a Unix socket, and a function from request to answer. Out: the requests. It uses plain
//! sockets, because most faults (half an answer, no answer, a refused port) are below HTTP.

use super::port::Port;
use super::socket::Socket;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Locks a mutex, even if another thread panicked while it held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One received request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The time when its last byte was read.
    pub at: Instant,
    pub method: String,
    /// With its query, as sent.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// The answer of a handler.
#[derive(Clone, Debug)]
pub enum Answer {
    Reply(Reply),
    /// No answer; the connection stays open.
    Silent,
    /// The headers and half of the body, then the connection is closed.
    Half(Reply),
    /// The headers without a length, and the body repeated until the client closes the connection.
    Endless(Reply),
    /// These bytes instead of HTTP, then the connection is closed.
    Raw(Vec<u8>),
    /// Another answer, after a delay.
    After(Duration, Box<Answer>),
}

/// A complete HTTP answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("Content-Type".into(), content_type.into())], body: body.into() }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl Answer {
    /// Sets the `Date` header this many seconds ahead of the current time.
    pub fn dated(self, ahead: i64) -> Self {
        if ahead == 0 {
            return self;
        }
        let by = Duration::from_secs(ahead.unsigned_abs());
        let now = SystemTime::now();
        self.with_date(&http_date(if ahead < 0 { now - by } else { now + by }))
    }

    /// Removes the `Date` header.
    pub fn undated(self) -> Self {
        self.with_date("")
    }

    fn with_date(self, date: &str) -> Self {
        match self {
            Self::Reply(reply) => Self::Reply(reply.with("Date", date)),
            Self::Half(reply) => Self::Half(reply.with("Date", date)),
            Self::Endless(reply) => Self::Endless(reply.with("Date", date)),
            Self::After(delay, answer) => Self::After(delay, Box::new(answer.with_date(date))),
            other => other,
        }
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// A running server; it stops when dropped.
pub struct Server {
    place: Place,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

struct Shared {
    handler: Box<Handler>,
    requests: Mutex<Vec<Request>>,
    control: Mutex<Control>,
    changed: Condvar,
}

#[derive(Default)]
struct Control {
    stopped: bool,
    refuse_for: Option<Duration>,
    open: HashMap<u64, Socket>,
    opened: u64,
}

impl Server {
    /// Serves on a free port of `127.0.0.1`.
    pub fn tcp(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::on_port(Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST)), handler)
    }

    /// Serves on a reserved port.
    pub fn on_port(port: Port, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let address = port.address();
        let mut listener = port.listen(64);
        let shared = Shared::new(handler);
        let inner = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if inner.stopped() {
                    return;
                }
                let refusal = lock(&inner.control).refuse_for;
                if let Some(duration) = refusal {
                    drop(stream);
                    drop(listener);
                    lock(&inner.control).refuse_for = None;
                    inner.changed.notify_all();
                    if inner.pause(duration) {
                        return;
                    }
                    listener = port.listen(64);
                    continue;
                }
                let _ = stream.set_nodelay(true);
                inner.serve(Socket::Tcp(stream));
            }
        });
        Self { place: Place::Tcp(address), shared, acceptor: Some(acceptor) }
    }

    /// Serves on a Unix socket. A file at this path is replaced.
    pub fn unix(path: &Path, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("a socket in the temporary root");
        let shared = Shared::new(handler);
        let inner = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if inner.stopped() {
                    return;
                }
                inner.serve(Socket::Unix(stream));
            }
        });
        Self { place: Place::Unix(path.to_owned()), shared, acceptor: Some(acceptor) }
    }

    /// `http://127.0.0.1:PORT`, or the path of the socket.
    pub fn endpoint(&self) -> String {
        match &self.place {
            Place::Tcp(address) => format!("http://{address}"),
            Place::Unix(path) => path.display().to_string(),
        }
    }

    /// Serves a connection that the caller has accepted on another address.
    pub fn adopt(&self, socket: Socket) {
        self.shared.serve(socket);
    }

    /// Every request so far, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        lock(&self.shared.requests).clear();
    }

    /// Refuses connections for this time, and closes open ones. The port stays reserved.
    pub fn refuse_for(&self, duration: Duration) {
        let Place::Tcp(address) = &self.place else { panic!("only a TCP server can refuse") };
        let mut control = lock(&self.shared.control);
        control.refuse_for = Some(duration);
        control.open.values().for_each(Socket::shut);
        drop(control);
        // Wakes the acceptor, which closes the port and then clears `refuse_for`.
        let _ = TcpStream::connect_timeout(address, Duration::from_millis(200));
        let control = lock(&self.shared.control);
        drop(self.shared.changed.wait_while(control, |control| control.refuse_for.is_some()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut control = lock(&self.shared.control);
        control.stopped = true;
        control.open.values().for_each(Socket::shut);
        drop(control);
        self.shared.changed.notify_all();
        match &self.place {
            Place::Tcp(address) => drop(TcpStream::connect_timeout(address, Duration::from_millis(200))),
            Place::Unix(path) => {
                drop(UnixStream::connect(path));
                let _ = std::fs::remove_file(path);
            }
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn new(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            handler: Box::new(handler),
            requests: Mutex::default(),
            control: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn stopped(&self) -> bool {
        lock(&self.control).stopped
    }

    /// Waits. Returns true if the server was stopped in this time.
    fn pause(&self, duration: Duration) -> bool {
        let control = lock(&self.control);
        let (control, _) = self
            .changed
            .wait_timeout_while(control, duration, |control| !control.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        control.stopped
    }

    fn serve(self: &Arc<Self>, mut socket: Socket) {
        let Ok(copy) = socket.try_clone() else { return };
        let mut control = lock(&self.control);
        control.opened += 1;
        let id = control.opened;
        control.open.insert(id, copy);
        drop(control);
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let _ = shared.converse(&mut socket);
            socket.shut();
            lock(&shared.control).open.remove(&id);
        });
    }

    fn converse(&self, socket: &mut Socket) -> io::Result<()> {
        let mut buffer = Vec::new();
        while let Some(request) = read_request(socket, &mut buffer)? {
            lock(&self.requests).push(request.clone());
            let mut answer = (self.handler)(&request);
            while let Answer::After(delay, next) = answer {
                if self.pause(delay) {
                    return Ok(());
                }
                answer = *next;
            }
            match answer {
                Answer::Reply(reply) => socket.write_all(&reply.bytes(request.method == "HEAD"))?,
                Answer::Silent => return io::copy(socket, &mut io::sink()).map(drop),
                Answer::Half(reply) => {
                    let bytes = reply.bytes(false);
                    return socket.write_all(&bytes[..bytes.len() - reply.body.len().div_ceil(2)]);
                }
                Answer::Endless(reply) => {
                    socket.write_all(&reply.head(None))?;
                    while !self.stopped() {
                        socket.write_all(&reply.body)?;
                    }
                    return Ok(());
                }
                Answer::Raw(bytes) => return socket.write_all(&bytes),
                Answer::After(..) => unreachable!("unwrapped above"),
            }
        }
        Ok(())
    }
}

impl Reply {
    fn bytes(&self, head_only: bool) -> Vec<u8> {
        let mut bytes = self.head(Some(self.body.len()));
        if !head_only {
            bytes.extend(&self.body);
        }
        bytes
    }

    fn head(&self, length: Option<usize>) -> Vec<u8> {
        let length =
            length.map_or("Connection: close\r\n".to_owned(), |length| format!("Content-Length: {length}\r\n"));
        let mut text = format!("HTTP/1.1 {} Simulated\r\n{length}", self.status);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
            text += &format!("Date: {}\r\n", http_date(SystemTime::now()));
        }
        // `Answer::undated` sets an empty `Date`.
        for (name, value) in self.headers.iter().filter(|(name, value)| name != "Date" || !value.is_empty()) {
            text += &format!("{name}: {value}\r\n");
        }
        (text + "\r\n").into_bytes()
    }
}

fn read_request(socket: &mut Socket, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if !fill(socket, buffer)? {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default().to_owned(), first.next().unwrap_or_default().to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
    while buffer.len() < length {
        if !fill(socket, buffer)? {
            return Ok(None);
        }
    }
    let body = buffer.drain(..length).collect();
    Ok(Some(Request { at: Instant::now(), method, path, headers, body }))
}

fn fill(socket: &mut Socket, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 16 * 1024];
    let count = socket.read(&mut chunk)?;
    buffer.extend(&chunk[..count]);
    Ok(count > 0)
}

/// A time in the format of HTTP (RFC 9110, section 5.6.7).
pub fn http_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let month = text[5..7].parse::<usize>().map_or("Jan", |month| MONTHS[month - 1]);
    format!("{}, {} {month} {} {} GMT", DAYS[(days % 7) as usize], &text[8..10], &text[0..4], &text[11..19])
}

/// Decodes `%XX`. A `+` is a blank in a form, and a plus sign in a path.
pub fn percent_decode(text: &str, form: bool) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        (rest, _) = match (first, escaped) {
            (b'%', Some(byte)) => (&tail[2..], bytes.push(byte)),
            (b'+', _) if form => (tail, bytes.push(b' ')),
            (other, _) => (tail, bytes.push(*other)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
