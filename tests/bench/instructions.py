#!/usr/bin/env python3
"""Counts the instructions of ecs-bootstrap with callgrind, which counts the same on every machine.

Usage: tests/bench/instructions.py BINARY SIMULATORS
SIMULATORS is the example `instance` (`cargo build --example instance`). Prints one JSON document: instructions in user
space by operation. Needs valgrind, openssl, iproute2 and gcc."""

import json
import os
import re
import subprocess
import sys

import bed

OPERATIONS = {
    "--version": "the start of the program",
    "plan": "`plan` by a tag in instance metadata, without a D-Bus",
    "plan, one AWS call": "`plan` by DescribeTags: one AWS call over TLS, without a D-Bus",
    "run": "`run` by a tag in instance metadata",
    "second run": "`run` on the same host again",
    "guard": "`guard` when the file is as planned",
}


def count(host, command, environment=None):
    """The instructions of one command."""
    environment = host.environment if environment is None else environment
    valgrind = [bed.which("valgrind"), "--tool=callgrind", f"--callgrind-out-file={os.devnull}", *map(str, command)]
    done = subprocess.run(valgrind, capture_output=True, text=True, stdin=subprocess.DEVNULL, errors="replace",
                          env={**environment, "PATH": os.environ["PATH"]})
    found = re.search(r"^==\d+== Collected : (\d+)$", done.stderr, re.M)
    if done.returncode != 0 or not found:
        raise bed.Broken(f"`{' '.join(map(str, command))}` under callgrind ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return int(found[1])


def all_counts(host, binary):
    """The instructions of each of `OPERATIONS`, each once. `host` is a bed without a delay."""
    counts = {}
    host.start("imds-tag")
    counts["--version"] = count(host, [binary, "--version"])
    counts["plan"] = count(host, [binary, "plan"], host.without_bus())
    counts["run"] = count(host, [binary, "run", "--no-wait"])
    if "ECS_CLUSTER=prod" not in host.config():
        raise bed.Broken(f"`run` wrote:\n{host.config()}")
    counts["second run"] = count(host, [binary, "run", "--no-wait"])
    counts["guard"] = count(host, [binary, "guard", "--root", host.root], {})
    host.start("describe-tags")
    counts["plan, one AWS call"] = count(host, [binary, "plan"], host.without_bus())
    calls = host.command("counts")["aws"]
    if calls != ["DescribeTags"]:
        raise bed.Broken(f"`plan` by DescribeTags made the calls {calls}")
    return {name: counts[name] for name in OPERATIONS}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    bed.isolate()
    binary, simulator = map(os.path.abspath, sys.argv[1:])
    with bed.Bed(simulator) as host:
        print(json.dumps(all_counts(host, binary), indent=2))


if __name__ == "__main__":
    try:
        main()
    except bed.Broken as error:
        sys.exit(f"error: {error}")
