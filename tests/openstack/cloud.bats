#!/usr/bin/env bats
# cloud.bats - novajob against a real OpenStack: whole jobs and each kind of fault, by the clients 6.0, 7.4 and 10.5.
# The cloud is this folder's, or any other one: real.bash says how.

bats_require_minimum_version 1.5.0

setup_file() {
	local name
	for name in "${!OS_@}"; do # lib unsets them
		declare -p "$name" | sed '1s/^declare -x /export /' >>"$BATS_FILE_TMPDIR/given"
	done
	load ../lib
	load real
	real_up
}

teardown_file() {
	load ../lib
	load real
	real_down
}

setup() {
	load ../lib
	load real
	real_setup
}

teardown() {
	# what a failed test has left must not disturb the next one
	cloud knobs '[]'
	[[ -n $BATS_TEST_COMPLETED ]] || {
		stage_env "$JOB_ID"
		novajob cleanup
	} >/dev/null 2>&1 || true
}

# passes: a job that prints its host's name, and leaves nothing.
passes() {
	run -0 job --script-line 'echo "hello from $(hostname)"'
	run -0 grep -c '^hello from ' "$LOG"
	assert_file_empty "$RUNNER_LOG"
	nothing_left
}

# refused WHAT CODE REGEX...: under the fault WHAT prepare ends with CODE and says each REGEX, cleanup has nothing to say,
# no server is there.
refused() {
	local what=$1 code=$2 regex
	shift 2
	stage_env "$JOB_ID"
	run "-$code" novajob prepare
	said refused
	for regex; do
		assert_output --regexp "$regex"
	done
	run -0 novajob cleanup
	refute_output
	fault_row "$what" prepare "$code" "$BATS_TEST_TMPDIR/refused"
}

# said NAME: keep the output for fault_row.
said() {
	printf '%s\n' "$output" >"$BATS_TEST_TMPDIR/$1"
}

# From here on in the project that has room for one server.
tight_project() {
	mkdir "$BATS_TEST_TMPDIR/tight"
	api "$BATS_TEST_TMPDIR/tight" openrc-tight
	# shellcheck disable=SC1091
	. "$CLOUD/openrc-tight"
	set_to security-group default
}

nobody_in_tight() {
	[[ -z $(cloud servers "$BATS_TEST_TMPDIR/tight") ]]
}

# stopped TEXT: prepare, told to stop when it has said TEXT, ends with 2 and in good time.
stopped() {
	local pid log=$BATS_TEST_TMPDIR/stopped.log began code=0
	stage_env "$JOB_ID"
	: >"$log"
	"$NOVAJOB" --settings="$SETTINGS" prepare >"$log" 2>&1 3>&- &
	pid=$!
	wait_for 90 said_or_ended "$pid" "$1" "$log"
	kill -TERM "$pid"
	began=$SECONDS
	wait "$pid" || code=$?
	cat "$log"
	((code == 2 && SECONDS - began < 30))
}

said_or_ended() {
	grep -q -- "$2" "$3" || ! kill -0 "$1"
}

# --- whole jobs

@test "a whole job, one client process per stage" {
	passes
}

@test "a whole job, one client process per call" {
	set_to openstack-session no
	passes
}

@test "a whole job by client 7.4" {
	needs_client 7.4
	set_to openstack "$(client 7.4)"
	passes
}

@test "a whole job by client 7.4, one process per call" {
	needs_client 7.4
	set_to openstack "$(client 7.4)"
	set_to openstack-session no
	passes
}

@test "a whole job by client 10.5" {
	needs_client 10.5
	set_to openstack "$(client 10.5)"
	passes
}

@test "a whole job by client 10.5, one process per call" {
	needs_client 10.5
	set_to openstack "$(client 10.5)"
	set_to openstack-session no
	passes
}

# No floating address with a text in its description.
no_address_of() {
	local list
	list=$(/usr/bin/openstack floating ip list --long -f value -c Description)
	[[ $list != *"$1"* ]]
}

@test "a whole job at a floating address, by each client" {
	needs_own_cloud
	local version
	set_to floating-network public
	set_to address floating
	for version in 6.0 7.4 10.5; do
		[[ $version == 6.0 || -x $TOOLS/client-$version/bin/openstack ]] || continue
		set_to openstack "$(client $version)"
		passes
		grep -q 'floating address [0-9.]* is attached' "$LOG" || fail "$(cat "$LOG")"
		no_address_of "-$JOB_ID:"
		JOB_ID=$((JOB_ID + 1))
	done
}

@test "a whole job with keys of its own, by cloud-config and by a script" {
	needs_own_cloud
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	passes
	run ! grep -q 'believed at this first login' "$LOG"
	JOB_ID=$((JOB_ID + 1))
	set_to key-delivery script
	passes
}

@test "the operator's cloud-config beside the job's keys: both count" {
	needs_own_cloud
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	printf '%s\n' '#cloud-config' 'write_files:' '  - path: /etc/motto' '    content: "both count"' >"$BATS_TEST_TMPDIR/data"
	set_to user-data "$BATS_TEST_TMPDIR/data"
	run -0 job --script-line 'cat /etc/motto'
	run -0 grep -x 'both count' "$LOG"
	nothing_left
}

