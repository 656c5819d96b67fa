/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * /dev/xen/evtchn: xen/sys/evtchn.h (Linux's include/uapi/xen/evtchn.h, drivers/xen/evtchn.c). The program has one end of
 * a socket pair: it reads the numbers of ports that have an event from it and writes back those to unmask.
 *
 * Events come from one process, the store's: those of guests' rings and VIRQ_DOM_EXC to itself, those of guests' consoles to
 * xenconsoled. In no other is there a thread. Which process is the store's? The one that binds a channel to domain 0, for
 * domain 0's own ring: xenstored's dom0_init(), oxenstored's Domains.create0.
 */
#include "xenfake.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <xen/sys/evtchn.h>

enum port_type { UNUSED, VIRQ, INTERDOMAIN, UNBOUND };
struct port {
	enum port_type type;
	bool pending, again;		/* told and not unmasked yet; and one more since */
	unsigned int virq;
	struct guest *guest;
};

struct evtchn {
	struct source source;		/* our end; ->ready set: the pump has it */
	int program_fd;
	bool dead, armed;
	struct port *port;		/* [0] is not used */
	unsigned int ports;
	struct buffer queue;		/* numbers that wait to be read */
	struct evtchn *next;
};
static struct evtchn *devices;		/* under pump_lock */
bool is_store;

static int fail(int error)
{
	errno = error;
	return -1;
}

static struct port *port_of(struct evtchn *device, unsigned int number)
{
	return number < device->ports && device->port[number].type != UNUSED ? &device->port[number] : NULL;
}

/* --------------------------------------------------------------------------------------- events, in the store's process */

static void flush(struct evtchn *device)
{
	bool more = false;

	while (device->queue.length && !more) {
		more = send(device->source.fd, device->queue.data, 4, MSG_DONTWAIT | MSG_NOSIGNAL) != 4;
		if (!more)
			buffer_drop(&device->queue, 4);
	}
	if (more != device->armed) {
		device->armed = more;
		pump_watch(&device->source, EPOLL_CTL_MOD, EPOLLIN | (more ? EPOLLOUT : 0));
	}
}

void evtchn_raise(struct evtchn *device, unsigned int number)
{
	struct port *port = port_of(device, number);
	uint32_t told = number;

	if (device->dead || !port)
		return;
	if (port->pending) {
		port->again = true;
		return;
	}
	port->pending = true;
	buffer_add(&device->queue, &told, sizeof(told));
	flush(device);
}

void evtchn_raise_virq(unsigned int virq)
{
	for (struct evtchn *device = devices; device; device = device->next)
		for (unsigned int i = 1; i < device->ports; i++)
			if (device->port[i].type == VIRQ && device->port[i].virq == virq)
				evtchn_raise(device, i);
}

static void unmask(struct evtchn *device, unsigned int number)
{
	struct port *port = port_of(device, number);

	if (!port)
		return;
	port->pending = false;
	if (port->again) {
		port->again = false;
		evtchn_raise(device, number);
	}
}

static void ready(struct source *source, uint32_t events)
{
	struct evtchn *device = (struct evtchn *)source;
	uint32_t number;
	ssize_t got;

	(void)events;
	while ((got = recv(source->fd, &number, 4, MSG_DONTWAIT)) == 4)
		unmask(device, number);
	if (got == 0) {
		device->dead = true;
		pump_watch(source, EPOLL_CTL_DEL, 0);
	} else {
		flush(device);
	}
}

static void become_store(struct evtchn *device)
{
	if (device->source.ready)
		return;
	is_store = true;
	pump_start();
	device->source.ready = ready;
	pump_watch(&device->source, EPOLL_CTL_ADD, EPOLLIN);
}

/* ---------------------------------------------------------------------------------- channels of other processes' devices */

/* xenconsoled has bound one to each guest. It passes its device's other end to the pump, which can then send events. */
struct channel {
	struct source source;
	unsigned int domid;
	uint32_t port;		/* its number in that process */
	struct channel *next;
};
static struct channel *channels;	/* under pump_lock */

/* Numbers to unmask are of no interest; the end means that the device was closed. */
static void channel_ready(struct source *source, uint32_t events)
{
	uint32_t number;
	ssize_t got;

	(void)events;
	while ((got = recv(source->fd, &number, 4, MSG_DONTWAIT)) > 0)
		;
	if (got < 0)
		return;
	for (struct channel **at = &channels; *at; at = &(*at)->next)
		if (&(*at)->source == source) {
			*at = (*at)->next;
			break;
		}
	pump_watch(source, EPOLL_CTL_DEL, 0);
	close(source->fd);
	free(source);		/* its first member; epoll tells of it once per round */
}

void channel_add(unsigned int domid, uint32_t port, int fd)
{
	struct channel *channel = malloc(sizeof(*channel));

	if (!channel)
		abort();
	*channel = (struct channel){ { channel_ready, fd }, domid, port, channels };
	channels = channel;
	pump_watch(&channel->source, EPOLL_CTL_ADD, EPOLLIN);
}

void channels_raise(unsigned int domid)
{
	for (struct channel *channel = channels; channel; channel = channel->next)
		if (channel->domid == domid && send(channel->source.fd, &channel->port, 4, MSG_DONTWAIT | MSG_NOSIGNAL) != 4)
			trace("an event for a channel of domain %u is lost: %s", domid, strerror(errno));
}

/* ------------------------------------------------------------------------------------------------------- the device */

int evtchn_open(int flags)
{
	struct evtchn *device = calloc(1, sizeof(*device));
	int pair[2];

	if (!device || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		free(device);
		return -1;
	}
	if (!(flags & O_CLOEXEC))
		fcntl(pair[0], F_SETFD, 0);
	if (flags & O_NONBLOCK)
		fcntl(pair[0], F_SETFL, O_NONBLOCK);
	device->program_fd = pair[0];
	device->source.fd = pair[1];
	pthread_mutex_lock(&pump_lock);
	device->next = devices;
	devices = device;
	pthread_mutex_unlock(&pump_lock);
	return pair[0];
}

/* The pump sees by itself that its end is alone; where there is no pump the device goes at once. */
void evtchn_close(int fd)
{
	pthread_mutex_lock(&pump_lock);
	for (struct evtchn **at = &devices, *device; (device = *at); at = &device->next) {
		if (device->program_fd != fd || device->source.ready)
			continue;
		*at = device->next;
		close(device->source.fd);
		free(device->port);
		free(device->queue.data);
		free(device);
		break;
	}
	pthread_mutex_unlock(&pump_lock);
}

static int new_port(struct evtchn *device, enum port_type type)
{
	unsigned int i, more = device->ports ? device->ports * 2 : 16;
	struct port *grown;

	for (i = 1; i < device->ports; i++)
		if (device->port[i].type == UNUSED)
			break;
	if (i >= device->ports) {
		grown = realloc(device->port, more * sizeof(*grown));
		if (!grown)
			return fail(ENOMEM);
		memset(grown + device->ports, 0, (more - device->ports) * sizeof(*grown));
		i = device->ports ? device->ports : 1;
		device->port = grown;
		device->ports = more;
	}
	device->port[i] = (struct port){ .type = type };
	return i;
}

static int bind_interdomain(struct evtchn *device, const struct ioctl_evtchn_bind_interdomain *wanted)
{
	struct domain *d;
	bool possible;
	int port;

	host_lock();
	d = domain_find(wanted->remote_domain);
	possible = d && !d->dying && wanted->remote_port;
	host_unlock();
	if (!possible)
		return fail(d ? EINVAL : ESRCH);
	if (wanted->remote_domain == 0)
		become_store(device);
	port = new_port(device, INTERDOMAIN);
	if (port > 0 && !is_store)
		control_pass_channel(wanted->remote_domain, port, device->source.fd);
	if (port > 0 && is_store) {
		device->port[port].guest = guest_new(device, wanted->remote_domain, port);
		if (!device->port[port].guest) {
			device->port[port].type = UNUSED;
			return -1;
		}
	}
	return port;
}

static int bind_virq(struct evtchn *device, const struct ioctl_evtchn_bind_virq *wanted)
{
	int port = new_port(device, VIRQ);

	if (port > 0)
		device->port[port].virq = wanted->virq;
	return port;
}

static int unbind(struct port *port)
{
	if (!port)
		return fail(EINVAL);
	if (port->guest)
		guest_leave(port->guest);
	*port = (struct port){ .type = UNUSED };
	return 0;
}

static int notify(const struct port *port)
{
	if (!port)
		return fail(EINVAL);
	if (port->guest)
		guest_kick(port->guest);
	return 0;
}

static int dispatch(struct evtchn *device, unsigned long command, void *argument)
{
	switch (command) {
	case IOCTL_EVTCHN_BIND_VIRQ: return bind_virq(device, argument);
	case IOCTL_EVTCHN_BIND_INTERDOMAIN: return bind_interdomain(device, argument);
	case IOCTL_EVTCHN_BIND_UNBOUND_PORT: return new_port(device, UNBOUND);
	case IOCTL_EVTCHN_UNBIND: return unbind(port_of(device, ((struct ioctl_evtchn_unbind *)argument)->port));
	case IOCTL_EVTCHN_NOTIFY: return notify(port_of(device, ((struct ioctl_evtchn_notify *)argument)->port));
	case IOCTL_EVTCHN_RESET:
	case IOCTL_EVTCHN_RESTRICT_DOMID: return 0;
	}
	trace("evtchn ioctl %#lx is not known", command);
	return fail(ENOTTY);
}

int evtchn_ioctl(int fd, unsigned long command, void *argument)
{
	struct evtchn *device;
	int rc;

	pthread_mutex_lock(&pump_lock);
	for (device = devices; device && (device->program_fd != fd || device->dead); device = device->next)
		;
	rc = device ? dispatch(device, command, argument) : fail(EBADF);
	pthread_mutex_unlock(&pump_lock);
	return rc;
}
