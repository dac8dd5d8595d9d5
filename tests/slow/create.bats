#!/usr/bin/env bats
# create.bats - whatever happens to a create, at most one server comes of it and cleanup or sweep finds it: prepares are
# killed and faults injected at random. The seed is printed; SEED=n plays a run again, ROUNDS=n plays more.

load ../lib
with_cloud

setup_file() {
	export BATS_TEST_TIMEOUT=1500
	cloud_up
}

setup() {
	novajob_setup
	CREATE='"request": "POST /compute/.*/servers$"'
	WORDS=$BATS_TEST_TMPDIR/prepare.log # what prepare said
	stage_env
}

# begin_prepare: in the background, its process in $PREPARE.
begin_prepare() {
	"$NOVAJOB" --settings="$SETTINGS" prepare >"$WORDS" 2>&1 3>&- &
	PREPARE=$!
}

# ended PID: its exit code in $STATUS.
ended() {
	STATUS=0
	wait "$1" || STATUS=$?
}

# The descriptions of all floating addresses of ours.
addresses() {
	/usr/bin/openstack floating ip list --long -f value -c Description | grep '^novajob:' || true
}

# How many creates the cloud has had.
creates() {
	cloud requests 'POST /compute/.*/servers ' | wc -l
}

# more_creates_than NUMBER
more_creates_than() {
	(($(creates) > $1))
}

# servers NUMBER: the job has so many.
servers() {
	[[ $(servers_of "$JOB_ID") == "$1" ]]
}

# --- each by itself

# bats test_tags=fault
@test "accepted, then the connection is reset: the server is found, no other is asked for" {
	before=$(creates)
	cloud knobs "[{$CREATE, \"reset\": \"after\", \"count\": 1}]"
	novajob prepare 2>"$WORDS"
	grep -q 'was created all the same' "$WORDS"
	assert_equal "$(($(creates) - before))" 1
	servers 1
	novajob cleanup
	fault_row 'the create is accepted, and the connection reset before the answer' prepare 0 "$WORDS"
}

# bats test_tags=fault
@test "504, and the server appears 3 s later: it is found, no other is asked for" {
	before=$(creates)
	cloud knobs "[{$CREATE, \"then_status\": 504, \"late\": 3, \"count\": 1}]"
	novajob prepare 2>"$WORDS"
	grep -q 'was created all the same' "$WORDS"
	assert_equal "$(($(creates) - before))" 1
	servers 1
	novajob cleanup
	fault_row 'the create is answered 504, and the server appears 3 s later' prepare 0 "$WORDS"
}

# bats test_tags=fault
@test "504, and the server appears when cleanup has looked for it: sweep deletes it at once" {
	cloud knobs "[{$CREATE, \"then_status\": 504, \"late\": 25, \"count\": 1}]"
	before=$(creates)
	begin_prepare
	wait_for 30 more_creates_than "$before"
	kill -TERM "$PREPARE"
	ended "$PREPARE"
	assert_equal "$STATUS" 2
	intent=$(jq '.intent_at' "$RECORD")
	((intent > 0))
	novajob cleanup
	# it looked for as long as it promises, no shorter
	((EPOCHSECONDS >= intent + 15))
	servers 0
	assert_equal "$(jq -r .phase "$RECORD")" lost
	wait_for 60 servers 1
	run -0 novajob sweep
	assert_output --partial 'its job was cleaned up'
	fault_row 'the create is answered 504, and the server appears when cleanup has looked for it' sweep 0 "$WORDS"
}

# The record's lock is kept from novajob, so that it stays where it is.
wants_lock() {
	[[ $(readlink "/proc/$PREPARE/fd/"* 2>/dev/null) == *"$STATE/lock"* ]]
}

# bats test_tags=fault
@test "novajob is killed between the cloud's answer and the record" {
	cloud knobs "[{$CREATE, \"delay\": 2}]"
	begin_prepare
	wait_for 30 eval '[[ -e $RECORD && $(jq .intent_at "$RECORD") != 0 ]]'
	exec 9>"$STATE/lock"
	flock 9
	wait_for 30 servers 1
	wait_for 30 wants_lock
	kill -KILL "$PREPARE"
	ended "$PREPARE"
	assert_equal "$STATUS" 137
	exec 9>&-
	run -0 jq -r '[.phase, .server_id] | @csv' "$RECORD"
	assert_output '"creating",'
	run -0 novajob cleanup
	assert_output ''
	fault_row 'novajob is killed between the answer to the create and the note of it' cleanup 0 "$WORDS"
}

