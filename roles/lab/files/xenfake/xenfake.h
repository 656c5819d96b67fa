/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the files of libxenfake share: the table of domains, and who stands in for what. README.md is the map.
 * Interface: Xen 4.17's public headers (libxen-dev), domctl and sysctl version 0x15, x86-64.
 */
#ifndef XENFAKE_H
#define XENFAKE_H

#define _GNU_SOURCE
#define __XEN_TOOLS__ 1
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <xen/xen.h>
#include <xen/domctl.h>
#include <xen/sysctl.h>
#include <xen/hvm/params.h>

#define PAGE 4096UL
#define MIB_PAGES 256UL
#define DOMAINS DOMID_FIRST_RESERVED
#define VCPUS 128
#define POOLS 8
#define EVENTS 16384		/* a power of two */
#define PATH_LENGTH 256

/* ---- hypervisor.c: the host, a file that all processes map; its lock is held wherever a struct domain is touched */
struct domain {
	uint8_t hvm, dying, shutdown, reason, started, introduced, held;
	uint8_t pool;
	uint16_t target;		/* the domain that this one is the device model of, or 0 */
	uint16_t weight, cap;		/* of the scheduler credit2 */
	uint32_t pause;			/* how often; 0: runs */
	uint32_t ssidref, max_vcpus, online_vcpus, next_port, flags;
	xen_domain_handle_t handle;
	uint64_t max_pages, tot_pages, claimed_pages, pod_entries;
	uint64_t ran_ns, running_since;
	uint64_t store_gfn, console_gfn;
	uint64_t paging_bytes;
	struct xen_arch_domainconfig arch;
	uint64_t hvm_param[HVM_NR_PARAMS];
	uint64_t hard[VCPUS], soft[VCPUS];	/* affinity */
};

struct pool {
	uint8_t used;
	uint32_t scheduler;
	uint64_t cpus;
};

enum event_kind { CREATED, INTRODUCED, PAUSED, UNPAUSED, SHUTDOWN, DESTROYED, TRIGGER, REAPED };
struct event {
	uint16_t kind, domid;
	uint32_t argument;
};

struct host {
	uint64_t magic;
	pthread_mutex_t lock;
	uint32_t cpus, next_domid, ratelimit_us;
	uint64_t total_pages, used_pages, claimed_pages, dom0_pages;
	/* faults: the next domctl of that number fails; so many pages can still be had */
	uint32_t fail_domctl, fail_errno;
	uint64_t fail_pages;
	struct pool pool[POOLS];
	uint64_t event_count;
	struct event event[EVENTS];
	uint64_t used[(DOMAINS + 63) / 64];	/* so that no scan touches pages of domains that are not there */
	struct domain domain[DOMAINS];
};
extern struct host *host;
#define NO_LIMIT UINT64_MAX

int host_open(void);			/* 0 or -1 with errno */
void host_lock(void);			/* opens it if need be */
void host_unlock(void);
int host_file(char *path, const char *name);	/* name in the state directory -> path[PATH_LENGTH] */
void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct domain *domain_find(unsigned int domid);	/* DOMID_SELF too; NULL if there is none */
unsigned int domain_next(unsigned int domid);	/* the first that exists from there on, or DOMAINS */
unsigned int domain_id(const struct domain *d);
#define for_each_domain(id) for (id = domain_next(0); id < DOMAINS; id = domain_next(id + 1))

int domain_create(unsigned int *domid, bool hvm);	/* 0: any; -errno */
void domain_destroy(struct domain *d);
void domain_pause(struct domain *d);
void domain_unpause(struct domain *d);
void domain_shutdown(struct domain *d, unsigned int reason);
void domain_resume(struct domain *d);
void domain_hold(struct domain *d, bool held);
bool domain_runs(const struct domain *d);
uint64_t domain_cpu_time(const struct domain *d);
void event_add(enum event_kind kind, unsigned int domid, unsigned int argument);
int poke_open(void);			/* readable when an event was added */

/* ---- memory.c: pages as numbers, and those that somebody looks at as contents */
uint64_t memory_free(void);
uint64_t memory_available(const struct domain *d);
void memory_take(struct domain *d, uint64_t pages);
void memory_give(struct domain *d, uint64_t pages);
int memory_claim(struct domain *d, uint64_t pages);
int memory_create(unsigned int domid);
void memory_unlink(unsigned int domid);
void memory_forget_image(const struct domain *d);
void *memory_map(unsigned int domid, uint64_t gfn, size_t pages, void *at, int protection);
#define GRANT_TABLE_GFN (1UL << 24)	/* beyond any guest's memory */
uint64_t grant_gfn(const struct domain *d, unsigned int reference);

/* ---- hypercalls: 0 or more, or -errno */
void domain_info(const struct domain *d, struct xen_domctl_getdomaininfo *info);
long hypercall_domctl(struct xen_domctl *op);
long hypercall_sysctl(struct xen_sysctl *op);
long hypercall_memory_op(unsigned int command, void *argument);
int domctl_number(const char *name);	/* -1: unknown */
void bitmap_set(struct xenctl_bitmap *bitmap, uint64_t mask);
uint64_t bitmap_get(const struct xenctl_bitmap *bitmap);
#define XEN_MAJOR 4
#define XEN_MINOR 17
#define XEN_EXTRA ".7"
#define XEN_FEATURES ((1U << 11) | (1U << 13) | (1U << 5) | (1U << 4))

/* ---- devices: -1 with errno as ioctl() */
int privcmd_ioctl(unsigned long command, void *argument);
int gntdev_ioctl(unsigned long command, void *argument);
void *gntdev_map(void *at, size_t length, int protection, off_t offset);
int evtchn_open(int flags);
int evtchn_ioctl(int fd, unsigned long command, void *argument);
void evtchn_close(int fd);

/* ---- the store's process alone: pump.c's thread, which is the guests' kernels and the control socket */
struct source {				/* first in whatever epoll tells of */
	void (*ready)(struct source *source, uint32_t events);
	int fd;
};
struct evtchn;
struct guest;
extern bool is_store;			/* this process is xenstored or oxenstored */
extern pthread_mutex_t pump_lock;	/* taken before the host's lock */
void pump_start(void);
void pump_kick(void);			/* rings have work */
void pump_watch(struct source *source, int operation, uint32_t events);
void evtchn_raise(struct evtchn *device, unsigned int port);
void evtchn_raise_virq(unsigned int virq);
void channel_add(unsigned int domid, uint32_t port, int fd);
void channels_raise(unsigned int domid);
struct guest *guest_new(struct evtchn *device, unsigned int domid, unsigned int port);
void guest_leave(struct guest *guest);	/* freed by the pump */
void guest_kick(struct guest *guest);
int guest_stall(unsigned int domid, bool stalled);
void guests_work(void);
struct traffic { uint64_t introduced, in, out; };
struct traffic guests_traffic(void);
int listen_at(const char *name);	/* a socket in the state directory, or -1 */
void control_start(void);
void control_work(void);
void control_pass_channel(unsigned int domid, unsigned int port, int fd);	/* from another process */

struct buffer { char *data; size_t length, size; };
void buffer_add(struct buffer *buffer, const void *data, size_t length);
void buffer_drop(struct buffer *buffer, size_t length);
bool buffer_send(struct buffer *buffer, int fd);	/* whether something is left */

#endif
