#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# ssh.bats - into a job's server: which job is meant, ssh; and servers that are kept with what belongs to them.

load lib
with_cloud
load hold

# ---- which job

@test "a job that is not known, or not here: what was looked at, and what to do" {
	for command in ssh release; do
		run -2 novajob $command 4711
		assert_line --index 0 "novajob: error: no job '4711' is known on this host: '$STATE/jobs' has no record of it"
		assert_line --index 1 --partial "'novajob list' shows the jobs"
		symptom "no job '...' is known on this host: '...' has no record of it"
	done
	prepared
	for word in "x$JOB_ID" "${JOB_ID}0" '' . .. "../jobs/$KEY" "$KEY/" 11111111-2222-3333-4444-555555555555; do
		run -2 novajob hold "$word" 1h
		assert_output --partial "no job '$word' is known"
	done
	run -2 other_host ssh "$JOB_ID" true
	assert_output --partial "no job '$JOB_ID' is known on this host: '$T/other-state/jobs'"
	run -0 novajob ssh "$KEY" true
	chmod 777 "$STATE"
	run -2 novajob ssh "$KEY" true
	assert_output --partial 'is writable by others'
	chmod 700 "$STATE"
}

@test "another user's records: as whom to run it" {
	((EUID == 0)) || skip 'only root can be another uid'
	prepared
	chown nobody "$STATE"
	run -2 novajob ssh "$JOB_ID" true
	chown root "$STATE"
	assert_line --index 0 --partial "belongs to user id $(id -u nobody), not to 0 who runs novajob"
	assert_line --index 1 "novajob: hint: run it as the user of the runner: user id $(id -u nobody)"
}

@test "a job id that two GitLabs have: both keys are told; one that is over is not meant" {
	failed_job
	other=99999999-2222-3333-4444-555555555555
	response "$JOB_ID" $other >"$JOB_RESPONSE_FILE"
	novajob prepare 2>/dev/null
	for command in ssh release; do
		run -2 novajob $command "$JOB_ID"
		assert_line --index 0 --regexp "^novajob: error: job $JOB_ID may be any of (.*$KEY.*$other-$JOB_ID|.*$other-$JOB_ID.*$KEY)"
		assert_line --index 1 'novajob: hint: give the whole of one of these'
	done
	run -0 novajob ssh "$KEY" cat trace
	assert_output trace
	novajob release "$KEY" 2>/dev/null
	run -1 novajob ssh "$JOB_ID" cat trace # the other one, which has none
	assert_output --partial trace
	novajob cleanup
	run -2 novajob ssh "$JOB_ID" true # both are over
	assert_output --partial 'may be any of'
}

@test "a server of the pool is no job's" {
	set_to pool 1
	novajob pool fill 2>/dev/null
	key=$(basename "$STATE"/jobs/pool.*)
	for word in "$key" "${key##*.}"; do
		run -2 novajob ssh "$word" true
		assert_output --partial "no job '$word' is known"
	done
	run -0 novajob list
	assert_line --regexp "^$key +ready .* pool +[0-9]+ min "
	novajob pool drain
}

# ---- ssh

@test "ssh beside a running job: the command's exit code, and its words as they are" {
	prepared
	run -0 novajob ssh "$JOB_ID" echo 'a  b' '$NOVASIM_SERVER'
	assert_output "a b $(server)" # joined by blanks, for the account's shell, as ssh does it
	for code in 1 7 255; do
		run -$code novajob ssh "$JOB_ID" exit $code
	done
	run -0 novajob ssh "$JOB_ID" printf %s, -l nobody -v --help
	assert_output -- '-l,nobody,-v,--help,'
	run -0 novajob ssh -- "$JOB_ID" echo fine
	assert_output fine
	run novajob ssh "$JOB_ID" -V
	refute_output --partial OpenSSH # of the local one
	run -0 bash -c 'echo "echo in \$NOVASIM_SERVER" | "$NOVAJOB" --settings="$SETTINGS" ssh "$1"' - "$JOB_ID"
	assert_output "in $(server)"
	run -0 bash -c 'head -c 300000 /dev/zero | "$NOVAJOB" --settings="$SETTINGS" ssh "$1" wc -c' - "$JOB_ID"
	assert_output 300000
	stage build_script 0 'echo the job goes on'
	assert_equal "$(<"$T/out")" 'the job goes on'
}

