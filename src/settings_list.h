/* SPDX-License-Identifier: MIT */
/*
 * settings_list.h - the one table of settings; only settings.h includes it.
 *
 * X(type, field, "name", "default", alphabet, min, max, who, "help")
 *   type      text, path, span (30, 30s, 5m, 2h, 1d: kept in ms), number, flag (yes, no); choice (one of the words that
 *             stand in place of the alphabet), names (of settings), globs (patterns, glob(7)), map (settings_rules.h),
 *             pairs (of names and values)
 *   default   as it would be written in the file; "" = not set
 *   alphabet  A_… (settings.c): the characters a value may have; NULL for span, number, flag
 *   min, max  text: max is the longest in bytes; number: least and largest; span: the same in seconds
 *   who       S_JOB a job may be allowed to set it; S_RULE never, but it may differ by project (a section of the file);
 *             S_HOST one value for the whole host; S_SECRET as S_RULE, and masked when shown
 *
 * A setting "allow-x" or "max-x" bounds what a job may set x to.
 *
 * A new row needs its entry in man/novajob.conf.5; tests/words.bats says what is missing.
 */
#ifndef NOVAJOB_SETTINGS_LIST_H
#define NOVAJOB_SETTINGS_LIST_H

/* clang-format off */
#define SETTINGS_LIST(X) \
	X(text, flavor, "flavor", "", A_NAME, 0, 255, S_JOB, "flavor of the server, name or id; the next of a list where there is no room") \
	X(text, image, "image", "", A_NAME, 0, 255, S_JOB, "image of the server: name, id, or properties (a=b,c=d); the newest that fits") \
	X(text, network, "network", "", A_NAME, 0, 255, S_JOB, "network of the server, name or id; a list as for flavor; a + b: both") \
	X(text, security_group, "security-group", "", A_NAME, 0, 255, S_JOB, "security groups of the server, names or ids") \
	X(text, availability_zone, "availability-zone", "", A_NAME, 0, 255, S_JOB, "availability zone of the server; a list as for flavor") \
	X(text, key_pair, "key-pair", "", A_NAME, 0, 255, S_JOB, "key pair whose private half is private-key") \
	X(text, username, "username", "", A_WORD, 0, 32, S_JOB, "login name in the server") \
	X(text, address, "address", "auto", A_CIDR, 0, 64, S_RULE, "which address to log in at: auto, fixed, floating, 4, 6, or a network as 10.0.0.0/8") \
	X(text, floating_network, "floating-network", "", A_NAME, 0, 255, S_RULE, "network of which each server gets a floating address") \
	X(pairs, properties, "properties", "", A_NAME, 0, 2000, S_RULE, "further properties of the server: a=b, c=d") \
	X(text, description, "description", "", A_NAME, 0, 255, S_RULE, "description of the server") \
	X(choice, keys, "keys", "auto", "auto,per-job,shared", 0, 16, S_RULE, "keys of each job alone, or key-pair; auto: key-pair if set") \
	X(choice, key_delivery, "key-delivery", "cloud-config", "cloud-config,script", 0, 16, S_RULE, "how the image takes a job's keys from user-data") \
	X(path, user_data, "user-data", "", A_PATH, 0, 1000, S_RULE, "file that is told to the server at its first boot") \
	X(flag, config_drive, "config-drive", "yes", NULL, 0, 0, S_RULE, "hand user-data over on a config drive") \
	X(path, private_key, "private-key", "", A_PATH, 0, 1000, S_RULE, "file of the private key of key-pair") \
	X(span, ssh_timeout, "ssh-timeout", "5m", NULL, 1, 86400, S_JOB, "how long a server may take from ACTIVE to a login") \
	X(number, ssh_port, "ssh-port", "22", NULL, 1, 65535, S_JOB, "port of sshd in the server") \
	X(flag, ssh_share, "ssh-share", "yes", NULL, 0, 0, S_RULE, "the stages of a job share one ssh connection") \
	X(path, ssh_config, "ssh-config", "", A_PATH, 0, 1000, S_RULE, "ssh_config(5) file for ssh; none is read otherwise") \
	X(text, ssh_proxy_jump, "ssh-proxy-jump", "", A_JUMP, 0, 255, S_RULE, "bastion on the way to the servers: user@host:port") \
	X(path, ssh_proxy_key, "ssh-proxy-key", "", A_PATH, 0, 1000, S_RULE, "file of the private key for the bastion") \
	X(path, ssh_proxy_known_hosts, "ssh-proxy-known-hosts", "", A_PATH, 0, 1000, S_RULE, "known_hosts file with the bastion's host key") \
	X(text, ready_command, "ready-command", "", A_COMMAND, 0, 1000, S_RULE, "run in the server once it lets us in; 0: it is ready for the job") \
	X(span, ready_timeout, "ready-timeout", "5m", NULL, 1, 86400, S_RULE, "how long ready-command may take") \
	X(path, runner_binary, "runner-binary", "", A_PATH, 0, 1000, S_RULE, "gitlab-runner for servers that have none, or another version") \
	X(path, prepare_script, "prepare-script", "", A_PATH, 0, 1000, S_RULE, "file of a bash script that is run in the server before the job") \
	X(span, prepare_script_timeout, "prepare-script-timeout", "10m", NULL, 1, 86400, S_RULE, "how long prepare-script may take") \
	X(span, create_timeout, "create-timeout", "10m", NULL, 1, 86400, S_RULE, "how long a server may take to become ACTIVE") \
	X(span, stop_grace, "stop-grace", "5s", NULL, 0, 600, S_RULE, "from TERM to KILL for a script that is to stop") \
	X(span, stop_timeout, "stop-timeout", "10s", NULL, 0, 600, S_RULE, "how long prepare may undo what it began after TERM") \
	X(span, delete_wait, "delete-wait", "5s", NULL, 0, 600, S_RULE, "how long cleanup looks for a deleted server to be gone") \
	X(choice, delete_by, "delete-by", "cleanup", "cleanup,timer", 0, 16, S_RULE, "who deletes a job's server: cleanup, or later sweep's timer") \
	X(span, keep_on_failure, "keep-on-failure", "0", NULL, 0, 2592000, S_JOB, "how long the server of a failed job is kept after it, within max-life") \
	X(path, builds_dir, "builds-dir", "", A_PATH, 0, 1000, S_RULE, "builds_dir told to the runner") \
	X(path, cache_dir, "cache-dir", "", A_PATH, 0, 1000, S_RULE, "cache_dir told to the runner") \
	X(path, state_dir, "state-dir", "", A_PATH, 0, 1000, S_HOST, "where the jobs' records are") \
	X(text, log_file, "log-file", "", A_PATH, 0, 1000, S_HOST, "where events go: journal, a file, or the socket of another journal") \
	X(choice, log_format, "log-format", "text", "text,json", 0, 16, S_HOST, "how an event is written as a line") \
	X(text, owner, "owner", "novajob", A_WORD, 0, 64, S_HOST, "the name this host, or group of hosts, owns servers by") \
	X(span, call_timeout, "call-timeout", "60s", NULL, 1, 3600, S_HOST, "how long one call of openstack may take; a create twice that") \
	X(span, alive_timeout, "alive-timeout", "60s", NULL, 3, 3600, S_RULE, "a silent connection is dead after so long without an answer") \
	X(span, busy_timeout, "busy-timeout", "30m", NULL, 0, 86400, S_RULE, "how long prepare waits for quota or room in the cloud") \
	X(span, name_cache, "name-cache", "10m", NULL, 0, 2592000, S_HOST, "how long the id of a name is believed without asking the cloud; 0: never") \
	X(number, client_slots, "client-slots", "4", NULL, 2, 64, S_HOST, "how many openstack processes may live at once on this host") \
	X(span, sweep_grace, "sweep-grace", "6h", NULL, 0, 2592000, S_HOST, "other hosts' servers are swept so long after their expiry") \
	X(number, pool, "pool", "0", NULL, 0, 1000, S_HOST, "servers kept ready for jobs to come, see novajob pool") \
	X(span, pool_max_age, "pool-max-age", "12h", NULL, 60, 2592000, S_HOST, "a server of the pool that has waited so long is replaced") \
	X(span, max_life, "max-life", "24h", NULL, 60, 2592000, S_RULE, "no server expires later than this after its creation") \
	X(path, openstack, "openstack", "openstack", A_PATH, 0, 1000, S_HOST, "the openstack program") \
	X(path, ssh, "ssh", "ssh", A_PATH, 0, 1000, S_RULE, "the ssh program") \
	X(path, ssh_keygen, "ssh-keygen", "ssh-keygen", A_PATH, 0, 1000, S_HOST, "the ssh-keygen program") \
	X(flag, openstack_session, "openstack-session", "yes", NULL, 0, 0, S_HOST, "one openstack process per stage instead of one per call") \
	X(names, job_may_set, "job-may-set", "flavor,image", A_LIST, 0, 1000, S_RULE, "settings that CUSTOM_ENV_NOVAJOB_X of a job may set") \
	X(globs, allow_flavor, "allow-flavor", "", A_GLOB, 0, 1000, S_RULE, "patterns of the flavors a job may choose; none: any") \
	X(globs, allow_image, "allow-image", "", A_GLOBS, 0, 1000, S_RULE, "patterns of the images a job may choose, properties between ;; none: any") \
	X(globs, allow_network, "allow-network", "", A_GLOB, 0, 1000, S_RULE, "patterns of the networks a job may choose; none: any") \
	X(globs, allow_security_group, "allow-security-group", "", A_GLOB, 0, 1000, S_RULE, "patterns of the security groups a job may choose; none: any") \
	X(globs, allow_availability_zone, "allow-availability-zone", "", A_GLOB, 0, 1000, S_RULE, "patterns of the availability zones a job may choose; none: any") \
	X(globs, allow_key_pair, "allow-key-pair", "", A_GLOB, 0, 1000, S_RULE, "patterns of the key pairs a job may choose; none: any") \
	X(globs, allow_username, "allow-username", "", A_GLOB, 0, 1000, S_RULE, "patterns of the login names a job may choose; none: any") \
	X(span, max_ssh_timeout, "max-ssh-timeout", "1d", NULL, 1, 86400, S_RULE, "the longest ssh-timeout a job may choose") \
	X(number, max_held, "max-held", "10", NULL, 0, 10000, S_HOST, "how many servers of failed jobs this host keeps at a time; 0: any number") \
	X(span, max_keep_on_failure, "max-keep-on-failure", "1h", NULL, 0, 2592000, S_RULE, "the longest keep-on-failure a job may choose") \
	X(choice, job_image, "job-image", "map", "map,ignore,refuse", 0, 16, S_RULE, "what becomes of image: in .gitlab-ci.yml") \
	X(map, image_map, "image-map", "", A_MAP, 0, 4000, S_RULE, "which image: of .gitlab-ci.yml is which image: PATTERN -> IMAGE; …") \
	X(choice, job_log, "job-log", "gitlab", "gitlab,plain", 0, 16, S_HOST, "job log with GitLab's colours and folded sections, or plain lines") \
	X(flag, trust_variables, "trust-variables", "no", NULL, 0, 0, S_HOST, "without JOB_RESPONSE_FILE believe the job's variables") \
	X(choice, compat, "compat", "none", "none,python", 0, 16, S_HOST, "python: the settings and names of the Python executor too")
/* clang-format on */

#endif
