#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# bastion.bats - servers that are reached through another host only: ssh-proxy-jump.

load lib
with_cloud

setup() {
	novajob_setup
	T=$BATS_TEST_TMPDIR
	ssh-keygen -q -t ed25519 -N '' -f "$T/bastion-host"
	ssh-keygen -q -t ed25519 -N '' -f "$T/bastion-key"
	PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	cat >"$T/sshd_config" <<-END
		Port $PORT
		ListenAddress 127.0.0.1
		HostKey $T/bastion-host
		PidFile $T/pid
		AuthorizedKeysFile $T/bastion-key.pub
		StrictModes no
		LogLevel DEBUG1
		ForceCommand false
		PermitRootLogin yes
	END
	echo "[127.0.0.1]:$PORT $(cut -d' ' -f1,2 "$T/bastion-host.pub")" >"$T/known"
	set_to ssh-proxy-jump "$(id -un)@127.0.0.1:$PORT"
	set_to ssh-proxy-key "$T/bastion-key"
	set_to ssh-proxy-known-hosts "$T/known"
}

teardown() {
	[[ ! -s $T/pid ]] || kill "$(cat "$T/pid")"
}

bastion_up() {
	/usr/sbin/sshd -f "$T/sshd_config" -E "$T/bastion.log" 3>&-
	wait_for 10 test -s "$T/pid"
}

@test "a whole job goes through the bastion, with its own key and known hosts" {
	local address
	bastion_up
	run -0 job --script-line 'echo from $SSH_CONNECTION'
	grep -q '^from 127.0.0.1 ' "$LOG" || fail "$(cat "$LOG")"
	address=$(sed -n 's/.*server is ACTIVE after .* at \([0-9.]*\),.*/\1/p' "$LOG")
	grep -q "server_request_direct_tcpip: .*target $address port" "$T/bastion.log"
	assert_equal "$(servers_of "$JOB_ID")" 0
}

@test "the same with keys per job" {
	bastion_up
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	run -0 job --script-line 'echo hello'
	grep -qx hello "$LOG"
}

# bats test_tags=fault
@test "a bastion with another host key, or none: no login, said" {
	set_to ssh-timeout 4
	stage_env
	run -2 novajob prepare
	assert_output --regexp 'error: no login .*: the bastion does not answer: .*Connection refused'
	printf '%s\n' "${lines[@]}" >"$T/log"
	novajob cleanup
	fault_row 'the bastion is down' prepare 2 "$T/log"
	bastion_up
	ssh-keygen -q -t ed25519 -N '' -f "$T/other"
	echo "[127.0.0.1]:$PORT $(cut -d' ' -f1,2 "$T/other.pub")" >"$T/known"
	JOB_ID=$((JOB_ID + 1))
	stage_env
	run -2 novajob prepare
	assert_output --regexp 'error: no login .*: the bastion does not let us through: Host key verification failed'
	printf '%s\n' "${lines[@]}" >"$T/log"
	run ! grep -q 'Accepted publickey' "$T/bastion.log"
	novajob cleanup
	fault_row 'the bastion has another host key than it is known by' prepare 2 "$T/log"
}

@test "a bastion without key or known hosts is told before anything is created" {
	sed -i '/^ssh-proxy-key/d' "$SETTINGS"
	stage_env
	run -2 novajob config
	assert_output --partial 'needs ssh-proxy-key and ssh-proxy-known-hosts'
	set_to ssh-proxy-key "$T/nothing"
	run -2 novajob prepare
	assert_output --partial "ssh-proxy-key '$T/nothing'"
	assert_equal "$(servers_of "$JOB_ID")" 0
}

@test "a bastion whose host key changes in mid-job is blamed itself" {
	bastion_up
	set_to ssh-share no
	prepared
	sed -i "s| ssh-ed25519 .*| $(ssh-keygen -y -f "$T/bastion-key" | cut -d" " -f1,2)|" "$T/known"
	echo 'echo hi' >"$T/script"
	run -2 novajob run "$T/script" build_script
	assert_output --partial "the bastion's host key is not the one of ssh-proxy-known-hosts"
	refute_output --partial 'another machine answers'
	novajob cleanup
}

@test "doctor goes through the bastion to its own sshd, and says what keeps it from there" {
	# no cloud is asked
	doctor() {
		novajob doctor --openstack=false | grep ' bastion '
	}
	local who
	who="$(id -un)@127.0.0.1:$PORT"
	run -0 doctor
	assert_line --regexp "^FAIL +bastion +$who does not let us in: .*Connection refused"
	bastion_up
	run -0 doctor
	assert_line --regexp "^ok +bastion +$who lets us in"
	set_to ssh-proxy-key "$CLOUD/id_ed25519"
	run -0 doctor
	assert_line --regexp "^FAIL +bastion +$who does not let us in: .*Permission denied"
	set_to ssh-proxy-key "$T/bastion-key"
	echo "[127.0.0.1]:$PORT $(cut -d' ' -f1,2 "$T/bastion-key.pub")" >"$T/other"
	set_to ssh-proxy-known-hosts "$T/other"
	run -0 doctor
	assert_line --regexp "^FAIL +bastion +$who does not let us in: .*Host key verification failed"
	set_to ssh-proxy-known-hosts "$T/known"
	kill "$(cat "$T/pid")"
	wait_for 10 test ! -e "$T/pid"
	echo 'AllowTcpForwarding no' >>"$T/sshd_config"
	bastion_up
	run -0 doctor
	assert_line --regexp "^warn +bastion +$who lets us in, but leads not even to itself \(.*forwarding failed"
	set_to ssh /nonexistent/ssh
	run -0 doctor
	assert_line --regexp '^FAIL +bastion +.*/nonexistent/ssh'
}
