/* SPDX-License-Identifier: MIT */
/*
 * settings_file.h - the settings file: lines "name = value", comments from
 * '#' at the start of a line, blank lines. Knows syntax and who may own the
 * file; what the values mean is the caller's.
 */
#ifndef NOVAJOB_SETTINGS_FILE_H
#define NOVAJOB_SETTINGS_FILE_H

#include <stdbool.h>

#include "fault.h"

/*
 * Read the file and call take for each line with a setting: its index, its value without blanks around it (may be
 * empty) and "<path>:<line>", all borrowed for the call. take returns false, with f filled, to end it.
 *
 * FAULT_SETTING, with the line, for: not readable, not a regular file (/dev/null is fine, and empty), over 1 MiB,
 * writable by others than its owner, owned by others than root and us, NUL or CR in it, an unknown name, a name set twice.
 * With may_miss a file that is not there is as an empty one.
 */
bool settings_file_read(const char *path, bool may_miss,
    bool (*take)(void *context, int setting, const char *value, const char *where, struct fault *f), void *context,
    struct fault *f) ATTR_MUST_USE;

#endif
