/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The functions of the C library that this library takes the place of, in every process of the host: what names a file
 * (Xen's are in the state directory), ioctl() and mmap() of Xen's devices. Everything else is passed on as it is, after
 * a look at a path's first letters or at a table of descriptors; nothing is opened, started or printed before a program
 * touches something of Xen. Interface: glibc's fcntl.h, sys/stat.h, sys/ioctl.h, sys/mman.h, dirent.h, both the plain names
 * and those for 64-bit offsets; and one function of libxenctrl, at the end.
 */
#include "xenfake.h"
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* The function that this library hides. Found when first needed: other libraries' constructors come before any here. */
#define NEXT(name) ({							\
	static typeof(name) *found;					\
	typeof(name) *next = __atomic_load_n(&found, __ATOMIC_RELAXED);	\
	if (!next) {							\
		next = (typeof(name) *)dlsym(RTLD_NEXT, #name);		\
		__atomic_store_n(&found, next, __ATOMIC_RELAXED);	\
	}								\
	next; })

/* ---------------------------------------------------------------------------------------------------------- paths */

static const char *const prefixes[] = { "/proc/xen", "/dev/xen", "/sys/hypervisor" };

/* path, or where in the state directory it is */
static const char *located(const char *path, char *buffer)
{
	int saved = errno;

	if (!path || path[0] != '/')
		return path;
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		size_t length = strlen(prefixes[i]);

		if (strncmp(path, prefixes[i], length) || (path[length] && path[length] != '/'))
			continue;
		host_open();		/* makes the files, the first time */
		errno = saved;
		return host_file(buffer, path + 1) ? path : buffer;
	}
	return path;
}

enum device { NO_DEVICE, PRIVCMD, EVTCHN, GNTDEV };
#define DESCRIPTORS 65536
static unsigned char devices[DESCRIPTORS];	/* by descriptor */

static enum device device_of(int fd)
{
	return fd >= 0 && fd < DESCRIPTORS ? devices[fd] : NO_DEVICE;
}

static int opened(int fd, enum device device)
{
	if (fd >= 0 && fd < DESCRIPTORS)
		devices[fd] = device;
	return fd;
}

static enum device device_named(const char *path)
{
	static const struct { const char *path; enum device device; } named[] = {
		{ "/dev/xen/privcmd", PRIVCMD }, { "/proc/xen/privcmd", PRIVCMD },
		{ "/dev/xen/evtchn", EVTCHN }, { "/dev/xen/gntdev", GNTDEV },
	};

	for (size_t i = 0; i < sizeof(named) / sizeof(*named); i++)
		if (!strcmp(path, named[i].path))
			return named[i].device;
	return NO_DEVICE;
}

static int open_any(int directory, const char *path, int flags, mode_t mode)
{
	char buffer[PATH_LENGTH];
	const char *where = located(path, buffer);
	enum device device;

	if (where == path)
		return opened(NEXT(openat64)(directory, path, flags, mode), NO_DEVICE);
	device = flags & O_PATH ? NO_DEVICE : device_named(path);
	if (device && host_open())
		return -1;
	if (device == EVTCHN)
		return opened(evtchn_open(flags), EVTCHN);
	return opened(NEXT(openat64)(directory, where, flags, mode), device);
}

#define MODE(flags) ({							\
	mode_t mode = 0;						\
	if (flags & (O_CREAT | __O_TMPFILE)) {				\
		va_list arguments;					\
		va_start(arguments, flags);				\
		mode = va_arg(arguments, mode_t);			\
		va_end(arguments);					\
	}								\
	mode; })

EXPORT int open(const char *path, int flags, ...)
{
	return open_any(AT_FDCWD, path, flags, MODE(flags));
}

EXPORT int open64(const char *path, int flags, ...)
{
	return open_any(AT_FDCWD, path, flags | O_LARGEFILE, MODE(flags));
}

EXPORT int openat(int directory, const char *path, int flags, ...)
{
	return open_any(directory, path, flags, MODE(flags));
}

EXPORT int openat64(int directory, const char *path, int flags, ...)
{
	return open_any(directory, path, flags | O_LARGEFILE, MODE(flags));
}

/* What _FORTIFY_SOURCE makes of open(path, flags). */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int directory, const char *path, int flags);
int __openat64_2(int directory, const char *path, int flags);

EXPORT int __open_2(const char *path, int flags)
{
	return open_any(AT_FDCWD, path, flags, 0);
}

