# shellcheck shell=bash
# real.bash - what the bats files here share: a real cloud in place of the simulated one of lib.bash.
# Load it behind lib: it takes the place of `cloud` and settings_file.
#
# The cloud is the one of tests/openstack/up; or, with NOVAJOB_TEST_CLOUD=env, the one that OS_* of the environment opens,
# with NOVAJOB_TEST_IMAGE, _FLAVOR, _NETWORK, _SECURITY_GROUP, _KEY_PAIR, _PRIVATE_KEY, _USERNAME and _SSH_PORT (22).

export CLOUD_KIND=OpenStack FAULT_WAIT=60 # a deletion takes its time
HERE=$TESTS/openstack
TOOLS=${NOVAJOB_TOOLS:-$TESTS/../build/tools}


own_cloud() {
	[[ ${NOVAJOB_TEST_CLOUD:-} != env ]]
}

# Skip a test that needs more than an ordinary project of a cloud.
needs_own_cloud() {
	own_cloud || skip "the given cloud has no knobs, no second project, no odd names"
}

# In setup_file. Bats' descriptor 3 must not reach the daemons.
real_up() {
	export TEST_OPENSTACK=${TEST_OPENSTACK:-${TMPDIR:-/tmp}/novajob-openstack}
	mkdir -p "$CLOUD"
	[[ -x $NOVAJOB ]] || {
		echo "no $NOVAJOB: make it first" >&2
		return 1
	}
	if own_cloud; then
		[[ $(id -u) == 0 ]] || skip "the real OpenStack needs root"
		[[ $(cat /etc/debian_version 2>/dev/null) == 12* ]] || skip "the real OpenStack needs Debian 12"
		"$HERE/status" >/dev/null 2>&1 || touch "$BATS_FILE_TMPDIR/started"
		# what an interrupted start has left may be half made: once more from nothing
		if ! "$HERE/up" >"$BATS_FILE_TMPDIR/up.log" 2>&1 3>&- &&
			! { "$HERE/down" --wipe && "$HERE/up"; } >>"$BATS_FILE_TMPDIR/up.log" 2>&1 3>&-; then
			cat "$BATS_FILE_TMPDIR/up.log" >&2
			return 1
		fi
		cp "$TEST_OPENSTACK"/openrc* "$TEST_OPENSTACK/id_ed25519" "$CLOUD"
	else
		[[ -s $BATS_FILE_TMPDIR/given && -n ${NOVAJOB_TEST_IMAGE:-} && -n ${NOVAJOB_TEST_FLAVOR:-} &&
			-n ${NOVAJOB_TEST_USERNAME:-} && -n ${NOVAJOB_TEST_PRIVATE_KEY:-} ]] ||
			skip "NOVAJOB_TEST_CLOUD=env without OS_* or NOVAJOB_TEST_IMAGE, _FLAVOR, _USERNAME, _PRIVATE_KEY"
		mv "$BATS_FILE_TMPDIR/given" "$CLOUD/openrc"
	fi
	api "$CLOUD" openrc
}

real_down() {
	own_cloud && [[ -e $BATS_FILE_TMPDIR/started ]] || return 0
	"$HERE/down" --wipe 3>&-
}

# In setup. novajob takes names like these for settings it does not know; the tests go on seeing them.
real_setup() {
	novajob_setup
	export -n NOVAJOB_TOOLS "${!NOVAJOB_TEST_@}"
}

# api DIR OPENRC: DIR/api.json for `servers`.
api() {
	(
		# shellcheck disable=SC1090
		. "$CLOUD/$2"
		printf '%s\n' 'token issue -f json' 'catalog list -f json' | /usr/bin/openstack |
			jq -s '{token: .[0].id, url: [.[1][] | select(.Type == "compute") | .Endpoints[] |
				select(.interface == "public" and .region == (env.OS_REGION_NAME // .region)) | .url][0]}'
	) >"$1/api.json"
}

# As lib's: cloud servers, cloud knobs JSON.
cloud() {
	case $1 in
	servers) "$HERE/servers" "${2:-$CLOUD}" ;;
	knobs)
		own_cloud || return 0
		printf '%s\n' "$2" >"$TEST_OPENSTACK/knobs.new"
		mv "$TEST_OPENSTACK/knobs.new" "$TEST_OPENSTACK/knobs.json"
		;;
	*) return 64 ;;
	esac
}

# knob MEMBERS: a rule for the servers of this test's job.
knob() {
	cloud knobs "[{\"match\": \"-job-$JOB_ID\$\", $1}]"
}

settings_file() {
	local image=builder-one flavor=m1.tiny network=ci-net group=ci key=ci-key user=cloud file=$CLOUD/id_ed25519
	if ! own_cloud; then
		image=$NOVAJOB_TEST_IMAGE flavor=$NOVAJOB_TEST_FLAVOR network=${NOVAJOB_TEST_NETWORK:-}
		group=${NOVAJOB_TEST_SECURITY_GROUP:-} key=${NOVAJOB_TEST_KEY_PAIR:-} user=$NOVAJOB_TEST_USERNAME
		file=$NOVAJOB_TEST_PRIVATE_KEY
	fi
	cat <<-END
		flavor = $flavor
		image = $image
		${network:+network = $network}
		${group:+security-group = $group}
		${key:+key-pair = $key}
		username = $user
		private-key = $file
		ssh-port = ${NOVAJOB_TEST_SSH_PORT:-22}
		ssh-timeout = 3m
		delete-wait = 30s
		stop-grace = 2
		busy-timeout = 0
		openstack = /usr/bin/openstack
		state-dir = $STATE
	END
}

# client VERSION: the path of one that tests/setup has made; skips without.
client() {
	[[ $1 != 6.0 ]] || { echo /usr/bin/openstack; return; }
	realpath "$TOOLS/client-$1/bin/openstack"
}

needs_client() {
	[[ $1 == 6.0 || -x $TOOLS/client-$1/bin/openstack ]] || skip "no openstack client $1: tests/setup all makes it"
}

# nothing_left [ID]: no server of the job is in the cloud; one whose deletion is under way gets the time.
nothing_left() {
	wait_for 60 no_server_of "${1:-$JOB_ID}"
}
