//! Causes that the verification before a deployment finds: something that the deployment needs does not exist, or does not
//! fit. Nothing was registered or changed.

use ecs_bootstrap::exit::Exit;

use crate::cause::Cause;

pub(super) static ALL: &[&Cause] = &[
    &ROLE_ABSENT,
    &ROLE_NOT_ASSUMABLE,
    &EXECUTION_ROLE_REQUIRED,
    &IMAGE_ABSENT,
    &IMAGE_OTHER_PLATFORM,
    &LOG_GROUP_ABSENT,
    &SECRET_ABSENT,
    &PARAMETER_ABSENT,
    &TARGET_GROUP_ABSENT,
    &TARGET_GROUP_TYPE,
    &TARGET_GROUP_VPC,
    &TARGET_GROUP_UNATTACHED,
    &LOAD_BALANCER_PORT,
    &SUBNET_ABSENT,
    &SECURITY_GROUP_ABSENT,
    &NETWORK_IN_TWO_VPCS,
    &CLUSTER_NOT_ACTIVE,
    &CAPACITY_PROVIDER_ABSENT,
    &CLUSTER_EMPTY,
    &TASK_TOO_LARGE,
    &FARGATE_SIZE,
];

const REFUSED: Cause = Cause { exit: Exit::Refused, ..Cause::DEFAULTS };

pub(crate) static ROLE_ABSENT: Cause = Cause {
    id: "role-absent",
    title: "a role of the task does not exist",
    symptoms: "`iam:GetRole` finds no role with this name, or one with another path; without the check, tasks would not \
               start",
    remedy: "compare `taskRoleArn` and `executionRoleArn` with `aws iam get-role --role-name NAME`; an ARN has the path \
             of the role",
    source: "ECS Developer Guide, \"IAM roles for Amazon ECS\"",
    ..REFUSED
};

pub(crate) static ROLE_NOT_ASSUMABLE: Cause = Cause {
    id: "role-not-assumable",
    title: "ECS tasks are not allowed to assume a role of the task",
    symptoms: "no statement of the role's trust policy allows `sts:AssumeRole` to `ecs-tasks.amazonaws.com`, often \
               because the role was made for EC2 instances; conditions of the policy are not evaluated",
    remedy: "add `ecs-tasks.amazonaws.com` to the trust policy of the role (`aws iam update-assume-role-policy`)",
    source: "ECS Developer Guide, \"Amazon ECS task IAM role\"",
    ..REFUSED
};

pub(crate) static EXECUTION_ROLE_REQUIRED: Cause = Cause {
    id: "execution-role-required",
    title: "the task definition needs an execution role and has none",
    symptoms: "it uses secrets, registry credentials or environment files, or on Fargate awslogs or an image of ECR, and \
               `executionRoleArn` is not set",
    remedy: "set `executionRoleArn` to a role with the policy `AmazonECSTaskExecutionRolePolicy` and access to the \
             secrets",
    source: "ECS Developer Guide, \"Amazon ECS task execution IAM role\"",
    ..REFUSED
};

pub(crate) static IMAGE_ABSENT: Cause = Cause {
    id: "image-absent",
    title: "an image does not exist in ECR",
    symptoms: "`ecr:BatchGetImage` finds no such repository, tag or digest, and no pull-through cache rule imports it",
    remedy: "compare the image with `aws ecr describe-images --repository-name NAME`: account, region, tag; push the \
             image before the deployment",
    source: "ECR API Reference, \"BatchGetImage\"",
    ..REFUSED
};

pub(crate) static IMAGE_OTHER_PLATFORM: Cause = Cause {
    id: "image-other-platform",
    title: "an image in ECR is not for the platform of the tasks",
    symptoms: "the index of the image has none of the platforms that the tasks run on; a container would end with \
               `exec format error`, or could not be pulled",
    remedy: "build the image with `docker buildx build --platform linux/amd64` (or linux/arm64), or correct \
             `runtimePlatform`",
    source: "ECS API Reference, \"RuntimePlatform\"",
    ..REFUSED
};

