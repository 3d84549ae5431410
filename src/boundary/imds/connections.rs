//! The HTTP connections to the metadata service.
//!
//! In: requests. Out: answers, or an [`ExchangeError`]. Each concurrent request has a connection of its own, which is
//! kept for later requests. Connections can be opened before they are needed ([`Connections::prepare`]): if a request
//! had to open one, its answer would take a second round trip. A proxy is never used, and no redirect is followed.

use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderMap;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::endpoint::Place;
use crate::boundary::dns::Dns;
use crate::boundary::net::{self, NetError};
use crate::retry::{Deadline, pause_for};

/// How long an address may take to connect before the next one is tried too (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(300);
/// The most bytes of an answer, so that an endless answer cannot fill the memory. The longest real answer is user data,
/// at most 16 KiB.
pub(super) const MAX_ANSWER_LENGTH: usize = 256 * 1024;

/// An answer of any status.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
pub(super) enum ExchangeError {
    /// No connection opened.
    Connect(NetError),
    /// The answer is incomplete, or not HTTP.
    Broken(hyper::Error),
    /// The answer is longer than [`MAX_ANSWER_LENGTH`].
    TooLong,
}

/// The connections to one service.
pub(super) struct Connections {
    place: Place,
    dns: Dns,
    /// The address that answered first. Later connections go to it only.
    answered: OnceLock<SocketAddr>,
    idle: Mutex<Vec<Connection>>,
}

struct Connection {
    requests: SendRequest<String>,
    address: SocketAddr,
}

impl Connections {
    pub(super) fn new(place: Place) -> Connections {
        Connections { place, dns: Dns::default(), answered: OnceLock::new(), idle: Mutex::default() }
    }

    /// Opens connections for this number of concurrent requests. Does not wait for them. An error is ignored: the request
    /// that needs the connection tries again.
    pub(super) fn prepare(self: &Arc<Self>, count: usize, connect_timeout: Duration) {
        for _ in 0..count {
            let connections = self.clone();
            tokio::spawn(async move {
                if let Ok(connection) = connections.open(connect_timeout).await {
                    connections.keep(connection);
                }
            });
        }
    }

    /// Sends a request and reads the answer.
    pub(super) async fn exchange(
        &self,
        request: Request<String>,
        connect_timeout: Duration,
    ) -> Result<Answer, ExchangeError> {
        let mut request = request;
        while let Some(mut connection) = self.kept() {
            // The service may have closed the connection since the last answer. Then nothing was sent.
            if connection.requests.ready().await.is_err() {
                continue;
            }
            match connection.requests.try_send_request(request).await {
                Ok(response) => return self.finish(connection, response).await,
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(ExchangeError::Broken(error.into_error())),
                },
            }
        }
        let mut connection = self.open(connect_timeout).await.map_err(ExchangeError::Connect)?;
        let response = connection.requests.send_request(request).await.map_err(ExchangeError::Broken)?;
        self.finish(connection, response).await
    }

    async fn finish(
        &self,
        connection: Connection,
        response: hyper::Response<Incoming>,
    ) -> Result<Answer, ExchangeError> {
        // A later address is ignored.
        let _ = self.answered.set(connection.address);
        let (head, body) = response.into_parts();
        let body = read(body).await?;
        self.keep(connection);
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    fn keep(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// A connection that no request uses.
    fn kept(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn open(&self, connect_timeout: Duration) -> Result<Connection, NetError> {
        let deadline = Deadline::after(connect_timeout);
        let addresses = match (self.answered.get(), &self.place) {
            (Some(address), _) => vec![*address],
            (None, Place::Addresses(addresses)) => addresses.clone(),
            (None, Place::Host(host, port)) => {
                let addresses = net::resolve(&self.dns, host, deadline).await?;
                addresses.into_iter().map(|address| SocketAddr::new(address, *port)).collect()
            }
        };
        let (stream, address) = first_to_connect(&addresses, deadline).await?;
        // The request fits into one packet, which must not wait for an acknowledgement. It is slower without.
        let _ = stream.set_nodelay(true);
        let (requests, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| NetError::Unreachable { address, errno: 0, source: std::io::Error::other(error) })?;
        // It ends with the connection. An error also ends the request, which returns it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { requests, address })
    }
}

/// Connects to the first address that accepts a connection. The next one is tried too after [`NEXT_ADDRESS`], or at once
/// after an error (RFC 8305).
async fn first_to_connect(addresses: &[SocketAddr], deadline: Deadline) -> Result<(TcpStream, SocketAddr), NetError> {
    let mut untried = addresses.iter().copied();
    let mut opening = FuturesUnordered::new();
    let mut last_error = NetError::NoAddress;
    loop {
        match untried.next() {
            Some(address) => opening.push(async move { Ok((net::open(address, deadline).await?, address)) }),
            None if opening.is_empty() => return Err(last_error),
            None => {}
        }
        let is_last = untried.len() == 0;
        let pause = async { if is_last { pending().await } else { pause_for(NEXT_ADDRESS).await } };
        match select(opening.next(), pin!(pause)).await {
            Either::Left((Some(Ok(opened)), _)) => return Ok(opened),
            Either::Left((Some(Err(error)), _)) => last_error = error,
            Either::Left((None, _)) | Either::Right(_) => {}
        }
    }
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, ExchangeError> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(chunk) = frame.map_err(ExchangeError::Broken)?.into_data() {
            if bytes.len() + chunk.len() > MAX_ANSWER_LENGTH {
                return Err(ExchangeError::TooLong);
            }
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(bytes)
}
