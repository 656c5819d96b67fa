/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Preloaded, a clock that jumps: what asks the C library for the time of day gets it with as many seconds more as
 * /run/clock says at that moment. It stands in for clock_gettime(2) and gettimeofday(2), and takes nothing of the C
 * library, as it is compiled on another machine than it runs on. x86-64.
 */
static long call(long n, long a, long b, long c)
{
	__asm__ volatile("syscall" : "+a"(n) : "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return n;
}
static long jump(void)
{
	char text[16];
	long fd = call(2, (long)"/run/clock", 02000000, 0), length, seconds = 0;

	if (fd < 0)
		return 0;
	length = call(0, fd, (long)text, sizeof(text));
	call(3, fd, 0, 0);
	for (long i = text[0] == '-'; i < length && text[i] >= '0' && text[i] <= '9'; i++)
		seconds = 10 * seconds + text[i] - '0';
	return length > 0 && text[0] == '-' ? -seconds : seconds;
}
int clock_gettime(int clock, long *now)
{
	long failed = call(228, clock, (long)now, 0);

	now[0] += !failed && (clock == 0 || clock == 5) ? jump() : 0;
	return failed ? -1 : 0;
}
int gettimeofday(long *now, void *zone)
{
	long failed = call(96, (long)now, (long)zone, 0);

	now[0] += failed ? 0 : jump();
	return failed ? -1 : 0;
}
