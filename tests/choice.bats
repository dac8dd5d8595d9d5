#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# choice.bats - what a job may choose: the operator's patterns, ceilings and sections, and image: of .gitlab-ci.yml.

bats_require_minimum_version 1.5.0

setup()
{
	load settings
	settings_setup
	export NOVAJOB_SETTINGS=$CONF
	conf
}

# conf LINE...: the settings file: what config needs, then these.
conf()
{
	printf '%s\n' 'flavor = m1.small' 'image = base' 'username = u' "private-key = $KEY" "$@" >"$CONF"
}

# the resolved value alone
chosen()
{
	local both
	both=$(resolved "$@") || return
	echo "${both%%$'\t'*}"
}

# ---- patterns and ceilings

@test "a job's flavor must match a pattern: exit 1 says what was asked and what is allowed" {
	conf 'allow-flavor = m1.*, c1.large'
	export CUSTOM_ENV_NOVAJOB_FLAVOR=m1.huge
	equal "$(chosen flavor)" m1.huge
	CUSTOM_ENV_NOVAJOB_FLAVOR=c1.large novajob config
	CUSTOM_ENV_NOVAJOB_FLAVOR=c1.larger refused 1 \
		"job variable NOVAJOB_FLAVOR asks for flavor 'c1.larger': this runner allows m1.\\*, c1.large \\($CONF:5\\)" novajob config
	CUSTOM_ENV_NOVAJOB_FLAVOR=xm1.small refused 1 'this runner allows' novajob config
}

@test "each part of a list must be allowed" {
	conf 'allow-flavor = m1.*'
	CUSTOM_ENV_NOVAJOB_FLAVOR='m1.a, m1.b' novajob config
	CUSTOM_ENV_NOVAJOB_FLAVOR='m1.a,g1.gpu' refused 1 'this runner allows' novajob config
}

@test "properties of an image are one pattern, between semicolons; each property once" {
	conf 'allow-image = base-*; os_distro=debian,ci=yes ;name=builder-*'
	local wish
	for wish in base-1 os_distro=debian,ci=yes name=builder-x; do
		CUSTOM_ENV_NOVAJOB_IMAGE=$wish novajob config
	done
	for wish in ci=yes os_distro=debian base; do
		CUSTOM_ENV_NOVAJOB_IMAGE=$wish refused 1 "asks for image '$wish': this runner allows" novajob config
	done
	CUSTOM_ENV_NOVAJOB_IMAGE=name=builder-x,name=builder refused 1 'the name is there twice' novajob config
}

@test "properties without a name or value, and lists of nothing, end in config" {
	conf 'job-may-set = flavor, image, network'
	local wish
	for wish in ci=yes,foo =x a=b,=c; do
		CUSTOM_ENV_NOVAJOB_IMAGE=$wish refused 1 'is no name=value' novajob config
	done
	CUSTOM_ENV_NOVAJOB_FLAVOR=, refused 1 'is a list of nothing' novajob config
	CUSTOM_ENV_NOVAJOB_NETWORK=', ,' refused 1 'is a list of nothing' novajob config
}

@test "an empty variable is as good as none, also for a setting a job may not set" {
	CUSTOM_ENV_NOVAJOB_NETWORK="" CUSTOM_ENV_NOVAJOB_FLAVOR="" novajob config
	equal "$(CUSTOM_ENV_NOVAJOB_FLAVOR="" chosen flavor)" m1.small
}

@test "the operator's own value need not match" {
	conf 'allow-flavor = c1.*'
	equal "$(chosen flavor)" m1.small
}

@test "every text a job may set has its patterns" {
	local name variable
	conf 'job-may-set = flavor, image, network, security-group, key-pair, username, ssh-timeout' 'max-ssh-timeout = 10m'
	for name in $(novajob settings --json | jq -r 'keys[]' | sed -n 's/^allow-//p'); do
		conf "job-may-set = $name" "allow-$name = good*"
		variable=CUSTOM_ENV_NOVAJOB_$(tr a-z- A-Z_ <<<"$name")
		env "$variable=good-1" "$program" config
		run -1 env "$variable=bad" "$program" config
		assert_output --partial "asks for $name 'bad': this runner allows good*"
	done
}

