#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# commands.bats - every command of `novajob help`, each played once around one job: what valgrind looks at (tests/suite).

load ../lib
with_cloud

setup_file() {
	cloud_up
	BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR/shared
	mine
	JOB_ID=777
	prepared
}

setup() {
	mine
	stage_env 777
}

mine() {
	novajob_setup
	set_to state-dir "$BATS_FILE_TMPDIR/state"
	set_to owner commands
	set_to keys per-job
	set_to pool 1
	set_to log-file "$BATS_FILE_TMPDIR/events"
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
}

# In this order: the job runs until `cleanup`, which keeps its server until `release`.
do_config() {
	run -0 --separate-stderr novajob config
	jq -e .driver.version <<<"$output"
}

do_prepare() { # that of setup_file has left a server, which the next try deletes
	run -0 novajob prepare
	assert_output --partial 'ready in'
	assert_output --partial 'earlier try'
}

do_run() {
	printf 'echo from the server; exit 3\n' >"$BATS_TEST_TMPDIR/script"
	run -1 novajob run "$BATS_TEST_TMPDIR/script" build_script
	assert_output --partial 'from the server'
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 3
}

do_settings() {
	run -0 novajob settings
	assert_line --regexp '^flavor .*m1.tiny'
}

do_plan() {
	run -0 novajob plan
	assert_output --partial 'server create'
}

do_list() {
	run -0 novajob list
	assert_output --partial -- -777
	run -0 novajob list --json
	jq -e . <<<"$output"
}

do_ssh() {
	run -0 novajob ssh 777 echo by hand
	assert_output --partial 'by hand'
}

do_hold() {
	run -0 novajob hold 777 1h
}

do_cleanup() {
	run -0 novajob cleanup
	assert_equal "$(servers_of 777)" 1
}

do_release() {
	run -0 novajob release 777
	assert_equal "$(servers_of 777)" 0
}

do_sweep() {
	cloud add --name gitlab-builder-7-project-42-concurrent-0-job-9 --property novajob:owner=commands \
		--property novajob:job=a-9 --property novajob:try=0123456789abcdef --property novajob:expires=1000
	run -0 novajob sweep
	assert_output --partial 'delete server'
}

do_pool() {
	run -0 novajob pool fill
	run -0 novajob pool status
	assert_output --partial default
	run -0 novajob pool drain
}

do_metrics() {
	run -0 novajob metrics
	assert_output --partial 'novajob_jobs_total'
}

do_doctor() {
	run novajob doctor # some of it may FAIL on a machine that is none of a runner
	assert_line --regexp '^ok .*flavor'
}

do_help() {
	run -0 novajob help sweep
	run -64 novajob helo
	assert_output --partial 'did you mean'
}

@test "every command does its work" {
	local command
	for command in config prepare run settings plan list ssh hold cleanup release sweep pool metrics doctor help; do
		echo "== $command"
		"do_$command"
	done
}

@test "every command is played here" {
	run -0 novajob help
	for command in $(sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' <<<"$output"); do
		declare -F "do_$command" || fail "$command is not"
	done
}
