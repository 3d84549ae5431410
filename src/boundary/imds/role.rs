//! The instance role's credentials, as instance metadata hands them out.
//!
//! Out comes whether there is a role and whether its credentials can be used, or the credentials themselves for the
//! SDK alone. The document and its keys never appear in an error, a log or `Debug`.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Deserialize;

use super::error::{AttemptError, FailedAttempt};
use super::{Imds, ImdsError};
use crate::retry::Deadline;

const LISTING: &str = "meta-data/iam/security-credentials/";
const INFO: &str = "meta-data/iam/info";

/// Whether the instance has a role whose credentials can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleStatus {
    /// No instance profile, or one that has not arrived yet.
    Absent,
    /// An instance profile that holds no role (IAM User Guide, "Troubleshoot IAM and Amazon EC2").
    EmptyProfile {
        /// What `iam/info` says of it.
        message: String,
    },
    /// An instance profile that is no more.
    ProfileDeleted,
    /// The credentials are there.
    Present {
        /// The role's name.
        role: String,
        /// For how long they have been expired by this host's clock; `None` while they are good.
        expired_for: Option<Duration>,
    },
    /// The role is there, its credentials are not (EC2 User Guide, "Retrieve security credentials").
    NotUsable {
        /// The role's name.
        role: String,
        /// The document's `Code`, for example `AssumeRoleUnauthorizedAccess`.
        code: String,
    },
}

/// The credentials document; deliberately without `Debug`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::boundary) struct Document {
    #[serde(default)]
    code: String,
    #[serde(default)]
    pub(in crate::boundary) access_key_id: String,
    #[serde(default)]
    pub(in crate::boundary) secret_access_key: String,
    #[serde(default)]
    pub(in crate::boundary) token: String,
    /// RFC 3339.
    #[serde(default)]
    pub(in crate::boundary) expiration: String,
}

/// `iam/info`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The code of a profile that was deleted, or deleted and made again under its name.
const PROFILE_GONE: &str = "InstanceProfileNotFound";

impl Document {
    /// When its credentials end; `None` where that cannot be read.
    pub(in crate::boundary) fn ends(&self) -> Option<SystemTime> {
        DateTime::from_str(&self.expiration, Format::DateTime).ok().and_then(|ends| SystemTime::try_from(ends).ok())
    }
}

/// What the role came to.
pub(in crate::boundary) enum Role {
    Absent,
    NotUsable { role: String, code: String },
    Usable { role: String, document: Document },
}

impl Imds {
    /// Whether there is a role and its credentials can be used.
    pub async fn role_credentials_status(&self, deadline: Deadline) -> Result<RoleStatus, ImdsError> {
        Ok(match self.role(deadline).await? {
            Role::Absent => self.profile(deadline).await,
            Role::NotUsable { code, .. } if code == PROFILE_GONE => RoleStatus::ProfileDeleted,
            Role::NotUsable { role, code } => RoleStatus::NotUsable { role, code },
            Role::Usable { role, document } => {
                let expired_for = document.ends().and_then(|ends| SystemTime::now().duration_since(ends).ok());
                RoleStatus::Present { role, expired_for }
            }
        })
    }

    /// AttemptError no role is listed. What cannot be read says no more than the listing did.
    async fn profile(&self, deadline: Deadline) -> RoleStatus {
        let info = self.get(INFO, deadline).await.ok().flatten();
        match info.and_then(|info| serde_json::from_slice::<Info>(&info).ok()) {
            Some(info) if info.code == PROFILE_GONE => RoleStatus::ProfileDeleted,
            // Without a message the profile has a role, whose credentials are on their way.
            Some(info) if info.code == "Success" && !info.message.is_empty() => {
                let message = info.message.chars().filter(|c| !c.is_control()).take(120).collect();
                RoleStatus::EmptyProfile { message }
            }
            _ => RoleStatus::Absent,
        }
    }

    /// The role and its credentials.
    pub(in crate::boundary) async fn role(&self, deadline: Deadline) -> Result<Role, ImdsError> {
        let listing = self.get(LISTING, deadline).await?.unwrap_or_default();
        let listing = String::from_utf8(listing).map_err(|_| garbled(LISTING, "bytes that are not text"))?;
        let Some(role) = listing.lines().map(str::trim).find(|line| !line.is_empty()) else {
            return Ok(Role::Absent);
        };
        if !is_role_name(role) {
            return Err(garbled(LISTING, "something that is not the name of a role"));
        }
        let path = format!("{LISTING}{role}");
        let Some(body) = self.get(&path, deadline).await? else {
            return Ok(Role::Absent);
        };
        // The parser's error is dropped: it may quote the document.
        let document: Document =
            serde_json::from_slice(&body).map_err(|_| garbled(&path, "something that is not JSON"))?;
        let role = role.to_owned();
        if document.code != "Success" {
            return Ok(Role::NotUsable { role, code: printable(&document.code) });
        }
        if document.access_key_id.is_empty() || document.secret_access_key.is_empty() {
            return Err(garbled(&path, "credentials that lack a key"));
        }
        Ok(Role::Usable { role, document })
    }
}

