#!/usr/bin/env bats
# prepare.bats - the prepare stage: what it creates and says, and how it fails before a server is to be logged in to.

load lib
with_cloud

setup() {
	novajob_setup
	stage_env
	set_to busy-timeout 0
}

# no_server: the cloud has none of this job, and nothing of ours runs on.
no_server() {
	run -0 servers_of "$JOB_ID"
	assert_output 0
	run -0 left_processes
	assert_output ''
}

# row WHAT [STATUS]: of a prepare that gave up, whose words are in $output; it has deleted by itself what it had created.
row() {
	printf '%s\n' "$output" >"$LOG"
	no_server
	[[ ! -e $RECORD ]] || novajob cleanup
	fault_row "$1" prepare "${2:-2}" "$LOG"
}

# requests_since LINES REGEX: how many requests meet it, from a line of the log on.
requests_since() {
	cloud requests '' | tail -n "+$(($1 + 1))" | grep -cE -- "$2" || true
}

requests_so_far() {
	cloud requests '' | wc -l
}

# property NAME: of this job's server.
property() {
	cloud servers --json | jq -r --arg n "-job-$JOB_ID" --arg p "$1" '.[] | select(.name | endswith($n)) | .metadata[$p]'
}

@test "a server is prepared: each step is told, the summary tells the times, one client and one create did it" {
	local before began=$EPOCHSECONDS
	before=$(requests_so_far)
	run -0 novajob prepare
	assert_line --regexp "^novajob: creating server 'gitlab-builder-7-project-42-concurrent-0-job-$JOB_ID': flavor m1.tiny, network ci-net, image builder-one$"
	assert_line --regexp '^novajob: server [0-9a-f-]{36} is created.*waiting for ACTIVE$'
	assert_line --regexp "^novajob: server is ACTIVE .* at 127[.0-9]*, logging in as $(cat "$CLOUD/user")$"
	assert_line --regexp '^novajob: ready in [0-9]+\.[0-9] s \(cold: create [0-9]+\.[0-9], build [0-9]+\.[0-9], ssh [0-9]+\.[0-9]\)$'
	run -0 requests_since "$before" 'POST /identity/v3/auth/tokens'
	assert_output 1
	run -0 requests_since "$before" 'POST /compute/.*/servers '
	assert_output 1
	nobody_left

	# what stands in the record
	run -0 jq -r '[.phase, .server_id, .address, .intent_at] | @csv' "$RECORD"
	assert_output --regexp '^"ready","[0-9a-f-]{36}","127\.[0-9.]*",0$'
	[[ $(stat -c %a "$RECORD") == 600 && $(stat -c %a "$STATE" "${RECORD%/*}" | sort -u) == 700 ]]

	# whose it is, said in the create call itself
	[[ $(property novajob:owner) == novajob ]]
	[[ $(property novajob:job) == "11111111-2222-3333-4444-555555555555-$JOB_ID" ]]
	[[ $(property novajob:project) == group/p ]]
	[[ $(property novajob:try) == "$(jq -r .try "$RECORD")" ]]
	[[ $(property novajob:host) == "$(hostname)" ]]
	local expires
	expires=$(property novajob:expires)
	((expires >= began + 3600 + 1500 && expires <= EPOCHSECONDS + 3600 + 1500))
	[[ $(jq .expires "$RECORD") == "$expires" ]]
	run -0 requests_since "$before" 'POST /compute/.*/metadata'
	assert_output 0
}

@test "the same without a session; max-life caps the expiry; owner is as set" {
	set_to openstack-session no
	set_to max-life 10m
	set_to owner group-a
	local expires
	run -0 novajob prepare
	assert_line --regexp '^novajob: ready in '
	[[ $(property novajob:owner) == group-a ]]
	expires=$(property novajob:expires)
	((expires <= EPOCHSECONDS + 600 && expires >= EPOCHSECONDS + 500))
}

