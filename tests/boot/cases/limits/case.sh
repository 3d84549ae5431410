# How long `run` and `guard` take, and the exposure of the units. Other load on this machine only adds time, so the
# shortest of several boots is compared with the limit.
product=baked
alone=yes

check() {
    wait_for 30 assert_verdict ready
    local unit exposure round configure least=999999 without with
    for unit in ecs-bootstrap.service ecs-bootstrap-verify.service ecs-bootstrap-verify-failed.service \
        ecs-bootstrap-after-user-data.service ecs-bootstrap-watch.service ecs-bootstrap-images.service \
        ecs-bootstrap-drain.service; do
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
    # Enabling the units can delay multi-user.target only by the time of ecs-bootstrap.service: verify is ready at once.
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

# Milliseconds from the start of a unit until it is up, as `systemd-analyze blame` reports it.
took() {
    local from to
    from=$(unit_property "$1" InactiveExitTimestampMonotonic)
    to=$(unit_property "$1" ActiveEnterTimestampMonotonic)
    echo $(((to - from) / 1000))
}
