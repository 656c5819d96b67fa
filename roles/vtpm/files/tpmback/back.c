/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "back.h"

#include "front.h"
#include "say.h"
#include "tpm.h"
#include "world.h"

#include <stdio.h>
#include <string.h>

#define BACKENDS "backend/vtpm"
#define DEVICES 16u		/* of which one is served: a guest that goes, one that comes, and some that went wrong */
#define DOMIDS 32751u		/* the last one is below DOMID_FIRST_RESERVED (0x7ff0, xen.h) */
#define NUMBERS UINT32_MAX	/* grants and event channels */
#define REMOVE_AFTER_MS 1000
#define PATH 96
#define TEXT 12			/* any number of 32 bits */

struct device {
	bool known, listed;
	unsigned int domid, devid;
	bool powered;		/* the TPM was switched on for it: a domain has a directory once in its life */
	bool tried;		/* to connect, with these */
	char ring[TEXT], port[TEXT];
	bool refused;		/* and that was told */
	long long remove_at;	/* its directory, in milliseconds; 0 for never */
};

static struct device devices[DEVICES];
static struct device *served;	/* from the offer to the close */
static volatile uint8_t *page;	/* of the one that is served, once it has connected */
static struct exchange exchange;
static bool busy, orphaned;	/* a command is under way; nobody waits for its answer any more */
static enum tpm_version version;

/* ------------------------------------------------------------------------------------------------------- xenstore */

static const char *back_path(const struct device *device, const char *node)
{
	static char path[PATH];

	snprintf(path, sizeof(path), BACKENDS "/%u/%u/%s", device->domid, device->devid, node);
	return path;
}

/* As libxl lays it out; what the back end's directory says of it would only be one more thing to check. */
static const char *front_path(const struct device *device, const char *node)
{
	static char path[PATH];

	snprintf(path, sizeof(path), "/local/domain/%u/device/vtpm/%u/%s", device->domid, device->devid, node);
	return path;
}

static void switch_state(const struct device *device, enum xenbus state)
{
	char text[TEXT];

	snprintf(text, sizeof(text), "%u", (unsigned int)state);
	store_write(back_path(device, "state"), text);
}

static void read_ring(const struct device *device, char *ring, char *port)
{
	if (!store_read(front_path(device, "ring-ref"), ring, TEXT))
		ring[0] = 0;
	if (!store_read(front_path(device, "event-channel"), port, TEXT))
		port[0] = 0;
}

static struct seen see(struct device *device)
{
	struct seen seen = { .other_served = served && served != device };
	char text[TEXT], ring[TEXT], port[TEXT];

	seen.attached = served == device && page;
	seen.online = !store_read(back_path(device, "online"), text, sizeof(text)) || strcmp(text, "0");
	/* nothing is ever written to a directory that is gone: that would make it anew */
	seen.there = device->listed && store_read(back_path(device, "state"), text, sizeof(text));
	if (seen.there)
		seen.back = xenbus_state(text);
	seen.front_there = store_read(front_path(device, "state"), text, sizeof(text));
	if (seen.front_there)
		seen.front = xenbus_state(text);
	if (seen.front != XENBUS_INITIALISED && seen.front != XENBUS_CONNECTED)
		device->tried = false;
	if (device->tried) {
		read_ring(device, ring, port);
		seen.same_ring = !strcmp(ring, device->ring) && !strcmp(port, device->port);
	}
	return seen;
}

/* --------------------------------------------------------------------------------------------------------- actions */

static void detach(void)
{
	if (!page)
		return;
	channel_unbind();
	page_unmap(page);
	page = NULL;
	orphaned = busy;
	served->tried = false;
}

static void release(struct device *device)
{
	if (served != device)
		return;
	detach();
	served = NULL;
	for (struct device *other = devices; other < devices + DEVICES; other++)
		other->refused = false;
}

