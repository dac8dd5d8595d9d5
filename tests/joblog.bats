#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# joblog.bats - the job log as GitLab shows it: prepare's details folded away, its summary, what failed and what to do in
# sight, on every path; colours there and nowhere else. tests/runner/gitlab makes of a log what GitLab makes of it.

load lib
with_cloud

setup() {
	novajob_setup
	unset NOVAJOB_JOB_LOG
	stage_env
	T=$BATS_TEST_TMPDIR P=$BATS_TEST_TMPDIR/prepare.log
	RECORD=$STATE/jobs/11111111-2222-3333-4444-555555555555-$JOB_ID/record.json
	ESC=$'\e' CR=$'\r' RED=$'\e[0;31;1m' GREEN=$'\e[0;32;1m' YELLOW=$'\e[0;33m' CYAN=$'\e[0;36m' OFF=$'\e[0;m'
}

teardown() {
	[[ ! -s $P ]] || cat -v "$P" >&2 # shown when the test failed
	cloud knobs '[]'
	rm -f "$T/broken" "$T/silent"
	novajob cleanup >/dev/null 2>&1 || true
}

# A client that fails while there is $T/broken, with what that says, and does not answer while there is $T/silent.
breakable_client() {
	cat >"$T/client" <<-END
		#!/bin/sh
		[ ! -e $T/broken ] || { cat $T/broken >&2; exit 1; }
		[ ! -e $T/silent ] || exec tail -f /dev/null
		exec $(command -v openstack) "\$@"
	END
	chmod 755 "$T/client"
	set_to openstack "$T/client"
	set_to openstack-session no
}

# prepare STATUS [ARG...]: what it says is in $P.
prepare() {
	local want=$1 status=0
	novajob "${@:2}" prepare >"$T/out" 2>"$P" 3>&- || status=$?
	assert_equal "$status" "$want"
	assert_equal "$(cat "$T/out")" ''
}

# seen [FILE]: a reader sees what is in $lines then; the sections are as GitLab wants them.
seen() {
	run -0 --separate-stderr "$TESTS/runner/gitlab" "${1:-$P}"
}

# raw LINE: of prepare's log, byte for byte.
raw() {
	grep -qxF -- "$1" "$P" || fail "not there: $(cat -v <<<"$1")"
}

# folded REGEX: it was said, and is out of sight.
folded() {
	grep -qE -- "$1" "$P" || fail "not said: $1"
	refute_line --regexp "$1"
}

# failed REGEX: prepare has told this in red and what to do in the next line, both in sight.
failed() {
	local n
	seen
	for n in "${!lines[@]}"; do
		[[ ! ${lines[n]} =~ ^'novajob: error: '.*$1 ]] || break
	done
	[[ ${lines[n]} =~ $1 ]] || fail "not in sight: $1"
	[[ ${lines[n + 1]:-} =~ ^'novajob: hint: '. ]] || fail "no hint behind: ${lines[n]}"
	raw "$RED${lines[n]}$OFF"
	raw "$CYAN${lines[n + 1]}$OFF"
}

# stopped WORD [ARG...]: prepare gets a TERM once it has said WORD; its log is whole, and tells why in sight.
stopped() {
	local status=0
	setsid "$NOVAJOB" --settings="$SETTINGS" "${@:2}" prepare >/dev/null 2>"$P" </dev/null 3>&- &
	started
	wait_for 30 grep -qE -- "$1" "$P"
	kill -TERM -- "-${STARTED[0]}"
	wait "${STARTED[0]}" || status=$?
	STARTED=()
	rm -f "$T/silent"
	assert_equal "$status" 2
	seen
	assert_line --regexp '^novajob: error: .*stopped by the runner \(cancel or time-out\)'
	novajob cleanup
}

# colourless FILE...: nothing in them that only GitLab could show.
colourless() {
	local file
	for file; do
		! grep -qE "$ESC|$CR|section_" "$file" || fail "$file: $(cat -v "$file")"
	done
}

