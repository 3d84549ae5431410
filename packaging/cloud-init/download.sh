#!/bin/sh
set -e
new=$(mktemp /usr/bin/.ecs-bootstrap.XXXXXX)
trap 'rm -f "$new"' EXIT
curl -fsSLo "$new" '@URL@'
echo "@SHA256@  $new" | sha256sum --check --quiet
chmod 755 "$new"
mv "$new" /usr/bin/ecs-bootstrap
exec ecs-bootstrap --cluster prod
