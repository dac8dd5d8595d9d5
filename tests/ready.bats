#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# ready.bats - from the first login to a server that is ready: ready-command, runner-binary, prepare-script, and what prepare
# says of the tools it finds. Programs that stand in for gitlab-runner are coreutils: they are ELF and have a --version.

load lib
with_cloud

setup() {
	novajob_setup
	stage_env
	T=$BATS_TEST_TMPDIR P=$BATS_TEST_TMPDIR/prepare.log
	set_to stop-timeout 30
	image bash git gitlab-runner
}

teardown() {
	[[ ! -s $P ]] || tail -25 "$P" >&2 # shown when the test failed
	cloud knobs '[]'
}

# image TOOL...: what the account finds in its PATH besides what the wrapper needs. gitlab-runner is GNU cat.
image() {
	local tool
	rm -rf "$T/image"
	mkdir "$T/image"
	for tool in sh cat chmod head id grep mkdir mktemp mv rm rmdir sleep tr uname wc env ls "${@/gitlab-runner/}"; do
		[[ -z $tool ]] || ln -s "$(type -P "$tool")" "$T/image/$tool"
	done
	[[ $* != *gitlab-runner* ]] || cp "$(command -v cat)" "$T/image/gitlab-runner"
	in_image
}

# in_image [COMMAND]: each connection runs COMMAND before its own.
in_image() {
	jq -n --arg c "ForceCommand PATH=$T/image; export PATH; ${1:-:}; eval \"\$SSH_ORIGINAL_COMMAND\"" \
		'[{match: "", sshd: [$c]}]' | cloud knobs -
}

# prepare STATUS [ARG...]: what it says is in $P.
prepare() {
	local want=$1 status=0
	novajob "${@:2}" prepare >"$T/out" 2>"$P" 3>&- || status=$?
	assert_equal "$status" "$want"
	assert_equal "$(cat "$T/out")" ''
}

said() {
	grep -qE -- "$1" "$P" || fail "not said: $1"
}

unsaid() {
	! grep -E -- "$1" "$P" || fail "said: $1"
}

# The home of this job's server.
home() {
	local id
	id=$(jq -r .server_id "$STATE/jobs/11111111-2222-3333-4444-555555555555-$JOB_ID/record.json")
	echo "$CLOUD/servers/$id/home"
}

# stage LINE: what it prints in the job's server.
stage() {
	printf '%s\n' "$1" >"$T/script"
	novajob run "$T/script" build_script
}

# row WHAT [STATUS]: prepare ended so, and has undone its server by itself when it failed.
row() {
	if ((${2:-2} == 2)); then
		assert_equal "$(servers_of "$JOB_ID")" 0
		assert_equal "$(in_server)" ''
		assert_equal "$(jq -r .phase "$STATE"/jobs/*/record.json)" deleted
	fi
	novajob cleanup
	fault_row "$1" prepare "${2:-2}" "$P"
}

# cancelled WORD: prepare gets a TERM once it has said WORD; it ends with 2, and nothing is left.
cancelled() {
	local status=0 began
	setsid "$NOVAJOB" --settings="$SETTINGS" prepare >/dev/null 2>"$P" </dev/null 3>&- &
	started
	wait_for 30 grep -qE -- "$1" "$P"
	began=$SECONDS
	kill -TERM -- "-${STARTED[0]}"
	wait "${STARTED[0]}" || status=$?
	((SECONDS - began <= 30)) || fail "it took $((SECONDS - began)) s"
	assert_equal "$status" 2
	said 'error: .*stopped by the runner'
	assert_equal "$(in_server)" ''
}

# elf NAME [OFFSET BYTES]: a copy of a program, with other bytes there, as $T/runner.
elf() {
	cp "$(type -P "$1")" "$T/runner"
	[[ -z ${2:-} ]] || printf "$3" | dd of="$T/runner" bs=1 seek="$2" conv=notrunc status=none
}

# ---- ready-command

@test "ready-command runs in the server by bash; its output is in the log, in its place; its time is told" {
	set_to ready-command "echo one; echo two >&2; echo \"in \${NOVASIM_SERVER:0:4}: \$BASH\"; printf '%s\n' \"it's <a&b> {c}\" | tr a-z A-Z; printf 'no newline'"
	prepare 0
	run -0 sed -n '/ready-command: echo one/,$p' "$P"
	assert_line --index 1 one
	assert_line --index 2 two
	assert_line --index 3 --regexp '^in [0-9a-f]{4}: .*bash$'
	assert_line --index 4 "IT'S <A&B> {C}"
	assert_line --index 5 'no newline'
	assert_line --index 6 --regexp '^novajob: ready in .*, ssh [0-9.]+, ready [0-9.]+\)$'
	novajob cleanup
}

