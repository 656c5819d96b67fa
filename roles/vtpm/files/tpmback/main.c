/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tpmback VERSION COMMAND_SOCKET CONTROL_SOCKET: the back end of Xen's vTPM devices, with swtpm's TPM behind it. It runs
 * for good; when it cannot go on, the reason is on standard error.
 */
#include "back.h"
#include "say.h"
#include "tpm.h"
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { STORE, CHANNEL, COMMANDS, CONTROL, SOURCES };

static void serve(void)
{
	struct pollfd sources[SOURCES] = {
		[STORE] = { .fd = store_fd(), .events = POLLIN },
		[CHANNEL] = { .fd = channel_fd(), .events = POLLIN },
		[COMMANDS] = { .fd = tpm_fd(), .events = POLLIN },
		[CONTROL] = { .fd = tpm_control_fd(), .events = POLLIN },
	};

	if (poll(sources, SOURCES, back_patience()) < 0) {
		if (errno == EINTR)
			return;
		back_give_up("poll failed");
	}
	if (sources[CONTROL].revents)
		back_give_up("swtpm has ended");
	if (sources[COMMANDS].revents)
		back_receive();
	if (sources[STORE].revents)
		store_take_events();
	if (sources[STORE].revents || back_patience() == 0)
		back_look();
	if (sources[CHANNEL].revents) {
		channel_take_events();
		back_examine();
	}
}

static enum tpm_version tpm_version(const char *text)
{
	if (!strcmp(text, "1.2"))
		return TPM_1_2;
	if (!strcmp(text, "2.0"))
		return TPM_2_0;
	fail("TPM %s: there are 1.2 and 2.0", text);
}

int main(int count, char **arguments)
{
	enum tpm_version version;
	const char *why;

	if (count != 4)
		fail("usage: tpmback 1.2|2.0 COMMAND_SOCKET CONTROL_SOCKET");
	version = tpm_version(arguments[1]);
	/* nobody may be there to empty a domain's console, and who writes to a full one waits */
	fcntl(STDOUT_FILENO, F_SETFL, O_NONBLOCK);
	world_open();
	why = tpm_open(arguments[2], arguments[3], version);
	if (why)
		fail("%s", why);
	back_open(version);
	store_write("data/vtpm-state", "running");
	for (;;)
		serve();
}
