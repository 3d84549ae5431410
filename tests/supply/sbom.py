"""Checks the SBOM that packaging/build wrote: it is valid CycloneDX, lists exactly the contents of the binary, and
contains nothing about the build machine. Prints `N passed, N failed`.

Usage: sbom.py DIST NAME, with a Python that has cyclonedx-python-lib[json-validation]. Run it in the tree that was
built.
"""

import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import urllib.parse

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

DIST, NAME = pathlib.Path(sys.argv[1]), sys.argv[2]
ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (DIST / f"{NAME}.cdx.json").read_text(encoding="utf-8")
BOM = json.loads(TEXT)
BINARY = (DIST / NAME).read_bytes()
# Components that are linked in but are not crates.
BESIDE_CRATES = {"rust-std", "glibc"}


def target():
    """The target triple of the binary, from its ELF header (e_machine)."""
    return {62: "x86_64", 183: "aarch64"}[int.from_bytes(BINARY[18:20], "little")] + "-unknown-linux-gnu"


def tree(edges):
    """The crates that cargo resolves for the target: features by name and version."""
    command = ["cargo", "tree", "--locked", "--edges", edges, "--target", target(), "--prefix", "none", "--no-dedupe",
               "--format", "{p}\t{f}"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    found = {}
    for line in filter(None, lines):
        package, features = line.split("\t")
        name, version = package.split()[:2]
        found[name, version.removeprefix("v")] = features
    return found


def crates():
    return {(one["name"], one["version"]): one for one in BOM["components"] if one["name"] not in BESIDE_CRATES}


def root():
    with open(ROOT / "Cargo.toml", "rb") as file:
        package = tomllib.load(file)["package"]
    return package["name"], package["version"]


def it_is_cyclonedx():
    assert BOM["specVersion"] == "1.5"
    errors = JsonStrictValidator(SchemaVersion.V1_5).validate_str(TEXT)
    assert errors is None, errors
    # Show that the validator rejects a wrong document.
    broken = TEXT.replace('"type": "application"', '"type": "programme"', 1)
    assert broken != TEXT and JsonStrictValidator(SchemaVersion.V1_5).validate_str(broken) is not None


def every_crate_of_the_binary_is_listed_and_no_other():
    wanted, listed = set(tree("normal,no-proc-macro")) - {root()}, set(crates())
    assert wanted == listed, f"missing: {sorted(wanted - listed)}; too many: {sorted(listed - wanted)}"
    assert len(listed) > 100, len(listed)


def what_only_ran_during_the_build_is_not_listed():
    listed = {name for name, _ in crates()}
    only_built = {name for name, _ in tree("normal,build,dev")} - {name for name, _ in tree("normal,no-proc-macro")}
    assert {"serde_derive", "tokio-macros", "cc", "proptest", "insta"} <= only_built, only_built
    assert not listed & only_built, listed & only_built


def features_are_those_of_the_build():
    wanted = tree("normal,no-proc-macro")
    for key, one in crates().items():
        said = {item["name"]: item["value"] for item in one["properties"]}
        assert said == {"cargo:features": wanted[key]}, (key, said, wanted[key])


def checksums_are_those_of_the_lock_file():
    with open(ROOT / "Cargo.lock", "rb") as file:
        locked = {(one["name"], one["version"]): one.get("checksum") for one in tomllib.load(file)["package"]}
    for key, one in crates().items():
        assert one["hashes"] == [{"alg": "SHA-256", "content": locked[key]}], key
        assert urllib.parse.unquote(one["purl"]) == f"pkg:cargo/{key[0]}@{key[1]}", one["purl"]


def it_belongs_to_this_binary():
    component = BOM["metadata"]["component"]
    assert (component["name"], component["type"], component["version"]) == (NAME, "application", root()[1]), component
    assert component["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(BINARY).hexdigest()}], component
    triple = {item["name"]: item["value"] for item in BOM["metadata"]["properties"]}
    assert triple == {"cdx:rustc:sbom:target:triple": target()}, triple


def what_is_linked_beside_crates_is_listed():
    found = {one["name"]: one["version"] for one in BOM["components"] if one["name"] in BESIDE_CRATES}
    assert set(found) == BESIDE_CRATES, found
    # The compiler writes its version into the binary.
    assert f"rustc version {found['rust-std']} ".encode() in BINARY, found
    assert re.match(r"\d+\.\d+", found["glibc"]), found


def everything_is_reached_from_the_program():
    edges = {one["ref"]: one.get("dependsOn", []) for one in BOM["dependencies"]}
    refs = {one["bom-ref"] for one in BOM["components"]} | {NAME}
    assert set(edges) == refs, set(edges) ^ refs
    reached, left = set(), [NAME]
    while left:
        ref = left.pop()
        if ref not in reached:
            reached.add(ref)
            left += edges[ref]
    assert reached == refs, refs ^ reached


def nothing_in_it_is_of_one_run_or_one_machine():
    assert "serialNumber" not in BOM
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "log", "-1", "--format=%ct"], cwd=ROOT, check=True, capture_output=True,
        text=True).stdout)
    said = datetime.datetime.fromisoformat(re.sub(r"\.\d+Z$", "+00:00", BOM["metadata"]["timestamp"]))
    assert said.timestamp() == epoch, (said, epoch)
    for folder in (str(ROOT), os.environ["HOME"], "/tmp/", "path+file:", "file:///"):
        assert folder not in TEXT, folder


def main():
    checks = [it_is_cyclonedx, every_crate_of_the_binary_is_listed_and_no_other, what_only_ran_during_the_build_is_not_listed,
              features_are_those_of_the_build, checksums_are_those_of_the_lock_file, it_belongs_to_this_binary,
              what_is_linked_beside_crates_is_listed, everything_is_reached_from_the_program,
              nothing_in_it_is_of_one_run_or_one_machine]
    failed = 0
    for check in checks:
        try:
            check()
            print(f"ok: the SBOM of {NAME}: {check.__name__.replace('_', ' ')}")
        except AssertionError as error:
            failed += 1
            print(f"FAILED: the SBOM of {NAME}: {check.__name__.replace('_', ' ')}\n  {error}")
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
