#!/usr/bin/env bats
# container.bats - the container's entrypoint, here without a container: what it makes of its variables, and of TERM. The
# stand-in for gitlab-runner notes its calls. tests/slow/container.bats builds and runs the image.

bats_require_minimum_version 1.5.0

setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
	load lib
	T=$BATS_TEST_TMPDIR
	export HOME=$T/home
	mkdir "$T/bin" "$HOME"
	# sweep is noted, too; while there is $HOME/sweeping, it is at work
	cat >"$T/bin/novajob" <<-'END'
		#!/bin/sh
		echo "{\"novajob\": \"$*\"}" >>"$HOME/calls"
		[ -e "$HOME/sweeping" ] || exit 0
		while [ -e "$HOME/sweeping" ]; do sleep 0.1; done
		echo '{"novajob": "is through"}' >>"$HOME/calls"
	END
	chmod +x "$T/bin/novajob"
	ln -s "$TESTS/container/gitlab-runner" "$T/bin/gitlab-runner"
	PATH=$T/bin:$PATH
	ENTRYPOINT=$TESTS/../contrib/container/entrypoint
	CONFIG=$HOME/.gitlab-runner/config.toml
	STARTED=()
	unset CONFIG_FILE "${!CI_SERVER_@}" "${!RUNNER_@}" "${!NOVAJOB_@}" REGISTRATION_TOKEN PRIVATE_KEY TLS_CA_CERT CONCURRENT
	unset FLAVOR BUILDER_IMAGE DRAIN_TIMEOUT CANCEL_TIMEOUT
	export CI_SERVER_URL=https://gitlab.example:8443/ SWEEP_INTERVAL=0
}

teardown() {
	# its sweeper, too, which only the end of a container ends
	[[ -z ${ENTRY-} ]] || kill -KILL $(pgrep -P "$ENTRY") "$ENTRY" 2>/dev/null || true
	[[ ! -e $HOME/calls ]] || kill -KILL "$(runner_pid)" 2>/dev/null || true
}

# up [NAME=VALUE...]: the entrypoint with these variables in the background, until gitlab-runner runs.
up() {
	rm -f "$HOME/calls"
	env "$@" "$ENTRYPOINT" run >"$T/log" 2>&1 3>&- &
	ENTRY=$!
	started
	wait_for 10 has '.running' || fail "$(cat "$T/log")"
}

# has FILTER: a call of which this is true
has() {
	[[ -e $HOME/calls ]] && jq -se "map($1) | any" "$HOME/calls" >/dev/null
}

# down: TERM, and its exit code in $STATUS
down() {
	kill -TERM "$ENTRY"
	ended
}

ended() {
	STATUS=0
	wait "$ENTRY" || STATUS=$?
}

runner_pid() {
	jq 'select(.call[0] == "run") | .pid' "$HOME/calls"
}

# the calls in order, a word each
calls() {
	jq -r 'if .call then .call[0] elif .signal then .signal elif .novajob then "novajob " + .novajob
		elif .end then "end" else empty end' "$HOME/calls"
}

# toml FILTER: of config.toml
toml() {
	python3 -c 'import json, sys, tomllib; print(json.dumps(tomllib.load(open(sys.argv[1], "rb"))))' "$CONFIG" | jq -r "$1"
}

@test "the old container's variables: registers, writes key and certificate, runs, drains at TERM, sweeps" {
	up REGISTRATION_TOKEN=GR1348941x RUNNER_TAG_LIST=a,b RUNNER_NAME=old RUNNER_BUILDS_DIR=/b RUNNER_CACHE_DIR=/c CONCURRENT=7 \
		PRIVATE_KEY=$'-----BEGIN\nkey\n-----END' TLS_CA_CERT=$'-----BEGIN\ncert' OS_PASSWORD=secret FLAVOR=m1 BUILDER_IMAGE=i
	down
	assert_equal "$STATUS" 0
	run -0 calls
	assert_output $'register\nrun\nSIGQUIT\nend\nnovajob sweep'
	has '.registered == "made-of-GR1348941x" and .tags == "a,b"'
	assert_equal "$(toml '[.concurrent, .shutdown_timeout, (.runners[0] | .name, .executor, .builds_dir, .cache_dir, .url)] | join(" ")')" \
		'7 120 old custom /b /c https://gitlab.example:8443/'
	assert_equal "$(toml '.runners[0].custom | [.config_exec, .config_args[], .run_args[], .cleanup_args[], .graceful_kill_timeout] | join(" ")')" \
		"$T/bin/novajob config run cleanup 60"
	assert_equal "$(cat "$HOME/priv_key")" $'-----BEGIN\nkey\n-----END'
	assert_equal "$(cat "$HOME/.gitlab-runner/certs/gitlab.example.crt")" $'-----BEGIN\ncert'
	run -0 find "$HOME" -type f ! -perm 0600 ! -name calls
	assert_output ''
	for link in config.sh prepare.py run.py cleanup.py; do
		assert_equal "$(readlink "$HOME/$link")" "$T/bin/novajob"
	done
}

