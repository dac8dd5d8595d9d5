#!/usr/bin/env bats
# examples.bats - the EXAMPLES of the manual pages do what they say.

bats_require_minimum_version 1.5.0

setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
	TOP=$(realpath "$BATS_TEST_DIRNAME/..")
	T=$BATS_TEST_TMPDIR
	program=$(realpath "${NOVAJOB:-$TOP/build/novajob}")
	unset "${!NOVAJOB_@}" "${!OS_@}" "${!CUSTOM_ENV_@}"
	export HOME=$T LC_ALL=C.UTF-8 NOVAJOB_SETTINGS=/dev/null
	mkdir "$T/bin"
	ln -s "$program" "$T/bin/novajob"
	PATH=$T/bin:$PATH
	command -v mandoc >/dev/null || skip 'no mandoc'
}

# examples PAGE: the section as one reads it, one line per line of the source.
examples() {
	[[ -e $TOP/man/$1 ]] || skip "no man/$1"
	mandoc -T utf8 -O width=200 "$TOP/man/$1" | sed $'s/.\b//g' | awk '/^[A-Z]/ { on = /^EXAMPLES/; next } on'
}

# literal PAGE: its literal blocks, an empty line behind each.
literal() {
	awk '/^\.Sh / { on = /EXAMPLES/ } on && /^\.Bd -literal/ { in_block = 1; next } /^\.Ed/ { in_block = 0; print "" } on && in_block' \
		"$TOP/man/$1"
}

@test "the settings file of novajob.conf(5) is taken as it stands" {
	[[ -e $TOP/man/novajob.conf.5 ]] || skip 'no man/novajob.conf.5'
	literal novajob.conf.5 >"$T/novajob.conf"
	run -0 grep -c = "$T/novajob.conf"
	((output > 0)) || fail 'no example there'
	chmod 600 "$T/novajob.conf"
	run -0 --separate-stderr novajob --settings="$T/novajob.conf" settings --json
	assert_equal "$stderr" ''
	run -0 jq -r --arg file "$T/novajob.conf" '[.[] | select(.from | startswith($file))] | length' <<<"$output"
	assert_output "$(sed '/^\[/,$d' "$T/novajob.conf" | grep -c '^[a-z-]* *=')" # sections are for jobs
}

@test "the config.toml of novajob(1) calls the four stages" {
	[[ -e $TOP/man/novajob.1 ]] || skip 'no man/novajob.1'
	literal novajob.1 | awk '/^\[\[runners\]\]/ { on = 1 } /^$/ { on = 0 } on' >"$T/config.toml"
	run -0 python3 - "$T/config.toml" <<-'END'
		import sys, tomllib
		with open(sys.argv[1], "rb") as file:
		    [runner] = tomllib.load(file)["runners"]
		assert runner["executor"] == "custom"
		for stage in ("config", "prepare", "run", "cleanup"):
		    assert runner["custom"][stage + "_exec"].startswith("/"), stage
		    print(stage, *runner["custom"][stage + "_args"])
	END
	local stages=$output stage args
	while read -r stage args; do
		[[ ${args##* } == "$stage" ]] || fail "$stage is called with: $args"
		# shellcheck disable=SC2086 # words on purpose
		run -0 novajob $args --help
	done <<<"$stages"
}

@test "each command line of novajob(1)'s examples runs, with no cloud, no settings and no job" {
	local line count=0
	while read -r line; do
		count=$((count + 1))
		case $line in
		*novajob*list* | *novajob*sweep* | *novajob*doctor*)
			# these ask the cloud: there is none, but the command line is right
			run timeout 60 bash -c "$line"
			((status != 64 && status < 124)) || fail "'$line' left with $status: $output"
			;;
		novajob*)
			run -0 --separate-stderr timeout 60 bash -o pipefail -c "$line"
			[[ -n $output ]] || fail "'$line' prints nothing"
			assert_equal "$stderr" ''
			;;
		*) continue ;;
		esac
	done < <(examples novajob.1 | sed -nE 's/^ *[$#] (.*)$/\1/p')
	((count > 0)) || fail 'no command line found in the examples'
}
