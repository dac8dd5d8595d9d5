#!/usr/bin/env bats
# The simulated cloud does what the tests that use it rely on.
# shellcheck disable=SC1010,SC2016,SC2030,SC2031,SC2317

bats_require_minimum_version 1.5.0
bats_load_library bats-support
bats_load_library bats-assert

setup_file() {
    export CLOUD="$BATS_TEST_DIRNAME/cloud" C="$BATS_FILE_TMPDIR/c"
    "$CLOUD" start "$C" >"$BATS_FILE_TMPDIR/started"
}

teardown_file() {
    "$CLOUD" stop "$C"
    run ! pgrep -f "$C/"
}

setup() {
    # shellcheck disable=SC1091
    . "$C/openrc"
}

teardown() {
    "$CLOUD" knobs "$C" '[]'
    "$CLOUD" servers "$C" | cut -d' ' -f1 | xargs -r "$CLOUD" lose "$C"
}

probe() {
    python3 "$BATS_TEST_DIRNAME/probe.py" "$@"
}

# until_true COMMAND...: for up to 10 s
until_true() {
    local i
    for ((i = 0; i < 200; i++)); do
        "$@" && return 0
        sleep 0.05
    done
    echo "never: $*" >&2
    return 1
}

status_is() {
    "$CLOUD" servers "$C" | grep -q "^$1 [^ ]* $2 "
}

address_of() {
    "$CLOUD" servers "$C" | sed -n "s/^$1 .* //p" | tr ',' '\n' | tail -n 1
}

into() {
    local address=$1
    shift
    ssh -F none -p "$(<"$C/ssh-port")" -i "$C/id_ed25519" -o BatchMode=yes \
        -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR \
        -o UserKnownHostsFile=/dev/null -o ConnectTimeout=1 \
        "$(<"$C/user")@$address" "$@"
}

# make NAME [JSON]: a server that answers; sets id and address
make() {
    id=$(probe create "$@")
    until_true status_is "$id" ACTIVE
    address=$(address_of "$id")
    until_true into "$address" true 2>/dev/null
}

@test "the client in one process: images, create, list, console, delete" {
    cat >"$BATS_TEST_TMPDIR/first" <<-'END'
	image list --name builder --status active --sort updated_at:desc -c ID -c Name -f json
	image list --name "'builder two words'" -c Name -f json
	flavor show m1.tiny -f json -c name
	security group show ci -f json -c name
	server create --image builder-one --flavor m1.tiny --network ci-net --security-group ci --key-name ci-key --property novajob:job=a-1 one-job-1 -f json -c id
	server create --image builder-one --flavor m1.tiny --network ci-net one-job-10 -f json -c id
	server list -n --long --name=-JOB-1$ -c Name -c Properties -f json
	limits show --absolute -f json
	server create --image builder-one --flavor m1.tiny --network ci-net --key-name nokey x -f json
	END
    run openstack <"$BATS_TEST_TMPDIR/first"
    assert_output --partial '"Name": "builder two words"'
    assert_output --partial '"novajob:job": "a-1"'
    refute_output --partial '"Name": "one-job-10"'
    assert_output --partial 'Invalid key_name provided. (HTTP 400)'
    local id
    id=$("$CLOUD" servers "$C" | sed -n 's/ one-job-1 .*//p')
    until_true status_is "$id" ACTIVE
    run openstack server show -f json -c addresses -c status "$id"
    assert_success
    assert_output --partial '"ACTIVE"'
    assert_output --partial '"127.'
    until_true into "$(address_of "$id")" true 2>/dev/null
    run openstack <<<"console log show $id
server delete $id
server delete $("$CLOUD" servers "$C" | sed -n 's/ one-job-10 .*//p')"
    assert_output --partial 'Hostname set to <one-job-1>'
    nothing_left() { [ -z "$("$CLOUD" servers "$C")" ]; }
    until_true nothing_left
}

@test "lists come in pages of 50, and old and new names are told apart" {
    probe create "$(seq -s, -f 'many-%g' 60)" >/dev/null
    run openstack server list -n -f value -c Name
    assert_equal "${#lines[@]}" 50
    assert_line --index 0 many-60
    run openstack server list -n -f value -c Name --limit -1
    assert_equal "${#lines[@]}" 60
}

@test "a server has its own home, host key and environment" {
    make body
    run into "$address" 'echo "$HOME $PWD $NOVASIM_SERVER"'
    assert_output "$C/servers/$id/home $C/servers/$id/home $id"
    run ssh-keyscan -t ed25519 -p "$(<"$C/ssh-port")" "$address"
    assert_output --partial \
        "$(cut -d' ' -f2 "$C/servers/$id/ssh_host_ed25519_key.pub")"
}

