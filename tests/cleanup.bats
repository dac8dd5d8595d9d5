#!/usr/bin/env bats
# cleanup.bats - the cleanup stage: all that is the job's goes, nothing else does, whatever state things are in.

load lib
with_cloud

INSTANCE=11111111-2222-3333-4444-555555555555

setup() {
	novajob_setup
	stage_env
	KEY=$INSTANCE-$JOB_ID
}

# server KEY [OWNER] [NAME] [ARG...]: a server of a job, no sshd in it; prints its id.
server() {
	local key=$1 owner=${2:-novajob} name=${3:-gitlab-builder-7-project-42-concurrent-0-job-$JOB_ID}
	shift $(($# < 3 ? $# : 3))
	cloud add --name "$name" --no-sshd --property "novajob:owner=$owner" --property "novajob:job=$key" \
		--property novajob:try=0123456789abcdef "$@"
}

# record JSON: what an earlier stage has left.
record() {
	(umask 077 && mkdir -p "${RECORD%/*}" && printf '%s\n' "$1" >"$RECORD")
}

# good_record PHASE [MORE]: one that makes sense.
good_record() {
	record "{\"version\": 1, \"phase\": \"$1\", \"try\": \"0123456789abcdef\", \"intent_at\": 0, \"expires\": $((EPOCHSECONDS + 9999)), \"addresses\": []${2:+, $2}}"
}

phase() {
	jq -r .phase "$RECORD"
}

phase_is() {
	[[ $(phase) == "$1" ]]
}

exists() {
	cloud servers | grep -q "^$1 "
}

# row WHAT STATUS: of a cleanup whose words are in $output, after which nothing is left.
row() {
	printf '%s\n' "$output" >"$LOG"
	cloud knobs '[]'
	novajob cleanup
	fault_row "$1" cleanup "$2" "$LOG"
}

# Cleanup that has nothing to say: exit 0 in silence.
quietly() {
	run -0 novajob cleanup
	assert_output ''
}

@test "every server of the job goes, in whatever state: without a record, without prepare, twice" {
	local one two three
	one=$(server "$KEY")
	two=$(server "$KEY" novajob "" --status ERROR)
	three=$(server "$KEY" novajob "another-name-job-$JOB_ID" --status SHUTOFF)
	quietly
	run ! exists "$one"
	run ! exists "$two"
	run ! exists "$three"
	assert_not_exists "$STATE/jobs" # nothing was made on the way
	quietly
}

@test "nothing else goes: other jobs, other GitLabs, other owners, servers of nobody" {
	local base=gitlab-builder-7-project-42-concurrent-0-job id ids=()
	JOB_ID=10
	stage_env
	ids+=("$(server "$INSTANCE-100" novajob $base-100)")
	ids+=("$(server "$INSTANCE-110" novajob $base-110)")
	ids+=("$(server 99999999-2222-3333-4444-555555555555-10 novajob $base-10)")
	ids+=("$(server "$INSTANCE-10" somebody $base-10)")
	ids+=("$(server "$INSTANCE-10" NOVAJOB $base-10)")
	ids+=("$(server "$INSTANCE-10 " novajob $base-10)")
	ids+=("$(cloud add --name $base-10 --no-sshd)")
	ids+=("$(cloud add --name $base-10 --no-sshd --property novajob:owner=novajob)")
	ids+=("$(cloud add --name $base-10 --no-sshd --property "novajob:job=$INSTANCE-10")")
	quietly
	for id in "${ids[@]}"; do
		exists "$id" || fail "$id is gone"
	done
	run -0 cloud requests DELETE
	refute_output --partial "/servers/${ids[0]}"
}

@test "the record decides nothing about whose a server is" {
	local id
	id=$(server "$INSTANCE-$((JOB_ID + 1))" novajob "gitlab-builder-7-project-42-concurrent-0-job-$((JOB_ID + 1))")
	good_record ready "\"server_id\": \"$id\", \"server_name\": \"x-job-$((JOB_ID + 1))\""
	quietly
	exists "$id"
	[[ $(phase) == deleted ]]
}

@test "after a prepare: the tombstone stays, the server goes; and again, and with a broken settings file of another place" {
	prepared
	run -0 servers_of "$JOB_ID"
	assert_output 1
	# cleanup goes by the record's settings: it needs only to find the record
	printf '%s\n' "state-dir = $STATE" >"$SETTINGS"
	quietly
	run -0 servers_of "$JOB_ID"
	assert_output 0
	[[ $(phase) == deleted ]]
	run -0 left_processes
	assert_output ''
	quietly
	[[ $(phase) == deleted ]]
}

@test "JOB_RESPONSE_FILE empty: said, exit 0, nothing touched, nobody asked" {
	local before after
	server "$KEY" >/dev/null
	before=$(cloud requests '' | wc -l)
	JOB_RESPONSE_FILE='' run -0 novajob cleanup
	assert_output --partial 'JOB_RESPONSE_FILE is empty'
	assert_equal "${#lines[@]}" 1
	after=$(cloud requests '' | wc -l)
	assert_equal "$after" "$before"
	run -0 servers_of "$JOB_ID"
	assert_output 1
}

# bats test_tags=fault
@test "a server that resists: exit 2, one line that names it" {
	local id
	id=$(server "$KEY")
	good_record ready
	set_to delete-wait 1
	cloud knobs '[{"match": "", "delete_fail": "cannot destroy \u001b[5m"}]'
	run -2 novajob cleanup
	assert_equal "${#lines[@]}" 1
	assert_output --partial "$id"
	assert_output --partial "openstack server list --name=-job-$JOB_ID\$"
	[[ $(phase) == deleting ]]
	row 'the cloud cannot delete the server' 2
}

@test "a deletion that takes long: exit 0 soon, in silence, and the record says deleting" {
	server "$KEY" >/dev/null
	good_record ready
	set_to delete-wait 1
	cloud knobs '[{"match": "", "delete_delay": 60}]'
	SECONDS=0
	quietly
	((SECONDS < 20))
	[[ $(phase) == deleting ]]
	# the next one sees that the cloud is at it, and does not ask again
	quietly
	run -0 cloud requests "DELETE .*"
	assert_equal "$(cloud requests 'DELETE /compute' | tail -2 | wc -l)" "$(cloud requests 'DELETE /compute' | tail -2 | sort -u | wc -l)"
}

@test "a server that was lost meanwhile is no fault" {
	good_record ready '"server_id": "01234567-89ab-cdef-0123-456789abcdef"'
	quietly
	[[ $(phase) == deleted ]]
}

@test "stderr closed, or without a reader: cleanup goes on" {
	server "$KEY" >/dev/null
	record garbage # so that there is something to say
	"$NOVAJOB" --settings="$SETTINGS" cleanup 2>&- >&-
	run -0 servers_of "$JOB_ID"
	assert_output 0

	server "$KEY" >/dev/null
	record garbage
	python3 - "$NOVAJOB" --settings="$SETTINGS" cleanup <<-'END'
		import os, signal, subprocess, sys
		r, w = os.pipe()
		os.close(r)
		sys.exit(subprocess.run(sys.argv[1:], stdout=w, stderr=w, restore_signals=True).returncode)
	END
	run -0 servers_of "$JOB_ID"
	assert_output 0
}

# bats test_tags=fault
@test "an unusable record: a warning, and the server goes all the same; a tombstone replaces it" {
	local text n=0 what=(empty garbage 'cut off' 'no object' 'of another version' 'of a hostile server id')
	for text in '' 'garbage' '{"version": 1, "phase": "rea' '[]' '{"version": 2, "phase": "ready"}' \
		'{"version": 1, "phase": "ready", "try": "0123456789abcdef", "server_id": "../../etc"}'; do
		record "$text"
		server "$KEY" >/dev/null
		run -0 novajob cleanup
		assert_output --partial "warning: cannot use the record '$RECORD'"
		assert_equal "${#lines[@]}" 1
		assert_equal "$(servers_of "$JOB_ID")" 0
		[[ $(phase) == deleted ]]
		n=$((n + 1))
		row "the record is ${what[n - 1]}, at cleanup" 0
	done
	quietly
}

# bats test_tags=fault
@test "a state directory in trouble: a warning, and the server goes all the same" {
	server "$KEY" >/dev/null
	good_record ready
	chmod 777 "$STATE"
	run -0 novajob cleanup
	assert_output --partial "is writable by others (mode 0777)"
	assert_equal "${#lines[@]}" 1
	assert_equal "$(servers_of "$JOB_ID")" 0
	row 'others can write to the state directory, at cleanup' 0
}

# bats test_tags=fault
@test "the cloud in trouble: list and delete are tried again until they work" {
	server "$KEY" >/dev/null
	good_record ready
	cloud knobs '[{"request": "GET /compute/.*/servers/detail", "count": 1, "status": 503},
		{"request": "GET /compute/.*/servers/detail", "skip": 0, "count": 1, "status": 429},
		{"request": "DELETE /compute/.*/servers/", "count": 1, "status": 500}]'
	run -0 novajob cleanup
	assert_output --partial 'HTTP 503'
	assert_output --partial 'HTTP 429'
	assert_output --partial 'trying again in 1 s'
	assert_equal "$(servers_of "$JOB_ID")" 0
	[[ $(phase) == deleted ]]
	row 'the API answers 503, 429 and 500, then is well' 0
}

# bats test_tags=fault
@test "an API that hangs ends at call-timeout, is asked again, and TERM ends it all with exit 2" {
	server "$KEY" >/dev/null
	good_record ready
	set_to call-timeout 3
	cloud knobs '[{"request": "GET /compute/.*/servers/detail", "hang": true}]'
	"$NOVAJOB" --settings="$SETTINGS" cleanup >"$BATS_TEST_TMPDIR/log" 2>&1 3>&- &
	local pid=$! code=0
	wait_for 30 grep -q 'trying again' "$BATS_TEST_TMPDIR/log"
	kill -TERM "$pid"
	SECONDS=0
	wait "$pid" || code=$?
	assert_equal "$code" 2
	((SECONDS < 25))
	[[ $(phase) == deleting ]]
	run -0 left_processes
	assert_output ''
	cloud knobs '[]'
	set_to call-timeout 60
	quietly
	fault_row 'the API hangs, and the runner stops the cleanup' cleanup 2 "$BATS_TEST_TMPDIR/log"
}

@test "TERM while all is well: the deletion is done, exit 2" {
	server "$KEY" >/dev/null
	good_record ready
	cloud knobs '[{"request": "GET /compute/.*/servers/detail", "count": 1, "delay": 2}]'
	"$NOVAJOB" --settings="$SETTINGS" cleanup >"$BATS_TEST_TMPDIR/log" 2>&1 3>&- &
	local pid=$! code=0
	wait_for 30 phase_is deleting
	kill -TERM "$pid"
	wait "$pid" || code=$?
	assert_equal "$code" 2
	run -0 servers_of "$JOB_ID"
	assert_output 0
	[[ $(phase) == deleted ]]
}

# bats test_tags=fault
@test "a wrong password: exit 2 at once, one line" {
	OS_PASSWORD=wrong run -2 novajob cleanup
	assert_equal "${#lines[@]}" 1
	assert_output --partial 'HTTP 401'
	assert_output --partial 'openstack token issue'
	row 'the password is wrong, at cleanup' 2
}
