//! Sends one HTTP GET to a service on this host, for `agent` and `docker`.
//!
//! In: a client, a URL and a deadline. Out: the status and the body within a limit, or a [`LocalError`]. It never
//! follows a redirect, uses a proxy or reuses a connection. If the server had closed a reused connection, the result
//! would be a broken answer instead of a refused connection.

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio::time::Instant;

use crate::retry::{Deadline, within};

/// The most bytes of a body. Answers of these services have a few kilobytes.
const MAX_BODY_LENGTH: usize = 1 << 20;

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum LocalError {
    /// No connection, with the kernel's error.
    NotConnected(io::Error),
    /// No connection or no complete answer within this time.
    TimedOut(Duration),
    /// The answer is incomplete or not HTTP.
    Broken(reqwest::Error),
    /// The body is longer than [`MAX_BODY_LENGTH`]; its first bytes.
    TooLong(Vec<u8>),
}

/// The settings that the HTTP clients of `agent` and `docker` share.
pub(crate) fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).pool_max_idle_per_host(0)
}

/// Sends one GET and waits at most `longest`, and at most until the deadline.
pub(crate) async fn get(
    client: &reqwest::Client,
    url: reqwest::Url,
    longest: Duration,
    deadline: Deadline,
) -> Result<(reqwest::StatusCode, Vec<u8>), LocalError> {
    let start = Instant::now();
    let path = url.path().to_owned();
    let answer = match within(deadline.earliest(Deadline::after(longest)), exchange(client, url)).await {
        Ok(answer) => answer,
        Err(_) => Err(LocalError::TimedOut(start.elapsed())),
    };
    let duration = start.elapsed();
    match &answer {
        Ok((status, _)) => tracing::debug!(path, status = status.as_u16(), ?duration, "local service answered"),
        Err(LocalError::TooLong(_)) => tracing::debug!(path, ?duration, "answer of a local service is too long"),
        Err(error) => tracing::debug!(path, ?error, ?duration, "request to a local service failed"),
    }
    answer
}

async fn exchange(client: &reqwest::Client, url: reqwest::Url) -> Result<(reqwest::StatusCode, Vec<u8>), LocalError> {
    let mut response = client.get(url).send().await.map_err(classify)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(classify)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_LENGTH {
            body.truncate(MAX_BODY_LENGTH);
            return Err(LocalError::TooLong(body));
        }
    }
    Ok((response.status(), body))
}

/// Sorts an error of the HTTP client. Of a connection error only the kernel's error number is kept, which is somewhere
/// in the chain of sources: the texts above it only repeat it.
pub(crate) fn classify(error: reqwest::Error) -> LocalError {
    if error.is_connect() {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(this) = cause {
            if let Some(code) = this.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
                return LocalError::NotConnected(io::Error::from_raw_os_error(code));
            }
            cause = this.source();
        }
    }
    LocalError::Broken(error.without_url())
}

#[cfg(test)]
pub(crate) mod tests {
    //! Servers that send a fixed answer, for the tests of `agent` and `docker`.

    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::time::Duration;

    use crate::retry::Deadline;

    /// Runs a future on a current-thread runtime, like the binary.
    pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// Long enough for a request over loopback on a busy host.
    pub(crate) fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    fn answer(mut stream: impl Read + Write, bytes: &[u8]) {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(bytes);
    }

    /// Sends these bytes on every connection and closes it.
    pub(crate) fn tcp_server(bytes: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, bytes)));
        address
    }

    /// Like [`tcp_server`], on a unix socket.
    pub(crate) fn unix_server(path: &Path, bytes: &'static [u8]) {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, bytes)));
    }
}
