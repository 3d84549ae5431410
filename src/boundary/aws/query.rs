//! Sends calls to CloudFormation and Auto Scaling with the AWS query protocol (Smithy 2.0, "AWS Query protocol"). Their
//! SDKs would be a twentieth of the whole binary, for six calls.
//!
//! In: an action and its parameters. Out: the answer as a tree of XML elements, or the SDK's error type. Endpoint,
//! credentials, certificates, proxies and DNS are those of the SDK's clients; the SDK's library signs. One attempt for
//! each call.

use std::time::SystemTime;

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_xml::decode::{Document, ScopedDecoder, XmlDecodeError, try_data};
use aws_types::service_config::ServiceConfigKey;

use super::complete::DEPTH;
use super::response_body::BrokenAnswer;
use super::{ATTEMPT_TIMEOUT, Aws, AwsError, CONNECT_TIMEOUT, Clients};
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
    /// The name in endpoints and signatures.
    pub(super) name: &'static str,
    /// The version of the API.
    pub(super) version: &'static str,
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

/// An error answer of the service.
#[derive(Debug)]
pub(super) struct ErrorAnswer(ErrorMetadata);

impl std::fmt::Display for ErrorAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for ErrorAnswer {}

impl ProvideErrorMetadata for ErrorAnswer {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
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
        let action = operation.rsplit(':').next().unwrap_or(operation);
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action).append_pair("Version", service.version).extend_pairs(parameters);
        let body = form.finish();
        let endpoint = self.query_endpoint(service).await;
        self.call(operation, deadline, async |clients| {
            let request = signed(clients, service, &endpoint, &body).await.map_err(SdkError::construction_failure)?;
            let read = move |response: &HttpResponse| read_answer(response, expected);
            send_once(clients, "POST", &endpoint, request, read).await
        })
        .await
    }

    /// The endpoint of the service: the configured one, otherwise derived from that of ECS, which the SDK knows for
    /// each partition, FIPS and dual stack.
    async fn query_endpoint(&self, service: QueryService) -> String {
        let clients = self.clients();
        let own = clients.config.service_config().and_then(|config| {
            let key = ServiceConfigKey::builder().service_id(service.name).env("AWS_ENDPOINT_URL");
            config.load_config(key.profile("endpoint_url").build().ok()?)
        });
        if let Some(url) = own.or_else(|| clients.config.endpoint_url().map(str::to_owned)) {
            return url.trim_end_matches('/').to_owned();
        }
        let region = clients.config.region().map(ToString::to_string).unwrap_or_default();
        let host = self.ecs_endpoint().await.map(|endpoint| endpoint.host).unwrap_or_default();
        match host.strip_prefix("ecs").filter(|rest| rest.starts_with(['.', '-'])) {
            Some(rest) => format!("https://{}{rest}", service.name),
            None => format!("https://{}.{region}.amazonaws.com", service.name),
        }
    }
}

fn read_answer(response: &HttpResponse, expected: Expected) -> Result<XmlElement, OrchestratorError<ErrorAnswer>> {
    let tree = read(response.body().bytes().unwrap_or_default());
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

async fn signed(clients: &Clients, service: QueryService, endpoint: &str, body: &str) -> Result<HttpRequest, BoxError> {
    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
    let provider = clients.config.credentials_provider().ok_or("no credentials provider")?;
    let identity = provider.provide_credentials().await?.into();
    let region = clients.config.region().map(ToString::to_string).unwrap_or_default();
    let parameters: SigningParams<'_> = v4::SigningParams::builder()
        .identity(&identity)
        .region(&region)
        .name(service.name)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()?
        .into();
    let uri = format!("{endpoint}/");
    let signable = SignableRequest::new("POST", &uri, [FORM].into_iter(), SignableBody::Bytes(body.as_bytes()))?;
    let (instructions, _) = sign(signable, &parameters)?.into_parts();
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_uri("/")?;
    request.headers_mut().insert(FORM.0, FORM.1);
    for (name, value) in instructions.headers() {
        request.headers_mut().insert(name.to_owned(), value.to_owned());
    }
    Ok(request)
}

/// Sends a request unchanged to an origin: adds no signature, and does not retry.
pub(super) async fn send_once<T, E>(
    clients: &Clients,
    method: &'static str,
    origin: &str,
    request: HttpRequest,
    read: impl Fn(&HttpResponse) -> Result<T, OrchestratorError<E>> + Send + Sync + 'static,
) -> Result<T, SdkError<E, HttpResponse>>
where
    T: std::fmt::Debug + Send + Sync + 'static,
    E: std::error::Error + std::fmt::Debug + Send + Sync + 'static,
{
    let http_client = clients.config.http_client().expect("`Aws::open` sets it");
    let operation = Operation::builder()
        .service_name("query")
        .operation_name(method)
        .http_client(http_client)
        .endpoint_url(origin)
        .no_auth()
        .no_retry()
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .build(),
        )
        .sleep_impl(TokioSleep::new())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .serializer(move |mut request: HttpRequest| {
            request.set_method(method)?;
            let length = request.body().bytes().map_or(0, <[u8]>::len);
            request.headers_mut().insert("content-length", length.to_string());
            Ok(request)
        })
        .deserializer(read)
        .build();
    operation.invoke(request).await
}

