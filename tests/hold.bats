#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# hold.bats - servers that are kept when their job is over: keep-on-failure, hold, release.

load lib
with_cloud
load hold

# ---- keep-on-failure

@test "the server of a failed job is kept: the log tells the way in, which works, and the end, which comes" {
	run -3 job --instance-uuid 11111111-2222-3333-4444-555555555555 --script-line 'echo trace >$HOME/trace; exit 3'
	run -0 grep 'the server is kept' "$LOG"
	assert_equal "${#lines[@]}" 1
	assert_output --regexp "^novajob: the server is kept for 30 min after this job, until [0-9: -]+ UTC at least: 'novajob --state-dir=$STATE ssh $JOB_ID' on host $(hostname) gets in, 'novajob --state-dir=$STATE release $JOB_ID' deletes it\$"
	run -0 grep -c "^WARNING: novajob: job $JOB_ID is over, its server $(server) is kept until " "$RUNNER_LOG"
	assert_output 1
	assert_equal "$(wc -l <"$RUNNER_LOG")" 1
	assert_equal "$(left_processes)" '' # nor the connection that the stages shared
	held_for 1800
	# as the log has it, without the settings
	mkdir "$T/bin"
	ln -s "$NOVAJOB" "$T/bin/novajob"
	command=$(grep -o "'novajob[^']* ssh $JOB_ID'" "$LOG" | tr -d "'")
	run -0 env PATH="$T/bin:$PATH" NOVAJOB_SETTINGS=/dev/null bash -c "$command cat trace"
	assert_output trace
	run -0 novajob sweep
	assert_line --regexp "^keep server $(server) .*: it is held$"
	edit '.expires = $now - 1'
	run -0 novajob sweep
	assert_line --regexp '^delete server .*: it was held, and that is over$'
	gone
	no_trace_on_host
}

@test "until when says the clock of now, and the date when it is another day's" {
	prepared
	stage build_script 1 'exit 1'
	# as it is computed there: half an hour from now, in UTC
	until=$(date -u -d '+30 min' +%H:%M) before=$(date -u -d '+29 min' +%H:%M)
	run -0 grep -E "until ([0-9-]+ )?($until|$before) UTC" "$T/err"
	edit '.failed = null | del(.failed)'
	novajob hold "$JOB_ID" 2d 2>"$T/hold"
	run -0 cat "$T/hold"
	assert_output "novajob: job $JOB_ID runs: its server will be kept for 2 d after it"
	stage build_script 1 'exit 1'
	run -0 grep -F "the server is kept for 2 d after this job, until $(date -u -d '+2 days' +%F) " "$T/err"
}

@test "nothing is kept, and nothing said, by default" {
	sed -i '/^keep-on-failure/d' "$SETTINGS"
	prepared
	stage build_script 1 'exit 3'
	assert_equal "$(<"$T/err")" ''
	assert_equal "$(record failed)" null
	run -0 novajob cleanup
	assert_output ''
	gone
}

@test "a job that went well is not kept, nor one whose after_script failed" {
	prepared
	stage build_script 0 true
	stage after_script 1 'exit 1'
	stage clear_worktree 1 'exit 1'
	stage cleanup_file_variables 1 'exit 1'
	assert_equal "$(record failed)" null
	run -0 novajob cleanup
	assert_output ''
	gone
	assert_equal "$(keys_left)" ''
}

@test "a stage that does better in its next try takes it back; the success of another stage does not" {
	prepared
	stage get_sources 1 'exit 1'
	run -0 grep -c 'the server is kept' "$T/err"
	stage clear_worktree 0 true
	assert_equal "$(record failed)" get_sources
	stage get_sources 0 true
	assert_equal "$(<"$T/err")" 'novajob: get_sources worked this time: the server is not kept for its failure'
	assert_equal "$(record failed)" null
	stage build_script 0 true
	novajob cleanup
	gone
	# the first failure decides, and is told once
	JOB_ID=$((JOB_ID + 1)) KEY=11111111-2222-3333-4444-555555555555-$JOB_ID
	prepared
	stage 'step two: &' 1 'exit 1'
	stage upload_artifacts_on_failure 1 'exit 1'
	assert_equal "$(<"$T/err")" ''
	stage upload_artifacts_on_failure 0 true
	stage archive_cache_on_failure 0 true
	assert_equal "$(record failed)" script
	novajob cleanup 2>/dev/null
	held_for 1800
}

