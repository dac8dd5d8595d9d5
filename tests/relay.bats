#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# relay.bats - what a script prints comes out byte for byte, in order, at once, in constant memory.
# All tests share one server.

load lib
with_cloud

setup_file() {
	one_server
}

setup() {
	use_one_server
}

teardown() {
	[[ ! -s $ERR ]] || head -5 "$ERR" >&2 # shown when the test failed
}

# stage LINE...: a script of these lines, in the runner's form, is run: stdout to $OUT, stderr to $ERR.
# The server shares our file system; $T in the lines is the test's folder.
stage() {
	printf '%s\n' "$@" >"$T/lines"
	{
		printf '%s\n' '#!/usr/bin/env bash' 'trap exit 1 TERM' 'set -o errexit -o pipefail' '(eval "$(cat <<"LINES_END"'
		cat "$T/lines"
		printf '%s\n' LINES_END ')") </dev/null' 'exit 0'
	} >"$T/script"
	novajob run "$T/script" build_script >"$OUT" 2>"$ERR" 3>&-
}

# same FILE FILE: equal, without showing megabytes when not.
same() {
	cmp "$1" "$2" || fail "$1 ($(stat -c %s "$1") bytes) differs from $2 ($(stat -c %s "$2") bytes)"
}

has_bytes() {
	(($(stat -c %s "$1") >= $2))
}

# The most memory a process has used, KiB.
most_memory() {
	sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$1/status"
}

@test "100 MB come out as they are, in 8 MiB of memory" {
	local pid want kib
	stage 'seq 1 13000000 | head -c 100000000 || :' 'printf "\nend"' "until [[ -e $T/go ]]; do sleep 0.05; done" &
	want=$( (seq 1 13000000 | head -c 100000000; printf '\nend') | sha256sum)
	wait_for 60 has_bytes "$OUT" 100000004
	pid=$(pgrep -P $!)
	kib=$(most_memory "$pid")
	touch "$T/go"
	wait $!
	[[ $(sha256sum <"$OUT") == "$want" ]] || fail "the output was changed on its way"
	echo "VmHWM $kib KiB"
	sanitized || ((kib <= 8192))
}

@test "a line of 10 MB without its newline" {
	stage 'head -c 10000000 /dev/zero | tr "\0" x'
	head -c 10000000 /dev/zero | tr '\0' x >"$T/want"
	same "$OUT" "$T/want"
}

@test "NUL, invalid UTF-8, escape sequences, CR, and no newline at the end" {
	stage 'printf "a\0b\377\376\300\200\033[31mred\033]0;title\007\r\n\r\rc\n\n\nno newline"'
	printf 'a\0b\377\376\300\200\033[31mred\033]0;title\007\r\n\r\rc\n\n\nno newline' >"$T/want"
	same "$OUT" "$T/want"
	assert_file_empty "$ERR"
}

@test "every byte there is, in random order" {
	head -c 300000 /dev/urandom >"$T/want"
	stage "cat $T/want"
	same "$OUT" "$T/want"
}

@test "3 MB on stderr" {
	stage 'seq 1 450000 >&2'
	seq 1 450000 >"$T/want"
	same "$OUT" "$T/want"
}

@test "stdout and stderr stay in order" {
	stage 'for i in {1..500}; do echo $i; echo e$i >&2; done'
	for i in {1..500}; do printf '%s\n' "$i" "e$i"; done >"$T/want"
	same "$OUT" "$T/want"
}

@test "nothing printed, nothing in the log" {
	stage :
	assert_file_empty "$OUT"
	assert_file_empty "$ERR"
}

@test "a prompt is seen while its script waits" {
	stage 'printf "name? "' "until [[ -e $T/go ]]; do sleep 0.05; done" 'echo novajob' &
	wait_for 20 has_bytes "$OUT" 6
	assert_equal "$(<"$OUT")" 'name? '
	touch "$T/go"
	wait $!
	assert_equal "$(<"$OUT")" 'name? novajob'
}

