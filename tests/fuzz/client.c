/* SPDX-License-Identifier: MIT */
/*
 * client.c - what the openstack client answers: the session and its marker,
 * the one-shot form, JSON, and the faults made of its stderr.
 *
 * The input: a byte of flags, one for what is asked, one for how many bytes
 * come at a time, then four fields, each ended by 0xff: the session's stdout
 * and stderr, the one-shot's stdout and stderr.
 * With FRAMED the session's stdout is taken as JSON, written as the client
 * does and closed by the marker: then it has to come back as it was.
 */
#include <arpa/inet.h>
#include <string.h>

#include "fuzz.h"
#include "json.h"
#include "openstack.h"
#include "os_client.h"
#include "os_fault.h"
#include "text.h"
#include "world.h"

enum {
	FRAMED = 1,  /* a whole answer */
	ENDS = 2,    /* the session ends behind what it says; else it falls silent */
	FAILS = 4,   /* the one-shot's exit status is 1 */
	ALONE = 8,   /* no session wanted */
	ONCE = 16,   /* as for a create */
	KILLED = 32, /* a process that ends is killed */
};

#define MARKER_KEY "openstackclient"
#define MARKER "{\n  \"" MARKER_KEY "\": \"6.0.0\"\n}\n"
#define ID_LETTERS "0123456789abcdefABCDEF-"

static struct play {
	unsigned int flags;
	size_t chunk;
	char *field[4];
	struct buf out;     /* what the session says */
	size_t sent, errors_sent;
	json_t *framed;     /* what the session's answer says, or NULL */
} play;

/* The session takes in what it was told and says the next part. */
static void
step(void)
{
	char asked[4096];
	size_t n;

	while (world.in_fd >= 0 && read(world.in_fd, asked, sizeof(asked)) > 0)
		;
	n = strlen(play.field[1]) - play.errors_sent;
	play.errors_sent += world_write(world.err_fd, play.field[1] + play.errors_sent, n);
	n = play.out.len - play.sent;
	n = n < play.chunk ? n : play.chunk;
	play.sent += world_write(world.out_fd, buf_str(&play.out) + play.sent, n);
	if (n == 0 && (play.flags & ENDS) != 0) {
		cleanup_fd(&world.out_fd);
		world.out_fd = -1;
		world.has_ended = true;
	}
}

/* A whole answer, written as Python's json.dumps(indent=2) does. One that looks like the marker's is no case. */
static void
frame(void)
{
	json_error_t e;
	auto_free char *text = NULL;

	play.framed = json_loads(play.field[0], JSON_REJECT_DUPLICATES, &e);
	if (json_object_get(play.framed, MARKER_KEY) != NULL && json_object_size(play.framed) == 1) {
		json_decref(play.framed);
		play.framed = NULL;
	}
	if (play.framed == NULL)
		return;
	text = json_dumps(play.framed, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	buf_clear(&play.out);
	buf_printf(&play.out, "%s\n" MARKER, text);
}

static void
check_failed(const struct fault *f)
{
	static const enum fault_class classes[] = { FAULT_SETTING, FAULT_LOCAL, FAULT_TRANSIENT, FAULT_BUSY, FAULT_MISSING,
		FAULT_CLOUD };
	bool known = false;

	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		known = known || f->class == classes[i];
	CHECK(known);
	fuzz_check_fault(f, f->class);
}

/* One call of one kind, and what its answer has to be. */
static void
check_call(struct os_client *c, enum os_expect expect)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	bool once = (play.flags & ONCE) != 0;
	struct fault f;
	bool ok;

	strv_add_all(&words, (const char *const[]){ "server", "list", "--name=a b", NULL });
	ok = os_client_call(c, &words, expect, once, "ask", limit_in(100000, STOP_AT_ONCE), &a, &f);
	if (!ok)
		check_failed(&f);
	CHECK(!once || world.starts <= 1);
	if (!ok && once && (play.flags & ALONE) == 0 && expect != OS_TEXT && !c->marker_seen)
		CHECK(a.unknown);
	if (ok && expect == OS_JSON)
		CHECK(a.json != NULL);
	if (ok && expect == OS_TEXT)
		CHECK(strcmp(buf_str(&a.text), play.field[2]) == 0 && (play.flags & (FAILS | KILLED)) == 0);
	if (expect == OS_JSON && play.framed != NULL && (play.flags & ALONE) == 0) {
		CHECK(ok && c->marker_seen && world.starts == 1 && strcmp(c->version, "6.0.0") == 0);
		CHECK(json_equal(a.json, play.framed));
	}
}

static void
check_server(const struct os_server *s, bool has_id)
{
	unsigned char bytes[16];

	CHECK(!has_id || (strlen(s->id) == 36 && text_only(s->id, ID_LETTERS)));
	CHECK(s->name != NULL && s->status != NULL && s->task != NULL && s->owner != NULL && s->job != NULL && s->try != NULL);
	CHECK(s->expires >= 0);
	for (size_t i = 0; i < s->addresses.len; i++)
		CHECK(inet_pton(strchr(s->addresses.v[i], ':') != NULL ? AF_INET6 : AF_INET, s->addresses.v[i], bytes) == 1);
}