fn error_answer(tree: XmlElement) -> ErrorAnswer {
    let mut meta = ErrorMetadata::builder();
    if let Some(error) = tree.all(&["Error"]).first() {
        meta = meta.code(error.text("Code")).message(error.text("Message"));
    }
    ErrorAnswer(meta.build())
}

/// Parses a document. A document deeper than [`DEPTH`] is an error.
fn read(bytes: &[u8]) -> Result<XmlElement, XmlDecodeError> {
    let mut document = Document::try_from(bytes)?;
    element(document.root_element()?, DEPTH)
}

/// Whether the bytes are an answer of the query protocol.
pub fn is_query_answer(bytes: &[u8]) -> bool {
    read(bytes).is_ok()
}

/// The elements whose text is kept. Of all other elements the children are kept.
const TEXTS: [&str; 9] = [
    "Code",
    "Message",
    "LifecycleHookName",
    "LifecycleTransition",
    "HeartbeatTimeout",
    "DefaultResult",
    "InstanceId",
    "LifecycleState",
    "HealthStatus",
];

fn element(mut decoder: ScopedDecoder<'_, '_>, depth: usize) -> Result<XmlElement, XmlDecodeError> {
    let below = depth.checked_sub(1).ok_or_else(|| XmlDecodeError::custom("it is nested too deeply"))?;
    let mut found = XmlElement { name: decoder.start_el().local().to_owned(), ..XmlElement::default() };
    if TEXTS.contains(&found.name.as_str()) {
        found.text = try_data(&mut decoder)?.into_owned();
        return Ok(found);
    }
    while let Some(child) = decoder.next_tag() {
        found.children.push(element(child, below)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_elements_at_a_path() {
        let answer = b"<?xml version=\"1.0\"?><R xmlns=\"x\"><Result><LifecycleHooks>\
            <member><LifecycleHookName>a &amp; b</LifecycleHookName><Zones><member>z</member></Zones>\
            <HeartbeatTimeout>30</HeartbeatTimeout></member>\
            <member><LifecycleHookName>c</LifecycleHookName><NotificationMetadata/></member>\
            </LifecycleHooks></Result></R>";
        let tree = read(answer).unwrap();
        let hooks = tree.all(&["Result", "LifecycleHooks", "member"]);
        let names: Vec<_> = hooks.iter().map(|hook| hook.text("LifecycleHookName")).collect();
        assert_eq!(names, ["a & b", "c"]);
        assert_eq!((hooks[0].text("HeartbeatTimeout"), hooks[1].text("HeartbeatTimeout")), ("30", ""));
        assert!(tree.all(&["Result", "Nothing"]).is_empty());
    }

    #[tokio::test]
    async fn endpoints_are_derived_from_that_of_ecs_in_each_partition() {
        const SERVICE: QueryService = QueryService { name: "autoscaling", version: "" };
        for (region, url, expected) in [
            ("eu-west-1", None, "https://autoscaling.eu-west-1.amazonaws.com"),
            ("cn-north-1", None, "https://autoscaling.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", None, "https://autoscaling.us-gov-west-1.amazonaws.com"),
            ("eu-west-1", Some("http://127.0.0.1:9/"), "http://127.0.0.1:9"),
        ] {
            let imds = crate::boundary::imds::Imds::new(crate::boundary::imds::Address::Fixed(
                "http://127.0.0.1:9".to_owned(),
            ));
            let options = super::super::AwsOptions {
                endpoint_url: url.map(str::to_owned),
                ..super::super::AwsOptions::new(region)
            };
            // Sends nothing.
            let aws = Aws::new(imds, &options).await.unwrap();
            assert_eq!(aws.query_endpoint(SERVICE).await, expected);
        }
    }

    #[test]
    fn no_answer_causes_a_panic() {
        let deep = ["<a>".repeat(1_000_000), "<a>".repeat(1_000_000) + &"</a>".repeat(1_000_000)];
        assert!(deep.iter().all(|answer| read(answer.as_bytes()).is_err()));
        for answer in ["", "<", "<a>", "<a><b></a>", "no xml", "<a></a><b></b>", "\u{0}"] {
            let _ = read(answer.as_bytes());
        }
        let error = error_answer(
            read(b"<ErrorResponse><Error><Code>Throttling</Code><Message>Rate</Message></Error></ErrorResponse>")
                .unwrap(),
        );
        assert_eq!((error.code(), error.message()), (Some("Throttling"), Some("Rate")));
    }
}
