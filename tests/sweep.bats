#!/usr/bin/env bats
# sweep.bats - novajob sweep: what it deletes, what it never touches; novajob list beside it.

load lib
with_cloud

setup() {
	novajob_setup
	OWNER=o$JOB_ID # each test sweeps only what is its own
	set_to owner "$OWNER"
}

# server JOB EXPIRES [cloud add OPTION...]: a server of our owner; prints its id.
server() {
	local job=$1 expires=$2
	shift 2
	cloud add --name "gitlab-builder-7-project-42-concurrent-0-job-${job##*-}" --property "novajob:owner=$OWNER" \
		--property "novajob:job=$job" --property "novajob:try=0123456789abcdef" \
		--property "novajob:expires=$expires" "$@"
}

# record KEY PHASE TRY EXPIRES: a record as a stage leaves it.
record() {
	mkdir -p "$STATE/jobs/$1"
	chmod 700 "$STATE" "$STATE/jobs" "$STATE/jobs/$1"
	printf '{"version":1,"phase":"%s","try":"%s","expires":%s,"addresses":[]}\n' "$2" "$3" "$4" >"$STATE/jobs/$1/record.json"
}

# row WHAT STATUS TEXT [STAGE]: a row of novajob-faults(7) with the line of $output that has TEXT.
row() {
	grep -F -- "$3" <<<"$output" | tail -1 | sed '/^novajob: /!s/^/novajob: /' >"$BATS_TEST_TMPDIR/row"
	fault_row "$1" "${4:-sweep}" "$2" "$BATS_TEST_TMPDIR/row"
}

# other_host [NOVAJOB ARG...]: the same on a host of its own, which has the settings but not the records.
other_host() {
	novajob --state-dir="$BATS_TEST_TMPDIR/other-state" "$@"
}

exists() {
	cloud servers | grep -q "^$1 "
}

gone() {
	! exists "$1"
}

# bats test_tags=fault
@test "an expired server without a record goes, after the grace other hosts get" {
	now=$(date +%s)
	old=$(server a-1 $((now - 7 * 3600)))
	young=$(server a-2 $((now - 5 * 3600)))
	run -0 novajob sweep
	assert_line --partial "delete server $old"
	assert_line --partial "keep server $young"
	gone "$old"
	exists "$young"
	row 'a host is lost, and with it what it knew of a server' 0 "$old"
}

@test "nothing without our owner is touched" {
	other=$(server a-1 1000 --property novajob:owner=someone)
	none=$(cloud add --name gitlab-builder-7-project-42-concurrent-0-job-1)
	run -0 novajob sweep
	assert_output ''
	exists "$other"
	exists "$none"
}

# bats test_tags=fault
@test "a server whose record says it is to be gone goes at once" {
	now=$(date +%s)
	for phase in deleting deleted lost; do
		record "a-$phase" "$phase" 0123456789abcdef $((now + 3600))
		id=$(server "a-$phase" $((now + 3600)))
		run -0 novajob sweep
		assert_line --partial "delete server $id"
		gone "$id"
		row "a server is still there though its record says \`$phase'" 0 "$id"
	done
	# of a try before that one, which appeared late
	record a-1 deleted fedcba9876543210 $((now + 3600))
	id=$(server a-1 $((now + 3600)))
	run -0 novajob sweep
	assert_line --partial "delete server $id"
	gone "$id"
	row 'the server of an earlier try appears when the job is over' 0 "$id"
}

# bats test_tags=fault
@test "a live job's server is kept until the job's deadline" {
	now=$(date +%s)
	record a-1 ready 0123456789abcdef $((now + 60))
	record a-2 creating 0123456789abcdef $((now + 60))
	record a-3 ready 0123456789abcdef $((now - 60))
	one=$(server a-1 $((now + 60)))
	two=$(server a-2 $((now + 60)))
	three=$(server a-3 $((now - 60)))
	run -0 novajob sweep
	assert_line --partial "keep server $one"
	assert_line --partial "keep server $two"
	assert_line --partial "delete server $three"
	exists "$one"
	exists "$two"
	gone "$three"
	row 'the runner is killed, and the deadline of its job passes' 0 "$three"
}

