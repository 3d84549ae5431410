"""Runs the usual script and ecs-deploy in twelve situations on the same simulated ECS API. Each situation defines what
a correct result is; the table calls it `survives`. Prints the table and, as the last line, `N passed, N failed`,
which counts ecs-deploy only.

Usage: side_by_side.py ECS_DEPLOY ROLLOUT AWS"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
# Seconds. The CLI polls every 15 s; a program that has not ended by then waits forever, or for ten minutes.
LIMIT = 75
CONTAINER = {"name": "web", "memory": 128}


class Run:
    """How a program ended, and the final state of the service."""

    def __init__(self, code, output, state):
        self.code, self.output = code, output
        self.calls, self.service, self.revisions = state["calls"], state["service"] or {}, state["revisions"]

    def image(self):
        running = self.service.get("taskDefinition")
        found = [one for one in self.revisions if one["taskDefinitionArn"] == running]
        return found[0]["containerDefinitions"][0]["image"] if found else None

    def runs(self, image):
        """Whether the program succeeded and the service runs this image."""
        primary = (self.service.get("deployments") or [{}])[0]
        completed = self.service.get("status") == "ACTIVE" and primary.get("rolloutState") == "COMPLETED"
        return self.code == 0 and completed and self.image() == image

    def fails(self, *words):
        """Whether the program failed and printed these words."""
        return self.code not in (0, None) and all(word in self.output for word in words)


# Each entry: the description, the situation of the API, the image tag, and the check of a correct result.
SITUATIONS = [
    ("the first deployment", "absent", "2", lambda run: run.runs("web:2")),
    ("an update", "active", "2", lambda run: run.runs("web:2")),
    ("the same again: nothing is registered, nothing deployed", "active", "1",
     lambda run: run.runs("web:1") and len(run.revisions) == 1 and "UpdateService" not in run.calls),
    ("the service was deleted by hand (INACTIVE): created again", "inactive", "2", lambda run: run.runs("web:2")),
    ("the service was just deleted (DRAINING): waited for, created again", "draining", "2", lambda run: run.runs("web:2")),
    ("the tag's variable is not set: refused before any API call", "active", None,
     lambda run: run.fails("TAG") and "RegisterTaskDefinition" not in run.calls),
    ("the image was never pushed: reported, the old revision runs", "image-missing", "2",
     lambda run: run.fails("not found") and run.image() == "web:1"),
    ("the circuit breaker rolls back: not reported as a success", "circuit-breaker", "2",
     lambda run: run.fails("ended with 1") and run.image() == "web:1"),
    ("another deployment starts meanwhile: reported", "superseded", "2", lambda run: run.fails("took the place")),
    ("throttled for some seconds", "throttled", "2", lambda run: run.runs("web:2")),
    ("ECS does not show the new service at once", "stale", "2", lambda run: run.runs("web:2")),
    ("auto scaling wants five tasks: they stay five", "auto-scaled", "2",
     lambda run: run.runs("web:2") and run.service["desiredCount"] == 5),
]


def write(folder, image):
    task = {"family": "web", "containerDefinitions": [{**CONTAINER, "image": image}]}
    (folder / "task-definition.json").write_text(json.dumps(task), encoding="utf-8")
    service = {"cluster": "prod", "serviceName": "web", "desiredCount": 2}
    (folder / "service.json").write_text(json.dumps(service), encoding="utf-8")


def play(command, image, situation, tag, rollout, path):
    """Runs a program with its own simulated API."""
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
        state, _ = api.communicate()
        return Run(code, output, json.loads(state))


def main():
    ecs_deploy, rollout, aws = (os.path.abspath(path) for path in sys.argv[1:4])
    deploy = [ecs_deploy, "deploy", "--task-definition", "task-definition.json", "--service-definition", "service.json",
              "--timeout", "15s"]
    usual = ["bash", str(HERE / "usual-script.sh")]
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(max_workers=12) as pool:
        deployed = [pool.submit(play, deploy, "web:${TAG}", situation, tag, rollout, os.path.dirname(ecs_deploy))
                for _, situation, tag, _ in SITUATIONS]
        scripted = [pool.submit(play, usual, "web:%TAG%", situation, tag, rollout, os.path.dirname(aws))
                  for _, situation, tag, _ in SITUATIONS]
        deployed, scripted = [run.result() for run in deployed], [run.result() for run in scripted]
    print("| situation | usual script | ecs-deploy |\n| --- | --- | --- |")
    failed = 0
    for (description, _, _, survives), with_ecs_deploy, with_script in zip(SITUATIONS, deployed, scripted):
        words = ["survives" if survives(run) else ("waits" if run.code is None else f"ends with {run.code}")
                 for run in (with_script, with_ecs_deploy)]
        print(f"| {description} | {words[0]} | {words[1]} |")
        if not survives(with_ecs_deploy):
            failed += 1
            print(with_ecs_deploy.code, with_ecs_deploy.output, with_ecs_deploy.image(), with_ecs_deploy.calls, file=sys.stderr)
    print(f"({time.monotonic() - began:.0f} s)")
    print(f"{len(SITUATIONS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
