//! Finds what cloud-init loses of user data that is a MIME message.
//!
//! In: the message. Out: a fault for each part that no handler gets whole, and for text that belongs to no part. Whatever
//! cloud-init reads without a loss has no fault. No fault contains a byte of the message.

use std::collections::BTreeMap;

use crate::mime::{
    Encoding, IgnoredReason, Message, MessageError, PART_HANDLER_TYPE, Part, SCRIPT_TYPE, is_blank, is_handled,
    is_message, read,
};

/// A fault of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MimeFault {
    /// The fault.
    pub text: String,
    /// Where it is: the number of bytes of the message before it.
    pub at: usize,
}

/// The faults of a document: those of a message, and that it looks like a message but is not read as one.
pub(crate) fn faults(document: &[u8]) -> Vec<MimeFault> {
    let message = read(document);
    let whole = |text: &str| vec![MimeFault { text: text.to_owned(), at: 0 }];
    if !is_message(document) {
        return if message.is_multipart {
            whole("it has no `MIME-Version:` header, so it is not read as MIME")
        } else {
            Vec::new()
        };
    }
    match message.error {
        Some(MessageError::NotUtf8) => whole("it is not UTF-8, so cloud-init reads none of its parts"),
        Some(MessageError::BrokenGzip) => whole("a compressed part is broken, so cloud-init reads none of its parts"),
        Some(MessageError::InvalidParameter) => {
            whole("a parameter in pieces is invalid, so cloud-init reads none of its parts")
        }
        None => of_message(&message, document),
    }
}

fn of_message(message: &Message, document: &[u8]) -> Vec<MimeFault> {
    let mut faults: Vec<MimeFault> = Vec::new();
    for ignored in &message.ignored {
        let text = match ignored.reason {
            IgnoredReason::NoBoundary => "its `Content-Type:` has no boundary",
            IgnoredReason::NoPart => "no part begins with the boundary from its header",
            IgnoredReason::BeforeFirstPart => "text before the first boundary is ignored",
            IgnoredReason::AfterLastPart => "text after the closing boundary is ignored",
        };
        faults.push(MimeFault { text: text.to_owned(), at: ignored.at });
    }
    // A part handler can add content types.
    let has_part_handler = message.parts.iter().any(|part| part.handler_type == PART_HANDLER_TYPE);
    for (index, part) in message.parts.iter().enumerate() {
        let name = if message.is_multipart { format!("part {}", index + 1) } else { "the message".to_owned() };
        let is_unknown = !part.has_settings() && !is_handled(&part.handler_type);
        let is_late = !message.is_multipart && document.starts_with(b"\n") | document.starts_with(b" ");
        let text = if is_unknown && is_late && !is_blank(part.handed_over()) {
            Some("spaces or an empty line before its headers".to_owned())
        } else {
            fault(part, &name, is_unknown && !has_part_handler)
        };
        let at = part.body.first().map_or(0, |range| range.start);
        faults.extend(text.map(|text| MimeFault { text, at }));
    }
    faults.extend(overwritten(message));
    faults
}

/// What is lost of a part. `name`: the part, for the text. `is_unknown`: whether no handler takes it.
fn fault(part: &Part, name: &str, is_unknown: bool) -> Option<String> {
    if part.has_text_in_headers {
        return Some(format!("{name} has no empty line after its headers, so its text is read as headers"));
    }
    if !part.is_whole {
        return Some(format!("{name} is not valid base64"));
    }
    if is_blank(part.handed_over()) || part.encoding == Encoding::Other {
        return None;
    }
    if part.has_misspelt_encoding {
        return Some(format!("the encoding of {name} has blanks or signs after its name, so it is not decoded"));
    }
    if is_unknown {
        let has_type = !["text/plain", "text/x-not-multipart"].contains(&part.handler_type.as_str());
        return Some(if has_type {
            format!("{name} has a type that cloud-init does not know")
        } else {
            format!("{name} has no type and does not begin with a marker that cloud-init knows")
        });
    }
    if is_script(part) && ![b"#!".as_slice(), b"\x7fELF"].iter().any(|start| part.payload.starts_with(start)) {
        return Some(if part.payload.trim_ascii_start().starts_with(b"#!") {
            format!("spaces or an empty line before the script of {name}")
        } else {
            format!("the script of {name} does not begin with `#!`")
        });
    }
    // Comments of a list of addresses may be damaged, and ecs-bootstrap reads its settings from the message itself.
    let is_text =
        is_handled(&part.handler_type) && !part.has_settings() && !part.handler_type.starts_with("text/x-include");
    (is_text && std::str::from_utf8(part.handed_over()).is_err()).then(|| match part.damaged {
        Some(_) => format!("{name} has characters that are not ASCII, which cloud-init reads only in base64"),
        None => format!("{name} is not UTF-8"),
    })
}

