/* SPDX-License-Identifier: MIT */
/*
 * doctor_units.c - novajob doctor: what systemd runs, and how it stops it:
 * gitlab-runner.service and the timers of sweep and pool; see doctor.h.
 */
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clock.h"
#include "doctor.h"
#include "pool_shape.h"
#include "xalloc.h"

#define RECENT_S   1800 /* what a timer of some minutes calls has been at work in that time */
#define DRAIN_S    3600 /* GitLab's default time-out of a job */
#define VALUE_SIZE 64

/* systemctl's answer, "" when it has none; the caller's. */
static char *
systemctl(const char *const *words)
{
	struct fault f;
	int code;
	char *text = doctor_output(words, &code, &f);

	return text == NULL ? xstrdup("") : text;
}

/* Does systemd run here? Not in a container, as a rule. */
static bool
has_systemd(void)
{
	auto_free char *state = systemctl((const char *const[]){ "systemctl", "is-system-running", NULL });

	return state[0] != '\0' && strncmp(state, "offline", 7) != 0 && strncmp(state, "unknown", 7) != 0 &&
	    strstr(state, "not been booted") == NULL;
}

static bool
is_active(const char *unit)
{
	auto_free char *state = systemctl((const char *const[]){ "systemctl", "is-active", unit, NULL });

	return strncmp(state, "active", 6) == 0;
}

/* The value of KEY=… in the output of `systemctl show`, to out (VALUE_SIZE bytes). */
static void
property(const char *text, const char *key, char *out)
{
	auto_free char *want = xasprintf("%s=", key);
	const char *at = text;

	while (at != NULL && strncmp(at, want, strlen(want)) != 0) {
		at = strchr(at, '\n');
		at = at == NULL ? NULL : at + 1;
	}
	(void)strlcpy(out, at == NULL ? "" : at + strlen(want), VALUE_SIZE); /* cut: only short ones are compared */
	out[strcspn(out, "\n")] = '\0';
}

/* Minutes since a sweep, or a fill of the pool, has worked here: it touches its lock. -1: not in the last half hour. */
static int64_t
minutes_ago(const struct doctor *d, const char *lock)
{
	auto_free char *path = xasprintf("%s/%s", d->st->state_dir, lock);
	int64_t now = clock_unix();
	struct stat st;

	return stat(path, &st) != 0 || now - (int64_t)st.st_mtim.tv_sec > RECENT_S ? -1 : (now - (int64_t)st.st_mtim.tv_sec) / 60;
}

/* systemd's spans, "1h 30min", in seconds; "infinity" and what is none are -1. */
static int64_t
span_s(const char *text)
{
	static const struct {
		const char *unit;
		int64_t s;
	} units[] = { { "w", 604800 }, { "d", 86400 }, { "h", 3600 }, { "min", 60 }, { "s", 1 }, { "ms", 0 }, { "us", 0 } };
	int64_t s = 0;

	while (*text != '\0') {
		char *end;
		int64_t n = strtoll(text, &end, 10);
		size_t len = strcspn(end, " "), i;

		for (i = 0; i < ARRAY_LEN(units); i++)
			if (strlen(units[i].unit) == len && strncmp(units[i].unit, end, len) == 0)
				break;
		if (end == text || i == ARRAY_LEN(units))
			return -1;
		s += n * units[i].s;
		text = end + len + strspn(end + len, " ");
	}
	return s;
}

static void
check_runner_unit(struct doctor *d)
{
	auto_free char *text = systemctl((const char *const[]){ "systemctl", "show",
	    "--property=LoadState,KillSignal,KillMode,TimeoutStopUSec,User", "gitlab-runner.service", NULL });
	char state[VALUE_SIZE], signal[VALUE_SIZE], mode[VALUE_SIZE], timeout[VALUE_SIZE], user[VALUE_SIZE];
	const struct passwd *pw = getpwuid(geteuid());
	const char *me = pw == NULL ? "?" : pw->pw_name;
	size_t warned = d->counts[DOCTOR_WARN];

	property(text, "LoadState", state);
	property(text, "KillSignal", signal);
	property(text, "KillMode", mode);
	property(text, "TimeoutStopUSec", timeout);
	property(text, "User", user);
	if (strcmp(state, "loaded") != 0) {
		doctor_tell(d, DOCTOR_OK, "runner-unit", "no gitlab-runner.service on this host");
		return;
	}
	if (strcmp(signal, "3") != 0)
		doctor_tell(d, DOCTOR_WARN, "runner-unit", "KillSignal of gitlab-runner.service is %s, not SIGQUIT (3): 'systemctl stop' "
		    "breaks running jobs off; contrib/gitlab-runner.service.d.conf mends it", signal);
	if (strcmp(mode, "mixed") != 0 && strcmp(mode, "process") != 0)
		doctor_tell(d, DOCTOR_WARN, "runner-unit", "KillMode of gitlab-runner.service is %s: a stop signals its novajob "
		    "processes, too, and breaks running jobs off; contrib/gitlab-runner.service.d.conf has mixed", mode);
	if (span_s(timeout) >= 0 && span_s(timeout) < DRAIN_S)
		doctor_tell(d, DOCTOR_WARN, "runner-unit", "TimeoutStopSec of gitlab-runner.service is %s: jobs that take longer are "
		    "killed when it is stopped, and leave their servers to sweep; 2h is good", timeout);
	if (strcmp(user[0] == '\0' ? "root" : user, me) != 0)
		doctor_tell(d, DOCTOR_WARN, "runner-unit", "gitlab-runner.service runs as %s, this as %s: its state-dir, HOME and what it "
		    "may read can be others; run doctor as that user", user[0] == '\0' ? "root" : user, me);
	if (d->counts[DOCTOR_WARN] == warned)
		doctor_tell(d, DOCTOR_OK, "runner-unit", "drains by SIGQUIT, for at most %s", timeout);
}

