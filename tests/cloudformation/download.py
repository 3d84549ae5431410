"""Runs packaging/cloud-init/download.sh in each shell, with everything that can fail before the binary runs. Prints
`N passed, N failed`."""

import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import user_data
from download_host import CLOUDFORMATION, FILES, PROGRAM, S3, SECRET, World

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
# An ELF file for a processor that no test machine has (RISC-V, 32 bits).
FOREIGN = b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00\x01\x00\x00\x00" + bytes(100)


def truncated(handler):
    handler.send(200, PROGRAM[:1000], length=len(PROGRAM))


def truncated_without_length(handler):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(PROGRAM[:1000])


def page(handler):
    handler.send(200, b"<html>Sign in to the network</html>")


def without(*names):
    def prepare(world):
        for name in names:
            (world.programs / name).unlink()
    return prepare


def with_files(*answers):
    def prepare(world):
        world.files = list(answers)
    return prepare


def with_curl(code, text):
    def prepare(world):
        world.curl(files=f"echo 'curl: ({code}) {text}' >&2; exit {code}")
    return prepare


def file_in_place_of(name):
    def prepare(world):
        shutil.rmtree(world.path(name), ignore_errors=True)
        world.path(name).write_text("")
    return prepare


def no_space(world):
    world.program("cat", 'echo "cat: write error: No space left on device" >&2; exit 1')


# Each failure: the URL, what is prepared, the reason on the console, and the seconds until the signal.
ONCE, MINUTE = 0, 63
FAILURES = {
    "the file does not exist": (FILES, with_files(404), "error: 404", ONCE),
    "the request is wrong": (FILES, with_files(400), "error: 400", ONCE),
    "the URL needs credentials": (FILES, with_files(401), "error: 401", ONCE),
    "the file is gone": (FILES, with_files(410), "error: 410", ONCE),
    "a URL without permission": (FILES, with_files(403), "error: 403", MINUTE),
    "the server is broken": (FILES, with_files(500), "error: 500", MINUTE),
    "the server is overloaded": (FILES, with_files(503), "error: 503", MINUTE),
    "an object without permission": (S3, with_files(403), "error: 403", MINUTE),
    "an object that does not exist": (S3, with_files(404), "error: 404", ONCE),
    "a bucket in another region": (S3, with_files(301), "cannot be downloaded: 301", ONCE),
    "no network": (FILES, with_curl(7, "Connection refused"), "Connection refused", MINUTE),
    "no name service": (FILES, with_curl(6, "Could not resolve host"), "Could not resolve host", MINUTE),
    "no answer": (FILES, with_curl(28, "Timed out"), "Timed out", MINUTE),
    "a certificate of a proxy": (FILES, with_curl(60, "unable to get local issuer certificate"), "certificate", MINUTE),
    "a proxy that does not exist": (FILES, with_curl(5, "Could not resolve proxy"), "resolve proxy", MINUTE),
    "a proxy that refuses": (FILES, with_curl(56, "CONNECT tunnel failed, response 407"), "response 407", MINUTE),
    "a full disk": (FILES, with_curl(23, "Failure writing output to destination"), "Failure writing", ONCE),
    "a full disk at the end": (FILES, no_space, "ecs-bootstrap.service cannot be written", ONCE),
    "a file cut short": (FILES, with_files(truncated), "cannot be downloaded: curl: .18.", MINUTE),
    "a file cut short without a length": (
        FILES, with_files(truncated_without_length), "checksum of .* is [0-9a-f]{64}, not", ONCE),
    "a page instead of the file": (FILES, with_files(page), "checksum of .* is [0-9a-f]{64}, not", ONCE),
    "a wrong checksum": (FILES, lambda world: setattr(world, "checksum", "0" * 64), "checksum of .*, not 0{64}", ONCE),
    "another processor": (FILES, "foreign", "does not run on this host", ONCE),
    "no curl": (FILES, without("curl"), "`curl` is not installed", None),
    "no sha256sum": (FILES, without("sha256sum"), "`sha256sum` is not installed", ONCE),
    "no systemd": (FILES, without("systemctl"), "`systemctl` is not installed", ONCE),
    "no folder for the binary": (FILES, file_in_place_of("usr/bin"), "no file can be created in ", ONCE),
    "no folder for settings": (FILES, file_in_place_of("etc/ecs-bootstrap"), "config.d cannot be created", ONCE),
    "no folder for units": (FILES, file_in_place_of("etc/systemd"), "ecs-bootstrap.service cannot be written", ONCE),
    "a unit that cannot be enabled": (
        FILES, lambda world: world.program("systemctl", "false"), "ecs-bootstrap.service cannot be enabled", ONCE),
}


