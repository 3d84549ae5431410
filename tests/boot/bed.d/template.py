#!/usr/bin/env python3
"""Prints the script that a CloudFormation template has as user data, with its parameters filled in.

In: a file whose first line is the name of the template, and whose other lines are NAME=VALUE. A parameter without a
value and a value without a parameter are errors."""

import pathlib
import re
import sys
import textwrap

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "packaging" / "cloudformation"


def main(path):
    name, *lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines)
    template = (FOLDER / name).read_text(encoding="utf-8")
    found = re.findall(r"^ *- Fn::Base64: !Sub \|\n((?: +#!/bin/sh\n)(?: .*\n|\n)*?)(?= *- Fn::Base64)", template, re.M)
    if len(found) != 1:
        sys.exit(f"{name} has {len(found)} scripts")
    script = textwrap.dedent(found[0])
    used = set(re.findall(r"\$\{([^}]+)\}", script))
    if used != set(values):
        sys.exit(f"{path} has values for {sorted(values)}, and {name} takes {sorted(used)}")
    for key, value in values.items():
        script = script.replace("${" + key + "}", value)
    sys.stdout.write(script)


if __name__ == "__main__":
    main(sys.argv[1])
