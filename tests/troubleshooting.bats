#!/usr/bin/env bats
# troubleshooting.bats - every text of novajob-troubleshooting(7) is what somebody sees: each is brought about here, or in
# another file that calls `symptom` (lib.bash).

load lib
with_cloud

setup() {
	novajob_setup
	stage_env
	OWNER=o-$BATS_TEST_NUMBER
	set_to owner "$OWNER"
	T=$BATS_TEST_TMPDIR
}

# prepare_fails TEXT [STATUS]: prepare says so, and leaves no server.
prepare_fails() {
	run "-${2:-2}" novajob prepare
	symptom "$1"
	wait_for 20 no_server_of "$JOB_ID"
}

@test "each text of the page is one that a test looks for" {
	local text count=0
	while read -r text; do
		grep -rqF --include='*.bats' -e "symptom \"$text\"" -e "symptom '$text'" -e "prepare_fails \"$text\"" -e "prepare_fails '$text'" \
			"$TESTS" || fail "no test brings about: $text"
		((++count))
	done < <(symptoms)
	((count >= 40))
	[[ $(symptoms | sort | uniq -d) == '' ]]
}

@test "the page has something to say of each text" {
	run -0 awk '/^\.(Sh|El|It)/ { if (item != "" && !lines) print item; item = "" }
		/^\.It Sy "/ { item = $0; lines = 0; next } { lines++ }' "$TESTS/../man/novajob-troubleshooting.7"
	assert_output ''
}

# ---- the job asks for what is denied

@test "a job asks for what is denied, or what there is not" {
	CUSTOM_ENV_NOVAJOB_SSH_PORT=23 run -1 novajob config
	symptom 'job variable NOVAJOB_...: this runner lets jobs set: ...'
	CUSTOM_ENV_NOVAJOB_FLAVOUR=big run -1 novajob config
	symptom 'job variable NOVAJOB_... is no setting: this runner lets jobs set: ...'
	set_to allow-flavor 'm1.*'
	CUSTOM_ENV_NOVAJOB_FLAVOR=g1.gpu run -1 novajob config
	symptom "job variable NOVAJOB_... asks for flavor '...': this runner allows ..."
	set_to image-map 'debian:* -> builder-one'
	sed -i 's/"image": {"name": ""}/"image": {"name": "alpine:3"}/' "$JOB_RESPONSE_FILE"
	run -1 novajob config
	symptom "image: '...' of the job: this runner knows ..."
}

# ---- settings

@test "mistakes in the settings" {
	sed -i '/^username/d' "$SETTINGS"
	run -2 novajob config
	symptom 'username is not set'
	NOVAJOB_FLAVOUR=big run -2 novajob settings
	symptom 'environment variable NOVAJOB_...: there is no such setting'
	echo 'flavour = big' >>"$SETTINGS"
	run -2 novajob settings
	symptom "there is no setting '...'"
	chmod g+w "$SETTINGS"
	run -2 novajob settings
	symptom "settings file '...' is writable by group or others"
}

@test "a private key that others can read" {
	cp "$CLOUD/id_ed25519" "$T/key"
	chmod 640 "$T/key"
	set_to private-key "$T/key"
	prepare_fails "private-key: '...' is open to others (mode ...): chmod 0600 it"
}

@test "a stage without the runner" {
	unset JOB_RESPONSE_FILE
	run -2 novajob prepare
	symptom 'JOB_RESPONSE_FILE is not set'
}

# ---- the cloud refuses

@test "wrong credentials, a wrong region, no way to the API, no client" {
	OS_PASSWORD=wrong prepare_fails 'The request you have made requires authentication. (HTTP 401)'
	OS_REGION_NAME=Atlantis prepare_fails 'endpoint for ... service in ... region not found'
	set_to create-timeout 1
	OS_AUTH_URL=http://127.0.0.1:9/identity/v3 prepare_fails 'Unable to establish connection to ...'
	PATH=/nonexistent run -2 "$NOVAJOB" --settings="$SETTINGS" prepare
	symptom "cannot run 'openstack': not found in PATH"
}

@test "an API that does not answer" {
	set_to call-timeout 1
	set_to create-timeout 1
	cloud knobs '[{"request": "/image/", "hang": true}]'
	prepare_fails "no answer from 'openstack' within ..."
}

@test "names that the cloud does not know" {
	set_to flavor m1.none
	prepare_fails "flavor (from ...): cannot create server '...': No flavor with a name or ID of '...' exists."
	set_to image none
	prepare_fails "image (from ...): no active image is named '...'"
}

# ---- the job waits

