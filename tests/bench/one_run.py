#!/usr/bin/env python3
"""Measures one run of ecs-bootstrap; `tests/bench/run` starts it, and its help has the parts.

In: the binary, the simulators, a Python environment with the AWS CLI. Out: the table."""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

import bed
import figures
import instructions
from figures import Sample

# Medians of fewer runs are not a check.
FEWEST_RUNS = 9
PARTS = ("latency", "instructions", "cpu", "resources", "report")
ROUND_TRIPS = (0, 0.001, 0.005, 0.02, 0.08)
# From here on the network decides the time, not the load of the machine.
LIMITED_FROM = 0.02
SHARE_OF_CHAIN = 1.1
# How far the measured round trip of the link may be from the one that was set, where there is a limit.
LINK_TOLERANCE = 0.05

# Steps of which each needs the answer of the one before: one round trip each. What needs no answer of the step before is
# beside it and costs no round trip: the further connections to instance metadata are opened while the token is awaited,
# and the role's credentials arrive while the API's name is resolved.
_METADATA = ["TCP handshake with instance metadata", "PUT for the token",
             "GETs of identity document, user data and tags, side by side"]
_API = ["DNS query of the API's name", "TCP handshake with the API", "TLS 1.3 handshake"]
CHAINS = {
    "imds-tag": _METADATA,
    "user-data": _METADATA,
    "file": _METADATA,
    "describe-tags": [*_METADATA, *_API, "DescribeTags"],
    "cluster-tags": [*_METADATA, *_API, "ListClusters", "DescribeClusters"],
}
RAW, LINK = "raw", "link"
CHAINS[RAW] = _METADATA
SOURCES = {
    "imds-tag": "a tag in instance metadata",
    "user-data": "user data",
    "file": "a settings file",
    "describe-tags": "DescribeTags",
    "cluster-tags": "tags of the cluster",
}

BOUNDS = {"plan": 1.6e6, "plan, one AWS call": 6.0e6}
# How many times less CPU time than a script that does as much. For the AWS CLI the aim was 150: the documentation says where it
# is reached. These limits keep what is reached, with room for a busy machine: for one call of the CLI, and for two.
LESS_THAN_SHELL, LESS_THAN_ONE_CALL, LESS_THAN_TWO_CALLS = 12, 85, 125
MOST_TO_REPORT = 0.25
LONGEST_GUARD = 0.02
MOST_MEMORY = 12e6
LARGEST_BINARY = 12e6
# The agent registers, and is connected later, as on an instance.
REGISTERS, CONNECTS = 2000, 500


def run_of(binary):
    return [binary, "run", "--no-wait"]


def check_config(host, wanted):
    if f"ECS_CLUSTER={wanted}\n" not in host.config():
        raise bed.Broken(f"ecs.config has not the cluster `{wanted}`:\n{host.config()}")


def result_of(host, cluster):
    """What a run or a peer has done: the settings in `ecs.config`, and the units that it started. Only ecs-bootstrap has a
    verification; to start it is more work than the peers do."""
    check_config(host, cluster)
    units = [unit for unit in host.command("jobs") if unit != "ecs-bootstrap-verify.service"]
    if units != ["docker.service", "ecs.service"]:
        raise bed.Broken(f"docker and the agent were not started, but {units}")
    return tuple(line for line in host.config().splitlines() if line.strip() and not line.startswith("#")), tuple(units)


def metadata_paths(host, binary):
    """The paths that a run by a tag in instance metadata asks for; the tag of the cluster is the last."""
    host.start("imds-tag")
    host.measure(run_of(binary))
    paths = [line.removeprefix("GET ") for line in host.command("counts")["imds"] if line.startswith("GET ")]
    paths.sort(key=lambda path: path.endswith(":cluster"))
    if not paths or not paths[-1].endswith(":cluster"):
        raise bed.Broken(f"a run by a tag asked for {paths}")
    return paths


def raw_socket(host, binary):
    """The command of the raw-socket program with the same requests as `run`. It is for the current instance."""
    program = bed.compiled(bed.HERE / "peers/raw-socket.c", host.folder)
    paths = metadata_paths(host, binary)
    return lambda: [program, host.root / "etc/ecs/ecs.config", *paths]


