/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The control socket `ctl`, by which a test or the guest side acts on the hypervisor, and learns what happens to domains
 * without asking again and again. Stands in for nothing of Xen. A command is a line, its answer a line, "ok ..." or
 * "error ..."; the table of commands is at the end of this file and, explained, in README.md.
 */
#include "xenfake.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <xen/grant_table.h>
#include <xen/io/console.h>

struct connection {
	struct source source;
	bool dead, armed, subscribed;
	int passed;			/* a descriptor that came with a line, or -1 */
	struct buffer in, out;
	struct connection *next;
};

struct command {
	const char *argument[3];	/* never NULL */
	const char *text;		/* all after the first of them */
	unsigned int domid;
	struct domain *domain;
	struct connection *from;
	char answer[256];
};

static struct connection *connections;
static uint64_t events_told;

/* --------------------------------------------------------------------------------------------------------- events */

static void tell(struct connection *connection, const char *line)
{
	buffer_add(&connection->out, line, strlen(line));
}

/* XEN_DOMCTL_SENDTRIGGER_* */
static const char *const trigger_names[] = { "nmi", "reset", "init", "power", "sleep" };
#define TRIGGERS (sizeof(trigger_names) / sizeof(*trigger_names))

/* "event NAME DOMID [ARGUMENT]"; REAPED has no name, it concerns the store alone */
static bool event_line(char *line, size_t size, struct event event)
{
	static const char *const names[] = {
		[CREATED] = "created", [INTRODUCED] = "introduced", [PAUSED] = "paused", [UNPAUSED] = "unpaused",
		[SHUTDOWN] = "shutdown", [DESTROYED] = "destroyed", [TRIGGER] = "trigger",
	};
	char argument[16] = "";

	if (event.kind >= sizeof(names) / sizeof(*names))
		return false;
	if (event.kind == SHUTDOWN)
		snprintf(argument, sizeof(argument), " %u", event.argument);
	else if (event.kind == TRIGGER)
		snprintf(argument, sizeof(argument), " %s", event.argument < TRIGGERS ? trigger_names[event.argument] : "unknown");
	snprintf(line, size, "event %s %u%s\n", names[event.kind], event.domid, argument);
	return true;
}

static void tell_event(struct connection *connection, enum event_kind kind, unsigned int domid, uint32_t argument)
{
	char line[64];

	if (event_line(line, sizeof(line), (struct event){ kind, domid, argument }))
		tell(connection, line);
}

static bool concerns_store(enum event_kind kind)
{
	return kind == SHUTDOWN || kind == DESTROYED || kind == REAPED;
}

/* All that happened since the last time, to every subscriber, and VIRQ_DOM_EXC to the store. */
static void tell_events(void)
{
	bool virq = false;

	if (host->event_count - events_told > EVENTS) {
		for (struct connection *connection = connections; connection; connection = connection->next)
			if (connection->subscribed)
				tell(connection, "event lost\n");
		events_told = host->event_count - EVENTS;
		virq = true;
	}
	for (; events_told < host->event_count; events_told++) {
		struct event event = host->event[events_told % EVENTS];

		virq |= concerns_store(event.kind);
		for (struct connection *connection = connections; connection; connection = connection->next)
			if (connection->subscribed)
				tell_event(connection, event.kind, event.domid, event.argument);
	}
	if (virq)
		evtchn_raise_virq(VIRQ_DOM_EXC);
}

static void poked(struct source *source, uint32_t events)
{
	char bytes[4096];

	(void)events;
	while (read(source->fd, bytes, sizeof(bytes)) == sizeof(bytes))
		;
	host_lock();
	tell_events();
	host_unlock();
}

static struct source poke = { poked, -1 };

/* ------------------------------------------------------------------------------------------------------- commands */

typedef int run_command(struct command *command);	/* 0 or -errno */

static unsigned long number(const char *text)
{
	return strtoul(text, NULL, 0);
}

