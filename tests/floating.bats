#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# floating.bats - floating addresses: one for a job's server, none left behind, whatever happens.

load lib
with_cloud

setup() {
	novajob_setup
	OWNER=o$JOB_ID # each test sweeps only what is its own
	set_to owner "$OWNER"
	set_to floating-network public
	P=$BATS_TEST_TMPDIR/prepare.log
	POST='"request": "POST /network/v2.0/floatingips$"'
	ATTACH='"request": "PUT /network/v2.0/floatingips/"'
	RELEASE='"request": "DELETE /network/v2.0/floatingips/"'
}

teardown() {
	# a prepare of a failed test must not disturb the next one
	[[ -n $BATS_TEST_COMPLETED || -z ${PREPARE:-} ]] || kill -KILL "$PREPARE" 2>/dev/null || true
	cloud knobs '[]'
}

# addresses [TEXT]: of this test's owner, with TEXT in the description; one line each: ID ADDRESS PORT DESCRIPTION.
addresses() {
	python3 - "$OS_AUTH_URL" "novajob:$OWNER:" "${1:-}" <<-'END'
		import json, os, sys, urllib.request
		auth, mine, text = sys.argv[1:]
		e = os.environ
		domain = {'name': e['OS_USER_DOMAIN_NAME']}
		body = {'auth': {'identity': {'methods': ['password'], 'password': {'user': {
		    'name': e['OS_USERNAME'], 'domain': domain, 'password': e['OS_PASSWORD']}}},
		    'scope': {'project': {'name': e['OS_PROJECT_NAME'], 'domain': domain}}}}
		r = urllib.request.urlopen(urllib.request.Request(auth + '/auth/tokens', json.dumps(body).encode(),
		    {'Content-Type': 'application/json'}))
		url = auth.replace('/identity/v3', '/network/v2.0/floatingips?seen-by=test')
		r = urllib.request.urlopen(urllib.request.Request(url, headers={'X-Auth-Token': r.headers['X-Subject-Token']}))
		for f in json.load(r)['floatingips']:
		    if f['description'].startswith(mine) and text in f['description']:
		        print(f['id'], f['floating_ip_address'], f['port_id'] or '-', f['description'])
	END
}

none_left() {
	[[ -z $(addresses "${1:-}") ]]
}

some_left() {
	! none_left "${1:-}"
}

# begin_prepare: in the background, its process in $PREPARE.
begin_prepare() {
	stage_env
	"$NOVAJOB" --settings="$SETTINGS" prepare >"$P" 2>&1 3>&- &
	PREPARE=$!
}

# ended PID STATUS
ended() {
	local status=0
	wait "$1" || status=$?
	assert_equal "$status" "$2"
}

record() {
	cat "$STATE"/jobs/*-"$JOB_ID"/record.json
}

# cleaned [WHAT STAGE STATUS]: cleanup is quiet and leaves nothing; then a row of novajob-faults(7).
cleaned() {
	run -0 novajob cleanup
	assert_output ''
	run -0 addresses
	assert_output ''
	no_server_of "$JOB_ID" || fail 'a server is left'
	[[ $# == 0 ]] || fault_row "$@" "$P"
}

# plant DESCRIPTION: an address that nobody of this test asked for; prints its id.
plant() {
	/usr/bin/openstack floating ip create -f value -c id --description "$1" public
}

creates() {
	cloud requests 'POST /network/v2.0/floatingips ' | wc -l
}

more_creates_than() {
	(($(creates) > $1))
}

# ---- a whole job

@test "a whole job logs in at its floating address, which is released at the end" {
	run -0 job --script-line 'echo "at $SSH_CONNECTION"'
	grep -q 'floating address [0-9.]* is attached' "$LOG" || fail "$(cat "$LOG")"
	address=$(sed -n 's/.*floating address \([0-9.]*\) is attached.*/\1/p' "$LOG")
	grep -qE "^at .* $address " "$LOG" || fail "$(cat "$LOG")"
	assert_file_empty "$RUNNER_LOG"
	run -0 addresses
	assert_output ''
}