def fails(shell, url, prepare, reason, pauses):
    world = World(shell, url, FOREIGN if prepare == "foreign" else PROGRAM)
    if callable(prepare):
        prepare(world)
    world.run()
    assert world.status == 1, f"exit code {world.status}: {world.said}"
    lines = world.console().splitlines()
    assert len(lines) == 1, f"console {lines}: {world.said}"
    assert re.match(rf"ecs-bootstrap: error: not installed: .*{reason}", lines[0]), f"{lines}: {world.said}"
    assert lines[0] in world.said.splitlines(), world.said
    ran = [line for line in world.log() if line.startswith("ecs-bootstrap") and line != "ecs-bootstrap --version"]
    assert not ran, ran
    if world.path("usr/bin").is_dir():
        left = [path.name for path in world.path("usr/bin").iterdir() if path.name.startswith(".")]
        assert not left, f"left behind: {left}"
    if pauses is None:
        assert "Group of the stack fleet was not signalled" in world.said, world.said
        return
    assert sum(world.pauses()) == pauses, world.pauses()
    assert world.received == [{
        "Action": "SignalResource", "Version": "2010-05-15", "StackName": "fleet", "LogicalResourceId": "Group",
        "UniqueId": "i-0123456789abcdef0", "Status": "FAILURE"}], f"{world.received}: {world.said}"
    assert not world.bad_signatures, world.bad_signatures


def installs(shell, url=FILES, prepare=lambda world: None, pauses=ONCE):
    world = World(shell, url)
    prepare(world)
    world.run()
    assert world.status == 0 and not world.console() and not world.received, f"{world.status}: {world.said}"
    binary = world.path("usr/bin/ecs-bootstrap")
    assert binary.read_bytes() == PROGRAM and stat.S_IMODE(binary.stat().st_mode) == 0o755, binary.stat()
    settings = world.path("etc/ecs-bootstrap/config.d/50-user-data.toml")
    assert settings.read_text() == 'cluster = "prod"\nx = 1\n', settings.read_text()
    assert stat.S_IMODE(settings.stat().st_mode) == 0o644, settings.stat()
    unit = world.path("etc/systemd/system/ecs-bootstrap.service").read_text()
    assert unit.startswith("[Unit]\n") and unit.endswith("WantedBy=multi-user.target\n"), unit
    log = [line for line in world.log() if not line.startswith(("curl", "sleep"))]
    assert log == ["ecs-bootstrap --version", "systemctl cat ecs-bootstrap.service",
                   "systemctl --quiet enable ecs-bootstrap.service", "ecs-bootstrap "], log
    assert sum(world.pauses()) == pauses, world.pauses()
    assert not world.bad_signatures, world.bad_signatures
    return world


def an_object_of_s3_is_read_with_the_role(shell):
    world = installs(shell, S3)
    assert "GET s3.eu-west-1.amazonaws.com/my-bucket/v1/ecs-bootstrap" in world.requests, world.requests
    odd = installs(shell, "s3://my-bucket/a/../b//c.")
    assert "GET s3.eu-west-1.amazonaws.com/my-bucket/a/../b//c." in odd.requests, odd.requests
    shown = [line for line in world.log() if line.startswith("curl") and (SECRET in line or "to/ken" in line)]
    assert not shown, f"every user of the host can read the credentials in the arguments of curl: {shown}"


def a_url_needs_no_instance_metadata(shell):
    world = installs(shell)
    assert world.requests == ["GET files.test/ecs-bootstrap"], world.requests


def a_url_is_requested_as_it_is(shell):
    for path in ("/a[1-2]", "/a?b=[x]&c=%20,d", "/a;b(c)*$HOME!&d"):
        world = World(shell, "https://files.test" + path)
        world.run()
        assert world.status == 0 and world.requests == ["GET files.test" + path], f"{world.requests}: {world.said}"


def an_attempt_ends(shell):
    for url in (FILES, S3):
        world = installs(shell, url)
        call = next(line for line in world.log() if line.startswith("curl") and " -o " in line)
        limits = re.search(r"--max-time (\d+) --speed-limit 1000 --speed-time 30", call)
        assert limits and 290 < int(limits.group(1)) <= 300 and "--connect-timeout 10" in call, call


def a_redirect_is_followed_to_https_only(shell):
    def elsewhere(handler):
        handler.send_response(302)
        handler.send_header("Location", "/release")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
    world = installs(shell, FILES, with_files(elsewhere, 200))
    assert world.requests == ["GET files.test/ecs-bootstrap", "GET files.test/release"], world.requests
    assert any(" -sSfL --proto-redir =https " in line for line in world.log()), world.log()


def a_new_role_and_a_busy_server_are_given_time(shell):
    installs(shell, S3, with_files(403, 403, 403, 200), 1 + 2 + 4)
    installs(shell, FILES, with_files(500, 503, truncated, 200), 1 + 2 + 4)
    installs(shell, S3, lambda world: setattr(world, "metadata", [500, 404, 200]), 1 + 2)


def the_aws_cli_helps_a_curl_that_cannot_sign(shell):
    def prepare(world):
        world.curl(signing="exit 2")
        (world.folder / "object").write_bytes(PROGRAM)
        world.program("aws", f'echo "aws $*" >>"$LOG.aws"\n{shutil.which("cp")} "{world.folder}/object" "${{@: -1}}"')
    world = installs(shell, S3, prepare)
    called = (world.folder / "log.aws").read_text()
    assert called.startswith(f"aws s3 cp --only-show-errors --region eu-west-1 {S3} "), called


