/* SPDX-License-Identifier: MIT */
/* doctor_host.c - novajob doctor: what a job needs of this host; see doctor.h. */
#include <inttypes.h>
#include <pwd.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "doctor.h"
#include "event.h"
#include "keys.h"
#include "openstack.h"
#include "record.h"
#include "ssh.h"
#include "ssh_share.h"
#include "text.h"
#include "xalloc.h"

#define MIN_FREE (INT64_C(16) * 1024 * 1024) /* bytes: some thousand records */

static void
check_programs(struct doctor *d)
{
	struct fault f;
	int code = 0;
	auto_free char *ssh = doctor_output((const char *const[]){ d->st->ssh, "-V", NULL }, &code, &f);

	if (ssh != NULL && code != 0)
		(void)fault_set(&f, FAULT_SETTING, "'%s -V' fails: %s", d->st->ssh, ssh);
	if (ssh == NULL || code != 0)
		doctor_tell_fault(d, "ssh", &f);
	else
		doctor_tell(d, DOCTOR_OK, "ssh", "%.*s", (int)strcspn(ssh, "\n"), ssh);
	if (!os_client_version(&d->c, doctor_limit(), &f))
		doctor_tell_fault(d, "openstack", &f);
	else
		doctor_tell(d, DOCTOR_OK, "openstack", "python-openstackclient %s", d->c.version);
}

static void
check_state(struct doctor *d)
{
	auto_state struct state s = STATE_INIT;
	auto_free char *share = NULL;
	struct statvfs v;
	struct fault f;
	size_t warned = d->counts[DOCTOR_WARN];

	if (!state_open(&s, d->st->state_dir, NULL, true, &f)) {
		doctor_tell_fault(d, "state-dir", &f);
		return;
	}
	if (access(s.dir, W_OK) != 0) {
		doctor_tell(d, DOCTOR_FAIL, "state-dir", "'%s' cannot be written to by this user", s.dir);
		return;
	}
	if (statvfs(s.dir, &v) == 0 && (int64_t)v.f_bavail * (int64_t)v.f_frsize < MIN_FREE)
		doctor_tell(d, DOCTOR_WARN, "state-dir", "'%s' has less than 16 MiB free: prepare fails when it is full", s.dir);
	if (strncmp(s.dir, "/tmp/", 5) == 0 || strncmp(s.dir, "/var/tmp/", 9) == 0 || strncmp(s.dir, "/run/", 5) == 0)
		doctor_tell(d, DOCTOR_WARN, "state-dir", "'%s' does not outlive a reboot or a cleaner: use /var/lib/novajob", s.dir);
	share = share_path(&s, "0123456789abcdef");
	if (d->st->ssh_share && share == NULL)
		doctor_tell(d, DOCTOR_WARN, "state-dir", "'%s' is too long a name for the socket of a shared connection: each stage "
		    "connects by itself", s.dir);
	if (d->counts[DOCTOR_WARN] == warned)
		doctor_tell(d, DOCTOR_OK, "state-dir", "%s", s.dir);
}

static void
check_user(struct doctor *d)
{
	const struct passwd *pw = getpwuid(geteuid());

	if (pw == NULL)
		doctor_tell(d, DOCTOR_FAIL, "user", "user id %u has no passwd entry: ssh refuses to work for it", geteuid());
	else
		doctor_tell(d, DOCTOR_OK, "user", "%s", pw->pw_name);
}

/* Through the bastion to its own sshd, which says who it is. */
static void
check_bastion(struct doctor *d)
{
	auto_strv struct strv argv = STRV_INIT;
	auto_free char *said = NULL;
	struct fault f;
	int code = 0;

	if (d->st->ssh_proxy_jump == NULL || d->st->ssh_proxy_key == NULL || d->st->ssh_proxy_known_hosts == NULL)
		return; /* told by the settings' check */
	ssh_bastion_argv(&argv, d->st);
	said = doctor_output((const char *const *)argv.v, &code, &f);
	if (said == NULL)
		doctor_tell_fault(d, "bastion", &f);
	else if (strncmp(said, "SSH-", 4) == 0)
		doctor_tell(d, DOCTOR_OK, "bastion", "%s lets us in", d->st->ssh_proxy_jump);
	else if (strstr(said, "forwarding failed") != NULL)
		doctor_tell(d, DOCTOR_WARN, "bastion", "%s lets us in, but leads not even to itself (%.*s): see that its AllowTcpForwarding and "
		    "PermitOpen let connections to the servers through", d->st->ssh_proxy_jump, (int)strcspn(said, "\r\n"), said);
	else
		doctor_tell(d, DOCTOR_FAIL, "bastion", "%s does not let us in: %s", d->st->ssh_proxy_jump, text_tail(said, 1));
}

