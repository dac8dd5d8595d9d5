#!/usr/bin/env bats
# doctor.bats - novajob doctor: each check says ok, or FAIL with what to do.

load lib
with_cloud

@test "all is well: every check is ok, exit 0, nothing is created" {
	run -0 novajob doctor
	for check in settings user ssh openstack credentials quota clock flavor network security-group ssh-port image private-key key-pair pool; do
		assert_line --regexp "^ok +$check "
	done
	run -0 cloud requests 'POST /compute'
	assert_output ''
}

@test "--json: stdout is one object per line, with --boot too; what the stages say is on stderr" {
	run -0 --separate-stderr novajob doctor --json --boot
	local said=${#lines[@]}
	run -0 jq -rs 'map(select(keys == ["check", "text", "verdict"])) | "\(length) \(map(.check) | contains(["flavor", "boot run 2", "boot"])) \(map(.verdict) | unique)"' <<<"$output"
	assert_output "$said true [\"ok\",\"warn\"]"
	[[ $stderr == *'novajob: ready in '* ]]
}

@test "a setting that is missing, and what compat lets jobs do" {
	sed -i '/^image/d' "$SETTINGS"
	run -2 novajob doctor --compat=python
	assert_line --regexp '^FAIL +settings +image is not set; set it in '
	assert_line --regexp '^warn +compat +python: every job may choose '
}

@test "a user without a passwd entry; a state directory that cannot be written to, in /tmp" {
	if [[ $(id -u) != 0 ]]; then skip 'only root can be another uid'; fi
	command -v setpriv >/dev/null || skip 'no setpriv'
	unset "${!OS_@}"
	chmod 0711 "$BATS_TEST_TMPDIR" "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR"
	install -m 0755 "$NOVAJOB" "$BATS_TEST_TMPDIR/novajob"
	install -d -m 0500 -o 123456 "$STATE"
	run -2 setpriv --reuid=123456 --regid=0 --clear-groups "$BATS_TEST_TMPDIR/novajob" --settings=/dev/null --state-dir="$STATE" doctor
	assert_line --regexp '^FAIL +user +user id 123456 has no passwd entry: ssh refuses'
	assert_line --regexp "^FAIL +state-dir +'$STATE' cannot be written to by this user"
}

@test "a state directory that does not outlive a reboot, that has no room, whose name is too long" {
	run -0 novajob doctor
	assert_line --regexp "^warn +state-dir +'$STATE' does not outlive a reboot"
	local long=$BATS_TEST_TMPDIR/123456789012345678901234567890/123456789012345678901234567890
	mkdir -p "$long"
	run -0 novajob --state-dir="$long" doctor
	assert_line --regexp "^warn +state-dir +'$long' is too long a name for the socket"
	run -0 novajob --state-dir="$long" doctor --ssh-share=no
	refute_line --partial 'too long a name'
	unshare --mount true 2>/dev/null || skip 'only root can mount'
	# shellcheck disable=SC2016 # expanded by the sh inside
	run -0 unshare --mount sh -c 'mount -t tmpfs -o size=4m,mode=0700 tmpfs "$1" && shift && exec "$@"' - "$STATE" \
		"$NOVAJOB" --settings="$SETTINGS" doctor
	assert_line --regexp "^warn +state-dir +'$STATE' has less than 16 MiB free"
}

@test "names the cloud does not know" {
	set_to flavor m1.none
	set_to network no-net
	set_to image no-image
	set_to security-group no-group
	set_to key-pair no-key
	run -2 novajob doctor
	for check in flavor network image security-group key-pair; do
		assert_line --regexp "^FAIL +$check "
	done
}

@test "wrong credentials: FAIL and a hint, no password shown" {
	export OS_PASSWORD=hunter2
	run -2 novajob doctor
	assert_line --regexp '^FAIL +credentials .*openstack token issue'
	refute_output --partial hunter2
	# all further questions are left out
	refute_line --regexp '^[a-zA-Z]+ +(quota|clock|flavor|network|image|security-group|key-pair) '
}

@test "a key that is not the key pair's" {
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/other"
	set_to private-key "$BATS_TEST_TMPDIR/other"
	run -2 novajob doctor
	assert_line --regexp '^FAIL +key-pair .*not the public half'
}

@test "a key that nobody is there to open; shared keys without a key pair; user-data that cloud-init does not know" {
	ssh-keygen -q -t ed25519 -N secret -f "$BATS_TEST_TMPDIR/closed"
	echo 'hello' >"$BATS_TEST_TMPDIR/data"
	set_to private-key "$BATS_TEST_TMPDIR/closed"
	run -2 novajob doctor --user-data="$BATS_TEST_TMPDIR/data"
	assert_line --regexp '^FAIL +private-key .*without passphrase'
	assert_line --regexp "^FAIL +user-data .*$BATS_TEST_TMPDIR/data"
	set_to private-key "$CLOUD/id_ed25519"
	sed -i '/^key-pair/d' "$SETTINGS"
	echo '#cloud-config' >"$BATS_TEST_TMPDIR/data"
	run -0 novajob doctor --keys=shared --user-data="$BATS_TEST_TMPDIR/data"
	assert_line --regexp '^warn +key-pair +not set: the image has to bring'
	assert_line --regexp "^ok +user-data +$BATS_TEST_TMPDIR/data"
}

@test "missing programs" {
	set_to ssh /nonexistent/ssh
	set_to openstack /nonexistent/openstack
	run -2 novajob doctor
	assert_line --regexp '^FAIL +ssh '
	assert_line --regexp '^FAIL +openstack '
}

@test "a full quota and an ambiguous image are warnings" {
	cloud knobs '[{"quota": {"instances": 0}}]'
	set_to image builder
	run -0 novajob doctor
	assert_line --regexp '^warn +quota +all 0 instances are in use'
	assert_line --regexp '^warn +image +2 images fit builder: [0-9a-f-]{36}, updated last, is taken'
}

@test "a flavor beyond the quota, and an image beyond the flavor: no such server can be made" {
	cloud knobs '[{"quota": {"cores": 0}}]'
	set_to image large
	run -2 novajob doctor
	assert_line --regexp "^FAIL +flavor +m1.tiny has 1 cores, the project's quota is 0 in all"
	assert_line --regexp '^FAIL +image +large needs 4 GiB of disk, flavor m1.tiny has 1:'
	cloud knobs '[{"quota": {"ram": 100}}]'
	set_to flavor m1.memory
	run -2 novajob doctor
	assert_line --regexp "^FAIL +flavor +m1.memory has 128 MiB of memory, the project's quota is 100 in all"
	assert_line --regexp '^FAIL +image +large needs 256 MiB of memory, flavor m1.memory has 128:'
	cloud knobs '[]'
	set_to flavor m1.small
	run -0 novajob doctor
	assert_line --regexp '^ok +image +large is '
	assert_line --regexp '^ok +flavor +m1.small is '
}

@test "a state directory others can write to" {
	mkdir -m 777 "$BATS_TEST_TMPDIR/open"
	chmod 777 "$BATS_TEST_TMPDIR/open"
	set_to state-dir "$BATS_TEST_TMPDIR/open"
	run -2 novajob doctor
	assert_line --regexp '^FAIL +state-dir '
}

@test "every name of a list is looked at; networks that belong together, too" {
	set_to flavor 'm1.tiny, m1.none'
	set_to network 'ci-net + no-net'
	run -2 novajob doctor
	assert_line --regexp '^ok +flavor +m1.tiny'
	assert_line --regexp '^FAIL +flavor .*m1.none'
	assert_line --regexp '^ok +network +ci-net'
	assert_line --regexp '^FAIL +network .*no-net'
}

@test "the names of sections and of image-map are looked at, too, and the line says where they stand" {
	local first
	set_to image-map 'debian:* -> builder-one; ubuntu:* -> no-ubuntu; alpine:*'
	first=$(grep -c '' "$SETTINGS")
	cat >>"$SETTINGS" <<-'END'
		[project infra/*]
		flavor         = m1.small, m1.mistyped
		security-group = web
		[project infra/* protected]
		network        = ci-net + backbone
		image          = no-image
		floating-network = ci-net
		availability-zone = nova, nowhere
	END
	run -2 novajob doctor
	assert_line --regexp '^ok +flavor +m1.small is '
	assert_line --regexp "^FAIL +flavor +$SETTINGS:$((first + 2)): .*m1.mistyped"
	assert_line --regexp '^warn +ssh-port +no rule of web '
	assert_line --regexp "^FAIL +network +$SETTINGS:$((first + 5)): .*backbone"
	assert_line --regexp "^FAIL +image +$SETTINGS:$((first + 6)): .*no-image"
	assert_line --regexp "^FAIL +floating-network +$SETTINGS:$((first + 7)): ci-net is no external network"
	assert_line --regexp "^FAIL +image +$SETTINGS:$first: .*no-ubuntu"
	assert_line --regexp '^ok +zone +nova is available'
	assert_line --regexp "^FAIL +zone +$SETTINGS:$((first + 8)): nowhere is no zone "
}

@test "zones that cannot be listed" {
	cloud knobs '[{"request": "GET /compute/.*os-availability-zone", "status": 403}]'
	run -2 novajob doctor --availability-zone=nova
	assert_line --regexp '^FAIL +zone +--availability-zone: cannot list the availability zones: .*403'
}

@test "security groups: whom they let in to sshd is said, and that they let nobody in" {
	set_to security-group web
	run -0 novajob doctor
	assert_line --regexp '^warn +ssh-port +no rule of web lets TCP port [0-9]+ in: .*security group rule create'
	set_to security-group 'web, office, members'
	run -0 novajob doctor
	assert_line --regexp '^ok +ssh-port +web, office, members opens TCP port [0-9]+ to 192.0.2.0/24, 2001:db8::/32, servers of group [0-9a-f-]+$'
	set_to security-group members
	run -0 novajob doctor
	assert_line --regexp '^warn +ssh-port +members opens TCP port [0-9]+ only to servers of group [0-9a-f-]+: this host has to be one'
	set_to security-group web
	set_to ssh-port 443
	run -0 novajob doctor
	assert_line --regexp '^ok +ssh-port +web opens TCP port 443 to all of IPv4$'
	sed -i '/^security-group/d' "$SETTINGS"
	run -0 novajob doctor
	assert_line --regexp '^ok +ssh-port +default opens TCP port 443 '
}

@test "floating-network has to be an external network" {
	set_to floating-network ci-net
	run -2 novajob doctor
	assert_line --regexp '^FAIL +floating-network .*openstack network list --external'
	set_to floating-network public
	run -0 novajob doctor
	assert_line --regexp '^ok +floating-network '
}

@test "keys per job: no key pair is asked for, but ssh-keygen" {
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	run -0 novajob doctor
	assert_line --regexp '^ok +keys +each job gets its own'
	refute_line --regexp '^(ok|warn|FAIL) +(private-key|key-pair) '
	set_to ssh-keygen /nonexistent/ssh-keygen
	run -2 novajob doctor
	assert_line --regexp '^FAIL +ssh-keygen .*/nonexistent/ssh-keygen'
}

@test "a clock that is days ahead of the cloud's, or behind it, or that cannot be compared" {
	run -2 faketime '+3 days' "$NOVAJOB" --settings="$SETTINGS" doctor
	assert_line --regexp '^FAIL +clock +it is wrong: a token of just now has ended [0-9]+ s ago'
	run -0 faketime '-30 days' "$NOVAJOB" --settings="$SETTINGS" doctor
	assert_line --regexp '^warn +clock +it may be behind: by it a token of just now lives for (29|30|31) days'
	cat >"$BATS_TEST_TMPDIR/openstack" <<-'END'
		#!/bin/sh
		case "$*" in token*) echo 'Forbidden (HTTP 403)' >&2 && exit 1 ;; esac
		exec openstack "$@"
	END
	chmod +x "$BATS_TEST_TMPDIR/openstack"
	run -0 novajob doctor --openstack="$BATS_TEST_TMPDIR/openstack" --openstack-session=no
	assert_line --regexp "^warn +clock +cannot be compared with the cloud's: .*403"
}

# config NAME=VALUE...: a config.toml with one runner of ours, README's, and these lines of it changed; "" removes one.
config() {
	local change bin=$BATS_TEST_TMPDIR/bin
	mkdir -p "$bin"
	ln -sf "$(realpath "$NOVAJOB")" "$bin/novajob"
	cat >"$BATS_TEST_TMPDIR/config.toml" <<-END
		concurrent = 10
		shutdown_timeout = 120   # seconds

		[[runners]]
		  name = "other"
		  executor = "docker"
		  environment = ["OS_PASSWORD=not-ours"]

		[[runners]]
		  name = 'ours'
		  executor = "custom"
		  shell = "bash"
		  environment = ["A=b"]
		  builds_dir = "/home/ci/builds"
		  cache_dir = "/home/ci/cache"
		  [runners.custom]
		    config_exec = "$bin/novajob"
		    config_args = ["--flavor=m1.small", "config"] # what differs here
		    prepare_exec = "$bin/novajob"
		    prepare_args = ["prepare"]
		    prepare_exec_timeout = 3600
		    run_exec = "$bin/novajob"
		    run_args = ["run"]
		    cleanup_exec = "$bin/novajob"
		    cleanup_args = ["cleanup"]
		    graceful_kill_timeout = 60
		    cleanup_exec_timeout = 300
	END
	for change; do
		sed -i "8,\$s|^\( *\)${change%%=*} = .*|\1${change%%=*} = ${change#*=}|; 1,2s|^${change%%=*} = .*|${change%%=*} = ${change#*=}|; /^ *[a-z_]* = \$/d" \
			"$BATS_TEST_TMPDIR/config.toml"
	done
}

# What doctor says of config.toml; no cloud is asked but for the quota.
config_said() {
	novajob doctor "${@---openstack=false}" --config="$BATS_TEST_TMPDIR/config.toml" 2>/dev/null | grep ' runner-config ' || true
}

@test "config.toml: README's is fine, what would break jobs is named" {
	config
	run -0 config_said
	assert_output --regexp "^ok +runner-config +runner 'ours'$"
	while IFS='|' read -r change verdict text; do
		config "$change"
		if [[ $change == concurrent=* ]]; then run -0 config_said --verbose; else run -0 config_said; fi
		assert_line --regexp "^$verdict +runner-config .*$text"
		[[ $(grep -cE '^(warn|FAIL) +runner-config ' <<<"$output") == 1 || $text == no*runners* ]] || fail "$change: $output"
	done <<-'END'
		cleanup_exec=|FAIL|cleanup_exec is not set
		prepare_exec=|FAIL|prepare_exec is not set
		builds_dir=|FAIL|builds_dir is set neither
		cache_dir=|FAIL|cache_dir is set neither
		graceful_kill_timeout=600|warn|5 minutes or more
		graceful_kill_timeout=|warn|5 minutes or more
		graceful_kill_timeout=0|warn|5 minutes or more
		graceful_kill_timeout=3|warn|shorter than stop-grace
		prepare_exec_timeout=600|warn|prepare_exec_timeout is shorter than
		shell="pwsh"|warn|shell is not bash
		environment=["A=b", "OS_PASSWORD=x"]|FAIL|environment has OS_ variables: every job sees them
		prepare_exec="/nonexistent/novajob"|FAIL|prepare_exec '/nonexistent/novajob' cannot be run: No such file
		config_args=["config", "--flavor=m1.small"]|FAIL|config_exec calls another stage: it is novajob with config_args that end with "config"
		prepare_args=|FAIL|prepare_exec calls another stage
		cleanup_args=["prepare"]|FAIL|cleanup_exec calls another stage.* or a link named cleanup.py
		cleanup_exec_timeout=20|warn|under 3 minutes
		shutdown_timeout=|warn|shutdown_timeout is 30 s
		concurrent=501|warn|concurrent is 501, the quota 500
		executor="shell"|warn|no \[\[runners\]\]
	END
	set_to builds-dir /b
	config builds_dir=
	run -0 config_said
	refute_line --partial builds_dir
}

@test "config.toml: arrays over several lines are not guessed at; the Python executor's links need no arguments" {
	config config_args='[' run_args="[ '-vv', 'run' ]"
	sed -i "s|^ *config_args = .*|&\n      \"config\",\n    ]|" "$BATS_TEST_TMPDIR/config.toml"
	run -0 config_said
	assert_output --regexp "^ok +runner-config +runner 'ours'$"
	local bin=$BATS_TEST_TMPDIR/bin
	for link in config.sh prepare.py run.py cleanup.py; do ln -sf novajob "$bin/$link"; done
	config config_exec="\"$bin/config.sh\"" prepare_exec="\"$bin/prepare.py\"" run_exec="\"$bin/run.py\"" cleanup_exec="\"$bin/cleanup.py\""
	sed -i '/_args/d' "$BATS_TEST_TMPDIR/config.toml"
	run -0 config_said
	assert_output --regexp "^ok +runner-config +runner 'ours'$"
	sed -i 's|cleanup\.py|prepare.py|' "$BATS_TEST_TMPDIR/config.toml"
	run -0 config_said
	assert_line --regexp '^FAIL +runner-config .*cleanup_exec calls another stage'
}

@test "a config.toml that is named has to be there" {
	run -2 novajob doctor --config=/nonexistent/config.toml
	assert_line --regexp '^FAIL +runner-config .*/nonexistent/config.toml'
}

# systemctl_says RUNNING NAME=VALUE...: a stand-in, since no systemd runs where tests do; what `show` tells of any unit, and
# with ACTIVE=UNIT... which units `is-active` says are.
systemctl_says() {
	local running=$1 active=''
	shift
	mkdir -p "$BATS_TEST_TMPDIR/bin"
	: >"$BATS_TEST_TMPDIR/shown"
	for word; do
		case $word in
		ACTIVE=*) active=${word#*=} ;;
		*) echo "$word" >>"$BATS_TEST_TMPDIR/shown" ;;
		esac
	done
	cat >"$BATS_TEST_TMPDIR/bin/systemctl" <<-END
		#!/bin/sh
		case \$1 in
		is-system-running) echo $running ;;
		is-active) case " $active " in *" \$2 "*) echo active ;; *) echo inactive ;; esac ;;
		show) cat $BATS_TEST_TMPDIR/shown ;;
		esac
	END
	chmod +x "$BATS_TEST_TMPDIR/bin/systemctl"
	PATH=$BATS_TEST_TMPDIR/bin:$PATH
}

