"""The registry of ECR, as docker sees it (OCI Distribution Specification), with the images of `aws/images.json`.

In: `{"team/app:1": {"megabytes": 20, "seconds": 6}}`: the compressed size, and how long the download of the layers takes. Any
other image is unknown. The login is that of moto's ecr:GetAuthorizationToken. Out: manifests and blobs, and a line in `api.log` for
each request.
"""

import base64
import gzip
import hashlib
import io
import json
import os
import random
import tarfile
import time

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LAYERS = 2
PIECES = 20


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Image:
    """An image of two layers with random content, which cannot be compressed."""

    def __init__(self, name, megabytes, seconds=0):
        self.seconds = seconds / LAYERS
        self.blobs, diffs, layers = {}, [], []
        for number in range(LAYERS):
            content = random.Random(f"{name} {number}").randbytes(int(megabytes * 1_000_000 / LAYERS))
            raw = io.BytesIO()
            with tarfile.open(fileobj=raw, mode="w") as archive:
                member = tarfile.TarInfo(f"content-{number}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            packed = gzip.compress(raw.getvalue(), 1, mtime=0)
            diffs.append(digest(raw.getvalue()))
            self.blobs[digest(packed)] = packed
            layers.append({"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": len(packed),
                           "digest": digest(packed)})
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs}})
        config = config.encode()
        self.blobs[digest(config)] = config
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers, "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": digest(config)}}).encode()


class Registry:
    def __init__(self, folder):
        try:
            with open(os.path.join(folder, "aws", "images.json"), encoding="utf-8") as file:
                self.images = {name: Image(name, **options) for name, options in json.load(file).items()}
        except FileNotFoundError:
            self.images = {}

    def is_for(self, handler):
        return ".dkr.ecr." in handler.headers.get("Host", "")

    def serve(self, handler):
        status, kind, content, seconds = self.found(handler)
        handler.server.account.note(service="registry", operation=handler.command, status=status, request=handler.path)
        handler.send_response(status)
        handler.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        if status == 401:
            handler.send_header("WWW-Authenticate", f'Basic realm="https://{handler.headers["Host"]}/",service="ecr.amazonaws.com"')
        elif kind == MANIFEST:
            handler.send_header("Docker-Content-Digest", digest(content))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        size = max(1, len(content) // PIECES)
        for start in range(0, len(content), size):
            handler.wfile.write(content[start:start + size])
            handler.wfile.flush()
            time.sleep(seconds / PIECES)

    def found(self, handler):
        """Status, type, content, and the seconds to send it."""
        login = base64.b64decode(handler.headers.get("Authorization", "").removeprefix("Basic ")).decode("utf-8", "replace")
        if not (login.startswith("AWS:") and len(login) > 5):
            return 401, "application/json", self.error("UNAUTHORIZED", "authentication required"), 0
        _, _, path = handler.path.partition("/v2/")
        repository, _, reference = path.partition("/manifests/")
        if reference:
            for name, image in self.images.items():
                if name == f"{repository}:{reference}" or (name.startswith(repository + ":") and reference == digest(image.manifest)):
                    return 200, MANIFEST, image.manifest, 0
            return 404, "application/json", self.error("MANIFEST_UNKNOWN", "Requested image not found"), 0
        repository, _, reference = path.partition("/blobs/")
        for image in self.images.values():
            if reference in image.blobs:
                blob = image.blobs[reference]
                return 200, "application/octet-stream", blob, image.seconds if len(blob) > 10_000 else 0
        return (404, "application/json", self.error("BLOB_UNKNOWN", "unknown"), 0) if path else (200, "application/json", b"{}", 0)

    @staticmethod
    def error(code, message):
        return json.dumps({"errors": [{"code": code, "message": message}]}).encode()
