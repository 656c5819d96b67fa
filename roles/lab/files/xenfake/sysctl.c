/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * __HYPERVISOR_sysctl: xen/include/public/sysctl.h of Xen 4.17, interface version 0x15. One node, one socket, cpupools.
 */
#include "xenfake.h"
#include <stdio.h>
#include <string.h>

typedef long sysctl(struct xen_sysctl *op);

void bitmap_set(struct xenctl_bitmap *bitmap, uint64_t mask)
{
	size_t bytes = (bitmap->nr_bits + 7) / 8;

	if (!bitmap->bitmap.p)
		return;
	memset(bitmap->bitmap.p, mask == ~0UL ? 0xff : 0, bytes);
	memcpy(bitmap->bitmap.p, &mask, bytes < sizeof(mask) ? bytes : sizeof(mask));
}

uint64_t bitmap_get(const struct xenctl_bitmap *bitmap)
{
	size_t bytes = (bitmap->nr_bits + 7) / 8;
	uint64_t mask = 0;

	if (bitmap->bitmap.p)
		memcpy(&mask, bitmap->bitmap.p, bytes < sizeof(mask) ? bytes : sizeof(mask));
	return mask;
}

/* -------------------------------------------------------------------------------------------------------- the host */

static long list(struct xen_sysctl *op)
{
	struct xen_sysctl_getdomaininfolist *wanted = &op->u.getdomaininfolist;
	unsigned int domid = domain_next(wanted->first_domain);

	for (wanted->num_domains = 0; domid < DOMAINS && wanted->num_domains < wanted->max_domains; domid = domain_next(domid + 1))
		domain_info(domain_find(domid), &wanted->buffer.p[wanted->num_domains++]);
	return 0;
}

static long physical(struct xen_sysctl *op)
{
	op->u.physinfo = (struct xen_sysctl_physinfo){
		.threads_per_core = 1,
		.cores_per_socket = host->cpus,
		.nr_cpus = host->cpus,
		.max_cpu_id = host->cpus - 1,
		.nr_nodes = 1,
		.cpu_khz = 2596120,
		.capabilities = XEN_SYSCTL_PHYSCAP_hvm | XEN_SYSCTL_PHYSCAP_pv | XEN_SYSCTL_PHYSCAP_hap |
			XEN_SYSCTL_PHYSCAP_gnttab_v1 | XEN_SYSCTL_PHYSCAP_gnttab_v2,
		.total_pages = host->total_pages,
		.free_pages = memory_free(),
		.outstanding_pages = host->claimed_pages,
		.max_mfn = host->total_pages,
		.hw_cap = { 0x178bf3fd, 0x80002001, 0x20100800, 7 },
	};
	return 0;
}

static long scheduler_id(struct xen_sysctl *op)
{
	op->u.sched_id.sched_id = XEN_SCHEDULER_CREDIT2;
	return 0;
}

static long scheduler(struct xen_sysctl *op)
{
	struct xen_sysctl_credit2_schedule *credit2 = &op->u.scheduler_op.u.sched_credit2;

	if (op->u.scheduler_op.sched_id != XEN_SCHEDULER_CREDIT2)
		return -EINVAL;
	if (op->u.scheduler_op.cmd == XEN_SYSCTL_SCHEDOP_putinfo)
		host->ratelimit_us = credit2->ratelimit_us;
	credit2->ratelimit_us = host->ratelimit_us;
	return 0;
}

static long numa(struct xen_sysctl *op)
{
	struct xen_sysctl_numainfo *info = &op->u.numainfo;

	if (info->meminfo.p && info->num_nodes)
		info->meminfo.p[0] = (struct xen_sysctl_meminfo){ host->total_pages * PAGE, memory_free() * PAGE };
	if (info->distance.p && info->num_nodes)
		info->distance.p[0] = 10;
	info->num_nodes = 1;
	return 0;
}

