#!/usr/bin/env python3
"""A simulated ECS agent, with the order of steps, the exit codes, the log and the introspection of the real one.

From the source of amazon-ecs-agent 1.105 (agent/app, agent/handlers, ecs-agent/api/ecs/client). It really registers:
with credentials from IMDSv2, signed with SigV4, over verified TLS. It runs no tasks. If `/etc/ecs-fake-agent.json`
exists in the host when the container starts, it changes the behaviour:

  {"exit": N}                  exits with N directly after its start; "error" is the line that it logs
  {"start_delay_s": N}         waits before its first request
  {"register_cluster": "X"}    registers in X, whatever ECS_CLUSTER says
  {"connect": false}           registers, and never connects
"""

import datetime
import hashlib
import hmac
import http.client
import json
import os
import random
import signal
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "1.105.1"
STATE = "/data/ecs_agent_data.json"
SUCCESS, ERROR, PANIC, TERMINAL = 0, 1, 2, 5
IMDS = "http://169.254.169.254/latest/"
HEARTBEAT_PAUSE = 1.0
TRUE = ("1", "t", "T", "TRUE", "true", "True")


class Stop(Exception):
    """Ends the agent with a code."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


class AwsError(Exception):
    def __init__(self, operation, status, code, message):
        super().__init__(f"operation error ECS: {operation}, https response error StatusCode: {status}, "
                         f"RequestID: 00000000-0000-4000-8000-000000000000, {code}: {message}"
                         if status else f"operation error ECS: {operation}, {code}: {message}")
        self.code = code


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def log(level, message, **fields):
    shown = "".join(f" {key}={json.dumps(str(value))}" for key, value in fields.items())
    line = f"level={level} time={now():%Y-%m-%dT%H:%M:%SZ} msg={json.dumps(message)}{shown}\n"
    sys.stdout.write(line)
    with open(os.environ.get("ECS_LOGFILE", "/log/ecs-agent.log"), "a", encoding="utf-8") as file:
        file.write(line)


class Metadata:
    def __init__(self):
        self.token = None

    def fetch(self, path, method="GET", headers=None):
        request = urllib.request.Request(IMDS + path, method=method, headers=headers or {})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.read().decode()

    def get(self, path):
        """The document, or None if it does not exist."""
        if self.token is None:
            life = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
            self.token = self.fetch("api/token", "PUT", life)
        try:
            return self.fetch(path, headers={"X-aws-ec2-metadata-token": self.token})
        except urllib.error.HTTPError as problem:
            if problem.code == 404:
                return None
            raise

    def ask(self, path, default=None):
        """Like `get`, but the default if the service cannot be reached."""
        try:
            return self.get(path)
        except OSError:
            return default

    def credentials(self):
        role = self.ask("meta-data/iam/security-credentials/")
        if not role:
            raise AwsError("RegisterContainerInstance", 0, "get identity: get credentials: failed to refresh cached credentials",
                           "no EC2 IMDS role found, operation error ec2imds: GetMetadata")
        return json.loads(self.ask("meta-data/iam/security-credentials/" + role.split("\n")[0], "{}"))


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Ecs:
    def __init__(self, region, metadata):
        self.region, self.metadata = region, metadata
        self.host = f"ecs.{region}.amazonaws.com"

    def headers(self, operation, body):
        keys = self.metadata.credentials()
        stamp = f"{now():%Y%m%dT%H%M%SZ}"
        signed = {"content-type": "application/x-amz-json-1.1", "host": self.host, "x-amz-date": stamp,
                  "x-amz-security-token": keys["Token"], "x-amz-target": f"AmazonEC2ContainerServiceV20141113.{operation}"}
        names = ";".join(signed)
        canonical = "\n".join(["POST", "/", "", *(f"{key}:{value}" for key, value in signed.items()), "", names,
                               hashlib.sha256(body).hexdigest()])
        scope = f"{stamp[:8]}/{self.region}/ecs/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + keys["SecretAccessKey"]).encode()
        for part in scope.split("/"):
            key = sign(key, part)
        signature = sign(key, text).hex()
        signed["authorization"] = (f"AWS4-HMAC-SHA256 Credential={keys['AccessKeyId']}/{scope}, SignedHeaders={names}, "
                                   f"Signature={signature}")
        signed["user-agent"] = f"amazon-ecs-agent/{VERSION} (boot bed)"
        return signed

    def connection(self):
        return http.client.HTTPSConnection(self.host, timeout=10, context=ssl.create_default_context())

    def call(self, operation, **fields):
        body = json.dumps(fields).encode()
        try:
            headers = self.headers(operation, body)
            connection = self.connection()
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as problem:
            raise AwsError(operation, 0, "request send failed", f'Post "https://{self.host}/": {reason(problem)}') from problem
        if answer.status == 200:
            return json.loads(text)
        problem = json.loads(text) if text.startswith(b"{") else {}
        code = problem.get("__type", "UnknownError").rpartition("#")[2]
        shown = code if code.endswith("Exception") and code in ("ClientException", "ServerException") else f"api error {code}"
        failure = AwsError(operation, answer.status, shown, problem.get("message", ""))
        failure.code = code
        raise failure


def reason(problem):
    """The error text of Go, as in the agent's log."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    if isinstance(problem, TimeoutError):
        return "dial tcp: i/o timeout"
    if isinstance(problem, ConnectionRefusedError):
        return "dial tcp: connect: connection refused"
    if isinstance(problem, OSError) and "Name or service" in str(problem) or "name resolution" in str(problem):
        return "dial tcp: lookup: no such host"
    return f"read: connection reset by peer ({type(problem).__name__})"


