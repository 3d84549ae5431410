"""Error texts of Go and of the AWS SDK for Go, as they stand in the agent's log."""

import http.client
import json
import socket
import ssl


def of_network(problem, host, port):
    """What Go says of a connection that failed."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        if "match" in problem.verify_message:
            return f"tls: failed to verify certificate: x509: certificate is valid for other names, not {host}"
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    if isinstance(problem, socket.gaierror):
        return f"dial tcp: lookup {host} on {name_server()}:53: no such host"
    if isinstance(problem, TimeoutError):
        return f"dial tcp {address(host)}:{port}: i/o timeout"
    if isinstance(problem, ConnectionRefusedError):
        return f"dial tcp {address(host)}:{port}: connect: connection refused"
    if isinstance(problem, (http.client.RemoteDisconnected, ssl.SSLEOFError, EOFError)):
        return "EOF"
    if isinstance(problem, ConnectionResetError):
        return f"read tcp {address(host)}:{port}: read: connection reset by peer"
    return f"dial tcp {address(host)}:{port}: {getattr(problem, 'strerror', None) or problem}".lower()


def address(host):
    try:
        return socket.gethostbyname(host)
    except OSError:
        return host


def name_server():
    try:
        with open("/etc/resolv.conf", encoding="utf-8") as file:
            return next(line.split()[1] for line in file if line.startswith("nameserver "))
    except (OSError, StopIteration):
        return "127.0.0.1"


def of_json(text, problem):
    """What encoding/json says of a text that Python's parser refused."""
    if problem.pos >= len(text.rstrip()) or "Unterminated" in problem.msg:
        return "unexpected end of JSON input"
    expected = {"Expecting property name": "looking for beginning of object key string", "Expecting ':'": "after object key",
                "Expecting ','": "after object key:value pair", "Extra data": "after top-level value"}
    where = next((words for begin, words in expected.items() if problem.msg.startswith(begin)), "looking for beginning of value")
    return f"invalid character '{text[problem.pos]}' {where}"


def parsed(text, wanted, place="Go value"):
    """The value of a JSON text, or ValueError with the text of Go if it is broken or of another type: `dict` and `list`
    are of strings."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as problem:
        raise ValueError(of_json(text, problem)) from problem
    check(value, wanted, place)
    return value


def check(value, wanted, place="Go value"):
    """ValueError with the text of Go if a JSON value is of another type; null is of each type."""
    names = {dict: "map[string]string", list: "[]string", str: "string", int: "uint16"}
    kinds = {dict: "object", list: "array", str: "string", int: "number", float: "number", bool: "bool"}
    if value is not None and type(value) is not wanted:
        raise ValueError(f"json: cannot unmarshal {kinds[type(value)]} into {place} of type {names[wanted]}")
    for inner in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()):
        check(inner, str, place)
