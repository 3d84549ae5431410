# The registry has no such image, and the cluster no such service: the agent starts at the limit, and the verdict names both.
product=baked

check() {
    wait_for 90 assert_verdict failed images-not-found
    assert_cause 'team/app:1.: .*not found' evidence
    assert_cause 'has no active service .web' evidence
    assert_registered demo
    assert_unit ecs-bootstrap-images.service failed
    host sh -c 'printf "cluster = \"demo\"\n[ready]\nimages = [\"111122223333.dkr.ecr.us-east-1.amazonaws.com/team/other:1\"]\n" \
        >/etc/ecs-bootstrap/config.toml && systemctl restart ecs-bootstrap'
    wait_for 60 assert_verdict ready
}
