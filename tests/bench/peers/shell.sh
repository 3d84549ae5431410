#!/bin/bash
# What user data does today where instance metadata has the tags: curl, sed and systemctl. The only argument is ecs.config.
set -euo pipefail

config=$1
imds=http://169.254.169.254/latest

token=$(curl -sSf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600' "$imds/api/token")
get() { curl -sS -f -H "X-aws-ec2-metadata-token: $token" "$imds/$1"; }

cluster=$(get meta-data/tags/instance/ecs-bootstrap:cluster)
life_cycle=$(get meta-data/instance-life-cycle)
target_state=$(get meta-data/autoscaling/target-lifecycle-state 2>/dev/null || true)

sed -i -e '/^ECS_CLUSTER=/d' -e '/^ECS_ENABLE_SPOT_INSTANCE_DRAINING=/d' -e '/^ECS_WARM_POOLS_CHECK=/d' "$config"
echo "ECS_CLUSTER=$cluster" >>"$config"
[[ $life_cycle != spot ]] || echo ECS_ENABLE_SPOT_INSTANCE_DRAINING=true >>"$config"
[[ -z $target_state ]] || echo ECS_WARM_POOLS_CHECK=true >>"$config"
systemctl start --no-block docker ecs
