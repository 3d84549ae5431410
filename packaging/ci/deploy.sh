#!/usr/bin/env bash
# Builds an image, pushes it to ECR under the number of the build, and deploys it to ECS. For any CI; needs docker, the AWS
# CLI (v1 or v2) and ecs-deploy, and credentials where the AWS SDKs look for them.
#
# In the environment:
#   REPOSITORY_URI      the output RepositoryUri of repository.yaml: ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME
#   CLUSTER, EXECUTION_ROLE_ARN, LOG_GROUP   the outputs ClusterName, ExecutionRoleArn and LogGroupName of cluster.yaml
#   SERVICE             the name of the service
#   BUILD_NUMBER        number of the build; Travis, GitHub and GitLab have their own names for it
#   COMMIT              git commit; by default that of the working tree
#   AWS_REGION          the cluster's region
#   PLATFORM            what the instances are, linux/amd64 by default; linux/arm64 for Graviton
#   CONTEXT             the folder with the Dockerfile, `.` by default
# In the folder of this script, or where DEFINITIONS says: task-definition.json and service.json.
#
# Its exit code is that of ecs-deploy (30: rolled back, ...), or not 0 where something before that failed.
set -euo pipefail

: "${REPOSITORY_URI:?}" "${CLUSTER:?}" "${EXECUTION_ROLE_ARN:?}" "${LOG_GROUP:?}" "${SERVICE:?}" "${AWS_REGION:?}"
build=${BUILD_NUMBER:-${TRAVIS_BUILD_NUMBER:-${GITHUB_RUN_NUMBER:-${CI_PIPELINE_IID:-}}}}
: "${build:?nothing says the number of the build: set BUILD_NUMBER}"
commit=${COMMIT:-$(git rev-parse HEAD)}
definitions=${DEFINITIONS:-$(dirname "$(readlink -f "$0")")}

registry=${REPOSITORY_URI%%/*}
# ACCOUNT.dkr.ecr.REGION.amazonaws.com: the repository may be in another account and region than the cluster.
IFS=. read -r _ _ _ registry_region _ <<<"$registry"
export IMAGE=$REPOSITORY_URI:$build

# The password goes through a pipe: not to a command line, which every user of the machine can read, and not to the log.
# With docker-credential-ecr-login configured for the registry this line is not needed.
aws ecr get-login-password --region "$registry_region" |
    docker login --username AWS --password-stdin "$registry"

# A job that is run again deploys what its number stands for, and builds nothing new under it.
if docker manifest inspect "$IMAGE" >/dev/null 2>&1; then
    printf '%s is there already\n' "$IMAGE"
else
    docker build --pull --platform "${PLATFORM:-linux/amd64}" --label "org.opencontainers.image.revision=$commit" \
        --tag "$IMAGE" "${CONTEXT:-.}"
    docker push "$IMAGE"
fi

exec ecs-deploy deploy --task-definition "$definitions/task-definition.json" \
    --service-definition "$definitions/service.json" --build "$build" --commit "$commit"
