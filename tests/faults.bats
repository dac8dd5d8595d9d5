#!/usr/bin/env bats
# faults.bats - faults of the openstack client and of the API: each is classified, bounded, and said. The client's own
# faults are played by tests/stubs/openstack, the API's by the cloud.

load lib
with_cloud

setup() {
	novajob_setup
	stage_env
	set_to busy-timeout 0
	set_to client-slots 64
	STUB=$TESTS/stubs/openstack
}

teardown() {
	cloud knobs '[]'
}

# play N SESSION ALONE: novajob prepare as job $JOB_ID + N with the stub, in the background, in a folder of its own:
# $BATS_TEST_TMPDIR/N with log, code and calls. Its $N/says is what the stub says.
play() {
	local d=$BATS_TEST_TMPDIR/$1
	mkdir -p "$d"
	echo "$2" >"$d/session"
	echo "$3" >"$d/alone"
	response $((JOB_ID + $1)) >"$d/response"
	(
		export HOME=$d JOB_RESPONSE_FILE=$d/response
		code=0
		"$NOVAJOB" --settings="$SETTINGS" --openstack="$STUB" prepare >"$d/log" 2>&1 || code=$?
		echo "$code" >"$d/code"
	) 3>&- &
	started
}

# expect N CODE REGEX: how it ended, with an error line of that kind.
expect() {
	local d=$BATS_TEST_TMPDIR/$1
	[[ $(cat "$d/code") == "$2" ]] || fail "$1: exit code $(cat "$d/code"), expected $2: $(cat "$d/log")"
	grep -qE -- "$3" "$d/log" || fail "$1: no '$3' in: $(cat "$d/log")"
}

@test "a client that does no sessions: one process per command does the work" {
	local mode
	set_to openstack "$STUB"
	set_to call-timeout 3
	echo real >"$HOME/alone"
	cloud add --name "x-job-$JOB_ID" --no-sshd --property novajob:owner=novajob \
		--property "novajob:job=11111111-2222-3333-4444-555555555555-$JOB_ID" >/dev/null
	for mode in silent deaf marker flood traceback; do
		echo $mode >"$HOME/session"
		SECONDS=0
		run -0 novajob cleanup
		((SECONDS < 60))
		run -0 servers_of "$JOB_ID"
		assert_output 0
	done
	run -0 left_processes
	assert_output ''
}

# bats test_tags=fault
@test "a client that answers nonsense, or not at all: exit 2, said, in bounded time" {
	local mode n=0
	set_to call-timeout 2
	set_to create-timeout 1
	SECONDS=0
	for mode in hang deaf die silent flood half garbage traceback; do
		n=$((n + 1))
		play $n $mode $mode
	done
	wait_started
	((SECONDS < 60))
	expect 1 2 "error: cannot look for image 'builder-one': .*(no answer from 'openstack' within|did not answer)"
	expect 2 2 "error: cannot look for image 'builder-one': .*(no answer from 'openstack' within|did not answer)"
	expect 3 2 "error: cannot look for image 'builder-one': openstack was killed by signal 11"
	expect 4 2 "error: cannot look for image 'builder-one': \(openstack said nothing\)"
	expect 5 2 "error: cannot look for image 'builder-one': .*(without end|no answer|did not answer)"
	expect 6 2 "error: cannot look for image 'builder-one': .*(is no valid JSON|did not answer)"
	expect 7 2 "error: cannot look for image 'builder-one': the answer of openstack is no valid JSON.*Segmentation \\\\x1b\[31mfault"
	expect 8 2 "error: cannot look for image 'builder-one': ModuleNotFoundError"
	expect 8 2 'hint: the openstack client is not installed as it should be'
	for n in 1 2 3 4 5 6 7 8; do
		run ! grep -q 'server create' "$BATS_TEST_TMPDIR/$n/calls"
		run ! grep -v '^novajob: ' "$BATS_TEST_TMPDIR/$n/log" # no traceback
		run ! grep Traceback "$BATS_TEST_TMPDIR/$n/log"
	done
	run -0 left_processes
	assert_output ''
	n=0
	for mode in 'hangs' 'hangs and takes no TERM' 'dies of a signal' 'says nothing and exits with 0' 'prints without end' \
		'prints half an answer' 'prints no JSON' 'is not installed as it should be'; do
		n=$((n + 1))
		row $n "openstack $mode"
	done
}

