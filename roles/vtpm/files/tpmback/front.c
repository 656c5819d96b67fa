/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "front.h"

bool number(const char *text, unsigned int most, unsigned int *value)
{
	unsigned long long sum = 0;

	if (!*text || (text[0] == '0' && text[1]))
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		sum = sum * 10 + (unsigned int)(*text - '0');
		if (sum > most)
			return false;
	}
	*value = (unsigned int)sum;
	return true;
}

enum xenbus xenbus_state(const char *text)
{
	unsigned int state;

	return number(text, XENBUS_CLOSED, &state) ? (enum xenbus)state : XENBUS_UNKNOWN;
}

/* A front end that leaves has to see state 6, or its kernel and the toolstack wait their seconds for it. */
static bool leaves(const struct seen *seen)
{
	return !seen->front_there || !seen->online || seen->back == XENBUS_CLOSING ||
	       seen->front == XENBUS_CLOSING || seen->front == XENBUS_CLOSED;
}

/* It has given a ring: at once, or after it had closed (a module loaded again), or another one (a resume). A guest in
 * state 4 that is not attached is one that this back end has closed. */
static bool connects(const struct seen *seen)
{
	if (seen->same_ring)
		return false;
	if (seen->front == XENBUS_CONNECTED)
		return !seen->attached && seen->back != XENBUS_CLOSED;
	return seen->front == XENBUS_INITIALISED;
}

static bool begins(const struct seen *seen)
{
	if (seen->front != XENBUS_INITIALISING && seen->front != XENBUS_INIT_WAIT)
		return false;
	return seen->attached || seen->back != XENBUS_INIT_WAIT;
}

enum action decide(const struct seen *seen)
{
	if (!seen->there)
		return ACT_FORGET;
	if (leaves(seen) && (seen->attached || seen->back != XENBUS_CLOSED))
		return ACT_CLOSE;
	if (leaves(seen))
		return seen->online ? ACT_NOTHING : ACT_REMOVE;
	if (seen->other_served)
		return begins(seen) || connects(seen) ? ACT_REFUSE : ACT_NOTHING;
	if (connects(seen))
		return ACT_CONNECT;
	return begins(seen) ? ACT_OFFER : ACT_NOTHING;
}