# bats test_tags=fault
@test "ready-command fails: exit 2 with its code, its last words in the log" {
	set_to ready-command 'echo last words; exit 7'
	prepare 2
	said '^last words$'
	said 'error: ready-command ended with exit code 7$'
	unsaid 'cloud-init'
	row 'ready-command fails'
}

@test "ready-command ends with 2, as cloud-init status does: how to let it pass is told, and works" {
	set_to ready-command '(exit 2)'
	prepare 2
	said 'hint: .*cloud-init status exits 2 .*\|\| \[ \$\? = 2 \]'
	novajob cleanup
	JOB_ID=$((JOB_ID + 1))
	stage_env
	set_to ready-command '(exit 2) || [ $? = 2 ]'
	prepare 0
	novajob cleanup
}

# bats test_tags=fault
@test "ready-command does not end: its deadline ends its processes in the server, exit 2" {
	set_to ready-command 'trap : TERM; echo begun; sleep 30371 & sleep 30372; sleep 30373'
	set_to ready-timeout 1
	prepare 2
	said '^begun$'
	said 'error: ready-command has not ended within 1.0 s \(ready-timeout\), and was ended$'
	unsaid 'stopped by'
	row 'ready-command does not end in time'
}

# bats test_tags=fault
@test "a cancel in ready-command: its processes are ended, the server is undone" {
	set_to ready-command "trap : TERM; echo begun; sleep 30374 & sleep 30375; sleep 30376"
	cancelled '^begun$'
	said "its processes in the server are ended"
	row 'a cancel in ready-command'
}

# bats test_tags=fault
@test "the server's host crashes in ready-command: exit 2" {
	set_to ready-command 'echo begun; sleep 30377'
	set_to alive-timeout 3
	novajob prepare >/dev/null 2>"$P" </dev/null 3>&- &
	started
	wait_for 30 grep -q '^begun$' "$P"
	cloud kill "$(cloud servers | grep -- "-job-$JOB_ID " | cut -d' ' -f1)"
	wait_started
	said 'error: ready-command: the connection to the server was lost'
	row "the server's host crashes in ready-command"
}

# ---- what the image has

@test "prepare says in one line what is missing, and what then will not work" {
	prepare 0
	unsaid 'the image has no'
	novajob cleanup
	for tools in 'git:no gitlab-runner (no artifacts, no cache)' 'gitlab-runner:no git (sources cannot be fetched)' \
		':no git (sources cannot be fetched), no gitlab-runner (no artifacts, no cache)'; do
		JOB_ID=$((JOB_ID + 1))
		stage_env
		image bash ${tools%%:*}
		prepare 0
		grep -qxF "novajob: the image has ${tools#*:}" "$P" || fail "$tools"
		novajob cleanup
	done
}

@test "what ready-command or prepare-script install is not missing" {
	image bash ln
	set_to ready-command "ln -s $(command -v git) $T/image/git"
	prepare 0
	grep -qx 'novajob: the image has no gitlab-runner (no artifacts, no cache)' "$P"
	novajob cleanup
	JOB_ID=$((JOB_ID + 1))
	stage_env
	echo "ln -s $(command -v cat) $T/image/gitlab-runner" >"$T/prepare"
	sed -i '/^ready-command/d' "$SETTINGS"
	set_to prepare-script "$T/prepare"
	prepare 0
	unsaid 'the image has no'
	novajob cleanup
}

# ---- runner-binary

@test "runner-binary goes to a server that has none, and is first in the PATH of all scripts" {
	image bash git
	elf echo
	set_to runner-binary "$T/runner"
	echo 'gitlab-runner from prepare-script' >"$T/prepare"
	set_to prepare-script "$T/prepare"
	prepare 0
	said '^from prepare-script$'
	said 'runner-binary: 0.[0-9] MiB go to the server'
	said 'ready in .*, runner [0-9.]+, script [0-9.]+\)$'
	unsaid 'the image has no'
	cmp "$T/runner" "$(home)/.novajob/bin/gitlab-runner"
	assert_equal "$(stat -c %a "$(home)/.novajob/bin/gitlab-runner")" 755
	assert_equal "$(ls -A "$(home)/.novajob/bin")" gitlab-runner
	run -0 stage 'gitlab-runner from a stage; command -v gitlab-runner; command -v git'
	assert_line --index 0 'from a stage'
	assert_line --index 1 --regexp '/home/\.novajob/bin/gitlab-runner$'
	assert_line --index 2 "$T/image/git"
	novajob cleanup
}

