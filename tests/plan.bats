#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# plan.bats - novajob plan: what it says is what is done, and it does nothing.

load lib
with_cloud

setup() {
	novajob_setup
	stage_env
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	T=$BATS_TEST_TMPDIR
}

# logged NAME PROGRAM: a wrapper that notes its arguments as a line of JSON in $T/done.
logged() {
	cat >"$T/$1" <<-END
		#!/bin/bash
		python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$T/$1" "\$@" >>"$T/done"
		exec $2 "\$@"
	END
	chmod 755 "$T/$1"
	set_to "$1" "$T/$1"
}

# What differs from run to run, as plan shows it; of what runs in the server only the start.
without_ids() {
	jq -c --arg image "$1" --arg server "$2" --arg address "$3" 'map(
		gsub($image; "<id of the image>") | gsub($server; "<id of the server>") | gsub($address; "<address of the server>") |
		sub("novajob:try=[0-9a-f]{16}"; "novajob:try=<try>") | sub("novajob:expires=.*"; "") | sub("novajob:life=.*"; "") |
		sub("(?<share>/share/)[0-9a-f]{16}"; .share + "<try>") | sub("^exec /bin/sh -c .*"; "exec"))'
}

@test "the commands of a whole job are those that were planned" {
	local server address image
	set_to openstack-session no
	logged openstack /usr/bin/openstack
	logged ssh ssh
	logged ssh-keygen ssh-keygen
	novajob plan --json >"$T/plan"
	assert_file_not_exist "$T/done"
	prepared
	server=$(jq -r .server_id "$STATE"/jobs/*/record.json)
	address=$(jq -r .address "$STATE"/jobs/*/record.json)
	image=$(/usr/bin/openstack image list --name builder-one -f value -c ID)
	echo true >"$T/script"
	novajob run "$T/script" build_script
	novajob cleanup
	without_ids "$image" "$server" "$address" <"$T/done" | sort -u >"$T/done.sorted"
	jq -c '.stages[].commands[]' "$T/plan" | without_ids no-id no-id no-id | sort -u >"$T/plan.sorted"
	diff "$T/plan.sorted" "$T/done.sorted"
	(($(wc -l <"$T/plan.sorted") == 9)) # login and stage differ in what runs there only
}

@test "plan runs nothing and writes nothing" {
	set_to openstack /nonexistent/openstack
	set_to ssh /nonexistent/ssh
	set_to ssh-keygen /nonexistent/ssh-keygen
	run -0 novajob plan
	assert_file_not_exist "$STATE"
	assert_output --partial 'openstack server create -f json'
	assert_output --partial "flavor = m1.tiny  ($SETTINGS:1)"
}

@test "plan tells of the job's wishes, the choices, and refuses what prepare would" {
	set_to flavor 'm1.tiny, m1.small'
	set_to allow-flavor 'm1.*'
	run -0 novajob plan
	assert_output --partial -- '--flavor=m1.tiny'
	assert_output --partial -- '--flavor=m1.small'
	CUSTOM_ENV_NOVAJOB_FLAVOR=m1.big run -0 novajob plan
	assert_output --partial 'flavor = m1.big  (job variable NOVAJOB_FLAVOR)'
	CUSTOM_ENV_NOVAJOB_FLAVOR=g1.gpu run -1 novajob plan
	assert_output --partial "asks for flavor 'g1.gpu': this runner allows m1.*"
}
