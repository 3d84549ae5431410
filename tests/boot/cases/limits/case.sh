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
    ((least <= 150)) || compare_with_twin "$least"
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

# On a slow machine most of the time is systemd's, which sets up the sandbox of the unit. A unit with the same settings that
# does nothing, at the same moment of the same boot, takes this time too. $1: the time of configure, for the error.
compare_with_twin() {
    local round configure twin
    sed -e 's|^ExecStart=.*|ExecStart=/usr/bin/true|' -e '/^Also=/d' -e '/^Before=/d' \
        "$(host_path /usr/lib/systemd/system/ecs-bootstrap.service)" >"$(host_path /etc/systemd/system/twin.service)"
    host systemctl enable --quiet twin.service
    for round in 1 2 3 4 5; do
        reboot
        configure=$(took ecs-bootstrap.service)
        twin=$(took twin.service)
        echo "boot $round: configure took $configure ms, and a unit that does nothing $twin ms"
        ((configure - twin > 75)) || return 0
    done
    fail "configure takes $1 ms, at best, and is never less than 75 ms slower than a unit that does nothing"
}

# Milliseconds from the start of a unit until it is up, as `systemd-analyze blame` reports it.
took() {
    local from to
    from=$(unit_property "$1" InactiveExitTimestampMonotonic)
    to=$(unit_property "$1" ActiveEnterTimestampMonotonic)
    echo $(((to - from) / 1000))
}
