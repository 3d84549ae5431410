# A program that user data calls writes a drop-in for the agent's unit, without `systemctl daemon-reload`.
product=baked
early=yes
boot_wait=0

check() {
    wait_for 60 assert_verdict ready
    look_in touch /run/continue
    wait_for_boot "$name" 60
    wait_for 30 assert_journal_has ecs-bootstrap-after-user-data.service 'restarting the agent'
    wait_for 30 assert_unit ecs-bootstrap-after-user-data.service active
    assert_property ecs.service NeedDaemonReload no
    assert_property ecs.service Environment OF_DROP_IN=yes
    wait_for 30 assert_api_calls ecs:RegisterContainerInstance 2
    assert_joins demo
}
