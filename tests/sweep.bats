#!/usr/bin/env bats
# sweep.bats - novajob sweep: what it deletes, what it never touches; novajob list beside it.

bats_require_minimum_version 1.5.0

setup_file() {
	load lib
	cloud_up
}

teardown_file() {
	load lib
	cloud_down
}

setup() {
	load lib
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

exists() {
	cloud servers | grep -q "^$1 "
}

gone() {
	! exists "$1"
}

@test "an expired server without a record goes, after the grace other hosts get" {
	now=$(date +%s)
	old=$(server a-1 $((now - 7 * 3600)))
	young=$(server a-2 $((now - 5 * 3600)))
	run -0 novajob sweep
	assert_line --partial "delete server $old"
	assert_line --partial "keep server $young"
	gone "$old"
	exists "$young"
}

@test "nothing without our owner is touched" {
	other=$(server a-1 1000 --property novajob:owner=someone)
	none=$(cloud add --name gitlab-builder-7-project-42-concurrent-0-job-1)
	run -0 novajob sweep
	assert_output ''
	exists "$other"
	exists "$none"
}

@test "a server whose record says it is to be gone goes at once" {
	now=$(date +%s)
	for phase in deleting deleted lost; do
		record "a-$phase" "$phase" 0123456789abcdef $((now + 3600))
		id=$(server "a-$phase" $((now + 3600)))
		run -0 novajob sweep
		assert_line --partial "delete server $id"
		gone "$id"
	done
}

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
}

@test "a server without an expiry is told, not deleted" {
	id=$(cloud add --name gitlab-builder-7-project-42-concurrent-0-job-1 --property "novajob:owner=$OWNER")
	run -0 novajob sweep
	assert_line --partial "novajob:expires"
	exists "$id"
}

@test "nothing is judged by time when the clock looks wrong" {
	id=$(server a-1 1000)
	server a-2 99999999999 --created "$(date -u -d '+2 days' +%FT%TZ)"
	run -0 --separate-stderr novajob sweep
	[[ $stderr == *'clock looks wrong'* ]]
	exists "$id"
}

@test "a server that resists is told, exit code 3" {
	cloud knobs '[{"match": "job-66$", "delete_fail": "cannot destroy"}]'
	id=$(server a-66 1000)
	run -3 --separate-stderr novajob sweep
	assert_line --partial "$id"
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

@test "a broken record does not make a live job's server a stranger's, and is told" {
	now=$(date +%s)
	record a-1 ready 0123456789abcdef $((now + 60))
	echo '{"version":1,' >"$STATE/jobs/a-1/record.json"
	id=$(server a-1 $((now + 60)))
	run -0 --separate-stderr novajob sweep
	[[ $stderr == *record.json* ]]
	exists "$id"
}

@test "old servers behind 120 others and the list's pages are found" {
	cloud knobs '[{"page": 50}]'
	id=$(server a-1 1000)
	for ((i = 0; i < 120; i++)); do
		cloud add --no-sshd --name "gitlab-builder-7-project-42-concurrent-0-job-9$i" >/dev/null
	done
	run -0 novajob sweep
	assert_line --partial "delete server $id"
	gone "$id"
	while read -r other _; do cloud lose "$other"; done < <(cloud servers | grep -- '-job-9')
}

@test "two sweeps at once: the second says so and leaves" {
	cloud knobs '[{"request": "GET /compute/.*/servers/detail", "hang": true}]'
	"$NOVAJOB" --settings="$SETTINGS" sweep 3>&- &
	started
	wait_for 20 bash -c "[[ -e $STATE/sweep.lock ]] && ! flock -n $STATE/sweep.lock true"
	run -2 novajob sweep
	assert_output --partial 'another novajob sweep is at work'
	kill "${STARTED[@]}"
	wait_started
	run -0 left_processes
	assert_output ''
}

@test "a wrong password: exit 2 with a hint, nothing forgotten" {
	record a-1 deleted 0123456789abcdef 1000
	export OS_PASSWORD=wrong
	run -2 novajob sweep
	assert_output --partial 'openstack token issue'
	assert_exists "$STATE/jobs/a-1"
}

@test "sweep in a loop never touches running jobs" {
	while [[ ! -e $BATS_TEST_TMPDIR/enough ]]; do
		novajob sweep >>"$BATS_TEST_TMPDIR/sweeps" 2>&1 || echo "failed: $?" >>"$BATS_TEST_TMPDIR/sweeps"
	done 3>&- &
	started
	for i in 1 2 3; do
		JOB_ID=$((JOB_ID + 1))
		run -0 job --script-line 'echo fine'
	done
	touch "$BATS_TEST_TMPDIR/enough"
	wait_started
	# a cleanup under way may be helped; a job that runs must not be touched, and no sweep may fail over it
	run grep -E '^(delete .*: its job.s deadline|delete .*: an?other|still|failed)' "$BATS_TEST_TMPDIR/sweeps"
	assert_output ''
	grep -qE 'keep server .*its job may be running' "$BATS_TEST_TMPDIR/sweeps"
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

@test "list shows the records when the cloud cannot be asked" {
	record a-1 ready 0123456789abcdef 2000000000
	export OS_PASSWORD=wrong
	run -2 novajob list
	assert_line --regexp '^a-1 +ready'
	assert_line --partial "not the cloud's side"
}
