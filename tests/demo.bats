#!/usr/bin/env bats
# demo.bats - what a newcomer does first: `make demo`, with and without a script of one's own.

bats_require_minimum_version 1.5.0

setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
	TOP=$(realpath "$BATS_TEST_DIRNAME/..")
	DEMO=$TOP/tests/demo
	export NOVAJOB=${NOVAJOB:-$TOP/build/novajob}
	T=$BATS_TEST_TMPDIR
	# the inner make must not know of the one that runs the tests
	unset MAKEFLAGS MAKELEVEL MFLAGS
}

teardown() {
	[[ -z ${ACCOUNT:-} ]] || until_true 30 userdel "$ACCOUNT"
}

# demo_job [ARG...]: the demo, bounded only against hanging.
demo_job() {
	timeout 120 "$DEMO" "$@" </dev/null 3>&-
}

# Nothing of a demo that worked in directory $1 is left: no process, no file.
nothing_of() {
	[[ $1 == /tmp/novajob-demo.?????? ]] || fail "no directory of a demo: '$1'"
	[[ ! -e $1 ]] || fail "$1 is left: $(ls -R "$1")"
	run ! pgrep -fa -- "$1"
}

# The directory of a demo whose job printed its $PWD.
directory() {
	grep -oE '/tmp/novajob-demo\.[A-Za-z0-9]{6}' <<<"$output" | head -n 1
}

until_true() {
	local until=$((SECONDS + $1 + 1))
	shift
	until "$@"; do
		((SECONDS < until)) || fail "waited in vain for: $*"
		sleep 0.05
	done
}

@test "make demo plays a whole job, shows its log with times, and proves that no server is left" {
	run -0 timeout 120 make -s -C "$TOP" demo </dev/null 3>&-
	assert_line --regexp '^ +[0-9]+\.[0-9]  novajob: ready in [0-9.]+ s \(cold: create [0-9.]+, build [0-9.]+, ssh [0-9.]+\)$'
	assert_line --regexp '^ +[0-9]+\.[0-9]  working on part 3$'
	assert_line --regexp '^ +[0-9]+\.[0-9]  Job succeeded$'
	assert_line --regexp '^times: +config [0-9.]+ s, prepare [0-9.]+ s, .*cleanup [0-9.]+ s$'
	assert_line --regexp '^requests: [0-9]+ to the cloud, 1 server created, 1 deleted$'
	assert_line --regexp '^servers: +none'
	assert_output --partial 'What next'
	local log=$output
	nothing_of "$(directory)"
	# thousands of bytes of exports, as a real job has them
	local bytes
	bytes=$(sed -nE 's/.* ([0-9]+) bytes of environment$/\1/p' <<<"$log")
	((bytes > 3000)) || fail "only '$bytes' bytes of environment"
}

@test "the exit status is that of the reader's own script, its lines one script, whatever the environment has" {
	# for another cloud, another runner
	export OS_CLOUD=prod OS_AUTH_URL=http://127.0.0.1:1/v3 NOVAJOB_FLAVOUR=x NOVAJOB_SETTINGS=/none
	export CUSTOM_ENV_NOVAJOB_OWNER=x JOB_RESPONSE_FILE=/none http_proxy=http://127.0.0.1:1 TMPDIR=/none HOME=/none
	cat >"$T/my job.sh" <<-'END'
		#!/bin/bash
		echo "in $PWD"
		for word in one two; do
			echo "word $word"
		done
		cat <<X
		here document
		X
		exit 42
	END
	cd "$T"
	run -42 demo_job my job.sh
	assert_line --regexp ' word two$'
	assert_line --regexp ' here document$'
	assert_line --regexp '^servers: +none'
	nothing_of "$(directory)"
}

@test "make demo JOB=file: a failure is make's failure; a script that no argument could hold runs as well" {
	{
		echo 'n=0; echo "in $PWD"'
		yes 'n=$((n + 1)) # a line of a long script' | head -n 5000
		echo 'echo "counted $n"; exit 3'
	} >"$T/long.sh"
	# make has one exit code for every failure
	run -2 timeout 120 make -s -C "$TOP" demo JOB="$T/long.sh" </dev/null 3>&-
	assert_line --regexp ' counted 5000$'
	assert_output --partial 'Job failed: exit code 3'
	assert_line --regexp '^servers: +none'
	nothing_of "$(directory)"
}

@test "a script that is not there, a program that is not built: said at once" {
	run -64 demo_job "$T/none.sh"
	assert_output --partial "none.sh"
	NOVAJOB=$T/none run -64 demo_job
	assert_output --partial 'run make'
}

@test "Ctrl-C and TERM end the job, delete its server, stop the cloud" {
	local signal
	printf '%s\n' 'echo "here: $PWD"' 'exec tail -f /dev/null' >"$T/job.sh"
	for signal in INT TERM; do
		# a group of its own, signals as a terminal's shell gives them: INT is not ignored
		timeout 120 python3 -c 'import os, signal, sys
os.setpgid(0, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$DEMO" "$T/job.sh" >"$T/out" 2>&1 </dev/null 3>&- &
		until_true 60 grep -q ' here: ' "$T/out"
		pkill -"$signal" -f "^/bin/bash $DEMO $T/job.sh\$"
		wait $! || true
		run -0 cat "$T/out"
		assert_line --regexp 'stopped by the runner.*processes in the server are ended'
		assert_line --regexp '^requests: .* 1 server created, 1 deleted$'
		assert_line --regexp '^servers: +none'
		nothing_of "$(directory)"
	done
}

@test "the demo needs no root" {
	((EUID == 0)) || return 0 # the other tests show it
	local user
	# an account that sshd lets in: not locked, with a login shell
	user=$(getent passwd | awk -F: '$3 >= 1000 && $3 < 60000 && $7 ~ /\/(ba|da)?sh$/ { print $3; exit }')
	if [[ -z $user ]]; then # a bare container
		ACCOUNT=njdemo$$
		until_true 30 useradd --no-create-home --shell /bin/bash --password '*' "$ACCOUNT"
		user=$(id -u "$ACCOUNT")
	fi
	local copy # where that user can read it
	copy=$(mktemp -d /tmp/novajob-nonroot.XXXXXX)
	mkdir "$copy/build" "$copy/tests"
	cp -r "$TOP/tests/demo" "$TOP/tests/cloud" "$TOP/tests/runner" "$copy/tests/"
	cp "$NOVAJOB" "$copy/build/novajob"
	chmod -R a+rX "$copy"
	run timeout 120 setpriv --reuid="$user" --regid="$user" --clear-groups env -i PATH="$PATH" \
		NOVAJOB="$copy/build/novajob" "$copy/tests/demo" </dev/null 3>&-
	rm -rf "$copy"
	assert_success
	assert_line --regexp '^servers: +none'
	nothing_of "$(directory)"
}
