#!/usr/bin/env python3
"""Compares `timeline --json` with what systemd, the journal, docker and the logs of a host say.

Usage: timeline.py FOLDER [EXPECTED-MISSING...]

FOLDER has what was read of the host: timeline.json; manager and units, the output of `systemctl show`, of the units with
an empty line after each; journal, of `journalctl --boot --output=json`; analyze, blame and chain, of `systemd-analyze`;
agent.log, of `docker logs --timestamps`; containers, of `docker inspect`; cloud-init.log; metadata.log, the requests that
the simulated metadata service got; document, the identity document. A file of a source that the host does not have is
empty. Prints each event with its distance, and fails if one is more than 20 ms (200 ms for the end of a request), or if
other events are missing than those of the command line.
"""

import calendar
import datetime
import json
import pathlib
import re
import sys

LIMIT_US = 20_000
# The metadata service logs an answer before it sends it, and ecs-bootstrap notes it when it has read it. Between the two the
# kernel has to run both, which takes longer on a busy machine.
ANSWER_LIMIT_US = 200_000
SECOND_US = 1_000_000
READY = "d2b89150f7d43a3e2e38123c981186c8"
UNIT_STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
UNIT_STARTED = "39f53479d3a045ac8e11786248231fbf"
UNITS = {
    "cloud-init-local": "cloud-init-local.service",
    "network-online": "network-online.target",
    "cloud-init-network": "cloud-init.service",
    "cloud-config": "cloud-config.service",
    "cloud-final": "cloud-final.service",
    "docker": "docker.service",
    "ecs": "ecs.service",
}


class Host:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.timeline = json.loads(self.text("timeline.json"))
        self.events = {event["id"]: event for event in self.timeline["events"]}
        self.manager = properties(self.text("manager"))
        units = map(properties, self.text("units").split("\n\n"))
        self.units = {unit["Id"]: unit for unit in units if "Id" in unit}
        self.journal = [json.loads(line) for line in self.text("journal").splitlines()]
        newest = self.journal[-1]
        # The clock of the hosts is never set, so one difference between the clocks holds for the whole boot.
        self.offset = int(newest["__REALTIME_TIMESTAMP"]) - int(newest["__MONOTONIC_TIMESTAMP"])
        # Monotonic time of the origin, by the event that systemd reports itself.
        self.zero = int(self.manager["UserspaceTimestampMonotonic"]) - self.events["userspace"]["start_us"]
        self.worst = 0
        self.failed = []
        self.compared = set()

    def text(self, name):
        path = self.folder / name
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, event):
        return self.events[event]["start_us"] + self.zero

    def end(self, event):
        return self.events[event]["end_us"] + self.zero

    def same(self, what, ours, theirs, source, limit=LIMIT_US):
        distance = abs(ours - theirs)
        self.worst = max(self.worst, distance)
        word = "ok" if distance <= limit else "FAILED"
        print(f"{word:6} {what:42} {distance / 1000:9.3f} ms from {source}")
        if distance > limit:
            self.failed.append(what)
        self.compared.add(what.split()[0])


def properties(text):
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def unix_us(text):
    """Microseconds since 1970 of a time in RFC 3339, or as cloud-init writes it."""
    found = re.match(r"(\d+-\d+-\d+)[T ](\d+:\d+:\d+)(?:[.,](\d+))?", text)
    day, clock, fraction = found.groups()
    whole = calendar.timegm(datetime.datetime.fromisoformat(f"{day}T{clock}").timetuple())
    return whole * SECOND_US + int((fraction or "0").ljust(6, "0")[:6])


def compare_systemd(host):
    started = int(host.manager["UserspaceTimestampMonotonic"])
    host.same("userspace start", host.start("userspace"), started, "UserspaceTimestampMonotonic")
    host.same("userspace end", host.end("userspace"), int(host.manager["FinishTimestampMonotonic"]), "FinishTimestampMonotonic")
    took = re.search(r"([0-9.]+)s \(userspace\)", host.text("analyze"))
    duration = host.events["userspace"]["end_us"] - host.events["userspace"]["start_us"]
    host.same("userspace duration", duration, float(took.group(1)) * SECOND_US, "systemd-analyze")
    blame = dict(reversed(line.split(None, 1)) for line in host.text("blame").splitlines() if line.count(" ") and "min" not in line)
    for event, name in {**UNITS, **{name: name for name in host.events if name in host.units}}.items():
        if event not in host.events:
            continue
        unit = host.units[name]
        host.same(f"{event} start", host.start(event), int(unit["InactiveExitTimestampMonotonic"]), name)
        # A unit that does its work and ends is never active.
        ended = int(unit["ActiveEnterTimestampMonotonic"]) or int(unit["InactiveEnterTimestampMonotonic"])
        host.same(f"{event} end", host.end(event), ended, name)
        if name in blame:
            took = host.events[event]["end_us"] - host.events[event]["start_us"]
            host.same(f"{event} duration", took, duration_us(blame[name]), "systemd-analyze blame")
        for word, message, ours in (("start", UNIT_STARTING, host.start(event)), ("end", UNIT_STARTED, host.end(event))):
            logged = [e for e in host.journal if e.get("UNIT") == name and e.get("MESSAGE_ID") == message]
            if logged:
                host.same(f"{event} {word}", ours, int(logged[0]["__MONOTONIC_TIMESTAMP"]), f"the journal of {name}")


