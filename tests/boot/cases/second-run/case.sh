# A second run on a host that joined writes no byte, restarts nothing, and registers nothing.
product=binary

files_of_ecs() { look_in stat --format '%n %i %s %y %z' /etc/ecs /etc/ecs/ecs.config /var/lib/ecs-bootstrap/written.json; }

check() {
    wait_for 30 assert_verdict ready
    local files agent
    files=$(files_of_ecs)
    agent=$(unit_property ecs.service InvocationID)
    host ecs-bootstrap run --no-wait --cluster demo
    host ecs-bootstrap run --wait --cluster demo
    assert_equal "$(files_of_ecs)" "$files" 'the files'
    assert_property ecs.service InvocationID "$agent"
    assert_api_calls ecs:RegisterContainerInstance 1
    assert_verdict ready
    assert_registered demo
}