@test "the server of an earlier try is left to the cleanup of a running job" {
	now=$(date +%s)
	record a-1 ready fedcba9876543210 $((now + 60))
	record a-2 creating fedcba9876543210 $((now + 60))
	one=$(server a-1 $((now + 60)))
	two=$(server a-2 $((now - 60)))
	run -0 novajob sweep
	assert_line --partial "keep server $one"
	assert_line --partial "delete server $two"
}

# bats test_tags=fault
@test "a server without an expiry is told, not deleted" {
	id=$(cloud add --name gitlab-builder-7-project-42-concurrent-0-job-1 --property "novajob:owner=$OWNER")
	run -0 novajob sweep
	assert_line --partial "novajob:expires"
	exists "$id"
	row 'a server of the owner has no novajob:expires' 0 "$id"
}

# bats test_tags=fault
@test "nothing is judged by time when the clock looks wrong" {
	id=$(server a-1 1000)
	server a-2 99999999999 --created "$(date -u -d '+2 days' +%FT%TZ)"
	run -0 --separate-stderr novajob sweep
	[[ $stderr == *'clock looks wrong'* ]]
	exists "$id"
	output=$stderr row 'a server was created in the future of the host' 0 warning
}

# bats test_tags=fault
@test "a clock ahead of the cloud's: nothing is judged by time; one behind: nothing is deleted too early" {
	cloud knobs '[{"token_life": 3600}]'
	now=$(date +%s)
	id=$(server a-1 $((now + 3600)))
	record a-2 ready 0123456789abcdef $((now + 3600))
	mine=$(server a-2 $((now + 3600)))
	run -0 off +20h sweep
	assert_line --partial 'clock looks wrong'
	exists "$id"
	exists "$mine"
	row 'the clock of the host that sweeps is 20 h ahead' 0 warning
	run -0 off -20h sweep
	exists "$id"
	exists "$mine"
	assert_line --partial 'clock looks wrong' # the servers were created in its future
}

# bats test_tags=fault
@test "a job's host had a wrong clock: its server lives as long as it should, by the cloud's clock" {
	stage_env
	off -2d prepare 2>"$BATS_TEST_TMPDIR/prepare.log"
	id=$(cloud servers | sed -n "s/ .*-job-$JOB_ID .*//p")
	run -0 other_host --sweep-grace=0 sweep
	assert_line --partial "keep server $id"
	run -0 novajob sweep # and itself, when its clock is right again
	assert_line --partial "keep server $id"
	exists "$id"
	novajob cleanup
	fault_row "a job's host has a clock 2 days behind, another one sweeps" prepare 0 "$BATS_TEST_TMPDIR/prepare.log"
	# one that was created 3 h ago for 1 h, by a host 2 days ahead
	now=$(date +%s)
	id=$(server a-1 $((now + 46 * 3600)) --property novajob:life=3600 --created "$(date -u -d '-3 hours' +%FT%TZ)")
	run -0 other_host --sweep-grace=3h sweep
	assert_line --partial "keep server $id"
	run -0 other_host --sweep-grace=1h sweep
	assert_line --partial "delete server $id"
	gone "$id"
	row "a server was made by a host whose clock is 2 days ahead" 0 "$id"
}

# bats test_tags=fault
@test "two hosts, two state directories, one owner: each leaves the other's jobs alone" {
	stage_env
	novajob prepare 2>"$BATS_TEST_TMPDIR/prepare.log"
	mine=$(cloud servers | sed -n "s/ .*-job-$JOB_ID .*//p")
	response $((JOB_ID + 1)) >"$JOB_RESPONSE_FILE"
	other_host prepare 2>"$BATS_TEST_TMPDIR/other.log"
	theirs=$(cloud servers | sed -n "s/ .*-job-$((JOB_ID + 1)) .*//p")
	# even without any grace
	run -0 novajob --sweep-grace=0 sweep
	assert_line --regexp "keep server $mine .*its job may be running"
	assert_line --regexp "keep server $theirs .*another host's"
	run -0 other_host --sweep-grace=0 sweep
	assert_line --regexp "keep server $mine .*another host's"
	assert_line --regexp "keep server $theirs .*its job may be running"
	# another owner does not even see them
	run -0 other_host "--owner=not-$OWNER" sweep
	assert_output ''
	exists "$mine"
	exists "$theirs"
	other_host cleanup
	gone "$theirs"
	exists "$mine"
	response "$JOB_ID" >"$JOB_RESPONSE_FILE"
	novajob cleanup
	fault_row 'another host with the same owner sweeps while a job runs' prepare 0 "$BATS_TEST_TMPDIR/other.log" $((JOB_ID + 1))
	gone "$mine"
}

