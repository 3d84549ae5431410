# Nothing else names a cluster: old user data that appends its line still works, with our units in the image.
product=baked

check() {
    assert_joins demo
    assert_property ecs.service NRestarts 0
}
