"""Instance metadata, version 2 only, and the credentials of the role or of the environment."""

import json
import urllib.error
import urllib.request

IMDS = "http://169.254.169.254/latest/"


class NoCredentials(Exception):
    """The text is that of the SDK."""


class Metadata:
    def __init__(self, environment):
        self.environment = environment
        self.token = None

    @staticmethod
    def fetch(path, method="GET", headers=None):
        request = urllib.request.Request(IMDS + path, method=method, headers=headers or {})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.read().decode("utf-8", "replace")

    def get(self, path):
        """The document, or None if it does not exist."""
        try:
            if self.token is None:
                self.token = self.fetch("api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "21600"})
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
        """Key id, secret and token. As in the SDK, keys in the environment come before the role."""
        keys = [self.environment.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")]
        if keys[0] and keys[1]:
            return keys
        folder = "meta-data/iam/security-credentials/"
        role = self.ask(folder)
        if not role:
            raise NoCredentials("failed to refresh cached credentials, no EC2 IMDS role found, operation error ec2imds: "
                                "GetMetadata, http response error StatusCode: 404, request to EC2 IMDS failed")
        found = json.loads(self.ask(folder + role.split("\n")[0], "{}"))
        if found.get("Code") != "Success":
            raise NoCredentials("failed to refresh cached credentials, failed to get credentials from EC2 IMDS, "
                                f"{found.get('Code')}: {found.get('Message')}")
        return [found["AccessKeyId"], found["SecretAccessKey"], found["Token"]]
