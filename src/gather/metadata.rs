//! Reads instance metadata: all values that the settings can use, in parallel.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join, join_all, select, try_join_all, try_join4};

use super::{clusters, tags};
use crate::boundary::imds::{Imds, ImdsError, TARGET_STATE};
use crate::evidence::StageError;
use crate::facts::{Fact, Facts, IMDS_TAGS, Instance, InstanceTags};
use crate::retry::{AttemptResult, Deadline, Policy, until, within};
use crate::settings::fragment::WRITTEN_TAGS;
use crate::settings::schema::is_metadata_key;
use crate::settings::{Settings, Switch, TagsCluster, TagsSettings};

const DOCUMENT: &str = "dynamic/instance-identity/document";
const LIFE_CYCLE: &str = "meta-data/instance-life-cycle";
const TAGS: &str = "meta-data/tags/instance";
/// How long the optional answers are waited for after the required answers have arrived.
const OPTIONAL_GRACE: Duration = Duration::from_secs(3);
/// How often a truncated identity document is requested.
const ATTEMPTS: u32 = 4;
const AGAIN: Policy = Policy { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
/// Twice the number of tags that an instance can have, including those that AWS sets. Each tag is a request of its own.
const MAX_TAGS: usize = 200;
const NOT_ASKED: &str = "no setting needs it";

/// The values from instance metadata.
#[derive(Debug)]
pub struct InstanceMetadata {
    /// The identity document.
    pub instance: Fact<Instance>,
    /// `on-demand`, `spot`, ...
    pub life_cycle: Fact<Option<String>>,
    /// The target lifecycle state in the Auto Scaling group.
    pub target_state: Fact<Option<String>>,
    /// The instance tags, if they are allowed in metadata.
    pub tags: Fact<InstanceTags>,
    /// The user data, for cloud-init or for ecs-bootstrap.
    pub user_data: Option<Vec<u8>>,
}

impl InstanceMetadata {
    /// Metadata in which each value is unknown for the same reason.
    pub(super) fn unknown(why: &StageError) -> InstanceMetadata {
        let why = crate::redaction::error_chain(why);
        InstanceMetadata {
            instance: Fact::Unknown(why.clone()),
            life_cycle: Fact::Unknown(why.clone()),
            target_state: Fact::Unknown(why.clone()),
            tags: Fact::Unknown(why),
            user_data: None,
        }
    }
}

/// Reads the metadata. The identity document contains most values, so few other paths are requested.
pub(super) async fn read(imds: &Imds, settings: &Settings, deadline: Deadline) -> Result<InstanceMetadata, StageError> {
    let prefix = &settings.tags_prefix.value;
    let with_tags = settings.tags_settings.value != TagsSettings::None;
    let cluster_tag = format!("{prefix}cluster");
    let cluster_path = format!("{TAGS}/{cluster_tag}");
    let with_cluster = with_tags && settings.tags_cluster.value != TagsCluster::Never;
    let with_life_cycle = settings.derive.spot.value == Switch::Auto;
    let with_target_state = needs_target_state(settings);
    // The credentials of an AWS call need the role's name.
    let with_role = tags::may_be_described(settings) || clusters::are_searched(settings);
    let wanted = [true, true, with_tags, with_cluster, with_life_cycle, with_target_state, with_role];
    imds.prepare(wanted.into_iter().filter(|is_wanted| *is_wanted).count(), deadline);
    if with_role {
        imds.prepare_role(deadline);
    }
    let get = |path: &'static str, is_wanted: bool| async move {
        if is_wanted { imds.get(path, deadline).await } else { Ok(None) }
    };
    let cluster_get = async { if with_cluster { imds.get(&cluster_path, deadline).await } else { Ok(None) } };
    let required = try_join4(get(DOCUMENT, true), get("user-data", true), get(TAGS, with_tags), cluster_get);
    let optional_answers = join(get(LIFE_CYCLE, with_life_cycle), get(TARGET_STATE, with_target_state));
    let (required, optional_answers) = with_grace(required, optional_answers).await;
    let (document, user_data, listing, cluster) = required?;
    let (life_cycle, target_state) = optional_answers.unzip();
    let instance = identity(imds, document.unwrap_or_default(), deadline).await?;
    let optional = |is_wanted: bool, answer: Option<Result<Option<Vec<u8>>, ImdsError>>| match (is_wanted, answer) {
        (true, Some(answer)) => Fact::from_result(answer.map(|answer| answer.map(text))),
        (true, None) => Fact::Unknown("instance metadata did not answer in time".to_owned()),
        (false, _) => Fact::Unknown(NOT_ASKED.to_owned()),
    };
    let tags = match listing {
        _ if !with_tags => Fact::Unknown("`tags.settings` is `none`".to_owned()),
        None => Fact::Unknown("tags in instance metadata are not enabled".to_owned()),
        Some(listing) if listing.split(|byte| *byte == b'\n').count() > MAX_TAGS => {
            return Err(StageError::NotMetadata { path: TAGS, expected: "a list of at most 50 tag keys" });
        }
        Some(listing) => {
            let cluster = cluster.map(|value| (cluster_tag, text(value)));
            Fact::Known(instance_tags(imds, settings, &text(listing), cluster, deadline).await?)
        }
    };
    Ok(InstanceMetadata {
        instance: Fact::Known(instance),
        life_cycle: optional(with_life_cycle, life_cycle),
        target_state: optional(with_target_state, target_state),
        tags,
        user_data,
    })
}