pub(crate) static LOG_GROUP_ABSENT: Cause = Cause {
    id: "log-group-absent",
    title: "a log group of awslogs does not exist",
    symptoms: "`logs:DescribeLogGroups` does not find the group of `awslogs-group` in the region of `awslogs-region`; \
               without the check, tasks would not start",
    remedy: "create it with `aws logs create-log-group --log-group-name NAME`, or set `awslogs-create-group` to `true` \
             and allow `logs:CreateLogGroup` to the role",
    source: "ECS Developer Guide, \"Send Amazon ECS logs to CloudWatch\"",
    ..REFUSED
};

pub(crate) static SECRET_ABSENT: Cause = Cause {
    id: "secret-absent",
    title: "a secret does not exist, or its value cannot be read",
    symptoms: "`secretsmanager:DescribeSecret` does not find the secret, the secret is scheduled for deletion, or no \
               version has the staging label that is read",
    remedy: "compare `valueFrom` with `aws secretsmanager describe-secret --secret-id NAME`: region, account, the six \
             random characters of the ARN; restore a deleted secret with `restore-secret`, or store a value with \
             `put-secret-value`",
    source: "ECS Developer Guide, \"Pass Secrets Manager secrets through Amazon ECS environment variables\"",
    ..REFUSED
};

pub(crate) static PARAMETER_ABSENT: Cause = Cause {
    id: "parameter-absent",
    title: "a parameter of Systems Manager does not exist",
    symptoms: "`ssm:DescribeParameters` does not find the name or ARN of `valueFrom`",
    remedy: "compare `valueFrom` with `aws ssm describe-parameters`: region, account, the slash at the start of a name \
             with a hierarchy",
    source: "ECS Developer Guide, \"Pass Systems Manager parameters through Amazon ECS environment variables\"",
    ..REFUSED
};

pub(crate) static TARGET_GROUP_ABSENT: Cause = Cause {
    id: "target-group-absent",
    title: "a target group of the service does not exist",
    symptoms: "`elasticloadbalancing:DescribeTargetGroups` does not find the ARN",
    remedy: "compare `targetGroupArn` with `aws elbv2 describe-target-groups`",
    source: "ECS API Reference, \"LoadBalancer\"",
    ..REFUSED
};

pub(crate) static TARGET_GROUP_TYPE: Cause = Cause {
    id: "target-group-type",
    title: "the target type of a target group does not fit the network mode of the task",
    symptoms: "tasks with the network mode `awsvpc` need the target type `ip`, other tasks need `instance`; ECS rejects \
               the service",
    remedy: "create a target group with the other target type (it cannot be changed), or change `networkMode`",
    source: "ECS Developer Guide, \"Use an Application Load Balancer for Amazon ECS\"",
    ..REFUSED
};

pub(crate) static TARGET_GROUP_VPC: Cause = Cause {
    id: "target-group-vpc",
    title: "a target group is in another VPC than the tasks",
    symptoms: "the VPC of the target group is not that of the subnets, so tasks cannot be registered as targets",
    remedy: "use subnets of the VPC of the load balancer, or a target group of the VPC of the tasks",
    source: "Elastic Load Balancing, \"Target groups for your Application Load Balancers\"",
    ..REFUSED
};

pub(crate) static TARGET_GROUP_UNATTACHED: Cause = Cause {
    id: "target-group-unattached",
    title: "no load balancer forwards to a target group of the service",
    symptoms: "the target group has no load balancer; ECS rejects a service with it",
    remedy: "add a listener or a rule that forwards to the target group before the service is created (in a template, \
             let the service depend on the listener)",
    source: "ECS Developer Guide, \"Troubleshooting service load balancers\"",
    ..REFUSED
};

pub(crate) static LOAD_BALANCER_PORT: Cause = Cause {
    id: "load-balancer-port",
    title: "`loadBalancers` names a container or a port that the task definition does not have",
    symptoms: "there is no container with the name `containerName`, or `containerPort` is not in its `portMappings`",
    remedy: "correct `containerName` or `containerPort`, or add the port to `portMappings`",
    source: "ECS API Reference, \"LoadBalancer\"",
    ..REFUSED
};

