#!/usr/bin/env bats
# host_many.bats - many jobs at once on one host: all get their server, and no more openstack processes live than
# client-slots says. JOBS_AT_ONCE=n plays another number than 100.

load ../lib
with_cloud

setup() {
	novajob_setup
	set_to ssh-timeout 300 # a host with all of its processors busy
}

# The processes of this test, which works in a folder of its own: NOVAJOBS KIB CLIENTS KIB, one line per look, as long as
# $BATS_TEST_TMPDIR/looking is there.
look() {
	while [[ -e $BATS_TEST_TMPDIR/looking ]]; do
		ps -eo pid=,rss=,args= | while read -r pid rss args; do
			case $args in
			'novajob: prepare: job '* | 'novajob: cleanup: job '*)
				((${args##* } <= JOB_ID || ${args##* } > JOB_ID + many)) || echo "novajob $rss" ;;
			*/openstack*)
				! grep -qsz "^HOME=$HOME$" "/proc/$pid/environ" || echo "client $rss" ;;
			esac
		done | awk '$1 == "novajob" { n++; r += $2 } $1 == "client" { c++; k += $2 } END { print n + 0, r + 0, c + 0, k + 0 }'
		sleep 1 # between two looks, which cost processor time themselves
	done >>"$BATS_TEST_TMPDIR/looks"
}

# all STAGE: that stage of all jobs at once; each exit code is a line of $BATS_TEST_TMPDIR/STAGE.
all() {
	local i stage=$1
	for ((i = 1; i <= many; i++)); do
		(
			code=0
			JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/$i.json "$NOVAJOB" --settings="$SETTINGS" "$stage" \
				>"$BATS_TEST_TMPDIR/$i.$stage" 2>&1 || code=$?
			echo "$code" >>"$BATS_TEST_TMPDIR/$stage"
			((code == 0)) || echo "job $i: $(grep error "$BATS_TEST_TMPDIR/$i.$stage")"
		) 3>&- &
		started
	done
	wait_started
	assert_equal "$(sort "$BATS_TEST_TMPDIR/$stage" | uniq -c | tr -s ' ')" " $many 0"
}

# most COLUMN: of the looks.
most() {
	awk -v c="$1" '$c > m { m = $c } END { print m + 0 }' "$BATS_TEST_TMPDIR/looks"
}

@test "many prepares started together, then as many cleanups: all succeed, within client-slots processes" {
	BATS_TEST_TIMEOUT=3000
	local many=${JOBS_AT_ONCE:-100} i began prepared slots=4
	for ((i = 1; i <= many; i++)); do
		response $((JOB_ID + i)) >"$BATS_TEST_TMPDIR/$i.json"
	done
	stage_env
	touch "$BATS_TEST_TMPDIR/looking"
	look 3>&- &
	began=$SECONDS
	all prepare
	prepared=$((SECONDS - began))
	run -0 bash -c "\"$TESTS/cloud/cloud\" servers \"$CLOUD\" | wc -l"
	assert_output "$many"
	all cleanup
	rm "$BATS_TEST_TMPDIR/looking"
	echo "# note: $many prepares took $prepared s, $many cleanups $((SECONDS - began - prepared)) s on $(nproc) processors;" \
		"at most $(most 1) novajob with $(($(most 2) / 1024)) MiB, $(most 3) clients with $(($(most 4) / 1024)) MiB" >&3
	run -0 cloud servers
	assert_output ''
	(($(most 1) >= many / 2)) || fail 'nothing was measured'
	(($(most 3) > 0 && $(most 3) <= slots)) || fail "$(most 3) clients"
	(($(most 2) <= many * 4096)) || fail "novajob: $(most 2) KiB" # shared pages are counted each time
	(($(most 4) <= slots * 150 * 1024)) || fail "clients: $(most 4) KiB"
	assert_equal "$(left_processes)" ''
}
