//! Sends calls with the AWS query protocol (Smithy 2.0, "AWS Query protocol"): to CloudFormation and Auto Scaling for the
//! instance, and to IAM and Elastic Load Balancing for deployments. Their SDKs would be a large part of the binary, for
//! a few calls.
//!
//! In: an action and its parameters. Out: the answer as a tree of XML elements, or the SDK's error type.

use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_xml::decode::{Document, ScopedDecoder, XmlDecodeError, try_data};

use super::complete::DEPTH;
use super::response_body::BrokenAnswer;
use super::service::{Content, ErrorAnswer, Service};
use super::{Aws, AwsError};
use crate::retry::Deadline;

/// What a successful answer must contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Valid XML with an element at this path, which every answer to the call has.
    Element(&'static [&'static str]),
    /// Only a success status.
    Status,
}

/// A service with the query protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueryService {
    pub(super) service: Service,
    /// The version of the API.
    pub(super) version: &'static str,
    /// The elements whose text is kept, beside `Code` and `Message` of an error. Of all other elements the children
    /// are kept.
    pub(super) texts: &'static [&'static str],
}

/// An XML element with its text or its children.
#[derive(Debug, Default)]
pub(super) struct XmlElement {
    name: String,
    text: String,
    children: Vec<XmlElement>,
}

impl XmlElement {
    /// All elements at a path below this element, in order.
    pub(super) fn all<'a>(&'a self, path: &[&str]) -> Vec<&'a XmlElement> {
        path.iter().fold(vec![self], |found, name| {
            found.into_iter().flat_map(|one| one.children.iter().filter(|child| child.name == *name)).collect()
        })
    }

    /// The text of a child; empty if there is no such child.
    pub(super) fn text(&self, name: &str) -> &str {
        self.children.iter().find(|child| child.name == name).map_or("", |child| child.text.as_str())
    }
}

impl Aws {
    /// Makes one call. `operation` is its IAM action.
    pub(super) async fn query(
        &self,
        service: QueryService,
        operation: &'static str,
        parameters: &[(&str, &str)],
        expected: Expected,
        deadline: Deadline,
    ) -> Result<XmlElement, AwsError> {
        const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
        let action = operation.rsplit(':').next().unwrap_or(operation);
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action).append_pair("Version", service.version).extend_pairs(parameters);
        let content = Content { method: "POST", path: "/", headers: &[FORM], body: &form.finish() };
        let read = move |response: &HttpResponse| read_answer(response, expected, service.texts);
        self.send_signed(service.service, None, operation, content, read, deadline).await
    }
}

fn read_answer(
    response: &HttpResponse,
    expected: Expected,
    texts: &[&str],
) -> Result<XmlElement, OrchestratorError<ErrorAnswer>> {
    let tree = read(response.body().bytes().unwrap_or_default(), texts);
    if !response.status().is_success() {
        return Err(OrchestratorError::operation(error_answer(tree.unwrap_or_default())));
    }
    match expected {
        Expected::Status => Ok(tree.unwrap_or_default()),
        Expected::Element(path) => {
            let tree = tree.map_err(|error| OrchestratorError::response(error.into()))?;
            if tree.all(path).is_empty() {
                let member = path.last().copied().unwrap_or_default();
                return Err(OrchestratorError::response(BrokenAnswer::MissingMember { member }.into()));
            }
            Ok(tree)
        }
    }
}

fn error_answer(tree: XmlElement) -> ErrorAnswer {
    let mut meta = ErrorMetadata::builder();
    if let Some(error) = tree.all(&["Error"]).first() {
        meta = meta.code(error.text("Code")).message(error.text("Message"));
    }
    ErrorAnswer(meta.build())
}

/// The error of S3, which has `Error` as its root.
pub(super) fn s3_error(body: &[u8]) -> ErrorAnswer {
    let error = read(body, &[]).unwrap_or_default();
    let mut meta = ErrorMetadata::builder();
    if error.name == "Error" {
        meta = meta.code(error.text("Code")).message(error.text("Message"));
    }
    ErrorAnswer(meta.build())
}

/// Parses a document. A document deeper than [`DEPTH`] is an error.
fn read(bytes: &[u8], texts: &[&str]) -> Result<XmlElement, XmlDecodeError> {
    let mut document = Document::try_from(bytes)?;
    element(document.root_element()?, texts, DEPTH)
}

/// Whether the bytes are an answer of the query protocol.
pub fn is_query_answer(bytes: &[u8]) -> bool {
    read(bytes, &["InstanceId", "HeartbeatTimeout"]).is_ok()
}

fn element(mut decoder: ScopedDecoder<'_, '_>, texts: &[&str], depth: usize) -> Result<XmlElement, XmlDecodeError> {
    let below = depth.checked_sub(1).ok_or_else(|| XmlDecodeError::custom("it is nested too deeply"))?;
    let mut found = XmlElement { name: decoder.start_el().local().to_owned(), ..XmlElement::default() };
    let name = found.name.as_str();
    if ["Code", "Message"].contains(&name) || texts.contains(&name) {
        found.text = try_data(&mut decoder)?.into_owned();
        return Ok(found);
    }
    while let Some(child) = decoder.next_tag() {
        found.children.push(element(child, texts, below)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::error::metadata::ProvideErrorMetadata;

    use super::*;

    #[test]
    fn finds_the_elements_at_a_path() {
        let answer = b"<?xml version=\"1.0\"?><R xmlns=\"x\"><Result><LifecycleHooks>\
            <member><LifecycleHookName>a &amp; b</LifecycleHookName><Zones><member>z</member></Zones>\
            <HeartbeatTimeout>30</HeartbeatTimeout></member>\
            <member><LifecycleHookName>c</LifecycleHookName><NotificationMetadata/></member>\
            </LifecycleHooks></Result></R>";
        let tree = read(answer, &["LifecycleHookName", "HeartbeatTimeout"]).unwrap();
        let hooks = tree.all(&["Result", "LifecycleHooks", "member"]);
        let names: Vec<_> = hooks.iter().map(|hook| hook.text("LifecycleHookName")).collect();
        assert_eq!(names, ["a & b", "c"]);
        assert_eq!((hooks[0].text("HeartbeatTimeout"), hooks[1].text("HeartbeatTimeout")), ("30", ""));
        assert!(tree.all(&["Result", "Nothing"]).is_empty());
    }

    #[test]
    fn no_answer_causes_a_panic() {
        let deep = ["<a>".repeat(1_000_000), "<a>".repeat(1_000_000) + &"</a>".repeat(1_000_000)];
        assert!(deep.iter().all(|answer| read(answer.as_bytes(), &[]).is_err()));
        for answer in ["", "<", "<a>", "<a><b></a>", "no xml", "<a></a><b></b>", "\u{0}"] {
            let _ = read(answer.as_bytes(), &[]);
        }
        let error = error_answer(
            read(b"<ErrorResponse><Error><Code>Throttling</Code><Message>Rate</Message></Error></ErrorResponse>", &[])
                .unwrap(),
        );
        assert_eq!((error.code(), error.message()), (Some("Throttling"), Some("Rate")));
    }
}
