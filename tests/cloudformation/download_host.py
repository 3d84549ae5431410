"""A simulated host for packaging/cloud-init/download.sh: its files, its programs, and the services around it.

The services (files, S3, CloudFormation, instance metadata) are one server on loopback, which also checks the signatures
of curl with botocore. `curl` is a script that sends every request to this server, so nothing leaves this machine."""

import hashlib
import http.server
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials

import user_data

PROGRAM = b'#!/bin/sh\necho "ecs-bootstrap $*" >>"$LOG"\n' + b"# padding\n" * 500
FILES = "https://files.test/ecs-bootstrap"
S3 = "s3://my-bucket/v1/ecs-bootstrap"
METADATA, CLOUDFORMATION = "169.254.169.254", "cloudformation.eu-west-1.amazonaws.com"
SECRET = "sec/ret+KEY"
CREDENTIALS = f"""{{
  "Code" : "Success",
  "AccessKeyId" : "ASIATEST",
  "SecretAccessKey" : "{SECRET}",
  "Token" : "to/ken=="
}}"""
TREE = {
    "instance-id": "i-0123456789abcdef0", "placement/region": "eu-west-1", "services/domain": "amazonaws.com",
    "iam/security-credentials/": "instance-role", "iam/security-credentials/instance-role": CREDENTIALS,
}
COREUTILS = "cat chmod cut mkdir mktemp mv rm sed sha256sum timeout tr uname".split()


class World(http.server.ThreadingHTTPServer):
    """One host: its files, its programs, and the services around it."""

    daemon_threads = True

    def __init__(self, shell, url=FILES, content=PROGRAM):
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.shell, self.url, self.content, self.checksum = shell, url, content, hashlib.sha256(content).hexdigest()
        # The answers to the requests in order, the last one for all others: a status, or a function of the handler.
        self.files, self.signals, self.metadata = [200], [200], [200]
        self.requests, self.received, self.proxied, self.bad_signatures = [], [], [], []
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.programs = self.folder / "programs"
        for name in ("usr/bin", "etc/systemd/system", "programs", "tmp"):
            (self.folder / name).mkdir(parents=True)
        for name in COREUTILS:
            (self.programs / name).symlink_to(shutil.which(name))
        self.program("sleep", 'echo "sleep $1" >>"$LOG"')
        self.program("systemctl", 'echo "systemctl $*" >>"$LOG"\n[ "$1" != cat ]')
        self.program("cloud-init", 'case "$*" in\n"query instance_id") echo i-of-cloud-init ;;\n'
                                   '"query region") echo eu-west-1 ;;\n*) exit 1 ;;\nesac')
        self.curl()
        self.environment = {}

    def program(self, name, text):
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def curl(self, files="", signing=""):
        """`files` and `signing`: what curl does in place of a request to the files or a signed request."""
        self.program("curl", f'''
            printf 'curl %s\\n' "$*" >>"$LOG"
            set -- "${{@/#https:/http:}}"
            case "$*" in *"//files.test"*) {files or ":"} ;; esac
            case "$*" in *--aws-sigv4*) {signing or ":"} ;; esac
            [[ -n "${{http_proxy:-}}" && "$*" != *--noproxy* ]] ||
                set -- --connect-to ::127.0.0.1:{self.server_port} "$@"
            exec {shutil.which("curl")} "${{@/#=https/=http}}"''')

    def path(self, name):
        return self.folder / name

    def script(self, stack="fleet", resource="Group"):
        header = (f"url='{self.url}'\nsha256='{self.checksum}'\nstack='{stack}' resource='{resource}'\n"
                  "settings='cluster = \"prod\"\nx = 1'")
        text = user_data.PARAMETERS.sub(lambda _: header, user_data.SCRIPT, count=1)
        for name in ("/usr/bin", "/etc", "/dev/console"):
            text = text.replace(name, str(self.folder) + name)
        (self.folder / "dev").mkdir(exist_ok=True)
        path = self.folder / "script"
        path.write_text(text)
        return path

    def start(self, **options):
        command = ["busybox", "sh"] if self.shell == "busybox" else [self.shell]
        environment = {"PATH": str(self.programs), "LOG": str(self.folder / "log"), **self.environment}
        return subprocess.Popen(
            [shutil.which(command[0]), *command[1:], self.script(**options)], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=self.folder, umask=0, env=environment)

    def run(self, **options):
        process = self.start(**options)
        self.said, _ = process.communicate(timeout=60)
        self.status = process.returncode
        return self

    def log(self):
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def pauses(self):
        return [int(line.split()[1]) for line in self.log() if line.startswith("sleep ")]

    def console(self):
        path = self.path("dev/console")
        return path.read_text() if path.exists() else ""

    def answer(self, service, handler):
        answers = getattr(self, service)
        chosen = answers.pop(0) if len(answers) > 1 else answers[0]
        content = self.content if service == "files" else b""
        return handler.send(chosen, content) if isinstance(chosen, int) else chosen(handler)


class Handler(http.server.BaseHTTPRequestHandler):
    def handle_request(self):
        world, host = self.server, self.headers["Host"]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urllib.parse.urlsplit(self.path)
        if url.netloc:
            world.proxied.append(self.path)
            host, self.path = url.netloc, url.path + (f"?{url.query}" if url.query else "")
        world.requests.append(f"{self.command} {host}{self.path}")
        if "Authorization" in self.headers and self.headers["Authorization"].startswith("AWS4"):
            self.check_signature(body)
        if host == METADATA:
            return self.metadata(world)
        if host == CLOUDFORMATION:
            world.received.append(dict(urllib.parse.parse_qsl(body.decode())))
            return world.answer("signals", self)
        return world.answer("files", self)

    do_GET = do_POST = do_PUT = handle_request

    def metadata(self, world):
        if world.metadata[0] != 200:
            return world.answer("metadata", self)
        world.metadata = world.metadata[1:] or [200]
        if self.command == "PUT":
            return self.send(200, b"TOKEN")
        found = TREE.get(self.path.removeprefix("/latest/meta-data/"))
        if self.headers.get("X-aws-ec2-metadata-token") != "TOKEN":
            return self.send(401)
        return self.send(200, found.encode()) if found else self.send(404)

    def check_signature(self, body):
        header = self.headers["Authorization"]
        names = ("Credential", "SignedHeaders", "Signature")
        scope, signed, given = (re.search(rf"{name}=([^,]+)", header).group(1) for name in names)
        _, _, region, service, _ = scope.split("/")
        request = botocore.awsrequest.AWSRequest(
            self.command, f"https://{self.headers['Host']}{self.path}", data=body,
            headers={name: self.headers[name] for name in signed.split(";")})
        kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
        signer = kind(botocore.credentials.Credentials("ASIATEST", SECRET), service, region)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        right = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        if service == "s3" and "x-amz-content-sha256" not in signed.split(";"):
            right = "S3 refuses a request without this header"
        if right != given or "x-amz-security-token" not in signed or self.headers["X-Amz-Security-Token"] != "to/ken==":
            self.server.bad_signatures.append(header)

    def send(self, status, content=b"", length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass
