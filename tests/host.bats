#!/usr/bin/env bats
# host.bats - a host in trouble: no descriptors, no processes, no memory, no disk, a wrong clock; a client that is killed or
# prints without measure. The stages do their work or say what is wrong, and nothing is left.

load lib
with_cloud

setup() {
	novajob_setup
	stage_env
	set_to client-slots 64
	KEY=11111111-2222-3333-4444-555555555555
	RECORD=$STATE/jobs/$KEY-$JOB_ID/record.json
	SCRIPT=$BATS_TEST_TMPDIR/script
	echo 'echo in; exit 3' >"$SCRIPT"
	STUB=$TESTS/stubs/openstack
	FOLDERS=()
}

teardown() {
	cloud knobs '[]'
	((${#FOLDERS[@]} == 0)) || rm -rf "${FOLDERS[@]}"
}

# said TEXT: it stands in the output, which is kept in $LOG for fault_row.
said() {
	printf '%s\n' "$output" >"$LOG"
	[[ -z ${1:-} ]] || assert_output --partial "$1"
}

# The script's exit code reached the runner.
script_ran() {
	said
	[[ $(cat "$BUILD_EXIT_CODE_FILE") == 3 ]]
	assert_line in
}

script_did_not_run() {
	refute_line in
	assert_not_exists "$BUILD_EXIT_CODE_FILE"
}

# cleaned [ID]: cleanup, with nothing in its way now, leaves no server.
cleaned() {
	run -0 novajob cleanup
	run -0 servers_of "${1:-$JOB_ID}"
	assert_output 0
}

# A child of the test's novajobs that lives on: children are known by their HOME, which is below the test's own.
left_children() {
	grep -slzE "^HOME=$BATS_TEST_TMPDIR/home" /proc/[0-9]*/environ | while read -r p; do
		p=${p#/proc/} p=${p%/environ}
		[[ $p == "$$" || $p == "$BASHPID" || $(cat "/proc/$p/comm" 2>/dev/null) != @(openstack|ssh|yes|head) ]] || echo "$p"
	done
}

# ---- descriptors and processes

# with N STAGE...: novajob with at most N file descriptors.
with() {
	local n=$1
	shift
	prlimit --nofile="$n:$n" "$NOVAJOB" --settings="$SETTINGS" "$@"
}

# bats test_tags=fault
@test "with 16 file descriptors a job is done; with 8 each stage says what it lacks" {
	run -0 with 16 config
	run -0 with 16 prepare
	said 'ready in'
	run -1 with 16 run "$SCRIPT" build_script
	script_ran
	run -0 --separate-stderr with 8 config
	run -2 with 8 run "$SCRIPT" build_script
	said "cannot make the pipes for '/usr/bin/ssh': Too many open files"
	assert_output --partial 'hint: raise LimitNOFILE='
	script_did_not_run
	cp "$LOG" "$LOG.run"
	run -2 with 8 cleanup
	said "cannot list servers '-job-$JOB_ID\$': cannot make the pipes for "
	assert_output --partial 'hint: raise LimitNOFILE='
	assert_equal "${#lines[@]}" 1
	cp "$LOG" "$LOG.cleanup"
	run -0 servers_of "$JOB_ID"
	assert_output 1
	run -0 with 16 cleanup
	assert_output ''
	run -2 with 8 prepare
	said 'cannot make the pipes for '
	assert_output --partial 'hint: raise LimitNOFILE='
	[[ $(jq -r .phase "$RECORD") == deleted ]]
	cleaned
	fault_row 'there are 8 file descriptors, for prepare' prepare 2 "$LOG"
	fault_row 'there are 8 file descriptors, for run' run 2 "$LOG.run"
	fault_row 'there are 8 file descriptors, for cleanup' cleanup 2 "$LOG.cleanup"
}

@test "however few descriptors there are: done, or said, and nothing is left" {
	local n stage
	for ((n = 15; n >= 6; n--)); do
		for stage in config prepare "run $SCRIPT build_script" cleanup; do
			# shellcheck disable=SC2086 # its words
			run with "$n" $stage
			case ${stage%% *}$status in
			config0 | prepare0 | cleanup0) ;;
			run1) grep -qx 3 "$BUILD_EXIT_CODE_FILE" ;;
			*2) assert_output --partial 'error: ' ;;
			*) fail "$n descriptors, $stage: exit $status: $output" ;;
			esac
		done
	done
	cleaned
	assert_equal "$(left_processes)" ''
}

