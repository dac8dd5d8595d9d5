#!/usr/bin/env bats
# The runner's own test: it must be as strict as gitlab-runner (contract.md),
# or the tests that stand on it prove nothing. The driver is a few lines of
# shell; what a stage does is in ON_CONFIG, ON_PREPARE, ON_RUN and ON_CLEANUP.

bats_require_minimum_version 1.5.0
bats_load_library bats-support
bats_load_library bats-assert

setup() {
    RUNNER=$BATS_TEST_DIRNAME/runner
    export D=$BATS_TEST_TMPDIR
    mkdir "$D/temp"
    cat >"$D/driver" <<'DRIVER'
#!/bin/bash
stage=$1 script=$2 sub=$3
echo "$stage${sub:+ $sub}" >>"$D/calls"
hook=ON_${stage^^}
if [[ -v $hook ]]; then eval "${!hook}"; fi
case $stage in
config) printf '{"builds_dir":"%s/builds","cache_dir":"%s/cache"}' "$D" "$D" ;;
run)
    rm -f "$BUILD_EXIT_CODE_FILE"
    rc=0
    bash "$script" || rc=$?
    if ((rc)); then echo $rc >"$BUILD_EXIT_CODE_FILE"; exit 1; fi
    ;;
esac
DRIVER
    chmod +x "$D/driver"
}

teardown() {
    local file
    for file in "$D"/pid.*; do
        [[ -e $file ]] && kill -KILL "$(<"$file")" 2>/dev/null
    done
    true
}

# play [OPTION...] - one job; $status is the runner's.
play() {
    : >"$D/calls"
    run timeout 60 "$RUNNER" --driver "$D/driver" --temp "$D/temp" \
        --log "$D/log" --runner-log "$D/runner-log" --result "$D/result" \
        --retry-wait 0 --stage-retry-wait 0 "$@"
}

# result EXPRESSION - of the result R; stage(NAME) is a stage's last record.
result() {
    python3 -c 'import json, sys
R = json.load(open(sys.argv[1]))
def stage(name):
    return [s for s in R["stages"] if s["stage"] == name][-1]
print(eval(sys.argv[2]))' "$D/result" "$1"
}

assert_result() {
    run -0 result "R['failure_reason'], R['exit_code']"
    assert_output "($1)"
}

assert_calls() {
    run -0 paste -sd, "$D/calls"
    assert_output "$1"
}

assert_log() {
    run -0 cat "$D/log"
    assert_output --partial "$1"
}

empty() {
    run -0 ls -A "$1"
    assert_output ""
}

# gone PID - wait for the end of a process that has been signalled.
gone() {
    timeout 10 tail -s 0.02 --pid="$1" -f /dev/null
}

@test "a whole job passes, in the runner's order of stages" {
    echo content >"$D/file"
    play --script-line "pwd; cat \"\$F\"; printf 'word: %s\n' \"\$SECRET\"" \
        --var-file F="$D/file" --masked-var SECRET=topsecret \
        --after-script-line "echo \"after \$CI_JOB_STATUS\"" --cache \
        --artifacts --download-artifacts
    assert_success
    assert_calls "config,prepare,run prepare_script,run get_sources,run restore_cache,run download_artifacts,run build_script,run after_script,run archive_cache,run upload_artifacts_on_success,run cleanup_file_variables,cleanup"
    assert_log "$D/builds/group/project"
    assert_output --partial "word: [MASKED]"
    assert_output --partial "after success"
    assert_output --partial "Missing gitlab-runner. Uploading artifacts is disabled."
    assert_output --partial "Job succeeded"
    refute_output --partial topsecret
    assert [ ! -e "$D/builds/group/project.tmp/F" ]
    empty "$D/temp"
}

@test "a script's exit code is the job's, and only on_failure stages follow" {
    play --script-line 'exit 7' --artifacts --artifacts-when on_failure --cache
    assert_equal "$status" 7
    assert_result "'script_failure', 7"
    assert_log "ERROR: Job failed: exit code 7"
    run -0 tail -n 3 "$D/calls"
    assert_output "$(printf '%s\n' 'run upload_artifacts_on_failure' \
        'run cleanup_file_variables' cleanup)"
}

@test "exit codes other than 0, 1 and 2 are system failures" {
    local code
    for code in 2 3 127 255; do
        ON_RUN="[[ \$sub != build_script ]] || exit $code" play
        assert_equal "$status" 100
        assert_result "'runner_system_failure', None"
    done
    ON_RUN='[[ $sub != build_script ]] || kill -KILL $$' play
    assert_result "'runner_system_failure', None"
    assert_log "exit code -1"
    run -0 result "stage('build_script')['signal']"
    assert_output 9
}

