#!/usr/bin/env python3
"""Compares figures that repeat with those in tests/bench/recorded.json: the calls of the usual starts, the
instructions, and the size of the binaries.

Usage: tests/bench/recorded.py DIST SIMULATORS [--update]
       tests/bench/recorded.py --self-test

DIST has the binaries of packaging/build (`ecs-bootstrap`, `ecs-rollout/ecs-rollout`), SIMULATORS is the example
`instance`. tests/bench/record builds both.

  --update     record the figures, and write them into the documentation
  --self-test  measure nothing; check that each rule reports a wrong figure

Prints the figures and `N passed, N failed` last. Needs valgrind, openssl, iproute2 and gcc.

The rules:
- The calls are exactly those recorded. Only `verify` may send one request more or less to instance metadata: it needs
  credentials in two places, which may ask for them at the same time.
- Instructions differ by at most INSTRUCTIONS from the recorded count, which is for one processor architecture.
- The size of a binary differs by at most SIZE from the recorded size. If it grows by more, the section Unreleased of
  CHANGELOG.md must have a line of this form, whose size is right within SIZE:
      - Size of `ecs-bootstrap`: 11.2 MB, because REASON
  `--update` refuses such a growth without that line. A binary that shrinks by more is recorded anew, so that it cannot
  grow back unnoticed."""

import collections
import json
import os
import pathlib
import platform
import re
import sys

import bed
import figures
import instructions

RECORDED = figures.ROOT / "tests/bench/recorded.json"
CHANGELOG = figures.ROOT / "CHANGELOG.md"
# Ten runs on one host differ by up to 1.1 % (the order of hash maps, the time at which sockets become ready), and hosts
# without AVX2 by up to 2.2 %, because the C library then uses other functions. The toolchain is pinned.
INSTRUCTIONS = 0.04
# Other load on the host only adds instructions (a time-out, a repeated request). So the lowest count is compared, and
# counts that are too high are counted again, up to this number of times.
RUNS = 6
SIZE = 0.02
PROGRAMS = {"ecs-bootstrap": "ecs-bootstrap", "ecs-rollout": "ecs-rollout/ecs-rollout"}
# The sources of the cluster whose calls are recorded: names of the example `instance`.
SOURCES = ["imds-tag", "user-data", "file", "describe-tags", "cluster-tags"]
COMMANDS = {"run": ["run", "--no-wait"], "verify": ["verify"]}


def calls(requests):
    """The number of requests to instance metadata and of each AWS operation."""
    return dict(sorted(collections.Counter(["IMDS"] * len(requests["imds"]) + requests["aws"]).items()))


def measure_calls(host, binary):
    """The calls of `run`, which ends when it has written `ecs.config` and started the units, and of `verify` after it,
    by the source of the cluster."""
    measured = {}
    for source in SOURCES:
        host.start(source)
        before = collections.Counter()
        for name, arguments in COMMANDS.items():
            host.measure([binary, *arguments])
            total = collections.Counter(calls(host.command("counts")))
            measured[f"{name}, {source}"] = dict(sorted((total - before).items()))
            before = total
    return measured


def lowest_counts(count, recorded):
    """The lowest instructions of several runs of `count`, which end early if none is too high."""
    lowest = count()
    for _ in range(RUNS - 1):
        if all(name in recorded and value <= (1 + INSTRUCTIONS) * recorded[name] for name, value in lowest.items()):
            break
        lowest = {name: min(value, lowest[name]) for name, value in count().items()}
    return lowest


def measure(dist, simulators, recorded):
    """The figures of the binaries in `dist`. `recorded` has the recorded instructions, or nothing."""
    with bed.Bed(simulators) as host:
        binary = dist / PROGRAMS["ecs-bootstrap"]
        return {"calls": measure_calls(host, binary),
                "instructions": lowest_counts(lambda: instructions.all_counts(host, binary), recorded),
                "size": {name: os.path.getsize(dist / path) for name, path in PROGRAMS.items()}}


