//! Resolve and connect, as probes: what stands between this host and an endpoint when its client got no answer.
//!
//! In go a name or addresses and a deadline, out comes the first thing that works or a [`NetError`]. `proxy` and `tls`
//! send over the connections that it opens for them; the probes themselves send nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;

use crate::boundary::dns::{Dns, DnsError};
use crate::retry::{Deadline, within};

/// Why a name did not resolve or an address did not accept a connection.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No name server answered, or the resolver's configuration is unusable.
    #[error("`{host}` could not be looked up")]
    Dns {
        /// The name that was asked for.
        host: String,
        /// What the resolver said.
        #[source]
        source: DnsError,
    },
    /// The lookup took longer than the deadline.
    #[error("no answer in time to the lookup of `{host}`")]
    DnsTimeout {
        /// The name that was asked for.
        host: String,
    },
    /// The name does not exist, or has no address.
    #[error("no address is known for `{host}`")]
    NoSuchName {
        /// The name that was asked for.
        host: String,
    },
    /// There was no address to connect to.
    #[error("no address to connect to")]
    NoAddress,
    /// Nothing answered before the deadline: a dropped packet, not a refusal.
    #[error("no answer from {address} in time")]
    Timeout {
        /// The address that was tried.
        address: SocketAddr,
    },
    /// The host answered that nothing listens there, or a firewall rejects.
    #[error("{address} refused the connection")]
    Refused {
        /// The address that was tried.
        address: SocketAddr,
    },
    /// There is no way to the address: `ENETUNREACH`, `EHOSTUNREACH` and the like (connect(2)).
    #[error("{address} cannot be reached (errno {errno})")]
    Unreachable {
        /// The address that was tried.
        address: SocketAddr,
        /// The error number of connect(2); 0 where the system gave none.
        errno: i32,
        /// The same as the system words it.
        #[source]
        source: io::Error,
    },
}

/// The addresses of `host`.
pub async fn resolve(dns: &Dns, host: &str, deadline: Deadline) -> Result<Vec<IpAddr>, NetError> {
    let host_name = || host.to_owned();
    match within(deadline, dns.lookup(host)).await {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(DnsError::NoSuchName { host })) => Err(NetError::NoSuchName { host }),
        Ok(Err(source)) => Err(NetError::Dns { host: host_name(), source }),
        Err(_late) => Err(NetError::DnsTimeout { host: host_name() }),
    }
}

/// The addresses of `host` and whether one of them, at `port`, accepts a TCP connection, within the deadline.
pub async fn reach(host: &str, port: u16, deadline: Deadline) -> (Vec<IpAddr>, Result<(), NetError>) {
    let addresses = match resolve(&Dns::default(), host, deadline).await {
        Ok(addresses) => addresses,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let targets: Vec<SocketAddr> = addresses.iter().map(|address| (*address, port).into()).collect();
    let connected = connect(&targets, deadline).await.map(|_| ());
    (addresses, connected)
}

/// The first of `addresses` that accepts a TCP connection, tried in turn, each with an equal share of the time that is
/// left. The error is the last address's, but that silence says more than a family of addresses that leads nowhere.
pub async fn connect(addresses: &[SocketAddr], deadline: Deadline) -> Result<SocketAddr, NetError> {
    let mut outcome = Err(NetError::NoAddress);
    for (tried, &address) in addresses.iter().enumerate() {
        let untried = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let tried = connect_to(address, Deadline::after(deadline.remaining() / untried)).await;
        match (&outcome, &tried) {
            (_, Ok(_)) => return tried,
            (Err(NetError::Timeout { .. }), Err(NetError::Unreachable { .. })) => {}
            _ => outcome = tried,
        }
    }
    outcome
}

async fn connect_to(address: SocketAddr, deadline: Deadline) -> Result<SocketAddr, NetError> {
    open(address, deadline).await.map(|_stream| address)
}

/// A connection to the first address of `host`.
pub(crate) async fn open_host(host: &str, port: u16, deadline: Deadline) -> Result<TcpStream, NetError> {
    let address = resolve(&Dns::default(), host, deadline).await?.into_iter().next().ok_or(NetError::NoAddress)?;
    open((address, port).into(), deadline).await
}

#[expect(clippy::disallowed_methods, reason = "the place that connects, with a deadline")]
async fn open(address: SocketAddr, deadline: Deadline) -> Result<TcpStream, NetError> {
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

/// Sends all of it.
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

/// What comes next, at most 4 KiB; empty at the end of the stream.
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

/// Whether the address belongs to a private network: RFC 1918, or fc00::/7 (RFC 4193). A service name that resolves to
/// one is answered by a VPC endpoint.
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
    use crate::boundary::loopback::run;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(2))
    }

    #[test]
    fn connects_to_the_first_address_that_listens() {
        let port = crate::boundary::loopback::ClosedPort::take();
        let closed = port.address();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        assert_eq!(run(connect(&[closed, open], soon())).unwrap(), open);
    }

    #[test]
    fn a_closed_port_is_refused_and_no_address_is_said() {
        let port = crate::boundary::loopback::ClosedPort::take();
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
    fn knows_private_addresses() {
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
