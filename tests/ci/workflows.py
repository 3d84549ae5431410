"""Checks the workflows of packaging/ci and of this repository: they are YAML, their actions are pinned to commits, and
shellcheck finds nothing in their scripts. Also checks the folders in dependabot.yml. Prints `N passed, N failed`."""

import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "packaging" / "ci", ROOT / ".github" / "workflows"]


def scripts(value):
    """Every script: `run` of GitHub Actions, `install` and `script` of Travis."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("run", "install", "script"):
                yield "\n".join(inner) if isinstance(inner, list) else inner
            else:
                yield from scripts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from scripts(inner)


def dependabot():
    """The errors in the folders of dependabot.yml: each ecosystem must find its manifests there."""
    manifests = {"cargo": "Cargo.toml", "github-actions": "*.yml"}
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))["updates"]
    named = set()
    for update in updates:
        kind = update["package-ecosystem"]
        for folder in update["directories"]:
            named.add((kind, folder))
            # For actions, `/` means .github/workflows.
            place = ".github/workflows" if (kind, folder) == ("github-actions", "/") else folder.lstrip("/")
            if not list((ROOT / place).glob(manifests[kind])):
                yield f"{kind}: no manifest in {folder}"
    wanted = {("cargo", "/"), ("cargo", "/fuzz"), ("github-actions", "/"), ("github-actions", "/packaging/ci")}
    if named != wanted:
        yield f"missing or unexpected folders: {named ^ wanted}"


def main():
    wrong = list(dependabot())
    print(f"{'FAILED' if wrong else 'ok'}: the folders in dependabot.yml exist", *wrong, sep="\n  ")
    failed = bool(wrong)
    files = [file for folder in FOLDERS for file in sorted(folder.glob("*.yml"))]
    for file in files:
        text = file.read_text(encoding="utf-8")
        found = list(scripts(yaml.safe_load(text)))
        faults = [] if found else ["no script was found in it"]
        faults += [f"`{used}` is not pinned" for used in re.findall(r"uses: (\S+)", text)
                   if not re.search(r"@[0-9a-f]{40}$", used)]
        for script in found:
            check = subprocess.run(["shellcheck", "--shell=bash", "-"], input=script, text=True, capture_output=True)
            faults += [check.stdout] if check.returncode else []
        result = "FAILED" if faults else "ok"
        print(f"{result}: {file.relative_to(ROOT)} has no fault", *faults, sep="\n  " if faults else "")
        failed += bool(faults)
    print(f"{len(files) + 1 - failed} passed, {failed} failed")
    return 1 if failed or len(files) < 5 else 0


if __name__ == "__main__":
    sys.exit(main())
