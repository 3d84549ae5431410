"""Runs every sample, template and script that downloads something against a server that gives wrong answers. The script
must fail, and an unchecked file must never be at the final path or executable. Also checks that no shipped script
uses a fixed name in /tmp, which another user of the machine could create first. Prints `N passed, N failed`.

Needs a Python with PyYAML, and curl. The programs that samples install with (dpkg, sudo, ecs-bootstrap) are replaced by
fake programs, and `/usr/bin/` by a folder of the test.
"""

import gzip
import hashlib
import http.server
import io
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
# The served program. It records that it ran, so that a sample that runs it too early is noticed.
PROGRAM = b'#!/bin/sh\necho "$0 $*" >>"$RAN"\n' + b"# padding\n" * 2000
PAGE = b"<html><body>Sign in to the network</body></html>\n"
WAIT = 20


class Tags(yaml.SafeLoader):
    """Reads templates with CloudFormation tags. Only the values of the tags are used here."""


def _value(loader, _suffix, node):
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


Tags.add_multi_constructor("!", _value)


def texts(value):
    """Every text of a document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        if value and all(isinstance(inner, str) for inner in value):
            yield "\n".join(value)
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def of_yaml(path):
    """The only script of the document that downloads. A list of commands is one script."""
    found = {text for text in texts(yaml.load(path.read_text(encoding="utf-8"), Tags)) if re.search(r"\bcurl\b", text)}
    scripts = [text for text in found if "\n" in text.strip()]
    assert len(scripts) == 1, f"{path}: {found}"
    return scripts[0]


def of_terraform(path):
    """The script that `templatefile` makes of the template."""
    text = path.read_text(encoding="utf-8")
    for name, value in (("binary_url", "@URL@"), ("binary_sha256", "@SHA256@"), ("settings", 'cluster = "prod"')):
        text = text.replace(f"${{{name}}}", value)
    return text.replace("$${", "${").replace("%%{", "%{")


def pages():
    """README.md and the pages of the book."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def of_pages():
    """The blocks of pages that download, each text once, by the first page that has it."""
    found = {}
    for page in pages():
        blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
        for block in [block for block in blocks if re.search(r"\b(curl|wget)\b", block)]:
            found.setdefault(block, str(page.relative_to(ROOT)))
    scripts = {page: ("sh", block) for block, page in found.items()}
    assert scripts and len(scripts) == len(found), f"more than one block of a page downloads: {list(found.values())}"
    return scripts