# bats test_tags=fault
@test "a lost state directory: sweep keeps the running job's server, cleanup deletes it" {
	stage_env
	novajob prepare 2>"$BATS_TEST_TMPDIR/prepare.log"
	id=$(cloud servers | sed -n "s/ .*-job-$JOB_ID .*//p")
	rm -r "$STATE"
	run -0 novajob sweep
	assert_line --regexp "keep server $id .*its record is lost"
	exists "$id"
	run -0 novajob cleanup
	gone "$id"
	fault_row 'the state directory is lost while a job runs' cleanup 0 "$BATS_TEST_TMPDIR/prepare.log"
}

# bats test_tags=fault
@test "a server that resists is told, exit code 3" {
	cloud knobs '[{"match": "job-66$", "delete_fail": "cannot destroy"}]'
	id=$(server a-66 1000)
	run -3 --separate-stderr novajob sweep
	assert_line --partial "$id"
	output=$stderr row 'a server resists its deletion' 3 error
	cloud knobs '[]'
	run -0 novajob sweep
	gone "$id"
}

@test "--dry-run does nothing, --json is one object per line" {
	id=$(server a-1 1000)
	run -0 novajob sweep --dry-run
	assert_line --partial "would delete server $id"
	exists "$id"
	run -0 bash -c '"$NOVAJOB" --settings="$SETTINGS" sweep --json | jq -r .action'
	assert_output delete
	gone "$id"
}

@test "records are forgotten when their time is over and a complete list shows no server" {
	now=$(date +%s)
	record a-1 deleted 0123456789abcdef $((now - 60))
	record a-2 deleted 0123456789abcdef $((now + 60))
	run -0 novajob sweep
	assert_not_exists "$STATE/jobs/a-1"
	assert_exists "$STATE/jobs/a-2"
}

# bats test_tags=fault
@test "a broken record does not make a live job's server a stranger's, and is told" {
	now=$(date +%s)
	record a-1 ready 0123456789abcdef $((now + 60))
	echo '{"version":1,' >"$STATE/jobs/a-1/record.json"
	id=$(server a-1 $((now + 60)))
	run -0 --separate-stderr novajob sweep
	[[ $stderr == *record.json* ]]
	exists "$id"
	output=$stderr row "a live job's record is cut off" 0 warning
}

