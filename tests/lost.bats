#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# lost.bats - the server, or the way to it, is lost in mid-script: noticed within alive-timeout, told apart, a system
# failure, and the stages behind it fail at once. Each way is tried with a script that is silent and one that prints.

load lib
with_cloud

setup() {
	NS=
	ready
}

teardown() {
	tail -n 5 "$T"/*.err "$LOG" >&2 2>/dev/null || : # shown when the test failed
	[[ -z $NS ]] || net_down
}

ready() {
	novajob_setup
	T=$BATS_TEST_TMPDIR
	set_to alive-timeout 6
	silent_id=$JOB_ID printing_id=$((JOB_ID + 1))
}

# as silent|printing: the stages that follow are this job's.
as() {
	local id=${1}_id
	KIND=$1 ID=${!id} OUT=$T/$1.out ERR=$T/$1.err
	export JOB_RESPONSE_FILE=$T/$1.json BUILD_EXIT_CODE_FILE=$T/$1.code
	export BUILD_FAILURE_EXIT_CODE=1 SYSTEM_FAILURE_EXIT_CODE=2
	[[ -e $JOB_RESPONSE_FILE ]] || response "$ID" >"$JOB_RESPONSE_FILE"
}

# A server for $KIND's job, whose stages note in $T/KIND.ssh and $T/KIND.openstack when they start which program.
prepare() {
	local program
	for program in ssh openstack; do
		printf '#!/bin/bash\necho "$EPOCHREALTIME" >>%s\nexec %s "$@"\n' "$T/$KIND.$program" "$program" >"$T/note-$KIND-$program"
		chmod 755 "$T/note-$KIND-$program"
	done
	novajob --ssh="$T/note-$KIND-ssh" --openstack="$T/note-$KIND-openstack" prepare 2>"$T/$KIND.prepare" 3>&-
}

server_of() {
	cloud servers | sed -n "s/^\([^ ]*\) [^ ]*-job-$1 .*/\1/p"
}

# begin LINE...: the script of these lines runs in $KIND's server; its wrapper's process id is in $WRAPPER.
begin() {
	printf '%s\n' "echo \$PPID >$T/$KIND.pid" 'echo begun' "$@" >"$T/$KIND.script"
	: >"$OUT"
	: >"$T/$KIND.openstack"
	{
		local status=0
		novajob run "$T/$KIND.script" build_script >"$OUT" 2>"$ERR" || status=$?
		echo "$status $EPOCHREALTIME" >"$T/$KIND.end"
	} 3>&- &
	started
	wait_for 30 grep -qx begun "$OUT"
	WRAPPER=$(<"$T/$KIND.pid") SERVER=$(server_of "$ID")
}

# both: a silent job and one that prints, in mid-script. Ids of their servers and wrappers in $SERVERS and $WRAPPERS.
both() {
	local kind
	SERVERS=() WRAPPERS=()
	for kind in silent printing; do
		as $kind
		prepare &
		started
	done
	wait_started
	as silent
	begin "(trap '' TERM; while :; do sleep 0.1; done) &" 'sleep 300'
	SERVERS+=("$SERVER") WRAPPERS+=("$WRAPPER")
	as printing
	begin 'while :; do echo more; sleep 0.05; done'
	SERVERS+=("$SERVER") WRAPPERS+=("$WRAPPER")
	AT=$EPOCHREALTIME
}

# ended STATUS SECONDS: $KIND's script ends so. When it ended without the cloud being asked, or when the cloud began to be
# asked, was at most so long after $AT; the look itself has 20 s.
ended() {
	local status at seen
	wait_for $(($2 + 25)) test -s "$T/$KIND.end"
	read -r status at <"$T/$KIND.end"
	seen=$(head -1 "$T/$KIND.openstack")
	seen=${seen:-$at}
	seen=$(((${seen/./} - ${AT/./}) / 1000)) at=$(((${at/./} - ${AT/./}) / 1000))
	echo "$BATS_TEST_DESCRIPTION: $KIND: noticed after $seen ms, ended after $at ms"
	assert_equal "$status" "$1"
	((seen <= $2 * 1000)) || fail "noticed after $seen ms"
	((at <= ($2 + 22) * 1000)) || fail "ended after $at ms"
}

# Later stages fail in a second, and neither cloud nor ssh is asked.
later_fail() {
	local before
	before=$(cat "$T/$KIND".{ssh,openstack} | wc -l)
	run -2 timeout 1 "$NOVAJOB" --settings="$SETTINGS" run "$T/$KIND.script" after_script
	assert_output --partial 'after_script is not run: the server was lost before'
	assert_equal "$(cat "$T/$KIND".{ssh,openstack} | wc -l)" "$before"
	assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
}

