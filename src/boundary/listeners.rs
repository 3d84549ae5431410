//! The sockets that listen on a TCP port of this host.
//!
//! In: an address. Out: the sockets that a connection to it can reach, with their owners, by `NETLINK_SOCK_DIAG`
//! (sock_diag(7)). The tables in `/proc/net` are the fallback if that fails, and for another root. To read a table, the
//! kernel visits each row of its hash table of connections, also the empty ones. It has up to 524,288 rows (net/ipv4/tcp.c,
//! tcp_init), so that takes milliseconds.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};
use serde::Serialize;

use super::disk::Disk;

/// The most bytes of a socket table: 100,000 listening sockets, more than a host can have in use.
const MAX_TABLE_LENGTH: usize = 16 << 20;
/// The state of a listening socket in `/proc/net/tcp` (`TCP_LISTEN`, include/net/tcp_states.h).
const LISTENING: &str = "0A";
/// The size of the buffer for an answer of the kernel: it sends at most 32 KiB at once (net/netlink/af_netlink.c,
/// netlink_dump).
const MAX_DATAGRAM: usize = 32 << 10;

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// The address that it listens on; `0.0.0.0` or `::` for all addresses.
    pub address: IpAddr,
    /// The id of the user who owns it.
    pub uid: u32,
    /// Its inode number. No later socket has the same number.
    pub inode: u64,
    /// The id and the name of the process that has it open; `None` if it is unknown or was not looked up.
    pub process: Option<(u32, String)>,
}

/// Whether the kernel or the unit of this process does not offer netlink: it is not asked again, because each request could
/// make the kernel look for a module.
static NETLINK_IS_MISSING: AtomicBool = AtomicBool::new(false);

/// The sockets, IPv4 and IPv6, that a connection to this address can reach; `None` if they are unknown. A socket on exactly
/// this address gets all connections; a socket on all addresses gets a connection only without such a socket.
pub fn listeners(disk: &Disk, at: SocketAddr) -> Option<Vec<Listener>> {
    let uses_netlink = disk.alternate_root().is_none() && !NETLINK_IS_MISSING.load(Ordering::Relaxed);
    let all = match uses_netlink.then(|| by_netlink(at.port())) {
        Some(Ok(all)) => all,
        failed => {
            if let Some(Err(error)) = failed {
                tracing::debug!(%error, "no sockets by netlink; /proc/net is read instead");
                NETLINK_IS_MISSING.store(is_missing(&error), Ordering::Relaxed);
            }
            by_procfs(disk, at.port())?
        }
    };
    let is_exact = |one: &&Listener| one.address.to_canonical() == at.ip().to_canonical();
    // An IPv6 socket on all addresses may accept IPv4 connections too (ipv6(7), IPV6_V6ONLY).
    let is_wildcard = |one: &&Listener| one.address.is_unspecified() && (one.address.is_ipv6() || at.is_ipv4());
    let mut reached: Vec<Listener> = all.iter().filter(is_exact).cloned().collect();
    if reached.is_empty() {
        reached = all.iter().filter(is_wildcard).cloned().collect();
    }
    reached.sort_by_key(|one| one.inode);
    Some(reached)
}

/// Whether an error of netlink will not go away: no address family (`RestrictAddressFamilies=` of systemd.exec(5)), no
/// protocol or module, or no permission.
fn is_missing(error: &io::Error) -> bool {
    const ERRORS: [i32; 5] = [libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT, libc::ENOENT, libc::EPERM, libc::EACCES];
    error.raw_os_error().is_some_and(|number| ERRORS.contains(&number))
}