@test "a script's exit code is GitLab's to know" {
	run -3 job --script-line 'exit 3'
	run -0 jq -r '[.failure_reason, .exit_code] | @csv' "$RESULT"
	assert_output '"script_failure",3'
	nothing_left
}

# bats test_tags=fault
@test "a server that is late with everything" {
	needs_own_cloud
	knob '"spawn_delay": 6, "boot": 5'
	passes
	fault_row 'the server is late with its build and its boot' prepare 0 "$LOG"
}

@test "a server with IPv4 and IPv6" {
	needs_own_cloud
	set_to network ci-dual
	passes
}

# bats test_tags=fault
@test "two images of one name: the newest, said aloud" {
	needs_own_cloud
	set_to image builder
	passes
	local newest
	newest=$(/usr/bin/openstack image list --name builder --sort updated_at:desc -f value -c ID | head -1)
	run -0 grep "image 'builder': 2 fit; taking $newest" "$LOG"
	fault_row 'two images have the name' prepare 0 "$LOG"
}

# --- the cloud says no

# bats test_tags=fault
@test "a flavor that fits nowhere" {
	needs_own_cloud
	set_to flavor m1.absurd
	refused 'no host has room for the flavor' 2 'is in ERROR: .*No valid host was found' 'hint: '
}

# bats test_tags=fault
@test "a server that fails to build, tried again by nova and not" {
	needs_own_cloud
	knob '"spawn_fail": "no space on the shelf"'
	refused 'each host fails to build the server' 2 'is in ERROR: '
	JOB_ID=$((JOB_ID + 1))
	knob '"spawn_abort": "no space on the shelf"'
	refused 'the server ends in ERROR while it is built' 2 'is in ERROR: .*no space on the shelf'
}

# bats test_tags=fault
@test "a server that resists its deletion, until it does not" {
	needs_own_cloud
	local began
	set_to delete-wait 120
	prepared
	knob '"delete_fail": "cannot destroy"'
	began=$SECONDS
	run -2 novajob cleanup
	((SECONDS - began < 100)) # a deletion that has failed is not waited for
	assert_equal "${#lines[@]}" 1
	assert_output --regexp 'resists its deletion'
	said resists
	run -0 servers_of "$JOB_ID"
	assert_output 1
	cloud knobs '[]'
	run -0 novajob cleanup
	refute_output
	fault_row 'the server resists its deletion, until another cleanup' cleanup 2 "$BATS_TEST_TMPDIR/resists"
}

# bats test_tags=fault
@test "a project that is full" {
	needs_own_cloud
	tight_project
	prepared
	response $((JOB_ID + 1)) >"$JOB_RESPONSE_FILE"
	run -2 novajob prepare
	assert_output --partial 'Quota exceeded for instances'
	said full
	run -0 novajob cleanup
	refute_output
	run -0 cloud servers "$BATS_TEST_TMPDIR/tight"
	assert_equal "${#lines[@]}" 1
	response "$JOB_ID" >"$JOB_RESPONSE_FILE"
	run -0 novajob cleanup
	refute_output
	wait_for 60 nobody_in_tight
	fault_row 'the quota of instances is used up, and stays so' prepare 2 "$BATS_TEST_TMPDIR/full"
}

# bats test_tags=fault
@test "a project that is full is waited for" {
	needs_own_cloud
	tight_project
	set_to busy-timeout 120
	prepared
	cp "$JOB_RESPONSE_FILE" "$BATS_TEST_TMPDIR/first.json"
	response $((JOB_ID + 1)) >"$JOB_RESPONSE_FILE"
	novajob prepare 2>"$BATS_TEST_TMPDIR/second.log" 3>&- &
	wait_for 60 grep -q 'waiting for quota: ' "$BATS_TEST_TMPDIR/second.log"
	JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/first.json novajob cleanup
	wait $!
	grep 'ready in' "$BATS_TEST_TMPDIR/second.log"
	run -0 novajob cleanup
	refute_output
	wait_for 60 nobody_in_tight
	fault_row 'the quota of instances is used up, and a server ends meanwhile' prepare 0 "$BATS_TEST_TMPDIR/second.log"
}

# bats test_tags=fault
@test "a wrong password" {
	own_cloud || [[ -n $(. "$CLOUD/openrc" && echo "${OS_PASSWORD:-}") ]] || skip "the given cloud is not opened by a password"
	export OS_PASSWORD=wrong
	stage_env "$JOB_ID"
	run -2 novajob prepare
	assert_output --partial '(HTTP 401)'
	assert_output --partial 'hint: '
	said denied
	run -2 novajob cleanup
	fault_row 'the password is wrong' prepare 2 "$BATS_TEST_TMPDIR/denied"
}

