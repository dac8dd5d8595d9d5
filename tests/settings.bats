#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Settings: where they come from, which source wins, what is refused, and what config answers the runner.

bats_require_minimum_version 1.5.0

setup()
{
	load settings
	settings_setup
}

# ---- sources and their order

@test "without any source each setting has its default" {
	unset NOVAJOB_JOB_LOG
	equal "$(value flavor)" null
	equal "$(value ssh-timeout)" 5m
	equal "$(value owner)" novajob
	equal "$(value job-may-set)" flavor,image
	equal "$(novajob settings --json | jq -r '[.[].from] | unique | .[]')" default
}

@test "file, environment, flag, job variable: each is stronger than the one before" {
	local args=("${needed[@]:1}")
	echo 'flavor = file' >"$CONF"
	export NOVAJOB_SETTINGS=$CONF
	equal "$(resolved flavor "${args[@]}")" "file	$CONF:1"
	export NOVAJOB_FLAVOR=env
	equal "$(resolved flavor "${args[@]}")" "env	NOVAJOB_FLAVOR"
	args+=(--flavor=flag)
	equal "$(resolved flavor "${args[@]}")" "flag	--flavor"
	export CUSTOM_ENV_NOVAJOB_FLAVOR=job
	equal "$(resolved flavor "${args[@]}")" "job	job variable NOVAJOB_FLAVOR"
}

@test "an option may stand before and after the command, with = or a blank; the last one counts" {
	equal "$(value flavor --flavor=a)" a
	equal "$(value flavor --flavor a)" a
	equal "$(novajob --flavor a settings --json | jq -r .flavor.value)" a
	equal "$(novajob --flavor=a settings --json --flavor b | jq -r .flavor.value)" b
}

@test "-- ends the options; an operand ends them too" {
	run -0 novajob --flavor=a -- settings
	run -0 novajob help -- config
	assert_output --partial 'usage: novajob [option ...] config'
	refused 64 "help: '--json' is no command" novajob help -- --json
	refused 64 "unexpected operand '--json'" novajob settings -- --json
}

@test "--settings is stronger than NOVAJOB_SETTINGS" {
	echo 'flavor = one' >"$T/one"
	echo 'flavor = two' >"$T/two"
	export NOVAJOB_SETTINGS=$T/one
	equal "$(value flavor)" one
	equal "$(value flavor "--settings=$T/two")" two
	equal "$(where flavor --settings "$T/two")" "$T/two:1"
}

@test "an empty variable is as good as none, but an empty job-may-set allows nothing" {
	echo 'flavor = file' >"$CONF"
	export NOVAJOB_SETTINGS=$CONF
	equal "$(NOVAJOB_FLAVOR='' NOVAJOB_SSH_PORT='' value flavor)" file
	equal "$(CUSTOM_ENV_NOVAJOB_FLAVOR='' resolved flavor "${needed[@]:1}")" "file	$CONF:1"
	equal "$(NOVAJOB_JOB_MAY_SET='' value job-may-set)" null
	export CUSTOM_ENV_NOVAJOB_FLAVOR=x NOVAJOB_JOB_MAY_SET=
	refused 1 'job variable NOVAJOB_FLAVOR: this runner lets jobs set: nothing' novajob config "${needed[@]}"
}

@test "an empty line of the file or an empty option unsets a text, where that makes sense" {
	printf 'network = net\njob-may-set =\n' >"$CONF"
	export NOVAJOB_SETTINGS=$CONF
	equal "$(value job-may-set)" null
	equal "$(value network)" net
	equal "$(value network --network=)" null
	refused 2 'owner: it must not be empty' novajob settings --owner=
	refused 2 'ssh-port: .*invalid' novajob settings --ssh-port=
}

@test "the file: comments, blank lines, blanks, no newline at the end" {
	printf '# a = b\n\n \t# more\n  flavor\t=  m1 small #1 \nssh-port=2222' >"$CONF"
	equal "$(value flavor --settings="$CONF")" 'm1 small #1'
	equal "$(value ssh-port --settings="$CONF")" 2222
	equal "$(where ssh-port --settings="$CONF")" "$CONF:5"
}

