"""The control plane of ECS as the agent sees it: ACS, which sends tasks, and TCS, which takes telemetry.

From ecs-agent/{acs,tcs,wsclient}. Both are WebSockets at `/ws` of the endpoints that ecs:DiscoverPollEndpoint returns. The
server sends a ping every second and a heartbeat message from time to time; it never sends a task, and ignores what the
agent sends. `agentConnected` is true as long as the ACS connection answers. A refusal has the form that the agent knows,
`{"type": CODE, "message": {"message": TEXT}}`; with `body` in place of `code` the fault is the answer of something else,
such as a proxy, and the agent reports a bad handshake. A fault `acs` ends each connection that is open.
"""

import json
import time
import urllib.parse
import uuid

import websocket

PING_PAUSE = 1.0
MAX_SILENCE = 3.0  # seconds without an answer after which an agent is disconnected
HEARTBEAT_PAUSE = 20.0


def endpoints(region, fault):
    """The answer to ecs:DiscoverPollEndpoint. `fault` may name another endpoint."""
    endpoint = fault.get("endpoint")
    return {"endpoint": endpoint or f"https://ecs-a-1.{region}.amazonaws.com/",
            "telemetryEndpoint": endpoint or f"https://ecs-t-1.{region}.amazonaws.com/"}


def hold(handler):
    """Answers a request for a WebSocket, and holds the connection until its end."""
    account = handler.server.account
    query = {name: values[0] for name, values in urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query).items()}
    is_acs = "containerInstanceArn" in query
    service, call = ("acs", "ecs:Poll") if is_acs else ("tcs", "ecs:StartTelemetrySession")
    arn = query.get("containerInstanceArn") or query.get("containerInstance", "")
    fault = account.fault(call)
    refusal = refused(handler, arn, fault)
    if refusal is not None:
        account.note(service=service, operation="refused", status=refusal[0], fault=fault, request=arn)
        handler.close_connection = True
        if refusal[0]:
            handler.answer(refusal[0], [("Content-Type", "application/json")], refusal[1])
        return
    handler.send_response(101)
    for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"),
                        ("Sec-WebSocket-Accept", websocket.accept_key(handler.headers["Sec-WebSocket-Key"]))):
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.flush()
    handler.close_connection = True
    if is_acs:
        account.connection(arn, 1)
    account.note(service=service, operation="connected", status=200, request=arn)
    try:
        keep_alive(websocket.WebSocket(handler.connection, False), lambda: is_acs and account.fault("acs"))
    except OSError:
        pass
    finally:
        if is_acs:
            account.connection(arn, -1)
        account.note(service=service, operation="disconnected", status=0, request=arn)


def refused(handler, arn, fault):
    """Status and body if the connection is refused; status 0 closes it without an answer."""
    if handler.headers.get("Upgrade", "").lower() != "websocket" or not handler.headers.get("Authorization"):
        return modelled(403, "AccessDeniedException", "Missing Authentication Token")
    if fault:
        time.sleep(fault.get("delay_s", 0))
    if fault and fault.get("drop"):
        return 0, b""
    if fault and "body" in fault:
        return fault["status"], fault["body"].encode()
    if fault and "status" in fault:
        return modelled(fault["status"], fault["code"], fault.get("message", ""))
    cluster = arn.partition(":container-instance/")[2].partition("/")[0]
    moto = handler.server.account.moto
    if not moto.ecs("DescribeContainerInstances", cluster=cluster, containerInstances=[arn])["containerInstances"]:
        return modelled(400, "InactiveInstanceException", "The container instance has been deregistered.")
    return None


def modelled(status, code, message):
    return status, json.dumps({"type": code, "message": {"message": message}}).encode()


def keep_alive(connection, is_ended):
    connection.connection.settimeout(PING_PAUSE)
    heard = beat = time.monotonic()
    while time.monotonic() - heard < MAX_SILENCE and not is_ended():
        try:
            kind, payload = connection.receive()
            heard = time.monotonic()
            if kind == websocket.PING:
                connection.send(websocket.PONG, payload)
            elif kind == websocket.CLOSE:
                return
        except TimeoutError:
            connection.send(websocket.PING)
        except EOFError:
            return
        if time.monotonic() - beat > HEARTBEAT_PAUSE:
            beat = time.monotonic()
            message = {"generatedAt": int(time.time() * 1000), "healthy": True, "messageId": str(uuid.uuid4())}
            connection.send(websocket.TEXT, json.dumps({"type": "HeartbeatMessage", "message": message}).encode())
