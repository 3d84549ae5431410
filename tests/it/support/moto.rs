//! Runs a moto server, an independent simulator of the EC2 and ECS APIs (moto's documentation, "Server mode").
//!
//! In: the program in `ECS_BOOTSTRAP_TEST_MOTO`. Out: an endpoint on loopback, and clients of the SDK to create
//! resources. It does not search PATH, because `tests/run` pins the version.

use aws_credential_types::Credentials;
use aws_sdk_ec2::types::{ResourceType, TagSpecification};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The region of all resources; the same as that of the simulated instance.
pub const REGION: &str = "eu-west-1";
/// The account that moto simulates.
pub const ACCOUNT: &str = "123456789012";

/// moto imports all its services at start; on a busy host that takes a while.
const MAX_START_TIME: Duration = Duration::from_secs(60);

/// A running server without resources; killed by its pid when dropped.
pub struct Moto {
    child: Child,
    endpoint: String,
    runtime: tokio::runtime::Runtime,
}

impl Moto {
    /// # Panics
    /// If there is no moto server, or it does not start.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts it with environment variables, which configure the simulated services.
    pub fn with(environment: &[(&str, &str)]) -> Self {
        let program = std::env::var_os("ECS_BOOTSTRAP_TEST_MOTO")
            .expect("ECS_BOOTSTRAP_TEST_MOTO is not set: `tests/run contract` installs moto and runs these tests");
        let mut command = Command::new(&program);
        // Port 0: the kernel chooses a port, and the server prints it.
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.envs(environment.iter().copied());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let stderr = child.stderr.take().expect("its stderr is piped");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut moto = Self { child, endpoint: String::new(), runtime };
        let (sender, lines) = mpsc::channel();
        // The thread reads until the end, so that the server never blocks on a full pipe.
        thread::spawn(move || {
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        let mut seen = Vec::new();
        while moto.endpoint.is_empty() {
            match lines.recv_timeout(MAX_START_TIME) {
                Ok(line) => {
                    if let Some((_, endpoint)) = line.split_once("Running on ") {
                        moto.endpoint = endpoint.trim().to_owned();
                    }
                    seen.push(line);
                }
                Err(reason) => panic!("moto did not start ({reason}): {}", seen.join("\n")),
            }
        }
        moto
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Waits for a future: a call of the clients below, or of the product's client.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn create_cluster(&self, name: &str, tags: &[(&str, &str)]) {
        let tag = |(key, value): &(&str, &str)| aws_sdk_ecs::types::Tag::builder().key(*key).value(*value).build();
        let request = self.ecs().create_cluster().cluster_name(name).set_tags(Some(tags.iter().map(tag).collect()));
        self.block_on(request.send()).expect("CreateCluster");
    }

    /// Starts an instance with these tags (at least one). Returns its id.
    pub fn run_instance(&self, tags: &[(&str, &str)]) -> String {
        let tag = |(key, value): &(&str, &str)| aws_sdk_ec2::types::Tag::builder().key(*key).value(*value).build();
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::Instance)
            .set_tags(Some(tags.iter().map(tag).collect()))
            .build();
        let request = self.ec2().run_instances().image_id("ami-12c6146b").min_count(1).max_count(1);
        let answer = self.block_on(request.tag_specifications(tags).send()).expect("RunInstances");
        answer.instances()[0].instance_id().expect("an instance has an id").to_owned()
    }

    /// Registers an instance like its agent. Returns the ARN of the container instance. The attribute is put
    /// afterwards, because moto 5.2 ignores those of the registration.
    pub fn register(&self, cluster: &str, instance_id: &str, attribute: (&str, &str)) -> String {
        let document = format!(r#"{{"instanceId": "{instance_id}"}}"#);
        let request = self.ecs().register_container_instance().cluster(cluster).instance_identity_document(document);
        let answer = self.block_on(request.send()).expect("RegisterContainerInstance");
        let instance = answer.container_instance().expect("the answer holds it");
        let arn = instance.container_instance_arn().expect("a container instance has an ARN");
        let id = arn.rsplit('/').next().unwrap_or(arn);
        let attribute = aws_sdk_ecs::types::Attribute::builder()
            .name(attribute.0)
            .value(attribute.1)
            .target_type(aws_sdk_ecs::types::TargetType::ContainerInstance)
            .target_id(id);
        let attribute = attribute.build().expect("an attribute has a name");
        self.block_on(self.ecs().put_attributes().cluster(cluster).attributes(attribute).send())
            .expect("PutAttributes");
        arn.to_owned()
    }

    /// Calls an operation of ECS with a JSON body, as a program with another version of the API does. Returns the JSON of
    /// the answer.
    ///
    /// # Panics
    /// If the call fails.
    pub fn call(&self, operation: &str, body: &Value) -> Value {
        self.try_call(operation, body).unwrap_or_else(|answer| panic!("{operation} {body}: {answer}"))
    }

    /// Like [`Moto::call`]; an answer that is an error is returned as it is.
    pub fn try_call(&self, operation: &str, body: &Value) -> Result<Value, String> {
        self.try_json("ecs", &format!("AmazonEC2ContainerServiceV20141113.{operation}"), body)
    }

    /// Makes a call with the JSON protocol. `target` is the header `x-amz-target`.
    pub fn json(&self, service: &str, target: &str, body: &Value) -> Value {
        self.try_json(service, target, body).unwrap_or_else(|answer| panic!("{service} {target}: {answer}"))
    }

    fn try_json(&self, service: &str, target: &str, body: &Value) -> Result<Value, String> {
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let answer = self.post(service, &headers, &body.to_string())?;
        Ok(if answer.is_empty() { Value::Null } else { serde_json::from_str(&answer).expect("an answer in JSON") })
    }

    /// Makes a call with the query protocol. Returns the XML of the answer.
    pub fn query(&self, service: &str, parameters: &[(&str, &str)]) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(parameters);
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.post(service, &headers, &form.finish()).unwrap_or_else(|answer| panic!("{service}: {answer}"))
    }

    /// Sends a request without the code of the product. moto finds the service in the signature, and does not check it.
    /// An answer with another status than 200 is an error.
    fn post(&self, service: &str, headers: &[(&str, &str)], body: &str) -> Result<String, String> {
        self.send("POST /", service, headers, body)
    }

    /// Stores an object in a new bucket of S3.
    pub fn put_object(&self, bucket: &str, key: &str, body: &str) {
        let location = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        for (path, body) in [(format!("PUT /{bucket}"), location.as_str()), (format!("PUT /{bucket}/{key}"), body)] {
            self.send(&path, "s3", &[], body).unwrap_or_else(|answer| panic!("{path}: {answer}"));
        }
    }

    fn send(&self, request: &str, service: &str, headers: &[(&str, &str)], body: &str) -> Result<String, String> {
        let first_line = request;
        let address = self.endpoint.trim_start_matches("http://").trim_end_matches('/');
        let scope = format!("AKIAMOTO/20260101/{REGION}/{service}/aws4_request");
        let mut request = format!(
            "{first_line} HTTP/1.0\r\nhost: {address}\r\ncontent-length: {}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n",
            body.len()
        );
        headers.iter().for_each(|(name, value)| request += &format!("{name}: {value}\r\n"));
        let mut stream = TcpStream::connect(address).expect("moto listens");
        stream.write_all(format!("{request}\r\n{body}").as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        if head.lines().next().is_some_and(|line| line.contains(" 200 ")) { Ok(body.to_owned()) } else { Err(answer) }
    }

    /// A `networkConfiguration` with a subnet and a security group of the default VPC.
    pub fn network_configuration(&self) -> Value {
        let subnets = self.block_on(self.ec2().describe_subnets().send()).expect("DescribeSubnets");
        let groups = self.block_on(self.ec2().describe_security_groups().send()).expect("DescribeSecurityGroups");
        serde_json::json!({"awsvpcConfiguration": {
            "subnets": [subnets.subnets()[0].subnet_id()], "securityGroups": [groups.security_groups()[0].group_id()]}})
    }

    pub fn ecs(&self) -> aws_sdk_ecs::Client {
        let config = aws_sdk_ecs::Config::builder()
            .behavior_version(aws_sdk_ecs::config::BehaviorVersion::v2026_01_12())
            .region(aws_sdk_ecs::config::Region::new(REGION))
            .credentials_provider(owner())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(&self.endpoint);
        aws_sdk_ecs::Client::from_conf(config.build())
    }

    fn ec2(&self) -> aws_sdk_ec2::Client {
        let config = aws_sdk_ec2::Config::builder()
            .behavior_version(aws_sdk_ec2::config::BehaviorVersion::v2026_01_12())
            .region(aws_sdk_ec2::config::Region::new(REGION))
            .credentials_provider(owner())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(&self.endpoint);
        aws_sdk_ec2::Client::from_conf(config.build())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Credentials of the account's owner, not of the instance's role.
fn owner() -> Credentials {
    Credentials::new("AKIAMOTO", "moto", None, None, "tests")
}
