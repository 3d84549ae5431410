//! Reads the credentials of the instance role from instance metadata.
//!
//! In: a deadline. Out: whether there is a role with usable credentials and, for the AWS SDK only, the credentials. The
//! credentials document and its keys never appear in an error, a log or `Debug` output.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Deserialize;

use super::error::{AttemptError, FailedAttempt};
use super::{Imds, ImdsError};
use crate::retry::{Deadline, within};

const LISTING: &str = "meta-data/iam/security-credentials/";
const INFO: &str = "meta-data/iam/info";

/// Whether the instance has a role whose credentials can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleStatus {
    /// The instance has no instance profile, or IMDS does not know it yet.
    Absent,
    /// The instance profile has no role (IAM User Guide, "Troubleshoot IAM and Amazon EC2").
    EmptyProfile {
        /// The `Message` of `iam/info`.
        message: String,
    },
    /// The instance profile was deleted.
    ProfileDeleted,
    /// There are credentials.
    Present {
        /// The name of the role.
        role: String,
        /// How long ago they expired by this host's clock; `None` if they have not expired.
        expired_for: Option<Duration>,
    },
    /// There is a role, but its credentials are missing (EC2 User Guide, "Retrieve security credentials").
    NotUsable {
        /// The name of the role.
        role: String,
        /// The `Code` of the credentials document, for example `AssumeRoleUnauthorizedAccess`.
        code: String,
    },
}

/// The credentials document. Without `Debug`, because it contains secrets.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::boundary) struct CredentialsDocument {
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

/// The document `iam/info`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The code if the profile was deleted, also if a new profile has the same name.
const PROFILE_DELETED: &str = "InstanceProfileNotFound";

impl CredentialsDocument {
    /// When the credentials expire; `None` if the document has no valid time.
    pub(in crate::boundary) fn expiry(&self) -> Option<SystemTime> {
        let expiry = DateTime::from_str(&self.expiration, Format::DateTime).ok()?;
        SystemTime::try_from(expiry).ok()
    }
}

/// The role and its credentials document.
pub(in crate::boundary) enum Role {
    Absent,
    NotUsable { role: String, code: String },
    Usable { role: String, document: CredentialsDocument },
}

impl Imds {
    /// Whether there is a role with usable credentials.
    pub async fn role_credentials_status(&self, deadline: Deadline) -> Result<RoleStatus, ImdsError> {
        Ok(match self.role(deadline).await? {
            Role::Absent => self.profile(deadline).await,
            Role::NotUsable { code, .. } if code == PROFILE_DELETED => RoleStatus::ProfileDeleted,
            Role::NotUsable { role, code } => RoleStatus::NotUsable { role, code },
            Role::Usable { role, document } => {
                let expired_for = document.expiry().and_then(|expiry| SystemTime::now().duration_since(expiry).ok());
                RoleStatus::Present { role, expired_for }
            }
        })
    }

    /// Why no role is listed. Without an answer the status is [`RoleStatus::Absent`], as the listing says.
    async fn profile(&self, deadline: Deadline) -> RoleStatus {
        let info = self.get(INFO, deadline).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "instance profile not read");
            None
        });
        match info.and_then(|info| serde_json::from_slice::<Info>(&info).ok()) {
            Some(info) if info.code == PROFILE_DELETED => RoleStatus::ProfileDeleted,
            // Without a message the profile has a role, whose credentials have not arrived yet.
            Some(info) if info.code == "Success" && !info.message.is_empty() => {
                let message = info.message.chars().filter(|c| !c.is_control()).take(120).collect();
                RoleStatus::EmptyProfile { message }
            }
            _ => RoleStatus::Absent,
        }
    }

    /// Starts to read the name of the role, which the credentials need. Does not wait for it. Without an answer,
    /// the caller that needs the credentials asks again.
    pub(crate) fn prepare_role(&self, deadline: Deadline) {
        const LONGEST: Duration = Duration::from_secs(2);
        let (imds, deadline) = (self.clone(), Deadline::after(LONGEST).earliest(deadline));
        tokio::spawn(async move {
            let mut prepared = imds.shared.prepared_role.lock().await;
            *prepared = imds.role_name(deadline).await.ok().flatten();
        });
    }

    /// The name of the role, if there is one.
    async fn role_name(&self, deadline: Deadline) -> Result<Option<String>, ImdsError> {
        let listing = self.get(LISTING, deadline).await?.unwrap_or_default();
        let listing = String::from_utf8(listing).map_err(|_| garbled(LISTING, "bytes that are not UTF-8"))?;
        let role = listing.lines().map(str::trim).find(|line| !line.is_empty());
        if role.is_some_and(|role| !is_role_name(role)) {
            return Err(garbled(LISTING, "something that is not a role name"));
        }
        Ok(role.map(str::to_owned))
    }

    /// The role and its credentials.
    pub(in crate::boundary) async fn role(&self, deadline: Deadline) -> Result<Role, ImdsError> {
        let prepared = within(deadline, self.shared.prepared_role.lock()).await.ok().and_then(|mut name| name.take());
        let role = match prepared {
            Some(role) => role,
            None => match self.role_name(deadline).await? {
                Some(role) => role,
                None => return Ok(Role::Absent),
            },
        };
        let path = format!("{LISTING}{role}");
        let Some(body) = self.get(&path, deadline).await? else {
            return Ok(Role::Absent);
        };
        // The parser's error is not kept, because it may quote the document.
        let document: CredentialsDocument =
            serde_json::from_slice(&body).map_err(|_| garbled(&path, "something that is not JSON"))?;
        if document.code != "Success" {
            return Ok(Role::NotUsable { role, code: printable(&document.code) });
        }
        if document.access_key_id.is_empty() || document.secret_access_key.is_empty() {
            return Err(garbled(&path, "credentials without a key"));
        }
        Ok(Role::Usable { role, document })
    }
}