fn is_script(part: &Part) -> bool {
    part.handler_type.starts_with(SCRIPT_TYPE) && is_handled(&part.handler_type)
}

/// The scripts that a later script of the same name overwrites.
fn overwritten(message: &Message) -> Vec<MimeFault> {
    let mut last: BTreeMap<(&str, String), (usize, &Part)> = BTreeMap::new();
    let mut faults = Vec::new();
    for (index, part) in message.parts.iter().enumerate().filter(|(_, part)| is_script(part)) {
        let Some(name) = part.file_name.as_deref().filter(|name| !name.is_empty()) else { continue };
        let before = last.insert((&part.handler_type, stored_name(name, &part.handler_type)), (index, part));
        if let Some((number, before)) =
            before.filter(|(_, before)| before.payload != part.payload && !is_blank(&before.payload))
        {
            let text =
                format!("part {} is overwritten by part {}, which has the same file name", number + 1, index + 1);
            faults.push(MimeFault { text, at: before.body.first().map_or(0, |range| range.start) });
        }
    }
    faults
}

/// The name of the file in which cloud-init stores a script (`cloudinit.util.clean_filename`).
fn stored_name(name: &str, handler_type: &str) -> String {
    let name = if handler_type == SCRIPT_TYPE { name } else { name.rsplit('/').next().unwrap_or(name) };
    let name = name.replace('/', "_");
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "_-.()".contains(*c)).collect()
}

#[cfg(test)]
mod tests {
    const HEAD: &str = "Content-Type: multipart/mixed; boundary=\"==B==\"\nMIME-Version: 1.0\n\n";
    const SCRIPT: &str = "--==B==\nContent-Type: text/x-shellscript; charset=\"us-ascii\"\n\n#!/bin/sh\necho\n";
    const CLOSE: &str = "--==B==--\n";

    fn faults(text: &str) -> Vec<String> {
        super::faults(text.as_bytes()).into_iter().map(|fault| fault.text).collect()
    }

