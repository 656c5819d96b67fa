/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The two ways to be heard. Guests can bring about lines of the log, so it is bounded: a burst, then one a second.
 */
#ifndef SAY_H
#define SAY_H

/* A line of the log, on standard output. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The reason why this back end ends, on standard error; the process ends with code 1. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* of a clock that only goes on */
long long milliseconds(void);

#endif
