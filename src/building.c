/* SPDX-License-Identifier: MIT */
/* building.c - one server from the first create call to ACTIVE; see building.h. */
#include "building.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "addresses.h"
#include "clock.h"
#include "log.h"
#include "os_fault.h"
#include "pace.h"
#include "text.h"
#include "xalloc.h"

#define POLL_ALONE_MS    2000    /* between two looks at a server that is being built, when each is a process of its own */
#define POLL_QUEUED_MS   2000    /* the same, at least, when others wait for a client slot; up to twice that */
#define POLL_QUEUED_MAX_MS 30000
#define CLIENT_START_MS  1500    /* what a new process takes */
#define KEEP_MS          4000    /* for less the slot is not given to others: on a busy host a new process takes as long */
#define RESOLVE_MS       10000   /* for ids that the next prepare would like to know */
#define LOOK_MS          30000   /* to find out whether a create has worked */
#define CREATE_TRIES     3
#define STOP_LOOK_MS     1000    /* a look under way may end after a stop: its client then does the undoing */
#define APPEAR_MS        3000    /* after a create whose outcome is unknown: look again so much later */

bool
building_still_mine(const struct record *r, const struct building *b, struct fault *f)
{
	if (strcmp(r->try, b->try) == 0 && r->phase == PHASE_CREATING)
		return true;
	return fault_set(f, FAULT_STOPPED, "the job was cleaned up, or prepared again, while this prepare was at work");
}

static bool
write_intent(struct record *r, void *arg, struct fault *f)
{
	if (!building_still_mine(r, arg, f))
		return false;
	r->intent_at = clock_unix();
	return true;
}

/* The server that failed is being deleted, another may follow. */
static bool
write_discarded(struct record *r, void *arg, struct fault *f)
{
	if (!building_still_mine(r, arg, f))
		return false;
	free(r->server_id);
	r->server_id = NULL;
	return true;
}

static bool
write_id(struct record *r, void *arg, struct fault *f)
{
	struct building *b = arg;

	if (!building_still_mine(r, b, f))
		return false;
	r->server_id = xstrdup(b->record.server_id);
	r->created = r->intent_at;
	r->intent_at = 0;
	return true;
}

bool
building_update(struct building *b, bool (*change)(struct record *r, void *arg, struct fault *f), struct fault *f)
{
	auto_record struct record r = RECORD_INIT;

	return record_update(&r, &b->state, change, b, f);
}

bool
building_blame(const struct settings *st, struct fault *f)
{
	static const struct {
		const char *text;
		int setting;
	} names[] = {
		{ "No Image found", SETTING_image },
		{ "image is named", SETTING_image },
		{ "image has the properties", SETTING_image },
		{ "one Image", SETTING_image },
		{ "No Flavor found", SETTING_flavor },
		{ "No flavor with", SETTING_flavor },
		{ "one Flavor", SETTING_flavor },
		{ "No Network found", SETTING_network },
		{ "one Network", SETTING_network },
		{ "No SecurityGroup found", SETTING_security_group },
		{ "one SecurityGroup", SETTING_security_group },
		{ "key_name", SETTING_key_pair },
		{ "availability zone", SETTING_availability_zone },
	};

	if (f->class != FAULT_MISSING)
		return false;
	f->class = FAULT_SETTING;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *where = settings_where(st, names[i].setting);

		if (strcasestr(f->text, names[i].text) == NULL)
			continue;
		if (strncmp(where, "job variable", 12) == 0 || strcmp(where, SETTINGS_JOB_IMAGE) == 0)
			f->class = FAULT_WISH;
		return fault_wrap(f, "%s (from %s)", setting_infos[names[i].setting].name, where);
	}
	return false;
}

enum adopted {
	ADOPTED,
	NOTHING_THERE,
	NOT_KNOWN, /* the cloud did not say: another create could make a second server */
};

/* After a create whose outcome is not known: is there a server of this try? Its id goes into the record. */
static enum adopted
adopt(struct building *b, struct fault *f)
{
	auto_servers struct os_servers list = OS_SERVERS_INIT;
	struct limit limit = limit_in(LOOK_MS, b->st->stop_timeout);

	for (int look = 0; look < 2; look++) {
		if (!jobserver_find(&b->c, &b->mine, limit, &list, f))
			return NOT_KNOWN;
		for (size_t i = 0; i < list.len; i++) {
			if (strv_has(&b->discarded, list.v[i].id))
				continue;
			b->record.server_id = xstrdup(list.v[i].id);
			log_say("server %s was created all the same", b->record.server_id);
			return ADOPTED;
		}
		if (look == 0 && !limit_sleep(limit, APPEAR_MS)) {
			(void)limit_fault(f, FAULT_TRANSIENT, "no time is left");
			return NOT_KNOWN;
		}
	}
	return NOTHING_THERE;
}