def compare(recorded, measured, changelog):
    """Compares the figures of one architecture. Returns the names of all, and a fault for each that breaks its rule."""
    compared, faults = [], []
    for part, rule in (("calls", same_calls), ("instructions", tolerated), ("size", sized)):
        old, new = recorded.get(part, {}), measured.get(part, {})
        for name in {**old, **new}:
            compared.append(f"{part}: {name}")
            if name in old and name in new:
                fault = rule(name, old[name], new[name], changelog)
            else:
                fault = f"is not {'recorded' if name in new else 'measured'}; {RECORD}"
            if fault:
                faults.append(f"{part}: {name}: {fault}")
    return compared, faults


RECORD = "record the figures with tests/bench/record"


def same_calls(name, recorded, measured, _):
    (old, old_calls), (new, new_calls) = split(recorded), split(measured)
    if new_calls == old_calls and abs(new - old) <= (1 if name.startswith("verify, ") else 0):
        return ""
    return f"{measured}, recorded {recorded}; {RECORD} if this is intended"


def split(counts):
    """The number of requests to instance metadata, and the number of each AWS operation."""
    return counts.get("IMDS", 0), {call: count for call, count in counts.items() if call != "IMDS"}


def change(recorded, measured):
    return f"{measured:,}, recorded {recorded:,} ({(measured / recorded - 1) * 100:+.1f} %)"


def tolerated(_, recorded, measured, __):
    if abs(measured - recorded) <= INSTRUCTIONS * recorded:
        return ""
    return f"{change(recorded, measured)}; {RECORD}, and give the reason in the commit"


def sized(name, recorded, measured, changelog):
    if recorded - measured > SIZE * recorded:
        return f"{change(recorded, measured)}; {RECORD}"
    return unexplained_growth(name, recorded, measured, changelog)


def unexplained_growth(name, recorded, measured, changelog):
    """The fault of a size, or nothing."""
    if measured - recorded <= SIZE * recorded:
        return ""
    form = f"`- Size of `{name}`: {measured / 1e6:.1f} MB, because REASON`"
    stated = stated_size(name, changelog)
    if stated is None:
        return f"{change(recorded, measured)}; the section Unreleased of CHANGELOG.md needs a line {form}"
    if abs(measured - stated) > SIZE * stated:
        return f"{change(recorded, measured)}; CHANGELOG.md says {stated / 1e6:.1f} MB: correct the line to {form}"
    return ""


def stated_size(name, changelog):
    """The size in bytes that the section Unreleased gives a reason for, or None."""
    section = re.search(r"^## \[Unreleased\]$(.*?)(?=^## \[|\Z)", changelog, re.M | re.S)
    line = section and re.search(rf"^- Size of `{name}`: (\d+\.\d+) MB, because \w", section[1], re.M)
    return float(line[1]) * 1e6 if line else None


def this_architecture(stored):
    """The recorded figures for this machine. The calls are the same on every architecture."""
    return {"calls": stored["calls"], **stored.get(platform.machine(), {})}


def update(stored, measured, changelog):
    """The new content of recorded.json. Raises ValueError if the growth of a binary has no reason."""
    sizes = this_architecture(stored).get("size", {})
    faults = [f"{name}: {fault}" for name, size in measured["size"].items() if name in sizes
              for fault in [unexplained_growth(name, sizes[name], size, changelog)] if fault]
    if faults:
        raise ValueError("; ".join(faults))
    own = {part: figures_of for part, figures_of in measured.items() if part != "calls"}
    return {**stored, "calls": measured["calls"], platform.machine(): own}


def documented(stored):
    """The part of the documentation: sizes of x86-64, and the calls."""
    sizes = stored["x86_64"]["size"]
    rows = [[f"size of `{name}` for x86-64", figures.megabytes(size)] for name, size in sizes.items()]
    for name, counts in stored["calls"].items():
        command, source = name.split(", ")
        metadata, operations = split(counts)
        requests = [f"{metadata} to instance metadata"] + [f"{count} {call}" for call, count in operations.items()]
        rows.append([f"requests of `{command}`; the cluster is named by `{source}`", ", ".join(requests)])
    return figures.markdown(["what", "recorded"], rows)