/// Parses the identity document. A truncated document is requested again.
async fn identity(imds: &Imds, document: Vec<u8>, deadline: Deadline) -> Result<Instance, StageError> {
    let first = RefCell::new(Some(document));
    let answer = until(deadline, AGAIN, async |attempts| {
        let before = first.take();
        let document = match before {
            Some(document) => document,
            None => match imds.get(DOCUMENT, deadline).await {
                Ok(document) => document.unwrap_or_default(),
                Err(error) => return AttemptResult::Stop(error.into()),
            },
        };
        let invalid = StageError::NotMetadata { path: DOCUMENT, expected: "an instance identity document" };
        match Instance::read(&document) {
            Ok(instance) => AttemptResult::Done(instance),
            Err(error) if error.is_eof() && !document.is_empty() && attempts < ATTEMPTS => {
                AttemptResult::Retry(invalid)
            }
            Err(_) => AttemptResult::Stop(invalid),
        }
    });
    answer.await.map_err(|gave_up| gave_up.last)
}

/// Waits for both. After the required answers have arrived, the optional ones get [`GRACE`]; `None` if they take
/// longer.
async fn with_grace<R, O>(required: impl Future<Output = R>, optional: impl Future<Output = O>) -> (R, Option<O>) {
    match select(pin!(required), pin!(optional)).await {
        Either::Left((required, optional)) => (required, within(Deadline::after(OPTIONAL_GRACE), optional).await.ok()),
        Either::Right((optional, required)) => (required.await, Some(optional)),
    }
}

/// The values of the listed tags that are needed: those with the prefix of ecs-bootstrap, and those that become
/// attributes.
async fn instance_tags(
    imds: &Imds,
    settings: &Settings,
    listing: &str,
    cluster: Option<(String, String)>,
    deadline: Deadline,
) -> Result<InstanceTags, ImdsError> {
    let known = cluster.as_ref().map(|(key, _)| key.clone());
    let is_needed = |key: &&str| {
        let rest = key.strip_prefix(settings.tags_prefix.value.as_str());
        let is_setting = rest.is_some_and(|rest| !WRITTEN_TAGS.contains(&rest));
        let is_attribute = settings.derive.attributes.value.iter().any(|wanted| wanted == key);
        (is_setting || is_attribute) && is_metadata_key(key) && known.as_deref() != Some(key)
    };
    let others = listing.lines().map(str::trim).filter(is_needed);
    let tags = tag_values(imds, others, deadline).await?.into_iter().chain(cluster).collect();
    Ok(InstanceTags { place: IMDS_TAGS, tags })
}

/// The values of these tags. A tag that was removed after it was listed has none.
async fn tag_values<'k>(
    imds: &Imds,
    keys: impl Iterator<Item = &'k str>,
    deadline: Deadline,
) -> Result<BTreeMap<String, String>, ImdsError> {
    let values = try_join_all(keys.map(|key| async move {
        let value = imds.get(&format!("{TAGS}/{key}"), deadline).await?;
        Ok::<_, ImdsError>(value.map(|value| (key.to_owned(), text(value))))
    }));
    Ok(values.await?.into_iter().flatten().collect())
}

/// The tags with these keys; `None` if instance metadata has no tags, or no valid list of them. It has none too if the last tag
/// was removed.
pub async fn tags_by_key(
    imds: &Imds,
    keys: &BTreeSet<String>,
    deadline: Deadline,
) -> Result<Option<BTreeMap<String, String>>, ImdsError> {
    let Some(listing) = imds.get(TAGS, deadline).await? else { return Ok(None) };
    let listing = text(listing);
    let listed: Vec<&str> = listing.lines().map(str::trim).collect();
    if listed.len() > MAX_TAGS || !listed.iter().all(|key| is_metadata_key(key)) {
        return Ok(None);
    }
    let wanted: Vec<&str> = listed.into_iter().filter(|key| keys.contains(*key)).collect();
    let tags = tag_values(imds, wanted.iter().copied(), deadline).await?;
    Ok(Some(tags).filter(|tags| tags.len() == wanted.len()))
}

/// The metric needs it too, because the time in a warm pool is not the time of a boot.
fn needs_target_state(settings: &Settings) -> bool {
    settings.derive.warm_pool.value == Switch::Auto || settings.signal.cloudwatch.value
}

/// Reads the values that only settings from user data or tags need. These settings are known after the first requests.
pub(super) async fn complete(imds: &Imds, settings: &Settings, facts: &mut Facts, deadline: Deadline) {
    let unasked = |fact: &Fact<Option<String>>| matches!(fact, Fact::Unknown(why) if why == NOT_ASKED);
    let wanted = [
        (settings.derive.spot.value == Switch::Auto, LIFE_CYCLE, &mut facts.life_cycle),
        (needs_target_state(settings), TARGET_STATE, &mut facts.target_state),
    ];
    let missing = wanted.into_iter().filter(|(is_wanted, _, fact)| *is_wanted && unasked(fact));
    join_all(missing.map(|(_, path, fact)| async move {
        *fact = Fact::from_result(imds.get(path, deadline).await.map(|answer| answer.map(text)));
    }))
    .await;
}

/// The answer as text, unchanged except for the line break that some servers append.
fn text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8_lossy(&bytes);
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}
