#!/usr/bin/env python3
"""Packs the simulated agent into an image for `docker load`, without docker and without a registry.

The image holds the program and the links of a merged /usr. Python comes from the host through read-only bind mounts.
"""

import hashlib
import io
import json
import sys
import tarfile

NAME = "amazon/amazon-ecs-agent:latest"
FOLDERS = ("data", "dev", "etc", "etc/ecs", "etc/ssl", "log", "proc", "run", "sys", "tmp", "usr", "var", "var/cache", "var/lib")
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin", "var/run": "../run"}


def add(archive, name, body=None, link=None):
    entry = tarfile.TarInfo(name)
    entry.mode = 0o755
    if link is not None:
        entry.type, entry.linkname = tarfile.SYMTYPE, link
    elif body is None:
        entry.type = tarfile.DIRTYPE
    else:
        entry.size = len(body)
    archive.addfile(entry, None if body is None else io.BytesIO(body))


def layer(program):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for folder in FOLDERS:
            add(archive, folder)
        for name, target in LINKS.items():
            add(archive, name, link=target)
        add(archive, "agent.py", program)
    return packed.getvalue()


def main(program, image):
    with open(program, "rb") as file:
        content = layer(file.read())
    digest = hashlib.sha256(content).hexdigest()
    config = json.dumps({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/usr/bin/python3", "-u", "/agent.py"], "Env": ["PATH=/usr/sbin:/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]},
    }).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [NAME], "Layers": [digest + "/layer.tar"]}]).encode()
    with tarfile.open(image, "w") as archive:
        add(archive, digest)
        add(archive, digest + "/layer.tar", content)
        add(archive, name, config)
        add(archive, "manifest.json", manifest)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
