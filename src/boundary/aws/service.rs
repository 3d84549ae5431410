//! Endpoints, signatures and requests of services that are called without their SDK.
//!
//! In: a [`Service`], the headers and the body of a request, and a function that reads the answer. Out: what that
//! function returns, or the SDK's error type. Endpoint, credentials, certificates, proxies and DNS are those of the
//! SDK's clients; the SDK's library signs. One attempt for each call. The protocols are in `query` and `json`.

use std::time::SystemTime;

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::service_config::ServiceConfigKey;

use super::{ATTEMPT_TIMEOUT, Aws, AwsError, CONNECT_TIMEOUT, Clients};
use crate::retry::Deadline;

/// A service that is called without its SDK.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// The service id of the API model, which names the variable `AWS_ENDPOINT_URL_<SERVICE>` (AWS SDKs and Tools
    /// Reference Guide, "Service-specific endpoints").
    pub(super) id: &'static str,
    /// The name in signatures.
    pub(super) signing_name: &'static str,
    /// The endpoint that it has in a region.
    pub(super) endpoint: EndpointName,
}

/// How the endpoint of a service is derived from that of ECS.
#[derive(Clone, Copy, Debug)]
pub(super) enum EndpointName {
    /// This name takes the place of `ecs`.
    Regional(&'static str),
    /// The same; in AWS GovCloud the usual endpoint is also the FIPS endpoint, except with dual stack (rules of the
    /// endpoints in botocore, `endpoint-rule-set-1.json` of each service).
    RegionalFipsInGovCloud(&'static str),
    /// The first name takes the place of `ecs`; the second one for FIPS and dual stack.
    RegionalOr(&'static str, &'static str),
    /// `s3`; with dual stack, in the domain of the usual endpoints (Amazon S3 User Guide, "Dual-stack endpoints").
    S3,
    /// A function from a region to the host of its partition and the region of the signature.
    Global(fn(&str) -> (&'static str, &'static str)),
}

/// Where a request goes.
struct Destination {
    /// The URL without a trailing slash.
    url: String,
    /// The region of the signature.
    region: String,
}

/// A request.
#[derive(Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) method: &'static str,
    /// The path, encoded.
    pub(super) path: &'a str,
    pub(super) headers: &'a [(&'static str, &'a str)],
    pub(super) body: &'a str,
}

/// An error answer of the service.
#[derive(Debug)]
pub(super) struct ErrorAnswer(pub(super) ErrorMetadata);

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
    /// Makes one call. `operation` is its IAM action; without `region` it goes to the region of the clients.
    pub(super) async fn send_signed<T>(
        &self,
        service: Service,
        region: Option<&str>,
        operation: &'static str,
        content: Content<'_>,
        read: impl Fn(&HttpResponse) -> Result<T, OrchestratorError<ErrorAnswer>> + Copy + Send + Sync + 'static,
        deadline: Deadline,
    ) -> Result<T, AwsError>
    where
        T: std::fmt::Debug + Send + Sync + 'static,
    {
        let destination = self.destination(service, region).await;
        self.call(operation, deadline, async |clients| {
            let request = signed(clients, service.signing_name, &destination, &content).await;
            let request = request.map_err(SdkError::construction_failure)?;
            send_once(clients, content.method, &destination.url, request, read).await
        })
        .await
    }

    /// The endpoint of the service: the configured one, otherwise derived from that of ECS, which the SDK knows for
    /// each partition, FIPS and dual stack.
    async fn destination(&self, service: Service, region: Option<&str>) -> Destination {
        let clients = self.clients();
        let own_region = clients.config.region().map(ToString::to_string).unwrap_or_default();
        let wanted = region.unwrap_or(&own_region);
        let (global_host, signed_region) = match service.endpoint {
            EndpointName::Global(of_region) => {
                let (host, region) = of_region(wanted);
                (Some(host), region)
            }
            _ => (None, wanted),
        };
        let own = clients.config.service_config().and_then(|config| {
            let key = ServiceConfigKey::builder().service_id(service.id).env("AWS_ENDPOINT_URL");
            config.load_config(key.profile("endpoint_url").build().ok()?)
        });
        let url = if let Some(url) = own.or_else(|| clients.config.endpoint_url().map(str::to_owned)) {
            url.trim_end_matches('/').to_owned()
        } else if let Some(host) = global_host {
            format!("https://{host}")
        } else {
            let host = self.ecs_endpoint().await.map(|endpoint| endpoint.host).unwrap_or_default();
            match host.strip_prefix("ecs").filter(|rest| rest.starts_with(['.', '-'])) {
                Some(rest) => {
                    let rest = service.host_rest(rest);
                    let tail = service.host_tail(rest).replace(&own_region, wanted);
                    format!("https://{}{tail}", service.host_prefix(rest))
                }
                None => format!("https://{}.{wanted}.amazonaws.com", service.host_prefix("")),
            }
        };
        Destination { url, region: signed_region.to_owned() }
    }
}