# is_lost SECONDS REGEX: $KIND's script is lost, noticed within SECONDS from $AT, and the message says REGEX.
is_lost() {
	ended 2 "$1"
	run -0 grep -E "^novajob: error: build_script: the connection to server .* was lost: $2" "$ERR"
	assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
	later_fail
	novajob cleanup
}

# both_lost SECONDS REGEX WHAT: both are, and WHAT is a row of novajob-faults(7) for each.
both_lost() {
	local kind
	for kind in silent printing; do
		as $kind
		is_lost "$1" "$2"
	done
	as silent
	fault_row "$3, the script is silent" run 2 "$ERR" "$ID"
	as printing
	fault_row "$3, the script prints" run 2 "$ERR" "$ID"
}

parent_of() {
	ps -o ppid= -p "$1" | tr -d ' '
}

# ---- sshd

# bats test_tags=fault
@test "sshd's process of the connection is killed" {
	both
	kill -KILL "$(parent_of "${WRAPPERS[0]}")" "$(parent_of "${WRAPPERS[1]}")"
	both_lost 8 'the cloud says ACTIVE: its sshd ended the connection' 'the sshd of the connection is killed in mid-script'
}

# bats test_tags=fault
@test "all of sshd is killed" {
	local server
	both
	for server in "${SERVERS[@]}"; do pkill -KILL -f "^(sshd: )?/usr/sbin/sshd.*/servers/$server/"; done
	kill -KILL "$(parent_of "${WRAPPERS[0]}")" "$(parent_of "${WRAPPERS[1]}")"
	both_lost 8 'the cloud says ACTIVE: its sshd ended the connection' 'all of sshd is killed in mid-script'
}

# ---- the server

# bats test_tags=fault
@test "the host of the server crashes" {
	both
	cloud kill "${SERVERS[@]}"
	both_lost 8 'the cloud says SHUTOFF' 'the server crashes in mid-script'
}

# bats test_tags=fault
@test "the server is shut down in order: TERM to the script first" {
	local kind
	both
	openstack server stop "${SERVERS[@]}"
	both_lost 15 'the cloud says (SHUTOFF|ACTIVE, powering-off)' 'the server is shut down in order in mid-script'
}

# bats test_tags=fault
@test "the server is deleted" {
	both
	openstack server delete "${SERVERS[@]}"
	both_lost 15 '(it is gone: somebody deleted it|the cloud says ACTIVE, deleting)' 'the server is deleted in mid-script'
}

# bats test_tags=fault
@test "the server vanishes" {
	both
	cloud lose "${SERVERS[@]}"
	both_lost 8 'it is gone: somebody deleted it' 'the server vanishes in mid-script'
}

# bats test_tags=fault
@test "the server is rebooted, in order and hard" {
	both
	cloud knobs '[{"match": "-job-'"$silent_id"'$", "shutdown": 30}]' # nor do real ones reboot within a second
	openstack server reboot "${SERVERS[0]}"
	as silent
	is_lost 15 'the cloud says ACTIVE, rebooting'
	AT=$EPOCHREALTIME
	openstack server reboot --hard "${SERVERS[1]}"
	as printing
	is_lost 15 'the cloud says ACTIVE' # it may be up again by then
	as silent
	fault_row 'the server is rebooted in order in mid-script' run 2 "$ERR" "$ID"
	as printing
	fault_row 'the server is rebooted hard in mid-script' run 2 "$ERR" "$ID"
}

# bats test_tags=fault
@test "the server freezes: noticed within alive-timeout" {
	both
	cloud freeze "${SERVERS[@]}"
	AT=$EPOCHREALTIME
	both_lost 8 'the cloud says ACTIVE, but it does not answer' 'the server freezes in mid-script'
}

@test "the server is gone between two stages" {
	as silent
	prepare
	cloud lose "$(server_of "$ID")"
	AT=$EPOCHREALTIME
	echo : >"$T/silent.script"
	run -2 timeout 45 "$NOVAJOB" --settings="$SETTINGS" run "$T/silent.script" build_script
	assert_output --regexp 'error: .*was lost: it is gone'
	later_fail
}

# ---- what the script says when the server goes down

