//! Parses the ECS agent's saved state: its cluster, container instance and EC2 instance.
//!
//! In: the bytes of `/var/lib/ecs/data/agent.db` (a bolt database), or of `ecs_agent_data.json` in the same folder. Old
//! agents wrote the JSON file, and new ones import it as long as the database has no agent version. Out: the few values
//! that decide whether the agent starts as the same container instance. The agent can write while the file is read, so
//! every offset is checked, and a damaged database is an error that the caller handles with a second read. Tasks and
//! containers are never parsed, and no error contains a byte of the files: task environments can contain secrets.
//!
//! Sources: amazon-ecs-agent `agent/data/{client,metadata_client,helpers}.go`, `agent/app/data.go` and
//! `agent/statemanager`; bbolt `internal/common/{meta,page}.go`, `bucket.go` and `cursor.go`.

mod bolt;
mod unreadable;

use serde::{Deserialize, Serialize};

pub use self::unreadable::Unreadable;

use self::bolt::Bolt;

/// The values that the agent saved. An empty value is the same as none, as in the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SavedState {
    /// The configured text: a name or an ARN. The agent exits with 5 if it differs from the text that is configured
    /// now.
    pub cluster: Option<String>,
    /// The ARN of the container instance.
    pub container_instance_arn: Option<String>,
    /// The EC2 instance of this state. The agent drops the state of another instance.
    pub ec2_instance_id: Option<String>,
    /// The version of the agent that wrote the database (`1.105.1`); the JSON file does not contain it.
    pub agent_version: Option<String>,
    /// The availability zone at the registration (`eu-west-1a`).
    pub availability_zone: Option<String>,
}

impl SavedState {
    /// The state, or `None` if it has no value, as after a start that ended before the registration.
    fn non_empty(self) -> Option<SavedState> {
        (self != SavedState::default()).then_some(self)
    }
}

/// Reads `agent.db`; `None` if the database has none of the values. A new database is an empty file.
pub fn from_bolt(bytes: &[u8]) -> Result<Option<SavedState>, Unreadable> {
    from_bolt_at(&in_memory(bytes), bytes.len() as u64)
}

/// Like [`from_bolt`], without the whole file in memory: `read` returns the bytes at an offset with a length, or `None`
/// if the file of `size` bytes is shorter.
pub fn from_bolt_at(read: &dyn Fn(u64, usize) -> Option<Vec<u8>>, size: u64) -> Result<Option<SavedState>, Unreadable> {
    if size == 0 {
        return Ok(None);
    }
    let file = Bolt::open(read, size)?;
    let Some(metadata) = file.bucket(b"metadata")? else {
        return Ok(None);
    };
    // The agent saves each value as a JSON string. The parser's own error is dropped, because it can contain bytes of
    // the file.
    let text = |key: &'static str| match file.value(&metadata, key.as_bytes())? {
        Some(value) => serde_json::from_slice(&value).map(filled).map_err(|_| Unreadable::Value { key }),
        None => Ok(None),
    };
    let saved = SavedState {
        cluster: text("cluster-name")?,
        container_instance_arn: text("container-instance-arn")?,
        ec2_instance_id: text("ec2-instance-id")?,
        agent_version: text("agent-version")?,
        availability_zone: text("availability-zone")?,
    };
    Ok(saved.non_empty())
}

/// Reads `ecs_agent_data.json`, which is valid only while [`from_bolt`] returns no agent version. An empty file is an
/// error, as in the agent.
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

    // The parser's own error is dropped, because it can contain bytes of the file.
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
        saved.non_empty()
    }))
}

