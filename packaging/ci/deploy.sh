#!/usr/bin/env bash
# Builds an image, pushes it to ECR with the build number and the commit as its tag, and deploys it to ECS. Works in any
# CI that has docker, the AWS CLI (v1 or v2), ecs-rollout, and AWS credentials where the AWS SDKs find them.
#
# Usage: deploy.sh [OPTION...]
# The options are passed to `ecs-rollout deploy`. For example, `--vars-from DB_HOST` lists one more variable that the
# definitions use.
#
# Environment:
#   REPOSITORY_URI      the output RepositoryUri of repository.yaml: ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME
#   CLUSTER             the cluster: the output ClusterName of cluster.yaml
#   SERVICE             the name of the service
#   CONTAINER           the container that gets the image; needed only if the task has several containers
#   EXECUTION_ROLE_ARN, LOG_GROUP   the outputs ExecutionRoleArn and LogGroupName of cluster.yaml; needed only if the
#                       definitions use them, as the samples do
#   BUILD_NUMBER        the build number; Travis, GitHub, GitLab, CodeBuild and Jenkins set their own variable instead
#   COMMIT              the git commit; default: the commit of the working tree
#   AWS_REGION          the region of the cluster
#   PLATFORM            the platform of the instances; default: linux/amd64; for Graviton: linux/arm64, which needs QEMU
#                       on an x86-64 runner if the Dockerfile has a RUN
#   CONTEXT             the folder with the Dockerfile; default: `.`
#   DEFINITIONS         the folder with task-definition.json and service.json; default: the folder of this script. The
#                       extension can be .yaml or .yml instead
#
# The exit code is that of ecs-rollout (for example, 30: rolled back), or that of an earlier command that failed.
set -euo pipefail

: "${REPOSITORY_URI:?}" "${CLUSTER:?}" "${SERVICE:?}" "${AWS_REGION:?}"
build=${BUILD_NUMBER:-${TRAVIS_BUILD_NUMBER:-${GITHUB_RUN_NUMBER:-${CI_PIPELINE_IID:-${CODEBUILD_BUILD_NUMBER:-}}}}}
: "${build:?there is no build number: set BUILD_NUMBER}"
# CodeBuild has no working tree if its source is an archive.
commit=${COMMIT:-$(git rev-parse HEAD 2>/dev/null || printf '%s' "${CODEBUILD_RESOLVED_SOURCE_VERSION:-}")}
: "${commit:?this folder is not a git working tree: set COMMIT}"
definitions=${DEFINITIONS:-$(dirname "$(readlink -f "$0")")}
readonly platform=${PLATFORM:-linux/amd64} revision_label=org.opencontainers.image.revision

# $1: what is wrong. $2: what to do. $3: the exit code.
fail() {
    printf 'error: %s\nremedy: %s\n' "$1" "$2" >&2 || true
    exit "${3:-1}"
}

# Prints the file of a definition. $1: its name without the extension.
definition() {
    local file found=()
    for file in "$definitions/$1".{json,yaml,yml}; do [[ -e $file ]] && found+=("$file"); done
    ((${#found[@]} == 1)) ||
        fail "there must be one file $definitions/$1.json, .yaml or .yml, but there are ${#found[@]}" \
            'set DEFINITIONS to the folder of the definitions, and delete the file that is not used'
    printf '%s' "${found[0]}"
}
task_definition=$(definition task-definition)
service_definition=$(definition service)

registry=${REPOSITORY_URI%%/*} repository=${REPOSITORY_URI#*/}
# The repository may be in another account and region than the cluster: ACCOUNT.dkr.ecr.REGION.amazonaws.com.
IFS=. read -r account _ _ registry_region _ <<<"$registry"
# A build number alone does not identify an image: numbers restart, and two CI systems count independently.
tag=$build-$commit
[[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] || fail "\`$tag\` is not an image tag" 'check BUILD_NUMBER and COMMIT'
export IMAGE=$REPOSITORY_URI:$tag

# Fails unless the existing image, of this digest, was built from this commit, for this platform. The registry may
# contain any image under our tag. Docker selects the image of the platform from an index, so attestations are not
# inspected.
check_existing_image() {
    local digest=$1 found_platform found_commit start_new='start a new build'
    # By the tag: a docker that has the image of another platform under this digest refuses to pull by the digest.
    docker pull --quiet --platform "$platform" "$IMAGE" >/dev/null ||
        fail "$IMAGE already exists ($digest), but its image for $platform cannot be pulled" "$start_new"
    read -r found_platform found_commit < <(docker image inspect "$IMAGE" --format \
        "{{.Os}}/{{.Architecture}} {{with .Config}}{{with .Labels}}{{index . \"$revision_label\"}}{{end}}{{end}}") ||
        fail "the existing image $IMAGE cannot be inspected" "$start_new"
    # An image without the label is not known to be ours either.
    [[ $found_commit == "$commit" ]] ||
        fail "$IMAGE already exists ($digest), but was not built from this commit: \`$revision_label=$found_commit\`" \
            "$start_new; this image is neither deployed nor overwritten"
    # A platform may have a variant: linux/arm64/v8.
    [[ $platform/ == "$found_platform"/* ]] ||
        fail "$IMAGE already exists ($digest), but is for $found_platform, not for $platform" "$start_new"
}

# A pipe keeps the password out of the log, and out of the process list, which every user of the host can read.
# Not needed if docker-credential-ecr-login is configured for the registry.
aws ecr get-login-password --region "$registry_region" |
    docker login --username AWS --password-stdin "$registry"

# An image that does not exist is not an error of this call. An error (for example, missing permissions) does not mean
# that there is no image.
read -r digest failure < <(aws ecr batch-get-image --registry-id "$account" --region "$registry_region" \
    --repository-name "$repository" --image-ids "imageTag=$tag" --output text \
    --query '[images[0].imageId.imageDigest, failures[0].failureCode]') || true
case ${digest:-} in
sha256:*)
    # A job that runs again deploys the image of its first run. It cannot push another one under the same tag.
    check_existing_image "$digest"
    printf '%s already exists (%s), not building it again\n' "$IMAGE" "$digest"
    ;;
*)
    [[ ${failure:-} == ImageNotFound ]] ||
        fail "cannot find out whether $IMAGE exists: ${failure:-ecr batch-get-image failed}" \
            'allow ecr:BatchGetImage on the repository, and check REPOSITORY_URI'
    docker build --pull --platform "$platform" --label "$revision_label=$commit" --tag "$IMAGE" "${CONTEXT:-.}"
    docker push "$IMAGE" || fail "$IMAGE could not be pushed" "if the tag already exists and is immutable, another job\
 has pushed it in the meantime: run this job again, which checks that image and deploys it" "$?"
    ;;
esac

# The variables that the definitions may use.
variables=IMAGE,CLUSTER,SERVICE,EXECUTION_ROLE_ARN,LOG_GROUP,AWS_REGION,MEMORY_MIB,PORT,DESIRED_COUNT

# The only call of ecs-rollout in the sample pipelines. The definitions need not use the variables: those of
# `ecs-rollout init` contain the image, the cluster and the service that they were read from.
exec ecs-rollout deploy --cluster "$CLUSTER" --service "$SERVICE" --task-definition "$task_definition" \
    --service-definition "$service_definition" --image "${CONTAINER:+$CONTAINER=}$IMAGE" --vars-from "$variables" \
    --build "$build" --commit "$commit" "$@"
