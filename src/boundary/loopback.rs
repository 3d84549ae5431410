//! A tiny HTTP server on loopback for the tests of the boundary: answers what it is told, keeps what it was asked, and
//! ends with the test.

use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Runs a future on a current-thread runtime, as the binary does.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A port that is taken and not listened on: it refuses, and no other test can get it meanwhile.
pub(crate) struct ClosedPort(tokio::net::TcpSocket);

impl ClosedPort {
    pub(crate) fn take() -> ClosedPort {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        ClosedPort(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `GET /path`.
    pub(crate) line: String,
    /// Header lines and body, for looking into.
    pub(crate) rest: String,
}

/// A server; it stops accepting when the process ends.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<Mutex<usize>>,
}

/// An answer with a length.
pub(crate) fn answer(status: u16, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

impl Server {
    /// Answers each request with the raw bytes that `handler` gives; `None` means silence on an open connection. An
    /// answer without a length is followed by the end of the connection.
    pub(crate) fn start(handler: impl Fn(&Asked) -> Option<String> + Send + Sync + 'static) -> Server {
        Server::start_at("127.0.0.1:0", handler)
    }

    pub(crate) fn start_at(
        address: &str,
        handler: impl Fn(&Asked) -> Option<String> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let server =
            Server { address: listener.local_addr().unwrap(), asked: Arc::default(), connections: Arc::default() };
        let (asked, connections) = (server.asked.clone(), server.connections.clone());
        let handler = Arc::new(handler);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *connections.lock().unwrap() += 1;
                let (asked, handler) = (asked.clone(), handler.clone());
                thread::spawn(move || serve(&stream, &asked, &*handler));
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.asked().iter().filter(|asked| asked.line.starts_with(line)).count()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

fn serve(stream: &TcpStream, asked: &Mutex<Vec<Asked>>, handler: &dyn Fn(&Asked) -> Option<String>) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        asked.lock().unwrap().push(request.clone());
        match handler(&request) {
            Some(answer) => {
                let mut writer = stream;
                if writer.write_all(answer.as_bytes()).is_err() || !answer.contains("Content-Length") {
                    return;
                }
                // A promise of more than was sent is kept by ending the connection.
                if answer.contains("Content-Length: 999\r\n") {
                    return;
                }
            }
            None => {
                let _ = reader.read(&mut [0]);
                return;
            }
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
    let (mut rest, mut length) = (String::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|&read| read > 0)?;
        if header == "\r\n" {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        rest.push_str(&header);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    rest.push_str(&String::from_utf8_lossy(&body));
    let line = line.rsplit_once(' ').map_or("", |(line, _version)| line).to_owned();
    Some(Asked { line, rest })
}
