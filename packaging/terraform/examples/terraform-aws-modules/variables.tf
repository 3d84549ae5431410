variable "vpc_id" {
  description = "VPC of the instances"
  type        = string
}

variable "subnet_ids" {
  description = "Subnets that reach ECS, ECR, CloudWatch Logs and Auto Scaling by NAT or VPC endpoints"
  type        = list(string)
}

variable "repository_arns" {
  description = "ARNs of the ECR repositories that the instances pull from"
  type        = list(string)
}

variable "image_id" {
  description = "AMI with docker and the ECS agent, and with ecs-bootstrap and its units unless binary_url is set"
  type        = string
}

variable "binary_url" {
  description = "URL from which instances download the ecs-bootstrap binary; empty if the AMI has it"
  type        = string
  default     = ""
}

variable "binary_sha256" {
  description = "SHA-256 checksum of the download; required with binary_url"
  type        = string
  default     = ""
}
