#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# stop.bats - cancel and time-out: TERM to the stage's process group at several instants. Afterwards nothing of the
# script lives in the server, no process of ours on this host, and the exit code is the system failure's.
# Tests that call stages by hand share one server: job 777.

load lib
with_cloud

setup_file() {
	printf '#!/bin/sh\nexec ssh "$@"\n' >"$BATS_FILE_TMPDIR/ssh.plain"
	chmod 755 "$BATS_FILE_TMPDIR/ssh.plain"
	cp -p "$BATS_FILE_TMPDIR/ssh.plain" "$BATS_FILE_TMPDIR/ssh"
	one_server stop-grace 1 ssh "$BATS_FILE_TMPDIR/ssh"
}

setup() {
	use_one_server
	LEFT='' ACCOUNT=''
}

teardown() {
	cp -p "$BATS_FILE_TMPDIR/ssh.plain" "$BATS_FILE_TMPDIR/ssh"
	[[ ! -s $ERR ]] || head -5 "$ERR" >&2 # shown when the test failed
	[[ -z $LEFT ]] || kill -KILL "$LEFT" 2>/dev/null || :
	[[ -z $ACCOUNT ]] || no_account
}

# start [ENV=VALUE...] PROGRAM...: in a process group of its own, as the runner starts a stage; its id in $GROUP.
start() {
	[[ ! -f $OUT ]] || : >"$OUT" # what an earlier one printed is not to be waited for
	setsid "$@" >"$OUT" 2>"$ERR" </dev/null 3>&- &
	GROUP=$!
}

# script LINE...: $T/script of these lines, with $T in it known to the server as well.
script() {
	printf '%s\n' 'trap exit 1 TERM' '(eval "$(cat <<"LINES_END"' "$@" LINES_END ')") </dev/null' 'exit 0' >"$T/script"
}

start_run() {
	start "$NOVAJOB" --settings="$SETTINGS" run "$T/script" build_script
}

# ended STATUS: the stage ends with it, within 20 s.
ended() {
	local started=$SECONDS status=0
	wait "$GROUP" || status=$?
	((SECONDS - started <= 20)) || fail "it took $((SECONDS - started)) s"
	assert_equal "$status" "$1"
}

# TERM to the group, as the runner does.
term() {
	kill -TERM -- "-$GROUP"
	ended 2
	assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
}

has_server() {
	(($(servers_of "$JOB_ID") > 0))
}

gone() {
	[[ ! -e /proc/$1 || $(ps -o stat= -p "$1") == Z* ]]
}

nothing_left() {
	assert_equal "$(in_server)" ''
	assert_equal "$(left_processes)" ''
}

# ---- run, at several instants

@test "TERM in mid-script: the script and its children are ended, its trap's last words are in the log" {
	script 'trap "echo last words; exit 1" TERM' 'sleep 300 & sleep 301 & echo begun' 'wait'
	start_run
	wait_for 20 grep -qx begun "$OUT"
	term
	run -0 grep -qx 'last words' "$OUT"
	run -0 grep "stopped by the runner .*; the script's processes in the server are ended" "$ERR"
	nothing_left
}

@test "TERM before ssh is connected: the script is not run" {
	mkfifo "$T/gate"
	printf '#!/bin/sh\necho here >%s\nread -r x <%s\nexec ssh "$@"\n' "$T/ssh-started" "$T/gate" >"$BATS_FILE_TMPDIR/ssh"
	script "echo run >$T/run"
	start_run
	wait_for 20 test -s "$T/ssh-started"
	rm "$T/ssh-started"
	kill -TERM -- "-$GROUP"
	wait_for 20 test -s "$T/ssh-started" # the second one, for the stop
	echo >"$T/gate"
	ended 2
	assert_file_not_exist "$T/run"
	nothing_left
}

