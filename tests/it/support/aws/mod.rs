//! Simulates the operations of EC2 and ECS that an instance and its agent call (Amazon ECS and EC2 API References).
//!
//! In: clusters, tags, container instances and faults; a test may change them at any time. Out: answers to signed
//! requests, and the number of calls of each operation.

mod tags;
pub mod tasks;
mod values;
pub mod waiting;

use super::http::{Answer, Reply, Request, Server, lock, percent_decode};
use super::socket::Socket;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Tags = BTreeMap<String, String>;
/// Status, code and message of an API error.
pub type ApiError = (u16, String, String);

#[derive(Clone, Debug)]
pub struct Cluster {
    /// `ACTIVE`, `INACTIVE`, `PROVISIONING`, ...
    pub status: String,
    pub tags: Tags,
}

#[derive(Clone, Debug)]
pub struct ContainerInstance {
    pub arn: String,
    pub cluster: String,
    pub instance_id: String,
    pub status: String,
    pub agent_connected: bool,
    pub attributes: Tags,
    pub gpus: usize,
}

/// A fault of an operation.
#[derive(Clone, Debug)]
pub enum Fault {
    Error {
        status: u16,
        code: String,
        message: String,
    },
    Slow(Duration),
    Silent,
    Garbage,
    Half,
    /// Another server answers instead of the service.
    Answers(Reply),
    /// Another server answers, and repeats the body without end.
    Endless(Reply),
}

impl Fault {
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::Error { status, code: code.into(), message: message.into() }
    }

    /// IAM's denial of an action for the instance's role.
    pub fn denied(action: &str) -> Self {
        let who = "arn:aws:sts::111122223333:assumed-role/ecsInstanceRole/i-0123456789abcdef0";
        let text = format!(
            "User: {who} is not authorized to perform: {action} because no identity-based policy allows the {action} \
             action"
        );
        let code = if action.starts_with("ec2:") { "UnauthorizedOperation" } else { "AccessDeniedException" };
        Self::error(if code == "UnauthorizedOperation" { 403 } else { 400 }, code, &text)
    }

    /// IAM's denial of a registration for `principal`, with this end of the message.
    pub fn registration_denied(principal: &str, tail: &str) -> Self {
        let cluster = cluster_arn("prod");
        let text = format!(
            "User: {principal} is not authorized to perform: ecs:RegisterContainerInstance on resource: {cluster} \
             {tail}"
        );
        Self::error(400, "AccessDeniedException", &text)
    }
}

/// The state from which the APIs answer.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub clusters: BTreeMap<String, Cluster>,
    /// Tags by instance id.
    pub instance_tags: BTreeMap<String, Tags>,
    /// DescribeTags returns no tags in the first calls, of this number.
    pub tags_after_calls: usize,
    /// DescribeTags returns no tags before this time.
    pub tags_after: Option<Instant>,
    pub container_instances: Vec<ContainerInstance>,
    /// By operation: the fault, and for how many more calls (`None`: for all).
    pub faults: BTreeMap<String, (Fault, Option<usize>)>,
    /// The answer of DiscoverPollEndpoint: ACS and TCS. By default, the port of this simulator.
    pub poll_endpoints: [String; 2],
    /// How many seconds the `Date` header of the service is ahead of the true time.
    pub date_ahead: i64,
    /// The answers have no `Date` header.
    pub sends_no_date: bool,
    /// Delays every answer.
    pub delay: Duration,
    pub services: Vec<tasks::Service>,
    /// The tasks that the scheduler has placed.
    pub tasks: Vec<tasks::PlacedTask>,
    /// Name and value of each attribute that was set.
    pub put_attributes: Vec<(String, String)>,
    /// The account setting `awsvpcTrunking`, and whether ECS then attaches a trunk interface to a new instance.
    pub is_trunking_on: bool,
    pub attaches_trunk: bool,
    /// The GPUs that the agent registers.
    pub gpus: usize,
    /// The ends of keys that the policy does not allow in CreateTags.
    pub refused_tags: Vec<&'static str>,
    /// Secrets, parameters and objects by name, ARN or `s3://BUCKET/KEY`.
    pub values: BTreeMap<String, String>,
    /// How long the tasks of services need to end after the status DRAINING.
    pub tasks_end_after: Duration,
    /// Why ECS places no task of StartTask.
    pub start_failure: Option<&'static str>,
    /// The resources that wait for an instance.
    pub waiting: waiting::Waiting,
    counts: BTreeMap<String, usize>,
}

