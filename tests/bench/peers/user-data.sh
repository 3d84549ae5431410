#!/bin/bash
# What user data does today in place of ecs-bootstrap: curl, sed and systemctl, and the AWS CLI where instance metadata has
# no tags.
#
# Usage: user-data.sh FILE tag|describe-tags|cluster-tags usual|equal
# `usual` asks only for the values that it needs. `equal` sends the same requests as `ecs-bootstrap run`, for what that also
# takes into account (settings in user data, all tags, the role), and writes FILE as durably: a file beside it, fsync, rename.
set -euo pipefail

config=$1 source=$2 work=$3
imds=http://169.254.169.254/latest

token=$(curl -sSf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600' "$imds/api/token")
get() { curl -sS -f -H "X-aws-ec2-metadata-token: $token" "$imds/$1"; }
# A value that not every instance has.
optional() { get "$1" 2>/dev/null || true; }

life_cycle=$(get meta-data/instance-life-cycle)
target_state=$(optional meta-data/autoscaling/target-lifecycle-state)
if [[ $work == equal ]]; then
    document=$(get dynamic/instance-identity/document)
    value() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" <<<"$document"; }
    instance_id=$(value instanceId) region=$(value region)
    settings=$(optional user-data)
    [[ $settings != '#ecs-bootstrap'* ]] || { echo 'user data has settings' >&2 && exit 1; }
    tags=$(optional meta-data/tags/instance)
    [[ $tags != *ecs-bootstrap:unknown* ]] || { echo 'a tag is not known' >&2 && exit 1; }
    role=$(get meta-data/iam/security-credentials/)
    [[ -n $role ]] || { echo 'the instance has no role' >&2 && exit 1; }
elif [[ $source != tag ]]; then
    instance_id=$(get meta-data/instance-id) region=$(get meta-data/placement/region)
fi
if [[ $source == tag || $work == equal ]]; then cluster=$(optional meta-data/tags/instance/ecs-bootstrap:cluster); fi
case $source in
describe-tags)
    cluster=$(aws ec2 describe-tags --region "$region" --output text --query 'Tags[0].Value' \
        --filters "Name=resource-id,Values=$instance_id" Name=key,Values=ecs-bootstrap:cluster)
    ;;
cluster-tags)
    arns=$(aws ecs list-clusters --region "$region" --output text --query 'clusterArns')
    # shellcheck disable=SC2086 # one argument for each ARN
    cluster=$(aws ecs describe-clusters --region "$region" --clusters $arns --include TAGS --output text \
        --query "clusters[?tags[?key=='env' && value=='prod']].clusterName")
    ;;
esac

changed=$config
if [[ $work == equal ]]; then
    changed=$config.new
    cp -p "$config" "$changed"
fi
sed -i -e '/^ECS_CLUSTER=/d' -e '/^ECS_ENABLE_SPOT_INSTANCE_DRAINING=/d' -e '/^ECS_WARM_POOLS_CHECK=/d' "$changed"
echo "ECS_CLUSTER=$cluster" >>"$changed"
[[ $life_cycle != spot ]] || echo ECS_ENABLE_SPOT_INSTANCE_DRAINING=true >>"$changed"
[[ -z $target_state ]] || echo ECS_WARM_POOLS_CHECK=true >>"$changed"
if [[ $work == equal ]]; then
    sync "$changed"
    mv "$changed" "$config"
    sync "${config%/*}"
fi
systemctl start --no-block docker ecs
