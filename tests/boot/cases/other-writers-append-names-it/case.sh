# Old user data appends its line and nothing else names a cluster: it still works with the units in the image.
product=baked

check() {
    assert_joins demo
    assert_property ecs.service NRestarts 0
}
