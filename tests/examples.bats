#!/usr/bin/env bats
# examples.bats - the EXAMPLES of the manual pages, of README and of `novajob help COMMAND` do what they say, on a cloud.

load lib
with_cloud

setup() {
	novajob_setup
	set_to allow-flavor 'm1.*'
	TOP=$TESTS/.. T=$BATS_TEST_TMPDIR
	program=$(realpath "$NOVAJOB")
	mkdir "$T/bin" "$T/work"
	ln -s "$program" "$T/bin/novajob"
	PATH=$T/bin:$PATH
	# `novajob` in examples is the plain program: its settings are where it looks without being told
	export NOVAJOB_SETTINGS=$SETTINGS
	unset -f novajob
	unset "${!CUSTOM_ENV_@}" JOB_RESPONSE_FILE BUILD_EXIT_CODE_FILE NOVAJOB
	cd "$T/work" || return
}

# literal PAGE [SECTION]: the literal blocks of a page, or of a section, as one reads them; an empty line behind each.
literal() {
	awk -v section="${2:-.}" '/^\.Sh / { on = $0 ~ section } on && /^\.Bd -literal/ { in_block = 1; next }
		/^\.Ed/ { if (in_block) print ""; in_block = 0 } on && in_block' "$TOP/man/$1" | plain
}

# mdoc's escapes.
plain() {
	sed -e 's/\\(dq/"/g' -e "s/\\\\(aq/'/g" -e 's/\\e/\\/g' -e 's/\\&//g' -e 's/\\-/-/g'
}

# commands: the command lines of the mdoc on stdin, "$ " in front, with the lines of their here-documents; in order.
commands() {
	awk '/^\.Dl \$ / { print substr($0, 7); next } /^\.Bd -literal/ { block = 1; next } /^\.Ed/ { block = 0 }
		block && /^\$ / { print substr($0, 3); here = /<<END$/; next }
		block && here { print; here = !/^END$/ }' | plain
}

# section PAGE NAME
section() {
	awk -v name="$2" '/^\.Sh / { on = $0 ~ name "$" } on' "$TOP/man/$1"
}

# block WORD: README's code block ```WORD.
block() {
	awk -v word="\`\`\`$1" '$0 == word { on = 1; next } /^```/ { on = 0 } on' "$TOP/README.md"
}

