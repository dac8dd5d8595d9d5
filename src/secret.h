/* SPDX-License-Identifier: MIT */
/*
 * secret.h - what the cloud and its client say, without what nobody is to
 * read in a job log. Job output never passes here.
 */
#ifndef NOVAJOB_SECRET_H
#define NOVAJOB_SECRET_H

/*
 * A copy of text in which secrets are "***": values behind names like password, token or adminPass (JSON, a Python dict,
 * a header, name=value), tokens, passwords within URLs, private keys, long base64 (user-data), and the values of this
 * process's own OS_…PASSWORD, …SECRET, …TOKEN wherever they stand, even cut off at the text's end. A name without a value
 * behind it stays as it is. The caller's.
 */
char *secret_hide(const char *text);

#endif
