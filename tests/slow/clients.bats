#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# clients.bats - what differs between the versions of the openstack client, by 7.4 and 10.5 (the other files are played
# with 6.0; whole jobs, and more faults, by all three on the real cloud): classes of faults, lists of many pages, the
# operator's commands.

load ../lib
with_cloud

setup() {
	TOOLS=${NOVAJOB_TOOLS:-$TESTS/../build/tools}
	novajob_setup
	OWNER=o$JOB_ID
	set_to owner "$OWNER"
	stage_env
	CREATE='"request": "POST /compute/.*/servers$"'
}

teardown() {
	cloud knobs '[]'
}

# by VERSION: that client from here on.
by() {
	[[ -x $TOOLS/client-$1/bin/openstack ]] || skip "no openstack client $1: tests/setup all makes it"
	set_to openstack "$(realpath "$TOOLS/client-$1/bin/openstack")"
}

# prepares CODE TEXT KNOBS: prepare under these knobs ends so and says TEXT; cleanup leaves nothing, and says nothing.
prepares() {
	cloud knobs "$3"
	run "-$1" novajob prepare
	assert_output --partial "$2"
	refute_output --partial Traceback
	run -0 novajob cleanup
	assert_output ''
	no_server_of "$JOB_ID"
}

faults_by() {
	by "$1"
	# transient: the create was carried out; busy; the operator's setting, and the author's wish
	prepares 0 'was created all the same' "[{$CREATE, \"reset\": \"after\", \"count\": 1}]"
	prepares 2 '429' "[{$CREATE, \"status\": 429, \"message\": \"Too many\", \"headers\": {\"Retry-After\": \"1\"}}]"
	prepares 2 'hint: this user may not do that' "[{$CREATE, \"status\": 403, \"message\": \"Policy doesn't allow it\"}]"
	CUSTOM_ENV_NOVAJOB_FLAVOR=nosuch prepares 1 'error: flavor (from job variable' '[]'
	CUSTOM_ENV_NOVAJOB_IMAGE=nosuch prepares 1 'error: image (from job variable' '[]'
}

@test "each class of faults by client 7.4" {
	faults_by 7.4
}

@test "each class of faults by client 10.5" {
	faults_by 10.5
}

operator_by() {
	local id i
	by "$1"
	cloud knobs '[{"page": 10}]'
	set_to floating-network public
	prepared
	id=$(cloud add --no-sshd --created 2026-01-31T12:00:00Z --name gitlab-builder-7-project-42-concurrent-0-job-1 \
		--property "novajob:owner=$OWNER" --property novajob:job=a-1 --property novajob:try=0123456789abcdef \
		--property novajob:expires=1000)
	for ((i = 0; i < 25; i++)); do # newer: on the pages before it
		cloud add --no-sshd --name "gitlab-builder-7-project-42-concurrent-0-job-9$i" --property novajob:owner=someone >/dev/null
	done
	run -0 novajob list
	assert_line --regexp "^a-1 +- +ACTIVE +$id"
	assert_line --regexp "-$JOB_ID +ready +ACTIVE"
	run -0 novajob sweep
	assert_line --partial "delete server $id"
	assert_line --regexp "keep server .*-job-$JOB_ID\\): its job may be running"
	run ! grep -q "^$id " <(cloud servers)
	run novajob doctor
	refute_line --regexp ' FAIL .*(client|credentials|image|flavor|network|quota)'
	novajob cleanup
	no_server_of "$JOB_ID"
	run -0 bash -c '"$@" floating ip list -f value' - "$(sed -n 's/^openstack = //p' "$SETTINGS")"
	assert_output ''
}

@test "sweep, list and doctor by client 7.4" {
	operator_by 7.4
}

@test "sweep, list and doctor by client 10.5" {
	operator_by 10.5
}
