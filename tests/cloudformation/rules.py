"""Rules for the templates beyond cfn-lint. Each rule is also run on a template with a planted fault that it must find.
The resource types of an action are data of cfn-lint, from the Service Authorization Reference."""

import copy
import json
import pathlib
import re
import sys

import cfnlint.data.AdditionalSpecs

import names
import parameters
import templates
import user_data
from templates import properties

AUTHORIZATION = json.loads(
    (pathlib.Path(cfnlint.data.AdditionalSpecs.__file__).parent / "Policies.json").read_text(encoding="utf-8")
)
ROOT = pathlib.Path(__file__).resolve().parents[2]

# The calls that the agent makes with the instance role (ECS Developer Guide, "Amazon ECS container instance IAM role";
# AWS managed policy AmazonEC2ContainerServiceforEC2Role). ecs:CreateCluster is left out: the cluster exists.
AGENT = {
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer",
    "ecs:DeregisterContainerInstance", "ecs:DiscoverPollEndpoint", "ecs:Poll", "ecs:RegisterContainerInstance",
    "ecs:StartTelemetrySession", "ecs:SubmitAttachmentStateChanges", "ecs:SubmitContainerStateChange",
    "ecs:SubmitTaskStateChange", "ecs:TagResource", "ecs:UpdateContainerInstancesState",
    "logs:CreateLogStream", "logs:PutLogEvents",
}


# Actions that a condition limits in place of a resource (CloudWatch User Guide, "Using condition keys to limit access to
# CloudWatch namespaces").
LIMITED_BY_CONDITION = {"cloudwatch:PutMetricData": "cloudwatch:namespace"}


def ecs_bootstrap_calls():
    """The calls of ecs-bootstrap, from its sources, which name each call as IAM does."""
    folder = ROOT / "src" / "boundary" / "aws"
    found = set()
    for name in ("calls.rs", "signals.rs"):
        code = "\n".join(line for line in (folder / name).read_text(encoding="utf-8").splitlines()
                         if not line.lstrip().startswith("//"))
        found.update(re.findall(r'"([a-z0-9-]+:[A-Z][A-Za-z]+)"', code))
    found -= {"autoscaling:EC2_INSTANCE_LAUNCHING"}
    if len(found) < 8:
        raise SystemExit(f"the calls in the sources were not found: {found}")
    return found


def no_wildcard_action(template):
    """No action contains a wildcard."""
    for name, statement in templates.statements(template):
        for action in templates.actions(statement):
            if "*" in action or ":" not in action:
                yield f"{name}: the action `{action}` is not the name of one action"


def resources_are_named(template):
    """The resource `*` is used only for actions that cannot be limited to a resource, or that a condition limits."""
    for name, statement in templates.statements(template):
        if "Resource" not in statement:
            continue
        wide = [one for one in templates.walk(statement["Resource"]) if one == "*"]
        for action in templates.actions(statement):
            service, _, operation = action.partition(":")
            known = AUTHORIZATION.get(service, {}).get("Actions", {}).get(operation.lower())
            key = LIMITED_BY_CONDITION.get(action)
            if known is None:
                yield f"{name}: the action `{action}` does not exist"
            elif key:
                if key not in statement.get("Condition", {}).get("StringEquals", {}):
                    yield f"{name}: `{action}` is not limited by the condition `{key}`"
            elif wide and known.get("Resources"):
                yield f"{name}: `{action}` is not limited to a resource ({known['Resources']})"


def no_inverted_element(template):
    """No statement uses NotAction, NotResource or NotPrincipal, which also allow what AWS adds later."""
    for name, statement in templates.statements(template):
        for word in ("NotAction", "NotResource", "NotPrincipal"):
            if word in statement:
                yield f"{name}: `{word}`"


def roles_trust_one_service(template):
    """A role trusts one service, and a service other than EC2 only for this account."""
    for name, role in templates.resources(template, "AWS::IAM::Role"):
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            principal = statement.get("Principal", {})
            service = principal.get("Service") if isinstance(principal, dict) and len(principal) == 1 else None
            if not isinstance(service, str):
                yield f"{name}: trusts {principal}"
            elif service != "ec2.amazonaws.com" and "aws:SourceAccount" not in str(statement.get("Condition")):
                yield f"{name}: `{service}` can assume it for any account"
        optional = parameters.optional_list("HasExtraManagedPolicies", "ExtraManagedPolicyArns")
        if role.get("ManagedPolicyArns") not in (None, optional):
            yield f"{name}: managed policies allow more than is needed"