# units_say: what doctor says of units and timers; no cloud is asked.
units_say() {
	novajob doctor --openstack=false "$@" | grep -E ' (runner-unit|sweep-timer|pool|pool-timer) '
}

@test "systemd: a unit that drains, and timers that run" {
	systemctl_says running ACTIVE=novajob-sweep.timer LoadState=loaded KillSignal=3 KillMode=mixed TimeoutStopUSec=2h User= \
		Result=success ConditionResult=yes ConditionTimestampMonotonic=17
	run -0 units_say
	assert_line --regexp '^ok +sweep-timer +novajob-sweep.timer is active$'
	assert_line --regexp '^ok +runner-unit +drains by SIGQUIT, for at most 2h$'
	systemctl_says running LoadState=not-found
	run -0 units_say
	assert_line --regexp '^ok +runner-unit +no gitlab-runner.service on this host'
}

@test "systemd: a unit as gitlab-runner installs it breaks jobs off; another user's is said" {
	systemctl_says degraded LoadState=loaded KillSignal=15 KillMode=control-group 'TimeoutStopUSec=1min 30s' User=somebody
	run -0 units_say
	assert_line --regexp '^warn +runner-unit +KillSignal of gitlab-runner.service is 15, not SIGQUIT'
	assert_line --regexp '^warn +runner-unit +KillMode of gitlab-runner.service is control-group: a stop signals its novajob processes'
	assert_line --regexp '^warn +runner-unit +TimeoutStopSec of gitlab-runner.service is 1min 30s: jobs that take longer are killed'
	assert_line --regexp "^warn +runner-unit +gitlab-runner.service runs as somebody, this as $(id -un): "
	for fine in infinity '1h 30min' 1d; do
		systemctl_says running LoadState=loaded KillSignal=3 KillMode=process "TimeoutStopUSec=$fine" "User=$(id -un)"
		run -0 units_say
		assert_line --regexp "^ok +runner-unit +drains by SIGQUIT, for at most $fine"
	done
}

