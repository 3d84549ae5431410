//! Simulates the instance metadata service, version 2 (EC2 User Guide, "Use the Instance Metadata Service").
//!
//! In: the instance's state and faults; a test may change both at any time. Out: the requests.

use super::http::{Answer, Reply, Request, Server, lock, percent_decode};
use super::port::Port;
use super::socket::Socket;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// The credentials of the instance's role. Tests check that no output has them.
pub const ACCESS_KEY_ID: &str = "ASIASIMULATEDKEY0001";
pub const SECRET_ACCESS_KEY: &str = "simulatedSecretAccessKeyNeverToBePrinted";
pub const SESSION_TOKEN: &str = "simulatedSessionTokenNeverToBePrinted";

/// The instance profile and role in the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// No instance profile: `iam/` is absent.
    Absent,
    Present(String),
    /// A profile without a role.
    EmptyProfile,
    /// A role that EC2 is not allowed to assume.
    NotAssumable(String),
    /// A role whose credentials document has this code.
    Unusable(String, &'static str),
    /// A role whose credentials expired this long ago.
    Expired(String, Duration),
    /// The profile was deleted.
    ProfileDeleted,
}

/// A fault of the whole service.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    None,
    /// `HttpEndpoint` is disabled: 403 to everything.
    Off,
    /// The token's PUT is accepted and never answered, as with a hop limit that is too small.
    TokenLost,
    /// Accepts connections and never answers.
    Silent,
    Garbage,
    Half,
    /// The next requests get this status; the later ones succeed.
    FailsNext(u32, u16),
    /// The next GET is answered with 401, and all tokens become invalid.
    RejectsTokenOnce,
    /// The next identity document is cut off in the middle, with a matching content length.
    CutsDocumentOnce,
}

/// The state from which the service answers.
#[derive(Clone, Debug)]
pub struct State {
    pub instance_id: String,
    pub account: String,
    pub region: String,
    pub availability_zone: String,
    pub instance_type: String,
    pub pending_time: SystemTime,
    pub role: Role,
    /// `None` if tags in metadata are not enabled.
    pub tags: Option<BTreeMap<String, String>>,
    pub user_data: Option<Vec<u8>>,
    pub life_cycle: String,
    pub target_lifecycle_state: Option<String>,
    pub public_ipv4: Option<String>,
    /// How many seconds the `Date` header of the service is ahead of the true time.
    pub date_ahead: i64,
    /// The answers have no `Date` header.
    pub sends_no_date: bool,
    /// `HttpTokens` is optional: a request without a token is answered.
    pub allows_v1: bool,
    /// The delay before each answer.
    pub delay: Duration,
    pub fault: Fault,
    /// Answers by path (`/latest/meta-data/...`) that replace all others.
    pub overrides: HashMap<String, Answer>,
    /// The longest lifetime of a token, even if a longer one is requested.
    pub longest_token: Duration,
    tokens: HashMap<String, Instant>,
    /// Counts the tokens, so that each is different.
    tokens_given: usize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            instance_id: "i-0123456789abcdef0".into(),
            account: "111122223333".into(),
            region: "eu-west-1".into(),
            availability_zone: "eu-west-1a".into(),
            instance_type: "m5.large".into(),
            pending_time: SystemTime::now() - Duration::from_secs(7200),
            role: Role::Present("ecsInstanceRole".into()),
            tags: Some(BTreeMap::new()),
            user_data: None,
            life_cycle: "on-demand".into(),
            target_lifecycle_state: None,
            public_ipv4: None,
            date_ahead: 0,
            sends_no_date: false,
            allows_v1: false,
            delay: Duration::ZERO,
            fault: Fault::None,
            overrides: HashMap::new(),
            longest_token: Duration::from_secs(21_600),
            tokens: HashMap::new(),
            tokens_given: 0,
        }
    }
}

