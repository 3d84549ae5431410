#!/usr/bin/env python3
"""The instance metadata service of one host: version 2 only.

In: the host's folder. It holds `instance.json`, which aws.py writes once moto has the instance, and may hold
`user-data` (served byte for byte) and `metadata.json` (merged into the tree below; null removes). Requests wait for
`instance.json`, so that instance id, role and account agree with the AWS API. Out: `imds.log` in the folder, one
line per request.

In `metadata.json`, `"tags": {"instance": null}` switches tags off, as by default on EC2, and `"iam": null` removes
the role. An object is a folder, a string a document, a number an HTTP status to fail with.
"""

import argparse
import datetime
import email.utils
import json
import os
import re
import secrets
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROLE = "ecsInstanceRole"
PRIVATE_IP = "10.77.0.10"


def iso(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def metadata(instance_id, account, region, mac):
    zone, name = region + "a", "ip-10-77-0-10.ec2.internal"
    now = datetime.datetime.now(datetime.timezone.utc)
    interface = {
        "device-number": "0", "interface-id": "eni-0123456789abcdef0", "local-hostname": name, "local-ipv4s": PRIVATE_IP,
        "mac": mac, "owner-id": account, "security-group-ids": "sg-0123456789abcdef0", "security-groups": "default",
        "subnet-id": "subnet-0123456789abcdef0", "subnet-ipv4-cidr-block": "10.77.0.0/24",
        "vpc-id": "vpc-0123456789abcdef0", "vpc-ipv4-cidr-block": "10.77.0.0/24",
    }
    return {
        "ami-id": "ami-0123456789abcdef0", "ami-launch-index": "0", "hostname": name, "local-hostname": name,
        "local-ipv4": PRIVATE_IP, "mac": mac, "instance-action": "none", "instance-id": instance_id,
        "instance-life-cycle": "on-demand", "instance-type": "m5.large", "profile": "default-hvm",
        "reservation-id": "r-0123456789abcdef0", "security-groups": "default",
        "block-device-mapping": {"ami": "/dev/xvda", "root": "/dev/xvda"},
        "network": {"interfaces": {"macs": {mac: interface}}},
        "placement": {"availability-zone": zone, "availability-zone-id": "use1-az1", "region": region},
        "services": {"domain": "amazonaws.com", "partition": "aws"},
        "iam": {
            "info": json.dumps({"Code": "Success", "InstanceProfileArn": f"arn:aws:iam::{account}:instance-profile/{ROLE}"}),
            "security-credentials": {ROLE: json.dumps({
                "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": iso(now), "AccessKeyId": "ASIAEXAMPLEEXAMPLE00",
                "SecretAccessKey": "dummy", "Token": "dummy", "Expiration": iso(now + datetime.timedelta(hours=6)),
            })},
        },
        "tags": {"instance": {"Name": "boot"}},
    }


def document(tree, account):
    """The identity document. It agrees with the metadata, so overrides of the metadata appear in it too."""
    return json.dumps({
        "accountId": account, "architecture": "x86_64", "availabilityZone": tree["placement"]["availability-zone"],
        "imageId": tree["ami-id"], "instanceId": tree["instance-id"], "instanceType": tree["instance-type"],
        "pendingTime": iso(LAUNCHED), "privateIp": tree["local-ipv4"], "region": tree["placement"]["region"],
        "version": "2017-09-30",
    }, indent=1)


def merge(tree, overrides):
    for key, value in overrides.items():
        if value is None:
            tree.pop(key, None)
        elif isinstance(value, dict) and isinstance(tree.get(key), dict):
            merge(tree[key], value)
        else:
            tree[key] = value
    return tree


class Tree:
    """The served tree. It is read again when `metadata.json` changes, and waits for `instance.json`."""

    def __init__(self, options):
        self.options, self.lock, self.seen, self.root = options, threading.Lock(), None, None

    def path(self, name):
        return os.path.join(self.options.folder, name)

    def load(self):
        while not os.path.exists(self.path("instance.json")):
            time.sleep(0.02)
        with open(self.path("instance.json"), encoding="utf-8") as file:
            instance_id = json.load(file)["instance_id"]
        options = self.options
        tree = metadata(instance_id, options.account, options.region, options.mac)
        tree = merge(tree, self.overrides())
        identity = {"document": document(tree, options.account), "signature": "ZHVtbXk=", "pkcs7": "ZHVtbXk="}
        return {"meta-data": tree, "dynamic": {"instance-identity": identity}}

    def overrides(self):
        try:
            with open(self.path("metadata.json"), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return {}

    def get(self):
        with self.lock:
            try:
                changed = os.stat(self.path("metadata.json")).st_mtime_ns
            except FileNotFoundError:
                changed = 0
            if self.seen != changed:
                self.root, self.seen = self.load(), changed
            return self.root

    def user_data(self):
        try:
            with open(self.path("user-data"), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet per answer: with two, the client's kernel delays its acknowledgement by 40 ms
    server_version = "EC2ws"
    sys_version = ""
    tokens = {}

    def log_message(self, template, *values):
        sys.stdout.write("%.3f %s %s\n" % (time.time(), self.client_address[0], template % values))

    def date_time_string(self, timestamp=None):
        return email.utils.formatdate(timestamp or time.time() + self.server.options.clock_ahead, usegmt=True)

    def answer(self, status, body=b"", kind="text/plain", headers=()):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        if self.path != "/latest/api/token":
            return self.answer(404)
        if "X-Forwarded-For" in self.headers:
            return self.answer(403)
        life = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not life.isdigit() or not 1 <= int(life) <= 21600:
            return self.answer(400)
        # As on EC2, only this answer is lost beyond the hop limit.
        self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self.server.options.hop_limit)
        token = secrets.token_urlsafe(40)
        self.tokens[token] = time.time() + int(life)
        return self.answer(200, token, headers=[("X-aws-ec2-metadata-token-ttl-seconds", life)])

    def do_GET(self):
        if self.tokens.get(self.headers.get("X-aws-ec2-metadata-token", ""), 0) < time.time():
            return self.answer(401)
        version = re.match(r"^/(latest|\d{4}-\d\d-\d\d)(/[^?]*)?", self.path)
        if not version:
            return self.answer(404)
        parts = [part for part in (version.group(2) or "").split("/") if part]
        if parts == ["user-data"]:
            body = self.server.tree.user_data()
            return self.answer(200, body, "application/octet-stream") if body else self.answer(404)
        return self.serve_node(parts)

    def serve_node(self, parts):
        node = {**self.server.tree.get(), "user-data": ""}
        for part in parts:
            if not isinstance(node, dict) or part not in node:
                return self.answer(404)
            node = node[part]
        if isinstance(node, int):
            return self.answer(node)
        if isinstance(node, dict):
            # Folders are listed with a slash, documents and tag keys without.
            return self.answer(200, "\n".join(key + ("/" if isinstance(value, dict) else "") for key, value in node.items()))
        return self.answer(200, node)


class Server(ThreadingHTTPServer):
    allow_reuse_address = True
    request_queue_size = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--account", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--mac", required=True)
    parser.add_argument("--not-in", required=True, help="the network namespace to refuse to run in")
    parser.add_argument("--late", type=float, default=0, help="seconds during which connections are refused")
    parser.add_argument("--hop-limit", type=int, default=64)
    parser.add_argument("--clock-ahead", type=float, default=0, help="seconds by which its clock is ahead")
    options = parser.parse_args()
    if os.readlink("/proc/self/ns/net") == options.not_in:
        sys.exit("imds.py: refusing to run in the machine's own network, where 169.254.169.254 may be in use")
    sys.stdout = open(os.path.join(options.folder, "imds.log"), "a", buffering=1, encoding="utf-8")
    time.sleep(options.late)
    server = Server(("169.254.169.254", 80), Handler)
    server.options, server.tree = options, Tree(options)
    server.serve_forever()


# EC2 reports the launch some seconds before the kernel starts.
LAUNCHED = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=5)

if __name__ == "__main__":
    main()