def is_documented(stored):
    """Whether the documentation shows the recorded figures."""
    return f"<!-- bench: recorded -->\n{documented(stored)}\n<!-- end -->" in figures.LIMITS.read_text(encoding="utf-8")


def main():
    arguments = [word for word in sys.argv[1:] if word != "--update"]
    if len(arguments) != 2:
        sys.exit(__doc__)
    bed.isolate()
    dist, simulators = map(pathlib.Path, map(os.path.abspath, arguments))
    stored = json.loads(RECORDED.read_text(encoding="utf-8"))
    changelog = CHANGELOG.read_text(encoding="utf-8")
    updates = "--update" in sys.argv
    measured = measure(dist, simulators, {} if updates else this_architecture(stored).get("instructions", {}))
    print(json.dumps(measured, indent=2))
    if updates:
        stored = update(stored, measured, changelog)
        RECORDED.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
        figures.write_part(figures.LIMITS, "recorded", documented(stored))
    recorded = this_architecture(stored)
    if "size" not in recorded:
        print(f"NOT CHECKED: instructions and sizes: none are recorded for {platform.machine()}")
        recorded, measured = {"calls": recorded["calls"]}, {"calls": measured["calls"]}
    compared, faults = compare(recorded, measured, changelog)
    compared.append("documentation")
    if not is_documented(stored):
        faults.append(f"documentation: {figures.LIMITS.name} does not show the recorded figures; {RECORD}")
    return finish(len(compared), faults)


def finish(checks, faults):
    for fault in faults:
        print(f"FAILED: {fault}")
    print(f"{checks - len(faults)} passed, {len(faults)} failed")
    return 1 if faults else 0


# Figures with every rule, and a changelog whose line was for an earlier growth.
EXAMPLE = {"calls": {"run, imds-tag": {"IMDS": 2}, "verify, imds-tag": {"DescribeTags": 1, "IMDS": 5}},
           "instructions": {"plan": 1_000_000}, "size": {"ecs-bootstrap": 10_000_000}}
EXPLAINED = "## [Unreleased]\n- Size of `ecs-bootstrap`: 10.5 MB, because it reads more\n\n## [0.1.0]\n"
RELEASED = "## [Unreleased]\n\n## [0.1.0]\n- Size of `ecs-bootstrap`: 10.5 MB, because it read more\n"
WITHOUT_REASON = "## [Unreleased]\n- Size of `ecs-bootstrap`: 10.5 MB, because\n"
OF_ANOTHER = "## [Unreleased]\n- Size of `ecs-rollout`: 10.5 MB, because it reads more\n"

