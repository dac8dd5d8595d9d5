#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# keys.bats - keys of each job alone: made before the server, told to it in user-data, pinned, gone with the job.

load lib
with_cloud

setup() {
	novajob_setup
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	T=$BATS_TEST_TMPDIR
	JOB_DIR=$STATE/jobs/11111111-2222-3333-4444-555555555555-$JOB_ID
}

teardown() {
	[[ ! -s ${T:-/nonexistent}/impostor.pid ]] || kill "$(cat "$T/impostor.pid")"
	cloud knobs '[]'
}

# The job's server, as the API shows it.
shown() {
	/usr/bin/openstack server show -f json "$(cloud servers | grep -- "-job-$JOB_ID " | cut -d' ' -f1)"
}

# impostor ADDRESS [KIND]: another machine takes the address, with a host key of that kind: it lets everybody in and keeps
# whatever it is sent in $T/got.
impostor() {
	local kind=${2:-ed25519}
	[[ -e $T/impostor_$kind ]] || ssh-keygen -q -t "$kind" -N '' -f "$T/impostor_$kind"
	cat >"$T/impostor.conf" <<-END
		Port $(cat "$CLOUD/ssh-port")
		ListenAddress $1
		HostKey $T/impostor_$kind
		PidFile $T/impostor.pid
		AuthorizedKeysCommand /bin/sh -c "cat $T/authorized"
		AuthorizedKeysCommandUser root
		StrictModes no
		ForceCommand /bin/sh -c "echo in >>$T/got; cat >>$T/got"
	END
	cp "${IDENTITY:-$JOB_DIR/id_ed25519}.pub" "$T/authorized"
	/usr/sbin/sshd -f "$T/impostor.conf" -E "$T/impostor.log" 3>&-
	wait_for 10 test -s "$T/impostor.pid"
}

@test "a whole job without a key pair" {
	run -0 job --script-line 'echo hello' --script-line 'cat /proc/self/environ | tr "\0" "\n" | grep -c NOVASIM_SERVER'
	run -0 grep -x hello "$LOG"
	assert_equal "$(servers_of "$JOB_ID")" 0
}

@test "the cloud gets no key pair, but user-data on a config drive; the files are ours alone" {
	prepared
	run -0 jq -r '.key_name, .config_drive' <<<"$(shown)"
	assert_output $'null\nTrue' || assert_output $'\nTrue'
	run -0 stat -c %a "$JOB_DIR" "$JOB_DIR/id_ed25519" "$JOB_DIR/host_ed25519" "$JOB_DIR/user-data" "$JOB_DIR/known_hosts"
	assert_output $'700\n600\n600\n600\n600'
	run -0 head -1 "$JOB_DIR/user-data"
	assert_output '#cloud-config'
	run ! grep -qF "$(tail -2 "$JOB_DIR/id_ed25519" | head -1)" "$JOB_DIR/user-data" # the client's private key is not the server's to know
	novajob cleanup
	run -0 ls "$JOB_DIR"
	assert_output $'outcome.told\nrecord.json'
}

@test "each job, and each try, has other keys" {
	prepared
	first=$(cat "$JOB_DIR/id_ed25519.pub" "$JOB_DIR/known_hosts")
	prepared
	assert [ "$(cat "$JOB_DIR/id_ed25519.pub")" != "$(head -1 <<<"$first")" ]
	assert [ "$(cat "$JOB_DIR/known_hosts")" != "$(tail -1 <<<"$first")" ]
	novajob cleanup
}

@test "every connection is strict from the first byte" {
	set_to ssh "$T/ssh"
	printf '#!/bin/sh\nprintf "%%s\\n" "$@" >>%s\nexec ssh "$@"\n' "$T/argv" >"$T/ssh"
	chmod 755 "$T/ssh"
	run -0 job --script-line true
	run -0 grep -c '^StrictHostKeyChecking=' "$T/argv"
	(($(grep -cx 'StrictHostKeyChecking=yes' "$T/argv") == output && output > 2))
	run ! grep -q BEGIN "$T/argv"
}