# row N WHAT: the row of what was played as N, whose prepare has created nothing: no cleanup has anything to do.
row() {
	fault_row "$2" prepare "$(cat "$BATS_TEST_TMPDIR/$1/code")" "$BATS_TEST_TMPDIR/$1/log" $((JOB_ID + $1))
}

# openstack-cli.md §4, both wordings of each row: KIND|what stderr says|a part of the hint.
texts() {
	cat <<-'END'
		setting|The request you have made requires authentication. (HTTP 401) (Request-ID: req-1)|openstack token issue
		setting|No password entered, or found via --os-password or OS_PASSWORD|openstack token issue
		setting|No password entered, or found via --os-password or OS_PASSWORD\nCould not clean up: 'ClientManager' object has no attribute 'sdk_connection'|openstack token issue
		setting|Missing value auth-url required for auth plugin password|openstack token issue
		setting|Error authenticating with application credential: Application credentials cannot request a scope. (HTTP 401)|unset OS_PROJECT_
		setting|Cloud X was not found.|OS_CLOUD
		setting|public endpoint for compute service in X region not found|OS_REGION_NAME
		setting|Service 'identity' is disabled because its configuration could not be loaded.|OS_REGION_NAME
		setting|SSL exception connecting to https://x:5000/v3: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed|OS_CACERT
		setting|Failed to discover available identity versions when contacting http://x/v3. Attempting to parse version from URL.\nNot Found (HTTP 404)|openstack token issue
		missing|No Image found for X|openstack image list
		missing|More than one Image exists with the name 'X'.|use an id
		missing|No flavor with a name or ID of 'X' exists.|openstack flavor list
		missing|No Flavor found for X|openstack flavor list
		missing|No Network found for X|openstack network list
		missing|No SecurityGroup found for X|openstack security group list
		missing|Invalid key_name provided. (HTTP 400) (Request-ID: req-1)|openstack keypair list
		missing|BadRequestException: 400: Client Error for url: http://x/servers, Invalid key_name provided.|openstack keypair list
		setting|Multiple possible networks found, use a Network ID to be more specific. (HTTP 409) (Request-ID: req-1)|set network
		setting|ConflictException: 409: Client Error for url: http://x/servers, Multiple possible networks found, use a Network ID to be more specific.|set network
		local|Can't open '/x': [Errno 2] No such file or directory: '/x'|
		setting|versions supported by client: 2.1 - 2.92|OS_COMPUTE_API_VERSION
		setting|A default microversion for service compute of 2.99 was requested, but the cloud only supports a minimum of 2.1|OS_COMPUTE_API_VERSION
		busy|Quota exceeded for instances: Requested 1, but already used 1 of 1 instances (HTTP 403) (Request-ID: req-1)|higher quota
		busy|ForbiddenException: 403: Client Error for url: http://x/servers, Quota exceeded for instances: Requested 1, but already used 1 of 1 instances|higher quota
		busy|Maximum number of ports exceeded (HTTP 403) (Request-ID: req-1)|higher quota of ports
		busy|ForbiddenException: 403: Client Error for url: http://x/servers, Maximum number of ports exceeded|higher quota of ports
		busy|This request was rate-limited. (HTTP 429)|rate of requests
		busy|HttpException: 429: Client Error for url: http://x/servers, Too Many Requests|rate of requests
		setting|Policy doesn't allow os_compute_api:servers:create to be performed. (HTTP 403) (Request-ID: req-1)|ask for the role
		setting|ForbiddenException: 403: Client Error for url: http://x/servers, Policy doesn't allow it|ask for the role
		transient|The server has either erred or is incapable of performing the requested operation. (HTTP 500)|in trouble
		transient|Unknown Error (HTTP 502)|in trouble
		transient|Service in maintenance (HTTP 503)|in trouble
		transient|Retriable status code 503. Retrying in 0.5 seconds\nUnknown Error (HTTP 503)|
		transient|HttpException: 503: Server Error for url: http://x/servers/detail, The server is currently unavailable|in trouble
		transient|Gateway Timeout (HTTP 504)|in trouble
		transient|Request Timeout (HTTP 408)|
		transient|Over limit (HTTP 413)|
		transient|HttpException: 413: Client Error for url: http://x, Over limit|
		transient|Failed to discover available identity versions when contacting http://x/v3. Attempting to parse version from URL.\nUnable to establish connection to http://x/v3/auth/tokens: HTTPConnectionPool(host='x', port=5000): Max retries exceeded|reachable from this host
		transient|Unable to establish connection to http://x: ('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))|reachable from this host
		transient|Request to http://x timed out|in time
		transient|No server with a name or ID of 'X' exists.|
		transient|No Server found for X: Server Error for url: http://x|
		transient|something nobody has seen before|
		setting|usage: openstack image list [-h]\nopenstack image list: error: unrecognized arguments: --x|5.5 to 10.5
		setting|openstack: 'image list' is not an openstack command. See 'openstack --help'.|5.5 to 10.5
	END
}

