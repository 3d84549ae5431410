# The deb installed into an image, with its units enabled there; the cluster by tag.
product=deb

check() {
    assert_joins demo
    assert_unit ecs-bootstrap.service active
    assert_journal_has '' 'agent start allowed'
    assert_api_calls ecs:RegisterContainerInstance 1
}
