"""The services of many instances in one process: for each instance its own metadata service (IMDSv2) and agent, and for
all of them one EC2 and one ECS API, which throttle.

In: the instances, and the buckets of the APIs. Out: for each instance the calls that it made, and when. Each instance
has its own address of 127.0.0.0/8, so that a service knows who calls.

Sources: "Request throttling for the Amazon EC2 API" (EC2 Developer Guide), "Request throttling for the Amazon ECS API"
(ECS API Reference), "DNS quotas" (VPC User Guide) for the packets to link-local services."""

import asyncio
import json
import time
import urllib.parse

ACCOUNT, REGION, ROLE, CLUSTER = "111122223333", "eu-west-1", "ecsInstanceRole", "prod"
TAG = "ecs-bootstrap:cluster"
# Time from a request to its answer. The APIs of AWS answer within tens of milliseconds.
API_DELAY, METADATA_DELAY = 0.020, 0.001
PORTS = {"metadata": 80, "api": 443, "agent": 51678}
# The most packets in a second that a network interface may send to link-local services.
PACKETS = 1024
# Packets of a connection (SYN, ACK, FIN) and of a request (the request, the ACK of its answer) that an instance sends.
PACKETS_OF_CONNECTION, PACKETS_OF_REQUEST = 3, 2


class Bucket:
    """A token bucket: `capacity` tokens at the start and at most, `refill` tokens a second."""

    def __init__(self, capacity, refill):
        self.capacity, self.refill = capacity, refill
        self.tokens, self.at = capacity, None

    def take(self, now, tokens=1):
        if self.at is not None:
            self.tokens = min(self.capacity, self.tokens + (now - self.at) * self.refill)
        self.at = now
        if self.tokens < tokens:
            return False
        self.tokens -= tokens
        return True

    def drain_time(self, calls):
        """The seconds in which the bucket admits this number of calls, if no token is lost."""
        return max(0.0, (calls - self.capacity) / self.refill)


# The published buckets, by operation: name, capacity, refill in a second. DescribeTags is a non-mutating action of EC2.
# No bucket is published for DiscoverPollEndpoint, so it is not throttled here.
BUCKETS = {
    "DescribeTags": ("ec2 non-mutating", 100, 20),
    "ListClusters": ("ecs cluster read", 50, 20),
    "DescribeClusters": ("ecs cluster read", 50, 20),
    "DescribeContainerInstances": ("ecs cluster resource read", 100, 20),
    "RegisterContainerInstance": ("ecs agent modify", 200, 120),
}


def new_buckets():
    made = {}
    return {operation: made.setdefault(name, Bucket(capacity, refill))
            for operation, (name, capacity, refill) in BUCKETS.items()}


class Http(asyncio.Protocol):
    """One connection: keep-alive, one request at a time. `service` returns for an address the handler of its
    connections, which takes method, path, headers and body. The handler returns (delay, status, headers, body), or None
    to send no answer. Without a handler the connection is closed."""

    def __init__(self, service):
        self.service, self.handler = service, None
        self.received, self.transport = b"", None

    def connection_made(self, transport):
        self.transport = transport
        self.handler = self.service(transport.get_extra_info("sockname")[0])
        if self.handler is None:
            transport.abort()

    def data_received(self, data):
        self.received += data
        while True:
            head, end, rest = self.received.partition(b"\r\n\r\n")
            if not end:
                return
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return
            body, self.received = rest[:length], rest[length:]
            method, path = lines[0].split(" ")[:2]
            answer = self.handler(method, path, headers, body)
            if answer is not None:
                delay, status, more, content = answer
                asyncio.get_running_loop().call_later(delay, self.send, status, more, content)

    def send(self, status, more, content):
        if self.transport.is_closing():
            return
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        head = f"HTTP/1.1 {status} Simulated\r\nDate: {date}\r\nContent-Length: {len(content)}\r\n{more}\r\n"
        self.transport.write(head.encode() + content)


