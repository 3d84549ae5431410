"""Rules for the user data that downloads the binary: the script is packaging/cloud-init/download.sh, no parameter can
change what it does, and the role may read exactly the object of the URL. Run as a program, it writes a changed script
into the templates and the page that shows it."""

import pathlib
import re

import names
import templates

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = (ROOT / "packaging" / "cloud-init" / "download.sh").read_text(encoding="utf-8")
UNIT = (ROOT / "systemd" / "ecs-bootstrap.service").read_text(encoding="utf-8")
# The lines of the script that differ: its parameters and the settings.
PARAMETERS = re.compile(r"^url=.*?(?=\n\n)", re.S | re.M)
URLS = [
    "https://example.test/ecs-bootstrap", "https://user:pass@example.test:8443/a/b?X-Amz-Signature=0&b=%20#c",
    "https://[2001:db8::1]/ecs-bootstrap", "s3://my-bucket/ecs-bootstrap", "s3://a.b-1/v1.2/x86_64/ecs_bootstrap",
]
NO_URLS = [
    "http://example.test/ecs-bootstrap", "https://", "ftp://a/b", "file:///etc/passwd", "https://a/'b'",
    "https://a/\"b", "https://a/`b`", "https://a/\\b", "https://a/b c", "https://a/b\nc", "s3://my-bucket",
    "s3://my-bucket/", "s3://b/k", "s3://my-bucket/*", "s3://my-bucket/a?", "s3://My-Bucket/a",
    "s3://my-bucket/${aws:username}", "S3://my-bucket/a", " ",
]


def scripts(template):
    """The name of the resource and the text, for each script in user data."""
    for name, resource in template["Resources"].items():
        for value in templates.walk(resource):
            text = value.get("Fn::Sub") if isinstance(value, dict) else None
            if isinstance(text, str) and text.startswith("#!"):
                yield name, text


def downloads_are_the_tested_script(template):
    """User data that downloads is packaging/cloud-init/download.sh, with quoted parameters that no value can end."""
    for name, text in scripts(template):
        if PARAMETERS.sub("", text, count=1) != PARAMETERS.sub("", SCRIPT, count=1):
            yield f"{name}: the script is not packaging/cloud-init/download.sh; run tests/cloudformation/user_data.py"
        header = PARAMETERS.search(text)
        used = set(re.findall(r"\$\{([^}]+)\}", text))
        if not header or used != set(re.findall(r"\$\{([^}]+)\}", header.group())):
            yield f"{name}: a parameter is used outside of the quoted lines"
            continue
        quoted = re.sub(r"'[^']*'", "", header.group())
        if "$" in quoted or '"' in quoted:
            yield f"{name}: a parameter is not quoted: {quoted}"
        for parameter in used:
            if parameter == "Cluster":
                parameter = templates.properties(template, "Cluster")["ClusterName"]["Ref"]
            pattern = template["Parameters"].get(parameter, {}).get("AllowedPattern", names.STACK_NAME)
            if names.characters(pattern) & set("'\n\\"):
                yield f"{name}: a value of {parameter} can end the quotes"


def binaries_come_from_a_checked_url(template):
    """The binary comes from https or S3, and the role may read exactly its object."""
    parameter = template.get("Parameters", {}).get("BinaryUrl")
    if parameter is None:
        return
    for url in URLS + NO_URLS:
        if bool(re.search(parameter["AllowedPattern"], url)) != (url in URLS):
            yield f"BinaryUrl: `{url}` is {'refused' if url in URLS else 'accepted'}"
    policy = template["Resources"].get("DownloadPolicy", {})
    properties = policy.get("Properties", {})
    statements = properties.get("PolicyDocument", {}).get("Statement", [{}])
    if policy.get("Condition") != "DownloadsFromS3":
        yield "DownloadPolicy: does not depend on the URL"
    if properties.get("Roles") not in ([{"Ref": "InstanceRole"}], [{"Ref": "InstanceRoleName"}]):
        yield "DownloadPolicy: is not for the instances"
    if len(statements) != 1 or templates.actions(statements[0]) != ["s3:GetObject"]:
        yield "DownloadPolicy: allows more or less than s3:GetObject"
        return
    for url in ["", *URLS]:
        fixed = {"BinaryUrl": {"Type": "String", "AllowedValues": [url]}}
        given = {**template, "Parameters": {**template["Parameters"], **fixed}}
        condition = template["Conditions"].get("DownloadsFromS3", {}).get("Fn::Equals", [None, None])
        left, right = (names.expand(given, side) for side in condition)
        if (left == right) != url.startswith("s3://"):
            yield f"DownloadsFromS3: is wrong for `{url}`"
        try:
            resource = names.expand(given, statements[0].get("Resource"))
        except IndexError:
            resource = "nothing, because Fn::Select fails"
        expected = [f"arn:aws-iso-b:s3:::{url.partition('://')[2]}"]
        if resource != expected:
            yield f"DownloadPolicy: allows {resource} for `{url}`"


