#!/bin/bash
# What user data does today where instance metadata has no tags: curl for the instance's id and region, and the AWS CLI for
# its tags; then sed and systemctl. The only argument is ecs.config.
set -euo pipefail

config=$1
imds=http://169.254.169.254/latest

token=$(curl -sSf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600' "$imds/api/token")
get() { curl -sS -f -H "X-aws-ec2-metadata-token: $token" "$imds/$1"; }

instance_id=$(get meta-data/instance-id)
region=$(get meta-data/placement/region)
life_cycle=$(get meta-data/instance-life-cycle)
target_state=$(get meta-data/autoscaling/target-lifecycle-state 2>/dev/null || true)
cluster=$(aws ec2 describe-tags --region "$region" --output text --query 'Tags[0].Value' \
    --filters "Name=resource-id,Values=$instance_id" Name=key,Values=ecs-bootstrap:cluster)

sed -i -e '/^ECS_CLUSTER=/d' -e '/^ECS_ENABLE_SPOT_INSTANCE_DRAINING=/d' -e '/^ECS_WARM_POOLS_CHECK=/d' "$config"
echo "ECS_CLUSTER=$cluster" >>"$config"
[[ $life_cycle != spot ]] || echo ECS_ENABLE_SPOT_INSTANCE_DRAINING=true >>"$config"
[[ -z $target_state ]] || echo ECS_WARM_POOLS_CHECK=true >>"$config"
systemctl start --no-block docker ecs