# theirs: what a user of its own needs to run stages: a copy of the program, the key, a state directory.
theirs() {
	local d
	if ((EUID == 0)); then
		command -v setpriv >/dev/null || skip 'no setpriv'
		d=$(mktemp -d /tmp/novajob-test.XXXXXX)
		FOLDERS+=("$d")
		cp "$NOVAJOB" "$d/novajob"
		cp "$CLOUD/id_ed25519" "$SETTINGS" "$JOB_RESPONSE_FILE" "$SCRIPT" "$d"
		chown -R nobody "$d"
		chmod -R a+rX "$d"
		chmod 600 "$d/id_ed25519"
		set -- setpriv --reuid="$(id -u nobody)" --clear-groups
		NOVAJOB=$d/novajob SETTINGS=$d/novajob.conf SCRIPT=$d/script
		export JOB_RESPONSE_FILE=$d/response.json BUILD_EXIT_CODE_FILE=$d/code
		RECORD=$d/state/jobs/$KEY-$JOB_ID/record.json
		sed -i "/^private-key *=/d; /^state-dir *=/d" "$SETTINGS"
		printf '%s\n' "private-key = $d/id_ed25519" "state-dir = $d/state" >>"$SETTINGS"
	fi
	AS=("$@")
}

@test "theirs: the user without rights has a whole job" {
	theirs
	run -0 "${AS[@]}" "$NOVAJOB" --settings="$SETTINGS" prepare
	run -1 "${AS[@]}" "$NOVAJOB" --settings="$SETTINGS" run "$SCRIPT" build_script
	script_ran
	run -0 "${AS[@]}" "$NOVAJOB" --settings="$SETTINGS" cleanup
	assert_output ''
}

# bats test_tags=fault
@test "no process can be made: each stage says so, and what was there stays noted" {
	local few=(prlimit --nproc=1)
	export ASAN_OPTIONS=detect_leaks=0 # its leak check is a process
	theirs # root has no limit
	run -0 "${AS[@]}" "$NOVAJOB" --settings="$SETTINGS" prepare
	run -0 --separate-stderr "${AS[@]}" "${few[@]}" "$NOVAJOB" --settings="$SETTINGS" config
	run -2 "${AS[@]}" "${few[@]}" "$NOVAJOB" --settings="$SETTINGS" run "$SCRIPT" build_script
	said "cannot start a process for '/usr/bin/ssh': Resource temporarily unavailable"
	assert_output --partial 'hint: the limit of processes is reached: raise TasksMax='
	script_did_not_run
	cp "$LOG" "$LOG.run"
	run -2 "${AS[@]}" "${few[@]}" "$NOVAJOB" --settings="$SETTINGS" cleanup
	said "cannot list servers '-job-$JOB_ID\$': cannot start a process for "
	assert_output --partial 'hint: the limit of processes is reached: raise TasksMax='
	assert_equal "${#lines[@]}" 1
	cp "$LOG" "$LOG.cleanup"
	# prepare cannot delete what the first one has left, and does not say it did
	run -2 "${AS[@]}" "${few[@]}" "$NOVAJOB" --settings="$SETTINGS" prepare
	said 'cannot delete what an earlier try has left: '
	[[ $(jq -r .phase "$RECORD") == deleting ]]
	run -0 servers_of "$JOB_ID"
	assert_output 1
	run -0 "${AS[@]}" "$NOVAJOB" --settings="$SETTINGS" prepare
	assert_output --partial 'an earlier try of this job has left something'
	run -0 servers_of "$JOB_ID"
	assert_output 1
	run -0 "${AS[@]}" "$NOVAJOB" --settings="$SETTINGS" cleanup
	run -2 "${AS[@]}" "${few[@]}" "$NOVAJOB" --settings="$SETTINGS" prepare
	said 'cannot start a process for '
	[[ $(jq -r .phase "$RECORD") == deleted ]]
	run -0 "${AS[@]}" "$NOVAJOB" --settings="$SETTINGS" cleanup
	fault_row 'no process can be made, for prepare' prepare 2 "$LOG"
	fault_row 'no process can be made, for run' run 2 "$LOG.run"
	fault_row 'no process can be made, for cleanup' cleanup 2 "$LOG.cleanup"
}