# bats test_tags=fault
@test "names the cloud does not know: the operator's fault, or the job's author's" {
	local setting
	for setting in image flavor network security-group key-pair; do
		settings_file >"$SETTINGS"
		set_to "$setting" nosuch
		refused "the $setting of the settings file does not exist" 2 "error: $setting \\(from .*novajob\\.conf"
		JOB_ID=$((JOB_ID + 1))
	done
	settings_file >"$SETTINGS"
	export CUSTOM_ENV_NOVAJOB_IMAGE=nosuch
	refused 'the image that a job asks for does not exist' 1 'image \(from job variable.*nosuch'
	unset CUSTOM_ENV_NOVAJOB_IMAGE
	JOB_ID=$((JOB_ID + 1))
	export CUSTOM_ENV_NOVAJOB_FLAVOR=nosuch
	refused 'the flavor that a job asks for does not exist' 1 'flavor \(from job variable.*nosuch'
}

# --- whose is what

@test "cleanup of a job leaves the job with one digit more alone" {
	prepared
	JOB_ID=${JOB_ID}0
	prepared
	stage_env "${JOB_ID%0}"
	run -0 novajob cleanup
	refute_output
	nothing_left "${JOB_ID%0}"
	run -0 servers_of "$JOB_ID"
	assert_output 1
	stage_env "$JOB_ID"
	run -0 novajob cleanup
	nothing_left
}

@test "cleanup twice, and of a job that never was" {
	stage_env "$JOB_ID"
	run -0 novajob cleanup
	refute_output
	run -0 novajob cleanup
	refute_output
}

@test "list shows the job's server; doctor finds nothing that fails; sweep leaves a live job alone" {
	prepared
	run -0 novajob list
	assert_output --partial "$JOB_ID"
	run novajob doctor
	echo "$output"
	((status == 0))
	run -0 novajob sweep
	run -0 servers_of "$JOB_ID"
	assert_output 1
	run -0 novajob cleanup
}

# --- stop

# bats test_tags=fault
@test "TERM as the create call begins" {
	stopped 'creating server'
	run -0 novajob cleanup
	fault_row 'TERM as the create call begins' prepare 2 "$BATS_TEST_TMPDIR/stopped.log"
}

# bats test_tags=fault
@test "TERM while the server is built" {
	needs_own_cloud
	knob '"spawn_delay": 6'
	stopped 'waiting for ACTIVE'
	run -0 novajob cleanup
	fault_row 'TERM while the server is built' prepare 2 "$BATS_TEST_TMPDIR/stopped.log"
}

# bats test_tags=fault
@test "a job cancelled while its server is made" {
	run -101 job --script-line true --cancel-at 'prepare@creating server'
	fault_row 'a job is cancelled while its server is made' prepare 2 "$LOG"
}

# --- each kind of fault by each client

faults_by() {
	needs_own_cloud
	needs_client "$1"
	local log=$BATS_TEST_TMPDIR/away.log
	set_to openstack "$(client "$1")"
	# setting
	(
		export OS_PASSWORD=wrong
		stage_env "$JOB_ID"
		run -2 novajob prepare
		assert_output --partial '(HTTP 401)'
		said denied
	)
	fault_row "the password is wrong, client $1" prepare 2 "$BATS_TEST_TMPDIR/denied"
	# missing
	set_to flavor nosuch
	refused "the flavor does not exist, client $1" 2 'error: flavor \(from .*nosuch'
	set_to flavor m1.tiny
	# no room
	JOB_ID=$((JOB_ID + 1))
	set_to flavor m1.absurd
	refused "no host has room for the flavor, client $1" 2 'is in ERROR: .*No valid host was found'
	set_to flavor m1.tiny
	# cloud
	JOB_ID=$((JOB_ID + 1))
	knob '"spawn_abort": "no space on the shelf"'
	refused "the server ends in ERROR while it is built, client $1" 2 'is in ERROR: .*no space on the shelf'
	cloud knobs '[]'
	# transient: it keeps trying
	JOB_ID=$((JOB_ID + 1))
	OS_AUTH_URL=http://127.0.0.1:1/v3 stopped 'trying again'
	assert_file_contains "$BATS_TEST_TMPDIR/stopped.log" 'Failed to discover available identity versions\|Unable to establish'
	fault_row "nobody listens at the cloud's address until the job is cancelled, client $1" prepare 2 "$BATS_TEST_TMPDIR/stopped.log"
	# busy
	JOB_ID=$((JOB_ID + 1))
	tight_project
	prepared
	response $((JOB_ID + 1)) >"$JOB_RESPONSE_FILE"
	run -2 novajob prepare
	assert_output --partial 'Quota exceeded for instances'
	said full
	run -0 novajob cleanup
	response "$JOB_ID" >"$JOB_RESPONSE_FILE"
	run -0 novajob cleanup
	wait_for 60 nobody_in_tight
	fault_row "the quota of instances is used up, and stays so, client $1" prepare 2 "$BATS_TEST_TMPDIR/full"
}

# bats test_tags=fault
@test "faults by client 6.0" {
	faults_by 6.0
}

# bats test_tags=fault
@test "faults by client 7.4" {
	faults_by 7.4
}

# bats test_tags=fault
@test "faults by client 10.5" {
	faults_by 10.5
}
