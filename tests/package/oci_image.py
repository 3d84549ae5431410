"""Makes container images with packaging/oci-image and checks them by the OCI image specification: digests, sizes, media
types, platforms, what the image contains, and its user. Runs the binary in a root that is the unpacked image. If a
docker daemon answers here, also loads the image into it. Prints `N passed, N failed`, and `NOT CHECKED: ...` without docker.

Usage: oci_image.py ECS_ROLLOUT, a static binary for the processor of this machine"""

import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "packaging" / "oci-image"
REVISION = "org.opencontainers.image.revision"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# `e_machine`, at byte 18 of the ELF header.
MACHINES = {"amd64": 0x3E, "arm64": 0xB7}


def make(out, *arguments, environment=()):
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **dict(environment)}
    return subprocess.run([SCRIPT, "--out", out, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)


class Archive:
    """An archive with an OCI image layout. Reads a blob only with the digest and the size of its descriptor."""

    def __init__(self, path):
        with tarfile.open(path) as tar:
            self.members = tar.getmembers()
            self.files = {one.name: tar.extractfile(one).read() for one in self.members if one.isfile()}
        assert json.loads(self.files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
        self.index = json.loads(self.files["index.json"])
        assert (self.index["schemaVersion"], self.index["mediaType"], len(self.index["manifests"])) == (2, INDEX, 1)
        self.used = set()
        self.tag = self.index["manifests"][0]["annotations"]["io.containerd.image.name"]

    def blob(self, descriptor, media_type):
        assert descriptor["mediaType"] == media_type, descriptor
        algorithm, _, digest = descriptor["digest"].partition(":")
        content = self.files[f"blobs/{algorithm}/{digest}"]
        self.used.add(f"blobs/{algorithm}/{digest}")
        assert hashlib.new(algorithm, content).hexdigest() == digest and len(content) == descriptor["size"], descriptor
        return content

    def images(self):
        """The platform, the configuration and the unpacked layer of each image."""
        top = self.index["manifests"][0]
        descriptors = [top]
        if top["mediaType"] == INDEX:
            inner = json.loads(self.blob(top, INDEX))
            assert (inner["schemaVersion"], inner["mediaType"]) == (2, INDEX), inner
            descriptors = inner["manifests"]
        for descriptor in descriptors:
            manifest = json.loads(self.blob(descriptor, MANIFEST))
            assert (manifest["schemaVersion"], manifest["mediaType"], len(manifest["layers"])) == (2, MANIFEST, 1)
            config = json.loads(self.blob(manifest["config"], CONFIG))
            layer = gzip.decompress(self.blob(manifest["layers"][0], LAYER))
            assert config["rootfs"] == {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
            assert (config["os"], config["architecture"]) == tuple(descriptor["platform"][key]
                                                                   for key in ("os", "architecture"))
            yield config["architecture"], config, layer


def of_processor(binary, folder, processor):
    """A copy of the binary whose header names this processor."""
    content = bytearray(binary.read_bytes())
    content[18:20] = MACHINES[processor].to_bytes(2, "little")
    path = folder / processor
    path.write_bytes(content)
    return path


def is_valid(archive, binaries, revision):
    """Digests, platforms, labels and content are right, and nothing else is in the archive."""
    seen = {}
    for processor, config, layer in archive.images():
        own = config["config"]
        assert own["User"] == "65532:65532" and own["Entrypoint"] == ["/usr/bin/ecs-rollout"], own
        assert own["Labels"][REVISION] == revision, own
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            names = [(one.name, one.mode, one.uid, one.gid) for one in tar.getmembers()]
            seen[processor] = tar.extractfile("usr/bin/ecs-rollout").read()
        folders = [(name, 0o755, 0, 0) for name in ("usr", "usr/bin")]
        assert names == [*folders, ("usr/bin/ecs-rollout", 0o755, 0, 0), ("work", 0o755, 0, 0)], names
    assert seen == {processor: path.read_bytes() for processor, path in binaries.items()}
    blobs = {name for name in archive.files if name.startswith("blobs/")}
    assert blobs == archive.used, blobs ^ archive.used
    assert all((one.uid, one.gid) == (0, 0) for one in archive.members)


def one_processor(work, binary, native):
    out = work / "one.tar"
    ended = make(out, "--revision", "0123abc", binary)
    assert ended.returncode == 0, ended.stdout
    archive = Archive(out)
    is_valid(archive, {native: binary}, "0123abc")
    # The format of `docker save`.
    (legacy,) = json.loads(archive.files["manifest.json"])
    assert legacy["RepoTags"] == [archive.tag] and archive.tag.startswith("ecs-rollout:"), legacy
    assert {legacy["Config"], *legacy["Layers"]} < archive.used, legacy


def two_processors(work, binary, _):
    out = work / "two.tar"
    binaries = {processor: of_processor(binary, work, processor) for processor in MACHINES}
    ended = make(out, "--tag", "registry.example/team/ecs-rollout:1.2-rc", *binaries.values())
    assert ended.returncode == 0, ended.stdout
    head = subprocess.check_output(["git", "-C", ROOT, "rev-parse", "HEAD"], text=True).strip()
    archive = Archive(out)
    is_valid(archive, binaries, head)
    assert archive.tag == "registry.example/team/ecs-rollout:1.2-rc" and "manifest.json" not in archive.files


def same_bytes(work, binary, _):
    """Two runs give the same bytes: in another folder, at another time, with another umask and another order."""
    first, second = work / "first.tar", work / "folder" / "second.tar"
    binaries = [of_processor(binary, work, processor) for processor in MACHINES]
    assert make(first, *binaries).returncode == 0
    for path in binaries:
        os.utime(path, (1, 1))
        path.chmod(0o700)
    before = os.umask(0o077)
    try:
        assert make(second, *reversed(binaries), environment={"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"}).returncode == 0
    finally:
        os.umask(before)
    assert first.read_bytes() == second.read_bytes()


def wrong_input(work, binary, native):
    """Wrong input is refused, and no archive is written."""
    text, dynamic, out = work / "text", shutil.which("bash"), work / "wrong.tar"
    text.write_text("#!/bin/sh\n")
    for arguments in ([], [text], [dynamic], [binary, binary], [work / "absent"], [binary, "--tag", "Upper:1"],
                      [binary, "--tag", "name"], [binary, "--other"], [binary, "--tag"]):
        ended = make(out, *arguments)
        assert ended.returncode in (1, 2) and "error: " in ended.stdout, f"{arguments}: {ended}"
        assert not out.exists(), arguments


def runs_alone(work, binary, native):
    """The binary runs in a root that contains the image and nothing else, as another user than root."""
    out, root = work / "run.tar", work / "root"
    assert make(out, binary).returncode == 0
    (_, config, layer), = Archive(out).images()
    program = root / "usr" / "bin" / "ecs-rollout"
    program.parent.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        program.write_bytes(tar.extractfile("usr/bin/ecs-rollout").read())
    for path in (root, root / "usr", root / "usr" / "bin", program):
        path.chmod(0o755)
    user = config["config"]["User"]
    enter = ["chroot", f"--userspec={user}"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "chroot"]
    command = [*enter, root, *config["config"]["Entrypoint"], "--version"]
    said = subprocess.run(command, env={"PATH": "/usr/sbin:/usr/bin:/bin"}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    assert said.returncode == 0 and said.stdout.startswith("ecs-rollout "), said


def loads_into_docker(work, binary, _):
    """docker loads the image and runs it."""
    out, tag = work / "docker.tar", f"ecs-rollout-test:{os.getpid()}"
    assert make(out, "--tag", tag, binary).returncode == 0
    subprocess.run(["docker", "load", "--input", out], check=True, stdout=subprocess.DEVNULL)
    try:
        said = subprocess.check_output(["docker", "run", "--rm", "--network", "none", tag, "--version"], text=True)
        assert said.startswith("ecs-rollout "), said
    finally:
        subprocess.run(["docker", "image", "rm", tag], check=True, stdout=subprocess.DEVNULL)


def has_docker():
    if not shutil.which("docker"):
        return False
    try:
        return subprocess.run(["docker", "version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20,
                              check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    machine = int.from_bytes(binary.read_bytes()[18:20], "little")
    native = next(name for name, number in MACHINES.items() if number == machine)
    cases = [one_processor, two_processors, same_bytes, wrong_input, runs_alone]
    if has_docker():
        cases.append(loads_into_docker)
    failed = 0
    for case in cases:
        name = (case.__doc__ or f"an image for {case.__name__.replace('_', ' ')}").split(".")[0]
        with tempfile.TemporaryDirectory() as work:
            try:
                case(pathlib.Path(work), binary, native)
                print(f"ok: {name}")
            except (AssertionError, LookupError, subprocess.CalledProcessError) as error:
                failed += 1
                print(f"FAILED: {name}\n  {error}")
    if loads_into_docker not in cases:
        print("NOT CHECKED: docker loads the image: no docker daemon answers here")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
