//! Reads values of the kernel: free disk space and memory, uptime, and the sockets that listen on a TCP port.
//!
//! In: the files of `/proc` and `/sys` below the root. Out: values; `None` if a value cannot be read. It opens no
//! socket and changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use serde::Serialize;

use super::disk::Disk;

/// The most bytes of a file. The files of `/proc` that are read here are shorter.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The state of a listening socket in `/proc/net/tcp` (`TCP_LISTEN`, include/net/tcp_states.h).
const LISTENING: &str = "0A";

/// The total and the free space of a file system, for root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Space {
    /// A folder on the file system.
    pub path: String,
    /// The size in bytes.
    pub total_bytes: u64,
    /// The free space in bytes.
    pub free_bytes: u64,
    /// The number of inodes; 0 if the file system creates inodes when it needs them.
    pub total_inodes: u64,
    /// The number of free inodes.
    pub free_inodes: u64,
}

/// The memory of the host, in KiB (proc_meminfo(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The total memory.
    pub total_kib: u64,
    /// The memory that a new process could use without swapping.
    pub available_kib: u64,
}

/// The share of the last ten seconds, in percent, in which tasks waited for memory (Documentation/accounting/psi.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pressure {
    /// At least one task waited.
    pub some: u32,
    /// All tasks waited.
    pub full: u32,
}

/// The most bytes of a socket table: 100,000 listening sockets, more than a host can have in use.
const MAX_TABLE_LENGTH: usize = 16 << 20;
/// The longest name of a process (TASK_COMM_LEN, include/linux/sched.h).
const MAX_NAME_LENGTH: usize = 15;

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

/// The space of the file systems of these folders. Each file system is listed once. A folder that does not exist is
/// left out.
pub fn spaces(disk: &Disk, folders: &[&str]) -> Vec<Space> {
    let mut devices = BTreeSet::new();
    let space = |folder: &&str| {
        let path = disk.path(folder);
        let device = fs::metadata(&path).ok()?.dev();
        let stat = statvfs(&path).ok().filter(|_| devices.insert(device))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
        Some(Space {
            path: (*folder).to_owned(),
            total_bytes: bytes(stat.blocks()),
            free_bytes: bytes(stat.blocks_free()),
            total_inodes: stat.files(),
            free_inodes: stat.files_free(),
        })
    };
    folders.iter().filter_map(space).collect()
}

/// Those of these folders that are on a file system that is mounted read-only. The options of the file system itself count
/// (proc_pid_mountinfo(5), super options): the mounts of a hardened unit are read-only on every host.
pub fn read_only(disk: &Disk, folders: &[&str]) -> Vec<String> {
    // The mounts of this process, also with another root.
    #[expect(clippy::disallowed_methods, reason = "a file of the kernel about this process")]
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_read_only = |folder: &&&str| {
        fs::canonicalize(disk.path(folder)).is_ok_and(|path| is_on_read_only_file_system(&mounts, &path))
    };
    folders.iter().filter(is_read_only).map(|folder| (*folder).to_owned()).collect()
}

fn is_on_read_only_file_system(mounts: &str, path: &Path) -> bool {
    let of = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let point = PathBuf::from(unescaped(mount.split(' ').nth(4)?));
        let is_read_only = file_system.rsplit(' ').next()?.split(',').any(|option| option == "ro");
        path.starts_with(&point).then(|| (point.components().count(), is_read_only))
    };
    // Of two mounts at one place, the later one is visible.
    mounts.lines().filter_map(of).max_by_key(|(depth, _)| *depth).is_some_and(|(_, is_read_only)| is_read_only)
}

/// A path with `\040` and other octal escapes replaced.
fn unescaped(path: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(path.to_owned(), |path, (escape, character)| path.replace(escape, character))
}

/// The total and the available memory.
pub fn memory(disk: &Disk) -> Option<Memory> {
    let text = text(disk, "/proc/meminfo")?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Memory { total_kib: value("MemTotal")?, available_kib: value("MemAvailable")? })
}

/// The memory pressure; `None` if the kernel does not measure it.
pub fn pressure(disk: &Disk) -> Option<Pressure> {
    let text = text(disk, "/proc/pressure/memory")?;
    let share = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(" avg10="))?;
        line.split(['.', ' ']).next()?.parse().ok()
    };
    Some(Pressure { some: share("some")?, full: share("full")? })
}

/// Whether SELinux enforces its policy; `None` without SELinux.
pub fn selinux_enforces(disk: &Disk) -> Option<bool> {
    text(disk, "/sys/fs/selinux/enforce").map(|word| word.trim() == "1")
}

/// The time of CLOCK_MONOTONIC in microseconds, which is also the clock of systemd and the journal. sd-notify has the only
/// safe function for it.
pub fn monotonic_us() -> Option<i64> {
    match sd_notify::NotifyState::monotonic_usec_now() {
        Ok(sd_notify::NotifyState::MonotonicUsec(us)) => i64::try_from(us).ok(),
        Ok(_) | Err(_) => None,
    }
}

/// The time since boot in seconds.
pub fn uptime(disk: &Disk) -> Option<u64> {
    text(disk, "/proc/uptime")?.split(['.', ' ']).next()?.parse().ok()
}

