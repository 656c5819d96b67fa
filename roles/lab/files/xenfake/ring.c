/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Every domain's kernel, as far as the store goes: the domain's side of the ring of xen/include/public/io/xs_wire.h
 * (docs/misc/xenstore-ring.txt), and domN.sock, on which a program speaks the store's protocol as that domain. Many may:
 * requests get numbers and watches tokens of their own, as Linux does it (drivers/xen/xenbus/xenbus_dev_frontend.c), and
 * what a program leaves behind, transactions and watches, is ended for it.
 */
#include "xenfake.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <xen/grant_table.h>
#include <xen/io/xs_wire.h>

struct watch { char *path, *token; struct watch *next; };
struct transaction { uint32_t id; struct transaction *next; };

struct client {				/* a program's connection */
	struct source source;
	uint32_t id;
	bool dead, armed;
	struct guest *guest;
	struct buffer in, out;
	struct watch *watches;
	struct transaction *transactions;
	struct client *next;
};

struct request {			/* that the store has not answered */
	uint32_t id, type, transaction;
	uint32_t client, client_id;	/* whose, and what it called it; client 0: nobody waits */
	char *path, *token;		/* of a watch */
	struct request *next;
};

struct guest {
	struct source source;		/* domN.sock */
	unsigned int domid, port;
	struct evtchn *device;
	struct xenstore_domain_interface *ring;
	bool dead, kicked, stalled;
	uint32_t next_request, next_client;
	struct buffer to_ring, from_ring;
	struct request *requests, **last_request;
	struct client *clients;
	struct guest *next;
};
static struct guest *guests;		/* under pump_lock */
static struct traffic traffic;

/* -------------------------------------------------------------------------------------------------- into the ring */

static void to_ring(struct guest *guest)
{
	struct xenstore_domain_interface *ring = guest->ring;
	bool moved = false;

	while (guest->to_ring.length) {
		uint32_t produced = ring->req_prod, at = produced % XENSTORE_RING_SIZE;
		uint32_t space = XENSTORE_RING_SIZE - (produced - __atomic_load_n(&ring->req_cons, __ATOMIC_ACQUIRE));
		uint32_t length = XENSTORE_RING_SIZE - at;

		if (length > space)
			length = space;
		if (length > guest->to_ring.length)
			length = guest->to_ring.length;
		if (!length)
			break;
		memcpy(ring->req + at, guest->to_ring.data, length);
		__atomic_store_n(&ring->req_prod, produced + length, __ATOMIC_SEQ_CST);
		buffer_drop(&guest->to_ring, length);
		traffic.out += length;
		moved = true;
	}
	if (moved)
		evtchn_raise(guest->device, guest->port);
}

/* The request is the guest's from here on; its other fields are the caller's. */
static void ask(struct guest *guest, struct request request, const char *payload, uint32_t length)
{
	struct request *kept = malloc(sizeof(*kept));
	struct xsd_sockmsg header = { .type = request.type, .tx_id = request.transaction, .len = length };

	if (!kept)
		abort();
	header.req_id = request.id = guest->next_request++;
	*kept = request;
	*guest->last_request = kept;
	guest->last_request = &kept->next;
	buffer_add(&guest->to_ring, &header, sizeof(header));
	buffer_add(&guest->to_ring, payload, length);
}

/* "path\0client:token\0"; the answer is its length */
static int watch_payload(char *payload, size_t size, const char *path, uint32_t client, const char *token)
{
	return snprintf(payload, size, "%s%c%u:%s", path, 0, client, token) + 1;
}

static void ask_for(struct client *client, const struct xsd_sockmsg *header, const char *payload)
{
	struct request request = {
		.type = header->type, .transaction = header->tx_id, .client = client->id, .client_id = header->req_id,
	};
	bool watch = header->type == XS_WATCH || header->type == XS_UNWATCH;
	char changed[XENSTORE_PAYLOAD_MAX + 32];
	size_t path = watch ? strnlen(payload, header->len) + 1 : 0;

	if (!watch || path >= header->len || payload[header->len - 1]) {
		ask(client->guest, request, payload, header->len);
		return;
	}
	request.path = strdup(payload);
	request.token = strdup(payload + path);
	ask(client->guest, request, changed, watch_payload(changed, sizeof(changed), payload, client->id, payload + path));
}