static void close_front(struct device *device, const char *why)
{
	release(device);
	say("front end %u/%u: closed%s%s", device->domid, device->devid, *why ? ": " : "", why);
	switch_state(device, XENBUS_CLOSED);
}

static void forget(struct device *device)
{
	release(device);
	store_unwatch(front_path(device, "state"));
	say("front end %u/%u: gone", device->domid, device->devid);
	memset(device, 0, sizeof(*device));
}

/* libxl reads the state when it hears of a change, and takes a directory that is gone by then for a failure. It waits ten
 * seconds for the state, then as long for the directory to go. */
static bool removal_is_due(struct device *device)
{
	if (!device->remove_at)
		device->remove_at = milliseconds() + REMOVE_AFTER_MS;
	return milliseconds() >= device->remove_at;
}

static void remove_directory(struct device *device)
{
	unsigned int devid;
	char path[PATH];

	device->listed = false;
	device->remove_at = 0;
	snprintf(path, sizeof(path), BACKENDS "/%u/%u", device->domid, device->devid);
	store_remove(path);
	snprintf(path, sizeof(path), BACKENDS "/%u", device->domid);
	if (store_numbers(path, &devid, 1) == 0)
		store_remove(path);
}

static void offer(struct device *device)
{
	if (served == device)
		detach();
	served = device;
	store_write(back_path(device, "feature-protocol-v2"), "1");
	switch_state(device, XENBUS_INIT_WAIT);
	say("front end %u/%u: offered", device->domid, device->devid);
}

/* Reset as a guest's start resets the chip of a machine. One that reconnects within its life (resumed, its module loaded
 * again) finds its PCRs as they were: the guest itself must not be able to have them reset. */
static void power_for(struct device *device)
{
	const char *why;

	if (device->powered)
		return;
	why = tpm_power_cycle();
	if (why)
		back_give_up(why);
	for (struct device *other = devices; other < devices + DEVICES; other++)
		other->powered = other == device;
}

/* NULL, or why not. */
static const char *attach(struct device *device)
{
	unsigned int ring, port;
	char text[TEXT];

	read_ring(device, device->ring, device->port);
	device->tried = true;
	if (!number(device->ring, NUMBERS, &ring) || !number(device->port, NUMBERS, &port))
		return "ring-ref or event-channel is no number";
	if (!store_read(front_path(device, "feature-protocol-v2"), text, sizeof(text)) || strcmp(text, "1"))
		return "it does not speak protocol 2";
	page = page_map(device->domid, ring);
	if (!page)
		return "its page cannot be mapped";
	if (channel_bind(device->domid, port))
		return NULL;
	page_unmap(page);
	page = NULL;
	return "its event channel cannot be bound";
}

static void connect_front(struct device *device)
{
	const char *why;

	if (served == device)
		detach();
	served = device;
	/* The command of the one before is not over: this is looked at again when it is. */
	if (busy)
		return;
	power_for(device);
	why = attach(device);
	if (why) {
		close_front(device, why);
		return;
	}
	store_write(back_path(device, "feature-protocol-v2"), "1");
	store_write(back_path(device, "ready"), "1");
	/* first the log: who hears of the state may look there */
	say("front end %u/%u: connected", device->domid, device->devid);
	switch_state(device, XENBUS_CONNECTED);
	back_examine();
}

static void refuse_front(struct device *device)
{
	if (!device->refused)
		say("front end %u/%u: not served: the TPM is in use by %u/%u", device->domid, device->devid, served->domid,
		    served->devid);
	device->refused = true;
}

static void act(struct device *device)
{
	struct seen seen = see(device);
	enum action action = decide(&seen);

	if (action != ACT_REMOVE)
		device->remove_at = 0;
	switch (action) {
	case ACT_NOTHING:
		break;
	case ACT_FORGET:
		forget(device);
		break;
	case ACT_CLOSE:
		close_front(device, "");
		break;
	case ACT_REMOVE:
		if (removal_is_due(device))
			remove_directory(device);
		break;
	case ACT_OFFER:
		offer(device);
		break;
	case ACT_CONNECT:
		connect_front(device);
		break;
	case ACT_REFUSE:
		refuse_front(device);
		break;
	}
}

