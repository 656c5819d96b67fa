/* SPDX-FileCopyrightText: The stubdom.xen contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The smallest PV and PVH kernel that libxenguest loads (ELF notes: xen/include/public/elfnote.h). Nothing ever runs it: it
 * is for guests whose creation shall not take the second that unpacking a real kernel does.
 */
	.text
	.globl _start
_start:	hlt
	jmp _start
	.balign 4096
hypercall_page: .skip 4096
#define NOTE_STR(type, s) .long 4, 2f - 1f, type; .asciz "Xen"; 1: .asciz s; 2: .balign 4
#define NOTE_QUAD(type, v) .long 4, 8, type; .asciz "Xen"; .quad v; .balign 4
#define NOTE_LONG(type, v) .long 4, 4, type; .asciz "Xen"; .long v; .balign 4
	.section .note.Xen, "a", @note
	NOTE_STR(6, "linux")
	NOTE_STR(7, "2.6")
	NOTE_STR(5, "xen-3.0")
	NOTE_QUAD(3, 0xffffffff80000000)
	NOTE_QUAD(1, _start)
	NOTE_QUAD(2, hypercall_page)
	NOTE_STR(10, "!writable_page_tables|pae_pgdir_above_4gb")
	NOTE_STR(9, "yes")
	NOTE_STR(8, "generic")
	NOTE_QUAD(14, 1)
	NOTE_LONG(18, 0x100000)