impl State {
    pub fn add_cluster(&mut self, name: &str, tags: &[(&str, &str)]) {
        let tags = tags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        self.clusters.insert(name.into(), Cluster { status: "ACTIVE".into(), tags });
    }

    /// RegisterContainerInstance without HTTP, for the agent's simulator. Returns the ARN.
    pub fn register(&mut self, cluster: &str, instance_id: &str, attributes: Tags) -> Result<String, ApiError> {
        *self.counts.entry("RegisterContainerInstance".into()).or_default() += 1;
        if let Some(Fault::Error { status, code, message }) = self.next_fault("RegisterContainerInstance") {
            return Err((status, code, message));
        }
        let name = short(cluster);
        if self.clusters.get(name).is_none_or(|found| found.status != "ACTIVE") {
            return Err((400, "ClientException".into(), "Cluster not found.".into()));
        }
        let mine = |one: &&mut ContainerInstance| one.instance_id == instance_id && one.cluster == name;
        if let Some(old) = self.container_instances.iter_mut().find(mine) {
            return Ok(old.arn.clone());
        }
        let id = format!("{:032x}", 0x0123_abcd_u64 + self.container_instances.len() as u64);
        let trunk = self.is_trunking_on && self.attaches_trunk;
        let trunk = trunk.then(|| ("ecs.awsvpc-trunk-id".to_owned(), "0f0f-0f0f".to_owned()));
        let arn = format!("arn:aws:ecs:eu-west-1:111122223333:container-instance/{name}/{id}");
        self.container_instances.push(ContainerInstance {
            arn: arn.clone(),
            cluster: name.into(),
            instance_id: instance_id.into(),
            status: "ACTIVE".into(),
            agent_connected: false,
            attributes: attributes.into_iter().chain(trunk).collect(),
            gpus: self.gpus,
        });
        Ok(arn)
    }

    fn next_fault(&mut self, operation: &str) -> Option<Fault> {
        let (fault, left) = self.faults.get_mut(operation)?;
        match left {
            None => Some(fault.clone()),
            Some(0) => None,
            Some(count) => {
                *count -= 1;
                Some(fault.clone())
            }
        }
    }
}

/// The running APIs.
pub struct Aws {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl Aws {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let inner = Arc::clone(&state);
        let server = Server::tcp(move |request| {
            let mut state = lock(&inner);
            state.schedule();
            let answer = state.answer(request);
            let answer = if state.sends_no_date { answer.undated() } else { answer.dated(state.date_ahead) };
            if state.delay.is_zero() { answer } else { Answer::After(state.delay, Box::new(answer)) }
        });
        lock(&state).poll_endpoints = [server.endpoint(), server.endpoint()];
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

    pub fn state(&self) -> Arc<Mutex<State>> {
        Arc::clone(&self.state)
    }

    pub fn fail(&self, operation: &str, fault: Fault) {
        self.change(|state| drop(state.faults.insert(operation.into(), (fault, None))));
    }

    pub fn fail_first(&self, operation: &str, calls: usize, fault: Fault) {
        self.change(|state| drop(state.faults.insert(operation.into(), (fault, Some(calls)))));
    }

    /// The number of calls of this operation, including those of the agent.
    pub fn count(&self, operation: &str) -> usize {
        lock(&self.state).counts.get(operation).copied().unwrap_or_default()
    }

    /// The HTTP requests. They are from the product only, since the simulated agent uses no HTTP.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    pub fn forget_requests(&self) {
        self.server.forget_requests();
    }

    pub fn refuse_for(&self, duration: Duration) {
        self.server.refuse_for(duration);
    }
}

