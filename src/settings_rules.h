/* SPDX-License-Identifier: MIT */
/*
 * settings_rules.h - what a job may choose: the operator's patterns and
 * ceilings for job variables, and what becomes of image: in .gitlab-ci.yml.
 */
#ifndef NOVAJOB_SETTINGS_RULES_H
#define NOVAJOB_SETTINGS_RULES_H

#include "settings.h"

/*
 * Is the value that s has for the setting, from `variable` ("job variable X"), within "allow-x" (each part of a list matches
 * one of its patterns, glob(7)) and "max-x"? FAULT_WISH says what was asked for and what is allowed.
 */
bool settings_allowed(const struct settings *s, int setting, const char *variable, struct fault *f) ATTR_MUST_USE;

/*
 * A value of image-map: "PATTERN -> IMAGE; PATTERN -> IMAGE; PATTERN". A pattern alone takes the wish as it is.
 * FAULT_SETTING when it is not well-formed.
 */
bool settings_map_ok(const char *map, struct fault *f) ATTR_MUST_USE;

/* The images that a value of image-map leads to, appended to images. */
void settings_map_images(const char *map, struct strv *images);

/*
 * The image for a job whose image: is `wish` ("" = it names none): *image is the caller's, NULL: the wish does not
 * count; *as_is: it is the wish itself, and has to be allowed as another wish for an image. FAULT_WISH when the operator refuses it, or has no image for it.
 */
bool settings_job_image(const struct settings *s, const char *wish, char **image, bool *as_is, struct fault *f) ATTR_MUST_USE;

#endif
