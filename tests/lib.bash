# shellcheck shell=bash
# lib.bash - what the bats files share: a simulated cloud per file, settings, jobs, waiting for conditions.
# `load lib` at the top of a file, and `with_cloud` behind it.

bats_require_minimum_version 1.5.0

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NOVAJOB=${NOVAJOB:-$TESTS/../build/novajob}
CLOUD=$BATS_FILE_TMPDIR/cloud
RUNNER=$TESTS/runner/runner
export NOVAJOB CLOUD RUNNER
export LC_ALL=C.UTF-8 TZ=UTC
export -n NOVAJOB_TOOLS # novajob takes the name for a setting it does not know
export NOVAJOB_JOB_LOG=plain # joblog.bats looks at what GitLab gets
unset NOVAJOB_SETTINGS "${!OS_@}" http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

# with_cloud: a cloud for the file; settings and a job of its own for each test. A function that the file defines below
# counts instead: its setup calls novajob_setup, its setup_file cloud_up.
with_cloud() {
	setup_file() {
		cloud_up
	}
	teardown_file() {
		cloud_down
	}
	setup() {
		novajob_setup
	}
}

# Start the file's cloud; arguments go to `cloud start`.
cloud_up() {
	"$TESTS/cloud/cloud" start "$CLOUD" "$@" >/dev/null
}

cloud_down() {
	"$TESTS/cloud/cloud" stop "$CLOUD"
}

# cloud COMMAND [ARG...]: tests/cloud/cloud COMMAND DIR ARG... What waits ask for again and again, and what each test says
# at its start, does without a Python process.
cloud() {
	local command=$1 port secret line fd
	shift
	case $command:$# in
	servers:0)
		read -r port secret <"$CLOUD/control" && exec {fd}<>"/dev/tcp/127.0.0.1/$port" || return 1
		printf 'POST /control/servers HTTP/1.1\r\nX-Control: %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}' "$secret" >&"$fd"
		while read -r line <&"$fd" && [[ $line != $'\r' ]]; do :; done
		cat <&"$fd"
		exec {fd}<&-
		;;
	requests:1) cut -d ' ' -f 2- "$CLOUD/requests.log" | grep -P -- "$1" || : ;;
	knobs:1)
		if [[ $1 != '[]' ]]; then
			"$TESTS/cloud/cloud" knobs "$CLOUD" "$1" # looks at it, too
			return
		fi
		echo '[]' >"$CLOUD/knobs.new" && mv "$CLOUD/knobs.new" "$CLOUD/knobs.json"
		;;
	*) "$TESTS/cloud/cloud" "$command" "$CLOUD" "$@" ;;
	esac
}

# The environment and the settings of a test: $SETTINGS, state in $STATE, the cloud's OS_*.
# Each test has its own job id, so that tests do not see each other's servers: $JOB_ID.
novajob_setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
	bats_load_library bats-file
	# shellcheck disable=SC1091
	. "$CLOUD/openrc"
	export HOME=$BATS_TEST_TMPDIR/home TMPDIR=$BATS_TEST_TMPDIR/tmp
	export SETTINGS=$BATS_TEST_TMPDIR/novajob.conf STATE=$BATS_TEST_TMPDIR/state
	export ASAN_OPTIONS=verify_asan_link_order=0 # where sanitized: faketime's library is loaded before its own
	STARTED=()
	LOG=$BATS_TEST_TMPDIR/job.log RESULT=$BATS_TEST_TMPDIR/result.json RUNNER_LOG=$BATS_TEST_TMPDIR/runner.log
	JOB_ID=$((1000 + RANDOM * 32768 + RANDOM))
	RECORD=$STATE/jobs/11111111-2222-3333-4444-555555555555-$JOB_ID/record.json
	mkdir -p "$HOME" "$TMPDIR"
	light_client
	settings_file >"$SETTINGS"
	chmod 600 "$SETTINGS"
	cloud knobs '[]'
}

# A third of the client's start less; tests/openstack and the clients from PyPI start as they are.
light_client() {
	local lib
	lib=$HOME/.local/lib/$(readlink /usr/bin/python3)
	mkdir -p "$lib"
	ln -sfn "$TESTS/light" "$lib/site-packages"
}

settings_file() {
	cat <<-END
		flavor = m1.tiny
		image = builder-one
		network = ci-net
		security-group = ci
		key-pair = ci-key
		username = $(cat "$CLOUD/user")
		private-key = $CLOUD/id_ed25519
		ssh-port = $(cat "$CLOUD/ssh-port")
		ssh-timeout = 60
		stop-grace = 2
		busy-timeout = 0
		state-dir = $STATE
		${EXTRA_SETTINGS:-}
	END
}

