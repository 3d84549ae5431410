"""Checks packaging/terraform without a provider: the HCL, the variables and references, the policies and the user data
compared with packaging/cloudformation/cluster.yaml, and the example. If terraform is in the PATH, it also evaluates the
local values and the validations. Each rule must also find a planted fault. Prints `N passed, N failed`.

Needs a Python with PyYAML and python-hcl2. `check.py --update` makes the templates of the module again."""

import copy
import json
import pathlib
import re
import shutil
import sys
import tempfile

import hcl2

import evaluation
import generated
from generated import MODULE

EXAMPLE = MODULE / "examples" / "terraform-aws-modules"
# The inputs and outputs of the modules that the example uses, from their variables.tf and outputs.tf
# (terraform-aws-modules/autoscaling/aws 9.0, terraform-aws-modules/ecs/aws 7.0, modules/cluster).
KNOWN_INPUTS = {
    "autoscaling": {
        "name", "vpc_zone_identifier", "min_size", "max_size", "desired_capacity", "health_check_type",
        "ignore_desired_capacity_changes", "create_launch_template", "launch_template_id", "launch_template_version",
        "initial_lifecycle_hooks", "wait_for_capacity_timeout", "autoscaling_group_tags", "instance_refresh",
    },
    "ecs_cluster": {"name", "capacity_providers", "default_capacity_provider_strategy"},
}
KNOWN_OUTPUTS = {"autoscaling": {"autoscaling_group_arn"}, "ecs_cluster": {"arn"}}
# A value for each variable of the templates.
VALUES = {
    "partition": "aws-cn", "region": "cn-north-1", "account": "111122223333", "cluster": "prod-1",
    "autoscaling_group_name": "prod-1-*", "log_group_name": "/ecs/prod-1", "download": "my-bucket/v1/ecs-bootstrap",
    "repository_arns": ["arn:aws-cn:ecr:cn-north-1:111122223333:repository/team/web", "arn:aws:ecr:x:1:repository/b"],
    "binary_url": "https://example.test/a?b=%20", "binary_sha256": "0" * 64, "hook": "ready",
}