    #[test]
    fn what_cloud_init_reads_whole_has_no_fault() {
        let config =
            "--==B==\nContent-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n\nI2Nsb3VkLWNvbmZpZwo=\n";
        let plain = "--==B==\nContent-Type: text/plain\n\n#cloud-config\n";
        let folded = HEAD.replace("; boundary", ";\n boundary");
        for text in [
            format!("{HEAD}{SCRIPT}{CLOSE}"),
            format!("{HEAD}{SCRIPT}"),
            format!("{}{SCRIPT}{CLOSE}", HEAD.replace("\n\n", "\n")),
            format!("{HEAD}{}{CLOSE}", SCRIPT.replace("\n\n#!", "\n#!")),
            format!("{HEAD}preamble\n{SCRIPT}{config}{plain}{CLOSE}\n\n"),
            format!("{HEAD}{}{CLOSE}", SCRIPT.replace("--==B==\n", "--==B== \t\n")),
            format!("{HEAD}{CLOSE}"),
            format!("{folded}{SCRIPT}{CLOSE}").replace('\n', "\r\n"),
            format!("{HEAD}{SCRIPT}{CLOSE}").replace('\n', "\r"),
            format!("From me\n :\n{HEAD}{SCRIPT}{CLOSE}"),
            format!("{HEAD}{SCRIPT}{CLOSE}").replace("x-shellscript;", "plain;"),
            format!("{HEAD}{SCRIPT}--==B==\n\n\n--==B==\nContent-Type: text/html\n\n{CLOSE}"),
            "Content-Type: text/x-shellscript\nMIME-Version: 1.0\n\n#!/bin/sh\n".to_owned(),
            "#!/bin/sh\necho 'MIME-Version: 1.0'\n".to_owned(),
            format!(
                "{HEAD}{SCRIPT}--==B==\nContent-Type: text/part-handler\n\n#part-handler\n\
                 --==B==\nContent-Type: text/own\n\nx\n{CLOSE}"
            ),
            format!("{HEAD}{SCRIPT}--==B==\nContent-Type: text/x-ecs-bootstrap\n\n# \u{e9}\n{CLOSE}"),
        ] {
            assert_eq!(faults(&text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn names_each_fault() {
        let message = format!("{HEAD}{SCRIPT}{CLOSE}");
        let encoded = |text: &str| format!("{HEAD}{SCRIPT}--==B==\nContent-Transfer-Encoding: {text}\n{CLOSE}");
        let named = |name: &str, command: &str| {
            format!("--==B==\nContent-Disposition: attachment; filename={name}\n\n#!/bin/sh\n{command}\n")
        };
        for (text, fault) in [
            (format!("{message}#!/bin/sh\nmore\n"), "text after the closing boundary is ignored"),
            (format!("{HEAD}#!/bin/sh\n{SCRIPT}{CLOSE}"), "text before the first boundary is ignored"),
            (format!("{HEAD}{CLOSE}#!/bin/sh\n"), "no part begins with the boundary from its header"),
            (format!("{HEAD}--other\n\n#!/bin/sh\n"), "no part begins with the boundary from its header"),
            (HEAD.replace("; boundary=\"==B==\"", "") + SCRIPT, "its `Content-Type:` has no boundary"),
            (format!("\n{message}"), "spaces or an empty line before its headers"),
            (message.replace("MIME-Version: 1.0\n", ""), "it has no `MIME-Version:` header, so it is not read as MIME"),
            (message.replace("x-shellscript", "x-sh"), "part 1 has a type that cloud-init does not know"),
            (message.replace("x-shellscript", "x-shellscript (sh)"), "part 1 has a type that cloud-init does not know"),
            (
                format!("{HEAD}{SCRIPT}--==B==\n\nECS_CLUSTER=x\n{CLOSE}"),
                "part 2 has no type and does not begin with a marker that cloud-init knows",
            ),
            (message.replace("\n\n#!", "\n\n\n#!"), "spaces or an empty line before the script of part 1"),
            (message.replace("#!/bin/sh\n", ""), "the script of part 1 does not begin with `#!`"),
            (
                message.replace("echo", "echo \u{e9}"),
                "part 1 has characters that are not ASCII, which cloud-init reads only in base64",
            ),
            (encoded("base64\n\nIyEvYmluL3NoC"), "part 2 is not valid base64"),
            (encoded("base64\n\n#!/bin/sh\nls"), "part 2 is not valid base64"),
            (encoded("base64\n\nIyEK6Q==").replace("IyEK6Q", "IyHp"), "part 2 is not UTF-8"),
            (
                encoded("base64 \n\nIyEvYmluL3NoCg=="),
                "the encoding of part 2 has blanks or signs after its name, so it is not decoded",
            ),
            (
                message.replace("\n\n#!/bin/sh\n", "\nECS_CLUSTER:prod\n"),
                "part 1 has no empty line after its headers, so its text is read as headers",
            ),
            (
                format!("{HEAD}{}{}{CLOSE}", named("a", "ls"), named("a", "id")),
                "part 1 is overwritten by part 2, which has the same file name",
            ),
            (
                format!("{HEAD}{SCRIPT}--==B==\nContent-Type: application/gzip\n\nx\n{CLOSE}"),
                "a compressed part is broken, so cloud-init reads none of its parts",
            ),
            (
                message.replace("boundary=\"==B==\"", "boundary*=\"==B==\"; boundary*0=x"),
                "a parameter in pieces is invalid, so cloud-init reads none of its parts",
            ),
        ] {
            assert_eq!(faults(&text), [fault], "{text}");
        }
        let latin = [message.as_bytes(), b"\xe9"].concat();
        assert_eq!(super::faults(&latin)[0].text, "it is not UTF-8, so cloud-init reads none of its parts");
    }

    #[test]
    fn a_fault_has_the_place_of_its_part() {
        let message = format!("{HEAD}{SCRIPT}--==B==\nContent-Type: text/x-sh\n\nsecond\n{CLOSE}\nlast\n");
        let places: Vec<_> = super::faults(message.as_bytes()).iter().map(|fault| &message[fault.at..][..4]).collect();
        assert_eq!(places, ["last", "seco"]);
    }
}
