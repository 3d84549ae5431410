# shellcheck shell=bash
# The AWS API behind aws.py: moto, on a unix socket, which any network namespace reaches and nothing outside this machine.

readonly moto_requirement='moto[server]==5.2.5'

need_moto() { need_venv "$cache/moto" "$moto_requirement" && wrap moto_server "$cache/moto/bin/moto_server"; }

# Runs until it is killed. $1: the socket. $2: the log.
run_moto() {
    # Amazon's images would take a second of each account.
    export MOTO_EC2_LOAD_DEFAULT_AMIS=false NO_COLOR=1
    exec setpriv --pdeathsig KILL "$cache/bin/moto_server" -H "unix://$1" >>"$2" 2>&1
}
