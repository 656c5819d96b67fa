/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "tpm.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Against hanging: powering up includes self-tests and, the first time, making keys, on a processor that may be emulated. */
#define LIMIT_MS 120000
#define AGAIN_MS 20

/* swtpm's control channel (swtpm_ioctls(3)): CMD_INIT with no flags; the answer is a TPM result */
static const uint8_t init[] = { 0, 0, 0, 2, 0, 0, 0, 0 };
/* TPM_Startup(TPM_ST_CLEAR), TPM2_Startup(TPM_SU_CLEAR): the firmware's first command, and guests here have none that
 * knows of this TPM */
static const uint8_t startup[][12] = {
	[TPM_1_2] = { 0x00, 0xc1, 0, 0, 0, 12, 0, 0, 0x00, 0x99, 0, 1 },
	[TPM_2_0] = { 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0 },
};

static int commands = -1, control = -1;
static enum tpm_version version;

static int connected(const char *path, int limit_ms)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct timespec again = { .tv_nsec = AGAIN_MS * 1000000L };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		return -1;
	strcpy(address.sun_path, path);
	/* a socket gives no sign when somebody begins to listen */
	for (; connect(fd, (struct sockaddr *)&address, sizeof(address)); limit_ms -= AGAIN_MS) {
		if (limit_ms <= 0) {
			close(fd);
			return -1;
		}
		nanosleep(&again, NULL);
	}
	return fd;
}

static const char *sent(int fd, const uint8_t *bytes, size_t length)
{
	/* it fits in a socket's buffer, as there is never a second one under way */
	if (send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length)
		return NULL;
	return errno == EPIPE || errno == ECONNRESET ? "swtpm has ended" : "swtpm takes no commands";
}

/* Something to read, or the end of the other side. */
static bool comes(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	int count;

	do
		count = poll(&poll_fd, 1, LIMIT_MS);
	while (count < 0 && errno == EINTR);
	return count == 1;
}

static const char *init_tpm(void)
{
	const char *why = sent(control, init, sizeof(init));
	uint8_t result[4];
	size_t length = 0;
	ssize_t count;

	if (why)
		return why;
	while (length < sizeof(result)) {
		if (!comes(control))
			return "swtpm does not answer on its control channel";
		count = recv(control, result + length, sizeof(result) - length, 0);
		if (count <= 0)
			return "swtpm has ended";
		length += (size_t)count;
	}
	/* swtpm's log, which the domain's init adds, has the cause */
	return memcmp(result, "\0\0\0", 4) ? "swtpm cannot start a TPM from the state on the disk" : NULL;
}

static const char *start_tpm(void)
{
	struct exchange exchange = { .length = sizeof(startup[version]) };
	bool whole = false;
	const char *why;

	memcpy(exchange.bytes, startup[version], sizeof(startup[version]));
	why = tpm_send(&exchange);
	exchange.length = 0;
	while (!why && !whole)
		why = comes(commands) ? tpm_receive(&exchange, &whole) : "swtpm does not answer";
	if (!why && memcmp(exchange.bytes + 6, "\0\0\0", 4))
		why = "the TPM refuses to start up";
	return why;
}

const char *tpm_power_cycle(void)
{
	const char *why = init_tpm();

	return why ? why : start_tpm();
}

const char *tpm_open(const char *command_socket, const char *control_socket, enum tpm_version which)
{
	version = which;
	/* swtpm makes this one first, and answers on the other only when somebody is connected to it */
	control = connected(control_socket, LIMIT_MS);
	commands = connected(command_socket, LIMIT_MS);
	if (control < 0 || commands < 0)
		return "swtpm does not listen";
	return tpm_power_cycle();
}

const char *tpm_send(const struct exchange *exchange)
{
	return sent(commands, exchange->bytes, exchange->length);
}

int tpm_fd(void)
{
	return commands;
}

int tpm_control_fd(void)
{
	return control;
}

const char *tpm_receive(struct exchange *exchange, bool *whole)
{
	ssize_t count = recv(commands, exchange->bytes + exchange->length, sizeof(exchange->bytes) - exchange->length, 0);
	size_t length;

	if (count <= 0)
		return "swtpm has ended";
	exchange->length += (size_t)count;
	if (exchange->length < TPM_HEADER)
		return NULL;
	length = packet_length(exchange);
	if (length < exchange->length)
		return "swtpm answers what is no answer of a TPM";
	*whole = length == exchange->length;
	return NULL;
}
