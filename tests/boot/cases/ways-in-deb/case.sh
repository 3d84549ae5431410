# The package as dpkg puts it into an image, and its units enabled by who made that; the cluster by tag.
product=deb

check() {
    assert_joins demo
    assert_unit ecs-bootstrap.service active
    assert_journal_has '' 'the agent may start'
    assert_api_calls ecs:RegisterContainerInstance 1
}
