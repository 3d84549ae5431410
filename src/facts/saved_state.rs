//! Reads what the ECS agent remembers of itself: which cluster, container instance and EC2 instance it last was.
//!
//! In: the bytes of `/var/lib/ecs/data/agent.db` (a bolt database), or of `ecs_agent_data.json` beside it, which old
//! agents wrote and new ones still import while the database holds no agent version. Out: the few values that decide
//! whether the agent will start as what it was. The agent may write while the file is read, so every offset is checked
//! and a database that does not fit together is an error to read again. Tasks and containers are never looked at, and
//! no byte of either file gets into an error: task environments hold secrets.
//!
//! Sources: amazon-ecs-agent `agent/data/{client,metadata_client,helpers}.go`, `agent/app/data.go` and
//! `agent/statemanager`; bbolt `internal/common/{meta,page}.go`, `bucket.go` and `cursor.go`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What the agent saved; a value that it saved as empty counts as not saved, as for the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SavedState {
    /// The configured text: a name or an ARN. The agent exits with 5 where it differs from the text configured now.
    pub cluster: Option<String>,
    /// Under which ARN the instance registered.
    pub container_instance_arn: Option<String>,
    /// Whose state this is; the agent drops the state of another instance.
    pub ec2_instance_id: Option<String>,
    /// The agent that wrote the database (`1.105.1`); never in the JSON file.
    pub agent_version: Option<String>,
    /// The zone at registration (`eu-west-1a`).
    pub availability_zone: Option<String>,
}

impl SavedState {
    /// Nothing where not one of the values was saved, as after a start that did not get to register.
    fn known(self) -> Option<SavedState> {
        (self != SavedState::default()).then_some(self)
    }
}

/// Why saved state tells nothing. What is torn by a write of the agent reads well at the next attempt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Neither of the two meta pages is whole.
    #[error("the {size} bytes of the agent's database hold no valid meta page of bolt format {VERSION}")]
    NotBolt {
        /// The size of the file in bytes.
        size: usize,
    },
    /// The database does not fit together.
    #[error("page {page} of the agent's database {problem}")]
    Page {
        /// The number of the page in the file.
        page: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A value of the database is not what the agent writes.
    #[error("`{key}` in the agent's database is not a JSON string")]
    Value {
        /// The agent's name of the value.
        key: &'static str,
    },
    /// The state file is not what the agent writes.
    #[error("the agent's state file is not its JSON at line {line}, column {column}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1; 0 at the start of a line.
        column: usize,
    },
}

/// Reads `agent.db`. Nothing where the database holds none of the values, or is still empty: so it is created.
pub fn from_bolt(bytes: &[u8]) -> Result<Option<SavedState>, Unreadable> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let file = Bolt::open(bytes)?;
    let Some(metadata) = file.bucket(b"metadata")? else {
        return Ok(None);
    };
    let text = |key: &'static str| file.text(metadata, key);
    let saved = SavedState {
        cluster: text("cluster-name")?,
        container_instance_arn: text("container-instance-arn")?,
        ec2_instance_id: text("ec2-instance-id")?,
        agent_version: text("agent-version")?,
        availability_zone: text("availability-zone")?,
    };
    Ok(saved.known())
}

/// Reads `ecs_agent_data.json`. An empty file is an error, as for the agent.
pub fn from_json(bytes: &[u8]) -> Result<Option<SavedState>, Unreadable> {
    #[derive(Deserialize)]
    struct StateFile {
        #[serde(rename = "Data")]
        data: Option<StateData>,
    }
    #[derive(Deserialize)]
    struct StateData {
        #[serde(rename = "Cluster")]
        cluster: Option<String>,
        #[serde(rename = "ContainerInstanceArn")]
        container_instance_arn: Option<String>,
        #[serde(rename = "EC2InstanceID")]
        ec2_instance_id: Option<String>,
        #[serde(rename = "availabilityZone")]
        availability_zone: Option<String>,
    }

    // The error itself is dropped on purpose: it may quote the file.
    let file: Option<StateFile> = serde_json::from_slice(bytes)
        .map_err(|error| Unreadable::Json { line: error.line(), column: error.column() })?;
    Ok(file.and_then(|file| file.data).and_then(|data| {
        let saved = SavedState {
            cluster: filled(data.cluster),
            container_instance_arn: filled(data.container_instance_arn),
            ec2_instance_id: filled(data.ec2_instance_id),
            agent_version: None,
            availability_zone: filled(data.availability_zone),
        };
        saved.known()
    }))
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const PAGE_HEADER: usize = 16;
/// Of a branch page and of a leaf page alike.
const ELEMENT: usize = 16;
const BUCKET_HEADER: usize = 16;
/// A branch has two children or more, so no tree of 2^32 pages is deeper: what is deeper goes in circles.
const DEPTH: usize = 32;

/// A bolt database as its newest whole transaction left it. Numbers are in the byte order of the machine that wrote
/// them, which on EC2 is little endian.
struct Bolt<'a> {
    bytes: &'a [u8],
    meta: Meta,
}

