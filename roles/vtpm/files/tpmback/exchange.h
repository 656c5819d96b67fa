/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * One TPM command and its answer, and the page that a front end shares (xen/io/tpmif.h, protocol 2). The guest can write
 * anything there at any moment: each field is read once, and all that is judged is judged on a copy.
 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u
#define TPM_HEADER 10u		/* tag (2), length of the whole (4), ordinal or result (4), all big-endian */

/* the fields of struct tpmif_shared_page; what follows them is extra_pages[], then the packet */
enum page_field { PAGE_LENGTH = 0, PAGE_STATE = 4, PAGE_LOCALITY = 5, PAGE_EXTRA_PAGES = 7, PAGE_HEADER = 8 };
enum page_state { PAGE_IDLE, PAGE_SUBMIT, PAGE_FINISH, PAGE_CANCEL };

enum tpm_version { TPM_1_2, TPM_2_0 };
/* answers that are given without asking the TPM */
enum refusal { REFUSED_SIZE, REFUSED_LOCALITY, REFUSED_TOO_LONG, REFUSED_FAILURE };

struct exchange {
	size_t offset;		/* of the packet in the page, as it was when the command was taken */
	size_t length;		/* of the command, then of what has come of the answer */
	uint8_t bytes[PAGE_BYTES];
};

enum taken { TAKEN_NOTHING, TAKEN_COMMAND, TAKEN_REFUSED, TAKEN_CANCEL };

/* The command that a page has; TAKEN_REFUSED leaves the answer to it in the exchange. */
enum taken page_take(volatile uint8_t *page, enum tpm_version version, struct exchange *exchange);
/* Gives the answer, or says that the command is cancelled, if that was asked for meanwhile. */
void page_answer(volatile uint8_t *page, enum tpm_version version, struct exchange *exchange);
void page_cancelled(volatile uint8_t *page);

/* the length that a packet says it has, or 0 if it is no TPM packet that fits */
size_t packet_length(const struct exchange *exchange);
/* Makes an exchange the answer with this error. */
void refuse(struct exchange *exchange, enum tpm_version version, enum refusal why);

#endif
