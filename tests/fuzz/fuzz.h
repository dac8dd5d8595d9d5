/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what the fuzz targets share: taking an input apart, files made of
 * it, and CHECK, which tells libFuzzer that a promise of the program is broken.
 */
#ifndef NOVAJOB_FUZZ_H
#define NOVAJOB_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "fault.h"

/* libFuzzer's entry, one per target: use the input, return 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise ends the program, and libFuzzer keeps the input. */
#define CHECK(x) ((x) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #x))
_Noreturn void fuzz_fail(const char *file, int line, const char *what);

/* What is left of an input. */
struct input {
	const char *at;
	size_t left;
};

/* The next byte, 0 at the end. */
unsigned int input_byte(struct input *in);

/* The next n bytes, or what is left: a pointer into the input, *n becomes their number. */
const char *input_bytes(struct input *in, size_t *n);

/* The next field as a string, to the next byte 0xff (which no UTF-8 has) or the end; the caller's. */
char *input_field(struct input *in);

/* A file with these bytes, 0600, valid until the next call: its path in /proc. */
const char *fuzz_file(const void *data, size_t size);

/* Is every byte printable ASCII, or of well-formed UTF-8 that moves nothing? A character cut off at the end is fine when
 * is_cut. Newlines only with has_lines. */
bool fuzz_is_safe(const char *s, size_t len, bool has_lines, bool is_cut);

/* Is the fault of this class, with a text and a hint that are safe to print? */
void fuzz_check_fault(const struct fault *f, enum fault_class class);

/* Are both strings equal, or both NULL? */
bool fuzz_same(const char *a, const char *b);

#endif
