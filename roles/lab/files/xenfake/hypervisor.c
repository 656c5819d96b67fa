/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The host: its table of domains and what happens to them, in a file that all processes of the host map.
 * Stands in for xen/common/domain.c of Xen 4.17: pause counts, domains that are dying, domids that are not given again
 * before all others were.
 */
#include "xenfake.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAGIC (0x58464b0000000000UL + sizeof(struct host))

struct host *host;
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;

int host_file(char *path, const char *name)
{
	const char *directory = secure_getenv("XENFAKE_DIR");

	return snprintf(path, PATH_LENGTH, "%s/%s", directory ? directory : "/run/xenfake", name) < PATH_LENGTH ? 0 : -1;
}

void trace(const char *format, ...)
{
	char path[PATH_LENGTH], line[512];
	int length = snprintf(line, sizeof(line), "%d %s: ", getpid(), program_invocation_short_name), fd;
	va_list arguments;

	host_file(path, "trace");
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | (secure_getenv("XENFAKE_TRACE") ? O_CREAT : 0), 0600);
	if (fd < 0)
		return;
	va_start(arguments, format);
	length += vsnprintf(line + length, sizeof(line) - length - 1, format, arguments);
	va_end(arguments);
	if (length > (int)sizeof(line) - 1)
		length = sizeof(line) - 1;
	line[length++] = '\n';
	if (write(fd, line, length) < 0)
		errno = 0;
	close(fd);
}

/* ------------------------------------------------------------------------------------------------ making the host */

static void make_parents(char *path)
{
	for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
		*slash = 0;
		mkdir(path, 0755);
		*slash = '/';
	}
}

static void make_file(const char *name, mode_t mode, const char *text)
{
	char path[PATH_LENGTH];
	int fd;

	host_file(path, name);
	make_parents(path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		trace("%s: %s", path, strerror(errno));
	close(fd);
}

/* What Linux shows of Xen: drivers/xen/xenfs, drivers/xen/sys-hypervisor.c, the devices. */
static void make_files(void)
{
	static const struct { const char *name, *text; mode_t mode; } files[] = {
		{ "proc/xen/capabilities", "control_d\n", 0444 },
		{ "proc/xen/xsd_port", "1", 0444 },
		{ "proc/xen/privcmd", "", 0600 },
		{ "dev/xen/privcmd", "", 0600 },
		{ "dev/xen/evtchn", "", 0600 },
		{ "dev/xen/gntdev", "", 0600 },
		{ "sys/hypervisor/type", "xen\n", 0444 },
		{ "sys/hypervisor/version/major", "4\n", 0444 },
		{ "sys/hypervisor/version/minor", "17\n", 0444 },
		{ "sys/hypervisor/version/extra", XEN_EXTRA "\n", 0444 },
	};
	char path[PATH_LENGTH], features[16];

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		make_file(files[i].name, files[i].mode, files[i].text);
	snprintf(features, sizeof(features), "%08x\n", XEN_FEATURES);
	make_file("sys/hypervisor/properties/features", 0444, features);
	/* domain 0's store page is the first of its memory */
	host_file(path, "proc/xen/xsd_kva");
	if (symlink("../../mem.0", path))
		trace("%s: %s", path, strerror(errno));
	host_file(path, "poke");
	mkfifo(path, 0600);
	memory_create(0);
}

static unsigned int configured(const char *text, const char *key, unsigned int otherwise)
{
	const char *found = strstr(text, key);

	return found ? strtoul(found + strlen(key), NULL, 10) : otherwise;
}

static void make_dom0(struct host *h, const char *text)
{
	struct domain *d = &h->domain[0];
	unsigned int dom0_mib = configured(text, "dom0_mib=", 1536);

	h->used[0] = 1;
	d->started = 1;
	d->next_port = 2;	/* 1 is the store's, as /proc/xen/xsd_port says */
	d->max_vcpus = d->online_vcpus = h->cpus;
	d->max_pages = d->tot_pages = dom0_mib * MIB_PAGES;
	d->weight = 256;
	memset(d->hard, 0xff, sizeof(d->hard));
	memset(d->soft, 0xff, sizeof(d->soft));
	h->used_pages = h->dom0_pages = d->tot_pages;
}

static void make_lock(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);	/* processes get killed */
	pthread_mutex_init(lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
}

static void make_host(struct host *h)
{
	char path[PATH_LENGTH], text[512] = "";
	int fd;

	host_file(path, "host");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) < 0)
			text[0] = 0;
		close(fd);
	}
	make_lock(&h->lock);
	h->cpus = configured(text, "cpus=", 2);
	if (!h->cpus || h->cpus > 64)
		h->cpus = 2;
	h->total_pages = configured(text, "memory_mib=", 6144) * MIB_PAGES;
	h->fail_pages = NO_LIMIT;
	h->next_domid = 1;
	h->ratelimit_us = 1000;
	h->pool[0] = (struct pool){ 1, XEN_SCHEDULER_CREDIT2, ~0UL >> (64 - h->cpus) };
	make_dom0(h, text);
	h->magic = MAGIC;
}

