//! One HTTP GET to a party on this machine, for `agent` and `docker`.
//!
//! In: a client, an address and a deadline. Out: the status and a body within a limit, or what went wrong, sorted by
//! what it says of the other side. It never follows a redirect, never uses a proxy, and keeps no connection: a kept one
//! that its server has closed would look like a broken answer instead of a refused connection.

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio::time::Instant;

use crate::retry::{Deadline, within};

/// An answer of these parties is a few kilobytes; longer is not theirs.
const LONGEST_BODY: usize = 1 << 20;

/// What went wrong.
#[derive(Debug)]
pub(crate) enum LocalError {
    /// No connection, for this reason of the kernel.
    NotConnected(io::Error),
    /// No connection or no whole answer in this time.
    Silent(Duration),
    /// Something that is not HTTP, or half an answer.
    Broken(reqwest::Error),
    /// A body longer than this many bytes.
    TooLong(usize),
}

/// The settings that both clients share.
pub(crate) fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).pool_max_idle_per_host(0)
}

/// One GET, bounded by `longest` and by the deadline.
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
        Err(_) => Err(LocalError::Silent(start.elapsed())),
    };
    let status = answer.as_ref().map_or(0, |(status, _)| status.as_u16());
    tracing::debug!(path, status, duration = ?start.elapsed(), "asked a local service");
    answer
}

async fn exchange(client: &reqwest::Client, url: reqwest::Url) -> Result<(reqwest::StatusCode, Vec<u8>), LocalError> {
    let mut response = client.get(url).send().await.map_err(sort)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(sort)? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_BODY {
            return Err(LocalError::TooLong(LONGEST_BODY));
        }
    }
    Ok((response.status(), body))
}

/// The kernel's reason lies somewhere below hyper's. Only its code is kept: the texts above it repeat it.
fn sort(error: reqwest::Error) -> LocalError {
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
    //! Servers that behave badly in one way each, shared by the tests of `agent` and `docker`.

    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::time::Duration;

    use crate::retry::Deadline;

    /// Runs one future on a runtime like that of the binary.
    pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// Long enough for loopback on a busy machine.
    pub(crate) fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    fn answer(mut stream: impl Read + Write, bytes: &[u8]) {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(bytes);
    }

    /// Answers every connection with these bytes and closes it.
    pub(crate) fn tcp_server(bytes: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, bytes)));
        address
    }

    /// The same on a unix socket.
    pub(crate) fn unix_server(path: &Path, bytes: &'static [u8]) {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, bytes)));
    }
}
