"""Checks the workflows of packaging/ci and of this repository, and the folders in dependabot.yml. Each rule must also
find a fault that is planted in the text of a workflow. Prints `N passed, N failed`.

Needs a Python with PyYAML, and shellcheck."""

import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "packaging" / "ci", ROOT / ".github" / "workflows"]


class Workflow:
    """A file, its text and its document. Its jobs are empty for Travis."""

    def __init__(self, name, text):
        self.name = name
        self.text = text
        self.document = yaml.safe_load(text)
        self.is_github = True in self.document  # YAML 1.1 reads the key `on` as true
        self.jobs = self.document["jobs"] if self.is_github else {}

    def steps(self):
        for job in self.jobs.values():
            yield from job.get("steps", [])


def scripts(value):
    """Every script: `run` of GitHub Actions, `install` and `script` of Travis, `before_script` and `script` of GitLab,
    `commands` of CodeBuild."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("run", "install", "before_script", "script", "commands") and not isinstance(inner, dict):
                yield "\n".join(inner) if isinstance(inner, list) else inner
            else:
                yield from scripts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from scripts(inner)


def shell(workflow):
    """shellcheck reports nothing for the scripts."""
    found = list(scripts(workflow.document))
    if not found:
        yield "there is no script"
    for script in found:
        check = subprocess.run(["shellcheck", "--shell=bash", "-"], input=script, text=True, capture_output=True)
        if check.returncode:
            yield check.stdout


def pins(workflow):
    """Each action is pinned to a commit, with its version in a comment."""
    for line in re.findall(r"^ *(?:- *)?uses: *(.*)", workflow.text, re.M):
        if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line):
            yield f"`{line}` is not `ACTION@COMMIT # vVERSION`"


def injections(workflow):
    """No script contains an expression: its value would be read as code."""
    for script in scripts(workflow.document):
        if "${{" in script:
            yield f"a script contains an expression: {script}"


def timeouts(workflow):
    """Each job has a time limit; the default is six hours."""
    for name, job in workflow.jobs.items():
        if not isinstance(job.get("timeout-minutes"), int):
            yield f"job `{name}` has no timeout-minutes"


def permissions(workflow):
    """The token can only read, unless a permission is listed."""
    if workflow.is_github and workflow.document.get("permissions", {}).get("contents") != "read":
        yield "the permissions do not begin with `contents: read`"


def credentials(workflow):
    """No checkout leaves the token in the work tree."""
    for step in workflow.steps():
        is_checkout = step.get("uses", "").startswith("actions/checkout@")
        if is_checkout and step.get("with", {}).get("persist-credentials") is not False:
            yield "a checkout has no `persist-credentials: false`"


BOOT_HOSTS = [("ci.yml", "boot"), ("real-agent.yml", "boot"), ("arm64.yml", "all")]


def privileges(workflow):
    """Only the jobs that boot hosts have a privileged container."""
    for name, job in workflow.jobs.items():
        container = job.get("container")
        options = container.get("options", "") if isinstance(container, dict) else ""
        if "--privileged" in options and (workflow.name, name) not in BOOT_HOSTS:
            yield f"job `{name}` is privileged"


def caches(workflow):
    """Only ci.yml uses a cache: what other workflows publish is built from nothing."""
    if workflow.name != "ci.yml" and "actions/cache" in workflow.text:
        yield "it uses a cache"


def tiers(workflow):
    """In ci.yml, each tier of tests/run is in exactly one job, and every other job waits for lint and unit."""
    if workflow.name != "ci.yml":
        return
    known = re.search(r"^readonly tiers=\((.*)\)$", (ROOT / "tests" / "run").read_text(encoding="utf-8"), re.M)
    run = {}
    for name, job in workflow.jobs.items():
        for step in job["steps"]:
            command = step.get("run", "").split()
            if command[:1] == [".ci/run"]:
                run.setdefault(name, []).extend(command[1:])
    names = [tier for of_job in run.values() for tier in of_job]
    if sorted(names) != sorted(known[1].split()):
        yield f"the jobs run the tiers {names}, and tests/run has {known[1].split()}"
    first = next(iter(workflow.jobs))
    if run.get(first) != ["lint", "unit"]:
        yield f"the first job, `{first}`, does not run `lint unit`"
    for name, job in workflow.jobs.items():
        if name != first and job.get("needs") != first:
            yield f"job `{name}` does not wait for `{first}`"


def native(workflow):
    """arm64.yml runs every tier on an arm64 runner."""
    if workflow.name != "arm64.yml":
        return
    for name, job in workflow.jobs.items():
        if job["runs-on"] != "ubuntu-24.04-arm":
            yield f"job `{name}` does not run on arm64"
    if ".ci/run" not in [step.get("run", "").strip() for step in workflow.steps()]:
        yield "no step runs `.ci/run`, which runs all tiers"


RULES = [shell, pins, injections, timeouts, permissions, credentials, privileges, caches, tiers, native]

# A rule, a workflow, and a text of it with the fault that replaces it.
PLANTED = [
    (shell, "ci.yml", "run: .ci/run boot", "run: cd $HOME"),
    (pins, "ci.yml", "3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "v7"),
    (pins, "ci.yml", " # v7.0.1", ""),
    (injections, "action.yml", "arguments=(\"$COMMAND\")", "arguments=(\"${{ inputs.command }}\")"),
    (injections, "github-actions.yml", "run: bash deploy/deploy.sh",
     "run: bash deploy/deploy.sh ${{ github.ref_name }}"),
    (timeouts, "release.yml", "    timeout-minutes: 10\n", ""),
    (permissions, "fuzz.yml", "permissions:\n  contents: read\n", ""),
    (permissions, "fuzz.yml", "contents: read", "contents: write"),
    (credentials, "supply-chain.yml", "persist-credentials: false", "fetch-depth: 1"),
    (privileges, "ci.yml", "--cap-add SYS_ADMIN", "--privileged"),
    (privileges, "real-agent.yml", "  boot:\n", "  other:\n"),
    (caches, "release.yml", "actions/upload-artifact@", "actions/cache@"),
    (tiers, "ci.yml", ".ci/run sim hostile", ".ci/run sim"),
    (tiers, "ci.yml", ".ci/run sim hostile", ".ci/run sim hostile ci"),
    (tiers, "ci.yml", ".ci/run package", "echo package"),
    (tiers, "ci.yml", ".ci/run lint unit", ".ci/run"),
    (tiers, "ci.yml", "    needs: lint-and-unit\n", ""),
    (native, "arm64.yml", "ubuntu-24.04-arm", "ubuntu-24.04"),
    (native, "arm64.yml", "run: .ci/run", "run: .ci/run unit"),
]


def dependabot():
    """The errors in the folders of dependabot.yml: each ecosystem must find its manifests there."""
    manifests = {"cargo": "Cargo.toml", "github-actions": "*.yml"}
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))["updates"]
    named = set()
    for update in updates:
        ecosystem = update["package-ecosystem"]
        for folder in update["directories"]:
            named.add((ecosystem, folder))
            # For actions, `/` means .github/workflows.
            place = ".github/workflows" if (ecosystem, folder) == ("github-actions", "/") else folder.lstrip("/")
            if not list((ROOT / place).glob(manifests[ecosystem])):
                yield f"{ecosystem}: no manifest in {folder}"
    wanted = {("cargo", "/"), ("cargo", "/fuzz"), ("github-actions", "/"), ("github-actions", "/packaging/ci")}
    if named != wanted:
        yield f"missing or unexpected folders: {named ^ wanted}"


def planted(workflows):
    """Each planted fault, and whether its rule found it."""
    for rule, name, old, new in PLANTED:
        text = workflows[name].text
        assert old in text, f"{name} does not contain {old!r}"
        found = list(rule(Workflow(name, text.replace(old, new, 1))))
        result = [] if found else ["the rule reported nothing"]
        yield f"`{rule.__name__}` reports {new!r} in place of {old!r} in {name}", result


def main():
    files = [file for folder in FOLDERS for file in sorted(folder.glob("*.yml"))]
    workflows = {file.name: Workflow(file.name, file.read_text(encoding="utf-8")) for file in files}
    results = [("the folders in dependabot.yml exist", list(dependabot()))]
    results.append(("there are workflows in both folders", [] if len(files) >= 5 else [f"only {len(files)}"]))
    results += [(f"`{rule.__name__}` reports nothing in {workflow.name}", list(rule(workflow)))
                for workflow in workflows.values() for rule in RULES]
    results += planted(workflows)
    for tested, faults in results:
        print(f"{'FAILED' if faults else 'ok'}: {tested}", *faults, sep="\n  " if faults else "")
    failed = sum(1 for _, faults in results if faults)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
