"""The workflows of packaging/ci and of this project are YAML, their actions are pinned to commits, and shellcheck has nothing
to say of their scripts; dependabot.yml names folders that exist. Prints `N passed, N failed`."""

import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "packaging" / "ci", ROOT / ".github" / "workflows"]


def scripts(value):
    """Every text that is run: `run` of GitHub Actions; install and script of Travis."""
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
    """What is wrong with its folders: each ecosystem reads its manifests there."""
    manifests = {"cargo": "Cargo.toml", "github-actions": "*.yml"}
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))["updates"]
    named = set()
    for update in updates:
        kind = update["package-ecosystem"]
        for folder in update["directories"]:
            named.add((kind, folder))
            # For actions the root stands for .github/workflows.
            place = ".github/workflows" if (kind, folder) == ("github-actions", "/") else folder.lstrip("/")
            if not list((ROOT / place).glob(manifests[kind])):
                yield f"{kind}: nothing to read in {folder}"
    wanted = {("cargo", "/"), ("cargo", "/fuzz"), ("github-actions", "/"), ("github-actions", "/packaging/ci")}
    if named != wanted:
        yield f"other folders: {named ^ wanted}"


def main():
    wrong = list(dependabot())
    print("FAILED: dependabot.yml names folders that exist" if wrong else "ok: dependabot.yml names folders that exist", *wrong,
          sep="\n  ")
    failed = bool(wrong)
    files = [file for folder in FOLDERS for file in sorted(folder.glob("*.yml"))]
    for file in files:
        text = file.read_text(encoding="utf-8")
        found = list(scripts(yaml.safe_load(text)))
        faults = [] if found else ["it runs nothing"]
        faults += [f"`{used}` is not pinned" for used in re.findall(r"uses: (\S+)", text)
                   if not re.search(r"@[0-9a-f]{40}$", used)]
        for script in found:
            check = subprocess.run(["shellcheck", "--shell=bash", "-"], input=script, text=True, capture_output=True)
            faults += [check.stdout] if check.returncode else []
        print(f"{'FAILED' if faults else 'ok'}: {file.relative_to(ROOT)} is sound", *faults, sep="\n  " if faults else "")
        failed += bool(faults)
    print(f"{len(files) + 1 - failed} passed, {failed} failed")
    return 1 if failed or len(files) < 5 else 0


if __name__ == "__main__":
    sys.exit(main())
