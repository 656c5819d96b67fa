/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The world of a Linux domain on Xen: libxenstore, libxengnttab and libxenevtchn (Xen >= 4.14).
 */
#include "exchange.h"
#include "front.h"
#include "say.h"
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>

#include <xen/io/tpmif.h>
#include <xen/io/xenbus.h>

_Static_assert(offsetof(struct tpmif_shared_page, length) == PAGE_LENGTH, "tpmif.h");
_Static_assert(offsetof(struct tpmif_shared_page, state) == PAGE_STATE, "tpmif.h");
_Static_assert(offsetof(struct tpmif_shared_page, locality) == PAGE_LOCALITY, "tpmif.h");
_Static_assert(offsetof(struct tpmif_shared_page, nr_extra_pages) == PAGE_EXTRA_PAGES, "tpmif.h");
_Static_assert(sizeof(struct tpmif_shared_page) == PAGE_HEADER, "tpmif.h");
_Static_assert((int)TPMIF_STATE_SUBMIT == PAGE_SUBMIT && (int)TPMIF_STATE_CANCEL == PAGE_CANCEL, "tpmif.h");
_Static_assert((int)XenbusStateInitWait == XENBUS_INIT_WAIT && (int)XenbusStateClosed == XENBUS_CLOSED, "xenbus.h");

static struct xs_handle *store;
static xengnttab_handle *grants;
static xenevtchn_handle *channels;
static xenevtchn_port_or_error_t bound = -1;

void world_open(void)
{
	store = xs_open(0);
	if (!store)
		fail("xenstore cannot be reached: %s", strerror(errno));
	grants = xengnttab_open(NULL, 0);
	if (!grants)
		fail("pages of other domains cannot be mapped (/dev/xen/gntdev): %s", strerror(errno));
	channels = xenevtchn_open(NULL, 0);
	if (!channels)
		fail("event channels cannot be had (/dev/xen/evtchn): %s", strerror(errno));
	fcntl(channel_fd(), F_SETFL, O_NONBLOCK);
}

bool store_read(const char *path, char *text, size_t size)
{
	unsigned int length;
	char *value = xs_read(store, XBT_NULL, path, &length);
	bool fits = value && length < size && strlen(value) == length;

	if (fits)
		memcpy(text, value, length + 1);
	free(value);
	return fits;
}

void store_write(const char *path, const char *text)
{
	/* one that is removed at this moment is made again by no means: its parent is dom0's */
	if (!xs_write(store, XBT_NULL, path, text, (unsigned int)strlen(text)))
		say("xenstore refuses %s = %s: %s", path, text, strerror(errno));
}

void store_remove(const char *path)
{
	if (!xs_rm(store, XBT_NULL, path))
		say("xenstore refuses to remove %s: %s", path, strerror(errno));
}

unsigned int store_numbers(const char *path, unsigned int *numbers, unsigned int most)
{
	unsigned int names, count = 0;
	char **directory = xs_directory(store, XBT_NULL, path, &names);

	for (unsigned int i = 0; directory && i < names && count < most; i++)
		if (number(directory[i], UINT32_MAX, &numbers[count]))
			count++;
	free(directory);
	return count;
}

void store_watch(const char *path)
{
	if (!xs_watch(store, path, path))
		fail("xenstore gives no watch on %s: %s", path, strerror(errno));
}

void store_unwatch(const char *path)
{
	xs_unwatch(store, path, path);
}

int store_fd(void)
{
	return xs_fileno(store);
}

void store_take_events(void)
{
	char **event;

	while ((event = xs_check_watch(store)))
		free(event);
}

volatile uint8_t *page_map(unsigned int domid, unsigned int ring)
{
	return xengnttab_map_grant_ref(grants, domid, ring, PROT_READ | PROT_WRITE);
}

void page_unmap(volatile uint8_t *page)
{
	xengnttab_unmap(grants, (void *)page, 1);
}

bool channel_bind(unsigned int domid, unsigned int port)
{
	bound = xenevtchn_bind_interdomain(channels, domid, port);
	return bound >= 0;
}

void channel_unbind(void)
{
	xenevtchn_unbind(channels, (evtchn_port_t)bound);
	bound = -1;
}

void channel_notify(void)
{
	xenevtchn_notify(channels, (evtchn_port_t)bound);
}

int channel_fd(void)
{
	return xenevtchn_fd(channels);
}

/* One event a turn is enough: a channel gives the next one only when this one was unmasked. */
void channel_take_events(void)
{
	xenevtchn_port_or_error_t port = xenevtchn_pending(channels);

	if (port >= 0 && port == bound)
		xenevtchn_unmask(channels, (evtchn_port_t)port);
}
