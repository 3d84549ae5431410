"""Starts the program once for each of many simulated instances, and observes until each has reported its verdict.

In: the binary, a scenario, the number of instances and the time over which they start. Out: a `Run`: the times of each
instance, the calls, and how late this host was. An instance is two processes, as in a boot: `run`, which queues the
agent's unit and ends, and then `verify`. It ends only the processes that it started."""

import asyncio
import dataclasses
import errno
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import tempfile
import time

import bed
import services

# By scenario: the tags in instance metadata (None: not enabled), whether DescribeTags returns the tag that names the
# cluster, and further arguments of `run`.
SCENARIOS = {
    "imds-tag": ({services.TAG: services.CLUSTER}, True, []),
    "describe-tags": (None, True, []),
    "cluster-tags": ({"Name": "web"}, False, ["--cluster-tag", "team=web"]),
}
# How many instances start in each second. A throttled instance waits and costs nothing, so many can start. With the tag in
# instance metadata all are verified at the same time, which two cores can do for about forty in a second.
STARTS = {"imds-tag": 25, "describe-tags": 100, "cluster-tags": 100}
# How many instances are observed alone, and the seconds from one start to the next: the agent connects within 2.7 s.
ALONE, APART = 9, 3.0
# The clusters of the account, with their tags. One has the wanted tag.
CLUSTERS = {services.CLUSTER: {"team": "web"}} | {f"other-{number}": {"team": "batch"} for number in range(9)}
# A run that takes longer than this is ended, and its instances count as not ready.
LONGEST = 180
# The setting that `watch` needs, and the time between two checks (systemd/ecs-bootstrap-watch.timer).
WATCH, CHECKS = ["--set", "watch.enable=true"], 20.0
# ECS is asked again after this time, and at random up to as much later (src/watch).
ASKED_AGAIN, SPREAD = 300, 60
# A run is ended if the simulator's clock is late by this much: a host that slow measures itself.
TOO_LATE = 5
# Stands in for systemctl: keeps the queued jobs, so that they start when `run` has ended.
SYSTEMCTL = '#!/bin/sh\necho "$*" >>"$ECS_BOOTSTRAP_ROOT/home/jobs"\n'


@dataclasses.dataclass
class Instance:
    """One instance: its address on loopback, its root, and what happened to it. Times are seconds since the start."""
    index: int
    address: str
    root: str
    arn: str = ""
    connected: bool = False
    packets: int = 0
    packets_lost: int = 0
    started_at: float | None = None
    configured_at: float | None = None
    registered_at: float | None = None
    connected_at: float | None = None
    ready_at: float | None = None
    failure: str = ""
    servers: list = dataclasses.field(default_factory=list)

    @property
    def id(self):
        return f"i-{self.index:017x}"

    async def serve(self, protocol):
        """Listens on the agent's port, which is closed until then."""
        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_server(protocol, self.address, services.PORTS["agent"]))

    def write(self, path, text):
        pathlib.Path(self.root, path).write_text(text, encoding="utf-8")

    def read(self, path):
        file = pathlib.Path(self.root, path)
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


@dataclasses.dataclass
class Run:
    """What was observed. `late` has, for each of the simulator's clock ticks, how late it was: a host that is too slow
    measures itself. `checks` are the times at which a check of `watch` ended."""
    scenario: str
    over: float
    instances: list
    calls: list
    unexpected: list
    late: list
    processor_share: float
    checks: list

    def ready(self):
        return [one for one in self.instances if one.ready_at is not None]

    def times(self, name):
        return [getattr(one, name) for one in self.instances if getattr(one, name) is not None]


def make_root(folder, index):
    """A root with the files of a host on which cloud-init has ended (tests/it/support/disk.rs has the same)."""
    root = os.path.join(folder, str(index))
    for path in ["run/systemd/system", "run/cloud-init", "var/lib/ecs/data", "var/log/ecs", "home", "etc/ecs", "dev",
                 "proc/sys/kernel/random"]:
        os.makedirs(os.path.join(root, path))
    for path, text in {
        "etc/ecs/ecs.config": "", "run/systemd/private": "", "proc/meminfo": "MemTotal: 7938420 kB\n",
        "proc/uptime": "42.17 80.02\n", "proc/net/tcp": services.SOCKETS,
        "proc/sys/kernel/random/boot_id": f"5b2c2b7e-7a53-4f0a-9d6c-{index:012x}\n",
        "run/cloud-init/result.json": '{"v1": {"datasource": "DataSourceEc2Local", "errors": []}}',
    }.items():
        os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
        with open(os.path.join(root, path), "w", encoding="utf-8") as file:
            file.write(text)
    return root


