#!/usr/bin/env bats
# compat.bats - the Python executor's interface as its users have it: four links in $HOME, its names in the environment and
# in job variables, its key; and what of it must not come back. The variables of its container are in container.bats.

load lib
with_cloud

setup() {
	novajob_setup
	T=$BATS_TEST_TMPDIR
	program=$(realpath "$NOVAJOB")
	unset "${!NOVAJOB_@}" MAKEFLAGS MAKELEVEL MFLAGS PREFIX DESTDIR
	export FLAVOR=m1.tiny BUILDER_IMAGE=builder-one NETWORK=ci-net KEY_PAIR_NAME=ci-key SECURITY_GROUP=ci SSH_TIMEOUT=60
	USERNAME=$(cat "$CLOUD/user")
	export USERNAME
	# what the old executor had no name for
	NOVAJOB_SSH_PORT=$(cat "$CLOUD/ssh-port")
	export NOVAJOB_SSH_PORT NOVAJOB_SETTINGS=/dev/null NOVAJOB_STATE_DIR=$STATE NOVAJOB_JOB_LOG=plain
	install -m 0600 "$CLOUD/id_ed25519" "$HOME/priv_key"
	mkdir -p "$T/usr/bin"
	ln -s "$program" "$T/usr/bin/novajob"
}

# links TARGET: make install-compat or uninstall-compat for $HOME, which finds novajob in $T/usr/bin.
links() {
	make -s -C "$TESTS/.." "$1" PREFIX="$T/usr" HOME="$HOME"
}

# old_job [RUNNER OPTION...]: as a config.toml of the Python executor plays it.
old_job() {
	"$RUNNER" --config-exec "$HOME/config.sh" --prepare-exec "$HOME/prepare.py" --run-exec "$HOME/run.py" \
		--cleanup-exec "$HOME/cleanup.py" --job-id "$JOB_ID" --builds-dir /tmp/builds --cache-dir /tmp/cache --retry-wait 0.1 \
		--graceful-kill-timeout 30 --log "$LOG" --runner-log "$RUNNER_LOG" --result "$RESULT" "$@" 3>&-
}

result() {
	jq -r '[.status, .failure_reason, .exit_code] | map(. // "-") | join(" ")' "$RESULT"
}

@test "make install-compat makes the four links and keeps what was there; uninstall-compat puts it back" {
	echo 'old program' >"$HOME/run.py"
	links install-compat
	for link in config.sh prepare.py run.py cleanup.py; do
		assert_equal "$(readlink "$HOME/$link")" "$T/usr/bin/novajob"
	done
	assert_equal "$(cat "$HOME/run.py.old")" 'old program'
	links install-compat # once more
	assert_equal "$(cat "$HOME/run.py.old")" 'old program'
	ln -sf /bin/true "$HOME/prepare.py" # not ours
	links uninstall-compat
	assert_equal "$(cat "$HOME/run.py")" 'old program'
	run -0 ls "$HOME"
	assert_output $'prepare.py\npriv_key\nrun.py'
}

@test "a job by the four links: the old names, key and server name; nothing is left" {
	links install-compat
	touch "$T/script"
	cat >"$T/script" <<-END
		"$TESTS/cloud/cloud" servers "$CLOUD" | grep -o 'gitlab-builder-[^ ]*'
		echo told to stderr >&2
	END
	run -0 old_job --runner-id 7 --project-id 42 --slot 3 --script "$T/script"
	assert_equal "$(result)" 'success - -'
	run -0 grep -c "^gitlab-builder-7-project-42-concurrent-3-job-$JOB_ID\$" "$LOG"
	# the old executor showed it only of scripts that failed
	run -0 grep -c '^told to stderr$' "$LOG"
	run -0 servers_of "$JOB_ID"
	assert_output 0
}

@test "a key of RSA, as users of the old executor have them" {
	links install-compat
	rm "$HOME/priv_key"
	ssh-keygen -q -t rsa -b 2048 -m PEM -N '' -f "$HOME/priv_key"
	openstack keypair create --public-key "$HOME/priv_key.pub" "rsa-$JOB_ID" >/dev/null
	KEY_PAIR_NAME=rsa-$JOB_ID run -0 old_job --script-line 'echo in'
	run -0 grep -cx in "$LOG"
}

@test "a stage that runs a script does not start the client, where the old executor logged in to the cloud" {
	links install-compat
	cat >"$T/openstack" <<-END
		#!/bin/sh
		echo started >>$T/started
		exec openstack "\$@"
	END
	chmod +x "$T/openstack"
	stage_env
	echo 'echo in' >"$T/script"
	export NOVAJOB_OPENSTACK=$T/openstack
	"$HOME/prepare.py" 2>"$T/prepare.log"
	grep -q . "$T/started"
	rm "$T/started"
	run -0 "$HOME/run.py" "$T/script" build_script
	assert_output in
	assert [ ! -e "$T/started" ]
	"$HOME/cleanup.py"
}

@test "a job's own variables win, unless they are empty" {
	links install-compat
	run -0 old_job --var FLAVOR=m1.small --var BUILDER_IMAGE= --script-line true
	run -0 cloud requests 'POST /compute/.*/servers 202'
	run -0 grep -E 'm1\.small' "$LOG"
	run -0 grep -E 'builder-one' "$LOG"
}

@test "of several images of one name it is the one updated last, and the log says so" {
	links install-compat
	BUILDER_IMAGE=builder run -0 old_job --script-line true
	run -0 grep -E "^novajob: image 'builder': 2 fit; taking [0-9a-f-]{36}, the one updated last" "$LOG"
}

@test "what the author got wrong is his to mend, at once; what the operator got wrong is not" {
	links install-compat
	run old_job --var FLAVOR=m1.nothing --script-line true
	assert_equal "$(result)" 'failed script_failure 1'
	run -0 grep -c "^novajob: error: .*m1.nothing" "$LOG"
	assert_output 1
	JOB_ID=$((JOB_ID + 1))
	FLAVOR=m1.nothing run old_job --script-line true
	assert_equal "$(result)" 'failed runner_system_failure -'
}

@test "not again: scripts cut at 32 KiB, all codes made 1, a hang after 2 MiB of stderr, failure at a byte that is not UTF-8" {
	links install-compat
	cat >"$T/script" <<-'END'
		printf 'a\377b\n'
		head -c 3000000 /dev/zero | tr '\0' 'e' >&2
		echo
		echo the last line
		exit 42
	END
	run old_job --script "$T/script" --script-size 100000
	assert_equal "$(result)" 'failed script_failure 42'
	run -0 grep -ac '^the last line$' "$LOG"
	(($(tr -cd e <"$LOG" | wc -c) > 3000000))
}

@test "not again: the cleanup of job 10 deletes the server of job 100" {
	links install-compat
	JOB_ID=${JOB_ID}0
	stage_env "$JOB_ID"
	"$HOME/prepare.py" 2>"$T/prepare.log"
	# as a substring the shorter id finds the longer one's server
	run -0 old_job --job-id "${JOB_ID%0}" --script-line true
	run -0 servers_of "$JOB_ID"
	assert_output 1
	"$HOME/cleanup.py"
	run -0 servers_of "$JOB_ID"
	assert_output 0
}

@test "a server of the old executor is not touched" {
	links install-compat
	id=$(cloud add --name "gitlab-builder-7-project-42-concurrent-0-job-$JOB_ID")
	stage_env "$JOB_ID"
	run -0 "$HOME/cleanup.py"
	run -0 cloud servers
	assert_output --partial "$id"
	cloud lose "$id"
}