# bats test_tags=fault
@test "cleanup while prepare is still creating: both leave nothing" {
	cloud knobs "[{$CREATE, \"delay\": 4}]"
	begin_prepare
	wait_for 30 eval '[[ -e $RECORD && $(jq .intent_at "$RECORD") != 0 ]]'
	run -0 novajob cleanup
	assert_output ''
	ended "$PREPARE"
	assert_equal "$STATUS" 2
	fault_row 'cleanup while prepare still waits for the answer to its create' prepare 2 "$WORDS"
}

# bats test_tags=fault
@test "a second prepare while the first is still creating: one server, the second's" {
	cloud knobs "[{$CREATE, \"delay\": 6, \"count\": 1}]"
	begin_prepare
	wait_for 30 eval '[[ -e $RECORD && $(jq .intent_at "$RECORD") != 0 ]]'
	novajob prepare 2>"$BATS_TEST_TMPDIR/second.log"
	ended "$PREPARE"
	assert_equal "$STATUS" 2
	wait_for 10 servers 1
	run -0 cloud servers
	assert_output --partial "novajob:try=$(jq -r .try "$RECORD")"
	assert_equal "$(jq -r .phase "$RECORD")" ready
	novajob cleanup
	fault_row 'a second prepare of the job begins while the first waits for the answer to its create' prepare 2 "$WORDS"
}

# --- at random

# What is done to a round's prepare, and how that has to end. What begins with kill, term or client is done to novajob or
# to its client at a random instant of the create call; what follows the dash makes a part of the call last longer.
declare -gA ENDS=(
	[kill]=137 [kill-post]=137 [kill-unanswered]=137 [kill-answered]=137
	[term]=2 [term-post]=2 [term-answered]=2
	[client]=0 [client-post]=0 [client-answered]=0
	[reset-before]=0 [reset-after]=0 [late]=0 [later]=0 [status]=0 [refused]=0
	[cleanup]=2 [again]=0
	[kill-floating]=137 [kill-fipasked]=137 [term-floating]=2 [client-floating]=0 [cleanup-floating]=2
	[reset-floating]=0 [status-floating]=0
)
# The same as rows of novajob-faults(7).
declare -gA WHAT=(
	[kill]='novajob is killed at a random instant of prepare'
	[kill-post]='novajob is killed at a random instant while the create takes long'
	[kill-unanswered]='novajob is killed while an accepted create is not answered'
	[kill-answered]='novajob is killed while the client looks at the server it made'
	[term]='novajob is told to stop at a random instant of prepare'
	[term-post]='novajob is told to stop at a random instant while the create takes long'
	[term-answered]='novajob is told to stop while the client looks at the server it made'
	[client]='the client is killed at a random instant of prepare'
	[client-post]='the client is killed at a random instant while the create takes long'
	[client-answered]='the client is killed while it looks at the server it made'
	[reset-before]='the connection is reset before the create is accepted, among many others'
	[reset-after]='the connection is reset when the create is accepted, among many others'
	[late]='the create is answered 504 and carried out 3 s later, among many others'
	[later]='the create is answered 504 and carried out 20 s later, after another one'
	[status]='the create is carried out and answered 503'
	[refused]='the create is answered 503 and not carried out'
	[cleanup]='cleanup begins at a random instant of prepare'
	[again]='a second prepare of the job begins at a random instant of the first'
	[kill-floating]='novajob is killed at a random instant of the allocation and attachment of a floating address'
	[kill-fipasked]='novajob is killed at a random instant while the allocation of a floating address takes long'
	[term-floating]='novajob is told to stop at a random instant of the allocation and attachment of a floating address'
	[client-floating]='the client is killed at a random instant of the allocation and attachment of a floating address'
	[cleanup-floating]='cleanup begins at a random instant of the allocation and attachment of a floating address'
	[reset-floating]='the connection is reset when the allocation of a floating address is accepted'
	[status-floating]='the allocation of a floating address is carried out and answered 503'
)

