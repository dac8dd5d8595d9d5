#!/usr/bin/env bats
# container.bats - the image, built by buildah from Debian's packages (tests/debs) and a stand-in for gitlab-runner, and run
# without a container engine: a root file system mounted read-only, namespaces of its own for mounts and processes, and
# the image's own user, environment and entrypoint; whole jobs in it, on the simulated cloud.

bats_require_minimum_version 1.5.0

setup_file() {
	export BATS_TEST_TIMEOUT=1500
	load ../lib
	[[ $(id -u) == 0 ]] || return 0
	TOP=$(realpath "$BATS_TEST_DIRNAME/../..")
	debian=${NOVAJOB_TOOLS:-$TOP/build/tools}/debian
	B="buildah --root $BATS_FILE_TMPDIR/store --runroot $BATS_FILE_TMPDIR/run --storage-driver vfs"
	export BUILDAH_ISOLATION=chroot IMAGE=$BATS_FILE_TMPDIR/image.json ROOT
	# a base as gitlab-runner's image is one, with what Debian's own images have in dpkg.cfg.d
	mkdir "$BATS_FILE_TMPDIR/base"
	tar -C "$BATS_FILE_TMPDIR/base" -xf "$debian/plain.tar"
	echo 'deb [trusted=yes] file:/debs ./' >"$BATS_FILE_TMPDIR/base/etc/apt/sources.list"
	echo force-unsafe-io >"$BATS_FILE_TMPDIR/base/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
	cp "$TESTS/container/gitlab-runner" "$BATS_FILE_TMPDIR/base/usr/bin/"
	base=$($B from scratch)
	$B add -q "$base" "$BATS_FILE_TMPDIR/base" /
	$B commit -q --rm "$base" localhost/base
	rm -rf "$BATS_FILE_TMPDIR/base"
	$B build -v "$debian/debs:/debs:ro" --build-arg BASE=localhost/base -t localhost/novajob "$TOP" \
		>"$BATS_FILE_TMPDIR/build.log" 2>&1 || { tail -50 "$BATS_FILE_TMPDIR/build.log" >&2 && return 1; }
	$B inspect --type image localhost/novajob | jq .OCIv1.config >"$IMAGE"
	$B images --format '{{.Name}} {{.Size}}' >"$BATS_FILE_TMPDIR/sizes"
	ROOT=$($B mount "$($B from localhost/novajob)")
	cloud_up
}

teardown_file() {
	load ../lib
	[[ $(id -u) == 0 ]] || return 0
	cloud_down
}

setup() {
	load ../lib
	[[ $(id -u) == 0 ]] || skip 'only root can build an image'
	novajob_setup
	VOLUME=$BATS_TEST_TMPDIR/volume
	mkdir "$BATS_TEST_TMPDIR/root"
	install -d -m 0770 -g 0 "$VOLUME" # as the image has it
	AS=$(jq -r .User "$IMAGE")
	FLAG=$BATS_TEST_TMPDIR/flag
	chmod 0711 "$BATS_TEST_TMPDIR"
	CONTAINER=''
}

teardown() {
	[[ -z $CONTAINER ]] || kill -KILL "$CONTAINER" 2>/dev/null || true
}

# contained COMMAND...: ($BY exec: in this process's place) in the container, as $AS, with the environment of the image and that of VARIABLES.
contained() {
	local image
	mapfile -t image < <(jq -r '.Env[]' "$IMAGE")
	# shellcheck disable=SC2016 # expanded by the sh inside
	${BY-} unshare --mount --pid --fork --kill-child sh -euc '
		root=$1 from=$2 volume=$3 tests=$4 as=$5
		shift 5
		mount --bind "$from" "$root"
		mkdir -p "$root/tests"
		mount -o remount,bind,ro "$root"
		mount --bind "$volume" "$root/home/novajob"
		mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount --bind "$tests" "$root/tests"
		mount -o remount,bind,ro "$root/tests"
		exec env -i /usr/sbin/chroot --userspec="$as" --groups= "$root" "$@"' - \
		"$BATS_TEST_TMPDIR/root" "$ROOT" "$VOLUME" "$TESTS" "$AS" \
		/usr/bin/env -C "$(jq -r .WorkingDir "$IMAGE")" "${image[@]}" "${VARIABLES[@]}" "$@"
}

