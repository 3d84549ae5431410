# A host that joined: doctor finds nothing, at once, and changes nothing; whoever is not root is told what he does not see.
product=baked

check() {
    local said before
    assert_joins demo
    wait_for 20 assert_connected
    before=$(look_in stat --format '%n %Y %i' /etc/ecs/ecs.config /run/ecs-bootstrap/status.json)
    SECONDS=0
    said=$(host ecs-bootstrap doctor) || fail "doctor ended with $?: $said"
    ((SECONDS < 5)) || fail "doctor took $SECONDS s"
    grep -Eq '^[a-z-]+ +(fail|unknown) ' <<<"$said" && fail "$said"
    said=$(host setpriv --reuid=65534 --regid=65534 --clear-groups ecs-bootstrap doctor) || fail "as nobody: $said"
    grep -q '^not seen: .*docker' <<<"$said" || fail "as nobody: $said"
    grep -Eq '^[a-z-]+ +fail ' <<<"$said" && fail "as nobody: $said"
    assert_equal "$(look_in stat --format '%n %Y %i' /etc/ecs/ecs.config /run/ecs-bootstrap/status.json)" "$before" 'what was there'
    host ecs-bootstrap doctor --bundle /root/bundle.tar.gz
    host tar -tzf /root/bundle.tar.gz | grep -q '/contents.txt$' || fail 'the bundle has no list'
}

assert_connected() { host ecs-bootstrap doctor | grep -Eq '^acs +pass ' || fail 'not connected'; }
