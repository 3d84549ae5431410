"""Evaluates the templates of packaging/terraform and of CloudFormation with given values. With terraform, evaluates the
local values and the validations of the module, without a provider."""

import json
import os
import re
import shutil
import subprocess

# What a template may contain: an escape, or a variable. Directives and functions are not used.
PART = re.compile(r"\$\$\{|%%\{|\$\{(\w+)\}|\$\{|%\{")


def variables(text):
    """The names of the variables of a template."""
    return {found[1] for found in PART.finditer(text) if found[1]}


def render(text, values):
    """The text as `templatefile` renders it (Terraform, "Strings and Templates")."""
    def part(found):
        if found[1]:
            return values[found[1]]
        assert found[0] in ("$${", "%%{"), f"not supported: {text[found.start():][:40]!r}"
        return found[0][1:]
    return PART.sub(part, text)


def substituted(text, values):
    """The text as `Fn::Sub` renders it (CloudFormation User Guide)."""
    return re.sub(r"\$\{(!?)([^}]+)\}", lambda found: f"${{{found[2]}}}" if found[1] else values[found[2]], text)


def resolved(value, values):
    """The documents of cluster.yaml with these values of its parameters and of its other references."""
    names = {
        "AWS::Partition": values["partition"], "AWS::Region": values["region"], "AWS::AccountId": values["account"],
        "ClusterName": values["cluster"], "Object": values["download"], "AWS::StackName": "<stack>",
    }
    if isinstance(value, dict):
        if set(value) == {"Fn::Sub"}:
            inner = value["Fn::Sub"]
            text = substituted(inner if isinstance(inner, str) else inner[0], names)
            # CloudFormation names the group after the stack.
            return text.replace("<stack>-Group-*", values["autoscaling_group_name"])
        if set(value) == {"Fn::GetAtt"}:
            assert value["Fn::GetAtt"] == ["Cluster", "Arn"], value
            return f"arn:{values['partition']}:ecs:{values['region']}:{values['account']}:cluster/{values['cluster']}"
        if set(value) == {"Ref"}:
            return values["repository_arns"] if value["Ref"] == "RepositoryArns" else names[value["Ref"]]
        return {name: resolved(inner, values) for name, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner, values) for inner in value]
    return value


# Variables that the module must accept, and variables that it must refuse with the message of a validation.
DEFAULTS = {
    "cluster_name": "prod-1", "autoscaling_group_name": "prod-1-*", "image_id": "ami-0123456789abcdef0",
    "repository_arns": ["arn:aws:ecr:eu-west-1:111122223333:repository/team/web"],
    "security_group_ids": ["sg-01234567"],
}
ACCEPTED = [
    {}, {"log_group_name": "/x/y"}, {"hook_name": "a/b"}, {"image_id": "resolve:ssm:/aws/service/x"},
    {"binary_url": "https://user:pass@example.test:8443/a/b?X-Amz-Signature=0&b=%20#c", "binary_sha256": "0" * 64},
    {"binary_url": "s3://my-bucket/v1/ecs-bootstrap", "binary_sha256": "a" * 64},
    {"metadata_tags": "disabled", "metadata_hop_limit": 2, "tags": {"a b/c": "d"}},
    {"managed_policy_arns": ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]},
]
REFUSED = [
    {"cluster_name": "a'b"}, {"cluster_name": ""}, {"cluster_name": 'a"\nb'}, {"autoscaling_group_name": "*"},
    {"autoscaling_group_name": "a*b"}, {"repository_arns": []}, {"repository_arns": ["*"]}, {"image_id": "ami-1"},
    {"binary_url": "http://example.test/a"}, {"binary_url": "https://a/'b'"}, {"binary_url": "https://a/$(b) c"},
    {"binary_url": "s3://my-bucket/*"}, {"binary_sha256": "x"}, {"instance_type": "large"},
    {"security_group_ids": ["sg"]},
    {"root_volume_gib": 7}, {"root_device_name": "xvda"}, {"metadata_hop_limit": 3}, {"metadata_tags": "yes"},
    {"hook_name": "a'b"}, {"verdict_timeout": 10}, {"managed_policy_arns": ["AdministratorAccess"]},
    {"log_group_name": "a*"},
]