class Fleet:
    """The instances of one run, and their processes."""

    def __init__(self, binary, scenario, starts, over, seed, folder, watched=None):
        self.binary, self.scenario, self.starts, self.over = binary, scenario, starts, over
        # From when to when the instances are watched.
        self.watched, self.checks = watched, []
        self.random, self.folder = random.Random(seed), folder
        self.programs = os.path.join(folder, "bin")
        self.running, self.late = {}, []
        self.niceness = prefer_the_services()

    def clock(self):
        return time.monotonic() - self.start

    async def observe(self):
        """Runs all instances and returns the `Run`."""
        listing, in_api, self.arguments = SCENARIOS[self.scenario]
        self.arguments = self.arguments + (WATCH if self.watched else [])
        os.mkdir(self.programs)
        systemctl = os.path.join(self.programs, "systemctl")
        with open(systemctl, "w", encoding="utf-8") as file:
            file.write(SYSTEMCTL)
        os.chmod(systemctl, 0o755)
        self.start = time.monotonic()
        self.api = services.Api(self.clock, CLUSTERS, in_api)
        instances = [Instance(index, f"127.1.{index // 250}.{1 + index % 250}", make_root(self.folder, index))
                     for index in range(len(self.starts))]
        metadata = {one.address: services.Metadata(one, listing, self.clock) for one in instances}
        handlers = {one.address: self.api.handler(one) for one in instances}
        loop, self.overload = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(self.note_error)
        for port, service in ("metadata", lambda address: metadata[address].handler()), ("api", handlers.get):
            await loop.create_server(lambda service=service: services.Http(service), "0.0.0.0", services.PORTS[port],
                                     backlog=4096)
        used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        self.start = time.monotonic()
        ticking, ending = asyncio.create_task(self.tick()), asyncio.create_task(self.overload.wait())
        tasks = [asyncio.create_task(self.life(one, start)) for one, start in zip(instances, self.starts)]
        all_done = asyncio.gather(*tasks, return_exceptions=True)
        longest = self.watched[1] + LONGEST if self.watched else LONGEST
        await asyncio.wait([all_done, ending], timeout=longest, return_when=asyncio.FIRST_COMPLETED)
        for task in [*tasks, all_done, ticking, ending]:
            task.cancel()
        self.end_all()
        for one in instances:
            for server in one.servers:
                server.close()
        now = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = sum(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                    for before, after in zip(used, now))
        share = spent / self.clock() / len(os.sched_getaffinity(0))
        if self.overload.is_set():
            raise SystemExit("storm: this host is too slow for so many instances at once; wait until nothing else runs, "
                             "or use a smaller --n or a larger --over")
        failed = [task.exception() for task in tasks if task.done() and not task.cancelled() and task.exception()]
        if failed:
            raise failed[0]
        return Run(self.scenario, self.over, instances, self.api.calls, self.api.unexpected, self.late, share,
                   self.checks)

    async def tick(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.05)
            self.late.append(time.monotonic() - before - 0.05)
            if self.late[-1] > TOO_LATE:
                self.overload.set()

    def note_error(self, loop, context):
        """Open files run out if instances do not end: they open new connections for those that were not answered."""
        if isinstance(context.get("exception"), OSError) and context["exception"].errno == errno.EMFILE:
            self.overload.set()
        elif not self.overload.is_set():
            loop.default_exception_handler(context)

    async def life(self, one, starts_at):
        """One instance from its start to its verdict."""
        await asyncio.sleep(starts_at)
        one.started_at = self.clock()
        status = await self.program(one, "run", ["run", "--no-wait", *self.arguments])
        if status != 0:
            one.failure = f"run: exit {status}: {last_line(one.read('home/run.log'))}"
            return
        one.configured_at = self.clock()
        jobs = one.read("home/jobs")
        if f"ECS_CLUSTER={services.CLUSTER}\n" not in one.read("etc/ecs/ecs.config") or "start ecs" not in jobs:
            one.failure = f"run: exit 0, but ecs.config or the jobs are not as expected: {jobs!r}"
            return
        agent = asyncio.create_task(services.Agent(one, self.api, self.random).run())
        status = await self.program(one, "verify", ["verify"])
        if status == 0:
            one.ready_at = self.clock()
        else:
            one.failure = f"verify: exit {status}: {last_line(one.read('home/verify.log'))}"
        if self.watched and not one.failure:
            await self.watch(one)
        if not agent.done():
            agent.cancel()
        elif agent.exception():
            raise agent.exception()

    async def watch(self, one):
        """Checks as the timer does. The instance was ready long ago: ECS was asked at a random time before."""
        begins, ends = self.watched
        await asyncio.sleep(max(0, begins - CHECKS - self.clock()) + self.random.uniform(0, CHECKS))
        while self.clock() < ends:
            status = await self.program(one, "watch", ["watch"])
            said = one.read("home/watch.log")
            if status != 0 or not said.startswith("healthy"):
                one.failure = f"watch: exit {status}: {last_line(said)}"
                return
            self.checks.append(self.clock())
            if self.clock() < begins:
                state = json.loads(one.read("run/ecs-bootstrap/watch.json"))
                state["asked_at"] = int(time.time() - self.random.uniform(0, ASKED_AGAIN + SPREAD / 2))
                state["asks_at"] = state["asked_at"] + ASKED_AGAIN + int(self.random.uniform(0, SPREAD))
                one.write("run/ecs-bootstrap/watch.json", json.dumps(state))
            await asyncio.sleep(CHECKS)

    async def program(self, one, name, arguments):
        """Runs the binary to its end and returns its exit code."""
        environment = {
            "PATH": self.programs, "HOME": one.root + "/home", "ECS_BOOTSTRAP_ROOT": one.root,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{one.address}:{services.PORTS['metadata']}",
            "AWS_ENDPOINT_URL": f"http://{one.address}:{services.PORTS['api']}",
            "ECS_BOOTSTRAP_AGENT_ENDPOINT": f"http://{one.address}:{services.PORTS['agent']}",
            "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={one.root}/run/no-bus",
        }
        log = os.open(f"{one.root}/home/{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        files = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, log, 1),
                 (os.POSIX_SPAWN_DUP2, log, 2)]
        pid = os.posix_spawn(self.binary, [self.binary, *arguments], environment, file_actions=files)
        os.close(log)
        os.setpriority(os.PRIO_PROCESS, pid, self.niceness)
        handle = os.pidfd_open(pid)
        self.running[pid] = handle
        loop, ended = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        loop.add_reader(handle, lambda: ended.done() or ended.set_result(None))
        try:
            await ended
        finally:
            loop.remove_reader(handle)
        return self.reap(pid)

    def reap(self, pid):
        _, status = os.waitpid(pid, 0)
        os.close(self.running.pop(pid))
        return os.waitstatus_to_exitcode(status)

    def end_all(self):
        """Ends the processes that still run."""
        for pid, handle in list(self.running.items()):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            self.reap(pid)


