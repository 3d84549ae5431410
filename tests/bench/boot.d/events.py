#!/usr/bin/env python3
"""Prints when the events of one boot happened, in seconds since the start of PID 1, as one line of JSON.

In: the variant, the seconds of user data, the log of the AWS API, the number of hosts that slept beside this one, the time
at which its boot began, in hundredths of a second the time from which its user data slept, or nothing, and the user and the
system time of the verification in seconds, or nothing; on stdin what `systemctl show` prints of the manager and of units.
Out: also `working`, the times in which the host worked: until its user data slept, and from there until now, when it has
ended; and `verify`, the CPU time of the verification.

All times are of one clock, CLOCK_MONOTONIC: systemd's in microseconds, the log's in seconds. The others are of
CLOCK_BOOTTIME, which is the same on a machine that was never suspended."""

import json
import sys
import time


def properties(text):
    """The blocks of `systemctl show`, each as a dictionary."""
    return [dict(line.split("=", 1) for line in block.splitlines()) for block in text.split("\n\n") if block.strip()]


def registered(path):
    """When the API had its answer to the first successful registration, just before it sent it."""
    with open(path, encoding="utf-8") as log:
        calls = [json.loads(line) for line in log]
    return next(call["monotonic"] for call in calls
                if call["operation"] == "RegisterContainerInstance" and call["status"] == 200)


def main(variant, seconds, log, beside, started, slept, verify):
    manager, *units = properties(sys.stdin.read())
    began = int(manager["UserspaceTimestampMonotonic"]) / 1e6
    events = {"registered": registered(log) - began}
    for unit in units:
        for event, name in (("InactiveExit", "begins"), ("ActiveEnter", "is up")):
            moment = int(unit[f"{event}TimestampMonotonic"]) / 1e6
            if moment:  # 0: it has not happened
                events[f"{unit['Id']} {name}"] = moment - began
    events = {name: round(moment, 3) for name, moment in sorted(events.items(), key=lambda event: event[1])}
    start, ended = float(started), round(time.clock_gettime(time.CLOCK_BOOTTIME), 2)
    sleep = int(slept) / 100 if slept and variant != "early" else None
    working = [[start, ended]] if sleep is None else [[start, sleep], [sleep + int(seconds), ended]]
    print(json.dumps({"variant": variant, "user_data": int(seconds), "beside": int(beside), "working": working,
                      "verify": sum(map(float, verify.split())), "events": events}))


if __name__ == "__main__":
    main(*sys.argv[1:])
