#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The program's own tables against all that repeats them: completions, manual, --help. Both ways: nothing missing, nothing
# left over. `novajob __words` prints the tables. Then how the completions behave, in the shells themselves.

bats_require_minimum_version 1.5.0

setup()
{
	bats_load_library bats-support
	bats_load_library bats-assert
	local name

	for name in $(compgen -e | grep -E '^(NOVAJOB|CUSTOM_ENV)_'); do
		unset "$name"
	done
	T=$BATS_TEST_TMPDIR
	export HOME=$T LC_ALL=C TZ=UTC NOVAJOB_SETTINGS=/dev/null
	export XDG_CONFIG_HOME=$T XDG_DATA_HOME=$T XDG_CACHE_HOME=$T XDG_RUNTIME_DIR=$T
	top=$(realpath "$BATS_TEST_DIRNAME/..")
	program=$(realpath "${NOVAJOB:-$top/build/novajob}")
	cd "$T" || return
}

novajob()
{
	"$program" "$@"
}

# same WHAT: the two lists in $T/a and $T/b hold the same lines.
same()
{
	sort "$T/a" >"$T/a.sorted"
	sort "$T/b" >"$T/b.sorted"
	[[ -s $T/a ]] || fail "$1: the list is empty"
	diff "$T/a.sorted" "$T/b.sorted" >"$T/diff" || fail "$1: '<' is only in the program, '>' only in the other:
$(cat "$T/diff")"
}

# words cmd|opt [COMMAND]: from the program.
words()
{
	novajob __words "${@:2}" | sed -n "s/^$1 //p"
}

