# shellcheck shell=bash
# settings.bash - what the bats files share that only look at settings: no cloud, config and settings by hand.
# Each file loads it, and calls settings_setup in its setup.

settings_setup()
{
	bats_load_library bats-support
	bats_load_library bats-assert
	local name

	for name in $(compgen -e | grep -E '^(NOVAJOB|CUSTOM_ENV)_') FLAVOR BUILDER_IMAGE NETWORK KEY_PAIR_NAME \
		SECURITY_GROUP USERNAME SSH_TIMEOUT; do
		unset "$name"
	done
	T=$BATS_TEST_TMPDIR
	export HOME=$T LC_ALL=C TZ=UTC TMPDIR=$T
	export NOVAJOB_SETTINGS=/dev/null # whatever /etc/novajob has
	export NOVAJOB_JOB_LOG=plain
	export JOB_RESPONSE_FILE=$T/job.json
	umask 022
	CONF=$T/novajob.conf
	KEY=$T/key
	: >"$KEY"
	job '.'
	program=${NOVAJOB:-$BATS_TEST_DIRNAME/../build/novajob}
	# what config needs and has no default
	needed=(--flavor=f1 --image=i1 --username=u1 "--private-key=$KEY" --keys=shared)
}

novajob()
{
	"$program" "$@"
}

# The job file, changed by a jq filter.
job()
{
	jq -c "$1" >"$T/job.json" <<-'END'
		{"id": 42, "token": "glcbt-VERYSECRET", "job_info": {"project_id": 7, "project_full_path": "group/project",
		 "instance_uuid": "aaaa-bbbb"}, "git_info": {"repo_url": "https://u:VERYSECRET@gitlab.example/g/p.git",
		 "ref": "main", "protected": true}, "runner_info": {"timeout": 1800}, "image": {"name": "debian"},
		 "variables": [{"key": "CI_JOB_ID", "value": "666"}]}
	END
}

# value SETTING [ARG…]: the value, or "null"; where SETTING [ARG…]: its source.
value()
{
	local name=$1
	novajob settings --json "${@:2}" | jq -r --arg n "$name" '.[$n].value'
}

where()
{
	local name=$1
	novajob settings --json "${@:2}" | jq -r --arg n "$name" '.[$n].from'
}

# What config hands on, as "value<TAB>from".
resolved()
{
	local name=$1 answer
	answer=$(novajob config "${@:2}") || return
	jq -r --arg n "$name" '.job_env.NOVAJOB_RESOLVED | fromjson | [.settings[$n], .from[$n] // "default"] | @tsv' <<<"$answer"
}

equal()
{
	[[ $1 == "$2" ]] || fail "got '$1', expected '$2'"
}

# refused CODE PATTERN COMMAND…: it fails with that code, nothing on stdout, and one error line matching the extended regex.
refused()
{
	local code=$1 pattern=$2
	run "-$code" --separate-stderr "${@:3}"
	equal "$output" ""
	# shellcheck disable=SC2154 # set by run
	[[ $stderr =~ $pattern ]] || fail "no '$pattern' in: $stderr"
	equal "$(grep -c '^novajob: error: ' <<<"$stderr")" 1
	[[ $stderr != *VERYSECRET* ]] || fail "a secret in: $stderr"
}
