#!/usr/bin/env python3
"""The AWS API of one host, under its real names and over TLS: a thin proxy in front of moto.

In: the host's folder with `aws/clusters` (one per line: name, then tags as key=value), `aws/instance-tags`
(key=value), `aws/faults.json`, all optional. At its start it makes an account for this host in moto with these
clusters and one instance, and writes `instance.json`. Out: `api.log`, one JSON line per call.

`faults.json` maps `service:Operation` to a fault: `status` with `code` and `message`, or `drop` (close the connection
without an answer), or `delay_s` before the normal answer; `times` limits how often. It can change while the host runs.
`ecs:Poll` and `ecs:StartTelemetrySession` are the connections of the agent (see acs.py), `endpoint` of
`ecs:DiscoverPollEndpoint` is the one that it returns, and `omit` of `ecs:RegisterContainerInstance` names the attributes
that it does not return.

It corrects moto where ECS behaves differently: a missing cluster is a ClientException, an instance that registers with
its own ARN keeps it, but not with another instance type, it has the attributes that its agent sent, and `agentConnected`
is true while the agent holds its connection.
"""

import argparse
import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
import urllib.parse
import uuid
import xml.etree.ElementTree
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer

import acs
import registry
import scheduler
from waiting import Waiting

ADDRESS = "10.77.0.1"
ECS = "AmazonEC2ContainerServiceV20141113"
JSON = [("Content-Type", "application/x-amz-json-1.1")]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Moto:
    """A client of one account in moto."""

    def __init__(self, path, account, region):
        self.path, self.account, self.region = path, account, region

    def send(self, method, path, headers, body):
        connection = UnixConnection(self.path)
        try:
            connection.request(method, path, body, {**headers, "x-moto-account-id": self.account})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def scope(self, service):
        return f"AWS4-HMAC-SHA256 Credential=BED/20260101/{self.region}/{service}/aws4_request, SignedHeaders=host, Signature=0"

    def ecs(self, operation, **fields):
        headers = {"Authorization": self.scope("ecs"), "Content-Type": "application/x-amz-json-1.1",
                   "X-Amz-Target": f"{ECS}.{operation}"}
        status, _, body = self.send("POST", "/", headers, json.dumps(fields).encode())
        if status != 200:
            raise RuntimeError(f"moto answers {operation} with {status}: {body[:300]!r}")
        return json.loads(body)

    def ec2(self, action, **fields):
        headers = {"Authorization": self.scope("ec2"), "Content-Type": "application/x-www-form-urlencoded"}
        body = urllib.parse.urlencode({"Action": action, "Version": "2016-11-15", **fields}).encode()
        status, _, body = self.send("POST", "/", headers, body)
        if status != 200:
            raise RuntimeError(f"moto answers {action} with {status}: {body[:300]!r}")
        return xml.etree.ElementTree.fromstring(body)

    def create_secret(self, name, value):
        headers = {"Authorization": self.scope("secretsmanager"), "Content-Type": "application/x-amz-json-1.1",
                   "X-Amz-Target": "secretsmanager.CreateSecret"}
        status, _, body = self.send("POST", "/", headers, json.dumps({"Name": name, "SecretString": value}).encode())
        if status != 200:
            raise RuntimeError(f"moto answers CreateSecret with {status}: {body[:300]!r}")

    def run_instance(self):
        answer = self.ec2("RunInstances", ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1, InstanceType="m5.large")
        return next(node.text for node in answer.iter() if node.tag.endswith("}instanceId"))

    def wait(self):
        while True:
            try:
                return self.ecs("ListClusters")
            except OSError:
                time.sleep(0.1)


