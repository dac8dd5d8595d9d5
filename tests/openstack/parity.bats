#!/usr/bin/env bats
# parity.bats - the simulated cloud answers the openstack client as the real one does: parity.py asks both the same.

bats_require_minimum_version 1.5.0

setup_file() {
	load ../lib
	load real
	own_cloud || skip "parity is of the two clouds of the tests"
	SIMULATED=$BATS_FILE_TMPDIR/simulated
	export SIMULATED
	"$TESTS/cloud/cloud" start "$SIMULATED" >/dev/null
	real_up
}

teardown_file() {
	load ../lib
	load real
	[[ ! -d ${SIMULATED:-} ]] || "$TESTS/cloud/cloud" stop "$SIMULATED"
	real_down
}

setup() {
	load ../lib
	load real
	bats_load_library bats-support
	bats_load_library bats-assert
}

same() {
	needs_client "$1"
	"$HERE/parity.py" "$(client "$1")" "$SIMULATED/openrc" >"$BATS_TEST_TMPDIR/simulated" 3>&-
	"$HERE/parity.py" "$(client "$1")" "$CLOUD/openrc" >"$BATS_TEST_TMPDIR/real" 3>&-
	run -0 diff "$BATS_TEST_TMPDIR/simulated" "$BATS_TEST_TMPDIR/real"
	run -0 grep -c ' => ' "$BATS_TEST_TMPDIR/real"
	((output >= 30))
}

@test "client 6.0: the same shapes and faults" {
	same 6.0
}

@test "client 7.4: the same shapes and faults" {
	same 7.4
}

@test "client 10.5: the same shapes and faults" {
	same 10.5
}
