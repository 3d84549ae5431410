#!/usr/bin/env bash
# Builds an image, pushes it to ECR with the build number as its tag, and deploys it to ECS. Works in any CI that has
# docker, the AWS CLI (v1 or v2), ecs-rollout, and AWS credentials where the AWS SDKs find them.
#
# Environment:
#   REPOSITORY_URI      the output RepositoryUri of repository.yaml: ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME
#   CLUSTER, EXECUTION_ROLE_ARN, LOG_GROUP   the outputs ClusterName, ExecutionRoleArn and LogGroupName of cluster.yaml
#   SERVICE             the name of the service
#   BUILD_NUMBER        the build number; not needed on Travis, GitHub and GitLab, which set their own variable
#   COMMIT              the git commit; default: the commit of the working tree
#   AWS_REGION          the region of the cluster
#   PLATFORM            the platform of the instances; default: linux/amd64; for Graviton: linux/arm64
#   CONTEXT             the folder with the Dockerfile; default: `.`
#   DEFINITIONS         the folder with task-definition.json and service.json; default: the folder of this script
#
# The exit code is that of ecs-rollout (for example, 30: rolled back), or that of an earlier command that failed.
set -euo pipefail

: "${REPOSITORY_URI:?}" "${CLUSTER:?}" "${EXECUTION_ROLE_ARN:?}" "${LOG_GROUP:?}" "${SERVICE:?}" "${AWS_REGION:?}"
build=${BUILD_NUMBER:-${TRAVIS_BUILD_NUMBER:-${GITHUB_RUN_NUMBER:-${CI_PIPELINE_IID:-}}}}
: "${build:?there is no build number: set BUILD_NUMBER}"
commit=${COMMIT:-$(git rev-parse HEAD)}
definitions=${DEFINITIONS:-$(dirname "$(readlink -f "$0")")}

registry=${REPOSITORY_URI%%/*}
# The repository may be in another account and region than the cluster: ACCOUNT.dkr.ecr.REGION.amazonaws.com.
IFS=. read -r _ _ _ registry_region _ <<<"$registry"
export IMAGE=$REPOSITORY_URI:$build

# A pipe keeps the password out of the log, and out of the process list, which every user of the host can read.
# Not needed if docker-credential-ecr-login is configured for the registry.
aws ecr get-login-password --region "$registry_region" |
    docker login --username AWS --password-stdin "$registry"

# A job that runs again deploys the image of its build number, and does not build another one with the same tag.
if docker manifest inspect "$IMAGE" >/dev/null 2>&1; then
    printf '%s already exists, not building it again\n' "$IMAGE"
else
    docker build --pull --platform "${PLATFORM:-linux/amd64}" --label "org.opencontainers.image.revision=$commit" \
        --tag "$IMAGE" "${CONTEXT:-.}"
    docker push "$IMAGE"
fi

exec ecs-rollout deploy --task-definition "$definitions/task-definition.json" \
    --service-definition "$definitions/service.json" --build "$build" --commit "$commit"
