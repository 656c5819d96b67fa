/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The one thread, in the store's process: it waits for the guests' sockets, the control socket, the event channel device
 * and the poke that tells of new events, and lets whoever they belong to work. pump_lock is held while it does. Stands in
 * for nothing of Xen.
 */
#include "xenfake.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

pthread_mutex_t pump_lock = PTHREAD_MUTEX_INITIALIZER;
static int epoll_fd = -1;

/* -------------------------------------------------------------------------------------------------------- buffers */

void buffer_add(struct buffer *buffer, const void *data, size_t length)
{
	if (!length)
		return;
	if (buffer->length + length > buffer->size) {
		buffer->size = (buffer->length + length) * 2;
		buffer->data = realloc(buffer->data, buffer->size);
		if (!buffer->data)
			abort();
	}
	memcpy(buffer->data + buffer->length, data, length);
	buffer->length += length;
}

void buffer_drop(struct buffer *buffer, size_t length)
{
	if (!length)
		return;
	buffer->length -= length;
	memmove(buffer->data, buffer->data + length, buffer->length);
}

bool buffer_send(struct buffer *buffer, int fd)
{
	ssize_t sent;

	while (buffer->length) {
		sent = send(fd, buffer->data, buffer->length, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent <= 0)
			return true;
		buffer_drop(buffer, sent);
	}
	return false;
}

/* -------------------------------------------------------------------------------------------------------- the loop */

int listen_at(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char path[PATH_LENGTH];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	host_file(path, name);
	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s", path) >= (int)sizeof(address.sun_path)) {
		trace("%s: too long for a socket", path);
		close(fd);
		return -1;
	}
	unlink(path);
	if (!bind(fd, (struct sockaddr *)&address, sizeof(address)) && !listen(fd, 64))
		return fd;
	trace("%s: %s", path, strerror(errno));
	close(fd);
	return -1;
}

void pump_watch(struct source *source, int operation, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	epoll_ctl(epoll_fd, operation, source->fd, &event);
}

static void kicked(struct source *source, uint32_t events)
{
	uint64_t count;

	(void)events;
	if (read(source->fd, &count, sizeof(count)) < 0)
		errno = 0;
}

static struct source kick = { kicked, -1 };

void pump_kick(void)
{
	uint64_t one = 1;

	if (write(kick.fd, &one, sizeof(one)) < 0)	/* full: it is readable already */
		errno = 0;
}

static void *run(void *unused)
{
	struct epoll_event events[64];

	(void)unused;
	for (;;) {
		int count = epoll_wait(epoll_fd, events, 64, -1);

		pthread_mutex_lock(&pump_lock);
		for (int i = 0; i < count; i++) {
			struct source *source = events[i].data.ptr;

			source->ready(source, events[i].events);
		}
		control_work();
		guests_work();
		pthread_mutex_unlock(&pump_lock);
	}
	return NULL;
}

/* No signal of the program's shall come to this thread. */
void pump_start(void)
{
	sigset_t all, before;
	pthread_t thread;

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	kick.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pump_watch(&kick, EPOLL_CTL_ADD, EPOLLIN);
	control_start();
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, run, NULL))
		abort();
	pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