@test "a ceiling for a time" {
	conf 'job-may-set = ssh-timeout' 'max-ssh-timeout = 10m'
	CUSTOM_ENV_NOVAJOB_SSH_TIMEOUT=600 novajob config
	CUSTOM_ENV_NOVAJOB_SSH_TIMEOUT=601 refused 1 'asks for ssh-timeout 601s: this runner allows at most 10m' novajob config
}

@test "the Python executor's variables have the same bounds" {
	conf 'compat = python' 'allow-flavor = m1.*' 'max-ssh-timeout = 1m'
	CUSTOM_ENV_FLAVOR=m1.big novajob config
	CUSTOM_ENV_FLAVOR=g1.gpu refused 1 "job variable FLAVOR asks for flavor 'g1.gpu'" novajob config
	CUSTOM_ENV_SSH_TIMEOUT=61 refused 1 'job variable SSH_TIMEOUT asks for ssh-timeout 61s' novajob config
}

@test "no job may set a bound" {
	local name
	for name in ALLOW_FLAVOR MAX_SSH_TIMEOUT IMAGE_MAP JOB_IMAGE JOB_MAY_SET; do
		run -1 env "CUSTOM_ENV_NOVAJOB_$name=x" "$program" config
		assert_output --partial 'lets jobs set: flavor, image'
	done
	conf 'job-may-set = allow-flavor'
	refused 2 "no job may ever set 'allow-flavor'" novajob config
}

# ---- sections

@test "a section is for the projects that match, the last one wins, the job's variables do not decide" {
	conf '[project group/*]' 'flavor = m1.group' '[project group/project]' 'flavor = m1.project' \
		'[project other/*]' 'flavor = m1.other'
	equal "$(resolved flavor)" "m1.project	$CONF:8"
	job '.job_info.project_full_path = "group/sub/app"'
	equal "$(chosen flavor)" m1.group
	job '.job_info.project_full_path = "xgroup/app"'
	export CUSTOM_ENV_CI_PROJECT_PATH=group/project
	equal "$(chosen flavor)" m1.small
}

@test "a section for protected refs, and one for the others" {
	conf '[protected]' 'flavor = m1.safe' '[unprotected]' 'flavor = m1.wild' '[project group/* protected]' 'username = deploy'
	equal "$(chosen flavor)" m1.safe
	equal "$(chosen username)" deploy
	job '.git_info.protected = false'
	export CUSTOM_ENV_CI_COMMIT_REF_PROTECTED=true
	equal "$(chosen flavor)" m1.wild
	equal "$(chosen username)" u
	job 'del(.git_info.protected)'
	equal "$(chosen flavor)" m1.wild
}

@test "what a job may choose differs by section" {
	conf 'job-may-set =' '[project group/*]' 'job-may-set = flavor' 'allow-flavor = m1.*'
	CUSTOM_ENV_NOVAJOB_FLAVOR=m1.big novajob config
	CUSTOM_ENV_NOVAJOB_FLAVOR=c1.big refused 1 "allows m1" novajob config
	job '.job_info.project_full_path = "other/app"'
	CUSTOM_ENV_NOVAJOB_FLAVOR=m1.big refused 1 'lets jobs set: nothing' novajob config
}

@test "flags and the environment are stronger than a section" {
	conf '[protected]' 'flavor = m1.safe'
	equal "$(chosen flavor --flavor=flag)" flag
	export NOVAJOB_FLAVOR=environment
	equal "$(chosen flavor)" environment
}

@test "without JOB_RESPONSE_FILE no section fits" {
	conf 'trust-variables = yes' '[unprotected]' 'username = x' '[project *]' 'flavor = m1.any'
	equal "$(chosen flavor)" m1.any
	unset JOB_RESPONSE_FILE
	export CUSTOM_ENV_CI_JOB_ID=1 CUSTOM_ENV_CI_PROJECT_ID=2 CUSTOM_ENV_CI_SERVER_HOST=h CUSTOM_ENV_CI_PROJECT_PATH=group/project
	equal "$(chosen flavor)" m1.small
}

