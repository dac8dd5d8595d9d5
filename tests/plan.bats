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

@test "what is asked of the cloud in one process is what was planned, the names that are to be remembered too" {
	local server
	set_to network 'ci-net + ci-dual'
	set_to security-group ci,default
	novajob plan | sed -n 's/^  openstack \([^=]\)/\1/p' >"$T/plan"
	novajob -vv prepare 2>"$T/log"
	server=$(jq -r .server_id "$STATE"/jobs/*/record.json)
	novajob -vv cleanup 2>>"$T/log"
	sed -n 's/^novajob: debug: openstack //p' "$T/log" | sed -E "s/$server/<id of the server>/; s/--image=[0-9a-f-]{36}/--image=<id of the image>/
		s/novajob:try=[0-9a-f]{16}/novajob:try=<try>/" | same_words >"$T/done.sorted"
	same_words <"$T/plan" >"$T/plan.sorted"
	diff "$T/plan.sorted" "$T/done.sorted"
	(($(grep -c 'show -f json' "$T/plan.sorted") == 5))
}

# Lines without quotes and without times, sorted, each once.
same_words() {
	tr -d "\"'" | sed -E 's/novajob:(expires|life)=[0-9]+/novajob:\1/g' | sort -u
}

@test "delete-by = timer: nothing is planned for cleanup" {
	set_to delete-by timer
	run -0 novajob plan
	assert_line --partial "nothing: sweep's timer deletes the server"
	run -0 bash -c '"$NOVAJOB" --settings="$SETTINGS" plan --json | jq -c ".stages[] | select(.stage == \"cleanup\").commands"'
	assert_output '[]'
}

@test "with a warm pool: what a prepare does that gets a server of it" {
	set_to pool 1
	novajob pool fill
	logged ssh ssh
	novajob plan --json >"$T/plan"
	prepared
	grep 'warm pool' "$T/prepare.log"
	address=$(jq -r .address "$STATE"/jobs/*-"$JOB_ID"/record.json)
	grep -v -F -e pool. "$T/done" | without_ids no-id no-id "$address" | sort -u >"$T/done.sorted"
	jq -c '.stages[] | select(.stage == "prepare, with a server of the warm pool").commands[]' "$T/plan" >"$T/warm"
	head -2 "$T/warm" | without_ids no-id no-id no-id | sort -u >"$T/plan.sorted"
	diff "$T/plan.sorted" "$T/done.sorted"
	assert_equal "$(sed -n 3p "$T/warm")" "[\"novajob\",\"--settings=$SETTINGS\",\"--state-dir=$STATE\",\"--owner=novajob\",\"pool\",\"fill\"]"
	wait_for 30 nobody_left
	novajob cleanup
	set_to pool 0
	novajob pool drain
	run -0 novajob plan
	refute_output --partial 'warm pool'
}

@test "plan starts no child and opens no socket" {
	command -v strace >/dev/null || skip "no strace"
	strace -o /dev/null true 2>/dev/null || skip "strace cannot trace here"
	export ASAN_OPTIONS=detect_leaks=0 # its leak check cannot run under ptrace
	set_to pool 1
	set_to ready-command true
	run -0 strace -f -o "$T/trace" "$NOVAJOB" --settings="$SETTINGS" plan
	run -0 grep -c execve "$T/trace"
	assert_output 1
	run ! grep -E '(^|[^a-z_])(fork|vfork|clone3?|socket|connect)\(' "$T/trace"
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
