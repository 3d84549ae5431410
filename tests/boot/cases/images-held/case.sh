# docker pulls an image of ECR with the role, beside user data. The agent starts when the image is present, and the second boot
# pulls nothing that docker has.
product=baked
boot_wait=0

check() {
    local image=111122223333.dkr.ecr.us-east-1.amazonaws.com/team/app:1
    wait_for 40 assert_unit ecs-bootstrap-images.service activating
    wait_for 20 assert_unit cloud-final.service activating
    assert_unit ecs-bootstrap-images.service activating
    wait_for 40 host_says "image: .$image. is pulled, [0-9.]* of 20.0 MB"
    assert_no_agent
    wait_for_boot "$name" 90
    wait_for 60 assert_verdict ready
    assert_registered demo
    host docker image inspect "$image" >/dev/null || fail 'docker does not have the image'
    assert_before 'registry GET /v2/team/app/blobs' 'ecs RegisterContainerInstance'
    host_says "image: .$image. is present, 20.0 MB in [0-9.]* s"
    assert_journal_has ecs-bootstrap-images.service "image: .$image. is present, 20.0 MB"
    assert_journal_lacks '' 'auth-token'
    reboot 90
    wait_for 60 assert_verdict ready
    host_says "image: .$image. is present, 0.0 MB in"
}

host_says() { assert_prints "$1" host ecs-bootstrap status; }

# Whether the last request that begins with $1 ended before the first that begins with $2.
assert_before() {
    python3 - "$folder/api.log" "$1" "$2" <<'CODE' || fail "\`$1\` was not before \`$2\`"
import json, sys
log = [json.loads(line) for line in open(sys.argv[1])]
text = lambda one: f"{one['service']} {one['operation']} {one.get('request', '')}"
first = [one["monotonic"] for one in log if text(one).startswith(sys.argv[2])]
second = [one["monotonic"] for one in log if text(one).startswith(sys.argv[3])]
sys.exit(not (first and second and max(first) < min(second)))
CODE
}