@test "a project's path is never cut: a long one fits its section, one without end is an error" {
	local long
	long=$(printf 'a%.0s' {1..3000})
	conf '[project */strict]' 'flavor = m1.strict'
	job ".job_info.project_full_path = \"$long/strict\""
	equal "$(chosen flavor)" m1.strict
	long=$long$long$long
	job ".job_info.project_full_path = \"$long/strict\""
	refused 2 'project_full_path. has over' novajob config
}

@test "settings of the whole host cannot stand in a section; mistakes in a section for others are told" {
	conf '[project nobody/*]' 'state-dir = /x'
	refused 2 ":6: state-dir is one for the whole host" novajob config
	conf '[project nobody/*]' 'ssh-port = x'
	refused 2 ':6: ssh-port: ' novajob settings
	conf '[project nobody/*]' 'flavour = x'
	refused 2 ":6: there is no setting 'flavour'" novajob settings
	conf '[project nobody/*]' 'flavor = x' 'flavor = y'
	refused 2 ':7: flavor is set twice, first in line 6' novajob settings
}

@test "each mistake in a section's head is told with its line" {
	local -A cases=(
		['[project]']="'project' makes no sense"
		['[project ]']="'project' makes no sense|does not say"
		['[]']='does not say for which jobs'
		['[protected']="no ']'"
		['[protected protected]']="'protected' makes no sense"
		['[protected unprotected]']="'unprotected' makes no sense"
		['[project a b]']="'b' makes no sense"
		['[project a project b]']="'project' makes no sense"
	)
	local text
	for text in "${!cases[@]}"; do
		conf "$text"
		refused 2 ":5: .*${cases[$text]}" novajob settings
	done
}

# ---- image: of .gitlab-ci.yml

@test "image: does not count without image-map" {
	equal "$(chosen image)" base
}

@test "image: is mapped: by pattern, to a name or properties, or as it is" {
	conf 'image-map = debian:12 -> debian-12; debian* -> os_distro=debian,ci=yes; ci-*'
	equal "$(resolved image)" "os_distro=debian,ci=yes	image-map, for image: of the job"
	job '.image.name = "debian:12"'
	equal "$(chosen image)" debian-12
	job '.image.name = "ci-7"'
	equal "$(chosen image)" ci-7
	job '.image.name = ""'
	equal "$(chosen image)" base
}

@test "an image: the map does not know, or with odd characters: exit 1" {
	conf 'image-map = debian:* -> debian; ci-*'
	job '.image.name = "alpine:3"'
	refused 1 "image: 'alpine:3' of the job: this runner knows debian:\\*, ci-\\* \\(image-map, $CONF:5\\)" novajob config
	job '.image.name = "ci-\u0007$(reboot);"'
	refused 1 'image: of the job: image: the character' novajob config
	job '.image.name = "ci-" + "x" * 600'
	refused 1 'is longer than 255' novajob config
}

@test "image: may be ignored or refused" {
	conf 'image-map = debian -> x' 'job-image = ignore'
	equal "$(chosen image)" base
	conf 'job-image = refuse'
	refused 1 "image: 'debian' of the job: this runner takes no image:" novajob config
	job 'del(.image)'
	equal "$(chosen image)" base
}

@test "the job's variable is stronger than its image:" {
	conf 'image-map = debian -> x'
	equal "$(CUSTOM_ENV_NOVAJOB_IMAGE=mine chosen image)" mine
}

@test "each mistake in a map is told" {
	local map
	for map in 'a ->' '-> b' 'a -> b -> c' ';' 'a b -> c' 'a -> -x' "a -> b'c"; do
		conf "image-map = $map"
		refused 2 ':5: image-map: ' novajob settings
	done
}

@test "an image: that is taken as it is has to be allowed, one that is mapped need not" {
	conf 'image-map = debian -> my-debian; *' 'allow-image = builder-*'
	job '.image.name = "builder-2"'
	equal "$(resolved image)" "builder-2	image: of the job"
	job '.image.name = "builder"'
	refused 1 "image: of the job asks for image 'builder': this runner allows builder-\\*" novajob config
	job '.image.name = "debian"'
	equal "$(chosen image)" my-debian
}