static struct host *map_host(const char *path, int flags)
{
	int fd = open(path, flags | O_RDWR | O_CLOEXEC, 0600);
	void *mapped = MAP_FAILED;

	if (fd < 0)
		return NULL;
	if (!(flags & O_CREAT) || !ftruncate(fd, sizeof(struct host)))
		mapped = mmap(NULL, sizeof(struct host), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return mapped == MAP_FAILED ? NULL : mapped;
}

/* It is made under another name and linked when whole: of those who make it at once, one succeeds. */
static void create_host(const char *path)
{
	char other[PATH_LENGTH + 32];
	struct host *made;

	snprintf(other, sizeof(other), "%s.%d", path, getpid());
	make_files();
	made = map_host(other, O_CREAT | O_EXCL);
	if (!made)
		return;
	make_host(made);
	munmap(made, sizeof(*made));
	if (link(other, path) && errno != EEXIST)
		trace("%s: %s", path, strerror(errno));
	unlink(other);
}

int host_open(void)
{
	char path[PATH_LENGTH];
	struct host *opened;

	if (__atomic_load_n(&host, __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&open_lock);
	host_file(path, "hv");
	opened = host ? host : map_host(path, 0);
	if (!opened && errno == ENOENT) {
		create_host(path);
		opened = map_host(path, 0);
	}
	if (opened && opened->magic != MAGIC) {
		munmap(opened, sizeof(*opened));
		opened = NULL;
		errno = EPROTO;
	}
	__atomic_store_n(&host, opened, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&open_lock);
	return opened ? 0 : -1;
}

/* Only after host_open(): whoever has a device open has done that. */
void host_lock(void)
{
	if (pthread_mutex_lock(&host->lock) == EOWNERDEAD)
		pthread_mutex_consistent(&host->lock);
}

void host_unlock(void)
{
	pthread_mutex_unlock(&host->lock);
}

/* --------------------------------------------------------------------------------------------------------- events */

int poke_open(void)
{
	char path[PATH_LENGTH];

	host_file(path, "poke");
	/* for writing too: then writing never raises SIGPIPE, and a FIFO without writers does not look ended */
	return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

void event_add(enum event_kind kind, unsigned int domid, unsigned int argument)
{
	int saved = errno, fd;

	host->event[host->event_count++ % EVENTS] = (struct event){ kind, domid, argument };
	fd = poke_open();
	if (fd >= 0) {
		if (write(fd, "", 1) < 0)	/* full: it is readable already */
			errno = saved;
		close(fd);
	}
	errno = saved;
}

/* -------------------------------------------------------------------------------------------------------- domains */

unsigned int domain_id(const struct domain *d)
{
	return d - host->domain;
}

struct domain *domain_find(unsigned int domid)
{
	if (domid == DOMID_SELF)
		domid = 0;
	if (domid >= DOMAINS || !(host->used[domid / 64] >> (domid % 64) & 1))
		return NULL;
	return &host->domain[domid];
}

unsigned int domain_next(unsigned int domid)
{
	for (unsigned int word = domid / 64; word < sizeof(host->used) / 8; word++) {
		uint64_t bits = host->used[word];

		if (word == domid / 64)
			bits &= ~0UL << (domid % 64);
		if (bits)
			return word * 64 + __builtin_ctzl(bits);
	}
	return DOMAINS;
}

static unsigned int free_domid(void)
{
	for (unsigned int tries = 1; tries < DOMAINS; tries++) {
		unsigned int domid = host->next_domid;

		host->next_domid = domid + 1 < DOMAINS ? domid + 1 : 1;
		if (!domain_find(domid))
			return domid;
	}
	return 0;
}

int domain_create(unsigned int *domid, bool hvm)
{
	unsigned int id = *domid && *domid < DOMAINS ? *domid : free_domid();
	struct domain *d = &host->domain[id];

	if (!id)
		return -ENOMEM;
	if (domain_find(id))
		return -EEXIST;
	if (memory_create(id))
		return -ENOMEM;
	memset(d, 0, sizeof(*d));
	d->hvm = hvm;
	d->pause = 1;
	d->next_port = 1;
	d->weight = 256;
	d->store_gfn = 1;
	d->console_gfn = 2;
	memset(d->hard, 0xff, sizeof(d->hard));
	memset(d->soft, 0xff, sizeof(d->soft));
	host->used[id / 64] |= 1UL << (id % 64);
	*domid = id;
	event_add(CREATED, id, 0);
	return 0;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000UL + t.tv_nsec;
}

bool domain_runs(const struct domain *d)
{
	return !d->pause && !d->shutdown && !d->dying;
}

/* To be called after whatever may stop it or let it run. */
static void account(struct domain *d)
{
	uint64_t t = now();

	if (d->running_since)
		d->ran_ns += t - d->running_since;
	d->running_since = domain_runs(d) ? t : 0;
}

/* A domain that ever ran has booted, which takes a moment; afterwards it is nearly idle. */
uint64_t domain_cpu_time(const struct domain *d)
{
	uint64_t ran = d->ran_ns + (d->running_since ? now() - d->running_since : 0);

	return d->started ? 100000000UL + ran / 100 : 0;
}

void domain_pause(struct domain *d)
{
	if (!d->pause++)
		event_add(PAUSED, domain_id(d), 0);
	account(d);
}

void domain_unpause(struct domain *d)
{
	if (!d->pause || --d->pause)
		return;
	if (!d->started) {
		d->started = 1;
		d->online_vcpus = d->max_vcpus;
		memory_forget_image(d);
	}
	account(d);
	event_add(UNPAUSED, domain_id(d), 0);
}

void domain_shutdown(struct domain *d, unsigned int reason)
{
	if (d->shutdown)
		return;
	d->shutdown = 1;
	d->reason = reason;
	account(d);
	event_add(SHUTDOWN, domain_id(d), reason);
}

void domain_resume(struct domain *d)
{
	if (!d->shutdown)
		return;
	d->shutdown = 0;
	account(d);
	if (!d->pause)
		event_add(UNPAUSED, domain_id(d), 0);
}

/*
 * A domain stays while somebody holds pages of it. A device model's domain is held by its guest: the pages of the ioreq
 * server (xen/common/ioreq.c, s->emulator). So it is listed, dying and without a name, until the guest is gone.
 */
static bool is_held(const struct domain *d)
{
	return d->held || (d->started && d->target && domain_find(d->target));
}

static void reap(struct domain *d)
{
	unsigned int id = domain_id(d), other;

	host->used[id / 64] &= ~(1UL << (id % 64));
	event_add(REAPED, id, 0);
	for_each_domain(other) {
		struct domain *model = &host->domain[other];

		if (model->target == id && model->dying && !is_held(model))
			reap(model);
	}
}

void domain_destroy(struct domain *d)
{
	unsigned int id = domain_id(d);

	if (!d->dying) {
		d->dying = 1;
		d->introduced = 0;
		account(d);
		memory_claim(d, 0);
		memory_give(d, d->tot_pages);
		memory_unlink(id);
		event_add(DESTROYED, id, 0);
	}
	if (!is_held(d))
		reap(d);
}

void domain_hold(struct domain *d, bool held)
{
	d->held = held;
	if (d->dying && !is_held(d))
		reap(d);
}
