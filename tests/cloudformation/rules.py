"""Rules of ours for the templates, and proof that each of them can fail: every rule is tried on a template that was broken
for it. What an action takes as a resource is cfn-lint's data (of the Service Authorization Reference)."""

import copy
import json
import pathlib
import re
import sys

import cfnlint.data.AdditionalSpecs

import templates

AUTHORIZATION = json.loads(
    (pathlib.Path(cfnlint.data.AdditionalSpecs.__file__).parent / "Policies.json").read_text(encoding="utf-8")
)
ROOT = pathlib.Path(__file__).resolve().parents[2]

# What the agent calls with the instance's role (ECS Developer Guide, "Amazon ECS container instance IAM role"; AWS managed
# policy AmazonEC2ContainerServiceforEC2Role). ecs:CreateCluster is left out: nobody joins a cluster by creating it.
AGENT = {
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer",
    "ecs:DeregisterContainerInstance", "ecs:DiscoverPollEndpoint", "ecs:Poll", "ecs:RegisterContainerInstance",
    "ecs:StartTelemetrySession", "ecs:SubmitAttachmentStateChanges", "ecs:SubmitContainerStateChange",
    "ecs:SubmitTaskStateChange", "ecs:TagResource", "ecs:UpdateContainerInstancesState",
    "logs:CreateLogStream", "logs:PutLogEvents",
}


def our_calls():
    """What the instance's program calls, from its sources: each call is named there as IAM names it."""
    folder = ROOT / "src" / "boundary" / "aws"
    found = set()
    for name in ("calls.rs", "signals.rs"):
        code = "\n".join(line for line in (folder / name).read_text(encoding="utf-8").splitlines()
                         if not line.lstrip().startswith("//"))
        found.update(re.findall(r'"([a-z0-9-]+:[A-Z][A-Za-z]+)"', code))
    found -= {"autoscaling:EC2_INSTANCE_LAUNCHING"}
    if len(found) < 8:
        raise SystemExit(f"the calls of the sources were not found: {found}")
    return found


def no_wildcard_action(template):
    """No action is a pattern."""
    for name, statement in templates.statements(template):
        for action in templates.actions(statement):
            if "*" in action or ":" not in action:
                yield f"{name}: the action `{action}` is no name"


def resources_are_named(template):
    """`*` stands only where an action takes no resource."""
    for name, statement in templates.statements(template):
        if "Resource" not in statement:
            continue
        wide = [one for one in templates.walk(statement["Resource"]) if one == "*"]
        for action in templates.actions(statement):
            service, _, operation = action.partition(":")
            known = AUTHORIZATION.get(service, {}).get("Actions", {}).get(operation.lower())
            if known is None:
                yield f"{name}: the action `{action}` does not exist"
            elif wide and known.get("Resources"):
                yield f"{name}: `{action}` can be limited to {known['Resources']}, and is not"


def nobody_is_denied_by_mistake(template):
    """There is no NotAction, NotResource or NotPrincipal, which allow whatever is thought of next."""
    for name, statement in templates.statements(template):
        for word in ("NotAction", "NotResource", "NotPrincipal"):
            if word in statement:
                yield f"{name}: `{word}`"


def roles_trust_one_service(template):
    """A role trusts one service, and a service that acts for others only for this account."""
    for name, role in templates.resources(template, "AWS::IAM::Role"):
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            principal = statement.get("Principal", {})
            if not isinstance(principal, dict) or list(principal) != ["Service"] or not isinstance(principal["Service"], str):
                yield f"{name}: trusts {principal}"
            elif principal["Service"] != "ec2.amazonaws.com" and "aws:SourceAccount" not in str(statement.get("Condition")):
                yield f"{name}: `{principal['Service']}` may use it for any account"
        if role.get("ManagedPolicyArns"):
            yield f"{name}: managed policies are wider than what is needed"


def sharing_is_by_account(template):
    """A resource policy names accounts, never everybody."""
    for name, statement in templates.statements(template):
        principal = statement.get("Principal")
        if principal is not None and "*" in templates.walk(principal):
            yield f"{name}: everybody"


def metadata_needs_a_token(template):
    """IMDSv2 only, with tags in it."""
    for name, launch in templates.resources(template, "AWS::EC2::LaunchTemplate"):
        options = launch["LaunchTemplateData"].get("MetadataOptions", {})
        if options.get("HttpTokens") != "required":
            yield f"{name}: metadata without a token"
        if options.get("InstanceMetadataTags") != "enabled":
            yield f"{name}: no tags in metadata"
    for name, instance in templates.resources(template, "AWS::EC2::Instance"):
        if "LaunchTemplate" not in instance:
            yield f"{name}: no launch template, and so metadata without a token"


def volumes_are_encrypted(template):
    """Every volume is encrypted."""
    for name, launch in templates.resources(template, "AWS::EC2::LaunchTemplate"):
        devices = launch["LaunchTemplateData"].get("BlockDeviceMappings", [])
        if not devices or not all(device.get("Ebs", {}).get("Encrypted") is True for device in devices):
            yield f"{name}: a volume that is not encrypted"


def nothing_comes_in(template):
    """No security group lets anybody in."""
    for name, group in templates.resources(template, "AWS::EC2::SecurityGroup"):
        if group.get("SecurityGroupIngress"):
            yield f"{name}: lets somebody in"