@test "a runner's retry of get_sources in a whole job: nothing is kept" {
	cat >"$T/sources" <<-'END'
		mkdir -p /tmp/builds/group/project
		[ -e $HOME/tried ] || { touch $HOME/tried; exit 1; }
	END
	run -0 job --attempts GET_SOURCES=2 --stage-retry-wait 0.1 --raw-script get_sources="$T/sources" --script-line 'echo fine'
	run -0 grep -A9 'the server is kept' "$LOG"
	assert_output --partial 'get_sources worked this time'
	gone
}

@test "a cancelled job is not kept, but one that was cancelled after its script had failed is" {
	run -101 job --script-line 'echo begun; sleep 100' --cancel-at build_script@begun
	run ! grep 'is kept' "$LOG"
	gone
	JOB_ID=$((JOB_ID + 1)) KEY=11111111-2222-3333-4444-555555555555-$JOB_ID
	run job --instance-uuid 11111111-2222-3333-4444-555555555555 --script-line 'exit 3' \
		--after-script-line 'echo after; sleep 100' --force-cancel-at after_script@after
	held_for 1800
}

@test "a server that was lost is not kept" {
	prepared
	stage build_script 1 'exit 1'
	cloud kill "$(server)"
	stage after_script 2 true
	run -0 novajob cleanup
	assert_output ''
	gone
	assert_equal "$(record phase)" deleted
}

@test "a server that somebody has deleted: an ordinary cleanup, in silence, and the keys go" {
	prepared
	stage build_script 1 'exit 1'
	cloud lose "$(server)"
	run -0 novajob cleanup
	assert_output ''
	assert_equal "$(record phase)" deleted
	assert_equal "$(keys_left)" ''
}

@test "no job asks for it without leave, or for more than the operator's ceiling" {
	export CUSTOM_ENV_NOVAJOB_KEEP_ON_FAILURE=10m
	run -1 novajob config
	assert_output --partial 'job variable NOVAJOB_KEEP_ON_FAILURE: this runner lets jobs set: flavor, image'
	set_to job-may-set keep-on-failure
	run -0 novajob config
	assert_equal "$(jq -r '.job_env.NOVAJOB_RESOLVED | fromjson | .settings["keep-on-failure"]' <<<"$output")" 10m
	export CUSTOM_ENV_NOVAJOB_KEEP_ON_FAILURE=61m
	run -1 novajob config
	assert_output --partial 'asks for keep-on-failure 61m: this runner allows at most 1h'
	set_to max-keep-on-failure 2h
	run -0 novajob config
	set_to job-may-set max-keep-on-failure
	run -2 novajob config
	assert_output --partial "no job may ever set 'max-keep-on-failure'"
}

@test "no more are kept for failures than max-held; what the operator holds is, and counts" {
	local first=$JOB_ID
	next_job() {
		JOB_ID=$((JOB_ID + 1)) KEY=11111111-2222-3333-4444-555555555555-$JOB_ID
		prepared
		stage build_script 1 'exit 1'
	}
	set_to max-held 1
	prepared
	novajob hold "$JOB_ID" 30m
	novajob cleanup
	held_for 1800
	next_job
	assert_equal "$(<"$T/err")" 'novajob: the server is not kept: this host holds those of 1 jobs already (max-held)'
	run -0 novajob cleanup
	assert_output "novajob: job $JOB_ID failed, but its server is not kept: this host holds as many as max-held allows"
	assert_equal "$(record phase)" deleted
	next_job
	novajob hold "$JOB_ID" 30m
	novajob cleanup
	assert_equal "$(record phase)" held
	set_to max-held 0
	next_job
	run -0 grep -c '^novajob: the server is kept for 30 min after' "$T/err"
	novajob cleanup
	assert_equal "$(record phase)" held
	for ((; JOB_ID >= first; JOB_ID--)); do
		novajob release "$JOB_ID"
	done
}

