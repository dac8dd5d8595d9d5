#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shells.bats - accounts and sshds of all kinds: login shells, rc files that print, MaxSessions 1, penalties, a full disk.
# All tests but the last share one server, whose forced command takes the part of the account's login shell: $HOW.

load lib
with_cloud

setup_file() {
	one_server stop-grace 1
}

before_server() {
	mkdir "$BATS_FILE_TMPDIR/bin"
	ln -s "$(command -v busybox)" "$BATS_FILE_TMPDIR/bin/ash"
	echo 'exec bash -c "$SSH_ORIGINAL_COMMAND"' >"$BATS_FILE_TMPDIR/how"
	cloud knobs "[{\"match\": \".\", \"sshd\": [\"MaxSessions 1\", \"ForceCommand . $BATS_FILE_TMPDIR/how\"]}]"
}

setup() {
	use_one_server
	HOW=$BATS_FILE_TMPDIR/how
	"$TESTS/runner/script" prepare_script --size 20000 >"$T/runner-script"
}

teardown() {
	[[ ! -s $ERR ]] || head -5 "$ERR" >&2 # shown when the test failed
}

# What every account with a shell must do: output in order, bytes, exit code, a cancel.
works() {
	local stage status=0
	run -1 stage 'printf "one\n two  \\ ! $HOME\n" | cat; echo err >&2; printf "a\0b"; exit 42'
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 42
	run -0 grep -qx err "$OUT"
	assert_equal "$(tail -c 3 "$OUT" | od -An -c | tr -d ' ')" 'a\0b'
	novajob run "$T/runner-script" prepare_script >"$OUT" 2>"$ERR"
	run -0 grep -qx "Running on $(hostname)..." "$OUT"
	printf '%s\n' "trap '' TERM" "setsid sleep 4567 & echo \$! >$T/child" "echo \$\$ >$T/pid" 'while :; do sleep 0.1; done' >"$T/script"
	"$NOVAJOB" --settings="$SETTINGS" run "$T/script" build_script >"$OUT" 2>"$ERR" 3>&- & # no function: $! is it
	stage=$!
	wait_for 20 test -s "$T/pid"
	kill -TERM "$stage"
	wait "$stage" || status=$?
	assert_equal "$status" 2
	run -0 grep "processes in the server are ended" "$ERR"
	run ! kill -0 "$(<"$T/pid")"
	run ! kill -0 "$(<"$T/child")"
}

# account COMMAND: the login shell, which gets -c and the command behind it.
account() {
	echo "exec $1 -c \"\$SSH_ORIGINAL_COMMAND\"" >"$HOW"
}

@test "bash as login shell" {
	account bash
	works
}

@test "dash as login shell" {
	account dash
	works
}

@test "busybox ash as login shell, and busybox programs first in PATH" {
	mkdir "$T/bb"
	busybox --install -s "$T/bb"
	rm -f "$T/bb/bash"
	echo "PATH=$T/bb:\$PATH exec $BATS_FILE_TMPDIR/bin/ash -c \"\$SSH_ORIGINAL_COMMAND\"" >"$HOW"
	works
}

@test "fish as login shell" {
	account fish
	works
}

@test "tcsh as login shell" {
	account tcsh
	works
}

@test "zsh as login shell" {
	account zsh
	works
}

@test "an account without shell is a system failure that is explained" {
	local shell
	for shell in "$(command -v nologin || echo /usr/sbin/nologin)" false; do
		account "$shell"
		run -2 stage 'echo ran'
		run ! grep -q ran "$OUT"
		run -0 grep "error: .*login shell refused" "$ERR"
		assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
	done
}

@test "an rc file that prints on stdout and stderr, with and without newline" {
	printf '%s\n' 'echo welcome; echo motd >&2; printf "no newline" >&2' 'exec bash -c "$SSH_ORIGINAL_COMMAND"' >"$HOW"
	run -1 stage 'echo script; exit 7'
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 7
	assert_equal "$(<"$OUT")" $'welcome\nscript'
	assert_equal "$(<"$ERR")" $'motd\nno newline'
}