def images_are_scanned(template):
    """Images are scanned when they are pushed."""
    for name, repository in templates.resources(template, "AWS::ECR::Repository"):
        if repository.get("ImageScanningConfiguration", {}).get("ScanOnPush") is not True:
            yield f"{name}: images are not scanned"


def parameters_are_checked(template):
    """Each parameter has a description, and free text a pattern with its explanation."""
    for name, parameter in template.get("Parameters", {}).items():
        if not parameter.get("Description"):
            yield f"{name}: no description"
        is_free = parameter["Type"] == "String" and "AllowedValues" not in parameter
        if is_free and not ("AllowedPattern" in parameter and "ConstraintDescription" in parameter):
            yield f"{name}: any text"
        if parameter["Type"] == "Number" and not ({"MinValue", "MaxValue"} <= set(parameter) or "AllowedValues" in parameter):
            yield f"{name}: any number"


def what_waits_is_signalled(template):
    """A resource with a CreationPolicy is the one that its user data signals, in at most 16 KB."""
    for name, resource in template["Resources"].items():
        if "CreationPolicy" not in resource:
            continue
        user_data = [value["Fn::Sub"] for value in templates.walk(template) if isinstance(value, dict)
                     and isinstance(value.get("Fn::Sub"), str) and "ecs-bootstrap" in value["Fn::Sub"]
                     and ("[signal]" in value["Fn::Sub"] or value["Fn::Sub"].startswith("#!"))]
        if len(user_data) != 2:
            yield f"{name}: {len(user_data)} kinds of user data"
        for text in user_data:
            said = re.search(r'signal\.resource=(\w+)|resource = "(\w+)"', text)
            if not said or name not in said.groups():
                yield f"{name}: waits, and is not what is signalled"
            if len(text) > 8192:
                yield f"{name}: user data of {len(text)} bytes"


def role_is_what_is_called(template):
    """The instance's role allows what the agent and our program call, and nothing else."""
    for name, role in templates.resources(template, "AWS::IAM::Role"):
        if name != "InstanceRole":
            continue
        allowed = {action for value in templates.walk(role["Policies"]) if isinstance(value, dict) and "Effect" in value
                   for action in templates.actions(value)}
        needed = AGENT | our_calls()
        yield from (f"{name}: `{action}` is called, and not allowed" for action in sorted(needed - allowed))
        yield from (f"{name}: `{action}` is allowed, and nobody calls it" for action in sorted(allowed - needed))


RULES = [
    no_wildcard_action, resources_are_named, nobody_is_denied_by_mistake, roles_trust_one_service, sharing_is_by_account,
    metadata_needs_a_token, volumes_are_encrypted, nothing_comes_in, images_are_scanned, parameters_are_checked,
    what_waits_is_signalled, role_is_what_is_called,
]


def first_statement(template, sid):
    return next(statement for _, statement in templates.statements(template) if statement.get("Sid") == sid)


# For each rule, a template and what breaks it there.
BROKEN = {
    no_wildcard_action: ("cluster.yaml", lambda t: first_statement(t, "Pull").update(Action="ecr:*")),
    resources_are_named: ("cluster.yaml", lambda t: first_statement(t, "SignalThisStack").update(Resource="*")),
    nobody_is_denied_by_mistake: ("cluster.yaml", lambda t: first_statement(t, "Pull").update(NotAction="ecr:PutImage")),
    roles_trust_one_service: (
        "cluster.yaml",
        lambda t: t["Resources"]["ExecutionRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0].pop("Condition"),
    ),
    sharing_is_by_account: (
        "repository.yaml", lambda t: first_statement(t, "PullFromOtherAccounts").update(Principal={"AWS": "*"})),
    metadata_needs_a_token: (
        "instance.yaml",
        lambda t: t["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["MetadataOptions"].update(
            HttpTokens="optional"),
    ),
    volumes_are_encrypted: (
        "cluster.yaml",
        lambda t: t["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["BlockDeviceMappings"][0]["Ebs"].pop(
            "Encrypted"),
    ),
    nothing_comes_in: (
        "cluster.yaml",
        lambda t: t["Resources"]["SecurityGroup"]["Properties"].update(SecurityGroupIngress=[{"CidrIp": "0.0.0.0/0"}]),
    ),
    images_are_scanned: (
        "repository.yaml", lambda t: t["Resources"]["Repository"]["Properties"].pop("ImageScanningConfiguration")),
    parameters_are_checked: ("cluster.yaml", lambda t: t["Parameters"]["ClusterName"].pop("AllowedPattern")),
    what_waits_is_signalled: (
        "cluster.yaml", lambda t: t["Resources"].update(Fleet=t["Resources"].pop("Group"))),
    role_is_what_is_called: (
        "cluster.yaml", lambda t: first_statement(t, "SignalThisStack").update(Action="cloudformation:DescribeStacks")),
}


def main():
    """One line a promise; ends with 1 when one is broken."""
    failed = 0
    for rule in RULES:
        found = [f"{name}: {fault}" for name in templates.names() for fault in rule(templates.read(name))]
        name, breaks = BROKEN[rule]
        broken = copy.deepcopy(templates.read(name))
        breaks(broken)
        if not list(rule(broken)):
            found.append(f"the rule finds nothing in a {name} that was broken for it")
        promise = rule.__doc__.splitlines()[0].rstrip(".")
        print(f"ok: {promise}" if not found else f"FAILED: {promise}")
        for fault in found:
            print(f"  {fault}")
        failed += bool(found)
    print(f"{len(RULES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
