#!/usr/bin/env bats
# record.bats - the job's record: stages that overlap, die or are stopped at any instant leave no server and no process;
# what the record and its directory look like is checked before it is believed.

load lib
with_cloud

setup() {
	novajob_setup
	stage_env
	set_to busy-timeout 0
	set_to stop-timeout 2
	NAME="-job-$JOB_ID\$"
}

teardown() {
	cloud knobs '[]'
	! mountpoint -q "$STATE" || umount "$STATE"
}

# begin: novajob prepare in the background, its pid in $PID, its log in $LOG.
begin() {
	# shellcheck disable=SC2153
	"$NOVAJOB" --settings="$SETTINGS" prepare >"$LOG" 2>&1 3>&- &
	PID=$!
}

# ends CODE PID: it ends with that exit code.
ends() {
	local code=0
	wait "$2" || code=$?
	((code == $1)) || fail "exit code $code, expected $1: $(cat "$LOG")"
}

logged() {
	grep -qE -- "$1" "$LOG"
}

record_is() {
	[[ -s $RECORD ]] && jq -e "$1" "$RECORD" >/dev/null
}

phase_is() {
	record_is ".phase == \"$1\""
}

has_servers() {
	[[ $(servers_of "$JOB_ID") == "$1" ]]
}

# nothing runs: no process of ours is left, soon.
nothing_runs() {
	wait_for 5 no_process || fail "$(left_processes; left_children)"
}

no_process() {
	[[ -z $(left_processes) && -z $(left_children) ]]
}

# Children get a clean environment, without TMPDIR: they are known by this test's HOME.
left_children() {
	local p
	for p in $(pgrep -x 'ssh|openstack'); do
		! tr '\0' '\n' 2>/dev/null <"/proc/$p/environ" | grep -qx "HOME=$HOME" || echo "$p $(tr '\0' ' ' <"/proc/$p/cmdline")"
	done
}

# cleaned: cleanup succeeds, and no server is left then.
cleaned() {
	novajob cleanup
	run -0 servers_of "$JOB_ID"
	assert_output 0
	nothing_runs
}

# row WHAT STAGE STATUS [FILE]: words of FILE, or of $output; cleanup is done first.
row() {
	[[ -n ${4:-} ]] || printf '%s\n' "$output" >"$LOG"
	novajob cleanup 2>/dev/null || true # not where the state directory is what is wrong: nothing was created there
	fault_row "$1" "$2" "$3" "${4:-$LOG}"
}

# The instants a prepare can be held at: each function holds the next prepare there; `at INSTANT` waits until it is.
hold() {
	case $1 in
	before-POST) cloud knobs '[{"request": "GET /image/.*images", "hang": true}]' ;;
	POST) cloud knobs "[{\"request\": \"POST /compute/.*/servers\$\", \"server\": \"$NAME\", \"hang\": \"after\"}]" ;;
	build) cloud knobs "[{\"match\": \"$NAME\", \"spawn_delay\": 60}]" ;;
	login) cloud knobs "[{\"match\": \"$NAME\", \"no_sshd\": true}]" ;;
	esac
}

at() {
	case $1 in
	before-POST) wait_for 30 phase_is creating ;;
	POST) wait_for 30 has_servers 1 ;;
	build) wait_for 30 logged 'waiting for ACTIVE' ;;
	login) wait_for 30 logged 'logging in as' ;;
	esac
}

@test "prepare killed at any instant: no process is left, cleanup leaves no server, the next try is fine" {
	local instant
	for instant in before-POST POST build login; do
		hold $instant
		begin
		at $instant
		kill -KILL "$PID"
		ends 137 "$PID"
		nothing_runs
		cloud knobs '[]'
		cleaned
		phase_is deleted
	done
	novajob prepare
	cleaned
}

@test "prepare stopped at any instant: exit 2 soon, no process is left, no server is left after cleanup" {
	local instant
	for instant in before-POST POST build login; do
		set_to stop-timeout 30
		[[ $instant != POST ]] || set_to stop-timeout 2 # it is waited for in vain
		hold $instant
		begin
		at $instant
		kill -TERM "$PID"
		SECONDS=0
		ends 2 "$PID"
		((SECONDS < 20))
		nothing_runs
		logged 'stopped by the runner'
		if [[ $instant != POST ]]; then # nobody can know there: the intent is left to cleanup
			has_servers 0
			phase_is deleted
		fi
		cloud knobs '[]'
		cleaned
	done
}

