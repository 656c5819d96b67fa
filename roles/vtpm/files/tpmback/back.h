/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The back end: which front end has the TPM, and the one command that may be under way.
 */
#ifndef BACK_H
#define BACK_H

#include "exchange.h"

/* Begins to watch for front ends, and takes up those that are there. */
void back_open(enum tpm_version version);
/* Something of xenstore may have changed. */
void back_look(void);
/* How long until that is to be done at the latest, in ms; -1 for when something happens. */
int back_patience(void);
/* The front end may have written to its page. */
void back_examine(void);
/* The TPM has said something. */
void back_receive(void);
/* There is no TPM any more: tells the front end, and ends the process with the reason. */
void back_give_up(const char *why) __attribute__((noreturn));

#endif
