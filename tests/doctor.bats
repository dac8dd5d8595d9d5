#!/usr/bin/env bats
# doctor.bats - novajob doctor: each check says ok, or FAIL with what to do.

bats_require_minimum_version 1.5.0

setup_file() {
	load lib
	cloud_up
}

teardown_file() {
	load lib
	cloud_down
}

setup() {
	load lib
	novajob_setup
}

@test "all is well: every check is ok, exit 0, nothing is created" {
	run -0 novajob doctor
	for check in settings user ssh openstack credentials quota flavor network security-group image private-key key-pair; do
		assert_line --regexp "^ok +$check "
	done
	run -0 cloud requests 'POST /compute'
	assert_output ''
}

@test "--json is one object per line" {
	run -0 bash -c '"$NOVAJOB" --settings="$SETTINGS" doctor --json | jq -rs "map(select(.check == \"flavor\"))[0].verdict"'
	assert_output ok
}

@test "names the cloud does not know" {
	set_to flavor m1.none
	set_to network no-net
	set_to image no-image
	set_to security-group no-group
	set_to key-pair no-key
	run -2 novajob doctor
	for check in flavor network image security-group key-pair; do
		assert_line --regexp "^FAIL +$check "
	done
}

@test "wrong credentials: FAIL and a hint, no password shown" {
	export OS_PASSWORD=hunter2
	run -2 novajob doctor
	assert_line --regexp '^FAIL +credentials .*openstack token issue'
	refute_output --partial hunter2
}

@test "a key that is not the key pair's" {
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/other"
	set_to private-key "$BATS_TEST_TMPDIR/other"
	run -2 novajob doctor
	assert_line --regexp '^FAIL +key-pair .*not the public half'
}

@test "missing programs" {
	set_to ssh /nonexistent/ssh
	set_to openstack /nonexistent/openstack
	run -2 novajob doctor
	assert_line --regexp '^FAIL +ssh '
	assert_line --regexp '^FAIL +openstack '
}

@test "a full quota and an ambiguous image are warnings" {
	cloud knobs '[{"quota": {"instances": 0}}]'
	set_to image builder
	run -0 novajob doctor
	assert_line --regexp '^warn +quota '
	assert_line --regexp '^warn +image '
}

@test "a state directory others can write to" {
	mkdir -m 777 "$BATS_TEST_TMPDIR/open"
	chmod 777 "$BATS_TEST_TMPDIR/open"
	set_to state-dir "$BATS_TEST_TMPDIR/open"
	run -2 novajob doctor
	assert_line --regexp '^FAIL +state-dir '
}