# What is planted: the part, the name, its measured value (None: not measured), the changelog, and a text of the fault,
# or nothing if there must be none.
CASES = [
    ("calls", "run, imds-tag", {"IMDS": 2}, "", ""),
    ("calls", "run, imds-tag", {"IMDS": 3}, "", "record the figures"),
    ("calls", "run, imds-tag", {"DescribeTags": 1, "IMDS": 2}, "", "DescribeTags"),
    ("calls", "run, imds-tag", {"IMDS": 1}, "", "record the figures"),
    ("calls", "run, imds-tag", None, "", "is not measured"),
    ("calls", "run, file", {"IMDS": 1}, "", "is not recorded"),
    ("calls", "verify, imds-tag", {"DescribeTags": 1, "IMDS": 4}, "", ""),
    ("calls", "verify, imds-tag", {"DescribeTags": 1, "IMDS": 7}, "", "record the figures"),
    ("calls", "verify, imds-tag", {"DescribeTags": 2, "IMDS": 5}, "", "record the figures"),
    ("calls", "verify, imds-tag", {"IMDS": 5}, "", "record the figures"),
    ("instructions", "plan", 1_000_000 * (1 + INSTRUCTIONS), "", ""),
    ("instructions", "plan", 1_000_001 * (1 + INSTRUCTIONS), "", f"+{INSTRUCTIONS * 100:.1f} %"),
    ("instructions", "plan", 1_000_000 * (1 - INSTRUCTIONS), "", ""),
    ("instructions", "plan", 999_999 * (1 - INSTRUCTIONS), "", f"-{INSTRUCTIONS * 100:.1f} %"),
    ("instructions", "plan", None, "", "is not measured"),
    ("size", "ecs-bootstrap", 10_200_000, "", ""),
    ("size", "ecs-bootstrap", 9_800_000, "", ""),
    ("size", "ecs-bootstrap", 10_200_001, "", "needs a line `- Size of `ecs-bootstrap`: 10.2 MB, because REASON`"),
    ("size", "ecs-bootstrap", 10_500_000, EXPLAINED, ""),
    ("size", "ecs-bootstrap", 10_800_000, EXPLAINED, "CHANGELOG.md says 10.5 MB"),
    ("size", "ecs-bootstrap", 10_500_000, RELEASED, "needs a line"),
    ("size", "ecs-bootstrap", 10_500_000, WITHOUT_REASON, "needs a line"),
    ("size", "ecs-bootstrap", 10_500_000, OF_ANOTHER, "needs a line"),
    ("size", "ecs-bootstrap", 9_799_999, EXPLAINED, "-2.0 %"),
]


def misjudged():
    """The cases that `compare` does not judge as they say."""
    for part, name, value, changelog, wanted in CASES:
        measured = {**EXAMPLE, part: {**EXAMPLE[part], name: value}}
        if value is None:
            del measured[part][name]
        faults = compare(EXAMPLE, measured, changelog)[1]
        if len(faults) != bool(wanted) or wanted not in "".join(faults):
            yield f"{part}: {name}: {value} with {changelog!r}: {faults}, wanted {wanted!r}"


def misrecorded():
    """The wrong results of `update`."""
    own = platform.machine()
    stored = {"calls": {}, own: {"size": EXAMPLE["size"]}, "other": {"size": {"ecs-bootstrap": 1}}}
    grown = {**EXAMPLE, "size": {"ecs-bootstrap": 10_500_000}}
    if update(stored, grown, EXPLAINED) != {
            "calls": EXAMPLE["calls"], own: {"instructions": EXAMPLE["instructions"], "size": grown["size"]},
            "other": {"size": {"ecs-bootstrap": 1}}}:
        yield "`update` does not record a growth with a reason"
    if this_architecture(update({"calls": {}}, EXAMPLE, "")) != EXAMPLE:
        yield "`update` does not record the first figures of an architecture"
    try:
        update(stored, grown, RELEASED)
        yield "`update` records a growth without a reason"
    except ValueError:
        pass


def miscounted():
    """The wrong results of `lowest_counts`."""
    def counted(values, recorded):
        left = [{"plan": value} for value in values]
        return lowest_counts(lambda: left.pop(0), recorded)["plan"], len(left)

    recorded = EXAMPLE["instructions"]
    for values, wanted, what in (([1_000_000, 1], (1_000_000, 1), "a count within the tolerance is final"),
                                 ([2_000_000, 1_010_000, 1], (1_010_000, 1), "a high count is counted again"),
                                 ([2_000_000] * RUNS + [1], (2_000_000, 1), "a count that stays high is reported"),
                                 ([900_000, 1], (900_000, 1), "a low count is final")):
        if counted(values, recorded) != wanted:
            yield f"{what}: {counted(values, recorded)}"
    if counted([3, 2] + [4] * (RUNS - 2), {}) != (2, 0):
        yield "without recorded instructions, the lowest of all runs is taken"


def self_test():
    return finish(len(CASES) + 8, [*misjudged(), *misrecorded(), *miscounted()])


if __name__ == "__main__":
    try:
        sys.exit(self_test() if sys.argv[1:] == ["--self-test"] else main())
    except (bed.Broken, ValueError) as error:
        sys.exit(f"error: {error}")
