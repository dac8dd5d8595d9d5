#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# run.bats - the run stage: scripts of all sizes, exit codes, what goes wrong with the log or the host. lost.bats has the
# server's troubles.
# Tests that need no server of their own share one: job 777.

load lib
with_cloud

setup_file() {
	ln -s "$(command -v ssh)" "$BATS_FILE_TMPDIR/ssh"
	one_server ssh "$BATS_FILE_TMPDIR/ssh"
}

setup() {
	use_one_server
}

teardown() {
	[[ ! -s $ERR ]] || head -5 "$ERR" >&2 # shown when the test failed
}

# own_server: the test's own server instead of the shared one; its id in $SERVER.
own_server() {
	set_to state-dir "$STATE"
	prepared
	SERVER=$(cloud servers | grep -- "-job-$JOB_ID " | cut -d' ' -f1)
}

# in_time SECONDS COMMAND...: it must not take longer; what it returned.
in_time() {
	local limit=$1 started=$SECONDS status=0
	shift
	"$@" || status=$?
	((SECONDS - started <= limit)) || fail "it took $((SECONDS - started)) s: $*"
	return $status
}

# waited STATUS: the background job $! ends with it, in time.
waited() {
	local started=$SECONDS status=0
	wait $! || status=$?
	((SECONDS - started <= 30)) || fail "it took $((SECONDS - started)) s"
	assert_equal "$status" "$1"
}

# ---- scripts

@test "a script of 0 bytes" {
	: >"$T/script"
	run -0 novajob run "$T/script" prepare_script
	assert_output ''
}

@test "scripts of 33 KiB and 5 MiB arrive whole" {
	local size
	for size in 33792 5242880; do
		"$TESTS/runner/script" prepare_script --size $size >"$T/script"
		assert_equal "$(stat -c %s "$T/script")" $size
		novajob run "$T/script" prepare_script >"$OUT"
		assert_equal "$(<"$OUT")" "Running on $(hostname)..."
		printf 'exit 9\n' >>"$T/script" # the runner's script ends itself before
		novajob run "$T/script" prepare_script >"$OUT"
	done
	{ seq 1 150000 | sed 's/.*/x=&; : some words to fill the line &/'; echo 'exit $((x % 251))'; } >"$T/script"
	(($(stat -c %s "$T/script") > 5242880))
	run -1 novajob run "$T/script" build_script
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" $((150000 % 251))
}

@test "commands that read stdin do not eat the script" {
	"$TESTS/runner/script" prepare_script >"$T/one"
	sed 's/^(eval .*/(eval $'"'cat; read -r x || echo none; wc -c; ssh -V; echo last\\\\n'"'/; s/^)/)/' "$T/one" | sed '/^(eval/s/$/) <\/dev\/null/; $!b' >"$T/script"
	run -0 novajob run "$T/script" build_script
	assert_line none
	assert_line 0
	assert_line last
}

@test "the script's variables are the server's, not the runner host's" {
	export OS_PASSWORD=hush SECRET_OF_HOST=hush
	stage 'env; echo "home $HOME"; pwd'
	run ! grep -q hush "$OUT"
	run -0 grep -q NOVASIM_SERVER "$OUT"
}

@test "a script finds no descriptor of the wrapper, and no file of its text" {
	stage 'ls /proc/self/fd; ls /tmp/novajob.* /var/tmp/novajob.* 2>/dev/null || :'
	assert_equal "$(tr '\n' ' ' <"$OUT")" '0 1 2 3 ' # 3: the listing's own
}

@test "all names of sub-stages are run, unknown ones too, and more operands do no harm" {
	local name
	echo 'echo ran' >"$T/script"
	for name in get_sources step_script step_release brand_new 'two words' '' '--'; do
		run -0 novajob run "$T/script" "$name" more 'and more'
		assert_output ran
	done
	run -2 novajob run "$T/script"
}

# ---- exit codes

@test "each exit code is told: 0, and 1 with the code in the file" {
	local code
	for code in 1 2 3 127 254 255; do
		run -1 stage 'echo out' "exit $code"
		printf '%d\n' $code | cmp - "$BUILD_EXIT_CODE_FILE"
		assert_equal "$(<"$OUT")" out
		assert_file_empty "$ERR"
	done
	stage 'exit 0'
	assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
}