@test "who keeps a server, releases it, or is in it, leaves a line" {
	set_to log-file "$T/events"
	set_to log-format json
	run -1 job --script-line 'exit 1' --instance-uuid 11111111-2222-3333-4444-555555555555
	run -0 novajob hold "$JOB_ID" 2h
	run -7 novajob ssh "$JOB_ID" exit 7
	run -0 novajob release "$JOB_ID"
	run -2 novajob ssh "$JOB_ID" true
	run -2 novajob hold "$JOB_ID" 2h
	run -2 novajob hold nosuch 2h
	run -0 jq -c 'select(.event == "cleanup") | .left' "$T/events"
	assert_output '"held"'
	run -0 jq -c 'select(.event == "hold" or .event == "release") |
		[.event, .job, .result, (.server | length), .hold_seconds, (.expires > now), .client_starts]' "$T/events"
	assert_line --index 0 "[\"hold\",\"$KEY\",\"ok\",36,7200,true,1]"
	assert_line --index 1 "[\"release\",\"$KEY\",\"ok\",36,null,false,1]"
	assert_line --index 2 "[\"hold\",\"$KEY\",\"failed\",36,7200,false,null]"
	assert_equal "${#lines[@]}" 3
	run -0 jq -c 'select(.event == "ssh") | [.job, (.server | length), .command]' "$T/events"
	assert_output "[\"$KEY\",36,\"exit\"]"
}

@test "a whole job that asks for it" {
	set_to keep-on-failure 0
	set_to job-may-set keep-on-failure
	run -3 job --instance-uuid 11111111-2222-3333-4444-555555555555 --var NOVAJOB_KEEP_ON_FAILURE=5m --script-line 'exit 3'
	run -0 grep 'the server is kept for 5 min after this job' "$LOG"
	held_for 300
}

@test "max-life is the end of keep-on-failure, but not of the operator's hold" {
	set_to max-life 1h
	prepared
	edit '.created = $now - 3000'
	stage build_script 1 'exit 1'
	run -0 grep -E 'the server is kept for (10 min|[6-9] min [0-9]+ s) after this job' "$T/err"
	edit '.created = $now - 3700 | del(.failed)'
	stage build_script 1 'exit 1'
	assert_equal "$(<"$T/err")" 'novajob: the server is not kept: its max-life is over'
	edit '.created = $now - 3000'
	cp "$STATE/jobs/$KEY/record.json" "$T/before"
	novajob cleanup 2>/dev/null
	held_for 600
	cp "$T/before" "$STATE/jobs/$KEY/record.json"
	novajob hold "$JOB_ID" 5h 2>/dev/null
	novajob cleanup 2>/dev/null
	held_for 18000
}

@test "delete-by = timer: kept as well, and sweep deletes it then; a job that went well goes with the next sweep" {
	set_to delete-by timer
	failed_job
	held_for 1800
	run -0 novajob sweep
	assert_line --partial 'it is held'
	edit '.expires = $now - 1'
	novajob sweep >/dev/null
	gone
	no_trace_on_host
	prepared
	novajob cleanup
	assert_equal "$(record phase)" deleting
	novajob sweep >/dev/null
	gone
}

# ---- prepare, cleanup, and what may go wrong

@test "a new try of the same job deletes what was held; the cleanup of a prepare that failed holds nothing" {
	failed_job
	first=$(server)
	prepared
	grep -q 'an earlier try of this job has left something' "$T/prepare.log"
	[[ $(server) != "$first" && $(server) != *$'\n'* ]]
	assert_equal "$(record failed)" null
	stage build_script 1 'exit 1'
	novajob cleanup 2>/dev/null
	held_for 1800
	cloud knobs '[{"match": "", "spawn_fail": "no space"}]'
	run -2 novajob prepare
	run -0 novajob cleanup
	gone
	assert_equal "$(keys_left)" ''
}

@test "cleanup again: a held server is let be, one whose time is over goes" {
	failed_job
	expires=$(record expires)
	novajob cleanup 2>/dev/null
	held_for 1800
	assert_equal "$(record expires)" "$expires"
	edit '.expires = $now - 1'
	run -0 novajob cleanup
	assert_output ''
	gone
}