@test "state-dir: a fixed place for root, below HOME for others, and never where TMPDIR or STATE_DIRECTORY points" {
	export STATE_DIRECTORY=$T/systemd
	if ((EUID == 0)); then
		equal "$(value state-dir)" /var/lib/novajob
	else
		equal "$(value state-dir)" "$HOME/.local/state/novajob"
		equal "$(env -u HOME "$program" settings --json | jq -r '."state-dir".value')" \
			"$(getent passwd "$(id -u)" | cut -d: -f6)/.local/state/novajob"
	fi
	equal "$(value state-dir --state-dir=)" "$(value state-dir)"
	echo 'state-dir = /from/file' >"$CONF"
	export NOVAJOB_SETTINGS=$CONF
	equal "$(value state-dir)" /from/file
	export NOVAJOB_STATE_DIR=/from/env
	equal "$(value state-dir)" /from/env
	equal "$(value state-dir --state-dir=/from/flag)" /from/flag
}

@test "state-dir of another user than root is below HOME" {
	((EUID == 0)) || skip "not root: the test above shows it"
	command -v setpriv >/dev/null || skip "no setpriv"
	local copy
	copy=$(mktemp -d /tmp/novajob-test.XXXXXX)
	cp "$program" "$copy/novajob"
	chmod 755 "$copy" "$copy/novajob"
	run -0 setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/home/x "$copy/novajob" settings --json
	rm -r "$copy"
	equal "$(jq -r '."state-dir".value' <<<"$output")" /home/x/.local/state/novajob
}

# ---- values

@test "times have units, and are shown in the largest exact one" {
	local pair
	for pair in 90=90s 90s=90s 120=2m 5m=5m 60m=1h 1d=24h 86400=24h; do
		equal "$(value ssh-timeout "--ssh-timeout=${pair%=*}")" "${pair#*=}"
	done
	equal "$(value delete-wait --delete-wait=0)" 0s
}

@test "a time that is none, or out of range, is refused" {
	local bad
	for bad in '' x 5x 5ms -5 +5 ' 5' '5 s' 5.5 0x10 1d1h 86401 1441m 25h 2d 0 \
		9223372036854775807d 99999999999999999999; do
		refused 2 '^novajob: error: --ssh-timeout: ssh-timeout: .*(invalid|too small|too large)' \
			novajob settings "--ssh-timeout=$bad"
	done
	equal "$(value ssh-timeout --ssh-timeout=24h)" 24h
}

@test "a number that is none, or out of range, is refused" {
	local bad
	for bad in x 22x ' 22' +22 -1 0 65536 22.0 0x16 99999999999999999999; do
		refused 2 '^novajob: error: --ssh-port: ssh-port: .*(invalid|too small|too large)' \
			novajob settings "--ssh-port=$bad"
	done
	equal "$(value ssh-port --ssh-port=65535)" 65535
}

@test "a flag is yes or no and nothing else" {
	local bad
	for bad in '' true 1 YES on y; do
		refused 2 'trust-variables: .*neither yes nor no' novajob settings "--trust-variables=$bad"
	done
	equal "$(value trust-variables --trust-variables=yes)" yes
}

@test "compat is none or python" {
	refused 2 "compat: 'ruby' is none of: none,python" novajob settings --compat=ruby
}

@test "names take what clouds name things with" {
	local good
	for good in m1.small 'Debian 12 (CI) [x86~64] #3' a@b:c/d=e^f\$g+h 'x' 3f2c5a3e-8d5c-4a8c-9e52-0f5a7c0d1b2e; do
		equal "$(value image "--image=$good")" "$good"
	done
}

@test "hostile values are refused, by flag, environment, file and job variable" {
	local bad esc=$'\e[31m' nl=$'a\nb' cr=$'a\rb' del=$'a\x7fb' high=$'caf\xc3\xa9' broken=$'a\xffb'
	for bad in -x --help 'a;b' 'a|b' 'a&b' 'a<b' 'a>b' 'a`b' "a'b" 'a"b' 'a\b' 'a!b' 'a*b' 'a?b' 'a{b' 'a%b' ' a' 'a ' \
		"$esc" "$nl" "$cr" "$del" "$high" "$broken"; do
		refused 2 '^novajob: error: --flavor: flavor: ' novajob settings "--flavor=$bad"
		[[ $stderr != *$'\e'* && $stderr != *$'\x7f'* ]] || fail "control characters in the message"
		NOVAJOB_FLAVOR=$bad refused 2 '^novajob: error: NOVAJOB_FLAVOR: flavor: ' novajob settings
		CUSTOM_ENV_NOVAJOB_FLAVOR=$bad refused 1 '^novajob: error: job variable NOVAJOB_FLAVOR: flavor: ' \
			novajob config "${needed[@]}"
		if [[ $bad != *[$'\n\r']* && $bad == "${bad# }" && $bad == "${bad% }" ]]; then
			printf 'flavor = %s\n' "$bad" >"$CONF"
			refused 2 "^novajob: error: $CONF:1: flavor: " novajob settings "--settings=$CONF"
		fi
	done
}

