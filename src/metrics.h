/* SPDX-License-Identifier: MIT */
/*
 * metrics.h - what is counted over all jobs: STATE/metrics.json. A process
 * collects what it has to add, and adds it once, at its end, under a lock of
 * its own. The file is replaced by rename(2) without fsync: it costs the job
 * nothing, and a crash of the host may cost some counts. One that makes no
 * sense is begun anew, which Prometheus takes for what it is, a restart.
 */
#ifndef NOVAJOB_METRICS_H
#define NOVAJOB_METRICS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "util.h"

/* What is counted; behind each: its labels. In the order in which they are printed, that of their names. */
enum metric {
	METRIC_CLIENT_STARTS, /* command */
	METRIC_FAILURES,      /* class, stage */
	METRIC_JOBS,          /* result */
	METRIC_LEAKED,        /* object */
	METRIC_POOL_CHANGES,  /* change */
	METRIC_POOL_END,      /* as for sweep */
	METRIC_SWEEP_END,     /* UNIX time of the last one */
	METRIC_SWEEP_LEFT,    /* the number of now, no sum */
	METRIC_SWEPT,         /* object */
	METRIC_WAITED,        /* reason; ms */
	METRIC_WAITS,         /* reason */
};

/* What this process has to add. */
struct metrics {
	json_t *add;  /* owned; NULL: nothing */
};

#define METRICS_INIT { .add = NULL }

/* Add n to it, or set it to n where it is no sum. a, b: its labels' values, words of metrics.c's table; NULL: no such label. */
void metrics_add(struct metrics *m, enum metric which, const char *a, const char *b, int64_t n);

/* A job's server is ready, ms after its prepare began. */
void metrics_ready(struct metrics *m, bool warm, int64_t ms);

/* Bring it into dir's file; m is empty then. What goes wrong is shown with -v, and lost. */
void metrics_save(struct metrics *m, const char *dir);

/* What dir's file has; an empty object when there is none, or it makes no sense. A new reference. */
json_t *metrics_load(const char *dir);

/* Print the lines of a metric for Prometheus: HELP and TYPE; one value. labels: `pool="x",state="y"`, or "". */
void metrics_head(const char *name, const char *type, const char *help);
void metrics_line(const char *name, const char *labels, int64_t value);

/* All that was counted, sums and histogram, each value that its labels may have, seen or not. */
void metrics_print(const json_t *all);

#endif