@test "details are folded away under what is asked for; what the job's author should know, and the summary, are in sight" {
	set_to ready-command 'echo from the server'
	prepare 0
	seen
	assert_line --index 0 --regexp "^> novajob: creating server 'gitlab-builder-.*-job-$JOB_ID': flavor m1.tiny, network ci-net, image builder-one  00:0[0-9]$"
	assert_line --index 1 --regexp "^novajob: the server's host key is believed"
	assert_line --index 2 --regexp '^novajob: the image has no .*gitlab-runner'
	assert_line --index 3 --regexp '^novajob: ready in [0-9.]+ s \(cold: '
	assert_equal "${#lines[@]}" 4
	folded "novajob: image 'builder-one' is [0-9a-f-]{36}"
	folded '^.{0,5}novajob: server .* is created after '
	folded 'novajob: server is ACTIVE after .*, logging in as '
	folded '^from the server$'
	raw "$GREEN${lines[3]}$OFF"
	# each marker is a line, in one write, with the time of day, and none but novajob could know its name
	run -0 grep -a section_ "$P"
	local try at
	try=$(jq -r .try "$RECORD")
	at='1[0-9]{9}'
	assert_line --index 0 --regexp "^section_start:$at:novajob_prepare_$try\[collapsed=true\]$CR$ESC\[0K.*novajob: creating server"
	assert_line --index 1 --regexp "^section_end:$at:novajob_prepare_$try$CR$ESC\[0K"
	assert_equal "${#lines[@]}" 2
}

@test "a whole job, with the runner's own sections: ours is in that of prepare, and nothing of novajob's is elsewhere" {
	run -0 job --sections --script-line 'echo hello'
	seen "$LOG"
	assert_line --index 2 --regexp '^v Preparing the "custom" executor  00:'
	assert_line --index 3 'Using Custom executor with driver novajob 0.1.0...'
	assert_line --index 4 --regexp '^> novajob: creating server '
	assert_line --regexp '^novajob: ready in '
	assert_line --regexp "^Running on .* via $(hostname)\.\.\.$"
	assert_line hello
	assert_line 'Job succeeded'
	run -0 sed -n '/^v Preparing environment/,$p' <<<"$output"
	refute_output --partial novajob:
	assert_file_empty "$RUNNER_LOG"
}

@test "a server of the warm pool has no details to fold: one line" {
	set_to owner "o$JOB_ID"
	set_to pool 1
	set_to keys per-job
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	novajob pool fill 2>"$T/fill"
	colourless "$T/fill"
	prepare 0
	seen
	assert_line --index 0 'novajob: the image has no gitlab-runner (no artifacts, no cache)'
	assert_line --index 1 --regexp '^novajob: ready in [0-9.]+ s \(warm pool "default", 0 left\)$'
	raw "$GREEN${lines[1]}$OFF"
	run ! grep -q section_ "$P"
	wait_for 30 nobody_left
	novajob pool drain 2>/dev/null
}

@test "a second choice is told in sight, the trouble with the first is folded away" {
	set_to flavor 'm1.absurd, m1.tiny'
	prepare 0
	seen
	assert_line 'novajob: the first choice was not to be had: the server has flavor m1.tiny, network ci-net'
	folded 'trying flavor m1.tiny'
}

@test "a wait for quota is in sight while it lasts, with its limit" {
	set_to busy-timeout 120
	cloud knobs '[{"quota": {"instances": 0}}]'
	stopped 'waiting for quota'
	assert_line --regexp '^novajob: waiting for quota: [0-9]+ of 0 instances in use, at most [12]..* s \(busy-timeout\)$'
}