@test "the description says whose it is; the address is attached to the server" {
	prepared
	run -0 addresses
	assert_output --regexp "^[0-9a-f-]{36} [0-9.]+ [0-9a-f-]{36} novajob:$OWNER:[0-9a-f-]{36}-$JOB_ID:$(record |
		jq -r .try):$(record | jq -r .expires)$"
	assert_equal "$(record | jq -c '[.floating, .floating_at]')" '[true,0]'
	assert_equal "$(record | jq -r .address)" "$(cut -d' ' -f2 <<<"$output")"
	cleaned
}

@test "address: fixed, floating, a network, a kind" {
	local which n
	for which in fixed floating auto 4 127.0.0.0/8; do
		set_to address $which
		prepared || fail "$(cat "$BATS_TEST_TMPDIR/prepare.log")"
		n=$(record | jq -r '.addresses | length')
		floating=$(addresses | cut -d' ' -f2)
		case $which in
		fixed) [[ $n == 1 && $(record | jq -r .address) != "$floating" ]] ;;
		floating | auto) [[ $n == 1 && $(record | jq -r .address) == "$floating" ]] ;;
		*) [[ $n == 2 && $(record | jq -r '.addresses[0]') == "$floating" ]] ;;
		esac || fail "address = $which: $(record)"
		cleaned
		JOB_ID=$((JOB_ID + 1))
	done
}

@test "address = floating without floating-network is an error in config" {
	sed -i /^floating-network/d "$SETTINGS"
	set_to address floating
	stage_env
	run -2 novajob config
	assert_output --partial "address = floating ($SETTINGS:"
	assert_output --partial 'needs floating-network'
}

@test "without floating-network the cloud is asked nothing about floating addresses" {
	sed -i /^floating-network/d "$SETTINGS"
	local before after
	before=$(cloud requests '/network/v2.0/floatingips ' | wc -l)
	prepared
	novajob cleanup
	after=$(cloud requests '/network/v2.0/floatingips ' | wc -l)
	assert_equal "$before" "$after"
}