@test "sweep: its timer is not active, does nothing, fails; or it has worked, by whomever" {
	systemctl_says running LoadState=not-found
	run -0 units_say
	assert_line --regexp '^warn +sweep-timer +novajob-sweep.timer is not active: .*enable --now novajob-sweep.timer'
	systemctl_says running ACTIVE=novajob-sweep.timer LoadState=not-found Result=success ConditionResult=no ConditionTimestampMonotonic=17
	run -0 units_say
	assert_line --regexp '^warn +sweep-timer +.*its service does nothing: there is neither /etc/novajob/cloud.env'
	systemctl_says running ACTIVE=novajob-sweep.timer LoadState=not-found Result=exit-code ConditionResult=yes ConditionTimestampMonotonic=17
	run -0 units_say
	assert_line --regexp '^warn +sweep-timer +.*the last sweep failed \(exit-code\): see .*journalctl'
	systemctl_says offline
	run -0 units_say
	assert_line --regexp "^warn +sweep-timer +no 'novajob sweep' has worked in the last 30 minutes, and there is no systemd"
	refute_line --partial runner-unit
	run -0 novajob sweep
	run -0 units_say
	assert_line --regexp "^ok +sweep-timer +'novajob sweep' has worked 0 minutes ago"
	touch -d '-31 minutes' "$STATE/sweep.lock"
	run -0 units_say
	assert_line --regexp "^warn +sweep-timer "
}