class Account:
    """The account of this host, its faults and its log."""

    def __init__(self, options):
        self.folder = options.folder
        self.moto = Moto(options.moto, options.account, options.region)
        self.lock = threading.Lock()
        self.connections = {}
        self.registered = {}  # by ARN: the instance type, and the attributes by name
        self.waiting = Waiting(options.folder)
        self.scheduler = scheduler.Scheduler(self)
        self.registry = registry.Registry(options.folder)
        self.used = {}
        self.log = open(os.path.join(options.folder, "api.log"), "a", buffering=1, encoding="utf-8")

    def lines(self, name, default):
        try:
            with open(os.path.join(self.folder, "aws", name), encoding="utf-8") as file:
                return [line.split() for line in file if line.strip()]
        except FileNotFoundError:
            return default

    def secrets(self):
        try:
            with open(os.path.join(self.folder, "aws", "secrets.json"), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return {}

    def seed(self):
        self.moto.wait()
        for name, *tags in self.lines("clusters", [["demo"]]):
            pairs = [tag.split("=", 1) for tag in tags]
            self.moto.ecs("CreateCluster", clusterName=name, tags=[{"key": key, "value": value} for key, value in pairs])
        for name, value in self.secrets().items():
            self.moto.create_secret(name, json.dumps(value))
        instance_id = self.moto.run_instance()
        for (pair,) in self.lines("instance-tags", []):
            key, value = pair.split("=", 1)
            self.moto.ec2("CreateTags", **{"ResourceId.1": instance_id, "Tag.1.Key": key, "Tag.1.Value": value})
        path = os.path.join(self.folder, "instance.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump({"instance_id": instance_id, "account": self.moto.account, "region": self.moto.region}, file)
        os.rename(path + ".new", path)

    def fault(self, call):
        """The fault to apply to this call, if any."""
        try:
            with open(os.path.join(self.folder, "aws", "faults.json"), encoding="utf-8") as file:
                fault = json.load(file).get(call)
        except (FileNotFoundError, ValueError):  # a half-written file is ignored; it is read again at the next call
            return None
        if fault is None:
            return None
        with self.lock:
            key = (call, json.dumps(fault, sort_keys=True))
            self.used[key] = self.used.get(key, 0) + 1
            return fault if self.used[key] <= fault.get("times", sys.maxsize) else None

    def note(self, **fields):
        # `monotonic` is the clock of systemd's ...TimestampMonotonic properties.
        moment = {"time": round(time.time(), 3), "monotonic": round(time.monotonic(), 3)}
        self.log.write(json.dumps({**moment, **fields}) + "\n")

    def agent_connected(self, arn):
        with self.lock:
            return self.connections.get(arn, 0) > 0

    def connection(self, arn, step):
        with self.lock:
            self.connections[arn] = self.connections.get(arn, 0) + step


def error(service, status, code, message):
    if service in ("cloudformation", "autoscaling", "monitoring"):
        text = f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
        return status, [("Content-Type", "text/xml")], text.encode()
    if service == "ec2":
        text = f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></Response>"
        return status, [("Content-Type", "text/xml")], text.encode()
    return status, [*JSON, ("x-amzn-ErrorType", code)], json.dumps({"__type": code, "message": message}).encode()


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet per answer: with two, the client's kernel delays its acknowledgement by 40 ms
    server_version = "Server"
    sys_version = ""

    def setup(self):
        # In the connection's own thread, so a client that rejects the certificate does not block other clients.
        self.request.settimeout(30)
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def log_message(self, template, *values):
        pass

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        scope = self.headers.get("Authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
        service = scope[3] if len(scope) == 5 else "unsigned"
        operation = self.headers.get("X-Amz-Target", "").partition(".")[2]
        operation = operation or urllib.parse.parse_qs(body.decode("utf-8", "replace")).get("Action", ["?"])[0]
        fault = self.server.account.fault(f"{service}:{operation}")
        if fault:
            time.sleep(fault.get("delay_s", 0))
        dropped = bool(fault and fault.get("drop"))
        if dropped:
            answer = 0, [], b""
        elif fault and "status" in fault:
            answer = error(service, fault["status"], fault["code"], fault.get("message", ""))
        else:
            answer = self.ask(service, operation, body, fault or {})
        self.server.account.note(service=service, operation=operation, status=answer[0], fault=fault,
                                 host=self.headers.get("Host"), agent=self.headers.get("User-Agent"),
                                 request=body.decode("utf-8", "replace"))
        if dropped:
            self.close_connection = True
            return None
        return self.answer(*answer)

    def do_GET(self):
        if self.server.account.registry.is_for(self):
            self.server.account.registry.serve(self)
        elif self.path.startswith("/ws?"):
            acs.hold(self)
        elif self.headers.get("Host", "").startswith("s3."):
            self.answer(*self.s3_object())
        else:
            self.answer(404, [], b"")

    def do_HEAD(self):
        self.do_GET()

    def s3_object(self):
        """The binary and `aws/ecs.config`, the objects of the bucket `files`. Without permission to list, S3 answers 403 for others."""
        operation, signed = "GetObject", "/s3/aws4_request" in self.headers.get("Authorization", "")
        fault = self.server.account.fault(f"s3:{operation}")
        objects = {"/files/ecs-bootstrap": "served/ecs-bootstrap", "/files/ecs.config": "aws/ecs.config"}
        if not signed or fault or self.path not in objects:
            answer = fault["status"] if fault else 403, [], b""
        else:
            with open(os.path.join(self.server.account.folder, objects[self.path]), "rb") as file:
                answer = 200, [], file.read()
        self.server.account.note(service="s3", operation=operation, status=answer[0], request=self.path)
        return answer

    def ask(self, service, operation, body, fault):
        account = self.server.account
        if service == "unsigned":
            return error(service, 403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        if service in ("cloudformation", "autoscaling"):
            return account.waiting.answer(operation, body)
        if (service, operation) == ("ecs", "RegisterContainerInstance"):
            return self.register(json.loads(body), fault)
        if (service, operation) == ("ecs", "DescribeContainerInstances"):
            elsewhere = self.of_another_cluster(json.loads(body))
            if elsewhere:
                return elsewhere
        if (service, operation) == ("ecs", "UpdateContainerInstancesState"):
            for arn in json.loads(body)["containerInstances"]:
                account.scheduler.drain(arn)
        if service == "ecs" and operation in scheduler.OPERATIONS:
            return 200, JSON, json.dumps(account.scheduler.answer(operation, json.loads(body))).encode()
        if (service, operation) == ("ecs", "DiscoverPollEndpoint"):
            return 200, JSON, json.dumps(acs.endpoints(account.moto.region, fault)).encode()
        return self.forward(service, body)

    def forward(self, service, body):
        """Moto's answer."""
        kept = ("Authorization", "Content-Type", "X-Amz-Target", "X-Amz-Date", "X-Amz-Security-Token")
        headers = {name: self.headers[name] for name in kept if name in self.headers}
        status, headers, body = self.server.account.moto.send("POST", self.path, headers, body)
        if service == "ecs" and status == 200:
            body = json.dumps(self.correct(json.loads(body))).encode()
        return status, headers, body

    def of_another_cluster(self, request):
        """The error of ECS for an ARN of another cluster, for which moto answers 500."""
        cluster = (request.get("cluster") or "default").rpartition("/")[2]
        for arn in request.get("containerInstances", []):
            named = arn.partition("container-instance/")[2].partition("/")
            if named[1] and named[0] != cluster:
                message = f"Identifier is for cluster {named[0]}. Your cluster is {cluster}"
                return error("ecs", 400, "InvalidParameterException", message)
        return None

    def register(self, request, fault):
        """Registers in moto, which lacks three answers of ECS: for a missing cluster, for an instance that registers again,
        and the attributes."""
        moto, cluster = self.server.account.moto, request.get("cluster") or "default"
        found = moto.ecs("DescribeClusters", clusters=[cluster])["clusters"]
        if not [one for one in found if one["status"] == "ACTIVE"]:
            return error("ecs", 400, "ClientException", "Cluster not found.")
        instance_type = json.loads(request.get("instanceIdentityDocument") or "{}").get("instanceType")
        arn = request.get("containerInstanceArn")
        if arn:
            known = moto.ecs("DescribeContainerInstances", cluster=cluster, containerInstances=[arn])["containerInstances"]
            if not known:
                return error("ecs", 400, "ClientException", "Referenced container instance " + arn + " not found.")
            before = self.server.account.registered[arn]["type"]
            if before != instance_type:
                return error("ecs", 400, "ClientException", "Container instance type changes are not supported. Container instance "
                                                            f"{arn.rpartition('/')[2]} was previously registered as {before}.")
            registered = known[0]
        else:
            status, headers, body = self.forward("ecs", json.dumps(request).encode())
            if status != 200:
                return status, headers, body
            registered = json.loads(body)["containerInstance"]
            arn = registered["containerInstanceArn"]
            zone = {"ecs.availability-zone": moto.region + "a"}
            self.server.account.registered[arn] = {"type": instance_type, "attributes": zone}
        sent = {one["name"]: one.get("value", "") for one in request.get("attributes", [])}
        kept = {name: value for name, value in sent.items() if name not in fault.get("omit", [])}
        self.server.account.registered[arn]["attributes"].update(kept)
        return 200, JSON, json.dumps({"containerInstance": self.correct(registered)}).encode()

    def correct(self, value):
        if isinstance(value, list):
            return [self.correct(item) for item in value]
        if not isinstance(value, dict):
            return value
        value = {key: self.correct(item) for key, item in value.items()}
        if "agentConnected" in value:
            arn = value.get("containerInstanceArn")
            value["agentConnected"] = self.server.account.agent_connected(arn)
            value["runningTasksCount"] = self.server.account.scheduler.running(arn)
            attributes = self.server.account.registered.get(arn, {}).get("attributes", {})
            value["attributes"] = [{"name": name, **({"value": text} if text else {})} for name, text in attributes.items()]
        return value


class Files(SimpleHTTPRequestHandler):
    def log_message(self, template, *values):
        self.server.account.note(service="files", operation=self.path, status=int(values[1]) if len(values) > 1 else 0)

    def log_error(self, template, *values):
        pass  # the request is logged too


class Server(ThreadingHTTPServer):
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        problem = sys.exc_info()[1]
        self.account.note(service="connection", operation="broken", status=0, request=f"{type(problem).__name__}: {problem}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("folder", "account", "region", "moto", "tls"):
        parser.add_argument("--" + name, required=True)
    options = parser.parse_args()
    account = Account(options)
    proxy = Server((ADDRESS, 443), Proxy)
    proxy.account = account
    proxy.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    proxy.tls.load_cert_chain(os.path.join(options.tls, "chain.pem"), os.path.join(options.tls, "key.pem"))
    files = Server((ADDRESS, 8000), lambda *one: Files(*one, directory=os.path.join(options.folder, "served")))
    files.account = account
    threading.Thread(target=files.serve_forever, daemon=True).start()
    account.seed()
    proxy.serve_forever()


if __name__ == "__main__":
    main()
