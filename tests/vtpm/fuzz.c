/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * fuzz SEED INPUTS: the back end before guests, a toolstack and a TPM that do and write anything, each input a step of one of
 * them; another thread scribbles over the pages meanwhile. This is the world and the TPM at once. What must hold whatever
 * comes is checked where the back end asks for something; the sanitizers check the rest, pages having no neighbours.
 */
#define _GNU_SOURCE
#include "back.h"
#include "front.h"
#include "say.h"
#include "tpm.h"
#include "world.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GUESTS 20u		/* more than the back end has room for */
#define VALUE 24

#define HOLDS(what) do { if (!(what)) broken(#what, __LINE__); } while (0)

static uint64_t seed, now_at;
static unsigned long long input;

static void broken(const char *what, int line)
{
	fprintf(stderr, "input %llu of seed %llu: fuzz.c:%d: does not hold: %s\n", input, (unsigned long long)seed, line, what);
	abort();
}

static uint64_t random_number(void)	/* splitmix64 */
{
	uint64_t z = now_at += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static unsigned int below(unsigned int most)
{
	return (unsigned int)(random_number() % most);
}

/* ----------------------------------------------------------------------------------------------------- the world */

enum { ONLINE, BACK_STATE, FEATURE, READY, BACK_NODES };
enum { FRONT_STATE, RING, PORT, PROTOCOL, FRONT_NODES };
static const char *const back_nodes[] = { "online", "state", "feature-protocol-v2", "ready" };
static const char *const front_nodes[] = { "state", "ring-ref", "event-channel", "feature-protocol-v2" };

static struct guest {
	bool there, front_there, watched;
	char back[BACK_NODES][VALUE], front[FRONT_NODES][VALUE];	/* "" for no node */
} guests[GUESTS];

static uint8_t *mapped;
static _Atomic(uint8_t *) scribbled;	/* what the other thread writes to */
static unsigned int mapped_by;
static bool bound;
static bool alive;			/* the back end has not given up */
static jmp_buf given_up;

static const char *const said[] = {
	"", "0", "1", "2", "3", "4", "5", "6", "7", "8", "-1", "03", "4 ", "4294967295", "4294967296", "99999999999999999999",
	"x", "\xff\xfe", "%s%n", "1\n", "../0",
};

static void any_value(char *value)
{
	unsigned int length;

	if (below(4)) {
		strcpy(value, said[below(sizeof(said) / sizeof(*said))]);
		return;
	}
	length = below(VALUE);
	for (unsigned int i = 0; i < length; i++)
		value[i] = (char)(1 + below(255));
	value[length] = 0;
}

/* The node of a path, or NULL; *mine: it is one that the back end may write. */
static char *find(const char *path, bool *mine)
{
	unsigned int domid, devid;
	char node[64];

	*mine = false;
	if (sscanf(path, "backend/vtpm/%u/%u/%63s", &domid, &devid, node) == 3) {
		HOLDS(domid < GUESTS && devid == 0);
		*mine = true;
		for (int i = 0; i < BACK_NODES; i++)
			if (!strcmp(node, back_nodes[i]))
				return guests[domid].there ? guests[domid].back[i] : NULL;
	} else if (sscanf(path, "/local/domain/%u/device/vtpm/%u/%63s", &domid, &devid, node) == 3) {
		HOLDS(domid < GUESTS && devid == 0);
		for (int i = 0; i < FRONT_NODES; i++)
			if (!strcmp(node, front_nodes[i]))
				return guests[domid].front_there ? guests[domid].front[i] : NULL;
	}
	broken(path, __LINE__);
	return NULL;
}

bool store_read(const char *path, char *text, size_t size)
{
	bool mine;
	const char *value = find(path, &mine);

	if (!value || !*value || strlen(value) >= size)
		return false;
	strcpy(text, value);
	return true;
}

void store_write(const char *path, const char *text)
{
	bool mine;
	char *value = find(path, &mine);

	HOLDS(mine && strlen(text) < VALUE);
	HOLDS(value);		/* never into a directory that is gone */
	strcpy(value, text);
}

void store_remove(const char *path)
{
	unsigned int domid, devid;
	int parts = sscanf(path, "backend/vtpm/%u/%u", &domid, &devid);

	HOLDS(parts >= 1 && domid < GUESTS);
	if (parts == 1)
		return;
	HOLDS(guests[domid].there && !strcmp(guests[domid].back[ONLINE], "0"));
	HOLDS(!(mapped && mapped_by == domid));
	guests[domid].there = false;
}

unsigned int store_numbers(const char *path, unsigned int *numbers, unsigned int most)
{
	unsigned int domid, count = 0;

	if (sscanf(path, "backend/vtpm/%u", &domid) == 1) {
		HOLDS(domid < GUESTS);
		numbers[0] = 0;
		return guests[domid].there ? 1 : 0;
	}
	HOLDS(!strcmp(path, "backend/vtpm"));
	for (domid = 0; domid < GUESTS && count < most; domid++)
		if (guests[domid].there)
			numbers[count++] = domid;
	return count;
}

static void watch(const char *path, bool on)
{
	unsigned int domid;

	if (sscanf(path, "/local/domain/%u/device", &domid) == 1) {
		HOLDS(guests[domid].watched != on);
		guests[domid].watched = on;
	}
}

void store_watch(const char *path)
{
	watch(path, true);
}

void store_unwatch(const char *path)
{
	watch(path, false);
}

static uint8_t *page_alone;

/* A page whose neighbours may not be touched. */
static uint8_t *lonely_page(void)
{
	uint8_t *pages = mmap(NULL, 3 * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	HOLDS(pages != MAP_FAILED);
	HOLDS(!mprotect(pages + PAGE_BYTES, PAGE_BYTES, PROT_READ | PROT_WRITE));
	return pages + PAGE_BYTES;
}

volatile uint8_t *page_map(unsigned int domid, unsigned int ring)
{
	unsigned int value;

	HOLDS(domid < GUESTS && !mapped);
	HOLDS(number(guests[domid].front[RING], UINT32_MAX, &value) && value == ring);
	if (ring == 0)
		return NULL;
	mapped = page_alone;
	mapped_by = domid;
	return mapped;
}

void page_unmap(volatile uint8_t *page)
{
	HOLDS(mapped && page == mapped && !bound);
	atomic_store(&scribbled, NULL);
	mapped = NULL;
}

bool channel_bind(unsigned int domid, unsigned int port)
{
	HOLDS(!bound && mapped && mapped_by == domid);
	bound = port != 0;
	return bound;
}

void channel_unbind(void)
{
	HOLDS(bound);
	bound = false;
}

void channel_notify(void)
{
	HOLDS(bound && mapped);
}

long long milliseconds(void)
{
	return (long long)input * 10;
}

void say(const char *format, ...)
{
	char line[512];
	va_list arguments;

	va_start(arguments, format);
	HOLDS(vsnprintf(line, sizeof(line), format, arguments) < (int)sizeof(line));
	va_end(arguments);
}

void fail(const char *format, ...)
{
	(void)format;
	alive = false;
	longjmp(given_up, 1);
}

/* ------------------------------------------------------------------------------------------------------- the TPM */

static bool working;
static uint8_t reply[PAGE_BYTES];
static size_t reply_length, reply_given;
static unsigned int last_powered = GUESTS;

const char *tpm_power_cycle(void)
{
	HOLDS(!working);
	last_powered = GUESTS + 1;
	return below(2000) ? NULL : "no power";
}

const char *tpm_send(const struct exchange *exchange)
{
	HOLDS(!working && mapped);
	HOLDS(exchange->length >= TPM_HEADER && exchange->length <= PAGE_BYTES - PAGE_HEADER);
	HOLDS(packet_length(exchange) == exchange->length);
	HOLDS(exchange->offset + exchange->length <= PAGE_BYTES);
	working = true;
	reply_length = below(8) ? TPM_HEADER + below(64) : TPM_HEADER + below(PAGE_BYTES - TPM_HEADER + 1);
	for (size_t i = 0; i < reply_length; i++)
		reply[i] = 0xee;
	reply[2] = reply[3] = 0;
	reply[4] = (uint8_t)(reply_length >> 8);
	reply[5] = (uint8_t)reply_length;
	if (!below(500))
		reply[2 + below(4)] ^= (uint8_t)(1u << below(8));
	reply_given = 0;
	return below(5000) ? NULL : "it takes none";
}

const char *tpm_receive(struct exchange *exchange, bool *whole)
{
	size_t left = reply_length - reply_given, some = left ? 1 + below((unsigned int)left) : 0;

	if (!some || !below(5000))
		return "it has ended";
	HOLDS(exchange->length == reply_given && exchange->length + some <= sizeof(exchange->bytes));
	memcpy(exchange->bytes + exchange->length, reply + reply_given, some);
	reply_given += some;
	exchange->length += some;
	if (exchange->length >= TPM_HEADER && packet_length(exchange) < exchange->length)
		return "no answer of a TPM";
	*whole = exchange->length >= TPM_HEADER && packet_length(exchange) == exchange->length;
	if (*whole)
		working = false;
	return NULL;
}

/* ------------------------------------------------------------------------------------------------------- the steps */

/* Guest bytes change at any moment, not just between the back end's turns. */
static void *scribble(void *nothing)
{
	uint32_t state = 2463534242u;

	(void)nothing;
	for (;;) {
		uint8_t *page = atomic_load(&scribbled);

		state ^= state << 13, state ^= state >> 17, state ^= state << 5;
		if (page)
			((volatile uint8_t *)page)[state % 24] = (uint8_t)(state >> 24 & ((state & 0x100) ? 3 : 0xff));
	}
	return NULL;
}

static void write_page(void)
{
	uint8_t *page = page_alone;
	uint32_t length = below(4) ? TPM_HEADER + below(40) : (uint32_t)random_number() >> below(32);
	unsigned int extra = below(4) ? 0 : below(256), at = PAGE_HEADER + 4 * extra;

	memcpy(page + PAGE_LENGTH, &length, 4);
	page[PAGE_LOCALITY] = below(8) ? 0 : (uint8_t)below(256);
	page[PAGE_EXTRA_PAGES] = (uint8_t)extra;
	for (int i = 0; i < 4; i++)
		page[at + 2 + i] = below(50) ? (uint8_t)(length >> (24 - 8 * i)) : (uint8_t)below(256);
	page[PAGE_STATE] = below(8) ? PAGE_SUBMIT : (uint8_t)below(256);
	atomic_store(&scribbled, mapped && !below(4) ? page : NULL);
}

static void change_store(void)
{
	struct guest *guest = &guests[below(GUESTS)];

	switch (below(10)) {
	case 0:
		guest->front_there = !guest->front_there;
		break;
	case 1:
		guest->there = guest->front_there = true;
		strcpy(guest->back[ONLINE], "1");
		strcpy(guest->back[BACK_STATE], "1");
		strcpy(guest->front[FRONT_STATE], "1");
		break;
	case 2:
		guest->there = false;
		break;
	case 3:
		strcpy(guest->back[ONLINE], "0");
		strcpy(guest->back[BACK_STATE], "5");
		break;
	case 4: case 5:
		snprintf(guest->front[RING], VALUE, "%u", below(6));
		snprintf(guest->front[PORT], VALUE, "%u", below(6));
		strcpy(guest->front[PROTOCOL], "1");
		strcpy(guest->front[FRONT_STATE], "3");
		break;
	case 6:
		any_value(guest->back[BACK_STATE]);
		break;
	default:
		any_value(guest->front[below(FRONT_NODES)]);
	}
}

static void step(void)
{
	switch (below(8)) {
	case 0: case 1: case 2:
		write_page();
		back_examine();
		break;
	case 3:
		back_examine();
		break;
	case 4: case 5:
		if (working || !below(20000))
			back_receive();
		break;
	default:
		change_store();
		if (below(4) || back_patience() == 0)
			back_look();
	}
}

int main(int count, char **arguments)
{
	unsigned long long inputs;
	pthread_t thread;

	if (count != 3)
		return 2;
	now_at = seed = strtoull(arguments[1], NULL, 10);
	inputs = strtoull(arguments[2], NULL, 10);
	page_alone = lonely_page();
	pthread_create(&thread, NULL, scribble, NULL);
	back_open(below(2) ? TPM_1_2 : TPM_2_0);
	alive = true;
	for (input = 0; input < inputs; input++) {
		if (!setjmp(given_up))
			step();
		if (!alive) {	/* the domain ends; here the same one goes on, with a TPM that works */
			HOLDS(!mapped && !bound);
			working = false;
			alive = true;
		}
	}
	printf("%llu inputs, seed %llu\n", inputs, (unsigned long long)seed);
	return 0;
}