# ---- a client that is killed, or that prints too much or nothing

# play N STAGE STRIKE [OPTION...]: novajob STAGE as job $JOB_ID + N with the stub, which STRIKE tells when to die; in the
# background, in a folder of its own, with log and code.
play() {
	local n=$1 d=$HOME/$1 stage=$2
	mkdir -p "$d"
	echo strike | tee "$d/session" >"$d/alone"
	echo "$3" >"$d/strike"
	response $((JOB_ID + n)) >"$d/response"
	shift 3
	(
		export HOME=$d JOB_RESPONSE_FILE=$d/response
		code=0
		"$NOVAJOB" --settings="$SETTINGS" --openstack="$STUB" "$@" "$stage" >"$d/$stage" 2>&1 || code=$?
		echo "$code" >"$d/$stage.code"
	) 3>&- &
	started
}

# expect N STAGE CODE TEXT...: how it ended, and what it said.
expect() {
	local n=$1 stage=$2 d=$HOME/$1 text
	[[ $(cat "$d/$stage.code") == "$3" ]] || fail "$n: exit code $(cat "$d/$stage.code"), expected $3: $(cat "$d/$stage")"
	shift 3
	for text in "$@"; do
		grep -qF -- "$text" "$d/$stage" || fail "$n: no '$text' in: $(cat "$d/$stage")"
	done
	[[ ! -e $d/strike || $(cat "$d/strike") == always-* ]] || fail "$n: $(cat "$d/strike") has not come"
}

# one_server N...: each of these jobs has one.
one_server() {
	local n
	for n; do
		[[ $(servers_of $((JOB_ID + n))) == 1 ]] || fail "$n: $(servers_of $((JOB_ID + n))) servers: $(cat "$HOME/$n/prepare")"
	done
}

# clean N...: cleanup of these jobs, whose record names the stub, with a client that is well again.
clean() {
	local d
	for d in "${@/#/$HOME/}"; do
		echo real | tee "$d/session" >"$d/alone"
		HOME=$d JOB_RESPONSE_FILE=$d/response novajob cleanup
	done
}

KILLED='openstack was killed by signal 9 (out of memory?)'

# What each prepare below, N and N + 10, is told: by the session (N) and with one process per command (N + 10).
strikes() {
	cat <<-END
		1|before 0 image list|at the first call
		2|before 0 server create|before it creates the server
		3|after 0 server create|after it has created the server
		4|before 0 server list|while the server is built
	END
}

