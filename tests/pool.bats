#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# pool.bats - the warm pool: fill, claim, hand-over, and that nothing of it is ever lost, used twice, or in a job's way.

load lib
with_cloud

setup() {
	novajob_setup
	OWNER=o$JOB_ID T=$BATS_TEST_TMPDIR P=$BATS_TEST_TMPDIR/prepare.log
	set_to owner "$OWNER"
	set_to keys per-job
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	set_to pool 1
	counting_client
	stage_env
}

teardown() {
	[[ ! -s $P ]] || tail -25 "$P" >&2 # shown when the test failed
	[[ ! -s $STATE/pool.log ]] || tail -25 "$STATE/pool.log" >&2
	cloud knobs '[]'
	wait_for 30 nobody_left
	novajob pool drain >/dev/null 2>&1 || true
	novajob cleanup >/dev/null 2>&1 || true
}

# The client, each start of which is a line in $T/starts. While there is $T/denied the cloud refuses it.
counting_client() {
	cat >"$T/openstack" <<-END
		#!/bin/sh
		echo "\$(tr '\\0' ' ' </proc/\$PPID/cmdline)" >>$T/starts
		[ ! -e $T/denied ] || { echo "The request you have made requires authentication. (HTTP 401)" >&2; exit 1; }
		exec $(command -v openstack) "\$@"
	END
	chmod 755 "$T/openstack"
	set_to openstack "$T/openstack"
	: >"$T/starts"
}

starts() {
	wc -l <"$T/starts"
}

fill() {
	novajob pool fill 2>"$T/fill.log" 3>&- || { cat "$T/fill.log" >&2 && return 1; }
}

# The ids of this test's servers that the cloud has.
ids() {
	cloud servers | grep -F "novajob:owner=$OWNER" | cut -d' ' -f1
}

count() {
	ids | wc -l
}

is_count() {
	[[ $(count) == "$1" ]]
}

# status FIELD [POOL]: of novajob pool status.
status() {
	novajob pool status --json | jq -r --arg p "${2:-default}" "select(.pool == \$p) | .$1"
}

is_status() {
	[[ $(status "$1" "${3:-default}") == "$2" ]]
}

# prepare STATUS [ARG...]: what it says is in $P.
prepare() {
	local want=$1 status=0
	novajob "${@:2}" prepare >"$T/out" 2>"$P" 3>&- || status=$?
	assert_equal "$status" "$want"
}

said() {
	grep -qE -- "$1" "$P" || fail "not said: $1"
}

WARM='^novajob: ready in [0-9]+\.[0-9][0-9] s \(warm pool "default", 0 left\)$'
COLD='^novajob: ready in [0-9]+\.[0-9] s \(cold: create [0-9.]+, build [0-9.]+, ssh [0-9.]+\)$'

# The record of the test's job.
record() {
	jq -r ".$1" "$STATE/jobs/11111111-2222-3333-4444-555555555555-$JOB_ID/record.json"
}

# stage LINE: what it prints in the job's server.
stage() {
	printf '%s\n' "$1" >"$T/script"
	novajob run "$T/script" build_script
}

# The record of the one server in the pool.
pooled() {
	echo "$STATE"/jobs/pool.*/record.json
}

# Is the server of this test ACTIVE?
active() {
	cloud servers | grep -F "novajob:owner=$OWNER" | grep -q ' ACTIVE '
}

has_keys() {
	[[ -e $(echo "$STATE"/jobs/pool.*/user-data) ]]
}

# named ID NAME: what the cloud calls it.
named() {
	cloud servers | grep -q "^$1 $2 "
}

@test "fill makes what is wanted, and no more; a second one finds nothing to do" {
	set_to pool 2
	fill
	assert_equal "$(count)" 2
	assert_equal "$(status ready)" 2
	assert_equal "$(starts)" 1
	before=$(ids)
	fill
	assert_equal "$(ids)" "$before"
	run -0 cloud servers
	assert_output --partial 'novajob:pool=default'
	assert_output --partial 'novajob:life='
	run -0 novajob pool status
	assert_line --regexp '^default +2 +2 +0 +0 +0  '
	run -0 novajob list
	assert_line --regexp '^pool\.[0-9a-f.]+ +ready +ACTIVE '
}

