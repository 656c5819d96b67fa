/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "exchange.h"

/* TPM_BAD_PARAM_SIZE, TPM_BAD_LOCALITY, TPM_SIZE, TPM_FAIL of TPM 1.2 (TPM Main, part 2, 16);
 * TPM_RC_COMMAND_SIZE, TPM_RC_LOCALITY, TPM_RC_MEMORY, TPM_RC_FAILURE of TPM 2.0 (TPM 2.0 Library, part 2, 6.6) */
static const uint32_t results[][4] = {
	[TPM_1_2] = { 0x19, 0x3d, 0x11, 0x09 },
	[TPM_2_0] = { 0x142, 0x907, 0x904, 0x101 },
};
/* TPM_TAG_RSP_COMMAND, TPM_ST_NO_SESSIONS */
static const uint16_t answer_tags[] = { [TPM_1_2] = 0x00c4, [TPM_2_0] = 0x8001 };

static void put(uint8_t *to, uint32_t value, unsigned int bytes)
{
	while (bytes--) {
		to[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

void refuse(struct exchange *exchange, enum tpm_version version, enum refusal why)
{
	put(exchange->bytes, answer_tags[version], 2);
	put(exchange->bytes + 2, TPM_HEADER, 4);
	put(exchange->bytes + 6, results[version][why], 4);
	exchange->length = TPM_HEADER;
}

size_t packet_length(const struct exchange *exchange)
{
	const uint8_t *at = exchange->bytes + 2;
	uint32_t length;

	if (exchange->length < TPM_HEADER)
		return 0;
	length = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
	return length < TPM_HEADER || length > PAGE_BYTES ? 0 : length;
}

enum taken page_take(volatile uint8_t *page, enum tpm_version version, struct exchange *exchange)
{
	uint8_t state = page[PAGE_STATE];
	uint32_t length;
	uint8_t locality;
	size_t room;

	if (state == PAGE_CANCEL)
		return TAKEN_CANCEL;
	if (state != PAGE_SUBMIT)
		return TAKEN_NOTHING;
	__sync_synchronize();	/* the rest was written before the state */
	length = *(volatile uint32_t *)(page + PAGE_LENGTH);
	locality = page[PAGE_LOCALITY];
	/* One byte: at most 1028, so there is always room for an answer's header. The extra pages themselves are never
	 * mapped: a TPM command fits in what is left of the first. */
	exchange->offset = PAGE_HEADER + 4u * page[PAGE_EXTRA_PAGES];
	room = PAGE_BYTES - exchange->offset;
	exchange->length = length < room ? length : room;
	for (size_t i = 0; i < exchange->length; i++)
		exchange->bytes[i] = page[exchange->offset + i];

	/* swtpm reads on until it has what the header says, and takes a packet of TCG's simulator for an order to change
	 * the locality: neither gets there, as a header's length is that of the packet. */
	if (length < TPM_HEADER || length > room || packet_length(exchange) != length) {
		refuse(exchange, version, REFUSED_SIZE);
		return TAKEN_REFUSED;
	}
	/* Guests are the static OS of a PC, which is locality 0; the others are the hardware's and the firmware's. */
	if (locality != 0) {
		refuse(exchange, version, REFUSED_LOCALITY);
		return TAKEN_REFUSED;
	}
	return TAKEN_COMMAND;
}

static void page_state(volatile uint8_t *page, enum page_state state)
{
	__sync_synchronize();	/* whoever sees the state sees what was written before */
	page[PAGE_STATE] = (uint8_t)state;
	__sync_synchronize();	/* and before whoever is notified looks */
}

void page_answer(volatile uint8_t *page, enum tpm_version version, struct exchange *exchange)
{
	if (page[PAGE_STATE] == PAGE_CANCEL) {
		page_state(page, PAGE_IDLE);
		return;
	}
	if (exchange->length > PAGE_BYTES - exchange->offset)
		refuse(exchange, version, REFUSED_TOO_LONG);
	for (size_t i = 0; i < exchange->length; i++)
		page[exchange->offset + i] = exchange->bytes[i];
	*(volatile uint32_t *)(page + PAGE_LENGTH) = (uint32_t)exchange->length;
	page_state(page, PAGE_FINISH);
}

void page_cancelled(volatile uint8_t *page)
{
	page_state(page, PAGE_IDLE);
}
