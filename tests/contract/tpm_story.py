# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest asks of its TPM at each of its starts, through /dev/tpm0, and how its answers are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import tpm_commands as tpm

SECRET = b"kept by the TPM"
# A shell's function: "told NAME HEX" for each answer.
TELL = """
tell() {
  exec 3<> /dev/tpm0
  printf "$(echo $2 | sed 's/../\\\\x&/g')" >&3
  echo "told $1 $(dd bs=4096 count=1 <&3 2> /dev/null | xxd -p | tr -d '\\n')"
  exec 3>&-
}
"""


def asked(version: str) -> dict[str, bytes]:
    """What the TPM had in a PCR and in NV, and then a change of both."""
    of = tpm.VERSIONS[version]
    return {
        "pcr": of.pcr_read(),
        "kept": of.nv_read(len(SECRET)),
        "define": of.nv_define(len(SECRET)),
        "write": of.nv_write(SECRET),
        "extend": of.pcr_extend(bytes(range(of.digest))),
    }


def script(commands: Mapping[str, bytes]) -> str:
    """The lines with which the guest's shell asks them, in their order."""
    return TELL + "".join(f"tell {what} {command.hex()}\n" for what, command in commands.items())


def answers_in(lines: Iterable[str]) -> dict[str, bytes]:
    """What the TPM told, from the lines that the script said; others are passed over."""
    told = [line.split() for line in lines if line.startswith("told ")]
    return {what: bytes.fromhex(answer) for _told, what, answer in told}


def worked(told: Mapping[str, bytes]) -> set[str]:
    return {what for what, answer in told.items() if answer[tpm.RESULT] == tpm.SUCCESS}