/* The timer is active: what has come of it? */
static void
check_sweep_service(struct doctor *d)
{
	auto_free char *text = systemctl((const char *const[]){ "systemctl", "show",
	    "--property=Result,ConditionResult,ConditionTimestampMonotonic", "novajob-sweep.service", NULL });
	char result[VALUE_SIZE], condition[VALUE_SIZE], looked[VALUE_SIZE];

	property(text, "Result", result);
	property(text, "ConditionResult", condition);
	property(text, "ConditionTimestampMonotonic", looked);
	if (strtoll(looked, NULL, 10) > 0 && strcmp(condition, "no") == 0)
		doctor_tell(d, DOCTOR_WARN, "sweep-timer", "novajob-sweep.timer is active, but its service does nothing: there is neither "
		    "/etc/novajob/cloud.env nor /etc/openstack/clouds.yaml");
	else if (result[0] != '\0' && strcmp(result, "success") != 0)
		doctor_tell(d, DOCTOR_WARN, "sweep-timer", "novajob-sweep.timer is active, but the last sweep failed (%s): see "
		    "'journalctl -u novajob-sweep'", result);
	else
		doctor_tell(d, DOCTOR_OK, "sweep-timer", "novajob-sweep.timer is active");
}

static void
check_sweep(struct doctor *d, bool systemd)
{
	int64_t ago = minutes_ago(d, "sweep.lock");

	if (ago >= 0)
		doctor_tell(d, DOCTOR_OK, "sweep-timer", "'novajob sweep' has worked %" PRId64 " minutes ago", ago);
	else if (!systemd)
		doctor_tell(d, DOCTOR_WARN, "sweep-timer", "no 'novajob sweep' has worked in the last %d minutes, and there is no systemd "
		    "to call it: let cron do it, every 10 minutes", RECENT_S / 60);
	else if (!is_active("novajob-sweep.timer"))
		doctor_tell(d, DOCTOR_WARN, "sweep-timer", "novajob-sweep.timer is not active: servers that no stage could delete "
		    "stay; 'systemctl enable --now novajob-sweep.timer', unless cron runs 'novajob sweep'");
	else
		check_sweep_service(d);
}

/* Are the pools possible, and does somebody fill them? Asks no cloud. */
static void
check_pool(struct doctor *d, bool systemd)
{
	const struct settings_from from = { .flags = d->ctx->flags, .file = d->ctx->settings_file, .compat = d->ctx->compat };
	auto_pool_wants struct pool_wants w = POOL_WANTS_INIT;
	int64_t wanted = 0;
	struct fault f;

	if (!pool_wants_load(&w, &from, &f)) {
		doctor_tell_fault(d, "pool", &f);
		return;
	}
	for (size_t i = 0; i < w.len; i++)
		wanted += w.v[i].st.pool;
	if (wanted == 0) {
		doctor_tell(d, DOCTOR_OK, "pool", "none is wanted: each job's server is made when the job comes");
		return;
	}
	if (systemd && !is_active("novajob-pool.timer"))
		doctor_tell(d, DOCTOR_WARN, "pool-timer", "novajob-pool.timer is not active: nobody fills the pool but prepare, which "
		    "cannot replace what is too old; 'systemctl enable --now novajob-pool.timer', unless cron runs 'novajob pool fill'");
	if (minutes_ago(d, "pool.lock") < 0)
		doctor_tell(d, DOCTOR_WARN, "pool", "%" PRId64 " servers are wanted, but no 'novajob pool fill' has worked in the last %d minutes: is its "
		    "timer there?", wanted, RECENT_S / 60);
	else
		doctor_tell(d, DOCTOR_OK, "pool", "%" PRId64 " servers are wanted; 'novajob pool status' shows what is there", wanted);
}

void
doctor_units(struct doctor *d)
{
	bool systemd = has_systemd();

	if (systemd)
		check_runner_unit(d);
	check_sweep(d, systemd);
	check_pool(d, systemd);
}
