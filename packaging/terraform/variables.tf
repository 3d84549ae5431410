variable "cluster_name" {
  description = "Name of the ECS cluster that the instances join"
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,100}$", var.cluster_name))
    error_message = "The name must have 1 to 100 letters, digits, hyphens and underscores."
  }
}

variable "autoscaling_group_name" {
  description = "Name of the Auto Scaling group whose launch hook the instances complete; web-* is allowed"
  type        = string

  validation {
    condition     = can(regex("^[^:*?\\s]{1,254}[*]?$", var.autoscaling_group_name))
    error_message = "The name must have at least one character before a `*` at its end."
  }
}

variable "repository_arns" {
  description = "ARNs of the ECR repositories that the instances pull from"
  type        = list(string)

  validation {
    condition = length(var.repository_arns) > 0 && alltrue([
      for arn in var.repository_arns :
      can(regex("^arn:[a-z-]+:ecr:[a-z0-9-]+:[0-9]{12}:repository/[a-z0-9._/*-]+$", arn))
    ])
    error_message = "Each must be the ARN of a repository, and there must be one."
  }
}

variable "log_group_name" {
  description = "Log group of the tasks; by default /ecs/ and the name of the cluster"
  type        = string
  default     = null

  validation {
    condition     = var.log_group_name == null || can(regex("^[A-Za-z0-9_./#-]{1,512}$", var.log_group_name))
    error_message = "The name must have 1 to 512 letters, digits and . _ / # -."
  }
}

variable "image_id" {
  description = "AMI with docker and the ECS agent, and with ecs-bootstrap and its units unless binary_url is set"
  type        = string

  validation {
    condition     = can(regex("^(ami-[0-9a-f]{8}([0-9a-f]{9})?|resolve:ssm:[A-Za-z0-9_.:/-]{1,1000})$", var.image_id))
    error_message = "Must be an id such as ami-0123456789abcdef0, or resolve:ssm: and the name of a parameter."
  }
}

variable "binary_url" {
  description = "URL from which instances download the ecs-bootstrap binary; empty if the AMI has it"
  type        = string
  default     = ""

  validation {
    condition = (
      var.binary_url == "" ||
      can(regex("^https://[A-Za-z0-9._~:/?#@!$&()*+,;=%\\[\\]-]+$", var.binary_url)) ||
      can(regex("^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[A-Za-z0-9._/-]+$", var.binary_url))
    )
    error_message = "Must be an https URL without quotes, s3:// with a bucket and a key, or empty."
  }
}

variable "binary_sha256" {
  description = "SHA-256 checksum of the download; required with binary_url"
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^$|^[0-9a-f]{64}$", var.binary_sha256))
    error_message = "Must be 64 lower-case hexadecimal digits, or empty."
  }
}

variable "instance_type" {
  description = "Instance type"
  type        = string
  default     = "t3.medium"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.instance_type))
    error_message = "Must be an instance type, for example m7i.large."
  }
}

variable "security_group_ids" {
  description = "Security groups of the instances"
  type        = list(string)

  validation {
    condition     = alltrue([for id in var.security_group_ids : can(regex("^sg-[0-9a-f]{8,17}$", id))])
    error_message = "Each must be the id of a security group."
  }
}

variable "root_volume_gib" {
  description = "Size of the root volume, which stores images and containers, in GiB"
  type        = number
  default     = 30

  validation {
    condition     = var.root_volume_gib >= 8 && var.root_volume_gib <= 16384
    error_message = "Must be 8 to 16384."
  }
}

variable "root_device_name" {
  description = "Name of the AMI's root device"
  type        = string
  default     = "/dev/xvda"

  validation {
    condition     = can(regex("^/dev/[a-z0-9]+$", var.root_device_name))
    error_message = "Must be a device, for example /dev/xvda."
  }
}

variable "metadata_hop_limit" {
  description = "Hop limit of instance metadata; with 2, containers on the bridge network can read the role's credentials"
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2], var.metadata_hop_limit)
    error_message = "Must be 1 or 2."
  }
}

variable "metadata_tags" {
  description = "Tags in instance metadata; with enabled, EC2 refuses to launch if a tag key has a space or a slash"
  type        = string
  default     = "enabled"

  validation {
    condition     = contains(["enabled", "disabled"], var.metadata_tags)
    error_message = "Must be enabled or disabled."
  }
}

variable "hook_name" {
  description = "Name of the launch hook"
  type        = string
  default     = "ready"

  validation {
    condition     = can(regex("^[A-Za-z0-9_/-]{1,255}$", var.hook_name))
    error_message = "The name must have 1 to 255 letters, digits and - _ /."
  }
}

variable "verdict_timeout" {
  description = "How long the launch hook waits for an instance, in seconds; verification can take ten minutes"
  type        = number
  default     = 900

  validation {
    condition     = var.verdict_timeout >= 600 && var.verdict_timeout <= 7200
    error_message = "Must be 600 to 7200."
  }
}

variable "managed_policy_arns" {
  description = "ARNs of more managed policies for the role, for example of AmazonSSMManagedInstanceCore"
  type        = list(string)
  default     = []

  validation {
    condition = alltrue([
      for arn in var.managed_policy_arns : can(regex("^arn:[a-z-]+:iam::(aws|[0-9]{12}):policy/\\S+$", arn))
    ])
    error_message = "Each must be the ARN of a managed policy."
  }
}

variable "tags" {
  description = "Tags of all resources, and of the instances and their volumes"
  type        = map(string)
  default     = {}
}
