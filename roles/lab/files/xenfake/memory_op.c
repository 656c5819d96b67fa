/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * __HYPERVISOR_memory_op: xen/include/public/memory.h of Xen 4.17. Only the numbers of pages are kept: a page of a guest
 * is where its frame number says, so nothing needs to be mapped or translated.
 */
#include "xenfake.h"

#include <xen/memory.h>

static uint64_t extents_of(const struct xen_memory_reservation *reservation, uint64_t pages)
{
	uint64_t extents = reservation->extent_order < 20 ? pages >> reservation->extent_order : 0;

	return extents < reservation->nr_extents ? extents : reservation->nr_extents;
}

/* Answers how many extents there are now: fewer than wanted when memory is short. */
static long populate(struct domain *d, void *argument)
{
	struct xen_memory_reservation *wanted = argument;
	uint64_t extents;

	if (wanted->mem_flags & XENMEMF_populate_on_demand) {
		d->pod_entries += wanted->nr_extents << wanted->extent_order;
		return wanted->nr_extents;
	}
	extents = extents_of(wanted, memory_available(d));
	memory_take(d, extents << wanted->extent_order);
	return extents;
}

static long decrease(struct domain *d, void *argument)
{
	struct xen_memory_reservation *wanted = argument;
	uint64_t extents = extents_of(wanted, d->tot_pages);

	memory_give(d, extents << wanted->extent_order);
	return extents;
}

static long claim(struct domain *d, void *argument)
{
	return memory_claim(d, ((struct xen_memory_reservation *)argument)->nr_extents);
}

/* The cache is filled up to the target when the domain is new or there are entries for it (xen/arch/x86/mm/p2m-pod.c). */
static long set_pod_target(struct domain *d, void *argument)
{
	struct xen_pod_target *target = argument;
	uint64_t more = 0;

	if ((d->pod_entries || !d->tot_pages) && target->target_pages > d->tot_pages) {
		more = target->target_pages - d->tot_pages;
		if (more > memory_available(d))
			return -ENOMEM;
		memory_take(d, more);
	}
	target->tot_pages = d->tot_pages;
	target->pod_cache_pages = more;
	target->pod_entries = d->pod_entries;
	return 0;
}

static long get_pod_target(struct domain *d, void *argument)
{
	struct xen_pod_target *target = argument;

	target->tot_pages = d->tot_pages;
	target->pod_cache_pages = 0;
	target->pod_entries = d->pod_entries;
	return 0;
}

static long current(struct domain *d, void *argument)
{
	(void)argument;
	return d->tot_pages;
}

static long maximum(struct domain *d, void *argument)
{
	(void)argument;
	return d->max_pages;
}

static long highest_frame(struct domain *d, void *argument)
{
	(void)d;
	(void)argument;
	return 0xfffff;
}

static long nothing(struct domain *d, void *argument)
{
	(void)d;
	(void)argument;
	return 0;
}

/* What libxl asks before it saves a guest: one that has it cannot be saved (libxl_dom_save.c). */
static long no_vnuma(struct domain *d, void *argument)
{
	(void)d;
	(void)argument;
	return -EOPNOTSUPP;
}

/* Where a command's structure has the domid; NONE: it names no domain. */
#define NONE (~0U)
#define IN(type) offsetof(struct type, domid)
static const struct {
	long (*run)(struct domain *d, void *argument);
	unsigned int domid_at;
} commands[] = {
	[XENMEM_increase_reservation] = { populate, IN(xen_memory_reservation) },
	[XENMEM_decrease_reservation] = { decrease, IN(xen_memory_reservation) },
	[XENMEM_populate_physmap] = { populate, IN(xen_memory_reservation) },
	[XENMEM_claim_pages] = { claim, IN(xen_memory_reservation) },
	[XENMEM_set_pod_target] = { set_pod_target, IN(xen_pod_target) },
	[XENMEM_get_pod_target] = { get_pod_target, IN(xen_pod_target) },
	[XENMEM_current_reservation] = { current, 0 },
	[XENMEM_maximum_reservation] = { maximum, 0 },
	[XENMEM_maximum_gpfn] = { highest_frame, 0 },
	[XENMEM_maximum_ram_page] = { highest_frame, NONE },
	[XENMEM_add_to_physmap] = { nothing, IN(xen_add_to_physmap) },
	[XENMEM_add_to_physmap_batch] = { nothing, IN(xen_add_to_physmap_batch) },
	[XENMEM_remove_from_physmap] = { nothing, IN(xen_remove_from_physmap) },
	[XENMEM_set_memory_map] = { nothing, IN(xen_foreign_memory_map) },
	[XENMEM_get_vnumainfo] = { no_vnuma, IN(xen_vnuma_topology_info) },
	[XENMEM_get_sharing_freed_pages] = { nothing, NONE },
	[XENMEM_get_sharing_shared_pages] = { nothing, NONE },
};

long hypercall_memory_op(unsigned int command, void *argument)
{
	struct domain *d = NULL;
	long rc = -ESRCH;

	if (command >= sizeof(commands) / sizeof(*commands) || !commands[command].run) {
		trace("memory_op %u is not known", command);
		return -ENOSYS;
	}
	host_lock();
	if (commands[command].domid_at != NONE)
		d = domain_find(*(domid_t *)((char *)argument + commands[command].domid_at));
	if (d || commands[command].domid_at == NONE)
		rc = commands[command].run(d, argument);
	host_unlock();
	return rc;
}