def downloads_survive_a_stop(template):
    """What the script installs is still there after a stop: no path below /run or /tmp, and an enabled unit."""
    for name, text in scripts(template):
        written = re.findall(r">\s*(/[^\s)\"';]+)|\bmv \"\$new\" (/\S+)", text)
        paths = {one or other for one, other in written} - {"/dev/null", "/dev/console"}
        wanted = {"/usr/bin/ecs-bootstrap", "/etc/ecs-bootstrap/config.d/50-user-data.toml",
                  "/etc/systemd/system/ecs-bootstrap.service"}
        if paths != wanted:
            yield f"{name}: writes {sorted(paths)}"
        unit = re.search(r"<<'UNIT'.*?\n(.*?)\nUNIT$", text, re.S | re.M)
        lines = [line for line in unit.group(1).splitlines() if line] if unit else []
        for line in lines:
            if line not in UNIT.splitlines():
                yield f"{name}: `{line}` is not in systemd/ecs-bootstrap.service"
        for line in UNIT.splitlines():
            keys = r"(After|Before|Wants|Type|RemainAfterExit|ExecStart|TimeoutStartSec|WantedBy)="
            if re.match(keys, line) and line not in lines:
                yield f"{name}: the unit lacks `{line}`"
        enabled = text.find("\nsystemctl --quiet enable ecs-bootstrap.service")
        if not 0 < enabled < text.find("\nexec "):
            yield f"{name}: the unit is not enabled before ecs-bootstrap runs"


def waiting_resources_are_signalled(template):
    """User data signals the resource with the CreationPolicy, before and after the download, and has at most 8 KiB."""
    for name, resource in template["Resources"].items():
        if "CreationPolicy" not in resource:
            continue
        documents = [value["Fn::Sub"] for value in templates.walk(template) if isinstance(value, dict)
                     and isinstance(value.get("Fn::Sub"), str) and "[signal]" in value["Fn::Sub"]]
        if len(documents) != 2:
            yield f"{name}: {len(documents)} user data documents instead of 2"
        for text in documents:
            settings = 'cloudformation = true\nstack = "${AWS::StackName}"\nresource = "' + name + '"'
            if settings not in text:
                yield f"{name}: waits for a signal, but user data signals another resource"
            if text.startswith("#!") and f"\nstack='${{AWS::StackName}}' resource='{name}'\n" not in text:
                yield f"{name}: waits for a signal, but a failed download signals another resource"
            # EC2 accepts 16 KB. Parameters make the text longer.
            if len(text) > 8192:
                yield f"{name}: user data of {len(text)} bytes"


RULES = [downloads_are_the_tested_script, binaries_come_from_a_checked_url, downloads_survive_a_stop,
         waiting_resources_are_signalled]


def edit(old, new):
    """A fault: replaces a text in each script of user data."""
    def plant(template):
        edited = 0
        for value in templates.walk(template):
            if isinstance(value, dict) and isinstance(value.get("Fn::Sub"), str) and old in value["Fn::Sub"]:
                value["Fn::Sub"] = value["Fn::Sub"].replace(old, new)
                edited += 1
        assert edited, f"the fault `{new}` cannot be planted"
    return plant


def change(*path, **update):
    """A fault: changes the value at a path."""
    def plant(template):
        for key in path:
            template = template[key]
        template.update(update)
    return plant


