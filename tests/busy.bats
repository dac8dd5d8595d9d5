#!/usr/bin/env bats
# busy.bats - a full cloud is a wait, a full host is a queue.

load lib
with_cloud

setup() {
	novajob_setup
	set_to busy-timeout 120
}

# bats test_tags=fault
@test "a full quota is waited for, and told in the job log" {
	cloud knobs '[{"quota": {"instances": 0}}]'
	stage_env
	novajob prepare 2>"$BATS_TEST_TMPDIR/log" 3>&- &
	wait_for 30 grep -q 'waiting for quota: 0 of 0 instances in use, ' "$BATS_TEST_TMPDIR/log"
	wait_for 60 grep -qE 'waiting for quota: 0 of 0 instances in use, 3[0-9]\.[0-9] s so far' "$BATS_TEST_TMPDIR/log" # and again
	run -0 servers_of "$JOB_ID"
	assert_output 0
	cloud knobs '[]'
	wait $!
	grep -q 'ready in' "$BATS_TEST_TMPDIR/log"
	novajob cleanup
	fault_row 'the quota of instances is used up, and a server ends meanwhile' prepare 0 "$BATS_TEST_TMPDIR/log"
}

@test "no valid host: the failed server is deleted before the next try" {
	cloud knobs '[{"match": "job-'"$JOB_ID"'$", "spawn_fail": "No valid host was found. "}]'
	stage_env
	novajob prepare 2>"$BATS_TEST_TMPDIR/log" 3>&- &
	wait_for 60 bash -c "[[ \$(grep -c 'is created after' $BATS_TEST_TMPDIR/log) -ge 2 ]]"
	cloud knobs '[]'
	wait $!
	run -0 servers_of "$JOB_ID"
	assert_output 1
	novajob cleanup
}

@test "busy-timeout ends the wait: exit 2, what is missing is told, nothing is left" {
	cloud knobs '[{"quota": {"instances": 0}}]'
	set_to busy-timeout 1
	stage_env
	run -2 novajob prepare
	assert_output --partial 'busy-timeout'
	assert_output --partial 'Quota exceeded for instances'
	run -0 servers_of "$JOB_ID"
	assert_output 0
}

@test "a cancel ends the wait at once" {
	cloud knobs '[{"quota": {"instances": 0}}]'
	stage_env
	"$NOVAJOB" --settings="$SETTINGS" prepare 2>"$BATS_TEST_TMPDIR/log" 3>&- &
	pid=$!
	wait_for 30 grep -q 'waiting for quota' "$BATS_TEST_TMPDIR/log"
	kill $pid
	SECONDS=0 status=0
	wait $pid || status=$?
	assert_equal $status 2
	((SECONDS <= 3)) # it wakes up by itself every 5 to 10 s
	grep 'error: stopped' "$BATS_TEST_TMPDIR/log"
	run -0 left_processes
	assert_output ''
}

@test "the job's own time-out ends the wait before busy-timeout does" {
	cloud knobs '[{"quota": {"instances": 0}}]'
	stage_env
	jq '.runner_info.timeout = 8' "$JOB_RESPONSE_FILE" >"$BATS_TEST_TMPDIR/short"
	SECONDS=0
	JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/short run -2 novajob prepare
	assert_output --partial 'the cloud is full, waited'
	((SECONDS < 40)) # not 120
}

@test "a rate limit (429) is waited for" {
	cloud knobs '[{"request": "POST /compute/.*/servers$", "status": 429, "message": "Too many", "count": 1,
		"headers": {"Retry-After": "1"}}]'
	stage_env
	run -0 novajob prepare
	assert_output --partial "waiting for the cloud's limit of requests"
	novajob cleanup
}