/* --------------------------------------------------------------------------------------------------------- clients */

static void free_watch(struct watch **at)
{
	struct watch *watch = *at;

	*at = watch->next;
	free(watch->path);
	free(watch->token);
	free(watch);
}

static void free_transaction(struct transaction **at)
{
	struct transaction *transaction = *at;

	*at = transaction->next;
	free(transaction);
}

static void leave(struct client *client)	/* as xenbus_file_free() */
{
	struct guest *guest = client->guest;
	char payload[2 * XENSTORE_PAYLOAD_MAX];

	if (client->dead)
		return;
	client->dead = true;
	pump_watch(&client->source, EPOLL_CTL_DEL, 0);
	close(client->source.fd);
	for (; client->transactions; free_transaction(&client->transactions))
		ask(guest, (struct request){ .type = XS_TRANSACTION_END, .transaction = client->transactions->id }, "F", 2);
	for (; client->watches; free_watch(&client->watches))
		ask(guest, (struct request){ .type = XS_UNWATCH }, payload,
		    watch_payload(payload, sizeof(payload), client->watches->path, client->id, client->watches->token));
	if (!guest->dead)
		to_ring(guest);
}

static void free_client(struct client *client)
{
	leave(client);
	free(client->in.data);
	free(client->out.data);
	free(client);
}

static void send_out(struct client *client)
{
	bool more = buffer_send(&client->out, client->source.fd);

	if (more == client->armed)
		return;
	client->armed = more;
	pump_watch(&client->source, EPOLL_CTL_MOD, EPOLLIN | (more ? EPOLLOUT : 0));
}

static void take_requests(struct client *client)
{
	struct xsd_sockmsg header;
	size_t done = 0;

	while (client->in.length - done >= sizeof(header)) {
		memcpy(&header, client->in.data + done, sizeof(header));
		if (header.len > XENSTORE_PAYLOAD_MAX) {
			leave(client);
			return;
		}
		if (client->in.length - done < sizeof(header) + header.len)
			break;
		ask_for(client, &header, client->in.data + done + sizeof(header));
		done += sizeof(header) + header.len;
	}
	buffer_drop(&client->in, done);
	to_ring(client->guest);
}

static void client_ready(struct source *source, uint32_t events)
{
	struct client *client = (struct client *)source;
	char data[65536];
	ssize_t got;

	if (client->dead)
		return;
	if (events & EPOLLOUT)
		send_out(client);
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	got = recv(source->fd, data, sizeof(data), MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		leave(client);
		return;
	}
	traffic.in += got;
	buffer_add(&client->in, data, got);
	take_requests(client);
}

static void guest_ready(struct source *source, uint32_t events)
{
	struct guest *guest = (struct guest *)source;
	struct client *client;
	int fd;

	(void)events;
	fd = guest->dead ? -1 : accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	client = calloc(1, sizeof(*client));
	if (!client)
		abort();
	client->source = (struct source){ client_ready, fd };
	client->guest = guest;
	client->id = guest->next_client++;
	client->next = guest->clients;
	guest->clients = client;
	pump_watch(&client->source, EPOLL_CTL_ADD, EPOLLIN);
}

static struct client *client_of(const struct guest *guest, uint32_t id)
{
	for (struct client *client = guest->clients; client; client = client->next)
		if (client->id == id && !client->dead)
			return client;
	return NULL;
}

/* ------------------------------------------------------------------------------------------------- out of the ring */

static void deliver(struct client *client, struct xsd_sockmsg header, const char *payload)
{
	buffer_add(&client->out, &header, sizeof(header));
	buffer_add(&client->out, payload, header.len);
}

/* "path\0client:token\0" goes on as "path\0token\0" */
static void deliver_event(struct guest *guest, struct xsd_sockmsg header, const char *payload)
{
	const char *end = payload + header.len, *token = memchr(payload, 0, header.len);
	const char *colon = token ? memchr(token, ':', end - token) : NULL;
	struct client *client = colon ? client_of(guest, strtoul(token + 1, NULL, 10)) : NULL;

	if (!client)
		return;
	header.len = (token + 1 - payload) + (end - (colon + 1));
	buffer_add(&client->out, &header, sizeof(header));
	buffer_add(&client->out, payload, token + 1 - payload);
	buffer_add(&client->out, colon + 1, end - (colon + 1));
}

