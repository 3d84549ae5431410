# A service that Terraform creates and ecs-rollout deploys. Terraform must not set back what ecs-rollout changes.

resource "aws_ecs_service" "web" {
  name            = "web"
  cluster         = module.ecs_cluster.arn
  task_definition = aws_ecs_task_definition.web.arn
  desired_count   = 1

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  lifecycle {
    # ecs-rollout deploys new revisions, and Application Auto Scaling or ecs-rollout changes the count. The other
    # arguments are the members of packaging/ci/service.json, and the tag ecs-rollout:unreturned. Add each other member
    # that your service definition contains.
    ignore_changes = [
      task_definition, desired_count,
      deployment_minimum_healthy_percent, deployment_maximum_percent, deployment_circuit_breaker,
      ordered_placement_strategy, enable_ecs_managed_tags, propagate_tags,
      tags, tags_all,
    ]
  }
}

# The first revision only, because the service needs one. ecs-rollout registers all later ones in the same family.
resource "aws_ecs_task_definition" "web" {
  family       = "web"
  skip_destroy = true
  container_definitions = jsonencode([
    { name = "web", image = "public.ecr.aws/nginx/nginx:stable", essential = true, memory = 128 }
  ])

  lifecycle {
    # A revision cannot be changed: each change here would register one more, which the service would not use.
    ignore_changes = all
  }
}
