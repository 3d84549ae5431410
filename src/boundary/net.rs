//! Probes of an endpoint: a lookup of its name and a TCP connection, to find out why a request got no answer.
//!
//! In: a name or addresses, and a deadline. Out: the first address that works, or a [`NetError`]. The probes send no
//! data; `proxy` and `tls` send data over connections that this module opens for them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;

use crate::boundary::dns::{Dns, DnsError};
use crate::retry::{Deadline, within};

/// Why a name did not resolve or an address did not accept a connection.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The name servers failed, or the resolver's configuration cannot be used.
    #[error("the lookup of `{host}` failed")]
    Dns {
        /// The name that was looked up.
        host: String,
        /// The resolver's error.
        #[source]
        source: DnsError,
    },
    /// The lookup took longer than the deadline.
    #[error("the lookup of `{host}` did not end in time")]
    DnsTimeout {
        /// The name that was looked up.
        host: String,
    },
    /// The name does not exist, or has no address.
    #[error("no address is known for `{host}`")]
    NoSuchName {
        /// The name that was looked up.
        host: String,
    },
    /// There was no address to connect to.
    #[error("no address to connect to")]
    NoAddress,
    /// No answer before the deadline: packets are dropped.
    #[error("no answer from {address} in time")]
    Timeout {
        /// The address that was tried.
        address: SocketAddr,
    },
    /// No process listens on the port, or a firewall rejects the connection.
    #[error("{address} refused the connection")]
    Refused {
        /// The address that was tried.
        address: SocketAddr,
    },
    /// There is no route to the address: `ENETUNREACH`, `EHOSTUNREACH` and similar errors (connect(2)).
    #[error("{address} cannot be reached (errno {errno})")]
    Unreachable {
        /// The address that was tried.
        address: SocketAddr,
        /// The error number of connect(2); 0 if the system gave none.
        errno: i32,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
}

/// Looks up the addresses of `host`.
pub async fn resolve(dns: &Dns, host: &str, deadline: Deadline) -> Result<Vec<IpAddr>, NetError> {
    let host_name = || host.to_owned();
    match within(deadline, dns.lookup(host)).await {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(DnsError::NoSuchName { host })) => Err(NetError::NoSuchName { host }),
        Ok(Err(source)) => Err(NetError::Dns { host: host_name(), source }),
        Err(_late) => Err(NetError::DnsTimeout { host: host_name() }),
    }
}

/// Looks up the addresses of `host`, and connects to `port` of one of them.
pub async fn reach(host: &str, port: u16, deadline: Deadline) -> (Vec<IpAddr>, Result<(), NetError>) {
    let addresses = match resolve(&Dns::default(), host, deadline).await {
        Ok(addresses) => addresses,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let targets: Vec<SocketAddr> = addresses.iter().map(|address| (*address, port).into()).collect();
    let connected = connect(&targets, deadline).await.map(|_| ());
    (addresses, connected)
}

/// The first of `addresses` that accepts a TCP connection. They are tried in order, each with an equal share of the
/// remaining time. The error is that of the last address, except that `Timeout` is kept if later addresses are only
/// `Unreachable`: a host without IPv6 has no route to any IPv6 address.
pub async fn connect(addresses: &[SocketAddr], deadline: Deadline) -> Result<SocketAddr, NetError> {
    let mut last_error = NetError::NoAddress;
    for (index, &address) in addresses.iter().enumerate() {
        let untried = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let error = match connect_to(address, Deadline::after(deadline.remaining() / untried)).await {
            Ok(address) => return Ok(address),
            Err(error) => error,
        };
        let is_no_route_after_timeout =
            matches!((&last_error, &error), (NetError::Timeout { .. }, NetError::Unreachable { .. }));
        if !is_no_route_after_timeout {
            last_error = error;
        }
    }
    Err(last_error)
}

async fn connect_to(address: SocketAddr, deadline: Deadline) -> Result<SocketAddr, NetError> {
    open(address, deadline).await.map(|_stream| address)
}

/// Opens a connection to the first address of `host`.
pub(crate) async fn open_host(host: &str, port: u16, deadline: Deadline) -> Result<TcpStream, NetError> {
    let address = resolve(&Dns::default(), host, deadline).await?.into_iter().next().ok_or(NetError::NoAddress)?;
    open((address, port).into(), deadline).await
}

/// Opens a connection.
#[expect(clippy::disallowed_methods, reason = "the only place that connects, with a deadline")]
pub(crate) async fn open(address: SocketAddr, deadline: Deadline) -> Result<TcpStream, NetError> {
    match within(deadline, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => NetError::Refused { address },
            io::ErrorKind::TimedOut => NetError::Timeout { address },
            _ => NetError::Unreachable { address, errno: error.raw_os_error().unwrap_or(0), source: error },
        }),
        Err(_late) => Err(NetError::Timeout { address }),
    }
}

/// Sends all bytes.
pub(crate) async fn send(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Receives the next bytes, at most 4 KiB; none at the end of the stream.
pub(crate) async fn receive(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut bytes) {
            Ok(count) => {
                bytes.truncate(count);
                return Ok(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the address is private: RFC 1918, or fc00::/7 (RFC 4193). If the name of an AWS service resolves to a
/// private address, a VPC endpoint answers.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::boundary::test_server::run;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(2))
    }

    #[test]
    fn connects_to_the_first_address_that_listens() {
        let port = crate::boundary::test_server::ClosedPort::take();
        let closed = port.address();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        assert_eq!(run(connect(&[closed, open], soon())).unwrap(), open);
    }

    #[test]
    fn a_closed_port_is_refused_and_an_empty_list_is_no_address() {
        let port = crate::boundary::test_server::ClosedPort::take();
        let closed = port.address();
        assert!(matches!(run(connect(&[closed], soon())), Err(NetError::Refused { address }) if address == closed));
        assert!(matches!(run(connect(&[], soon())), Err(NetError::NoAddress)));
    }

    #[test]
    fn an_address_resolves_to_itself_without_a_resolver() {
        let found = run(resolve(&Dns::default(), "127.0.0.1", soon())).unwrap();
        assert_eq!(found, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn recognizes_private_addresses() {
        for (address, private) in [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("54.239.1.1", false),
            ("fd00:ec2::1", true),
            ("2600::1", false),
            ("::ffff:10.0.0.1", true),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), private, "{address}");
        }
    }
}
