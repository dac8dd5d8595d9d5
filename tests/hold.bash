# shellcheck shell=bash
# hold.bash - what the tests of kept servers share: a job of their own owner, with keys of its own, kept for 30 min if it fails.

setup() {
	novajob_setup
	OWNER=o$JOB_ID T=$BATS_TEST_TMPDIR # each test sweeps only what is its own
	KEY=11111111-2222-3333-4444-555555555555-$JOB_ID
	set_to owner "$OWNER"
	set_to keys per-job
	sed -i '/^key-pair\|^private-key/d' "$SETTINGS"
	set_to keep-on-failure 30m
	set_to sweep-grace 0
	stage_env
}

teardown() {
	tail -n 20 "$T/prepare.log" "$T/err" "$LOG" "$RUNNER_LOG" >&2 2>/dev/null || : # shown when the test failed
	cloud knobs '[]'
	novajob release "$JOB_ID" >/dev/null 2>&1 || :
	novajob cleanup >/dev/null 2>&1 || :
}

# The one server of this test.
server() {
	cloud servers | sed -n "s/ .*novajob:owner=${OWNER}[, ].*//p"
}

gone() {
	[[ -z $(server) ]]
}

# What the cloud knows of it: property NAME.
property() {
	cloud servers --json | jq -r --arg o "$OWNER" --arg p "novajob:$1" '.[] | select(.metadata["novajob:owner"] == $o) | .metadata[$p]'
}

record() {
	jq -r ".$1" "$STATE/jobs/$KEY/record.json"
}

# edit FILTER: of the record; $now is the time.
edit() {
	jq --argjson now "$EPOCHSECONDS" "$1" "$STATE/jobs/$KEY/record.json" >"$T/record" &&
		cp "$T/record" "$STATE/jobs/$KEY/record.json"
}

# near NUMBER WANTED: below what is wanted by no more than a busy host may need.
near() {
	(($1 <= $2 && $1 > $2 - 200)) || fail "$1 is not a little below $2"
}

# held_for SECONDS: the record says so, and the cloud the same; the server is there.
held_for() {
	assert_equal "$(record phase)" held
	near $(($(record expires) - EPOCHSECONDS)) "$1"
	assert_equal "$(property expires)" "$(record expires)"
	assert_equal "$(property life)" $(($(record expires) - $(record created)))
	[[ -n $(server) ]]
}

# stage NAME STATUS LINE...: a script of just these lines; what it says is in $T/out and $T/err.
stage() {
	local status=0
	printf '%s\n' "${@:3}" >"$T/script"
	novajob run "$T/script" "$1" >"$T/out" 2>"$T/err" 3>&- || status=$?
	assert_equal "$status" "$2"
}

# A job whose script has failed, and that is over.
failed_job() {
	prepared
	stage build_script 1 'echo trace >$HOME/trace; exit 3'
	novajob cleanup 2>"$T/cleanup.log"
}

# The same on a host of its own, which has the settings but not the records.
other_host() {
	novajob --state-dir="$T/other-state" "$@"
}

# as_later SECONDS COMMAND...: on the other host, whose clock is so much ahead, as openstack's there.
as_later() {
	off "+${1}s" --state-dir="$T/other-state" "${@:2}"
}

no_trace_on_host() {
	[[ ! -e $STATE/jobs/$KEY ]]
}

keys_left() {
	find "$STATE/jobs/$KEY" -name '*ed25519*' -o -name known_hosts -o -name user-data
}
