#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# security.bats - the claims of novajob-security(7) that no other file tests: a whole job looked at from all sides, what the
# cloud says without its secrets, and servers that mean harm. The hostile server is one for all tests: its forced command is
# the file $HOW.

load lib
with_cloud

setup_file() {
	cloud_up
	BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR/shared
	novajob_setup
	watched_job >"$BATS_FILE_TMPDIR/watched.out" 2>&1 || {
		cat "$BATS_FILE_TMPDIR/watched.out" "$LOG" >&2
		return 1
	}
	novajob_setup
	set_to state-dir "$BATS_FILE_TMPDIR/state"
	set_to alive-timeout 10
	echo 'exec bash -c "$SSH_ORIGINAL_COMMAND"' >"$BATS_FILE_TMPDIR/how"
	cloud knobs "[{\"match\": \".\", \"sshd\": [\"ForceCommand . $BATS_FILE_TMPDIR/how\"]}]"
	stage_env 777
	novajob prepare
}

setup() {
	novajob_setup
	T=$BATS_TEST_TMPDIR OUT=$T/out ERR=$T/err HOW=$BATS_FILE_TMPDIR/how W=$BATS_FILE_TMPDIR/watched
}

teardown() {
	cloud knobs '[]'
	[[ ! -s $ERR ]] || head -c 1000 "$ERR" >&2 # shown when the test failed
}

# ends CODE PID: a child of ours ends with that exit code.
ends() {
	local code=0
	wait "$2" || code=$?
	((code == $1)) || fail "exit code $code, expected $1"
}

# ---- a job that is watched