@test "pool: possible, and looked after by its timer" {
	systemctl_says running LoadState=not-found
	run -0 units_say --pool=2 --keys=per-job
	assert_line --regexp "^warn +pool +2 servers are wanted, but no 'novajob pool fill' has worked in the last 30 minutes"
	assert_line --regexp '^warn +pool-timer +novajob-pool.timer is not active: .*enable --now novajob-pool.timer'
	systemctl_says running ACTIVE=novajob-pool.timer LoadState=not-found
	touch "$STATE/pool.lock"
	run -0 units_say --pool=2 --keys=per-job
	assert_line --regexp '^ok +pool +2 servers are wanted'
	refute_line --partial pool-timer
	run -2 novajob doctor --pool=2
	assert_line --regexp '^FAIL +pool +.*needs keys of its own for each server'
}

no_builder() {
	! cloud servers | grep gitlab-builder-
}

# nothing_left: of a job of doctor's, here and in the cloud.
nothing_left() {
	run -0 no_builder
	run -1 compgen -G '/tmp/novajob-doctor.*'
	run -1 compgen -G "$STATE/jobs/*"
	run -1 compgen -G "$STATE/share/*"
}

@test "--boot plays one whole job, shows where its seconds went, and leaves nothing" {
	cloud knobs '[{"match": ".", "spawn_delay": 2}]'
	# a timer is not waited for
	run -0 novajob doctor --boot --delete-by=timer
	for stage in config 'run 1' 'run 2' cleanup; do
		assert_line --regexp "^ok +boot $stage +[0-9.]+ s$"
	done
	assert_line --regexp '^ok +boot prepare +[0-9.]+ s: create [0-9.]+, build [0-9.]+, ssh [0-9.]+, the rest [0-9.]+$'
	assert_line --regexp '^ok +boot +a whole job took [0-9.]+ s, [0-9]+ % of it for prepare; nothing is left$'
	assert_line --regexp '^novajob: ready in '
	assert_line --regexp '^novajob doctor: Linux '
	# the two seconds are where they were spent, and the parts make the whole
	grep '^ok *boot prepare ' <<<"$output" | tr -d ':,' |
		awk '{ exit !($9 >= 2 && $9 < $4 && ($7 + $9 + $11 + $14 - $4) ^ 2 < 0.001) }' || fail "$output"
	nothing_left
}