# newest_image NAME: its id, asked of the API itself.
newest_image() {
	python3 - "$1" <<-'END'
		import json, os, sys, urllib.request as u
		url = os.environ["OS_AUTH_URL"]
		auth = {"auth": {"identity": {"methods": ["password"], "password": {"user": {
		    "name": os.environ["OS_USERNAME"], "password": os.environ["OS_PASSWORD"], "domain": {"name": "Default"}}}},
		    "scope": {"project": {"name": os.environ["OS_PROJECT_NAME"], "domain": {"name": "Default"}}}}}
		r = u.urlopen(u.Request(url + "/auth/tokens", json.dumps(auth).encode(), {"Content-Type": "application/json"}))
		r = u.Request(url.split("/identity")[0] + "/image/v2/images", headers={"X-Auth-Token": r.headers["X-Subject-Token"]})
		found = [i for i in json.load(u.urlopen(r))["images"] if i["name"] == sys.argv[1]]
		print(max(found, key=lambda i: i["updated_at"])["id"])
	END
}

@test "of equal names the newest image is taken, and the log says so" {
	set_to image builder
	set_to create-timeout 1
	cloud knobs '[{"match": "", "spawn_delay": 30}]'
	local newest
	newest=$(newest_image builder)
	run -2 novajob prepare
	assert_line --regexp "image 'builder': 2 fit; taking [0-9a-f-]{36}, the one updated last"
	assert_output --partial "taking $newest, the"
	assert_line --regexp 'error: server [0-9a-f-]{36} is not ACTIVE within create-timeout \(1\.0 s\): it is BUILD'
	no_server
}

@test "a name with blanks reaches the cloud as it is" {
	set_to image 'builder two words'
	run -0 novajob prepare
	refute_output --partial 'of that name'
	assert_output --partial "image builder two words"
}

@test "of two addresses the one that answers is kept" {
	set_to network ci-dual
	run -0 novajob prepare
	assert_output --partial ' and other addresses'
	run -0 jq -r '.addresses | length' "$RECORD"
	assert_output 2
	[[ $(jq -r .address "$RECORD") == $(jq -r '.addresses[1]' "$RECORD") ]]
}

# bats test_tags=fault
@test "a flavor that fits nowhere: the cloud's own words, exit 2, nothing left" {
	set_to flavor m1.absurd
	run -2 novajob prepare
	assert_output --partial 'is in ERROR: No valid host was found'
	assert_line --regexp '^novajob: hint: .*another'
	row 'the flavor fits on no host of the cloud, busy-timeout is 0'
}

# bats test_tags=fault
@test "a server that ends in ERROR: its fault, exit 2, nothing left" {
	cloud knobs '[{"match": "", "spawn_fail": "no \u001b[31mspace on device"}]'
	run -2 novajob prepare
	assert_line --regexp 'error: server [0-9a-f-]{36} is in ERROR: no \\x1b\[31mspace on device'
	[[ $(jq -r .phase "$RECORD") == deleted ]]
	row 'the server ends in ERROR'
}

# bats test_tags=fault
@test "a name the cloud does not know: the operator's is exit 2, the job's is exit 1, at once, nothing created" {
	local before name
	before=$(requests_so_far)
	for name in image flavor network security-group key-pair; do
		novajob_setup_again
		set_to $name no-such-thing
		SECONDS=0
		run -2 novajob prepare
		assert_line --regexp "^novajob: error: $name \(from .*novajob.conf:[0-9]+\): .*(no-such-thing|key_name)"
		assert_line --regexp '^novajob: hint: .'
		refute_output --partial 'trying again'
		((SECONDS < 20))
		row "the cloud does not know the $name of novajob.conf"
	done
	novajob_setup_again
	for name in FLAVOR IMAGE; do
		run -1 env "CUSTOM_ENV_NOVAJOB_$name=no-such-thing" "$NOVAJOB" --settings="$SETTINGS" prepare
		assert_line --regexp "^novajob: error: ${name,,} \(from job variable NOVAJOB_$name\): .*no-such-thing"
		row "the cloud does not know the ${name,,} of the job's variable" 1
	done
	run -0 requests_since "$before" 'POST /compute/.*/servers 20'
	assert_output 0
	no_server
}

novajob_setup_again() {
	settings_file >"$SETTINGS"
	set_to busy-timeout 0
}

