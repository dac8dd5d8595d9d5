#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# lost.bats - what tests/lost.bats tries with a small alive-timeout, with the default of 60 s.

load ../lib
with_cloud

setup() {
	novajob_setup
	T=$BATS_TEST_TMPDIR
}

@test "a frozen server is noticed within 60 s, without output and with it" {
	local i scripts=('sleep 300' 'while :; do echo more; sleep 0.05; done') pids=() servers=() at
	for i in 0 1; do
		stage_env $((JOB_ID + i))
		cp "$JOB_RESPONSE_FILE" "$T/$i.json"
		export JOB_RESPONSE_FILE=$T/$i.json
		novajob prepare 2>"$T/prepare.$i"
		servers+=("$(cloud servers | sed -n "s/^\([^ ]*\) [^ ]*-job-$((JOB_ID + i)) .*/\1/p")")
		printf '%s\n' 'echo begun' "${scripts[i]}" >"$T/script.$i"
		"$NOVAJOB" --settings="$SETTINGS" run "$T/script.$i" build_script >"$T/out.$i" 2>"$T/err.$i" 3>&- &
		pids+=($!)
		wait_for 30 grep -qx begun "$T/out.$i"
	done
	cloud freeze "${servers[@]}"
	at=$SECONDS
	for i in 0 1; do
		local status=0
		wait "${pids[i]}" || status=$?
		echo "job $i: $((SECONDS - at)) s"
		assert_equal "$status" 2
		# the last answer may be 15 s old when it freezes; then the look at the cloud
		((SECONDS - at >= 40 && SECONDS - at <= 75)) || fail "after $((SECONDS - at)) s"
		run -0 grep 'was lost: the cloud says ACTIVE, but it does not answer' "$T/err.$i"
	done
	for i in 0 1; do JOB_RESPONSE_FILE=$T/$i.json novajob cleanup; done
	assert_equal "$(left_processes)" ''
}