/// Whether bytes are the document of a role, and whether it says when its credentials end.
pub fn is_role_document(bytes: &[u8]) -> Option<bool> {
    serde_json::from_slice::<Document>(bytes).ok().map(|document| document.ends().is_some())
}

fn garbled(path: &str, what: &'static str) -> ImdsError {
    FailedAttempt { path: path.to_owned(), why: AttemptError::Garbled(what, None) }.into_error(1, Duration::ZERO)
}

/// The characters and the length that IAM allows ("IAM and AWS STS quotas", name requirements).
fn is_role_name(name: &str) -> bool {
    name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte))
}

fn printable(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::imds::Address;
    use crate::boundary::loopback::{Server, answer, run};

    fn status(listing: (u16, &'static str), document: (u16, &'static str)) -> Result<RoleStatus, ImdsError> {
        with_profile(listing, document, (404, ""))
    }

    fn with_profile(
        listing: (u16, &'static str),
        document: (u16, &'static str),
        info: (u16, &'static str),
    ) -> Result<RoleStatus, ImdsError> {
        let server = Server::start(move |asked| match asked.line.as_str() {
            "PUT /latest/api/token" => answer(200, "t"),
            "GET /latest/meta-data/iam/security-credentials/" => answer(listing.0, listing.1),
            "GET /latest/meta-data/iam/info" => answer(info.0, info.1),
            _ => answer(document.0, document.1),
        });
        let imds = Imds::new(Address::Fixed(server.url()));
        run(imds.role_credentials_status(Deadline::after(Duration::from_secs(5))))
    }

    #[test]
    fn tells_a_missing_role_from_one_that_cannot_be_used() {
        assert_eq!(status((404, ""), (404, "")).unwrap(), RoleStatus::Absent);
        assert_eq!(status((200, "\n"), (404, "")).unwrap(), RoleStatus::Absent);
        assert_eq!(
            status((200, "app"), (200, r#"{"Code":"AssumeRoleUnauthorizedAccess"}"#)).unwrap(),
            RoleStatus::NotUsable { role: "app".into(), code: "AssumeRoleUnauthorizedAccess".into() }
        );
        assert_eq!(
            status((200, "app"), (200, r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"S"}"#)).unwrap(),
            RoleStatus::Present { role: "app".into(), expired_for: None }
        );
    }

    #[test]
    fn tells_a_profile_without_a_role_from_one_that_is_gone() {
        let of = |info| with_profile((404, ""), (404, ""), (200, info)).unwrap();
        let message = "Instance Profile does not contain a role.";
        let empty = r#"{"Code":"Success","Message":"Instance Profile does not contain a role."}"#;
        assert_eq!(of(empty), RoleStatus::EmptyProfile { message: message.into() });
        assert_eq!(of(r#"{"Code":"InstanceProfileNotFound"}"#), RoleStatus::ProfileDeleted);
        for nothing in [r#"{"Code":"Success"}"#, "{}", "not json"] {
            assert_eq!(of(nothing), RoleStatus::Absent);
        }
        let gone = status((200, "app"), (200, r#"{"Code":"InstanceProfileNotFound"}"#)).unwrap();
        assert_eq!(gone, RoleStatus::ProfileDeleted);
    }

    #[test]
    fn knows_credentials_whose_time_is_over() {
        let at = |document| match status((200, "app"), (200, document)).unwrap() {
            RoleStatus::Present { expired_for, .. } => expired_for,
            other => panic!("{other:?}"),
        };
        let old = r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"S","Expiration":"2020-01-01T00:00:00Z"}"#;
        let good = r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"S","Expiration":"2099-01-01T00:00:00Z"}"#;
        assert!(at(old).unwrap() > Duration::from_secs(3600));
        assert_eq!(at(good), None);
    }

    #[test]
    fn never_repeats_the_document() {
        for body in [r#"{"Code":"Success","SecretAccessKey":"hunter2"}"#, r#"hunter2"#] {
            let error = status((200, "app"), (200, body)).unwrap_err();
            assert!(matches!(error, ImdsError::Garbled { .. }));
            assert!(!format!("{error:?} {error}").contains("hunter2"));
        }
    }

    #[test]
    fn refuses_a_listing_that_would_change_the_path() {
        assert!(matches!(status((200, "../../user-data"), (200, "")), Err(ImdsError::Garbled { .. })));
    }
}
