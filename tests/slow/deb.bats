#!/usr/bin/env bats
# deb.bats - `make deb`: a package that lintian has nothing against; installed in a fresh Debian 12, removed, purged.

bats_require_minimum_version 1.5.0

setup_file() {
	export BATS_TEST_TIMEOUT=1500
	TOP=$(realpath "$BATS_TEST_DIRNAME/../..")
	export TOP
	# in a copy, as the tests before it need their build
	mkdir "$BATS_FILE_TMPDIR/tree"
	tar -C "$TOP" -c --exclude=./build --exclude='./build-*' --exclude=./.git . | tar -C "$BATS_FILE_TMPDIR/tree" -x
	env -u MAKEFLAGS -u MAKELEVEL -u NOVAJOB make -C "$BATS_FILE_TMPDIR/tree" deb >"$BATS_FILE_TMPDIR/deb.log" 2>&1 ||
		{ tail -5 "$BATS_FILE_TMPDIR/deb.log" >&2 && return 1; }
}

setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
	OUT=$BATS_FILE_TMPDIR/tree/build/deb
	VERSION=$(sed -n 's/^#define NOVAJOB_VERSION "\(.*\)"/\1/p' "$TOP/src/version.h")
	DEB=$(echo "$OUT"/novajob_*.deb)
	ROOT=$BATS_TEST_TMPDIR/root
	export LC_ALL=C.UTF-8
}

# inside COMMAND...: in the fresh Debian, with the packages of tests/debs and ours.
inside() {
	# shellcheck disable=SC2016 # expanded by the sh inside
	unshare --mount sh -euc '
		root=$1 debs=$2 out=$3
		shift 3
		mkdir -p "$root/debs" "$root/out"
		mount --bind "$debs" "$root/debs"
		mount --bind "$out" "$root/out"
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"' - \
		"$ROOT" "${NOVAJOB_TOOLS:-$TOP/build/tools}/debian/debs" "$OUT" "$@"
}

# The same; what it says is shown only when it fails.
quiet() {
	inside "$@" >"$BATS_TEST_TMPDIR/apt.log" 2>&1 || { cat "$BATS_TEST_TMPDIR/apt.log" && return 1; }
}

# Every file of it but caches, logs and what dpkg and systemd note of themselves.
files() {
	(cd "$ROOT" && find . -xdev \( -path ./debs -o -path ./out -o -path ./proc -o -path ./dev -o -path ./var/cache -o -path ./var/log \
		-o -path ./var/lib/dpkg -o -path ./tmp -o -path ./run \) -prune -o -printf '%P %m %u:%g\n' | sort)
}

accounts() {
	cut -d: -f1 "$ROOT/etc/passwd" "$ROOT/etc/group" | sort
}

@test "lintian has nothing against package and source, and the version is the program's" {
	run -0 dpkg-parsechangelog -l "$OUT/novajob-$VERSION/debian/changelog" -S Version
	assert_output "$VERSION"
	run -0 lintian --allow-root --fail-on error,warning "$OUT"/novajob_*.changes
	assert_output ''
}

@test "program, manual, completions, settings, units: where Debian has them" {
	run -0 bash -c 'dpkg -c "$1" | awk "!/\/$/ { print \$1, \$2, substr(\$6, 3) }" | grep -v "usr/share/doc"' - "$DEB"
	local file
	for file in usr/bin/novajob usr/lib/sysusers.d/novajob.conf usr/lib/tmpfiles.d/novajob.conf etc/novajob/novajob.conf \
		lib/systemd/system/novajob-sweep.service lib/systemd/system/novajob-sweep.timer \
		lib/systemd/system/gitlab-runner.service.d/novajob.conf usr/share/bash-completion/completions/novajob \
		usr/share/zsh/vendor-completions/_novajob usr/share/fish/vendor_completions.d/novajob.fish; do
		assert_line --regexp "^-rw.r-.r-. root/root $file\$"
	done
	for file in "$TOP"/man/*.[157]; do
		assert_line --partial "usr/share/man/man${file##*.}/${file##*/}.gz"
	done
	for file in "$TOP"/contrib/novajob-*.*; do
		assert_line --partial "lib/systemd/system/${file##*/}"
	done
	dpkg -x "$DEB" "$BATS_TEST_TMPDIR/x"
	run ! grep -rn /usr/local "$BATS_TEST_TMPDIR/x/lib"
	cd "$BATS_TEST_TMPDIR/x/lib/systemd/system"
	grep -x 'KillSignal=SIGQUIT' gitlab-runner.service.d/novajob.conf
	grep -x 'KillMode=mixed' gitlab-runner.service.d/novajob.conf
	grep -x 'TimeoutStopSec=2h' gitlab-runner.service.d/novajob.conf
	# what users change stays theirs, and nothing else is
	run -0 bash -c 'dpkg-deb --ctrl-tarfile "$1" | tar -xO ./conffiles' - "$DEB"
	assert_output /etc/novajob/novajob.conf
}

@test "installed: it runs, its user, folders and timer are there; removed: settings stay; purged: nothing does" {
	[[ $(id -u) == 0 ]] || skip 'only root can install a package'
	mkdir "$ROOT"
	tar -C "$ROOT" -xf "${NOVAJOB_TOOLS:-$TOP/build/tools}/debian/plain.tar"
	echo 'deb [trusted=yes] file:/debs ./' >"$ROOT/etc/apt/sources.list"
	quiet apt-get -qq update
	# what it depends on first, so that what is there before and after can be compared
	quiet apt-get -qq -y -o Dpkg::Options::=--force-unsafe-io --no-install-recommends install \
		systemd python3-openstackclient openssh-client libjansson4 libbsd0
	files >"$BATS_TEST_TMPDIR/before"
	accounts >"$BATS_TEST_TMPDIR/accounts"

	quiet apt-get -qq -y --no-install-recommends install "/out/${DEB##*/}"
	run -0 inside novajob --version
	assert_output "novajob $VERSION"
	run -0 inside novajob settings # the settings file is one that novajob takes
	assert_equal "$(stat -c '%a %U' "$ROOT/var/lib/novajob")" '700 root'
	run -0 inside stat -c '%a %U:%G' /etc/novajob/novajob.conf /var/lib/novajob-runner
	assert_output $'644 root:root\n700 novajob:novajob'
	run -0 inside getent passwd novajob
	assert_output --partial ':/var/lib/novajob-runner:'
	run -0 find "$ROOT/etc/systemd/system" -name 'novajob*' -printf '%f\n'
	assert_output novajob-sweep.timer
	run -0 inside sh -c 'systemd-analyze verify --man=no /lib/systemd/system/novajob-*'
	assert_output ''
	# what users add and novajob writes
	echo 'OS_PASSWORD=x' >"$ROOT/etc/novajob/cloud.env"
	mkdir "$ROOT/var/lib/novajob/jobs"

	quiet apt-get -qq -y remove novajob
	assert [ ! -e "$ROOT/usr/bin/novajob" ]
	assert [ -e "$ROOT/etc/novajob/novajob.conf" ]
	assert [ -e "$ROOT/var/lib/novajob/jobs" ]

	quiet apt-get -qq -y purge novajob
	files >"$BATS_TEST_TMPDIR/after"
	accounts | diff "$BATS_TEST_TMPDIR/accounts" -
	run diff "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/after"
	assert_output ''
}