#[derive(Clone, Copy)]
struct Meta {
    page_size: usize,
    root: u64,
    /// One more than the highest page in use.
    page_limit: u64,
    transaction: u64,
}

#[derive(Clone, Copy)]
struct Page<'a> {
    /// Of an inline bucket's page: the number of the page that it lies in.
    number: u64,
    bytes: &'a [u8],
    is_leaf: bool,
    count: usize,
}

/// An entry of a leaf.
struct Entry<'a> {
    is_bucket: bool,
    key: &'a [u8],
    value: &'a [u8],
    page: u64,
}

impl Meta {
    /// The meta page that starts there, if it is whole.
    fn at(bytes: &[u8], start: usize) -> Option<Meta> {
        let meta: [u8; 64] = array(bytes, start.checked_add(PAGE_HEADER)?)?;
        let (summed, checksum) = meta.split_at(56);
        let whole = u32_at(&meta, 0)? == MAGIC
            && u32_at(&meta, 4)? == VERSION
            && u64_at(checksum, 0)? == fnv64a(summed);
        if !whole {
            return None;
        }
        Some(Meta {
            page_size: usize::try_from(u32_at(&meta, 8)?).ok()?,
            root: u64_at(&meta, 16)?,
            page_limit: u64_at(&meta, 40)?,
            transaction: u64_at(&meta, 48)?,
        })
    }
}

impl<'a> Bolt<'a> {
    fn open(bytes: &'a [u8]) -> Result<Bolt<'a>, Unreadable> {
        let first = Meta::at(bytes, 0);
        // Without the first page its size is not known: bolt, too, looks at the powers of two from 1 KiB to 32 MiB.
        let second = match first {
            Some(meta) => Meta::at(bytes, meta.page_size),
            None => (10..=25).find_map(|power| Meta::at(bytes, 1 << power)),
        };
        let newest = [first, second].into_iter().flatten().max_by_key(|meta| meta.transaction);
        let meta = newest.ok_or(Unreadable::NotBolt { size: bytes.len() })?;
        Ok(Bolt { bytes, meta })
    }

    fn page(&self, number: u64) -> Result<Page<'a>, Unreadable> {
        let broken = |problem| Unreadable::Page { page: number, problem };
        let missing = || broken("lies behind the end");
        if number >= self.meta.page_limit {
            return Err(missing());
        }
        let size = self.meta.page_size;
        let start = usize::try_from(number).ok().and_then(|number| number.checked_mul(size)).ok_or_else(missing)?;
        let rest = self.bytes.get(start..).ok_or_else(missing)?;
        let own_number = u64_at(rest, 0).ok_or_else(missing)?;
        if own_number != number {
            return Err(broken("carries the number of another page"));
        }
        let overflow = u32_at(rest, 12).ok_or_else(missing)?;
        let length = usize::try_from(overflow).ok().and_then(|pages| pages.checked_add(1)?.checked_mul(size));
        let bytes = length.and_then(|length| rest.get(..length)).ok_or_else(missing)?;
        Page::new(number, bytes)
    }

