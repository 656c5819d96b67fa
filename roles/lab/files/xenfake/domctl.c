/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * __HYPERVISOR_domctl: xen/include/public/domctl.h of Xen 4.17, interface version 0x15.
 */
#include "xenfake.h"
#include <string.h>

#include <xen/hvm/save.h>

typedef long domctl(struct domain *d, struct xen_domctl *op);

/* ------------------------------------------------------------------------------------------------------- life cycle */

static long create(struct domain *none, struct xen_domctl *op)
{
	struct xen_domctl_createdomain *wanted = &op->u.createdomain;
	unsigned int domid = op->domain;
	struct domain *d;
	int rc;

	(void)none;
	if (!wanted->max_vcpus || wanted->max_vcpus > VCPUS || wanted->cpupool_id >= POOLS)
		return -EINVAL;
	rc = domain_create(&domid, wanted->flags & XEN_DOMCTL_CDF_hvm);
	if (rc)
		return rc;
	d = domain_find(domid);
	d->flags = wanted->flags;
	d->max_vcpus = wanted->max_vcpus;
	d->ssidref = wanted->ssidref;
	d->pool = wanted->cpupool_id;
	d->arch = wanted->arch;
	memcpy(d->handle, wanted->handle, sizeof(d->handle));
	op->domain = domid;
	return 0;
}

static long destroy(struct domain *d, struct xen_domctl *op)
{
	(void)op;
	if (domain_id(d) == 0)
		return -EINVAL;
	domain_destroy(d);
	return 0;
}

static long pause(struct domain *d, struct xen_domctl *op)
{
	(void)op;
	if (domain_id(d) == 0)
		return -EINVAL;
	domain_pause(d);
	return 0;
}

static long unpause(struct domain *d, struct xen_domctl *op)
{
	(void)op;
	if (!d->pause)
		return -EINVAL;
	domain_unpause(d);
	return 0;
}

static long resume(struct domain *d, struct xen_domctl *op)
{
	(void)op;
	domain_resume(d);
	return 0;
}

static long send_trigger(struct domain *d, struct xen_domctl *op)
{
	event_add(TRIGGER, domain_id(d), op->u.sendtrigger.trigger);
	return 0;
}

static uint32_t flags(const struct domain *d)
{
	bool runs = domain_runs(d);

	return (d->dying ? XEN_DOMINF_dying : 0) | (d->pause ? XEN_DOMINF_paused : 0) |
		(d->hvm ? XEN_DOMINF_hvm_guest | XEN_DOMINF_hap : 0) |
		(d->shutdown ? XEN_DOMINF_shutdown | (uint32_t)d->reason << XEN_DOMINF_shutdownshift : 0) |
		(domain_id(d) == 0 ? XEN_DOMINF_running : runs ? XEN_DOMINF_blocked : 0);
}

void domain_info(const struct domain *d, struct xen_domctl_getdomaininfo *info)
{
	*info = (struct xen_domctl_getdomaininfo){
		.domain = domain_id(d),
		.flags = flags(d),
		.tot_pages = d->tot_pages,
		.max_pages = d->max_pages,
		.outstanding_pages = d->claimed_pages,
		.shared_info_frame = 2,
		.cpu_time = domain_cpu_time(d),
		.nr_online_vcpus = d->online_vcpus,
		.max_vcpu_id = d->max_vcpus ? d->max_vcpus - 1 : XEN_INVALID_MAX_VCPU_ID,
		.ssidref = d->ssidref,
		.cpupool = d->pool,
		.gpaddr_bits = 39,
		.arch_config = d->arch,
	};
	memcpy(info->handle, d->handle, sizeof(info->handle));
}

/* Of the first domain that has this domid or a greater one. */
static long get_info(struct domain *none, struct xen_domctl *op)
{
	unsigned int domid = domain_next(op->domain == DOMID_SELF ? 0 : op->domain);

	(void)none;
	if (domid >= DOMAINS)
		return -ESRCH;
	domain_info(domain_find(domid), &op->u.getdomaininfo);
	op->domain = domid;
	return 0;
}

static long set_handle(struct domain *d, struct xen_domctl *op)
{
	memcpy(d->handle, op->u.setdomainhandle.handle, sizeof(d->handle));
	return 0;
}

static long set_target(struct domain *d, struct xen_domctl *op)
{
	if (!domain_find(op->u.set_target.target))
		return -ESRCH;
	d->target = op->u.set_target.target;
	return 0;
}

/* ------------------------------------------------------------------------------------------------ memory and vcpus */

static long max_memory(struct domain *d, struct xen_domctl *op)
{
	d->max_pages = op->u.max_mem.max_memkb / 4;
	return 0;
}

