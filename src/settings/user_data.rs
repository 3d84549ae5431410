//! Finds the settings of ecs-bootstrap in the user data of an instance.
//!
//! In: the bytes that IMDS returns. Out: the TOML text of the settings, if there are any. It unpacks the user data as
//! cloud-init does (`cloudinit/user_data.py`), and also decodes base64. User data that it cannot read belongs to another
//! program and is not an error. It never repeats a part of the user data.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::mime::{self, MAX_BYTES, SETTINGS_TYPE};

/// The most layers of encoding: gzip and base64, and base64 twice if a launch template was encoded twice.
const MAX_LAYERS: usize = 4;

/// Why settings in the user data cannot be used. It never holds their text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserDataError {
    /// There are several parts, and no rule says which of them wins.
    #[error("the user data has {count} parts of type `text/x-ecs-bootstrap`, one is allowed")]
    SeveralParts {
        /// The number of parts.
        count: usize,
    },
    /// The settings are not UTF-8, as TOML must be.
    #[error("the settings in the user data are not UTF-8 after byte {valid_up_to}")]
    NotUtf8 {
        /// The number of bytes before the first one that is not UTF-8.
        valid_up_to: usize,
    },
    /// The settings are too long once they are decompressed.
    #[error("the settings in the user data are longer than {MAX_BYTES} bytes after decompression")]
    TooLong,
}

/// The settings in the user data. `None` if there are none.
///
/// They are the whole document if its first line is `#ecs-bootstrap`. Otherwise they are its only MIME part of type
/// `text/x-ecs-bootstrap`, or of type `text/plain` with that first line, at any depth. Both may be plain, gzip or
/// base64.
pub fn settings_in(bytes: &[u8]) -> Result<Option<String>, UserDataError> {
    let Some(document) = unwrapped(bytes) else { return Ok(None) };
    if mime::is_settings(&document) {
        return text(&document).map(Some);
    }
    if !mime::is_message(&document) {
        return Ok(None);
    }
    let message = mime::read(&document);
    let mut parts = message.parts.iter().filter(|part| part.has_settings());
    match (parts.next(), parts.count()) {
        (None, _) => Ok(None),
        (Some(part), 0) => {
            let payload = part.payload.as_slice();
            let inner = if part.content_type == SETTINGS_TYPE { unwrapped(payload) } else { None };
            text(inner.as_deref().unwrap_or(payload)).map(Some)
        }
        (Some(_), more) => Err(UserDataError::SeveralParts { count: more + 1 }),
    }
}

/// The document without its layers of gzip and base64. `None` if the gzip data is broken.
pub(crate) fn unwrapped(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut document = Cow::Borrowed(bytes);
    for _ in 0..MAX_LAYERS {
        if document.starts_with(&[0x1f, 0x8b]) {
            document = Cow::Owned(mime::gunzip(&document)?);
        } else if mime::is_settings(&document) || mime::is_message(&document) {
            break;
        } else if let Some(decoded) = decoded(&document) {
            document = Cow::Owned(decoded);
        } else {
            break;
        }
    }
    Some(document)
}

/// The decoded text, if all of it is base64, in one line or in several. `None` if it is empty or not base64.
pub(crate) fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let symbol =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=') || byte.is_ascii_whitespace();
    if !bytes.iter().all(symbol) {
        return None;
    }
    let symbols: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(symbols).ok().filter(|plain| !plain.is_empty())
}

fn without_bom(document: &[u8]) -> &[u8] {
    document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document)
}

/// The container of settings that ecs-bootstrap does not read, for a message. `None` if there are no such settings.
pub fn skipped(bytes: &[u8]) -> Option<&'static str> {
    const ARCHIVE: &[u8] = b"#cloud-config-archive";
    let document = unwrapped(bytes)?;
    let text = without_bom(&document).trim_ascii_start();
    let is_archive = text.get(..ARCHIVE.len()).is_some_and(|start| start.eq_ignore_ascii_case(ARCHIVE));
    let holds = |word: &[u8]| text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
    // The marker is the end of the type.
    let has_settings = is_archive && holds(b"ecs-bootstrap");
    has_settings.then_some("`#cloud-config-archive`; use a MIME part of type `text/x-ecs-bootstrap`")
}

