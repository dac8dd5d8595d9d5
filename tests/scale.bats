#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# A few jobs at a time by tests/scale, as `make bench-scale` plays hundreds: green, and nothing left. No bounds on time, and
# none on client starts: on a host that is overloaded sessions are given up for one process per call.

bats_require_minimum_version 1.5.0

setup() {
	load lib
	bats_load_library bats-support
	bats_load_library bats-assert
	bats_load_library bats-file
}

@test "6 jobs, 3 at a time: green, nothing left, the table, here and in the page" {
	cp "$TESTS/../man/novajob-performance.7" "$BATS_TEST_TMPDIR/page"
	run -0 "$TESTS/scale" --jobs 6 --at-once 3 --json "$BATS_TEST_TMPDIR/rounds" --page "$BATS_TEST_TMPDIR/page"
	assert_line --regexp '^client starts/job +[2-9]\.'
	assert_line --regexp '^red or left +0\.00'
	jq -e '.[0] | ."peak MiB, novajob" > 0 and ."peak MiB, openstack" > 20' "$BATS_TEST_TMPDIR/rounds"
	assert_equal "$(jq -c '[.[0]["jobs", "at once"]]' "$BATS_TEST_TMPDIR/rounds")" '[6,3]'
	assert_file_contains "$BATS_TEST_TMPDIR/page" '^\.It jobs Ta 6\.00 Ta 1\.00$'
	assert_file_contains "$BATS_TEST_TMPDIR/page" '^\.Sh SEE ALSO$'
	run -0 mandoc -T lint -W warning "$BATS_TEST_TMPDIR/page"
}

@test "the same with delete-by = timer: one client start per job, and one of sweep for all" {
	run -0 "$TESTS/scale" --jobs 6 --at-once 3 --set delete-by=timer
	assert_line --regexp '^client starts/job +[1-9]\.'
	assert_line --regexp '^red or left +0\.00'
}

@test "a job that fails is told, and is the exit status" {
	run -1 "$TESTS/scale" --jobs 1 --at-once 1 --set image=nosuch
	assert_output --partial "no active image is named 'nosuch'"
}