@test "the exit-code file is read as strictly as strconv does" {
    local case
    export ON_RUN='[[ $sub != build_script ]] || { printf -- "$TEXT" >"$BUILD_EXIT_CODE_FILE"; exit 1; }'
    for case in ' 3' '3 ' '' '\n3' 3x 0x3 99999999999999999999; do
        TEXT=$case play
        assert_equal "$case: $status" "$case: 100"
        assert_result "'runner_system_failure', None"
    done
    for case in 3: '007\r\n:7' '+5\nx:5' 300: -1: 0:None; do
        TEXT=${case%:*} play
        TEXT=${case#*:}
        assert_result "'script_failure', ${TEXT:-${case%:*}}"
    done
    ON_RUN='[[ $sub != build_script ]] || exit 1' play
    assert_result "'script_failure', 1"
}

@test "a stale exit-code file is read again" {
    ON_RUN='case $sub in get_sources) echo 9 >"$BUILD_EXIT_CODE_FILE" ;;
        build_script) exit 1 ;; esac; exit 0' play
    assert_result "'script_failure', 9"
}

@test "a held pipe keeps the stage until grace and force are over" {
    ON_RUN='if [[ $sub == build_script ]]; then
        setsid sleep 1000 & echo $! >"$D/pid.held"; exit 0; fi' \
        play --timeout 2 --graceful-kill-timeout 0.3 --force-kill-timeout 0.2
    assert_equal "$status" 102
    assert_result "'job_execution_timeout', None"
    assert_log "no such process"
    run -0 result "(lambda s: (s['exit'], s['gave_up'], s['outcome'],
        s['seconds'] - s['leader_seconds'] > 0.7))(stage('build_script'))"
    assert_output "(0, True, 'system', True)"
    assert kill -0 "$(<"$D/pid.held")"
}

@test "a held pipe keeps the stage, no matter that the leader has gone" {
    # Nobody cancels: the stage ends when the holder does, not before.
    mkfifo "$D/fifo"
    ON_RUN='if [[ $sub == build_script ]]; then
        setsid bash -c "read -r <\"$D/fifo\"; echo late" & exit 0; fi' play &
    until grep -q 'run build_script' "$D/calls" 2>/dev/null; do sleep 0.02; done
    echo go >"$D/fifo"
    wait $!
    assert_log late
    assert_output --partial "Job succeeded"
}

@test "prepare is tried three times, with cleanup after each" {
    ON_PREPARE='echo "$TMPDIR" >>"$D/tmps"; touch "$TMPDIR/mark"; exit 2' \
        ON_CLEANUP='[[ -e $TMPDIR/mark ]] && echo "$TMPDIR" >>"$D/tmps"' play
    assert_equal "$status" 100
    assert_calls "config,prepare,cleanup,config,prepare,cleanup,config,prepare,cleanup"
    run -0 bash -c 'wc -l <"$D/tmps"; sort -u "$D/tmps" | wc -l'
    assert_output "$(printf '6\n3')"
    assert_log "ERROR: Job failed (system failure): exit status 2"
    empty "$D/temp"
    run -0 result "R['tries']"
    assert_output 3
}

@test "a build failure of prepare is final" {
    ON_PREPARE='exit 1' play
    assert_equal "$status" 1
    assert_calls "config,prepare,cleanup"
    assert_result "'script_failure', 1"
}

@test "a prepare that leaves with 0 after TERM counts as prepared" {
    ON_PREPARE='trap "exit 0" TERM; sleep 1000 & wait' \
        play --prepare-exec-timeout 1
    assert_success
    run -0 result "R['tries'], stage('prepare')['limit']"
    assert_output "(1, True)"
}

