# On a host that joined, doctor finds no fault, is fast and changes nothing. Other users see what it could not read.
product=baked

check() {
    local said before
    assert_joins demo
    wait_for 20 assert_connected
    before=$(look_in stat --format '%n %Y %i' /etc/ecs/ecs.config /run/ecs-bootstrap/status.json)
    SECONDS=0
    said=$(host ecs-bootstrap doctor) || fail "doctor ended with $?: $said"
    ((SECONDS < 5)) || fail "doctor took $SECONDS s"
    passes "$said"
    ! grep -Eq '^[a-z-]+ +unknown ' <<<"$said" || fail "$said"
    said=$(host setpriv --reuid=65534 --regid=65534 --clear-groups ecs-bootstrap doctor) || fail "as user 65534: $said"
    passes "$said"
    grep -q '^not visible: .*docker' <<<"$said" || fail "as user 65534: $said"
    assert_equal "$(look_in stat --format '%n %Y %i' /etc/ecs/ecs.config /run/ecs-bootstrap/status.json)" "$before" 'what was there'
    host ecs-bootstrap doctor --bundle /root/bundle.tar.gz >/dev/null
    said=$(host tar -tzf /root/bundle.tar.gz)
    grep -q '/contents.txt$' <<<"$said" || fail "the bundle has no list: $said"
}

passes() { ! grep -Eq '^[a-z-]+ +fail ' <<<"$1" || fail "$1"; }

assert_connected() {
    local said
    said=$(host ecs-bootstrap doctor) || true
    grep -Eq '^acs +pass ' <<<"$said" || fail "not connected: $said"
}