impl Service {
    /// The first part of the host name. `rest` is what follows `ecs` in the host name of ECS.
    fn host_prefix(self, rest: &str) -> &'static str {
        match self.endpoint {
            EndpointName::Regional(name) | EndpointName::RegionalFipsInGovCloud(name) => name,
            EndpointName::RegionalOr(usual, other) => {
                if rest.starts_with('-') || rest.contains(".api.") {
                    other
                } else {
                    usual
                }
            }
            EndpointName::S3 if rest.starts_with("-fips") && rest.contains(".api.") => "s3-fips.dualstack",
            EndpointName::S3 if rest.contains(".api.") => "s3.dualstack",
            EndpointName::S3 if rest.starts_with("-fips") => "s3-fips",
            EndpointName::S3 | EndpointName::Global(_) => self.signing_name,
        }
    }

    /// What follows the prefix.
    fn host_tail(self, rest: &str) -> String {
        match self.endpoint {
            EndpointName::S3 => rest
                .trim_start_matches("-fips")
                .replace(".api.amazonwebservices.com.cn", ".amazonaws.com.cn")
                .replace(".api.aws", ".amazonaws.com"),
            _ => rest.to_owned(),
        }
    }

    /// What follows the first part of the host name. `rest` is what follows `ecs` in the host name of ECS.
    fn host_rest(self, rest: &str) -> &str {
        let is_usual =
            matches!(self.endpoint, EndpointName::RegionalFipsInGovCloud(_)) && rest.ends_with(".amazonaws.com");
        let gov_cloud = rest.strip_prefix("-fips").filter(|rest| is_usual && rest.starts_with(".us-gov-"));
        gov_cloud.unwrap_or(rest)
    }
}

