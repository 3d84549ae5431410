#!/usr/bin/env bash
# Builds an image, pushes it to ECR with the build number as its tag, and deploys it to ECS. Works in any CI; needs
# docker, the AWS CLI (v1 or v2), ecs-deploy, and credentials where the AWS SDKs find them.
#
# In the environment:
#   REPOSITORY_URI      the output RepositoryUri of repository.yaml: ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME
#   CLUSTER, EXECUTION_ROLE_ARN, LOG_GROUP   the outputs ClusterName, ExecutionRoleArn and LogGroupName of cluster.yaml
#   SERVICE             the name of the service
#   BUILD_NUMBER        the build number; on Travis, GitHub and GitLab their own variable is used
#   COMMIT              the git commit; default: HEAD of the working tree
#   AWS_REGION          the cluster's region
#   PLATFORM            the platform of the instances; default: linux/amd64; for Graviton: linux/arm64
#   CONTEXT             the folder with the Dockerfile; default: `.`
#   DEFINITIONS         the folder with task-definition.json and service.json; default: the folder of this script
#
# The exit code is that of ecs-deploy (30: rolled back, ...), or not 0 if an earlier step failed.
set -euo pipefail

: "${REPOSITORY_URI:?}" "${CLUSTER:?}" "${EXECUTION_ROLE_ARN:?}" "${LOG_GROUP:?}" "${SERVICE:?}" "${AWS_REGION:?}"
build=${BUILD_NUMBER:-${TRAVIS_BUILD_NUMBER:-${GITHUB_RUN_NUMBER:-${CI_PIPELINE_IID:-}}}}
: "${build:?the build number is not set: set BUILD_NUMBER}"
commit=${COMMIT:-$(git rev-parse HEAD)}
definitions=${DEFINITIONS:-$(dirname "$(readlink -f "$0")")}

registry=${REPOSITORY_URI%%/*}
# ACCOUNT.dkr.ecr.REGION.amazonaws.com: the repository may be in another account and region than the cluster.
IFS=. read -r _ _ _ registry_region _ <<<"$registry"
export IMAGE=$REPOSITORY_URI:$build

# The password goes through a pipe, because every user of the machine can read a command line, and a log is kept. This
# command is not needed if docker-credential-ecr-login is configured for the registry.
aws ecr get-login-password --region "$registry_region" |
    docker login --username AWS --password-stdin "$registry"

# A repeated job deploys the image of its build number, and does not build a new image with the same number.
if docker manifest inspect "$IMAGE" >/dev/null 2>&1; then
    printf '%s already exists\n' "$IMAGE"
else
    docker build --pull --platform "${PLATFORM:-linux/amd64}" --label "org.opencontainers.image.revision=$commit" \
        --tag "$IMAGE" "${CONTEXT:-.}"
    docker push "$IMAGE"
fi

exec ecs-deploy deploy --task-definition "$definitions/task-definition.json" \
    --service-definition "$definitions/service.json" --build "$build" --commit "$commit"
