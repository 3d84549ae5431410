"""Makes the templates of packaging/terraform from packaging/cloudformation/cluster.yaml, which other tests run: the
policies of the role, and the script that downloads the binary. `update` writes them."""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULE = ROOT / "packaging" / "terraform"
sys.path.append(str(ROOT / "tests" / "cloudformation"))

import templates  # noqa: E402 (after the path)

# The statement for a signal to a stack, which Terraform does not have.
OF_STACKS = "SignalThisStack"
# The names of CloudFormation, and the variables of the templates of Terraform.
VARIABLES = {
    "log-group:/ecs/${ClusterName}": "log-group:${log_group_name}",
    "${AWS::StackName}-Group-*": "${autoscaling_group_name}",
    "${AWS::Partition}": "${partition}", "${AWS::Region}": "${region}", "${AWS::AccountId}": "${account}",
    "${ClusterName}": "${cluster}", "${Object}": "${download}",
}
CLUSTER_ARN = "arn:${partition}:ecs:${region}:${account}:cluster/${cluster}"


def cluster():
    return templates.read("cluster.yaml")


def user_data(template):
    """The two texts of the user data: the script that downloads, and the settings alone."""
    choice = template["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::If"]
    assert choice[0] == "Downloads", choice
    return [one["Fn::Base64"]["Fn::Sub"] for one in choice[1:]]


def role(template, name="InstanceRole"):
    """The trust policy and the policies of the role, by name, as CloudFormation has them."""
    properties = template["Resources"][name]["Properties"]
    found = {one["PolicyName"]: one["PolicyDocument"] for one in properties["Policies"]}
    for _, policy in templates.resources(template, "AWS::IAM::Policy"):
        if policy.get("Roles") == [{"Ref": name}]:
            found[policy["PolicyName"]] = policy["PolicyDocument"]
    return {"trust": properties["AssumeRolePolicyDocument"], **found}


def _text(value):
    """A value as a value of the template."""
    if isinstance(value, dict) and len(value) == 1:
        (name, inner), = value.items()
        if name == "Fn::Sub":
            text = inner if isinstance(inner, str) else inner[0]
            for old, new in VARIABLES.items():
                text = text.replace(old, new)
            return text
        if value == {"Fn::GetAtt": ["Cluster", "Arn"]}:
            return CLUSTER_ARN
        if value == {"Ref": "ClusterName"}:
            return "${cluster}"
        if value == {"Ref": "RepositoryArns"}:
            return "<repository_arns>"
    if isinstance(value, dict):
        return {name: _text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_text(inner) for inner in value]
    return value


def policies():
    """The text of policies.json.tftpl."""
    documents = {name: _text(document) for name, document in role(cluster()).items()}
    for document in documents.values():
        document["Statement"] = [one for one in document["Statement"] if one.get("Sid") != OF_STACKS]
    text = json.dumps(documents, indent=2).replace('"<repository_arns>"', "${repository_arns}")
    unknown = set(re.findall(r"\$\{([^}]*)\}", text)) - {"repository_arns", "partition", "region", "account", "cluster",
                                                        "log_group_name", "autoscaling_group_name", "download"}
    assert not unknown and "Fn::" not in text and '"Ref"' not in text, f"cannot be translated: {unknown} {text}"
    return text + "\n"


def without_stack(text):
    """The script of CloudFormation, without what concerns a stack."""
    text = re.sub(r"^stack='[^']*' resource='[^']*'$", "stack='' resource=''", text, flags=re.M)
    return re.sub(r"^(cloudformation|stack|resource) = .*\n", "", text, flags=re.M)


def download():
    """The text of download.sh.tftpl."""
    text = without_stack(user_data(cluster())[0])
    text = re.sub(r"(^settings=')[^']*'", r"\1<settings>'", text, flags=re.M)
    text = text.replace("${BinaryUrl}", "<binary_url>").replace("${BinarySha256}", "<binary_sha256>")
    # What remains is shell: `${!x}` of Fn::Sub is `${x}`, which templatefile reads as `$${x}`.
    assert not re.search(r"\$\{(?!!)", text), f"a parameter that is not known: {text}"
    text = text.replace("${!", "$${").replace("%{", "%%{")
    return re.sub(r"<(settings|binary_url|binary_sha256)>", r"${\1}", text)


FILES = {"policies.json.tftpl": policies, "download.sh.tftpl": download}


def update():
    for name, make in FILES.items():
        (MODULE / name).write_text(make(), encoding="utf-8")
