//! Reads each answer of an AWS service completely, within a limit, before the SDK parses it.
//!
//! In: the SDK's HTTP client. Out: a client whose successful answers are complete XML or JSON; otherwise a
//! [`BrokenAnswer`]. Without it, the SDK parses an XML document that ends early as an empty list, and reads a body of
//! any length.

use std::fmt;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_runtime_api::client::runtime_components::{RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_runtime_api::shared::IntoShared;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::config_bag::ConfigBag;

use super::complete::is_complete;

/// The most bytes of an answer. The longest is that of a hundred clusters with fifty tags each: two million bytes.
const MAX_ANSWER_LENGTH: usize = 3 * 1024 * 1024;

/// Why an answer with a success status cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenAnswer {
    /// The connection ended before the end of the body.
    #[error("the answer was cut off after {bytes} bytes")]
    Cut {
        /// The number of bytes that were read.
        bytes: usize,
        /// The error of the connection.
        source: BoxError,
    },
    /// The body is not a complete document, or the document is malformed.
    #[error("the answer ({bytes} bytes) is not a complete document")]
    Incomplete {
        /// The length of the body.
        bytes: usize,
    },
    /// The body is endless, or another service sent it.
    #[error("the answer is longer than {MAX_ANSWER_LENGTH} bytes")]
    TooLong,
    /// A complete document without a member that every answer to this call has.
    #[error("the answer has no `{member}`")]
    MissingMember {
        /// The name of the member in the API.
        member: &'static str,
    },
    /// A list with more pages or entries than the service's limit.
    #[error("the answer has more than {most} {what}")]
    TooManyPages {
        /// The limit.
        most: usize,
        /// What is counted, for example `pages`.
        what: &'static str,
    },
}

/// An HTTP client that reads and checks the complete body of each answer.
#[derive(Debug)]
pub(super) struct CompleteAnswers(SharedHttpClient);

impl CompleteAnswers {
    /// Wraps a client.
    pub(super) fn of(client: SharedHttpClient) -> SharedHttpClient {
        CompleteAnswers(client).into_shared()
    }
}

impl HttpClient for CompleteAnswers {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector(self.0.http_connector(settings, components)))
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.validate_base_client_config(components, config)
    }

    fn validate_final_config(&self, components: &RuntimeComponents, config: &ConfigBag) -> Result<(), BoxError> {
        self.0.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

struct Connector(SharedHttpConnector);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connector").finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            // An `InvalidResponse`, which `Aws::call` repeats only if the call changes nothing.
            read_body(answer).await.map_err(|broken| ConnectorError::other(broken.into(), None))
        })
    }
}

/// The answer with its body in memory. The body of an error answer may be incomplete, because its status is enough.
async fn read_body(mut answer: HttpResponse) -> Result<HttpResponse, BrokenAnswer> {
    let succeeded = answer.status().is_success();
    let mut stream = ByteStream::new(std::mem::replace(answer.body_mut(), SdkBody::taken()));
    let mut body = Vec::new();
    let mut broken = None;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) if body.len() + chunk.len() > MAX_ANSWER_LENGTH => {
                broken = Some(BrokenAnswer::TooLong);
                break;
            }
            Ok(chunk) => body.extend_from_slice(&chunk),
            Err(error) => {
                broken = Some(BrokenAnswer::Cut { bytes: body.len(), source: error.into() });
                break;
            }
        }
    }
    if succeeded {
        if let Some(broken) = broken {
            return Err(broken);
        }
        if !is_complete(&body) {
            return Err(BrokenAnswer::Incomplete { bytes: body.len() });
        }
    }
    *answer.body_mut() = SdkBody::from(body);
    Ok(answer)
}

/// The answer if it has `member`, which every answer to the call has; otherwise an error, as for an incomplete answer.
#[expect(clippy::result_large_err, reason = "the SDK's own error, as its calls return it")]
pub(super) fn required<T, E>(
    answer: Result<T, SdkError<E, HttpResponse>>,
    member: &'static str,
    has_it: impl Fn(&T) -> bool,
) -> Result<T, SdkError<E, HttpResponse>> {
    match answer {
        Ok(answer) if !has_it(&answer) => {
            let response = HttpResponse::new(StatusCode::try_from(200).expect("a constant"), SdkBody::empty());
            Err(SdkError::response_error(BrokenAnswer::MissingMember { member }, response))
        }
        answer => answer,
    }
}
