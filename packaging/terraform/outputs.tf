output "launch_template_id" {
  description = "Id of the launch template"
  value       = aws_launch_template.instance.id
}

output "launch_template_version" {
  description = "Latest version of the launch template; it changes when an input of the module changes"
  value       = aws_launch_template.instance.latest_version
}

output "lifecycle_hook" {
  description = "The launch hook, for initial_lifecycle_hooks of terraform-aws-modules/autoscaling/aws"
  value       = local.lifecycle_hook
}

output "user_data" {
  description = "The user data, for a launch template of your own"
  value       = local.user_data
}

output "role_policies" {
  description = "The policies of the role as JSON, by name, for a role of your own"
  value       = local.role_policies
}

output "iam_role_name" {
  description = "Name of the role of the instances"
  value       = aws_iam_role.instance.name
}

output "instance_profile_arn" {
  description = "ARN of the instance profile"
  value       = aws_iam_instance_profile.instance.arn
}