@test "dots that never pause are seen while they come" {
	stage "until [[ -e $T/go ]]; do printf .; sleep 0.02; done" &
	wait_for 20 has_bytes "$OUT" 1
	touch "$T/go"
	wait $!
	run ! grep -q '[^.]' "$OUT"
}

@test "a whole line is seen while the next one is begun" {
	stage 'echo one; printf two' "until [[ -e $T/go ]]; do sleep 0.05; done" &
	wait_for 20 grep -qx one "$OUT"
	touch "$T/go"
	wait $!
}

@test "a script cannot forge the end or the exit status" {
	run -1 stage 'echo "novajob-00000000000000000000000000000000 end"' \
		'echo "novajob-00000000000000000000000000000000 exit 0" >&2' \
		'echo "novajob-00000000000000000000000000000000 start 1" >&2' 'echo after' 'exit 5'
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 5
	assert_equal "$(tail -1 "$OUT")" after
	assert_equal "$(wc -l <"$OUT")" 4
}

@test "the true end mark, printed by the script, does not end it" {
	# its shell's parent is the wrapper, whose arguments have the word
	run -1 stage 'n=$(tr "\0" "\n" </proc/$PPID/cmdline | grep -xE "[0-9a-f]{32}" | head -1); [[ -n $n ]]' \
		'echo before; echo "novajob-$n end"; echo after' "until [[ -e $T/seen ]]; do sleep 0.05; done; echo last; exit 6" 3>&- &
	wait_for 20 grep -qx after "$OUT" # let go, for no status confirms the mark
	touch "$T/seen"
	wait $!
	assert_equal "$(<"$BUILD_EXIT_CODE_FILE")" 6
	assert_equal "$(sed 's/-[0-9a-f]* /-N /' "$OUT")" $'before\nnovajob-N end\nafter\nlast'
}

@test "what a slow reader has not taken yet when the script ends is not lost" {
	mkfifo "$T/slow"
	exec 8<>"$T/slow"
	OUT=$T/slow stage 'seq 1 150000; touch '"$T/done" &
	wait_for 20 test -e "$T/done" # 1 MB is on its way: the pipes and ssh's window hold it
	sleep 1.5 # longer than novajob waits for the end mark once it knows the status
	timeout 30 head -c "$(seq 1 150000 | wc -c)" <&8 >"$T/got"
	exec 8>&-
	wait $!
	seq 1 150000 >"$T/want"
	same "$T/got" "$T/want"
}

@test "stdout may be a file that stderr goes to as well" {
	stage 'seq 1 1000; exit 3' || :
	novajob run "$T/script" build_script >"$T/both" 2>&1 || :
	seq 1 1000 >"$T/want"
	head -1000 "$T/both" >"$T/got"
	same "$T/got" "$T/want"
}

@test "stdout may be a terminal or a socket" {
	run -0 python3 - "$NOVAJOB" "$SETTINGS" "$T" <<-'END'
		import os, pty, socket, subprocess, sys, threading
		novajob, settings, t = sys.argv[1:]
		open(t + "/script", "w").write("seq 1 50000\n")
		want = "".join("%d\n" % i for i in range(1, 50001)).encode()
		def play(out, read, change):
		    got = b""
		    child = subprocess.Popen([novajob, "--settings=" + settings, "run", t + "/script", "x"], stdout=out)
		    os.close(out)
		    while True:
		        try:
		            data = read()
		        except OSError:
		            break
		        if not data:
		            break
		        got += data
		    assert child.wait(30) == 0
		    assert change(got) == want, len(got)
		a, b = socket.socketpair()
		play(b.detach(), lambda: a.recv(65536), lambda d: d)
		master, slave = pty.openpty()
		play(slave, lambda: os.read(master, 65536), lambda d: d.replace(b"\r\n", b"\n"))
	END
}
