//! Checks whether the body of an answer is one complete document.
//!
//! In: the bytes of a body. Out: yes or no. The tags of XML must be well-formed and not nested deeper than [`DEPTH`];
//! JSON must be one value. The check of XML builds no tree and is not recursive, so that no input makes it slow or
//! overflows the stack.

/// The deepest nesting of XML that is accepted. Answers of EC2, CloudFormation and Auto Scaling have about a dozen
/// levels.
pub(super) const DEPTH: usize = 64;

/// Whether the bytes are one complete document. An empty body is complete, because some calls return only a status. A
/// body that is neither XML nor a JSON object, as an object of S3, counts as complete; the parser rejects it.
pub fn is_complete(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    match body.first() {
        Some(b'<') => xml(body).is_some(),
        Some(b'{') => serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok(),
        _ => true,
    }
}

/// Checks all tags; `None` if a tag is not closed, closed with another name, cut off, or nested too deep.
fn xml(mut rest: &[u8]) -> Option<()> {
    let mut open: Vec<&[u8]> = Vec::new();
    let mut roots = 0;
    while let Some(start) = rest.iter().position(|byte| *byte == b'<') {
        if open.is_empty() && !rest[..start].trim_ascii().is_empty() {
            return None;
        }
        rest = &rest[start..];
        let end = if rest.starts_with(b"<!--") {
            after(rest, b"-->")?
        } else if rest.starts_with(b"<![CDATA[") {
            after(rest, b"]]>")?
        } else if rest.starts_with(b"<?") {
            after(rest, b"?>")?
        } else {
            let end = end_of_tag(rest)?;
            let tag = &rest[1..end - 1];
            if let Some(name) = tag.strip_prefix(b"/") {
                (open.pop()? == name.trim_ascii_end()).then_some(())?;
            } else if !tag.starts_with(b"!") {
                let name = tag.split(|byte| byte.is_ascii_whitespace() || *byte == b'/').next().unwrap_or_default();
                roots += usize::from(open.is_empty());
                if name.is_empty() || roots > 1 || open.len() >= DEPTH {
                    return None;
                }
                if !tag.ends_with(b"/") {
                    open.push(name);
                }
            }
            end
        };
        rest = &rest[end..];
    }
    (open.is_empty() && roots == 1 && rest.trim_ascii().is_empty()).then_some(())
}

/// The position after the first `close`.
fn after(text: &[u8], close: &[u8]) -> Option<usize> {
    text.windows(close.len()).position(|window| window == close).map(|at| at + close.len())
}

/// The position after the tag at the start of `text`. A `>` in the value of an attribute does not end the tag.
fn end_of_tag(text: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in text.iter().enumerate() {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            (None, b'>') => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: &str = "<?xml version=\"1.0\"?>\n<!-- > --><DescribeTagsResponse xmlns=\"http://x/>\">\
                        <requestId>1</requestId><tagSet><item><key>a</key><value><![CDATA[</x>]]></value></item><item/></tagSet><nextToken />\
                        </DescribeTagsResponse>\n";
    const CLUSTERS: &str = r#"{"clusterArns":["arn:aws:ecs:eu-west-1:1:cluster/a","}"],"nextToken":null}"#;

    #[test]
    fn whole_documents_are_complete() {
        for whole in [TAGS, CLUSTERS, "", " \n", "<a/>", "<a></a>", "{}", "[]", "not a document"] {
            assert!(is_complete(whole.as_bytes()), "{whole}");
        }
    }

    #[test]
    fn a_document_is_incomplete_wherever_it_is_cut() {
        for whole in [TAGS.trim(), CLUSTERS] {
            for length in 1..whole.len() {
                assert!(!is_complete(&whole.as_bytes()[..length]), "{}", &whole[..length]);
            }
        }
    }

    #[test]
    fn a_malformed_document_is_not_complete() {
        let deep = "<a>".repeat(DEPTH + 1) + &"</a>".repeat(DEPTH + 1);
        let endless = "<a>".repeat(100_000);
        for malformed in [
            "<DescribeTagsResponse><tagSet>",
            "<a><b></a>",
            "<a></b>",
            "<a></a><b></b>",
            "<a></a>x",
            "</a>",
            "<",
            "<>",
            "<?xml version=\"1.0\"?>",
            "<a b=\">",
            "{\"a\":1}{",
            "{\"a\"",
            &deep,
            &endless,
        ] {
            assert!(!is_complete(malformed.as_bytes()), "{:.60}", malformed);
        }
        let deep = "<a>".repeat(DEPTH) + &"</a>".repeat(DEPTH);
        assert!(is_complete(deep.as_bytes()));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes: Vec<u8>, text in "[<>/a!?\\[\\]\"' -]{0,60}") {
            is_complete(&bytes);
            is_complete(text.as_bytes());
        }
    }
}