/* One is online until the guest runs. */
static long max_vcpus(struct domain *d, struct xen_domctl *op)
{
	if (!op->u.max_vcpus.max || op->u.max_vcpus.max > VCPUS)
		return -EINVAL;
	d->max_vcpus = op->u.max_vcpus.max;
	d->online_vcpus = 1;
	return 0;
}

static long vcpu_info(struct domain *d, struct xen_domctl *op)
{
	struct xen_domctl_getvcpuinfo *info = &op->u.getvcpuinfo;

	if (info->vcpu >= d->max_vcpus)
		return -ESRCH;
	info->online = info->vcpu < d->online_vcpus;
	info->running = domain_id(d) == 0;
	info->blocked = info->online && !info->running && domain_runs(d);
	info->cpu_time = info->online ? domain_cpu_time(d) / d->online_vcpus : 0;
	info->cpu = info->vcpu % host->cpus;
	return 0;
}

static long get_affinity(struct domain *d, struct xen_domctl *op)
{
	struct xen_domctl_vcpuaffinity *affinity = &op->u.vcpuaffinity;

	if (affinity->vcpu >= d->max_vcpus)
		return -ESRCH;
	if (affinity->flags & XEN_VCPUAFFINITY_HARD)
		bitmap_set(&affinity->cpumap_hard, d->hard[affinity->vcpu]);
	if (affinity->flags & XEN_VCPUAFFINITY_SOFT)
		bitmap_set(&affinity->cpumap_soft, d->soft[affinity->vcpu]);
	return 0;
}

/* The maps come back as what they amount to, within the pool. */
static long set_affinity(struct domain *d, struct xen_domctl *op)
{
	struct xen_domctl_vcpuaffinity *affinity = &op->u.vcpuaffinity;
	uint64_t cpus = host->pool[d->pool].cpus, hard;

	if (affinity->vcpu >= d->max_vcpus)
		return -ESRCH;
	if (affinity->flags & XEN_VCPUAFFINITY_HARD) {
		hard = bitmap_get(&affinity->cpumap_hard);
		if (!(hard & cpus))
			return -EINVAL;
		d->hard[affinity->vcpu] = hard;
		bitmap_set(&affinity->cpumap_hard, hard & cpus);
	}
	if (affinity->flags & XEN_VCPUAFFINITY_SOFT) {
		d->soft[affinity->vcpu] = bitmap_get(&affinity->cpumap_soft);
		bitmap_set(&affinity->cpumap_soft, d->soft[affinity->vcpu] & d->hard[affinity->vcpu] & cpus);
	}
	return 0;
}

static long get_node_affinity(struct domain *d, struct xen_domctl *op)
{
	(void)d;
	bitmap_set(&op->u.nodeaffinity.nodemap, 1);
	return 0;
}

static long scheduler(struct domain *d, struct xen_domctl *op)
{
	struct xen_domctl_sched_credit2 *credit2 = &op->u.scheduler_op.u.credit2;

	if (op->u.scheduler_op.sched_id != XEN_SCHEDULER_CREDIT2)
		return -EINVAL;
	switch (op->u.scheduler_op.cmd) {
	case XEN_DOMCTL_SCHEDOP_getinfo:
		credit2->weight = d->weight;
		credit2->cap = d->cap;
		return 0;
	case XEN_DOMCTL_SCHEDOP_putinfo:	/* csched2_dom_cntl(): 0 and ~0 leave them */
		if (credit2->weight)
			d->weight = credit2->weight;
		if (credit2->cap != (uint16_t)~0)
			d->cap = credit2->cap;
		return 0;
	}
	return -EINVAL;
}

/* ---------------------------------------------------------------------------------------------- for the domain builder */

/* A header and the MTRRs are what libxenguest's vcpu_hvm() looks for. */
struct context {
	struct hvm_save_descriptor header_descriptor;
	HVM_SAVE_TYPE(HEADER) header;
	struct hvm_save_descriptor mtrr_descriptor;
	HVM_SAVE_TYPE(MTRR) mtrr;
	struct hvm_save_descriptor end;
} __attribute__((packed));

static long get_hvm_context(struct domain *d, struct xen_domctl *op)
{
	struct context context = {
		.header_descriptor = { .typecode = HVM_SAVE_CODE(HEADER), .length = sizeof(context.header) },
		.header = { .magic = HVM_FILE_MAGIC, .version = HVM_FILE_VERSION },
		.mtrr_descriptor = { .typecode = HVM_SAVE_CODE(MTRR), .length = sizeof(context.mtrr) },
	};

	(void)d;
	if (op->u.hvmcontext.buffer.p) {
		if (op->u.hvmcontext.size < sizeof(context))
			return -ENOSPC;
		memcpy(op->u.hvmcontext.buffer.p, &context, sizeof(context));
	}
	op->u.hvmcontext.size = sizeof(context);
	return 0;
}

