/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * /dev/xen/gntdev: xen/sys/gntdev.h (Linux's include/uapi/xen/gntdev.h), for the two grants that every domain's builder
 * makes: the store's ring and the console's.
 */
#include "xenfake.h"
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <xen/grant_table.h>
#include <xen/sys/gntdev.h>

/* What was asked for; its number + 1 is the page offset at which mmap() then maps it. */
static struct grant { unsigned int domid, reference; void *at; bool used; } *grants;
static unsigned int count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int fail(int error)
{
	errno = error;
	return -1;
}

static int slot(void)
{
	struct grant *more;

	for (unsigned int i = 0; i < count; i++)
		if (!grants[i].used)
			return i;
	more = realloc(grants, (count + 1) * sizeof(*grants));
	if (!more)
		return -1;
	grants = more;
	return count++;
}

static int map(struct ioctl_gntdev_map_grant_ref *wanted)
{
	unsigned int domid = wanted->refs[0].domid, reference = wanted->refs[0].ref;
	struct domain *d;
	bool granted;
	int i;

	host_lock();
	d = domain_find(domid);
	granted = d && !d->dying && wanted->count == 1 && reference <= GNTTAB_RESERVED_XENSTORE;
	host_unlock();
	if (!granted)
		return fail(EINVAL);
	i = slot();
	if (i < 0)
		return fail(ENOMEM);
	grants[i] = (struct grant){ domid, reference, NULL, true };
	wanted->index = (uint64_t)(i + 1) * PAGE;
	return 0;
}

static int offset_of(struct ioctl_gntdev_get_offset_for_vaddr *wanted)
{
	for (unsigned int i = 0; i < count; i++)
		if (grants[i].used && grants[i].at == (void *)wanted->vaddr) {
			wanted->offset = (uint64_t)(i + 1) * PAGE;
			wanted->count = 1;
			return 0;
		}
	return fail(EINVAL);
}

static int unmap(const struct ioctl_gntdev_unmap_grant_ref *wanted)
{
	uint64_t i = wanted->index / PAGE - 1;

	if (i >= count || !grants[i].used)
		return fail(ENOENT);
	grants[i].used = false;
	return 0;
}

static int dispatch(unsigned long command, void *argument)
{
	switch (command) {
	case IOCTL_GNTDEV_MAP_GRANT_REF: return map(argument);
	case IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR: return offset_of(argument);
	case IOCTL_GNTDEV_UNMAP_GRANT_REF: return unmap(argument);
	case IOCTL_GNTDEV_SET_MAX_GRANTS:
	case IOCTL_GNTDEV_SET_UNMAP_NOTIFY: return 0;
	}
	trace("gntdev ioctl %#lx is not known", command);
	return fail(ENOTTY);
}

int gntdev_ioctl(unsigned long command, void *argument)
{
	int rc;

	pthread_mutex_lock(&lock);
	rc = dispatch(command, argument);
	pthread_mutex_unlock(&lock);
	return rc;
}

static void *map_grant(struct grant *grant, void *at, int protection)
{
	struct domain *d;
	void *mapped = MAP_FAILED;

	host_lock();
	d = domain_find(grant->domid);
	if (d && !d->dying)
		mapped = memory_map(grant->domid, grant_gfn(d, grant->reference), 1, at, protection);
	else
		errno = EINVAL;
	host_unlock();
	if (mapped != MAP_FAILED)
		grant->at = mapped;
	return mapped;
}

void *gntdev_map(void *at, size_t length, int protection, off_t offset)
{
	uint64_t i = (uint64_t)offset / PAGE - 1;
	void *mapped = MAP_FAILED;

	pthread_mutex_lock(&lock);
	if (i < count && grants[i].used && length == PAGE)
		mapped = map_grant(&grants[i], at, protection);
	else
		errno = EINVAL;
	pthread_mutex_unlock(&lock);
	return mapped;
}