@test "user-data: keys, host key, script" {
    local kept="$BATS_TEST_TMPDIR"
    ssh-keygen -q -t ed25519 -N '' -f "$kept/mine"
    ssh-keygen -q -t ed25519 -N '' -f "$kept/host"
    {
        printf 'Content-Type: multipart/mixed; boundary="=="\n'
        printf 'MIME-Version: 1.0\n\n--==\nContent-Type: text/x-shellscript\n'
        printf '\n#!/bin/sh\necho script ran in "$HOME"; touch "$HOME/ran"\n'
        printf '\n--==\nContent-Type: text/cloud-config\n\n#cloud-config\n'
        printf 'ssh_authorized_keys:\n  - "%s"\n' "$(<"$kept/mine.pub")"
        printf 'ssh_keys:\n  ed25519_private: |\n'
        sed 's/^/    /' "$kept/host"
        printf '  ed25519_public: %s\n\n--==--\n' "$(<"$kept/host.pub")"
    } >"$kept/data"
    make data "{\"user_data\": \"$(base64 -w0 "$kept/data")\"}"
    run ssh-keyscan -t ed25519 -p "$(<"$C/ssh-port")" "$address"
    assert_output --partial "$(cut -d' ' -f2 "$kept/host.pub")"
    run ssh -F none -i "$kept/mine" -p "$(<"$C/ssh-port")" \
        -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null "$(<"$C/user")@$address" echo mine
    assert_output --partial mine
    assert_success
    until_true test -e "$C/servers/$id/home/ran"
}

@test "what runs in a server ends with it, even detached without its tag" {
    make doomed
    into "$address" 'setsid sleep 4711 </dev/null >/dev/null 2>&1 &
        env -i setsid sleep 4712 </dev/null >/dev/null 2>&1 & :'
    until_true pgrep -f 'sleep 471[12]' >/dev/null
    probe DELETE "/compute/v2.1/servers/$id"
    gone() { ! "$CLOUD" servers "$C" | grep -q "^$id"; }
    until_true gone
    run ! pgrep -f 'sleep 471[12]'
}

@test "kill, freeze, lose" {
    make victim
    "$CLOUD" freeze "$C" "$id"
    status_is "$id" ACTIVE
    run into "$address" true
    assert_failure
    "$CLOUD" thaw "$C" "$id"
    into "$address" true
    "$CLOUD" kill "$C" "$id"
    status_is "$id" SHUTOFF
    run into "$address" true
    assert_output --partial refused
    "$CLOUD" lose "$C" "$id"
    run probe GET "/compute/v2.1/servers/$id"
    assert_output --partial 404
}

@test "server stop sends TERM and waits, kill ends all at one instant" {
    make polite
    into "$address" "trap 'echo asked >$BATS_TEST_TMPDIR/asked' TERM
        echo >$BATS_TEST_TMPDIR/up; sleep 60 & wait" &
    until_true test -e "$BATS_TEST_TMPDIR/up"
    openstack server stop "$id"
    until_true status_is "$id" SHUTOFF
    test -e "$BATS_TEST_TMPDIR/asked"
    make rude
    into "$address" "trap '' TERM; (sleep 60; touch $BATS_TEST_TMPDIR/told)
        touch $BATS_TEST_TMPDIR/told" &
    until_true pgrep -f "touch $BATS_TEST_TMPDIR/told" >/dev/null
    "$CLOUD" kill "$C" "$id"
    run ! test -e "$BATS_TEST_TMPDIR/told"
}

@test "the first address on ci-dual is dead; a floating address works" {
    make dual '{"net": "ci-dual"}'
    local all fip
    all=$("$CLOUD" servers "$C" | sed 's/.* //')
    run into "${all%%,*}" true
    assert_output --partial refused
    run openstack <<-END
	floating ip create public -f json -c floating_ip_address
	END
    fip=$(jq -r .floating_ip_address <<<"$output")
    openstack server add floating ip "$id" "$fip"
    until_true into "$fip" true 2>/dev/null
    openstack server remove floating ip "$id" "$fip"
    unreachable() { ! into "$fip" true 2>/dev/null; }
    until_true unreachable
}

@test "planted servers" {
    local id
    id=$("$CLOUD" add "$C" --name old --status ERROR --property a=b \
        --created 2026-01-02T03:04:05Z)
    run "$CLOUD" servers "$C"
    assert_output "$id old ERROR a=b -"
    run probe GET "/compute/v2.1/servers/$id"
    assert_output --partial '"created": "2026-01-02T03:04:05Z"'
    assert_output --partial '"message": "No valid host was found. "'
}

