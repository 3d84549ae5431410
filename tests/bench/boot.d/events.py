#!/usr/bin/env python3
"""Prints when the events of one boot happened, in seconds since the start of PID 1, as one line of JSON.

In: the variant, the seconds of user data, and the log of the AWS API; on stdin what `systemctl show` prints of the manager
and of units. All times are of one clock, CLOCK_MONOTONIC: systemd's in microseconds, the log's in seconds."""

import json
import sys


def properties(text):
    """The blocks of `systemctl show`, each as a dictionary."""
    return [dict(line.split("=", 1) for line in block.splitlines()) for block in text.split("\n\n") if block.strip()]


def registered(path):
    """When the API had its answer to the first successful registration, just before it sent it."""
    with open(path, encoding="utf-8") as log:
        calls = [json.loads(line) for line in log]
    return next(call["monotonic"] for call in calls
                if call["operation"] == "RegisterContainerInstance" and call["status"] == 200)


def main(variant, seconds, log):
    manager, *units = properties(sys.stdin.read())
    began = int(manager["UserspaceTimestampMonotonic"]) / 1e6
    events = {"registered": registered(log) - began}
    for unit in units:
        for event, name in (("InactiveExit", "begins"), ("ActiveEnter", "is up")):
            moment = int(unit[f"{event}TimestampMonotonic"]) / 1e6
            if moment:  # 0: it has not happened
                events[f"{unit['Id']} {name}"] = moment - began
    events = {name: round(moment, 3) for name, moment in sorted(events.items(), key=lambda event: event[1])}
    print(json.dumps({"variant": variant, "user_data": int(seconds), "events": events}))


if __name__ == "__main__":
    main(*sys.argv[1:])
