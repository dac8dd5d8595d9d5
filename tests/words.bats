#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# words.bats - the program's own tables against all that repeats them: the manual, README, --help. Both ways: nothing
# missing, nothing left over. `novajob __words` prints the tables.

bats_require_minimum_version 1.5.0

setup()
{
	bats_load_library bats-support
	bats_load_library bats-assert
	load tables
	tables_setup
}

# of_setting NAME WHAT: what `help NAME` has behind "WHAT:".
of_setting()
{
	novajob help "$1" | sed -n "s/^  $2: *//p"
}

# ---- the program with itself

@test "__words has every command that --help has, and the other way round" {
	words cmd >"$T/a"
	novajob --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' >"$T/b"
	same commands
}

@test "__words has every option that --help has, and the other way round" {
	words opt >"$T/a"
	novajob --help | sed -n -e 's/^  \(-.\), \(--[a-z-]*\)\(=\?\).*/\1\n\2\3/p' -e 's/^  ....\(--[a-z-]*\)\(=\?\).*/\1\2/p' \
		-e 's/^  \(--[a-z-]*\)\(=\?\).*/\1\2/p' >"$T/b"
	same options
	words opt settings >"$T/a"
	novajob help settings | sed -n 's/^  ....\(--[a-z-]*\)\(=\?\).*/\1\2/p' >"$T/b"
	same 'options of settings'
}

@test "every setting is an option that takes a value" {
	setting_names | sed 's/.*/--&=/' >"$T/a"
	words opt | grep '=' | grep -vx -e --settings= >"$T/b"
	same settings
}

@test "every command has help: usage, what it does, options, exit codes, an example, where there is more" {
	local command
	for command in $(words cmd); do
		run -0 --separate-stderr novajob help "$command"
		assert_equal "$stderr" ''
		assert_line --index 0 --regexp "^usage: novajob \\[option \\.\\.\\.] $command( |\$)"
		sed -n '5,/^$/p' <<<"$output" >"$T/details"
		(($(wc -w <"$T/details") >= 20)) || fail "help $command does not say what it does"
		run ! grep -E '.{81}' "$T/details"
		run -0 novajob help "$command"
		assert_line 'Exit codes:'
		assert_line --regexp '^  0   '
		assert_line --regexp "^  \\$ novajob .*\\b$command\\b"
		assert_line --regexp '^See novajob\(1\)'
		novajob "$command" --help >"$T/dashes"
		novajob help "$command" | diff - "$T/dashes"
	done
}

@test "every setting has help: what it may be, its default, who may set it, and by which names" {
	local name
	for name in $(setting_names); do
		run -0 --separate-stderr novajob help "$name"
		assert_equal "$stderr" ''
		assert_line "setting: $name"
		assert_line --regexp '^  Value:        [a-z]+'
		assert_line --regexp '^  Default:      .+'
		assert_line --regexp '^  Set by:       the operator'
		assert_line --regexp "^  File:         $name = "
		assert_line --regexp "^  Option:       --$name="
		run -0 env "$(of_setting "$name" Environment)=" "$program" settings # "" is as good as none, or a mistake of its own
	done
}

@test "help of a setting says what settings --json says, and what __words offers" {
	local name default
	for name in $(setting_names); do
		default=$(of_setting "$name" Default)
		case $name:$default in
		state-dir:*) continue ;;                       # as the user is
		*:none) [[ $name == compat ]] || default='' ;; # not set; for compat it is a word
		esac
		novajob settings --json | jq ".[\"$name\"].value" >"$T/a"
		if [[ -n $default ]]; then
			novajob settings --json "--$name=$default" | jq ".[\"$name\"].value" >"$T/b"
		else
			echo null >"$T/b"
		fi
		same "default of $name in help"
	done
	for name in $(setting_names); do
		novajob __words "--value=$name" | sed -n 's/^value \([^\t]*\).*/\1/p' | while read -r word; do
			[[ $(of_setting "$name" Value) =~ [\ ]$word(,|\;|$) ]] || fail "help $name does not name $word"
		done
	done
}

@test "help for what is neither a command nor a setting: told, with the nearest word" {
	run -64 novajob help flavour
	assert_output --partial "'flavour' is no command and no setting"
	assert_output --partial "did you mean 'flavor'?"
	run -64 novajob help kernel-command-line
	assert_output --partial 'novajob --help lists'
	# a word that is both
	run -0 novajob help pool
	assert_line --regexp '^usage: .* pool '
	assert_line 'setting: pool'
}