async fn signed(
    clients: &Clients,
    signing_name: &str,
    destination: &Destination,
    content: &Content<'_>,
) -> Result<HttpRequest, BoxError> {
    let provider = clients.config.credentials_provider().ok_or("no credentials provider")?;
    let identity = provider.provide_credentials().await?.into();
    let mut settings = SigningSettings::default();
    if signing_name == "s3" {
        // Amazon S3 API Reference, "Signature Calculations for the Authorization Header".
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    let parameters: SigningParams<'_> = v4::SigningParams::builder()
        .identity(&identity)
        .region(&destination.region)
        .name(signing_name)
        .time(SystemTime::now())
        .settings(settings)
        .build()?
        .into();
    let uri = format!("{}{}", destination.url, content.path);
    let body = SignableBody::Bytes(content.body.as_bytes());
    let signable = SignableRequest::new(content.method, &uri, content.headers.iter().copied(), body)?;
    let (instructions, _) = sign(signable, &parameters)?.into_parts();
    let mut request = HttpRequest::new(SdkBody::from(content.body));
    request.set_uri(content.path)?;
    for (name, value) in content.headers {
        request.headers_mut().insert(*name, (*value).to_owned());
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients that send nothing.
    async fn clients(region: &str, endpoint_url: Option<&str>) -> Aws {
        let address = crate::boundary::imds::Address::Fixed("http://127.0.0.1:9".to_owned());
        let options = super::super::AwsOptions {
            endpoint_url: endpoint_url.map(str::to_owned),
            ..super::super::AwsOptions::new(region)
        };
        Aws::new(crate::boundary::imds::Imds::new(address), &options).await.unwrap()
    }

    #[tokio::test]
    async fn endpoints_are_derived_from_that_of_ecs_in_each_partition() {
        let endpoint = EndpointName::Regional("autoscaling");
        let service = Service { id: "Auto Scaling", signing_name: "autoscaling", endpoint };
        for (region, url, expected) in [
            ("eu-west-1", None, "https://autoscaling.eu-west-1.amazonaws.com"),
            ("cn-north-1", None, "https://autoscaling.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", None, "https://autoscaling.us-gov-west-1.amazonaws.com"),
            ("eu-west-1", Some("http://127.0.0.1:9/"), "http://127.0.0.1:9"),
        ] {
            let aws = clients(region, url).await;
            assert_eq!(aws.destination(service, None).await.url, expected);
        }
    }

    #[tokio::test]
    async fn a_call_to_another_region_has_its_endpoint_and_signature() {
        let endpoint = EndpointName::RegionalOr("api.ecr", "ecr");
        let service = Service { id: "ECR", signing_name: "ecr", endpoint };
        let destination = clients("eu-west-1", None).await.destination(service, Some("us-east-1")).await;
        assert_eq!(
            (destination.url.as_str(), destination.region.as_str()),
            ("https://api.ecr.us-east-1.amazonaws.com", "us-east-1")
        );
        assert_eq!(service.host_prefix("-fips.us-east-1.amazonaws.com"), "ecr");
        assert_eq!(service.host_prefix(".us-east-1.api.aws"), "ecr");
    }

    #[test]
    fn s3_has_its_own_names_for_dual_stack() {
        let service = Service { id: "S3", signing_name: "s3", endpoint: EndpointName::S3 };
        for (rest, expected) in [
            (".eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com"),
            ("-fips.us-east-1.amazonaws.com", "s3-fips.us-east-1.amazonaws.com"),
            (".eu-west-1.api.aws", "s3.dualstack.eu-west-1.amazonaws.com"),
            ("-fips.us-gov-west-1.api.aws", "s3-fips.dualstack.us-gov-west-1.amazonaws.com"),
            (".cn-north-1.amazonaws.com.cn", "s3.cn-north-1.amazonaws.com.cn"),
            (".cn-north-1.api.amazonwebservices.com.cn", "s3.dualstack.cn-north-1.amazonaws.com.cn"),
        ] {
            assert_eq!(format!("{}{}", service.host_prefix(rest), service.host_tail(rest)), expected, "{rest}");
        }
    }

    #[test]
    fn in_gov_cloud_the_usual_endpoint_of_some_services_is_the_fips_endpoint() {
        let usual = EndpointName::RegionalFipsInGovCloud("monitoring");
        for (endpoint, rest, expected) in [
            (usual, "-fips.us-gov-west-1.amazonaws.com", ".us-gov-west-1.amazonaws.com"),
            (usual, "-fips.us-gov-west-1.api.aws", "-fips.us-gov-west-1.api.aws"),
            (usual, "-fips.us-east-1.amazonaws.com", "-fips.us-east-1.amazonaws.com"),
            (usual, ".us-gov-west-1.amazonaws.com", ".us-gov-west-1.amazonaws.com"),
            (
                EndpointName::Regional("secretsmanager"),
                "-fips.us-gov-west-1.amazonaws.com",
                "-fips.us-gov-west-1.amazonaws.com",
            ),
        ] {
            let service = Service { id: "", signing_name: "", endpoint };
            assert_eq!(service.host_rest(rest), expected);
        }
    }

    #[tokio::test]
    async fn a_global_service_has_one_endpoint_and_signature_in_a_partition() {
        let endpoint = EndpointName::Global(|_| ("iam.amazonaws.com", "us-east-1"));
        let service = Service { id: "IAM", signing_name: "iam", endpoint };
        let destination = clients("eu-west-1", None).await.destination(service, None).await;
        assert_eq!((destination.url.as_str(), destination.region.as_str()), ("https://iam.amazonaws.com", "us-east-1"));
        let configured = clients("eu-west-1", Some("http://127.0.0.1:9")).await.destination(service, None).await;
        assert_eq!((configured.url.as_str(), configured.region.as_str()), ("http://127.0.0.1:9", "us-east-1"));
    }
}