def package():
    """A tar.gz package for packaging/image/install that contains the program."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("usr/bin/ecs-bootstrap")
        member.size, member.mode = len(PROGRAM), 0o755
        tar.addfile(member, io.BytesIO(PROGRAM))
    return gzip.compress(packed.getvalue())


def samples():
    """How each sample is run, and its text, by name. A new sample that downloads must be listed here."""
    cloud_init, template, ci, image = (PACKAGING / name for name in ("cloud-init", "cloudformation", "ci", "image"))
    terraform = PACKAGING / "terraform" / "download.sh.tftpl"
    listed = {
        cloud_init / "download.sh": ("sh", (cloud_init / "download.sh").read_text(encoding="utf-8")),
        template / "instance.yaml": ("sh", of_yaml(template / "instance.yaml")),
        template / "cluster.yaml": ("sh", of_yaml(template / "cluster.yaml")),
        image / "component.yaml": ("bash", of_yaml(image / "component.yaml")),
        terraform: ("sh", of_terraform(terraform)),
        ci / "install.sh": ("bash", f'bash "{ci / "install.sh"}" "$HOME"'),
        image / "install": ("bash -e", f'bash "{image / "install"}" --url "$URL" --sha256 "$SHA256" --root "$HOME"'),
    }
    downloading = {path for path in PACKAGING.rglob("*") if path.is_file()
                   and re.search(r"\b(curl|wget) -", path.read_text(encoding="utf-8"))}
    missing = downloading - set(listed)
    assert not missing, f"these download and are not tested: {missing}"
    return of_pages() | {str(path.relative_to(PACKAGING)): one for path, one in listed.items()}


class Server:
    """Answers every request with the function in `answer`."""

    def __init__(self):
        server = self
        self.right = PROGRAM
        self.answer, self.stalled, self.go_on = None, threading.Event(), threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 (the name is the library's)
                try:
                    server.answer(self)
                except ConnectionError:
                    pass

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/file"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def body(self, content, status=200, length=None):
        """An answer with this body and `length` as its Content-Length."""
        def answer(request):
            request.send_response(status)
            if length is not None:
                request.send_header("Content-Length", str(length))
            request.end_headers()
            request.wfile.write(content)
        return answer

    def stall(self, request):
        """Sends half of the right file, then waits until the test continues."""
        request.send_response(200)
        request.send_header("Content-Length", str(len(self.right)))
        request.end_headers()
        request.wfile.write(self.right[: len(self.right) // 2])
        request.wfile.flush()
        self.stalled.set()
        self.go_on.wait(WAIT)
        request.wfile.write(self.right[len(self.right) // 2:])

    def wrong_answers(self):
        """Answers that no script may accept."""
        right, half = self.right, len(self.right) // 2
        other = right[:-1] + bytes([right[-1] ^ 1])
        return {
            "another file": self.body(other, length=len(other)),
            "a file with something after it": self.body(right + b"x", length=len(right) + 1),
            "a file cut short": self.body(right[:half], length=len(right)),
            "a file cut short without a length": self.body(right[:half]),
            "nothing": self.body(b"", length=0),
            "a page instead of the file": self.body(PAGE, length=len(PAGE)),
            "an error page": self.body(PAGE, status=404, length=len(PAGE)),
            "an error with the right file": self.body(right, status=500, length=len(right)),
        }


class Place:
    """The folders of one run: /usr/bin, the temporary folder, and fake programs that record their arguments."""

    def __init__(self, work, server, url=None, name=""):
        self.url, self.sum = url or server.url, hashlib.sha256(server.right).hexdigest()
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=work))
        self.bin, self.tmp, self.programs, self.here = (self.folder / name for name in ("bin", "tmp", "programs", "here"))
        for folder in (self.bin, self.tmp, self.programs, self.here):
            folder.mkdir()
        # packaging/image/install installs into a separate root.
        self.final = self.bin / "ecs-bootstrap" if server.right == PROGRAM else self.here / "usr" / "bin" / "ecs-bootstrap"
        if name == "ci/install.sh":
            self.final = self.here / "ecs-rollout"
        self.final.parent.mkdir(parents=True, exist_ok=True)
        self.ran = self.folder / "ran"
        # The server has no certificate, so http is allowed too. Retries would only make the test slow.
        # A failed download is signalled with the credentials of the role (tests/cloudformation/download.py), which no
        # test may look for outside of this machine.
        self.program("curl", '[[ "$*" != *//169.254.169.254/* ]] || exit 7\n'
                             'set -- "${@/#=https/=http,https}"\nargs=()\nwhile (($#)); do\n'
                             '  if [[ $1 == --retry ]]; then shift 2; else args+=("$1"); shift; fi\ndone\n'
                             f'exec {shutil.which("curl")} "${{args[@]}}"')
        self.program("sudo", 'exec "$@"')
        for name in ("dpkg", "ecs-bootstrap"):
            self.program(name, f'echo "{name} $*" >>"$RAN"')
        for name in ("sleep", "systemctl"):
            self.program(name, ":")
        for name in ("etc", "dev"):
            (self.folder / name).mkdir()

    def program(self, name, text):
        path = self.programs / name
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)

    def start(self, how, text):
        """Runs the sample with the URL and the checksum of the test."""
        for name in ("@URL@", "${BinaryUrl}", "{{ InstallUrl }}", "{{ PackageUrl }}"):
            text = text.replace(name, self.url)
        for name in ("@SHA256@", "${BinarySha256}", "{{ InstallSha256 }}", "{{ PackageSha256 }}"):
            text = text.replace(name, self.sum)
        for name in ("etc/ecs-bootstrap", "etc/systemd", "dev/console"):
            text = text.replace(f"/{name}", f"{self.folder}/{name}")
        # The text may contain a path in /usr/bin that already belongs to the test.
        text = re.sub(r"(?<![\w.])/usr/bin(?=/|\s|'|$)", str(self.bin), text)
        script = self.folder / "script"
        script.write_text(text)
        env = {
            "PATH": f"{self.programs}:{os.environ['PATH']}", "TMPDIR": str(self.tmp), "RAN": str(self.ran),
            "HOME": str(self.here), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
            "URL": self.url, "SHA256": self.sum, "ECS_ROLLOUT_URL": self.url, "ECS_ROLLOUT_SHA256": self.sum,
        }
        # With this umask of the caller, other users could write to new files. The sample must set its own modes.
        return subprocess.Popen([*how.split(), script], cwd=self.here, env=env, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, umask=0, start_new_session=True)

    def run(self, how, text):
        process = self.start(how, text)
        said, _ = process.communicate(timeout=WAIT)
        return process.returncode, said

    def files(self):
        """Every file that the sample left."""
        return [path for folder in (self.bin, self.tmp, self.here) for path in folder.rglob("*") if path.is_file()]

    def executable(self):
        return [path for path in self.files() if path.stat().st_mode & 0o111]

    def calls(self):
        return self.ran.read_text() if self.ran.exists() else ""


def refuses(place, how, text, old):
    """The sample must fail, run nothing, and leave no file except an existing one."""
    if old:
        place.final.write_bytes(b"old")
        place.final.chmod(0o755)
    status, said = place.run(how, text)
    assert status != 0, f"exit code 0: {said}"
    assert not place.calls(), f"ran: {place.calls()}"
    left = place.files()
    assert left == ([place.final] if old else []), f"files left behind: {left}"
    assert not old or place.final.read_bytes() == b"old", "the existing file was changed"


def takes(place, how, text):
    """With the right file the sample must succeed. This shows that the other cases fail for the tested reason."""
    status, said = place.run(how, text)
    assert status == 0, f"exit code {status}: {said}"
    assert place.calls(), f"ran nothing: {said}"
    left = place.files()
    assert left in ([], [place.final]), f"files left behind: {left}"
    if left:
        assert place.final.read_bytes() == PROGRAM and place.final.stat().st_mode & 0o777 == 0o755, oct(place.final.stat().st_mode)


def is_private_meanwhile(place, server, how, text):
    """A half-downloaded file, also after a kill, must not be at its final path, executable, or writable by others."""
    server.stalled.clear()
    server.go_on.clear()
    process = place.start(how, text)
    try:
        assert server.stalled.wait(WAIT), "the sample sent no request"
        for moment in ("meanwhile", "after a kill"):
            assert not place.final.exists(), f"{moment}: {place.final} exists"
            assert not place.executable(), f"{moment}: {place.executable()} is executable"
            exposed = [path for path in place.files() if path.stat().st_mode & 0o022 and path.parent.stat().st_mode & 0o011]
            assert not exposed, f"{moment}: other users can write {exposed}"
            if moment == "meanwhile":
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate(timeout=WAIT)
        assert not place.calls(), f"ran: {place.calls()}"
    finally:
        server.go_on.set()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=WAIT)


def no_fixed_name():
    """Scripts use only names from mktemp in /tmp."""
    folders = (PACKAGING, ROOT / ".ci", ROOT / ".github", ROOT / "tests" / "boot" / "bed.d")
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    files += [*pages(), ROOT / "tests" / "tools.sh", ROOT / "tests" / "run", ROOT / "tests" / "try"]
    found = [f"{path}: {line}" for path in files for line in path.read_text(encoding="utf-8").splitlines()
             if re.search(r"""(?:^|[\s"'=(])/tmp/(?!\S*XXX)""", line)]
    assert len(files) > 30 and not found, "\n  ".join(found) or files


