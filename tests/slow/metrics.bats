#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# metrics.bats - what novajob metrics prints is what Prometheus's own linter wants.

bats_require_minimum_version 1.5.0

setup_file() {
	load ../lib
	cloud_up
}

teardown_file() {
	load ../lib
	cloud_down
}

setup() {
	load ../lib
	novajob_setup
	PROMTOOL=${NOVAJOB_TOOLS:-$TESTS/../build/tools}/promtool # tests/setup all
}

# fine: promtool says nothing of the metrics
fine() {
	novajob metrics >"$BATS_TEST_TMPDIR/prom"
	run -0 "$PROMTOOL" check metrics <"$BATS_TEST_TMPDIR/prom"
	assert_output ''
}

@test "promtool has nothing to say, before the first job and after it; of a bad name it has" {
	fine
	run -0 job --script-line true
	fine
	sed 's/_total//' "$BATS_TEST_TMPDIR/prom" >"$BATS_TEST_TMPDIR/bad"
	run ! "$PROMTOOL" check metrics <"$BATS_TEST_TMPDIR/bad"
}
