"""Computes the names that a template generates, for stacks and parameters with the most difficult accepted values."""

import itertools
import re

import templates

# CloudFormation API Reference, CreateStack, StackName.
STACK_NAME = r"^[a-zA-Z][a-zA-Z0-9-]{0,127}$"
STACK_ID = "2f5c1f40-0000-11f0-8d2e-0a1b2c3d4e5f"
RANDOM = "-1A2B3C4D5E6F"
# Prefixes that some service reserves.
PREFIXES = ("aws", "ecs", "fargate", "AWS", "ECS", "Fargate", "aws-", "ecs-", "fargate-", "ecs1")
PSEUDO = {
    "AWS::Partition": "aws-iso-b", "AWS::Region": "ap-southeast-1", "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com.cn", "AWS::NoValue": None,
}
# For parameters whose type is an id of AWS, or a list.
SAMPLE = "sg-0123456789abcdef0"

# What the services accept, by resource type and property (the API reference of each service, at the call that makes the
# resource). Without the property, CloudFormation makes a name of the stack's name, the logical id and random characters
# (CloudFormation User Guide, "Name type").
NAMES = {
    ("AWS::AutoScaling::AutoScalingGroup", "AutoScalingGroupName"): r"[^\n]{1,255}",
    ("AWS::EC2::LaunchTemplate", "LaunchTemplateName"): r"[a-zA-Z0-9().\-/_]{3,128}",
    ("AWS::EC2::SecurityGroup", "GroupName"): r"(?!sg-)[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}",
    ("AWS::EC2::SecurityGroup", "GroupDescription"): r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}",
    ("AWS::ECR::Repository", "RepositoryName"): r"(?=.{2,256}$)[a-z0-9]+([._/-]+[a-z0-9]+)*",
    ("AWS::ECS::CapacityProvider", "Name"): r"(?!(?i:aws|ecs|fargate))[a-zA-Z0-9_-]{1,255}",
    ("AWS::ECS::Cluster", "ClusterName"): r"[a-zA-Z0-9_-]{1,255}",
    ("AWS::IAM::InstanceProfile", "InstanceProfileName"): r"[\w+=,.@-]{1,128}",
    ("AWS::IAM::Policy", "PolicyName"): r"[\w+=,.@-]{1,128}",
    ("AWS::IAM::Role", "RoleName"): r"[\w+=,.@-]{1,64}",
    ("AWS::IAM::Role", "Description"): r"[\t\n\r\x20-\x7e\xa1-\xff]{0,1000}",
    ("AWS::Logs::LogGroup", "LogGroupName"): r"(?!aws/)[.\-_/#A-Za-z0-9]{1,512}",
}
# Types without a name. A new type must be added here or above.
NAMELESS = {
    "AWS::AutoScaling::WarmPool", "AWS::EC2::Instance", "AWS::ECS::ClusterCapacityProviderAssociations",
}
# Names inside other properties, in any resource, by the key.
INNER = {
    "LifecycleHookName": r"[A-Za-z0-9\-_/]{1,255}",
    "PolicyName": r"[\w+=,.@-]{1,128}",
    "Sid": r"[A-Za-z0-9]*",
}
EXPORT = r"[A-Za-z0-9:-]{1,255}"
TAG_KEY = r"(?!(?i:aws):)[\w .:/=+\-@]{1,128}"
TAG_VALUE = r"[\w .:/=+\-@]{0,256}"


def difficult_values(pattern):
    """Texts that the pattern accepts: the shortest and the longest ones of each character, and reserved prefixes."""
    longest = min(re._parser.parse(pattern).getwidth()[1], 2000)
    candidates = list(PREFIXES)
    for character in (chr(code) for code in range(0x21, 0x7f)):
        candidates += [character, character * longest, "a" + character, "a" + character + "a",
                       "a" * (longest - 1) + character]
    candidates += [(prefix + "a" * longest)[:longest] for prefix in PREFIXES]
    return sorted({one for one in candidates if re.search(pattern, one)}, key=len)


def characters(pattern):
    """The ASCII characters that a text which the pattern accepts can contain."""
    found, nodes = set(), [re._parser.parse(pattern)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, tuple) and str(node[0]) in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            one = re._compiler.compile(re._parser.SubPattern(re._parser.State(), [node]), re.DOTALL)
            found.update(chr(code) for code in range(1, 0x7f) if one.fullmatch(chr(code)))
        elif isinstance(node, (list, tuple, re._parser.SubPattern)):
            nodes.extend(node)
    return found