static void forget_watch(struct client *client, const struct request *request)
{
	for (struct watch **at = &client->watches; *at; at = &(*at)->next)
		if (!strcmp((*at)->path, request->path) && !strcmp((*at)->token, request->token)) {
			free_watch(at);
			return;
		}
}

static void forget_transaction(struct client *client, uint32_t id)
{
	for (struct transaction **at = &client->transactions; *at; at = &(*at)->next)
		if ((*at)->id == id) {
			free_transaction(at);
			return;
		}
}

static void keep_watch(struct client *client, struct request *request)
{
	struct watch *watch = malloc(sizeof(*watch));

	if (!watch)
		abort();
	*watch = (struct watch){ request->path, request->token, client->watches };
	request->path = request->token = NULL;
	client->watches = watch;
}

static void keep_transaction(struct client *client, const char *payload, uint32_t length)
{
	struct transaction *transaction = malloc(sizeof(*transaction));
	char number[16] = "";

	if (!transaction)
		abort();
	memcpy(number, payload, length < sizeof(number) - 1 ? length : sizeof(number) - 1);
	*transaction = (struct transaction){ strtoul(number, NULL, 10), client->transactions };
	client->transactions = transaction;
}

/* What of the client the store now has, or no longer has. */
static void remember(struct client *client, struct request *request, const struct xsd_sockmsg *header, const char *payload)
{
	bool failed = header->type == XS_ERROR;

	if (request->type == XS_TRANSACTION_END)	/* a conflict ends it too */
		forget_transaction(client, request->transaction);
	else if (request->type == XS_TRANSACTION_START && !failed)
		keep_transaction(client, payload, header->len);
	else if (request->type == XS_WATCH && !failed && request->path)
		keep_watch(client, request);
	else if (request->type == XS_UNWATCH && !failed && request->path)
		forget_watch(client, request);
}

static void free_request(struct guest *guest, struct request **at)
{
	struct request *request = *at;

	*at = request->next;
	if (guest->last_request == &request->next)
		guest->last_request = at;
	free(request->path);
	free(request->token);
	free(request);
}

static void dispatch(struct guest *guest, struct xsd_sockmsg header, const char *payload)
{
	struct request **at;
	struct client *client;

	if (header.type == XS_WATCH_EVENT) {
		deliver_event(guest, header, payload);
		return;
	}
	for (at = &guest->requests; *at && (*at)->id != header.req_id; at = &(*at)->next)
		;
	if (!*at)
		return;
	client = client_of(guest, (*at)->client);
	if (client) {
		remember(client, *at, &header, payload);
		header.req_id = (*at)->client_id;
		deliver(client, header, payload);
	}
	free_request(guest, at);
}

static bool take_ring(struct guest *guest)	/* whether it was full: the store may wait for room */
{
	struct xenstore_domain_interface *ring = guest->ring;
	bool full = false;

	for (;;) {
		uint32_t consumed = ring->rsp_cons, at = consumed % XENSTORE_RING_SIZE;
		uint32_t there = __atomic_load_n(&ring->rsp_prod, __ATOMIC_ACQUIRE) - consumed;
		uint32_t length = XENSTORE_RING_SIZE - at;

		if (!there || there > XENSTORE_RING_SIZE)
			return full;
		full |= there == XENSTORE_RING_SIZE;
		if (length > there)
			length = there;
		buffer_add(&guest->from_ring, ring->rsp + at, length);
		__atomic_store_n(&ring->rsp_cons, consumed + length, __ATOMIC_SEQ_CST);
	}
}

