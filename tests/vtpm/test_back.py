# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The back end of a vTPM domain, with a real TPM behind it and guests of every kind before it."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess

import pytest
import tpm_commands as tpm
from guest_of_files import CANCEL, CLOSED, CONNECTED, IDLE, INIT_WAIT, INITIALISED, Back, Guest

SECRET = b"kept by the TPM"


def keep(guest: Guest) -> None:
    assert guest.ask(tpm.nv_define(len(SECRET)))[tpm.RESULT] == tpm.SUCCESS
    assert guest.ask(tpm.nv_write(SECRET))[tpm.RESULT] == tpm.SUCCESS


def kept(guest: Guest) -> bool:
    return guest.ask(tpm.nv_read(len(SECRET))).endswith(SECRET)


def extended(guest: Guest) -> bool:
    return not guest.ask(tpm.pcr_read()).endswith(tpm.ZERO_PCR)


def connected(back: Back, domid: int) -> Guest:
    guest = Guest(back, domid)
    guest.connect()
    return guest


def test_a_guest_uses_its_tpm(back):
    guest = connected(back, 7)
    assert back.node(f"{guest.behind}/feature-protocol-v2") == "1"
    assert len(guest.ask(tpm.get_random(8))) == 10 + 4 + 8
    assert not extended(guest)
    guest.ask(tpm.pcr_extend(bytes(20)))
    assert extended(guest)


@pytest.mark.parametrize("back", ["2.0"], indirect=True)
def test_a_tpm_2(back):
    guest = connected(back, 7)
    assert guest.ask(tpm.tpm2_get_random(8))[tpm.RESULT] == tpm.SUCCESS


def test_what_was_answered_outlives_a_power_cut(back):
    guest = connected(back, 7)
    keep(guest)
    back.stop()
    guest.destroyed_with_the_back_end()
    back.start()
    assert kept(connected(back, 8))


def test_a_new_domain_is_a_power_cycle(back):
    guest = connected(back, 7)
    keep(guest)
    guest.ask(tpm.pcr_extend(bytes(20)))
    guest.destroyed()
    guest = connected(back, 8)
    assert kept(guest)
    assert not extended(guest)


@pytest.mark.parametrize("way", ["closed first", "resumed"])
def test_the_same_domain_keeps_its_pcrs(back, way):
    """A module loaded again, and a resume, after which the front end just gives another ring."""
    guest = connected(back, 7)
    guest.ask(tpm.pcr_extend(bytes(20)))
    if way == "closed first":
        guest.closes()
        guest.tell(state=CLOSED)
    before = back.log().count("connected")
    guest.share(10, 11)
    back.until(lambda: back.log().count("connected") > before)
    guest.back_is(CONNECTED)
    assert extended(guest)


def test_one_front_end_at_a_time(back):
    first = connected(back, 7)
    second = Guest(back, 8)
    second.share()
    assert first.ask(tpm.get_random(4))[tpm.RESULT] == tpm.SUCCESS
    first.ask(tpm.pcr_extend(bytes(20)))
    assert back.node(f"{second.behind}/state") == "1"
    assert "8/0: not served: the TPM is in use by 7/0" in back.log()
    first.destroyed()
    second.back_is(CONNECTED)
    assert not extended(second)


def test_a_guest_whose_nodes_vanish_does_not_keep_the_tpm(back):
    first = connected(back, 7)
    shutil.rmtree(back.world / "store/local/domain/7")
    back.store_changed.wake()
    first.back_is(CLOSED)
    assert connected(back, 8).ask(tpm.get_random(4))[tpm.RESULT] == tpm.SUCCESS


def test_a_guest_that_vanishes_during_a_command_leaves_nothing_to_the_next(back):
    first = connected(back, 7)
    back.swtpm.send_signal(signal.SIGSTOP)
    first.submit(tpm.get_random(64))
    first.destroyed()
    second = Guest(back, 8)
    second.back_is(INIT_WAIT)
    second.share()
    back.swtpm.send_signal(signal.SIGCONT)
    second.back_is(CONNECTED)
    assert second.page[:] == bytes(4096)
    assert len(second.ask(tpm.get_random(4))) == 10 + 4 + 4


def test_a_cancelled_command_ends_as_cancelled(back):
    guest = connected(back, 7)
    back.swtpm.send_signal(signal.SIGSTOP)
    guest.submit(tpm.get_random(64))
    guest.page[4] = CANCEL
    back.to_back.wake()
    back.swtpm.send_signal(signal.SIGCONT)
    guest.settled(IDLE)
    assert len(guest.ask(tpm.get_random(4))) == 10 + 4 + 4


def test_a_cancellation_of_nothing_ends_at_once(back):
    guest = connected(back, 7)
    guest.page[4] = CANCEL
    back.to_back.wake()
    guest.settled(IDLE)


def prefixed(command: bytes) -> bytes:
    """TCG's simulator protocol: TPM_SEND_COMMAND, a locality, a length, a command. swtpm would take it."""
    return struct.pack(">IBI", 8, 3, len(command)) + command