static long topology(struct xen_sysctl *op)
{
	struct xen_sysctl_cputopoinfo *info = &op->u.cputopoinfo;

	for (unsigned int i = 0; info->cputopo.p && i < info->num_cpus && i < host->cpus; i++)
		info->cputopo.p[i] = (struct xen_sysctl_cputopo){ .core = i };
	info->num_cpus = host->cpus;
	return 0;
}

static long cpus(struct xen_sysctl *op)
{
	struct xen_sysctl_getcpuinfo *info = &op->u.getcpuinfo;

	info->nr_cpus = info->max_cpus < host->cpus ? info->max_cpus : host->cpus;
	memset(info->info.p, 0, info->nr_cpus * sizeof(*info->info.p));
	return 0;
}

static long heap(struct xen_sysctl *op)
{
	op->u.availheap.avail_bytes = memory_free() * PAGE;
	return 0;
}

/* What `xl dmesg` shows; index is how much the caller has already. */
static long console(struct xen_sysctl *op)
{
	struct xen_sysctl_readconsole *wanted = &op->u.readconsole;
	char text[256];
	uint32_t length = snprintf(text, sizeof(text), "(XEN) Xen version %d.%d%s, simulated\n(XEN) System RAM: %luMB\n"
				   "(XEN) Brought up %u CPUs\n", XEN_MAJOR, XEN_MINOR, XEN_EXTRA,
				   (unsigned long)(host->total_pages / MIB_PAGES), host->cpus);
	uint32_t start = wanted->incremental ? wanted->index : 0;

	if (start > length)
		start = length;
	if (wanted->count > length - start)
		wanted->count = length - start;
	memcpy(wanted->buffer.p, text + start, wanted->count);
	wanted->index = start + wanted->count;
	return 0;
}

/* -------------------------------------------------------------------------------------------------------- cpupools */

static unsigned int pool_domains(unsigned int pool)
{
	unsigned int domid, count = 0;

	for_each_domain(domid)
		count += host->domain[domid].pool == pool;
	return count;
}

static uint64_t free_cpus(void)
{
	uint64_t taken = 0;

	for (unsigned int i = 0; i < POOLS; i++)
		taken |= host->pool[i].cpus;
	return ~0UL >> (64 - host->cpus) & ~taken;
}

static long pool_create(struct xen_sysctl_cpupool_op *op)
{
	unsigned int id = op->cpupool_id;

	if (id == XEN_SYSCTL_CPUPOOL_PAR_ANY)
		for (id = 0; id < POOLS && host->pool[id].used; id++)
			;
	if (id >= POOLS)
		return -ENOSPC;
	if (host->pool[id].used)
		return -EEXIST;
	host->pool[id] = (struct pool){ 1, op->sched_id, 0 };
	op->cpupool_id = id;
	return 0;
}

static long pool_destroy(struct xen_sysctl_cpupool_op *op)
{
	if (op->cpupool_id >= POOLS || !host->pool[op->cpupool_id].used)
		return -ENOENT;
	if (!op->cpupool_id || host->pool[op->cpupool_id].cpus || pool_domains(op->cpupool_id))
		return -EBUSY;
	host->pool[op->cpupool_id].used = 0;
	return 0;
}

/* Of the first pool that has this number or a greater one. */
static long pool_info(struct xen_sysctl_cpupool_op *op)
{
	for (unsigned int id = op->cpupool_id; id < POOLS; id++) {
		if (!host->pool[id].used)
			continue;
		op->cpupool_id = id;
		op->sched_id = host->pool[id].scheduler;
		op->n_dom = pool_domains(id);
		bitmap_set(&op->cpumap, host->pool[id].cpus);
		return 0;
	}
	return -ENOENT;
}