class Metadata:
    """The metadata service of one instance. A packet above the limit is lost: its request gets no answer."""

    def __init__(self, instance, tags, clock):
        self.instance, self.clock = instance, clock
        self.limit = Bucket(PACKETS, PACKETS)
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600))
        launched = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 10))
        root = "/latest/"
        self.paths = {
            root + "dynamic/instance-identity/document": json.dumps({
                "accountId": ACCOUNT, "architecture": "x86_64", "availabilityZone": REGION + "a",
                "imageId": "ami-0abcdef1234567890", "instanceId": instance.id, "instanceType": "m5.large",
                "pendingTime": launched, "privateIp": "10.0.0.10", "region": REGION, "version": "2017-09-30"}),
            root + "meta-data/instance-id": instance.id,
            root + "meta-data/instance-life-cycle": "on-demand",
            root + "meta-data/iam/security-credentials/": ROLE,
            root + f"meta-data/iam/security-credentials/{ROLE}": json.dumps({
                "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIASIMULATEDKEY0001",
                "SecretAccessKey": "simulated", "Token": "simulated", "Expiration": expiry}),
        }
        if tags is not None:
            self.paths[root + "meta-data/tags/instance"] = "\n".join(tags)
            self.paths |= {root + f"meta-data/tags/instance/{key}": value for key, value in tags.items()}

    def admits(self, packets):
        admitted = self.limit.take(self.clock(), packets)
        self.instance.packets_lost += 0 if admitted else packets
        self.instance.packets += packets
        return admitted

    def handler(self):
        """The handler of a new connection; None if its packets are lost."""
        return self.answer if self.admits(PACKETS_OF_CONNECTION) else None

    def answer(self, method, path, headers, body):
        if not self.admits(PACKETS_OF_REQUEST):
            return None
        if method == "PUT" and path == "/latest/api/token":
            more = f"X-Aws-Ec2-Metadata-Token-Ttl-Seconds: {headers.get('x-aws-ec2-metadata-token-ttl-seconds')}\r\n"
            return METADATA_DELAY, 200, more, b"SimulatedToken"
        if headers.get("x-aws-ec2-metadata-token") != "SimulatedToken":
            return METADATA_DELAY, 401, "", b""
        path = urllib.parse.unquote(path)
        found = self.paths.get(path) or self.paths.get(path.rstrip("/")) or self.paths.get(path + "/")
        return METADATA_DELAY, 200 if found else 404, "Content-Type: text/plain\r\n", (found or "").encode()


class Api:
    """EC2 and ECS for all instances. `calls` has (seconds since the start, instance, operation, throttled)."""

    def __init__(self, clock, clusters, tagged):
        self.clock, self.clusters, self.tagged = clock, clusters, tagged
        self.buckets, self.calls, self.unexpected = new_buckets(), [], []

    def admit(self, instance, operation):
        """Takes a token for a call. False if the call is throttled."""
        now = self.clock()
        bucket = self.buckets.get(operation)
        admitted = bucket is None or bucket.take(now)
        self.calls.append((now, instance.index, operation, not admitted))
        return admitted

    def handler(self, instance):
        return lambda method, path, headers, body: self.answer(instance, headers, body)

    def answer(self, instance, headers, body):
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        if operation:
            return self.ecs(instance, operation, headers, json.loads(body))
        form = dict(urllib.parse.parse_qsl(body.decode()))
        return self.ec2(instance, form.get("Action", ""), form)

    def ec2(self, instance, operation, form):
        xml = "Content-Type: text/xml;charset=UTF-8\r\n"

        def error(status, code, text):
            return API_DELAY, status, xml, (
                f"<Response><Errors><Error><Code>{code}</Code><Message>{text}</Message></Error></Errors>"
                "<RequestID>simulated</RequestID></Response>").encode()

        if operation != "DescribeTags":
            self.unexpected.append(operation)
            return error(400, "InvalidAction", f"The action {operation} is not valid.")
        if not self.admit(instance, operation):
            return error(503, "RequestLimitExceeded", "Request limit exceeded.")
        tags = {TAG: CLUSTER} if self.tagged else {}
        items = "".join(f"<item><resourceId>{instance.id}</resourceId><resourceType>instance</resourceType>"
                        f"<key>{key}</key><value>{value}</value></item>" for key, value in tags.items())
        return API_DELAY, 200, xml, (
            '<DescribeTagsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>simulated</requestId>'
            f"<tagSet>{items}</tagSet></DescribeTagsResponse>").encode()

    def ecs(self, instance, operation, headers, request):
        def reply(status, document):
            return API_DELAY, status, "Content-Type: application/x-amz-json-1.1\r\n", json.dumps(document).encode()

        # The clock is asked for without credentials. Such a request is refused before it is counted.
        if "authorization" not in headers:
            return reply(400, {"__type": "MissingAuthenticationTokenException", "message": "Missing Token"})
        make = {"ListClusters": self.list_clusters, "DescribeClusters": self.describe_clusters,
                "DescribeContainerInstances": self.describe_instance, "DiscoverPollEndpoint": self.poll_endpoint}
        if operation not in make:
            self.unexpected.append(operation)
            return reply(400, {"__type": "UnknownOperationException"})
        if not self.admit(instance, operation):
            return reply(400, {"__type": "ThrottlingException", "message": "Rate exceeded"})
        return reply(200, make[operation](instance, request))

    def list_clusters(self, instance, request):
        return {"clusterArns": [cluster_arn(name) for name in self.clusters]}

    def describe_clusters(self, instance, request):
        names = [name.rpartition("/")[2] for name in request["clusters"]]
        return {"failures": [], "clusters": [
            {"clusterArn": cluster_arn(name), "clusterName": name, "status": "ACTIVE",
             "tags": [{"key": key, "value": value} for key, value in self.clusters[name].items()]} for name in names]}

    def describe_instance(self, instance, request):
        return {"failures": [], "containerInstances": [{
            "containerInstanceArn": instance.arn, "ec2InstanceId": instance.id, "status": "ACTIVE",
            "agentConnected": instance.connected, "attributes": [], "versionInfo": {"agentVersion": "1.106.1"}}]}

    def poll_endpoint(self, instance, request):
        here = f"http://{instance.address}:{PORTS['api']}"
        return {"endpoint": here, "telemetryEndpoint": here}