def the_aws_cli_signals_without_curl(shell):
    for prepare, instance in ((without("curl"), "i-of-cloud-init"),
                              (lambda world: world.curl("exit 7", "exit 2"), "i-0123456789abcdef0")):
        world = World(shell)
        prepare(world)
        world.program("aws", 'echo "aws $*" >>"$LOG"')
        world.run()
        signals = [line for line in world.log() if line.startswith("aws")]
        assert world.status == 1 and signals == [
            "aws cloudformation signal-resource --region eu-west-1 --stack-name fleet --logical-resource-id Group "
            f"--unique-id {instance} --status FAILURE"], f"{signals}: {world.said}"


def a_signal_is_repeated_until_it_is_received(shell):
    for answers, count in (([503, 500, 429, 200], 4), ([403, 403, 200], 3), ([400], 1), ([500], 7)):
        world = World(shell)
        world.files, world.signals = [404], answers
        world.run()
        assert len(world.received) == count and world.status == 1, f"{answers}: {world.received}"
        assert ("was not signalled" in world.said) == (count == 7), world.said
    world = World(shell)
    world.files, world.metadata = [404], [500, 500, 401, 200]
    world.run()
    assert len(world.received) == 1, world.said


def without_a_stack_nothing_is_signalled(shell):
    world = World(shell)
    world.files = [404]
    world.run(stack="", resource="")
    assert world.status == 1 and world.requests == ["GET files.test/ecs-bootstrap"], world.requests
    assert "error: 404" in world.console(), world.console()


def a_stopped_script_signals(shell):
    world = World(shell)
    go_on = threading.Event()
    world.files = [lambda handler: (go_on.wait(20), handler.send(200))]
    process = world.start()
    while not world.requests:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    go_on.set()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and len(world.received) == 1, f"{process.returncode} {world.received}: {said}"
    assert "not installed" in world.console(), world.console()


def no_secret_of_the_url_is_shown(shell):
    world = World(shell, "https://user:pass@files.test/a/b?X-Amz-Signature=abc#d")
    world.files = [404]
    world.run()
    assert "`https://files.test/a/b`" in world.console(), world.console()
    for secret in ("pass", "abc", SECRET, "to/ken"):
        assert secret not in world.said + world.console(), world.said


def the_unit_of_a_package_is_kept(shell):
    world = World(shell)
    world.program("systemctl", 'echo "systemctl $*" >>"$LOG"')
    world.path("usr/bin/ecs-bootstrap").write_text("old")
    world.run()
    assert world.status == 0 and not world.path("etc/systemd/system/ecs-bootstrap.service").exists(), world.said
    assert world.path("usr/bin/ecs-bootstrap").read_bytes() == PROGRAM
    assert "systemctl --quiet enable ecs-bootstrap.service" in world.log(), world.log()


def an_installed_binary_survives_a_failed_download(shell):
    world = World(shell)
    world.files = [404]
    world.path("usr/bin/ecs-bootstrap").write_text("old")
    world.run()
    assert world.path("usr/bin/ecs-bootstrap").read_text() == "old"


def instance_metadata_is_read_without_the_proxy(shell):
    world = World(shell, S3)
    world.environment = {"http_proxy": f"http://127.0.0.1:{world.server_port}"}
    world.files = [404]
    world.run()
    hosts = {urllib.parse.urlsplit(url).netloc for url in world.proxied}
    assert hosts == {"s3.eu-west-1.amazonaws.com", CLOUDFORMATION}, world.proxied


def the_shell_parses_the_script(shell):
    command = ["busybox", "sh"] if shell == "busybox" else [shell]
    subprocess.run([*command, "-n", user_data.ROOT / "packaging" / "cloud-init" / "download.sh"], check=True)


TESTS = [
    the_shell_parses_the_script, an_attempt_ends, a_redirect_is_followed_to_https_only, a_url_is_requested_as_it_is,
    a_url_needs_no_instance_metadata, an_object_of_s3_is_read_with_the_role,
    a_new_role_and_a_busy_server_are_given_time, the_aws_cli_helps_a_curl_that_cannot_sign,
    the_aws_cli_signals_without_curl, a_signal_is_repeated_until_it_is_received, without_a_stack_nothing_is_signalled,
    a_stopped_script_signals, no_secret_of_the_url_is_shown, the_unit_of_a_package_is_kept,
    an_installed_binary_survives_a_failed_download, instance_metadata_is_read_without_the_proxy,
]


def main():
    passed = failed = 0
    work = tempfile.mkdtemp()
    tempfile.tempdir = work
    cases = [(test.__name__, test) for test in TESTS]
    cases += [(name, lambda shell, case=case: fails(shell, *case)) for name, case in FAILURES.items()]
    for shell in SHELLS:
        for name, case in cases:
            try:
                case(shell)
            except Exception as error:  # an error fails the test; the next one runs
                failed += 1
                print(f"FAILED: {shell}: {name}: {type(error).__name__}: {error}")
            else:
                passed += 1
                print(f"ok: {shell}: {name}")
    shutil.rmtree(work, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