/// The running service.
pub struct Imds {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl Imds {
    pub fn start() -> Self {
        Self::start_on(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Starts the service on `[::1]`.
    pub fn start_ipv6() -> Self {
        Self::start_on(IpAddr::V6(Ipv6Addr::LOCALHOST))
    }

    fn start_on(address: IpAddr) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let inner = Arc::clone(&state);
        let server = Server::on_port(Port::reserve(address), move |request| lock(&inner).answer(request));
        Self { server, state }
    }

    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Serves a connection that the caller has accepted on another address.
    pub fn adopt(&self, socket: Socket) {
        self.server.adopt(socket);
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
    }

    /// The state, for other simulators.
    pub fn state(&self) -> Arc<Mutex<State>> {
        Arc::clone(&self.state)
    }

    pub fn refuse_for(&self, duration: Duration) {
        self.server.refuse_for(duration);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    pub fn forget_requests(&self) {
        self.server.forget_requests();
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        let answer = self.faulty(request).unwrap_or_else(|| self.healthy(request).into());
        let answer = if self.sends_no_date { answer.undated() } else { answer.dated(self.date_ahead) };
        if self.delay.is_zero() { answer } else { Answer::After(self.delay, Box::new(answer)) }
    }

    fn faulty(&mut self, request: &Request) -> Option<Answer> {
        if let Some(answer) = self.overrides.get(request.path.trim_end_matches('/')) {
            return Some(answer.clone());
        }
        let put = request.method == "PUT";
        match self.fault.clone() {
            Fault::None => None,
            Fault::Off => Some(page(403, "Forbidden").into()),
            Fault::TokenLost => put.then_some(Answer::Silent),
            Fault::Silent => Some(Answer::Silent),
            Fault::Garbage => Some(Answer::Raw(b"\x00\xff\x17 this is not HTTP \x80\r\n\r\n".to_vec())),
            Fault::Half => Some(Answer::Half(self.healthy(request))),
            Fault::FailsNext(0, _) => None,
            Fault::FailsNext(left, status) => {
                self.fault = Fault::FailsNext(left - 1, status);
                Some(page(status, "Simulated").into())
            }
            Fault::CutsDocumentOnce if !request.path.ends_with("/instance-identity/document") => None,
            Fault::CutsDocumentOnce => {
                self.fault = Fault::None;
                Some(Reply::new(200, "text/plain", "{\"instanceId\": \"i-0\", \"regi").into())
            }
            Fault::RejectsTokenOnce if put => None,
            Fault::RejectsTokenOnce => {
                self.fault = Fault::None;
                self.tokens.clear();
                Some(page(401, "Unauthorized").into())
            }
        }
    }

    fn healthy(&mut self, request: &Request) -> Reply {
        let path = percent_decode(&request.path, false);
        if path == "/latest/api/token" {
            return self.token(request);
        }
        let known = request.header("x-aws-ec2-metadata-token").and_then(|token| self.tokens.get(token));
        let is_v1 = self.allows_v1 && request.header("x-aws-ec2-metadata-token").is_none();
        if !is_v1 && known.is_none_or(|ends| *ends < Instant::now()) {
            return page(401, "Unauthorized");
        }
        if request.method != "GET" {
            return page(405, "Not Allowed");
        }
        let Some(wanted) = path.strip_prefix("/latest/") else { return page(404, "Not Found") };
        let (wanted, leaves) = (wanted.trim_end_matches('/'), self.leaves());
        if let Some(value) = leaves.get(wanted) {
            return Reply::new(200, "text/plain", value.clone());
        }
        let below = format!("{wanted}/");
        let names: BTreeSet<String> = leaves
            .keys()
            .filter_map(|leaf| leaf.strip_prefix(&below))
            .map(|rest| rest.split_once('/').map_or(rest.to_owned(), |(folder, _)| format!("{folder}/")))
            .collect();
        if names.is_empty() {
            return page(404, "Not Found");
        }
        Reply::new(200, "text/plain", names.into_iter().collect::<Vec<_>>().join("\n"))
    }

    fn token(&mut self, request: &Request) -> Reply {
        let asked = request.header("x-aws-ec2-metadata-token-ttl-seconds").and_then(|ttl| ttl.parse::<u64>().ok());
        match asked {
            _ if request.method != "PUT" => page(405, "Not Allowed"),
            _ if request.header("x-forwarded-for").is_some() => page(403, "Forbidden"),
            Some(seconds @ 1..=21_600) => {
                self.tokens_given += 1;
                let token = format!("SimulatedImdsToken{:04}==", self.tokens_given);
                let lasts = Duration::from_secs(seconds).min(self.longest_token);
                self.tokens.insert(token.clone(), Instant::now() + lasts);
                Reply::new(200, "text/plain", token)
                    .with("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", lasts.as_secs().to_string())
            }
            _ => page(400, "Bad Request"),
        }
    }

    fn leaves(&self) -> BTreeMap<String, Vec<u8>> {
        let mut leaves = BTreeMap::new();
        let mut put = |path: &str, value: &str| drop(leaves.insert(path.to_owned(), value.as_bytes().to_vec()));
        put("meta-data/instance-id", &self.instance_id);
        put("meta-data/instance-type", &self.instance_type);
        put("meta-data/instance-life-cycle", &self.life_cycle);
        put("meta-data/ami-id", "ami-0abcdef1234567890");
        put("meta-data/local-ipv4", "10.0.0.10");
        put("meta-data/mac", "02:00:00:00:00:01");
        put("meta-data/services/domain", "amazonaws.com");
        put("meta-data/services/partition", "aws");
        put("meta-data/placement/region", &self.region);
        put("meta-data/placement/availability-zone", &self.availability_zone);
        put("dynamic/instance-identity/document", &self.identity_document());
        if let Some(address) = &self.public_ipv4 {
            put("meta-data/public-ipv4", address);
        }
        if let Some(target) = &self.target_lifecycle_state {
            put("meta-data/autoscaling/target-lifecycle-state", target);
        }
        for (key, value) in self.tags.iter().flatten() {
            put(&format!("meta-data/tags/instance/{key}"), value);
        }
        self.put_role(&mut put);
        if let Some(bytes) = &self.user_data {
            leaves.insert("user-data".into(), bytes.clone());
        }
        leaves
    }

    /// The paths below `iam/`.
    fn put_role(&self, put: &mut impl FnMut(&str, &str)) {
        let profile = format!("arn:aws:iam::{}:instance-profile/ecsInstanceProfile", self.account);
        let info = |message: &str| {
            serde_json::json!({"Code": "Success", "LastUpdated": now(), "Message": message,
                "InstanceProfileArn": profile, "InstanceProfileId": "AIPASIMULATED0000001"})
            .to_string()
        };
        match &self.role {
            Role::Absent => {}
            Role::EmptyProfile => put("meta-data/iam/info", &info("Instance Profile does not contain a role.")),
            Role::Present(name) => {
                put("meta-data/iam/info", &info(""));
                let ends = SystemTime::now() + Duration::from_secs(6 * 3600);
                put(&format!("meta-data/iam/security-credentials/{name}"), &credentials(ends));
            }
            Role::Expired(name, ago) => {
                put("meta-data/iam/info", &info(""));
                let ended = SystemTime::now() - *ago;
                put(&format!("meta-data/iam/security-credentials/{name}"), &credentials(ended));
            }
            Role::ProfileDeleted => {
                let gone = serde_json::json!({"Code": "InstanceProfileNotFound", "LastUpdated": now(),
                    "Message": "Instance Profile cannot be found."});
                put("meta-data/iam/info", &gone.to_string());
            }
            Role::NotAssumable(name) => {
                put("meta-data/iam/info", &info(""));
                put(&format!("meta-data/iam/security-credentials/{name}"), &refused("AssumeRoleUnauthorizedAccess"));
            }
            Role::Unusable(name, code) => {
                put("meta-data/iam/info", &info(""));
                put(&format!("meta-data/iam/security-credentials/{name}"), &refused(code));
            }
        }
    }

    fn identity_document(&self) -> String {
        let document = serde_json::json!({
            "accountId": self.account, "architecture": "x86_64", "availabilityZone": self.availability_zone,
            "billingProducts": null, "devpayProductCodes": null, "marketplaceProductCodes": null,
            "imageId": "ami-0abcdef1234567890", "instanceId": self.instance_id, "instanceType": self.instance_type,
            "kernelId": null, "pendingTime": humantime::format_rfc3339_seconds(self.pending_time).to_string(),
            "privateIp": "10.0.0.10", "ramdiskId": null, "region": self.region, "version": "2017-09-30"});
        serde_json::to_string_pretty(&document).expect("a JSON document")
    }
}

fn refused(code: &str) -> String {
    serde_json::json!({"Code": code, "LastUpdated": now(),
        "Message": "EC2 cannot assume the role. Please see documentation."})
    .to_string()
}

fn credentials(ends: SystemTime) -> String {
    let document = serde_json::json!({"Code": "Success", "LastUpdated": now(), "Type": "AWS-HMAC",
        "AccessKeyId": ACCESS_KEY_ID, "SecretAccessKey": SECRET_ACCESS_KEY, "Token": SESSION_TOKEN,
        "Expiration": humantime::format_rfc3339_seconds(ends).to_string()});
    serde_json::to_string_pretty(&document).expect("a JSON document")
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

fn page(status: u16, title: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<html><head><title>{status} - \
         {title}</title></head><body><h1>{status} - {title}</h1></body></html>\n"
    );
    Reply::new(status, "text/html", body)
}