@test "a job gets a server of the pool: no client is started, its keys and name follow" {
	fill
	server=$(ids)
	: >"$T/starts"
	: >"$T/denied" # whoever starts it, fails
	prepare 0
	said "$WARM"
	assert_equal "$(record server_id)" "$server"
	run -0 stage 'echo "in ${NOVASIM_SERVER}"'
	assert_output "in $server"
	wait_for 30 nobody_left # the fill that was kicked, which fails
	run -0 cat "$T/starts"
	assert_output --partial 'pool fill'
	refute_output --partial 'prepare'
	named "$server" 'gitlab-builder-pool-[0-9a-f]*'
	rm "$T/denied"
	run -0 stage 'echo again' # a later stage has it tried again
	assert_output again
	wait_for 30 named "$server" "gitlab-builder-7-project-42-concurrent-0-job-$JOB_ID"
	wait_for 30 nobody_left
	stage true
	nobody_left # and none that comes behind it
	run -0 cloud servers --json
	run -0 jq -r --arg i "$server" '.[] | select(.id == $i) | .metadata["novajob:job"], .metadata["novajob:try"]' <<<"$output"
	assert_line --index 0 "11111111-2222-3333-4444-555555555555-$JOB_ID"
	assert_line --index 1 "$(record try)"
	assert_equal "$(record pool)" null
	assert_equal "$(count)" 2
	novajob cleanup
	assert_equal "$(count)" 1
	assert_equal "$(status ready)" 1
}

@test "a claim has the pool filled again, in the background, holding nothing of the stage" {
	fill
	server=$(ids)
	timeout 60 "$NOVAJOB" --settings="$SETTINGS" prepare 2>&1 3>&- | cat >"$P"
	said "$WARM"
	wait_for 60 is_status ready 1
	wait_for 30 nobody_left
	named "$server" "gitlab-builder-7-project-42-concurrent-0-job-$JOB_ID"
	novajob cleanup
}

@test "a whole job on a server of the pool" {
	fill
	run -0 job --script-line 'echo from the pool'
	run -0 cat "$LOG"
	assert_line --regexp "$WARM"
	wait_for 60 is_status ready 1
	wait_for 30 is_count 1
}

# ready_for ID: JOB_RESPONSE_FILE and record of another job.
as_job() {
	JOB_ID=$1
	stage_env "$1"
}

# edit FILTER: the record of the one server in the pool.
edit() {
	jq "$1" "$(pooled)" >"$T/edited"
	cat "$T/edited" >"$(pooled)"
}

# claimed: the job has a server of the pool, which is called there as before; its id is $SERVER.
claimed() {
	fill
	SERVER=$(ids)
	: >"$T/denied"
	prepare 0
	said "$WARM"
	wait_for 30 nobody_left # the fill that was kicked, which fails
	rm "$T/denied"
}

@test "two prepares never get the same server" {
	local i
	set_to pool 2
	fill
	set_to pool 0 # the fills that are kicked make no new ones
	for i in 1 2 3 4; do
		(
			as_job $((JOB_ID + i))
			BATS_TEST_TMPDIR=$T/$i
			mkdir "$T/$i"
			response "$JOB_ID" >"$T/$i/response.json"
			JOB_RESPONSE_FILE=$T/$i/response.json novajob prepare 2>"$T/prepare.$i" 3>&-
		) 3>&- &
		started
	done
	wait_started
	assert_equal "$(grep -l 'warm pool' "$T"/prepare.? | wc -l)" 2
	assert_equal "$(grep -l '(cold: ' "$T"/prepare.? | wc -l)" 2
	assert_equal "$(jq -r .server_id "$STATE"/jobs/1*/record.json | sort -u | wc -l)" 4
	wait_for 30 nobody_left
	for i in 1 2 3 4; do
		as_job $((JOB_ID + 1))
		novajob cleanup
	done
	assert_equal "$(count)" 0
}

@test "a server whose settings are not the job's stays in the pool" {
	printf '#!/bin/sh\n' >"$T/user-data"
	chmod 600 "$T/user-data"
	set_to user-data "$T/user-data"
	fill
	server=$(ids)
	prepare 0 --flavor=m1.small
	said "$COLD"
	novajob cleanup
	as_job $((JOB_ID + 1))
	echo ': another content' >>"$T/user-data"
	prepare 0
	said "$COLD"
	novajob cleanup
	assert_equal "$(ids)" "$server"
	fill # replaces it
	refute [ "$(ids)" = "$server" ]
	grep -q 'goes: the settings have changed' "$T/fill.log"
	as_job $((JOB_ID + 1))
	prepare 0 --ssh-timeout=50 --busy-timeout=7 # limits do not matter
	said "$WARM"
	novajob cleanup
}

