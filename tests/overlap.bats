#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# overlap.bats - whole jobs that do not end as they should (contract.md §7, §8): cancelled in each stage, the runner killed
# or gone, stages that overlap, tries that find what another one has left. No server and no process is left.

load lib
with_cloud

setup() {
	novajob_setup
	T=$BATS_TEST_TMPDIR
}

teardown() {
	cloud knobs '[]'
	tail -n 8 "$T"/*.log >&2 2>/dev/null || : # shown when the test failed
}

# play N [RUNNER OPTION...]: job $JOB_ID + N in the background; its log, runner's log, result and exit code are $T/N.*.
play() {
	local n=$1
	shift
	(
		status=0
		LOG=$T/$n.log RESULT=$T/$n.result RUNNER_LOG=$T/$n.runner JOB_ID=$((JOB_ID + n))
		job "$@" || status=$?
		echo "$status" >"$T/$n.status"
	) 3>&- &
	started
}

# over N STATUS STAGES: the job ended with STATUS, after these stages; nothing of it is left, and cleanup had nothing to say.
over() {
	assert_equal "$1: $(<"$T/$1.status")" "$1: $2"
	assert_equal "$1: $(jq -r '[.stages[].stage] | join(",")' "$T/$1.result")" "$1: $3"
	assert_equal "$1: $(servers_of $((JOB_ID + $1)))" "$1: 0"
	assert_file_empty "$T/$1.runner"
}

# exit_of N STAGE: its exit code; -15 for a signal.
exit_of() {
	jq -r --arg s "$2" '[.stages[] | select(.stage == $s)][-1] | if .signaled then -.signal else .exit end' "$T/$1.result"
}

# row WHAT STAGE STATUS N
row() {
	fault_row "$1" "$2" "$3" "$T/$4.log" $((JOB_ID + $4))
}

nothing_runs() {
	wait_for "${1:-5}" nobody || fail "$(left_processes; left_children)"
}

nobody() {
	[[ -z $(left_processes)$(left_children) ]]
}

# Children get a clean environment, without TMPDIR: they are known by this test's HOME.
left_children() {
	local p
	for p in $(pgrep -x 'ssh|openstack'); do
		! grep -qsz "^HOME=$HOME$" "/proc/$p/environ" || echo "$p $(tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline")"
	done
}

record_of() {
	echo "$STATE"/jobs/*-"$1"/record.json
}

# phase_of ID PHASE
phase_of() {
	[[ $(jq -r .phase "$(record_of "$1")") == "$2" ]]
}

server_of() {
	cloud servers | sed -n "s/^\([^ ]*\) [^ ]*-job-$1 .*/\1/p"
}

# Processes of commands in a server: all that carry its name, but not its sshd.
in_server() {
	local p
	for p in $(grep -lsz "^NOVASIM_SERVER=$1" /proc/[0-9]*/environ | cut -d/ -f3); do
		[[ $(cat "/proc/$p/comm" 2>/dev/null) == sshd || $(ps -o stat= -p "$p") == Z* ]] || echo "$p"
	done
}

empty_server() {
	[[ -z $(in_server "$1") ]]
}

# ---- cancelled

@test "a cancel in config or prepare: no other try, cleanup alone follows" {
	local n
	cloud knobs '[{"match": "-job-'$((JOB_ID + 3))'$", "spawn_delay": 60}, {"match": "-job-'$((JOB_ID + 4))'$", "no_sshd": true}]'
	play 1 --script-line true --cancel-at config
	play 2 --script-line true --cancel-at 'prepare@creating server'
	play 3 --script-line true --cancel-at 'prepare@waiting for ACTIVE'
	play 4 --script-line true --cancel-at 'prepare@logging in as'
	wait_started
	over 1 101 config,cleanup
	[[ $(exit_of 1 config) == @(0|2|-15) ]] || fail "config: $(exit_of 1 config)"
	for n in 2 3 4; do
		over $n 101 config,prepare,cleanup
		assert_equal "$n: $(exit_of $n prepare)" "$n: 2"
		assert_equal "$(jq -r '.unfired | length' "$T/$n.result")" 0
	done
	nothing_runs
}