@test "runner-binary of the server's own version stays here; another one goes there, before the image's" {
	elf cat
	set_to runner-binary "$T/runner"
	prepare 0 -v
	unsaid 'go to the server'
	said 'debug: the server has the gitlab-runner of this host: cat '
	assert_not_exists "$(home)/.novajob"
	novajob cleanup
	JOB_ID=$((JOB_ID + 1))
	stage_env
	elf echo
	prepare 0
	said "the server's gitlab-runner is another than this host's: 'cat .*', not 'echo "
	run -0 stage 'gitlab-runner of the host'
	assert_output 'of the host'
	novajob cleanup
}

# bats test_tags=fault
@test "runner-binary for another machine: a line says so, nothing is sent, the job goes on" {
	image bash git
	elf echo 18 '\xb7\x00'
	[[ $(uname -m) != aarch64 ]] || elf echo 18 '\x3e\x00'
	set_to runner-binary "$T/runner"
	prepare 0
	said "warning: runner-binary: '$T/runner' is (aarch64|x86_64), the server is $(uname -m); the server keeps what it has"
	unsaid 'go to the server'
	said 'the image has no gitlab-runner'
	assert_not_exists "$(home)/.novajob"
	row 'runner-binary is for another machine' 0
	JOB_ID=$((JOB_ID + 1))
	stage_env
	echo '#!/bin/sh' >"$T/runner"
	prepare 0
	said "warning: runner-binary: '$T/runner' is no Linux program"
	novajob cleanup
}

# bats test_tags=fault
@test "no room for runner-binary in the server: a warning, nothing is left there, the job goes on" {
	image bash git
	in_image "ulimit -f 16"
	elf echo
	set_to runner-binary "$T/runner"
	prepare 0
	said 'warning: runner-binary: .*; the server keeps what it has'
	said 'the image has no gitlab-runner'
	assert_not_exists "$(home)/.novajob/bin"
	run -0 stage 'echo goes on'
	assert_output 'goes on'
	row 'no room for runner-binary in the server' 0
}

@test "runner-binary that does not run there, or not here: a warning, the server keeps what it has" {
	image bash git
	elf echo 32 '\xff\xff\xff\xff'
	set_to runner-binary "$T/runner"
	prepare 0
	said 'warning: runner-binary: '
	assert_not_exists "$(home)/.novajob/bin"
	novajob cleanup
	JOB_ID=$((JOB_ID + 1))
	stage_env
	image bash git gitlab-runner
	prepare 0
	said "warning: runner-binary: '$T/runner' says no version on this host"
	unsaid 'the image has no'
	novajob cleanup
}

# bats test_tags=fault
@test "a gitlab-runner that hangs in the server: it is replaced" {
	printf '#!/bin/sh\nexec sleep 30378\n' >"$T/hangs"
	chmod 755 "$T/hangs"
	rm "$T/image/gitlab-runner"
	ln -s "$T/hangs" "$T/image/gitlab-runner"
	elf echo
	set_to runner-binary "$T/runner"
	prepare 0
	said "the server's gitlab-runner is another than this host's: '', not 'echo "
	run -0 stage 'gitlab-runner of the host'
	assert_output 'of the host'
	row 'the gitlab-runner of the image hangs' 0
}

# bats test_tags=fault
@test "a cancel while runner-binary is sent: the server is undone" {
	image bash git
	elf echo
	set_to runner-binary "$T/runner"
	cat >"$T/ssh" <<-END
		#!/bin/sh
		case "\$*" in *new-\\\$1*) exec 3<"\$HOME/gate" ;; esac
		exec ssh "\$@"
	END
	chmod 755 "$T/ssh"
	mkfifo "$HOME/gate" # nobody ever writes there
	set_to ssh "$T/ssh"
	cancelled 'go to the server'
	row 'a cancel while runner-binary is sent'
}

# ---- prepare-script

