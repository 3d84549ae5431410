# The units in the image, and the cluster by tag: nothing in user data.
product=baked

check() {
    assert_joins demo
    assert_unit ecs-bootstrap.service active
    assert_unit ecs.service active
    # The tag is in instance metadata, so no AWS call is needed before the agent registers.
    assert_api_calls 'ec2:*' 0
    assert_api_calls ecs:ListClusters 0
    assert_api_calls ecs:RegisterContainerInstance 1
    assert_journal_has '' 'agent start allowed'
    # The sandbox of the unit allows netlink.
    assert_journal_lacks ecs-bootstrap-verify.service 'no sockets by netlink'
}
