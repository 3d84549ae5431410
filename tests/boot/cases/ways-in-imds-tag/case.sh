# The cluster by a tag in instance metadata: AWS is asked nothing before the file is written.
product=binary

check() {
    wait_for 30 assert_verdict ready
    assert_registered demo
    assert_one_cluster_line demo
    assert_api_calls 'ec2:*' 0
}
