//! Reads each answer of an AWS service to its end, within a limit, before the SDK parses it.
//!
//! In: the SDK's HTTP client. Out: a client whose successful answers are complete XML or JSON, or a [`BrokenAnswer`]. The
//! SDK's own parser takes an XML document that ends early for an empty list, and reads a body without any limit.

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

/// A hundred clusters with fifty tags each are two million bytes; no answer that is used here is longer.
const LONGEST_ANSWER: usize = 3 * 1024 * 1024;

/// Why an answer cannot be used although its status says that the call succeeded.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenAnswer {
    /// The connection ended before the body did.
    #[error("the answer breaks off after {bytes} bytes")]
    Cut {
        /// What was read.
        bytes: usize,
        /// What the connection said.
        source: BoxError,
    },
    /// The body ended before the document in it did, or the document is malformed.
    #[error("the {bytes} bytes of the answer are not one complete document")]
    Incomplete {
        /// The length of the body.
        bytes: usize,
    },
    /// An answer without end, or one of another service.
    #[error("the answer is longer than {LONGEST_ANSWER} bytes")]
    TooLong,
    /// A complete document that lacks what every answer to this call has.
    #[error("the answer lacks `{member}`")]
    Lacks {
        /// The member, as the API calls it.
        member: &'static str,
    },
    /// A list that has more pages or entries than the service keeps.
    #[error("the answer has more than {most} {what}")]
    Endless {
        /// The limit.
        most: usize,
        /// What is counted.
        what: &'static str,
    },
}

/// A client whose answers are read whole.
#[derive(Debug)]
pub(super) struct WholeAnswers(SharedHttpClient);

impl WholeAnswers {
    /// The same client, with its answers read whole.
    pub(super) fn of(client: SharedHttpClient) -> SharedHttpClient {
        WholeAnswers(client).into_shared()
    }
}

impl HttpClient for WholeAnswers {
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
            // Without a kind, so that the SDK does not call again: `Aws::call` does, and only what changes nothing.
            whole(answer).await.map_err(|broken| ConnectorError::other(broken.into(), None))
        })
    }
}

/// The answer with its body in memory. Of an answer that is an error, what was read is enough: its status counts.
async fn whole(mut answer: HttpResponse) -> Result<HttpResponse, BrokenAnswer> {
    let succeeded = answer.status().is_success();
    let mut stream = ByteStream::new(std::mem::replace(answer.body_mut(), SdkBody::taken()));
    let mut body = Vec::new();
    let mut broken = None;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) if body.len() + chunk.len() > LONGEST_ANSWER => {
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

/// The answer, if it has the member that every answer to its call has; else an error as for one that is cut off.
#[expect(clippy::result_large_err, reason = "the SDK's own error, as its calls return it")]
pub(super) fn required<T, E>(
    answer: Result<T, SdkError<E, HttpResponse>>,
    member: &'static str,
    has_it: impl Fn(&T) -> bool,
) -> Result<T, SdkError<E, HttpResponse>> {
    match answer {
        Ok(answer) if !has_it(&answer) => {
            let response = HttpResponse::new(StatusCode::try_from(200).expect("a constant"), SdkBody::empty());
            Err(SdkError::response_error(BrokenAnswer::Lacks { member }, response))
        }
        answer => answer,
    }
}