def latency(table, options):
    """From exec to the written `ecs.config`. Returns the samples by round trip and source; LINK is the round trip itself,
    as measured with handshakes of TCP. The chains are multiples of this, not of the round trip that was set."""
    samples = {}
    with bed.Bed(options.simulator, delayed=True) as host:
        raw = raw_socket(host, options.binary)
        for round_trip in ROUND_TRIPS:
            host.round_trip(round_trip)
            times = {name: [] for name in (*SOURCES, RAW, LINK)}
            # One of each in turn, so that other load on the machine meets all alike.
            for _ in range(options.runs):
                times[LINK].append(host.handshake())
                for source in SOURCES:
                    host.start(source)
                    times[source].append(host.measure(run_of(options.binary))["written"])
                    check_config(host, "by-tags" if source == "cluster-tags" else "prod")
                host.start("imds-tag")
                times[RAW].append(host.measure(raw(), {})["written"])
                check_config(host, "prod")
            samples[round_trip] = {name: Sample(values) for name, values in times.items()}
            add_latency(table, round_trip, samples[round_trip])
    return samples


def add_latency(table, round_trip, samples):
    at = f"{round_trip * 1000:g} ms round trip"
    what, link = f"round trip of the link, set to {round_trip * 1000:g} ms", samples[LINK]
    if round_trip >= LIMITED_FROM:
        table.within(what, link.median, round_trip, LINK_TOLERANCE, figures.ms)
    else:
        table.compared(what, link, round_trip, figures.ms)
    for source, name in SOURCES.items():
        what = f"exec to `ecs.config`, {name}, {at}; peer: {len(CHAINS[source])} of it"
        chain = len(CHAINS[source]) * link.median
        if round_trip >= LIMITED_FROM:
            table.at_most(what, samples[source], chain, figures.ms, SHARE_OF_CHAIN)
        else:
            table.compared(what, samples[source], chain, figures.ms)
    table.compared(f"exec to `ecs.config`, {SOURCES['imds-tag']}, {at}; peer: raw sockets", samples["imds-tag"],
                   samples[RAW], figures.ms)


def latency_matrix(samples):
    """The samples for the documentation: a row for each source, a column for each round trip."""
    def cell(source, round_trip):
        sample, chain = samples[round_trip][source], len(CHAINS[source]) * samples[round_trip][LINK].median
        ratio = f"; {sample.median / chain:.2f} x" if round_trip >= LIMITED_FROM else ""
        failed = " FAILED" if ratio and source != RAW and sample.median > SHARE_OF_CHAIN * chain else ""
        return sample.text(figures.ms) + ratio + failed

    rows = [[name, len(CHAINS[source]), *(cell(source, round_trip) for round_trip in samples)]
            for source, name in [*SOURCES.items(), (RAW, "the same over raw sockets, by a tag in instance metadata")]]
    rows.append(["the round trip itself, measured", 1, *(one[LINK].text(figures.ms) for one in samples.values())])
    return figures.markdown(["the cluster is named by", "round trips", *(f"{one * 1000:g} ms" for one in samples)], rows)


def count_instructions(table, options):
    with bed.Bed(options.simulator) as host:
        rounds = [instructions.all_counts(host, options.binary) for _ in range(min(options.runs, 3))]
    counts = {name: Sample([one[name] for one in rounds]) for name in rounds[0]}
    for name, what in instructions.OPERATIONS.items():
        what = f"instructions, {what}"
        if name in BOUNDS:
            table.at_most(what, counts[name], BOUNDS[name], figures.millions)
        elif name == "second run":
            table.at_most(what, counts[name], counts["run"], figures.millions)
        else:
            table.reported(what, counts[name], figures.millions)


# Scripts of user data, by the source of the cluster: the argument of peers/user-data.sh, what it uses, and the limit.
PEERS = {
    "imds-tag": ("tag", "shell with curl, sed and systemctl", LESS_THAN_SHELL),
    "describe-tags": ("describe-tags", "the same with the AWS CLI", LESS_THAN_ONE_CALL),
    "cluster-tags": ("cluster-tags", "the same with the AWS CLI", LESS_THAN_TWO_CALLS),
}


def requests(host):
    """The requests to instance metadata and to the AWS APIs, without those for a token and for credentials. The AWS CLI asks for
    the name of the role again."""
    counts = host.command("counts")
    role = "GET /latest/meta-data/iam/security-credentials/"
    others = sorted(line for line in counts["imds"] if not line.startswith(("PUT /latest/api/token", role)))
    return others, role in counts["imds"], sorted(counts["aws"])


