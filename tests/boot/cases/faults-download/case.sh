# The binary cannot be downloaded. The script of cluster.yaml says so on the console, and signals the stack with curl and
# the credentials of the role.
product=none

check() {
    wait_for 30 assert_taken SignalResource 'Status=FAILURE'
    assert_taken SignalResource "UniqueId=$(instance_id)"
    assert_taken SignalResource 'StackName=fleet&LogicalResourceId=Group'
    assert_console_has 'ecs-bootstrap: error: not installed: .http://10.77.0.1:8000/gone. cannot be downloaded: .* 404'
    assert_no_file /usr/bin/ecs-bootstrap
    assert_unit cloud-final.service failed
}
