#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# share.bats - the one ssh connection of a job's stages: a job has one handshake, and nothing depends on it.

load lib
with_cloud

setup() {
	novajob_setup
	T=$BATS_TEST_TMPDIR OUT=$T/out ERR=$T/err
}

teardown() {
	tail -n 5 "$T/prepare.log" "$ERR" "$LOG" >&2 2>/dev/null || : # shown when the test failed
	stage_env
	novajob cleanup 2>/dev/null || :
}

server_of() {
	cloud servers | sed -n "s/^\([^ ]*\) [^ ]*-job-$1 .*/\1/p"
}

# A prepared server: its id in $SERVER, the path of the socket in $SOCKET, the process that listens there in $MASTER.
ready() {
	prepared
	look
}

look() {
	SERVER=$(server_of "$JOB_ID")
	SOCKET=$STATE/share/$(jq -r .try "$STATE"/jobs/*/record.json)
	MASTER=$(master)
}

master() {
	pgrep -f "ControlMaster=yes.*$SOCKET"
}

# How often somebody has logged in to a server.
logins() {
	grep -c 'Accepted publickey' "$CLOUD/servers/${1:-$SERVER}/sshd.log"
}

# A stage runs, and the log has nothing but its output.
works() {
	stage 'echo ran'
	assert_equal "$(<"$OUT")" ran
	assert_file_empty "$ERR"
}

# gone PID: it has ended; a zombie has no arguments.
gone() {
	[[ ! -s /proc/$1/environ ]] || [[ -z $(tr -d "\0" <"/proc/$1/cmdline") ]]
}

nothing_left() {
	assert_equal "$(left_processes)" ''
	run -0 find "$STATE/share" -mindepth 1
	assert_output ''
}

@test "a whole job has one handshake, and leaves nothing of the connection" {
	job --script-line 'echo ran' --after-script-line 'echo after; cp '"$CLOUD/servers/\$NOVASIM_SERVER/sshd.log $T/sshd.log"
	run -0 grep -c 'Accepted publickey' "$T/sshd.log"
	assert_output 1
	nothing_left
}

@test "ssh-share = no: a handshake for each stage, and no connection is left between them" {
	set_to ssh-share no
	prepared
	SERVER=$(server_of "$JOB_ID")
	works
	works
	assert_equal "$(logins)" 3
	assert_file_not_exist "$STATE/share"
	assert_equal "$(left_processes)" ''
}

@test "the connection holds no pipe of prepare, nor of a stage that opens it" {
	stage_env
	run -0 timeout 60 bash -c '"$NOVAJOB" --settings="$SETTINGS" prepare 2>&1 | cat'
	assert_output --partial 'ready in'
	look
	kill -0 "$MASTER"
	kill -KILL "$MASTER"
	echo 'echo ran' >"$T/script"
	run -0 timeout 60 bash -c '"$NOVAJOB" --settings="$SETTINGS" run "$1" build_script 2>&1 | cat' - "$T/script"
	assert_output ran
	run -0 bash -c "readlink /proc/$(master)/fd/*"
	refute_line --regexp '^pipe:'
}

@test "the connection has a session of its own: what ends the stages' group does not end it" {
	ready
	assert_equal "$(ps -o sid= -p "$MASTER" | tr -d ' ')" "$MASTER"
	works
	kill -0 "$MASTER"
}

@test "a connection that was lost costs one reconnect, and not a word" {
	ready
	kill -KILL "$MASTER"
	works
	assert_equal "$(logins)" 2
	works
	assert_equal "$(logins)" 2
}

# A way to the server that forgets a connection on which nothing has come for 2 s, as routers do after minutes or hours.
forgetful_way() {
	cat >"$T/way" <<-'END'
		import os, select, socket, sys
		s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
		while True:
		    ready = select.select([0, s], [], [], 2)[0]
		    data = [(os.read(0, 65536), s) if r == 0 else (s.recv(65536), None) for r in ready]
		    if not data or not all(d for d, _ in data):
		        break
		    for d, to in data:
		        to.sendall(d) if to else os.write(1, d)
	END
	printf '%s\n' 'Host *' "ProxyCommand /usr/bin/python3 $T/way %h %p" >"$T/ssh_config"
	chmod 600 "$T/ssh_config"
	set_to ssh-config "$T/ssh_config"
}

@test "the connection survives quiet hours: it is kept awake where routers forget" {
	forgetful_way
	set_to alive-timeout 4s # so that it says something each second; with the default of 60 s every 15 s
	ready
	run ! timeout 6 tail --pid="$MASTER" -f /dev/null # it lives on
	works
	assert_equal "$(logins)" 1
	novajob cleanup
	set_to alive-timeout 60s # the way does forget
	ready
	run -0 timeout 20 tail --pid="$MASTER" -f /dev/null
	works
	assert_equal "$(logins)" 2
}

@test "a socket where nobody listens, as after a reboot, is replaced" {
	ready
	kill -KILL "$MASTER"
	assert_exists "$SOCKET"
	python3 -c 'import os, socket, sys; os.unlink(sys.argv[1]); socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$SOCKET"
	works
	kill -0 "$(master)"
	assert_equal "$(logins)" 2
}

@test "a connection that sshd has ended between two stages costs one reconnect" {
	ready
	stage 'ps -o ppid= -p $PPID' # sshd's process of the connection
	kill -KILL "$(tr -d ' ' <"$OUT")"
	wait_for 10 gone "$MASTER"
	works
	assert_equal "$(logins)" 2
}

@test "the directory of the sockets removed, a link, or open to others: no word of it" {
	ready
	rm -r "$STATE/share"
	works
	kill -KILL "$MASTER"
	share_is_bad mkdir -m 0777 "$STATE/share"
	share_is_bad ln -s "$T" "$STATE/share"
	share_is_bad touch "$STATE/share"
}

share_is_bad() {
	rm -rf "$STATE/share"
	"$@"
	works
	run ! compgen -G "$STATE/share/*.err"
	pkill -KILL -f "ControlMaster=yes.*$SOCKET" || :
}

@test "a state directory whose name is too long for a socket: each stage connects by itself" {
	STATE=$T/$(printf 'x%.0s' {1..90})
	set_to state-dir "$STATE"
	prepared
	SERVER=$(server_of "$JOB_ID")
	works
	assert_equal "$(logins)" 2
	run ! grep 'connection' "$T/prepare.log"
}

@test "MaxSessions 1: stages work, and a cancel, whose second command has to connect by itself" {
	cloud knobs '[{"match": ".", "sshd": ["MaxSessions 1"]}]'
	ready
	works
	printf '%s\n' "echo \$\$ >$T/pid" 'sleep 300' >"$T/script"
	setsid "$NOVAJOB" --settings="$SETTINGS" run "$T/script" build_script >"$OUT" 2>"$ERR" 3>&- &
	started
	wait_for 20 test -s "$T/pid"
	kill -TERM "$!"
	wait_started
	run -0 grep "the script's processes in the server are ended" "$ERR"
	run ! grep -i mux "$ERR"
	run ! kill -0 "$(<"$T/pid")"
	works
}

@test "a process left behind that holds a session does not hold up MaxSessions 1" {
	cloud knobs '[{"match": ".", "sshd": ["MaxSessions 1"]}]'
	ready
	stage 'sleep 12346 &'
	works
	pkill -KILL -f '^sleep 12346$'
}

@test "a cancel ends the script over the connection, which lives on" {
	ready
	printf '%s\n' "echo \$\$ >$T/pid" 'sleep 300' >"$T/script"
	setsid "$NOVAJOB" --settings="$SETTINGS" run "$T/script" build_script >"$OUT" 2>"$ERR" 3>&- &
	started
	wait_for 20 test -s "$T/pid"
	kill -TERM "$!"
	wait_started
	run ! kill -0 "$(<"$T/pid")"
	works
	assert_equal "$(logins)" 1
	kill -0 "$MASTER"
}

@test "a next try does not take the connection of the one before, whose server is another" {
	ready
	local before=$SERVER
	novajob prepare 2>>"$T/prepare.log"
	stage 'echo $NOVASIM_SERVER'
	SERVER=$(jq -r .server_id "$STATE"/jobs/*/record.json)
	[[ $SERVER != "$before" ]]
	assert_equal "$(<"$OUT")" "$SERVER"
}