def sharing_is_by_account(template):
    """A resource policy names accounts, never `*`."""
    for name, statement in templates.statements(template):
        principal = statement.get("Principal")
        if principal is not None and "*" in templates.walk(principal):
            yield f"{name}: allows every account"


def metadata_needs_a_token(template):
    """Instance metadata requires IMDSv2."""
    for name, launch in templates.resources(template, "AWS::EC2::LaunchTemplate"):
        options = launch["LaunchTemplateData"].get("MetadataOptions", {})
        if options.get("HttpTokens") != "required":
            yield f"{name}: IMDSv1 is allowed"
    for name, instance in templates.resources(template, "AWS::EC2::Instance"):
        if "LaunchTemplate" not in instance:
            yield f"{name}: without a launch template, IMDSv1 is allowed"


def volumes_are_encrypted(template):
    """Every volume is encrypted."""
    for name, launch in templates.resources(template, "AWS::EC2::LaunchTemplate"):
        devices = launch["LaunchTemplateData"].get("BlockDeviceMappings", [])
        if not devices or not all(device.get("Ebs", {}).get("Encrypted") is True for device in devices):
            yield f"{name}: a volume is not encrypted"


def no_ingress(template):
    """No security group has an ingress rule."""
    for name, group in templates.resources(template, "AWS::EC2::SecurityGroup"):
        if group.get("SecurityGroupIngress"):
            yield f"{name}: has an ingress rule"


def images_are_scanned(template):
    """Images are scanned when they are pushed."""
    for name, repository in templates.resources(template, "AWS::ECR::Repository"):
        if repository.get("ImageScanningConfiguration", {}).get("ScanOnPush") is not True:
            yield f"{name}: images are not scanned"


def parameters_are_checked(template):
    """Each parameter has a description, and free text has a pattern with an explanation."""
    for name, parameter in template.get("Parameters", {}).items():
        if not parameter.get("Description"):
            yield f"{name}: no description"
        is_free = parameter["Type"] in ("String", "CommaDelimitedList") and "AllowedValues" not in parameter
        if is_free and not ("AllowedPattern" in parameter and "ConstraintDescription" in parameter):
            yield f"{name}: any text is accepted"
        is_bounded = {"MinValue", "MaxValue"} <= set(parameter) or "AllowedValues" in parameter
        if parameter["Type"] == "Number" and not is_bounded:
            yield f"{name}: any number is accepted"


def role_has_exactly_the_calls(template):
    """The instance role allows the calls of the agent and of ecs-bootstrap, and nothing else."""
    for name, role in templates.resources(template, "AWS::IAM::Role"):
        if name != "InstanceRole":
            continue
        allowed = {action for value in templates.walk(role["Policies"]) if isinstance(value, dict) and "Effect" in value
                   for action in templates.actions(value)}
        needed = AGENT | ecs_bootstrap_calls()
        yield from (f"{name}: `{action}` is called, but not allowed" for action in sorted(needed - allowed))
        yield from (f"{name}: `{action}` is allowed, but never called" for action in sorted(allowed - needed))


RULES = [
    names.generated_names_are_accepted, parameters.images_are_resolved_at_launch, parameters.tags_fit_instance_metadata,
    parameters.updates_keep_instances, parameters.optional_permissions_need_a_parameter,
    no_wildcard_action, resources_are_named, no_inverted_element, roles_trust_one_service, sharing_is_by_account,
    metadata_needs_a_token, volumes_are_encrypted, no_ingress, images_are_scanned, parameters_are_checked,
    role_has_exactly_the_calls, *user_data.RULES,
]


def first_statement(template, sid):
    return next(statement for _, statement in templates.statements(template) if statement.get("Sid") == sid)