WRONG = {
    "shorter than a header": (b"\0\xc1\0\0\0\x09\0\0\0", {}, tpm.BAD_SIZE),
    "nothing": (b"", {}, tpm.BAD_SIZE),
    "longer than it says": (tpm.get_random(4) + b"x", {}, tpm.BAD_SIZE),
    "says it is longer": (tpm.command(0x46, bytes(4))[:-1], {}, tpm.BAD_SIZE),
    "longer than the page": (tpm.get_random(4), {"length": 0xFFFFFFFF}, tpm.BAD_SIZE),
    "longer than the page by a few bytes": (struct.pack(">HII", 0xC1, 4090, 0x46) + bytes(4078), {"length": 4090}, tpm.BAD_SIZE),
    "of another locality": (tpm.get_random(4), {"locality": 4}, tpm.BAD_LOCALITY),
    "of another locality by a prefix": (prefixed(tpm.get_random(4)), {}, tpm.BAD_SIZE),
}


@pytest.mark.parametrize(("command", "odd", "result"), WRONG.values(), ids=WRONG)
def test_a_command_that_is_none_does_not_reach_the_tpm(back, command, odd, result):
    guest = connected(back, 7)
    assert guest.ask(command, **odd) == struct.pack(">HI", 0xC4, 10) + result
    assert guest.ask(tpm.get_random(4))[tpm.RESULT] == tpm.SUCCESS


def test_extra_pages_only_move_the_packet(back):
    assert len(connected(back, 7).ask(tpm.get_random(8), extra=255)) == 10 + 4 + 8


def test_only_its_answer_is_written_to_a_page(back):
    guest = connected(back, 7)
    guest.page[8:4096] = b"\xaa" * 4088
    answer = guest.ask(tpm.get_random(4))
    assert guest.page[8 + len(answer) : 4096] == b"\xaa" * (4088 - len(answer))


LIES = {
    "no ring": {"ring-ref": ""},
    "a ring that is no number": {"ring-ref": "8x"},
    "a ring of another size": {"ring-ref": "4294967304"},
    "a ring that is not granted": {"ring-ref": "99"},
    "a channel that is none": {"event-channel": "99"},
    "a long text": {"event-channel": "9" * 4000},
    "another protocol": {"feature-protocol-v2": "0"},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_front_end_that_lies_is_closed_and_may_come_back(back, lie):
    guest = Guest(back, 7)
    guest.back_is(INIT_WAIT)
    guest.share()
    guest.back_is(CONNECTED)
    guest.closes()
    guest.tell(**lie)
    guest.tell(state=INITIALISED)
    back.until(lambda: "closed: it" in back.log() or "closed: ring" in back.log())
    assert back.node(f"{guest.behind}/state") == CLOSED
    guest.tell(state=CLOSED)
    guest.tell(state="1")
    guest.back_is(INIT_WAIT)
    guest.share(20, 21)
    guest.back_is(CONNECTED)
    assert guest.ask(tpm.get_random(4))[tpm.RESULT] == tpm.SUCCESS


def test_the_rest_of_a_directory_is_no_device(back):
    back.put("home/backend/vtpm/7/0/online", "1")
    assert connected(back, 8).ask(tpm.get_random(4))[tpm.RESULT] == tpm.SUCCESS
    assert "7/0" not in back.log()


def test_when_swtpm_dies_the_guest_is_told_and_the_reason_too(back):
    guest = connected(back, 7)
    back.swtpm.send_signal(signal.SIGSTOP)
    guest.submit(tpm.get_random(64))
    back.swtpm.kill()
    assert guest.answer()[tpm.RESULT] == tpm.FAIL
    assert "swtpm has ended" in back.ended()
    assert back.node(f"{guest.behind}/state") == CLOSED


def test_a_state_that_is_none_is_said_and_never_made_anew(program, tmp_path):
    back = Back(program, tmp_path, "1.2")
    (tmp_path / "state" / "tpm-00.permall").write_bytes(b"no state of a TPM")
    back.start()
    assert "cannot start a TPM from the state" in back.ended()
    assert (tmp_path / "state" / "tpm-00.permall").read_bytes() == b"no state of a TPM"
    assert back.node("home/data/vtpm-state") is None
    back.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system has to be mounted")
def test_a_full_disk_is_an_error_and_loses_nothing(program, tmp_path):
    back = Back(program, tmp_path, "1.2")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "state", str(small)], check=True)
    try:
        back.start("small")
        guest = connected(back, 7)
        keep(guest)
        with (small / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(bytes(4096))
        assert guest.ask(tpm.nv_write(bytes(len(SECRET))))[tpm.RESULT] != tpm.SUCCESS
        back.stop()
        (small / "filler").unlink()
        guest.destroyed_with_the_back_end()
        back.start("small")
        assert kept(connected(back, 8))
        back.stop()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