@test "an image by its id, or its name, is the same" {
	fill
	id=$(jq -r .pool.image "$(pooled)")
	prepare 0 --image="$id"
	said "$WARM"
	novajob cleanup
}

@test "a server that does not live as long as the job is not taken" {
	fill
	edit '.expires -= 23 * 3600'
	prepare 0
	said "$COLD"
	novajob cleanup
	assert_equal "$(status ready)" 1
}

@test "fill replaces what is too old, of another image, or gone" {
	local why
	for why in '.pool.since -= 13 * 3600|it has waited for too long' \
		'.pool.image = "00000000-0000-0000-0000-000000000000"|there is a newer image' \
		'.|the cloud has it no more'; do
		fill
		server=$(ids)
		edit "${why%|*}"
		[[ ${why%|*} != . ]] || cloud lose "$server"
		fill
		grep -q "server $server of the pool \"default\" goes: ${why#*|}" "$T/fill.log"
		assert_equal "$(count)" 1
		assert_equal "$(status ready)" 1
		refute [ "$(ids)" = "$server" ]
	done
}

@test "a smaller number, and the oldest go; none, and all" {
	set_to pool 2
	fill
	set_to pool 1
	oldest=$(jq -rs 'min_by(.pool.since).pool.since' "$STATE"/jobs/pool.*/record.json)
	fill
	assert_equal "$(count)" 1
	[ "$(jq .pool.since "$(pooled)")" -ge "$oldest" ]
	set_to pool 0
	fill
	assert_equal "$(count)" 0
	: >"$T/starts"
	rm "$STATE/pool.host"
	fill # where no pool is wanted, or was, no client is started
	assert_equal "$(starts)" 0
}

@test "a dead server in the pool: the next one is taken, and it is deleted" {
	set_to pool 2
	fill
	dead=$(jq -rs 'min_by(.pool.since).server_id' "$STATE"/jobs/pool.*/record.json)
	cloud kill "$dead"
	prepare 0
	if grep -q 'is no good' "$P"; then
		said "server $dead of the warm pool \"default\" is no good: "
	fi
	said 'warm pool "default", [01] left'
	refute [ "$(record server_id)" = "$dead" ]
	wait_for 60 is_status ready 2
	wait_for 30 nobody_left
	run cloud servers
	refute_output --partial "$dead"
	novajob cleanup
}

@test "all of the pool is dead: the job goes cold" {
	fill
	cloud kill "$(ids)"
	prepare 0
	said 'is no good: '
	said "$COLD"
	novajob cleanup
	wait_for 60 is_status ready 1
	wait_for 30 is_count 1
}

@test "cleanup of a server that is called as in the pool yet" {
	claimed
	named "$SERVER" 'gitlab-builder-pool-[0-9a-f]*'
	set_to pool 0
	run -0 novajob list --json
	run -0 jq -r 'select(.server != null) | [.job, .record, .status] | @tsv' <<<"$output"
	assert_output "$(printf '11111111-2222-3333-4444-555555555555-%s\tready\tACTIVE' "$JOB_ID")"
	run -0 novajob sweep
	assert_line --regexp "^keep server $SERVER .*: its job may be running$"
	run -0 stage 'echo "in ${NOVASIM_SERVER}"'
	assert_output "in $SERVER"
	novajob cleanup
	assert_equal "$(count)" 0
	run -0 novajob sweep
	assert_equal "$(find "$STATE/jobs" -name 'pool.*')" ''
}

@test "its name is the job's, but not yet its properties: cleanup finds it, sweep keeps it" {
	claimed
	cloud knobs '[{"request": "POST .*/servers/[^/]*/metadata$", "status": 503, "count": 1}, {"request": "POST .*/servers/[^/]*/metadata$", "status": 403}]'
	set_to pool 0
	novajob pool fill || true
	named "$SERVER" "gitlab-builder-7-.*-job-$JOB_ID"
	run -0 cloud servers
	assert_output --partial 'novajob:job=pool.'
	run -0 novajob sweep
	assert_line --regexp "^keep server $SERVER .*: its job may be running$"
	novajob cleanup
	assert_equal "$(count)" 0
}