@test "config's answer is read as strictly as encoding/json does" {
    local case
    export ON_CONFIG='printf %s "$TEXT"; exit'
    for case in ' ' '{} {}' 'log {}' '[]' 3 '{"builds_dir":3}' '{"a":NaN}' \
        '{"job_env":{"A":1}}' '{"job_env":["A"]}' '{"driver":"x"}' '{' \
        '{"builds_dir_is_shared":"yes"}' '{"shell":"fish"}' $'{"a":"\n"}'; do
        TEXT=$case play --builds-dir /b --cache-dir /c
        assert_equal "$case: $status" "$case: 100"
        assert_result "'runner_system_failure', None"
        assert_calls "config,cleanup,config,cleanup,config,cleanup"
    done
    for case in '' null '{}' ' {"x":[1],"Hostname":null} ' \
        '{"JOB_ENV":{"A":null},"driver":{"version":"1"}}'; do
        TEXT=$case play --builds-dir "$D/b" --cache-dir /c --stages ''
        assert_equal "$case: $status" "$case: 0"
        assert_log "Using Custom executor..."
    done
    for case in '{"builds_dir":""}' '{"cache_dir":""}'; do
        TEXT=$case play --builds-dir /b --cache-dir /c
        assert_result "'runner_configuration_error', None"
        assert_calls "config,cleanup"
    done
    TEXT='' play
    assert_result "'runner_configuration_error', None"
    ON_CONFIG='exit 1' play
    assert_result "'script_failure', 1"
    assert_calls "config,cleanup"
}

@test "what config says is used" {
    ON_CONFIG='printf "%s" "{\"Builds_Dir\":\"$D/b\",\"cache_dir\":\"/c\",\"builds_dir_is_shared\":true,\"hostname\":\"host.example\",\"driver\":{\"name\":\"tiny\",\"version\":\"v2\"}}"; exit' \
        play --slot 3 --script-line pwd
    assert_success
    assert_log "Using Custom executor with driver tiny v2..."
    assert_output --partial "via host.example..."
    assert_output --partial "$D/b/t1_aBcDeF/3/group/project"
}

@test "the environment has the runner's order" {
    ON_CONFIG='env -0 >"$D/env.config"; printf "%s" "{\"builds_dir\":\"$D/b\",\"cache_dir\":\"/c\",\"job_env\":{\"A\":\"job_env\",\"CUSTOM_ENV_V\":\"job_env\",\"BUILD_FAILURE_EXIT_CODE\":\"9\"}}"; exit' \
        ON_PREPARE='env -0 >"$D/env.prepare"; cp "$JOB_RESPONSE_FILE" "$D/response"' \
        play --env A=runner --env B=runner --env TMPDIR=/spoof --env CUSTOM_ENV_V=runner \
        --var V=first --var V=job --var CI_JOB_ID=1 --raw-var $'W=a\n$b' \
        --var 'X=<$V>' --var 'P=$F' --var-file F=/dev/null --stages ''
    assert_success
    run -0 bash -c 'tr "\n" "~" <"$D/env.config" | tr "\0" "\n" | sort'
    assert_line A=runner
    assert_line CUSTOM_ENV_CI_PROJECT_DIR=
    assert_line BUILD_FAILURE_EXIT_CODE=1
    assert_line --partial "TMPDIR=$D/temp/custom-executor"
    run -0 bash -c 'tr "\n" "~" <"$D/env.prepare" | tr "\0" "\n" | sort'
    assert_line A=job_env
    assert_line B=runner
    assert_line CUSTOM_ENV_V=job
    assert_line BUILD_FAILURE_EXIT_CODE=9
    assert_line CUSTOM_ENV_CI_JOB_ID=1
    assert_line 'CUSTOM_ENV_W=a~$b'
    assert_line 'CUSTOM_ENV_X=<job>'
    assert_line CUSTOM_ENV_F=
    assert_line "CUSTOM_ENV_P=$D/b/group/project.tmp/F"
    assert_line CUSTOM_ENV_CI_JOB_SERVICES=
    run -0 python3 -c 'import json, os
r = json.load(open(os.environ["D"] + "/response"))
print(r["id"], r["job_info"]["project_id"], r["git_info"]["protected"])'
    assert_output "4711 42 False"
}

@test "image and services as the driver sees them" {
    ON_PREPARE='printf "%s\n" "$CUSTOM_ENV_CI_JOB_IMAGE" "$CUSTOM_ENV_CI_JOB_SERVICES"' \
        play --stages '' --image 'img:$CI_JOB_ID' --protected yes --job-id 12 \
        --services '[{"name":"redis","alias":"a b","command":["x"]}]'
    assert_success
    assert_log "img:12"
    assert_output --partial '[{"name":"redis","alias":"a","entrypoint":null,"command":["x"]}]'
}

@test "a secret is masked across writes" {
    run -0 python3 -B -c 'import sys
sys.path.insert(0, sys.argv[1])
from joblog import Mask
mask = Mask([b"secret", b"secretary"])
print(b"|".join(mask.feed(x) for x in
                (b"a sec", b"ret b s", b"ecretary", b" sec", b"")).decode())' \
        "$BATS_TEST_DIRNAME"
    assert_output 'a |[MASKED] b |[MASKED]| |sec'
}