@test "--boot: a server that takes longer to go than delete-wait is said" {
	cloud knobs '[{"match": ".", "delete_delay": 5}]'
	run -0 novajob doctor --boot --delete-wait=0
	assert_line --regexp '^warn +boot +the server is not gone yet: .*sweep'
	refute_line --partial 'nothing is left'
	wait_for 30 no_builder
	run -0 faketime '+3 hours' "$NOVAJOB" --settings="$SETTINGS" sweep
	nothing_left
}

# boot_begins: doctor --boot in the background, $DOCTOR, until it has a server that takes long to boot.
boot_begins() {
	cloud knobs '[{"match": ".", "boot": 100}]'
	rm -f "$BATS_TEST_TMPDIR/log"
	"$NOVAJOB" --settings="$SETTINGS" doctor --boot >"$BATS_TEST_TMPDIR/log" 2>&1 3>&- &
	DOCTOR=$!
	started
	wait_for 60 grep -qs 'server is ACTIVE' "$BATS_TEST_TMPDIR/log" || fail "$(cat "$BATS_TEST_TMPDIR/log")"
}

@test "--boot: told to stop, by TERM, ^C or a closed terminal, it deletes the server and leaves nothing" {
	local signal code
	for signal in TERM INT HUP; do
		boot_begins
		kill -"$signal" "$DOCTOR"
		code=0
		wait "$DOCTOR" || code=$?
		assert_equal "$code" 2
		run -0 cat "$BATS_TEST_TMPDIR/log"
		assert_line --regexp '^FAIL +boot prepare '
		assert_line --regexp '^ok +boot cleanup '
		nothing_left
	done
}

