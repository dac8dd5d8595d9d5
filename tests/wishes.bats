#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# wishes.bats - what a server can be asked for, and second choices where there is no room.

load lib
with_cloud

setup() {
	novajob_setup
	stage_env
	P=$BATS_TEST_TMPDIR/prepare.log
}

teardown() {
	cloud knobs '[]'
}

# Prepare as job $JOB_ID; its server, as the API shows it, on stdout.
made() {
	prepared || {
		cat "$P" >&2
		return 1
	}
	/usr/bin/openstack server show -f json "$(cloud servers | grep -- "-job-$JOB_ID " | cut -d' ' -f1)"
}

gone() {
	novajob cleanup
	assert_equal "$(servers_of "$JOB_ID")" 0
}

# ---- second choices

# bats test_tags=fault
@test "no valid host for the first flavor: the next is taken, and the log says why" {
	set_to flavor 'm1.absurd, m1.tiny'
	made
	grep -q "a host with room: the cloud says 'No valid host was found'; trying flavor m1.tiny, network ci-net" "$P" || fail "$(cat "$P")"
	grep -q 'is created after .* (flavor m1.tiny, network ci-net), waiting' "$P"
	assert_equal "$(servers_of "$JOB_ID")" 1
	gone
	fault_row 'no valid host for the first flavor of two' prepare 0 "$P"
}

@test "a quota of memory: the next flavor; of instances: none would help" {
	cloud knobs '[{"quota": {"ram": 256}}]'
	set_to flavor 'm1.small, m1.tiny'
	JOB_ID=$((JOB_ID * 1000 + 429)) # as in HTTP 429, but part of a name
	made
	grep -qE 'quota: .* ram in use; trying flavor m1.tiny' "$P" || fail "$(cat "$P")"
	gone
	JOB_ID=$((JOB_ID + 1))
	cloud knobs '[{"quota": {"instances": 0}}]'
	stage_env
	run -2 novajob prepare
	refute_output --partial 'trying flavor'
}

# bats test_tags=fault
@test "a zone that is not there: the next one; all of them: an error that names the setting" {
	set_to availability-zone 'nowhere, nova'
	made
	grep -q 'trying flavor m1.tiny, network ci-net, zone nova' "$P" || fail "$(cat "$P")"
	gone
	fault_row 'an availability zone that is not there, the first of two' prepare 0 "$P"
	JOB_ID=$((JOB_ID + 1))
	stage_env
	set_to availability-zone nowhere
	run -2 novajob prepare
	assert_output --partial "availability-zone (from $SETTINGS:"
}

# bats test_tags=fault
@test "a host that fails: the next zone; the failed server is deleted" {
	cloud knobs '[{"match": "job-'"$JOB_ID"'$", "spawn_fail": "disk on fire"}]'
	set_to flavor 'm1.tiny, m1.small'
	stage_env
	"$NOVAJOB" --settings="$SETTINGS" prepare >"$P" 2>&1 3>&- &
	started
	wait_for 30 grep -q 'disk on fire; trying flavor m1.small' "$P"
	cloud knobs '[]'
	wait_started
	grep -q 'novajob: ready in' "$P" || fail "$(cat "$P")"
	assert_equal "$(servers_of "$JOB_ID")" 1
	gone
	fault_row 'the host of the first choice fails to build the server' prepare 0 "$P"
}

@test "every choice is full: it is waited for, and begun anew" {
	set_to flavor 'm1.absurd, m1.small'
	set_to busy-timeout 60
	cloud knobs '[{"quota": {"ram": 256}}]'
	stage_env
	"$NOVAJOB" --settings="$SETTINGS" prepare >"$P" 2>&1 3>&- &
	started
	wait_for 30 grep -q 'waiting for' "$P"
	cloud knobs '[]'
	wait_started
	grep -q '(flavor m1.small, network ci-net), waiting' "$P" || fail "$(cat "$P")"
	gone
}

@test "a mistyped second choice is told when its turn comes, the job is not lost silently" {
	set_to flavor 'm1.absurd, m1.tinny'
	run -2 novajob prepare
	assert_output --partial "flavor (from $SETTINGS:"
	assert_output --partial 'm1.tinny'
	gone
}

# ---- networks, groups, address

@test "several networks and security groups of one server" {
	set_to network 'ci-net + other-net'
	set_to security-group 'ci, default'
	run -0 made
	run -0 jq -r '(.addresses | keys | join(",")), ([.security_groups[].name] | unique | join(","))' <<<"$output"
	assert_output $'ci-net,other-net\nci,default'
	gone
}

@test "address: 4, 6, or a network; none of it is an error before any login" {
	set_to network ci-dual
	set_to address 127.0.0.0/8
	made
	gone
	JOB_ID=$((JOB_ID + 1))
	stage_env
	set_to address 6
	run -2 novajob prepare
	assert_output --regexp 'none of the [0-9]+ addresses of server .* is one of address = 6'
	assert_equal "$(servers_of "$JOB_ID")" 0
}

@test "address takes nothing but its words and networks" {
	local value
	for value in 4 6 auto 10.0.0.0/8 0.0.0.0/0 fd00::/8 ::/0 192.168.1.7/32; do
		"$NOVAJOB" --settings="$SETTINGS" settings --address="$value" >/dev/null
	done
	for value in '' 5 10.0.0.0 10.0.0/8 10.0.0.0/33 10.0.0.0/-1 10.0.0.0/ fd00::/129 /8 10.0.0.0/8x host; do
		run -64 novajob settings --address="$value" || run -2 novajob settings --address="$value"
	done
}

# ---- the rest

@test "properties and description; the properties of novajob are not to be had" {
	set_to properties 'team=ci, cost=42'
	set_to description 'a job of novajob'
	run -0 made
	run -0 jq -r '.properties.team, .properties.cost' <<<"$output"
	assert_output $'ci\n42'
	run -0 env OS_COMPUTE_API_VERSION=2.19 /usr/bin/openstack server show -f value -c description \
		"$(jq -r .server_id "$STATE"/jobs/*/record.json)"
	assert_output 'a job of novajob'
	gone
	for value in novajob:owner=x NOVAJOB:job=y nothing =x; do
		run -2 novajob settings --properties="$value"
	done
}

@test "an image by its properties" {
	set_to image 'os_distro=debian, ci=yes'
	run -0 made
	run -0 jq -r .image <<<"$output"
	assert_output --partial 'builder (' # the newest of those that have both
	grep -q "image 'os_distro=debian, ci=yes': 2 fit; taking" "$P" || fail "$(cat "$P")"
	gone
	JOB_ID=$((JOB_ID + 1))
	stage_env
	set_to image 'os_distro=plan9,ci=yes'
	run -2 novajob prepare
	assert_output --partial "no active image has the properties 'os_distro=plan9,ci=yes'"
}
