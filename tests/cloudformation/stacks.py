"""Creates, updates and deletes the stacks in moto, with every condition on and off.

moto 5.2 does not support capacity providers, their associations and warm pools. It ignores the tags of a cluster, the
scan setting of a repository and the managed policies of a role. It cannot update a group or delete a cluster, does not
check parameters, and does not wait for signals. cfn-lint, rules.py and the tests of the binary cover these."""

import ast
import base64
import json
import os
import sys
import tomllib
import traceback
import urllib.request

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1",
}
os.environ.update(ENVIRONMENT)

import boto3  # noqa: E402, the environment must be set first
from moto.server import ThreadedMotoServer  # noqa: E402

import templates  # noqa: E402

ACCOUNT = "123456789012"
REPOSITORY = f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/team/web"
SHA256 = "0" * 64


class Account:
    """An empty account in moto."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        assert endpoint.startswith("http://127.0.0.1:"), endpoint

    def client(self, service):
        return boto3.client(service, endpoint_url=self.endpoint)

    def create(self, stack, template, **parameters):
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName=stack, TemplateBody=(templates.FOLDER / template).read_text(encoding="utf-8"),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
                        if value is not None])
        return self.outputs(stack)

    def outputs(self, stack):
        described = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        assert described["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE"), described
        return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}

    def network(self):
        vpc = self.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        subnets = self.client("ec2").describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
        image = self.client("ec2").describe_images()["Images"][0]["ImageId"]
        return vpc, [subnet["SubnetId"] for subnet in subnets[:2]], image

    def cluster(self, **parameters):
        vpc, subnets, image = self.network()
        defaults = {"ClusterName": "prod", "VpcId": vpc, "SubnetIds": ",".join(subnets), "ImageId": image,
                    "RepositoryArns": REPOSITORY}
        return self.create("fleet", "cluster.yaml", **{**defaults, **parameters})

    def launch_template(self, name_part):
        ec2 = self.client("ec2")
        found = [one for one in ec2.describe_launch_template_versions(Versions=["$Latest"])["LaunchTemplateVersions"]
                 if name_part in one["LaunchTemplateName"]] or \
            ec2.describe_launch_template_versions(Versions=["$Latest"])["LaunchTemplateVersions"]
        return found[0]["LaunchTemplateData"]


def parsed(document):
    """A policy as data. moto returns it in one of three forms."""
    if not isinstance(document, str):
        return document
    return json.loads(document) if document.startswith('{"') else ast.literal_eval(document)


def the_repository_is_created_in_the_account_of_its_owner(account):
    outputs = account.create("images", "repository.yaml", RepositoryName="team/web", OwnerAccountId=ACCOUNT,
                             PullAccountIds="111122223333,444455556666")
    ecr = account.client("ecr")
    repository = ecr.describe_repositories()["repositories"][0]
    assert repository["repositoryName"] == "team/web" and repository["imageTagMutability"] == "IMMUTABLE", repository
    assert outputs["RepositoryUri"] == repository["repositoryUri"], outputs
    assert outputs["RepositoryArn"] == repository["repositoryArn"], (outputs, repository)
    # moto ignores both texts in the template, so its API checks them here.
    properties = templates.read("repository.yaml")["Resources"]["Repository"]["Properties"]
    text = properties["LifecyclePolicy"]["LifecyclePolicyText"]["Fn::Sub"]
    text = text.replace("${KeepUntaggedDays}", "14").replace("${KeepTaggedImages}", "100")
    ecr.put_lifecycle_policy(repositoryName="team/web", lifecyclePolicyText=text)
    policy = properties["RepositoryPolicyText"]["Fn::If"][1]
    policy["Statement"][0]["Principal"] = {"AWS": ["111122223333"]}
    ecr.set_repository_policy(repositoryName="team/web", policyText=json.dumps(policy))
    cloudformation = account.client("cloudformation")
    parameters = {"RepositoryName": "team/web", "OwnerAccountId": ACCOUNT, "TagMutability": "MUTABLE"}
    cloudformation.update_stack(
        StackName="images", TemplateBody=(templates.FOLDER / "repository.yaml").read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()])
    assert ecr.describe_repositories()["repositories"][0]["imageTagMutability"] == "MUTABLE"
    account.client("cloudformation").delete_stack(StackName="images")
    assert ecr.describe_repositories()["repositories"] == []


def in_other_accounts_only_the_uri_is_output(account):
    outputs = account.create("images", "repository.yaml", RepositoryName="web", OwnerAccountId="999988887777",
                             PullAccountIds=ACCOUNT)
    assert outputs["RepositoryUri"] == "999988887777.dkr.ecr.eu-west-1.amazonaws.com/web", outputs
    assert account.client("ecr").describe_repositories()["repositories"] == []


def without_other_accounts_the_repository_has_no_policy(account):
    account.create("images", "repository.yaml", RepositoryName="web", OwnerAccountId=ACCOUNT)
    try:
        account.client("ecr").get_repository_policy(repositoryName="web")
    except account.client("ecr").exceptions.RepositoryPolicyNotFoundException:
        return
    raise AssertionError("the repository has a policy")


def the_cluster_has_its_log_group_and_roles(account):
    outputs = account.cluster(Stage="test")
    cluster = account.client("ecs").describe_clusters(clusters=["prod"])["clusters"][0]
    assert outputs["ClusterName"] == "prod" and cluster["status"] == "ACTIVE", (outputs, cluster)
    group = account.client("logs").describe_log_groups()["logGroups"][0]
    assert group["logGroupName"] == outputs["LogGroupName"] == "/ecs/prod" and group["retentionInDays"] == 30, group
    iam = account.client("iam")
    for policy in ("agent", "ecs-bootstrap"):
        answer = iam.get_role_policy(RoleName=outputs["InstanceRoleName"], PolicyName=policy)
        document = parsed(answer["PolicyDocument"])
        for statement in document["Statement"]:
            assert "${" not in json.dumps(statement), statement
            if statement["Sid"] == "Pull":
                assert statement["Resource"] == [REPOSITORY], statement
            if statement["Sid"] == "SignalThisStack":
                assert statement["Resource"] == f"arn:aws:cloudformation:eu-west-1:{ACCOUNT}:stack/fleet/*", statement
    trust = iam.get_role(RoleName=outputs["ExecutionRoleArn"].split("/")[-1])["Role"]["AssumeRolePolicyDocument"]
    trust = parsed(trust)
    assert trust["Statement"][0]["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}, trust


def instances_require_imdsv2_and_signal_the_group(account):
    account.cluster()
    data = account.launch_template("LaunchTemplate")
    assert data["MetadataOptions"]["HttpTokens"] == "required", data
    assert data["MetadataOptions"]["InstanceMetadataTags"] == "enabled", data
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True, data
    user_data = base64.b64decode(data["UserData"]).decode()
    first, document = user_data.split("\n", 1)
    settings = tomllib.loads(document)
    assert first == "#ecs-bootstrap" and settings["cluster"] == "prod", user_data
    assert settings["signal"] == {"cloudformation": True, "stack": "fleet", "resource": "Group", "lifecycle": True,
                                  "hook": "ready"}, settings
    group = account.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"][0]
    assert (group["MinSize"], group["DesiredCapacity"], group["MaxSize"]) == (1, 2, 4), group
    assert "LaunchTemplate" in group and not group.get("MixedInstancesPolicy"), group


def a_download_has_its_parameters_and_settings(account):
    account.cluster(BinaryUrl="https://example.test/ecs-bootstrap", BinarySha256=SHA256)
    user_data = base64.b64decode(account.launch_template("LaunchTemplate")["UserData"]).decode()
    assert user_data.startswith("#!/bin/sh\n") and "${" not in user_data, user_data
    for line in ("url='https://example.test/ecs-bootstrap'", f"sha256='{SHA256}'", "stack='fleet' resource='Group'",
                 "exec /usr/bin/ecs-bootstrap"):
        assert line in user_data.splitlines(), user_data
    settings = tomllib.loads(user_data.split("settings='", 1)[1].split("'\n", 1)[0])
    assert settings == {"cluster": "prod", "signal": {"cloudformation": True, "stack": "fleet", "resource": "Group",
                                                      "lifecycle": True, "hook": "ready"}}, settings


def an_object_of_s3_can_be_read_by_the_instances(account):
    outputs = account.cluster(BinaryUrl="s3://my-bucket/v1/ecs-bootstrap", BinarySha256=SHA256)
    policy = account.client("iam").get_role_policy(RoleName=outputs["InstanceRoleName"], PolicyName="download")
    statement = parsed(policy["PolicyDocument"])["Statement"][0]
    assert statement["Resource"] == "arn:aws:s3:::my-bucket/v1/ecs-bootstrap", statement


def optional_permissions_groups_and_tags_follow_the_parameters(account):
    secrets = [f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:{name}" for name in ("db-AbCdEf", "key-GhIjKl")]
    parameter = f"arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter/prod/url"
    key = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/0a1b2c3d-0000-1111-2222-333344445555"
    vpc = account.network()[0]
    extra = account.client("ec2").create_security_group(GroupName="extra", Description="extra", VpcId=vpc)["GroupId"]
    outputs = account.cluster(SecretArns=",".join(secrets), ParameterArns=parameter, KeyArns=key,
                              MetadataTags="disabled",
                              ExtraManagedPolicyArns="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
                              ExtraSecurityGroupIds=extra)
    iam = account.client("iam")
    role = outputs["ExecutionRoleArn"].split("/")[-1]
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    assert sorted(names) == ["execution", "keys", "parameters", "secrets"], names
    for policy, resources in (("secrets", secrets), ("parameters", [parameter]), ("keys", [key])):
        statement = parsed(iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"])["Statement"][0]
        assert statement["Resource"] == resources, statement
    data = account.launch_template("LaunchTemplate")
    assert data["SecurityGroupIds"] == [outputs["SecurityGroupId"], extra], data
    assert data["MetadataOptions"]["InstanceMetadataTags"] == "disabled", data


def without_optional_parameters_nothing_is_added(account):
    outputs = account.cluster()
    iam = account.client("iam")
    assert iam.list_role_policies(RoleName=outputs["ExecutionRoleArn"].split("/")[-1])["PolicyNames"] == ["execution"]
    names = iam.list_role_policies(RoleName=outputs["InstanceRoleName"])["PolicyNames"]
    assert sorted(names) == ["agent", "ecs-bootstrap"], names
    assert account.launch_template("LaunchTemplate")["SecurityGroupIds"] == [outputs["SecurityGroupId"]]


def the_default_image_is_resolved_at_launch(account):
    account.cluster(ImageId=None, BinaryUrl="https://example.test/ecs-bootstrap", BinarySha256=SHA256,
                    DesiredCapacity="0", MinSize="0")
    image = account.launch_template("LaunchTemplate")["ImageId"]
    assert image == "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id", image


def a_mix_has_its_instance_types_and_spot(account):
    account.cluster(OnDemandPercent="50", OnDemandBase="1", SecondInstanceType="m7i.large")
    group = account.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"][0]
    policy = group["MixedInstancesPolicy"]
    types = [override["InstanceType"] for override in policy["LaunchTemplate"]["Overrides"]]
    assert types == ["t3.medium", "m7i.large"], policy
    assert policy["InstancesDistribution"]["OnDemandPercentageAboveBaseCapacity"] in (50, "50"), policy


def deleting_the_cluster_leaves_nothing_behind(account):
    account.cluster(WarmPoolSize="2")
    cloudformation = account.client("cloudformation")
    cloudformation.delete_stack(StackName="fleet")
    assert account.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"] == []
    assert account.client("iam").list_roles()["Roles"] == []
    assert account.client("iam").list_instance_profiles()["InstanceProfiles"] == []


def an_instance_uses_the_cluster_stack_and_adds_one_permission(account):
    cluster = account.cluster()
    _, subnets, image = account.network()
    taken = {key: cluster[key] for key in ("ClusterName", "InstanceRoleName", "InstanceProfileArn", "SecurityGroupId")}
    outputs = account.create("one", "instance.yaml", SubnetId=subnets[0], ImageId=image, **taken)
    assert outputs["InstanceId"].startswith("i-"), outputs
    stack_id = account.client("cloudformation").describe_stacks(StackName="one")["Stacks"][0]["StackId"]
    document = parsed(account.client("iam").get_role_policy(
        RoleName=cluster["InstanceRoleName"], PolicyName=f"signal-{stack_id.split('/')[2]}")["PolicyDocument"])
    assert document["Statement"][0]["Resource"] == f"arn:aws:cloudformation:eu-west-1:{ACCOUNT}:stack/one/*", document
    account.client("cloudformation").delete_stack(StackName="one")
    names = account.client("iam").list_role_policies(RoleName=cluster["InstanceRoleName"])["PolicyNames"]
    assert sorted(names) == ["agent", "ecs-bootstrap"], names


TESTS = [
    the_repository_is_created_in_the_account_of_its_owner, in_other_accounts_only_the_uri_is_output,
    without_other_accounts_the_repository_has_no_policy,
    the_cluster_has_its_log_group_and_roles, instances_require_imdsv2_and_signal_the_group,
    a_download_has_its_parameters_and_settings, an_object_of_s3_can_be_read_by_the_instances,
    optional_permissions_groups_and_tags_follow_the_parameters,
    without_optional_parameters_nothing_is_added, the_default_image_is_resolved_at_launch,
    a_mix_has_its_instance_types_and_spot,
    deleting_the_cluster_leaves_nothing_behind, an_instance_uses_the_cluster_stack_and_adds_one_permission,
]


def main():
    """Prints a line for each test. The exit code is 1 if a test failed."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    failed = 0
    for test in TESTS:
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
        try:
            test(Account(f"http://{host}:{port}"))
        except Exception as error:  # an error fails the test; the next one runs
            failed += 1
            place = traceback.extract_tb(error.__traceback__)[1]
            print(f"FAILED: {test.__name__}, line {place.lineno}: {type(error).__name__}: {error}")
        else:
            print(f"ok: {test.__name__}")
    server.stop()
    print(f"{len(TESTS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
