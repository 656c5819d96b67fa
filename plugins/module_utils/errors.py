# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one exception of this collection, the table of its codes, and the filter for foreign text.

A failure is data: a code that playbooks can test, a sentence for people, what was observed, and what to do about it.
What guests and stubdomains write (xenstore values, console logs) reaches an operator's terminal as evidence. No guest
may move the cursor there or reorder what is read: all such text passes through `printable`.
"""

from __future__ import annotations

import unicodedata
from typing import Any

# code -> what it means. The codes are an interface: playbooks test them, the documentation lists them.
CODES = {
    "invalid_input": "An option has a value that makes no sense, alone or with the other options; nothing was touched.",
    "pyxs_missing": "The Python library pyxs, which speaks to xenstore, is not installed for the Python in use.",
    "xenstore_unreachable": "No connection to xenstore could be made on any of its known paths.",
    "xenstore_timeout": "xenstored did not answer a request in the time allowed.",
    "xenstore_lost": "The connection to xenstored broke, or was broken off after an earlier failure.",
    "program_missing": "A program of the Xen toolstack is not on this host.",
    "program_timeout": "A program did not end in the time allowed and was ended.",
    "xl_failed": "An xl command that only looks failed: this is no dom0, or xenstored does not answer.",
    "xl_output": "xl printed something that cannot be understood.",
    "cfg_syntax": "A text is not in xl.cfg's grammar.",
    "cfg_refused": "This host's xl refuses the guest's configuration.",
    "not_on_this_xen": "An option needs a newer or older Xen than this host's; nothing was touched.",
    "cannot_adopt": "A running guest without a file has devices that have no option; nothing was touched.",
    "file_unreadable": "A file that the guest needs is missing or unreadable in dom0; nothing was touched.",
    "file_not_written": "A file could not be written, as on a full disk; what was there before is whole.",
    "no_stubdom_image": "This host has no image for the kind of stubdomain that is described; nothing was touched.",
    "no_vtpm_image": "This host has no image for the domain of a TPM; nothing was touched.",
    "no_tpm_emulator": "This host cannot emulate a TPM: it lacks swtpm, or its QEMU cannot; nothing was touched.",
    "tpm_emulator_failed": "The guest's TPM was not taken up by swtpm; the guest was not made.",
    "name_taken": "The name of a domain that is to be made belongs to somebody else's; nothing was touched.",
    "vtpm_version": "The guest's TPM is of another version, and its state would be lost; nothing was touched.",
    "tpm_state_missing": "The state of a TPM that the guest has is not where it was left; nothing was touched.",
    "uuid_in_use": "The guest's UUID belongs to another domain of this host; nothing was touched.",
    "not_enough_memory": "The guest, with its stubdomain, does not fit into the host's free memory; nothing was touched.",
    "locked": "Another task is at work on this guest.",
    "plan_changed": "The plan is not the one that expect_plan approves; nothing was touched.",
    "opaque": "libxl cannot describe the guest, because its device model does not answer.",
    "create_failed": "xl could not create the guest.",
    "stubdom_failed": "The stubdomain gave up and said why.",
    "reporter_died": "A domain that had to report ready died before it did.",
    "guest_died": "The guest's domain went away while its readiness chain was waited for.",
    "readiness_timeout": "A link of the readiness chain did not hold in time.",
    "no_guest": "There is no guest of that name that could become ready.",
    "not_ready": "The guest was not let run, because its readiness chain was not seen to hold.",
    "not_begun": "The guest was not begun, because another one of its set had failed; nothing of it was touched.",
    "dependency_down": "A guest on which this one depends does not run; nothing was touched.",
    "purge_limit": "More guests would be purged than the task allows; nothing was touched.",
    "shutdown_timeout": "The guest did not shut itself down in time.",
    "cannot_save": "The guest cannot be saved, or not now; nothing was touched.",
    "save_failed": "xl could not save the guest; it runs on, and no file is left.",
    "not_enough_space": "There is no room for the guest's memory on the disk; nothing was touched.",
    "saved_memory": "The guest is saved, and what is wished would lose its memory; nothing was touched.",
    "saved_of_another": "There is saved memory of another UUID by the guest's name; nothing was touched.",
    "cannot_restore": "The saved memory is not whole, or this host cannot restore it; nothing was touched.",
    "restore_failed": "xl could not restore the guest; its file is left.",
    "change_failed": "A guest that runs did not take a change; it is as it was.",
    "moving": "The guest is on its way to another host, or has moved there; nothing was touched.",
    "cannot_move": "The guest cannot be moved, or not in the way that is asked for; nothing was touched.",
    "move_failed": "A step of the guest's move failed; `evidence.owner` says on which host it is.",
    "move_undecided": "It cannot be told from what is seen which of two hosts has the guest; nothing was touched.",
    "step_failed": "A step did not end in the state that it is there for.",
    "unforeseen": "Something went wrong that this collection did not foresee; run again, and tell its maintainers.",
    "xenstore_refused": "xenstored answered a request with an error, or the limits of its protocol forbid sending it.",
}

SAID_MAX = 8000  # characters of what a program said, in evidence: xl tells first what failed, and then what it undid

# Unicode categories without a glyph: control (C0, DEL, C1), format (bidi overrides and isolates, zero width), lone
# surrogates (no encoding takes them), line and paragraph separator.
_UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_CUT = "\N{HORIZONTAL ELLIPSIS}"


class XenError(Exception):
    """A failure with a code from CODES.

    msg: for people, what was wanted and what was there. evidence: what was observed (anything that JSON can hold),
    foreign text in it already `printable`. hint: what to do.
    """

    def __init__(self, code: str, msg: str, evidence: Any = None, hint: str | None = None) -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.evidence = evidence
        self.hint = hint

    def as_result(self) -> dict[str, Any]:
        """The failure as a part of a task's result: dict of code, msg, evidence and hint, without the empty ones."""
        fields = {"code": self.code, "msg": self.msg, "evidence": self.evidence, "hint": self.hint}
        return {name: value for name, value in fields.items() if value not in (None, "", [], {}, ())}


def printable(text: str | bytes, limit: int) -> str:
    """The last `limit` characters of foreign text (bytes are taken as UTF-8), safe to show on a terminal.

    Newline and tab stay, the line end CR LF becomes a newline, every other character without a glyph becomes U+FFFD.
    The end is kept because the reason of a failure is what a log says last; a cut is marked by a leading ellipsis.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="backslashreplace")
    text = text.replace("\r\n", "\n")
    if len(text) > limit:
        text = (_CUT + text[len(text) - limit + 1 :])[: max(limit, 0)]
    return "".join(_glyph(character) for character in text)


def _glyph(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _UNPRINTABLE:
        return character
    return _REPLACEMENT
