#!/bin/bash
# The script that most repositories have: render, register, check if DescribeServices returns an ARN, create or update,
# wait. tests/ci/side_by_side.py compares it with ecs-rollout. Not an example to copy.
set -e
sed "s|%TAG%|$TAG|g" task-definition.json >rendered.json
revision=$(aws ecs register-task-definition --cli-input-json file://rendered.json \
    --query taskDefinition.taskDefinitionArn --output text)
service=$(aws ecs describe-services --cluster prod --services web --query 'services[0].serviceArn' --output text)
if [ "$service" = None ]; then
    aws ecs create-service --cluster prod --service-name web --task-definition "$revision" --desired-count 2
else
    aws ecs update-service --cluster prod --service web --task-definition "$revision" --desired-count 2
fi
aws ecs wait services-stable --cluster prod --services web
echo deployed
