//! Reads values of the kernel: free disk space and memory, uptime, and the process of a socket.
//!
//! In: the files of `/proc` and `/sys` below the root. Out: values; `None` if a value cannot be read. It opens no
//! socket and changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use serde::Serialize;

use super::disk::Disk;

/// The most bytes of a file. The files of `/proc` that are read here are shorter.
const MAX_BYTES: usize = 4 * 1024 * 1024;

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

/// The longest name of a process (TASK_COMM_LEN, include/linux/sched.h).
const MAX_NAME_LENGTH: usize = 15;

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

/// When PID 1 started, in hundredths of a second since the kernel started (proc_pid_stat(5); `USER_HZ` is 100). In a container
/// this is the start of the container.
pub fn init_started(disk: &Disk) -> Option<u64> {
    const FIELD: usize = 22;
    const FIRST_AFTER_NAME: usize = 3;
    let stat = text(disk, "/proc/1/stat")?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(FIELD - FIRST_AFTER_NAME)?.parse().ok()
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
pub(super) mod tests {
    #[test]
    fn the_start_of_pid_1_is_found_behind_any_name() {
        let stat = "1 (sys) temd) S 0 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 3252981 1 1 1\n";
        assert_eq!(init_started(&with(&[("proc/1/stat", stat)]).1), Some(3_252_981));
        assert_eq!(init_started(&with(&[("proc/1/stat", "1 (a) S 0")]).1), None);
    }

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
    pub(in super::super) fn with(files: &[(&str, &str)]) -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let disk = Disk::new(folder.path().to_owned());
        (folder, disk)
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
        fn no_file_causes_a_panic(text in "[ -~\n]{0,200}") {
            let files = ["proc/meminfo", "proc/pressure/memory", "proc/uptime"].map(|path| (path, text.as_str()));
            let (_folder, disk) = with(&files);
            let _ = (memory(&disk), pressure(&disk), uptime(&disk));
        }
    }
}