def stand_in(work, module):
    """A root module with the variables and the local values of the module. The data sources are constants."""
    text = (module / "main.tf").read_text(encoding="utf-8")
    block = re.search(r"^locals \{\n.*?^\}\n", text, re.S | re.M)[0]
    for source, value in (("partition.current.partition", "aws"), ("region.current.region", "eu-west-1"),
                          ("caller_identity.current.account_id", "111122223333")):
        assert f"data.aws_{source}" in block, source
        block = block.replace(f"data.aws_{source}", f'"{value}"')
    for path in [module / "variables.tf", *module.glob("*.tftpl")]:
        shutil.copy(path, work)
    outputs = "\n".join(f'output "{name}" {{\n  value = local.{name}\n}}'
                        for name in ("user_data", "role_policies", "lifecycle_hook", "instance_tags", "policies"))
    (work / "main.tf").write_text(f"{block}\n{outputs}\n", encoding="utf-8")


def terraform(work, *arguments):
    """Runs terraform in this folder. It asks no server for newer versions, and reads no configuration of the user."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(work), "CHECKPOINT_DISABLE": "1"}
    return subprocess.run(["terraform", *arguments], cwd=work, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)


def plan(work, given):
    """The exit code, the output and the planned outputs with these variables."""
    (work / "terraform.tfvars.json").write_text(json.dumps({**DEFAULTS, **given}), encoding="utf-8")
    run = terraform(work, "plan", "-input=false", "-no-color", "-lock=false", "-out=plan")
    if run.returncode:
        return run.returncode, run.stdout, {}
    shown = terraform(work, "show", "-json", "plan").stdout
    outputs = json.loads(shown)["planned_values"]["outputs"]
    return 0, run.stdout, {name: one["value"] for name, one in outputs.items()}


def with_terraform(work, module, values, texts):
    """Yields a name and the faults of each check that needs terraform."""
    formatted = terraform(work, "fmt", "-check", "-recursive", "-diff", module)
    yield "terraform fmt reports nothing", [] if formatted.returncode == 0 else [formatted.stdout]
    stand_in(work, module)
    started = terraform(work, "init", "-backend=false", "-input=false")
    yield "terraform initializes the module without a provider", [] if started.returncode == 0 else [started.stdout]
    for given in ACCEPTED:
        code, said, outputs = plan(work, given)
        faults = [said] if code else list(differences(outputs, {**DEFAULTS, **given}, values, texts))
        yield f"terraform renders what the tests compare, with {given or 'the defaults'}", faults
    for given in REFUSED:
        code, said, _ = plan(work, given)
        refused = code == 1 and "Invalid value for variable" in said
        yield f"terraform refuses {given}", [] if refused else [said]


def differences(outputs, given, values, texts):
    """The differences between what terraform and what `render` make of the templates."""
    hook, cluster = given.get("hook_name", "ready"), given["cluster_name"]
    settings = render(texts["settings.toml.tftpl"], {"cluster": cluster, "hook": hook})
    expected = f"#ecs-bootstrap\n{settings}"
    url = given.get("binary_url", "")
    if url:
        expected = render(texts["download.sh.tftpl"], {
            "binary_url": url, "binary_sha256": given["binary_sha256"],
            "settings": settings.strip().replace("\n\n", "\n")})
    if outputs["user_data"] != expected:
        yield f"user data: {outputs['user_data']!r} is not {expected!r}"
    documents = json.loads(render(texts["policies.json.tftpl"], {
        **values, "partition": "aws", "region": "eu-west-1", "account": "111122223333", "cluster": cluster,
        "autoscaling_group_name": given["autoscaling_group_name"], "download": url.removeprefix("s3://") or "-",
        "log_group_name": given.get("log_group_name") or f"/ecs/{cluster}",
        "repository_arns": json.dumps(given["repository_arns"])}))
    del documents["trust"]
    if not url.startswith("s3://"):
        documents.pop("download", None)
    ours = {name: json.loads(text) for name, text in outputs["role_policies"].items()}
    if ours != documents:
        yield f"policies: {ours} is not {documents}"
    if outputs["instance_tags"].get("ecs-bootstrap:cluster") != cluster:
        yield f"instances have the tags {outputs['instance_tags']}"
    if outputs["lifecycle_hook"]["name"] != hook:
        yield f"the hook is {outputs['lifecycle_hook']}"
