//! Parses user data as cloud-init does: its type, its faults, and whether it mentions the ECS cluster.
//!
//! In: the bytes from instance metadata. Out: facts by the rules of cloud-init (`cloudinit/user_data.py`,
//! `cloudinit/handlers/__init__.py`), without a byte of the user data.

mod mime;
mod part_type;

use std::borrow::Cow;

use sha2::{Digest, Sha256};

pub use self::mime::MimeFault;
use self::part_type::{NO_MARKER, OURS, SHEBANG, part_type};
pub use self::part_type::{PartType, of_other_system};
use crate::mime::{Encoding, is_message};
use crate::settings::user_data::{decoded, unwrapped};

/// The facts about the user data of an instance.
#[derive(Clone, Debug, Default)]
pub struct UserData {
    /// The type, by the first line.
    pub part_type: PartType,
    /// What cloud-init loses of the MIME message.
    pub mime: Vec<MimeFault>,
    /// Whether the first line of a script ends in CR LF. cloud-init corrects that, other programs do not.
    pub crlf: bool,
    /// Whether it mentions the agent's cluster setting or ecs-bootstrap.
    pub mentions_cluster: bool,
    /// Whether it can name a cluster: it mentions the agent, downloads something, or cannot be read.
    pub may_name_cluster: bool,
    /// Whether it sends requests to instance metadata without ever using a token.
    pub asks_without_token: bool,
    /// Whether the metadata service requires a token; `None` if that was not probed.
    pub token_required: Option<bool>,
    /// The SHA-256 hash of the user data, and if it is base64 the hash of the decoded text.
    pub hashes: Vec<[u8; 32]>,
}

/// Words in user data that names a cluster.
const NAMES_CLUSTER: [&str; 4] = ["ecs_cluster", "ecs-bootstrap", "ecsagentconfiguration", "settings.ecs"];
/// Words in user data that can name a cluster: the agent's files, and downloads.
const MAY_NAME_CLUSTER: [&str; 9] =
    ["/etc/ecs", "ecs.config", "ecs_", "http://", "https://", "s3://", "aws ", "#include", "git "];
/// Requests to instance metadata. The address alone is not one: it can be part of a NO_PROXY list.
const METADATA_REQUESTS: [&str; 5] = [
    "http://169.254.169.254",
    "169.254.169.254/latest",
    "http://instance-data",
    "instance-data/latest",
    "http://[fd00:ec2::254]",
];
const TOKEN: &str = "x-aws-ec2-metadata-token";

/// Parses user data. Empty user data is the same as none.
pub fn read(bytes: Option<&[u8]>) -> UserData {
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return UserData::default() };
    let document = unwrapped(bytes).unwrap_or(Cow::Borrowed(bytes));
    let text = String::from_utf8_lossy(&document);
    let is_binary = std::str::from_utf8(&document).is_err();
    let parts = if is_message(&document) { crate::mime::read(&document).parts } else { Vec::new() };
    let mut all = text.to_lowercase();
    let mut is_opaque = false;
    for part in &parts {
        let payload = String::from_utf8_lossy(&part.payload);
        let is_readable = part.is_whole && part.encoding != Encoding::Other;
        is_opaque |= !is_readable || matches!(payload, Cow::Owned(_));
        all.push_str(&payload.to_lowercase());
    }
    let holds = |words: &[&str]| words.iter().any(|word| all.contains(word));
    let part_type = part_type(bytes, &document);
    let mime = mime::faults(&document);
    // Settings of ecs-bootstrap are parsed elsewhere, and contain no script that could name a cluster.
    let is_settings = part_type == PartType::Known(OURS);
    let first_line = text.lines().next().map(str::len).and_then(|length| text.get(length..length + 1));
    UserData {
        part_type: if mime.is_empty() || part_type != NO_MARKER {
            part_type
        } else {
            PartType::Known("a MIME message")
        },
        mime,
        crlf: text.starts_with(SHEBANG) && first_line == Some("\r"),
        mentions_cluster: !is_settings && holds(&NAMES_CLUSTER),
        may_name_cluster: !is_settings && (is_binary || is_opaque || holds(&NAMES_CLUSTER) || holds(&MAY_NAME_CLUSTER)),
        asks_without_token: holds(&METADATA_REQUESTS) && !all.contains(TOKEN),
        token_required: None,
        hashes: [Some(hash(bytes)), decoded(bytes).map(|inner| hash(&inner))].into_iter().flatten().collect(),
    }
}

