#!/usr/bin/env python3
"""Makes images for `docker load`, without docker and without a registry.

  pack.py simulated BUNDLE IMAGE      the simulated agent, with this bundle of certificates
  pack.py trust IMAGE CA TRUSTING    IMAGE with one more layer, in which its own bundle contains the CA too
  pack.py check IMAGE                whether IMAGE is an image of an agent for this machine

The image of the simulated agent holds the program and the links of a merged /usr; Python comes from the host through a read-only bind
mount. IMAGE may be the archive of the real agent. A fault of it is printed, and the exit code is 1.
"""

import hashlib
import io
import json
import os
import platform
import sys
import tarfile

NAME = "amazon/amazon-ecs-agent:latest"  # the image that ecs-init starts
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Where Go looks for certificates on Linux: the first of these files.
BUNDLES = ("etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/ca-bundle.pem",
           "etc/pki/tls/cacert.pem", "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "etc/ssl/cert.pem")
FOLDERS = ("agent", "data", "dev", "etc", "etc/ecs", "etc/ssl", "etc/ssl/certs", "log", "proc", "run", "sbin", "sys", "tmp",
           "usr", "var", "var/cache", "var/lib")
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "var/run": "../run"}


class Unusable(Exception):
    """An image that cannot be used, and why."""


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


def packed(files, folders=(), links=()):
    """A tar archive in memory."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        for folder in folders:
            add(archive, folder)
        for name, target in dict(links).items():
            add(archive, name, link=target)
        for name, body in files.items():
            add(archive, name, body)
    return memory.getvalue()


class Image:
    """The configuration and the layers of one image."""

    def __init__(self, config, layers):
        self.config, self.layers = config, layers

    @classmethod
    def read(cls, path):
        try:
            with tarfile.open(path) as archive:
                manifest = json.load(archive.extractfile("manifest.json"))
                if len(manifest) != 1:
                    raise Unusable(f"{path} holds {len(manifest)} images, and must hold one")
                config = json.load(archive.extractfile(manifest[0]["Config"]))
                return cls(config, [archive.extractfile(layer).read() for layer in manifest[0]["Layers"]])
        except tarfile.TarError as problem:
            raise Unusable(f"{path} is not a tar archive") from problem
        except (KeyError, ValueError, TypeError, AttributeError) as problem:
            raise Unusable(f"{path} is not an image archive of `docker save`: {problem}") from problem

    def add_layer(self, layer):
        self.layers.append(layer)
        self.config["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(layer).hexdigest())
        if "history" in self.config:
            self.config["history"].append({"created_by": "tests/boot/agent/pack.py"})

    def write(self, path):
        config = json.dumps(self.config).encode()
        name = hashlib.sha256(config).hexdigest() + ".json"
        files = {f"{number}/layer.tar": layer for number, layer in enumerate(self.layers)}
        manifest = [{"Config": name, "RepoTags": [NAME], "Layers": list(files)}]
        files.update({name: config, "manifest.json": json.dumps(manifest).encode()})
        with open(path + ".new", "wb") as file:
            file.write(packed(files, [str(number) for number in range(len(self.layers))]))
        os.rename(path + ".new", path)

    def file(self, path, depth=8):
        """The content of a file as a container sees it; None if there is none."""
        for layer in reversed(self.layers):
            with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
                entry = next((one for one in archive.getmembers() if os.path.normpath(one.name).lstrip("/") == path), None)
                if entry is None:
                    continue
                if entry.issym() and depth:
                    target = os.path.normpath(os.path.join("/", os.path.dirname(path), entry.linkname)).lstrip("/")
                    return self.file(target, depth - 1)
                return archive.extractfile(entry).read() if entry.isfile() else None
        return None

    def check(self):
        wanted = ARCHITECTURES.get(platform.machine())
        if self.config.get("architecture") != wanted or self.config.get("os") != "linux":
            raise Unusable(f"the image is for {self.config.get('os')}/{self.config.get('architecture')}, and this machine is "
                           f"linux/{wanted}")
        if not any("agent" in word for word in self.config["config"].get("Entrypoint") or []):
            raise Unusable("the entry point of the image is not the agent")
        self.bundle()

    def bundle(self):
        """Path and content of the bundle that the agent uses."""
        for path in BUNDLES:
            if (content := self.file(path)) is not None:
                return path, content
        raise Unusable("the image has no bundle of certificates at a place that Go knows")


def simulated(bundle, image):
    here = os.path.dirname(os.path.realpath(__file__))
    sources = [os.path.join(here, "ecs_agent", name) for name in sorted(os.listdir(os.path.join(here, "ecs_agent")))]
    files = {}
    for source in [*(one for one in sources if one.endswith(".py")), os.path.join(here, "..", "websocket.py")]:
        with open(source, "rb") as file:
            files["agent/" + os.path.basename(source)] = file.read()
    with open(bundle, "rb") as file:
        files[BUNDLES[0]] = file.read()
    made = Image({"architecture": ARCHITECTURES[platform.machine()], "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
                  "config": {"Entrypoint": ["/usr/bin/python3", "-u", "/agent"], "Env": ["PATH=/usr/sbin:/usr/bin"],
                             "Healthcheck": {"Test": ["CMD", "/usr/bin/python3", "/agent", "--healthcheck"]}}}, [])
    made.add_layer(packed(files, FOLDERS, LINKS))
    made.write(image)


def trust(image, authority, trusting):
    changed = Image.read(image)
    path, bundle = changed.bundle()
    with open(authority, "rb") as file:
        changed.add_layer(packed({path: bundle.rstrip() + b"\n" + file.read()}))
    changed.write(trusting)


def main(action, *paths):
    try:
        {"simulated": simulated, "trust": trust, "check": lambda image: Image.read(image).check()}[action](*paths)
    except Unusable as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main(*sys.argv[1:])
