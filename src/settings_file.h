/* SPDX-License-Identifier: MIT */
/*
 * settings_file.h - the settings file: lines "name = value", comments from
 * '#' at the start of a line, blank lines, and sections for some jobs only.
 * Knows syntax and who may own the file; what values mean is the caller's.
 */
#ifndef NOVAJOB_SETTINGS_FILE_H
#define NOVAJOB_SETTINGS_FILE_H

#include <stdbool.h>

#include "fault.h"
#include "job.h"

enum section_ref { SECTION_ANY_REF, SECTION_PROTECTED, SECTION_UNPROTECTED };

/* "[project GLOB protected]": the jobs that the lines below are for. */
struct settings_section {
	const char *project; /* glob(7) for the path of the project, '*' takes '/' too; NULL: any */
	enum section_ref ref;
	const char *pool;    /* "[pool NAME]": servers kept ready, not jobs; NULL: no such section */
};

/* Is the section for this job? job NULL or not known, or a pool's section: no. Only what JOB_RESPONSE_FILE says counts (job.h). */
bool settings_section_fits(const struct settings_section *s, const struct job *job);

/*
 * What is done with a line: its section (NULL: for all jobs), the setting's index, its value without blanks around it
 * (may be empty) and "<path>:<line>", all borrowed for the call. Returns false, with f filled, to end the reading.
 */
typedef bool settings_take(void *context, const struct settings_section *section, int setting, const char *value,
    const char *where, struct fault *f);

/*
 * Read the file and call take for each line with a setting.
 *
 * FAULT_SETTING, with the line, for: not readable, not a regular file (/dev/null is fine, and empty), over 1 MiB,
 * writable by others than its owner, owned by others than root and us, NUL or CR in it, an unknown name, a name set twice
 * in one section, a section's head that makes no sense. With may_miss a file that is not there is as an empty one.
 */
bool settings_file_read(const char *path, bool may_miss, settings_take *take, void *context, struct fault *f)
    ATTR_MUST_USE;

#endif
