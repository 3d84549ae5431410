"""The agent's connections to the control plane: ACS, which sends tasks, and TCS, which takes telemetry.

From ecs-agent/{acs/session,tcs/handler,wsclient}: DiscoverPollEndpoint, a signed WebSocket handshake, heartbeats, and a
new attempt after every error, with growing pauses. A deregistered instance waits for an hour. Never ends the agent.
"""

import base64
import json
import os
import random
import socket
import threading
import time
import urllib.parse

import go_errors
import websocket
from ecs_client import VERSION, AwsError, tls
from metadata import NoCredentials

INACTIVE_PAUSE = 3600
SILENCE = 60  # seconds without a message after which the agent closes the connection


class Refused(Exception):
    """The connection cannot be made. The text is that of the agent's log."""


class Pauses:
    """Growing pauses between attempts, in seconds."""

    def __init__(self, least, most, factor):
        self.least, self.most, self.factor = least, most, factor
        self.next = least

    def take(self):
        pause = self.next * random.uniform(1, 1.2)
        self.next = min(self.most, self.next * self.factor)
        return pause

    def reset(self):
        self.next = self.least


def duration(seconds):
    """As Go writes it: `1h0m0s`, `1m3.2s`, `312.5ms`."""
    if seconds < 1:
        return f"{seconds * 1000:.6f}".rstrip("0").rstrip(".") + "ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    rest = f"{rest:.9f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{rest}" if hours else f"{minutes}m{rest}" if minutes else rest


class ControlPlane:
    """Finds the endpoints, and remembers them for hours, as the agent does."""

    def __init__(self, log, ecs, cluster, arn):
        self.log, self.ecs, self.cluster, self.arn = log, ecs, cluster, arn
        self.found, self.lock = None, threading.Lock()

    def endpoint(self, name):
        with self.lock:
            if self.found is None:
                self.found = self.ecs.call("DiscoverPollEndpoint", containerInstance=self.arn, cluster=self.cluster)
            else:
                self.log("info", "Using cached DiscoverPollEndpoint", endpoint=self.found["endpoint"],
                         telemetryEndpoint=self.found["telemetryEndpoint"], containerInstanceARN=self.arn)
            return self.found[name]

    def connect(self, endpoint, query):
        """An open WebSocket."""
        url = urllib.parse.urlsplit(endpoint.rstrip("/") + "/ws?" + urllib.parse.urlencode(sorted(query.items())))
        self.log("info", "Establishing a Websocket connection", url=url.geturl())
        host, port = url.hostname, url.port or 443
        try:
            connection = tls().wrap_socket(socket.create_connection((host, port), timeout=30), server_hostname=host)
            self.ask(connection, url)
            head, rest = self.read_head(connection)
        except NoCredentials as problem:
            raise Refused(str(problem)) from problem
        except OSError as problem:
            raise self.refused(url, "", go_errors.of_network(problem, host, port)) from problem
        except EOFError as problem:
            raise self.refused(url, "", "unexpected EOF") from problem
        if head.startswith("HTTP/1.1 101 "):
            return websocket.WebSocket(connection, True, rest)
        body = self.read_body(connection, head, rest)
        try:
            answer = json.loads(body)
            raise Refused(f"{answer['type']}: {answer['message']['message']}")
        except (ValueError, KeyError, TypeError) as problem:
            raise self.refused(url, body, "websocket: bad handshake") from problem

    def refused(self, url, body, reason):
        self.log("warn", f"Error creating a websocket client: {reason}")
        return Refused(f"websocket client: unable to dial {url.netloc} response: {body}: {reason}")

    def ask(self, connection, url):
        headers = self.ecs.signed("GET", url.netloc, "/ws", url.query, {}, b"")
        headers.update({"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13",
                        "sec-websocket-key": base64.b64encode(os.urandom(16)).decode()})
        lines = [f"GET {url.path}?{url.query} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        connection.sendall("\r\n".join(lines).encode())

    @staticmethod
    def read_head(connection):
        received = b""
        while b"\r\n\r\n" not in received:
            data = connection.recv(65536)
            if not data:
                raise EOFError
            received += data
        head, _, rest = received.partition(b"\r\n\r\n")
        return head.decode("latin-1"), rest

    @staticmethod
    def read_body(connection, head, rest):
        sizes = [int(line.split(":")[1]) for line in head.lower().split("\r\n") if line.startswith("content-length:")]
        while sizes and len(rest) < sizes[0] and (data := connection.recv(65536)):
            rest += data
        return rest.decode("utf-8", "replace")


def serve(socket_, log, on_message):
    """Answers what the service sends, until the connection ends."""
    socket_.connection.settimeout(SILENCE * random.uniform(1, 2))
    try:
        while True:
            kind, payload = socket_.receive()
            if kind == websocket.PING:
                socket_.send(websocket.PONG, payload)
            elif kind == websocket.CLOSE:
                return None
            elif kind == websocket.TEXT:
                on_message(json.loads(payload))
    except TimeoutError:
        log("warn", "ACS Connection hasn't had any activity for too long; closing connection")
        return "closed"
    except (OSError, EOFError) as problem:
        return str(problem)
    finally:
        socket_.connection.close()


def run_acs(plane):
    """Connects to ACS without end."""
    log, pauses = plane.log, Pauses(0.25, 120, 1.5)

    def answer(message):
        log("debug", "ACS activity occurred")
        if message.get("type") == "HeartbeatMessage":
            acknowledged = {"type": "HeartbeatAckRequest", "message": {"messageId": message["message"].get("messageId", "")}}
            connected.send(websocket.TEXT, json.dumps(acknowledged).encode())

    while True:
        pause = None
        try:
            endpoint = plane.endpoint("endpoint")
            connected = plane.connect(endpoint, {"agentHash": "00000000", "agentVersion": VERSION, "clusterArn": plane.cluster,
                                                 "containerInstanceArn": plane.arn, "dockerVersion": "20.10.24+dfsg1",
                                                 "protocolVersion": "2", "sendCredentials": "true", "seqNum": "1"})
            log("info", "Connected to ACS endpoint")
            began = time.monotonic()
            ended = serve(connected, log, answer)
            if time.monotonic() - began > SILENCE:
                pauses.reset()
            if ended is None:
                log("info", "ACS WebSocket connection closed for a valid reason")
                continue
            log("error", "Error getting message from ws backend", error=ended)
        except AwsError as problem:
            log("error", "ACS: Unable to discover poll endpoint", error=problem)
        except Refused as problem:
            log("error", "Failed to connect to ACS", error=problem)
            if str(problem).startswith("InactiveInstanceException"):
                log("info", "Container instance is deregistered")
                pause = INACTIVE_PAUSE
        pause = pause or pauses.take()
        log("info", "Waiting before reconnecting to ACS", reconnectDelay=duration(pause))
        time.sleep(pause)
        log("info", "Done waiting; reconnecting to ACS")


def run_tcs(plane):
    """Connects to TCS without end. Nothing depends on it."""
    log, pauses = plane.log, Pauses(1, 60, 2)
    while True:
        try:
            endpoint = plane.endpoint("telemetryEndpoint")
            connected = plane.connect(endpoint, {"agentHash": "00000000", "agentVersion": VERSION, "cluster": plane.cluster,
                                                 "containerInstance": plane.arn, "dockerVersion": "20.10.24+dfsg1"})
            log("info", "Connected to TCS endpoint")
            pauses.reset()
            ended = serve(connected, log, lambda message: None)
            log("info", f"Stopping websocket connection to TCS: {ended}", module="handler.go")
        except AwsError as problem:
            log("error", f"tcs: unable to discover poll endpoint, err: {problem}", module="handler.go")
        except Refused as problem:
            log("error", f"Error connecting to TCS: {problem}", module="handler.go")
        time.sleep(pauses.take())
