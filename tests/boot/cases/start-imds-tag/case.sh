# The cluster by a tag in instance metadata: no AWS call before the file is written.
product=binary

check() {
    assert_joins demo
    assert_api_calls 'ec2:*' 0
}