@test "sweep beside claim, hand-over and cleanup never takes a server away" {
	local i
	fill
	(while [[ ! -e $T/enough ]]; do novajob sweep >>"$T/sweep.log" 2>&1 3>&-; done) 3>&- &
	started
	for i in 1 2 3; do
		as_job $((JOB_ID + 1))
		prepare 0
		said '\(warm pool'
		run -0 stage 'echo "in ${NOVASIM_SERVER}"'
		wait_for 60 is_status ready 1
		run -0 stage 'echo "in ${NOVASIM_SERVER}"'
		novajob cleanup
	done
	: >"$T/enough"
	wait_started
	wait_for 30 nobody_left
	set_to pool 0
	fill
	assert_equal "$(count)" 0
}

@test "KILL of fill at any step: sweep, or the next fill, leaves nothing" {
	local knob n=0
	for knob in '"request": "POST .*/servers$", "hang": true' '"request": "POST .*/servers$", "hang": "after"' \
		'"match": "^gitlab-builder-pool", "spawn_delay": 60' '"match": "^gitlab-builder-pool", "no_sshd": true'; do
		cloud knobs "[{$knob}]"
		"$NOVAJOB" --settings="$SETTINGS" pool fill 2>"$T/fill.log" 3>&- &
		pid=$!
		started
		wait_for 20 has_keys
		case $((n++)) in
		0) wait_for 20 grep -q . "$T/starts" ;;
		1) wait_for 20 is_count 1 ;;
		2) wait_for 20 grep -q 'waiting for ACTIVE' "$T/fill.log" ;;
		3) wait_for 30 active ;;
		esac
		kill -KILL "$pid"
		wait_started
		wait_for 30 nobody_left
		cloud knobs '[]'
		if ((n % 2 == 0)); then
			run -0 novajob sweep
		else
			set_to pool 0
			fill
			set_to pool 1
		fi
		wait_for 10 is_count 0
		run -0 novajob sweep
		assert_equal "$(find "$STATE/jobs" -name 'pool.*')" ''
	done
}

@test "TERM ends fill; it leaves nothing" {
	cloud knobs '[{"match": "^gitlab-builder-pool", "no_sshd": true}]'
	"$NOVAJOB" --settings="$SETTINGS" pool fill 2>"$T/fill.log" 3>&- &
	pid=$!
	started
	wait_for 30 active
	kill -TERM "$pid"
	wait_started
	assert_equal "$(count)" 0
	assert_equal "$(find "$STATE/jobs" -name 'pool.*')" ''
}

@test "KILL of prepare between the two records of a claim: the server is nobody's" {
	fill
	edit ".phase = \"claimed\" | .pool.job = \"11111111-2222-3333-4444-555555555555-$JOB_ID\""
	run -0 novajob sweep
	assert_line --partial 'of the pool, given up'
	assert_equal "$(count)" 0
	fill
	assert_equal "$(status ready)" 1
	edit ".phase = \"claimed\" | .pool.job = \"11111111-2222-3333-4444-555555555555-$JOB_ID\""
	fill
	assert_equal "$(count)" 1
	assert_equal "$(status ready)" 1
}

@test "KILL of prepare while it looks at the claimed server: cleanup deletes that" {
	fill
	server=$(ids)
	cloud freeze "$server"
	"$NOVAJOB" --settings="$SETTINGS" prepare 2>"$P" 3>&- &
	pid=$!
	started
	wait_for 10 is_status claimed 1
	kill -KILL "$pid"
	wait_started
	wait_for 10 nobody_left
	assert_equal "$(record server_id)" "$server"
	cloud thaw "$server"
	run -0 novajob sweep
	assert_line --regexp "^keep server $server "
	novajob cleanup
	assert_equal "$(count)" 0
}

@test "a server without its record is deleted, never adopted; another host's is let be" {
	fill
	run -0 novajob --state-dir="$T/other" pool fill 3>&-
	assert_equal "$(count)" 2
	run -0 novajob sweep
	assert_line --regexp "^keep server .*: of the pool|^keep server .*: another host's"
	assert_equal "$(count)" 2
	rm -r "$STATE"/jobs/pool.*
	run -0 novajob sweep
	assert_line --regexp '^delete server .*: of the pool, without a record here$'
	assert_line --regexp "^keep server .*: another host's, or its record is lost"
	assert_equal "$(count)" 1
	fill
	rm -r "$STATE"/jobs/pool.*
	fill
	assert_equal "$(count)" 2
	grep -q 'of the pool, without a record here' "$T/fill.log"
	novajob --state-dir="$T/other" pool drain
	assert_equal "$(count)" 1
}