# bats test_tags=fault
@test "no openstack program: exit 2, said so" {
	set_to openstack /nonexistent/openstack
	run -2 novajob prepare
	assert_line --regexp "error: .*cannot run '/nonexistent/openstack'.*: No such file or directory"
	set_to openstack openstack-that-is-not-there
	run -2 novajob prepare
	assert_line --regexp "error: .*cannot run 'openstack-that-is-not-there': not found in PATH"
	printf '%s\n' "$output" >"$LOG"
	fault_row 'there is no openstack program' prepare 2 "$LOG"
	touch "$BATS_TEST_TMPDIR/openstack"
	set_to openstack "$BATS_TEST_TMPDIR/openstack"
	run -2 novajob prepare
	assert_line --regexp "error: .*cannot run '.*/openstack': Permission denied"
}

# bats test_tags=fault
@test "a wrong password: exit 2 with a hint, no second try" {
	local before
	before=$(requests_so_far)
	SECONDS=0
	OS_PASSWORD=wrong run -2 novajob prepare
	assert_line --regexp 'error: .*HTTP 401'
	assert_line --regexp 'hint: .*OS_\*.*openstack token issue'
	refute_output --partial 'trying again'
	((SECONDS < 20))
	assert_equal "$(requests_since "$before" 'POST /identity/v3/auth/tokens 401')" 1
	row 'the password is wrong'
}

# bats test_tags=fault
@test "a private key that ssh would not take is found out before anything is created" {
	local key=$BATS_TEST_TMPDIR/key before
	before=$(requests_so_far)
	set_to private-key "$key"

	run -2 novajob prepare
	assert_line --regexp "error: private-key '$key'.*: No such file or directory"
	row 'there is no private key'
	cp "$CLOUD/id_ed25519" "$key"
	chmod 640 "$key"
	run -2 novajob prepare
	assert_line --regexp "error: private-key: '$key' is open to others \(mode 0640\): chmod 0600 it"
	row 'others can read the private key'
	chmod 600 "$key"
	head -c 1000 /dev/urandom >"$key"
	run -2 novajob prepare
	assert_line --regexp "error: private-key: '$key' holds no private key"
	row 'the private key is none'
	cp "$CLOUD/id_ed25519.pub" "$key"
	run -2 novajob prepare
	assert_line --regexp "error: private-key: '$key' holds no private key"
	printf %s "$(cat "$CLOUD/id_ed25519")" >"$key"
	run -2 novajob prepare
	assert_line --regexp "error: private-key: '$key' is cut off"
	row 'the private key is cut off'
	sed 's/$/\r/' "$CLOUD/id_ed25519" >"$key"
	run -2 novajob prepare
	assert_line --regexp "error: private-key: '$key' has lines that end in CR LF"
	row 'the private key has lines that end in CR LF'
	rm "$key"
	ssh-keygen -q -t ed25519 -N secret -f "$key"
	run -2 novajob prepare
	assert_line --regexp "error: private-key: '$key' has a passphrase"
	row 'the private key has a passphrase'
	rm "$key"
	ssh-keygen -q -t rsa -b 2048 -m PEM -N secret -f "$key"
	run -2 novajob prepare
	assert_line --regexp "error: private-key: '$key' has a passphrase"
	rm "$key"
	mkdir "$key"
	run -2 novajob prepare
	assert_line --regexp "error: private-key '$key'.* is no regular file"

	run -0 requests_since "$before" .
	assert_output 0
	assert_not_exists "$STATE"
}

@test "what an earlier try has left is deleted first" {
	prepared
	local first
	first=$(jq -r .server_id "$RECORD")
	run -0 novajob prepare
	assert_output --partial 'an earlier try of this job has left something: deleting it first'
	run -0 servers_of "$JOB_ID"
	assert_output 1
	[[ $(jq -r .server_id "$RECORD") != "$first" ]]
}

# bats test_tags=fault
@test "with JOB_RESPONSE_FILE empty nothing is created" {
	JOB_RESPONSE_FILE='' run -2 novajob prepare
	assert_output --partial 'JOB_RESPONSE_FILE is empty'
	row 'the runner names no job (JOB_RESPONSE_FILE is empty)'
}