EXPORT int __open64_2(const char *path, int flags)
{
	return open_any(AT_FDCWD, path, flags, 0);
}

EXPORT int __openat_2(int directory, const char *path, int flags)
{
	return open_any(directory, path, flags, 0);
}

EXPORT int __openat64_2(int directory, const char *path, int flags)
{
	return open_any(directory, path, flags, 0);
}

/* Functions that only need the path changed: type name(parameters), and the call with the changed path as `where` */
#define PASS(type, name, parameters, arguments)				\
EXPORT type name parameters						\
{									\
	char buffer[PATH_LENGTH];					\
	const char *where = located(path, buffer);			\
									\
	return NEXT(name) arguments;					\
}

PASS(FILE *, fopen, (const char *path, const char *mode), (where, mode))
PASS(FILE *, fopen64, (const char *path, const char *mode), (where, mode))
PASS(DIR *, opendir, (const char *path), (where))
PASS(int, access, (const char *path, int mode), (where, mode))
PASS(int, euidaccess, (const char *path, int mode), (where, mode))
PASS(int, eaccess, (const char *path, int mode), (where, mode))
PASS(int, faccessat, (int fd, const char *path, int mode, int flags), (fd, where, mode, flags))
PASS(int, stat, (const char *path, struct stat *buf), (where, buf))
PASS(int, stat64, (const char *path, struct stat64 *buf), (where, buf))
PASS(int, lstat, (const char *path, struct stat *buf), (where, buf))
PASS(int, lstat64, (const char *path, struct stat64 *buf), (where, buf))
PASS(int, fstatat, (int fd, const char *path, struct stat *buf, int flags), (fd, where, buf, flags))
PASS(int, fstatat64, (int fd, const char *path, struct stat64 *buf, int flags), (fd, where, buf, flags))
PASS(ssize_t, readlink, (const char *path, char *text, size_t size), (where, text, size))
PASS(ssize_t, getxattr, (const char *path, const char *name, void *value, size_t size), (where, name, value, size))
PASS(ssize_t, lgetxattr, (const char *path, const char *name, void *value, size_t size), (where, name, value, size))
PASS(int, statx, (int fd, const char *path, int flags, unsigned int mask, struct statx *buf), (fd, where, flags, mask, buf))

/* ---------------------------------------------------------------------------------------------------- descriptors */

EXPORT int close(int fd)
{
	if (device_of(fd) == EVTCHN)
		evtchn_close(fd);
	opened(fd, NO_DEVICE);
	return NEXT(close)(fd);
}

EXPORT int ioctl(int fd, unsigned long command, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, command);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	switch (device_of(fd)) {
	case PRIVCMD: return privcmd_ioctl(command, argument);
	case EVTCHN: return evtchn_ioctl(fd, command, argument);
	case GNTDEV: return gntdev_ioctl(command, argument);
	case NO_DEVICE: break;
	}
	return NEXT(ioctl)(fd, command, argument);
}

static void *map_any(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
	switch (device_of(fd)) {
	case PRIVCMD:		/* room, in which MMAPBATCH then puts pages */
		return NEXT(mmap64)(at, length, protection, (flags & ~MAP_SHARED) | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	case GNTDEV:
		return gntdev_map(at, length, protection, offset);
	default:		/* libxencall wants its buffers locked: more than a container's RLIMIT_MEMLOCK allows */
		return NEXT(mmap64)(at, length, protection, flags & MAP_ANONYMOUS ? flags & ~MAP_LOCKED : flags, fd, offset);
	}
}

EXPORT void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
	return map_any(at, length, protection, flags, fd, offset);
}

EXPORT void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset)
{
	return map_any(at, length, protection, flags, fd, offset);
}

/* ---------------------------------------------------------------------------------------------------------- other */

/* oxenstored insists on more descriptors; root in a container may not have them (CAP_SYS_RESOURCE). */
EXPORT int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
	int rc = NEXT(setrlimit64)(resource, limit);

	return rc && errno == EPERM && (int)resource == RLIMIT_NOFILE ? 0 : rc;
}

EXPORT int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	return setrlimit64(resource, (const struct rlimit64 *)limit);
}

/* tools/libs/guest/xg_cpuid_x86.c: CPUID policies are not simulated, so libxl's builder finds its one call a success. */
int xc_cpuid_apply_policy(void);
EXPORT int xc_cpuid_apply_policy(void)
{
	return 0;
}