pub(crate) static SUBNET_ABSENT: Cause = Cause {
    id: "subnet-absent",
    title: "a subnet of the tasks does not exist",
    symptoms: "`ec2:DescribeSubnets` does not find the id in this region",
    remedy: "compare `subnets` with `aws ec2 describe-subnets`",
    source: "ECS API Reference, \"AwsVpcConfiguration\"",
    ..REFUSED
};

pub(crate) static SECURITY_GROUP_ABSENT: Cause = Cause {
    id: "security-group-absent",
    title: "a security group of the tasks does not exist",
    symptoms: "`ec2:DescribeSecurityGroups` does not find the id in this region",
    remedy: "compare `securityGroups` with `aws ec2 describe-security-groups`; they are ids, not names",
    source: "ECS API Reference, \"AwsVpcConfiguration\"",
    ..REFUSED
};

pub(crate) static NETWORK_IN_TWO_VPCS: Cause = Cause {
    id: "network-in-two-vpcs",
    title: "the subnets and security groups of the tasks are not in one VPC",
    symptoms: "two subnets are in different VPCs, or a security group belongs to another VPC and is not associated with \
               that of the subnets",
    remedy: "name subnets and security groups of one VPC",
    source: "ECS API Reference, \"AwsVpcConfiguration\"",
    ..REFUSED
};

pub(crate) static CLUSTER_NOT_ACTIVE: Cause = Cause {
    id: "cluster-not-active",
    title: "the cluster is not active",
    symptoms: "the status of the cluster is INACTIVE, FAILED or DEPROVISIONING",
    remedy: "create the cluster again, or name another one",
    source: "ECS API Reference, \"Cluster\"",
    ..REFUSED
};

pub(crate) static CAPACITY_PROVIDER_ABSENT: Cause = Cause {
    id: "capacity-provider-absent",
    title: "a capacity provider of the strategy is not associated with the cluster",
    symptoms: "`capacityProviderStrategy` names a provider that DescribeClusters does not show for the cluster",
    remedy: "associate it with `aws ecs put-cluster-capacity-providers`, which replaces the whole list of the cluster",
    source: "ECS API Reference, \"PutClusterCapacityProviders\"",
    ..REFUSED
};

pub(crate) static CLUSTER_EMPTY: Cause = Cause {
    id: "cluster-empty",
    title: "the cluster has no container instance for the tasks",
    symptoms: "a service is to be created, no instance is registered, and no capacity provider of the service starts \
               one; for an existing service this is only noted",
    remedy: "find out why no instance registers: run `ecs-bootstrap doctor` on an instance; check the desired capacity \
             of the Auto Scaling group; if instances join later, use `--no-verify`",
    source: "ECS API Reference, \"ListContainerInstances\"",
    ..REFUSED
};

pub(crate) static TASK_TOO_LARGE: Cause = Cause {
    id: "task-too-large",
    title: "the task fits no container instance of the cluster, even an empty one",
    symptoms: "every registered instance has less CPU or memory than the task needs, a host port that is always in use, \
               too few GPUs, or lacks an attribute",
    remedy: "lower `cpu`, `memory` or `memoryReservation`, or use larger instances; for an attribute, configure the agent \
             (for example `ECS_AVAILABLE_LOGGING_DRIVERS`)",
    source: "ECS Developer Guide, \"Amazon ECS service event messages\"",
    ..REFUSED
};

pub(crate) static FARGATE_SIZE: Cause = Cause {
    id: "fargate-size",
    title: "Fargate has no tasks with this combination of CPU and memory",
    symptoms: "`cpu` and `memory` of the task definition are not in the table of sizes",
    remedy: "choose a combination of the table",
    source: "ECS Developer Guide, \"Amazon ECS task definition parameters for Fargate\"",
    ..REFUSED
};
