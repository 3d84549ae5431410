//! A small HTTP server on loopback for the tests of `boundary`. A function of the test answers the requests; the server
//! keeps them for the test's assertions.

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

/// A port that is bound but does not listen: it refuses connections, and no other test can bind it.
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

/// A request that was received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Method and path, for example `GET /path`.
    pub(crate) line: String,
    /// Header lines and body.
    pub(crate) rest: String,
}

/// A running server. It stops when the process ends.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<Mutex<usize>>,
}

/// An answer with a `Content-Length` header.
pub(crate) fn answer(status: u16, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

impl Server {
    /// Answers each request with the bytes that `handler` returns; on `None` the connection stays open without an
    /// answer. After an answer without `Content-Length` the server closes the connection.
    pub(crate) fn start(handler: impl Fn(&Request) -> Option<String> + Send + Sync + 'static) -> Server {
        Server::start_at("127.0.0.1:0", handler)
    }

    pub(crate) fn start_at(
        address: &str,
        handler: impl Fn(&Request) -> Option<String> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let server =
            Server { address: listener.local_addr().unwrap(), requests: Arc::default(), connections: Arc::default() };
        let (requests, connections) = (server.requests.clone(), server.connections.clone());
        let handler = Arc::new(handler);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *connections.lock().unwrap() += 1;
                let (requests, handler) = (requests.clone(), handler.clone());
                thread::spawn(move || serve(&stream, &requests, &*handler));
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The number of requests whose line starts with `line`.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.requests().iter().filter(|request| request.line.starts_with(line)).count()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

fn serve(stream: &TcpStream, requests: &Mutex<Vec<Request>>, handler: &dyn Fn(&Request) -> Option<String>) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        requests.lock().unwrap().push(request.clone());
        match handler(&request) {
            Some(answer) => {
                let mut writer = stream;
                if writer.write_all(answer.as_bytes()).is_err() || !answer.contains("Content-Length") {
                    return;
                }
                // Tests use this length for answers that are cut off.
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

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
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
    Some(Request { line, rest })
}