static void from_ring(struct guest *guest)
{
	struct xsd_sockmsg header;
	bool full = take_ring(guest);
	size_t done = 0;

	while (guest->from_ring.length - done >= sizeof(header)) {
		memcpy(&header, guest->from_ring.data + done, sizeof(header));
		if (guest->from_ring.length - done < sizeof(header) + header.len)
			break;
		dispatch(guest, header, guest->from_ring.data + done + sizeof(header));
		done += sizeof(header) + header.len;
	}
	buffer_drop(&guest->from_ring, done);
	for (struct client *client = guest->clients; client; client = client->next)
		if (!client->dead && client->out.length)
			send_out(client);
	if (full)
		evtchn_raise(guest->device, guest->port);
}

/* ---------------------------------------------------------------------------------------------------------- guests */

static void note_introduced(unsigned int domid)
{
	struct domain *d;

	host_lock();
	d = domain_find(domid);
	if (d && !d->introduced) {
		d->introduced = 1;
		event_add(INTRODUCED, domid, 0);
	}
	host_unlock();
}

static void *map_store_page(unsigned int domid)
{
	struct domain *d;
	uint64_t gfn = 0;

	host_lock();
	d = domain_find(domid);
	if (d)
		gfn = grant_gfn(d, GNTTAB_RESERVED_XENSTORE);
	host_unlock();
	return memory_map(domid, gfn, 1, NULL, PROT_READ | PROT_WRITE);
}

static void socket_name(char *name, unsigned int domid)
{
	snprintf(name, 32, "dom%u.sock", domid);
}

struct guest *guest_new(struct evtchn *device, unsigned int domid, unsigned int port)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	char name[32];

	if (!guest)
		return NULL;
	socket_name(name, domid);
	*guest = (struct guest){ .source = { guest_ready, -1 }, .domid = domid, .port = port, .device = device,
		.next_request = 1, .next_client = 1, .last_request = &guest->requests };
	guest->ring = map_store_page(domid);
	if (guest->ring != MAP_FAILED)
		guest->source.fd = listen_at(name);
	if (guest->source.fd < 0) {
		if (guest->ring != MAP_FAILED)
			munmap(guest->ring, PAGE);
		free(guest);
		return NULL;
	}
	guest->next = guests;
	guests = guest;
	traffic.introduced++;
	pump_watch(&guest->source, EPOLL_CTL_ADD, EPOLLIN);
	note_introduced(domid);
	return guest;
}

void guest_leave(struct guest *guest)
{
	char name[32], path[PATH_LENGTH];

	socket_name(name, guest->domid);
	host_file(path, name);
	unlink(path);
	guest->dead = true;
	traffic.introduced--;
	pump_kick();
}

static void free_guest(struct guest *guest)
{
	for (struct client *client; (client = guest->clients);) {
		guest->clients = client->next;
		free_client(client);
	}
	while (guest->requests)
		free_request(guest, &guest->requests);
	pump_watch(&guest->source, EPOLL_CTL_DEL, 0);
	close(guest->source.fd);
	munmap(guest->ring, PAGE);
	free(guest->to_ring.data);
	free(guest->from_ring.data);
	free(guest);
}

void guest_kick(struct guest *guest)
{
	if (guest->kicked)
		return;
	guest->kicked = true;
	pump_kick();
}

int guest_stall(unsigned int domid, bool stalled)
{
	for (struct guest *guest = guests; guest; guest = guest->next) {
		if (guest->domid != domid || guest->dead)
			continue;
		guest->stalled = stalled;
		guest_kick(guest);
		if (!stalled)
			evtchn_raise(guest->device, guest->port);
		return 0;
	}
	return -ENOENT;
}

struct traffic guests_traffic(void)
{
	return traffic;
}

static void free_dead_clients(struct guest *guest)
{
	for (struct client **at = &guest->clients, *client; (client = *at);) {
		if (!client->dead) {
			at = &client->next;
			continue;
		}
		*at = client->next;
		free_client(client);
	}
}

/* Also frees what is dead: only now is no event left that points to it. */
void guests_work(void)
{
	for (struct guest **at = &guests, *guest; (guest = *at);) {
		if (guest->dead) {
			*at = guest->next;
			free_guest(guest);
			continue;
		}
		if (guest->kicked) {
			guest->kicked = false;
			if (!guest->stalled)
				from_ring(guest);
			to_ring(guest);
		}
		free_dead_clients(guest);
		at = &guest->next;
	}
}
