/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * /dev/xen/privcmd: xen/sys/privcmd.h (Linux's include/uapi/xen/privcmd.h), and those hypercalls through it that are too
 * small for a file of their own: version.h, event_channel.h, sched.h, hvm/hvm_op.h of xen/include/public, Xen 4.17.
 */
#include "xenfake.h"
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <xen/event_channel.h>
#include <xen/hvm/hvm_op.h>
#include <xen/memory.h>
#include <xen/sched.h>
#include <xen/sys/privcmd.h>
#include <xen/version.h>

/* -------------------------------------------------------------------------------------------------------- xen_version */

static void command_line(xen_commandline_t text)
{
	unsigned long dom0_mib;

	host_lock();
	dom0_mib = host->dom0_pages / MIB_PAGES;
	host_unlock();
	/* dom0_mem= tells xl that domain 0's memory is not its to take (xl.conf(5), autoballoon) */
	snprintf(text, sizeof(xen_commandline_t), "dom0_mem=%luM,max:%luM loglvl=all guest_loglvl=all", dom0_mib, dom0_mib);
}

static long version(unsigned int command, void *argument)
{
	switch (command) {
	case XENVER_version:
		return XEN_MAJOR << 16 | XEN_MINOR;
	case XENVER_extraversion:
		strcpy(argument, XEN_EXTRA);
		return 0;
	case XENVER_compile_info:
		*(xen_compile_info_t *)argument = (xen_compile_info_t){ "gcc", "xenfake", "localdomain", "Thu Jan  1 00:00:00 UTC 1970" };
		return 0;
	case XENVER_capabilities:
		strcpy(argument, "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ");
		return 0;
	case XENVER_changeset:
		strcpy(argument, "");
		return 0;
	case XENVER_platform_parameters:
		((xen_platform_parameters_t *)argument)->virt_start = 0xffff800000000000UL;
		return 0;
	case XENVER_get_features:
		((xen_feature_info_t *)argument)->submap = XEN_FEATURES;
		return 0;
	case XENVER_pagesize:
		return PAGE;
	case XENVER_commandline:
		command_line(argument);
		return 0;
	case XENVER_build_id:
		return -ENODATA;
	}
	trace("xen_version %u is not known", command);
	return -ENOSYS;
}

/* --------------------------------------------------------------------------- event_channel_op, sched_op, hvm_op */

static long event_channel_op(unsigned int command, void *argument)
{
	struct evtchn_alloc_unbound *alloc = argument;
	struct evtchn_status *status = argument;
	struct domain *d;

	switch (command) {
	case EVTCHNOP_alloc_unbound:
		d = domain_find(alloc->dom);
		if (!d)
			return -ESRCH;
		alloc->port = d->next_port++;
		return 0;
	case EVTCHNOP_status:
		/* xenconsoled about its own: one that is not bound it opens anew, and then may read from what has nothing to tell */
		if (status->dom == DOMID_SELF) {
			status->status = status->port ? EVTCHNSTAT_interdomain : EVTCHNSTAT_closed;
			return 0;
		}
		d = domain_find(status->dom);
		if (!d)
			return -ESRCH;
		status->status = status->port && status->port < d->next_port ? EVTCHNSTAT_unbound : EVTCHNSTAT_closed;
		return 0;
	case EVTCHNOP_reset:
		return 0;
	}
	trace("event_channel_op %u is not known", command);
	return -ENOSYS;
}

static long sched_op(unsigned int command, void *argument)
{
	struct sched_remote_shutdown *wanted = argument;
	struct domain *d;

	if (command != SCHEDOP_remote_shutdown) {
		trace("sched_op %u is not known", command);
		return -ENOSYS;
	}
	d = domain_find(wanted->domain_id);
	if (!d)
		return -ESRCH;
	domain_shutdown(d, wanted->reason);
	return 0;
}

static void set_parameter(struct domain *d, const struct xen_hvm_param *parameter)
{
	d->hvm_param[parameter->index] = parameter->value;
	if (parameter->index == HVM_PARAM_STORE_PFN)
		d->store_gfn = parameter->value;
	if (parameter->index == HVM_PARAM_CONSOLE_PFN)
		d->console_gfn = parameter->value;
}

static long hvm_op(unsigned int command, void *argument)
{
	struct xen_hvm_param *parameter = argument;
	struct domain *d;

	if (command != HVMOP_set_param && command != HVMOP_get_param) {
		trace("hvm_op %u is not known", command);
		return -ENOSYS;
	}
	d = domain_find(parameter->domid);
	if (!d)
		return -ESRCH;
	if (parameter->index >= HVM_NR_PARAMS)
		return -EINVAL;
	if (command == HVMOP_set_param)
		set_parameter(d, parameter);
	else
		parameter->value = d->hvm_param[parameter->index];
	return 0;
}

/* What the builder of a PV domain does to page tables: all of it succeeds. */
static long mmu_update(const privcmd_hypercall_t *call)
{
	if (call->arg[2])
		*(unsigned int *)call->arg[2] = call->arg[1];
	return 0;
}

/* -------------------------------------------------------------------------------------------------------- dispatch */

static long locked(long (*run)(unsigned int command, void *argument), const privcmd_hypercall_t *call)
{
	long rc;

	host_lock();
	rc = run(call->arg[0], (void *)call->arg[1]);
	host_unlock();
	return rc;
}

static long hypercall(const privcmd_hypercall_t *call);

/* libxenctrl wraps memory_op in one, for a result of more than 32 bits. */
static long multicall(const privcmd_hypercall_t *call)
{
	multicall_entry_t *entry = (void *)call->arg[0];

	for (uint64_t i = 0; i < call->arg[1]; i++) {
		privcmd_hypercall_t one = { .op = entry[i].op };

		memcpy(one.arg, entry[i].args, sizeof(one.arg));
		entry[i].result = hypercall(&one);
	}
	return 0;
}

static long hypercall(const privcmd_hypercall_t *call)
{
	void *first = (void *)call->arg[0], *second = (void *)call->arg[1];

	switch (call->op) {
	case __HYPERVISOR_domctl: return hypercall_domctl(first);
	case __HYPERVISOR_sysctl: return hypercall_sysctl(first);
	case __HYPERVISOR_memory_op: return hypercall_memory_op(call->arg[0], second);
	case __HYPERVISOR_xen_version: return version(call->arg[0], second);
	case __HYPERVISOR_event_channel_op: return locked(event_channel_op, call);
	case __HYPERVISOR_sched_op: return locked(sched_op, call);
	case __HYPERVISOR_hvm_op: return locked(hvm_op, call);
	case __HYPERVISOR_multicall: return multicall(call);
	case __HYPERVISOR_xsm_op: return -ENOSYS;	/* no FLASK here; libxl asks every time */
	case __HYPERVISOR_mmu_update:
	case __HYPERVISOR_mmuext_op: return mmu_update(call);
	}
	trace("hypercall %llu(%llu) is not known", (unsigned long long)call->op, (unsigned long long)call->arg[0]);
	return -ENOSYS;
}

/* --------------------------------------------------------------------------------------------------- mapping memory */

static bool exists(unsigned int domid)
{
	bool found;

	host_lock();
	found = domain_find(domid);
	host_unlock();
	return found;
}

/* oxenstored maps the page that XS_INTRODUCE names and no grant: the guest's ring is there then. */
static void note_store_page(unsigned int domid, uint64_t gfn)
{
	struct domain *d;

	host_lock();
	d = domain_find(domid);
	if (d)
		d->store_gfn = gfn;
	host_unlock();
}

/* Frames in a row are one mapping: a kernel has ten thousand of them. */
static int map_batch(privcmd_mmapbatch_v2_t *batch)
{
	if (!exists(batch->dom)) {
		errno = ESRCH;
		return -1;
	}
	if (is_store && batch->num == 1)
		note_store_page(batch->dom, batch->arr[0]);
	for (unsigned int start = 0, end; start < batch->num; start = end) {
		void *at = (char *)batch->addr + start * PAGE;
		bool failed;

		for (end = start + 1; end < batch->num && batch->arr[end] == batch->arr[end - 1] + 1; end++)
			;
		failed = memory_map(batch->dom, batch->arr[start], end - start, at, PROT_READ | PROT_WRITE) == MAP_FAILED;
		for (unsigned int i = start; i < end; i++)
			batch->err[i] = failed ? -EFAULT : 0;
	}
	return 0;
}

static int map_resource(const privcmd_mmap_resource_t *resource)
{
	if (resource->type != XENMEM_resource_grant_table || !resource->addr || resource->num != 1) {
		trace("resource %u of domain %u is not known", resource->type, resource->dom);
		errno = EOPNOTSUPP;
		return -1;
	}
	return memory_map(resource->dom, GRANT_TABLE_GFN, 1, (void *)resource->addr, PROT_READ | PROT_WRITE) == MAP_FAILED ? -1 : 0;
}

int privcmd_ioctl(unsigned long command, void *argument)
{
	long rc;

	switch (command) {
	case IOCTL_PRIVCMD_HYPERCALL:
		rc = hypercall(argument);
		if (rc >= 0)
			return rc;
		errno = -rc;
		return -1;
	case IOCTL_PRIVCMD_MMAPBATCH_V2:
		return map_batch(argument);
	case IOCTL_PRIVCMD_MMAP_RESOURCE:
		return map_resource(argument);
	case IOCTL_PRIVCMD_RESTRICT:
		return 0;
	}
	/* libxendevicemodel asks whether these are there; no device model here needs them */
	if (command != IOCTL_PRIVCMD_UNIMPLEMENTED && command != IOCTL_PRIVCMD_DM_OP)
		trace("privcmd ioctl %#lx is not known", command);
	errno = ENOTTY;
	return -1;
}