@test "a cancel in get_sources ends it, and the job; one in after_script lets that end; a forced one, and a time-out, do not" {
	printf '%s\n' 'trap "" TERM' 'echo begun' 'sleep 300 & wait' 'while :; do sleep 0.1; done' >"$T/hang"
	play 1 --raw-script "get_sources=$T/hang" --script-line 'echo script' --after-script-line 'echo after' --cancel-at get_sources@begun
	play 2 --script-line 'echo script' --after-script-line 'echo after; sleep 1; echo to its end' --cancel-at after_script@after
	play 3 --script-line 'echo script' --after-script-line 'echo after; sleep 300' --force-cancel-at after_script@after
	# so long that prepare is over by then, on a busy host too
	play 4 --script-line 'echo begun; sleep 300' --after-script-line 'echo after' --timeout 35
	wait_started
	over 1 101 config,prepare,prepare_script,get_sources,cleanup
	assert_equal "$(exit_of 1 get_sources)" 2
	over 2 101 config,prepare,prepare_script,get_sources,build_script,after_script,cleanup_file_variables,cleanup
	assert_equal "$(exit_of 2 after_script)" 0
	grep -qx 'to its end' "$T/2.log"
	over 3 101 config,prepare,prepare_script,get_sources,build_script,after_script,cleanup
	assert_equal "$(exit_of 3 after_script)" 2
	over 4 102 config,prepare,prepare_script,get_sources,build_script,cleanup
	assert_equal "$(exit_of 4 build_script)" 2
	nothing_runs
}

# bats test_tags=fault
@test "a second TERM, and more of them, change nothing: prepare and cleanup do what the first one asked" {
	local pid log=$T/1.log
	stage_env
	cloud knobs '[{"match": "-job-'"$JOB_ID"'$", "spawn_delay": 60}, {"request": "DELETE /compute", "delay": 2}]'
	"$NOVAJOB" --settings="$SETTINGS" prepare >"$log" 2>&1 3>&- &
	pid=$!
	wait_for 30 grep -q 'waiting for ACTIVE' "$log"
	many_terms "$pid"
	assert_equal "$status" 2
	assert_equal "$(servers_of "$JOB_ID")" 0
	phase_of "$JOB_ID" deleted
	novajob cleanup
	fault_row 'a cancel, and more of them while the server is deleted' prepare 2 "$log"
	cloud knobs '[{"request": "DELETE /compute", "delay": 2}]'
	prepared
	"$NOVAJOB" --settings="$SETTINGS" cleanup >"$log" 2>&1 3>&- &
	pid=$!
	wait_for 30 phase_of "$JOB_ID" deleting
	many_terms "$pid"
	assert_equal "$status" 2
	assert_equal "$(servers_of "$JOB_ID")" 0
	nothing_runs
}

# many_terms PID: as fast as it goes, until it has ended; $status is how.
many_terms() {
	local until=$((SECONDS + 30))
	while kill -TERM "$1" 2>/dev/null && ((SECONDS < until)); do sleep 0.05; done
	status=0
	wait "$1" || status=$?
}

# ---- the runner is gone

# bats test_tags=fault
@test "the runner is killed while prepare is at work: prepare undoes its server, for nobody will" {
	cloud knobs '[{"match": "-job-'$((JOB_ID + 1))'$", "spawn_delay": 60}, {"match": "-job-'$((JOB_ID + 2))'$", "no_sshd": true}]'
	play 1 --script-line true --die-at 'prepare@waiting for ACTIVE'
	play 2 --script-line true --die-at 'prepare@logging in as'
	wait_started
	assert_equal "$(cat "$T"/[12].status)" $'137\n137'
	nothing_runs 30
	no_server_of $((JOB_ID + 1))
	no_server_of $((JOB_ID + 2))
	phase_of $((JOB_ID + 1)) deleted
	# the same by hand: how it ends
	local reader pid status=0
	stage_env
	cloud knobs '[{"match": "-job-'"$JOB_ID"'$", "spawn_delay": 60}]'
	mkfifo "$T/pipe"
	cat "$T/pipe" >"$T/0.log" 3>&- &
	reader=$!
	"$NOVAJOB" --settings="$SETTINGS" prepare 2>"$T/pipe" 3>&- &
	pid=$!
	wait_for 30 grep -q 'waiting for ACTIVE' "$T/0.log"
	kill "$reader"
	wait "$pid" || status=$?
	assert_equal "$status" 2
	row 'the runner is killed while the server is built' prepare 2 0
}