# rules ID KIND: the cloud's part in it.
rules() {
	local post='"request": "POST /compute/.*/servers$", "server": "-job-'$1'$"'
	local fip='"request": "POST /network/v2.0/floatingips$", "server": "-'$1':"'
	local show='"request": "GET /compute/.*/servers/[0-9a-f-]{36}$", "server": "-job-'$1'$"'
	case $2 in
	cleanup-floating) echo "{$fip, \"delay\": 3, \"count\": 1}" ;;
	reset-floating) echo "{$fip, \"reset\": \"after\", \"count\": 1}" ;;
	status-floating) echo "{$fip, \"then_status\": 503, \"count\": 1}" ;;
	client-floating) echo "{$fip, \"delay\": 1.2, \"count\": 1}" ;;
	kill-fipasked) echo "{$fip, \"hang\": \"after\"}" ;;
	*-floating) echo "{$fip, \"delay\": 0.5, \"count\": 1}" ;;
	*-post | again) echo "{$post, \"delay\": 1.5, \"count\": 1}" ;;
	kill-unanswered) echo "{$post, \"hang\": \"after\"}" ;;
	*-answered) echo "{$show, \"delay\": 1.5, \"count\": 1}" ;;
	reset-*) echo "{$post, \"reset\": \"${2#reset-}\", \"count\": 1}" ;;
	late) echo "{$post, \"then_status\": 504, \"late\": 3, \"count\": 1}" ;;
	later) echo "{$post, \"then_status\": 504, \"late\": $LATER, \"count\": 1}" ;;
	status) echo "{$post, \"then_status\": 503, \"count\": 1}" ;;
	refused) echo "{$post, \"status\": 503, \"count\": 1}" ;;
	esac
	case $2 in # prepare must still be at it when its time comes
	kill-floating | term-floating) echo "{\"match\": \"-job-$1\$\", \"no_sshd\": true}" ;;
	*-floating | *-fipasked) ;;
	kill* | term* | cleanup) echo "{\"match\": \"-job-$1\$\", \"spawn_delay\": 60}" ;;
	esac
}