@test "ssh on a terminal is one, with its name, and says what the server is" {
	failed_job
	printf 'tty; echo "=$TERM="; exit 5\n' >"$T/keys"
	run -5 env TERM=vt220 script -qec "'$NOVAJOB' '--settings=$SETTINGS' ssh $JOB_ID" /dev/null <"$T/keys" 3>&-
	assert_line --regexp "^novajob: server $(server), held until .* UTC, for (30 min|2[0-9] min [0-9]+ s) more"
	assert_output --regexp '/dev/pts/[0-9]+'
	assert_line --partial '=vt220='
	run -0 script -qec "'$NOVAJOB' '--settings=$SETTINGS' ssh $JOB_ID tty || :" /dev/null </dev/null 3>&-
	assert_output --partial 'not a tty' # a command gets none, as with ssh itself
	refute_output --partial 'held until'
	edit '.expires = $now - 1'
	run -5 script -qec "'$NOVAJOB' '--settings=$SETTINGS' ssh $JOB_ID" /dev/null <"$T/keys" 3>&-
	assert_line --partial "is held no longer: the next sweep deletes it ('novajob hold $JOB_ID 1h' keeps it)"
}

@test "we become the ssh: no process of ours is left, nor any of our signals; nothing of the host reaches it" {
	prepared
	mkdir "$T/bin"
	cat >"$T/bin/ssh" <<-'END'
		#!/bin/bash
		{
			echo "pid $$"
			grep -E '^Sig(Blk|Ign)' /proc/self/status
			printf 'arg %s\n' "$@"
			env | sed 's/^/env /'
			ls /proc/self/fd | sed 's/^/fd /'
		} >"${0%/*}/said"
		exit 9
	END
	chmod 755 "$T/bin/ssh"
	export OS_PASSWORD=hush CUSTOM_ENV_X=hush SSH_AUTH_SOCK=/hush
	run -9 env PATH="$T/bin:$PATH" TERM=x bash -c 'echo pid $$; exec "$NOVAJOB" --settings="$SETTINGS" ssh "$1" true' - "$JOB_ID"
	assert_equal "$output" "$(head -1 "$T/bin/said")"
	run -0 cat "$T/bin/said"
	assert_line --regexp '^SigBlk:.0+$'
	assert_line --regexp '^SigIgn:.0+(180000000)?$' # 32 and 33 are glibc's own, and stay as they were inherited
	assert_line 'arg BatchMode=yes'
	assert_line 'arg ControlPath=none'
	assert_line 'arg StrictHostKeyChecking=yes'
	assert_line "arg $STATE/jobs/$KEY/id_ed25519"
	assert_line "arg UserKnownHostsFile=\"$STATE/jobs/$KEY/known_hosts\""
	assert_line 'env TERM=x'
	refute_output --partial hush
	refute_line --regexp '^fd [4-9]' # 3: the listing's own
}

@test "ssh is held to the key that was made for the server" {
	failed_job
	ssh-keygen -q -t ed25519 -N '' -f "$T/other"
	echo "$KEY $(cut -d' ' -f1,2 "$T/other.pub")" >"$STATE/jobs/$KEY/known_hosts"
	run -255 novajob ssh "$JOB_ID" echo in
	assert_output --partial 'Host key verification failed'
	refute_line in
}

@test "with a shared key pair, too" {
	set_to keys shared
	set_to key-pair ci-key
	set_to private-key "$CLOUD/id_ed25519"
	failed_job
	run -0 novajob ssh "$JOB_ID" cat trace
	assert_output trace
	novajob release "$JOB_ID" 2>/dev/null
	gone
}