/// How the tokens of registries begin. The service and the region follow.
pub const REGISTRY_PASSWORD: &str = "secret-of-the-registry";

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        let target = request.header("x-amz-target").unwrap_or_default();
        let form: BTreeMap<String, String> = String::from_utf8_lossy(&request.body)
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (percent_decode(key, true), percent_decode(value, true)))
            .collect();
        let (service, operation) = match target.split_once('.') {
            Some(("AmazonEC2ContainerServiceV20141113", operation)) => ("ecs", operation.to_owned()),
            Some(("secretsmanager", operation)) => ("secretsmanager", operation.to_owned()),
            Some(("AmazonSSM", operation)) => ("ssm", operation.to_owned()),
            // One operation of both, so that a test can break only one of them.
            Some(("AmazonEC2ContainerRegistry_V20150921", operation)) => ("ecr", operation.to_owned()),
            Some(("SpencerFrontendService", operation)) => ("ecr-public", format!("Public{operation}")),
            _ if request.method == "GET" => ("s3", "GetObject".to_owned()),
            _ if request.method == "PUT" => ("s3", "PutWaitCondition".to_owned()),
            _ => (query_service(&form), form.get("Action").cloned().unwrap_or_default()),
        };
        *self.counts.entry(operation.clone()).or_default() += 1;
        let fault = self.next_fault(&operation);
        if let Some(Fault::Error { status, code, message }) = &fault {
            return refusal(service, (*status, code.clone(), message.clone())).into();
        }
        // A presigned URL is its own signature.
        let signed = if operation == "PutWaitCondition" { Ok(()) } else { signed(request, service) };
        let result = signed.and_then(|()| match service {
            "s3" if operation == "GetObject" => Ok(self.object(request)),
            "s3" => {
                let body = String::from_utf8_lossy(&request.body).into_owned();
                self.waiting.conditions.push((body, request.header("content-type").map(str::to_owned)));
                Ok(Reply::new(200, "", ""))
            }
            "cloudformation" | "autoscaling" | "monitoring" => {
                let answer = self.waiting.answer(&operation, &form);
                answer.map(|xml| Reply::new(200, "text/xml;charset=UTF-8", xml))
            }
            "ecs" => {
                let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
                self.ecs(&operation, &body).map(|answer| json_reply(200, &answer))
            }
            "secretsmanager" | "ssm" => {
                let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
                self.value_of(&operation, &body).map(|answer| json_reply(200, &answer))
            }
            "ecr" | "ecr-public" => Ok(json_reply(200, &registry_token(request, service))),
            _ => self.ec2(&operation, &form).map(|xml| Reply::new(200, "text/xml;charset=UTF-8", xml)),
        });
        let reply = result.unwrap_or_else(|error| refusal(service, error));
        match fault {
            Some(Fault::Slow(delay)) => Answer::After(delay, Box::new(reply.into())),
            Some(Fault::Silent) => Answer::Silent,
            Some(Fault::Garbage) => Reply::new(200, "application/x-amz-json-1.1", "<<<{{{\u{fffd}").into(),
            Some(Fault::Half) => Answer::Half(reply),
            Some(Fault::Answers(other)) => other.into(),
            Some(Fault::Endless(other)) => Answer::Endless(other),
            _ => reply.into(),
        }
    }

    fn ecs(&mut self, operation: &str, body: &Value) -> Result<Value, ApiError> {
        match operation {
            "ListClusters" => {
                Ok(page_of(self.clusters.keys().map(|name| cluster_arn(name)).collect(), body, "clusterArns"))
            }
            "DescribeClusters" => self.describe_clusters(body),
            "ListContainerInstances" => {
                let cluster = self.existing(body)?;
                let filter = body["filter"].as_str();
                let found = self.container_instances.iter().filter(|one| one.cluster == cluster);
                let found = found.filter(|one| filter.is_none_or(|text| tasks::matches(one, text)));
                Ok(page_of(found.map(|one| one.arn.clone()).collect(), body, "containerInstanceArns"))
            }
            "DescribeContainerInstances" => {
                let cluster = self.existing(body)?;
                let (mut found, mut failures) = (Vec::new(), Vec::new());
                for wanted in texts(&body["containerInstances"]) {
                    let same = |one: &&ContainerInstance| one.cluster == cluster && short(&one.arn) == short(&wanted);
                    match self.container_instances.iter().find(same) {
                        Some(one) => found.push(self.described(one)),
                        None => failures.push(json!({"arn": wanted, "reason": "MISSING"})),
                    }
                }
                Ok(json!({"containerInstances": found, "failures": failures}))
            }
            "RegisterContainerInstance" => {
                let cluster = body["cluster"].as_str().unwrap_or("default").to_owned();
                // `answer` has counted the call and applied the fault; `register` counts it again.
                let attributes = texts_by_name(&body["attributes"]);
                let document = body["instanceIdentityDocument"].as_str().unwrap_or_default();
                let identity: Value = serde_json::from_str(document).unwrap_or(Value::Null);
                *self.counts.entry(operation.into()).or_default() -= 1;
                let arn = self.register(&cluster, identity["instanceId"].as_str().unwrap_or_default(), attributes)?;
                let one = self.container_instances.iter().find(|one| one.arn == arn);
                Ok(json!({"containerInstance": one.map(|one| self.described(one))}))
            }
            "CreateCluster" => {
                let name = body["clusterName"].as_str().unwrap_or("default").to_owned();
                self.add_cluster(&name, &[]);
                Ok(json!({"cluster": {"clusterName": name, "clusterArn": cluster_arn(&name), "status": "ACTIVE"}}))
            }
            "DiscoverPollEndpoint" => {
                let [agent, telemetry] = &self.poll_endpoints;
                Ok(json!({"endpoint": agent, "telemetryEndpoint": telemetry}))
            }
            "UpdateContainerInstancesState" | "DeregisterContainerInstance" => self.change_instance(operation, body),
            _ => self.of_tasks(operation, body),
        }
    }

    fn describe_clusters(&self, body: &Value) -> Result<Value, ApiError> {
        let mut wanted = texts(&body["clusters"]);
        if wanted.len() > 100 {
            return Err((400, "InvalidParameterException".into(), "clusters can have at most 100 items.".into()));
        }
        if wanted.is_empty() {
            wanted.push("default".into());
        }
        let with_tags = texts(&body["include"]).iter().any(|what| what == "TAGS");
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for asked in wanted {
            let name = short(&asked);
            let Some(cluster) = self.clusters.get(name) else {
                failures.push(json!({"arn": cluster_arn(name), "reason": "MISSING"}));
                continue;
            };
            let tags: Vec<_> = cluster.tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
            found.push(json!({"clusterArn": cluster_arn(name), "clusterName": name, "status": cluster.status,
                "registeredContainerInstancesCount": 0, "tags": if with_tags { tags } else { Vec::new() }}));
        }
        Ok(json!({"clusters": found, "failures": failures}))
    }

    fn existing(&self, body: &Value) -> Result<String, ApiError> {
        let name = short(body["cluster"].as_str().unwrap_or("default"));
        if self.clusters.contains_key(name) {
            return Ok(name.into());
        }
        Err((400, "ClusterNotFoundException".into(), "Cluster not found.".into()))
    }
}