@test "TERM at any instant of the first half second leaves nothing behind" {
	local n
	script "trap '' TERM" 'while :; do sleep 0.1; done'
	for n in 0 1 2 3 4 6 8 10; do
		start_run
		sleep "0.0$((n * 3 / 10))$((n * 3 % 10))" # any instant will do: what is expected is the same
		if ! kill -TERM -- "-$GROUP" 2>/dev/null; then sleep 0.05; kill -TERM -- "-$GROUP"; fi
		status=0
		wait "$GROUP" || status=$?
		[[ $status == 2 || $status == 143 ]] || fail "$status" # 143: before novajob's first lines
		assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
		nothing_left
	done
}

@test "TERM during heavy output" {
	script 'yes "some words to fill the log with"'
	start_run
	wait_for 20 test -s "$OUT"
	term
	nothing_left
}

@test "TERM while the log's reader stands still, and takes no message either" {
	mkfifo "$T/log" "$T/err-fifo"
	exec 8<>"$T/log" 9<>"$T/err-fifo"
	dd if=/dev/zero of="$T/err-fifo" oflag=nonblock bs=4096 2>/dev/null || : # until it is full
	OUT=$T/log ERR=$T/err-fifo
	script "echo \$BASHPID >$T/pid" 'yes 123456789 | head -c 10000000'
	start_run
	wait_for 20 test -s "$T/pid"
	term
	exec 8>&- 9>&-
	nothing_left
}

@test "TERM while the script ignores TERM, its children too: KILL after stop-grace" {
	script "trap '' TERM" '(while :; do sleep 0.1; done) & echo begun' 'while :; do sleep 0.1; done'
	start_run
	wait_for 20 grep -qx begun "$OUT"
	term
	nothing_left
}

@test "TERM with children that went into sessions of their own, or to the background, or are stopped" {
	script "setsid bash -c \"trap '' TERM; echo \\\$\\\$ >$T/one; while :; do sleep 0.1; done\" &" \
		"nohup sleep 30272 >/dev/null 2>&1 & echo \$! >$T/two" \
		"setsid -f sleep 30273" "(env -i bash -c 'kill -STOP \$\$; sleep 30274') &" \
		"until [[ -s $T/one && -s $T/two ]]; do sleep 0.05; done; echo begun; wait"
	start_run
	wait_for 20 grep -qx begun "$OUT"
	term
	run ! kill -0 "$(<"$T/one")"
	run ! kill -0 "$(<"$T/two")"
	run ! pgrep -f '^sleep 3027[0-9]$'
	nothing_left
}

# The job's server gets an account that may do all by sudo; its name is $ACCOUNT.
sudo_account() {
	ACCOUNT=novajob-test-$$ FOLDER=$(mktemp -d /tmp/novajob-test.XXXXXX)
	useradd -M -d /tmp -s /bin/bash -p '*' "$ACCOUNT"
	printf '%s ALL=(ALL) NOPASSWD: ALL\n' "$ACCOUNT" >"/etc/sudoers.d/$ACCOUNT"
	cp "$CLOUD/id_ed25519.pub" "$FOLDER/keys" # where the account can read it
	chmod -R a+rX "$FOLDER"
	cloud knobs '[{"match": "-job-'"$JOB_ID"'$", "sshd": ["AuthorizedKeysFile '"$FOLDER/keys"'"]}]'
	set_to state-dir "$STATE"
	set_to username "$ACCOUNT"
	stage_env "$JOB_ID"
}

no_account() {
	cloud servers | sed -n "s/^\([^ ]*\) [^ ]*-job-$JOB_ID .*/\1/p" | xargs -r "$TESTS/cloud/cloud" lose "$CLOUD"
	rm -rf "/etc/sudoers.d/$ACCOUNT" "$FOLDER"
	userdel -f "$ACCOUNT" 2>/dev/null
}