@test "however the script comes in, and whatever LC_ALL the account has: the same script, and no trace of the reading" {
	local how
	cat >"$T/by_socket.py" <<-'END'
		import os, socket, sys
		ours, theirs = socket.socketpair()
		if os.fork() == 0:
		    theirs.close()
		    while data := os.read(0, 65536):
		        ours.sendall(data)
		    sys.exit()
		os.dup2(theirs.fileno(), 0)
		os.execvp('bash', ['bash', '-c', os.environ['SSH_ORIGINAL_COMMAND']])
	END
	cat >"$T/script" <<-'END'
		a=ä
		printf '%s ' ${#a} "${LC_ALL-none}" "${x-none}${y-}${i-}${l-}" $# "$(readlink /proc/self/fd/0)"
		[[ $- != *f* && $IFS == $' \t\n' ]] || echo as it was read
		cat <<'HERE'
	END
	printf '\377\177\001  of * \0any kind\\\nHERE\n\n\0\n\0' >>"$T/script" # NUL bytes no shell takes
	for how in pipe 'pipe C' 'pipe C.UTF-8' socket 'socket C.UTF-8'; do
		set -- $how
		{
			echo "export LANG=C.UTF-8 ${2:+LC_ALL=$2}"
			[[ $1 != socket ]] || echo "exec python3 $T/by_socket.py"
			echo 'exec bash -c "$SSH_ORIGINAL_COMMAND"'
		} >"$HOW"
		LANG=C.UTF-8 novajob run "$T/script" build_script >"$OUT" 2>"$ERR"
		assert_file_empty "$ERR"
		[[ ${2:-} == C ]] && a=2 || a=1
		printf '%s %s none 0 /dev/null \377\177\001  of * any kind\\\n' $a "${2:-none}" | cmp - "$OUT"
	done
}

@test "whatever the account's rc file has set, the script finds it so" {
	local rc
	mkdir "$T/in" "$T/account"
	touch "$T/in/file 1" "$T/in/file2"
	echo "cd $T/in" >"$T/script"
	cat >>"$T/script" <<-'END'
		text='a x b  c * ä'
		printf '<%s>' $text "${x-}${y-}${i-}${l-}" ${#text} "${LC_ALL-none}" "${IFS-none}" "${-/c/}"
		echo
		shopt -po posix nounset errexit || :
	END
	for rc in ':' 'readonly IFS' 'readonly LC_ALL' 'readonly LC_ALL=C.UTF-8' 'export LC_ALL=C' 'unset IFS' 'IFS=' 'IFS=x12' 'set -f' \
		'set -f; readonly IFS=x' 'declare -ix x=1 y=2 i=3 l=4; readonly i l x y' 'set -eu -o posix' 'set -u; readonly IFS'; do
		echo "$rc" >"$T/account/.bashrc" # bash reads it where sshd has started it
		printf '%s\n' "export LANG=C.UTF-8 HOME=$T/account; unset LC_ALL; exec bash -c \"\$SSH_ORIGINAL_COMMAND\"" >"$HOW"
		env -u LC_ALL LANG=C.UTF-8 BASH_ENV="$T/account/.bashrc" bash "$T/script" >"$T/want" || :
		run -0 test -s "$T/want"
		novajob run "$T/script" build_script >"$OUT" 2>"$ERR" || fail "$rc: $(<"$ERR")"
		diff "$T/want" "$OUT" || fail "with this rc file: $rc"
	done
}

@test "a script whose end is missing is not run, and not the script's failure" {
	local lc
	for lc in '' 'export LC_ALL=C.UTF-8;'; do
		echo "$lc head -c 3000 | bash -c \"\$SSH_ORIGINAL_COMMAND\"" >"$HOW"
		run -2 stage "echo ran >$T/ran" "$(cat "$T/runner-script")"
		run -0 grep 'error: .*the script did not arrive whole and was not run' "$ERR"
		assert_file_not_exist "$T/ran"
		assert_file_not_exist "$BUILD_EXIT_CODE_FILE"
	done
}

@test "a server without bash is a system failure that is explained" {
	mkdir "$T/bin"
	ln -s "$(command -v sh)" "$(command -v id)" "$T/bin"
	echo "PATH=$T/bin exec sh -c \"\$SSH_ORIGINAL_COMMAND\"" >"$HOW"
	run -2 stage 'echo ran'
	run -0 grep 'error: .*no bash' "$ERR"
}

@test "a server whose /tmp cannot be written to runs the script all the same" {
	mkdir "$T/bin"
	printf '#!/bin/sh\nexit 1\n' >"$T/bin/mktemp"
	chmod 755 "$T/bin/mktemp"
	echo "PATH=$T/bin:\$PATH exec sh -c \"\$SSH_ORIGINAL_COMMAND\"" >"$HOW"
	works
}

@test "a server whose disk is full runs the script all the same" {
	# a file may have 1 block, a script more: it needs no file
	echo 'ulimit -f 1; exec bash -c "$SSH_ORIGINAL_COMMAND"' >"$HOW"
	novajob run "$T/runner-script" prepare_script >"$OUT" 2>"$ERR"
	run -0 grep -x "Running on $(hostname)..." "$OUT"
	assert_file_empty "$ERR"
	run -0 find /tmp -maxdepth 1 -name 'novajob.??????????' -type f -mmin -1
	assert_output ''
}

@test "whole jobs with ash, fish and tcsh, MaxSessions 1 and a penalty for failed logins" {
	local shell pids=() i=0
	set_to state-dir "$STATE"
	cloud knobs "[{\"match\": \"-job-${JOB_ID}1\$\", \"sshd\": [\"MaxSessions 1\", \"ForceCommand exec $BATS_FILE_TMPDIR/bin/ash -c \\\"\$SSH_ORIGINAL_COMMAND\\\"\"]},
		{\"match\": \"-job-${JOB_ID}2\$\", \"sshd\": [\"ForceCommand exec fish -c \\\"\$SSH_ORIGINAL_COMMAND\\\"\"]},
		{\"match\": \"-job-${JOB_ID}3\$\", \"penalty\": true, \"key_delay\": 1, \"sshd\": [\"ForceCommand exec tcsh -c \\\"\$SSH_ORIGINAL_COMMAND\\\"\"]}]"
	for i in 1 2 3; do
		JOB_ID=$JOB_ID$i LOG=$T/log.$i RESULT=$T/result.$i RUNNER_LOG=$T/runner.$i \
			job --script-line 'echo ran' --script-line 'exit 3' --after-script-line 'echo after' &
		pids+=($!)
	done
	for i in 1 2 3; do
		local status=0
		wait "${pids[i - 1]}" || status=$?
		((status == 3)) || fail "job $i: $status: $(cat "$T/log.$i")"
		run -0 grep -qx ran "$T/log.$i"
		run -0 grep -qx after "$T/log.$i"
	done
}
