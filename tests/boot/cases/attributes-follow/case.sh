# `ready.attributes` waits for an attribute that another program sets. A tag that changes, is new or is removed changes the
# attributes of the registered instance, without a restart of the agent; also a tag that changed while the host was down. Without
# the setting, the timer ends.
product=baked
alone=yes

# The start of the agent's container.
started() { host docker inspect --format '{{.State.StartedAt}}' ecs-agent; }

# An operator sets an attribute. $1: the ARN of the container instance.
put_zone() {
    host curl --silent --show-error --fail "https://ecs.us-east-1.amazonaws.com/" --output /dev/null \
        --header 'Authorization: AWS4-HMAC-SHA256 Credential=AKIDOPERATOR/20260101/us-east-1/ecs/aws4_request' \
        --header 'Content-Type: application/x-amz-json-1.1' \
        --header 'X-Amz-Target: AmazonEC2ContainerServiceV20141113.PutAttributes' \
        --data "{\"cluster\": \"demo\", \"attributes\": [{\"name\": \"zone\", \"value\": \"a\", \"targetId\": \"$1\"}]}"
}

check() {
    local begun
    wait_for 60 assert_verdict waiting
    wait_for 20 assert_says 'waits for the attributes `zone=a`'
    put_zone "$(host ecs-bootstrap status --json | jq --raw-output .container_instance_arn)"
    wait_for 60 assert_verdict ready
    wait_for 60 assert_property ecs-bootstrap-watch.timer ActiveState active
    wait_for 60 assert_property ecs-bootstrap-watch.service Result success
    assert_api_calls ecs:PutAttributes 1
    begun=$(started)
    set_metadata '{"tags": {"instance": {"Name": "web", "stack": "green", "team": "a"}}}'
    wait_for 110 assert_taken PutAttributes green
    assert_taken PutAttributes team
    set_metadata '{"tags": {"instance": {"Name": "web", "stack": "green"}}}'
    wait_for 110 assert_taken DeleteAttributes team
    wait_for 10 assert_journal_has ecs-bootstrap-watch.service 'the attributes of the container instance follow its tags'
    assert_equal "$(started)" "$begun" 'the start of the agent'
    set_metadata '{"tags": {"instance": {"Name": "web", "stack": "red"}}}'
    reboot 90
    wait_for 110 assert_taken PutAttributes red
    wait_for 60 assert_verdict ready
    [[ $(host ecs-bootstrap status) != *note:* ]] || fail "$(host ecs-bootstrap status)"
    assert_api_calls ecs:PutAttributes 3
    assert_api_calls ecs:DeleteAttributes 1
    host sh -c 'sed -i "s/attributes-follow = true/attributes-follow = false/" /etc/ecs-bootstrap/config.toml && systemctl restart ecs-bootstrap'
    wait_for 60 assert_property ecs-bootstrap-watch.timer ActiveState inactive
}

assert_says() { [[ $(host ecs-bootstrap status) == *"$1"* ]] || fail "$(host ecs-bootstrap status)"; }
