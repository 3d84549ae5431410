//! Detects the type of user data, or of a part of it, by its first bytes.
//!
//! The markers are those of cloud-init (`cloudinit/handlers/__init__.py`) and that of ecs-bootstrap.

use crate::mime::is_message;

/// The type of user data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartType {
    /// There is no user data.
    #[default]
    Absent,
    /// A type that cloud-init, the agent or ecs-bootstrap reads, with its article (`a script`).
    Known(&'static str),
    /// A type that none of them reads, and why.
    Unknown(&'static str),
    /// base64 of a known type: the user data was encoded twice.
    TwiceEncoded(&'static str),
}

/// The markers of cloud-init (`INCLUSION_TYPES_MAP`) and of ecs-bootstrap, in lower case. A marker comes before its own
/// prefixes.
const MARKERS: [(&str, &str); 12] = [
    (SHEBANG, "a script"),
    ("#cloud-config-archive", "a cloud-config archive"),
    ("#cloud-config-jsonp", "a JSON patch of a cloud-config"),
    ("#cloud-config", "a cloud-config"),
    ("#cloud-boothook", "a boothook"),
    ("#part-handler", "a part handler"),
    ("#include-once", "a list of addresses"),
    ("#include", "a list of addresses"),
    ("#upstart-job", "an upstart job"),
    ("## template: jinja", "a template"),
    ("#ecs-bootstrap", OURS),
    ("mime-version:", "a MIME message"),
];
pub(super) const SHEBANG: &str = "#!";
pub(super) const OURS: &str = "settings of ecs-bootstrap";
const GZIP: &[u8] = &[0x1f, 0x8b];

pub(super) const NO_MARKER: PartType = PartType::Unknown("it does not begin with a marker that cloud-init knows");

pub(super) fn part_type(bytes: &[u8], document: &[u8]) -> PartType {
    if bytes.starts_with(GZIP) {
        return PartType::Known("gzip");
    }
    if let Some(part_type) = plain_part_type(bytes) {
        return part_type;
    }
    match plain_part_type(document) {
        Some(PartType::Known(what)) if document != bytes => PartType::TwiceEncoded(what),
        _ => of_other_system(document).map_or(NO_MARKER, PartType::Unknown),
    }
}

/// Why cloud-init ignores this user data, if it is for another system; `None` if it is not.
pub fn of_other_system(document: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(document).to_ascii_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if ["<powershell>", "<script>", "<powershellarguments>", "<persist>", "version: 1.0\ntasks:"]
        .iter()
        .any(|tag| text.starts_with(tag))
    {
        return Some("it is PowerShell for Windows (EC2Launch), which cloud-init ignores");
    }
    if text.starts_with('{') && text.contains("\"ignition\"") {
        return Some("it is an Ignition config for Fedora CoreOS or Flatcar, which cloud-init ignores");
    }
    let is_bottlerocket = |line: &str| line.starts_with("[settings") || line.starts_with("settings.");
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next().is_some_and(is_bottlerocket).then_some("it is TOML for Bottlerocket, which cloud-init ignores")
}

/// The type by the first bytes, without decoding; `None` if there is no marker.
pub(super) fn plain_part_type(bytes: &[u8]) -> Option<PartType> {
    if is_message(bytes) {
        return Some(PartType::Known("a MIME message"));
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).to_ascii_lowercase();
    let begun = |text: &str| MARKERS.iter().find(|(marker, _)| text.starts_with(marker)).copied();
    if let Some((marker, what)) = begun(text.trim_start()) {
        // cloud-init skips leading white space. The kernel, which runs scripts, and ecs-bootstrap's own parser do not.
        let strict = [SHEBANG, "#ecs-bootstrap"].contains(&marker) && !text.starts_with(marker);
        return Some(if strict {
            PartType::Unknown("spaces or an empty line before its first line")
        } else {
            PartType::Known(what)
        });
    }
    if begun(text.trim_start_matches(['\u{feff}', ' ', '\n', '\r'])).is_some() {
        return Some(PartType::Unknown("a byte order mark before its first line"));
    }
    let is_agent_json = text.trim_start().starts_with('{') && text.contains("ecsagentconfiguration");
    is_agent_json.then_some(PartType::Known("the agent's own JSON"))
}
