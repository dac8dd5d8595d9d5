#!/usr/bin/env bats
# login.bats - prepare's first login: the reasons for waiting and for giving up are told apart, and nothing is left.

load lib
with_cloud

setup() {
	novajob_setup
	stage_env
}

# row WHAT: of a prepare that gave up, whose words are in $output; it has deleted its server by itself.
row() {
	printf '%s\n' "$output" >"$LOG"
	no_server
	novajob cleanup
	fault_row "$1" prepare 2 "$LOG"
}

no_server() {
	run -0 servers_of "$JOB_ID"
	assert_output 0
	run -0 left_processes
	assert_output ''
	[[ $(jq -r .phase "$RECORD") == deleted ]]
}

# The directory of this job's server in the cloud.
guest() {
	cloud servers --json | jq -r --arg n "-job-$JOB_ID" --arg c "$CLOUD" \
		'.[] | select(.name | endswith($n)) | $c + "/servers/" + .id'
}

# ends CODE PID: a child of this shell ends with that exit code.
ends() {
	local code=0
	wait "$2" || code=$?
	((code == $1)) || fail "exit code $code, expected $1: $(cat "$BATS_TEST_TMPDIR/prepare.log")"
}

logged() {
	grep -qE -- "$1" "$BATS_TEST_TMPDIR/prepare.log"
}

# bats test_tags=fault
@test "no sshd: refused, with the end of the console, safe to print" {
	cloud knobs '[{"match": "", "no_sshd": true, "console": "red \u001b[31m bell \u0007 title \u001b]0;x\u0007 rtl \u202e end\nlast words"}]'
	set_to ssh-timeout 1
	run -2 novajob prepare
	assert_line --regexp 'error: no login at 127[.0-9]* within [0-9.]+ s: no address answers on the ssh port: Connection refused$'
	assert_line --regexp 'hint: .*security group'
	assert_line 'novajob: the last lines of its console:'
	assert_line --partial 'novajob: | red \x1b[31m bell \x07 title \x1b]0;x\x07 rtl '
	assert_line 'novajob: | last words'
	row 'no sshd in the server'
	LC_ALL=C run ! grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xe2\x80\xae' "$LOG"
}

# bats test_tags=fault
@test "a server that does not answer in time is told from one that refuses" {
	set_to ssh-timeout 3
	cloud knobs '[{"match": "", "sshd": ["ForceCommand sleep 1000"]}]'
	run -2 novajob prepare
	assert_line --regexp 'error: no login at 127[.0-9]* within [0-9.]+ s: no address answers on the ssh port: no answer from .ssh. within'
	refute_output --partial 'refused'
	row 'the login hangs'
}

# bats test_tags=fault
@test "the key is refused: told while waiting and at the end" {
	cloud knobs '[{"match": "", "wrong_key": true}]'
	set_to ssh-timeout 2
	run -2 novajob prepare
	assert_line --regexp 'novajob: 127[.0-9]*: sshd answers, but refuses the key: waiting for cloud-init.*Permission denied'
	assert_line --regexp 'error: no login at 127[.0-9]* within [0-9.]+ s: sshd refuses the key: .*Permission denied'
	assert_line --regexp 'hint: .*key-pair.*cloud-init'
	row 'sshd refuses the key'
}

# bats test_tags=fault
@test "the key comes late, as cloud-init brings it: the login succeeds" {
	cloud knobs '[{"match": "", "key_delay": 1.5}]'
	run -0 novajob prepare
	assert_output --partial 'refuses the key: waiting for cloud-init'
	assert_line --regexp 'novajob: ready in '
	printf '%s\n' "$output" >"$LOG"
	novajob cleanup
	fault_row 'the key comes late, as cloud-init brings it' prepare 0 "$LOG"
}

# bats test_tags=fault
@test "sshd punishes the first refusals: patience gets in" {
	cloud knobs '[{"match": "", "key_delay": 0.5, "penalty": true}]'
	run -0 novajob prepare
	assert_line --regexp 'novajob: ready in '
	printf '%s\n' "$output" >"$LOG"
	novajob cleanup
	fault_row 'sshd punishes the first refusals (PerSourcePenalties)' prepare 0 "$LOG"
}

# bats test_tags=fault
@test "sshd punishes refusals of a wrong key: the key is told of, not the penalty" {
	cloud knobs '[{"match": "", "wrong_key": true, "penalty": 60}]'
	set_to ssh-timeout 10
	run -2 novajob prepare
	assert_line --regexp 'error: no login at .*: sshd refuses the key'
	row 'sshd refuses the key, and punishes for it'
}

# bats test_tags=fault
@test "the account's shell runs no commands: at once, exit 2" {
	cloud knobs '[{"match": "", "sshd": ["ForceCommand /usr/sbin/nologin"]}]'
	run -2 novajob prepare
	assert_line --regexp "error: no login at .*: the login works, but the account's shell runs no commands"
	assert_line --regexp 'hint: username must name an account with a login shell'
	row "the account's shell is nologin"
}

