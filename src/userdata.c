/* SPDX-License-Identifier: MIT */
/* userdata.c - what a new server is told at its first boot; see userdata.h. */
#include "userdata.h"

#include <string.h>

#include "json.h"
#include "xalloc.h"

/* How cloud-init tells the kinds apart, and the MIME types it has for them. */
static const struct kind {
	const char *start;
	const char *type; /* NULL: it has its own headers */
} kinds[] = {
	{ "#cloud-config", "text/cloud-config" },
	{ "#!", "text/x-shellscript" },
	{ "#cloud-boothook", "text/cloud-boothook" },
	{ "#include", "text/x-include-url" },
	{ "## template: jinja", "text/jinja2" },
	{ "Content-Type: multipart/", NULL },
	{ "MIME-Version:", NULL },
};

void
userdata_cloud_config(struct buf *b, const struct userdata_keys *k)
{
	/* merge_how: our lists are put behind the operator's; of single values his stay. */
	json_auto_t *o = json_pack("{s:b, s:{s:s, s:s}, s:[s], s:[{s:s, s:[s]}, {s:s, s:[s, s]}]}", "ssh_deletekeys", 1,
	    "ssh_keys", "ed25519_private", k->host_private, "ed25519_public", k->host_public, "ssh_authorized_keys",
	    k->client, "merge_how", "name", "list", "settings", "append", "name", "dict", "settings", "no_replace",
	    "recurse_list");
	auto_free char *text = NULL;

	if (strcmp(k->username, "root") == 0) /* else root's key only tells to log in as somebody else */
		(void)json_object_set_new(o, "disable_root", json_false());
	text = json_text(o);
	buf_printf(b, "#cloud-config\n%s\n", text);
}

void
userdata_script(struct buf *b, const struct userdata_keys *k)
{
	buf_printf(b,
	    "#!/bin/sh\n"
	    "# The keys of this job's server. The host key goes first: nobody logs in before it is there.\n"
	    "umask 077\n"
	    "rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub\n"
	    "cat >/etc/ssh/ssh_host_ed25519_key <<'END_OF_KEY'\n%sEND_OF_KEY\n"
	    "echo '%s' >/etc/ssh/ssh_host_ed25519_key.pub\n"
	    "home=$(awk -F: -v u='%s' '$1 == u { print $6 }' /etc/passwd)\n"
	    "mkdir -p \"$home/.ssh\"\n"
	    "echo '%s' >>\"$home/.ssh/authorized_keys\"\n"
	    "chown -R '%s' \"$home/.ssh\"\n"
	    "{ systemctl try-restart ssh.service sshd.service || service ssh restart || service sshd restart ||\n"
	    "kill -HUP \"$(cat /run/sshd.pid)\"; } >/dev/null 2>&1\n",
	    k->host_private, k->host_public, k->username, k->client, k->username);
}

/* A line of the text that begins with the word. */
static bool
has_line(const char *text, const char *word)
{
	for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word))
		if (at == text || at[-1] == '\n')
			return true;
	return false;
}

bool
userdata_check(const char *text, size_t len, bool keys, const char *path, const char **type, struct fault *f)
{
	static const char *const contended[] = { "ssh_keys:", "ssh_deletekeys:", "ssh_genkeytypes:" };
	const struct kind *kind = NULL;

	if (len >= 2 && memcmp(text, "\x1f\x8b", 2) == 0)
		return fault_set(f, FAULT_SETTING, "user-data: '%s' is compressed: give it as text", path);
	if (memchr(text, '\0', len) != NULL)
		return fault_set(f, FAULT_SETTING, "user-data: '%s' has a NUL byte in it: no text", path);
	for (size_t i = 0; i < ARRAY_LEN(kinds) && kind == NULL; i++)
		if (strncasecmp(text, kinds[i].start, strlen(kinds[i].start)) == 0)
			kind = &kinds[i];
	if (kind == NULL)
		return fault_set(f, FAULT_SETTING,
		    "user-data: '%s' begins with nothing that cloud-init knows: #cloud-config, #!, a multi-part …", path);
	*type = kind->type;
	for (size_t i = 0; keys && i < ARRAY_LEN(contended); i++)
		if (has_line(text, contended[i])) {
			(void)fault_set(f, FAULT_SETTING, "user-data: '%s' sets %s which novajob does for the job's own host key", path,
			    contended[i]);
			return fault_hint(f, "take it out, or set keys = shared");
		}
	if (keys && kind->type != NULL && strstr(text, "\"ssh_keys\"") != NULL)
		return fault_set(f, FAULT_SETTING, "user-data: '%s' sets ssh_keys, which novajob does for the job's own host key", path);
	return true;
}

static void
join_part(struct buf *b, const char *boundary, const char *type, const char *text)
{
	buf_printf(b, "--%s\n", boundary);
	if (type != NULL)
		buf_printf(b, "Content-Type: %s; charset=\"utf-8\"\nContent-Transfer-Encoding: 8bit\n\n", type);
	buf_printf(b, "%s\n", text);
}

void
userdata_join(struct buf *b, const char *theirs, const char *theirs_type, const char *ours, bool ours_is_script)
{
	auto_free char *boundary = xasprintf("novajob-%08x%08x%08x", arc4random(), arc4random(), arc4random());

	buf_printf(b, "Content-Type: multipart/mixed; boundary=\"%s\"\nMIME-Version: 1.0\n\n", boundary);
	join_part(b, boundary, theirs_type, theirs);
	join_part(b, boundary, ours_is_script ? "text/x-shellscript" : "text/cloud-config", ours);
	buf_printf(b, "--%s--\n", boundary);
}
