#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# events.bats - what novajob leaves for machines: a line per event (log-file, log-format), and novajob metrics.

load lib
with_cloud

setup() {
	novajob_setup
	EVENTS=$BATS_TEST_TMPDIR/events
	set_to log-file "$EVENTS"
	set_to log-format json
	set_to owner "o$JOB_ID" # sweep finds only what is this test's
	INSTANCE=11111111-2222-3333-4444-555555555555 # of stage_env's jobs, too
	KEY=$INSTANCE-$JOB_ID
	RECEIVER=''
}

teardown() {
	[[ -z $RECEIVER ]] || kill "$RECEIVER" 2>/dev/null || :
}

# events FILTER: of all lines of $EVENTS, as jq -c sees it.
events() {
	jq -c "$1" "$EVENTS"
}

# metric NAME[LABELS]: its value, from novajob metrics.
metric() {
	novajob metrics >"$BATS_TEST_TMPDIR/metrics"
	grep -v '^#' "$BATS_TEST_TMPDIR/metrics" | grep -F -- "$1 " | sed 's/.* //'
}

# counts NAME[LABELS] VALUE
counts() {
	assert_equal "$1 $(metric "$1")" "$1 $2"
}

# a server of the cloud with our owner, of a job nobody here knows; prints its id
stranger() {
	cloud add --name "gitlab-builder-7-project-42-concurrent-0-job-$1" --property "novajob:owner=o$JOB_ID" \
		--property "novajob:job=a-$1" --property novajob:try=0123456789abcdef --property novajob:expires=1000
}

# ---- lines

