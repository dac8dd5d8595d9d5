#!/usr/bin/env bats
# create.bats - whatever happens to a create, at most one server comes of it and cleanup or sweep finds it: prepares are
# killed and faults injected at random. The seed is printed; SEED=n plays a run again, ROUNDS=n plays more.

bats_require_minimum_version 1.5.0

setup_file() {
	load ../lib
	cloud_up
}

teardown_file() {
	load ../lib
	cloud_down
}

setup() {
	load ../lib
	novajob_setup
}

# One line of rules for the create of a job, chosen at random; killers have none.
rule() {
	local create='"request": "POST /compute/.*/servers$", "server": "-job-'$1'$"'
	case $2 in
	reset-before) echo "{$create, \"reset\": \"before\", \"count\": 1}" ;;
	reset-after) echo "{$create, \"reset\": \"after\", \"count\": 1}" ;;
	late) echo "{$create, \"then_status\": 504, \"late\": 3, \"count\": 1}" ;;
	status) echo "{$create, \"then_status\": 503, \"count\": 1}" ;;
	refused) echo "{$create, \"status\": 503, \"count\": 1}" ;;
	slow*) echo "{$create, \"delay\": 1}" ;;
	esac
}

# round ID KIND DELAY: prepare under a fault, killed after DELAY s where KIND says so; then the runner's cleanup.
round() {
	local id=$1 kind=$2 delay=$3 pid client
	export JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/$id.json
	response "$id" >"$JOB_RESPONSE_FILE"
	"$NOVAJOB" --settings="$SETTINGS" prepare >"$BATS_TEST_TMPDIR/$id.log" 2>&1 &
	pid=$!
	case $kind in
	*kill) # the instant is random on purpose
		sleep "$delay"
		kill -KILL $pid 2>/dev/null ;;
	*term)
		sleep "$delay"
		kill -TERM $pid 2>/dev/null ;;
	*client)
		sleep "$delay"
		client=$(pgrep -P $pid) && kill -KILL $client 2>/dev/null ;;
	esac
	wait $pid
	n=$(servers_of "$id")
	((n <= 1)) || echo "job $id ($kind, $delay s): $n servers after prepare"
	"$NOVAJOB" --settings="$SETTINGS" cleanup >>"$BATS_TEST_TMPDIR/$id.log" 2>&1 ||
		echo "job $id ($kind, $delay s): cleanup failed: $(tail -1 "$BATS_TEST_TMPDIR/$id.log")"
	true
}

@test "no create leaks, killed or faulty at random" {
	BATS_TEST_TIMEOUT=1200
	export -f round response servers_of cloud
	export BATS_TEST_TMPDIR CLOUD TESTS
	RANDOM=${SEED:=$RANDOM}
	echo "seed $SEED"
	kinds=(reset-before reset-after late status refused slow-kill slow-term slow-client kill term client)
	rounds=${ROUNDS:-60}
	for ((done = 0; done < rounds; done += 10)); do
		rules=() jobs=()
		for ((i = 0; i < 10; i++)); do
			id=$((JOB_ID + done + i)) kind=${kinds[RANDOM % ${#kinds[@]}]}
			text=$(rule $id "$kind")
			[[ -z $text ]] || rules+=("$text")
			jobs+=("$id $kind $((RANDOM % 6)).$((RANDOM % 10))")
		done
		(IFS=,; cloud knobs "[${rules[*]}]")
		printf '%s\n' "${jobs[@]}" | xargs -P 10 -L 1 bash -c 'round "$@"' round >>"$BATS_TEST_TMPDIR/wrong" 3>&-
	done
	cat "$BATS_TEST_TMPDIR/wrong"
	assert_file_empty "$BATS_TEST_TMPDIR/wrong"
	# what a load balancer kept in its queue for longer than cleanup looked, sweep finds
	run -0 novajob sweep
	echo "sweep: $output"
	run -0 cloud servers
	assert_output ''
	run -0 left_processes
	assert_output ''
}
