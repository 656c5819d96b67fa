/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A world of files for the back end, in the current directory: store/ has a file for each node of xenstore, home/ being this
 * domain's own; page-DOMID-RING is a page; the FIFOs are what wakes whom:
 *   store-changed     the back end, when the test has changed nodes, or the back end itself has
 *   back-changed      the test, when the back end has
 *   to-back           the back end's event channel
 *   channel-DOMID-PORT  a guest's
 */
#define _XOPEN_SOURCE 700
#include "exchange.h"
#include "front.h"
#include "say.h"
#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int store_changed, back_changed, to_back, to_guest = -1;

static const char *file(const char *path)
{
	static char name[256];

	snprintf(name, sizeof(name), path[0] == '/' ? "store%s" : "store/home/%s", path);
	return name;
}

static int fifo(const char *name)
{
	int fd = open(name, O_RDWR | O_NONBLOCK);

	if (fd < 0)
		fail("%s: %s", name, strerror(errno));
	return fd;
}

static void wake(int fd)
{
	/* a full FIFO has woken already */
	(void)!write(fd, "x", 1);
}

static void drain(int fd)
{
	char bytes[256];

	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
}

void world_open(void)
{
	store_changed = fifo("store-changed");
	back_changed = fifo("back-changed");
	to_back = fifo("to-back");
}

bool store_read(const char *path, char *text, size_t size)
{
	int fd = open(file(path), O_RDONLY);
	ssize_t count;

	if (fd < 0)
		return false;
	count = read(fd, text, size);
	close(fd);
	if (count < 0 || (size_t)count >= size || memchr(text, 0, (size_t)count))
		return false;
	text[count] = 0;
	return true;
}

void store_write(const char *path, const char *text)
{
	int fd = open("new", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	/* at once or not at all, and not where there is no directory */
	(void)!write(fd, text, strlen(text));
	close(fd);
	(void)!rename("new", file(path));
	wake(store_changed);
	wake(back_changed);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
	(void)status, (void)type, (void)place;
	return remove(path);
}

void store_remove(const char *path)
{
	nftw(file(path), remove_one, 4, FTW_DEPTH | FTW_PHYS);
	wake(store_changed);
	wake(back_changed);
}

unsigned int store_numbers(const char *path, unsigned int *numbers, unsigned int most)
{
	DIR *directory = opendir(file(path));
	unsigned int count = 0;
	struct dirent *entry;

	if (!directory)
		return 0;
	while (count < most && (entry = readdir(directory)))
		if (number(entry->d_name, UINT32_MAX, &numbers[count]))
			count++;
	closedir(directory);
	return count;
}

void store_watch(const char *path)
{
	(void)path;
}

void store_unwatch(const char *path)
{
	(void)path;
}

int store_fd(void)
{
	return store_changed;
}

void store_take_events(void)
{
	drain(store_changed);
}

volatile uint8_t *page_map(unsigned int domid, unsigned int ring)
{
	char name[64];
	void *page;
	int fd;

	snprintf(name, sizeof(name), "page-%u-%u", domid, ring);
	fd = open(name, O_RDWR);
	page = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return page == MAP_FAILED ? NULL : page;
}

void page_unmap(volatile uint8_t *page)
{
	munmap((void *)page, PAGE_BYTES);
}

bool channel_bind(unsigned int domid, unsigned int port)
{
	char name[64];

	snprintf(name, sizeof(name), "channel-%u-%u", domid, port);
	to_guest = open(name, O_RDWR | O_NONBLOCK);
	return to_guest >= 0;
}

void channel_unbind(void)
{
	close(to_guest);
	to_guest = -1;
}

void channel_notify(void)
{
	wake(to_guest);
}

int channel_fd(void)
{
	return to_back;
}

void channel_take_events(void)
{
	drain(to_back);
}
