/* SPDX-License-Identifier: MIT */
/* building_busy.c - what to do where there is no room: the next choice, or wait and begin anew; see building.h. */
#include <stdio.h>
#include <string.h>

#include "building.h"
#include "clock.h"
#include "log.h"
#include "os_fault.h"

#define FULL_PAUSE_MS 5000  /* between two tries while the cloud is full; up to twice that */

/*
 * What is waited for, for people. Nova says "Quota exceeded for instances: Requested 1, but already used 10 of 10
 * instances (HTTP 403)".
 */
static const char *
awaited(char *out, size_t size, const char *text)
{
	static const char before[] = "already used ";
	const char *used = strstr(text, before);

	if (used != NULL) {
		const char *end = strstr(used, " (");

		used += sizeof(before) - 1;
		(void)snprintf(out, size, "quota: %.*s in use", end == NULL ? 200 : (int)(end - used), used); /* cut: for people */
	} else if (strstr(text, "No valid host") != NULL) {
		(void)strlcpy(out, "a host with room: the cloud says 'No valid host was found'", size); /* fits */
	} else {
		(void)snprintf(out, size, "%s: %.300s", os_fault_is_rate(text) ? "the cloud's limit of requests" :
		    strstr(text, "addresses available") != NULL ? "an address of the network" : "quota", text);
	}
	return out;
}

static enum building_wait_for
wait_for(const char *text)
{
	return strstr(text, "No valid host") != NULL ? WAIT_ROOM : os_fault_is_rate(text) ? WAIT_REQUESTS :
	    strstr(text, "addresses available") != NULL ? WAIT_ADDRESS : WAIT_QUOTA;
}

/*
 * May another choice help? One without room, a quota of cores or memory, a zone that is not there or fails; not what
 * counts servers or requests.
 */
static bool
is_choosy(const struct building *b, const struct fault *f)
{
	if (f->class == FAULT_BUSY)
		return !os_fault_is_rate(f->text) && strcasestr(f->text, "exceeded for instances") == NULL;
	if (f->class == FAULT_CLOUD)
		return b->record.server_id != NULL; /* in ERROR: the host, or all of its zone, is in trouble */
	return strcasestr(f->text, "availability zone") != NULL;
}

/* May the same choice do later, or another one now? */
static bool
may_pass(const struct building *b, const struct fault *f)
{
	return f->class == FAULT_BUSY || is_choosy(b, f);
}

/* The next choice, if it may help and there is one. *full: why the round's first full choice was none. */
static bool
next_choice(struct building *b, const struct fault *why, struct fault *full)
{
	auto_free char *text = NULL;
	char what[400];

	if (why->class == FAULT_BUSY && full->class == FAULT_NONE)
		*full = *why;
	if (!is_choosy(b, why) || !choices_next(&b->choices))
		return false;
	text = choices_text(&b->choices);
	log_say("%s; trying %s", why->class == FAULT_BUSY ? awaited(what, sizeof(what), why->text) : why->text, text);
	return true;
}

bool
building_pause(struct building *b, enum building_wait_for kind, const char *what, int64_t began, int64_t *tell, struct limit limit)
{
	int64_t pause = FULL_PAUSE_MS + (int64_t)arc4random_uniform(FULL_PAUSE_MS), now = clock_ms();
	char span[32];

	if (limit_over(limit))
		return false;
	if (now >= *tell) {
		if (*tell == began)
			log_wait("waiting for %s, at most %s (busy-timeout)", what, clock_span(span, sizeof(span), limit_left_ms(limit)));
		else
			log_wait("waiting for %s, %s so far", what, clock_span(span, sizeof(span), now - began));
		*tell = now + BUILDING_STILL_MS;
	}
	os_client_rest(&b->c); /* others may use the slot, one of them to delete a server */
	const bool in_time = limit_sleep(limit, pause < limit_left_ms(limit) ? pause : limit_left_ms(limit));
	b->waited_ms[kind] += clock_ms() - now;
	return in_time;
}

struct limit
building_busy_limit(const struct building *b)
{
	int64_t job_left = b->started_ms + b->job->timeout_s * 1000 - clock_ms();

	return limit_min(limit_min(b->limit, b->st->busy_timeout), job_left);
}

bool
building_run(struct building *b, struct fault *f)
{
	int64_t began = clock_ms();
	struct limit limit = building_busy_limit(b);
	int64_t tell = began;
	struct fault full = { .class = FAULT_NONE };
	char what[400], span[32];
	bool next;

	while (!building_create(b, f) || !building_wait(b, f)) {
		next = next_choice(b, f, &full);
		if (!next && (full.class == FAULT_NONE || !may_pass(b, f)))
			return false;
		if (!building_discard(b, f))
			return false;
		if (next)
			continue;
		*f = full;
		full.class = FAULT_NONE;
		b->choices.at = 0;
		if (b->other_way != NULL && b->other_way(b, f))
			return true;
		if (building_pause(b, wait_for(f->text), awaited(what, sizeof(what), f->text), began, &tell, limit))
			continue;
		if (sig_stopped())
			return limit_fault(f, FAULT_STOPPED, "stopped");
		return fault_wrap(f, "the cloud is full, waited %s (busy-timeout)",
		    clock_span(span, sizeof(span), clock_ms() - began));
	}
	return true;
}
