# The sample of MIME: a script that calls us, and a part of ours that names the cluster.
product=binary

check() {
    assert_joins prod
}
