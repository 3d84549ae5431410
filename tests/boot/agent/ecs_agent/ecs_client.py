"""The ECS API: signed with SigV4, over verified TLS, with the attempts and error texts of the AWS SDK for Go."""

import datetime
import hashlib
import hmac
import http.client
import json
import os
import random
import ssl
import time
import urllib.parse

import go_errors
from metadata import NoCredentials

VERSION = "1.105.1"
# The agent's own bundle: its image has one, and the host's is not mounted.
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
ATTEMPTS = 3  # of the SDK, for what another attempt can solve
THROTTLED = ("ThrottlingException", "Throttling", "RequestLimitExceeded")
# The SDK knows these as errors of these calls; of all others it writes `api error CODE`.
MODELLED = ("ClientException", "ServerException", "InvalidParameterException")


class AwsError(Exception):
    """A call that failed. `code` is empty if there was no answer."""

    def __init__(self, operation, text, code="", message="", attempts=1):
        tried = f"exceeded maximum number of attempts, {attempts}, " if attempts > 1 else ""
        super().__init__(f"operation error ECS: {operation}, {tried}{text}")
        self.code, self.message = code, message


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def tls():
    return ssl.create_default_context(cafile=CA_BUNDLE if os.path.exists(CA_BUNDLE) else None)


class Ecs:
    def __init__(self, region, backend_host, metadata):
        self.region, self.metadata = region, metadata
        self.url = urllib.parse.urlsplit(backend_host if "://" in backend_host else f"https://{backend_host}") \
            if backend_host else urllib.parse.urlsplit(f"https://ecs.{region}.amazonaws.com")
        self.host, self.port = self.url.hostname, self.url.port or 443

    def signed(self, method, host, path, query, headers, body):
        """The headers with SigV4's, for any endpoint of ECS."""
        key_id, secret, token = self.metadata.credentials()
        stamp = f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%SZ}"
        headers = {**headers, "host": host, "x-amz-date": stamp, **({"x-amz-security-token": token} if token else {})}
        names = ";".join(sorted(headers))
        canonical = "\n".join([method, path, query, *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names,
                               hashlib.sha256(body).hexdigest()])
        scope = f"{stamp[:8]}/{self.region}/ecs/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + secret).encode()
        for part in scope.split("/"):
            key = sign(key, part)
        authorization = f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={sign(key, text).hex()}"
        return {**headers, "authorization": authorization, "user-agent": f"Amazon ECS Agent - v{VERSION} (*00000000) (linux)"}

    def call(self, operation, **fields):
        """The answer. Throttling, faults of the service and of the network are tried again, as by the SDK."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self.call_once(operation, fields, attempt)
            except AwsError as problem:
                is_final = problem.code and problem.code not in THROTTLED and problem.code != "ServerException"
                if is_final or attempt == ATTEMPTS:
                    raise
            time.sleep(random.random() * 2 ** (attempt - 1))
        return None

    def call_once(self, operation, fields, attempt):
        body = json.dumps(fields).encode()
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"AmazonEC2ContainerServiceV20141113.{operation}"}
        attempts = ATTEMPTS if attempt == ATTEMPTS else 1
        try:
            headers = self.signed("POST", self.host, "/", "", headers, body)
        except NoCredentials as problem:
            raise AwsError(operation, f"get identity: get credentials: {problem}", "NoCredentials") from problem
        try:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=10, context=tls())
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as problem:
            reason = go_errors.of_network(problem, self.host, self.port)
            raise AwsError(operation, "https response error StatusCode: 0, RequestID: , request send failed, "
                                      f'Post "{self.url.geturl()}/": {reason}', attempts=attempts) from problem
        if answer.status == 200:
            return json.loads(text)
        problem = json.loads(text) if text.startswith(b"{") else {}
        code, message = problem.get("__type", "UnknownError").rpartition("#")[2], problem.get("message", "")
        shown = code if code in MODELLED else f"api error {code}"
        is_repeated = code in THROTTLED or code == "ServerException"
        raise AwsError(operation, f"https response error StatusCode: {answer.status}, RequestID: "
                                  f"{answer.headers.get('x-amzn-RequestId', '')}, {shown}: {message}",
                       code, message, attempts if is_repeated else 1)
