#!/usr/bin/env bats
# install.bats - make install, uninstall and dist; the version; README's settings, config.toml and commands; HACKING's map.

bats_require_minimum_version 1.5.0

setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
	TOP=$(realpath "$BATS_TEST_DIRNAME/..")
	T=$BATS_TEST_TMPDIR
	program=$(realpath "${NOVAJOB:-$TOP/build/novajob}")
	unset MAKEFLAGS MAKELEVEL MFLAGS PREFIX DESTDIR
	unset "${!NOVAJOB_@}"
	export HOME=$T LC_ALL=C.UTF-8
}

# A copy of the tree to build in, so that other tests keep their program.
tree() {
	mkdir "$T/tree"
	(cd "$TOP" && cp -r COPYING Makefile README.md src man completions "$T/tree/")
	mkdir "$T/tree/build"
	cp "$program" "$T/tree/build/novajob"
}

# block WORD: README's code block ```WORD.
block() {
	awk -v word="\`\`\`$1" '$0 == word { on = 1; next } /^```/ { on = 0 } on' "$TOP/README.md"
}

@test "make install puts exactly these files there, uninstall takes them away" {
	tree
	# -o all: nothing is built
	run -0 make -s -C "$T/tree" -o all install PREFIX=/usr DESTDIR="$T/root"
	run -0 bash -c 'cd "$1" && find . ! -type d -printf "%m %P\n" | sort -k 2' - "$T/root"
	assert_output - <<-'END'
		755 usr/bin/novajob
		644 usr/share/bash-completion/completions/novajob
		644 usr/share/fish/vendor_completions.d/novajob.fish
		644 usr/share/man/man1/novajob.1
		644 usr/share/man/man5/novajob.conf.5
		644 usr/share/man/man7/novajob-doctor.7
		644 usr/share/man/man7/novajob-faults.7
		644 usr/share/man/man7/novajob-migrating.7
		644 usr/share/man/man7/novajob-performance.7
		644 usr/share/man/man7/novajob-security.7
		644 usr/share/man/man7/novajob-troubleshooting.7
		644 usr/share/zsh/site-functions/_novajob
	END
	run -0 "$T/root/usr/bin/novajob" --version
	run -0 make -s -C "$T/tree" uninstall PREFIX=/usr DESTDIR="$T/root"
	run -0 find "$T/root" ! -type d
	assert_output ''
}

@test "the default prefix is /usr/local, an empty one the root" {
	tree
	run -0 make -s -C "$T/tree" -o all install DESTDIR="$T/a"
	assert [ -x "$T/a/usr/local/bin/novajob" ]
	run -0 make -s -C "$T/tree" -o all install PREFIX= DESTDIR="$T/b"
	assert [ -x "$T/b/bin/novajob" ]
	assert [ -e "$T/b/share/man/man1/novajob.1" ]
}