# round ID KIND DELAY: a prepare, and DELAY s after it began its create what KIND says; then the runner's cleanup.
# One line of how it went: KIND, what the record and the cloud knew after prepare; and one for all that is wrong.
round() {
	local id=$1 kind=$2 delay=$3 log=$DIR/$1.log status=0 other='' slow='' begun='creating server' pid n known args=()
	wrong() { echo "wrong: job $id ($kind, $delay s): $*"; }
	export JOB_RESPONSE_FILE=$DIR/$id.json
	response "$id" >"$JOB_RESPONSE_FILE"
	[[ $kind != *-@(floating|fipasked) ]] || args=(--floating-network=public) begun='waiting for ACTIVE'
	"$NOVAJOB" --settings="$SETTINGS" "${args[@]}" prepare >"$log" 2>&1 &
	pid=$!
	case $kind in
	kill* | term* | client* | cleanup* | again)
		until [[ $(<"$log") == *"$begun"* ]]; do
			kill -0 $pid || break
			sleep 0.02
		done
		# these are of the time when the cloud has carried it out
		until [[ $kind != *-@(unanswered|answered) || $(servers_of "$id") == 1 ]]; do
			kill -0 $pid || break
			sleep 0.2
		done
		sleep "$delay" # the instant is random on purpose
		;;
	esac
	case $kind in
	kill*) kill -KILL $pid ;;
	term*) kill -TERM $pid ;;
	client*) pkill -KILL -P $pid ;;
	cleanup*) "$NOVAJOB" --settings="$SETTINGS" cleanup >>"$log" 2>&1 || wrong "the early cleanup failed" ;;
	again)
		"$NOVAJOB" --settings="$SETTINGS" prepare >"$DIR/$id.again" 2>&1 &
		other=$! ;;
	esac
	wait $pid || status=$?
	if [[ -n $other ]]; then # the first may win or lose
		status=0
		wait $other || status=$?
	fi
	# on a host with no time left for its clients, novajob gives up and leaves more to cleanup
	grep -qsE 'no answer from|no time is left' "$log" "$DIR/$id.again" && slow=yes
	[[ " $ENDS_HERE " == *" $kind=$status "* || ($slow && $status == 2) ]] ||
		wrong "prepare ended with $status: $(tail -1 "$log")"
	n=$(servers_of "$id")
	known=$(jq -r 'if .server_id != null then "noted" elif .intent_at != 0 then "intended" else "blank" end' \
		"$STATE"/jobs/*-"$id"/record.json)
	# a create that is carried out when another one was begun long ago makes a second one, for cleanup or sweep
	((n <= 1)) || [[ $slow || $kind == later ]] || wrong "$n servers after prepare"
	echo "$kind $known $n${slow:+ slow}"
	echo "$kind $status" >"$DIR/$id.end"
	if [[ $kind == cleanup* ]]; then
		((n == 0)) || [[ $slow ]] || wrong "$n servers after cleanup and prepare"
	else
		"$NOVAJOB" --settings="$SETTINGS" cleanup >>"$log" 2>&1 || wrong "cleanup failed: $(tail -1 "$log")"
	fi
}

shuffle_kinds() {
	local i n kind
	for ((i = ${#kinds[@]} - 1; i > 0; i--)); do
		n=$((RANDOM % (i + 1))) kind=${kinds[i]}
		kinds[i]=${kinds[n]} kinds[n]=$kind
	done
}

# A request that the cloud's front took in before the last round ended is through.
all_through() {
	((EPOCHSECONDS > over + LATER))
}

# bats test_tags=fault
@test "no create leaks, killed or faulty at random" {
	local kinds kind id n i text ids=() texts=() began=$SECONDS
	local -A kind_of
	export LATER=20 DIR=$BATS_TEST_TMPDIR SETTINGS STATE TESTS ENDS_HERE=''
	export -f round response servers_of cloud
	mapfile -t kinds < <(printf '%s\n' "${!ENDS[@]}" | sort)
	for kind in "${kinds[@]}"; do ENDS_HERE+=" $kind=${ENDS[$kind]}"; done
	set_to client-slots "${AT_A_TIME:=8}"
	set_to call-timeout 120
	RANDOM=${SEED:=$RANDOM}
	echo "# note: $((ROUNDS = ${ROUNDS:-200})) rounds with seed $SEED" >&3
	for ((i = 0; i < ROUNDS; i++)); do
		# each kind has its turn, in no order
		((i % ${#kinds[@]} != 0)) || shuffle_kinds
		id=$((JOB_ID + i + 1)) kind=${kinds[i % ${#kinds[@]}]}
		mapfile -t -O ${#texts[@]} texts < <(rules $id "$kind")
		kind_of[$id]=$kind
		ids+=("$id $kind $((RANDOM % 2)).$((RANDOM % 10))$((RANDOM % 10))")
	done
	text=$(IFS=,; echo "${texts[*]}")
	cloud knobs "[$text]"
	printf '%s\n' "${ids[@]}" | xargs -P "$AT_A_TIME" -L 1 bash -c 'round "$@"' round >"$DIR/rounds" 2>"$DIR/noise" 3>&-
	over=$EPOCHSECONDS
	echo "$ROUNDS rounds in $((SECONDS - began)) s; what was done, what the record knew of a server, what the cloud had:"
	grep -v '^wrong' "$DIR/rounds" | sort | uniq -c
	run ! grep '^wrong' "$DIR/rounds"
	assert_output ''
	assert_equal "$(wc -l <"$DIR/rounds")" "$ROUNDS"
	# the instants are spread: before the create, between the cloud's knowing and ours, and after it
	for text in 'blank 0|intended 0' 'intended 1' 'noted 1'; do
		n=$(grep -cE "^(kill|term|client)[a-z-]* ($text)$" "$DIR/rounds" || true)
		((ROUNDS < 100 || n >= 3)) || fail "only $n kills at '$text'"
	done
	# what a load balancer kept in its queue for longer than cleanup looked, sweep finds
	for id in $(cloud servers | sed 's/.*-job-\([0-9]*\) .*/\1/'); do
		[[ ${kind_of[$id]} == @(later|cleanup*) ]] || fail "cleanup has left a server of job $id (${kind_of[$id]})"
	done
	run -0 addresses
	assert_output ''
	wait_for $((LATER + 5)) all_through
	run -0 novajob sweep
	echo "sweep has deleted $(grep -c ^delete <<<"$output")"
	run -0 cloud servers
	assert_output ''
	run -0 left_processes
	assert_output ''
	for kind in "${kinds[@]}"; do
		id=$(grep -lx "$kind ${ENDS[$kind]}" "$DIR"/*.end | head -1)
		[[ $id ]] || ((ROUNDS >= 100)) || continue
		[[ $id ]] || fail "none of $kind ended with ${ENDS[$kind]}"
		id=$(basename "$id" .end)
		fault_row "${WHAT[$kind]}" prepare "${ENDS[$kind]}" "$DIR/$id.log" "$id"
	done
}
