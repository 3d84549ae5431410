#!/bin/sh
# Downloads ecs-bootstrap, installs it for this boot and all later ones, and runs it. If a step fails, the console shows
# the reason. Then the resource of the stack, if one waits for this instance, is signalled FAILURE. The URL is
# https://..., or s3://BUCKET/KEY in the region of the instance, which is read with the role of the instance.
url='@URL@'
sha256='@SHA256@'
stack='' resource=''
settings='cluster = "prod"'

set -u
umask 022
new='' token='' instance='' region='' reason='the script was stopped'
trap failed EXIT
trap 'exit 1' HUP INT TERM

failed() {
    trap - EXIT
    [ -z "$new" ] || rm -f "$new"
    text="ecs-bootstrap: error: not installed: $reason"
    printf '%s\n' "$text" >&2
    { printf '%s\n' "$text" >/dev/console; } 2>/dev/null
    [ -z "$stack" ] || signal
    exit 1
}

fail() { reason=$1 && exit 1; }

# Reads instance metadata, without a proxy. $1: the path. The rest: arguments of curl.
metadata() {
    path=$1 && shift
    curl -sSf --noproxy '*' --connect-timeout 2 --max-time 5 -H "X-aws-ec2-metadata-token: $token" "$@" \
        "http://169.254.169.254/latest/$path"
}

# Sets what a signed request needs.
identify() {
    token=$(metadata api/token -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60') &&
        instance=$(metadata meta-data/instance-id) && region=$(metadata meta-data/placement/region) &&
        domain=$(metadata meta-data/services/domain) && role=$(metadata meta-data/iam/security-credentials/) &&
        credentials=$(metadata "meta-data/iam/security-credentials/$role")
}

credential() { printf '%s\n' "$credentials" | sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p"; }

# Sends a request with the credentials of the role, and prints the HTTP status. $1: the service. The rest: arguments of
# curl.
signed() {
    service=$1 && shift
    printf 'user = "%s:%s"\nheader = "X-Amz-Security-Token: %s"\n' "$(credential AccessKeyId)" \
        "$(credential SecretAccessKey)" "$(credential Token)" |
        curl -sSf -K - --path-as-is --aws-sigv4 "aws:amz:$region:$service" -w '%{http_code}' --connect-timeout 10 "$@"
}

# Each `return` has a status: in a trap, bash returns the status from before the trap.
signal_once() {
    identify && status=$(signed cloudformation --max-time 20 -o /dev/null -d Action=SignalResource \
        -d Version=2010-05-15 -d "StackName=$stack" -d "LogicalResourceId=$resource" -d "UniqueId=$instance" \
        -d Status=FAILURE "https://cloudformation.$region.$domain/") && return 0
    # The stack does not wait, or no longer.
    [ "$status" != 400 ] || return 0
    # For a curl that cannot sign (before 7.75), or no curl.
    command -v aws >/dev/null || return 1
    [ -n "$instance" ] || instance=$(cloud-init query instance_id) && region=$(cloud-init query region) &&
        aws cloudformation signal-resource --region "$region" --stack-name "$stack" \
            --logical-resource-id "$resource" --unique-id "$instance" --status FAILURE
}

signal() {
    for pause in 1 2 4 8 16 32 0; do
        status=''
        signal_once && return 0
        sleep "$pause"
    done
    echo "$resource of the stack $stack was not signalled" >&2
}

# Downloads the file. Prints only `200` if that succeeds.
fetch() {
    limit=$((end - $(uptime)))
    set -- --globoff -o "$new" --max-time "$limit" --speed-limit 1000 --speed-time 30
    case $url in
    s3://*)
        identify || { echo '(instance metadata)' && return; }
        signed s3 -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$@" \
            "https://s3.$region.$domain/$(echo "$url" | cut -d / -f 3-)" && return
        [ $? = 2 ] && timeout "$limit" aws s3 cp --only-show-errors --region "$region" "$url" "$new" && echo 200
        ;;
    *) curl -sSfL --proto-redir '=https' -w '%{http_code}' --connect-timeout 10 "$@" "$url" ;;
    esac
}

# Tries for a minute if errors come at once, and for five minutes if nothing answers. A new role gets 403 for a while.
download() {
    end=$(($(uptime) + 300))
    for pause in 1 2 4 8 16 32 0; do
        answer=$(fetch 2>&1)
        [ "$answer" != 200 ] || return 0
        reason="\`$shown\` cannot be downloaded: $(printf %s "$answer" | tr '\n' ' ')"
        # These do not change, and neither does a full disk (23).
        case $answer in *'(instance metadata)') ;; 30? | *'error: 40'[0145]* | *'error: 410'* | *'(23)'*) exit 1 ;; esac
        [ $(($(uptime) + pause)) -lt "$end" ] || exit 1
        sleep "$pause"
    done
    exit 1
}

uptime() { cut -d . -f 1 /proc/uptime; }

for program in curl sha256sum systemctl; do
    command -v "$program" >/dev/null || fail "\`$program\` is not installed"
done
# Without a password or a signature in the URL.
shown=$(echo "$url" | sed -e 's|//[^/@]*@|//|' -e 's|[?#].*||')
new=$(mktemp /usr/bin/.ecs-bootstrap.XXXXXX) || fail 'no file can be created in /usr/bin'
download
sum=$(sha256sum "$new" | cut -d ' ' -f 1)
[ "$sum" = "$sha256" ] || fail "the SHA-256 checksum of \`$shown\` is $sum, not $sha256"
chmod 755 "$new"
"$new" --version >/dev/null || fail "\`$shown\` does not run on this host ($(uname -m))"
mv "$new" /usr/bin/ecs-bootstrap || fail '/usr/bin/ecs-bootstrap cannot be written'
new=''
mkdir -p /etc/ecs-bootstrap/config.d || fail '/etc/ecs-bootstrap/config.d cannot be created'
printf '%s\n' "$settings" >/etc/ecs-bootstrap/config.d/50-user-data.toml ||
    fail '/etc/ecs-bootstrap/config.d/50-user-data.toml cannot be written'
# User data runs at the first boot only. A host in a warm pool is stopped, and registers at its second boot.
systemctl cat ecs-bootstrap.service >/dev/null 2>&1 ||
    cat >/etc/systemd/system/ecs-bootstrap.service <<'UNIT' || fail 'ecs-bootstrap.service cannot be written'
[Unit]
Description=Configure the ECS agent of this instance and queue its start
Wants=network-online.target
After=network-online.target cloud-init.service
Before=ecs.service amazon-ecs.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ecs-bootstrap run --no-wait --https-only
TimeoutStartSec=270

[Install]
WantedBy=multi-user.target
UNIT
systemctl --quiet enable ecs-bootstrap.service || fail 'ecs-bootstrap.service cannot be enabled'
reason='/usr/bin/ecs-bootstrap cannot be run'
exec /usr/bin/ecs-bootstrap
