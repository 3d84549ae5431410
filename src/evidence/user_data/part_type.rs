//! What user data, or a part of it, is by its first bytes.
//!
//! The markers are those of cloud-init (`cloudinit/handlers/__init__.py`) and the one of ecs-bootstrap.

/// What user data begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartType {
    /// Metadata has none.
    #[default]
    Absent,
    /// Something that cloud-init, the agent or this program takes.
    Known(&'static str),
    /// Nothing that any of them takes; with what is known of it.
    Unknown(&'static str),
    /// base64 of what they take.
    TwiceEncoded(&'static str),
}

/// What cloud-init knows documents by, in lower case and the longer before the shorter (`INCLUSION_TYPES_MAP`), and what
/// we take ourselves.
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

pub(super) const NO_MARKER: PartType = PartType::Unknown("it begins with nothing that cloud-init knows");

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

/// User data that is for another system than cloud-init, by name.
pub fn of_other_system(document: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(document).to_ascii_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if ["<powershell>", "<script>", "<powershellarguments>", "<persist>", "version: 1.0\ntasks:"]
        .iter()
        .any(|tag| text.starts_with(tag))
    {
        return Some("it is PowerShell for Windows (EC2Launch), which cloud-init does not take");
    }
    if text.starts_with('{') && text.contains("\"ignition\"") {
        return Some("it is an Ignition config for Fedora CoreOS or Flatcar, which cloud-init does not take");
    }
    let is_bottlerocket = |line: &str| line.starts_with("[settings") || line.starts_with("settings.");
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next().is_some_and(is_bottlerocket).then_some("it is TOML for Bottlerocket, which cloud-init does not take")
}

/// By its own first bytes; `None` where they say nothing.
pub(super) fn plain_part_type(bytes: &[u8]) -> Option<PartType> {
    if is_mime(bytes) {
        return Some(PartType::Known("a MIME message"));
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).to_ascii_lowercase();
    let begun = |text: &str| MARKERS.iter().find(|(marker, _)| text.starts_with(marker)).copied();
    if let Some((marker, what)) = begun(text.trim_start()) {
        // cloud-init passes over blanks; the kernel, which starts a script, and our own reader do not.
        let strict = [SHEBANG, "#ecs-bootstrap"].contains(&marker) && !text.starts_with(marker);
        return Some(if strict {
            PartType::Unknown("blanks or an empty line stand before its first line")
        } else {
            PartType::Known(what)
        });
    }
    if begun(text.trim_start_matches(['\u{feff}', ' ', '\n', '\r'])).is_some() {
        return Some(PartType::Unknown("a byte order mark stands before its first line"));
    }
    let is_agents = text.trim_start().starts_with('{') && text.contains("ecsagentconfiguration");
    is_agents.then_some(PartType::Known("the agent's own JSON"))
}

/// cloud-init's own test.
pub(super) fn is_mime(document: &[u8]) -> bool {
    let head = &document[..document.len().min(4096)];
    String::from_utf8_lossy(head).to_ascii_lowercase().contains("mime-version:")
}