@test "floating-network is taken out of the settings while a job runs: cleanup releases its address" {
	prepared
	sed -i /^floating-network/d "$SETTINGS"
	some_left
	cleaned
	# and of a job whose record is lost, as long as the setting is there
	JOB_ID=$((JOB_ID + 1))
	set_to floating-network public
	prepared
	rm "$STATE"/jobs/*-"$JOB_ID"/record.json
	some_left
	cleaned
}

@test "a record of an older novajob is read" {
	prepared
	jq 'del(.floating, .floating_at)' <(record) >"$BATS_TEST_TMPDIR/old"
	cp "$BATS_TEST_TMPDIR/old" "$(echo "$STATE"/jobs/*-"$JOB_ID"/record.json)"
	cleaned
}

@test "the commands of a whole job are those that were planned" {
	local log=$BATS_TEST_TMPDIR/done address fip server
	set_to openstack-session no
	cat >"$BATS_TEST_TMPDIR/openstack" <<-END
		#!/bin/bash
		python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "\$@" >>$log
		exec /usr/bin/openstack "\$@"
	END
	chmod 755 "$BATS_TEST_TMPDIR/openstack"
	set_to openstack "$BATS_TEST_TMPDIR/openstack"
	stage_env
	novajob plan --json | jq -c '.stages[].commands[] | select(.[0] | endswith("openstack")) | .[1:]' >"$log.plan"
	assert_file_not_exist "$log"
	prepared
	read -r fip address _ < <(addresses)
	server=$(record | jq -r .server_id)
	novajob cleanup
	jq -c --arg f "$fip" --arg a "$address" --arg s "$server" 'select(.[0] == "floating" or .[1] == "add") |
		map(gsub($f; "<id of the floating address>") | gsub($s; "<id of the server>") |
		if . == $a then "<floating address>" else . end | sub(":[0-9a-f]{16}:[0-9]*$"; ":<try>:"))' "$log" | sort -u >"$log.sorted"
	jq -c 'select(.[0] == "floating" or .[1] == "add") | map(sub(":<try>:[0-9]*$"; ":<try>:"))' "$log.plan" | sort -u >"$log.plan.sorted"
	diff "$log.plan.sorted" "$log.sorted"
	assert_equal "$(wc -l <"$log.sorted")" 4
}

@test "two jobs at once: each has its own address, and a cleanup takes only its own" {
	local other=$((JOB_ID + 1)) first=$JOB_ID
	begin_prepare
	one=$PREPARE
	cp "$JOB_RESPONSE_FILE" "$BATS_TEST_TMPDIR/one.json"
	response "$other" >"$BATS_TEST_TMPDIR/two.json"
	JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/two.json novajob prepare 2>"$P.two"
	ended "$one" 0
	assert_equal "$(addresses | wc -l)" 2
	JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/two.json novajob cleanup
	run -0 addresses
	assert_output --partial -- "-$first:"
	refute_output --partial -- "-$other:"
	cp "$BATS_TEST_TMPDIR/one.json" "$JOB_RESPONSE_FILE"
	cleaned
}

# ---- faults of the cloud

# bats test_tags=fault
@test "an unknown network: the setting is blamed, nothing is left" {
	set_to floating-network nowhere
	stage_env
	run -2 novajob prepare
	assert_output --partial "floating-network (from $SETTINGS:"
	assert_output --partial 'No Network found for nowhere'
	echo "$output" >"$P"
	no_server_of "$JOB_ID"
	cleaned 'the network of floating-network is unknown' prepare 2
}

# bats test_tags=fault
@test "a network that is not external: the setting is blamed" {
	set_to floating-network other-net
	stage_env
	run -2 novajob prepare
	assert_output --partial "floating-network (from $SETTINGS:"
	assert_output --partial 'openstack network list --external'
	echo "$output" >"$P"
	cleaned 'the network of floating-network has no floating addresses' prepare 2
}

# bats test_tags=fault
@test "a full quota is waited for, the server is kept, and it is told every 30 s" {
	set_to busy-timeout 120
	cloud knobs '[{"quota": {"floatingip": 0}}]'
	begin_prepare
	wait_for 30 grep -qE "waiting for a floating address of 'public': .*Quota exceeded.*, at most .* \(busy-timeout\)" "$P"
	id=$(record | jq -r .server_id)
	wait_for 60 grep -qE "waiting for a floating address of 'public': .*, [34][0-9]\.[0-9] s so far" "$P"
	none_left
	cloud knobs '[]'
	ended "$PREPARE" 0
	assert_equal "$(record | jq -r .server_id)" "$id"
	cleaned 'the quota of floating addresses is used up, and one is released meanwhile' prepare 0
}

# bats test_tags=fault
@test "the pool is empty, and busy-timeout ends the wait: exit 2, what is missing is told" {
	cloud knobs "[{$POST, \"status\": 409, \"message\": \"No more IP addresses available on network x.\"}]"
	set_to busy-timeout 1
	stage_env
	run -2 novajob prepare
	assert_output --partial 'no floating address is to be had'
	assert_output --partial 'busy-timeout'
	assert_output --partial 'No more IP addresses available'
	echo "$output" >"$P"
	no_server_of "$JOB_ID"
	cleaned 'the floating network has no address left for as long as busy-timeout' prepare 2
}

# bats test_tags=fault
@test "accepted, then the connection is reset: there is one in the end, whether novajob or the client asks again" {
	cloud knobs "[{$POST, \"reset\": \"after\", \"count\": 1}]"
	stage_env
	novajob prepare 2>"$P"
	grep -qE 'was allocated(, too| all the same)' "$P" || fail "$(cat "$P")"
	assert_equal "$(addresses | wc -l)" 1
	attached
	cleaned 'the allocation of a floating address is accepted, and the connection reset before the answer' prepare 0
}

# bats test_tags=fault
@test "503, and nothing came of it: another is asked for" {
	cloud knobs "[{$POST, \"status\": 503, \"count\": 1}]"
	stage_env
	novajob prepare 2>"$P"
	grep -q 'no address came of it, trying again' "$P" || fail "$(cat "$P")"
	assert_equal "$(addresses | wc -l)" 1
	cleaned 'the allocation of a floating address is answered 503, once' prepare 0
}

# bats test_tags=fault
@test "the allocation is answered 503 again and again: prepare gives up and has undone all" {
	cloud knobs "[{$POST, \"status\": 503}]"
	begin_prepare
	ended "$PREPARE" 2
	cloud knobs '[]'
	none_left
	no_server_of "$JOB_ID"
	cleaned 'the allocation of a floating address is always answered 503' prepare 2
}

# bats test_tags=fault
@test "the attachment is answered 503 once: it is repeated" {
	cloud knobs "[{$ATTACH, \"status\": 503, \"count\": 1}]"
	stage_env
	novajob prepare 2>"$P"
	grep -q 'trying again' "$P"
	assert_equal "$(addresses | wc -l)" 1
	cleaned 'the attachment of a floating address is answered 503, once' prepare 0
}

# bats test_tags=fault
@test "the attachment is accepted and its answer lost: it is repeated, harmlessly" {
	cloud knobs "[{$ATTACH, \"reset\": \"after\", \"count\": 1}]"
	stage_env
	novajob prepare 2>"$P"
	assert_equal "$(addresses | wc -l)" 1
	cleaned 'the attachment of a floating address is accepted, and the connection reset before the answer' prepare 0
}

# bats test_tags=fault
@test "the attachment fails: all is undone" {
	cloud knobs "[{$ATTACH, \"status\": 404, \"message\": \"External network x is not reachable from subnet y.\"}]"
	stage_env
	run -2 novajob prepare
	assert_output --partial "floating-network (from $SETTINGS:"
	assert_output --partial 'a router has to lead'
	echo "$output" >"$P"
	none_left
	no_server_of "$JOB_ID"
	cleaned 'no router leads from the floating network to the server' prepare 2
}

@test "the client says nothing, and the address is not attached: that is seen" {
	cat >"$BATS_TEST_TMPDIR/openstack" <<-END
		#!/bin/bash
		[[ "\$1 \$2" != 'server add' ]] || exit 0
		exec /usr/bin/openstack "\$@"
	END
	chmod 755 "$BATS_TEST_TMPDIR/openstack"
	set_to openstack "$BATS_TEST_TMPDIR/openstack"
	set_to openstack-session no
	stage_env
	run -2 novajob prepare
	assert_output --regexp 'floating address [0-9.]+ is not attached to server'
	none_left
	cleaned
}

# bats test_tags=fault
@test "a release is answered 503: cleanup asks again" {
	prepared
	cp "$BATS_TEST_TMPDIR/prepare.log" "$BATS_TEST_TMPDIR/first"
	cloud knobs "[{$RELEASE, \"status\": 503, \"count\": 2}]"
	cleaned 'the release of a floating address is answered 503, twice' cleanup 0
}

# bats test_tags=fault
@test "a release is refused: cleanup says so, exit 2; sweep exits 3, and releases it later" {
	prepared
	cloud knobs "[{$RELEASE, \"status\": 403, \"message\": \"policy\"}]"
	run -2 novajob cleanup
	assert_output --partial 'release floating address'
	assert_output --partial 'openstack floating ip list --long'
	echo "$output" >"$P"
	no_server_of "$JOB_ID"
	some_left
	assert_equal "$(record | jq -r .phase)" deleting
	run -3 novajob sweep
	assert_output --partial 'still there floating ip'
	cloud knobs '[]'
	run -0 novajob sweep
	assert_line --regexp '^delete floating ip [0-9a-f-]{36} \([0-9.]+\): its job was cleaned up$'
	none_left
	fault_row 'the release of a floating address is refused; sweep does it later' cleanup 2 "$P"
}

# bats test_tags=fault
@test "504, and the address appears when cleanup has looked for it: sweep releases it at once" {
	cloud knobs "[{$POST, \"then_status\": 504, \"late\": 30, \"count\": 1}]"
	before=$(creates)
	begin_prepare
	wait_for 30 more_creates_than "$before"
	began=$EPOCHSECONDS
	kill -TERM "$PREPARE"
	ended "$PREPARE" 2
	run -0 novajob cleanup
	((EPOCHSECONDS - began >= 13)) # it looked for as long as it promises
	assert_equal "$(record | jq -r .phase)" lost
	none_left
	wait_for 60 some_left
	run -0 novajob sweep
	assert_output --partial 'its job was cleaned up'
	none_left
	fault_row 'the allocation is answered 504, and the address appears when cleanup has looked for it' sweep 0 "$P"
}

# ---- cancelled and killed

# at STEP: the rule that makes it last.
at() {
	case $1 in
	allocate) echo "{$POST, \"delay\": 3, \"count\": 1}" ;;
	allocated) echo "{$POST, \"hang\": \"after\", \"count\": 1}" ;;
	attach) echo "{$ATTACH, \"delay\": 3, \"count\": 1}" ;;
	attached) echo "{$ATTACH, \"hang\": \"after\", \"count\": 1}" ;;
	quota) echo '{"quota": {"floatingip": 0}}' ;;
	login) echo '{"match": "-job-'"$JOB_ID"'$", "no_sshd": true}' ;;
	esac
}

attached() {
	[[ $(addresses | cut -d' ' -f3) == ?*-* ]]
}

# reached STEP: prepare is there.
reached() {
	case $1 in
	allocate) wait_for 30 eval '[[ $(record 2>/dev/null | jq .floating_at) -gt 0 ]]' ;;
	allocated | attach) wait_for 30 some_left ;;
	attached) wait_for 30 attached ;;
	quota) wait_for 30 grep -q 'waiting for a floating' "$P" ;;
	login) wait_for 30 grep -q 'logging in' "$P" ;;
	esac
}

declare -gA STEPS=(
	[allocate]='while a floating address is asked for' [allocated]='while an accepted allocation is not answered'
	[attach]='before the floating address is attached' [attached]='while an accepted attachment is not answered'
	[quota]='while it waits for a floating address' [login]='when the floating address is attached'
)

# bats test_tags=fault
@test "cancelled at each step: nothing is left, and cleanup is quiet" {
	local step
	set_to busy-timeout 60
	for step in "${!STEPS[@]}"; do
		cloud knobs "[$(at "$step")]"
		begin_prepare
		reached "$step"
		kill -TERM "$PREPARE"
		ended "$PREPARE" 2
		cloud knobs '[]'
		[[ $step == allocated ]] || none_left || fail "prepare, cancelled at $step, has left $(addresses)"
		cleaned "prepare is cancelled ${STEPS[$step]}" prepare 2
		JOB_ID=$((JOB_ID + 1))
	done
}

# bats test_tags=fault
@test "killed at each step: cleanup leaves nothing" {
	local step
	set_to busy-timeout 60
	for step in "${!STEPS[@]}"; do
		cloud knobs "[$(at "$step")]"
		begin_prepare
		reached "$step"
		kill -KILL "$PREPARE"
		ended "$PREPARE" 137
		cloud knobs '[]'
		cleaned "novajob is killed ${STEPS[$step]}" cleanup 0
		JOB_ID=$((JOB_ID + 1))
	done
}

# bats test_tags=fault
@test "killed after the attachment, then prepared again: the second try has the only address" {
	cloud knobs "[$(at login)]"
	begin_prepare
	reached login
	kill -KILL "$PREPARE"
	ended "$PREPARE" 137
	cloud knobs '[]'
	prepared
	assert_equal "$(addresses | wc -l)" 1
	addresses | grep -q ":$(record | jq -r .try):"
	cleaned 'novajob is killed with a floating address attached, and prepare is run again' prepare 0
}

# bats test_tags=fault
@test "cleanup while prepare is allocating: both leave nothing" {
	cloud knobs "[$(at allocate)]"
	begin_prepare
	reached allocate
	run -0 novajob cleanup
	assert_output ''
	ended "$PREPARE" 2
	none_left
	cleaned 'cleanup while prepare still waits for the answer to its allocation of a floating address' prepare 2
}

# ---- sweep

@test "sweep: by the rules of servers, never what is not its own" {
	local now ours young ready live other odd foreign
	now=$(date +%s)
	ours=$(plant "novajob:$OWNER:a-1:0123456789abcdef:$((now - 7 * 3600))")
	young=$(plant "novajob:$OWNER:a-2:0123456789abcdef:$((now - 5 * 3600))")
	odd=$(plant "novajob:$OWNER:what is this")
	other=$(plant "novajob:${OWNER}x:a-1:0123456789abcdef:1000")
	foreign=$(plant 'somebody needs this')
	mkdir -p "$STATE/jobs/a-3" "$STATE/jobs/a-4"
	chmod 700 "$STATE" "$STATE"/jobs "$STATE"/jobs/*
	echo '{"version":1,"phase":"ready","try":"0123456789abcdef","expires":'$((now + 60))',"addresses":[]}' >"$STATE/jobs/a-3/record.json"
	echo '{"version":1,"phase":"deleted","try":"0123456789abcdef","expires":'$((now - 60))',"addresses":[]}' >"$STATE/jobs/a-4/record.json"
	live=$(plant "novajob:$OWNER:a-3:0123456789abcdef:$((now + 60))")
	ready=$(plant "novajob:$OWNER:a-4:0123456789abcdef:$((now + 60))")
	run -0 novajob sweep --dry-run
	assert_line --partial "would delete floating ip $ours"
	assert_equal "$(addresses | wc -l)" 5
	run -0 novajob sweep
	assert_line --partial "delete floating ip $ours"
	assert_line --partial "keep floating ip $young"
	assert_line --partial "keep floating ip $odd"
	assert_line --partial "keep floating ip $live"
	assert_line --partial "delete floating ip $ready"
	refute_output --partial "$other"
	refute_output --partial "$foreign"
	run -0 addresses
	refute_output --partial "$ours"
	assert_output --partial "$young"
	/usr/bin/openstack floating ip show "$other" -c id
	/usr/bin/openstack floating ip show "$foreign" -c id
	run -0 novajob sweep --json
	run -0 jq -r 'select(.object == "floating ip") | .action' <<<"$output"
	assert_output $'keep\nkeep\nkeep'
	/usr/bin/openstack floating ip delete "$young" "$odd" "$other" "$foreign" "$live"
}

@test "sweep finds the addresses of a host that has lost its state and its settings, its records wait for that" {
	local id key=11111111-2222-3333-4444-555555555555-$JOB_ID
	sed -i /^floating-network/d "$SETTINGS"
	id=$(plant "novajob:$OWNER:$key:0123456789abcdef:1000")
	mkdir -p "$STATE/jobs/$key"
	chmod 700 "$STATE" "$STATE/jobs" "$STATE/jobs/$key"
	echo '{"version":1,"phase":"lost","try":"0123456789abcdef","expires":1000,"addresses":[]}' >"$STATE/jobs/$key/record.json"
	cloud knobs "[{$RELEASE, \"status\": 503}]"
	run -3 novajob sweep
	assert_line --partial "still there floating ip $id"
	refute_output --partial 'forget record'
	cloud knobs '[]'
	rm -r "$STATE/jobs"
	run -0 novajob sweep
	assert_line --regexp "^delete floating ip $id .* past its expiry"
	none_left
}

@test "a cloud that has no floating addresses: sweep minds it only if they are wanted" {
	cloud knobs "[{\"request\": \"GET /network/v2.0/floatingips$\", \"status\": 404, \"message\": \"The resource could not be found.\"}]"
	run -2 novajob sweep
	assert_output --partial 'list floating addresses'
	sed -i /^floating-network/d "$SETTINGS"
	run -0 novajob sweep
	assert_output ''
}

@test "sweep keeps the address of a server that it keeps, though a host whose clock lags has described it" {
	stage_env
	FAKETIME_DONT_FAKE_MONOTONIC=1 faketime -f -20h "$NOVAJOB" --settings="$SETTINGS" prepare
	set_to state-dir "$BATS_TEST_TMPDIR/other-host"
	run -0 novajob sweep
	assert_line --regexp '^keep server '
	assert_line --regexp '^keep floating ip .*: its server is kept$'
	some_left
	set_to state-dir "$STATE"
	novajob cleanup
	none_left
}

@test "cleanup without a record finds an address that only a flag had asked for" {
	sed -i /floating-network/d "$SETTINGS"
	stage_env
	novajob --floating-network=public prepare
	rm -r "$STATE/jobs"
	run -0 novajob cleanup
	none_left
}
