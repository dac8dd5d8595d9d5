#!/usr/bin/env bats
# doctor.bats - novajob doctor: each check says ok, or FAIL with what to do.

bats_require_minimum_version 1.5.0

setup_file() {
	load lib
	cloud_up
}

teardown_file() {
	load lib
	cloud_down
}

setup() {
	load lib
	novajob_setup
}

@test "all is well: every check is ok, exit 0, nothing is created" {
	run -0 novajob doctor
	for check in settings user ssh openstack credentials quota flavor network security-group image private-key key-pair; do
		assert_line --regexp "^ok +$check "
	done
	run -0 cloud requests 'POST /compute'
	assert_output ''
}

@test "--json is one object per line" {
	run -0 bash -c '"$NOVAJOB" --settings="$SETTINGS" doctor --json | jq -rs "map(select(.check == \"flavor\"))[0].verdict"'
	assert_output ok
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
}

@test "a key that is not the key pair's" {
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/other"
	set_to private-key "$BATS_TEST_TMPDIR/other"
	run -2 novajob doctor
	assert_line --regexp '^FAIL +key-pair .*not the public half'
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
	assert_line --regexp '^warn +quota '
	assert_line --regexp '^warn +image '
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

@test "a security group that does not open the port of sshd is a warning" {
	set_to security-group web
	run -0 novajob doctor
	assert_line --regexp '^warn +ssh-port .*no rule of web lets TCP port .*security group rule create'
	set_to security-group 'web, ci'
	run -0 novajob doctor
	assert_line --regexp '^ok +ssh-port '
	set_to security-group web
	set_to ssh-port 443
	run -0 novajob doctor
	assert_line --regexp '^ok +ssh-port +TCP port 443 is open'
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

@test "a clock that is ahead of the cloud's by days is wrong" {
	run -2 faketime '+3 days' "$NOVAJOB" --settings="$SETTINGS" doctor
	assert_line --regexp '^FAIL +clock '
}

# config NAME=VALUE...: a config.toml with one runner of ours, README's, and these lines of it changed; "" removes one.
config() {
	local change
	cat >"$BATS_TEST_TMPDIR/config.toml" <<-'END'
		concurrent = 10
		shutdown_timeout = 120   # seconds

		[[runners]]
		  name = "other"
		  executor = "docker"

		[[runners]]
		  name = 'ours'
		  executor = "custom"
		  builds_dir = "/home/ci/builds"
		  cache_dir = "/home/ci/cache"
		  [runners.custom]
		    config_exec = "/usr/local/bin/novajob"
		    prepare_exec = "/usr/local/bin/novajob"
		    run_exec = "/usr/local/bin/novajob"
		    cleanup_exec = "/usr/local/bin/novajob"
		    graceful_kill_timeout = 60
		    cleanup_exec_timeout = 300
	END
	for change; do
		sed -i "s|^\( *\)${change%%=*} = .*|\1${change%%=*} = ${change#*=}|; /^ *[a-z_]* = \$/d" "$BATS_TEST_TMPDIR/config.toml"
	done
}

# What doctor says of config.toml.
config_said() {
	novajob doctor --config="$BATS_TEST_TMPDIR/config.toml" | grep ' runner-config ' || true
}

@test "config.toml: README's is fine, what would break jobs is named" {
	config
	run -0 config_said
	assert_output --regexp "^ok +runner-config +runner 'ours'$"
	while IFS='|' read -r change verdict text; do
		config "$change"
		run -0 config_said
		assert_line --regexp "^$verdict +runner-config .*$text"
	done <<-'END'
		cleanup_exec=|FAIL|cleanup_exec is not set
		prepare_exec=|FAIL|prepare_exec is not set
		builds_dir=|FAIL|builds_dir is set neither
		cache_dir=|FAIL|cache_dir is set neither
		graceful_kill_timeout=600|warn|5 minutes or more
		graceful_kill_timeout=|warn|5 minutes or more
		graceful_kill_timeout=3|warn|shorter than stop-grace
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

@test "a config.toml that is named has to be there" {
	run -2 novajob doctor --config=/nonexistent/config.toml
	assert_line --regexp '^FAIL +runner-config .*/nonexistent/config.toml'
}

# systemctl_says RUNNING ACTIVE KILLSIGNAL: a stand-in, since no systemd runs where tests do.
systemctl_says() {
	mkdir -p "$BATS_TEST_TMPDIR/bin"
	cat >"$BATS_TEST_TMPDIR/bin/systemctl" <<-END
		#!/bin/sh
		case \$1 in
		is-system-running) echo $1 ;;
		is-active) echo $2 ;;
		show) printf 'LoadState=loaded\nKillSignal=$3\nTimeoutStopUSec=2h\n' ;;
		esac
	END
	chmod +x "$BATS_TEST_TMPDIR/bin/systemctl"
}

@test "systemd: sweep's timer and the runner's unit" {
	local PATH=$BATS_TEST_TMPDIR/bin:$PATH
	systemctl_says running active 3
	run -0 novajob doctor
	assert_line --regexp '^ok +sweep-timer '
	assert_line --regexp '^ok +runner-unit +drains by SIGQUIT, for at most 2h'
	systemctl_says degraded inactive 15
	run -0 novajob doctor
	assert_line --regexp '^warn +sweep-timer .*enable --now novajob-sweep.timer'
	assert_line --regexp '^warn +runner-unit .*KillSignal .* is 15'
	systemctl_says offline inactive 15
	run -0 novajob doctor
	assert_line --regexp '^ok +sweep-timer +no systemd here'
}

@test "--boot plays one whole job and leaves nothing" {
	run -0 novajob doctor --boot
	for stage in config prepare 'run 1' 'run 2' cleanup; do
		assert_line --regexp "^ok +boot $stage +[0-9.]+ s$"
	done
	assert_line --regexp '^ok +boot +a whole job took [0-9.]+ s$'
	assert_line --regexp '^novajob: ready in '
	assert_line --regexp '^novajob doctor: Linux '
	run -0 cloud servers
	refute_output --partial gitlab-builder-
	run -1 compgen -G '/tmp/novajob-doctor.*'
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

@test "novajob(1) explains every check" {
	local page=$TESTS/../man/novajob.1 check
	grep -ohE 'doctor_tell(_fault)?\([^;]*' "$TESTS"/../src/*doctor*.c | sed -n 's/^[^"]*"\([a-z-]*\)".*/\1/p' | sort -u >"$BATS_TEST_TMPDIR/checks"
	run -0 grep -cE . "$BATS_TEST_TMPDIR/checks"
	((output >= 15))
	sed -n '/^The checks, and why/,/^\.El/p' "$page" >"$BATS_TEST_TMPDIR/page"
	while read -r check; do
		grep -qE "^\.It Sy (.*, )?$check( |$)" "$BATS_TEST_TMPDIR/page" ||
			grep -qE "^\.It Sy .* $check( ,|$)" "$BATS_TEST_TMPDIR/page" || fail "novajob(1) says nothing of '$check'"
	done < <(grep -vx novajob "$BATS_TEST_TMPDIR/checks")
}