# bats test_tags=fault
@test "no ports, or no addresses, left in the network: a wait, too; a server that failed for it is deleted" {
	local text='Build of instance 1 aborted: Failed to allocate the network(s) with error No fixed IP addresses available for network: n, not rescheduling.'
	cloud knobs '[{"request": "POST /compute/.*/servers$", "status": 403, "message": "Maximum number of ports exceeded", "count": 1},
		{"match": "job-'"$JOB_ID"'$", "spawn_fail": "'"$text"'"}]'
	stage_env
	novajob prepare 2>"$BATS_TEST_TMPDIR/log" 3>&- &
	wait_for 60 grep -q 'is created after' "$BATS_TEST_TMPDIR/log"
	wait_for 30 no_server_of "$JOB_ID"
	cloud knobs '[]'
	wait $!
	grep 'waiting for quota: .*Maximum number of ports exceeded' "$BATS_TEST_TMPDIR/log"
	assert_equal "$(servers_of "$JOB_ID")" 1
	novajob cleanup
	fault_row 'the network has no ports, then no addresses left' prepare 0 "$BATS_TEST_TMPDIR/log"
	cloud knobs '[{"match": "job-'"$JOB_ID"'$", "spawn_fail": "'"$text"'"}]'
	set_to busy-timeout 0
	run -2 novajob prepare
	assert_output --partial 'is in ERROR: Build of instance'
	assert_output --partial 'hint: wait for other servers to go, or take a larger network'
	no_server_of "$JOB_ID"
}

