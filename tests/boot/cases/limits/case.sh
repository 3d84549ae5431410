# How long configure and guard take, and how far the units are exposed. Whatever else this machine does only adds, so the
# least of some boots counts.
product=baked
alone=yes

check() {
    wait_for 30 assert_verdict ready
    local unit exposure round configure least=999999 without with
    for unit in ecs-bootstrap.service ecs-bootstrap-verify.service ecs-bootstrap-verify-failed.service; do
        exposure=$(look "$name" systemd-analyze security --no-pager "$unit" | sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p')
        echo "$unit: exposure $exposure (at most 2.1)"
        awk -v exposure="$exposure" 'BEGIN { exit !(exposure > 0 && exposure <= 2.1) }' || fail "$unit has an exposure of $exposure"
    done
    for round in 1 2 3 4 5; do
        configure=$(took ecs-bootstrap.service)
        echo "boot $round: configure took $configure ms"
        ((configure >= least)) || least=$configure
        ((least > 150)) || break
        reboot
    done
    ((least <= 150)) || fail "configure takes $least ms, at best"
    # All that enabling our units can add to multi-user.target is what configure takes: verify is ready at once.
    assert_property ecs-bootstrap-verify.service Type notify
    host bash -c '[[ $(systemctl show --property After --value multi-user.target) != *ecs-bootstrap-verify* ]]' ||
        fail 'multi-user.target waits for the verification'
    for round in {1..10}; do
        with=$(host bash -c 'a=$(date +%s%N); ecs-bootstrap guard; b=$(date +%s%N); echo $(((b - a) / 1000000))')
        ((${without:-999999} <= with)) || without=$with
    done
    echo "guard takes $without ms (at most 20)"
    ((without <= 20)) || fail "guard takes $without ms, at best"
}

# Milliseconds from a unit's start to its being up, as `systemd-analyze blame` has it.
took() {
    local from to
    from=$(unit_property "$1" InactiveExitTimestampMonotonic)
    to=$(unit_property "$1" ActiveEnterTimestampMonotonic)
    echo $(((to - from) / 1000))
}
