/* SPDX-License-Identifier: MIT */
/*
 * settings_list.h - the one table of settings; only settings.h includes it.
 *
 * X(type, field, "name", "default", alphabet, min, max, who, "help")
 *   type      text, path, list, span (30, 30s, 5m, 2h, 1d: kept in ms), number, flag (yes, no)
 *   default   as it would be written in the file; "" = not set
 *   alphabet  A_… (settings.c): the characters a value may have; NULL for span, number, flag
 *   min, max  text: max is the longest in bytes; number: least and largest; span: the same in seconds
 *   who       S_JOB a job may be allowed to set it; S_HOST never; S_SECRET masked when shown (and never by a job)
 *
 * A new row needs a word in man/novajob.conf.5 and in the completions; tests/words.bats says which is missing.
 */
#ifndef NOVAJOB_SETTINGS_LIST_H
#define NOVAJOB_SETTINGS_LIST_H

/* clang-format off */
#define SETTINGS_LIST(X) \
	X(text, flavor, "flavor", "", A_NAME, 0, 255, S_JOB, "flavor of the server, name or id") \
	X(text, image, "image", "", A_NAME, 0, 255, S_JOB, "image of the server, name or id; of equal names the newest") \
	X(text, network, "network", "", A_NAME, 0, 255, S_JOB, "network of the server, name or id") \
	X(text, security_group, "security-group", "", A_NAME, 0, 255, S_JOB, "security group of the server, name or id") \
	X(text, key_pair, "key-pair", "", A_NAME, 0, 255, S_JOB, "key pair whose private half is private-key") \
	X(text, username, "username", "", A_WORD, 0, 32, S_JOB, "login name in the server") \
	X(path, private_key, "private-key", "", A_PATH, 0, 1000, S_HOST, "file of the private key for the login") \
	X(span, ssh_timeout, "ssh-timeout", "5m", NULL, 1, 86400, S_JOB, "how long a server may take from ACTIVE to a login") \
	X(number, ssh_port, "ssh-port", "22", NULL, 1, 65535, S_JOB, "port of sshd in the server") \
	X(path, ssh_config, "ssh-config", "", A_PATH, 0, 1000, S_HOST, "ssh_config(5) file for ssh; none is read otherwise") \
	X(span, create_timeout, "create-timeout", "10m", NULL, 1, 86400, S_HOST, "how long a server may take to become ACTIVE") \
	X(span, stop_grace, "stop-grace", "5s", NULL, 0, 600, S_HOST, "from TERM to KILL for a script that is to stop") \
	X(span, stop_timeout, "stop-timeout", "10s", NULL, 0, 600, S_HOST, "how long prepare may undo and cleanup go on after TERM") \
	X(span, delete_wait, "delete-wait", "5s", NULL, 0, 600, S_HOST, "how long cleanup looks for a deleted server to be gone") \
	X(path, builds_dir, "builds-dir", "", A_PATH, 0, 1000, S_HOST, "builds_dir told to the runner") \
	X(path, cache_dir, "cache-dir", "", A_PATH, 0, 1000, S_HOST, "cache_dir told to the runner") \
	X(path, state_dir, "state-dir", "", A_PATH, 0, 1000, S_HOST, "where the jobs' records are") \
	X(text, owner, "owner", "novajob", A_WORD, 0, 64, S_HOST, "the name this host, or group of hosts, owns servers by") \
	X(span, call_timeout, "call-timeout", "60s", NULL, 1, 3600, S_HOST, "how long one call of openstack may take; a create twice that") \
	X(span, alive_timeout, "alive-timeout", "60s", NULL, 3, 3600, S_HOST, "a silent connection is dead after so long without an answer") \
	X(span, busy_timeout, "busy-timeout", "30m", NULL, 0, 86400, S_HOST, "how long prepare waits for quota or room in the cloud") \
	X(number, client_slots, "client-slots", "4", NULL, 2, 64, S_HOST, "how many openstack processes may live at once on this host") \
	X(span, sweep_grace, "sweep-grace", "6h", NULL, 0, 2592000, S_HOST, "other hosts' servers are swept so long after their expiry") \
	X(span, max_life, "max-life", "24h", NULL, 60, 2592000, S_HOST, "no server expires later than this after its creation") \
	X(path, openstack, "openstack", "openstack", A_PATH, 0, 1000, S_HOST, "the openstack program") \
	X(path, ssh, "ssh", "ssh", A_PATH, 0, 1000, S_HOST, "the ssh program") \
	X(flag, openstack_session, "openstack-session", "yes", NULL, 0, 0, S_HOST, "one openstack process per stage instead of one per call") \
	X(list, job_may_set, "job-may-set", "flavor,image", A_LIST, 0, 1000, S_HOST, "settings that CUSTOM_ENV_NOVAJOB_X of a job may set") \
	X(flag, trust_variables, "trust-variables", "no", NULL, 0, 0, S_HOST, "without JOB_RESPONSE_FILE believe the job's variables") \
	X(text, compat, "compat", "none", A_WORD, 0, 16, S_HOST, "python: the settings and names of the Python executor too")
/* clang-format on */

#endif
