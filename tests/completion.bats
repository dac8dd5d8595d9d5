#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# completion.bats - how the completions behave, in bash, fish and zsh themselves. Their words are the program's: `novajob
# __words`, which tests/words.bats compares with --help and the manual.

bats_require_minimum_version 1.5.0

setup()
{
	bats_load_library bats-support
	bats_load_library bats-assert
	load tables
	tables_setup
	export XDG_CONFIG_HOME=$T XDG_DATA_HOME=$T XDG_CACHE_HOME=$T XDG_RUNTIME_DIR=$T
	mkdir bin
	ln -s "$program" bin/novajob
	PATH=$T/bin:$PATH
}

# record STATE KEY PHASE: one, as prepare leaves it.
record()
{
	(umask 077 && mkdir -p "$1/jobs/$2")
	printf '{"version":1,"phase":"%s","try":"0123456789abcdef","expires":1,"addresses":[],"address":"10.0.0.7"}' "$3" \
		>"$1/jobs/$2/record.json"
	chmod 600 "$1/jobs/$2/record.json"
}

# visited: a program with one more command, `visit JOB`, whatever commands take a job in this version.
visited()
{
	rm bin/novajob
	cat >bin/novajob <<-END
		#!/bin/bash
		[[ "\${*: -2}" != "__words visit" ]] || exec "$program" "\${@:1:\$# - 1}" --operand='[--why] JOB [COMMAND ...]'
		[[ "\$*" != __words ]] || printf 'cmd visit\tgo there\n'
		exec "$program" "\$@"
	END
	chmod 755 bin/novajob
}

# ---- what they ask

@test "each line of __words has a kind, a word, and help that stands on one line" {
	local command
	{
		novajob __words
		for command in $(words cmd) __words; do
			novajob __words "$command"
		done
	} >"$T/all"
	run ! grep -vE $'^(cmd [a-z]+\t[^\t]+|opt (-[a-zA-Z]\t[^\t]+\t|--[a-z-]+\t[^\t]+\t|--[a-z-]+=\t[^\t]+\t(file|dir|word|list|))|value [a-z-]+(\t[^\t]*)|file)$' "$T/all"
	assert_output ''
}

@test "the values of each setting that has words are all it takes, and the program takes each" {
	local name word count=0
	while read -r name; do
		while read -r word; do
			run -0 novajob settings "--$name=$word"
			((++count))
		done < <(novajob __words "--value=$name" | sed -n 's/^value \([^\t]*\).*/\1/p')
	done < <(novajob __words | sed -n 's/^opt --\([a-z-]*\)=\t[^\t]*\t\(word\|list\)$/\1/p')
	((count > 20))
	run -2 novajob settings --delete-by=nobody
	run -64 novajob __words --value=nonsense
}

@test "live jobs are those whose record says so, by GitLab's id; other owners' keys, the pool's and what is broken are not" {
	record "$T/state" gitlab-one-4711 ready
	record "$T/state" gitlab-one-4712 creating
	record "$T/state" gitlab-one-4713 deleted
	record "$T/state" gitlab-one-4714 deleting
	record "$T/state" gitlab-one-4715 lost
	record "$T/state" pool.0123.4567 ready
	record "$T/state" 'a$(touch x)-4717' ready
	record "$T/state" gitlab-one-4718 ready
	echo '{' >"$T/state/jobs/gitlab-one-4718/record.json"
	record "$T/state" gitlab-one-5000 ready
	record "$T/state" gitlab-two-5000 ready
	run -0 --separate-stderr novajob --state-dir="$T/state" __words --operand=JOB
	assert_equal "$stderr" ''
	output=$(sort <<<"$output")
	assert_output $'value 4711\t10.0.0.7\nvalue 4712\t10.0.0.7\nvalue gitlab-one-5000\t10.0.0.7\nvalue gitlab-two-5000\t10.0.0.7'
}