@test "a stage's surroundings" {
    ON_PREPARE='ls /proc/$$/fd >"$D/descriptors"
        [[ -p /proc/$$/fd/1 && -p /proc/$$/fd/2 ]] && kind="two pipes"
        [[ /proc/$$/fd/1 -ef /proc/$$/fd/2 ]] && kind="one pipe"
        read -r _ _ _ _ group _ </proc/$$/stat
        { [[ $group == $$ ]] && echo leader; [[ $PWD == "$TMPDIR" ]] && echo cwd
        readlink /proc/$$/fd/0; echo "$kind"; umask
        stat -c %a . "$JOB_RESPONSE_FILE"; } >"$D/facts"' play --stages ''
    assert_success
    run -0 cat "$D/facts"
    assert_output "$(printf '%s\n' leader cwd /dev/null 'two pipes' "$(umask)" 700 600)"
    run -0 grep -vx 255 "$D/descriptors" # 255: bash and its script
    assert_output "$(printf '%s\n' 0 1 2)"
}

@test "a variable of 131072 bytes with its name starts no stage" {
    # name, "=" and value: 131,071 bytes are the most the kernel takes
    head -c $((131071 - 15)) /dev/zero | tr '\0' x >"$D/big"
    play --var-file BIG="$D/big" --stages ''
    assert_success
    echo -n x >>"$D/big"
    play --var-file BIG="$D/big" --stages ''
    assert_equal "$status" 100
    assert_log "argument list too long"
    assert_output --partial "Cleanup script failed: failed to start command"
    assert_calls ""
}

@test "cancel ends the stage's whole group; after_script still runs" {
    ON_RUN='if [[ $sub == build_script ]]; then
        sleep 1000 & echo $! >"$D/pid.child"; echo ready; wait; fi' \
        play --cancel-at build_script@ready --after-script-line "echo \"now \$CI_JOB_STATUS\""
    assert_equal "$status" 101
    assert_result "'canceled', None"
    assert_log "now canceled"
    gone "$(<"$D/pid.child")"
    run -0 tail -n 3 "$D/calls"
    assert_output "$(printf '%s\n' 'run after_script' \
        'run cleanup_file_variables' cleanup)"
}

@test "who ignores TERM gets KILL after the grace" {
    ON_RUN='if [[ $sub == build_script ]]; then trap "" TERM; sleep 1000 & echo $! >"$D/pid.child"
        echo ready; wait; fi' play --cancel-at build_script@ready --graceful-kill-timeout 0.3
    assert_equal "$status" 101
    run -0 result "stage('build_script')['signal'], stage('build_script')['gave_up']"
    assert_output "(9, False)"
    gone "$(<"$D/pid.child")"
}

@test "a forced cancel, and one during prepare, leave only cleanup" {
    ON_RUN='[[ $sub != build_script ]] || exec sleep 1000' \
        play --force-cancel-at build_script --after-script-line true
    assert_equal "$status" 101
    run -0 result "[s['stage'] for s in R['stages']][-2:]"
    assert_output "['build_script', 'cleanup']"
    ON_PREPARE='touch "$D/seen"; exec sleep 1000' play --cancel-at "prepare:$D/seen"
    assert_equal "$status" 101
    assert_calls "config,prepare,cleanup"
    run -0 result "R['unfired']"
    assert_output "[]"
}

@test "the job's time-out leaves only cleanup, which is not touched by it" {
    ON_RUN='[[ $sub != build_script ]] || exec sleep 1000' \
        ON_CLEANUP='echo "$CUSTOM_ENV_CI_JOB_STATUS" >&2' \
        play --timeout 2 --after-script-line true
    assert_equal "$status" 102
    run -0 tail -n 1 "$D/calls"
    assert_output cleanup
    run -0 cat "$D/runner-log"
    assert_output --partial "WARNING: timedout"
}

@test "RUNNER_SCRIPT_TIMEOUT ends only the script" {
    ON_RUN='[[ $sub != build_script ]] || exec sleep 1000' \
        play --var RUNNER_SCRIPT_TIMEOUT=200ms --after-script-line true
    assert_equal "$status" 102
    run -0 grep -c 'run after_script' "$D/calls"
}