# bats test_tags=fault
@test "an accepted create may finish after TERM, and is undone by prepare itself" {
	cloud knobs "[{\"request\": \"POST /compute/.*/servers\$\", \"server\": \"$NAME\", \"delay\": 1}]"
	set_to stop-timeout 30
	begin
	wait_for 30 record_is '.intent_at > 0'
	kill -TERM "$PID"
	ends 2 "$PID"
	run -0 servers_of "$JOB_ID"
	assert_output 0
	phase_is deleted
	run -0 cloud requests 'DELETE /compute/.*/servers/.* 204'
	assert_output --partial DELETE
	row 'the runner stops prepare while the cloud takes its create' prepare 2 "$LOG"
}

@test "killed while the create is under way, which the cloud carries out later: cleanup waits for it" {
	cloud knobs "[{\"request\": \"POST /compute/.*/servers\$\", \"server\": \"$NAME\", \"then_status\": 504, \"late\": 3},
		{\"request\": \"GET /compute/.*/servers/detail\", \"count\": 1, \"hang\": true}]"
	begin
	wait_for 30 record_is '.intent_at > 0'
	wait_for 30 posted 504
	kill -KILL "$PID"
	ends 137 "$PID"
	cleaned
	phase_is deleted
}

# has_token N: more than N log-ins to the cloud so far: a client is on its way to its first request.
has_token() {
	(($(cloud requests 'POST /identity/v3/auth/tokens' | wc -l) > $1))
}

posted() {
	cloud requests "POST /compute/.*/servers $1" | tail -n "+$((${POSTS:-0} + 1))" | grep -q .
}

@test "killed before the create reached the cloud: cleanup looks for 15 s, then leaves it to sweep as lost" {
	cloud knobs "[{\"request\": \"POST /compute/.*/servers\$\", \"server\": \"$NAME\", \"hang\": true}]"
	begin
	wait_for 30 record_is '.intent_at > 0'
	kill -KILL "$PID"
	ends 137 "$PID"
	# 13 of the 15 seconds are over
	jq '.intent_at -= 13' "$RECORD" >"$RECORD.aged"
	cat "$RECORD.aged" >"$RECORD"
	rm "$RECORD.aged"
	cleaned
	phase_is lost
}

# bats test_tags=fault
@test "a create that was carried out although the connection broke is taken over: one server" {
	local before
	before=$(cloud requests 'POST /compute/.*/servers ' | wc -l)
	cloud knobs "[{\"request\": \"POST /compute/.*/servers\$\", \"server\": \"$NAME\", \"count\": 1, \"reset\": \"after\"}]"
	run -0 novajob prepare
	assert_output --partial 'was created all the same'
	assert_line --regexp 'novajob: ready in '
	has_servers 1
	assert_equal "$(cloud requests 'POST /compute/.*/servers ' | wc -l)" $((before + 1))
	row 'the connection breaks behind a create that the cloud carries out' prepare 0
}

# bats test_tags=fault
@test "a create answered 504 and carried out later is taken over: one server" {
	cloud knobs "[{\"request\": \"POST /compute/.*/servers\$\", \"server\": \"$NAME\", \"count\": 1, \"then_status\": 504, \"late\": 2}]"
	run -0 novajob prepare
	assert_output --partial 'was created all the same'
	has_servers 1
	row 'a create is answered 504 and carried out 2 s later' prepare 0
}

# bats test_tags=fault
@test "a create that failed for good reason is tried again: one server" {
	cloud knobs "[{\"request\": \"POST /compute/.*/servers\$\", \"server\": \"$NAME\", \"count\": 1, \"status\": 503}]"
	run -0 novajob prepare
	assert_output --partial 'no server came of it, trying again'
	assert_line --regexp 'novajob: ready in '
	has_servers 1
	row 'a create is answered 503, and not carried out' prepare 0
}

# bats test_tags=fault
@test "when the cloud does not say whether the create has worked, there is no second one" {
	local before
	before=$(cloud requests 'POST /compute/.*/servers ' | wc -l)
	cloud knobs "[{\"request\": \"POST /compute/.*/servers\$\", \"server\": \"$NAME\", \"count\": 1, \"reset\": \"after\"},
		{\"request\": \"GET /compute/.*/servers/detail\", \"status\": 403}]"
	run -2 novajob prepare
	assert_output --partial 'the cloud does not say whether a server came of it'
	assert_equal "$(cloud requests 'POST /compute/.*/servers ' | wc -l)" $((before + 1))
	record_is '.intent_at > 0'
	cloud knobs '[]'
	printf '%s\n' "$output" >"$LOG"
	cleaned
	row 'the connection breaks behind a create, and the servers cannot be listed' prepare 2 "$LOG"
}

# bats test_tags=fault
@test "a prepare that cleanup has overtaken creates nothing; the next try may" {
	local before
	before=$(cloud requests 'POST /compute/.*/servers ' | wc -l)
	cloud knobs '[{"request": "GET /image/.*images", "count": 1, "delay": 4}]'
	begin
	at before-POST
	novajob cleanup
	phase_is deleted
	ends 2 "$PID"
	logged 'the job was cleaned up, or prepared again'
	run -0 cloud requests 'POST /compute/.*/servers '
	assert_equal "${#lines[@]}" "$before"
	phase_is deleted
	novajob prepare
	phase_is ready
	row 'cleanup overtakes a prepare before its create' prepare 2 "$LOG"
}

# bats test_tags=fault
@test "cleanup beside a create under way: whoever comes last, no server is left" {
	cloud knobs "[{\"request\": \"POST /compute/.*/servers\$\", \"server\": \"$NAME\", \"delay\": 3}]"
	begin
	wait_for 30 record_is '.intent_at > 0'
	novajob cleanup
	ends 2 "$PID"
	run -0 servers_of "$JOB_ID"
	assert_output 0
	row 'cleanup runs beside a create under way' prepare 2 "$LOG"
}

@test "two prepares of one job: the later one has the server, the earlier one creates none or undoes its own" {
	local first log=$LOG
	cloud knobs "[{\"match\": \"$NAME\", \"spawn_delay\": 3}]"
	begin
	first=$PID
	at build
	LOG=$LOG.2
	begin
	ends 0 "$PID"
	LOG=$log
	ends 2 "$first"
	has_servers 1
	phase_is ready
	[[ $(cloud servers | grep -- "-job-$JOB_ID " | cut -d' ' -f1) == $(jq -r .server_id "$RECORD") ]]
	cleaned
}

@test "a prepare that another one has replaced before its create makes no server" {
	local first before before_tokens log=$LOG
	before=$(cloud requests 'POST /compute/.*/servers ' | wc -l)
	before_tokens=$(cloud requests 'POST /identity/v3/auth/tokens' | wc -l)
	# it wakes up while the other one waits for its server
	cloud knobs "[{\"request\": \"GET /image/.*images\", \"count\": 1, \"delay\": 8}, {\"match\": \"$NAME\", \"spawn_delay\": 10}]"
	begin
	first=$PID
	wait_for 30 has_token "$before_tokens"
	LOG=$LOG.2
	begin
	ends 0 "$PID"
	LOG=$log
	ends 2 "$first"
	logged 'the job was cleaned up, or prepared again'
	run -0 cloud requests 'POST /compute/.*/servers '
	assert_equal "${#lines[@]}" $((before + 1))
	phase_is ready
	has_servers 1
}

@test "prepare's time-out, as the runner has it: three tries, nothing left" {
	cloud knobs "[{\"match\": \"$NAME\", \"spawn_delay\": 60}]"
	run -100 job --prepare-exec-timeout 2 --script-line true
	run -0 jq -r .failure_reason "$RESULT"
	assert_output runner_system_failure
	has_servers 0
	nothing_runs
	assert_file_empty "$RUNNER_LOG"
	run -0 grep -c 'error: stopped by the runner' "$LOG"
	assert_output 3
}

# ---- what is believed of a record

# bats test_tags=fault
@test "run does not believe a record that makes no sense, and starts nothing by it" {
	local text
	set_to ssh "$BATS_TEST_TMPDIR/ssh"
	printf '#!/bin/sh\ntouch "%s/started"\n' "$BATS_TEST_TMPDIR" >"$BATS_TEST_TMPDIR/ssh"
	chmod 755 "$BATS_TEST_TMPDIR/ssh"
	(umask 077 && mkdir -p "${RECORD%/*}")
	echo true >"$BATS_TEST_TMPDIR/script"
	while read -r text; do
		printf '%s\n' "$text" >"$RECORD"
		run -2 novajob run "$BATS_TEST_TMPDIR/script" build_script
		assert_line --regexp "error: cannot use the record '$RECORD': .*"
		assert_not_exists "$BATS_TEST_TMPDIR/started"
		printf '%s\n' "$output" >"$LOG"
		fault_row "run finds the record: ${text//0123456789/}" run 2 "$LOG"
	done <<-END
		garbage
		{"version": 1, "phase": "ready", "try"
		{"version": 2, "phase": "ready", "try": "00"}
		{"version": 1, "phase": "happy", "try": "00"}
		{"version": 1, "phase": "ready", "try": "../../../etc/passwd"}
		{"version": 1, "phase": "ready", "try": "00112233445566778899"}
		{"version": 1, "phase": "ready", "try": "00", "address": "-oProxyCommand=touch /tmp/x"}
		{"version": 1, "phase": "ready", "try": "00", "address": "host.example"}
		{"version": 1, "phase": "ready", "try": "00", "address": "root@10.0.0.1"}
		{"version": 1, "phase": "ready", "try": "00", "address": "10.0.0.1 "}
		{"version": 1, "phase": "ready", "try": "00", "addresses": ["10.0.0.1", "/etc/passwd"]}
		{"version": 1, "phase": "ready", "try": "00", "addresses": [1]}
		{"version": 1, "phase": "ready", "try": "00", "server_id": "-x"}
		{"version": 1, "phase": "ready", "try": "00", "server_id": "a;b"}
		{"version": 1, "phase": "ready", "try": "00", "server_name": "a b"}
	END
	# links, directories, other people's and endless files are no records
	rm "$RECORD"
	ln -s /dev/zero "$RECORD"
	run -2 novajob run "$BATS_TEST_TMPDIR/script" build_script
	assert_output --partial "cannot use the record"
	rm "$RECORD"
	mkfifo "$RECORD"
	run -2 novajob run "$BATS_TEST_TMPDIR/script" build_script
	assert_output --partial "cannot use the record"
	rm "$RECORD"
	truncate -s 2G "$RECORD"
	run -2 novajob run "$BATS_TEST_TMPDIR/script" build_script
	assert_output --partial "cannot use the record"
}

# ---- the state directory

# refused TEXT [ROW]: prepare ends with exit 2 and that text, and has not asked the cloud for anything.
refused() {
	local before after
	before=$(cloud requests '' | wc -l)
	run -2 novajob prepare
	assert_output --partial "$1"
	[[ -z ${2:-} ]] || { printf '%s\n' "$output" >"$LOG" && fault_row "$2" prepare 2 "$LOG"; }
	after=$(cloud requests '' | wc -l)
	assert_equal "$after" "$before"
	run -0 novajob config --builds-dir=/b --cache-dir=/c
	assert_output --partial builds_dir
}

# bats test_tags=fault
@test "a state directory that others can write to, a link, a file: refused; config works without one" {
	mkdir -m 770 "$STATE"
	refused "state-dir: '$STATE' is writable by others (mode 0770): chmod 0700 it" 'others can write to the state directory'
	rmdir "$STATE"
	mkdir -m 700 "$STATE.real"
	ln -s "$STATE.real" "$STATE"
	refused "state-dir: '$STATE' is no directory (links are not followed)" 'the state directory is a link'
	set_to state-dir "$STATE/"
	refused "state-dir: '$STATE' is no directory (links are not followed)"
	set_to state-dir "$STATE"
	rm "$STATE"
	touch "$STATE"
	refused "state-dir: '$STATE' is no directory" 'the state directory is a file'
	rm "$STATE"
	mkdir -m 700 "$STATE"
	ln -s /tmp "$STATE/jobs"
	refused "state-dir: '$STATE/jobs' is no directory"
	rm "$STATE/jobs"
	mkdir -m 777 "$STATE/jobs"
	chmod 777 "$STATE/jobs"
	refused "state-dir: '$STATE/jobs' is writable by others"
	assert_dir_exists "$STATE/jobs"
	run -0 find "$STATE/jobs" -mindepth 1
	assert_output ''
}

@test "a state directory that is not ours, cannot be made, or is full: refused" {
	if ((EUID != 0)); then
		set_to state-dir /usr/novajob-test
		refused 'state-dir: cannot make'
		set_to state-dir /root/novajob-test
		refused 'state-dir: cannot'
		return
	fi
	mkdir -m 700 "$STATE"
	chown nobody "$STATE"
	refused "state-dir: '$STATE' belongs to user id $(id -u nobody), not to 0 who runs novajob"
	rm -r "$STATE"
	set_to state-dir /proc/novajob
	refused "state-dir: cannot make '/proc/novajob'"
	set_to state-dir "$STATE"
	mkdir -m 700 "$STATE"
	if ! mount -t tmpfs -o size=64k,mode=700 none "$STATE" 2>/dev/null; then
		return 0 # a container without that right
	fi
	(umask 077 && mkdir -p "${RECORD%/*}")
	head -c 1M /dev/zero >"$STATE/filler" 2>/dev/null || true
	refused 'No space left on device'
	run -2 novajob prepare
	symptom 'No space left on device'
}

@test "a user without rights: said, exit 2" {
	((EUID == 0)) || skip 'the test before is this one when not root'
	chmod 755 "$BATS_TEST_TMPDIR"
	mkdir -m 755 "$STATE"
	local key=$BATS_TEST_TMPDIR/key
	install -o nobody -m 600 "$CLOUD/id_ed25519" "$key"
	chmod 644 "$SETTINGS" "$JOB_RESPONSE_FILE"
	set_to private-key "$key"
	chmod 644 "$SETTINGS"
	if ! runuser -u nobody -- test -r "$SETTINGS" -a -x "$NOVAJOB"; then
		chmod o+x "$(dirname "$BATS_TEST_TMPDIR")" "$(dirname "$(dirname "$BATS_TEST_TMPDIR")")" 2>/dev/null
	fi
	runuser -u nobody -- test -r "$SETTINGS" -a -x "$NOVAJOB" || skip 'nobody cannot reach the test folder'
	run -2 runuser -u nobody -- "$NOVAJOB" --settings="$SETTINGS" prepare
	assert_output --partial "state-dir: '$STATE' belongs to user id 0, not to $(id -u nobody) who runs novajob"
	set_to state-dir "$STATE/below"
	chmod 644 "$SETTINGS"
	run -2 runuser -u nobody -- "$NOVAJOB" --settings="$SETTINGS" prepare
	assert_line --regexp "state-dir: cannot make '$STATE/below': Permission denied"
}

# in_trouble full|read-only: the state directory, which has a record, becomes so; `well` again. Root needs a file system of
# its own for it; fails where root may not mount.
in_trouble() {
	if ((EUID == 0)) && ! mountpoint -q "$STATE"; then
		mv "$STATE" "$STATE.was"
		mkdir -m 700 "$STATE"
		if ! mount -t tmpfs -o size=64k,mode=700 none "$STATE" 2>/dev/null; then
			rmdir "$STATE"
			mv "$STATE.was" "$STATE"
			return 1
		fi
		cp -a "$STATE.was/." "$STATE/"
	fi
	case $1 in
	full) head -c 1M /dev/zero >"$STATE/filler" 2>/dev/null || true ;;
	read-only) if ((EUID == 0)); then mount -o remount,ro "$STATE"; else find "$STATE" -type d -exec chmod 500 {} +; fi ;;
	well)
		if ((EUID == 0)); then mount -o remount,rw "$STATE"; else chmod -R u+w "$STATE"; fi
		rm -f "$STATE/filler"
		;;
	esac
}

# bats test_tags=fault
@test "the state directory becomes full, or read-only, between two stages: run works, cleanup deletes all the same" {
	set_to ssh-share no # its file of words is open for writing: no read-only then
	local what
	echo 'echo in' >"$BATS_TEST_TMPDIR/script"
	for what in full read-only; do
		[[ $what != full ]] || ((EUID == 0)) || continue # another user has no file system to fill
		novajob prepare
		in_trouble $what || return 0 # a container without that right
		run -0 novajob config
		run -0 novajob run "$BATS_TEST_TMPDIR/script" build_script
		assert_output in
		run -0 novajob cleanup
		assert_output --partial "warning: cannot "
		assert_equal "${#lines[@]}" 1
		has_servers 0
		printf '%s\n' "$output" >"$LOG"
		fault_row "the state directory is $what, at cleanup" cleanup 0 "$LOG"
		in_trouble $what # cleanup has made room: known_hosts is gone
		run -2 novajob prepare
		assert_line --partial 'nothing is created: cannot '
		has_servers 0
		printf '%s\n' "$output" >"$LOG"
		fault_row "the state directory is $what, at prepare" prepare 2 "$LOG"
		in_trouble well
		cleaned
	done
}
