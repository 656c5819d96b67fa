# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way a guest goes, and which step of it is next, read off what two hosts know of it: tables."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.stubdom.xen.plugins.plugin_utils.handover import SOURCE, TARGET, StepFailed, next_step
from ansible_collections.stubdom.xen.plugins.plugin_utils.methods import METHODS, Case, bars, choose, missing_features

HOST = {"version": [4, 17], "hw_caps": "00000003:00000001", "virt_caps": ["pv", "hvm", "hap", "shadow"]}
OFFER = {
    "kind": {"type": "hvm", "stubdom": "none"}, "power": "running", "passed_through": False, "leans": False, "unsaveable": None,
    "host": HOST,
}  # fmt: skip
ACCEPT = {"host": HOST, "cannot_restore": None}
OLDER, OLDEST = {**HOST, "version": [4, 16]}, {**HOST, "version": [4, 5]}
WAYS = {
    "hvm with QEMU in dom0": ({}, {}, "live"),
    "pv": ({"kind": {"type": "pv", "stubdom": "none"}}, {}, "live"),
    "pv on Debian's Xen": (
        {"kind": {"type": "pv", "stubdom": "none"}, "host": {**HOST, "virt_caps": ["pv", "hvm", "hap"]}}, {}, "saved",
    ),
    "a Linux stubdomain": ({"kind": {"type": "hvm", "stubdom": "linux"}}, {}, "saved"),
    "a driver domain": ({"leans": True}, {}, "saved"),
    "a vTPM": ({"unsaveable": "the state of its vTPM is elsewhere"}, {}, "halt"),
    "an older Xen there": ({}, {"host": OLDER}, "halt"),
    "a newer Xen there": ({}, {"host": {**HOST, "version": [4, 18]}}, "live"),
    "a Xen there whose xl waits for no QEMU": ({"host": OLDEST}, {"host": OLDEST}, "saved"),
    "a lesser CPU there": ({}, {"host": {**HOST, "hw_caps": "00000001:00000001"}}, "halt"),
    "a greater CPU there": ({}, {"host": {**HOST, "hw_caps": "00000007:00000001:00000001"}}, "live"),
    "no room for its memory there": ({"leans": True}, {"cannot_restore": "no room"}, "halt"),
    "halted": ({"power": "halted"}, {}, "halt"),
    "saved": ({"power": "saved"}, {}, "saved"),
    "saved, and an older Xen there": ({"power": "saved"}, {"host": OLDER}, None),
    "a device passed through": ({"passed_through": True}, {}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", WAYS)
def test_the_way_that_is_best(case):
    offer, target, best = WAYS[case]
    known = Case({**OFFER, **offer}, {**ACCEPT, **target}, ssh=True)
    way, why_not = choose(known)
    assert way == best
    assert set(METHODS[: METHODS.index(best)] if best else METHODS) <= set(why_not), "each better one has a reason"
    for wish in METHODS:
        assert choose(known, wish)[0] == (None if wish in bars(known) else wish), "what is wished is had, or refused"


def test_without_a_way_from_host_to_host_nothing_goes_live():
    assert choose(Case(OFFER, ACCEPT, ssh=False))[0] == "saved"


@pytest.mark.parametrize(
    ("here", "there", "missing"), [("03", "03", False), ("03", "01", True), ("01:01", "01", True), ("01:00", "01", False)]
)
def test_missing_features(here, there, missing):
    offer, target = ({"host": {**HOST, "hw_caps": caps}} for caps in (here, there))
    assert missing_features(Case({**OFFER, **offer}, {**ACCEPT, **target}, ssh=True)) == missing


UUID = "11111111-2222-3333-4444-555555555555"


def seen(state="absent", note=None, **more):
    return {"state": state, "note": note, "held": False, "uuid": UUID, "away": False, "incoming": False, "guest": {}, **more}


def note(side, method="live", move="a", **more):
    return {"side": side, "move": move, "method": method, "power": "running", "uuid": UUID, "done": False, **more}


OUT, IN, GONE = note("out"), note("in"), note("gone")
# what each host knows of a live migration that was broken off -> what is done about it, and with undo
BROKEN = {
    "before it began": (seen("running"), seen("absent", IN), (TARGET, "withdraw"), (TARGET, "withdraw")),
    "nothing was sent": (seen("running", OUT), seen("absent", IN), (SOURCE, "send"), (TARGET, "withdraw")),
    "xl resumed it, and something is left there": (
        seen("running", OUT), seen("absent", IN, incoming=True), (TARGET, "withdraw"), (TARGET, "withdraw"),
    ),
    "its xl was killed while it was suspended": (
        seen("suspended", OUT), seen("absent", IN, incoming=True), (TARGET, "withdraw"), (TARGET, "withdraw"),
    ),
    "what came is destroyed": (seen("suspended", OUT), seen("absent"), (SOURCE, "stay"), (SOURCE, "stay")),
    "GO was not heard": (
        seen("halted", OUT, away=True), seen("absent", IN, incoming=True), (TARGET, "withdraw"), (TARGET, "withdraw"),
    ),
    "GO was heard, and that was not": (seen("halted", OUT, away=True), seen("running", IN), (SOURCE, "commit"), None),
    "it is there, held": (seen("halted", OUT, away=True), seen("paused", IN, held=True), (SOURCE, "commit"), None),
    "it is there": (seen("halted", OUT), seen("running", IN), (SOURCE, "commit"), None),
    "it is there and crashed": (seen("halted", OUT), seen("crashed", IN), (SOURCE, "commit"), None),
    "given up": (seen("absent", GONE), seen("running", IN), (TARGET, "release"), (TARGET, "release")),
    "described there": (seen("absent", GONE), seen("running"), (SOURCE, "forget"), (SOURCE, "forget")),
    "done": (seen("absent", {**GONE, "done": True}), seen("running"), None, None),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_live_migration_that_was_broken_off(case):
    source, target, again, _undone = BROKEN[case]
    assert next_step(source, target) == again


@pytest.mark.parametrize("case", [case for case, row in BROKEN.items() if row[3] is not None])
def test_and_taken_back(case):
    source, target, _again, undone = BROKEN[case]
    assert next_step(source, target, undo=True) == undone


@pytest.mark.parametrize("case", [case for case, row in BROKEN.items() if row[2] == (SOURCE, "commit")])
def test_what_xl_has_handed_over_is_not_taken_back(case):
    """The guest may have run there, and written to its disks."""
    source, target, _again, _undone = BROKEN[case]
    assert next_step(source, target, undo=True) == (SOURCE, "commit")


UNDECIDED = {
    "it runs on both": (seen("running", OUT), seen("running", IN)),
    "nobody has it": (seen("absent", GONE), seen("absent")),
    "somebody let it run there": (seen("saved", note("out", "saved")), seen("running", note("in", "saved"))),
    "its host has forgotten it": (seen("absent"), seen("paused", IN, held=True)),
    "the other one is not reached, and may have it": (seen("halted", OUT, away=True), None),
    "the other one is not reached": (seen("running", OUT), None),
}


@pytest.mark.parametrize("case", UNDECIDED)
def test_where_it_cannot_be_told_nothing_is_touched(case):
    with pytest.raises(StepFailed) as failed:
        next_step(*UNDECIDED[case])
    assert failed.value.result["code"] == "move_undecided"


@pytest.mark.parametrize(("away", "state"), [(True, "halted"), (False, "halted")])
def test_what_xl_may_have_handed_over_stays_with_a_host_that_is_not_reached(away, state):
    with pytest.raises(StepFailed):
        next_step(seen(state, OUT, away=away), None, undo=True)
    assert next_step(seen("running", OUT), None, undo=True) == (SOURCE, "stay")


STATES = ("absent", "halted", "running", "saved", "suspended", "paused", "crashed", "half_made")
NOTES = (None, *(note(side, method) for side in ("out", "in", "gone") for method in ("live", "saved", "halt")))


def test_whatever_is_seen_a_guest_is_never_destroyed_on_both_hosts():
    """No step that ends the guest on one host is taken while the other one has nothing of it, nor one that lets it run twice."""
    for ours, theirs, mine, its in itertools.product(STATES, STATES, NOTES, NOTES):
        for undo, held in itertools.product((False, True), (False, True)):
            source, target = seen(ours, mine), seen(theirs, its, held=held and theirs == "paused")
            try:
                step = next_step(source, target, undo)
            except StepFailed:
                continue
            if step == (SOURCE, "commit"):
                assert theirs != "absent" and ours not in ("running", "suspended")
            if step == (TARGET, "release"):
                assert mine is not None and mine["side"] == "gone"
            if step == (SOURCE, "forget"):
                assert theirs != "absent" and mine is not None and mine["side"] == "gone"
            if step == (TARGET, "withdraw"):
                assert ours != "absent" or (mine or {}).get("side") == "out"