impl State {
    fn described(&self, one: &ContainerInstance) -> Value {
        let count = |status: &str| {
            let own = self.tasks.iter().filter(|task| task.instance == one.arn);
            own.filter(|task| task.status() == status).count()
        };
        let mut described = one.described();
        described["runningTasksCount"] = json!(count("RUNNING"));
        described["pendingTasksCount"] = json!(count("PENDING"));
        described
    }

    /// UpdateContainerInstancesState and DeregisterContainerInstance.
    fn change_instance(&mut self, operation: &str, body: &Value) -> Result<Value, ApiError> {
        let cluster = self.existing(body)?;
        let arns = texts(&body["containerInstances"]);
        let single = body["containerInstance"].as_str().map(str::to_owned);
        let wanted = arns.into_iter().chain(single).next().unwrap_or_default();
        let same =
            |one: &&mut ContainerInstance| one.cluster == cluster && one.arn == wanted && one.status != "INACTIVE";
        let Some(one) = self.container_instances.iter_mut().find(same) else {
            let failure = json!({"arn": wanted, "reason": "MISSING"});
            return match operation {
                "UpdateContainerInstancesState" => Ok(json!({"containerInstances": [], "failures": [failure]})),
                _ => Err((400, "InvalidParameterException".into(), "Referenced container instance not found.".into())),
            };
        };
        if operation == "DeregisterContainerInstance" {
            one.status = "INACTIVE".into();
            return Ok(json!({"containerInstance": one.described()}));
        }
        one.status = body["status"].as_str().unwrap_or_default().to_owned();
        let described = one.described();
        let end = Instant::now().checked_add(self.tasks_end_after);
        self.tasks
            .iter_mut()
            .filter(|task| task.instance == wanted)
            .for_each(|task| task.stopped = task.stopped.or(end));
        Ok(json!({"containerInstances": [described], "failures": []}))
    }
}