def duration_us(text):
    parts = re.findall(r"([0-9.]+)(us|ms|s)", text)
    return sum(float(number) * {"us": 1, "ms": 1000, "s": SECOND_US}[unit] for number, unit in parts)


def compare_rest(host):
    if "launch" in host.events:
        launched = unix_us(json.loads(host.text("document"))["pendingTime"])
        host.same("launch", host.start("launch") + host.offset, launched, "the identity document")
        host.same("launch origin", host.timeline["origin"]["unix_us"], launched, "the identity document")
    if "user-data" in host.events:
        lines = [line for line in host.text("cloud-init.log").splitlines() if re.search("modules-final/config-scripts[-_]user:", line)]
        for word, ours in (("start", host.start("user-data")), ("finish", host.end("user-data"))):
            logged = [line for line in lines if f" {word}: " in line][-1]
            host.same(f"user-data {word}", ours + host.offset, unix_us(logged), "cloud-init.log")
    containers = {one["Name"]: one for one in json.loads(host.text("containers") or "[]")}
    if "agent-started" in host.events:
        started = unix_us(containers["/ecs-agent"]["State"]["StartedAt"])
        host.same("agent-started", host.start("agent-started") + host.offset, started, "docker inspect")
    if "first-task" in host.events:
        started = unix_us(containers["/ecs-web-1"]["State"]["StartedAt"])
        host.same("first-task", host.start("first-task") + host.offset, started, "docker inspect")
    for event, words in (("registered", "Registered container instance with cluster!"), ("connected", "Connected to ACS endpoint")):
        logged = [line for line in host.text("agent.log").splitlines() if words in line]
        if event in host.events:
            host.same(event, host.start(event) + host.offset, unix_us(logged[0]), "docker logs")
    reported = [entry for entry in host.journal if entry.get("MESSAGE_ID") == READY]
    if "reported" in host.events:
        host.same("reported", host.start("reported"), int(reported[0]["__MONOTONIC_TIMESTAMP"]), "the journal")


def compare_commands(host):
    """The stages end with a line in the journal; the requests are in the log of the metadata service."""
    configured = [entry for entry in host.journal if entry.get("MESSAGE") == "configured the agent"]
    if "run.apply" in host.events:
        logged = int(configured[0]["_SOURCE_REALTIME_TIMESTAMP"])
        host.same("run.apply end", host.end("run.apply") + host.offset, logged, "the journal")
    answered = []
    for line in host.text("metadata.log").splitlines():
        found = re.match(r'(\d+\.\d+) \S+ "(?:GET|PUT) /latest/(\S+) HTTP', line)
        if found:
            answered.append((float(found.group(1)) * SECOND_US, found.group(2)))
    requests = [event for event in host.timeline["events"] if event["label"].startswith("IMDS ")]
    for event in requests:
        path = event["label"].split()[1]
        ours = host.end(event["id"]) + host.offset
        nearest = min((time for time, of in answered if of == path), key=lambda time: abs(time - ours))
        host.same(f"{event['id']} end", ours, nearest, f"the metadata service: {path}", ANSWER_LIMIT_US)
    if "run" in host.events and not requests:
        host.failed.append("run has no requests")


def compare_chain(host):
    """The chain before the agent's unit is that of `systemd-analyze critical-chain`."""
    lines = host.text("chain").splitlines()[3:]
    theirs = [re.sub(r"^[└─ ]+", "", line).split()[0] for line in lines if line.strip()]
    names = {event: name for event, name in UNITS.items()}
    ours, event = [], host.events["ecs"]
    while event is not None and not (event["id"] in ("launch", "kernel", "initrd")):
        ours.append(names.get(event["id"], event["id"]))
        event = host.events[event["waited_for"]["event"]] if event["waited_for"] else None
    print(f"chain of systemd-analyze: {' '.join(theirs)}\nours: {' '.join(ours)}")
    # Below the targets of early boot, several units end in the same millisecond.
    until = next((at for at, name in enumerate(theirs) if name == "cloud-init-local.service"), len(theirs))
    if ours[: until + 1] != theirs[: until + 1]:
        host.failed.append("the chain before ecs.service")


def main():
    host = Host(sys.argv[1])
    missing = {event["id"] for event in host.timeline["missing"]}
    expected = set(sys.argv[2:])
    if missing != expected:
        host.failed.append(f"missing are {sorted(missing)}, not {sorted(expected)}")
    compare_systemd(host)
    compare_rest(host)
    compare_commands(host)
    compare_chain(host)
    without_parts = {event for event in host.events if not re.match(r"(run|verify)(\.|$)", event)}
    if without_parts - host.compared:
        host.failed.append(f"not compared: {sorted(without_parts - host.compared)}")
    print(f"{len(host.compared)} events, at most {host.worst / 1000:.3f} ms apart")
    if host.failed:
        sys.exit("assertion: " + "; ".join(host.failed))


if __name__ == "__main__":
    main()