STATEMENT = ("Resources", "DownloadPolicy", "Properties", "PolicyDocument", "Statement", 0)
FAULTS = {
    downloads_are_the_tested_script: [
        ("cluster.yaml", edit("umask 022", "umask 077")),
        ("instance.yaml", edit("url='${BinaryUrl}'", "url=${BinaryUrl}")),
        ("cluster.yaml", edit("url='${BinaryUrl}'", 'url="${BinaryUrl}"')),
        ("cluster.yaml", edit("\nset -u\n", "\necho ${BinaryUrl}\nset -u\n")),
        ("cluster.yaml", change("Parameters", "ClusterName", AllowedPattern="^.{1,100}$")),
        ("instance.yaml", change("Parameters", "BinaryUrl", AllowedPattern=r"^$|^https://[\x21-\x7e]+$")),
    ],
    binaries_come_from_a_checked_url: [
        ("instance.yaml", change("Parameters", "BinaryUrl", AllowedPattern=r"^$|^https://[\x21-\x7e]+$")),
        ("cluster.yaml", change("Parameters", "BinaryUrl", AllowedPattern="^$|^(https|s3)://[a-z/.-]+$")),
        ("cluster.yaml", change(*STATEMENT, Resource={"Fn::Sub": "arn:${AWS::Partition}:s3:::*"})),
        ("cluster.yaml", change(*STATEMENT, Action=["s3:GetObject", "s3:ListBucket"])),
        # Fn::Select fails for every other URL.
        ("instance.yaml", change(*STATEMENT, Resource={"Fn::Sub": ["arn:${AWS::Partition}:s3:::${Object}", {
            "Object": {"Fn::Select": [1, {"Fn::Split": ["s3://", {"Ref": "BinaryUrl"}]}]}}]})),
        ("instance.yaml", lambda t: t["Resources"]["DownloadPolicy"].pop("Condition")),
        ("instance.yaml", change("Conditions", DownloadsFromS3={"Fn::Equals": [{"Ref": "BinaryUrl"}, "s3"]})),
        ("cluster.yaml", change("Resources", "DownloadPolicy", "Properties", Roles=[{"Ref": "ExecutionRole"}])),
    ],
    downloads_survive_a_stop: [
        ("cluster.yaml", edit("/etc/systemd/system/", "/run/systemd/system/")),
        ("cluster.yaml", edit('mv "$new" /usr/bin/ecs-bootstrap', 'mv "$new" /tmp/ecs-bootstrap')),
        ("instance.yaml", edit("\nsystemctl --quiet enable ecs-bootstrap.service", "\ntrue")),
        ("instance.yaml", edit("Before=ecs.service amazon-ecs.service\n", "")),
        ("instance.yaml", edit(">/etc/ecs-bootstrap/config.d/50-user-data.toml", ">/run/50-user-data.toml")),
        ("instance.yaml", edit("run --no-wait", "run --wait")),
    ],
    waiting_resources_are_signalled: [
        ("cluster.yaml", lambda t: t["Resources"].update(Fleet=t["Resources"].pop("Group"))),
        ("cluster.yaml", edit("resource='Group'", "resource='Fleet'")),
        ("instance.yaml", edit("cloudformation = true\n", "")),
        ("instance.yaml", edit("set -u\n", "set -u\n" + "# padding\n" * 400)),
    ],
}


def update():
    """Writes the script into the templates, with the parameters that they have, and into the page that shows it."""
    for name in templates.names():
        path = templates.FOLDER / name
        text = path.read_text(encoding="utf-8")
        for indent, old in re.findall(r"^( +)(#!/bin/sh\n.*?)(?=^ *- Fn::Base64)", text, re.S | re.M):
            header = PARAMETERS.search(old.replace(f"\n{indent}", "\n")).group()
            new = PARAMETERS.sub(lambda _: header, SCRIPT, count=1)
            text = text.replace(old, new.replace("\n", f"\n{indent}").replace(f"\n{indent}\n", "\n\n").rstrip(" "))
        path.write_text(text, encoding="utf-8")
    page = ROOT / "docs" / "how-to" / "user-data.md"
    block = re.compile(r"(?<=<!-- packaging/cloud-init/download.sh -->\n```sh\n).*?(?=```\n)", re.S)
    page.write_text(block.sub(lambda _: SCRIPT, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    update()