@test "a server that is being shut down: whatever the script makes of TERM, it is not its failure" {
	local code line
	as silent
	cloud knobs '[{"match": "-job-'"$ID"'$", "shutdown": 30}]'
	prepare
	# one process stays, so that the server is not down yet when the script's end is told
	begin "setsid bash -c \"trap '' TERM; while :; do sleep 0.1; done\" &" \
		"trap 'exit 0' TERM" 'while :; do sleep 0.1; done'
	openstack server stop "$SERVER"
	AT=$EPOCHREALTIME
	is_lost 15 'the cloud says ACTIVE, powering-off'
	fault_row 'the server is being shut down, and the script ends with 0 at TERM' run 2 "$ERR" "$ID"
}

@test "137 and 143 with the server on its way out are not the script's; other codes are" {
	local code
	as silent
	cloud knobs '[{"match": "-job-'"$ID"'$", "delete_delay": 60}]'
	prepare
	openstack server delete "$(server_of "$ID")"
	begin 'exit 3'
	AT=$EPOCHREALTIME
	ended 1 5
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 3
	for code in KILL TERM; do
		rm "$T/silent.end"
		begin "kill -$code \$\$"
		AT=$EPOCHREALTIME
		ended 2 15
		run -0 grep -E 'was lost: the cloud says ACTIVE, deleting' "$ERR"
		assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
		later_fail
		jq 'del(.lost)' "$STATE"/jobs/*/record.json >"$T/record"
		cat "$T/record" >"$(echo "$STATE"/jobs/*/record.json)"
	done
	cloud lose "$SERVER"
	novajob cleanup
}

@test "a script that kills its shell, or its group, has its own code when the server lives" {
	local n=0 line code
	as silent
	prepare
	while read -r code line; do
		rm -f "$T/silent.end"
		before=$(cloud requests 'GET /compute.*servers/detail' | wc -l)
		begin "$line"
		AT=$EPOCHREALTIME
		ended $((code > 0)) 15
		((code == 0)) || assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" "$code"
		(($(cloud requests 'GET /compute.*servers/detail' | wc -l) > before)) || fail "the cloud was not asked: $line"
	done <<-'END'
		137 kill -KILL $$
		143 kill -TERM $$
		3 trap "exit 3" TERM; kill -TERM 0; sleep 10
		0 trap "exit 0" TERM; kill -TERM 0; sleep 10
	END
	novajob cleanup
	assert_file_empty "$ERR"
}

# bats test_tags=fault
@test "137, and the cloud cannot be asked: the script's code stands, in bounded time" {
	as silent
	prepare
	cloud knobs '[{"request": "GET /compute", "hang": true}]'
	begin 'kill -KILL $$'
	AT=$EPOCHREALTIME
	ended 1 25
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 137
	run -0 grep 'warning: nobody can tell whether the server was shut down under the script: the cloud could not be asked' "$ERR"
	cloud knobs '[]'
	novajob cleanup
	fault_row 'the shell of the script is killed, and the cloud does not answer' run 1 "$ERR" "$ID"
}

@test "TERM while the cloud is asked about a 137: ended at once, and no code" {
	as silent
	prepare
	cloud knobs '[{"request": "GET /compute", "hang": true}]'
	echo 'kill -KILL $$' >"$T/silent.script"
	"$NOVAJOB" --settings="$SETTINGS" run "$T/silent.script" build_script >"$OUT" 2>"$ERR" 3>&- &
	local pid=$!
	wait_for 20 pgrep -P $pid -f openstack
	AT=$EPOCHREALTIME
	kill -TERM $pid
	local status=0
	wait $pid || status=$?
	assert_equal $status 2
	((${EPOCHREALTIME/./} - ${AT/./} < 3000000))
	assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
	cloud knobs '[]'
	novajob cleanup
	assert_equal "$(left_processes)" ''
}

@test "the look at a lost server does not wait for prepares that hold all other client slots" {
	set_to client-slots 2
	as silent
	prepare
	begin 'sleep 300'
	exec 8>"$STATE/slots/1"
	flock -n 8
	cloud kill "$SERVER"
	AT=$EPOCHREALTIME
	is_lost 8 'the cloud says SHUTOFF'
	exec 8>&-
}

# ---- whole jobs

# bats test_tags=fault
@test "a job whose server is lost: a system failure for the runner, no after_script, nothing left" {
	job --script-line 'echo begun; sleep 300' --after-script-line 'echo after' 3>&- &
	started
	wait_for 60 grep -qsx begun "$LOG"
	cloud kill "$(server_of "$JOB_ID")"
	wait_for 60 test -s "$RESULT"
	wait_started
	run -0 jq -r .failure_reason "$RESULT"
	assert_output runner_system_failure
	run ! grep -qx after "$LOG"
	run -0 grep -E 'error: build_script: .* was lost: the cloud says SHUTOFF' "$LOG"
	fault_row 'the server crashes in the script of a whole job' run 2 "$LOG"
}

