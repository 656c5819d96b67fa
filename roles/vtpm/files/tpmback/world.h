/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * All that the back end asks of Xen. world_xen.c has it from Xen's libraries; the tests have worlds of their own, so that
 * the rest runs on any machine. A path that does not begin with / is below this domain's own home.
 */
#ifndef WORLD_H
#define WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ends the process: this domain is of no use without it. */
void world_open(void);

/* The text of a node; false if there is none, or one that does not fit: no value that counts here is that long. */
bool store_read(const char *path, char *text, size_t size);
void store_write(const char *path, const char *text);
void store_remove(const char *path);
/* The names below a node that are numbers, `most` of them at most; how many there are. */
unsigned int store_numbers(const char *path, unsigned int *numbers, unsigned int most);
void store_watch(const char *path);
void store_unwatch(const char *path);
/* readable when something that is watched may have changed, until all of it was taken */
int store_fd(void);
void store_take_events(void);

/* The page that a domain granted, or NULL. */
volatile uint8_t *page_map(unsigned int domid, unsigned int ring);
void page_unmap(volatile uint8_t *page);

/* One channel at a time: a domain's, or false. */
bool channel_bind(unsigned int domid, unsigned int port);
void channel_unbind(void);
void channel_notify(void);
/* readable when the other end has notified, until that was taken */
int channel_fd(void);
void channel_take_events(void);

#endif