def cpu(table, options):
    """User and system time for equal work: the same requests, the same `ecs.config`, written durably, and docker and the
    agent are started. The raw-socket program does not start them; usual user data asks for less."""
    path = os.pathsep.join([str(options.awscli / "bin"), os.environ["PATH"]])
    found = {}

    def note(*name_and_result):
        found.setdefault(name_and_result[:-1], []).append(name_and_result[-1])

    with bed.Bed(options.simulator) as host:
        raw = raw_socket(host, options.binary)
        for _ in range(options.runs):
            host.start("imds-tag")
            note("raw", host.measure(raw(), {}))
            check_config(host, "prod")
            for source, (script, _, _) in PEERS.items():
                cluster = "by-tags" if source == "cluster-tags" else "prod"
                host.start(source)
                note("ours", source, host.on_host(run_of(options.binary)))
                ours = result_of(host, cluster), requests(host)
                for work in "usual", "equal":
                    host.start(source)
                    command = ["/bin/bash", bed.HERE / "peers/user-data.sh", host.root / "etc/ecs/ecs.config", script, work]
                    # systemctl(1) of root would not use the simulated bus without the last variable.
                    environment = {**host.environment, "PATH": path, "HOME": str(host.folder), "SYSTEMCTL_FORCE_BUS": "1"}
                    note(work, source, host.measure(command, environment))
                    peers = result_of(host, cluster), requests(host)
                    if peers[0] != ours[0] or work == "equal" and peers[1] != ours[1]:
                        raise bed.Broken(f"the peers do not do the same: {peers}, and ours {ours}")

    def of(*name, field="cpu"):
        return Sample([one[field] for one in found[name]])

    table.compared("CPU time of `run`, a tag in instance metadata; peer: raw sockets", of("ours", "imds-tag"), of("raw"), figures.ms)
    for source, (_, peer, limit) in PEERS.items():
        what, ours = f"CPU time of `run`, {SOURCES[source]}; peer:", of("ours", source)
        table.times_less(f"{what} {peer}, equal work", ours, of("equal", source), limit, figures.ms)
        table.times_less(f"{what} {peer}, the usual work", ours, of("usual", source), None, figures.ms)
    for source, (_, peer, _) in PEERS.items():
        table.times_less(f"time of `run`, {SOURCES[source]}, no delay; peer: {peer}, equal work",
                         of("ours", source, field="wall"), of("equal", source, field="wall"), None, figures.ms)


def system_calls(host, command):
    """How many system calls a command makes."""
    output = host.folder / "strace"
    host.measure([bed.which("strace"), "-f", "-c", "-S", "calls", "-o", output, *command])
    total = re.search(r"^ *100\.00 +\S+ +(?:\d+ +)?(\d+)(?: +\d+)? +total$", output.read_text("utf-8"), re.M)
    if not total:
        raise bed.Broken(f"strace wrote no total:\n{output.read_text('utf-8')}")
    return int(total[1])


def resources(table, options):
    with bed.Bed(options.simulator) as host:
        for source in ("imds-tag", "describe-tags"):
            found, calls = [], []
            for _ in range(options.runs):
                host.start(source)
                found.append(host.on_host(run_of(options.binary)))
                check_config(host, "prod")
            for _ in range(min(options.runs, 3)):
                host.start(source)
                calls.append(system_calls(host, run_of(options.binary)))

            def of(field):
                return Sample([one[field] for one in found])

            of_run = f"of `run`, {SOURCES[source]}"
            table.at_most(f"peak memory {of_run}", of("memory"), MOST_MEMORY, figures.megabytes)
            table.reported(f"page faults {of_run}",
                           Sample([one["minor_faults"] + one["major_faults"] for one in found]), figures.number)
            table.reported(f"system calls {of_run}", Sample(calls), figures.number)
        table.at_most("time of `guard` when it writes the file again", guard_times(host, options), LONGEST_GUARD, figures.ms)
    table.at_most("size of the binary", os.stat(options.binary).st_size, LARGEST_BINARY, figures.megabytes)


def guard_times(host, options):
    """How long `guard` takes when user data has replaced the file."""
    host.start("imds-tag")
    host.measure(run_of(options.binary))
    times = []
    for _ in range(options.runs):
        (host.root / "etc/ecs/ecs.config").write_text("ECS_LOGLEVEL=debug\n", encoding="utf-8")
        times.append(host.measure([options.binary, "guard", "--root", host.root], {})["wall"])
        check_config(host, "prod")
    return Sample(times)


