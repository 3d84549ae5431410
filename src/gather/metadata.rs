//! Instance metadata: after the token, everything at once that the settings in force can use.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join, join_all, select, try_join_all, try_join4};

use crate::boundary::imds::{Imds, ImdsError, TARGET_STATE};
use crate::evidence::StageError;
use crate::facts::{Facts, Instance, InstanceTags, Known};
use crate::retry::{Deadline, Policy, Step, until, within};
use crate::settings::fragment::{CAUSE_TAG, VERDICT_TAG};
use crate::settings::schema::is_metadata_key;
use crate::settings::{Settings, Switch, TagsCluster, TagsSettings};

const DOCUMENT: &str = "dynamic/instance-identity/document";
const LIFE_CYCLE: &str = "meta-data/instance-life-cycle";
const TAGS: &str = "meta-data/tags/instance";
/// How long what is only useful may take longer than what is needed.
const GRACE: Duration = Duration::from_secs(3);
/// How often an answer that breaks off is asked for.
const ATTEMPTS: u32 = 4;
const AGAIN: Policy = Policy { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
/// Twice as many as an instance may have with those that AWS sets; each is a question of its own.
const MOST_TAGS: usize = 200;
const NOT_ASKED: &str = "no setting asks for it";

/// What IMDS told.
#[derive(Debug)]
pub struct Metadata {
    /// The identity document.
    pub instance: Known<Instance>,
    /// `on-demand`, `spot`, ...
    pub life_cycle: Known<Option<String>>,
    /// Where Auto Scaling wants the instance.
    pub target_state: Known<Option<String>>,
    /// Tags, where metadata has them.
    pub tags: Known<InstanceTags>,
    /// User data, whoever's it is.
    pub user_data: Option<Vec<u8>>,
}

impl Metadata {
    /// Nothing is known, for this reason.
    pub(super) fn unknown(why: &StageError) -> Metadata {
        let why = crate::redaction::error_chain(why);
        Metadata {
            instance: Known::Unknown(why.clone()),
            life_cycle: Known::Unknown(why.clone()),
            target_state: Known::Unknown(why.clone()),
            tags: Known::Unknown(why),
            user_data: None,
        }
    }
}

/// Reads it. The identity document carries most values, so little else is asked for.
pub(super) async fn read(imds: &Imds, settings: &Settings, deadline: Deadline) -> Result<Metadata, StageError> {
    let prefix = &settings.tags_prefix.value;
    let with_tags = settings.tags_settings.value != TagsSettings::None;
    let cluster_tag = format!("{prefix}cluster");
    let cluster_path = format!("{TAGS}/{cluster_tag}");
    let get = |path: &'static str, is_wanted: bool| async move {
        if is_wanted { imds.get(path, deadline).await } else { Ok(None) }
    };
    let with_cluster = with_tags && settings.tags_cluster.value != TagsCluster::Never;
    let cluster_get = async { if with_cluster { imds.get(&cluster_path, deadline).await } else { Ok(None) } };
    let needed = try_join4(get(DOCUMENT, true), get("user-data", true), get(TAGS, with_tags), cluster_get);
    let useful = join(
        get(LIFE_CYCLE, settings.derive.spot.value == Switch::Auto),
        get(TARGET_STATE, settings.derive.warm_pool.value == Switch::Auto),
    );
    let (needed, useful) = with_grace(needed, useful).await;
    let (document, user_data, listing, cluster) = needed?;
    let (life_cycle, target_state) = useful.unzip();
    let instance = identity(imds, document.unwrap_or_default(), deadline).await?;
    let asked = |switch: Switch, answer: Option<Result<Option<Vec<u8>>, ImdsError>>| match (switch, answer) {
        (Switch::Auto, Some(answer)) => Known::from_result(answer.map(|answer| answer.map(text))),
        (Switch::Auto, None) => Known::Unknown("instance metadata did not answer in time".to_owned()),
        _ => Known::Unknown(NOT_ASKED.to_owned()),
    };
    let tags = match listing {
        _ if !with_tags => Known::Unknown("`tags.settings` is `none`".to_owned()),
        None => Known::Unknown("tags are not allowed in instance metadata".to_owned()),
        Some(listing) if listing.split(|byte| *byte == b'\n').count() > MOST_TAGS => {
            return Err(StageError::NotMetadata { path: TAGS, expected: "the keys of an instance's tags, at most 50" });
        }
        Some(listing) => {
            let cluster = cluster.map(|value| (cluster_tag, text(value)));
            Known::Yes(instance_tags(imds, settings, &text(listing), cluster, deadline).await?)
        }
    };
    Ok(Metadata {
        instance: Known::Yes(instance),
        life_cycle: asked(settings.derive.spot.value, life_cycle),
        target_state: asked(settings.derive.warm_pool.value, target_state),
        tags,
        user_data,
    })
}