/// The sockets that listen on the port, in the network namespace of this process, as in `/proc/net`.
fn by_netlink(port: u16) -> io::Result<Vec<Listener>> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let kernel = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkSockDiag)?;
    let mut found = Vec::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    for (family, mut id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        id.source_port = port;
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id: id,
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        sendto(kernel.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        loop {
            // Never waits: the kernel writes the next datagram during sendto(2), and during each recv(2). Only the kernel
            // and CAP_NET_ADMIN can send to this socket (net/netlink/af_netlink.c, netlink_sendmsg).
            let length = recv(kernel.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
            if read_answers(buffer.get(..length).unwrap_or_default(), port, &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

/// Adds the sockets of one datagram that listen on the port. Returns whether it is the last one.
fn read_answers(mut datagram: &[u8], port: u16, found: &mut Vec<Listener>) -> io::Result<bool> {
    while !datagram.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(datagram).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(one)) => {
                let InetResponseHeader { socket_id, uid, inode, .. } = one.header;
                if socket_id.source_port == port {
                    let (address, inode) = (socket_id.source_address, u64::from(inode));
                    found.push(Listener { address, uid, inode, process: None });
                }
            }
            // A dump that failed ends with the negative error, for example if there is no module for TCP.
            NetlinkPayload::Done(end) if end.code < 0 => {
                return Err(io::Error::from_raw_os_error(end.code.saturating_neg()));
            }
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        // The library accepts no length that is longer than the datagram or shorter than a header.
        let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The sockets that listen on the port, from the tables in `/proc/net`; `None` if no table can be read.
fn by_procfs(disk: &Disk, port: u16) -> Option<Vec<Listener>> {
    // The kernel lists listening sockets first (net/ipv4/tcp_ipv4.c, tcp_get_idx), so reading stops at the first socket in
    // another state.
    let table = |path| {
        disk.lines(path, MAX_TABLE_LENGTH, |line| listening(line, port)).unwrap_or_else(|error| {
            tracing::debug!(%error, "socket table not read");
            None
        })
    };
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(table);
    if tables.iter().all(Option::is_none) {
        return None;
    }
    Some(tables.into_iter().flatten().flatten().collect())
}

/// The socket of a line of a table (proc_pid_net(5)) if it listens on the port. Breaks at a socket that does not
/// listen.
fn listening(line: &str, port: u16) -> ControlFlow<(), Option<Listener>> {
    let mut fields = line.split_whitespace();
    let (Some(number), Some(local), Some(state)) = (fields.next(), fields.next(), fields.nth(1)) else {
        return ControlFlow::Continue(None);
    };
    if number == "sl" {
        return ControlFlow::Continue(None);
    }
    if state != LISTENING {
        return ControlFlow::Break(());
    }
    let mut listener = || {
        let (address, local_port) = local.rsplit_once(':')?;
        if u16::from_str_radix(local_port, 16).ok()? != port {
            return None;
        }
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        Some(Listener { address: ip(address)?, uid, inode, process: None })
    };
    ControlFlow::Continue(listener())
}

/// Parses an address of a table: 32-bit words in network order, each printed as a number in the host's byte order.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::kernel::process_of;
    use super::super::kernel::tests::with;
    use super::*;

    /// The kernel's two answers to the same question, for sockets of this process.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a connection of the test to itself")]
    fn netlink_finds_the_same_sockets_as_the_tables_of_the_kernel() {
        let host = Disk::new("/".into());
        let mut ports = Vec::new();
        let mut opened = Vec::new();
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0", "[::ffff:127.0.0.1]:0"] {
            // A host without IPv6 has only the first two.
            let Ok(socket) = std::net::TcpListener::bind(address) else { continue };
            ports.push(socket.local_addr().unwrap());
            opened.push(socket);
        }
        assert!(ports.len() >= 2);
        // A connection, which is not to be found, and a port on which nothing listens.
        let _connection = std::net::TcpStream::connect(ports[0]).unwrap();
        ports.push(crate::boundary::test_server::ClosedPort::take().address());
        let key = |one: &Listener| (one.inode, one.address, one.uid);
        for at in ports {
            let mut asked: Vec<_> = by_netlink(at.port()).unwrap().iter().map(key).collect();
            let mut read: Vec<_> = by_procfs(&host, at.port()).unwrap().iter().map(key).collect();
            asked.sort_unstable();
            read.sort_unstable();
            assert_eq!(asked, read, "{at}");
        }
    }

    #[test]
    fn all_of_many_sockets_on_one_port_are_found() {
        // Each with an address of its own; the first datagram of the kernel has at most 4 KiB.
        let first = std::net::TcpListener::bind("127.0.1.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let more = (2..=150).map(|n| std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 1, n), port)).unwrap());
        let more: Vec<_> = more.collect();
        assert_eq!(by_netlink(port).unwrap().len(), more.len() + 1);
    }

    #[test]
    fn a_dump_that_failed_is_an_error_and_not_a_port_without_sockets() {
        let end = |code: i32| -> Vec<u8> {
            let fields = [20_u32.to_ne_bytes(), [3, 0, 2, 0], [0; 4], [0; 4], code.to_ne_bytes()]; // NLMSG_DONE, NLM_F_MULTI
            fields.concat()
        };
        let mut found = Vec::new();
        assert!(read_answers(&end(0), 51678, &mut found).unwrap());
        let error = read_answers(&end(-libc::ENOENT), 51678, &mut found).unwrap_err();
        assert_eq!((error.raw_os_error(), found), (Some(libc::ENOENT), vec![]));
    }

    #[test]
    fn netlink_is_asked_again_after_an_error_that_can_go_away() {
        for (error, expected) in
            [(libc::EAFNOSUPPORT, true), (libc::ENOENT, true), (libc::ENOBUFS, false), (libc::EMFILE, false)]
        {
            assert_eq!(is_missing(&io::Error::from_raw_os_error(error)), expected, "{error}");
        }
        assert!(!is_missing(&io::ErrorKind::InvalidData.into()));
    }

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
         0: 0100007F:C9DE 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0\n   \
         1: 0100007F:C9DE 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";
    const TCP6: &str = "  sl  local_address\n   \
         0: 00000000000000000000000000000000:C9DE 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4713 1\n   \
         1: 00000000000000000000000001000000:C9DE 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 33 0 4714 1\n   \
         2: 0000000000000000FFFF00000200007F:C9DE 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 34 0 4715 1\n";

    #[test]
    fn finds_the_socket_that_a_connection_reaches() {
        let (folder, disk) =
            with(&[("proc/net/tcp", TCP), ("proc/net/tcp6", TCP6), ("proc/12/comm", "ng\x1binx `x` and more\n")]);
        let reached = |at: &str| -> Vec<(u32, u64)> {
            let found = listeners(&disk, at.parse().unwrap()).unwrap();
            found.into_iter().map(|one| (one.uid, one.inode)).collect()
        };
        for (at, expected) in [
            ("127.0.0.1:51678", vec![(1000, 4711)]),
            ("127.0.0.2:51678", vec![(34, 4715)]),
            ("127.0.0.3:51678", vec![(0, 4713)]),
            ("[::1]:51678", vec![(33, 4714)]),
            ("127.0.0.1:80", vec![]),
        ] {
            assert_eq!(reached(at), expected, "{at}");
        }
        assert_eq!(process_of(&disk, 4711), None);
        fs::create_dir(folder.path().join("proc/12/fd")).unwrap();
        std::os::unix::fs::symlink("socket:[4711]", folder.path().join("proc/12/fd/3")).unwrap();
        assert_eq!(process_of(&disk, 4711), Some((12, "ng?inx??x??and?".to_owned())));
    }

    /// A user may open many sockets, so that the agent's socket is near the end of the table.
    #[test]
    fn finds_a_socket_after_many_others_and_does_not_read_connections() {
        let other = |number: usize, state: &str| {
            format!("{number}: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 1000 0 9 1\n")
        };
        let agents = "1: 0100007F:C9DE 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1\n";
        let heading = "  sl  local_address rem_address   st\n";
        let at = "127.0.0.1:51678".parse().unwrap();
        let many: String = (0..20_000).map(|number| other(number, LISTENING)).collect();
        let (_folder, disk) = with(&[("proc/net/tcp", &format!("{heading}{many}{agents}"))]);
        assert_eq!(listeners(&disk, at).unwrap().len(), 1);
        let (_folder, disk) = with(&[("proc/net/tcp", &format!("{heading}{}{agents}", other(0, "01")))]);
        assert_eq!(listeners(&disk, at).unwrap(), []);
    }
    #[test]
    fn without_a_table_the_sockets_are_unknown() {
        let (_folder, empty) = with(&[]);
        assert_eq!(listeners(&empty, (Ipv4Addr::LOCALHOST, 51678).into()), None);
    }

    proptest::proptest! {
        #[test]
        fn no_line_causes_a_panic(text in "[ -~\n]{0,200}", port: u16) {
            text.lines().for_each(|line| drop(listening(line, port)));
        }

        #[test]
        fn no_datagram_causes_a_panic(mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), port: u16) {
            let _ = read_answers(&bytes, port, &mut Vec::new());
            // With a plausible header: the length of the rest, and the type SOCK_DIAG_BY_FAMILY or NLMSG_DONE.
            if let Some(header) = bytes.get(..8).map(<[u8]>::len) {
                let length = (bytes.len() as u32).to_ne_bytes();
                bytes.splice(..header, [length, [if port % 2 == 0 { 20 } else { 3 }, 0, 2, 0]].concat());
                let _ = read_answers(&bytes, port, &mut Vec::new());
            }
        }
    }
}