@test "a prepare that fails after its login leaves no connection" {
	set_to ready-command 'exit 3'
	stage_env
	run -2 novajob prepare
	assert_output --partial 'ready-command ended with exit code 3'
	nothing_left
}

@test "an ssh-config cannot lead stages elsewhere, nor start connections of its own" {
	printf '%s\n' 'Host *' 'ControlMaster auto' "ControlPath $T/theirs" 'ControlPersist yes' >"$T/ssh_config"
	chmod 600 "$T/ssh_config"
	set_to ssh-config "$T/ssh_config"
	ready
	works
	assert_equal "$(logins)" 1
	kill -KILL "$MASTER"
	works
	assert_file_not_exist "$T/theirs"
	set_to ssh-share no
}

@test "a reconnect holds to the host key" {
	ready
	kill -KILL "$MASTER"
	ssh-keygen -q -t ed25519 -N '' -f "$T/other" <<<y
	sed -i "s|^\([^ ]*\) .*|\1 $(cut -d' ' -f1,2 "$T/other.pub")|" "$STATE"/jobs/*/known_hosts
	run -2 stage 'echo ran'
	run -0 grep 'host key of server .* changed' "$ERR"
	assert_file_empty "$OUT"
}

@test "sweep ends connections whose record is gone, and no other" {
	local gone gone_master
	ready
	gone=$SOCKET gone_master=$MASTER
	rm -r "$STATE"/jobs/*
	JOB_ID=$((JOB_ID + 1))
	ready
	run -0 novajob sweep --dry-run
	assert_output --partial "would end connection ${gone##*/}"
	kill -0 "$gone_master"
	run -0 novajob sweep
	assert_output --partial "end connection ${gone##*/}"
	refute_output --partial "connection ${SOCKET##*/}"
	gone "$gone_master"
	assert_not_exists "$gone"
	kill -0 "$MASTER"
	works
	assert_equal "$(logins)" 1
}

@test "cleanup of a job whose record cannot be read leaves its connection to sweep" {
	ready
	echo '{' >"$(echo "$STATE"/jobs/*/record.json)"
	run -0 novajob sweep
	refute_output --partial "connection ${SOCKET##*/}"
	novajob cleanup
	run -0 novajob sweep
	nothing_left
}