static long get_paging_size(struct domain *d, struct xen_domctl *op)
{
	op->u.paging_mempool.size = d->paging_bytes;
	return 0;
}

static long set_paging_size(struct domain *d, struct xen_domctl *op)
{
	d->paging_bytes = op->u.paging_mempool.size;
	return 0;
}

static long shadow(struct domain *d, struct xen_domctl *op)
{
	switch (op->u.shadow_op.op) {
	case XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION:
		op->u.shadow_op.mb = d->paging_bytes >> 20;
		return 0;
	case XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION:
		d->paging_bytes = (uint64_t)op->u.shadow_op.mb << 20;
		return 0;
	}
	return -EINVAL;
}

static long address_size(struct domain *d, struct xen_domctl *op)
{
	(void)d;
	op->u.address_size.size = 64;
	return 0;
}

static long tsc_info(struct domain *d, struct xen_domctl *op)
{
	(void)d;
	memset(&op->u.tsc_info, 0, sizeof(op->u.tsc_info));
	return 0;
}

/* What has no effect as no guest's code runs. */
static long nothing(struct domain *d, struct xen_domctl *op)
{
	(void)d;
	(void)op;
	return 0;
}

/* -------------------------------------------------------------------------------------------------------- dispatch */

#define DOMCTL(name, run) [XEN_DOMCTL_##name] = { #name, run }
static const struct {
	const char *name;
	domctl *run;
} domctls[] = {
	DOMCTL(createdomain, create),
	DOMCTL(destroydomain, destroy),
	DOMCTL(pausedomain, pause),
	DOMCTL(unpausedomain, unpause),
	DOMCTL(resumedomain, resume),
	DOMCTL(getdomaininfo, get_info),
	DOMCTL(sendtrigger, send_trigger),
	DOMCTL(setdomainhandle, set_handle),
	DOMCTL(set_target, set_target),
	DOMCTL(max_mem, max_memory),
	DOMCTL(max_vcpus, max_vcpus),
	DOMCTL(getvcpuinfo, vcpu_info),
	DOMCTL(getvcpuaffinity, get_affinity),
	DOMCTL(setvcpuaffinity, set_affinity),
	DOMCTL(getnodeaffinity, get_node_affinity),
	DOMCTL(scheduler_op, scheduler),
	DOMCTL(gethvmcontext, get_hvm_context),
	DOMCTL(get_paging_mempool_size, get_paging_size),
	DOMCTL(set_paging_mempool_size, set_paging_size),
	DOMCTL(shadow_op, shadow),
	DOMCTL(get_address_size, address_size),
	DOMCTL(gettscinfo, tsc_info),
	DOMCTL(setnodeaffinity, nothing),
	DOMCTL(settimeoffset, nothing),
	DOMCTL(settscinfo, nothing),
	DOMCTL(setdebugging, nothing),
	DOMCTL(ioport_permission, nothing),
	DOMCTL(iomem_permission, nothing),
	DOMCTL(irq_permission, nothing),
	DOMCTL(hypercall_init, nothing),
	DOMCTL(set_cpu_policy, nothing),
	DOMCTL(setvcpucontext, nothing),
	DOMCTL(sethvmcontext, nothing),
	DOMCTL(set_address_size, nothing),
	DOMCTL(setvnumainfo, nothing),
	DOMCTL(cacheflush, nothing),
	DOMCTL(memory_mapping, nothing),
	DOMCTL(ioport_mapping, nothing),
};
#define COUNT (sizeof(domctls) / sizeof(*domctls))

int domctl_number(const char *name)
{
	for (unsigned int i = 0; i < COUNT; i++)
		if (domctls[i].name && !strcmp(domctls[i].name, name))
			return i;
	return -1;
}

static long dispatch(struct xen_domctl *op)
{
	bool any = op->cmd == XEN_DOMCTL_createdomain || op->cmd == XEN_DOMCTL_getdomaininfo;
	struct domain *d = domain_find(op->domain);

	if (op->cmd >= COUNT || !domctls[op->cmd].run) {
		trace("domctl %u of domain %u is not known", op->cmd, op->domain);
		return -ENOSYS;
	}
	if (host->fail_errno && host->fail_domctl == op->cmd) {
		long failure = -(long)host->fail_errno;

		host->fail_errno = 0;
		return failure;
	}
	return d || any ? domctls[op->cmd].run(d, op) : -ESRCH;
}

long hypercall_domctl(struct xen_domctl *op)
{
	long rc;

	if (op->interface_version != XEN_DOMCTL_INTERFACE_VERSION) {
		trace("domctl interface version %#x", op->interface_version);
		return -EACCES;
	}
	host_lock();
	rc = dispatch(op);
	host_unlock();
	return rc;
}
