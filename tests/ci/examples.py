"""Runs each sample pipeline of packaging/ci, and the action, as its CI system would: its steps, in the shell and with
the variables that the system documents. ecs-rollout is real, and so is the download of it. The ECS API is simulated.
docker, the AWS CLI and the package managers are fakes that record their calls. Prints `N passed, N failed`.

Needs a Python with PyYAML, bash, curl and git.

Usage: examples.py ECS_ROLLOUT ROLLOUT"""

import hashlib
import http.server
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading

import yaml

PACKAGING = pathlib.Path(__file__).resolve().parents[2] / "packaging" / "ci"
REPOSITORY = "444455556666.dkr.ecr.us-east-1.amazonaws.com/team/web"
SETTINGS = {
    "REPOSITORY_URI": REPOSITORY, "AWS_REGION": "eu-west-1", "CLUSTER": "prod", "SERVICE": "web",
    "EXECUTION_ROLE_ARN": "arn:aws:iam::111122223333:role/x", "LOG_GROUP": "/ecs/prod",
}
BUILD = "42"


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)


class Release:
    """A server with a release. Its binary is a script that runs the real program."""

    def __init__(self, ecs_rollout):
        processor = {"x86_64": "x86_64", "aarch64": "aarch64"}[platform.machine()]
        self.binary = f'#!/bin/sh\nexec "{ecs_rollout}" "$@"\n'.encode()
        self.sha256 = hashlib.sha256(self.binary).hexdigest()
        name = f"ecs-rollout-0.1.0-{processor}-linux"
        sums = f"{self.sha256}  {name}\n{'0' * 64}  other\n".encode()
        files = {f"{folder}/v0.1.0/{file}": content for file, content in ((name, self.binary), ("SHA256SUMS", sums))
                 for folder in ("", "/owner/action/releases/download", "/o/r/releases/download")}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 (the name is the library's)
                content = files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.end_headers()
                self.wfile.write(content or b"not found")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.folder = f"http://127.0.0.1:{server.server_port}"
        self.url = f"{self.folder}/v0.1.0"


class Job:
    """A checkout with deploy/, the fakes, and the simulated ECS API. Runs steps until one fails."""

    def __init__(self, work, rollout, situation):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=work))
        self.checkout, self.bin, self.usr_local = (self.folder / name for name in ("checkout", "bin", "usr-local"))
        self.calls = self.folder / "calls"
        for folder in (self.bin, self.usr_local):
            folder.mkdir()
        shutil.copytree(PACKAGING, self.checkout / "deploy")
        git = ["git", "-C", self.checkout, "-c", "user.name=x", "-c", "user.email=x@example.com"]
        for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "x"]):
            subprocess.run([*git, *command], check=True)
        self.commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
        self.fakes()
        self.api = subprocess.Popen([rollout, situation], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = self.api.stdout.readline().strip()
        assert self.endpoint.startswith("http://127.0.0.1:"), self.endpoint
        self.environment = {
            "PATH": f"{self.bin}:{self.usr_local}:/usr/bin:/bin", "HOME": str(self.folder), "CALLS": str(self.calls),
            "TMPDIR": str(self.folder), "CI": "true", "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }
        self.code, self.output = 0, ""

    def fakes(self):
        record = 'echo "${0##*/} $*" >>"$CALLS"\n'
        program(self.bin / "docker", f'#!/bin/sh\n{record}[ "$1" != login ] || cat >/dev/null\n')
        program(self.bin / "aws", f"#!/bin/sh\n{record}"
                                  "case $2 in batch-get-image) echo 'None ImageNotFound' ;; *) echo x ;; esac\n")
        program(self.bin / "apk", f"#!/bin/sh\n{record}")
        # No sample installs a package or needs root.
        for name in ("sudo", "dpkg"):
            program(self.bin / name, f"#!/bin/sh\n{record}exit 1\n")
        # The server has no certificate.
        program(self.bin / "curl", '#!/bin/bash\nexec /usr/bin/curl "${@/#=https/=http,https}"\n')

    def run(self, shell, script, environment=()):
        """Runs a step, unless an earlier one has failed."""
        if self.code:
            return
        script = script.replace("/usr/local/bin", str(self.usr_local))
        path = self.folder / "step"
        path.write_text(script)
        ended = subprocess.run([*shell.split(), path], cwd=self.checkout, env={**self.environment, **dict(environment)},
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               timeout=120)
        self.code, self.output = ended.returncode, self.output + ended.stdout

    def end(self):
        """Stops the API and reads what it recorded."""
        self.api.stdin.close()
        self.result = json.loads(self.api.stdout.read().strip().splitlines()[-1])
        self.api.wait()
        self.docker = [line for line in (self.calls.read_text() if self.calls.exists() else "").splitlines()
                       if line.startswith("docker ")]


def expressions(value, values):
    """The text with its `${{ }}` expressions replaced. An unknown expression is an error."""
    return re.sub(r"\$\{\{ *(.*?) *\}\}", lambda found: values[found[1]], value)


def github_steps(job, steps, values, environment):
    """The `run` steps (GitHub Docs, "Workflow syntax": `bash -e`, and with `shell: bash` also `-o pipefail`)."""
    files = {name: job.folder / name for name in ("GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    defaults = {
        "GITHUB_ACTIONS": "true", "GITHUB_RUN_NUMBER": BUILD, "GITHUB_SHA": job.commit, "GITHUB_REPOSITORY": "o/r",
        "GITHUB_ACTION_REPOSITORY": "", "GITHUB_SERVER_URL": values.get("server", ""), "RUNNER_TEMP": str(job.folder),
        "GITHUB_ACTION_PATH": str(PACKAGING), **{name: str(path) for name, path in files.items()},
    }
    for step in steps:
        if "run" not in step or (step.get("if") and values.get("inputs.command") == ""):
            continue
        own = {name: expressions(value, values) for name, value in {**environment, **step.get("env", {})}.items()}
        shell = "bash --noprofile --norc -eo pipefail" if step.get("shell") == "bash" else "bash -e"
        job.run(shell, step["run"], {**defaults, **own})
        if files["GITHUB_PATH"].exists():
            added = files["GITHUB_PATH"].read_text().splitlines()
            job.environment["PATH"] = ":".join([*added, job.environment["PATH"]])
            files["GITHUB_PATH"].unlink()
    return files["GITHUB_OUTPUT"].read_text() if files["GITHUB_OUTPUT"].exists() else ""


def github(job, release):
    document = yaml.safe_load((PACKAGING / "github-actions.yml").read_text())["jobs"]["deploy"]
    variables = {**SETTINGS, "ECS_ROLLOUT_RELEASE": release.url, "ECS_ROLLOUT_SHA256": release.sha256}
    values = {f"vars.{name}": value for name, value in variables.items()}
    github_steps(job, document["steps"], values, document["env"])


def travis(job, release):
    document = yaml.safe_load((PACKAGING / "travis.yml").read_text())
    job.environment |= dict(line.split("=", 1) for line in document["env"]["global"]) | SETTINGS
    job.environment |= {"ECS_ROLLOUT_RELEASE": release.url, "ECS_ROLLOUT_SHA256": release.sha256, "TRAVIS": "true",
                        "TRAVIS_BUILD_NUMBER": BUILD, "TRAVIS_COMMIT": job.commit}
    for script in [*document["install"], document["deploy"]["script"]]:
        job.run("bash", script)


def gitlab(job, release):
    """GitLab Docs, "Predefined CI/CD variables reference". `before_script` and `script` are one script of `sh`."""
    document = yaml.safe_load((PACKAGING / "gitlab-ci.yml").read_text())["deploy"]
    job.environment |= SETTINGS | document["variables"]
    job.environment |= {"ECS_ROLLOUT_RELEASE": release.url, "ECS_ROLLOUT_SHA256": release.sha256, "GITLAB_CI": "true",
                        "CI_PIPELINE_IID": BUILD, "CI_COMMIT_SHA": job.commit, "AWS_TOKEN": "secret-token"}
    job.run("sh -e", "\n".join([*document["before_script"], *document["script"]]))
    assert "secret-token" not in job.output, job.output


def codebuild(job, release):
    """CodeBuild User Guide, "Environment variables in build environments". `shell: bash` in the buildspec."""
    document = yaml.safe_load((PACKAGING / "buildspec.yml").read_text())
    job.environment |= SETTINGS
    job.environment |= {"ECS_ROLLOUT_RELEASE": release.url, "ECS_ROLLOUT_SHA256": release.sha256,
                        "CODEBUILD_BUILD_NUMBER": BUILD,
                        "CODEBUILD_RESOLVED_SOURCE_VERSION": job.commit, "CODEBUILD_SRC_DIR": str(job.checkout)}
    assert document["env"]["shell"] == "bash"
    for phase in document["phases"].values():
        assert phase["on-failure"] == "ABORT"
        for command in phase["commands"]:
            job.run("bash", command)


def jenkins_stage_runs(text, environment):
    """Whether the conditions of `when` (Jenkins, "Pipeline Syntax") are true in this environment."""
    conditions = re.search(r"when \{\s+anyOf \{(.*?)\}", text, re.S)[1]
    conditions = re.sub(r"^ *//.*$", "", conditions, flags=re.M).strip().splitlines()
    wanted = [re.fullmatch(r" *(?:branch|environment name: '(\w+)', value:) '([^']+)'", line) for line in conditions]
    return any(environment.get(found[1] or "BRANCH_NAME") == found[2] for found in wanted)


def jenkins(job, release):
    """Jenkins Handbook, "Using a Jenkinsfile": `sh` runs `sh -xe`. Reads the strings of the declarative pipeline."""
    text = (PACKAGING / "Jenkinsfile").read_text()
    block = re.search(r"environment \{(.*?)\n    \}", text, re.S)[1]
    job.environment |= dict(re.findall(r"^ +(\w+) = '([^']*)'$", block, re.M)) | SETTINGS
    job.environment |= {"ECS_ROLLOUT_RELEASE": release.url, "ECS_ROLLOUT_SHA256": release.sha256, "BUILD_NUMBER": BUILD,
                        "GIT_COMMIT": job.commit, "WORKSPACE_TMP": str(job.folder / "workspace tmp")}
    # Only a multibranch job has BRANCH_NAME. The Git plugin sets GIT_BRANCH, with the remote in other jobs.
    assert jenkins_stage_runs(text, {"BRANCH_NAME": "main", "GIT_BRANCH": "main"})
    assert jenkins_stage_runs(text, {"GIT_BRANCH": "origin/main"})
    for other in ({"BRANCH_NAME": "x", "GIT_BRANCH": "x"}, {"GIT_BRANCH": "origin/x"}, {"BRANCH_NAME": "PR-1"}):
        assert not jenkins_stage_runs(text, other), other
    scripts = re.findall(r"\bsh '''(.*?)'''", text, re.S)
    assert len(scripts) == 1 and text.count("{") == text.count("}")
    for script in scripts:
        job.run("sh -xe", script)


SAMPLES = [github, travis, gitlab, codebuild, jenkins]


def action(job, release, repository="owner/action", **inputs):
    """The composite action with these inputs. Returns its outputs as written to the file of the step."""
    document = yaml.safe_load((PACKAGING / "action.yml").read_text())
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    given = {"version": "0.1.0", **given}
    assert set(given) <= set(document["inputs"]), given
    values = {f"inputs.{name}": given.get(name, one.get("default")) for name, one in document["inputs"].items()}
    assert not [name for name, value in values.items() if value is None]
    values |= {"github.action_repository": repository, "server": release.folder}
    written = github_steps(job, document["runs"]["steps"], values, SETTINGS)
    if values["inputs.command"]:
        missing = [name for name in document["outputs"] if not re.search(rf"^{name}<<", written, re.M)]
        assert not missing or job.code, f"outputs that ecs-rollout does not write: {missing}"
    return written


FILES = {"task_definition": "deploy/task-definition.json", "service_definition": "deploy/service.json"}


def deploys(job, sample, release):
    """The sample deploys the image of its build and its commit."""
    sample(job, release)
    job.end()
    image = f"{REPOSITORY}:{BUILD}-{job.commit}"
    assert job.code == 0, f"exit code {job.code}: {job.output}"
    assert job.result["revisions"][-1]["containerDefinitions"][0]["image"] == image, job.result
    assert {"key": "ecs-rollout:commit", "value": job.commit} in job.result["revisions"][-1]["tags"], job.result
    assert f"docker push {image}" in job.docker, job.docker


def fails_with_its_code(job, sample, release):
    """A rollout that fails ends the sample with the exit code of ecs-rollout."""
    sample(job, release)
    job.end()
    assert job.code == 30, f"exit code {job.code}: {job.output}"
    assert "error: [container-exited]" in job.output, job.output


def refuses_another_binary(job, sample, release):
    """A binary with another checksum is not run, and nothing is built."""
    honest = release.sha256
    release.sha256 = "0" * 64
    try:
        sample(job, release)
    finally:
        release.sha256 = honest
    job.end()
    assert job.code != 0 and not job.docker and not job.result["calls"], job.output


# The cases of each sample, and the situation at ECS.
SAMPLE_CASES = [(deploys, "absent"), (fails_with_its_code, "circuit-breaker"), (refuses_another_binary, "absent")]


def action_deploys(job, release):
    image = f"{REPOSITORY}:7"
    written = action(job, release, **FILES, image=f"web={image}", var="IMAGE=unused\nDESIRED_COUNT=1",
                     vars_from="CLUSTER,SERVICE,EXECUTION_ROLE_ARN\nLOG_GROUP,AWS_REGION", options="--timeout=2m")
    job.end()
    assert job.code == 0, job.output
    revision = job.result["revisions"][-1]
    assert revision["containerDefinitions"][0]["image"] == image, revision
    assert {"key": "ecs-rollout:build", "value": BUILD} in revision["tags"], revision
    assert job.result["service"]["desiredCount"] == 1, job.result
    assert re.search(r"^result<<(\S+)\ndeployed\n\1$", written, re.M), written


def action_reads_no_input_as_code(job, release):
    hostile = '"; touch pwned; $(touch pwned) `touch pwned` \' ; *'
    action(job, release, **FILES, image=f"web={hostile}\nweb={hostile}", cluster=hostile, service=hostile,
           var=f"IMAGE={hostile}", vars_from=hostile, options=f"--build={hostile}\n--commit={hostile}")
    job.end()
    assert job.code != 0 and not list(job.folder.rglob("pwned")), job.output
    job.code = 0
    action(job, release, version=hostile)
    assert job.code == 1 and "is not a version" in job.output and not list(job.folder.rglob("pwned")), job.output


def action_examples():
    """The inputs of each example of the action, in its first comment and in the guide."""
    comment = re.sub(r"^# ?", "", (PACKAGING / "action.yml").read_text(), flags=re.M)
    guide = (PACKAGING.parents[1] / "docs/how-to/deploy-from-ci.md").read_text()
    found = re.findall(r"^( *)- uses: OWNER/REPO/packaging/ci@.*\n((?:\1 .*\n)+)", comment + "\n" + guide, re.M)
    return [yaml.safe_load(textwrap.dedent(step))["with"] for _, step in found]


def action_examples_deploy(work, rollout, release):
    """Each example of the action deploys: with `image` the definitions of `init`, otherwise the samples."""
    examples = action_examples()
    assert len(examples) >= 3 and any("image" in one for one in examples), examples
    for example in examples:
        job = Job(work, rollout, "absent")
        if "image" in example:
            definitions = {
                "task-definition": {"family": "web", "containerDefinitions": [{"name": "web", "image": "web:1",
                                                                              "memory": 64}]},
                "service": {"cluster": "prod", "serviceName": "web", "desiredCount": 1},
            }
            for name, content in definitions.items():
                (job.checkout / "deploy" / f"{name}.json").write_text(json.dumps(content))
        image = f"{REPOSITORY}:7"
        known = {"env.IMAGE": image, "steps.build.outputs.image": image}
        given = {name.replace("-", "_"): expressions(str(value), known) for name, value in example.items()}
        action(job, release, **{**given, "version": "0.1.0", "sha256": release.sha256})
        job.end()
        assert job.code == 0, f"{example}: {job.output}"
        assert job.result["revisions"][-1]["containerDefinitions"][0]["image"] == image, job.result


def action_only_installs(job, release):
    action(job, release, command="", version="v0.1.0", sha256=release.sha256, releases=release.folder)
    job.run("bash -e", "ecs-rollout --version")
    # In the checkout, and not in a repository of its own.
    action(job, release, repository="", command="")
    job.end()
    assert job.code == 0 and job.output.count("ecs-rollout 0.1.0") == 3, job.output


def action_refuses_another_binary(job, release):
    action(job, release, **FILES, sha256="0" * 64)
    job.end()
    assert job.code != 0 and not job.result["calls"], job.output


def one_call():
    """deploy.sh contains the only call of `ecs-rollout deploy`, so that its options are in one place."""
    files = [path for path in PACKAGING.iterdir() if path.name != "action.yml"]
    calls = [path.name for path in files for line in path.read_text().splitlines()
             if re.match(r" *[^#/]*\becs-rollout deploy\b", line)]
    assert calls == ["deploy.sh"], calls


def main():
    ecs_rollout, rollout = (os.path.abspath(path) for path in sys.argv[1:3])
    release = Release(ecs_rollout)
    cases = [(one_call.__doc__.splitlines()[0], lambda work: one_call())]
    for sample in SAMPLES:
        for case, situation in SAMPLE_CASES:
            def of_sample(work, case=case, situation=situation, sample=sample):
                case(Job(work, rollout, situation), sample, release)
            cases.append((f"{sample.__name__}: {case.__doc__}", of_sample))
    cases.append((action_examples_deploy.__doc__.splitlines()[0],
                  lambda work: action_examples_deploy(work, rollout, release)))
    for case in (action_deploys, action_reads_no_input_as_code, action_only_installs, action_refuses_another_binary):
        def of_action(work, case=case):
            case(Job(work, rollout, "absent"), release)
        cases.append((case.__name__.replace("_", " "), of_action))
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        for name, case in cases:
            try:
                case(work)
                print(f"ok: {name}")
            except (AssertionError, LookupError) as error:
                failed += 1
                print(f"FAILED: {name}\n  {error}")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
