"""Rules for what parameters of the templates do: the image, tags in metadata, rolling updates, optional permissions."""

import re

import templates

IMAGES = "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/"
# EC2 User Guide, "View tags for your EC2 instances using instance metadata". With another key, a launch fails.
METADATA_TAG_KEY = r"(?!(\.|\.\.|_index)$)[A-Za-z0-9+=.,_:@-]+"
TAGS_INSTANCES = ("AWS::EC2::LaunchTemplate", "AWS::EC2::Instance", "AWS::AutoScaling::AutoScalingGroup")
# AWS Knowledge Center, "auto-scaling-group-rolling-updates".
SUSPENDED = ["AZRebalance", "AlarmNotification", "HealthCheck", "ReplaceUnhealthy", "ScheduledActions"]
# The policies that exist only if a parameter is set: the condition, the role, the actions, and their resource.
OPTIONAL = {
    "SecretsPolicy": ("ReadsSecrets", "ExecutionRole", "secretsmanager:GetSecretValue", {"Ref": "SecretArns"}),
    "ParametersPolicy": ("ReadsParameters", "ExecutionRole", "ssm:GetParameters", {"Ref": "ParameterArns"}),
    "KeysPolicy": ("UsesKeys", "ExecutionRole", "kms:Decrypt", {"Ref": "KeyArns"}),
}


def ref(name):
    return {"Ref": name}


def optional_list(condition, parameter):
    """A list that is left out if the condition is not met."""
    return {"Fn::If": [condition, ref(parameter), ref("AWS::NoValue")]}


def is_given(template, condition, parameter):
    """Whether the condition is met exactly if the list of the parameter is not empty."""
    is_empty = {"Fn::Equals": [{"Fn::Join": ["", ref(parameter)]}, ""]}
    is_right = template["Conditions"].get(condition) == {"Fn::Not": [is_empty]}
    return is_right and template["Parameters"][parameter]["Default"] == ""


def images_are_resolved_at_launch(template):
    """An image is an id or a parameter that EC2 resolves; without a custom image, the binary is downloaded."""
    for name, resource in template["Resources"].items():
        data = resource.get("Properties", {})
        image = data.get("LaunchTemplateData", data).get("ImageId")
        if image is None:
            continue
        if image != ref("ImageId"):
            yield f"{name}: the image is {image}"
            continue
        parameter = template["Parameters"]["ImageId"]
        accepted, refused = [
            "ami-0123456789abcdef0", "ami-01234567",
            f"{IMAGES}recommended/image_id", f"{IMAGES}arm64/recommended/image_id",
            "resolve:ssm:/images/ecs:3", "resolve:ssm:images-ecs:prod",
            "resolve:ssm:arn:aws:ssm:eu-west-1:123456789012:parameter/images/ecs",
        ], [
            "", "ami-", "ami-012345678", "AMI-01234567", "/aws/service/ecs", "resolve:ssm:", "resolve:ssm:a b",
            "{{resolve:ssm:x}}",
        ]
        # A parameter type of Systems Manager would replace all instances at an update after the image has changed.
        if parameter["Type"] != "String" or parameter.get("Default") != accepted[2]:
            yield f"{name}: the default image is not the ECS-optimized one, resolved at each launch"
        for value in accepted + refused:
            if bool(re.search(parameter["AllowedPattern"], value)) != (value in accepted):
                yield f"{name}: the image `{value}` is {'refused' if value in accepted else 'accepted'}"
        needed = {"Assert": {"Fn::Not": [{"Fn::Equals": [ref("BinaryUrl"), ""]}]}}
        known = {"Fn::Contains": [accepted[2:4], ref("ImageId")]}
        if not any(rule.get("RuleCondition") == known and needed.items() <= rule["Assertions"][0].items()
                   for rule in template.get("Rules", {}).values()):
            yield f"{name}: the ECS-optimized image is accepted without BinaryUrl"