# The settings' names, from the program.
setting_names()
{
	novajob settings --json | jq -r 'keys[]'
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

@test "every command has help of its own" {
	local command
	for command in $(words cmd); do
		run -0 novajob help "$command"
		assert_line --index 0 --regexp "^usage: novajob .*$command"
	done
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

@test "the manual has every option" {
	local command
	{
		words opt
		for command in $(words cmd); do
			words opt "$command"
		done
	} | grep -vxFf <(setting_names | sed 's/.*/--&=/') | sort -u >"$T/a"
	# ".It Fl h , -help" is -h and --help; ".It Fl -settings Ar FILE" takes a value
	sed -n -e 's/^\.It Fl \(.\) , -\([a-z-]*\).*/-\1\n--\2/p' -e 's/^\.It Fl -\([a-z-]*\) Ar .*/--\1=/p' \
		-e 's/^\.It Fl -\([a-z-]*\)$/--\1/p' "$top/man/novajob.1" | sort -u >"$T/b"
	same 'options in novajob.1'
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

@test "the settings file in the manual is one, and its values arrive" {
	sed -n '/^\.Sh EXAMPLES/,$p' "$top/man/novajob.conf.5" | sed -n '/^\.Bd/,/^\.Ed/p' | grep -v '^\.' >"$T/conf"
	run -0 novajob settings "--settings=$T/conf" --json
	[[ $(jq -r '.flavor.value + " " + .image.value' <<<"$output") == 'm1.small, c1.small Debian 12 (CI)' ]]
	[[ $(jq -r '[.[] | select(.from != "default")] | length' <<<"$output") == $(sed '/^\[/,$d' "$T/conf" | grep -c '^[a-z].*=') ]]
}

@test "the commands in the manual's examples work" {
	local line count=0
	mkdir bin
	ln -s "$program" bin/novajob
	while read -r line; do
		line=${line//\\(dq/\"}
		run -0 env PATH="$T/bin:$PATH" bash -c "$line"
		[[ -n $output ]]
		((++count))
	done < <(sed -n 's/^\.Dl \$ //p' "$top/man/novajob.1")
	((count >= 3))
}

@test "the arguments in the manual's config.toml are ones the program takes" {
	local line args count=0
	while read -r line; do
		mapfile -t args < <(jq -r '.[]' <<<"$line")
		run -0 novajob "${args[@]}" --help
		((++count))
	done < <(sed -n 's/^ *[a-z]*_args = \(\[.*\]\)$/\1/p' "$top/man/novajob.1")
	((count == 4))
}

# ---- bash

# complete_bash WORD…: what is offered for the last word, one a line.
complete_bash()
{
	bash --norc --noprofile -c '
		source "$1"
		shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_novajob
		((${#COMPREPLY[@]} == 0)) || printf "%s\n" "${COMPREPLY[@]}"
	' - "$top/completions/novajob" "$@" 2>&1
}

@test "bash: the completion has the program's words, no more, no less" {
	local command
	words cmd >"$T/a"
	complete_bash novajob '' >"$T/b"
	same 'commands in bash'
	words opt >"$T/a"
	complete_bash novajob - >"$T/b"
	same 'options in bash'
	for command in $(words cmd); do
		{
			words opt
			words opt "$command"
		} >"$T/a"
		complete_bash novajob "$command" - >"$T/b"
		same "options of $command in bash"
	done
}

@test "bash: words are completed where they belong" {
	touch "$T/script.sh"
	run -0 complete_bash novajob conf
	assert_output config
	run -0 complete_bash novajob --flavor = x ''
	assert_line config
	run -0 complete_bash novajob --flavor x -v c
	assert_output $'config\ncleanup'
	run -0 complete_bash novajob help pre
	assert_output prepare
	run -0 complete_bash novajob help prepare ''
	assert_output ''
	run -0 complete_bash novajob settings --js
	assert_output --json
	run -0 complete_bash novajob config --json
	assert_output ''
	run -0 complete_bash novajob config ''
	assert_output ''
	run -0 complete_bash novajob run scr
	assert_output script.sh
}

@test "bash: values are completed, behind = and behind a blank" {
	touch "$T/my.conf"
	run -0 complete_bash novajob --compat =
	assert_output $'none\npython'
	run -0 complete_bash novajob --compat = py
	assert_output python
	run -0 complete_bash novajob --compat py
	assert_output python
	run -0 complete_bash novajob settings --trust-variables = y
	assert_output yes
	run -0 complete_bash novajob --settings my
	assert_output my.conf
	run -0 complete_bash novajob --flavor ''
	assert_output ''
}

@test "bash: sourcing says nothing and completes novajob" {
	run -0 bash --norc --noprofile -c 'source "$1" && complete -p novajob' - "$top/completions/novajob"
	assert_output 'complete -F _novajob novajob'
}

# ---- fish

# complete_fish LINE: the words offered, without their descriptions.
complete_fish()
{
	fish --no-config -c 'source $argv[1]; complete -C "$argv[2]"' "$top/completions/novajob.fish" "$1" | cut -f 1
}

@test "fish: the completion has the program's words, no more, no less" {
	command -v fish >/dev/null || skip "no fish"
	local command
	words cmd >"$T/a"
	complete_fish 'novajob ' >"$T/b"
	same 'commands in fish'
	words opt | tr -d = >"$T/a"
	complete_fish 'novajob -' >"$T/b"
	same 'options in fish'
	for command in $(words cmd); do
		{
			words opt
			words opt "$command"
		} | tr -d = >"$T/a"
		complete_fish "novajob $command -" >"$T/b"
		same "options of $command in fish"
	done
}

@test "fish: the options that take a value are those of the program" {
	command -v fish >/dev/null || skip "no fish"
	local command
	{
		words opt
		for command in $(words cmd); do
			words opt "$command"
		done
	} | grep '=' | tr -d = | sort -u >"$T/a"
	sed -n 's/^complete -c novajob .*-l \([a-z-]*\) -[xr] .*/--\1/p' "$top/completions/novajob.fish" >"$T/b"
	same 'valued options in fish'
}

@test "fish: words and values are completed where they belong" {
	command -v fish >/dev/null || skip "no fish"
	touch "$T/my.conf" "$T/script.sh"
	run -0 complete_fish 'novajob conf'
	assert_output config
	run -0 complete_fish 'novajob help pre'
	assert_output prepare
	run -0 complete_fish 'novajob settings --js'
	assert_output --json
	run -0 complete_fish 'novajob config --js'
	assert_output ''
	run -0 complete_fish 'novajob --compat '
	assert_output $'none\npython'
	run -0 complete_fish 'novajob --compat=p'
	assert_output --compat=python
	run -0 complete_fish 'novajob --settings my'
	assert_output my.conf
	run -0 complete_fish 'novajob run scr'
	assert_output script.sh
	run -0 complete_fish 'novajob config '
	assert_output ''
}

# ---- zsh

# What the completion hands to _arguments and _describe, as words: the real functions need a terminal.
zsh_words()
{
	zsh -f -c '
		_arguments() {
			local spec
			for spec; do
				# "(- *)--help[text]", "*-v[text]", "--name=[text]:value:action"
				spec=${spec#\(*\)} spec=${spec#\*}
				[[ $spec == -[-A-Za-z]* ]] && print -r -- "opt ${spec%%\[*}"
			done
			state=$want line=($command)
			return 1
		}
		_describe() {
			print -rl -- "cmd "${^${(P)4}%%:*}
		}
		want=$2 command=$3
		f() { source "$1" }
		f "$1"
	' - "$top/completions/_novajob" "$@" | sort -u
}

@test "zsh: the completion has the program's words, no more, no less" {
	command -v zsh >/dev/null || skip "no zsh"
	local command
	run -0 zsh -n "$top/completions/_novajob"
	words cmd | sed 's/^/cmd /' >"$T/a"
	zsh_words command '' | grep ^cmd >"$T/b"
	same 'commands in zsh'
	words opt | sed 's/^/opt /' >"$T/a"
	zsh_words command '' | grep ^opt | grep -vx -e 'opt -s' -e 'opt -S' -e 'opt -C' >"$T/b"
	same 'options in zsh'
	for command in $(words cmd); do
		{
			words opt
			words opt "$command"
		} | sed 's/^/opt /' >"$T/a"
		zsh_words operand "$command" | grep ^opt | grep -vx -e 'opt -s' -e 'opt -S' -e 'opt -C' >"$T/b"
		same "options of $command in zsh"
	done
}

# complete_zsh LINE: types it into a zsh on a pseudo-terminal, with TAB and return; prints the arguments that arrive.
complete_zsh()
{
	cat >"$T/type.zsh" <<-'END'
		zmodload zsh/zpty || exit 9
		zpty z zsh -f -i
		zpty -w z "PS1=; fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D"
		zpty -w z "novajob() { print -r -- G\"OT:\$*:END\" }; print REA''DY"
		zpty -r z out '*READY*'
		zpty -w -n z "novajob $2"$'\t\n'
		zpty -r z out '*GOT:*:END*'
		print -r -- ${${out##*GOT:}%%:END*}
		zpty -d z
	END
	timeout 60 zsh -f "$T/type.zsh" "$top/completions" "$1" 3>&-
}

@test "zsh: words and values are completed where they belong, on a terminal" {
	command -v zsh >/dev/null || skip "no zsh"
	zsh -f -c 'zmodload zsh/zpty' 2>/dev/null || skip "no zsh/zpty"
	touch "$T/my.conf"
	run -0 complete_zsh conf
	assert_output config
	run -0 complete_zsh 'settings --js'
	assert_output 'settings --json'
	run -0 complete_zsh '--compat=py'
	assert_output --compat=python
	run -0 complete_zsh 'help clea'
	assert_output 'help cleanup'
	run -0 complete_zsh 'settings --settings=my'
	assert_output 'settings --settings=my.conf'
}