static int create(struct command *command)
{
	unsigned int domid = command->domid;
	bool pv = !strcmp(command->argument[1], "pv");
	int rc = domain_create(&domid, !pv);
	struct domain *d;

	if (rc)
		return rc;
	d = domain_find(domid);
	d->max_vcpus = d->online_vcpus = 1;
	d->max_pages = 128 * MIB_PAGES;
	memory_take(d, memory_available(d));
	domain_unpause(d);
	snprintf(command->answer, sizeof(command->answer), "ok %u\n", domid);
	return 0;
}

static int destroy(struct command *command)
{
	domain_destroy(command->domain);
	return 0;
}

static int hold(struct command *command)
{
	domain_hold(command->domain, number(command->argument[1]));
	return 0;
}

static int shutdown_domain(struct command *command)
{
	domain_shutdown(command->domain, number(command->argument[1]));
	return 0;
}

static int pause_domain(struct command *command)
{
	domain_pause(command->domain);
	return 0;
}

static int unpause(struct command *command)
{
	domain_unpause(command->domain);
	return 0;
}

static int info(struct command *command)
{
	const struct domain *d = command->domain;

	snprintf(command->answer, sizeof(command->answer), "ok pause=%u shutdown=%u reason=%u dying=%u started=%u introduced=%u "
		 "target=%u memory=%" PRIu64 " max_memory=%" PRIu64 " vcpus=%u max_vcpus=%u\n", d->pause, d->shutdown, d->reason,
		 d->dying, d->started, d->introduced, d->target, d->tot_pages * 4, d->max_pages * 4, d->online_vcpus, d->max_vcpus);
	return 0;
}

/* What a balloon driver does: as much of it as can be had. */
static int populate(struct command *command)
{
	struct domain *d = command->domain;
	uint64_t wanted = number(command->argument[1]) / 4, available = memory_available(d);

	if (wanted < d->tot_pages)
		memory_give(d, d->tot_pages - wanted);
	else
		memory_take(d, wanted - d->tot_pages < available ? wanted - d->tot_pages : available);
	snprintf(command->answer, sizeof(command->answer), "ok %" PRIu64 "\n", d->tot_pages * 4);
	return 0;
}

static int vcpus(struct command *command)
{
	unsigned long count = number(command->argument[1]);

	if (!count || count > command->domain->max_vcpus)
		return -EINVAL;
	command->domain->online_vcpus = count;
	return 0;
}

static int trigger(struct command *command)
{
	for (unsigned int i = 0; i < TRIGGERS; i++) {
		if (strcmp(trigger_names[i], command->argument[1]))
			continue;
		event_add(TRIGGER, command->domid, i);
		return 0;
	}
	return -EINVAL;
}

static int hvm_parameter(struct command *command)
{
	unsigned long index = number(command->argument[1]);

	if (index >= HVM_NR_PARAMS)
		return -EINVAL;
	command->domain->hvm_param[index] = number(command->argument[2]);
	return 0;
}

/* As a guest's kernel prints, drivers/tty/hvc/hvc_xen.c; what does not fit is lost. */
static void print(struct xencons_interface *ring, const char *text)
{
	uint32_t produced = ring->out_prod, consumed = __atomic_load_n(&ring->out_cons, __ATOMIC_ACQUIRE);

	for (; *text && produced - consumed < sizeof(ring->out); text++)
		ring->out[produced++ % sizeof(ring->out)] = *text;
	__atomic_store_n(&ring->out_prod, produced, __ATOMIC_SEQ_CST);
}

static int console(struct command *command)
{
	uint64_t gfn = grant_gfn(command->domain, GNTTAB_RESERVED_CONSOLE);
	struct xencons_interface *ring = memory_map(command->domid, gfn, 1, NULL, PROT_READ | PROT_WRITE);
	char line[1024];

	if (ring == MAP_FAILED)
		return -errno;
	snprintf(line, sizeof(line), "%s\r\n", command->text);
	print(ring, line);
	munmap(ring, PAGE);
	channels_raise(command->domid);
	return 0;
}

/* "channel N PORT", and the descriptor: from control_pass_channel() */
static int channel(struct command *command)
{
	if (command->from->passed < 0)
		return -EBADF;
	channel_add(command->domid, number(command->argument[1]), command->from->passed);
	command->from->passed = -1;
	return 0;
}