# bats test_tags=fault
@test "no bash in the image: at once, exit 2" {
	cloud knobs '[{"match": "", "sshd": ["ForceCommand PATH=/nonexistent; export PATH; eval \"$SSH_ORIGINAL_COMMAND\""]}]'
	run -2 novajob prepare
	assert_line --regexp "error: no login at .*: the image has no bash, which the runner's scripts need"
	assert_line 'novajob: hint: install bash in the image'
	row 'no bash in the image'
}

# bats test_tags=fault
@test "the host key changes between two tries: at once, exit 2, with a warning" {
	local g pid
	cloud knobs '[{"match": "", "wrong_key": true}]'
	novajob prepare 2>"$BATS_TEST_TMPDIR/prepare.log" 3>&- &
	pid=$!
	wait_for 30 logged 'refuses the key'
	g=$(guest)
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/new"
	mv "$BATS_TEST_TMPDIR/new" "$g/ssh_host_ed25519_key"
	pkill -HUP -f "^/usr/sbin/sshd -D .*$g/|sshd: /usr/sbin/sshd -D .*$g/"
	ends 2 "$pid"
	run -0 cat "$BATS_TEST_TMPDIR/prepare.log"
	symptom 'no login at ... within ...: the host key changed since the first connection: ...'
	assert_line --regexp 'hint: .*look at the network'
	row 'the host key changes between two tries to log in'
}

# bats test_tags=fault
@test "another machine on one of the addresses does not spoil the host key of ours" {
	local pid dead
	set_to network ci-dual
	cloud knobs '[{"match": "", "boot": 4}]'
	novajob prepare 2>"$BATS_TEST_TMPDIR/prepare.log" 3>&- &
	pid=$!
	wait_for 30 logged 'server is ACTIVE'
	dead=$(sed -n 's/.*ACTIVE after .* at \([0-9.]*\).*/\1/p' "$BATS_TEST_TMPDIR/prepare.log")
	stranger "$dead"
	ends 0 "$pid"
	run -0 cat "$BATS_TEST_TMPDIR/prepare.log"
	assert_line --regexp "novajob: $dead: sshd answers, but refuses the key"
	assert_line --regexp 'novajob: ready in '
	[[ $(jq -r .address "$RECORD") == $(jq -r '.addresses[1]' "$RECORD") ]]
	# the record's known_hosts is our server's: a strict stage gets in
	printf 'echo in\n' >"$BATS_TEST_TMPDIR/script"
	run -0 novajob run "$BATS_TEST_TMPDIR/script" build_script
	assert_output in
	novajob cleanup
	fault_row "another machine answers on one of the server's addresses" prepare 0 "$BATS_TEST_TMPDIR/prepare.log"
}

# stranger ADDRESS: another sshd there, with another host key, that knows no key of ours. Ends with the test.
stranger() {
	local d=$BATS_TEST_TMPDIR/stranger
	mkdir "$d"
	ssh-keygen -q -t ed25519 -N '' -f "$d/key"
	printf '%s\n' "Port $(cat "$CLOUD/ssh-port")" "ListenAddress $1" "HostKey $d/key" "PidFile $d/pid" \
		'AuthorizedKeysFile /nonexistent' 'StrictModes no' 'PasswordAuthentication no' >"$d/config"
	/usr/sbin/sshd -f "$d/config" -E "$d/log" 3>&-
	wait_for 10 test -s "$d/pid"
}

teardown() {
	[[ ! -s $BATS_TEST_TMPDIR/stranger/pid ]] || kill "$(cat "$BATS_TEST_TMPDIR/stranger/pid")" || true
}

# What ssh may say, by a stand-in that says one thing after the other: words that a real server does not bring about.
@test "ssh's own words are told apart" {
	set_to ssh "$BATS_TEST_TMPDIR/ssh"
	cat >"$BATS_TEST_TMPDIR/ssh" <<-'END'
		#!/bin/sh
		echo >>"$HOME/calls"
		case $(wc -l <"$HOME/calls") in
		1) echo 'Connection timed out during banner exchange' ;;
		2) echo 'ssh: connect to host x port 22: No route to host' ;;
		3) echo 'Bad owner or permissions: something new' ;;
		*) printf 'Load key "k": error in libcrypto\nroot@x: Permission denied (publickey).\n' ;;
		esac >&2
		exit 255
	END
	chmod 755 "$BATS_TEST_TMPDIR/ssh"
	run -2 novajob prepare
	assert_line --regexp 'waiting for sshd to answer: Connection timed out during banner exchange'
	assert_line --regexp 'ssh fails: Bad owner or permissions: something new'
	assert_line --regexp 'error: no login at .*: ssh cannot use the private key: .*'
	run -0 grep -c '' "$HOME/calls"
	assert_output 4
	no_server
}
