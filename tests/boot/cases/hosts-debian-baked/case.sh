# Debian's order of cloud-final, with the agent's unit not enabled: `run` queues it, and there is no ordering cycle.
product=baked
cloud_final=debian
enabled=no

check() {
    assert_joins demo
    assert_unit cloud-final.service active
    reboot
    wait_for 30 assert_verdict ready
    assert_registered demo
    grep -Eq 'ordering cycle' "$folder/console.log" && fail 'there is an ordering cycle'
    return 0
}