@test "no quota, no host with room" {
	set_to busy-timeout 10
	cloud knobs '[{"quota": {"instances": 0}}]'
	prepare_fails 'waiting for quota: ... in use, at most ... (busy-timeout)'
	symptom 'the cloud is full, waited ... (busy-timeout): ... Quota exceeded ...'
	cloud knobs '[]'
	set_to flavor m1.absurd
	prepare_fails 'the cloud is full, waited ... (busy-timeout): server ... is in ERROR: No valid host was found.'
	set_to busy-timeout 1000
	"$NOVAJOB" --settings="$SETTINGS" prepare 2>"$T/log" 3>&- &
	started
	wait_for 60 grep -q 'waiting for a host' "$T/log"
	symptom "waiting for a host with room: the cloud says 'No valid host was found'" "$T/log"
	kill "${STARTED[@]}"
	wait_started
	novajob cleanup
}

@test "a server that does not come up; one that does, and what took how long" {
	set_to create-timeout 2
	cloud knobs '[{"match": "", "spawn_delay": 60}]'
	prepare_fails 'server ... is not ACTIVE within create-timeout (...): it is BUILD'
	cloud knobs '[]'
	run -0 novajob prepare
	symptom 'ready in ... s (cold: create ..., build ..., ssh ...)'
	novajob cleanup
}

# ---- no login

@test "no sshd, or none that lets us in" {
	set_to ssh-timeout 2
	cloud knobs '[{"match": "", "no_sshd": true}]'
	prepare_fails 'no login at ... within ...: no address answers on the ssh port: ...'
	cloud knobs '[{"match": "", "wrong_key": true}]'
	prepare_fails 'no login at ... within ...: sshd refuses the key: ... Permission denied ...'
	symptom '...: sshd answers, but refuses the key: waiting for cloud-init to put it there: ... Permission denied ...'
}

@test "an account without a shell, an image without bash" {
	cloud knobs '[{"match": "", "sshd": ["ForceCommand /usr/sbin/nologin"]}]'
	prepare_fails "no login at ... within ...: the login works, but the account's shell runs no commands"
	cloud knobs '[{"match": "", "sshd": ["ForceCommand PATH=/nonexistent; export PATH; eval \"$SSH_ORIGINAL_COMMAND\""]}]'
	prepare_fails "no login at ... within ...: the image has no bash, which the runner's scripts need"
}

# ---- the image

@test "an image without git and gitlab-runner, one that never gets ready" {
	mkdir "$T/image"
	ln -s "$(command -v bash)" "$T/image/bash"
	cloud knobs '[{"match": "", "sshd": ["SetEnv PATH='"$T/image"'"]}]'
	run -0 novajob prepare
	symptom 'the image has no git (sources cannot be fetched), no gitlab-runner (no artifacts, no cache)'
	novajob cleanup
	cloud knobs '[]'
	set_to ready-command 'sleep 1000'
	set_to ready-timeout 1
	prepare_fails 'ready-command has not ended within ... (ready-timeout), and was ended'
}

# ---- the job breaks off

@test "a server that goes down in mid-job" {
	prepared
	echo 'echo begun; sleep 1000' >"$T/script"
	novajob run "$T/script" build_script >"$T/log" 2>&1 3>&- &
	started
	wait_for 30 grep -qx begun "$T/log"
	cloud kill "$(jq -r .server_id "$STATE"/jobs/*/record.json)"
	wait_started
	symptom '...: the connection to server ... was lost: ...' "$T/log"
	novajob cleanup
}

@test "a cancel" {
	cloud knobs '[{"match": "", "spawn_delay": 60}]'
	"$NOVAJOB" --settings="$SETTINGS" prepare 2>"$T/log" 3>&- &
	started
	wait_for 30 grep -q 'waiting for ACTIVE' "$T/log"
	kill "${STARTED[@]}"
	wait_started
	symptom 'stopped by the runner (cancel or time-out)' "$T/log"
	novajob cleanup
}

@test "a variable that is too long: no stage can be started, whatever the runner does" {
	head -c 131072 /dev/zero | tr '\0' x >"$T/big"
	run ! job --var-file BIG="$T/big"
	cat "$RUNNER_LOG" >>"$LOG"
	symptom 'argument list too long' "$LOG"
	# it is the kernel's limit
	run -126 bash -c 'CUSTOM_ENV_BIG=$(<"$1") "$2" config' - "$T/big" "$NOVAJOB"
	assert_output --regexp '[Aa]rgument list too long'
}

# ---- servers are left

# server JOB EXPIRES [cloud add OPTION...]: one of our owner; prints its id.
server() {
	cloud add --name "gitlab-builder-7-project-42-concurrent-0-job-${1##*-}" --property "novajob:owner=$OWNER" \
		--property "novajob:job=$1" --property "novajob:try=0123456789abcdef" --property "novajob:expires=$2" "${@:3}"
}

# record KEY EXPIRES: of a running job.
record() {
	(umask 077 && mkdir -p "$STATE/jobs/$1")
	printf '{"version":1,"phase":"ready","try":"0123456789abcdef","expires":%s,"addresses":[]}\n' "$2" >"$STATE/jobs/$1/record.json"
}

