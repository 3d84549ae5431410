# shellcheck shell=bash
# Makes the binary that hosts run. In: `$cache`, `$here`, `$ECS_BOOTSTRAP_TEST_BINARY`. Out: `$binary`.

# Puts the binary of this tree, or the given one, and its deb into a folder, and sets $binary. $1: the folder.
need_binary() {
    local given=()
    { need_cargo_tool cargo-cyclonedx && need_jq; } ||
        die 'cargo-cyclonedx and jq are needed, and could not be installed or fetched'
    [[ -z ${ECS_BOOTSTRAP_TEST_BINARY:-} ]] || given=(--binary "$(realpath "$ECS_BOOTSTRAP_TEST_BINARY")")
    CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target} \
        "$here/../../packaging/build" "${given[@]}" --only binary,deb --out "$1" >/dev/null ||
        die 'packaging/build failed, so there is no binary to test'
    # shellcheck disable=SC2034 # the caller uses it
    binary=$1/ecs-bootstrap
}
