/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The TPM: a swtpm that listens on two Unix sockets, one for commands, one for what happens to the chip itself.
 */
#ifndef TPM_H
#define TPM_H

#include "exchange.h"

/* Connects to both sockets, which may not be there yet, and gives the TPM its first power. NULL, or why not. */
const char *tpm_open(const char *command_socket, const char *control_socket, enum tpm_version version);
/* Off and on again: PCRs and sessions are gone, what is non-volatile stays. NULL, or why not. */
const char *tpm_power_cycle(void);

/* Hands over a command whose answer comes later. NULL, or why not. */
const char *tpm_send(const struct exchange *exchange);
/* readable when something of the answer is there, or swtpm has ended */
int tpm_fd(void);
int tpm_control_fd(void);
/* Takes what is there of the answer; *whole when that is all of it. NULL, or why not. */
const char *tpm_receive(struct exchange *exchange, bool *whole);

#endif
