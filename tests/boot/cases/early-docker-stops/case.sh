# A program that user data calls stops and starts docker, which stops the agent: it is started after user data.
product=baked
early=yes
boot_wait=0

check() {
    wait_for 60 assert_verdict ready
    look_in touch /run/continue
    wait_for_boot "$name" 60
    wait_for 30 assert_journal_has ecs-bootstrap-after-user-data.service 'restarting the agent'
    wait_for 30 assert_unit ecs.service active
    wait_for 30 assert_agent
    assert_joins demo
}
