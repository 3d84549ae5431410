use std::io::Write;

use super::replace::create_temporary;
use super::*;

use std::os::unix::fs::symlink;

use nix::sys::stat::Mode as Bits;

const CONFIG: &str = "/etc/ecs/ecs.config";

fn instance() -> (tempfile::TempDir, Disk) {
    let root = tempfile::tempdir().unwrap();
    let disk = Disk::new(root.path().to_owned());
    disk.create_folder("/etc/ecs", 0o755).unwrap();
    (root, disk)
}

fn mode_of(disk: &Disk, path: &str) -> u32 {
    fs::metadata(disk.path(path)).unwrap().mode() & 0o7777
}

#[test]
fn a_file_that_does_not_exist_is_none_wherever_the_path_ends() {
    let (_root, disk) = instance();
    disk.replace(CONFIG, b"", Mode::Exactly(0o644)).unwrap();
    for path in ["/etc/ecs/absent", "/nowhere/at/all", "/etc/ecs/ecs.config/below-a-file"] {
        assert_eq!(disk.read(path, 10).unwrap(), None, "{path}");
        assert_eq!(disk.read_regular(path, 10).unwrap(), None, "{path}");
        assert_eq!(disk.tail(path, 10).unwrap(), None, "{path}");
        assert_eq!(disk.modified(path).unwrap(), None, "{path}");
    }
    assert!(!disk.exists("/etc/ecs/absent").unwrap());
    assert!(disk.list("/nowhere").unwrap().is_empty());
}

#[test]
fn systemd_has_booted_from_a_root_with_its_folder_and_from_this_hosts_root_under_any_name() {
    let (_root, disk) = instance();
    assert!(!disk.is_booted());
    disk.create_folder("/run/systemd/system", 0o755).unwrap();
    assert!(disk.is_booted());
    let is_booted = |root: &str| Disk::new(PathBuf::from(root)).is_booted();
    assert_eq!(is_booted("/proc/self/root"), is_booted("/"));
}

#[test]
fn reads_up_to_the_limit_and_refuses_more() {
    let (_root, disk) = instance();
    disk.replace(CONFIG, b"12345", Mode::Exactly(0o644)).unwrap();
    assert_eq!(disk.read(CONFIG, 5).unwrap().unwrap(), b"12345");
    assert!(matches!(disk.read(CONFIG, 4), Err(DiskError::TooLarge { limit: 4, .. })));
}

#[test]
fn reads_proc_whose_files_have_no_size() {
    let disk = Disk::new(PathBuf::from("/"));
    assert!(!disk.read("/proc/self/status", 1 << 16).unwrap().unwrap().is_empty());
}

#[test]
fn follows_a_link_to_read_but_not_to_replace() {
    let (_root, disk) = instance();
    disk.replace("/etc/real", b"real", Mode::Exactly(0o600)).unwrap();
    symlink("../real", disk.path(CONFIG)).unwrap();
    assert_eq!(disk.read(CONFIG, 9).unwrap().unwrap(), b"real");
    assert!(matches!(disk.read_regular(CONFIG, 9), Err(DiskError::Symlink { .. })));
    let error = disk.replace(CONFIG, b"new", Mode::Keep { or: 0o600 }).unwrap_err();
    assert_eq!(error.to_string(), "cannot write `/etc/ecs/ecs.config`: it is a symbolic link");
    assert_eq!(disk.read("/etc/real", 9).unwrap().unwrap(), b"real");
}