def values(template, name):
    """The most difficult values of a parameter or pseudo parameter."""
    if name == "AWS::StackName":
        return difficult_values(STACK_NAME)
    if name == "AWS::StackId":
        return [f"arn:aws:cloudformation:eu-west-1:123456789012:stack/{'a' * 128}/{STACK_ID}"]
    if name in PSEUDO:
        return [PSEUDO[name]]
    parameter = template["Parameters"].get(name)
    if parameter is None:
        return [SAMPLE]
    if "AllowedValues" in parameter:
        return [str(value) for value in parameter["AllowedValues"]]
    if parameter["Type"] == "Number":
        return [str(parameter["MinValue"]), str(parameter["MaxValue"])]
    return difficult_values(parameter["AllowedPattern"]) if "AllowedPattern" in parameter else [SAMPLE]


def expand(template, value):
    """All difficult values of a text with intrinsic functions. Two parameters are combined, each with its shortest and
    longest values."""
    if not isinstance(value, dict):
        return [value]
    (function, argument), = value.items()
    if function == "Ref":
        if argument in template["Resources"]:
            return name_of(template, argument)
        return values(template, argument)
    if function == "Fn::GetAtt":
        return [SAMPLE]
    if function == "Fn::Sub":
        return substituted(template, argument)
    if function == "Fn::If":
        return [one for branch in argument[1:] for one in expand(template, branch)]
    if function == "Fn::Select":
        return [parts[int(argument[0])] for parts in expand(template, argument[1])]
    if function == "Fn::Split":
        return [text.split(argument[0]) for text in expand(template, argument[1])]
    if function == "Fn::Join":
        joined = [expand(template, part) for part in argument[1]]
        return [argument[0].join(one) for one in itertools.product(*map(extremes, joined))]
    raise ValueError(f"{function} in a name is not supported here")


def substituted(template, argument):
    text, own = argument if isinstance(argument, list) else (argument, {})
    used = re.findall(r"\$\{([^!}][^}]*)\}", text)
    choices = []
    for name in dict.fromkeys(used):
        if name in own:
            choices.append((name, expand(template, own[name])))
        else:
            choices.append((name, expand(template, {"Fn::GetAtt" if "." in name else "Ref": name})))
    if len(choices) > 1:
        choices = [(name, extremes(one)) for name, one in choices]
    found = []
    for chosen in itertools.product(*(one for _, one in choices)):
        result = text
        for (name, _), one in zip(choices, chosen):
            result = result.replace("${" + name + "}", str(one))
        found.append(result)
    return found


def extremes(texts):
    return texts if len(texts) < 5 else [texts[0], texts[1], texts[-2], texts[-1]]


def name_of(template, logical_id):
    """The difficult values of the name of a resource."""
    resource = template["Resources"][logical_id]
    for resource_type, name in NAMES:
        if resource_type == resource["Type"] and name.endswith("Name"):
            given = resource.get("Properties", {}).get(name)
            return generated(template, resource_type, name, logical_id) if given is None else expand(template, given)
    return [SAMPLE]


def generated(template, resource_type, name, logical_id):
    """The names that CloudFormation makes. It shortens the name of the stack to what the resource accepts."""
    rest = f"-{logical_id}{RANDOM}"
    longest = re._parser.parse(NAMES[resource_type, name]).getwidth()[1] - len(rest)
    return [stack[:longest] + rest for stack in values(template, "AWS::StackName")]


def generated_names_are_accepted(template):
    """Each service accepts the names that the template makes, for every accepted stack name and parameter."""
    for logical_id, resource in template["Resources"].items():
        resource_type, properties = resource["Type"], resource.get("Properties", {})
        known = [name for of_type, name in NAMES if of_type == resource_type]
        if not known and resource_type not in NAMELESS:
            yield f"{logical_id}: names.py does not know which names {resource_type} accepts"
        for name in known:
            if name in properties or name.endswith("Name"):
                made = expand(template, properties[name]) if name in properties else name_of(template, logical_id)
                yield from refused(f"{logical_id}.{name}", made, NAMES[resource_type, name])
        for inner in (one for one in templates.walk(properties) if isinstance(one, dict)):
            for key in INNER.keys() & inner.keys():
                yield from refused(f"{logical_id}.{key}", expand(template, inner[key]), INNER[key])
            if inner.keys() >= {"Key", "Value"}:
                yield from refused(f"{logical_id}.Tags", expand(template, inner["Key"]), TAG_KEY)
                yield from refused(f"{logical_id}.Tags", expand(template, inner["Value"]), TAG_VALUE)
    for name, output in template.get("Outputs", {}).items():
        if "Export" in output:
            yield from refused(f"Outputs.{name}", expand(template, output["Export"]["Name"]), EXPORT)


def refused(place, made, pattern):
    """The first of the names that the pattern does not accept."""
    for name in made:
        if not re.fullmatch(pattern, name):
            yield f"{place}: `{name}` ({len(name)} characters) is refused"
            return