/// Reads parts of a file that is in memory.
fn in_memory(bytes: &[u8]) -> impl Fn(u64, usize) -> Option<Vec<u8>> {
    |at, length| bytes.get(usize::try_from(at).ok()?..)?.get(..length).map(<[u8]>::to_vec)
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::bolt::tests::{branch, bucket, database, leaf};
    use super::*;

    /// Written by bbolt 1.3.6 in the same order as the agent: five buckets, some tasks, then each key.
    const WRITTEN_BY_BBOLT: &str = "
        H4sIAAAAAAACA+3aPW8TMRjA8UtCyksLLQNMDMgMiOGau1QVUjYGWGFAzLgXBww5B3JOy4u68ymAj8AXALHxBZgYK7HRmRUfsfOGIBkY
        kur/kx7Zz8m+3HmIZD8XRUOnfHv8beO4Wna2pq8Hdd+u+facbztH77+mu9d+RgAAAAAAYOlU5uz/qzPjazP7/3Xfnl6/8u7oU3aHFQUA
        AAAAYPlUR219dB5wLxrW9a/6/ImLCxP5G7//D/lbF2dc3K0M8++V4XcCP1xkPWOlNqpfzHsCZbS0VmaPc2Xs3NE6l4/U3FG5srItrfz7
        uLVR/6GL8y7O+rzj4qKLDZ8Xvh9mDFxcdnHb559dbPqVKH1xcSkanpi4ZzU23neroHtGpNtpsrudCrkvdVfu6a62L+NXPaOEGsQHqrBx
        KkXWHRRW9WMjcyWe9XttMVrKWJvCSpOpWPaNcNGSB0VLZS7C/FbqNJ0dp/XnzEZ5x0aSNnfkXtYWKmuOb6rbQseJuy6sLJ7GuTS6U960
        UM9jM8jFzd/X/7H2tVE/cXEjGp8S3Z/JX0zkC7xH+buN5LW45V67JRJxuOicNMxJF5/TDHOa4pD/CQAAAACrL+zVtvyeOXwHUGdpAAAA
        AAA4McJ+/3/U/6/7+v/HFar/j885yreerP8/iKbr/1k0Xf9X0XT9/0M0rv+vcL2fuj4AAAAAnEhh/xvq/2HnXGNpAAAAAAAAAAAAAAAA
        AAAAAABYGr8A11kbKQCAAAA=";

    /// Written by bbolt 1.3.6, with empty buckets.
    const FRESH_FROM_BBOLT: &str = "
        H4sIAAAAAAACA+3cMUrEQBQA0LhZRUR0a22srOzEO1hY6BGGNeiuJII7jZ7AU3gMD+Md1t7OhGRkDUjadXkPhp8ffkKY7g+ZybLWuIvL
        j/3lqLmY/L6fbHdxp4ujLlbnx2cv5ddnBgAAAKydrYH+P+/Vj3r16fnDy+ebo4urUzMKAAAA6yf18xNTAQAAABsr760DAAAAAJtn/NP/
        tzv7m//5r+uxV4+TLp/X42Alf83a/f8pf6vH7kr+nrXnBDT59LGKYVYVT4u/viCtPBTVLMQYpvdlUcXB6lkZ7orBqrKI4TbEMFQXw+Jh
        8GUAAADwb6Xz/CZdm5ua3dzUAAAAAAAAAAAAAADA2vgGzNZi+wCAAAA=";

    const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:container-instance/prod/0123abcd";

    fn unpacked(gzip: &str) -> Vec<u8> {
        let packed = STANDARD.decode(gzip.split_whitespace().collect::<String>()).unwrap();
        let mut file = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut file).unwrap();
        file
    }

    fn prod() -> SavedState {
        SavedState {
            cluster: Some("prod".into()),
            container_instance_arn: Some(ARN.into()),
            ec2_instance_id: Some("i-0abc".into()),
            agent_version: Some("1.105.1".into()),
            availability_zone: Some("eu-west-1a".into()),
        }
    }

    /// The metadata of `prod`, in a bucket of two leaves below a branch.
    fn in_many_pages() -> Vec<u8> {
        let arn = format!("\"{ARN}\"");
        database(
            512,
            &[
                branch(3, &[(b"containers", 4), (b"metadata", 5)]),
                leaf(4, &[(1, b"containers", &bucket(0, &leaf(0, &[])))]),
                leaf(5, &[(1, b"metadata", &bucket(6, &[])), (1, b"tasks", &bucket(0, &leaf(0, &[])))]),
                branch(6, &[(b"agent-version", 7), (b"container-instance-arn", 8)]),
                leaf(
                    7,
                    &[
                        (0, b"agent-version", b"\"1.105.1\""),
                        (0, b"availability-zone", b"\"eu-west-1a\""),
                        (0, b"cluster-name", b"\"prod\""),
                    ],
                ),
                leaf(8, &[(0, b"container-instance-arn", arn.as_bytes()), (0, b"ec2-instance-id", b"\"i-0abc\"")]),
            ],
        )
    }

    fn with_cluster(value: &[u8]) -> Vec<u8> {
        let metadata = leaf(0, &[(0, b"cluster-name", value)]);
        database(1024, &[leaf(3, &[(1, b"metadata", &bucket(0, &metadata))])])
    }

    #[test]
    fn reads_what_bbolt_itself_wrote() {
        assert_eq!(from_bolt(&unpacked(WRITTEN_BY_BBOLT)), Ok(Some(prod())));
    }

    #[test]
    fn reads_metadata_that_fills_several_pages() {
        assert_eq!(from_bolt(&in_many_pages()), Ok(Some(prod())));
    }

    #[test]
    fn knows_nothing_from_a_database_without_metadata() {
        assert_eq!(from_bolt(&unpacked(FRESH_FROM_BBOLT)), Ok(None));
        assert_eq!(from_bolt(&database(1024, &[leaf(3, &[])])), Ok(None));
        assert_eq!(from_bolt(b""), Ok(None));
    }

    #[test]
    fn undoes_the_escapes_of_go() {
        let state = from_bolt(&with_cluster(br#""a\u0026b""#)).unwrap().unwrap();
        assert_eq!(state, SavedState { cluster: Some("a&b".into()), ..SavedState::default() });
    }

    #[test]
    fn treats_an_empty_value_as_none() {
        assert_eq!(from_bolt(&with_cluster(br#""""#)), Ok(None));
        assert_eq!(from_json(br#"{"Data": {"Cluster": "", "EC2InstanceID": ""}, "Version": 31}"#), Ok(None));
    }

    #[test]
    fn names_the_value_that_is_not_a_string_without_quoting_it() {
        for value in [&b"31415"[..], b"{\"a\": 1}", b"prod", b"", b"\"\xff\""] {
            let error = from_bolt(&with_cluster(value)).unwrap_err();
            assert_eq!(error, Unreadable::Value { key: "cluster-name" });
            assert_eq!(error.to_string(), "`cluster-name` in the agent's database is not a JSON string");
        }
    }

    #[test]
    fn reads_the_state_file_of_an_old_agent() {
        let file = br#"{"Data": {
            "Cluster": "prod",
            "ContainerInstanceArn": "arn:aws:ecs:us-west-2:123456789012:container-instance/ea27e41b",
            "EC2InstanceID": "i-0abc",
            "TaskEngine": {"Tasks": [{"Arn": "arn:aws:ecs:us-west-2:123456789012:task/1", "Containers": null}]},
            "availabilityZone": "us-west-2b",
            "seqNumTaskManifest": 7
        }, "Version": 24}"#;
        let arn = "arn:aws:ecs:us-west-2:123456789012:container-instance/ea27e41b";
        let expected = SavedState {
            cluster: Some("prod".into()),
            container_instance_arn: Some(arn.into()),
            ec2_instance_id: Some("i-0abc".into()),
            agent_version: None,
            availability_zone: Some("us-west-2b".into()),
        };
        assert_eq!(from_json(file), Ok(Some(expected)));
    }

    #[test]
    fn knows_nothing_from_a_state_file_without_data() {
        for file in ["null", "{}", r#"{"Data": null}"#, r#"{"Data": {}, "Version": 1}"#] {
            assert_eq!(from_json(file.as_bytes()), Ok(None), "{file}");
        }
    }

    #[test]
    fn says_where_the_state_file_breaks_and_does_not_quote_it() {
        let error = from_json(b"{\"Data\":\n  {\"Cluster\": 31415}}").unwrap_err();
        assert_eq!(error.to_string(), "the agent's state file has invalid JSON at line 2, column 19");
        for cut in ["", "{\"Data\": {\"Cluster\": \"pr", "[]", "7"] {
            assert!(matches!(from_json(cut.as_bytes()), Err(Unreadable::Json { .. })), "{cut}");
        }
    }

    #[test]
    fn rejects_a_truncated_file() {
        let whole = in_many_pages();
        for length in 1..whole.len() - 512 {
            assert!(from_bolt(&whole[..length]).is_err(), "{length}");
        }
    }

    fn flips() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
        prop::collection::vec((any::<prop::sample::Index>(), 1..=u8::MAX), 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = from_bolt(&bytes);
            let _ = from_json(&bytes);
            // After valid meta pages and the header of a leaf with 9 entries, so that these bytes are read as entries.
            let leaf_header = [3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 9, 0, 0, 0, 0, 0];
            let root = leaf_header.into_iter().chain(bytes).take(512).collect();
            let _ = from_bolt(&database(512, &[root]));
        }

        #[test]
        fn survives_flipped_bytes(flips in flips()) {
            let mut file = in_many_pages();
            for (index, flip) in flips {
                let at = index.index(file.len());
                file[at] ^= flip;
            }
            let _ = from_bolt(&file);
        }

        #[test]
        fn never_uses_a_damaged_meta_page(at in 0..72usize, flip in 1..=u8::MAX) {
            let mut file = in_many_pages();
            file[512 + 8 + at] ^= flip;
            let read = from_bolt(&file);
            // The checksum does not cover the page header. Without the newer transaction the older one is read, and it
            // has no values.
            prop_assert!(read == Ok(None) || (at < 8 && read == Ok(Some(prod()))));
        }
    }
}