#[test]
fn never_waits_for_a_fifo_and_refuses_folders_and_devices() {
    let (_root, disk) = instance();
    nix::unistd::mkfifo(&disk.path(CONFIG), Bits::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(disk.path("/etc/socket")).unwrap();
    symlink("socket", disk.path("/etc/link")).unwrap();
    for path in [CONFIG, "/etc/ecs", "/etc/socket", "/etc/link"] {
        assert!(matches!(disk.read(path, 9), Err(DiskError::NotAFile { .. })), "{path}");
    }
    let host = Disk::new(PathBuf::from("/"));
    assert!(matches!(host.read("/dev/zero", 9), Err(DiskError::NotAFile { .. })));
    assert!(matches!(disk.replace(CONFIG, b"", Mode::Exactly(0o600)), Err(DiskError::NotAFile { .. })));
    assert!(matches!(disk.replace("/etc/ecs", b"", Mode::Exactly(0o600)), Err(DiskError::NotAFile { .. })));
}

#[test]
fn keeps_the_mode_of_the_old_file() {
    let (_root, disk) = instance();
    disk.replace(CONFIG, b"new", Mode::Keep { or: 0o640 }).unwrap();
    assert_eq!(mode_of(&disk, CONFIG), 0o640);
    fs::set_permissions(disk.path(CONFIG), Permissions::from_mode(0o604)).unwrap();
    disk.replace(CONFIG, b"newer", Mode::Keep { or: 0o640 }).unwrap();
    let state = disk.read_regular(CONFIG, 9).unwrap().unwrap();
    assert_eq!((state.bytes.as_slice(), state.mode), (b"newer".as_slice(), 0o604));
    disk.replace(CONFIG, b"newest", Mode::Exactly(0o600)).unwrap();
    assert_eq!(mode_of(&disk, CONFIG), 0o600);
}

#[test]
fn a_temporary_file_is_readable_by_its_owner_alone() {
    let (root, _) = instance();
    let temporary = create_temporary(root.path(), ".x.ecs-bootstrap-").unwrap();
    assert_eq!(temporary.as_file().metadata().unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn removes_the_temporary_files_of_a_killed_run_and_nothing_else() {
    let (_root, disk) = instance();
    let left = [".ecs.config.ecs-bootstrap-Ab12Cd", ".ecs.config.swp", ".other.ecs-bootstrap-Ab12Cd"];
    for name in left {
        fs::File::create_new(disk.path("/etc/ecs").join(name)).unwrap();
    }
    let in_use = create_temporary(&disk.path("/etc/ecs"), ".ecs.config.ecs-bootstrap-").unwrap();
    disk.replace(CONFIG, b"x", Mode::Exactly(0o600)).unwrap();
    let mut expected = vec![
        ".ecs.config.swp",
        ".other.ecs-bootstrap-Ab12Cd",
        "ecs.config",
        in_use.path().file_name().unwrap().to_str().unwrap(),
    ];
    expected.sort_unstable();
    assert_eq!(disk.list("/etc/ecs").unwrap(), expected);
    // Also if nothing is written.
    drop(in_use);
    fs::File::create_new(disk.path("/etc/ecs").join(left[0])).unwrap();
    disk.remove_temporary_files(CONFIG);
    assert_eq!(disk.list("/etc/ecs").unwrap(), [".ecs.config.swp", ".other.ecs-bootstrap-Ab12Cd", "ecs.config"]);
    let in_use = create_temporary(&disk.path("/etc/ecs"), ".status.json.ecs-bootstrap-").unwrap();
    disk.remove_all_temporary_files("/etc/ecs");
    let in_use = in_use.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(disk.list("/etc/ecs").unwrap(), [".ecs.config.swp", in_use, "ecs.config"]);
}

#[test]
fn a_write_that_fails_leaves_only_the_old_file() {
    let (_root, disk) = instance();
    disk.replace(CONFIG, b"old", Mode::Exactly(0o600)).unwrap();
    let mut temporary = create_temporary(&disk.path("/etc/ecs"), ".ecs.config.ecs-bootstrap-").unwrap();
    temporary.write_all(b"half").unwrap();
    drop(temporary);
    assert_eq!(disk.list("/etc/ecs").unwrap(), ["ecs.config"]);
    assert_eq!(disk.read(CONFIG, 9).unwrap().unwrap(), b"old");
    assert!(disk.replace("/absent/file", b"", Mode::Exactly(0o600)).is_err());
}

#[test]
fn distinguishes_a_full_disk_a_read_only_disk_and_denied_access() {
    let error = |code| DiskError::new("write", CONFIG, io::Error::from_raw_os_error(code));
    assert!(matches!(error(libc::ENOSPC), DiskError::Full { .. }));
    assert!(matches!(error(libc::EDQUOT), DiskError::Full { .. }));
    assert!(matches!(error(libc::EROFS), DiskError::ReadOnly { .. }));
    assert!(matches!(error(libc::EACCES), DiskError::Denied { .. }));
    assert!(matches!(error(libc::EIO), DiskError::Io { .. }));
    assert_eq!(error(libc::ENOSPC).to_string(), "cannot write `/etc/ecs/ecs.config`");
}

#[test]
fn lists_names_in_order() {
    let (_root, disk) = instance();
    for name in ["20-b.toml", "10-a.toml", "30-c.toml"] {
        disk.replace(&format!("/etc/ecs/{name}"), b"", Mode::Exactly(0o644)).unwrap();
    }
    assert_eq!(disk.list("/etc/ecs").unwrap(), ["10-a.toml", "20-b.toml", "30-c.toml"]);
    assert!(disk.list("/etc/ecs/10-a.toml").is_err());
}

#[test]
fn the_tail_of_a_log_is_its_last_bytes() {
    let (_root, disk) = instance();
    disk.replace("/etc/log", b"first\nsecond\n", Mode::Exactly(0o644)).unwrap();
    let tail = disk.tail("/etc/log", 7).unwrap().unwrap();
    assert_eq!((tail.bytes.as_slice(), tail.size), (b"second\n".as_slice(), 13));
    assert_eq!(disk.tail("/etc/log", 100).unwrap().unwrap().bytes, b"first\nsecond\n");
    disk.replace("/etc/log", b"", Mode::Exactly(0o644)).unwrap();
    let rotated = disk.tail("/etc/log", 7).unwrap().unwrap();
    assert!(rotated.bytes.is_empty() && rotated.inode != tail.inode);
}

#[test]
fn only_one_process_at_a_time_holds_the_lock() {
    let (_root, disk) = instance();
    let held = disk.lock("/etc/lock").unwrap();
    assert!(matches!(disk.lock("/etc/lock"), Err(DiskError::Busy { .. })));
    drop(held);
    disk.lock("/etc/lock").unwrap();
}

#[test]
fn creates_a_folder_with_its_mode_once() {
    let (_root, disk) = instance();
    disk.create_folder("/run/ecs-bootstrap", 0o750).unwrap();
    assert_eq!(mode_of(&disk, "/run/ecs-bootstrap"), 0o750);
    disk.create_folder("/run/ecs-bootstrap", 0o755).unwrap();
    assert_eq!(mode_of(&disk, "/run/ecs-bootstrap"), 0o750);
}

#[test]
fn secrets_in_a_file_are_not_in_its_debug_text() {
    let (_root, disk) = instance();
    disk.replace(CONFIG, b"ECS_ENGINE_AUTH_DATA=hunter2", Mode::Exactly(0o600)).unwrap();
    let text = format!("{:?}{:?}", disk.read_regular(CONFIG, 99).unwrap(), disk.tail(CONFIG, 99).unwrap());
    assert!(!text.contains("hunter2") && !text.contains("69, 67, 83"), "{text}");
}

#[test]
fn a_file_that_has_changed_since_it_was_read_is_not_replaced() {
    let root = tempfile::tempdir().unwrap();
    let disk = Disk::new(root.path().to_owned());
    let put = |old: &[u8], new: &[u8]| disk.replace_unchanged("/file", old, new, Mode::Exactly(0o644));
    assert!(matches!(put(b"old", b"new"), Err(DiskError::Changed { .. })), "it does not exist");
    put(b"", b"one\n").unwrap();
    put(b"one\n", b"two\n").unwrap();
    for old in [&b"one\n"[..], b"", b"two"] {
        assert!(matches!(put(old, b"three\n"), Err(DiskError::Changed { .. })));
    }
    assert_eq!(disk.read("/file", 100).unwrap().unwrap(), b"two\n");
    assert_eq!(disk.list("/").unwrap(), ["file"]);
}