impl ContainerInstance {
    fn described(&self) -> Value {
        let attributes: Vec<_> =
            self.attributes.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let reason = match self.status.as_str() {
            "REGISTRATION_FAILED" => {
                "The trunk network interface was not attached, since the subnet has no free address"
            }
            _ => "",
        };
        let gpus: Vec<String> = (0..self.gpus).map(|number| format!("GPU-{number}")).collect();
        let gpus = (!gpus.is_empty()).then(|| json!({"name": "GPU", "type": "STRINGSET", "stringSetValue": gpus}));
        let cpu = json!({"name": "CPU", "type": "INTEGER", "integerValue": 2048});
        let resources: Vec<Value> = [cpu].into_iter().chain(gpus).collect();
        json!({"containerInstanceArn": self.arn, "registeredResources": resources, "ec2InstanceId": self.instance_id, "status": self.status,
            "statusReason": reason,
            "agentConnected": self.agent_connected, "attributes": attributes, "version": 1,
            "versionInfo": {"agentVersion": "1.106.1", "dockerVersion": "DockerVersion: 25.0.16"}})
    }
}

/// The service of a query, by the version of its API.
fn query_service(form: &BTreeMap<String, String>) -> &'static str {
    match form.get("Version").map(String::as_str) {
        Some("2010-05-15") => "cloudformation",
        Some("2011-01-01") => "autoscaling",
        Some("2010-08-01") => "monitoring",
        _ => "ec2",
    }
}

/// Checks the credential scope of the signature, and returns AWS's error for a request that is not signed, or signed
/// for another service.
fn signed(request: &Request, service: &str) -> Result<(), ApiError> {
    let error =
        |code: &str, message: &str| Err((if service == "ec2" { 401 } else { 400 }, code.into(), message.into()));
    let Some(authorization) = request.header("authorization") else {
        return error("MissingAuthenticationTokenException", "Missing Authentication Token");
    };
    let credential = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=").unwrap_or_default();
    let scope: Vec<&str> = credential.split(',').next().unwrap_or_default().split('/').collect();
    match scope[..] {
        [key, ..] if !key.starts_with("ASIA") && !key.starts_with("AKIA") => {
            error("UnrecognizedClientException", "The security token included in the request is invalid.")
        }
        [_, _, _, signed_for, "aws4_request"] if signed_for == service => Ok(()),
        _ => {
            error("InvalidSignatureException", &format!("Credential should be scoped to correct service: '{service}'."))
        }
    }
}

/// The answer of GetAuthorizationToken. The password is that of [`registry_password`].
fn registry_token(request: &Request, service: &str) -> Value {
    let authorization = request.header("authorization").unwrap_or_default();
    let region = authorization.split('/').nth(2).unwrap_or_default();
    let token = STANDARD.encode(format!("AWS:{REGISTRY_PASSWORD}-{service}-{region}"));
    let data = json!({"authorizationToken": token, "expiresAt": 4_070_908_800_u32});
    if service == "ecr" { json!({"authorizationData": [data]}) } else { json!({"authorizationData": data}) }
}

fn refusal(service: &str, (status, code, message): ApiError) -> Reply {
    match service {
        "s3" => return values::s3_error(status, &code),
        "ecs" | "ecr" | "ecr-public" | "secretsmanager" | "ssm" => {
            return json_reply(status, &json!({"__type": code, "message": message}));
        }
        "cloudformation" | "autoscaling" | "monitoring" => {
            return Reply::new(status, "text/xml;charset=UTF-8", waiting::refusal(&(status, code, message)));
        }
        _ => {}
    }
    let message = escape(&message);
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
         <Message>{message}</Message></Error></Errors><RequestID>simulated</RequestID></Response>"
    );
    Reply::new(status, "text/xml;charset=UTF-8", xml)
}

fn json_reply(status: u16, body: &Value) -> Reply {
    Reply::new(status, "application/x-amz-json-1.1", body.to_string()).with("x-amzn-RequestId", "simulated")
}

fn page_of(all: Vec<String>, body: &Value, name: &str) -> Value {
    let start = body["nextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0).min(all.len());
    let size = body["maxResults"].as_u64().map_or(100, |size| size.clamp(1, 100) as usize);
    let end = (start + size).min(all.len());
    let mut answer = json!({ name: all[start..end] });
    if end < all.len() {
        answer["nextToken"] = json!(end.to_string());
    }
    answer
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\n', "&#10;")
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn texts_by_name(list: &Value) -> Tags {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.as_array().into_iter().flatten().map(|one| (text(&one["name"]), text(&one["value"]))).collect()
}

/// The name in an ARN, or the name itself.
pub fn short(name_or_arn: &str) -> &str {
    name_or_arn.rsplit('/').next().unwrap_or(name_or_arn)
}

pub fn cluster_arn(name: &str) -> String {
    format!("arn:aws:ecs:eu-west-1:111122223333:cluster/{name}")
}