# set_to NAME VALUE: change or add one setting of the file.
set_to() {
	sed -i "/^$1 *=/d" "$SETTINGS"
	printf '%s = %s\n' "$1" "$2" >>"$SETTINGS"
}

# job [RUNNER OPTION...]: play a whole job with tests/runner. Log in $LOG, result in $RESULT, cleanup's in $RUNNER_LOG.
job() {
	"$RUNNER" --driver "$NOVAJOB" --driver-arg="--settings=$SETTINGS" --job-id "$JOB_ID" \
		--builds-dir /tmp/builds --cache-dir /tmp/cache --retry-wait 0.1 --graceful-kill-timeout 30 \
		--log "$LOG" --runner-log "$RUNNER_LOG" --result "$RESULT" "$@" 3>&-
}

# The environment of a stage as the runner gives it, for calling novajob by hand: response FILE, TMPDIR, exit code file.
# shellcheck disable=SC2120
stage_env() {
	export JOB_RESPONSE_FILE=$BATS_TEST_TMPDIR/response.json BUILD_EXIT_CODE_FILE=$BATS_TEST_TMPDIR/code
	export BUILD_FAILURE_EXIT_CODE=1 SYSTEM_FAILURE_EXIT_CODE=2
	export CUSTOM_ENV_CI_RUNNER_ID=7 CUSTOM_ENV_CI_CONCURRENT_ID=0
	response "${1:-$JOB_ID}" >"$JOB_RESPONSE_FILE"
}

# response ID [INSTANCE]: a JOB_RESPONSE_FILE.
response() {
	cat <<-END
		{"id": $1, "token": "glcbt-x", "job_info": {"project_id": 42, "project_name": "p",
		 "project_full_path": "group/p", "instance_uuid": "${2:-11111111-2222-3333-4444-555555555555}"},
		 "git_info": {"repo_url": "https://gitlab.example/group/p.git", "ref": "main", "protected": true},
		 "runner_info": {"timeout": 3600}, "image": {"name": ""}, "variables": []}
	END
}

# novajob ARG...: with the test's settings.
novajob() {
	"$NOVAJOB" --settings="$SETTINGS" "$@"
}

# prepared: a server for $JOB_ID by novajob prepare, stages callable by hand afterwards.
prepared() {
	stage_env "$JOB_ID"
	novajob prepare 2>"$BATS_TEST_TMPDIR/prepare.log"
}

