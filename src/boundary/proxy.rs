//! Tests whether an HTTP proxy opens a tunnel to an endpoint (CONNECT; RFC 9110, section 9.3.6).
//!
//! In: the proxy, a host and a port. Out: success, or a [`ProxyError`]. It sends only the CONNECT request. The proxy's
//! password is sent only to the proxy; it is never in an error or in `Debug` output.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::boundary::net::{self, NetError};
use crate::retry::{Deadline, within};

/// The most bytes of a status line.
const MAX_BYTES: usize = 8 * 1024;
/// The time-out. A proxy that needs longer cannot reach the endpoint itself.
const MAX_ATTEMPT_TIME: Duration = Duration::from_secs(3);

/// The address of a proxy, and the credentials for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A name, or an address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Whether the connection to the proxy uses plain HTTP, without TLS or SOCKS. [`connect`] supports only this.
    pub is_plain_http: bool,
    authorization: Option<String>,
}

impl Proxy {
    /// Parses the value of a proxy variable: `host:port`, or a URL with a scheme that Go's HTTP client supports. `None`
    /// for any other value.
    pub fn of(value: &str) -> Option<Proxy> {
        let with_scheme = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let url = reqwest::Url::parse(with_scheme.trim()).ok()?;
        let default_port = match url.scheme() {
            "http" | "https" => url.port_or_known_default()?,
            "socks5" | "socks5h" => 1080,
            _ => return None,
        };
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let (port, is_plain_http) = (url.port().unwrap_or(default_port), url.scheme() == "http");
        let user = || format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
        let authorization = (!url.username().is_empty()).then(|| STANDARD.encode(user()));
        Some(Proxy { host, port, is_plain_http, authorization })
    }

    /// Host and port, without the credentials.
    pub fn shown(&self) -> String {
        host_and_port(&self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.shown()).finish()
    }
}

/// `host:port`, with an IPv6 address in brackets.
fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Decodes `%XX`, which user names and passwords in a URL may contain.
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

/// Why a proxy does not open a tunnel.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// There is no connection to the proxy.
    #[error("no connection to the proxy")]
    NotReached(#[source] NetError),
    /// The proxy answered with a status other than 2xx.
    #[error("the proxy answered {status} to CONNECT")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// The proxy accepted the connection, but sent no HTTP answer in time.
    #[error("the proxy gave no answer to CONNECT")]
    NoAnswer,
}

/// Requests a tunnel to `host` from the proxy and closes it at once.
pub async fn connect(proxy: &Proxy, host: &str, port: u16, deadline: Deadline) -> Result<(), ProxyError> {
    let deadline = deadline.earliest(Deadline::after(MAX_ATTEMPT_TIME));
    let stream = net::open_host(&proxy.host, proxy.port, deadline).await.map_err(ProxyError::NotReached)?;
    let target = host_and_port(host, port);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request += &format!("Proxy-Authorization: Basic {authorization}\r\n");
    }
    request += "\r\n";
    let exchange = async {
        net::send(&stream, request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        while !answer.contains(&b'\n') && answer.len() < MAX_BYTES {
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

/// The status in a line such as `HTTP/1.1 407 Proxy Authentication Required`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.trim().parse().ok()
}

/// The proxy that this process uses for HTTPS, from the same environment variables that the AWS SDK reads.
#[expect(clippy::disallowed_methods, reason = "the AWS SDK reads the same variables by itself")]
pub fn of_environment() -> Option<Proxy> {
    let value = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].into_iter().find_map(value).as_deref().and_then(Proxy::of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::test_server::{ClosedPort, Server, run};

    /// The outcome, and the request that the proxy received.
    fn exchange(answer: &'static str, user: &str) -> (Result<(), ProxyError>, String) {
        let server = Server::start(move |_| Some(answer.to_owned()));
        let proxy = Proxy::of(&format!("http://{user}{}", server.address)).unwrap();
        let outcome = run(connect(&proxy, "ecs.test", 443, Deadline::after(Duration::from_secs(3))));
        let request = server.requests()[0].clone();
        (outcome, format!("{} {}", request.line, request.rest))
    }

    #[test]
    fn sends_connect_and_reports_the_answer() {
        let (outcome, request) = exchange("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "");
        outcome.unwrap();
        assert!(request.starts_with("CONNECT ecs.test:443 Host: ecs.test:443"), "{request}");
        let (outcome, request) = exchange("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", "me:hunt%65r2@");
        let error = outcome.unwrap_err();
        assert!(matches!(error, ProxyError::Refused { status: 407 }), "{error:?}");
        assert!(request.contains(&format!("Basic {}", STANDARD.encode("me:hunter2"))), "{request}");
        let (outcome, _) = exchange("SSH-2.0-OpenSSH\r\n", "");
        assert!(matches!(outcome, Err(ProxyError::NoAnswer)));
    }

    #[test]
    fn distinguishes_a_missing_proxy_from_one_that_refuses() {
        let port = ClosedPort::take();
        let proxy = Proxy::of(&port.address().to_string()).unwrap();
        let outcome = run(connect(&proxy, "ecs.test", 443, Deadline::after(Duration::from_secs(3))));
        assert!(matches!(outcome, Err(ProxyError::NotReached(NetError::Refused { .. }))), "{outcome:?}");
    }

    #[test]
    fn parses_proxy_variables_and_never_shows_a_password() {
        let shown = |value: &str| Proxy::of(value).map(|proxy| proxy.shown());
        assert_eq!(shown("proxy:3128").as_deref(), Some("proxy:3128"));
        assert_eq!(shown("http://10.0.0.1/").as_deref(), Some("10.0.0.1:80"));
        assert_eq!(shown("http://u:hunter2@[fd00::1]:8080").as_deref(), Some("[fd00::1]:8080"));
        assert_eq!(shown("socks5://proxy").as_deref(), Some("proxy:1080"));
        assert!(!Proxy::of("https://proxy").unwrap().is_plain_http);
        assert_eq!(shown("ftp://proxy:21"), None);
        assert_eq!(shown(""), None);
        assert!(!format!("{:?}", Proxy::of("http://u:hunter2@proxy:1")).contains("hunter2"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes: Vec<u8>, text: String) {
            status(&bytes);
            Proxy::of(&text);
            decoded(&text);
        }
    }
}