def cluster_arn(name):
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}"


class Agent:
    """The agent of one instance, as far as ecs-bootstrap observes it: it starts, registers, connects.

    It repeats a throttled registration as the real one does: after 3 s, doubled each time up to 192 s
    (amazon-ecs-agent, `ecs-agent/api/ecs/client`), with up to a fifth added at random."""

    # From the start of the unit to the first call, and from the registration to the connection: about what an agent
    # needs whose image is in the AMI.
    START, CONNECT = (1.0, 2.0), (0.3, 0.7)
    FIRST_PAUSE, LONGEST_PAUSE, JITTER = 3.0, 192.0, (1.0, 1.2)

    def __init__(self, instance, api, random):
        self.instance, self.api, self.random = instance, api, random

    async def run(self):
        instance = self.instance
        self.log("info", "Starting Amazon ECS Agent")
        await asyncio.sleep(self.random.uniform(*self.START))
        pause = self.FIRST_PAUSE
        while not self.api.admit(instance, "RegisterContainerInstance"):
            self.log("error", "Received non-terminal error from RegisterContainerInstance call, retrying with "
                              "exponential backoff", error="ThrottlingException: Rate exceeded")
            await asyncio.sleep(pause * self.random.uniform(*self.JITTER))
            pause = min(self.LONGEST_PAUSE, pause * 2)
        instance.arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:container-instance/{CLUSTER}/{instance.index:032x}"
        instance.registered_at = self.api.clock()
        self.log("info", "Registered container instance with cluster!")
        await self.listen()
        await asyncio.sleep(self.random.uniform(*self.CONNECT))
        instance.connected, instance.connected_at = True, self.api.clock()
        self.log("info", "Connected to ACS endpoint")

    async def listen(self):
        instance = self.instance
        document = json.dumps({"Cluster": CLUSTER, "ContainerInstanceArn": instance.arn,
                               "Version": "Amazon ECS Agent - v1.106.1 (*a8b3e7d3)"}).encode()

        def answer(method, path, headers, body):
            return 0, 200, "Content-Type: application/json\r\n", document

        await instance.serve(lambda: Http(lambda address: answer))
        # The kernel's table of sockets below the instance's root (proc_pid_net(5)): root listens on the agent's port.
        address = int.from_bytes(bytes(int(part) for part in instance.address.split(".")), "little")
        line = (f"   0: {address:08X}:{PORTS['agent']:04X} 00000000:0000 0A 00000000:00000000 00:00000000 "
                "00000000     0        0 4711 1 0 100 0 0 10 0\n")
        instance.write("proc/net/tcp", SOCKETS + line)

    def log(self, level, text, **fields):
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        more = "".join(f' {name}="{value}"' for name, value in fields.items())
        line = f'level={level} time={now} msg="{text}"{more}\n'
        with open(f"{self.instance.root}/var/log/ecs/ecs-agent.log", "a", encoding="utf-8") as file:
            file.write(line)


SOCKETS = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
