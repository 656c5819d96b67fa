/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What to do about one front end, from what xenstore says of it: a pure function, asked anew whenever something changed.
 */
#ifndef FRONT_H
#define FRONT_H

#include <stdbool.h>

/* enum xenbus_state (xen/io/xenbus.h); XENBUS_UNKNOWN stands for no node, and for all that is none of these */
enum xenbus {
	XENBUS_UNKNOWN, XENBUS_INITIALISING, XENBUS_INIT_WAIT, XENBUS_INITIALISED, XENBUS_CONNECTED,
	XENBUS_CLOSING, XENBUS_CLOSED,
};

struct seen {
	bool there;		/* the toolstack has the back end's directory */
	bool online;		/* and does not want it closed */
	bool front_there;	/* so has the front end its own */
	enum xenbus back, front;
	bool same_ring;		/* ring and event channel are those of the last attempt to connect */
	bool attached;		/* that attempt succeeded, and the page is mapped */
	bool other_served;	/* another front end has the TPM */
};

enum action {
	ACT_NOTHING,
	ACT_FORGET,		/* let go of it: its directory is gone */
	ACT_CLOSE,		/* let go of the page, then state 6 */
	ACT_REMOVE,		/* and the directory, which the toolstack leaves to the back end's domain (libxl since 4.4) */
	ACT_OFFER,		/* state 2: connect if you like */
	ACT_CONNECT,		/* map what it gave, then state 4 */
	ACT_REFUSE,		/* another one has the TPM */
};

enum action decide(const struct seen *seen);
enum xenbus xenbus_state(const char *text);
/* A decimal number as xenstore has them, at most `most`; false for any other text. */
bool number(const char *text, unsigned int most, unsigned int *value);

#endif