# bats test_tags=fault
@test "the runner is killed in the script: that is ended, and sweep deletes the server when its time is over" {
	local id server
	play 1 --script-line 'echo begun; (trap "" TERM; while :; do sleep 0.1; done) & sleep 300' --die-at build_script@begun
	wait_started
	id=$((JOB_ID + 1)) server=$(server_of $((JOB_ID + 1)))
	assert_equal "$(<"$T/1.status")" 137
	wait_for 30 nobody_left # but the shared connection
	wait_for 5 empty_server "$server"
	run -0 novajob sweep
	assert_line --regexp "keep server $server .*its job may be running"
	jq '.expires = 1000' "$(record_of "$id")" >"$T/record"
	cat "$T/record" >"$(record_of "$id")"
	run -0 novajob sweep # by the later of both ends: the server's own
	assert_line --regexp "keep server $server "
	openstack server set --property novajob:life=1 "$server"
	wait_for 10 swept "$server"
	nothing_runs
	row 'the runner is killed in the script, and the time of the job ends' sweep 0 1
}

swept() {
	novajob sweep | grep -q "^delete server $1 .*its job's deadline is over"
}

@test "the runner goes before cleanup has ended, its pipes closed: cleanup deletes the server all the same" {
	cloud knobs '[{"request": "DELETE /compute", "server": "-job-'$((JOB_ID + 1))'$", "status": 503, "count": 2},
		{"request": "DELETE /compute", "server": "-job-'$((JOB_ID + 2))'$", "delay": 5, "count": 1},
		{"request": "DELETE /compute", "server": "-job-'$((JOB_ID + 2))'$", "then_status": 503, "count": 1}]'
	play 1 --script-line true --die-at cleanup
	play 2 --script-line 'echo begun; sleep 300' --shutdown-at build_script@begun --shutdown-timeout 4
	wait_started
	assert_equal "$(cat "$T"/[12].status)" $'137\n100'
	assert_equal "$(jq -r .status "$T"/[12].result)" $'running\nrunning' # nobody has waited for cleanup
	nothing_runs 60
	no_server_of $((JOB_ID + 1))
	no_server_of $((JOB_ID + 2))
	phase_of $((JOB_ID + 1)) deleted
	phase_of $((JOB_ID + 2)) deleted
}

# ---- stages that overlap

# bats test_tags=fault
@test "cleanup while run still lives: both end, nothing is left" {
	set_to stop-grace 6
	play 1 --script-line 'trap "" TERM; echo begun; while :; do sleep 0.1; done' --force-cancel-at build_script@begun --abandon-after 1
	wait_started
	over 1 101 config,prepare,prepare_script,get_sources,build_script,cleanup
	assert_equal "$(jq -r '.stages[] | select(.stage == "build_script") | .abandoned' "$T/1.result")" true
	assert_equal "$(exit_of 1 build_script)" 2
	nothing_runs
	row 'cleanup begins while run still ends its script' run 2 1
}

# ---- tries

# bats test_tags=fault
@test "tries that are killed, and a cleanup that does not come: the next one deletes what is left, the third one is fine" {
	# the first two are killed while their creates, carried out, are not answered; their cleanups are lost
	cloud knobs '[{"request": "POST /compute/.*/servers$", "server": "-job-'$((JOB_ID + 1))'$", "hang": "after", "count": 2}]'
	cat >"$T/prepare" <<-END
		#!/bin/bash
		echo >>$T/prepares
		n=\$(wc -l <$T/prepares)
		((n <= 2)) || exec "$NOVAJOB" --settings="$SETTINGS" prepare
		"$NOVAJOB" --settings="$SETTINGS" prepare &
		until [[ \$("$TESTS/cloud/cloud" requests "$CLOUD" 'POST /compute/.*/servers hang' | wc -l) == \$n ]]; do sleep 0.1; done
		kill -KILL \$!
		exit 2
	END
	printf '#!/bin/bash\n(($(wc -l <%s) > 2)) || exit 2\nexec "%s" --settings="%s" cleanup\n' "$T/prepares" "$NOVAJOB" "$SETTINGS" >"$T/cleanup"
	chmod 755 "$T/prepare" "$T/cleanup"
	play 1 --script-line 'echo server $NOVASIM_SERVER' --prepare-exec "$T/prepare" --cleanup-exec "$T/cleanup"
	wait_started
	over 1 0 config,prepare,cleanup,config,prepare,cleanup,config,prepare,prepare_script,get_sources,build_script,cleanup_file_variables,cleanup
	assert_equal "$(grep -c 'an earlier try of this job has left something: deleting it first' "$T/1.log")" 2
	assert_equal "$(grep -c '^server [0-9a-f-]*$' "$T/1.log")" 1
	nothing_runs
	row "two tries are killed in their creates, and their cleanups fail" prepare 0 1
}