@test "a shell that is killed is 128 + signal, a failure of the script" {
	run -1 stage 'kill -9 $$'
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 137
	run -1 stage 'kill -SEGV $$'
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 139
	run -1 stage 'bash -c "kill -9 \$\$"'
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 137
}

# bats test_tags=fault
@test "a script that kills its wrapper is no success" {
	own_server
	run -2 in_time 30 stage 'kill -9 $PPID; echo on'
	assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
	novajob cleanup
	fault_row 'the script kills the shell around it' run 2 "$ERR"
}

@test "a syntax error is the script's failure" {
	run -1 stage 'if then'
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 2
}

@test "the last stage's exit code is removed first, whatever comes" {
	echo 7 >"$BUILD_EXIT_CODE_FILE"
	stage :
	assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
	echo 7 >"$BUILD_EXIT_CODE_FILE"
	run -2 novajob run "$T/none" build_script
	assert_output --partial "cannot open the script '$T/none': No such file"
	assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
}

@test "without BUILD_EXIT_CODE_FILE (an old runner) a failed script is 1" {
	unset BUILD_EXIT_CODE_FILE
	run -1 stage 'exit 3'
}

# bats test_tags=fault
@test "an exit code that cannot be written is a system failure, and it is said" {
	own_server
	mkdir "$T/dir"
	export BUILD_EXIT_CODE_FILE=$T/dir/code
	run -2 stage "rm -r $T/dir; exit 3"
	run -0 grep 'failed with 3, but .* cannot be written' "$ERR"
	novajob cleanup
	fault_row 'the script fails, and its exit code cannot be written' run 2 "$ERR"
}

# ---- what holds the stage

@test "processes left behind do not hold the stage, and live on into the next one" {
	local how pid
	for how in '%s &' 'setsid %s &' 'nohup %s &' '(setsid %s &) &' '(while :; do echo more; sleep 0.01; done) & : %s'; do
		# shellcheck disable=SC2059
		run -0 in_time 10 stage "$(printf "$how" 'sleep 12345')" "echo \$! >$T/pid; echo last"
		run -0 grep -qx last "$OUT"
	done
	stage "pgrep -x sleep | while read -r p; do grep -qsz NOVASIM_SERVER=\$NOVASIM_SERVER /proc/\$p/environ && ps -o args= -p \$p || :; done"
	assert_equal "$(grep -c 12345 "$OUT")" 4
	pkill -KILL -f '^sleep 12345$'
}

@test "a daemon with its own files works on in the next stage" {
	stage "(while :; do echo alive >>$T/beat; sleep 0.1; done) </dev/null >/dev/null 2>&1 & echo \$! >$T/pid"
	: >"$T/beat"
	stage "until [[ -s $T/beat ]]; do sleep 0.05; done; kill \$(cat $T/pid)"
}

# ---- the runner host's troubles

# bats test_tags=fault
@test "no ssh: a clear message, a system failure" {
	set_to ssh /nonexistent/ssh
	set_to state-dir "$STATE"
	stage_env "$JOB_ID"
	run -2 novajob prepare
	assert_output --partial "/nonexistent/ssh"
	echo "$output" >"$ERR"
	novajob cleanup
	fault_row 'the host has no ssh' prepare 2 "$ERR"
}

# bats test_tags=fault
@test "ssh gone since prepare: a clear message, a system failure" {
	ln -s "$(command -v ssh)" "$T/ssh"
	set_to ssh "$T/ssh"
	own_server
	rm "$T/ssh"
	run -2 stage :
	assert_equal "$(grep -c 'error:' "$ERR")" 1
	run -0 grep "cannot run '$T/ssh': No such file" "$ERR"
	novajob cleanup
	fault_row 'the host has no ssh any more' run 2 "$ERR"
}

@test "a script that is missing, a directory, a fifo: a system failure" {
	run -2 novajob run "$T/none" build_script
	run -2 novajob run "$T" build_script
	assert_output --partial 'is no file'
	mkfifo "$T/fifo"
	run -2 timeout 20 "$NOVAJOB" --settings="$SETTINGS" run "$T/fifo" build_script
	assert_output --partial 'is no file'
}

@test "a stage works without its temporary folder" {
	printf 'exit 4\n' >"$T/script"
	mkdir "$T/cwd"
	cd "$T/cwd"
	rmdir "$T/cwd"
	TMPDIR=$T/gone run -1 novajob run "$T/script" build_script
	cd /
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 4
}

