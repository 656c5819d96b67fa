/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "say.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BURST 50

long long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

void say(const char *format, ...)
{
	static long long last;
	static int left = BURST;
	long long now = milliseconds() / 1000;
	char line[256];
	va_list arguments;
	int length;

	if (now != last && left < BURST)
		left++;
	last = now;
	if (left == 0)
		return;
	left--;
	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line) - 1, format, arguments);
	va_end(arguments);
	if (length < 0)
		return;
	if ((size_t)length > sizeof(line) - 2)
		length = sizeof(line) - 2;
	line[length++] = '\n';
	/* what the console does not take at once is lost */
	(void)!write(STDOUT_FILENO, line, (size_t)length);
}

void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}
