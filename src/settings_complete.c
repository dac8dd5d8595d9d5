/* SPDX-License-Identifier: MIT */
/* settings_complete.c - is all there that a job's server needs? See settings_complete() in settings.h. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "settings.h"

/* A file that is named must be one, and ours to read. What is run, or obeyed by ssh without a look, nobody else may write. */
static bool
file_ready(const struct settings *s, int setting, const char *path, struct fault *f)
{
	struct stat st;

	if (stat(path, &st) != 0 || access(path, R_OK) != 0)
		return fault_errno(f, FAULT_SETTING, "%s '%s' (%s)", setting_infos[setting].name, path,
		    settings_where(s, setting));
	if (!S_ISREG(st.st_mode))
		return fault_set(f, FAULT_SETTING, "%s '%s' (%s) is no regular file", setting_infos[setting].name, path,
		    settings_where(s, setting));
	if (setting == SETTING_private_key || setting == SETTING_ssh_proxy_key)
		return true; /* ssh looks itself */
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) == 0 && (st.st_uid == 0 || st.st_uid == geteuid()))
		return true;
	(void)fault_set(f, FAULT_SETTING, "%s '%s' (%s) can be written by others (user %u, mode %04o)",
	    setting_infos[setting].name, path, settings_where(s, setting), (unsigned int)st.st_uid,
	    (unsigned int)(st.st_mode & 07777));
	return fault_hint(f, "it must be root's or ours: chmod go-w '%s'", path);
}

bool
settings_complete(const struct settings *s, struct fault *f)
{
	static const int needed[] = { SETTING_flavor, SETTING_image, SETTING_username, SETTING_private_key };
	bool shared = !settings_keys_per_job(s);

	for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
		auto_free char *text = settings_text(s, needed[i]);
		char variable[64];

		if (text[0] != '\0' || (needed[i] == SETTING_private_key && !shared))
			continue;
		(void)fault_set(f, FAULT_SETTING, "%s is not set", setting_infos[needed[i]].name);
		return fault_hint(f, "set it in %s, as --%s=… or in %s", SETTINGS_DEFAULT_FILE,
		    setting_infos[needed[i]].name, settings_env_name(variable, sizeof(variable), needed[i]));
	}
	if (strcmp(s->address, "floating") == 0 && s->floating_network == NULL) {
		(void)fault_set(f, FAULT_SETTING, "address = floating (%s) needs floating-network",
		    settings_where(s, SETTING_address));
		return fault_hint(f, "'openstack network list --external' shows what it may be");
	}
	if (s->ssh_proxy_jump != NULL && (s->ssh_proxy_key == NULL || s->ssh_proxy_known_hosts == NULL)) {
		(void)fault_set(f, FAULT_SETTING, "ssh-proxy-jump (%s) needs ssh-proxy-key and ssh-proxy-known-hosts",
		    settings_where(s, SETTING_ssh_proxy_jump));
		return fault_hint(f, "'ssh-keyscan' and a look at the bastion itself give its known_hosts line");
	}
	if (s->ssh_proxy_jump != NULL && (!file_ready(s, SETTING_ssh_proxy_key, s->ssh_proxy_key, f) ||
	    !file_ready(s, SETTING_ssh_proxy_known_hosts, s->ssh_proxy_known_hosts, f)))
		return false;
	return (!shared || file_ready(s, SETTING_private_key, s->private_key, f)) &&
	    (s->ssh_config == NULL || file_ready(s, SETTING_ssh_config, s->ssh_config, f)) &&
	    (s->runner_binary == NULL || file_ready(s, SETTING_runner_binary, s->runner_binary, f)) &&
	    (s->prepare_script == NULL || file_ready(s, SETTING_prepare_script, s->prepare_script, f));
}