def prefer_the_services():
    """Gives this process precedence over the instances, because AWS does not become slower when instances do. Returns
    the niceness of the instances."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    except PermissionError:
        return min(19, own + 5)
    return max(0, own)


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def observe(binary, scenario, count, over, seed):
    """Runs a scenario with a number of instances that start at random times within `over` seconds."""
    chance = random.Random(seed)
    return observed(binary, scenario, [chance.uniform(0, over) for _ in range(count)], over, seed)


def observe_alone(binary, scenario, seed):
    """Runs a scenario with instances of which each starts when the one before is ready."""
    starts = [index * APART for index in range(ALONE)]
    return observed(binary, scenario, starts, starts[-1], seed)


def observe_watched(binary, count, seconds, seed):
    """Watches healthy instances for so many seconds. Returns the `Run`, and when that began."""
    chance, over = random.Random(seed), count / STARTS["imds-tag"]
    begins = over + CHECKS + 10
    starts = [chance.uniform(0, over) for _ in range(count)]
    return observed(binary, "imds-tag", starts, over, seed, (begins, begins + seconds)), begins


def observed(binary, scenario, starts, over, seed, watched=None):
    """Runs a scenario with an instance for each of the times in `starts`."""
    folder = tempfile.mkdtemp(dir=bed.folder())
    wanted = 16 * len(starts) + 256  # the agent's socket, the process, and up to a dozen connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        except (ValueError, OSError) as error:
            raise SystemExit(f"storm: {len(starts)} instances need {wanted} open files, but the limit is {hard}") from error
    fleet = Fleet(binary, scenario, starts, over, seed, folder, watched)
    try:
        return asyncio.run(fleet.observe())
    finally:
        fleet.end_all()
        shutil.rmtree(folder, ignore_errors=True)