# bats test_tags=fault
@test "what the client says is classified: retried, waited for, or told at once with a hint" {
	local kind text hint n=0 d
	local -A told=()
	set_to openstack-session no
	set_to call-timeout 3
	set_to create-timeout 1
	while IFS='|' read -r kind text hint; do
		n=$((n + 1))
		d=$BATS_TEST_TMPDIR/$n
		mkdir "$d"
		printf '%b\n' "$text" >"$d/says"
		play $n says says
		((n % 12 > 0)) || wait_started
	done < <(texts)
	wait_started
	n=0
	while IFS='|' read -r kind text hint; do
		n=$((n + 1))
		d=$BATS_TEST_TMPDIR/$n
		expect $n 2 "error: "
		[[ -z $hint ]] || grep 'hint: ' "$d/log" | grep -qF -- "$hint" || fail "$text: hint '$hint' is missing: $(cat "$d/log")"
		case $kind in
		transient | busy) (($(grep -c '' "$d/calls") > 1)) || fail "$text: not tried again: $(cat "$d/log")" ;;
		*) (($(grep -c '' "$d/calls") == 1)) || fail "$text: tried again: $(cat "$d/log")" ;;
		esac
		[[ $kind != missing ]] || grep -qE 'error: (image|flavor|network|security-group|key-pair) \(from ' "$d/log" ||
			fail "$text: nobody is blamed: $(cat "$d/log")"
		text=${text%%'\n'*} # the first line; the same again has more behind it
		text=${text:0:100}
		[[ -z ${told[$text]:-} ]] || text+=' (and more)'
		told[$text]=1
		row $n "openstack says: $text"
	done < <(texts)
	((n > 40))
}