    /// The root page of a bucket of the top level; none where it is absent.
    fn bucket(&self, name: &[u8]) -> Result<Option<Page<'a>>, Unreadable> {
        let Some(entry) = self.find(self.page(self.meta.root)?, name)?.filter(|entry| entry.is_bucket) else {
            return Ok(None);
        };
        let cut = Unreadable::Page { page: entry.page, problem: "holds a bucket that is cut off" };
        match (u64_at(entry.value, 0), entry.value.get(BUCKET_HEADER..)) {
            // A small bucket lies as a page of its own in the value.
            (Some(0), Some(inline)) => Page::new(entry.page, inline).map(Some),
            (Some(root), Some(_)) => self.page(root).map(Some),
            _ => Err(cut),
        }
    }

    fn find(&self, root: Page<'a>, key: &[u8]) -> Result<Option<Entry<'a>>, Unreadable> {
        let mut page = root;
        for _ in 0..DEPTH {
            if page.is_leaf {
                return page.entry(key);
            }
            page = self.page(page.child(key)?)?;
        }
        Err(page.broken("lies deeper than a tree can be"))
    }

    /// A value of the agent's metadata, each of which it saves as a JSON string.
    fn text(&self, bucket: Page<'a>, key: &'static str) -> Result<Option<String>, Unreadable> {
        let Some(entry) = self.find(bucket, key.as_bytes())?.filter(|entry| !entry.is_bucket) else {
            return Ok(None);
        };
        serde_json::from_slice(entry.value).map(filled).map_err(|_| Unreadable::Value { key })
    }
}

impl<'a> Page<'a> {
    fn new(number: u64, bytes: &'a [u8]) -> Result<Page<'a>, Unreadable> {
        let broken = |problem| Unreadable::Page { page: number, problem };
        let header = u16_at(bytes, 8).zip(u16_at(bytes, 10));
        let (flags, count) = header.ok_or_else(|| broken("is cut off"))?;
        let is_leaf = match flags {
            0x01 => false,
            0x02 => true,
            _ => return Err(broken("is neither a branch nor a leaf")),
        };
        Ok(Page { number, bytes, is_leaf, count: usize::from(count) })
    }

    fn broken(&self, problem: &'static str) -> Unreadable {
        Unreadable::Page { page: self.number, problem }
    }

    /// The entry of a leaf with that key. All are looked at, so that a torn leaf does not pass for one without the key.
    fn entry(&self, wanted: &[u8]) -> Result<Option<Entry<'a>>, Unreadable> {
        let mut found = None;
        for index in 0..self.count {
            let entry = self.leaf_element(index).ok_or_else(|| self.broken("holds an entry that ends outside of it"))?;
            if entry.key == wanted {
                found = Some(entry);
            }
        }
        Ok(found)
    }

    /// The number of the page below a branch that holds the key: the last whose first key is not behind it.
    fn child(&self, wanted: &[u8]) -> Result<u64, Unreadable> {
        let mut child = None;
        for index in 0..self.count {
            let (key, number) =
                self.branch_element(index).ok_or_else(|| self.broken("holds a branch that ends outside of it"))?;
            if key <= wanted || child.is_none() {
                child = Some(number);
            }
        }
        child.ok_or_else(|| self.broken("is a branch without a child"))
    }

    fn leaf_element(&self, index: usize) -> Option<Entry<'a>> {
        let at = PAGE_HEADER + index * ELEMENT;
        let [flags, position, key_size, value_size] = [0, 4, 8, 12].map(|field| u32_at(self.bytes, at + field));
        let key_start = at.checked_add(usize::try_from(position?).ok()?)?;
        let key = part(self.bytes, key_start, key_size?)?;
        let value = part(self.bytes, key_start + key.len(), value_size?)?;
        Some(Entry { is_bucket: flags? & 1 != 0, key, value, page: self.number })
    }

    fn branch_element(&self, index: usize) -> Option<(&'a [u8], u64)> {
        let at = PAGE_HEADER + index * ELEMENT;
        let key_start = at.checked_add(usize::try_from(u32_at(self.bytes, at)?).ok()?)?;
        Some((part(self.bytes, key_start, u32_at(self.bytes, at + 4)?)?, u64_at(self.bytes, at + 8)?))
    }
}

fn part(bytes: &[u8], start: usize, length: u32) -> Option<&[u8]> {
    bytes.get(start..)?.get(..usize::try_from(length).ok()?)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// FNV-1a of 64 bits, the checksum of a meta page.
fn fnv64a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
