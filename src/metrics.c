/* SPDX-License-Identifier: MIT */
/* metrics.c - what is counted over all jobs; see metrics.h. */
#include "metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "json.h"
#include "log.h"
#include "record.h"
#include "sig.h"
#include "strv.h"
#include "xalloc.h"

#define FILE_MAX ((off_t)256 * 1024) /* bytes; it has some KiB */
#define LOCK_MS  1000                /* others have it for less than a millisecond each */
#define READY    "novajob_ready_seconds"

enum unit { UNIT_COUNT, UNIT_MS, UNIT_NOW };

#define STAGES  "cleanup,config,pool,prepare,run,sweep"

/* Each with all words its labels may have: what is 0 is printed, too, so that a first failure is seen as a rise. */
static const struct {
	const char *name;
	enum unit unit;
	const char *label_a, *words_a, *label_b, *words_b; /* NULL: none */
	const char *help;
} table[] = {
	[METRIC_CLIENT_STARTS] = { "novajob_client_starts_total", UNIT_COUNT, "stage", STAGES, NULL, NULL,
	    "Processes of the openstack client that were started." },
	[METRIC_FAILURES] = { "novajob_failures_total", UNIT_COUNT, "class",
	    "build,busy,cloud,left,local,missing,setting,ssh,stopped,transient,wish", "stage", STAGES,
	    "Stages and operator's commands that failed, by the class of what went wrong." },
	[METRIC_JOBS] = { "novajob_jobs_total", UNIT_COUNT, "result", "abandoned,failed,stopped,success,system_failure",
	    NULL, NULL, "Jobs that are over, by what became of them." },
	[METRIC_LEAKED] = { "novajob_leaked_total", UNIT_COUNT, "object", "floating_ip,server", NULL, NULL,
	    "What sweep deleted that no cleanup had seen to." },
	[METRIC_POOL_CHANGES] = { "novajob_pool_changes_total", UNIT_COUNT, "change", "failed,made,removed", NULL, NULL,
	    "Servers of the warm pool that pool fill made, removed, or failed to make." },
	[METRIC_POOL_END] = { "novajob_pool_fill_end_timestamp_seconds", UNIT_NOW, NULL, NULL, NULL, NULL,
	    "When pool fill was through last, 0 for never." },
	[METRIC_SWEEP_END] = { "novajob_sweep_end_timestamp_seconds", UNIT_NOW, NULL, NULL, NULL, NULL,
	    "When sweep was through last, 0 for never." },
	[METRIC_SWEEP_LEFT] = { "novajob_sweep_resisting", UNIT_NOW, NULL, NULL, NULL, NULL,
	    "What the last sweep could not remove." },
	[METRIC_SWEPT] = { "novajob_swept_total", UNIT_COUNT, "object", "connection,floating_ip,record,server", NULL, NULL,
	    "What sweep removed, leaked or left to it." },
	[METRIC_WAITED] = { "novajob_wait_seconds_total", UNIT_MS, "reason", "address,quota,requests,room,slot", NULL, NULL,
	    "How long they waited." },
	[METRIC_WAITS] = { "novajob_waits_total", UNIT_COUNT, "reason", "address,quota,requests,room,slot", NULL, NULL,
	    "Commands that had to wait for something used up." },
};

/* The upper bounds of the histogram's buckets: warm starts are tenths of a second, cold ones a minute or so. */
static const struct {
	int64_t ms;
	const char *le;
} buckets[] = {
	{ 100, "0.1" }, { 250, "0.25" }, { 500, "0.5" }, { 1000, "1" }, { 2500, "2.5" }, { 5000, "5" }, { 10000, "10" },
	{ 20000, "20" }, { 30000, "30" }, { 45000, "45" }, { 60000, "60" }, { 90000, "90" }, { 120000, "120" }, { 180000, "180" },
	{ 300000, "300" }, { 600000, "600" }, { 1800000, "1800" }, { INT64_MAX, "+Inf" },
};

/* ---- what is to be added: {"name a b": n}; in the file these are "values" */

