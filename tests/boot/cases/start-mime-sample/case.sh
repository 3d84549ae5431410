# The MIME sample: a script that calls ecs-bootstrap, and a part with settings that names the cluster.
product=binary

check() {
    assert_joins prod
}