/* --------------------------------------------------------------------------------------------------------- devices */

static void list(unsigned int domid, unsigned int devid)
{
	const struct device new = { .known = true, .listed = true, .domid = domid, .devid = devid };
	struct device *device, *room = NULL;
	char text[TEXT];

	for (device = devices; device < devices + DEVICES; device++) {
		if (device->known && device->domid == domid && device->devid == devid) {
			device->listed = true;
			return;
		}
		if (!device->known && !room)
			room = device;
	}
	if (!room) {
		say("front end %u/%u: not served: there are %u others", domid, devid, DEVICES);
		return;
	}
	/* what is left of a directory is no device; a watch for it would only bring the next look */
	if (!store_read(back_path(&new, "state"), text, sizeof(text)))
		return;
	*room = new;
	store_watch(front_path(room, "state"));
}

static void list_all(void)
{
	unsigned int domids[4 * DEVICES], devids[DEVICES];
	unsigned int domid_count = store_numbers(BACKENDS, domids, 4 * DEVICES), devid_count;
	char path[PATH];

	for (struct device *device = devices; device < devices + DEVICES; device++)
		device->listed = false;
	for (unsigned int i = 0; i < domid_count; i++) {
		if (domids[i] > DOMIDS)
			continue;
		snprintf(path, sizeof(path), BACKENDS "/%u", domids[i]);
		devid_count = store_numbers(path, devids, DEVICES);
		for (unsigned int j = 0; j < devid_count; j++)
			list(domids[i], devids[j]);
	}
}

void back_look(void)
{
	list_all();
	/* twice: the first may still have had the TPM when another was looked at, and have let go of it then */
	for (int round = 0; round < 2; round++)
		for (struct device *device = devices; device < devices + DEVICES; device++)
			if (device->known)
				act(device);
}

int back_patience(void)
{
	long long soonest = 0, left;

	for (struct device *device = devices; device < devices + DEVICES; device++)
		if (device->known && device->remove_at && (!soonest || device->remove_at < soonest))
			soonest = device->remove_at;
	if (!soonest)
		return -1;
	left = soonest - milliseconds();
	return left > 0 ? (int)left : 0;
}

void back_open(enum tpm_version which)
{
	version = which;
	store_watch(BACKENDS);
	back_look();
}

/* -------------------------------------------------------------------------------------------------------- commands */

static void answer(void)
{
	page_answer(page, version, &exchange);
	channel_notify();
}

void back_examine(void)
{
	const char *why;

	if (!page || busy)
		return;
	switch (page_take(page, version, &exchange)) {
	case TAKEN_NOTHING:
		break;
	case TAKEN_CANCEL:
		page_cancelled(page);
		channel_notify();
		break;
	case TAKEN_REFUSED:
		answer();
		break;
	case TAKEN_COMMAND:
		busy = true;
		why = tpm_send(&exchange);
		exchange.length = 0;
		if (why)
			back_give_up(why);
		break;
	}
}

void back_receive(void)
{
	bool whole = false;
	const char *why;

	if (!busy)
		back_give_up("swtpm has ended, or speaks without being asked");
	why = tpm_receive(&exchange, &whole);
	if (why)
		back_give_up(why);
	if (!whole)
		return;
	busy = false;
	if (page && !orphaned)
		answer();
	orphaned = false;
	back_look();
	back_examine();
}

void back_give_up(const char *why)
{
	struct device *device = served;

	/* one that was submitted at the last moment is a command under way too */
	if (page && !busy)
		busy = page_take(page, version, &exchange) == TAKEN_COMMAND;
	if (page && busy && !orphaned) {
		refuse(&exchange, version, REFUSED_FAILURE);
		answer();
	}
	busy = false;
	if (device)
		close_front(device, why);
	fail("%s", why);
}
