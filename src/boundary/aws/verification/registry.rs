//! Images in ECR.

use serde_json::{Value, json};

use super::super::registry_login::ECR;
use super::super::{Aws, AwsError};
use super::absent_if;
use crate::retry::Deadline;

/// The media types of manifests and of indexes, by Docker and by OCI.
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
];

/// An image of a repository in ECR.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageName {
    /// The account that the registry belongs to.
    pub registry: String,
    /// The region of the registry.
    pub region: String,
    /// The name of the repository.
    pub repository: String,
    /// A digest (`sha256:...`), otherwise a tag.
    pub reference: String,
}

impl ImageName {
    /// Whether the reference is a digest and not a tag.
    pub fn has_digest(&self) -> bool {
        self.reference.contains(':')
    }
}

/// The manifest of an image, or the index of an image for several platforms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest(pub Value);

impl Aws {
    /// The manifest of an image: `ecr:BatchGetImage`. `None` if there is no such repository or image.
    pub async fn image_manifest(&self, image: &ImageName, deadline: Deadline) -> Result<Option<Manifest>, AwsError> {
        let key = if image.has_digest() { "imageDigest" } else { "imageTag" };
        let body = json!({
            "registryId": image.registry,
            "repositoryName": image.repository,
            "imageIds": [{key: image.reference}],
            "acceptedMediaTypes": MEDIA_TYPES,
        });
        let answer = self.json(ECR, Some(&image.region), "ecr:BatchGetImage", &body, Some("images"), deadline).await;
        let Some(answer) = absent_if(answer, &["RepositoryNotFoundException"])? else { return Ok(None) };
        let failure = answer["failures"][0]["failureCode"].as_str();
        if answer["images"][0].is_null() && failure == Some("ImageNotFound") {
            return Ok(None);
        }
        // Another failure, for example of a pull-through cache, does not prove that the image does not exist.
        let text = answer["images"][0]["imageManifest"].as_str().unwrap_or_default();
        Ok(Some(Manifest(serde_json::from_str(text).unwrap_or_default())))
    }

    /// The repository prefixes of the registry's pull-through cache rules: `ecr:DescribePullThroughCacheRules`. Images
    /// below them are imported when they are pulled.
    pub async fn pull_through_prefixes(
        &self,
        registry: &str,
        region: &str,
        deadline: Deadline,
    ) -> Result<Vec<String>, AwsError> {
        // A registry has at most 50 rules (Amazon ECR service quotas), which is less than a page.
        let body = json!({"registryId": registry, "maxResults": 1000});
        let operation = "ecr:DescribePullThroughCacheRules";
        let answer = self.json(ECR, Some(region), operation, &body, Some("pullThroughCacheRules"), deadline).await?;
        let rules = answer["pullThroughCacheRules"].as_array().into_iter().flatten();
        Ok(rules.filter_map(|rule| rule["ecrRepositoryPrefix"].as_str().map(str::to_owned)).collect())
    }
}