static long pool_add_cpu(struct xen_sysctl_cpupool_op *op)
{
	uint64_t available = free_cpus(), cpu = 0;

	if (op->cpupool_id >= POOLS || !host->pool[op->cpupool_id].used)
		return -ENOENT;
	if (op->cpu < 64)
		cpu = available & 1UL << op->cpu;
	else if (op->cpu == XEN_SYSCTL_CPUPOOL_PAR_ANY)
		cpu = available & -available;
	if (!cpu)
		return op->cpu < host->cpus ? -EBUSY : -EINVAL;
	host->pool[op->cpupool_id].cpus |= cpu;
	return 0;
}

static long pool_remove_cpu(struct xen_sysctl_cpupool_op *op)
{
	struct pool *pool = &host->pool[op->cpupool_id < POOLS ? op->cpupool_id : 0];
	uint64_t cpu = op->cpu == XEN_SYSCTL_CPUPOOL_PAR_ANY ? pool->cpus & -pool->cpus : op->cpu < 64 ? 1UL << op->cpu : 0;

	if (op->cpupool_id >= POOLS || !pool->used)
		return -ENOENT;
	if (!(pool->cpus & cpu))
		return -EINVAL;
	if (pool->cpus == cpu && pool_domains(op->cpupool_id))
		return -EBUSY;
	pool->cpus &= ~cpu;
	return 0;
}

static long pool_move_domain(struct xen_sysctl_cpupool_op *op)
{
	struct domain *d = domain_find(op->domid);

	if (!d || !op->domid)
		return -EINVAL;
	if (op->cpupool_id >= POOLS || !host->pool[op->cpupool_id].cpus)
		return -ENOENT;
	d->pool = op->cpupool_id;
	return 0;
}

static long pool_free_info(struct xen_sysctl_cpupool_op *op)
{
	bitmap_set(&op->cpumap, free_cpus());
	return 0;
}

static long cpupool(struct xen_sysctl *op)
{
	static long (*const run[])(struct xen_sysctl_cpupool_op *) = {
		[XEN_SYSCTL_CPUPOOL_OP_CREATE] = pool_create,
		[XEN_SYSCTL_CPUPOOL_OP_DESTROY] = pool_destroy,
		[XEN_SYSCTL_CPUPOOL_OP_INFO] = pool_info,
		[XEN_SYSCTL_CPUPOOL_OP_ADDCPU] = pool_add_cpu,
		[XEN_SYSCTL_CPUPOOL_OP_RMCPU] = pool_remove_cpu,
		[XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN] = pool_move_domain,
		[XEN_SYSCTL_CPUPOOL_OP_FREEINFO] = pool_free_info,
	};
	unsigned int which = op->u.cpupool_op.op;

	return which < sizeof(run) / sizeof(*run) && run[which] ? run[which](&op->u.cpupool_op) : -ENOSYS;
}

/* -------------------------------------------------------------------------------------------------------- dispatch */

static sysctl *const sysctls[] = {
	[XEN_SYSCTL_getdomaininfolist] = list,
	[XEN_SYSCTL_physinfo] = physical,
	[XEN_SYSCTL_sched_id] = scheduler_id,
	[XEN_SYSCTL_scheduler_op] = scheduler,
	[XEN_SYSCTL_numainfo] = numa,
	[XEN_SYSCTL_cputopoinfo] = topology,
	[XEN_SYSCTL_getcpuinfo] = cpus,
	[XEN_SYSCTL_availheap] = heap,
	[XEN_SYSCTL_readconsole] = console,
	[XEN_SYSCTL_cpupool_op] = cpupool,
};

long hypercall_sysctl(struct xen_sysctl *op)
{
	long rc;

	if (op->interface_version != XEN_SYSCTL_INTERFACE_VERSION)
		return -EACCES;
	if (op->cmd >= sizeof(sysctls) / sizeof(*sysctls) || !sysctls[op->cmd]) {
		trace("sysctl %u is not known", op->cmd);
		return -ENOSYS;
	}
	host_lock();
	rc = sysctls[op->cmd](op);
	host_unlock();
	return rc;
}