/// Whether the user data mentions what changes the agent: its configuration, this program (`ecs-bootstrap --cluster`, its
/// settings), or what stops docker, which stops the agent and its tasks too. Settings of ecs-bootstrap do not count, because
/// they are known before the agent starts. Scripts that user data downloads are not seen. User data that cannot be unpacked
/// may mention anything.
pub fn mentions_agent(bytes: &[u8]) -> bool {
    const WORDS: [&str; 7] =
        ["ecs.config", "ECS_", "ecs-bootstrap", "/etc/ecs", "/var/lib/ecs", "ecs.service.d", "daemon.json"];
    let Some(document) = unwrapped(bytes) else { return !bytes.is_empty() };
    if mime::is_settings(&document) {
        return false;
    }
    let mentions = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        WORDS.iter().any(|word| text.contains(word)) || text.lines().any(may_stop_docker)
    };
    if !mime::is_message(&document) {
        return mentions(&document);
    }
    mime::read(&document).parts.iter().any(|part| !part.has_settings() && mentions(&part.payload))
}

/// Whether a line of user data may stop docker: it stops or replaces its unit or its package, updates all packages, or reboots
/// the host. In doubt it may: the agent then waits, which is always safe.
fn may_stop_docker(line: &str) -> bool {
    const REBOOT: [&str; 6] = ["reboot", "shutdown", "poweroff", "power_state", "package_upgrade", "apt_upgrade"];
    const UPDATE: [&str; 4] = ["update", "upgrade", "up", "patch"];
    const STOP: [&str; 10] =
        ["restart", "stop", "kill", "pkill", "disable", "mask", "install", "remove", "update", "upgrade"];
    let line = line.to_ascii_lowercase();
    // `docker run --restart` is about a container.
    let arguments = line.split_ascii_whitespace().filter(|argument| !argument.starts_with("--restart"));
    let words: Vec<&str> =
        arguments.flat_map(|argument| argument.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')).collect();
    let has = |any: &[&str]| any.iter().any(|word| words.contains(word));
    let is_docker = words.iter().any(|word| word.starts_with("docker") || word.starts_with("containerd"));
    let updates_all = has(&["yum", "dnf", "microdnf", "zypper"]) && has(&UPDATE);
    has(&REBOOT) || updates_all || (has(&["apt"]) && has(&["upgrade"])) || (is_docker && has(&STOP))
}

/// The settings as text.
fn text(settings: &[u8]) -> Result<String, UserDataError> {
    if settings.len() as u64 > MAX_BYTES {
        return Err(UserDataError::TooLong);
    }
    let text = std::str::from_utf8(without_bom(settings));
    text.map(str::to_owned).map_err(|error| UserDataError::NotUtf8 { valid_up_to: error.valid_up_to() })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scripts_that_mention_the_agent_s_configuration_are_found() {
        let script = "#!/bin/sh\necho ECS_LOGLEVEL=debug >>/etc/ecs/ecs.config\n";
        let settings = "cluster = \"prod\"\n[agent]\nECS_LOGLEVEL = \"debug\"\n";
        let mixed =
            |script| mime(&[("text/x-ecs-bootstrap", "7bit", settings), ("text/x-shellscript", "7bit", script)]);
        let run = include_str!("../../packaging/cloud-init/shell-script");
        let docker = "#!/bin/sh\nsystemctl restart docker\n";
        for text in [script, run, docker, "#!/bin/sh\nexport ECS_X=1\n", &mixed(script), &mixed(run)] {
            assert!(mentions_agent(text.as_bytes()), "{text}");
            assert!(mentions_agent(&gzip(text.as_bytes())), "{text}");
            assert!(mentions_agent(&base64(text.as_bytes())), "{text}");
        }
        for command in [
            "systemctl restart docker",
            "systemctl --no-block restart docker.service",
            "service docker restart",
            "/etc/init.d/docker stop",
            "initctl restart docker",
            "systemctl stop containerd",
            "pkill dockerd",
            "dnf -y install docker-25.0.3",
            "yum update -y",
            "dnf upgrade --refresh -y",
            "apt-get -y dist-upgrade",
            "reboot",
        ] {
            assert!(mentions_agent(format!("#!/bin/sh\n{command}\n").as_bytes()), "{command}");
        }
        assert!(mentions_agent(b"#cloud-config\npackage_upgrade: true\n"));
        for command in [
            "dnf install -y amazon-efs-utils supervisor",
            "apt-get update",
            "docker run -d --restart=always redis",
            "docker pull redis",
        ] {
            assert!(!mentions_agent(format!("#!/bin/sh\n{command}\n").as_bytes()), "{command}");
        }
        let whole = format!("#ecs-bootstrap\n{settings}");
        for text in ["", "#!/bin/sh\nsystemctl start ecs\n", &whole, &mixed("#!/bin/sh\nsleep 20\n")] {
            assert!(!mentions_agent(text.as_bytes()), "{text}");
        }
    }

    const WHOLE: &str = "#ecs-bootstrap\ncluster = \"prod\"\n";
    const TOML: &str = "cluster = \"prod\"\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn base64(bytes: &[u8]) -> Vec<u8> {
        let wrapped = STANDARD.encode(bytes).into_bytes();
        wrapped.chunks(76).flat_map(|line| [line, b"\n"].concat()).collect()
    }

    fn mime(parts: &[(&str, &str, &str)]) -> String {
        let mut text = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n".to_owned();
        for (kind, encoding, body) in parts {
            text += &format!("--//\nContent-Type: {kind}\nContent-Transfer-Encoding: {encoding}\n\n{body}\n");
        }
        text + "--//--\n"
    }

    fn trimmed(bytes: &[u8]) -> Option<String> {
        settings_in(bytes).unwrap().map(|text| text.trim().to_owned())
    }

    #[test]
    fn takes_the_whole_document_in_every_wrapping() {
        let whole = WHOLE.as_bytes();
        let wrapped = [
            whole.to_vec(),
            gzip(whole),
            base64(whole),
            base64(&gzip(whole)),
            gzip(&base64(whole)),
            base64(&base64(&gzip(whole))),
        ];
        for bytes in wrapped {
            assert_eq!(settings_in(&bytes), Ok(Some(WHOLE.to_owned())));
        }
        assert_eq!(settings_in(b"\xef\xbb\xbf#ecs-bootstrap\r\n"), Ok(Some("#ecs-bootstrap\r\n".to_owned())));
        assert_eq!(settings_in(b"#ECS-Bootstrap\n"), Ok(Some("#ECS-Bootstrap\n".to_owned())));
        assert_eq!(settings_in(b"#ecs-bootstrap"), Ok(Some("#ecs-bootstrap".to_owned())));
    }

    #[test]
    fn takes_the_part_with_the_type_of_settings() {
        let script = ("text/x-shellscript; charset=\"us-ascii\"", "7bit", "#!/bin/sh\ncluster=evil\n");
        let encoded = STANDARD.encode(TOML);
        for part in [
            ("text/x-ecs-bootstrap", "7bit", TOML),
            ("Text/X-ECS-Bootstrap; charset=\"utf-8\"", "8bit", TOML),
            ("text/x-ecs-bootstrap", "base64", encoded.as_str()),
            ("text/x-ecs-bootstrap", "quoted-printable", "cluster =3D \"prod\"\n"),
            ("text/plain", "7bit", WHOLE),
            ("TEXT/Plain; charset=\"us-ascii\"", "7bit", "#ECS-Bootstrap\ncluster = \"prod\"\n"),
        ] {
            let message = mime(&[script, part, script]);
            for bytes in [message.clone().into_bytes(), gzip(message.as_bytes()), base64(message.as_bytes())] {
                let text = trimmed(&bytes).unwrap_or_default();
                let text = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
                assert_eq!(text, TOML.trim(), "{part:?}");
            }
        }
    }

    #[test]
    fn takes_a_compressed_part_and_a_nested_one() {
        let compressed = STANDARD.encode(gzip(WHOLE.as_bytes()));
        let message = mime(&[("application/x-gzip", "base64", &compressed)]);
        assert_eq!(trimmed(message.as_bytes()).as_deref(), Some(WHOLE.trim()));
        let inner = "--in\nContent-Type: text/x-ecs-bootstrap\n\ncluster = \"prod\"\n--in--\n";
        let nested = mime(&[("multipart/mixed; boundary=in", "7bit", inner)]);
        assert_eq!(trimmed(nested.as_bytes()).as_deref(), Some(TOML.trim()));
    }

    #[test]
    fn finds_its_part_in_each_message_that_cloud_init_reads() {
        let script = ("text/x-shellscript", "7bit", "#!/bin/sh");
        let whole = mime(&[script, ("text/x-ecs-bootstrap", "7bit", "# \u{e9}\ncluster = \"prod\""), script]);
        for message in [
            whole.replace("--//--\n", ""),
            whole.replace("7bit\n\n", "7bit\n"),
            whole.replace("--//\n", "--// \t\n"),
            whole.replace('\n', "\r\n"),
            whole.replace("boundary=\"//\"", "charset=x;\n\tBoundary=//"),
            format!("From me\n{whole}"),
            format!("MIME-Version: 1.0\nContent-Type: message/rfc822\n\n{whole}"),
        ] {
            let text = settings_in(message.as_bytes()).map(|text| text.map(|text| text.replace('\r', "")));
            assert_eq!(text, Ok(Some("# \u{e9}\ncluster = \"prod\"".to_owned())), "{message}");
        }
    }

    #[test]
    fn a_message_with_one_part_may_hold_settings() {
        let message = "Content-Type: text/x-ecs-bootstrap\nMIME-Version: 1.0\n\ncluster = \"prod\"\n";
        assert_eq!(trimmed(message.as_bytes()).as_deref(), Some(TOML.trim()));
    }

    #[test]
    fn ignores_user_data_of_other_programs() {
        let others = mime(&[("text/cloud-config", "7bit", "#cloud-config\n"), ("text/plain", "7bit", TOML)]);
        let broken = &gzip(WHOLE.as_bytes())[..20];
        let documents: [&[u8]; 12] = [
            b"",
            b"\n",
            b"#!/bin/bash\necho ECS_CLUSTER=x >> /etc/ecs/ecs.config\n",
            b"#cloud-config\nruncmd: []\n",
            b"{\"ECSAgentConfiguration\":{}}",
            b"#ecs-bootstrapper\n",
            b" #ecs-bootstrap\n",
            b"Content-Type: text/x-ecs-bootstrap\n\ncluster = 1\n",
            b"\xff\xfe\x00",
            b"MIME-Version: 1.0",
            others.as_bytes(),
            broken,
        ];
        for document in documents {
            assert_eq!(settings_in(document), Ok(None), "{:?}", String::from_utf8_lossy(document));
        }
    }

    #[test]
    fn settings_in_an_archive_are_skipped_with_a_message() {
        let archive = b"#cloud-config-archive\n- type: text/x-ecs-bootstrap\n  content: |\n    cluster = \"prod\"\n";
        assert_eq!(settings_in(archive), Ok(None));
        assert!(skipped(archive).is_some() && skipped(&gzip(archive)).is_some());
        assert_eq!(skipped(b"#cloud-config-archive\n- type: text/cloud-config\n"), None);
        assert_eq!(skipped(WHOLE.as_bytes()), None);
    }

    #[test]
    fn refuses_several_parts_with_settings() {
        let part = ("text/x-ecs-bootstrap", "7bit", TOML);
        assert_eq!(settings_in(mime(&[part, part, part]).as_bytes()), Err(UserDataError::SeveralParts { count: 3 }));
    }

    #[test]
    fn refuses_settings_that_are_not_utf_8_or_too_long() {
        assert_eq!(settings_in(b"#ecs-bootstrap\n\xff"), Err(UserDataError::NotUtf8 { valid_up_to: 15 }));
        let bomb = gzip(&[WHOLE.as_bytes(), &vec![b'\n'; 8 << 20]].concat());
        assert_eq!(settings_in(&bomb), Err(UserDataError::TooLong));
        assert_eq!(settings_in(&gzip(&vec![b'\n'; 8 << 20])), Ok(None));
    }

    fn header_like() -> impl Strategy<Value = Vec<u8>> {
        let pieces: &[&[u8]] = &[
            b"MIME-Version: 1.0\n",
            b"Content-Type: multipart/mixed; boundary=b\n",
            b"Content-Type: text/x-ecs-bootstrap\n",
            b"Content-Type: message/rfc822\n",
            b"Content-Transfer-Encoding: base64\n",
            b"\n",
            b"\r\n",
            b"--b\n",
            b"--b--\n",
            b"=",
            b"\xff",
            b"\0",
            b";",
            b"\"",
            b"charset=utf-7",
            b"=?utf-8?b?",
            b"\x1f\x8b\x08\0",
            b"#ecs-bootstrap\n",
            b"YQ==",
            b"a",
        ];
        proptest::collection::vec(proptest::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = settings_in(&bytes);
            let _ = settings_in(&gzip(&bytes));
        }

        #[test]
        fn no_broken_message_makes_it_panic(bytes in header_like()) {
            let _ = settings_in(&bytes);
        }
    }
}