# bats test_tags=fault
@test "TERM with processes that the script started as root by sudo: all of them are ended" {
	local n=$((70000 + RANDOM))
	((EUID == 0)) || skip 'only root can make an account with sudo'
	sudo_account
	prepared
	# ignoring TERM; in a session of its own; a daemon; without an environment and in a session of its own
	script "sudo sh -c 'trap \"\" TERM; while :; do sleep 0.1; done; : $n' &" "sudo setsid sleep $n.2 &" \
		"sudo setsid -f sleep $n.3" "sudo su - -c 'exec sleep $n.4' &" "(setsid sudo setsid sleep $n.5 &)" \
		"for i in 'sh -c .*: $n' 'sleep $n.2' 'sleep $n.3' 'sleep $n.4' 'sleep $n.5'; do" \
		'until pgrep -u root -f "^$i" >/dev/null; do sleep 0.05; done; done; echo begun; sudo sleep 300'
	start_run
	wait_for 30 grep -qx begun "$OUT"
	term
	run pgrep -u root -fa "(sleep|:) $n"
	assert_output ''
	run -0 grep "stopped by the runner .*; the script's processes in the server are ended" "$ERR"
	novajob cleanup
	fault_row 'a cancel in mid-script, and the script has started processes as root by sudo' run 2 "$ERR"
}

@test "what an earlier stage left running is not ended with this one" {
	script "setsid sleep 3456 >/dev/null 2>&1 & echo \$! >$T/daemon"
	novajob run "$T/script" get_sources
	LEFT=$(<"$T/daemon")
	script 'echo begun; sleep 300'
	start_run
	wait_for 20 grep -qx begun "$OUT"
	term
	kill -0 "$LEFT"
	kill -KILL "$LEFT"
	wait_for 5 nothing_left
}

@test "INT and HUP are treated like TERM; a second TERM does no harm" {
	local name
	for name in INT HUP; do
		script 'echo begun; sleep 300'
		start_run
		wait_for 20 grep -qx begun "$OUT"
		kill -"$name" "$GROUP"
		ended 2
		nothing_left
	done
	script "trap '' TERM; echo begun; while :; do sleep 0.1; done"
	start_run
	wait_for 20 grep -qx begun "$OUT"
	kill -TERM -- "-$GROUP"
	term
	nothing_left
}

@test "a second TERM just when the process is made that ends the script does not end that one" {
	printf '%s\n' '#include <sys/syscall.h>' '#include <unistd.h>' 'int setpgid(pid_t p, pid_t g);' \
		'int setpgid(pid_t p, pid_t g) { usleep(500000); return (int)syscall(SYS_setpgid, p, g); }' >"$T/slow.c"
	cc -D_GNU_SOURCE -shared -fPIC -o "$T/slow.so" "$T/slow.c"
	script "trap '' TERM; echo begun; while :; do sleep 0.1; done"
	start env LD_PRELOAD="$T/slow.so" "$NOVAJOB" --settings="$SETTINGS" run "$T/script" build_script
	wait_for 20 grep -qx begun "$OUT"
	kill -TERM -- "-$GROUP"
	two_of_us() { (($(pgrep -c -g "$GROUP") == 2)); }
	wait_for 5 two_of_us # the new one is not yet in a group of its own
	term
	nothing_left
}

@test "TERM when the script has just ended is still no success" {
	mkfifo "$T/log"
	exec 8<>"$T/log"
	OUT=$T/log
	script "yes | head -c 300000; echo >$T/ended"
	start_run
	wait_for 20 test -s "$T/ended" # its output is not taken yet
	term
	exec 8>&-
	nothing_left
}

# bats test_tags=fault
@test "TERM to a server that does not answer any more: stop-grace and seconds, and it is said" {
	set_to state-dir "$STATE"
	set_to stop-grace 1
	prepared
	script 'echo begun; sleep 300'
	start_run
	wait_for 20 grep -qx begun "$OUT"
	cloud freeze "$(cloud servers | grep -- "-job-$JOB_ID " | cut -d' ' -f1)"
	term
	run -0 grep 'the server did not confirm the end' "$ERR"
	assert_equal "$(left_processes | grep -v ControlMaster=yes)" ''
	novajob cleanup
	fault_row 'a cancel, and the server does not answer any more' run 2 "$ERR"
}