static int stall(struct command *command)
{
	return guest_stall(command->domid, number(command->argument[1]));
}

static int fail(struct command *command)
{
	int which = domctl_number(command->argument[0]);

	if (which < 0)
		return -EINVAL;
	host->fail_domctl = which;
	host->fail_errno = number(command->argument[1]);
	return 0;
}

static int fail_memory(struct command *command)
{
	bool off = !strcmp(command->argument[0], "off") || !*command->argument[0];

	host->fail_pages = off ? NO_LIMIT : number(command->argument[0]) * MIB_PAGES;
	return 0;
}

static int stat_command(struct command *command)
{
	struct traffic traffic = guests_traffic();

	snprintf(command->answer, sizeof(command->answer), "ok introduced %" PRIu64 " in %" PRIu64 " out %" PRIu64 "\n",
		 traffic.introduced, traffic.in, traffic.out);
	return 0;
}

/* The answer comes first, then what would have been told of the domains that are there. */
static int subscribe(struct command *command)
{
	struct connection *to = command->from;
	unsigned int domid;

	tell_events();		/* what is before this is in the replay */
	tell(to, "ok\n");
	command->answer[0] = 0;
	to->subscribed = true;
	for_each_domain(domid) {
		const struct domain *d = domain_find(domid);

		if (!domid || d->dying)
			continue;
		tell_event(to, CREATED, domid, 0);
		if (d->introduced)
			tell_event(to, INTRODUCED, domid, 0);
		if (!d->pause)
			tell_event(to, UNPAUSED, domid, 0);
		if (d->shutdown)
			tell_event(to, SHUTDOWN, domid, d->reason);
	}
	return 0;
}

enum { NO_DOMAIN, ANY_DOMAIN, GUEST };
static const struct {
	const char *name;
	run_command *run;
	int of;
} commands[] = {
	{ "create", create, NO_DOMAIN },
	{ "destroy", destroy, GUEST },
	{ "hold", hold, GUEST },
	{ "shutdown", shutdown_domain, GUEST },
	{ "pause", pause_domain, GUEST },
	{ "unpause", unpause, GUEST },
	{ "info", info, ANY_DOMAIN },
	{ "populate", populate, ANY_DOMAIN },
	{ "vcpus", vcpus, ANY_DOMAIN },
	{ "trigger", trigger, GUEST },
	{ "hvmparam", hvm_parameter, GUEST },
	{ "console", console, GUEST },
	{ "channel", channel, GUEST },
	{ "stall", stall, ANY_DOMAIN },
	{ "fail", fail, NO_DOMAIN },
	{ "fail_memory", fail_memory, NO_DOMAIN },
	{ "stat", stat_command, NO_DOMAIN },
	{ "subscribe", subscribe, NO_DOMAIN },
};

static int run_line(const char *name, struct command *command)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(commands[i].name, name))
			continue;
		if (commands[i].of != NO_DOMAIN && !command->domain)
			return -ESRCH;
		if (commands[i].of == GUEST && command->domain == domain_find(0))
			return -EPERM;
		return commands[i].run(command);
	}
	return -ENOSYS;
}

static void take_line(struct connection *connection, char *line)
{
	char name[32] = "", arguments[3][64] = { "" };
	struct command command = { .from = connection, .answer = "ok\n" };
	int rc, rest = strlen(line);

	sscanf(line, "%31s %63s %n%63s %63s", name, arguments[0], &rest, arguments[1], arguments[2]);
	command.text = line + rest;
	for (int i = 0; i < 3; i++)
		command.argument[i] = arguments[i];
	command.domid = number(arguments[0]);
	host_lock();
	command.domain = *arguments[0] ? domain_find(command.domid) : NULL;
	rc = run_line(name, &command);
	host_unlock();
	if (rc)
		snprintf(command.answer, sizeof(command.answer), "error %s\n", strerror(-rc));
	tell(connection, command.answer);
}

/* ---------------------------------------------------------------------------------------------------- connections */

