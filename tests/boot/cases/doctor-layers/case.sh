# One host, broken layer by layer: doctor names the broken layer, and shows the layers before it in order.
product=baked

check() {
    wait_for 40 assert_verdict ready
    # A registered instance is not judged by what breaks later. So the agent starts again and cannot register.
    set_faults '{"ecs:RegisterContainerInstance": {"drop": true}}'
    host systemctl stop ecs
    host sh -c 'rm -rf /var/lib/ecs/data/*'
    host systemctl start --no-block ecs
    host cp /etc/hosts /root/hosts

    host sh -c 'echo nameserver 10.77.0.99 >/etc/resolv.conf'
    silent 10.77.0.99
    names dns-timeout dns 11
    host sh -c 'echo nameserver 10.77.0.1 >/etc/resolv.conf'
    names_with AWS_ENDPOINT_URL_ECS=https://ecs.nx.amazonaws.com dns-name-unknown dns 11

    resolves_to 203.0.113.7
    names egress-timeout route 11
    # On EC2 the route to instance metadata does not depend on the default route.
    host ip route add 169.254.169.254 via 10.77.0.1
    host ip route del default
    names no-default-route route 11
    host ip route add default via 10.77.0.1
    host ip route del 169.254.169.254
    resolves_to 10.77.0.99
    names endpoint-sg-blocks route 11
    resolves_to 10.77.0.10
    names connection-refused route 11
    host cp /root/hosts /etc/hosts

    # A bundle without the CA that signed the API's certificate.
    host sh -c 'awk "/BEGIN/ { n++ } n == 1" /etc/ssl/certs/ca-certificates.crt >/root/other.pem'
    names_with AWS_CA_BUNDLE=/root/other.pem tls-untrusted tls 25

    host ip route add unreachable 169.254.169.254
    names imds-unreachable imds 10
    host ip route del unreachable 169.254.169.254

    host systemctl stop docker.socket docker
    host sh -c 'echo "{ \"debug\": tru }" >/etc/docker/daemon.json; systemctl start docker || true'
    # systemd tries to start it three times.
    wait_for 30 assert_unit docker.service failed
    names docker-config-invalid docker 24
    host rm /etc/docker/daemon.json
}

# No host has this hardware address, so nothing answers.
silent() { host ip neigh replace "$1" lladdr 02:00:00:00:00:99 dev eth0 nud permanent; }

resolves_to() { host sh -c "cp /root/hosts /etc/hosts; echo '$1 ecs.us-east-1.amazonaws.com' >>/etc/hosts"; }

names() { names_with A=B "$@"; }

# $1: an environment variable. $2: the cause. $3: its layer. $4: the exit code.
names_with() {
    local said code=0
    said=$(host env "$1" ecs-bootstrap doctor) || code=$?
    [[ $said == "error: [$2] "* && $code == "$4" ]] || fail "not $2 with $4, but with $code: $said"
    grep -Eq "^$3 +fail +\[$2\] " <<<"$said" || fail "the layer $3 did not fail: $said"
}
