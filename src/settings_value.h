/* SPDX-License-Identifier: MIT */
/*
 * settings_value.h - one value of one setting: from text, checked, into the
 * struct, and back to text. Knows types and limits, no sources.
 */
#ifndef NOVAJOB_SETTINGS_VALUE_H
#define NOVAJOB_SETTINGS_VALUE_H

#include "settings.h"

struct setting_value {
	char *text;     /* text, path, list: owned; NULL = not set */
	int64_t number; /* span (ms), number, flag (0, 1) */
};

#define SETTING_VALUE_INIT { .text = NULL, .number = 0 }
#define auto_value __attribute__((cleanup(setting_value_free)))

/*
 * Check text as a value of the setting and make v of it. The fault (FAULT_SETTING) says what is wrong with the value,
 * not where it is from: that is the caller's to put in front.
 */
bool setting_parse(int setting, const char *text, struct setting_value *v, struct fault *f) ATTR_MUST_USE;

/* Put v's content into s, in place of what was there; v is empty afterwards. */
void setting_store(struct settings *s, int setting, struct setting_value *v);

/* Add the words that the setting may be, or that may be in its list; none where any text, path or number will do. */
void setting_words(int setting, struct strv *words);

/* Free v's content. */
void setting_value_free(struct setting_value *v);

#endif
