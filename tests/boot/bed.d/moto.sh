# shellcheck shell=bash
# The AWS API behind aws.py: a moto server on a unix socket. Every network namespace can reach it, and no other machine
# can.

readonly moto_requirement='moto[server]==5.2.5'

need_moto() { need_venv "$cache/moto" "$moto_requirement" && wrap moto_server "$cache/moto/bin/moto_server"; }

# Runs until it is killed. $1: the socket. $2: the log.
run_moto() {
    # Loading Amazon's images would take a second per account.
    export MOTO_EC2_LOAD_DEFAULT_AMIS=false NO_COLOR=1
    exec setpriv --pdeathsig KILL "$cache/bin/moto_server" -H "unix://$1" >>"$2" 2>&1
}