bool
building_image(struct building *b, struct limit limit, struct fault *f)
{
	size_t others;

	free(b->image_id);
	b->image_id = NULL;
	if (!names_image(&b->names, &b->c, b->st->image, limit, &b->image_id, &others, &b->believed, f))
		return building_blame(b->st, f);
	if (others > 0)
		log_say("image '%s': %zu fit; taking %s, the one updated last", b->st->image, others + 1, b->image_id);
	else if (strcmp(b->st->image, b->image_id) != 0)
		log_say("image '%s' is %s", b->st->image, b->image_id);
	return true;
}

/* Each name of the list that has a known id: the id. */
static bool
believe(const struct names *n, const char *kind, struct strv *list)
{
	bool any = false;

	for (size_t i = 0; i < list->len; i++) {
		const char *id = names_id(n, kind, list->v[i]);

		if (id == NULL)
			continue;
		free(list->v[i]);
		list->v[i] = xstrdup(id);
		any = true;
	}
	return any;
}

void
building_wish(const struct building *b, struct building_wish *w)
{
	const struct settings *st = b->st;

	*w = (struct building_wish){
		.networks = STRV_INIT, .security_groups = STRV_INIT, .properties = STRV_INIT,
		.wish = { .name = b->job->server_name, .image = b->image_id, .flavor = choices_flavor(&b->choices),
		    .zone = choices_zone(&b->choices), .networks = &w->networks, .security_groups = &w->security_groups,
		    .properties = &w->properties, .description = st->description,
		    .key_pair = settings_keys_per_job(st) ? NULL : st->key_pair, .user_data = b->user_data,
		    .config_drive = st->config_drive && b->user_data != NULL, .owner = st->owner, .job = b->job->key,
		    .project = w->project, .try = b->try, .host = w->host, .expires = b->record.expires },
	};
	choices_networks(&b->choices, &w->networks);
	strv_split(&w->security_groups, st->security_group == NULL ? "" : st->security_group);
	strv_split(&w->properties, st->properties == NULL ? "" : st->properties);
	if (b->pool != NULL)
		strv_addf(&w->properties, "novajob:pool=%s", b->pool);
	(void)strlcpy(w->project, b->job->project, sizeof(w->project)); /* cut: a property has at most 255 characters */
	(void)gethostname(w->host, sizeof(w->host) - 1); /* for information only */
	if (!text_only(w->host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"))
		w->host[0] = '\0';
}

void
building_wish_free(struct building_wish *w)
{
	strv_free(&w->networks);
	strv_free(&w->security_groups);
	strv_free(&w->properties);
}

/* As the wish says: until there is a server, or it is known that none will come. */
static bool
create_as(struct building *b, const struct os_wish *wish, struct fault *f)
{
	const struct settings *st = b->st;
	enum adopted adopted;
	struct fault look;
	bool unknown;

	for (int try = 1;; try++) {
		/* An accepted create may finish after a stop; a new one is not begun then. */
		struct limit limit = { .at_ms = b->limit.at_ms, .after_stop_ms = st->stop_timeout };

		if (sig_stopped())
			return limit_fault(f, FAULT_STOPPED, "stopped");
		if (!building_update(b, write_intent, f))
			return false;
		if (os_server_create(&b->c, wish, limit, &b->record.server_id, &unknown, f)) {
			b->created = true;
			return true;
		}
		if (!unknown)
			return false;
		b->created = true; /* even if a later create is refused */
		adopted = adopt(b, &look);
		if (adopted == ADOPTED)
			return true;
		if (adopted == NOT_KNOWN)
			log_say("the cloud does not say whether a server came of it: %s", look.text);
		if (adopted == NOT_KNOWN || try == CREATE_TRIES || sig_stopped() || f->class != FAULT_TRANSIENT)
			return false;
		log_say("%s; no server came of it, trying again", f->text);
	}
}

/* Once, with what is known of the names. */
static bool
create_once(struct building *b, struct fault *f)
{
	struct building_wish w;
	const char *flavor = names_id(&b->names, "flavor", choices_flavor(&b->choices));
	bool ok;

	building_wish(b, &w);
	w.wish.flavor = flavor == NULL ? w.wish.flavor : flavor;
	b->believed |= flavor != NULL;
	b->believed |= believe(&b->names, "network", &w.networks);
	b->believed |= believe(&b->names, "security group", &w.security_groups);
	ok = create_as(b, &w.wish, f);
	building_wish_free(&w);
	return ok;
}

/* An id that was believed may be the cloud's no more: a refusal counts when all names have been looked up. */
static bool
create(struct building *b, struct fault *f)
{
	if (create_once(b, f))
		return true;
	if (b->believed && !b->created && (f->class == FAULT_MISSING || f->class == FAULT_SETTING)) {
		log_debug("%s; looking all names up again", f->text);
		names_forget(&b->names);
		if (!building_image(b, b->limit, f))
			return false;
		if (create_once(b, f))
			return true;
	}
	(void)building_blame(b->st, f);
	return false;
}

/* What the cloud says of a server in ERROR. */
static bool
server_failed(struct building *b, const char *status, struct fault *f)
{
	auto_server struct os_server s = OS_SERVER_INIT;
	const char *busy = NULL;
	struct fault show;

	if (!os_server_show(&b->c, b->record.server_id, limit_min(b->limit, 10000), &s, &show))
		(void)fault_set(f, FAULT_CLOUD, "server %s is in %s, and the cloud does not say why: %.900s", b->record.server_id, status,
		    show.text);
	else if ((busy = os_fault_busy(s.fault)) != NULL)
		(void)fault_set(f, FAULT_BUSY, "server %s is in %s: %s", b->record.server_id, status, s.fault);
	else
		(void)fault_set(f, FAULT_CLOUD, "server %s is in %s: %s", b->record.server_id, status,
		    s.fault[0] == '\0' ? "the cloud says no more" : s.fault);
	if (busy != NULL)
		return fault_hint(f, "%s", busy);
	return fault_hint(f, "a retry may do; else 'openstack server event list %s', or the cloud's operators, know why",
	    b->record.server_id);
}

bool
building_choose_address(struct building *b, struct fault *f)
{
	size_t dropped = addresses_choose(&b->record.addresses, b->st->address, b->floating);

	if (b->record.addresses.len > 0)
		return true;
	(void)fault_set(f, FAULT_SETTING, "none of the %zu addresses of server %s is one of address = %s (%s)", dropped,
	    b->record.server_id, b->st->address, settings_where(b->st, SETTING_address));
	return fault_hint(f, "see the subnets of the network: 'openstack subnet list --network=%s'", choices_network(&b->choices));
}

/* One look. *done: ACTIVE with an address. */
static bool
look_at_build(struct building *b, struct limit limit, const char *regex, int *missed, char *state, size_t size, bool *done,
    struct fault *f)
{
	auto_servers struct os_servers list = OS_SERVERS_INIT;
	struct os_server *s = NULL;

	*done = false;
	if (!os_server_list(&b->c, regex, limit, &list, f))
		return false;
	for (size_t i = 0; i < list.len; i++)
		if (strcmp(list.v[i].id, b->record.server_id) == 0)
			s = &list.v[i];
	if (s == NULL)
		return ++*missed < 3 ? true : fault_set(f, FAULT_CLOUD, "server %s is gone: somebody deleted it while it was built",
		    b->record.server_id);
	(void)snprintf(state, size, "%s%s%s", s->status, s->task[0] == '\0' ? "" : ", ", s->task); /* cut: for people */
	if (strcmp(s->status, "ERROR") == 0 || strcmp(s->status, "DELETED") == 0)
		return server_failed(b, s->status, f);
	if (strcmp(s->status, "ACTIVE") != 0 || s->addresses.len == 0)
		return true;
	strv_free(&b->record.addresses);
	b->record.addresses = s->addresses;
	s->addresses = (struct strv)STRV_INIT;
	*done = b->st->floating_network != NULL || building_choose_address(b, f); /* else that is chosen from later, too */
	return *done;
}

/* What the times of builds like this one are kept by. */
static char *
build_kind(const struct building *b)
{
	auto_free char *choice = choices_text(&b->choices);

	return xasprintf("build %s %s", choice, b->st->image);
}

/*
 * Milliseconds until the next look, so long after the create. While others queue for a client slot the process is given up
 * (*rested), if it is not needed again at once.
 */
static int64_t
poll_pause(struct building *b, struct names_span due, int64_t elapsed, bool *rested)
{
	int64_t left = due.late - elapsed;
	bool soon = due.late == 0 ? elapsed < KEEP_MS : left > 0 && left < KEEP_MS;

	if (soon || !slots_wanted(&b->c.slots))
		return b->c.session_wanted ? pace_pause(due, elapsed) : POLL_ALONE_MS;
	os_client_rest(&b->c);
	*rested = true;
	left -= CLIENT_START_MS;
	left = left < POLL_QUEUED_MS ? POLL_QUEUED_MS : left > POLL_QUEUED_MAX_MS ? POLL_QUEUED_MAX_MS : left;
	return left + (int64_t)arc4random_uniform(POLL_QUEUED_MS);
}

/* While the server is built anyway: the ids that the next create would like to know. */
static void
resolve_names(struct building *b, struct limit limit)
{
	auto_strv struct strv networks = STRV_INIT, groups = STRV_INIT;

	if (!b->c.session_wanted) /* each would be a process of its own */
		return;
	limit = limit_min(limit, RESOLVE_MS);
	choices_networks(&b->choices, &networks);
	strv_split(&groups, b->st->security_group == NULL ? "" : b->st->security_group);
	names_resolve(&b->names, &b->c, "flavor", choices_flavor(&b->choices), limit);
	for (size_t i = 0; i < networks.len; i++)
		names_resolve(&b->names, &b->c, "network", networks.v[i], limit);
	for (size_t i = 0; i < groups.len; i++)
		names_resolve(&b->names, &b->c, "security group", groups.v[i], limit);
}

static bool
wait_active(struct building *b, struct fault *f)
{
	auto_free char *regex = xasprintf("^%s$", b->job->server_name);
	auto_free char *kind = build_kind(b);
	struct names_span due = names_span(&b->names, kind);
	struct limit build = limit_min(b->limit, b->st->create_timeout);
	struct limit look = limit_min(b->limit, b->st->create_timeout + b->st->call_timeout); /* the last one may finish */
	int64_t began = clock_ms();
	int64_t tell = began + BUILDING_STILL_MS;
	int missed = 0;
	char state[80] = "BUILD";
	char span[32];
	bool done = false, rested = false, asked = false;

	look.after_stop_ms = STOP_LOOK_MS;
	while ((due.late == 0 && !asked) || limit_sleep(build, poll_pause(b, due, clock_ms() - began, &rested))) {
		if (!look_at_build(b, look, regex, &missed, state, sizeof(state), &done, f))
			return false;
		if (done) {
			if (!rested) /* how long it took, not how long it was not looked at */
				names_took(&b->names, kind, clock_ms() - began);
			return true;
		}
		if (!asked)
			resolve_names(b, look);
		asked = true;
		if (clock_ms() >= tell) {
			log_say("still waiting for the server: %s, %s so far", state,
			    clock_span(span, sizeof(span), clock_ms() - began));
			tell += BUILDING_STILL_MS;
		}
	}
	if (!limit_fault(f, FAULT_CLOUD, "server %s is not ACTIVE within create-timeout (%s): it is %s", b->record.server_id,
	    clock_span(span, sizeof(span), b->st->create_timeout), state) && f->class == FAULT_STOPPED)
		return false;
	return fault_hint(f, "a retry may do; a cloud that is always so slow, or so large an image, needs a longer create-timeout");
}

bool
building_create(struct building *b, struct fault *f)
{
	auto_free char *choice = choices_text(&b->choices);
	char span[32];

	if (!create(b, f) || !building_update(b, write_id, f))
		return false;
	b->record.create_ms = clock_ms() - b->started_ms;
	log_say("server %s is created after %s (%s), waiting for ACTIVE", b->record.server_id,
	    clock_span(span, sizeof(span), b->record.create_ms), choice);
	return true;
}

bool
building_wait(struct building *b, struct fault *f)
{
	if (!wait_active(b, f))
		return false;
	b->record.build_ms = clock_ms() - b->started_ms - b->record.create_ms;
	return true;
}

bool
building_discard(struct building *b, struct fault *f)
{
	struct fault other; /* f is to say why the server failed */

	if (b->record.server_id == NULL)
		return true;
	if (jobserver_delete(&b->c, &b->mine, b->st->delete_wait, 0, b->limit, &other) == LEFT_RESISTING) {
		log_debug("%s", other.text);
		return false;
	}
	strv_add(&b->discarded, b->record.server_id);
	free(b->record.server_id);
	b->record.server_id = NULL;
	if (building_update(b, write_discarded, &other))
		return true;
	*f = other;
	return false;
}