static void
put(struct metrics *m, const char *key, int64_t n, bool is_sum)
{
	if (m->add == NULL)
		m->add = json_object();
	n += is_sum ? json_int(m->add, key, 0) : 0;
	(void)json_object_set_new(m->add, key, json_integer((json_int_t)n)); /* fails with no memory only */
}

/* The name a value has in the file; the caller's. */
static char *
key_of(const char *name, const char *a, const char *b)
{
	return xasprintf("%s%s%s%s%s", name, a == NULL ? "" : " ", a == NULL ? "" : a, b == NULL ? "" : " ", b == NULL ? "" : b);
}

void
metrics_add(struct metrics *m, enum metric which, const char *a, const char *b, int64_t n)
{
	auto_free char *key = key_of(table[which].name, a, b);
	bool is_sum = table[which].unit != UNIT_NOW;

	if (n != 0 || !is_sum)
		put(m, key, n, is_sum);
}

void
metrics_ready(struct metrics *m, bool warm, int64_t ms)
{
	const char *kind = warm ? "warm" : "cold";
	auto_free char *sum = key_of(READY, kind, "sum");
	auto_free char *key = NULL;
	size_t i = 0;

	while (ms > buckets[i].ms)
		i++;
	key = key_of(READY, kind, buckets[i].le);
	put(m, key, 1, true);
	put(m, sum, ms, true);
}

/* ---- the file */

static json_t *
read_values(const char *path, struct fault *f)
{
	auto_fd int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	auto_free char *text = NULL;
	json_auto_t *root = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) != 0) {
		(void)fault_errno(f, FAULT_LOCAL, "cannot open '%s'", path);
		return NULL;
	}
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_size > FILE_MAX) {
		(void)fault_set(f, FAULT_LOCAL, "'%s' is no file of ours, or too large", path);
		return NULL;
	}
	text = xcalloc((size_t)st.st_size + 1, 1);
	n = read(fd, text, (size_t)st.st_size);
	root = n < 0 ? NULL : json_read(text, (size_t)n, path, f);
	if (root == NULL)
		return NULL;
	if (json_int(root, "version", 0) != 1 || !json_is_object(json_object_get(root, "values"))) {
		(void)fault_set(f, FAULT_LOCAL, "'%s' has no counters", path);
		return NULL;
	}
	return json_incref(json_object_get(root, "values"));
}

json_t *
metrics_load(const char *dir)
{
	auto_free char *path = xasprintf("%s/metrics.json", dir);
	struct fault f;
	json_t *values = read_values(path, &f);

	if (values != NULL)
		return values;
	log_debug("%s: the counters begin anew", f.text);
	return json_object();
}

/* One writer: the lock is held. */
static bool
write_values(const char *dir, json_t *values, struct fault *f)
{
	auto_free char *path = xasprintf("%s/metrics.json", dir);
	auto_free char *temp = xasprintf("%s/metrics.new", dir);
	json_auto_t *root = json_pack("{s:i, s:O}", "version", 1, "values", values);
	auto_free char *text = json_text(root);
	auto_fd int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	size_t len = strlen(text);

	if (fd >= 0 && write(fd, text, len) == (ssize_t)len && close(steal_fd(&fd)) == 0 && rename(temp, path) == 0)
		return true;
	(void)fault_errno(f, FAULT_LOCAL, "cannot write '%s'", path);
	(void)unlink(temp); /* what is half written helps nobody */
	return false;
}

static int
lock_values(const char *dir, struct fault *f)
{
	auto_free char *path = xasprintf("%s/metrics.lock", dir);
	struct limit limit = limit_in(LOCK_MS, STOP_IGNORED);
	auto_fd int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0)
		if ((errno != EWOULDBLOCK && errno != EINTR) || !limit_sleep(limit, 1)) {
			(void)fault_errno(f, FAULT_LOCAL, "cannot lock '%s'", path);
			return -1;
		}
	if (fd < 0)
		(void)fault_errno(f, FAULT_LOCAL, "cannot open '%s'", path);
	return steal_fd(&fd);
}