@test "hidden commands are in neither list" {
	run -0 novajob --help
	refute_output --partial __words
	run -0 novajob __words
	refute_output --partial 'cmd __'
	run -64 novajob __words nonsense
}

# ---- the manual

@test "the manual has every command" {
	words cmd >"$T/a"
	sed -n '/^\.Sh COMMANDS/,/^\.Sh ENV/s/^\.It Cm \([a-z]*\).*/\1/p' "$top/man/novajob.1" >"$T/b"
	same 'commands in novajob.1'
}

# The heads and options of novajob.1's COMMANDS, as "COMMAND: what stands there", a line each. "Op Fl -json" is "[--json]".
manual_commands()
{
	sed -n '/^\.Sh COMMANDS/,/^\.Sh SIGNALS/p' "$top/man/novajob.1" | awk '
		/^\.It Cm / { command = $3; print command ": head " substr($0, 8) }
		/^\.It Fl / { print command ": " substr($0, 5) }'
}

@test "the manual has every option, each where its command is" {
	local command
	{
		words opt | grep -vxFf <(setting_names | sed 's/.*/--&=/') | sed 's/^/all: /'
		for command in $(words cmd); do
			words opt "$command" | sed "s/^/$command: /"
		done
	} >"$T/a"
	# "Fl h , -help" is -h and --help; "Fl -settings Ar FILE" takes a value
	{
		sed -n '/^\.Sh OPTIONS/,/^\.Sh COMMANDS/s/^\.It /all: /p' "$top/man/novajob.1"
		manual_commands | grep -v ': head '
	} | sed -n -e 's/^\(.*: \)Fl \(.\) , -\([a-z-]*\).*/\1-\2\n\1--\3/p' -e 's/^\(.*: \)Fl -\([a-z-]*\) Ar .*/\1--\2=/p' \
		-e 's/^\(.*: \)Fl -\([a-z-]*\)$/\1--\2/p' >"$T/b"
	same 'options in novajob.1'
}

@test "the manual and the usage lines have the same operands" {
	local command
	for command in $(words cmd); do
		novajob help "$command" | sed -n '1s/^usage: novajob \[option \.\.\.\] //p'
	done | tr '=' ' ' | sort_brackets >"$T/a"
	{
		printf '%s\n' '.Dd January 1, 2026' '.Dt X 1' '.Os' '.Sh NAME' '.Nm x' '.Nd x' '.Sh X'
		manual_commands | sed -n 's/^.*: head /.br\n.Cm /p'
	} | mandoc -T utf8 -O width=500 | sed $'s/.\b//g' | sed -n '/^X$/,/^$/s/^  *//p' | sed 's/ | /|/g' | sort_brackets >"$T/b"
	same 'operands in novajob.1'
}

# The parts in brackets of each line in alphabetical order: the manual has options so, the usage line in the program's.
sort_brackets()
{
	python3 -c '
import re, sys
for line in sys.stdin:
    parts = sorted(re.findall(r"\[-[^]]*\]", line))
    print(" ".join(re.sub(r"\[-[^]]*\]", "", line).split() + parts))'
}

@test "the manual has every exit code, with README" {
	{
		echo 0
		novajob __words --classes | awk '{ print $3; print $4 }'
	} | sort -u >"$T/a"
	sed -n '/^\.Sh EXIT STATUS/,/^\.Sh EXAMPLES/s/^\.It \([0-9]*\)$/\1/p' "$top/man/novajob.1" >"$T/b"
	same 'exit codes in novajob.1'
	sed -n 's/^| \([0-9]*\) | .*/\1/p' "$top/README.md" >"$T/b"
	same 'exit codes in README'
}

@test "no exit code but those of the classes is in the help of a command" {
	local command
	novajob __words --classes | awk '{ print $3; print $4 }' | sort -u >"$T/known"
	for command in $(words cmd); do
		novajob help "$command" | sed -n '/^Exit codes:/,/^$/s/^  \([0-9]*\) .*/\1/p' | grep -vx 0
	done | sort -u >"$T/named"
	diff "$T/known" "$T/named"
}

@test "the manual has every class of faults, with its exit codes" {
	novajob __words --classes | sed 's/^class //' >"$T/a"
	sed -n 's/^\.It \([a-z]*\) Ta \([0-9]*\) Ta \([0-9]*\) Ta .*/\1 \2 \3/p' "$top/man/novajob.1" >"$T/b"
	same 'classes in novajob.1'
	sed -n '/^enum fault_class {/,/^};/s/^\tFAULT_\([A-Z]*\),.*/\L\1/p' "$top/src/fault.h" | grep -vx -e none -e count >"$T/a"
	sed -i 's/ .*//' "$T/b"
	same 'classes in fault.h'
}

