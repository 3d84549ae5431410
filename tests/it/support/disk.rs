//! A temporary root with the files of an Amazon Linux 2023 ECS image (amazon-ecs-ami, `al2023.pkr.hcl` and `scripts/`).
//!
//! In: changes of a test. Out: paths, and the content of files. The agent's database is a real bbolt file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The state that the agent keeps in `agent.db` between its starts.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentState {
    /// As configured at that time: a name or an ARN.
    pub cluster: String,
    pub container_instance_arn: String,
    pub instance_id: String,
}

/// A simulator reads no file that is longer, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// The environment variable that keeps the roots after the test.
pub const KEEP: &str = "ECS_BOOTSTRAP_TEST_KEEP";

const TCP: &str = "proc/net/tcp";
const TCP_HEAD: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

/// The root directory; removed when dropped.
pub struct Disk {
    root: TempDir,
}

impl Disk {
    pub fn new() -> Self {
        let keep = std::env::var_os(KEEP).is_some();
        let root = tempfile::Builder::new().prefix("ecs-bootstrap-").disable_cleanup(keep).tempdir();
        let root = root.expect("a temporary root");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        let disk = Self { root };
        for folder in
            ["run/systemd/journal", "run/systemd/system", "var/lib/ecs/data", "var/log/ecs", "home", "bin", "dev"]
        {
            disk.folder(folder);
        }
        disk.write("etc/ecs/ecs.config", "");
        disk.write("etc/ecs/ecs.config.json", "");
        disk.write("proc/meminfo", "MemTotal:        7938420 kB\nMemFree:         6876428 kB\n");
        disk.write("proc/uptime", "42.17 80.02\n");
        disk.stops_listening();
        disk.write("proc/sys/kernel/random/boot_id", "5b2c2b7e-7a53-4f0a-9d6c-0d6d4f4b6f01\n");
        disk.write("run/cloud-init/status.json", r#"{"v1": {"datasource": "DataSourceEc2Local"}}"#);
        disk.write("run/cloud-init/result.json", r#"{"v1": {"datasource": "DataSourceEc2Local", "errors": []}}"#);
        disk
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A path below the root, given with or without its leading slash.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub fn folder(&self, path: &str) {
        fs::create_dir_all(self.path(path)).expect("a folder below the root");
    }

    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder below the root");
        fs::write(path, bytes).expect("a file below the root");
    }

    /// Writes a program. Another process copies it: a file that this process holds open for writing cannot be run, and a
    /// child that another thread is starting would hold it too.
    pub fn write_program(&self, path: &str, text: &str) {
        let source = format!("home/{}.text", path.replace('/', "-"));
        self.write(&source, text);
        let (source, path) = (self.path(&source), self.path(path));
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder below the root");
        let copied = std::process::Command::new("/bin/cp").arg(source).arg(&path).status();
        assert!(copied.is_ok_and(|status| status.success()), "the program was not copied");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// The bytes of a regular file. `None` if there is none, or if it is longer than `MAX_BYTES`.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        let path = self.path(path);
        let is_readable = fs::metadata(&path).is_ok_and(|about| about.is_file() && about.len() <= MAX_BYTES);
        if is_readable { fs::read(path).ok() } else { None }
    }

    /// The text of a file; empty if there is none.
    pub fn text(&self, path: &str) -> String {
        String::from_utf8_lossy(&self.read(path).unwrap_or_default()).into_owned()
    }

    pub fn remove(&self, path: &str) {
        let path = self.path(path);
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }

    /// Writes the kernel's table of sockets with one listening socket (proc_pid_net(5)).
    pub fn listens(&self, at: std::net::SocketAddr, uid: u32) {
        let std::net::SocketAddr::V4(at) = at else { panic!("introspection is on IPv4") };
        let address = u32::from_ne_bytes(at.ip().octets());
        let line = format!(
            "   0: {address:08X}:{:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 {uid:5}        0 4711 \
             1 0 100 0 0 10 0\n",
            at.port()
        );
        self.write(TCP, format!("{TCP_HEAD}{line}"));
    }

    pub fn stops_listening(&self) {
        self.write(TCP, TCP_HEAD);
    }

    /// Creates `/dev/nvidia0` and the two other devices of a GPU.
    pub fn add_gpu(&self) {
        for device in ["dev/nvidia0", "dev/nvidiactl", "dev/nvidia-uvm"] {
            self.write(device, "");
        }
    }

    pub fn save_agent_state(&self, state: &AgentState) {
        const PATH: &str = "var/lib/ecs/data/agent.db";
        // The agent continues without saved state if something other than a file is there.
        if fs::symlink_metadata(self.path(PATH)).map_or(true, |about| about.is_file()) {
            self.write(PATH, bolt_file(state));
        }
    }

    pub fn agent_state(&self) -> Option<AgentState> {
        let values = read_bolt_leaf(self.read("var/lib/ecs/data/agent.db")?.get(4 * PAGE..)?)?;
        let value = |key: &str| values.get(key).map(|quoted| quoted.trim_matches('"').to_owned()).unwrap_or_default();
        Some(AgentState {
            cluster: value("cluster-name"),
            container_instance_arn: value("container-instance-arn"),
            instance_id: value("ec2-instance-id"),
        })
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

const PAGE: usize = 4096;

/// A bbolt file: two meta pages, the free list, the root with the bucket `metadata`, and that bucket (bbolt,
/// `internal/common`).
fn bolt_file(state: &AgentState) -> Vec<u8> {
    let values = [
        ("agent-version", "1.106.1"),
        ("availability-zone", "eu-west-1a"),
        ("cluster-name", &state.cluster),
        ("container-instance-arn", &state.container_instance_arn),
        ("ec2-instance-id", &state.instance_id),
    ]
    .map(|(key, value)| (key, format!("\"{value}\"").into_bytes()));
    let bucket = [4_u64.to_le_bytes(), 0_u64.to_le_bytes()].concat();
    let pages = [
        meta_page(0),
        meta_page(1),
        page(2, 0x10, 0, &[]),
        leaf_page(3, 1, &[("metadata", bucket)]),
        leaf_page(4, 0, &values),
    ];
    pages.concat()
}

fn page(id: u64, flags: u16, count: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend(flags.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(body);
    bytes.resize(PAGE, 0);
    bytes
}

fn meta_page(id: u64) -> Vec<u8> {
    let mut meta = Vec::new();
    for word in [0xED0C_DAED_u32, 2, PAGE as u32, 0] {
        meta.extend(word.to_le_bytes());
    }
    for word in [3_u64, 0, 2, 5, id] {
        meta.extend(word.to_le_bytes());
    }
    let sum =
        meta.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    meta.extend(sum.to_le_bytes());
    page(id, 0x04, 0, &meta)
}

fn leaf_page(id: u64, flags: u32, values: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut elements, mut data) = (Vec::new(), Vec::new());
    for (index, (key, value)) in values.iter().enumerate() {
        let position = 16 * (values.len() - index) + data.len();
        for word in [flags, position as u32, key.len() as u32, value.len() as u32] {
            elements.extend(word.to_le_bytes());
        }
        data.extend(key.bytes());
        data.extend(value);
    }
    elements.extend(data);
    page(id, 0x02, values.len() as u16, &elements)
}

fn read_bolt_leaf(page: &[u8]) -> Option<BTreeMap<String, String>> {
    let count = u16::from_le_bytes(page.get(10..12)?.try_into().ok()?);
    let mut values = BTreeMap::new();
    for element in (0..usize::from(count)).map(|index| 16 + 16 * index) {
        let word = |at: usize| Some(u32::from_le_bytes(page.get(at..at + 4)?.try_into().ok()?) as usize);
        let key = element + word(element + 4)?;
        let value = key + word(element + 8)?;
        let end = value + word(element + 12)?;
        let text = |from, to| Some(String::from_utf8_lossy(page.get(from..to)?).into_owned());
        values.insert(text(key, value)?, text(value, end)?);
    }
    Some(values)
}