def launch_data(template):
    return template["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]


def rolling_update(template):
    return template["Resources"]["Group"]["UpdatePolicy"]["AutoScalingRollingUpdate"]


def trust(template, role):
    return template["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]


# For each rule, faults that it must find: the template, and a function that plants the fault.
BROKEN = {
    **user_data.FAULTS,
    names.generated_names_are_accepted: [
        ("cluster.yaml", lambda t: properties(t, "CapacityProvider").pop("Name")),
        ("cluster.yaml", lambda t: properties(t, "CapacityProvider").update(Name={"Ref": "ClusterName"})),
        ("cluster.yaml", lambda t: properties(t, "CapacityProvider").update(Name={"Fn::Sub": "cp.${AWS::StackName}"})),
        (
            "instance.yaml",
            lambda t: properties(t, "SignalPolicy").update(PolicyName={"Fn::Sub": "signal-${AWS::StackName}"}),
        ),
        (
            "cluster.yaml",
            lambda t: properties(t, "InstanceRole").update(RoleName={"Fn::Sub": "${ClusterName}-instance"}),
        ),
        (
            "cluster.yaml",
            lambda t: properties(t, "SecurityGroup").update(GroupDescription={"Fn::Sub": "it's ${ClusterName}"}),
        ),
        (
            "cluster.yaml",
            lambda t: t["Outputs"]["ClusterName"]["Export"].update(Name={"Fn::Sub": "a_${AWS::StackName}"}),
        ),
        ("cluster.yaml", lambda t: t["Parameters"]["ClusterName"].update(AllowedPattern="^[A-Za-z0-9_-]{1,300}$")),
        ("cluster.yaml", lambda t: t["Parameters"]["Stage"].update(AllowedPattern="^[^ ]{1,64}$")),
        ("cluster.yaml", lambda t: t["Resources"].update(Topic={"Type": "AWS::SNS::Topic"})),
    ],
    parameters.images_are_resolved_at_launch: [
        ("cluster.yaml", lambda t: t["Parameters"]["ImageId"].update(Type="AWS::EC2::Image::Id")),
        (
            "cluster.yaml",
            lambda t: t["Parameters"]["ImageId"].update(Type="AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>"),
        ),
        ("cluster.yaml", lambda t: t["Parameters"]["ImageId"].pop("Default")),
        ("instance.yaml", lambda t: t["Parameters"]["ImageId"].update(AllowedPattern="^ami-[0-9a-f]{17}$")),
        ("instance.yaml", lambda t: t["Parameters"]["ImageId"].update(AllowedPattern="^.+$")),
        ("instance.yaml", lambda t: t["Rules"].pop("BinaryForAnImageWithoutIt")),
        ("instance.yaml", lambda t: properties(t, "Instance").update(ImageId="ami-0123456789abcdef0")),
    ],
    parameters.tags_fit_instance_metadata: [
        ("cluster.yaml", lambda t: launch_data(t)["MetadataOptions"].update(InstanceMetadataTags="enabled")),
        ("instance.yaml", lambda t: launch_data(t)["MetadataOptions"].pop("InstanceMetadataTags")),
        ("cluster.yaml", lambda t: t["Parameters"]["MetadataTags"].update(AllowedValues=["enabled"])),
        (
            "cluster.yaml",
            lambda t: launch_data(t)["TagSpecifications"][0]["Tags"].append({"Key": "team/web", "Value": "a"}),
        ),
        ("cluster.yaml", lambda t: properties(t, "Group")["Tags"].append({"Key": "cost center", "Value": "a"})),
        ("instance.yaml", lambda t: properties(t, "Instance")["Tags"].append({"Key": "_index", "Value": "a"})),
        ("instance.yaml", lambda t: properties(t, "Instance")["Tags"].append({"Key": "..", "Value": "a"})),
        ("instance.yaml", lambda t: properties(t, "Instance")["Tags"].append({"Key": "caf\u00e9", "Value": "a"})),
        ("cluster.yaml", lambda t: first_statement(t, "ActionsWithoutResources")["Action"].remove("ec2:DescribeTags")),
    ],
    parameters.updates_keep_instances: [
        ("cluster.yaml", lambda t: rolling_update(t).update(MinInstancesInService=0)),
        ("cluster.yaml", lambda t: rolling_update(t).pop("MinInstancesInService")),
        ("cluster.yaml", lambda t: t["Parameters"]["MinInstancesInService"].update(Default=0)),
        ("cluster.yaml", lambda t: t["Parameters"]["MaxSize"].update(Default=1)),
        ("cluster.yaml", lambda t: rolling_update(t)["SuspendProcesses"].remove("AlarmNotification")),
        ("cluster.yaml", lambda t: rolling_update(t)["SuspendProcesses"].append("Launch")),
        ("cluster.yaml", lambda t: rolling_update(t).update(WaitOnResourceSignals=False)),
        ("cluster.yaml", lambda t: t["Rules"].pop("RoomForOneMoreInstance")),
    ],
    parameters.optional_permissions_need_a_parameter: [
        ("cluster.yaml", lambda t: t["Resources"]["SecretsPolicy"].pop("Condition")),
        ("cluster.yaml", lambda t: t["Resources"].pop("ParametersPolicy")),
        ("cluster.yaml", lambda t: first_statement(t, "ReadSecrets").update(Resource="*")),
        (
            "cluster.yaml",
            lambda t: first_statement(t, "ReadParameters").update(Action=["ssm:GetParameters", "ssm:PutParameter"]),
        ),
        ("cluster.yaml", lambda t: first_statement(t, "DecryptSecretsAndParameters").pop("Condition")),
        ("cluster.yaml", lambda t: properties(t, "KeysPolicy").update(Roles=[{"Ref": "InstanceRole"}])),
        ("cluster.yaml", lambda t: t["Parameters"]["SecretArns"].update(Default="arn:aws:secretsmanager:*:*:secret:*")),
        ("cluster.yaml", lambda t: properties(t, "InstanceRole").pop("ManagedPolicyArns")),
        ("cluster.yaml", lambda t: launch_data(t).update(SecurityGroupIds={"Ref": "ExtraSecurityGroupIds"})),
        ("cluster.yaml", lambda t: t["Conditions"].update(HasExtraSecurityGroups={"Fn::Equals": ["a", "a"]})),
    ],
    no_wildcard_action: [("cluster.yaml", lambda t: first_statement(t, "Pull").update(Action="ecr:*"))],
    resources_are_named: [
        ("cluster.yaml", lambda t: first_statement(t, "SignalThisStack").update(Resource="*")),
        ("cluster.yaml", lambda t: first_statement(t, "StoreTheLaunchMetric").pop("Condition")),
    ],
    no_inverted_element: [("cluster.yaml", lambda t: first_statement(t, "Pull").update(NotAction="ecr:PutImage"))],
    roles_trust_one_service: [
        ("cluster.yaml", lambda t: trust(t, "ExecutionRole").pop("Condition")),
        (
            "cluster.yaml",
            lambda t: properties(t, "InstanceRole").update(ManagedPolicyArns=["arn:aws:iam::aws:policy/ReadOnlyAccess"]),
        ),
    ],
    sharing_is_by_account: [
        ("repository.yaml", lambda t: first_statement(t, "PullFromOtherAccounts").update(Principal={"AWS": "*"})),
    ],
    metadata_needs_a_token: [
        ("instance.yaml", lambda t: launch_data(t)["MetadataOptions"].update(HttpTokens="optional")),
    ],
    volumes_are_encrypted: [
        ("cluster.yaml", lambda t: launch_data(t)["BlockDeviceMappings"][0]["Ebs"].pop("Encrypted")),
    ],
    no_ingress: [
        (
            "cluster.yaml",
            lambda t: properties(t, "SecurityGroup").update(SecurityGroupIngress=[{"CidrIp": "0.0.0.0/0"}]),
        ),
    ],
    images_are_scanned: [("repository.yaml", lambda t: properties(t, "Repository").pop("ImageScanningConfiguration"))],
    parameters_are_checked: [
        ("cluster.yaml", lambda t: t["Parameters"]["ClusterName"].pop("AllowedPattern")),
        ("cluster.yaml", lambda t: t["Parameters"]["SecretArns"].pop("AllowedPattern")),
        ("cluster.yaml", lambda t: t["Parameters"]["MinInstancesInService"].pop("MaxValue")),
    ],
    role_has_exactly_the_calls: [
        (
            "cluster.yaml",
            lambda t: first_statement(t, "SignalThisStack").update(Action="cloudformation:DescribeStacks"),
        ),
    ],
}


def documented():
    """The policies for the role of an instance in docs/reference/iam.md, as resources of a template."""
    page = (ROOT / "docs/reference/iam.md").read_text(encoding="utf-8").partition("## Actions of ecs-rollout")[0]
    policies = re.findall(r"^## (A policy for .*?)\n.*?^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    if len(policies) < 2:
        raise SystemExit("the policies of docs/reference/iam.md were not found")
    return {"Resources": {name: json.loads(text) for name, text in policies}}


def main():
    """Prints a line for each rule. The exit code is 1 if a rule failed."""
    failed = 0
    for rule in RULES:
        found = [f"{name}: {fault}" for name in templates.names() for fault in rule(templates.read(name))]
        if rule in (no_wildcard_action, resources_are_named, no_inverted_element):
            found += [f"docs/reference/iam.md: {fault}" for fault in rule(documented())]
        for number, (name, plant) in enumerate(BROKEN[rule], 1):
            broken = copy.deepcopy(templates.read(name))
            plant(broken)
            if not list(rule(broken)):
                found.append(f"the rule does not find fault {number}, planted in {name}")
        title = rule.__doc__.splitlines()[0].rstrip(".")
        print(f"ok: {title}" if not found else f"FAILED: {title}")
        for fault in found:
            print(f"  {fault}")
        failed += bool(found)
    print(f"{len(RULES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
