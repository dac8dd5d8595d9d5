/* SPDX-License-Identifier: MIT */
/*
 * version.h - the version, in this one place: `novajob --version`, the config
 * stage's answer and the Makefile (which greps it) take it from here.
 */
#ifndef NOVAJOB_VERSION_H
#define NOVAJOB_VERSION_H

#define NOVAJOB_VERSION "0.1.0"

#endif