static void take_lines(struct connection *connection)
{
	char *end;

	while (connection->in.length && (end = memchr(connection->in.data, '\n', connection->in.length))) {
		size_t length = end + 1 - connection->in.data;

		*end = 0;
		take_line(connection, connection->in.data);
		buffer_drop(&connection->in, length);
	}
}

union descriptor {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static ssize_t receive(struct connection *connection, char *data, size_t size)
{
	union descriptor passed = { .header = { .cmsg_len = 0 } };
	struct iovec vector = { data, size };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &passed, .msg_controllen = sizeof(passed) };
	ssize_t got = recvmsg(connection->source.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	if (header && header->cmsg_type == SCM_RIGHTS) {
		if (connection->passed >= 0)
			close(connection->passed);
		memcpy(&connection->passed, CMSG_DATA(header), sizeof(int));
	}
	return got;
}

static void connection_ready(struct source *source, uint32_t events)
{
	struct connection *connection = (struct connection *)source;
	char data[4096];
	ssize_t got;

	if (connection->dead || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	got = receive(connection, data, sizeof(data));
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		connection->dead = true;
		return;
	}
	buffer_add(&connection->in, data, got);
	take_lines(connection);
}

static void listener_ready(struct source *source, uint32_t events)
{
	int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct connection *connection = fd < 0 ? NULL : calloc(1, sizeof(*connection));

	(void)events;
	if (!connection)
		return;
	connection->source = (struct source){ connection_ready, fd };
	connection->passed = -1;
	connection->next = connections;
	connections = connection;
	pump_watch(&connection->source, EPOLL_CTL_ADD, EPOLLIN);
}

static struct source listener = { listener_ready, -1 };

static void free_connection(struct connection *connection)
{
	pump_watch(&connection->source, EPOLL_CTL_DEL, 0);
	close(connection->source.fd);
	if (connection->passed >= 0)
		close(connection->passed);
	free(connection->in.data);
	free(connection->out.data);
	free(connection);
}

/* Sends what is to be sent, and frees those that left: only now is no event left that points to them. */
void control_work(void)
{
	for (struct connection **at = &connections, *connection; (connection = *at);) {
		bool more = !connection->dead && connection->out.length && buffer_send(&connection->out, connection->source.fd);

		if (connection->dead) {
			*at = connection->next;
			free_connection(connection);
			continue;
		}
		if (more != connection->armed) {
			connection->armed = more;
			pump_watch(&connection->source, EPOLL_CTL_MOD, EPOLLIN | (more ? EPOLLOUT : 0));
		}
		at = &connection->next;
	}
}

/* A store starts with nobody introduced; what a killed one left behind are sockets without a listener. */
static void forget_introduced(void)
{
	char name[32], path[PATH_LENGTH];
	unsigned int domid;

	for_each_domain(domid) {
		host->domain[domid].introduced = 0;
		snprintf(name, sizeof(name), "dom%u.sock", domid);
		host_file(path, name);
		unlink(path);
	}
}

void control_start(void)
{
	host_lock();
	events_told = host->event_count;
	forget_introduced();
	host_unlock();
	poke.fd = poke_open();
	listener.fd = listen_at("ctl");
	if (poke.fd >= 0)
		pump_watch(&poke, EPOLL_CTL_ADD, EPOLLIN);
	if (listener.fd >= 0)
		pump_watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
}

/* Without a store, or with one that is stopped, the channel stays silent. */
void control_pass_channel(unsigned int domid, unsigned int port, int fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	union descriptor passed = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	char path[PATH_LENGTH], line[64];
	struct iovec vector = { line, snprintf(line, sizeof(line), "channel %u %u\n", domid, port) };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &passed, .msg_controllen = sizeof(passed) };
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), saved = errno;

	host_file(path, "ctl");
	snprintf(address.sun_path, sizeof(address.sun_path), "%.*s", (int)sizeof(address.sun_path) - 1, path);
	memcpy(CMSG_DATA(&passed.header), &fd, sizeof(int));
	if (connect(client, (struct sockaddr *)&address, sizeof(address)) || sendmsg(client, &message, MSG_NOSIGNAL) < 0)
		trace("the channel to domain %u is silent: %s", domid, strerror(errno));
	close(client);
	errno = saved;
}