@test "a cleanup that fails" {
	prepared
	set_to delete-wait 1
	cloud knobs '[{"match": "", "delete_fail": "cannot destroy"}]'
	run -2 novajob cleanup
	symptom 'cleanup of job ... (hint: ...): ...'
	cloud knobs '[]'
	novajob sweep
}

@test "what sweep keeps, what it deletes, and what resists" {
	local now
	now=$(date +%s)
	server a-1 1000 >"$T/over"
	record a-1 1000
	server a-2 $((now + 3600)) >"$T/running"
	record a-2 $((now + 3600))
	server a-3 $((now + 3600)) >"$T/stranger"
	run -0 novajob sweep
	symptom "delete server ... (...): its job's deadline is over"
	symptom 'keep server ... (...): its job may be running'
	symptom "keep server ... (...): another host's, or its record is lost: not past its expiry and sweep-grace"
	cloud lose "$(cat "$T/running")" "$(cat "$T/stranger")"
	cloud knobs '[{"match": "job-66$", "delete_fail": "cannot destroy"}]'
	server a-66 1000 >"$T/resists"
	run -3 novajob sweep
	symptom 'sweep: ... objects resist'
	cloud lose "$(cat "$T/resists")"
}

@test "two sweeps at a time" {
	cloud knobs '[{"request": "GET /compute/.*/servers/detail", "hang": true}]'
	"$NOVAJOB" --settings="$SETTINGS" sweep 3>&- &
	started
	wait_for 20 bash -c "[[ -e $STATE/sweep.lock ]] && ! flock -n $STATE/sweep.lock true"
	run -2 novajob sweep
	symptom "another novajob sweep is at work ('...')"
	kill "${STARTED[@]}"
	wait_started
}

@test "a clock that is wrong" {
	server a-1 99999999999 --created "$(date -u -d '+2 days' +%FT%TZ)" >"$T/future"
	run -0 novajob sweep
	symptom "warning: this host's clock looks wrong, compared with the cloud's: nothing is judged by time"
	cloud lose "$(cat "$T/future")"
}

@test "a runner that is set up to kill stages at work, or to let two overlap; nobody who sweeps" {
	local grace
	for grace in 600 1; do
		printf '%s\n' '[[runners]]' 'executor = "custom"' 'builds_dir = "/b"' 'cache_dir = "/c"' '[runners.custom]' \
			'run_exec = "/usr/bin/novajob"' "graceful_kill_timeout = $grace" >"$T/$grace.toml"
	done
	run -2 novajob doctor --config="$T/600.toml"
	symptom 'graceful_kill_timeout is 5 minutes or more: cleanup begins while a stage may still live; 60 is good'
	run -2 novajob doctor --config="$T/1.toml"
	symptom 'graceful_kill_timeout is shorter than stop-grace and stop-timeout need: stages are killed at work; 60 is good'
	mkdir "$T/bin"
	printf '#!/bin/sh\n[ "$1" != is-system-running ] || echo running\n' >"$T/bin/systemctl"
	chmod 755 "$T/bin/systemctl"
	PATH=$T/bin:$PATH run -2 novajob doctor --config="$T/1.toml"
	symptom 'novajob-sweep.timer is not active: servers that no stage could delete stay'
}

# ---- the host

@test "a state directory that is another user's, open, or not to be made" {
	mkdir -m 700 "$STATE"
	chmod 777 "$STATE"
	prepare_fails "state-dir: '...' is writable by others (mode ...): chmod 0700 it"
	set_to state-dir /proc/novajob
	prepare_fails "state-dir: cannot make '...': ..."
	set_to state-dir /root
	((EUID != 0)) || set_to state-dir "$T/theirs"
	((EUID != 0)) || install -d -m 0700 -o nobody "$T/theirs"
	prepare_fails "state-dir: '...' belongs to user id ..., not to ... who runs novajob"
}

@test "all slots for openstack are taken" {
	set_to client-slots 2
	(umask 077 && mkdir -p "$STATE/slots")
	# the only slot that is not kept for cleanups; faketime lets the half minute pass in less
	flock "$STATE/slots/1" sleep 1000 3>&- &
	started
	wait_for 10 bash -c "! flock -n $STATE/slots/1 true"
	FAKETIME_DONT_FAKE_MONOTONIC=0 faketime -f '+0 x30' "$NOVAJOB" --settings="$SETTINGS" list >/dev/null 2>"$T/log" 3>&- &
	started
	wait_for 60 grep -q 'client slots' "$T/log"
	symptom 'waiting for one of ... client slots of this host, ... so far' "$T/log"
	pkill -P "${STARTED[0]}" # sleep holds the lock
	kill "${STARTED[@]}" 2>/dev/null || true
	wait_started
}

@test "the host has no memory for the client" {
	printf '#!/bin/sh\nkill -KILL $$\n' >"$T/killed"
	chmod 755 "$T/killed"
	set_to openstack "$T/killed"
	set_to create-timeout 1
	prepare_fails 'openstack was killed by signal 9'
}