# one_server [NAME VALUE]...: in setup_file: the cloud, and a server for the whole file, of job 777; with these settings.
# What has to be there before it, the file's function before_server makes.
one_server() {
	cloud_up
	BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR/shared
	use_one_server
	while (($# > 0)); do
		set_to "$1" "$2"
		shift 2
	done
	! declare -F before_server >/dev/null || before_server
	novajob prepare 2>"$BATS_FILE_TMPDIR/prepare.log" || {
		cat "$BATS_FILE_TMPDIR/prepare.log" >&2
		return 1
	}
}

# use_one_server: in setup: a test whose stages are job 777's.
use_one_server() {
	novajob_setup
	T=$BATS_TEST_TMPDIR OUT=$BATS_TEST_TMPDIR/out ERR=$BATS_TEST_TMPDIR/err
	set_to state-dir "$BATS_FILE_TMPDIR/state"
	stage_env 777
}

# stage LINE...: a script of just these lines is run: stdout to $OUT, stderr to $ERR.
stage() {
	printf '%s\n' "$@" >"$T/script"
	novajob run "$T/script" build_script >"$OUT" 2>"$ERR" 3>&-
}

# How many servers of a job the cloud has.
servers_of() {
	cloud servers | grep -c -- "-job-$1 " || true
}

# started: note the child that was just put into the background, for wait_started. A bare `wait` would wait for bats'
# own time-out process, too.
started() {
	STARTED+=($!)
}

# Wait for all of them, however they end.
wait_started() {
	((${#STARTED[@]} == 0)) || wait "${STARTED[@]}" || true
	STARTED=()
}

# wait_for SECONDS COMMAND...: until it succeeds; fails when it has not within SECONDS.
wait_for() {
	local until=$((SECONDS + $1 + 1))
	shift
	while ! "$@"; do
		if ((SECONDS >= until)); then
			echo "waited in vain for: $*" >&2
			return 1
		fi
		sleep 0.05
	done
}

# symptom TEXT [FILE]: novajob says so, in FILE or else in $output, "..." standing for anything; and novajob-troubleshooting(7)
# has TEXT. tests/troubleshooting.bats sees that every text there has such a line in a test.
symptom() {
	local said=${2:-} pattern
	grep -qxF -- "$1" <(symptoms) || fail "novajob-troubleshooting(7) does not have: $1"
	pattern=$(sed -e 's/[][\\.*^$+?(){}|]/\\&/g' -e 's/\\\.\\\.\\\./.*/g' <<<"$1")
	if [[ -n $said ]]; then said=$(cat "$said"); else said=$output; fi
	grep -qE -- "$pattern" <<<"$said" || fail "nobody says: $1
but: $said"
}

# The texts of novajob-troubleshooting(7), a line each.
symptoms() {
	sed -n 's/^\.It Sy "\(.*\)"$/\1/p' "$TESTS/../man/novajob-troubleshooting.7" | sed "s/\\\\(aq/'/g"
}

# Processes that were started by this test and still live: their TMPDIR or HOME is below the test's own. One grep looks at
# all of them: a fork for each process of a busy host would take seconds.
left_processes() {
	local p
	grep -lszE "^(TMPDIR|HOME)=$BATS_TEST_TMPDIR/" /proc/[0-9]*/environ | while read -r p; do
		p=${p%/environ}
		[[ ${p#/proc/} != "$$" && ${p#/proc/} != "$BASHPID" ]] || continue
		if [[ $(tr '\0' ' ' 2>/dev/null <"$p/cmdline") == *novajob* || $(cat "$p/comm" 2>/dev/null) == @(ssh|openstack) ]]; then
			printf '%s %s\n' "${p#/proc/}" "$(tr '\0' ' ' 2>/dev/null <"$p/cmdline")"
		fi
	done
}

# … but for the connection that a job's stages share.
nobody_left() {
	[[ -z $(left_processes | grep -v -- ' -N -- ') ]]
}

# Processes of commands in the servers: all that carry a server's name, but not its sshd.
in_server() {
	local p
	for p in $(grep -lsz "^NOVASIM_SERVER=" /proc/[0-9]*/environ | tr '\0' '\n'); do
		p=${p#/proc/} p=${p%/environ}
		grep -qsz "^NOVASIM_CLOUD=$CLOUD\$" "/proc/$p/environ" && [[ $(cat "/proc/$p/comm" 2>/dev/null) != sshd ]] &&
			[[ $(ps -o stat= -p "$p") != Z* ]] && ps -o pid=,args= -p "$p"
	done
	return 0
}

# Is this the build with sanitizers? It needs more memory than we promise.
sanitized() {
	grep -q __asan_init "$NOVAJOB"
}

# off BY COMMAND...: with a clock that is off; openstack sees it, too.
off() {
	local by=$1
	shift
	printf '#!/bin/sh\nexec env FAKETIME_DONT_FAKE_MONOTONIC=1 faketime -f %s %s "$@"\n' "$by" "$(command -v openstack)" \
		>"$BATS_TEST_TMPDIR/openstack"
	chmod 755 "$BATS_TEST_TMPDIR/openstack"
	FAKETIME_DONT_FAKE_MONOTONIC=1 \
		faketime -f "$by" "$NOVAJOB" --settings="$SETTINGS" --openstack="$BATS_TEST_TMPDIR/openstack" "$@"
}

no_server_of() {
	[[ $(servers_of "$1") == 0 ]]
}

# fault_row WHAT STAGE STATUS LOG [ID]: one row of novajob-faults(7), from this run: WHAT was done, how STAGE ended, and
# the line that told it in LOG (the last error, or else the last one of trouble, or the last). Call it when the job ID has
# been cleaned up: it fails when something of the job is left. WHAT is the row's name: no two rows have the same.
fault_row() {
	local what=$1 stage=$2 status=$3 log=$4 id=${5:-$JOB_ID} line
	line=$(grep -E '^novajob: (error|warning): ' "$log" | tail -1)
	[[ -n $line ]] || line=$(grep -E '^novajob: .*(waiting for|trying again|all the same|earlier try)' "$log" | tail -1)
	[[ -n $line ]] || line=$(grep '^novajob: ' "$log" | tail -1)
	[[ -n $line ]] || fail "$what: nothing was said: $(cat "$log")"
	wait_for "${FAULT_WAIT:-0}" no_server_of "$id" || fail "$what: a server is left"
	assert_equal "$(left_processes)" ''
	[[ -n ${FAULT_ROWS:-} ]] || return 0
	[[ $what != *$'\t'* ]]
	printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$(basename "$BATS_TEST_FILENAME" .bats)" "$what" "${CLOUD_KIND:-simulated}" \
		"$stage" "$status" "${line#novajob: }" >>"$FAULT_ROWS"
}