def tags_fit_instance_metadata(template):
    """Tags in instance metadata can be switched off, and the template's own tags are allowed there."""
    for name, launch in templates.resources(template, "AWS::EC2::LaunchTemplate"):
        if launch["LaunchTemplateData"].get("MetadataOptions", {}).get("InstanceMetadataTags") != ref("MetadataTags"):
            yield f"{name}: tags in metadata do not depend on MetadataTags"
        elif template["Parameters"]["MetadataTags"].get("AllowedValues") != ["enabled", "disabled"]:
            yield f"{name}: MetadataTags does not switch tags in metadata"
    for name, resource in template["Resources"].items():
        if resource["Type"] not in TAGS_INSTANCES:
            continue
        values = [one for one in templates.walk(resource) if isinstance(one, dict)]
        for tag in (one for one in values if {"Key", "Value"} <= one.keys()):
            if not isinstance(tag["Key"], str) or not re.fullmatch(METADATA_TAG_KEY, tag["Key"]):
                yield f"{name}: no launch succeeds with the tag `{tag['Key']}` while tags in metadata are enabled"
    if "MetadataTags" in template.get("Parameters", {}):
        allowed = {action for _, one in templates.statements(template) for action in templates.actions(one)}
        if "InstanceRole" in template["Resources"] and "ec2:DescribeTags" not in allowed:
            yield "InstanceRole: without tags in metadata, ec2:DescribeTags is needed"


def updates_keep_instances(template):
    """A rolling update keeps MinInstancesInService instances, by default one, and nothing else changes the group."""
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::AutoScaling::AutoScalingGroup":
            continue
        update = resource.get("UpdatePolicy", {}).get("AutoScalingRollingUpdate", {})
        parameters = template["Parameters"]
        if update.get("MinInstancesInService") != ref("MinInstancesInService"):
            yield f"{name}: MinInstancesInService is {update.get('MinInstancesInService')}"
        elif not 1 <= parameters["MinInstancesInService"]["Default"] < parameters["MaxSize"]["Default"]:
            yield f"{name}: by default, an update keeps no instance, or there is no room for another one"
        if sorted(update.get("SuspendProcesses", [])) != SUSPENDED:
            yield f"{name}: suspends {update.get('SuspendProcesses')}"
        if update.get("WaitOnResourceSignals") is not True or update.get("PauseTime") != ref("VerdictTimeout"):
            yield f"{name}: does not wait for the signals of new instances"
        # CloudFormation starts no update with as many instances in service as the group may have.
        no_room = [rule for rule in template["Rules"].values() if rule["Assertions"][0]["Assert"] ==
                   {"Fn::Equals": [ref("MinInstancesInService"), 0]}]
        expected = {"Fn::Or": [{"Fn::Equals": [ref("MaxSize"), 1]},
                               {"Fn::Equals": [ref("MinInstancesInService"), ref("MaxSize")]}]}
        if [rule["RuleCondition"] for rule in no_room] != [expected]:
            yield f"{name}: MinInstancesInService may be MaxSize"


def optional_permissions_need_a_parameter(template):
    """Optional policies, managed policies and security groups exist only if their parameter is set."""
    if "ExecutionRole" not in template["Resources"]:
        return
    for name, (condition, role, action, resource) in OPTIONAL.items():
        policy = template["Resources"].get(name, {})
        statements = policy.get("Properties", {}).get("PolicyDocument", {}).get("Statement", [{}])
        if policy.get("Condition") != condition or not is_given(template, condition, resource["Ref"]):
            yield f"{name}: does not depend on {resource['Ref']}"
        if policy.get("Properties", {}).get("Roles") != [ref(role)] or len(statements) != 1:
            yield f"{name}: is not one statement for {role}"
        if templates.actions(statements[0]) != [action] or statements[0].get("Resource") != resource:
            yield f"{name}: allows more or less than {action} on {resource['Ref']}"
        if action == "kms:Decrypt" and "kms:ViaService" not in str(statements[0].get("Condition")):
            yield f"{name}: allows a task to decrypt anything"
    if templates.properties(template, "InstanceRole").get("ManagedPolicyArns") != \
            optional_list("HasExtraManagedPolicies", "ExtraManagedPolicyArns") or \
            not is_given(template, "HasExtraManagedPolicies", "ExtraManagedPolicyArns"):
        yield "InstanceRole: ExtraManagedPolicyArns are not its managed policies"
    own, extra = ref("SecurityGroup"), {"Fn::Join": [",", ref("ExtraSecurityGroupIds")]}
    both = {"Fn::Split": [",", {"Fn::Join": [",", [own, extra]]}]}
    groups = templates.properties(template, "LaunchTemplate")["LaunchTemplateData"].get("SecurityGroupIds")
    if groups != {"Fn::If": ["HasExtraSecurityGroups", both, [own]]} or \
            not is_given(template, "HasExtraSecurityGroups", "ExtraSecurityGroupIds"):
        yield "LaunchTemplate: ExtraSecurityGroupIds are not added to its security groups"