@test "the manual has every environment variable that the program reads or hands on, and no other" {
	{
		grep -ohE 'getenv\("[A-Z_]+"\)' "$top"/src/*.c | cut -d '"' -f 2
		grep -ohE 'getenv\(ENV_PREFIX "[A-Z_]+"\)' "$top"/src/*.c | sed 's/.*"\(.*\)".*/NOVAJOB_\1/'
		grep -ohE '"CUSTOM_ENV_[A-Z_]+[A-Z]"' "$top"/src/*.c | tr -d '"'
		# whole families
		grep -ohE 'env_entry\(\*e, [A-Z_ ]+,' "$top"/src/*.c |
			sed -e 's/.*e, JOB_PREFIX ENV_PREFIX,/CUSTOM_ENV_NOVAJOB_*/' -e 's/.*e, ENV_PREFIX,/NOVAJOB_*/'
		# what a child gets: "HOME=*", in all lists but the one of what it does not get
		grep -ohE '"[A-Za-z_*]+=\*[a-z_*]*"' "$top"/src/*.c --exclude={pool,names}.c | sed 's/^"\([^=]*\).*/\1/'
		sed -n 's/^#define TAG "\(.*\)"$/\1/p' "$top/src/ssh.c"
	} | sort -u >"$T/a"
	# ".It Ev LANG , LC_ Ns Ar X , Ev TZ"; a line may go on in the next
	sed -n '/^\.Sh ENVIRONMENT/,/^\.Sh FILES/p' "$top/man/novajob.1" | sed -e ':a' -e '/\\$/{N;s/\\\n/ /;ba' -e '}' |
		sed -n 's/^\.It Ev //p' | sed -e 's/ Ns Ar X/*/g' -e 's/ , \(Ev \)\?/\n/g' | tr -d ' ' >"$T/b"
	same 'variables in novajob.1'
}

@test "the manual has the Python executor's variables" {
	sed -n '/^} compats\[\] = {/,/^};/s/^\t{ SETTING_\([a-z_]*\), "\([A-Z_]*\)".*/\2 \1/p' "$top/src/settings.c" | tr _ - >"$T/a"
	sed -n '/^\.Sh PYTHON/,/^\.Sh FILES/s/^\.It Ev \([A-Z_]*\) Ta Cm \(.*\)/\1 \2/p' "$top/man/novajob.conf.5" | tr _ - >"$T/b"
	same 'variables in novajob.conf.5'
}

@test "the manual has every signal that is handled" {
	grep -ohE '(sigaddset|sigaction)\([^)]*SIG[A-Z]+' "$top/src/sig.c" | grep -oE 'SIG[A-Z]+$' | grep -vx SIGCHLD >"$T/a"
	sed -n '/^\.Sh SIGNALS/,/^\.Sh ENV/s/^\.It Dv //p' "$top/man/novajob.1" | sed 's/ , /\n/g' >"$T/b"
	same 'signals in novajob.1'
}

# The settings' part of novajob.conf(5).
settings_section()
{
	sed -n '/^\.Sh SETTINGS/,/^\.Sh PYTHON/p' "$top/man/novajob.conf.5"
}

@test "the manual has every setting, in alphabetical order" {
	setting_names >"$T/a"
	settings_section | sed -n 's/^\.It Cm //p' >"$T/b"
	same 'settings in novajob.conf.5'
	run -0 sort -c "$T/b"
}

@test "the manual has the right default of each setting" {
	novajob --help | sed -n 's/^  --\([a-z-]*\)=[^ ]* .*/&/p' |
		sed -n -e 's/^  --\([a-z-]*\)=.* (\([^() ]*\))$/\1 \2/p' -e '/([^() ]*)$/!s/^  --\([a-z-]*\)=.*/\1 none/p' |
		grep -v -e '^state-dir ' >"$T/a"
	settings_section | sed -n -e '/^\.It Cm /{s/^\.It Cm //;h;}' -e '/default: /{s/.*default: \([^;)]*\).*/\1/;H;g;s/\n/ /p;}' |
		grep -v -e '^state-dir ' >"$T/b"
	same 'defaults in novajob.conf.5'
}