@test "a server whose keys come late is waited for" {
	cloud knobs '[{"match": "job-'"$JOB_ID"'$", "key_delay": 2}]'
	prepared
	novajob cleanup
}

@test "a prepare that fails destroys the keys" {
	cloud knobs '[{"match": "job-'"$JOB_ID"'$", "wrong_key": true}]'
	set_to ssh-timeout 3
	stage_env
	run -2 novajob prepare
	run -0 ls "$JOB_DIR"
	assert_output $'outcome\nrecord.json'
	novajob cleanup
}

# ---- the operator's user-data beside ours

@test "the operator's cloud-config and script are merged with ours" {
	ssh-keygen -q -t ed25519 -N '' -C theirs -f "$T/theirs"
	printf '%s\n' '#cloud-config' 'ssh_authorized_keys:' "  - $(cat "$T/theirs.pub")" >"$T/cloud-config"
	set_to user-data "$T/cloud-config"
	prepared
	server=$(jq -r .server_id "$JOB_DIR/record.json")
	run -0 cat "$CLOUD/servers/$server/authorized_keys"
	assert_output --partial ' theirs'
	assert_output --partial ' novajob'
	novajob cleanup
	printf '#!/bin/sh\necho ran >%s\n' "$T/ran" >"$T/script"
	set_to user-data "$T/script"
	prepared
	wait_for 10 test -s "$T/ran"
	novajob cleanup
	# and one that is a multi-part already
	printf '%s\n' 'Content-Type: multipart/mixed; boundary="b"' 'MIME-Version: 1.0' '' '--b' 'Content-Type: text/x-shellscript' '' \
		'#!/bin/sh' "echo ran >$T/ran2" '--b--' >"$T/multi"
	set_to user-data "$T/multi"
	prepared
	wait_for 10 test -s "$T/ran2"
	novajob cleanup
}

@test "with a shared key the log says once that the host key is believed" {
	set_to key-pair ci-key
	set_to private-key "$CLOUD/id_ed25519"
	run -0 job --script-line true
	run -0 grep -c "the server's host key is believed at this first login" "$LOG"
	assert_output 1
}

@test "user-data with a key pair is handed on as it is" {
	set_to key-pair ci-key
	set_to private-key "$CLOUD/id_ed25519"
	printf '#!/bin/sh\necho ran >%s\n' "$T/ran" >"$T/script"
	set_to user-data "$T/script"
	prepared
	wait_for 10 test -s "$T/ran"
	novajob cleanup
}

@test "user-data that will not do is told before anything is created" {
	local text
	local -A cases=(
		['#cloud-config\nssh_keys:\n  rsa_private: x\n']='sets ssh_keys:'
		['hello\n']='begins with nothing that cloud-init knows'
		['\x1f\x8b\x08']='is compressed'
		['#!/bin/sh\n\0']='NUL byte'
		['#!/bin/sh\n'"$(printf 'x%.0s' {1..50000})"]='larger than 48 KiB'
	)
	stage_env
	set_to user-data "$T/data"
	for text in "${!cases[@]}"; do
		printf '%b' "$text" >"$T/data"
		run -2 novajob config
		assert_output --partial "user-data: '$T/data' ${cases[$text]}" || assert_output --partial "${cases[$text]}"
	done
	rm "$T/data"
	run -2 novajob prepare
	assert_output --partial "user-data: cannot open '$T/data'"
	assert_equal "$(servers_of "$JOB_ID")" 0
}

# ---- a man in the middle

# first_login KIND: a machine with such a host key is at the address of a new server, and gets nothing.
first_login() {
	cloud knobs '[{"match": "job-'"$JOB_ID"'$", "no_sshd": true}]'
	set_to ssh-timeout 8
	stage_env
	"$NOVAJOB" --settings="$SETTINGS" prepare >"$T/log" 2>&1 3>&- &
	started
	wait_for 30 grep -q 'server is ACTIVE' "$T/log"
	impostor "$(sed -n 's/.*server is ACTIVE after .* at \([0-9.]*\),.*/\1/p' "$T/log")" "$1"
	wait_started
	grep -q 'answers with another host key than the one made for this job' "$T/log" || fail "$(cat "$T/log")"
	symptom 'no login at ... within ...: the host key made for this job never showed: ...' "$T/log"
	assert_file_not_exist "$T/got"
	kill "$(cat "$T/impostor.pid")"
	wait_for 10 test ! -e "$T/impostor.pid"
	novajob cleanup
}