@test "--boot: killed, its stages die with it, and sweep deletes the server when its time is over" {
	boot_begins
	kill -KILL "$DOCTOR"
	wait_started
	wait_for 10 nobody_left
	cloud knobs '[]'
	run -0 novajob sweep
	assert_output --partial 'its job may be running'
	run -0 faketime '+3 hours' "$NOVAJOB" --settings="$SETTINGS" sweep
	rm -r /tmp/novajob-doctor.*
	nothing_left
}

@test "--boot: a stage that fails is named, and cleanup comes all the same" {
	set_to flavor m1.absurd
	run -2 novajob doctor --boot
	assert_line --regexp '^FAIL +boot prepare +exit code 2 '
	refute_line --regexp ' boot run '
	assert_line --regexp '^ok +boot cleanup '
}

@test "--boot is not tried when a check has failed" {
	local before
	before=$(cloud requests 'POST /compute')
	set_to flavor m1.none
	run -2 novajob doctor --boot
	assert_line --regexp '^FAIL +boot +not tried'
	run -0 cloud requests 'POST /compute'
	assert_output "$before"
}

@test "novajob-doctor(7) has every warning and failure, by check and in its words, and no other" {
	python3 - "$TESTS/.." <<-'END'
		import glob, re, sys
		top = sys.argv[1]
		STRING = r'"(?:[^"\\]|\\.)*"'

		def strings(code):
		    """The adjacent string literals at the beginning of code as one; what a conversion prints becomes %."""
		    parts = re.match(r"(?:\s*(?:%s|PRId64))+" % STRING, code)
		    if not parts:
		        return None, code
		    text = "".join(s[1:-1].replace('\\"', '"') for s in re.findall(STRING, parts[0]))
		    return re.sub(r"%(?:[.0-9*]*[a-z]+|(?=[^%]))", "%", text), code[parts.end():].lstrip().removeprefix(",")

		said = set()
		for path in glob.glob(top + "/src/*doctor*.c"):
		    code = re.sub(r"/\*.*?\*/", "", open(path).read(), flags=re.S)
		    for place in re.finditer(r"DOCTOR_(WARN|FAIL)\b(?!\])", code):
		        verdict, rest = place[1].replace("WARN", "warn"), code[place.end():].lstrip().removeprefix(",").lstrip()
		        if rest.startswith("check,"):
		            continue    # doctor_tell_fault itself
		        if rest.startswith("stages[row].check,"):
		            check, rest = "boot", rest.split(",", 1)[1]
		        else:
		            check, rest = strings(rest)
		        text, _ = strings(rest)
		        if text is None:        # a row of a table
		            check, text = "runner-config", "runner '%': " + check
		        assert check and text, "what is said here? %s: %s" % (path, rest[:80])
		        said.add((check, verdict, text))
		    faults = re.findall(r'(?:doctor_tell_fault|tell_unknown)\([^();]*?, "([a-z-]+)",', code)
		    faults += re.findall(r'\bshow\([^();]*, "([a-z-]+)"\)', code)
		    said |= {(check, "FAIL", "%") for check in faults}

		page, checks = set(), []
		for line in open(top + "/man/novajob-doctor.7"):
		    if line.startswith(".Ss "):
		        checks = line[4:].strip().split(", ")
		    item = re.match(r'\.It Sy "(warn|FAIL): (.*)"$', line)
		    if item:
		        page |= {(check, item[1], item[2].replace('""', '"')) for check in checks}
		assert len(said) > 60, said

		def same(text, printed):
		    return re.fullmatch("[A-Z]+".join(map(re.escape, text.split("%"))), printed)

		def fits(one, other):
		    return one[:2] == other[:2] and same(one[2], other[2])

		missing = [s for s in sorted(said) if not any(fits(s, p) for p in page)]
		extra = [p for p in sorted(page) if not any(fits(s, p) for s in said)]
		assert not missing, "not in the manual: %s" % missing
		assert not extra, "only in the manual: %s" % extra
	END
}
