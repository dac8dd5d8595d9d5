#!/usr/bin/env bats
# files.bats - novajob(1)'s FILES against what a job, the pool and sweep leave in STATE: nothing more, nothing less.

load lib
with_cloud

setup() {
	novajob_setup
	stage_env
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	T=$BATS_TEST_TMPDIR
}

# look: note the files that are there now, by the words of the manual.
look() {
	(cd "$STATE" && find . -type f -o -type s) | sed -E -e 's|^\.|STATE|' -e 's|/jobs/[^/]+/|/jobs/JOB/|' -e 's|/slots/[0-9]+$|/slots/N|' \
		-e 's|/queue.d/[0-9-]+$|/queue.d/TICKET|' -e 's|/names/[0-9a-f]{16}\.|/names/HASH.|' -e 's|/share/[0-9a-f]{16}|/share/WORD|' >>"$T/seen"
}

@test "novajob(1) has every file of STATE, and no other" {
	set_to pool 1
	prepared
	look
	echo 'echo in' >"$T/script"
	novajob run "$T/script" build_script
	look
	# a fill that another one interrupts, and a prepare that waits for quota
	cloud knobs '[{"match": "", "spawn_delay": 5}]'
	novajob pool fill 3>&- &
	started
	wait_for 30 bash -c "! flock -n '$STATE/pool.lock' true"
	novajob pool fill
	look
	wait_started
	response $((JOB_ID + 1)) >"$T/second.json"
	JOB_RESPONSE_FILE=$T/second.json novajob prepare 2>"$T/log"
	grep -q 'warm pool' "$T/log"
	look
	wait_for 60 bash -c "flock -n '$STATE/pool.lock' true" # that prepare has called a fill
	novajob pool drain
	cloud knobs '[{"quota": {"instances": 1}}]'
	response $((JOB_ID + 2)) >"$T/third.json"
	exec {slot}>"$STATE/slots/1"
	flock "$slot"
	JOB_RESPONSE_FILE=$T/third.json novajob --client-slots=2 --busy-timeout=1 prepare 2>"$T/log" 3>&- {slot}>&- &
	started
	queued() { [[ -n $(ls "$STATE/slots/queue.d") ]]; }
	wait_for 30 queued
	look
	exec {slot}>&-
	wait_started
	cloud knobs '[]'
	look
	novajob cleanup
	JOB_RESPONSE_FILE=$T/second.json novajob cleanup
	JOB_RESPONSE_FILE=$T/third.json novajob cleanup
	novajob sweep
	look
	sed -n '/^\.Sh FILES/,/^\.Sh EXIT/p' "$TESTS/../man/novajob.1" | sed -e ':a' -e '/\\$/{N;s/\\\n/ /;ba' -e '}' |
		sed -n 's/^\.It Pa //p' | sed 's/ , */\n/g' | grep '^STATE' | sort -u >"$T/named"
	sort -u "$T/seen" | diff - "$T/named" || fail "'<' is only on disk, '>' only in novajob(1)"
}

@test "all of STATE is for the runner's user alone, during a job and after it" {
	prepared
	run -0 find "$STATE" -perm /077 ! -type l
	assert_output ''
	novajob cleanup
	run -0 find "$STATE" -perm /077 ! -type l
	assert_output ''
}