# bats test_tags=fault
@test "openstack is killed by the OOM killer during a prepare: told, asked again; one server" {
	local n strike what form alone
	while IFS='|' read -r n strike what; do
		play "$n" prepare "$strike"
		play $((n + 10)) prepare "$strike" --openstack-session=no
		wait_started # more at a time need longer than a look for the server may take
	done < <(strikes)
	for n in 1 11 4 14; do
		expect $n prepare 0 "$KILLED; trying again" 'ready in'
	done
	for n in 2 12; do
		expect $n prepare 0 "cannot create server" "$KILLED; no server came of it, trying again" 'ready in'
	done
	for n in 3 13; do
		expect $n prepare 0 'was created all the same' 'ready in'
	done
	one_server 1 2 3 4 11 12 13 14
	for n in 1 2 3 4; do
		play $n cleanup 'before 0 server delete'
		play $((n + 10)) cleanup 'after 0 server delete' --openstack-session=no
	done
	wait_started
	for n in 1 2 3 4; do
		expect $n cleanup 0 "$KILLED; trying again"
		expect $((n + 10)) cleanup 0
	done
	assert_equal "$(left_children)" ''
	while IFS='|' read -r n strike what; do
		for alone in 0 10; do
			form=$( ((alone == 0)) && echo 'in a session' || echo 'one process per call')
			fault_row "openstack is killed by the OOM killer $what, $form" prepare 0 "$HOME/$((n + alone))/prepare" \
				$((JOB_ID + n + alone))
		done
	done < <(strikes)
	fault_row 'openstack is killed by the OOM killer before it deletes the server' cleanup 0 "$HOME/1/cleanup" $((JOB_ID + 1))
}

# bats test_tags=fault
@test "openstack is killed each time: exit 2, told with the signal and where to look" {
	local n
	set_to create-timeout 1
	set_to call-timeout 20
	play 1 prepare 'always-before 0 .'
	play 2 prepare 'always-before 0 .' --openstack-session=no
	play 3 prepare 'always-before 0 server create'
	play 4 prepare 'always-after 0 server create' --openstack-session=no
	wait_started
	for n in 1 2; do
		expect $n prepare 2 "error: cannot look for image 'builder-one': $KILLED" "hint: 'dmesg' or 'journalctl -k'"
	done
	expect 3 prepare 2 "error: cannot create server" "$KILLED" "hint: 'dmesg' or 'journalctl -k'"
	expect 4 prepare 0 'was created all the same'
	one_server 4
	for n in 1 2 3; do
		[[ $(servers_of $((JOB_ID + n))) == 0 ]]
	done
	clean 1 2 3 4
	assert_equal "$(left_children)" ''
	fault_row 'openstack is killed by the OOM killer each time' prepare 2 "$HOME/1/prepare" $((JOB_ID + 1))
	fault_row 'openstack is killed by the OOM killer at each create' prepare 2 "$HOME/3/prepare" $((JOB_ID + 3))
}

# group BYTES: a new memory cgroup with that limit; its folder goes to GROUP. Fails where none can be made.
group() {
	local root
	for root in /sys/fs/cgroup/memory /sys/fs/cgroup/unified /sys/fs/cgroup; do
		GROUP=$root/novajob-test-$$-$BATS_TEST_NUMBER
		[[ $root != /sys/fs/cgroup || -e $root/cgroup.procs ]] && mkdir "$GROUP" 2>/dev/null || continue
		if echo "$1" 2>/dev/null >"$GROUP/memory.limit_in_bytes" || echo "$1" 2>/dev/null >"$GROUP/memory.max"; then
			! [[ -e $GROUP/memory.swap.max ]] || echo 0 >"$GROUP/memory.swap.max"
			return 0
		fi
		rmdir "$GROUP"
	done
	return 1
}

@test "the kernel's own OOM killer takes the client, not novajob: told, exit 2, nothing left" {
	set_to create-timeout 1
	set_to call-timeout 20
	group 30000000 || skip 'no memory cgroup can be made' # the tests above play it
	(
		echo "$BASHPID" >"$GROUP/cgroup.procs"
		exec "$NOVAJOB" --settings="$SETTINGS" prepare >"$LOG" 2>&1 3>&-
	) && status=0 || status=$?
	wait_for 10 rmdir "$GROUP"
	assert_equal "$status" 2
	run -0 cat "$LOG"
	assert_output --partial "error: cannot look for image 'builder-one': $KILLED"
	cleaned
	assert_equal "$(left_processes)$(left_children)" ''
}

