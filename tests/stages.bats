#!/usr/bin/env bats
# stages.bats - whole jobs, as the runner plays them, on the simulated cloud.

load lib
with_cloud

@test "a job runs in a server of its own, and no server is left" {
	run -0 job --script-line 'echo hello from $(hostname)'
	run -0 grep -c 'hello from' "$LOG"
	run -0 servers_of "$JOB_ID"
	assert_output 0
}

@test "the job log is what the scripts printed, byte for byte" {
	printf '%s\n' 'printf "a\\0b\\377\\033[1m no newline"' 'echo; seq 1 20000; echo err >&2; printf end' >"$BATS_TEST_TMPDIR/s"
	builds=$BATS_TEST_TMPDIR/builds
	mkdir -p "$builds/group/project" # as get_sources would; the server shares this host's files
	run -0 job --script "$BATS_TEST_TMPDIR/s" --stages build_script --builds-dir "$builds"
	# what bash makes of the same script here
	"$TESTS/runner/script" build_script --file "$BATS_TEST_TMPDIR/s" --builds-dir "$builds" >"$BATS_TEST_TMPDIR/script"
	(cd / && bash "$BATS_TEST_TMPDIR/script" >"$BATS_TEST_TMPDIR/want" 2>&1)
	python3 - "$LOG" "$BATS_TEST_TMPDIR/want" <<-'END'
		import sys
		log, want = (open(p, "rb").read() for p in sys.argv[1:])
		assert len(want) > 100000 and want in log, "the script's output is not in the log as it was"
	END
}

@test "a failing script's exit code is told to GitLab" {
	for code in 1 2 3 127 255; do
		JOB_ID=$((JOB_ID + 1))
		run -"$code" job --script-line "exit $code"
		run -0 jq -r '[.failure_reason, .exit_code] | @csv' "$RESULT"
		assert_output "\"script_failure\",$code"
	done
}

@test "cleanup is quiet when all is well" {
	run -0 job --script-line true
	assert_file_empty "$RUNNER_LOG"
}
