//! Loopback ports: one that refuses connections until a simulator listens on it, and one that drops every SYN.
//!
//! In: a loopback address. Out: listeners on it. It never accepts a connection itself.

use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// A reserved port: while no simulator listens on it, connections are refused, and no other process can bind it.
#[derive(Clone)]
pub struct Port {
    holder: Arc<tokio::net::TcpSocket>,
}

/// A listening socket that refuses connections as soon as it is dropped.
///
/// A process that another thread is starting holds a copy of every socket until its `exec`. Without the shutdown, such a
/// copy would accept connections for a while.
pub struct Listener(TcpListener);

impl Deref for Listener {
    type Target = TcpListener;

    fn deref(&self) -> &TcpListener {
        &self.0
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Ok(copy) = self.0.try_clone() {
            let _ = TcpStream::from(OwnedFd::from(copy)).shutdown(Shutdown::Both);
        }
    }
}

impl Port {
    /// Reserves a free port of this loopback address.
    pub fn reserve(address: IpAddr) -> Self {
        assert!(address.is_loopback(), "simulators are on loopback only");
        Self { holder: Arc::new(reusable(SocketAddr::new(address, 0)).expect("a loopback port")) }
    }

    pub fn address(&self) -> SocketAddr {
        self.holder.local_addr().expect("a bound socket has an address")
    }

    /// Listens on the port. When the listener is dropped, connections are refused again.
    pub fn listen(&self, backlog: u32) -> Listener {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let _entered = runtime.enter();
        let listener = reusable(self.address()).and_then(|socket| socket.listen(backlog));
        let listener = listener.expect("to listen on a reserved port").into_std().expect("a std listener");
        listener.set_nonblocking(false).expect("a blocking listener");
        Listener(listener)
    }
}

fn reusable(address: SocketAddr) -> std::io::Result<tokio::net::TcpSocket> {
    use tokio::net::TcpSocket;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// A loopback address that does not answer SYNs, like a firewall that drops packets: its backlog is full.
pub struct BlackHole {
    address: SocketAddr,
    _listener: Listener,
    _filling: Vec<TcpStream>,
}

impl BlackHole {
    pub fn open() -> Self {
        let port = Port::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (address, listener) = (port.address(), port.listen(1));
        let filling: Vec<_> =
            (0..16).map_while(|_| TcpStream::connect_timeout(&address, Duration::from_millis(150)).ok()).collect();
        assert!(filling.len() < 16, "the backlog did not fill");
        Self { address, _listener: listener, _filling: filling }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}