# A whole job at -vv with keys of its own, in session-less form, so that each command is an argv. $W gets: argv.PROGRAM and
# environ.PROGRAM of all its children, answers of the cloud, and what the script, which shares our file system, sees of the
# host: its env, files, the keys, /proc of novajob.
watched_job() {
	local program W=$BATS_FILE_TMPDIR/watched port
	mkdir "$W"
	for program in openstack ssh ssh-keygen; do
		cat >"$W/$program" <<-END
			#!/bin/bash
			{ printf '%s\n' "\$@"; echo --; } >>$W/argv.$program
			{ tr '\0' '\n' </proc/\$\$/environ; echo --; } >>$W/environ.$program
			grep 'Max core' /proc/\$\$/limits >>$W/core
			set -o pipefail
			[[ $program == openstack ]] || exec $program "\$@"
			openstack "\$@" | tee -a $W/answers
		END
		chmod 755 "$W/$program"
		set_to "$program" "$W/$program"
	done
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	printf '#!/bin/sh\n# USER-DATA-SECRET-4711\n' >"$W/user-data"
	# what a careless ssh_config could let a server have
	port=$((20000 + RANDOM % 10000))
	printf '%s\n' 'Host *' 'SendEnv *' 'ForwardAgent yes' 'ForwardX11 yes' 'ForwardX11Trusted yes' 'UpdateHostKeys yes' \
		'PermitLocalCommand yes' "LocalCommand touch $W/local-command" "RemoteForward 127.0.0.1:$port 127.0.0.1:$port" \
		'StrictHostKeyChecking no' "UserKnownHostsFile $W/known_hosts" "ControlMaster auto" "ControlPath $W/control" >"$W/ssh_config"
	set_to ssh-config "$W/ssh_config"
	set_to user-data "$W/user-data"
	set_to openstack-session no
	set_to properties book-keeping=ci
	ssh-keygen -q -t ecdsa -N '' -f "$W/second_host_key"
	cloud knobs "[{\"match\": \".\", \"sshd\": [\"AcceptEnv *\", \"X11Forwarding yes\", \"AllowAgentForwarding yes\",
		\"AllowTcpForwarding yes\", \"HostKey $W/second_host_key\"]}]"
	cat >"$W/script" <<-END
		env >$W/job-env
		cp -r $STATE $W/state
		find $STATE -printf '%m %y %P\n' >$W/modes
		find $TMPDIR $HOME -newer $W/script -type f ! -path '*/custom-executor*' ! -path '*/.cache/*' ! -path '*/__pycache__/*' ! -path '*/.novaclient/*' >$W/written
		python3 $TESTS/cloud/cloud servers $CLOUD --json >$W/servers
		for p in /proc/[0-9]*; do
			[[ \$(readlink \$p/exe) == $(realpath "$NOVAJOB") && \$(tr '\0' ' ' <\$p/cmdline) == *"job $JOB_ID"* ]] || continue
			tr '\0' '\n' <\$p/cmdline >>$W/argv.novajob
			grep 'Max core' \$p/limits >>$W/core.novajob
		done
		! (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null || echo forwarded >$W/forwarded
	END
	SSH_AUTH_SOCK=$W/agent DISPLAY=:99 job --driver-arg=-vv --script "$W/script" --var OS_PASSWORD=evil-of-the-job \
		--var OS_AUTH_URL=http://evil.example --var LD_AUDIT=/evil.example/x.so --retry-wait 0.1 || return
	cp "$LOG" "$W/log"
	cp -r "$STATE" "$W/state-after"
	cp "$SETTINGS" "$W/novajob.conf"
}

# Of the watched job all that must not be seen by others, one a line.
secrets() {
	local dir
	dir=$(dirname "$W"/state/jobs/*/record.json)
	echo "$OS_PASSWORD"
	jq -r '.adminPass // empty' "$W/answers" 2>/dev/null
	grep -hv -e ----- "$dir/id_ed25519" "$dir/host_ed25519"
	echo USER-DATA-SECRET-4711
	echo I2Nsb3VkLWNvbmZpZ # "#cloud-config" in base64
}

# without_secrets FILE...
without_secrets() {
	local line
	for file; do
		assert [ -s "$file" ]
	done
	(($(secrets | wc -l) >= 10)) # adminPass and the keys are among them
	while read -r line; do
		run grep -F -- "$line" "$@"
		assert_equal "$status $output" '1 '
	done < <(secrets)
}

@test "no secret is in the arguments of any program, novajob's own included" {
	without_secrets "$W"/argv.{openstack,ssh,ssh-keygen,novajob}
	run -0 grep -cx -e --user-data=.*/user-data "$W/argv.openstack" # a file's name
	run -0 grep -c . "$W/argv.ssh"
	((output > 100))
}

@test "no secret is in a whole job's log, at -vv" {
	run -0 grep -c 'debug: run: .*openstack' "$W/log"
	run -0 grep -q -- '--user-data=' "$W/log"
	run -0 grep -q 'PasswordAuthentication=no' "$W/log"
	without_secrets "$W/log"
}

@test "the job sees no OS_ variable but its own" {
	run -0 grep '^OS_' "$W/job-env"
	assert_output $'OS_AUTH_URL=http://evil.example\nOS_PASSWORD=evil-of-the-job' ||
		assert_output $'OS_PASSWORD=evil-of-the-job\nOS_AUTH_URL=http://evil.example'
	run -0 grep '^NOVASIM_SERVER' "$W/job-env"
	run ! grep -e ^NOVAJOB -e ^CUSTOM_ENV -e ^JOB_RESPONSE -e "$OS_PASSWORD" "$W/job-env"
}

@test "no variable of the job reaches openstack, ssh or ssh-keygen" {
	run -0 grep -x "OS_PASSWORD=$OS_PASSWORD" "$W/environ.openstack"
	run ! grep -e evil -e CUSTOM_ENV -e NOVAJOB -e JOB_RESPONSE -e GITLAB "$W/environ.openstack" "$W/environ.ssh" "$W/environ.ssh-keygen"
	run ! grep -e '^OS_' -e SSH_AUTH_SOCK -e DISPLAY "$W/environ.ssh" "$W/environ.ssh-keygen"
}

@test "the server's properties are what novajob(1) and the operator say, and no secret" {
	run -0 jq -r '.[] | .metadata | keys | sort | join(" ")' "$W/servers"
	assert_output --regexp '^book-keeping novajob:expires novajob:host novajob:job novajob:life novajob:owner novajob:project novajob:try$'
	run ! grep -F -f <(secrets) "$W/servers"
}

@test "the record's files are for the runner's user alone, and nothing is written elsewhere" {
	run -0 grep -c . "$W/modes"
	((output >= 8))
	run ! grep -vE '^(700 d|600 f|600 s) ' "$W/modes"
	assert_file_empty "$W/written"
	run ! grep -rlF "$OS_PASSWORD" "$W/state"
	run -0 find "$W/state-after" -type f -path '*/jobs/*' ! -name outcome.told -printf '%f\n'
	assert_output record.json
	run ! grep -rF -f <(secrets) "$W/state-after"
}

@test "no agent, no X11, no forwarding, no local command, no other known_hosts, whatever ssh-config says" {
	run ! grep -e '^SSH_AUTH_SOCK' -e '^DISPLAY' "$W/job-env"
	run -0 ls "$W"
	refute_line local-command
	refute_line known_hosts
	refute_line control
	refute_line forwarded
}

@test "a server that offers other host keys changes nothing in the record" {
	run -0 cat "$W"/state/jobs/*/known_hosts
	assert_equal "${#lines[@]}" 1
	refute_output --partial "$(cut -d' ' -f2 "$W/second_host_key.pub")"
}

@test "no core dumps: not of novajob, not of its children, not by a handler" {
	run ! grep -vE ' (0|1) +(0|1) ' "$W/core"
	run -0 grep -cE ' 1 +1 ' "$W/core"
	run -0 grep -cE ' 1 +1 ' "$W/core.novajob"
	kill_shows_no_core
}

# novajob at work, with all limits lifted, dies of a SEGV: the kernel's word on whether it dumped.
kill_shows_no_core() {
	printf '#!/bin/sh\ntouch %s/up\nexec sleep 60\n' "$T" >"$T/openstack"
	chmod 755 "$T/openstack"
	set_to openstack "$T/openstack"
	stage_env
	run -0 python3 - "$NOVAJOB" "$SETTINGS" "$T" <<-'END'
		import os, resource, signal, subprocess, sys, time
		novajob, settings, t = sys.argv[1:]
		def free():
		    try:
		        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
		    except ValueError:
		        pass
		    os.chdir(t)
		os.environ['ASAN_OPTIONS'] += ':handle_segv=0'
		p = subprocess.Popen([novajob, '--settings=' + settings, 'prepare'], preexec_fn=free,
		                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		while not os.path.exists(t + '/up'):
		    assert p.poll() is None
		    time.sleep(0.02)
		os.kill(p.pid, signal.SIGSEGV)
		status = os.waitpid(p.pid, 0)[1]
		print(os.WTERMSIG(status), os.WCOREDUMP(status))
	END
	assert_output '11 False'
}

@test "another process of the same user cannot read novajob's memory or environment" {
	local drop=() file
	((EUID != 0)) || drop=(setpriv --bounding-set -all --inh-caps -all)
	command -v setpriv >/dev/null || skip 'no setpriv'
	printf '#!/bin/sh\necho $$ >%s/up\nexec sleep 60\n' "$T" >"$T/openstack"
	chmod 755 "$T/openstack"
	set_to openstack "$T/openstack"
	stage_env
	"${drop[@]}" "$NOVAJOB" --settings="$SETTINGS" prepare >"$OUT" 2>"$ERR" 3>&- &
	stage=$!
	wait_for 20 test -s "$T/up"
	for file in environ maps; do
		run ! "${drop[@]}" head -c 1 "/proc/$stage/$file"
		assert_output --partial 'Permission denied'
		run -0 "${drop[@]}" head -c 1 "/proc/$(cat "$T/up")/$file" # the test would see it
	done
	kill -TERM "$stage"
	ends 2 "$stage"
}

# ---- what the cloud says

# says TEXT: a client that fails with this as the last line of its stderr; the log is in $output.
says() {
	printf '%s\n' "$1" >"$T/said"
	run -2 novajob prepare
}

@test "secrets in what the cloud says are not shown; the rest is" {
	local text want
	printf '#!/bin/sh\ncat %s/said >&2\nexit 1\n' "$T" >"$T/openstack"
	chmod 755 "$T/openstack"
	set_to openstack "$T/openstack"
	set_to openstack-session no
	stage_env
	export OS_PASSWORD='pass=w%rd of the cloud' OS_APPLICATION_CREDENTIAL_SECRET=app-secret-x OS_TOKEN=short
	while IFS='#' read -r text want; do
		says "(HTTP 400) $text"
		assert_line --partial "(HTTP 400) $want"
		refute_output --partial SECRET
	done <<-'END'
		{"server": {"adminPass": "SECRET\"1", "id": 5}}#{"server": {"adminPass": "***", "id": 5}}
		{'adminPass': u'SECRET1', 'user_data': b'SECRET'}#{'adminPass': u'***', 'user_data': b'***'}
		{\"auth\": {\"password\": {\"user\": {\"password\": \"SECRET\"}}}}#{\"auth\": {\"password\": {\"user\": {\"password\": \"***\"}}}}
		X-Auth-Token: SECRET; X-Subject-Token: SECRET#X-Auth-Token: ***; X-Subject-Token: ***
		curl -H 'Authorization: Basic SECRET SECRET' x#curl -H 'Authorization: ***' x
		os_password=SECRET&user=x --os-token=SECRET#os_password=***&user=x --os-token=***
		passwd: SECRET, secret = SECRET#passwd: ***, secret = ***
		token gAAAAABmSECRETSECRET_-x is over#token *** is over
		proxy http://ci:SECRET@proxy:3128/ fails#proxy http://ci:***@proxy:3128/ fails
		-----BEGIN RSA PRIVATE KEY-----\nSECRET\n-----END RSA PRIVATE KEY-----.#***.
		login with pass=w%rd of the cloud fails, app-secret-x as well, short does not#login with *** fails, *** as well, short does not
		no password given, the token is over: see secret store#no password given, the token is over: see secret store
		password: "SECRET#password: "***
	END
	OS_PASSWORD='correct,horse;battery&staple' says '(HTTP 400) password=correct,horse;battery&staple is rejected'
	assert_line --partial '(HTTP 400) password=*** is rejected'
	says "(HTTP 400) $(head -c 600 /dev/urandom | base64 -w0) end"
	assert_line --partial '(HTTP 400) *** end'
	says 'No password entered, or found via --os-password or OS_PASSWORD' # classified as ever, and readable
	assert_line --partial 'No password entered, or found via --os-password or OS_PASSWORD'
	assert_line --partial "hint: check the OS_* variables"
}

@test "a secret that is cut off at a message's end is not shown either" {
	printf '#!/bin/sh\nexec cat %s/said\n' "$T" >"$T/openstack"
	chmod 755 "$T/openstack"
	set_to openstack "$T/openstack"
	set_to openstack-session no
	set_to create-timeout 1
	set_to call-timeout 1
	stage_env
	export OS_PASSWORD=0123456789abcdefghijklmnopqrstuvwxyz
	says "[{\"x\": \"$(printf 'x%.0s' {1..160})\", $OS_PASSWORD" # no JSON: the first 200 bytes are shown
	assert_output --partial 'is no valid JSON'
	refute_output --partial 0123456
	says "[{\"x\": \"$(printf 'x%.0s' {1..160})\", \"adminPass\": \"SECRETSECRET"
	assert_output --partial 'adminPass'
	refute_output --partial SECRET
}

@test "the real client and a console log tell no secret" {
	cloud knobs "[{\"match\": \"job-$JOB_ID\$\", \"wrong_key\": true,
		\"console\": \"root password: hunter2\\n-----BEGIN OPENSSH PRIVATE KEY-----\\nAAAAkeykey\\n-----END OPENSSH PRIVATE KEY-----\\n$OS_PASSWORD!\"}]"
	set_to ssh-timeout 1
	stage_env
	run -2 novajob prepare
	assert_line --partial '| root password: ***'
	assert_line --partial 'the last lines of its console'
	refute_output --partial hunter2
	refute_output --partial keykey
	refute_output --partial "$OS_PASSWORD"
	cloud knobs "[{\"request\": \"POST /compute/.*/servers\$\", \"status\": 400, \"message\": \"bad: {'adminPass': 'hunter2'}\"}]"
	run -2 novajob prepare
	assert_line --partial "bad: {'adminPass': '***'}"
	novajob cleanup
}

@test "a private key on the console whose first line is above the last ones is not shown" {
	local key
	key=$(for i in {1..40}; do printf 'SECRETkeyline%02d\\n' "$i"; done)
	cloud knobs "[{\"match\": \"job-$JOB_ID\$\", \"wrong_key\": true,
		\"console\": \"-----BEGIN OPENSSH PRIVATE KEY-----\\n$key-----END OPENSSH PRIVATE KEY-----\\nbehind it\"}]"
	set_to ssh-timeout 1
	stage_env
	run -2 novajob prepare
	assert_line --partial '| behind it'
	refute_output --partial SECRETkey
	key=$(for i in {1..220}; do printf 'SECRETkeyline%02d\\n' "$i"; done)
	cloud knobs "[{\"match\": \"job-$JOB_ID\$\", \"wrong_key\": true,
		\"console\": \"-----BEGIN OPENSSH PRIVATE KEY-----\\n$key-----END OPENSSH PRIVATE KEY-----\\nbehind it\"}]"
	run -2 novajob prepare
	assert_line --partial '| behind it'
	refute_output --partial SECRETkey
	novajob cleanup
}

# ---- what the operator says

@test "user-data, ssh-config and the bastion's known_hosts that others can write are refused" {
	stage_env
	printf '#!/bin/sh\n' >"$T/file"
	chmod 660 "$T/file"
	set_to user-data "$T/file"
	run -2 novajob config
	assert_output --partial "'$T/file' can be written by others"
	sed -i '/^user-data/d' "$SETTINGS"
	set_to ssh-config "$T/file"
	run -2 novajob config
	assert_output --partial "ssh-config '$T/file' ($SETTINGS:"
	assert_output --partial 'can be written by others'
	sed -i '/^ssh-config/d' "$SETTINGS"
	set_to ssh-proxy-jump bastion
	set_to ssh-proxy-key "$CLOUD/id_ed25519"
	set_to ssh-proxy-known-hosts "$T/file"
	run -2 novajob config
	assert_output --partial "ssh-proxy-known-hosts '$T/file'"
	chmod 644 "$T/file"
	run -0 novajob config
}

@test "networks that belong together, and a list of nothing, are no way round allow-network" {
	stage_env
	set_to job-may-set network,security-group
	set_to allow-network 'ci-*'
	set_to allow-security-group ci
	CUSTOM_ENV_NOVAJOB_NETWORK='ci-net + ci-dual' run -0 novajob config
	CUSTOM_ENV_NOVAJOB_NETWORK='ci-net + other-net' run -1 novajob config
	assert_output --partial "asks for network 'ci-net + other-net': this runner allows ci-*"
	CUSTOM_ENV_NOVAJOB_NETWORK=, run -1 novajob config
	CUSTOM_ENV_NOVAJOB_SECURITY_GROUP=, run -1 novajob config
}

@test "a prepare that another one has replaced leaves that one's keys alone" {
	local first
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	cloud knobs "[{\"match\": \"-job-$JOB_ID\$\", \"spawn_delay\": 3}]"
	stage_env
	"$NOVAJOB" --settings="$SETTINGS" prepare >"$T/first" 2>&1 3>&- &
	first=$!
	wait_for 30 grep -q 'waiting for ACTIVE' "$T/first"
	novajob prepare
	ends 2 "$first"
	echo 'echo in' >"$T/script"
	run -0 novajob run "$T/script" build_script
	assert_line in
	novajob cleanup
}

# ---- a server that means harm

# hostile: stages go to the shared server, whose forced command is now the lines on stdin. $T in them is the test's folder.
hostile() {
	set_to state-dir "$BATS_FILE_TMPDIR/state"
	set_to alive-timeout 10
	set_to stop-grace 1
	stage_env 777
	cat >"$HOW"
	echo 'echo the script' >"$T/script"
	find "$BATS_FILE_TMPDIR/state" "$TMPDIR" "$HOME" -type f -printf '%p %s\n' | sort >"$T/files"
	: >"$OUT"
}

# The files are as they were but for what is noted of each stage: record, outcome, counters; and all is small.
nothing_written() {
	local ours='/(record\.json|outcome|metrics\.json|metrics\.lock) [0-9]+$'
	find "$BATS_FILE_TMPDIR/state" "$TMPDIR" "$HOME" -type f -printf '%p %s\n' | sort >"$T/files.now"
	diff <(grep -vE "$ours" "$T/files") <(grep -vE "$ours" "$T/files.now")
	(($(du -sk "$BATS_FILE_TMPDIR/state" | cut -f1) < 200))
}

# The most memory process $1 has used is below 8 MiB (a build with ASan needs more).
small() {
	local kib
	kib=$(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$1/status")
	echo "# VmHWM $kib KiB" >&3
	sanitized || ((kib > 0 && kib <= 8192))
}

has_bytes() {
	(($(stat -c %s "$1") >= $2))
}

@test "2 GB at full speed for a reader that is slow: neither memory nor disk" {
	hostile <<-END
		yes "$(printf 'x%.0s' {1..200})" | head -c 2147483648
	END
	mkfifo "$T/slow"
	exec 8<>"$T/slow"
	"$NOVAJOB" --settings="$SETTINGS" run "$T/script" build_script >"$T/slow" 2>"$ERR" 3>&- 8>&- &
	stage=$!
	timeout 60 head -c 20000000 <&8 >/dev/null # then nobody reads any more
	wait_for 20 grep -q . "/proc/$stage/status"
	small "$stage"
	nothing_written
	kill -TERM "$stage"
	ends 2 "$stage"
	exec 8>&-
	nothing_written
}

@test "a flood on the status channel, of lines and without any: quick, in little memory" {
	local text
	for text in 'ab\n' x; do
		rm -f "$T/flooded" "$T/go"
		hostile <<-END
			yes '$(printf "%b" "$text$text$text$text$text$text$text$text" | tr -d '\n')' | { [ '$text' != x ] || tr -d '\n'; } | head -c 8000000 >&2
			yes '' | head -c 8000000 >&2
			touch $T/flooded
			until [ -e $T/go ]; do sleep 0.05; done
			exit 3
		END
		SECONDS=0
		"$NOVAJOB" --settings="$SETTINGS" run "$T/script" build_script >"$OUT" 2>/dev/null 3>&- &
		stage=$!
		wait_for 40 test -e "$T/flooded"
		small "$stage"
		touch "$T/go"
		ends 2 "$stage"
		((SECONDS < 40))
		nothing_written
	done
}

@test "escape sequences on the status channel and before the script do nothing to a terminal" {
	hostile <<-'END'
		printf '\033]0;title\007\033[2J\033[31mred\302\233\342\200\256rtl\rback\n' >&2
		printf '\033[8mhidden without end' >&2
		exit 3
	END
	! novajob run "$T/script" build_script >"$OUT" 2>"$ERR" || fail 'a success'
	run ! grep -qP '[\x00-\x09\x0b-\x1f\x7f]' "$ERR"
	run ! grep -q $'\302\233\|\342\200\256' "$ERR"
	run -0 grep -F '\x1b[31mred' "$ERR"
}

@test "forged words of the wrapper: no success without the nonce, no strange process id" {
	hostile <<-'END'
		printf 'novajob-00000000000000000000000000000000 start 1\nnovajob-00000000000000000000000000000000 exit 0\n' >&2
		echo 'novajob-00000000000000000000000000000000 end'
	END
	run -2 novajob run "$T/script" build_script
	hostile <<-'END'
		set -- $SSH_ORIGINAL_COMMAND
		for nonce in $(echo "$SSH_ORIGINAL_COMMAND" | grep -oE '[0-9a-f]{32}' | head -1); do
			printf "novajob-$nonce start 99999999999999999999\nnovajob-$nonce start -1\nnovajob-$nonce start \$(touch $HOME/x)\n" >&2
			printf "novajob-$nonce exit 256\nnovajob-$nonce exit -1\nnovajob-$nonce exit 0x0\n" >&2
		done
	END
	run -2 novajob run "$T/script" build_script
	nothing_written
}

@test "a server that prints without end at the login: prepare ends in time, in little memory" {
	hostile <<-END
		yes "$(printf 'x%.0s' {1..200})" | tee /dev/stderr
	END
	cloud knobs "[{\"match\": \"job-$JOB_ID\$\", \"sshd\": [\"Banner $T/banner\", \"ForceCommand . $HOW\"]}]"
	printf '\033[2J\033]0;title\007the banner\n' >"$T/banner"
	set_to state-dir "$STATE"
	set_to ssh-timeout 3
	stage_env
	SECONDS=0
	"$NOVAJOB" --settings="$SETTINGS" prepare >"$OUT" 2>"$ERR" 3>&- &
	stage=$!
	wait_for 30 grep -q 'logging in as' "$ERR"
	wait_for 30 pgrep -P "$stage" -x ssh
	small "$stage"
	ends 2 "$stage"
	((SECONDS < 30))
	run ! grep -qP '[\x00-\x09\x0b-\x1f\x7f]' "$ERR"
	novajob cleanup
}

# The same by what ssh itself says: a server can ask for an X11 channel again and again, and each time is worth a warning to
# the shared connection's ssh, whose words go to a file. A shell stands in for such a server: it adds words of its own.
@test "a server that has the shared connection's ssh complain without end: a file of 64 KiB, not more" {
	local file
	cat >"$T/ssh" <<-END
		#!/bin/bash
		case " \$* " in *' -N -- '*) "$T/complain" >&2 & esac
		exec ssh "\$@"
	END
	printf '#!/bin/sh\necho $$ >%s\nexec yes "Warning: ssh server tried X11 forwarding."\n' "$T/complainer" >"$T/complain"
	chmod 755 "$T/ssh" "$T/complain"
	set_to ssh "$T/ssh"
	prepared
	file=$(echo "$STATE"/share/*.err)
	wait_for 20 has_bytes "$file" 65536
	wait_for 20 eval '[[ -z $(tr -d "\0" 2>/dev/null <"/proc/$(<"$T/complainer")/cmdline") ]]' || { # a zombie has none
		kill -KILL "$(<"$T/complainer")"
		fail "it goes on, $(stat -c %s "$file") bytes so far"
	}
	assert_equal "$(stat -c %s "$file")" 65536
	echo 'echo in' >"$T/script"
	run -0 novajob run "$T/script" build_script
	assert_output in
	novajob cleanup
}

@test "a server of the pool that prints without end: a log of 16 MiB, not more" {
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	set_to pool 1
	set_to ready-command "test ! -e $T/flood || exec yes \"$(printf 'x%.0s' {1..200})\""
	set_to ready-timeout 60s
	novajob pool fill
	touch "$T/flood"
	prepared # takes the server; the fill that it starts makes one that floods pool.log
	grep 'warm pool' "$T/prepare.log"
	wait_for 40 has_bytes "$STATE/pool.log" $((16 << 20))
	wait_for 30 nobody_left
	assert_equal "$(stat -c %s "$STATE/pool.log")" $((16 << 20))
	novajob cleanup
	set_to pool 0
	novajob pool fill
	assert_equal "$(servers_of "$JOB_ID"; cloud servers | grep -c builder-pool)" $'0\n0'
}

# ---- the page

@test "every test that novajob-security(7) names is there" {
	local file name count=0 page=$TESTS/../man/novajob-security.7
	while IFS=: read -r file name; do
		name=${name# }
		# the whole name, or its first words
		grep -qE "^@test \"$(sed 's/[][\.*^$()+?{}|]/\\&/g' <<<"$name")[^a-z]" "$TESTS/$file" || fail "$file has no test '$name'"
		((++count))
	done < <(sed -n 's/^\.\\" test: //p' "$page")
	((count >= 40))
	# what people read is what was looked for
	diff <(sed -n 's/^\.\\" test: //p' "$page") <(sed -n 's/^\.Pq Pa \([a-z]*\.bats\) : No /\1: /p' "$page")
	# each item of a list behind "Cannot:" has its tests behind it
	run awk '/^Cannot:/ { claims = 1 }
		/^\.It/ && claims { if (open) print "no test: line " open; open = NR }
		/^\.\\" test: / { open = 0 }
		/^\.El/ { if (open) print "no test: line " open; open = claims = 0 }' "$page"
	assert_output ''
}