@test "the manual says of the right settings that jobs may be allowed to set them" {
	local name
	for name in $(setting_names); do
		novajob settings "--job-may-set=$name" >/dev/null 2>&1 && echo "$name"
	done >"$T/a"
	settings_section | sed -n -e '/^\.It Cm /{s/^\.It Cm //;h;}' -e '/; job)$/{g;p;}' >"$T/b"
	same 'settings for jobs in novajob.conf.5'
}

@test "the manual says of the right settings that they are one for the whole host" {
	local name
	for name in $(setting_names); do
		[[ $(of_setting "$name" 'Set by') != *'whole host'* ]] || echo "$name"
	done >"$T/a"
	settings_section | sed -n -e '/^\.It Cm /{s/^\.It Cm //;h;}' -e '/; host)$/{g;p;}' >"$T/b"
	same 'settings of the host in novajob.conf.5'
}

@test "the manual says the right type of each setting" {
	local name
	for name in $(setting_names); do
		printf '%s %s\n' "$name" "$(of_setting "$name" Value | grep -oE '^[a-z]+')"
	done >"$T/a"
	# what is a list of names or one name for people is a text for the program
	settings_section | sed -n -e '/^\.It Cm /{s/^\.It Cm //;h;}' -e '/^([a-z]/{s/^(\([a-z]*\)\( of names\)\?.*/\1\2/;H;g;s/\n/ /p;}' |
		sed -e 's/ list of names$/ text/' -e 's/ name$/ text/' >"$T/b"
	same 'types in novajob.conf.5'
}

@test "the manual says the right limits of times and numbers" {
	local name low high
	while read -r name low high; do
		run -0 novajob settings "--$name=$low"
		run -0 novajob settings "--$name=$high"
		((low == 0)) || run -2 novajob settings "--$name=$((low - 1))"
		run -2 novajob settings "--$name=$((high + 1))"
		echo "$name" >>"$T/b"
	done < <(settings_section | sed -n -e '/^\.It Cm /{s/^\.It Cm //;h;}' \
		-e '/^(\(time\|number\), /{s/^([a-z]*, \([0-9]*\)\( s\)\? to \([0-9]*\) *\([a-z]*\);.*/\1 \3 \4/;H;g;s/\n/ /p;}' |
		awk '{ print $1, $2, $3 * ($4 ~ /day/ ? 86400 : 1) }')
	novajob --help | sed -n 's/^  --\([a-z-]*\)=\(TIME\|NUMBER\) .*/\1/p' >"$T/a"
	same 'limits in novajob.conf.5'
}

@test "the manual is clean mdoc" {
	command -v mandoc >/dev/null || skip "no mandoc"
	run -0 mandoc -T lint -W warning "$top"/man/*.[157]
	assert_output ""
}

@test "each page that the manual, README and help name is there, with the section that they name" {
	local page section
	{
		grep -ohE '^\.Xr novajob[a-z.-]* [0-9]' "$top"/man/*.[157] | sed 's/^\.Xr \(.*\) \(.\)/\1.\2/'
		grep -ohE 'novajob[a-z.-]*\([157]\)' "$top"/README.md "$top"/HACKING.md "$top"/src/*.[ch] "$top"/completions/* | sed 's/(\(.\))/.\1/'
	} | sort -u >"$T/pages"
	(($(wc -l <"$T/pages") >= 7))
	while read -r page; do
		[[ -e $top/man/$page ]] || fail "there is no page $page"
	done <"$T/pages"
	# "novajob.conf(5), THE WARM POOL and SECOND CHOICES", in help
	while IFS=$'\t' read -r page section; do
		grep -qx "\.Sh $section" "$top/man/$page" || fail "$page has no section $section"
	done < <(sed -n 's/^\t\.see = "\(.*\)",$/\1/p' "$top"/src/cmd_*.c |
		sed -n 's/^\(novajob[a-z.-]*\)(\(.\)), \([A-Z].*\)/\1.\2\t\3/p' | sed 's/^\([^\t]*\)\t\(.*\) and \(.*\)/\1\t\2\n\1\t\3/')
	# every page stands in novajob(1)'s SEE ALSO
	find "$top/man" -name '*.[157]' -printf '%f\n' | grep -vx novajob.1 >"$T/a"
	sed -n '/^\.Sh SEE ALSO/,$s/^\.Xr \(novajob[^ ]*\) \(.\).*/\1.\2/p' "$top/man/novajob.1" >"$T/b"
	same 'pages in SEE ALSO'
}