@test "jobs see the cloud and novajob's settings, no token and no key; QUIT reaches the runner" {
	up CI_SERVER_TOKEN=glrt-t1_x TLS_CA_CERT=c PRIVATE_KEY=k OS_PASSWORD=secret FLAVOR=m1
	down
	run -0 jq -c 'select(.call[0] == "run") | .env | [.OS_PASSWORD, .NOVAJOB_COMPAT, .FLAVOR]' "$HOME/calls"
	assert_output '["secret","python","m1"]'
	run -0 jq -c 'select(.call[0] == "run") | .env | [.CI_SERVER_TOKEN, .REGISTRATION_TOKEN, .PRIVATE_KEY, .TLS_CA_CERT] | unique' \
		"$HOME/calls"
	assert_output '[null]'
	run -0 jq -c 'select(.running) | .ignored' "$HOME/calls"
	assert_output '[]'
}

@test "a token of today is registered once, then taken from the volume; another one replaces it; nothing is unregistered" {
	up CI_SERVER_TOKEN=glrt-one RUNNER_TAG_LIST=x
	down
	run -0 calls
	assert_output $'register\nrun\nSIGQUIT\nend\nnovajob sweep'
	run -0 grep -c 'RUNNER_TAG_LIST is ignored' "$T/log"
	# the token was in no argument
	run -0 jq -r '.call // [] | tostring | select(contains("glrt"))' "$HOME/calls"
	assert_output ''
	up CI_SERVER_TOKEN=glrt-one CONCURRENT=3
	down
	run -0 calls
	assert_output $'run\nSIGQUIT\nend\nnovajob sweep'
	assert_equal "$(toml '"\(.concurrent) \(.runners | length)"')" '3 1'
	up REGISTRATION_TOKEN=glrt-two
	down
	run -0 calls
	assert_output $'register\nrun\nSIGQUIT\nend\nnovajob sweep'
	assert_equal "$(toml '"\(.runners | length) \(.runners[0].token)"')" '1 glrt-two'
	run -0 grep -c glrt-one "$CONFIG.old"
}

@test "the old token makes no second runner while config.toml is there; without any token that file is enough" {
	up REGISTRATION_TOKEN=old
	down
	up REGISTRATION_TOKEN=old
	down
	run -0 calls
	assert_output $'run\nSIGQUIT\nend\nnovajob sweep'
	up
	down
	assert_equal "$STATUS" 0
	assert_equal "$(toml '.runners[0].token')" made-of-old
}

@test "what is missing or wrong ends it at once, with a word" {
	check() {
		local want=$1
		shift
		run -1 env "$@" "$ENTRYPOINT" run
		assert_output --partial "$want"
		assert [ ! -e "$CONFIG" ]
	}
	check 'which runner is this?' A=b
	check "CONCURRENT='many' is not a number" CI_SERVER_TOKEN=glrt-x CONCURRENT=many
	check "DRAIN_TIMEOUT='1h' is not a number" CI_SERVER_TOKEN=glrt-x DRAIN_TIMEOUT=1h
	check 'TLS_CA_CERT needs CI_SERVER_URL' CI_SERVER_URL= TLS_CA_CERT=x
	check 'gitlab-runner register failed' CI_SERVER_TOKEN=glrt-refused
	check 'is not writable' HOME=/nonexistent CI_SERVER_TOKEN=glrt-x
}

@test "a job that ends within the limit ends by itself; one that does not is cancelled; a second TERM does not wait" {
	touch "$HOME/busy"
	up CI_SERVER_TOKEN=glrt-x DRAIN_TIMEOUT=1000
	kill -TERM "$ENTRY"
	wait_for 10 has '.signal == "SIGQUIT"'
	rm "$HOME/busy"
	kill -CHLD "$(runner_pid)" # its job has ended
	ended
	run -0 calls
	refute_line SIGTERM

	touch "$HOME/busy"
	up CI_SERVER_TOKEN=glrt-x DRAIN_TIMEOUT=1
	down
	run -0 calls
	assert_output $'run\nSIGQUIT\nSIGTERM\nend\nnovajob sweep'

	up CI_SERVER_TOKEN=glrt-x DRAIN_TIMEOUT=1000
	kill -TERM "$ENTRY"
	wait_for 10 has '.signal == "SIGQUIT"'
	down
	run -0 calls
	assert_output $'run\nSIGQUIT\nSIGTERM\nend\nnovajob sweep'
}