/// Whether a credentials document has a valid expiry; `None` if the bytes are not a credentials document.
pub fn is_role_document(bytes: &[u8]) -> Option<bool> {
    serde_json::from_slice::<CredentialsDocument>(bytes).ok().map(|document| document.expiry().is_some())
}

fn garbled(path: &str, what: &'static str) -> ImdsError {
    FailedAttempt { path: path.to_owned(), error: AttemptError::Garbled(what, None) }.into_error(1, Duration::ZERO)
}

/// Whether IAM allows the characters and the length of the name ("IAM and AWS STS quotas", name requirements).
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
    use crate::boundary::test_server::{Server, answer, run};

    fn status(listing: (u16, &'static str), document: (u16, &'static str)) -> Result<RoleStatus, ImdsError> {
        with_profile(listing, document, (404, ""))
    }

    fn with_profile(
        listing: (u16, &'static str),
        document: (u16, &'static str),
        info: (u16, &'static str),
    ) -> Result<RoleStatus, ImdsError> {
        let server = Server::start(move |request| match request.line.as_str() {
            "PUT /latest/api/token" => answer(200, "t"),
            "GET /latest/meta-data/iam/security-credentials/" => answer(listing.0, listing.1),
            "GET /latest/meta-data/iam/info" => answer(info.0, info.1),
            _ => answer(document.0, document.1),
        });
        let imds = Imds::new(Address::Fixed(server.url()));
        run(imds.role_credentials_status(Deadline::after(Duration::from_secs(5))))
    }

    #[test]
    fn distinguishes_a_missing_role_from_one_without_credentials() {
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
    fn the_prepared_name_of_the_role_is_used_once() {
        let server = Server::start(|request| match request.line.as_str() {
            "PUT /latest/api/token" => answer(200, "t"),
            "GET /latest/meta-data/iam/security-credentials/" => answer(200, "app"),
            _ => answer(200, r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"S"}"#),
        });
        let imds = Imds::new(Address::Fixed(server.url()));
        let deadline = Deadline::after(Duration::from_secs(5));
        let lists = || server.requests().iter().filter(|request| request.line.ends_with("credentials/")).count();
        run(async {
            imds.prepare_role(deadline);
            for _ in 0..400 {
                if lists() == 1 {
                    break;
                }
                crate::retry::pause_for(Duration::from_millis(10)).await;
            }
            assert_eq!(lists(), 1, "the name was not prepared");
            for listed in [1, 2] {
                assert!(matches!(imds.role(deadline).await, Ok(Role::Usable { role, .. }) if role == "app"));
                assert_eq!(lists(), listed);
            }
        });
    }

    #[test]
    fn distinguishes_a_profile_without_a_role_from_a_deleted_profile() {
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
    fn reports_how_long_ago_credentials_expired() {
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
    fn errors_do_not_contain_the_document() {
        for body in [r#"{"Code":"Success","SecretAccessKey":"hunter2"}"#, r#"hunter2"#] {
            let error = status((200, "app"), (200, body)).unwrap_err();
            assert!(matches!(error, ImdsError::InvalidResponse { .. }));
            assert!(!format!("{error:?} {error}").contains("hunter2"));
        }
    }

    #[test]
    fn refuses_a_listing_that_would_change_the_path() {
        assert!(matches!(status((200, "../../user-data"), (200, "")), Err(ImdsError::InvalidResponse { .. })));
    }
}
