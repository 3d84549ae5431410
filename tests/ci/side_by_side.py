"""Runs the usual script and ecs-rollout in twelve situations, on the same simulated ECS API. Each situation defines when a
program works in it. Prints a table, and as its last line `N passed, N failed`: each situation in which ecs-rollout does not
work is a failure.

Usage: side_by_side.py ECS_ROLLOUT ROLLOUT AWS"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
# In seconds. The AWS CLI polls every 15 s and gives up after ten minutes, so a program that runs longer is still waiting.
LIMIT = 75
CONTAINER = {"name": "web", "memory": 128}


class Run:
    """The exit code and output of a program, the calls it made, and the service afterwards."""

    def __init__(self, code, output, result):
        self.code, self.output = code, output
        self.calls, self.service, self.revisions = result["calls"], result["service"] or {}, result["revisions"]

    def image(self):
        running = self.service.get("taskDefinition")
        found = [one for one in self.revisions if one["taskDefinitionArn"] == running]
        return found[0]["containerDefinitions"][0]["image"] if found else None

    def runs(self, image):
        """The program succeeded, and the service runs this image."""
        primary = (self.service.get("deployments") or [{}])[0]
        completed = self.service.get("status") == "ACTIVE" and primary.get("rolloutState") == "COMPLETED"
        return self.code == 0 and completed and self.image() == image

    def fails(self, *words):
        """The program failed, and its output contains the words."""
        return self.code not in (0, None) and all(word in self.output for word in words)


# A description, the situation of the API, the image tag, and when a run works.
SITUATIONS = [
    ("the first deployment", "absent", "2", lambda run: run.runs("web:2")),
    ("an update", "active", "2", lambda run: run.runs("web:2")),
    ("no change: nothing is registered or deployed", "active", "1",
     lambda run: run.runs("web:1") and len(run.revisions) == 1 and "UpdateService" not in run.calls),
    ("the service was deleted by hand (INACTIVE): create it again", "inactive", "2", lambda run: run.runs("web:2")),
    ("the service was just deleted (DRAINING): wait, then create it again", "draining", "2",
     lambda run: run.runs("web:2")),
    ("the variable of the image tag is not set: refuse, before any call", "active", None,
     lambda run: run.fails("TAG") and "RegisterTaskDefinition" not in run.calls),
    ("the image was never pushed: report it; the old revision runs", "image-missing", "2",
     lambda run: run.fails("not found") and run.image() == "web:1"),
    ("the circuit breaker rolls back: do not report a success", "circuit-breaker", "2",
     lambda run: run.fails("exited with code 1") and run.image() == "web:1"),
    ("another caller deploys at the same time: report it", "superseded", "2", lambda run: run.fails("replaced")),
    ("AWS throttles for some seconds", "throttled", "2", lambda run: run.runs("web:2")),
    ("ECS does not show the new service at once", "stale", "2", lambda run: run.runs("web:2")),
    ("Application Auto Scaling set five tasks: keep five", "auto-scaled", "2",
     lambda run: run.runs("web:2") and run.service["desiredCount"] == 5),
]


def write(folder, image):
    task = {"family": "web", "containerDefinitions": [{**CONTAINER, "image": image}]}
    (folder / "task-definition.json").write_text(json.dumps(task), encoding="utf-8")
    service = {"cluster": "prod", "serviceName": "web", "desiredCount": 2}
    (folder / "service.json").write_text(json.dumps(service), encoding="utf-8")


def play(command, image, situation, tag, rollout, path):
    """Runs a program in its own copy of a situation."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write(folder, image)
        api = subprocess.Popen([rollout, situation], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        environment = {
            "PATH": f"{path}:/usr/bin:/bin", "HOME": name, "AWS_ENDPOINT_URL": api.stdout.readline().strip(),
            "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": "",
        }
        assert environment["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:"), environment
        if tag is not None:
            environment["TAG"] = tag
        try:
            ended = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, timeout=LIMIT,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            code, output = ended.returncode, ended.stdout
        except subprocess.TimeoutExpired as late:
            code, output = None, (late.stdout or b"").decode()
        result, _ = api.communicate()
        return Run(code, output, json.loads(result))


def main():
    ecs_rollout, rollout, aws = (os.path.abspath(path) for path in sys.argv[1:4])
    deploy = [ecs_rollout, "deploy", "--task-definition", "task-definition.json", "--service-definition", "service.json",
              "--timeout", "15s", "--vars-from", "TAG"]
    usual = ["bash", str(HERE / "usual-script.sh")]
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(max_workers=12) as pool:
        def submit(command, image, program):
            return [pool.submit(play, command, image, situation, tag, rollout, os.path.dirname(program))
                    for _, situation, tag, _ in SITUATIONS]

        ecs_rollout_runs, script_runs = submit(deploy, "web:${TAG}", ecs_rollout), submit(usual, "web:%TAG%", aws)
        ecs_rollout_runs = [run.result() for run in ecs_rollout_runs]
        script_runs = [run.result() for run in script_runs]
    print("| situation | usual script | ecs-rollout |\n| --- | --- | --- |")
    failed = 0
    for (what, _, _, works), by_ecs_rollout, by_script in zip(SITUATIONS, ecs_rollout_runs, script_runs):
        words = ["works" if works(run) else ("waits" if run.code is None else f"exits with {run.code}")
                 for run in (by_script, by_ecs_rollout)]
        print(f"| {what} | {words[0]} | {words[1]} |")
        if not works(by_ecs_rollout):
            failed += 1
            run = by_ecs_rollout
            print(run.code, run.output, run.image(), run.calls, file=sys.stderr)
    print(f"({time.monotonic() - began:.0f} s)")
    print(f"{len(SITUATIONS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