# bats test_tags=fault
@test "old servers behind 120 others and the list's pages are found" {
	cloud knobs '[{"page": 50}]'
	id=$(server a-1 1000)
	printf -- '--name=gitlab-builder-7-project-42-concurrent-0-job-9%s\n' {1..120} |
		xargs "$TESTS/cloud/cloud" add "$CLOUD" --no-sshd --property "novajob:owner=not-$OWNER" >/dev/null
	run -0 novajob sweep
	assert_line --partial "delete server $id"
	gone "$id"
	run -0 cloud requests 'GET /compute/.*/servers/detail.*marker='
	((${#lines[@]} >= 2))
	run -0 novajob sweep
	assert_output ''
	run -0 grep -c "owner=not-$OWNER" <(cloud servers)
	assert_output 120
	output="delete server $id" row 'the project has 120 servers of others, and the cloud answers 50 at a time' 0 "$id"
	cloud servers | grep "owner=not-$OWNER" | cut -d ' ' -f 1 | xargs "$TESTS/cloud/cloud" lose "$CLOUD"
}

# bats test_tags=fault
@test "two sweeps at once: the second says so and leaves" {
	cloud knobs '[{"request": "GET /compute/.*/servers/detail", "hang": true}]'
	"$NOVAJOB" --settings="$SETTINGS" sweep 3>&- &
	started
	wait_for 20 bash -c "[[ -e $STATE/sweep.lock ]] && ! flock -n $STATE/sweep.lock true"
	run -2 novajob sweep
	assert_output --partial 'another novajob sweep is at work'
	local said=$output
	kill "${STARTED[@]}"
	wait_started
	run -0 left_processes
	assert_output ''
	output=$said row 'two sweeps at once' 2 error
}

@test "a sweep that waits for a deletion lets a cleanup have the slot of both" {
	local starts=$BATS_TEST_TMPDIR/starts sweep
	set_to client-slots 2
	prepared
	cloud knobs '[{"match": "job-66$", "delete_delay": 90}]'
	server a-66 1000 --no-sshd >/dev/null
	mkdir -p "$STATE/slots"
	exec 7>"$STATE/slots/1" # prepares have the other one
	flock 7
	"$NOVAJOB" --settings="$SETTINGS" sweep >"$BATS_TEST_TMPDIR/sweep" 3>&- 7>&- &
	sweep=$!
	started
	wait_for 30 grep -q '^delete' "$BATS_TEST_TMPDIR/sweep"
	SECONDS=0
	novajob cleanup 7>&-
	echo "cleanup took $SECONDS s"
	kill -0 "$sweep"
	((SECONDS < 20)) # sweep looks for 30 s
	no_server_of "$JOB_ID"
	exec 7>&-
	wait_started
	grep '^still there' "$BATS_TEST_TMPDIR/sweep"
	cloud servers | sed -n 's/ .*job-66 .*//p' | xargs "$TESTS/cloud/cloud" lose "$CLOUD"
}

# bats test_tags=fault
@test "a wrong password: exit 2 with a hint, nothing forgotten" {
	record a-1 deleted 0123456789abcdef 1000
	export OS_PASSWORD=wrong
	run -2 novajob sweep
	assert_output --partial 'openstack token issue'
	assert_exists "$STATE/jobs/a-1"
	row 'the password is wrong' 2 error
}

# bats test_tags=fault
@test "sweep in a loop never touches running jobs, by their own host or by another one" {
	local log=$BATS_TEST_TMPDIR/sweeps
	while [[ ! -e $BATS_TEST_TMPDIR/enough ]]; do
		novajob sweep >>"$log" 2>&1 || echo "failed: $?" >>"$log"
	done 3>&- &
	started
	while [[ ! -e $BATS_TEST_TMPDIR/enough ]]; do
		other_host --sweep-grace=0 sweep >>"$log-other" 2>&1 || echo "failed: $?" >>"$log-other"
	done 3>&- &
	started
	JOB_ID=$((JOB_ID + 1))
	run -0 job --script-line 'echo fine'
	JOB_ID=$((JOB_ID + 1))
	run -3 job --script-line 'exit 3'
	JOB_ID=$((JOB_ID + 1))
	run -101 job --script-line 'sleep 100' --cancel-at prepare@logging
	JOB_ID=$((JOB_ID + 1))
	run -0 job --script-line 'echo fine'
	touch "$BATS_TEST_TMPDIR/enough"
	wait_started
	# a cleanup under way may be helped; a job that runs must not be touched, and no sweep may fail over it
	run grep -E '^(delete .*: its job.s deadline|delete .*: an?other|still|failed)' "$log"
	assert_output ''
	run grep -E '^(delete|still|failed)' "$log-other"
	assert_output ''
	grep -qE 'keep server .*its job may be running' "$log"
	grep -qE "keep server .*another host's" "$log-other"
	fault_row 'sweep runs all the time, on its own host and on another one' prepare 0 "$LOG"
}

@test "list shows record and cloud side by side" {
	now=$(date +%s)
	record a-1 ready 0123456789abcdef $((now + 3600))
	id=$(server a-1 $((now + 3600)))
	server b-2 $((now + 3600))
	record c-3 deleting 0123456789abcdef $((now + 3600))
	run -0 novajob list
	assert_line --regexp "^a-1 +ready +ACTIVE +$id"
	assert_line --regexp '^b-2 +- +ACTIVE'
	assert_line --regexp '^c-3 +deleting +-'
	run -0 bash -c '"$NOVAJOB" --settings="$SETTINGS" list --json | jq -rs "map(.job) | sort | join(\",\")"'
	assert_output a-1,b-2,c-3
}

# bats test_tags=fault
@test "list shows the records when the cloud cannot be asked" {
	record a-1 ready 0123456789abcdef 2000000000
	export OS_PASSWORD=wrong
	run -2 novajob list
	assert_line --regexp '^a-1 +ready'
	assert_line --partial "not the cloud's side"
	row 'the password is wrong, and list is asked' 2 error list
}