/// The sockets, IPv4 and IPv6, that a connection to this address can reach; `None` if no table can be read. A socket on
/// exactly this address gets all connections; a socket on all addresses gets a connection only without such a socket.
pub fn listeners(disk: &Disk, at: SocketAddr) -> Option<Vec<Listener>> {
    // The table is read ten times a second, and may have many connections. The kernel lists listening sockets first
    // (net/ipv4/tcp_ipv4.c, tcp_get_idx), so reading stops at the first socket in another state.
    let table = |path| {
        disk.lines(path, MAX_TABLE_LENGTH, |line| listening(line, at.port())).unwrap_or_else(|error| {
            tracing::debug!(%error, "socket table not read");
            None
        })
    };
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(table);
    if tables.iter().all(Option::is_none) {
        return None;
    }
    let all: Vec<Listener> = tables.into_iter().flatten().flatten().collect();
    let is_exact = |one: &&Listener| one.address.to_canonical() == at.ip().to_canonical();
    // An IPv6 socket on all addresses may accept IPv4 connections too (ipv6(7), IPV6_V6ONLY).
    let is_wide = |one: &&Listener| one.address.is_unspecified() && (one.address.is_ipv6() || at.is_ipv4());
    let mut reached: Vec<Listener> = all.iter().filter(is_exact).cloned().collect();
    if reached.is_empty() {
        reached = all.iter().filter(is_wide).cloned().collect();
    }
    reached.sort_by_key(|one| one.inode);
    Some(reached)
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

/// The process that has the socket with this inode number open. Processes of other users, and processes with more
/// capabilities than this one, are not found.
pub fn process_of(disk: &Disk, socket: u64) -> Option<(u32, String)> {
    let target = format!("socket:[{socket}]");
    disk.list("/proc").ok()?.iter().filter_map(|name| name.parse().ok()).find_map(|pid: u32| {
        let opened = fs::read_dir(disk.path(&format!("/proc/{pid}/fd"))).ok()?.flatten();
        let mut links = opened.filter_map(|entry| fs::read_link(entry.path()).ok());
        links.find(|link| link.as_os_str() == target.as_str())?;
        let name = text(disk, &format!("/proc/{pid}/comm")).unwrap_or_default();
        // A process can choose any name.
        let safe = |c: char| if c.is_ascii_graphic() && c != '`' { c } else { '?' };
        Some((pid, name.trim().chars().take(MAX_NAME_LENGTH).map(safe).collect()))
    })
}

/// The control groups of a process, in the kernel's text form (cgroups(7)).
pub fn control_groups(disk: &Disk, pid: u32) -> Option<String> {
    text(disk, &format!("/proc/{pid}/cgroup")).filter(|groups| !groups.trim().is_empty())
}

fn text(disk: &Disk, path: &str) -> Option<String> {
    let bytes = disk.read(path, MAX_BYTES).unwrap_or_else(|error| {
        tracing::debug!(%error, "file not read");
        None
    })?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_system_is_read_only_by_its_own_options_and_not_by_those_of_a_mount() {
        let mounts = "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
                      40 22 259:1 / / ro,relatime - ext4 /dev/root rw\n\
                      41 22 259:2 / /var/lib/ecs rw - ext4 /dev/nvme1n1 ro,errors=remount-ro\n\
                      42 41 0:40 / /var/lib/ecs/a\\040b rw - tmpfs tmpfs rw\n";
        let is = |path: &str| super::is_on_read_only_file_system(mounts, std::path::Path::new(path));
        assert!(is("/var/lib/ecs") && is("/var/lib/ecs/data"));
        assert!(!is("/var/lib/ecs2") && !is("/var/log") && !is("/var/lib/ecs/a b/c"));
    }

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the test creates its own files")]
    fn with(files: &[(&str, &str)]) -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let disk = Disk::new(folder.path().to_owned());
        (folder, disk)
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
    fn reads_the_kernels_values_and_returns_none_without_them() {
        let (_folder, disk) = with(&[
            ("proc/meminfo", "MemTotal:  8000 kB\nMemFree:  10 kB\nMemAvailable:  200 kB\n"),
            ("proc/pressure/memory", "some avg10=61.25 avg60=0.00 total=1\nfull avg10=20.90 avg60=0.00 total=1\n"),
            ("sys/fs/selinux/enforce", "1"),
            ("proc/uptime", "42.17 80.02\n"),
        ]);
        assert_eq!(memory(&disk), Some(Memory { total_kib: 8000, available_kib: 200 }));
        assert_eq!(pressure(&disk), Some(Pressure { some: 61, full: 20 }));
        assert_eq!((selinux_enforces(&disk), uptime(&disk)), (Some(true), Some(42)));
        let (_folder, empty) = with(&[]);
        assert_eq!((memory(&empty), pressure(&empty), selinux_enforces(&empty)), (None, None, None));
        assert_eq!(listeners(&empty, (Ipv4Addr::LOCALHOST, 51678).into()), None);
    }

    #[test]
    fn a_file_system_is_listed_once() {
        let (folder, disk) = with(&[("var/lib/ecs/x", "")]);
        let found = spaces(&disk, &["/", "/var/lib/ecs", "/absent"]);
        assert_eq!(found.iter().map(|space| space.path.as_str()).collect::<Vec<_>>(), ["/"]);
        assert!(found[0].total_bytes >= found[0].free_bytes);
        drop(folder);
    }

    proptest::proptest! {
        #[test]
        fn no_table_causes_a_panic(text in "[ -~\n]{0,200}", port: u16) {
            text.lines().for_each(|line| drop(listening(line, port)));
            let files = ["proc/meminfo", "proc/pressure/memory", "proc/uptime"].map(|path| (path, text.as_str()));
            let (_folder, disk) = with(&files);
            let _ = (memory(&disk), pressure(&disk), uptime(&disk));
        }
    }
}