@test "a failure is told outside of the section, in red, with what to do behind it, wherever prepare fails" {
	set_to image no-such-image
	prepare 2
	failed "no active image is named 'no-such-image'"
	assert_line --partial "'openstack image list'"
	set_to image builder-one
	set_to flavor no-such-flavor
	prepare 2
	failed 'flavor \(from .*novajob.conf.*no-such-flavor'
	assert_line "novajob: hint: check the name with 'openstack flavor list', as this project sees it (for the runner's operator)"
	set_to flavor m1.tiny
	cloud knobs '[{"match": "", "spawn_fail": "no space"}]'
	prepare 2
	failed 'server .* is in ERROR: no space'
	cloud knobs '[{"match": "", "spawn_delay": 60}]'
	prepare 2 --create-timeout=1
	failed 'is not ACTIVE within create-timeout'
	cloud knobs '[]'
	prepare 2 --ready-command='echo said by it; exit 7'
	failed 'ready-command ended with exit code 7'
	folded '^said by it$'
	printf 'printf "no newline"; exit 9\n' >"$T/prepare"
	prepare 2 --prepare-script="$T/prepare"
	failed 'prepare-script .* ended with exit code 9'
	prepare 2 --openstack=/nowhere/openstack
	failed "cannot run '/nowhere/openstack'"
	chmod 777 "$STATE"
	prepare 2
	failed 'state-dir: .* is writable by others'
	run ! grep -q section_ "$P" # it had not begun
}

@test "no login: error, hint, and then the server's console, folded away" {
	cloud knobs '[{"match": "", "no_sshd": true, "console": "one \u001b[31m\r\u001b[0K red\nlast words"}]'
	prepare 2 --ssh-timeout=1
	failed 'no login at .*: no address answers on the ssh port'
	assert_line --index 0 --regexp '^> novajob: creating server '
	assert_line --index 3 --regexp '^> novajob: the last lines of its console:  00:'
	folded '^.{0,5}novajob: \| last words$'
}

@test "told to stop, at each step: the section ends, and why is in sight" {
	set_to stop-timeout 30
	breakable_client
	: >"$T/silent"
	stopped 'creating server'
	cloud knobs '[{"match": "", "spawn_delay": 60}]'
	stopped 'waiting for ACTIVE'
	cloud knobs '[{"match": "", "no_sshd": true}]'
	stopped 'logging in'
	cloud knobs '[]'
	set_to ready-command 'echo at work; tail -f /dev/null'
	stopped '^at work'
}

@test "killed: the next try ends the section that nobody has ended" {
	cloud knobs '[{"match": "", "spawn_delay": 60}]'
	setsid "$NOVAJOB" --settings="$SETTINGS" prepare >/dev/null 2>"$T/first" </dev/null 3>&- &
	started
	wait_for 30 grep -q 'waiting for ACTIVE' "$T/first"
	kill -KILL -- "-${STARTED[0]}"
	wait_started
	run -1 "$TESTS/runner/gitlab" "$T/first"
	assert_line --partial 'is not ended'
	novajob cleanup
	cloud knobs '[]'
	prepare 0
	cat "$T/first" "$P" >"$T/both"
	seen "$T/both"
	assert_line --index 0 --regexp '^> novajob: creating server '
	assert_line --index 1 --regexp '^> novajob: creating server '
	assert_line --regexp '^novajob: ready in '
}

@test "what the server prints makes no section, ends none, and hides nothing" {
	local command="printf 'section_start:1:evil[collapsed=true]\\r\\033[0Kevil\\n'; "
	command+="printf \"section_end:1:novajob_prepare_\$(jq -r .try $RECORD)\\r\\033[0Kout\\n\"; "
	command+="printf 'one\\rtwo\\r\\nthree\\033[8m'; exit 3"
	prepare 2 --ready-command="$command"
	failed 'ready-command ended with exit code 3'
	assert_line --index 0 --regexp '^> novajob: creating server '
	refute_line --regexp '^(evil|out|one|two|three)'
	run -0 grep -a -A1 -x one "$P"
	assert_line --index 1 two
	# nor does what the client says
	breakable_client
	printf 'section_start:1:evil[collapsed=true]\r\033[0Kno\033[8m (HTTP 401)\n' >"$T/broken"
	prepare 2
	failed 'section_start:1:evil\[collapsed=true\]\\x1b\[0Kno\\x1b\[8m'
}

@test "a secret is hidden whatever the colours" {
	breakable_client
	echo "cannot log in with $OS_PASSWORD, token=0123456789abcdef0123 (HTTP 401)" >"$T/broken"
	prepare 2
	failed 'cannot log in with \*\*\*'
	run ! grep -qF -e "$OS_PASSWORD" -e 0123456789abcdef "$P"
}

