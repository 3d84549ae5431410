//! The content types that cloud-init handles, and the first lines that take the place of one.

use super::headers::{PLAIN_TYPE, is_space};

/// The content type of settings of ecs-bootstrap.
pub const SETTINGS_TYPE: &str = "text/x-ecs-bootstrap";
/// The beginning of the types of scripts.
pub const SCRIPT_TYPE: &str = "text/x-shellscript";
/// A Python module that can add content types.
pub const PART_HANDLER_TYPE: &str = "text/part-handler";

/// The first line of a document or part that holds settings and nothing else. It is a comment in TOML.
const SETTINGS_MARKER: &[u8] = b"#ecs-bootstrap";

/// Beginnings of a part and their types (`INCLUSION_TYPES_MAP`). A beginning comes before its own prefixes.
const MARKERS: [(&str, &str); 12] = [
    ("text/x-shellscript-per-instance", "text/x-shellscript-per-instance"),
    ("text/x-shellscript-per-boot", "text/x-shellscript-per-boot"),
    ("text/x-shellscript-per-once", "text/x-shellscript-per-once"),
    ("#cloud-config-archive", "text/cloud-config-archive"),
    ("#cloud-config-jsonp", "text/cloud-config-jsonp"),
    ("## template: jinja", "text/jinja2"),
    ("#cloud-boothook", "text/cloud-boothook"),
    ("#cloud-config", "text/cloud-config"),
    ("#part-handler", PART_HANDLER_TYPE),
    ("#include-once", "text/x-include-once-url"),
    ("#include", "text/x-include-url"),
    ("#!", SCRIPT_TYPE),
];

/// Types that cloud-init decompresses, after which the first line decides (`DECOMP_TYPES`).
const GZIP_TYPES: [&str; 8] = [
    "application/gzip",
    "application/gzip-compressed",
    "application/gzipped",
    "application/x-compress",
    "application/x-compressed",
    "application/x-gunzip",
    "application/x-gzip",
    "application/x-gzip-compressed",
];

/// Whether cloud-init reads this as MIME: it searches the first 4096 bytes for the header.
pub fn is_message(document: &[u8]) -> bool {
    const HEADER: &[u8] = b"mime-version:";
    let head = &document[..document.len().min(4096)];
    head.windows(HEADER.len()).any(|window| window.eq_ignore_ascii_case(HEADER))
}

/// Whether the first line is that of settings of ecs-bootstrap.
pub fn is_settings(document: &[u8]) -> bool {
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    let first_line = document.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first_line.trim_ascii_end().eq_ignore_ascii_case(SETTINGS_MARKER)
}

/// Whether a part of this type is compressed.
pub(super) fn is_gzip(content_type: &str) -> bool {
    GZIP_TYPES.contains(&content_type)
}

/// Whether cloud-init replaces a part of this type by what is in it.
pub(super) fn is_unpacked(content_type: &str) -> bool {
    content_type.starts_with("text/x-include-") || content_type == "text/cloud-config-archive"
}

/// Whether the first line can change the type of a part with this type.
pub(super) fn depends_on_text(content_type: &str) -> bool {
    [PLAIN_TYPE, "text/x-not-multipart", SCRIPT_TYPE].contains(&content_type)
}

/// The type by the first line, after blanks and empty lines.
pub(super) fn of_text(text: &[u8]) -> Option<&'static str> {
    // The longest beginning, blanks excluded, has 31 characters.
    let text = String::from_utf8_lossy(text);
    let start: String = text.trim_start_matches(is_space).chars().take(40).collect::<String>().to_lowercase();
    MARKERS.iter().find(|(marker, _)| start.starts_with(marker)).map(|(_, content_type)| *content_type)
}

/// Whether a line begins like user data.
pub(super) fn has_marker(text: &[u8]) -> bool {
    let markers = ["#!", "#cloud-", "#include", "#ecs-bootstrap"];
    let begins = |line: &[u8]| markers.iter().any(|marker| line.starts_with(marker.as_bytes()));
    text.split(|byte| matches!(byte, b'\r' | b'\n')).any(begins)
}

/// Whether cloud-init or ecs-bootstrap handles this type.
pub fn is_handled(content_type: &str) -> bool {
    content_type == SETTINGS_TYPE || MARKERS.iter().any(|(_, handled)| *handled == content_type)
}
