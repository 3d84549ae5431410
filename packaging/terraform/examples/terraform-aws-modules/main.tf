# A cluster whose instances join with ecs-bootstrap, with terraform-aws-modules/autoscaling/aws and
# terraform-aws-modules/ecs/aws, and a service whose task definitions ecs-rollout deploys.

terraform {
  required_version = ">= 1.5.7"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

locals {
  # A name and not an output of the cluster: the cluster needs the group, whose instances need the name of the cluster.
  cluster_name = "prod"
}

module "ecs_bootstrap" {
  # In your repository: git::https://github.com/OWNER/REPO.git//packaging/terraform?ref=COMMIT
  source = "../.."

  cluster_name           = local.cluster_name
  autoscaling_group_name = "${local.cluster_name}-*"
  repository_arns        = var.repository_arns
  image_id               = var.image_id
  binary_url             = var.binary_url
  binary_sha256          = var.binary_sha256
  security_group_ids     = [aws_security_group.instances.id]
}

module "autoscaling" {
  source  = "terraform-aws-modules/autoscaling/aws"
  version = "~> 9.0"

  # The name of the group begins with this name.
  name                = local.cluster_name
  vpc_zone_identifier = var.subnet_ids
  min_size            = 1
  max_size            = 4
  desired_capacity    = 2
  health_check_type   = "EC2"
  # Managed scaling of the capacity provider changes it.
  ignore_desired_capacity_changes = true

  create_launch_template  = false
  launch_template_id      = module.ecs_bootstrap.launch_template_id
  launch_template_version = module.ecs_bootstrap.launch_template_version

  # The instances complete the hook when they are registered. Terraform waits until they are in service.
  initial_lifecycle_hooks   = [module.ecs_bootstrap.lifecycle_hook]
  wait_for_capacity_timeout = "20m"

  # The capacity provider adds this tag. Without it here, Terraform would remove it.
  autoscaling_group_tags = { AmazonECSManaged = "" }

  # Replaces the instances one by one after a change of the launch template.
  instance_refresh = {
    strategy    = "Rolling"
    preferences = { min_healthy_percentage = 50 }
  }
}

module "ecs_cluster" {
  source  = "terraform-aws-modules/ecs/aws//modules/cluster"
  version = "~> 7.0"

  name = local.cluster_name

  capacity_providers = {
    instances = {
      # The name must not begin with aws, ecs or fargate.
      name = "cp-${local.cluster_name}"
      auto_scaling_group_provider = {
        auto_scaling_group_arn         = module.autoscaling.autoscaling_group_arn
        managed_draining               = "ENABLED"
        managed_termination_protection = "DISABLED"
        managed_scaling                = { status = "ENABLED", target_capacity = 100, instance_warmup_period = 120 }
      }
    }
  }
  default_capacity_provider_strategy = {
    instances = { name = "cp-${local.cluster_name}", weight = 1 }
  }
}

# No ingress rules. The configuration of a load balancer adds its own rule.
resource "aws_security_group" "instances" {
  name_prefix = "${local.cluster_name}-"
  description = "Instances of the cluster ${local.cluster_name}"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "instances" {
  security_group_id = aws_security_group.instances.id
  description       = "The instances call AWS, and pull images"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}
