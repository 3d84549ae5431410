"""The workflows of packaging/ci are YAML, their actions are pinned to commits, and shellcheck has nothing to say of their
scripts. Prints `N passed, N failed`."""

import pathlib
import re
import subprocess
import sys

import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "packaging" / "ci"


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


def main():
    failed = 0
    files = sorted(FOLDER.glob("*.yml"))
    for file in files:
        text = file.read_text(encoding="utf-8")
        found = list(scripts(yaml.safe_load(text)))
        faults = [] if found else ["it runs nothing"]
        faults += [f"`{used}` is not pinned" for used in re.findall(r"uses: (\S+)", text)
                   if not re.search(r"@[0-9a-f]{40}$", used)]
        for script in found:
            check = subprocess.run(["shellcheck", "--shell=bash", "-"], input=script, text=True, capture_output=True)
            faults += [check.stdout] if check.returncode else []
        print(f"{'FAILED' if faults else 'ok'}: {file.name} is sound", *faults, sep="\n  " if faults else "")
        failed += bool(faults)
    print(f"{len(files) - failed} passed, {failed} failed")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main())