@test "prepare-script runs after ready-command and before the job, whole, with its output in the log" {
	cat >"$T/prepare" <<-'END'
		#!/bin/bash
		# it's "one" \ file $(with) `all` of $'it', and no newline at its end
		cat; read -r x; [[ /dev/stdin -ef /dev/null ]] || echo "another stdin"
		echo "second: $(<~/first) '\'"
		set -u
		cat <<EOF
		here: $((1 + 1))
		EOF
		echo made >~/second; false; true
	END
	truncate -s -1 "$T/prepare"
	set_to prepare-script "$T/prepare"
	set_to ready-command 'echo first; echo was first >~/first'
	prepare 0
	run -0 sed -n '/novajob: ready-command/,$p' "$P"
	assert_line --index 1 first
	assert_line --index 2 "novajob: prepare-script $T/prepare"
	assert_line --index 3 "second: was first '\\'"
	assert_line --index 4 'here: 2'
	assert_line --index 5 --regexp '^novajob: ready in .*, ready [0-9.]+, script [0-9.]+\)$'
	run -0 stage 'cat ~/second'
	assert_output made
	novajob cleanup
}

# bats test_tags=fault
@test "prepare-script fails: exit 2, with file and code" {
	printf '%s\n' 'set -e' 'echo about to fail' '(exit 9)' 'echo never' >"$T/prepare"
	set_to prepare-script "$T/prepare"
	prepare 2
	said '^about to fail$'
	unsaid '^never$'
	said "error: prepare-script '$T/prepare' ended with exit code 9$"
	row 'prepare-script fails'
}

# bats test_tags=fault
@test "prepare-script does not end: its deadline, exit 2" {
	echo 'echo begun; sleep 30379' >"$T/prepare"
	set_to prepare-script "$T/prepare"
	set_to prepare-script-timeout 1
	prepare 2
	said "error: prepare-script '$T/prepare' has not ended within 1.0 s \(prepare-script-timeout\), and was ended$"
	row 'prepare-script does not end in time'
}

# bats test_tags=fault
@test "a cancel in prepare-script: its processes are ended, the server is undone" {
	echo 'echo begun; sleep 30380 & sleep 30381' >"$T/prepare"
	set_to prepare-script "$T/prepare"
	cancelled '^begun$'
	row 'a cancel in prepare-script'
}

# ---- before anything is created

# bats test_tags=fault
@test "a file that is not there ends config and prepare, and nothing is created" {
	for name in runner-binary prepare-script; do
		JOB_ID=$((JOB_ID + 1))
		stage_env
		set_to "$name" "$T/missing"
		run -2 novajob config
		assert_output --regexp "error: $name '$T/missing' \($SETTINGS:[0-9]+\): No such file"
		run -2 novajob prepare
		assert_output --regexp "error: $name '$T/missing' .*: No such file"
		assert_equal "$(servers_of "$JOB_ID")" 0
		printf '%s\n' "$output" >"$P"
		fault_row "the file of $name is not there" prepare 2 "$P"
		: >"$T/loose"
		chmod 666 "$T/loose"
		set_to "$name" "$T/loose"
		run -2 novajob config
		assert_output --partial "$name '$T/loose' ($SETTINGS:"
		assert_output --partial 'can be written by others'
		sed -i "/^$name/d" "$SETTINGS"
	done
}

@test "no job may set any of them" {
	for name in READY_COMMAND READY_TIMEOUT RUNNER_BINARY PREPARE_SCRIPT PREPARE_SCRIPT_TIMEOUT; do
		run -1 env "CUSTOM_ENV_NOVAJOB_$name=1" "$NOVAJOB" --settings="$SETTINGS" config
		assert_output --partial "job variable NOVAJOB_$name"
	done
}

@test "plan shows the commands of these steps, in the order of prepare" {
	local before all
	before=$(novajob plan --json | jq '[.stages[0].commands[]] | length')
	elf echo
	set_to runner-binary "$T/runner"
	set_to ready-command true
	echo true >"$T/prepare"
	set_to prepare-script "$T/prepare"
	run -0 novajob plan --json
	all=$(jq -c "[.stages[0].commands[$before:][] | if .[1] == \"--version\" then .[0] else .[-1][0:16] end]" <<<"$output")
	assert_equal "$all" "[\"exec /bin/sh -c \",\"exec /bin/sh -c \",\"$T/runner\",\"exec /bin/sh -c \",\"exec /bin/sh -c \"]"
}