class Folder:
    """The `.tf` files of a folder: their text, and the blocks by type."""

    def __init__(self, folder, texts=None):
        self.folder = folder
        self.texts = texts or {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.tf"))}
        self.blocks = {}
        for name, text in self.texts.items():
            try:
                document = hcl2.loads(text)
            except Exception as error:
                raise AssertionError(f"{name} cannot be parsed: {error}") from error
            for kind, blocks in document.items():
                if isinstance(blocks, list):
                    self.blocks.setdefault(kind, []).extend(blocks)

    def named(self, kind, depth=1):
        """The blocks of this type: their labels, such as `aws_iam_role.instance`, and their content."""
        found = {}
        for block in self.blocks.get(kind, []):
            labels = []
            for _ in range(depth):
                (label, block), = ((key, value) for key, value in block.items() if not key.startswith("__"))
                labels.append(label.strip('"'))
            found[".".join(labels)] = {key: value for key, value in block.items() if not key.startswith("__")}
        return found

    def locals(self):
        return {key: value for block in self.blocks.get("locals", []) for key, value in block.items()
                if not key.startswith("__")}

    def code(self, *without):
        """The text of all files but these, without comments."""
        texts = [text for name, text in self.texts.items() if name not in without]
        return re.sub(r"^\s*#.*$", "", "\n".join(texts), flags=re.M)


def references_resolve(folder):
    """Each reference to a variable, a local value, a resource, a data source or a module resolves."""
    code = folder.code()
    declared = {
        "var": set(folder.named("variable")), "local": set(folder.locals()), "module": set(folder.named("module")),
        "data": set(folder.named("data", 2)), "resource": set(folder.named("resource", 2)),
    }
    used = {
        "var": set(re.findall(r"\bvar\.(\w+)", code)), "local": set(re.findall(r"\blocal\.(\w+)", code)),
        "module": set(re.findall(r"\bmodule\.(\w+)", code)), "data": set(re.findall(r"\bdata\.(\w+\.\w+)", code)),
        "resource": set(re.findall(r"(?<!data\.)\b(aws_\w+\.\w+)", code)),
    }
    for kind, names in used.items():
        yield from (f"{kind} `{name}` is not declared" for name in sorted(names - declared[kind]))
    # A validation is not a use.
    used["var"] = set(re.findall(r"\bvar\.(\w+)", folder.code("variables.tf")))
    for kind in ("var", "local", "data"):
        yield from (f"{kind} `{name}` is not used" for name in sorted(declared[kind] - used[kind]))


def variables_are_described(folder):
    """Each variable has a type and a description, and each output a description."""
    for name, variable in folder.named("variable").items():
        for member in ("type", "description"):
            if not variable.get(member):
                yield f"variable `{name}` has no {member}"
    for name, output in folder.named("output").items():
        if not output.get("description"):
            yield f"output `{name}` has no description"


def variables_are_validated(folder):
    """Each variable has a validation that uses it, with a message that is a sentence. Tags can be anything."""
    for name, variable in folder.named("variable").items():
        rules = variable.get("validation", [])
        if not rules and name != "tags":
            yield f"variable `{name}` has no validation"
        for rule in rules:
            if f"var.{name}" not in str(rule["condition"]):
                yield f"the validation of `{name}` does not use it"
            if not re.fullmatch(r'"[A-Z].*\."', rule["error_message"]):
                yield f"the message of `{name}` is not a sentence: {rule['error_message']}"


def templates_get_their_variables(folder):
    """Each call of templatefile names an existing file and passes all of its variables."""
    calls = re.findall(r'templatefile\("\$\{path\.module\}/([\w.-]+)", \{(.*?)\n  \s*\}\)', folder.code(), re.S)
    if len(calls) != folder.code().count("templatefile("):
        yield "a call of templatefile is not recognized"
    for name, body in calls:
        path = folder.folder / name
        if not path.exists():
            yield f"{name} does not exist"
            continue
        passed = set(re.findall(r"^ *(\w+) +=", body, re.M))
        needed = evaluation.variables(path.read_text(encoding="utf-8"))
        yield from (f"{name}: `{variable}` is not passed" for variable in sorted(needed - passed))


def metadata_and_volumes_are_protected(folder):
    """Instance metadata needs a token, volumes are encrypted, and no security group has an ingress rule."""
    for name, template in folder.named("resource", 2).items():
        kind = name.split(".")[0]
        if kind == "aws_launch_template":
            if template["metadata_options"][0].get("http_tokens") != '"required"':
                yield f"{name}: metadata without a token"
            for mapping in template["block_device_mappings"]:
                if mapping["ebs"][0].get("encrypted") not in (True, "true"):
                    yield f"{name}: a volume that is not encrypted"
        if kind == "aws_vpc_security_group_ingress_rule" or template.get("ingress"):
            yield f"{name}: an ingress rule"


def example_uses_known_inputs(folder):
    """The example passes only inputs that the modules have, and all that they need. It uses only their outputs."""
    module = Folder(MODULE)
    variables = module.named("variable")
    inputs = {**KNOWN_INPUTS, "ecs_bootstrap": set(variables)}
    outputs = {**KNOWN_OUTPUTS, "ecs_bootstrap": set(module.named("output"))}
    for name, content in folder.named("module").items():
        passed = set(content) - {"source", "version"}
        yield from (f"module `{name}` has no input `{one}`" for one in sorted(passed - inputs[name]))
        if name == "ecs_bootstrap":
            needed = {one for one, variable in variables.items() if "default" not in variable}
            yield from (f"module `{name}` needs the input `{one}`" for one in sorted(needed - passed))
        elif not content.get("version"):
            yield f"module `{name}` has no version"
    for name, output in re.findall(r"\bmodule\.(\w+)\.(\w+)", folder.code()):
        if output not in outputs[name]:
            yield f"module `{name}` has no output `{output}`"


# The members of a service definition as arguments of aws_ecs_service (the provider's page of the resource). Those that
# identify the service are not changed by a deployment.
ARGUMENTS = {
    "cluster": [], "serviceName": [], "desiredCount": ["desired_count"],
    "deploymentConfiguration": ["deployment_minimum_healthy_percent", "deployment_maximum_percent",
                                "deployment_circuit_breaker"],
    "placementStrategy": ["ordered_placement_strategy"], "enableECSManagedTags": ["enable_ecs_managed_tags"],
    "propagateTags": ["propagate_tags"],
}


def changed_arguments():
    """The arguments that a deployment with packaging/ci/service.json changes."""
    text = (MODULE.parent / "ci" / "service.json").read_text(encoding="utf-8")
    members = re.findall(r'^  "(\w+)":', text, re.M)
    return ["task_definition", "tags", *(argument for member in members for argument in ARGUMENTS[member])]


def example_leaves_deployments_alone(folder):
    """The service of the example ignores the members that ecs-rollout changes with the sample definitions."""
    for name, service in folder.named("resource", 2).items():
        if name.startswith("aws_ecs_service."):
            ignored = re.findall(r"\w+", str(service.get("lifecycle", [{}])[0].get("ignore_changes", "")))
            yield from (f"{name} does not ignore `{one}`" for one in changed_arguments() if one not in ignored)


def policies_equal_those_of_cloudformation(texts):
    """The policies of the roles are those of cluster.yaml, without the signal to a stack."""
    ours = json.loads(evaluation.render(texts["policies.json.tftpl"], {**VALUES, "repository_arns": json.dumps(
        VALUES["repository_arns"])}))
    theirs = evaluation.resolved(generated.role(generated.cluster()), VALUES)
    for document in theirs.values():
        document["Statement"] = [one for one in document["Statement"] if one.get("Sid") != generated.OF_STACKS]
    for name in sorted(set(ours) | set(theirs)):
        if ours.get(name) != theirs.get(name):
            yield f"{name}: {ours.get(name)} is not {theirs.get(name)}; run tests/terraform/check.py --update"


def user_data_equals_that_of_cloudformation(texts):
    """The user data is that of cluster.yaml, without what concerns a stack."""
    script, settings = generated.user_data(generated.cluster())
    names = {"BinaryUrl": VALUES["binary_url"], "BinarySha256": VALUES["binary_sha256"], "Cluster": VALUES["cluster"],
             "AWS::StackName": "stack"}
    plain = evaluation.render(texts["settings.toml.tftpl"], VALUES)
    in_script = plain.strip().replace("\n\n", "\n")
    for ours, theirs in (
        (f"#ecs-bootstrap\n{plain}", settings),
        (evaluation.render(texts["download.sh.tftpl"], {**VALUES, "settings": in_script}), script),
    ):
        wanted = generated.without_stack(evaluation.substituted(theirs, names))
        if ours != wanted:
            yield f"{ours!r} is not {wanted!r}; run tests/terraform/check.py --update"


def hook_equals_that_of_cloudformation(folder):
    """The launch hook is that of cluster.yaml."""
    hook, = generated.cluster()["Resources"]["Group"]["Properties"]["LifecycleHookSpecificationList"]
    ours = folder.locals()["lifecycle_hook"]
    for name, member in (("lifecycle_transition", "LifecycleTransition"), ("default_result", "DefaultResult")):
        if ours[name] != f'"{hook[member]}"':
            yield f"{name}: {ours[name]} is not {hook[member]}"
    default = folder.named("variable")["hook_name"]["default"]
    if default != f'"{hook["LifecycleHookName"]}"':
        yield f"the default name of the hook is {default}"


OF_FOLDERS = [references_resolve, variables_are_described, metadata_and_volumes_are_protected]
OF_MODULE = [variables_are_validated, templates_get_their_variables, hook_equals_that_of_cloudformation]
OF_EXAMPLE = [example_uses_known_inputs, example_leaves_deployments_alone]
OF_TEMPLATES = [policies_equal_those_of_cloudformation, user_data_equals_that_of_cloudformation]

# A rule, a file, a text of it, and the fault that replaces it.
PLANTED = [
    (references_resolve, "main.tf", "var.instance_type", "var.instance_typ"),
    (references_resolve, "main.tf", "local.instance_tags", "local.tags"),
    (references_resolve, "main.tf", "aws_iam_instance_profile.instance.arn", "aws_iam_instance_profile.this.arn"),
    (references_resolve, "main.tf", "var.metadata_hop_limit", "1"),
    (variables_are_described, "variables.tf", '  description = "Instance type"\n', ""),
    (variables_are_described, "outputs.tf", '  description = "Id of the launch template"\n', ""),
    (metadata_and_volumes_are_protected, "main.tf", '= "required"', '= "optional"'),
    (metadata_and_volumes_are_protected, "main.tf", "encrypted             = true", "encrypted             = false"),
    (variables_are_validated, "variables.tf", 'regex("^/dev/[a-z0-9]+$", var.root_device_name)', 'regex("^/", "/")'),
    (variables_are_validated, "variables.tf", '"Must be 1 or 2."', '"1 or 2"'),
    (templates_get_their_variables, "main.tf", "    hook    = var.hook_name\n", ""),
    (templates_get_their_variables, "main.tf", "policies.json.tftpl", "policy.json.tftpl"),
    (hook_equals_that_of_cloudformation, "main.tf", '"ABANDON"', '"CONTINUE"'),
    (hook_equals_that_of_cloudformation, "variables.tf", '"ready"', '"launch"'),
    (example_uses_known_inputs, "example/main.tf", "  image_id               = var.image_id\n", ""),
    (example_uses_known_inputs, "example/main.tf", "initial_lifecycle_hooks ", "lifecycle_hooks "),
    (example_uses_known_inputs, "example/main.tf", "launch_template_version\n", "version\n"),
    (example_leaves_deployments_alone, "example/service.tf", "task_definition, desired_count", "task_definition"),
    (example_leaves_deployments_alone, "example/service.tf", "deployment_circuit_breaker,", ""),
    (policies_equal_those_of_cloudformation, "policies.json.tftpl", '"ecs:Poll"', '"ecs:*"'),
    (policies_equal_those_of_cloudformation, "policies.json.tftpl", "container-instance/${cluster}/*", "*"),
    (user_data_equals_that_of_cloudformation, "download.sh.tftpl", "chmod 755", "chmod 777"),
    (user_data_equals_that_of_cloudformation, "settings.toml.tftpl", "lifecycle = true", "lifecycle = false"),
]


def subjects():
    """The module, the example, and the templates of the module."""
    names = [*generated.FILES, "settings.toml.tftpl"]
    return Folder(MODULE), Folder(EXAMPLE), {name: (MODULE / name).read_text(encoding="utf-8") for name in names}


def planted(rule, name, old, new):
    """What the rule reports about the fault."""
    module, example, texts = subjects()
    if name in texts:
        assert old in texts[name], f"{name} does not contain {old!r}"
        return list(rule({**texts, name: texts[name].replace(old, new, 1)}))
    folder = example if name.startswith("example/") else module
    changed = copy.copy(folder.texts)
    file = name.removeprefix("example/")
    assert old in changed[file], f"{name} does not contain {old!r}"
    changed[file] = changed[file].replace(old, new, 1)
    return list(rule(Folder(folder.folder, changed)))


def results():
    module, example, texts = subjects()
    for folder, rules in ((module, OF_FOLDERS + OF_MODULE), (example, OF_FOLDERS + OF_EXAMPLE)):
        for rule in rules:
            where = "the example" if folder is example else "the module"
            yield f"{where}: {rule.__doc__.splitlines()[0].rstrip('.')}", list(rule(folder))
    for rule in OF_TEMPLATES:
        yield rule.__doc__.splitlines()[0].rstrip("."), list(rule(texts))
    for rule, name, old, new in PLANTED:
        found = planted(rule, name, old, new)
        yield f"`{rule.__name__}` reports {new!r} in {name}", [] if found else ["the rule reported nothing"]
    if shutil.which("terraform"):
        with tempfile.TemporaryDirectory() as work:
            yield from evaluation.with_terraform(pathlib.Path(work), MODULE, VALUES, texts)


def main():
    if sys.argv[1:] == ["--update"]:
        generated.update()
        return 0
    passed = failed = 0
    for name, faults in results():
        print(f"{'FAILED' if faults else 'ok'}: {name}", *faults, sep="\n  " if faults else "")
        passed += not faults
        failed += bool(faults)
    if not shutil.which("terraform"):
        print("NOT CHECKED: terraform evaluates packaging/terraform: there is no terraform in the PATH")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