@test "the cloud cannot be told: a warning, exit 0, and this host keeps the server all the same" {
	prepared
	stage build_script 1 'exit 1'
	cloud knobs '[{"request": "POST /compute/.*/servers/[^/]*/metadata$", "status": 403}]'
	run -0 novajob cleanup
	assert_equal "${#lines[@]}" 2
	assert_line --index 1 --regexp "^novajob: warning: the cloud does not know that server $(server) is kept: another host's sweep may delete it: .*403"
	symptom "warning: the cloud does not know that server ... is kept: another host's sweep may delete it: ..."
	assert_equal "$(record phase)" held
	run -0 novajob sweep
	assert_line --partial 'it is held'
	run -2 novajob hold "$JOB_ID" 1h
	assert_output --partial "job $JOB_ID is held on this host, but the cloud does not know it"
	cloud knobs '[]'
	novajob hold "$JOB_ID" 1h 2>/dev/null
	held_for 3600
}

@test "cleanup is killed while it tells the cloud: the server is held, and has an end" {
	prepared
	stage build_script 1 'exit 1'
	cloud knobs '[{"request": "POST /compute/.*/servers/[^/]*/metadata$", "hang": true}]'
	"$NOVAJOB" --settings="$SETTINGS" cleanup 2>/dev/null 3>&- &
	started
	wait_for 30 bash -c "'$TESTS/cloud/cloud' requests '$CLOUD' 'POST .*$(server)/metadata hang' | grep -q ."
	kill -KILL "${STARTED[@]}"
	wait_started
	assert_equal "$(record phase)" held
	cloud knobs '[]'
	run -0 novajob sweep
	assert_line --partial 'it is held'
	edit '.expires = $now - 1'
	novajob sweep >/dev/null
	gone
	no_trace_on_host
}

@test "a record that cannot be written: nothing is held that nobody would know of" {
	prepared
	stage build_script 1 'exit 1'
	mkdir "$STATE/jobs/$KEY/record.new" # where it is written before it is renamed
	run -0 novajob cleanup
	assert_output --partial 'cannot write the record'
	gone
	rmdir "$STATE/jobs/$KEY/record.new"
}

# ---- hold and release

@test "hold on a running job: its server is kept though all went well, and release takes it back" {
	prepared
	run -0 novajob hold "$JOB_ID" 2h
	assert_output "novajob: job $JOB_ID runs: its server will be kept for 2 h after it"
	run -0 novajob list
	assert_line --regexp "^$KEY +ready .* then held for 2 h$"
	stage build_script 0 true
	novajob cleanup 2>/dev/null
	held_for 7200
	novajob release "$JOB_ID" 2>/dev/null
	gone
	prepared
	novajob hold "$JOB_ID" 2h 2>/dev/null
	run -0 novajob release "$JOB_ID"
	assert_output "novajob: job $JOB_ID runs: its server goes with it"
	stage build_script 1 'exit 1' # not even for that
	assert_equal "$(<"$T/err")" 'novajob: the server is not kept: the operator wants it gone'
	run -0 novajob cleanup
	assert_output ''
	gone
}

@test "hold on a held server: longer and shorter, and the cloud knows it for other hosts" {
	failed_job
	run -0 novajob hold "$JOB_ID" 3h
	assert_output --regexp "^novajob: server $(server) of job $JOB_ID is held until .* UTC, for 3 h$"
	held_for 10800
	run -0 other_host sweep
	assert_line --regexp "^keep server $(server) .*another host's"
	novajob hold "$JOB_ID" 2s 2>/dev/null
	over() { ((EPOCHSECONDS > $(record expires) + 1)); }
	wait_for 10 over
	run -0 other_host sweep # it has the cloud's word alone
	assert_line --regexp "^delete server .*another host's"
	gone
	run -2 novajob hold "$JOB_ID" 1h
	assert_output --partial "job $JOB_ID: the cloud has its server no more, or is deleting it"
	assert_output --partial "'novajob release $JOB_ID'"
	novajob release "$JOB_ID" 2>/dev/null
	assert_equal "$(record phase)" deleted
}