@test "drain deletes what is in the pool, and leaves claimed servers to their jobs" {
	set_to pool 2
	fill
	: >"$T/denied"
	prepare 0
	wait_for 30 nobody_left
	rm "$T/denied"
	set_to pool 0 # else the job's next stage, whose server is called as in the pool yet, fills it
	novajob pool drain
	assert_equal "$(ids)" "$(record server_id)"
	assert_equal "$(status ready)" 0
	run -0 stage 'echo still here'
	assert_output 'still here'
	novajob cleanup
	assert_equal "$(count)" 0
}

@test "pools of their own for other settings; a project's jobs take theirs" {
	cat >>"$SETTINGS" <<-END
		[pool infra]
		pool = 1
		flavor = m1.small
		[project group/*]
		flavor = m1.small
		[pool none]
		pool = 0
		flavor = m1.absurd
	END
	fill
	assert_equal "$(count)" 2
	assert_equal "$(status ready infra)" 1
	assert_equal "$(status ready none)" 0
	prepare 0
	said '\(warm pool "infra", 0 left\)$'
	assert_equal "$(status ready)" 1
	wait_for 60 is_status ready 1 infra
	novajob cleanup
	sed -i '/^\[pool infra/,$d' "$SETTINGS"
	fill
	grep -q 'of the pool "infra" goes: there is no such pool any more' "$T/fill.log"
	assert_equal "$(count)" 1
}

@test "no room in the cloud: fill gives up at once, which is no failure" {
	cloud knobs '[{"quota": {"instances": 0}}]'
	fill
	grep -q 'the cloud has no room for the pool: ' "$T/fill.log"
	assert_equal "$(count)" 0
	assert_equal "$(find "$STATE/jobs" -name 'pool.*')" ''
}

@test "a prepare that waits for quota has precedence, and takes what comes into the pool" {
	fill
	mv "$STATE"/jobs/pool.* "$T/hidden"
	key=$(jq -r .server_name "$T/hidden/record.json")
	cloud knobs '[{"quota": {"instances": 0}}]'
	novajob --busy-timeout=60 prepare 2>"$P" 3>&- &
	started
	wait_for 20 grep -q 'waiting for ' "$P"
	cloud knobs '[]'
	cloud knobs '[{"request": "POST .*/servers$", "status": 403, "message": "Quota exceeded for instances: Requested 1, but already used 1 of 1 instances"}]'
	set_to pool 2
	mkdir "$STATE/jobs/pool.$(cat "$STATE/pool.host").${key##*-}"
	cp -r "$T"/hidden/* "$STATE/jobs/pool.$(cat "$STATE/pool.host").${key##*-}/"
	novajob pool fill 2>"$T/fill.log" 3>&- || true
	grep -qE 'a job waits for quota: the pool can wait' "$T/fill.log" || grep -q 'warm pool' "$P"
	wait_for 30 grep -q 'warm pool' "$P"
	wait_started
	cloud knobs '[]'
	wait_for 60 nobody_left
	novajob cleanup
}

@test "quota used up by servers that do not fit: one of them makes room for the job" {
	fill
	server=$(ids)
	cloud knobs "[{\"quota\": {\"instances\": $(cloud servers | wc -l)}}]"
	prepare 0 --flavor=m1.small --busy-timeout=60
	said "deleting server $server of the warm pool \"default\", which this job cannot use, to make room"
	said "$COLD"
	wait_for 60 nobody_left
	assert_equal "$(count)" 1
	novajob cleanup
}

@test "settings a pool cannot have" {
	run -2 novajob --keys=shared --private-key="$CLOUD/id_ed25519" pool fill
	assert_line --partial 'pool "default": pool ('
	assert_line --partial 'needs keys of its own for each server'
	run -2 novajob --floating-network=public pool fill
	assert_line --partial 'servers with a floating address'
	echo '[pool default]' >>"$SETTINGS"
	run -2 novajob pool fill
	assert_line --partial "'default' is no name for a pool"
	sed -i '$d' "$SETTINGS"
	printf '[project x]\npool = 2\n' >>"$SETTINGS"
	run -2 novajob pool fill
	assert_line --partial 'cannot stand in a section'
	sed -i '/^\[project/,$d' "$SETTINGS"
	run -64 novajob pool empty
	run -64 novajob pool fill now
}
