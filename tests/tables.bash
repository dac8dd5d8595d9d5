# shellcheck shell=bash
# tables.bash - what the bats files share that compare lists with the program's tables: no cloud. Each loads it, and calls
# tables_setup in its setup.

tables_setup()
{
	local name

	for name in $(compgen -e | grep -E '^(NOVAJOB|CUSTOM_ENV)_'); do
		unset "$name"
	done
	T=$BATS_TEST_TMPDIR
	export HOME=$T LC_ALL=C TZ=UTC NOVAJOB_SETTINGS=/dev/null
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
	novajob __words "${@:2}" | sed -n "s/^$1 \([^\t]*\).*/\1/p"
}

# The settings' names, from the program.
setting_names()
{
	novajob settings --json | jq -r 'keys[]'
}
