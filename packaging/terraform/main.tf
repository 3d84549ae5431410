# Instances of an ECS cluster that join with ecs-bootstrap: user data, launch template, launch hook and role. The Auto
# Scaling group is not part of the module; see examples/. tests/terraform compares the module with
# packaging/cloudformation/cluster.yaml.

data "aws_partition" "current" {}
data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

locals {
  downloads         = var.binary_url != ""
  downloads_from_s3 = startswith(var.binary_url, "s3://")

  # The settings of ecs-bootstrap, as TOML.
  settings = templatefile("${path.module}/settings.toml.tftpl", {
    cluster = var.cluster_name
    hook    = var.hook_name
  })
  user_data = local.downloads ? templatefile("${path.module}/download.sh.tftpl", {
    binary_url    = var.binary_url
    binary_sha256 = var.binary_sha256
    settings      = replace(trimspace(local.settings), "\n\n", "\n")
  }) : "#ecs-bootstrap\n${local.settings}"

  policies = jsondecode(templatefile("${path.module}/policies.json.tftpl", {
    partition              = data.aws_partition.current.partition
    region                 = data.aws_region.current.region
    account                = data.aws_caller_identity.current.account_id
    cluster                = var.cluster_name
    autoscaling_group_name = var.autoscaling_group_name
    log_group_name         = coalesce(var.log_group_name, "/ecs/${var.cluster_name}")
    repository_arns        = jsonencode(var.repository_arns)
    download               = local.downloads_from_s3 ? trimprefix(var.binary_url, "s3://") : "-"
  }))
  # The policies of the role, by name. The policy `download` is only for S3.
  role_policies = {
    for name, document in local.policies : name => jsonencode(document)
    if name != "trust" && (name != "download" || local.downloads_from_s3)
  }

  # Part of the group and not a separate resource, so that it applies to the first instances too.
  lifecycle_hook = {
    name                 = var.hook_name
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    heartbeat_timeout    = var.verdict_timeout
    default_result       = "ABANDON"
  }

  # The role may tag only instances that have the tag with the name of the cluster.
  instance_tags = merge(var.tags, { Name = var.cluster_name, "ecs-bootstrap:cluster" = var.cluster_name })
}

resource "aws_iam_role" "instance" {
  name_prefix        = substr("${var.cluster_name}-", 0, 38)
  description        = "Role of the agent and ecs-bootstrap on the instances of the cluster ${var.cluster_name}"
  assume_role_policy = jsonencode(local.policies["trust"])
  tags               = var.tags
}

resource "aws_iam_role_policy" "instance" {
  for_each = local.role_policies

  name   = each.key
  role   = aws_iam_role.instance.name
  policy = each.value
}

resource "aws_iam_role_policy_attachment" "instance" {
  for_each = toset(var.managed_policy_arns)

  role       = aws_iam_role.instance.name
  policy_arn = each.value
}

resource "aws_iam_instance_profile" "instance" {
  name_prefix = substr("${var.cluster_name}-", 0, 38)
  role        = aws_iam_role.instance.name
  tags        = var.tags
}

resource "aws_launch_template" "instance" {
  name_prefix            = "${var.cluster_name}-"
  description            = "Instances of the cluster ${var.cluster_name}, which join with ecs-bootstrap"
  image_id               = var.image_id
  instance_type          = var.instance_type
  vpc_security_group_ids = var.security_group_ids
  user_data              = base64encode(local.user_data)
  update_default_version = true
  tags                   = var.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.instance.arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = var.metadata_hop_limit
    instance_metadata_tags      = var.metadata_tags
  }

  block_device_mappings {
    device_name = var.root_device_name

    ebs {
      volume_type           = "gp3"
      volume_size           = var.root_volume_gib
      encrypted             = true
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = local.instance_tags
  }

  tag_specifications {
    resource_type = "volume"
    tags          = merge(var.tags, { Name = var.cluster_name })
  }

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = !local.downloads || var.binary_sha256 != ""
      error_message = "binary_url requires binary_sha256."
    }
  }

  # An instance must not start before its role has its permissions.
  depends_on = [aws_iam_role_policy.instance, aws_iam_role_policy_attachment.instance]
}