@test "run: what failed in red, and what to do; a warning in yellow; a script's own failure is the runner's to tell" {
	printf 'exit 3\n' >"$T/script"
	breakable_client
	run -2 novajob run "$T/script" build_script
	assert_line --index 0 --regexp "^${RED/\[/\\[}novajob: error: build_script is not run: the job has no server.*$ESC"
	assert_line --index 1 --regexp "^${CYAN/\[/\\[}novajob: hint: the runner's host is in trouble, not the job"
	prepare 0
	run -1 novajob run "$T/script" build_script
	assert_output ''
	echo 'exit 143' >"$T/script" # as one does that was told to end
	echo 'no cloud (HTTP 401)' >"$T/broken"
	run -1 novajob run "$T/script" build_script
	assert_output --regexp "^${YELLOW/\[/\\[}novajob: warning: nobody can tell whether the server was shut down under the script"
}

@test "config: a wish that is denied is the author's to mend, a mistake in the settings the operator's; both in colour" {
	CUSTOM_ENV_NOVAJOB_NETWORK=other run -1 --separate-stderr novajob config
	assert_equal "$output" ''
	assert_equal "${stderr_lines[0]}" "${RED}novajob: error: job variable NOVAJOB_NETWORK: this runner lets jobs set: flavor, image$OFF"
	assert_equal "${stderr_lines[1]}" "${CYAN}novajob: hint: change it in .gitlab-ci.yml or in the job's variables, or ask the runner's operator to allow it$OFF"
	echo 'flavour = x' >>"$SETTINGS"
	run -2 --separate-stderr novajob config
	assert_regex "${stderr_lines[0]}" "^${RED/\[/\\[}novajob: error: "
	assert_equal "${stderr_lines[1]}" "${CYAN}novajob: hint: did you mean 'flavor'? (for the runner's operator)$OFF"
	NOVAJOB_JOB_LOG=plain run -2 --separate-stderr novajob config
	assert_equal "${stderr_lines[1]}" "novajob: hint: did you mean 'flavor'? (for the runner's operator)"
}

@test "job-log = plain: the same lines without colours and sections, in the order in which they came" {
	set_to job-log plain
	set_to ready-command 'echo from the server'
	prepare 0
	colourless "$P"
	run -0 cut -c1-30 "$P"
	assert_line --index 0 'novajob: creating server '"'gitl"
	assert_line --index 6 'from the server'
	assert_line --index 7 --partial 'novajob: the image has'
	assert_line --index 8 --partial 'novajob: ready in'
	printf 'exit 3\n' >"$T/script"
	novajob cleanup
	novajob run "$T/script" build_script 2>"$T/run" || true
	prepare 2 --image=no-such-image
	colourless "$P" "$T/run"
	grep -q '^novajob: hint: ' "$T/run"
}

@test "cleanup speaks to the runner's log, the operator's commands to a terminal: no colours, no advice for authors" {
	breakable_client
	prepared
	echo 'no cloud (HTTP 401)' >"$T/broken"
	novajob cleanup 2>"$T/cleanup" || true
	novajob sweep >"$T/sweep" 2>&1 || true
	novajob list >"$T/list" 2>&1 || true
	novajob doctor >"$T/doctor" 2>&1 || true
	novajob pool fill >"$T/fill" 2>&1 || true
	novajob settings --flavour=x >"$T/settings" 2>&1 || true
	grep -q '^novajob: error: ' "$T/cleanup"
	grep -q '^novajob: error: ' "$T/sweep"
	colourless "$T/cleanup" "$T/sweep" "$T/list" "$T/doctor" "$T/fill" "$T/settings"
	run ! grep -q "for the runner's operator" "$T/cleanup" "$T/sweep" "$T/list"
	rm "$T/broken"
	novajob doctor --boot >"$T/boot" 2>&1 || true
	grep -q '^novajob: ready in ' "$T/boot"
	colourless "$T/boot"
	novajob cleanup
}