# Settings as prose has them, "name = value": README's `…`, the pages' .Ql and .Dl.
inline_settings() {
	local names
	names=$(novajob settings --json | jq -r 'keys | join("|")')
	{
		grep -ohE '`[a-z-]+ = [^`]+`' "$TOP/README.md" "$TOP/HACKING.md" | tr -d '`'
		sed -n 's/^\.\(Ql\|Dl\) \(.*\)/\2/p' "$TOP"/man/*.[157] | plain
	} | grep -E "^($names) = "
}

@test "novajob(1): each command line of the EXAMPLES works, one after the other" {
	section novajob.1 EXAMPLES | commands >"$T/commands"
	run -0 grep -c novajob "$T/commands"
	((output >= 12))
	{
		echo 'set -o pipefail'
		awk '{ print; if (/<<END$/) here = 1; if (/^END$/) here = 0; if (!here) print "echo \"= $? =\"" }' "$T/commands"
	} >"$T/all"
	run -0 --separate-stderr bash "$T/all"
	printf '%s\n' "$output" "$stderr"
	refute_line --regexp '^= [1-9][0-9]* =$'
	run -0 grep -c '^= 0 =$' <<<"$output"
	assert_equal "$output" "$(grep -c '^echo "= ' "$T/all")"
	run -0 cloud servers
	assert_output ''
}

@test "novajob(1): the script of a job by hand runs in the server" {
	section novajob.1 EXAMPLES | commands | sed '/^novajob list/,$d' >"$T/all"
	grep -q 'novajob run' "$T/all"
	sed -i 's/echo hostname/echo "echo in the server: \\$NOVASIM_SERVER"/' "$T/all"
	run -0 bash -e "$T/all"
	assert_line --regexp '^in the server: [0-9a-f-]{36}$'
	JOB_RESPONSE_FILE=job.json novajob cleanup
}

@test "novajob(1): the config.toml calls the four stages" {
	literal novajob.1 EXAMPLES | awk '/^\[\[runners\]\]/ { on = 1 } /^$/ { on = 0 } on' >"$T/config.toml"
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
		assert_line --index 0 --partial "novajob [option ...] $stage"
	done <<<"$stages"
	run -0 grep -c . <<<"$stages"
	assert_output 4
}

@test "novajob.conf(5): each settings file in it is taken as it stands, and its values arrive" {
	local count=0
	literal novajob.conf.5 | csplit -sz -f "$T/part" - '/^$/' '{*}'
	for part in "$T"/part*; do
		grep -q ' = ' "$part" || continue
		run -0 --separate-stderr novajob --settings="$part" settings --json
		assert_equal "$stderr" ''
		run -0 jq -r --arg file "$part" '[.[] | select(.from | startswith($file))] | length' <<<"$output"
		assert_output "$(sed '/^\[/,$d' "$part" | grep -c '^[a-z-]* *=')" # sections are for jobs
		((++count))
	done
	((count >= 2))
}

@test "novajob.conf(5): the pools of its example are pools" {
	literal novajob.conf.5 'THE WARM POOL' >"$T/pool.conf"
	sed -i '/^flavor\|^image/s/=.*/= x/' "$T/pool.conf"
	run -0 novajob --settings="$T/pool.conf" --username=ci --state-dir="$STATE" pool status
	assert_line --regexp '^default +4 '
	assert_line --regexp '^big +1 '
}

@test "each setting that README and the pages set in passing is one, with a value it takes" {
	local name value count=0
	while IFS= read -r line; do
		name=${line%% = *} value=${line#* = }
		[[ $value != FILE ]] || value=/etc/novajob/file
		[[ $value != */* || $value == /* || $name == ready-command ]] || fail "is that a path? $line"
		run -0 novajob settings "--$name=$value"
		((++count))
	done < <(inline_settings)
	((count >= 7))
}

@test "each novajob command line that README and the pages name in passing is one" {
	local line count=0
	while read -r line; do
		read -r -a words <<<"$line"
		for ((i = 1; i < ${#words[@]}; i++)); do
			[[ ${words[i]} == -* ]] || break
		done
		run -0 novajob "${words[@]:1:i}" --help
		((++count))
	done < <({
		grep -ohE '`novajob [^`]+`' "$TOP/README.md" "$TOP/HACKING.md" | tr -d '`'
		grep -ohE '^    novajob [a-z]+' "$TOP/README.md"
		sed -n 's/^\.\(Ql\|Dl\) \(novajob [^,]*\).*/\2/p' "$TOP"/man/*.[157] | plain
	} | sed -e 's/ \([a-z]*\)|[a-z|]*/ \1/' -e '/__words/d' | sort -u)
	((count >= 12))
}

@test "README: the stages by hand make a server, run in it, and delete it" {
	grep -A 3 "^    echo '{\"id\": 1, " "$TOP/README.md" | sed -e 's/^    //' -e "s|/tmp/|$T/|g" >"$T/all"
	run -0 grep -c . "$T/all"
	assert_output 3
	run -0 bash -ex "$T/all"
	assert_line --regexp '^novajob: ready in '
	assert_line "$(hostname)"
	run -0 cloud servers
	assert_output ''
}

@test "README: cloud.env is for openstack alone, and the unit is as the one of contrib/" {
	local ini
	ini=$(block ini)
	sed -n '/^OS_/p' <<<"$ini" >"$T/cloud.env"
	run -0 grep -cE '^OS_[A-Z_]+=[^ ]+$' "$T/cloud.env"
	assert_output "$(grep -c . "$T/cloud.env")"
	# the real client takes them: it misses only the cloud
	sed -i 's|=https://cloud.example.*|=http://127.0.0.1:9/v3|' "$T/cloud.env"
	run env -i PATH="$PATH" HOME="$HOME" bash -c 'set -a; . "$1"; openstack token issue' - "$T/cloud.env"
	((status == 1))
	assert_output --regexp 'Failed to discover|Unable to establish connection'
	grep -E '^(Kill|Timeout|Environment)' "$TOP/contrib/gitlab-runner.service.d.conf" | sed 's/=-/=/' | sort >"$T/contrib"
	grep -E '^(Kill|Timeout|Environment)' <<<"$ini" | sort | diff - "$T/contrib"
}

@test "README, novajob-migrating(7): each variable for the container is one that its entrypoint, or openstack, reads" {
	local variable count=0
	while read -r variable; do
		grep -qE "\\b$variable\\b" "$TOP/contrib/container/entrypoint" "$TOP/src/settings.c" || fail "nobody reads $variable"
		((++count))
	done < <({
		grep -ohE -- '--env [A-Z_]+=' "$TOP/README.md" "$TOP"/man/*.7 | sed 's/--env \(.*\)=/\1/'
		sed -n '/^\.Sh MOVING A CONTAINER/,/^\.Sh WHAT STAYS/s/^\.It Ev //p' "$TOP/man/novajob-migrating.7" |
			sed -e 's/[A-Z]*_ Ns Ar X//' -e 's/ , \(Ev \)\?/\n/g'
	} | grep . | sort -u)
	((count >= 15))
}

@test "each command's example in help works, as a job has it: the stages in their order, then the operator's" {
	local command example
	echo '{"id": 1234, "job_info": {"project_id": 1}, "git_info": {"repo_url": "https://gitlab.example/a/b.git"}}' >job.json # as in the examples
	export JOB_RESPONSE_FILE=$PWD/job.json
	echo 'echo from the script' >script.sh
	novajob __words | sed -n 's/^cmd \([^\t]*\).*/\1/p' >"$T/all"
	for command in config prepare run $(grep -vxE 'config|prepare|run|cleanup' "$T/all") cleanup; do
		example=$(novajob help "$command" | sed -n '/^Example:/{n;s/^  \$ //p}')
		[[ $example == novajob*"$command"* ]] || fail "help $command has no example"
		run -0 bash -c "$example"
		[[ -n $output || $command == cleanup || $command == sweep ]] || fail "'$example' prints nothing"
		[[ $command != run || $output == 'from the script' ]]
	done
	run -0 cloud servers
	assert_output ''
}
