//! An HTTP proxy, asked whether it would open a way to an endpoint.
//!
//! In go the proxy, a host and a port, out comes that it opens the way or why not (RFC 9110, section 9.3.6). Nothing is
//! sent but the CONNECT itself. The proxy's password goes to the proxy alone: neither `Debug` nor an error holds it.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::boundary::net::{self, NetError};
use crate::retry::{Deadline, within};

/// No status line is longer.
const LONGEST: usize = 8 * 1024;
/// A proxy that waits longer than this waits for the other side.
const ANSWER: Duration = Duration::from_secs(3);

/// Where a proxy is, and how one identifies oneself to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A name, or an address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it can be asked: it speaks plain HTTP, and neither TLS nor SOCKS.
    pub speaks_http: bool,
    authorization: Option<String>,
}

impl Proxy {
    /// Of the value of a proxy variable: `host:port`, or a URL of a scheme that Go's client knows. `None` for anything
    /// else.
    pub fn of(value: &str) -> Option<Proxy> {
        let with_scheme = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let url = reqwest::Url::parse(with_scheme.trim()).ok()?;
        let default_port = match url.scheme() {
            "http" | "https" => url.port_or_known_default()?,
            "socks5" | "socks5h" => 1080,
            _ => return None,
        };
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let (port, speaks_http) = (url.port().unwrap_or(default_port), url.scheme() == "http");
        let user = || format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
        let authorization = (!url.username().is_empty()).then(|| STANDARD.encode(user()));
        Some(Proxy { host, port, speaks_http, authorization })
    }

    /// Host and port, without a password.
    pub fn shown(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.shown()).finish()
    }
}

/// `%XX` decoded; a user name in a URL is written so.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        let (byte, after) = match (first, hex) {
            (b'%', Some(byte)) => (byte, &tail[2..]),
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Why a proxy opens no way.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The proxy itself cannot be reached.
    #[error("no connection to the proxy")]
    NotReached(#[source] NetError),
    /// It answered with another status than 2xx.
    #[error("the proxy answered {status} to CONNECT")]
    Refused {
        /// The status.
        status: u16,
    },
    /// It took the connection and gave no answer that could be read.
    #[error("the proxy gave no answer to CONNECT")]
    NoAnswer,
}

/// Asks the proxy for a way to `host` and closes it at once.
pub async fn connect(proxy: &Proxy, host: &str, port: u16, deadline: Deadline) -> Result<(), ProxyError> {
    let deadline = deadline.earliest(Deadline::after(ANSWER));
    let stream = net::open_host(&proxy.host, proxy.port, deadline).await.map_err(ProxyError::NotReached)?;
    let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request += &format!("Proxy-Authorization: Basic {authorization}\r\n");
    }
    request += "\r\n";
    let exchange = async {
        net::send(&stream, request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        while !answer.contains(&b'\n') && answer.len() < LONGEST {
            let more = net::receive(&stream).await.ok().filter(|more| !more.is_empty())?;
            answer.extend(more);
        }
        status(&answer)
    };
    match within(deadline, exchange).await {
        Ok(Some(200..300)) => Ok(()),
        Ok(Some(status)) => Err(ProxyError::Refused { status }),
        _ => Err(ProxyError::NoAnswer),
    }
}

/// The status of `HTTP/1.1 407 Proxy Authentication Required`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.trim().parse().ok()
}

/// Where this process itself goes through a proxy to HTTPS, as the client of AWS reads its environment.
#[expect(clippy::disallowed_methods, reason = "the client of AWS reads the same variables by itself")]
pub fn of_environment() -> Option<Proxy> {
    let value = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].into_iter().find_map(value).as_deref().and_then(Proxy::of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::loopback::{ClosedPort, Server, run};

    fn asked(answer: &'static str, user: &str) -> (Result<(), ProxyError>, String) {
        let server = Server::start(move |_| Some(answer.to_owned()));
        let proxy = Proxy::of(&format!("http://{user}{}", server.address)).unwrap();
        let outcome = run(connect(&proxy, "ecs.test", 443, Deadline::after(Duration::from_secs(3))));
        let asked = server.asked()[0].clone();
        (outcome, format!("{} {}", asked.line, asked.rest))
    }

    #[test]
    fn asks_for_the_way_and_says_what_came() {
        let (outcome, asked_for) = asked("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "");
        outcome.unwrap();
        assert!(asked_for.starts_with("CONNECT ecs.test:443 Host: ecs.test:443"), "{asked_for}");
        let (outcome, asked_for) = asked("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", "me:hunt%65r2@");
        let error = outcome.unwrap_err();
        assert!(matches!(error, ProxyError::Refused { status: 407 }), "{error:?}");
        assert!(asked_for.contains(&format!("Basic {}", STANDARD.encode("me:hunter2"))), "{asked_for}");
        let (outcome, _) = asked("SSH-2.0-OpenSSH\r\n", "");
        assert!(matches!(outcome, Err(ProxyError::NoAnswer)));
    }

    #[test]
    fn a_proxy_that_is_not_there_is_not_one_that_refuses() {
        let port = ClosedPort::take();
        let proxy = Proxy::of(&port.address().to_string()).unwrap();
        let outcome = run(connect(&proxy, "ecs.test", 443, Deadline::after(Duration::from_secs(3))));
        assert!(matches!(outcome, Err(ProxyError::NotReached(NetError::Refused { .. }))), "{outcome:?}");
    }

    #[test]
    fn reads_what_a_variable_holds_and_never_shows_a_password() {
        let shown = |value: &str| Proxy::of(value).map(|proxy| proxy.shown());
        assert_eq!(shown("proxy:3128").as_deref(), Some("proxy:3128"));
        assert_eq!(shown("http://10.0.0.1/").as_deref(), Some("10.0.0.1:80"));
        assert_eq!(shown("http://u:hunter2@[fd00::1]:8080").as_deref(), Some("[fd00::1]:8080"));
        assert_eq!(shown("socks5://proxy").as_deref(), Some("proxy:1080"));
        assert!(!Proxy::of("https://proxy").unwrap().speaks_http);
        assert_eq!(shown("ftp://proxy:21"), None);
        assert_eq!(shown(""), None);
        assert!(!format!("{:?}", Proxy::of("http://u:hunter2@proxy:1")).contains("hunter2"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_break_it(bytes: Vec<u8>, text: String) {
            status(&bytes);
            Proxy::of(&text);
            decoded(&text);
        }
    }
}