/// SHA-256, to compare user data without storing it.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const SCRIPT: &str = "#!/bin/bash\necho ECS_CLUSTER=prod >> /etc/ecs/ecs.config\n";

    fn plain_part_type(bytes: &[u8]) -> PartType {
        read(Some(bytes)).part_type
    }

    #[test]
    fn detects_all_known_types() {
        for text in [
            SCRIPT,
            "#cloud-config\n",
            "\n  #Cloud-Config\nruncmd: []\n",
            "#cloud-config-archive\n",
            "#cloud-boothook\n",
            "#part-handler\n",
            "#include\nhttp://x",
            "#include-once\n",
            "## template: jinja\n#cloud-config\n",
            "#ecs-bootstrap\n",
            "Content-Type: text/cloud-config\nMIME-Version: 1.0\n\n#cloud-config\n",
            "{\"ECSAgentConfiguration\": {\"Cluster\": \"prod\"}}",
            "\u{1f}\u{8b}",
        ] {
            let bytes = if text.starts_with('\u{1f}') { b"\x1f\x8b\x08garbage".as_slice() } else { text.as_bytes() };
            assert!(matches!(plain_part_type(bytes), PartType::Known(_)), "{text:?}: {:?}", plain_part_type(bytes));
        }
        assert_eq!(read(None).part_type, PartType::Absent);
        assert_eq!(read(Some(b"")).part_type, PartType::Absent);
    }

    #[test]
    fn says_why_a_type_is_unknown() {
        let blank = PartType::Unknown("spaces or an empty line before its first line");
        for (text, part_type) in [
            (format!("\n{SCRIPT}"), blank),
            (format!("  {SCRIPT}"), blank),
            (format!("\u{feff}{SCRIPT}"), PartType::Unknown("a byte order mark before its first line")),
            ("yum update -y\necho ECS_CLUSTER=prod\n".to_owned(), NO_MARKER),
            ("# cloud-config\n".to_owned(), NO_MARKER),
            ("dGVzdA==".to_owned(), NO_MARKER),
            (STANDARD.encode(SCRIPT), PartType::TwiceEncoded("a script")),
            (STANDARD.encode("#cloud-config\n"), PartType::TwiceEncoded("a cloud-config")),
            ("{\"Cluster\": \"prod\"}".to_owned(), NO_MARKER),
            (
                "<powershell>\nInitialize-ECSAgent\n</powershell>".to_owned(),
                PartType::Unknown("it is PowerShell for Windows (EC2Launch), which cloud-init ignores"),
            ),
            (
                "{\"ignition\":{\"version\":\"3.3.0\"}}".to_owned(),
                PartType::Unknown("it is an Ignition config for Fedora CoreOS or Flatcar, which cloud-init ignores"),
            ),
            (
                "# mine\n[settings.ecs]\ncluster = \"prod\"\n".to_owned(),
                PartType::Unknown("it is TOML for Bottlerocket, which cloud-init ignores"),
            ),
        ] {
            assert_eq!(plain_part_type(text.as_bytes()), part_type, "{text:?}");
        }
    }

    #[test]
    fn knows_whether_it_may_name_a_cluster() {
        let read = |text: &str| read(Some(text.as_bytes()));
        let encoded = read(&STANDARD.encode(SCRIPT));
        assert!(encoded.mentions_cluster && encoded.may_name_cluster);
        let hello = read("#!/bin/sh\necho hello\n");
        assert!(!hello.mentions_cluster && !hello.may_name_cluster);
        assert!(read("#!/bin/sh\ncurl -s https://x/setup | sh\n").may_name_cluster);
        assert!(super::read(Some(b"\xff\xfe\x00")).may_name_cluster);
        assert!(!read("#ecs-bootstrap\nverify.deadline = \"1m\"\n").may_name_cluster);
        assert!(read("#!/bin/sh\necs-bootstrap run --cluster prod\n").mentions_cluster);
        assert!(read("#!/bin/sh\r\necho x\r\n").crlf && !hello.crlf);
        let part = |encoding: &str, text: &str| {
            read(&format!(
                "MIME-Version: 1.0\nContent-Type: text/x-shellscript\nContent-Transfer-Encoding: {encoding}\n\n{text}\n"
            ))
        };
        assert!(part("base64", &STANDARD.encode(SCRIPT)).mentions_cluster);
        assert!(part("quoted-printable", "#!/bin/sh\necho ECS=5FCLUSTER=3Dprod").mentions_cluster);
        assert!(!part("base64", &STANDARD.encode("#!/bin/sh\n")).may_name_cluster);
        assert!(part("x-uuencode", "#!").may_name_cluster && part("base64", "#!/bin/sh").may_name_cluster);
    }

    #[test]
    fn knows_requests_without_a_token() {
        let asks = "#!/bin/sh\nC=$(curl -s http://169.254.169.254/latest/meta-data/tags/instance/cluster)\n";
        assert!(read(Some(asks.as_bytes())).asks_without_token);
        let with = format!("{asks}curl -H \"X-AWS-EC2-Metadata-Token: $T\" http://169.254.169.254/\n");
        assert!(!read(Some(with.as_bytes())).asks_without_token);
        assert!(!read(Some(SCRIPT.as_bytes())).asks_without_token);
        assert!(!read(Some(b"#!/bin/sh\necho NO_PROXY=169.254.169.254,169.254.170.2\n")).asks_without_token);
    }

    #[test]
    fn keeps_no_byte_of_user_data() {
        let shown = format!("{:?}", read(Some(b"#!/bin/sh\nhunter2\n")));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_break_it(
            bytes: Vec<u8>,
            text in concat!(
                "(mime-version: 1.0|content-type: multipart/mixed; boundary=b|content-type: text/x-shellscript|",
                "--b|--b--|#!|\n|\r|\"|=|é|;|\u{feff}){0,40}"
            ),
        ) {
            read(Some(&bytes));
            read(Some(text.as_bytes()));
            read(Some(STANDARD.encode(&bytes).as_bytes()));
        }
    }
}