@test "with two slots and 20 prepares waiting, a cleanup has its turn within 5 s" {
	local starts=$BATS_TEST_TMPDIR/starts
	# when a client was started, and by which stage
	cat >"$BATS_TEST_TMPDIR/openstack" <<-END
		#!/bin/bash
		echo "\$EPOCHREALTIME \$(tr '\\0' ' ' </proc/\$PPID/cmdline)" >>$starts
		exec /usr/bin/openstack "\$@"
	END
	chmod +x "$BATS_TEST_TMPDIR/openstack"
	set_to openstack "$BATS_TEST_TMPDIR/openstack"
	set_to client-slots 2
	prepared
	done_id=$JOB_ID
	done_response=$BATS_TEST_TMPDIR/done.json
	cp "$JOB_RESPONSE_FILE" "$done_response"
	cloud knobs '[{"quota": {"instances": 1}}]'
	for ((i = 1; i <= 20; i++)); do
		response $((done_id + i)) >"$BATS_TEST_TMPDIR/$i.json"
		JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/$i.json "$NOVAJOB" --settings="$SETTINGS" prepare \
			2>>"$BATS_TEST_TMPDIR/waiting" 3>&- &
		started
	done
	wait_for 60 grep -q 'waiting for quota' "$BATS_TEST_TMPDIR/waiting"
	# a prepare is at work all the time
	wait_for 60 eval '[[ $(grep -c "waiting for quota" "$BATS_TEST_TMPDIR/waiting") -ge 3 ]]'
	began=$EPOCHREALTIME
	JOB_RESPONSE_FILE=$done_response run -0 novajob cleanup
	run -0 grep -m 1 ': cleanup: job ' "$starts"
	took=$(((${output%%.*} - ${began%.*}) * 1000 + (10#${output:11:3} - 10#${began:11:3})))
	echo "# note: beside 20 prepares that wait for quota cleanup's client was started after $took ms" >&3
	((took < 5000))
	kill "${STARTED[@]}"
	wait_started
	cloud knobs '[]'
	for ((i = 1; i <= 20; i++)); do
		JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/$i.json novajob cleanup
	done
	run -0 bash -c "\"$TESTS/cloud/cloud\" servers \"$CLOUD\" | wc -l"
	assert_output 0
}

@test "who has waited longest for a slot is next; who is dead, or stopped, holds up nobody" {
	local i tickets=$STATE/slots/queue.d
	set_to client-slots 2
	stage_env
	queued() { [[ $(ls "$tickets" 2>/dev/null | wc -l) == "$1" ]]; }
	mkdir -m 700 "$STATE" "$STATE/slots"
	exec {slot}>"$STATE/slots/1"
	flock "$slot"
	for i in 0 1 2 3 4; do
		printf '#!/bin/sh\necho %s >>%s/order\nexec openstack "$@"\n' "$i" "$BATS_TEST_TMPDIR" >"$BATS_TEST_TMPDIR/client-$i"
		chmod 755 "$BATS_TEST_TMPDIR/client-$i"
		response $((JOB_ID + i)) >"$BATS_TEST_TMPDIR/$i.json"
		JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/$i.json "$NOVAJOB" --settings="$SETTINGS" prepare --openstack="$BATS_TEST_TMPDIR/client-$i" \
			2>>"$BATS_TEST_TMPDIR/log" 3>&- {slot}>&- &
		started
		wait_for 30 queued $((i + 1))
	done
	local first=${STARTED[0]}
	kill -STOP "$first"
	STARTED=("${STARTED[@]:1}")
	touch "$tickets/00000000000000000000-1" # left by one that was killed
	exec {slot}>&-
	wait_started
	kill -CONT "$first"
	wait "$first"
	assert_equal "$(awk '!seen[$0]++' "$BATS_TEST_TMPDIR/order")" $'1\n2\n3\n4\n0'
	queued 0
	for i in 0 1 2 3 4; do
		JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/$i.json novajob cleanup
	done
}

@test "nothing but tickets is removed from the queue, and nothing made in another user's STATE" {
	local ticket=00000000000000000001-1
	mkdir -m 700 "$STATE" "$STATE/slots" "$STATE/slots/queue.d" "$BATS_TEST_TMPDIR/other"
	touch "$STATE/slots/queue.d/"{$ticket,notes,1-1,$ticket.old} "$BATS_TEST_TMPDIR/other/$ticket"
	novajob list
	run -0 ls "$STATE/slots/queue.d"
	assert_output $'00000000000000000001-1.old\n1-1\nnotes'
	rm -r "$STATE/slots/queue.d"
	ln -s "$BATS_TEST_TMPDIR/other" "$STATE/slots/queue.d"
	novajob list
	test -e "$BATS_TEST_TMPDIR/other/$ticket"
	((EUID == 0)) || skip 'only root can be another uid'
	rm -r "$STATE/slots"
	chown nobody "$STATE"
	novajob list
	run -0 ls -A "$STATE"
	assert_output ''
}

@test "slots bound how many openstack processes live at once" {
	set_to client-slots 3
	mkdir "$BATS_TEST_TMPDIR/bin" "$BATS_TEST_TMPDIR/live"
	cat >"$BATS_TEST_TMPDIR/bin/openstack" <<-END
		#!/bin/bash
		# Each live client holds a lock on a file of its own; how many others do is noted at each start.
		exec 8>$BATS_TEST_TMPDIR/live/\$\$ 9>>$BATS_TEST_TMPDIR/starts
		flock 9
		n=0
		for f in $BATS_TEST_TMPDIR/live/*; do flock -n "\$f" true || n=\$((n + 1)); done
		echo \$n >&9
		flock -x 8
		exec /usr/bin/openstack "\$@" 9>&-
	END
	chmod +x "$BATS_TEST_TMPDIR/bin/openstack"
	set_to openstack "$BATS_TEST_TMPDIR/bin/openstack"
	stage_env
	for ((i = 1; i <= 6; i++)); do
		response $((JOB_ID + i)) >"$BATS_TEST_TMPDIR/$i.json"
		JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/$i.json novajob prepare 2>>"$BATS_TEST_TMPDIR/log" 3>&- &
		started
	done
	wait_started
	most=$(sort -n "$BATS_TEST_TMPDIR/starts" | tail -1)
	echo "most others alive at a start: $most"
	((most <= 1)) # 3 slots, one of them for cleanups
	for ((i = 1; i <= 6; i++)); do
		JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/$i.json novajob cleanup
	done
}
