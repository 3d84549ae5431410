"""Creates, updates and deletes the stacks in moto, as far as moto knows their resources, with every condition on and off.

moto 5.2 knows no capacity provider, no association of one and no warm pool; it leaves out a cluster's tags and a
repository's scanning, cannot update a group nor delete a cluster, and neither checks parameters nor waits for signals: those are cfn-lint's,
the rules' and the tests' of the binary."""

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

import boto3  # noqa: E402, its settings come first
from moto.server import ThreadedMotoServer  # noqa: E402

import templates  # noqa: E402

ACCOUNT = "123456789012"
REPOSITORY = f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/team/web"
SHA256 = "0" * 64


class Account:
    """An empty account, at a server of its own state."""

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
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()])
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
    """A policy as data, in whichever form moto has kept it."""
    if not isinstance(document, str):
        return document
    return json.loads(document) if document.startswith('{"') else ast.literal_eval(document)


def the_repository_is_created_where_it_belongs(account):
    outputs = account.create("images", "repository.yaml", RepositoryName="team/web", OwnerAccountId=ACCOUNT,
                             PullAccountIds="111122223333,444455556666")
    ecr = account.client("ecr")
    repository = ecr.describe_repositories()["repositories"][0]
    assert repository["repositoryName"] == "team/web" and repository["imageTagMutability"] == "IMMUTABLE", repository
    assert outputs["RepositoryUri"] == repository["repositoryUri"], outputs
    assert outputs["RepositoryArn"] == repository["repositoryArn"], (outputs, repository)
    # moto leaves both texts out; its API checks their form.
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


def elsewhere_only_its_uri_is_told(account):
    outputs = account.create("images", "repository.yaml", RepositoryName="web", OwnerAccountId="999988887777",
                             PullAccountIds=ACCOUNT)
    assert outputs["RepositoryUri"] == "999988887777.dkr.ecr.eu-west-1.amazonaws.com/web", outputs
    assert account.client("ecr").describe_repositories()["repositories"] == []


def without_other_accounts_there_is_no_policy(account):
    account.create("images", "repository.yaml", RepositoryName="web", OwnerAccountId=ACCOUNT)
    try:
        account.client("ecr").get_repository_policy(repositoryName="web")
    except account.client("ecr").exceptions.RepositoryPolicyNotFoundException:
        return
    raise AssertionError("a policy for nobody")


def the_cluster_has_what_its_instances_and_services_need(account):
    outputs = account.cluster(Stage="test")
    cluster = account.client("ecs").describe_clusters(clusters=["prod"])["clusters"][0]
    assert outputs["ClusterName"] == "prod" and cluster["status"] == "ACTIVE", (outputs, cluster)
    group = account.client("logs").describe_log_groups()["logGroups"][0]
    assert (group["logGroupName"], group["retentionInDays"]) == (outputs["LogGroupName"], 30) == ("/ecs/prod", 30), group
    iam = account.client("iam")
    for policy in ("agent", "ecs-bootstrap"):
        document = parsed(iam.get_role_policy(RoleName=outputs["InstanceRoleName"], PolicyName=policy)["PolicyDocument"])
        for statement in document["Statement"]:
            assert "${" not in json.dumps(statement), statement
            if statement["Sid"] == "Pull":
                assert statement["Resource"] == [REPOSITORY], statement
            if statement["Sid"] == "SignalThisStack":
                assert statement["Resource"] == f"arn:aws:cloudformation:eu-west-1:{ACCOUNT}:stack/fleet/*", statement
    trust = iam.get_role(RoleName=outputs["ExecutionRoleArn"].split("/")[-1])["Role"]["AssumeRolePolicyDocument"]
    trust = parsed(trust)
    assert trust["Statement"][0]["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}, trust


def instances_need_a_token_and_say_whom_to_signal(account):
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


def a_download_is_checked_before_it_is_run(account):
    account.cluster(BinaryUrl="https://example.test/ecs-bootstrap", BinarySha256=SHA256)
    user_data = base64.b64decode(account.launch_template("LaunchTemplate")["UserData"]).decode()
    lines = user_data.splitlines()
    assert lines[0] == "#!/bin/sh" and lines[1] == "set -e", user_data
    checked, named = lines.index(f'echo "{SHA256}  $new" | sha256sum --check --quiet'), 'mv "$new" /usr/bin/ecs-bootstrap'
    assert checked < lines.index('chmod 755 "$new"') < lines.index(named), user_data
    assert "signal.resource=Group" in user_data and "'prod'" in user_data, user_data


def a_mix_has_its_types_and_spot(account):
    account.cluster(OnDemandPercent="50", OnDemandBase="1", SecondInstanceType="m7i.large")
    policy = account.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"][0]["MixedInstancesPolicy"]
    types = [override["InstanceType"] for override in policy["LaunchTemplate"]["Overrides"]]
    assert types == ["t3.medium", "m7i.large"], policy
    assert policy["InstancesDistribution"]["OnDemandPercentageAboveBaseCapacity"] in (50, "50"), policy


def a_cluster_is_deleted_without_a_trace(account):
    account.cluster(WarmPoolSize="2")
    cloudformation = account.client("cloudformation")
    cloudformation.delete_stack(StackName="fleet")
    assert account.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"] == []
    assert account.client("iam").list_roles()["Roles"] == []
    assert account.client("iam").list_instance_profiles()["InstanceProfiles"] == []


def an_instance_takes_all_from_the_cluster_and_adds_one_right(account):
    cluster = account.cluster()
    _, subnets, image = account.network()
    taken = {key: cluster[key] for key in ("ClusterName", "InstanceRoleName", "InstanceProfileArn", "SecurityGroupId")}
    outputs = account.create("one", "instance.yaml", SubnetId=subnets[0], ImageId=image, **taken)
    assert outputs["InstanceId"].startswith("i-"), outputs
    document = parsed(account.client("iam").get_role_policy(
        RoleName=cluster["InstanceRoleName"], PolicyName="signal-one")["PolicyDocument"])
    assert document["Statement"][0]["Resource"] == f"arn:aws:cloudformation:eu-west-1:{ACCOUNT}:stack/one/*", document
    account.client("cloudformation").delete_stack(StackName="one")
    names = account.client("iam").list_role_policies(RoleName=cluster["InstanceRoleName"])["PolicyNames"]
    assert sorted(names) == ["agent", "ecs-bootstrap"], names


TESTS = [
    the_repository_is_created_where_it_belongs, elsewhere_only_its_uri_is_told, without_other_accounts_there_is_no_policy,
    the_cluster_has_what_its_instances_and_services_need, instances_need_a_token_and_say_whom_to_signal,
    a_download_is_checked_before_it_is_run, a_mix_has_its_types_and_spot, a_cluster_is_deleted_without_a_trace,
    an_instance_takes_all_from_the_cluster_and_adds_one_right,
]


def main():
    """One line a test; ends with 1 when one failed."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    failed = 0
    for test in TESTS:
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
        try:
            test(Account(f"http://{host}:{port}"))
        except Exception as error:  # a test that breaks is a test that failed, and the next one is run
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