@test "cleanup begins while run is alive, when run is not waited for longer" {
    ON_RUN='if [[ $sub == build_script ]]; then trap "" TERM; echo ready
        until [[ -e $D/cleaned ]]; do sleep 0.02; done; touch "$D/overlap"; exit 2; fi' \
        ON_CLEANUP='touch "$D/cleaned"' \
        play --force-cancel-at build_script@ready --abandon-after 0.1 --graceful-kill-timeout 20
    assert_equal "$status" 101
    assert [ -e "$D/overlap" ]
    run -0 result "stage('build_script')['abandoned'], stage('build_script')['exit']"
    assert_output "(True, 2)"
}

@test "cleanup's stderr is the runner's log, its exit code one line" {
    ON_CLEANUP='echo out; echo "bad $CUSTOM_ENV_S" >&2; exit 2' play --masked-var S=secret1
    assert_success
    assert_log "WARNING: Cleanup script failed: exit status 2"
    run -0 cat "$D/runner-log"
    assert_line --partial "WARNING: bad secret1"
    refute_output --partial ": out"
}

@test "attempts: any error is tried again, the worktree cleared between" {
    ON_RUN='if [[ $sub == get_sources && ! -e $D/once ]]; then touch "$D/once"; exit 1; fi' \
        play --attempts GET_SOURCES=2
    assert_success
    run -0 sed -n 4,6p "$D/calls"
    assert_output "$(printf 'run %s\n' get_sources clear_worktree get_sources)"
}

@test "a failed prepare_script goes straight to cleanup" {
    ON_RUN='exit 1' play --after-script-line true
    assert_equal "$status" 1
    assert_calls "config,prepare,run prepare_script,cleanup"
}

@test "a failed after_script does not fail the job" {
    play --after-script-line 'exit 3'
    assert_success
}

@test "a killed runner leaves everything behind" {
    ON_PREPARE='echo $$ >"$D/pid.prepare"; echo ready; exec sleep 1000' play --die-at prepare@ready
    assert_equal "$status" 137
    assert_calls "config,prepare"
    assert kill -0 "$(<"$D/pid.prepare")"
    run -0 ls "$D/temp"
    assert_output --partial custom-executor
    run -0 result "R['status']"
    assert_output running
}

@test "shutdown ends the job with cleanup, but not for longer than its limit" {
    ON_RUN='[[ $sub != build_script ]] || exec sleep 1000' play --shutdown-at build_script
    assert_equal "$status" 100
    assert_result "'runner_interrupted', None"
    run -0 tail -n 1 "$D/calls"
    assert_output cleanup
    ON_RUN='[[ $sub != build_script ]] || exec sleep 1000' \
        ON_CLEANUP='echo $$ >"$D/pid.cleanup"; exec sleep 1000' \
        play --shutdown-at build_script --shutdown-timeout 0.5
    assert_equal "$status" 100
    run -0 result "R['status']"
    assert_output running
    assert kill -0 "$(<"$D/pid.cleanup")"
}

@test "no temporary folder: cleanup is called with empty names" {
    ON_CLEANUP='echo "[$TMPDIR][$JOB_RESPONSE_FILE]" >>"$D/seen"' play --temp "$D/missing"
    assert_equal "$status" 100
    assert_calls "cleanup,cleanup,cleanup"
    run -0 sort -u "$D/seen"
    assert_output "[][]"
}

@test "scripts have the runner's form and any size" {
    run -0 "$BATS_TEST_DIRNAME/script" --builds-dir "$D" --line 'exit 3'
    assert_line --index 0 '#!/usr/bin/env bash'
    assert_line 'trap exit 1 TERM'
    assert_line --regexp "^\(eval \\$'.*'\) < /dev/null$"
    assert_line --index $((${#lines[@]} - 1)) 'exit 0'
    run -0 bash -c '"$0" --size 204800 | wc -c' "$BATS_TEST_DIRNAME/script"
    assert_output 204800
    "$BATS_TEST_DIRNAME/script" get_sources --builds-dir "$D" | bash
    run -3 bash -c '"$0" --builds-dir "$D" --size 204800 --line "cat; exit 3" | bash -s' \
        "$BATS_TEST_DIRNAME/script"
    run -0 bash -c $'"$0" --builds-dir "$D" --line "printf %s \'a\\\\b\\"\\$CI_SERVER\\"é\'" | bash' \
        "$BATS_TEST_DIRNAME/script"
    assert_line 'a\b"$CI_SERVER"é'
}

@test "a raw script is given verbatim, wrong usage is 64" {
    printf 'echo raw; exit 5' >"$D/raw"
    play --raw-script build_script="$D/raw" --stages build_script
    assert_equal "$status" 5
    assert_log raw
    play --cancel-at 'a b'
    assert_equal "$status" 64
}
