/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Memory, twice. As numbers: who has how many pages, and who has claimed some (xen/common/page_alloc.c of Xen 4.17).
 * As contents: the sparse file mem.N, in which the domain builder puts a kernel, and which holds the pages that the store
 * and the console map. A page's frame number is its place in the file: there are no machine frames.
 */
#include "xenfake.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xen/grant_table.h>

/* -------------------------------------------------------------------------------------------------------- numbers */

uint64_t memory_free(void)
{
	return host->total_pages > host->used_pages ? host->total_pages - host->used_pages : 0;
}

/* What the domain can get: its own claim counts for it, those of others do not. */
uint64_t memory_available(const struct domain *d)
{
	uint64_t others = host->claimed_pages - d->claimed_pages, available = memory_free();
	uint64_t room = d->max_pages > d->tot_pages ? d->max_pages - d->tot_pages : 0;

	available = available > others ? available - others : 0;
	if (available > room)
		available = room;
	return available > host->fail_pages ? host->fail_pages : available;
}

void memory_take(struct domain *d, uint64_t pages)
{
	uint64_t claimed = d->claimed_pages < pages ? d->claimed_pages : pages;

	d->tot_pages += pages;
	host->used_pages += pages;
	d->claimed_pages -= claimed;
	host->claimed_pages -= claimed;
	if (host->fail_pages != NO_LIMIT)
		host->fail_pages -= pages;
}

void memory_give(struct domain *d, uint64_t pages)
{
	if (pages > d->tot_pages)
		pages = d->tot_pages;
	d->tot_pages -= pages;
	host->used_pages -= pages;
}

/* As domain_set_outstanding_pages(): the claim is for all that the domain will have; 0 gives it up. */
int memory_claim(struct domain *d, uint64_t pages)
{
	uint64_t others = host->claimed_pages - d->claimed_pages, wanted = 0;

	if (pages) {
		if (d->claimed_pages || pages < d->tot_pages || pages > d->max_pages)
			return -EINVAL;
		wanted = pages - d->tot_pages;
		if (memory_free() < others + wanted)
			return -ENOMEM;
	}
	d->claimed_pages = wanted;
	host->claimed_pages = others + wanted;
	return 0;
}

/* ------------------------------------------------------------------------------------------------------- contents */

static void memory_path(char *path, unsigned int domid)
{
	char name[32];

	snprintf(name, sizeof(name), "mem.%u", domid);
	host_file(path, name);
}

int memory_create(unsigned int domid)
{
	char path[PATH_LENGTH];
	int fd, failed;

	memory_path(path, domid);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	failed = ftruncate(fd, (GRANT_TABLE_GFN + 1) * PAGE);
	close(fd);
	return failed;
}

void memory_unlink(unsigned int domid)
{
	char path[PATH_LENGTH];

	memory_path(path, domid);
	unlink(path);
}

static int memory_open(unsigned int domid)
{
	char path[PATH_LENGTH];

	memory_path(path, domid);
	return open(path, O_RDWR | O_CLOEXEC);
}

void *memory_map(unsigned int domid, uint64_t gfn, size_t pages, void *at, int protection)
{
	int fd = memory_open(domid);
	void *mapped;

	if (fd < 0)
		return MAP_FAILED;
	if (gfn > GRANT_TABLE_GFN || gfn + pages > GRANT_TABLE_GFN + 1) {
		close(fd);
		errno = EINVAL;
		return MAP_FAILED;
	}
	mapped = mmap(at, pages * PAGE, protection, MAP_SHARED | (at ? MAP_FIXED : 0), fd, gfn * PAGE);
	close(fd);
	return mapped;
}

/* The builder grants two pages, console and store, to domain 0 (tools/libs/guest/xg_dom_boot.c, xc_dom_gnttab_seed()). */
uint64_t grant_gfn(const struct domain *d, unsigned int reference)
{
	uint64_t gfn = reference == GNTTAB_RESERVED_XENSTORE ? d->store_gfn : d->console_gfn;
	const grant_entry_v1_t *table = memory_map(domain_id(d), GRANT_TABLE_GFN, 1, NULL, PROT_READ);

	if (table == MAP_FAILED)
		return gfn;
	if (table[reference].flags)
		gfn = table[reference].frame;
	munmap((void *)table, PAGE);
	return gfn;
}

struct kept { uint64_t store, console; };

static bool is_kept(const struct kept *kept, uint64_t gfn, const char *page)
{
	return gfn == GRANT_TABLE_GFN || gfn == kept->store || gfn == kept->console || !memcmp(page, "xen-3.0-x86_64", 14);
}

static void punch(int fd, off_t start, off_t end)
{
	if (start < end && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, end - start))
		trace("punching a hole: %s", strerror(errno));
}

static void forget_extent(const struct kept *kept, int fd, off_t start, off_t end)
{
	char *data = mmap(NULL, end - start, PROT_READ, MAP_SHARED, fd, start);
	off_t hole = start;

	if (data == MAP_FAILED)
		return;
	for (off_t at = start; at < end; at += PAGE) {
		if (!is_kept(kept, at / PAGE, data + (at - start)))
			continue;
		punch(fd, hole, at);
		hole = at + PAGE;
	}
	punch(fd, hole, end);
	munmap(data, end - start);
}

/*
 * Once the guest runs nobody looks at its kernel, and hundreds of kernels are more than a machine has. What stays is what
 * domain 0 maps, and start_info, in which a PV guest's kernel finds its command line.
 */
void memory_forget_image(const struct domain *d)
{
	struct kept kept = { grant_gfn(d, GNTTAB_RESERVED_XENSTORE), grant_gfn(d, GNTTAB_RESERVED_CONSOLE) };
	int fd = memory_open(domain_id(d));
	off_t start = 0, end;

	if (fd < 0)
		return;
	while ((start = lseek(fd, start, SEEK_DATA)) >= 0) {
		end = lseek(fd, start, SEEK_HOLE);
		forget_extent(&kept, fd, start, end);
		start = end;
	}
	close(fd);
}