def report(table, options):
    """From the moment when both sources of a verdict are ready to the verdict, and the CPU time of `verify` until then. The
    sources are the agent's introspection, which says that it is registered, and ECS, which says that it is connected."""
    with bed.Bed(options.simulator) as host:
        spent, delays = reports(host, options, CONNECTS)
        _, at_once = reports(host, options, 0)
    later = f"{CONNECTS / 1000:g} s later"
    table.at_most(f"both sources ready (registered, and connected {later}) to reported", Sample(delays), MOST_TO_REPORT,
                  figures.ms)
    table.at_most("registered to reported, if it is connected at once", Sample(at_once), MOST_TO_REPORT, figures.ms)
    # The kernel and systemd of a real host cost more: tests/bench/boot has the limit.
    table.reported(f"CPU time of `verify`, ready after {(REGISTERS + CONNECTS) / 1000:g} s", Sample(spent), figures.ms)


def reports(host, options, connects):
    """The CPU times and the delays of `verify` if the agent is connected so many milliseconds after its registration."""
    spent, delays = [], []
    for _ in range(options.runs):
        host.start("imds-tag", f"agent {REGISTERS} {connects}")
        host.on_host(run_of(options.binary))  # starts the agent
        spent.append(host.on_host([options.binary, "verify"])["cpu"])
        status = host.root / "run/ecs-bootstrap/status.json"
        verdict = json.loads(status.read_text("utf-8"))["verdict"]
        log = host.root / "var/log/ecs/ecs-agent.log"
        if verdict != "ready" or "Connected to ACS" not in log.read_text("utf-8"):
            raise bed.Broken(f"`verify` ended with the verdict `{verdict}`")
        # The last lines of the log say that the agent is connected, at the moment when ECS says so; then it logs nothing more.
        delays.append((status.stat().st_mtime_ns - log.stat().st_mtime_ns) / 1e9)
    return spent, delays


def conditions(runs):
    """On what the figures were measured."""
    text = pathlib.Path("/proc/cpuinfo").read_text("utf-8")
    model = re.search(r"^(?:model name|CPU part)\s*: (.*)$", text, re.M)
    return (f"{os.cpu_count()} cores ({model[1] if model else os.uname().machine}), Linux {os.uname().release}. Medians of "
            f"{runs} runs, with the lowest and the highest.")


def chains():
    """The chain of each source, for the documentation."""
    rows = [[name, len(CHAINS[source]), "; ".join(CHAINS[source])] for source, name in SOURCES.items()]
    return figures.markdown(["the cluster is named by", "round trips", "one after the other"], rows)


def main():
    parser = argparse.ArgumentParser()
    for name in ("binary", "simulator", "awscli"):
        parser.add_argument("--" + name, required=True, type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--update-docs", action="store_true")
    options = parser.parse_args()
    bed.isolate()
    measures = {"latency": latency, "instructions": count_instructions, "cpu": cpu, "resources": resources, "report": report}
    tables, samples = {}, None
    for part in options.only or PARTS:
        print(f"measuring: {part}", file=sys.stderr, flush=True)
        tables[part] = figures.Table("run")
        result = measures[part](tables[part], options)
        samples = result if part == "latency" else samples
    whole = figures.Table("run")
    whole.rows = [row for table in tables.values() for row in table.rows]
    for part in set(PARTS) - set(tables):
        whole.unchecked(part, "not chosen")
    if options.runs < FEWEST_RUNS:
        whole.unchecked("medians", f"of {options.runs} runs; {FEWEST_RUNS} are needed")
    if options.update_docs:
        update_docs(options.runs, samples, [row for part, table in tables.items() if part != "latency" for row in table.rows])
    return whole.finish()


def update_docs(runs, samples, rows):
    others = figures.Table("run")
    others.rows = rows
    figures.write_part(figures.LIMITS, "run", f"{conditions(runs)}\n\n{others.markdown()}")
    figures.write_part(figures.LIMITS, "run-latency", latency_matrix(samples))
    figures.write_part(figures.EXPLANATION, "run-chains", chains())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except bed.Broken as error:
        sys.exit(f"error: {error}")