@test "the version stands in one place" {
	run -0 sed -n 's/^#define NOVAJOB_VERSION "\(.*\)"/\1/p' "$TOP/src/version.h"
	local version=$output
	[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "version.h says '$version'"
	run -0 "$program" --version
	assert_output "novajob $version"
	run -1 grep -rnF "\"$version\"" "$TOP/src" "$TOP/Makefile" "$TOP/man" "$TOP/completions" --exclude=version.h
	assert_output ''
	run -0 grep -c "^## \[$version\]" "$TOP/CHANGELOG.md"
}

@test "make dist makes an archive that builds" {
	local version
	git -C "$TOP" rev-parse -q --verify HEAD >/dev/null || skip 'not a git checkout'
	version=$(git -C "$TOP" show HEAD:src/version.h | sed -n 's/^#define NOVAJOB_VERSION "\(.*\)"/\1/p')
	# a clone, as `make dist` writes into build/
	git clone -q "$TOP" "$T/clone"
	run -0 make -s -C "$T/clone" dist
	run -0 tar -C "$T" -xf "$T/clone/build/novajob-$version.tar.gz"
	run -0 ls "$T/novajob-$version/"
	assert_line Makefile
	assert_line src
	assert_line COPYING
	run -0 make -s -j2 -C "$T/novajob-$version" CFLAGS=-O1
	run -0 "$T/novajob-$version/build/novajob" --version
	assert_output "novajob $version"
}

@test "README's novajob.conf is taken as it stands" {
	block conf >"$T/novajob.conf"
	chmod 600 "$T/novajob.conf"
	run -0 --separate-stderr "$program" --settings="$T/novajob.conf" settings --json
	assert_equal "$stderr" ''
	local json=$output
	run -0 jq -r --arg file "$T/novajob.conf" '[.[] | select(.from | startswith($file))] | length' <<<"$json"
	assert_output "$(sed '/^\[/,$d' "$T/novajob.conf" | grep -c '^[a-z-]* *=')" # sections are for jobs
	# all that a job needs is there: config only lacks the key's file
	: >"$T/key"
	echo '{"id": 1, "job_info": {"project_id": 1}, "git_info": {"repo_url": "https://gitlab.example/a/b.git"}}' >"$T/job.json"
	JOB_RESPONSE_FILE=$T/job.json run -0 "$program" --settings="$T/novajob.conf" config --private-key="$T/key"
}

@test "README's config.toml: every key is one the runner has, every stage is called as novajob wants it" {
	block toml >"$T/config.toml"
	run -0 python3 - "$T/config.toml" <<-'END'
		import sys, tomllib
		with open(sys.argv[1], "rb") as file:
		    config = tomllib.load(file)
		[runner] = config["runners"]
		assert runner["executor"] == "custom" and runner["shell"] == "bash", runner
		custom = runner["custom"]
		# contract.md, sections 1 and 7; there is no run_exec_timeout
		known = {stage + end for stage in ("config", "prepare", "run", "cleanup") for end in ("_exec", "_args")}
		known |= {stage + "_exec_timeout" for stage in ("config", "prepare", "cleanup")}
		known |= {"graceful_kill_timeout", "force_kill_timeout"}
		assert set(custom) == known, set(custom) ^ known
		assert 10 <= custom["graceful_kill_timeout"] <= 60
		for stage in ("config", "prepare", "run", "cleanup"):
		    assert custom[stage + "_exec"] == "/usr/local/bin/novajob", custom
		    print(stage, *custom[stage + "_args"])
	END
	local stages=$output stage args
	while read -r stage args; do
		[[ ${args##* } == "$stage" ]] || fail "$stage is called with: $args"
		# shellcheck disable=SC2086 # words on purpose
		run -0 "$program" $args --help
		assert_output --partial "novajob [option ...] $stage"
	done <<<"$stages"
}

@test "README and HACKING name only make targets and files that exist" {
	local target file
	# in code, not in prose: behind a backquote, or four blanks
	while read -r target; do
		grep -q "^$target:" "$TOP/Makefile" || fail "there is no target $target"
	done < <(grep -ohE '(`|^    |; )make [a-z-]+' "$TOP/README.md" "$TOP/HACKING.md" | sed 's/.*make //' | sort -u)
	while read -r file; do
		[[ $file == src/cmd_x.c || -e $TOP/$file ]] || fail "there is no $file"
	done < <(grep -ohE '\b(tests|src|man|completions|\.ci)/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*' "$TOP/README.md" "$TOP/HACKING.md" |
		sed 's/\.$//' | sort -u)
}

@test "README's commands for the operator are commands" {
	local command
	while read -r command; do
		run -0 "$program" help "$command"
	done < <(grep -oE '^    novajob [a-z]+' "$TOP/README.md" | awk '{ print $2 }' | sort -u)
	run -0 grep -cE '^    novajob [a-z]+' "$TOP/README.md"
	((output >= 3)) || fail 'README shows no commands'
}

@test "no file over 600 lines, no function over 80; HACKING's map names every file of src, in the layer that lint holds it to" {
	run -0 "$TOP/tests/tidy"
	assert_output ''
	cp -r "$TOP/HACKING.md" "$TOP/src" "$T/"
	mkdir "$T/tests"
	cp "$TOP/tests/tidy" "$TOP/tests/lint" "$T/tests/"
	sed -i 's/ doctor_cloud\.c / /; s/^| 2 | near\.c/| 1 | near.c/' "$T/HACKING.md"
	{ echo 'void f(void)'; echo '{'; seq -f '// %g' 79; echo '}'; seq -f '// %g' 600; } >"$T/src/unheard_of.c"
	run -1 "$T/tests/tidy"
	assert_output - <<-'END'
		tidy: src/unheard_of.c has 682 lines, over 600
		tidy: src/unheard_of.c: 'void f(void)' has 81 lines, over 80
		tidy: HACKING.md's map does not name doctor_cloud.c
		tidy: HACKING.md's map does not name unheard_of.c
		tidy: near.c: layer 1 in HACKING.md, 2 in tests/lint
	END
}