@test "a runner that does not hear TERM either is killed, and sweep has its turn" {
	touch "$HOME/busy" "$HOME/deaf"
	up CI_SERVER_TOKEN=glrt-x DRAIN_TIMEOUT=1 CANCEL_TIMEOUT=1
	down
	assert_equal "$STATUS" 137
	run -0 calls
	assert_output $'register\nrun\nSIGQUIT\nSIGTERM\nnovajob sweep'
	assert_equal "$(toml .shutdown_timeout)" 1
}

@test "TERM while it registers: no runner is started" {
	touch "$HOME/registering"
	env CI_SERVER_TOKEN=glrt-x "$ENTRYPOINT" run >"$T/log" 2>&1 3>&- &
	ENTRY=$!
	wait_for 10 has '.call[0] == "register"'
	kill -TERM "$ENTRY"
	rm "$HOME/registering"
	ended
	assert_equal "$STATUS" 0
	run -0 calls
	assert_output register
	# the runner that it made is there for the next container
	assert_equal "$(toml '.runners[0].token')" glrt-x
}

@test "a runner that ends by itself ends the container with its code, and sweep has its turn before" {
	up CI_SERVER_TOKEN=glrt-x
	kill -KILL "$(runner_pid)"
	ended
	assert_equal "$STATUS" 137
	run -0 calls
	assert_output $'register\nrun\nnovajob sweep'
}

@test "it sweeps now and then" {
	up CI_SERVER_TOKEN=glrt-x SWEEP_INTERVAL=1
	wait_for 10 has '.novajob == "sweep"'
	down
	assert_equal "$STATUS" 0
}

@test "a sweep that is at work when the container ends is let finish, and the last one comes behind it" {
	touch "$HOME/sweeping"
	up CI_SERVER_TOKEN=glrt-x SWEEP_INTERVAL=1
	wait_for 10 has '.novajob == "sweep"'
	kill -TERM "$ENTRY"
	wait_for 10 has '.end'
	rm "$HOME/sweeping"
	ended
	run -0 bash -c "$(declare -f calls); calls | grep -vx 'register\|run'"
	assert_output $'novajob sweep\nSIGQUIT\nend\nnovajob is through\nnovajob sweep'
}

@test "another command runs in its place, in the same environment" {
	export FLAVOR=m1 CI_SERVER_TOKEN=glrt-x PRIVATE_KEY=k
	# exec: it has the very process
	run -7 bash -c 'echo $$; exec "$0" "$@"' "$ENTRYPOINT" \
		sh -c 'echo $$ $NOVAJOB_COMPAT ${CI_SERVER_TOKEN-none} ${PRIVATE_KEY-none}; ls $HOME; exit 7'
	assert_line --index 1 "${lines[0]} python none none"
	assert_line priv_key
	refute_line calls
}

@test "a uid without a name gets one" {
	if [[ $(id -u) != 0 ]]; then skip 'only root can be another uid'; fi
	command -v setpriv >/dev/null || skip 'no setpriv'
	chmod 0711 "$T" "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR"
	chown 123456:0 "$HOME"
	run -0 setpriv --reuid=123456 --regid=0 --clear-groups "$ENTRYPOINT" \
		sh -c 'echo "$NSS_WRAPPER_PASSWD $LD_PRELOAD"; tail -1 "$NSS_WRAPPER_PASSWD"'
	assert_line "$HOME/.passwd libnss_wrapper.so"
	assert_line "novajob:x:123456:0:novajob:$HOME:/bin/sh"
}

@test "its variables stand in its head and in novajob-migrating(7)" {
	local name count=0
	while read -r name; do
		[[ $name != @(HOME|LD_PRELOAD|NSS_WRAPPER_*) ]] || continue
		sed '/^set -eu/q' "$ENTRYPOINT" | grep -qE "^#.*\b$name\b" || fail "the head does not say $name"
		grep -qE "^\.(It .*)?Ev .*\b$name\b" "$TESTS/../man/novajob-migrating.7" || fail "novajob-migrating(7) does not say $name"
		count=$((count + 1))
	done < <({
		sed '1,/^set -eu/d' "$ENTRYPOINT" | grep -oE '[$][{]?[A-Z][A-Z_]+|unset( [A-Z_]+)+|export [A-Z_]+' | grep -oE '[A-Z][A-Z_]+'
		sed -n 's/^# \([A-Z_]\+\( [A-Z_]\+\)*\)\(  .*\)\?$/\1/p' "$ENTRYPOINT" | tr ' ' '\n' | grep .
	} | sort -u)
	((count >= 20)) || fail "only $count variables were found"
}