# ---- the way to the server

# The test's own network, with its own cloud in it: packets of ssh can be dropped there without anybody's harm.
net_up() {
	((EUID == 0)) || skip 'only root can drop packets'
	unshare -n sleep infinity 3>&- &
	NS=$!
	wait_for 5 bash -c "[[ \$(readlink /proc/$NS/ns/net) != \$(readlink /proc/self/ns/net) ]]" &&
		inside ip link set lo up && inside nft add table ip lost &&
		inside nft 'add chain ip lost in { type filter hook input priority 0; }' ||
		skip 'no network namespace, or no nftables in it'
	CLOUD=$BATS_TEST_TMPDIR/cloud
	cloud() { # as lib's
		local command=$1
		shift
		inside "$TESTS/cloud/cloud" "$command" "$CLOUD" "$@"
	}
	inside "$TESTS/cloud/cloud" start "$CLOUD" >/dev/null 3>&-
	printf '#!/bin/sh\nexec nsenter --net=/proc/%s/ns/net %s "$@"\n' "$NS" "$(realpath "$NOVAJOB")" >"$BATS_TEST_TMPDIR/novajob"
	chmod 755 "$BATS_TEST_TMPDIR/novajob"
	NOVAJOB=$BATS_TEST_TMPDIR/novajob
	ready
}

net_down() {
	[[ $CLOUD != "$BATS_TEST_TMPDIR"/* ]] || "$TESTS/cloud/cloud" stop "$CLOUD"
	kill -KILL "$NS" 2>/dev/null || :
}

inside() {
	nsenter --net="/proc/$NS/ns/net" "$@"
}

drop() {
	local port
	port=$(<"$CLOUD/ssh-port")
	inside nft "add rule ip lost in tcp dport $port drop; add rule ip lost in tcp sport $port drop"
	AT=$EPOCHREALTIME
}

# bats test_tags=fault
@test "packets to the server are dropped: noticed within alive-timeout" {
	net_up
	both
	drop
	both_lost 8 'the cloud says ACTIVE, but it does not answer' 'packets to the server are dropped in mid-script'
}

# Nothing has come for a second and a half.
still() {
	local size
	size=$(stat -c %s "$OUT")
	sleep 1.5 # that nothing comes takes time to see
	(($(stat -c %s "$OUT") == size))
}

@test "packets are dropped, and pass again before alive-timeout: the script goes on, no output is lost" {
	net_up
	set_to alive-timeout 30
	as printing
	prepare
	begin "i=0; until [[ -e $T/stop ]]; do echo \$((i++)); sleep 0.01; done; echo last \$i; exit 7"
	drop
	wait_for 10 still
	inside nft flush chain ip lost in
	size=$(stat -c %s "$OUT")
	wait_for 20 bash -c "((\$(stat -c %s $OUT) > $size))"
	: >"$T/stop"
	AT=$EPOCHREALTIME
	ended 1 20
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 7
	local last
	last=$(sed -n 's/^last //p' "$OUT")
	{ echo begun; seq 0 $((last - 1)); echo "last $last"; } | cmp - "$OUT"
	novajob cleanup
	assert_equal "$(servers_of "$ID")" 0
	assert_equal "$(left_processes)" ''
}

# ---- alive-timeout

@test "ssh gives up a silent connection within alive-timeout, whatever that is" {
	local seconds interval count dead
	as silent
	prepare
	printf '#!/bin/sh\nprintf "%%s\\n" "$@" >%s\nexit 255\n' "$T/argv" >"$T/note-silent-ssh"
	echo : >"$T/silent.script"
	cp "$(echo "$STATE"/jobs/*/record.json)" "$T/record"
	for seconds in 3 4 6 7 11 60 61 119 3600; do
		jq '.settings.settings["alive-timeout"] = "'$seconds'"' "$T/record" >"$(echo "$STATE"/jobs/*/record.json)"
		run -2 novajob run "$T/silent.script" build_script
		interval=$(sed -n 's/^ServerAliveInterval=//p' "$T/argv")
		count=$(sed -n 's/^ServerAliveCountMax=//p' "$T/argv")
		dead=$((interval * (count + 1))) # a question per interval; dead at the next but one without an answer
		echo "$seconds: $interval x ($count + 1)"
		((dead <= seconds && dead * 10 >= seconds * 9 && interval >= 1 && count >= 2)) || fail "$dead of $seconds s"
	done
	novajob cleanup
}