# bats test_tags=fault
@test "TERM while novajob asks what became of a lost server" {
	set_to state-dir "$STATE"
	prepared
	script 'echo begun; sleep 300'
	start_run
	wait_for 20 grep -qx begun "$OUT"
	cloud knobs '[{"request": "GET /compute", "hang": true}]'
	local server
	server=$(cloud servers | grep -- "-job-$JOB_ID " | cut -d' ' -f1)
	cloud kill "$server"
	wait_for 20 pgrep -P "$GROUP" -f openstack
	term
	cloud knobs '[]'
	assert_equal "$(left_processes)" ''
	novajob cleanup
	fault_row 'a cancel while the cloud is asked what became of a lost server' run 2 "$ERR"
}

@test "KILL of novajob leaves no ssh behind" {
	local ssh
	script 'echo begun; sleep 300'
	start_run
	wait_for 20 grep -qx begun "$OUT"
	ssh=$(pgrep -P "$GROUP")
	kill -KILL "$GROUP"
	ended 137
	wait_for 10 gone "$ssh"
	assert_equal "$(left_processes)" ''
	in_server | awk '{ print $1 }' | xargs -r kill -KILL 2>/dev/null || : # the server's end does that
	wait_for 10 nothing_left
}

# ---- the other stages

@test "TERM to config: within 2 s, and no answer is a success" {
	start "$NOVAJOB" --settings="$SETTINGS" config
	kill -TERM -- "-$GROUP" 2>/dev/null || :
	status=0
	wait "$GROUP" || status=$? # it may have been done already
	[[ $status == 0 || $status == 2 || $status == 143 ]] || fail "$status"
	rm "$JOB_RESPONSE_FILE"
	mkfifo "$JOB_RESPONSE_FILE"
	start timeout -k 1 2 "$NOVAJOB" --settings="$SETTINGS" config
	ended 2
}

# bats test_tags=fault
@test "TERM to prepare, at its start or while the server boots, leaves no server" {
	local at
	set_to state-dir "$STATE"
	stage_env "$JOB_ID"
	cloud knobs '[{"match": "job-'"$JOB_ID"'$", "boot": 30}]'
	for at in 0 1; do
		start "$NOVAJOB" --settings="$SETTINGS" prepare
		if ((at == 0)); then wait_for 20 pgrep -P "$GROUP" -f openstack; else wait_for 20 has_server; fi
		term
		novajob cleanup
		fault_row "a cancel $( ((at == 0)) && echo 'before the server is created' || echo 'while the server boots')" prepare 2 "$ERR"
	done
}

# ---- whole jobs

# bats test_tags=fault
@test "a cancelled job: the script is ended, after_script runs in the same server, all is cleaned up" {
	run -101 job --cancel-at build_script@begun \
		--script-line 'echo server $NOVASIM_SERVER; (trap "" TERM; while :; do sleep 0.1; done) & echo begun; sleep 300' \
		--after-script-line 'echo after $NOVASIM_SERVER; { pgrep -x sleep || :; } | while read -r p; do grep -lsz "^NOVASIM_SERVER=$NOVASIM_SERVER\$" /proc/$p/environ || :; done; echo end'
	run -0 grep -xE 'server [-0-9a-f]+' "$LOG"
	local server=${output#server }
	run -0 grep -A 1 -x "after $server" "$LOG"
	assert_line end
	fault_row 'a cancel in the script of a whole job' run 2 "$LOG"
}

# bats test_tags=fault
@test "a forced cancel: no after_script; a time-out of the script: after_script; cleaned up in both" {
	run -101 job --force-cancel-at build_script@begun --script-line 'echo begun; sleep 300' --after-script-line 'echo after'
	run ! grep -qx after "$LOG"
	fault_row 'a forced cancel in the script of a whole job' run 2 "$LOG"
	JOB_ID=$((JOB_ID + 1)) # counted from the script's start: a job time-out would also have to wait for prepare
	run -102 job --var RUNNER_SCRIPT_TIMEOUT=1s --script-line 'echo begun; sleep 300' --after-script-line 'echo after'
	run -0 grep -qx after "$LOG"
	fault_row 'a time-out of the script' run 2 "$LOG"
}