@test "a value that is longer than its limit is refused, one at the limit is not" {
	local long
	long=$(printf 'x%.0s' {1..255})
	equal "$(value flavor "--flavor=$long")" "$long"
	refused 2 'longer than 255' novajob settings "--flavor=x$long"
	refused 2 'longer than 32' novajob settings --username=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
	refused 2 '' novajob settings "--flavor=$(head -c 100000 /dev/zero | tr '\0' x)"
	((${#stderr} < 1000)) || fail "the whole value is shown"
}

@test "paths are absolute; programs may be bare words" {
	refused 2 'private-key: .*no absolute path' novajob settings --private-key=key
	refused 2 'state-dir: .*no absolute path' novajob settings --state-dir=./state
	refused 2 'openstack: .*no absolute path' novajob settings --openstack=bin/openstack
	refused 2 'is not allowed' novajob settings '--private-key=/home/%d/key'
	refused 2 'is not allowed' novajob settings '--private-key=/home/my key'
	equal "$(value openstack --openstack=openstack-7)" openstack-7
	equal "$(value ssh --ssh=/opt/bin/ssh)" /opt/bin/ssh
}

@test "a weaker source is checked even if a stronger one decides" {
	NOVAJOB_SSH_PORT=x refused 2 'NOVAJOB_SSH_PORT' novajob settings --ssh-port=22
}

# ---- the settings file

@test "each mistake in the file is told with its line" {
	local -A cases=(
		['flavour = x']=":1: there is no setting 'flavour'"
		['FLAVOR = x']=":1: there is no setting 'FLAVOR'"
		['flavor']=":1: no '=' in the line"
		['= x']=":1: there is no setting ''"
		[$'\n\nflavor = a\nimage = b\nflavor = c']=':5: flavor is set twice, first in line 3'
		['[pond]']=":1: 'pond' makes no sense in a section's head"
		['[pool]']=":1: '' is no name for a pool"
		[$'flavor = a\r']=':1: a carriage return'
		['flavor = "a"']=":1: flavor: the character '\"' is not allowed"
		[$'# x\nssh-port = no']=':2: ssh-port: '
		['settings = /x']=":1: there is no setting 'settings'"
	)
	local text
	for text in "${!cases[@]}"; do
		printf '%s\n' "$text" >"$CONF"
		refused 2 '.' novajob settings "--settings=$CONF"
		[[ $stderr == *"$CONF${cases[$text]}"* ]] || fail "for '$text': $stderr"
	done
}

@test "a near miss in the file, an option or a variable gets a hint" {
	echo 'flavour = x' >"$CONF"
	refused 2 "hint: did you mean 'flavor'" novajob settings "--settings=$CONF"
	refused 64 'hint: did you mean --flavor' novajob settings --flavour=x
	NOVAJOB_FLAVOUR=x refused 2 "hint: did you mean .*'flavor'" novajob settings
	refused 64 "hint: did you mean 'settings'" novajob setings
}

@test "NUL bytes in the file are refused" {
	printf 'flavor = a\0b\n' >"$CONF"
	refused 2 'NUL byte' novajob settings "--settings=$CONF"
}

@test "a file that is named must be there, be a file, and be readable" {
	refused 2 "cannot open settings file '$T/none': No such file" novajob settings "--settings=$T/none"
	refused 2 'not a regular file' novajob settings "--settings=$T"
	mkfifo "$T/fifo"
	refused 2 'not a regular file' timeout 20 "$program" settings "--settings=$T/fifo"
	refused 2 'not a regular file' novajob settings --settings=/dev/zero
	NOVAJOB_SETTINGS=$T/none refused 2 'No such file' novajob settings
	((EUID == 0)) && return
	: >"$CONF"
	chmod 000 "$CONF"
	refused 2 'Permission denied' novajob settings "--settings=$CONF"
}

@test "a file that others can write, or that is another user's, is refused" {
	echo 'flavor = a' >"$CONF"
	local mode
	for mode in 660 606 622 666 777; do
		chmod "$mode" "$CONF"
		refused 2 'writable by group or others' novajob settings "--settings=$CONF"
		assert_regex "$stderr" 'hint: chmod go-w'
	done
	chmod 644 "$CONF"
	equal "$(value flavor "--settings=$CONF")" a
	((EUID == 0)) || return 0
	chown 12345 "$CONF"
	refused 2 'belongs to user 12345' novajob settings "--settings=$CONF"
}

@test "a settings file of more than 1 MiB is refused" {
	head -c 1048577 /dev/zero | tr '\0' '#' >"$CONF"
	refused 2 'larger than 1 MiB' novajob settings "--settings=$CONF"
}

# ---- the environment and the command line

@test "an unknown NOVAJOB_ variable is an error, other variables are not" {
	NOVAJOB_FLAVR=x refused 2 'environment variable NOVAJOB_FLAVR: there is no such setting' novajob settings
	NOVAJOB_flavor=x refused 2 'NOVAJOB_flavor: there is no such setting' novajob settings
	equal "$(NOVAJOBS=x NOVAJOBX_FLAVOR=y FLAVOR=z CUSTOM_ENV_FLAVOR=j value flavor)" null
}

@test "a wrong command line is named: 64 for the operator, 2 in a stage" {
	refused 64 'no command given' novajob
	refused 64 "unknown command 'frobnicate'" novajob frobnicate
	refused 64 'unknown option --frob' novajob settings --frob
	refused 64 'unknown option -x' novajob settings -x
	refused 64 '--flavor needs a value' novajob settings --flavor
	refused 64 '--json takes no value' novajob settings --json=yes
	refused 64 "unexpected operand 'x'" novajob settings x
	refused 2 'unknown option --frob' novajob config --frob
	refused 2 'unknown option --frob' novajob --frob config
	refused 2 'unknown option --frob' novajob cleanup --frob
	refused 2 'operands expected' novajob run
}

@test "--help and --version print to stdout and leave with 0, for stages too" {
	local args
	for args in --help -h help 'help config' 'config --help' 'run -h' 'settings --help' --version -V 'config -V'; do
		# shellcheck disable=SC2086 # words on purpose
		run -0 --separate-stderr novajob $args
		[[ -n $output ]] || fail "nothing for $args"
		equal "$stderr" ""
	done
	run -0 novajob --version
	assert_output --regexp '^novajob [0-9]+\.[0-9]+\.[0-9]+$'
	refused 64 "'x' is no command and no setting" novajob help x
}

@test "a stdout that is full or closed is an error" {
	run -2 bash -c '"$1" settings >/dev/full' - "$program"
	assert_output --partial 'cannot write to standard output: No space left on device'
	run -2 bash -c '"$1" config "${@:2}" >/dev/full' - "$program" "${needed[@]}"
	run -2 bash -c '"$1" settings >&-' - "$program"
	assert_output --partial 'cannot write to standard output'
	run -2 bash -c '"$1" --help >/dev/full' - "$program"
}

@test "a closed stdin or stderr is no trouble" {
	run -0 bash -c '"$1" settings <&-' - "$program"
	run -0 bash -c '"$1" settings 2>&-' - "$program"
	echo 'flavor = a' >"$CONF"
	run -0 bash -c '"$1" settings "--settings=$2" <&- 2>&-' - "$program" "$CONF"
}

@test "the table of settings has one line for each, in columns" {
	run -0 novajob settings --flavor=m1.tiny
	equal "${#lines[@]}" "$(novajob settings --json | jq length)"
	assert_line --regexp '^flavor +m1\.tiny +--flavor$'
	assert_line --regexp '^image +- +default$'
	equal "$(grep -ob -- '--flavor' <<<"${lines[0]}" | cut -d: -f1)" "$(grep -ob default <<<"${lines[1]}" | cut -d: -f1)"
}

# ---- what jobs may set

@test "a job variable that is not allowed or unknown ends the job at once, with what is allowed" {
	CUSTOM_ENV_NOVAJOB_NETWORK=n refused 1 'job variable NOVAJOB_NETWORK: this runner lets jobs set: flavor, image' \
		novajob config "${needed[@]}"
	CUSTOM_ENV_NOVAJOB_FLAVR=n refused 1 'job variable NOVAJOB_FLAVR is no setting: .*: flavor, image' \
		novajob config "${needed[@]}"
	CUSTOM_ENV_NOVAJOB_NETWORK=n refused 1 'lets jobs set: nothing' novajob config "${needed[@]}" --job-may-set=
	equal "$(CUSTOM_ENV_NOVAJOB_NETWORK=n resolved network "${needed[@]}" --job-may-set=network)" \
		'n	job variable NOVAJOB_NETWORK'
	CUSTOM_ENV_NOVAJOB_NETWORK=n refused 1 'this runner lets' novajob prepare "${needed[@]}" "--state-dir=$T/state"
	[[ ! -e $T/state ]] || fail "a state was made"
}

@test "what decides over the host can never be given to jobs" {
	local name
	for name in owner state-dir private-key openstack ssh ssh-config job-may-set builds-dir cache-dir \
		trust-variables compat max-life openstack-session; do
		refused 2 "job-may-set: no job may ever set '$name'" novajob settings "--job-may-set=flavor,$name"
		export "CUSTOM_ENV_NOVAJOB_$(tr a-z- A-Z_ <<<"$name")=/x"
		refused 1 'this runner lets jobs set' novajob config "${needed[@]}"
		unset "CUSTOM_ENV_NOVAJOB_$(tr a-z- A-Z_ <<<"$name")"
	done
	refused 2 "job-may-set: there is no setting 'settings'" novajob settings --job-may-set=settings
	CUSTOM_ENV_NOVAJOB_SETTINGS=/x refused 1 'NOVAJOB_SETTINGS is no setting' novajob config "${needed[@]}"
	CUSTOM_ENV_NOVAJOB_RESOLVED='{}' refused 1 'NOVAJOB_RESOLVED is no setting' novajob config "${needed[@]}"
}

@test "a job cannot allow itself more: job-may-set is the operator's" {
	export CUSTOM_ENV_NOVAJOB_JOB_MAY_SET=network CUSTOM_ENV_NOVAJOB_NETWORK=n
	refused 1 'this runner lets jobs set: flavor, image' novajob config "${needed[@]}"
}

@test "settings, for the operator, does not look at job variables" {
	export CUSTOM_ENV_NOVAJOB_FLAVOR=job CUSTOM_ENV_NOVAJOB_XYZ=1
	equal "$(value flavor --flavor=flag)" flag
}

# ---- config's answer

@test "config answers with one JSON object of the right types and nothing else" {
	run -0 --separate-stderr novajob config "${needed[@]}" --builds-dir=/b --cache-dir=/c
	equal "$stderr" ""
	equal "$(jq -s length <<<"$output")" 1
	equal "$(jq -r '.driver.name' <<<"$output")" novajob
	equal "novajob $(jq -r '.driver.version' <<<"$output")" "$(novajob --version)"
	equal "$(jq -r '.builds_dir + " " + .cache_dir' <<<"$output")" '/b /c'
	equal "$(jq -r .hostname <<<"$output")" "$(uname -n)"
	equal "$(jq -r '.job_env | to_entries | map(.key + ":" + (.value | type)) | join(" ")' <<<"$output")" \
		NOVAJOB_RESOLVED:string
	equal "$(jq -c '[keys[]]' <<<"$output")" '["builds_dir","cache_dir","driver","hostname","job_env"]'
}

@test "builds_dir and cache_dir are left out when not set: empty ones would be an error of the runner" {
	equal "$(novajob config "${needed[@]}" | jq -c 'has("builds_dir") or has("cache_dir")')" false
}

@test "config names the first setting that is needed and missing" {
	local i
	for i in "${!needed[@]}"; do
		local args=("${needed[@]}") name=${needed[i]%%=*}
		[[ $name != --keys ]] || continue
		unset "args[i]"
		refused 2 "error: ${name#--} is not set" novajob config "${args[@]}"
	done
}

@test "config looks whether the files named can be read" {
	refused 2 "private-key '$T/none' .--private-key.: No such file" novajob config "${needed[@]}" "--private-key=$T/none"
	refused 2 'is no regular file' novajob config "${needed[@]}" "--private-key=$T"
	refused 2 "ssh-config '$T/none'" novajob config "${needed[@]}" "--ssh-config=$T/none"
}

@test "with keys per job no private key is needed, or looked at" {
	run -0 novajob config --flavor=f1 --image=i1 --username=u1
	run -0 novajob config --flavor=f1 --image=i1 --username=u1 --private-key="$T/none"
	refused 2 "error: private-key is not set" novajob config --flavor=f1 --image=i1 --username=u1 --key-pair=k
	run -0 novajob config --flavor=f1 --image=i1 --username=u1 --key-pair=k --keys=per-job
}

@test "config starts no child and opens no socket" {
	command -v strace >/dev/null || skip "no strace"
	strace -o /dev/null true 2>/dev/null || skip "strace cannot trace here"
	export ASAN_OPTIONS=detect_leaks=0 # its leak check cannot run under ptrace
	run -0 strace -f -o "$T/trace" "$program" config "${needed[@]}"
	run -0 grep -c execve "$T/trace"
	equal "$output" 1
	run ! grep -E '(^|[^a-z_])(fork|vfork|clone3?|socket|connect)\(' "$T/trace"
}

@test "config told to stop leaves with 2 and answers nothing" {
	env --block-signal=TERM true 2>/dev/null || skip "env cannot block signals"
	# shellcheck disable=SC2016
	refused 2 'stopped' env --block-signal=TERM bash -c 'kill -TERM $$; exec "$@"' - "$program" config "${needed[@]}"
}

@test "what config resolves fits into an environment entry, with everything as long as can be" {
	local long=/ name args=()
	long=/$(printf 'x%.0s' {1..999})
	while read -r name; do
		args+=("--$name=$long")
	done < <(novajob --help | sed -n 's/^ *--\([a-z-]*\)=PATH .*/\1/p' | grep -v -e private-key -e ssh-config -e user-data -e runner-binary -e prepare-script)
	((${#args[@]} >= 4)) || fail "no paths found"
	run -0 novajob config "${needed[@]}" "${args[@]}"
	((${#output} < 60000)) || fail "${#output} bytes"
}

# ---- NOVAJOB_RESOLVED

@test "config resolves anew, whatever NOVAJOB_RESOLVED says" {
	equal "$(NOVAJOB_RESOLVED='no json' resolved flavor "${needed[@]}")" 'f1	--flavor'
}

@test "prepare uses NOVAJOB_RESOLVED whole: no file, no environment, no job variable is looked at again" {
	local r
	r=$(novajob config "${needed[@]}" --openstack=/nowhere/resolved --state-dir="$T/state" |
		jq -r .job_env.NOVAJOB_RESOLVED)
	echo 'nonsense' >"$CONF"
	NOVAJOB_SETTINGS=$CONF CUSTOM_ENV_NOVAJOB_NETWORK=denied NOVAJOB_FLAVR=typo NOVAJOB_RESOLVED=$r \
		run novajob prepare -v
	refute_output --partial "$CONF"
	refute_output --partial 'this runner lets'
	refute_output --partial FLAVR
	NOVAJOB_SETTINGS=$CONF refused 2 "$CONF:1" novajob prepare
}

@test "a NOVAJOB_RESOLVED that is not ours is refused" {
	local good bad filter
	good=$(novajob config "${needed[@]}" | jq -r .job_env.NOVAJOB_RESOLVED)
	for bad in 'x' '{}' '[]' '{"version":1}' 'null'; do
		NOVAJOB_RESOLVED=$bad refused 2 'RESOLVED|resolved settings' novajob prepare
	done
	for filter in '.version = 2' '.version = "1"' '.settings.nonsense = "x"' '.settings.flavor = 1' \
		'.settings.flavor = "a;b"' '.settings."ssh-port" = "x"' '.settings.settings = "/x"' '.settings = []' \
		'.settings."job-may-set" = "owner"'; do
		NOVAJOB_RESOLVED=$(jq -c "$filter" <<<"$good") refused 2 'resolved settings' novajob prepare
	done
}

# ---- compat = python

python_env()
{
	ln -sf "$(realpath "$program")" "$T/config.sh"
	: >"$HOME/priv_key"
	export FLAVOR=ef BUILDER_IMAGE=ei USERNAME=eu
}

@test "called as config.sh: the plain names of the environment, the key in HOME, 30 s" {
	python_env
	export NETWORK=en KEY_PAIR_NAME=ek SECURITY_GROUP=es
	run -0 --separate-stderr "$T/config.sh"
	equal "$(jq -r '.job_env.NOVAJOB_RESOLVED | fromjson | .settings | [.flavor, .image, .username, .network, ."key-pair",
		."security-group", ."ssh-timeout", ."private-key", ."trust-variables", .compat] | join(" ")' <<<"$output")" \
		"ef ei eu en ek es 30s $HOME/priv_key yes python"
	equal "$stderr" ""
}

@test "called as config.sh: options are the command's, and --compat=none is possible" {
	python_env
	run -0 "$T/config.sh" --flavor=x
	run -0 "$T/config.sh" --help
	assert_output --partial 'novajob [option ...] config'
	refused 2 'flavor is not set' "$T/config.sh" --compat=none
	refused 2 'unknown option' "$T/config.sh" --frob
}

@test "compat = python from flag, environment and file" {
	python_env
	equal "$(value flavor)" null
	equal "$(value flavor --compat=python)" ef
	equal "$(NOVAJOB_COMPAT=python value flavor)" ef
	echo 'compat = python' >"$CONF"
	equal "$(value flavor "--settings=$CONF")" ef
	equal "$(where flavor "--settings=$CONF")" FLAVOR
	equal "$(NOVAJOB_COMPAT=python value flavor --compat=none)" null
}

@test "compat: a job's plain variable wins if not empty; all seven, whatever job-may-set says" {
	local pair plain setting unit=""
	python_env
	for pair in FLAVOR=flavor BUILDER_IMAGE=image NETWORK=network KEY_PAIR_NAME=key-pair SECURITY_GROUP=security-group \
		USERNAME=username SSH_TIMEOUT=ssh-timeout; do
		plain=${pair%=*} setting=${pair#*=}
		[[ $setting == ssh-timeout ]] && unit=s
		export "$plain=77" "CUSTOM_ENV_$plain=88"
		equal "$(resolved "$setting" --compat=python --job-may-set=)" "88$unit	job variable $plain"
		export "CUSTOM_ENV_$plain="
		equal "$(resolved "$setting" --compat=python --job-may-set=)" "77$unit	$plain"
	done
	CUSTOM_ENV_PRIVATE_KEY=x CUSTOM_ENV_NOVAJOB_OWNER=x refused 1 'lets jobs set: flavor, image, network' \
		novajob config --compat=python
}

@test "compat: of one source the name with NOVAJOB_ wins; a job's plain one beats the operator's" {
	python_env
	export NOVAJOB_FLAVOR=novajob-env
	equal "$(resolved flavor --compat=python)" 'novajob-env	NOVAJOB_FLAVOR'
	equal "$(resolved flavor --compat=python --flavor=flag)" 'flag	--flavor'
	export CUSTOM_ENV_FLAVOR=plain-job
	equal "$(resolved flavor --compat=python --flavor=flag)" 'plain-job	job variable FLAVOR'
	export CUSTOM_ENV_NOVAJOB_FLAVOR=novajob-job
	equal "$(resolved flavor --compat=python --flavor=flag)" 'novajob-job	job variable NOVAJOB_FLAVOR'
}

@test "compat: the file is weaker than the plain environment, stronger than the Python defaults" {
	python_env
	printf 'flavor = file\nssh-timeout = 77\n' >"$CONF"
	equal "$(value flavor --compat=python "--settings=$CONF")" ef
	equal "$(value ssh-timeout --compat=python "--settings=$CONF")" 77s
	equal "$(value ssh-timeout --compat=python)" 30s
}

@test "compat: hostile plain values are refused too" {
	python_env
	CUSTOM_ENV_BUILDER_IMAGE='x; rm -rf /' refused 1 'job variable BUILDER_IMAGE: image: ' novajob config --compat=python
	CUSTOM_ENV_SSH_TIMEOUT=soon refused 1 'job variable SSH_TIMEOUT: ssh-timeout: ' novajob config --compat=python
	FLAVOR=-x refused 2 'FLAVOR: flavor: ' novajob config --compat=python
}

@test "without compat the plain names mean nothing" {
	export FLAVOR=x CUSTOM_ENV_FLAVOR='a;b'
	equal "$(resolved flavor "${needed[@]}")" 'f1	--flavor'
}
