#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What a host remembers of the cloud: ids of names, times of builds; and delete-by = timer, which needs no client.

load lib
with_cloud

teardown() {
	stage_env
	novajob cleanup --delete-by=cleanup 2>/dev/null || true
}

# play STAGE [ARG...]: a stage by hand; what it says is in $W/STAGE.
play() {
	stage_env
	novajob "$@" 2>"$BATS_TEST_TMPDIR/$1"
}

# The requests since mark, those of the regex $1.
mark() {
	MARK=$(wc -l <"$CLOUD/requests.log")
}

since() {
	tail -n +$((MARK + 1)) "$CLOUD/requests.log" | grep -cE -- "$1" || true
}

# kept FILTER: a change of the one file of names.
kept() {
	local file
	file=$(echo "$STATE"/names/*.json)
	jq -c "$1" "$file" >"$file.tmp"
	cat "$file.tmp" >"$file"
	rm "$file.tmp"
}

BY_NAME='GET /(image/v2/images\?|compute/v2.1/flavors(\?|/detail)|network/v2.0/(networks|security-groups)\?)'
UNKNOWN=12345678-1234-1234-1234-123456789abc

@test "the second prepare asks for no name; the file is ours alone and holds no secret" {
	# its first look, long before it is ACTIVE, leaves time to resolve
	cloud knobs '[{"match": ".", "spawn_delay": 1}]'
	mark
	play prepare
	(($(since "$BY_NAME") > 0))
	play cleanup
	mark
	play prepare
	assert_equal "$(since "$BY_NAME")" 0
	assert_equal "$(since 'POST /compute/v2.1/servers 202')" 1
	assert_equal "$(stat -c %a "$STATE/names")" 700
	assert_equal "$(stat -c %a "$STATE"/names/*.json)" 600
	run ! grep -rF "$OS_PASSWORD" "$STATE/names"
	run jq -r '.ids | keys[]' "$STATE"/names/*.json
	assert_output $'flavor m1.tiny\nimage builder-one\nnetwork ci-net\nsecurity group ci'
}

@test "name-cache = 0 keeps nothing" {
	set_to name-cache 0
	play prepare
	play cleanup
	mark
	play prepare
	(($(since "$BY_NAME") > 0))
	assert_not_exists "$STATE/names"
}

@test "an id is believed for name-cache, not longer, and not from a clock that was wrong" {
	local at
	play prepare
	play cleanup
	for at in 'now - 601' 'now + 100'; do
		kept ".ids[].at = ($at | floor)"
		mark
		play prepare
		(($(since 'GET /image/v2/images\?') == 1)) || fail "$at"
		play cleanup
	done
	mark
	play prepare
	assert_equal "$(since 'GET /image/v2/images\?')" 0
}

@test "an id the cloud does not know any more is forgotten, the name looked up again" {
	local what
	cloud knobs '[{"match": ".", "spawn_delay": 1}]'
	play prepare
	play cleanup
	for what in 'image builder-one' 'network ci-net' 'security group ci' 'flavor m1.tiny'; do
		kept ".ids[\"$what\"] += {id: \"$UNKNOWN\", at: (now | floor)}"
		play prepare || fail "$what: $(cat "$BATS_TEST_TMPDIR/prepare")"
		assert_equal "$(servers_of "$JOB_ID")" 1
		run ! grep -r "$UNKNOWN" "$STATE/names"
		play cleanup
	done
}

@test "a name that is gone is told by its name, after one more look; nothing is created" {
	play prepare
	play cleanup
	set_to image nosuch
	kept ".ids[\"image nosuch\"] = .ids[\"image builder-one\"] + {id: \"$UNKNOWN\"}"
	mark
	run -2 play prepare
	run cat "$BATS_TEST_TMPDIR/prepare"
	assert_output --partial "no active image is named 'nosuch'"
	assert_output --partial "image (from $SETTINGS:"
	refute_line --regexp "error: .*$UNKNOWN"
	assert_equal "$(since 'POST /compute/v2.1/servers ')" 0
}

@test "how many images fit is said each time" {
	set_to image builder
	play prepare
	play cleanup
	mark
	play prepare
	run cat "$BATS_TEST_TMPDIR/prepare"
	assert_output --partial "image 'builder': 2 fit"
	assert_equal "$(since 'GET /image/v2/images\?')" 0
}

@test "a file that is not ours alone, a link, or no JSON, is not believed, and does not matter" {
	local file
	play prepare
	play cleanup
	file=$(echo "$STATE"/names/*.json)
	for how in 'chmod 0640' 'mv -t /tmp' 'ln -sf /etc/hostname' 'truncate -s 7' 'truncate -s 300000'; do
		case $how in
		mv*) mv "$file" "$file.2" && ln -s "$file.2" "$file" ;;
		ln*) ln -sf /etc/hostname "$file" ;;
		*) $how "$file" ;;
		esac
		mark
		play prepare || fail "$how: $(cat "$BATS_TEST_TMPDIR/prepare")"
		assert_equal "$how $(since 'GET /image/v2/images\?')" "$how 1"
		play cleanup
	done
	rm -r "$STATE/names"
	ln -s "$BATS_TEST_TMPDIR" "$STATE/names"
	play prepare
	run ! compgen -G "$BATS_TEST_TMPDIR/*.json.lock"
}

@test "another user has a file of his own" {
	play prepare
	play cleanup
	unset "${!OS_@}"
	. "$CLOUD/openrc-app"
	mark
	play prepare
	assert_equal "$(since 'GET /image/v2/images\?')" 1
	play cleanup
	run -0 ls "$STATE/names"
	assert_equal "$(grep -c 'json$' <<<"$output")" 2
}

@test "a server is looked at when the last builds say that it is due" {
	play prepare
	play cleanup
	run jq -e '[.times[].ms[]] | length == 1 and .[0] > 0' "$STATE"/names/*.json
	assert_success
	kept '.times[].ms = [60000, 61000]'
	mark
	play prepare
	assert_equal "$(since 'GET /compute/v2.1/servers/detail')" 1
}

@test "delete-by = timer: cleanup starts no client, sweep deletes and proves" {
	set_to delete-by timer
	set_to key-pair ''
	play prepare
	assert_exists "$(echo "$STATE"/jobs/*/id_ed25519)"
	mark
	play cleanup --openstack=/nonexistent
	assert_equal "$(cat "$BATS_TEST_TMPDIR/cleanup")" ''
	assert_equal "$(since .)" 0
	assert_equal "$(servers_of "$JOB_ID")" 1
	assert_equal "$(jq -r .phase "$STATE"/jobs/*/record.json)" deleting
	run ! compgen -G "$STATE/jobs/*/id_ed25519"
	play cleanup --openstack=/nonexistent # twice
	run novajob sweep
	assert_success
	assert_output --partial 'its job was cleaned up'
	assert_equal "$(servers_of "$JOB_ID")" 0
}

@test "delete-by = timer: without a record, or with one that cannot be used, cleanup deletes" {
	set_to delete-by timer
	play prepare
	echo '{' >"$(echo "$STATE"/jobs/*/record.json)"
	play cleanup
	assert_equal "$(servers_of "$JOB_ID")" 0
	play prepare
	rm -r "$STATE"/jobs
	play cleanup
	assert_equal "$(servers_of "$JOB_ID")" 0
}

@test "delete-by = timer: the next try of the job deletes what the one before it has left" {
	set_to delete-by timer
	play prepare
	play cleanup
	assert_equal "$(servers_of "$JOB_ID")" 1
	play prepare
	assert_equal "$(servers_of "$JOB_ID")" 1
	run cat "$BATS_TEST_TMPDIR/prepare"
	assert_output --partial 'an earlier try of this job has left something'
}

@test "delete-by = timer: a whole job is green, its log as ever" {
	set_to delete-by timer
	job --script-line 'echo hello'
	assert_equal "$(servers_of "$JOB_ID")" 1
	run cat "$RUNNER_LOG"
	refute_output --partial cleanup
	novajob sweep
	assert_equal "$(servers_of "$JOB_ID")" 0
}