@test "who is logged in stays so when the job ends and the server is kept" {
	prepared
	stage build_script 1 'exit 1'
	mkfifo "$T/in"
	"$NOVAJOB" --settings="$SETTINGS" ssh "$JOB_ID" 'echo in; cat' <"$T/in" >"$T/said" 2>&1 3>&- &
	started
	exec 7>"$T/in"
	wait_for 20 grep -q in "$T/said"
	novajob cleanup 2>/dev/null
	held_for 1800
	echo 'still there' >&7
	wait_for 20 grep -q 'still there' "$T/said"
	exec 7>&-
	wait_started
}

@test "no server to log in to: the phase, and what would have kept it" {
	prepared
	edit '.phase = "creating" | del(.address)'
	run -2 novajob ssh "$JOB_ID" true
	assert_line "novajob: error: job $JOB_ID has no server to log in to: its server is not ready yet (its record says: creating)"
	novajob cleanup
	run -2 novajob ssh "$JOB_ID" true
	assert_line --index 0 "novajob: error: job $JOB_ID has no server to log in to: its server was deleted (its record says: deleted)"
	assert_line --index 1 "novajob: hint: keep-on-failure keeps the servers of failed jobs, 'novajob hold JOB 2h' that of a running one"
}

# ---- floating addresses, the pool, list

@test "a floating address is kept with its server, and goes with it" {
	set_to floating-network public
	failed_job
	held_for 1800
	address=$(record address)
	run -0 novajob ssh "$JOB_ID" cat trace
	assert_output trace
	run -0 novajob sweep
	assert_line --regexp "^keep floating ip .*$address.*: it is held$"
	run -0 other_host sweep
	assert_line --regexp "^keep floating ip .*$address"
	run -0 novajob release "$JOB_ID"
	gone
	run -0 openstack floating ip list -f value -c 'Floating IP Address'
	refute_output --partial "$address"
	failed_job
	edit '.expires = $now - 1'
	run -0 novajob sweep
	assert_line --regexp '^delete floating ip '
	gone
	no_trace_on_host
}

@test "a warm server is kept, whatever the cloud calls it yet, and list tells it from a cold one" {
	set_to pool 1
	novajob pool fill 2>/dev/null
	set_to pool 0
	cloud knobs '[{"request": "PUT /compute/.*/servers/[^/]*$", "status": 403}]' # it gets no job's name
	failed_job
	wait_for 60 nobody_left
	run -0 cloud servers
	assert_line --regexp "gitlab-builder-pool-.*novajob:owner=$OWNER"
	assert_equal "$(record phase)" held
	assert_equal "$(property expires)" "$(record expires)"
	run -0 novajob sweep
	assert_line --regexp "^keep server $(server) .*: it is held$"
	run -0 novajob ssh "$JOB_ID" cat trace
	assert_output trace
	run -0 novajob list
	assert_line --regexp "^$KEY +held +ACTIVE +$(server) .* warm +[0-9]+ min +in 2[0-9] min  failed: build_script$"
	assert_equal "${#lines[@]}" 2
	# handed over while it is held
	cloud knobs '[]'
	novajob pool fill 2>/dev/null
	run -0 cloud servers
	assert_line --regexp "gitlab-builder-7-.*-job-$JOB_ID .*novajob:owner=$OWNER"
	held_for 1800
	run -0 novajob list --json
	run -0 jq -r '[.record, .start, .failed, (.age_s < 600), .expires] | @tsv' <<<"$output"
	assert_output "$(printf 'held\twarm\tbuild_script\ttrue\t%s' "$(record expires)")"
	novajob release "$JOB_ID" 2>/dev/null
	gone
	prepared
	run -0 novajob list --json
	run -0 jq -r '[.record, .start, .failed, .hold_s] | @tsv' <<<"$output"
	assert_output "$(printf 'ready\tcold\t\t')"
}