def cases(server, work):
    """The name and the function of each case."""
    yield "no fixed name in /tmp", no_fixed_name
    for name, (how, text) in samples().items():
        server.right = package() if name == "image/install" else PROGRAM
        for kind, answer in server.wrong_answers().items():
            for old in (False, True):
                def wrong(answer=answer, old=old, how=how, text=text, name=name):
                    server.answer = answer
                    refuses(Place(work, server, name=name), how, text, old)
                yield f"{name}: {kind}{', with an existing file' if old else ''}", wrong

        def closed(how=how, text=text, name=name):
            refuses(Place(work, server, "http://127.0.0.1:1/file", name), how, text, False)
        yield f"{name}: no server", closed

        def right(how=how, text=text, name=name):
            server.answer = server.body(server.right, length=len(server.right))
            takes(Place(work, server, name=name), how, text)
        yield f"{name}: the right file", right

        def half(how=how, text=text, name=name):
            server.answer = server.stall
            is_private_meanwhile(Place(work, server, name=name), server, how, text)
        yield f"{name}: half of the file, then a kill", half


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory() as work:
        for name, case in cases(Server(), work):
            try:
                case()
                print(f"ok: {name}")
                passed += 1
            except AssertionError as error:
                print(f"FAILED: {name}\n  {error}")
                failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