@test "who cannot read the records, or has wrong settings, is offered no job, and told nothing" {
	run -0 novajob --state-dir="$T/none" __words --operand=JOB
	assert_output ''
	run ! ls "$T/none"
	echo 'flavour = x' >"$T/wrong.conf"
	run -0 novajob --settings="$T/wrong.conf" __words --operand=JOB
	assert_output ''
	mkdir -m 777 "$T/open"
	record "$T/open" gitlab-one-4711 ready
	chmod 777 "$T/open"
	run -0 novajob --state-dir="$T/open" __words --operand=JOB
	assert_output ''
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

@test "bash: the program's words are offered, no more, no less" {
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
	run -0 complete_bash novajob help sweep
	assert_output $'sweep\nsweep-grace'
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
	run -0 complete_bash novajob run script.sh ''
	assert_output ''
	run -0 complete_bash novajob pool ''
	assert_output $'fill\nstatus\ndrain'
	run -0 complete_bash novajob pool fill ''
	assert_output ''
}

@test "bash: values are completed, behind = and behind a blank" {
	touch "$T/my.conf"
	mkdir "$T/my.dir"
	run -0 complete_bash novajob --compat =
	assert_output $'none\npython'
	run -0 complete_bash novajob --compat = py
	assert_output python
	run -0 complete_bash novajob --compat py
	assert_output python
	run -0 complete_bash novajob settings --trust-variables = y
	assert_output yes
	run -0 complete_bash novajob --address f
	assert_output $'fixed\nfloating'
	run -0 complete_bash novajob --settings my
	assert_output $'my.conf\nmy.dir'
	run -0 complete_bash novajob --state-dir my
	assert_output my.dir
	run -0 complete_bash novajob doctor --config = my.c
	assert_output my.conf
	run -0 complete_bash novajob --flavor ''
	assert_output ''
	run -0 complete_bash novajob --job-may-set = flavor,im
	assert_output flavor,image
	run -0 complete_bash novajob --job-may-set usern
	assert_output username
}

@test "bash: the jobs that live are offered, of the state that the line names" {
	visited
	record "$T/state" gitlab-one-4711 ready
	run -0 complete_bash novajob visit ''
	assert_output ''
	run -0 complete_bash novajob --state-dir = "$T/state" visit ''
	assert_output 4711
	echo "state-dir = $T/state" >"$T/my.conf"
	run -0 complete_bash novajob --settings "$T/my.conf" visit 47
	assert_output 4711
	run -0 complete_bash novajob --settings "$T/my.conf" visit 4711 ''
	assert_output ''
	NOVAJOB_STATE_DIR=$T/state run -0 complete_bash novajob visit 5
	assert_output ''
	NOVAJOB_STATE_DIR=$T/state run -0 complete_bash novajob visit 4
	assert_output 4711
}

@test "bash: sourcing says nothing and completes novajob; without the program there is nothing to offer" {
	run -0 bash --norc --noprofile -c 'source "$1" && complete -p novajob' - "$top/completions/novajob"
	assert_output 'complete -F _novajob novajob'
	rm bin/novajob
	run -0 complete_bash novajob ''
	assert_output ''
}

# ---- fish

# complete_fish LINE: the words offered, without their descriptions.
complete_fish()
{
	fish --no-config -c 'source $argv[1]; complete -C "$argv[2]"' "$top/completions/novajob.fish" "$1" 2>&1 | cut -f 1
}

@test "fish: the program's words are offered, no more, no less" {
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
	} | sed -n 's/=$//p' | sort -u >"$T/a"
	fish --no-config -c 'source $argv[1]; complete -c novajob' "$top/completions/novajob.fish" |
		grep -E -- '--(exclusive|force-files|require-parameter)' |
		sed -nE 's/.* (-l|--long-option) ([a-z-]+) .*/--\2/p' | sort -u >"$T/b"
	same 'valued options in fish'
}

@test "fish: words and values are completed where they belong" {
	command -v fish >/dev/null || skip "no fish"
	touch "$T/my.conf" "$T/script.sh"
	mkdir "$T/my.dir"
	run -0 complete_fish 'novajob conf'
	assert_output config
	run -0 complete_fish 'novajob help sweep'
	assert_output $'sweep\nsweep-grace'
	run -0 complete_fish 'novajob help pool '
	assert_output ''
	run -0 complete_fish 'novajob --flavor pool --keys=auto clea'
	assert_output cleanup
	run -0 complete_fish 'novajob settings --js'
	assert_output --json
	run -0 complete_fish 'novajob config --js'
	assert_output ''
	run -0 complete_fish 'novajob --compat '
	assert_output $'none\npython'
	run -0 complete_fish 'novajob --compat=p'
	assert_output --compat=python
	run -0 complete_fish 'novajob --job-may-set flavor,im'
	assert_output flavor,image
	run -0 complete_fish 'novajob --settings my.c'
	assert_output my.conf
	run -0 complete_fish 'novajob --state-dir my'
	assert_output my.dir/
	run -0 complete_fish 'novajob run scr'
	assert_output script.sh
	run -0 complete_fish 'novajob config '
	assert_output ''
	run -0 complete_fish 'novajob pool '
	assert_output $'drain\nfill\nstatus'
	run -0 complete_fish 'novajob pool fill '
	assert_output ''
}

@test "fish: the jobs that live are offered, of the state that the line names" {
	command -v fish >/dev/null || skip "no fish"
	visited
	record "$T/state" gitlab-one-4711 ready
	NOVAJOB_STATE_DIR=$T/none run -0 complete_fish 'novajob visit ' # whatever this host has
	assert_output ''
	run -0 complete_fish "novajob --state-dir=$T/state visit "
	assert_output 4711
	run -0 complete_fish "novajob --state-dir $T/state visit 4"
	assert_output 4711
	run -0 complete_fish "novajob --state-dir $T/state visit 4711 "
	assert_output ''
}

@test "fish: without the program there is nothing to offer, and nothing is said" {
	command -v fish >/dev/null || skip "no fish"
	rm bin/novajob
	run -0 complete_fish 'novajob c'
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

@test "zsh: the program's words are offered, no more, no less" {
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

# on_a_terminal: one line of stdin each, "typed<TAB>what arrives".
on_a_terminal()
{
	local typed arrives
	while IFS=$'\t' read -r typed arrives <&4; do
		run -0 complete_zsh "$typed"
		assert_output "$arrives"
	done 4<&0
}

@test "zsh: words and values are completed where they belong, on a terminal" {
	command -v zsh >/dev/null || skip "no zsh"
	zsh -f -c 'zmodload zsh/zpty' 2>/dev/null || skip "no zsh/zpty"
	touch "$T/my.conf" "$T/script.sh"
	visited
	record "$T/state" gitlab-one-4711 ready
	on_a_terminal <<-END
		conf	config
		settings --js	settings --json
		--compat=py	--compat=python
		--compat py	--compat python
		--job-may-set=flavor,im	--job-may-set=flavor,image
		--address=fi	--address=fixed
		help clea	help cleanup
		help key-p	help key-pair
		help cleanup key-p	help cleanup key-p
		settings --settings=my	settings --settings=my.conf
		doctor --config=my	doctor --config=my.conf
		run scr	run script.sh
		config scr	config scr
		pool fi	pool fill
		visit 47	visit 47
		--state-dir=$T/state visit 47	--state-dir=$T/state visit 4711
	END
}