static void
check_list(struct os_client *c, bool all, struct limit limit)
{
	auto_servers struct os_servers list = OS_SERVERS_INIT;
	struct fault f;

	if (!(all ? os_server_list_all(c, "x", limit, &list, &f) : os_server_list(c, "x", limit, &list, &f)))
		check_failed(&f);
	for (size_t i = 0; i < list.len; i++)
		check_server(&list.v[i], true);
}

static void
check_create(struct os_client *c, struct limit limit)
{
	const struct os_wish wish = { .name = "n", .image = "i", .flavor = "f", .owner = "o", .job = "j", .try = "t" };
	auto_free char *id = NULL;
	bool unknown = false;
	struct fault f;

	if (os_server_create(c, &wish, limit, &id, &unknown, &f))
		CHECK(strlen(id) == 36 && text_only(id, ID_LETTERS));
	else
		check_failed(&f);
	CHECK(world.starts <= 1); /* never sent twice */
}

static void
check_image(struct os_client *c, struct limit limit)
{
	auto_free char *id = NULL;
	size_t others;
	struct fault f;

	if (os_image_find(c, "i", limit, &id, &others, &f))
		CHECK(strlen(id) == 36 && text_only(id, ID_LETTERS) && others < 100000);
	else
		check_failed(&f);
}

static void
check_show(struct os_client *c, struct limit limit)
{
	auto_server struct os_server s = OS_SERVER_INIT;
	struct os_quota q;
	struct fault f;

	if (os_server_show(c, "x", limit, &s, &f))
		check_server(&s, false);
	else
		check_failed(&f);
	if (!os_quota(c, limit, &q, &f))
		check_failed(&f);
}

static void
ask(struct os_client *c, unsigned int what)
{
	struct limit limit = limit_in(2000, STOP_AT_ONCE); /* few repeats */

	if (what <= OS_TEXT)
		check_call(c, (enum os_expect)what);
	else if (what == 3 || what == 4)
		check_list(c, what == 4, limit);
	else if (what == 5)
		check_create(c, limit);
	else if (what == 6)
		check_image(c, limit);
	else
		check_show(c, limit);
}

/* Any stderr makes a fault that can be printed, the same each time; a text is a failure wherever it stands. */
static void
check_fault(const char *text)
{
	auto_buf struct buf longer = BUF_INIT;
	struct fault f, again;

	CHECK(!os_fault(&f, "try", text) && !os_fault(&again, "try", text));
	check_failed(&f);
	CHECK(f.class == again.class && strcmp(f.text, again.text) == 0 && strncmp(f.text, "cannot try: ", 12) == 0);
	buf_printf(&longer, "a warning\n%s\n", text);
	CHECK(!os_fault_seen(text) || os_fault_seen(buf_str(&longer)));
	CHECK(!os_fault(&again, "try", buf_str(&longer)) && f.class == again.class);
}

/* What people are shown of it. */
static void
check_text(const char *text)
{
	auto_free char *safe = text_safe(text, strlen(text));
	auto_free char *again = text_safe(safe, strlen(safe));
	char line[64], line_again[64];

	CHECK(fuzz_is_safe(safe, strlen(safe), true, false));
	CHECK(strcmp(safe, again) == 0);
	text_one_line(line, sizeof(line), text);
	CHECK(fuzz_is_safe(line, strlen(line), false, strlen(line) + 4 >= sizeof(line)));
	text_one_line(line_again, sizeof(line_again), line);
	CHECK(strlen(line) + 4 >= sizeof(line) || strcmp(line, line_again) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .at = (const char *)data, .left = size };
	static char program[] = "openstack";
	struct settings st = { .openstack = program, .call_timeout = 60000, .client_slots = 4 };
	struct os_client c;
	unsigned int what;

	play = (struct play){ .flags = input_byte(&in) };
	what = input_byte(&in) % 8;
	play.chunk = 1 + input_byte(&in) * (size_t)8;
	for (size_t i = 0; i < ARRAY_LEN(play.field); i++)
		play.field[i] = input_field(&in);
	buf_puts(&play.out, play.field[0]);
	if ((play.flags & FRAMED) != 0)
		frame();
	world_begin();
	world.step = step;
	world.out = play.field[2];
	world.err = play.field[3];
	world.end = (play.flags & KILLED) != 0 ? (struct proc_result){ .kind = PROC_SIGNALED, .code = 9 } :
	    (struct proc_result){ .kind = PROC_EXITED, .code = (play.flags & FAILS) != 0 };
	st.openstack_session = (play.flags & ALONE) == 0;
	os_client_init(&c, &st, false, limit_in(100000, STOP_AT_ONCE));
	ask(&c, what);
	os_client_end(&c);
	check_fault(play.field[3]);
	check_text(play.field[3]);
	world_end();
	json_decref(play.framed);
	buf_free(&play.out);
	for (size_t i = 0; i < ARRAY_LEN(play.field); i++)
		free(play.field[i]);
	return 0;
}