/* Does the private key belong to the key pair? Type and key are compared, not the comment. */
static void
compare_keys(struct doctor *d, const char *ours, const char *theirs)
{
	size_t type = strcspn(ours, " ");
	size_t len = ours[type] == '\0' ? type : type + 1 + strcspn(ours + type + 1, " \n");

	if (strncmp(ours, theirs, len) == 0 && len > 16)
		doctor_tell(d, DOCTOR_OK, "key-pair", "'%s' is the public half of %s", d->st->key_pair, d->st->private_key);
	else
		doctor_tell(d, DOCTOR_FAIL, "key-pair", "'%s' is not the public half of %s: no login will work", d->st->key_pair,
		    d->st->private_key);
}

static void
check_key_pair(struct doctor *d, const char *ours)
{
	auto_free char *theirs = NULL;
	struct fault f;

	if (d->st->key_pair == NULL)
		doctor_tell(d, DOCTOR_WARN, "key-pair", "not set: the image has to bring the public key itself");
	else if (!d->cloud)
		return;
	else if (!os_keypair_public(&d->c, d->st->key_pair, doctor_limit(), &theirs, &f))
		doctor_tell_fault(d, "key-pair", &f);
	else
		compare_keys(d, ours, theirs);
}

static void
check_shared_keys(struct doctor *d)
{
	const char *const words[] = { d->st->ssh_keygen, "-y", "-P", "", "-f", d->st->private_key, NULL };
	struct fault f;
	int code = 0;
	auto_free char *ours = doctor_output(words, &code, &f);

	if (ours != NULL && code != 0) {
		(void)fault_set(&f, FAULT_SETTING, "%.*s", (int)strcspn(ours, "\n"), ours);
		(void)fault_hint(&f, "'%s' must be a key without passphrase, mode 0600, readable by this user", d->st->private_key);
	}
	if (ours == NULL || code != 0) {
		doctor_tell_fault(d, "private-key", &f);
		return;
	}
	doctor_tell(d, DOCTOR_OK, "private-key", "%s (%.*s)", d->st->private_key, (int)strcspn(ours, " "), ours);
	check_key_pair(d, ours);
}

/* Each job has its own: is there what makes them? */
static void
check_job_keys(struct doctor *d)
{
	struct fault f;
	int code;
	auto_free char *said = doctor_output((const char *const[]){ d->st->ssh_keygen, "-l", "-f", "/dev/null", NULL }, &code, &f);

	if (said == NULL)
		doctor_tell_fault(d, "ssh-keygen", &f);
	else
		doctor_tell(d, DOCTOR_OK, "keys", "each job gets its own, by %s; the image needs %s", d->st->ssh_keygen,
		    strcmp(d->st->key_delivery, "script") == 0 ? "to run a #! script of user-data" : "cloud-init");
}

void
doctor_keys(struct doctor *d)
{
	struct fault f;

	if (!keys_check_user_data(d->st, &f))
		doctor_tell_fault(d, "user-data", &f);
	else if (d->st->user_data != NULL)
		doctor_tell(d, DOCTOR_OK, "user-data", "%s", d->st->user_data);
	if (settings_keys_per_job(d->st))
		check_job_keys(d);
	else if (d->st->private_key != NULL) /* else told by the settings' check */
		check_shared_keys(d);
}

/* A job does without its events, so that nobody would notice. */
static void
check_log(struct doctor *d)
{
	struct fault f;

	if (d->st->log_file == NULL)
		doctor_tell(d, DOCTOR_OK, "log-file", "not set: events are not written");
	else if (event_check(d->st, &f))
		doctor_tell(d, DOCTOR_OK, "log-file", "%s, as %s", d->st->log_file, d->st->log_format);
	else
		doctor_tell(d, DOCTOR_WARN, "log-file", "events are lost: %s", f.text);
}

void
doctor_host(struct doctor *d)
{
	check_user(d);
	check_state(d);
	check_log(d);
	check_programs(d);
	check_bastion(d);
}
