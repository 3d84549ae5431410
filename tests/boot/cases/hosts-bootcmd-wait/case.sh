# `--wait` in bootcmd would wait for what waits for bootcmd: it is refused, the boot goes on, and the agent starts.
product=binary

check() {
    assert_file_has /run/bootcmd-said '\[(systemd-unreachable|start-blocked)\]'
    assert_file_has /run/bootcmd-said '^exit code [1-9]'
    wait_for 30 assert_registered demo
    assert_unit cloud-final.service active
}