# bats test_tags=fault
@test "a create that is refused is not repeated" {
	local text n=0
	set_to openstack-session no
	while read -r text; do
		n=$((n + 1))
		mkdir "$BATS_TEST_TMPDIR/$n"
		echo "$text" >"$BATS_TEST_TMPDIR/$n/says"
		play $n create create
	done <<-'END'
		Quota exceeded for instances: Requested 1, but already used 1 of 1 instances (HTTP 403)
		HttpException: 429: Client Error for url: http://x/servers, Too Many Requests
		Policy doesn't allow os_compute_api:servers:create to be performed. (HTTP 403)
		No Flavor found for an-image
	END
	wait_started
	expect 1 2 'error: the cloud is full.*Quota exceeded'
	expect 2 2 'error: .*429'
	expect 3 2 'error: .*Policy'
	expect 4 2 'error: flavor \(from '
	for n in 1 2 3 4; do
		[[ $(grep -c '^server create ' "$BATS_TEST_TMPDIR/$n/calls") == 1 ]] || fail "$(cat "$BATS_TEST_TMPDIR/$n/calls")"
	done
	row 1 'a create is refused: the quota is used up, busy-timeout is 0'
	row 2 'a create is refused: too many requests, busy-timeout is 0'
	row 3 'a create is refused: the policy'
	row 4 'a create is refused: no such flavor'
}

@test "secrets and job variables do not reach argv or the client's environment" {
	set_to openstack-session no
	mkdir "$BATS_TEST_TMPDIR/1"
	export CUSTOM_ENV_OS_PASSWORD=evil CUSTOM_ENV_PATH=/evil OS_PASSWORD=geheim
	printf '#!/bin/sh\nenv >"$HOME/env"\necho "$*" >>"$HOME/argv"\nexit 1\n' >"$BATS_TEST_TMPDIR/openstack"
	chmod 755 "$BATS_TEST_TMPDIR/openstack"
	set_to openstack "$BATS_TEST_TMPDIR/openstack"
	set_to create-timeout 1
	set_to call-timeout 1
	run -2 novajob prepare
	run -0 cat "$HOME/env"
	refute_output --partial evil
	refute_output --partial CUSTOM_ENV
	refute_output --partial NOVAJOB
	assert_line OS_PASSWORD=geheim
	run -0 cat "$HOME/argv"
	refute_output --partial geheim
}

# ---- the API

# bats test_tags=fault
@test "the API in trouble while the server is built: asked again until it is well" {
	cloud knobs '[{"request": "GET /image/.*images", "count": 1, "reset": "before"},
		{"request": "GET /compute/.*/servers/detail", "count": 1, "reset": "before"},
		{"request": "GET /compute/.*/servers/detail", "count": 1, "status": 429, "message": "slow down"},
		{"request": "GET /compute/.*/servers/detail", "count": 1, "status": 503, "html": true}]'
	run -0 novajob prepare
	assert_output --partial 'HTTP 429'
	assert_output --partial 'HTTP 503'
	assert_output --partial 'trying again in 1 s'
	assert_line --regexp 'novajob: ready in '
	printf '%s\n' "$output" >"$LOG"
	novajob cleanup
	fault_row 'the API resets a connection, answers 429 and 503, then is well' prepare 0 "$LOG"
}

# bats test_tags=fault
@test "an API that hangs while the server is built: exit 2 within create-timeout and call-timeout, nothing left" {
	set_to create-timeout 1
	set_to call-timeout 4
	cloud knobs '[{"request": "GET /compute/.*/servers/detail", "count": 2, "hang": true}]'
	SECONDS=0
	run -2 novajob prepare
	((SECONDS < 60))
	assert_line --regexp 'error: .*(no answer|did not answer|not ACTIVE within)'
	printf '%s\n' "$output" >"$LOG"
	run -0 novajob cleanup
	fault_row 'the API hangs while the server is built' prepare 2 "$LOG"
}

# bats test_tags=fault
@test "no API at all: tried again, then exit 2 with a hint" {
	set_to create-timeout 5
	set_to call-timeout 10
	OS_AUTH_URL=http://127.0.0.1:9/identity/v3 run -2 novajob prepare
	assert_output --partial 'trying again in 1 s'
	assert_line --regexp 'error: .*Unable to establish connection'
	assert_line --regexp "hint: is the cloud's API reachable from this host"
	printf '%s\n' "$output" >"$LOG"
	fault_row 'nobody answers at the address of the API' prepare 2 "$LOG"
}