def load_state():
    try:
        with open(STATE, encoding="utf-8") as file:
            return json.load(file)["Data"]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError) as problem:
        log("critical", "Error loading previously saved state", error=problem)
        raise Stop(TERMINAL) from problem


def save_state(**values):
    text = json.dumps({"Data": values, "Version": 30})
    with open(STATE + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(STATE + ".new", STATE)


class Agent:
    def __init__(self):
        self.metadata = Metadata()
        self.knobs = {}
        if os.path.exists("/etc/ecs-fake-agent.json"):
            with open("/etc/ecs-fake-agent.json", encoding="utf-8") as file:
                self.knobs = json.load(file)
        self.cluster = os.environ.get("ECS_CLUSTER", "").strip()
        self.arn = ""

    def run(self):
        log("info", "Starting Amazon ECS Agent", version=VERSION, commit="00000000")
        # A healthy start also logs this, and goes on.
        log("warn", "Disabling TaskCPUMemLimit because agent is unable to setup '/ecs' cgroup: cgroupv2 init: mkdir "
                    "/sys/fs/cgroup/ecstasks.slice: read-only file system")
        if "exit" in self.knobs:
            log("critical", self.knobs.get("error", "The simulated agent is configured to exit"))
            raise Stop(self.knobs["exit"])
        time.sleep(self.knobs.get("start_delay_s", 0))
        self.configure()
        self.check_cloud_init()
        self.restore()
        self.wait_for_service()
        self.register()
        self.introspect()
        self.connect()

    def configure(self):
        log("info", "Loading configuration")
        for name in ("ECS_INSTANCE_ATTRIBUTES", "ECS_CONTAINER_INSTANCE_TAGS"):
            self.objects(name)
        region = os.environ.get("AWS_DEFAULT_REGION", "").strip() or self.region()
        if not region:
            log("critical", "Error loading config", error="Missing required fields: AWSRegion")
            raise Stop(ERROR)
        self.ecs = Ecs(region, self.metadata)
        self.instance_id = self.metadata.ask("meta-data/instance-id")
        if not self.instance_id:
            log("warn", "Not able to get EC2 Instance ID from IMDS")

    def objects(self, name):
        """A variable that must be a JSON object of strings."""
        try:
            value = json.loads(os.environ.get(name) or "{}")
            if isinstance(value, dict) and all(isinstance(one, str) for one in value.values()):
                return value
        except ValueError:
            pass
        log("critical", "Error loading config", error=f"Invalid format for {name}. Expected a json hash of strings")
        raise Stop(ERROR)

    def region(self):
        try:
            return json.loads(self.metadata.get("dynamic/instance-identity/document"))["region"]
        except (OSError, TypeError, ValueError) as problem:
            log("critical", "Unable to access EC2 Metadata service to determine EC2 ID", error=problem)
            return ""

    def check_cloud_init(self):
        try:
            with open("/var/lib/cloud/data/result.json", encoding="utf-8") as file:
                none = "DataSourceNone" in (json.load(file)["v1"]["datasource"] or "")
        except (OSError, ValueError, KeyError):
            return
        if none and self.metadata.ask("user-data"):
            log("critical", "Cloud-init failure detected")
            raise Stop(TERMINAL)

    def restore(self):
        saved = load_state()
        if saved:
            log("info", "Restored from checkpoint file", cluster=saved["Cluster"], containerInstanceARN=saved["ContainerInstanceArn"])
        if self.instance_id and saved.get("EC2InstanceID") not in (None, "", self.instance_id):
            log("warn", f"Data mismatch; saved InstanceID '{saved['EC2InstanceID']}' does not match current InstanceID "
                        f"'{self.instance_id}'. Overwriting old datafile")
            return
        if saved.get("Cluster"):
            if self.cluster and saved["Cluster"] != self.cluster:
                log("critical", f"Data mismatch; saved cluster '{saved['Cluster']}' does not match configured cluster "
                                f"'{self.cluster}'. Perhaps you want to delete the configured checkpoint file?")
                raise Stop(TERMINAL)
            self.cluster = self.cluster or saved["Cluster"]
            self.arn = saved.get("ContainerInstanceArn", "")

    def wait_for_service(self):
        if os.environ.get("ECS_WARM_POOLS_CHECK", "").strip() not in TRUE:
            return
        while (state := self.metadata.ask("meta-data/autoscaling/target-lifecycle-state")) != "InService":
            log("info", "Waiting for instance to go InService", state=state)
            time.sleep(2)

    def register(self):
        log("info", "Registering Instance with ECS")
        wanted = self.knobs.get("register_cluster") or self.cluster
        if not wanted:
            wanted = self.cluster = "default"
            self.create_default()
        fields = {"cluster": wanted, "clientToken": str(uuid.uuid4()),
                  "instanceIdentityDocument": self.metadata.ask("dynamic/instance-identity/document"),
                  "instanceIdentityDocumentSignature": self.metadata.ask("dynamic/instance-identity/signature"),
                  "versionInfo": {"agentVersion": VERSION, "dockerVersion": "DockerVersion: 20.10"},
                  "tags": [{"key": key, "value": value} for key, value in self.objects("ECS_CONTAINER_INSTANCE_TAGS").items()],
                  "totalResources": self.resources()}
        if self.arn:
            fields["containerInstanceArn"] = self.arn
        else:
            attributes = self.objects("ECS_INSTANCE_ATTRIBUTES")
            fields["attributes"] = [{"name": key, "value": value} for key, value in attributes.items()]
        known, self.arn = self.arn, self.send_registration(fields)
        log("info", "Registered container instance with cluster!")
        if not known:
            log("info", "Instance registration completed successfully", instanceArn=self.arn, cluster=self.cluster)
        save_state(Cluster=self.cluster, ContainerInstanceArn=self.arn, EC2InstanceID=self.instance_id or "",
                   availabilityZone=self.metadata.ask("meta-data/placement/availability-zone") or "")

    def create_default(self):
        try:
            self.ecs.call("CreateCluster", clusterName="default")
        except AwsError as problem:
            log("error", "Could not create cluster", error=problem)
            raise Stop(TERMINAL if problem.code == "ClientException" else ERROR) from problem

    def resources(self):
        reserved = int(os.environ.get("ECS_RESERVED_MEMORY") or 0)
        return [{"name": "CPU", "type": "INTEGER", "integerValue": 2048},
                {"name": "MEMORY", "type": "INTEGER", "integerValue": 7680 - reserved},
                {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375", "2376", "51678", "51679"]},
                {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []}]

    def send_registration(self, fields):
        pause = 3
        while True:
            try:
                return self.ecs.call("RegisterContainerInstance", **fields)["containerInstance"]["containerInstanceArn"]
            except AwsError as problem:
                if problem.code in ("ThrottlingException", "ServerException", "LimitExceededException"):
                    log("error", "Received non-terminal error from RegisterContainerInstance call, retrying with exponential backoff",
                        error=problem)
                    time.sleep(pause)
                    pause = min(192, pause * 2)
                    continue
                log("error", "Unable to register as a container instance with ECS", error=problem)
                if problem.code in ("ClientException", "InvalidParameterException"):
                    log("critical", "Agent will terminally exit, unable to register container instance", error=problem)
                    raise Stop(TERMINAL) from problem
                raise Stop(ERROR) from problem

    def introspect(self):
        body = json.dumps({"Cluster": self.cluster, "ContainerInstanceArn": self.arn,
                           "Version": f"Amazon ECS Agent - v{VERSION} (*00000000)"})
        commands = json.dumps({"AvailableCommands": ["/v1/metadata", "/v1/tasks", "/license"]})
        answers = {"/v1/metadata": body, "/v1/tasks": json.dumps({"Tasks": []})}

        class Introspection(BaseHTTPRequestHandler):
            def do_GET(self):
                text = answers.get(self.path, commands).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, template, *values):
                pass

        def serve():
            # The agent logs the error and tries again: a port in use does not end it.
            while True:
                try:
                    ThreadingHTTPServer(("0.0.0.0", 51678), Introspection).serve_forever()
                except OSError as problem:
                    log("error", "Error running introspection endpoint", error=problem)
                    time.sleep(1)

        threading.Thread(target=serve, daemon=True).start()
        log("info", "Beginning Polling for updates")

    def connect(self):
        pause = 0.25
        while True:
            try:
                self.session()
                pause = 0.25
            except (OSError, http.client.HTTPException) as problem:
                log("error", "Failed to connect to ACS", error=reason(problem), containerInstanceARN=self.arn)
            except AwsError as problem:
                log("error", "ACS: Unable to discover poll endpoint", error=problem)
            time.sleep(pause * random.uniform(1, 1.2))
            pause = min(120, pause * 1.5)

    def session(self):
        """Holds a connection with a heartbeat request every second."""
        self.ecs.call("DiscoverPollEndpoint", containerInstance=self.arn, cluster=self.cluster)
        if self.knobs.get("connect") is False:
            raise ConnectionRefusedError
        connection, connected = self.ecs.connection(), False
        while True:
            connection.request("POST", "/ws", json.dumps({"containerInstanceArn": self.arn}))
            if connection.getresponse().read() is not None and not connected:
                connected = True
                log("info", "Connected to ACS endpoint")
                log("info", "Connected to TCS endpoint")
            time.sleep(HEARTBEAT_PAUSE)


def leave(*_):
    log("info", "Agent received termination signal", signal="terminated")
    os._exit(SUCCESS)  # ends all threads at once, as the agent does


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)
    try:
        Agent().run()
    except Stop as stop:
        os._exit(stop.code)
    except Exception as fault:  # a bug of this program; it appears in the log like a panic of the agent
        log("critical", "The simulated agent failed", error=repr(fault))
        os._exit(PANIC)
