#!/usr/bin/env python3
"""Answers questions of assertions from the API's log, moto, or a JSON file. Each call prints one answer to stdout.

  calls FILE PATTERN [FIELD]                      how many calls match `service:Operation` (a glob), or FIELD of each
  instances SOCKET ACCOUNT REGION ID              container instances of an EC2 instance: cluster, status, ARN
  launch SOCKET ACCOUNT REGION                    launches another instance, and prints it in the form of instance.json
  field FILE PATH                                 a value of a JSON file by its dotted path
"""

import fnmatch
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
sys.dont_write_bytecode = True

import aws  # noqa: E402


def calls(path, pattern, field=None):
    found = []
    try:
        with open(path, encoding="utf-8") as file:
            found = [json.loads(line) for line in file]
    except FileNotFoundError:
        pass
    found = [call for call in found if fnmatch.fnmatchcase(f"{call['service']}:{call['operation']}", pattern)]
    print("\n".join(str(call[field]) for call in found) if field else len(found))


def instances(socket, account, region, instance_id):
    moto = aws.Moto(socket, account, region)
    for cluster in moto.ecs("ListClusters")["clusterArns"]:
        name = cluster.rpartition("/")[2]
        arns = moto.ecs("ListContainerInstances", cluster=cluster)["containerInstanceArns"]
        if not arns:
            continue
        for one in moto.ecs("DescribeContainerInstances", cluster=cluster, containerInstances=arns)["containerInstances"]:
            if one["ec2InstanceId"] == instance_id:
                print(name, one["status"], one["containerInstanceArn"])


def launch(socket, account, region):
    print(json.dumps({"instance_id": aws.Moto(socket, account, region).run_instance(), "account": account, "region": region}))


def field(path, dotted):
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    for part in dotted.split("."):
        value = value[int(part)] if isinstance(value, list) else (value or {}).get(part)
    print(value if isinstance(value, str) else json.dumps(value))


if __name__ == "__main__":
    {"calls": calls, "instances": instances, "launch": launch, "field": field}[sys.argv[1]](*sys.argv[2:])