@test "stdout that is closed, full or without reader: a system failure, and the script is ended" {
	local how
	printf '%s\n' "echo \$\$ >$T/pid" 'while :; do seq 1 1000; sleep 0.01; done' >"$T/script"
	for how in '>&-' '>/dev/full' '> >(exec true)' '> >(head -c 100 >/dev/null)'; do
		rm -f "$T/pid"
		run -2 in_time 20 eval "novajob run $T/script build_script 2>$ERR $how 3>&-"
		run -0 grep 'cannot write the job log' "$ERR"
		[[ ! -s $T/pid ]] || run ! kill -0 "$(<"$T/pid")" # it may have ended before the script was begun
		assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
	done
}

# bats test_tags=fault
@test "a reader that goes away while the script is silent ends the stage" {
	own_server
	mkfifo "$T/log"
	exec 8<>"$T/log"
	printf '%s\n' "echo \$\$ >$T/pid" 'sleep 300' >"$T/script"
	novajob run "$T/script" build_script 2>"$ERR" >"$T/log" 3>&- 8>&- &
	wait_for 20 test -s "$T/pid"
	exec 8>&-
	waited 2
	run ! kill -0 "$(<"$T/pid")"
	novajob cleanup
	fault_row 'nobody reads the job log any more, the script is silent' run 2 "$ERR"
}

# bats test_tags=fault
@test "a stage of a job that was never prepared fails at once" {
	set_to state-dir "$STATE"
	stage_env 778
	run -2 stage :
	run -0 grep 'the job has no server' "$ERR"
	fault_row 'a stage of a job that was never prepared' run 2 "$ERR" 778
}

# ---- whole jobs

@test "a variable of 100 KB, and values of many lines" {
	head -c 100000 /dev/zero | tr '\0' v >"$T/big"
	run -0 job --var-file BIG_FILE="$T/big" --raw-var BIG="$(<"$T/big")" --raw-var LINES_=$'a\nb\n"c\'$d\\' \
		--script-line 'echo ${#BIG} $(wc -c <"$BIG_FILE"); printf "%s|" "$LINES_"'
	run -0 grep -qx '100000 100000' "$LOG"
	run -0 grep -qF "\"c'\$d\\|" "$LOG"
}

@test "an author who sets NOVAJOB_OWNER is refused; it is his failure" {
	run -1 job --var NOVAJOB_OWNER=other --script-line true
	run -0 jq -r .failure_reason "$RESULT"
	assert_output script_failure
	run -0 servers_of "$JOB_ID"
	assert_output 0
}

@test "an author who sets the cloud's or another job's variables changes nothing" {
	run -0 job --var OS_AUTH_URL=http://127.0.0.1:1/v3 --var OS_PASSWORD=x --var CI_JOB_ID=777 --var CI_PROJECT_ID=1 \
		--var HOME=/nonexistent --var PATH=/nonexistent:/usr/bin:/bin --script-line 'echo ok'
	run -0 grep -qx ok "$LOG"
	run -0 servers_of 777
	assert_output 1
}

@test "twenty jobs at once, ids side by side, and each gets its own server and log" {
	local i failed=0 base=$JOB_ID pids=()
	for i in {0..19}; do
		JOB_ID=$((base + i)) LOG=$T/log.$i RESULT=$T/result.$i RUNNER_LOG=$T/runner.$i \
			job --slot "$i" --script-line "echo job-$i on \$NOVASIM_SERVER; exit $((i % 3))" \
			--after-script-line "echo after-$i on \$NOVASIM_SERVER" &
		pids+=($!)
	done
	for i in {0..19}; do
		local status=0
		wait "${pids[i]}" || status=$?
		((status == i % 3)) || { failed=1; echo "job $i: $status"; cat "$T/log.$i"; }
	done
	((failed == 0))
	for i in {0..19}; do
		assert_equal "$(grep -Eo '^(job|after)-[0-9]+ on' "$T/log.$i" | tr '\n' ' ')" "job-$i on after-$i on "
	done
	assert_equal "$(grep -Eho '^job-[0-9]+ on .*' "$T"/log.* | cut -d' ' -f3 | sort -u | wc -l)" 20
	run -0 grep -c -- "-job-$base" <(cloud servers; echo "-job-$base") # only what we echo
	assert_output 1
}