@test "a job leaves a line for each stage: what, of which job, how it ended, how long it took" {
	set_to log-format text
	run -0 job --script-line 'echo hello' --instance-uuid "$INSTANCE"
	local when='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z' s='[0-9]+\.[0-9]+' id='[0-9a-f-]{36}'
	run -0 cat "$EVENTS"
	assert_line --index 0 --regexp "^$when prepare job=$KEY project=group/project result=ok server=$id flavor=m1.tiny image=$id address=127\.[0-9.]+ kind=cold create_seconds=$s build_seconds=$s ssh_seconds=$s setup_seconds=$s client_starts=[0-9]+ seconds=$s$"
	assert_line --index 1 --regexp "^$when run job=$KEY project=group/project result=ok stage=prepare_script server=$id code=0 seconds=$s$"
	assert_line --regexp "^$when run job=$KEY project=group/project result=ok stage=build_script server=$id code=0 seconds=$s$"
	assert_line --index $((${#lines[@]} - 1)) --regexp "^$when cleanup job=$KEY project=group/project result=ok server=$id left=nothing outcome=success client_starts=[0-9]+ seconds=$s$"
	assert_equal "$(cut -d ' ' -f 2 "$EVENTS" | grep -vc '^run$')" 2
}

@test "the same as one JSON object per line; numbers are numbers" {
	run -0 job --script-line 'echo hello' --instance-uuid "$INSTANCE"
	run -0 events '[.event, .result, .kind, (.time | fromdate > 0)]'
	assert_line --index 0 '["prepare","ok","cold",true]'
	assert_line --index $((${#lines[@]} - 1)) '["cleanup","ok",null,true]'
	run -0 events 'select(.event == "prepare") | .seconds >= .create_seconds + .build_seconds + .ssh_seconds and .client_starts >= 1'
	assert_output true
	run -0 events 'select(.job != "'"$KEY"'" or .project != "group/project")'
	assert_output ''
}

@test "a failed script: its code; cleanup tells what became of the job" {
	run -3 job --script-line 'exit 3'
	run -0 events 'select(.stage == "build_script") | [.event, .result, .code, .class]'
	assert_output '["run","failed",3,"build"]'
	run -0 events 'select(.event == "cleanup") | [.result, .outcome]'
	assert_output '["ok","failed"]'
}

@test "a prepare that fails: its class and what was said; the job is counted once for three tries" {
	set_to image no-image
	run -100 job --script-line true
	run -0 events 'select(.event == "prepare") | [.result, .class]'
	assert_output $'["system_failure","setting"]\n["system_failure","setting"]\n["system_failure","setting"]'
	run -0 events 'select(.event == "prepare") | .error | test("image.*no-image")'
	assert_line --index 0 true
	run -0 events 'select(.event == "cleanup") | .outcome'
	assert_output $'null\nnull\n"system_failure"'
	counts 'novajob_jobs_total{result="system_failure"}' 1
	counts 'novajob_failures_total{class="setting",stage="prepare"}' 3
}

@test "a job that asks for what is not allowed: config tells it, it counts as the job's failure" {
	mkdir -m 700 "$STATE" # config makes none
	run -1 job --var NOVAJOB_NETWORK=ci-net --script-line true
	run -0 events '[.event, .result, .class]'
	assert_line --index 0 '["config","failed","wish"]'
	counts 'novajob_jobs_total{result="failed"}' 1
	counts 'novajob_failures_total{class="wish",stage="config"}' 1
}

@test "a wish the cloud cannot fulfil is the job's failure, told by prepare, counted by cleanup" {
	set_to job-may-set image
	run -1 job --var NOVAJOB_IMAGE=no-image --script-line true
	run -0 events 'select(.event == "prepare") | [.result, .class]'
	assert_output '["failed","wish"]'
	counts 'novajob_jobs_total{result="failed"}' 1
}

@test "a server that is lost in mid-script has an event of its own" {
	prepared
	local server
	server=$(cloud servers | sed -n "s/^\([^ ]*\) [^ ]*-job-$JOB_ID .*/\1/p")
	cloud lose "$server"
	echo 'echo never' >"$BATS_TEST_TMPDIR/script"
	run -2 novajob run "$BATS_TEST_TMPDIR/script" build_script
	run -2 novajob run "$BATS_TEST_TMPDIR/script" after_script
	novajob cleanup
	run -0 events 'select(.event == "lost") | [.job, .stage, .server, .error]'
	assert_output --regexp "^\\[\"$KEY\",\"build_script\",\"$server\",\"(it is gone: somebody deleted it|the cloud could not be asked .*)\"\\]$"
	run -0 events 'select(.event == "run") | [.result, .class, .client_starts > 0]'
	assert_output $'["system_failure","ssh",true]\n["system_failure","ssh",false]'
	run -0 events 'select(.event == "cleanup") | .outcome'
	assert_output '"system_failure"'
}

@test "a cancelled job is stopped, whatever its stages said afterwards" {
	run -101 job --script-line 'echo begun; sleep 60' --cancel-at build_script@begun
	run -0 events 'select(.stage == "build_script") | [.result, .class]'
	assert_output '["stopped","stopped"]'
	run -0 events 'select(.event == "cleanup") | .outcome'
	assert_output '"stopped"'
	counts 'novajob_jobs_total{result="stopped"}' 1
}

@test "sweep tells each thing it deletes, and its sum; what lives is not told again and again" {
	local id
	id=$(stranger 5)
	prepared
	run -0 novajob sweep
	run -0 events 'select(.event == "swept") | [.object, .id, .action]'
	assert_output "[\"server\",\"$id\",\"delete\"]"
	run -0 events 'select(.event == "sweep") | [.result, .servers, .leaked, .resisting]'
	assert_output '["ok",1,1,0]'
	: >"$EVENTS"
	run -0 novajob sweep --dry-run
	assert_file_empty "$EVENTS"
	novajob cleanup
}

@test "pool fill tells what it made and removed, and nothing when there was nothing to do" {
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	set_to pool 1
	novajob pool fill
	run -0 events '[.event, .action, .made, .removed]'
	assert_output '["pool","fill",1,0]'
	counts 'novajob_pool_servers{pool="default",state="ready"}' 1
	counts 'novajob_pool_wanted_servers{pool="default"}' 1
	novajob pool fill
	run -0 events .event
	assert_output '"pool"'
	set_to pool 0 # prepare fills again in the background otherwise
	prepared
	run -0 events 'select(.event == "prepare") | [.kind, .pool, .client_starts]'
	assert_output '["warm","default",null]'
	counts 'novajob_ready_seconds_count{kind="warm"}' 1
	novajob cleanup
	wait_for 30 no_server_of "$JOB_ID"
	novajob pool drain
	counts 'novajob_pool_changes_total{change="made"}' 1
}

@test "a stage that is tried again counts by its last try; after_script does not fail the job" {
	prepared
	echo 'exit 1' >"$BATS_TEST_TMPDIR/bad"
	echo 'exit 0' >"$BATS_TEST_TMPDIR/good"
	run -1 novajob run "$BATS_TEST_TMPDIR/bad" get_sources
	run -0 novajob run "$BATS_TEST_TMPDIR/good" get_sources
	run -0 novajob run "$BATS_TEST_TMPDIR/good" build_script
	run -1 novajob run "$BATS_TEST_TMPDIR/bad" after_script
	novajob cleanup
	run -0 events 'select(.event == "cleanup") | .outcome'
	assert_output '"success"'
}

@test "a job that was prepared for nothing was stopped" {
	prepared
	novajob cleanup
	run -0 events 'select(.event == "cleanup") | .outcome'
	assert_output '"stopped"'
}

# ---- where they go

@test "the file is ours alone, unless it was there before; its mode stays then" {
	run -2 novajob prepare
	run -0 stat -c %a "$EVENTS"
	assert_output 600
	chmod 640 "$EVENTS"
	run -2 novajob prepare
	run -0 stat -c '%a %s' "$EVENTS"
	assert_output --regexp '^640 [1-9]'
}

@test "a log that cannot be written stops no job and is not in its log; doctor and -v tell" {
	local where=$BATS_TEST_TMPDIR/where
	mkdir -p "$where"
	mkdir "$where/folder"
	mkfifo "$where/fifo"
	touch "$where/target" "$where/open"
	chmod 666 "$where/open"
	ln -s target "$where/link"
	set_to log-file "$where/none/x"
	run -0 job --script-line 'echo hello'
	run grep -q log-file "$LOG" "$RUNNER_LOG"
	assert_failure
	stage_env
	for file in none/x folder fifo link open; do
		set_to log-file "$where/$file"
		run -2 novajob run /dev/null build_script
		refute_output --partial log-file
		assert_equal "$(grep -c '^novajob: error: ' <<<"$output")" 1
		run -2 novajob -v run /dev/null build_script
		assert_line --regexp '^novajob: debug: log-file: '
		run novajob doctor --openstack=/nonexistent # asks the cloud nothing
		assert_line --regexp "^warn +log-file +events are lost: log-file: .*$where/$file"
	done
	assert_file_empty "$where/target"
	assert_file_empty "$where/open"
	set_to log-file "$EVENTS"
	run novajob doctor --openstack=/nonexistent
	assert_line --regexp "^ok +log-file +$EVENTS, as json"
}

@test "a full disk loses lines, not jobs" {
	((EUID == 0)) || return 0
	local disk=$BATS_TEST_TMPDIR/disk
	mkdir "$disk"
	mount -t tmpfs -o size=16k none "$disk" 2>/dev/null || return 0 # a container without that right
	head -c 1M /dev/zero >"$disk/filler" 2>/dev/null || :
	set_to log-file "$disk/events"
	run job --script-line 'echo hello'
	umount "$disk"
	assert_success
}

@test "an operator with another user id makes no file that the runner cannot write to" {
	((EUID == 0)) || return 0
	mkdir -m 700 "$STATE"
	chown nobody "$STATE"
	run -2 novajob prepare
	run -2 novajob sweep
	run -2 novajob metrics
	assert_line --partial "belongs to user id $(id -u nobody)"
	assert_file_not_exist "$EVENTS"
}

@test "log-file is journal or an absolute path, log-format text or json, and no job can set them" {
	run -2 novajob settings --log-file=events
	assert_line --partial "'events' is neither journal nor an absolute path"
	run -0 novajob settings --log-file=journal
	run -2 novajob settings --log-format=xml
	run -2 novajob settings --job-may-set=log-file
	stage_env
	CUSTOM_ENV_NOVAJOB_LOG_FILE=$BATS_TEST_TMPDIR/theirs run -1 novajob prepare
	assert_file_not_exist "$BATS_TEST_TMPDIR/theirs"
}

@test "lines of processes that write at a time never mix" {
	local i n long
	stage_env
	printf -v long '%900s' x
	long=${long// /.} # nothing that is taken for a secret
	for ((i = 0; i < 20; i++)); do
		for ((n = 0; n < 10; n++)); do
			novajob run /dev/null "stage$long$i.$n" >/dev/null 2>&1 3>&- || :
		done &
		started
	done
	wait_started
	assert_equal "$(wc -l <"$EVENTS")" 200
	run -0 jq -s 'map(.stage) | unique | length' "$EVENTS"
	assert_output 200
}

@test "a line is one write" {
	strace -o /dev/null true 2>/dev/null || skip "strace cannot trace here"
	export ASAN_OPTIONS=detect_leaks=0 # its leak check cannot run under ptrace
	stage_env
	touch "$EVENTS"
	run -2 strace -o "$BATS_TEST_TMPDIR/trace" -e trace=write,writev,pwrite64 -P "$EVENTS" \
		"$NOVAJOB" --settings="$SETTINGS" run /dev/null build_script
	assert_equal "$(grep -c write "$BATS_TEST_TMPDIR/trace")" 1
}

# receive SOCKET: datagrams that come there, as JSON objects of their fields, to $BATS_TEST_TMPDIR/journal
receive() {
	python3 - "$1" "$BATS_TEST_TMPDIR/journal" 3>&- <<-'END' &
		import json, socket, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind(sys.argv[1])
		with open(sys.argv[2], 'a') as out:
		    while True:
		        text = s.recv(1 << 17).decode()
		        assert text.endswith('\n')
		        print(json.dumps(dict(line.split('=', 1) for line in text[:-1].split('\n'))), file=out, flush=True)
	END
	RECEIVER=$!
	wait_for 10 test -S "$1"
}

@test "a socket gets them as a journal does: fields, priority, the line as message" {
	receive "$BATS_TEST_TMPDIR/socket"
	set_to log-file "$BATS_TEST_TMPDIR/socket"
	set_to log-format text
	run -3 job --script-line 'exit 3' --instance-uuid "$INSTANCE"
	set_to image no-image
	JOB_ID=$((JOB_ID + 1))
	stage_env
	run -2 novajob prepare
	wait_for 10 grep -q system_failure "$BATS_TEST_TMPDIR/journal"
	run -0 jq -r 'select(.NOVAJOB_STAGE == "build_script") | [.NOVAJOB_EVENT, .NOVAJOB_JOB, .NOVAJOB_RESULT, .NOVAJOB_CODE, .PRIORITY, .SYSLOG_IDENTIFIER] | join(" ")' "$BATS_TEST_TMPDIR/journal"
	assert_output "run $KEY failed 3 6 novajob"
	run -0 jq -r 'select(.NOVAJOB_STAGE == "build_script") | .MESSAGE' "$BATS_TEST_TMPDIR/journal"
	assert_output --regexp "^run job=$KEY project=group/project result=failed stage=build_script .*code=3 "
	run -0 jq -r 'select(.NOVAJOB_RESULT == "system_failure") | .PRIORITY' "$BATS_TEST_TMPDIR/journal"
	assert_output 4
	: >"$BATS_TEST_TMPDIR/journal"
	run -2 novajob run /dev/null $'x\nNOVAJOB_EVENT=forged'
	wait_for 10 test -s "$BATS_TEST_TMPDIR/journal"
	run -0 jq -r '.NOVAJOB_EVENT, .NOVAJOB_STAGE' "$BATS_TEST_TMPDIR/journal"
	assert_output $'run\nx NOVAJOB_EVENT=forged'
	run novajob doctor --openstack=/nonexistent
	assert_line --regexp '^ok +log-file '
}

@test "journal is the host's own; where there is none, doctor tells" {
	set_to log-file journal
	# a namespace with a /run of its own
	run unshare --map-root-user --mount bash -c 'mount -t tmpfs none /run && mkdir -p /run/systemd/journal'
	((status == 0)) || return 0 # a container without that right
	run unshare --map-root-user --mount bash -c '
		mount -t tmpfs none /run
		mkdir -p /run/systemd/journal
		python3 -c "
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(\"/run/systemd/journal/socket\")
open(\"/run/bound\", \"w\")
print(s.recv(65536).decode())" 3>&- &
		for ((i = 0; i < 200; i++)); do [[ ! -e /run/bound ]] || break; sleep 0.05; done
		"$NOVAJOB" --settings="$SETTINGS" --state-dir=/run/state sweep >/dev/null
		wait'
	assert_line --regexp '^NOVAJOB_EVENT=sweep$'
	run unshare --map-root-user --mount bash -c 'mount -t tmpfs none /run; "$NOVAJOB" --settings="$SETTINGS" --state-dir=/run/state doctor'
	assert_line --regexp '^warn +log-file +events are lost: .*cannot reach the journal at .*/run/systemd/journal/socket'
}

# ---- text from outside

@test "no text of a job can forge a line, a field or a control character" {
	local evil=$'x\n2026-01-01T00:00:00Z prepare job=forged result=ok \e[31m"quo\\ted" a=b \u202e'
	set_to job-may-set image
	stage_env
	for format in text json; do
		set_to log-format "$format"
		: >"$EVENTS"
		CUSTOM_ENV_NOVAJOB_IMAGE=$evil run -1 novajob prepare
		run -2 novajob run /dev/null "$evil"
		assert_equal "$(wc -l <"$EVENTS")" 2
		run grep -nP '[\x00-\x09\x0b-\x1f\x7f]|\xe2\x80\xae' "$EVENTS"
		assert_failure
	done
	run -0 events '[.event, .job, .result]'
	assert_output "[\"prepare\",\"$KEY\",\"failed\"]
[\"run\",\"$KEY\",\"system_failure\"]"
	# of the text form: what is left without the quoted values names no forged job
	set_to log-format text
	: >"$EVENTS"
	for evil in "$evil" 'x job=forged' 'x"job=forged' 'job=forged' 'x\" job=forged'; do
		: >"$EVENTS"
		run -2 novajob run /dev/null "$evil"
		run -0 sed -E 's/"([^"\\]|\\.)*"/Q/g' "$EVENTS"
		assert_output --regexp "^[^ ]+ run job=$KEY project=group/p result=system_failure stage=Q( [a-z_]+=[^ ]+)*$"
		refute_output --partial forged
	done
}

@test "the name of a server in the cloud cannot either" {
	cloud add --name $'gitlab-builder-x\n{"event":"forged"} password=hunter22' --property "novajob:owner=o$JOB_ID" \
		--property novajob:job=a-1 --property novajob:try=0123456789abcdef --property novajob:expires=1000 >/dev/null
	run -0 novajob sweep
	run -0 events .event
	assert_output $'"swept"\n"sweep"'
	run -0 events '.name // empty'
	assert_output '"gitlab-builder-x {\"event\":\"forged\"} password=***"'
}

@test "no secret is in an event" {
	export OS_PASSWORD=correct-horse
	printf '#!/bin/sh\necho "The request you have made requires authentication: $OS_PASSWORD (HTTP 401)" >&2\nexit 1\n' \
		>"$BATS_TEST_TMPDIR/openstack"
	chmod 755 "$BATS_TEST_TMPDIR/openstack"
	set_to openstack "$BATS_TEST_TMPDIR/openstack"
	set_to openstack-session no
	stage_env
	run -2 novajob prepare
	run -0 cat "$EVENTS"
	assert_output --partial 'requires authentication: ***'
	refute_output --partial correct-horse
}

# ---- metrics

@test "metrics: a good job, a failed one, one whose server is lost, and a sweep" {
	local server
	run -0 job --script-line true
	JOB_ID=$((JOB_ID + 1))
	run -3 job --script-line 'exit 3' --after-script-line true
	JOB_ID=$((JOB_ID + 1))
	prepared
	cloud lose "$(cloud servers | sed -n "s/^\([^ ]*\) [^ ]*-job-$JOB_ID .*/\1/p")"
	echo true >"$BATS_TEST_TMPDIR/script"
	run -2 novajob run "$BATS_TEST_TMPDIR/script" build_script
	novajob cleanup
	set_to owner other # the three jobs' is not theirs any more
	server=$(cloud add --name gitlab-builder-x --property novajob:owner=other --property novajob:job=a-9 \
		--property novajob:try=0123456789abcdef --property novajob:expires=1000)
	run -0 novajob sweep
	assert_line --partial "delete server $server"
	counts 'novajob_jobs_total{result="success"}' 1
	counts 'novajob_jobs_total{result="failed"}' 1
	counts 'novajob_jobs_total{result="system_failure"}' 1
	counts 'novajob_failures_total{class="build",stage="run"}' 1
	counts 'novajob_failures_total{class="ssh",stage="run"}' 1
	counts 'novajob_ready_seconds_count{kind="cold"}' 3
	counts 'novajob_ready_seconds_bucket{kind="cold",le="+Inf"}' 3
	counts 'novajob_ready_seconds_bucket{kind="cold",le="0.1"}' 0
	local stage
	for stage in prepare run cleanup sweep; do # a busy host may need more
		(($(metric "novajob_client_starts_total{stage=\"$stage\"}") >= 1))
	done
	counts 'novajob_leaked_total{object="server"}' 1
	counts 'novajob_swept_total{object="server"}' 1
	counts 'novajob_records{phase="deleted"}' 3
	counts 'novajob_sweep_resisting' 0
	(($(metric novajob_sweep_end_timestamp_seconds) > $(date +%s) - 60))
	(($(metric 'novajob_ready_seconds_sum{kind="cold"}' | tr -d .) > 1000))
}

@test "metrics: cleanup twice, and by two at a time, count a job once" {
	prepared
	echo true >"$BATS_TEST_TMPDIR/script"
	novajob run "$BATS_TEST_TMPDIR/script" build_script
	novajob cleanup 3>&- &
	started
	novajob cleanup
	wait_started
	novajob cleanup
	counts 'novajob_jobs_total{result="success"}' 1
}

@test "metrics: a stage that was killed makes a system failure of its job" {
	prepared
	printf 'echo begun; sleep 60\n' >"$BATS_TEST_TMPDIR/script"
	novajob run "$BATS_TEST_TMPDIR/script" build_script >"$BATS_TEST_TMPDIR/out" 3>&- &
	local stage=$!
	wait_for 20 grep -q begun "$BATS_TEST_TMPDIR/out"
	kill -KILL "$stage"
	wait "$stage" || :
	novajob cleanup
	counts 'novajob_jobs_total{result="system_failure"}' 1
}

@test "metrics: a job that no cleanup came for is abandoned; sweep tells" {
	prepared
	cloud lose "$(cloud servers | sed -n "s/^\([^ ]*\) [^ ]*-job-$JOB_ID .*/\1/p")"
	local record=$STATE/jobs/$KEY/record.json
	jq -c '.expires = 1000' "$record" >"$BATS_TEST_TMPDIR/record"
	cat "$BATS_TEST_TMPDIR/record" >"$record"
	counts 'novajob_records{phase="ready"}' 1
	run -0 novajob sweep
	counts 'novajob_jobs_total{result="abandoned"}' 1
	counts 'novajob_swept_total{object="record"}' 1
	counts 'novajob_records{phase="ready"}' 0
}

@test "metrics: waits for a client slot and for quota" {
	set_to client-slots 2
	set_to busy-timeout 60
	stage_env
	mkdir -m 700 "$STATE" "$STATE/slots"
	flock "$STATE/slots/1" sleep 60 3>&- &
	local holder=$!
	cloud knobs '[{"quota": {"instances": 0}}]'
	wait_for 10 test -e "$STATE/slots/1"
	novajob prepare 2>"$BATS_TEST_TMPDIR/log" 3>&- &
	started
	wait_for 20 test -d "$STATE/slots/queue.d"
	pkill -P "$holder" sleep
	wait "$holder" || :
	wait_for 30 grep -q 'waiting for quota' "$BATS_TEST_TMPDIR/log"
	cloud knobs '[]'
	wait_started
	run -0 events 'select(.event == "prepare") | [.result, .quota_wait_seconds > 0, .slot_wait_seconds > 0]'
	assert_output '["ok",true,true]'
	counts 'novajob_waits_total{reason="quota"}' 1
	counts 'novajob_waits_total{reason="slot"}' 1
	counts 'novajob_waits_total{reason="room"}' 0
	run -0 metric 'novajob_wait_seconds_total{reason="quota"}'
	assert_output --regexp '^[0-9]+\.[0-9]{3}$'
	novajob cleanup
}

@test "metrics: a file that makes no sense is begun anew; none is needed" {
	counts 'novajob_jobs_total{result="success"}' 0
	assert_not_exist "$STATE"
	run -0 job --script-line true
	counts 'novajob_jobs_total{result="success"}' 1
	for text in '{"version":1,"values":{' '' '[]' '{"version":2,"values":{"novajob_jobs_total success":7}}' '{"version":1,"values":{"novajob_jobs_total success":"7","novajob_waits_total quota":-3}}'; do
		printf '%s' "$text" >"$STATE/metrics.json"
		run -0 novajob metrics
		assert_line 'novajob_jobs_total{result="success"} 0'
		assert_line 'novajob_waits_total{reason="quota"} 0'
	done
	printf '{' >"$STATE/metrics.json"
	JOB_ID=$((JOB_ID + 1))
	run -0 job --script-line true
	assert_file_not_exist "$STATE/metrics.new"
	counts 'novajob_jobs_total{result="success"}' 1
	(($(metric 'novajob_client_starts_total{stage="cleanup"}') < 10))
}

@test "metrics: processes that count at a time lose nothing" {
	local i
	stage_env
	mkdir -m 700 "$STATE"
	for ((i = 0; i < 40; i++)); do
		novajob run /dev/null build_script 2>/dev/null 3>&- &
		started
	done
	wait_started
	counts 'novajob_failures_total{class="local",stage="run"}' 40
}

@test "metrics starts nothing, writes nothing, and is text that Prometheus takes" {
	set_to openstack /nonexistent/openstack
	run -0 --separate-stderr novajob metrics
	assert_equal "$stderr" ''
	printf '%s\n' "$output" >"$BATS_TEST_TMPDIR/prom"
	assert_not_exist "$STATE"
	python3 - "$BATS_TEST_TMPDIR/prom" <<-'END'
		import re, sys
		name = r'novajob_[a-z]+(?:_[a-z]+)*'
		label = r'[a-z]+="[^"\\\n]*"'
		kind, helped, seen, current, done = {}, set(), set(), None, set()
		text = open(sys.argv[1]).read()
		assert text.endswith('\n') and '\n\n' not in text
		for line in text[:-1].split('\n'):
		    m = re.fullmatch(rf'# HELP ({name}) [A-Z].*\.', line)
		    if m:
		        current = m[1]
		        assert current not in done, f'{current} comes twice'
		        done.add(current)
		        continue
		    m = re.fullmatch(rf'# TYPE ({name}) (counter|gauge|histogram)', line)
		    if m:
		        assert m[1] == current
		        kind[current] = m[2]
		        assert (m[2] == 'counter') == current.endswith('_total')
		        continue
		    m = re.fullmatch(rf'({name})(?:{{({label}(?:,{label})*)}})? (\d+(?:\.\d+)?)', line)
		    assert m, line
		    base = re.sub('_(bucket|sum|count)$', '', m[1]) if kind[current] == 'histogram' else m[1]
		    assert base == current, line
		    assert (m[1], m[2]) not in seen, line
		    seen.add((m[1], m[2]))
		assert len(done) > 10 and set(kind) == done
	END
}

# ---- the manual

@test "the manual has every event and every field that this file has seen, and every metric" {
	local man=$TESTS/../man/novajob.1
	run -0 job --script-line true
	run -100 job --script-line true --job-id 5 --driver-arg=--image=none
	run -0 novajob sweep
	jq -r '.event' "$EVENTS" | sort -u >"$BATS_TEST_TMPDIR/words"
	jq -r 'keys[]' "$EVENTS" | sort -u >>"$BATS_TEST_TMPDIR/words"
	sed -n '/^\.Sh EVENTS/,/^\.Sh METRICS/p' "$man" >"$BATS_TEST_TMPDIR/events.man"
	while read -r word; do
		grep -qwE -- "$word" "$BATS_TEST_TMPDIR/events.man" || fail "novajob.1, EVENTS: no $word"
	done <"$BATS_TEST_TMPDIR/words"
	novajob metrics | sed -n 's/^# TYPE \([^ ]*\) .*/\1/p' | sort >"$BATS_TEST_TMPDIR/a"
	sed -n '/^\.Sh METRICS/,/^\.Sh ENVIRONMENT/s/^\.It Sy \(novajob_[a-z_]*\).*/\1/p' "$man" | sort >"$BATS_TEST_TMPDIR/b"
	diff "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b"
}