# peak N MODE STAGE [OPTION...]: novajob STAGE with the stub in that mode, as job $JOB_ID + N: $HOME/N/STAGE has what it
# said, STAGE.code its exit code, STAGE.peak the most memory it ever had, in KiB: of it or of one of its children.
peak() {
	local n=$1 d=$HOME/$1 stage=$3
	mkdir -p "$d"
	echo "$2" | tee "$d/session" >"$d/alone"
	response $((JOB_ID + n)) >"$d/response"
	shift 3
	HOME=$d JOB_RESPONSE_FILE=$d/response python3 - "$d/$stage" "$NOVAJOB" --settings="$SETTINGS" --openstack="$STUB" \
		"$@" "$stage" <<-'END'
			import os, sys
			name, command = sys.argv[1], sys.argv[2:]
			pid = os.fork()
			if pid == 0:
			    log = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
			    os.dup2(log, 1)
			    os.dup2(log, 2)
			    os.execv(command[0], command)
			_, status, usage = os.wait4(pid, 0)
			open(name + ".code", "w").write(str(os.waitstatus_to_exitcode(status)) + "\n")
			open(name + ".peak", "w").write(str(usage.ru_maxrss) + "\n")
		END
}

# bats test_tags=fault
@test "openstack prints 100 MB: told, exit 2, and novajob's memory is bounded" {
	local n most
	set_to create-timeout 1
	set_to call-timeout 10
	peak 1 heap prepare
	peak 2 heap prepare --openstack-session=no
	peak 3 heap-stderr prepare
	expect 1 prepare 2 "error: cannot look for image 'builder-one': openstack prints without end"
	expect 2 prepare 2 "error: cannot look for image 'builder-one': openstack prints without end"
	expect 3 prepare 2 "error: cannot look for image 'builder-one': "
	most=$(cat "$HOME"/*/*.peak | sort -n | tail -1)
	echo "# note: 100 MB from openstack: novajob's peak is $((most / 1024)) MiB" >&3
	sanitized || ((most < 80 * 1024)) || fail "peak $most KiB"
	assert_equal "$(left_children)" ''
	clean 1 2 3
	fault_row 'openstack prints 100 MB in a session' prepare 2 "$HOME/1/prepare" $((JOB_ID + 1))
	fault_row 'openstack prints 100 MB as a process of its own' prepare 2 "$HOME/2/prepare" $((JOB_ID + 2))
	fault_row 'openstack prints 100 MB to stderr' prepare 2 "$HOME/3/prepare" $((JOB_ID + 3))
}

# bats test_tags=fault
@test "openstack prints nothing and exits with 0 at a create: looked for, and no second server" {
	local n
	set_to openstack-session no
	play 1 prepare 'hush 0 server create'
	play 2 prepare 'mute 0 server create'
	play 3 prepare 'hush 0 server create' --openstack-session=yes
	play 4 prepare 'mute 0 server create' --openstack-session=yes
	wait_started
	for n in 1 3; do
		expect $n prepare 0 'was created all the same' 'ready in'
	done
	for n in 2 4; do
		expect $n prepare 0 '(openstack said nothing); no server came of it, trying again' 'ready in'
	done
	one_server 1 2 3 4
	clean 1 2 3 4
	assert_equal "$(left_children)" ''
	fault_row 'openstack creates the server, says nothing and exits with 0' prepare 0 "$HOME/1/prepare" $((JOB_ID + 1))
	fault_row 'openstack creates no server, says nothing and exits with 0' prepare 0 "$HOME/2/prepare" $((JOB_ID + 2))
}

# bats test_tags=fault
@test "openstack says nothing at a deletion, and does not do it: asked once more; if that does not help, told" {
	local n
	set_to delete-wait 60 # on a busy host each look takes seconds
	for n in 1 2 3 4; do
		play $n prepare 'never 0 .' "--openstack-session=$( ((n % 2)) && echo yes || echo no)"
	done
	wait_started
	one_server 1 2 3 4
	play 1 cleanup 'mute 0 server delete'
	play 2 cleanup 'mute 0 server delete'
	play 3 cleanup 'always-mute 0 server delete'
	play 4 cleanup 'always-mute 0 server delete'
	wait_started
	for n in 1 2; do
		expect $n cleanup 0
		[[ ! -s $HOME/$n/cleanup && $(servers_of $((JOB_ID + n))) == 0 ]] || fail "$n: $(cat "$HOME/$n/cleanup")"
	done
	for n in 3 4; do
		expect $n cleanup 2 'is in ACTIVE and resists its deletion'
		[[ $(jq -r .phase "$STATE/jobs/$KEY-$((JOB_ID + n))/record.json") == deleting ]]
		cp "$HOME/$n/cleanup" "$HOME/$n/said"
	done
	clean 3 4
	assert_equal "$(left_children)" ''
	fault_row 'openstack says nothing at the deletion, and does not do it' cleanup 2 "$HOME/3/said" $((JOB_ID + 3))
}

# bats test_tags=fault
@test "openstack prints 100 MB in place of a create's answer: looked for, and no second server" {
	local n
	set_to create-timeout 30
	play 1 prepare 'heap 0 server create' --openstack-session=no
	play 2 prepare 'heap 0 server create'
	wait_started
	for n in 1 2; do
		expect $n prepare 0 'was created all the same' 'ready in'
	done
	one_server 1 2
	play 1 cleanup 'heap 0 server list' --openstack-session=no
	play 2 cleanup 'heap 0 server list'
	wait_started
	expect 1 cleanup 0 "cannot list servers '-job-$((JOB_ID + 1))\$': openstack prints without end; trying again"
	expect 2 cleanup 0
	fault_row 'openstack creates the server and prints 100 MB' prepare 0 "$HOME/1/prepare" $((JOB_ID + 1))
	fault_row 'openstack prints 100 MB in place of a list' cleanup 0 "$HOME/1/cleanup" $((JOB_ID + 1))
}

# ---- the clock

# bats test_tags=fault
@test "the clock is a day off: a job is done all the same" {
	local by expires
	for by in +1d -1d; do
		run -0 off $by config
		run -0 off $by prepare
		said 'ready in'
		cp "$LOG" "$LOG$by"
		expires=$(jq .expires "$RECORD")
		((${by%d} * (expires - EPOCHSECONDS) > 75000)) # it was off indeed
		run -1 off $by run "$SCRIPT" build_script
		script_ran
		run -0 off $by cleanup
		assert_output ''
		run -0 servers_of "$JOB_ID"
		assert_output 0
		[[ $(jq -r .phase "$RECORD") == deleted ]]
	done
	fault_row "the host's clock is a day ahead" prepare 0 "$LOG+1d"
	fault_row "the host's clock is a day behind" prepare 0 "$LOG-1d"
}

# bats test_tags=fault
@test "the clock is set by a day between two stages: run works, cleanup looks for a late server no longer than it should" {
	local by
	for by in +1d -1d; do
		run -0 off $by prepare
		run -1 novajob run "$SCRIPT" build_script
		script_ran
		run -0 novajob cleanup
		assert_output ''
		run -0 servers_of "$JOB_ID"
		assert_output 0
	done
	# a create whose outcome nobody knows, noted a day ahead
	jq '.phase = "creating" | .intent_at = (now | floor) + 86400 | del(.server_id)' "$RECORD" >"$RECORD.new"
	cat "$RECORD.new" >"$RECORD"
	SECONDS=0
	run -0 novajob -v cleanup
	said
	((SECONDS >= 14 && SECONDS < 60)) || fail "took $SECONDS s"
	[[ $(jq -r .phase "$RECORD") == lost ]]
	novajob cleanup 2>"$LOG"
	echo 'novajob: (nothing is said)' >>"$LOG"
	fault_row 'the clock is set back by a day after a create that never arrived' cleanup 0 "$LOG"
}