@test "request faults" {
    "$CLOUD" knobs "$C" '[
      {"request": "POST .*/servers$", "server": "^lim", "skip": 1, "count": 1,
       "status": 503, "message": "busy", "headers": {"Retry-After": "1"}},
      {"request": "POST .*/servers$", "server": "^rst", "reset": "before"},
      {"request": "POST .*/servers$", "server": "^after", "reset": "after"},
      {"request": "POST .*/servers$", "server": "^then", "then_status": 504},
      {"request": "GET .*/limits", "delay": 0.5},
      {"request": "GET .*/os-keypairs", "status": 502, "html": true}]'
    probe create lim-1
    run probe create lim-2
    assert_output --partial '503 {"serviceUnavailable": {"code": 503, "mess'
    probe create lim-3
    run probe create rst
    assert_output --partial ConnectionResetError
    run probe create after
    assert_output --partial ConnectionResetError
    run probe create then
    assert_output --partial 504
    run "$CLOUD" servers "$C"
    refute_output --partial ' rst '
    assert_output --partial ' after '
    assert_output --partial ' then '
    run probe GET /compute/v2.1/os-keypairs
    assert_output --partial '<h1>502'
    local began=$EPOCHREALTIME
    probe GET /compute/v2.1/limits
    ((${EPOCHREALTIME/./} - ${began/./} >= 500000))
    run "$CLOUD" requests "$C" '^POST .*/servers (503|504|reset)$'
    assert_equal "${#lines[@]}" 4
    "$CLOUD" knobs "$C" '[{"request": "GET .*/limits", "hang": true}]'
    run timeout 1 python3 "$BATS_TEST_DIRNAME/probe.py" GET \
        /compute/v2.1/limits
    assert_failure 124
    "$CLOUD" knobs "$C" '[{"request": "POST .*/servers$", "server": "^late",
        "then_status": 504, "late": 2}]'
    run ! probe create late
    run "$CLOUD" servers "$C"
    refute_output --partial ' late '
    there() { "$CLOUD" servers "$C" | grep -q ' late '; }
    until_true there
}

@test "server faults" {
    "$CLOUD" knobs "$C" '[{"match": "^nospace", "spawn_fail": "no space"},
      {"match": "^stuck", "spawn_delay": 0, "delete_fail": "cannot destroy"},
      {"match": "^slow", "spawn_delay": 0.1, "boot": 2},
      {"match": "^lost", "spawn_delay": 0.1, "lose_after": 0.2},
      {"match": "^latekey", "spawn_delay": 0, "key_delay": 5,
       "console": "\u001b[1mbold"}]'
    local bad stuck slow lost latekey at
    bad=$(probe create nospace)
    stuck=$(probe create stuck)
    slow=$(probe create slow)
    until_true status_is "$slow" ACTIVE
    run into "$(address_of "$slow")" true
    assert_output --partial refused
    lost=$(probe create lost)
    latekey=$(probe create latekey)
    until_true status_is "$bad" ERROR
    run probe GET "/compute/v2.1/servers/$bad"
    assert_output --partial '"message": "no space"'
    until_true test -e "$C/servers/$latekey/sshd.log"
    at=$(address_of "$latekey")
    answers() { into "$at" true 2>&1 | grep -q denied; }
    until_true answers
    until_true into "$at" true 2>/dev/null
    grep -q $'\e\[1mbold' "$C/servers/$latekey/console.log"
    probe DELETE "/compute/v2.1/servers/$stuck"
    until_true status_is "$stuck" ERROR
    gone() { ! "$CLOUD" servers "$C" | grep -q "^$lost"; }
    until_true gone
    until_true into "$(address_of "$slow")" true 2>/dev/null
}

@test "sshd's own settings; penalties" {
    "$CLOUD" knobs "$C" '[{"match": "^forced", "spawn_delay": 0,
        "sshd": ["ForceCommand echo forced"]},
        {"match": "^pen", "spawn_delay": 0, "penalty": 2}]'
    make forced
    run into "$address" true
    assert_output forced
    make pen
    run ssh -F none -p "$(<"$C/ssh-port")" -o BatchMode=yes \
        -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -i /dev/null "$(<"$C/user")@$address" true
    assert_output --partial denied
    run into "$address" true
    assert_failure
    refute_output --partial denied
    until_true into "$address" true 2>/dev/null
}

@test "quota, refused login, wrong knobs" {
    "$CLOUD" knobs "$C" '[{"quota": {"instances": 1}}]'
    probe create first
    run probe create second
    assert_output --partial 'Quota exceeded for instances: Requested 1, but already used 1 of 1 instances'
    "$CLOUD" knobs "$C" '[{"auth": 401}]'
    run openstack token issue -f json
    assert_failure
    assert_output --partial 'requires authentication. (HTTP 401)'
    run "$CLOUD" knobs "$C" '[{"match": "x", "spwan_delay": 1}]'
    assert_failure
    assert_output --partial 'unknown key "spwan_delay"'
    run "$CLOUD" knobs "$C"
    assert_output '[{"auth": 401}]'
}

@test "a hundred clients at once" {
    run python3 - "$OS_AUTH_URL" <<-'END'
	import sys, threading, urllib.request
	good = []
	def look():
	    with urllib.request.urlopen(sys.argv[1], timeout=20) as answer:
	        good.append(answer.status)
	threads = [threading.Thread(target=look) for _ in range(100)]
	[t.start() for t in threads]
	[t.join() for t in threads]
	print(good.count(200))
	END
    assert_output 100
}
