//! What user data is, as cloud-init would take it: its part_type and what is wrong with it, never a byte of it.
//!
//! In: the bytes that instance metadata gives. Out: facts by cloud-init's own rules (`cloudinit/user_data.py`,
//! `cloudinit/handlers/__init__.py`), and whether it speaks of ECS at all.

pub(crate) mod mime;
mod part_type;

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use self::part_type::{NO_MARKER, OURS, SHEBANG, is_mime, part_type};
pub use self::part_type::{PartType, of_other_system};
use crate::settings::user_data::{decoded, unwrapped};

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub struct UserData {
    /// What it begins with.
    pub part_type: PartType,
    /// What is wrong with its MIME parts.
    pub mime: Vec<String>,
    /// Whether the first line of a script ends in CR LF, which cloud-init mends and other readers do not.
    pub crlf: bool,
    /// Whether it speaks of the agent's cluster, or of this program, which finds one.
    pub mentions_cluster: bool,
    /// Whether it may name a cluster: it speaks of the agent, fetches something that may, or cannot be read.
    pub may_name_cluster: bool,
    /// Whether it asks instance metadata, and never with a token.
    pub asks_without_token: bool,
    /// Whether the metadata service refuses such requests; `None` where it was not asked.
    pub token_required: Option<bool>,
    /// Its hash, and that of what its base64 holds.
    pub hashes: Vec<[u8; 32]>,
}

/// Where a cluster is spoken of.
const OF_CLUSTER: [&str; 3] = ["ecs_cluster", "ecs-bootstrap", "ecsagentconfiguration"];
/// What else may come to name one: the agent's files, and what is fetched from elsewhere.
const MAY_NAME: [&str; 9] =
    ["/etc/ecs", "ecs.config", "ecs_", "http://", "https://", "s3://", "aws ", "#include", "git "];
/// How a script asks; a bare address may as well stand in a list of what takes no proxy.
const METADATA: [&str; 5] = [
    "http://169.254.169.254",
    "169.254.169.254/latest",
    "http://instance-data",
    "instance-data/latest",
    "http://[fd00:ec2::254]",
];
const TOKEN: &str = "x-aws-ec2-metadata-token";

/// Looks at it; `None` and nothing at all are the same.
pub fn read(bytes: Option<&[u8]>) -> UserData {
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return UserData::default() };
    let document = unwrapped(bytes).unwrap_or(Cow::Borrowed(bytes));
    let text = String::from_utf8_lossy(&document);
    let is_binary = std::str::from_utf8(&document).is_err();
    let parts = if is_mime(&document) { mime::read(&text) } else { mime::Parts::default() };
    let mut all = text.to_lowercase();
    all.push_str(&parts.decoded.to_lowercase());
    let holds = |words: &[&str]| words.iter().any(|word| all.contains(word));
    let part_type = part_type(bytes, &document);
    let mime = match text.get(..80).unwrap_or(&text).to_ascii_lowercase().starts_with("content-type: multipart") {
        true if !is_mime(&document) => vec!["it has no `MIME-Version:` header, so nobody takes it for MIME".to_owned()],
        _ => parts.faults,
    };
    // Of ours it is known whether it names one, and that of others is not in it.
    let is_ours = part_type == PartType::Known(OURS);
    let first_line = text.lines().next().map(str::len).and_then(|length| text.get(length..length + 1));
    UserData {
        part_type: if mime.is_empty() || part_type != NO_MARKER {
            part_type
        } else {
            PartType::Known("a MIME message")
        },
        mime,
        crlf: text.starts_with(SHEBANG) && first_line == Some("\r"),
        mentions_cluster: !is_ours && holds(&OF_CLUSTER),
        may_name_cluster: !is_ours && (is_binary || parts.is_opaque || holds(&OF_CLUSTER) || holds(&MAY_NAME)),
        asks_without_token: holds(&METADATA) && !all.contains(TOKEN),
        token_required: None,
        hashes: [Some(hash(bytes)), decoded(bytes).map(|inner| hash(&inner))].into_iter().flatten().collect(),
    }
}

/// How two texts of user data are told apart without keeping either.
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
    fn knows_what_cloud_init_the_agent_and_we_take() {
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
    fn says_why_it_is_not_taken() {
        let blank = PartType::Unknown("blanks or an empty line stand before its first line");
        for (text, part_type) in [
            (format!("\n{SCRIPT}"), blank),
            (format!("  {SCRIPT}"), blank),
            (format!("\u{feff}{SCRIPT}"), PartType::Unknown("a byte order mark stands before its first line")),
            ("yum update -y\necho ECS_CLUSTER=prod\n".to_owned(), NO_MARKER),
            ("# cloud-config\n".to_owned(), NO_MARKER),
            ("dGVzdA==".to_owned(), NO_MARKER),
            (STANDARD.encode(SCRIPT), PartType::TwiceEncoded("a script")),
            (STANDARD.encode("#cloud-config\n"), PartType::TwiceEncoded("a cloud-config")),
            ("{\"Cluster\": \"prod\"}".to_owned(), NO_MARKER),
            (
                "<powershell>\nInitialize-ECSAgent\n</powershell>".to_owned(),
                PartType::Unknown("it is PowerShell for Windows (EC2Launch), which cloud-init does not take"),
            ),
            (
                "{\"ignition\":{\"version\":\"3.3.0\"}}".to_owned(),
                PartType::Unknown(
                    "it is an Ignition config for Fedora CoreOS or Flatcar, which cloud-init does not take",
                ),
            ),
            (
                "# mine\n[settings.ecs]\ncluster = \"prod\"\n".to_owned(),
                PartType::Unknown("it is TOML for Bottlerocket, which cloud-init does not take"),
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
    fn keeps_nothing_of_it() {
        let told = format!("{:?}", read(Some(b"#!/bin/sh\nhunter2\n")));
        assert!(!told.contains("hunter2"), "{told}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_break_it(bytes: Vec<u8>, text in "(mime-version: 1.0|content-type: multipart/mixed; boundary=b|content-type: text/x-shellscript|--b|--b--|#!|\n|\r|\"|=|é|;|\u{feff}){0,40}") {
            read(Some(&bytes));
            read(Some(text.as_bytes()));
            read(Some(STANDARD.encode(&bytes).as_bytes()));
        }
    }
}