/* What both have is added up, unless it is no sum. */
static void
merge(json_t *values, const json_t *add)
{
	struct metrics all = { .add = values };
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)add, key, value) {
		bool is_sum = true;

		for (size_t i = 0; i < ARRAY_LEN(table); i++)
			is_sum = is_sum && (table[i].unit != UNIT_NOW || strcmp(table[i].name, key) != 0);
		put(&all, key, (int64_t)json_integer_value(value), is_sum);
	}
}

void
metrics_save(struct metrics *m, const char *dir)
{
	auto_state struct state state = STATE_INIT;
	json_auto_t *add = steal_ptr(&m->add);
	json_auto_t *values = NULL;
	auto_fd int lock = -1;
	struct fault f;

	if (add == NULL || dir == NULL)
		return;
	if (state_open(&state, dir, NULL, false, &f))
		lock = lock_values(state.dir, &f);
	if (lock < 0) {
		log_debug("nothing is counted: %s", f.text);
		return;
	}
	values = metrics_load(state.dir);
	merge(values, add);
	if (!write_values(state.dir, values, &f))
		log_debug("nothing is counted: %s", f.text);
}

/* ---- for Prometheus */

void
metrics_head(const char *name, const char *type, const char *help)
{
	(void)printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type); /* main looks at ferror(stdout) */
}

void
metrics_line(const char *name, const char *labels, int64_t value)
{
	const char *open = labels[0] == '\0' ? "" : "{", *shut = labels[0] == '\0' ? "" : "}";

	(void)printf("%s%s%s%s %" PRId64 "\n", name, open, labels, shut, value); /* as above */
}

/* The line of one value of the table. */
static void
print_value(const json_t *all, size_t row, const char *a, const char *b)
{
	auto_free char *key = key_of(table[row].name, a, b);
	auto_free char *labels = a == NULL ? xstrdup("") : b == NULL ? xasprintf("%s=\"%s\"", table[row].label_a, a) :
	    xasprintf("%s=\"%s\",%s=\"%s\"", table[row].label_a, a, table[row].label_b, b);
	int64_t n = json_int(all, key, 0);

	n = n < 0 ? 0 : n;
	if (table[row].unit != UNIT_MS)
		metrics_line(table[row].name, labels, n);
	else
		(void)printf("%s{%s} %" PRId64 ".%03" PRId64 "\n", table[row].name, labels, n / 1000, n % 1000); /* as above */
}

static void
print_row(const json_t *all, size_t row)
{
	auto_strv struct strv a = STRV_INIT, b = STRV_INIT;

	metrics_head(table[row].name, table[row].unit == UNIT_NOW ? "gauge" : "counter", table[row].help);
	strv_split(&a, table[row].words_a == NULL ? "" : table[row].words_a);
	strv_split(&b, table[row].words_b == NULL ? "" : table[row].words_b);
	if (a.len == 0)
		print_value(all, row, NULL, NULL);
	for (size_t i = 0; i < a.len; i++) {
		if (b.len == 0)
			print_value(all, row, a.v[i], NULL);
		for (size_t n = 0; n < b.len; n++)
			print_value(all, row, a.v[i], b.v[n]);
	}
}

static void
print_ready(const json_t *all, const char *kind)
{
	auto_free char *sum_key = key_of(READY, kind, "sum");
	int64_t count = 0, sum = json_int(all, sum_key, 0);

	for (size_t i = 0; i < ARRAY_LEN(buckets); i++) {
		auto_free char *key = key_of(READY, kind, buckets[i].le);

		count += json_int(all, key, 0);
		(void)printf(READY "_bucket{kind=\"%s\",le=\"%s\"} %" PRId64 "\n", kind, buckets[i].le, count); /* as above */
	}
	(void)printf(READY "_sum{kind=\"%s\"} %" PRId64 ".%03" PRId64 "\n", kind, sum / 1000, sum % 1000); /* as above */
	(void)printf(READY "_count{kind=\"%s\"} %" PRId64 "\n", kind, count); /* as above */
}

void
metrics_print(const json_t *all)
{
	for (size_t row = 0; row < ARRAY_LEN(table); row++)
		print_row(all, row);
	metrics_head(READY, "histogram", "From the beginning of prepare to a server that is ready, of jobs that got one.");
	print_ready(all, "cold");
	print_ready(all, "warm");
}