# entrypoint [ARG...]: as the engine starts it, the image's command by default.
entrypoint() {
	local words
	mapfile -t words < <(jq -r '.Entrypoint[]' "$IMAGE")
	(($# > 0)) || set -- "$(jq -r '.Cmd | join(" ")' "$IMAGE")"
	contained "${words[@]}" "$@"
}

# The cloud's credentials and the servers' port, for the container.
cloud_variables() {
	local name
	VARIABLES=("NOVAJOB_SSH_PORT=$(cat "$CLOUD/ssh-port")" NOVAJOB_SSH_TIMEOUT=60)
	for name in "${!OS_@}"; do VARIABLES+=("$name=${!name}"); done
}

# up: the container in the background, until its runner runs; its first process is $FIRST.
up() {
	BY='exec' entrypoint >"$BATS_TEST_TMPDIR/log" 2>&1 3>&- &
	CONTAINER=$!
	wait_for 30 has '.running' || fail "$(cat "$BATS_TEST_TMPDIR/log")"
	FIRST=$(pgrep -P "$CONTAINER")
}

has() {
	[[ -e $VOLUME/calls ]] && jq -se "map($1) | any" "$VOLUME/calls" >/dev/null
}

in_script() {
	[[ -e $FLAG.in ]]
}

# a job whose script ends once $FLAG is there
job_waits() {
	printf '%s\n' 'echo hello from the server' "touch $FLAG.in" "until test -e $FLAG; do sleep 0.1; done" 'echo the end' \
		>"$VOLUME/job"
}

# TERM while the job runs: it ends by itself, then the container; the job was good, nothing is left.
drained() {
	wait_for 60 in_script || fail "$(cat "$VOLUME/job.log" "$BATS_TEST_TMPDIR/log")"
	assert_equal "$(cloud servers | wc -l)" 1
	kill -TERM "$FIRST"
	wait_for 10 has '.signal == "SIGQUIT"'
	touch "$FLAG"
	run -0 wait_container
	run -0 jq -r .status "$VOLUME/result.json"
	assert_output success
	run -0 grep -c '^hello from the server$\|^the end$' "$VOLUME/job.log"
	assert_output 2
	run -1 has '.signal == "SIGTERM"'
	run -0 cloud servers
	assert_output ''
	# whatever it wrote is for its user alone
	run -0 find "$VOLUME" -type f -perm /0077 ! -name job
	assert_output ''
}

wait_container() {
	tail --pid="$CONTAINER" -f /dev/null
	grep -q 'no new jobs' "$BATS_TEST_TMPDIR/log"
}

@test "the image: tested in its first stage, no root, no compiler, TERM; and its size" {
	grep -E '^[0-9]+ passed, 0 failed' "$BATS_FILE_TMPDIR/build.log"
	sed 's/^/# note: size of /' "$BATS_FILE_TMPDIR/sizes" >&3
	run -0 jq -r '[.User, .StopSignal, .WorkingDir, (.Cmd | join(" ")), (.Volumes | keys[])] | join(" ")' "$IMAGE"
	assert_output '1001:0 SIGTERM /home/novajob run /home/novajob'
	for absent in usr/bin/gcc src out usr/bin/bats; do
		assert [ ! -e "$ROOT/$absent" ]
	done
	assert_equal "$(find "$ROOT/var/lib/apt/lists" -type f)" ''
	run -0 find "$ROOT" -xdev -perm -0002 ! -type l ! -perm -1000
	assert_output ''
	VARIABLES=()
	run -0 entrypoint novajob --version
	assert_output --regexp '^novajob [0-9.]+$'
}

@test "as any uid, on a read-only root: the old container's variables, a whole job, and TERM lets it end" {
	AS=123456:0
	cloud_variables
	VARIABLES+=(REGISTRATION_TOKEN=GR1348941x CI_SERVER_URL=https://gitlab.example RUNNER_TAG_LIST=os RUNNER_NAME=old
		RUNNER_BUILDS_DIR=/tmp/builds RUNNER_CACHE_DIR=/tmp/cache CONCURRENT=2 FLAVOR=m1.tiny BUILDER_IMAGE=builder-one
		NETWORK=ci-net KEY_PAIR_NAME=ci-key SECURITY_GROUP=ci "USERNAME=$(cat "$CLOUD/user")"
		"PRIVATE_KEY=$(cat "$CLOUD/id_ed25519")")
	job_waits
	up
	assert_equal "$(stat -c '%u %g' "/proc/$FIRST")" '123456 0'
	drained
	has '.call[0] == "run" and .uid == 123456'
	assert_equal "$(stat -c '%u %a' "$VOLUME/priv_key")" '123456 600'
	assert_equal "$(stat -c '%u %a' "$VOLUME/.gitlab-runner/config.toml")" '123456 600'
	run ! contained ssh -G host # why a name is needed
	assert_output --partial 'No user exists for uid 123456'
	run -0 entrypoint ssh -G host
	run ! contained touch /usr/x
	assert_output --partial 'Read-only file system'
}

@test "as the image's user: a token of today, keys per job" {
	cloud_variables
	VARIABLES+=(CI_SERVER_TOKEN=glrt-x CI_SERVER_URL=https://gitlab.example RUNNER_BUILDS_DIR=/tmp/builds
		RUNNER_CACHE_DIR=/tmp/cache NOVAJOB_FLAVOR=m1.tiny NOVAJOB_IMAGE=builder-one NOVAJOB_NETWORK=ci-net
		NOVAJOB_SECURITY_GROUP=ci "NOVAJOB_USERNAME=$(cat "$CLOUD/user")")
	job_waits
	up
	drained
	has '.registered == "glrt-x"'
}

@test "doctor in the container finds all well, its uid included" {
	AS=123456:0
	cloud_variables
	VARIABLES+=(NOVAJOB_FLAVOR=m1.tiny NOVAJOB_IMAGE=builder-one NOVAJOB_NETWORK=ci-net "NOVAJOB_USERNAME=$(cat "$CLOUD/user")")
	run -0 entrypoint novajob doctor
	assert_line --regexp '^ok +user +novajob'
	refute_output --partial FAIL
}
