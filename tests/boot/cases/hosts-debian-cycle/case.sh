# As hosts-debian-baked with the agent's unit enabled: systemd drops one of the two at random; `plan` reports the cycle.
product=baked
cloud_final=debian
boot_wait=0

check() {
    wait_for 40 assert_unit multi-user.target active
    wait_for 20 plan_names_the_cycle
    grep -Eq 'ordering cycle' "$folder/console.log" || fail 'there is no ordering cycle'
}

plan_names_the_cycle() {
    local said
    said=$(host ecs-bootstrap plan 2>&1 >/dev/null) || true
    grep -Fq unit-ordering-cycle <<<"$said" || fail "plan says: $said"
}
