"""A simulated instance for the benches: the simulators of tests/it/support behind the real addresses, in a network
namespace of its own, and optionally behind a link with a delay.

In: the simulators (`cargo build --example instance`). Out: an environment in which ecs-bootstrap uses its default
endpoints: 169.254.169.254, a name server, and the AWS APIs by their names over TLS.

A script calls `isolate` first. It never runs in the machine's own network namespace."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ISOLATED = "ECS_BOOTSTRAP_BENCH_ISOLATED"
IMDS = "169.254.169.254"
# The resolver of a VPC (Amazon VPC User Guide, "Understanding Amazon DNS").
DNS = "169.254.169.253"
# Of the range for benchmarks (RFC 2544).
API, OWN = "198.18.1.1", "198.18.0.1"
LINK = "bench"


class Broken(Exception):
    """The bed or the measured program did not do what the bench needs, so there is no figure."""


def isolate():
    """Continues in new network, mount and process namespaces, with an empty folder `FOLDER` in memory. An ordinary user
    becomes root in them. The first process only waits: when it ends, for whatever reason, the kernel ends everything that
    was started in the namespaces, and their mounts and devices."""
    outside = os.readlink("/proc/self/ns/net")
    if os.environ.get(ISOLATED) in (None, outside):
        sys.exit(isolated(outside))
    call("mount", "-t", "tmpfs", "tmpfs", folder())
    call("ip", "link", "set", "lo", "up")


# The variable with the path of the folder of this run.
FOLDER = "ECS_BOOTSTRAP_BENCH_FOLDER"


def folder():
    """The folder of this run; its files are in memory, and end with the namespaces."""
    return pathlib.Path(os.environ[FOLDER])


def isolated(outside):
    """Runs this script again in new namespaces. Returns its exit code; for a signal, 128 and its number."""
    for program, package in ("ip", "iproute2"), ("unshare", "util-linux"), ("setpriv", "util-linux"), ("mount", "mount"):
        if not shutil.which(program):
            print(f"error: `{program}` is needed (Debian's package {package})", file=sys.stderr)
            return 1
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    place, signals = tempfile.mkdtemp(prefix="ecs-bench-"), []
    try:
        # A session of its own, so that a terminal sends its signals only to the process that waits.
        inner = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", *as_root, "--net", "--mount", "--pid", "--fork",
                                  "--kill-child", "--mount-proc", sys.executable, *sys.argv], start_new_session=True,
                                 env={**os.environ, ISOLATED: outside, FOLDER: place})

        def end(number, _):
            signals.append(number)
            inner.kill()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, end)
        status = inner.wait()
        return 128 + signals[0] if signals else status if status >= 0 else 128 - status
    finally:
        os.rmdir(place)


def call(*command, **options):
    """Runs a command. Returns its stdout; its stderr is the error."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Broken(f"`{' '.join(map(str, command))}` ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def compiled(source, folder):
    """A program of C beside this file."""
    program = folder / source.stem
    call("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source)
    return program


def certificates(folder):
    """A chain like that of the AWS endpoints: RSA keys of 2048 bits, with one intermediate. Returns the root and the file
    with the chain and the key."""
    def key(name):
        call("openssl", "genrsa", "-out", folder / f"{name}.key", "2048")

    def issue(name, issuer, extensions):
        key(name)
        call("openssl", "req", "-new", "-key", folder / f"{name}.key", "-subj", f"/CN={name}", "-out", folder / "request")
        (folder / "extensions").write_text(extensions, encoding="utf-8")
        call("openssl", "x509", "-req", "-in", folder / "request", "-CA", folder / f"{issuer}.pem",
             "-CAkey", folder / f"{issuer}.key", "-CAcreateserial", "-days", "2", "-extfile", folder / "extensions",
             "-out", folder / f"{name}.pem")

    key("root")
    call("openssl", "req", "-x509", "-key", folder / "root.key", "-days", "2", "-subj", "/CN=bench root",
         "-addext", "keyUsage=critical,keyCertSign", "-out", folder / "root.pem")
    issue("intermediate", "root", "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n")
    issue("leaf", "intermediate", "subjectAltName=DNS:*.eu-west-1.amazonaws.com\nkeyUsage=critical,digitalSignature\n"
                                  "extendedKeyUsage=serverAuth\n")
    served = folder / "served.pem"
    served.write_text("".join((folder / name).read_text("utf-8") for name in ("leaf.pem", "intermediate.pem", "leaf.key")),
                      encoding="utf-8")
    return folder / "root.pem", served


def mount(undo, place, *what):
    """Mounts below this process, until `undo`."""
    call("mount", *what, place)
    # A process that has just ended may still be using it.
    undo.callback(call, "umount", "--lazy", place)


def started(undo, command, **options):
    """A process that ends with its stdin, which `undo` closes."""
    process = subprocess.Popen([str(word) for word in command], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               **options)

    def end():
        process.stdin.close()
        process.wait()

    undo.callback(end)
    return process


class Bed:
    """The simulators, from `with` to its end. With `delayed` they are behind a link whose delay `round_trip` sets."""

    def __init__(self, simulator, delayed=False):
        self.simulator, self.delayed = simulator, delayed
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=folder()))
        self.link = self.server = self.environment = self.root = self.undo = None

    def __enter__(self):
        with contextlib.ExitStack() as undo:
            self.start_all(undo)
            self.undo = undo.pop_all()
        return self

    def __exit__(self, *_):
        self.undo.close()

    def start_all(self, undo):
        """Starts everything. `undo` gets what ends it again."""
        undo.callback(shutil.rmtree, self.folder)
        # systemctl(1) looks for this folder, and must not find the systemd of this machine.
        mount(undo, "/run", "-t", "tmpfs", "tmpfs")
        os.makedirs("/run/systemd/system")
        self.resolver = self.folder / "resolv.conf"
        self.resolver.write_text(f"nameserver {DNS}\n", encoding="utf-8")
        place = pathlib.Path(os.path.realpath("/etc/resolv.conf"))
        if place.is_relative_to("/run"):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        mount(undo, place, "--bind", self.resolver)
        self.stopwatch = compiled(HERE / "stopwatch.c", self.folder)
        authority, served = certificates(self.folder)
        self.trust = {"AWS_CA_BUNDLE": str(authority)}
        servers = [self.simulator, "--imds", f"{IMDS}:80", "--dns", f"{DNS}:53", "--api", f"{API}:443", "--tls", served]
        if self.delayed:
            add = "".join(f"ip address add {one}/32 dev lo && " for one in (IMDS, DNS, API))
            servers = ["unshare", "--net", "sh", "-c", f"ip link set lo up && {add} exec \"$@\"", "sh", *servers]
        else:
            for one in (IMDS, DNS, API):
                call("ip", "address", "add", f"{one}/32", "dev", "lo")
                undo.callback(call, "ip", "address", "del", f"{one}/32", "dev", "lo")
        self.server = started(undo, servers, env={**os.environ, "TMPDIR": str(self.folder)})
        self.start("imds-tag")  # its answer says that it listens
        if self.delayed:
            self.connect(undo)

    def connect(self, undo):
        """Makes the link to the simulators, which are in a namespace of their own."""
        self.link = started(undo, [compiled(HERE / "delay.c", self.folder), LINK, self.server.pid])
        if self.link.stdout.readline() != "up\n":
            raise Broken("the link was not made")
        call("ip", "address", "add", f"{OWN}/32", "dev", LINK)
        call("ip", "link", "set", LINK, "up")
        for address in (IMDS, DNS, API):
            call("ip", "route", "add", address, "dev", LINK, "src", OWN)
        other = ["nsenter", "--target", self.server.pid, "--net", "--"]
        call(*other, "ip", "link", "set", LINK, "up")
        call(*other, "ip", "route", "add", OWN, "dev", LINK)

    def round_trip(self, seconds):
        """Sets the delay of the link, half of it in each direction."""
        line = f"{round(seconds * 1e6 / 2)}\n"
        self.link.stdin.write(line)
        self.link.stdin.flush()
        if self.link.stdout.readline() != line:
            raise Broken("the link has ended")

    def handshake(self):
        """The seconds of a TCP handshake with the simulators, as this process sees them: one round trip of the link."""
        with socket.socket() as one:
            before = time.perf_counter()
            one.connect((IMDS, 80))
            return time.perf_counter() - before

    def command(self, line):
        """Sends a command to the simulators. Returns the answer."""
        self.server.stdin.write(line + "\n")
        self.server.stdin.flush()
        answer = self.server.stdout.readline()
        if not answer:
            raise Broken(f"the simulators ended at `{line}`")
        return json.loads(answer)

    def start(self, source, *more):
        """A new instance whose cluster is named by `source`. Each of `more` is another command for the simulators."""
        environment = self.command(f"start {source}")["environment"]
        # The default endpoints, not loopback.
        for name in ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL"):
            del environment[name]
        self.environment = {**environment, **self.trust}
        self.root = pathlib.Path(environment["ECS_BOOTSTRAP_ROOT"])
        for line in more:
            self.command(line)

    def without_bus(self):
        """The environment without a D-Bus."""
        return {**self.environment, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}

    def config(self):
        return (self.root / "etc/ecs/ecs.config").read_text(encoding="utf-8")

    def on_host(self, command):
        """Measures ecs-bootstrap as it runs on a host: with the root `/`, which is the instance's folder. With `--root` it looks
        at each folder of a path for a symbolic link."""
        for source, place in ((self.resolver, "etc/resolv.conf"), (self.trust["AWS_CA_BUNDLE"], "etc/ca.pem")):
            shutil.copy(source, self.root / place)
        bus = self.root / "run/dbus/system_bus_socket"
        if not bus.exists():
            bus.parent.mkdir()
            os.link(self.environment["DBUS_SYSTEM_BUS_ADDRESS"].removeprefix("unix:path="), bus)
        inside = {name: value.removeprefix(str(self.root)) for name, value in self.environment.items()}
        del inside["ECS_BOOTSTRAP_ROOT"]
        inside |= {"AWS_CA_BUNDLE": "/etc/ca.pem", "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/run/dbus/system_bus_socket"}
        return self.measure(command, inside, self.root)

    def measure(self, command, environment=None, root="/", written="etc/ecs/ecs.config", code=0):
        """Runs a command to its end. Returns what stopwatch.c measures; another exit code is an error."""
        result, output = self.folder / "result", self.folder / "output"
        place = self.root / written
        with open(output, "wb") as file:
            subprocess.run([self.stopwatch, result, place.parent, place.name, root, *map(str, command)], stdout=file,
                           stderr=file, stdin=subprocess.DEVNULL, env=self.environment if environment is None else environment)
        found = json.loads(result.read_text("utf-8"))
        if found["code"] != code:
            text = output.read_text("utf-8", "replace")
            raise Broken(f"`{' '.join(map(str, command))}` ended with {found['code']}:\n{text[-3000:]}")
        return found


def which(name):
    """The full path of a program, because the measured environment has another PATH."""
    path = shutil.which(name)
    if not path:
        raise Broken(f"`{name}` is needed")
    return path