/// The identity document. One that breaks off is asked for again.
async fn identity(imds: &Imds, document: Vec<u8>, deadline: Deadline) -> Result<Instance, StageError> {
    let first = RefCell::new(Some(document));
    let answer = until(deadline, AGAIN, async |attempts| {
        let before = first.take();
        let document = match before {
            Some(document) => document,
            None => match imds.get(DOCUMENT, deadline).await {
                Ok(document) => document.unwrap_or_default(),
                Err(error) => return Step::Stop(error.into()),
            },
        };
        let stop = StageError::NotMetadata { path: DOCUMENT, expected: "an instance identity document" };
        match Instance::read(&document) {
            Ok(instance) => Step::Done(instance),
            Err(error) if error.is_eof() && !document.is_empty() && attempts < ATTEMPTS => Step::Retry(stop),
            Err(_) => Step::Stop(stop),
        }
    });
    answer.await.map_err(|gave_up| gave_up.last)
}

/// Both, but once the needed answers are there the useful ones have only [`GRACE`] left; `None` when they did not come.
async fn with_grace<N, U>(needed: impl Future<Output = N>, useful: impl Future<Output = U>) -> (N, Option<U>) {
    match select(pin!(needed), pin!(useful)).await {
        Either::Left((needed, useful)) => (needed, within(Deadline::after(GRACE), useful).await.ok()),
        Either::Right((useful, needed)) => (needed.await, Some(useful)),
    }
}

/// The tags that the listing names and that matter: ours, and those that become attributes.
async fn instance_tags(
    imds: &Imds,
    settings: &Settings,
    listing: &str,
    cluster: Option<(String, String)>,
    deadline: Deadline,
) -> Result<InstanceTags, ImdsError> {
    let known = cluster.as_ref().map(|(key, _)| key.clone());
    let matters = |key: &&str| {
        let rest = key.strip_prefix(settings.tags_prefix.value.as_str());
        let ours = rest.is_some_and(|rest| ![VERDICT_TAG, CAUSE_TAG].contains(&rest));
        let attribute = settings.derive.attributes.value.iter().any(|wanted| wanted == key);
        (ours || attribute) && is_metadata_key(key) && known.as_deref() != Some(key)
    };
    let others = listing.lines().map(str::trim).filter(matters);
    let others = try_join_all(others.map(|key| async move {
        let value = imds.get(&format!("{TAGS}/{key}"), deadline).await?;
        Ok::<_, ImdsError>(value.map(|value| (key.to_owned(), text(value))))
    }));
    let tags: BTreeMap<String, String> = others.await?.into_iter().flatten().chain(cluster).collect();
    Ok(InstanceTags { place: "IMDS", tags })
}

/// Asks for what only settings of a later rank (user data, tags) want.
pub(super) async fn complete(imds: &Imds, settings: &Settings, facts: &mut Facts, deadline: Deadline) {
    let unasked = |fact: &Known<Option<String>>| matches!(fact, Known::Unknown(why) if why == NOT_ASKED);
    let wanted = [
        (&settings.derive.spot, LIFE_CYCLE, &mut facts.life_cycle),
        (&settings.derive.warm_pool, TARGET_STATE, &mut facts.target_state),
    ];
    let missing = wanted.into_iter().filter(|(switch, _, fact)| switch.value == Switch::Auto && unasked(fact));
    join_all(missing.map(|(_, path, fact)| async move {
        *fact = Known::from_result(imds.get(path, deadline).await.map(|answer| answer.map(text)));
    }))
    .await;
}

/// A tag's value is kept to the letter, but for the line end that some servers append.
fn text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8_lossy(&bytes);
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}