@test "another host's sweep leaves a held server alone when its first expiry is over" {
	set_to max-life 1m
	prepared
	novajob hold "$JOB_ID" 2h 2>/dev/null
	novajob cleanup 2>/dev/null
	held=$(server)
	JOB_ID=$((JOB_ID + 1)) # beside it one that is not held
	prepared
	run -0 as_later 120 sweep
	assert_line --regexp "^keep server $held .*another host's.*: not past"
	assert_line --regexp '^delete server .*another host.s.*: past'
	assert_equal "$(server)" "$held"
	JOB_ID=$((JOB_ID - 1))
}

@test "release deletes server, keys and all but the tombstone; twice does no harm" {
	failed_job
	[[ -n $(keys_left) ]]
	run -0 novajob release "$JOB_ID"
	assert_output "novajob: what job $JOB_ID had is deleted"
	gone
	assert_equal "$(keys_left)" ''
	assert_equal "$(record phase)" deleted
	run -0 novajob release "$JOB_ID"
	assert_output "novajob: job $JOB_ID has no server any more"
	run -0 novajob sweep
	assert_output ''
}

@test "release of a server that resists: exit 2, it says so, and can be asked for again" {
	failed_job
	set_to delete-wait 1
	cloud knobs '[{"match": "", "delete_fail": "cannot destroy"}]'
	run -2 novajob release "$JOB_ID"
	assert_output --partial "release of job $JOB_ID: server $(server) "
	assert_output --partial "openstack server list --name=-job-$JOB_ID\$"
	assert_equal "$(record phase)" deleting
	run -2 novajob ssh "$JOB_ID" true
	assert_output --partial 'its server is being deleted'
	run -2 novajob hold "$JOB_ID" 1h
	assert_output --partial "job $JOB_ID: there is no server to keep (its record says: deleting)"
	cloud knobs '[]'
	run -0 novajob release "$JOB_ID"
	gone
}

@test "hold while sweep is about to delete: the server stays" {
	failed_job
	edit '.expires = $now - 1'
	cp "$T/record" "$T/expired"
	mkfifo "$T/go"
	flock "$STATE/lock" sh -c "echo locked; read -r x <'$T/go'" >"$T/locked" 3>&- &
	started
	wait_for 10 grep -q locked "$T/locked"
	"$NOVAJOB" --settings="$SETTINGS" sweep >"$T/sweep" 2>&1 3>&- &
	sweep=$!
	started
	# it has judged by the old record when it wants the lock
	wait_for 60 bash -c "readlink /proc/$sweep/fd/* | grep -qx '$STATE/lock'"
	edit '.expires = $now + 600'
	echo >"$T/go"
	wait_started
	run -0 cat "$T/sweep"
	assert_line --regexp "^keep server $(server) .*: it is held for longer now$"
	assert_equal "$(record phase)" held
}

@test "a full disk keeps no server for ever" {
	failed_job
	edit '.expires = $now - 1'
	mkdir "$STATE/jobs/$KEY/record.new" # where it is written before it is renamed
	run novajob sweep
	assert_line --regexp '^delete server .*: it was held, and that is over$'
	gone
	rmdir "$STATE/jobs/$KEY/record.new"
	novajob sweep
	no_trace_on_host
}

@test "cleanup never came: sweep gives a job with a hold that much more time" {
	prepared
	novajob hold "$JOB_ID" 10m 2>/dev/null
	edit '.expires = $now - 60'
	cloud_expiry() { # of the server: long ago, too
		openstack server set --property "novajob:life=1" --property "novajob:expires=1000" "$(server)"
	}
	cloud_expiry
	run -0 novajob sweep
	assert_line --regexp "^keep server $(server) .*its job may be running$"
	edit '.expires = $now - 60 | .hold_ms = 1000'
	over() { novajob sweep >"$T/sweep" 2>&1 && gone; }
	wait_for 20 over
	run -0 cat "$T/sweep"
	assert_line --regexp '^delete server .*deadline is over$'
	gone
}

@test "a time that is none, or too long: refused" {
	prepared
	for time in 0 31d 1w '' -1 '2 h'; do
		run -2 novajob hold -- "$JOB_ID" "$time"
		assert_output --partial "hold: '$time' is"
	done
	assert_equal "$(record hold_ms)" 0
	run -64 novajob hold "$JOB_ID"
	assert_output --partial 'usage: novajob hold JOB TIME'
}
