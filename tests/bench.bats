#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# bench.bats - `make bench` in small: each row is there and makes sense. What is fast is not judged here.

bats_require_minimum_version 1.5.0

setup() {
	load lib
	bats_load_library bats-support
	bats_load_library bats-assert
	T=$BATS_TEST_TMPDIR
	export BENCH_MB=2 BENCH_TIMES=3 # of memory and time the least
}

bench() {
	"$TESTS/bench/bench" "$@" 3>&-
}

@test "each row is measured, and stands in the JSON and in the page" {
	local row
	cp "$TESTS/../man/novajob-performance.7" "$T/page"
	bench --json --page "$T/page" >"$T/json"
	jq -e '.machine | .cpus >= 1 and .ssh != ""' "$T/json"
	bench --list >"$T/list"
	assert_equal "$(jq -r '.rows[].name' "$T/json")" "$(<"$T/list")"
	jq -e 'all(.rows[]; (.ours >= 0) and (.floor == null or .floor > 0) and (.goal != "") and (.met | type == "boolean"))' \
		"$T/json"
	for row in 'run stage, empty script' 'relay, lines of 80 bytes' 'latency of a line' 'memory of a stage that relays'; do
		jq -e --arg row "$row" 'any(.rows[]; .name == $row and .ours > 0)' "$T/json"
	done
	while read -r row; do
		grep -qF -- "${row//-/\\-}" "$T/page" || fail "$row is not in the page"
	done <"$T/list"
	run -0 mandoc -T lint -W warning "$T/page"
}

@test "only the rows whose names begin as asked for" {
	run -0 bench --list latency
	assert_output $'latency of a line\nlatency of a partial line'
	run -1 bench nonsense
	assert_output --partial 'no such row'
}