# bats test_tags=fault
@test "another machine on the address gets nothing: not at the first login" {
	first_login ed25519
	fault_row 'another machine answers on the address of a new server' prepare 2 "$T/log"
}

# bats test_tags=fault
@test "another machine on the address gets nothing: not in mid-job, not even the script" {
	local address
	prepared
	address=$(jq -r .address "$JOB_DIR/record.json")
	cloud knobs '[{"match": "job-'"$JOB_ID"'$", "no_sshd": true}]'
	cloud kill "$(jq -r .server_id "$JOB_DIR/record.json")"
	impostor "$address"
	echo 'echo secret' >"$T/script"
	run -2 novajob run "$T/script" build_script
	printf '%s\n' "${lines[@]}" >"$T/log"
	symptom '...: the host key of server ... changed: another machine answers on its address, and was sent nothing'
	assert_file_not_exist "$T/got"
	novajob cleanup
	fault_row 'another machine takes the address of the server in mid-job' run 2 "$T/log"
}

# mid_job KIND: a machine with such a host key takes the address between two stages, and gets nothing.
mid_job() {
	cloud knobs '[]'
	prepared
	cloud knobs '[{"match": "job-'"$JOB_ID"'$", "no_sshd": true}]'
	cloud kill "$(jq -r .server_id "$JOB_DIR/record.json")"
	impostor "$(jq -r .address "$JOB_DIR/record.json")" "$1"
	echo 'echo secret' >"$T/script"
	run -2 novajob run "$T/script" build_script
	assert_output --partial 'the host key of server'
	assert_output --partial 'changed: another machine answers on its address, and was sent nothing'
	assert_file_not_exist "$T/got"
	kill "$(cat "$T/impostor.pid")"
	wait_for 10 test ! -e "$T/impostor.pid"
	novajob cleanup
}

@test "another machine on the address gets nothing: whatever kind of host key it has, with a shared key pair, too" {
	local kind
	first_login rsa
	for kind in rsa ecdsa; do
		mid_job "$kind"
	done
	set_to key-pair ci-key
	set_to private-key "$CLOUD/id_ed25519"
	IDENTITY=$CLOUD/id_ed25519
	for kind in ed25519 rsa ecdsa; do
		mid_job "$kind"
	done
}

@test "the test's impostor would take what it is sent" {
	prepared
	address=$(jq -r .address "$JOB_DIR/record.json")
	cp "$JOB_DIR/id_ed25519" "$T/id"
	cloud kill "$(jq -r .server_id "$JOB_DIR/record.json")"
	impostor "$address"
	echo taken | ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i "$T/id" \
		-p "$(cat "$CLOUD/ssh-port")" "$address" true 2>/dev/null || true
	run -0 cat "$T/got"
	assert_output $'in\ntaken'
	novajob cleanup
}

@test "key-delivery = script: a script of the user-data brings the keys, without cloud-init" {
	set_to key-delivery script
	run -0 job --script-line 'echo hello; ls $HOME/.ssh'
	run -0 grep -x hello "$LOG"
	run -0 grep -x authorized_keys "$LOG"
	assert_equal "$(servers_of "$JOB_ID")" 0
}

@test "key-delivery = script and user-data do not go together" {
	set_to key-delivery script
	printf '#!/bin/sh\n' >"$T/data"
	set_to user-data "$T/data"
	stage_env
	run -2 novajob prepare
	assert_output --partial 'user-data ('
	assert_output --partial 'cannot be joined with the script of key-delivery = script'
}

@test "ssh_keys in JSON cloud-config is refused, too" {
	printf '#cloud-config\n{"ssh_keys": {"ed25519_private": "x"}}\n' >"$T/data"
	set_to user-data "$T/data"
	stage_env
	run -2 novajob prepare
	assert_output --partial 'sets ssh_keys'
}
