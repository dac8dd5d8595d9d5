#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Which job it is: JOB_RESPONSE_FILE, as far as config shows it.

bats_require_minimum_version 1.5.0

setup()
{
	load settings
	settings_setup
}

@test "the job is the one in JOB_RESPONSE_FILE, whatever its variables say" {
	export CUSTOM_ENV_CI_JOB_ID=666 CUSTOM_ENV_CI_PROJECT_ID=667
	run -0 --separate-stderr novajob -v config "${needed[@]}"
	assert_regex "$stderr" 'job 42 of group/project'
}

@test "what of a project's path is no path is not shown" {
	job '.job_info.project_full_path = "a\u001b[31m b\"'"'"'c/d"'
	run -0 --separate-stderr novajob -v config "${needed[@]}"
	assert_regex "$stderr" 'job 42 of a\?\?31m\?b\?\?c/d:'
}

@test "a job file without what is needed, or of wrong types, is refused, and nothing of it is shown" {
	local -A cases=(
		['del(.id)']="'id' is missing"
		['.id = null']="'id' is missing"
		['.id = "42"']="'id' is no whole number"
		['.id = 42.5']="'id' is no whole number"
		['.id = 0']="'id' is 0: not positive"
		['.id = -1']="'id' is -1: not positive"
		['del(.job_info)']="'job_info.project_id' is missing"
		['.job_info = "VERYSECRET"']="'job_info' is no object"
		['.job_info.project_id = true']="'project_id' is no whole number"
		['.job_info.instance_uuid = 7']="'instance_uuid' is no string"
		['.git_info.protected = "yes"']="'protected' is no true or false"
		['.git_info.ref = []']="'ref' is no string"
		['.runner_info.timeout = "1h"']="'timeout' is no whole number"
		['.image = "debian"']="'image' is no object"
		['.image.name = 5']="'name' is no string"
		['del(.job_info.instance_uuid) | del(.git_info)']='names the GitLab server'
		['[.]']='no JSON object'
		['"VERYSECRET"']='no valid JSON'
	)
	local filter
	for filter in "${!cases[@]}"; do
		job "$filter"
		refused 2 '.' novajob config "${needed[@]}"
		[[ $stderr == *"JOB_RESPONSE_FILE '$T/job.json': "*"${cases[$filter]}"* ]] || fail "for '$filter': $stderr"
	done
}

@test "a job file may lack what is not needed" {
	job 'del(.git_info) | del(.runner_info) | del(.image) | del(.variables) | del(.job_info.project_full_path)'
	run -0 novajob config "${needed[@]}"
	job '.git_info.protected = null | .runner_info = null | .image = null | .job_info.instance_uuid = ""'
	run -0 novajob config "${needed[@]}"
}

@test "broken JSON in the job file is refused, and nothing of it is shown" {
	local text
	for text in '' ' ' '{' '{"id": 42, "token": "VERYSECRET' '{"id":1,"id":2}' '{"id":42} VERYSECRET' \
		'{"token":"VERYSECRET\u0000"}' $'{"token":"VERYSECRET\xff"}' 'VERYSECRET' '{"id":99999999999999999999}'; do
		printf '%s' "$text" >"$T/job.json"
		refused 2 "JOB_RESPONSE_FILE '$T/job.json': no valid JSON: .*line [0-9]+, column [0-9]+" novajob config "${needed[@]}"
	done
	printf '{"id":42,\0}' >"$T/job.json"
	refused 2 'no valid JSON' novajob config "${needed[@]}"
	head -c 100000 /dev/zero | tr '\0' '[' >"$T/job.json"
	refused 2 'no valid JSON' novajob config "${needed[@]}"
}

@test "a job file that is not there, no file, or huge is refused" {
	JOB_RESPONSE_FILE=$T/none refused 2 "cannot open JOB_RESPONSE_FILE '$T/none': No such file" novajob config "${needed[@]}"
	JOB_RESPONSE_FILE=$T refused 2 'not a regular file' novajob config "${needed[@]}"
	mkfifo "$T/fifo"
	JOB_RESPONSE_FILE=$T/fifo refused 2 'not a regular file' timeout 20 "$program" config "${needed[@]}"
	truncate -s 67108865 "$T/huge"
	JOB_RESPONSE_FILE=$T/huge refused 2 'larger than 64 MiB' novajob config "${needed[@]}"
	JOB_RESPONSE_FILE='' refused 2 'names no job' novajob config "${needed[@]}"
}

@test "a job with a megabyte of variables is read" {
	job '.variables = [range(2000) | {key: "V\(.)", value: ("x" * 500)}]'
	run -0 novajob config "${needed[@]}"
}

@test "without JOB_RESPONSE_FILE variables count only where the operator says so" {
	unset JOB_RESPONSE_FILE
	export CUSTOM_ENV_CI_JOB_ID=77 CUSTOM_ENV_CI_PROJECT_ID=8 CUSTOM_ENV_CI_SERVER_HOST=gitlab.example
	refused 2 'JOB_RESPONSE_FILE is not set' novajob config "${needed[@]}"
	CUSTOM_ENV_NOVAJOB_TRUST_VARIABLES=yes refused 2 'JOB_RESPONSE_FILE is not set' novajob config "${needed[@]}"
	run -0 --separate-stderr novajob -v config "${needed[@]}" --trust-variables=yes
	assert_regex "$stderr" 'job 77 of'
}

@test "trusted variables are checked as well" {
	unset JOB_RESPONSE_FILE
	local args=("${needed[@]}" --trust-variables=yes) bad
	export CUSTOM_ENV_CI_PROJECT_ID=8 CUSTOM_ENV_CI_SERVER_HOST=gitlab.example
	refused 2 'CUSTOM_ENV_CI_JOB_ID' novajob config "${args[@]}"
	for bad in '' 0 -1 +1 ' 1' 1x '1$' 99999999999999999999 $'1\n2'; do
		CUSTOM_ENV_CI_JOB_ID=$bad refused 2 'CUSTOM_ENV_CI_JOB_ID: number' novajob config "${args[@]}"
		CUSTOM_ENV_CI_JOB_ID=1 CUSTOM_ENV_CI_PROJECT_ID=$bad refused 2 'CI_PROJECT_ID: number' novajob config "${args[@]}"
	done
	export CUSTOM_ENV_CI_JOB_ID=1
	CUSTOM_ENV_CI_JOB_TIMEOUT=1h refused 2 'CI_JOB_TIMEOUT: number' novajob config "${args[@]}"
	CUSTOM_ENV_CI_JOB_TIMEOUT='' run -0 novajob config "${args[@]}"
	CUSTOM_ENV_CI_SERVER_HOST='' refused 2 'which GitLab' novajob config "${args[@]}"
}
